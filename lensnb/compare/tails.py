"""The tails of the distribution of κ: high peaks, extreme pixels, and the PDF where it is small.

With several channels each has its own threshold and its own ends of the PDF. Peaks are counted
in all channels together. A map is extreme if one of its channels is. The ratios of the PDF are
averaged over the channels where they are defined.
"""

from __future__ import annotations

import numpy as np

from ..ensemble import Ensemble
from .estimate import Estimate
from .ratios import ratio_of_means, ratio_of_shares
from .verdict import Verdict

_FLOOR = 1e-3  # of its maximum: what the PDF has at its ends


def high_peaks(sample: Ensemble, truth: Ensemble) -> Estimate:
    """Number of peaks above 4σ of the true maps, divided by that of true maps."""
    ratio = ratio_of_means(sample, truth)
    return Estimate(ratio.value[0], error=ratio.error[0], dof=ratio.dof)


def extreme_maps(sample: Ensemble, truth: Ensemble, above: list[float]) -> Estimate:
    """Share of the maps with a pixel above a threshold, over that share of true maps.

    Args:
        sample: the statistic ``extremes`` of the maps to judge: largest and smallest κ of each
            channel.
        truth: the same for true maps.
        above: κ of the threshold, of each channel.
    """
    return ratio_of_shares(_exceeds(sample, above), _exceeds(truth, above))


def _exceeds(extremes: Ensemble, above: list[float]) -> Ensemble:
    largest = extremes.vectors[:, ::2]
    exceeds = (largest > np.array(above)).any(1)
    return Ensemble(exceeds[:, None], extremes.simulation)


def pdf_end(verdict: Verdict, density: np.ndarray, channels: int, end: int) -> Estimate:
    """Ratio of the PDF to the true one at an end: in the outermost bin where it is not too small.

    There the true PDF is still at least 10⁻³ of its maximum.

    Args:
        verdict: on the PDF of the set to judge.
        density: mean PDF of the true maps, shape ``(bins,)``, channel after channel.
        channels: how many there are.
        end: 0 for the low end, −1 for the high end.
    """
    bins = []
    for part in np.split(np.arange(len(density)), channels):
        above = density[part] >= _FLOOR * density[part].max()
        bins.append(part[above][end])
    ratio = verdict.mean_ratio
    defined = [i for i in bins if np.isfinite(ratio.value[i])]
    if not defined:
        defined = bins
    value = ratio.value[defined].mean()
    rounds = ratio.rounds[:, defined].mean(1)
    return Estimate(value, rounds, dof=ratio.dof)
