"""One-point statistics: the PDF of the pixels and its moments."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .histogram import binned, each


def pdf(maps: Tensor, edges) -> Tensor:
    """Probability density of the pixels' κ in bins, shape ``(..., bins)``, in units of 1/κ.

    Normalised by all pixels of the map, so that it integrates to the fraction of pixels inside the edges.
    """
    width = torch.as_tensor(np.diff(edges), device=maps.device)
    rows = each(maps).flatten(1)
    return (binned(rows, edges) / (rows.shape[1] * width)).reshape(*maps.shape[:-2], -1)


def moments(maps: Tensor) -> Tensor:
    """Variance, skewness μ₃ / σ³ and excess kurtosis μ₄ / σ⁴ − 3 of the pixels, shape ``(..., 3)``.

    Moments are central about each map's own mean; the variance is in units of κ².
    """
    x = maps.double().flatten(-2)
    x = x - x.mean(-1, keepdim=True)
    var = x.square().mean(-1)
    return torch.stack([var, (x**3).mean(-1) / var**1.5, (x**4).mean(-1) / var**2 - 3], -1)
