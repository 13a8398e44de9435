"""Is the effective number of maps right? Known covariances, and true maps of the sample.

    python benchmarks/effective_maps.py --seeds 40 --output docs/effective_maps.md

**Known covariances.** Gaussian vectors of 32 correlated numbers: 8,192 true maps, and 4,096
generated ones with a planted fault. The exact value is the N for which covariances of N true maps
have the same loss on average, if the loss is measured with the known covariance.

**True maps.** N maps from the boxes of the null, each from another box as far as there are boxes,
judged beside all vectors of the truth, and the other way round. They should count as N.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
from scipy.optimize import brentq

from lensnb.compare.covariance import eigenvectors
from lensnb.compare.effective import EffectiveMaps, expected_loss
from lensnb.compare.sample_vectors import load_vectors
from lensnb.compare.vector_making import suite_of_sample
from lensnb.ensemble import Ensemble
from lensnb.files import atomic_write

K = 32
APART = np.abs(np.subtract.outer(np.arange(K), np.arange(K)))
COVARIANCE = 0.15 + 0.85 * np.exp(-APART / 4)
TRUE_MAPS, MAPS = 8192, 4096
SIZES = (100, 300, 1000)  # of sets of true maps


def gaussian(maps: int, rng: np.random.Generator, covariance: np.ndarray = COVARIANCE):
    """Gaussian vectors, shape ``(maps, K)``."""
    return rng.standard_normal((maps, K)) @ np.linalg.cholesky(covariance).T


def scaled(rng: np.random.Generator, scatter: float) -> np.ndarray:
    return scatter * gaussian(MAPS, rng)


def decorrelated(rng: np.random.Generator, kept: float) -> np.ndarray:
    """The correlations are multiplied by ``kept``."""
    return gaussian(MAPS, rng, kept * COVARIANCE + (1 - kept) * np.eye(K))


def resampled(rng: np.random.Generator, pool: int) -> np.ndarray:
    """Drawn with replacement from so many true maps."""
    return gaussian(pool, rng)[rng.integers(0, pool, MAPS)]


def of_size(rng: np.random.Generator, maps: int) -> np.ndarray:
    return gaussian(maps, rng)


CASES: dict[str, Callable] = {"as the truth": partial(scaled, scatter=1.0)}
for factor in (0.8, 0.9, 0.95, 1.05, 1.1, 1.25):
    CASES[f"scatter × {factor}"] = partial(scaled, scatter=factor)
for factor in (0.75, 0.9):
    CASES[f"correlations × {factor}"] = partial(decorrelated, kept=factor)
CASES["no correlations"] = partial(decorrelated, kept=0.0)
for size in (50, 200, 800):
    CASES[f"{size} true maps, resampled"] = partial(resampled, pool=size)
for size in SIZES:
    CASES[f"{size} true maps"] = partial(of_size, maps=size)


def exact(vectors: np.ndarray) -> float:
    """1/N whose expected loss is that of these vectors, with the known covariance."""
    inverse = np.linalg.inv(np.cov(vectors.T))
    product = inverse @ COVARIANCE
    loss = np.trace(product) - np.linalg.slogdet(product)[1] - K

    def difference(log_maps: float) -> float:
        return expected_loss(np.exp(log_maps), K) - loss

    return float(np.exp(-brentq(difference, np.log(K + 2.001), np.log(1e8))))


def known_covariances(seeds: int) -> Iterator[str]:
    """Lines of a table: mean of 1/N over seeds beside the exact one, and how often it is covered."""
    found: dict[str, list] = {name: [] for name in CASES}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        truth = EffectiveMaps(Ensemble(gaussian(TRUE_MAPS, rng)), K, seed)
        for name, make in CASES.items():
            vectors = make(rng)
            one = truth.of(Ensemble(vectors))
            low, high = one.interval
            right = exact(vectors)
            found[name].append((float(one.value), right, low < right < high))
        print(f"seed {seed + 1} of {seeds}", end="\r", file=sys.stderr)
    yield "| maps | reported | exact | ratio | 95 % range covers |"
    yield "|---|--:|--:|--:|--:|"
    for name, rows in found.items():
        value, right, covered = np.array(rows).T
        ratio = right.mean() / value.mean()
        counts = f"{1 / value.mean():,.0f} | {1 / right.mean():,.0f} | {ratio:.2f}"
        yield f"| {name} | {counts} | {covered.mean():.0%} |"


def joint(name: str) -> Ensemble:
    """The vectors of the default statistics in a row."""
    vectors = load_vectors(name)
    return Ensemble.join(vectors[statistic] for statistic in suite_of_sample())


def few_maps(ensemble: Ensemble, maps: int, rng: np.random.Generator) -> Ensemble:
    """So many maps, from as many boxes as there are, each independent of the others in the set."""
    boxes = ensemble.simulations
    order = []
    for _ in range(-(-maps // len(boxes))):
        order.extend(rng.permutation(boxes))
    rows = []
    for box in order[:maps]:
        free = np.setdiff1d(np.flatnonzero(ensemble.simulation == box), rows)
        rows.append(rng.choice(free))
    return Ensemble(ensemble.vectors[rows], ensemble.simulation[rows])


def true_maps(draws: int) -> Iterator[str]:
    """Lines of a table: N true maps of the sample beside all maps of the other set."""
    sets = {name: joint(name) for name in ("truth", "null")}
    most = eigenvectors(sets.values())
    yield "| maps | beside the truth | beside the null | 95 % range covers |"
    yield "|--:|--:|--:|--:|"
    for maps in SIZES:
        cells, covered = [], []
        for reference, other in (("truth", "null"), ("null", "truth")):
            worth = EffectiveMaps(sets[reference], most, 0)
            values = []
            for draw in range(draws):
                one = worth.of(few_maps(sets[other], maps, np.random.default_rng(draw)), maps)
                low, high = one.interval
                values.append(float(one.value))
                covered.append(low < 1 / maps < high)
            error = np.std(values, ddof=1) / np.sqrt(draws) / np.mean(values) ** 2
            cells.append(f"{1 / np.mean(values):.0f} ± {error:.0f}")
        yield f"| {maps} | {' | '.join(cells)} | {np.mean(covered):.0%} |"


PAGE = """# Is the effective number of maps right?

Made by `python benchmarks/effective_maps.py --seeds {seeds}`; its docstring explains the method.

## Known covariances

Gaussian vectors of {k} numbers, {truth:,} true maps, {maps:,} generated maps, {seeds} seeds. The ratio of reported to exact number should lie
between 0.85 and 1.15, and the 95 % range should cover the exact number in at least 90 % of the seeds.

{known}

## True maps of the sample

N true maps, from as many boxes as possible, judged beside the 8,192 maps of the other set, {seeds} draws. They should count as N. The error is that of the mean over
draws, which share one reference.

{true}
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--output", type=Path, help="the page; by default it is printed")
    options = parser.parse_args(arguments)
    page = PAGE.format(
        seeds=options.seeds,
        k=K,
        truth=TRUE_MAPS,
        maps=MAPS,
        known="\n".join(known_covariances(options.seeds)),
        true="\n".join(true_maps(options.seeds)),
    )
    if options.output is None:
        print(page)
        return
    with atomic_write(options.output) as file:
        file.write(page.encode())


if __name__ == "__main__":
    main()
