"""A number with its bootstrap error."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Estimate:
    """A number, or one number for each bin, with its bootstrap.

    Attributes:
        value: the estimate from all maps, a float or an array ``(bins,)``.
        rounds: the same from each bootstrap round, shape ``(rounds,)`` or ``(rounds, bins)``.
    """

    value: np.ndarray
    rounds: np.ndarray = field(repr=False)

    @property
    def error(self) -> np.ndarray:
        """Standard error: the standard deviation over the bootstrap rounds."""
        return self.rounds.std(0)

    @property
    def interval(self) -> np.ndarray:
        """95 % interval, shape ``(2,)`` or ``(2, bins)``: value ± 1.96 standard errors."""
        return np.stack([self.value - 1.96 * self.error, self.value + 1.96 * self.error])

    def as_json(self) -> dict:
        """``{"value", "error"}`` as plain numbers, None where not defined."""
        return {"value": plain(self.value), "error": plain(self.error)}


def plain(values):
    """Numbers and arrays as JSON values: floats and lists, with None for NaN and infinity."""
    array = np.asarray(values, float)
    if array.ndim > 0:
        return [plain(value) for value in array]
    if np.isfinite(array):
        return float(array)
    return None
