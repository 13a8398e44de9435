"""One-point statistics: the PDF of the pixels and its moments, at one smoothing scale or several."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from ..maps import smooth, wide
from ._checks import binned, observed, per_map, square


def pdf(maps: Tensor, edges, mask: Tensor | None = None) -> Tensor:
    """Probability density of the pixels' κ in bins, P_b = N_b / (N Δκ_b).

    Args:
        maps: κ, shape ``(..., n, m)``.
        edges: bin edges in κ, shape ``(bins + 1,)``.
        mask: True where the sky was observed, shape ``(n, m)`` or one a map; hidden pixels do not count.

    Returns:
        P in 1/κ, float64, shape ``(..., bins)``. N counts all observed pixels of the map, so that P integrates to the
        share of them that lies inside the edges.
    """
    width = torch.as_tensor(np.diff(edges))

    def density(rows: Tensor, seen: Tensor | None) -> Tensor:
        picked = None if seen is None else seen.flatten(1)
        counts = binned(rows.detach().flatten(1), edges, picked)
        return counts / observed(rows, seen) / width.to(counts)

    return per_map(density, maps, mask)


def moments(maps: Tensor, mask: Tensor | None = None) -> Tensor:
    """Variance μ₂, skewness μ₃/μ₂^(3/2) and excess kurtosis μ₄/μ₂² − 3 of the pixels, with μ_k = ⟨(κ − ⟨κ⟩)^k⟩.

    Moments are central about each map's own mean. With autograd.

    Args:
        maps: κ, shape ``(..., n, m)``.
        mask: True where the sky was observed, shape ``(n, m)`` or one a map; averages run over observed pixels only.

    Returns:
        Variance (κ²), skewness and kurtosis (dimensionless), float64, shape ``(..., 3)``; NaN for a map of one constant.
    """

    def shape(rows: Tensor, seen: Tensor | None) -> Tensor:
        second, third, fourth = _central(rows, seen)
        return torch.stack([second, third / second**1.5, fourth / second**2 - 3], -1)

    return per_map(shape, maps, mask)


def reduced_moments(maps: Tensor, mask: Tensor | None = None) -> Tensor:
    """The reduced (hierarchical) cumulants S₃ = ⟨κ³⟩/⟨κ²⟩² and S₄ = (⟨κ⁴⟩ − 3⟨κ²⟩²)/⟨κ²⟩³ of the pixels.

    To leading order in perturbation theory they do not depend on the amplitude of the fluctuations, and S₃ falls with Ω_m
    (Bernardeau, van Waerbeke & Mellier 1997). Arguments as for :func:`moments`.

    Returns:
        S₃ and S₄ in 1/κ and 1/κ², both dimensionless as κ is, float64, shape ``(..., 2)``.
    """

    def cumulants(rows: Tensor, seen: Tensor | None) -> Tensor:
        second, third, fourth = _central(rows, seen)
        return torch.stack([third / second**2, (fourth - 3 * second**2) / second**3], -1)

    return per_map(cumulants, maps, mask)


def _central(rows: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The central moments μ₂, μ₃, μ₄ of each map, shape ``(rows,)``."""
    count, x = observed(rows, seen), wide(rows).flatten(1)
    x = x - x.sum(1, keepdim=True) / count
    if seen is not None:
        x = x * seen.flatten(1)
    # In place unless a gradient needs the factors: fresh memory costs more here than the products do.
    times = torch.mul if x.requires_grad else Tensor.mul_
    x2 = x * x
    second = x2.sum(1)
    third = times(x, x2).sum(1)
    return tuple(total / count[:, 0] for total in (second, third, times(x2, x2).sum(1)))


def at_scales(
    function: Callable[[Tensor], Tensor], side_deg: float, scales_arcmin: Sequence[float]
) -> Callable[[Tensor], Tensor]:
    """A statistic at several smoothing scales: ``at_scales(moments, 5.0, [0, 5, 10])(maps)``.

    The maps are smoothed with :func:`lensnb.maps.smooth`, mirrored at their edges. There is no mask: smoothing carries
    what lies behind it into the sky that was observed.

    Args:
        function: square maps ``(maps, n, n)`` → vectors ``(maps, bins)``.
        side_deg: side of the field, degrees.
        scales_arcmin: standard deviations of the Gaussian, arcminutes; 0 leaves the maps as they are.

    Returns:
        A function of maps ``(..., n, n)`` that gives the vectors at all scales one after the other,
        ``(..., scales × bins)``.
    """
    return partial(per_map, partial(_at_each_scale, function, side_deg, tuple(scales_arcmin)))


def _at_each_scale(
    function: Callable, side_deg: float, scales_arcmin: tuple[float, ...], rows: Tensor, _
) -> Tensor:
    n = square(rows, side_deg).n
    wider = rows.double() if rows.is_cuda else rows  # a GPU may round products of float32 to TF32
    return torch.cat(
        [function(_smoothed(wider, s, n, side_deg) if s else rows) for s in scales_arcmin], -1
    )


def _smoothed(rows: Tensor, sigma_arcmin: float, n: int, side_deg: float) -> Tensor:
    """:func:`lensnb.maps.smooth` of maps ``(rows, n, n)``; small ones by two products of matrices, which is faster there."""
    if n >= 256:
        return smooth(rows, sigma_arcmin, side_deg)
    matrix = _smoothing(n, sigma_arcmin, side_deg).to(rows)
    return matrix @ rows @ matrix


@lru_cache(maxsize=16)
def _smoothing(n: int, sigma_arcmin: float, side_deg: float) -> Tensor:
    """The symmetric S with which smoothing is S κ S: of the identity it makes S², which is S of √2 times the scale."""
    return smooth(torch.eye(n, dtype=torch.float64), sigma_arcmin / math.sqrt(2), side_deg)
