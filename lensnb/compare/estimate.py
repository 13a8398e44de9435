"""A number with its error, and how far it is from what is expected."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm


@dataclass
class Estimate:
    """A number, or one number for each bin, with its error.

    The error comes from a bootstrap, or is given where a formula knows it better.

    Attributes:
        value: the estimate from all maps, a float or an array ``(bins,)``.
        rounds: the same from each bootstrap round, shape ``(rounds,)`` or ``(rounds, bins)``; None
            if there was no bootstrap.
        error: standard error; by default the standard deviation over the rounds.
    """

    value: np.ndarray
    rounds: np.ndarray | None = field(default=None, repr=False)
    error: np.ndarray | None = None

    def __post_init__(self):
        if self.error is None:
            self.error = self.rounds.std(0)

    @property
    def interval(self) -> np.ndarray:
        """95 % interval, shape ``(2,)`` or ``(2, bins)``: value ± 1.96 standard errors."""
        return np.stack([self.value - 1.96 * self.error, self.value + 1.96 * self.error])

    def sigmas(self, expected: float) -> float:
        """By how many standard errors the number lies above what is expected."""
        difference = float(self.value) - expected
        error = float(self.error)
        if error > 0:
            return difference / error
        if difference == 0:
            return 0.0
        return float(np.copysign(np.inf, difference))

    def reach(self, expected: float) -> float:
        """The largest distance from what is expected that the 95 % interval leaves open."""
        return float(np.abs(self.interval - expected).max())

    def seen(self, sigmas: float) -> float:
        """The smallest difference that lies beyond so many standard errors in 90 % of cases."""
        return (sigmas + 1.28) * float(self.error)

    def text(self, digits: int) -> str:
        """The number with its error."""
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"

    def as_json(self) -> dict:
        """``{"value", "error"}`` as plain numbers, None where not defined."""
        return {"value": plain(self.value), "error": plain(self.error)}


class WorstBin(Estimate):
    """The bin of a statistic that is farthest from what is expected, in standard errors.

    Among many bins the worst one is off by two or three standard errors by chance. So
    :meth:`sigmas` is the number of standard errors that is as improbable for *one* number as this
    worst bin is for all the bins together (Šidák 1967): with p₁ the probability of one bin,
    p = 1 − (1 − p₁)^bins. Bins are correlated, so p is too large: the test is conservative.

    Args:
        bins: one estimate for each bin.
        expected: of every bin.

    Attributes:
        bin: index of the worst bin.
        bins: how many bins there are.
    """

    def __init__(self, bins: Estimate, expected: float):
        error = np.where(bins.error > 0, bins.error, np.nan)
        sigmas = np.abs(bins.value - expected) / error
        defined = np.isfinite(sigmas)
        self.bins = int(defined.sum())
        if not self.bins:
            super().__init__(np.asarray(np.nan), error=np.asarray(np.nan))
            self.bin, self._reach = 0, np.nan
            return
        self.bin = int(np.nanargmax(sigmas))
        super().__init__(bins.value[self.bin], error=bins.error[self.bin])
        simultaneous = norm.isf(_one_of(0.05, self.bins) / 2)
        widest = np.abs(bins.value - expected) + simultaneous * bins.error
        self._reach = float(widest[defined].max())

    def sigmas(self, expected: float) -> float:
        """As for one number, after the number of bins is taken into account."""
        single = super().sigmas(expected)
        if not np.isfinite(single):
            return single
        # log1p and expm1 keep very small probabilities exact
        together = -np.expm1(self.bins * np.log1p(-min(2 * norm.sf(abs(single)), 1 - 1e-16)))
        if together < 1e-300:
            return single
        return float(np.copysign(norm.isf(together / 2), single))

    def reach(self, expected: float) -> float:
        """The largest distance of any bin that simultaneous 95 % intervals leave open."""
        return self._reach


class Share(Estimate):
    """The share of a set that was found to be wrong, each time beyond doubt.

    One case is a fault. If there is none, a bound remains.

    Args:
        count: how many were found.
        share: the same over all.
        upper: 95 % upper bound of the share.
    """

    def __init__(self, count: int, share: float, upper: float):
        super().__init__(np.asarray(share), error=np.asarray(upper - share))
        self.count, self.upper = count, upper

    def sigmas(self, expected: float) -> float:
        """Infinite if any was found."""
        if self.count:
            return np.inf
        return 0.0

    def reach(self, expected: float) -> float:
        """The bound."""
        return self.upper

    def seen(self, sigmas: float) -> float:
        """The bound: with a larger share at least one is found in 95 % of cases."""
        return self.upper

    def text(self, digits: int) -> str:
        """The share, or its bound, in per cent."""
        if self.count:
            return f"{self.share_text(self.value)} ({self.count} maps)"
        return f"< {self.share_text(self.upper)}"

    @staticmethod
    def share_text(share: float) -> str:
        """A share in per cent with two digits."""
        return f"{100 * share:.2g} %"


def _one_of(level: float, count: int) -> float:
    """Šidák's level of each of ``count`` tests, so that all together have ``level``."""
    return -np.expm1(np.log1p(-level) / count)


def threshold(tests: int, level: float = 0.05) -> float:
    """Standard errors at which one of so many tests is off, with ``level`` for all together.

    Šidák 1967: each test has the level 1 − (1 − level)^(1/tests), two-sided.

    Args:
        tests: how many there are.
        level: probability that at least one true set of numbers is called off.
    """
    return float(norm.isf(_one_of(level, max(tests, 1)) / 2))


def plain(values):
    """Numbers and arrays as JSON values: floats and lists, with None for NaN and infinity."""
    array = np.asarray(values, float)
    if array.ndim > 0:
        return [plain(value) for value in array]
    if np.isfinite(array):
        return float(array)
    return None
