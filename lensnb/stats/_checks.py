"""What every statistic asks of its maps: shapes, masks, finite pixels; and batches of maps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..maps import MapGrid
from ..maps.arrays import plain_tensor
from ..maps.grid import wide

# Pixels in a batch. Temporary arrays of 1 or 2 MB stay in a processor's cache.
BATCH_PIXELS = 2**18


def each(maps: Tensor, mask: Tensor | None = None) -> Tensor:
    """Maps ``(..., n, m)`` as one row of maps ``(rows, n, m)``, float32 or float64.

    Pixels that the mask hides are set to zero.

    Args:
        maps: κ, shape ``(..., n, m)``.
        mask: True where the sky was observed, broadcastable to the shape of the maps.
            None: everywhere. Hidden pixels may hold any value, also NaN.

    Raises:
        ValueError: no map, no pixels, complex values, a mask of another shape or dtype, or an
            observed pixel that is NaN or infinite.
    """
    rows = _rows(maps, mask)
    _refuse_nan(rows, 0, len(rows))
    return rows


def _rows(maps: Tensor, mask: Tensor | None) -> Tensor:
    """The maps of :func:`each`, not yet checked for NaN."""
    maps = plain_tensor("a statistic", maps)
    if maps.ndim < 2 or maps.numel() == 0:
        raise ValueError(
            f"a statistic needs maps of the shape (..., n, m), found {tuple(maps.shape)}"
        )
    if maps.is_complex():
        raise ValueError(
            f"a statistic needs real κ, found {maps.dtype}, as of a shear γ₁ + iγ₂; "
            "expected its E mode, see lensnb.shear.kaiser_squires"
        )
    half = maps.dtype in (torch.float16, torch.bfloat16)
    if half or not maps.is_floating_point():
        maps = maps.float()
    if mask is not None:
        maps = torch.where(_fitting(mask, maps), maps, 0)
    return maps.reshape(-1, *maps.shape[-2:])


def _refuse_nan(rows: Tensor, first: int, total: int) -> None:
    """Refuse NaN and infinity in ``rows``, of any shape.

    Args:
        rows: one a map.
        first: number of the first row among all maps.
        total: number of all maps.
    """
    sums = rows.detach().flatten(1).sum(1)  # any NaN or infinity reaches the sum
    bad = ~torch.isfinite(sums)
    if bad.any():
        number = first + int(bad.nonzero()[0])
        raise ValueError(
            f"map {number} of {total} holds NaN or infinity: leave it out or mask its bad pixels"
        )


def each_mask(mask: Tensor | None, maps: Tensor) -> Tensor | None:
    """The masks of the ``rows`` of :func:`each`, bool, ``(rows, n, m)``; None without a mask."""
    if mask is None:
        return None
    mask = _fitting(mask, maps).expand(maps.shape)
    return mask.reshape(-1, *maps.shape[-2:])


def _fitting(mask: Tensor, maps: Tensor) -> Tensor:
    """The mask as a tensor on the device of the maps, once its shape and dtype are checked."""
    mask = plain_tensor("a mask", mask).to(maps.device)
    if mask.ndim < 2:
        raise ValueError(f"a mask needs the shape (n, m), or one a map, found {tuple(mask.shape)}")
    if mask.dtype != torch.bool:
        raise ValueError(
            f"a mask must be boolean, True where the sky was observed; found {mask.dtype}"
        )
    try:
        fits = torch.broadcast_shapes(mask.shape, maps.shape) == maps.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"a mask of the shape {tuple(mask.shape)} does not fit maps of the shape "
            f"{tuple(maps.shape)}"
        )
    return mask


def square(maps: Tensor, side_deg: float) -> MapGrid:
    """The grid of square maps.

    Raises:
        ValueError: the maps are not square.
    """
    if maps.ndim < 2:
        raise ValueError(
            f"a statistic needs maps of the shape (..., n, m), found {tuple(maps.shape)}"
        )
    n, m = maps.shape[-2:]
    if n != m:
        raise ValueError(
            f"this statistic needs square maps, found {n} × {m} pixels; "
            "cut them with lensnb.data.tiles"
        )
    return MapGrid(n, side_deg)


def per_map(
    function: Callable,
    maps: Tensor,
    mask: Tensor | None = None,
    channels: int | None = None,
    pixels: int = BATCH_PIXELS,
    shows_nan: bool = False,
) -> Tensor:
    """Vectors of maps ``(..., n, m)``, checked as by :func:`each` and measured batch by batch.

    Args:
        function: ``function(rows, seen)`` → ``(rows, ...)``, where ``rows`` are maps
            ``(rows, n, m)`` and ``seen`` their masks, of the same shape, or None.
        maps: κ, shape ``(..., n, m)``.
        mask: True where the sky was observed, broadcastable to the maps.
        channels: this many maps belong together. ``maps`` is then ``(..., channels, n, m)`` and
            ``rows`` is ``(rows, channels, n, m)``.
        pixels: in a batch.
        shows_nan: a map with NaN has a vector with NaN. The check then looks at the vectors, which
            is cheaper.

    Returns:
        The results of the function, ``(..., ...)``.
    """
    maps = plain_tensor("a statistic", maps)
    rows, seen = _rows(maps, mask), each_mask(mask, maps)
    leading = maps.shape[:-2]
    if channels is not None:
        leading = leading[:-1]
        rows = rows.unflatten(0, (-1, channels))
        if seen is not None:
            seen = seen.unflatten(0, (-1, channels))
    size = max(1, pixels // rows[0].numel())
    found = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        its_mask = None
        if seen is not None:
            its_mask = seen[start : start + size]
        if not shows_nan:
            # Batch by batch, because the pixels are then in the cache for the function.
            _refuse_nan(part, start, len(rows))
        vectors = function(part, its_mask)
        if shows_nan:
            _refuse_nan(vectors, start, len(rows))
        found.append(vectors)
    found = torch.cat(found)
    return found.reshape(*leading, *found.shape[1:])


def observed(rows: Tensor, seen: Tensor | None) -> Tensor:
    """How many pixels of each map were observed, shape ``(rows, 1)``.

    Raises:
        ValueError: the mask hides a whole map.
    """
    if seen is None:
        return wide(rows.new_full((len(rows), 1), rows[0].numel()))
    count = wide(seen.flatten(1).sum(1, keepdim=True))
    if (count == 0).any():
        raise ValueError("the mask leaves nothing of a map to measure")
    return count


def whole_stencils(rows: Tensor, seen: Tensor | None) -> Tensor | None:
    """Where a pixel and its 8 neighbours were all observed, bool, ``(rows, n − 2, m − 2)``.

    None where there is no mask.

    Raises:
        ValueError: maps without interior pixels.
    """
    n, m = rows.shape[-2:]
    if min(n, m) < 3:
        raise ValueError(
            f"a pixel with 8 neighbours needs maps of at least 3 × 3 pixels, found {n} × {m}"
        )
    if seen is None:
        return None
    along = seen[..., :-2] & seen[..., 1:-1] & seen[..., 2:]
    return along[..., :-2, :] & along[..., 1:-1, :] & along[..., 2:, :]
