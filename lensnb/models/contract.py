"""What a generator must have: the contract, the registry of families, and the shared checks.

A family is a class in a file of this folder, with one import line in ``__init__``. It is a
``torch.nn.Module`` with

* ``n``, ``channels``, ``given``: pixels a side, number of channels, and the conditions that it
  needs by name (:class:`lensnb.given.Condition`);
* ``config``: plain JSON values, and ``from_config(config)``, which makes from them an untrained
  model of the same shape, for a checkpoint to fill;
* ``loss(batch, generator=None, given=None)``: a scalar to minimise, for κ-maps ``(batch, n, n)``
  or ``(batch, channels, n, n)`` and their conditions;
* ``sample(n, generator=None, given=None)``: κ-maps, float32;
* if it can be given more than ``given`` for ``sample``, ``optional``: these conditions by name;
* if it draws conditions of its own, ``realised(maps, generator)``: the numbers that maps of
  ``sample`` were given, and those that they have (:class:`lensnb.given.Realised`);
* if its loss has parts that are worth following, ``losses(batch, generator, given)``: scalars by
  name, such as the loss at some noise levels; records have those of held-out maps;
* if it has a density, ``log_prob(maps)``; flows also have ``to_noise`` and ``to_data``.

A family may also decide how it is trained. :mod:`lensnb.train` looks for

* ``groups(lr)``: the parameter groups of its optimiser, as ``torch.optim.Adam`` takes them. The
  gradient of each group is clipped separately;
* ``averaged()``: the names of the parameters that are averaged. The others keep their last values;
* ``validates_with_gradients = True``: its loss takes gradients with respect to maps, for example
  for a gradient penalty, and does so for held-out maps as well.

:class:`lensnb.maps.GaussianField` and :class:`lensnb.maps.LognormalField` also obey the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..given import Given, check_given
from ..maps import BandField, CutOutField, GaussianField, GaussianModes
from ..maps.grid import check_shape

_FAMILIES: dict[str, type[nn.Module]] = {}


def register(name: str) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Class decorator that registers a family under a name, which is stored in its checkpoints.

    A newer definition of the same class replaces the older one, so a cell can be run again.

    Raises:
        ValueError: another class has this name.
    """

    def put(model: type[nn.Module]) -> type[nn.Module]:
        known = _FAMILIES.get(name, model)
        if (known.__module__, known.__qualname__) != (model.__module__, model.__qualname__):
            raise ValueError(f"there is a family {name!r} already: {known.__name__}")
        model.family = name
        _FAMILIES[name] = model
        return model

    return put


def families() -> dict[str, type[nn.Module]]:
    """The families by name."""
    return dict(_FAMILIES)


def check_batch(model: nn.Module, maps: Tensor, given: Given | None = None) -> dict[str, Tensor]:
    """Refuse maps or conditions that do not fit a model. All families use this check.

    Args:
        model: the model that they are for.
        maps: κ-maps.
        given: their conditions.

    Returns:
        The conditions, with one value for each map.

    Raises:
        ValueError: maps of another size or number of channels; a condition that is missing,
            unknown, or of another shape.
    """
    owner = type(model).__name__
    if not isinstance(maps, Tensor):
        raise ValueError(f"{owner} takes a tensor of maps, found a {type(maps).__name__}")
    check_shape(f"a batch for this {owner}", maps.shape, model.n, model.channels)
    return check_given(f"this {owner}", model.given, given, len(maps))


def check_draw(model: nn.Module, n: int, given: Given | None = None) -> dict[str, Tensor]:
    """The same check, for ``n`` maps to be drawn."""
    owner = type(model).__name__
    if n < 1:
        raise ValueError(f"the number of maps to draw must be positive, found {n}")
    optional = getattr(model, "optional", {})
    return check_given(f"this {owner}", model.given, given, n, optional)


def in_batches(
    n: int, batch: int, given: Given, device: torch.device
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """The batches of a draw: which of the ``n`` maps, and their conditions on a device."""
    for start in range(0, n, batch):
        part = slice(start, start + batch)
        yield part, {name: values[part].to(device) for name, values in given.items()}


def map_shape(model: nn.Module) -> tuple[int, ...]:
    """Shape of one map of a model: ``(n, n)`` or ``(channels, n, n)``."""
    square = (model.n, model.n)
    if model.channels == 1:
        return square
    return (model.channels, *square)


def blank_field(kind: str, n: int, channels: int) -> GaussianModes:
    """A white Gaussian field for a checkpoint to fill.

    Args:
        kind: ``"periodic"``, ``"cut-out"``, or one of them with band powers such as
            ``"cut-out, 8 bands"``, as the fields call themselves.
        n: pixels a side.
        channels: number of channels.

    Raises:
        ValueError: an unknown kind.
    """
    kinds = {field.kind: field for field in (GaussianField, CutOutField)}
    name, _, bands = kind.partition(", ")
    if name not in kinds:
        raise ValueError(f"a Gaussian field is {' or '.join(kinds)}, found {kind!r}")
    field = kinds[name].white(n, channels)
    if bands:
        return BandField.blank(field, int(bands.removesuffix(" bands")))
    return field


def channels_of(owner: str, **parts: nn.Module | None) -> int:
    """The number of channels on which the parts of a model agree.

    Args:
        owner: the model, for the error message.
        parts: parts by name, each with ``channels``; None is left out.

    Raises:
        ValueError: the parts have different numbers of channels.
    """
    known = {name: part.channels for name, part in parts.items() if part is not None}
    if len(set(known.values())) > 1:
        found = ", ".join(f"{name} {number}" for name, number in known.items())
        raise ValueError(f"the parts of a {owner} must have the same channels, found {found}")
    return next(iter(known.values()), 1)
