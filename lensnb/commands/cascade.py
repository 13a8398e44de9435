"""``lensnb cascade``: train a cascade of scales level by level, and join the levels."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .level_processes import train_in_processes
from .parsers import add_command
from .stopping import stoppable

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
lensnb cascade 'SLICS/*kappa_weight*' runs/slics --pixels 512 --field-deg 5 --crop 64
"""


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
    _add_maps(command)
    command.set_defaults(command=run)


def _add_maps(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--field-deg", type=float, metavar="DEG",
        help="cut fields of this side out of wider maps, anywhere, turned and mirrored (by "
        "default whole maps)",
    )  # fmt: skip
    command.add_argument(
        "--pixels", type=int, metavar="N",
        help="average the maps of the files to so many pixels a side first",
    )  # fmt: skip
    command.add_argument(
        "--source", help="tomographic bin, source plane, or redshifts such as 0.9,1.1"
    )
    command.add_argument(
        "--side-deg", type=float, help="side of the field, degrees, where the files do not say it"
    )
    command.add_argument(
        "--z-source", type=float, help="redshift of the sources, where the files do not say it"
    )
    command.add_argument("--simulation", help=".npy with the number of the simulation of each map")


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("--steps", type=int, default=4000, help="of each level (default: 4000)")
    command.add_argument("--batch", type=int, default=32, help="maps of a step (default: 32)")
    command.add_argument(
        "--accumulate", type=int, metavar="N",
        help="parts of a step, a multiple of the processes of torchrun (default: one for each)",
    )  # fmt: skip
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
    with stoppable(f"the cascade in {options.folder}"):
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    if options.processes > 1 and _shared():
        raise ValueError(
            "torchrun shares each level among its processes; expected no --processes beside it"
        )
    plan = _plan(options)
    failed = []
    if options.only is not None:
        _train(plan, options.only, options)
    elif options.processes > 1:
        failed = train_in_processes(plan, options)
    else:
        for side in plan.families:
            _train(plan, side, options)
    for sentence in failed:
        print(f"lensnb: {sentence}", file=sys.stderr)
    left = plan.unfinished()
    if not _is_first():
        return int(bool(failed))
    if left:
        print(f"not finished: the levels of {', '.join(f'{side}²' for side in left)} pixels")
    else:
        print(f"wrote {plan.join()}")
    return int(bool(failed))


def _shared() -> int:
    """Number of processes of torchrun; 0 without it."""
    return int(os.environ.get("WORLD_SIZE", "0"))


def _is_first() -> bool:
    """Whether this process writes files and says what is done."""
    return int(os.environ.get("RANK", "0")) == 0


def _plan(options: argparse.Namespace) -> CascadePlan:
    from .cascade_maps import maps_of_cascade
    from .level_trainings import CascadePlan

    return CascadePlan.begin(
        options.folder,
        maps_of_cascade(options),
        options.coarse,
        options.crop,
        _families(options.family),
        options.held_out,
        options.field_deg,
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

    parts = options.accumulate or max(1, _shared())
    if options.batch % parts:
        raise ValueError(
            f"{options.batch} maps of a step cannot be divided into {parts} equal parts; expected "
            "--batch to be a multiple of --accumulate, or of the processes of torchrun"
        )
    settings = Settings(
        options.steps,
        options.batch // parts,
        parts,
        lr=options.lr,
        augment=random_symmetry,
        patience=options.patience,
        seed=options.seed,
    )
    for record in plan.train(side, settings, options.every, options.device):
        if _is_first():
            print(_line(side, record), flush=True)
        if record.get("stopped") == "interrupted":
            raise KeyboardInterrupt  # the other levels are not begun


def _line(side: int, record: dict) -> str:
    words = [f"{side}²", f"step {record['step']}"]
    for name in ("loss", "validation", "images_per_second"):
        if record.get(name) is not None:
            words.append(f"{name.replace('_', ' ')} {record[name]:.4g}")
    if "stopped" in record:
        words.append(record["stopped"])
    return ", ".join(words)
