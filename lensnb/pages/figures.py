"""The figures of a report page: small panels that stand beside or below each other.

A panel is as wide as a telephone, so its text can be read there, and three of them fill a screen.
What the colours mean stands once, above all of them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from .. import plot
from ..compare import NULL, FidelityReport
from ..compare.sets import TRUTH
from ..plot.curves import means, parts
from ..plot.galleries import colour_limits
from ..plot.style import blank_figure
from ..plot.verdicts import pdf_ratio, tail_numbers
from ..ramps import map_png

_WIDTH, _HEIGHT = 4.2, 3.2  # inches of a panel
_MATRIX = 2.1  # inches of a correlation matrix, with its labels
_SHOWN = 2  # maps of each set
_PIXELS = 256  # of a side, that a map on the page has at least if it is averaged


@dataclass(frozen=True)
class Picture:
    """One panel.

    Attributes:
        svg: an ``<svg>`` element.
        caption: what it shows, in a sentence.
    """

    svg: str
    caption: str


@dataclass(frozen=True)
class Group:
    """Panels that belong together.

    Attributes:
        title: a few words.
        text: how to read them.
        pictures: the panels.
        small: more of them fit side by side.
        scale: a colour bar from −1 to 1, PNG in base64; empty where there is none.
    """

    title: str
    text: str
    pictures: list[Picture]
    small: bool = False
    scale: str = ""


@dataclass(frozen=True)
class Gallery:
    """A few maps of each set on one colour scale.

    Attributes:
        maps: PNG images of each set, base64.
        scale: the colour bar, PNG in base64, from the lowest κ to the highest.
        low, high: κ at its ends.
        pixelated: whether pixels stay sharp.
        first_of: how many source bins there are, of which the first is shown.
    """

    maps: dict[str, list[str]]
    scale: str
    low: float
    high: float
    pixelated: bool
    first_of: int


def gallery(report: FidelityReport) -> Gallery | None:
    """The maps that the report keeps; None if it keeps none. Of several channels the first."""
    if TRUTH not in report.examples:
        return None
    few = {}
    for name, maps in report.examples.items():
        first_bin = maps if maps.ndim == 3 else maps[:, 0]
        few[name] = _averaged(first_bin[:_SHOWN])
    low, high = colour_limits(few[TRUTH])
    pictures = {}
    for name, maps in few.items():
        pictures[name] = [_base64(map_png(one, low, high)) for one in maps]
    scale = _base64(map_png(np.linspace(low, high, 256)[None], low, high))
    truth = report.examples[TRUTH]
    bins = 1 if truth.ndim == 3 else truth.shape[1]
    return Gallery(pictures, scale, low, high, truth.shape[-1] <= 128, bins)


def _averaged(maps: np.ndarray) -> np.ndarray:
    """Large maps with fewer pixels, so that the page stays small."""
    n = maps.shape[-1]
    block = n // _PIXELS
    if block < 2:
        return maps
    kept = n // block
    whole = maps[:, : kept * block, : kept * block]
    return whole.reshape(len(maps), kept, block, kept, block).mean((2, 4))


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode()


def groups(report: FidelityReport) -> Iterator[Group]:
    """The figures of a report in their order."""
    yield _spectrum(report)
    yield _correlations(report)
    yield _covariance(report)
    yield _extremes(report)
    if report.neighbours:
        caption = (
            "Share of maps that have a training map within a distance: copies lie at the left."
        )
        picture = _panel("copies", plot.neighbours, report, caption)
        yield Group("Nearest training maps", "", [picture])


def _spectrum(report: FidelityReport) -> Group:
    panels = [
        ("power", means, "C_ℓ: the mean, and the scatter of one true map (band)."),
        ("power-mean", _ratio("mean_ratio"), "C_ℓ: the mean over that of true maps."),
        (
            "power-scatter",
            _ratio("scatter_ratio"),
            "C_ℓ: the scatter from map to map over that of true maps.",
        ),
    ]
    pictures = [_panel(key, draw, report, text, "power") for key, draw, text in panels]
    text = (
        "1 is expected of every ratio. The grey band holds 95 % of what another set of true maps "
        "would give, the null. A triangle at an edge stands for a point beyond it, or for a bar "
        "or a band that goes on there."
    )
    return Group("Power spectrum", text, pictures)


def _ratio(what: str) -> Callable:
    return partial(plot.ratio, what=what)


def _correlations(report: FidelityReport) -> Group:
    pictures = [_matrix(report, number) for number in range(len(report.names) + 1)]
    text = (
        "How the bins of the power spectrum fluctuate together from map to map. The slope says "
        "how much of the true correlation a set has."
    )
    scale = _base64(map_png(np.linspace(-1, 1, 256)[None], -1, 1, "RdBu_r"))
    return Group("Correlation matrices", text, pictures, small=True, scale=scale)


def _matrix(report: FidelityReport, number: int) -> Picture:
    name = [TRUTH, *report.names][number]
    caption = name
    if name != TRUTH:
        slope = report.verdicts[name]["power"].slope
        if np.isfinite(slope.value):
            caption += f": slope {slope.value:.2f} ± {slope.error:.2f}"
    figure = blank_figure(_MATRIX, _MATRIX)
    ax = figure.subplots()
    plot.correlation(ax, report.ensembles[name]["power"], "", report.statistics["power"])
    alt = f"Correlation matrix of the power spectrum, {caption}"
    return Picture(plot.inline_svg(figure, alt, f"matrix-{number}"), caption)


def _covariance(report: FidelityReport) -> Group:
    slopes = "Correlation slope of every statistic; below 1, bins are too independent."
    pictures = [_panel("slopes", plot.slopes, report, slopes)]
    if TRUTH in report.contours:
        caption = (
            "What an analysis of one true map would find: regions of 68 % and 95 %. The truth is "
            "filled."
        )
        caption += _without([name for name in report.names if name not in report.contours])
        pictures.append(_panel("contours", plot.contours, report, caption))
    if _has_eigenvalues(report, NULL):
        caption = "Variances over those of true maps, along the axes of the covariance."
        unknown = [name for name in report.names if not _has_eigenvalues(report, name)]
        caption += _without(unknown)
        pictures.append(_panel("eigenvalues", plot.eigenvalues, report, caption))
    text = (
        "No regions of parameters are drawn: they need two parameters, and more true maps from "
        "more simulations."
    )
    if TRUTH in report.contours:
        text = (
            "A contour that lies aside has a wrong mean. One that is too small claims more than "
            "the maps know."
        )
    return Group("Covariance and parameters", text, pictures)


def _has_eigenvalues(report: FidelityReport, name: str) -> bool:
    return bool(np.isfinite(report.verdicts[name]["joint"].eigenvalues.value).any())


def _without(names: list[str]) -> str:
    """Why sets are not in a figure."""
    if not names:
        return ""
    return f" Not drawn: too few maps of {', '.join(names)}."


def _extremes(report: FidelityReport) -> Group:
    pictures = [
        _panel("pdf", means, report, "P(κ), the density of pixels.", "pdf"),
        _panel("pdf-ratio", pdf_ratio, report, "P(κ) over that of true maps."),
        _panel("tails", tail_numbers, report, "Numbers of the tails over those of true maps."),
    ]
    text = "Voids lie at the left end of the distribution, and clusters at the right end."
    return Group("Extremes", text, pictures)


def _panel(
    key: str, draw: Callable, report: FidelityReport, caption: str, statistic: str = ""
) -> Picture:
    """One panel. Its legend names only the parts of a statistic, such as source bins."""
    figure = blank_figure(_WIDTH, _HEIGHT)
    ax = figure.subplots()
    what = (statistic,) if statistic else ()
    draw(ax, report, *what)
    if ax.get_legend() is not None:
        ax.get_legend().remove()
    if statistic:
        _name_parts(ax, list(parts(report.statistics[statistic])))
    spoken = caption.replace("C_ℓ", "C ℓ")  # an alternative text has no indices
    return Picture(plot.inline_svg(figure, spoken, key), caption)


def _name_parts(ax, names: list[str]) -> None:
    handles, labels = ax.get_legend_handles_labels()
    known = {label: handle for handle, label in zip(handles, labels) if label in names}
    if known:
        ax.legend(known.values(), known.keys(), frameon=False)
