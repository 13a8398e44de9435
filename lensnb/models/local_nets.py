"""Networks that see only near pixels, for maps whose size may change.

They are the context of a level of details, the conditioner of its flow, and its denoiser.

They use no number of the whole map, such as its scatter, and no normalisation over it. So far from
its edges, a crop gets the same output as the whole map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nets import soft_bound

_WAVES = 8  # sines and cosines of the noise level


class ContextNet(nn.Module):
    """Features of the coarser map, by residual blocks of two 3 × 3 convolutions.

    Args:
        inputs: input channels.
        features: output channels.
        blocks: residual blocks.

    Attributes:
        radius: how many pixels away the farthest one is that a feature depends on.
    """

    def __init__(self, inputs: int, features: int, blocks: int = 2):
        super().__init__()
        self.first = nn.Conv2d(inputs, features, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(features, features, 3, padding=1) for _ in range(2))
            for _ in range(blocks)
        )
        self.radius = 1 + 2 * blocks

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inputs, r, s)`` → ``(batch, features, r, s)``."""
        h = self.first(soft_bound(x))
        for one, other in self.blocks:
            h = h + other(F.silu(one(F.silu(h))))
        return F.silu(h)


class LocalNet(nn.Module):
    """A conditioner: a 3 × 3 convolution of the kept channels, then 1 × 1 ones.

    The output is zero at initialisation.

    Args:
        inputs: input channels: those kept, then the features.
        outputs: output channels.
        hidden: hidden channels.
        features: how many of the inputs are features.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, features: int):
        super().__init__()
        self.kept = inputs - features
        self.near = nn.Conv2d(self.kept, hidden, 3, padding=1)
        self.context = nn.Conv2d(features, hidden, 1, bias=False)
        self.middle = nn.Conv2d(hidden, hidden, 1)
        self.last = nn.Conv2d(hidden, outputs, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inputs, r, s)`` → ``(batch, outputs, r, s)``."""
        h = self.near(soft_bound(x[:, : self.kept])) + self.context(x[:, self.kept :])
        return self.last(F.silu(self.middle(F.silu(h))))


class LocalDenoiser(nn.Module):
    """A residual network of 3 × 3 convolutions for white details with noise.

    Channels are normalised at each pixel, and not over the map, so the network is local. The
    output is a x + b with numbers a and b of each pixel. So details whose scatter depends on the
    coarser map, and bright ones, are within easy reach. a and b are zero at initialisation.

    Args:
        channels: channels of the noised details, and of the output.
        features: features of the coarser map, which are inputs too.
        hidden: hidden channels.
        blocks: residual blocks.

    Attributes:
        radius: how many pixels away the farthest one is that a result depends on.
    """

    def __init__(self, channels: int, features: int, hidden: int = 64, blocks: int = 3):
        super().__init__()
        self.near = nn.Conv2d(channels, hidden, 3, padding=1)
        self.context = nn.Conv2d(features, hidden, 1)
        self.embed = nn.Linear(2 * _WAVES, hidden)
        self.blocks = nn.ModuleList(_LocalResidual(hidden) for _ in range(blocks))
        self.last = nn.Conv2d(hidden, 2 * channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.radius = 1 + 2 * blocks

    def forward(self, x: Tensor, angle: Tensor, features: Tensor) -> Tensor:
        """Noised details to an output of the same shape.

        Args:
            x: ``(batch, channels, r, s)``, of unit variance.
            angle: the noise level θ of each map, between 0 and π / 2, ``(batch,)``.
            features: ``(batch, features, r, s)``.
        """
        waves = angle[:, None] * torch.arange(1, _WAVES + 1).to(angle)
        level = self.embed(torch.cat([waves.sin(), waves.cos()], 1))
        known = F.silu(level[:, :, None, None] + self.context(features))
        h = self.near(soft_bound(x))
        for block in self.blocks:
            h = block(h, known)
        a, b = self.last(F.silu(_of_unit_size(h))).chunk(2, 1)
        return a * x + b


class _LocalResidual(nn.Module):
    """Two 3 × 3 convolutions. What is known at a pixel scales and shifts channels between them."""

    def __init__(self, hidden: int):
        super().__init__()
        self.one = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.film = nn.Conv2d(hidden, 2 * hidden, 1)
        self.other = nn.Conv2d(hidden, hidden, 3, padding=1)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        scale, shift = self.film(known).chunk(2, 1)
        h = self.one(F.silu(_of_unit_size(x)))
        h = _of_unit_size(h) * (1 + scale) + shift
        return x + self.other(F.silu(h))


def _of_unit_size(h: Tensor) -> Tensor:
    """Channels divided by their root mean square at each pixel."""
    return h * torch.rsqrt(h.square().mean(1, keepdim=True) + 1e-6)
