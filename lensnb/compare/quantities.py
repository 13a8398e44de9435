"""A row of the fidelity report: what it measures, what to expect, what it means if it is off.

The rows themselves are in :mod:`lensnb.compare.rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..renamed import moved, old_attribute, renamed
from .estimate import Estimate
from .verdict import Verdict

if TYPE_CHECKING:
    from .comparison import Comparison

ITEMS = {
    1: "mean",
    2: "scatter",
    3: "correlations",
    4: "covariance",
    5: "tails",
    6: "two-sample test",
    7: "memorisation",
    8: "effective maps",
    9: "cost",
}


@renamed(right="expected")
@dataclass(frozen=True)
class Quantity:
    """One row of the report. It has ``of`` or ``measure``, not both.

    Attributes:
        item: which of :data:`ITEMS` it belongs to.
        name: short name, unique.
        expected: the value that is expected of true maps, as text; empty if it is not known.
        low: what it means if the number lies below the null's interval; empty if that is no fault.
        high: what it means if the number lies above; empty if that is no fault.
        of: gets the estimate from the verdicts on one set, by statistic. Such a number can be
            compared with any reference: the truth or the training maps.
        measure: measures the estimate of every judged set, by name, from a
            :class:`~lensnb.compare.comparison.Comparison`; empty if it cannot be measured.
        inverse: the estimate is of one over the number that is shown.
        digits: digits after the point.
    """

    item: int
    name: str
    expected: str
    low: str = ""
    high: str = ""
    of: Callable[[Mapping[str, Verdict]], Estimate] | None = field(default=None, repr=False)
    measure: Callable[[Comparison], dict[str, Estimate]] | None = field(default=None, repr=False)
    inverse: bool = False
    digits: int = 3

    right = old_attribute("right", "expected")

    @property
    def two_sided(self) -> bool:
        """Both too low and too high are faults."""
        return bool(self.low and self.high)

    def fault(self, estimate: Estimate, null: Estimate) -> str | None:
        """What is wrong if the estimate lies outside the null's 95 % interval.

        The null is noisy too and may lie off the expected value. The interval is then extended to
        the same distance on both sides of the expected value: a set that lies nearer to it than
        true maps do has no fault. Only a side with a meaning counts.

        Returns:
            The meaning in words, empty if nothing is wrong, None if either is not defined.
        """
        low, high = null.interval
        if not np.isfinite([estimate.value, low, high]).all():
            return None
        if self.expected:
            expected = float(self.expected)
            distance = abs(null.value - expected)
            low = min(low, expected - distance)
            high = max(high, expected + distance)
        if estimate.value < low:
            return self.low
        if estimate.value > high:
            return self.high
        return ""

    def text(self, estimate: Estimate) -> str:
        """The number with its error; a dash if it is not defined."""
        if not np.isfinite(estimate.value):
            return "–"
        if self.inverse:
            return _inverse_text(estimate)
        return f"{estimate.value:.{self.digits}f} ± {estimate.error:.{self.digits}f}"


def _inverse_text(estimate: Estimate) -> str:
    """One over an estimate with its 95 % range; a lower bound if infinity is not excluded."""
    low, high = estimate.interval
    if high <= 0:
        return "∞"
    if low <= 0:
        return f"> {_one_over(high)}"
    return f"{_one_over(estimate.value)} ({_one_over(high)}–{_one_over(low)})"


def _one_over(value: float) -> str:
    if value < 0.1:
        return f"{1 / value:.0f}"
    return f"{1 / value:.2g}"  # a few outliers make a covariance worth less than one map


__getattr__ = moved(__name__, QUANTITIES="lensnb.compare.rows")
