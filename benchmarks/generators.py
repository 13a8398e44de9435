"""How fast do the generators learn, compared with other libraries?

    python benchmarks/generators.py --output docs/benchmark_generators.md

All parts use the shipped sample: the training set to learn from, truth and null to judge by. All
models see the same numbers, the shifted logarithm of κ, standardised. The whole takes about six
hours, most of it for maps of denoising-diffusion-pytorch. So everything is kept in ``--folder``
as soon as it is known: the result of each part, and each training and its maps. The same command
goes on where an interrupted run was. ``--parts`` names parts, which are told again from what the
folder has. ``--only`` names models of one part: commands with other models can run side by side,
each on a core of its own, and the part is told afterwards. ``--quick`` tries all on tiny maps.
``--threads`` is the number of cores.

**speed**: a step is loss, backward pass and Adam, on the same maps with the same batch. The
models of lensnb have their default size. The others (see ``benchmarks/other_generators.py``) have
the width that gives as many parameters. All models take turns, round after round, in float32 and
under autocast to bfloat16; a ratio is the median over rounds. By default, lensnb uses the
channels-last memory format, and bfloat16 if the hardware supports it. The others do neither by
default, and are also timed with channels last.

**same-time**: :func:`lensnb.train.fit` trains each model for the same time, with the same
schedule, moving average, symmetries and memory format, in the model's default precision. The
diffusion models share one learning rate. Each flow has the one of ``--rates`` that leaves it the
fewest bits on the last eighth of the training maps, after a sixth of the time without them. The
number of steps that fills the time is measured before; the table has the actual time. Trainings
and maps are timed by the time of the processor, so that other programs do not count. Then follow
the bits per dimension of the flows on the truth, in κ units, and the fidelity report of the same
number of maps from each model. lensnb uses its default sampler, the other diffusion libraries
``--ancestral`` steps. An evaluation is one call of the network for one map.

The models of lensnb begin as a Gaussian field with the right spectrum, whose maps pass some rows
of the report. So they are also judged *untrained*, and no target counts a number that the
untrained model already wins.

**same-images**: the same for as many images as the fastest model saw in **same-time**, so that a
slow library is not judged by an untrained net. Each model has its learning rate and precision of
**same-time**. A training that would take longer than ``--cap`` minutes ends after that time, and
the page says so. The fastest model and the untrained ones are those of **same-time**.

**evaluations**: one trained diffusion model (``--model``, a name or a file; by default that of
same-time) and all samplers, from the same noise, at ``--evaluations`` per map, and by DDPM's
recipe. Where does the report no longer improve? A sampler has settled when all numbers stay
within one standard error of those at its largest number of evaluations.

The report measures the generated maps only. Of truth and null at 64² it uses the stored vectors
of 8,192 maps each. The rows that need the maps themselves are left out.

Packages that are not installed are named and left out.
``pip install -c constraints.txt --group benchmark`` (pip 25.1 or newer) installs all packages
except denoising-diffusion-pytorch. It also installs what that package needs, except torchvision,
which has no CPU build for this torch and is not needed here. Then run
``pip install -c constraints.txt --no-deps denoising-diffusion-pytorch``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import torch

from benchmarks.generator_evaluations import evaluations
from benchmarks.generator_models import OTHERS, sample
from benchmarks.generator_speed import speed
from benchmarks.generator_trainings import SAME_IMAGES, SAME_TIME, prepare, same_images, same_time
from benchmarks.statistics import machine
from lensnb.files import write_json
from lensnb.train import choose_device

PARTS = {
    "speed": speed,
    SAME_TIME: same_time,
    SAME_IMAGES: same_images,
    "evaluations": evaluations,
}
TITLES = {
    "speed": "Training speed: images per second at {pixels}², in batches of {batch}",
    "same-time": "After {minutes:g} minutes of training",
    "same-images": "After as many images as the fastest model saw in {minutes:g} minutes",
    "evaluations": "Evaluations of the network per map",
}
QUICK = {
    "pixels": 16,
    "batch": 4,
    "rounds": 2,
    "steps": 1,
    "minutes": 0.002,
    "cap": 0.002,
    "maps": 16,
    "ancestral": 4,
    "evaluations": [5, 10],
    "bootstrap": 20,
}
TRIED = """**Speed of Glow.** bfloat16 and channels last together double the speed of Glow. The figures of
lensnb include both by default. Without bfloat16 on either side, a step of Glow with channels
last is as fast as one of our flow.

**Time until the mean C_ℓ is within 5 %.** An earlier version of this benchmark measured it: half a
second. But the untrained models already pass, so it says nothing of a training. It was dropped.

**Bits and maps.** In an earlier run, with the former report and with a Glow that saw κ without the
logarithm, both flows had a learning rate of 0.001. Our maps were then closer to the truth than
Glow's, although our flow needed 0.0025 ± 0.0001 bits per dimension more. After minutes of
training, fewer bits do not yet mean better maps, and the learning rate is chosen by the bits."""


# ---------------------------------------------------------------- the page


def page(found: dict[str, dict]) -> str:
    """All that was found so far, in Markdown: targets first."""
    lines = ["# How fast do the generators learn?", ""]
    lines += ["Made by `python benchmarks/generators.py`; its docstring explains the method.", ""]
    lines += ["| target | found | |", "|---|---|---|"]
    for one in found.values():
        for target, what, good in one["targets"]:
            outcome = "met" if good else "**missed**"
            lines.append(f"| {target} | {what} | {outcome} |")
    for one in found.values():
        lines += ["", f"## {one['title']}", "", f"`{one['command']}`: {one['run']}", ""]
        lines += one["lines"]
    lines += ["", "## What was tried", "", TRIED]
    missing = [part for part in PARTS if part not in found]
    if missing:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def versions() -> str:
    """The other libraries with their versions."""
    installed = []
    for package in OTHERS:
        try:
            installed.append(f"{package} {version(package)}")
        except ImportError:  # PackageNotFoundError
            installed.append(f"{package} not installed")
    return ", ".join(installed)


# ---------------------------------------------------------------- the command


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("--parts", nargs="+", choices=PARTS, help="without: those that have no result yet")
    only = "models to train and draw for a part, which is not told yet; without: all, and told"
    add("--only", nargs="+", default=(), metavar="MODEL", help=only)
    add("--folder", type=Path, default=Path("runs/generators"), help="all that was found")
    add("--pixels", type=int, default=64, help="pixels a side: 16, 32 or 64")
    add("--batch", type=int, default=32, help="maps a step")
    add("--steps", type=int, default=2, help="steps of a model in a timed round")
    add("--rounds", type=int, default=7, help="timed rounds")
    add("--minutes", type=float, default=3, help="same-time: of training, each")
    add("--cap", type=float, default=90, help="same-images: minutes of training at most, each")
    add("--lr", type=float, default=1e-3, help="highest learning rate of the diffusion models")
    rates = [1e-3, 2e-3, 4e-3, 8e-3]
    add("--rates", type=float, nargs="+", default=rates, help="highest rates to try with flows")
    add("--maps", type=int, default=256, help="maps drawn from each model")
    add("--ancestral", type=int, default=250, help="steps of the DDPM sampler, 1000 at most")
    add("--model", help="evaluations: a trained diffusion model, by its name or its checkpoint")
    calls = [5, 10, 20, 40, 80]
    add("--evaluations", type=int, nargs="+", default=calls, help="of the network a map")
    add("--bootstrap", type=int, default=200, help="rounds, for the errors of the report")
    add("--threads", type=int, default=torch.get_num_threads(), help="cores that are used")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--quick", action="store_true", help="tiny sizes, to see that all parts run")
    add("--output", type=Path, help="Markdown file to write; printed in any case")
    return options


def run(part: str, options: argparse.Namespace) -> dict:
    """What a part found, and how."""
    busy, start = os.getloadavg()[0], time.perf_counter()
    lines, targets = PARTS[part](options, sample("train", options.pixels).tensor())
    minutes, load = (time.perf_counter() - start) / 60, os.getloadavg()[1]
    about = (
        f"{max(1, round(minutes))} minutes, load average {busy:.1f} before and {load:.1f} at the "
        f"end; {machine(options.device.type)}; {versions()}."
    )
    return {
        "title": TITLES[part].format(**vars(options)),
        "command": " ".join(["python benchmarks/generators.py", *sys.argv[1:]]),
        "run": about,
        "lines": lines,
        "targets": [(target, found, bool(good)) for target, found, good in targets],
    }


def main() -> None:
    """Run the parts, and write the page after each, so that an interrupted run leaves it."""
    parse = parser()
    if "--quick" in sys.argv:
        parse.set_defaults(**QUICK)
    options = parse.parse_args()
    torch.set_num_threads(options.threads)
    options.device = choose_device(options.device)
    if options.only:
        if options.parts not in ([SAME_TIME], [SAME_IMAGES]):
            parse.error(f"--only needs --parts {SAME_TIME} or --parts {SAME_IMAGES}")
        prepare(options.parts[0], options, sample("train", options.pixels).tensor())
        return
    files = {part: options.folder / f"{part}.json" for part in PARTS}
    for part in options.parts or [part for part in PARTS if not files[part].exists()]:
        try:
            found = run(part, options)
        except KeyboardInterrupt:
            sys.exit("interrupted; the same command goes on from here")
        write_json(files[part], found)
        known = {name: json.loads(f.read_text()) for name, f in files.items() if f.exists()}
        text = page(known)
        if options.output:
            options.output.write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
