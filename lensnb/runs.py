"""Runs: a notebook, its parameters, and the folder of results that it leaves.

A notebook declares its parameters in one tagged cell, typed and commented,

    flow_steps: int = 1000  # optimiser steps of the flow

and the next cell calls :func:`check_parameters`, which coerces what papermill handed over to those types. The runner,
:func:`run`, refuses unknown names and wrong types before anything starts (papermill accepts both in silence), executes the
notebook, and leaves in the run folder the executed notebook, an HTML report that opens by itself offline, the figures,
and ``results.json``, which the notebook writes by :func:`save_results`.
"""

from __future__ import annotations

import ast
import base64
import difflib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path

import numpy as np
import torch

from . import __version__
from .compare import FidelityReport
from .data import MapSet, block_average, load_sample
from .files import atomic_write, write_json
from .readers import open_maps

# ---------------------------------------------------------------- parameters


def check_parameters(namespace: MutableMapping) -> dict:
    """Coerce a notebook's parameters in place to the types that its parameters cell declares.

    papermill's ``-p`` hands over ``1e-4`` and ``false`` as strings. The environment variable ``LENSNB_PARAMETERS`` (a JSON
    object) overrides parameters for tools that cannot pass them, such as nbval.

    Args:
        namespace: ``globals()`` of the notebook, with ``__annotations__`` from the parameters cell.

    Returns:
        The parameters by name.

    Raises:
        ValueError: a value does not fit its declared type.
    """
    types = namespace.get("__annotations__", {})
    override = json.loads(os.environ.get("LENSNB_PARAMETERS", "{}"))
    for name, kind in types.items():
        namespace[name] = coerce(name, override.get(name, namespace[name]), kind)
    return {name: namespace[name] for name in types}


def coerce(name: str, value, kind: str | type):
    """``value`` as the declared type: int, float, bool or str.

    Raises:
        ValueError: it does not fit, in one sentence with the parameter's name.
    """
    kind = kind if isinstance(kind, str) else kind.__name__
    readers = {"int": _integer, "float": _number, "bool": _boolean, "str": str}
    if kind not in readers:
        raise ValueError(f"parameter {name} is declared as {kind}; expected one of {', '.join(readers)}")
    try:
        return readers[kind](value)
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"parameter {name} = {value!r} is not of the type {kind}") from None


def _number(value) -> float:
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def _integer(value) -> int:
    number = float(value)
    if isinstance(value, bool) or number != int(number):
        raise ValueError
    return int(number)


def _boolean(value) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return words[str(value).strip().lower()]


def check_names(notebook: str | Path, parameters: Mapping) -> dict:
    """Refuse parameters that the notebook does not declare, and coerce the others to their declared types.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: an unknown name (the nearest known one is named), or a value of the wrong type.
    """
    if not Path(notebook).is_file():
        raise FileNotFoundError(f"there is no notebook {notebook}")
    import papermill

    known = papermill.inspect_notebook(str(notebook))
    if not known:
        raise ValueError(f"{notebook} has no cell tagged 'parameters', so it takes none")
    for name in parameters:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}"
            raise ValueError(f"{notebook} has no parameter {name}; {hint}")
    return {name: coerce(name, value, known[name]["inferred_type_name"]) for name, value in parameters.items()}


# ---------------------------------------------------------------- data of a run


def load_sets(
    maps: str = "", side_deg: float = 0.0, z_source: float = 0.0, labels: str = "", pixels: int = 0, seed: int = 0
) -> tuple[MapSet, MapSet, MapSet]:
    """The three sets of a run, from disjoint simulations: training maps, truth and null.

    The arguments are parameters of notebooks, so what is not given is empty or zero rather than None (papermill's
    ``--help-notebook`` reads plain types only).

    Args:
        maps: a file (or pattern) of one's own κ-maps; empty for the shipped sample.
        side_deg: side of their field, degrees; 0 where the file says it.
        z_source: redshift of their sources; 0 where the file says it, or where it is not known.
        labels: an ``.npy`` file with the number of the simulation of each map; empty: every map counts as its own.
        pixels: average maps down to this many pixels a side; 0 keeps them.
        seed: decides which simulation goes where (half to training, a quarter each to truth and null).

    Raises:
        ValueError: fewer than two simulations a set, or anything that :func:`lensnb.readers.open_maps` refuses.
    """
    if not maps:
        sets = [load_sample(name) for name in ("train", "truth", "null")]
    else:
        whole = open_maps(maps, side_deg or None, z_source or math.nan, labels or None)
        if len(whole.simulations) < 8:
            raise ValueError(
                f"{maps} holds maps of {len(whole.simulations)} simulations; a training set, a truth and a null of at "
                "least two each need 8"
            )
        sets = whole.split(0.5, 0.25, 0.25, seed=seed)
    n = sets[0].grid.n
    if pixels not in (0, n):
        if pixels < 0 or n % pixels:
            raise ValueError(f"maps of {n} × {n} pixels cannot be averaged down to {pixels} × {pixels}")
        sets = [block_average(part, n // pixels) for part in sets]
    return tuple(sets)


# ---------------------------------------------------------------- results


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and the processor."""
    return {
        "lensnb": __version__, "python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
        "platform": platform.platform(), "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }  # fmt: skip


def save_results(folder: str | Path, parameters: Mapping, report: FidelityReport, **more) -> Path:
    """Write ``results.json`` (parameters, versions, every number of the comparison) and the table as ``report.txt``.

    Args:
        folder: the run folder.
        parameters: what :func:`check_parameters` returned, the seed among them.
        report: the comparison.
        more: further plain JSON values, such as timings.
    """
    table = str(report)
    with atomic_write(Path(folder) / "report.txt") as file:
        file.write((table + "\n").encode())
    results = {"parameters": dict(parameters), "versions": versions(), **more, "table": table.splitlines()}
    return write_json(Path(folder) / "results.json", results | {"comparison": report.as_json()})


# ---------------------------------------------------------------- the runner


def run(
    notebook: str | Path, name: str | None = None, parameters: Mapping | None = None, root: str | Path = "runs"
) -> Path:
    """Execute a notebook with parameters into ``root/name``.

    Args:
        notebook: path of the notebook.
        name: name of the run folder; by default the notebook's, without its number.
        parameters: values by name; ``folder``, where the notebook has it, is set to the run folder.
        root: where run folders live.

    Returns:
        The run folder: the executed notebook, ``report.html``, ``figures/``, ``results.json``, trained models.

    Raises:
        FileNotFoundError, ValueError: see :func:`check_names`; nothing was started.
        RuntimeError: the notebook failed; its cell and error are named, and what it had written stays.
    """
    import papermill

    notebook = Path(notebook)
    given = check_names(notebook, parameters or {})
    folder = Path(root) / (name or notebook.stem.lstrip("0123456789_"))
    folder.mkdir(parents=True, exist_ok=True)
    executed = folder / notebook.name
    if "folder" in papermill.inspect_notebook(str(notebook)):
        given["folder"] = str(folder.resolve())
    before = os.environ.get("LENSNB_BATCH")
    os.environ["LENSNB_BATCH"] = "1"  # the kernel inherits it
    started = time.perf_counter()
    try:
        papermill.execute_notebook(
            str(notebook), str(executed), given, kernel_name="python3", log_output=True, progress_bar=False,
            stdout_file=sys.stdout, stderr_file=sys.stderr,
            extra_arguments=["--IPKernelApp.log_level=50"],  # a kernel's own warnings are nothing to a reader
            store_widget_state=False,  # the state holds every map of a widget; its picture stays
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(
            f"{notebook} failed in cell {error.exec_count}: {error.ename}: {error.evalue} (see {executed})"
        ) from None
    finally:
        os.environ.pop("LENSNB_BATCH")
        if before is not None:
            os.environ["LENSNB_BATCH"] = before
    _check_finished(executed)
    write_html(executed, folder / "report.html", f"lensnb – {folder.name}")
    seconds = time.perf_counter() - started
    _complete(folder, executed, notebook, seconds)
    print(f"{notebook.name} took {seconds:.0f} s", flush=True)
    return folder


def _complete(folder: Path, executed: Path, notebook: Path, seconds: float) -> None:
    """Add to ``results.json`` what the runner knows; a notebook that saved no figures has those it shows saved."""
    import nbformat
    import papermill

    book = nbformat.read(executed, as_version=4)
    shown = [o.data["image/png"] for c in book.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})]
    if not (folder / "figures").exists():
        for number, picture in enumerate(shown, 1):
            with atomic_write(folder / "figures" / f"figure_{number:02d}.png") as file:
                file.write(base64.b64decode(picture))
    declared = papermill.inspect_notebook(str(executed))
    given = book.metadata.papermill.parameters
    used = {n: given.get(n, ast.literal_eval(p["default"])) for n, p in declared.items()}
    path = folder / "results.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    write_json(
        path, {"notebook": notebook.name, "seconds": seconds, "parameters": used, "versions": versions()} | found
    )


def _check_finished(executed: Path) -> None:
    """papermill calls a run good whose kernel went away in mid-notebook (``sys.exit(0)`` in a cell); this does not."""
    import nbformat

    book = nbformat.read(executed, as_version=4)
    status = [c.metadata.get("papermill", {}).get("status") for c in book.cells if c.cell_type == "code"]
    if any(s != "completed" for s in status) or not book.metadata.papermill.get("end_time"):
        done = sum(s == "completed" for s in status)
        raise RuntimeError(
            f"{executed} stopped after {done} of {len(status)} cells without an error; its kernel went away"
        )


def write_html(notebook: str | Path, path: str | Path, title: str) -> Path:
    """Render an executed notebook, code hidden, as one HTML file that needs no network."""
    import nbformat
    from nbconvert import HTMLExporter

    # nothing from the web: no MathJax, no RequireJS, no widget manager
    offline = dict.fromkeys(
        ("mathjax_url", "require_js_url", "jquery_url", "jupyter_widgets_base_url", "mermaid_js_url"), ""
    )
    # the classic template, because lab's drops the figures' alternative texts
    exporter = HTMLExporter(
        template_name="classic", exclude_input=True, exclude_output_prompt=True, embed_images=True, **offline
    )
    book = nbformat.read(notebook, as_version=4)
    for output in (output for cell in book.cells for output in cell.get("outputs", ())):
        output.get("data", {}).pop(
            "application/vnd.jupyter.widget-view+json", None
        )  # its picture is what a page can show
    body, _ = exporter.from_notebook_node(book, {"metadata": {"name": title}})
    with atomic_write(path) as file:
        file.write(body.encode())
    return Path(path)
