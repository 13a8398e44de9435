"""The one entry to all formats: :func:`open_maps` and :func:`convert`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from ..data import MapSet, block_average, tiles
from ..files import atomic_folder
from ..renamed import renamed
from ..store import MapWriter, pieces
from ..store.reading import check_pixels
from .checks import check_alike, checked
from .content import check_no_shear
from .filemaps import FileMaps
from .formats import Options, find_format
from .which_files import list_files
from .which_simulation import simulations


@renamed(labels="simulation")
def open_maps(
    path,
    side_deg: float | None = None,
    z_source: float | tuple[float, ...] = math.nan,
    simulation=None,
    *,
    pixels: int | None = None,
    source: int | str | tuple[float, float] | None = None,
    mask: str | PathLike | None = None,
    signs: tuple[int, int] | None = None,
    tile: int | None = None,
) -> MapSet:
    """Read convergence maps from a file, from all files of a pattern, or from a list of files.

    Name and content tell the format:

    * *Arrays*: ``.npy``, one map ``(n, n)`` or many ``(maps, n, n)``, as cosmoGAN's; ``.npz``,
      written by ``MapSet.save`` or by LensTools, or with exactly one floating-point array of maps;
      ``.zarr``, an array, or a group with ``maps`` and ``simulation``.
    * *FITS*: the primary image with its card ``ANGLE`` or world coordinates and, where there is
      one, ``Z`` (LensTools, MassiveNuS); a table of sheared galaxies (SLICS, MICE), which becomes
      one Kaiser–Squires map; or a sky of HEALPix pixels, cut into patches.
    * *HDF5*: CosmoGrid, cut into patches, and κTNG.
    * *Binary*: SLICS and κTNG.

    A single ``.npy`` stays on disk as a read-only memory map, a single ``.zarr`` as
    :class:`~lensnb.store.StoredMaps`. All pixels are read once to be checked, except those of a
    ``.zarr`` that lensnb wrote, which were checked then.

    Args:
        path: a file; a pattern such as ``"run/*.fits"``, whose matches are sorted with 2 before
            10; or a list of files in its own order, of which none may be missing.
        side_deg: side of the field, degrees; needed when the files do not say it, and to cut
            the skies of CosmoGrid and of HEALPix files.
        z_source: redshift of the sources, where the files do not say it, for several channels one
            each; NaN when not known.
        simulation: the simulation of each map, an array of integers or names, or the path of such
            an ``.npy``; it replaces what the files say. None keeps what they say; if they say
            nothing, every map counts as its own simulation. Files whose names differ
            in a redshift only (``_z0.5``, ``_z1.0``) are planes of one sight line: their maps of
            one number share a simulation. ``"each"`` counts every map, and every
            tile, as its own whatever the files say, so that maps of a single simulation can be
            split; errors are then underestimated.
        pixels: a side of the maps returned. Maps are averaged in whole blocks, file by file, so
            that many large files fit into memory (7744 of SLICS = 16 × 484). A sky is cut, a
            catalogue binned, a masked map tiled to this size.
        source: which sources, where a file has several: the tomographic bin of CosmoGrid (1 to 4,
            or its name), the column of a HEALPix file (number or name), the number of κTNG's
            source plane, or the redshifts (from, to) of a catalogue.
        mask: ``.npy`` of booleans under which an ``.npy`` holds the values, as in the FAIR
            Universe challenge.
        signs: factors of the two components of a catalogue's shear; see :func:`read_shear`.
        tile: cut each map, after everything else, into non-overlapping tiles of this many pixels a
            side (:func:`lensnb.data.tiles`), which have the simulation of their map.

    Returns:
        The set; ``provenance`` lists the files by name, and what they say about themselves: a list
        where they differ.

    Raises:
        FileNotFoundError: there is no such file, or none matches the pattern.
        ValueError: a file is truncated, does not hold square floating-point maps, has no field
            size, has pixels that cannot be κ, is of something else (shear, a mask, counts), needs
            other signs, or contradicts another file or the arguments. One sentence says which and
            how.
        ImportError: a package that the format needs is not installed.
    """
    asked = Options(
        side_deg, z_source, simulation,
        pixels=pixels, source=source, mask=mask, signs=signs, tile=tile,
    )  # fmt: skip
    files = _Files(path, asked)
    sets = [files.prepared(file, one.maps, own, one.given) for file, one, own in files]
    maps = sets[0].maps
    if len(sets) > 1:
        maps = np.concatenate([np.asarray(one.maps) for one in sets])
    own = np.concatenate([one.simulation for one in sets])
    given = sets[0].given
    if len(sets) > 1:
        given = {
            name: np.concatenate([np.asarray(one.given[name]) for one in sets]) for name in given
        }
    return MapSet(maps, sets[0].side_deg, sets[0].z_source, own, files.provenance(), given)


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
    formats one file at a time must fit into memory. The set appears only when it is whole.

    Args:
        path, side_deg, z_source, simulation: as for :func:`open_maps`.
        out: the folder to make; it ends in ``.zarr``.
        options: ``pixels``, ``source``, ``mask``, ``signs`` and ``tile``, as for
            :func:`open_maps`.

    Returns:
        The set, which stays on disk.

    Raises:
        FileExistsError: there is something of that name.
        FileNotFoundError, ValueError, ImportError: as for :func:`open_maps`.
        TypeError: an option has another name.
    """
    files = _Files(path, Options(side_deg, z_source, simulation, **options))
    out = Path(out)
    with atomic_folder(out) as part, ExitStack() as closing:
        writer = None
        for file, one, own in files:
            for start, piece in pieces(one.maps):
                some = slice(start, start + len(piece))
                given = {name: np.asarray(values[some]) for name, values in one.given.items()}
                ready = files.prepared(file, piece, own[some], given, start)
                if writer is None:
                    writer = MapWriter(part, ready.side_deg, ready.z_source)
                    closing.enter_context(writer)
                _append(writer, file, ready)
        writer.provenance = files.provenance()
    return open_maps(out)


def read_file(path: Path, asked: Options | None = None) -> FileMaps:
    """What a file says, by the reader of its format.

    Args:
        path: the file.
        asked: what the caller says about it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, no reader knows its name, or an argument is missing or means
            nothing for its format.
    """
    if asked is None:
        asked = Options()
    return find_format(path, asked).read(path, asked)


class _Files:
    """The files that a path stands for, one after the other: all alike, with their simulations.

    Iterating gives (file, what it says, simulation of each map). The pixels are unchecked until
    :meth:`prepared`.
    """

    def __init__(self, path, asked: Options):
        self._asked = asked
        self._paths = list_files(path)
        self._simulations = simulations(asked.simulation, self._paths)
        self._said: list[dict] = []  # the provenance of each file
        self._now: FileMaps | None = None
        self._total = 0  # maps of the file that is being read
        self._made = 0  # maps that were prepared, tiles counted as such

    def __iter__(self) -> Iterator[tuple[Path, FileMaps, np.ndarray]]:
        first = None
        for path in self._paths:
            one = checked(path, read_file(path, self._asked), self._asked)
            if one.simulation is None:
                check_no_shear(path, one)
            without_maps = replace(one, maps=_none_of(one.maps))
            if first is None:
                first = without_maps
            check_alike(path, one, self._paths[0], first, self._asked)
            self._said.append(one.provenance)
            self._now, self._total = without_maps, len(one.maps)
            yield path, one, self._simulations.of(path, one)
            one.maps = without_maps.maps  # or else two files are in memory while the next is read
        self._simulations.finish()

    def prepared(
        self, file: Path, maps, simulation: np.ndarray, given: dict, start: int = 0
    ) -> MapSet:
        """Maps of the present file, checked, averaged and cut into tiles as the caller asked.

        Args:
            file: the file.
            maps: all of its maps, or some that follow each other.
            simulation: their simulations.
            given: their conditions.
            start: number of the first of them in the file.
        """
        asked = self._asked
        if not maps.dtype.isnative:
            maps = maps.astype(maps.dtype.newbyteorder("="))
        if not getattr(maps, "checked", False):
            check_pixels(file, maps, start, self._total)
        ready = MapSet(maps, self._now.side_deg, self._now.z_source, simulation, given=given)
        n = ready.grid.n
        if asked.pixels not in (None, n):
            ready = block_average(ready, n // asked.pixels)
        if asked.tile is not None:
            ready = _tiles(file, ready, asked.tile)
        if self._simulations.each_tile:
            own = self._made + np.arange(len(ready))
            ready = replace(ready, simulation=own)
        self._made += len(ready)
        return ready

    def provenance(self) -> dict:
        """What all files say of themselves, their names, and how their maps were cut."""
        joined = {}
        for key in self._said[0]:
            values = [said[key] for said in self._said if key in said]
            if len(values) < len(self._said):
                continue  # not all files say this
            joined[key] = values[0]
            if any(value != values[0] for value in values):
                joined[key] = values
        joined["files"] = [path.name for path in self._paths]
        if self._asked.tile is not None:
            joined["steps"] = [*joined.get("steps", []), f"tiles {self._asked.tile}"]
        return joined


def _tiles(file: Path, maps: MapSet, tile: int) -> MapSet:
    n = maps.grid.n
    if not isinstance(tile, int | np.integer) or not 2 <= tile <= n:
        raise ValueError(
            f"{file} has maps of {n} × {n} pixels; "
            f"expected tile to be a whole number from 2 to that, not {tile!r}"
        )
    return tiles(maps, tile)


def _append(writer: MapWriter, file: Path, maps: MapSet) -> None:
    if len(writer) and not np.can_cast(maps.maps.dtype, writer.dtype):
        raise ValueError(
            f"{file} holds {maps.maps.dtype}; expected {writer.dtype}, as the files before it"
        )
    writer.append(maps.maps, maps.simulation, maps.given)


def _none_of(maps) -> np.ndarray:
    """No maps of the same kind; a slice would keep all of them in memory."""
    return np.empty((0, *maps.shape[1:]), maps.dtype)
