"""Following a training: a progress bar, or plain lines in a batch job."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from tqdm import tqdm

OWN = {
    "step",
    "loss",
    "lr",
    "seconds",
    "images",
    "images_per_second",
    "validation",
    "stopped",
    "kept",
}  # keys of every record


def watch(records: Iterator[dict], steps: int, name: str = "training") -> list[dict]:
    """Follow a training with a progress bar, or with a plain line every half minute in a batch job; return its records.

    A batch job is one whose environment has ``LENSNB_BATCH`` (``lensnb run`` sets it); there a training that was interrupted
    ends in ``KeyboardInterrupt``, after its checkpoint. Of several processes that share a training, the first one speaks.
    """
    first, batch = os.environ.get("RANK", "0") == "0", "LENSNB_BATCH" in os.environ
    history, numbers, shown = [], "", 0.0

    def show(record: dict) -> None:
        nonlocal numbers, shown
        history.append(record)
        checked = _numbers(record)
        numbers = checked or numbers  # those of the last check stay
        said = _said(record) + numbers
        bar.update(record["step"] - bar.n)
        bar.set_postfix_str(said)
        if first and batch and (record["seconds"] - shown > 30 or checked or "stopped" in record):
            shown = record["seconds"]
            print(f"{name}: step {record['step']} of {steps}, {said}, {shown:.0f} s", flush=True)

    with tqdm(
        total=steps, desc=name, unit="step", file=sys.stdout, disable=batch or not first
    ) as bar:
        show_all(records, show)
    stopped = bool(history) and history[-1].get("stopped") == "interrupted"
    if first and stopped:
        print(
            f"{name} was interrupted at step {history[-1]['step']} of {steps}; the model so far is usable, and the same cell goes on"
        )
    elif first and "kept" in (history[-1] if history else {}):
        print(
            f"{name} keeps the weights of step {history[-1]['kept']}, whose loss of held-out maps was the lowest"
        )
    if (
        batch and stopped
    ):  # nobody is there to look at a model that is half trained: what stopped the training stops the run
        raise KeyboardInterrupt
    return history


def show_all(records: Iterator[dict], show: Callable[[dict], None]) -> None:
    """Show every record. An interrupt while one is shown is handed to the training, which saves and gives its last one."""
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
            show(records.throw(KeyboardInterrupt))  # raises it again where the training is over


def _said(record: dict) -> str:
    loss = "–" if record["loss"] is None else f"{record['loss']:.4f}"
    speed = record.get("images_per_second")  # records of older versions have none
    return f"loss {loss}" + (f", {speed:.0f} images/s" if speed else "")


def _numbers(record: dict) -> str:
    """What a check added to a record."""
    more = {key: value for key, value in record.items() if key not in OWN}
    return "".join(
        f", {key} {'–' if value is None else f'{value:.3g}'}" for key, value in more.items()
    )
