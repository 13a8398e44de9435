"""Minkowski functionals of excursion sets, and their values for a Gaussian field."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ._checks import observed, per_map, square, whole_stencils
from ._histogram import bin_index, bin_sums


def minkowski(maps: Tensor, side_deg: float, edges, mask: Tensor | None = None) -> Tensor:
    """The three Minkowski functionals of the excursion sets {κ ≥ ν}.

    V₀ = (1/A) ∫ Θ(κ − ν),  V₁ = (1/4A) ∫ δ(κ − ν) |∇κ|,
    V₂ = (1/2πA) ∫ δ(κ − ν) (2 κ_x κ_y κ_xy − κ_x² κ_yy − κ_y² κ_xx) / |∇κ|²

    (Schmalzing & Górski 1998; Petri et al. 2013), with central finite differences on interior
    pixels. δ is a top-hat as wide as the bin, so that V₁ and V₂ are averages over bins of ν.
    V₀ is evaluated at the centres of the bins.

    Args:
        maps: κ, shape ``(..., n, n)``.
        side_deg: side of the field, degrees.
        edges: edges of the bins of ν, in κ, shape ``(bins + 1,)``.
        mask: True where the sky was observed, shape ``(n, n)`` or one a map. Only pixels enter
            that were observed together with their 8 neighbours, and A is their area.

    Returns:
        V₀ (an area fraction), V₁ (1/arcmin) and V₂ (1/arcmin²) one after the other, float64,
        shape ``(..., 3 bins)``.
    """
    edges = np.asarray(edges, float)
    low, high = edges[:-1], edges[1:]
    width = torch.as_tensor(high - low)
    # Each bin is counted in two halves, because V₀ at its centre is the share above the lower one.
    centre = (high + low) / 2
    halves = np.stack([low, centre], 1).ravel()
    halves = np.append(halves, edges[-1:])

    def functionals(rows: Tensor, seen: Tensor | None) -> Tensor:
        whole = whole_stencils(rows, seen)
        rows = rows.detach()
        level = rows[:, 1:-1, 1:-1]
        pixels = observed(level, whole)
        index = bin_index(level, halves)
        if whole is not None:
            index = torch.where(whole, index, len(halves))  # beyond the last bin
        step = square(rows, side_deg).pixel_arcmin
        slope, curve = _gradients(rows, step)
        counts, slopes, curves = bin_sums(index, len(halves) - 1, None, slope, curve)
        below = counts.cumsum(1)[:, 1:-1:2]
        v0 = 1 - below / pixels
        area = pixels * width.to(pixels)
        v1 = _both_halves(slopes) / area / 4
        v2 = _both_halves(curves) / area / (2 * math.pi)
        return torch.cat([v0, v1, v2], 1)

    return per_map(functionals, maps, mask)


def _both_halves(sums: Tensor) -> Tensor:
    """The sums of whole bins from those of their halves, without what lies outside all bins."""
    inside = sums[:, 1:-1]
    return inside.unflatten(1, (-1, 2)).sum(-1)


def _gradients(rows: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """|∇κ| and the curvature term of V₂ on interior pixels, shape ``(rows, n − 2, n − 2)``."""
    above, level, below = rows[:, :-2], rows[:, 1:-1], rows[:, 2:]
    up, centre, down = above[..., 1:-1], level[..., 1:-1], below[..., 1:-1]
    left, right = level[..., :-2], level[..., 2:]
    # Central differences, without their factors 1/2p, 1/p² and 1/4p², which come at the end.
    ky = down - up
    kx = right - left
    kyy = down - 2 * centre + up
    kxx = right - 2 * centre + left
    kxy = below[..., 2:] - below[..., :-2]
    kxy = kxy - above[..., 2:] + above[..., :-2]
    kx2 = kx * kx
    ky2 = ky * ky
    slope2 = kx2 + ky2
    tiny = torch.finfo(slope2.dtype).tiny  # avoids 0 / 0 where a map is flat
    curve = kx * ky * kxy / 2 - kx2 * kyy - ky2 * kxx
    curve = curve / slope2.clamp(min=tiny)
    return slope2.sqrt() / (2 * step), curve / step**2


def gaussian_minkowski(nu, sigma0: float, sigma1: float) -> np.ndarray:
    """The Minkowski functionals expected for a Gaussian field of zero mean.

    V₀ = ½ erfc(ν / √2 σ₀),  V₁ = (1 / 8√2) (σ₁/σ₀) e^(−ν²/2σ₀²),
    V₂ = (1 / 2(2π)^(3/2)) (σ₁/σ₀)² (ν/σ₀) e^(−ν²/2σ₀²)

    (Tomita 1986; Schmalzing & Górski 1998).

    Args:
        nu: thresholds in κ, shape ``(bins,)``.
        sigma0: standard deviation of κ.
        sigma1: standard deviation of |∇κ| (both components together), 1/arcmin.

    Returns:
        V₀, V₁, V₂ one after the other, shape ``(3 bins,)``.
    """
    from scipy.special import erfc

    u = np.asarray(nu, float) / sigma0
    bell = np.exp(-(u**2) / 2)
    ratio = sigma1 / sigma0
    v0 = erfc(u / math.sqrt(2)) / 2
    v1 = ratio * bell / (8 * math.sqrt(2))
    v2 = ratio**2 * u * bell / (2 * (2 * math.pi) ** 1.5)
    return np.concatenate([v0, v1, v2])
