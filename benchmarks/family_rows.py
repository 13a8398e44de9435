"""The families that :mod:`benchmarks.families` compares, each with the settings of its training.

Settings are those of the shipped models, or of the reference of the family. None was tuned for
this comparison. All models see the same κ-maps, without conditions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lensnb.maps import BandField, GaussianModes, LognormalField, fit_field
from lensnb.models import (
    GAN,
    TRENF,
    VAE,
    BandPowers,
    Diffusion,
    Flow,
    Multiscale,
    RankMappedField,
    Synthesis,
)
from lensnb.models.vectors import VectorFlow, Whitening
from lensnb.transform import KappaTransform


@dataclass(frozen=True)
class Entry:
    """A family as it is compared.

    Attributes:
        text: what it is, for the table.
        build: makes the untrained model from κ-maps, ``(maps, n, n)``.
        lr: highest learning rate; 0 for a model that is fitted, and not trained.
        ema: decay of the moving average of its weights.
        drawn: maps that are judged; a slow family has fewer.
    """

    text: str
    build: Callable[[Tensor], nn.Module]
    lr: float = 0.0
    ema: float = 0.999
    drawn: int = 4096


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


ENTRIES = {
    "Gaussian": Entry("Gaussian field", fit_field),
    "lognormal": Entry("lognormal field", LognormalField.fit),
    "rank-mapped": Entry("Gaussian field with the pixels of true maps", RankMappedField.fit),
    "TRENF": Entry("isotropic flow of 155 parameters", trenf, lr=1e-3),
    "synthesis": Entry("scattering spectra → maps", synthesis, lr=1e-3, drawn=1024),
    "DCGAN": Entry("cosmoGAN", dcgan, lr=2e-4, ema=0.0),
    "DCGAN, spectral": Entry("cosmoGAN with its spectral loss", spectral_dcgan, lr=2e-4, ema=0.0),
    "GAN": Entry("GAN on a Gaussian field", gan, lr=2e-4),
    "VAE": Entry("variational autoencoder", vae, lr=1e-3),
    "VAE, hierarchical": Entry("latents at every scale", hierarchical_vae, lr=1e-3),
    "multiscale": Entry("cascade of flows, 16² → 32² → 64²", multiscale, lr=2e-3),
    "flow": Entry("normalizing flow", flow, lr=2e-3),
    "flow, Gaussian base": Entry("the same on a Gaussian field", gaussian_flow, lr=2e-3),
    "flow, spline": Entry("the same with spline couplings", spline_flow, lr=2e-3),
    "diffusion": Entry("diffusion model that is given band powers", diffusion, lr=1e-3),
    "diffusion, free": Entry("the same without band powers", free_diffusion, lr=1e-3),
}
