"""Two covariances compared: where they differ, what it costs, how many maps the second is worth.

Only the leading eigenvectors of the reference's correlation matrix are compared, as many as the
number of maps allows. The small eigenvalues of a covariance from n maps are noise, and they
dominate its inverse. In these coordinates, scaled so that the covariance of the reference C_T is
the unit matrix, the other covariance C_G becomes

    M = C_T^(−1/2) C_G C_T^(−1/2).

Its eigenvalues λ are the ratios of the variances along the axes of M, all 1 if C_G = C_T.

* Kullback–Leibler divergence of the Gaussians with the two covariances,
  D(G‖T) = ½ Σ (λ − 1 − ln λ), in nats.
* Contour area: the ratio of the areas of the parameter contours that the two covariances would
  give, √(det F_T / det F_G). Here F = ∂μᵀ C⁻¹ ∂μ is the Fisher matrix, and ∂μ/∂θ the response of
  the mean vector to two parameters.
* Effective number of maps. A covariance from N independent true maps has the expected squared
  error E‖Ĉ_N − C‖² = v/N. Here v = E‖z zᵀ − C‖², with z the vector of one map. A generator has the
  error E‖Ĉ_G − C‖² = bias² + its own noise, and the bias remains however many maps it draws. This
  error is estimated by ‖Ĉ_G − Ĉ_T‖² minus the noise of Ĉ_T. The two errors are equal for

      1/N_eff = ( ‖Ĉ_G − Ĉ_T‖² − E‖Ĉ_T − C‖² ) / v.

  So n independent true maps have N_eff = n, and so do any number of copies of n maps. A Gaussian
  vector of k numbers whose variances are all too large by a factor 1 + ε has (k + 1)/ε² at most.
  The norms are Frobenius norms in the coordinates above. The noise of Ĉ_T depends on the number of
  simulations, not of maps (:func:`lensnb.ensemble.covariance_noise`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from ..ensemble import Ensemble, correlation, covariance_noise
from ..maps import MapGrid
from ..stats import Statistic

# With 20 maps, noise changes the variance along an eigenvector by √(2/20) ≈ 0.3 or less.
_MAPS_PER_EIGENVECTOR = 20


@dataclass
class Coordinates:
    """The leading eigenvectors of a reference, scaled so that its covariance is the unit matrix.

    Attributes:
        metric: bins → coordinates, shape ``(k, bins)``.
        responses: ∂μ/∂θ in these coordinates, shape ``(k, parameters)``; None where not known.
        noise: E‖Ĉ_T − C‖² of the reference, from its simulations.
        spread: v = E‖z zᵀ − C‖² of one map.
    """

    metric: np.ndarray
    responses: np.ndarray | None
    noise: float
    spread: float

    @classmethod
    def of(
        cls, reference: Ensemble, support: int, responses: np.ndarray | None = None
    ) -> Coordinates:
        """Make them from the vectors of the reference.

        Args:
            reference: vectors ``(maps, bins)``.
            support: how many eigenvectors to keep at most.
            responses: ∂μ/∂θ, shape ``(bins, parameters)``.
        """
        covariance = reference.covariance()
        std = np.sqrt(np.diag(covariance))
        inverse_std = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
        values, vectors = np.linalg.eigh(correlation(covariance))
        from_largest = np.flatnonzero(values > 1e-10 * values[-1])[::-1]
        kept = from_largest[: max(support, 1)]
        metric = (vectors[:, kept] / np.sqrt(values[kept])).T * inverse_std
        independent, clustered = covariance_noise(reference, metric)
        if responses is not None and len(kept) < responses.shape[1]:
            responses = None  # fewer coordinates than parameters constrain nothing
        if responses is not None:
            responses = metric @ responses
        return cls(metric, responses, noise=clustered, spread=independent * len(reference))


def support(ensembles: Mapping[str, Ensemble]) -> int:
    """How many eigenvectors to compare: one for every 20 effective maps of the smallest set."""
    fewest = min(ensemble.effective_maps() for ensemble in ensembles.values())
    return max(1, int(fewest / _MAPS_PER_EIGENVECTOR))


@dataclass
class Distances:
    """How far a covariance is from that of the reference; NaN where a number is not defined.

    Attributes:
        eigenvalues: λ, ascending, shape ``(k,)``.
        divergence: D(G‖T), nats.
        area: ratio of the areas of parameter contours.
        inverse_maps: 1/N_eff.
    """

    eigenvalues: np.ndarray
    divergence: float = np.nan
    area: float = np.nan
    inverse_maps: float = np.nan


def distances(
    covariance: np.ndarray, reference: np.ndarray, coordinates: Coordinates, noise: float
) -> Distances:
    """Compare two covariances.

    Args:
        covariance: of the maps to judge, ``(bins, bins)``.
        reference: of the true maps.
        coordinates: made from the true maps.
        noise: what to subtract from ‖Ĉ_G − Ĉ_T‖²; ``coordinates.noise`` for the estimate itself.
    """
    metric = coordinates.metric
    if not len(metric):  # a reference without any scatter
        return Distances(np.full(1, np.nan))
    ours = metric @ covariance @ metric.T
    true = metric @ reference @ metric.T
    inverse_maps = (((ours - true) ** 2).sum() - noise) / coordinates.spread
    try:
        values = eigh(ours, true, eigvals_only=True)
    except np.linalg.LinAlgError:  # a bootstrap round that drew too few simulations
        values = np.full(len(ours), np.nan)
    invertible = values[0] > 1e-10 * values[-1]
    if not invertible:  # fewer maps than coordinates
        return Distances(values, inverse_maps=inverse_maps)
    divergence = 0.5 * (values - 1 - np.log(values)).sum()
    area = _contour_area(ours, true, coordinates.responses)
    return Distances(values, divergence, area, inverse_maps)


def _contour_area(ours: np.ndarray, true: np.ndarray, responses: np.ndarray | None) -> float:
    """√(det F_T / det F_G) with the Fisher matrix F = ∂μᵀ C⁻¹ ∂μ."""
    if responses is None:
        return np.nan
    fisher_true = responses.T @ np.linalg.solve(true, responses)
    fisher = responses.T @ np.linalg.solve(ours, responses)
    return math.sqrt(np.linalg.det(fisher_true) / np.linalg.det(fisher))


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
