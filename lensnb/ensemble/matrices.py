"""Matrices: correlations, what a noisy inverse costs, and the covariance of a Gaussian field.

The factors are for the plain covariance of ``Ensemble.covariance``, not for a shrunk one. All of
them take a number n of *independent* maps. With several maps a simulation that number is
``Ensemble.effective_maps()``.
"""

from __future__ import annotations

import numpy as np
import torch

from ..maps import MapGrid


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Correlation matrix of a covariance matrix; zero in the rows of bins without scatter."""
    std = np.sqrt(np.diag(covariance))
    inverse = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    return covariance * np.outer(inverse, inverse)


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The elements above the diagonal, as a vector."""
    return matrix[np.triu_indices(len(matrix), 1)]


def hartlap_factor(maps: float, bins: int) -> float:
    """The factor h = (n − p − 2)/(n − 1) that makes an inverse covariance unbiased.

    The inverse of a covariance from n independent maps with p bins is too large on average, by
    1/h (Hartlap et al. 2007, eq. 17).

    Args:
        maps: number n of independent maps; with several maps a simulation, the effective number.
        bins: number p of bins.

    Raises:
        ValueError: n is not above p + 2, where the inverse has no finite expectation.
    """
    if maps <= bins + 2:
        raise ValueError(
            f"the inverse covariance of {bins} bins needs more than {bins + 2} independent maps, "
            f"found {maps:.4g}: use fewer bins, more maps, or lensnb.ensemble.shrunk_covariance"
        )
    return (maps - bins - 2) / (maps - 1)


def dodelson_schneider_factor(maps: float, bins: int, parameters: int) -> float:
    """The factor by which noise in the covariance widens the (co)variance of fitted parameters.

    1 + B (p − q) ≥ 1, with B = (n − p − 2)/((n − p − 1)(n − p − 4))

    (Dodelson & Schneider 2013, eq. 28).

    Args:
        maps: number n of independent maps; with several maps a simulation, the effective number.
        bins: number p of bins.
        parameters: number q of fitted parameters.

    Raises:
        ValueError: n is not above p + 4, or q not between 1 and p.
    """
    if maps <= bins + 4:
        raise ValueError(
            f"the factor for {bins} bins needs more than {bins + 4} independent maps, "
            f"found {maps:.4g}"
        )
    if not 1 <= parameters <= bins:
        raise ValueError(f"{bins} bins can constrain 1 to {bins} parameters, found {parameters}")
    left = maps - bins
    return 1 + (bins - parameters) * (left - 2) / ((left - 1) * (left - 4))


def percival_factor(maps: float, bins: int, parameters: int) -> float:
    """The factor from the (co)variance that a likelihood states to the one that fits really have.

    m₁ = (1 + B (p − q)) / (1 + A + B (q + 1)), with A = 2/D, B = (n − p − 2)/D and
    D = (n − p − 1)(n − p − 4)

    (Percival et al. 2014, eq. 18). The likelihood is Gaussian, with the inverse of
    :func:`hartlap_factor`. Noise in this inverse moves the best fit (numerator, as in
    :func:`dodelson_schneider_factor`) and also widens the likelihood itself (denominator).
    Multiply the variance by m₁, or the standard deviation by √m₁. Both parts are exact to second
    order in the noise only: with 100 maps, 20 bins and 2 parameters m₁ is 0.6 % too large.

    Args:
        maps: number n of independent maps; with several maps a simulation, the effective number.
        bins: number p of bins.
        parameters: number q of fitted parameters.

    Raises:
        ValueError: n is not above p + 4, or q not between 1 and p.
    """
    scatter = dodelson_schneider_factor(maps, bins, parameters)
    left = maps - bins
    wider = 2 + (left - 2) * (parameters + 1)
    return scatter / (1 + wider / ((left - 1) * (left - 4)))


def gaussian_power_covariance(power, grid: MapGrid, edges) -> np.ndarray:
    """The covariance of binned power spectra that is expected for a Gaussian field.

    It has no correlations, and the variance of each bin is

        var Ĉ_b = 2 Σ_{ℓ∈b} C_ℓ² / W²,   with W the number of modes in the bin

    (Knox 1995, applied to every mode). The difference to the covariance of true maps is the
    trispectrum (Scoccimarro, Zaldarriaga & Hui 1999).

    Args:
        power: C_ℓ in sr: a callable ℓ → C_ℓ, or the power of each ``rfft2`` mode, shape
            ``(n, n // 2 + 1)``.
        grid: the maps' grid.
        edges: bin edges in ℓ, shape ``(bins + 1,)``.

    Returns:
        The diagonal matrix in sr², shape ``(bins, bins)``.

    Raises:
        ValueError: a bin holds no Fourier mode, or the power has another shape.
    """
    if callable(power):
        power = power(grid.ell)
    power = torch.as_tensor(power, dtype=torch.float64)
    if power.shape != grid.ell.shape:
        raise ValueError(
            f"expected the power of each rfft2 mode, {tuple(grid.ell.shape)}; "
            f"found {tuple(power.shape)}"
        )
    variances = []
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (grid.ell >= low) & (grid.ell < high)
        weight = grid.multiplicity[inside]
        if not len(weight):
            raise ValueError(
                f"the ℓ bin from {low:.4g} to {high:.4g} holds no Fourier mode: use wider bins"
            )
        squares = (weight * power[inside] ** 2).sum()
        variances.append(float(2 * squares / weight.sum() ** 2))
    return np.diag(variances)
