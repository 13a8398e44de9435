"""Tables and targets of the fidelity report, for :mod:`benchmarks.generators`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from benchmarks.generator_models import FLOW, GLOW, OTHERS
from lensnb.compare import FidelityReport, Row
from lensnb.compare.answers import OFF, OPEN, SAME, SYMBOLS

SHOWN = ("C_ℓ mean", "C_ℓ scatter", "C_ℓ slope", "slope of all bins", "contour area")
UNTRAINED = ", untrained"  # after the name of a model
LEGEND = (
    "± is one standard error, and 1 is expected. A symbol after a number says: = as the "
    "simulations, * off, ? cannot tell. Models are compared with truth and null together, the "
    "null with the truth."
)
Target = tuple[str, str, bool]  # what was asked for, what was found, whether that is enough


def untrained(name: str) -> str:
    """The name of a model of lensnb before its training."""
    return name + UNTRAINED


def shown(report: FidelityReport) -> list[Row]:
    """The numbers that the tables show."""
    return [row for row in report.rows() if row.quantity.name in SHOWN]


def heading(row: Row, report: FidelityReport) -> str:
    """The name of a number, with the parameters that it is about."""
    if row.quantity.name == "contour area" and report.parameters:
        return f"{row.quantity.name} ({', '.join(report.parameters)})"
    return row.quantity.name


def fidelity_table(report: FidelityReport) -> Iterator[str]:
    """A row a set, a column a number with its answer.

    The last two columns count the answers of all rows of the report, and the maps left out.
    """
    rows, every = shown(report), report.rows()
    columns = [heading(row, report) for row in rows]
    columns += [f"all {len(every)} rows", "maps left out (not finite)"]
    yield f"| | {' | '.join(columns)} |"
    yield "|---|" + "--:|" * len(columns)
    for name in report.names:
        cells = [
            f"{row.quantity.text(row.estimates[name])} {row.answers[name].symbol}".rstrip()
            for row in rows
        ]
        cells += [answers_in_short(every, name), str(report.counts[name]["dropped"])]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield LEGEND
    yield f"Truth: {report.counts['truth']['maps']} maps."


def answers_in_short(rows: list[Row], name: str) -> str:
    """How many rows have each answer."""
    count = Counter(row.answers[name].kind for row in rows)
    return ", ".join(f"{count[kind]} {SYMBOLS[kind]}" for kind in (SAME, OFF, OPEN))


# ---------------------------------------------------------------- targets


def is_better(row: Row, ours: str, other: str) -> bool:
    """As the simulations, or closer to what is expected than the other."""
    if row.answers[ours].kind == SAME:
        return True
    return abs(row.answers[ours].difference) < abs(row.answers[other].difference)


def compared(report: FidelityReport, ours: str, other: str) -> tuple[list[Row], list[Row]]:
    """The numbers that a training had to win, and those that the untrained model wins already."""
    to_learn, already = [], []
    for row in shown(report):
        pair = [row.estimates[ours].value, row.estimates[other].value]
        if not np.isfinite(pair).all():
            continue
        if is_better(row, untrained(ours), other):
            already.append(row)
        else:
            to_learn.append(row)
    return to_learn, already


def fidelity_targets(report: FidelityReport, after: str) -> Iterator[Target]:
    """Closer to what is expected than the other, or as the simulations, in each number to learn.

    Args:
        report: of models, untrained models of lensnb, and the others.
        after: after what.
    """
    for other, _, ours in OTHERS.values():
        if other not in report.names:
            continue
        to_learn, _ = compared(report, ours, other)
        if not to_learn:
            continue
        better = [row.quantity.name for row in to_learn if is_better(row, ours, other)]
        found = f"{len(better)} of {len(to_learn)} numbers"
        if better:
            found += f": {', '.join(better)}"
        target = f"after {after}, closer to the truth than {other}, or as the simulations"
        yield target, found, len(better) == len(to_learn)


def untrained_notes(report: FidelityReport) -> Iterator[str]:
    """In which numbers the untrained models win already, which no target counts."""
    for other, _, ours in OTHERS.values():
        if other not in report.names:
            continue
        _, already = compared(report, ours, other)
        if already:
            names = ", ".join(row.quantity.name for row in already)
            yield (
                f"- Without any training, {ours} is closer to the truth than {other}, or as the "
                f"simulations, in: {names}. No target counts these."
            )


def bits_targets(bits: dict[str, np.ndarray], after: str) -> Iterator[Target]:
    """Fewer bits per dimension than Glow, unless the untrained flow already needs fewer.

    Args:
        bits: of each simulation of the truth, by flow.
        after: after what.
    """
    if GLOW not in bits or bits[untrained(FLOW)].mean() < bits[GLOW].mean():
        return
    fewer = bits[GLOW] - bits[FLOW]
    error = fewer.std(ddof=1) / math.sqrt(len(fewer))
    target = f"after {after}, fewer bits per dimension than {GLOW}"
    yield target, f"{fewer.mean():.4f} ± {error:.4f} fewer", bool(fewer.mean() > 2 * error)
