"""How close maps come to the training maps: closer than by chance, or even copies?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from ..compare import NULL, FidelityReport
from .style import GREY, SMALL, colours

_FAR = 50  # per cent from the null; copies are further


def neighbours(ax: Axes, report: FidelityReport) -> Axes:
    """How close maps come to their nearest training map, beside the null, which does so by chance.

    Drawn is the share of maps within a distance, less that share of the null, with the 95 % range
    of independent maps in grey. The small picture has the shares themselves, down to distance
    zero, where copies are. A set that is more than 50 % off, such as copies, is only there, or it
    would squeeze all others.
    """
    palette = colours(report.names)
    distances = {name: np.sort(one.distance) for name, one in report.neighbours.items()}
    unit = float(np.median(distances[NULL]))
    near = {name: one / unit for name, one in distances.items()}
    low, high = np.quantile(np.concatenate([near["truth"], near[NULL]]), [0.001, 0.999])
    place = np.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), 200)
    null = _share_within(near[NULL], place)
    drawn = []
    for name in near:
        apart = 100 * (_share_within(near[name], place) - null)
        if name == NULL or np.abs(apart).max() > _FAR:
            continue
        ax.plot(place, apart, color=palette[name], label=name)
        drawn.append(name)
    fewest = min(len(near[name]) for name in report.generators)
    band = 196 * np.sqrt(null * (1 - null) * (1 / fewest + 1 / len(near[NULL])))
    ax.fill_between(place, -band, band, color=GREY, alpha=0.35, lw=0, label="chance, 95 %")
    ax.axhline(0, color=GREY, lw=1.5, label=NULL)
    ax.set_xlabel("distance to the nearest training map\n/ median of the null")
    ax.set_ylabel("share of maps closer than this,\nless that of the null [%]")
    ax.grid(alpha=0.25)
    ax.margins(x=0)
    for name in near:
        if name not in (NULL, *drawn):  # in the small picture only
            ax.plot([], [], color=palette[name], label=name)
    _draw_copies(ax.inset_axes((0.66, 0.66, 0.32, 0.31)), near, palette, place[-1])
    ax.set_ylim(top=ax.get_ylim()[1] + 0.6 * np.ptp(ax.get_ylim()))  # room for the small picture
    ax.legend(frameon=False, fontsize=SMALL, loc="upper left", ncols=2)
    return ax


def _share_within(distance: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The share of maps that are closer than each place; distances are sorted."""
    return np.searchsorted(distance, place, side="right") / len(distance)


def _draw_copies(
    ax: Axes, near: Mapping[str, np.ndarray], palette: Mapping[str, str], end: float
) -> None:
    """The share of maps within each distance from zero on."""
    place = np.linspace(-0.03 * end, end, 300)
    for name, distance in near.items():
        ax.plot(place, 100 * _share_within(distance, place), color=palette[name], lw=1)
    ax.set_xlim(place[0], end)
    # Inside, in the empty part below the curves of all that are no copies.
    ax.text(0.06, 0.5, "all, from\nzero on [%]", transform=ax.transAxes)
