"""What maps are, by their names and by their form: κ, and not shear, masks or counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..shear import kaiser_squires
from .filemaps import FileMaps

_KAPPA = ("kappa", "convergence", "κ")
_OTHERS = {
    "gamma", "gamma1", "gamma2", "γ1", "γ2", "shear", "shear1", "shear2", "g1", "g2", "e1", "e2",
    "mask", "weight", "weights", "count", "counts", "ngal",
}  # fmt: skip
_REDSHIFT = re.compile(r"(?<![a-z])z_?s?[_=]?(\d+(?:[.p]\d+)?)", re.I)
# Of two unrelated maps, E and B have on average half of the power of a mode each, ± 0.03. Of the
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
    if shape[-1] < 16 or not np.isfinite(two).all():
        return
    first, second = torch.from_numpy(two.astype(np.float64))
    for sign in (1, -1):
        share = e_mode_share(torch.complex(first, sign * second))
        if not _ONE_MODE < share < 1 - _ONE_MODE:
            raise ValueError(
                f"{path} has two maps that are the components of a shear: together, one of the "
                f"modes E and B has {max(share, 1 - share):.0%} of their power; expected κ"
            )


def e_mode_share(gamma: torch.Tensor) -> float:
    """The mean share of the E mode, |κ_E|² / (|κ_E|² + |κ_B|²), of the long Fourier modes.

    Each mode counts the same, so that the largest ones do not decide alone.

    Args:
        gamma: γ₁ + iγ₂, complex, shape ``(n, n)``.

    Returns:
        1 for a shear without noise and edges, 1/2 for noise.
    """
    kappa_e, kappa_b = kaiser_squires(gamma - gamma.mean(), periodic=True)
    e, b = (torch.fft.rfft2(one).abs().square() for one in (kappa_e, kappa_b))
    n = len(gamma)
    row = torch.fft.fftfreq(n, 1 / n)[:, None]
    column = torch.fft.rfftfreq(n, 1 / n)[None]
    radius = torch.hypot(row, column)
    long = (radius > 0) & (radius <= max(4, n / 8)) & (e + b > 0)
    if not long.any():
        return 0.5
    return float((e[long] / (e + b)[long]).mean())


def one_sight_line(paths: Sequence[Path]) -> bool:
    """Whether files are planes of one sight line: their names differ in a redshift only."""
    if len(paths) < 2 or len({path.parent for path in paths}) > 1:
        return False
    found = [_REDSHIFT.findall(path.stem) for path in paths]
    without = {_REDSHIFT.sub("z", path.name) for path in paths}
    alone = all(len(redshifts) == 1 for redshifts in found)
    return alone and len(without) == 1 and len({one[0] for one in found}) == len(paths)
