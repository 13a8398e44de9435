"""The discriminator of a GAN on a Gaussian field, and the numbers that it sees besides the pixels.

It has residual blocks without normalisation, since normalisation hides the power of a map. Besides
the pixels it sees the mean of the map and ln of its power in bins of |ℓ|. It also sees the
standard deviation of all its numbers over the maps of a batch (Karras et al. 2018,
arXiv:1710.10196, §3). So it notices if the power differs too little from map to map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..maps import GaussianModes, MapGrid
from ..maps.grid import wide


class Discriminator(nn.Module):
    """Maps and numbers → D, by residual blocks without normalisation.

    Args:
        inputs: channels of the maps.
        widths: channels of each level, finest first; the finest has half the resolution.
        numbers: further numbers of each map.
    """

    def __init__(self, inputs: int, widths: Sequence[int], numbers: int):
        super().__init__()
        layers = [nn.PixelUnshuffle(2), nn.Conv2d(4 * inputs, widths[0], 3, padding=1)]
        before = widths[0]
        for level, width in enumerate(widths):
            if level > 0:
                layers += [nn.AvgPool2d(2), nn.Conv2d(before, width, 1)]
            layers += [ResidualBlock(width), ResidualBlock(width)]
            before = width
        self.features = nn.Sequential(*layers, nn.LeakyReLU(0.2))
        # A constant would cancel between true and made maps, so there is no last bias.
        self.head = nn.Sequential(
            nn.Linear(2 * (before + numbers), before),
            nn.LeakyReLU(0.2),
            nn.Linear(before, 1, bias=False),
        )

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        """D, shape ``(batch,)``; the maps of a batch are all true, or all made.

        Args:
            x: maps, ``(batch, inputs, n, n)``.
            numbers: further numbers of order one, ``(batch, numbers)``.
        """
        dtype = self.head[0].weight.dtype
        features = self.features(x).mean((-2, -1)).to(dtype)
        seen = torch.cat([features, numbers.to(dtype)], 1)
        spread = (seen.var(0, correction=0) + 1e-8).sqrt()
        with torch.autocast(x.device.type, enabled=False):  # these few numbers need their digits
            return self.head(torch.cat([seen, spread.expand_as(seen)], 1))[:, 0]


class ResidualBlock(nn.Module):
    """1×1, 3×3 in groups of 16 channels, and 1×1, added to the input; it starts silent."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = 2 * channels
        groups = math.gcd(hidden, max(1, hidden // 16))
        last = nn.Conv2d(hidden, channels, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups),
            nn.LeakyReLU(0.2),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Summaries(nn.Module):
    """The mean of a map, and ln of its power in bins of |ℓ| relative to a Gaussian field.

        m = x̃_0 / √λ_0,        p = ln(mean over the bin of |x̃_ℓ|² / λ_ℓ) / √(2 / modes)

    Maps of a periodic field give numbers of about zero mean and unit variance. The bins have two
    edges in each octave.

    Args:
        n: pixels a side.

    Attributes:
        numbers: numbers of each channel of a map.
    """

    def __init__(self, n: int):
        super().__init__()
        grid = MapGrid(n, 1.0)
        radius = (grid.ell / grid.ell_min).flatten()
        half_octave = (2 * radius.clamp(min=0.5).log2() + 1e-9).floor()
        bins = int(2 * math.log2(n / 2) + 1e-9) + 1
        half_octave = half_octave.clamp(max=bins - 1)  # the corners belong to the last one
        inside = (half_octave == torch.arange(bins)[:, None]) * grid.multiplicity.flatten()
        modes = inside.sum(1, keepdim=True)
        self.numbers = bins + 1
        self.register_buffer("average", (inside / modes).T.contiguous(), persistent=False)
        self.register_buffer("scatter", (2 / modes[:, 0]).sqrt(), persistent=False)

    def forward(self, y: Tensor, field: GaussianModes) -> Tensor:
        """Numbers of transformed maps ``(batch, *map_shape)``, float64, ``(batch, numbers)``."""
        modes = torch.fft.rfft2(wide(y), norm="ortho")
        power = modes.real.square() + modes.imag.square()
        variance = field.variance
        if field.channels > 1:
            variance = variance.diagonal().permute(2, 0, 1)  # without the cross-powers
        in_bins = (power / variance).flatten(-2) @ wide(self.average)
        mean = modes[..., 0, 0].real / variance[..., 0, 0].sqrt()
        found = torch.cat([mean[..., None], in_bins.log() / self.scatter], -1)
        return found.flatten(1)
