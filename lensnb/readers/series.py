"""The files that a path stands for, one after the other: each one checked, averaged and cut."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..data import MapSet, average_to, tiles
from ..store.reading import check_pixels
from .checks import check_alike, checked
from .content import check_no_shear
from .filemaps import FileMaps
from .formats import Options, find_format
from .which_files import list_files
from .which_simulation import simulations


@dataclass(frozen=True)
class Finished:
    """What is known of a file whose maps were written by an earlier conversion.

    Attributes:
        about: what the file said, with maps of the same shape that take no memory.
        made: number of maps that were made of it, tiles counted as such.
    """

    about: FileMaps
    made: int


class FileSeries:
    """The files that a path stands for, one after the other: all alike, with their simulations.

    Iterating gives (file, what it says, simulation of each map). The pixels are unchecked until
    :meth:`prepared`.

    Args:
        path: a file, a pattern, or a list of files.
        asked: what the caller says about them.
        finished: the first of these files, if their maps were written before; they are not read
            again, and iterating leaves them out.

    Attributes:
        paths: the files.
        made: number of maps that were prepared so far, tiles counted as such.
    """

    def __init__(self, path, asked: Options, finished: Sequence[Finished] = ()):
        self._asked = asked
        self.paths = list_files(path)
        self._finished = finished
        self._simulations = simulations(asked.simulation, self.paths)
        self._said: list[dict] = []  # the provenance of each file
        self._now: FileMaps | None = None
        self._total = 0  # maps of the file that is being read
        self.made = 0

    def __iter__(self) -> Iterator[tuple[Path, FileMaps, np.ndarray]]:
        first = None
        for number, path in enumerate(self.paths):
            known = number < len(self._finished)
            if known:
                one = self._finished[number].about
            else:
                one = self._read(number)
            without_maps = replace(one, maps=_none_of(one.maps))
            if first is None:
                first = without_maps
            check_alike(path, one, self.paths[0], first)
            self._said.append(one.provenance)
            own = self._simulations.of(path, one)
            if known:
                self.made += self._finished[number].made
                continue
            self._now, self._total = without_maps, len(one.maps)
            yield path, one, own
            one.maps = without_maps.maps  # or else two files are in memory while the next is read
        self._simulations.finish()

    def _read(self, number: int) -> FileMaps:
        """A file, checked; meanwhile the system reads the next one."""
        path = self.paths[number]
        one = find_format(path, self._asked).read(path, self._asked)
        one = checked(path, one, self._asked)
        if one.simulation is None:
            check_no_shear(path, one)
        if number + 1 < len(self.paths):
            _ask_for(self.paths[number + 1])
        return one

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
        if asked.pixels not in (None, ready.grid.n):
            ready = average_to(ready, asked.pixels)
        if asked.tile is not None:
            ready = _tiles(file, ready, asked.tile)
        if self._simulations.each_tile:
            own = self.made + np.arange(len(ready))
            ready = replace(ready, simulation=own)
        self.made += len(ready)
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
        joined["files"] = [path.name for path in self.paths]
        if self._asked.tile is not None:
            joined["steps"] = [*joined.get("steps", []), f"tiles {self._asked.tile}"]
        return joined


def _ask_for(path: Path) -> None:
    """Ask the system to read a file into its cache while this process works on another one."""
    if not hasattr(os, "posix_fadvise") or not path.is_file():
        return
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _tiles(file: Path, maps: MapSet, tile: int) -> MapSet:
    n = maps.grid.n
    if not isinstance(tile, int | np.integer) or not 2 <= tile <= n:
        raise ValueError(
            f"{file} has maps of {n} × {n} pixels; "
            f"expected tile to be a whole number from 2 to that, not {tile!r}"
        )
    return tiles(maps, tile)


def _none_of(maps) -> np.ndarray:
    """No maps of the same kind; a slice would keep all of them in memory."""
    return np.empty((0, *maps.shape[1:]), maps.dtype)
