"""What all figures share: colours, empty figures, axis labels and ticks."""

from __future__ import annotations

import re
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..compare import NULL
from ..stats import Statistic

KAPPA = "magma"  # colour map of κ
TRUTH = "#000000"
GREY = "#8c8c8c"  # the null, and nothing else
REFERENCE = "#008F99"  # lines to compare with that are no set of maps, such as a known answer
MARGIN = "#D9B93B"  # areas that a user chose, such as ± 10 %; draw them at an opacity of 0.25
# Figures have no background. So colours of lines have a contrast of three and more with white and
# with a dark page; only the light ones of families, which stand beside dark ones, have less.
# For sets without a family: colours that no family has, far from all others.
_OTHERS = ["#D3204F", "#2F8F1A", "#B0178C", "#5B6CF0", "#D96C64", "#477047", "#C45BCF", "#669947"]
CYCLE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", *_OTHERS[:4]]  # first Okabe & Ito (2008)
# A hue for each kind of generator: dark, and light for a model that came trained. They are named
# as users name their sets; those of Okabe & Ito go to the kinds that meet most often.
FAMILIES = {
    "flow": ("#0072B2", "#56B4E9"),
    "diffusion": ("#D55E00", "#F7A15C"),
    "gan": ("#B58900", "#EACB66"),
    "vae": ("#6E6E1E", "#AFAF3C"),
    "multiscale": ("#7A5BB5", "#C9A6E4"),
    "trenf": ("#8F5B38", "#BC9171"),
    "gaussian": ("#009E73", "#6CCBAE"),
    "lognormal": ("#CC79A7", "#E3B4CD"),
}
_LIGHT = "shipped"  # the word that makes a model's colour the light one
_NEUTRAL = ("#5F7186", "#A3B1C2")  # a training of a model without a family
PAGE = 9.0  # inches: a figure that is wider would be shrunk on a page, and its text with it
SMALL = 9  # points; the smallest text in a figure, which is 8 on a page of 8 inches


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each set of maps, by name: the same in every figure and widget.

    The truth is black and the null is grey. A name of :data:`FAMILIES` has the colour of its
    family, and "shipped flow" a lighter one of the same hue. Next are the names in which the word
    stands, such as "flow, 64 maps". All others take the colours that are left, in turn.
    """
    palette = {"truth": TRUTH, NULL: GREY}
    others = [name for name in names if name not in palette]
    for name in others:
        if own := _own_colour(_words(name)):
            palette[name] = own
    for name in others:
        if name not in palette:
            left = [colour for colour in _wanted(name) if colour not in palette.values()]
            palette[name] = left[0] if left else CYCLE[len(palette) % len(CYCLE)]
    return palette


def shades(name: str) -> tuple[str, str]:
    """The dark and the light colour of a model's family, for two curves of this one model.

    Both are neutral where the name has no word of :data:`FAMILIES`.
    """
    words = _words(name)
    known = [pair for family, pair in FAMILIES.items() if family in words]
    return known[0] if known else _NEUTRAL


def _own_colour(words: list[str]) -> str:
    """The colour of a name that is a family's, or "shipped" and a family's; empty for others."""
    if len(words) == 1 and words[0] in FAMILIES:
        return FAMILIES[words[0]][0]
    if len(words) == 2 and words[0] == _LIGHT and words[1] in FAMILIES:
        return FAMILIES[words[1]][1]
    return ""


def _words(name: str) -> list[str]:
    return re.findall(r"\w+", name.lower())


def _wanted(name: str) -> list[str]:
    """The colours that a set without a colour of its own may have, the best first."""
    words = _words(name)
    found = []
    for family, (dark, light) in FAMILIES.items():
        if family in words:
            found += [light, dark] if _LIGHT in words else [dark, light]
    of_families = [colour for pair in FAMILIES.values() for colour in pair]
    return [*found, *_OTHERS, *of_families]


def panels(
    columns: int, rows: int = 1, width: float = 4.3, height: float = 3.2
) -> tuple[Figure, np.ndarray]:
    """A figure with a row or a grid of axes that do not overlap.

    It is no wider than :data:`PAGE`, or a page would shrink it and its text; wider axes are made
    smaller.

    Args:
        columns: axes in a row.
        rows: number of rows.
        width: of one of the axes, inches.
        height: of one of the axes, inches.
    """
    shrunk = min(1.0, PAGE / (width * columns))
    size = (shrunk * width * columns, shrunk * height * rows)
    return plt.subplots(rows, columns, figsize=size, layout="constrained")


def blank_figure(width: float, height: float) -> Figure:
    """An empty figure that pyplot does not know, so that nobody has to close it; in inches."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def typeset(label: str) -> str:
    """The label with C_ℓ and Ω_m as mathematics; it is plain text in tables and widgets."""
    return label.replace("C_ℓ", r"$C_\ell$").replace("Ω_m", r"$\Omega_\mathrm{m}$")


def set_scales(ax: Axes, statistic: Statistic, log_y: bool = True) -> Axes:
    """Scales, label of the x axis and grid for a statistic.

    Args:
        ax: the axes.
        statistic: what is drawn there.
        log_y: whether the y axis may be logarithmic; a ratio stays linear.
    """
    if statistic.log_x:
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))  # or numbers such as −0.025 meet
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
