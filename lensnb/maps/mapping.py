"""Point mappings of Gaussian fields: what a mapping of the pixels does to correlations.

Let g be a Gaussian field of unit variance and f an increasing function. With the Hermite
polynomials of probability He_k and c_k = ⟨f(g) He_k(g)⟩ / √k!, two pixels whose Gaussian values
have the correlation ρ get the covariance

    ξ(ρ) = Σ_{k ≥ 1} c_k² ρ^k

(Mehler's formula). It increases with ρ, so it can be inverted exactly, without iteration. Between
two channels, c_k² is the product of their coefficients. For f = exp, this is the relation of
:class:`lensnb.maps.LognormalField`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_ORDERS = 40  # of the Hermite series; the coefficients of κ fall by ten from one to the next
_FLATTEST = 1e-6  # slope of a mapping where many pixels have one value, in standard deviations


def rank_mapping(x: Tensor, knots: int) -> tuple[Tensor, Tensor]:
    """The mapping that gives Gaussian pixels the one-point distribution of maps.

    Args:
        x: maps ``(maps, channels, n, n)``, float64.
        knots: points of the mapping.

    Returns:
        Evenly spaced Gaussian scores ``(knots,)``, up to the rank of the most extreme pixel; and
        the values of each channel there, increasing, ``(channels, knots)``.
    """
    pixels = x.transpose(0, 1).flatten(1)
    extreme = torch.tensor(1 - 0.5 / pixels.shape[1], dtype=x.dtype)
    reach = float(torch.special.ndtri(extreme))
    scores = torch.linspace(-reach, reach, knots, dtype=x.dtype)
    ranks = torch.special.ndtr(scores).numpy()
    found = np.quantile(pixels.numpy(), ranks, axis=1, method="hazen").T
    quantiles = torch.from_numpy(found)
    least = _FLATTEST * pixels.std(1, keepdim=True) * (scores[1] - scores[0])
    steps = quantiles.diff().maximum(least)
    return scores, torch.cat([quantiles[:, :1], quantiles[:, :1] + steps.cumsum(1)], 1)


def hermite_coefficients(scores: Tensor, quantiles: Tensor) -> Tensor:
    """c_k of the mappings of :func:`rank_mapping`, for k = 1, 2, …

    Args:
        scores: evenly spaced Gaussian values, ``(knots,)``.
        quantiles: f there; straight lines between them and beyond the ends, ``(channels, knots)``.

    Returns:
        Shape ``(channels, orders)``. The last one is larger, so that the sum of all squares is the
        variance of f(g).
    """
    z = torch.linspace(-8, 8, 16_001, dtype=scores.dtype)
    weight = torch.exp(-0.5 * z.square())
    weight = weight / weight.sum()
    knots = len(scores)
    place = (z - scores[0]) / (scores[1] - scores[0])
    left = place.floor().clamp(0, knots - 2).long()
    low, high = quantiles[:, left], quantiles[:, left + 1]
    values = low + (place - left) * (high - low)
    values = values - (values @ weight)[:, None]
    before, polynomial = torch.zeros_like(z), torch.ones_like(z)
    coefficients = []
    for k in range(_ORDERS):
        following = (z * polynomial - math.sqrt(k) * before) / math.sqrt(k + 1)
        before, polynomial = polynomial, following
        coefficients.append(values @ (weight * polynomial))
    c = torch.stack(coefficients, 1)
    rest = values.square() @ weight - c[:, :-1].square().sum(1)
    c[:, -1] = rest.clamp(min=0).sqrt()
    return c


def gaussian_correlation(xi: Tensor, c: Tensor) -> Tensor:
    """ρ from ξ: the series is tabulated and read backwards.

    Args:
        xi: covariance of the maps at each lag, ``(channels, channels, n, n)``. Each channel is
            scaled to the variance of its mapping.
        c: :func:`hermite_coefficients`.

    Returns:
        Correlation of the Gaussian field, in the shape of ``xi``.
    """
    at_zero = xi[:, :, 0, 0].diagonal()
    std = c.square().sum(1).sqrt()
    scaled = xi / at_zero.outer(at_zero).sqrt()[:, :, None, None]
    rho = torch.linspace(-1, 1, 20_001, dtype=xi.dtype)
    powers = rho ** torch.arange(1, _ORDERS + 1)[:, None]
    found = torch.empty_like(xi)
    for i in range(len(xi)):
        for j in range(len(xi)):
            series = (c[i] * c[j]) @ powers / (std[i] * std[j])
            found[i, j] = torch.from_numpy(np.interp(scaled[i, j], series, rho))
    return found
