"""Ensembles, compared with numpy, and the bootstrap over simulations, with known answers.

Statistical tests use fixed seeds. Each says how often correct code would fail it with another
seed.
"""

import math
import os
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch

import lensnb.store.reading
from lensnb.data import MapSet
from lensnb.ensemble import (
    Ensemble,
    StreamingEnsemble,
    bootstrap,
    correlation,
    covariance_noise,
    dodelson_schneider_factor,
    gaussian_power_covariance,
    hartlap_factor,
    jackknife_error,
    measure,
    measured,
    off_diagonal,
    shrunk_covariance,
)
from lensnb.maps import GaussianField, MapGrid
from lensnb.readers import open_maps, save_zarr
from lensnb.stats import Statistic, moments, power_spectrum, suite


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
    assert len(ensemble) == 40 and ensemble.simulation.tolist() == list(range(40))


def test_weights_are_repeated_maps():
    x, weights = vectors(), np.random.default_rng(2).integers(0, 4, 40).astype(float)
    ensemble, repeated = Ensemble(x), Ensemble(np.repeat(x, weights.astype(int), axis=0))
    for quantity in ("mean", "covariance", "std", "correlation"):
        expected = getattr(repeated, quantity)()
        np.testing.assert_allclose(
            getattr(ensemble, quantity)(weights), expected, rtol=1e-12, atol=1e-14
        )


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
    assert (
        len(np.unique(per_simulation, axis=0)) == 10
    )  # every way to draw three times out of three


def test_bootstrap_is_decided_by_its_seed():
    ensemble = Ensemble(vectors(30))
    first, again, other = (ensemble.bootstrap_weights(20, seed) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_bootstrap_error_of_maps_that_share_their_simulation():
    """Maps a + b, with a of unit variance a simulation and b of variance ¼ a map.

    The mean of 60 simulations of 8 maps has the error √((1 + ¼/8)/60). A bootstrap over maps would
    find √((1 + ¼)/480), 0.4 as much.

    The variance of 60 numbers is known to √(2/59), and its root to 9 %. Four times as much is
    allowed. The noise of the bootstrap (2000 rounds) is 1.6 %. Three bins, twice: fails by chance
    with probability 4e-4.
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
    with pytest.raises(
        ValueError, match="a bootstrap over simulations needs at least two simulations, found one"
    ):
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
    with pytest.raises(ValueError, match="one simulation number a map"):
        Ensemble(np.zeros(shape), np.zeros(labels))


# ---------------------------------------------------------------- streaming


def streamed(x: np.ndarray, simulation=None, batch: int = 7) -> StreamingEnsemble:
    ensemble = StreamingEnsemble()
    for i in range(0, len(x), batch):
        ensemble.update(
            x[i : i + batch], None if simulation is None else simulation[i : i + batch]
        )
    return ensemble


def test_streaming_gives_what_holding_gives():
    """Simulations arrive piece by piece and out of order.

    Their mean is large compared with the scatter.
    """
    x, labels = vectors(60) + 1e6, np.random.default_rng(3).integers(0, 9, 60)
    stream, held = streamed(x, labels), Ensemble(x, labels)
    assert len(stream) == 60 and set(stream.simulations) == set(labels)
    for quantity in ("mean", "covariance", "std", "correlation", "mean_error"):
        np.testing.assert_allclose(
            getattr(stream, quantity)(), getattr(held, quantity)(), rtol=1e-9, atol=1e-10
        )


def test_streaming_resamples_the_same_simulations():
    x, labels = (
        vectors(60),
        np.repeat(np.arange(12), 5),
    )  # in order, so that both number the simulations alike
    stream, held = streamed(x, labels), Ensemble(x, labels)
    for a, b in zip(stream.bootstrap_weights(20, 4), held.bootstrap_weights(20, 4)):
        np.testing.assert_allclose(stream.mean(a), held.mean(b), rtol=1e-12)
        np.testing.assert_allclose(
            stream.covariance(a), held.covariance(b), rtol=1e-10, atol=1e-12
        )


def test_a_bin_that_a_draw_lacks_has_no_scatter_at_all():
    """What only the first simulation has, in a draw without it; rounding would be scatter."""
    x, labels = vectors(60), np.repeat(np.arange(12), 5)
    x[5:, 0] = 0
    weights = np.repeat([0.0, 2.0, 1.0, 1.0], 15)
    for ensemble, own in ((Ensemble(x, labels), weights), (streamed(x, labels), weights[::5])):
        assert not ensemble.covariance(own)[0].any()
        assert ensemble.std(own)[0] == 0


def test_streaming_holds_no_vectors():
    """Fifty thousand vectors of 40 bins are 16 MB; ten simulations of 40² numbers are 0.13 MB."""
    rng, stream = np.random.default_rng(5), StreamingEnsemble()
    tracemalloc.start()
    for _ in range(50):
        stream.update(rng.normal(size=(1000, 40)), np.repeat(np.arange(10), 100))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(stream) == 50_000 and held < 0.5e6


def test_streaming_batches_without_labels_are_blocks():
    stream = streamed(vectors(70))
    assert len(stream.simulations) == 10 and stream.bootstrap_weights(3).shape == (3, 10)
    np.testing.assert_allclose(stream.covariance(), np.cov(vectors(70).T), rtol=1e-10)


def test_streaming_refuses():
    with pytest.raises(ValueError, match="the ensemble is empty"):
        StreamingEnsemble().mean()
    with pytest.raises(ValueError, match="has vectors of 5 bins, found 4"):
        streamed(vectors()).update(vectors(bins=4))
    with pytest.raises(ValueError, match="1 of 3 maps have statistics that are not finite"):
        StreamingEnsemble().update([[0.0], [np.nan], [1.0]])


def test_measure_takes_sets_tensors_and_batches(tmp_path):
    maps = torch.randn(30, 16, 16, generator=torch.Generator().manual_seed(6)) * 0.01
    np.save(tmp_path / "maps.npy", maps.numpy())
    labels = np.repeat(np.arange(6), 5)
    statistics = suite(maps, 5.0)
    memory = MapSet(np.load(tmp_path / "maps.npy", mmap_mode="r"), 5.0, simulation=labels)
    expected = measure(statistics, maps)
    for found in (measure(statistics, memory), measure(statistics, iter(maps.split(7)), labels)):
        for name, ensemble in found.items():
            np.testing.assert_allclose(ensemble.vectors, expected[name].vectors, rtol=1e-6)
            assert ensemble.simulation.tolist() == labels.tolist()
    assert expected["power"].simulation.tolist() == list(range(30))


@pytest.fixture
def stored(tmp_path, monkeypatch) -> MapSet:
    """Thirty maps of three simulations on disk, four in each chunk."""
    pytest.importorskip("zarr")
    monkeypatch.setattr(lensnb.store.reading, "PIECE", 4 * 32 * 32)
    maps = GaussianField(torch.full((32, 17), 1e-4)).sample(30, torch.Generator().manual_seed(1))
    save_zarr(MapSet(maps, 5.0, simulation=np.arange(30) // 10), tmp_path / "set.zarr")
    return open_maps(tmp_path / "set.zarr")


def test_maps_on_disk_are_measured_as_maps_in_memory(stored):
    """Every statistic is the same bit for bit, because the pieces are the same."""
    statistics = suite(stored.tensor(), 5.0)
    for some in (stored, stored[stored.simulation != 1]):
        there = measure(statistics, some)
        here = measure(statistics, MapSet(some.tensor(), 5.0, simulation=some.simulation))
        for name in statistics:
            np.testing.assert_array_equal(there[name].vectors, here[name].vectors, err_msg=name)
            assert there[name].simulation.tolist() == some.simulation.tolist()


def test_measured_fills_a_streaming_ensemble(stored):
    statistics, ensemble = suite(stored.tensor(), 5.0, ["power", "pdf"]), StreamingEnsemble()
    expected = measure(statistics, stored)["power"]
    sizes = [
        len(ensemble.update(found["power"], labels))
        for found, labels in measured(statistics, stored)
    ]
    assert sizes == [4, 8, 12, 16, 20, 24, 28, 30]
    np.testing.assert_allclose(ensemble.covariance(), expected.covariance(), rtol=1e-10)
    assert ensemble.simulations.tolist() == [0, 1, 2]
    batches = stored.tensor().split(20)
    assert [(len(found["pdf"]), labels) for found, labels in measured(statistics, batches)] == [
        (20, None),
        (10, None),
    ]


def test_an_executor_changes_nothing(stored):
    """Other processes measure: the statistics are sent to them, the maps on disk are not."""
    statistics = suite(stored.tensor(), 5.0)
    expected = measure(statistics, stored)
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as executor:
        found = measure(statistics, stored, executor=executor)
    for name in statistics:
        np.testing.assert_allclose(
            found[name].vectors, expected[name].vectors, rtol=1e-6, err_msg=name
        )


def test_an_executor_is_not_drowned():
    """Only as many samples are drawn from a generator as keep the executor busy."""
    drawn, most = [], []

    def samples():
        for i in range(100):
            drawn.append(i)
            yield torch.zeros(1, 4, 4) + i

    counts = Statistic("mean", lambda maps: maps.mean((-2, -1))[..., None], np.zeros(1), "", "")
    with ThreadPoolExecutor(2) as executor:
        for i, (found, _) in enumerate(measured({"mean": counts}, samples(), executor=executor)):
            most.append(len(drawn) - i)
            assert found["mean"] == i
    assert len(most) == 100 and max(most) <= 2 * os.cpu_count() + 1


def test_what_fails_in_an_executor_is_raised_here():
    def broken(maps):
        raise ValueError("no such statistic")

    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="no such statistic"):
        measure(
            {"x": Statistic("x", broken, np.zeros(1), "", "")},
            torch.zeros(2, 4, 4),
            executor=executor,
        )


# ---------------------------------------------------------------- channels


@pytest.fixture
def binned() -> torch.Tensor:
    """Thirty maps of two source bins, shape ``(30, 2, 16, 16)``."""
    maps = 0.01 * torch.randn(30, 2, 16, 16, generator=torch.Generator().manual_seed(16))
    maps[:, 1] += 0.5 * maps[:, 0]
    return maps


def of_channels(maps: torch.Tensor, simulation=None) -> MapSet:
    """A set with channels, independent of what a MapSet checks when it is made."""
    found = MapSet(maps[:, 0].numpy(), 5.0, simulation=simulation)
    found.maps = maps.numpy()
    return found


def test_measure_takes_maps_of_several_channels(binned, monkeypatch):
    monkeypatch.setattr(lensnb.store.reading, "PIECE", 8 * 16 * 16)
    labels = np.repeat(np.arange(6), 5)
    statistics = suite(binned, 5.0, ["power", "pdf", "peaks", "moments"])
    expected = {name: statistic(binned) for name, statistic in statistics.items()}
    ways = {
        "tensor": (binned, labels),
        "array": (binned.numpy(), labels),
        "set": (of_channels(binned, labels), None),
        "batches": (binned.split(7), labels),
        "arrays": ((some.numpy() for some in binned.split(7)), labels),
    }
    for way, (maps, simulation) in ways.items():
        for name, ensemble in measure(statistics, maps, simulation).items():
            np.testing.assert_allclose(
                ensemble.vectors, expected[name], rtol=1e-5, atol=1e-12, err_msg=f"{way} {name}"
            )
            assert ensemble.simulation.tolist() == labels.tolist()


def test_pieces_of_a_set_count_its_channels(binned, monkeypatch):
    """Eight maps of one channel are as large as four maps of two."""
    monkeypatch.setattr(lensnb.store.reading, "PIECE", 8 * 16 * 16)
    of_two = suite(binned, 5.0, "pdf")
    of_one = suite(binned[:, 0], 5.0, "pdf")
    one = MapSet(binned[:, 0].numpy(), 5.0)
    assert [len(found["pdf"]) for found, _ in measured(of_one, one)] == [8, 8, 8, 6]
    two = of_channels(binned)
    assert [len(found["pdf"]) for found, _ in measured(of_two, two)] == [4] * 7 + [2]


def test_an_executor_measures_several_channels(binned):
    statistics = suite(binned, 5.0, ["power", "minkowski"])
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)) as executor:
        found = measure(statistics, of_channels(binned), executor=executor)
    for name, statistic in statistics.items():
        np.testing.assert_allclose(found[name].vectors, statistic(binned), rtol=1e-5)


def test_maps_of_another_shape_are_refused(binned):
    one, two = suite(binned[:, 0], 5.0, "pdf"), suite(binned, 5.0, "pdf")
    for maps, what in [
        (binned[..., :8], "the tensor of maps"),
        (binned[0, 0], "the tensor of maps"),
        (binned[0, 0].numpy(), "the array of maps"),
    ]:
        with pytest.raises(ValueError, match=f"^{what} has the shape .*; expected"):
            measure(one, maps)
    with pytest.raises(
        ValueError, match=r"'pdf' has the shape \(30, 2, 16, 16\); expected \(maps"
    ):
        measure(one, binned)
    with pytest.raises(ValueError, match=r"'pdf' has .*; expected \(maps, 2, 16, 16\)$"):
        measure(two, binned[:, 0])


def test_batches_must_be_maps_of_one_shape(binned):
    """Two maps, two sets, or maps with numbers are refused: only batches of maps are measured."""
    any_maps = {
        "mean": Statistic("mean", lambda m: m.mean((-2, -1))[:, None], np.zeros(1), "", "")
    }
    single = binned[:, 0]
    assert len(measure(any_maps, [single, single[:3]])["mean"]) == 33
    for maps, sentence in [
        ((single[0], single[1]), r"batch 0 of the maps has the shape \(16, 16\)"),
        ((single, torch.arange(30)), r"batch 1 of the maps has the shape \(30,\)"),
        ((single, single[:, :8, :8]), r"batch 1 .* \(30, 8, 8\); expected \(maps, 16, 16\)"),
        ((single, binned), r"batch 1 .* \(30, 2, 16, 16\); expected \(maps, 16, 16\)"),
        ([MapSet(single.numpy(), 5.0)], "batch 0 of the maps is a MapSet; expected a tensor"),
        ([None], "batch 0 of the maps is a NoneType"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            measure(any_maps, maps)


def test_every_map_needs_its_simulation(binned):
    statistics = suite(binned, 5.0, "pdf")
    for call in (measure, lambda *args: list(measured(*args))):
        with pytest.raises(ValueError, match="30 maps need one simulation number each, found 28"):
            call(statistics, binned, np.arange(28))
    assert measure({}, binned, np.arange(30)) == {}


# ---------------------------------------------------------------- errors


def test_jackknife_of_a_mean_is_the_textbook_error():
    x = vectors(40)
    np.testing.assert_allclose(
        Ensemble(x).mean_error(), x.std(0, ddof=1) / math.sqrt(40), rtol=1e-10
    )
    labels = np.repeat(np.arange(10), 4)
    of_simulations = x.reshape(10, 4, -1).mean(1).std(0, ddof=1) / math.sqrt(10)
    np.testing.assert_allclose(Ensemble(x, labels).mean_error(), of_simulations, rtol=1e-10)


def test_jackknife_and_bootstrap_agree_on_a_correlation():
    """Both know the error of ρ to about 15 % from 400 maps and 1,000 rounds.

    The tolerance is 4 times that: fails by chance with probability 6e-5.
    """
    rng = np.random.default_rng(7)
    x = rng.normal(size=(400, 2)) @ [[1, 0.6], [0, 0.8]]
    ensemble, rho = Ensemble(x), lambda e, w: e.correlation(w)[0, 1]
    jack = jackknife_error([rho(ensemble, w) for w in ensemble.jackknife_weights()])
    boot = bootstrap(ensemble, rho, 1000).std()
    expected = (1 - 0.36) / math.sqrt(400)
    assert jack == pytest.approx(expected, rel=0.6) and boot == pytest.approx(jack, rel=0.2)


def test_jackknife_refuses_one_simulation():
    with pytest.raises(
        ValueError, match="a jackknife over simulations needs at least two simulations, found one"
    ):
        Ensemble(vectors(6), np.zeros(6)).jackknife_weights()


def test_covariance_noise_is_the_spread_of_covariances():
    """‖Ĉ − C‖² of 300 repetitions, whose mean is known to 4 %.

    With a tolerance of 20 % it fails by chance with probability 1e-6.
    """
    mix, metric = np.random.default_rng(8).normal(size=(3, 3)), np.diag([1.0, 0.5, 2.0])
    labels, rng = np.repeat(np.arange(50), 8), np.random.default_rng(9)
    true = metric @ mix.T @ mix @ metric.T
    errors, estimates = [], []
    for _ in range(300):
        x = (math.sqrt(0.5) * (rng.normal(size=(50, 3))[labels] + rng.normal(size=(400, 3)))) @ mix
        ensemble = Ensemble(x, labels)
        errors.append(((metric @ ensemble.covariance() @ metric.T - true) ** 2).sum())
        estimates.append(covariance_noise(ensemble, metric))
    alone, clustered = np.mean(estimates, 0)
    assert clustered == pytest.approx(np.mean(errors), rel=0.2) and alone < 0.5 * clustered


def test_effective_maps():
    """Independent maps count in full, and copies count once.

    The copies are 50 maps, eight times over. The result is known to about 10 %.
    """
    rng = np.random.default_rng(10)
    x = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6))
    assert Ensemble(x).effective_maps() == pytest.approx(400, rel=0.01)
    copies = Ensemble(np.repeat(x[:50], 8, axis=0), np.repeat(np.arange(50), 8))
    assert copies.effective_maps() == pytest.approx(50, rel=0.05)
    alike = Ensemble(x, np.repeat(np.arange(50), 8))  # labelled, but independent
    assert 280 < alike.effective_maps() <= 400


# ---------------------------------------------------------------- matrices


def test_shrinkage_is_ledoit_and_wolf_on_standardised_vectors():
    from sklearn.covariance import LedoitWolf

    x = vectors(30, 12) * np.geomspace(1e-6, 1e3, 12)  # units that differ by nine powers of ten
    standard = (x - x.mean(0)) / x.std(0, ddof=1)
    found, shrinkage = shrunk_covariance(Ensemble(x))
    expected = LedoitWolf().fit(standard)
    assert shrinkage == pytest.approx(expected.shrinkage_) and 0 < shrinkage < 1
    np.testing.assert_allclose(
        found, expected.covariance_ * np.outer(*2 * [x.std(0, ddof=1)]), rtol=1e-9
    )


def test_shrinkage_brings_few_maps_nearer_to_the_truth():
    """In ten of ten draws of 15 maps with 10 weakly correlated bins."""
    true = np.eye(10) + 0.1 * (1 - np.eye(10))
    for seed in range(10):
        x = np.random.default_rng(seed).multivariate_normal(np.zeros(10), true, 15)
        distance = lambda c: ((c - true) ** 2).sum()
        assert distance(shrunk_covariance(Ensemble(x))[0]) < distance(np.cov(x.T))


def test_precision_is_unbiased():
    """Mean of 2,000 inverse covariances of 20 maps in 6 bins.

    Each of 36 elements is within 5 standard errors: fails by chance with probability 2e-5.
    """
    mix = np.random.default_rng(11).normal(size=(6, 6))
    rng, expected = np.random.default_rng(12), np.linalg.inv(mix.T @ mix)
    found = np.array([Ensemble(rng.normal(size=(20, 6)) @ mix).precision() for _ in range(2000)])
    error = found.std(0) / math.sqrt(2000)
    assert (np.abs(found.mean(0) - expected) < 5 * error).all()
    biased = found / hartlap_factor(20, 6)
    assert (np.abs(biased.mean(0) - expected) > 5 * error).any()


def test_precision_refuses_more_bins_than_maps_can_bear():
    with pytest.raises(ValueError, match="of 5 bins needs more than 7 independent maps, found 7"):
        Ensemble(vectors(7)).precision()
    with pytest.raises(
        ValueError, match="of 5 bins needs more than 7 independent maps, found 6.5"
    ):
        Ensemble(vectors(40)).precision(6.5)
    flat = vectors(40)
    flat[:, 3] = 1.0
    with pytest.raises(ValueError, match="bin 3 has no scatter"):
        Ensemble(flat).precision()


def test_hartlap_and_dodelson_schneider_are_the_published_numbers():
    assert hartlap_factor(954, 20) == pytest.approx(932 / 953)
    assert dodelson_schneider_factor(200, 30, 2) == pytest.approx(1 + 28 * 168 / (169 * 166))
    assert dodelson_schneider_factor(200, 2, 2) == 1
    with pytest.raises(ValueError, match="more than 34 independent maps, found 34"):
        dodelson_schneider_factor(34, 30, 2)
    with pytest.raises(ValueError, match="30 bins can constrain 1 to 30 parameters, found 31"):
        dodelson_schneider_factor(200, 30, 31)


def test_dodelson_and_schneider_is_what_a_fit_suffers():
    """Scatter of a parameter fitted with the inverse of a noisy covariance, over 4,000 fits.

    The factor is 1.43, and the variance is known to 2.2 %. Within 4 standard deviations: fails by
    chance with probability 6e-5.
    """
    maps, bins, rng = 40, 12, np.random.default_rng(13)
    response, fitted = np.ones(bins), []
    for _ in range(4000):
        inverse = np.linalg.inv(np.cov(rng.normal(size=(maps, bins)).T))
        fitted.append(response @ inverse @ rng.normal(size=bins) / (response @ inverse @ response))
    assert np.var(fitted) * bins == pytest.approx(
        dodelson_schneider_factor(maps, bins, 1), rel=0.09
    )


def test_gaussian_covariance_of_a_spectrum():
    """Compared with 3,000 Gaussian maps.

    Variances are known to 3 % in the widest of 6 bins and correlations to 0.018. Within 4.5 of
    these errors: fails by chance with probability 2e-4.
    """
    grid, edges = MapGrid(24, 5.0), np.array([70.0, 150, 250, 350, 450, 600, 860])
    power = lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    maps = GaussianField.from_power(grid, power).sample(3000, torch.Generator().manual_seed(14))
    spectra = power_spectrum(maps, 5.0, edges).numpy()
    expected = gaussian_power_covariance(power, grid, edges)
    kurtosis = 12 / np.array(
        [20 if high < 160 else 60 for high in edges[1:]]
    )  # of a sum of a few squares
    ratio = spectra.var(0, ddof=1) / np.diag(expected)
    assert (np.abs(ratio - 1) < 4.5 * np.sqrt((2 + kurtosis) / 3000)).all()
    assert (np.abs(off_diagonal(np.corrcoef(spectra.T))) < 4.5 / math.sqrt(3000)).all()
    assert (off_diagonal(expected) == 0).all()
    modes = GaussianField.from_power(grid, power).variance * grid.area / grid.n**2
    np.testing.assert_allclose(gaussian_power_covariance(modes, grid, edges), expected)
    with pytest.raises(ValueError, match="the ℓ bin from 10 to 20 holds no Fourier mode"):
        gaussian_power_covariance(power, grid, [10, 20])
    with pytest.raises(
        ValueError, match=r"the power of each rfft2 mode, \(24, 13\); found \(6,\)"
    ):
        gaussian_power_covariance(np.ones(6), grid, edges)


def test_one_map_has_no_covariance():
    x = moments(torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(15))).numpy()
    for one in (Ensemble(x), StreamingEnsemble().update(x)):
        np.testing.assert_allclose(one.mean(), x[0])
        for quantity in (one.covariance, one.std, one.correlation):
            with pytest.raises(ValueError, match="a covariance needs at least two maps, found 1"):
                quantity()
        with pytest.raises(ValueError, match="needs at least two simulations, found one"):
            one.mean_error()
