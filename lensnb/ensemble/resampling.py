"""Errors from resampling simulations: bootstrap, jackknife, and the noise of a covariance.

Maps cut from one simulation share structure. Resampling maps would underestimate every error, and
so bootstrap and jackknife draw whole simulations (Efron & Tibshirani 1993, §8.5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .matrices import correlation, hartlap_factor

if TYPE_CHECKING:
    from .held import Ensemble
    from .streaming import StreamingEnsemble


class Resampling:
    """What :class:`Ensemble` and :class:`StreamingEnsemble` have in common.

    ``_groups`` is the simulation that each weight belongs to.
    """

    _groups: np.ndarray

    @property
    def simulations(self) -> np.ndarray:
        """The distinct simulations, sorted."""
        return np.unique(self._groups)

    def std(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Scatter of one map about the mean, shape ``(bins,)``."""
        return np.sqrt(np.diag(self.covariance(weights)))

    def correlation(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Correlation coefficients ρ_ij, shape ``(bins, bins)``.

        They are zero in the rows of bins without scatter.
        """
        return correlation(self.covariance(weights))

    def bootstrap_weights(self, rounds: int, seed: int = 0) -> np.ndarray:
        """How often each map counts when simulations are drawn with replacement.

        (Efron & Tibshirani 1993, §8.5).

        Args:
            rounds: number of draws.
            seed: of the draws.

        Returns:
            Weights for :meth:`mean`, :meth:`covariance` and the like, shape ``(rounds, maps)``;
            for a streaming ensemble ``(rounds, simulations)``.

        Raises:
            ValueError: there is one simulation only.
        """
        count, index = self._resampled("bootstrap")
        equal = np.full(count, 1 / count)
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(count, equal, size=rounds)
        return draws[:, index].astype(float)

    def jackknife_weights(self) -> np.ndarray:
        """Weights like those of :meth:`bootstrap_weights`, with one simulation left out each.

        One row a simulation. :func:`jackknife_error` gives the standard error.

        Raises:
            ValueError: there is one simulation only.
        """
        count, index = self._resampled("jackknife")
        kept = 1.0 - np.eye(count)
        return kept[:, index]

    def _resampled(self, name: str) -> tuple[int, np.ndarray]:
        """The number of simulations, at least two, and the index of each weight's simulation."""
        simulations, index = np.unique(self._groups, return_inverse=True)
        if len(simulations) < 2:
            raise ValueError(
                f"a {name} over simulations needs at least two simulations, found one"
            )
        return len(simulations), index

    def mean_error(self) -> np.ndarray:
        """Standard error of the mean, shape ``(bins,)``, from a jackknife over simulations."""
        self._resampled("jackknife")
        counts, sums = self._sums()
        left = counts.sum() - counts
        means = (sums.sum(0) - sums) / left[:, None]
        return jackknife_error(means)

    def precision(self, maps: float | None = None) -> np.ndarray:
        """Unbiased inverse of the covariance, h C⁻¹, shape ``(bins, bins)``.

        h is the :func:`hartlap_factor`.

        Args:
            maps: how many independent maps the covariance is worth. The default is all maps, which
                holds only where each map is a simulation of its own. See
                :meth:`Ensemble.effective_maps`.

        Raises:
            ValueError: no more maps than bins + 2, or a bin without scatter, where the covariance
                has no inverse.
        """
        covariance = self.covariance()
        if maps is None:
            maps = len(self)
        factor = hartlap_factor(maps, len(covariance))
        std = np.sqrt(np.diag(covariance))
        if (std == 0).any():
            flat = int((std == 0).argmax())
            raise ValueError(f"bin {flat} has no scatter, so the covariance has no inverse")
        # The correlation matrix is inverted, because the bins of a joint vector differ by many
        # powers of ten.
        return factor * np.linalg.inv(correlation(covariance)) / np.outer(std, std)


def check_vectors(vectors: np.ndarray, simulation: np.ndarray) -> None:
    """Refuse vectors that are not ``(maps, bins)``, not finite, or lack a simulation number."""
    if vectors.ndim != 2 or simulation.shape != (len(vectors),):
        raise ValueError(
            f"vectors must have the shape (maps, bins), with one simulation number a map; "
            f"found {vectors.shape} and {simulation.shape}"
        )
    bad = int((~np.isfinite(vectors).all(1)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(vectors)} maps have statistics that are not finite")


def degrees_of_freedom(counts: np.ndarray) -> float:
    """Σ counts − 1, by which a sum of squares is divided for an unbiased covariance."""
    if counts.sum() <= 1:
        raise ValueError(f"a covariance needs at least two maps, found {counts.sum():g}")
    return counts.sum() - 1


def bootstrap(
    ensemble: Ensemble | StreamingEnsemble, function: Callable, rounds: int = 200, seed: int = 0
) -> np.ndarray:
    """``function(ensemble, weights)`` for each round of a bootstrap over simulations.

    The standard deviation over the rounds is the standard error.

    Returns:
        The values, shape ``(rounds, …)``.
    """
    weights = ensemble.bootstrap_weights(rounds, seed)
    return np.array([function(ensemble, some) for some in weights])


def jackknife_error(values) -> np.ndarray:
    """Standard error from values with one simulation left out each.

    √((S − 1)/S Σ (vₛ − v̄)²) (Efron & Tibshirani 1993, eq. 11.5).

    Args:
        values: one a simulation, shape ``(simulations, …)``, from
            :meth:`Ensemble.jackknife_weights`.
    """
    values = np.asarray(values)
    return np.sqrt((len(values) - 1) * values.var(0))


def covariance_noise(ensemble: Ensemble, metric: np.ndarray) -> tuple[float, float]:
    """Expected squared error ‖W (Ĉ − C) Wᵀ‖² of the ensemble's covariance, in the metric W.

    Ĉ is the mean of the matrices (x − x̄)(x − x̄)ᵀ of all maps. Its squared error is the variance
    of these matrices over their number: n independent maps, or S independent simulations. In the
    second case the deviations of the maps of a simulation are added first.

    Args:
        ensemble: the vectors and their simulations.
        metric: W, shape ``(k, bins)``.

    Returns:
        The squared error if all maps were independent, and that if only simulations are.

    Raises:
        ValueError: there is one simulation only.
    """
    z = (ensemble.vectors - ensemble.mean()) @ metric.T
    n = len(z)
    mean = z.T @ z / n
    size = (z**2).sum(1)
    own = np.einsum("ij,jk,ik->i", z, mean, z, optimize=True)
    squares = size**2 - 2 * own + (mean**2).sum()  # ‖z zᵀ − mean‖² of each map
    alone = float(squares.sum()) / (n * (n - 1))
    simulations, index = np.unique(ensemble.simulation, return_inverse=True)
    count = len(simulations)
    if count < 2:
        raise ValueError("the noise of a covariance needs at least two simulations, found one")
    if count == n:
        return alone, alone
    together = 0.0
    for simulation in range(count):
        part = z[index == simulation]
        deviation = part.T @ part - len(part) * mean
        together += float((deviation**2).sum())
    return alone, together * count / (count - 1) / n**2
