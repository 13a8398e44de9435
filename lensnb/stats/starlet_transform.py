"""The starlet transform: a map as a sum of maps, one for each scale; its peaks and ℓ1-norms.

The isotropic undecimated wavelet transform (Starck, Fadili & Murtagh 2007) smooths a map again and
again with the B3-spline h = [1, 4, 6, 4, 1] / 16 along rows and columns. The taps are 2^j pixels
apart at scale j = 0, 1, …. Each step keeps what the smoothing takes away:

    c₀ = κ,   c_{j+1} = h_j * c_j,   w_j = c_j − c_{j+1},

so that κ = w₀ + … + w_{J−1} + c_J exactly. w_j holds structure about 2^(j+1) pixels across. Maps
are cut-outs of the sky and are mirrored at their edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from ..maps import MapGrid
from ._checks import BATCH_PIXELS, each
from ._histogram import bin_index
from .peaks import peak_counts


def starlet_scales(grid: MapGrid) -> int:
    """How many scales have room for eight of their structures across the map, at least one.

    3 for 64² pixels, 5 for 256².
    """
    return max(1, int(math.log2(grid.n)) - 3)


def starlet(maps: Tensor, scales: int) -> Tensor:
    """The starlet transform, with autograd.

    (Starck, Fadili & Murtagh 2007; Starck, Murtagh & Fadili 2010).

    Args:
        maps: κ, shape ``(..., n, m)``.
        scales: number J of scales; see :func:`starlet_scales`.

    Returns:
        w₀, …, w_{J−1} and then the coarse map c_J, in κ, dtype of the maps, shape
        ``(..., scales + 1, n, m)``. They sum to the map.

    Raises:
        ValueError: no scale, or one whose kernel, 2^(j+2) + 1 pixels wide, reaches beyond the
            mirrored map.
    """
    rows = each(maps)
    _check_scales(scales, rows)
    parts = torch.stack(list(_scales(rows, scales)), 1)
    return parts.reshape(*maps.shape[:-2], scales + 1, *maps.shape[-2:])


def _check_scales(scales: int, rows: Tensor) -> None:
    n, m = rows.shape[-2:]
    # The last kernel reaches 2^J pixels, and a mirror repeats all pixels but the edge itself.
    most = int(math.log2(max(min(n, m) - 1, 1)))
    if not 1 <= scales <= most:
        raise ValueError(
            f"maps of {n} × {m} pixels have 1 to {most} starlet scales, found scales = {scales}"
        )


def _batches(rows: Tensor) -> tuple[Tensor, ...]:
    """The maps, a few at a time, so that they stay in a processor's cache."""
    return rows.split(max(1, BATCH_PIXELS // rows[0].numel()))


def _scales(rows: Tensor, scales: int) -> Iterator[Tensor]:
    """w₀, …, w_{J−1}, c_J, each of the shape of ``rows``."""
    for j in range(scales):
        smooth = _smooth(rows, 2**j)
        yield rows - smooth
        rows = smooth
    yield rows


def _smooth(rows: Tensor, step: int) -> Tensor:
    """Convolution with the B3-spline whose taps are ``step`` pixels apart.

    Maps are mirrored at their edges, which are not repeated.
    """
    n, m = rows.shape[-2:]
    wide = pad(rows, (0, 0, 2 * step, 2 * step), mode="reflect")
    shifted = [wide[:, i * step : i * step + n] for i in range(5)]
    rows = _spline(*shifted)
    wide = pad(rows, (2 * step, 2 * step), mode="reflect")
    shifted = [wide[..., i * step : i * step + m] for i in range(5)]
    return _spline(*shifted)


def _spline(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor) -> Tensor:
    """(a + 4b + 6c + 4d + e) / 16."""
    return (a + e).add(b + d, alpha=4).add(c, alpha=6) / 16


def starlet_peak_counts(maps: Tensor, edges, scales: int) -> Tensor:
    """Number of starlet peaks in bins of their height.

    A peak of a scale is an interior pixel whose coefficient w_j is higher than those of all 8
    neighbours (Lin, Kilbinger & Pires 2016; Ajani et al. 2020).

    Args:
        maps: κ, shape ``(..., n, m)``.
        edges: edges of the bins of w_j in κ, one row a scale, ``(scales, bins + 1)``; see
            :func:`starlet_edges`.
        scales: number of scales; see :func:`starlet_scales`.

    Returns:
        Counts a map, scale after scale, float64, shape ``(..., scales · bins)``.

    Raises:
        ValueError: as :func:`starlet`, or edges of another shape or that do not rise.
    """
    return _by_scale(maps, edges, scales, peak_counts)


def starlet_l1(maps: Tensor, edges, scales: int) -> Tensor:
    """Starlet ℓ1-norm: Σ |w_j| over the coefficients in each bin of w_j, with autograd.

    (Ajani, Starck & Pettorino 2021). Arguments and errors are those of
    :func:`starlet_peak_counts`; all pixels count.

    Returns:
        Sums in κ, scale after scale, float64, shape ``(..., scales · bins)``.
    """
    return _by_scale(maps, edges, scales, _l1)


def _by_scale(
    maps: Tensor, edges, scales: int, measure: Callable[[Tensor, np.ndarray], Tensor]
) -> Tensor:
    """``measure(w_j, edges of scale j)`` of all scales, one after the other."""
    rows = each(maps)
    _check_scales(scales, rows)
    edges = np.asarray(edges, float)
    usable = edges.ndim == 2 and len(edges) == scales and edges.shape[1] >= 2
    if not (usable and (np.diff(edges) > 0).all()):
        raise ValueError(
            f"the edges must be {scales} rising rows, one a scale, found the shape {edges.shape}"
        )
    vectors = []
    for part in _batches(rows):
        # The coarse map comes after the last row of edges and is left out.
        found = [measure(w, row) for w, row in zip(_scales(part, scales), edges)]
        vectors.append(torch.cat(found, -1))
    return torch.cat(vectors).reshape(*maps.shape[:-2], -1)


def _l1(w: Tensor, edges: np.ndarray) -> Tensor:
    """Σ |w| in bins, ``(rows, n, m)`` → ``(rows, bins)``.

    Each line of a map is summed first, so that sums in float32 stay short.
    """
    bins, n = len(edges) - 1, w.shape[-2]
    lines = w.flatten(0, 1)
    index = bin_index(lines.detach(), edges).long()
    zeros = lines.new_zeros(len(lines), bins + 2)
    sums = zeros.scatter_add(1, index, lines.abs())
    of_map = sums.double().reshape(-1, n, bins + 2).sum(1)
    return of_map[:, 1:-1]


def starlet_edges(
    reference: Tensor, scales: int, bins: int = 12, peaks: bool = False
) -> np.ndarray:
    """Evenly spaced bins of w_j, as wide as reference maps populate them.

    Each bin, and the range beyond either end, holds at least ten independent values in a hundred
    maps. This is ten peaks, or 10 · 4^j coefficients of scale j, because neighbours within 2^j
    pixels are alike.

    Args:
        reference: κ, shape ``(..., n, m)``, such as the true maps; at most 100 of them are used.
        scales: number of scales; see :func:`starlet_scales`.
        bins: number of bins a scale.
        peaks: bins of the heights of peaks, for :func:`starlet_peak_counts`, instead of all
            coefficients.

    Returns:
        Edges in κ, shape ``(scales, bins + 1)``.

    Raises:
        ValueError: as :func:`starlet`, or a scale with too few peaks, or too little structure, for
            so many bins.
    """
    rows = each(reference)
    _check_scales(scales, rows)
    every = -(-len(rows) // 100)
    rows = rows.detach()[::every]
    values: list[list[Tensor]] = [[] for _ in range(scales)]
    for part in _batches(rows):
        for of_scale, w in zip(values, _scales(part, scales)):
            of_scale.append(_heights(w) if peaks else w.flatten())
    edges = []
    for j, of_scale in enumerate(values):
        alike = 1 if peaks else 4**j
        found = _populated(torch.cat(of_scale).cpu().numpy(), bins, 0.1 * len(rows) * alike)
        if found is None:
            raise ValueError(
                f"scale {j} of the reference maps has too little structure for {bins} bins"
            )
        edges.append(found)
    return np.stack(edges)


def _heights(w: Tensor) -> Tensor:
    inner = w[:, 1:-1, 1:-1]
    return inner[inner == max_pool2d(w, 3, stride=1)]


def _populated(values: np.ndarray, bins: int, least: float) -> np.ndarray | None:
    """Evenly spaced edges with at least ``least`` values in each bin and beyond either end.

    None where there are too few values.
    """
    values = np.sort(values)
    beyond = np.array([least, least])
    while beyond.sum() < len(values):
        below, above = int(beyond[0]), int(beyond[1])
        low, high = float(values[below]), float(values[-1 - above])
        edges = np.linspace(low, high, bins + 1)
        counts = np.diff(np.searchsorted(values, edges))
        if low < high and counts.min() >= least:
            return edges
        # Pull in the end that is thinly populated.
        thin_end = int(counts.argmin() >= bins / 2)
        beyond[thin_end] *= 1.2
    return None
