"""Three answers about one number: as the simulations, off, or cannot tell.

A test that only looks for differences answers "nothing found" for a set that is right and for a
set that is too small to tell. So there are three answers (equivalence testing: Schuirmann 1987):

* *as the simulations*: the 95 % interval lies within a margin about what is expected;
* *off*: the number lies more standard errors from what is expected than chance would give anywhere
  in the report in 95 % of true sets (:func:`lensnb.compare.estimate.threshold`);
* *cannot tell*: neither. The smallest fault that would have been seen is stated.

The standard error holds the sampling noise of the set that is judged and of the true maps. A
number whose difference is real but lies within the margin is as the simulations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .estimate import Estimate, Share, WorstBin

SAME, OFF, OPEN = "as the simulations", "off", "cannot tell"
SYMBOLS = {SAME: "=", OFF: "*", OPEN: "?"}
FAR = 100  # standard errors: more of them say no more


@dataclass(frozen=True)
class Answer:
    """What one number says about a set.

    Attributes:
        kind: ``"as the simulations"``, ``"off"`` or ``"cannot tell"``; empty if the number is not
            defined.
        difference: the number less what is expected.
        sigmas: the same in standard errors.
        seen: the smallest difference that would be off in 90 % of cases.
        meaning: what it means if it is off; empty otherwise.
    """

    kind: str
    difference: float = np.nan
    sigmas: float = np.nan
    seen: float = np.nan
    meaning: str = ""

    @property
    def symbol(self) -> str:
        """``=``, ``*`` or ``?`` for a table; a space if the number is not defined."""
        return SYMBOLS.get(self.kind, " ")


def distance_text(estimate: Estimate, sigmas: float) -> str:
    """A distance from what is expected, for all tables and sentences: ``"5.4 σ"``.

    Of more than :data:`FAR` standard errors nothing more is said: their number means nothing.
    It is empty where there is no such distance: one copy of a training map is enough.
    """
    if isinstance(estimate, Share) or np.isnan(sigmas):
        return ""
    if abs(sigmas) > FAR:
        return f"> {FAR} σ"
    return f"{abs(sigmas):.1f} σ"


def distance_in_short(estimate: Estimate, sigmas: float) -> str:
    """The same for a cell of a scorecard: ``"by 5.4 σ"``, ``"by >100 σ"``, or ``"found"``."""
    distance = distance_text(estimate, sigmas)
    if not distance:
        return "found"
    narrow = distance.replace("> ", ">")  # two sets and the null fit into 80 columns
    return f"by {narrow}"


def answer(
    estimate: Estimate,
    expected: float,
    margin: float | None,
    threshold: float,
    low: str = "",
    high: str = "",
) -> Answer:
    """Compare a number with what is expected.

    Args:
        estimate: the number with its error.
        expected: its value for true maps.
        margin: how far it may lie from there; None: it is never as the simulations.
        threshold: standard errors from where on it is off.
        low: what it means if it is too low; empty if that is no fault.
        high: what it means if it is too high; empty if that is no fault.
    """
    if not np.isfinite([estimate.value, estimate.error, expected]).all():
        return Answer("")
    difference = float(estimate.value) - expected
    sigmas = estimate.sigmas(expected)
    seen = estimate.seen(threshold)
    if margin is not None and _reach(estimate, expected, low, high) <= margin:
        return Answer(SAME, difference, sigmas, seen)
    meaning = high if sigmas > 0 else low
    if meaning and abs(sigmas) > threshold:
        return Answer(OFF, difference, sigmas, seen, meaning)
    return Answer(OPEN, difference, sigmas, seen)


def _reach(estimate: Estimate, expected: float, low: str, high: str) -> float:
    """The largest fault that the 95 % interval leaves open; a side without a meaning is none."""
    if isinstance(estimate, Share | WorstBin) or (low and high):
        return estimate.reach(expected)
    if high:
        return float(estimate.interval[1]) - expected
    return expected - float(estimate.interval[0])
