"""Following a training: a progress bar, or plain lines in a batch job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from tqdm import tqdm

# keys of every record; what else it has came from a check
_OWN = {
    "step",
    "loss",
    "lr",
    "seconds",
    "images",
    "images_per_second",
    "validation",
    "stopped",
    "kept",
}


def watch(records: Iterator[dict], steps: int, name: str = "training") -> list[dict]:
    """Follow a training with a progress bar, or in a batch job with a plain line every half minute.

    A batch job is one whose environment has ``LENSNB_BATCH`` (``lensnb run`` sets it). There an
    interrupted training ends in ``KeyboardInterrupt``, after its checkpoint. Of several processes
    that share a training, the first one prints.

    Args:
        records: what :func:`lensnb.train.fit` yields.
        steps: of the whole training.
        name: of the training, for the bar.

    Returns:
        All records.
    """
    first = os.environ.get("RANK", "0") == "0"
    batch = "LENSNB_BATCH" in os.environ
    history: list[dict] = []
    numbers, shown = "", 0.0

    def show(record: dict) -> None:
        nonlocal numbers, shown
        history.append(record)
        checked = _numbers(record)
        numbers = checked or numbers  # those of the last check stay
        text = _loss_and_speed(record) + numbers
        bar.update(record["step"] - bar.n)
        bar.set_postfix_str(text)
        due = record["seconds"] - shown > 30 or checked or "stopped" in record
        if first and batch and due:
            shown = record["seconds"]
            step = record["step"]
            print(f"{name}: step {step} of {steps}, {text}, {shown:.0f} s", flush=True)

    quiet = batch or not first
    with tqdm(total=steps, desc=name, unit="step", file=sys.stdout, disable=quiet) as bar:
        show_all(records, show)
    last = history[-1] if history else {}
    interrupted = last.get("stopped") == "interrupted"
    if first and interrupted:
        print(
            f"{name} was interrupted at step {last['step']} of {steps}; the model so far is usable, and "
            "the same cell resumes the training"
        )
    elif first and "kept" in last:
        print(
            f"{name} keeps the weights of step {last['kept']}, which had the lowest validation loss"
        )
    if batch and interrupted:
        # nobody is there to look at a model that is half trained: the interrupt ends the run as
        # well
        raise KeyboardInterrupt
    return history


def show_all(records: Iterator[dict], show: Callable[[dict], None]) -> None:
    """Show every record. An interrupt while one is shown is passed to the training, which saves and ends."""
    records = iter(records)
    while True:
        try:
            record = next(records, None)
            if record is None:
                return
            show(record)
        except KeyboardInterrupt:
            if not hasattr(records, "throw"):
                raise
            # raises it again where the training is over
            show(records.throw(KeyboardInterrupt))


def _loss_and_speed(record: dict) -> str:
    loss = "–" if record["loss"] is None else f"{record['loss']:.4f}"
    speed = record.get("images_per_second")  # records of older versions have none
    return f"loss {loss}" + (f", {speed:.0f} images/s" if speed else "")


def _numbers(record: dict) -> str:
    """What a check added to a record."""
    more = {key: value for key, value in record.items() if key not in _OWN}
    return "".join(f", {key} {_short(value)}" for key, value in more.items())


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
