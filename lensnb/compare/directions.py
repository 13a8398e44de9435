"""The combinations of bins that vary least and most beside the truth, without selection bias.

The smallest eigenvalue of C_T^(−1/2) C_G C_T^(−1/2) is below 1 for true maps as well, and the
largest above 1: out of many noisy directions they select the extreme ones. Here the direction is
selected on one half of the simulations, of both sets, and its variance is measured on the other
half. The halves then swap. For true maps 1 is expected, and the error is that of two variances.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from ..ensemble import Ensemble
from .estimate import Estimate


def extreme_directions(
    sample: Ensemble, truth: Ensemble, most: int, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """Ratios of variances, sample over truth, in the narrowest and in the widest direction.

    Args:
        sample: vectors of the maps to judge, ``(maps, bins)``.
        truth: vectors of true maps, the same bins.
        most: how many leading eigenvectors of the truth's correlations span the directions.
        seed: of the halves.

    Returns:
        The narrowest and the widest; NaN if a set has fewer than four simulations, or a half fewer
        than two maps for each eigenvector.
    """
    ours, true = halves(sample, seed), halves(truth, seed + 1)
    sizes = [len(half) for half in (*ours, *true)]
    simulations = [len(half.simulations) for half in (*ours, *true)]
    if min(simulations) < 2 or min(sizes) < 2 * most:
        nan = Estimate(np.asarray(np.nan), error=np.asarray(np.nan))
        return nan, nan
    logs, errors = np.zeros((2, 2)), np.zeros((2, 2))
    for fold in range(2):
        directions = _extremes(ours[fold], true[fold], most)
        for which, direction in enumerate(directions):
            above, our_error = _log_variance(ours[1 - fold], direction)
            below, true_error = _log_variance(true[1 - fold], direction)
            logs[fold, which] = above - below
            errors[fold, which] = np.hypot(our_error, true_error)
    values = np.exp(logs.mean(0))
    relative = np.hypot(errors[0], errors[1]) / 2
    found = []
    for value, error in zip(values, relative):
        # The logarithm has the error that counts: that of a small ratio is not smaller.
        error = np.asarray(max(value, 1) * error)
        found.append(Estimate(np.asarray(value), error=error, dof=min(simulations) - 1))
    return found[0], found[1]


def halves(ensemble: Ensemble, seed: int) -> tuple[Ensemble, Ensemble]:
    """Two halves of the simulations of an ensemble, drawn at random."""
    simulations = ensemble.simulations
    drawn = np.random.default_rng(seed).permutation(simulations)
    first = np.isin(ensemble.simulation, drawn[: len(drawn) // 2])
    return (
        Ensemble(ensemble.vectors[first], ensemble.simulation[first]),
        Ensemble(ensemble.vectors[~first], ensemble.simulation[~first]),
    )


def leading(ensemble: Ensemble, most: int) -> np.ndarray:
    """The leading eigenvectors of the correlations, scaled to unit variance.

    Returns:
        Bins → coordinates, shape ``(k, bins)``; k is less than ``most`` where there are not so
        many.
    """
    std = ensemble.std()
    inverse_std = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    values, vectors = np.linalg.eigh(ensemble.correlation())
    kept = np.flatnonzero(values > 1e-10 * values[-1])[::-1][:most]
    return (vectors[:, kept] / np.sqrt(values[kept])).T * inverse_std


def _extremes(sample: Ensemble, truth: Ensemble, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The directions in the bins with the smallest and the largest ratio of variances."""
    metric = leading(truth, most)
    ours = metric @ sample.covariance() @ metric.T
    true = metric @ truth.covariance() @ metric.T
    _, axes = eigh(ours, true)
    return axes[:, 0] @ metric, axes[:, -1] @ metric


def _log_variance(ensemble: Ensemble, direction: np.ndarray) -> tuple[float, float]:
    """Logarithm of the variance along a direction, and its error from the simulations."""
    y = ensemble.vectors @ direction
    squares = (y - y.mean()) ** 2
    variance = squares.mean()
    _, index = np.unique(ensemble.simulation, return_inverse=True)
    count = index.max() + 1
    deviations = np.bincount(index, squares / variance - 1) / len(y)
    error = np.sqrt((deviations**2).sum() * count / (count - 1))
    return float(np.log(variance)), float(error)
