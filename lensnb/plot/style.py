"""What all figures share: colours, empty figures, axis labels and ticks."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..compare import NULL
from ..stats import Statistic

KAPPA = "magma"  # colour map of κ
TRUTH = "#000000"
GREY = "#8c8c8c"
CYCLE = [  # Okabe & Ito (2008), then two of Paul Tol's
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#882255",
    "#999933",
]


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each set of maps, by name.

    The truth is black and the null is grey. The others take the colours of ``CYCLE`` in turn.
    """
    palette = {"truth": TRUTH, NULL: GREY}
    others = [name for name in names if name not in palette]
    for k, name in enumerate(others):
        palette[name] = CYCLE[k % len(CYCLE)]
    return palette


def panels(
    columns: int, rows: int = 1, width: float = 4.3, height: float = 3.2
) -> tuple[Figure, np.ndarray]:
    """A figure with a row or a grid of axes that do not overlap.

    Args:
        columns: axes in a row.
        rows: number of rows.
        width: of one of the axes, inches.
        height: of one of the axes, inches.
    """
    size = (width * columns, height * rows)
    return plt.subplots(rows, columns, figsize=size, layout="constrained")


def blank_figure(width: float, height: float) -> Figure:
    """An empty figure that pyplot does not know, so that nobody has to close it; in inches."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def typeset(label: str) -> str:
    """The label with C_ℓ as mathematics; it is plain text in tables and widgets."""
    return label.replace("C_ℓ", r"$C_\ell$")


def set_scales(ax: Axes, statistic: Statistic, log_y: bool = True) -> Axes:
    """Scales, label of the x axis and grid for a statistic.

    Args:
        ax: the axes.
        statistic: what is drawn there.
        log_y: whether the y axis may be logarithmic; a ratio stays linear.
    """
    if statistic.log_x:
        ax.set_xscale("log")
    if statistic.log_y and log_y:
        ax.set_yscale("log")
    ax.set_xlabel(typeset(statistic.x_label))
    ax.grid(alpha=0.25)
    return ax


def plain_ticks(axis: Axis) -> None:
    """Ticks such as 0.5, 1, 2 on a short logarithmic axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
