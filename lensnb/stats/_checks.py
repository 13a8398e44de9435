"""What every statistic asks of the maps it is given, batches of a few pixels, and batched histograms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..maps import MapGrid, wide

PIXELS = 2**18  # in a batch: temporaries of 1 or 2 MB stay in a processor's cache


def each(maps: Tensor, mask: Tensor | None = None) -> Tensor:
    """Maps ``(..., n, m)`` one after the other, ``(rows, n, m)``, float32 or float64, zero where the mask hides them.

    Args:
        maps: κ, shape ``(..., n, m)``.
        mask: True where the sky was observed, broadcastable to the shape of the maps; None: everywhere. Hidden pixels may
            hold anything, NaN too.

    Raises:
        ValueError: no map, no pixels, a mask of another shape or dtype, or an observed pixel that is NaN or infinite.
    """
    rows = _rows(maps, mask)
    _refuse_nan(rows, 0, len(rows))
    return rows


def _rows(maps: Tensor, mask: Tensor | None) -> Tensor:
    maps = torch.as_tensor(maps)
    if maps.ndim < 2 or maps.numel() == 0:
        raise ValueError(
            f"a statistic needs maps of the shape (..., n, m), found {tuple(maps.shape)}"
        )
    if not maps.is_floating_point() or maps.dtype in (torch.float16, torch.bfloat16):
        maps = maps.float()
    if mask is not None:
        maps = torch.where(_fitting(mask, maps), maps, 0)
    return maps.reshape(-1, *maps.shape[-2:])


def _refuse_nan(rows: Tensor, first: int, total: int) -> None:
    """Refuse NaN and infinity in ``rows`` (of any shape), which come as number ``first`` and following of ``total``."""
    bad = ~torch.isfinite(rows.detach().flatten(1).sum(1))  # any NaN or infinity reaches the sum
    if bad.any():
        number = first + int(bad.nonzero()[0])
        raise ValueError(
            f"map {number} of {total} holds NaN or infinity: leave it out or mask its bad pixels"
        )


def each_mask(mask: Tensor | None, maps: Tensor) -> Tensor | None:
    """The mask of each of the ``rows`` of :func:`each`, bool, ``(rows, n, m)``; None where there is none."""
    if mask is None:
        return None
    return _fitting(mask, maps).expand(maps.shape).reshape(-1, *maps.shape[-2:])


def _fitting(mask: Tensor, maps: Tensor) -> Tensor:
    mask = torch.as_tensor(mask, device=maps.device)
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
            f"a mask of the shape {tuple(mask.shape)} does not fit maps of the shape {tuple(maps.shape)}"
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
            f"this statistic needs square maps, found {n} × {m} pixels; cut them with lensnb.data.tiles"
        )
    return MapGrid(n, side_deg)


def per_map(
    function: Callable, maps: Tensor, mask: Tensor | None = None, channels: int | None = None, pixels: int = PIXELS,
    shows_nan: bool = False,
) -> Tensor:  # fmt: skip
    """Vectors of maps ``(..., n, m)``, checked as by :func:`each`, in batches of about so many ``pixels``.

    Args:
        function: ``function(rows, seen)`` → ``(rows, ...)``, of ``(rows, n, m)`` and the masks of the same shape, or None.
        maps: κ, shape ``(..., n, m)``.
        mask: True where the sky was observed, broadcastable to the maps.
        channels: so many maps at a time belong together, ``(..., channels, n, m)`` and ``(rows, channels, n, m)``.
        pixels: in a batch.
        shows_nan: NaN in a map is NaN in its vector, where it is cheaper to look for.

    Returns:
        What the function returned, ``(..., ...)``.
    """
    maps = torch.as_tensor(maps)
    rows, seen, leading = _rows(maps, mask), each_mask(mask, maps), maps.shape[:-2]
    if channels is not None:
        rows, leading = rows.unflatten(0, (-1, channels)), leading[:-1]
        seen = None if seen is None else seen.unflatten(0, (-1, channels))
    size, found = max(1, pixels // rows[0].numel()), []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        if not shows_nan:
            _refuse_nan(
                part, start, len(rows)
            )  # batch by batch: the pixels are then in the cache for what follows
        found.append(function(part, None if seen is None else seen[start : start + size]))
        if shows_nan:
            _refuse_nan(found[-1], start, len(rows))
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
    """Where a pixel and its 8 neighbours were all observed, bool, ``(rows, n − 2, m − 2)``; None where there is no mask.

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


def bin_index(values: Tensor, edges) -> Tensor:
    """The bin of each value, int32: b + 1 where ``edges[b] <= value < edges[b + 1]``, 0 below all, bins + 1 above all.

    Raises:
        ValueError: edges that do not rise.
    """
    edges = torch.as_tensor(edges, dtype=torch.float64).to(values.device, values.dtype)
    if edges.ndim != 1 or len(edges) < 2 or not (edges[1:] > edges[:-1]).all():
        raise ValueError(f"bin edges must be two or more rising numbers, found {edges.tolist()}")
    search = lambda some: torch.bucketize(some, edges, right=True, out_int32=True)  # noqa: E731
    width, eps = edges.diff(), torch.finfo(edges.dtype).eps
    step, rounding = width.mean(), 8 * eps * edges.abs().max()
    if not (width - step).abs().max() <= rounding <= 1e-4 * step:  # infinite, or not evenly spaced
        return search(values.contiguous())
    # Where edges are evenly spaced, arithmetic is several times as fast as a search; what lies near an edge is searched.
    values = values.contiguous()
    place = (values - edges[0]).div_(step).add_(1)
    index = place.clamp(0, len(edges)).int()
    near = place.sub_(place.round()).abs_().lt(1e-3).view(-1).nonzero().squeeze(1)
    index.view(-1)[near] = search(values.view(-1)[near])
    return index


def bin_sums(index: Tensor, bins: int, *weights: Tensor | None) -> list[Tensor]:
    """Counts (weights None) and sums of weights of each map below, in and above the bins that :func:`bin_index` found.

    Args:
        index: of each value, shape ``(rows, ...)``.
        bins: how many.
        weights: shape of ``index`` each, or None: 1.

    Returns:
        float64, shape ``(rows, bins + 2)`` each; the first and last hold what lies outside the bins.
    """
    row = torch.arange(len(index), device=index.device, dtype=torch.int32).view(
        -1, *[1] * (index.ndim - 1)
    )
    return [_sums(index + (bins + 2) * row, w, len(index), bins) for w in weights]


def _sums(flat: Tensor, weights: Tensor | None, rows: int, bins: int) -> Tensor:
    """The same for an index that already counts on from row to row."""
    weights = None if weights is None else wide(weights.detach()).flatten()
    sums = torch.bincount(flat.flatten(), weights, minlength=rows * (bins + 2))
    return wide(sums.reshape(rows, bins + 2))


def binned(values: Tensor, edges, weights: Tensor | None = None) -> Tensor:
    """Histogram of each row: values ``(rows, k)`` → ``(rows, bins)``, float64; outside values are dropped.

    Args:
        values: shape ``(rows, k)``.
        edges: shape ``(bins + 1,)``, rising; bin b holds ``edges[b] <= value < edges[b + 1]``.
        weights: of each value; True and False pick values, and what is not picked costs no time.
    """
    bins = len(edges) - 1
    if weights is not None and weights.dtype == torch.bool:
        place = weights.flatten().nonzero().squeeze(1)  # in rising order: each row's are together
        ends = torch.searchsorted(
            place, values.shape[1] * torch.arange(len(values) + 1, device=place.device)
        )
        first = (bins + 2) * torch.arange(len(values), device=place.device)
        flat = bin_index(values.flatten()[place], edges) + first.repeat_interleave(
            ends.diff(), output_size=len(place)
        )
        return _sums(flat, None, len(values), bins)[:, 1:-1]
    return bin_sums(bin_index(values, edges), bins, weights)[0][:, 1:-1]
