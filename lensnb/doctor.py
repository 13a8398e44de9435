"""Is this machine ready? What ``lensnb doctor`` says: versions, device, data, browser, and how long notebooks will train.

The speed is measured here, on a few steps of either model at the size of the shipped sample; the time that a notebook trains is
its own number of steps over that speed. What a notebook does besides training is in its first cell.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from . import __version__, models
from .data import load_sample, random_symmetry
from .maps import GaussianField
from .train import choose_device, choose_precision, fit
from .transform import KappaTransform

SIDE = 64  # pixels of the sample's maps
BATCH, STEPS = 32, 6  # maps a step, and the steps that are timed, of which the first two warm up
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


class Finding(NamedTuple):
    """One line: whether it is as it should be (None: it may be missing), what it is about, what was found."""

    good: bool | None
    about: str
    found: str


def examine(device: str = "auto", notebooks: str | Path = NOTEBOOKS) -> Iterator[Finding]:
    """Everything that ``lensnb doctor`` says, one finding after the other; the last ones train for some seconds.

    Args:
        device: where to train: auto, cpu, cuda or mps.
        notebooks: their folder; without it there is nothing to say of them.

    Raises:
        ValueError: the named device is not there.
    """
    yield Finding(
        True, "lensnb", f"{__version__} on Python {platform.python_version()}, {platform.system()}"
    )
    where = choose_device(device)
    precision = choose_precision("auto", where)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"{os.cpu_count()} cores"
    threads = f", {torch.get_num_threads()} threads" if where.type == "cpu" else ""
    yield Finding(
        True,
        "device",
        f"{where} ({name}{threads}); trains in {precision}; torch {torch.__version__}",
    )
    yield from _extras()
    yield from _data()
    yield from _browser()
    yield from _speed(where, Path(notebooks))


def _extras() -> Iterator[Finding]:
    """Which of the optional packages are here, by extra."""
    wanted: dict[str, list[str]] = {}
    for line in requires("lensnb") or []:
        requirement, _, marker = line.partition(";")
        if "extra ==" in marker:
            extra = marker.split("extra ==")[1].strip(" \"'")
            wanted.setdefault(extra, []).append(
                requirement.split("[")[0].split(">")[0].split("=")[0].strip()
            )
    for extra, packages in wanted.items():
        missing = [package for package in packages if not _installed(package)]
        advice = f"without {', '.join(missing)}: pip install 'lensnb[{extra}]'"
        yield Finding(
            None if missing else True, f"extra {extra}", advice if missing else ", ".join(packages)
        )


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _data() -> Iterator[Finding]:
    """The shipped sample and the trained models: whether they can be read."""
    try:
        sets = {name: load_sample(name) for name in ("train", "truth", "null")}
        counts = ", ".join(f"{len(maps):,} {name}" for name, maps in sets.items())
        yield Finding(
            True,
            "sample",
            f"{counts}; {sets['truth'].grid.n}² pixels over {sets['truth'].side_deg:g}°",
        )
    except (OSError, ValueError) as error:
        yield Finding(False, "sample", f"{error}; install lensnb again")
    for name in ("flow", "diffusion"):
        try:
            size = sum(p.numel() for p in models.load(name).parameters())
            yield Finding(True, f"trained {name}", f"{size:,} parameters")
        except (OSError, ValueError) as error:
            yield Finding(False, f"trained {name}", f"{error}; install lensnb again")


def _browser() -> Iterator[Finding]:
    """What shows notebooks, and what their browser tests need."""
    lab = importlib.util.find_spec("jupyterlab") is not None
    yield Finding(
        lab or None,
        "JupyterLab",
        version("jupyterlab") if lab else "not here: pip install 'lensnb[lab]'",
    )
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    yield Finding(
        bool(found) or None,
        "Chromium",
        found or "not here; only the browser tests want it (CHROMIUM=path)",
    )


def _speed(device: torch.device, notebooks: Path) -> Iterator[Finding]:
    """Seconds a training step of either family, and what they make of each notebook's steps."""
    kappa = load_sample("train")[:256].tensor()
    transform = KappaTransform.fit(kappa)
    field = GaussianField.fit(transform(kappa))
    step_s = {}
    for family in (models.Flow, models.Diffusion):
        step_s[family.family] = seconds_a_step(
            family(kappa.shape[-1], transform, field), kappa, device
        )
        rate = BATCH / step_s[family.family]
        yield Finding(
            True, f"{family.family} trains", f"{rate:.0f} maps a second at {kappa.shape[-1]}²"
        )
    for path in sorted(notebooks.glob("[0-9]*.ipynb")):
        steps = _steps(path)
        if steps is None:
            continue
        spent = sum(step_s[family] * count for family, count in steps.items())
        told = f"trains for about {_duration(spent)} here" if spent else "trains nothing"
        yield Finding(True, path.stem, f"{told}; {_stated(path)}")


def seconds_a_step(model: nn.Module, kappa: torch.Tensor, device: torch.device) -> float:
    """How long a step of a training takes, after the first two."""
    records = fit(
        model, kappa, STEPS, batch=BATCH, every=1, augment=random_symmetry, device=device
    )
    spent = [record["seconds"] for record in records]
    return (spent[-1] - spent[1]) / (STEPS - 2)


def _steps(path: Path) -> dict[str, int] | None:
    """Training steps by family that a notebook's parameters ask for, in steps of the sample's maps; None without papermill."""
    try:
        import papermill
    except ImportError:
        return None
    known = papermill.inspect_notebook(str(path))
    count = lambda name: int(float(known[name]["default"])) if name in known else 0
    twice = (
        2 if path.stem.startswith("07") else 1
    )  # it trains the diffusion model twice, told and not told
    share = (
        (count("pixels") or SIDE) / SIDE
    ) ** 2  # a step on smaller maps takes as much less, or nearly
    return {
        "flow": round(share * count("flow_steps")),
        "diffusion": round(share * twice * count("diffusion_steps")),
    }


def _stated(path: Path) -> str:
    """What a notebook says of its time in its first cell."""
    import nbformat

    first = nbformat.read(path, as_version=4).cells[0].source
    lines = [line for line in first.splitlines() if line.startswith("| time |")]
    return (
        f"in all {re.split(r'[;(,]', lines[0].split('|')[2])[0].strip()}"
        if lines
        else "its time is not stated"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def main(device: str = "auto") -> int:
    """Print the findings; 1 where something that must be there is not."""
    started, bad = time.perf_counter(), 0
    for good, about, found in examine(device):
        sign = {True: "✓", None: "–", False: "✗"}[good]
        print(f"{sign} {about:32s} {found}", flush=True)
        bad += good is False
    print(f"{'something is missing' if bad else 'ready'} ({time.perf_counter() - started:.0f} s)")
    return int(bool(bad))
