"""What every statistic asks of the maps it is given, and batched histograms."""

from __future__ import annotations

import torch
from torch import Tensor

from ..maps import MapGrid


def each(maps: Tensor, mask: Tensor | None = None) -> Tensor:
    """Maps ``(..., n, m)`` one after the other, ``(rows, n, m)``, float32 or float64, zero where the mask hides them.

    Args:
        maps: κ, shape ``(..., n, m)``.
        mask: True where the sky was observed, broadcastable to the shape of the maps; None: everywhere. Hidden pixels may
            hold anything, NaN too.

    Raises:
        ValueError: no map, no pixels, a mask of another shape or dtype, or an observed pixel that is NaN or infinite.
    """
    maps = torch.as_tensor(maps)
    if maps.ndim < 2 or maps.numel() == 0:
        raise ValueError(f"a statistic needs maps of the shape (..., n, m), found {tuple(maps.shape)}")
    if not maps.is_floating_point() or maps.dtype in (torch.float16, torch.bfloat16):
        maps = maps.float()
    if mask is not None:
        maps = torch.where(_fitting(mask, maps), maps, 0)
    rows = maps.reshape(-1, *maps.shape[-2:])
    bad = ~torch.isfinite(rows.detach().sum((-2, -1)))  # any NaN or infinity reaches the sum
    if bad.any():
        advice = "leave it out or mask its bad pixels" if mask is None else "mask those pixels too"
        raise ValueError(f"map {int(bad.nonzero()[0])} of {len(rows)} holds NaN or infinity: {advice}")
    return rows


def each_mask(mask: Tensor | None, maps: Tensor) -> Tensor | None:
    """The mask of each of the ``rows`` of :func:`each`, bool, ``(rows, n, m)``; None where there is none."""
    if mask is None:
        return None
    return _fitting(mask, maps).expand(maps.shape).reshape(-1, *maps.shape[-2:])


def _fitting(mask: Tensor, maps: Tensor) -> Tensor:
    mask = torch.as_tensor(mask, device=maps.device)
    if mask.dtype != torch.bool:
        raise ValueError(f"a mask must be boolean, True where the sky was observed; found {mask.dtype}")
    try:
        fits = torch.broadcast_shapes(mask.shape, maps.shape) == maps.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"a mask of the shape {tuple(mask.shape)} does not fit maps of the shape {tuple(maps.shape)}")
    return mask


def square(maps: Tensor, side_deg: float) -> MapGrid:
    """The grid of square maps.

    Raises:
        ValueError: the maps are not square.
    """
    n, m = maps.shape[-2:]
    if n != m:
        raise ValueError(f"this statistic needs square maps, found {n} × {m} pixels; cut them with lensnb.data.tiles")
    return MapGrid(n, side_deg)


def binned(values: Tensor, edges, weights: Tensor | None = None) -> Tensor:
    """Weighted histogram of each row: values ``(rows, k)`` → ``(rows, bins)``, float64; outside values are dropped."""
    edges = torch.as_tensor(edges, dtype=values.dtype, device=values.device)
    bins = len(edges) - 1
    index = torch.bucketize(values, edges, right=True) - 1  # bin b holds edges[b] <= value < edges[b + 1]
    index = torch.where((index >= 0) & (index < bins), index, bins)
    index = index + (bins + 1) * torch.arange(len(values), device=values.device)[:, None]
    flat = None if weights is None else weights.double().flatten()
    counts = torch.bincount(index.flatten(), flat, minlength=len(values) * (bins + 1))
    return counts.reshape(len(values), bins + 1)[:, :bins].double()
