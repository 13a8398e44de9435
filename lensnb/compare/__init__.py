"""Generated maps against true maps, beside a null: the fidelity report.

Truth T and null N are two sets of true maps from *different* simulations, G is generated. Every number is given for G
against T and for N against T: a generator is as good as the simulations when its number lies inside the null's 95 %
interval. Errors come from a bootstrap over simulations, of both sets at once. :func:`compare` makes the report, which has
nine items; the modules say how each is measured:

1. mean, 2. scatter, 3. correlations: ``verdict``;
4. covariance, 8. effective number of maps: ``covariance``;
5. tails: peaks above 4σ of the true maps, and the PDF at the ends where it falls to 10⁻³ of its maximum: ``report``;
6. two-sample tests, on the statistics and on the maps: ``twosample``;
7. memory of the training maps: ``memory``;
9. cost: what :class:`Cost` is told.

``quantities`` lists every headline number with its right value and what it means when it is off; ``progress`` has the few
numbers that a model can be asked for while it trains.
"""

from .covariance import amplitude_and_tilt
from .estimate import Estimate
from .progress import Fidelity
from .quantities import QUANTITIES, Cost, Quantity
from .report import NULL, FidelityReport, Row, compare
from .verdict import Verdict, correlation_slope, judge

__all__ = [
    "NULL", "QUANTITIES", "Cost", "Estimate", "Fidelity", "FidelityReport", "Quantity", "Row", "Verdict",
    "amplitude_and_tilt", "compare", "correlation_slope", "judge",
]  # fmt: skip
