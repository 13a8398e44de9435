"""The fidelity report: all numbers at once, as a table, as HTML, as sentences, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import stats
from ..ensemble import Ensemble
from ..files import write_json
from . import exports, faults, html_tables, joining, remarks, saving, tables
from .answers import OFF, Answer
from .contours import Contour
from .cost import Cost
from .estimate import Estimate, plain, threshold
from .memorisation import Nearest
from .origin import Origin
from .quantities import Quantity
from .ratios import undefined
from .rows import QUANTITIES
from .sets import TRUTH
from .verdict import Verdict


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
        return remarks.remarks(self)

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
