"""The levels of a cascade in processes of their own, some at a time."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .stopping import STOP

if TYPE_CHECKING:
    from .level_trainings import CascadePlan

# Options that are handed on to the process of each level, by name.
_HANDED_ON = (
    "coarse", "crop", "family", "held_out", "steps", "batch", "accumulate", "lr", "patience",
    "seed", "every", "device", "field_deg", "pixels", "source", "side_deg", "z_source",
    "simulation",
)  # fmt: skip


def train_in_processes(plan: CascadePlan, options: argparse.Namespace) -> list[str]:
    """Train the levels in processes, some at a time; one that fails does not end the others.

    On a machine with several GPUs the levels take them in turn.

    Returns:
        A sentence for each level that failed.
    """
    threads = max(1, (os.cpu_count() or 1) // options.processes)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    running: list[subprocess.Popen] = []
    # the finest levels first: they take longest
    sides = sorted(plan.families, reverse=True)
    devices = dict(zip(sides, _devices(options.device, len(sides))))

    def one(side: int) -> str | None:
        folder = plan.folder_of(side)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "log.txt", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                _words(options, side, devices[side]),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            running.append(process)
            status = process.wait()
        if status:
            return f"the level of {side}² pixels failed; {folder / 'log.txt'} says why"
        print(f"the level of {side}² pixels is finished", flush=True)
        return None

    with ThreadPoolExecutor(options.processes) as pool:
        waiting = [pool.submit(one, side) for side in sides]
        try:
            found = [future.result() for future in waiting]
        except BaseException:  # the end of this process is the end of its levels
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.send_signal(STOP)  # it saves its training
            raise
    return [sentence for sentence in found if sentence is not None]


def _devices(name: str, levels: int) -> list[str]:
    """The device of each level: a GPU in turn where there are several, else what was asked for."""
    import torch

    gpus = torch.cuda.device_count()
    if name not in ("auto", "cuda") or gpus < 2:
        return [name] * levels
    return [f"cuda:{level % gpus}" for level in range(levels)]


def _words(options: argparse.Namespace, side: int, device: str) -> list[str]:
    """The command that trains one level with the same options, on a device."""
    options = argparse.Namespace(**(vars(options) | {"device": device}))
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
