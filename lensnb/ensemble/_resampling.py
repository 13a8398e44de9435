"""What both ensembles share: resampling whole simulations, and what follows from a covariance."""

from __future__ import annotations

import numpy as np

from .errors import jackknife_error
from .matrices import correlation, hartlap_factor


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

    def moments(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean vectors ``(rounds, bins)`` and covariances ``(rounds, bins, bins)``.

        Args:
            weights: one row a round, as for :meth:`mean`.
        """
        means = np.array([self.mean(row) for row in weights])
        return means, np.array([self.covariance(row) for row in weights])

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
