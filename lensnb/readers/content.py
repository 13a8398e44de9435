"""What maps are, by their names and by their form: κ, and not shear, masks or counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .filemaps import FileMaps
from .signs import e_mode_share

_KAPPA = ("kappa", "convergence", "κ")
_OTHERS = {
    "gamma", "gamma1", "gamma2", "γ1", "γ2", "shear", "shear1", "shear2", "g1", "g2", "e1", "e2",
    "mask", "weight", "weights", "count", "counts", "ngal",
}  # fmt: skip
_REDSHIFT = re.compile(r"(?<![a-z])z_?s?[_=]?(\d+(?:[.p]\d+)?)", re.I)
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
    found = _OTHERS.intersection(re.split(r"[\W_]+", text)) | _OTHERS.intersection(text.split("_"))
    if found:
        raise ValueError(f"{path} calls its maps {name!r} ({where}); expected κ")


def check_no_shear(path: Path, one: FileMaps) -> None:
    """Refuse two maps that are the two components of a shear.

    Args:
        path: the file.
        one: its maps; only exactly two maps, or two channels, are looked at.

    Raises:
        ValueError: together, they have an E mode without a B mode, or the other way round.
    """
    shape = one.maps.shape
    if len(shape) == 4 and shape[1] == 2:
        two = np.asarray(one.maps[:1])[0]
    elif len(shape) == 3 and len(one.maps) == 2:
        two = np.asarray(one.maps[:])
    else:
        return
    if shape[-1] < 32 or not np.isfinite(two).all():
        return
    first, second = torch.from_numpy(two.astype(np.float64))
    for sign in (1, -1):
        share, _ = e_mode_share(torch.complex(first, sign * second))
        if not _ONE_MODE < share < 1 - _ONE_MODE:
            raise ValueError(
                f"{path} has two maps that are the components of a shear: together, one of the "
                f"modes E and B has {max(share, 1 - share):.0%} of their power; expected κ"
            )


def one_sight_line(paths: Sequence[Path]) -> bool:
    """Whether files are planes of one sight line: their names differ in a redshift only."""
    if len(paths) < 2 or len({path.parent for path in paths}) > 1:
        return False
    found = [_REDSHIFT.findall(path.stem) for path in paths]
    without = {_REDSHIFT.sub("z", path.name) for path in paths}
    alone = all(len(redshifts) == 1 for redshifts in found)
    return alone and len(without) == 1 and len({one[0] for one in found}) == len(paths)
