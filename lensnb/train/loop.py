"""The loop of a training: what a step is, how the learning rate changes, and what is recorded on the way.

A step has ``accumulate`` micro-batches of ``batch`` maps. Micro-batch m = step · accumulate + i
takes the m-th ``batch`` maps of a stream of permutations, and all its noise from a generator
seeded by (seed, m). So a training depends neither on where it was interrupted nor, beyond
rounding, on how many processes share its micro-batches.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..given import Batch
from . import processes
from .devices import autocast, choose_device, choose_precision, place
from .records import Reporter, loss_of
from .settings import Checks, Folder, Hardware, Settings, generator_of, grouped, schedule
from .state import State, identity, read_training
from .streaming import Stream, TrainingSet, training_set


def fit(
    model: nn.Module,
    maps,
    settings: Settings | int | None = None,
    *,
    checks: Checks | None = None,
    device: Hardware | str | torch.device = "auto",
    folder: Folder | str | Path | None = None,
    **old,
) -> Iterator[dict]:
    """Train a model and yield a record every so often.

        settings = Settings(steps=2000, lr=4e-3, augment=random_symmetry)
        for record in fit(model, train, settings, checks=Checks(held_out), folder="runs/flow"):
            print(record["step"], record["loss"])

    A keyboard interrupt stops the training, saves, and leaves a usable model. Started by
    ``torchrun``, the processes share each step, see :mod:`lensnb.train.processes`.

    Args:
        model: anything with ``loss(batch, generator)``, and ``loss(batch, generator, given)``
            where it has conditions; see :mod:`lensnb.models.contract` for what else it may say of
            its training.
        maps: κ, float32, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``; for a model with
            conditions a :class:`~lensnb.data.MapSet` (or a :class:`~lensnb.given.Batch`) that has
            them. A set in a ``.zarr`` of more than 67 million pixels is read block by block
            (:mod:`lensnb.train.streaming`).
        settings: what decides the result; a number stands for ``Settings(steps=number)``.
        checks: what is measured on the way.
        device: where the networks compute; a name stands for ``Hardware(name)``.
        folder: where the files go; a path stands for ``Folder(path)``. A training found there
            resumes. None keeps nothing.
        old: the arguments of older versions, one by one; they work in this release only.

    Yields:
        The records of the training that is resumed, if there is one, then new ones: ``{"step",
        "loss", "lr", "seconds", "images", "images_per_second"}``, ``"validation"`` and the check's
        numbers where they were asked for. The last record has ``"stopped"``: ``"finished"``,
        ``"early"`` or ``"interrupted"``; with ``patience`` also ``"kept"``, the step whose weights
        are left. ``loss`` and ``images_per_second`` are means since the last record, None where
        there was no step; ``seconds`` counts the steps only.

    Raises:
        ValueError: the maps or conditions are not those of the model; no finite loss or gradient;
            the folder holds a corrupt training or one with other settings; an option makes no
            sense.
    """
    settings, checks, hardware, files = grouped(settings, checks, device, folder, old)
    if settings.patience and checks.validation is None:
        raise ValueError(
            "patience waits for the loss of held-out maps to fall; give them as validation"
        )
    needed = getattr(model, "given", {})
    source = training_set(maps, needed)
    held_out = None
    if checks.validation is not None:
        held_out = training_set(checks.validation, needed, "the validation set")
    device = hardware.device
    if isinstance(device, str):
        device = choose_device(device)
    path = None if files.path is None else Path(files.path)
    with processes.joined(device) as device:
        saved = processes.from_first(lambda: read_training(path))
        began = None
        if saved is not None:
            began = saved[1].get("settings", {}).get("precision", _formerly(device))
        precision = choose_precision(hardware.precision, device, began)
        about = identity(model, settings, source, precision)
        state = _begin(place(model, device), settings, about, path, saved)
        yield from processes.from_first(state.past)
        if state.step >= settings.steps or state.impatient:
            state.leave()
            model.eval()
            return
        reporter = Reporter(state, checks, held_out, device)
        batches = _Batches(source, settings, device, precision)
        yield from _loop(state, batches, reporter, checks, files.save_every)


def _formerly(device: torch.device) -> str:
    """The precision of trainings that did not write it down."""
    return "bfloat16" if device.type == "cuda" else "float32"


def _begin(
    model: nn.Module, settings: Settings, about: dict, path: Path | None, saved: tuple | None
) -> State:
    """The state to continue from: what was saved, or the model's weights (those of the first process)."""
    if settings.accumulate % processes.size():
        raise ValueError(
            "accumulate must be a positive multiple of the number of processes, found "
            f"{settings.accumulate} for {processes.size()} processes"
        )
    if processes.size() > 1:
        first = processes.from_first(lambda: {k: v.cpu() for k, v in model.state_dict().items()})
        model.load_state_dict(first)
    state = State(model.train(), settings, about, path)
    if saved is not None:
        state.resume(*saved)
    return state


def _loop(
    state: State, batches: _Batches, reporter: Reporter, checks: Checks, save_every: int
) -> Iterator[dict]:
    """Step after step, with records and checkpoints; whatever happens, what was learnt is left in the model."""
    steps, began, stopped = state.settings.steps, state.step, "finished"
    check_every = checks.check_every or max(1, steps // 10)
    try:
        try:
            while state.step < steps:
                with reporter.clock():
                    loss = _gradient(state, batches)
                    if state.step % save_every == 0 and state.step > began:
                        state.save()  # these weights are good: their loss and gradient are finite
                    _update(state)
                reporter.losses.append(loss)
                due = checks.check is not None and state.step % check_every == 0
                if state.step < steps and (state.step % checks.every == 0 or due):
                    record = reporter.record(due)
                    state.weigh(record)
                    if state.impatient:
                        stopped = "early"
                        break
                    yield state.log(record)
        except KeyboardInterrupt:
            if processes.size() > 1:  # the others are elsewhere: no agreeing on a last record
                raise
            stopped = "interrupted"
        except GeneratorExit:  # the caller stopped asking
            state.save()
            raise
        state.save()
        if stopped == "early":
            last = record | {"stopped": stopped}
        else:
            checked = checks.check is not None and stopped == "finished"
            last = reporter.record(checked, stopped=stopped)
        if state.settings.patience:
            if stopped == "finished":
                state.weigh(last)
                state.save()
            last["kept"] = state.lowest["step"]
    finally:
        state.leave()
        state.model.eval()
    yield state.log(last)


# ---------------------------------------------------------------- one step


class _Batches:
    """The micro-batches of a training by their number."""

    def __init__(
        self, source: TrainingSet, settings: Settings, device: torch.device, precision: str
    ):
        self.settings, self.device, self.precision = settings, device, precision
        self.stream = Stream(source, partial(_epoch, settings.seed))

    def take(self, number: int) -> tuple[Batch, torch.Generator]:
        """A batch on the device, and the generator of all further randomness of the micro-batch."""
        size = self.settings.batch
        generator = generator_of(self.settings.seed, number)
        batch = self.stream.take(number * size, size)
        if self.settings.augment is not None:
            batch = self._augmented(batch, generator)
        return batch.each(lambda values: values.to(self.device)), generator

    def _augmented(self, batch: Batch, generator: torch.Generator) -> Batch:
        if not batch.given:
            return Batch(self.settings.augment(batch.maps, generator), {})
        batch = self.settings.augment(batch, generator)
        if not isinstance(batch, Batch):
            raise ValueError(
                f"the augmentation returned a {type(batch).__name__}; of a model with conditions it gets "
                "and returns a Batch of maps and conditions"
            )
        return batch


def _gradient(state: State, batches: _Batches) -> float:
    """Leave the clipped gradient of a step in the parameters; its mean loss.

    Raises:
        ValueError: loss or gradient is not finite; no weight was moved.
    """
    settings, parts = state.settings, state.settings.accumulate
    state.optimizer.zero_grad()
    total = torch.zeros((), device=batches.device)
    for part in range(processes.rank(), parts, processes.size()):
        batch, generator = batches.take(state.step * parts + part)
        with autocast(batches.device, batches.precision):
            loss = loss_of(state.model, batch, generator) / parts
        loss.backward()
        total = total + loss.detach()
    gradients = [p.grad for p in state.parameters.values() if p.grad is not None]
    processes.add_up(gradients)
    processes.add_up([total])
    norms = [
        nn.utils.clip_grad_norm_(group["params"], settings.clip)
        for group in state.optimizer.param_groups
    ]
    norm = torch.stack([norm.to(total) for norm in norms]).max()
    loss, norm = torch.stack([total, norm]).tolist()  # one wait for the device
    if not (math.isfinite(loss) and math.isfinite(norm)):
        rate = settings.lr * schedule(state.step, settings.steps)
        raise ValueError(
            f"the loss is {loss} and its gradient {norm} at step {state.step}; a smaller lr (now {rate:.1e}) "
            f"may help{state.kept()}"
        )
    return loss


def _update(state: State) -> None:
    """Move the weights along the gradient, and their average after them."""
    settings = state.settings
    share = schedule(state.step, settings.steps)
    for group, rate in zip(state.optimizer.param_groups, state.rates):
        group["lr"] = rate * share
    with _undivided():
        state.optimizer.step()
        state.step += 1
        keep = min(settings.ema, state.step / (state.step + 9))  # a short memory at first
        average = get_ema_multi_avg_fn(keep)
        average(list(state.average.values()), [state.parameters[n] for n in state.average], None)


@contextmanager
def _undivided():
    """Hold Ctrl-C back until the block ends: a training resumed after half an update would make it again."""
    pressed = []
    try:
        before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    except ValueError:  # only the main thread hears Ctrl-C
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if pressed:
        signal.raise_signal(signal.SIGINT)


def _epoch(seed: int, epoch: int) -> torch.Generator:
    return generator_of(seed, -1 - epoch)
