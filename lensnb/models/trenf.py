"""A flow of few parameters that treats all places and directions alike: TRENF.

Notation: κ is a map, x = T(κ) its transform, and z the latent map. The direction from data to
noise is a chain of L layers. Each has a monotonic spline s for every pixel, and then a gain e^a
for the modes of the Gaussian base,

    h₀ = x,    h_k = G_k s_k(h_{k−1}),    z = h_L,
    ln p(κ) = ln p_base(z) + Σ_k (Σ_pixels ln s_k′ + Σ_modes a_k) + ln |det ∂x/∂κ|

(Dai & Seljak 2022, arXiv:2202.05282: a translation and rotation equivariant normalizing flow).
A spline has 8 bins, and the gain is smooth in ln ℓ with 8 knots. So five layers have 155
parameters, which 30 maps can determine. With one layer, the model is a Gaussian field after a
point transform. All layers start as the identity, so an untrained model is the Gaussian field of
the transformed maps.

The gain acts on the field's own modes, not on a torus: where the base is a cut-out of the sky
(:class:`lensnb.maps.CutOutField`), opposite edges do not touch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..given import Given
from ..layers import Gain, inverse_spline, spline
from ..maps import GaussianField, GaussianModes
from ..maps.grid import wide
from ..transform import KappaTransform
from .contract import blank_field, channels_of, check_batch, check_draw, map_shape, register

# A few numbers that all pixels determine together learn fast (TRENF has 1e-2 for 155 of them).
_FASTER = 10


@register("trenf")
class TRENF(nn.Module):
    """A translation and rotation equivariant flow for square maps.

    Args:
        n: pixels a side.
        transform: the fitted κ transform.
        base: Gaussian field fitted to the *transformed* maps, such as by
            :func:`lensnb.maps.fit_field`; by default white noise.
        layers: number of splines, and of gains.
        knots: bins of a spline, and knots of a gain; at least 2.
        bound: splines act between −bound and bound, in standard deviations of a pixel.

    Attributes:
        channels: channels of a map, those of ``transform`` and ``base``. Each channel has splines
            of its own.
        given: the conditions that the model needs: none.

    Raises:
        ValueError: no layers, fewer than 2 knots, a base for maps of another side, or
            ``transform`` and ``base`` with different channels.
    """

    given: dict = {}

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None = None,
        base: GaussianModes | None = None,
        layers: int = 5,
        knots: int = 8,
        bound: float = 6.0,
    ):
        super().__init__()
        self.n = n
        self.channels = channels_of("TRENF", transform=transform, base=base)
        if layers < 1 or knots < 2:
            raise ValueError(
                f"a TRENF needs at least 1 layer and 2 knots, found {layers} and {knots}"
            )
        if transform is None:
            transform = KappaTransform.blank(self.channels)
        if base is None:
            base = GaussianField.white(n, self.channels)
        if base.n != n:
            raise ValueError(f"the base of a TRENF for {n}² pixels has {base.n}²")
        self.config = {
            "n": n,
            "channels": self.channels,
            "base": base.kind,
            "layers": layers,
            "knots": knots,
            "bound": bound,
        }
        self.bound = bound
        self.transform = transform
        self.base = base
        self.splines = nn.ParameterList(
            torch.zeros(self.channels, 3 * knots - 1) for _ in range(layers)
        )
        self.gains = nn.ModuleList(Gain(base, knots) for _ in range(layers))

    @classmethod
    def from_config(cls, config: dict) -> TRENF:
        """An untrained model of the same shape, for a checkpoint to fill."""
        config = dict(config)
        n, channels = config["n"], config.pop("channels")
        base = blank_field(config.pop("base"), n, channels)
        return cls(transform=KappaTransform.blank(channels), base=base, **config)

    def groups(self, lr: float) -> list[dict]:
        """All parameters, with ten times the learning rate of a network."""
        return [{"params": list(self.parameters()), "lr": _FASTER * lr}]

    # ------------------------------------------------------------ data and noise

    def to_noise(self, kappa: Tensor, given: Given | None = None) -> tuple[Tensor, Tensor]:
        """κ-maps → latent maps of the same shape and ln |det ∂z/∂κ|, float64, ``(batch,)``."""
        check_batch(self, kappa, given)
        h = self.transform(kappa).to(self.splines[0].dtype)
        log_det = self.transform.log_det(kappa)
        for numbers, gain in zip(self.splines, self.gains):
            bent, log_slope = spline(self._channels_second(h), _of_pixels(numbers), self.bound)
            h = gain.to_noise(bent.reshape(h.shape), self.base)
            log_det = log_det + wide(log_slope).flatten(1).sum(1) + gain.log_det()
        return h, log_det

    def to_data(self, z: Tensor, given: Given | None = None) -> Tensor:
        """Latent maps → κ-maps, the inverse of :meth:`to_noise`."""
        check_batch(self, z, given)
        h = z
        for numbers, gain in zip(reversed(self.splines), reversed(self.gains)):
            bent = self._channels_second(gain.to_data(h, self.base))
            h = inverse_spline(bent, _of_pixels(numbers), self.bound).reshape(h.shape)
        return self.transform.inverse(h)

    def _channels_second(self, h: Tensor) -> Tensor:
        """Maps as ``(batch, channels, n, n)``, also if they have one channel."""
        return h.reshape(len(h), self.channels, self.n, self.n)

    # ------------------------------------------------------------ density and samples

    def log_prob(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """ln p(κ) in nats and κ units, float64, shape ``(batch,)``."""
        z, log_det = self.to_noise(kappa, given)
        return self.base.log_prob(z) + log_det

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """Bits per dimension of κ-maps, a scalar."""
        pixels = math.prod(map_shape(self))
        return -self.log_prob(batch, given).mean() / (math.log(2) * pixels)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        batch: int = 64,
        given: Given | None = None,
    ) -> Tensor:
        """Draw ``n`` κ-maps.

        Args:
            n: number of maps.
            generator: source of randomness.
            batch: maps made at once; does not change the result.
            given: no conditions; the contract has this argument.

        Returns:
            κ, float32, shape ``(n, pixels, pixels)`` or ``(n, channels, pixels, pixels)``.
        """
        check_draw(self, n, given)
        z = self.base.sample(n, generator)
        return torch.cat([self.to_data(part) for part in z.split(batch)]).float()


def _of_pixels(numbers: Tensor) -> Tensor:
    """The numbers of a spline, the same for all maps and pixels."""
    return numbers[None, :, :, None, None]
