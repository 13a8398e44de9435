"""Can a classifier distinguish generated maps from true ones? By their statistics and by pixels.

If two samples have the same distribution, no classifier does better than chance, so its
cross-validated accuracy is 0.5. An accuracy above 0.5 measures the differences that it found
(Lopez-Paz & Oquab 2017, arXiv 1610.06545). Cross-validation has four folds and leaves out whole
simulations: maps of one simulation share structure, and a classifier that has seen some of them
would recognise the others. The accuracy is balanced: the mean of the accuracies of the two
classes, because the sets may differ in size.

The classifier is linear discriminant analysis, with the covariance shrunk as in Ledoit & Wolf
(2004). It uses the standardised features and the *squares* of the whitened ones. The first reveal
a wrong mean. The second reveal a wrong scatter or correlation, which leaves the mean unchanged. It
finds more than logistic regression on the same features, in one second.

The pixels enter as features of random convolutions, as in ROCKET (Dempster, Petitjean & Webb 2020,
arXiv 1910.13051). Maps are averaged over blocks of 1, 2, 4, … pixels and convolved with random
3 × 3 filters. With y the response of a filter and y₀ a threshold, one of its responses to true
maps, the features are ⟨(y − y₀)²⟩ and ⟨max(y − y₀, 0)⟩. Filters act in all 8 orientations, so the
orientation of a map does not matter. They wrap round the edges, so they reveal a generator whose
maps are periodic, as no cut-out of the sky is. Each channel has filters of its own, and the
features of all channels are joined. A small convolutional network, trained for six times as long,
found less.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from ..ensemble import Ensemble
from ..ensemble.shrinkage import ledoit_wolf
from ..maps.grid import check_shape, turned
from .estimate import Estimate
from .ratios import degrees

# How many filters act on maps averaged over blocks of 1, 2, … pixels.
_FILTERS = {1: 24, 2: 32, 4: 48, 8: 48, 16: 48, 32: 48}
_FOLDS = 4
_ENOUGH = 5  # right and wrong answers for a bootstrap


def accuracy_on_statistics(
    sample: Ensemble, truth: Ensemble, rounds: int = 200, seed: int = 0
) -> Estimate:
    """Accuracy of a classifier that must say whether a vector is of the sample or of the truth.

    Args:
        sample: vectors of the maps to judge, shape ``(maps, bins)``, with their simulations.
        truth: vectors of true maps, same bins. Its simulations count as different from those of
            the sample, even if they have the same numbers.
        rounds: bootstrap rounds.
        seed: of the folds and of the bootstrap.

    Returns:
        The balanced accuracy on maps of simulations that the classifier has not seen; 0.5 is
        expected of equal distributions. The error is a bootstrap over simulations of the answers,
        times √2. The factor accounts for what the folds share. Of two simulations in different
        folds, each is judged by a classifier that has seen the other. If there is nothing to find,
        their two answers go wrong together, so that such pairs count double in the variance. (No
        error of a cross-validation is free of bias: Bengio & Grandvalet 2004.) The error is
        conservative: for equal sets of 32 simulations the scatter is 0.83 of it. If
        fewer than five answers about a class are right, or wrong, a bootstrap knows too little, as
        with ten maps that are all taken for true. Then the error is at least that of Agresti &
        Coull (1998), with two right and two wrong answers more.

    Raises:
        ValueError: different numbers of bins, or fewer than two simulations in one of the sets.
    """
    check_bins(sample, truth)
    rng = np.random.default_rng(seed)
    vectors = np.vstack([truth.vectors, sample.vectors])
    is_sample = np.repeat([False, True], [len(truth), len(sample)])
    truth_fold = _folds(truth.simulation, rng, "truth")
    sample_fold = _folds(sample.simulation, rng, "sample")
    fold = np.concatenate([truth_fold, sample_fold])

    correct = np.zeros(len(vectors))
    for i in range(fold.max() + 1):
        seen, new = fold != i, fold == i
        answers = _classify(vectors[seen], is_sample[seen], vectors[new])
        correct[new] = answers == is_sample[new]
    of_truth, of_sample = correct[~is_sample], correct[is_sample]
    value = (of_truth.mean() + of_sample.mean()) / 2

    truth_weights = truth.bootstrap_weights(rounds, seed + 1)
    sample_weights = sample.bootstrap_weights(rounds, seed + 2)
    truth_rounds = truth_weights @ of_truth / truth_weights.sum(1)
    sample_rounds = sample_weights @ of_sample / sample_weights.sum(1)
    drawn = (truth_rounds + sample_rounds) / 2
    least = np.hypot(_least_error(of_truth), _least_error(of_sample)) / 2
    drawn = _widened(drawn, least, rng)
    rounds = value + np.sqrt(2) * (drawn - value)
    return Estimate(np.asarray(value), rounds, dof=degrees(sample, truth))


def _least_error(correct: np.ndarray) -> float:
    """Of the share of correct answers, if hardly any differ (Agresti & Coull 1998); else zero."""
    right = correct.sum()
    if min(right, len(correct) - right) >= _ENOUGH:
        return 0.0
    trials = len(correct) + 4
    share = (right + 2) / trials
    return float(np.sqrt(share * (1 - share) / trials))


def _widened(drawn: np.ndarray, least: float, rng: np.random.Generator) -> np.ndarray:
    """Draws with more noise, if their scatter is smaller than it should be."""
    missing = least**2 - drawn.var()
    if missing <= 0:
        return drawn
    return drawn + np.sqrt(missing) * rng.standard_normal(len(drawn))


def accuracies_on_maps(
    sets: Mapping[str, tuple[Tensor, np.ndarray | None]],
    truth: Tensor,
    truth_simulation: np.ndarray | None = None,
    rounds: int = 200,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Accuracy of a classifier that must say, from the pixels, whether a map is of a set or true.

    Args:
        sets: by name the maps to judge, κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``,
            and the simulation of each, None if every map is independent. Of maps of more than 64²
            pixels each scale sees the first 32 × 32 blocks, or 64 × 64 single pixels. A map of 64²
            takes 3 ms on one core, one of 256² takes 15 ms.
        truth: true maps, κ, the same shape but for their number.
        truth_simulation: simulation of each true map.
        rounds: bootstrap rounds.
        seed: of the filters, the folds and the bootstrap.

    Returns:
        For each set as :func:`accuracy_on_statistics`.

    Raises:
        ValueError: shapes that differ, NaN or infinity, or fewer than two simulations in one set.
    """
    _check("truth", truth, truth)
    for name, (maps, _) in sets.items():
        _check(name, maps, truth)
    features = _Features(truth, seed)
    true = Ensemble(features(truth), truth_simulation)
    found = {}
    for name, (maps, simulation) in sets.items():
        ours = Ensemble(features(maps), simulation)
        found[name] = accuracy_on_statistics(ours, true, rounds, seed)
    return found


def _folds(simulation: np.ndarray, rng: np.random.Generator, name: str) -> np.ndarray:
    """A fold 0…3 for each map, the same for all maps of a simulation, shape ``(maps,)``."""
    simulations, index = np.unique(simulation, return_inverse=True)
    if len(simulations) < 2:
        raise ValueError(
            f"the {name} comes from one simulation only; cross-validation needs at least two"
        )
    return (rng.permutation(len(simulations)) % _FOLDS)[index]


def _classify(seen: np.ndarray, is_sample: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Whether each vector of ``new`` is of the sample, by a discriminant fitted to ``seen``."""
    seen, new = _standard(seen, new)
    size, axes = np.linalg.eigh(seen.T @ seen)
    # Along the other axes lie sums of bins that hardly vary.
    axes = axes[:, size > 1e-4 * size[-1]]
    white_seen, white_new = _standard(seen @ axes, new @ axes)
    square_seen, square_new = _standard(white_seen**2, white_new**2)
    seen, new = np.hstack([seen, square_seen]), np.hstack([new, square_new])
    true_mean = seen[~is_sample].mean(0)
    sample_mean = seen[is_sample].mean(0)
    means = np.stack([true_mean, sample_mean])
    residuals = seen - means[is_sample.astype(int)]
    direction = sample_mean - true_mean
    if residuals.any():  # none with one map of each set, which knows no scatter
        covariance, _ = ledoit_wolf(residuals)
        direction = np.linalg.solve(covariance, direction)
    return (new - means.mean(0)) @ direction > 0


def _standard(seen: np.ndarray, new: np.ndarray) -> list[np.ndarray]:
    """Columns of both minus the mean of ``seen``, in units of its scatter, clipped at ±5.

    They are clipped because counts have long tails. Where ``seen`` is constant the result is zero.
    """
    mean, std = seen.mean(0), seen.std(0)
    largest = np.maximum(np.abs(seen.max(0)), np.abs(seen.min(0)))
    scale = np.where(std > 1e-12 * largest, std, np.inf)
    found = []
    for x in (seen, new):
        standard = x - mean
        standard /= scale
        found.append(np.clip(standard, -5, 5, out=standard))
    return found


class _Features:
    """Features of random convolutions, channel after channel: maps → ``(maps, features)``."""

    def __init__(self, truth: Tensor, seed: int):
        self.filters = [_Filters(channel, seed + i) for i, channel in enumerate(_channels(truth))]

    def __call__(self, maps: Tensor) -> np.ndarray:
        pairs = zip(self.filters, _channels(maps))
        return np.concatenate([filters(channel) for filters, channel in pairs], axis=1)


def _channels(maps: Tensor) -> list[Tensor]:
    """The maps of each channel, ``(maps, n, n)``."""
    if maps.ndim == 3:
        return [maps]
    return list(maps.unbind(1))


class _Filters:
    """Random convolutions of one channel, with thresholds from the true maps."""

    def __init__(self, truth: Tensor, seed: int):
        truth = truth.float()
        self.mean = float(truth.mean())
        self.std = float(truth.std())
        generator = torch.Generator().manual_seed(seed)
        self.banks = []
        for block, count in _FILTERS.items():
            if block > 1 and truth.shape[-1] < 8 * block:
                break
            filters = torch.randn(count, 3, 3, generator=generator)
            zero_mean = filters[count // 4 :]  # the other filters also see the mean of a map
            zero_mean -= zero_mean.mean((-2, -1), keepdim=True)
            turns = torch.stack([turned(filters, k) for k in range(8)], 1)
            # Thresholds are the quantiles of the responses at −2σ to 2.5σ of a normal variable.
            levels = torch.special.ndtr(torch.linspace(-2, 2.5, count))
            levels = levels[torch.randperm(count, generator=generator)]
            thresholds = self._quantiles(truth, block, turns, levels)
            self.banks.append((block, turns, thresholds))

    def _quantiles(self, truth: Tensor, block: int, turns: Tensor, levels: Tensor) -> Tensor:
        """One quantile of the responses of each filter to some true maps, ``(filters,)``."""
        count = len(turns)
        few = truth[:: _step(len(truth), 8)]  # eight maps have enough pixels for a quantile
        responses = self._responses(few, block, turns, torch.zeros(count))
        responses = responses.transpose(0, 1).flatten(1)
        step = _step(responses.shape[1], 2**16)
        ordered = responses[:, ::step].sort(1).values
        rank = (levels * (ordered.shape[1] - 1)).long()
        return ordered[torch.arange(count), rank]

    def __call__(self, maps: Tensor) -> np.ndarray:
        # Four maps at a time: few enough for the processor's cache.
        return np.concatenate([self._vectors(part) for part in maps.split(4)])

    def _vectors(self, maps: Tensor) -> np.ndarray:
        features = []
        for block, turns, thresholds in self.banks:
            y = self._responses(maps, block, turns, thresholds)
            # a norm and a change in place write no further large array
            square = torch.linalg.vector_norm(y, dim=-1).square() / y.shape[-1]
            features += [square, y.relu_().mean(-1)]
        return torch.cat(features, 1).double().numpy()

    def _responses(self, maps: Tensor, block: int, turns: Tensor, thresholds: Tensor) -> Tensor:
        """The response of each filter minus its threshold, at every pixel.

        Returns:
            Shape ``(maps, filters, orientations × pixels)``.
        """
        side = max(64, 32 * block)  # so that large maps take little longer than small ones
        seen = maps[:, None, :side, :side].detach().cpu().float()
        x = (avg_pool2d(seen, block) - self.mean) / self.std
        x = pad(x, (1, 1, 1, 1), mode="circular")
        weight = turns.flatten(0, 1)[:, None]
        bias = -thresholds.repeat_interleave(8)
        y = conv2d(x, weight, bias)
        return y.reshape(len(maps), len(turns), -1)


def _step(length: int, most: int) -> int:
    """The step that leaves at most so many of a number of elements."""
    return -(-length // most)


def check_bins(sample: Ensemble, truth: Ensemble) -> None:
    """Refuse ensembles whose vectors have different lengths."""
    bins, true_bins = sample.vectors.shape[1], truth.vectors.shape[1]
    if bins != true_bins:
        raise ValueError(f"the sample has {bins} bins, the truth {true_bins}; they must agree")


def _check(name: str, maps: Tensor, truth: Tensor) -> None:
    channels = truth.shape[1] if truth.ndim == 4 else 1
    check_shape(f"the {name}", maps.shape, truth.shape[-1], channels)
    finite = torch.isfinite(maps).flatten(1).all(1)
    bad = int((~finite).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(maps)} maps of the {name} have NaN or infinity; leave them out first"
        )
