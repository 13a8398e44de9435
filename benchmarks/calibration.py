"""How often does the fidelity report give a false alarm, and which losses would it see?

    python benchmarks/calibration.py --partitions 400 --workers 2 --output docs/calibration.md

True boxes are divided at random, many times: a quarter stands for a generator, and the others are
truth and null, half each. Whatever the report then calls *off* is a false alarm. Every number is
computed by the report's own functions, from the vectors of the statistics (``true_boxes.py``).
Rows that need the maps themselves are left out.

**Power.** The quarter is made worse by a known loss. *Scatter*: vectors are shrunk towards their
mean. *Contour area*: vectors are shrunk by the root of the loss. Both multiply the number and its
error by a factor, exactly. *Correlations*: x → √(1 − f) x + √f x′, where each bin of x′ is
permuted among the maps by itself, so that C → (1 − f) C + f diag C. *Tails*: each high peak is
removed with probability f.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch
from scipy.stats import binomtest

from benchmarks.true_boxes import (
    GENERATOR,
    ROWS,
    Partition,
    divided,
    of_boxes,
    true_vectors,
)
from lensnb.compare import Estimate
from lensnb.compare.answers import OFF, OPEN, SAME
from lensnb.compare.estimate import Share, WorstBin, threshold
from lensnb.compare.per_map import HIGH_PEAKS
from lensnb.ensemble import Ensemble

CACHE = Path(tempfile.gettempdir()) / "lensnb-true-boxes"
LOSSES = (0.05, 0.10, 0.15, 0.25)
TARGETS = {"C_ℓ slope": 0.90, "contour area": 0.85}  # off in so many partitions at a loss of 10 %
POWER = ("C_ℓ scatter", "C_ℓ slope", "contour area", "peaks > 4σ")
LIMIT = threshold(len(ROWS))
# Their errors assume that both sets have one share: those of a test, and not of the number.
SCORE_TESTS = ("maps with a pixel > 10σ", "maps with a pixel > 12σ")
# The bins behind the averages and the worst bins: statistic, number of the verdict, expected.
BINS = {
    "C_ℓ mean, each bin": ("power", "mean_ratio", 1),
    "C_ℓ scatter, each bin": ("power", "scatter_ratio", 1),
    "mean of all bins, each [σ]": ("joint", "mean_shift", 0),
    "scatter of all bins, each": ("joint", "scatter_ratio", 1),
}


class Found(NamedTuple):
    """A number of one partition, or one number for each bin.

    ``plain`` is false where value and error are not those of one fixed number. ``sigmas`` are
    standard errors from what is expected.
    """

    value: np.ndarray
    error: np.ndarray
    covered: np.ndarray
    plain: bool = True
    answer: str = ""
    sigmas: float = np.nan


class OnePartition(NamedTuple):
    """What one partition gives: the rows, the bins behind them, and the losses that are off."""

    rows: dict[str, Found]
    bins: dict[str, Found]
    losses: dict[tuple[str, float], bool]


def one_partition(number: int, cache: Path = CACHE, rounds: int = 200) -> OnePartition:
    """Divide the boxes, judge the quarter as it is, and once more after each loss."""
    vectors = true_vectors(cache)
    boxes = np.unique(vectors["power"].simulation)
    parts = divided(boxes, len(boxes) // 4, number)
    # Seeds far apart, since a comparison uses several that follow each other.
    partition = Partition(*(of_boxes(vectors, one) for one in parts), 1000 * number, rounds)
    rows = {name: _row(partition, name) for name in ROWS}
    bins = {name: _each_bin(partition, *what) for name, what in BINS.items()}
    rng = np.random.default_rng(number)
    losses = {}
    for name in POWER:
        for loss in LOSSES:
            estimate = weakened(partition, name, loss, rng)
            losses[name, loss] = ROWS[name].answer(estimate, LIMIT).kind == OFF
    return OnePartition(rows, bins, losses)


def _row(partition: Partition, name: str) -> Found:
    estimate, quantity = partition.estimate(name), ROWS[name]
    answer = quantity.answer(estimate, LIMIT)
    sigmas = estimate.sigmas(quantity.expected_of(estimate))
    covered = np.asarray(abs(sigmas) < 1.96)
    plain = not isinstance(estimate, WorstBin | Share) and name not in SCORE_TESTS
    return Found(estimate.value, estimate.error, covered, plain, answer.kind, sigmas)


def _each_bin(partition: Partition, statistic: str, number: str, expected: float) -> Found:
    estimate = getattr(partition.verdicts[GENERATOR][statistic], number)
    low, high = estimate.interval
    return Found(estimate.value, estimate.error, (low < expected) & (expected < high))


def weakened(partition: Partition, row: str, loss: float, rng: np.random.Generator) -> Estimate:
    """A row of the report after a loss that this row should see."""
    if row in ("C_ℓ scatter", "contour area"):
        whole, factor = partition.estimate(row), 1 - loss
        return Estimate(whole.value * factor, error=whole.error * factor)
    generator = partition.per_map[GENERATOR]
    if row == "C_ℓ slope":
        changed = {"power": loosened(generator["power"], loss, rng)}
    else:
        peaks = generator[HIGH_PEAKS]
        kept = rng.binomial(np.rint(peaks.vectors).astype(int), 1 - loss)
        changed = {HIGH_PEAKS: Ensemble(kept, peaks.simulation)}
    return partition.with_vectors(changed).estimate(row)


def loosened(ensemble: Ensemble, loss: float, rng: np.random.Generator) -> Ensemble:
    """Vectors whose correlations are weaker by ``loss``, and whose scatter is the same."""
    mean = ensemble.mean()
    together = ensemble.vectors - mean
    alone = rng.permuted(together, axis=0)
    mixed = np.sqrt(1 - loss) * together + np.sqrt(loss) * alone
    return Ensemble(mean + mixed, ensemble.simulation)


def in_parallel(function, items, workers: int) -> Iterator:
    """``map``, in so many processes."""
    if workers == 1:
        yield from map(function, items)
        return
    context = get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as executor:
        yield from executor.map(function, items)


def calibrate(partitions: int, cache: Path = CACHE, rounds: int = 200, workers: int = 1) -> list:
    """:func:`one_partition` of so many partitions."""
    true_vectors(cache)  # measured once, not in every process
    function = partial(one_partition, cache=cache, rounds=rounds)
    return list(in_parallel(function, range(partitions), workers))


# ---------------------------------------------------------------- the page


def rate(hits) -> str:
    """A share in per cent with its 95 % interval."""
    hits = np.asarray(hits, bool)
    low, high = interval(hits)
    return f"{100 * hits.mean():.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def interval(hits: np.ndarray) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927), as if all cases were independent."""
    return binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")


def any_off(found: list[OnePartition]) -> np.ndarray:
    """Whether any row of each report is off."""
    return np.array([any(row.answer == OFF for row in one.rows.values()) for one in found])


def scatter_over_error(found: list[Found]) -> float:
    """The scatter of a number over the partitions, divided by its mean quoted error."""
    values = np.array([one.value for one in found])
    errors = np.array([one.error for one in found])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = values.std(0, ddof=1) / errors.mean(0)
    return float(np.nanmean(ratio))


def _alarms(found: list[OnePartition]) -> Iterator[str]:
    yield "| row | off | as the simulations | cannot tell |"
    yield "|---|---|---|---|"
    for name in ROWS:
        kinds = np.array([one.rows[name].answer for one in found])
        shares = [f"{100 * (kinds == kind).mean():.0f} %" for kind in (SAME, OPEN)]
        yield f"| {name} | {rate(kinds == OFF)} | {shares[0]} | {shares[1]} |"
    yield f"| **any row of a report** | {rate(any_off(found))} | | |"


def _errors(found: list[OnePartition]) -> Iterator[str]:
    yield "| number | scatter / error | 95 % interval covers |"
    yield "|---|---|---|"
    for name in (*ROWS, *BINS):
        cases = [(one.rows | one.bins)[name] for one in found]
        ratio = "–"
        if cases[0].plain:
            ratio = f"{scatter_over_error(cases):.2f}"
        covered = np.array([case.covered for case in cases])
        cover = f"{100 * covered.mean():.1f} %"
        if covered.ndim == 1:
            cover = rate(covered)
        yield f"| {name} | {ratio} | {cover} |"


def _power(found: list[OnePartition]) -> Iterator[str]:
    losses = " | ".join(f"loss of {loss:.0%}" for loss in LOSSES)
    yield f"| row | mean error | seen in 90 % | {losses} | target at 10 % |"
    yield "|---" * (len(LOSSES) + 4) + "|"
    for name in POWER:
        error = np.mean([one.rows[name].error for one in found])
        cells = [rate([one.losses[name, loss] for one in found]) for loss in LOSSES]
        target = "–"
        if name in TARGETS:
            target = f"{TARGETS[name]:.0%}"
        seen = f"{(LIMIT + 1.28) * error:.0%}"
        yield f"| {name} | {error:.3f} | {seen} | {' | '.join(cells)} | {target} |"


def page(found: list[OnePartition], cache: Path) -> str:
    """All tables in Markdown."""
    boxes = len(np.unique(true_vectors(cache)["power"].simulation))
    quarter = boxes // 4
    return "\n".join(
        [
            f"{len(found)} times, {boxes} true boxes of 32 maps were divided at random: {quarter} "
            f"stand for a generator, and {boxes - quarter} are truth and null. The report "
            "compares them as it compares any generator, from the vectors of the statistics. "
            "Rows that need the maps themselves are left out.",
            "",
            "Intervals of 95 % are in brackets. They take the partitions as independent. All "
            "partitions share the same boxes, so the true uncertainty is larger.",
            "",
            "## False alarms",
            "",
            f"The {len(ROWS)} rows share one level: a row is off beyond {LIMIT:.2f} σ, so that "
            "5 % of the reports on true maps have a row that is off, or fewer.",
            "",
            *_alarms(found),
            "",
            "## Errors",
            "",
            "The scatter over the partitions, divided by the mean quoted error, should be 1. "
            "Above 1 the quoted error is too small. The 95 % interval should cover what is "
            "expected in 95 % of the partitions. The worst of several bins has no scatter of its "
            "own; the last rows have all the bins. The error of a share of extreme maps is that "
            "of a test, so that only its coverage counts.",
            "",
            *_errors(found),
            "",
            "## Power",
            "",
            "The share of the partitions in which a known loss is called off. *Scatter*: vectors "
            "are shrunk towards their mean. *Correlations* (slope): a part of each bin is "
            "permuted among the maps. *Area*: vectors are shrunk until the area is smaller by so "
            "much. *Peaks*: so many high peaks are removed. An error falls as one over the root "
            f"of the number of boxes; with 512 boxes it would be {np.sqrt(boxes / 512):.2f} of "
            "the one here.",
            "",
            *_power(found),
        ]
    )


def main(description: str, title: str, default: int, write) -> None:
    """Run a benchmark of partitions from the command line.

    Args:
        description: of the command.
        title: of the page.
        default: number of partitions.
        write: (partitions, cache, workers) → the page below its title.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--partitions", type=int, default=default)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--cache",
        type=Path,
        default=CACHE,
        help="folder of measured vectors; empty it after a change of the statistics",
    )
    parser.add_argument("--output", type=Path, help="Markdown file to write; printed in any case")
    options = parser.parse_args()
    start = time.perf_counter()
    text = write(options.partitions, options.cache, options.workers)
    print(text, f"{time.perf_counter() - start:.0f} s", sep="\n")
    if options.output:
        command = f"python benchmarks/{Path(sys.argv[0]).name} --partitions {options.partitions}"
        made = f"Made by `{command} --output {options.output}`; its docstring explains the method."
        options.output.write_text(f"# {title}\n\n{made}\n\n{text}\n", encoding="utf-8")


def _write(partitions: int, cache: Path, workers: int) -> str:
    return page(calibrate(partitions, cache, workers=workers), cache)


if __name__ == "__main__":
    main(__doc__, "Can the report be trusted?", 400, _write)
