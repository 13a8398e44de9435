"""A row of the fidelity report: what it measures, what to expect, what it means if it is off.

The rows themselves are in :mod:`lensnb.compare.rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..renamed import moved, old_attribute, renamed
from .answers import Answer, answer
from .effective import Worth
from .estimate import BesideTruth, Estimate, Share, WorstBin
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
    7: "copies",
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
        expected: its value for true maps; NaN if it depends on the set, and the estimate knows it.
        margin: how far from there a set is still as the simulations; None if no set ever is; NaN
            if the estimate knows it.
        low: what it means if the number is too low; empty if that is no fault.
        high: what it means if the number is too high; empty if that is no fault.
        of: gets the estimate from the verdicts on one set, by statistic. Such a number can be
            compared with any reference: true maps or the training maps.
        measure: measures the estimate of every judged set, by name, from a
            :class:`~lensnb.compare.comparison.Comparison`; empty if it cannot be measured.
        inverse: the estimate is of one over the number that is shown.
        digits: digits after the point, at most.
        part: the statistic that a worst bin belongs to; empty for other numbers.
    """

    item: int
    name: str
    expected: float
    margin: float | None = None
    low: str = ""
    high: str = ""
    of: Callable[[Mapping[str, Verdict]], Estimate] | None = field(default=None, repr=False)
    measure: Callable[[Comparison], dict[str, Estimate]] | None = field(default=None, repr=False)
    inverse: bool = False
    digits: int = 3
    part: str = ""

    right = old_attribute("right", "expected")

    @property
    def two_sided(self) -> bool:
        """Both too low and too high are faults."""
        return bool(self.low and self.high)

    def expected_of(self, estimate: Estimate) -> float:
        """What is expected of this set."""
        if isinstance(estimate, Worth | WorstBin | BesideTruth):
            return estimate.expected
        return self.expected

    def answer(self, estimate: Estimate, threshold: float) -> Answer:
        """As the simulations, off, or cannot tell.

        Args:
            estimate: of one set.
            threshold: standard errors from where on it is off.
        """
        expected, margin = self.expected_of(estimate), self.margin
        if isinstance(estimate, Worth):
            margin = estimate.margin
        return answer(estimate, expected, margin, threshold, self.low, self.high)

    @property
    def expected_text(self) -> str:
        """What is expected, for a table."""
        if np.isfinite(self.expected):
            return f"{self.expected:g}"
        if self.inverse:
            return "as many"
        return "of each"

    def expected_text_of(self, estimate: Estimate) -> str:
        """What is expected of this set, for a sentence."""
        if np.isfinite(self.expected) or self.inverse:
            return self.expected_text
        return f"{self.expected_of(estimate):.3g}"

    def text(self, estimate: Estimate) -> str:
        """The number with its error; a dash if it is not defined."""
        if not np.isfinite(estimate.value):
            return "–"
        if self.inverse:
            return _inverse_text(estimate)
        return estimate.text(self.digits)

    def seen_text(self, estimate: Estimate, seen: Answer) -> str:
        """The smallest fault that would have been seen, for a sentence."""
        if isinstance(estimate, Share):
            return Share.share_text(seen.seen)
        if self.inverse:
            return f"worth {_one_over(self.expected_of(estimate) + seen.seen)} maps"
        if self.expected == 1:
            return f"{float(f'{100 * seen.seen:.2g}'):g} %"  # 130, not 1.3e+02
        return f"{seen.seen:.2g}"


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
