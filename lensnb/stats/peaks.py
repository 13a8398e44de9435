"""Peaks and minima: pixels that are higher, or lower, than all their neighbours."""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor

from ._checks import each, observed, per_map, whole_stencils
from ._histogram import binned
from .pixels import moments

# Pixels in a batch. The few peaks of many maps are counted at once, and 4 MB still fit a cache.
_BATCH_PIXELS = 2**20

_NEIGHBOURS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


def peak_counts(maps: Tensor, edges, mask: Tensor | None = None, in_sigma: bool = False) -> Tensor:
    """Number of peaks in bins of their height: interior pixels higher than all 8 neighbours.

    A plateau, equal pixels that touch each other, is one peak if it is higher than all around it
    and does not reach the edge. Rounded maps have many: float16 makes neighbours equal at the top
    of a smooth peak.

    n_b = Σ_p [edge_b ≤ κ_p < edge_{b+1}] [κ_p > κ_q for all 8 neighbours q]

    (Jain & van Waerbeke 2000; Kratochvil, Haiman & May 2010).

    Args:
        maps: κ, shape ``(..., n, m)``.
        edges: bin edges in κ, shape ``(bins + 1,)``; the first and the last may be infinite.
        mask: True where the sky was observed, shape ``(n, m)`` or one a map. Peaks are counted
            where the pixel and all its neighbours were observed.
        in_sigma: heights and ``edges`` are in units of each map's own standard deviation, κ/σ.

    Returns:
        Counts a map, float64, shape ``(..., bins)``.
    """
    counts = partial(_counts, edges=edges, in_sigma=in_sigma, sign=+1)
    return per_map(counts, maps, mask, pixels=_BATCH_PIXELS)


def minima_counts(
    maps: Tensor, edges, mask: Tensor | None = None, in_sigma: bool = False
) -> Tensor:
    """Number of minima in bins of their κ: interior pixels lower than all 8 neighbours.

    Arguments and result are those of :func:`peak_counts`.
    """
    counts = partial(_counts, edges=edges, in_sigma=in_sigma, sign=-1)
    return per_map(counts, maps, mask, pixels=_BATCH_PIXELS)


def peak_heights(maps: Tensor) -> Tensor:
    """The heights in κ of all peaks of all maps ``(..., n, m)``, for choosing bins.

    ``-peak_heights(-maps)`` gives the minima.

    Returns:
        Heights in no particular order, dtype of the maps, shape ``(peaks,)``.
    """
    rows = each(maps).detach()
    whole_stencils(rows, None)  # refuses maps without interior pixels
    return rows[_extrema(rows, None, +1)]


def _counts(rows: Tensor, seen: Tensor | None, edges, in_sigma: bool, sign: int) -> Tensor:
    """Histogram of the peaks (``sign`` = 1) or minima (−1) of each map."""
    rows = rows.detach()
    whole = whole_stencils(rows, seen)
    if whole is not None:
        observed(rows, whole)  # refuses a mask that leaves no pixel with all its neighbours
    chosen = _extrema(rows, whole, sign)
    if in_sigma:
        sigma = moments(rows, seen)[:, 0].sqrt().to(rows.dtype)
        rows = rows / sigma[:, None, None]
    return binned(rows.flatten(1), edges, chosen.flatten(1))


def _extrema(rows: Tensor, whole: Tensor | None, sign: int) -> Tensor:
    """One pixel of each peak (``sign`` = 1) or minimum (−1), bool, ``(rows, n, m)``.

    Args:
        rows: maps ``(rows, n, m)``.
        whole: where a pixel and its neighbours were observed, ``(rows, n − 2, m − 2)``.
        sign: as for :func:`_counts`.
    """
    chosen, level = _beyond_neighbours(rows, sign)
    if whole is not None:
        chosen[:, 1:-1, 1:-1] &= whole
        level[:, 1:-1, 1:-1] &= whole
    with_ties = level.flatten(1).any(1).nonzero()[:, 0]  # rare in float32
    for number in with_ties.tolist():
        plateaus = _plateaus(rows[number].cpu().numpy(), level[number].cpu().numpy())
        chosen[number] |= torch.from_numpy(plateaus).to(chosen.device)
    return chosen


def _plateaus(values: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The first pixel of each plateau that is a peak or a minimum, bool, ``(n, m)``.

    Pixels of ``level`` that touch each other are equal. A group of them is no peak if it also
    touches an equal pixel that is not in ``level``: one with a higher neighbour, at the edge, or
    beside a hidden pixel.

    Args:
        values: one map, ``(n, m)``.
        level: interior pixels that are as high as the highest of their neighbours, ``(n, m)``.
    """
    groups, count = scipy.ndimage.label(level, np.ones((3, 3)))
    row, column = np.nonzero(level)
    own = groups[row, column]
    failed = np.zeros(count + 1, bool)
    for down, right in _NEIGHBOURS:
        beside = (row + down, column + right)
        equal = values[beside] == values[row, column]
        failed[own[equal & ~level[beside]]] = True
    _, first = np.unique(own, return_index=True)
    first = first[~failed[1:]]
    chosen = np.zeros_like(level)
    chosen[row[first], column[first]] = True
    return chosen


def _beyond_neighbours(rows: Tensor, sign: int) -> tuple[Tensor, Tensor]:
    """Which interior pixels exceed all 8 neighbours, and which are level with the highest of them.

    Two of bool, ``(rows, n, m)``. With ``sign`` = −1: which fall below all of them, and which are
    level with the lowest. All maps are one long row that is compared with itself, shifted. That is
    much faster than row by row. At the edges of a map it compares with pixels of another row, and
    so the edges are set to False at the end.
    """
    extreme, beyond = torch.maximum, torch.gt
    if sign < 0:
        extreme, beyond = torch.minimum, torch.lt
    m = rows.shape[-1]
    x = rows.flatten()
    sides = extreme(x[:-2], x[2:])
    three = extreme(sides, x[1:-1])  # of three pixels of one row
    around = extreme(three[: -2 * m], three[2 * m :])  # the rows above and below
    extreme(around, sides[m:-m], out=around)
    inner = x[m + 1 : -m - 1]
    found = []
    for compared in (beyond(inner, around), inner == around):
        chosen = torch.zeros_like(rows, dtype=torch.bool, memory_format=torch.contiguous_format)
        chosen.view(-1)[m + 1 : -m - 1] = compared
        chosen[:, :: len(chosen[0]) - 1] = False
        chosen[..., :: m - 1] = False
        found.append(chosen)
    return found[0], found[1]
