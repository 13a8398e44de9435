"""Minkowski functionals of excursion sets, and what a Gaussian field would have."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ._checks import bin_index, bin_sums, observed, per_map, square, whole_stencils


def minkowski(maps: Tensor, side_deg: float, edges, mask: Tensor | None = None) -> Tensor:
    """The three Minkowski functionals of the excursion sets {κ ≥ ν} (Schmalzing & Górski 1998; Petri et al. 2013).

    V₀ = (1/A) ∫ Θ(κ − ν),  V₁ = (1/4A) ∫ δ(κ − ν) |∇κ|,
    V₂ = (1/2πA) ∫ δ(κ − ν) (2 κ_x κ_y κ_xy − κ_x² κ_yy − κ_y² κ_xx) / |∇κ|²

    with central finite differences on interior pixels; δ is a top-hat as wide as the bin, so that V₁ and V₂ are averages
    over bins of ν. V₀ is taken at the bins' centres.

    Args:
        maps: κ, shape ``(..., n, n)``.
        side_deg: side of the field, degrees.
        edges: edges of the bins of ν, in κ, shape ``(bins + 1,)``.
        mask: True where the sky was observed, shape ``(n, n)`` or one a map; A then holds the pixels that were observed
            together with their 8 neighbours, and no other pixel enters.

    Returns:
        V₀ (an area fraction), V₁ (1/arcmin) and V₂ (1/arcmin²) one after the other, float64, shape ``(..., 3 bins)``.
    """
    edges = np.asarray(edges, float)
    centre, width = (edges[1:] + edges[:-1]) / 2, torch.as_tensor(np.diff(edges))
    # Each bin in two halves, so that the counts give V₀ at its centre.
    halves = np.append(np.stack([edges[:-1], centre], 1).ravel(), edges[-1:])

    def functionals(rows: Tensor, seen: Tensor | None) -> Tensor:
        rows, step, whole = (
            rows.detach(),
            square(rows, side_deg).pixel_arcmin,
            whole_stencils(rows, seen),
        )
        level, pixels = rows[:, 1:-1, 1:-1], observed(rows[:, 1:-1, 1:-1], whole)
        index = bin_index(level, halves)
        if whole is not None:
            index = torch.where(whole, index, len(halves))  # beyond the last bin
        counts, slope, curve = bin_sums(index, len(halves) - 1, None, *_gradients(rows, step))
        v0 = 1 - counts.cumsum(1)[:, 1:-1:2] / pixels
        v1, v2 = (
            sums[:, 1:-1].unflatten(1, (-1, 2)).sum(-1) / (pixels * width.to(pixels))
            for sums in (slope, curve)
        )
        return torch.cat([v0, v1 / 4, v2 / (2 * math.pi)], 1)

    return per_map(functionals, maps, mask)


def _gradients(rows: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """|∇κ| and the curvature term of V₂ on interior pixels, shape ``(rows, n − 2, n − 2)``."""
    c = rows[:, 1:-1, 1:-1]
    up, down, left, right = (
        rows[:, :-2, 1:-1],
        rows[:, 2:, 1:-1],
        rows[:, 1:-1, :-2],
        rows[:, 1:-1, 2:],
    )
    # Central differences without their factors 1/2p, 1/p² and 1/4p², which come at the end.
    ky, kx = down - up, right - left
    kyy, kxx = down - 2 * c + up, right - 2 * c + left
    kxy = rows[:, 2:, 2:] - rows[:, 2:, :-2] - rows[:, :-2, 2:] + rows[:, :-2, :-2]
    kx2, ky2 = kx * kx, ky * ky
    square = kx2 + ky2
    curve = (kx * ky * kxy / 2 - kx2 * kyy - ky2 * kxx) / square.clamp(
        min=torch.finfo(square.dtype).tiny
    )
    return square.sqrt() / (2 * step), curve / step**2


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
    return np.concatenate(
        [v0, ratio * bell / (8 * math.sqrt(2)), ratio**2 * u * bell / (2 * (2 * math.pi) ** 1.5)]
    )
