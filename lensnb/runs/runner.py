"""The runner: execute a notebook with parameters into a folder, once."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

from ..files import write_json
from .execution import Unfinished, complete, execute
from .parameters import all_parameters, check_names
from .records import RECORD, read_record
from .results import versions


def run(
    notebook: str | Path,
    name: str | None = None,
    parameters: Mapping | None = None,
    root: str | Path = "runs",
    again: bool = False,
) -> Path:
    """Execute a notebook with parameters into ``root/name``, unless that is done already.

    A run is done when its ``run.json`` says so, for the same code and the same parameters. An
    interrupted run is executed once more; its trainings resume from their last checkpoints. If
    several processes start the same run, one does it and the others wait. Batch systems send
    SIGTERM or SIGUSR1 before a time limit: these interrupt the kernel, so that a training saves a
    checkpoint.

    Args:
        notebook: path of the notebook.
        name: name of the run folder; by default the notebook's, without its number, with a hash of
            the parameters.
        parameters: values by name; ``folder``, where the notebook has it, is set to the run
            folder. The kernel works in the notebook's folder, as in Jupyter, and relative paths
            start there, except those that exist below the current directory.
        root: where run folders are.
        again: execute the notebook even where it is done.

    Returns:
        The run folder: the executed notebook, ``report.html``, ``figures/``, ``results.json``,
        ``run.json``, trained models.

    Raises:
        FileNotFoundError, ValueError: see :func:`~lensnb.runs.parameters.check_names`, or the
            folder holds a run of another notebook; nothing was started.
        RuntimeError: the notebook failed; its cell and error are named, and what it had written
            stays.
        Unfinished: it was asked to stop.
    """
    notebook = Path(notebook)
    given = check_names(notebook, parameters or {})
    used = all_parameters(notebook, given)
    folder = Path(root) / (name or folder_name(notebook, used))
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        wanted = {"notebook": str(notebook), "code": _code(notebook), "parameters": used}
        if _is_done(folder, wanted) and not again:
            # A workflow engine deletes its outputs before it starts a run.
            (folder / "done").touch()
            print(
                f"{folder} is done already, by the same notebook with the same parameters",
                flush=True,
            )
            return folder
        (folder / "done").unlink(missing_ok=True)
        seconds = _run_now(notebook, folder, given, wanted)
        # For workflow engines, which look at files; for lensnb run.json decides.
        (folder / "done").touch()
    print(f"{notebook.name} took {seconds:.0f} s", flush=True)
    return folder


def _is_done(folder: Path, wanted: dict) -> bool:
    """Whether the folder has this run, finished.

    Raises:
        ValueError: it has a run of another notebook.
    """
    record = read_record(folder)
    mine = Path(wanted["notebook"]).name
    other = Path(record.get("notebook", "")).name
    if other not in ("", mine):
        raise ValueError(
            f"{folder} holds a run of {other}; expected another name for one of {mine}"
        )
    if record.get("status") != "done":
        return False
    return all(record.get(key) == value for key, value in wanted.items())


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


def folder_name(notebook: str | Path, parameters: Mapping) -> str:
    """The name of a run's folder: the notebook's without its number, and a hash of the parameters.

    The hash has eight digits.
    """
    text = json.dumps([Path(notebook).name, dict(parameters)], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{Path(notebook).stem.lstrip('0123456789_')}-{digest}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process runs into the folder.

    The lock ends with its process, however that ends.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that runs into {folder}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _code(notebook: Path) -> str:
    """A hash of the notebook's code cells."""
    import nbformat

    book = nbformat.read(notebook, as_version=4)
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
