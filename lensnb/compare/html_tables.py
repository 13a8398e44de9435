"""The fidelity report as HTML for a notebook: its tables, its remarks, and where each model fails.

A table is as wide as its sets need. On a narrower page it scrolls by itself below a hint, and the
names of the rows stay. What notebooks do not trust loses the style sheet, and shows plain tables.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import faults, tables
from .answers import OFF, SAME, SYMBOLS
from .sets import NULL

if TYPE_CHECKING:
    from .report import FidelityReport, Row

_SENTENCES = 3  # for each model
_IN_SHORT = 24  # others that are listed in short
_NAMES_EM, _SET_EM = 16.5, 8.9  # widths of the column of names, and of one set
_NAMES_SHARE = 0.36  # of a narrow page, at most, for the names
_NAMES_WIDTH = f"min({_NAMES_EM:g}em, {100 * _NAMES_SHARE:g}cqw)"
_CLASSES = {SYMBOLS[SAME]: "same", SYMBOLS[OFF]: "off"}

# The first column must hide what scrolls below it, so it has the colour of the page: that of
# JupyterLab, of the book, of VS Code, or the browser's own.
_STYLE = """
.lensnb-report { container-type: inline-size; font-size: 12px; line-height: 1.4;
  --page: var(--jp-layout-color0, var(--pst-color-background,
    var(--vscode-editor-background, Canvas)));
  --line: color-mix(in srgb, currentColor 25%, transparent); }
.lensnb-report .wide { overflow-x: auto; margin: 0 0 .8em; }
.lensnb-report .hint { display: none; margin: 0 0 .3em; font-weight: 600; }
.lensnb-report .wide table.sets { border-collapse: separate; border-spacing: 0; margin: 0;
  table-layout: fixed; font-size: inherit; font-variant-numeric: tabular-nums; }
.lensnb-report .wide table.sets :is(td, th) { padding: .12em .2em; border: 0; text-align: right;
  white-space: nowrap; word-spacing: -.1em; vertical-align: bottom; background: none;
  max-width: none; }
.lensnb-report .wide table.sets td.range { white-space: normal; }
.lensnb-report .wide table.sets th { font-weight: normal; }
.lensnb-report .wide table.sets tr { background: none; border: 0; }
.lensnb-report .wide table.sets :is(th:first-child) { position: sticky; left: 0; z-index: 1;
  text-align: left; white-space: normal; background: var(--page);
  border-right: 1px solid var(--line); }
.lensnb-report .wide table.sets :is(thead th, .item td) { white-space: normal;
  overflow-wrap: anywhere; }
.lensnb-report .wide table.sets :is(thead th, .item th) { font-weight: 600; }
.lensnb-report .wide table.sets :is(thead th) { border-bottom: 1px solid var(--line); }
.lensnb-report .wide table.sets .item > * { padding-top: .7em; }
.lensnb-report .wide table.sets .item td { font-size: .9em; opacity: .8; }
.lensnb-report .wide table.sets td.same { background: #0973; }
.lensnb-report .wide table.sets td.off { background: #d604; }
.lensnb-report :is(p, ul, ol) { margin: .3em 0; }
.lensnb-report details { margin: .3em 0; }
.lensnb-report summary { cursor: pointer; }
.lensnb-report sub { line-height: 0; }
.lensnb-report :is(p, li, summary) { overflow-wrap: anywhere; }
@media print { .lensnb-report .hint { display: none !important; } }
"""


def report_html(report: FidelityReport) -> str:
    """The report for a notebook: the main table, its remarks, the failures, every statistic."""
    main = sets_table(tables.screen_cells(tables.headline_cells(report)), "Fidelity report")
    remarks = "<br>".join(written(line) for line in report.remarks())
    every = ""
    for what in ("scatter", "slope"):
        every += sets_table(tables.statistic_cells(report, what), f"{what} of every statistic")
    sets = len(report.names)
    return (
        f'<div class="lensnb-report sets-{sets}"><style>{_STYLE}{_hint_style(sets)}</style>'
        f"{main}<p>{remarks}</p>{_failures_html(report)}{_undecided_html(report)}"
        f"<details><summary>Every statistic</summary>{every}</details></div>"
    )


def written(text: str) -> str:
    """Text as HTML: indices below the line, and a true minus."""
    safe = html.escape(text)
    safe = re.sub(r"\b(C|Ω)_(\w)", r"\1<sub>\2</sub>", safe)
    return re.sub(r"(?<![\w.)-])-(?=\d)", "−", safe)


def _hint_style(sets: int) -> str:
    """The hint is seen where the page is narrower than so many sets."""
    this, numbers_em = f".lensnb-report.sets-{sets}", sets * _SET_EM
    fits_em = min(_NAMES_EM + numbers_em, numbers_em / (1 - _NAMES_SHARE))
    return (
        f"{this} .wide table.sets {{ width: calc({_NAMES_WIDTH} + {numbers_em:g}em); }}\n"
        f"@container (max-width: {fits_em:.4g}em) {{ {this} .hint {{ display: block; }} }}"
    )


def sets_table(cells: list[list[str]], label: str) -> str:
    """A table with a column for each set, the head first; a row of one cell is a heading.

    Args:
        cells: the first cell of each row is its name.
        label: what the table is, for those who hear it.
    """
    head, *rows = cells
    sets = len(head) - 1
    above = "".join(f'<th scope="col">{written(cell)}</th>' for cell in head)
    body = "".join(_row(row, head[1:]) for row in rows)
    columns = f'<col style="width:{_NAMES_WIDTH}">' + sets * "<col>"
    table = (
        f'<table class="sets"><colgroup>{columns}</colgroup>'
        f"<thead><tr>{above}</tr></thead><tbody>{body}</tbody></table>"
    )
    return (
        f'<p class="hint">{sets} columns: scroll the table sideways to see all →</p>'
        f'<div class="wide" role="region" aria-label="{html.escape(label)}" tabindex="0">'
        f"{table}</div>"
    )


def _row(row: Sequence[str], sets: Sequence[str]) -> str:
    first, *numbers = row
    if not numbers:  # the names of the sets again, since the head is far above
        short = ["null" if name == NULL else written(name) for name in sets]
        again = "".join(f'<td aria-hidden="true">{name}</td>' for name in short)
        return f'<tr class="item"><th scope="row">{written(first)}</th>{again}</tr>'
    inside = "".join(_cell(cell) for cell in numbers)
    first = first.replace("–", "\u2060–\u2060")  # a range stays on one line
    return f'<tr><th scope="row">{written(first.strip())}</th>{inside}</tr>'


def _cell(cell: str) -> str:
    kinds = [_CLASSES[cell[-1:]]] if cell[-1:] in _CLASSES else []
    if "(" in cell:
        kinds.append("range")  # it may take two lines
    marked = f' class="{" ".join(kinds)}"' if kinds else ""
    text = cell.strip().replace(") ", ")\u00a0")
    return f"<td{marked}>{written(text)}</td>"


# ---------------------------------------------------------------- where they fail


def _failures_html(report: FidelityReport) -> str:
    """The worst failures of each model as sentences, all others and the baselines folded."""
    names = [name for name in faults.models_first(report.generators) if _is_off(report, name)]
    if not names:
        return ""
    models = [name for name in names if not faults.is_baseline(name)]
    baselines = [name for name in names if faults.is_baseline(name)]
    text = "<p><b>Where each model fails, the worst first</b></p>"
    text += "".join(_model_html(report, name) for name in models)
    if baselines:
        each = ", ".join(f"{name} {len(faults.off_rows(report, name))}" for name in baselines)
        inside = "".join(_model_html(report, name) for name in baselines)
        summary = f"Baselines, with the numbers that are off: {each}"
        text += _folded(summary, inside)
    return text


def _is_off(report: FidelityReport, name: str) -> bool:
    return bool(faults.off_rows(report, name))


def _model_html(report: FidelityReport, name: str) -> str:
    rows = faults.off_rows(report, name)
    first = faults.of_different_items(rows, _SENTENCES)
    others = [row for row in rows if row not in first]
    heading = f"<b>{written(name)}</b>: {faults.counts_text(report, name)}"
    text = f"<p>{heading}</p>{_list(faults.sentence(report, row, name) for row in first)}"
    if others:
        text += _folded(f"{len(others)} more of {name}", _others_html(report, others, name))
    return text


def _others_html(report: FidelityReport, others: Sequence[Row], name: str) -> str:
    in_short = [faults.in_short(report, row, name) for row in others[:_IN_SHORT]]
    rest = len(others) - len(in_short)
    if rest:
        in_short.append(f"and {rest} more: report.failures({name!r}) has all")
    return f"<p>{written('; '.join(in_short))}</p>"


def _list(lines) -> str:
    items = [f"<li>{written(line)}</li>" for line in lines]
    return f"<ul>{''.join(items)}</ul>"


def _folded(summary: str, inside: str) -> str:
    return f"<details><summary>{written(summary)}</summary>{inside}</details>"


def _undecided_html(report: FidelityReport) -> str:
    items = ""
    for name, seen in report.smallest_faults().items():
        items += f"<li><b>{written(name)}</b>: {written(seen)}</li>"
    if not items:
        return ""
    summary = (
        "Where the maps are too few to tell, and the fault that would be seen in 90 % of cases"
    )
    return _folded(summary, f"<ul>{items}</ul>")
