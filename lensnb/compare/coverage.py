"""Does the truth lie among the samples of a posterior as often as it should? Ranks and TARP.

If a map's truth and its samples have one distribution given the data, the rank of the truth among
the samples is uniform, for every number that is measured of a map: a pixel, a band power
(``ranks``, ``histogram``). TARP tests all pixels together (``tarp``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import f as fisher
from torch import Tensor

from ..stats import ell_edges, power_spectrum
from .estimate import Estimate
from .posterior import PosteriorSamples, degrees_of, map_weights, of_rounds


def ranks(truth: Tensor, samples: Tensor, seed: int = 0) -> np.ndarray:
    """Where each true number lies among those of the samples, from 0 to 1.

        u = (number of samples below the truth + ε) / (L + 1),    ε uniform in [0, 1),

    which is exactly uniform if the truth and the samples have one distribution.

    Args:
        truth: numbers of each true map, shape ``(maps, ...)``.
        samples: the same of each sample, shape ``(maps, draws, ...)``.
        seed: of ε.

    Returns:
        Shape of ``truth``.
    """
    below = np.zeros(tuple(truth.shape))
    for one in samples.unbind(1):
        below += (one < truth).numpy()
    noise = np.random.default_rng(seed).random(below.shape)
    return (below + noise) / (samples.shape[1] + 1)


def pixel_ranks(one: PosteriorSamples, where: Tensor | None = None, seed: int = 0) -> np.ndarray:
    """:func:`ranks` of the pixels, shape ``(maps, pixels)``.

    Args:
        one: truth and samples.
        where: the pixels to look at, boolean, shape ``(n, n)``, such as a mask; None: all.
        seed: of the ties.
    """
    if where is None:
        where = torch.ones(one.truth.shape[-2:], dtype=torch.bool)
    return ranks(one.truth[:, where], one.samples[:, :, where], seed)


def band_ranks(
    one: PosteriorSamples, edges: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """:func:`ranks` of the band powers, shape ``(maps, bands)``.

    Args:
        one: truth and samples.
        edges: of the bands in ℓ; by default :func:`lensnb.stats.ell_edges` with 4 bins.
        seed: of the ties.
    """
    if edges is None:
        edges = ell_edges(one.grid, 4)
    truth = power_spectrum(one.truth, one.side_deg, edges)
    return ranks(truth, power_spectrum(one.samples, one.side_deg, edges), seed)


@dataclass
class RankHistogram:
    """The histogram of ranks, in units of what is expected.

    Attributes:
        shares: of each bin times the number of bins, 1 if the ranks are uniform.
        chi2: distance from uniform, with ``dof`` degrees of freedom on average.
        dof: degrees of freedom; less than bins − 1 where the ranks depend on each other.
        p: probability of a larger distance if the ranks are uniform.
    """

    shares: Estimate
    chi2: float
    dof: float
    p: float


def histogram(
    uniform: np.ndarray, simulation: np.ndarray | None = None, bins: int = 8
) -> RankHistogram:
    """The histogram of numbers that should be uniform, and its distance from uniform in χ².

    Numbers of one simulation may depend on each other in any way. So each of N simulations gives
    one histogram, and these give the covariance C of their mean. Pearson's X² = Σ (share − 1)² is
    then a sum of χ² variables times the eigenvalues δ of C. It is corrected to second order (Rao &
    Scott 1981; Thomas & Rao 1987):

        χ² = ν X² / Σδ,    ν = (Σδ)² / Σδ²,    χ² / ν ~ F(ν, ν (N − 1)).

    Args:
        uniform: numbers from 0 to 1, shape ``(maps,)`` or ``(maps, numbers)``.
        simulation: simulation of each map; None: every map is independent.
        bins: number of bins.

    Raises:
        ValueError: fewer than ten simulations, or less than ten numbers for each bin.
    """
    uniform = uniform.reshape(len(uniform), -1)
    place = np.minimum((uniform * bins).astype(int), bins - 1)
    shares = np.stack([(place == b).mean(1) for b in range(bins)], 1) * bins
    of_simulations = _by_simulation(shares, simulation)
    count = len(of_simulations)
    if uniform.size < 10 * bins or count < 10:
        raise ValueError(
            f"a histogram of {bins} bins needs at least {10 * bins} ranks and 10 simulations, "
            f"found {uniform.size} and {count}"
        )
    mean = of_simulations.mean(0)
    covariance = np.cov(of_simulations.T) / count
    delta = np.linalg.eigvalsh(covariance).clip(0)
    dof = float(delta.sum() ** 2 / (delta**2).sum())
    relative = float(((mean - 1) ** 2).sum() / delta.sum())
    p = float(fisher.sf(relative, dof, dof * (count - 1)))
    error = np.sqrt(covariance.diagonal())
    return RankHistogram(Estimate(mean, error=error, dof=count - 1), dof * relative, dof, p)


# ---------------------------------------------------------------- coverage of all pixels together


@dataclass
class Coverage:
    """Expected coverage of regions around random references.

    Attributes:
        levels: α, the credibility of a region.
        coverage: the share of the maps whose truth lies within it; α is expected.
        uniform: the histogram of the share of samples nearer than the truth, with its p-value.
    """

    levels: np.ndarray
    coverage: Estimate
    uniform: RankHistogram


def tarp(
    one: PosteriorSamples, references: Tensor | None = None, seed: int = 0, bins: int = 8
) -> Coverage:
    """Tests of accuracy with random points (Lemos et al. 2023, arXiv:2302.03026, algorithm 2).

    With a reference map ρ for each map, f is the share of samples with |s − ρ| < |t − ρ|. The
    region of credibility α around ρ covers the truth if f < α. A posterior is right if and only if
    this happens in the share α of all maps, for every ρ that depends on the data alone.

    Args:
        one: truth and samples.
        references: ρ, shape of the truth; they may depend on the data but not on the truth. By
            default, the truth of a map of another simulation.
        seed: of the references and of the ties.
        bins: of the histogram of f.

    Returns:
        The coverage at 19 levels, with errors from a bootstrap over simulations.

    Raises:
        ValueError: all maps are of one simulation.
    """
    if references is None:
        references = one.truth[_others(one.simulation, seed)]
    of_truth = _distance(one.truth, references)
    of_samples = torch.stack([_distance(s, references) for s in one.samples.unbind(1)], 1)
    nearer = ranks(of_truth, of_samples, seed)
    levels = np.linspace(0.05, 0.95, 19)
    weights = map_weights(len(nearer), one.simulation)
    covered = weights @ (nearer[:, None] < levels).astype(float)
    coverage = of_rounds(covered, degrees_of(one.simulation, len(nearer)))
    return Coverage(levels, coverage, histogram(nearer, one.simulation, bins))


def _distance(maps: Tensor, references: Tensor) -> Tensor:
    return (maps - references).double().flatten(1).norm(dim=1)


def _others(simulation: np.ndarray, seed: int) -> np.ndarray:
    """For each map the number of a random map of another simulation."""
    rng = np.random.default_rng(seed)
    found = np.empty(len(simulation), int)
    for one in np.unique(simulation):
        own = simulation == one
        if own.all():
            raise ValueError(
                "coverage needs maps of at least two simulations for its references, found one"
            )
        found[own] = rng.choice(np.flatnonzero(~own), own.sum())
    return found


def _by_simulation(values: np.ndarray, simulation: np.ndarray | None) -> np.ndarray:
    """The mean over the maps of each simulation."""
    if simulation is None:
        return values
    return np.stack([values[simulation == one].mean(0) for one in np.unique(simulation)])
