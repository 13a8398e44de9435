"""A level of a cascade: any generator, trained by itself on κ-maps of any finer resolution.

The coarsest level has a model of whole maps, such as a :class:`~lensnb.models.Flow` of 16² pixels.
A finer level has a model whose only condition is ``coarse``, the averages of 2 × 2 pixels. This
can be :class:`~lensnb.models.Details` or :class:`~lensnb.models.DetailDiffusion`, which are
trained on crops and draw maps of any size, or a :class:`~lensnb.models.Diffusion` of whole maps
with that condition. The level averages κ-maps down to the resolution of its model, and makes the
condition itself. So

    level = Level.fit(maps, 64, "details", fine=True, crop=32)
    fit(level, maps, settings, folder="runs/level_64")

makes and trains one, and each level can be made, trained, saved and resumed in a process of its
own.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from ..given import Condition, Conditions, Given
from ..maps import BandField, fit_field
from ..maps.grid import check_shape, wide
from ..transform import KappaTransform
from .averages import averaged, repeated
from .contract import families, register
from .white_details import WhiteDetails

_ON_BANDS = ("flow", "trenf")  # families that can start from a field with band powers
_ENOUGH = 64  # maps, to measure the scatter of band powers


@register("level")
class Level(nn.Module):
    """One level of a :class:`~lensnb.models.Multiscale`.

    Args:
        model: a model of a registered family, without conditions or with ``coarse`` alone.
        maps: the κ-maps that it will be trained on, of its resolution or a finer one; their mean
            and scatter are stored, to know levels of the same maps. None for a checkpoint to fill.

    Attributes:
        n: pixels a side of the model.
        channels: channels of a map.
        fine: whether the model draws details for a coarser map.
        local: whether the model draws details for coarser maps of any size.

    Raises:
        ValueError: a model with other conditions, or of no registered family; maps that cannot be
            averaged to its pixels.
    """

    given: dict = {}

    def __init__(self, model: nn.Module, maps: Tensor | None = None):
        super().__init__()
        name = type(model).__name__
        if getattr(model, "family", None) not in families():
            raise ValueError(f"a level has a model of a registered family, found a {name}")
        needed = dict(model.given)
        self.fine = bool(needed)
        self.n = model.n
        self.channels = model.channels
        if self.fine and needed != {"coarse": self._coarse()}:
            raise ValueError(
                f"the model of a level has no condition, or only coarse with {self.n // 2}² "
                f"pixels; found a {name} with {', '.join(needed)}"
            )
        self.local = isinstance(model, WhiteDetails)
        self.config = {"family": model.family, "config": model.config}
        self.model = model
        # mean and scatter of the maps at the resolution of the level and at the coarser one
        self.register_buffer("pixels", torch.zeros(2, 2, dtype=torch.float64))
        if maps is not None:
            own = self.at_side(maps)
            both = [own]
            if self.fine:
                both.append(averaged(own, 2))
            for numbers, one in zip(self.pixels, both):
                numbers.copy_(torch.stack([wide(one).mean(), wide(one).std()]))

    @classmethod
    def fit(
        cls,
        maps: Tensor,
        side: int,
        family: str,
        fine: bool,
        crop: int | None = None,
        **options,
    ) -> Level:
        """An untrained level, in which all that needs no training is measured.

        The coarsest level has few modes, and the differences between surveys. So if it is a flow
        of one channel, it starts from a field whose band powers have the scatter of those of the
        maps, a :class:`~lensnb.maps.BandField`. Other levels start from a Gaussian field.

        Args:
            maps: the κ-maps that it will be trained on, or some hundred of them.
            side: pixels a side of the level, those of the maps or a divisor.
            family: name of a family of :mod:`lensnb.models` that starts from a κ transform and a
                Gaussian field, such as ``"flow"``, ``"trenf"`` or ``"diffusion"``; of a fine
                level also ``"details"`` or ``"detail-diffusion"``.
            fine: whether it draws details for a coarser map, as all levels but the coarsest do.
            crop: crops that a family of details is trained on; None for whole maps.
            options: further settings of the family.

        Raises:
            ValueError: an unknown family, one that cannot be such a level, or one that takes no
                crops.
        """
        model = checked_family(family, fine)
        own = _checked_average(maps, side)
        if issubclass(model, WhiteDetails):
            return cls(model.fit(own, crop=crop, **options), maps)
        if crop is not None:
            raise ValueError(
                f"a level by {family} is trained on whole maps; expected no crop, or details or "
                "detail-diffusion"
            )
        transform = KappaTransform.fit(own)
        field = fit_field(transform(own))
        if fine:
            options["conditions"] = Conditions.fit({"coarse": averaged(own, 2)})
        elif family in _ON_BANDS and own.ndim == 3 and len(own) >= _ENOUGH:
            field = BandField.fit(transform(own), field)
        return cls(model(side, transform, field, **options), maps)

    @classmethod
    def from_config(cls, config: dict) -> Level:
        """An untrained level of the same shape, for a checkpoint to fill."""
        return cls(families()[config["family"]].from_config(config["config"]))

    @property
    def transform(self) -> nn.Module | None:
        """The κ transform of the model."""
        return getattr(self.model, "transform", None)

    @property
    def optional(self) -> dict[str, Condition]:
        """What ``sample`` takes: the coarser maps, which a fine level needs."""
        return self.model.given

    def groups(self, lr: float) -> list[dict]:
        """The parameter groups of the model."""
        if hasattr(self.model, "groups"):
            return self.model.groups(lr)
        return [{"params": list(self.parameters())}]

    def _coarse(self) -> Condition:
        shape = (self.n // 2, self.n // 2)
        if self.channels > 1:
            shape = (self.channels, *shape)
        return Condition(shape, "map")

    # ------------------------------------------------------------ maps of this level

    def at_side(self, maps: Tensor, side: int | None = None) -> Tensor:
        """κ-maps averaged to ``side`` pixels, by default those of the model.

        Raises:
            ValueError: maps whose side is no multiple of it.
        """
        check_shape("the maps of this Level", maps.shape, None, self.channels)
        return _checked_average(maps, side or self.n)

    def _condition(self, maps: Tensor) -> dict[str, Tensor]:
        if not self.fine:
            return {}
        return {"coarse": averaged(maps, 2)}

    def loss(
        self,
        batch: Tensor,
        generator: torch.Generator | None = None,
        given: Given | None = None,
        side: int | None = None,
    ) -> Tensor:
        """The loss of the model for κ-maps of its resolution or a finer one.

        Args:
            batch: κ-maps.
            generator: source of randomness of the model's loss.
            given: no conditions; the contract has this argument.
            side: pixels a side to average the maps to, if not those of the model.
        """
        maps = self.at_side(batch, side)
        return self.model.loss(maps, generator, self._condition(maps))

    def losses(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> dict[str, Tensor]:
        """The parts of the loss of the model by name, such as that at some noise levels."""
        if not hasattr(self.model, "losses"):
            return {}
        maps = self.at_side(batch)
        return self.model.losses(maps, generator, self._condition(maps))

    def log_prob(self, kappa: Tensor, side: int | None = None) -> Tensor:
        """The exact ln p of the model, given the coarser map, in nats, float64, ``(batch,)``.

        Raises:
            ValueError: a model that has no such density.
        """
        family = self.model.family
        if not hasattr(self.model, "log_prob") or (self.fine and not self.local):
            raise ValueError(
                f"a level by {family} has no exact likelihood given the coarser map; expected "
                "details, and a coarsest level such as a flow"
            )
        maps = self.at_side(kappa, side)
        return self.model.log_prob(maps, given=self._condition(maps))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        batch: int = 64,
        given: Given | None = None,
    ) -> Tensor:
        """Draw ``n`` κ-maps of the resolution of this level.

        Maps of a fine level have exactly the averages that are given. Where a model only comes
        near, the same number is added to the four pixels.

        Args:
            n: number of maps.
            generator: source of randomness.
            batch: maps made at once; it changes the result by rounding only.
            given: for a fine level, ``coarse``: the averages.
        """
        maps = self.model.sample(n, generator, batch=batch, given=given)
        if not self.fine or self.local:  # the local ones keep the averages by construction
            return maps
        coarse = given["coarse"].to(maps)
        return maps + repeated(coarse - averaged(maps, 2))


def checked_family(family: str, fine: bool) -> type[nn.Module]:
    """The class of a family, if it can be a level.

    Args:
        family: its name.
        fine: whether the level draws details for a coarser map.

    Raises:
        ValueError: there is no such family, or it cannot be such a level.
    """
    known = families()
    if family not in known:
        raise ValueError(f"there is no family {family!r}; expected one of {', '.join(known)}")
    model = known[family]
    if issubclass(model, WhiteDetails):
        if not fine:
            raise ValueError(
                f"the coarsest level of a cascade cannot be {family}, which need a coarser map; "
                "expected a family such as flow, trenf or diffusion"
            )
        return model
    takes = inspect.signature(model).parameters
    if "transform" not in takes:
        raise ValueError(
            f"a level cannot be {family}; expected a family that starts from a κ transform and a "
            "Gaussian field, such as flow, trenf or diffusion"
        )
    if fine and "conditions" not in takes:
        raise ValueError(
            f"a level by {family} cannot be given a coarser map; expected details, "
            "detail-diffusion, or a family with conditions such as diffusion"
        )
    return model


def _checked_average(maps: Tensor, side: int) -> Tensor:
    """Maps averaged to ``side`` pixels, if their own side is a multiple of it."""
    found = maps.shape[-1]
    if found % side:
        raise ValueError(
            f"this Level averages maps to {side}² pixels; expected a multiple of this side, "
            f"found {found}²"
        )
    return averaged(maps, found // side)
