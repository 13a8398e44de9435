"""A variational autoencoder for convergence maps, plain or hierarchical.

Notation: κ is a map, x = T(κ) its transform, and w = C^(−1/2) (x − mean) the white map, where C is
the covariance of a Gaussian field with the correlations of the data. From latents z, the decoder
makes the mean m(z) of the white map. The noise of the likelihood is learned,

    w = m(z) + G⁻¹ ε,        ε white,

where G is a gain for each annulus of the field's modes (:class:`lensnb.layers.Gain`). The noise is
the part of a map that the latents do not describe, so samples have it, too. Without it they would
lack power. The decoder starts silent, with m = 0 and G = 1. So an untrained model is the exact
Gaussian field.

The density is p(κ) = ∫ p(κ | z) p(z) dz. The training maximises a lower bound of it (Kingma &
Welling 2014, arXiv:1312.6114, eq. 3), where q is the posterior of the latents, a network:

    ln p(κ) ≥ ⟨ln p(x | z)⟩_q − Σ_r KL_r + ln |det ∂x/∂κ|.

KL_r is the information that the latents at the resolution r have about the map, see
:mod:`lensnb.models.latents`. Latents *collapse* if it is 0: then the decoder does without them.
Here this is easy, because the noise alone is already the Gaussian field. Therefore the first bits
of each resolution are free: the loss has max(KL_r, free bits) in the place of KL_r, where KL_r is
the mean over a batch (Kingma et al. 2016, arXiv:1606.04934, app. C.8). The loss is still an upper
bound of bits per dimension.

The other remedy is a weight of KL_r that rises during the training. But then the loss depends on
the step. A model does not know it, and losses of held-out maps could not be compared with each
other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..given import Condition, Given
from ..layers import Gain
from ..maps import GaussianField, GaussianModes
from ..maps.grid import wide
from ..samplers import MapNoise
from ..transform import KappaTransform
from .contract import blank_field, channels_of, check_batch, check_draw, map_shape, register
from .latents import Hierarchy

_BIT = math.log(2)  # in nats


@register("vae")
class VAE(nn.Module):
    """A variational autoencoder for square maps.

    Args:
        n: pixels a side, a power of two from 16 to 256.
        transform: the fitted κ transform.
        gaussian: Gaussian field fitted to the *transformed* maps, such as by
            :func:`lensnb.maps.fit_field`; by default a white field of unit variance.
        width: channels of the features at half the side of a map. They double with each halving of
            the side, up to 8 × width.
        latents: latent maps of each layer of latents.
        blocks: residual blocks and layers of latents at each of the sides n/2, n/4 … 4. 0 is the
            plain form, with one layer of latents at 4² pixels.
        free_bits: information a map at each resolution, in bits, that the loss does not count.

    Attributes:
        channels: channels of a map, those of ``transform`` and ``gaussian``.
        sides: pixels a side of the latents, coarsest first.
        given: the conditions that the model needs: none.

    Raises:
        ValueError: ``n`` is not such a power of two; a number is too small; ``transform`` and
            ``gaussian`` have different channels.
    """

    given: dict[str, Condition] = {}

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None = None,
        gaussian: GaussianModes | None = None,
        width: int = 32,
        latents: int = 16,
        blocks: int = 0,
        free_bits: float = 8.0,
    ):
        super().__init__()
        _check_numbers(n, width=width, latents=latents, blocks=blocks, free_bits=free_bits)
        self.n = n
        self.channels = channels_of("VAE", transform=transform, gaussian=gaussian)
        if transform is None:
            transform = KappaTransform.blank(self.channels)
        if gaussian is None:
            gaussian = GaussianField.white(n, self.channels)
        self.config = {
            "n": n,
            "channels": self.channels,
            "gaussian": gaussian.kind,
            "width": width,
            "latents": latents,
            "blocks": blocks,
            "free_bits": free_bits,
        }
        self.transform = transform
        self.gaussian = gaussian
        self.gain = Gain(gaussian)
        self.network = Hierarchy(n, self.channels, width, latents, blocks)
        self.sides = self.network.sides
        self.free_bits = free_bits

    @classmethod
    def from_config(cls, config: dict) -> VAE:
        """An untrained model of the same shape, for a checkpoint to fill."""
        config = dict(config)
        channels = config.pop("channels")
        field = blank_field(config.pop("gaussian"), config["n"], channels)
        return cls(transform=KappaTransform.blank(channels), gaussian=field, **config)

    # ------------------------------------------------------------ bound

    def _terms(self, kappa: Tensor, noise: MapNoise) -> tuple[Tensor, Tensor]:
        """ln p(κ | z) for latents drawn from the posterior, and the KL divergences.

        Args:
            kappa: κ-maps, ``(batch, n, n)`` or ``(batch, channels, n, n)``.
            noise: source of the latents.

        Returns:
            ln p(κ | z) in nats and κ units, ``(batch,)``, and the KL divergence at each side in
            nats, ``(batch, sides)``; both float64.
        """
        x = self.transform(wide(kappa))
        shape = (len(x), self.channels, self.n, self.n)
        mean, divergences = self.network.posterior(x.reshape(shape).to(self._dtype()), noise)
        log_prob = self._log_likelihood(x, mean.reshape(x.shape))
        return log_prob + self.transform.log_det(kappa), divergences

    def _log_likelihood(self, x: Tensor, mean: Tensor) -> Tensor:
        """ln p(x | z) of transformed maps, where ``mean`` is m(z)."""
        field = self.gaussian
        root = field.eigenvalues.sqrt()
        white = field.unmixed(field.modes(x) / root)
        epsilon = (white - field.to_plain(mean)) * self.gain.per_mode()
        return field.log_prob_of_modes(field.mixed(epsilon) * root) + self.gain.log_det()

    def _dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.gain.log_gain.dtype

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """An upper bound of the bits per dimension of κ-maps, with free bits, a scalar."""
        check_batch(self, batch, given)
        log_prob, divergences = self._terms(batch, MapNoise(len(batch), generator))
        counted = divergences.mean(0).clamp(min=self.free_bits * _BIT).sum()
        pixels = math.prod(map_shape(self))
        return (counted - log_prob.mean()) / (_BIT * pixels)

    @torch.no_grad()
    def elbo(
        self, maps: Tensor, generator: torch.Generator | None = None, batch: int = 64
    ) -> Tensor:
        """A lower bound of ln p(κ), in nats and κ units, without free bits.

        One latent is drawn for each map. So it is the mean over many draws, or over many maps,
        that is a bound.

        Args:
            maps: κ-maps, ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            generator: source of the latents; each map gets its own seed from it.
            batch: maps at once; it changes the result by rounding only.

        Returns:
            float64, shape ``(maps,)``.

        Raises:
            ValueError: maps of another size or number of channels.
        """
        log_prob, divergences = self._all_terms(maps, generator, batch)
        return log_prob - divergences.sum(-1)

    @torch.no_grad()
    def information(
        self, maps: Tensor, generator: torch.Generator | None = None, batch: int = 64
    ) -> Tensor:
        """The information that the latents have about maps: KL_r at each resolution, in bits.

        Latents without information have collapsed: the decoder does without them. A resolution
        that stays at the free bits of the loss has found no use for more.

        Args:
            maps, generator, batch: as for :meth:`elbo`.

        Returns:
            float64, shape ``(maps, sides)``, coarsest side first.

        Raises:
            ValueError: maps of another size or number of channels.
        """
        _, divergences = self._all_terms(maps, generator, batch)
        return divergences / _BIT

    def _all_terms(
        self, maps: Tensor, generator: torch.Generator | None, batch: int
    ) -> tuple[Tensor, Tensor]:
        check_batch(self, maps)
        noise = MapNoise(len(maps), generator)
        parts = [slice(start, start + batch) for start in range(0, len(maps), batch)]
        terms = [self._terms(maps[part], noise[part]) for part in parts]
        log_prob, divergences = zip(*terms)
        return torch.cat(log_prob), torch.cat(divergences)

    # ------------------------------------------------------------ samples

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        batch: int = 64,
        given: Given | None = None,
    ) -> Tensor:
        """Draw ``n`` κ-maps, with the noise of the likelihood.

        Args:
            n: number of maps.
            generator: source of randomness; each map gets its own seed from it.
            batch: maps made at once; it changes the result by rounding only.
            given: conditions, which this model does not have.

        Returns:
            κ, float32, shape ``(n, pixels, pixels)`` or ``(n, channels, pixels, pixels)``.
        """
        check_draw(self, n, given)
        noise = MapNoise(n, generator)
        drawn = []
        for start in range(0, n, batch):
            drawn.append(self._sample_batch(noise[start : start + batch]))
        return torch.cat(drawn)

    def _sample_batch(self, noise: MapNoise) -> Tensor:
        mean = wide(self.network.prior(noise))
        epsilon = noise(map_shape(self), mean)
        white = mean.reshape(epsilon.shape) + self.gain.to_data(epsilon, self.gaussian)
        return self.transform.inverse(self.gaussian.colour(white)).float()


def _check_numbers(n: int, **found: float) -> None:
    """Refuse a side that the network cannot halve, and numbers that are too small."""
    if n not in (16, 32, 64, 128, 256):
        raise ValueError(
            f"the VAE needs maps whose side is a power of two from 16 to 256 pixels, found {n}"
        )
    least = {"width": 2, "latents": 1, "blocks": 0, "free_bits": 0}
    for name, number in found.items():
        if not least[name] <= number < math.inf:
            raise ValueError(
                f"{name} of a VAE must be at least {least[name]} and finite, found {number}"
            )
