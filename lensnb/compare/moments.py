"""A set and its reference: from means and covariances to the numbers of a verdict.

The definitions are in :mod:`lensnb.compare.verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..ensemble import Ensemble, StreamingEnsemble, off_diagonal
from .covariance import Coordinates, contour_area, maps_needed, variance_ratios
from .ratios import TrueScatter

_BLOCKS = 250  # of independent maps, resampled together: they give an error to 4 %
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
    """Means and covariances of a set, in so many bootstrap draws from it.

    Attributes:
        mean: shape ``(draws, bins)``.
        covariance: shape ``(draws, bins, bins)``.
        halves: of a reference, the covariances of two halves of its simulations; else empty.
    """

    mean: np.ndarray
    covariance: np.ndarray
    halves: tuple[np.ndarray, ...] = ()

    def cut(self, part: slice) -> Moments:
        """Those of some of the bins."""
        halves = tuple(half[:, part, part] for half in self.halves)
        return Moments(self.mean[:, part], self.covariance[:, part, part], halves)

    @cached_property
    def std(self) -> np.ndarray:
        """Scatter of one map, shape ``(draws, bins)``."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))


class Resampled:
    """A set in a form that is resampled in little time, with its halves if it is a reference.

    Sets of few simulations with many maps are summed over each simulation. Very many independent
    maps are summed in blocks, for the same reason.
    """

    def __init__(self, ensemble: Ensemble, halved: bool, seed: int):
        simulations, units = np.unique(ensemble.simulation, return_inverse=True)
        count = len(simulations)
        if count > len(ensemble) / 4 and count > 8 * _BLOCKS:
            units = units * _BLOCKS // count
            count = _BLOCKS
        self.ensemble: Ensemble | StreamingEnsemble = ensemble
        self.maps = np.ones(len(ensemble))  # of each weight of a draw
        weighted = units  # the unit of each weight
        if count <= len(ensemble) / 4:
            self.ensemble = StreamingEnsemble().update(ensemble.vectors, units)
            self.maps = np.bincount(units)
            weighted = np.arange(count)
        self.halves = None
        if halved and count >= 4:
            first = np.random.default_rng(seed).permutation(count) < count // 2
            self.halves = [(half[units], half[weighted]) for half in (first, ~first)]

    def halves_of(self, ensemble: Ensemble) -> tuple[Ensemble, Ensemble] | None:
        """The vectors of the two halves; None if there are none."""
        if self.halves is None:
            return None
        first, second = (
            Ensemble(ensemble.vectors[maps], ensemble.simulation[maps]) for maps, _ in self.halves
        )
        return first, second

    def whole(self) -> Moments:
        """The moments of all maps, as one draw."""
        return self.moments(np.ones((1, len(self.maps))))

    def moments(self, weights: np.ndarray) -> Moments:
        """The moments of draws with these weights, one row a draw."""
        if self.halves is None:
            return Moments(*self.ensemble.moments(weights))
        halves = [weights * kept for _, kept in self.halves]
        small = np.any([half.sum(1) <= 1 for half in halves], axis=0)
        if not small.any():
            return _joined(*[(half @ self.maps, *self.ensemble.moments(half)) for half in halves])
        whole = Moments(*self.ensemble.moments(weights))
        # A draw can leave out nearly all of a small half.
        halves = [np.where(half.sum(1, keepdims=True) > 1, half, weights) for half in halves]
        return replace(whole, halves=tuple(self.ensemble.moments(half)[1] for half in halves))


def _joined(first: tuple, second: tuple) -> Moments:
    """The moments of two sets together, from the maps, means and covariances of each.

    (Chan, Golub & LeVeque 1983), in a fraction of the time of summing all maps once more.
    """
    (a, mean, covariance), (b, other_mean, other) = first, second
    step = other_mean - mean
    share = (b / (a + b))[:, None]
    square = covariance * (a - 1)[:, None, None] + other * (b - 1)[:, None, None]
    square += (step * a[:, None] * share)[:, :, None] * step[:, None, :]
    square /= (a + b - 1)[:, None, None]
    return Moments(mean + share * step, square, (covariance, other))


class Reference:
    """A reference in one statistic, with what does not depend on the set that is judged.

    Args:
        truth: the vectors of this statistic.
        halves: two halves of its simulations. None: it has too few.
        most: how many eigenvectors to compare at most.
        responses: ∂μ/∂θ, shape ``(bins, parameters)``; None where not known.
    """

    def __init__(
        self,
        truth: Ensemble,
        halves: tuple[Ensemble, Ensemble] | None,
        most: int,
        responses: np.ndarray | None,
    ):
        self.known = np.abs(truth.mean()) > 3 * truth.mean_error()
        self.coordinates = Coordinates.of(truth, most, responses)
        self.of_halves = None
        if halves is not None:
            self.of_halves = [Coordinates.of(half, most, responses) for half in halves]
        self.least = _LeastErrors(truth, self.known)

    @property
    def kept(self) -> int:
        """How many eigenvectors are compared."""
        return len(self.coordinates.metric)

    def enough(self, independent: float) -> bool:
        """Whether so many independent maps give a covariance that can be compared.

        With too few maps for so many eigenvectors it has no inverse worth the name.
        """
        return independent >= maps_needed(self.kept)

    def numbers(self, sample: Moments, truth: Moments, enough: bool) -> dict[str, np.ndarray]:
        """What a verdict is made of, by name, one row a draw.

        Args:
            sample, truth: the moments of this statistic.
            enough: the sample has enough maps for its covariance.
        """
        draws = len(sample.mean)
        eigenvalues = np.full((draws, max(self.kept, 1)), np.nan)
        log_area = np.full(draws, np.nan)
        if enough:
            whole = sample.covariance, truth.covariance, self.coordinates
            eigenvalues = variance_ratios(*whole)
            if self.of_halves is None:
                log_area = np.log(contour_area(*whole))
            else:
                log_area = self._log_area(sample, truth)
        defined = self.known & (truth.mean != 0)
        scatters = truth.std > _ROUNDING * np.abs(truth.mean)
        return {
            "mean_ratio": _divided(sample.mean, truth.mean, defined),
            "mean_shift": _divided(sample.mean - truth.mean, truth.std, scatters),
            "scatter_ratio": _divided(sample.std, truth.std, scatters),
            "eigenvalues": eigenvalues,
            "log_area": log_area,
            "products": _products(sample, truth),
            "squares": _products(truth, truth),
        }

    def _log_area(self, sample: Moments, truth: Moments) -> np.ndarray:
        """ln of the ratio of areas, in directions that one half chooses for the other.

        Directions that are chosen by the same maps as the covariance seem to vary more than they
        do. Where correlations are weak, areas of true maps would be too small by 20 %.
        """
        areas = [
            contour_area(sample.covariance, other, chosen)
            for chosen, other in zip(self.of_halves, reversed(truth.halves))
        ]
        return np.log(areas).mean(0)


def _products(sample: Moments, truth: Moments) -> np.ndarray:
    """Σ ρ ρ_true above the diagonal, of each draw.

    With w = 1/(σ σ_true) it is half of wᵀ (C ∘ C_true) w without the diagonal.
    """
    product = sample.covariance * truth.covariance
    scatter = sample.std * truth.std
    weight = np.divide(1, scatter, out=np.zeros_like(scatter), where=scatter > 0)
    of_rows = (product @ weight[..., None])[..., 0]
    own = np.diagonal(product, axis1=1, axis2=2) * weight
    return ((of_rows - own) * weight).sum(1) / 2


class _LeastErrors:
    """Errors that sets of true maps would have, see :class:`~lensnb.compare.ratios.TrueScatter`.

    Args:
        truth: the vectors of the reference.
        known: which bins have a mean to divide by.
    """

    def __init__(self, truth: Ensemble, known: np.ndarray):
        std, mean = truth.std(), np.abs(truth.mean())
        scatters = std > 0
        z = (truth.vectors - truth.mean()) / np.where(scatters, std, 1)
        change = (z**2 - 1) / 2  # of σ by one map, relative
        self.relative = _divided(std, mean, known & (mean > 0) & scatters)
        in_mean = np.isfinite(self.relative)
        of_mean = z[:, in_mean] @ self.relative[in_mean] / max(in_mean.sum(), 1)
        of_scatter = change[:, scatters].sum(1) / max(scatters.sum(), 1)
        numbers = np.column_stack([z, change, of_mean, of_scatter])
        self.scatter = TrueScatter(Ensemble(numbers, truth.simulation))
        self.defined = np.hstack([scatters, scatters, in_mean.any(), scatters.any()])

    def of(self, maps: int, simulations: int) -> dict[str, np.ndarray]:
        """Relative errors of means and scatters, and errors of shifts, by number of a verdict.

        Args:
            maps, simulations: how many the set has that is judged.
        """
        errors = self.scatter.error(maps, simulations)
        errors = np.where(self.defined, errors, np.nan)
        bins = len(self.relative)
        shift, change, averages = np.split(errors, [bins, 2 * bins])
        return {
            "mean_ratio": self.relative * shift,
            "mean_shift": shift,
            "scatter_ratio": change,
            "mean": averages[0],
            "scatter": averages[1],
        }


def _divided(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> np.ndarray:
    """a / b, and NaN elsewhere."""
    return np.divide(a, b, out=np.full_like(a, np.nan), where=where)
