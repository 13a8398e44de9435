"""The fidelity report: all numbers at once, as a table, as HTML, as sentences, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import stats
from ..ensemble import Ensemble
from ..files import write_json
from . import tables
from .cost import Cost
from .estimate import Estimate, plain
from .memorisation import Nearest
from .quantities import Quantity
from .rows import QUANTITIES
from .sets import NULL, TRAIN, TRUTH
from .verdict import Verdict

# With fewer simulations the errors themselves are poorly known, and the report says so.
_FEW_SIMULATIONS = 10
_CLEAR = 2.0  # a difference of fewer standard errors needs more maps


@dataclass(frozen=True)
class Row:
    """One headline number of every set.

    Attributes:
        quantity: what it is, and what it means.
        estimates: by set, the null first; only if it could be measured.
        faults: by generator, what is wrong; empty if the number lies in the null's 95 % interval
            (or beyond it on the harmless side), None if it is not defined.
    """

    quantity: Quantity
    estimates: dict[str, Estimate]
    faults: dict[str, str | None]

    def apart(self, name: str) -> float:
        """How many standard errors (of both) a generator and the null are apart."""
        here, null = self.estimates[name], self.estimates[NULL]
        error = math.hypot(here.error, null.error)
        if not error > 0:
            return math.inf
        return abs(here.value - null.value) / error


@dataclass(repr=False)
class FidelityReport:
    """What :func:`compare` found.

    Print it, show it in Jupyter, draw it with :mod:`lensnb.plot`, or save it.

    Attributes:
        statistics: the statistics with their bins, by name.
        ensembles: ``ensembles[set][statistic]`` for the truth, the null, the training set and each
            generator.
        verdicts: ``verdicts[set][statistic]`` against the truth; ``"joint"`` is the joint vector
            of all statistics.
        against_train: the same against the training maps; empty if none were given.
        extras: ``extras[set][name]``: the headline numbers that do not come from a verdict (tails,
            two-sample tests, memorisation).
        ks: two-sample Kolmogorov–Smirnov p of every joint bin, by set.
        neighbours: distances to the nearest training maps, of the truth and of each judged set;
            empty if there was no search.
        costs: what each generator costs, if it was given.
        counts: maps in each set, their simulations, and how many maps were left out because they
            were not finite.
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

    @property
    def names(self) -> list[str]:
        """The judged sets, the null first."""
        return list(self.verdicts)

    @property
    def generators(self) -> list[str]:
        """The judged sets but for the null."""
        return self.names[1:]

    def rows(self) -> list[Row]:
        """The headline numbers, items 1 to 8; one that was not measured is left out."""
        rows = []
        for quantity in QUANTITIES:
            estimates = {name: self._estimate(quantity, name) for name in self.names}
            if estimates[NULL] is None:
                continue
            null = estimates[NULL]
            faults = {name: quantity.fault(estimates[name], null) for name in self.generators}
            rows.append(Row(quantity, estimates, faults))
        return rows

    def _estimate(self, quantity: Quantity, name: str) -> Estimate | None:
        if quantity.of is not None:
            return quantity.of(self.verdicts[name])
        return self.extras[name].get(quantity.name)

    # ------------------------------------------------------------ what is wrong

    def failures(self, name: str | None = None) -> list[str]:
        """Where generators fail and what that means: a sentence for each number, worst first.

        Args:
            name: of one generator; None: all of them.
        """
        if name is not None and name not in self.generators:
            raise ValueError(
                f"there is no generator {name!r} in the report; "
                f"it judges {', '.join(self.generators)}"
            )
        found = []
        for row in self.rows():
            for judged, fault in row.faults.items():
                if fault and name in (None, judged):
                    found.append((-row.apart(judged), self._sentence(row, judged)))
        return [sentence for _, sentence in sorted(found)]

    def _sentence(self, row: Row, name: str) -> str:
        quantity, apart = row.quantity, row.apart(name)
        here, null = quantity.text(row.estimates[name]), quantity.text(row.estimates[NULL])
        doubt = "; more maps are needed to be sure" if apart < _CLEAR else ""
        numbers = f"{quantity.name} {here}, null {null} ({apart:.1f} σ apart{doubt})"
        return f"{name}: {numbers}: {row.faults[name]}{self._cause(quantity, name)}."

    def _cause(self, quantity: Quantity, name: str) -> str:
        """Is it the model, or the sample variance of its training maps?

        The same number against the training maps gives the answer. It must be two-sided: noise
        alone moves the others off the expected value.
        """
        if not self.against_train or quantity.of is None or not quantity.two_sided:
            return ""
        low, high = quantity.of(self.against_train[name]).interval
        if not np.isfinite([low, high]).all():
            return ""
        if low <= float(quantity.expected) <= high:
            return (
                "; not against the training maps: they are too few, and the model is as they are"
            )
        return "; against the training maps as well: it is the model"

    def remarks(self) -> list[str]:
        """What the table means, in sentences."""
        truth = self.counts[TRUTH]
        lines = [
            "± one standard error from a bootstrap over simulations; in brackets a 95 % range.",
            f"Truth: {truth['maps']} maps of {truth['simulations']} simulations. "
            "* lies outside the null's 95 % interval.",
        ]
        for name, count in self.counts.items():
            if count["dropped"]:
                lines.append(f"{name}: {count['dropped']} maps were not finite and are left out.")
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

    # ------------------------------------------------------------ show and save

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join([tables.text_table(tables.headline_cells(self), 2), "", *self.remarks()])

    def by_statistic(self, what: str = "slope") -> str:
        """A table of one number for each statistic.

        Args:
            what: which number of a :class:`~lensnb.compare.Verdict`: ``"mean"``, ``"shift"``,
                ``"scatter"``, ``"slope"``, ``"divergence"``, ``"area"`` …
        """
        return tables.text_table(tables.statistic_cells(self, what), 1)

    def _repr_html_(self) -> str:
        return tables.report_html(self)

    def as_json(self) -> dict:
        """Every number of the report as plain JSON values."""
        null = self.verdicts[NULL]
        inside = {}
        for name in self.generators:
            verdicts = self.verdicts[name]
            inside[name] = {s: _inside(verdicts[s], null[s]) for s in verdicts}
        return {
            "headline": [_row_json(row) for row in self.rows()],
            "failures": self.failures(),
            "truth": self._truth_json(),
            "against_truth": _verdicts_json(self.verdicts),
            "against_train": _verdicts_json(self.against_train),
            "inside_null_95": inside,
            "maps": self.counts,
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
        """Write :meth:`as_json` to a file, atomically."""
        return write_json(path, self.as_json())


def _verdicts_json(verdicts: Mapping[str, Mapping[str, Verdict]]) -> dict:
    return {
        name: {statistic: verdict.as_json() for statistic, verdict in by_statistic.items()}
        for name, by_statistic in verdicts.items()
    }


def _row_json(row: Row) -> dict:
    sets = {}
    for name, estimate in row.estimates.items():
        fault = row.faults.get(name)
        passes = None if fault is None else not fault
        sets[name] = estimate.as_json() | {"passes": passes}
    quantity = row.quantity
    return {
        "item": quantity.item,
        "name": quantity.name,
        "right": quantity.expected,  # the key that saved reports have
        "inverse": quantity.inverse,
        "sets": sets,
    }


def _inside(verdict: Verdict, null: Verdict) -> dict[str, bool | float | None]:
    """For each number: does it lie in the null's 95 % interval?

    For numbers of each bin, the share of bins that do; None if not defined.
    """
    found = {}
    for name in Verdict.__dataclass_fields__:
        value = getattr(verdict, name).value
        low, high = getattr(null, name).interval
        defined = np.isfinite(value) & np.isfinite(low)
        if not defined.any():
            found[name] = None
        elif value.ndim == 0:
            found[name] = bool(low <= value <= high)
        else:
            inside = (value >= low) & (value <= high)
            found[name] = float(inside[defined].mean())
    return found
