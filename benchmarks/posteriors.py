"""Train a diffusion model that is given a map, draw from it, and hold its samples against truth.

What the pages of mass mapping and of cheap simulations share.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.statistics import now
from lensnb import models
from lensnb.compare.coverage import band_ranks, histogram, pixel_ranks, tarp
from lensnb.compare.posterior import PosteriorSamples, coherence, spread
from lensnb.data import MapSet
from lensnb.ensemble import Ensemble
from lensnb.files import atomic_write, write_json
from lensnb.given import Conditions
from lensnb.maps import ConditionalField
from lensnb.models import Diffusion
from lensnb.stats import ell_edges
from lensnb.train import Checks, Folder, Settings, fit, watch
from lensnb.transform import KappaTransform

BANDS = 4
FEWEST = 80  # maps for a histogram of ranks
UNTRAINED, TRAINED = "untrained", "trained"
_TIMED = 6  # steps that are timed

Posteriors = dict[str, PosteriorSamples]  # by the name of the model
Regions = dict[str, Tensor]  # by name: where the pixels are that count, shape (n, n)


# ---------------------------------------------------------------- training and drawing


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that both pages have."""
    parser.add_argument("--minutes", type=float, default=30, help="of the training")
    parser.add_argument("--maps", type=int, default=256, help="true maps that are judged")
    parser.add_argument("--draws", type=int, default=31, help="samples of each of them")
    parser.add_argument("--steps", type=int, default=12, help="calls of the network a sample")
    parser.add_argument("--batch", type=int, default=32, help="maps in a step of the training")
    parser.add_argument("--seed", type=int, default=0, help="of weights, training and samples")
    parser.add_argument("--folder", type=Path, help="keeps the training and the samples")
    parser.add_argument("--output", type=Path, help="the page; by default it is printed")


def write_page(page_of: Callable[[argparse.Namespace], str], options: argparse.Namespace) -> None:
    """Make a page in the folder of the options, or in one that is deleted; print and write it."""
    with tempfile.TemporaryDirectory() as temporary:
        if options.folder is None:
            options.folder = Path(temporary)
        options.folder.mkdir(parents=True, exist_ok=True)
        page = page_of(options)
    print(page)
    if options.output is not None:
        with atomic_write(options.output) as file:
            file.write(page.encode())


def build(pairs: MapSet, seed: int = 0) -> Diffusion:
    """The untrained model, with all that is fitted to the training set and its conditions."""
    kappa = pairs.tensor()
    transform = KappaTransform.fit(kappa)
    field = ConditionalField.fit(transform(kappa), pairs.given)
    torch.manual_seed(seed)
    return Diffusion(pairs.grid.n, transform, field, conditions=Conditions.fit(pairs.given))


def steps_in(minutes: float, model: Diffusion, pairs: MapSet, settings: Settings) -> int:
    """How many steps fit into the time, from the time of a few."""
    few = Settings(_TIMED, batch=settings.batch, lr=0.0, augment=settings.augment)
    start = math.nan
    for record in fit(deepcopy(model), pairs, few, checks=Checks(every=1)):
        if record["step"] == 1:  # which also prepares the maps
            start = now()
    seconds = (now() - start) / (_TIMED - 1)
    return max(20, round(60 * minutes / seconds))


def trained(model: Diffusion, pairs: MapSet, augment: Callable, options) -> dict:
    """Train the model in its folder, with new maps at every step; returns the last record."""
    settings = Settings(1, batch=options.batch, augment=augment, seed=options.seed)
    file = options.folder / "plan.json"
    if not file.exists():  # a training that resumes keeps its steps
        steps = steps_in(options.minutes, model, pairs, settings)
        write_json(file, {"minutes": options.minutes, "steps": steps})
    plan = json.loads(file.read_text())
    if plan["minutes"] != options.minutes:
        raise SystemExit(
            f"{options.folder} has a training of {plan['minutes']:g} minutes; expected the same "
            "--minutes, or another --folder"
        )
    steps = plan["steps"]
    settings = Settings(steps, batch=options.batch, augment=augment, seed=options.seed)
    folder = Folder(options.folder / "training", save_every=100)
    records = watch(fit(model, pairs, settings, folder=folder), steps)
    if records[-1].get("stopped") == "interrupted":
        raise KeyboardInterrupt
    return records[-1]


def drawn(model: Diffusion, pairs: MapSet, name: str, steps: int, options) -> PosteriorSamples:
    """Samples given the condition of each map, kept in a file."""
    maps, draws = len(pairs), options.draws
    given = {
        key: values.repeat_interleave(draws, 0) for key, values in pairs.batch().given.items()
    }
    path = options.folder / f"{name}.npy"
    how = {"seed": options.seed, "given": given, "steps": steps}
    models.draw(model.eval(), maps * draws, path, **how)
    samples = torch.from_numpy(np.load(path)).unflatten(0, (maps, draws))
    return PosteriorSamples(pairs.tensor(), samples, pairs.side_deg, pairs.simulation)


# ---------------------------------------------------------------- tables


RECOVERED = """## What is recovered

r is the cross-correlation with the true map, and the transfer is the square root of the power over
that of the truth. Samples of the exact posterior have the transfer 1; their mean has a transfer that
is equal to r. The error is the mean square of the difference from the truth, over the variance of
true pixels.
"""
CALIBRATED = """## Is the scatter of the samples right?

All p are uniform for samples of the exact posterior, and the ratios are 1. Where p is small, the
next rows say how: ranks that heap up in the first and in the last bin belong to samples that scatter
too little.
"""


def tables(plain: dict[str, Tensor], posteriors: Posteriors, regions: Regions) -> Iterator[str]:
    """Both tables with their headings.

    Args:
        plain: maps to compare with the samples, by name.
        posteriors: the samples.
        regions: the pixels that are counted apart.
    """
    yield RECOVERED
    yield from recovered(plain, posteriors, regions)
    yield ""
    yield CALIBRATED
    yield from calibrated(posteriors, regions)


def number(value: float, error: float) -> str:
    return f"{value:.3f} ± {error:.3f}"


def errors(truth: Tensor, maps: Tensor, where: Tensor, simulation: np.ndarray) -> str:
    """Mean square error of the pixels, in units of the variance of the truth."""
    if maps.ndim == 3:
        maps = maps[:, None]
    square = (maps - truth[:, None]).square()[..., where].mean((1, 2)).double()
    found = Ensemble(square[:, None].numpy() / float(truth.var()), simulation)
    return number(found.mean()[0], found.mean_error()[0])


def maps_of(plain: dict[str, Tensor], posteriors: Posteriors) -> dict[str, Tensor]:
    """The maps that are compared, by name."""
    found = dict(plain)
    for name, one in posteriors.items():
        found[f"{name}, samples"] = one.samples
        found[f"{name}, mean"] = one.samples.mean(1)
        found[f"{name}, median"] = one.samples.median(1).values
    return found


def recovered(plain: dict[str, Tensor], posteriors: Posteriors, regions: Regions) -> Iterator[str]:
    """Lines of the table of r, transfer and error in each region of the pixels."""
    one = next(iter(posteriors.values()))
    edges = ell_edges(one.grid, BANDS)
    ell = [f"{e:.0f}" for e in np.sqrt(edges[1:] * edges[:-1])]
    heads = [f"r, ℓ ≈ {e}" for e in ell] + [f"transfer, ℓ ≈ {e}" for e in ell]
    heads += [f"error, {name} pixels" for name in regions]
    yield "| map | " + " | ".join(heads) + " |"
    yield "|---|" + "--:|" * len(heads)
    for name, maps in maps_of(plain, posteriors).items():
        found = coherence(one.truth, maps, one.side_deg, one.simulation, edges)
        cells = []
        for estimate in (found.r, found.transfer):
            cells += [number(*pair) for pair in zip(estimate.value, estimate.error)]
        cells += [errors(one.truth, maps, where, one.simulation) for where in regions.values()]
        yield f"| {name} | " + " | ".join(cells) + " |"


def p_cell(p: float) -> str:
    return f"{p:.2g}"


def checks_of(one: PosteriorSamples, regions: Regions) -> dict[str, str]:
    """Is the scatter of the samples right? Numbers by name."""
    found = {}
    for name, where in regions.items():
        of_pixels = histogram(pixel_ranks(one, where), one.simulation)
        found[f"ranks of {name} pixels, p"] = p_cell(of_pixels.p)
        shares = of_pixels.shares.value
        found[f"… first, middle and last bin ({name})"] = (
            f"{shares[0]:.2f}, {shares[len(shares) // 2]:.2f}, {shares[-1]:.2f}"
        )
    edges = ell_edges(one.grid, BANDS)
    middles = np.sqrt(edges[1:] * edges[:-1])
    for ell, values in zip(middles, band_ranks(one, edges).T):
        found[f"ranks of the power at ℓ ≈ {ell:.0f}, p"] = p_cell(
            histogram(values, one.simulation).p
        )
    coverage = tarp(one)
    found["TARP coverage, p"] = p_cell(coverage.uniform.p)
    for level in (0.05, 0.5, 0.95):
        place = int(np.abs(coverage.levels - level).argmin())
        of_level = coverage.coverage
        found[f"… of {level:.0%} regions"] = number(of_level.value[place], of_level.error[place])
    of = spread(one, edges=edges)
    found["variance / squared error"] = number(of.total.value, of.total.error)
    for part in (0, -1):
        words = {0: "smallest", -1: "largest"}[part]
        value, error = of.by_variance.value[part], of.by_variance.error[part]
        found[f"… where the variance is {words}"] = number(value, error)
    for ell, value, error in zip(of.ell, of.by_scale.value, of.by_scale.error):
        found[f"… at ℓ ≈ {ell:.0f}"] = number(value, error)
    return found


def calibrated(posteriors: Posteriors, regions: Regions) -> Iterator[str]:
    """Lines of the table of ranks, coverage and spread."""
    columns = {name: checks_of(one, regions) for name, one in posteriors.items()}
    yield "| | " + " | ".join(columns) + " |"
    yield "|---|" + "--:|" * len(columns)
    for row in next(iter(columns.values())):
        yield f"| {row} | " + " | ".join(column[row] for column in columns.values()) + " |"
