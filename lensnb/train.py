"""Training: one generator of records for every model that has ``loss(batch, generator)``.

    for record in fit(model, maps, steps=2000, folder="runs/flow"):
        print(record["step"], record["loss"])

The order of the maps and all noise depend only on the seed and the step, so a resumed training equals an uninterrupted
one. The weights that remain in the model (and in ``model.safetensors``) are the exponential moving average.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .files import atomic_write, read_checkpoint, save_checkpoint, write_tensors


def choose_device(name: str = "auto") -> torch.device:
    """``"auto"`` → CUDA, else Apple's MPS, else the CPU; any other name is taken as it is.

    Raises:
        ValueError: the named device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"the device {name!r} is not there ({str(error).splitlines()[0]}); expected auto or cpu"
        ) from None
    return device


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to a device; MPS knows no float64, so there it is made float32 first."""
    return (model.float() if device.type == "mps" else model).to(device)


def watch(records: Iterator[dict], steps: int, name: str = "training") -> list[dict]:
    """Follow a training with a progress bar, or with a plain line every half minute in a batch job; return its records.

    A batch job is one whose environment has ``LENSNB_BATCH`` (``lensnb run`` sets it).
    """
    batch, history, shown = "LENSNB_BATCH" in os.environ, [], 0.0
    with tqdm(total=steps, desc=name, unit="step", file=sys.stdout, disable=batch) as bar:
        for record in records:
            history.append(record)
            loss = "–" if record["loss"] is None else f"{record['loss']:.4f}"
            bar.update(record["step"] - bar.n)
            bar.set_postfix_str(f"loss {loss}")
            if batch and (record["seconds"] - shown > 30 or "stopped" in record):
                shown = record["seconds"]
                print(f"{name}: step {record['step']} of {steps}, loss {loss}, {shown:.0f} s", flush=True)
    if history and history[-1].get("stopped") == "interrupted":
        print(
            f"{name} was interrupted at step {history[-1]['step']} of {steps}; the model so far is usable, and the same cell goes on"
        )
    return history


# ---------------------------------------------------------------- training


def fit(
    model: nn.Module,
    maps: Tensor,
    steps: int,
    *,
    batch: int = 32,
    lr: float = 1e-3,
    ema: float = 0.999,
    clip: float = 1.0,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    validation: Tensor | None = None,
    every: int = 50,
    folder: str | Path | None = None,
    save_every: int = 100,
    device: str | torch.device = "auto",
    seed: int = 0,
) -> Iterator[dict]:
    """Train a model and yield a record every so often.

    Adam with a linear warm-up over the first twentieth of the steps and a cosine decay to zero, gradient clipping, and
    bfloat16 autocast on CUDA. A keyboard interrupt stops the training, saves, and leaves a usable model.

    Args:
        model: anything with ``loss(batch, generator)``.
        maps: κ, float32, shape ``(maps, n, n)``.
        steps: optimiser steps in all, those of an earlier, interrupted call included.
        batch: maps a step.
        lr: highest learning rate.
        ema: decay of the moving average of the weights (shorter at the start).
        clip: largest norm of the gradient.
        augment: ``augment(batch, generator)``, for instance :func:`lensnb.data.random_symmetry`.
        validation: held-out maps; their loss under the averaged weights goes into the records.
        every: steps between records.
        folder: keeps ``model.safetensors`` (averaged weights), ``training.safetensors`` (all that resuming needs) and
            ``history.jsonl``; a training found there goes on. None keeps nothing.
        save_every: steps between checkpoints.
        device: ``"auto"``, or a torch device.
        seed: of the order of the maps and of all noise.

    Yields:
        The records of the training that is resumed, if there is one, then new ones: ``{"step", "loss", "lr", "seconds", "images"}``, ``"validation"`` where it was asked for, and in the last record
        ``"stopped"``: ``"finished"`` or ``"interrupted"``. ``loss`` is the mean since the last record.

    Raises:
        ValueError: no finite loss or gradient; the folder holds a corrupt training or one with other settings.
    """
    device = choose_device(device) if isinstance(device, str) else device
    place(model, device).train()
    settings = {
        "family": model.family, "config": model.config, "steps": steps, "batch": batch, "lr": lr, "ema": ema, "clip": clip,
        "seed": seed, "maps": len(maps), "data": _fingerprint(maps),
    }  # fmt: skip
    run = _Training(model, torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.99)), settings, folder)
    run.resume(device)
    yield from run.past()
    if run.step >= steps:
        run.average_into_model()
        model.eval()
        return
    started, spent, losses = time.perf_counter(), run.seconds, []

    def record(**more) -> dict:
        run.seconds = spent + time.perf_counter() - started
        mean = sum(losses) / len(losses) if losses else None
        losses.clear()
        rate = lr * schedule(run.step, steps)
        return {"step": run.step, "loss": mean, "lr": rate, "seconds": run.seconds, "images": run.step * batch} | more

    stopped = "finished"
    try:
        try:
            while run.step < steps:
                losses.append(_advance(run, maps, batch, augment, device, lr * schedule(run.step, steps)))
                if run.step % every == 0 and run.step < steps:
                    yield run.log(record(**_validate(run, validation, batch, device, seed)))
                if run.step % save_every == 0 and run.step < steps:
                    run.save()
        except KeyboardInterrupt:
            stopped = "interrupted"
        except GeneratorExit:  # the caller stopped asking
            run.save()
            raise
        last = record(**_validate(run, validation, batch, device, seed), stopped=stopped)
        run.save()
    finally:  # whatever happens, what was learnt is left in the model
        run.average_into_model()
        model.eval()
    yield run.log(last)


def schedule(step: int, steps: int) -> float:
    """Learning rate as a share of its maximum: linear warm-up over a twentieth of the steps, then a cosine to zero."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / steps)))


class _Training:
    """The state of one training: model, moving average, optimiser, step, and its files."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict, folder: str | Path | None):
        self.model, self.optimizer, self.settings = model, optimizer, settings
        self.folder = None if folder is None else Path(folder)
        self.average = {k: p.detach().clone() for k, p in model.named_parameters()}
        self.step, self.seconds = 0, 0.0

    def log(self, record: dict) -> dict:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / "history.jsonl", "a") as file:
                file.write(json.dumps(record) + "\n")
        return record

    def past(self) -> list[dict]:
        """The records that led to the resumed state; later ones (of steps that were lost) leave the file."""
        path = None if self.folder is None else self.folder / "history.jsonl"
        if path is None or not path.exists():
            return []
        records = []
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:  # a line that was being written when the process was killed
                break
        kept = [r for r in records if r["step"] <= self.step]
        if len(kept) < len(path.read_text().splitlines()):
            with atomic_write(path) as file:
                file.write("".join(json.dumps(r) + "\n" for r in kept).encode())
        return kept

    @torch.no_grad()
    def average_into_model(self) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(self.average[name])

    @contextmanager
    def averaged(self):
        """The averaged weights are in the model while the block lasts."""
        raw = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        try:
            self.average_into_model()
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    parameter.copy_(raw[name])

    def save(self) -> None:
        if self.folder is None:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
        header = {"step": self.step, "seconds": self.seconds, "settings": self.settings}
        write_tensors(self.folder / "training.safetensors", tensors, header)
        with self.averaged():
            save_checkpoint(self.folder / "model.safetensors", self.model, step=self.step, settings=self.settings)

    def resume(self, device: torch.device) -> None:
        path = None if self.folder is None else self.folder / "training.safetensors"
        if path is None or not path.exists():
            return
        tensors, header = read_checkpoint(path)
        found, wanted = header.get("settings", {}), json.loads(json.dumps(self.settings))
        other = [f"{k} = {found.get(k)!r} (now {v!r})" for k, v in wanted.items() if found.get(k) != v]
        if other:
            raise ValueError(
                f"{path} belongs to a training with other settings, {', '.join(other)}; use another folder"
            )
        part = lambda prefix: {k.removeprefix(prefix): v.to(device) for k, v in tensors.items() if k.startswith(prefix)}
        self.model.load_state_dict(part("model."))
        self.average = part("average.")
        adam = self.optimizer.state_dict()
        for key, value in part("adam.").items():
            i, name = key.split(".", 1)
            adam["state"].setdefault(int(i), {})[name] = value.cpu() if name == "step" else value
        self.optimizer.load_state_dict(adam)
        self.step, self.seconds = header["step"], header["seconds"]


def _advance(
    run: _Training, maps: Tensor, batch: int, augment: Callable | None, device: torch.device, rate: float
) -> float:
    """One optimiser step; all randomness comes from the seed and the number of the step."""
    generator = _generator(run.settings["seed"], run.step)
    kappa = maps[_draw(len(maps), batch, run.settings["seed"], run.step)]
    kappa = (kappa if augment is None else augment(kappa, generator)).to(device)
    with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
        loss = run.model.loss(kappa, generator)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), run.settings["clip"])
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        found = f"the loss is {float(loss.detach())} and its gradient {float(norm)}"
        raise ValueError(f"{found} at step {run.step}; a smaller lr (now {rate:.1e}) may help")
    with _undivided():
        run.optimizer.step()
        run.step += 1
        keep = min(run.settings["ema"], run.step / (run.step + 9))  # a short memory at first
        with torch.no_grad():
            for name, parameter in run.model.named_parameters():
                run.average[name].lerp_(parameter, 1 - keep)
    return float(loss.detach())


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


def _draw(maps: int, batch: int, seed: int, step: int) -> Tensor:
    """Indices of a step's batch: every epoch is a fresh permutation, a batch may straddle two."""
    start = step * batch
    index = torch.arange(start, start + batch)
    epochs = {int(e): torch.randperm(maps, generator=_generator(seed, -1 - int(e))) for e in (index // maps).unique()}
    return torch.stack([epochs[int(i) // maps][int(i) % maps] for i in index])


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


@torch.no_grad()
def _validate(run: _Training, validation: Tensor | None, batch: int, device: torch.device, seed: int) -> dict:
    """Loss of held-out maps under the averaged weights, with the same noise each time."""
    if validation is None:
        return {}
    generator = _generator(seed, 0)
    with run.averaged():
        losses = [float(run.model.loss(part.to(device), generator)) for part in validation.split(batch)]
    return {"validation": sum(losses) / len(losses)}


def _fingerprint(maps: Tensor) -> str:
    """A short hash of the training maps, so that a training is never resumed on other data."""
    import hashlib

    return hashlib.sha256(maps.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
