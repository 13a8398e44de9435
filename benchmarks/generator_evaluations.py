"""How often each sampler must call the network of a diffusion model for one map.

:mod:`benchmarks.generators` explains the method.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

from torch import Tensor

from benchmarks.generator_drawing import Drawn, draw
from benchmarks.generator_models import DIFFUSION, sample
from benchmarks.generator_tables import Target, fidelity_table, shown
from benchmarks.generator_trainings import SAME_TIME, folder_of
from benchmarks.statistics import duration
from lensnb import models, samplers
from lensnb.compare import FidelityReport, compare
from lensnb.models import Diffusion
from lensnb.train import place

SAMPLERS = {
    "euler": samplers.euler,
    "heun": samplers.heun,
    "stochastic": samplers.stochastic,
    "ancestral": samplers.ancestral,
    "dpm_solver": samplers.dpm_solver,
    "exponential": samplers.exponential,
}
TWO_CALLS = (samplers.heun, samplers.stochastic)  # a step, but for the last one
SETTLED = (
    "A sampler has settled when more evaluations change no number by more than one standard error."
)


def evaluations(options: argparse.Namespace, maps: Tensor) -> tuple[list[str], list[Target]]:
    """What each sampler reaches in so many evaluations of the network a map."""
    model = trained_diffusion(options)
    if model is None:
        missing = f"no diffusion model trained at {options.pixels}²; give one with `--model`."
        return [f"Left out: {missing}"], []
    drawn: dict[str, list[Drawn]] = {}
    for name, sampler in SAMPLERS.items():
        drawn[name] = [
            draw(model, options.maps, steps=steps_of(sampler, calls), sampler=sampler)
            for calls in sorted(options.evaluations)
        ]
        print(f"{name}: done", flush=True)
    recipe = {"steps": samplers.ddpm_sigmas(options.ancestral), "sampler": samplers.ancestral}
    sets = {label(name, one): one.maps for name, found in drawn.items() for one in found}
    sets[f"DDPM's recipe, {options.ancestral}"] = draw(model, options.maps, **recipe).maps
    truth, null = (sample(name, options.pixels) for name in ("truth", "null"))
    report = compare(truth, null, sets, look_at_maps=False, rounds=options.bootstrap)
    settled = {name: settles(report, name, found) for name, found in drawn.items()}
    lines = [*fidelity_table(report), "", SETTLED, "", *settled_table(drawn, settled)]
    least = min(settled, key=settled.get)
    found = "none settled"
    if math.isfinite(settled[least]):
        found = f"{settled[least]:.4g} ({least})"
    target = "at most 20 evaluations per map until the report no longer improves"
    return lines, [(target, found, settled[least] <= 20)]


def trained_diffusion(options: argparse.Namespace) -> Diffusion | None:
    """The model that was asked for, or that of the same time; None without one of this size."""
    file = options.model
    if file is None:
        file = folder_of(SAME_TIME, DIFFUSION, options) / "model.safetensors"
        if not file.exists():
            return None
    model = models.load(file)
    if not isinstance(model, Diffusion) or model.n != options.pixels:
        return None
    return place(model, options.device).eval()


def steps_of(sampler: Callable, calls: int) -> int:
    """The steps of a sampler that call the network so often."""
    if sampler in TWO_CALLS:
        return (calls + 1) // 2
    return calls


def settled_table(drawn: dict[str, list[Drawn]], settled: dict[str, float]) -> Iterator[str]:
    """Where each sampler settled, and how long its best maps take."""
    columns = ["settled at", "most evaluations per map", "time per map at most evaluations"]
    yield f"| sampler | {' | '.join(columns)} |"
    yield "|---|" + "--:|" * len(columns)
    for name, found in drawn.items():
        at = "not settled"
        if math.isfinite(settled[name]):
            at = f"{settled[name]:.4g}"
        last = found[-1]
        yield f"| {name} | {at} | {last.evaluations:.4g} | {duration(last.seconds)} |"


def label(name: str, one: Drawn) -> str:
    """The name of a set of maps."""
    return f"{name}, {one.evaluations:.4g}"


def settles(report: FidelityReport, name: str, found: list[Drawn]) -> float:
    """The fewest evaluations from which on all numbers stay within a standard error of the last.

    It is infinity for none.
    """
    last, settled = label(name, found[-1]), math.inf
    for one in reversed(found[:-1]):
        pairs = [(row.estimates[label(name, one)], row.estimates[last]) for row in shown(report)]
        # what is not defined does not count
        if any(abs(here.value - end.value) > end.error for here, end in pairs):
            break
        settled = one.evaluations
    return settled
