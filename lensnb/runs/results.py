"""What a run leaves: its numbers as JSON and as text."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..compare import FidelityReport
from ..files import atomic_write, write_json
from .records import RESULTS, as_json


def versions() -> dict:
    """Versions of what the numbers depend on, the processor and the threads."""
    gpu = None
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    return {
        "lensnb": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def save_results(folder: str | Path, parameters: Mapping, report: FidelityReport, **more) -> Path:
    """Write ``results.json`` and the table of the comparison as ``report.txt``.

    ``results.json`` has the parameters, the versions and every number of the comparison.

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
    results = {
        "parameters": dict(parameters),
        "versions": versions(),
        **more,
        "table": table.splitlines(),
        "comparison": report.as_json(),
    }
    return write_json(Path(folder) / RESULTS, as_json(results))
