"""Images a second: loss, backward pass and Adam of each model, on the same maps.

:mod:`benchmarks.generators` explains the method.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.generator_models import DIFFUSION, FLOW, OTHERS, contenders, own_precision
from benchmarks.generator_tables import Target
from benchmarks.other_generators import size
from benchmarks.statistics import ratio, seconds
from lensnb.train import place

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def stepper(model: nn.Module, batch: Tensor, precision: str) -> Callable[[], None]:
    """A function that makes one step of a training."""
    optimizer = torch.optim.Adam(
        model.parameters(), lr=1e-4, fused=batch.device.type in ("cpu", "cuda")
    )

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(
            batch.device.type, PRECISIONS[precision], enabled=precision != "float32"
        ):
            loss = model.loss(batch)
        loss.backward()
        optimizer.step()

    return step


def ways(
    name: str, model: nn.Module, device: torch.device
) -> Iterator[tuple[str, str, nn.Module]]:
    """How a model is timed: the way in words, the precision, and a copy on the device."""
    ours = name in (FLOW, DIFFUSION)
    for precision in PRECISIONS:
        one = copy.deepcopy(model)
        yield precision, precision, place(one, device) if ours else one.to(device)
    for precision in () if ours else PRECISIONS:
        yield f"{precision}, channels last", precision, place(copy.deepcopy(model), device)


def time_steps(
    found: dict[str, nn.Module | None], batch: Tensor, steps: int, rounds: int
) -> dict[str, dict]:
    """``times[model][way]``: seconds of so many steps in each round.

    A way in which a model does not run has no rounds.
    """
    steppers, times = [], {}
    for name, model in found.items():
        times[name] = {}
        for way, precision, one in ways(name, model, batch.device) if model is not None else ():
            times[name][way], step = [], stepper(one.train(), batch, precision)
            try:
                step()
            except RuntimeError as error:
                print(f"{name} does not run in {way}: {error}", flush=True)
                continue
            steppers.append((step, times[name][way]))
    for _ in range(rounds):
        for step, spent in steppers:
            spent.append(seconds(lambda step=step: [step() for _ in range(steps)]))
    return times


def speed(options: argparse.Namespace, train: Tensor) -> tuple[list[str], list[Target]]:
    """The table of images a second, and its targets."""
    found = contenders(train, options.ancestral)
    times = time_steps(
        found, train[: options.batch].to(options.device), options.steps, options.rounds
    )
    images, targets = options.batch * options.steps, []
    against = {name: times[ours] for name, _, ours in OTHERS.values()}
    own = own_precision(FLOW, options.device)
    lines = [
        f"| | parameters | precision | images per second | lensnb, same precision | lensnb, {own} |"
    ]
    lines += ["|---|--:|---|--:|---|---|"]
    for name, model in found.items():
        if model is None:
            lines.append(f"| {name} | not installed | | | | |")
        for way, spent in times[name].items():
            rate = f"{images / np.median(spent):.3g}" if spent else "does not run"
            cells = [name, f"{size(model):,}", way, rate, "", ""]
            if name in against and spent:
                ours = against[name]
                cells[4:] = [faster(spent, ours[way.split(",")[0]]), faster(spent, ours[own])]
            lines.append(f"| {' | '.join(cells)} |")
        if name in against and model is not None:
            targets += faster_targets(name, times[name], against[name][own])
    note = (
        "The last two columns say how many times as fast lensnb is, in brackets the range over rounds. "
        f"By default, lensnb uses {own} on this machine, and the others use float32."
    )
    return [*lines, "", note], targets


def faster(theirs: list[float], ours: list[float]) -> str:
    """How many times as fast ours is, with the range over rounds."""
    if not ours:
        return ""
    each = [a / b for a, b in zip(theirs, ours)]
    return f"{ratio(theirs, ours):.2g} × ({min(each):.2g} to {max(each):.2g})"


def faster_targets(name: str, theirs: dict[str, list], ours: list[float]) -> Iterator[Target]:
    fastest = min((way for way in theirs if theirs[way]), key=lambda way: np.median(theirs[way]))
    for what, way in (
        ("both with default settings", "float32"),
        (f"with its fastest settings ({fastest})", fastest),
    ):
        r = ratio(theirs[way], ours)
        yield (
            f"training: at least 1.5 × the images per second of {name}, {what}",
            f"{r:.2g} ×",
            r >= 1.5,
        )
