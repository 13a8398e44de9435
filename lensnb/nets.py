"""Networks: the convolutional conditioner of a coupling layer, and the U-Net. They know nothing of flows or of noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CouplingNet(nn.Module):
    """Three convolutions, 3×3 – 1×1 – 3×3 (Kingma & Dhariwal 2018, §4); zero output at initialisation.

    Args:
        inputs: input channels.
        outputs: output channels.
        hidden: channels in between.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int = 64):
        super().__init__()
        last = nn.Conv2d(hidden, outputs, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, hidden, 3, padding=1), nn.SiLU(), nn.Conv2d(hidden, hidden, 1), nn.SiLU(), last
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inputs, rows, columns)`` → ``(batch, outputs, rows, columns)``."""
        return self.layers(x)


class Residual(nn.Module):
    """Two convolutions around a skip, scaled and shifted by an embedding of the condition (FiLM)."""

    def __init__(self, inputs: int, outputs: int, embedding: int):
        super().__init__()
        self.norm_1 = nn.GroupNorm(_groups(inputs), inputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.norm_2 = nn.GroupNorm(_groups(outputs), outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv_2.weight)
        nn.init.zeros_(self.conv_2.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        h = self.conv_1(F.silu(self.norm_1(x)))
        h = F.silu(self.norm_2(h) * (1 + scale) + shift)
        return self.skip(x) + self.conv_2(h)


class Attention(nn.Module):
    """Self-attention over all pixels of a coarse map, around a skip."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        b, c, rows, columns = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, rows * columns).mT.unbind(1)
        h = F.scaled_dot_product_attention(q, k, v).mT.reshape(b, c, rows, columns)
        return x + self.out(h)


class UNet(nn.Module):
    """A U-Net conditioned on one number a map (Ronneberger et al. 2015; Ho et al. 2020).

    The map is first folded by ``patch`` × ``patch`` pixels into channels, which makes the finest level cheap on a CPU.
    Self-attention at the coarsest level lets the longest modes see the whole map. Group normalisation hides how strong
    a map is, and that maps differ in strength is much of their covariance, so the strength of the inputs is part of the
    condition.

    Args:
        inputs: input channels.
        outputs: output channels.
        channels: channels of each level, finest first; each level halves the resolution.
        patch: pixels folded into channels, a side.
        blocks: residual blocks a level.

    The side of a map must be a multiple of ``patch * 2 ** (len(channels) - 1)``.
    """

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        channels: tuple[int, ...] = (48, 64, 96),
        patch: int = 2,
        blocks: int = 1,
    ):
        super().__init__()
        self.patch = patch
        width = 4 * channels[0]
        self.register_buffer("frequencies", torch.exp(torch.linspace(math.log(0.25), math.log(16.0), 16)))
        self.embed = nn.Sequential(nn.Linear(32 + inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.first = nn.Conv2d(inputs * patch**2, channels[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c, skips = channels[0], [channels[0]]
        for level, wide in enumerate(channels):
            if level > 0:
                self.down.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)
            for _ in range(blocks):
                self.down.append(Residual(c, wide, width))
                c = wide
                skips.append(c)
        self.middle = nn.ModuleList([Residual(c, c, width), Attention(c), Residual(c, c, width)])
        for level, wide in reversed(list(enumerate(channels))):
            for _ in range(blocks + 1):
                self.up.append(Residual(c + skips.pop(), wide, width))
                c = wide
            if level > 0:
                self.up.append(nn.Upsample(scale_factor=2, mode="nearest"))
        self.last = nn.Sequential(
            nn.GroupNorm(_groups(c), c), nn.SiLU(), nn.Conv2d(c, outputs * patch**2, 3, padding=1)
        )
        nn.init.zeros_(self.last[-1].weight)
        nn.init.zeros_(self.last[-1].bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Maps ``(batch, inputs, n, n)`` and numbers of order one ``(batch,)`` → ``(batch, outputs, n, n)``."""
        angle = condition.to(x.dtype)[:, None] * self.frequencies.to(x.dtype)
        strength = 5 * x.std((-2, -1)).clamp(min=1e-6).log()  # maps of a set differ by some tens of per cent
        embedding = self.embed(torch.cat([angle.sin(), angle.cos(), strength], -1))
        h = self.first(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, Residual) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, embedding) if isinstance(layer, Residual) else layer(h)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], 1), embedding) if isinstance(layer, Residual) else layer(h)
        return F.pixel_shuffle(self.last(h), self.patch)


def _groups(channels: int) -> int:
    """Groups of at least four channels each, eight at most."""
    return math.gcd(channels, 8) if channels >= 32 else 1
