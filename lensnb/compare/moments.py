"""A set and its reference: from means and covariances to the numbers of a verdict.

The definitions are in :mod:`lensnb.compare.verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ensemble import Ensemble, correlation, off_diagonal
from .covariance import Coordinates, contour_area, maps_needed, variance_ratios
from .ratios import error_of_true_maps

_ROUNDING = 1e-12  # of a mean: a smaller scatter is that of float64, where all maps are alike


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
        halves: of a reference, the covariances of two halves of its simulations; else empty.
    """

    mean: np.ndarray
    covariance: np.ndarray
    halves: tuple[np.ndarray, ...] = ()

    def cut(self, part: slice) -> Moments:
        """Those of some of the bins."""
        halves = tuple(half[part, part] for half in self.halves)
        return Moments(self.mean[part], self.covariance[part, part], halves)

    def std(self) -> np.ndarray:
        """Scatter of one map, shape ``(bins,)``."""
        return np.sqrt(np.diag(self.covariance))


class Pair:
    """One set and its reference in one statistic, with what all bootstrap rounds share.

    Args:
        sample: name of the set to judge.
        size: how many maps and simulations it has.
        independent: how many independent maps it has.
        reference: name of its reference, and the vectors of this statistic.
        halves: two halves of the simulations of the reference, with this statistic. None: it has
            too few.
        name: of the statistic.
        part: where the statistic lies in the joint vectors.
        most: how many eigenvectors to compare at most.
        responses: ∂μ/∂θ, shape ``(bins, parameters)``; None where not known.
    """

    def __init__(
        self,
        sample: str,
        size: tuple[int, int],
        independent: float,
        reference: tuple[str, Ensemble],
        halves: tuple[Ensemble, Ensemble] | None,
        name: str,
        part: slice,
        most: int,
        responses: np.ndarray | None,
    ):
        self.sample = sample
        self.reference, truth = reference
        self.name, self.part = name, part
        self.known = np.abs(truth.mean()) > 3 * truth.mean_error()
        self.coordinates = Coordinates.of(truth, most, responses)
        self.of_halves = None
        if halves is not None:
            self.of_halves = [Coordinates.of(half, most, responses) for half in halves]
        # With too few maps for so many eigenvectors a covariance has no inverse worth the name.
        self.enough = independent >= maps_needed(len(self.coordinates.metric))
        self.least = _least_errors(truth, self.known, *size)

    def numbers(self, sample: Moments, truth: Moments) -> dict[str, np.ndarray | float]:
        """What a verdict is made of, by name, from the moments of the joint vectors."""
        sample, truth = sample.cut(self.part), truth.cut(self.part)
        std = truth.std()
        eigenvalues = np.full(max(len(self.coordinates.metric), 1), np.nan)
        log_area = np.nan
        if self.enough:
            whole = sample.covariance, truth.covariance, self.coordinates
            eigenvalues = variance_ratios(*whole)
            if self.of_halves is None:
                log_area = np.log(contour_area(*whole))
            else:
                log_area = self._log_area(sample, truth)
        scatters = std > _ROUNDING * np.abs(truth.mean)
        rho = off_diagonal(correlation(sample.covariance))
        rho_true = off_diagonal(correlation(truth.covariance))
        return {
            "mean_ratio": _divided(sample.mean, truth.mean, self.known & (truth.mean != 0)),
            "mean_shift": _divided(sample.mean - truth.mean, std, scatters),
            "scatter_ratio": _divided(sample.std(), std, scatters),
            "eigenvalues": eigenvalues,
            "log_area": log_area,
            "products": float(rho @ rho_true),
            "squares": float(rho_true @ rho_true),
        }

    def _log_area(self, sample: Moments, truth: Moments) -> float:
        """ln of the ratio of areas, in directions that one half chooses for the other.

        Directions that are chosen by the same maps as the covariance seem to vary more than they
        do. Where correlations are weak, areas of true maps would be too small by 20 %.
        """
        areas = [
            contour_area(sample.covariance, other, chosen)
            for chosen, other in zip(self.of_halves, reversed(truth.halves))
        ]
        return float(np.log(areas).mean())


def _least_errors(
    truth: Ensemble, known: np.ndarray, maps: int, simulations: int
) -> dict[str, np.ndarray]:
    """Errors that so many true maps would have, see :func:`~.ratios.error_of_true_maps`.

    Returns:
        By number of a verdict: relative errors of means and scatters, and errors of shifts.
    """
    std, mean = truth.std(), np.abs(truth.mean())
    z = (truth.vectors - truth.mean()) / np.where(std > 0, std, np.nan)
    relative = z * _divided(std, mean, known & (mean > 0))
    change = (z**2 - 1) / 2  # of σ by one map, relative
    values = {
        "mean_ratio": relative,
        "mean_shift": z,
        "scatter_ratio": change,
        "mean": _average(relative),
        "scatter": _average(change),
    }
    found = {}
    for name, of_maps in values.items():
        defined = np.isfinite(of_maps).all(0)
        ensemble = Ensemble(np.where(defined, of_maps, 0), truth.simulation)
        errors = error_of_true_maps(ensemble, maps, simulations)
        found[name] = np.where(defined, errors, np.nan)
    found["mean"], found["scatter"] = found["mean"][0], found["scatter"][0]
    return found


def _average(values: np.ndarray) -> np.ndarray:
    """Average over the bins that are defined, shape ``(maps, 1)``."""
    defined = np.isfinite(values).all(0)
    if not defined.any():
        return np.full((len(values), 1), np.nan)
    return values[:, defined].mean(1, keepdims=True)


def _divided(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> np.ndarray:
    """a / b, and NaN elsewhere."""
    return np.divide(a, b, out=np.full_like(a, np.nan), where=where)
