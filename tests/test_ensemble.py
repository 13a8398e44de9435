"""Ensembles against numpy, and the bootstrap over simulations against its known answers.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import numpy as np
import pytest

from lensnb.ensemble import Ensemble, correlation, off_diagonal


def vectors(n: int = 40, bins: int = 5, seed: int = 1) -> np.ndarray:
    """Correlated Gaussian vectors, shape ``(n, bins)``."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, bins)) @ rng.normal(size=(bins, bins)) + rng.normal(size=bins)


def test_moments_are_numpys():
    x = vectors()
    ensemble = Ensemble(x)
    np.testing.assert_allclose(ensemble.mean(), x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(ensemble.covariance(), np.cov(x.T), rtol=1e-12)
    np.testing.assert_allclose(ensemble.std(), x.std(0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(ensemble.correlation(), np.corrcoef(x.T), rtol=1e-12, atol=1e-14)
    assert len(ensemble) == 40 and ensemble.labels.tolist() == list(range(40))


def test_weights_are_repeated_maps():
    x, weights = vectors(), np.random.default_rng(2).integers(0, 4, 40).astype(float)
    ensemble, repeated = Ensemble(x), Ensemble(np.repeat(x, weights.astype(int), axis=0))
    for quantity in ("mean", "covariance", "std", "correlation"):
        expected = getattr(repeated, quantity)()
        np.testing.assert_allclose(getattr(ensemble, quantity)(weights), expected, rtol=1e-12, atol=1e-14)


def test_correlation_of_a_bin_without_scatter_is_zero():
    x = vectors()
    x[:, 2] = 7.0
    rho = Ensemble(x).correlation()
    assert (rho[2] == 0).all() and (rho[:, 2] == 0).all()
    keep = [0, 1, 3, 4]
    np.testing.assert_allclose(rho[np.ix_(keep, keep)], np.corrcoef(x[:, keep].T), rtol=1e-12)


def test_correlation_matrix_and_its_off_diagonal():
    rho = correlation(np.array([[4.0, 3.0, 0.0], [3.0, 9.0, -1.5], [0.0, -1.5, 1.0]]))
    np.testing.assert_allclose(off_diagonal(rho), [0.5, 0.0, -0.5])


# ---------------------------------------------------------------- bootstrap


def test_bootstrap_draws_whole_simulations():
    labels = np.array([7, 3, 3, 7, 5, 3])
    weights = Ensemble(vectors(6), labels).bootstrap_weights(500)
    assert weights.shape == (500, 6)
    for label in (3, 5, 7):
        mine = weights[:, labels == label]
        assert (mine == mine[:, :1]).all()
    per_simulation = weights[:, [1, 4, 0]]
    assert (per_simulation.sum(1) == 3).all()  # as many simulations as there are
    assert len(np.unique(per_simulation, axis=0)) == 10  # every way to draw three times out of three


def test_bootstrap_is_decided_by_its_seed():
    ensemble = Ensemble(vectors(30))
    first, again, other = (ensemble.bootstrap_weights(20, seed) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_bootstrap_error_of_maps_that_share_their_simulation():
    """Maps a + b with a of unit variance a simulation and b of variance ¼ a map: the mean of 60 simulations of 8 maps
    has the error √((1 + ¼/8)/60), of which a bootstrap over maps would find √((1 + ¼)/480), 0.4 as much.

    The variance of 60 numbers is known to √(2/59), its root to 9 %, four of which are allowed here, and the bootstrap's
    own noise (2000 rounds) is 1.6 %. Three bins, twice: fails by chance with probability 4e-4.
    """
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(60), 8)
    x = rng.normal(size=(60, 3))[labels] + 0.5 * rng.normal(size=(480, 3))
    expected, over_maps = np.sqrt((1 + 0.25 / 8) / 60), np.sqrt(1.25 / 480)

    def error(ensemble):
        return np.std([ensemble.mean(w) for w in ensemble.bootstrap_weights(2000)], axis=0)

    np.testing.assert_allclose(error(Ensemble(x, labels)), expected, rtol=4 * 0.094)
    np.testing.assert_allclose(error(Ensemble(x)), over_maps, rtol=4 * 0.094)
    assert (error(Ensemble(x)) < 0.6 * error(Ensemble(x, labels))).all()


def test_bootstrap_refuses_one_simulation():
    with pytest.raises(ValueError, match="a bootstrap over simulations needs at least two simulations, found one"):
        Ensemble(vectors(6), np.zeros(6)).bootstrap_weights(10)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(bad):
    x = vectors()
    x[3, 1] = x[3, 2] = x[8, 0] = bad
    with pytest.raises(ValueError, match="2 of 40 maps have statistics that are not finite"):
        Ensemble(x)


@pytest.mark.parametrize("shape, labels", [((6,), 6), ((6, 2, 2), 6), ((6, 2), 5)])
def test_shapes_that_do_not_fit_are_refused(shape, labels):
    with pytest.raises(ValueError, match="one label a map"):
        Ensemble(np.zeros(shape), np.zeros(labels))
