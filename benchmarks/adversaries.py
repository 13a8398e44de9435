"""Which planted faults does the fidelity report find?

    python benchmarks/adversaries.py --partitions 100 --workers 2 --output docs/adversaries.md

True boxes are divided at random, many times, as for ``calibration.py``. The maps of one part get a
fault, at a size that real generators have, and stand for a generator; the other boxes are truth
and null. Faults of maps are planted in the maps of the sample, whose statistics are then measured
again. Faults of vectors are planted in the vectors. Every line has the row that should see the
fault. Other rows may see it too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch
from torch import Tensor

from benchmarks.calibration import (
    CACHE,
    LIMIT,
    any_off,
    calibrate,
    in_parallel,
    loosened,
    main,
    rate,
)
from benchmarks.true_boxes import (
    Partition,
    Vectors,
    divided,
    kept,
    of_boxes,
    sample,
    true_vectors,
)
from lensnb.compare import QUANTITIES, Realised
from lensnb.compare.answers import OFF, Answer
from lensnb.compare.estimate import Share
from lensnb.compare.map_copies import copies_in_maps
from lensnb.compare.per_map import thresholds
from lensnb.compare.realised import worst_scatter, worst_slope
from lensnb.data import random_symmetry
from lensnb.ensemble import Ensemble
from lensnb.maps import GaussianField, LognormalField, MapGrid, smooth

TRAINING_COPIES = "copies of training maps"
GIVEN_SLOPE = "slope on what was given, worst"
GIVEN_SCATTER = "scatter about what was given, worst"
BY_NAME = {one.name: one for one in QUANTITIES}


@dataclass(frozen=True)
class Fault:
    """A planted fault.

    Attributes:
        rows: of the report, which should see it.
        maps: (maps, source of randomness) → maps.
        vectors: (vectors, source of randomness) → vectors.
        of_truth: the generator has maps of the truth and the null.
    """

    rows: tuple[str, ...]
    maps: Callable[[Tensor, torch.Generator], Tensor] | None = None
    vectors: Callable[[Vectors, np.random.Generator], Vectors] | None = None
    of_truth: bool = False


# ---------------------------------------------------------------- faults of maps


def placed(maps: Tensor, _) -> Tensor:
    """Each map flipped so that its brightest pixel lies top left."""
    n = maps.shape[-1]
    brightest = maps.flatten(1).argmax(1)
    low = (brightest // n >= n // 2)[:, None, None]
    maps = torch.where(low, maps.flip(-2), maps)
    right = (brightest % n >= n // 2)[:, None, None]
    return torch.where(right, maps.flip(-1), maps)


def anisotropic(maps: Tensor, _) -> Tensor:
    """Power times 1 + 0.2 cos 2φ, which makes P_x / P_y about 1.4."""
    n = maps.shape[-1]
    row, column = torch.fft.fftfreq(n)[:, None], torch.fft.rfftfreq(n)
    power = 1 + 0.2 * torch.cos(2 * torch.atan2(row, column))
    power[0, 0] = 1
    return torch.fft.irfft2(torch.fft.rfft2(maps) * power.sqrt(), s=(n, n))


def faint_border(maps: Tensor, _) -> Tensor:
    """15 % less amplitude on the three outermost pixels."""
    amplitude = torch.full(maps.shape[-2:], 0.85)
    amplitude[3:-3, 3:-3] = 1.0
    return _with_amplitude(maps, amplitude)


def graded(maps: Tensor, _) -> Tensor:
    """Amplitude from 0.8 in the first row to 1.2 in the last."""
    amplitude = torch.linspace(0.8, 1.2, maps.shape[-1])[:, None]
    return _with_amplitude(maps, amplitude.expand(maps.shape[-2:]))


def _with_amplitude(maps: Tensor, amplitude: Tensor) -> Tensor:
    """Maps with an amplitude of each pixel, and the same total variance."""
    return maps * amplitude / amplitude.square().mean().sqrt()


def wrapping(correlation: float) -> Callable:
    """The last column and row follow the first ones with this correlation."""

    def fault(maps: Tensor, _) -> Tensor:
        rest = math.sqrt(1 - correlation**2)
        mean = maps.mean((-2, -1), keepdim=True)
        maps = maps - mean
        maps[..., -1] = correlation * maps[..., 0] + rest * maps[..., -1]
        maps[..., -1, :] = correlation * maps[..., 0, :] + rest * maps[..., -1, :]
        return maps + mean

    return fault


def smoothed(maps: Tensor, _) -> Tensor:
    """Smoothed by a Gaussian whose full width at half maximum is one pixel."""
    side = sample().side_deg
    pixel = MapGrid(maps.shape[-1], side).pixel_arcmin
    return smooth(maps, pixel / 2.355, side)


def field_of(kind: type) -> Callable:
    """Maps of a random field with the power spectrum of true maps."""

    def fault(maps: Tensor, generator: torch.Generator) -> Tensor:
        return kind.fit(maps).sample(len(maps), generator)

    return fault


# ---------------------------------------------------------------- faults of vectors


def few_means(vectors: Vectors, _) -> Vectors:
    """The mean of a map scatters by 0.88 of what it should."""
    return vectors | {"map mean": _shrunk(vectors["map mean"], 0.88)}


def alike(vectors: Vectors, _) -> Vectors:
    """All statistics scatter by 0.9 of what they should."""
    return vectors | {name: _shrunk(vectors[name], 0.9) for name in sample().suite}


def _shrunk(ensemble: Ensemble, factor: float) -> Ensemble:
    mean = ensemble.mean()
    return Ensemble(mean + factor * (ensemble.vectors - mean), ensemble.simulation)


def loose(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """All correlations are 0.9 of what they should be."""
    return vectors | {name: loosened(vectors[name], 0.1, rng) for name in sample().suite}


def stretched(vectors: Vectors, _) -> Vectors:
    """What lies above 8σ of the truth is stretched by a half."""
    extremes = vectors["extremes"]
    above = thresholds(sample().truth.maps, 8.0)[0]
    largest = extremes.vectors[:, :1]
    beyond = np.maximum(largest - above, 0)
    changed = np.hstack([largest + 0.5 * beyond, extremes.vectors[:, 1:]])
    return vectors | {"extremes": Ensemble(changed, extremes.simulation)}


def resampled(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """1,024 maps that are 200 maps, drawn again and again."""
    count = len(vectors["power"])
    few = rng.choice(count, min(200, count), replace=False)
    drawn = rng.choice(few, 1024)
    return {name: Ensemble(one.vectors[drawn]) for name, one in vectors.items()}


def without_the_brightest(vectors: Vectors, _) -> Vectors:
    """The tenth of the maps with the brightest pixels is missing."""
    largest = vectors["extremes"].vectors[:, 0]
    rest = largest < np.quantile(largest, 0.9)
    return {
        name: Ensemble(one.vectors[rest], one.simulation[rest]) for name, one in vectors.items()
    }


PLACE, SEAM = "variance by place, worst", "seam: correlation of opposite edges"
FAULTS = {
    "brightest pixel always top left": Fault((PLACE,), placed),
    "power differs by 20 % with the direction": Fault(("power by direction, worst",), anisotropic),
    "borders 15 % fainter": Fault((PLACE,), faint_border),
    "amplitude rises by 20 % to one side": Fault((PLACE,), graded),
    "edges correlated by 0.07": Fault((SEAM,), wrapping(0.07)),
    "edges correlated by 0.12": Fault((SEAM,), wrapping(0.12)),
    "smoothed by a pixel": Fault(("C_ℓ mean", "C_ℓ mean, worst bin"), smoothed),
    "lognormal field": Fault(("classifier on statistics",), field_of(LognormalField)),
    "Gaussian field": Fault(("peaks > 4σ", "C_ℓ scatter"), field_of(GaussianField)),
    "the truth itself, turned": Fault(("copies of true maps",), random_symmetry, of_truth=True),
    "2 % copies of training maps": Fault((TRAINING_COPIES,)),
    "mean of a map scatters by 0.88": Fault(("scatter of the mean of a map",), vectors=few_means),
    "all statistics scatter by 0.9": Fault(("C_ℓ scatter", "scatter of all bins"), vectors=alike),
    "all correlations × 0.9": Fault(("C_ℓ slope", "slope of all bins"), vectors=loose),
    "above 8σ stretched by a half": Fault(
        ("maps with a pixel > 10σ", "maps with a pixel > 12σ"), vectors=stretched
    ),
    "follows what it was given by 0.8": Fault((GIVEN_SLOPE, GIVEN_SCATTER)),
    "200 maps, drawn 1,024 times": Fault(("effective maps",), vectors=resampled),
    "the brightest tenth is missing": Fault(
        ("maps with a pixel > 10σ",), vectors=without_the_brightest
    ),
}


# ---------------------------------------------------------------- judge them


class Case(NamedTuple):
    """A fault in one partition."""

    fault: str
    number: int


def judged(case: Case, cache: Path = CACHE) -> dict[str, Answer]:
    """The answers of the rows that should see a fault."""
    fault = FAULTS[case.fault]
    if TRAINING_COPIES in fault.rows:
        return {TRAINING_COPIES: training_copies(case.number)}
    vectors = true_vectors(cache)
    if GIVEN_SLOPE in fault.rows:
        return disobedient(vectors["power"].vectors, case.number)
    boxes = np.unique(vectors["power"].simulation)
    harmed = vectors
    if fault.maps:
        harmed = harmed_vectors(case.fault, cache)
    available = np.unique(harmed["power"].simulation)
    count = min(len(boxes) // 4, len(available) // 3)
    rng = np.random.default_rng(case.number)
    chosen = rng.choice(available, count, replace=False)
    generator = of_boxes(harmed, chosen)
    if fault.vectors:
        generator = fault.vectors(generator, rng)
    others = boxes
    if not fault.of_truth:
        others = np.setdiff1d(boxes, chosen)
    _, truth, null = divided(others, 0, case.number)
    parts = generator, of_boxes(vectors, truth), of_boxes(vectors, null)
    partition = Partition(*parts, 1000 * case.number)
    return {row: BY_NAME[row].answer(partition.estimate(row), LIMIT) for row in fault.rows}


def harmed_vectors(name: str, cache: Path) -> Vectors:
    """The vectors of the maps of the sample with a fault."""

    def harmed() -> Tensor:
        return FAULTS[name].maps(sample().maps, torch.Generator().manual_seed(0))

    return kept(name, cache, harmed)


def training_copies(number: int) -> Answer:
    """One map in fifty is a training map, turned: the search in maps, of maps of the sample."""
    maps, simulation = sample().maps, sample().simulation
    boxes = np.unique(simulation)
    ours, train, _ = divided(boxes, len(boxes) // 3, number)
    generated = maps[np.isin(simulation, ours)]
    inside = np.isin(simulation, train)
    count = len(generated) // 50
    generator = torch.Generator().manual_seed(number)
    copied = torch.randperm(int(inside.sum()), generator=generator)[:count]
    generated[:count] = random_symmetry(maps[inside][copied], generator)
    found = copies_in_maps(generated, maps[inside], simulation[inside])
    estimate = Share(found.count, found.share, found.upper)
    return BY_NAME[TRAINING_COPIES].answer(estimate, LIMIT)


def disobedient(spectra: np.ndarray, number: int) -> dict[str, Answer]:
    """1,024 maps were given ln C_ℓ of true maps, and follow with slope 0.8 and scatter 0.5.

    Their own scatter is that of other true maps. Maps that obey would have slope 1 and scatter 0.
    """
    logarithms = np.log(spectra[:, ::3])
    logarithms /= logarithms.std(0)
    drawn = np.random.default_rng(number).choice(len(spectra), (2, 1024), replace=False)
    given, others = logarithms[drawn]
    one = Realised(given, 0.8 * given + 0.5 * others)
    simulation = np.arange(len(given))
    measured = {
        GIVEN_SLOPE: worst_slope(one, simulation),
        GIVEN_SCATTER: worst_scatter(one, simulation),
    }
    return {row: BY_NAME[row].answer(found, LIMIT) for row, found in measured.items()}


def table(answers: dict[str, list[dict[str, Answer]]]) -> Iterator[str]:
    """A line for each fault and each row that should see it."""
    yield "| fault | row | off | median σ |"
    yield "|---|---|---|---|"
    for name, found in answers.items():
        for row in FAULTS[name].rows:
            kinds = np.array([one[row].kind for one in found])
            sigmas = np.median([abs(one[row].sigmas) for one in found])
            distance = f"{sigmas:.1f}"
            if not np.isfinite(sigmas):
                distance = "beyond doubt"
            yield f"| {name} | {row} | {rate(kinds == OFF)} | {distance} |"


def write(partitions: int, cache: Path, workers: int) -> str:
    """The page below its title."""
    boxes = np.unique(true_vectors(cache)["power"].simulation)
    for name, fault in FAULTS.items():
        if fault.maps:
            harmed_vectors(name, cache)
    cases = [Case(name, number) for name in FAULTS for number in range(partitions)]
    answers: dict[str, list] = {name: [] for name in FAULTS}
    found = in_parallel(partial(judged, cache=cache), cases, workers)
    for case, answer in zip(cases, found):
        answers[case.fault].append(answer)
    control = any_off(calibrate(partitions, cache, workers=workers))
    return "\n".join(
        [
            f"{partitions} times, {len(boxes)} true boxes were divided at random: a quarter of "
            "them, or a third of the boxes of the sample, stand for a generator and get a fault; "
            "the others are truth and null. The last columns have the share of the divisions in "
            "which the row is off, with a 95 % interval, and its median distance from what is "
            f"expected. A row is off beyond {LIMIT:.2f} σ.",
            "",
            *table(answers),
            f"| **none: true boxes** | any row of the report | {rate(control)} | |",
            "",
            "[Calibration](calibration.md) has the false alarms of each row.",
        ]
    )


if __name__ == "__main__":
    main(__doc__, "Which planted faults are found?", 100, write)
