"""A cascade of scales: the coarsest map, then the details of each finer one.

    p(κ) = p(coarsest map) ∏_j p(details_j | map_j)

(Dai & Seljak 2024, arXiv:2306.04689, eq. 3; Yu, Derpanis & Brubaker 2020, arXiv:2010.13821). The
maps of a level are averages over 2 × 2 pixels of the next one. Each factor is a model of its own,
a :class:`~lensnb.models.levels.Level`. So the levels can be trained apart, and can be of different
families. If all of them are flows, the likelihood is exact, and it comes scale by scale.

    cascade = Multiscale.fit(maps)                    # untrained: Gaussian, scale by scale
    for level in cascade.levels:                      # or each in a process of its own
        for record in fit(level, maps, settings, folder=f"runs/level_{level.n}"): …
    cascade = Multiscale.join(cascade.levels)
    finer = cascade.refine(coarse_maps)               # super-resolution by the fine levels alone
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..given import Given
from ..maps import fit_field
from ..maps.grid import check_shape
from ..transform import KappaTransform
from .averages import averaged
from .contract import check_batch, check_draw, families, register
from .levels import Level


@register("multiscale")
class Multiscale(nn.Module):
    """A coarsest level, and a level for each doubling of the resolution.

    Each level has twice as many pixels a side as the one before. A level of details may have been
    trained on smaller fields with pixels of the same size, whose side divides this one.

    Args:
        levels: the levels, coarsest first.

    Attributes:
        n: pixels a side of the finest maps.
        channels: channels of a map.
        sides: pixels a side at each level.
        given: the conditions that the model needs: none.

    Raises:
        ValueError: levels that do not follow each other.
    """

    given: dict = {}

    def __init__(self, levels: Sequence[Level]):
        super().__init__()
        _check_levels(levels)
        first = levels[0]
        self.sides = [first.n * 2**number for number in range(len(levels))]
        self.n = self.sides[-1]
        self.channels = first.channels
        self.config = {"levels": [level.config for level in levels]}
        self.levels = nn.ModuleList(levels)

    @classmethod
    def fit(cls, maps: Tensor, coarse: int = 16, crop: int | None = None, **options) -> Multiscale:
        """An untrained cascade, in which all that needs no training is measured.

        Args:
            maps: the κ-maps that it will be trained on, or some hundred of them.
            coarse: pixels a side of the coarsest level, a :class:`~lensnb.models.Flow`.
            crop: crops that finer levels are trained on, see :class:`~lensnb.models.Details`;
                levels with fewer pixels are trained on whole maps.
            options: ``steps`` and ``hidden``, of all levels.

        Raises:
            ValueError: the side of the maps is not ``coarse`` times a power of two.
        """
        check_shape("the set for a cascade", maps.shape)
        n = maps.shape[-1]
        factor = n // coarse
        if n != coarse * factor or factor < 2 or factor & (factor - 1):
            raise ValueError(
                f"a cascade from {coarse}² pixels has maps of {2 * coarse}², {4 * coarse}², … "
                f"pixels, found {n}²"
            )
        own = averaged(maps, factor)
        transform = KappaTransform.fit(own)
        flow = families()["flow"](coarse, transform, fit_field(transform(own)), **options)
        levels = [Level(flow, maps)]
        side = 2 * coarse
        while side <= n:
            cropped = None
            if crop is not None and crop < side:
                cropped = crop
            own = averaged(maps, n // side)
            model = families()["details"].fit(own, crop=cropped, **options)
            levels.append(Level(model, maps))
            side *= 2
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
        for level, finer in zip(levels, levels[1:]):
            own, known = level.pixels[0], finer.pixels[1]
            if not ((own - known).abs() <= tolerance * own[1]).all():
                raise ValueError(
                    f"the level of {level.n}² pixels was trained on maps with κ = "
                    f"{_words(own)}, and the one of {finer.n}² on maps with {_words(known)} at "
                    "these pixels; expected levels of the same maps"
                )
        return cascade

    @classmethod
    def from_config(cls, config: dict) -> Multiscale:
        """An untrained model of the same shape, for a checkpoint to fill."""
        return cls([Level.from_config(level) for level in config["levels"]])

    def groups(self, lr: float) -> list[dict]:
        """The parameter groups of all levels."""
        return [group for level in self.levels for group in level.groups(lr)]

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
            given: no conditions; the contract has this argument.

        Returns:
            In nats, float64, shape ``(batch, levels)``, finest level first, as in
            :meth:`lensnb.models.Flow.log_prob_by_scale`. The sum is :meth:`log_prob`.
        """
        check_batch(self, kappa, given)
        terms = [level.log_prob(kappa, side) for level, side in zip(self.levels, self.sides)]
        return torch.stack(terms[::-1], -1)

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """The losses of all levels, weighted by their pixels, a scalar.

        If all levels are flows, these are bits per dimension of κ-maps (with crops, an estimate).
        """
        check_batch(self, batch, given)
        total = 0.0
        for level, side in zip(self.levels, self.sides):
            share = (side / self.n) ** 2
            total = total + share * level.loss(batch, generator, side=side)
        return total

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
            given: no conditions; the contract has this argument.

        Returns:
            κ, float32, shape ``(n, pixels, pixels)`` or ``(n, channels, pixels, pixels)``.
        """
        check_draw(self, n, given)
        generators = self._generators(generator)
        maps = self.levels[0].sample(n, generators[0], batch)
        return self._refined(maps, 0, generators, batch)

    @torch.no_grad()
    def refine(
        self, coarse: Tensor, generator: torch.Generator | None = None, batch: int = 64
    ) -> Tensor:
        """κ-maps of the finest level whose averages are given maps: super-resolution.

        Args:
            coarse: κ-maps with the pixels of a level, ``(maps, m, m)`` or ``(maps, channels, m,
                m)``.
            generator: source of randomness; each level gets its own seed from it.
            batch: maps made at once; it changes the result by rounding only.

        Returns:
            κ, float32, shape ``(maps, pixels, pixels)`` or ``(maps, channels, pixels, pixels)``.

        Raises:
            ValueError: maps whose side is that of no level, or of the finest one.
        """
        check_shape("the coarse maps for this Multiscale", coarse.shape, None, self.channels)
        side = coarse.shape[-1]
        if side not in self.sides[:-1]:
            expected = ", ".join(map(str, self.sides[:-1]))
            raise ValueError(
                f"this Multiscale refines maps of {expected} pixels a side, found {side}"
            )
        return self._refined(coarse, self.sides.index(side), self._generators(generator), batch)

    def _refined(
        self, maps: Tensor, reached: int, generators: list[torch.Generator], batch: int
    ) -> Tensor:
        """The maps of level ``reached`` with the details of all finer ones."""
        for level, own in zip(self.levels[reached + 1 :], generators[reached + 1 :]):
            maps = level.sample(len(maps), own, batch, {"coarse": maps})
        return maps

    def _generators(self, generator: torch.Generator | None) -> list[torch.Generator]:
        """A generator for each level, so that its noise does not depend on the others."""
        device = None
        if generator is not None:
            device = generator.device
        seeds = torch.randint(2**62, (len(self.levels),), generator=generator, device=device)
        return [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]


def _check_levels(levels: Sequence[Level]) -> None:
    """Refuse levels of which a cascade cannot be made."""
    if not levels or not all(isinstance(level, Level) for level in levels):
        found = ", ".join(type(level).__name__ for level in levels) or "none"
        raise ValueError(f"a cascade has levels of the class Level, found {found}")
    if levels[0].fine or not all(level.fine for level in levels[1:]):
        raise ValueError(
            "a cascade begins with the one level that needs no coarser map; found levels of "
            + ", ".join(f"{level.n}² by {level.model.family}" for level in levels)
        )
    if len({level.channels for level in levels}) > 1:
        found = ", ".join(str(level.channels) for level in levels)
        raise ValueError(f"the levels of a cascade have the same channels, found {found}")
    side = levels[0].n
    for level in levels[1:]:
        side *= 2
        wider = level.model.family == "details" and side % level.n == 0
        if level.n != side and not wider:
            raise ValueError(
                f"a level of {level.n}² pixels cannot follow one of {side // 2}²; expected "
                f"{side}², or details of a divisor of {side}"
            )


def _words(pixels: Tensor) -> str:
    mean, scatter = pixels.tolist()
    return f"{mean:.3e} ± {scatter:.3e}"
