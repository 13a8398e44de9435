"""Numbers of a map by which a discriminant tells made maps from true ones.

They are the mean of the map, ln of its power in bins of ℓ, and ln of its scattering coefficients.
At some scales there are also the Minkowski functionals, and the square roots of the numbers of
pixels, peaks and minima in bins of their height. The square root gives counts about the same
scatter in all bins. The scales are single pixels, means of 2² and 4² pixels, and for maps of more
than 64² further doublings, up to a sixteenth of the side. Heights are those of transformed maps,
in standard deviations of a pixel.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..maps import MapGrid
from ..maps.grid import wide
from ..stats import (
    minima_counts,
    minkowski,
    pdf,
    peak_counts,
    power_spectrum,
    reduced_scattering,
)
from ..stats.spectrum import ell_edges
from ..transform import KappaTransform

_PIXELS = np.arange(-4, 8.25, 0.5)
_PEAKS = np.array([-np.inf, *np.arange(-1, 4.25, 0.5), 5, 6, np.inf])
_LEVELS = np.arange(-2, 4.25, 0.5)  # of Minkowski functionals
_MINIMA = np.array([-np.inf, *np.arange(-3.5, 1.25, 0.5), np.inf])


def numbers_of_maps(kappa: Tensor, transform: KappaTransform) -> Tensor:
    """The numbers of each map, those of each channel one after the other.

    Args:
        kappa: κ, ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        transform: the κ transform.

    Returns:
        float64, shape ``(maps, numbers)``.
    """
    x = transform(wide(kappa))
    channels = list(zip(_channels(wide(kappa)), _channels(x)))
    return torch.cat([_of_channel(*channel) for channel in channels], 1)


def scales_of(n: int) -> list[int]:
    """Pixels a side of the means of maps with ``n``² pixels."""
    scales = [1, 2, 4]
    while 2 * scales[-1] <= n // 16:
        scales.append(2 * scales[-1])
    return scales


def _channels(maps: Tensor) -> tuple[Tensor, ...]:
    if maps.ndim == 3:
        return (maps,)
    return maps.unbind(1)


def _of_channel(kappa: Tensor, x: Tensor) -> Tensor:
    """The numbers of maps of one channel; both ``(maps, n, n)``."""
    grid = MapGrid(kappa.shape[-1], 1.0)
    power = power_spectrum(kappa, grid.side_deg, ell_edges(grid))
    found = [x.mean((-2, -1))[:, None], power.log(), reduced_scattering(kappa).log()]
    for scale in scales_of(grid.n):
        coarse = F.avg_pool2d(x[:, None], scale)[:, 0]
        counts = [
            pdf(coarse, _PIXELS),
            peak_counts(coarse, _PEAKS),
            minima_counts(coarse, _MINIMA),
        ]
        found += [wide(count).sqrt() for count in counts]
        found.append(minkowski(coarse, grid.side_deg, _LEVELS))
    return torch.cat(found, 1)
