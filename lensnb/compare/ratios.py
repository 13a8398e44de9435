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


class TrueScatter:
    """How much some numbers of true maps scatter, from map to map and between simulations.

    A set whose maps are all alike, or that has nothing in a rare bin, would claim to have no error
    at all. And a set that by chance scatters too little would claim too small an error. What true
    maps scatter is the least that is known about the error.

    Args:
        values: of each true map, ``(maps, bins)``.
    """

    def __init__(self, values: Ensemble):
        self.of_map = values.std()
        self.of_mean = values.mean_error()
        alone = self.of_map / np.sqrt(len(values))  # if all true maps were independent
        effect = _divided(self.of_mean**2, alone**2)
        share = len(values) / len(values.simulations) - 1
        self.rho = np.clip(effect - 1, 0, None) / max(share, 1)

    def error(self, maps: int, simulations: int) -> np.ndarray:
        """The error of a difference of two means, if the first set had the scatter of true maps.

        Args:
            maps: in the first set.
            simulations: in the first set; as many as maps if each is independent.

        Returns:
            The error of the first set and of the true maps together, shape ``(bins,)``.
        """
        # Design effect 1 + (m − 1) ρ of m maps a simulation (Kish 1965), with the ρ of the truth.
        effect = 1 + (maps / simulations - 1) * self.rho
        return np.hypot(self.of_map / np.sqrt(maps) * np.sqrt(effect), self.of_mean)


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 1 where b is zero."""
    return np.divide(a, b, out=np.ones_like(a), where=b > 0)


def _error_of_true_maps(values: np.ndarray, truth: Ensemble, sample: Ensemble) -> np.ndarray:
    scatter = TrueScatter(Ensemble(values, truth.simulation))
    return scatter.error(len(sample), len(sample.simulations))


def ratio_of_means(sample: Ensemble, truth: Ensemble) -> Estimate:
    """⟨G⟩/⟨T⟩ of each bin; NaN where ⟨T⟩ is not known to better than a third.

    The error is at least that of as many true maps.

    Args:
        sample: vectors of the maps to judge, ``(maps, bins)``.
        truth: vectors of true maps, the same bins.
    """
    ours, true = sample.mean(), truth.mean()
    known = np.abs(true) > 3 * truth.mean_error()
    true = np.where(known, true, np.nan)
    ratio = ours / true
    error = np.hypot(sample.mean_error(), ratio * truth.mean_error()) / np.abs(true)
    least = _error_of_true_maps(truth.vectors, truth, sample) / np.abs(true)
    return Estimate(ratio, error=np.fmax(error, least), dof=degrees(sample, truth))


def ratio_of_scatters(sample: Ensemble, truth: Ensemble) -> Estimate:
    """σ_G/σ_T of each bin.

    The error of a ratio below 1 is that of its logarithm, and at least that of as many true maps.
    """
    ours, true = sample.std(), truth.std()
    ratio = ours / true
    our_error = Ensemble(_changes(sample), sample.simulation).mean_error()
    true_error = Ensemble(_changes(truth), truth.simulation).mean_error()
    least = _error_of_true_maps(_changes(truth), truth, sample)
    relative = np.maximum(np.hypot(our_error, true_error), least)
    return Estimate(ratio, error=np.maximum(ratio, 1) * relative, dof=degrees(sample, truth))


def _changes(ensemble: Ensemble) -> np.ndarray:
    """By how much each map changes the logarithm of the scatter, to first order."""
    z = (ensemble.vectors - ensemble.mean()) / ensemble.std()
    return (z**2 - 1) / 2


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
    maps together, because a count of a few maps does not know its own error. Rare properties come
    in clumps: one simulation may have many such maps. If the maps of the first set come from
    simulations too, the variance over the simulations is that of both sets together.

    Args:
        sample: 1 for each map that has the property and 0 for others, shape ``(maps, 1)``.
        truth: the same for true maps.

    Returns:
        NaN if no true map has the property.
    """
    ours, true = float(sample.mean()[0]), float(truth.mean()[0])
    if not true > 0:
        return undefined()
    both = Ensemble(
        np.concatenate([sample.vectors, truth.vectors]),
        np.concatenate([_numbered(sample, 0), _numbered(truth, len(sample))]),
    )
    if len(sample.simulations) == len(sample):
        share = float(both.mean()[0])
        variance = share * (1 - share) / len(sample)
        variance += max(float(truth.mean_error()[0]) ** 2, share * (1 - share) / len(truth))
    else:
        of_one = float(both.mean_error()[0]) ** 2 * len(both.simulations)
        variance = of_one * (1 / len(sample.simulations) + 1 / len(truth.simulations))
    ratio, error = np.asarray(ours / true), np.asarray(np.sqrt(variance) / true)
    return Estimate(ratio, error=error, dof=degrees(sample, truth))


def _numbered(ensemble: Ensemble, first: int) -> np.ndarray:
    """The simulations of a set, renumbered so that two sets have none in common."""
    _, index = np.unique(ensemble.simulation, return_inverse=True)
    return index + first
