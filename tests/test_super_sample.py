"""The super-sample term: its shares by hand, its errors by repetition, and the response by regression.

Statistical tests use fixed seeds; each says how often correct code would fail it with another one.
"""

import numpy as np
import pytest

from lensnb.ensemble import Ensemble, add_super_sample, response_to_mean

COVARIANCE = np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 0.2], [0.0, 0.2, 25.0]])
RESPONSE = np.array([10.0, -2.0, 5.0])


def test_the_term_and_its_shares_by_hand():
    found = add_super_sample(COVARIANCE, RESPONSE, 0.1)
    np.testing.assert_allclose(found.added, 0.01 * np.outer(RESPONSE, RESPONSE), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, COVARIANCE + found.added, rtol=1e-12)
    # σ_b r over the scatter is (0.5, −0.2, 0.1).
    assert found.trace.value == pytest.approx((0.25 + 0.04 + 0.01) / 3)
    assert found.largest.value == pytest.approx(0.25)
    # Correlations: ρ_01 = 0.5 and ρ_12 = 0.04.
    along = 0.25 + 0.04 + 0.01 + 2 * 0.5 * 0.5 * -0.2 + 2 * 0.04 * -0.2 * 0.1
    assert found.along.value == pytest.approx(0.3**2 / along)
    assert found.noise == found.trace.error == 0 and (found.error == 0).all()
    assert "adds 0.1 ± 0 of the variance on average, 0.25 ± 0 in one bin" in str(found)


def test_units_of_bins_do_not_matter():
    units = np.array([1e-9, 1.0, 1e6])
    error = np.array([1.0, 0.5, 2.0])
    one = add_super_sample(COVARIANCE, RESPONSE, 0.1, error)
    scaled = COVARIANCE * np.outer(units, units)
    other = add_super_sample(scaled, RESPONSE * units, 0.1, error * units)
    for name in ("trace", "largest", "along"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)
    assert one.noise == pytest.approx(other.noise)


def test_errors_are_the_spread_over_noisy_responses():
    """4,000 noisy responses with correlated errors know a spread to 1.1 %; 6 % are allowed, also
    for the second order.
    """
    noise = np.array([[0.04, 0.01, 0.0], [0.01, 0.01, 0.0], [0.0, 0.0, 0.09]])
    found = add_super_sample(COVARIANCE, RESPONSE, 0.1, noise)
    draws = np.random.default_rng(0).multivariate_normal(RESPONSE, noise, 4000)
    terms = [add_super_sample(COVARIANCE, draw, 0.1) for draw in draws]
    for name in ("trace", "largest", "along"):
        spread = np.std([getattr(term, name).value for term in terms])
        assert getattr(found, name).error == pytest.approx(spread, rel=0.06)
    spread = np.std([term.added for term in terms], axis=0)
    np.testing.assert_allclose(found.error, spread, rtol=0.06)


def test_a_response_of_noise_alone_adds_what_is_said():
    """The mean over 4,000 draws is known to 1.3 %; five times that is allowed."""
    error = np.array([3.0, 1.0, 8.0])
    draws = np.random.default_rng(1).normal(size=(4000, 3)) * error
    found = [add_super_sample(COVARIANCE, draw, 0.1, error) for draw in draws]
    mean = np.mean([one.trace.value for one in found])
    assert mean == pytest.approx(found[0].noise, rel=0.065)


def test_maps_that_follow_a_background_have_the_corrected_covariance():
    """20,000 maps know a variance to 1 %: 5 % are allowed in units of the scatter."""
    rng = np.random.default_rng(2)
    own = rng.multivariate_normal(np.zeros(3), COVARIANCE, 20_000)
    moved = own + 0.3 * rng.normal(size=(20_000, 1)) * RESPONSE
    found = add_super_sample(COVARIANCE, RESPONSE, 0.3).covariance
    std = np.sqrt(np.diag(found))
    difference = (np.cov(moved.T) - found) / np.outer(std, std)
    assert np.abs(difference).max() < 0.05


def test_bins_without_scatter_and_no_background():
    flat = np.diag([1.0, 0.0])
    found = add_super_sample(flat, np.array([1.0, 0.0]), 0.5)
    assert found.trace.value == 0.125 and np.isfinite(found.along.value)
    none = add_super_sample(COVARIANCE, RESPONSE, 0.0, np.ones(3))
    assert none.along == (0.0, 0.0) and (none.covariance == COVARIANCE).all()


@pytest.mark.parametrize(
    "response, sigma_b, error, sentence",
    [
        (RESPONSE[:2], 0.1, None, "a response of 2 bins needs a covariance"),
        (RESPONSE, -0.1, None, "sigma_b not negative; found sigma_b = -0.1"),
        (RESPONSE, float("nan"), None, "must be finite"),
        (RESPONSE * np.inf, 0.1, None, "must be finite"),
        (RESPONSE, 0.1, np.ones(2), "an error of as many"),
    ],
)
def test_what_does_not_fit_is_refused(response, sigma_b, error, sentence):
    with pytest.raises(ValueError, match=sentence):
        add_super_sample(COVARIANCE, response, sigma_b, error)


# ---------------------------------------------------------------- the response of maps to their mean


def planted(seed: int) -> tuple[Ensemble, np.ndarray]:
    """40 simulations of 8 maps. Means and vectors both have a part that a simulation shares."""
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(40), 8)
    means = 0.02 * (rng.normal(size=40)[index] + rng.normal(size=320)) + 0.3
    shared = rng.normal(size=(40, 3))[index]
    vectors = 7.0 + means[:, None] * RESPONSE + 0.1 * (shared + rng.normal(size=(320, 3)))
    return Ensemble(vectors, index), means


def test_the_response_is_the_slope_of_least_squares():
    ensemble, means = planted(0)
    found, _ = response_to_mean(ensemble, means)
    expected = [np.polyfit(means, column, 1)[0] for column in ensemble.vectors.T]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_planted_response_is_found_within_its_error():
    """300 sets: the mean of r is right to its error, and the stated error is the spread.

    The spread of 300 is known to 4 %; the jackknife of 40 simulations is biased by some per cent.
    15 % are allowed. Three means within 4 errors: fails by chance with probability 2e-4.
    """
    found = [response_to_mean(*planted(seed)) for seed in range(300)]
    responses = np.array([r for r, _ in found])
    stated = np.sqrt(np.mean([np.diag(error) for _, error in found], axis=0))
    spread = responses.std(0, ddof=1)
    assert (np.abs(responses.mean(0) - RESPONSE) < 4 * spread / np.sqrt(300)).all()
    np.testing.assert_allclose(stated, spread, rtol=0.15)


def test_the_jackknife_leaves_out_whole_simulations():
    ensemble, means = planted(1)
    left_out = []
    for box in range(40):
        kept = ensemble.simulation != box
        some = Ensemble(ensemble.vectors[kept], ensemble.simulation[kept])
        left_out.append(response_to_mean(some, means[kept])[0])
    expected = np.cov(np.array(left_out).T) * 39 * 39 / 40
    np.testing.assert_allclose(response_to_mean(ensemble, means)[1], expected, rtol=1e-8)


def test_a_response_that_cannot_be_seen_is_refused():
    ensemble, means = planted(2)
    with pytest.raises(ValueError, match="expected one finite mean for each of 320 maps"):
        response_to_mean(ensemble, means[:-1])
    with pytest.raises(ValueError, match="all maps have the same mean"):
        response_to_mean(ensemble, np.ones(320))
    with pytest.raises(ValueError, match="at least two, found one"):
        response_to_mean(Ensemble(ensemble.vectors, np.zeros(320)), means)
