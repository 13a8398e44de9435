"""Statistics against their bins: the mean, the scatter of one map, and the ratio to the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..compare import NULL, FidelityReport
from ..ensemble import Ensemble
from ..stats import Statistic
from .style import GREY, PAGE, REFERENCE, SMALL, TRUTH, colours, set_scales, typeset

# How the parts of a statistic look, such as spectra of source bins: lines, and points of a ratio.
# Three source bins have six spectra; with more parts than styles, the styles begin again.
_LINES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 4)))
_POINTS = ("o", "s", "D", "P", "X", "*")

_RATIO_LABELS = {
    "mean_ratio": "mean / truth",
    "scatter_ratio": "scatter / truth",
    "mean_shift": "(mean − truth) / σ",
}
_NULL_LABEL = "null, 95 %"
_LEAST = 0.1  # the axis of a ratio holds at least 1 ± this,
_BOUNDS = (-0.5, 3.0)  # and at most this; for points without their bars, no more than 0 to 2
_ROOM = 0.03  # between the end of a bar and the edge, of the height


def parts(statistic: Statistic) -> dict[str, slice]:
    """The parts of a statistic's vector by name, such as one for each source bin.

    A line must not run from one part into the next. A statistic of one part has one without a
    name: ``{"": slice(0, bins)}``.
    """
    bins = len(statistic.x)
    given = getattr(statistic, "parts", None) or {}
    spans = {name: slice(*part.indices(bins)) for name, part in given.items()}
    spans = {name: span for name, span in spans.items() if span.stop > span.start}
    if len(spans) < 2:
        return {"": slice(0, bins)}
    return spans


def curve(
    ax: Axes, statistic: Statistic, values: np.ndarray, colour: str, label: str | None, **how
) -> Axes:
    """One number per bin as a line; each part of the statistic is a line of its own.

    Where there are several parts, line styles tell them apart, and the legend names the styles.

    Args:
        ax: where to draw.
        statistic: has the bins.
        values: what to draw, shape ``(bins,)``.
        colour: of the line.
        label: for the legend.
        how: further arguments of ``ax.plot``.
    """
    spans = parts(statistic)
    for k, span in enumerate(spans.values()):
        style = {"ls": _LINES[k % len(_LINES)]} | how
        ax.plot(statistic.x[span], values[span], color=colour, label=label, **style)
        label = None  # once in the legend
    if len(spans) > 1:
        _name_parts(ax, list(spans))
    return ax


def _name_parts(ax: Axes, names: Sequence[str]) -> None:
    """Put the line and the point of each part into the legend, once."""
    known = ax.get_legend_handles_labels()[1]
    for k, name in enumerate(names):
        style = {"ls": _LINES[k % len(_LINES)], "marker": _POINTS[k % len(_POINTS)], "ms": 3}
        if name not in known:
            ax.plot([], [], color=TRUTH, lw=1, label=name, **style)


def fill(
    ax: Axes,
    statistic: Statistic,
    low: np.ndarray,
    high: np.ndarray,
    label: str | None = None,
    **how,
) -> None:
    """The area between two curves ``(bins,)``, each part of the statistic by itself."""
    for span in parts(statistic).values():
        style = {"lw": 0} | how
        ax.fill_between(statistic.x[span], low[span], high[span], label=label, **style)
        label = None


def band(ax: Axes, statistic: Statistic, ensemble: Ensemble, colour: str, label: str) -> Axes:
    """Mean of a statistic as a line, and the scatter of one map (± σ) as a band.

    The band of the truth has edges only: filled it would be as grey as the null.
    """
    mean, std = ensemble.mean(), ensemble.std()
    low = mean - std
    if statistic.log_y:
        low = np.maximum(low, 0.03 * np.abs(mean))  # or the band would have no lower edge
    fill(ax, statistic, low, mean + std, **tint(colour))
    curve(ax, statistic, mean, colour, label, lw=1.6)
    return set_scales(ax, statistic)


def tint(colour: str) -> dict:
    """How an area about a curve of this colour looks; that of the truth has edges only."""
    if colour == TRUTH:
        return {"facecolor": "none", "edgecolor": TRUTH, "lw": 0.7}
    return {"color": colour, "alpha": 0.18, "lw": 0}


# ---------------------------------------------------------------- ratios to the truth


def ratio(
    ax: Axes, report: FidelityReport, name: str, what: str, sets: Sequence[str] | None = None
) -> Axes:
    """Ratio to the truth bin by bin, with error bars; the grey band is the null's 95 % interval.

    A triangle at the edge stands for a point beyond it, or for a bar or a band that goes on there.

    Args:
        ax: where to draw.
        report: from :func:`lensnb.compare.compare`.
        name: which statistic.
        what: ``"mean_ratio"``, ``"scatter_ratio"`` or ``"mean_shift"``.
        sets: which generators; all by default.
    """
    statistic = report.statistics[name]
    palette = colours(report.names)
    if sets is None:
        sets = [one for one in report.names if one != NULL]
    is_ratio = what != "mean_shift"
    low, high = getattr(report.verdicts[NULL][name], what).interval
    fill(ax, statistic, low, high, _NULL_LABEL, color=GREY, alpha=0.35)
    ax.axhline(1.0 if is_ratio else 0.0, color=TRUTH, lw=1)
    limits = (-np.inf, np.inf)
    if is_ratio:
        limits = _readable(report, name, what, sets)
        ax.set_ylim(*limits)
        for end in (low, high):
            mark_beyond(ax, statistic.x, end, limits, GREY)
    spans = parts(statistic)
    middle = (len(sets) * len(spans) - 1) / 2
    for k, one in enumerate(sets):
        estimate = getattr(report.verdicts[one][name], what)
        for part, span in enumerate(spans.values()):
            x = _moved(statistic, span, (k * len(spans) + part - middle) / len(sets))
            value, error = estimate.value[span], estimate.error[span]
            style = {"fmt": _POINTS[part % len(_POINTS)], "ms": 3, "lw": 1, "color": palette[one]}
            ax.errorbar(x, value, error, label=one if part == 0 else None, **style)
            mark_beyond(ax, x, value, limits, palette[one])
            held = (limits[0] <= value) & (value <= limits[1])
            for end in (value - error, value + error):
                mark_beyond(ax, x[held], end[held], limits, palette[one])
    ax.set_ylabel(_RATIO_LABELS[what])
    return set_scales(ax, statistic, log_y=False)


def _moved(statistic: Statistic, span: slice, aside: float) -> np.ndarray:
    """Where the bins of a part lie, moved aside so that error bars do not hide one another."""
    x = statistic.x[span]
    if statistic.log_x:
        return x * np.exp(0.045 * aside)
    return x + aside * 0.35 * np.median(np.abs(np.diff(statistic.x)))


def mark_beyond(
    ax: Axes, x: np.ndarray, values: np.ndarray, limits: tuple[float, float], colour: str
) -> None:
    """A triangle at the edge for every point that lies beyond it."""
    low, high = limits
    for edge, marker, beyond in ((low, "v", values < low), (high, "^", values > high)):
        if beyond.any():
            y = np.full(beyond.sum(), edge)
            ax.plot(x[beyond], y, marker, ms=6, color=colour, clip_on=False, zorder=5)


def _readable(
    report: FidelityReport, name: str, what: str, sets: Sequence[str]
) -> tuple[float, float]:
    """Limits about 1 that hold the null's band, most points, and the whole bars of these."""
    estimates = [getattr(report.verdicts[one][name], what) for one in (NULL, *sets)]
    value = np.concatenate([one.value for one in estimates])
    error = np.nan_to_num(np.concatenate([one.error for one in estimates]))
    usual = 1.2 * np.nanpercentile(np.abs(value - 1), 95)
    spread = float(np.clip(usual, _LEAST, 1))
    band = getattr(report.verdicts[NULL][name], what).interval
    limits = _widened((1 - spread, 1 + spread), band[np.isfinite(band)])
    while True:
        held = (limits[0] <= value) & (value <= limits[1])
        ends = np.concatenate([(value - error)[held], (value + error)[held]])
        wider = _widened(limits, ends)
        if wider == limits:
            return limits
        limits = wider  # which may hold more points, and these have bars of their own


def _widened(limits: tuple[float, float], values: np.ndarray) -> tuple[float, float]:
    """Limits that hold these values with a little room, but no more than the bounds."""
    low, high = limits
    if not len(values):
        return limits
    lowest, highest = float(values.min()), float(values.max())
    room = _ROOM * (max(high, highest) - min(low, lowest))
    if lowest < low:
        low = max(lowest - room, _BOUNDS[0])
    if highest > high:
        high = min(highest + room, _BOUNDS[1])
    return low, high


# ---------------------------------------------------------------- whole figures


def comparison(report: FidelityReport, names: Sequence[str] = ("power", "pdf", "peaks")) -> Figure:
    """A column per statistic: means with the scatter of one map, then mean and scatter over truth.

    Args:
        report: from :func:`lensnb.compare.compare`.
        names: which statistics.
    """
    figure, axes = plt.subplots(
        3,
        len(names),
        figsize=(min(4.3 * len(names), PAGE), 7.6),
        squeeze=False,
        sharex="col",
        layout="constrained",
        height_ratios=(1.35, 1, 1),
    )
    for (top, middle, bottom), name in zip(axes.T, names):
        means(top, report, name)
        top.set_xlabel("")
        ratio(middle, report, name, "mean_ratio").set_xlabel("")
        ratio(bottom, report, name, "scatter_ratio")
    for ax in axes[1:, 1:].flat:
        ax.set_ylabel("")  # as in the first column
    entries = _legend_of(axes[0, 0])
    for part in parts(report.statistics[names[0]]):
        if part in entries:
            entries[part] = entries.pop(part)  # the parts come after the sets
    entries[_NULL_LABEL] = _legend_of(axes[1, 0])[_NULL_LABEL]
    in_a_row = max(2, int(figure.get_figwidth() / 1.8))
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside upper center",
        frameon=False,
        fontsize=SMALL,
        ncols=min(in_a_row, len(entries)),
    )
    return figure


def means(ax: Axes, report: FidelityReport, name: str) -> Axes:
    """Means of a statistic: the truth with the scatter of one map, and every generator.

    Args:
        ax: where to draw.
        report: from :func:`lensnb.compare.compare`.
        name: which statistic.
    """
    statistic = report.statistics[name]
    palette = colours(report.names)
    truth = report.ensembles["truth"][name]
    band(ax, statistic, truth, TRUTH, "truth, mean ± σ of one map")
    for one in report.names[1:]:
        mean = report.ensembles[one][name].mean()
        curve(ax, statistic, mean, palette[one], one, lw=1.4)
    ax.set_ylabel(typeset(statistic.y_label))
    if statistic.log_y:
        cut_off_empty_bins(ax, truth)
    return ax


def _legend_of(ax: Axes) -> dict[str, object]:
    """What the legend of these axes would show, by label."""
    handles, labels = ax.get_legend_handles_labels()
    return dict(zip(labels, handles))


def cut_off_empty_bins(ax: Axes, truth: Ensemble) -> None:
    """Limits of a logarithmic axis that a nearly empty bin cannot stretch over many decades."""
    mean = truth.mean()
    smallest, largest = mean[mean > 0].min(), mean.max()
    ax.set_ylim(max(smallest * 0.3, largest * 1e-5), largest * 3)


def against_known(
    checks: Mapping[str, tuple], x_label: str, log_x: bool = False, log_y: bool = False
) -> Figure:
    """Measured means beside exact answers; below, their difference in standard errors.

    Args:
        checks: a column each: by the label of its y axis ``(x, mean, error, known)``, four arrays
            ``(bins,)``.
        x_label: label of all x axes.
        log_x: logarithmic x axes.
        log_y: logarithmic y axes.
    """
    width = min(max(4.3 * len(checks), 6.5), PAGE)
    figure, axes = plt.subplots(
        2,
        len(checks),
        figsize=(width, 4.4),
        squeeze=False,
        sharex="col",
        layout="constrained",
        height_ratios=(2, 1),
    )
    for (top, bottom), (label, (x, mean, error, known)) in zip(axes.T, checks.items()):
        top.plot(x, known, color=REFERENCE, label="known answer")
        top.errorbar(x, mean, error, fmt="o", ms=4, color=TRUTH, label="measured")
        top.set_ylabel(label)
        if log_x:
            top.set_xscale("log")
        if log_y:
            top.set_yscale("log")
        top.margins(y=0.15)  # room for the legend
        difference = (mean - known) / error
        limit = max(3.5, 1.1 * float(np.abs(difference).max()))
        bottom.axhspan(-2, 2, color=REFERENCE, alpha=0.15, lw=0)
        bottom.axhline(0, color=REFERENCE)
        bottom.plot(x, difference, "o", ms=4, color=TRUTH)
        bottom.set(xlabel=x_label, ylim=(-limit, limit))
    axes[1, 0].set_ylabel("difference\n/ standard error")
    axes[0, 0].legend(frameon=False)
    return figure
