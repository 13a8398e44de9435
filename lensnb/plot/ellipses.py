"""Contours of two parameters, as an analysis with each set of maps would draw them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ..compare import NULL, FidelityReport
from ..compare.sets import TRUTH
from .style import colours, typeset

_LEVELS = (0.683, 0.954)


def contours(ax: Axes, report: FidelityReport) -> Axes:
    """The regions of 68 % and 95 % that an analysis of one map would find with each set.

    The truth is filled. A contour that lies aside has a wrong mean, and one that is smaller or
    turned has a wrong covariance (:mod:`lensnb.compare.contours`).

    Args:
        ax: where to draw.
        report: from :func:`lensnb.compare.compare`.

    Raises:
        ValueError: the report has no contours.
    """
    if TRUTH not in report.contours:
        raise ValueError(
            "the report has no contours; expected two parameters, enough true maps for them, and "
            "a comparison of this version"
        )
    palette = colours(report.names)
    for name, one in report.contours.items():
        for level in _LEVELS:
            x, y = one.ellipse(level).T
            if name == TRUTH:
                ax.fill(x, y, color=palette[TRUTH], alpha=0.12, lw=0)
            style = {"color": palette[name], "lw": 1.2, "ls": "--" if name == NULL else "-"}
            ax.plot(x, y, label=name if level == _LEVELS[0] else None, **style)
        ax.plot(*one.centre[:2], "+", ms=7, color=palette[name])
    truth = report.contours[TRUTH]
    ranges = np.abs(truth.ellipse(_LEVELS[1])).max(0)
    if ranges.min() > 0:
        ax.set_xlim(*_limits(report, 0, ranges[0]))
        ax.set_ylim(*_limits(report, 1, ranges[1]))
    first, second = (typeset(name) for name in report.parameters[:2])
    ax.set(xlabel=f"{first}: best fit − truth", ylabel=f"{second}: best fit − truth")
    ax.locator_params(nbins=5)  # or numbers such as −0.025 meet
    ax.grid(alpha=0.25)
    return ax


def _limits(report: FidelityReport, axis: int, truth: float) -> tuple[float, float]:
    """Limits that hold every contour, but no more than six times the truth's."""
    ends = np.concatenate([one.ellipse(_LEVELS[1])[:, axis] for one in report.contours.values()])
    low, high = np.clip([ends.min(), ends.max()], -6 * truth, 6 * truth)
    margin = 0.05 * (high - low)
    return low - margin, high + margin
