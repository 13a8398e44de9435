"""The tails of the distribution of κ: high peaks, and the PDF where it is small.

With several channels each has its own threshold and its own ends of the PDF. Peaks are counted
in all channels together. The ratios of the PDF are averaged over the channels where they are
defined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..ensemble import Ensemble
from ..stats import peak_counts
from .estimate import Estimate
from .sets import TRUTH, FiniteMaps
from .verdict import Verdict, judge_all

_SIGMAS = 4.0  # of the true pixels: a peak above is high
_FLOOR = 1e-3  # of its maximum: what the PDF has at its ends


def high_peaks(
    sets: Mapping[str, FiniteMaps], judged: list[str], rounds: int, seed: int
) -> dict[str, Estimate]:
    """Number of peaks above 4σ of the true maps, divided by that of the true maps.

    Args:
        sets: the truth and the sets to judge.
        judged: names of the sets to judge.
        rounds: bootstrap rounds.
        seed: of the bootstrap.
    """
    thresholds = []
    for channel in sets[TRUTH].channels:
        thresholds.append(float(channel.mean() + _SIGMAS * channel.std()))
    ensembles = {}
    for name in [TRUTH, *judged]:
        counts = [
            peak_counts(channel, [threshold, math.inf]).numpy()
            for channel, threshold in zip(sets[name].channels, thresholds)
        ]
        ensembles[name] = {"peaks": Ensemble(sum(counts), sets[name].simulation)}
    verdicts = judge_all(ensembles, judged, [TRUTH], None, rounds, seed)[TRUTH]
    return {name: verdicts[name]["peaks"].mean for name in judged}


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
    return Estimate(value, rounds)
