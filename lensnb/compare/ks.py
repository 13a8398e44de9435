"""The two-sample Kolmogorov–Smirnov test of every bin, resampled over simulations."""

from __future__ import annotations

import numpy as np

from ..ensemble import Ensemble
from .estimate import Estimate
from .twosample import check_bins


def ks_rejected(
    sample: Ensemble, truth: Ensemble, rounds: int = 200, seed: int = 0, level: float = 0.05
) -> tuple[np.ndarray, Estimate]:
    """Two-sample Kolmogorov–Smirnov p of each bin (asymptotic), and the share of bins that it rejects.

    p a bin is what cosmoGAN reports (Mustafa et al. 2019, arXiv 1706.02390). The test takes every map as independent, which
    maps of one simulation are not: for them p is too small even where all is right. Read it beside the null's. And it sees
    each bin by itself: no correlation.

    Args:
        sample: vectors of the maps to judge, shape ``(maps, bins)``.
        truth: vectors of true maps, same bins.
        rounds: bootstrap rounds, over the simulations of both.
        seed: of the bootstrap.
        level: a bin is rejected when p is less.

    Returns:
        p, shape ``(bins,)``, and the share of the bins with p < ``level``.

    Raises:
        ValueError: other bins.
    """
    check_bins(sample, truth)
    values = np.concatenate([sample.vectors, truth.vectors])
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    # the two distribution functions may be compared where a value ends, not between equal ones
    ends = np.vstack([ordered[1:] != ordered[:-1], np.ones((1, values.shape[1]), bool)])

    def distance(weights: np.ndarray, others: np.ndarray) -> np.ndarray:
        step = np.concatenate([weights / weights.sum(), -others / others.sum()])[order]
        return (np.abs(np.cumsum(step, axis=0)) * ends).max(0)

    from scipy.stats import kstwo  # a second to import

    n = round(len(sample) * len(truth) / (len(sample) + len(truth)))
    p = kstwo.sf(distance(np.ones(len(sample)), np.ones(len(truth))), n)
    critical = kstwo.isf(level, n)
    drawn = zip(
        sample.bootstrap_weights(rounds, seed + 1), truth.bootstrap_weights(rounds, seed + 2)
    )
    boot = np.array([(distance(*weights) > critical).mean() for weights in drawn])
    return p, Estimate(np.asarray((p < level).mean()), boot)
