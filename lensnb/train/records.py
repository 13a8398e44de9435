"""The records of a training: losses and times since the last record, validation, and checks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..given import Batch
from . import processes
from .settings import Check, Checks, generator_of, schedule
from .state import State
from .streaming import TrainingSet


class Reporter:
    """Makes the records of a training; validation and checks use the averaged weights.

    Args:
        state: state of the training.
        checks: what to measure.
        held_out: maps for the validation, or None.
        device: device of the model.
    """

    def __init__(
        self, state: State, checks: Checks, held_out: TrainingSet | None, device: torch.device
    ):
        self.state = state
        self.checks = checks
        self.held_out = held_out
        self.device = device
        self.losses: list[float] = []
        self.since = state.seconds
        self.part = 0  # of the training, in units of check_every

    @contextmanager
    def clock(self):
        """Count the time of the block as training."""
        started = time.perf_counter()
        yield
        self.state.seconds += time.perf_counter() - started

    def record(self, checked: bool, **more) -> dict:
        """Make a record. The first process measures, and all processes get the same record."""
        record = processes.from_first(lambda: self._measured(checked) | more)
        self.losses.clear()
        self.since = self.state.seconds
        return record

    def _measured(self, checked: bool) -> dict:
        state = self.state
        settings = state.settings
        images = settings.batch * settings.accumulate
        record = {
            "step": state.step,
            "loss": None,
            "lr": settings.lr * schedule(state.step, settings.steps),
            "seconds": state.seconds,
            "images": state.step * images,
            "images_per_second": None,
        }
        if self.losses:
            steps = len(self.losses)
            passed = state.seconds - self.since
            record["loss"] = sum(self.losses) / steps
            record["images_per_second"] = steps * images / passed
        if checked or self.held_out is not None:
            with state.averaged():
                if self.held_out is not None:
                    record["validation"] = self._validation()
                if self.held_out is not None and hasattr(state.model, "losses"):
                    record |= self._by_part()
                if checked:
                    record |= _checked(self.checks.check, state.model, record)
        return record

    def _validation(self) -> float:
        """Mean loss of held-out maps, with the same noise each time."""
        model = self.state.model
        generator = generator_of(self.state.settings.seed, 0)
        with_gradients = getattr(model, "validates_with_gradients", False)
        losses = []
        with torch.set_grad_enabled(with_gradients):
            for batch in self._held_out_batches():
                losses.append(float(loss_of(model, batch, generator).detach()))
        return sum(losses) / len(losses)

    def _by_part(self) -> dict[str, float | None]:
        """The loss of held-out maps in parts, with the same noise each time.

        It costs as much as several validations, so few records have it: the first one after every
        ``check_every`` steps, and the last one of the training.
        """
        step, steps = self.state.step, self.state.settings.steps
        part = step // (self.checks.check_every or max(1, steps // 10))
        if part == self.part and step < steps:
            return {}
        self.part = part
        model = self.state.model
        generator = generator_of(self.state.settings.seed, 0)
        found: dict[str, list[float]] = {}
        with torch.no_grad():
            for batch in self._held_out_batches():
                for name, loss in model.losses(batch.maps, generator, batch.given).items():
                    found.setdefault(f"validation, {name}", []).append(float(loss))
        return {name: _plain(sum(losses) / len(losses)) for name, losses in found.items()}

    def _held_out_batches(self) -> Iterator[Batch]:
        size = self.state.settings.batch
        for start in range(0, len(self.held_out), size):
            end = min(start + size, len(self.held_out))
            batch = self.held_out.some(torch.arange(start, end))
            yield batch.each(lambda values: values.to(self.device))


def loss_of(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """The loss of a batch; conditions are passed only if there are any."""
    if batch.given:
        return model.loss(batch.maps, generator, batch.given)
    return model.loss(batch.maps, generator)


def _checked(check: Check, model: nn.Module, record: dict) -> dict:
    """The numbers of a check, in evaluation mode; the random state of the training is kept."""
    model.eval()
    try:
        with torch.random.fork_rng(), torch.no_grad():
            found = check(model)
    finally:
        model.train()
    taken = [name for name in found if name in (*record, "validation", "stopped")]
    if taken:
        raise ValueError(
            f"the check calls a number {taken[0]!r}, which every record has; give it another name"
        )
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: float) -> float | None:
    """A number for JSON, which has no NaN or infinity: None stands for them."""
    if math.isfinite(value):
        return float(value)
    return None
