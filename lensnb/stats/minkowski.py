"""Minkowski functionals of excursion sets, and what a Gaussian field would have."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..maps import MapGrid
from .histogram import binned, each


def minkowski(maps: Tensor, side_deg: float, edges) -> Tensor:
    """The three Minkowski functionals of the excursion sets {κ ≥ ν} (Schmalzing & Górski 1998; Petri et al. 2013).

    V₀ = (1/A) ∫ Θ(κ − ν),  V₁ = (1/4A) ∫ δ(κ − ν) |∇κ|,
    V₂ = (1/2πA) ∫ δ(κ − ν) (2 κ_x κ_y κ_xy − κ_x² κ_yy − κ_y² κ_xx) / |∇κ|²

    with central finite differences on interior pixels; δ is a top-hat as wide as the bin, so that V₁ and V₂ are averages
    over bins of ν. V₀ is taken at the bins' centres.

    Args:
        maps: κ, shape ``(..., n, n)``.
        side_deg: side of the field, degrees.
        edges: edges of the bins of ν, in κ, shape ``(bins + 1,)``.

    Returns:
        V₀ (an area fraction), V₁ (1/arcmin) and V₂ (1/arcmin²) one after the other, float64, shape ``(..., 3 bins)``.
    """
    step = MapGrid(maps.shape[-1], side_deg).pixel_arcmin
    edges = np.asarray(edges, float)
    width = torch.as_tensor(np.diff(edges), device=maps.device)
    centre = torch.as_tensor((edges[1:] + edges[:-1]) / 2, device=maps.device)
    rows = each(maps).double()
    slope, curve = _gradients(rows, step)
    level = rows[:, 1:-1, 1:-1].flatten(1)
    pixels = level.shape[1]
    ordered = level.sort(-1).values
    v0 = 1 - torch.searchsorted(ordered, centre.expand(len(ordered), -1).contiguous()).double() / pixels
    v1 = binned(level, edges, slope.flatten(1)) / (4 * pixels * width)
    v2 = binned(level, edges, curve.flatten(1)) / (2 * math.pi * pixels * width)
    return torch.cat([v0, v1, v2], -1).reshape(*maps.shape[:-2], -1)


def _gradients(rows: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """|∇κ| and the curvature term of V₂ on interior pixels, shape ``(rows, n − 2, n − 2)``."""
    c = rows[:, 1:-1, 1:-1]
    up, down, left, right = rows[:, :-2, 1:-1], rows[:, 2:, 1:-1], rows[:, 1:-1, :-2], rows[:, 1:-1, 2:]
    ky, kx = (down - up) / (2 * step), (right - left) / (2 * step)
    kyy, kxx = (down - 2 * c + up) / step**2, (right - 2 * c + left) / step**2
    kxy = (rows[:, 2:, 2:] - rows[:, 2:, :-2] - rows[:, :-2, 2:] + rows[:, :-2, :-2]) / (4 * step**2)
    square = kx**2 + ky**2
    curve = (2 * kx * ky * kxy - kx**2 * kyy - ky**2 * kxx) / square.clamp(min=1e-300)
    return square.sqrt(), curve


def gaussian_minkowski(nu, sigma0: float, sigma1: float) -> np.ndarray:
    """The Minkowski functionals that a Gaussian field of zero mean would have (Tomita 1986; Schmalzing & Górski 1998).

    V₀ = ½ erfc(ν / √2 σ₀),  V₁ = (1 / 8√2) (σ₁/σ₀) e^(−ν²/2σ₀²),  V₂ = (1 / 2(2π)^(3/2)) (σ₁/σ₀)² (ν/σ₀) e^(−ν²/2σ₀²)

    Args:
        nu: thresholds in κ, shape ``(bins,)``.
        sigma0: standard deviation of κ.
        sigma1: standard deviation of |∇κ| (both components together), 1/arcmin.

    Returns:
        V₀, V₁, V₂ one after the other, shape ``(3 bins,)``.
    """
    from scipy.special import erfc

    u = np.asarray(nu, float) / sigma0
    bell, ratio = np.exp(-(u**2) / 2), sigma1 / sigma0
    v0 = erfc(u / math.sqrt(2)) / 2
    return np.concatenate([v0, ratio * bell / (8 * math.sqrt(2)), ratio**2 * u * bell / (2 * (2 * math.pi) ** 1.5)])
