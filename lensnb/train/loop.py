"""The loop of a training: what a step is, how the learning rate goes, and what is told on the way.

A step has ``accumulate`` micro-batches of ``batch`` maps. Micro-batch m = step · accumulate + i takes the m-th ``batch``
maps of a stream of permutations, and all its noise from a generator seeded by (seed, m). So a training depends neither on
where it was interrupted nor, beyond rounding, on how many processes share its micro-batches.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..store import StoredMaps
from . import processes
from .devices import Compiled, autocast, choose_device, choose_precision, place
from .state import Training, fingerprint, name_of, numbers, plain, read_training
from .streaming import Stream, training_maps

Augment = Callable[[Tensor, torch.Generator], Tensor]
Check = Callable[[nn.Module], dict[str, float]]


def fit(
    model: nn.Module,
    maps: Tensor | StoredMaps,
    steps: int,
    *,
    batch: int = 32,
    accumulate: int = 1,
    lr: float = 1e-3,
    ema: float = 0.999,
    clip: float = 1.0,
    augment: Augment | None = None,
    validation: Tensor | None = None,
    every: int = 50,
    patience: int = 0,
    check: Check | None = None,
    check_every: int | None = None,
    folder: str | Path | None = None,
    save_every: int = 100,
    device: str | torch.device = "auto",
    precision: str = "auto",
    compile: bool = False,
    seed: int = 0,
) -> Iterator[dict]:
    """Train a model and yield a record every so often.

    Adam with a linear warm-up over the first twentieth of the steps and a cosine decay to zero, and gradient clipping. A
    keyboard interrupt stops the training, saves, and leaves a usable model. Started by ``torchrun``, the processes share
    each step, see :mod:`lensnb.train.processes`.

    Args:
        model: anything with ``loss(batch, generator)``.
        maps: κ, float32, shape ``(maps, n, n)``; or a :class:`~lensnb.data.MapSet`, which is read block by block where it
            lies in a ``.zarr`` of more than 67 million pixels, in an order that is random among some sixteen chunks at a
            time (:mod:`lensnb.train.streaming`).
        steps: optimiser steps in all, those of an earlier, interrupted call included.
        batch: maps a micro-batch, the maps in memory at once.
        accumulate: micro-batches a step, whose gradients are averaged; a multiple of the number of processes.
        lr: highest learning rate.
        ema: decay of the moving average of the weights, which reaches back 1 / (1 − ema) steps, but never more than
            the last ninth of the steps made (so that 0.999 is reached at step 9,000); 0 keeps the last weights.
        clip: largest norm of the gradient.
        augment: ``augment(batch, generator)``, for instance :func:`lensnb.data.random_symmetry`.
        validation: held-out maps; their loss under the averaged weights goes into the records.
        every: steps between records.
        patience: end the training when the validation loss has not fallen for so many records, and leave the weights that
            had the lowest: with few maps a model learns them by heart. 0 goes on to the end and leaves the last weights.
        check: ``check(model)`` gives numbers by name that go into a record, measured under the averaged weights, for
            instance :class:`lensnb.compare.Fidelity`. It cannot touch the training's randomness, and its time is not counted.
        check_every: steps between checks; by default a tenth of ``steps``. The last step is checked too.
        folder: keeps ``model.safetensors`` (averaged weights), ``training.safetensors`` (all that resuming needs) and
            ``history.jsonl``; a training found there goes on. None keeps nothing.
        save_every: steps between checkpoints. One is written when the next loss and gradient are known to be finite.
        device: ``"auto"``, or a torch device.
        precision: of the networks: ``"float32"``, ``"bfloat16"``, or ``"auto"``, which takes bfloat16 on GPUs and CPUs with
            hardware for it (a resumed training keeps its own). Validation and sampling are always in float32. A training
            may go on in another precision, with a warning: results change by rounding only, and a machine without such
            hardware should not be locked out of a training that one with it began.
        compile: compile the networks by ``torch.compile``: minutes at first, worth it on a GPU only.
        seed: of the order of the maps and of all noise.

    Yields:
        The records of the training that is resumed, if there is one, then new ones: ``{"step", "loss", "lr", "seconds",
        "images", "images_per_second"}``, ``"validation"`` and the check's numbers where they were asked for, and in the last
        record ``"stopped"``: ``"finished"``, ``"early"`` or ``"interrupted"``, with ``patience`` also ``"kept"``, the step
        whose weights are left. ``loss`` and ``images_per_second`` are means since the last
        record, None where there was no step; ``seconds`` counts the steps only.

    Raises:
        ValueError: no finite loss or gradient; the folder holds a corrupt training or one with other settings; an option
            has no sense.
    """
    if patience and validation is None:
        raise ValueError(
            "patience waits for the loss of held-out maps to fall; give them as validation"
        )
    device = choose_device(device) if isinstance(device, str) else device
    folder, maps = None if folder is None else Path(folder), training_maps(maps)
    with processes.joined(device) as device:
        saved = processes.from_first(lambda: read_training(folder))
        began = (
            None
            if saved is None
            else saved[1].get("settings", {}).get("precision", _formerly(device))
        )
        settings = {
            "family": model.family, "config": model.config, "steps": steps, "batch": batch, "accumulate": accumulate, "lr": lr,
            "ema": ema, "clip": clip, "seed": seed, "maps": len(maps), "data": fingerprint(maps), "augment": name_of(augment),
            "transform": numbers(getattr(model, "transform", None)),
            "precision": choose_precision(precision, device, began), "compile": compile, "patience": patience,
        }  # fmt: skip
        run = _begin(place(model, device), settings, folder, saved)
        yield from processes.from_first(run.past)
        if run.step >= steps or run.impatient:
            run.leave()
            model.eval()
            return
        compiled = Compiled(model, device, compile)
        reporter = _Reporter(run, validation, check, device)
        check_every = max(1, steps // 10) if check_every is None else check_every
        yield from _loop(
            run,
            _Batches(maps, augment, device, seed),
            compiled,
            reporter,
            every,
            check_every,
            save_every,
        )


def schedule(step: int, steps: int) -> float:
    """Learning rate as a share of its maximum: linear warm-up over a twentieth of the steps, then a cosine to zero."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / steps)))


def _formerly(device: torch.device) -> str:
    """The precision of trainings that did not write it down."""
    return "bfloat16" if device.type == "cuda" else "float32"


def _begin(model: nn.Module, settings: dict, folder: Path | None, saved: tuple | None) -> Training:
    """The state to go on from: what was saved, or the model's weights (those of the first process)."""
    if settings["accumulate"] < 1 or settings["accumulate"] % processes.size():
        found = f"found {settings['accumulate']} for {processes.size()} processes"
        raise ValueError(
            f"accumulate must be a positive multiple of the number of processes, {found}"
        )
    if processes.size() > 1:
        model.load_state_dict(
            processes.from_first(lambda: {k: v.cpu() for k, v in model.state_dict().items()})
        )
    run = Training(model.train(), settings, folder)
    if saved is not None:
        run.resume(*saved)
    return run


def _loop(
    run: Training,
    batches: _Batches,
    compiled: Compiled,
    reporter: _Reporter,
    every: int,
    check_every: int,
    save_every: int,
) -> Iterator[dict]:
    """Step after step, with records and checkpoints; whatever happens, what was learnt is left in the model."""
    steps, began, stopped = run.settings["steps"], run.step, "finished"
    try:
        try:
            while run.step < steps:
                with reporter.clock():
                    loss = _gradient(run, batches, compiled)
                    if run.step % save_every == 0 and run.step > began:
                        run.save()  # these weights are good: their loss and gradient are finite
                    _update(run)
                reporter.losses.append(loss)
                due = reporter.check is not None and run.step % check_every == 0
                if run.step < steps and (run.step % every == 0 or due):
                    record = reporter.record(due)
                    run.weigh(record)
                    if run.impatient:
                        stopped = "early"
                        break
                    yield run.log(record)
        except KeyboardInterrupt:
            if (
                processes.size() > 1
            ):  # the others stand at other places: no agreeing on a last record
                raise
            stopped = "interrupted"
        except GeneratorExit:  # the caller stopped asking
            run.save()
            raise
        run.save()
        if stopped == "early":
            last = record | {"stopped": stopped}
        else:
            last = reporter.record(
                reporter.check is not None and stopped == "finished", stopped=stopped
            )
        if run.settings["patience"]:
            if stopped == "finished":
                run.weigh(last)
                run.save()
            last["kept"] = run.lowest["step"]
    finally:
        run.leave()
        run.model.eval()
    yield run.log(last)


# ---------------------------------------------------------------- one step


class _Batches:
    """The micro-batches of a training by their number."""

    def __init__(
        self, maps: Tensor | StoredMaps, augment: Augment | None, device: torch.device, seed: int
    ):
        self.maps, self.augment, self.device, self.seed = maps, augment, device, seed
        self.stream = Stream(maps, partial(_epoch, seed)) if isinstance(maps, StoredMaps) else None

    def take(self, batch: int, number: int) -> tuple[Tensor, torch.Generator]:
        """Maps on the device, and the generator of all further randomness of the micro-batch."""
        generator = _generator(self.seed, number)
        if self.stream is None:
            kappa = self.maps[_draw(len(self.maps), batch, self.seed, number)]
        else:
            kappa = self.stream.take(number * batch, batch)
        return (kappa if self.augment is None else self.augment(kappa, generator)).to(
            self.device
        ), generator


def _gradient(run: Training, batches: _Batches, compiled: Compiled) -> float:
    """Leave the clipped gradient of a step in the parameters; its mean loss.

    Raises:
        ValueError: loss or gradient is not finite; no weight was moved.
    """
    s, parts = run.settings, run.settings["accumulate"]
    run.optimizer.zero_grad()
    total = torch.zeros((), device=batches.device)
    for part in range(processes.rank(), parts, processes.size()):
        kappa, generator = batches.take(s["batch"], run.step * parts + part)
        with autocast(batches.device, s["precision"]), compiled():
            loss = run.model.loss(kappa, generator) / parts
        loss.backward()
        total = total + loss.detach()
    processes.add_up([p.grad for p in run.parameters.values() if p.grad is not None])
    processes.add_up([total])
    norm = nn.utils.clip_grad_norm_(run.parameters.values(), s["clip"])
    loss, norm = torch.stack([total, norm.to(total)]).tolist()  # one wait for the device
    if not (math.isfinite(loss) and math.isfinite(norm)):
        rate = s["lr"] * schedule(run.step, s["steps"])
        found = f"the loss is {loss} and its gradient {norm} at step {run.step}"
        raise ValueError(f"{found}; a smaller lr (now {rate:.1e}) may help{run.kept()}")
    return loss


def _update(run: Training) -> None:
    """Move the weights along the gradient, and their average after them."""
    s = run.settings
    for group in run.optimizer.param_groups:
        group["lr"] = s["lr"] * schedule(run.step, s["steps"])
    with _undivided():
        run.optimizer.step()
        run.step += 1
        keep = min(s["ema"], run.step / (run.step + 9))  # a short memory at first
        get_ema_multi_avg_fn(keep)(list(run.average.values()), list(run.parameters.values()), None)


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


def _draw(maps: int, batch: int, seed: int, number: int) -> Tensor:
    """Indices of a micro-batch: every epoch is a fresh permutation, a batch may straddle two."""
    start = number * batch
    epochs = range(start // maps, (start + batch - 1) // maps + 1)
    order = torch.cat([_order(maps, seed, epoch) for epoch in epochs])
    first = start - epochs[0] * maps
    return order[first : first + batch]


@lru_cache(maxsize=4)
def _order(maps: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(maps, generator=_epoch(seed, epoch))


def _epoch(seed: int, epoch: int) -> torch.Generator:
    return _generator(seed, -1 - epoch)


def _generator(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)


# ---------------------------------------------------------------- what is told


class _Reporter:
    """Records: losses and time since the last one, validation and checks under the averaged weights."""

    def __init__(
        self, run: Training, validation: Tensor | None, check: Check | None, device: torch.device
    ):
        self.run, self.validation, self.check, self.device = run, validation, check, device
        self.losses: list[float] = []
        self.since = run.seconds

    @contextmanager
    def clock(self):
        """Count the time of the block as training."""
        started = time.perf_counter()
        yield
        self.run.seconds += time.perf_counter() - started

    def record(self, checked: bool, **more) -> dict:
        """A record, the same in all processes; the first one measures."""
        told = processes.from_first(lambda: self._measured(checked) | more)
        self.losses.clear()
        self.since = self.run.seconds
        return told

    def _measured(self, checked: bool) -> dict:
        run, s, losses = self.run, self.run.settings, self.losses
        images, passed = s["batch"] * s["accumulate"], run.seconds - self.since
        record = {
            "step": run.step, "loss": sum(losses) / len(losses) if losses else None, "lr": s["lr"] * schedule(run.step, s["steps"]),
            "seconds": run.seconds, "images": run.step * images,
            "images_per_second": len(losses) * images / passed if losses else None,
        }  # fmt: skip
        if checked or self.validation is not None:
            with run.averaged():
                record |= _validate(run.model, self.validation, s["batch"], self.device, s["seed"])
                record |= _checked(self.check, run.model, record) if checked else {}
        return record


@torch.no_grad()
def _validate(
    model: nn.Module, validation: Tensor | None, batch: int, device: torch.device, seed: int
) -> dict:
    """Loss of held-out maps, with the same noise each time."""
    if validation is None:
        return {}
    generator = _generator(seed, 0)
    losses = [float(model.loss(part.to(device), generator)) for part in validation.split(batch)]
    return {"validation": sum(losses) / len(losses)}


def _checked(check: Check, model: nn.Module, record: dict) -> dict:
    """The numbers of a check, made in evaluation mode and behind a fence for the global random state."""
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
    return {name: plain(value) for name, value in found.items()}
