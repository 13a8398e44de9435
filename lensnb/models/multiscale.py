"""A cascade of scales: the coarsest map, then the details of each finer one.

    p(κ) = p(coarsest map) ∏_j p(details_j | map_j)

(Dai & Seljak 2024, arXiv:2306.04689, eq. 3; Yu, Derpanis & Brubaker 2020, arXiv:2010.13821). The
maps of a level are averages over 2 × 2 pixels of the next one. Each factor is a model of its own,
a :class:`~lensnb.models.levels.Level`. So the levels can be trained apart, and can be of different
families. If all of them are flows, the likelihood is exact, and it comes scale by scale.

    cascade = Multiscale.fit(maps, coarse=8, crop=64)   # untrained: Gaussian, scale by scale
    for level in cascade.levels:                        # or each in a process of its own
        for record in fit(level, maps, settings, folder=f"runs/level_{level.n}"): …
    cascade = Multiscale.join(cascade.levels)
    finer = cascade.refine(coarse_maps)                 # super-resolution by the fine levels alone
    wide = cascade.wider(coarsest, 2)                   # maps of twice the field

The command ``lensnb cascade`` does the first three steps for maps in files.

How far an untrained cascade is from the Gaussian field of its maps: the power of modes in bins
agrees within 3 %, because details are drawn from near pixels only. A fine level by
:class:`~lensnb.models.Diffusion` is different. It starts from its own Gaussian field, which does
not know the coarser map. Untrained, its power is 20 % too low on scales of the coarser map, and
40 % too high near the pixels of that map. So :class:`~lensnb.models.DetailDiffusion` is the
better start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..given import Condition, Given
from ..maps.grid import check_shape
from .averages import averaged
from .chosen_levels import check_crop, check_same_maps, checked_sides, crop_of, families_of
from .contract import check_batch, check_draw, register
from .levels import Level


@register("multiscale")
class Multiscale(nn.Module):
    """A coarsest level, and a level for each doubling of the resolution.

    Each level has twice as many pixels a side as the one before. A level of details may have been
    trained on smaller fields with pixels of the same size, whose side divides this one.

    Without a coarsest level, it is a model of κ given its averages: super-resolution.

    Args:
        levels: the levels, coarsest first.
        coarse: pixels a side of the averages that are given, if the first level needs some; by
            default those that it was trained with.

    Attributes:
        n: pixels a side of the finest maps.
        channels: channels of a map.
        sides: pixels a side at each level.
        scales: their names, finest first, as the terms of :meth:`log_prob_by_scale`.

    Raises:
        ValueError: levels that do not follow each other.
    """

    def __init__(self, levels: Sequence[Level], coarse: int | None = None):
        super().__init__()
        self.sides = checked_sides(levels, coarse)
        self.n = self.sides[-1]
        self.channels = levels[0].channels
        self.scales = tuple(f"{side}²" for side in reversed(self.sides))
        self.config = {"levels": [level.config for level in levels], "coarse": coarse}
        self.levels = nn.ModuleList(levels)

    @classmethod
    def fit(
        cls,
        maps: Tensor,
        coarse: int = 16,
        crop: int | None = None,
        families: Mapping[int, str] | None = None,
        **options,
    ) -> Multiscale:
        """An untrained cascade, in which all that needs no training is measured.

        Args:
            maps: the κ-maps that it will be trained on, or some hundred of them.
            coarse: pixels a side of the coarsest level.
            crop: crops that levels of details are trained on, see
                :class:`~lensnb.models.Details`; levels with no more pixels are trained on whole
                maps.
            families: names of families by the side of the level, see :meth:`Level.fit`. By
                default the coarsest level is a ``"flow"``, or with less than 16² pixels
                ``"trenf"``, and finer ones are ``"details"``.
            options: ``steps`` and ``hidden``, of all levels by ``"flow"`` or ``"details"``.

        Raises:
            ValueError: the side of the maps is not ``coarse`` times a power of two; a crop larger
                than the maps; a family that cannot be such a level, or for a side that is none of
                the cascade's.
        """
        check_shape("the set for a cascade", maps.shape)
        chosen = families_of(maps.shape[-1], coarse, families)
        check_crop(maps.shape[-1], crop)
        levels = []
        for side, family in chosen.items():
            own = {}
            if family in ("flow", "details"):
                own = options
            cropped = crop_of(side, family, crop)
            levels.append(Level.fit(maps, side, family, side > coarse, cropped, **own))
        return cls(levels)

    @classmethod
    def join(cls, levels: Sequence[Level], tolerance: float = 1e-3) -> Multiscale:
        """Put levels together that were trained apart.

        Args:
            levels: the levels, coarsest first, for example from :func:`lensnb.models.load`.
            tolerance: how far the maps of two neighbours may differ in the mean and the scatter
                of their pixels, in units of this scatter. Levels of different fields, such as a
                wider one, need more than the default.

        Raises:
            ValueError: levels that were trained on other maps than their neighbours, or do not
                follow each other.
        """
        cascade = cls(levels)
        check_same_maps(levels, tolerance)
        return cascade

    @classmethod
    def from_config(cls, config: dict) -> Multiscale:
        """An untrained model of the same shape, for a checkpoint to fill."""
        levels = [Level.from_config(level) for level in config["levels"]]
        return cls(levels, config.get("coarse"))

    @property
    def given(self) -> dict[str, Condition]:
        """The condition: the averages, ``coarse``, if there is no coarsest level."""
        if not self.levels[0].fine:
            return {}
        side = self.sides[0] // 2
        shape = (side, side)
        if self.channels > 1:
            shape = (self.channels, side, side)
        return {"coarse": Condition(shape, "map")}

    def groups(self, lr: float) -> list[dict]:
        """The parameter groups of all levels."""
        return [group for level in self.levels for group in level.groups(lr)]

    # ------------------------------------------------------------ other cascades of its levels

    def fine_levels(self, times: int, coarse: int | None = None) -> Multiscale:
        """The finest levels alone, a model of κ given its averages ``coarse``.

            finer = cascade.fine_levels(4)
            draw(finer, len(maps), "fine.zarr", given={"coarse": maps}, side_deg=5)

        Args:
            times: how many times as many pixels a side its maps have as the averages, a power of
                two.
            coarse: pixels a side of the averages; by default those of this cascade. Levels of
                details take averages of larger fields too.

        Raises:
            ValueError: ``times`` is no such number, or the levels do not take these averages.
        """
        fine = [level for level in self.levels if level.fine]
        allowed = [2**number for number in range(1, len(fine) + 1)]
        if times not in allowed:
            expected = ", ".join(map(str, allowed)) or "no number of"
            raise ValueError(
                f"the fine levels of this Multiscale make maps {expected} times as fine, found "
                f"{times}"
            )
        number = allowed.index(times) + 1
        return Multiscale(fine[-number:], coarse or self.n // times)

    def wider(self, coarsest: Level, times: int, tolerance: float = 0.1) -> Multiscale:
        """A cascade of a wider field: its coarsest level, and the fine levels of this one.

        Args:
            coarsest: a level of the wider field, with pixels as large as those of a level here.
            times: how many times as wide its field is.
            tolerance: see :meth:`join`; two sets of maps have some scatter.

        Raises:
            ValueError: the levels do not follow each other, or are not of the same pixels.
        """
        finer = [
            level
            for level, side in zip(self.levels, self.sides)
            if level.fine and times * side > coarsest.n
        ]
        return Multiscale.join([coarsest, *finer], tolerance)

    # ------------------------------------------------------------ density

    def log_prob(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """ln p(κ) in nats, float64, shape ``(batch,)``.

        Raises:
            ValueError: a level has no exact likelihood.
        """
        return self.log_prob_by_scale(kappa, given).sum(-1)

    def log_prob_by_scale(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """ln p(κ) as a sum over the levels: details given the coarser map, and the coarsest map.

        Args:
            kappa: κ-maps.
            given: the condition, if the model has one.

        Returns:
            In nats, float64, shape ``(batch, levels)``, finest level first, as in
            :meth:`lensnb.models.Flow.log_prob_by_scale`; the names are ``scales``. The sum is
            :meth:`log_prob`.
        """
        self._check(kappa, given)
        terms = [level.log_prob(kappa, side) for level, side in zip(self.levels, self.sides)]
        return torch.stack(terms[::-1], -1)

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """The losses of all levels, weighted by their pixels, a scalar.

        If all levels are flows, these are bits per dimension of κ-maps (with crops, an estimate).
        """
        self._check(batch, given)
        total = 0.0
        for level, side in zip(self.levels, self.sides):
            share = (side / self.n) ** 2
            total = total + share * level.loss(batch, generator, side=side)
        return total

    def _check(self, maps: Tensor, given: Given | None) -> None:
        """Refuse maps that do not fit, or whose averages are not those that are given."""
        known = check_batch(self, maps, given)
        for coarse in known.values():
            found = averaged(maps, maps.shape[-1] // coarse.shape[-1])
            if (found - coarse).abs().max() > 1e-4 * found.abs().max():
                raise ValueError("coarse of this Multiscale is not the average of its maps")

    # ------------------------------------------------------------ samples

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        batch: int = 64,
        given: Given | None = None,
    ) -> Tensor:
        """Draw ``n`` κ-maps, from the coarsest level to the finest.

        Args:
            n: number of maps.
            generator: source of randomness; each level gets its own seed from it.
            batch: maps made at once; it changes the result by rounding only.
            given: the condition, if the model has one.

        Returns:
            κ, float32, shape ``(n, pixels, pixels)`` or ``(n, channels, pixels, pixels)``.
        """
        known = check_draw(self, n, given)
        levels = list(zip(self.levels, self._generators(generator)))
        if known:
            maps = known["coarse"]
        else:
            level, own = levels.pop(0)
            maps = level.sample(n, own, batch)
        for level, own in levels:
            maps = level.sample(n, own, batch, {"coarse": maps})
        return maps

    @torch.no_grad()
    def refine(
        self,
        coarse: Tensor,
        generator: torch.Generator | None = None,
        batch: int = 64,
        times: int | None = None,
    ) -> Tensor:
        """κ-maps whose averages are given maps, by the fine levels alone: super-resolution.

        Args:
            coarse: κ-maps ``(maps, m, m)`` or ``(maps, channels, m, m)``, with the pixels of a
                level; of a wider field if the levels are details.
            generator: source of randomness; each level gets its own seed from it.
            batch: maps made at once; it changes the result by rounding only.
            times: how many times as fine the maps become; by default so many that they have as
                many pixels as those of this cascade.

        Returns:
            κ, float32, shape ``(maps, pixels, pixels)`` or ``(maps, channels, pixels, pixels)``.

        Raises:
            ValueError: maps whose side is that of no level, or of the finest one.
        """
        check_shape("the coarse maps for this Multiscale", coarse.shape, None, self.channels)
        side = coarse.shape[-1]
        if times is None:
            if side not in self.sides[:-1]:
                expected = ", ".join(map(str, self.sides[:-1]))
                raise ValueError(
                    f"this Multiscale refines maps of {expected} pixels a side, found {side}; "
                    "maps of a wider field need times"
                )
            times = self.n // side
        finer = self.fine_levels(times, side)
        return finer.sample(len(coarse), generator, batch, {"coarse": coarse})

    def _generators(self, generator: torch.Generator | None) -> list[torch.Generator]:
        """A generator for each level, so that its noise does not depend on the others.

        The finest level gets the first seed, so coarser levels may be left out.
        """
        device = None
        if generator is not None:
            device = generator.device
        found = []
        for _ in self.levels:
            seed = int(torch.randint(2**62, (), generator=generator, device=device))
            found.append(torch.Generator().manual_seed(seed))
        return found[::-1]
