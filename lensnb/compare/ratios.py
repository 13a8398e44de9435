"""Ratios and differences of simple numbers of two sets, with errors from their simulations.

Every number here is a mean over the maps, or a smooth function of a few such means. The error
comes from a jackknife over simulations.
"""

from __future__ import annotations

import numpy as np

from ..ensemble import Ensemble
from .estimate import Estimate


def undefined() -> Estimate:
    """A number that cannot be measured."""
    return Estimate(np.asarray(np.nan), error=np.asarray(np.nan))


def degrees(sample: Ensemble, truth: Ensemble) -> int:
    """Degrees of freedom of an error: simulations of the smaller set, less one."""
    return min(len(sample.simulations), len(truth.simulations)) - 1


def ratio_of_means(sample: Ensemble, truth: Ensemble) -> Estimate:
    """⟨G⟩/⟨T⟩ of each bin; NaN where ⟨T⟩ is not known to better than a third.

    A set whose maps are all alike has no scatter that could be its error. So the error is at least
    that of as many independent true maps.

    Args:
        sample: vectors of the maps to judge, ``(maps, bins)``.
        truth: vectors of true maps, the same bins.
    """
    ours, true = sample.mean(), truth.mean()
    known = np.abs(true) > 3 * truth.mean_error()
    true = np.where(known, true, np.nan)
    ratio = ours / true
    least = truth.std() / np.sqrt(len(sample))
    our_error = np.maximum(sample.mean_error(), least)
    error = np.hypot(our_error, ratio * truth.mean_error()) / np.abs(true)
    return Estimate(ratio, error=error, dof=degrees(sample, truth))


def ratio_of_scatters(sample: Ensemble, truth: Ensemble) -> Estimate:
    """σ_G/σ_T of each bin; the error of a ratio below 1 is that of its logarithm."""
    ours, our_error = _log_scatter(sample)
    true, true_error = _log_scatter(truth)
    ratio = np.exp(ours - true)
    error = np.maximum(ratio, 1) * np.hypot(our_error, true_error)
    return Estimate(ratio, error=error, dof=degrees(sample, truth))


def _log_scatter(ensemble: Ensemble) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of the standard deviation of each bin, and its error."""
    variance = ensemble.covariance().diagonal()
    squares = (ensemble.vectors - ensemble.mean()) ** 2 / variance
    error = Ensemble(squares, ensemble.simulation).mean_error()
    return np.log(variance) / 2, error / 2


def difference_of_quotients(
    sample: Ensemble, truth: Ensemble, above: np.ndarray, below: np.ndarray
) -> Estimate:
    """Q_G − Q_T with Q the quotient of two means, Σ⟨above⟩ / Σ⟨below⟩.

    Args:
        sample: vectors of the maps to judge, ``(maps, bins)``.
        truth: vectors of true maps, the same bins.
        above: indices of the bins in the numerator.
        below: indices of the bins in the denominator.
    """
    ours, our_error = _quotient(sample, above, below)
    true, true_error = _quotient(truth, above, below)
    error = np.asarray(np.hypot(our_error, true_error))
    return Estimate(np.asarray(ours - true), error=error, dof=degrees(sample, truth))


def _quotient(ensemble: Ensemble, above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    numerator = ensemble.vectors[:, above].sum(1)
    denominator = ensemble.vectors[:, below].sum(1)
    quotient = numerator.mean() / denominator.mean()
    # To first order Q varies as the mean of (numerator − Q denominator) does.
    deviation = (numerator - quotient * denominator) / denominator.mean()
    error = Ensemble(deviation[:, None], ensemble.simulation).mean_error()
    return float(quotient), float(error[0])


def ratio_of_shares(sample: Ensemble, truth: Ensemble) -> Estimate:
    """Share of the maps that have a rare property, over that share of true maps.

    The error is that of a score test: it assumes that both sets have one share, estimated from all
    maps together, because a count of a few maps does not know its own error. The maps of the truth
    count as so many independent maps as their simulations allow.

    Args:
        sample: 1 for each map that has the property and 0 for others, shape ``(maps, 1)``.
        truth: the same for true maps.

    Returns:
        NaN if no true map has the property.
    """
    ours, true = float(sample.mean()[0]), float(truth.mean()[0])
    if not true > 0:
        return undefined()
    our_maps, true_maps = _independent(sample), _independent(truth)
    share = (ours * our_maps + true * true_maps) / (our_maps + true_maps)
    error = np.sqrt(share * (1 - share) * (1 / our_maps + 1 / true_maps))
    ratio, error = np.asarray(ours / true), np.asarray(error / true)
    return Estimate(ratio, error=error, dof=degrees(sample, truth))


def _independent(ensemble: Ensemble) -> float:
    """How many independent maps would know the share as well."""
    share, error = float(ensemble.mean()[0]), float(ensemble.mean_error()[0])
    if not error > 0:
        return len(ensemble)
    return min(len(ensemble), share * (1 - share) / error**2)
