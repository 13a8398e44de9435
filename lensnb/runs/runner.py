"""The runner: execute a notebook with parameters into a folder, once."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

from ..files import locked, write_json
from ..versions import versions
from .declared import read_notebook
from .execution import Unfinished, complete, execute
from .inputs import fingerprints, found_below
from .ownership import check_owner, is_done, run_folder
from .parameters import all_parameters, check_names
from .records import NOTEBOOK_PAGE, RECORD, REPORT_PAGE, RESULTS, as_json, read_record


def run(
    notebook: str | Path,
    name: str | None = None,
    parameters: Mapping | None = None,
    root: str | Path = "runs",
    again: bool = False,
) -> Path:
    """Execute a notebook with parameters into ``root/name``, unless that is done already.

    A run is done when its ``run.json`` says so, for the same code, the same parameters and the
    same files: a file that a parameter names is known by its path, size and time. An interrupted
    run is executed once more; its trainings resume from their last checkpoints. If several
    processes start the same run, one does it and the others wait. Batch systems send SIGTERM or
    SIGUSR1 before a time limit: these interrupt the kernel, so that a training saves a checkpoint.

    Args:
        notebook: path of the notebook.
        name: name of the run folder; by default the notebook's, without its number, with a hash of
            the parameters.
        parameters: values by name; ``folder``, where the notebook has it, is set to the run
            folder. The kernel works in the notebook's folder, as in Jupyter, and relative paths
            start there, except those that exist below the current directory.
        root: where run folders are.
        again: execute the notebook even where it is done, or where the folder has a run with other
            parameters or other code, which it replaces.

    Returns:
        The run folder: the executed notebook, the same as ``notebook.html``, ``figures/``,
        ``results.json``, ``run.json``, trained models, and ``report.html`` if it compares maps.

    Raises:
        FileNotFoundError, ValueError: see :func:`~lensnb.runs.parameters.check_names`, or the
            folder holds a run of another notebook or with other parameters, has files that no run
            left, is not below the root, or has the notebook itself; nothing was started.
        RuntimeError: the notebook failed; its cell and error are named, and what it had written
            stays.
        Unfinished: it was asked to stop.
    """
    return run_from(Path.cwd(), notebook, name, parameters, root, again)


def run_from(
    here: Path,
    notebook: str | Path,
    name: str | None = None,
    parameters: Mapping | None = None,
    root: str | Path = "runs",
    again: bool = False,
) -> Path:
    """:func:`run`, for parameters whose relative paths start at the folder ``here``."""
    notebook = Path(notebook)
    given = given_here(here, notebook, parameters or {})
    wanted = _wanted(notebook, given)
    if name is None:
        name = _name(notebook, wanted)
    folder = run_folder(notebook, name, Path(root))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(
            f"{folder} cannot be a folder, because there is a file in its place; "
            "expected another name or root"
        ) from None
    with locked(folder, wait=True):
        check_owner(folder, wanted, again)
        if is_done(read_record(folder), wanted) and not again:
            # A workflow engine deletes its outputs before it starts a run.
            (folder / "done").touch()
            print(
                f"{folder} is done already, by the same notebook with the same parameters",
                flush=True,
            )
            return folder
        _clear(folder)
        seconds = _run_now(notebook, folder, given, wanted)
        # For workflow engines, which look at files; for lensnb run.json decides.
        (folder / "done").touch()
    print(f"{notebook.name} took {seconds:.0f} s", flush=True)
    return folder


def given_here(here: Path, notebook: Path, parameters: Mapping) -> dict:
    """Checked parameters, with absolute paths of what is below the folder ``here``.

    Raises:
        FileNotFoundError, ValueError: see :func:`~lensnb.runs.parameters.check_names`.
    """
    given = check_names(notebook, parameters)
    return {name: found_below(value, here) for name, value in given.items()}


def run_name(notebook: str | Path, given: Mapping) -> str:
    """The name of the folder of a run: that of its notebook, and a hash of its parameters."""
    return _name(Path(notebook), _wanted(Path(notebook), given))


def _name(notebook: Path, wanted: dict) -> str:
    return folder_name(notebook, wanted["parameters"], wanted["files"])


def _wanted(notebook: Path, given: Mapping) -> dict:
    """What decides the results of a run: its code, its parameters and the files that they name."""
    used = all_parameters(notebook, given)
    return {
        "notebook": str(notebook),
        "path": str(notebook.resolve()),
        "code": _code(notebook),
        "parameters": as_json(used),
        "files": fingerprints(used, notebook.parent),
    }


def _clear(folder: Path) -> None:
    """Remove the results of an earlier run: they are not those of the run that starts.

    Trainings stay. They resume, or refuse other settings by themselves.
    """
    for name in ("done", RESULTS, "report.txt", REPORT_PAGE, NOTEBOOK_PAGE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "figures", ignore_errors=True)


def _run_now(notebook: Path, folder: Path, given: Mapping, wanted: dict) -> float:
    """Execute the notebook and keep its record; returns the seconds that it took."""
    record = wanted | {
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": wanted["parameters"].get("seed"),
        "git": _git(notebook.parent),
        "versions": versions(),
        "packages": _packages(),
    }
    write_json(folder / RECORD, record)
    start = time.perf_counter()
    try:
        executed = execute(notebook, folder, given)
        complete(folder, executed, time.perf_counter() - start)
    except BaseException as error:
        record["status"] = "failed"
        if isinstance(error, Unfinished | KeyboardInterrupt):
            record["status"] = "unfinished"
        record["seconds"] = time.perf_counter() - start
        record["error"] = " ".join(str(error).split())
        write_json(folder / RECORD, record)
        raise
    seconds = time.perf_counter() - start
    write_json(folder / RECORD, record | {"status": "done", "seconds": seconds})
    return seconds


def folder_name(
    notebook: str | Path, parameters: Mapping, files: Mapping[str, list] | None = None
) -> str:
    """The name of a run's folder: the notebook's without its number, and a hash of the parameters.

    The hash has eight digits.

    Args:
        notebook: the notebook.
        parameters: values by name.
        files: the files that parameters name, by parameter; they stand for its value.
    """
    values = dict(parameters) | dict(files or {})
    text = json.dumps([Path(notebook).name, values], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    # Workflow engines take braces, quotes and stars for patterns.
    plain = re.sub(r"[^\w .,+=@%()-]", "_", Path(notebook).stem)
    return f"{plain.lstrip('0123456789_')}-{digest}"


def _code(notebook: Path) -> str:
    """A hash of the notebook's code cells."""
    book = read_notebook(notebook)
    cells = [cell.source for cell in book.cells if cell.cell_type == "code"]
    return hashlib.sha256("\n\n".join(cells).encode()).hexdigest()[:16]


def _git(folder: Path) -> dict | None:
    """The commit of a folder, and whether files were changed since; None outside a repository."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _packages() -> dict[str, str]:
    """Every installed package with its version."""
    found = {}
    for one in distributions():
        name = one.metadata["Name"]
        if name:
            found[name] = one.version
    return found
