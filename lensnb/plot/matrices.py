"""Correlation matrices, and their ratio to the truth's."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..compare import FidelityReport
from ..ensemble import Ensemble
from ..stats import Statistic
from .curves import parts
from .style import PAGE, SMALL, typeset

_UNKNOWN = "////"  # where the truth's correlation is not known well enough
_IN_A_ROW = 5  # matrices; more would have no room for their labels


def correlation(ax: Axes, ensemble: Ensemble, title: str, statistic: Statistic | None = None):
    """Draw a correlation matrix on a scale from −1 to 1; returns the image, for a colour bar.

    Args:
        ax: where to draw.
        ensemble: its vectors are correlated.
        title: above the matrix.
        statistic: labels the bins with its x; without it they are numbered.
    """
    image = ax.imshow(ensemble.correlation(), vmin=-1, vmax=1, cmap="RdBu_r", origin="lower")
    ax.set_title(title, fontsize=SMALL)
    _label_bins(ax, statistic)
    return image


def _label_bins(ax: Axes, statistic: Statistic | None) -> None:
    """Label both axes of a matrix: with the x of four bins, with the parts, or with numbers."""
    if statistic is not None and len(parts(statistic)) > 1:
        _label_parts(ax, statistic)
        return
    if statistic is None or not (np.diff(statistic.x) > 0).all():
        label = "bin" if statistic is None else f"bin of {typeset(statistic.x_label)}"
        ax.set(xlabel=label, ylabel=label)
        ax.locator_params(integer=True)
        return
    at = np.unique(np.linspace(0, len(statistic.x) - 1, 4).round().astype(int))
    names = []
    for x in statistic.x[at]:
        two_digits = float(f"{x:.2g}")
        names.append(f"{two_digits:g}")
    label = typeset(statistic.x_label)
    ax.set(xlabel=label, ylabel=label)
    ax.set_xticks(at, names, rotation=45, fontsize=SMALL)
    ax.set_yticks(at, names, fontsize=SMALL)


def _label_parts(ax: Axes, statistic: Statistic) -> None:
    """Name each part at its middle, and draw lines between the parts."""
    spans = parts(statistic)
    middles = [(span.start + span.stop - 1) / 2 for span in spans.values()]
    ax.set_xticks(middles, spans, rotation=90, fontsize=SMALL)
    ax.set_yticks(middles, spans, fontsize=SMALL)
    for span in list(spans.values())[1:]:
        ax.axhline(span.start - 0.5, color="black", lw=0.6)
        ax.axvline(span.start - 0.5, color="black", lw=0.6)


def correlations(report: FidelityReport, name: str = "power") -> Figure:
    """Correlation matrices of one statistic: truth, null and generators, with their slopes.

    Args:
        report: from :func:`lensnb.compare.compare`.
        name: which statistic.
    """
    sets = ["truth", *report.names]
    figure, axes = _square_panels(len(sets))
    for ax, one in zip(axes, sets):
        title = _wrapped(one)
        if one != "truth":
            slope = report.verdicts[one][name].slope
            if np.isfinite(slope.value):
                title += f"\nslope {slope.value:.2f} ± {slope.error:.2f}"
        image = correlation(ax, report.ensembles[one][name], title, report.statistics[name])
    _label_outer(axes)
    figure.colorbar(image, ax=axes, label="correlation ρ", shrink=0.8)
    return figure


def _square_panels(count: int) -> tuple[Figure, list[Axes]]:
    """So many axes in rows of nearly the same length, on one page."""
    rows = -(-count // _IN_A_ROW)  # rounded up
    columns = -(-count // rows)
    width = min(2.35 * columns + 0.8, PAGE)
    height = 0.7 + rows * (0.5 + (width - 1.9) / columns)
    figure = plt.figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(count)]


def _label_outer(axes: Sequence[Axes]) -> None:
    """Labels only at the left and where nothing is below."""
    columns = axes[0].get_gridspec().ncols
    for k, ax in enumerate(axes):
        if k % columns:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        if k + columns < len(axes):
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)


def _wrapped(name: str) -> str:
    return textwrap.fill(name, 18)


def correlation_ratio(
    ax: Axes, ensemble: Ensemble, truth: Ensemble, title: str, statistic: Statistic | None = None
):
    """Draw a correlation matrix divided by the truth's, element by element.

    Elements of the truth that are not known well enough are hatched
    (:meth:`~lensnb.ensemble.Ensemble.known_correlations`).

    Args:
        ax: where to draw.
        ensemble: its vectors are correlated.
        truth: vectors of the true maps.
        title: above the matrix; the median of the ratio is added.
        statistic: labels the bins with its x; without it they are numbered.

    Returns:
        The image, for a colour bar.
    """
    rho, known = truth.correlation(), truth.known_correlations()
    ratio = np.full_like(rho, np.nan)
    np.divide(ensemble.correlation(), rho, out=ratio, where=known)
    if known.any():
        title += f"\nmedian {np.nanmedian(ratio):.2f}"
    ax.patch.set(hatch=_UNKNOWN, edgecolor="0.6", linewidth=0)
    image = ax.imshow(ratio, vmin=0.5, vmax=1.5, cmap="PuOr_r", origin="lower")
    ax.set_title(title, fontsize=SMALL)
    _label_bins(ax, statistic)
    return image


def correlation_ratios(report: FidelityReport, name: str = "power") -> Figure:
    """Correlation matrices of null and generators divided by the truth's; 1 is expected.

    Args:
        report: from :func:`lensnb.compare.compare`.
        name: which statistic, or ``"joint"`` for all bins of all statistics together.
    """
    truth = _vectors(report, "truth", name)
    statistic = report.statistics.get(name) or _all_bins(report)
    figure, axes = _square_panels(len(report.names))
    for ax, one in zip(axes, report.names):
        vectors = _vectors(report, one, name)
        image = correlation_ratio(ax, vectors, truth, _wrapped(one), statistic)
    _label_outer(axes)
    figure.colorbar(image, ax=axes, label="ρ / ρ of the truth", shrink=0.8, extend="both")
    return figure


def _all_bins(report: FidelityReport) -> Statistic:
    """All statistics as the parts of one."""
    spans, first = {}, 0
    for name, statistic in report.statistics.items():
        spans[name] = slice(first, first + len(statistic.x))
        first += len(statistic.x)
    return SimpleNamespace(x=np.arange(first), parts=spans)


def _vectors(report: FidelityReport, one: str, name: str) -> Ensemble:
    """Vectors of a set in one statistic, or in all of them together."""
    if name == "joint":
        return Ensemble.join(report.ensembles[one].values())
    return report.ensembles[one][name]
