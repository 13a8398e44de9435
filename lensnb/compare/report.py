"""The fidelity report: all numbers at once, as a table, as HTML, as sentences, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import stats
from ..ensemble import (
    Ensemble,
    dodelson_schneider_factor,
    hartlap_factor,
    percival_factor,
)
from ..files import write_json
from . import exports, faults, html_tables, joining, saving, tables
from .answers import OFF, OPEN, SAME, SYMBOLS, Answer
from .classifiers import ALL_MAPS, sizes_in_words
from .contours import Contour
from .cost import Cost
from .estimate import Estimate, plain, threshold
from .memorisation import Nearest
from .origin import Origin
from .quantities import Quantity
from .ratios import undefined
from .rows import QUANTITIES
from .sets import LEFT_OUT, NULL, TRAIN, TRUTH
from .verdict import Verdict

# With fewer simulations the errors themselves are poorly known, and the report says so.
_FEW_SIMULATIONS = 10


@dataclass(frozen=True)
class Row:
    """One headline number of every set.

    Attributes:
        quantity: what it is, and what it means.
        estimates: by set, the null first; NaN for sets of which it was not measured.
        answers: by set: as the simulations, off, or cannot tell.
    """

    quantity: Quantity
    estimates: dict[str, Estimate]
    answers: dict[str, Answer]

    @property
    def faults(self) -> dict[str, str | None]:
        """By set, what is wrong; empty if nothing is known to be, None if it is not defined."""
        return {name: one.meaning if one.kind else None for name, one in self.answers.items()}

    @property
    def expected_text(self) -> str:
        """What is expected, for a table: one value, or its range where it depends on the set."""
        quantity = self.quantity
        known = [one for one in self.estimates.values() if np.isfinite(one.value)]
        if np.isfinite(quantity.expected) or quantity.inverse or not known:
            return quantity.expected_text
        expected = [quantity.expected_of(one) for one in known]
        low, high = f"{min(expected):.2f}", f"{max(expected):.2f}"
        if low == high:
            return low
        return f"{low}–{high}"


@dataclass(repr=False)
class FidelityReport:
    """What :func:`compare` found.

    Print it, show it in Jupyter, draw it with :mod:`lensnb.plot`, or save it.

    Attributes:
        statistics: the statistics with their bins, by name.
        ensembles: ``ensembles[set][statistic]`` for the truth, the null, both together, the
            training set and each generator.
        verdicts: ``verdicts[set][statistic]``: the null against the truth, and generators against
            truth and null together; ``"joint"`` is the joint vector of all statistics.
        against_train: the same against the training maps; empty if none were given.
        extras: ``extras[set][name]``: the headline numbers that do not come from a verdict (tails,
            two-sample tests, memorisation).
        ks: two-sample Kolmogorov–Smirnov p of every joint bin, by set, from one map a simulation.
        neighbours: distances to the nearest training maps, of the truth and of each judged set;
            empty if there was no search.
        costs: what each generator costs, if it was given.
        counts: maps in each set, their simulations, how many maps were left out (``"dropped"``),
            and how many for each reason of :mod:`lensnb.compare.sets`. A generator of which fewer
            than two maps are left is here and nowhere else.
        per_map: what was measured of each map beside these statistics.
        parameters: names of the parameters that are inferred.
        notes: what was done to the maps before they were measured, and why stored vectors of more
            maps were not used, in sentences.
        contours: of two parameters, as an analysis with each set would draw them, and with the
            truth; a set with too few maps has none.
        examples: a few maps of each set but the training maps, ``(maps, n, n)`` or
            ``(maps, channels, n, n)``.
        origin: when and how the comparison was made; None for a report of an older version.
    """

    statistics: dict[str, stats.Statistic]
    ensembles: dict[str, dict[str, Ensemble]]
    verdicts: dict[str, dict[str, Verdict]]
    against_train: dict[str, dict[str, Verdict]]
    extras: dict[str, dict[str, Estimate]]
    ks: dict[str, np.ndarray]
    neighbours: dict[str, Nearest]
    costs: dict[str, Cost]
    counts: dict[str, dict[str, int]]
    per_map: dict[str, stats.Statistic] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    contours: dict[str, Contour] = field(default_factory=dict)
    examples: dict[str, np.ndarray] = field(default_factory=dict)
    origin: Origin | None = None

    @property
    def names(self) -> list[str]:
        """The judged sets, the null first."""
        return list(self.verdicts)

    @property
    def generators(self) -> list[str]:
        """The judged sets but for the null."""
        return self.names[1:]

    def rows(self) -> list[Row]:
        """The headline numbers, items 1 to 8; one that was measured of no set is left out."""
        measured = []
        for quantity in QUANTITIES:
            found = {name: self._estimate(quantity, name) for name in self.names}
            if any(one is not None for one in found.values()):
                estimates = {name: one or undefined() for name, one in found.items()}
                measured.append((quantity, estimates))
        limit = threshold(len(measured))
        rows = []
        for quantity, estimates in measured:
            answers = {name: quantity.answer(one, limit) for name, one in estimates.items()}
            rows.append(Row(quantity, estimates, answers))
        return rows

    def _estimate(self, quantity: Quantity, name: str) -> Estimate | None:
        if quantity.of is not None:
            return quantity.of(self.verdicts[name])
        return self.extras[name].get(quantity.name)

    def worst_bin(self, row: Row, name: str) -> str:
        """Which bin of a set a row is about, if it is about the worst one; empty otherwise."""
        return faults.bin_in_words(self, row.quantity, row.estimates[name])

    # ------------------------------------------------------------ what is wrong

    def failures(self, name: str | None = None, most: int | None = None) -> list[str]:
        """Where generators fail and what that means: a sentence for each number.

        They are sorted by generator, the baselines last, and for each of them the worst is first.

        Args:
            name: of one generator; None: all of them.
            most: so many sentences of each generator at most, no two about the same item.

        Raises:
            ValueError: the report judges no such generator.
        """
        return faults.failures(self, self._asked(name), most)

    def undecided(self, name: str | None = None) -> list[str]:
        """Where the maps are too few to tell: a sentence for each number.

        Each says how large a fault would be seen, in nine of ten cases.

        Args:
            name: of one generator; None: all of them.

        Raises:
            ValueError: the report judges no such generator.
        """
        return faults.undecided(self, self._asked(name))

    def smallest_faults(self) -> dict[str, str]:
        """By generator, in short, what :meth:`undecided` says: each number, and the fault seen."""
        return faults.smallest_faults(self)

    def where_it_fails(self, most: int = 3) -> str:
        """What :meth:`failures` says, as text: generator by generator, the baselines in short.

        Args:
            most: sentences for each generator.
        """
        return faults.text(self, most)

    def _asked(self, name: str | None) -> list[str]:
        if name is None:
            return self.generators
        if name not in self.generators:
            raise ValueError(
                f"there is no generator {name!r} in the report; "
                f"it judges {', '.join(self.generators)}"
            )
        return [name]

    def remarks(self) -> list[str]:
        """What the table means, in sentences."""
        truth, null = self.counts[TRUTH], self.counts[NULL]
        judged = [self.counts[name]["maps"] for name in self.names]
        rows = self.rows()
        limit = threshold(len(rows))
        all_maps = any(row.quantity.name == ALL_MAPS for row in rows)
        lines = [
            "± one standard error, from the simulations of both sets; in brackets a 95 % range.",
            f"Truth: {truth['maps']} maps of {truth['simulations']} simulations; null: "
            f"{null['maps']} of {null['simulations']}. "
            "Generators are compared with both together, the null with the truth.",
            *self.notes,
            f"{SYMBOLS[SAME]} {SAME}, within a margin of 5 % "
            "(slopes, directions and area: 10 %; seam: 0.02; copies: 1 %).",
            f"{SYMBOLS[OFF]} off, by more than {limit:.1f} σ: this happens to true sets, "
            f"in any of the {len(rows)} rows, in 5 % of cases at most.",
            f"{SYMBOLS[OPEN]} cannot tell: more maps are needed.",
            "A narrowest direction above 1, a widest below 1, more effective maps: no faults.",
            sizes_in_words(truth["maps"], judged, all_maps),
        ]
        lines.extend(self._inverse_remarks())
        few = [name for name in self.generators if self._too_few(name)]
        for name in few:
            lines.append(
                f"{name}: its maps are too few for so many eigenvectors as the truth allows, and "
                "rows of the covariance are left out."
            )
        for name, count in self.counts.items():
            lines += self._left_out(name)
            simulations = count["simulations"]
            if name in (TRUTH, NULL, TRAIN) and simulations < _FEW_SIMULATIONS:
                # the relative error of a standard deviation from so many values
                uncertainty = 1 / math.sqrt(2 * (simulations - 1))
                lines.append(
                    f"{name}: {simulations} simulations only, "
                    f"so every error is itself uncertain by {uncertainty:.0%}."
                )
        if not self.against_train:
            lines.append("Without training maps there is no test of memorisation (item 7).")
        return lines

    def _inverse_remarks(self) -> list[str]:
        """Which parameters are inferred, and what finite numbers of maps do to an inverse."""
        if not self.parameters:
            return []
        lines = [
            f"Parameters: {' and '.join(self.parameters)}, from leading eigenvectors, with a "
            "linear model. The posterior is a t-distribution, since the covariance is an estimate "
            "(Sellentin & Heavens 2016; power of Percival et al. 2022). "
            "The bias of areas is measured and removed.",
        ]
        sets: dict[str, list[str]] = {}
        for name in self.generators:
            factors = self._factors(name)
            if factors:
                sets.setdefault(factors, []).append(name)
        if sets:
            each = "; ".join(f"{factors} ({', '.join(names)})" for factors, names in sets.items())
            lines.append(
                "Factors of an inverse covariance by Hartlap et al. (2007), Dodelson & Schneider "
                f"(2013) and Percival et al. (2014): {each}."
            )
        return lines

    def _factors(self, name: str) -> str:
        """The usual factors for an inverse covariance from the maps of a set."""
        worth = self.verdicts[name]["joint"].inverse_maps
        bins, parameters = worth.eigenvectors, len(self.parameters)
        maps = 1 / worth.expected
        if not maps > bins + 4 or parameters > bins:
            return ""
        hartlap = hartlap_factor(maps, bins)
        dodelson = dodelson_schneider_factor(maps, bins, parameters)
        percival = percival_factor(maps, bins, parameters)
        return (
            f"{hartlap:.3f}, {dodelson:.3f} and {percival:.3f} for {bins} numbers and "
            f"{maps:.0f} independent maps"
        )

    def _left_out(self, name: str) -> list[str]:
        """Which maps of a set are not among those that were compared, in sentences."""
        count = self.counts[name]
        lines = []
        for reason, words in LEFT_OUT.items():
            number = count.get(reason, 0)
            if number == 1:
                lines.append(f"{name}: 1 map was {words} and is left out.")
            elif number:
                lines.append(f"{name}: {number} maps were {words} and are left out.")
        if name not in self.ensembles:
            lines.append(f"{name}: it has too few other maps, and is left out of the table.")
        return lines

    def _too_few(self, name: str) -> bool:
        return not np.isfinite(self.verdicts[name]["joint"].area.value)

    # ------------------------------------------------------------ show and save

    def __repr__(self) -> str:
        return self.scorecard()  # ten lines; all of it with print

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int | None = None) -> str:
        """The main table and its remarks.

        Args:
            width: columns of characters. Where the sets need more, the table goes on below itself.
                None: those of the terminal, or 100 where there is none.
        """
        table = tables.text_table(tables.screen_cells(tables.headline_cells(self)), width)
        return "\n".join([table, "", *self.remarks()])

    def by_statistic(self, what: str = "slope", width: int | None = None) -> str:
        """A table of one number for each statistic.

        Args:
            what: which number of a :class:`~lensnb.compare.Verdict`: ``"mean"``, ``"shift"``,
                ``"scatter"``, ``"slope"``, ``"area"``, ``"inverse_maps"`` …
            width: as in :meth:`text`.
        """
        return tables.text_table(tables.statistic_cells(self, what), width)

    def scorecard(self, width: int | None = None) -> str:
        """Ten lines of text: an answer for each item and set, with the worst number where it is
        off."""
        return exports.scorecard(self, width)

    def _repr_html_(self) -> str:
        return html_tables.report_html(self)

    def as_json(self) -> dict:
        """Every number of the report as plain JSON values."""
        return {
            "headline": [_row_json(row) for row in self.rows()],
            "failures": self.failures(),
            "truth": self._truth_json(),
            "against_truth": _verdicts_json(self.verdicts),
            "against_train": _verdicts_json(self.against_train),
            "maps": self.counts,
            "notes": self.notes,
            "ks_p": {name: plain(p) for name, p in self.ks.items()},
            "nearest_distance": {
                name: plain(found.distance) for name, found in self.neighbours.items()
            },
            "cost": {
                name: {key: getattr(cost, key) for key in Cost.LABELS}
                for name, cost in self.costs.items()
            },
        }

    def _truth_json(self) -> dict:
        found = {}
        for name, statistic in self.statistics.items():
            ensemble = self.ensembles[TRUTH][name]
            found[name] = {
                "x": plain(statistic.x),
                "x_label": statistic.x_label,
                "y_label": statistic.y_label,
                "mean": plain(ensemble.mean()),
                "std": plain(ensemble.std()),
            }
        return found

    def save(self, path: str | Path) -> Path:
        """Write :meth:`as_json` to a file and, beside it, the ``.npz`` that :meth:`load` needs.

        Each is written atomically. The ``.npz`` has the vectors of all sets in float32
        (:mod:`lensnb.compare.saving`), about half a megabyte for each thousand maps.

        Raises:
            ValueError: the name ends in ``.npz``.
        """
        beside = saving.vectors_beside(path)
        written = write_json(path, self.as_json())
        saving.write_vectors_of(self, beside, written)
        return written

    @classmethod
    def load(cls, path: str | Path) -> FidelityReport:
        """Read a report that :meth:`save` wrote: it can be drawn, inspected and joined again.

        Its numbers are the same, and its vectors are those of float32. Rounds of the bootstrap are
        not kept, and its statistics measure no more maps.

        Args:
            path: the JSON, with the ``.npz`` of the same name beside it, or the ``.npz`` alone.

        Raises:
            FileNotFoundError: one of the two files is missing.
            ValueError: a file is not whole or of another version, or they were not saved together.
        """
        return cls(**saving.read_parts(path))

    def joined(self, other: FidelityReport) -> FidelityReport:
        """This report with the generators of another one about the same true maps.

        Raises:
            ValueError: truth, null or training maps, the statistics or the parameters are others,
                or both reports judge a set of the same name.
        """
        return joining.join(self, other)

    def to_frame(self):
        """All headline numbers as a ``pandas.DataFrame``, a row for each number and each set.

        Its columns are those of :func:`lensnb.compare.exports.records`.

        Raises:
            ImportError: pandas is not installed.
        """
        return exports.frame(self)

    def to_csv(self, path: str | Path) -> Path:
        """Write the rows of :meth:`to_frame` as CSV, atomically; no other package is needed."""
        return exports.write_csv(self, path)

    def to_latex(self, path: str | Path) -> Path:
        r"""Write the main table as a LaTeX ``tabular`` with the lines of booktabs, atomically.

        Its document needs ``\usepackage{booktabs}``.
        """
        return exports.write_latex(self, path)


def _verdicts_json(verdicts: Mapping[str, Mapping[str, Verdict]]) -> dict:
    return {
        name: {statistic: verdict.as_json() for statistic, verdict in by_statistic.items()}
        for name, by_statistic in verdicts.items()
    }


def _row_json(row: Row) -> dict:
    quantity, sets = row.quantity, {}
    for name, estimate in row.estimates.items():
        here = row.answers[name]
        passes = here.kind != OFF if here.kind else None
        sets[name] = estimate.as_json() | {
            "expected": plain(quantity.expected_of(estimate)),
            "passes": passes,
            "answer": here.kind,
            "sigmas": plain(here.sigmas),
            "seen": plain(here.seen),
        }
    return {
        "item": quantity.item,
        "name": quantity.name,
        "right": row.expected_text,  # the key that saved reports have
        "inverse": quantity.inverse,
        "sets": sets,
    }
