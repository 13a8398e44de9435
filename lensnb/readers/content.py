"""What maps are, by their names and by their form: κ, and not shear, masks or counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from .filemaps import FileMaps
from .signs import e_mode_share

_KAPPA = ("kappa", "convergence", "κ")
_OTHERS = {
    "gamma", "gamma1", "gamma2", "γ1", "γ2", "shear", "shear1", "shear2", "g1", "g2", "e1", "e2",
    "mask", "weight", "weights", "count", "counts", "ngal", "magnification", "potential",
    "deflection", "flexion",
}  # fmt: skip
# What a file may be called that holds κ all the same: "e2" may be a second experiment.
_FREE = {"g1", "g2", "e1", "e2", "mask", "weight", "weights", "count", "counts", "ngal"}
_NO_UNIT = {"", "1", "-", "none", "kappa", "convergence", "dimensionless", "unitless"}
# A redshift, or the number of a bin of redshifts.
_REDSHIFT = re.compile(
    r"(?<![a-z])(?:z_?s?|redshift|z?_?bin|tomo(?:_?bin)?)[_=-]?(\d+(?:[.p]\d+)?)", re.I
)
# Of two unrelated maps, E and B have on average half of the power of a mode each, ± 0.06. Of the
# components of a shear without noise, one of them has nearly all.
_ONE_MODE = 0.25


def check_called(path: Path, where: str, name) -> None:
    """Refuse maps that a file calls by the name of something else.

    Args:
        path: the file.
        where: what has the name, such as ``"card OBJECT"``.
        name: the name.

    Raises:
        ValueError: it is the name of a shear, a mask, weights or counts.
    """
    text = str(name).lower()
    if any(word in text for word in _KAPPA):
        return
    if _OTHERS.intersection(_words(text)):
        raise ValueError(f"{path} calls its maps {name!r} ({where}); expected κ")


def _words(name: str) -> set[str]:
    text = name.lower()
    return {*re.split(r"[\W_]+", text), *text.split("_")}


def check_file_called(path: Path) -> None:
    """Refuse a file of maps whose name is that of a shear or of another field.

    Raises:
        ValueError: it is.
    """
    words = _words(path.stem)
    if path.stem.lower() in _FREE or words.intersection(_OTHERS - _FREE):
        check_called(path, "its name", path.stem)


def check_unit(path: Path, where: str, unit) -> None:
    """Refuse maps that a file gives a unit, which κ does not have.

    Args:
        path: the file.
        where: what has the unit, such as ``"card BUNIT"``.
        unit: the unit.

    Raises:
        ValueError: it is the unit of something else.
    """
    if str(unit).strip().lower() not in _NO_UNIT:
        raise ValueError(f"{path} has maps in {unit!r} ({where}); expected κ, without a unit")


def check_no_shear(path: Path, one: FileMaps) -> None:
    """Refuse maps of which two are the components of a shear.

    Args:
        path: the file.
        one: its maps; only two or three of them, or of their channels, are looked at.

    Raises:
        ValueError: together, two have an E mode without a B mode, or the other way round.
    """
    for few in _together(one.maps):
        if few.shape[-1] < 32 or not np.isfinite(few).all():
            continue
        for first, second in combinations(torch.from_numpy(few.astype(np.float64)), 2):
            _check_pair(path, first, second)


def _together(maps) -> Iterator[np.ndarray]:
    """Maps that could be one shear, perhaps with its κ: two or three maps, or channels."""
    if len(maps.shape) == 4 and maps.shape[1] in (2, 3):
        yield np.asarray(maps[:1])[0]
    if maps.shape[0] in (2, 3):
        few = np.asarray(maps[:])
        if few.ndim == 4:  # (components, maps, n, n)
            few = few[:, 0]
        yield few


def _check_pair(path: Path, first: torch.Tensor, second: torch.Tensor) -> None:
    for sign in (1, -1):
        share, _ = e_mode_share(torch.complex(first, sign * second))
        if not _ONE_MODE < share < 1 - _ONE_MODE:
            raise ValueError(
                f"{path} has two maps that are the components of a shear: together, one of the "
                f"modes E and B has {max(share, 1 - share):.0%} of their power; expected κ"
            )


def one_sight_line(paths: Sequence[Path]) -> bool:
    """Whether files are of one sight line: their names differ in redshifts or their bins only."""
    if len(paths) < 2 or len({path.parent for path in paths}) > 1:
        return False
    found = {tuple(_REDSHIFT.findall(path.stem)) for path in paths}
    without = {_REDSHIFT.sub("z", path.name) for path in paths}
    return len(without) == 1 and len(found) == len(paths)
