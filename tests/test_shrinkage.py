"""Covariances of few maps: what non-linear shrinkage and NERCOME must do, and how much they gain.

Losses are those of Ledoit & Wolf: the squared Frobenius norm, and the excess variance of the
combination of bins that the estimate believes to be the least noisy.
"""

import mpmath
import numpy as np
import pytest

from lensnb.ensemble import (
    Ensemble,
    nercome_covariance,
    nercome_split,
    nonlinear_shrinkage,
    rotation_invariant_covariance,
    shrunk_covariance,
)

BINS = 40


def rotated(eigenvalues, seed: int = 99) -> np.ndarray:
    """A correlation matrix with random eigenvectors."""
    size = len(eigenvalues)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    covariance = (rotation * eigenvalues) @ rotation.T
    std = np.sqrt(np.diag(covariance))
    return covariance / np.outer(std, std)


def draws(true: np.ndarray, maps: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(maps, len(true))) @ np.linalg.cholesky(true).T


def frobenius(estimate: np.ndarray, true: np.ndarray) -> float:
    return ((estimate - true) ** 2).sum() / len(true)


def minimum_variance(estimate: np.ndarray, true: np.ndarray) -> float:
    inverse = np.linalg.inv(estimate)
    variance = np.trace(inverse @ true @ inverse) / np.trace(inverse) ** 2
    return len(true) * (variance - 1 / np.trace(np.linalg.inv(true)))


def gains(better, worse, true, maps, loss, seeds: int = 20) -> float:
    """Mean loss that ``better`` saves against ``worse``, in standard errors, over draws."""
    saved = []
    for seed in range(seeds):
        ensemble = Ensemble(draws(true, maps, seed))
        saved.append(loss(worse(ensemble), true) - loss(better(ensemble), true))
    return np.mean(saved) / (np.std(saved, ddof=1) / np.sqrt(seeds))


def linear(ensemble: Ensemble) -> np.ndarray:
    return shrunk_covariance(ensemble)[0]


SPREAD = rotated(np.repeat([1.0, 3.0, 10.0], [8, 16, 16]))
SPIKED = rotated(np.array([20.0, 10, 5] + 37 * [1]))

# ---------------------------------------------------------------- non-linear shrinkage


def by_the_formula(covariance: np.ndarray, maps: int) -> np.ndarray:
    """Ledoit & Wolf 2020, written out for n > p with 50 digits."""
    values, eigenvectors = np.linalg.eigh(covariance)
    with mpmath.workdps(50):
        values = [mpmath.mpf(value) for value in values]
        bandwidth = mpmath.mpf(maps - 1) ** (-mpmath.mpf(1) / 3)
        ratio = mpmath.mpf(len(values)) / (maps - 1)
        root, pi, shrunk = mpmath.sqrt(5), mpmath.pi, []
        for at in values:
            density = transform = mpmath.mpf(0)
            for value in values:
                width = bandwidth * value
                x = (at - value) / width
                logarithm = mpmath.log(abs((root - x) / (root + x)))
                kernel = 3 / (4 * root) * max(1 - x**2 / 5, 0)
                hilbert = -3 * x / (10 * pi) + 3 / (4 * root * pi) * (1 - x**2 / 5) * logarithm
                density += kernel / width / len(values)
                transform += hilbert / width / len(values)
            real = 1 - ratio - pi * ratio * at * transform
            shrunk.append(float(at / ((pi * ratio * at * density) ** 2 + real**2)))
    return (eigenvectors * shrunk) @ eigenvectors.T


@pytest.mark.parametrize("decades", [0, 4, 10])
def test_nonlinear_shrinkage_is_the_published_formula(decades):
    """Also for eigenvalues that span many decades, where a plain sum loses all digits."""
    x = np.random.default_rng(1).normal(size=(30, 12)) * np.geomspace(1, 10 ** (decades / 2), 12)
    covariance = np.cov(x.T)
    found = nonlinear_shrinkage(covariance, 30)
    np.testing.assert_allclose(
        found, by_the_formula(covariance, 30), atol=1e-9 * np.abs(found).max()
    )


@pytest.mark.parametrize("maps", [80, 240, 800])
def test_nonlinear_shrinkage_estimates_what_the_eigenvectors_deserve(maps):
    """The eigenvalues are those of the oracle, uᵀCu, in each quarter of the spectrum.

    The theory is for many bins: with 160 the means of 6 draws agree to 10 %. They are known to
    1 %. Some quarter of the sample's own eigenvalues is wrong by more than 20 %.
    """
    true = np.diag(np.repeat([1.0, 3.0, 10.0], [32, 64, 64]))
    found, oracle, sample = [], [], []
    for seed in range(6):
        covariance = np.cov(draws(true, maps, seed).T)
        values, eigenvectors = np.linalg.eigh(covariance)
        shrunk = nonlinear_shrinkage(covariance, maps)
        found.append(np.diag(eigenvectors.T @ shrunk @ eigenvectors))
        oracle.append(np.diag(eigenvectors.T @ true @ eigenvectors))
        sample.append(values)
    quarters = lambda values: np.mean(values, 0).reshape(4, -1).mean(1)
    np.testing.assert_allclose(quarters(found), quarters(oracle), rtol=0.1)
    assert (np.abs(quarters(sample) / quarters(oracle) - 1) > 0.2).any()


@pytest.mark.parametrize("maps", [20, 60])
def test_nonlinear_shrinkage_rotates_with_the_covariance(maps):
    covariance = np.cov(draws(SPREAD, maps, 1).T)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(BINS, BINS)))[0]
    before = rotation @ nonlinear_shrinkage(covariance, maps) @ rotation.T
    after = nonlinear_shrinkage(rotation @ covariance @ rotation.T, maps)
    np.testing.assert_allclose(after, before, atol=1e-10)


def test_nonlinear_shrinkage_of_many_maps_is_the_sample_covariance():
    """The change is of the order p/n, here 1e-5, and the noise of the sample is 100 times that."""
    ensemble = Ensemble(draws(rotated(np.linspace(1, 3, 6)), 100_000, 1))
    sample = ensemble.covariance()
    np.testing.assert_allclose(rotation_invariant_covariance(ensemble), sample, atol=5e-4)
    few = Ensemble(ensemble.vectors[:20])
    assert np.abs(rotation_invariant_covariance(few) - few.covariance()).max() > 0.05


def test_nonlinear_shrinkage_beats_sample_and_linear_shrinkage():
    """In both losses, for a spectrum with three groups, by 4 standard errors over 20 draws.

    The gains are 22 to 61 standard errors, so correct code does not fail with another seed.
    """
    for loss in (frobenius, minimum_variance):
        for other in (linear, Ensemble.covariance):
            assert gains(rotation_invariant_covariance, other, SPREAD, 200, loss) > 4


def test_nonlinear_shrinkage_with_fewer_maps_than_bins():
    """It has an inverse, and is nearer to the truth than the sample, by 4 standard errors."""
    estimate = rotation_invariant_covariance(Ensemble(draws(SPIKED, 20, 1)))
    assert np.linalg.eigvalsh(estimate)[0] > 0.05
    saved = gains(rotation_invariant_covariance, Ensemble.covariance, SPIKED, 20, frobenius)
    assert saved > 4


@pytest.mark.parametrize("estimator", [rotation_invariant_covariance, nercome_covariance])
def test_units_of_bins_do_not_matter(estimator):
    x, units = draws(SPREAD, 30, 3), np.geomspace(1e-6, 1e3, BINS)
    in_units = estimator(Ensemble(x * units)) / np.outer(units, units)
    np.testing.assert_allclose(in_units, estimator(Ensemble(x)), rtol=1e-6, atol=1e-9)


def test_copies_of_maps_do_not_count():
    """50 maps, four times each, are 50 maps, to the 10 % to which their number is known."""
    x = draws(SPREAD, 50, 4)
    copies = Ensemble(np.repeat(x, 4, axis=0), np.repeat(np.arange(50), 4))
    found = rotation_invariant_covariance(copies, 50)
    np.testing.assert_allclose(
        found, rotation_invariant_covariance(Ensemble(x)) * 4 * 49 / 199, rtol=1e-9, atol=1e-9
    )
    distance = frobenius(rotation_invariant_covariance(copies), found)
    assert distance < 0.3 * frobenius(rotation_invariant_covariance(copies, 200), found)


def test_nonlinear_shrinkage_refuses_what_it_cannot_do():
    x = draws(SPREAD, 30, 5)
    with pytest.raises(ValueError, match="at least 13 independent maps, found 12.9"):
        nonlinear_shrinkage(SPREAD, 12.9)
    x[:, 7] = x[:, 8]
    with pytest.raises(ValueError, match="covariance of rank 8, found 7: leave out bins"):
        rotation_invariant_covariance(Ensemble(x[:, 3:11]))
    x[:, 7] = 0.0
    with pytest.raises(ValueError, match="bin 7 has no scatter"):
        rotation_invariant_covariance(Ensemble(x))


# ---------------------------------------------------------------- NERCOME


@pytest.mark.parametrize("maps", [20, 60])
def test_nercome_beats_sample_and_linear_shrinkage(maps):
    """For three strong directions, by 3 standard errors over 20 draws, and positive definite.

    The gains are 7 to 31 standard errors, so correct code does not fail with another seed.
    """
    nercome = lambda ensemble: nercome_covariance(ensemble, rounds=50)
    losses = [frobenius, minimum_variance] if maps > BINS else [minimum_variance]
    for loss in losses:
        assert gains(nercome, linear, SPIKED, maps, loss) > 3
    assert gains(nercome, Ensemble.covariance, SPIKED, maps, frobenius) > 3
    assert np.linalg.eigvalsh(nercome(Ensemble(draws(SPIKED, maps, 1))))[0] > 0.05


def test_nercome_keeps_the_total_variance_and_lowers_the_top_eigenvalue_to_what_it_deserves():
    """Means over 60 draws of 60 maps; that of the variance is known to 0.5 %, the other to 2 %.

    Within 4 of these errors: fails by chance with probability 1e-4.
    """
    trace, found, sample = [], [], []
    for seed in range(60):
        ensemble = Ensemble(draws(SPIKED, 60, seed))
        estimate = nercome_covariance(ensemble, rounds=30, seed=seed)
        trace.append(np.trace(estimate) / BINS)
        for matrix, quotients in ((estimate, found), (ensemble.covariance(), sample)):
            values, eigenvectors = np.linalg.eigh(matrix)
            top = eigenvectors[:, -1]
            quotients.append(values[-1] / (top @ SPIKED @ top))
    assert np.mean(trace) == pytest.approx(1, abs=0.02)
    assert np.mean(found) == pytest.approx(1, abs=0.08) and np.mean(sample) > 1.1


def test_nercome_splits_simulations_and_not_maps():
    """Eight copies of each map give what the maps give; split maps would give the sample."""
    x = draws(SPIKED, 30, 6)
    copies = np.repeat(x, 8, axis=0)
    whole = nercome_covariance(Ensemble(copies, np.repeat(np.arange(30), 8)), rounds=10)
    expected = nercome_covariance(Ensemble(x), rounds=10) * 8 * 29 / 239
    np.testing.assert_allclose(whole, expected, rtol=1e-6, atol=1e-8)
    split = nercome_covariance(Ensemble(copies), rounds=10)
    assert frobenius(split, SPIKED) > 1.5 * frobenius(whole, SPIKED)


def test_nercome_finds_a_good_split():
    """Its loss is within 10 % of the best share of a grid, where the worst loses more than 50 %."""
    shares, losses, chosen = [0.2, 0.4, 0.6, 0.7, 0.8, 0.9], [], []
    for seed in range(6):
        ensemble = Ensemble(draws(SPIKED, 60, seed))
        found = [nercome_covariance(ensemble, share, rounds=30) for share in shares]
        losses.append([frobenius(one, SPIKED) for one in found])
        best = nercome_covariance(ensemble, split=None, rounds=30)
        expected = nercome_covariance(ensemble, nercome_split(ensemble, 30), 30)
        np.testing.assert_array_equal(best, expected)
        chosen.append(frobenius(best, SPIKED))
    of_share = np.mean(losses, 0)
    assert np.mean(chosen) < 1.1 * of_share.min() and of_share.max() > 1.5 * of_share.min()


def test_nercome_draws_follow_the_seed():
    ensemble = Ensemble(draws(SPIKED, 30, 7))
    first = nercome_covariance(ensemble, rounds=5, seed=1)
    np.testing.assert_array_equal(first, nercome_covariance(ensemble, rounds=5, seed=1))
    assert np.abs(first - nercome_covariance(ensemble, rounds=5, seed=2)).max() > 1e-3


def test_nercome_refuses_too_few_simulations():
    x = draws(SPIKED, 30, 8)
    with pytest.raises(ValueError, match="at least two simulations, found 2 and 1"):
        nercome_covariance(Ensemble(x, np.arange(30) % 3))
    with pytest.raises(ValueError, match="at least two simulations, found 29 and 1"):
        nercome_covariance(Ensemble(x), split=0.97)
    with pytest.raises(ValueError, match="at least four simulations, found 3"):
        nercome_split(Ensemble(x, np.arange(30) % 3))
