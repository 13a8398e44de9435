"""Networks: the convolutional conditioner of a coupling layer, and the U-Net. They know nothing of flows or of noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PADDINGS = ("zeros", "reflect", "circular")


def _three(inputs: int, outputs: int, padding: str, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size of the map; beyond its edge lie zeros, its mirror image or its other side."""
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, found {padding!r}")
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode=padding)


def _silent(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The layer with zero weights, so that what it belongs to starts as nothing or as the identity."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class CouplingNet(nn.Module):
    """Three convolutions, 3×3 – 1×1 – 3×3 (Kingma & Dhariwal 2018, §4); zero output at initialisation.

    Two additions. Inputs are bounded softly: what a conditioner says of a bright cluster should not grow
    with the cluster, or samples have too heavy tails. And the strength of each input channel over the whole map is told to
    all pixels, which see a few neighbours only: that maps differ in strength is much of their covariance.

    Args:
        inputs: input channels.
        outputs: output channels.
        hidden: channels in between.
        padding: what lies beyond the edge of a map: ``"zeros"``, ``"reflect"``, or ``"circular"`` for periodic maps.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int = 64, padding: str = "zeros"):
        super().__init__()
        self.first = _three(inputs, hidden, padding)
        self.strength = _silent(
            nn.Linear(inputs, hidden)
        )  # not heard at first, or short trainings explode
        self.last = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.SiLU(),
            _silent(_three(hidden, outputs, padding)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inputs, rows, columns)`` → ``(batch, outputs, rows, columns)``."""
        x = soft_bound(x)
        return self.last(self.first(x) + self.strength(log_strength(x))[:, :, None, None])


def soft_bound(x: Tensor) -> Tensor:
    """3 asinh(x / 3): x near zero, a logarithm far from it."""
    return 3 * torch.asinh(x / 3)


def log_strength(x: Tensor) -> Tensor:
    """How strong each channel of ``(batch, channels, rows, columns)`` is, of order one, shape ``(batch, channels)``."""
    return (
        5 * x.std((-2, -1)).clamp(min=1e-6).log()
    )  # maps of a set differ by some tens of per cent


class Residual(nn.Module):
    """Two convolutions around a skip, scaled and shifted by an embedding of the condition (FiLM); attention if asked."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        padding: str = "zeros",
        attention: bool = False,
    ):
        super().__init__()
        self.norm_1 = nn.GroupNorm(_groups(inputs), inputs)
        self.conv_1 = _three(inputs, outputs, padding)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.norm_2 = nn.GroupNorm(_groups(outputs), outputs)
        self.conv_2 = _silent(_three(outputs, outputs, padding))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        h = self.conv_1(F.silu(self.norm_1(x)))
        h = F.silu(self.norm_2(h) * (1 + scale) + shift)
        return self.attention(self.skip(x) + self.conv_2(h))


class Attention(nn.Module):
    """Self-attention over all pixels of a coarse map, around a skip."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _silent(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, rows, columns = x.shape
        q, k, v = (
            self.qkv(self.norm(x))
            .reshape(b, 3, self.heads, c // self.heads, rows * columns)
            .mT.unbind(1)
        )
        h = F.scaled_dot_product_attention(q, k, v).mT.reshape(b, c, rows, columns)
        return x + self.out(h)


class UNet(nn.Module):
    """A U-Net conditioned on one number a map (Ronneberger et al. 2015; Ho et al. 2020).

    The map is first folded by ``patch`` × ``patch`` pixels into channels, which makes the finest level cheap on a CPU.
    Self-attention at the coarsest levels lets the longest modes see the whole map. Group normalisation hides how strong
    a map is, and that maps differ in strength is much of their covariance, so the strength of the inputs is part of the
    condition.

    Args:
        inputs: input channels.
        outputs: output channels.
        channels: channels of each level, finest first; each level halves the resolution.
        patch: pixels folded into channels, a side.
        blocks: residual blocks a level.
        attention: where self-attention stands: 0, nowhere; 1, in the middle of the U; each one more, after every block of one
            more level, the coarsest first. Its cost grows with the fourth power of a level's side.
        padding: what lies beyond the edge of a map: ``"zeros"``, ``"reflect"``, or ``"circular"`` for periodic maps.
        labels: further numbers a map in the condition.

    The side of a map must be a multiple of ``patch * 2 ** (len(channels) - 1)``.
    """

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        channels: tuple[int, ...] = (48, 64, 96),
        patch: int = 2,
        blocks: int = 1,
        attention: int = 1,
        padding: str = "zeros",
        labels: int = 0,
    ):
        super().__init__()
        self.patch, self.labels = patch, labels
        width = 4 * channels[0]
        self.register_buffer(
            "frequencies", torch.exp(torch.linspace(math.log(0.25), math.log(16.0), 16))
        )
        self.embed = nn.Sequential(
            nn.Linear(32 + inputs + labels, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.first = _three(inputs * patch**2, channels[0], padding)
        block = lambda c, wide, level: Residual(
            c, wide, width, padding, level > len(channels) - attention
        )
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c, skips = channels[0], [channels[0]]
        for level, wide in enumerate(channels):
            if level > 0:
                self.down.append(_three(c, c, padding, stride=2))
                skips.append(c)
            for _ in range(blocks):
                self.down.append(block(c, wide, level))
                c = wide
                skips.append(c)
        middle = [Residual(c, c, width, padding), Attention(c), Residual(c, c, width, padding)]
        self.middle = nn.ModuleList(middle if attention else [middle[0], middle[2]])
        for level, wide in reversed(list(enumerate(channels))):
            for _ in range(blocks + 1):
                self.up.append(block(c + skips.pop(), wide, level))
                c = wide
            if level > 0:
                self.up.append(nn.Upsample(scale_factor=2, mode="nearest"))
        self.last = nn.Sequential(
            nn.GroupNorm(_groups(c), c), nn.SiLU(), _silent(_three(c, outputs * patch**2, padding))
        )

    def forward(self, x: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
        """Maps to maps.

        Args:
            x: maps, shape ``(batch, inputs, n, n)``.
            condition: a number of order one a map, shape ``(batch,)``.
            labels: further numbers of order one, shape ``(batch, labels)``.

        Returns:
            Shape ``(batch, outputs, n, n)``.

        Raises:
            ValueError: other labels than the network was made for.
        """
        if self.labels != (0 if labels is None else labels.shape[-1]):
            found = "none" if labels is None else labels.shape[-1]
            raise ValueError(
                f"the network needs {self.labels} labels a map, such as model.strength(y), found {found}"
            )
        angle = condition.to(x.dtype)[:, None] * self.frequencies.to(x.dtype)
        told = [
            angle.sin(),
            angle.cos(),
            log_strength(x),
            *([] if labels is None else [labels.to(x.dtype)]),
        ]
        embedding = self.embed(torch.cat(told, -1))
        h = self.first(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, Residual) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, embedding) if isinstance(layer, Residual) else layer(h)
        for layer in self.up:
            h = (
                layer(torch.cat([h, skips.pop()], 1), embedding)
                if isinstance(layer, Residual)
                else layer(h)
            )
        return F.pixel_shuffle(self.last(h), self.patch)


def _groups(channels: int) -> int:
    """Groups of at least four channels each, eight at most."""
    return math.gcd(channels, 8) if channels >= 32 else 1
