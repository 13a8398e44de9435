"""Train all models for as long, or on as many images, and judge their maps.

Everything is kept in the folder as soon as it is known: the plan of a training, the training
itself, and the maps, part by part. The same command goes on where an interrupted run was.
:mod:`benchmarks.generators` explains the method.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.generator_drawing import Drawn, draw_in_parts
from benchmarks.generator_models import (
    DIFFUSION,
    FLOW,
    contenders,
    is_flow,
    own_precision,
    sample,
)
from benchmarks.generator_tables import (
    Target,
    bits_targets,
    fidelity_table,
    fidelity_targets,
    untrained,
    untrained_notes,
)
from benchmarks.statistics import duration, now
from lensnb.compare import compare
from lensnb.data import MapSet, random_symmetry
from lensnb.files import write_json
from lensnb.train import Checks, Hardware, Settings, fit, place

SAME_TIME, SAME_IMAGES = "same-time", "same-images"


class Plan(NamedTuple):
    """How a model is trained."""

    steps: int
    rate: float
    precision: str


NOTHING = Plan(0, math.nan, "–")  # of an untrained model


class Result(NamedTuple):
    """A trained model: its plan, the seconds of its training, its maps, its bits per dimension.

    The bits are those of each simulation of the truth; None for models without a density.
    """

    plan: Plan
    seconds: float
    drawn: Drawn
    bits: np.ndarray | None


def folder_of(part: str, name: str, options: argparse.Namespace) -> Path:
    """Where a part keeps what it knows of a model."""
    return options.folder / part / re.sub(r"\W+", "-", name.lower())


# ---------------------------------------------------------------- plans


def settings(options: argparse.Namespace, steps: int, rate: float) -> Settings:
    """The same settings for all models but for these two."""
    return Settings(steps, batch=options.batch, lr=rate, augment=random_symmetry)


def planned(name: str, model: nn.Module, maps: Tensor, options: argparse.Namespace) -> Plan:
    """The plan for a training of ``options.minutes``, which is kept in the folder.

    Raises:
        ValueError: the folder has one that was made with other options.
    """
    file = folder_of(SAME_TIME, name, options) / "plan.json"
    decide = ("minutes", "batch", "lr", "rates", "pixels", "ancestral")
    asked = {key: getattr(options, key) for key in decide}
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["asked"] != asked:
            raise ValueError(
                f"{file} was made with {kept['asked']} (now {asked}); use another --folder"
            )
        return Plan(*kept["plan"])
    precision = own_precision(name, options.device)
    steps = steps_in(model, maps, precision, options)
    rate = options.lr
    if is_flow(model):
        rate = best_rate(name, model, maps, steps, options)
    plan = Plan(steps, rate, precision)
    write_json(file, {"asked": asked, "plan": plan})
    return plan


def steps_in(model: nn.Module, maps: Tensor, precision: str, options: argparse.Namespace) -> int:
    """How many steps of a training fill the time, measured on a copy.

    It takes 20 steps or a tenth of the time.
    """
    spent, started = [], now()
    hardware, how = Hardware(options.device, precision), settings(options, 21, options.lr)
    records = fit(copy.deepcopy(model), maps, how, checks=Checks(every=1), device=hardware)
    for record in records:
        spent.append(now())
        _go_on(record)
        if now() - started > 6 * options.minutes and len(spent) > 3:
            break
    records.close()
    return max(2, round(60 * options.minutes / float(np.median(np.diff(spent)))))


def best_rate(
    name: str, model: nn.Module, maps: Tensor, steps: int, options: argparse.Namespace
) -> float:
    """The learning rate at which a flow does best on maps of other boxes.

    It is found with a sixth of the steps.
    """
    held = len(maps) // 8  # maps lie box by box
    found = {}
    hardware = Hardware(options.device, own_precision(name, options.device))
    for rate in options.rates:
        one = copy.deepcopy(model)
        how = settings(options, max(2, steps // 6), rate)
        for record in fit(one, maps[:-held], how, device=hardware):
            _go_on(record)
        with torch.no_grad():
            found[rate] = float(one.loss(maps[-held:].to(options.device)))
        print(f"{name} at {rate:g}: {found[rate]:.4f} bits per dimension", flush=True)
    return min(found, key=found.get)


# ---------------------------------------------------------------- trainings


def train(
    part: str, name: str, model: nn.Module, maps: Tensor, plan: Plan, options: argparse.Namespace
) -> Result:
    """Train a model as planned, and draw its maps; what the folder has is not done again."""
    folder = folder_of(part, name, options)
    hardware = Hardware(options.device, plan.precision)
    how = settings(options, plan.steps, plan.rate)
    began = now()
    records = list(fit(model, maps, how, device=hardware, folder=folder))
    spent = time_so_far(folder, now() - began)
    _go_on(records[-1])
    print(f"{name}: {plan.steps} steps in {spent:.0f} s", flush=True)
    return judged(name, model, plan, spent, folder, options)


def time_so_far(folder: Path, seconds: float) -> float:
    """All seconds that a training took, with those before it was interrupted; kept in the folder."""
    file = folder / "time.json"
    before = 0.0
    if file.exists():
        before = json.loads(file.read_text())
    write_json(file, before + seconds)
    return before + seconds


def _go_on(record: dict) -> None:
    """Raise the keyboard interrupt that ended a training."""
    if record.get("stopped") == "interrupted":
        raise KeyboardInterrupt


def judged(
    name: str,
    model: nn.Module,
    plan: Plan,
    spent: float,
    folder: Path,
    options: argparse.Namespace,
) -> Result:
    """The maps of a model, and its bits per dimension."""
    model.eval()
    drawn = draw_in_parts(model, options.maps, folder)
    print(f"{name}: {options.maps} maps", flush=True)
    bits = None
    if is_flow(model):
        bits = bits_per_dimension(model, sample("truth", options.pixels), options.device)
    return Result(plan, spent, drawn, bits)


@torch.no_grad()
def bits_per_dimension(model: nn.Module, truth: MapSet, device: torch.device) -> np.ndarray:
    """Of the maps of each simulation, in κ units, shape ``(simulations,)``."""
    parts = [model.log_prob(part.to(device)).cpu() for part in truth.tensor().split(64)]
    log_prob = torch.cat(parts).double().numpy()
    per_map = -log_prob / (math.log(2) * truth.grid.n**2)
    return np.array([per_map[truth.simulation == label].mean() for label in truth.simulations])


def trained_for_the_time(
    found: dict[str, nn.Module | None],
    maps: Tensor,
    options: argparse.Namespace,
    only: Collection[str] = (),
) -> dict[str, Result]:
    """The models that are installed, after the same time; those of lensnb untrained, too.

    ``only`` names those that are wanted; empty: all.
    """
    results = {}
    for name, model in found.items():
        if model is None or (only and name not in only):
            continue
        if name in (FLOW, DIFFUSION):
            called = untrained(name)
            begin = place(copy.deepcopy(model), options.device)
            folder = folder_of(SAME_TIME, called, options)
            results[called] = judged(called, begin, NOTHING, 0.0, folder, options)
        plan = planned(name, model, maps, options)
        results[name] = train(SAME_TIME, name, model, maps, plan, options)
    return results


def trained_on_as_many_images(
    found: dict[str, nn.Module | None],
    before: dict[str, Result],
    maps: Tensor,
    options: argparse.Namespace,
    only: Collection[str] = (),
) -> dict[str, Result]:
    """The models after as many images as the fastest one saw before; those of it stay.

    ``only`` names those that are wanted; empty: all.
    """
    steps = most_steps(before)
    results = {}
    for name, result in before.items():
        if only and name not in only:
            continue
        plan = result.plan
        if plan.steps in (0, steps):
            results[name] = result
            continue
        fits = int(60 * options.cap * plan.steps / result.seconds)
        plan = plan._replace(steps=min(steps, max(2, fits)))
        results[name] = train(SAME_IMAGES, name, found[name], maps, plan, options)
    return results


def most_steps(results: dict[str, Result]) -> int:
    """The steps of the model that made most."""
    return max(result.plan.steps for result in results.values())


# ---------------------------------------------------------------- the two parts of the page


def prepare(part: str, options: argparse.Namespace, maps: Tensor) -> None:
    """Train the models of ``options.only`` and draw their maps for a part, without telling it.

    Several such commands can run side by side. For the same images, the part of the same time has
    to be complete.
    """
    found = contenders(maps, options.ancestral)
    unknown = [name for name in options.only if name not in found]
    if unknown:
        raise ValueError(f"there is no model {unknown[0]!r}; there are {', '.join(found)}")
    if part == SAME_TIME:
        trained_for_the_time(found, maps, options, options.only)
        return
    before = trained_for_the_time(found, maps, options)
    fresh = contenders(maps, options.ancestral)
    trained_on_as_many_images(fresh, before, maps, options, options.only)


def same_time(options: argparse.Namespace, maps: Tensor) -> tuple[list[str], list[Target]]:
    """All models after the same time."""
    found = contenders(maps, options.ancestral)
    results = trained_for_the_time(found, maps, options)
    return told(found, results, "the same time", options)


def same_images(options: argparse.Namespace, maps: Tensor) -> tuple[list[str], list[Target]]:
    """All models after as many images; without the results of the same time, these come first."""
    found = contenders(maps, options.ancestral)
    before = trained_for_the_time(found, maps, options)
    fresh = contenders(maps, options.ancestral)
    results = trained_on_as_many_images(fresh, before, maps, options)
    lines, targets = told(fresh, results, "as many images", options)
    return [*capped(results, options), *lines], targets


def capped(results: dict[str, Result], options: argparse.Namespace) -> Iterator[str]:
    """Which models were stopped before they had seen as many images, and why."""
    whole = most_steps(results)
    for name, result in results.items():
        steps = result.plan.steps
        if 0 < steps < whole:
            yield (
                f"**{name} saw {steps / whole:.0%} of the images only**: more would take longer "
                f"than {options.cap:g} minutes (`--cap`)."
            )
            yield ""


def told(
    found: dict[str, nn.Module | None],
    results: dict[str, Result],
    after: str,
    options: argparse.Namespace,
) -> tuple[list[str], list[Target]]:
    """The tables of the trainings and of the report, and the targets."""
    truth, null = (sample(name, options.pixels) for name in ("truth", "null"))
    sets = {name: result.drawn.maps for name, result in results.items()}
    report = compare(truth, null, sets, look_at_maps=False, rounds=options.bootstrap)
    lines = [*training_table(found, results, options), "", *fidelity_table(report), ""]
    lines += untrained_notes(report)
    bits = {name: one.bits for name, one in results.items() if one.bits is not None}
    return lines, [*bits_targets(bits, after), *fidelity_targets(report, after)]


def training_table(
    found: dict[str, nn.Module | None], results: dict[str, Result], options: argparse.Namespace
) -> Iterator[str]:
    """What each training cost."""
    columns = ["precision", "learning rate", "training time", "images seen"]
    columns += ["bits per dimension", "time per map", "evaluations per map"]
    yield f"| | {' | '.join(columns)} |"
    yield "|---|---|" + "--:|" * (len(columns) - 1)
    for name, result in results.items():
        yield f"| {name} | {' | '.join(training_cells(result, options))} |"
    for name, model in found.items():
        if model is None:
            yield f"| {name} | not installed |{' |' * (len(columns) - 1)}"


def training_cells(result: Result, options: argparse.Namespace) -> list[str]:
    """The cells of a trained or untrained model."""
    plan, drawn = result.plan, result.drawn
    rate = bits = "–"
    if plan.steps:
        rate = f"{plan.rate:g}"
    if result.bits is not None:
        bits = f"{result.bits.mean():.4f}"
    images = f"{plan.steps * options.batch:,}"
    cells = [plan.precision, rate, f"{result.seconds:.0f} s", images, bits]
    return [*cells, duration(drawn.seconds), f"{drawn.evaluations:.4g}"]
