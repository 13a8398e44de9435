"""Can a classifier tell generated maps from true ones? Two-sample tests on the statistics and on the pixels.

If two samples have one distribution no classifier beats a coin, so the cross-validated accuracy is 0.5; what it lies above
0.5 is the power of the differences that it found (Lopez-Paz & Oquab 2017, arXiv 1610.06545). Whole simulations are left
out, in four folds, and every step is fitted without them: maps of one box share structure, and a classifier that has seen
the box would know them again. Accuracy is the mean of the two classes' shares of right answers, for sets of unequal size.

The classifier is linear discriminant analysis with the covariance shrunk after Ledoit & Wolf (2004), on the
standardised features and on the *squares* of the whitened ones: the first see a wrong mean, the second a wrong scatter or
correlation, which leaves the mean as it is. It catches more than logistic regression on the same, in a second.

The pixels enter as features of random convolutions, as in ROCKET (Dempster, Petitjean & Webb 2020, arXiv 1910.13051): at
four scales, the mean square of what random 3 × 3 filters answer and its mean excess over thresholds drawn from the true
maps. Filters act in all 8 orientations, so that it does not matter how a map is turned, and wrap round the edges, so that
a generator gives itself away whose maps are periodic, as no cut-out of the sky is. A small convolutional network found
less in ten times the time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from ..ensemble import Ensemble
from .estimate import Estimate

FILTERS = {1: 24, 2: 32, 4: 48, 8: 48}  # how many random filters on maps averaged over blocks of 1, 2, 4, 8 pixels


def accuracy_on_statistics(sample: Ensemble, truth: Ensemble, rounds: int = 200, seed: int = 0) -> Estimate:
    """How often a classifier knows whether a vector is of the sample or of the truth; 0.5 is right.

    Args:
        sample: vectors of the maps to judge, shape ``(maps, bins)``, labelled by simulation.
        truth: vectors of true maps, same bins; its simulations are others than the sample's, even with the same numbers.
        rounds: bootstrap rounds.
        seed: of the folds and of the bootstrap.

    Returns:
        The balanced accuracy on maps of simulations that the classifier has not seen. Its error is that of the
        simulations judged, for the classifiers as they were trained; no estimate from one sample has no bias (Bengio &
        Grandvalet 2004), and on true maps of 32 + 32 boxes it is 15 % too small.

    Raises:
        ValueError: other bins, or fewer than two simulations in one of them.
    """
    if sample.vectors.shape[1] != truth.vectors.shape[1]:
        raise ValueError(f"the sample has {sample.vectors.shape[1]} bins, the truth {truth.vectors.shape[1]}")
    rng = np.random.default_rng(seed)
    vectors = np.vstack([truth.vectors, sample.vectors])
    is_sample = np.repeat([False, True], [len(truth), len(sample)])
    fold = np.concatenate([_folds(truth.labels, rng, "truth"), _folds(sample.labels, rng, "sample")])
    right = np.zeros(len(vectors))
    for i in range(fold.max() + 1):
        seen = fold != i
        right[~seen] = _classify(vectors[seen], is_sample[seen], vectors[~seen]) == is_sample[~seen]
    parts = (right[~is_sample], truth.bootstrap_weights(rounds, seed + 1)), (
        right[is_sample], sample.bootstrap_weights(rounds, seed + 2)
    )  # fmt: skip
    value = sum(of.mean() for of, _ in parts) / 2
    boot = sum(weights @ of / weights.sum(1) for of, weights in parts) / 2
    return Estimate(np.asarray(value), boot)


def accuracy_on_maps(
    sample: Tensor, truth: Tensor, sample_labels=None, truth_labels=None, rounds: int = 200, seed: int = 0
) -> Estimate:
    """How often a classifier knows whether a map is of the sample or of the truth, from its pixels; 0.5 is right.

    Args:
        sample: the maps to judge, κ, shape ``(maps, n, n)``. Maps of more than 128² pixels are block-averaged to at most
            128², so that finer faults are not seen and the time is bounded.
        truth: true maps, κ, shape ``(true maps, n, n)``.
        sample_labels: simulation of each map; None when every map is independent.
        truth_labels: simulation of each true map.
        rounds: bootstrap rounds.
        seed: of the filters, the folds and the bootstrap.

    Returns:
        As :func:`accuracy_on_statistics`.

    Raises:
        ValueError: other shapes, NaN or infinity, or fewer than two simulations in one of them.
    """
    for name, maps in (("sample", sample), ("truth", truth)):
        _check(name, maps, truth)
    filters = _Filters(truth, seed)
    ensembles = Ensemble(filters(sample), sample_labels), Ensemble(filters(truth), truth_labels)
    return accuracy_on_statistics(*ensembles, rounds, seed)


def ks_pvalues(sample: Ensemble, truth: Ensemble) -> np.ndarray:
    """Two-sample Kolmogorov–Smirnov p-value of each bin (asymptotic), shape ``(bins,)``, as cosmoGAN reports
    (Mustafa et al. 2019, arXiv 1706.02390).

    The test takes every map as independent, which maps of one simulation are not: for them p is too small even where all
    is right. Read it beside the null's. And it sees each bin by itself: no correlation.
    """
    from scipy.stats import ks_2samp  # a second to import

    bins = zip(sample.vectors.T, truth.vectors.T, strict=True)
    return np.array([ks_2samp(a, b, method="asymp").pvalue for a, b in bins])


def _folds(labels: np.ndarray, rng: np.random.Generator, name: str) -> np.ndarray:
    """A fold 0…3 for each map, whole simulations together, shape ``(maps,)``."""
    simulations, index = np.unique(labels, return_inverse=True)
    if len(simulations) < 2:
        raise ValueError(f"the {name} comes from one simulation only; cross-validation needs at least two")
    return (rng.permutation(len(simulations)) % 4)[index]


def _classify(seen: np.ndarray, is_sample: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Whether each vector of ``new`` is of the sample, by a discriminant learnt from the vectors ``seen``."""
    from sklearn.covariance import ledoit_wolf  # a second to import

    new, seen = _standard(new, seen), _standard(seen, seen)
    _, size, axes = np.linalg.svd(seen, full_matrices=False)
    axes = axes[size**2 > 1e-4 * size[0] ** 2].T  # beyond these, sums of bins that hardly vary
    white_new, white_seen = (_standard(x @ axes, seen @ axes) for x in (new, seen))
    new, seen = (np.hstack([x, _standard(w**2, white_seen**2)]) for x, w in ((new, white_new), (seen, white_seen)))
    means = np.stack([seen[~is_sample].mean(0), seen[is_sample].mean(0)])
    covariance, _ = ledoit_wolf(seen - means[is_sample.astype(int)], assume_centered=True)
    direction = np.linalg.solve(covariance, means[1] - means[0])
    return (new - means.mean(0)) @ direction > 0


def _standard(x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Columns in units of the scatter of those seen, about their mean; cut at ±5, as counts have long tails."""
    std = seen.std(0)
    # a bin that was constant where it was seen tells nothing
    return np.clip(
        np.divide(x - seen.mean(0), std, out=np.zeros_like(x), where=std > 1e-12 * np.abs(seen).max(0)), -5, 5
    )


class _Filters:
    """Random convolutions at four scales, their thresholds from the true maps: maps → vectors ``(maps, features)``.

    For each filter the mean square of its answers y, and their mean excess over a threshold, ⟨max(y − y₀, 0)⟩.
    """

    def __init__(self, truth: Tensor, seed: int):
        truth = _coarse(truth)
        self.mean, self.std = truth.mean(), truth.std()
        generator = torch.Generator().manual_seed(seed)
        few = truth[:: -(-len(truth) // 64)]  # these have pixels enough for a quantile
        self.banks = []
        for block, count in FILTERS.items():
            if truth.shape[-1] < 3 * block:
                break
            filters = torch.randn(count, 3, 3, generator=generator)
            filters[count // 4 :] -= filters[count // 4 :].mean(
                (-2, -1), keepdim=True
            )  # the rest see the map's mean too
            turns = torch.stack([f.rot90(k, (-2, -1)) for f in (filters, filters.mT) for k in range(4)], 1)
            answers = self._answers(few, block, turns, torch.zeros(count)).transpose(0, 1).flatten(1).sort(1).values
            # thresholds from −2σ to 2.5σ of a normal variable, as quantiles of what the filter answers
            levels = torch.special.ndtr(torch.linspace(-2, 2.5, count))[torch.randperm(count, generator=generator)]
            thresholds = answers[torch.arange(count), (levels * (answers.shape[1] - 1)).long()]
            self.banks.append((block, turns, thresholds))

    def __call__(self, maps: Tensor) -> np.ndarray:
        return np.concatenate([self._vectors(part) for part in _coarse(maps).split(4)])  # as many as fit the cache

    def _vectors(self, maps: Tensor) -> np.ndarray:
        answers = [self._answers(maps, *bank) for bank in self.banks]
        found = [f for y in answers for f in (y.square().mean(-1), y.relu().mean(-1))]
        return torch.cat(found, 1).double().numpy()

    def _answers(self, maps: Tensor, block: int, turns: Tensor, thresholds: Tensor) -> Tensor:
        """Each filter's answer above its threshold, everywhere: ``(maps, filters, orientations × pixels)``."""
        x = avg_pool2d(((maps - self.mean) / self.std)[:, None], block)
        y = conv2d(
            pad(x, (1, 1, 1, 1), mode="circular"), turns.flatten(0, 1)[:, None], -thresholds.repeat_interleave(8)
        )
        return y.reshape(len(maps), len(turns), -1)


def _coarse(maps: Tensor, most: int = 128) -> Tensor:
    """float32 maps of at most ``most``² pixels, by block averages; rows and columns beyond the last whole block go."""
    return avg_pool2d(maps.detach().cpu().float()[:, None], -(-maps.shape[-1] // most))[:, 0]


def _check(name: str, maps: Tensor, truth: Tensor) -> None:
    if maps.ndim != 3 or maps.shape[1:] != truth.shape[1:] or maps.shape[1] != maps.shape[2]:
        raise ValueError(
            f"the {name} has the shape {tuple(maps.shape)}, the truth {tuple(truth.shape)}; both must be (maps, n, n)"
        )
    bad = int((~torch.isfinite(maps).flatten(1).all(1)).sum())
    if bad:
        raise ValueError(f"{bad} of {len(maps)} maps of the {name} have NaN or infinity; leave them out first")
