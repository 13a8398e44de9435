"""Does a generator repeat its training maps? The distance of each map to the nearest of them.

Maps are compared as fields whitened by the mean mode power of the training maps, low-passed to ``modes`` × ``modes``
Fourier modes and scaled to unit norm, so that every mode counts alike and |g| = |t| = 1. With S one of the 8 symmetries of
the square and τ a periodic shift by whole pixels,

    d(g) = min over t, S, τ of ‖g − S τ t‖ = √(2 (1 − r)),   r = max over t, S, τ of ⟨g, S τ t⟩,

and one Fourier transform gives ⟨g, S τ t⟩ for all τ. A copy has d = 0, also when it is turned, mirrored or shifted; small
noise adds its size; a half-and-half blend of two training maps has d ≈ √(2 − √2) = 0.77; unrelated maps have a d set by the
number of trials, 1.25 for 1,024 maps and 24 modes. The low-pass makes this quick, and blind to differences in detail.

Maps are cut-outs of the sky and do not wrap round: a generator that repeats a part of a training map, or its field shifted
to a *neighbouring* cut-out, shares only a fraction a of the pixels with it, so that r ≈ a and d ≈ √(2 (1 − a)). It is told
from chance while that is a third of the map or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..ensemble import Ensemble
from ..maps import turned, turned_back
from .estimate import Estimate

CHUNK = (
    2**20
)  # numbers a transform works on at once: larger temporaries cost page faults, and time


@dataclass
class Nearest:
    """The nearest training map of each map g: g resembles ``turned(train[index].roll(shift, (-2, -1)), symmetry)``.

    Attributes:
        judged: which of the maps were judged, shape ``(judged,)``; the others below are of these, in this order.
        distance: d, float64, shape ``(judged,)``: 0 for a copy, 2 at the most.
        index: of the training map, shape ``(judged,)``.
        symmetry: 0…7 as in :func:`lensnb.maps.turned`, shape ``(judged,)``.
        shift: rows and columns that the training map is rolled by, pixels, shape ``(judged, 2)``.
    """

    judged: np.ndarray
    distance: np.ndarray
    index: np.ndarray
    symmetry: np.ndarray
    shift: np.ndarray

    def overlay(self, train: Tensor) -> Tensor:
        """The nearest training maps, shifted and turned to lie over the judged maps, shape ``(judged, n, n)``."""
        found = zip(self.index.tolist(), self.symmetry.tolist(), self.shift.tolist())
        return torch.stack([turned(train[i].roll(tuple(by), (-2, -1)), k) for i, k, by in found])


def nearest(maps: Tensor, train: Tensor, most: int = 128, modes: int = 24) -> Nearest:
    """The training map nearest to each map, under the 8 symmetries and all periodic shifts.

    All training maps are tried at shifts of n / ``modes`` pixels; the 16 best (with their symmetry) then at every pixel.
    Takes 0.02 s a map with 1,024 training maps, whatever their size.

    Args:
        maps: κ, shape ``(maps, n, n)``.
        train: the training maps, κ, shape ``(m, n, n)``.
        most: how many maps are judged at the most, chosen at even steps, so that all simulations of a sorted set are.
        modes: Fourier modes kept along an axis, an even number; at most n.

    Raises:
        ValueError: the shapes do not fit, a map is constant or has NaN or infinity, there are no maps, or ``most`` or
            ``modes`` are too few.
    """
    for name, x in (("maps", maps), ("train", train)):
        _check(name, x)
    if maps.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"maps have {tuple(maps.shape[1:])} pixels, train has {tuple(train.shape[1:])}; they must be the same"
        )
    n = maps.shape[-1]
    side = min(modes, n) // 2 * 2
    if most < 1 or side < 4:
        raise ValueError(
            f"at least one map must be judged, by 4 modes or more; found most = {most}, modes = {side}"
        )
    trained = torch.cat([_modes(part, side) for part in train.split(max(1, CHUNK // n**2))])
    power = trained.abs().square().mean(0)
    response = torch.where(power > 1e-9 * power.max(), power.rsqrt(), 0)
    trained = _unit(trained * response)
    judged = np.linspace(0, len(maps) - 1, min(len(maps), most)).round().astype(int)
    found = [_search(g, trained, response, n) for g in maps[judged]]
    r, index, symmetry, shift = zip(*found)
    distance = np.sqrt(np.clip(2 * (1 - np.array(r)), 0, None))
    return Nearest(judged, distance, np.array(index), np.array(symmetry), np.array(shift))


def _search(
    g: Tensor, trained: Tensor, response: Tensor, n: int
) -> tuple[float, int, int, tuple[int, int]]:
    """(r, training map, symmetry, shift) of the largest correlation of one map ``(n, n)``."""
    side = len(response)
    turns = torch.stack([turned_back(g, k) for k in range(8)])
    turns = _unit(_modes(turns, side) * response)  # ⟨g, S τ t⟩ = ⟨S⁻¹ g, τ t⟩
    best = []
    for part in trained.split(max(1, CHUNK // (8 * side**2))):
        product = turns * part[:, None].conj()
        best.append(torch.fft.irfft2(product, s=(side, side), norm="forward").amax((-2, -1)))
    pairs = torch.cat(best).flatten().topk(min(16, 8 * len(trained))).indices
    index, symmetry = pairs // 8, pairs % 8
    full = torch.fft.irfft2(
        _padded(turns[symmetry] * trained[index].conj(), n), s=(n, n), norm="forward"
    ).flatten(1)
    r, at = full.max(1)
    top = int(r.argmax())
    return (
        float(r[top]),
        int(index[top]),
        int(symmetry[top]),
        (int(at[top]) // n, int(at[top]) % n),
    )


def copies(
    sample: Nearest,
    truth: Nearest,
    sample_simulation=None,
    truth_simulation=None,
    rounds: int = 200,
    seed: int = 0,
) -> tuple[Estimate, Estimate]:
    """Do maps lie nearer to the training maps than true maps of other simulations do?

    Args:
        sample: what :func:`nearest` found for the maps to judge.
        truth: the same for true maps of simulations that the model never saw, of the same size, against the same maps.
        sample_simulation: simulation of each map that was given to :func:`nearest`; None when every map is independent.
        truth_simulation: the same for the true maps.
        rounds: bootstrap rounds, over the simulations of both.
        seed: of the bootstrap.

    Returns:
        The ratio of the median distances, sample over truth: 1 is right, less is nearer to the training maps. And the
        share of the sample that lies nearer than all but 1 % of the true maps do: 0.01 is right. Fewer than 99 true maps
        know no such quantile; the nearest of k stands in, and 1/(k + 1) is right.

    Raises:
        ValueError: fewer than two simulations in one of them.
    """
    by = [
        None if simulation is None else np.asarray(simulation)
        for simulation in (sample_simulation, truth_simulation)
    ]
    sets = [
        Ensemble(found.distance[:, None], None if simulation is None else simulation[found.judged])
        for found, simulation in zip((sample, truth), by)
    ]
    distances = [s.vectors[:, 0] for s in sets]
    drawn = zip(
        *(s.bootstrap_weights(rounds, seed + 1 + i).astype(int) for i, s in enumerate(sets))
    )
    boot = [
        _ratio_and_share(*(np.repeat(d, w) for d, w in zip(distances, weights)))
        for weights in drawn
    ]
    ratio, share = (
        Estimate(np.asarray(v), np.array(b))
        for v, b in zip(_ratio_and_share(*distances), zip(*boot))
    )
    return ratio, share


def _ratio_and_share(sample: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    # Weibull's quantile: a new map lies below it with a probability of exactly 1 %, however few the true maps.
    near = np.quantile(truth, 0.01, method="weibull")
    return np.median(sample) / np.median(truth), float((sample < near).mean())


def _check(name: str, maps: Tensor) -> None:
    if maps.ndim != 3 or maps.shape[1] != maps.shape[2] or not len(maps):
        raise ValueError(
            f"{name} must have the shape (maps, n, n) with at least one map, found {tuple(maps.shape)}"
        )
    bad = int((~torch.isfinite(maps).flatten(1).all(1)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(maps)} {name} have NaN or infinity; leave them out first")
    flat = int((maps.flatten(1).amax(1) == maps.flatten(1).amin(1)).sum())
    if flat:
        raise ValueError(
            f"{flat} of {len(maps)} {name} are constant, and near to nothing; leave them out first"
        )


def _modes(maps: Tensor, side: int) -> Tensor:
    """Fourier modes below the Nyquist frequency of a ``side`` × ``side`` grid, mean left out, ``(maps, side, side/2 + 1)``."""
    half = side // 2
    full = torch.fft.rfft2(maps.float())[..., : half + 1]
    kept = torch.cat([full[..., :half, :], full[..., -half:, :]], -2)
    kept[..., half, :] = (
        0  # the Nyquist row and column stand for two waves each: they cannot be shifted
    )
    kept[..., half] = 0
    kept[..., 0, 0] = 0
    return kept


def _padded(modes: Tensor, n: int) -> Tensor:
    """The ``rfft2`` modes of an n × n grid that hold ``modes`` and are zero beyond."""
    half = modes.shape[-2] // 2
    full = modes.new_zeros(*modes.shape[:-2], n, n // 2 + 1)
    full[..., :half, : half + 1] = modes[..., :half, :]
    full[..., n - half :, : half + 1] = modes[..., half:, :]
    return full


def _unit(modes: Tensor) -> Tensor:
    """Fields of unit norm; each mode beyond column 0 stands for two of the full transform."""
    norm = (2 * modes.abs().square().sum((-2, -1)) - modes[..., 0].abs().square().sum(-1)).sqrt()
    return modes / norm.clamp(min=1e-30)[..., None, None]
