"""Do maps realise what their generator was given?

A model may draw some numbers first, such as the band powers of a map, and then a map that should
have them. Or its user gives it numbers, such as (Ω_m, σ₈), which can be measured from a map. A
model that does not follow what it was given has the wrong conditional distribution, even if its
maps together look right. The realised numbers y are regressed on the given ones x, each number by
itself:

    y = constant + b x + residual,    b = cov(x, y) / var(x),    s² = Σ residual² / (maps − 2).

What is expected of b and s depends on the model and on the measurement
(:class:`lensnb.given.Realised`). So that one margin suits all numbers, s is in units of the
scatter that the realised numbers should have, √(b₀² var(x) + s₀²), with b₀ and s₀ the expected
values. Errors are a jackknife over the simulations of the set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..ensemble import Ensemble
from ..given import Realised
from .estimate import Estimate, WorstBin
from .sets import TRAIN, TRUTH

if TYPE_CHECKING:
    from .comparison import Comparison
    from .sets import FiniteMaps

MARGIN = 0.05  # of the slope, and of the scatter in units of that of the realised numbers
_FEWEST = 3  # simulations: a line goes through two points
_ROUNDING = 1e-12  # numbers that agree exactly have no error, and an error of zero is unknown


def checked_given(
    given: Mapping[str, Realised | Sequence] | None, sets: Mapping[str, FiniteMaps]
) -> dict[str, Realised]:
    """What all maps of each set were given, as arrays ``(maps, numbers)``.

    Args:
        given: by name of the set; also plain pairs, (given, realised).
        sets: the sets of the comparison.

    Raises:
        ValueError: an unknown set, or the truth or the training set; shapes that do not fit each
            other or the maps; a number that is not finite although its map can be compared; a
            number that is the same for all maps; expected values or names that are not one for
            each number.
    """
    sets = {name: one for name, one in sets.items() if name not in (TRUTH, TRAIN)}
    found = {}
    for name, one in dict(given or {}).items():
        if name not in sets:
            raise ValueError(
                f"given has numbers of {name!r}, which is not among the sets {', '.join(sets)}"
            )
        found[name] = _checked(name, Realised(*one), sets[name])
    return found


def _checked(name: str, one: Realised, maps: FiniteMaps) -> Realised:
    given, realised = _numbers(one.given), _numbers(one.realised)
    count = len(maps.maps) + maps.dropped
    if given.shape != realised.shape or given.ndim != 2 or len(given) != count:
        raise ValueError(
            f"{name} was given numbers of shape {np.shape(one.given)} and realises numbers of "
            f"shape {np.shape(one.realised)}; expected ({count},) or ({count}, numbers) of both"
        )
    kept = maps.positions
    unknown = ~np.isfinite(given[kept] + realised[kept]).all(1)
    if unknown.any():
        raise ValueError(
            f"{name} was given numbers, or realises numbers, that are not finite for "
            f"{unknown.sum()} of its maps; expected finite numbers for every finite map"
        )
    of_kept = given[kept]
    same = of_kept.std(0) <= _ROUNDING * np.abs(of_kept).max(0)
    if same.any():
        raise ValueError(
            f"number {same.argmax() + 1} that {name} was given is the same for all its maps; "
            "leave it out"
        )
    numbers = given.shape[1]
    slope = _one_each(name, "slope", one.slope, numbers)
    scatter = _one_each(name, "scatter", one.scatter, numbers)
    names = list(one.names) or [f"number {i + 1}" for i in range(numbers)]
    if len(names) != numbers:
        raise ValueError(f"{name} was given {numbers} numbers, and {len(names)} names of them")
    return Realised(given, realised, slope, scatter, names)


def of_maps(one: Realised, maps: FiniteMaps) -> Realised:
    """The numbers of the maps that are compared.

    Args:
        one: of :func:`checked_given`.
        maps: the set, perhaps without some of its maps.
    """
    kept = maps.positions
    return one._replace(given=one.given[kept], realised=one.realised[kept])


def _numbers(values) -> np.ndarray:
    """Numbers as an array ``(maps, numbers)``, if they are one or several for each map."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    values = np.asarray(values, float)
    if values.ndim == 1:
        return values[:, None]
    return values


def _one_each(name: str, what: str, value, numbers: int) -> np.ndarray:
    """An expected value for each number."""
    value = np.asarray(value, float)
    if value.shape not in ((), (numbers,)) or not np.isfinite(value).all():
        raise ValueError(
            f"the expected {what} of what {name} realises must be one number or {numbers}, "
            f"found {value.tolist()}"
        )
    return np.broadcast_to(value, numbers)


def slopes(comparison: Comparison) -> dict[str, Estimate]:
    """:func:`worst_slope` of each set that was given something."""
    sets = comparison.sets
    return {
        name: worst_slope(one, sets[name].simulation) for name, one in comparison.given.items()
    }


def residual_scatters(comparison: Comparison) -> dict[str, Estimate]:
    """:func:`worst_scatter` of each set that was given something."""
    sets = comparison.sets
    return {
        name: worst_scatter(one, sets[name].simulation) for name, one in comparison.given.items()
    }


def worst_slope(one: Realised, simulation: np.ndarray) -> WorstBin:
    """b of the number that is worst.

    Args:
        one: of :func:`checked_given`.
        simulation: of each map.
    """
    slope, _ = regression(one, simulation)
    return WorstBin(slope, one.slope, MARGIN, names=one.names)


def worst_scatter(one: Realised, simulation: np.ndarray) -> WorstBin:
    """s of the number that is worst, in units of its scatter; too low is no fault.

    Args:
        one: of :func:`checked_given`.
        simulation: of each map.
    """
    _, scatter = regression(one, simulation)
    slope, expected = np.asarray(one.slope), np.asarray(one.scatter)
    unit = np.sqrt(slope**2 * one.given.var(0) + expected**2)
    scaled = Estimate(scatter.value / unit, error=scatter.error / unit, dof=scatter.dof)
    return WorstBin(scaled, expected / unit, MARGIN, only_high=True, names=one.names)


def regression(one: Realised, simulation: np.ndarray) -> tuple[Estimate, Estimate]:
    """b and s of each number, shape ``(numbers,)``; NaN of fewer than three simulations.

    Args:
        one: arrays of the shape ``(maps, numbers)``.
        simulation: of each map.
    """
    count = len(np.unique(simulation))
    if count < _FEWEST:
        nothing = np.full(one.given.shape[1], np.nan)
        return Estimate(nothing, error=nothing), Estimate(nothing, error=nothing)
    x = one.given - one.given.mean(0)
    y = one.realised - one.realised.mean(0)
    slope = (x * y).mean(0) / x.var(0)
    residual = y - slope * x
    scatter = np.sqrt((residual**2).sum(0) / (len(x) - 2))
    # By how much each map changes b and ln s, to first order.
    of_slope = Ensemble(x * residual / x.var(0), simulation).mean_error()
    rounding = _ROUNDING * (x.std(0) + y.std(0))
    squares = (residual / np.fmax(scatter, rounding)) ** 2
    of_scatter = scatter * Ensemble((squares - 1) / 2, simulation).mean_error()
    dof = count - 2
    return (
        Estimate(slope, error=of_slope + _ROUNDING, dof=dof),
        Estimate(scatter, error=of_scatter + rounding, dof=dof),
    )
