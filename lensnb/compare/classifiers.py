"""The classifiers of the report, and how many maps they use.

The more maps a classifier sees, the more differences it finds, so an accuracy has a meaning only
with the numbers of maps. The report quotes it for at most 1,024 true and 4,096 generated maps.
Where there are more vectors, it quotes the accuracy on statistics once more, for at most 8,192
each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from ..ensemble import Ensemble
from .estimate import Estimate
from .sets import TRUTH, FiniteMaps
from .twosample import accuracies_on_maps, accuracy_on_statistics

if TYPE_CHECKING:
    from .comparison import Comparison

ALL_MAPS = "classifier on statistics, all maps"  # the row


class Sizes(NamedTuple):
    """How many maps a classifier sees at most, of the truth and of the set to judge."""

    truth: int
    sample: int


QUOTED = Sizes(1024, 4096)
MOST = Sizes(8192, 8192)


def on_statistics(comparison: Comparison) -> dict[str, Estimate]:
    """The accuracy on the statistics of at most 1,024 true maps and 4,096 of each set."""
    return _accuracies(comparison, QUOTED)


def on_all_statistics(comparison: Comparison) -> dict[str, Estimate]:
    """The same for at most 8,192 each; only if some set has more maps than are quoted."""
    joint = comparison.joint
    judged = max(len(joint[name]) for name in comparison.judged)
    if len(joint[TRUTH]) <= QUOTED.truth and judged <= QUOTED.sample:
        return {}
    return _accuracies(comparison, MOST)


def _accuracies(comparison: Comparison, sizes: Sizes) -> dict[str, Estimate]:
    joint, rounds, seed = comparison.joint, comparison.rounds, comparison.seed
    truth = spread(joint[TRUTH], sizes.truth)
    return {
        name: accuracy_on_statistics(spread(joint[name], sizes.sample), truth, rounds, seed)
        for name in comparison.judged
    }


def on_maps(comparison: Comparison) -> dict[str, Estimate]:
    """The accuracy on the pixels of at most 1,024 true maps and 4,096 of each set."""
    if not comparison.look_at_maps:
        return {}
    sets = {}
    for name in comparison.judged:
        sets[name] = _some_maps(comparison.sets[name], QUOTED.sample)
    maps, simulation = _some_maps(comparison.truth, QUOTED.truth)
    return accuracies_on_maps(sets, maps, simulation, comparison.rounds, comparison.seed)


def _some_maps(one: FiniteMaps, most: int) -> tuple[Tensor, np.ndarray]:
    chosen = spread_indices(one.simulation, most)
    return one.maps[chosen], one.simulation[chosen]


def spread(ensemble: Ensemble, most: int) -> Ensemble:
    """The vectors of at most so many maps, spread evenly over the simulations."""
    if len(ensemble) <= most:
        return ensemble
    chosen = spread_indices(ensemble.simulation, most)
    return Ensemble(ensemble.vectors[chosen], ensemble.simulation[chosen])


def spread_indices(simulation: np.ndarray, most: int) -> np.ndarray:
    """The indices of at most so many maps, spread evenly over the simulations, in their order.

    Args:
        simulation: of each map, shape ``(maps,)``.
        most: how many maps at most.
    """
    count = len(simulation)
    if count <= most:
        return np.arange(count)
    by_simulation = np.argsort(simulation, kind="stable")
    places = np.arange(most) * count // most
    return np.sort(by_simulation[places])


def sizes_in_words(truth: int, judged: Iterable[int], all_maps: bool) -> str:
    """How many maps the classifiers use, as a sentence.

    Args:
        truth: true maps.
        judged: maps of each judged set.
        all_maps: the report also has the row of all maps.
    """
    judged = list(judged)
    text = f"Classifiers use {_used(truth, judged, QUOTED)}"
    if all_maps:
        text += f"; with all maps, {_used(truth, judged, MOST)}"
    return text + "."


def _used(truth: int, judged: list[int], sizes: Sizes) -> str:
    used = sorted({min(count, sizes.sample) for count in judged})
    of_sets = f"{used[0]:,}"
    if len(used) > 1:
        of_sets += f" to {used[-1]:,}"
    return f"{min(truth, sizes.truth):,} true maps and {of_sets} of each set"
