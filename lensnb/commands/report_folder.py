"""The folder that a comparison leaves, and whether it holds that comparison already.

``compare.json`` says which files, by size and time, and which options the report is of. Its status
is "running" until everything is written, and then "done": an interrupted comparison starts again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from .. import __version__, plot
from ..compare import FidelityReport, faults
from ..compare.sets import TRUTH
from ..files import atomic_write, locked, write_json
from ..pages import write_page
from ..runs.inputs import fingerprints
from ..runs.records import as_json, read_record
from ..versions import versions

RECORD = "compare.json"
REPORT = "report.json"
PAGE = "report.html"
_BESIDE = {
    "report.csv": "the numbers as a table",
    "report.tex": "the same for LaTeX",
    "report.txt": "the same as text",
    REPORT: "to load the report in Python",
    "figures": "as SVG",
}


def wanted(files: Mapping, options: Mapping) -> dict:
    """What decides the numbers of a report, as plain JSON values.

    Args:
        files: the files, by the name of the option that names them.
        options: all other options, by name.
    """
    found = fingerprints(files, Path.cwd())
    return as_json({"lensnb": __version__, "files": found, "options": dict(options)})


def default_folder(names: list[str], what: Mapping) -> Path:
    """``reports/NAMES-HASH``, where the hash is that of :func:`wanted`."""
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    words = "".join(letter if letter.isalnum() else "_" for letter in "-".join(names))
    return Path("reports") / f"{words[:60]}-{digest}"


def is_done(folder: Path, what: Mapping, again: bool) -> bool:
    """Whether a folder holds this comparison.

    Raises:
        ValueError: it holds another one, or a report of something else, and ``again`` is False.
    """
    record = read_record(folder, RECORD)
    if not record:
        if (folder / REPORT).exists() and not again:
            raise ValueError(
                f"{folder} has a {REPORT} that this command did not write; expected another "
                "--out, or --again to replace it"
            )
        return False
    if again:
        return False
    for key, meaning in (
        ("lensnb", "of another version of lensnb"),
        ("files", "of other files"),
        ("options", "with other options"),
    ):
        if record.get(key) != what[key]:
            raise ValueError(
                f"{folder} holds a comparison {meaning}; expected another --out, or --again to "
                "replace it"
            )
    return record.get("status") == "done"


@contextmanager
def writing(folder: Path, what: Mapping) -> Iterator[Callable[..., None]]:
    """Hold a folder, which one process writes at a time.

    Yields:
        A function that writes a report in all its forms, its figures, and the record of what it
        is of. It takes the report, the command that repeats it, and the files of its sets.
    """
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            write_json(folder / RECORD, dict(what) | {"status": "running"})
            yield partial(_write, folder, what, start)
    finally:
        if not (folder / "report.txt").exists():
            (folder / RECORD).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()  # only if nothing else is there


def _write(
    folder: Path,
    what: Mapping,
    start: float,
    report: FidelityReport,
    command: str,
    sources: Mapping[str, str],
) -> None:
    with atomic_write(folder / "report.txt") as file:
        file.write(_text(report).encode())
    report.to_csv(folder / "report.csv")
    report.to_latex(folder / "report.tex")
    report.save(folder / REPORT)
    write_page(report, folder / PAGE, command=command, sources=sources, beside=_BESIDE)
    for name, figure in _figures(report):
        plot.save(figure, folder / "figures" / f"{name}.svg")
    date = datetime.now(UTC).isoformat(timespec="seconds")
    seconds = round(time.perf_counter() - start, 1)
    done = {"status": "done", "date": date, "seconds": seconds}
    write_json(folder / RECORD, dict(what) | done | {"versions": versions()})


def _text(report: FidelityReport) -> str:
    """The table with its remarks, and what fails in sentences."""
    lines = [report.text(100)]  # the same in every terminal
    failures = faults.whole_text(report)
    if failures:
        lines += ["", "Where they fail", "", failures]
    undecided = report.undecided()
    if undecided:
        lines += ["", "Where the maps are too few to tell"]
        lines += [f"- {sentence}" for sentence in undecided]
    return "\n".join(lines) + "\n"


def _figures(report: FidelityReport) -> Iterator[tuple[str, plot.Figure]]:
    """The figures of a report, each with its name."""
    yield "scorecard", plot.scorecard(report)
    yield "statistics", plot.comparison(report, ["power", "pdf"])
    yield "correlations", plot.correlations(report)
    yield "tails", plot.tails(report)
    yield "slopes", _single(plot.slopes, report)
    if np.isfinite(report.verdicts[report.names[0]]["joint"].eigenvalues.value).any():
        yield "eigenvalues", _single(plot.eigenvalues, report)
    if TRUTH in report.contours:
        yield "contours", _single(plot.contours, report)
    if report.neighbours:
        yield "nearest_training_maps", _single(plot.neighbours, report)


def _single(draw: Callable, report: FidelityReport) -> plot.Figure:
    figure, ax = plot.panels(1)
    draw(ax, report)
    return figure
