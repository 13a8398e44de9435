"""The headline numbers of the fidelity report: what is right, and what it means when one is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .estimate import Estimate
from .verdict import Verdict

ITEMS = {
    1: "mean", 2: "scatter", 3: "correlations", 4: "covariance", 5: "tails", 6: "two-sample test", 7: "memory",
    8: "effective maps", 9: "cost",
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """One row of the report.

    Attributes:
        item: which of :data:`ITEMS` it belongs to.
        name: short name, unique.
        right: the right value, as text.
        low: what it means when the number lies below the null's interval; empty: that is no fault.
        high: what it means when the number lies above; empty: that is no fault.
        of: where to find it: the verdicts of one set by statistic → the estimate; None: it is put in by :func:`compare`.
        inverse: the estimate is of one over the number that is shown.
        digits: digits after the point.
    """

    item: int
    name: str
    right: str
    low: str = ""
    high: str = ""
    of: Callable[[Mapping[str, Verdict]], Estimate] | None = field(default=None, repr=False)
    inverse: bool = False
    digits: int = 3

    def fault(self, estimate: Estimate, null: Estimate) -> str | None:
        """What is wrong when the estimate lies outside the null's 95 % interval on a side that matters.

        The interval is drawn out to the null's own distance from the right value, on both sides of it: nothing that lies
        nearer to the truth than true maps do is a fault.

        Returns:
            The meaning in words, empty where nothing is wrong, None where either is not defined.
        """
        low, high = null.interval
        if not (np.isfinite(estimate.value) and np.isfinite(low) and np.isfinite(high)):
            return None
        if self.right:
            right, distance = float(self.right), abs(null.value - float(self.right))
            low, high = min(low, right - distance), max(high, right + distance)
        return self.low if estimate.value < low else self.high if estimate.value > high else ""

    def text(self, estimate: Estimate) -> str:
        """The number with its error; a dash where it is not defined."""
        if not np.isfinite(estimate.value):
            return "–"
        if self.inverse:
            return _inverse(estimate)
        return f"{estimate.value:.{self.digits}f} ± {estimate.error:.{self.digits}f}"


def _inverse(estimate: Estimate) -> str:
    """One over an estimate, with its 95 % range; a lower bound where infinity is not excluded."""
    low, high = estimate.interval
    # a few outliers make a covariance worth less than one map
    maps = lambda inverse: f"{1 / inverse:.0f}" if inverse < 0.1 else f"{1 / inverse:.2g}"
    if high <= 0:
        return "∞"
    if low <= 0:
        return f"> {maps(high)}"
    return f"{maps(estimate.value)} ({maps(high)}–{maps(low)})"


QUANTITIES = [
    Quantity(
        1, "C_ℓ mean", "1", "too little power: the maps are too smooth or too faint",
        "too much power: structure that the sky does not have", lambda v: v["power"].mean,
    ),
    Quantity(
        1, "mean shift of all bins [σ]", "0", "", "the mean of some statistic is off, in units of the scatter of one map",
        lambda v: v["joint"].shift,
    ),
    Quantity(
        2, "C_ℓ scatter", "1", "the maps are too much alike: their spectra differ too little from map to map",
        "the maps differ too much: some are extreme", lambda v: v["power"].scatter,
    ),
    Quantity(
        2, "scatter of all bins", "1", "the maps are too much alike in their statistics",
        "the maps differ too much in their statistics", lambda v: v["joint"].scatter,
    ),
    Quantity(
        3, "C_ℓ slope", "1", "scales fluctuate too independently: the off-diagonal covariance of the spectrum is too weak",
        "scales fluctuate together too much: the off-diagonal covariance of the spectrum is too strong",
        lambda v: v["power"].slope,
    ),
    Quantity(
        3, "slope of all bins", "1", "bins fluctuate too independently: off-diagonal covariance is lost",
        "bins fluctuate together too much", lambda v: v["joint"].slope,
    ),
    Quantity(
        4, "smallest eigenvalue", "1", "some combination of bins hardly varies from map to map", "",
        lambda v: v["joint"].smallest,
    ),
    Quantity(
        4, "largest eigenvalue", "1", "", "some combination of bins varies far too much", lambda v: v["joint"].largest,
    ),
    Quantity(
        4, "divergence [nats]", "0", "", "the covariance matrix as a whole is another one", lambda v: v["joint"].divergence,
    ),
    Quantity(
        4, "contour area", "1", "parameter contours would come out too small: false confidence",
        "parameter contours would come out too large: information lost", lambda v: v["joint"].area,
    ),
    Quantity(
        5, "peaks > 4σ", "1", "too few massive clusters", "too many massive clusters",
    ),
    Quantity(
        5, "PDF low end", "1", "the emptiest voids are missing", "pixels emptier than the sky has them",
    ),
    Quantity(
        5, "PDF high end", "1", "the brightest pixels are missing", "too many bright pixels",
    ),
    Quantity(
        6, "classifier on statistics", "0.5", "", "a classifier tells the maps from true ones by their statistics",
    ),
    Quantity(
        6, "classifier on maps", "0.5", "", "a classifier tells the maps from true ones by their pixels",
    ),
    Quantity(
        6, "bins with KS p < 0.05", "0.05", "", "bin by bin, the distribution over maps is another one",
    ),
    Quantity(
        7, "nearest training map", "1", "the maps lie nearer to training maps than other true maps do: copies, or parts of them",
    ),
    Quantity(
        7, "share of near copies", "0.01", "", "more maps than by chance are near copies of training maps",
    ),
    Quantity(
        8, "effective maps", "", "", "the covariance is worth fewer independent true maps than the null's",
        lambda v: v["joint"].inverse_maps, inverse=True,
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What a generator costs; whatever is not known stays None.

    Attributes:
        parameters: of its networks.
        training_s: seconds of training.
        images: training images seen, with repetition.
        map_s: seconds a generated map.
        evaluations: evaluations of the network a map.
    """

    parameters: int | None = None
    training_s: float | None = None
    images: int | None = None
    map_s: float | None = None
    evaluations: float | None = None

    LABELS = {
        "parameters": "parameters", "training_s": "training [s]", "images": "images seen", "map_s": "a map [s]",
        "evaluations": "evaluations a map",
    }  # fmt: skip

    def text(self, name: str) -> str:
        """One of the numbers for a table; a dash where it is not known."""
        value = getattr(self, name)
        return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
