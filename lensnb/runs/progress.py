"""How far a run under way is: its cells, its trainings, and when it last wrote something."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from .records import is_float

_TAIL = 4096  # bytes; the last record of a training is in them


def under_way(folder: Path, record: Mapping) -> str:
    """How far a run is, in words.

    A run that was killed says that it is running for ever; the time since it last wrote something
    tells the two apart.

    Args:
        folder: the run folder.
        record: its ``run.json``.
    """
    said = [*_cells_done(folder, record), *_trainings(folder)]
    started = _since(record.get("started"))
    if started is not None:
        said.append(f"started {_ago(started)}")
    wrote = _last_written(folder)
    if wrote is not None:
        said.append(f"last wrote something {_ago(wrote)}")
    return ", ".join(said)


def _cells_done(folder: Path, record: Mapping) -> list[str]:
    """How many code cells of the notebook are done; papermill writes it after each."""
    path = folder / Path(record.get("notebook", "")).name
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        status = [cell["metadata"]["papermill"]["status"] for cell in code]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [f"{status.count('completed')} of {len(status)} cells done"]


def _trainings(folder: Path) -> list[str]:
    """The step of the training that was written last."""
    histories = sorted(folder.glob("*/history.jsonl"), key=_written)
    if not histories:
        return []
    newest = histories[-1]
    last = _last_record(newest)
    step = last.get("step")
    if not isinstance(step, int) or "stopped" in last:
        return []
    return [f"{newest.parent.name} at step {step}"]


def _last_record(history: Path) -> dict:
    """The last whole line of a history; empty where there is none."""
    try:
        with open(history, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):  # half a line: it is being written
            continue
        if isinstance(found, dict):
            return found
    return {}


def _written(path: Path) -> float:
    """When a file was last written, seconds; 0 where it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last_written(folder: Path) -> float | None:
    """Seconds since something in a folder, or in one of its folders, was written."""
    times = [_written(path) for pattern in ("*", "*/*") for path in folder.glob(pattern)]
    if not times:
        return None
    return time.time() - max(times)


def _since(date: object) -> float | None:
    """Seconds since a date in ISO format; None where it is none."""
    try:
        then = datetime.fromisoformat(date)
        return (datetime.now(UTC) - then).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None


def _ago(seconds: float) -> str:
    """A time in words."""
    if not is_float(seconds) or seconds < 0:
        return "just now"
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return f"{int(seconds)} s ago"
