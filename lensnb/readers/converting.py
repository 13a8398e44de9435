"""Files → one ``.zarr`` set in one pass, in bounded memory; an interrupted conversion resumes.

While a set ``maps.zarr`` is made, it lies in the folder ``maps.zarr.part``, with a line in
``files.jsonl`` for each file that was read. The set moves to its own name when it is whole.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np

from ..data import MapSet
from ..files import atomic_write, locked
from ..renamed import renamed
from ..store import MapWriter, pieces
from .conversion_log import file_as_json, file_from_json, options_as_json, read_log, stamp
from .entry import open_maps
from .formats import Options
from .series import FileSeries, Finished
from .which_files import list_files


@renamed(labels="simulation")
def convert(
    path,
    out: str | PathLike,
    side_deg: float | None = None,
    z_source: float | tuple[float, ...] = math.nan,
    simulation=None,
    **options,
) -> MapSet:
    """Write what :func:`open_maps` reads as one ``.zarr`` set, in bounded memory.

    Files are read one after the other, and ``.npy`` and ``.zarr`` piece by piece. Of the other
    formats one file at a time must fit into memory. The set appears only when it is whole. If the
    process ends before, the same call resumes with the file at which it was.

    Args:
        path, side_deg, z_source, simulation: as for :func:`open_maps`.
        out: the folder to make; it ends in ``.zarr``.
        options: ``pixels``, ``source``, ``mask``, ``signs`` and ``tile``, as for
            :func:`open_maps`.

    Returns:
        The set, which stays on disk.

    Raises:
        FileExistsError: there is something of that name.
        FileNotFoundError, ValueError, ImportError: as for :func:`open_maps`. ValueError also if an
            unfinished conversion of that name had other files or options.
        OSError: no space is left; the maps that were written stay, and the same call resumes.
        TypeError: an option has another name.
    """
    asked = Options(side_deg, z_source, simulation, **options)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out):
        if out.exists():
            raise FileExistsError(f"{out} exists; expected a new folder")
        begun = _Begun(out.with_name(f"{out.name}.part"), out.name, path, asked)
        begun.write()
        os.rename(begun.set, out)
        shutil.rmtree(begun.folder)
    return open_maps(out)


class _Begun:
    """A conversion that is under way, or was when its process ended.

    Args:
        folder: its folder.
        name: name of the set.
        path: the files.
        asked: the options.
    """

    def __init__(self, folder: Path, name: str, path, asked: Options):
        self.folder = folder
        self.set = folder / name
        self._log = folder / "files.jsonl"
        self._asked = asked
        self._path = path
        self._kept = 0  # maps on disk
        self._first = math.inf  # maps of the first file, once it was read
        self._writer: MapWriter | None = None

    def write(self) -> None:
        """Write all maps that are missing."""
        finished = self._resumed()
        files = FileSeries(self._path, self._asked, finished)
        skip = self._kept - sum(one.made for one in finished)
        try:
            for ready, file in self._ready(files):
                if skip >= len(ready):
                    skip -= len(ready)
                    continue
                self._append(ready[skip:], file)
                skip = 0
            self._writer.provenance = files.provenance()
            self._writer.close()
        except BaseException as error:
            self._end(error)
            raise

    def _ready(self, files: FileSeries) -> Iterator[tuple[MapSet, Path]]:
        """The maps of all files that are not finished, averaged and cut; each file is logged."""
        for file, one, own in files:
            before = files.made
            self._note({"file": stamp(file)})
            for start, piece in pieces(one.maps):
                some = slice(start, start + len(piece))
                given = {name: np.asarray(values[some]) for name, values in one.given.items()}
                yield files.prepared(file, piece, own[some], given, start), file
            self._first = min(self._first, files.made)
            self._note(file_as_json(file, one, files.made - before))

    def _append(self, ready: MapSet, file: Path) -> None:
        if self._writer is None:
            self._writer = MapWriter(self.set, ready.side_deg, ready.z_source)
        writer = self._writer
        if len(writer) and not np.can_cast(ready.maps.dtype, writer.dtype):
            raise ValueError(
                f"{file} holds {ready.maps.dtype}; expected {writer.dtype}, as the files before it"
            )
        writer.append(ready.maps, ready.simulation, ready.given)

    # ------------------------------------------------------------ what is on disk

    def _resumed(self) -> list[Finished]:
        """The files whose maps are on disk; of a new conversion none."""
        options = {"options": options_as_json(self._asked)}
        if not self.set.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            self._note(options)
            return []
        lines = read_log(self._log)
        if not lines or lines[0] != options:
            raise ValueError(
                f"{self.folder} holds an unfinished conversion with other options; expected the "
                "same, or that you delete this folder"
            )
        about = open_maps(self.set)
        self._kept = len(about)
        self._first = 1  # what an earlier process has left is never deleted
        finished = self._finished(lines[1:])
        with atomic_write(self._log) as log:  # without what is made again
            for line in [options, *finished]:
                log.write((json.dumps(line) + "\n").encode())
        self._writer = MapWriter(self.set, about.side_deg, about.z_source)
        return [Finished(file_from_json(line), line["made"]) for line in finished]

    def _finished(self, lines: list[dict]) -> list[dict]:
        """The lines of the files whose maps are all on disk.

        Raises:
            ValueError: one of them, or the file that was being read, is not the same any more.
        """
        paths = list_files(self._path)
        found: list[dict] = []
        left = self._kept
        for line in lines:
            if not left:
                break
            number = len(found)
            if number >= len(paths) or line["file"] != stamp(paths[number]):
                raise ValueError(
                    f"{self.folder} holds an unfinished conversion of other files, such as "
                    f"another {line['file'][0]}; expected the same, or that you delete this folder"
                )
            if "made" not in line:
                continue
            if line["made"] > left:
                break
            left -= line["made"]
            found.append(line)
        return found

    def _note(self, line: dict) -> None:
        """Add a line to the log."""
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _end(self, error: BaseException) -> None:
        """Leave what resumes.

        After an error in a file, that is something only if a whole file was written before it.

        Raises:
            OSError: instead of the error, if it is one of the disk and the conversion can resume.
        """
        kept = self._kept
        if self._writer is not None:
            kept = len(self._writer.simulation)
            try:
                self._writer.close()
            except OSError:  # the disk is full: the error says so
                pass
        least = self._first
        if isinstance(error, OSError):
            least = 1
        if isinstance(error, Exception) and kept < least:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif isinstance(error, OSError):
            raise OSError(
                error.errno,
                f"{error.strerror or error}; the same conversion resumes after these {kept} maps",
            ) from None
