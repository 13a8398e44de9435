"""An ensemble that keeps the vectors of all its maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..renamed import old_attribute, renamed
from ._resampling import Resampling, check_vectors, degrees_of_freedom
from .errors import grouped, noise_of_squares


@renamed(labels="simulation")
@dataclass
class Ensemble(Resampling):
    """The vectors of a set of maps.

    Attributes:
        vectors: one vector a map, shape ``(maps, bins)``.
        simulation: simulation of each map, shape ``(maps,)``; None: every map is independent.

    Raises:
        ValueError: another shape, not one simulation a map, or vectors that are not finite.
    """

    vectors: np.ndarray
    simulation: np.ndarray | None = None

    def __post_init__(self):
        self.vectors = np.asarray(self.vectors, np.float64)
        if self.simulation is None:
            self.simulation = np.arange(len(self.vectors))
        self.simulation = np.asarray(self.simulation)
        check_vectors(self.vectors, self.simulation)

    labels = old_attribute("labels", "simulation")

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def _groups(self) -> np.ndarray:
        return self.simulation

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """The number of maps of each simulation and the sum of their vectors."""
        ordered, starts = grouped(self.vectors, self.simulation)
        return np.diff(starts, append=len(self)), np.add.reduceat(ordered, starts)

    @classmethod
    def join(cls, ensembles: Iterable[Ensemble]) -> Ensemble:
        """The joint vectors of several statistics of the same maps, one after the other."""
        ensembles = list(ensembles)
        vectors = np.hstack([one.vectors for one in ensembles])
        return cls(vectors, ensembles[0].simulation)

    def mean(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Mean vector, shape ``(bins,)``.

        Args:
            weights: how often each map counts, shape ``(maps,)``; by default once.
        """
        return np.average(self.vectors, axis=0, weights=weights)

    def covariance(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Unbiased covariance matrix, shape ``(bins, bins)``.

        Args:
            weights: how often each map counts, shape ``(maps,)``; by default once.

        Raises:
            ValueError: there is one map only.
        """
        if weights is not None:
            return self.moments(weights[None])[1][0]
        centred = self.vectors - self.mean()
        return centred.T @ centred / degrees_of_freedom(np.array(len(self)))

    def moments(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        means, covariances = [], []
        for row in weights:
            drawn = row > 0
            counts, vectors = row[drawn], self.vectors[drawn]
            dof = degrees_of_freedom(counts)
            mean = counts @ vectors / counts.sum()
            scaled = (vectors - mean) * np.sqrt(counts)[:, None]
            means.append(mean)
            covariances.append(scaled.T @ scaled / dof)
        return np.array(means), np.array(covariances)

    def std(self, weights: np.ndarray | None = None) -> np.ndarray:
        centred = self.vectors - self.mean(weights)
        if weights is None:
            weights = np.ones(len(self))
        return np.sqrt(weights @ centred**2 / degrees_of_freedom(weights))

    def effective_maps(self) -> float:
        """How many independent maps would give an equally good covariance.

        With standardised vectors z and their correlation matrix R, the covariance is a mean of the
        matrices z zᵀ, and

            n_eff = n · Σᵢ‖zᵢzᵢᵀ − R‖² / Σ_s ‖Σ_{i∈s}(zᵢzᵢᵀ − R)‖²,   at most n.

        The numerator is the variance of the covariance if all n maps were independent. The
        denominator is its variance if only simulations s are. Their ratio is the design effect of
        cluster sampling (Kish 1965).
        """
        if len(self.simulations) == len(self) > 1:
            return float(len(self))
        std = self.std()
        safe = np.where(std > 0, std, np.inf)
        z = (self.vectors - self.mean()) / safe
        alone, clustered = noise_of_squares(z, self.simulation)
        if not clustered > 0:
            return float(len(self))
        return float(len(self) * min(1.0, alone / clustered))

    def known_correlations(self) -> np.ndarray:
        """Which correlation coefficients are known well enough to divide by, bool.

        Those off the diagonal that are more than three standard errors, (1 − ρ²)/√(n_eff − 1),
        from zero. Shape ``(bins, bins)``.
        """
        rho = self.correlation()
        error = (1 - rho**2) / np.sqrt(max(self.effective_maps() - 1, 1))
        known = np.abs(rho) > 3 * error
        np.fill_diagonal(known, False)
        return known
