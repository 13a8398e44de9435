"""Likelihoods of data whose covariance was estimated from a finite number of maps.

The estimated covariance is itself uncertain. Averaging a Gaussian over what the true covariance
may be gives a t-distribution, which has wider wings. Here χ² = dᵀ C⁻¹ d takes the plain inverse of
``Ensemble.covariance``, *without* :func:`~lensnb.ensemble.hartlap_factor`.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln
from scipy.stats import f as fisher_snedecor

from .matrices import dodelson_schneider_factor


def sellentin_heavens_log_density(
    chi2, maps: float, bins: int, log_determinant: float = 0.0
) -> np.ndarray:
    """Log-density of a data vector, averaged over what the true covariance may be.

    ln P = ln Γ(n/2) − ln Γ((n − p)/2) − (p/2) ln[π (n − 1)] − ½ ln|C| − (n/2) ln[1 + χ²/(n − 1)]

    (Sellentin & Heavens 2016, eq. 12). The prior of the covariance is that of Jeffreys. For n → ∞
    it is the Gaussian density.

    Args:
        chi2: dᵀ C⁻¹ d of the residuals d, with the plain inverse; any shape.
        maps: number n of independent maps; with several maps a simulation, the effective number.
        bins: number p of bins.
        log_determinant: ln|C| of the estimated covariance. Without it, the density is that in
            units in which C is 1, and only differences matter.

    Returns:
        ln P, with the shape of ``chi2``.

    Raises:
        ValueError: n is not above p.
    """
    if maps <= bins:
        raise ValueError(
            f"the likelihood of {bins} bins needs more than {bins} independent maps, "
            f"found {maps:.4g}"
        )
    scale = maps - 1
    constant = gammaln(maps / 2) - gammaln((maps - bins) / 2) - bins / 2 * np.log(np.pi * scale)
    wings = maps / 2 * np.log1p(np.asarray(chi2) / scale)
    return constant - log_determinant / 2 - wings


def matching_log_posterior(chi2, maps: float, bins: int, parameters: int) -> np.ndarray:
    """Log-posterior of parameters whose credible regions hold the truth as often as they say.

    ln P = −(m/2) ln[1 + χ²/(n − 1)] + const, with m = q + 2 + (n − 1 + B (p − q))/(1 + B (p − q))

    and B of :func:`~lensnb.ensemble.dodelson_schneider_factor` (Percival, Friedrich, Sellentin &
    Heavens 2022, eq. 52). The prior of the covariance is chosen so that the mean posterior
    variance is the scatter of fits over data *and* covariances. No further factor is needed. The
    density of :func:`sellentin_heavens_log_density` leaves out that noise in the covariance moves
    the best fit, and its regions are too small. The prior of the parameters is flat.

    Args:
        chi2: dᵀ C⁻¹ d for each set of parameters, with the plain inverse; any shape.
        maps: number n of independent maps; with several maps a simulation, the effective number.
        bins: number p of bins.
        parameters: number q of fitted parameters.

    Returns:
        ln P up to a constant, with the shape of ``chi2``.

    Raises:
        ValueError: n is not above p + 4, or q not between 1 and p.
    """
    power = matching_power(maps, bins, parameters)
    return -power / 2 * np.log1p(np.asarray(chi2) / (maps - 1))


def matching_power(maps: float, bins: int, parameters: int) -> float:
    """The power m of :func:`matching_log_posterior`; its arguments and errors are the same."""
    scatter = dodelson_schneider_factor(maps, bins, parameters)
    return parameters + 2 + (maps - 2 + scatter) / scatter


def matching_region(
    least_chi2, maps: float, bins: int, parameters: int, level: float
) -> np.ndarray:
    """How far χ² rises above its minimum in the credible region of a linear model.

    With a linear model the posterior of :func:`matching_log_posterior` is a t-distribution, and

        Δχ² = q (n − 1 + χ²_min)/(m − q) · F(level; q, m − q)

    with F the quantile of the F-distribution.

    Args:
        least_chi2: χ² of the best fit, with the plain inverse; any shape.
        maps, bins, parameters: n, p and q as there.
        level: of the region, between 0 and 1.

    Returns:
        Δχ², with the shape of ``least_chi2``.
    """
    dof = matching_power(maps, bins, parameters) - parameters
    quantile = fisher_snedecor.ppf(level, parameters, dof)
    return parameters * (maps - 1 + np.asarray(least_chi2)) / dof * quantile
