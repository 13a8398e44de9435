"""The runner: execute a notebook with parameters into a folder, once."""

from __future__ import annotations

import base64
import glob
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

from ..files import atomic_write, write_json
from .html import write_html
from .parameters import all_parameters, check_names
from .results import versions

RECORD = "run.json"  # how a run stands: running, done, failed or unfinished


class Unfinished(RuntimeError):
    """A run that was asked to stop, by a time limit say: what was saved stays, and the same run goes on from there."""


def run(
    notebook: str | Path,
    name: str | None = None,
    parameters: Mapping | None = None,
    root: str | Path = "runs",
    again: bool = False,
) -> Path:
    """Execute a notebook with parameters into ``root/name``; do nothing where that is done already.

    A run is done when its ``run.json`` says so, of the same code and the same parameters. One that was stopped is executed once
    more; its trainings go on from their last checkpoints. Of several processes that are given one run, one does it and the
    others wait. SIGTERM and SIGUSR1, which batch systems send before a time limit, interrupt the kernel, so that a training
    saves a checkpoint.

    Args:
        notebook: path of the notebook.
        name: name of the run folder; by default the notebook's, without its number, with a hash of the parameters.
        parameters: values by name; ``folder``, where the notebook has it, is set to the run folder. The kernel works in the
            notebook's folder, as in Jupyter: relative paths are of there, but for those that exist below the current directory.
        root: where run folders live.
        again: execute the notebook even where it is done.

    Returns:
        The run folder: the executed notebook, ``report.html``, ``figures/``, ``results.json``, ``run.json``, trained models.

    Raises:
        FileNotFoundError, ValueError: see :func:`check_names`, or the folder holds a run of another notebook; nothing was started.
        RuntimeError: the notebook failed; its cell and error are named, and what it had written stays.
        Unfinished: it was asked to stop.
    """
    notebook = Path(notebook)
    given = check_names(notebook, parameters or {})
    used = all_parameters(notebook, given)
    folder = Path(root) / (name or folder_name(notebook, used))
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        record = read_record(folder)
        if (other := Path(record.get("notebook", "")).name) not in ("", notebook.name):
            raise ValueError(
                f"{folder} holds a run of {other}; expected another name for one of {notebook.name}"
            )
        this = {"notebook": str(notebook), "code": _code(notebook), "parameters": used}
        if (
            not again
            and record.get("status") == "done"
            and all(record[key] == value for key, value in this.items())
        ):
            (
                folder / "done"
            ).touch()  # a workflow engine takes its outputs away before it asks again
            print(
                f"{folder} is done already, by the same notebook with the same parameters",
                flush=True,
            )
            return folder
        (folder / "done").unlink(missing_ok=True)
        record = this | {
            "status": "running", "started": datetime.now(UTC).isoformat(timespec="seconds"), "seed": used.get("seed"),
            "git": _git(notebook.parent), "versions": versions(), "packages": _packages(),
        }  # fmt: skip
        write_json(folder / RECORD, record)
        clock = time.perf_counter()
        try:
            executed = _execute(notebook, folder, given)
            _complete(folder, executed, notebook, time.perf_counter() - clock)
        except BaseException as error:
            stopped = isinstance(error, Unfinished | KeyboardInterrupt)
            _note(
                folder,
                record,
                "unfinished" if stopped else "failed",
                clock,
                " ".join(str(error).split()),
            )
            raise
        _note(folder, record, "done", clock)
        (
            folder / "done"
        ).touch()  # for workflow engines, which look at files; run.json is what counts
    print(f"{notebook.name} took {time.perf_counter() - clock:.0f} s", flush=True)
    return folder


def folder_name(notebook: str | Path, parameters: Mapping) -> str:
    """The name of a run's folder: the notebook's without its number, and eight digits that its parameters decide."""
    text = json.dumps([Path(notebook).name, dict(parameters)], sort_keys=True)
    return f"{Path(notebook).stem.lstrip('0123456789_')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_record(folder: str | Path, name: str = RECORD) -> dict:
    """What a run folder's ``run.json`` says, or another file of that kind; empty where there is none or it is no JSON."""
    try:
        return json.loads((Path(folder) / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _note(folder: Path, record: dict, status: str, clock: float, error: str | None = None) -> None:
    more = {} if error is None else {"error": error}
    write_json(
        folder / RECORD, record | {"status": status, "seconds": time.perf_counter() - clock} | more
    )


def _execute(notebook: Path, folder: Path, given: dict) -> Path:
    """Execute the notebook; returns where."""
    import papermill

    executed = folder / notebook.name
    if "folder" in papermill.inspect_notebook(str(notebook)):
        given = given | {"folder": str(folder.resolve())}
    given = {name: _found_here(value) for name, value in given.items()}
    before = os.environ.get("LENSNB_BATCH")
    os.environ["LENSNB_BATCH"] = "1"  # the kernel inherits it
    with _stoppable() as asked:
        try:
            papermill.execute_notebook(
                str(notebook.resolve()), str(executed.resolve()), given, kernel_name="python3", log_output=True,
                progress_bar=False, cwd=str(notebook.resolve().parent),
                stdout_file=sys.stdout, stderr_file=sys.stderr,
                extra_arguments=["--IPKernelApp.log_level=50"],  # a kernel's own warnings are nothing to a reader
                store_widget_state=False,  # the state holds every map of a widget; its picture stays
            )  # fmt: skip
        except papermill.PapermillExecutionError as error:
            where = f"in cell {error.exec_count}"
            if asked:
                raise Unfinished(
                    f"{notebook} was stopped by {asked[0]} {where}; the same command goes on"
                ) from None
            raise RuntimeError(
                f"{notebook} failed {where}: {error.ename}: {error.evalue} (see {executed})"
            ) from None
        finally:
            os.environ.pop("LENSNB_BATCH")
            if before is not None:
                os.environ["LENSNB_BATCH"] = before
    _check_finished(executed)
    write_html(executed, folder / "report.html", f"lensnb – {folder.name}")
    return executed


def _found_here(value):
    """A relative path, or pattern, of something below the current directory made absolute; anything else as it is.

    The kernel works in the notebook's folder, where the paths that the notebook itself names are right, as in Jupyter.
    """
    if not isinstance(value, str) or not value or Path(value).is_absolute():
        return value
    return str(Path.cwd() / value) if any(glob.iglob(value, recursive=True)) else value


@contextmanager
def _stoppable() -> Iterator[list[str]]:
    """While the block lasts, SIGTERM and SIGUSR1 interrupt the kernel; the list has the names of those that came."""
    asked: list[str] = []
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only there can signals be handled
        yield asked
        return

    def stop(number: int, _) -> None:
        import psutil

        asked.append(signal.Signals(number).name)
        for child in psutil.Process().children():
            if any("ipykernel" in word for word in child.cmdline()):
                child.send_signal(signal.SIGINT)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process runs into the folder; the lock goes with its process, however that ends."""
    try:
        import fcntl
    except ImportError:  # Windows: nobody watches
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

    cells = [
        cell.source
        for cell in nbformat.read(notebook, as_version=4).cells
        if cell.cell_type == "code"
    ]
    return hashlib.sha256("\n\n".join(cells).encode()).hexdigest()[:16]


def _git(folder: Path) -> dict | None:
    """The commit that a folder is at, and whether anything was changed since; None outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=20
        ).stdout

    try:
        return {
            "commit": git("rev-parse", "HEAD").strip(),
            "changed": bool(git("status", "--porcelain").strip()),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _packages() -> dict[str, str]:
    """Every installed package with its version."""
    return {name: d.version for d in distributions() if (name := d.metadata["Name"])}


def _complete(folder: Path, executed: Path, notebook: Path, seconds: float) -> None:
    """Add to ``results.json`` what the runner knows; a notebook that saved no figures has those it shows saved."""
    import nbformat

    book = nbformat.read(executed, as_version=4)
    shown = [
        o.data["image/png"]
        for c in book.cells
        for o in c.get("outputs", ())
        if "image/png" in o.get("data", {})
    ]
    if not (folder / "figures").exists():
        for number, picture in enumerate(shown, 1):
            with atomic_write(folder / "figures" / f"figure_{number:02d}.png") as file:
                file.write(base64.b64decode(picture))
    used = all_parameters(executed, book.metadata.papermill.parameters, but=())
    path = folder / "results.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    write_json(
        path,
        {"notebook": notebook.name, "seconds": seconds, "parameters": used, "versions": versions()}
        | found,
    )


def _check_finished(executed: Path) -> None:
    """papermill calls a run good whose kernel went away in mid-notebook (``sys.exit(0)`` in a cell); this does not."""
    import nbformat

    book = nbformat.read(executed, as_version=4)
    status = [
        c.metadata.get("papermill", {}).get("status") for c in book.cells if c.cell_type == "code"
    ]
    if any(s != "completed" for s in status) or not book.metadata.papermill.get("end_time"):
        done = sum(s == "completed" for s in status)
        raise RuntimeError(
            f"{executed} stopped after {done} of {len(status)} cells without an error; its kernel went away"
        )
