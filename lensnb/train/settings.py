"""The arguments of a training: settings, checks, hardware, and the folder of its files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..given import Batch
from ..maps.arrays import plain_number, plain_whole
from ..renamed import warn_renamed
from .devices import PRECISIONS

Augment = Callable[[Tensor | Batch, torch.Generator], Tensor | Batch]
Check = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the final weights. A resumed training must have the same settings.

    The optimiser is Adam with gradient clipping. Its learning rate has a linear warm-up over the
    first twentieth of the steps, and then a cosine decay to zero.

    Attributes:
        steps: total number of optimiser steps, including those of an interrupted call before.
        batch: maps in a micro-batch, which are in memory at once.
        accumulate: micro-batches in a step, whose gradients are averaged; a multiple of the number
            of processes.
        lr: highest learning rate.
        ema: decay of the moving average of the weights, which has a length of 1 / (1 − ema) steps.
            But it is never longer than the last ninth of the steps made, so 0.999 is reached at
            step 9,000. 0 keeps the last weights.
        clip: largest norm of the gradient.
        augment: ``augment(batch, generator)``, for example :func:`lensnb.data.random_symmetry`. It
            gets and returns maps. If the model has conditions, it gets and returns a
            :class:`lensnb.given.Batch` of maps and conditions.
        patience: end the training if the validation loss has not decreased in this number of
            records, and keep the weights with the lowest loss. With few maps a model overfits. 0
            trains to the end and keeps the last weights.
        seed: seed of the order of the maps and of all noise.

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
        # Numbers of NumPy overflow, and cannot be stored as JSON.
        for name in ("steps", "batch", "accumulate", "patience", "seed"):
            object.__setattr__(self, name, plain_whole(name, getattr(self, name)))
        for name in ("lr", "ema", "clip"):
            object.__setattr__(self, name, plain_number(name, getattr(self, name)))
        for name in ("steps", "batch", "accumulate"):
            _check_count(name, getattr(self, name))
        _check_count("patience", self.patience, least=0)
        if not 0 <= self.lr < math.inf:
            raise ValueError(f"lr must be finite and not negative, found {self.lr}")
        if not self.clip > 0:
            raise ValueError(f"clip must be positive, found {self.clip}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be at least 0 and below 1, found {self.ema}")

    def as_json(self) -> dict:
        """Plain JSON values; the augmentation is given by its name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"augment": name_of(self.augment)}


@dataclass(frozen=True)
class Checks:
    """What is measured during a training, without any effect on the training.

    Attributes:
        validation: held-out maps (a tensor, or a set with its conditions). Records have their loss
            under the averaged weights. Every ``check_every`` steps they also have its parts, if
            the model has ``losses``, such as the loss at several noise levels.
        every: steps between records.
        check: ``check(model)`` returns numbers by name, which go into a record. It is called with
            the averaged weights. An example is :class:`lensnb.compare.Fidelity`. It cannot change
            the random numbers of the training, and its time is not counted.
        check_every: steps between checks; by default a tenth of the steps. The last step is also
            checked.

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
            if value is not None:
                _check_count(name, value)


@dataclass(frozen=True)
class Hardware:
    """Where and how the networks compute.

    Attributes:
        device: ``"auto"``, or a torch device.
        precision: precision of the networks: ``"float32"``, ``"bfloat16"``, or ``"auto"``, which
            is bfloat16 on GPUs and CPUs with hardware for it (a resumed training keeps its own).
            Validation and sampling are always in float32. A training may resume in another
            precision, with a warning, because results change by rounding only. So a machine
            without such hardware can resume a training of one that has it.
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

    ``model.safetensors`` has the averaged weights, ``training.safetensors`` everything that is
    needed to resume, and ``history.jsonl`` the records.

    Attributes:
        path: the folder; None keeps nothing.
        save_every: steps between checkpoints. A checkpoint is written only after the next loss and
            gradient were found to be finite.

    Raises:
        ValueError: a number of steps that makes no sense.
    """

    path: str | Path | None = None
    save_every: int = 100

    def __post_init__(self):
        _check_count("save_every", self.save_every)


def _check_count(name: str, value, least: int = 1) -> None:
    """Refuse what is not a whole number, or is too small."""
    if plain_whole(name, value) < least:
        raise ValueError(f"{name} must be at least {least}, found {value}")


def schedule(step: int, steps: int) -> float:
    """The learning rate relative to its maximum.

    It has a linear warm-up over a twentieth of the steps, and then a cosine decay to zero.
    """
    warm = max(1, steps // 20)
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min((step + 1) / warm, cosine)


def generator_of(seed: int, number: int) -> torch.Generator:
    """The random generator of micro-batch ``number``; negative numbers are for other uses."""
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
    """The four groups of arguments of :func:`lensnb.train.fit`.

    A number of steps, a device or a path may stand for its group. Single arguments of older
    versions are put into their groups, with a warning.
    """
    for name in old:
        if name not in _OLD:
            raise TypeError(f"fit() got an unexpected argument {name!r}")
    if old:
        kinds = {name: _GROUPS[_OLD[name]].__name__ for name in old}
        new = ", ".join(f"{kind}({name}=…)" for name, kind in kinds.items())
        if len(old) == 1:
            warn_renamed("fit", f"the argument {next(iter(old))}", new, stacklevel=4)
        else:
            warn_renamed("fit", f"the arguments {', '.join(old)}", new, stacklevel=4, verb="are")
    own = {group: {} for group in _GROUPS}
    for name, value in old.items():
        own[_OLD[name]][name] = value
    passed = {"settings": settings, "checks": checks, "device": device, "folder": folder}
    for group, kind in _GROUPS.items():
        if own[group] and isinstance(passed[group], kind):
            raise TypeError(
                f"fit() was given both {kind.__name__}(…) and {', '.join(own[group])}; "
                f"put all of them into {kind.__name__}"
            )
    if not isinstance(settings, Settings):
        if settings is not None and "steps" in own["settings"]:
            raise TypeError("fit() was given the number of steps twice; give it once")
        steps = own["settings"].pop("steps", settings)
        settings = Settings(steps, **own["settings"])
    if checks is None:
        checks = Checks(**own["checks"])
    if not isinstance(device, Hardware):
        device = Hardware(device, **own["device"])
    if not isinstance(folder, Folder):
        folder = Folder(folder, **own["folder"])
    return settings, checks, device, folder
