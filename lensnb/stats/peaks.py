"""Peaks and minima: pixels higher, or lower, than all their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from ._checks import binned, each, observed, per_map, whole_stencils
from .pixels import moments

PIXELS = (
    2**20
)  # in a batch: the few peaks of many maps are counted at once, and what 4 MB need still fits into a cache


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
    return per_map(
        lambda rows, seen: _counts(rows, seen, edges, in_sigma, +1), maps, mask, pixels=PIXELS
    )


def minima_counts(
    maps: Tensor, edges, mask: Tensor | None = None, in_sigma: bool = False
) -> Tensor:
    """Number of minima in bins of their κ: interior pixels lower than all 8 neighbours; see :func:`peak_counts`."""
    return per_map(
        lambda rows, seen: _counts(rows, seen, edges, in_sigma, -1), maps, mask, pixels=PIXELS
    )


def peak_heights(maps: Tensor) -> Tensor:
    """The heights of all peaks of all maps ``(..., n, m)`` in one row, for choosing bins; ``-peak_heights(-maps)``: minima."""
    rows = each(maps).detach()
    whole_stencils(rows, None)
    return rows[_beyond_neighbours(rows, +1)]


def _counts(rows: Tensor, seen: Tensor | None, edges, in_sigma: bool, sign: int) -> Tensor:
    """Histogram of the peaks (``sign`` = 1) or minima (−1) of each map."""
    rows, whole = rows.detach(), whole_stencils(rows, seen)
    chosen = _beyond_neighbours(rows, sign)
    if whole is not None:
        observed(rows, whole)
        chosen[:, 1:-1, 1:-1] &= whole
    if in_sigma:
        rows = rows / moments(rows, seen)[:, 0].sqrt().to(rows.dtype)[:, None, None]
    return binned(rows.flatten(1), edges, chosen.flatten(1))


def _beyond_neighbours(rows: Tensor, sign: int) -> Tensor:
    """Which interior pixels exceed all 8 neighbours (``sign`` = 1), or fall below them (−1), bool, ``(rows, n, m)``.

    All maps are compared as one long row, shifted against itself: much faster than row by row. At the edges of a map that
    compares with pixels from elsewhere, and so they are struck out.
    """
    extreme, beyond = (torch.maximum, torch.gt) if sign > 0 else (torch.minimum, torch.lt)
    m, x = rows.shape[-1], rows.flatten()
    sides = extreme(x[:-2], x[2:])
    three = extreme(sides, x[1:-1])  # of three pixels in a row
    around = extreme(three[: -2 * m], three[2 * m :])
    extreme(around, sides[m:-m], out=around)
    chosen = torch.zeros_like(rows, dtype=torch.bool, memory_format=torch.contiguous_format)
    chosen.view(-1)[m + 1 : -m - 1] = beyond(x[m + 1 : -m - 1], around)
    chosen[:, :: len(chosen[0]) - 1] = False
    chosen[..., :: m - 1] = False
    return chosen
