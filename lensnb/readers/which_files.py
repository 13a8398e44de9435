"""Which files a path, a pattern or a list stands for."""

from __future__ import annotations

import glob
import re
from os import PathLike
from pathlib import Path

from .formats import expected_files


def list_files(path) -> list[Path]:
    """The files that a path, a pattern or a list stands for.

    Args:
        path: a file, a pattern, whose matches are sorted with 2 before 10, or a list of files,
            which keeps its order.

    Raises:
        FileNotFoundError: nothing matches the pattern, or a file of the list does not exist.
        ValueError: the list is empty.
    """
    if not isinstance(path, str | PathLike):
        return _listed(path)
    path = Path(path).expanduser()
    # A file may have brackets in its name: it is no pattern then.
    if path.exists() or not re.search(r"[*?\[]", str(path)):
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True), key=_natural)
    if not matches:
        raise FileNotFoundError(f"no file matches the pattern {path}; expected {expected_files()}")
    return [Path(match) for match in matches]


def _listed(paths) -> list[Path]:
    if not len(paths):
        raise ValueError(f"the list of files is empty; expected {expected_files()}")
    files = [Path(one).expanduser() for one in paths]
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        shown = ", ".join(missing[:10])
        if len(missing) > 10:
            shown += ", …"
        raise FileNotFoundError(
            f"{len(missing)} of the {len(files)} files of the list do not exist; expected {shown}"
        )
    return files


def _natural(name: str) -> list:
    """Sort key that puts map2 before map10: text and numbers in turn."""
    parts = re.split(r"(\d+)", name)
    parts[1::2] = map(int, parts[1::2])
    return parts
