"""What the report measures of each map beside the statistics of the suite."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..stats import Statistic, blind_spots, peak_counts
from .sets import channels_of

HIGH_PEAKS = "high peaks"
_SIGMAS = 4.0  # of the true pixels: a peak above is high


def per_map_statistics(truth: Tensor, side_deg: float) -> dict[str, Statistic]:
    """:func:`lensnb.stats.blind_spots`, and the number of peaks above 4σ of the true maps.

    Args:
        truth: true maps, κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``. They set the
            threshold of the peaks, of each channel, and nothing else.
        side_deg: side of the field, degrees.

    Returns:
        Statistics by name.
    """
    found = blind_spots(truth, side_deg)
    above = tuple(thresholds(truth, _SIGMAS))
    found[HIGH_PEAKS] = Statistic(
        HIGH_PEAKS,
        partial(_high_peaks, above=above),
        np.zeros(1),
        "map",
        "peaks above 4σ of a map",
        n=truth.shape[-1],
        channels=len(above),
        entries=("peaks above 4σ",),
    )
    return found


def thresholds(truth: Tensor, sigmas: float) -> list[float]:
    """κ at so many standard deviations of the true pixels above their mean, of each channel."""
    found = [channel.mean() + sigmas * channel.std() for channel in channels_of(truth)]
    return [float(value) for value in found]


def _high_peaks(maps: Tensor, above: tuple[float, ...]) -> Tensor:
    """Peaks above the threshold of each channel, counted together, shape ``(maps, 1)``."""
    channels = maps.unbind(-3) if len(above) > 1 else [maps]
    counts = [
        peak_counts(channel, [threshold, math.inf]) for channel, threshold in zip(channels, above)
    ]
    return torch.stack(counts).sum(0)


def bin_name(statistic: Statistic, index: int) -> str:
    """One bin of a statistic in words, for a sentence."""
    if statistic.entries:
        name = statistic.entries[index]
    else:
        name = f"{statistic.x_label} ≈ {statistic.x[index]:.4g}"
    for part, bins in statistic.parts.items():
        if part and bins.start <= index < bins.stop:
            return f"{part}, {name}"
    return name
