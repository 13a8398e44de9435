"""Follow a training: a progress bar, or plain lines in a batch job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from tqdm import tqdm

# keys that records always have; all others came from a check
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
    """Follow a training with a progress bar; in a batch job, with a line every half minute.

    In a batch job the environment has ``LENSNB_BATCH``, which ``lensnb run`` sets. There an
    interrupted training ends with ``KeyboardInterrupt``, after its checkpoint. If several
    processes share a training, only the first one prints.

    Args:
        records: the generator that :func:`lensnb.train.fit` returns.
        steps: steps of the whole training.
        name: name of the training, for the bar.

    Returns:
        All records.

    Raises:
        KeyboardInterrupt: the training was interrupted, in a batch job.
    """
    first = os.environ.get("RANK", "0") == "0"
    batch = "LENSNB_BATCH" in os.environ
    history: list[dict] = []
    numbers = ""  # of the last check
    shown = 0.0  # time of the last line

    def show(record: dict) -> None:
        nonlocal numbers, shown
        history.append(record)
        checked = _numbers(record)
        if checked:
            numbers = checked
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
    last = {}
    if history:
        last = history[-1]
    interrupted = last.get("stopped") == "interrupted"
    if first and interrupted:
        print(
            f"{name} was interrupted at step {last['step']} of {steps}; "
            "the model so far is usable, and the same cell resumes the training"
        )
    elif first and "kept" in last:
        print(
            f"{name} keeps the weights of step {last['kept']}, "
            "which had the lowest validation loss"
        )
    if batch and interrupted:
        # Nobody looks at the results of half a training, so the interrupt ends the run as well.
        raise KeyboardInterrupt
    return history


def show_all(records: Iterator[dict], show: Callable[[dict], None]) -> None:
    """Show every record.

    An interrupt that arrives while a record is shown is passed on to the training, which saves and
    ends.
    """
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
            # if the training has ended, this raises the interrupt again
            show(records.throw(KeyboardInterrupt))


def _loss_and_speed(record: dict) -> str:
    loss = "–"
    if record["loss"] is not None:
        loss = f"{record['loss']:.4f}"
    text = f"loss {loss}"
    speed = record.get("images_per_second")  # records of older versions have none
    if speed:
        text += f", {speed:.0f} images/s"
    return text


def _numbers(record: dict) -> str:
    """The numbers that a check added to a record, each with its error if that is there."""
    more = {
        key: value
        for key, value in record.items()
        # the parts of the loss of held-out maps are for figures: too many for a line
        if key not in _OWN and not key.startswith("validation, ")
    }
    errors = {f"{key}_error" for key in more}
    text = ""
    for key, value in more.items():
        if key in errors:
            continue
        text += f", {key} {_short(value)}"
        if more.get(f"{key}_error") is not None:
            text += f" ± {more[f'{key}_error']:.1g}"
    return text


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}"
