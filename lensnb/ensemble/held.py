"""Many vectors → mean, scatter, covariance, correlation; errors from resampling simulations.

An ensemble is a float64 array ``(maps, bins)`` with the simulation of each map. Maps cut from one simulation share
structure: resampling maps would understate every error, so bootstrap and jackknife draw whole simulations (Efron &
Tibshirani 1993, §8.5). A map that a generator drew is a simulation of its own.

:class:`Ensemble` keeps the vectors (never the maps). :class:`StreamingEnsemble` keeps only a count, a mean and a sum of
squares for each simulation, and so takes any number of maps. Both answer the same questions. The functions below them
turn covariances into what an analysis needs: shrinkage, unbiased inverses, and what a Gaussian field would have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..data import MapSet
from ..maps import MapGrid
from ..renamed import old_attribute, renamed
from ..stats import Statistic
from ..store import ahead, maps_a_piece


class _Resampling:
    """What :class:`Ensemble` and :class:`StreamingEnsemble` share; ``_groups`` holds the simulation of each weight."""

    _groups: np.ndarray

    @property
    def simulations(self) -> np.ndarray:
        """The distinct simulations, sorted."""
        return np.unique(self._groups)

    def std(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Scatter of one map about the mean, shape ``(bins,)``."""
        return np.sqrt(np.diag(self.covariance(weights)))

    def correlation(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Correlation coefficients ρ_ij, shape ``(bins, bins)``; zero in the rows of bins without scatter."""
        return correlation(self.covariance(weights))

    def bootstrap_weights(self, rounds: int, seed: int = 0) -> np.ndarray:
        """How often each map counts when simulations are drawn with replacement (Efron & Tibshirani 1993, §8.5).

        Returns:
            Weights for :meth:`mean`, :meth:`covariance` and the like, shape ``(rounds, maps)``; for a streaming ensemble
            ``(rounds, simulations)``.

        Raises:
            ValueError: there is one simulation only.
        """
        count, index = self._resampled("bootstrap")
        draws = np.random.default_rng(seed).multinomial(
            count, np.full(count, 1 / count), size=rounds
        )
        return draws[:, index].astype(float)

    def jackknife_weights(self) -> np.ndarray:
        """Each simulation left out once: weights like those of :meth:`bootstrap_weights`, one row a simulation.

        See :func:`jackknife_error` for the standard error that follows.
        """
        count, index = self._resampled("jackknife")
        return (1.0 - np.eye(count))[:, index]

    def _resampled(self, name: str) -> tuple[int, np.ndarray]:
        simulations, index = np.unique(self._groups, return_inverse=True)
        if len(simulations) < 2:
            raise ValueError(
                f"a {name} over simulations needs at least two simulations, found one"
            )
        return len(simulations), index

    def mean_error(self) -> np.ndarray:
        """Standard error of the mean, from leaving out one simulation at a time, shape ``(bins,)``."""
        self._resampled("jackknife")
        counts, sums = self._sums()
        return jackknife_error((sums.sum(0) - sums) / (counts.sum() - counts)[:, None])

    def precision(self, maps: float | None = None) -> np.ndarray:
        """Unbiased inverse of the covariance, h C⁻¹ with the factor h of :func:`hartlap_factor`, shape ``(bins, bins)``.

        Args:
            maps: how many independent maps the covariance counts for; by default all of them, which is right only where
                each map is a simulation of its own. See :meth:`Ensemble.effective_maps`.

        Raises:
            ValueError: no more maps than bins + 2, or a bin without scatter: the covariance has no inverse.
        """
        covariance = self.covariance()
        factor = hartlap_factor(len(self) if maps is None else maps, len(covariance))
        std = np.sqrt(np.diag(covariance))
        if (std == 0).any():
            raise ValueError(
                f"bin {int((std == 0).argmax())} has no scatter, so the covariance has no inverse"
            )
        # by way of the correlation matrix: the bins of a joint vector differ by many powers of ten
        return factor * np.linalg.inv(correlation(covariance)) / np.outer(std, std)


@renamed(labels="simulation")
@dataclass
class Ensemble(_Resampling):
    """The vectors of a set of maps.

    Attributes:
        vectors: one vector a map, shape ``(maps, bins)``.
        simulation: simulation of each map, shape ``(maps,)``; None when every map is independent.

    Raises:
        ValueError: another shape, not one simulation a map, or vectors that are not finite.
    """

    vectors: np.ndarray
    simulation: np.ndarray | None = None

    def __post_init__(self):
        self.vectors = np.asarray(self.vectors, np.float64)
        self.simulation = (
            np.arange(len(self.vectors))
            if self.simulation is None
            else np.asarray(self.simulation)
        )
        _check(self.vectors, self.simulation)

    labels = old_attribute("labels", "simulation")

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def _groups(self) -> np.ndarray:
        return self.simulation

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """How many maps each simulation has, shape ``(simulations,)``, and the sum of their vectors."""
        simulations, index = np.unique(self.simulation, return_inverse=True)
        sums = np.zeros((len(simulations), self.vectors.shape[1]))
        np.add.at(sums, index, self.vectors)
        return np.bincount(index), sums

    @classmethod
    def join(cls, ensembles: Iterable[Ensemble]) -> Ensemble:
        """The joint vectors of several statistics of the same maps, one statistic after the other."""
        ensembles = list(ensembles)
        return cls(np.hstack([e.vectors for e in ensembles]), ensembles[0].simulation)

    def mean(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Mean vector, shape ``(bins,)``; ``weights``: how often each map counts."""
        return np.average(self.vectors, axis=0, weights=weights)

    def covariance(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Unbiased covariance matrix, shape ``(bins, bins)``.

        Raises:
            ValueError: there is one map only.
        """
        weights = np.ones(len(self)) if weights is None else weights
        centred = self.vectors - self.mean(weights)
        return (centred.T * weights) @ centred / _freedom(weights)

    def effective_maps(self) -> float:
        """How many independent maps would give as good a covariance as these maps of few simulations do.

        With standardised vectors z and their correlation matrix R, the covariance is a mean of the matrices z zᵀ, and
        n_eff = n · Σᵢ‖zᵢzᵢᵀ − R‖² / Σ_s ‖Σ_{i∈s}(zᵢzᵢᵀ − R)‖²: its variance if all n maps were independent over its
        variance when only simulations s are (the design effect of cluster sampling, Kish 1965). At most n.
        """
        alone, clustered = covariance_noise(
            self, np.diag(1 / np.where(self.std() > 0, self.std(), np.inf))
        )
        return (
            float(len(self) * min(1.0, alone / clustered)) if clustered > 0 else float(len(self))
        )

    def known_correlations(self) -> np.ndarray:
        """Which correlation coefficients are known well enough to divide by, bool, shape ``(bins, bins)``.

        Those off the diagonal that are more than three standard errors, (1 − ρ²)/√(n_eff − 1), from zero.
        """
        rho = self.correlation()
        known = np.abs(rho) > 3 * (1 - rho**2) / np.sqrt(max(self.effective_maps() - 1, 1))
        np.fill_diagonal(known, False)
        return known


class StreamingEnsemble(_Resampling):
    """Mean and covariance of any number of vectors, which are not kept.

    For every simulation there is a count, a mean and a matrix of squares about the mean, in float64, merged exactly (Chan,
    Golub & LeVeque 1983): enough for mean, covariance, bootstrap and jackknife. Memory: simulations × bins² × 8 B.

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
        """Take in the vectors of some more maps.

        Args:
            vectors: shape ``(maps, bins)``.
            simulation: simulation of each map, shape ``(maps,)``. None: the maps are independent of one another and of all
                others, and this batch is resampled as one block; let there be some tens of batches.

        Raises:
            ValueError: shapes do not fit, other bins than before, or vectors that are not finite.
        """
        vectors = np.asarray(vectors, np.float64)
        if simulation is None:
            self._blocks += 1
            simulation = np.full(len(vectors), -self._blocks)  # simulations are numbered from 0
        simulation = np.asarray(simulation)
        _check(vectors, simulation)
        if self._mean and vectors.shape[1] != len(next(iter(self._mean.values()))):
            known = len(next(iter(self._mean.values())))
            raise ValueError(f"the ensemble has vectors of {known} bins, found {vectors.shape[1]}")
        for one in np.unique(simulation):
            part = vectors[simulation == one]
            mean = part.mean(0)
            self._merge(one.item(), len(part), mean, (part - mean).T @ (part - mean))
        return self

    def _merge(self, one, count: int, mean: np.ndarray, square: np.ndarray) -> None:
        if one not in self._count:
            self._count[one], self._mean[one], self._square[one] = count, mean, square
            return
        old, step = self._count[one], mean - self._mean[one]
        self._count[one] = old + count
        self._mean[one] = self._mean[one] + step * count / (old + count)
        self._square[one] = (
            self._square[one] + square + np.outer(step, step) * old * count / (old + count)
        )

    def __len__(self) -> int:
        return sum(self._count.values())

    @property
    def _groups(self) -> np.ndarray:
        return np.array(list(self._count))

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        counts = np.array(list(self._count.values()))
        return counts, counts[:, None] * np.array(list(self._mean.values()))

    def _counted(self, weights: np.ndarray | None) -> np.ndarray:
        if not self._count:
            raise ValueError("the ensemble is empty: update it with vectors first")
        return np.array(list(self._count.values())) * (1.0 if weights is None else weights)

    def mean(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Mean vector, shape ``(bins,)``; ``weights``: how often each simulation counts, in the order they arrived."""
        return np.average(
            np.array(list(self._mean.values())), axis=0, weights=self._counted(weights)
        )

    def covariance(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Unbiased covariance matrix, shape ``(bins, bins)``; see :meth:`Ensemble.covariance`."""
        counts = self._counted(weights)
        centred = np.array(list(self._mean.values())) - self.mean(weights)
        square = (centred.T * counts) @ centred
        for weight, inside in zip(counts / self._counted(None), self._square.values()):
            square += weight * inside
        return square / _freedom(counts)


@renamed(labels="simulation")
def measure(
    statistics: Mapping[str, Statistic],
    maps: MapSet | Tensor | Iterable[Tensor],
    simulation=None,
    executor: Executor | None = None,
) -> dict[str, Ensemble]:
    """The vectors of every statistic, map by map in small batches; the maps are never held all at once.

    Args:
        statistics: by name, from :func:`lensnb.stats.suite`.
        maps: a :class:`~lensnb.data.MapSet` (maps on disk are read piece by piece), maps ``(maps, n, n)``, or anything that
            yields batches of them, such as a generator's samples.
        simulation: simulation of each map; by default those of the MapSet, or every map is its own.
        executor: measures the pieces, several at a time, for instance a ``ProcessPoolExecutor`` of the standard library or
            what ``dask.distributed.Client.get_executor`` gives; None measures them here, one by one. Processes should be
            spawned, not forked, since torch has threads, and keep to one thread each:
            ``ProcessPoolExecutor(8, get_context("spawn"), torch.set_num_threads, (1,))``.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for vectors, _ in measured(statistics, maps, None, executor):
        for name in statistics:
            found[name].append(vectors[name])
    simulation = maps.simulation if simulation is None and isinstance(maps, MapSet) else simulation
    return {name: Ensemble(np.concatenate(vectors), simulation) for name, vectors in found.items()}


@renamed(labels="simulation")
def measured(
    statistics: Mapping[str, Statistic],
    maps: MapSet | Tensor | Iterable[Tensor],
    simulation=None,
    executor: Executor | None = None,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
    """What :func:`measure` measures, batch by batch, for sets of which not even the vectors fit into memory:

        ensemble = StreamingEnsemble()
        for vectors, simulation in measured(statistics, maps):
            ensemble.update(vectors["power"], simulation)

    Args:
        statistics, maps, simulation, executor: as for :func:`measure`.

    Yields:
        The vectors of some maps, by statistic, each ``(maps, bins)``, and the simulation of these maps, ``(maps,)``; None for
        simulation where there are none. In the order of the maps.
    """
    simulation, at = (
        maps.simulation if simulation is None and isinstance(maps, MapSet) else simulation,
        0,
    )
    if isinstance(maps, MapSet):
        whole, step = maps.maps, maps_a_piece(maps.maps.shape[-1])
        maps = (whole[i : i + step] for i in range(0, len(whole), step))
        if executor is None:
            maps = _read(maps)
    elif isinstance(maps, Tensor):
        maps = [maps]
    function = partial(_vectors, dict(statistics))
    for vectors in (
        map(function, maps)
        if executor is None
        else ahead(executor, function, maps, 2 * (os.cpu_count() or 1))
    ):
        count = len(next(iter(vectors.values()), ()))
        yield vectors, None if simulation is None else np.asarray(simulation)[at : at + count]
        at += count


def _tensor(maps) -> Tensor:
    return maps if isinstance(maps, Tensor) else torch.from_numpy(np.array(maps, np.float32))


def _vectors(statistics: dict[str, Statistic], maps) -> dict[str, np.ndarray]:
    """Read some maps, if they are not in memory, and measure them."""
    maps = _tensor(maps)
    return {name: statistic(maps) for name, statistic in statistics.items()}


def _read(maps: Iterable) -> Iterator[Tensor]:
    """Pieces of a set, read while those before them are measured."""
    with ThreadPoolExecutor(1) as reader:
        yield from ahead(reader, _tensor, maps, 1)


def _freedom(counts: np.ndarray) -> float:
    if counts.sum() <= 1:
        raise ValueError(f"a covariance needs at least two maps, found {counts.sum():g}")
    return counts.sum() - 1


def _check(vectors: np.ndarray, simulation: np.ndarray) -> None:
    if vectors.ndim != 2 or simulation.shape != (len(vectors),):
        raise ValueError(
            f"vectors {vectors.shape} must be (maps, bins) with one simulation number a map, found {simulation.shape}"
        )
    bad = int((~np.isfinite(vectors).all(1)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(vectors)} maps have statistics that are not finite")


# ---------------------------------------------------------------- errors


def bootstrap(
    ensemble: Ensemble | StreamingEnsemble, function: Callable, rounds: int = 200, seed: int = 0
) -> np.ndarray:
    """``function(ensemble, weights)`` for each bootstrap over simulations, shape ``(rounds, …)``; its std is the error."""
    return np.array(
        [function(ensemble, weights) for weights in ensemble.bootstrap_weights(rounds, seed)]
    )


def jackknife_error(values) -> np.ndarray:
    """Standard error from values with one simulation left out each, √((S − 1)/S Σ (vₛ − v̄)²) (Efron & Tibshirani 1993, eq. 11.5).

    Args:
        values: one a simulation, shape ``(simulations, …)``, from :meth:`Ensemble.jackknife_weights`.
    """
    values = np.asarray(values)
    return np.sqrt((len(values) - 1) * values.var(0))


def covariance_noise(ensemble: Ensemble, metric: np.ndarray) -> tuple[float, float]:
    """Expected ‖W (Ĉ − C) Wᵀ‖² of the ensemble's covariance, in the metric W ``(k, bins)``.

    Ĉ is a mean over n maps of the matrices (x − x̄)(x − x̄)ᵀ, so its squared error is their spread over n: that of n
    independent maps, and that of S simulations, in which the deviations of the maps of a simulation are added first.

    Returns:
        The squared error if all maps were independent, and with simulations independent only.
    """
    z = (ensemble.vectors - ensemble.mean()) @ metric.T
    n = len(z)
    mean = z.T @ z / n
    size, own = (z**2).sum(1), np.einsum("ij,jk,ik->i", z, mean, z, optimize=True)
    alone = float((size**2 - 2 * own + (mean**2).sum()).sum()) / (n * (n - 1))
    simulations, index = np.unique(ensemble.simulation, return_inverse=True)
    count = len(simulations)
    if count < 2:
        raise ValueError("the noise of a covariance needs at least two simulations, found one")
    if count == n:
        return alone, alone
    parts = (z[index == s] for s in range(count))
    together = sum(float(((p.T @ p - len(p) * mean) ** 2).sum()) for p in parts)
    return alone, together * count / (count - 1) / n**2


# ---------------------------------------------------------------- matrices


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Correlation matrix of a covariance matrix; zero in the rows of bins without scatter."""
    std = np.sqrt(np.diag(covariance))
    inverse = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    return covariance * np.outer(inverse, inverse)


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The elements above the diagonal, as a vector."""
    return matrix[np.triu_indices(len(matrix), 1)]


def shrunk_covariance(ensemble: Ensemble) -> tuple[np.ndarray, float]:
    """Covariance with its correlations pulled towards zero by as much as their noise asks for.

    The estimator of Ledoit & Wolf 2004, from scikit-learn, on vectors in units of their scatter, so that the
    target is the diagonal of the covariance and the units of the bins do not matter. It takes the maps for independent:
    with several maps a simulation it shrinks too little.

    Returns:
        The covariance ``(bins, bins)`` and the shrinkage, from 0 (untouched) to 1 (diagonal).
    """
    from sklearn.covariance import ledoit_wolf

    std = ensemble.std()
    safe = np.where(std > 0, std, 1.0)
    correlations, shrinkage = ledoit_wolf(
        (ensemble.vectors - ensemble.mean()) / safe, assume_centered=True
    )
    return correlations * np.outer(std, std), float(shrinkage)


def hartlap_factor(maps: float, bins: int) -> float:
    """h = (n − p − 2)/(n − 1), by which the inverse of a covariance from n independent maps is too large (Hartlap et al. 2007, eq. 17).

    Raises:
        ValueError: n is not above p + 2, where the inverse has no finite expectation.
    """
    if maps <= bins + 2:
        raise ValueError(
            f"the inverse covariance of {bins} bins needs more than {bins + 2} independent maps, found {maps:.4g}: "
            "use fewer bins, more maps, or lensnb.ensemble.shrunk_covariance"
        )
    return (maps - bins - 2) / (maps - 1)


def dodelson_schneider_factor(maps: float, bins: int, parameters: int) -> float:
    """By how much noise in the covariance widens the (co)variance of fitted parameters, 1 + B (p − q) ≥ 1.

    B = (n − p − 2)/((n − p − 1)(n − p − 4)) for n maps, p bins, q parameters (Dodelson & Schneider 2013, eq. 28).

    Raises:
        ValueError: n is not above p + 4, or q not between 1 and p.
    """
    if maps <= bins + 4:
        raise ValueError(
            f"the factor for {bins} bins needs more than {bins + 4} independent maps, found {maps:.4g}"
        )
    if not 1 <= parameters <= bins:
        raise ValueError(f"{bins} bins can constrain 1 to {bins} parameters, found {parameters}")
    left = maps - bins
    return 1 + (bins - parameters) * (left - 2) / ((left - 1) * (left - 4))


def gaussian_power_covariance(power, grid: MapGrid, edges) -> np.ndarray:
    """The covariance that binned power spectra of a Gaussian field have: no correlations, and the variance of each bin

        var Ĉ_b = 2 Σ_{ℓ∈b} C_ℓ² / W²,   W the number of modes in the bin (Knox 1995, for every mode its own).

    What true maps have beyond it is the trispectrum (Scoccimarro, Zaldarriaga & Hui 1999).

    Args:
        power: C_ℓ in sr: a callable ℓ → C_ℓ, or the power of each ``rfft2`` mode, shape ``(n, n // 2 + 1)``.
        grid: the maps' grid.
        edges: bin edges in ℓ, shape ``(bins + 1,)``.

    Returns:
        The diagonal matrix in sr², shape ``(bins, bins)``.

    Raises:
        ValueError: a bin holds no Fourier mode, or the power has another shape.
    """
    power = torch.as_tensor(power(grid.ell) if callable(power) else power, dtype=torch.float64)
    if power.shape != grid.ell.shape:
        raise ValueError(
            f"expected the power of each rfft2 mode, {tuple(grid.ell.shape)}; found {tuple(power.shape)}"
        )
    variances = []
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (grid.ell >= low) & (grid.ell < high)
        weight = grid.multiplicity[inside]
        if not len(weight):
            raise ValueError(
                f"the ℓ bin from {low:.4g} to {high:.4g} holds no Fourier mode: use wider bins"
            )
        variances.append(float(2 * (weight * power[inside] ** 2).sum() / weight.sum() ** 2))
    return np.diag(variances)
