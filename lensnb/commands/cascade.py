"""``lensnb cascade``: train a cascade of scales level by level, and join the levels."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from .parsers import add_command

if TYPE_CHECKING:
    from .level_trainings import CascadePlan

_DESCRIPTION = """\
Train a cascade of scales on maps: the coarsest level, then the details of each finer one. Each
level is a training of its own in FOLDER/level_SIDE. Run again, the same command resumes what is
not finished. When all levels are, they are joined into one checkpoint, FOLDER/cascade.safetensors,
for lensnb draw. A level by details or detail-diffusion is trained on crops and draws maps of any
size."""

_EXAMPLES = """
lensnb cascade maps.zarr runs/large --coarse 8 --crop 64 --steps 20000
lensnb cascade maps.zarr runs/large --coarse 8 --crop 64 --only 64    one level: a job of its own
lensnb cascade maps.zarr runs/mixed --family 128=detail-diffusion --family 256=detail-diffusion
"""

# Options that are handed on to the process of each level, by name.
_HANDED_ON = (
    "coarse", "crop", "family", "held_out", "steps", "batch", "lr", "patience", "seed", "every",
    "device", "side_deg", "z_source", "simulation",
)  # fmt: skip


def add(commands) -> None:
    """Add the command to the parser."""
    command = add_command(
        commands,
        "cascade",
        "train a cascade of scales on large maps, level by level",
        _EXAMPLES,
        _DESCRIPTION,
    )
    command.add_argument("maps", metavar="MAPS", help="a file of maps, or a pattern in quotes")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="where levels are trained")
    command.add_argument(
        "--coarse", type=int, default=8, metavar="N",
        help="pixels a side of the coarsest level (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--crop", type=int, metavar="N",
        help="train finer levels on crops of so many pixels a side (by default on whole maps)",
    )  # fmt: skip
    command.add_argument(
        "--family", action="append", default=[], metavar="SIDE=NAME",
        help="family of the level with so many pixels a side: details or detail-diffusion; of the "
        "coarsest one flow, trenf, diffusion or another model of whole maps",
    )  # fmt: skip
    _add_training(command)
    command.add_argument(
        "--side-deg", type=float, help="side of the field, degrees, where the files do not say it"
    )
    command.add_argument(
        "--z-source", type=float, help="redshift of the sources, where the files do not say it"
    )
    command.add_argument("--simulation", help=".npy with the number of the simulation of each map")
    command.set_defaults(command=run)


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("--steps", type=int, default=4000, help="of each level (default: 4000)")
    command.add_argument("--batch", type=int, default=32, help="maps of a step (default: 32)")
    command.add_argument(
        "--lr", type=float, default=2e-3, help="highest learning rate (default: %(default)s)"
    )
    command.add_argument(
        "--held-out", type=float, default=0.0, metavar="SHARE",
        help="share of the simulations that is not trained on, but measured (default: none)",
    )  # fmt: skip
    command.add_argument(
        "--patience", type=int, default=0, metavar="RECORDS",
        help="end a level when its loss of held-out maps has not fallen in so many records",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--every", type=int, default=100, help="steps between records (default: %(default)s)"
    )
    command.add_argument("--only", type=int, metavar="SIDE", help="train this level, no other")
    command.add_argument(
        "--processes", type=int, default=1, metavar="N",
        help="levels at a time, each in a process of its own (default: 1)",
    )  # fmt: skip
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def run(options: argparse.Namespace) -> int:
    """Train what is missing, and join the levels if all of them are finished."""
    plan = _plan(options)
    failed = []
    if options.only is not None:
        _train(plan, options.only, options)
    elif options.processes > 1:
        failed = _in_processes(plan, options)
    else:
        for side in plan.families:
            _train(plan, side, options)
    for sentence in failed:
        print(f"lensnb: {sentence}", file=sys.stderr)
    left = plan.unfinished()
    if left:
        print(f"not finished: the levels of {', '.join(f'{side}²' for side in left)} pixels")
    else:
        print(f"wrote {plan.join()}")
    return int(bool(failed))


def _plan(options: argparse.Namespace) -> CascadePlan:
    from ..readers import open_maps
    from .level_trainings import CascadePlan

    about = {}
    if options.z_source is not None:
        about["z_source"] = options.z_source
    maps = open_maps(options.maps, options.side_deg, simulation=options.simulation, **about)
    return CascadePlan.begin(
        options.folder,
        maps,
        options.coarse,
        options.crop,
        _families(options.family),
        options.held_out,
    )


def _families(words: Sequence[str]) -> dict[int, str]:
    """``SIDE=NAME`` → families by side."""
    found = {}
    for word in words:
        side, equals, name = word.partition("=")
        if not (side.isdigit() and equals and name):
            raise ValueError(f"--family is SIDE=NAME, such as 128=detail-diffusion, found {word}")
        found[int(side)] = name
    return found


def _train(plan: CascadePlan, side: int, options: argparse.Namespace) -> None:
    """Train one level, with a line for each record."""
    from ..data import random_symmetry
    from ..train import Settings

    settings = Settings(
        options.steps,
        options.batch,
        lr=options.lr,
        augment=random_symmetry,
        patience=options.patience,
        seed=options.seed,
    )
    for record in plan.train(side, settings, options.every, options.device):
        print(_line(side, record), flush=True)


def _line(side: int, record: dict) -> str:
    words = [f"{side}²", f"step {record['step']}"]
    for name in ("loss", "validation", "images_per_second"):
        if record.get(name) is not None:
            words.append(f"{name.replace('_', ' ')} {record[name]:.4g}")
    if "stopped" in record:
        words.append(record["stopped"])
    return ", ".join(words)


# ---------------------------------------------------------------- processes


def _in_processes(plan: CascadePlan, options: argparse.Namespace) -> list[str]:
    """Train the levels in processes, some at a time; one that fails does not end the others.

    Returns:
        A sentence for each level that failed.
    """
    threads = max(1, (os.cpu_count() or 1) // options.processes)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    running: list[subprocess.Popen] = []

    def one(side: int) -> str | None:
        folder = plan.folder_of(side)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log.txt", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                _words(options, side), stdout=log, stderr=subprocess.STDOUT, env=environment
            )
            running.append(process)
            status = process.wait()
        if status:
            return f"the level of {side}² pixels failed; {folder / 'log.txt'} says why"
        print(f"the level of {side}² pixels is finished", flush=True)
        return None

    # the finest levels first: they take longest
    sides = sorted(plan.families, reverse=True)
    with ThreadPoolExecutor(options.processes) as pool:
        waiting = [pool.submit(one, side) for side in sides]
        try:
            found = [future.result() for future in waiting]
        except BaseException:  # the end of this process is the end of its levels
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise
    return [sentence for sentence in found if sentence is not None]


def _words(options: argparse.Namespace, side: int) -> list[str]:
    """The command that trains one level with the same options."""
    words = [sys.executable, "-m", "lensnb", "cascade", options.maps, str(options.folder)]
    for name in _HANDED_ON:
        value = getattr(options, name)
        flag = f"--{name.replace('_', '-')}"
        values = value
        if not isinstance(value, list):
            values = [value]
        for one in values:
            if one is not None:
                words += [flag, str(one)]
    return [*words, "--only", str(side)]
