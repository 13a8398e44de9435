"""Follow a training live: loss, learning rate, fidelity and early maps while it runs.

:func:`watch` takes the place of :func:`lensnb.train.watch`. The training stays in the cell, so the kernel's own interrupt (■ in
JupyterLab) stops it; the checkpoint is kept, and the same cell goes on from there. The button of the widget interrupts the
kernel in the same way, where the page lets it: a kernel hears what a widget says only when its cell has ended.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator

import traitlets

from .. import plot
from ..compare import Fidelity
from ..train import watch as watch_lines
from ..train.follow import show_all
from .pictures import Pictured, colour_table, quantise, script

MOST = 400  # records that are drawn; of more, every second one is left out until they fit
PAUSE = 0.1  # seconds between what the browser is told: it has to draw it
SAMPLES = 4  # maps of the last check that are shown
SHOWN = ("step", "loss", "lr", "seconds", "images", "images_per_second", "validation")
KNOWN = (*SHOWN, "stopped", "kept")  # whatever else is in a record comes from a check


def watch(
    records: Iterator[dict], steps: int, name: str = "training", check: Fidelity | None = None
) -> list[dict]:
    """Follow a training in a widget until it ends or is interrupted; return its records.

    In a batch job (``LENSNB_BATCH``, which ``lensnb run`` sets) and of several processes that share a training, it prints
    lines instead, as :func:`lensnb.train.watch` does.

    Args:
        records: of :func:`lensnb.train.fit`.
        steps: of the whole training.
        name: what is trained.
        check: the ``check`` that was given to the training; the maps that it drew last are shown.

    Returns:
        All records, those of a training that is resumed among them.
    """
    if "LENSNB_BATCH" in os.environ or os.environ.get("WORLD_SIZE", "1") != "1":
        return watch_lines(records, steps, name)
    from IPython.display import display

    widget = Training(steps, name)
    handle = display(widget, display_id=True)
    drawn = None

    def show(record: dict) -> None:
        nonlocal drawn
        samples = None if check is None else check.samples
        widget.add(record, None if samples is drawn else samples)
        drawn = samples

    try:
        show_all(records, show)
        widget.tell()
        stopped = widget.history[-1].get("stopped", "finished") if widget.history else "finished"
        widget.state = "stopped early" if stopped == "early" else stopped
    except BaseException as error:
        widget.tell()
        widget.state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        if handle is not None:
            handle.update(
                widget
            )  # once more, so that a stored notebook keeps the picture of the end
    return widget.history


class Training(Pictured):
    """The widget that :func:`watch` shows.

    Attributes:
        history: all records.
        state: ``"running"``, ``"finished"``, ``"stopped early"``, ``"interrupted"`` or ``"failed"``.
    """

    _esm = script("common.js", "training.js")

    state = traitlets.Unicode("running").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _curves = traitlets.Dict().tag(sync=True)  # steps, losses, validation, learning rates
    _now = traitlets.Dict().tag(sync=True)  # the numbers of the last record, and of the last check
    _maps = traitlets.Dict().tag(sync=True)  # the last maps that a check drew

    def __init__(self, steps: int, name: str):
        self.history: list[dict] = []
        self._kept: list[dict] = []  # what is drawn
        self._every, self._checked, self._told = 1, {}, -math.inf
        super().__init__(
            _about={"steps": steps, "name": name, "table": colour_table("magma").tobytes()}
        )

    def add(self, record: dict, samples=None) -> None:
        """Show one more record, and maps ``(maps, n, n)`` where there are new ones."""
        self.history.append(record)
        if len(self.history) % self._every == 0 or "stopped" in record:
            self._kept.append(record)
        if len(self._kept) > MOST:
            self._kept, self._every = self._kept[::2], 2 * self._every
        checked = {key: _number(value) for key, value in record.items() if key not in KNOWN}
        self._checked = checked or self._checked
        if samples is not None or time.monotonic() - self._told > PAUSE:
            self.tell(samples)

    def tell(self, samples=None) -> None:
        """Send the browser what there is."""
        if not self.history:
            return
        column = lambda key: [_number(one.get(key)) for one in self._kept]
        with self.hold_sync():
            self._curves = {key: column(key) for key in ("step", "loss", "validation", "lr")}
            self._now = {
                "record": {key: _number(self.history[-1].get(key)) for key in SHOWN},
                "check": self._checked,
            }
            if samples is not None:
                few = samples[:SAMPLES]
                self._maps = quantise(few) | {"n": few.shape[-1], "count": len(few)}
        self._told = time.monotonic()

    def figure(self) -> plot.Figure:
        """Loss and learning rate so far."""
        figure = plot.Figure(figsize=(9, 3), layout="constrained", facecolor="white")
        loss, rate = figure.subplots(1, 2, width_ratios=(2, 1))
        for key, colour, label in (
            ("loss", plot.CYCLE[0], "training"),
            ("validation", plot.CYCLE[1], "validation"),
        ):
            points = [
                (one["step"], one[key])
                for one in self.history
                if _number(one.get(key)) is not None
            ]
            if points:
                loss.plot(*zip(*points), color=colour, label=label)
        if loss.lines:
            loss.legend(frameon=False)
        rate.plot(
            [one["step"] for one in self.history],
            [one["lr"] for one in self.history],
            color=plot.CYCLE[2],
        )
        loss.set(xlabel="step", ylabel="loss", title=f"{self._about['name']}: {self.state}")
        rate.set(xlabel="step", ylabel="learning rate")
        return figure

    def __repr__(self) -> str:
        at = (
            f"step {self.history[-1]['step']} of {self._about['steps']}"
            if self.history
            else "no step yet"
        )
        return f"Training {self._about['name']}: {self.state}, {at}"

    def alt(self) -> str:
        return f"Loss and learning rate of a training. {self!r}."


def _number(value) -> float | None:
    """A finite number, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
