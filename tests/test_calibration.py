"""The report is itself tested: false alarms, errors and power by dividing true boxes, and planted faults.

``benchmarks/calibration.py`` and ``benchmarks/adversaries.py`` do it hundreds of times; here a few
times. True boxes are those that come with the package.
"""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

pytestmark = pytest.mark.nightly
ROOT = Path(__file__).parents[1]
PARTITIONS = 40


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("vectors")


@pytest.fixture(scope="module")
def calibration():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        from benchmarks import calibration
    return calibration


@pytest.fixture(scope="module")
def adversaries(calibration):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        from benchmarks import adversaries
    return adversaries


@pytest.fixture(scope="module")
def found(calibration, cache) -> list:
    return calibration.calibrate(PARTITIONS, cache)


def most(level: float) -> int:
    """What happens with this probability happens more often in 1 % of the cases."""
    return int(scipy.stats.binom.isf(0.01, PARTITIONS, level))


def test_false_alarms_come_at_the_stated_rate(found, calibration):
    """At most 5 % of the reports have a row that is off; the test fails by chance in 1 % or less."""
    off = calibration.any_off(found)
    print(f"{off.sum()} of {PARTITIONS} reports")
    assert off.sum() <= most(0.05)


def test_errors_are_those_of_the_partitions(found, calibration):
    """40 values know their scatter to 11 %: outside of 0.65 … 1.35 is 3 standard deviations."""
    for name in calibration.ROWS:
        cases = [one.rows[name] for one in found]
        if cases[0].plain:
            ratio = calibration.scatter_over_error(cases)
            print(f"{name}: {ratio:.2f}")
            assert 0.65 < ratio < 1.35, name


def test_intervals_cover_at_the_stated_rate(found, calibration):
    """95 % intervals of all the bins; bins of one partition go together, hence a wide margin."""
    for name in calibration.BINS:
        covered = np.mean([one.bins[name].covered for one in found])
        print(f"{name}: {covered:.3f}")
        assert 0.9 < covered < 0.99, name


@pytest.mark.parametrize("row", ["C_ℓ scatter", "C_ℓ slope", "contour area"])
def test_a_loss_of_a_quarter_is_seen(found, row):
    """By 80 % or more; a rate of 90 % fails with a probability of 4 %. True boxes are not off."""
    seen = np.mean([one.losses[row, 0.25] for one in found])
    print(f"{row}: {seen:.2f}")
    assert seen >= 0.8


def test_the_page_has_every_row(found, calibration, cache):
    page = calibration.page(found, cache)
    assert all(f"| {name} |" in page for name in calibration.ROWS)
    assert "nan" not in page


# What 96 boxes see each time. Smaller faults need more boxes: docs/adversaries.md has them all.
FAULTS = [
    "brightest pixel always top left",
    "power differs by 20 % with the direction",
    "borders 15 % fainter",
    "amplitude rises by 20 % to one side",
    "edges correlated by 0.07",
    "edges correlated by 0.12",
    "smoothed by a pixel",
    "lognormal field",
    "Gaussian field",
    "the truth itself, turned",
    "2 % copies of training maps",
    "follows what it was given by 0.8",
    "200 maps, drawn 1,024 times",
    "the brightest tenth is missing",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_off(fault, adversaries, cache):
    answers = adversaries.judged(adversaries.Case(fault, 0), cache)
    print({row: (one.kind, round(one.sigmas, 1)) for row, one in answers.items()})
    assert any(one.kind == "off" and one.meaning for one in answers.values())
