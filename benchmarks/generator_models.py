"""The models that :mod:`benchmarks.generators` compares, and the maps that they see.

All of them see the same numbers: κ after the shifted logarithm of
:class:`~lensnb.transform.KappaTransform`, standardised.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.other_generators import diffusers, glow, lucidrains, size
from lensnb.data import MapSet, block_average, load_sample
from lensnb.maps import fit_field
from lensnb.models import BandPowers, Diffusion, Flow
from lensnb.train import choose_precision
from lensnb.transform import KappaTransform

FLOW, DIFFUSION = "lensnb Flow", "lensnb Diffusion"
GLOW = "normflows Glow"
OTHERS = {  # package: what it is called, how it is made, what it is held against
    "normflows": (GLOW, glow, FLOW),
    "denoising-diffusion-pytorch": ("denoising-diffusion-pytorch", lucidrains, DIFFUSION),
    "diffusers": ("diffusers UNet2DModel, DDPM", diffusers, DIFFUSION),
}


def sample(name: str, pixels: int) -> MapSet:
    """A set of the shipped sample at that many pixels a side."""
    maps = load_sample(name)
    if pixels < maps.grid.n:
        return block_average(maps, maps.grid.n // pixels)
    return maps


def build(family: type[nn.Module], maps: Tensor) -> nn.Module:
    """An untrained model of lensnb for κ-maps ``(maps, n, n)``, made as in the notebooks."""
    transform = KappaTransform.fit(maps)
    y = transform(maps)
    field = fit_field(y)
    powers = {}
    if family is Diffusion:
        powers["band_powers"] = BandPowers.fit(y, field)
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
    order = [FLOW, GLOW, DIFFUSION]
    order += [name for name in found if name not in order]
    return {name: found[name] for name in order}


def own_precision(name: str, device: torch.device) -> str:
    """The precision in which a library trains when it is not told."""
    if name in (FLOW, DIFFUSION):
        return choose_precision("auto", device)
    return "float32"


def is_flow(model: nn.Module) -> bool:
    """Whether training minimises the bits per dimension of the model's own density."""
    return hasattr(model, "log_prob") and not isinstance(model, Diffusion)
