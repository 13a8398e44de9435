"""A few maps of the sample and of three generators, drawn in seconds, to play with."""

from __future__ import annotations

import torch

from .. import models
from ..data import MapSet, load_sample
from ..maps import fit_field


def small_sets(maps: int = 32, seed: int = 0) -> dict[str, MapSet]:
    """True maps, and a few maps of a Gaussian field and of the models that come with lensnb.

    Args:
        maps: how many to draw from each generator.
        seed: of the draws.

    Returns:
        ``"truth"``, the whole set of the sample; ``"Gaussian"``, ``"flow"`` and ``"diffusion"``.

    Raises:
        ValueError: fewer than two maps of a generator.
    """
    if maps < 2:
        raise ValueError(f"a set needs two maps or more, found maps = {maps}")
    truth = load_sample("truth")
    generators = {
        "Gaussian": fit_field(load_sample("train").tensor()),
        "flow": models.load("flow"),
        "diffusion": models.load("diffusion"),
    }
    draw = torch.Generator().manual_seed(seed)
    found = {"truth": truth}
    for name, generator in generators.items():
        kappa = generator.sample(maps, draw).detach()
        found[name] = MapSet(kappa.numpy(), truth.side_deg, truth.z_source)
    return found
