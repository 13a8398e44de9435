"""Histograms of many maps at once: the bin of each value, and counts or sums a map and a bin."""

from __future__ import annotations

import torch
from torch import Tensor

from ..maps.grid import wide


def bin_index(values: Tensor, edges) -> Tensor:
    """The bin of each value, int32: b + 1 where ``edges[b] <= value < edges[b + 1]``.

    0 stands for a value below all bins, and bins + 1 for a value above all bins.

    Raises:
        ValueError: edges that do not rise.
    """
    edges = torch.as_tensor(edges, dtype=torch.float64)
    edges = edges.to(values.device, values.dtype)
    enough = edges.ndim == 1 and len(edges) >= 2
    if not (enough and (edges.diff() > 0).all()):
        raise ValueError(f"bin edges must be two or more rising numbers, found {edges.tolist()}")
    values = values.contiguous()
    width = edges.diff()
    step = width.mean()
    eps = torch.finfo(edges.dtype).eps
    rounding = 8 * eps * edges.abs().max()
    unevenness = (width - step).abs().max()
    if unevenness <= rounding <= 1e-4 * step:
        return _even_bin_index(values, edges, step)
    return _searched_bin_index(values, edges)  # uneven or infinite edges


def _searched_bin_index(values: Tensor, edges: Tensor) -> Tensor:
    return torch.bucketize(values, edges, right=True, out_int32=True)


def _even_bin_index(values: Tensor, edges: Tensor, step: Tensor) -> Tensor:
    """The same for evenly spaced edges, by arithmetic, which is several times as fast.

    Values near an edge are searched, so that rounding does not move them to another bin.
    """
    place = (values - edges[0]).div_(step)
    place = place.add_(1)
    index = place.clamp(0, len(edges)).int()
    distance = place.sub_(place.round()).abs_()
    is_near = distance.lt(1e-3).view(-1)
    near = is_near.nonzero().squeeze(1)
    values_near = values.view(-1)[near]
    index.view(-1)[near] = _searched_bin_index(values_near, edges)
    return index


def bin_sums(index: Tensor, bins: int, *weights: Tensor | None) -> list[Tensor]:
    """Counts and sums of weights in each bin of each map, with the bins of :func:`bin_index`.

    Args:
        index: bin of each value, shape ``(rows, ...)``.
        bins: number of bins.
        weights: each of the shape of ``index``, or None for a count.

    Returns:
        One array for each of the weights, float64, shape ``(rows, bins + 2)``. The first and the
        last column hold what lies below and above all bins.
    """
    rows = len(index)
    row = torch.arange(rows, device=index.device, dtype=torch.int32)
    for _ in range(index.ndim - 1):
        row = row.unsqueeze(-1)
    flat = index + (bins + 2) * row
    return [_flat_sums(flat, some, rows, bins) for some in weights]


def _flat_sums(flat: Tensor, weights: Tensor | None, rows: int, bins: int) -> Tensor:
    """The sums of :func:`bin_sums` for an index that goes on counting from row to row."""
    if weights is not None:
        weights = wide(weights.detach()).flatten()
    sums = torch.bincount(flat.flatten(), weights, minlength=rows * (bins + 2))
    return wide(sums.reshape(rows, bins + 2))


def binned(values: Tensor, edges, weights: Tensor | None = None) -> Tensor:
    """Histogram of each row: values ``(rows, k)`` → ``(rows, bins)``, float64.

    Values outside all bins are dropped.

    Args:
        values: shape ``(rows, k)``.
        edges: shape ``(bins + 1,)``, rising; bin b holds ``edges[b] <= value < edges[b + 1]``.
        weights: of each value. Boolean weights select values, and the others cost no time.
    """
    bins = len(edges) - 1
    if weights is not None and weights.dtype == torch.bool:
        return _binned_selection(values, edges, weights)
    index = bin_index(values, edges)
    (sums,) = bin_sums(index, bins, weights)
    return sums[:, 1:-1]


def _binned_selection(values: Tensor, edges, selected: Tensor) -> Tensor:
    """Histogram of the selected values of each row."""
    rows, columns = values.shape
    bins = len(edges) - 1
    # The positions rise, and so those of one row are together.
    place = selected.flatten().nonzero().squeeze(1)
    row = torch.arange(rows + 1, device=place.device)
    ends = torch.searchsorted(place, columns * row)
    selected_a_row = ends.diff()
    first = (bins + 2) * row[:-1]
    first = first.repeat_interleave(selected_a_row, output_size=len(place))
    flat = bin_index(values.flatten()[place], edges) + first
    sums = _flat_sums(flat, None, rows, bins)
    return sums[:, 1:-1]
