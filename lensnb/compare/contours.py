"""Contours of parameters, as an analysis with the maps of a set would draw them.

A survey that takes the mean μ and the covariance C of a set finds, in true maps with mean μ_T,

    θ̂ − θ₀ = F⁻¹ Rᵀ C⁻¹ (μ_T − μ)   with the covariance h⁻¹ F⁻¹,   F = Rᵀ C⁻¹ R,

for the data vector of one map. R = ∂μ/∂θ are the responses, and h is the factor of
:func:`~lensnb.ensemble.hartlap_factor`, without which a covariance from few maps would give small
contours.

As for the ratio of areas (:mod:`lensnb.compare.covariance`), the directions are chosen by one half
of the true simulations, and the covariance of true maps is that of the other half. The mean of
both ways is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ensemble import Ensemble, hartlap_factor
from .covariance import Coordinates, maps_needed
from .directions import halves
from .inference import best_fit


@dataclass(frozen=True)
class Contour:
    """The Gaussian that an analysis would draw.

    Attributes:
        centre: θ̂ − θ₀, shape ``(parameters,)``.
        covariance: of one map, shape ``(parameters, parameters)``.
    """

    centre: np.ndarray
    covariance: np.ndarray

    def ellipse(self, level: float = 0.683, points: int = 100) -> np.ndarray:
        """The contour of the first two parameters that holds a share of the probability.

        Two Gaussian parameters have χ² < −2 ln(1 − level) with this probability.

        Args:
            level: the share.
            points: along the contour.

        Returns:
            Shape ``(points, 2)``.
        """
        radius = np.sqrt(-2 * np.log(1 - level))
        angle = np.linspace(0, 2 * np.pi, points)
        circle = radius * np.stack([np.cos(angle), np.sin(angle)])
        return self.centre[:2] + (np.linalg.cholesky(self.covariance[:2, :2]) @ circle).T


def contour(
    sample: Ensemble | None, truth: Ensemble, most: int, responses: np.ndarray, seed: int = 0
) -> Contour | None:
    """The contour of a set of maps.

    Args:
        sample: vectors of the maps, ``(maps, bins)``; None: true maps themselves.
        truth: vectors of true maps, the same bins.
        most: how many leading eigenvectors of the truth's correlations to use.
        responses: ∂μ/∂θ, shape ``(bins, parameters)``.
        seed: of the halves of the truth.

    Returns:
        None if there are too few maps or simulations for so many eigenvectors, or fewer than two
        parameters.
    """
    if responses.shape[1] < 2:
        return None
    parts = halves(truth, seed)
    found = []
    for chosen, other in (parts, parts[::-1]):
        if min(len(chosen.simulations), len(other.simulations)) < 2:
            return None
        coordinates = Coordinates.of(chosen, most, responses)
        judged = other if sample is None else sample
        if coordinates.responses is None or not _enough(judged, coordinates):
            return None
        mean = other.mean() if sample is None else truth.mean()
        found.append(_in_coordinates(judged, mean, coordinates))
    centres, covariances = zip(*found)
    return Contour(np.mean(centres, axis=0), np.mean(covariances, axis=0))


def _enough(sample: Ensemble, coordinates: Coordinates) -> bool:
    bins = len(coordinates.metric)
    return sample.effective_maps() >= max(maps_needed(bins), bins + 3)  # Hartlap: n > bins + 2


def _in_coordinates(
    sample: Ensemble, true_mean: np.ndarray, coordinates: Coordinates
) -> tuple[np.ndarray, np.ndarray]:
    """The best fit to the true mean, and the covariance of that to one map."""
    metric = coordinates.metric
    covariance = metric @ sample.covariance() @ metric.T
    residual = (metric @ (true_mean - sample.mean()))[None]
    fit, inverse_fisher = best_fit(residual, covariance, coordinates.responses)
    factor = hartlap_factor(sample.effective_maps(), len(metric))
    return fit[0], inverse_fisher / factor
