"""Networks that see only near pixels, for maps whose size may change: context and conditioner.

They use no number of the whole map, such as its scatter, and no normalisation over it. So far from
its edges, a crop gets the same output as the whole map.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..nets import soft_bound


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
