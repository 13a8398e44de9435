"""The details of κ-maps given the averages of 2 × 2 pixels, as noise that is nearly white.

Notation: c is the coarser map, b are its details (:mod:`lensnb.models.averages`). The linear part
of what c says about b is known without a network
(:class:`~lensnb.models.local_gaussian.LocalGaussian`). What it leaves open are the *white details*

    w = L⁻¹ (b − W (c, b)),

white noise if the transformed maps are a Gaussian field. ``WhiteDetails`` goes from κ to
(c, w) and back. Each family of a fine level is a model of w given features of c:
:class:`~lensnb.models.details.Details` a flow, and
:class:`~lensnb.models.detail_diffusion.DetailDiffusion` a diffusion model. Both start silent, so
an untrained one is the Gaussian conditional.

All parts see near pixels only. So a level can be trained on crops, and draw maps of larger fields.
The rim of a crop, where pixels are missing that a whole map has, does not count in the loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..given import Condition, Given, check_given, checked_mapping
from ..maps.grid import check_shape, wide
from ..samplers import MapNoise
from ..transform import KappaTransform
from .averages import averaged, joined, split
from .contract import channels_of
from .crops import BLOCK, check_sides, random_start, without_rim
from .local_gaussian import REACH, LocalGaussian, folded, unfolded
from .local_nets import ContextNet
from .tiles import by_tiles

_MEASURED = 2**23  # pixels that are enough to measure a Gaussian conditional
_AT_ONCE = 2**20  # pixels of the maps that are drawn at once, which need some hundred megabytes


class WhiteDetails(nn.Module):
    """What all models of details have in common: κ to white details and back, crops, and drawing.

    A family of it has ``_from_noise(z, features)``, which makes white details from white noise,
    and ``config``.

    Args:
        n: pixels a side of the maps that it is trained on, a multiple of 4 from 16 on.
        transform: the κ transform, fitted to maps of this resolution; None for one to fill.
        base: the Gaussian conditional, fitted to the *transformed* maps; None for white details.
        features: features of the coarser map.
        crop: train on crops with this number of pixels a side; None for whole maps. The features
            also see the coarser map around a crop.

    Attributes:
        channels: channels of a map.
        given: the condition ``coarse``, the averages of 2 × 2 pixels. Maps and averages may have
            any multiple of their number of pixels a side.

    Raises:
        ValueError: a side or a crop that is no such multiple, a crop larger than the maps, or
            parts with different channels.
    """

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None,
        base: LocalGaussian | None,
        features: int,
        crop: int | None,
    ):
        super().__init__()
        check_sides(n, crop)
        self.n = n
        self.channels = channels_of("level of details", transform=transform, base=base)
        self.crop = crop
        if transform is None:
            transform = KappaTransform.blank(self.channels)
        if base is None:
            base = LocalGaussian(self.channels)
        self.transform = transform
        self.base = base
        self.context = ContextNet(4 * self.channels, features)

    @classmethod
    def fit(cls, maps: Tensor, **options) -> WhiteDetails:
        """An untrained model, whose transform and Gaussian conditional are measured.

        Args:
            maps: κ at the resolution of this level, ``(maps, n, n)`` or ``(maps, channels, n,
                n)``.
            options: ``crop`` and the other arguments of the class.
        """
        check_shape("the set for a level of details", maps.shape)
        check_sides(maps.shape[-1], options.get("crop"))
        transform = KappaTransform.fit(maps)
        if maps.ndim == 3:
            maps = maps[:, None]
        enough = -(-_MEASURED // maps[0].numel())
        few = maps[:: max(1, len(maps) // enough)]
        parts = split(transform, wide(few))
        base = LocalGaussian.fit(transform(parts.coarse), parts.bands)
        return cls(maps.shape[-1], transform, base, **options)

    @classmethod
    def from_config(cls, config: dict) -> WhiteDetails:
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

    # ------------------------------------------------------------ white details

    def _whitened(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """κ → white details ``(batch, 12 channels, r, s)``, and ln |det| of each block.

        Both in float64.
        """
        parts = split(self.transform, maps)
        x = folded(self.transform(parts.coarse))
        white, log_det = self.base.to_noise(x, folded(parts.bands))
        return white, log_det + 4 * averaged(parts.log_det, 2)

    def _features(self, coarse: Tensor) -> Tensor:
        """Features of coarser maps ``(batch, channels, r, s)``, a pixel for each block."""
        x = self.transform(coarse) - self.base.mean.to(coarse)[:, None, None]
        return by_tiles(self.context, self.context.radius, folded(x).to(self._dtype()))

    def _dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.context.first.weight.dtype

    def _from_noise(self, z: Tensor, features: Tensor) -> Tensor:
        """White noise → white details, given features of the coarser map."""
        raise NotImplementedError

    def _maps(self, z: Tensor, coarse: Tensor) -> Tensor:
        """White noise → κ-maps, float64."""
        white = self._from_noise(z.to(self._dtype()), self._features(coarse))
        blocks = F.pixel_unshuffle(wide(coarse), 2)
        bands = by_tiles(self._bands, REACH, blocks, wide(white))
        maps = F.pixel_shuffle(by_tiles(self._joined, 0, blocks, bands), BLOCK)
        if self.channels == 1:
            return maps[:, 0]
        return maps

    def _bands(self, coarse: Tensor, white: Tensor) -> Tensor:
        """Details in blocks, from coarser pixels in blocks."""
        x = folded(self.transform(F.pixel_shuffle(coarse, 2)))
        return self.base.to_data(x, white)

    def _joined(self, coarse: Tensor, bands: Tensor) -> Tensor:
        """Pixels in blocks, from coarser pixels and details in blocks."""
        maps = joined(self.transform, F.pixel_shuffle(coarse, 2), unfolded(bands))
        return F.pixel_unshuffle(maps, BLOCK)

    # ------------------------------------------------------------ crops

    def _part(
        self, maps: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, tuple[slice, slice]]:
        """What the loss is computed from: maps, their features, and the blocks that count.

        With ``crop`` it is the same crop of all maps, with its features as they are in the whole
        map. Near its rim, a crop lacks pixels that the whole map has, so the rim does not count.
        """
        if self.crop is None:
            return maps, self._features(averaged(maps, 2)), (slice(None), slice(None))
        side, crop = maps.shape[-1], self.crop
        margin = BLOCK * self.context.radius
        inner, outer, inside, counted = [], [], [], []
        for _ in range(2):
            start = random_start(side, crop, generator)
            before = max(start - margin, 0)
            inner.append(slice(start, start + crop))
            outer.append(slice(before, start + crop + margin))
            first = (start - before) // BLOCK
            inside.append(slice(first, first + crop // BLOCK))
            counted.append(without_rim(start, crop, side))
        around = self._features(averaged(maps[..., outer[0], outer[1]], 2))
        part = maps[..., inner[0], inner[1]]
        return part, around[..., inside[0], inside[1]], tuple(counted)

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

        Memory does not grow with the number of maps, nor, beyond some copies of one map, with
        their pixels: large maps are made in tiles, which leave no trace.

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
        pixels = self.channels * (BLOCK * blocks) ** 2
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
        name = type(self).__name__
        check_shape(f"a batch for this {name}", kappa.shape, None, self.channels)
        side = kappa.shape[-1]
        if side % self.n:
            raise ValueError(
                f"this {name} takes maps of {self.n}² pixels or a multiple of this side, "
                f"found {side}²"
            )
        maps = kappa.reshape(len(kappa), self.channels, side, side)
        if given is not None:
            found = averaged(maps, 2)
            missed = found - self._checked_coarse(len(maps), given)
            if missed.abs().max() > 1e-4 * found.abs().max():
                raise ValueError(f"coarse of this {name} is not the average of its maps")
        return maps

    def _checked_coarse(self, count: int, given: Given | None) -> Tensor:
        """The coarser maps as ``(batch, channels, m, m)``."""
        name = f"this {type(self).__name__}"
        expected = self.given
        values = checked_mapping(name, given).get("coarse")
        shape = getattr(values, "shape", ()) or (0,)
        if shape[-1] and shape[-1] % (self.n // 2) == 0:
            expected = self._given_at(shape[-1])
        coarse = check_given(name, expected, given, count)["coarse"]
        return coarse.reshape(count, self.channels, *coarse.shape[-2:])
