"""Errors from resampling simulations: bootstrap, jackknife, and the noise of a covariance.

Maps cut from one simulation share structure. Resampling maps would underestimate every error, and
so bootstrap and jackknife draw whole simulations (Efron & Tibshirani 1993, §8.5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .held import Ensemble
    from .streaming import StreamingEnsemble


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
    return noise_of_squares(z, ensemble.simulation)


def noise_of_squares(z: np.ndarray, simulation: np.ndarray) -> tuple[float, float]:
    """:func:`covariance_noise` of vectors about their mean, ``(maps, k)``, in their own units."""
    n = len(z)
    mean = z.T @ z / n
    size = (z**2).sum(1)
    own = ((z @ mean) * z).sum(1)
    squares = size**2 - 2 * own + (mean**2).sum()  # ‖z zᵀ − mean‖² of each map
    alone = float(squares.sum()) / (n * (n - 1))
    parts = by_group(z, simulation)
    count = len(parts)
    if count < 2:
        raise ValueError("the noise of a covariance needs at least two simulations, found one")
    if count == n:
        return alone, alone
    together = 0.0
    for part in parts:
        deviation = part.T @ part - len(part) * mean
        together += float(np.vdot(deviation, deviation))
    return alone, together * count / (count - 1) / n**2


def grouped(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of one group after the other, and where each group starts.

    Args:
        values: shape ``(maps, …)``.
        groups: of each map, in any order.

    Returns:
        Shapes ``(maps, …)`` and ``(groups,)``; the groups are sorted.
    """
    _, counts = np.unique(groups, return_counts=True)
    order = np.argsort(groups, kind="stable")
    return values[order], np.cumsum(counts) - counts


def by_group(values: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    """The values of each group, in the order of the groups; arguments as for :func:`grouped`."""
    ordered, starts = grouped(values, groups)
    stops = [*starts[1:], len(ordered)]
    return [ordered[start:stop] for start, stop in zip(starts, stops)]
