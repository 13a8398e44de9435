"""The headline numbers of a report for other programs, and its scorecard in ten lines."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import atomic_write
from . import tables
from .answers import OFF, OPEN, SAME, SYMBOLS, distance_in_short
from .items import ItemAnswer, item_answers
from .quantities import ITEMS

if TYPE_CHECKING:
    from .report import FidelityReport, Row

COLUMNS = (
    "item", "about", "quantity", "set", "value", "error", "low", "high", "expected", "answer",
    "sigmas", "seen", "meaning",
)  # fmt: skip

# What LaTeX would take for a command, and letters that its usual fonts lack.
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "*": "$*$", "=": "$=$", "±": r"$\pm$", "×": r"$\times$",
    "∞": r"$\infty$", "–": "--", "…": r"\dots{}", "°": r"$^\circ$", "′": "$'$", "ℓ": r"$\ell$",
    "κ": r"$\kappa$", "σ": r"$\sigma$", "γ": r"$\gamma$", "Ω": r"$\Omega$", "₈": "$_8$",
    "\u00a0": "~", "[": "{[}", "]": "{]}",
}  # fmt: skip


def records(report: FidelityReport) -> list[dict]:
    """The headline numbers, one after the other for each set.

    Every record has the keys :data:`COLUMNS`: the item with its number and its name (``about``),
    the quantity and the set; its value, standard error and 95 % interval (``low``, ``high``);
    what is expected; the answer; the distance from what is expected in standard errors
    (``sigmas``); the smallest difference that would be seen in 90 % of cases (``seen``); and what
    it means (``meaning``), if it is off. A number that is not defined is NaN.

    "Effective maps" are maps. Only their inverse has an error, so they have an interval alone, and
    ``sigmas`` and ``seen`` are those of the inverse.
    """
    return [_record(row, name) for row in report.rows() for name in report.names]


def frame(report: FidelityReport):
    """:func:`records` as a ``pandas.DataFrame``.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError(
            "a report as a table of pandas needs pandas, which is not installed: "
            "pip install 'lensnb[lab]' (report.to_csv needs nothing)"
        ) from None
    return pandas.DataFrame(records(report), columns=list(COLUMNS))


def write_csv(report: FidelityReport, path: str | Path) -> Path:
    """Write :func:`records` as CSV, atomically; what is not defined is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for record in records(report):
        writer.writerow({key: _cell(value) for key, value in record.items()})
    return _write(path, text.getvalue())


def write_latex(report: FidelityReport, path: str | Path) -> Path:
    r"""Write the main table as a LaTeX ``tabular`` with the lines of booktabs, atomically."""
    head, *rows = tables.headline_cells(report)
    lines = [
        "% needs \\usepackage{booktabs}",
        f"% {_legend()}; an error is one standard error",
        f"\\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
        "\\toprule",
        _latex_row(head),
        "\\midrule",
    ]
    for number, row in enumerate(rows):
        if row[0] and number:
            lines.append("\\addlinespace")
        lines.append(_latex_row(row))
    lines += ["\\bottomrule", "\\end{tabular}"]
    return _write(path, "\n".join(lines) + "\n")


def scorecard(report: FidelityReport, width: int | None = None) -> str:
    """Ten lines at most: an answer for each item and set, and the worst number where it is off.

    Args:
        report: what was found.
        width: columns of characters. Where the sets need more, the lines go on below. None: those
            of the terminal.
    """
    cells = [["item", *report.names]]
    for item, answers in item_answers(report).items():
        texts = [_item_text(one, name) for name, one in answers.items()]
        cells.append([f"{item} {ITEMS[item]}", *texts])
    return "\n".join([*_lines(cells, width), _legend()])


def _lines(cells: list[list[str]], width: int | None) -> list[str]:
    """Cells as lines; where the sets need more columns than there are, they go on below."""
    widths = [max(len(cell) for cell in column) for column in zip(*cells)]
    lines = []
    for columns in tables.in_groups(len(cells[0]) - 1, widths[0], max(widths[1:]), width):
        for row in cells:
            aligned = [row[k].ljust(widths[k]) for k in (0, *columns)]
            lines.append("  ".join(aligned).rstrip())
    return lines


def _item_text(found: ItemAnswer, name: str) -> str:
    """The answer of an item about one set."""
    if found.kind == OFF:
        worst = found.worst
        distance = distance_in_short(worst.estimates[name], worst.answers[name].sigmas)
        return f"{SYMBOLS[OFF]} {found.count} of {found.known}, {distance}"
    if found.kind == OPEN:
        return f"{SYMBOLS[OPEN]} {found.count} of {found.known}"
    return SYMBOLS.get(found.kind, "–")


def _legend() -> str:
    return f"{SYMBOLS[SAME]} {SAME}; {SYMBOLS[OFF]} {OFF}; {SYMBOLS[OPEN]} {OPEN}"


def _record(row: Row, name: str) -> dict:
    quantity, estimate, answer = row.quantity, row.estimates[name], row.answers[name]
    value, error = float(estimate.value), float(estimate.error)
    low, high = (float(end) for end in estimate.interval)
    expected = float(quantity.expected_of(estimate))
    if quantity.inverse:
        value, expected, error = _one_over(value), _one_over(expected), np.nan
        low, high = _one_over(high), _one_over(low)
    numbers = (value, error, low, high, expected)
    kind = answer.kind
    values = (
        quantity.item, ITEMS[quantity.item], quantity.name, name, *numbers, kind,
        float(answer.sigmas), float(answer.seen), answer.meaning,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _one_over(value: float) -> float:
    """1/N as N; a bound that noise made zero or negative is no bound."""
    if np.isnan(value):
        return value
    if value <= 0:
        return np.inf
    return 1 / value


def _cell(value):
    if isinstance(value, float) and np.isnan(value):
        return ""
    return value


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(_latex(cell.strip()) for cell in cells) + r" \\"


def _latex(text: str) -> str:
    """Text as LaTeX shows it; what is off is bold."""
    parts = []
    for part in text.split("C_ℓ"):
        parts.append("".join(_LATEX.get(letter, letter) for letter in part))
    found = r"$C_\ell$".join(parts)
    found = re.sub(r"^-(?=\d)", "$-$", found)
    if text.endswith(f" {SYMBOLS[OFF]}"):
        return rf"\textbf{{{found}}}"
    return found


def _write(path: str | Path, text: str) -> Path:
    with atomic_write(path) as file:
        file.write(text.encode())
    return Path(path)
