"""Has a generator memorised its training maps? The distance of each map to the nearest of them.

Maps are compared after three steps. They are whitened: each Fourier mode is divided by its root
mean square over the training maps. They are cut to the lowest ``modes`` × ``modes`` modes. They
are scaled to unit norm. So every mode has the same weight and |g| = |t| = 1. With S one of the 8
symmetries of the square and τ a periodic shift by whole pixels,

    d(g) = min over t, S, τ of ‖g − S τ t‖ = √(2 (1 − r)),   r = max over t, S, τ of ⟨g, S τ t⟩,

and one Fourier transform gives ⟨g, S τ t⟩ for all τ. With several channels the inner product is
summed over the channels. Each channel has a whitening of its own, and one S and one τ act on all.

A copy has the distance 0, also when it is turned, mirrored or shifted. A copy with a little noise
has the size of the noise. The mean of two training maps has d ≈ √(2 − √2) = 0.77. For
unrelated maps d depends on the number of trials: it is 1.25 for 1,024 maps and 24 modes. The
cut in modes makes the search fast, and blind to differences in small-scale detail. It judges some
maps of a set; :mod:`lensnb.compare.map_copies` searches all of them for copies.

Maps are cut out of the sky and are not periodic. A generator may repeat a part of a training map,
or its field shifted as in a *neighbouring* cut-out. Such a map shares only a fraction a of its
pixels with the training map, so that r ≈ a and d ≈ √(2 (1 − a)). It can be distinguished from a
chance resemblance if a is a third or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..ensemble import Ensemble
from ..maps.grid import turned, turned_back
from .estimate import Estimate
from .whitened import CHUNK, alike, modes_of, padded, unit, whitening_of

_CANDIDATES = 16  # pairs of training map and symmetry that are searched at every pixel


@dataclass
class Nearest:
    """The nearest training map of each map.

    A map g resembles ``turned(train[index].roll(shift, (-2, -1)), symmetry)``.

    Attributes:
        judged: which of the maps were judged, shape ``(judged,)``; the other attributes are of
            these maps, in this order.
        distance: d, float64, shape ``(judged,)``: 0 for a copy, at most 2.
        index: of the training map, shape ``(judged,)``.
        symmetry: 0…7 as in :func:`~lensnb.maps.grid.turned`, shape ``(judged,)``.
        shift: rows and columns by which the training map is rolled, pixels, shape ``(judged, 2)``.
    """

    judged: np.ndarray
    distance: np.ndarray
    index: np.ndarray
    symmetry: np.ndarray
    shift: np.ndarray

    def overlay(self, train: Tensor) -> Tensor:
        """The nearest training maps, shifted and turned like the judged maps.

        Args:
            train: the training maps that were searched.

        Returns:
            κ, shape ``(judged, n, n)`` or ``(judged, channels, n, n)``.
        """
        found = []
        for index, symmetry, shift in zip(self.index, self.symmetry, self.shift):
            rows, columns = shift.tolist()
            rolled = train[int(index)].roll((rows, columns), (-2, -1))
            found.append(turned(rolled, int(symmetry)))
        return torch.stack(found)


def nearest(maps: Tensor, train: Tensor, most: int = 128, modes: int = 24) -> Nearest:
    """Find the training map nearest to each map, under the 8 symmetries and all periodic shifts.

    All training maps are tried at shifts of n / ``modes`` pixels. The 16 best, each with its
    symmetry, are then tried at every pixel. A map takes 0.02 s with 1,024 training maps of any
    size.

    Args:
        maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        train: the training maps, κ, the same shape but for their number.
        most: how many maps are judged at most. They are chosen at even steps, so that every
            simulation of a sorted set is represented.
        modes: Fourier modes kept along an axis, an even number; at most n.

    Raises:
        ValueError: the shapes do not fit, a map is constant or has NaN or infinity, there are no
            maps, or ``most`` or ``modes`` is too small.
    """
    maps, train = alike(maps, train)
    n = train.shape[-1]
    side = min(modes, n) // 2 * 2
    if most < 1 or side < 4:
        raise ValueError(
            "at least one map must be judged, by 4 modes or more; "
            f"found most = {most}, modes = {side}"
        )
    trained = modes_of(train, side)
    whitening = whitening_of(trained)
    trained = unit(trained * whitening)
    count = min(len(maps), most)
    judged = np.linspace(0, len(maps) - 1, count).round().astype(int)
    matches = [_search(g, trained, whitening, n) for g in maps[judged]]
    r = np.array([match.r for match in matches])
    return Nearest(
        judged=judged,
        distance=np.sqrt(np.clip(2 * (1 - r), 0, None)),
        index=np.array([match.index for match in matches]),
        symmetry=np.array([match.symmetry for match in matches]),
        shift=np.array([match.shift for match in matches]),
    )


@dataclass
class _Match:
    """The largest correlation r of a map with a training map, and where it was found."""

    r: float
    index: int
    symmetry: int
    shift: tuple[int, int]


def _search(g: Tensor, trained: Tensor, whitening: Tensor, n: int) -> _Match:
    """The best match of one map ``(channels, n, n)``."""
    channels, side = whitening.shape[:2]
    # ⟨g, S τ t⟩ = ⟨S⁻¹ g, τ t⟩: it is enough to turn the one map back.
    turns = torch.stack([turned_back(g, k) for k in range(8)])
    turns = unit(modes_of(turns, side) * whitening)
    best = []
    batch = max(1, CHUNK // (8 * channels * side**2))
    for part in trained.split(batch):
        product = _inner(turns, part[:, None])
        r = torch.fft.irfft2(product, s=(side, side), norm="forward")
        best.append(r.amax((-2, -1)))
    candidates = min(_CANDIDATES, 8 * len(trained))
    pairs = torch.cat(best).flatten().topk(candidates).indices
    index, symmetry = pairs // 8, pairs % 8
    product = _inner(turns[symmetry], trained[index])
    full = torch.fft.irfft2(padded(product, n), s=(n, n), norm="forward")
    r, at = full.flatten(1).max(1)
    top = int(r.argmax())
    return _Match(
        r=float(r[top]),
        index=int(index[top]),
        symmetry=int(symmetry[top]),
        shift=divmod(int(at[top]), n),
    )


def _inner(modes: Tensor, others: Tensor) -> Tensor:
    """The product of each mode with the conjugate of the other, summed over the channels."""
    product = modes[..., 0, :, :] * others[..., 0, :, :].conj()
    for channel in range(1, modes.shape[-3]):
        product += modes[..., channel, :, :] * others[..., channel, :, :].conj()
    return product


def copies(
    sample: Nearest,
    truth: Nearest,
    sample_simulation=None,
    truth_simulation=None,
    rounds: int = 200,
    seed: int = 0,
) -> tuple[Estimate, Estimate]:
    """Are maps nearer to the training maps than true maps of other simulations are?

    Args:
        sample: what :func:`nearest` found for the maps to judge.
        truth: the same for true maps, of simulations that the model never saw. They need the same
            size and the same training maps.
        sample_simulation: simulation of each map that was given to :func:`nearest`; None if every
            map is independent.
        truth_simulation: the same for the true maps.
        rounds: bootstrap rounds, over the simulations of both.
        seed: of the bootstrap.

    Returns:
        First the ratio of the median distances, sample over truth. The expected value is 1, and
        less means nearer to the training maps. Then the share of the sample that lies nearer than
        all but 1 % of the true maps. The expected value is 0.01. With fewer than 99 true maps this
        quantile is not defined; the nearest of the k true maps replaces it, and 1/(k + 1) is
        expected.

    Raises:
        ValueError: one of the sets has fewer than two simulations.
    """
    sample = _distances(sample, sample_simulation)
    truth = _distances(truth, truth_simulation)
    sample_draws = sample.bootstrap_weights(rounds, seed + 1).astype(int)
    truth_draws = truth.bootstrap_weights(rounds, seed + 2).astype(int)
    ours, true = sample.vectors[:, 0], truth.vectors[:, 0]
    ratios, shares = [], []
    for ours_counts, true_counts in zip(sample_draws, truth_draws):
        ours_drawn, true_drawn = np.repeat(ours, ours_counts), np.repeat(true, true_counts)
        ratios.append(_median_ratio(ours_drawn, true_drawn))
        shares.append(_near_share(ours_drawn, true_drawn))
    ratio = Estimate(np.asarray(_median_ratio(ours, true)), np.array(ratios))
    share = Estimate(np.asarray(_near_share(ours, true)), np.array(shares))
    return ratio, share


def _distances(found: Nearest, simulation) -> Ensemble:
    """The distances of the judged maps with their simulations."""
    if simulation is not None:
        simulation = np.asarray(simulation)[found.judged]
    return Ensemble(found.distance[:, None], simulation)


def _median_ratio(sample: np.ndarray, truth: np.ndarray) -> float:
    return np.median(sample) / np.median(truth)


def _near_share(sample: np.ndarray, truth: np.ndarray) -> float:
    # Weibull's quantile: a new true map lies below it with a probability of exactly 1 %, however
    # few the true maps are.
    near = np.quantile(truth, 0.01, method="weibull")
    return float((sample < near).mean())
