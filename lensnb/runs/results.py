"""What a run leaves: its numbers as JSON and as text, and the page of its report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import atomic_write, write_json
from ..versions import versions
from .records import NOTEBOOK_PAGE, REPORT_PAGE, RESULTS, as_json
from .repeating import is_running, repeated_by

if TYPE_CHECKING:
    from ..compare import FidelityReport


def save_results(folder: str | Path, parameters: Mapping, report: FidelityReport, **more) -> Path:
    """Write ``results.json``, and the comparison as ``report.txt`` and as ``report.html``.

    ``results.json`` has the parameters, the versions and every number of the comparison.
    ``report.html`` is the page of :func:`lensnb.pages.write_page`.

    Args:
        folder: the run folder.
        parameters: what :func:`check_parameters` returned, the seed among them.
        report: the comparison.
        more: further values, such as timings; NaN and infinity become text.

    Returns:
        Path of ``results.json``.
    """
    table = report.text(100)  # the same in every terminal
    with atomic_write(Path(folder) / "report.txt") as file:
        file.write((table + "\n").encode())
    _write_page(Path(folder), parameters, report)
    results = {
        "parameters": dict(parameters),
        "versions": versions(),
        **more,
        "table": table.splitlines(),
        "comparison": report.as_json(),
    }
    return write_json(Path(folder) / RESULTS, as_json(results))


def _write_page(folder: Path, parameters: Mapping, report: FidelityReport) -> Path:
    from ..compare.sets import NULL, TRAIN, TRUTH
    from ..pages import write_page

    beside = {RESULTS: "every number, for other programs", "report.txt": "the table"}
    if is_running(folder):
        beside = {NOTEBOOK_PAGE: "the executed notebook"} | beside
    maps = parameters.get("maps") or "the shipped sample"
    return write_page(
        report,
        folder / REPORT_PAGE,
        command=repeated_by(folder, parameters),
        parameters={name: one for name, one in parameters.items() if name != "folder"},
        sources=dict.fromkeys((TRUTH, NULL, TRAIN), maps),
        beside=beside,
    )
