"""Mass mapping: the sky behind noisy, masked shear, drawn by a diffusion model that is given it.

    python benchmarks/mass_mapping.py --minutes 30 --folder runs/mass_mapping --output docs/mass_mapping.md

**Data**: each map of the shipped sample is turned into shear, with shape noise in every pixel,
hidden behind a mask of round holes, and turned back by Kaiser & Squires (``lensnb.sims.mass_mapping``).
Training maps get new noise at every step. Maps are judged on the truth, from other boxes.

**Maps that are compared**: the Kaiser–Squires map; the Wiener filter for κ; the model *untrained*,
which is the posterior of the Wiener filter for transformed maps; and the model after a training of
``--minutes``. Of both models single samples, their mean and their median. The training has as many
steps as fit into the time, measured at the beginning.

With ``--folder``, an interrupted training and an interrupted drawing resume.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch
from torch import Tensor

from benchmarks.posteriors import (
    FEWEST,
    TRAINED,
    add_options,
    build,
    drawn,
    tables,
    trained,
    write_page,
)
from lensnb.data import MapSet, block_average, load_sample
from lensnb.maps import ConditionalField
from lensnb.sims.mass_mapping import KAISER_SQUIRES, ShearSurvey

HOLES, SMALLEST, LARGEST = 8, 0.03, 0.08  # of the mask: number and radii, in sides of the field
UNTRAINED = "Wiener posterior (untrained)"


def holes(n: int, seed: int = 0) -> np.ndarray:
    """A mask with round holes, as around bright stars: True where the sky is seen."""
    rng = np.random.default_rng(seed)
    x = (np.arange(n) + 0.5) / n
    seen = np.ones((n, n), bool)
    for _ in range(HOLES):
        row, column = rng.random(2)
        radius = rng.uniform(SMALLEST, LARGEST)
        seen &= np.hypot(x[:, None] - row, x - column) > radius
    return seen


def sample_of(name: str, pixels: int) -> MapSet:
    """A set of the shipped sample with so many pixels a side."""
    maps = load_sample(name)
    return block_average(maps, maps.grid.n // pixels)


# ---------------------------------------------------------------- the page


def wiener(train: MapSet, noisy: Tensor) -> Tensor:
    """The mean of the Gaussian field of κ itself, given the noisy maps."""
    kappa = train.tensor()
    field = ConditionalField.fit(kappa, {KAISER_SQUIRES: train.given[KAISER_SQUIRES]})
    return field.given({KAISER_SQUIRES: noisy}).centre.float()


PAGE = """# Mass mapping: what may lie behind noisy shear

Made by `python benchmarks/mass_mapping.py {command}`; its docstring explains the method.

Shear of {n_gal:g} galaxies per square arcminute, with a mask that hides {hidden:.0%} of {pixels}² pixels over {side:g}°. The model was
trained on {train:,} maps of 32 boxes with noise that is new at every step: {images:,} images, as many as fit into {minutes:g} minutes of computing. It is judged on {maps}
maps of {boxes} other boxes, with {draws} samples of each and {steps} calls of the network a sample. Errors are those between boxes.

{tables}
"""


def page_of(options: argparse.Namespace) -> str:
    """Train, draw and judge."""
    mask = holes(options.pixels)
    survey = ShearSurvey(options.n_gal, mask=mask)
    train = survey.pairs(sample_of("train", options.pixels), seed=1)
    truth = survey.pairs(sample_of("truth", options.pixels).spread(options.maps), seed=2)
    model = build(train, options.seed)
    # Untrained, the sampler is exact in any number of steps.
    posteriors = {UNTRAINED: drawn(model, truth, "untrained", 2, options)}
    last = trained(model, train, partial(survey.renewed, side_deg=train.side_deg), options)
    posteriors[TRAINED] = drawn(model, truth, "trained", options.steps, options)
    seen = torch.from_numpy(mask)
    regions = {"seen": seen, "hidden": ~seen}
    noisy = torch.from_numpy(truth.given[KAISER_SQUIRES])
    plain = {"Kaiser–Squires": noisy, "Wiener filter": wiener(train, noisy)}
    return PAGE.format(
        command=options.command,
        n_gal=options.n_gal,
        hidden=1 - mask.mean(),
        pixels=options.pixels,
        side=truth.side_deg,
        train=len(train),
        images=last["images"],
        minutes=options.minutes,
        maps=len(truth),
        boxes=len(truth.simulations),
        draws=options.draws,
        steps=options.steps,
        tables="\n".join(tables(plain, posteriors, regions)),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=64, help="a side: 64, 32 or 16")
    parser.add_argument("--n-gal", type=float, default=30, help="galaxies per square arcminute")
    add_options(parser)
    options = parser.parse_args(arguments)
    if not FEWEST <= options.maps <= 1024:
        parser.error(f"--maps must be from {FEWEST} to 1024, found {options.maps}")
    options.command = " ".join(sys.argv[1:] if arguments is None else arguments)
    write_page(page_of, options)


if __name__ == "__main__":
    main()
