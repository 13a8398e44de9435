"""What run folders say about themselves: ``run.json`` and ``results.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from ..files import plain_json

RECORD = "run.json"  # how a run stands: running, done, failed or unfinished
RESULTS = "results.json"  # the numbers of a run
REPORT_PAGE = "report.html"  # of a run that compares maps
NOTEBOOK_PAGE = "notebook.html"  # the executed notebook as a page


# What a record must be to be of use. A file of somebody else may have anything under these names.
_KINDS = {
    "notebook": str,
    "status": str,
    "started": str,
    "error": str,
    "path": str,
    "code": str,
    "parameters": dict,
    "files": dict,
    "versions": dict,
    "comparison": dict,
    "seconds": int | float,
}


def as_json(value):
    """A value as JSON has it: NaN, infinity and what JSON does not know are text."""
    return _or_text(plain_json(value))


def _or_text(value):
    if isinstance(value, Mapping):
        return {str(name): _or_text(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_or_text(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def read_record(folder: str | Path, name: str = RECORD) -> dict:
    """What a run folder's ``run.json``, or another JSON file, says.

    Empty where there is no such file, it is not whole, or it is no record. A value of another type
    than that of a record is left out.
    """
    path = Path(folder) / name
    try:
        if not path.is_file():  # a pipe would be read for ever
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if _fits(key, value)}


def _fits(key: str, value) -> bool:
    if isinstance(value, int) and not is_float(value):
        return False
    return isinstance(value, _KINDS.get(key, object))


def is_float(value) -> bool:
    """Whether a value is a number that a float can hold; JSON has whole numbers of any size."""
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, str)
