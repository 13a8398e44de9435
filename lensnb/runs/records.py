"""What run folders say about themselves: ``run.json`` and ``results.json``."""

from __future__ import annotations

import json
from pathlib import Path

RECORD = "run.json"  # how a run stands: running, done, failed or unfinished
RESULTS = "results.json"  # the numbers of a run


def read_record(folder: str | Path, name: str = RECORD) -> dict:
    """What a run folder's ``run.json``, or another JSON file, says.

    Empty where there is no such file or it is not whole.
    """
    try:
        return json.loads((Path(folder) / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
