"""The two-sample Kolmogorov–Smirnov test of every bin, on independent maps."""

from __future__ import annotations

import numpy as np

from ..ensemble import Ensemble
from .twosample import check_bins


def ks_p(sample: Ensemble, truth: Ensemble, seed: int = 0) -> np.ndarray:
    """The p-value of each bin (asymptotic).

    CosmoGAN reports such p-values (Mustafa et al. 2019, arXiv 1706.02390). The test assumes that
    all maps are independent. Maps of one simulation are not, so one map of each simulation is
    drawn. The test looks at each bin alone and sees no correlations.

    Args:
        sample: vectors of the maps to judge, shape ``(maps, bins)``.
        truth: vectors of true maps, same bins.
        seed: of the draw.

    Returns:
        p, shape ``(bins,)``.

    Raises:
        ValueError: the two have different numbers of bins.
    """
    check_bins(sample, truth)
    from scipy.stats import ks_2samp  # takes a second to import

    rng = np.random.default_rng(seed)
    ours, true = _one_a_simulation(sample, rng), _one_a_simulation(truth, rng)
    return ks_2samp(ours, true, method="asymp", axis=0).pvalue


def _one_a_simulation(ensemble: Ensemble, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(len(ensemble))
    _, first = np.unique(ensemble.simulation[order], return_index=True)
    return ensemble.vectors[order[first]]
