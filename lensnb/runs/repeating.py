"""The command that repeats a run, as one would type it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from .declared import declared
from .records import as_json, read_record


def is_running(folder: Path) -> bool:
    """Whether ``lensnb run`` is executing a notebook into this folder now."""
    return read_record(folder).get("status") == "running"


def repeated_by(folder: Path, parameters: Mapping) -> str:
    """The command that repeats what is under way; empty where the notebook is not known.

    It names the parameters that are not those which the notebook declares.

    Args:
        folder: the run folder.
        parameters: of the notebook, by name.
    """
    if is_running(folder):
        record = read_record(folder)
        words = ["lensnb", "run", record["notebook"], "--name", folder.resolve().name]
        notebook, used = Path(record["path"]), record["parameters"]
    else:
        notebook = Path(os.environ.get("JPY_SESSION_NAME", ""))  # Jupyter names its notebook
        words, used = ["lensnb", "run", notebook.name], as_json(dict(parameters))
    if not notebook.is_file():
        return ""
    for name, one in declared(notebook).items():
        if name in used and name != "folder" and used[name] != as_json(one.default):
            words += ["-p", name, str(used[name])]
    return shlex.join(words)
