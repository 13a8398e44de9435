"""Correlation matrices, and their ratio to the truth's."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..compare import FidelityReport
from ..ensemble import Ensemble
from ..stats import Statistic
from .curves import parts
from .style import typeset

_UNKNOWN = "#d0d0d0"  # where the truth's correlation is not known well enough


def correlation(ax: Axes, ensemble: Ensemble, title: str, statistic: Statistic | None = None):
    """Draw a correlation matrix on a scale from −1 to 1; returns the image, for a colour bar.

    Args:
        ax: where to draw.
        ensemble: its vectors are correlated.
        title: above the matrix.
        statistic: labels the bins with its x; without it they are numbered.
    """
    image = ax.imshow(ensemble.correlation(), vmin=-1, vmax=1, cmap="RdBu_r", origin="lower")
    ax.set_title(title, fontsize=10)
    _label_bins(ax, statistic)
    return image


def _label_bins(ax: Axes, statistic: Statistic | None) -> None:
    """Label both axes of a matrix: with the x of four bins, with the parts, or with numbers."""
    if statistic is not None and len(parts(statistic)) > 1:
        _label_parts(ax, statistic)
        return
    if statistic is None or not (np.diff(statistic.x) > 0).all():
        ax.set(xlabel="bin", ylabel="bin")
        ax.locator_params(integer=True)
        return
    at = np.unique(np.linspace(0, len(statistic.x) - 1, 4).round().astype(int))
    names = []
    for x in statistic.x[at]:
        two_digits = float(f"{x:.2g}")
        names.append(f"{two_digits:g}")
    label = typeset(statistic.x_label)
    ax.set(xlabel=label, ylabel=label)
    ax.set_xticks(at, names, rotation=45)
    ax.set_yticks(at, names)


def _label_parts(ax: Axes, statistic: Statistic) -> None:
    """Name each part at its middle, and draw lines between the parts."""
    spans = parts(statistic)
    middles = [(span.start + span.stop - 1) / 2 for span in spans.values()]
    ax.set_xticks(middles, spans, rotation=45)
    ax.set_yticks(middles, spans)
    for span in list(spans.values())[1:]:
        ax.axhline(span.start - 0.5, color="0.3", lw=0.8)
        ax.axvline(span.start - 0.5, color="0.3", lw=0.8)


def correlations(report: FidelityReport, name: str = "power") -> Figure:
    """Correlation matrices of one statistic: truth, null and generators, with their slopes.

    Args:
        report: from :func:`lensnb.compare.compare`.
        name: which statistic.
    """
    sets = ["truth", *report.names]
    size = (2.35 * len(sets) + 0.8, 2.9)
    figure, axes = plt.subplots(
        1, len(sets), figsize=size, sharey=True, layout="constrained", squeeze=False
    )
    for ax, one in zip(axes[0], sets):
        title = one
        if one != "truth":
            slope = report.verdicts[one][name].slope
            if np.isfinite(slope.value):
                title += f"\nslope {slope.value:.2f} ± {slope.error:.2f}"
        image = correlation(ax, report.ensembles[one][name], title, report.statistics[name])
        ax.label_outer()
    figure.colorbar(image, ax=axes, label="correlation ρ", shrink=0.8)
    return figure


def correlation_ratio(
    ax: Axes, ensemble: Ensemble, truth: Ensemble, title: str, statistic: Statistic | None = None
):
    """Draw a correlation matrix divided by the truth's, element by element.

    Elements of the truth that are not known well enough stay grey
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
    ax.set_facecolor(_UNKNOWN)
    image = ax.imshow(ratio, vmin=0.5, vmax=1.5, cmap="PuOr_r", origin="lower")
    ax.set_title(title, fontsize=10)
    _label_bins(ax, statistic)
    return image


def correlation_ratios(report: FidelityReport, name: str = "power") -> Figure:
    """Correlation matrices of null and generators divided by the truth's; 1 is expected.

    Args:
        report: from :func:`lensnb.compare.compare`.
        name: which statistic, or ``"joint"`` for all bins of all statistics together.
    """
    truth = _vectors(report, "truth", name)
    statistic = report.statistics.get(name)  # none for all bins together
    sets = report.names
    size = (2.5 * len(sets) + 0.9, 3.0)
    figure, axes = plt.subplots(
        1, len(sets), figsize=size, sharey=True, layout="constrained", squeeze=False
    )
    for ax, one in zip(axes[0], sets):
        image = correlation_ratio(ax, _vectors(report, one, name), truth, one, statistic)
        ax.label_outer()
    figure.colorbar(image, ax=axes, label="ρ / ρ of the truth", shrink=0.8, extend="both")
    return figure


def _vectors(report: FidelityReport, one: str, name: str) -> Ensemble:
    """Vectors of a set in one statistic, or in all of them together."""
    if name == "joint":
        return Ensemble.join(report.ensembles[one].values())
    return report.ensembles[one][name]
