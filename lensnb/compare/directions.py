"""The combinations of bins that vary least and most beside the truth, without selection bias.

The smallest eigenvalue of C_T^(−1/2) C_G C_T^(−1/2) is below 1 for true maps as well, and the
largest above 1: out of many noisy directions they select the extreme ones. Here the direction is
selected on one half of the simulations, of both sets, and its variance is measured on the other
half. The halves then swap. For true maps 1 is expected, and the error is that of two variances.
"""

from __future__ import annotations

import numpy as np

from ..ensemble import Ensemble, correlation
from ..ensemble.errors import grouped
from .estimate import Estimate


class ExtremeDirections:
    """Ratios of variances in the extreme directions, of any set beside one set of true maps.

    Args:
        truth: vectors of true maps, ``(maps, bins)``.
        most: how many leading eigenvectors of the truth's correlations span the directions.
        seed: of the halves.
    """

    def __init__(self, truth: Ensemble, most: int, seed: int = 0):
        self.true = halves(truth, seed + 1)
        self.most, self.seed = most, seed
        self.metrics: tuple[np.ndarray, ...] = ()

    def of(self, sample: Ensemble) -> tuple[Estimate, Estimate]:
        """Ratios, sample over truth, in the narrowest and in the widest direction.

        Args:
            sample: vectors of the maps to judge, the same bins.

        Returns:
            The narrowest and the widest; NaN if a set has fewer than four simulations, or a half
            fewer than two maps for each eigenvector.
        """
        ours, true = halves(sample, self.seed), self.true
        sizes = [len(half) for half in (*ours, *true)]
        simulations = [len(half.simulations) for half in (*ours, *true)]
        if min(simulations) < 2 or min(sizes) < 2 * self.most:
            nan = Estimate(np.asarray(np.nan), error=np.asarray(np.nan))
            return nan, nan
        if not self.metrics:
            self.metrics = tuple(leading(half, self.most) for half in true)
        logs, errors = np.zeros((2, 2)), np.zeros((2, 2))
        for fold in range(2):
            directions = _extremes(ours[fold], self.metrics[fold])
            for which, direction in enumerate(directions):
                above, our_error = _log_variance(ours[1 - fold], direction)
                below, true_error = _log_variance(true[1 - fold], direction)
                logs[fold, which] = above - below
                errors[fold, which] = np.hypot(our_error, true_error)
        return _estimates(logs, errors, min(simulations) - 1)


def extreme_directions(
    sample: Ensemble, truth: Ensemble, most: int, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """The same of one set alone."""
    return ExtremeDirections(truth, most, seed).of(sample)


def _estimates(logs: np.ndarray, errors: np.ndarray, dof: int) -> tuple[Estimate, Estimate]:
    """Both ratios from the logarithms and errors of both folds, shape ``(folds, 2)``."""
    values = np.exp(logs.mean(0))
    relative = np.hypot(errors[0], errors[1]) / 2
    found = []
    for value, error in zip(values, relative):
        # The logarithm has the error that counts: that of a small ratio is not smaller.
        error = np.asarray(max(value, 1) * error)
        found.append(Estimate(np.asarray(value), error=error, dof=dof))
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
    covariance = ensemble.covariance()
    std = np.sqrt(covariance.diagonal())
    inverse_std = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    values, vectors = np.linalg.eigh(correlation(covariance))
    kept = np.flatnonzero(values > 1e-10 * values[-1])[::-1][:most]
    return (vectors[:, kept] / np.sqrt(values[kept])).T * inverse_std


def _extremes(sample: Ensemble, metric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The directions in the bins with the smallest and the largest ratio of variances.

    Args:
        sample: vectors ``(maps, bins)``.
        metric: to coordinates in which the covariance of the true maps is the unit matrix.
    """
    ours = metric @ sample.covariance() @ metric.T
    _, axes = np.linalg.eigh(ours)
    return axes[:, 0] @ metric, axes[:, -1] @ metric


def _log_variance(ensemble: Ensemble, direction: np.ndarray) -> tuple[float, float]:
    """Logarithm of the variance along a direction, and its error from the simulations."""
    y = ensemble.vectors @ direction
    squares = (y - y.mean()) ** 2
    variance = squares.mean()
    ordered, starts = grouped(squares / variance - 1, ensemble.simulation)
    count = len(starts)
    deviations = np.add.reduceat(ordered, starts) / len(y)
    error = np.sqrt((deviations**2).sum() * count / (count - 1))
    return float(np.log(variance)), float(error)
