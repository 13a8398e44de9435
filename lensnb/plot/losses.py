"""A training: its loss and its learning rate against the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from .style import CYCLE, SMALL


def training(
    ax: Axes, history: Sequence[Mapping], label: str = "loss", name: str = "training"
) -> Axes:
    """Loss of a training against the step, with the validation loss where it was recorded.

    Args:
        ax: where to draw.
        history: records of :func:`lensnb.train.fit`.
        label: label of the y axis.
        name: what was trained, for the legend.
    """
    _draw(ax, history, "loss", CYCLE[0], f"{name}, training maps")
    if any(record.get("validation") is not None for record in history):
        unseen = f"{name}, unseen maps (averaged weights)"
        _draw(ax, history, "validation", CYCLE[1], unseen)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel(label)
    ax.grid(alpha=0.25)
    # The curves may go anywhere inside the axes, so the legend stands above them.
    ax.legend(frameon=False, fontsize=SMALL, loc="lower left", bbox_to_anchor=(0, 1))
    return ax


def learning_rate(ax: Axes, history: Sequence[Mapping]) -> Axes:
    """Learning rate of a training against the step."""
    _draw(ax, history, "lr", CYCLE[2], "learning rate")
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("learning rate")
    ax.grid(alpha=0.25)
    return ax


def _draw(ax: Axes, history: Sequence[Mapping], key: str, colour: str, label: str) -> None:
    """One number of the records that have it, as a line; a single record is a point."""
    known = [record for record in history if record.get(key) is not None]
    steps = [record["step"] for record in known]
    values = [record[key] for record in known]
    (curve,) = ax.plot(steps, values, color=colour, label=label, marker="")
    if len(known) == 1:
        curve.set_marker("o")
