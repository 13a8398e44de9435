"""Figures: the only part of lensnb that draws with matplotlib. Importing it changes no setting.

Functions that take an ``ax`` draw into it and return it (or the image, for a colour bar). The
others make a whole figure. κ has a sequential colour map that reads for colour-blind eyes, sets of
maps have the colours of Okabe & Ito (2008). Figures have a white background of their own, so that
they read on dark pages, too.

Which file to open:

* ``style``: colours, sizes, axis labels;
* ``output``: a finished figure as a picture with an alternative text, in a file or a notebook;
* ``galleries``: maps;
* ``curves``: statistics against their bins, with the scatter and the ratio to the truth;
* ``matrices``: correlation matrices;
* ``ellipses``: contours of two parameters;
* ``verdicts``: numbers of a fidelity report, and the whole report in one figure;
* ``losses``: a training.
"""

from ..renamed import moved
from .curves import against_known, band, comparison, curve, ratio
from .ellipses import contours
from .galleries import gallery, kappa_map
from .losses import training
from .matrices import correlation, correlation_ratio, correlation_ratios, correlations
from .output import inline_svg, save, show
from .style import CYCLE, GREY, TRUTH, colours, panels
from .style import Figure as Figure  # the type that widgets return; matplotlib documents it
from .verdicts import eigenvalues, neighbours, scorecard, slopes, summary, tails

__all__ = [
    "CYCLE",
    "GREY",
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
