"""What modes that are longer than the simulated box add to a covariance.

A field lies in a region whose mean convergence κ_b differs from zero, because of modes that no
box holds. The whole vector v of a map follows it, v → v + r κ_b. So the covariance of the sky is

    C + σ_b² r rᵀ,   r = ∂v/∂κ_b,

with the scatter σ_b of κ_b over fields (:func:`lensnb.theory.sigma_b`; Takada & Hu 2013,
arXiv:1302.6994). The response r comes from boxes of another mean density
(:class:`lensnb.sims.SeparateUniverse`), or from maps whose means differ
(:func:`response_to_mean`). The first is the right one for modes that are longer than the box.
The second follows the modes that the box holds. They are nearer, and their response is larger.

One response for all distances gives most of the term, not all. Its part is smaller the more the
response per κ_b depends on distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .held import Ensemble
from .matrices import correlation


class Share(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.error:.2g}"


@dataclass(frozen=True)
class SuperSample:
    """A covariance with the super-sample term, and how much that is.

    Shares are in units of the scatter of each bin, so that bins of any unit can be joined.

    Attributes:
        covariance: C + σ_b² r rᵀ, shape ``(bins, bins)``.
        added: σ_b² r rᵀ alone.
        error: standard error of each element of ``added``.
        trace: added variance over variance, on average over bins.
        largest: added variance over variance in the bin where that is most.
        along: added variance over variance in the direction of r.
        noise: what the error of r adds to ``trace`` on average, also where the true r is zero.
    """

    covariance: np.ndarray
    added: np.ndarray
    error: np.ndarray
    trace: Share
    largest: Share
    along: Share
    noise: float

    def __str__(self) -> str:
        return (
            f"super-sample covariance adds {self.trace} of the variance on average, "
            f"{self.largest} in one bin and {self.along} along the response; "
            f"of the first number, noise of the response makes {self.noise:.2g}"
        )


def add_super_sample(covariance, response, sigma_b: float, error=None) -> SuperSample:
    """C + σ_b² r rᵀ, with the share that it adds and the error of that share.

    (Takada & Hu 2013, arXiv:1302.6994)

    Args:
        covariance: C, of maps without the missing modes, shape ``(bins, bins)``.
        response: r = ∂v/∂κ_b, shape ``(bins,)``.
        sigma_b: scatter of κ_b from the missing modes, with ``sigma_b(side_deg, z_source,
            cosmology, box_size)`` of :mod:`lensnb.theory`.
        error: standard errors of r, ``(bins,)``, or their covariance, ``(bins, bins)``; by default
            none. It is propagated to first order.

    Raises:
        ValueError: shapes that do not fit, a negative ``sigma_b``, or numbers that are not finite.
    """
    covariance = np.asarray(covariance, float)
    r = np.asarray(response, float)
    noise = _as_covariance(error, len(r))
    _check(covariance, r, sigma_b, noise)
    added = sigma_b**2 * np.outer(r, r)
    variances = sigma_b**4 * _outer_variance(r, noise)
    std = np.sqrt(np.diag(covariance))
    inverse = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    u = sigma_b * r * inverse
    of_u = sigma_b**2 * noise * np.outer(inverse, inverse)
    return SuperSample(
        covariance=covariance + added,
        added=added,
        error=np.sqrt(variances),
        trace=_trace(u, of_u),
        largest=_largest(u, of_u),
        along=_along(u, of_u, correlation(covariance)),
        noise=float(np.trace(of_u) / len(u)),
    )


def response_to_mean(ensemble: Ensemble, means) -> tuple[np.ndarray, np.ndarray]:
    """Response r of the vectors to the mean convergence of their map, by linear regression.

    r = Cov(v, κ̄) / Var(κ̄). Modes that fit into the box and are longer than the field change the
    mean of a map, as longer ones do. They are nearer on average, so that r is larger than for the
    modes that the box lacks: expect a third more for C_ℓ of the sample's fields
    (``benchmarks/large_responses.py``). The error is a jackknife over simulations.

    Args:
        ensemble: vectors ``(maps, bins)`` with the simulation of each map.
        means: mean κ̄ of each map, shape ``(maps,)``.

    Returns:
        r, shape ``(bins,)``, and the covariance of its error, shape ``(bins, bins)``.

    Raises:
        ValueError: not one mean a map, means that do not differ, or one simulation only.
    """
    means = np.asarray(means, float)
    if means.shape != (len(ensemble),) or not np.isfinite(means).all():
        raise ValueError(
            f"expected one finite mean for each of {len(ensemble)} maps, found the shape "
            f"{means.shape}"
        )
    if means.std() == 0:
        raise ValueError("all maps have the same mean, so that no response to it can be seen")
    simulations, index = np.unique(ensemble.simulation, return_inverse=True)
    count = len(simulations)
    if count < 2:
        raise ValueError("a jackknife over simulations needs at least two, found one")
    sums = _sums(ensemble.vectors - ensemble.mean(), means - means.mean(), index, count)
    total = sums.sum(0)
    left_out = _slopes(total - sums)
    deviation = left_out - left_out.mean(0)
    return _slopes(total[None])[0], deviation.T @ deviation * (count - 1) / count


def _sums(vectors: np.ndarray, means: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """For each simulation: how many maps, Σ κ̄, Σ κ̄², then Σ v and Σ v κ̄ of each bin."""
    one = np.ones(len(means))
    columns = np.column_stack([one, means, means**2, vectors, vectors * means[:, None]])
    sums = np.zeros((count, columns.shape[1]))
    np.add.at(sums, index, columns)
    return sums


def _slopes(sums: np.ndarray) -> np.ndarray:
    """Slopes of v on κ̄ from each row of sums, shape ``(rows, bins)``."""
    number, first, second = sums[:, 0], sums[:, 1], sums[:, 2]
    bins = (sums.shape[1] - 3) // 2
    vectors, products = sums[:, 3 : 3 + bins], sums[:, 3 + bins :]
    covariance = products - vectors * (first / number)[:, None]
    return covariance / (second - first**2 / number)[:, None]


def _as_covariance(error, bins: int) -> np.ndarray:
    """The covariance of the error of r."""
    if error is None:
        return np.zeros((bins, bins))
    error = np.asarray(error, float)
    if error.ndim == 1:
        return np.diag(error**2)
    return error


def _check(covariance: np.ndarray, r: np.ndarray, sigma_b: float, noise: np.ndarray) -> None:
    square = (len(r), len(r))
    if r.ndim != 1 or covariance.shape != square or noise.shape != square:
        raise ValueError(
            f"a response of {len(r)} bins needs a covariance and an error of as many; found the "
            f"shapes {covariance.shape} and {noise.shape}"
        )
    finite = all(np.isfinite(one).all() for one in (covariance, r, noise))
    if not finite or not 0 <= sigma_b < np.inf:
        raise ValueError(
            f"covariance, response and error must be finite and sigma_b not negative; "
            f"found sigma_b = {sigma_b}"
        )


def _outer_variance(r: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Variance of each r_i r_j, to first order: r_i² N_jj + r_j² N_ii + 2 r_i r_j N_ij."""
    mixed = np.outer(r**2, np.diag(noise))
    return np.maximum(mixed + mixed.T + 2 * np.outer(r, r) * noise, 0)


def _share(value: float, slope: np.ndarray, noise: np.ndarray) -> Share:
    """A function of u with its error, from its derivatives by u."""
    return Share(float(value), float(np.sqrt(max(slope @ noise @ slope, 0))))


def _trace(u: np.ndarray, noise: np.ndarray) -> Share:
    return _share((u**2).mean(), 2 * u / len(u), noise)


def _largest(u: np.ndarray, noise: np.ndarray) -> Share:
    most = int(np.argmax(np.abs(u)))
    return _share(u[most] ** 2, 2 * u[most] * np.eye(len(u))[most], noise)


def _along(u: np.ndarray, noise: np.ndarray, correlations: np.ndarray) -> Share:
    """(u·u)² / (uᵀ ρ u): the term over the covariance, both in the direction of u."""
    length = u @ u
    if length == 0:
        return Share(0.0, 0.0)
    own = u @ correlations @ u
    slope = 4 * length * u / own - 2 * length**2 * (correlations @ u) / own**2
    return _share(length**2 / own, slope, noise)
