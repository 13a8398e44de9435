"""The starlet transform: a map as a sum of maps of its structure, scale by scale; its peak counts and ℓ1-norms.

The isotropic undecimated wavelet transform (Starck, Fadili & Murtagh 2007) smooths a map again and again with the B3-spline
h = [1, 4, 6, 4, 1] / 16 along rows and columns, its taps 2^j pixels apart at scale j = 0, 1, …, and keeps what each
smoothing takes away:

    c₀ = κ,   c_{j+1} = h_j * c_j,   w_j = c_j − c_{j+1},   so that   κ = w₀ + … + w_{J−1} + c_J   exactly.

w_j holds structure about 2^(j+1) pixels across. Maps are cut-outs of the sky and are mirrored at their edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from ..maps import MapGrid
from ._checks import bin_index, each
from .peaks import peak_counts

BATCH = 2**18  # pixels at a time: what fits in a processor's cache


def starlet_scales(grid: MapGrid) -> int:
    """How many scales have room for eight of their structures across the map, at least one: 3 for 64², 5 for 256²."""
    return max(1, int(math.log2(grid.n)) - 3)


def starlet(maps: Tensor, scales: int) -> Tensor:
    """The starlet transform (Starck, Fadili & Murtagh 2007; Starck, Murtagh & Fadili 2010), with autograd.

    Args:
        maps: κ, shape ``(..., n, m)``.
        scales: number J of scales; see :func:`starlet_scales`.

    Returns:
        w₀, …, w_{J−1} and then the coarse map c_J, in κ, dtype of the maps, shape ``(..., scales + 1, n, m)``. They sum to
        the map.

    Raises:
        ValueError: no scale, or one whose kernel, 2^(j+2) + 1 pixels wide, reaches beyond the mirrored map.
    """
    rows = each(maps)
    parts = list(_scales(rows, _checked(scales, rows)))
    return torch.stack(parts, 1).reshape(*maps.shape[:-2], scales + 1, *maps.shape[-2:])


def _checked(scales: int, rows: Tensor) -> int:
    n, m = rows.shape[-2:]
    most = int(
        math.log2(max(min(n, m) - 1, 1))
    )  # the last kernel reaches 2^J pixels, and mirrors all but the edge itself
    if not 1 <= scales <= most:
        raise ValueError(
            f"maps of {n} × {m} pixels have 1 to {most} starlet scales, found scales = {scales}"
        )
    return scales


def _scales(rows: Tensor, scales: int) -> Iterator[Tensor]:
    """w₀, …, w_{J−1}, c_J, each of the shape of ``rows``."""
    for j in range(scales):
        fine, rows = rows, _smooth(rows, 2**j)
        yield fine - rows
    yield rows


def _smooth(rows: Tensor, step: int) -> Tensor:
    """Convolution with the B3-spline whose taps are ``step`` pixels apart; mirrored at the edges, which are not repeated."""
    n, m = rows.shape[-2:]
    wide = pad(rows, (0, 0, 2 * step, 2 * step), mode="reflect")
    rows = _spline(*(wide[:, i * step : i * step + n] for i in range(5)))
    wide = pad(rows, (2 * step, 2 * step), mode="reflect")
    return _spline(*(wide[..., i * step : i * step + m] for i in range(5)))


def _spline(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor) -> Tensor:
    return (a + e).add(b + d, alpha=4).add(c, alpha=6) / 16


def starlet_peak_counts(maps: Tensor, edges, scales: int) -> Tensor:
    """Number of starlet peaks in bins of their height (Lin, Kilbinger & Pires 2016; Ajani et al. 2020).

    A peak of a scale is an interior pixel whose coefficient w_j is higher than those of all 8 neighbours.

    Args:
        maps: κ, shape ``(..., n, m)``.
        edges: edges of the bins of w_j in κ, one row a scale, ``(scales, bins + 1)``; see :func:`starlet_edges`.
        scales: number of scales; see :func:`starlet_scales`.

    Returns:
        Counts a map, scale after scale, float64, shape ``(..., scales · bins)``.

    Raises:
        ValueError: as :func:`starlet`, or edges of another shape or that do not rise.
    """
    return _by_scale(maps, edges, scales, peak_counts)


def starlet_l1(maps: Tensor, edges, scales: int) -> Tensor:
    """Starlet ℓ1-norm: Σ |w_j| over the coefficients in each bin of w_j (Ajani, Starck & Pettorino 2021), with autograd.

    Arguments and errors are those of :func:`starlet_peak_counts`; all pixels count.

    Returns:
        Sums in κ, scale after scale, float64, shape ``(..., scales · bins)``.
    """
    return _by_scale(maps, edges, scales, _l1)


def _by_scale(
    maps: Tensor, edges, scales: int, measure: Callable[[Tensor, np.ndarray], Tensor]
) -> Tensor:
    rows = each(maps)
    _checked(scales, rows)
    edges = np.asarray(edges, float)
    if (
        edges.ndim != 2
        or len(edges) != scales
        or edges.shape[1] < 2
        or not (np.diff(edges) > 0).all()
    ):
        raise ValueError(
            f"the edges must be {scales} rising rows, one a scale, found the shape {edges.shape}"
        )
    parts = rows.split(max(1, BATCH // rows[0].numel()))
    vectors = [
        torch.cat([measure(w, row) for w, row in zip(_scales(part, scales), edges)], -1)
        for part in parts
    ]
    return torch.cat(vectors).reshape(*maps.shape[:-2], -1)


def _l1(w: Tensor, edges: np.ndarray) -> Tensor:
    """Σ |w| in bins, ``(rows, n, m)`` → ``(rows, bins)``; by lines of the map first, so that float32 sums stay short."""
    bins, n = len(edges) - 1, w.shape[-2]
    lines = w.flatten(0, 1)
    sums = lines.new_zeros(len(lines), bins + 2).scatter_add(
        1, bin_index(lines.detach(), edges).long(), lines.abs()
    )
    return sums.double().reshape(-1, n, bins + 2).sum(1)[:, 1:-1]


def starlet_edges(
    reference: Tensor, scales: int, bins: int = 12, peaks: bool = False
) -> np.ndarray:
    """Evenly spaced bins of w_j that reach as far as a scatter can be measured in reference maps, such as the true ones.

    Each bin holds ten in a hundred maps or more, and so do the values beyond either end: ten peaks, or ten coefficients
    that have nothing to do with each other, which takes 10 · 4^j of scale j, as neighbours within 2^j pixels are alike.

    Args:
        reference: κ, shape ``(..., n, m)``; at most 100 maps of them are looked at.
        scales: number of scales; see :func:`starlet_scales`.
        bins: number of bins a scale.
        peaks: bins of the heights of peaks, for :func:`starlet_peak_counts`, instead of all coefficients.

    Returns:
        Edges in κ, shape ``(scales, bins + 1)``.

    Raises:
        ValueError: as :func:`starlet`, or a scale with too few peaks, or too little structure, for so many bins.
    """
    rows = each(reference)
    _checked(scales, rows)
    rows = rows.detach()[:: -(-len(rows) // 100)]
    parts = [
        [_heights(w) if peaks else w.flatten() for w in _scales(part, scales)]
        for part in rows.split(max(1, BATCH // rows[0].numel()))
    ]
    least = [0.1 * len(rows) * (1 if peaks else 4**j) for j in range(scales)]
    edges = [_populated(torch.cat(w).cpu().numpy(), bins, k) for w, k in zip(zip(*parts), least)]
    if empty := [j for j, e in enumerate(edges) if e is None]:
        raise ValueError(
            f"scale {empty[0]} of the reference maps has too little structure for {bins} bins"
        )
    return np.stack(edges)


def _heights(w: Tensor) -> Tensor:
    inner = w[:, 1:-1, 1:-1]
    return inner[inner == max_pool2d(w, 3, stride=1)]


def _populated(values: np.ndarray, bins: int, least: float) -> np.ndarray | None:
    """Evenly spaced edges with ``least`` values in each bin and beyond either end; None where there are too few."""
    values, beyond = np.sort(values), np.array([least, least])
    while beyond.sum() < len(values):
        low, high = float(values[int(beyond[0])]), float(values[-1 - int(beyond[1])])
        edges = np.linspace(low, high, bins + 1)
        counts = np.diff(np.searchsorted(values, edges))
        if low < high and counts.min() >= least:
            return edges
        beyond[int(counts.argmin() >= bins / 2)] *= 1.2  # pull in the end that is thinly populated
    return None
