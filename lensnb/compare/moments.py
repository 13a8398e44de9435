"""A set and its reference: from means and covariances to the numbers of a verdict.

The definitions are in :mod:`lensnb.compare.verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..ensemble import Ensemble, correlation, covariance_noise, off_diagonal
from .covariance import Coordinates, distances, support


def correlation_slope(rho: np.ndarray, rho_true: np.ndarray) -> float:
    """Slope through zero of the off-diagonal correlations as a function of the true ones.

    Least squares give Σ ρ ρ_true / Σ ρ_true².

    Args:
        rho: correlation matrix of the maps to judge, shape ``(bins, bins)``.
        rho_true: correlation matrix of the true maps.
    """
    x = off_diagonal(rho_true)
    y = off_diagonal(rho)
    return float(x @ y / (x @ x))


@dataclass
class Moments:
    """Mean and covariance of a set, or of a bootstrap draw from it.

    Attributes:
        mean: shape ``(bins,)``.
        covariance: shape ``(bins, bins)``.
    """

    mean: np.ndarray
    covariance: np.ndarray

    def cut(self, part: slice) -> Moments:
        """Those of some of the bins."""
        return Moments(self.mean[part], self.covariance[part, part])

    def std(self) -> np.ndarray:
        """Scatter of one map, shape ``(bins,)``."""
        return np.sqrt(np.diag(self.covariance))


class Pair:
    """One set and its reference in one statistic, with what all bootstrap rounds share.

    Args:
        ensembles: vectors of this statistic, by set. The number of eigenvectors depends on all
            sets that are given.
        sample: name of the set to judge.
        reference: name of its reference.
        name: of the statistic.
        part: where the statistic lies in the joint vectors.
        responses: ∂μ/∂θ, shape ``(bins, parameters)``; None where not known.
    """

    def __init__(
        self,
        ensembles: Mapping[str, Ensemble],
        sample: str,
        reference: str,
        name: str,
        part: slice,
        responses: np.ndarray | None,
    ):
        self.sample, self.reference = sample, reference
        self.name, self.part = name, part
        truth = ensembles[reference]
        self.known = np.abs(truth.mean()) > 3 * truth.mean_error()
        self.rho_squared = _sum_of_squares(truth.correlation())
        most = min(part.stop - part.start, support(ensembles))
        self.coordinates = Coordinates.of(truth, most, responses)
        _, self.noise = covariance_noise(ensembles[sample], self.coordinates.metric)

    def numbers(
        self, sample: Moments, truth: Moments, resampled: bool
    ) -> dict[str, np.ndarray | float]:
        """The numbers of a :class:`Verdict`, by name, from the moments of the joint vectors."""
        sample, truth = sample.cut(self.part), truth.cut(self.part)
        std = truth.std()
        mean_ratio = _divided(sample.mean, truth.mean, self.known & (truth.mean != 0))
        mean_shift = _divided(sample.mean - truth.mean, std, std > 0)
        scatter_ratio = _divided(sample.std(), std, std > 0)
        excess = self.coordinates.noise
        if resampled:  # resampling adds the noise of both covariances to their distance once more
            excess += self.noise + self.coordinates.noise
        found = distances(sample.covariance, truth.covariance, self.coordinates, excess)
        return {
            "mean_ratio": mean_ratio,
            "mean_shift": mean_shift,
            "scatter_ratio": scatter_ratio,
            "mean": _mean(mean_ratio),
            "shift": np.sqrt(_mean(mean_shift**2)),
            "scatter": _mean(scatter_ratio),
            "slope": self._slope(sample, truth, resampled),
            "eigenvalues": found.eigenvalues,
            "smallest": found.eigenvalues[0],
            "largest": found.eigenvalues[-1],
            "divergence": found.divergence,
            "area": found.area,
            "inverse_maps": found.inverse_maps,
        }

    def _slope(self, sample: Moments, truth: Moments, resampled: bool) -> float:
        if len(sample.mean) < 2:
            return np.nan
        rho_true = correlation(truth.covariance)
        slope = correlation_slope(correlation(sample.covariance), rho_true)
        if resampled:
            # Resampling adds noise to ρ_T once more. Without this factor the slopes of the rounds,
            # and with them the error, would be too small by the ratio of the sums of squares.
            slope *= _sum_of_squares(rho_true) / self.rho_squared
        return slope


def _sum_of_squares(rho: np.ndarray) -> float:
    return (off_diagonal(rho) ** 2).sum()


def _divided(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> np.ndarray:
    """a / b, and NaN elsewhere."""
    return np.divide(a, b, out=np.full_like(a, np.nan), where=where)


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are defined; NaN if none is."""
    defined = np.isfinite(values)
    if not defined.any():
        return np.nan
    return values[defined].mean()
