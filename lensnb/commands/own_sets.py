"""The sets of maps that a command compares: the user's own, and true maps of the same sky.

Nothing is guessed in silence. What a file does not say and the user did not give is taken from the
true maps, and a note says so. What contradicts the true maps is refused, with what to do about it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..compare.origin import SILENT
from ..data import MapSet, block_average, load_sample
from ..readers import Options, open_maps
from ..readers.entry import read_file
from ..readers.which_files import list_files

_CLOSE = 1e-3  # relative: fields and redshifts that agree to this are equal, as in lensnb.data
_LEAST = 4  # simulations of a truth that is split: two for each part
SAMPLE_NAME = "the shipped sample"


@dataclass(frozen=True)
class Asked:
    """What the user names and says.

    Attributes:
        mine: files of maps to judge; each is a path, or a pattern that is one set.
        names: their names; empty: those of the files.
        truth, null, train: files of true maps; None: not given.
        side_deg: side of the field, degrees, where files do not say it.
        z_source: redshift of the sources, where files do not say it.
        simulation: ``.npy`` with the simulation of each map to judge.
        truth_simulation: the same of the truth.
        pixels: average all maps to so many pixels a side.
    """

    mine: Sequence[str] = ()
    names: Sequence[str] = ()
    truth: str | None = None
    null: str | None = None
    train: str | None = None
    side_deg: float | None = None
    z_source: float | None = None
    simulation: str | None = None
    truth_simulation: str | None = None
    pixels: int | None = None

    def files(self) -> dict[str, object]:
        """Everything that names a file, by the name of its option."""
        return {
            "mine": list(self.mine),
            "truth": self.truth,
            "null": self.null,
            "train": self.train,
            "simulation": self.simulation,
            "truth_simulation": self.truth_simulation,
        }


@dataclass
class TrueSets:
    """True maps, with what had to be assumed about them.

    Attributes:
        truth, null: two sets from different simulations.
        train: the training maps; None if there are none.
        name: what the truth is, for sentences.
        notes: what was assumed, in sentences.
    """

    truth: MapSet
    null: MapSet
    train: MapSet | None
    name: str
    notes: list[str] = field(default_factory=list)


def true_sets(asked: Asked) -> TrueSets:
    """The true maps: the shipped sample, or the user's.

    A truth without a null is split by simulation into both.

    Raises:
        FileNotFoundError, ImportError, ValueError: as for :func:`lensnb.readers.open_maps`; a null
            without a truth; a truth of too few simulations.
    """
    if asked.truth is None:
        return _sample(asked)
    notes: list[str] = []
    truth = _true_set(asked.truth, asked, [], notes, asked.truth_simulation)
    if asked.null is None:
        truth, null = _split(truth, asked.truth, notes)
    else:
        null = _true_set(asked.null, asked, [truth], notes)
    train = None
    if asked.train is not None:
        train = _true_set(asked.train, asked, [truth, null], notes)
    return TrueSets(truth, null, train, asked.truth, notes)


def own_sets(asked: Asked, true: TrueSets) -> dict[str, MapSet]:
    """The maps to judge, by name; what was assumed about them is added to the notes.

    Raises:
        FileNotFoundError, ImportError, ValueError: as for :func:`lensnb.readers.open_maps`; their
            field, redshift, pixels or channels are not those of the true maps; two sets have one
            name, or a file has a single map.
    """
    found = {}
    for name, path in zip(set_names(asked), asked.mine):
        one = read_like(path, asked, true, asked.simulation)
        if len(one) < 2:
            raise ValueError(
                f"{path} has one map; expected two or more (a pattern in quotes, such as "
                "'run/*.fits', reads many files as one set)"
            )
        found[name] = one
    return found


def read_like(path: str, asked: Asked, true: TrueSets, simulation: str | None) -> MapSet:
    """Maps of the sky of the true maps; what was assumed about them is added to the notes."""
    side_deg = asked.side_deg
    if side_deg is None and _first(path, asked).side_deg is None:
        side_deg = true.truth.side_deg
        true.notes.append(
            f"{path} does not say how large its field is: taken as that of {true.name}, "
            f"{side_deg:g}° (otherwise give --side-deg)."
        )
    one = _opened(path, asked, side_deg, simulation)
    _check_sky(path, one, true)
    return one


def set_names(asked: Asked) -> list[str]:
    """The names of the sets to judge.

    Raises:
        ValueError: not one name for each file, or two sets of one name.
    """
    names = list(asked.names) or [_name_of(path) for path in asked.mine]
    if len(names) != len(asked.mine):
        raise ValueError(
            f"{len(names)} names were given for {len(asked.mine)} sets of maps; "
            "expected --name once for each, in their order"
        )
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two sets are called {name!r}; expected --name once for each")
    return names


def _name_of(path: str) -> str:
    """The name of a file without its ending; of a pattern, what is left without its wildcards."""
    stem = re.sub(r"[*?\[\]]", "", Path(path).stem).strip("_-. ")
    return stem or Path(path).parent.name or "mine"


# ---------------------------------------------------------------- true maps


def _sample(asked: Asked) -> TrueSets:
    if asked.null is not None or asked.truth_simulation is not None:
        raise ValueError("--null and --truth-simulation belong to a truth; expected --truth FILE")
    truth, null, train = (
        _averaged(load_sample(k), asked.pixels) for k in ("truth", "null", "train")
    )
    true = TrueSets(truth, null, train, SAMPLE_NAME)
    if asked.train is not None:
        true.train = read_like(asked.train, asked, true, None)
        true.train = _apart(true.train, [truth, null])
    return true


def _averaged(one: MapSet, pixels: int | None) -> MapSet:
    n = one.grid.n
    if pixels in (None, n):
        return one
    if pixels < 2 or n % pixels:
        raise ValueError(
            f"{SAMPLE_NAME} has {n} × {n} pixels, which cannot be averaged to "
            f"{pixels} × {pixels}; expected --pixels to divide {n}, or true maps with --truth"
        )
    return block_average(one, n // pixels)


def _true_set(
    path: str, asked: Asked, others: list[MapSet], notes: list[str], simulation: str | None = None
) -> MapSet:
    """A file of true maps, whose simulations are not those of the others."""
    one = _opened(path, asked, asked.side_deg, simulation)
    if simulation is not None or _first(path, asked).simulation is not None:
        return one
    notes.append(
        f"{path} does not say which simulation each map is from: each counts as its own, and "
        "errors are too small where that is not so (lensnb convert --simulation writes it down)."
    )
    return _apart(one, others)


def _apart(one: MapSet, others: list[MapSet]) -> MapSet:
    """A set whose maps are counted, with other numbers than those of other sets."""
    if one.simulation.dtype.kind not in "iu":
        return one
    counted = np.arange(len(one))
    if not np.array_equal(one.simulation, counted):
        return one
    used = [other.simulation.max() for other in others if other.simulation.dtype.kind in "iu"]
    return replace(one, simulation=counted + max(used, default=-1) + 1)


def _split(truth: MapSet, path: str, notes: list[str]) -> list[MapSet]:
    """Half of the simulations as truth, and half as null."""
    simulations = len(truth.simulations)
    if simulations < _LEAST:
        raise ValueError(
            f"{path} has maps of {simulations} simulations; expected at least {_LEAST}, to split "
            "them into truth and null, or another file with --null"
        )
    parts = truth.split(0.5, 0.5)
    notes.append(
        f"{path} was split by simulation into truth ({len(parts[0].simulations)} simulations) and "
        f"null ({len(parts[1].simulations)}), because no --null was given."
    )
    return parts


# ---------------------------------------------------------------- reading and checking


def _opened(path: str, asked: Asked, side_deg: float | None, simulation: str | None) -> MapSet:
    z_source = math.nan if asked.z_source is None else asked.z_source
    return open_maps(path, side_deg, z_source, simulation, pixels=asked.pixels)


def _first(path: str, asked: Asked):
    """What the first file of a set says about itself."""
    return read_file(list_files(path)[0], Options(asked.side_deg, pixels=asked.pixels))


def _check_sky(path: str, one: MapSet, true: TrueSets) -> None:
    """Refuse maps of another field, redshift, or number of pixels or channels than the truth's."""
    truth = true.truth
    if not math.isclose(one.side_deg, truth.side_deg, rel_tol=_CLOSE):
        raise ValueError(
            f"{path} has a field of {one.side_deg:g}°, and {true.name} one of "
            f"{truth.side_deg:g}°; expected the same (lensnb convert --tile cuts maps, and "
            "--truth names true maps of your field)"
        )
    if one.channels != truth.channels:
        raise ValueError(
            f"{path} has maps of {one.channels} channels, and {true.name} of {truth.channels}; "
            "expected the same, or true maps of these channels with --truth"
        )
    here, there = one.grid.n, truth.grid.n
    if here != there:
        raise ValueError(
            f"{path} has maps of {here} × {here} pixels, and {true.name} of {there} × {there}; "
            f"expected the same{_advice(here, there)}"
        )
    _check_redshifts(path, one, true)


def _advice(mine: int, true: int) -> str:
    fewer, more = sorted((mine, true))
    if more % fewer:
        return ", or true maps of these pixels with --truth"
    return f" (--pixels {fewer} averages all maps to {fewer} × {fewer})"


def _check_redshifts(path: str, one: MapSet, true: TrueSets) -> None:
    here, there = (np.atleast_1d(s.z_source).astype(float) for s in (one, true.truth))
    known = np.isfinite(here) & np.isfinite(there)
    if not np.allclose(here[known], there[known], rtol=_CLOSE):
        raise ValueError(
            f"{path} has sources at z = {_listed(here)}, and {true.name} at z = "
            f"{_listed(there)}; expected the same, or true maps of this redshift with --truth"
        )
    silent = path
    if np.isfinite(here).all():
        silent = true.name
    if not known.all():
        true.notes.append(
            f"{silent} {SILENT}, so nothing says that both have the same (--z-source states it)."
        )


def _listed(redshifts: np.ndarray) -> str:
    return ", ".join(f"{z:g}" for z in redshifts)
