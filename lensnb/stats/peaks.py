"""Peaks and minima: pixels higher, or lower, than all their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from .histogram import binned, each, observed, per_map, whole_stencils
from .pixels import moments

PIXELS = 2**19  # in a batch: the few peaks of many maps are counted at once, and what 2 MB need still fits into a cache


def peak_counts(maps: Tensor, edges, mask: Tensor | None = None, in_sigma: bool = False) -> Tensor:
    """Number of peaks in bins of their height: interior pixels higher than all 8 neighbours.

    n_b = Σ_p [edge_b ≤ κ_p < edge_{b+1}] [κ_p > κ_q for all 8 neighbours q] (Jain & van Waerbeke 2000; Kratochvil, Haiman
    & May 2010).

    Args:
        maps: κ, shape ``(..., n, m)``.
        edges: bin edges in κ, shape ``(bins + 1,)``; the ends may be infinite.
        mask: True where the sky was observed, shape ``(n, m)`` or one a map; peaks are looked for where the pixel and all
            its neighbours were observed.
        in_sigma: heights, and so ``edges``, in units of each map's own standard deviation, κ/σ, instead of κ.

    Returns:
        Counts a map, float64, shape ``(..., bins)``.
    """
    return per_map(lambda rows, seen: _counts(rows, seen, edges, in_sigma, +1), maps, mask, pixels=PIXELS)


def minima_counts(maps: Tensor, edges, mask: Tensor | None = None, in_sigma: bool = False) -> Tensor:
    """Number of minima in bins of their κ: interior pixels lower than all 8 neighbours; see :func:`peak_counts`."""
    return per_map(lambda rows, seen: _counts(rows, seen, edges, in_sigma, -1), maps, mask, pixels=PIXELS)


def peak_heights(maps: Tensor) -> Tensor:
    """The heights of all peaks of all maps ``(..., n, m)`` in one row, for choosing bins; ``-peak_heights(-maps)``: minima."""
    rows = each(maps).detach()
    whole_stencils(rows, None)
    return rows[:, 1:-1, 1:-1][_higher_than_neighbours(rows)]


def _counts(rows: Tensor, seen: Tensor | None, edges, in_sigma: bool, sign: int) -> Tensor:
    """Histogram of the peaks (``sign`` = 1) or minima (−1) of each map."""
    rows = rows.detach()
    chosen = _higher_than_neighbours(rows if sign > 0 else -rows)
    whole = whole_stencils(rows, seen)
    if whole is not None:
        observed(rows, whole)
        chosen &= whole
    if in_sigma:
        rows = rows / moments(rows, seen)[:, 0].sqrt().to(rows.dtype)[:, None, None]
    return binned(rows[:, 1:-1, 1:-1].flatten(1), edges, chosen.flatten(1))


def _higher_than_neighbours(rows: Tensor) -> Tensor:
    """Which interior pixels exceed all 8 neighbours, bool, ``(rows, n − 2, m − 2)``."""
    sides = torch.maximum(rows[..., :-2], rows[..., 2:])
    three = torch.maximum(sides, rows[..., 1:-1])  # the highest of three in a row
    around = torch.maximum(torch.maximum(three[..., :-2, :], three[..., 2:, :]), sides[..., 1:-1, :])
    return rows[..., 1:-1, 1:-1] > around
