"""Figures: the only part of lensnb that draws with matplotlib. Importing it changes no setting.

Functions that take an ``ax`` draw into it and return it (or the image, for a colour bar). The
others make a whole figure. κ has a sequential colour map that reads for colour-blind eyes, sets of
maps have a colour by name. In a notebook figures have no background, and read on light pages and
on dark ones; in files they are black on white.

Which file to open:

* ``style``: colours, sizes, axis labels;
* ``output``: a finished figure as a picture with an alternative text, in a file or a notebook;
* ``ink``: its colours for light pages and dark ones;
* ``galleries``: maps;
* ``curves``: statistics against their bins, with the scatter and the ratio to the truth;
* ``matrices``: correlation matrices;
* ``ellipses``: contours of two parameters;
* ``nearest``: distances to the nearest training maps;
* ``verdicts``: numbers of a fidelity report, and the whole report in one figure;
* ``first_page``: a map of each set and one result;
* ``losses``: a training.
"""

from ..renamed import moved
from .curves import against_known, band, comparison, curve, ratio
from .ellipses import contours
from .first_page import headline
from .galleries import gallery, kappa_map
from .losses import training
from .matrices import correlation, correlation_ratio, correlation_ratios, correlations
from .nearest import neighbours
from .output import inline_svg, save, show
from .style import CYCLE, FAMILIES, GREY, MARGIN, REFERENCE, TRUTH, colours, panels
from .style import Figure as Figure  # the type that widgets return; matplotlib documents it
from .verdicts import eigenvalues, scorecard, slopes, summary, tails

__all__ = [
    "CYCLE",
    "FAMILIES",
    "GREY",
    "MARGIN",
    "REFERENCE",
    "TRUTH",
    "against_known",
    "band",
    "colours",
    "comparison",
    "contours",
    "correlation",
    "correlation_ratio",
    "correlation_ratios",
    "correlations",
    "curve",
    "eigenvalues",
    "gallery",
    "headline",
    "inline_svg",
    "kappa_map",
    "neighbours",
    "panels",
    "ratio",
    "save",
    "scorecard",
    "show",
    "slopes",
    "summary",
    "tails",
    "training",
]

__getattr__ = moved(
    __name__,
    KAPPA="lensnb.plot.style",
    small_png="lensnb.plot.output",
    typeset="lensnb.plot.style",
)
