"""What the table of a fidelity report means, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..ensemble import dodelson_schneider_factor, hartlap_factor, percival_factor
from .answers import OFF, OPEN, SAME, SYMBOLS
from .classifiers import ALL_MAPS, sizes_in_words
from .estimate import threshold
from .sets import LEFT_OUT, NULL, TRAIN, TRUTH

if TYPE_CHECKING:
    from .report import FidelityReport

# With fewer simulations the errors themselves are poorly known, and the report says so.
_FEW_SIMULATIONS = 10


def remarks(report: FidelityReport) -> list[str]:
    """As :meth:`FidelityReport.remarks <lensnb.compare.FidelityReport.remarks>` says."""
    lines = [*_about_sets(report), *report.notes, *_about_answers(report)]
    lines += _about_inverses(report)
    for name in report.generators:
        if not np.isfinite(report.verdicts[name]["joint"].area.value):
            lines.append(
                f"{name}: its maps are too few for so many eigenvectors as the truth allows, and "
                "rows of the covariance are left out."
            )
    for name in report.counts:
        lines += _left_out(report, name)
    if not report.against_train:
        lines.append("Without training maps there is no test of memorisation (item 7).")
    return lines


def _about_sets(report: FidelityReport) -> Iterator[str]:
    truth, null = report.counts[TRUTH], report.counts[NULL]
    yield "± one standard error, from the simulations of both sets; in brackets a 95 % range."
    yield (
        f"Truth: {truth['maps']:,} maps of {truth['simulations']} simulations; null: "
        f"{null['maps']:,} of {null['simulations']}. "
        "Generators are compared with both together, the null with the truth."
    )


def _about_answers(report: FidelityReport) -> Iterator[str]:
    """What the symbols of the table say, and how sure they are."""
    rows = report.rows()
    limit = threshold(len(rows))
    yield (
        f"{SYMBOLS[SAME]} {SAME}, within a margin of 5 % "
        "(slopes, directions and area: 10 %; seam: 0.02; copies: 1 %)."
    )
    yield (
        f"{SYMBOLS[OFF]} off, by more than {limit:.1f} σ: this happens to true sets, "
        f"in any of the {len(rows)} rows, in 5 % of cases at most."
    )
    yield f"{SYMBOLS[OPEN]} cannot tell: more maps are needed."
    yield "A narrowest direction above 1, a widest below 1, more effective maps: no faults."
    judged = [report.counts[name]["maps"] for name in report.names]
    all_maps = any(row.quantity.name == ALL_MAPS for row in rows)
    yield sizes_in_words(report.counts[TRUTH]["maps"], judged, all_maps)


def _about_inverses(report: FidelityReport) -> Iterator[str]:
    """Which parameters are inferred, and what finite numbers of maps do to an inverse."""
    if not report.parameters:
        return
    yield (
        f"Parameters: {' and '.join(report.parameters)}, from leading eigenvectors, with a "
        "linear model. The posterior is a t-distribution, since the covariance is an estimate "
        "(Sellentin & Heavens 2016; power of Percival et al. 2022). "
        "The bias of areas is measured and removed."
    )
    sets: dict[str, list[str]] = {}
    for name in report.generators:
        factors = _factors(report, name)
        if factors:
            sets.setdefault(factors, []).append(name)
    if sets:
        each = "; ".join(f"{factors} ({', '.join(names)})" for factors, names in sets.items())
        yield (
            "Factors of an inverse covariance by Hartlap et al. (2007), Dodelson & Schneider "
            f"(2013) and Percival et al. (2014): {each}."
        )


def _factors(report: FidelityReport, name: str) -> str:
    """The usual factors for an inverse covariance from the maps of a set."""
    worth = report.verdicts[name]["joint"].inverse_maps
    bins, parameters = worth.eigenvectors, len(report.parameters)
    maps = 1 / worth.expected
    if not maps > bins + 4 or parameters > bins:
        return ""
    hartlap = hartlap_factor(maps, bins)
    dodelson = dodelson_schneider_factor(maps, bins, parameters)
    percival = percival_factor(maps, bins, parameters)
    return (
        f"{hartlap:.3f}, {dodelson:.3f} and {percival:.3f} for {bins} numbers and "
        f"{maps:.0f} independent maps"
    )


def _left_out(report: FidelityReport, name: str) -> Iterator[str]:
    """Which maps of a set are not compared, and whether its simulations are too few."""
    count = report.counts[name]
    for reason, words in LEFT_OUT.items():
        number = count.get(reason, 0)
        if number == 1:
            yield f"{name}: 1 map was {words} and is left out."
        elif number:
            yield f"{name}: {number} maps were {words} and are left out."
    if name not in report.ensembles:
        yield f"{name}: it has too few other maps, and is left out of the table."
    simulations = count["simulations"]
    if name in (TRUTH, NULL, TRAIN) and simulations < _FEW_SIMULATIONS:
        # the relative error of a standard deviation from so many values
        uncertainty = 1 / math.sqrt(2 * (simulations - 1))
        yield (
            f"{name}: {simulations} simulations only, "
            f"so every error is itself uncertain by {uncertainty:.0%}."
        )
