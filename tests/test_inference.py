"""Parameters inferred from Gaussian vectors, for which bias and coverage are known."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2

from lensnb.compare.inference import LEVEL, infer
from lensnb.ensemble import Ensemble, matching_log_posterior, matching_region

BINS = 8
MIXING = np.eye(BINS) + 0.3 * np.random.default_rng(0).normal(size=(BINS, BINS))
RESPONSES = np.random.default_rng(1).normal(size=(BINS, 2))


def vectors(maps, seed, scatter=1.0, shift=0.0, a_box=1):
    """Correlated Gaussian vectors; maps of one box share a quarter of their variance."""
    generator = np.random.default_rng(seed)
    white = generator.normal(size=(maps, BINS))
    box = np.arange(maps) // a_box
    if a_box > 1:
        common = generator.normal(size=(maps // a_box, BINS))
        white = np.sqrt(0.75) * white + 0.5 * common[box]
    return Ensemble(5 + scatter * white @ MIXING.T + shift, box)


def test_the_region_holds_its_share_of_the_posterior():
    """Δχ² for one parameter, beside the integral of the density. The model is linear."""
    maps, bins, least = 60, 6, 9.0
    rise = float(matching_region(least, maps, bins, 1, LEVEL))

    def density(x):
        return np.exp(matching_log_posterior(least + x**2, maps, bins, 1))

    inside = quad(density, 0, np.sqrt(rise))[0] / quad(density, 0, np.inf)[0]
    assert inside == pytest.approx(LEVEL, abs=1e-6)
    assert matching_region(least, 1e9, bins, 2, LEVEL) == pytest.approx(chi2.ppf(LEVEL, 2), 1e-4)


def test_true_maps_have_no_bias_and_the_coverage_of_true_maps():
    """Over 40 pairs of sets the pulls scatter by 1; 0.75 to 1.3 is a range of 99 %."""
    pulls = []
    for seed in range(40):
        found = infer(vectors(512, 2 * seed, a_box=16), vectors(1024, 2 * seed + 1), 8, RESPONSES)
        assert abs(found.coverage.expected - LEVEL) < 0.05
        bias = found.bias.value / found.bias.error
        coverage = (found.coverage.value - found.coverage.expected) / found.coverage.error
        pulls.append([*bias, coverage])
    pulls = np.array(pulls)
    assert (abs(pulls.mean(0)) < 3.3 / np.sqrt(40)).all()
    assert (pulls.std(0) > 0.75).all() and (pulls.std(0) < 1.3).all()


def test_few_maps_still_cover():
    """The posterior allows for a covariance from 100 maps: a Gaussian one would hold 0.63."""
    found = [infer(vectors(100, s), vectors(2000, 1000 + s), 8, RESPONSES) for s in range(60)]
    coverage = np.array([one.coverage.value for one in found])
    assert coverage.mean() == pytest.approx(LEVEL, abs=3.3 * coverage.std() / np.sqrt(60))


@pytest.mark.parametrize("scatter", [0.8, 0.9, 1.2])
def test_a_wrong_scatter_shows_in_the_coverage(scatter):
    found = infer(vectors(8000, 1, scatter), vectors(8000, 2), 8, RESPONSES)
    expected = chi2.cdf(chi2.ppf(LEVEL, 2) * scatter**2, 2)
    assert found.coverage.value == pytest.approx(expected, abs=3.3 * found.coverage.error)
    assert abs(found.coverage.value - found.coverage.expected) > 5 * found.coverage.error


def test_a_wrong_mean_shows_as_bias():
    """The mean moves by 0.3 standard errors along the response to the first parameter."""
    fisher = RESPONSES.T @ np.linalg.solve(MIXING @ MIXING.T, RESPONSES)
    error = np.sqrt(np.linalg.inv(fisher)[0, 0])
    found = infer(
        vectors(8000, 1, shift=-0.3 * error * RESPONSES[:, 0]), vectors(8000, 2), 8, RESPONSES
    )
    assert found.bias.value == pytest.approx([0.3, 0], abs=3.3 * found.bias.error.max())


def test_sets_that_are_too_small_say_nothing():
    assert infer(vectors(31, 1), vectors(2000, 2), 8, RESPONSES) is None
    assert infer(vectors(2000, 1), vectors(2000, 2, a_box=1000), 8, RESPONSES) is None
    assert infer(vectors(2000, 1), vectors(2000, 2), 1, RESPONSES) is None
