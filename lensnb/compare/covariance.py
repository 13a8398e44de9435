"""One covariance against another: where they differ, what it costs, and how many maps it is worth.

Only the leading eigenvectors of the reference's correlation matrix are compared, as many as the maps can support: the
small eigenvalues of a covariance from n maps are noise, and its inverse is made of them. In these coordinates, scaled so
that the reference's covariance C_T is the unit matrix, the other covariance C_G is

    M = C_T^(−1/2) C_G C_T^(−1/2),   with eigenvalues λ: the ratio of variances along its own axes, all 1 if C_G = C_T.

* Kullback–Leibler divergence of the Gaussians with the two covariances, D(G‖T) = ½ Σ (λ − 1 − ln λ), in nats;
* contour area: with the response ∂μ/∂θ of the mean vector to two parameters and F = ∂μᵀ C⁻¹ ∂μ, the ratio
  √(det F_T / det F_G) of the areas that the two covariances would give;
* effective number of maps. A covariance from N independent true maps has the expected squared error
  E‖Ĉ_N − C‖² = v/N with v = E‖z zᵀ − C‖² for one map's vector z. That of a generator is E‖Ĉ_G − C‖² = bias² + its own
  noise, however many maps it draws, and is what ‖Ĉ_G − Ĉ_T‖² exceeds the noise of Ĉ_T by. The two are equal for

      1/N_eff = ( ‖Ĉ_G − Ĉ_T‖² − E‖Ĉ_T − C‖² ) / v.

  n independent true maps have N_eff = n; copies of n maps, n too; a Gaussian vector of k numbers whose variances are all
  wrong by a factor 1 + ε, (k + 1)/ε² at most. Norms are Frobenius norms in the coordinates above; the noise of Ĉ_T counts
  simulations, not maps (:func:`lensnb.ensemble.covariance_noise`).
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

MAPS_PER_EIGENVECTOR = 20  # noise moves the variance along an eigenvector by √(2/20) ≈ 0.3 or less


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
        """From the vectors of the reference.

        Args:
            reference: vectors ``(maps, bins)``.
            support: how many eigenvectors to keep at most.
            responses: ∂μ/∂θ, shape ``(bins, parameters)``.
        """
        covariance = reference.covariance()
        std = np.sqrt(np.diag(covariance))
        inverse = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
        values, vectors = np.linalg.eigh(correlation(covariance))
        kept = np.flatnonzero(values > 1e-10 * values[-1])[::-1][: max(support, 1)]
        metric = (vectors[:, kept] / np.sqrt(values[kept])).T * inverse
        alone, clustered = covariance_noise(reference, metric)
        if responses is not None:  # fewer coordinates than parameters constrain nothing
            responses = metric @ responses if len(kept) >= responses.shape[1] else None
        return cls(metric, responses, clustered, alone * len(reference))


def support(ensembles: Mapping[str, Ensemble]) -> int:
    """How many eigenvectors a comparison of these sets supports: one for every 20 effective maps of the poorest set."""
    return max(1, int(min(e.effective_maps() for e in ensembles.values()) / MAPS_PER_EIGENVECTOR))


def distances(
    covariance: np.ndarray, reference: np.ndarray, at: Coordinates, noise: float
) -> tuple[np.ndarray, float, float, float]:
    """The eigenvalues λ (ascending), the divergence, the ratio of contour areas and 1/N_eff of a covariance.

    Args:
        covariance: of the maps to judge, ``(bins, bins)``.
        reference: of the true maps.
        at: coordinates made from the true maps.
        noise: what to take off ‖Ĉ_G − Ĉ_T‖², ``at.noise`` for the estimate itself.
    """
    if not len(at.metric):  # a reference without any scatter
        return np.full(1, np.nan), np.nan, np.nan, np.nan
    ours, true = (at.metric @ c @ at.metric.T for c in (covariance, reference))
    inverse_maps = (((ours - true) ** 2).sum() - noise) / at.spread
    try:
        values = eigh(ours, true, eigvals_only=True)
    except np.linalg.LinAlgError:  # a bootstrap round that drew too few simulations
        values = np.full(len(ours), np.nan)
    if (
        not values[0] > 1e-10 * values[-1]
    ):  # fewer maps than coordinates: no inverse, no divergence
        return values, np.nan, np.nan, inverse_maps
    divergence = 0.5 * (values - 1 - np.log(values)).sum()
    return values, divergence, _area(ours, true, at.responses), inverse_maps


def _area(ours: np.ndarray, true: np.ndarray, responses: np.ndarray | None) -> float:
    if responses is None:
        return np.nan
    fisher = [responses.T @ np.linalg.solve(c, responses) for c in (true, ours)]
    return math.sqrt(np.linalg.det(fisher[0]) / np.linalg.det(fisher[1]))


def amplitude_and_tilt(
    maps: Tensor, side_deg: float, statistics: Mapping[str, Statistic], step: float = 0.05
) -> dict[str, np.ndarray]:
    """Responses of the mean vectors to two parameters that need no other simulations: amplitude and tilt of κ.

    The amplitude multiplies κ by 1 + a, as a larger σ₈ does to first order; the tilt multiplies its Fourier modes by
    (ℓ/ℓ₀)^t, as a change of the spectrum's slope does. Central differences over the same maps.

    Args:
        maps: true κ-maps, shape ``(maps, n, n)``; a few hundred are enough.
        side_deg: side of the field, degrees.
        statistics: by name.
        step: of a and t.

    Returns:
        ∂μ/∂(a, t) by statistic, shape ``(bins, 2)``.
    """
    ell = MapGrid(maps.shape[-1], side_deg).ell
    pivot = math.sqrt(float(ell[0, 1]) * float(ell.max()))
    slope = (ell.clamp(min=float(ell[0, 1])) / pivot).float()

    def tilted(t: float) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(maps) * slope**t, s=maps.shape[-2:])

    def difference(statistic: Statistic, up: Tensor, down: Tensor) -> np.ndarray:
        return (statistic(up) - statistic(down)).mean(0) / (2 * step)

    pairs = [(maps * (1 + step), maps * (1 - step)), (tilted(step), tilted(-step))]
    return {
        name: np.stack([difference(s, *pair) for pair in pairs], 1)
        for name, s in statistics.items()
    }
