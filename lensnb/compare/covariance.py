"""Two covariances compared: where they differ, and what it costs.

Only the leading eigenvectors of the reference's correlation matrix are compared, as many as the
number of true maps allows. The small eigenvalues of a covariance from n maps are noise, and they
dominate its inverse. In these coordinates, scaled so that the covariance of the reference C_T is
the unit matrix, the other covariance C_G becomes

    M = C_T^(−1/2) C_G C_T^(−1/2).

Its eigenvalues λ are the ratios of the variances along the axes of M, all 1 if C_G = C_T.

Contour area: the ratio of the areas of the parameter contours that the two covariances would give,
√(det F_T / det F_G). Here F = ∂μᵀ C⁻¹ ∂μ is the Fisher matrix, and ∂μ/∂θ the response of the mean
vector to two parameters.

What the whole covariance is worth is defined in :mod:`lensnb.compare.effective`, and the variance
in the most extreme directions in :mod:`lensnb.compare.directions`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..ensemble import Ensemble
from ..maps import MapGrid
from ..stats import Statistic
from .directions import leading

# With 20 maps, noise changes the variance along an eigenvector by √(2/20) ≈ 0.3 or less.
_MAPS_PER_EIGENVECTOR = 20
# More eigenvectors add little that parameters depend on, and small sets could not be judged.
_MOST_EIGENVECTORS = 32
# An inverse from fewer maps than this for each eigenvector is mostly noise.
_LEAST_MAPS = 4


def eigenvectors(references: Iterable[Ensemble]) -> int:
    """How many eigenvectors to compare: one for every 20 effective maps of the smallest set.

    At most 32. It depends on the true sets alone, so that a verdict on one generator does not
    depend on the others.

    Args:
        references: the sets of true maps.
    """
    fewest = min(ensemble.effective_maps() for ensemble in references)
    return min(_MOST_EIGENVECTORS, max(1, int(fewest / _MAPS_PER_EIGENVECTOR)))


def maps_needed(eigenvectors: int) -> int:
    """How many independent maps a set needs for so many eigenvectors."""
    return _LEAST_MAPS * eigenvectors


@dataclass
class Coordinates:
    """The leading eigenvectors of a reference, scaled so that its covariance is the unit matrix.

    Attributes:
        metric: bins → coordinates, shape ``(k, bins)``.
        responses: ∂μ/∂θ in these coordinates, shape ``(k, parameters)``; None where not known.
    """

    metric: np.ndarray
    responses: np.ndarray | None

    @classmethod
    def of(
        cls, reference: Ensemble, most: int, responses: np.ndarray | None = None
    ) -> Coordinates:
        """Make them from the vectors of the reference.

        Args:
            reference: vectors ``(maps, bins)``.
            most: how many eigenvectors to keep at most.
            responses: ∂μ/∂θ, shape ``(bins, parameters)``.
        """
        metric = leading(reference, max(most, 1))
        if responses is not None and len(metric) < responses.shape[1]:
            responses = None  # fewer coordinates than parameters constrain nothing
        if responses is not None:
            responses = metric @ responses
        return cls(metric, responses)


def variance_ratios(
    covariance: np.ndarray, reference: np.ndarray, coordinates: Coordinates
) -> np.ndarray:
    """The eigenvalues λ, ascending, shape ``(..., k)``; NaN where they are not defined.

    Args:
        covariance: of the maps to judge, ``(..., bins, bins)``, for example of many draws.
        reference: of the true maps, the same shape.
        coordinates: made from the true maps.
    """
    metric = coordinates.metric
    if not len(metric):  # a reference without any scatter
        return np.full((*covariance.shape[:-2], 1), np.nan)
    ours = metric @ covariance @ metric.T
    lower = _cholesky(metric @ reference @ metric.T)
    values = np.full(ours.shape[:-1], np.nan)
    defined = np.isfinite(lower).all((-2, -1))
    half = np.linalg.solve(lower[defined], ours[defined])
    both = np.linalg.solve(lower[defined], half.swapaxes(-2, -1))
    values[defined] = np.linalg.eigvalsh(both)
    return values


def contour_area(
    covariance: np.ndarray, reference: np.ndarray, coordinates: Coordinates
) -> np.ndarray:
    """√(det F_T / det F_G) with the Fisher matrix F = ∂μᵀ C⁻¹ ∂μ; NaN where it is not defined.

    Args:
        covariance, reference, coordinates: as for :func:`variance_ratios`.

    Returns:
        Shape ``(...)``.
    """
    metric, responses = coordinates.metric, coordinates.responses
    if responses is None:
        return np.full(covariance.shape[:-2], np.nan)
    ours = _volume(metric @ covariance @ metric.T, responses)
    return _volume(metric @ reference @ metric.T, responses) / ours


def _volume(covariance: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """√det F, shape ``(...)``."""
    lower = _cholesky(covariance)
    diagonal = np.diagonal(lower, axis1=-2, axis2=-1)
    defined = diagonal.min(-1) > 1e-5 * diagonal.max(-1)  # but for rounding it has no inverse
    white = np.linalg.solve(lower[defined], responses)
    volume = np.full(defined.shape, np.nan)
    volume[defined] = np.sqrt(np.linalg.det(white.swapaxes(-2, -1) @ white))
    return volume


def _cholesky(covariance: np.ndarray) -> np.ndarray:
    """The lower factor L of C = L Lᵀ, shape ``(..., k, k)``; NaN where C has no inverse."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        if covariance.ndim == 2:  # fewer maps than coordinates
            return np.full_like(covariance, np.nan)
        return np.array([_cholesky(one) for one in covariance])


def amplitude_and_tilt(
    maps: Tensor, side_deg: float, statistics: Mapping[str, Statistic], step: float = 0.05
) -> dict[str, np.ndarray]:
    """Responses of the mean vectors to the amplitude and the tilt of κ.

    These two parameters need no further simulations. The amplitude multiplies κ by 1 + a, as a
    larger σ₈ does to first order. The tilt multiplies the Fourier modes of κ by (ℓ/ℓ₀)^t, as a
    change of the slope of the spectrum does. Both act on all channels alike. The responses are
    central differences over the same maps.

    Args:
        maps: true κ-maps, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``; a few hundred are
            enough.
        side_deg: side of the field, degrees.
        statistics: by name.
        step: of a and t.

    Returns:
        ∂μ/∂(a, t) by statistic, shape ``(bins, 2)``.
    """
    ell = MapGrid(maps.shape[-1], side_deg).ell
    ell_min = float(ell[0, 1])
    pivot = math.sqrt(ell_min * float(ell.max()))
    base = (ell.clamp(min=ell_min) / pivot).float()
    modes = torch.fft.rfft2(maps)
    pairs = [
        (maps * (1 + step), maps * (1 - step)),
        (_tilted(modes, base, step), _tilted(modes, base, -step)),
    ]
    responses = {}
    for name, statistic in statistics.items():
        columns = []
        for up, down in pairs:
            difference = statistic(up) - statistic(down)
            columns.append(difference.mean(0) / (2 * step))
        responses[name] = np.stack(columns, 1)
    return responses


def _tilted(modes: Tensor, base: Tensor, tilt: float) -> Tensor:
    n = modes.shape[-2]
    return torch.fft.irfft2(modes * base**tilt, s=(n, n))
