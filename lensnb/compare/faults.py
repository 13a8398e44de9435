"""What is off in a fidelity report, and what cannot be told, in sentences for each generator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .answers import OFF, OPEN, distance_text
from .estimate import Estimate, WorstBin
from .per_map import bin_name
from .quantities import Quantity
from .sets import NULL

if TYPE_CHECKING:
    from .report import FidelityReport, Row

# Words in the name of a set that nobody expects to pass: it is there for comparison.
_BASELINES = re.compile(r"\b(gaussian|lognormal|untrained|rank.mapped)\b", re.IGNORECASE)
_CLEAR = 1.96  # standard errors: a difference from the training maps that is no chance


def is_baseline(name: str) -> bool:
    """Whether a set is, by its name, one that every generator has to beat."""
    return _BASELINES.search(name) is not None


def models_first(names: Sequence[str]) -> list[str]:
    """The same names, the baselines last."""
    return sorted(names, key=is_baseline)


# ---------------------------------------------------------------- what is off


def off_rows(report: FidelityReport, name: str) -> list[Row]:
    """The numbers of one generator that are off, worst first."""
    off = [row for row in report.rows() if row.answers[name].kind == OFF]
    return sorted(off, key=lambda row: -abs(row.answers[name].sigmas))


def of_different_items(rows: Sequence[Row], most: int) -> list[Row]:
    """The first rows, no two about the same item: their sentences would say the same."""
    first: dict[int, Row] = {}
    for row in rows:
        first.setdefault(row.quantity.item, row)
    return list(first.values())[:most]


@dataclass(frozen=True)
class Failures:
    """What is off of one generator, in sentences without its name.

    Attributes:
        name: of the generator.
        worst: the first sentences, no two about the same item.
        others: all others, the worst first.
    """

    name: str
    worst: list[str]
    others: list[str]


def by_model(report: FidelityReport, most: int = 3) -> list[Failures]:
    """The failures of every generator of which a number is off, the baselines last."""
    found = []
    for name in models_first(report.generators):
        rows = off_rows(report, name)
        first = of_different_items(rows, most)
        others = [sentence(report, row, name) for row in rows if row not in first]
        if rows:
            found.append(Failures(name, [sentence(report, row, name) for row in first], others))
    return found


def whole_text(report: FidelityReport) -> str:
    """All failures by model, each once: the worst sentences, and the others indented."""
    lines = []
    for one in by_model(report):
        lines += ["", f"{one.name}: {counts_text(report, one.name)}, the worst first"]
        lines += [f"- {line}" for line in one.worst]
        if one.others:
            lines += ["  also:", *(f"  - {line}" for line in one.others)]
    return "\n".join(lines[1:])


def failures(report: FidelityReport, names: Sequence[str], most: int | None) -> list[str]:
    """As :meth:`FidelityReport.failures <lensnb.compare.FidelityReport.failures>` says."""
    found = []
    for name in models_first(names):
        rows = off_rows(report, name)
        if most is not None:
            rows = of_different_items(rows, most)
        found += [f"{name}: {sentence(report, row, name)}" for row in rows]
    return found


def sentence(report: FidelityReport, row: Row, name: str) -> str:
    """What is off, beside what is expected, and what it means; without the generator's name."""
    quantity, here = row.quantity, row.answers[name]
    estimate, null = row.estimates[name], row.estimates[NULL]
    beside = f"expected {quantity.expected_text_of(estimate)}"
    if np.isfinite(null.value):
        beside += f", null {quantity.text(null)}"
    distance = distance_text(estimate, here.sigmas)
    if distance:
        distance = f" ({distance} off)"
    value = in_short(report, row, name)
    return f"{value}, {beside}{distance}: {here.meaning}{_cause(report, quantity, name)}."


def in_short(report: FidelityReport, row: Row, name: str) -> str:
    """The number of one generator, with the worst bin in brackets."""
    quantity, estimate = row.quantity, row.estimates[name]
    place = bin_in_words(report, quantity, estimate)
    if place:
        place = f" ({place})"
    return f"{quantity.name} {quantity.text(estimate)}{place}"


def bin_in_words(report: FidelityReport, quantity: Quantity, estimate: Estimate) -> str:
    """The worst bin in words; empty for other numbers."""
    if not isinstance(estimate, WorstBin):
        return ""
    if estimate.name:
        return estimate.name
    if not quantity.part:
        return ""
    if quantity.part != "joint":
        statistic = report.per_map.get(quantity.part) or report.statistics[quantity.part]
        return bin_name(statistic, estimate.bin)
    first = 0
    for name, statistic in report.statistics.items():
        if estimate.bin < first + len(statistic.x):
            return f"{name}: {bin_name(statistic, estimate.bin - first)}"
        first += len(statistic.x)
    return ""


def _cause(report: FidelityReport, quantity: Quantity, name: str) -> str:
    """Is it the model, or the sample variance of its training maps?

    The same number against the training maps gives the answer.
    """
    if not report.against_train or quantity.of is None or not quantity.two_sided:
        return ""
    estimate = quantity.of(report.against_train[name])
    sigmas = estimate.sigmas(quantity.expected_of(estimate))
    if not np.isfinite(sigmas):
        return ""
    if abs(sigmas) < _CLEAR:
        return "; not against the training maps: they are too few, and the model is as they are"
    return "; against the training maps as well: it is the model"


def counts_text(report: FidelityReport, name: str) -> str:
    """How many numbers of a generator are off: ``"5 of 38 numbers are off"``."""
    kinds = [row.answers[name].kind for row in report.rows()]
    known, off = len(kinds) - kinds.count(""), kinds.count(OFF)
    if off == 0:
        return f"none of {known} numbers is off"
    verb = "is" if off == 1 else "are"
    return f"{off} of {known} numbers {verb} off"


def text(report: FidelityReport, most: int) -> str:
    """As :meth:`FidelityReport.where_it_fails <lensnb.compare.FidelityReport.where_it_fails>`."""
    return "\n".join(_lines(report, most))


def _lines(report: FidelityReport, most: int) -> Iterator[str]:
    for name in models_first(report.generators):
        heading = f"{name}: {counts_text(report, name)}"
        rows = off_rows(report, name)
        if is_baseline(name) or not rows:
            yield heading
            continue
        yield f"{heading}, the worst of them:"
        for row in of_different_items(rows, most):
            yield f"  - {sentence(report, row, name)}"


# ---------------------------------------------------------------- what cannot be told


def undecided(report: FidelityReport, names: Sequence[str]) -> list[str]:
    """As :meth:`FidelityReport.undecided <lensnb.compare.FidelityReport.undecided>` says."""
    found = []
    for name in names:
        for row in _open_rows(report, name):
            value, seen = in_short(report, row, name), _seen(row, name)
            fault = f"a covariance {seen}" if row.quantity.inverse else f"a fault of {seen}"
            found.append(f"{name}: {value}: {fault} would be seen in 90 % of cases.")
    return found


def smallest_faults(report: FidelityReport) -> dict[str, str]:
    """By generator, each number that cannot be told, and the fault that would be seen."""
    found = {}
    for name in report.generators:
        each = [f"{row.quantity.name} {_seen(row, name)}" for row in _open_rows(report, name)]
        if each:
            found[name] = "; ".join(each)
    return found


def _open_rows(report: FidelityReport, name: str) -> list[Row]:
    return [row for row in report.rows() if row.answers[name].kind == OPEN]


def _seen(row: Row, name: str) -> str:
    return row.quantity.seen_text(row.estimates[name], row.answers[name])
