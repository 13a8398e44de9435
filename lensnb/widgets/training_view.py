"""Follow a training live: loss, learning rate, fidelity and maps while it runs.

:func:`follow_training` takes the place of :func:`lensnb.train.watch`. The training stays in the
cell, so the kernel's own interrupt (■ in JupyterLab) stops it. The checkpoint is kept, and the
same cell resumes from it. Where the page allows it, the widget has a button that interrupts the
kernel in the same way: a kernel reads messages from a widget only after its cell has ended.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator

import traitlets
from torch import Tensor

from .. import plot
from ..compare import Fidelity
from ..plot.losses import learning_rate
from ..plot.style import blank_figure
from ..ramps import ramp
from ..train import watch as print_lines
from ..train.follow import show_all
from .pictures import Pictured, quantise, script

_MOST = 400  # records that are drawn; of more, every second one is left out until they fit
_PAUSE = 0.1  # seconds between two messages to the browser, which needs time to draw
_SAMPLES = 4  # maps of the last check that are shown
_CURVES = ("step", "loss", "validation", "lr")
_NUMBERS = ("step", "loss", "lr", "seconds", "images", "images_per_second", "validation")
_OWN = (*_NUMBERS, "stopped", "kept")  # anything else in a record comes from a check


def follow_training(
    records: Iterator[dict], steps: int, name: str = "training", check: Fidelity | None = None
) -> list[dict]:
    """Show a training in a widget until it ends or is interrupted, and return its records.

    It prints lines instead, as :func:`lensnb.train.watch` does, in a batch job (``LENSNB_BATCH``,
    which ``lensnb run`` sets) and where several processes share a training.

    Args:
        records: of :func:`lensnb.train.fit`.
        steps: of the whole training.
        name: what is trained.
        check: the ``check`` that was given to the training; the maps that it drew last are shown.

    Returns:
        All records; of a resumed training the earlier ones, too.
    """
    in_batch = "LENSNB_BATCH" in os.environ
    shared = os.environ.get("WORLD_SIZE", "1") != "1"
    if in_batch or shared:
        return print_lines(records, steps, name)
    from IPython.display import display

    view = TrainingView(steps, name)
    handle = display(view, display_id=True)
    drawn = None

    def show(record: dict) -> None:
        nonlocal drawn
        samples = getattr(check, "samples", None)
        if samples is drawn:
            view.add(record)
        else:
            view.add(record, samples)
        drawn = samples

    try:
        show_all(records, show)
        view.tell()
        view.state = _end_of(view.history)
    except KeyboardInterrupt:
        view.tell()
        view.state = "interrupted"
        raise
    except BaseException:
        view.tell()
        view.state = "failed"
        raise
    finally:
        if handle is not None:
            handle.update(view)  # so that a stored notebook keeps the picture of the end
    return view.history


def _end_of(history: list[dict]) -> str:
    """How a training ended, in words."""
    if not history:
        return "finished"
    stopped = history[-1].get("stopped", "finished")
    return {"early": "stopped early"}.get(stopped, stopped)


class TrainingView(Pictured):
    """The widget that :func:`follow_training` shows.

    Attributes:
        history: all records.
        state: ``"running"``, ``"finished"``, ``"stopped early"``, ``"interrupted"`` or
            ``"failed"``.
    """

    _esm = script("common.js", "training_view.js")

    state = traitlets.Unicode("running").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _curves = traitlets.Dict().tag(sync=True)  # steps, losses, validation losses, learning rates
    _now = traitlets.Dict().tag(sync=True)  # numbers of the last record and of the last check
    _maps = traitlets.Dict().tag(sync=True)  # maps of the last check

    def __init__(self, steps: int, name: str):
        self.history: list[dict] = []
        self._kept: list[dict] = []  # the records that are drawn
        self._every = 1  # one record in so many is drawn
        self._checked: dict[str, float | None] = {}
        self._told = -math.inf  # when the browser was sent something
        table = ramp("magma").tobytes()
        super().__init__(_about={"steps": steps, "name": name, "table": table})

    def add(self, record: dict, samples: Tensor | None = None) -> None:
        """Show one more record.

        Args:
            record: of a training.
            samples: new maps, shape ``(maps, n, n)``, if there are any; of
                ``(maps, channels, n, n)`` the first source bin is shown.
        """
        self.history.append(record)
        if len(self.history) % self._every == 0 or "stopped" in record:
            self._kept.append(record)
        if len(self._kept) > _MOST:
            self._kept = self._kept[::2]
            self._every *= 2
        checked = {key: _number(value) for key, value in record.items() if key not in _OWN}
        self._checked = checked or self._checked
        if samples is not None or time.monotonic() - self._told > _PAUSE:
            self.tell(samples)

    def tell(self, samples: Tensor | None = None) -> None:
        """Send the browser what there is."""
        if not self.history:
            return
        last = self.history[-1]
        with self.hold_sync():
            self._curves = {key: self._column(key) for key in _CURVES}
            record = {key: _number(last.get(key)) for key in _NUMBERS}
            self._now = {"record": record, "check": self._checked}
            if samples is not None:
                few = samples[:_SAMPLES]
                if few.ndim == 4:
                    few = few[:, 0]
                self._maps = quantise(few) | {"n": few.shape[-1], "count": len(few)}
        self._told = time.monotonic()

    def _column(self, key: str) -> list[float | None]:
        """One number of the records that are drawn."""
        return [_number(record.get(key)) for record in self._kept]

    def figure(self) -> plot.Figure:
        """Loss and learning rate so far."""
        name = self._about["name"]
        figure = blank_figure(9, 3)
        figure.suptitle(f"{name}: {self.state}", fontsize=11)
        loss, rate = figure.subplots(1, 2, width_ratios=(2, 1))
        plot.training(loss, self.history, name=name)
        learning_rate(rate, self.history)
        return figure

    def __repr__(self) -> str:
        where = "no step yet"
        if self.history:
            where = f"step {self.history[-1]['step']} of {self._about['steps']}"
        return f"Training {self._about['name']}: {self.state}, {where}"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        return f"Loss and learning rate of a training. {self!r}."


def _number(value) -> float | None:
    """A finite number, or None."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None
