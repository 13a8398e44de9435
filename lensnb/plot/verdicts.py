"""The numbers of a fidelity report, and the whole report in one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..compare import NULL, FidelityReport
from ..compare.answers import OFF, SYMBOLS
from ..compare.estimate import Share
from .curves import curve, cut_off_empty_bins, fill, mark_beyond, ratio
from .galleries import colour_limits, first_maps, kappa_map
from .style import GREY, PAGE, SMALL, TRUTH, colours, plain_ticks, set_scales, typeset

_TAILS = 5  # the item of the report that is about the tails
_RATIO = (2.0, 10.0)  # how far from 1 the axis of a ratio to the truth reaches
_MOST = 8  # standard errors at the ends of the scorecard's colour scale


def slopes(ax: Axes, report: FidelityReport) -> Axes:
    """Correlation slope of every statistic for every generator.

    The grey bars are the null's 95 % intervals.
    """
    names = list(report.verdicts[NULL])
    estimates = []
    for name in names:
        by_set = {one: report.verdicts[one][name].slope for one in report.names}
        estimates.append(by_set)
    _draw_estimates(ax, report, estimates, names)
    plt.setp(ax.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
    ax.set_ylabel("correlation slope (expected: 1)")
    ax.legend(
        frameon=False, fontsize=SMALL, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0)
    )
    return ax


def _draw_estimates(
    ax: Axes, report: FidelityReport, estimates: Sequence[Mapping], labels: Sequence[str]
) -> None:
    """Numbers of every generator side by side, the null's interval as a bar behind them.

    Args:
        ax: where to draw.
        report: names the sets.
        estimates: for each number, its estimate by set.
        labels: for each number, its name below the x axis.
    """
    palette = colours(report.names)
    generators = report.names[1:]
    place = np.arange(len(labels), dtype=float)
    intervals = [by_set[NULL].interval for by_set in estimates]
    low, high = np.array(intervals).T
    ax.bar(place, high - low, bottom=low, width=0.8, color=GREY, alpha=0.35, label="null, 95 %")
    for k, name in enumerate(generators):
        centre = (len(generators) - 1) / 2
        beside = place + 0.6 * (k - centre) / len(generators)
        own = [by_set[name] for by_set in estimates]
        value = [float(estimate.value) for estimate in own]
        error = [float(estimate.error) for estimate in own]
        ax.errorbar(beside, value, error, fmt="o", ms=5, color=palette[name], label=name)
    ax.axhline(1, color=TRUTH, lw=1)
    ax.set_xticks(place, labels)
    ax.grid(axis="y", alpha=0.25)


def eigenvalues(ax: Axes, report: FidelityReport, name: str = "joint") -> Axes:
    """Variances relative to the truth's along the axes of the covariance; 1 is expected.

    These are the eigenvalues of C_T^(−1/2) C_G C_T^(−1/2), from the smallest to the largest. Noise
    spreads them about 1 for true maps as well: that is the grey band.

    Args:
        ax: where to draw.
        report: from :func:`lensnb.compare.compare`.
        name: which statistic, or ``"joint"`` for all bins together.
    """
    palette = colours(report.names)
    least = 1e-3  # the axis is logarithmic, and noise can make an eigenvalue negative
    null = report.verdicts[NULL][name].eigenvalues
    index = np.arange(1, len(null.value) + 1)
    low, high = np.maximum(null.interval, least)
    ax.fill_between(index, low, high, color=GREY, alpha=0.35, lw=0, label="null, 95 %")
    ax.axhline(1, color=TRUTH, lw=1)
    for one in report.names[1:]:
        found = report.verdicts[one][name].eigenvalues
        value = np.maximum(found.value, least)
        below = np.minimum(found.error, value - least)  # no bar may end at zero or less
        style = {"fmt": "o-", "ms": 3, "lw": 1, "color": palette[one]}
        ax.errorbar(index, value, [below, found.error], label=one, **style)
    ax.set(xlabel="eigenvalue, from the smallest", ylabel="variance / truth", yscale="log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    plain_ticks(ax.yaxis)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=SMALL)
    return ax


def tails(report: FidelityReport) -> Figure:
    """The tails of the distribution of κ: the PDF, its ratio to the truth, and three numbers."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 3.6), layout="constrained")
    _draw_pdf(left, report)
    pdf_ratio(middle, report)
    tail_numbers(right, report)
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside upper center",
        frameon=False,
        fontsize=SMALL,
        ncols=5,
    )
    return figure


def tail_numbers(ax: Axes, report: FidelityReport) -> Axes:
    """Numbers of the tails over those of the truth: high peaks, and both ends of the PDF."""
    of_tails = [row for row in report.rows() if row.quantity.item == _TAILS]
    # Shares of extreme maps have errors too large for this picture.
    rows = [row for row in of_tails if row.quantity.margin is not None]
    estimates = [row.estimates for row in rows]
    labels = [row.quantity.name for row in rows]
    _draw_estimates(ax, report, estimates, labels)
    plt.setp(ax.get_xticklabels(), rotation=20, ha="right", rotation_mode="anchor")
    palette = colours(report.names)
    limits = _ratio_limits([_ends(one[name]) for one in estimates for name in report.names])
    for k, one in enumerate(estimates):
        for name in report.generators:
            mark_beyond(ax, np.array([k]), np.array([one[name].value]), limits, palette[name])
    ax.set(ylabel="ratio to truth", yscale="log", ylim=limits)
    plain_ticks(ax.yaxis)
    return ax


def _ends(estimate) -> tuple[float, float]:
    """The ends of an error bar."""
    return estimate.value - estimate.error, estimate.value + estimate.error


def _ratio_limits(shown: Sequence) -> tuple[float, float]:
    """Limits of a logarithmic axis about 1 that hold what is shown, within those of `_RATIO`."""
    values = np.concatenate([np.ravel(one) for one in shown])
    known = values[np.isfinite(values) & (values > 0)]
    reach = np.exp(1.1 * np.abs(np.log(known)).max(initial=0.0))
    reach = float(np.clip(reach, *_RATIO))
    return 1 / reach, reach


def _draw_pdf(ax: Axes, report: FidelityReport) -> None:
    palette = colours(report.names)
    statistic = report.statistics["pdf"]
    for name in ["truth", *report.names]:
        mean = report.ensembles[name]["pdf"].mean()
        curve(ax, statistic, mean, palette[name], name, lw=1.6)
    set_scales(ax, statistic).set_ylabel(statistic.y_label)
    cut_off_empty_bins(ax, report.ensembles["truth"]["pdf"])


def pdf_ratio(ax: Axes, report: FidelityReport) -> Axes:
    """The PDF of every generator over the truth's, on a logarithmic axis."""
    palette = colours(report.names)
    statistic = report.statistics["pdf"]
    low, high = report.verdicts[NULL]["pdf"].mean_ratio.interval
    fill(ax, statistic, np.maximum(low, 0.02), high, color=GREY, alpha=0.35)
    ax.axhline(1, color=TRUTH, lw=1)
    ratios = {one: report.verdicts[one]["pdf"].mean_ratio.value for one in report.names[1:]}
    limits = _ratio_limits([low, high, *ratios.values()])
    for name, found in ratios.items():
        curve(ax, statistic, found, palette[name], name, marker="o", ms=3, lw=1)
        mark_beyond(ax, statistic.x, found, limits, palette[name])
    set_scales(ax, statistic, log_y=False)
    ax.set(ylabel="P(κ) / truth", yscale="log", ylim=limits)
    plain_ticks(ax.yaxis)
    return ax


def scorecard(report: FidelityReport) -> Figure:
    """Every headline number of every generator: how far from what is expected, in standard errors.

    A frame with a number marks what is off. Purple is below, orange above. The other cells are as
    the simulations, or the maps are too few to tell: = and ? say which. A deep colour without a
    frame is a difference that is real but within the margin.
    """
    rows = report.rows()
    generators = report.names[1:]
    apart = _distances(rows, generators)
    size = (min(3.4 + 1.0 * len(generators), PAGE), 1.4 + 0.25 * len(rows))
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    drawn = np.clip(apart, -_MOST, _MOST)
    ax.imshow(drawn, vmin=-_MOST, vmax=_MOST, cmap="PuOr_r", aspect="auto")
    for (i, j), value in np.ndenumerate(apart):
        estimate = rows[i].estimates[generators[j]]
        found = "found" if isinstance(estimate, Share) else "∞"
        _write_cell(ax, (i, j), value, rows[i].answers[generators[j]].symbol, found)
    names = [f"{row.quantity.item}  {row.quantity.name}" for row in rows]
    ax.set_xticks(range(len(generators)), generators, rotation=25, ha="right")
    ax.set_yticks(range(len(rows)), [typeset(name) for name in names])
    # No colour bar: the numbers are in the cells that matter.
    ax.set_title("distance from what is expected / standard error", fontsize="medium")
    return figure


def _distances(rows: Sequence, generators: Sequence[str]) -> np.ndarray:
    """Standard errors above what is expected, ``(rows, generators)``; NaN where not defined."""
    apart = np.full((len(rows), len(generators)), np.nan)
    for i, row in enumerate(rows):
        sign = -1 if row.quantity.inverse else 1
        for j, name in enumerate(generators):
            apart[i, j] = sign * row.answers[name].sigmas
    return apart


def _write_cell(
    ax: Axes, place: tuple[int, int], value: float, symbol: str, infinite: str
) -> None:
    """The answer in its cell; where the generator is off, the distance, bold and in a frame."""
    row, column = place
    off = symbol == SYMBOLS[OFF]
    text = symbol.strip() or "–"
    if off and np.isinf(value):
        text = infinite
    elif off:
        text = f"{value:+.1f}" if abs(value) < 99 else f"{value:+.0f}"
    ink = "white" if abs(value) > 5.5 else TRUTH  # white reads on the dark ends of the scale
    weight = "bold" if off else "normal"
    ax.text(column, row, text, ha="center", va="center", fontsize=SMALL, color=ink, weight=weight)
    if off:
        corner = (column - 0.46, row - 0.43)
        ax.add_patch(Rectangle(corner, 0.92, 0.86, fill=False, color=TRUTH, lw=1.4))


def summary(report: FidelityReport, sets: Mapping[str, object], side_deg: float) -> Figure:
    """The comparison in one figure: a map of each set, C_ℓ over the truth, and all slopes.

    Args:
        report: from :func:`lensnb.compare.compare`.
        sets: κ-maps by name, each ``(maps, n, n)``; of ``(maps, channels, n, n)`` the first source
            bin is shown.
        side_deg: side of the field, degrees.
    """
    figure = plt.figure(figsize=(PAGE, 5.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.6))
    _draw_first_maps(top, sets, side_deg)
    left, middle, right = bottom.subplots(1, 3, width_ratios=(1, 1, 1.2))
    ratio(left, report, "power", "mean_ratio").set_title("$C_\\ell$: mean")
    ratio(middle, report, "power", "scatter_ratio").set_title("$C_\\ell$: scatter")
    slopes(right, report).set_title("correlations between bins")
    right.get_legend().remove()
    handles, labels = left.get_legend_handles_labels()
    null = [handle for handle, label in zip(handles, labels) if label.startswith("null")]
    left.legend(null, ["null, 95 %"], frameon=False, fontsize=SMALL)
    return figure


def _draw_first_maps(figure, sets: Mapping[str, object], side_deg: float) -> None:
    """The first map of each set in a row, on the colour scale of the first set."""
    few = first_maps(sets)
    limits = colour_limits(next(iter(few.values())))
    palette = colours(list(few))
    axes = figure.subplots(1, len(few), sharey=True, squeeze=False)[0]
    for ax, (name, maps) in zip(axes, few.items()):
        image = kappa_map(ax, maps[0], side_deg, limits)
        ax.set_title(textwrap.fill(name, 12), color=palette[name], fontsize=SMALL)
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
    axes[0].set_xlabel(f"{side_deg:g}° × {side_deg:g}°")
    figure.colorbar(image, ax=axes, label="κ", extend="both")
