"""A training: its loss and its learning rate against the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from .style import SMALL, shades


def training(
    ax: Axes, history: Sequence[Mapping], label: str = "loss", name: str = "training"
) -> Axes:
    """Loss of a training against the step, with the validation loss where it was recorded.

    Both have the hue of the model's family: the loss of training maps is light, that of unseen
    maps is dark and dashed.

    Args:
        ax: where to draw.
        history: records of :func:`lensnb.train.fit`.
        label: label of the y axis.
        name: what was trained, for the legend; a name such as "flow" gives the hue, too.
    """
    dark, light = shades(name)
    has_unseen = any(record.get("validation") is not None for record in history)
    seen = light if has_unseen else dark
    _draw(ax, history, "loss", f"{name}, training maps", color=seen)
    if has_unseen:
        unseen = f"{name}, unseen maps\n(averaged weights)"
        _draw(ax, history, "validation", unseen, color=dark, ls=(0, (4, 1.2)), lw=1.9)
    ax.set_xlabel("optimiser step")
    ax.set_ylabel(label)
    ax.grid(alpha=0.25)
    # The curves may go anywhere inside the axes, so the legend stands above them.
    ax.legend(frameon=False, fontsize=SMALL, loc="lower left", bbox_to_anchor=(0, 1))
    return ax


def learning_rate(ax: Axes, history: Sequence[Mapping], name: str = "training") -> Axes:
    """Learning rate of a training against the step, in the dark colour of the named model."""
    _draw(ax, history, "lr", "learning rate", color=shades(name)[0])
    ax.set_xlabel("optimiser step")
    ax.set_ylabel("learning rate")
    ax.grid(alpha=0.25)
    return ax


def _draw(ax: Axes, history: Sequence[Mapping], key: str, label: str, **how) -> None:
    """One number of the records that have it, as a line; a single record is a point."""
    known = [record for record in history if record.get(key) is not None]
    steps = [record["step"] for record in known]
    values = [record[key] for record in known]
    (curve,) = ax.plot(steps, values, label=label, marker="", **how)
    if len(known) == 1:
        curve.set_marker("o")
