"""Maps: one of them, or a few of each set."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..maps.arrays import plain_array
from ..maps.grid import check_shape
from .style import KAPPA, PAGE, SMALL

_SHARP = 128  # up to this many pixels a side, pixels stay sharp; the PNG is a third as large


def kappa_map(
    ax: Axes, kappa, side_deg: float, limits: tuple[float, float] | None = None, cmap: str = KAPPA
):
    """Draw one map, with axes in degrees.

    Args:
        ax: where to draw.
        kappa: the map, shape ``(n, n)``.
        side_deg: side of the field, degrees.
        limits: κ at the two ends of the colour scale; by default the extremes of the map.
        cmap: a colour map of matplotlib.

    Returns:
        The image, for a colour bar.

    Raises:
        ValueError: this is not one map of one source bin, or a part of it is under a mask.
    """
    kappa = np.asarray(plain_array("the map to draw", kappa))
    if kappa.ndim != 2:
        raise ValueError(f"a map to draw has the shape (n, n), found {kappa.shape}")
    low, high = (None, None) if limits is None else limits
    interpolation = "nearest" if len(kappa) <= _SHARP else None
    extent = (0, side_deg, 0, side_deg)
    image = ax.imshow(
        kappa,
        cmap=cmap,
        vmin=low,
        vmax=high,
        interpolation=interpolation,
        origin="lower",
        extent=extent,
    )
    ax.set_xlabel("degrees")
    ax.set_ylabel("degrees")
    return image


def gallery(
    sets: Mapping[str, object],
    side_deg: float,
    columns: int = 4,
    limits: tuple[float, float] | None = None,
    across: bool = False,
) -> Figure:
    """A few maps of each set, a row per set, all on one colour scale.

    Args:
        sets: κ-maps by name, each a :class:`~lensnb.data.MapSet` or ``(maps, n, n)``; each source
            bin of ``(maps, channels, n, n)`` has a row of its own.
        side_deg: side of the field, degrees.
        columns: maps of each set.
        limits: κ at the two ends of the colour scale; by default from the 0.5th to the 99.7th
            percentile of the maps shown of the first set.
        across: a column per set instead of a row, for many sets of few maps.
    """
    few = {}
    for name, maps in sets.items():
        maps = getattr(maps, "maps", maps)
        few[name] = np.asarray(plain_array(name, maps[:columns]), float)
    for name, maps in few.items():
        check_shape(name, maps.shape)
    if limits is None:
        limits = colour_limits(next(iter(few.values())))
    rows = _rows(few)
    figure, axes = _grid(len(rows), columns, across)
    for row, (name, maps) in zip(axes, rows.items()):
        for ax, kappa in zip(row, maps):
            image = kappa_map(ax, kappa, side_deg, limits)
            ax.label_outer()
        if across:
            row[0].set_title(textwrap.fill(name, 13), fontsize=SMALL)
            plt.setp(row, xticks=[], yticks=[], xlabel="", ylabel="")  # one label says it for all
        else:
            row[0].set_ylabel(f"{name}\n\ndegrees")
    label = "convergence κ"
    shrink = min(1.0, 1.6 / len(rows))
    if across:
        shrink = 1.0
        figure.supxlabel(f"each map {side_deg:g}° × {side_deg:g}°", fontsize=SMALL)
    figure.colorbar(image, ax=axes.ravel(), label=label, shrink=shrink, extend="both")
    return figure


def _grid(sets: int, maps: int, across: bool) -> tuple[Figure, np.ndarray]:
    """Axes ``(sets, maps)`` for square maps, on one page; a set is a row, or a column."""
    rows, columns = (maps, sets) if across else (sets, maps)
    width = min(2.1 * columns + 1.2, PAGE)
    height = (width - 1.2) / columns * rows
    if across:
        height += 0.6  # titles and the label
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width, height),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    return figure, axes.T if across else axes


def _rows(sets: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The maps of each row, ``(maps, n, n)``; sets with channels have a row per channel."""
    rows = {}
    for name, maps in sets.items():
        if maps.ndim == 3:
            rows[name] = maps
            continue
        for k in range(maps.shape[1]):
            rows[f"{name}, bin {k + 1}"] = maps[:, k]
    return rows


def first_maps(sets: Mapping[str, object]) -> dict[str, np.ndarray]:
    """A few maps ``(maps, n, n)`` of each set, of the first source bin where there are several."""
    few = {}
    for name, maps in sets.items():
        maps = getattr(maps, "maps", maps)
        maps = np.asarray(plain_array(name, maps[:8]), float)
        check_shape(name, maps.shape)
        few[name] = maps if maps.ndim == 3 else maps[:, 0]
    return few


def colour_limits(maps: np.ndarray) -> tuple[float, float]:
    """κ at the ends of a colour scale: the 0.5th and the 99.7th percentile of all pixels."""
    low, high = np.percentile(np.asarray(maps, float), [0.5, 99.7])
    return float(low), float(high)
