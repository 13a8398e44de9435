"""NERCOME: eigenvectors from one part of the simulations, eigenvalues from the other.

The eigenvalues of a covariance are wrong because the same noise has chosen its eigenvectors. Other
maps do not share that noise. The scatter of their vectors along these eigenvectors is therefore
unbiased, and positive even with fewer maps than bins.

Whole simulations go to one part or the other. Maps of one simulation in both parts would bring the
shared noise back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .shrinkage import standardised

if TYPE_CHECKING:
    from .held import Ensemble


def nercome_covariance(
    ensemble: Ensemble, split: float | None = 2 / 3, rounds: int = 100, seed: int = 0
) -> np.ndarray:
    """Covariance with eigenvalues that are measured on other simulations than the eigenvectors.

    Z = ⟨U₁ diag(U₁ᵀ C₂ U₁) U₁ᵀ⟩, averaged over random splits; U₁ are the eigenvectors of the
    covariance of part one, and C₂ is the covariance of part two

    (Lam 2016; Joachimi 2017, eq. 2). It acts on vectors in units of their scatter, so that units
    of bins do not matter, and about the mean of all maps. Directions in which part one has no
    scatter share one eigenvalue: their basis is arbitrary. The inverse takes no Hartlap factor.

    Args:
        ensemble: the vectors, with the simulation of each map.
        split: share of simulations in part one. The default is what Joachimi 2017 recommends;
            None: what :func:`nercome_split` finds.
        rounds: number of random splits.
        seed: of the splits.

    Returns:
        The covariance, shape ``(bins, bins)``.

    Raises:
        ValueError: a part has fewer than two simulations.
    """
    if split is None:
        split = nercome_split(ensemble, rounds, seed)
    simulations = len(ensemble.simulations)
    first = round(split * simulations)
    if not 2 <= first <= simulations - 2:
        raise ValueError(
            f"each part of a NERCOME split needs at least two simulations, found {first} and "
            f"{simulations - first}"
        )
    vectors, std = standardised(ensemble)
    estimate, _ = _averages(vectors, ensemble.simulation, first, rounds, seed)
    return estimate * np.outer(std, std)


def nercome_split(ensemble: Ensemble, rounds: int = 100, seed: int = 0) -> float:
    """The split of simulations that brings NERCOME closest to the mean covariance of part two.

    It minimises ‖⟨Z⟩ − ⟨C₂⟩‖², the squared Frobenius norm, over 2√S, 0.2 S, 0.4 S, 0.6 S, 0.8 S,
    S − 2.5√S and S − 1.5√S of the S simulations

    (Lam 2016; Joachimi 2017).

    Args:
        ensemble: the vectors, with the simulation of each map.
        rounds: number of random splits a candidate.
        seed: of the splits.

    Returns:
        Share of simulations in part one, for :func:`nercome_covariance`.

    Raises:
        ValueError: fewer than four simulations.
    """
    count = len(ensemble.simulations)
    if count < 4:
        raise ValueError(f"a NERCOME split needs at least four simulations, found {count}")
    shares = np.array([0.2, 0.4, 0.6, 0.8]) * count
    root = np.sqrt(count)
    sizes = [2 * root, *shares, count - 2.5 * root, count - 1.5 * root]
    candidates = np.unique(np.clip(np.rint(sizes).astype(int), 2, count - 2))
    vectors, _ = standardised(ensemble)
    objective = []
    for first in candidates:
        estimate, second = _averages(vectors, ensemble.simulation, first, rounds, seed)
        objective.append(((estimate - second) ** 2).sum())
    return float(candidates[np.argmin(objective)] / count)


def _averages(
    vectors: np.ndarray, simulation: np.ndarray, first: int, rounds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The estimate Z and the covariance C₂ of part two, each averaged over random splits.

    Args:
        vectors: about their mean, shape ``(maps, bins)``.
        simulation: of each map.
        first: number of simulations in part one.
        rounds: number of random splits.
        seed: of the splits.
    """
    simulations = np.unique(simulation)
    maps, bins = vectors.shape
    # The mean is that of all maps, which makes every square too small by (maps − 1)/maps.
    unbiased = maps / (maps - 1)
    rng = np.random.default_rng(seed)
    estimate = np.zeros((bins, bins))
    covariance = np.zeros((bins, bins))
    for _ in range(rounds):
        drawn = rng.permutation(simulations)[:first]
        inside = np.isin(simulation, drawn)
        one, two = vectors[inside], vectors[~inside]
        squares, eigenvectors = np.linalg.eigh(one.T @ one)
        values = unbiased * ((two @ eigenvectors) ** 2).mean(0)
        null = squares < bins * np.finfo(float).eps * squares[-1]
        if null.any():
            values[null] = values[null].mean()
        estimate += (eigenvectors * values) @ eigenvectors.T
        covariance += unbiased * two.T @ two / len(two)
    return estimate / rounds, covariance / rounds
