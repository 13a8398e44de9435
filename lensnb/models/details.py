"""The details of κ-maps given the averages of 2 × 2 pixels, by a flow: a fine level of a cascade.

The direction from data to noise has three parts:

1. κ → averages c and details b;
2. b → white details, the linear part (:mod:`lensnb.models.white_details`);
3. white details → z, by steps of actnorm, 1×1 convolution and coupling. The conditioners see the
   kept details of near pixels, and features of c from a network that need not be invertible.

The third part starts as the identity. So an untrained level is a Gaussian conditional, and learns
only what is not Gaussian. Each level is a model of its own, as in Yu, Derpanis & Brubaker (2020,
arXiv:2010.13821, "Wavelet Flow") and in Dai & Seljak (2024, arXiv:2306.04689, eq. 3).
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from ..given import Given
from ..layers import ActNorm, AffineCoupling, Context, Mixing, step_by_pixel, step_to_data
from ..maps.grid import wide
from ..transform import KappaTransform
from .averages import averaged
from .contract import register
from .crops import BLOCK
from .local_gaussian import LocalGaussian
from .local_nets import LocalNet
from .tiles import by_tiles
from .white_details import WhiteDetails


@register("details")
class Details(WhiteDetails):
    """A conditional flow for the details of square maps, given their averages.

    Args:
        n: pixels a side of the maps that it is trained on, a multiple of 4 from 16 on.
        transform: the κ transform, fitted to maps of this resolution.
        base: the Gaussian conditional, fitted to the *transformed* maps; by default white details.
        steps: steps of the flow, an even number.
        hidden: hidden channels of the conditioners.
        features: features of the coarser map.
        crop: train on crops with this number of pixels a side; None for whole maps. The features
            also see the coarser map around a crop, and its rim does not count in the loss.

    Attributes:
        channels: channels of a map.
        given: the condition ``coarse``, the averages of 2 × 2 pixels. Maps and averages may have
            any multiple of their number of pixels a side.

    Raises:
        ValueError: a side or a crop that is no such multiple, a crop larger than the maps, an odd
            number of steps, or parts with different channels.
    """

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None = None,
        base: LocalGaussian | None = None,
        steps: int = 8,
        hidden: int = 64,
        features: int = 48,
        crop: int | None = None,
    ):
        super().__init__(n, transform, base, features, crop)
        if steps % 2:
            raise ValueError(f"the details need an even number of steps, found {steps}")
        self.config = {
            "n": n,
            "channels": self.channels,
            "steps": steps,
            "hidden": hidden,
            "features": features,
            "crop": crop,
        }
        network = partial(LocalNet, hidden=hidden, features=features)
        details = 12 * self.channels
        self.steps = nn.ModuleList()
        for _ in range(steps):
            coupling = AffineCoupling(details, network, extra=features)
            self.steps.append(nn.ModuleList([ActNorm(details), Mixing(details), coupling]))

    # ------------------------------------------------------------ data and noise

    def to_noise(self, kappa: Tensor, given: Given | None = None) -> tuple[Tensor, Tensor]:
        """κ-maps → latent details and the ln |det| of :meth:`log_prob`, float64, ``(batch,)``.

        The latent details have the shape ``(batch, 12 channels, n / 4, n / 4)``.
        """
        maps = self._checked(kappa, given)
        h, log_det = self._to_noise(maps, self._features(averaged(maps, 2)))
        return h, log_det.sum((1, 2))

    def _to_noise(self, maps: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Latent details, and ln |det| as a sum over blocks."""
        white, log_det = self._whitened(maps)
        h = white.to(self._dtype())
        for step in self.steps:
            h, change = step_by_pixel(*step, h, Context(features))
            log_det = log_det + change
        return h, log_det

    def to_data(self, z: Tensor, given: Given) -> Tensor:
        """Latent details → κ-maps, the inverse of :meth:`to_noise`, float64."""
        return self._maps(z, self._checked_coarse(len(z), given))

    def _from_noise(self, z: Tensor, features: Tensor) -> Tensor:
        """Latent details → white details."""

        def steps_back(h: Tensor, features: Tensor) -> Tensor:
            for step in reversed(self.steps):
                h = step_to_data(*step, h, Context(features))
            return h

        return by_tiles(steps_back, len(self.steps), z, features)

    # ------------------------------------------------------------ density

    def log_prob(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """ln p(κ | averages) = ln p(κ) − ln p(averages), in nats, float64, shape ``(batch,)``.

        Args:
            kappa: κ-maps.
            given: their averages ``coarse``, which are only checked; None to leave that out.
        """
        z, log_det = self.to_noise(kappa, given)
        return _log_normal(z).sum((1, 2)) + log_det

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """Bits a pixel of the maps (not a detail, of which there are 3/4 as many), a scalar.

        With ``crop``, those of one crop of each map without its rim, at a place that is drawn.
        """
        maps, features, (rows, columns) = self._part(self._checked(batch, given), generator)
        z, log_det = self._to_noise(maps, features)
        of_blocks = (_log_normal(z) + log_det)[:, rows, columns]
        return -of_blocks.mean() / (math.log(2) * BLOCK**2 * self.channels)


def _log_normal(z: Tensor) -> Tensor:
    """ln of the normal density of latent details, as a sum over blocks, ``(batch, r, s)``."""
    return -0.5 * (wide(z).square() + math.log(2 * math.pi)).sum(1)
