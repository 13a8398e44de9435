"""Conditions: what belongs to the maps of a set, and what a generator can be conditioned on.

A condition has a name, and one value for each map. There are three kinds:

* *numbers*, ``(maps,)`` or ``(maps, numbers)``, such as (Ω_m, σ₈) or band powers;
* a *map*, ``(maps, m, m)`` or ``(maps, channels, m, m)``, such as a coarser or a noisy map;
* a *shear* map, of the same shape but complex: γ₁ + iγ₂. It has spin 2, so turns and mirrors of
  the field also change γ itself.

Sets and models keep conditions in a dictionary, name → values. A model lists the conditions that
it needs in ``given``, name → :class:`Condition`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .maps.arrays import plain_array, plain_tensor
from .maps.grid import turned, wide

Given = Mapping[str, Tensor]


class Condition(NamedTuple):
    """Shape and kind of a condition's value for one map.

    Attributes:
        shape: ``()`` or ``(numbers,)`` for numbers; ``(m, m)`` or ``(channels, m, m)`` for maps.
        kind: ``"numbers"``, ``"map"`` or ``"shear"``.
    """

    shape: tuple[int, ...]
    kind: str

    @classmethod
    def of(cls, name: str, values) -> Condition:
        """Shape and kind of the values of a condition.

        Args:
            name: name of the condition, for the error message.
            values: an array or tensor with one value for each map.

        Raises:
            ValueError: the values are neither numbers nor square maps.
        """
        shape = tuple(values.shape)
        if len(shape) in (1, 2):
            return cls(shape[1:], "numbers")
        if len(shape) not in (3, 4) or shape[-1] != shape[-2]:
            raise ValueError(
                f"the condition {name} has the shape {shape}; expected numbers, (maps,) or "
                "(maps, numbers), or maps, (maps, n, n) or (maps, channels, n, n)"
            )
        if _is_complex(values):
            return cls(shape[1:], "shear")
        return cls(shape[1:], "map")

    @property
    def channels(self) -> int:
        """Real channels of a map; γ has two for each channel."""
        channels = 1
        if len(self.shape) == 3:
            channels = self.shape[0]
        if self.kind == "shear":
            return 2 * channels
        return channels

    @property
    def size(self) -> int:
        """How many numbers the value has, for the kind ``"numbers"``."""
        if self.shape:
            return self.shape[0]
        return 1


def _is_complex(values) -> bool:
    if isinstance(values, Tensor):
        return values.is_complex()
    return np.dtype(values.dtype).kind == "c"


class Realised(NamedTuple):
    """The numbers that maps were given, and the same numbers measured from the maps.

        realised = constant + slope · given + residual

    A model that is conditioned on noisy numbers does not reproduce them exactly, nor does a
    measurement that is itself noisy. So the slope and the scatter of the residual have expected
    values.

    Attributes:
        given: shape ``(maps,)`` or ``(maps, numbers)``.
        realised: the same numbers of the maps, same shape and units.
        slope: expected slope, one for all numbers or one for each.
        scatter: expected standard deviation of the residual, in units of the numbers, likewise.
        names: of the numbers; by default they are counted.
    """

    given: np.ndarray
    realised: np.ndarray
    slope: float | Sequence[float] = 1.0
    scatter: float | Sequence[float] = 0.0
    names: Sequence[str] = ()


class Batch(NamedTuple):
    """Some maps and their conditions.

    Attributes:
        maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        given: conditions by name, each with one value a map.
    """

    maps: Tensor
    given: dict[str, Tensor]

    def each(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Apply a function to the maps and to every condition, for example to choose some maps."""
        given = {name: function(values) for name, values in self.given.items()}
        return Batch(function(self.maps), given)


def turned_values(values: Tensor, k: int) -> Tensor:
    """The values of a condition after symmetry ``k`` of the square, 0…7.

    Numbers do not change. A quarter turn changes the sign of γ. A transposition changes γ to −γ*.
    """
    if values.ndim < 3:
        return values
    values = turned(values, k)
    if not values.is_complex():
        return values
    if k % 2 == 1:
        values = -values
    if k >= 4:
        values = -values.conj()
    return values.resolve_conj()


def checked_mapping(owner: str, given) -> dict:
    """Conditions as a dictionary, name → values; None means no conditions.

    Raises:
        ValueError: they are something else.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{owner} takes conditions as a dictionary, name → values, found a "
            f"{type(given).__name__}"
        )
    return dict(given)


def as_arrays(owner: str, given) -> dict:
    """Conditions as arrays of floating-point or complex numbers, name → values.

    Tensors and lists become arrays, whole numbers become float64. Maps that stay on disk are not
    changed.

    Args:
        owner: what they belong to, which begins the error message.
        given: values by name; None for no conditions.

    Raises:
        ValueError: they are no dictionary, a name cannot be one of an argument, or values are not
            numbers.
    """
    arrays = {}
    for name, values in checked_mapping(owner, given).items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a condition has a name such as noisy_map, found {name!r}")
        values = plain_array(f"the condition {name}", values)
        kind = np.dtype(values.dtype).kind
        if kind in "biu":
            values = np.asarray(values, np.float64)
        elif kind not in "fc":
            raise ValueError(
                f"the condition {name} has values of type {values.dtype}; expected numbers"
            )
        arrays[name] = values
    return arrays


def check_values(name: str, values, count: int) -> None:
    """Refuse values of a condition that are not one for each map, or not finite.

    Args:
        name: name of the condition.
        values: an array. Of maps that stay on disk, only the shape is checked.
        count: number of maps.

    Raises:
        ValueError: another shape, or values that are NaN or infinite.
    """
    shape = tuple(getattr(values, "shape", ()))
    if not shape or shape[0] != count:
        raise ValueError(
            f"the condition {name} has the shape {shape}; expected {count} values, one a map"
        )
    Condition.of(name, values)
    if isinstance(values, np.ndarray) and not np.isfinite(values).all():
        raise ValueError(
            f"the condition {name} has values that are NaN or infinite; expected finite ones"
        )


def check_given(
    owner: str,
    expected: Mapping[str, Condition],
    given: Given | None,
    count: int,
    optional: Mapping[str, Condition] | None = None,
) -> dict[str, Tensor]:
    """Check the conditions of a batch, or of maps to be drawn. All models use this check.

    Args:
        owner: the model that needs them, which begins the error message.
        expected: the conditions that it needs, by name.
        given: values by name, one for each map, or one for all of them.
        count: number of maps.
        optional: conditions that may be left out, by name.

    Returns:
        Values by name, one for each map.

    Raises:
        ValueError: a condition is missing, unknown, of another shape or kind, or not finite.
    """
    given = checked_mapping(owner, given)
    accepted = {**expected, **(optional or {})}
    unknown = [name for name in given if name not in accepted]
    if unknown:
        known = ", ".join(accepted) or "no conditions"
        raise ValueError(
            f"{owner} was given {unknown[0]}, which it does not know; expected {known}"
        )
    missing = [name for name in expected if name not in given]
    if missing:
        raise ValueError(f"{owner} needs the condition {missing[0]}; expected it in given")
    checked = {}
    for name, condition in accepted.items():
        if name in given:
            words = f"{owner} was given {name}"
            checked[name] = _checked(words, condition, given[name], count)
    return checked


def _checked(words: str, condition: Condition, values, count: int) -> Tensor:
    """The values, one for each map; ``words`` begin the error message."""
    try:
        values = plain_tensor(words, values)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{words} as a {type(values).__name__}; expected numbers") from None
    if tuple(values.shape) == condition.shape:
        values = values.expand(count, *condition.shape)
    expected = (count, *condition.shape)
    if tuple(values.shape) != expected:
        raise ValueError(
            f"{words} of the shape {tuple(values.shape)}; expected {expected}, "
            f"one value a map, or {condition.shape} for all maps"
        )
    if values.is_complex() != (condition.kind == "shear"):
        raise ValueError(
            f"{words} of the type {values.dtype}; expected {condition.kind}, and shear is complex"
        )
    if not torch.isfinite(values).all():
        advice = "finite ones"
        if condition.kind != "numbers":
            advice = "finite ones, such as 0 behind a mask"
        raise ValueError(f"{words} with values that are NaN or infinite; expected {advice}")
    return values


class Conditions(nn.Module):
    """The conditions of a model, with the mean and scatter that bring them to order one.

    Args:
        known: conditions by name.
    """

    def __init__(self, known: Mapping[str, Condition]):
        super().__init__()
        self.known = dict(known)
        for i, condition in enumerate(self.known.values()):
            numbers = condition.channels
            if condition.kind == "numbers":
                numbers = condition.size
            self.register_buffer(f"mean_{i}", torch.zeros(numbers, dtype=torch.float64))
            self.register_buffer(f"std_{i}", torch.ones(numbers, dtype=torch.float64))

    @classmethod
    def fit(cls, given: Given) -> Conditions:
        """Measure mean and scatter of the conditions of a training set.

        Args:
            given: arrays or tensors by name, with one value for each map, such as ``train.given``.

        Raises:
            ValueError: a condition without scatter, or of a shape that no condition has.
        """
        new = cls({name: Condition.of(name, values) for name, values in given.items()})
        for i, (name, values) in enumerate(given.items()):
            values = torch.as_tensor(np.asarray(values))
            flat = _real(values, new.known[name])
            axes = [axis for axis in range(flat.ndim) if axis != 1]
            mean = wide(flat).mean(axes)
            if new.known[name].kind == "shear":
                mean = torch.zeros_like(mean)  # spin 2: the mean over turned fields is zero
            std = (wide(flat).square().mean(axes) - mean.square()).sqrt()
            if not (std > 1e-12 * mean.abs()).all():
                raise ValueError(f"the condition {name} is the same for all maps; leave it out")
            getattr(new, f"mean_{i}").copy_(mean)
            getattr(new, f"std_{i}").copy_(std)
        return new

    @classmethod
    def from_config(cls, config: Mapping[str, list]) -> Conditions:
        """Conditions for a checkpoint to fill; an empty ``config`` gives no conditions."""
        return cls({name: Condition(tuple(shape), kind) for name, (shape, kind) in config.items()})

    @property
    def config(self) -> dict[str, list]:
        """Plain JSON values, from which :meth:`from_config` makes the same conditions."""
        return {name: [list(shape), kind] for name, (shape, kind) in self.known.items()}

    @property
    def maps(self) -> dict[str, Condition]:
        """The conditions that are maps or shear maps, by name."""
        return {name: c for name, c in self.known.items() if c.kind != "numbers"}

    @property
    def numbers(self) -> int:
        """Numbers of all conditions together."""
        return sum(c.size for c in self.known.values() if c.kind == "numbers")

    def as_numbers(self, given: Given) -> Tensor | None:
        """All conditions that are numbers, scaled to order one, float64 ``(maps, numbers)``.

        None if there are no such conditions.
        """
        parts = self._all_of(given, numbers=True)
        if not parts:
            return None
        return torch.cat(parts, 1)

    def as_maps(self, given: Given) -> list[Tensor]:
        """Each condition that is a map, of order one, float64 ``(maps, channels, m, m)``."""
        return self._all_of(given, numbers=False)

    def _all_of(self, given: Given, numbers: bool) -> list[Tensor]:
        """The scaled conditions that are numbers, or those that are not."""
        parts = []
        for i, (name, condition) in enumerate(self.known.items()):
            if (condition.kind == "numbers") == numbers:
                parts.append(self._standardised(i, condition, given[name]))
        return parts

    def _standardised(self, i: int, condition: Condition, values: Tensor) -> Tensor:
        """(values − mean) / scatter of condition number ``i``."""
        mean = getattr(self, f"mean_{i}")
        std = getattr(self, f"std_{i}")
        real = wide(_real(values, condition).to(mean.device))
        over_maps = (slice(None), *[None] * (real.ndim - 2))
        return (real - mean[over_maps]) / std[over_maps]


def _real(values: Tensor, condition: Condition) -> Tensor:
    """Values as ``(maps, numbers)``, or as real channels ``(maps, channels, m, m)``."""
    if condition.kind == "numbers":
        return values.reshape(len(values), condition.size)
    if condition.kind == "shear":
        values = torch.view_as_real(values).movedim(-1, 1)
    side = values.shape[-1]
    return values.reshape(len(values), condition.channels, side, side)
