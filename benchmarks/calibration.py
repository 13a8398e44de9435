"""How often does the fidelity report raise a false alarm, and do its error bars cover the truth?

    python benchmarks/calibration.py --seeds 300 --output docs/calibration.md

**False alarms.** Truth, null and "generator" are three sets of simulations of the same lognormal
field. Each set has 24 simulations of four maps. The four maps are cut from one wide map, so they
share its long modes. Every fault that the report finds in the third set is a false alarm. A
two-sided number should raise one in 5 % of the seeds, a one-sided number (where one side is
harmless) in 2.5 %. The rates should be a little lower, because a number that is closer to the
expected value than the null is never a fault.

**Coverage.** Two sets of simulations of one Gaussian field are compared. The expected ratios of
means and of scatters are 1, and the expected shift is 0. The 95 % intervals (± 1.96 bootstrap
standard errors) should contain these values in 95 % of all seeds and bins.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest

from lensnb.compare import QUANTITIES, compare, judge
from lensnb.data import MapSet, tiles
from lensnb.ensemble import Ensemble
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.stats import ell_edges, power_spectrum

FALSE_ALARMS = """\
Truth, null and the judged set are three sets of simulations of the same lognormal field. Every
fault that the report finds is therefore a false alarm. A number with faults on both sides should
give one in 5 % of the seeds, a number with a fault on only one side in 2.5 %. The rates should
be a little lower, because a number that is closer to the expected value than the null is never a
fault."""
COVERAGE = """\
Two sets of simulations of the same Gaussian field are compared. The true ratios of means and
scatters are 1, and the true shift is 0. The 95 % intervals of the report should contain these
values in 95 % of all seeds and bins."""
WIDE = MapGrid(32, 10.0)
GAUSSIAN = GaussianField.from_power(WIDE, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8)
LOGNORMAL = LognormalField.from_correlation(GAUSSIAN.variance, 0.03)


def simulations(field, seed: int, first: int = 0, count: int = 24) -> MapSet:
    """Maps of 5° cut from maps of 10°, four of each simulation."""
    wide = field.sample(count, torch.Generator().manual_seed(seed))
    return tiles(
        MapSet(wide.numpy(), WIDE.side_deg, simulation=np.arange(first, first + count)),
        WIDE.n // 2,
    )


def false_alarms(seeds: int, rounds: int = 60) -> dict[str, np.ndarray]:
    """For each headline number, whether it failed, seed by seed; numbers that were not defined are NaN."""
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        sets = [simulations(LOGNORMAL, 3 * seed + k, 24 * k) for k in range(3)]
        report = compare(
            sets[0], sets[1], {"same": sets[2]}, rounds=rounds, look_at_maps=False, seed=seed
        )
        for row in report.rows():
            fault = row.faults["same"]
            found.setdefault(row.quantity.name, []).append(
                np.nan if fault is None else float(bool(fault))
            )
    return {name: np.array(values) for name, values in found.items()}


def coverage(seeds: int, rounds: int = 100) -> dict[str, np.ndarray]:
    """For each number a bin, whether its 95 % interval covers the truth, shape ``(seeds, bins)``."""
    expected = {"mean_ratio": 1.0, "mean_shift": 0.0, "scatter_ratio": 1.0}
    found: dict[str, list[np.ndarray]] = {name: [] for name in expected}
    for seed in range(seeds):
        sets = [simulations(GAUSSIAN, 10_000 + 2 * seed + k, 40 * k, 40) for k in range(2)]
        edges = ell_edges(sets[0].grid, 6)
        truth, sample = (
            Ensemble(power_spectrum(s.tensor(), s.side_deg, edges).numpy(), s.simulation)
            for s in sets
        )
        verdict = judge(sample, truth, rounds, seed)
        for name, value in expected.items():
            low, high = getattr(verdict, name).interval
            found[name].append((low <= value) & (value <= high))
    return {name: np.array(values) for name, values in found.items()}


def report(seeds: int) -> str:
    """Both tables in Markdown."""
    sides = {q.name: "5 %" if q.low and q.high else "2.5 %" for q in QUANTITIES}
    lines = [
        f"## False alarms in {seeds} seeds",
        "",
        FALSE_ALARMS,
        "",
        "| number | false alarms | rate (95 % interval) | expected |",
        "|---|---|---|---|",
    ]
    alarms = false_alarms(seeds)
    for name, values in alarms.items():
        defined = values[np.isfinite(values)]
        lines.append(
            f"| {name} | {defined.sum():.0f} of {len(defined)} | {_rate(defined)} | {sides[name]} |"
        )
    every = np.array(list(alarms.values()))
    lines.append(
        f"| **all** | {np.nansum(every):.0f} of {np.isfinite(every).sum()} | {100 * np.nanmean(every):.1f} % | |"
    )
    lines += [
        "",
        f"## Coverage of 95 % intervals in {seeds} seeds",
        "",
        COVERAGE,
        "",
        "| number in each bin | coverage |",
        "|---|---|",
    ]
    for name, values in coverage(seeds).items():
        error = values.mean(1).std(ddof=1) / np.sqrt(len(values))
        lines.append(f"| {name} | {100 * values.mean():.1f} ± {100 * error:.1f} % |")
    return "\n".join(lines) + "\n"


def _rate(values: np.ndarray) -> str:
    if not len(values):
        return "–"
    low, high = binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
    return f"{100 * values.mean():.1f} % ({100 * low:.1f}–{100 * high:.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--output", type=Path, help="Markdown file to write; printed in any case")
    arguments = parser.parse_args()
    start = time.perf_counter()
    text = report(arguments.seeds)
    print(text, f"{time.perf_counter() - start:.0f} s", sep="\n")
    if arguments.output:
        arguments.output.write_text(
            "# Can the report be trusted?\n\nMade by `python benchmarks/calibration.py --seeds "
            f"{arguments.seeds} --output {arguments.output}`; its docstring explains the method.\n\n{text}"
        )
