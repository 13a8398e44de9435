"""Networks: the convolutional conditioner of a coupling layer, and the U-Net.

They do not depend on flows or on diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .renamed import renamed

PADDINGS = ("zeros", "reflect", "circular")


def _three(inputs: int, outputs: int, padding: str, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size of a map.

    Beyond the edge the map continues by zeros, by its mirror image, or (circular) by its other
    side.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, found {padding!r}")
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode=padding)


def _silent(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The layer, zero-initialised, so that it adds nothing at the start of a training."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def frozen(network: nn.Module) -> Callable[..., Tensor]:
    """The network as a function of its inputs, whose weights get no gradient."""
    weights = {name: weight.detach() for name, weight in network.named_parameters()}

    def function(*inputs: Tensor) -> Tensor:
        return torch.func.functional_call(network, weights, inputs)

    return function


class CouplingNet(nn.Module):
    """Three convolutions, 3×3 – 1×1 – 3×3 (Kingma & Dhariwal 2018, arXiv:1807.03039, §4).

    The output is zero at initialisation. There are two additions to the reference:

    * The inputs are bounded softly. Otherwise the output grows with the brightness of a cluster,
      and samples have tails that are too heavy.
    * The scatter of each input channel over the whole map is an input at every pixel, because a
      pixel sees only a few neighbours. Maps differ in their power, and this is much of their
      covariance.

    Args:
        inputs: input channels.
        outputs: output channels.
        hidden: hidden channels.
        padding: how a map continues beyond its edge: ``"zeros"``, ``"reflect"``, or ``"circular"``
            for periodic maps.
        numbers: further inputs, numbers of the whole map.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int = 64,
        padding: str = "zeros",
        numbers: int = 0,
    ):
        super().__init__()
        self.first = _three(inputs, hidden, padding)
        # zero-initialised, because short trainings diverge otherwise
        self.strength = _silent(nn.Linear(inputs, hidden))
        self.numbers = None
        if numbers:
            self.numbers = _silent(nn.Linear(numbers, hidden))
        self.last = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.SiLU(),
            _silent(_three(hidden, outputs, padding)),
        )

    def forward(self, x: Tensor, numbers: Tensor | None = None) -> Tensor:
        """``(batch, inputs, rows, columns)`` → ``(batch, outputs, rows, columns)``.

        Args:
            x: the kept channels, followed by those of conditions.
            numbers: further inputs of order one, shape ``(batch, numbers)``.
        """
        x = soft_bound(x)
        whole_map = self.strength(log_scatter(x))
        if self.numbers is not None:
            whole_map = whole_map + self.numbers(numbers.to(whole_map.dtype))
        return self.last(self.first(x) + whole_map[:, :, None, None])


def soft_bound(x: Tensor) -> Tensor:
    """3 asinh(x / 3): equal to x near zero, and a logarithm far from zero."""
    return 3 * torch.asinh(x / 3)


def log_scatter(x: Tensor) -> Tensor:
    """ln of the scatter of each channel over its pixels, scaled to order one.

    ``(batch, channels, rows, columns)`` → ``(batch, channels)``.
    """
    scatter = x.std((-2, -1)).clamp(min=1e-6)
    return 5 * scatter.log()  # the scatter of maps differs by some tens of per cent


class Residual(nn.Module):
    """A residual block of two convolutions, with FiLM and optional self-attention.

    FiLM: an embedding of the noise level and the conditions scales and shifts the hidden channels.
    """

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
        self.skip = nn.Identity()
        if inputs != outputs:
            self.skip = nn.Conv2d(inputs, outputs, 1)
        self.attention = nn.Identity()
        if attention:
            self.attention = Attention(outputs)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        h = self.conv_1(F.silu(self.norm_1(x)))
        h = F.silu(self.norm_2(h) * (1 + scale) + shift)
        return self.attention(self.skip(x) + self.conv_2(h))


class Attention(nn.Module):
    """Self-attention over all pixels of a coarse map, added to the map."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _silent(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, rows, columns = x.shape
        qkv = self.qkv(self.norm(x))
        heads = qkv.reshape(b, 3, self.heads, c // self.heads, rows * columns).mT
        q, k, v = heads.unbind(1)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.mT.reshape(b, c, rows, columns))


@renamed(labels="numbers")
class UNet(nn.Module):
    """A U-Net conditioned on numbers of each map.

    Architecture: Ronneberger et al. 2015, arXiv:1505.04597; Ho et al. 2020, arXiv:2006.11239.
    First ``patch`` × ``patch`` pixels are folded into channels, which makes the finest level cheap
    on a CPU. Self-attention at the coarsest levels connects all parts of the map, so the largest
    scales are seen. Group normalisation hides the power of a map. Maps differ in their power, and
    this is much of their covariance. So the scatter of the inputs is one of the numbers.

    Args:
        inputs: input channels.
        outputs: output channels.
        channels: channels of each level, finest first; each level halves the resolution.
        patch: side of the square of pixels that is folded into channels.
        blocks: residual blocks in each level.
        attention: 0: no self-attention. 1: in the middle of the U. Each one more: also after every
            block of one more level, the coarsest level first. The cost is proportional to the
            fourth power of the side of a level.
        padding: how a map continues beyond its edge: ``"zeros"``, ``"reflect"``, or ``"circular"``
            for periodic maps.
        numbers: further numbers of each map to condition on.

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
        numbers: int = 0,
    ):
        super().__init__()
        self.patch = patch
        self.numbers = numbers
        width = 4 * channels[0]
        frequencies = torch.linspace(math.log(0.25), math.log(16.0), 16).exp()
        self.register_buffer("frequencies", frequencies)
        self.embed = nn.Sequential(
            nn.Linear(32 + inputs + numbers, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
        )
        self.first = _three(inputs * patch**2, channels[0], padding)

        def block(c: int, wide: int, level: int) -> Residual:
            return Residual(c, wide, width, padding, level > len(channels) - attention)

        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        c = channels[0]
        skips = [c]
        for level, wide in enumerate(channels):
            if level > 0:
                self.down.append(_three(c, c, padding, stride=2))
                skips.append(c)
            for _ in range(blocks):
                self.down.append(block(c, wide, level))
                c = wide
                skips.append(c)
        middle = [Residual(c, c, width, padding), Attention(c), Residual(c, c, width, padding)]
        if not attention:
            del middle[1]  # made in any case, so that a seed gives the same other weights
        self.middle = nn.ModuleList(middle)
        for level, wide in reversed(list(enumerate(channels))):
            for _ in range(blocks + 1):
                self.up.append(block(c + skips.pop(), wide, level))
                c = wide
            if level > 0:
                self.up.append(nn.Upsample(scale_factor=2, mode="nearest"))
        self.last = nn.Sequential(
            nn.GroupNorm(_groups(c), c),
            nn.SiLU(),
            _silent(_three(c, outputs * patch**2, padding)),
        )

    def forward(self, x: Tensor, level: Tensor, numbers: Tensor | None = None) -> Tensor:
        """Maps to maps.

        Args:
            x: maps, shape ``(batch, inputs, n, n)``.
            level: the noise level, one number of order one for each map, shape ``(batch,)``. The
                network gets sines and cosines of it.
            numbers: further numbers of order one, shape ``(batch, numbers)``.

        Returns:
            Shape ``(batch, outputs, n, n)``.

        Raises:
            ValueError: ``numbers`` has another length than the network was made for.
        """
        found = 0
        if numbers is not None:
            found = numbers.shape[-1]
        if found != self.numbers:
            raise ValueError(
                f"the network is conditioned on {self.numbers} numbers a map, "
                f"such as band powers; found {found}"
            )
        embedding = self._embedding(x, level, numbers)
        h = self.first(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for layer in self.down:
            h = _applied(layer, h, embedding)
            skips.append(h)
        for layer in self.middle:
            h = _applied(layer, h, embedding)
        for layer in self.up:
            if isinstance(layer, Residual):
                h = torch.cat([h, skips.pop()], 1)
            h = _applied(layer, h, embedding)
        return F.pixel_shuffle(self.last(h), self.patch)

    def _embedding(self, x: Tensor, level: Tensor, numbers: Tensor | None) -> Tensor:
        angle = level.to(x.dtype)[:, None] * self.frequencies.to(x.dtype)
        known = [angle.sin(), angle.cos(), log_scatter(x)]
        if numbers is not None:
            known.append(numbers.to(x.dtype))
        return self.embed(torch.cat(known, -1))


def _applied(layer: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    if isinstance(layer, Residual):
        return layer(h, embedding)
    return layer(h)


def _groups(channels: int) -> int:
    """Number of groups, at most eight, each of at least four channels."""
    if channels < 32:
        return 1
    return math.gcd(channels, 8)
