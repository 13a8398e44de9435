"""The simulation of each map: as files say it, or as the caller gives it."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ..maps.arrays import plain_labels
from .content import one_sight_line
from .filemaps import FileMaps, check_regular, reading

EACH = "each"  # for ``simulation``: every map counts as its own, whatever the files say


def simulations(simulation, paths: Sequence[Path]) -> ByFiles | Given | Each:
    """Who says the simulation of each map.

    Args:
        simulation: the argument of :func:`open_maps`.
        paths: the files.
    """
    if simulation is None:
        return ByFiles(one_sight_line(paths))
    if isinstance(simulation, str) and simulation == EACH:
        return Each()
    return Given(simulation)


class ByFiles:
    """The simulations that files name, file after file.

    Either all files name them or none does, and equal names mean the same simulation. Where none
    does, every map counts as its own simulation. Files that are planes of one sight line share
    the simulations of their maps.

    Args:
        planes: whether the files are planes of one sight line.
    """

    each_tile = False  # tiles of a map have the simulation of their map

    def __init__(self, planes: bool = False):
        self._planes = planes
        self._count = 0
        self._first: Path | None = None
        self._first_said = False
        self._seen: set = set()
        self._named = True
        self._shared = ""  # the first simulation that is in two files, in words

    def of(self, file: Path, one: FileMaps) -> np.ndarray:
        """The simulation of each map of the next file.

        Raises:
            ValueError: some files name simulations and others do not; or two files have the same
                number, which need not mean the same simulation.
        """
        said = one.simulation is not None
        if self._first is None:
            self._first, self._first_said = file, said
        if said != self._first_said:
            without = file
            if said:
                without = self._first
            raise ValueError(
                f"{without} does not say the simulation of its maps but others do; "
                "expected simulation="
            )
        start, self._count = self._count, self._count + len(one.maps)
        if not said and self._planes:
            return np.arange(len(one.maps))
        if not said:
            return np.arange(start, self._count)
        self._check_shared(file, one)
        return one.simulation

    def _check_shared(self, file: Path, one: FileMaps) -> None:
        own = set(one.simulation.tolist())
        shared = sorted(self._seen & own)
        self._seen |= own
        self._named &= one.named
        if shared and not self._shared:
            self._shared = f"{file} has simulation {shared[0]!r} of an earlier file"
        if self._shared and not self._named:
            raise ValueError(
                f"{self._shared}, so that it is not clear whether they share a simulation; "
                "expected simulation="
            )

    def finish(self) -> None:
        """After the last file there is nothing left to check."""


class Each:
    """Every map, and every tile, counts as its own simulation, whatever the files say."""

    each_tile = True

    def of(self, file: Path, one: FileMaps) -> np.ndarray:
        """Numbers of the maps, which those of the tiles will replace."""
        return np.arange(len(one.maps))

    def finish(self) -> None:
        """After the last file there is nothing left to check."""


class Given:
    """The simulations that the caller gives.

    Args:
        simulation: an array of integers or names, or the path of such an ``.npy``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold whole numbers or names.
    """

    each_tile = False

    def __init__(self, simulation):
        self._name, self._all = _read(simulation)
        self._count = 0

    def of(self, file: Path, one: FileMaps) -> np.ndarray:
        """The simulation of each map of the next file."""
        start, self._count = self._count, self._count + len(one.maps)
        if self._all.ndim != 1 or len(self._all) < self._count:
            self._refuse()
        return self._all[start : self._count]

    def finish(self) -> None:
        """Check, after the last file, that no simulation is left over."""
        if len(self._all) != self._count:
            self._refuse()

    def _refuse(self) -> None:
        raise ValueError(
            f"{self._name} has the shape {self._all.shape}; "
            f"expected ({self._count},), one simulation a map"
        )


def _read(simulation) -> tuple[str | Path, np.ndarray]:
    """Integers or names, and what they are called in error messages."""
    name = "simulation"
    if isinstance(simulation, str | PathLike):
        name = Path(simulation).expanduser()
        if not name.exists():
            raise FileNotFoundError(
                f"{name} does not exist; expected an .npy file with one simulation a map"
            )
        check_regular(name)
        with reading(name, "a whole .npy file of plain numbers"):
            simulation = np.array(np.lib.format.open_memmap(name, mode="r"))
    return name, plain_labels(str(name), simulation)
