"""Compare generated maps with true maps: sets go in, the fidelity report comes out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor
from tqdm import tqdm

from .. import stats
from ..data import MapSet
from ..ensemble import Ensemble, measured
from ..given import Realised
from .contours import Contour, contour
from .cosmology_responses import Responses, kappa_responses, known_responses
from .cost import Cost
from .covariance import eigenvectors
from .estimate import Estimate
from .inference import Inferred, infer
from .ks import ks_p
from .memorisation import Nearest, copies, nearest
from .origin import Origin, example_maps
from .per_map import per_map_statistics
from .realised import checked_given, of_maps
from .report import FidelityReport
from .rows import QUANTITIES
from .sample_vectors import as_stored, vectors_of, why_not_stored
from .sets import (
    BOTH,
    NULL,
    TRAIN,
    TRUTH,
    UNDEFINED,
    FiniteMaps,
    gather_sets,
    pooled,
    refuse_few,
)
from .survey import ShapeNoise, Survey
from .verdict import Verdict, judge_joint, parts_of


@dataclass
class Comparison:
    """What the rows of the report measure from.

    What several rows need is measured once, when it is first asked for.

    Attributes:
        sets: the maps by set: the truth, the null, the training set if given, the generators.
        ensembles: ``ensembles[set][statistic]``; also of :data:`~lensnb.compare.sets.BOTH`, truth
            and null together.
        per_map: the same of :func:`~lensnb.compare.per_map.per_map_statistics`.
        responses: of the mean vectors to parameters.
        look_at_maps: measure also what needs the maps themselves.
        rounds: bootstrap rounds.
        seed: of the bootstrap and of the classifiers.
        given: what the maps of a set were given, and what they realise, by set.
    """

    sets: Mapping[str, FiniteMaps]
    ensembles: Mapping[str, Mapping[str, Ensemble]]
    per_map: Mapping[str, Mapping[str, Ensemble]]
    responses: Responses
    look_at_maps: bool
    rounds: int
    seed: int
    given: Mapping[str, Realised] = field(default_factory=dict)

    @property
    def truth(self) -> FiniteMaps:
        """The true maps."""
        return self.sets[TRUTH]

    @property
    def judged(self) -> list[str]:
        """The sets to judge, the null first."""
        return [name for name in self.sets if name not in (TRUTH, TRAIN)]

    def reference_of(self, name: str) -> str:
        """The true maps that a set is compared with.

        Generators are compared with all true maps, truth and null together, so that no verdict
        depends on the luck of one set. The null is compared with the truth.
        """
        if name == NULL:
            return TRUTH
        return BOTH

    def true_sets_of(self, name: str) -> list[str]:
        """The sets that :meth:`reference_of` has."""
        if name == NULL:
            return [TRUTH]
        return [TRUTH, NULL]

    @property
    def is_observed(self) -> bool:
        """Whether a survey has changed the maps."""
        return self.truth.before_survey is not None

    @cached_property
    def joint(self) -> dict[str, Ensemble]:
        """The vectors of all statistics in a row, by set."""
        return {name: Ensemble.join(by.values()) for name, by in self.ensembles.items()}

    @cached_property
    def eigenvectors(self) -> int:
        """How many eigenvectors are compared with true maps."""
        return eigenvectors([self.joint[TRUTH], self.joint[NULL]])

    @cached_property
    def all_verdicts(self) -> dict[str, dict[str, dict[str, Verdict]]]:
        """``all_verdicts[reference][set][statistic]``, against true maps and the training set."""
        comparisons = [(name, self.reference_of(name)) for name in self.judged]
        most = {TRUTH: self.eigenvectors, BOTH: self.eigenvectors}
        if TRAIN in self.sets:
            comparisons += [(name, TRAIN) for name in self.judged]
            most[TRAIN] = eigenvectors([self.joint[TRAIN]])
        return judge_joint(
            self.joint,
            parts_of(self.ensembles[TRUTH]),
            comparisons,
            most,
            self.responses.values,
            self.rounds,
            self.seed,
        )

    @property
    def verdicts(self) -> dict[str, dict[str, Verdict]]:
        """``verdicts[set][statistic]`` against true maps."""
        found = self.all_verdicts
        return {name: found[self.reference_of(name)][name] for name in self.judged}

    @cached_property
    def inferred(self) -> dict[str, Inferred | None]:
        """What parameters are inferred from true maps with each set; None if that is too small."""
        found = {}
        for name in self.judged:
            truth = self.joint[self.reference_of(name)]
            found[name] = infer(
                self.joint[name], truth, self.eigenvectors, self.joint_responses, self.seed
            )
        return found

    @property
    def joint_responses(self) -> np.ndarray:
        """∂μ/∂θ of the joint vector, shape ``(bins, parameters)``."""
        return np.concatenate([self.responses.values[name] for name in self.ensembles[TRUTH]])

    @property
    def contours(self) -> dict[str, Contour]:
        """What an analysis with each set would draw, the truth first; without those too small."""
        found = {}
        for name in (TRUTH, *self.judged):
            sample, truth = self.joint[name], self.joint[BOTH]
            if name == TRUTH:
                sample = None
            elif name == NULL:
                truth = self.joint[TRUTH]
            found[name] = contour(
                sample, truth, self.eigenvectors, self.joint_responses, self.seed
            )
        return {name: one for name, one in found.items() if one is not None}

    @cached_property
    def ks(self) -> dict[str, np.ndarray]:
        """The Kolmogorov–Smirnov p of every bin, by set."""
        return {
            name: ks_p(self.joint[name], self.joint[self.reference_of(name)], self.seed)
            for name in self.judged
        }

    @cached_property
    def neighbours(self) -> dict[str, Nearest]:
        """The nearest training maps of the truth and of the judged sets; empty if not searched."""
        if not self.look_at_maps or TRAIN not in self.sets:
            return {}
        train = self.sets[TRAIN].clean
        return {name: nearest(self.sets[name].clean, train) for name in (TRUTH, *self.judged)}

    @cached_property
    def copies(self) -> dict[str, tuple[Estimate, Estimate]]:
        """Ratio of distances and share of near copies, by set; empty if not searched."""
        if not self.neighbours:
            return {}
        truth = self.neighbours[TRUTH]
        found = {}
        for name in self.judged:
            found[name] = copies(
                self.neighbours[name],
                truth,
                self.sets[name].simulation,
                self.truth.simulation,
                self.rounds,
                self.seed,
            )
        return found


def compare(
    truth: MapSet,
    null: MapSet,
    generated: Mapping[str, Tensor | MapSet],
    train: MapSet | None = None,
    statistics: Mapping[str, stats.Statistic] | None = None,
    *,
    costs: Mapping[str, Cost] | None = None,
    given: Mapping[str, Realised | Sequence] | None = None,
    responses: Responses | Mapping[str, np.ndarray] | None = None,
    look_at_maps: bool = True,
    rounds: int = 200,
    seed: int = 0,
    smooth: float = 0.0,
    noise: ShapeNoise | None = None,
    mask: Tensor | np.ndarray | None = None,
) -> FidelityReport:
    """Compare generated maps with true maps, and do the same with other true maps, the null.

    All maps are held in memory. Of sets that are too large, give a part: ``truth[:4096]``. Maps
    that cannot be compared are counted and left out (:mod:`lensnb.compare.sets`), and so is a
    generator of which fewer than two maps are left.

    A survey sees maps with noise, under a mask and smoothed. All sets get the same treatment, the
    training maps too, each with noise of its own (:mod:`lensnb.compare.survey`). Everything is
    then measured as the survey sees it, but for copies, which noise would hide: they are searched
    in the maps as they were given. Twice the memory is needed.

        compare(truth, null, maps, train, smooth=2.0, noise=ShapeNoise(30), mask=observed)

    Args:
        truth: true maps, with their simulations, shape ``(maps, n, n)`` or
            ``(maps, channels, n, n)``.
        null: other true maps, from other simulations.
        generated: κ-maps by name of their generator, of the same shape as the truth but for their
            number. Every map of an array counts as independent. Maps of one simulation of a
            :class:`~lensnb.data.MapSet` do not.
        train: the training maps. A number that agrees with them but not with the truth is off by
            sample variance. Without them memorisation is not tested.
        statistics: which statistics, with their bins; by default :func:`lensnb.stats.suite` of the
            truth. ``power`` and ``pdf`` must be among them.
        costs: what the generators cost, by name, for the last rows of the table.
        given: by name, the numbers that the maps of a conditional generator were given and those
            that they realise, two arrays ``(maps, numbers)``. With expected values of their
            regression it is a :class:`~lensnb.given.Realised`, such as
            ``model.realised(maps, generator)`` of a diffusion model gives.
        responses: ∂μ/∂θ of the mean of each statistic to the parameters that are inferred, by
            statistic, shape ``(bins, parameters)``. By default to Ω_m and σ₈, where they are known
            for these statistics (those of the sample), and otherwise to the amplitude and the tilt
            of κ (:func:`lensnb.compare.amplitude_and_tilt`), which is the default of a survey.
            Given ones must be those of what the survey sees.
        look_at_maps: also measure what needs the maps themselves, the slowest part: the classifier
            on maps and the search for copies.
        rounds: bootstrap rounds.
        seed: of the bootstrap, of the classifiers and of the noise.
        smooth: standard deviation of a Gaussian that smooths all maps, arcminutes.
        noise: shape noise that is added to all maps: the galaxies of the survey.
        mask: True where the sky was observed, bool, shape ``(n, n)``. Hidden pixels may be NaN;
            statistics see zeros there.

    Raises:
        TypeError: the noise is not a :class:`~lensnb.compare.ShapeNoise`.
        ValueError: the true sets share simulations, differ in their field, or one has fewer than
            two simulations. Two sets state different skies (:mod:`lensnb.data.statements`).
            Generated maps have another shape. No generator has two maps that can be compared
            (:mod:`lensnb.compare.sets`). A name is reserved for a true set. Costs, or what was
            given, name a generator that is not there. Given and realised numbers do not fit each
            other or the maps. The mask has another shape or hides everything. The smoothing is
            negative or wider than the field.
    """
    survey = Survey.of(truth, smooth, noise, mask, seed)
    everything = survey.of_sets(gather_sets(truth, null, generated, train, survey.mask))
    costs = dict(costs or {})
    _check_costs(costs, everything)
    given = checked_given(given, everything)
    sets = refuse_few(everything)
    reference = sets[TRUTH].maps
    if statistics is None:
        statistics = stats.suite(reference, truth.side_deg)
    if responses is None and survey.changes:
        seen = survey.before(statistics)
        responses = kappa_responses(seen, sets[TRUTH].clean, truth.side_deg)
    responses = known_responses(responses, statistics, reference, truth.side_deg)
    rows = [quantity for quantity in QUANTITIES if quantity.measure is not None]
    beside = per_map_statistics(reference, truth.side_deg)
    stored = {}
    if not survey.changes:
        stored = _stored(truth, null, sets, statistics | beside)
    notes = [survey.remark()]
    if not stored:
        notes.append(why_not_stored(truth, null, survey.changes))
    with _progress_bar(len(sets) + 1 + len(rows)) as bar:
        vectors = {}
        for name in sets:
            if name in stored:
                vectors[name] = stored[name]
            else:
                everything[name], vectors[name] = _measure(statistics | beside, everything[name])
            bar.update()
        sets = refuse_few(everything)
        ensembles, per_map = {}, {}
        for name in sets:
            of_set = as_stored(vectors[name]) if stored else vectors[name]
            ensembles[name] = {key: of_set[key] for key in statistics}
            per_map[name] = {key: of_set[key] for key in beside}
        for by_set in (ensembles, per_map):
            by_set[BOTH] = pooled(by_set[TRUTH], by_set[NULL])
        of_kept = {name: of_maps(one, sets[name]) for name, one in given.items() if name in sets}
        comparison = Comparison(
            sets, ensembles, per_map, responses, look_at_maps, rounds, seed, of_kept
        )
        verdicts = comparison.verdicts
        bar.update()
        extras = {name: {} for name in comparison.judged}
        for row in rows:
            for name, estimate in row.measure(comparison).items():
                extras[name][row.name] = estimate
            bar.update()
        contours = comparison.contours
    return FidelityReport(
        statistics=dict(statistics),
        ensembles=ensembles,
        verdicts=verdicts,
        against_train=comparison.all_verdicts.get(TRAIN, {}),
        extras=extras,
        ks=comparison.ks,
        neighbours=comparison.neighbours,
        costs=costs,
        per_map=beside,
        parameters=responses.symbols,
        notes=[note for note in notes if note],
        contours=contours,
        examples=example_maps(sets),
        origin=Origin.of(truth, seed, rounds),
        counts={name: _counts(one, ensembles.get(name)) for name, one in everything.items()},
    )


def _measure(
    statistics: Mapping[str, stats.Statistic], one: FiniteMaps
) -> tuple[FiniteMaps, dict[str, Ensemble]]:
    """The vectors of a set, without the maps that have one that is not finite."""
    parts = [vectors for vectors, _ in measured(statistics, one.maps)]
    vectors = {name: np.concatenate([part[name] for part in parts]) for name in statistics}
    finite = np.isfinite(np.hstack(list(vectors.values()))).all(1)
    one = one.without(~finite, UNDEFINED)
    return one, {name: Ensemble(found[finite], one.simulation) for name, found in vectors.items()}


def _stored(
    truth: MapSet,
    null: MapSet,
    sets: Mapping[str, FiniteMaps],
    statistics: Mapping[str, stats.Statistic],
) -> dict[str, dict[str, Ensemble]]:
    """The stored vectors of truth and null, if both are the sample's and nothing was left out."""
    found = {TRUTH: vectors_of(truth, statistics), NULL: vectors_of(null, statistics)}
    whole = not any(sets[name].dropped for name in found)
    if whole and None not in found.values():
        return found
    return {}


def _counts(one: FiniteMaps, ensembles: Mapping[str, Ensemble] | None) -> dict[str, int]:
    """How many maps and simulations the statistics of a set know, and how many were left out."""
    if ensembles is None:  # the whole set was left out
        return one.counts()
    known = next(iter(ensembles.values()))
    return one.counts() | {"maps": len(known), "simulations": len(known.simulations)}


def _check_costs(costs: Mapping[str, Cost], sets: Mapping[str, FiniteMaps]) -> None:
    generators = [name for name in sets if name not in (TRUTH, NULL, TRAIN)]
    for name in costs:
        if name != NULL and name not in generators:
            raise ValueError(
                f"costs name {name!r}, which is not among the generators {', '.join(generators)}"
            )


def _progress_bar(steps: int) -> tqdm:
    """A bar in a notebook or a terminal, after the first five seconds; nothing in a batch job."""
    visible = "ipykernel" in sys.modules or sys.stdout.isatty()
    return tqdm(
        total=steps,
        desc="comparing",
        unit="step",
        file=sys.stdout,
        delay=5,
        disable="LENSNB_BATCH" in os.environ or not visible,
    )
