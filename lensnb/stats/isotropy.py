"""Power by the direction of the waves in a map.

The sky is statistically isotropic, so spectra average over all directions. They cannot see a
generator whose maps have more power along one axis than along the other.

The maps must be whole; there is no mask. Rows go down and columns go to the right. κ and ℓ are
dimensionless.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..maps import MapGrid
from ..maps.arrays import plain_tensor
from ..maps.grid import wide
from ._checks import per_map, square

# Angles of the wave vectors at the middle of each sector, degrees.
DIRECTIONS = (0, 45, 90, 135)


def wide_bands(grid: MapGrid) -> np.ndarray:
    """Edges in ℓ of two wide bands for :func:`power_by_direction`.

    They begin at three times the fundamental mode, because longer waves have few directions, and
    end at the Nyquist frequency. Maps below 16 pixels a side have one band. Maps below 24 begin
    lower.

    Returns:
        Edges, shape ``(3,)`` or ``(2,)``.
    """
    bands = 2
    if grid.n < 16:
        bands = 1
    lowest = min(3.0, grid.n / 8) * grid.ell_min
    return np.geomspace(lowest, grid.ell_max, bands + 1)


def power_by_direction(maps: Tensor, side_deg: float, edges) -> Tensor:
    """Share of the power of a wide band in four sectors of the angle of the wave vector.

    s_d = P_d / Σ_d P_d,   P_d = ⟨|κ̃(ℓ)|²⟩ over the modes of the band with |angle − d| < 22.5°,

    for d = 0°, 45°, 90°, 135° and both half planes. A wave of 0° varies along a row, from column
    to column; 45° is towards higher columns and rows. The shares of a band add up to 1. They do
    not depend on the amplitude of the map. Those of isotropic maps are ¼ for a flat spectrum. For
    a steep one they differ, since the modes of the sectors do not have the same ℓ: in the lower
    of two bands of 64² maps, 0.26 along the axes and 0.24 between them. Compare with true maps.

    The map's mean is taken away, and the map is multiplied by a Hann window along both axes,
    sin²(π (i + ½) / n). A cut-out jumps where its edges meet, and without the window this would
    add power along the axes.

    Args:
        maps: κ, shape ``(..., n, n)``.
        side_deg: side of the field, degrees.
        edges: edges of the bands in ℓ, shape ``(bands + 1,)``, as from :func:`wide_bands`.

    Returns:
        s of the four :data:`DIRECTIONS`, band after band, float64, shape ``(..., bands × 4)``;
        NaN for a constant map.

    Raises:
        ValueError: a sector of a band holds no Fourier mode, a band reaches beyond the Nyquist
            frequency, or the maps are not square.
    """
    maps = plain_tensor("a statistic", maps)
    grid = square(maps, side_deg)
    average = _sectors(grid, tuple(float(edge) for edge in edges))
    taper = _hann(grid.n)

    def shares(rows: Tensor, _) -> Tensor:
        kappa = wide(rows)
        kappa = kappa - kappa.mean((-2, -1), keepdim=True)
        tapered = kappa * taper.to(kappa)
        modes = torch.view_as_real(torch.fft.rfft2(tapered))
        power = modes.square().sum(-1).flatten(1) @ average.to(tapered)
        power = power.unflatten(1, (-1, len(DIRECTIONS)))
        share = power / power.sum(-1, keepdim=True)
        return share.flatten(1)

    return per_map(shares, maps)


def _hann(n: int) -> Tensor:
    """A Hann window on the centres of the pixels, so that it is the same from all sides."""
    centres = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    window = torch.sin(math.pi * centres) ** 2
    return window[:, None] * window


@lru_cache(maxsize=8)
def _sectors(grid: MapGrid, edges: tuple[float, ...]) -> Tensor:
    """The matrix that averages over the modes of each sector, band after band.

    The modes are those of ``rfft2``, each weighted with its multiplicity. Shape
    ``(n (n // 2 + 1), bands × 4)``.
    """
    # A wave at the Nyquist frequency of one axis has no sign there, and so no direction.
    if edges[-1] > grid.ell_max * (1 + 1e-9):
        raise ValueError(
            f"a band reaches to ℓ = {edges[-1]:.0f}; directions are known up to the Nyquist "
            f"frequency, ℓ = {grid.ell_max:.0f}"
        )
    row = torch.fft.fftfreq(grid.n, dtype=torch.float64)[:, None]
    column = torch.fft.rfftfreq(grid.n, dtype=torch.float64)
    angle = torch.rad2deg(torch.atan2(row, column))
    # No mode lies between two sectors: the tangent of 22.5° is irrational.
    nearest = torch.round(angle / 45) % len(DIRECTIONS)
    weights = []
    for low, high in zip(edges, edges[1:], strict=False):
        # A mode on the edge must not depend on rounding, and the Nyquist frequency must be out.
        in_band = (grid.ell >= low * (1 - 1e-9)) & (grid.ell < high * (1 - 1e-9))
        for sector, direction in enumerate(DIRECTIONS):
            inside = in_band & (nearest == sector)
            if not inside.any():
                raise ValueError(
                    f"the band from ℓ = {low:.0f} to {high:.0f} holds no Fourier mode near "
                    f"{direction}°: use wider bands"
                )
            weights.append(inside * grid.multiplicity)
    average = torch.stack(weights, -1).flatten(0, 1)
    return average / average.sum(0)
