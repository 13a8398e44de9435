"""An ensemble that keeps a few sums of each simulation, and so takes any number of maps."""

from __future__ import annotations

import numpy as np

from ..renamed import renamed
from ._resampling import Resampling, check_vectors, degrees_of_freedom
from .errors import by_group


class StreamingEnsemble(Resampling):
    """Mean and covariance of any number of vectors, which are not kept.

    Each simulation has a count, a mean and a matrix of squares about the mean, in float64. They
    are merged exactly (Chan, Golub & LeVeque 1983) and suffice for mean, covariance, bootstrap and
    jackknife. Memory: simulations × bins² × 8 B.

        ensemble = StreamingEnsemble()
        for maps, simulation in batches:
            ensemble.update(statistic(maps), simulation)
    """

    def __init__(self):
        self._count: dict[object, int] = {}
        self._mean: dict[object, np.ndarray] = {}
        self._square: dict[object, np.ndarray] = {}
        self._blocks = 0

    @renamed(labels="simulation")
    def update(self, vectors, simulation=None) -> StreamingEnsemble:
        """Add the vectors of more maps.

        Args:
            vectors: shape ``(maps, bins)``.
            simulation: simulation of each map, shape ``(maps,)``. None: the maps are independent
                of each other and of all others, and this batch is resampled as one block. Use at
                least some tens of batches.

        Returns:
            The ensemble itself.

        Raises:
            ValueError: shapes do not fit, other bins than before, or vectors that are not finite.
        """
        vectors = np.asarray(vectors, np.float64)
        if simulation is None:
            self._blocks += 1
            # Simulations are numbered from 0, and so blocks have negative numbers.
            simulation = np.full(len(vectors), -self._blocks)
        simulation = np.asarray(simulation)
        check_vectors(vectors, simulation)
        if self._mean:
            known = len(next(iter(self._mean.values())))
            if vectors.shape[1] != known:
                raise ValueError(
                    f"the ensemble has vectors of {known} bins, found {vectors.shape[1]}"
                )
        for one, part in zip(np.unique(simulation), by_group(vectors, simulation)):
            mean = part.mean(0)
            centred = part - mean
            self._merge(one.item(), len(part), mean, centred.T @ centred)
        return self

    def _merge(self, one, count: int, mean: np.ndarray, square: np.ndarray) -> None:
        """Add the count, mean and squares of more maps of a simulation to those it has."""
        if one not in self._count:
            self._count[one] = count
            self._mean[one] = mean
            self._square[one] = square
            return
        old = self._count[one]
        new = old + count
        step = mean - self._mean[one]
        # The squares of the two means about the mean of both.
        between = np.outer(step, step) * old * count / new
        self._count[one] = new
        self._mean[one] = self._mean[one] + step * count / new
        self._square[one] = self._square[one] + square + between

    def __len__(self) -> int:
        return sum(self._count.values())

    @property
    def _groups(self) -> np.ndarray:
        return np.array(list(self._count))

    def _counts(self) -> np.ndarray:
        """The number of maps of each simulation, shape ``(simulations,)``."""
        if not self._count:
            raise ValueError("the ensemble is empty: update it with vectors first")
        return np.array(list(self._count.values()))

    def _means(self) -> np.ndarray:
        """The mean vector of each simulation, shape ``(simulations, bins)``."""
        return np.array(list(self._mean.values()))

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        counts = self._counts()
        return counts, counts[:, None] * self._means()

    def _weighted_counts(self, weights: np.ndarray | None) -> np.ndarray:
        if weights is None:
            weights = 1.0
        return self._counts() * weights

    def mean(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Mean vector, shape ``(bins,)``.

        Args:
            weights: how often each simulation counts, in the order in which they arrived, shape
                ``(simulations,)``; by default once.
        """
        counts = self._weighted_counts(weights)
        return np.average(self._means(), axis=0, weights=counts)

    def covariance(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Unbiased covariance matrix, shape ``(bins, bins)``; see :meth:`Ensemble.covariance`.

        Args:
            weights: as for :meth:`mean`.

        Raises:
            ValueError: there is one map only, or none.
        """
        if weights is None:
            weights = np.ones(len(self._counts()))
        return self.moments(weights[None])[1][0]

    def moments(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counts, own = self._counts(), self._means()
        bins = own.shape[1]
        used = np.flatnonzero(weights.any(0))
        squares = list(self._square.values())
        inside = np.array([squares[i] for i in used]).reshape(len(used), bins**2)
        # of all rounds at once, which is much faster
        covariances = (weights[:, used] @ inside).reshape(len(weights), bins, bins)
        means = []
        for repeats, square in zip(weights, covariances):
            drawn = repeats > 0
            number, between = (repeats * counts)[drawn], own[drawn]
            dof = degrees_of_freedom(number)
            mean = number @ between / number.sum()
            scaled = (between - mean) * np.sqrt(number)[:, None]
            square += scaled.T @ scaled
            square /= dof
            means.append(mean)
        return np.array(means), covariances
