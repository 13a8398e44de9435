"""Peaks and minima: pixels that are higher, or lower, than all their neighbours."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ._checks import each, observed, per_map, whole_stencils
from ._histogram import binned
from .pixels import moments

# Pixels in a batch. The few peaks of many maps are counted at once, and 4 MB still fit a cache.
_BATCH_PIXELS = 2**20


def peak_counts(maps: Tensor, edges, mask: Tensor | None = None, in_sigma: bool = False) -> Tensor:
    """Number of peaks in bins of their height: interior pixels higher than all 8 neighbours.

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
    return rows[_beyond_neighbours(rows, +1)]


def _counts(rows: Tensor, seen: Tensor | None, edges, in_sigma: bool, sign: int) -> Tensor:
    """Histogram of the peaks (``sign`` = 1) or minima (−1) of each map."""
    rows = rows.detach()
    whole = whole_stencils(rows, seen)
    chosen = _beyond_neighbours(rows, sign)
    if whole is not None:
        observed(rows, whole)  # refuses a mask that leaves no pixel with all its neighbours
        chosen[:, 1:-1, 1:-1] &= whole
    if in_sigma:
        sigma = moments(rows, seen)[:, 0].sqrt().to(rows.dtype)
        rows = rows / sigma[:, None, None]
    return binned(rows.flatten(1), edges, chosen.flatten(1))


def _beyond_neighbours(rows: Tensor, sign: int) -> Tensor:
    """Which interior pixels exceed all 8 neighbours, bool, ``(rows, n, m)``.

    With ``sign`` = −1: which fall below all of them. All maps are one long row that is compared
    with itself, shifted. That is much faster than row by row. At the edges of a map it compares
    with pixels of another row, and so the edges are set to False at the end.
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
    chosen = torch.zeros_like(rows, dtype=torch.bool, memory_format=torch.contiguous_format)
    chosen.view(-1)[m + 1 : -m - 1] = beyond(x[m + 1 : -m - 1], around)
    chosen[:, :: len(chosen[0]) - 1] = False
    chosen[..., :: m - 1] = False
    return chosen
