"""Many vectors → mean, scatter, covariance, correlation; errors from a bootstrap over simulations.

An ensemble is a float64 array ``(maps, bins)`` with one simulation label a map. Maps cut from one simulation share
structure: resampling maps would understate every error, so the bootstrap draws whole simulations (Efron & Tibshirani
1993, §8.5). A map that a generator drew is a simulation of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Ensemble:
    """The vectors of a set of maps.

    Attributes:
        vectors: one vector a map, shape ``(maps, bins)``.
        labels: simulation of each map, shape ``(maps,)``; None when every map is independent.
    """

    vectors: np.ndarray
    labels: np.ndarray | None = None

    def __post_init__(self):
        self.vectors = np.asarray(self.vectors, np.float64)
        self.labels = np.arange(len(self.vectors)) if self.labels is None else np.asarray(self.labels)
        if self.vectors.ndim != 2 or len(self.labels) != len(self.vectors):
            raise ValueError(
                f"vectors {self.vectors.shape} must be (maps, bins) with one label a map, found {self.labels.shape}"
            )
        if not np.isfinite(self.vectors).all():
            bad = int((~np.isfinite(self.vectors).all(1)).sum())
            raise ValueError(f"{bad} of {len(self.vectors)} maps have statistics that are not finite")

    def __len__(self) -> int:
        return len(self.vectors)

    def mean(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Mean vector, shape ``(bins,)``; ``weights``: how often each map counts."""
        return np.average(self.vectors, axis=0, weights=weights)

    def covariance(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Unbiased covariance matrix, shape ``(bins, bins)``."""
        weights = np.ones(len(self)) if weights is None else weights
        centred = self.vectors - self.mean(weights)
        return (centred.T * weights) @ centred / (weights.sum() - 1)

    def std(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Scatter of one map about the mean, shape ``(bins,)``."""
        return np.sqrt(np.diag(self.covariance(weights)))

    def correlation(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Correlation coefficients ρ_ij, shape ``(bins, bins)``; zero in the rows of bins without scatter."""
        return correlation(self.covariance(weights))

    def bootstrap_weights(self, rounds: int, seed: int = 0) -> np.ndarray:
        """How often each map counts when simulations are drawn with replacement, shape ``(rounds, maps)``."""
        simulations, index = np.unique(self.labels, return_inverse=True)
        if len(simulations) < 2:
            raise ValueError("a bootstrap over simulations needs at least two simulations, found one")
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(len(simulations), np.full(len(simulations), 1 / len(simulations)), size=rounds)
        return draws[:, index].astype(float)


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Correlation matrix of a covariance matrix."""
    std = np.sqrt(np.diag(covariance))
    inverse = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    return covariance * np.outer(inverse, inverse)


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The elements above the diagonal, as a vector."""
    return matrix[np.triu_indices(len(matrix), 1)]
