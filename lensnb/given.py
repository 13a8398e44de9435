"""Conditions: what travels with the maps of a set, and what a generator is given beside random numbers.

A condition has a name and one value a map. There are three kinds:

* *numbers*, ``(maps,)`` or ``(maps, numbers)``, such as (Ω_m, σ₈) or band powers;
* a *map*, ``(maps, m, m)`` or ``(maps, channels, m, m)``, such as a coarser or a noisy map;
* a *shear* map, the same but complex: γ₁ + iγ₂. It has spin 2, so turns and mirrors of the field
  change γ as well.

Sets and models hold conditions in a dictionary, name → values. A model says what it needs as
``given``, name → :class:`Condition`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .maps import turned, wide

Given = Mapping[str, Tensor]


class Condition(NamedTuple):
    """What the value of a condition looks like for one map.

    Attributes:
        shape: ``()`` or ``(numbers,)``, ``(m, m)`` or ``(channels, m, m)``.
        kind: ``"numbers"``, ``"map"`` or ``"shear"``.
    """

    shape: tuple[int, ...]
    kind: str

    @classmethod
    def of(cls, name: str, values) -> Condition:
        """The condition that these values are of, an array with one value a map.

        Raises:
            ValueError: values that are neither numbers nor square maps.
        """
        shape = tuple(values.shape)
        if len(shape) in (1, 2):
            return cls(shape[1:], "numbers")
        if len(shape) not in (3, 4) or shape[-1] != shape[-2]:
            raise ValueError(
                f"the condition {name} has the shape {shape}; expected numbers, (maps,) or (maps, numbers), "
                "or maps, (maps, n, n) or (maps, channels, n, n)"
            )
        return cls(shape[1:], "shear" if _is_complex(values) else "map")

    @property
    def channels(self) -> int:
        """Real channels of a map; γ has two."""
        components = 2 if self.kind == "shear" else 1
        return components * (self.shape[0] if len(self.shape) == 3 else 1)

    @property
    def size(self) -> int:
        """How many numbers the value has, for the kind of that name."""
        return self.shape[0] if self.shape else 1


def _is_complex(values) -> bool:
    if isinstance(values, Tensor):
        return values.is_complex()
    return np.dtype(values.dtype).kind == "c"


class Batch(NamedTuple):
    """Some maps and their conditions.

    Attributes:
        maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        given: conditions by name, each with one value a map.
    """

    maps: Tensor
    given: dict[str, Tensor]

    def each(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The same function of the maps and of every condition, such as a choice of some maps."""
        given = {name: function(values) for name, values in self.given.items()}
        return Batch(function(self.maps), given)


def turned_values(values: Tensor, k: int) -> Tensor:
    """The values of a condition after symmetry ``k`` of the square (:func:`lensnb.maps.turned`).

    Numbers stay as they are. A quarter turn changes the sign of γ; a transposition makes −γ* of
    it.
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


def check_values(name: str, values, count: int) -> None:
    """Refuse the values of a condition that are not one a map, or not finite.

    Args:
        name: of the condition.
        values: an array. Of maps that stay on disk only the shape is looked at.
        count: number of maps.

    Raises:
        ValueError: one sentence.
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
    owner: str, expected: Mapping[str, Condition], given: Given | None, count: int
) -> dict[str, Tensor]:
    """The conditions of a batch, or of maps to be drawn, if they are what a model needs: the one gate.

    Args:
        owner: who needs them, the first words of the sentence.
        expected: by name.
        given: values by name, one a map, or one for all of them.
        count: number of maps.

    Returns:
        Values by name, each one a map.

    Raises:
        ValueError: a condition is missing, unknown, of another shape or kind, or not finite.
    """
    given = dict(given or {})
    unknown = [name for name in given if name not in expected]
    if unknown:
        known = ", ".join(expected) or "no conditions"
        raise ValueError(
            f"{owner} was given {unknown[0]}, which it does not know; expected {known}"
        )
    missing = [name for name in expected if name not in given]
    if missing:
        raise ValueError(f"{owner} needs the condition {missing[0]}; expected it in given")
    return {
        name: _checked(f"{owner} was given {name}", condition, given[name], count)
        for name, condition in expected.items()
    }


def _checked(words: str, condition: Condition, values, count: int) -> Tensor:
    values = torch.as_tensor(values)
    if tuple(values.shape) == condition.shape:
        values = values.expand(count, *condition.shape)
    expected = (count, *condition.shape)
    if tuple(values.shape) != expected:
        raise ValueError(
            f"{words} of the shape {tuple(values.shape)}; expected {expected}, one value a map, or "
            f"{condition.shape} for all maps"
        )
    if values.is_complex() != (condition.kind == "shear"):
        raise ValueError(
            f"{words} of the type {values.dtype}; expected {condition.kind}, and shear is complex"
        )
    if not torch.isfinite(values).all():
        raise ValueError(f"{words} with values that are NaN or infinite; expected finite ones")
    return values


class Conditions(nn.Module):
    """What a model is conditioned on, with the mean and scatter that make network inputs of order one.

    Args:
        known: conditions by name.
    """

    def __init__(self, known: Mapping[str, Condition]):
        super().__init__()
        self.known = dict(known)
        for i, condition in enumerate(self.known.values()):
            numbers = condition.size if condition.kind == "numbers" else condition.channels
            self.register_buffer(f"mean_{i}", torch.zeros(numbers, dtype=torch.float64))
            self.register_buffer(f"std_{i}", torch.ones(numbers, dtype=torch.float64))

    @classmethod
    def fit(cls, given: Given) -> Conditions:
        """Measure mean and scatter of the conditions of a training set.

        Args:
            given: by name, arrays or tensors with one value a map, such as ``train.given``.

        Raises:
            ValueError: a condition with no scatter, or of a shape that no condition has.
        """
        new = cls({name: Condition.of(name, values) for name, values in given.items()})
        for i, (name, values) in enumerate(given.items()):
            flat = _real(torch.as_tensor(np.asarray(values)), new.known[name])
            axes = [axis for axis in range(flat.ndim) if axis != 1]
            mean = wide(flat).mean(axes)
            if new.known[name].kind == "shear":
                mean = torch.zeros_like(mean)  # turns of the field leave no mean of spin 2
            std = (wide(flat).square().mean(axes) - mean.square()).sqrt()
            if not (std > 1e-12 * mean.abs()).all():
                raise ValueError(f"the condition {name} is the same for all maps; leave it out")
            getattr(new, f"mean_{i}").copy_(mean)
            getattr(new, f"std_{i}").copy_(std)
        return new

    @classmethod
    def from_config(cls, config: Mapping[str, list]) -> Conditions:
        """Conditions for a checkpoint to fill."""
        return cls({name: Condition(tuple(shape), kind) for name, (shape, kind) in config.items()})

    @property
    def config(self) -> dict[str, list]:
        """Plain JSON values from which :meth:`from_config` makes the same."""
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
        """All conditions that are numbers, of order one, float64 ``(maps, numbers)``; None without any."""
        parts = [
            self._standardised(i, given[name])
            for i, (name, condition) in enumerate(self.known.items())
            if condition.kind == "numbers"
        ]
        return torch.cat(parts, 1) if parts else None

    def as_maps(self, given: Given) -> list[Tensor]:
        """Each condition that is a map, of order one, float64 ``(maps, channels, m, m)``."""
        return [
            self._standardised(i, given[name])
            for i, (name, condition) in enumerate(self.known.items())
            if condition.kind != "numbers"
        ]

    def _standardised(self, i: int, values: Tensor) -> Tensor:
        condition = list(self.known.values())[i]
        mean = getattr(self, f"mean_{i}")
        real = wide(_real(values, condition).to(mean.device))
        spread = (slice(None), *[None] * (real.ndim - 2))
        return (real - mean[spread]) / getattr(self, f"std_{i}")[spread]


def _real(values: Tensor, condition: Condition) -> Tensor:
    """Values as ``(maps, numbers)``, or as real channels ``(maps, channels, m, m)``."""
    if condition.kind == "numbers":
        return values.reshape(len(values), condition.size)
    if condition.kind == "shear":
        values = torch.view_as_real(values).movedim(-1, 1)
    side = values.shape[-1]
    return values.reshape(len(values), condition.channels, side, side)
