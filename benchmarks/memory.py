"""How much memory do large maps need, in training and in sampling?

    python benchmarks/memory.py --output docs/benchmark_memory.md

Models of the default size for maps of ``--pixels`` per side run in a process of their own. The
cases are two steps of :func:`lensnb.train.fit` at ``--batch`` maps, and ``--draw`` maps by
:func:`lensnb.models.draw`. The result is the peak memory of the process (``ru_maxrss``), including
Python, torch and the training maps. The maps are lognormal fields; their content does not change
the memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import torch
from torch import nn

from benchmarks.statistics import machine
from lensnb.maps import GaussianField, LognormalField, MapGrid, fit_field
from lensnb.models import Diffusion, Flow, draw
from lensnb.train import Hardware, Settings, choose_precision, fit
from lensnb.transform import KappaTransform

LIMIT = 12.0  # GB, of a training at 256² in batches of 16
FAMILIES = {"flow": Flow, "diffusion": Diffusion}
CASES = [  # family, what it does, how
    ("flow", "train", {}),
    ("flow", "train", {"precision": "float32"}),
    ("flow", "train", {"recompute": True}),
    ("flow", "train", {"recompute": True, "precision": "float32"}),
    ("diffusion", "train", {}),
    ("diffusion", "train", {"precision": "float32"}),
    ("flow", "draw", {}),
    ("diffusion", "draw", {}),
]


def lognormal(pixels: int, n: int) -> torch.Tensor:
    """κ-maps over 5°, float32, ``(n, pixels, pixels)``."""
    variance = GaussianField.from_power(
        MapGrid(pixels, 5.0), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).variance
    return (
        LognormalField.from_correlation(variance, 0.03)
        .sample(n, torch.Generator().manual_seed(0))
        .float()
    )


def measure(family: str, what: str, how: dict, options: argparse.Namespace) -> float:
    """Do one case in this process; its peak in GB."""
    maps = lognormal(options.pixels, 2 * options.batch)
    transform = KappaTransform.fit(maps)
    gaussian = fit_field(transform(maps))
    recompute = {"recompute": True} if how.get("recompute") else {}
    model: nn.Module = FAMILIES[family](options.pixels, transform, gaussian, **recompute)
    if what == "train":
        hardware = Hardware("cpu", how.get("precision", "auto"))
        list(fit(model, maps, Settings(2, batch=options.batch), device=hardware))
    else:
        with tempfile.TemporaryDirectory() as folder:
            draw(model, options.draw, Path(folder) / "maps.npy")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def in_a_process(case: tuple[str, str, dict], options: argparse.Namespace) -> float:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    command += [f"--{name}={vars(options)[name]}" for name in ("pixels", "batch", "draw")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def page(options: argparse.Namespace) -> str:
    """The table, in Markdown."""
    n, own = options.pixels, choose_precision("auto", torch.device("cpu"))
    lines = [f"| maps of {n}² pixels | precision | peak memory |", "|---|---|--:|"]
    most = 0.0
    for case in CASES:
        family, what, how = case
        found = in_a_process(case, options)
        words = (
            f"train in batches of {options.batch}"
            if what == "train"
            else f"draw {options.draw} maps to a file"
        )
        words += ", with recomputation" if how.get("recompute") else ""
        precision = how.get("precision", own) if what == "train" else "float32"
        lines.append(f"| {family}: {words} | {precision} | {found:.1f} GB |")
        print(lines[-1], flush=True)
        if what == "train" and not how:
            most = max(most, found)
    verdict = "met" if most <= LIMIT else "**missed**"
    command = " ".join(["python benchmarks/memory.py", *sys.argv[1:]])
    head = [
        "# How much memory do large maps take?",
        "",
        f"Made by `{command}`; its docstring explains the method.",
    ]
    head += [
        "",
        f"{machine('cpu')}.",
        "",
        "Peak memory of a process, including Python, torch and the training maps.",
        "",
        f"Target: train with default settings within {LIMIT:g} GB. Found: {most:.1f} GB, {verdict}.",
    ]
    return "\n".join([*head, "", *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pixels", type=int, default=256, help="pixels a side")
    parser.add_argument("--batch", type=int, default=16, help="maps a step")
    parser.add_argument("--draw", type=int, default=256, help="maps drawn")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="Markdown file to write; printed in any case")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(*options.case, options)))
        return
    text = page(options)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
