"""The still picture of the explorer: what it shows now, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import plot
from ..ensemble import Ensemble
from ..plot.curves import tint
from ..plot.style import blank_figure, typeset
from .explored import Explored, Setting, is_ratio, relative
from .pictures import draw_colour_bar, draw_map


@dataclass(frozen=True)
class Shown:
    """What the explorer shows.

    Attributes:
        explored: the sets.
        setting: noise and smoothing.
        statistic: a key of ``STATISTICS``.
        maps: colours of the sets whose maps are drawn, by name; one or two.
        compared: colours of the sets in the plot, by name.
        index: number of the map.
        limits: κ at the ends of the colour scale; None: from the true maps.
        colours: name of the colour scale.
        subtracted: whether the second map is drawn minus the first.
    """

    explored: Explored
    setting: Setting
    statistic: str
    maps: Mapping[str, str]
    compared: Mapping[str, str]
    index: int
    limits: list[float] | None
    colours: str
    subtracted: bool


def draw(shown: Shown, title: str) -> plot.Figure:
    """Whole maps beside their statistic."""
    figure = blank_figure(10.5, 3.9)
    figure.suptitle(title, fontsize=11)
    left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
    _draw_maps(left, shown)
    panels = right.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    _draw_statistic(*panels, shown)
    right.align_ylabels(panels)
    return figure


def _draw_maps(figure, shown: Shown) -> None:
    explored = shown.explored
    maps = explored.maps(shown.setting)
    limits = shown.limits or explored.limits(shown.setting)
    axes = figure.subplots(1, len(shown.maps), squeeze=False)[0]
    images = []
    for ax, name in zip(axes, shown.maps):
        count = len(maps[name])
        which = shown.index % count
        title = f"{name}, map {which + 1} of {count}"
        side = explored.side_deg
        if shown.subtracted and ax is not axes[0]:
            most = explored.difference_limits(shown.setting)[name]
            apart = maps[name][which] - maps[explored.truth][which]
            title = f"{name} − {explored.truth}, map {which + 1}"
            images.append(draw_map(ax, apart, side, (-most, most), "RdBu_r", title))
        else:
            images.append(draw_map(ax, maps[name][which], side, limits, shown.colours, title))
    for ax in axes[1:]:
        ax.set(ylabel="", yticklabels=[])
    if shown.subtracted:
        draw_colour_bar(figure, images[0], axes[0])
        draw_colour_bar(figure, images[1], axes[1], label="difference Δκ")
    else:
        draw_colour_bar(figure, images[0], axes, aspect=45)


def _draw_statistic(above, below, shown: Shown) -> None:
    """Mean and scatter of the sets with the maps on view, and their ratio to the first set."""
    statistic, vectors = shown.explored.measure(shown.statistic, shown.setting)
    truth = vectors[shown.explored.truth]
    few = len(shown.compared) <= len(shown.maps)
    for name, colour in shown.compared.items():
        mean, std = relative(vectors[name], truth)
        if few or name == shown.explored.truth:
            plot.band(above, statistic, Ensemble(vectors[name]), colour, name)
            below.fill_between(statistic.x, mean - std, mean + std, **tint(colour))
        else:
            plot.curve(above, statistic, vectors[name].mean(0), colour, name, lw=1.4)
        below.plot(statistic.x, mean, color=colour, lw=1.6)
        if few:
            one = vectors[name][shown.index % len(vectors[name])]
            above.plot(statistic.x, one, color=colour, lw=0.9, ls="--")
    if few:
        above.plot([], [], color="0.4", lw=0.9, ls="--", label="maps shown")
    above.legend(frameon=False, fontsize=9 if few else 7, ncols=1 if few else 2)
    above.set(ylabel=typeset(statistic.y_label), xlabel="")
    if is_ratio(truth):
        below.set(ylabel="ratio", ylim=(0, 2))
    else:
        below.set(ylabel="shift / σ")
    below.set(xlabel=typeset(statistic.x_label))
    below.grid(alpha=0.25)
