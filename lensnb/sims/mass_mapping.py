"""Pairs for mass mapping: κ-maps, and what a survey of galaxy shapes sees of them.

The shear of a map is measured with noise where the sky was observed (:mod:`lensnb.shear`):

    γ_obs = M (γ + n₁ + i n₂),    σ(n₁) = σ(n₂) = σ_e / √(2 n_gal A_pix),

with M = 1 in the mask and 0 behind it. Its Kaiser–Squires map is linear in κ,

    c = F⁻¹[D* γ̃_obs] = κ − ⟨κ⟩ + white noise    (without a mask),

so it is the condition on which a :class:`lensnb.maps.ConditionalField` can rest. A mask mixes the
modes of c. It is a second condition, for the network:

    survey = ShearSurvey(n_gal_arcmin2=30, mask=mask)
    pairs = survey.pairs(load_sample("train"))
    field = ConditionalField.fit(transform(kappa), {KAISER_SQUIRES: pairs.given[KAISER_SQUIRES]})
    model = Diffusion(64, transform, field, conditions=Conditions.fit(pairs.given))
    fit(model, pairs, Settings(…, augment=partial(survey.renewed, side_deg=pairs.side_deg)))

The shear is that of a periodic map. True shear near the edges also comes from mass outside the
field. For data, make pairs of fields that are larger than the survey, and hide their rim with the
mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data import MapSet, random_symmetry
from ..given import Batch
from ..maps import MapGrid
from ..shear import kaiser_squires, shape_noise_sigma, shear

KAISER_SQUIRES = "kaiser_squires"
MASK = "mask"
_BATCH = 256  # maps at a time


@dataclass(frozen=True)
class ShearSurvey:
    """A survey that measures shear with shape noise.

    Attributes:
        n_gal_arcmin2: source galaxies per square arcminute.
        sigma_e: intrinsic ellipticity dispersion of both components together.
        mask: boolean, True where the sky was observed, shape ``(n, n)``; None: everywhere.

    Raises:
        ValueError: a density that is not positive, a negative dispersion, or a mask that is not
            boolean, not square, or hides everything.
    """

    n_gal_arcmin2: float
    sigma_e: float = 0.4
    mask: np.ndarray | None = None

    def __post_init__(self):
        if not self.n_gal_arcmin2 > 0 or not self.sigma_e >= 0:
            raise ValueError(
                "a survey has a positive n_gal_arcmin2 and a sigma_e that is not negative, found "
                f"{self.n_gal_arcmin2} and {self.sigma_e}"
            )
        if self.mask is None:
            return
        mask = np.asarray(self.mask)
        if mask.dtype != bool or mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
            raise ValueError(
                "a mask must be boolean, True where the sky was observed, of the shape (n, n); "
                f"found {mask.dtype} of the shape {mask.shape}"
            )
        if not mask.any():
            raise ValueError("the mask hides the whole field; expected True where it was observed")
        object.__setattr__(self, "mask", mask)

    def pairs(self, maps: MapSet, seed: int = 0) -> MapSet:
        """The set with what the survey sees of each map, as conditions.

        Args:
            maps: κ, of one channel or several, which then have one mask and independent noise.
            seed: of the noise.

        Returns:
            The set, with ``given["kaiser_squires"]``, float32 in the shape of the maps, and with
            a mask also ``given["mask"]``, 1 where the sky was observed, one for each map, so that
            both turn with their map.

        Raises:
            ValueError: a mask of another shape than the maps.
        """
        n = maps.grid.n
        seen = np.ones((n, n), bool)
        if self.mask is not None:
            seen = self.mask
        if seen.shape != (n, n):
            raise ValueError(
                f"the mask has the shape {seen.shape}; expected that of a map, ({n}, {n})"
            )
        generator = torch.Generator().manual_seed(seed)
        found = np.empty(maps.maps.shape, np.float32)
        seen = torch.from_numpy(seen)
        for start in range(0, len(maps), _BATCH):
            part = slice(start, start + _BATCH)
            kappa = maps[part].tensor()
            found[part] = self._seen(kappa, seen, maps.side_deg, generator).numpy()
        given = {KAISER_SQUIRES: found}
        if self.mask is not None:
            given[MASK] = np.broadcast_to(self.mask.astype(np.float32), (len(maps), n, n)).copy()
        return maps.with_given(**given)

    def renewed(self, batch: Batch, generator: torch.Generator, side_deg: float) -> Batch:
        """A batch of pairs under random symmetries and with new noise, for a training.

        As ``augment`` of :class:`lensnb.train.Settings`, so that no noise is seen twice.

        Args:
            batch: maps and conditions as by :meth:`pairs`.
            generator: source of randomness.
            side_deg: side of the field, degrees.
        """
        batch = random_symmetry(batch, generator)
        seen = batch.given.get(MASK)
        if seen is None:
            seen = torch.ones((), device=batch.maps.device)
        elif batch.maps.ndim == 4:
            seen = seen[:, None]
        new = self._seen(batch.maps, seen, side_deg, generator)
        return Batch(batch.maps, batch.given | {KAISER_SQUIRES: new})

    def _seen(
        self, kappa: Tensor, seen: Tensor, side_deg: float, generator: torch.Generator
    ) -> Tensor:
        """The Kaiser–Squires map of the measured shear, float32."""
        grid = MapGrid(kappa.shape[-1], side_deg)
        sigma = shape_noise_sigma(self.n_gal_arcmin2, self.sigma_e, grid)
        shape = (2, *kappa.shape)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(kappa.device)
        gamma = shear(kappa) + sigma * torch.complex(*noise.double())
        return kaiser_squires(gamma * seen, periodic=True)[0].float()
