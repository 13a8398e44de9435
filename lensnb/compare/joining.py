"""Two reports about the same true maps as one report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..ensemble import Ensemble
from .sets import BOTH, NULL, TRAIN, TRUTH

if TYPE_CHECKING:
    from .report import FidelityReport

_CLOSE = 1e-3  # in standard deviations
_ROUNDING = 1e-6  # of a value: reports are saved in float32
_FLIPS = 0.01  # share of numbers that may differ: on another machine a peak may change bins


def join(one: FidelityReport, other: FidelityReport) -> FidelityReport:
    """One report about the generators of both.

    A verdict does not depend on the other sets in a report, so the numbers stay as they are. Those
    of the null, and what was measured of the truth, are taken from the first report.

    Raises:
        ValueError: as for :meth:`~lensnb.compare.FidelityReport.joined`.
    """
    _check_true_sets(one, other)
    _check_names(one, other)
    new = other.generators
    return replace(
        one,
        ensembles=one.ensembles | _of(other.ensembles, new),
        verdicts=one.verdicts | _of(other.verdicts, new),
        against_train=one.against_train | _of(other.against_train, new),
        extras=one.extras | _of(other.extras, new),
        ks=one.ks | _of(other.ks, new),
        neighbours=one.neighbours | _of(other.neighbours, new),
        costs=other.costs | one.costs,
        counts=other.counts | one.counts,
        notes=list(dict.fromkeys(one.notes + other.notes)),
        contours=one.contours | _of(other.contours, new),
        examples=one.examples | _of(other.examples, new),
    )


def _of(found: Mapping, names: list[str]) -> dict:
    """What there is of these sets."""
    return {name: found[name] for name in names if name in found}


def _check_names(one: FidelityReport, other: FidelityReport) -> None:
    true_sets = (TRUTH, NULL, TRAIN)
    for name in other.counts:
        if name in one.counts and name not in true_sets:
            raise ValueError(
                f"both reports judge a set {name!r}; expected other names in the second report"
            )


def _check_true_sets(one: FidelityReport, other: FidelityReport) -> None:
    """Refuse reports whose numbers have another meaning."""
    if list(one.statistics) != list(other.statistics):
        raise ValueError(
            f"the reports have other statistics ({', '.join(one.statistics)}; "
            f"{', '.join(other.statistics)}); expected the same"
        )
    if one.parameters != other.parameters:
        raise ValueError(
            f"the reports infer other parameters ({', '.join(one.parameters)}; "
            f"{', '.join(other.parameters)}); expected the same"
        )
    for name in (TRUTH, NULL, TRAIN):
        here, there = (report.ensembles.get(name) for report in (one, other))
        if here is None and there is None:
            continue
        if here is None or there is None:
            raise ValueError(
                f"only one of the reports has a set {name!r}; expected both or none to have it"
            )
        if not _same(here, there, one.ensembles[BOTH]):
            raise ValueError(
                f"the set {name!r} has other maps, bins or noise in the two reports; "
                "expected reports about the same true maps, seen in the same way"
            )


def _same(
    one: Mapping[str, Ensemble], other: Mapping[str, Ensemble], scale: Mapping[str, Ensemble]
) -> bool:
    """Whether two sets have the same vectors, up to rounding."""
    for name, here in one.items():
        there = other[name]
        if here.vectors.shape != there.vectors.shape:
            return False
        if not np.array_equal(here.simulation, there.simulation):
            return False
        allowed = _CLOSE * scale[name].std() + _ROUNDING * np.abs(here.vectors)
        far = np.abs(here.vectors - there.vectors) > allowed
        if far.mean() > _FLIPS:
            return False
    return True
