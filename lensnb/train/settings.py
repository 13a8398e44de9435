"""What a training is told: its settings, its checks, where it computes, and where it keeps its files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..given import Batch
from ..renamed import warn_renamed
from .devices import PRECISIONS

Augment = Callable[[Tensor | Batch, torch.Generator], Tensor | Batch]
Check = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Settings:
    """What decides the weights that a training ends with. A resumed training must have the same.

    Adam with a linear warm-up over the first twentieth of the steps, a cosine decay to zero, and
    gradient clipping.

    Attributes:
        steps: optimiser steps in all, those of an earlier, interrupted call included.
        batch: maps a micro-batch: the maps in memory at once.
        accumulate: micro-batches a step, whose gradients are averaged; a multiple of the number of
            processes.
        lr: highest learning rate.
        ema: decay of the moving average of the weights. The average reaches back 1 / (1 − ema)
            steps, but never more than the last ninth of the steps made (so that 0.999 is reached
            at step 9,000); 0 keeps the last weights.
        clip: largest norm of the gradient.
        augment: ``augment(batch, generator)``, for instance :func:`lensnb.data.random_symmetry`.
            It gets and returns maps; where the model has conditions, a :class:`lensnb.given.Batch`
            of maps and conditions.
        patience: end the training when the validation loss has not fallen for so many records, and
            leave the weights that had the lowest: with few maps a model overfits. 0 continues to
            the end and leaves the last weights.
        seed: of the order of the maps and of all noise.

    Raises:
        ValueError: a number that makes no sense.
    """

    steps: int
    batch: int = 32
    accumulate: int = 1
    lr: float = 1e-3
    ema: float = 0.999
    clip: float = 1.0
    augment: Augment | None = None
    patience: int = 0
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "batch", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")

    def as_json(self) -> dict:
        """Plain JSON values; an augmentation is known by its name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"augment": name_of(self.augment)}


@dataclass(frozen=True)
class Checks:
    """What is measured while a model trains; it changes nothing in the training.

    Attributes:
        validation: held-out maps (a tensor, or a set with its conditions); their loss under the
            averaged weights goes into the records.
        every: steps between records.
        check: ``check(model)`` gives numbers by name that go into a record, measured under the
            averaged weights, for instance :class:`lensnb.compare.Fidelity`. It cannot touch the
            training's randomness, and its time is not counted.
        check_every: steps between checks; by default a tenth of the steps. The last step is
            checked too.

    Raises:
        ValueError: a number of steps that makes no sense.
    """

    validation: object = None
    every: int = 50
    check: Check | None = None
    check_every: int | None = None

    def __post_init__(self):
        for name in ("every", "check_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, found {value}")


@dataclass(frozen=True)
class Hardware:
    """Where and how the networks compute.

    Attributes:
        device: ``"auto"``, or a torch device.
        precision: of the networks: ``"float32"``, ``"bfloat16"``, or ``"auto"``, which takes
            bfloat16 on GPUs and CPUs with hardware for it (a resumed training keeps its own).
            Validation and sampling are always in float32. A training may resume in another
            precision, with a warning: results change by rounding only, and a machine without such
            hardware can then continue a training that one with it began.
    """

    device: str | torch.device = "auto"
    precision: str = "auto"

    def __post_init__(self):
        if self.precision not in ("auto", *PRECISIONS):
            known = f"auto, {' or '.join(PRECISIONS)}"
            raise ValueError(f"precision must be {known}, found {self.precision!r}")


@dataclass(frozen=True)
class Folder:
    """Where a training keeps its files.

    ``model.safetensors`` has the averaged weights, ``training.safetensors`` all that resuming
    needs, ``history.jsonl`` the records.

    Attributes:
        path: the folder; None keeps nothing.
        save_every: steps between checkpoints. One is written when the next loss and gradient are
            known to be finite.
    """

    path: str | Path | None = None
    save_every: int = 100


def schedule(step: int, steps: int) -> float:
    """Learning rate as a share of its maximum: a linear warm-up over a twentieth of the steps, then a cosine to zero."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / steps)))


def generator_of(seed: int, number: int) -> torch.Generator:
    """The source of all randomness of micro-batch ``number``; negative numbers are for other uses."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)


def name_of(function) -> str | None:
    """The name of an augmentation, with the arguments that ``functools.partial`` bound."""
    if function is None:
        return None
    if isinstance(function, partial):
        bound = [*map(repr, function.args)]
        bound += [f"{key}={value!r}" for key, value in function.keywords.items()]
        return f"{name_of(function.func)}({', '.join(bound)})"
    return getattr(function, "__qualname__", type(function).__qualname__)


# ---------------------------------------------------------------- the arguments of older versions

_GROUPS = {"settings": Settings, "checks": Checks, "device": Hardware, "folder": Folder}
_OLD = {
    field.name: group
    for group, kind in _GROUPS.items()
    for field in fields(kind)
    if field.name not in ("device", "path")
}


def grouped(settings, checks, device, folder, old: dict):
    """The four groups of arguments of :func:`lensnb.train.fit`, from what was given for each.

    A number of steps, a device and a path may stand alone. The arguments of older versions, one by
    one, are put into their groups, with a warning.
    """
    for name in old:
        if name not in _OLD:
            raise TypeError(f"fit() got an unexpected argument {name!r}")
    if old:
        kinds = {name: _GROUPS[_OLD[name]].__name__ for name in old}
        new = ", ".join(f"{kind}({name}=…)" for name, kind in kinds.items())
        warn_renamed("fit", f"the arguments {', '.join(old)}", new, stacklevel=4)
    own = {group: {k: v for k, v in old.items() if _OLD[k] == group} for group in _GROUPS}
    if not isinstance(settings, Settings):
        steps = own["settings"].pop("steps", settings)
        settings = Settings(steps, **own["settings"])
    if checks is None:
        checks = Checks(**own["checks"])
    if not isinstance(device, Hardware):
        device = Hardware(device, **own["device"])
    if not isinstance(folder, Folder):
        folder = Folder(folder, **own["folder"])
    return settings, checks, device, folder
