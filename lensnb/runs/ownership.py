"""Whose a run folder is: a run replaces nothing but an earlier run of the same notebook.

Each function takes ``wanted``, what decides the results of a run: ``notebook`` as it was called,
its resolved ``path``, a hash of its ``code``, its ``parameters``, and the ``files`` they name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .records import RESULTS, read_record

# What may be in a folder before its first run: the output of that run, which a sweep keeps there,
# and trainings, which a run resumes.
_LOG = "log.txt"
_TRAINED = ("training.safetensors", "model.safetensors")


def run_folder(notebook: Path, name: str, root: Path) -> Path:
    """The folder of a run, which lies below the root and does not have the notebook itself.

    Raises:
        ValueError: it would not.
    """
    below = os.path.normpath(name)
    outside = below == os.pardir or below.startswith(os.pardir + os.sep)
    if not name or below == os.curdir or outside or Path(name).is_absolute():
        raise ValueError(f"the name of a run is {name!r}; expected one of a folder below {root}")
    folder = root / below
    if folder.resolve() == notebook.resolve().parent:
        raise ValueError(
            f"the run would overwrite {notebook}, which is in {folder}; expected another name"
        )
    return folder


def check_owner(folder: Path, wanted: Mapping, again: bool) -> None:
    """Refuse a folder that has another run, or something that no run left there.

    Raises:
        ValueError: it has files of the user; or a run of another notebook; or a run with other
            parameters, or of a notebook elsewhere with other code, that did not fail and is not
            to be run again.
    """
    record = read_record(folder)
    mine, other = Path(wanted["notebook"]).name, Path(record.get("notebook", "")).name
    if not other or "status" not in record:
        _check_no_files(folder, mine)
        return
    if other != mine:
        raise ValueError(
            f"{folder} holds a run of {other}; expected another name for one of {mine}"
        )
    if again or record["status"] == "failed":
        return
    if _is_elsewhere(record, wanted):
        raise ValueError(
            f"{folder} holds a run of {record['path']}, whose code is another; "
            "expected another name, or again to replace it"
        )
    changes = _changes(record, wanted)
    if changes:
        raise ValueError(
            f"{folder} holds a run with other parameters: {'; '.join(changes)}; "
            "expected another name, or again to replace it"
        )


def is_done(record: Mapping, wanted: Mapping) -> bool:
    """Whether a record is that of this run, finished."""
    if record.get("status") != "done":
        return False
    # The same notebook may be called by another path; its relative paths are among the files.
    same = Path(record.get("notebook", "")).name == Path(wanted["notebook"]).name
    same &= record.get("code") == wanted["code"]
    same &= record.get("parameters", {}).keys() == wanted["parameters"].keys()
    # Runs of older versions did not record files.
    same &= record.get("files", {}).keys() == wanted["files"].keys()
    return same and not _changes(record, wanted)


def _check_no_files(folder: Path, notebook: str) -> None:
    """Refuse a folder without a run that has anything which no notebook left there.

    A notebook that was run by hand left its results, and a run may replace all that is with them;
    but not a copy of the notebook, which is the user's.
    """
    by_hand = "lensnb" in (read_record(folder, RESULTS).get("versions") or {})
    for one in sorted(folder.iterdir()):
        left = by_hand or _may_be_there(one)
        if one.name == notebook or not left:
            raise ValueError(
                f"{folder} has {one.name}, which no run left there and a run could replace; "
                "expected another name, or a folder without files"
            )


def _may_be_there(path: Path) -> bool:
    hidden = path.name.startswith(".")
    training = any((path / name).is_file() for name in _TRAINED)
    return hidden or training or path.name in (_LOG, *_TRAINED)


def _is_elsewhere(record: Mapping, wanted: Mapping) -> bool:
    """Whether a recorded run is of another notebook of the same file name.

    Runs of older versions did not record where it was. A copy with the same code is the same.
    """
    moved = record.get("path", wanted["path"]) != wanted["path"]
    return moved and record.get("code") != wanted["code"]


def _changes(record: Mapping, wanted: Mapping) -> list[str]:
    """What was otherwise in a recorded run, of all that it recorded."""
    found = []
    known, files = record.get("parameters", {}), record.get("files")
    for name, value in wanted["parameters"].items():
        if files is not None and name in {**files, **wanted["files"]}:
            if files.get(name) != wanted["files"].get(name):
                found.append(f"{name} named {known.get(name)!r} with other data, now {value!r}")
        elif name in known and known[name] != value:
            found.append(f"{name} was {known[name]!r}, now {value!r}")
    return found
