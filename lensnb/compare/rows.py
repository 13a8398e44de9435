"""The rows of the fidelity report, items 1 to 8. To add a row, add a :class:`Quantity` here.

A row that compares mean, scatter or covariance of a statistic takes its number from a verdict
(``of``). Every other row measures its own (``measure``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .estimate import Estimate
from .quantities import Quantity
from .sets import TRUTH
from .tails import high_peaks, pdf_end
from .twosample import accuracies_on_maps, accuracy_on_statistics

if TYPE_CHECKING:
    from .comparison import Comparison


def _peaks(comparison: Comparison) -> dict[str, Estimate]:
    return high_peaks(comparison.sets, comparison.judged, comparison.rounds, comparison.seed)


def _pdf_low_end(comparison: Comparison) -> dict[str, Estimate]:
    return _pdf_end(comparison, 0)


def _pdf_high_end(comparison: Comparison) -> dict[str, Estimate]:
    return _pdf_end(comparison, -1)


def _pdf_end(comparison: Comparison, end: int) -> dict[str, Estimate]:
    density = comparison.ensembles[TRUTH]["pdf"].mean()
    channels = len(comparison.truth.channels)
    verdicts = comparison.verdicts
    return {
        name: pdf_end(verdicts[name]["pdf"], density, channels, end) for name in comparison.judged
    }


def _classifier_on_statistics(comparison: Comparison) -> dict[str, Estimate]:
    joint, rounds, seed = comparison.joint, comparison.rounds, comparison.seed
    return {
        name: accuracy_on_statistics(joint[name], joint[TRUTH], rounds, seed)
        for name in comparison.judged
    }


def _classifier_on_maps(comparison: Comparison) -> dict[str, Estimate]:
    if not comparison.look_at_maps:
        return {}
    sets = {}
    for name in comparison.judged:
        one = comparison.sets[name]
        sets[name] = one.maps, one.simulation
    truth = comparison.truth
    return accuracies_on_maps(
        sets, truth.maps, truth.simulation, comparison.rounds, comparison.seed
    )


def _bins_rejected(comparison: Comparison) -> dict[str, Estimate]:
    return {name: share for name, (_, share) in comparison.ks.items()}


def _nearest_training_map(comparison: Comparison) -> dict[str, Estimate]:
    return {name: ratio for name, (ratio, _) in comparison.copies.items()}


def _share_of_near_copies(comparison: Comparison) -> dict[str, Estimate]:
    return {name: share for name, (_, share) in comparison.copies.items()}


QUANTITIES = [
    Quantity(
        item=1,
        name="C_ℓ mean",
        expected="1",
        low="too little power: the maps are too smooth or too faint",
        high="too much power: structure that the sky does not have",
        of=lambda verdicts: verdicts["power"].mean,
    ),
    Quantity(
        item=1,
        name="mean shift of all bins [σ]",
        expected="0",
        high="the mean of some statistic is off, in units of the scatter of one map",
        of=lambda verdicts: verdicts["joint"].shift,
    ),
    Quantity(
        item=2,
        name="C_ℓ scatter",
        expected="1",
        low="the maps are too much alike: their spectra differ too little from map to map",
        high="the maps differ too much: some are extreme",
        of=lambda verdicts: verdicts["power"].scatter,
    ),
    Quantity(
        item=2,
        name="scatter of all bins",
        expected="1",
        low="the maps are too much alike in their statistics",
        high="the maps differ too much in their statistics",
        of=lambda verdicts: verdicts["joint"].scatter,
    ),
    Quantity(
        item=3,
        name="C_ℓ slope",
        expected="1",
        low="scales fluctuate too independently: the off-diagonal covariance of the spectrum is "
        "too weak",
        high="scales fluctuate together too much: the off-diagonal covariance of the spectrum is "
        "too strong",
        of=lambda verdicts: verdicts["power"].slope,
    ),
    Quantity(
        item=3,
        name="slope of all bins",
        expected="1",
        low="bins fluctuate too independently: off-diagonal covariance is lost",
        high="bins fluctuate together too much",
        of=lambda verdicts: verdicts["joint"].slope,
    ),
    Quantity(
        item=4,
        name="smallest eigenvalue",
        expected="1",
        low="some combination of bins hardly varies from map to map",
        of=lambda verdicts: verdicts["joint"].smallest,
    ),
    Quantity(
        item=4,
        name="largest eigenvalue",
        expected="1",
        high="some combination of bins varies far too much",
        of=lambda verdicts: verdicts["joint"].largest,
    ),
    Quantity(
        item=4,
        name="divergence [nats]",
        expected="0",
        high="the covariance matrix as a whole is another one",
        of=lambda verdicts: verdicts["joint"].divergence,
    ),
    Quantity(
        item=4,
        name="contour area",
        expected="1",
        low="parameter contours would come out too small: false confidence",
        high="parameter contours would come out too large: information lost",
        of=lambda verdicts: verdicts["joint"].area,
    ),
    Quantity(
        item=5,
        name="peaks > 4σ",
        expected="1",
        low="too few massive clusters",
        high="too many massive clusters",
        measure=_peaks,
    ),
    Quantity(
        item=5,
        name="PDF low end",
        expected="1",
        low="the emptiest voids are missing",
        high="pixels emptier than the sky has them",
        measure=_pdf_low_end,
    ),
    Quantity(
        item=5,
        name="PDF high end",
        expected="1",
        low="the brightest pixels are missing",
        high="too many bright pixels",
        measure=_pdf_high_end,
    ),
    Quantity(
        item=6,
        name="classifier on statistics",
        expected="0.5",
        high="a classifier tells the maps from true ones by their statistics",
        measure=_classifier_on_statistics,
    ),
    Quantity(
        item=6,
        name="classifier on maps",
        expected="0.5",
        high="a classifier tells the maps from true ones by their pixels",
        measure=_classifier_on_maps,
    ),
    Quantity(
        item=6,
        name="bins with KS p < 0.05",
        expected="0.05",
        high="bin by bin, the distribution over maps is another one",
        measure=_bins_rejected,
    ),
    Quantity(
        item=7,
        name="nearest training map",
        expected="1",
        low="the maps lie nearer to training maps than other true maps do: "
        "copies, or parts of them",
        measure=_nearest_training_map,
    ),
    Quantity(
        item=7,
        name="share of near copies",
        expected="0.01",
        high="more maps than by chance are near copies of training maps",
        measure=_share_of_near_copies,
    ),
    Quantity(
        item=8,
        name="effective maps",
        expected="",
        high="the covariance is worth fewer independent true maps than the null's",
        of=lambda verdicts: verdicts["joint"].inverse_maps,
        inverse=True,
    ),
]
