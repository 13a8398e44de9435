"""Are maps drawn from a posterior right? Samples given some data, beside the true map of each.

For map i there is the truth t_i and there are L samples s_ij given its data. If the samples have
the distribution of the truth given the data, then:

* **Single samples** have the power of the truth, and correlate with it as the square of what their
  mean does: r = C_mm / C_tt and r_mean = √(C_mm / C_tt), with m the mean. See ``coherence``.
* The **ranks** of the truth among its samples are uniform, for every number that is measured of a
  map, and so is the **coverage** of all pixels together. See :mod:`lensnb.compare.coverage`.
* The **variance** of the samples is the mean square of their error, in total, where they claim a
  large or a small variance, and at every scale. See ``spread``.

Ranks and coverage cannot see samples that ignore the data: those of the prior pass. Coherence can.
Errors come from a bootstrap over simulations, since maps of one simulation are not independent,
and still less are pixels of a map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..ensemble import Ensemble
from ..maps import MapGrid
from ..maps.grid import check_shape
from ..stats import cross_spectra, ell_edges, power_spectrum
from .estimate import Estimate

_ROUNDS = 400  # of a bootstrap


@dataclass
class PosteriorSamples:
    """True maps and the samples that were drawn given the data of each.

    Attributes:
        truth: κ, shape ``(maps, n, n)``.
        samples: shape ``(maps, draws, n, n)``.
        side_deg: side of the field, degrees.
        simulation: simulation of each map, shape ``(maps,)``; None: every map is independent.

    Raises:
        ValueError: shapes that do not fit, fewer than two draws, or values that are not finite.
    """

    truth: Tensor
    samples: Tensor
    side_deg: float
    simulation: np.ndarray | None = None

    def __post_init__(self):
        self.truth = torch.as_tensor(self.truth)
        self.samples = torch.as_tensor(self.samples)
        check_shape("the true maps", self.truth.shape, channels=1)
        maps, n = self.truth.shape[0], self.truth.shape[-1]
        shape = tuple(self.samples.shape)
        if len(shape) != 4 or shape[0] != maps or shape[2:] != (n, n) or shape[1] < 2:
            raise ValueError(
                f"the samples have the shape {shape}; expected ({maps}, draws, {n}, {n}), with at "
                "least two draws a map"
            )
        for name, values in (("true maps", self.truth), ("samples", self.samples)):
            if not torch.isfinite(values).all():
                raise ValueError(f"the {name} have NaN or infinity; expected finite maps")
        if self.simulation is None:
            self.simulation = np.arange(maps)
        self.simulation = np.asarray(self.simulation)

    @property
    def draws(self) -> int:
        """L, samples of each map."""
        return self.samples.shape[1]

    @property
    def grid(self) -> MapGrid:
        """The maps' grid."""
        return MapGrid(self.truth.shape[-1], self.side_deg)


# ---------------------------------------------------------------- single samples and their mean


@dataclass
class Coherence:
    """How maps compare with the true ones, scale by scale.

    Attributes:
        ell: middle of each bin.
        r: cross-correlation C_ts / √(C_tt C_ss).
        transfer: √(C_ss / C_tt).
    """

    ell: np.ndarray
    r: Estimate
    transfer: Estimate


def coherence(
    truth: Tensor,
    maps: Tensor,
    side_deg: float,
    simulation: np.ndarray | None = None,
    edges: np.ndarray | None = None,
) -> Coherence:
    """Cross-correlation and transfer function of reconstructed maps.

    Of samples of the exact posterior, the transfer is 1. Of their mean, it is equal to r.

    Args:
        truth: κ, shape ``(maps, n, n)``.
        maps: one or several reconstructions of each, ``(maps, n, n)`` or ``(maps, draws, n, n)``.
        side_deg: side of the field, degrees.
        simulation: simulation of each map; None: every map is independent.
        edges: of the bins in ℓ; by default :func:`lensnb.stats.ell_edges` with 8 bins.
    """
    if edges is None:
        edges = ell_edges(MapGrid(truth.shape[-1], side_deg), 8)
    if maps.ndim == 3:
        maps = maps[:, None]
    spectra = 0
    for one in maps.unbind(1):
        pair = torch.stack([truth, one.to(truth.dtype)], 1)
        spectra = spectra + cross_spectra(pair, side_deg, edges) / maps.shape[1]
    weights = map_weights(len(truth), simulation)
    true, cross, own = (weights @ power for power in spectra.numpy().swapaxes(0, 1))
    dof = degrees_of(simulation, len(truth))
    r = of_rounds(cross / np.sqrt(true * own), dof)
    return Coherence(middle_of(edges), r, of_rounds(np.sqrt(own / true), dof))


# ---------------------------------------------------------------- the variance of samples


@dataclass
class Spread:
    """The variance of samples over the mean square of their error, 1 if the samples are right.

    Attributes:
        total: of all pixels.
        by_variance: of the pixels with the smallest variance, …, with the largest.
        by_scale: of the power in each band of ℓ.
        ell: middle of each band.
    """

    total: Estimate
    by_variance: Estimate
    by_scale: Estimate
    ell: np.ndarray


def spread(one: PosteriorSamples, parts: int = 4, edges: np.ndarray | None = None) -> Spread:
    """The variance of the samples of each map against the squared error of their mean.

        ratio = (1 + 1/L) ⟨s²⟩ / ⟨(t − m)²⟩,

    with the mean m and the unbiased variance s² of L samples. A pixel with a large s² has it in
    part by chance. So a first half of the samples decides in which part a pixel is, and m and s²
    are those of the other half.

    Args:
        one: truth and samples.
        parts: in which pixels are divided by their variance, as many in each.
        edges: of the bands in ℓ; by default :func:`lensnb.stats.ell_edges` with 8 bins.

    Raises:
        ValueError: fewer than four samples of each map.
    """
    if one.draws < 4:
        raise ValueError(f"the spread needs at least 4 samples of each map, found {one.draws}")
    variance, square = _errors(one.truth, one.samples)
    total = _ratio(variance.mean(1), square.mean(1), one.simulation)

    half = one.draws // 2
    first, _ = _errors(one.truth, one.samples[:, :half])
    variance, square = _errors(one.truth, one.samples[:, half:])
    cuts = np.quantile(first, np.arange(1, parts) / parts)
    part = np.searchsorted(cuts, first)
    above = np.stack([(variance * (part == i)).sum(1) for i in range(parts)], 1)
    below = np.stack([(square * (part == i)).sum(1) for i in range(parts)], 1)
    by_variance = _ratio(above, below, one.simulation)
    by_scale, ell = _by_scale(one, edges)
    return Spread(total, by_variance, by_scale, ell)


def _by_scale(one: PosteriorSamples, edges: np.ndarray | None) -> tuple[Estimate, np.ndarray]:
    """The power of s − m over that of t − m, and the middle of each band."""
    if edges is None:
        edges = ell_edges(one.grid, 8)
    mean = one.samples.mean(1, dtype=torch.float64)
    left = 0
    for sample in one.samples.unbind(1):
        left = left + power_spectrum(sample - mean, one.side_deg, edges) / (one.draws - 1)
    error = power_spectrum(one.truth - mean, one.side_deg, edges) / (1 + 1 / one.draws)
    return _ratio(left.numpy(), error.numpy(), one.simulation), middle_of(edges)


def _errors(truth: Tensor, samples: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """s² and the unbiased (t − m)² of each pixel, shape ``(maps, pixels)``."""
    draws = samples.shape[1]
    mean = samples.mean(1, dtype=torch.float64)
    variance = 0
    for one in samples.unbind(1):
        variance = variance + (one - mean).square() / (draws - 1)
    square = (truth - mean).square() / (1 + 1 / draws)
    return variance.flatten(1).numpy(), square.flatten(1).numpy()


# ---------------------------------------------------------------- simulations


def middle_of(edges: np.ndarray) -> np.ndarray:
    """The middle of each bin in ln ℓ."""
    return np.sqrt(edges[1:] * edges[:-1])


def _ratio(above: np.ndarray, below: np.ndarray, simulation: np.ndarray | None) -> Estimate:
    """Σ above / Σ below over all maps, with a bootstrap over simulations."""
    weights = map_weights(len(above), simulation)
    return of_rounds((weights @ above) / (weights @ below), degrees_of(simulation, len(above)))


def of_rounds(values: np.ndarray, dof: int) -> Estimate:
    """An estimate from its value for all maps, in the first row, and for each bootstrap round."""
    return Estimate(values[0], values[1:], dof=dof)


def map_weights(maps: int, simulation: np.ndarray | None) -> np.ndarray:
    """Weights of the maps that sum to 1: a row for all of them, then one for each round."""
    drawn = Ensemble(np.zeros((maps, 1)), simulation).bootstrap_weights(_ROUNDS)
    weights = np.concatenate([np.ones((1, maps)), drawn])
    return weights / weights.sum(1, keepdims=True)


def degrees_of(simulation: np.ndarray | None, maps: int) -> int:
    if simulation is None:
        return maps - 1
    return len(np.unique(simulation)) - 1
