"""Figures: the only module that draws with matplotlib. Axes in, axes out; importing it changes no setting.

κ is drawn with a sequential colour map that reads for colour-blind eyes, sets of maps with the colours of Okabe & Ito
(2008). Figures have a white ground of their own, so that they read on dark pages too.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .compare import NULL, FidelityReport
from .ensemble import Ensemble
from .stats import Statistic

KAPPA = "magma"
CYCLE = [
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#882255",
    "#999933",
]  # Okabe & Ito; Tol
TRUTH, GREY = "#000000", "#8c8c8c"


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each set: truth black, the null grey, the others from a safe cycle in the order given."""
    others = [n for n in names if n not in ("truth", NULL)]
    return {"truth": TRUTH, NULL: GREY} | {n: CYCLE[i % len(CYCLE)] for i, n in enumerate(others)}


def table(cmap: str) -> np.ndarray:
    """A colour map of matplotlib's in 256 steps, RGBA in uint8, shape ``(256, 4)``, for a browser to draw with."""
    return plt.get_cmap(cmap)(np.linspace(0, 1, 256), bytes=True)


def show(figure: Figure, alt: str, save: str | Path | None = None):
    """Show a finished figure in a notebook with an alternative text for those who cannot see it, and close it.

    Args:
        figure: the figure.
        alt: one sentence that says what the figure shows.
        save: also write the PNG there.

    Returns:
        An ``IPython.display.Image``, the last value of the cell.
    """
    from IPython.display import Image

    drawn = small_png(figure, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    if save is not None:
        Path(save).parent.mkdir(parents=True, exist_ok=True)
        Path(save).write_bytes(drawn)
    return Image(drawn, format="png", alt=alt)


def small_png(figure: Figure, dpi: int = 100, **how) -> bytes:
    """A figure as a PNG of 256 colours, none off by more than a few levels in 255, which keeps a notebook small.

    Args:
        figure: the figure.
        dpi: pixels an inch.
        how: further arguments of ``savefig``.
    """
    from PIL import Image as Picture

    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, **how)
    few = (
        Picture.open(drawn)
        .convert("RGB")
        .quantize(256, Picture.Quantize.MAXCOVERAGE, kmeans=1, dither=Picture.Dither.NONE)
    )  # kmeans: or wide areas, a grey band say, take on a tint
    few.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def panels(
    columns: int, rows: int = 1, width: float = 4.3, height: float = 3.2
) -> tuple[Figure, np.ndarray]:
    """A figure with a row (or a grid) of axes, laid out without overlaps; sizes in inches."""
    return plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained"
    )


# ---------------------------------------------------------------- maps


def kappa_map(
    ax: Axes, kappa, side_deg: float, limits: tuple[float, float] | None = None, cmap: str = KAPPA
):
    """Draw one map, axes in degrees; returns the image, for a colour bar."""
    low, high = limits if limits is not None else (None, None)
    kappa = np.asarray(kappa)
    image = ax.imshow(
        kappa, cmap=cmap, origin="lower", extent=(0, side_deg, 0, side_deg), vmin=low, vmax=high,
        interpolation="nearest" if len(kappa) <= 128 else None,  # sharp pixels, and a third of the size as PNG
    )  # fmt: skip
    ax.set_xlabel("degrees")
    ax.set_ylabel("degrees")
    return image


def gallery(
    sets: Mapping[str, object],
    side_deg: float,
    columns: int = 4,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A few maps of each set, a row a set, all on one colour scale (by default that of the first set)."""
    first = np.asarray(next(iter(sets.values()))[:columns], float)
    limits = tuple(np.percentile(first, [0.5, 99.7])) if limits is None else limits
    figure, axes = plt.subplots(
        len(sets), columns, figsize=(2.1 * columns + 1.2, 2.1 * len(sets)), squeeze=False, sharex=True, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for row, (name, maps) in zip(axes, sets.items()):
        for ax, kappa in zip(row, maps):
            image = kappa_map(ax, np.asarray(kappa), side_deg, limits)
            ax.label_outer()
        row[0].set_ylabel(f"{name}\n\ndegrees", fontsize=10)
    figure.colorbar(
        image, ax=axes, label="convergence κ", shrink=min(1.0, 1.6 / len(sets)), extend="both"
    )
    return figure


# ---------------------------------------------------------------- statistics


def band(ax: Axes, statistic: Statistic, ensemble: Ensemble, colour: str, label: str) -> Axes:
    """Mean of a statistic as a line, the scatter of one map (± σ) as a band."""
    mean, std = ensemble.mean(), ensemble.std()
    low = np.maximum(mean - std, 0.03 * np.abs(mean)) if statistic.log_y else mean - std
    ax.fill_between(statistic.x, low, mean + std, color=colour, alpha=0.18, lw=0)
    ax.plot(statistic.x, mean, color=colour, label=label, lw=1.6)
    return _scales(ax, statistic)


def typeset(label: str) -> str:
    """The label with its ℓ set as mathematics; C_ℓ is plain text elsewhere (tables, widgets)."""
    return label.replace("C_ℓ", r"$C_\ell$")


def _scales(ax: Axes, statistic: Statistic, log_y: bool = True) -> Axes:
    if statistic.log_x:
        ax.set_xscale("log")
    if statistic.log_y and log_y:
        ax.set_yscale("log")
    ax.set_xlabel(typeset(statistic.x_label))
    ax.grid(alpha=0.25)
    return ax


def _positions(x: np.ndarray, count: int, k: int, log: bool) -> np.ndarray:
    """Bin positions of the k-th of ``count`` sets, moved aside a little so that error bars do not hide one another."""
    offset = (k - (count - 1) / 2) / max(count, 1)
    return x * np.exp(0.045 * offset) if log else x + offset * 0.35 * np.median(np.abs(np.diff(x)))


def ratio(
    ax: Axes, report: FidelityReport, name: str, what: str, sets: Sequence[str] | None = None
) -> Axes:
    """Ratio to truth bin by bin with error bars; the grey band is the null's 95 % interval.

    Triangles at the edge stand for points beyond it.

    Args:
        ax: where to draw.
        report: from :func:`lensnb.compare.compare`.
        name: which statistic.
        what: ``"mean_ratio"``, ``"scatter_ratio"`` or ``"mean_shift"``.
        sets: which generators; all by default.
    """
    statistic, palette = report.statistics[name], colours(report.names)
    sets = [n for n in report.names if n != NULL] if sets is None else sets
    low, high = getattr(report.verdicts[NULL][name], what).interval
    ax.fill_between(statistic.x, low, high, color=GREY, alpha=0.35, lw=0, label="null, 95 %")
    ax.axhline(0.0 if what == "mean_shift" else 1.0, color=TRUTH, lw=1)
    limits = (-np.inf, np.inf) if what == "mean_shift" else _readable(report, name, what, sets)
    for k, set_name in enumerate(sets):
        estimate = getattr(report.verdicts[set_name][name], what)
        x = _positions(statistic.x, len(sets), k, statistic.log_x)
        ax.errorbar(
            x,
            estimate.value,
            estimate.error,
            fmt="o",
            ms=3,
            lw=1,
            color=palette[set_name],
            label=set_name,
        )
        for edge, marker, beyond in (
            (limits[0], "v", estimate.value < limits[0]),
            (limits[1], "^", estimate.value > limits[1]),
        ):
            if beyond.any():
                y = np.full(beyond.sum(), edge)
                ax.plot(
                    x[beyond], y, marker, ms=6, color=palette[set_name], clip_on=False, zorder=5
                )
    labels = {
        "mean_ratio": "mean / truth",
        "scatter_ratio": "scatter / truth",
        "mean_shift": "(mean − truth) / σ",
    }
    ax.set_ylabel(labels[what])
    if what != "mean_shift":
        ax.set_ylim(*limits)
    return _scales(ax, statistic, log_y=False)


def _readable(
    report: FidelityReport, name: str, what: str, sets: Sequence[str]
) -> tuple[float, float]:
    """Limits about 1 that hold most points, and no more than a factor of two; a triangle marks a point beyond them."""
    values = [getattr(report.verdicts[n][name], what).value for n in [NULL, *sets]]
    spread = np.nanpercentile(np.abs(np.concatenate(values) - 1), 95) * 1.2
    spread = float(np.clip(spread, 0.1, 1.0))
    return 1 - spread, 1 + spread


def comparison(report: FidelityReport, names: Sequence[str] = ("power", "pdf", "peaks")) -> Figure:
    """For each statistic a column: means with the scatter of one map, mean over truth, scatter over truth."""
    figure, axes = plt.subplots(
        3, len(names), figsize=(4.3 * len(names), 8.0), squeeze=False, sharex="col", layout="constrained",
        height_ratios=(1.35, 1, 1),
    )  # fmt: skip
    palette = colours(report.names)
    for column, name in zip(axes.T, names):
        statistic = report.statistics[name]
        band(
            column[0],
            statistic,
            report.ensembles["truth"][name],
            TRUTH,
            "truth, mean ± σ of one map",
        )
        for set_name in report.names[1:]:
            mean = report.ensembles[set_name][name].mean()
            column[0].plot(statistic.x, mean, color=palette[set_name], lw=1.4, label=set_name)
        column[0].set_ylabel(typeset(statistic.y_label))
        column[0].set_xlabel("")
        if statistic.log_y:
            _floor(column[0], report.ensembles["truth"][name])
        ratio(column[1], report, name, "mean_ratio").set_xlabel("")
        ratio(column[2], report, name, "scatter_ratio")
    handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels())))
    handles |= {"null, 95 %": axes[1, 0].get_legend_handles_labels()[0][0]}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=min(6, len(handles)),
        frameon=False,
    )
    return figure


def _floor(ax: Axes, truth: Ensemble) -> None:
    mean = truth.mean()
    smallest, largest = mean[mean > 0].min(), mean.max()
    ax.set_ylim(max(smallest * 0.3, largest * 1e-5), largest * 3)


def correlation(ax: Axes, ensemble: Ensemble, title: str, statistic: Statistic | None = None):
    """Draw a correlation matrix from −1 to 1; returns the image, for a colour bar.

    Bins are named by the x of their statistic where it is given, and numbered otherwise.
    """
    image = ax.imshow(ensemble.correlation(), vmin=-1, vmax=1, cmap="RdBu_r", origin="lower")
    ax.set_title(title, fontsize=10)
    _name_bins(ax, statistic)
    return image


def _name_bins(ax: Axes, statistic: Statistic | None) -> None:
    """Label the two axes of a matrix, with the x of four of the bins where they have one of their own."""
    if statistic is None or not (np.diff(statistic.x) > 0).all():
        ax.set(xlabel="bin", ylabel="bin")
        ax.locator_params(integer=True)
        return
    at = np.unique(np.linspace(0, len(statistic.x) - 1, 4).round().astype(int))
    names = [f"{float(f'{statistic.x[i]:.2g}'):g}" for i in at]
    label = typeset(statistic.x_label)
    ax.set(xlabel=label, ylabel=label)
    ax.set_xticks(at, names, rotation=45)
    ax.set_yticks(at, names)


def correlations(report: FidelityReport, name: str = "power") -> Figure:
    """The correlation matrices of one statistic side by side: truth, null and generators, with their slopes."""
    sets = ["truth", *report.names]
    figure, axes = plt.subplots(
        1,
        len(sets),
        figsize=(2.35 * len(sets) + 0.8, 2.9),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for ax, set_name in zip(axes[0], sets):
        title = set_name
        if set_name != "truth":
            slope = report.verdicts[set_name][name].slope
            title += f"\nslope {slope.value:.2f} ± {slope.error:.2f}"
        image = correlation(ax, report.ensembles[set_name][name], title, report.statistics[name])
        ax.label_outer()
    figure.colorbar(image, ax=axes, label="correlation ρ", shrink=0.8)
    return figure


def slopes(ax: Axes, report: FidelityReport) -> Axes:
    """Correlation slope of every statistic for every set; the grey band is the null's 95 % interval."""
    names = list(report.verdicts[NULL])
    _points(
        ax, report, [{s: report.verdicts[s][n].slope for s in report.names} for n in names], names
    )
    plt.setp(ax.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")
    ax.set_ylabel("correlation slope, 1 is right")
    ax.legend(frameon=False, fontsize=9, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def correlation_ratio(
    ax: Axes, ensemble: Ensemble, truth: Ensemble, title: str, statistic: Statistic | None = None
):
    """Draw a correlation matrix divided by the truth's, element by element; returns the image, for a colour bar.

    Elements of the truth that are not known (:meth:`~lensnb.ensemble.Ensemble.known_correlations`) stay grey.
    """
    rho, known = truth.correlation(), truth.known_correlations()
    ratio = np.divide(ensemble.correlation(), rho, out=np.full_like(rho, np.nan), where=known)
    ax.set_facecolor("#d0d0d0")
    image = ax.imshow(ratio, vmin=0.5, vmax=1.5, cmap="PuOr_r", origin="lower")
    ax.set_title(
        f"{title}\nmedian {np.nanmedian(ratio):.2f}" if known.any() else title, fontsize=10
    )
    _name_bins(ax, statistic)
    return image


def correlation_ratios(report: FidelityReport, name: str = "power") -> Figure:
    """The correlation matrices of null and generators divided by the truth's, element by element; 1 is right."""
    of = lambda sets: Ensemble.join(sets.values()) if name == "joint" else sets[name]
    truth = of(report.ensembles["truth"])
    figure, axes = plt.subplots(
        1, len(report.names), figsize=(2.5 * len(report.names) + 0.9, 3.0), sharey=True, layout="constrained", squeeze=False
    )  # fmt: skip
    for ax, set_name in zip(axes[0], report.names):
        image = correlation_ratio(
            ax, of(report.ensembles[set_name]), truth, set_name, report.statistics.get(name)
        )
        ax.label_outer()
    figure.colorbar(image, ax=axes, label="ρ / ρ of the truth", shrink=0.8, extend="both")
    return figure


def eigenvalues(ax: Axes, report: FidelityReport, name: str = "joint") -> Axes:
    """Variances relative to the truth's along the covariance's own axes, smallest to largest; 1 is right.

    The eigenvalues of C_T^(−1/2) C_G C_T^(−1/2). Noise spreads them about 1 for true maps as well: the grey band.
    """
    palette = colours(report.names)
    null = report.verdicts[NULL][name].eigenvalues
    index = np.arange(1, len(null.value) + 1)
    ax.fill_between(
        index, *np.maximum(null.interval, 1e-3), color=GREY, alpha=0.35, lw=0, label="null, 95 %"
    )
    ax.axhline(1, color=TRUTH, lw=1)
    for set_name in report.names[1:]:
        estimate = report.verdicts[set_name][name].eigenvalues
        ax.errorbar(index, np.maximum(estimate.value, 1e-3), estimate.error, fmt="o-", ms=3, lw=1, color=palette[set_name], label=set_name)  # fmt: skip
    ax.set(xlabel="eigenvalue, from the smallest", ylabel="variance / truth", yscale="log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    _plain_ticks(ax.yaxis)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=9)
    return ax


def _plain_ticks(axis) -> None:
    """Ticks such as 0.5, 1, 2 on a short logarithmic axis, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def tails(report: FidelityReport) -> Figure:
    """The ends of the distribution: the PDF on a logarithmic axis, its ratio to the truth, and the tails in three numbers."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13.0, 3.6), layout="constrained")
    palette, statistic = colours(report.names), report.statistics["pdf"]
    for name in ["truth", *report.names]:
        left.plot(
            statistic.x,
            report.ensembles[name]["pdf"].mean(),
            color=palette[name],
            lw=1.6,
            label=name,
        )
    _scales(left, statistic).set_ylabel(statistic.y_label)
    _floor(left, report.ensembles["truth"]["pdf"])
    left.legend(frameon=False, fontsize=9)
    low, high = report.verdicts[NULL]["pdf"].mean_ratio.interval
    middle.fill_between(statistic.x, np.maximum(low, 0.02), high, color=GREY, alpha=0.35, lw=0)
    middle.axhline(1, color=TRUTH, lw=1)
    for name in report.names[1:]:
        middle.plot(
            statistic.x,
            report.verdicts[name]["pdf"].mean_ratio.value,
            "o-",
            ms=3,
            lw=1,
            color=palette[name],
        )
    middle.set(xlabel=statistic.x_label, ylabel="P(κ) / truth", yscale="log", ylim=(0.1, 10))
    _plain_ticks(middle.yaxis)
    middle.grid(alpha=0.25)
    rows = [row for row in report.rows() if row.quantity.item == 5]
    _points(right, report, [row.estimates for row in rows], [row.quantity.name for row in rows])
    right.set(ylabel="ratio to truth", yscale="log")
    _plain_ticks(right.yaxis)
    return figure


def _points(
    ax: Axes, report: FidelityReport, estimates: Sequence[Mapping], labels: Sequence[str]
) -> None:
    """Estimates of every generator side by side, with the null's interval as a bar behind them."""
    palette, x, sets = colours(report.names), np.arange(len(labels), dtype=float), report.names[1:]
    low, high = np.array([e[NULL].interval for e in estimates]).T
    ax.bar(x, high - low, bottom=low, width=0.8, color=GREY, alpha=0.35, label="null, 95 %")
    for k, name in enumerate(sets):
        shifted = x + 0.6 * (k - (len(sets) - 1) / 2) / max(len(sets), 1)
        value, error = (
            [float(e[name].value) for e in estimates],
            [float(e[name].error) for e in estimates],
        )
        ax.errorbar(shifted, value, error, fmt="o", ms=5, color=palette[name], label=name)
    ax.axhline(1, color=TRUTH, lw=1)
    ax.set_xticks(x, labels)
    ax.grid(axis="y", alpha=0.25)


def neighbours(ax: Axes, report: FidelityReport) -> Axes:
    """How near the maps come to their nearest training map, as the share of maps nearer than a distance.

    Copies lie at the left; held-out true maps (black) show what is chance.
    """
    palette = colours(report.names)
    for name, found in report.neighbours.items():
        distance = np.sort(np.asarray(found.distance))
        ax.step(
            distance,
            np.arange(1, len(distance) + 1) / len(distance),
            where="post",
            color=palette[name],
            label=name,
        )
    ax.set(
        xlabel="distance to the nearest training map",
        ylabel="share of maps nearer",
        ylim=(0, 1.02),
    )
    ax.set_xlim(left=-0.03)  # copies lie at zero
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize=9)
    return ax


def scorecard(report: FidelityReport) -> Figure:
    """Every headline number of every generator: how far from the null, in standard errors; a frame marks what fails.

    Blue is below the null, orange above. Numbers whose wrong side is harmless (a small divergence) may be coloured and pass.
    """
    rows, sets = report.rows(), report.names[1:]
    apart = np.full((len(rows), len(sets)), np.nan)
    for i, row in enumerate(rows):
        for j, name in enumerate(sets):
            here, null = row.estimates[name], row.estimates[NULL]
            spread = np.hypot(here.error, null.error)
            apart[i, j] = (here.value - null.value) / spread if spread > 0 else np.nan
            apart[i, j] *= -1 if row.quantity.inverse else 1
    figure, ax = plt.subplots(
        figsize=(3.4 + 1.15 * len(sets), 1.4 + 0.3 * len(rows)), layout="constrained"
    )
    image = ax.imshow(np.clip(apart, -8, 8), vmin=-8, vmax=8, cmap="PuOr_r", aspect="auto")
    for (i, j), value in np.ndenumerate(apart):
        fails = bool(rows[i].faults[sets[j]])
        text = "–" if np.isnan(value) else f"{value:+.1f}" if abs(value) < 99 else f"{value:+.0f}"
        ax.text(j, i, text, ha="center", va="center", fontsize=9, color="white" if abs(value) > 5.5 else TRUTH, weight="bold" if fails else "normal")  # fmt: skip
        if fails:
            ax.add_patch(
                Rectangle((j - 0.46, i - 0.43), 0.92, 0.86, fill=False, color=TRUTH, lw=1.4)
            )
    ax.set_xticks(range(len(sets)), sets, rotation=25, ha="right")
    ax.set_yticks(range(len(rows)), [f"{row.quantity.item}  {row.quantity.name}" for row in rows])
    figure.colorbar(image, ax=ax, label="distance from the null / standard error", extend="both")
    return figure


def summary(report: FidelityReport, sets: Mapping[str, object], side_deg: float) -> Figure:
    """The whole comparison in one figure: a map of each set, C_ℓ mean and scatter over truth, and all slopes."""
    figure = plt.figure(figsize=(max(2.5 * len(sets) + 1.2, 11.0), 6.0), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    limits = tuple(np.percentile(np.asarray(next(iter(sets.values()))[:8], float), [0.5, 99.7]))
    axes = top.subplots(1, len(sets), sharey=True)
    for ax, (name, maps) in zip(axes, sets.items()):
        image = kappa_map(ax, np.asarray(maps[0]), side_deg, limits)
        ax.set_title(name, color=colours(list(sets))[name])
        ax.label_outer()
    top.colorbar(image, ax=axes, label="κ", extend="both")
    left, middle, right = bottom.subplots(1, 3, width_ratios=(1, 1, 1.35))
    ratio(left, report, "power", "mean_ratio").set_title("$C_\\ell$: mean")
    ratio(middle, report, "power", "scatter_ratio").set_title("$C_\\ell$: scatter from map to map")
    slopes(right, report).set_title("correlations of bins with one another")
    right.get_legend().remove()
    null = [h for h, label in zip(*left.get_legend_handles_labels()) if label.startswith("null")]
    left.legend(null, ["null, 95 %; colours as the titles above"], frameon=False, fontsize=8)
    return figure


def against_known(
    checks: Mapping[str, tuple], x_label: str, log_x: bool = False, log_y: bool = False
) -> Figure:
    """Measured means against answers that are known exactly: both above, their difference in standard errors below.

    Args:
        checks: a column each: by the label of its y axis ``(x, mean, error, known)``, four arrays ``(bins,)``.
        x_label: label of all x axes.
        log_x: logarithmic x axes.
        log_y: logarithmic y axes.
    """
    figure, axes = plt.subplots(
        2, len(checks), figsize=(max(4.3 * len(checks), 6.5), 4.4), squeeze=False, sharex="col", layout="constrained",
        height_ratios=(2, 1),
    )  # fmt: skip
    for (top, bottom), (label, (x, mean, error, known)) in zip(axes.T, checks.items()):
        top.plot(x, known, color=CYCLE[1], label="known answer")
        top.errorbar(x, mean, error, fmt="o", ms=4, color=TRUTH, label="measured")
        bottom.axhspan(-2, 2, color=GREY, alpha=0.3, lw=0)
        bottom.axhline(0, color=CYCLE[1])
        bottom.plot(x, (mean - known) / error, "o", ms=4, color=TRUTH)
        limit = max(3.5, 1.1 * float(np.abs((mean - known) / error).max()))
        bottom.set(xlabel=x_label, ylim=(-limit, limit))
        top.set(
            ylabel=label, xscale="log" if log_x else "linear", yscale="log" if log_y else "linear"
        )
        top.margins(y=0.15)  # room for the legend
    axes[1, 0].set_ylabel("difference\n/ standard error")
    axes[0, 0].legend(frameon=False)
    return figure


# ---------------------------------------------------------------- training


def training(
    ax: Axes, history: Sequence[Mapping], label: str = "loss", name: str = "training"
) -> Axes:
    """Loss of a training against the step, with the held-out loss where it was recorded."""
    steps = [r["step"] for r in history if r["loss"] is not None]
    ax.plot(
        steps,
        [r["loss"] for r in history if r["loss"] is not None],
        color=CYCLE[0],
        label=f"{name}, training maps",
    )
    held = [(r["step"], r["validation"]) for r in history if "validation" in r]
    if held:
        ax.plot(*zip(*held), color=CYCLE[1], label=f"{name}, unseen maps (averaged weights)")
    ax.set_xlabel("optimiser step")
    ax.set_ylabel(label)
    ax.grid(alpha=0.25)
    ax.legend(
        frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1)
    )  # curves go everywhere inside
    return ax
