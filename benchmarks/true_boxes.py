"""The vectors of all true boxes, and comparisons of some of these boxes with all others.

Vectors come from the file that is shipped (``lensnb.compare.sample_vectors``), if it has the
numbers of every row. Otherwise the maps of the sample are measured: 96 boxes, half a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from weakref import proxy

import numpy as np
import torch
from torch import Tensor

from lensnb.compare import QUANTITIES, Estimate, Verdict
from lensnb.compare.comparison import Comparison
from lensnb.compare.cosmology_responses import Responses, known_responses
from lensnb.compare.per_map import per_map_statistics
from lensnb.compare.quantities import Quantity
from lensnb.compare.sample_vectors import as_stored, load_vectors
from lensnb.compare.sets import BOTH, NULL, TRUTH, FiniteMaps
from lensnb.compare.verdict import judge_joint
from lensnb.data import load_sample
from lensnb.ensemble import Ensemble, measure
from lensnb.files import atomic_write
from lensnb.stats import suite

GENERATOR = "generator"
_NEED_MAPS = {"classifier on maps", "nearest training map", "copies of training maps"}
# No number was given to true maps.
_NEED_GIVEN = {"slope on what was given, worst", "scatter about what was given, worst"}
ROWS: dict[str, Quantity] = {
    one.name: one for one in QUANTITIES if one.name not in _NEED_MAPS | _NEED_GIVEN
}

Vectors = dict[str, Ensemble]


@dataclass(frozen=True)
class Sample:
    """The shipped maps, and what follows from those of the truth."""

    maps: Tensor
    simulation: np.ndarray
    truth: FiniteMaps
    side_deg: float

    @cached_property
    def suite(self) -> dict:
        return suite(self.truth.maps, self.side_deg)

    @cached_property
    def per_map(self) -> dict:
        return per_map_statistics(self.truth.maps, self.side_deg)

    @cached_property
    def responses(self) -> Responses:
        return known_responses(None, self.suite, self.truth.maps, self.side_deg)

    def vectors(self, maps: Tensor) -> Vectors:
        """All numbers of all rows, of maps that stand for the shipped ones, in their order."""
        return measure(self.suite | self.per_map, maps, self.simulation)


@lru_cache(maxsize=1)
def sample() -> Sample:
    """The shipped maps of all three sets."""
    sets = [load_sample(name) for name in ("truth", "null", "train")]
    maps = np.concatenate([np.asarray(one.maps, np.float32) for one in sets])
    simulation = np.concatenate([one.simulation for one in sets])
    truth = FiniteMaps(sets[0].tensor(), sets[0].simulation, 0)
    return Sample(torch.from_numpy(maps), simulation, truth, sets[0].side_deg)


@lru_cache(maxsize=1)
def true_vectors(cache: Path) -> Vectors:
    """The vectors of all true boxes, by statistic.

    Args:
        cache: folder of vectors that had to be measured.
    """
    stored = _stored()
    if stored:
        return stored
    return kept("true", cache, lambda: sample().maps)


def kept(name: str, cache: Path, maps) -> Vectors:
    """Vectors from ``cache``; if they are not there, ``maps()`` are measured and kept."""
    file = cache / f"{name}.npz"
    if not file.exists():
        found = sample().vectors(maps())
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as out:
            np.savez(out, **{key: one.vectors for key, one in found.items()})
    with np.load(file) as arrays:
        found = {key: Ensemble(arrays[key], sample().simulation) for key in arrays.files}
    if _stored():
        found = as_stored(found)
    return found


@lru_cache(maxsize=1)
def _stored() -> Vectors | None:
    """Truth and null of the shipped file; None if it lacks the numbers of a row."""
    try:
        sets = [load_vectors(name) for name in ("truth", "null")]
    except FileNotFoundError:
        return None
    needed = [*sample().suite, *sample().per_map]
    if not set(needed) <= set(sets[0]):
        return None
    return {name: joined([one[name] for one in sets]) for name in needed}


def joined(ensembles: Iterable[Ensemble]) -> Ensemble:
    """The maps of several ensembles, one after the other."""
    ensembles = list(ensembles)
    vectors = np.concatenate([one.vectors for one in ensembles])
    return Ensemble(vectors, np.concatenate([one.simulation for one in ensembles]))


def of_boxes(vectors: Mapping[str, Ensemble], boxes: np.ndarray) -> Vectors:
    """The vectors of the maps of some boxes."""
    inside = np.isin(next(iter(vectors.values())).simulation, boxes)
    return {
        name: Ensemble(one.vectors[inside], one.simulation[inside])
        for name, one in vectors.items()
    }


def divided(boxes: np.ndarray, generator: int, seed: int) -> tuple[np.ndarray, ...]:
    """So many boxes for the generator, and half of the others each for truth and null."""
    drawn = np.random.default_rng(seed).permutation(boxes)
    others = drawn[generator:]
    return drawn[:generator], others[::2], others[1::2]


class Partition(Comparison):
    """Some vectors beside those of true boxes, measured as in a report without maps.

    Args:
        generator, truth, null: vectors of each.
        seed: of the bootstrap and of the classifiers.
        rounds: bootstrap rounds.
    """

    def __init__(
        self, generator: Vectors, truth: Vectors, null: Vectors, seed: int, rounds: int = 200
    ):
        both = {name: joined([truth[name], null[name]]) for name in truth}
        by_set = {TRUTH: truth, NULL: null, BOTH: both, GENERATOR: generator}
        statistics = sample().suite
        ensembles = {name: {key: one[key] for key in statistics} for name, one in by_set.items()}
        # The maps of the truth only set the thresholds.
        super().__init__(
            sets={TRUTH: sample().truth},
            ensembles=ensembles,
            per_map=by_set,
            responses=sample().responses,
            look_at_maps=False,
            rounds=rounds,
            seed=seed,
        )

    @property
    def judged(self) -> list[str]:
        return [GENERATOR]

    @cached_property
    def verdicts(self) -> dict[str, Mapping[str, Verdict]]:
        # A weak reference, since a cycle would keep the vectors of every partition in memory.
        return {GENERATOR: _Verdicts(proxy(self))}

    def with_vectors(self, changed: Vectors) -> Partition:
        """The same boxes, where the generator has other vectors of some statistics."""
        other = copy(self)
        for what in ("joint", "verdicts", "inferred"):  # made of the old vectors
            other.__dict__.pop(what, None)
        generator = self.per_map[GENERATOR] | changed
        other.per_map = self.per_map | {GENERATOR: generator}
        own = {name: generator[name] for name in sample().suite}
        other.ensembles = self.ensembles | {GENERATOR: own}
        return other

    def estimate(self, row: str) -> Estimate:
        """One number of the report."""
        quantity = ROWS[row]
        if quantity.of is not None:
            return quantity.of(self.verdicts[GENERATOR])
        return quantity.measure(self)[GENERATOR]


class _Verdicts(dict):
    """The verdicts of a partition by statistic, each when it is first asked for."""

    def __init__(self, partition: Partition):
        super().__init__()
        self.partition = partition

    def __missing__(self, statistic: str) -> Verdict:
        whole = self.partition
        responses = whole.responses.values
        if statistic == "joint":
            joint = whole.joint
            response = np.concatenate(list(responses.values()))
        else:
            joint = {name: one[statistic] for name, one in whole.ensembles.items()}
            response = responses[statistic]
        sets = {name: joint[name] for name in (GENERATOR, BOTH)}
        part = {"part": slice(0, len(response))}
        found = judge_joint(
            sets,
            part,
            [(GENERATOR, BOTH)],
            {BOTH: whole.eigenvectors},
            {"part": response},
            whole.rounds,
            whole.seed,
        )
        self[statistic] = found[BOTH][GENERATOR]["part"]
        return self[statistic]
