"""Cheap simulations made better: a full simulation drawn by a diffusion model, given a cheap one.

    python benchmarks/cheap_simulations.py PLANES --minutes 30 --folder runs/cheap --output docs/cheap_simulations.md

**Simulations**: pairs with the same initial conditions and the same lines of sight
(``lensnb.sims.pairs``). The cheap ones have one time step for each lens plane, which is the least,
and a force mesh with an eighth of the cells. PLANES keeps the planes of both, in its folders
``full`` and ``cheap``. Boxes that it lacks are run.

**Training**: maps of the training boxes of the sample, cut in more places than the shipped ones,
with the 8 symmetries. The model is given the cheap map, as its shifted logarithm.

**Judged by the pair**: samples for cheap maps of the boxes of the truth, each beside the full map.

**Judged by covariance**: what is a set of cheap simulations worth? One sample for each cheap map of
boxes that belong to no set (training boxes from 32 on, which no model has seen), against truth and
null. Beside them stand the cheap maps themselves, and the *full* maps of the training boxes, as many
of as many boxes.

With ``--folder``, an interrupted training and an interrupted drawing resume.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import torch
from torch import Tensor

from benchmarks.posteriors import (
    FEWEST,
    TRAINED,
    UNTRAINED,
    add_options,
    build,
    drawn,
    tables,
    trained,
    write_page,
)
from benchmarks.statistics import now
from benchmarks.trained_models import overview
from lensnb.compare import compare
from lensnb.data import MapSet, load_sample, random_symmetry
from lensnb.files import write_json
from lensnb.maps import ConditionalField
from lensnb.sims import LightCone, kappa_maps, simulate_boxes, simulation_pairs
from lensnb.sims.nbody import simulate_box
from lensnb.sims.pairs import CHEAP, FULL, cheap_cone
from lensnb.sims.sample import boxes_of, sample_cone
from lensnb.transform import KappaTransform

MAPS_A_BOX = 32  # as in the sample
CHEAP_MAPS, FULL_MAPS = "cheap", "full, training boxes"


def cones() -> tuple[LightCone, LightCone]:
    """The full and the cheap simulation."""
    full = sample_cone()
    return full, cheap_cone(full)


def with_logarithm(pairs: MapSet, transform: KappaTransform) -> MapSet:
    """Pairs whose condition is the shifted logarithm of the cheap map."""
    cheap = torch.from_numpy(pairs.given[CHEAP]).float()
    return pairs.with_given(**{CHEAP: transform(cheap).float().numpy()})


def fresh_boxes(count: int) -> list[int]:
    """Boxes that belong to no set: those of the training set from 32 on."""
    return boxes_of("train")[32 : 32 + count]


def costs(folder: Path) -> dict[str, float]:
    """Seconds of a core for one box, full and cheap, measured once."""
    file = folder / "costs.json"
    if file.exists():
        return json.loads(file.read_text())
    found = {}
    for name, cone in zip((FULL, CHEAP), cones()):
        simulate_box(0, cone)  # the first one is compiled
        began = now()
        simulate_box(0, cone)
        found[name] = now() - began
    write_json(file, found)
    return found


def regression(train: MapSet, given: Tensor) -> Tensor:
    """The mean of the Gaussian field of κ itself, given the cheap maps."""
    field = ConditionalField.fit(train.tensor(), train.given)
    return field.given({CHEAP: given}).centre.float()


def worth(model, transform: KappaTransform, options: argparse.Namespace) -> Iterator[str]:
    """The table of covariance: cheap maps of fresh boxes, and one sample for each of them."""
    _, cheap = cones()
    boxes, planes = fresh_boxes(options.boxes), options.planes / CHEAP
    simulate_boxes(boxes, planes, cheap)
    maps = kappa_maps(boxes, planes, MAPS_A_BOX, cheap)
    given = {CHEAP: transform(maps.tensor()).float()}
    samples = model.sample(
        len(maps), torch.Generator().manual_seed(options.seed), options.steps, given=given
    )
    full = load_sample("train")
    found = MapSet(samples.numpy(), maps.side_deg, maps.z_source, maps.simulation)
    sets = {CHEAP_MAPS: maps, TRAINED: found, FULL_MAPS: full}
    yield from overview(compare(load_sample("truth"), load_sample("null"), sets))


PAGE = """# Cheap simulations made better

Made by `python benchmarks/cheap_simulations.py {command}`; its docstring explains the method.

A cheap box takes {cheap_s:.1f} s of a core, a full one {full_s:.1f} s: {cheap_steps} time steps for
{full_steps}, and a force mesh with an eighth of the cells. The model was trained on {train:,} pairs
of maps from {train_boxes} boxes: {images:,} images, as many as fit into {minutes:g} minutes of
computing. It is judged on {maps} pairs of {boxes} other boxes, with {draws} samples of each and
{steps} calls of the network a sample. Errors are those between boxes.

{tables}

## What are cheap simulations worth?

{count:,} maps of {fresh} cheap boxes that were used nowhere else, and one sample for each. Beside
them stand the full maps of the {train_boxes} training boxes.

{worth}
"""


def page_of(options: argparse.Namespace) -> str:
    """Simulate, train, draw and judge."""
    full, cheap = cones()
    train = simulation_pairs(
        boxes_of("train", options.boxes), options.planes, options.maps_a_box, (full, cheap)
    )
    transform = KappaTransform.fit(torch.from_numpy(train.given[CHEAP]).float())
    train = with_logarithm(train, transform)
    truth = simulation_pairs(
        boxes_of("truth", options.boxes), options.planes, MAPS_A_BOX, (full, cheap)
    )
    truth = truth.spread(options.maps)
    plain = {CHEAP_MAPS: torch.from_numpy(truth.given[CHEAP]).float()}
    truth = with_logarithm(truth, transform)
    plain["linear regression"] = regression(train, torch.from_numpy(truth.given[CHEAP]))
    model = build(train, options.seed)
    # Untrained, the sampler is exact in any number of steps.
    posteriors = {UNTRAINED: drawn(model, truth, UNTRAINED, 2, options)}
    last = trained(model, train, random_symmetry, options)
    posteriors[TRAINED] = drawn(model, truth, TRAINED, options.steps, options)
    everywhere = {"all": torch.ones(truth.grid.n, truth.grid.n, dtype=torch.bool)}
    spent = costs(options.folder)
    return PAGE.format(
        command=options.command,
        cheap_s=spent[CHEAP],
        full_s=spent[FULL],
        cheap_steps=len(cheap.steps()),
        full_steps=len(full.steps()),
        train=len(train),
        train_boxes=options.boxes,
        images=last["images"],
        minutes=options.minutes,
        maps=len(truth),
        boxes=len(truth.simulations),
        draws=options.draws,
        steps=options.steps,
        tables="\n".join(tables(plain, posteriors, everywhere)),
        count=options.boxes * MAPS_A_BOX,
        fresh=options.boxes,
        worth="\n".join(worth(model, transform, options)),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("planes", type=Path, help="folder of the planes of both simulations")
    parser.add_argument("--boxes", type=int, default=32, help="of each set, 10 to 32")
    parser.add_argument("--maps-a-box", type=int, default=128, help="of the training")
    add_options(parser)
    options = parser.parse_args(arguments)
    if not 10 <= options.boxes <= 32:
        parser.error(f"--boxes must be from 10 to 32, found {options.boxes}")
    if not FEWEST <= options.maps <= options.boxes * MAPS_A_BOX:
        most = options.boxes * MAPS_A_BOX
        parser.error(f"--maps must be from {FEWEST} to {most}, found {options.maps}")
    options.command = " ".join(sys.argv[1:] if arguments is None else arguments)
    write_page(page_of, options)


if __name__ == "__main__":
    main()
