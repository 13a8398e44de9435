"""The two-sample Kolmogorov–Smirnov test of every bin, with a bootstrap over simulations."""

from __future__ import annotations

import numpy as np

from ..ensemble import Ensemble
from .estimate import Estimate
from .twosample import check_bins


def ks_rejected(
    sample: Ensemble, truth: Ensemble, rounds: int = 200, seed: int = 0, level: float = 0.05
) -> tuple[np.ndarray, Estimate]:
    """The p-value of each bin (asymptotic), and the share of bins that the test rejects.

    CosmoGAN reports such p-values (Mustafa et al. 2019, arXiv 1706.02390). The test assumes that
    all maps are independent. Maps of one simulation are not, and for them p is too small even if
    the two distributions agree: compare it with the null's. The test looks at each bin alone and
    sees no correlations.

    Args:
        sample: vectors of the maps to judge, shape ``(maps, bins)``.
        truth: vectors of true maps, same bins.
        rounds: bootstrap rounds, over the simulations of both.
        seed: of the bootstrap.
        level: a bin is rejected if its p is less.

    Returns:
        p, shape ``(bins,)``, and the share of the bins with p < ``level``.

    Raises:
        ValueError: the two have different numbers of bins.
    """
    check_bins(sample, truth)
    from scipy.stats import kstwo  # takes a second to import

    distance = _Distance(sample, truth)
    ours, true = np.ones(len(sample)), np.ones(len(truth))
    n = round(len(sample) * len(truth) / (len(sample) + len(truth)))
    p = kstwo.sf(distance(ours, true), n)
    critical = kstwo.isf(level, n)
    sample_draws = sample.bootstrap_weights(rounds, seed + 1)
    truth_draws = truth.bootstrap_weights(rounds, seed + 2)
    shares = []
    for ours, true in zip(sample_draws, truth_draws):
        rejected = distance(ours, true) > critical
        shares.append(rejected.mean())
    rejected = p < level
    return p, Estimate(np.asarray(rejected.mean()), np.array(shares))


class _Distance:
    """The largest difference of two weighted distribution functions, for each bin."""

    def __init__(self, sample: Ensemble, truth: Ensemble):
        values = np.concatenate([sample.vectors, truth.vectors])
        self.order = np.argsort(values, axis=0, kind="stable")
        ordered = np.take_along_axis(values, self.order, axis=0)
        # Equal values form one step: the functions are compared at its end only.
        self.ends = np.ones(values.shape, bool)
        self.ends[:-1] = ordered[1:] != ordered[:-1]

    def __call__(self, sample_weights: np.ndarray, truth_weights: np.ndarray) -> np.ndarray:
        up = sample_weights / sample_weights.sum()
        down = -truth_weights / truth_weights.sum()
        steps = np.concatenate([up, down])[self.order]
        difference = np.cumsum(steps, axis=0)
        return (np.abs(difference) * self.ends).max(0)
