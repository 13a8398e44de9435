"""The rows of the fidelity report, items 1 to 8. To add a row, add a :class:`Quantity` here.

A row that compares mean, scatter or covariance of a statistic takes its number from a verdict
(``of``). Every other row measures its own (``measure``). The margins are 5 % for means and
scatters and 10 % for correlation slopes and contour areas: what forecasts of a survey can bear.
Beside every average over bins stands the worst bin, since an average hides bins that are off to
both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from .classifiers import ALL_MAPS, on_all_statistics, on_maps, on_statistics
from .estimate import Estimate, Share, WorstBin
from .leakage import Originals
from .map_copies import OriginalMaps, copies_in_maps
from .per_map import HIGH_PEAKS, thresholds
from .quantities import Quantity
from .ratios import difference_of_quotients, ratio_of_means, ratio_of_scatters, undefined
from .realised import MARGIN, residual_scatters, slopes
from .sets import BOTH, TRAIN, TRUTH
from .tails import extreme_maps, high_peaks, pdf_end
from .verdict import Verdict

if TYPE_CHECKING:
    from .comparison import Comparison

_MARGIN = 0.05  # of means and scatters
_COVARIANCE_MARGIN = 0.1  # of correlation slopes, contour areas, variances along a direction
_COPIES_MARGIN = 0.01  # share of the maps; a single copy is off
_SEAM_MARGIN = 0.02  # of a correlation coefficient that is nearly zero


def _worst(statistic: str, numbers: str, expected: float = 1.0) -> Callable:
    """Gets the worst bin of one number of the verdict on one statistic."""

    def of(verdicts: Mapping[str, Verdict]) -> Estimate:
        return WorstBin(getattr(verdicts[statistic], numbers), expected, _MARGIN)

    return of


def _of_each_map(name: str, compare: Callable) -> Callable:
    """Measures a row that compares one of the numbers of each map, of two sets."""

    def measure(comparison: Comparison) -> dict[str, Estimate]:
        found = {}
        for judged in comparison.judged:
            reference = comparison.reference_of(judged)
            ensembles = comparison.per_map
            found[judged] = compare(ensembles[judged][name], ensembles[reference][name])
        return found

    return measure


def _worst_ratio(sample, truth) -> Estimate:
    return WorstBin(ratio_of_means(sample, truth), 1, _MARGIN)


def _worst_scatter(sample, truth) -> Estimate:
    return WorstBin(ratio_of_scatters(sample, truth), 1, _MARGIN)


def _seam(sample, truth) -> Estimate:
    bins = np.arange(sample.vectors.shape[1])
    found = difference_of_quotients(sample, truth, above=bins[::2], below=bins[1::2])
    if not found.error > 1e-9:  # a mask hides the edges of all maps: nothing was measured
        return undefined()
    return found


def _extremes(sigmas: float) -> Callable:
    def measure(comparison: Comparison) -> dict[str, Estimate]:
        above = thresholds(comparison.truth.maps, sigmas)
        compare = partial(extreme_maps, above=above)
        return _of_each_map("extremes", compare)(comparison)

    return measure


def _pdf_end(end: int) -> Callable:
    def measure(comparison: Comparison) -> dict[str, Estimate]:
        density = comparison.ensembles[TRUTH]["pdf"].mean()
        channels = len(comparison.truth.channels)
        verdicts = comparison.verdicts
        return {
            name: pdf_end(verdicts[name]["pdf"], density, channels, end)
            for name in comparison.judged
        }

    return measure


def _parameter_bias(comparison: Comparison) -> dict[str, Estimate]:
    names = comparison.responses.symbols
    return {
        judged: WorstBin(found.bias, 0, _MARGIN, names=names)
        for judged, found in comparison.inferred.items()
        if found is not None
    }


def _coverage(comparison: Comparison) -> dict[str, Estimate]:
    return {
        judged: found.coverage
        for judged, found in comparison.inferred.items()
        if found is not None
    }


def _nearest_training_map(comparison: Comparison) -> dict[str, Estimate]:
    return {name: ratio for name, (ratio, _) in comparison.copies.items()}


def _copies_of_training_maps(comparison: Comparison) -> dict[str, Estimate]:
    if not comparison.neighbours:
        return {}
    train = comparison.sets[TRAIN]
    originals = OriginalMaps(train.clean, train.simulation)
    found = {}
    for name in comparison.judged:
        one = originals.copies(comparison.sets[name].clean)
        found[name] = Share(one.count, one.share, one.upper)
    return found


def _copies_of_true_maps(comparison: Comparison) -> dict[str, Estimate]:
    if comparison.is_observed:
        return _copies_before_the_survey(comparison)
    joint, found = comparison.joint, {}
    originals = {name: Originals(joint[name]) for name in (TRUTH, BOTH)}
    for name in comparison.judged:
        one = originals[comparison.reference_of(name)].copies(joint[name])
        found[name] = Share(one.count, one.share, one.upper)
    return found


def _copies_before_the_survey(comparison: Comparison) -> dict[str, Estimate]:
    """Searched in the maps, since noise hides a copy from the statistics."""
    if not comparison.look_at_maps:
        return {}
    found = {}
    for name in comparison.judged:
        true = [comparison.sets[one] for one in comparison.true_sets_of(name)]
        maps = torch.cat([one.clean for one in true])
        simulation = np.concatenate([one.simulation for one in true])
        one = copies_in_maps(comparison.sets[name].clean, maps, simulation)
        found[name] = Share(one.count, one.share, one.upper)
    return found


_SMOOTH = "too little power: the maps are too smooth or too faint"
_ROUGH = "too much power: structure that the sky does not have"
_ALIKE = "the maps are too much alike: they differ too little from map to map"
_UNLIKE = "the maps differ too much: some are extreme"
_INDEPENDENT = "bins fluctuate too independently: off-diagonal covariance is lost"
_TOGETHER = "bins fluctuate together too much"
_UNEVEN = "maps of the sky look the same everywhere and in every direction, and these do not"
_LEAK = "the classifier is misled because maps of both sets are the same: copies of true maps"

QUANTITIES = [
    Quantity(
        item=1,
        name="C_ℓ mean",
        expected=1,
        margin=_MARGIN,
        low=_SMOOTH,
        high=_ROUGH,
        of=lambda verdicts: verdicts["power"].mean,
    ),
    Quantity(
        item=1,
        name="C_ℓ mean, worst bin",
        part="power",
        expected=1,
        margin=_MARGIN,
        low=_SMOOTH,
        high=_ROUGH,
        of=_worst("power", "mean_ratio"),
    ),
    Quantity(
        item=1,
        name="mean of all bins, worst [σ]",
        part="joint",
        expected=0,
        margin=_MARGIN,
        low="the mean of some statistic is too low, in units of the scatter of one map",
        high="the mean of some statistic is too high, in units of the scatter of one map",
        of=_worst("joint", "mean_shift", 0),
    ),
    Quantity(
        item=1,
        name="variance by place, worst",
        part="place",
        expected=1,
        margin=_MARGIN,
        low=_UNEVEN,
        high=_UNEVEN,
        measure=_of_each_map("place", _worst_ratio),
    ),
    Quantity(
        item=1,
        name="power by direction, worst",
        part="direction",
        expected=1,
        margin=_MARGIN,
        low=_UNEVEN,
        high=_UNEVEN,
        measure=_of_each_map("direction", _worst_ratio),
    ),
    Quantity(
        item=2,
        name="C_ℓ scatter",
        expected=1,
        margin=_MARGIN,
        low=_ALIKE,
        high=_UNLIKE,
        of=lambda verdicts: verdicts["power"].scatter,
    ),
    Quantity(
        item=2,
        name="C_ℓ scatter, worst bin",
        part="power",
        expected=1,
        margin=_MARGIN,
        low=_ALIKE,
        high=_UNLIKE,
        of=_worst("power", "scatter_ratio"),
    ),
    Quantity(
        item=2,
        name="scatter of all bins",
        expected=1,
        margin=_MARGIN,
        low=_ALIKE,
        high=_UNLIKE,
        of=lambda verdicts: verdicts["joint"].scatter,
    ),
    Quantity(
        item=2,
        name="scatter of all bins, worst",
        part="joint",
        expected=1,
        margin=_MARGIN,
        low=_ALIKE,
        high=_UNLIKE,
        of=_worst("joint", "scatter_ratio"),
    ),
    Quantity(
        item=2,
        name="scatter of the mean of a map",
        part="map mean",
        expected=1,
        margin=_MARGIN,
        low="the mean of a map varies too little: the largest scales are too weak",
        high="the mean of a map varies too much",
        measure=_of_each_map("map mean", _worst_scatter),
    ),
    Quantity(
        item=3,
        name="C_ℓ slope",
        expected=1,
        margin=_COVARIANCE_MARGIN,
        low="scales fluctuate too independently: the off-diagonal covariance of the spectrum is "
        "too weak",
        high="scales fluctuate together too much: the off-diagonal covariance of the spectrum is "
        "too strong",
        of=lambda verdicts: verdicts["power"].slope,
    ),
    Quantity(
        item=3,
        name="slope of all bins",
        expected=1,
        margin=_COVARIANCE_MARGIN,
        low=_INDEPENDENT,
        high=_TOGETHER,
        of=lambda verdicts: verdicts["joint"].slope,
    ),
    Quantity(
        item=3,
        name="seam: correlation of opposite edges",
        expected=0,
        margin=_SEAM_MARGIN,
        low="opposite edges are anticorrelated",
        high="opposite edges are alike: the maps wrap round, as no cut-out of the sky does",
        measure=_of_each_map("seam", _seam),
    ),
    Quantity(
        item=3,
        name="slope on what was given, worst",
        expected=np.nan,  # the model knows it
        margin=MARGIN,
        low="the maps follow what their generator was given too weakly",
        high="the maps follow what their generator was given too strongly",
        measure=slopes,
    ),
    Quantity(
        item=3,
        name="scatter about what was given, worst",
        expected=np.nan,
        margin=MARGIN,
        high="the maps scatter too much about what their generator was given: it hardly obeys",
        measure=residual_scatters,
    ),
    Quantity(
        item=4,
        name="narrowest direction",
        expected=1,
        margin=_COVARIANCE_MARGIN,
        low="some combination of bins hardly varies from map to map",
        of=lambda verdicts: verdicts["joint"].narrowest,
    ),
    Quantity(
        item=4,
        name="widest direction",
        expected=1,
        margin=_COVARIANCE_MARGIN,
        high="some combination of bins varies far too much",
        of=lambda verdicts: verdicts["joint"].widest,
    ),
    Quantity(
        item=4,
        name="contour area",
        expected=1,
        margin=_COVARIANCE_MARGIN,
        low="parameter contours would come out too small: false confidence",
        high="parameter contours would come out too large: information lost",
        of=lambda verdicts: verdicts["joint"].area,
    ),
    Quantity(
        item=4,
        name="coverage of 68 % regions",
        expected=np.nan,
        margin=_MARGIN,
        low="parameter regions would miss the truth too often: false confidence",
        high="parameter regions would be too wide: information lost",
        measure=_coverage,
    ),
    Quantity(
        item=4,
        name="bias of parameters, worst [σ]",
        expected=0,
        margin=_MARGIN,
        low="the mean of the maps moves a parameter, in standard errors of one map",
        high="the mean of the maps moves a parameter, in standard errors of one map",
        measure=_parameter_bias,
    ),
    Quantity(
        item=5,
        name="peaks > 4σ",
        expected=1,
        margin=_MARGIN,
        low="too few massive clusters",
        high="too many massive clusters",
        measure=_of_each_map(HIGH_PEAKS, high_peaks),
    ),
    Quantity(
        item=5,
        name="maps with a pixel > 10σ",
        expected=1,
        low="the brightest clusters are missing",
        high="too many maps have extreme pixels",
        measure=_extremes(10.0),
    ),
    Quantity(
        item=5,
        name="maps with a pixel > 12σ",
        expected=1,
        low="the brightest clusters are missing",
        high="too many maps have extreme pixels",
        measure=_extremes(12.0),
    ),
    Quantity(
        item=5,
        name="PDF low end",
        expected=1,
        margin=_MARGIN,
        low="the emptiest voids are missing",
        high="pixels emptier than the sky has them",
        measure=_pdf_end(0),
    ),
    Quantity(
        item=5,
        name="PDF high end",
        expected=1,
        margin=_MARGIN,
        low="the brightest pixels are missing",
        high="too many bright pixels",
        measure=_pdf_end(-1),
    ),
    Quantity(
        item=6,
        name="classifier on statistics",
        expected=0.5,
        margin=_MARGIN,
        low=_LEAK,
        high="a classifier distinguishes the maps from true ones by their statistics",
        measure=on_statistics,
    ),
    Quantity(
        item=6,
        name=ALL_MAPS,
        expected=0.5,
        margin=_MARGIN,
        low=_LEAK,
        high="a classifier that sees many maps distinguishes them from true ones",
        measure=on_all_statistics,
    ),
    Quantity(
        item=6,
        name="classifier on maps",
        expected=0.5,
        margin=_MARGIN,
        low=_LEAK,
        high="a classifier distinguishes the maps from true ones by their pixels",
        measure=on_maps,
    ),
    Quantity(
        item=7,
        name="nearest training map",
        expected=1,
        margin=_MARGIN,
        low="the maps lie nearer to training maps than other true maps do: "
        "copies, or parts of them",
        measure=_nearest_training_map,
    ),
    Quantity(
        item=7,
        name="copies of training maps",
        expected=0,
        margin=_COPIES_MARGIN,
        high="maps are copies of training maps, perhaps turned, mirrored or shifted",
        measure=_copies_of_training_maps,
    ),
    Quantity(
        item=7,
        name="copies of true maps",
        expected=0,
        margin=_COPIES_MARGIN,
        high="maps have the statistics of single true maps: the generator has seen the truth",
        measure=_copies_of_true_maps,
    ),
    Quantity(
        item=8,
        name="effective maps",
        expected=np.nan,
        margin=np.nan,
        high="the covariance is worth fewer independent true maps than there are in the set",
        of=lambda verdicts: verdicts["joint"].inverse_maps,
        inverse=True,
    ),
]
