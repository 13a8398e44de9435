"""What a report page says in words: a verdict for each model, and one answer for each item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..compare import Cost, FidelityReport, Row, faults
from ..compare.answers import OFF, OPEN, SAME, SYMBOLS, distance_in_short, distance_text
from ..compare.items import ItemAnswer, item_answers
from ..compare.quantities import ITEMS

_CLASSES = {SAME: "same", OFF: "off", OPEN: "open"}  # of the style sheet


@dataclass(frozen=True)
class Verdict:
    """What a report says about one model.

    Attributes:
        name: of the model.
        counts: how many numbers have each answer, by class of the style sheet.
        sentences: two.
        failures: the worst that is off; a sentence each.
        others: all else that is off, worst first.
        undecided: where the maps are too few to tell; a sentence each.
        baseline: whether it is there to be beaten.
    """

    name: str
    counts: dict[str, int]
    sentences: tuple[str, str]
    failures: list[str]
    others: list[str]
    undecided: list[str]
    baseline: bool


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        kind: class of the style sheet: ``"same"``, ``"off"``, ``"open"`` or empty.
        text: the number, or the answer.
        more: further lines, in small letters.
    """

    kind: str
    text: str
    more: tuple[str, ...] = ()


def verdicts(report: FidelityReport) -> list[Verdict]:
    """A verdict on every model, in the order of the report."""
    rows = report.rows()
    failing = {one.name: one for one in faults.by_model(report)}
    found = []
    for name in report.generators:
        counts = {_CLASSES[kind]: _count(rows, name, kind) for kind in (SAME, OFF, OPEN)}
        sentences = (_counts_sentence(counts), _second_sentence(report, rows, name))
        fails = failing.get(name, faults.Failures(name, [], []))
        undecided = [line.removeprefix(f"{name}: ") for line in report.undecided(name)]
        lists = (fails.worst, fails.others, undecided)
        found.append(Verdict(name, counts, sentences, *lists, faults.is_baseline(name)))
    return found


def _count(rows: list[Row], name: str, kind: str) -> int:
    return sum(row.answers[name].kind == kind for row in rows)


def _counts_sentence(counts: dict[str, int]) -> str:
    known = sum(counts.values())
    same = _agree(counts["same"])
    rest = ""
    if counts["open"]:
        rest = f", and for {counts['open']} the maps are too few to tell"
    if counts["off"]:
        return f"Off in {counts['off']} of {known} numbers; {same}{rest}."
    return f"Nothing is off: of {known} numbers, {same}{rest}."


def _agree(count: int) -> str:
    if count == 0:
        return "none is as the simulations"
    if count == 1:
        return "1 is as the simulations"
    return f"{count} are as the simulations"


def _second_sentence(report: FidelityReport, rows: list[Row], name: str) -> str:
    """The worst fault; of a model without faults, where a fault could hide."""
    off = [row for row in rows if row.answers[name].kind == OFF]
    if off:
        return _worst_sentence(report, off, name)
    open_rows = [row for row in rows if row.answers[name].kind == OPEN]
    if not open_rows:
        return "Every number that was measured lies within its margin."
    quantity = open_rows[0].quantity
    seen = quantity.seen_text(open_rows[0].estimates[name], open_rows[0].answers[name])
    return (
        f"More maps could still show faults: in {quantity.name}, for example, these would show "
        f"one of {seen}."
    )


def _worst_sentence(report: FidelityReport, off: list[Row], name: str) -> str:
    def distance(row: Row) -> float:
        return abs(row.answers[name].sigmas)

    worst = max(off, key=distance)
    quantity, estimate = worst.quantity, worst.estimates[name]
    sigmas = distance_text(estimate, distance(worst))
    if sigmas:
        sigmas = f" ({sigmas})"
    number = f"{quantity.name} {quantity.text(estimate)}{_in_brackets(report, worst, name)}"
    expected = quantity.expected_text_of(estimate)
    meaning = worst.answers[name].meaning
    return f"Worst is {number}, where {expected} is expected{sigmas}: {meaning}."


def _in_brackets(report: FidelityReport, row: Row, name: str) -> str:
    place = report.worst_bin(row, name)
    return f" ({place})" if place else ""


# ---------------------------------------------------------------- tables


def scorecard(report: FidelityReport) -> list[tuple[str, list[Cell]]]:
    """An answer for each item and set, with the worst number and the worst bin."""
    lines = []
    for item, answers in item_answers(report).items():
        cells = [_item_cell(report, one, name) for name, one in answers.items()]
        lines.append((f"{item} {ITEMS[item]}", cells))
    return lines


def _item_cell(report: FidelityReport, found: ItemAnswer, name: str) -> Cell:
    if not found.kind:
        return Cell("", "–")
    text = f"{SYMBOLS[found.kind]} {found.count} of {found.known}"
    more = []
    if found.worst is not None:
        worst = found.worst
        distance = distance_in_short(worst.estimates[name], worst.answers[name].sigmas)
        more.append(f"{worst.quantity.name} {distance}")
    elif found.kind == OPEN:
        quantity = found.unclear.quantity
        more.append(f"{quantity.name} {quantity.text(found.unclear.estimates[name])}")
    row = found.worst_bin
    if row is not None and row.answers[name].kind != SAME:
        # A worst number that has a name is no bin: a parameter, or a place in the field.
        label = "worst" if row.estimates[name].name else "worst bin"
        more.append(f"{label}: {report.worst_bin(row, name)}")
    return Cell(_CLASSES[found.kind], text, tuple(more))


@dataclass(frozen=True)
class NumberRow:
    """A row of the table with numbers.

    Attributes:
        item: number and name of its item, in its first row; empty in the others.
        name: of the number.
        expected: what is expected of all sets, in words; empty if it is in their cells.
        cells: one for each set.
    """

    item: str
    name: str
    expected: str
    cells: list[Cell]


def numbers(report: FidelityReport) -> list[NumberRow]:
    """Every headline number of every set, then the costs."""
    found, item = [], None
    for row in report.rows():
        quantity = row.quantity
        title = ""
        if quantity.item != item:
            item = quantity.item
            title = f"{item} {ITEMS[item]}"
        cells = [_number_cell(report, row, name) for name in report.names]
        found.append(NumberRow(title, quantity.name, _expected(row), cells))
    return found + _costs(report)


def _expected(row: Row) -> str:
    if row.quantity.inverse:
        return "expected: as many as the set has"
    if np.isfinite(row.quantity.expected):
        return f"expected: {row.quantity.expected_text}"
    return ""


def _number_cell(report: FidelityReport, row: Row, name: str) -> Cell:
    answer = row.answers[name]
    text = f"{row.quantity.text(row.estimates[name])} {answer.symbol}".strip()
    more = []
    if not _expected(row) and answer.kind:
        more.append(f"expected: {row.quantity.expected_text_of(row.estimates[name])}")
    place = report.worst_bin(row, name)
    if place:
        more.append(place)
    return Cell(_CLASSES.get(answer.kind, ""), text, tuple(more))


def _costs(report: FidelityReport) -> list[NumberRow]:
    if not report.costs:
        return []
    rows, title = [], f"9 {ITEMS[9]}"
    for key, label in Cost.LABELS.items():
        cells = [Cell("", report.costs.get(name, Cost()).text(key)) for name in report.names]
        rows.append(NumberRow(title, label, "", cells))
        title = ""
    return rows
