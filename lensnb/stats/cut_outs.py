"""What to expect of the power spectrum of a square map that was cut out of the sky.

A measured spectrum is not C_ℓ itself. Pixels average κ over squares of side p, and they sample it:
waves that are shorter than two pixels look like longer ones (aliases). With the
:func:`~lensnb.stats.pixel_window` W and ℓ_s = 2π/p, the pixels of a sky without edges have

    P(ℓ) = Σ_m C(|ℓ + m ℓ_s|) W²(ℓ + m ℓ_s),   m = (i, j) integers.

A field of side L has edges, which mix neighbouring ℓ. The power of its modes is the transform of
the correlation function ξ of the pixels, times the share of the field that still lies on itself
when it is shifted by (x, y),

    ⟨|κ̃(ℓ)|²⟩ A / N = p² Σ_xy ξ(x, y) (1 − |x|/L) (1 − |y|/L) e^(−iℓ·(x, y)).

This is exact for the discrete transform of :mod:`lensnb.maps.grid`. The mode ℓ = 0 over the area A
is the variance of the mean of a map.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ..maps import MapGrid

_NODES = 200  # where the spectrum is computed; between them it is interpolated in ln ℓ and ln C_ℓ


def cutout_power(
    power: Callable[[np.ndarray], np.ndarray], grid: MapGrid, sides: int = 8, aliases: int = 2
) -> Tensor:
    """The expected power of each mode of a map, through pixels and the edges of its field.

    ⟨|κ̃(ℓ)|²⟩ A / N = p² Σ_xy ξ(x, y) (1 − |x|/L) (1 − |y|/L) e^(−iℓ·(x, y))

    Args:
        power: ℓ → C_ℓ in sr, positive, of an array of 200 values. Below the fundamental mode of
            the wider sky C_ℓ is taken as constant.
        grid: of the map.
        sides: side of the periodic sky that the map is cut from, in sides of the map, at least 2.
        aliases: how many times the sampling frequency is added along each axis, to either side.

    Returns:
        Power in sr of every mode of ``rfft2``, float64, shape ``(n, n // 2 + 1)``.
    """
    sky = MapGrid(sides * grid.n, sides * grid.side_deg)
    correlation = torch.fft.irfft2(_pixelised(power, sky, aliases))
    pixels = torch.fft.fftfreq(sky.n, 1 / sky.n, dtype=torch.float64).abs()
    overlap = (1 - pixels / grid.n).clamp(min=0)
    modes = torch.fft.rfft2(correlation * overlap[:, None] * overlap).real
    return modes[::sides, ::sides]


def _pixelised(power: Callable[[np.ndarray], np.ndarray], grid: MapGrid, aliases: int) -> Tensor:
    """P(ℓ) of every mode of ``rfft2``, in sr."""
    sampling = 2 * grid.ell_max
    highest = np.sqrt(2) * sampling * (aliases + 0.5)
    nodes = np.geomspace(grid.ell_min, highest, _NODES)
    log_power = np.log(power(nodes))
    row = torch.fft.fftfreq(grid.n, dtype=torch.float64)[:, None]
    column = torch.fft.rfftfreq(grid.n, dtype=torch.float64)
    total = torch.zeros(grid.ell.shape, dtype=torch.float64)
    shifts = range(-aliases, aliases + 1)
    for down, right in product(shifts, shifts):
        y, x = row + down, column + right  # in units of the sampling frequency
        ell = sampling * torch.hypot(y, x).clamp(min=1 / grid.n)
        of_ell = np.exp(np.interp(ell.log(), np.log(nodes), log_power))
        total += torch.from_numpy(of_ell) * (torch.sinc(y) * torch.sinc(x)) ** 2
    return total


def band_averages(modes: Tensor, grid: MapGrid, edges) -> np.ndarray:
    """Averages over the modes of each bin, as :func:`~lensnb.stats.power_spectrum` takes them.

    Args:
        modes: one number for each mode of ``rfft2``, shape ``(n, n // 2 + 1)``.
        grid: of the map.
        edges: bin edges in ℓ, shape ``(bins + 1,)``; each bin holds a mode.

    Returns:
        Shape ``(bins,)``.
    """
    averages = []
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (grid.ell >= low) & (grid.ell < high)
        averages.append(np.average(modes[inside], weights=grid.multiplicity[inside]))
    return np.array(averages)
