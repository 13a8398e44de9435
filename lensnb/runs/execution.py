"""Execute a notebook into a run folder, so that a time limit can interrupt it."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..files import atomic_write, write_json
from ..versions import versions
from .declared import declared
from .html import write_html
from .parameters import all_parameters
from .records import NOTEBOOK_PAGE, REPORT_PAGE, RESULTS, as_json


class Unfinished(RuntimeError):
    """A run was asked to stop, for example by a time limit.

    What was saved stays, and the same run resumes from there.
    """


def execute(notebook: Path, folder: Path, given: Mapping) -> Path:
    """Execute a notebook into a run folder and write it as a page.

    Args:
        notebook: the notebook.
        folder: the run folder.
        given: parameters by name, checked; paths are absolute, or start at the notebook.

    Returns:
        The executed notebook.

    Raises:
        RuntimeError: a cell failed, or the kernel went away.
        Unfinished: a signal asked the run to stop.
    """
    import papermill

    executed = folder / notebook.name
    logging.getLogger("papermill").addFilter(_is_known)
    values = dict(given)
    if "folder" in declared(notebook):
        values["folder"] = str(folder.resolve())
    with _batch(), _stoppable() as asked:
        try:
            papermill.execute_notebook(
                _no_pattern(notebook),
                _no_pattern(executed),
                values,
                kernel_name="python3",
                language="python",  # a notebook need not say it
                kernel_manager_class=_own_kernel(),
                log_output=True,
                progress_bar=False,
                cwd=str(notebook.resolve().parent),
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                # Warnings of the kernel itself are of no use to a reader.
                extra_arguments=["--IPKernelApp.log_level=50"],
                # The state would hold every map of a widget; the widget's picture is kept.
                store_widget_state=False,
            )
        except papermill.PapermillExecutionError as error:
            where = f"in cell {error.exec_count}"
            if asked:
                raise Unfinished(
                    f"{notebook} was stopped by {asked[0]} {where}; the same command resumes it"
                ) from None
            raise RuntimeError(
                f"{notebook} failed {where}: {error.ename}: {error.evalue} (see {executed})"
            ) from None
        except (RuntimeError, OSError) as error:  # nothing that a cell raised
            raise RuntimeError(
                f"{notebook}: its kernel did not start or went away ({error}); it needs memory, "
                f"and free space in {_kernel_folder()} and {tempfile.gettempdir()}"
            ) from None
    _check_finished(executed)
    report = REPORT_PAGE if (folder / REPORT_PAGE).exists() else ""
    page = folder / NOTEBOOK_PAGE
    write_html(executed, page, f"lensnb – {folder.name}", notebook.parent, report)
    return executed


def complete(folder: Path, executed: Path, seconds: float) -> None:
    """Add to a run folder what the notebook did not write itself.

    ``results.json`` gets the notebook, its parameters, versions and time, where they are missing.
    A notebook that saved no figures has those saved that it shows.
    """
    import nbformat

    book = nbformat.read(executed, as_version=4)
    if not (folder / "figures").exists():
        for number, picture in enumerate(_pictures(book), 1):
            with atomic_write(folder / "figures" / f"figure_{number:02d}.png") as file:
                file.write(base64.b64decode(picture))
    results = {
        "notebook": executed.name,
        "seconds": seconds,
        "parameters": all_parameters(executed, book.metadata.papermill.parameters, but=()),
        "versions": versions(),
    }
    path = folder / RESULTS
    if path.exists():
        results |= _read_results(path)
    write_json(path, as_json(results))


def _read_results(path: Path) -> dict:
    """What a notebook wrote as its results.

    Raises:
        RuntimeError: they are no results.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RuntimeError(f"{path}, which the notebook wrote, is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise RuntimeError(
            f"{path}, which the notebook wrote, holds a {type(found).__name__}; expected results "
            "by name"
        )
    return found


def _pictures(book) -> list[str]:
    """The figures that an executed notebook shows, PNG in base64."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    return [out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})]


def _is_known(record: logging.LogRecord) -> bool:
    """Whether to show a message of papermill, which takes ``z: float | None`` for no parameter."""
    return not record.getMessage().startswith("Passed unknown parameter")


def _no_pattern(path: Path) -> str:
    """A path for papermill, which puts parameters into the braces of paths."""
    return str(path.resolve()).replace("{", "{{").replace("}", "}}")


def _kernel_folder() -> Path:
    """Where a kernel writes its profile and history: in the home by default."""
    return Path(os.environ.get("IPYTHONDIR") or Path.home() / ".ipython")


def _own_kernel() -> type:
    """A manager of kernels that run this Python.

    A kernel that is called ``python3`` may be another Python, which conda or an environment that
    is gone left in the user's folder.
    """
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        kernel_spec = KernelSpec(**get_kernel_dict())

    return OwnKernel


@contextmanager
def _batch() -> Iterator[None]:
    """While the block lasts, kernels inherit the environment variable ``LENSNB_BATCH``."""
    before = os.environ.get("LENSNB_BATCH")
    os.environ["LENSNB_BATCH"] = "1"
    try:
        yield
    finally:
        os.environ.pop("LENSNB_BATCH")
        if before is not None:
            os.environ["LENSNB_BATCH"] = before


@contextmanager
def _stoppable() -> Iterator[list[str]]:
    """While the block lasts, SIGTERM and SIGUSR1 interrupt the kernel.

    Yields:
        A list, to which the names of the signals are added as they come.
    """
    asked: list[str] = []
    # Only the main thread can handle signals.
    if threading.current_thread() is not threading.main_thread():
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


def _check_finished(executed: Path) -> None:
    """Refuse a run whose kernel went away in mid-notebook, as with ``sys.exit(0)`` in a cell.

    papermill takes such a run for a success.
    """
    import nbformat

    book = nbformat.read(executed, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    status = [cell.metadata.get("papermill", {}).get("status") for cell in code]
    done = status.count("completed")
    if done < len(status) or not book.metadata.papermill.get("end_time"):
        raise RuntimeError(
            f"{executed} stopped after {done} of {len(status)} cells without an error; "
            "its kernel went away"
        )
