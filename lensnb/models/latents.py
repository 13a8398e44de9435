"""Latent maps of a variational autoencoder, from coarse to fine: prior, posterior, information.

Notation: x is a map, and u_r are white latent maps at the resolution r, standard normal. The
latent maps z_r depend on the coarser ones. This is the prior,

    z_r = μ_r + σ_r u_r,        with μ_r and σ_r from all coarser latents.

The posterior is a normal distribution of u_r, with a and b from x and all coarser latents,

    q(u_r | x, coarser) = N(a, e^(2b)),        KL_r = ½ Σ (a² + e^(2b) − 1 − 2 b).

So it is relative to the prior, in units of its scatter (as in Vahdat & Kautz 2020,
arXiv:2007.03898, §3.2). KL_r, the divergence of the posterior from the prior, is the information
in nats that these latents have about the map.

The networks are in the manner of VDVAE (Child 2021, arXiv:2011.10650), with few channels.
All priors and posteriors end in a layer that starts at zero. So at first the latents are white,
and have no information about the map.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..maps.grid import wide

# noise(shape, like) draws white maps of this shape, as lensnb.samplers.MapNoise does.
Noise = Callable[[tuple[int, ...], Tensor], Tensor]

COARSEST = 4  # pixels a side of the coarsest latents
_BOUND = 5.0  # largest |ln σ|, because e^(2b) of a large b would end a training


def kl_from_white(shift: Tensor, log_scale: Tensor) -> Tensor:
    """KL divergence of N(a, e^(2b)) from N(0, 1), summed over all latents of a map, in nats.

    Args:
        shift: a, ``(batch, channels, rows, columns)``.
        log_scale: b, of the same shape.

    Returns:
        float64, shape ``(batch,)``.
    """
    a, b = wide(shift), wide(log_scale)
    return 0.5 * (a.square() + torch.expm1(2 * b) - 2 * b).flatten(1).sum(-1)


def _drawn(white: Tensor, posterior: Tensor | None) -> tuple[Tensor, Tensor]:
    """Latents u, and the KL divergence of their posterior in nats, ``(batch,)``.

    Args:
        white: white noise, ``(batch, latents, rows, columns)``.
        posterior: a, then b before it is bounded, ``(batch, 2 latents, rows, columns)``; None
            draws from the prior.
    """
    if posterior is None:
        return white, wide(white.new_zeros(len(white)))
    shift, raw = posterior.to(white.dtype).chunk(2, 1)
    log_scale = _bounded(raw)
    return shift + log_scale.exp() * white, kl_from_white(shift, log_scale)


def _bounded(raw: Tensor) -> Tensor:
    return _BOUND * torch.tanh(raw / _BOUND)


def _scaled(layer: nn.Conv2d, factor: float) -> nn.Conv2d:
    """The layer with its first weights times a factor, and without a shift."""
    with torch.no_grad():
        layer.weight *= factor
        layer.bias.zero_()
    return layer


class Block(nn.Sequential):
    """Convolutions 1×1 – 3×3 – 3×3 – 1×1, each after a GELU, as in VDVAE.

    Args:
        inputs: input channels.
        outputs: output channels.
        hidden: channels between the convolutions.
        scale: factor of the last weights at the start; with 0 the output starts at zero.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, scale: float):
        super().__init__(
            nn.GELU(),
            nn.Conv2d(inputs, hidden, 1),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.GELU(),
            _scaled(nn.Conv2d(hidden, outputs, 1), scale),
        )


class LatentLayer(nn.Module):
    """Latent maps at one resolution, given all that come before.

    Args:
        width: channels of the features.
        latents: number of latent maps.
        hidden: channels inside of its blocks.
        scale: factor of the weights that lead back to the features, at the start.
    """

    def __init__(self, width: int, latents: int, hidden: int, scale: float):
        super().__init__()
        self.latents = latents
        self.prior = Block(width, 2 * latents + width, hidden, scale=0.0)
        self.posterior = Block(2 * width, 2 * latents, hidden, scale=0.0)
        self.place = _scaled(nn.Conv2d(latents, width, 1), scale)
        self.after = Block(width, width, hidden, scale)

    def forward(self, h: Tensor, seen: Tensor | None, noise: Noise) -> tuple[Tensor, Tensor]:
        """Add latents to the features of the coarser ones.

        Args:
            h: features of all latents that come before, ``(batch, width, r, r)``.
            seen: features of the map, of the same shape; None draws from the prior.
            noise: source of white maps.

        Returns:
            Features of the shape of ``h``, and the KL divergence in nats, ``(batch,)``.
        """
        sizes = [self.latents, self.latents, h.shape[1]]
        mean, raw, change = self.prior(h).to(h.dtype).split(sizes, 1)
        h = h + change
        posterior = None
        if seen is not None:
            posterior = self.posterior(torch.cat([h, seen], 1))
        u, kl = _drawn(noise(mean.shape[1:], mean), posterior)
        z = mean + _bounded(raw).exp() * u
        h = h + self.place(z)
        return h + self.after(h), kl


class Hierarchy(nn.Module):
    """Encoder and decoder of a variational autoencoder.

    Both have features at the sides n/2, n/4 … 4. The plain form has latents at 4² pixels only, and
    one convolution from each side to the next. The hierarchical form also has residual blocks, and
    more latents at every side.

    Args:
        n: pixels a side of a map, a power of two.
        channels: channels of a map.
        width: channels of the features at the side n/2. They double with each halving of the side,
            up to 8 × width.
        latents: latent maps of each layer.
        blocks: residual blocks and layers of latents at each side; 0 is the plain form.

    Attributes:
        sides: pixels a side of the latents, coarsest first.
    """

    def __init__(self, n: int, channels: int, width: int, latents: int, blocks: int):
        super().__init__()
        halvings = round(math.log2(n / COARSEST))
        widths = [width * 2 ** min(level, 3) for level in range(halvings)]
        self.sides = [COARSEST]
        if blocks:
            self.sides = [COARSEST * 2**level for level in range(halvings)]
        # so that the scatter of the features does not grow with the number of blocks
        scale = math.sqrt(1 / max(1, blocks * halvings))
        self.latents = latents
        self.first = _scaled(nn.Conv2d(widths[-1], 2 * latents, 1), 0.0)
        self.place = nn.Conv2d(latents, widths[-1], 1)
        self.down, self.see = nn.ModuleList(), nn.ModuleList()  # finest first
        for before, here in pairwise([channels, *widths]):
            own = [Block(here, here, width, scale) for _ in range(blocks)]
            self.down.append(nn.Conv2d(before, here, 3, stride=2, padding=1))
            self.see.append(nn.ModuleList(own))
        self.layers, self.up = nn.ModuleList(), nn.ModuleList()  # coarsest first
        for here in reversed(widths):
            own = [LatentLayer(here, latents, width, scale) for _ in range(blocks)]
            self.layers.append(nn.ModuleList(own))
        for here, after in pairwise(reversed(widths)):
            self.up.append(nn.Conv2d(here, after, 3, padding=1))
        self.last = _scaled(nn.Conv2d(width, 4 * channels, 3, padding=1), 0.0)

    def posterior(self, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Draw latents given maps.

        Args:
            x: maps of unit scatter, ``(batch, channels, n, n)``.
            noise: source of white maps.

        Returns:
            The maps that the latents stand for, of the shape of ``x``, and the KL divergence at
            each side in nats, float64, ``(batch, sides)``.
        """
        return self._decoded(self._seen(x), noise)

    def prior(self, noise: Noise) -> Tensor:
        """Maps of latents that are drawn from the prior, ``(batch, channels, n, n)``."""
        mean, _ = self._decoded([None] * len(self.layers), noise)
        return mean

    def _seen(self, x: Tensor) -> list[Tensor]:
        """Features of maps at each side, coarsest first."""
        found = []
        h = x
        for down, blocks in zip(self.down, self.see):
            if found:
                h = F.gelu(h)
            h = down(h).to(x.dtype)
            for block in blocks:
                h = h + block(h)
            found.append(h)
        return found[::-1]

    def _decoded(self, seen: list[Tensor | None], noise: Noise) -> tuple[Tensor, Tensor]:
        """Maps and KL divergences, from features of maps at each side, coarsest first."""
        white = noise((self.latents, COARSEST, COARSEST), self.place.weight)
        posterior = None
        if seen[0] is not None:
            posterior = self.first(F.gelu(seen[0]))
        u, kl = _drawn(white, posterior)
        h = self.place(u).to(u.dtype)
        divergences = []
        for level, layers in enumerate(self.layers):
            if level > 0:
                twice = F.interpolate(F.gelu(h), scale_factor=2, mode="nearest")
                h = self.up[level - 1](twice).to(u.dtype)
            for layer in layers:
                h, more = layer(h, seen[level], noise)
                kl = kl + more
            divergences.append(kl)
            kl = torch.zeros_like(kl)
        mean = F.pixel_shuffle(self.last(F.gelu(h)), 2)
        return mean, torch.stack(divergences[: len(self.sides)], -1)
