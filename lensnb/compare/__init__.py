"""Generated maps compared with true maps and with a null: the fidelity report.

The truth T and the null N are two sets of true maps from *different* simulations, and G is
generated. Every number is given for G against T and for N against T. A generator is as good as the
simulations in a number if it lies inside the null's 95 % interval. Errors come from a bootstrap
over simulations, of both sets at once. :func:`compare` makes the report. It has nine items, and
these modules define how each is measured:

1. mean, 2. scatter, 3. correlations: ``verdict`` and ``moments``;
4. covariance, 8. effective number of maps: ``covariance``;
5. tails: peaks above 4σ of the true maps, and the PDF at the ends, where it falls to 10⁻³ of its
   maximum: ``tails``;
6. two-sample tests, on the statistics and on the maps: ``twosample`` and ``ks``;
7. memorisation of the training maps: ``memorisation``;
9. cost, as given by the user: ``cost``.

``rows`` lists every headline number with its expected value and with what it means if it is off.
``progress`` has the few numbers that describe a model while it trains.
"""

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
from .verdict import Verdict, judge

__all__ = [
    "NULL",
    "QUANTITIES",
    "Cost",
    "Estimate",
    "Fidelity",
    "FidelityReport",
    "Quantity",
    "Row",
    "Verdict",
    "amplitude_and_tilt",
    "compare",
    "correlation_slope",
    "judge",
]
