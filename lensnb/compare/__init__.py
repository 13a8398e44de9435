"""Generated maps compared with true maps: the fidelity report.

The truth T and the null N are two sets of true maps from *different* simulations, and G is
generated. :func:`compare` compares G with truth and null together, and the null with the truth: a
claim about generated maps stands beside the same number for true maps. Every number has one of
three answers: *as the simulations*, *off*, or *cannot tell* (``answers``). What is expected of
true maps is known for every number, because its bias is removed, and its error holds the noise of
both sets, from their simulations. The report has nine items, and these modules define how each is
measured:

1. mean, 2. scatter, 3. correlations: ``verdict`` and ``moments``; what does not depend on a
   statistic of the suite (place, direction, mean of a map, seam) with ``ratios``; whether maps
   realise what their generator was given, if the user says what that was, with ``realised``;
4. covariance: ``covariance`` and ``directions``;
5. tails: peaks above 4σ of the true maps, maps with extreme pixels, and the PDF at the ends, where
   it falls to 10⁻³ of its maximum: ``tails``;
6. two-sample tests, on the statistics and on the maps: ``twosample`` and ``classifiers``;
7. copies of training maps and of true maps: ``memorisation``, ``map_copies`` and ``leakage``;
8. effective number of maps: ``effective``;
9. cost, as given by the user: ``cost``.

``survey`` adds noise, a mask and smoothing to all sets alike. ``rows`` lists every headline number
with its expected value, its margin, and what it means if it is off. ``progress`` has the few
numbers that describe a model while it trains.
"""

from ..given import Realised
from .answers import Answer
from .comparison import compare
from .cost import Cost
from .covariance import amplitude_and_tilt
from .estimate import Estimate
from .moments import correlation_slope
from .progress import Fidelity
from .quantities import Quantity
from .report import FidelityReport, Row
from .rows import QUANTITIES
from .sets import NULL
from .survey import ShapeNoise
from .verdict import Verdict, judge

__all__ = [
    "NULL",
    "QUANTITIES",
    "Answer",
    "Cost",
    "Estimate",
    "Fidelity",
    "FidelityReport",
    "Quantity",
    "Realised",
    "Row",
    "ShapeNoise",
    "Verdict",
    "amplitude_and_tilt",
    "compare",
    "correlation_slope",
    "judge",
]
