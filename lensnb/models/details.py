"""The details of κ-maps given the averages of 2 × 2 pixels: one fine level of a cascade.

Notation: c is the coarser map, b are its details (:mod:`lensnb.models.averages`), and z are the
latent details. The direction from data to noise has three parts:

1. κ → (c, b);
2. b → white details, if the transformed maps are a Gaussian field. This takes the linear part of
   what c says about b (:class:`~lensnb.models.local_gaussian.LocalGaussian`);
3. white details → z, by steps of actnorm, 1×1 convolution and coupling. The conditioners see the
   kept details of near pixels, and features of c from a network that need not be invertible.

The third part starts as the identity. So an untrained level is a Gaussian conditional, and learns
only what is not Gaussian. Each level is a model of its own, as in Yu, Derpanis & Brubaker (2020,
arXiv:2010.13821, "Wavelet Flow") and in Dai & Seljak (2024, arXiv:2306.04689, eq. 3).

All parts see near pixels only. So a level can be trained on crops, and draw maps of larger fields.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from ..given import Condition, Given, check_given, checked_mapping
from ..layers import ActNorm, AffineCoupling, Context, Mixing, step_to_data, step_to_noise
from ..maps.grid import check_shape, wide
from ..samplers import MapNoise
from ..transform import KappaTransform
from .averages import averaged, joined, split
from .contract import channels_of, register
from .local_gaussian import LocalGaussian, folded, unfolded
from .local_nets import ContextNet, LocalNet

_BLOCK = 4  # pixels of the side of a block, which is a pixel of the networks
_MEASURED = 2**23  # pixels that are enough to measure a Gaussian conditional
_AT_ONCE = 2**20  # pixels of the maps that are drawn at once, which need some hundred megabytes


@register("details")
class Details(nn.Module):
    """A conditional flow for the details of square maps, given their averages.

    Args:
        n: pixels a side of the maps that it is trained on, a multiple of 4 from 16 on.
        transform: the κ transform, fitted to maps of this resolution.
        base: the Gaussian conditional, fitted to the *transformed* maps; by default white details.
        steps: steps of the flow, an even number.
        hidden: hidden channels of the conditioners.
        features: features of the coarser map.
        crop: train on crops with this number of pixels a side; None for whole maps. The features
            also see the coarser map around a crop.

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
        super().__init__()
        _check_sides(n, crop)
        if steps % 2:
            raise ValueError(f"the details need an even number of steps, found {steps}")
        self.n = n
        self.channels = channels_of("level of details", transform=transform, base=base)
        self.config = {
            "n": n,
            "channels": self.channels,
            "steps": steps,
            "hidden": hidden,
            "features": features,
            "crop": crop,
        }
        self.crop = crop
        if transform is None:
            transform = KappaTransform.blank(self.channels)
        if base is None:
            base = LocalGaussian(self.channels)
        self.transform = transform
        self.base = base
        self.context = ContextNet(4 * self.channels, features)
        network = partial(LocalNet, hidden=hidden, features=features)
        details = 12 * self.channels
        self.steps = nn.ModuleList()
        for _ in range(steps):
            coupling = AffineCoupling(details, network, extra=features)
            self.steps.append(nn.ModuleList([ActNorm(details), Mixing(details), coupling]))

    @classmethod
    def fit(cls, maps: Tensor, **options) -> Details:
        """An untrained model, whose transform and Gaussian conditional are measured.

        Args:
            maps: κ at the resolution of this level, ``(maps, n, n)`` or ``(maps, channels, n,
                n)``.
            options: ``steps`` and the other arguments of the class.
        """
        check_shape("the set for a level of details", maps.shape)
        _check_sides(maps.shape[-1], options.get("crop"))
        transform = KappaTransform.fit(maps)
        if maps.ndim == 3:
            maps = maps[:, None]
        enough = -(-_MEASURED // maps[0].numel())
        few = maps[:: max(1, len(maps) // enough)]
        parts = split(transform, wide(few))
        base = LocalGaussian.fit(transform(parts.coarse), parts.bands)
        return cls(maps.shape[-1], transform, base, **options)

    @classmethod
    def from_config(cls, config: dict) -> Details:
        """An untrained model of the same shape, for a checkpoint to fill."""
        config = dict(config)
        channels = config.pop("channels")
        return cls(
            transform=KappaTransform.blank(channels), base=LocalGaussian(channels), **config
        )

    @property
    def given(self) -> dict[str, Condition]:
        """The condition that the model needs: the coarser map."""
        return self._given_at(self.n // 2)

    def _given_at(self, side: int) -> dict[str, Condition]:
        shape = (side, side)
        if self.channels > 1:
            shape = (self.channels, side, side)
        return {"coarse": Condition(shape, "map")}

    # ------------------------------------------------------------ data and noise

    def to_noise(self, kappa: Tensor, given: Given | None = None) -> tuple[Tensor, Tensor]:
        """κ-maps → latent details and the ln |det| of :meth:`log_prob`, float64, ``(batch,)``.

        The latent details have the shape ``(batch, 12 channels, n / 4, n / 4)``.
        """
        maps = self._checked(kappa, given)
        return self._to_noise(maps, self._features(averaged(maps, 2)))

    def _to_noise(self, maps: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        parts = split(self.transform, maps)
        x = folded(self.transform(parts.coarse))
        h, log_det = self.base.to_noise(x, folded(parts.bands))
        log_det = log_det + parts.log_det
        h = h.to(self._dtype())
        for step in self.steps:
            h, change = step_to_noise(*step, h, Context(features))
            log_det = log_det + change
        return h, log_det

    def to_data(self, z: Tensor, given: Given) -> Tensor:
        """Latent details → κ-maps, the inverse of :meth:`to_noise`, float64."""
        return self._maps(z, self._checked_coarse(len(z), given))

    def _maps(self, z: Tensor, coarse: Tensor) -> Tensor:
        features = self._features(coarse)
        h = z.to(self._dtype())
        for step in reversed(self.steps):
            h = step_to_data(*step, h, Context(features))
        x = folded(self.transform(wide(coarse)))
        bands = unfolded(self.base.to_data(x, wide(h)))
        maps = joined(self.transform, coarse, bands)
        if self.channels == 1:
            return maps[:, 0]
        return maps

    def _features(self, coarse: Tensor) -> Tensor:
        """Features of coarser maps ``(batch, channels, r, s)``, a pixel for each block."""
        x = self.transform(coarse) - self.base.mean.to(coarse)[:, None, None]
        return self.context(folded(x).to(self._dtype()))

    def _dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.steps[0][0].shift.dtype

    # ------------------------------------------------------------ density

    def log_prob(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """ln p(κ | averages) = ln p(κ) − ln p(averages), in nats, float64, shape ``(batch,)``.

        Args:
            kappa: κ-maps.
            given: their averages ``coarse``, which are only checked; None to leave that out.
        """
        return _log_normal(*self.to_noise(kappa, given))

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """Bits a pixel of the maps (not a detail, of which there are 3/4 as many), a scalar.

        With ``crop``, those of one crop of each map, at a place that is drawn.
        """
        maps = self._checked(batch, given)
        if self.crop is None:
            features = self._features(averaged(maps, 2))
        else:
            maps, features = self._cropped(maps, generator)
        log_prob = _log_normal(*self._to_noise(maps, features))
        return -log_prob.mean() / (math.log(2) * math.prod(maps.shape[1:]))

    def _cropped(self, maps: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The same crop of all maps, and its features as they are in the whole map."""
        side, crop = maps.shape[-1], self.crop
        margin = _BLOCK * self.context.radius
        inner, outer, inside = [], [], []
        for _ in range(2):
            start = _random_start(side, crop, generator)
            before = max(start - margin, 0)
            inner.append(slice(start, start + crop))
            outer.append(slice(before, start + crop + margin))
            first = (start - before) // _BLOCK
            inside.append(slice(first, first + crop // _BLOCK))
        around = self._features(averaged(maps[..., outer[0], outer[1]], 2))
        return maps[..., inner[0], inner[1]], around[..., inside[0], inside[1]]

    # ------------------------------------------------------------ samples

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        batch: int = 64,
        given: Given | None = None,
    ) -> Tensor:
        """Draw ``n`` κ-maps whose averages are the maps ``coarse``.

        Args:
            n: number of maps.
            generator: source of randomness; each map gets its own seed from it.
            batch: maps made at once, fewer if they are large; it changes the result by rounding
                only.
            given: ``coarse``, one map for each or one for all.

        Returns:
            κ, float32, shape ``(n, pixels, pixels)`` or ``(n, channels, pixels, pixels)``.
        """
        if n < 1:
            raise ValueError(f"the number of maps to draw must be positive, found {n}")
        coarse = self._checked_coarse(n, given)
        blocks = coarse.shape[-1] // 2
        pixels = self.channels * (_BLOCK * blocks) ** 2
        batch = max(1, min(batch, _AT_ONCE // pixels))
        noise = MapNoise(n, generator)
        like = self.transform.mean
        drawn = []
        for start in range(0, n, batch):
            part = slice(start, start + batch)
            z = noise[part]((12 * self.channels, blocks, blocks), like)
            drawn.append(self._maps(z, coarse[part].to(like.device)).float())
        return torch.cat(drawn)

    # ------------------------------------------------------------ checks

    def _checked(self, kappa: Tensor, given: Given | None) -> Tensor:
        """κ-maps as ``(batch, channels, n, n)``, if they fit the model and ``coarse``."""
        check_shape("a batch for this Details", kappa.shape, None, self.channels)
        side = kappa.shape[-1]
        if side % self.n:
            raise ValueError(
                f"this Details takes maps of {self.n}² pixels or a multiple of this side, "
                f"found {side}²"
            )
        maps = kappa.reshape(len(kappa), self.channels, side, side)
        if given is not None:
            found = averaged(maps, 2)
            missed = found - self._checked_coarse(len(maps), given)
            if missed.abs().max() > 1e-4 * found.abs().max():
                raise ValueError("coarse of this Details is not the average of its maps")
        return maps

    def _checked_coarse(self, count: int, given: Given | None) -> Tensor:
        """The coarser maps as ``(batch, channels, m, m)``."""
        expected = self.given
        values = checked_mapping("this Details", given).get("coarse")
        shape = getattr(values, "shape", ()) or (0,)
        if shape[-1] and shape[-1] % (self.n // 2) == 0:
            expected = self._given_at(shape[-1])
        coarse = check_given("this Details", expected, given, count)["coarse"]
        return coarse.reshape(count, self.channels, *coarse.shape[-2:])


def _log_normal(z: Tensor, log_det: Tensor) -> Tensor:
    """ln of the density that has the latent details z."""
    normal = -0.5 * (wide(z).square() + math.log(2 * math.pi))
    return normal.flatten(1).sum(1) + log_det


def _random_start(side: int, crop: int, generator: torch.Generator | None) -> int:
    """The first pixel of a crop. Crops that would leave the map are moved to its edge."""
    device = None
    if generator is not None:
        device = generator.device
    middle = int(torch.randint(side // _BLOCK + 1, (), generator=generator, device=device))
    start = _BLOCK * (middle - crop // (2 * _BLOCK))
    return min(max(start, 0), side - crop)


def _check_sides(n: int, crop: int | None) -> None:
    if n % _BLOCK or n < 16:
        raise ValueError(
            f"a level of details has maps whose side is a multiple of 4 from 16 on, found {n}"
        )
    if crop is None:
        return
    if crop > n:
        raise ValueError(f"a crop of {crop}² pixels is larger than the maps, {n}²")
    if crop % _BLOCK or crop < 16:
        raise ValueError(f"a crop has a multiple of 4 pixels a side from 16 on, found {crop}")
