"""The figure that stands for all others: a map of each set, and one result with names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..compare import NULL, FidelityReport
from .galleries import colour_limits, first_maps, kappa_map
from .ink import INK
from .style import GREY, TRUTH, colours

_WIDTH = 8.6  # inches
# Statistics that most readers know, and how a figure calls them.
_KNOWN = {
    "power": "power\nspectrum",
    "bispectrum": "bispectrum",
    "pdf": "PDF of κ",
    "peaks": "peaks",
    "minima": "minima",
    "minkowski": "Minkowski\nfunctionals",
    "joint": "all\ntogether",
}
_APART = 0.085  # between two names, in heights of the axes


def headline(report: FidelityReport, sets: Mapping[str, object], side_deg: float) -> Figure:
    """A map of each set, and below it how much of the true correlations each generator has.

    That is the correlation slope, the least-squares slope of the generator's correlation
    coefficients on the true ones, off the diagonal (:class:`~lensnb.compare.Verdict`).

    Args:
        report: from :func:`lensnb.compare.compare`; it judges all sets but the truth.
        sets: κ-maps by name, the truth first, each ``(maps, n, n)``; of ``(maps, channels, n, n)``
            the first source bin is shown. Four have room.
        side_deg: side of the field, degrees.

    Raises:
        ValueError: the report does not judge one of the sets.
    """
    names = [name for name in sets if name != "truth"]
    unknown = [name for name in names if name not in report.names]
    if unknown:
        raise ValueError(
            f"the report judges {', '.join(report.generators)}; "
            f"found {unknown[0]!r} among the sets"
        )
    figure = plt.figure(figsize=(_WIDTH, 5.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    _draw_maps(top, sets, side_deg)
    _draw_slopes(bottom.subplots(), report, names)
    return figure


def _draw_maps(figure, sets: Mapping[str, object], side_deg: float) -> None:
    few = first_maps(sets)
    palette = colours(list(few))
    limits = colour_limits(next(iter(few.values())))
    axes = figure.subplots(1, len(few), squeeze=False)[0]
    for ax, (name, maps) in zip(axes, few.items()):
        image = kappa_map(ax, maps[0], side_deg, limits)
        ax.set_title(name, color=palette[name], fontsize=13, weight="bold")
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
    axes[0].set_xlabel(f"{side_deg:g}° × {side_deg:g}°", fontsize=11)
    bar = figure.colorbar(image, ax=axes, extend="both", aspect=14)
    bar.set_label("κ", fontsize=13)


def _draw_slopes(ax: Axes, report: FidelityReport, names: Sequence[str]) -> None:
    """Correlation slopes of statistics that most readers know, named at the right."""
    known = [name for name in _KNOWN if name in report.verdicts[NULL]]
    palette = colours(report.names)
    place = np.arange(len(known))
    slopes = {name: [report.verdicts[name][one].slope for one in known] for name in names}
    low, high = np.array([report.verdicts[NULL][one].slope.interval for one in known]).T
    ax.bar(place, high - low, bottom=low, width=0.8, color=GREY, alpha=0.35)
    ax.axhline(1, color=TRUTH, lw=1.2)
    for k, name in enumerate(names):
        beside = place + 0.2 * (k - (len(names) - 1) / 2)
        value = [float(one.value) for one in slopes[name]]
        error = [float(one.error) for one in slopes[name]]
        ax.errorbar(beside, value, error, fmt="o", ms=7, color=palette[name])
    ax.set_xticks(place, [_KNOWN[one] for one in known], fontsize=11)
    ax.tick_params(axis="y", labelsize=11)
    ax.set_ylabel("slope (1: all of it)", fontsize=12)
    title = "How much of the true correlation between bins the maps of each model have"
    ax.set_title(title, fontsize=12, loc="left")
    ax.grid(axis="y", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ends = {name: float(one[-1].value) for name, one in slopes.items()}
    ends = {name: value for name, value in ends.items() if np.isfinite(value)}
    ends["true maps"] = float((low[-1] + high[-1]) / 2)
    _write_names(ax, ends, palette | {"true maps": INK})


def _write_names(ax: Axes, ends: Mapping[str, float], palette: Mapping[str, str]) -> None:
    """Names at the right, each at the height of its last point or as near as there is room."""
    bottom, top = ax.get_ylim()
    apart, right = _APART * (top - bottom), ax.get_xlim()[1]
    names = sorted(ends, key=ends.get)
    heights = _spread([ends[name] for name in names], apart)
    for name, height in zip(names, heights):
        style = {"color": palette[name], "fontsize": 12, "weight": "bold", "va": "center"}
        ax.annotate(name, (right, height), annotation_clip=False, **style)


def _spread(values: Sequence[float], apart: float) -> np.ndarray:
    """Sorted values moved as little as needed, until no two are nearer than ``apart``."""
    values = np.asarray(values, float)
    places = values.copy()
    for _ in range(len(places) ** 2):
        for k in range(len(places) - 1):
            lack = apart - (places[k + 1] - places[k])
            if lack > 1e-9:
                places[k] -= lack / 2
                places[k + 1] += lack / 2
    return places
