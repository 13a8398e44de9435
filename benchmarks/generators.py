"""How fast do the generators learn, compared with other libraries?

    python benchmarks/generators.py --output docs/benchmark_generators.md

All parts use the shipped sample: the training set to learn from, truth and null to judge by. The
result of each part is kept in ``--folder``, so an interrupted run continues with the missing
parts. ``--parts`` runs the named parts, again if necessary. ``--quick`` tries them on tiny maps.

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
number of steps that fills the time is measured before; the table has the actual time. Then follow
the bits per dimension of the flows on the truth, in κ units, and the fidelity report of the same
number of maps from each model. lensnb uses its default sampler, the other diffusion libraries
``--ancestral`` steps. An evaluation is one call of the network for one map.

**evaluations**: one trained diffusion model (``--model``, a name or a file; by default that of
same-time) and all samplers, from the same noise, at ``--evaluations`` per map, and by DDPM's
recipe. Where does the report no longer improve? A sampler has settled when all numbers stay
within one standard error of those at its largest number of evaluations.

**time-to-power**: the time from an untrained model to a mean C_ℓ within 5 % of the truth. It is
checked twenty times during a training of ``--limit`` minutes: the ratio averaged over the bins,
and the ratio in the worst bin. The time to make the model is included, the time of the checks is
not.

Packages that are not installed are named and left out.
``pip install -c constraints.txt --group benchmark`` (pip 25.1 or newer) installs all packages
except denoising-diffusion-pytorch. It also installs what that package needs, except torchvision,
which has no CPU build for this torch and is not needed here. Then run
``pip install -c constraints.txt --no-deps denoising-diffusion-pytorch``.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.other_generators import diffusers, glow, lucidrains, size
from benchmarks.statistics import duration, machine, ratio, seconds
from lensnb import models, samplers
from lensnb.compare import Fidelity, FidelityReport, Row, compare
from lensnb.compare.answers import SAME
from lensnb.data import MapSet, block_average, load_sample, random_symmetry
from lensnb.files import save_checkpoint, write_json
from lensnb.maps import GaussianField
from lensnb.models import BandPowers, Diffusion, Flow
from lensnb.train import (
    Checks,
    Hardware,
    Settings,
    choose_device,
    choose_precision,
    fit,
    place,
)
from lensnb.transform import KappaTransform

PARTS = ("speed", "same-time", "evaluations", "time-to-power")
FLOW, DIFFUSION = "lensnb Flow", "lensnb Diffusion"
OTHERS = {  # package: what it is called, how it is made, what it is held against
    "normflows": ("normflows Glow", glow, FLOW),
    "denoising-diffusion-pytorch": ("denoising-diffusion-pytorch", lucidrains, DIFFUSION),
    "diffusers": ("diffusers UNet2DModel, DDPM", diffusers, DIFFUSION),
}
LEGEND = (
    "± is one standard error. A symbol after a number says: = as the simulations, * off,",
    "? cannot tell. Models are compared with truth and null together, the null with the truth.",
)
SHOWN = ("C_ℓ mean", "C_ℓ scatter", "C_ℓ slope", "slope of all bins", "contour area")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
QUICK = {
    "pixels": 16, "batch": 4, "rounds": 2, "steps": 1, "minutes": 0.002, "maps": 16, "ancestral": 4,
    "evaluations": [5, 10], "limit": 0.002, "bootstrap": 20,
}  # fmt: skip
Target = tuple[str, str, bool]  # what was asked for, what was found, whether that is enough


# ---------------------------------------------------------------- the models


def sample(name: str, pixels: int) -> MapSet:
    """A set of the shipped sample at that many pixels a side."""
    maps = load_sample(name)
    return block_average(maps, maps.grid.n // pixels) if pixels < maps.grid.n else maps


def build(family: type[nn.Module], maps: Tensor) -> nn.Module:
    """An untrained model of lensnb for κ-maps ``(maps, n, n)``, made as in the notebooks."""
    transform = KappaTransform.fit(maps)
    y = transform(maps)
    field = GaussianField.fit(y)
    powers = {"band_powers": BandPowers.fit(y, field)} if family is Diffusion else {}
    return family(maps.shape[-1], transform, field, **powers)


def contenders(maps: Tensor, ancestral: int) -> dict[str, nn.Module | None]:
    """Untrained models by name; None where the library is not installed."""
    torch.manual_seed(0)
    found: dict[str, nn.Module | None] = {
        FLOW: build(Flow, maps),
        DIFFUSION: build(Diffusion, maps),
    }
    for name, make, against in OTHERS.values():
        try:
            found[name] = make(maps, size(found[against]), ancestral)
        except ImportError:
            found[name] = None
    order = [FLOW, "normflows Glow", DIFFUSION]
    return {name: found[name] for name in (*order, *(name for name in found if name not in order))}


def own_precision(name: str, device: torch.device) -> str:
    """The precision in which a library trains when it is not told."""
    return choose_precision("auto", device) if name in (FLOW, DIFFUSION) else "float32"


# ---------------------------------------------------------------- images a second


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
    """``times[model][way]``: seconds of so many steps in each round; a way in which a model does not run has no rounds."""
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


# ---------------------------------------------------------------- after the same time


class Trained(NamedTuple):
    """A trained model, its steps and seconds of training."""

    model: nn.Module
    steps: int
    seconds: float
    precision: str
    rate: float


def settings(options: argparse.Namespace, steps: int, lr: float | None = None) -> Settings:
    return Settings(steps, batch=options.batch, lr=lr or options.lr, augment=random_symmetry)


def best_rate(
    name: str, model: nn.Module, maps: Tensor, steps: int, options: argparse.Namespace
) -> float:
    """The learning rate at which a flow does best on maps of other boxes, after a sixth of the steps."""
    held = len(maps) // 8  # maps lie box by box
    found = {}
    for rate in options.rates:
        one = copy.deepcopy(model)
        how = settings(options, max(2, steps // 6), rate)
        hardware = Hardware(options.device, own_precision(name, options.device))
        for _ in fit(one, maps[:-held], how, device=hardware):
            pass
        with torch.no_grad():
            found[rate] = float(one.loss(maps[-held:].to(options.device)))
        print(
            f"{name} at {rate:g}: {found[rate]:.4f} bits a dimension on held-out training maps",
            flush=True,
        )
    return min(found, key=found.get)


def steps_in(
    model: nn.Module, maps: Tensor, minutes: float, precision: str, options: argparse.Namespace
) -> int:
    """How many steps of a training fill that time: measured on a copy, on 20 steps or in a tenth of the time."""
    spent, started = [], time.perf_counter()
    hardware = Hardware(options.device, precision)
    one = copy.deepcopy(model)
    records = fit(one, maps, settings(options, 21), checks=Checks(every=1), device=hardware)
    for record in records:
        spent.append(record["seconds"])
        if time.perf_counter() - started > 6 * minutes and len(spent) > 3:
            break
    records.close()
    return max(2, round(60 * minutes / float(np.median(np.diff(spent)))))


def train_for(name: str, model: nn.Module, maps: Tensor, options: argparse.Namespace) -> Trained:
    """Train for about as long as was asked for."""
    precision = own_precision(name, options.device)
    steps = steps_in(model, maps, options.minutes, precision, options)
    rate = (
        best_rate(name, model, maps, steps, options)
        if hasattr(model, "log_prob") and name != DIFFUSION
        else options.lr
    )
    last = None
    hardware = Hardware(options.device, precision)
    for record in fit(model, maps, settings(options, steps, rate), device=hardware):
        last = record
    print(f"{name}: {steps} steps in {last['seconds']:.0f} s", flush=True)
    return Trained(model, steps, last["seconds"], precision, rate)


class Drawn(NamedTuple):
    """Maps, how long one took, and how often the network was called for it."""

    maps: Tensor
    seconds: float
    evaluations: float


def draw(model: nn.Module, n: int, **how) -> Drawn:
    """Draw maps with one seed; the calls of a diffusion model's network are counted."""
    network = (
        model.denoiser.network if isinstance(model, Diffusion) else getattr(model, "network", None)
    )
    calls, found = [], []
    hook = (
        network.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
        if network
        else None
    )
    spent = seconds(lambda: found.append(model.sample(n, torch.Generator().manual_seed(0), **how)))
    if hook:
        hook.remove()
    return Drawn(found[0].cpu(), spent / n, sum(calls) / n if calls else 1.0)


@torch.no_grad()
def bits(model: nn.Module, truth: MapSet, device: torch.device) -> np.ndarray:
    """Bits per dimension in κ units of each simulation's maps, shape ``(simulations,)``."""
    log_prob = (
        torch.cat([model.log_prob(part.to(device)).cpu() for part in truth.tensor().split(64)])
        .double()
        .numpy()
    )
    per_map = -log_prob / (math.log(2) * truth.grid.n**2)
    return np.array([per_map[truth.simulation == label].mean() for label in truth.simulations])


def same_time(options: argparse.Namespace, train: Tensor) -> tuple[list[str], list[Target]]:
    """Train all models for as long, and judge them; the diffusion model is kept in the folder."""
    found = contenders(train, options.ancestral)
    trained = {
        name: train_for(name, model, train, options)
        for name, model in found.items()
        if model is not None
    }
    save_checkpoint(kept_model(options), trained[DIFFUSION].model)
    drawn = {name: draw(one.model, options.maps) for name, one in trained.items()}
    print(f"{options.maps} maps from each", flush=True)
    truth, null = (sample(name, options.pixels) for name in ("truth", "null"))
    flows = {name: bits(one.model, truth, options.device) for name, one in trained.items() if hasattr(one.model, "log_prob") and name != DIFFUSION}  # fmt: skip
    report = compare(
        truth,
        null,
        {name: one.maps for name, one in drawn.items()},
        look_at_maps=False,
        rounds=options.bootstrap,
    )
    lines = [
        "| | precision | learning rate | training time | images seen | bits per dimension | time per map | evaluations per map |"
    ]
    lines += ["|---|---|--:|--:|--:|--:|--:|--:|"]
    for name, model in found.items():
        if model is None:
            lines.append(f"| {name} | not installed | | | | | | |")
            continue
        one, maps = trained[name], drawn[name]
        bpd = f"{flows[name].mean():.4f}" if name in flows else "–"
        cells = [
            name,
            one.precision,
            f"{one.rate:g}",
            f"{one.seconds:.0f} s",
            f"{one.steps * options.batch:,}",
            bpd,
        ]
        lines.append(
            f"| {' | '.join([*cells, duration(maps.seconds), f'{maps.evaluations:.4g}'])} |"
        )
    return [*lines, "", *fidelity_table(report)], [*bits_targets(flows), *fidelity_targets(report)]


def shown(report: FidelityReport) -> list[Row]:
    """The numbers that the tables show."""
    return [row for row in report.rows() if row.quantity.name in SHOWN]


def fidelity_table(report: FidelityReport) -> Iterator[str]:
    """A row a set, a column a number with its answer; how many maps were not finite in the last."""
    rows = shown(report)
    yield (
        "| | " + " | ".join(row.quantity.name for row in rows) + " | maps left out (not finite) |"
    )
    yield "|---|" + "--:|" * (len(rows) + 1)
    for name in report.names:
        cells = [
            f"{row.quantity.text(row.estimates[name])} {row.answers[name].symbol}".rstrip()
            for row in rows
        ]
        yield f"| {name} | {' | '.join(cells)} | {report.counts[name]['dropped']} |"
    yield ""
    yield from LEGEND
    yield f"Truth: {report.counts['truth']['maps']} maps."


def bits_targets(flows: dict[str, np.ndarray]) -> Iterator[Target]:
    if "normflows Glow" in flows:
        less = flows["normflows Glow"] - flows[FLOW]
        error = less.std(ddof=1) / math.sqrt(len(less))
        target = "after the same time, fewer bits per dimension than normflows Glow"
        yield target, f"{less.mean():.4f} ± {error:.4f} fewer", bool(less.mean() > 2 * error)


def is_better(row: Row, ours: str, other: str) -> bool:
    """As the simulations, or closer to what is expected than the other."""
    if row.answers[ours].kind == SAME:
        return True
    return abs(row.answers[ours].difference) < abs(row.answers[other].difference)


def fidelity_targets(report: FidelityReport) -> Iterator[Target]:
    """Closer to what is expected than the other, or as the simulations, in each of the numbers."""
    for name, _, ours in OTHERS.values():
        if name in report.names:
            rows = [
                row
                for row in shown(report)
                if np.isfinite([row.estimates[n].value for n in (ours, name)]).all()
            ]
            better = [row.quantity.name for row in rows if is_better(row, ours, name)]
            target = f"after the same time, closer to the truth than {name}, or as the simulations"
            found = f"{len(better)} of {len(rows)} numbers" + (
                f": {', '.join(better)}" if better else ""
            )
            yield target, found, len(better) == len(rows)


# ---------------------------------------------------------------- evaluations


SAMPLERS = {
    "euler": samplers.euler, "heun": samplers.heun, "stochastic": samplers.stochastic,
    "ancestral": samplers.ancestral, "dpm_solver": samplers.dpm_solver, "exponential": samplers.exponential,
}  # fmt: skip


def kept_model(options: argparse.Namespace) -> Path:
    return options.folder / "diffusion.safetensors"


def evaluations(options: argparse.Namespace) -> tuple[list[str], list[Target]]:
    """What each sampler reaches in so many evaluations of the network a map."""
    file = options.model or kept_model(options)
    model = models.load(file) if options.model or file.exists() else None
    if not (isinstance(model, Diffusion) and model.n == options.pixels):
        return [
            f"Left out: no diffusion model trained at {options.pixels}²; give one with `--model`."
        ], []
    model = place(model, options.device).eval()
    drawn: dict[str, list[Drawn]] = {}
    for name, sampler in SAMPLERS.items():
        halved = sampler in (
            samplers.heun,
            samplers.stochastic,
        )  # two calls a step, one in the last
        steps = [(calls + 1) // 2 if halved else calls for calls in sorted(options.evaluations)]
        drawn[name] = [
            draw(model, options.maps, steps=number, sampler=sampler) for number in steps
        ]
        print(f"{name}: done", flush=True)
    recipe = {"steps": samplers.ddpm_sigmas(options.ancestral), "sampler": samplers.ancestral}
    sets = {label(name, one): one.maps for name, found in drawn.items() for one in found}
    sets[f"DDPM's recipe, {options.ancestral}"] = draw(model, options.maps, **recipe).maps
    truth, null = (sample(name, options.pixels) for name in ("truth", "null"))
    report = compare(truth, null, sets, look_at_maps=False, rounds=options.bootstrap)
    settled = {name: settles(report, name, found) for name, found in drawn.items()}
    lines = [
        *fidelity_table(report),
        "",
        "A sampler has settled when more evaluations change no number by more than one standard error.",
        "",
        "| sampler | settled at | most evaluations per map | time per map at most evaluations |",
    ]
    lines += ["|---|--:|--:|--:|"]
    for name, found in drawn.items():
        at = f"{settled[name]:.4g}" if math.isfinite(settled[name]) else "not settled"
        lines.append(
            f"| {name} | {at} | {found[-1].evaluations:.4g} | {duration(found[-1].seconds)} |"
        )
    least = min(settled, key=settled.get)
    found = f"{settled[least]:.4g} ({least})" if math.isfinite(settled[least]) else "none settled"
    return lines, [
        (
            "at most 20 evaluations per map until the report no longer improves",
            found,
            settled[least] <= 20,
        )
    ]


def label(name: str, one: Drawn) -> str:
    return f"{name}, {one.evaluations:.4g}"


def settles(report: FidelityReport, name: str, found: list[Drawn]) -> float:
    """The fewest evaluations from which on all numbers stay within a standard error of the last; infinity for none."""
    last, settled = label(name, found[-1]), math.inf
    for one in reversed(found[:-1]):
        pairs = [(row.estimates[label(name, one)], row.estimates[last]) for row in shown(report)]
        if any(
            abs(here.value - end.value) > end.error for here, end in pairs
        ):  # what is not defined does not count
            break
        settled = one.evaluations
    return settled


# ---------------------------------------------------------------- time to a mean spectrum


def time_to_power(options: argparse.Namespace, train: Tensor) -> tuple[list[str], list[Target]]:
    """How long each family of lensnb takes from nothing to the right mean spectrum."""
    truth = sample("truth", options.pixels)
    lines = [
        "| | training time | mean over bins first within 5 % | stays there from | worst bin first within 5 % | stays there from | at the end: mean, worst bin |"
    ]
    lines += ["|---|--:|--:|--:|--:|--:|---|"]
    targets = []
    for name, family in ((FLOW, Flow), (DIFFUSION, Diffusion)):
        torch.manual_seed(0)
        started = time.perf_counter()
        model = build(family, train)
        made = time.perf_counter() - started
        check = Fidelity(truth, min(options.maps, 128))
        history = [{"seconds": 0.0} | check(place(model, options.device))]
        steps = steps_in(model, train, options.limit, "auto", options)
        checks = Checks(check=check, check_every=max(1, steps // 20))
        records = fit(model, train, settings(options, steps), checks=checks, device=options.device)
        history += [record for record in records if "power_mean" in record]
        spent = np.array([made + record["seconds"] for record in history])
        numbers = [
            np.array([record[key] for record in history], float)
            for key in ("power_mean", "power_worst")
        ]
        first, last = zip(*(reached(spent, np.abs(values - 1) <= 0.05) for values in numbers))
        told = [
            duration(t) if math.isfinite(t) else "never" for pair in zip(first, last) for t in pair
        ]
        end = ", ".join(f"{values[-1]:.3f}" for values in numbers)
        lines.append(f"| {name} | {duration(spent[-1])} | {' | '.join(told)} | {end} |")
        target = (
            f"{name}: from untrained to a mean C_ℓ that stays within 5 %, in at most 10 minutes"
        )
        targets.append((target, told[1], last[0] <= 600))
        print(f"{name}: done", flush=True)
    return lines, targets


def reached(spent: np.ndarray, good: np.ndarray) -> tuple[float, float]:
    """When it was good for the first time, and when for the first time for good; infinity for never."""
    first = spent[good][0] if good.any() else math.inf
    bad = np.flatnonzero(~good)
    start = bad[-1] + 1 if len(bad) else 0
    return float(first), float(spent[start]) if start < len(spent) else math.inf


# ---------------------------------------------------------------- the page


TITLES = {
    "speed": "Training speed: images per second at {pixels}², in batches of {batch}",
    "same-time": "After {minutes:g} minutes of training",
    "evaluations": "Evaluations of the network per map",
    "time-to-power": "From an untrained model to a mean C_ℓ within 5 %",
}
TRIED = """**Speed of Glow.** bfloat16 and channels last together double the speed of Glow. The figures of
lensnb include both by default. Without bfloat16 on either side, a step of Glow with channels
last is as fast as one of our flow.

**Maps of Glow.** In an earlier run of this benchmark, both flows had a learning rate of 0.001
(now `--parts same-time --minutes 3 --maps 128 --rates 0.001`). By the report of that time, our
maps were closer to the truth, or as close as the null, in five of five numbers (C_ℓ scatter
0.931 ± 0.036, slope of all bins 0.979 ± 0.045). But our flow needed 0.0025 ± 0.0001 bits per
dimension more than Glow. After minutes of training, fewer bits do not yet mean better maps, and
the learning rate is chosen by the bits.

**Maps of diffusers.** In that earlier run, our diffusion model was not conditioned on band
powers. It was closer to the truth than diffusers in three numbers instead of four. The fifth
number is the contour area. That of diffusers is closer to 1, although its scatter and slopes are
much too large."""


def page(found: dict[str, dict]) -> str:
    """All that was found so far, in Markdown: targets first."""
    lines = [
        "# How fast do the generators learn?",
        "",
        "Made by `python benchmarks/generators.py`; its docstring explains the method.",
    ]
    lines += ["", "| target | found | |", "|---|---|---|"]
    for one in found.values():
        lines += [
            f"| {target} | {what} | {'met' if good else '**missed**'} |"
            for target, what, good in one["targets"]
        ]
    for one in found.values():
        lines += [
            "",
            f"## {one['title']}",
            "",
            f"`{one['command']}`: {one['run']}",
            "",
            *one["lines"],
        ]
    lines += ["", "## What was tried", "", TRIED]
    missing = [part for part in PARTS if part not in found]
    return (
        "\n".join([*lines, *(["", f"Not run yet: {', '.join(missing)}."] if missing else [])])
        + "\n"
    )


def versions() -> str:
    installed = []
    for package in OTHERS:
        try:
            installed.append(f"{package} {version(package)}")
        except ImportError:  # PackageNotFoundError
            installed.append(f"{package} not installed")
    return ", ".join(installed)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--parts", nargs="+", choices=PARTS, help="without: those that have no result yet"
    )
    options.add_argument(
        "--folder", type=Path, default=Path("runs/generators"), help="what each part found"
    )
    options.add_argument("--pixels", type=int, default=64, help="pixels a side: 16, 32 or 64")
    options.add_argument("--batch", type=int, default=32, help="maps a step")
    options.add_argument("--steps", type=int, default=2, help="steps of a model in a timed round")
    options.add_argument("--rounds", type=int, default=7, help="timed rounds")
    options.add_argument("--minutes", type=float, default=5, help="same-time: of training, each")
    options.add_argument(
        "--lr", type=float, default=1e-3, help="same-time, time-to-power: highest learning rate"
    )
    options.add_argument(
        "--rates",
        type=float,
        nargs="+",
        default=[1e-3, 2e-3, 4e-3, 8e-3],
        help="same-time: of the flows",
    )
    options.add_argument("--maps", type=int, default=256, help="maps drawn from each model")
    options.add_argument(
        "--ancestral", type=int, default=250, help="steps of the DDPM sampler, 1000 at most"
    )
    options.add_argument(
        "--model", help="evaluations: a trained diffusion model, by its name or its checkpoint"
    )
    options.add_argument(
        "--evaluations",
        type=int,
        nargs="+",
        default=[5, 10, 20, 40, 80],
        help="of the network a map",
    )
    options.add_argument(
        "--limit", type=float, default=10, help="time-to-power: minutes of training, each"
    )
    options.add_argument(
        "--bootstrap", type=int, default=200, help="rounds, for the errors of the fidelity report"
    )
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that all parts run"
    )
    options.add_argument("--output", type=Path, help="Markdown file to write; printed in any case")
    return options


def main() -> None:
    parse = parser()
    if "--quick" in sys.argv:
        parse.set_defaults(**QUICK)
    options = parse.parse_args()
    options.device, train = choose_device(options.device), sample("train", options.pixels).tensor()
    runs = {
        "speed": lambda: speed(options, train), "same-time": lambda: same_time(options, train),
        "evaluations": lambda: evaluations(options), "time-to-power": lambda: time_to_power(options, train),
    }  # fmt: skip
    files = {part: options.folder / f"{part}.json" for part in PARTS}
    for part in options.parts or [part for part in PARTS if not files[part].exists()]:
        busy, start = os.getloadavg()[0], time.perf_counter()
        lines, targets = runs[part]()
        spent, load = time.perf_counter() - start, os.getloadavg()[1]
        run = (
            f"{max(1, round(spent / 60))} minutes, load average {busy:.1f} before and {load:.1f} at the end; "
            f"{machine(options.device.type)}; {versions()}."
        )
        command = " ".join(["python benchmarks/generators.py", *sys.argv[1:]])
        result = {"title": TITLES[part].format(**vars(options)), "command": command, "run": run}
        write_json(
            files[part],
            result
            | {"lines": lines, "targets": [(*texts, bool(good)) for *texts, good in targets]},
        )
        text = page(
            {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
        )
        if (
            options.output
        ):  # after each part, so that a run that is broken off leaves what it found
            options.output.write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
