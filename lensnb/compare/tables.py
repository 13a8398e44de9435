"""The fidelity report as tables of text cells, and these for a terminal.

:mod:`lensnb.compare.html_tables` shows them in a notebook.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .cost import Cost
from .estimate import threshold
from .quantities import ITEMS, Quantity
from .sets import NULL
from .verdict import Verdict

if TYPE_CHECKING:
    from .report import FidelityReport

_WIDTH = 100  # characters, where there is no terminal
_NAME = 16  # characters of the name of a set that stay on one line
_GAP = "  "
_INDENT = "  "
_NOTHING = "–"  # in a cell without a number
_MARGIN = 0.1  # of a single statistic
# What is expected of true maps, and the margin, where they are not 1 and 10 %.
_EXPECTED = {"mean": (1.0, 0.05), "scatter": (1.0, 0.05), "shift": (0.0, 0.05)}


def headline_cells(report: FidelityReport) -> list[list[str]]:
    """The main table as text, its head first; a symbol marks each answer."""
    cells = [["", "", "expected", *report.names]]
    item = None
    for row in report.rows():
        quantity = row.quantity
        heading = ""
        if quantity.item != item:
            item = quantity.item
            heading = f"{item} {ITEMS[item]}"
        numbers = [
            f"{quantity.text(row.estimates[name])} {row.answers[name].symbol}"
            for name in report.names
        ]
        cells.append([heading, quantity.name, row.expected_text, *numbers])
    if report.costs:
        cells += _cost_cells(report)
    return cells


def _cost_cells(report: FidelityReport) -> list[list[str]]:
    cells = []
    for name, label in Cost.LABELS.items():
        costs = [report.costs.get(one, Cost()).text(name) for one in report.names]
        cells.append(["", label, "", *(f"{cost}  " for cost in costs)])
    cells[0][0] = f"9 {ITEMS[9]}"
    return cells


def statistic_cells(report: FidelityReport, what: str) -> list[list[str]]:
    """A table of one number of the verdicts, with a row for each statistic."""
    known = Verdict.single_numbers()
    if what not in known:
        raise ValueError(f"a verdict has no number {what!r}; it has {', '.join(known)}")
    inverse = what == "inverse_maps"
    title = "effective maps" if inverse else what
    expected, margin = _EXPECTED.get(what, (1.0, _MARGIN))
    quantity = Quantity(0, what, expected, margin, low="low", high="high", inverse=inverse)
    statistics = list(report.verdicts[NULL])
    limit = threshold(len(statistics))
    cells = [[title, *report.names]]
    for statistic in statistics:
        row = [statistic]
        for name in report.names:
            estimate = getattr(report.verdicts[name][statistic], what)
            row.append(f"{quantity.text(estimate)} {quantity.answer(estimate, limit).symbol}")
        cells.append(row)
    return cells


def screen_cells(cells: list[list[str]]) -> list[list[str]]:
    """The main table with one column of names: the item is a row of its own, of one cell.

    What is expected stands in brackets behind the name.
    """
    head, *rows = cells
    found = [["number (expected)", *head[3:]]]
    for heading, name, expected, *numbers in rows:
        if heading:
            found.append([heading])
        if expected:
            name = f"{name} ({expected})"
        found.append([f"{_INDENT}{name}", *numbers])
    return found


def text_table(cells: list[list[str]], width: int | None = None) -> str:
    """Cells as lines of text, the head first; a row of one cell is a heading.

    Where the sets need more columns than there are, the table goes on below with the next sets.

    Args:
        cells: rows of the table; the first cell of each is its name.
        width: columns of characters; None: those of the terminal.
    """
    names = max(len(row[0]) for row in cells)
    numbers = max(len(cell) for row in cells[1:] for cell in row[1:])
    numbers = max(numbers, min(_NAME, max(len(name) for name in cells[0][1:])))
    groups = in_groups(len(cells[0]) - 1, names, numbers, width)
    blocks = []
    for columns in groups:
        kept = cells if len(groups) == 1 else _without_empty_rows(cells, columns)
        blocks.append(_block(kept, columns, names, numbers))
    return "\n\n".join(blocks)


def in_groups(sets: int, names: int, numbers: int, width: int | None) -> list[np.ndarray]:
    """The columns of a table, from 1 on, in as few groups of about the same size as fit.

    Args:
        sets: how many columns of numbers there are.
        names: characters of the first column, which every group has.
        numbers: characters of every other column.
        width: columns of characters; None: those of the terminal.
    """
    if width is None:
        width = shutil.get_terminal_size((_WIDTH, 40)).columns
    in_a_row = max(1, (width - names) // (numbers + len(_GAP)))
    groups = -(-sets // in_a_row)  # rounded up
    return np.array_split(np.arange(1, sets + 1), groups)


def _without_empty_rows(cells: list[list[str]], columns: Sequence[int]) -> list[list[str]]:
    """The rows in which some set of a group has a number, and their headings."""
    found, heading = [cells[0]], None
    for row in cells[1:]:
        if len(row) == 1:
            heading = row
        elif any(row[k].strip() != _NOTHING for k in columns):
            if heading:
                found.append(heading)
            found.append(row)
            heading = None
    return found


def _block(cells: list[list[str]], columns: Sequence[int], names: int, numbers: int) -> str:
    """The table of some sets."""
    lines = _head_lines(cells[0], columns, names, numbers)
    lines.append("─" * max(map(len, lines)))
    for row in cells[1:]:
        if len(row) == 1:
            lines.append(row[0])
        else:
            lines.append(_line(row[0], [row[k] for k in columns], names, numbers))
    return "\n".join(lines)


def _head_lines(
    head: Sequence[str], columns: Sequence[int], names: int, numbers: int
) -> list[str]:
    """The names of some sets, in as many lines as they need."""
    wrapped = [textwrap.wrap(head[k], numbers) for k in columns]
    height = max(map(len, wrapped))
    lines = []
    for k in range(height):
        first = head[0] if k == height - 1 else ""
        row = [([""] * (height - len(name)) + name)[k] for name in wrapped]
        lines.append(_line(first, row, names, numbers))
    return lines


def _line(first: str, row: Sequence[str], names: int, numbers: int) -> str:
    return _GAP.join([first.ljust(names), *(cell.rjust(numbers) for cell in row)])
