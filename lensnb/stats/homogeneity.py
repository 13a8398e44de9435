"""Statistics that depend on the place in a map: its rings, quadrants and edges; mean and extremes.

The sky is statistically homogeneous, so most statistics average over all pixels. They cannot see
opposite edges that are correlated, borders that are too faint, or structure that is always in one
corner. Most of them do not see the mean of a map, either.

The maps must be whole; there is no mask. Rows go down and columns go to the right: "top left" is
the corner of pixel (0, 0). Regions are counted in pixels. κ is dimensionless.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..maps.arrays import plain_tensor
from ..maps.grid import wide
from ._checks import per_map, square

QUADRANTS = ("top left", "top right", "bottom left", "bottom right")


def map_mean(maps: Tensor) -> Tensor:
    """The mean κ of each map, which is its mode ℓ = 0.

    Args:
        maps: κ, shape ``(..., n, m)``.

    Returns:
        The mean, float64, shape ``(..., 1)``.
    """

    def mean(rows: Tensor, _) -> Tensor:
        return wide(rows).mean((-2, -1))[:, None]

    return per_map(mean, maps)


def extremes(maps: Tensor) -> Tensor:
    """The largest and the smallest pixel of each map.

    Args:
        maps: κ, shape ``(..., n, m)``.

    Returns:
        Largest and smallest κ, in this order, float64, shape ``(..., 2)``.
    """

    def largest_and_smallest(rows: Tensor, _) -> Tensor:
        largest = rows.amax((-2, -1))
        smallest = rows.amin((-2, -1))
        return wide(torch.stack([largest, smallest], -1))

    return per_map(largest_and_smallest, maps)


# ---------------------------------------------------------------- edges


def edge_products(maps: Tensor) -> Tensor:
    """Mean product of opposite edges of a map, and mean square of its edges.

    P = (⟨κ_left κ_right⟩ + ⟨κ_top κ_bottom⟩) / 2
    S = (⟨κ²_left⟩ + ⟨κ²_right⟩ + ⟨κ²_top⟩ + ⟨κ²_bottom⟩) / 4

    κ is taken without the mean of its map. :func:`seam_correlation` makes a correlation of them.

    Args:
        maps: κ, shape ``(..., n, m)``.

    Returns:
        P and S in κ², float64, shape ``(..., 2)``. |P| is never larger than S.
    """

    def product_and_square(rows: Tensor, _) -> Tensor:
        mean = wide(rows).mean((-2, -1))[:, None]
        left, right = wide(rows[..., 0]) - mean, wide(rows[..., -1]) - mean
        top, bottom = wide(rows[..., 0, :]) - mean, wide(rows[..., -1, :]) - mean
        product = (left * right).mean(-1) + (top * bottom).mean(-1)
        squares = (left**2 + right**2).mean(-1) + (top**2 + bottom**2).mean(-1)
        return torch.stack([product / 2, squares / 4], -1)

    return per_map(product_and_square, maps)


def seam_correlation(mean_products) -> np.ndarray:
    """Correlation of opposite edges of a set of maps, Σ P / Σ S.

    It is near 1 for maps that are periodic and smooth, because opposite edges are then neighbours.

    For a cut-out of the sky it is near 0 but not exactly 0. Waves longer than the map connect its
    edges, and taking away the mean of a map connects all its pixels. Compare it with true maps.

    Args:
        mean_products: the mean of :func:`edge_products` over maps, shape ``(..., 2)``, or
            ``(..., channels × 2)``, channel after channel. Their sum will do as well.

    Returns:
        The correlation, −1…1, shape ``(..., channels)``.
    """
    mean_products = np.asarray(mean_products)
    products, squares = mean_products[..., 0::2], mean_products[..., 1::2]
    return products / squares


# ---------------------------------------------------------------- place


def ring_edges(n: int) -> tuple[int, ...]:
    """Edges of four square rings, in pixels from the edge of the map.

    The outermost ring is 1/20 of the side wide, at least a pixel. The next ones end at 1/8, 1/4
    and 1/2 of the side.

    Returns:
        Rising edges from 0 to ``(n + 1) // 2``. Maps below 16 pixels a side have fewer rings.
    """
    outermost = max(1, round(n / 20))
    return tuple(sorted({0, outermost, max(1, n // 8), max(1, n // 4), (n + 1) // 2}))


def variance_by_place(maps: Tensor, edges) -> Tensor:
    """Variance in square rings and in quadrants, as a ratio to the variance of the same map.

    v_r = ⟨(κ − κ̄)²⟩_r / ⟨(κ − κ̄)²⟩,   κ̄ and the denominator of the whole map.

    The ratio does not depend on the amplitude of a map. Amplitudes vary much from map to map: for
    N-body maps the ratio has half the error of the variance itself.

    The mean over many maps of the sky is the same in all quadrants. It falls a little from the
    edge to the centre, because κ̄ follows the large waves at the centre better than at the edge.

    Args:
        maps: κ, shape ``(..., n, n)``.
        edges: edges of the rings, whole pixels from the edge of the map, as from
            :func:`ring_edges`. Ring r holds the pixels that have at least ``edges[r]`` and fewer
            than ``edges[r + 1]`` pixels between them and the edge.

    Returns:
        v of each ring from the edge inwards and then of the :data:`QUADRANTS`, float64, shape
        ``(..., rings + 4)``; NaN for a constant map. An odd map has a middle row and column that
        belong to no quadrant.

    Raises:
        ValueError: a ring holds no pixel, or the maps are not square.
    """
    maps = plain_tensor("a statistic", maps)
    grid = square(maps, 1.0)
    average = _regions(grid.n, tuple(edges))

    def ratios(rows: Tensor, _) -> Tensor:
        kappa = wide(rows)
        kappa = kappa - kappa.mean((-2, -1), keepdim=True)
        squares = kappa.square().flatten(1)
        variance = squares.mean(1, keepdim=True)
        return squares @ average.to(squares) / variance

    return per_map(ratios, maps)


@lru_cache(maxsize=8)
def _regions(n: int, edges: tuple[int, ...]) -> Tensor:
    """The matrix that averages over rings and then quadrants, shape ``(n², rings + 4)``."""
    pixel = torch.arange(n)
    along = torch.minimum(pixel, n - 1 - pixel)
    distance = torch.minimum(along[:, None], along)
    regions = []
    for inner, outer in zip(edges, edges[1:], strict=False):
        ring = (distance >= inner) & (distance < outer)
        if not ring.any():
            raise ValueError(
                f"the ring from {inner} to {outer} pixels holds no pixel of maps of {n} a side"
            )
        regions.append(ring)
    first, second = pixel < n // 2, pixel >= n - n // 2
    for rows in (first, second):
        for columns in (first, second):
            regions.append(rows[:, None] & columns)
    average = torch.stack(regions, -1).double().flatten(0, 1)
    return average / average.sum(0)
