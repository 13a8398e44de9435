"""What a generator is: the contract, the registry of families, and the checks that all of them share.

A family is a class, one file of this folder, and one import line in ``__init__``. It is a
``torch.nn.Module`` with

* ``n``, ``channels``, ``given``: pixels a side, channels, and the conditions that it needs, by
  name (:class:`lensnb.given.Condition`);
* ``config`` and ``from_config(config)``: plain JSON values, and the untrained model of the same
  shape that a checkpoint fills;
* ``loss(batch, generator=None, given=None)``: a scalar to minimise, of κ-maps ``(batch, n, n)`` or
  ``(batch, channels, n, n)`` and their conditions;
* ``sample(n, generator=None, given=None)``: κ-maps, float32;
* where there is a density, ``log_prob(maps)``; of flows ``to_noise`` and ``to_data``.

A family may also say how it is trained (:mod:`lensnb.train` asks for it):

* ``groups(lr)``: parameter groups of its optimiser, as ``torch.optim.Adam`` takes them; the
  gradient of each group is clipped by itself;
* ``averaged()``: names of the parameters that are averaged; the others keep their last values;
* ``validates_with_gradients = True``: its loss takes gradients with respect to maps, such as a
  gradient penalty, also of held-out maps.

:class:`lensnb.maps.GaussianField` and :class:`lensnb.maps.LognormalField` obey the contract, too.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..given import Given, check_given
from ..maps import check_shape

_FAMILIES: dict[str, type[nn.Module]] = {}


def register(name: str) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Class decorator: the family of that name, which its checkpoints carry.

    Raises:
        ValueError: another class has that name.
    """

    def put(model: type[nn.Module]) -> type[nn.Module]:
        if name in _FAMILIES:
            raise ValueError(f"there is a family {name!r} already: {_FAMILIES[name].__name__}")
        model.family = name
        _FAMILIES[name] = model
        return model

    return put


def families() -> dict[str, type[nn.Module]]:
    """The families by name."""
    return dict(_FAMILIES)


def check_batch(model: nn.Module, maps: Tensor, given: Given | None = None) -> dict[str, Tensor]:
    """Refuse maps or conditions that a model was not made for: the one gate of all families.

    Args:
        model: what they are for.
        maps: κ-maps.
        given: their conditions.

    Returns:
        The conditions, one value a map.

    Raises:
        ValueError: maps of another size or number of channels; a condition that is missing,
            unknown, or of another shape. One sentence.
    """
    owner = type(model).__name__
    shape = getattr(maps, "shape", None)
    if shape is None:
        raise ValueError(f"{owner} takes a tensor of maps, found a {type(maps).__name__}")
    check_shape(f"a batch for this {owner}", shape, model.n, model.channels)
    return check_given(f"this {owner}", model.given, given, len(maps))


def check_draw(model: nn.Module, n: int, given: Given | None = None) -> dict[str, Tensor]:
    """The same for ``n`` maps that are to be drawn."""
    owner = type(model).__name__
    if n < 1:
        raise ValueError(f"the number of maps to draw must be positive, found {n}")
    return check_given(f"this {owner}", model.given, given, n)


def map_shape(model: nn.Module) -> tuple[int, ...]:
    """Shape of one map of a model: ``(n, n)`` or ``(channels, n, n)``."""
    square = (model.n, model.n)
    return square if model.channels == 1 else (model.channels, *square)


def channels_of(owner: str, **parts: nn.Module | None) -> int:
    """The number of channels on which the parts of a model agree.

    Args:
        owner: what they are parts of, for the sentence.
        parts: by name, each with ``channels``; None counts for nothing.

    Raises:
        ValueError: they do not agree.
    """
    known = {name: part.channels for name, part in parts.items() if part is not None}
    if len(set(known.values())) > 1:
        found = ", ".join(f"{name} {number}" for name, number in known.items())
        raise ValueError(f"the parts of a {owner} must have the same channels, found {found}")
    return next(iter(known.values()), 1)
