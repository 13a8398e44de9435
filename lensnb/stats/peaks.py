"""Peaks and minima: pixels higher, or lower, than all their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from .histogram import binned, each


def _neighbour_maximum(maps: Tensor) -> Tensor:
    n, m = maps.shape[-2:]
    around = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    best = None
    for i, j in around:
        shifted = maps[..., i : n - 2 + i, j : m - 2 + j]
        best = shifted if best is None else torch.maximum(best, shifted)
    return best


def peak_counts(maps: Tensor, edges) -> Tensor:
    """Number of peaks in bins of their height: interior pixels higher than all 8 neighbours.

    Args:
        maps: κ, shape ``(..., n, n)``.
        edges: bin edges in κ, shape ``(bins + 1,)``.

    Returns:
        Counts a map, float64, shape ``(..., bins)``.
    """
    rows = each(maps)
    inner = rows[:, 1:-1, 1:-1]
    is_peak = inner > _neighbour_maximum(rows)
    return binned(inner.flatten(1), edges, is_peak.flatten(1)).reshape(*maps.shape[:-2], -1)


def minima_counts(maps: Tensor, edges) -> Tensor:
    """Number of minima in bins of their κ: interior pixels lower than all 8 neighbours; see :func:`peak_counts`."""
    rows = each(maps)
    inner = rows[:, 1:-1, 1:-1]
    is_minimum = inner < -_neighbour_maximum(-rows)
    return binned(inner.flatten(1), edges, is_minimum.flatten(1)).reshape(*maps.shape[:-2], -1)
