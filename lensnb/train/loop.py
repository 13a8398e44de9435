"""The loop of a training: the work of a step, and the records and checkpoints between steps.

A step has ``accumulate`` micro-batches of ``batch`` maps. Micro-batch number m = step · accumulate
+ i takes its maps from a stream of permutations, from map m · batch on. All its noise comes from a
generator seeded by (seed, m). So a training does not depend on where it was interrupted. Nor,
beyond rounding, does it depend on how many processes share its micro-batches.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..files import locked
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
    """Train a model, and yield a record every ``checks.every`` steps.

        settings = Settings(steps=2000, lr=4e-3, augment=random_symmetry)
        for record in fit(model, train, settings, checks=Checks(held_out), folder="runs/flow"):
            print(record["step"], record["loss"])

    A keyboard interrupt stops the training, saves it, and leaves a usable model. Processes that
    were started by ``torchrun`` share each step, see :mod:`lensnb.train.processes`.

    Args:
        model: any model with ``loss(batch, generator)``, or ``loss(batch, generator, given)`` if
            it has conditions. :mod:`lensnb.models.contract` lists what else it may decide about
            its training.
        maps: κ, float32, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``. For a model with
            conditions a :class:`~lensnb.data.MapSet` or a :class:`~lensnb.given.Batch` that has
            them. A set in a ``.zarr`` with more than 67 million pixels is read block by block
            (:mod:`lensnb.train.streaming`).
        settings: everything that decides the result; a number stands for
            ``Settings(steps=number)``.
        checks: what is measured during the training.
        device: where the networks compute; a name stands for ``Hardware(name)``.
        folder: where the files are kept; a path stands for ``Folder(path)``. A training found
            there resumes. None keeps nothing.
        old: single arguments of older versions, which work in this release only.

    Yields:
        First the records of the training that is resumed, if there is one, then new ones. A record
        is ``{"step", "loss", "lr", "seconds", "images", "images_per_second"}``, with
        ``"validation"`` and the numbers of the check if there are any. ``loss`` and
        ``images_per_second`` are means since the last record, None if there was no step.
        ``seconds`` counts only the time of steps. The last record has ``"stopped"``:
        ``"finished"``, ``"early"`` or ``"interrupted"``. With ``patience`` it also has ``"kept"``,
        the step whose weights are left in the model.

    Raises:
        ValueError: the model has no weights; the maps or conditions do not fit it; a loss or
            gradient is not finite; the folder has a corrupt training or one with other settings.
            An option makes no sense. A folder is given, but the model is of no registered family,
            or another process trains in it.
        TypeError: an unknown argument, or one that is given twice.
    """
    settings, checks, hardware, files = grouped(settings, checks, device, folder, old)
    records = _training(model, maps, settings, checks, hardware, files)
    if files.path is not None:
        _take_over(Path(files.path).resolve(), records)
    return records


# The training of each folder in this process, as long as something holds its generator.
_trainings: WeakValueDictionary[Path, Generator] = WeakValueDictionary()


def _take_over(path: Path, records: Generator) -> None:
    """End a training of the same folder that was left in the middle, in this process.

    A cell that failed between two records keeps the generator. If it ended later, it would
    overwrite what the new training has saved.
    """
    left = _trainings.get(path)
    if left is not None and not left.gi_running:
        left.close()  # this saves it
    _trainings[path] = records


def _training(
    model: nn.Module, maps, settings: Settings, checks: Checks, hardware: Hardware, files: Folder
) -> Generator[dict]:
    """The generator that :func:`fit` returns."""
    if settings.patience and checks.validation is None:
        raise ValueError(
            "patience waits for the loss of held-out maps to fall; give them as validation"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"a {type(model).__name__} has no weights to train")
    needed = getattr(model, "given", {})
    source = training_set(maps, needed)
    held_out = None
    if checks.validation is not None:
        held_out = training_set(checks.validation, needed, "the validation set")
    device = hardware.device
    if isinstance(device, str):
        device = choose_device(device)
    path = files.path
    if path is not None:
        path = Path(path)
        _check_saved(model)
    with _alone(path), processes.joined(device) as device:
        saved = processes.from_first(lambda: read_training(path))
        began = None
        if saved is not None:
            _, header = saved
            began = header.get("settings", {}).get("precision", _formerly(device))
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


@contextmanager
def _alone(path: Path | None) -> Iterator[None]:
    """While the block lasts, no other process trains in the folder.

    Of processes that share a training, the first one locks it.
    """
    if path is None or int(os.environ.get("RANK", 0)) > 0:
        yield
        return
    path.mkdir(parents=True, exist_ok=True)
    with locked(path):
        yield


def _check_saved(model: nn.Module) -> None:
    """Refuse a model whose files could not be read again, before it is trained."""
    lacking = [name for name in ("family", "config", "from_config") if not hasattr(model, name)]
    if lacking:
        raise ValueError(
            f"a {type(model).__name__} cannot be saved, because it has no {lacking[0]}; expected "
            "a family as lensnb.models.contract describes it, registered by lensnb.models.register"
        )


def _formerly(device: torch.device) -> str:
    """The precision of older trainings, whose files do not state it."""
    if device.type == "cuda":
        return "bfloat16"
    return "float32"


def _begin(
    model: nn.Module, settings: Settings, about: dict, path: Path | None, saved: tuple | None
) -> State:
    """The state to start from: the saved one, or the model's weights in the first process."""
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
    """All steps, with records and checkpoints.

    However the loop ends, the averaged weights are left in the model.
    """
    steps = state.settings.steps
    began = state.step
    stopped = "finished"
    check_every = checks.check_every or max(1, steps // 10)
    try:
        try:
            while state.step < steps:
                with reporter.clock():
                    loss = _gradient(state, batches)
                    if state.step % save_every == 0 and state.step > began:
                        state.save()  # the loss and gradient of these weights are finite
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
            if processes.size() > 1:
                state.save()
                raise  # the processes are at different points, and cannot share a last record
            stopped = "interrupted"
        except GeneratorExit:  # the caller left its loop
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
        """A batch on the device, and the generator of all its further noise."""
        size = self.settings.batch
        generator = generator_of(self.settings.seed, number)
        batch = self.stream.take(number * size, size)
        if self.settings.augment is not None:
            batch = self._augmented(batch, generator)
        return batch.each(lambda values: values.to(self.device)), generator

    def _augmented(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch after augmentation, which gets plain maps if there are no conditions."""
        if not batch.given:
            return Batch(self.settings.augment(batch.maps, generator), {})
        batch = self.settings.augment(batch, generator)
        if not isinstance(batch, Batch):
            raise ValueError(
                f"the augmentation returned a {type(batch).__name__}; "
                "for a model with conditions it must return a Batch of maps and conditions"
            )
        return batch


def _gradient(state: State, batches: _Batches) -> float:
    """Compute the clipped gradient of a step, which stays in the parameters.

    Returns:
        The mean loss of the step.

    Raises:
        ValueError: loss or gradient is not finite; no weight was changed.
    """
    settings = state.settings
    parts = settings.accumulate
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
    loss, norm = torch.stack([total, norm]).tolist()  # together, to wait for the device once
    if not (math.isfinite(loss) and math.isfinite(norm)):
        rate = settings.lr * schedule(state.step, settings.steps)
        raise ValueError(
            f"the loss is {loss} and its gradient {norm} at step {state.step}; "
            f"a smaller lr (now {rate:.1e}) may help{state.kept()}"
        )
    return loss


def _update(state: State) -> None:
    """Update the weights, and then their moving average."""
    settings = state.settings
    share = schedule(state.step, settings.steps)
    for group, rate in zip(state.optimizer.param_groups, state.rates):
        group["lr"] = rate * share
    with _undivided():
        state.optimizer.step()
        state.step += 1
        keep = min(settings.ema, state.step / (state.step + 9))  # a short average at first
        update_average = get_ema_multi_avg_fn(keep)
        averages = list(state.average.values())
        weights = [state.parameters[name] for name in state.average]
        update_average(averages, weights, None)


@contextmanager
def _undivided():
    """Delay Ctrl-C until the block ends.

    Otherwise a training could be saved after half an update, and would repeat the whole update
    when it resumes.
    """
    pressed = []
    try:
        before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    except ValueError:  # not the main thread, which alone receives Ctrl-C
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
