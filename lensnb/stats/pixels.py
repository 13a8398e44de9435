"""One-point statistics: PDF and moments of the pixels, at one or several smoothing scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from ..maps import smooth
from ..maps.grid import wide
from ._checks import observed, per_map, square
from ._histogram import binned


def pdf(maps: Tensor, edges, mask: Tensor | None = None) -> Tensor:
    """Probability density of the pixels' κ in bins, P_b = N_b / (N Δκ_b).

    Args:
        maps: κ, shape ``(..., n, m)``.
        edges: bin edges in κ, shape ``(bins + 1,)``.
        mask: True where the sky was observed, shape ``(n, m)`` or one a map; hidden pixels do not
            count.

    Returns:
        P in 1/κ, float64, shape ``(..., bins)``. N counts all observed pixels of the map, so that
        P integrates to the share of them that lies inside the edges.
    """
    width = torch.as_tensor(np.diff(edges))

    def density(rows: Tensor, seen: Tensor | None) -> Tensor:
        values, picked = rows.detach().flatten(1), None
        if seen is not None:
            picked = seen.flatten(1)
        counts = binned(values, edges, picked)
        share = counts / observed(rows, seen)
        return share / width.to(share)

    return per_map(density, maps, mask)


def moments(maps: Tensor, mask: Tensor | None = None) -> Tensor:
    """Variance μ₂, skewness μ₃/μ₂^(3/2) and excess kurtosis μ₄/μ₂² − 3 of the pixels.

    μ_k = ⟨(κ − ⟨κ⟩)^k⟩, central about each map's own mean. With autograd.

    Args:
        maps: κ, shape ``(..., n, m)``.
        mask: True where the sky was observed, shape ``(n, m)`` or one a map; averages run over
            observed pixels only.

    Returns:
        Variance (κ²), skewness and kurtosis (dimensionless), float64, shape ``(..., 3)``. Skewness
        and kurtosis are NaN for a constant map.
    """

    def variance_skewness_kurtosis(rows: Tensor, seen: Tensor | None) -> Tensor:
        second, third, fourth = _central(rows, seen)
        skewness = third / second**1.5
        kurtosis = fourth / second**2 - 3
        return torch.stack([second, skewness, kurtosis], -1)

    return per_map(variance_skewness_kurtosis, maps, mask)


def reduced_moments(maps: Tensor, mask: Tensor | None = None) -> Tensor:
    """The reduced (hierarchical) cumulants S₃ and S₄ of the pixels.

    S₃ = ⟨κ³⟩/⟨κ²⟩²,  S₄ = (⟨κ⁴⟩ − 3⟨κ²⟩²)/⟨κ²⟩³.

    To leading order in perturbation theory they do not depend on the amplitude of the
    fluctuations, and S₃ falls with Ω_m (Bernardeau, van Waerbeke & Mellier 1997). Arguments are
    those of :func:`moments`.

    Returns:
        S₃ and S₄ in 1/κ and 1/κ², both dimensionless as κ is, float64, shape ``(..., 2)``.
    """

    def cumulants(rows: Tensor, seen: Tensor | None) -> Tensor:
        second, third, fourth = _central(rows, seen)
        s3 = third / second**2
        s4 = (fourth - 3 * second**2) / second**3
        return torch.stack([s3, s4], -1)

    return per_map(cumulants, maps, mask)


def _central(rows: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The central moments μ₂, μ₃, μ₄ of each map, shape ``(rows,)``."""
    count = observed(rows, seen)
    x = wide(rows).flatten(1)
    x = x - x.sum(1, keepdim=True) / count
    if seen is not None:
        x = x * seen.flatten(1)
    # In place, unless a gradient needs the factors: new memory costs more than the products do.
    times = Tensor.mul_
    if x.requires_grad:
        times = torch.mul
    x2 = x * x
    second = x2.sum(1)
    third = times(x, x2).sum(1)
    fourth = times(x2, x2).sum(1)
    total = count[:, 0]
    return second / total, third / total, fourth / total


def at_scales(
    function: Callable[[Tensor], Tensor], side_deg: float, scales_arcmin: Sequence[float]
) -> Callable[[Tensor], Tensor]:
    """A statistic at several smoothing scales: ``at_scales(moments, 5.0, [0, 5, 10])(maps)``.

    The maps are smoothed with :func:`lensnb.maps.smooth` and mirrored at their edges. There is no
    mask, because smoothing mixes hidden pixels into the observed sky.

    Args:
        function: square maps ``(maps, n, n)`` → vectors ``(maps, bins)``.
        side_deg: side of the field, degrees.
        scales_arcmin: standard deviations of the Gaussian, arcminutes; 0 means no smoothing.

    Returns:
        A function of maps ``(..., n, n)`` that gives the vectors at all scales one after the
        other, ``(..., scales × bins)``.
    """
    at_each = partial(_at_each_scale, function, side_deg, tuple(scales_arcmin))
    return partial(per_map, at_each)


def _at_each_scale(
    function: Callable, side_deg: float, scales_arcmin: tuple[float, ...], rows: Tensor, _
) -> Tensor:
    n = square(rows, side_deg).n
    wider = rows
    if rows.is_cuda:
        wider = rows.double()  # a GPU may round products of float32 to TF32
    vectors = []
    for scale in scales_arcmin:
        smoothed = rows
        if scale:
            smoothed = _smoothed(wider, scale, n, side_deg)
        vectors.append(function(smoothed))
    return torch.cat(vectors, -1)


def _smoothed(rows: Tensor, sigma_arcmin: float, n: int, side_deg: float) -> Tensor:
    """:func:`lensnb.maps.smooth` of maps ``(rows, n, n)``.

    For small maps, two products of matrices are faster than Fourier transforms.
    """
    if n >= 256:
        return smooth(rows, sigma_arcmin, side_deg)
    matrix = _smoothing(n, sigma_arcmin, side_deg).to(rows)
    return matrix @ rows @ matrix


@lru_cache(maxsize=16)
def _smoothing(n: int, sigma_arcmin: float, side_deg: float) -> Tensor:
    """The symmetric matrix S with which the smoothed map is S κ S.

    Smoothing the identity gives S². A Gaussian of σ/√2, applied twice, is one of σ, and so S is
    the identity smoothed by σ/√2.
    """
    return smooth(torch.eye(n, dtype=torch.float64), sigma_arcmin / math.sqrt(2), side_deg)
