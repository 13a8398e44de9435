"""What a survey does to maps before they are measured: shape noise, mask and smoothing.

With κ a map, n white Gaussian noise, M the mask (1 where the sky was observed) and G a Gaussian of
the standard deviation ``smooth``, what is measured is

    κ_obs = M · G ∗ [M · (κ + n)],   σ_n² = σ_e² / (2 n_gal A_pix)   (van Waerbeke 2000, eq. 8).

So nothing behind the mask enters, and hidden pixels are zero: that is what the statistics make of
them (:mod:`lensnb.stats`), and statistics without a mask treat all sets alike. All sets get the
same treatment, each with noise of its own. It depends on the seed and on the name of the set, and
not on the other sets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..data import MapSet
from ..maps import MapGrid
from ..maps import smooth as smoothed
from ..shear import add_shape_noise, shape_noise_sigma
from ..stats import Statistic
from .sets import TRUTH, FiniteMaps

_BATCH = 256  # maps that are changed at a time


@dataclass(frozen=True)
class ShapeNoise:
    """The galaxies of a survey, whose random shapes are noise (:mod:`lensnb.shear`).

    Attributes:
        n_gal_arcmin2: source galaxies per square arcminute; with several channels (source bins) a
            number for each, or one that holds for each.
        sigma_e: intrinsic ellipticity dispersion of both components together.

    Raises:
        ValueError: a density that is not positive, or a negative dispersion.
    """

    n_gal_arcmin2: float | Sequence[float]
    sigma_e: float = 0.4

    def __post_init__(self):
        for density in np.atleast_1d(self.n_gal_arcmin2):
            if not 0 < density < math.inf:
                raise ValueError(
                    "n_gal_arcmin2 must be positive, in galaxies per square arcminute, "
                    f"found {density}"
                )
        if not 0 <= self.sigma_e < math.inf:
            raise ValueError(f"sigma_e must not be negative, found {self.sigma_e}")

    def densities(self, channels: int) -> list[float]:
        """Galaxies per square arcminute of each channel.

        Raises:
            ValueError: another number of densities than of channels.
        """
        several = [float(density) for density in np.atleast_1d(self.n_gal_arcmin2)]
        if len(several) == 1:
            several = several * channels
        if len(several) != channels:
            raise ValueError(
                f"maps of {channels} channels need one n_gal_arcmin2 or {channels}, "
                f"found {len(several)}"
            )
        return several


@dataclass(frozen=True)
class Survey:
    """Shape noise, mask and smoothing for maps of one grid.

    Attributes:
        grid: of the maps.
        smooth: standard deviation of the Gaussian, arcminutes; 0: none.
        noise: the galaxies; None: no noise.
        densities: galaxies per square arcminute of each channel; empty without noise.
        mask: True where the sky was observed, shape ``(n, n)``; None: everywhere.
        seed: of the noise.
    """

    grid: MapGrid
    smooth: float = 0.0
    noise: ShapeNoise | None = None
    densities: Sequence[float] = ()
    mask: Tensor | None = None
    seed: int = 0

    @classmethod
    def of(
        cls,
        truth: MapSet,
        smooth: float = 0.0,
        noise: ShapeNoise | None = None,
        mask: Tensor | np.ndarray | None = None,
        seed: int = 0,
    ) -> Survey:
        """Check what was asked for.

        Raises:
            ValueError: a smoothing that is negative or wider than the field; a mask that is not
                boolean, has another shape than a map, or hides everything; another number of
                densities than of channels.
            TypeError: the noise is not a :class:`ShapeNoise`.
        """
        grid = truth.grid
        _check_smoothing(smooth, grid)
        densities: list[float] = []
        if noise is not None:
            if not isinstance(noise, ShapeNoise):
                raise TypeError(
                    "noise must be a ShapeNoise(n_gal_arcmin2, sigma_e), "
                    f"found {type(noise).__name__}"
                )
            densities = noise.densities(truth.channels)
        return cls(grid, float(smooth), noise, densities, _checked_mask(mask, grid), seed)

    @property
    def changes(self) -> bool:
        """Whether it changes any map."""
        return bool(self.smooth) or self.noise is not None or self.mask is not None

    def of_sets(self, sets: Mapping[str, FiniteMaps]) -> dict[str, FiniteMaps]:
        """All sets as the survey sees them; each keeps its maps as they were given."""
        if not self.changes:
            return dict(sets)
        return {
            name: replace(one, maps=self.observe(one.maps, name), before_survey=one.maps)
            for name, one in sets.items()
        }

    def observe(self, maps: Tensor, name: str) -> Tensor:
        """Maps as the survey sees them, some at a time.

        Args:
            maps: κ, float32, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            name: of the set, which decides its noise together with the seed.
        """
        generator = _generator(self.seed, name)
        found = torch.empty_like(maps)
        for some, into in zip(maps.split(_BATCH), found.split(_BATCH)):
            observed = self._masked(self._noisy(some, generator))
            observed = smoothed(observed, self.smooth, self.grid.side_deg)
            into.copy_(self._masked(observed))
        return found

    def before(self, statistics: Mapping[str, Statistic]) -> dict[str, Statistic]:
        """The statistics of what the survey makes of maps, to measure how they respond to κ.

        The noise is the same at each call, so that it cancels in differences.
        """
        if not self.changes:
            return dict(statistics)
        return {
            name: replace(one, function=partial(self._measured, one.function))
            for name, one in statistics.items()
        }

    def _measured(self, function, maps: Tensor) -> Tensor:
        return function(self.observe(maps, TRUTH))

    def _noisy(self, maps: Tensor, generator: torch.Generator) -> Tensor:
        if self.noise is None:
            return maps
        channels = [maps]
        if maps.ndim == 4:
            channels = maps.unbind(1)
        noisy = [
            add_shape_noise(one, self.grid.side_deg, density, self.noise.sigma_e, generator)
            for one, density in zip(channels, self.densities)
        ]
        if maps.ndim == 4:
            return torch.stack(noisy, 1)
        return noisy[0]

    def _masked(self, maps: Tensor) -> Tensor:
        if self.mask is None:
            return maps
        return torch.where(self.mask, maps, 0)

    def remark(self) -> str:
        """What was done to the maps, in a sentence; empty if nothing was."""
        parts = []
        if self.noise is not None:
            density = ", ".join(f"{one:g}" for one in self.densities)
            sigmas = [
                shape_noise_sigma(one, self.noise.sigma_e, self.grid) for one in self.densities
            ]
            level = ", ".join(f"{sigma:.2g}" for sigma in sigmas)
            parts.append(
                f"shape noise of {density} galaxies per arcmin² with σ_e = {self.noise.sigma_e:g} "
                f"({level} in a pixel)"
            )
        if self.mask is not None:
            hidden = 1 - float(self.mask.double().mean())
            parts.append(f"a mask that hides {hidden:.1%} of the pixels, which are zero")
        if self.smooth:
            parts.append(f"smoothing with a Gaussian of {self.smooth:g}′")
        if not parts:
            return ""
        return (
            f"All sets alike: {'; '.join(parts)}. "
            "Copies (item 7) are searched in the maps as they were given."
        )


def _generator(seed: int, name: str) -> torch.Generator:
    """The noise of a set: other names and other seeds give other numbers."""
    state = np.random.SeedSequence([seed, *name.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def _check_smoothing(smooth: float, grid: MapGrid) -> None:
    width = 60 * grid.side_deg
    if not 0 <= smooth < math.inf:
        raise ValueError(
            f"smooth must be a standard deviation in arcminutes, not negative, found {smooth}"
        )
    if smooth > width:
        raise ValueError(
            f"smooth = {smooth:g}′ is wider than the field of {width:g}′; "
            "expected a standard deviation in arcminutes that is smaller"
        )


def _checked_mask(mask: Tensor | np.ndarray | None, grid: MapGrid) -> Tensor | None:
    """The mask as a tensor; None if nothing is hidden."""
    if mask is None:
        return None
    mask = torch.as_tensor(mask).cpu()
    if mask.dtype != torch.bool:
        raise ValueError(
            f"a mask must be boolean, True where the sky was observed; found {mask.dtype}"
        )
    if mask.shape != (grid.n, grid.n):
        raise ValueError(
            f"the mask has the shape {tuple(mask.shape)}; "
            f"expected that of a map, ({grid.n}, {grid.n})"
        )
    if not mask.any():
        raise ValueError("the mask hides the whole field; expected True where it was observed")
    if mask.all():
        return None
    return mask
