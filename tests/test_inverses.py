"""What a noisy inverse covariance does to fits: factors and likelihoods, against Gaussian mocks."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t

from lensnb.ensemble import (
    dodelson_schneider_factor,
    hartlap_factor,
    matching_log_posterior,
    percival_factor,
    sellentin_heavens_log_density,
)


def estimates(maps: int, bins: int, count: int, seed: int) -> np.ndarray:
    """Sample covariances of white Gaussian vectors, whose true covariance is 1."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, maps, bins))
    centred = vectors - vectors.mean(1, keepdims=True)
    return np.swapaxes(centred, 1, 2) @ centred / (maps - 1)


# ---------------------------------------------------------------- Percival et al. 2014


def test_percival_is_the_published_formula():
    a, b = 2 / (79 * 76), 78 / (79 * 76)
    assert percival_factor(100, 20, 2) == pytest.approx((1 + 18 * b) / (1 + a + 3 * b))
    assert percival_factor(1e9, 20, 2) == pytest.approx(1, abs=1e-7)
    with pytest.raises(ValueError, match="more than 24 independent maps, found 24"):
        percival_factor(24, 20, 2)
    with pytest.raises(ValueError, match="can constrain 1 to 20 parameters, found 21"):
        percival_factor(100, 20, 21)


def test_percival_is_the_scatter_of_fits_over_their_stated_variance():
    """Two parameters, 20 bins, 100 maps, 4,000 covariances.

    Each covariance gives its fit's variance over noise in the data exactly. The ratio is known to
    0.1 %, and the factor is correct to second order, here to 0.6 %. With a tolerance of 1.2 % the
    test fails by chance with probability below 1e-6. The formula of Dodelson & Schneider is 5 %
    larger.
    """
    maps, bins, count = 100, 20, 4000
    response = np.random.default_rng(1).normal(size=(bins, 2))
    inverse = hartlap_factor(maps, bins) * np.linalg.inv(estimates(maps, bins, count, 2))
    stated = np.linalg.inv(response.T @ inverse @ response)
    weights = stated @ response.T @ inverse
    scatter = weights @ np.swapaxes(weights, 1, 2)
    ratio = scatter.mean(0)[[0, 1], [0, 1]] / stated.mean(0)[[0, 1], [0, 1]]
    np.testing.assert_allclose(ratio, percival_factor(maps, bins, 2), rtol=0.012)
    assert dodelson_schneider_factor(maps, bins, 2) / ratio.max() > 1.03


# ---------------------------------------------------------------- likelihoods


def test_sellentin_and_heavens_is_a_t_distribution():
    """The density of scipy, with n − p degrees of freedom and the shape C (n − 1)/(n − p)."""
    maps, bins = 17, 5
    covariance = estimates(30, bins, 1, 3)[0]
    points = np.random.default_rng(4).normal(size=(50, bins)) * 3
    chi2 = np.einsum("ij,jk,ik->i", points, np.linalg.inv(covariance), points)
    log_determinant = np.linalg.slogdet(covariance)[1]
    found = sellentin_heavens_log_density(chi2, maps, bins, log_determinant)
    shape = covariance * (maps - 1) / (maps - bins)
    np.testing.assert_allclose(found, multivariate_t(shape=shape, df=maps - bins).logpdf(points))
    many = sellentin_heavens_log_density(chi2, 1e9, bins, log_determinant)
    np.testing.assert_allclose(
        many, multivariate_normal(cov=covariance).logpdf(points), rtol=1e-6, atol=1e-6
    )
    with pytest.raises(ValueError, match="of 5 bins needs more than 5 independent maps, found 5"):
        sellentin_heavens_log_density(chi2, 5, bins)


def coverage(log_posterior, maps: int, bins: int, count: int = 3000) -> np.ndarray:
    """How often the central 68.3 % and 95.4 % of a one-parameter posterior hold the truth.

    The parameter is the mean of all bins. Its true value is 0 and the prior is flat.
    """
    grid = np.linspace(-3, 3, 601)
    noise = np.random.default_rng(5).normal(size=(count, bins))
    below = []
    for data, covariance in zip(noise, estimates(maps, bins, count, 6)):
        inverse = np.linalg.inv(covariance)
        ones = inverse.sum(0)
        chi2 = data @ inverse @ data - 2 * grid * (ones @ data) + grid**2 * ones.sum()
        logarithm = log_posterior(chi2)
        posterior = np.exp(logarithm - logarithm.max())
        middle = len(grid) // 2
        cumulative = posterior[:middle].sum() + posterior[middle] / 2
        below.append(cumulative / posterior.sum())
    off = np.abs(2 * np.array(below) - 1)
    return np.array([(off < 0.683).mean(), (off < 0.954).mean()])


def test_matching_posterior_covers_as_often_as_it_says():
    """12 bins and 40 maps, so that the scatter of fits is 1.41 times its ideal variance.

    Coverages are known to 0.9 % and 0.4 %. Within 4 of these errors: fails by chance with
    probability 1e-4. Neither the t-distribution alone nor a Gaussian with the inverse of Hartlap
    reaches them.
    """
    maps, bins = 40, 12
    says = np.array([0.683, 0.954])
    error = np.sqrt(says * (1 - says) / 3000)
    matching = lambda chi2: matching_log_posterior(chi2, maps, bins, 1)
    assert (np.abs(coverage(matching, maps, bins) - says) < 4 * error).all()
    wings = lambda chi2: sellentin_heavens_log_density(chi2, maps, bins)
    gaussian = lambda chi2: -0.5 * hartlap_factor(maps, bins) * chi2
    for other in (wings, gaussian):
        assert (coverage(other, maps, bins) < says - 4 * error).all()


def test_matching_posterior_of_many_maps_is_gaussian():
    chi2 = np.linspace(0, 30, 7)
    np.testing.assert_allclose(matching_log_posterior(chi2, 1e9, 20, 2), -chi2 / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="more than 24 independent maps, found 24"):
        matching_log_posterior(chi2, 24, 20, 2)
