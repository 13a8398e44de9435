"""The nine items of a report, each with one answer for a set: the worst of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .answers import OFF, OPEN, SAME
from .estimate import WorstBin

if TYPE_CHECKING:
    from .report import FidelityReport, Row


@dataclass(frozen=True)
class ItemAnswer:
    """What the numbers of one item say about one set.

    Attributes:
        kind: the worst of their answers; empty if none is defined.
        count: how many numbers have that answer.
        known: how many are defined.
        worst: the number that is off by most standard errors; None if nothing is off.
        worst_bin: of the numbers that are a worst bin, the one that is farthest from what is
            expected, in standard errors; None if there is none.
        unclear: the number that cannot be told and is farthest, in standard errors; None if there
            is none.
    """

    kind: str
    count: int
    known: int
    worst: Row | None
    worst_bin: Row | None
    unclear: Row | None = None


def item_answers(report: FidelityReport) -> dict[int, dict[str, ItemAnswer]]:
    """``answers[item][set]``, in the order of the report."""
    by_item: dict[int, list[Row]] = {}
    for row in report.rows():
        by_item.setdefault(row.quantity.item, []).append(row)
    return {
        item: {name: _answer(rows, name) for name in report.names}
        for item, rows in by_item.items()
    }


def _answer(rows: Sequence[Row], name: str) -> ItemAnswer:
    known = [row for row in rows if row.answers[name].kind]
    kinds = [row.answers[name].kind for row in known]
    kind = next((one for one in (OFF, OPEN, SAME) if one in kinds), "")
    off = [row for row in known if row.answers[name].kind == OFF]
    unclear = [row for row in known if row.answers[name].kind == OPEN]
    bins = [row for row in known if isinstance(row.estimates[name], WorstBin)]
    farthest = (_farthest(some, name) for some in (off, bins, unclear))
    return ItemAnswer(kind, kinds.count(kind), len(known), *farthest)


def _farthest(rows: Sequence[Row], name: str) -> Row | None:
    """The row that is farthest from what is expected, in standard errors."""

    def distance(row: Row) -> float:
        return abs(row.answers[name].sigmas)

    return max(rows, key=distance, default=None)
