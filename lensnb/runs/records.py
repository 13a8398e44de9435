"""What run folders say about themselves: ``run.json`` and ``results.json``."""

from __future__ import annotations

import json
from pathlib import Path

RECORD = "run.json"  # how a run stands: running, done, failed or unfinished
RESULTS = "results.json"  # the numbers of a run


# What a record must be to be of use. A file of somebody else may have anything under these names.
_KINDS = {
    "notebook": str,
    "status": str,
    "error": str,
    "code": str,
    "parameters": dict,
    "files": dict,
    "comparison": dict,
    "seconds": int | float,
}


def read_record(folder: str | Path, name: str = RECORD) -> dict:
    """What a run folder's ``run.json``, or another JSON file, says.

    Empty where there is no such file, it is not whole, or it is no record. A value of another type
    than that of a record is left out.
    """
    try:
        found = json.loads((Path(folder) / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if _fits(key, value)}


def _fits(key: str, value) -> bool:
    return isinstance(value, _KINDS.get(key, object))
