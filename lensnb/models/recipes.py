"""How to build and to train every family: one recipe each, by name.

    recipe = recipe_of("gan")
    model = recipe.build(maps)
    fit(model, maps, Settings(steps, lr=recipe.lr, ema=recipe.ema, augment=random_symmetry))

Settings are those of the shipped models, or of the reference of the family. None was tuned to win
the comparison of ``benchmarks/families.py`` or of notebook 10. No model has conditions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..maps import BandField, GaussianModes, LognormalField, fit_field
from ..transform import KappaTransform
from .band_powers import BandPowers
from .diffusion import Diffusion
from .flow import Flow
from .gan import GAN
from .multiscale import Multiscale
from .rank_mapped import RankMappedField
from .synthesis import Synthesis
from .trenf import TRENF
from .vae import VAE
from .vectors import VectorFlow, Whitening


@dataclass(frozen=True)
class Recipe:
    """How a family is built and trained.

    Attributes:
        text: what it is, in a few words.
        build: makes the untrained model from κ-maps, ``(maps, n, n)``.
        lr: highest learning rate; 0 for a model that is fitted, and not trained.
        ema: decay of the moving average of its weights.
    """

    text: str
    build: Callable[[Tensor], nn.Module]
    lr: float = 0.0
    ema: float = 0.999


def parts(kappa: Tensor) -> tuple[int, KappaTransform, GaussianModes]:
    """What most families start from: pixels a side, κ transform, Gaussian field."""
    transform = KappaTransform.fit(kappa)
    return kappa.shape[-1], transform, fit_field(transform(kappa))


def with_powers(kappa: Tensor) -> tuple[tuple, dict]:
    """The same, and band powers."""
    n, transform, field = parts(kappa)
    return (n, transform, field), {"band_powers": BandPowers.fit(transform(kappa), field)}


def with_bands(kappa: Tensor) -> tuple[int, KappaTransform, BandField]:
    """The same, with a field whose band powers have the scatter of those of the maps."""
    n, transform, field = parts(kappa)
    return n, transform, BandField.fit(transform(kappa), field)


def flow(kappa: Tensor) -> Flow:
    return Flow(*with_bands(kappa), hidden=96)


def gaussian_flow(kappa: Tensor) -> Flow:
    return Flow(*parts(kappa), hidden=96)


def spline_flow(kappa: Tensor) -> Flow:
    return Flow(*with_bands(kappa), coupling="spline")


def diffusion(kappa: Tensor) -> Diffusion:
    start, powers = with_powers(kappa)
    return Diffusion(*start, log_mean=-0.4, log_std=1.2, **powers)


def free_diffusion(kappa: Tensor) -> Diffusion:
    return Diffusion(*parts(kappa), log_mean=-0.4, log_std=1.2)


def gan(kappa: Tensor) -> GAN:
    start, powers = with_powers(kappa)
    return GAN(*start, penalty=0.3, **powers)


def dcgan(kappa: Tensor) -> GAN:
    n, transform, _ = parts(kappa)
    return GAN(n, transform, None, "dcgan")


def spectral_dcgan(kappa: Tensor) -> GAN:
    n, transform, _ = parts(kappa)
    return GAN(n, transform, None, "dcgan", spectral=1.0)


def vae(kappa: Tensor) -> VAE:
    return VAE(*parts(kappa))


def hierarchical_vae(kappa: Tensor) -> VAE:
    return VAE(*parts(kappa), blocks=2)


def multiscale(kappa: Tensor) -> Multiscale:
    return Multiscale.fit(kappa)


def trenf(kappa: Tensor) -> TRENF:
    return TRENF(*parts(kappa))


def synthesis(kappa: Tensor) -> Synthesis:
    start = parts(kappa)
    blank = Synthesis(*start)
    coefficients = torch.cat([blank.coefficients(part) for part in kappa.split(256)])
    return Synthesis(*start, VectorFlow(blank.bins, Whitening.fit(coefficients)))


RECIPES = {
    "gaussian": Recipe("Gaussian field", fit_field),
    "lognormal": Recipe("lognormal field", LognormalField.fit),
    "rank-mapped": Recipe("Gaussian field with the pixels of true maps", RankMappedField.fit),
    "trenf": Recipe("isotropic flow of 155 parameters", trenf, lr=1e-3),
    "synthesis": Recipe("scattering spectra → maps", synthesis, lr=1e-3),
    "dcgan": Recipe("cosmoGAN", dcgan, lr=2e-4, ema=0.0),
    "spectral-dcgan": Recipe("cosmoGAN, spectral loss", spectral_dcgan, lr=2e-4, ema=0.0),
    "gan": Recipe("GAN on a Gaussian field", gan, lr=2e-4),
    "vae": Recipe("variational autoencoder", vae, lr=1e-3),
    "hierarchical-vae": Recipe("the same, latents at every scale", hierarchical_vae, lr=1e-3),
    "multiscale": Recipe("cascade of flows, scale by scale", multiscale, lr=2e-3),
    "flow": Recipe("normalizing flow", flow, lr=2e-3),
    "gaussian-flow": Recipe("the same on a plain Gaussian field", gaussian_flow, lr=2e-3),
    "spline-flow": Recipe("the same with spline couplings", spline_flow, lr=2e-3),
    "diffusion": Recipe("diffusion model given band powers", diffusion, lr=1e-3),
    "free-diffusion": Recipe("the same without band powers", free_diffusion, lr=1e-3),
}


def recipe_of(name: str) -> Recipe:
    """The recipe of a family.

    Raises:
        ValueError: there is no such family.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no family {name!r}; expected one of {', '.join(RECIPES)}")
    return RECIPES[name]
