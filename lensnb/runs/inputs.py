"""The files that parameters of a run name: where they are, and which data they hold."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def found_below(value, here: Path):
    """A relative path, or pattern, of something below a folder made absolute.

    So is one that starts with ``~``, the home; and each one in a list. Anything else stays as it
    is. The kernel works in the notebook's folder, as in Jupyter, where
    the paths that the notebook itself names are found.

    Args:
        value: a parameter.
        here: the folder.
    """
    if isinstance(value, list | tuple):
        return type(value)(found_below(one, here) for one in value)
    if not isinstance(value, str) or not value or Path(value).is_absolute():
        return value
    at_home = os.path.expanduser(value)
    if at_home != value:
        if _exists(Path(at_home)) or _matches(at_home, here):
            return at_home
        return value
    if _exists(here / value):  # also a name with brackets, which are no pattern then
        return str(here / value)
    if _matches(value, here):
        # Brackets in the folder's own path are no pattern.
        return str(Path(glob.escape(str(here))) / value)
    return value


def fingerprints(parameters: Mapping, folder: Path) -> dict[str, list]:
    """Which data the parameters of a run name.

    Args:
        parameters: values by name; those that name no file have no data.
        folder: where relative paths start.

    Returns:
        By parameter, the path, size (bytes) and time (ns since 1970) of each of its files.
    """
    found = {}
    for name, value in parameters.items():
        files = [file for text in _texts(value) for file in _files(text, folder.resolve())]
        if files:
            found[name] = [_stamp(file) for file in files]
    return found


def _texts(value) -> Iterator[str]:
    """What may name files in a parameter, which may be a list of them."""
    if isinstance(value, str) and value:
        yield value
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _files(value: str, folder: Path) -> list[Path]:
    """What a path or pattern names; of a folder also what is in it, of a zarr set all of it."""
    value = os.path.expanduser(value)  # as every reader does
    paths = [folder / value]
    if not _exists(paths[0]):
        paths = [folder / match for match in _matches(value, folder)]
    found = []
    for path in paths:
        found.append(path)
        if path.is_dir():
            inside = path.rglob("*") if path.suffix == ".zarr" else path.iterdir()
            found += sorted(one for one in inside if one.is_file())
    return found


def _stamp(path: Path) -> list:
    """Path, size and time of a file. A folder has its path only: its files are there, too."""
    path = path.resolve()
    if path.is_dir():
        return [str(path)]
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text that is too long for a path, or has a NUL
        return False


def _matches(pattern: str, folder: Path) -> list[str]:
    if not glob.has_magic(pattern) or "\0" in pattern:
        return []
    return sorted(glob.glob(pattern, root_dir=folder, recursive=True))
