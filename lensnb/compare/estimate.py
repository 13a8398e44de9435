"""A number with its error, and how far it is from what is expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student


@dataclass
class Estimate:
    """A number, or one number for each bin, with its error.

    The error comes from a bootstrap, or is given where a formula knows it better. An error from a
    few simulations is itself uncertain. Intervals and distances account for that by Student's t
    distribution.

    Attributes:
        value: the estimate from all maps, a float or an array ``(bins,)``.
        rounds: the same from each bootstrap round, shape ``(rounds,)`` or ``(rounds, bins)``; None
            if there was no bootstrap.
        error: standard error; by default the standard deviation over the rounds.
        dof: degrees of freedom of the error: simulations of the smaller set, less one.
    """

    value: np.ndarray
    rounds: np.ndarray | None = field(default=None, repr=False)
    error: np.ndarray | None = None
    dof: float = np.inf

    def __post_init__(self):
        if self.error is None:
            self.error = self.rounds.std(0)

    @property
    def interval(self) -> np.ndarray:
        """95 % interval, shape ``(2,)`` or ``(2, bins)``."""
        half = student.isf(0.025, self.dof) * self.error
        return np.stack([self.value - half, self.value + half])

    def sigmas(self, expected: float) -> float:
        """By how many standard errors the number lies above what is expected.

        Of few simulations this is the number of standard deviations that is as improbable for a
        normal distribution.
        """
        return float(_sigmas(self.value - expected, self.error, self.dof))

    def reach(self, expected: float) -> float:
        """The largest distance from what is expected that the 95 % interval leaves open."""
        return float(np.abs(self.interval - expected).max())

    def seen(self, sigmas: float) -> float:
        """The smallest difference that lies beyond so many standard errors in 90 % of cases."""
        return (sigmas + 1.28) * float(self.error)

    def text(self, digits: int) -> str:
        """The number with its error, in as many digits as mean something: ``1.02 ± 0.01``.

        Of a number whose last digit would be zero the bound is given: ``< 0.001``.

        Args:
            digits: after the point, at most.
        """
        shown = _digits(float(self.error), digits)
        value = round(float(self.value), shown) + 0.0  # no minus before a zero
        least = f"{10.0**-shown:.{shown}f}"
        if self.value == self.error == 0:
            return "0"
        if 0 < self.error < 0.5 * 10.0**-shown:
            if value == 0:
                return f"> -{least}" if self.value < 0 else f"< {least}"
            return f"{value:.{shown}f} ± <{least}"
        return f"{value:.{shown}f} ± {self.error:.{shown}f}"

    def as_json(self) -> dict:
        """``{"value", "error"}`` as plain numbers, None where not defined."""
        return {"value": plain(self.value), "error": plain(self.error)}


def _digits(error: float, most: int) -> int:
    """Digits after the point: two, fewer where the error is large, three where two show none."""
    if error >= 10:
        return 0
    if error >= 1:
        return min(1, most)
    if 0 < error < 0.005:
        return min(3, most)
    return min(2, most)


class WorstBin(Estimate):
    """The bin of a statistic that is farthest from what is expected.

    Bins whose simultaneous 95 % intervals lie within the margin are no fault, however small their
    errors. Among the others it is the bin that is off by most standard errors; if there is none,
    the bin whose interval reaches farthest.

    Among many bins the worst one is off by two or three standard errors by chance. So
    :meth:`sigmas` is the number of standard errors that is as improbable for *one* number as this
    worst bin is for all the bins together (Šidák 1967): with p₁ the probability of one bin,
    p = 1 − (1 − p₁)^bins. Bins are correlated, so p is too large: the test is conservative.

    Args:
        bins: one estimate for each bin.
        expected: of every bin, or of each.
        margin: how far a bin may lie from there.
        only_high: a bin that is too low is no fault.
        names: of the bins, if they are not those of a statistic.

    Attributes:
        bin: index of the worst bin.
        bins: how many bins there are.
        expected: of the worst bin.
        name: of the worst bin; empty if it is one of a statistic.
    """

    def __init__(
        self,
        bins: Estimate,
        expected: float | np.ndarray,
        margin: float = 0.0,
        only_high: bool = False,
        names: Sequence[str] = (),
    ):
        difference = bins.value - expected
        defined = np.isfinite(difference) & (bins.error > 0)
        self.bins, self.bin, self._reach = int(defined.sum()), 0, np.nan
        self.expected, self.name = np.nan, ""
        if not self.bins:
            super().__init__(np.asarray(np.nan), error=np.asarray(np.nan), dof=bins.dof)
            return
        simultaneous = student.isf(_one_of(0.05, self.bins) / 2, bins.dof)
        fault = difference if only_high else np.abs(difference)
        reach = np.where(defined, fault + simultaneous * bins.error, -np.inf)
        open_ = defined & (reach > margin)
        if open_.any():
            sigmas = _sigmas(fault, bins.error, bins.dof)
            self.bin = int(np.where(open_, sigmas, -np.inf).argmax())
        else:
            self.bin = int(reach.argmax())
        self._reach = float(reach.max())
        self.expected = float(np.broadcast_to(expected, difference.shape)[self.bin])
        if len(names):
            self.name = names[self.bin]
        super().__init__(bins.value[self.bin], error=bins.error[self.bin], dof=bins.dof)

    def sigmas(self, expected: float) -> float:
        """As for one number, after the number of bins is taken into account."""
        single = super().sigmas(expected)
        if not np.isfinite(single):
            return single
        p = min(2 * norm.sf(abs(single)), 1 - 1e-16)
        # log1p and expm1 keep very small probabilities exact
        together = -np.expm1(self.bins * np.log1p(-p))
        if together < 1e-300:
            return single
        return float(np.copysign(norm.isf(together / 2), single))

    def reach(self, expected: float) -> float:
        """The largest distance of any bin that simultaneous 95 % intervals leave open."""
        return self._reach


def _sigmas(difference, error, dof: float):
    """Standard errors, as standard deviations of a normal distribution."""
    difference, error = np.asarray(difference, float), np.asarray(error, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(difference == 0, 0.0, difference / error)
    if not np.isfinite(dof):
        return t
    # The logarithm keeps probabilities that are too small for a float.
    log_p = student.logsf(np.abs(t), dof)
    z = np.where(log_p > -700, norm.isf(np.exp(np.maximum(log_p, -700))), np.abs(t))
    return np.copysign(np.minimum(z, np.abs(t)), t)


class BesideTruth(Estimate):
    """A number whose expected value was measured with true maps, under the same conditions.

    Args:
        value: the number.
        expected: the same with true maps.
        error: of their difference.
        dof: degrees of freedom of the error.
    """

    def __init__(self, value: float, expected: float, error: float, dof: float = np.inf):
        super().__init__(np.asarray(value), error=np.asarray(error), dof=dof)
        self.expected = expected


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
            maps = "map" if self.count == 1 else "maps"
            return f"{self.share_text(self.value)} ({self.count} {maps})"
        return f"< {self.share_text(self.upper)}"

    @staticmethod
    def share_text(share: float) -> str:
        """A share in per cent with two digits."""
        if share > 0.995:
            return "100 %"
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
