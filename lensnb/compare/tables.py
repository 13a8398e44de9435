"""The fidelity report as tables of text cells, for a terminal and for a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from .answers import OFF, SAME, SYMBOLS
from .cost import Cost
from .estimate import threshold
from .quantities import ITEMS, Quantity
from .sets import NULL
from .verdict import Verdict

if TYPE_CHECKING:
    from .report import FidelityReport

_SENTENCES = 8  # that are seen at once in a notebook
_IN_SHORT = 24  # others that are listed in short
_MARGIN = 0.1  # of a single statistic
# What is expected of true maps, and the margin, where they are not 1 and 10 %.
_EXPECTED = {"mean": (1.0, 0.05), "scatter": (1.0, 0.05), "shift": (0.0, 0.05)}
_STYLES = {
    SYMBOLS[SAME]: ' style="background:#0973"',
    SYMBOLS[OFF]: ' style="background:#d604"',
}


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


def text_table(cells: list[list[str]], left: int) -> str:
    """Cells as lines of text, the head first; all but ``left`` columns are flush right."""
    widths = [max(len(cell) for cell in column) for column in zip(*cells)]
    lines = []
    for row in cells:
        aligned = [cell.ljust(width) for cell, width in zip(row[:left], widths[:left])]
        aligned += [cell.rjust(width) for cell, width in zip(row[left:], widths[left:])]
        lines.append("  ".join(aligned))
    rule = "─" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:]])


def html_table(cells: list[list[str]], left: int) -> str:
    """The same as HTML; answers are coloured, on light pages and on dark ones."""
    head = ""
    for i, cell in enumerate(cells[0]):
        head += f'<th scope="col" style="{_align(i, left)}">{html.escape(cell)}</th>'
    body = ""
    for row in cells[1:]:
        inside = "".join(_html_cell(cell, i, left) for i, cell in enumerate(row))
        # An attribute of the row is shorter than a style of each cell: there are hundreds.
        body += f'<tr align="right">{inside}</tr>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(cell: str, column: int, left: int) -> str:
    if column < left and not cell:
        return "<td></td>"
    if column < left:
        style = f"{_align(column, left)};font-weight:normal;white-space:nowrap"
        return f'<th scope="row" style="{style}">{html.escape(cell)}</th>'
    style = _STYLES.get(cell[-1:], "")
    text = html.escape(cell.strip()).replace(" ", "\u00a0")  # a number stays on one line
    if cell.endswith(SYMBOLS[OFF]):
        text = f"<b>{text}</b>"
    return f"<td{style}>{text}</td>"


def _align(column: int, left: int) -> str:
    if column < left:
        return "text-align:left"
    return "text-align:right"


def report_html(report: FidelityReport) -> str:
    """The report for a notebook: the main table, its remarks, the failures, every statistic."""
    remarks = "<br>".join(html.escape(line) for line in report.remarks())
    every = ""
    for what in ("scatter", "slope"):
        every += html_table(statistic_cells(report, what), 1)
    return (
        f"{html_table(headline_cells(report), 2)}<p>{remarks}</p>{_failures_html(report)}"
        f"{_undecided_html(report)}<details><summary>Every statistic</summary>{every}</details>"
    )


def _failures_html(report: FidelityReport) -> str:
    """The worst failures as whole sentences, all others in short."""
    sentences = report.failures()
    if not sentences:
        return ""
    first, others = sentences[:_SENTENCES], sentences[_SENTENCES:]
    text = f"<p><b>Where they fail, worst first</b></p>{_list(first)}"
    if others:
        in_short = [line.split(", expected ")[0] for line in others[:_IN_SHORT]]
        rest = len(others) - len(in_short)
        if rest:
            in_short.append(f"and {rest} more: report.failures() has all")
        summary = f"<summary>and {len(others)} more</summary>"
        text += f"<details>{summary}{_list(in_short)}</details>"
    return text


def _list(lines: list[str]) -> str:
    items = [f"<li>{html.escape(line)}</li>" for line in lines]
    return f"<ul>{''.join(items)}</ul>"


def _undecided_html(report: FidelityReport) -> str:
    items = ""
    for name, faults in report.smallest_faults().items():
        items += f"<li><b>{html.escape(name)}</b>: {html.escape(faults)}</li>"
    if not items:
        return ""
    summary = (
        "Where the maps are too few to tell, and the fault that would be seen in 90 % of cases"
    )
    return f"<details><summary>{summary}</summary><ul>{items}</ul></details>"
