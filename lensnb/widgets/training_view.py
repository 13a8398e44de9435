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
from ..compare.progress import NUMBERS
from ..plot.fidelity_curves import NUMBERS as CURVES
from ..plot.fidelity_curves import fidelity
from ..plot.losses import learning_rate
from ..plot.style import blank_figure, shades
from ..ramps import ramp
from ..train import watch as print_lines
from ..train.follow import show_all
from .pictures import Pictured, quantise, script

_MOST = 400  # records that are drawn; of more, every second one is left out until they fit
_PAUSE = 0.1  # seconds between two messages to the browser, which needs time to draw
_SAMPLES = 4  # maps of the last check that are shown
_CURVES = ("step", "loss", "validation", "lr")
_FIDELITY = ("step", *NUMBERS, *(f"{name}_error" for name in NUMBERS))
_NUMBERS = ("step", "loss", "lr", "seconds", "images", "images_per_second", "validation")
_OWN = (*_NUMBERS, "stopped", "kept")  # anything else in a record comes from a check


def follow_training(
    records: Iterator[dict],
    steps: int,
    name: str = "training",
    check: Fidelity | None = None,
    unit: str = "",
) -> list[dict]:
    """Show a training in a widget until it ends or is interrupted, and return its records.

    It prints lines instead, as :func:`lensnb.train.watch` does, in a batch job (``LENSNB_BATCH``,
    which ``lensnb run`` sets) and where several processes share a training.

    Args:
        records: of :func:`lensnb.train.fit`.
        steps: of the whole training.
        name: what is trained.
        check: the ``check`` that was given to the training; the maps that it drew last are shown,
            and how mean, scatter and correlations of their spectra compare with true maps.
        unit: of the loss, for example ``"bits per pixel"``.

    Returns:
        All records; of a resumed training the earlier ones, too.
    """
    in_batch = "LENSNB_BATCH" in os.environ
    shared = os.environ.get("WORLD_SIZE", "1") != "1"
    if in_batch or shared:
        return print_lines(records, steps, name)
    from IPython.display import display

    view = TrainingView(steps, name, unit, getattr(check, "n", None))
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

    _esm = script("common.js", "stage.js", "training_view.js")

    state = traitlets.Unicode("running").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _curves = traitlets.Dict().tag(sync=True)  # steps, losses, validation losses, learning rates
    _fidelity = traitlets.Dict().tag(sync=True)  # numbers of all checks with their errors
    _now = traitlets.Dict().tag(sync=True)  # numbers of the last record and of the last check
    _maps = traitlets.Dict().tag(sync=True)  # maps of the last check

    def __init__(self, steps: int, name: str, unit: str = "", drawn: int | None = None):
        self.history: list[dict] = []
        self._kept: list[dict] = []  # the records that are drawn
        self._every = 1  # one record in so many is drawn
        self._checks: list[dict] = []  # the records of checks
        self._checked: dict[str, float | None] = {}
        self._told = -math.inf  # when the browser was sent something
        table = ramp("magma").tobytes()
        about = {"steps": steps, "name": name, "unit": unit, "drawn": drawn, "table": table}
        about["shades"] = shades(name)  # dark and light
        about["colours"] = {key: colour for key, (_, colour) in CURVES.items()}
        super().__init__(_about=about)

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
        if any(record.get(name) is not None for name in NUMBERS):
            self._checks.append(record)
        if samples is not None or time.monotonic() - self._told > _PAUSE:
            self.tell(samples)

    def tell(self, samples: Tensor | None = None) -> None:
        """Send the browser what there is."""
        if not self.history:
            return
        last = self.history[-1]
        with self.hold_sync():
            self._curves = _columns(self._kept, _CURVES)
            self._fidelity = _columns(self._checks[-_MOST:], _FIDELITY)
            record = {key: _number(last.get(key)) for key in _NUMBERS}
            self._now = {"record": record, "check": self._checked}
            if samples is not None:
                few = samples[:_SAMPLES]
                if few.ndim == 4:
                    few = few[:, 0]
                self._maps = quantise(few) | {"n": few.shape[-1], "count": len(few)}
        self._told = time.monotonic()

    def figure(self) -> plot.Figure:
        """Loss, fidelity and learning rate so far."""
        name, label = self._about["name"], "loss"
        if self._about["unit"]:
            label = f"loss  [{self._about['unit']}]"
        widths = [2, 1]
        if self._checks:
            widths = [2, 2, 1]
        figure = blank_figure(9, 3)
        figure.suptitle(f"{name}: {self.state}", fontsize=11)
        axes = figure.subplots(1, len(widths), width_ratios=widths)
        plot.training(axes[0], self.history, label, name)
        if self._checks:
            fidelity(axes[1], self._checks)
        learning_rate(axes[-1], self.history, name)
        return figure

    def __repr__(self) -> str:
        where = "no step yet"
        if self.history:
            where = f"step {self.history[-1]['step']} of {self._about['steps']}"
        return f"Training {self._about['name']}: {self.state}, {where}"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        shown = "Loss and learning rate of a training."
        if self._checks:
            shown = "Loss, fidelity of drawn maps and learning rate of a training."
        return f"{shown} {self!r}."


def _columns(records: list[dict], names: tuple[str, ...]) -> dict[str, list[float | None]]:
    """Some numbers of records by name."""
    return {name: [_number(record.get(name)) for record in records] for name in names}


def _number(value) -> float | None:
    """A finite number, or None."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None
