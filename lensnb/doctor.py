"""Is this machine ready? What ``lensnb doctor`` says about versions, device, data and speed.

The speed is measured here, with a few training steps of each family of models at the size of the
shipped sample. The time that a notebook trains is its number of steps over that speed. How long
the rest of a notebook takes is stated in its first cell.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
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
from .maps import fit_field
from .train import Checks, Settings, choose_device, choose_precision, fit
from .transform import KappaTransform

_PIXELS = 64  # a side of the sample's maps
_BATCH = 32  # maps a step
_STEPS = 6  # steps that are run, of which the first two warm up
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
# How often a notebook trains a family with the steps of its parameters, where not once: notebook
# 07 trains a conditioned and an unconditioned diffusion model.
_TRAININGS = {("07", "diffusion"): 2}


class _Finding(NamedTuple):
    """One line of the doctor.

    Attributes:
        good: whether it is as it should be; None where something optional is missing.
        about: what it is about.
        found: what was found.
    """

    good: bool | None
    about: str
    found: str


def print_findings(device: str = "auto") -> int:
    """Print the findings; returns 1 where something that must be there is missing, else 0."""
    start = time.perf_counter()
    missing = False
    for good, about, found in _examine(device):
        sign = {True: "✓", None: "–", False: "✗"}[good]
        print(f"{sign} {about:32s} {found}", flush=True)
        if good is False:
            missing = True
    verdict = "ready"
    if missing:
        verdict = "something is missing"
    print(f"{verdict} ({time.perf_counter() - start:.0f} s)")
    return int(missing)


def _examine(device: str = "auto", notebooks: str | Path = NOTEBOOKS) -> Iterator[_Finding]:
    """Everything that ``lensnb doctor`` says, one finding after the other.

    The last findings need some seconds of training.

    Args:
        device: where to train: auto, cpu, cuda or mps.
        notebooks: their folder; without it there is nothing to say about them.

    Raises:
        ValueError: the named device is not there.
    """
    python = f"Python {platform.python_version()}, {platform.system()}"
    yield _Finding(True, "lensnb", f"{__version__} on {python}")
    where = choose_device(device)
    yield _device(where)
    yield from _extras()
    yield _sample()
    yield from _trained()
    yield _jupyterlab()
    yield _chromium()
    yield from _speed(where, Path(notebooks))


def _families() -> dict[str, type[nn.Module]]:
    """The families whose speed can be measured, by name.

    They are built from pixels, κ transform and Gaussian field, as those of lensnb. A family of
    vectors takes no κ transform. A family of somebody else may be built in any way.
    """
    measured = {}
    for name, family in models.families().items():
        arguments = list(inspect.signature(family).parameters)
        if arguments[:3] in (["n", "transform", "gaussian"], ["n", "transform", "base"]):
            measured[name] = family
    return measured


def _device(where: torch.device) -> _Finding:
    if where.type == "cuda":
        name = torch.cuda.get_device_name(where)
    else:
        name = f"{os.cpu_count()} cores"
    if where.type == "cpu":
        name += f", {torch.get_num_threads()} threads"
    precision = choose_precision("auto", where)
    found = f"{where} ({name}); trains in {precision}; torch {torch.__version__}"
    return _Finding(True, "device", found)


# ---------------------------------------------------------------- what is installed


def _extras() -> Iterator[_Finding]:
    """Which of the optional packages are installed, by extra."""
    wanted: dict[str, list[str]] = {}
    for line in requires("lensnb") or []:
        requirement, _, marker = line.partition(";")
        if "extra ==" not in marker:
            continue
        extra = marker.split("extra ==")[1].strip(" \"'")
        package = re.split(r"[\[<>=!~ ]", requirement.strip())[0]
        wanted.setdefault(extra, []).append(package)
    for extra, packages in wanted.items():
        missing = [package for package in packages if not _installed(package)]
        if missing:
            found = f"without {', '.join(missing)}: pip install 'lensnb[{extra}]'"
            yield _Finding(None, f"extra {extra}", found)
        else:
            yield _Finding(True, f"extra {extra}", ", ".join(packages))


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _sample() -> _Finding:
    """Whether the shipped sample can be read."""
    try:
        sets = {name: load_sample(name) for name in ("train", "truth", "null")}
    except (OSError, ValueError) as error:
        return _Finding(False, "sample", f"{error}; install lensnb again")
    counts = ", ".join(f"{len(maps):,} {name}" for name, maps in sets.items())
    truth = sets["truth"]
    return _Finding(True, "sample", f"{counts}; {truth.grid.n}² pixels over {truth.side_deg:g}°")


def _trained() -> Iterator[_Finding]:
    """Whether the trained models that come with lensnb, those with a card, can be read."""
    names = [card.stem for card in sorted(models.TRAINED.glob("*.md"))]
    if not names:
        yield _Finding(False, "trained models", "none is here; install lensnb again")
    for name in names:
        try:
            size = sum(weights.numel() for weights in models.load(name).parameters())
        except (OSError, ValueError) as error:
            yield _Finding(False, f"trained {name}", f"{error}; install lensnb again")
        else:
            yield _Finding(True, f"trained {name}", f"{size:,} parameters")


def _jupyterlab() -> _Finding:
    if importlib.util.find_spec("jupyterlab") is None:
        return _Finding(None, "JupyterLab", "not here: pip install 'lensnb[lab]'")
    return _Finding(True, "JupyterLab", version("jupyterlab"))


def _chromium() -> _Finding:
    """The browser of the tests."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    for name in filter(None, names):
        path = shutil.which(name)
        if path:
            return _Finding(True, "Chromium", path)
    return _Finding(None, "Chromium", "not here; only the browser tests want it (CHROMIUM=path)")


# ---------------------------------------------------------------- how long notebooks train


def _speed(device: torch.device, notebooks: Path) -> Iterator[_Finding]:
    """Seconds a training step of each family, and what they mean for each notebook."""
    kappa = load_sample("train")[:256].tensor()
    n = kappa.shape[-1]
    transform = KappaTransform.fit(kappa)
    field = fit_field(transform(kappa))
    step_s = {}
    for name, family in _families().items():
        model = family(n, transform, field)
        if model.given:  # such as coarse maps, which no notebook trains from here
            continue
        step_s[name] = _seconds_a_step(model, kappa, device)
        rate = _BATCH / step_s[name]
        yield _Finding(True, f"{name} trains", f"{rate:.0f} maps a second at {n}²")
    for path in sorted(notebooks.glob("[0-9]*.ipynb")):
        steps = _steps(path)
        if steps is None:
            continue
        seconds = sum(a_step * steps[family] for family, a_step in step_s.items())
        training = "trains nothing"
        if steps["cascade"]:  # its levels are no models of whole maps
            training = "trains the levels of a cascade"
        if seconds:
            training = f"trains for about {_duration(seconds)} here"
        yield _Finding(True, path.stem, f"{training}; {_stated(path)}")


def _seconds_a_step(model: nn.Module, kappa: torch.Tensor, device: torch.device) -> float:
    """How long a training step takes, after the first two.

    Args:
        model: the model.
        kappa: training maps, shape ``(maps, n, n)``.
        device: where to train.
    """
    settings = Settings(_STEPS, batch=_BATCH, augment=random_symmetry)
    records = fit(model, kappa, settings, checks=Checks(every=1), device=device)
    seconds = [record["seconds"] for record in records]
    return (seconds[-1] - seconds[1]) / (_STEPS - 2)


def _steps(path: Path) -> dict[str, int] | None:
    """Training steps by family that a notebook's parameters ask for.

    They are counted in steps on maps of the sample's size: a step on smaller maps takes less time,
    nearly in proportion to the number of pixels. None without papermill.
    """
    try:
        import papermill
    except ImportError:
        return None
    declared = papermill.inspect_notebook(str(path))

    def number(name: str) -> float:
        if name not in declared:
            return 0.0
        return float(declared[name]["default"])

    share = ((number("pixels") or _PIXELS) / _PIXELS) ** 2
    found = {}
    for family in _families():
        times = _TRAININGS.get((path.stem[:2], family), 1)
        found[family] = round(share * times * number(f"{family}_steps"))
    if "families" in declared:  # those that the notebook trains by default
        named = ast.literal_eval(declared["families"]["default"]).split(",")
        for family in found.keys() & named:
            found[family] += round(share * number("family_steps"))
    found["cascade"] = round(number("cascade_steps"))
    return found


def _stated(path: Path) -> str:
    """What a notebook says about its time in its first cell."""
    import nbformat

    first = nbformat.read(path, as_version=4).cells[0].source
    for line in first.splitlines():
        if line.startswith("| time |"):
            time_here = re.split(r"[;(,]", line.split("|")[2])[0].strip()
            return f"in all {time_here}"
    return "its time is not stated"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
