"""Parameters inferred from true maps with the mean and the covariance of generated ones.

This is what a survey does with a set of mock maps. Near the true parameters θ₀ the mean vector is
linear, μ(θ) = μ + R (θ − θ₀), with the responses R = ∂μ/∂θ. Then the best fit to a data vector d
is

    θ̂ − θ₀ = F⁻¹ Rᵀ C⁻¹ (d − μ),   F = Rᵀ C⁻¹ R.

* Bias: that best fit for the mean vector of true maps, if μ and C are those of the set that is
  judged, in units of the standard error √(F⁻¹) that the set itself states for one map.
* Coverage: how many true maps have θ₀ inside of the region that should hold 68 % of the posterior,
  if C is that of the set and μ that of the truth. The posterior is that of Percival et al. (2022),
  :func:`lensnb.ensemble.matching_log_posterior`, so that it allows for a C from few maps.

Vectors of true maps are not Gaussian. So the coverage of their own covariance is not 68 % either.
It is measured beside: the covariance from one half of the true simulations, the data from the
other.

All of it is done in the leading eigenvectors of :class:`~lensnb.compare.covariance.Coordinates`.
Errors come from a jackknife over groups of simulations, of both sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ensemble import Ensemble, matching_region
from .covariance import Coordinates, maps_needed
from .directions import halves
from .estimate import BesideTruth, Estimate
from .ratios import degrees

LEVEL = 0.683  # of the regions
_GROUPS = 16  # of the jackknife: they give an error to a sixth


@dataclass(frozen=True)
class Inferred:
    """What parameters are inferred with the mean and the covariance of a set.

    Attributes:
        bias: of each parameter, in standard errors of one map, shape ``(parameters,)``.
        coverage: how many true maps have θ₀ inside of the regions of 68 %. The same with the
            covariance of true maps is expected.
    """

    bias: Estimate
    coverage: BesideTruth


def infer(
    sample: Ensemble, truth: Ensemble, most: int, responses: np.ndarray, seed: int = 0
) -> Inferred | None:
    """Infer parameters from true maps with the mean and the covariance of another set.

    Args:
        sample: vectors of the maps to judge, ``(maps, bins)``.
        truth: vectors of true maps, the same bins.
        most: how many leading eigenvectors of the truth's correlations to use.
        responses: ∂μ/∂θ, shape ``(bins, parameters)``.
        seed: of the halves of the truth.

    Returns:
        None if a set has too few maps for so many eigenvectors, or fewer than four simulations.
    """
    coordinates = Coordinates.of(truth, most, responses)
    if coordinates.responses is None:
        return None
    sets = [_projected(one, coordinates.metric) for one in (sample, *halves(truth, seed))]
    if not all(_enough(one) for one in sets):
        return None
    independent = [one.effective_maps() for one in sets]
    whole = [_Moments(one.vectors) for one in sets]
    found = _numbers(whole, independent, coordinates.responses)
    variance = np.zeros(len(found) - 1)
    for varied, one in enumerate(sets):
        group = _groups(one.simulation)
        rounds = []
        for left_out in range(group.max() + 1):
            moments = list(whole)
            moments[varied] = _Moments(one.vectors[group != left_out])
            rounds.append(_numbers(moments, independent, coordinates.responses))
        variance += _jackknife_variance(_differences(np.array(rounds)))
    errors = np.sqrt(variance)
    dof = degrees(sample, truth)
    return Inferred(
        bias=Estimate(found[:-2], error=errors[:-1], dof=dof),
        coverage=BesideTruth(float(found[-2]), float(found[-1]), errors[-1], dof),
    )


def _projected(ensemble: Ensemble, metric: np.ndarray) -> Ensemble:
    return Ensemble(ensemble.vectors @ metric.T, ensemble.simulation)


def _enough(ensemble: Ensemble) -> bool:
    bins = ensemble.vectors.shape[1]
    needed = max(maps_needed(bins), bins + 5)  # the likelihood has no variance with fewer
    return len(ensemble.simulations) >= 2 and ensemble.effective_maps() >= needed


def _groups(simulation: np.ndarray) -> np.ndarray:
    """A group of simulations for each map."""
    _, index = np.unique(simulation, return_inverse=True)
    return index % _GROUPS


class _Moments:
    """Vectors ``(maps, k)`` with their mean and covariance."""

    def __init__(self, vectors: np.ndarray):
        ensemble = Ensemble(vectors)
        self.vectors = vectors
        self.mean, self.covariance = ensemble.mean(), ensemble.covariance()


def _numbers(sets: list[_Moments], independent: list[float], responses: np.ndarray) -> np.ndarray:
    """The bias of each parameter, the coverage, and that of true covariances, in a row.

    Args:
        sets: the maps to judge, and two halves of the true ones, in coordinates.
        independent: how many independent maps each set has, before some are left out.
        responses: ∂μ/∂θ in coordinates.
    """
    sample = sets[0]
    true_mean = (sets[1].mean + sets[2].mean) / 2
    residual = (true_mean - sample.mean)[None]
    shift, covariance = best_fit(residual, sample.covariance, responses)
    error = np.sqrt(covariance.diagonal())
    covered, truly_covered = [], []
    for half, other in ((1, 2), (2, 1)):
        residuals = sets[half].vectors - true_mean
        ours = _inside(residuals, sample.covariance, independent[0], responses)
        true = _inside(residuals, sets[other].covariance, independent[other], responses)
        covered.append(ours.mean())
        truly_covered.append(true.mean())
    return np.array([*(shift[0] / error), np.mean(covered), np.mean(truly_covered)])


def best_fit(
    residuals: np.ndarray, covariance: np.ndarray, responses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """F⁻¹ Rᵀ C⁻¹ (d − μ), shape ``(maps, parameters)``, and its covariance F⁻¹.

    Args:
        residuals: d − μ, shape ``(maps, k)``.
        covariance: C, shape ``(k, k)``.
        responses: R, shape ``(k, parameters)``.
    """
    weights = np.linalg.solve(covariance, responses)
    inverse_fisher = np.linalg.inv(responses.T @ weights)
    return residuals @ weights @ inverse_fisher, inverse_fisher


def _inside(
    residuals: np.ndarray, covariance: np.ndarray, maps: float, responses: np.ndarray
) -> np.ndarray:
    """Whether the true parameters are in the region of 68 %, for each data vector."""
    bins, parameters = responses.shape
    weighted = residuals @ np.linalg.inv(covariance)
    best, _ = best_fit(residuals, covariance, responses)
    # χ² falls by this much from the true parameters to the best fit
    fall = np.einsum("ip,ip->i", weighted @ responses, best)
    chi2 = np.einsum("ik,ik->i", weighted, residuals)
    return fall <= matching_region(chi2 - fall, maps, bins, parameters, LEVEL)


def _differences(numbers: np.ndarray) -> np.ndarray:
    """The biases and the difference of the two coverages, shape ``(rounds, parameters + 1)``."""
    difference = numbers[:, -2] - numbers[:, -1]
    return np.column_stack([numbers[:, :-2], difference])


def _jackknife_variance(rounds: np.ndarray) -> np.ndarray:
    """The variance of each number from rounds that each leave out one group."""
    groups = len(rounds)
    return (groups - 1) * rounds.var(0)
