"""Two covariances compared: eigenvalues, contour area, directions, effective number of maps.

Statistical tests use fixed seeds. Each states how often correct code would fail it with another
seed.
"""

import math

import numpy as np
import pytest
import torch

from lensnb.compare import amplitude_and_tilt, judge
from lensnb.compare.covariance import (
    Coordinates,
    contour_area,
    eigenvectors,
    variance_ratios,
)
from lensnb.compare.directions import extreme_directions
from lensnb.compare.effective import EffectiveMaps, expected_loss
from lensnb.compare.verdict import judge_joint
from lensnb.ensemble import Ensemble
from lensnb.maps import GaussianField, MapGrid
from lensnb.stats import ell_edges, suite

K = 10
MIX = np.random.default_rng(0).normal(size=(K, K))


def draw(n: int, seed: int, factor: float = 1.0) -> np.ndarray:
    """Correlated Gaussian vectors, standard deviations ``factor`` × the true ones, ``(n, 10)``."""
    return factor * (np.random.default_rng(seed).normal(size=(n, K)) @ MIX.T)


def exact(covariance: np.ndarray, responses=None) -> Coordinates:
    """Coordinates of a known covariance without noise."""
    values, vectors = np.linalg.eigh(covariance)
    metric = (vectors / np.sqrt(values)).T
    return Coordinates(metric, None if responses is None else metric @ responses)


def test_known_covariances_have_known_distances():
    """C_G has variances 0.5, 1, …, 1, 3 along the axes of C_T; the area in closed form."""
    true = MIX @ MIX.T
    values, vectors = np.linalg.eigh(true)
    ratios = np.array([0.5, *np.ones(8), 3.0])
    ours = vectors @ np.diag(values * ratios) @ vectors.T
    responses = vectors[:, [0, 9]] * [1.0, 2.0]  # two parameters along the two axes that are off
    eigenvalues = variance_ratios(ours, true, exact(true, responses))
    area = contour_area(ours, true, exact(true, responses))
    np.testing.assert_allclose(eigenvalues, np.sort(ratios), rtol=1e-9)
    # each side of a contour is proportional to the root of the variance
    assert area == pytest.approx(math.sqrt(0.5 * 3.0))


def test_a_covariance_without_inverse_has_no_area():
    true = MIX @ MIX.T
    few = np.cov(draw(5, 1).T)  # five maps in ten bins
    coordinates = exact(true, np.ones((K, 2)))
    eigenvalues = variance_ratios(few, true, coordinates)
    area = contour_area(few, true, coordinates)
    assert eigenvalues[0] == pytest.approx(0, abs=1e-9)
    assert np.isnan(area)


def test_many_draws_at_once_give_what_each_gives_alone():
    """Also beside a draw whose covariances have no inverse."""
    responses = np.random.default_rng(3).normal(size=(K, 2))
    coordinates = exact(MIX @ MIX.T, responses)
    ours = np.array([np.cov(draw(n, 10 + n).T) for n in (50, 5, 60)])
    true = np.array([np.cov(draw(n, 20 + n).T) for n in (55, 65, 4)])
    eigenvalues = variance_ratios(ours, true, coordinates)
    area = contour_area(ours, true, coordinates)
    for i in range(3):
        alone = variance_ratios(ours[i], true[i], coordinates)
        np.testing.assert_allclose(eigenvalues[i], alone, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(area[i], contour_area(ours[i], true[i], coordinates))
    assert np.isfinite(area).tolist() == [True, False, False]


def test_the_contour_area_of_true_maps_has_no_bias():
    """Two hundred maps beside 300, ten bins: the mean over 60 seeds is 1.

    Within 4 standard errors of the mean: fails by chance with probability 6e-5. Without the
    correction by the bootstrap it would be 0.98.
    """
    responses = {"only": MIX[:, :2]}
    found = []
    for seed in range(60):
        joint = {"g": Ensemble(draw(200, seed)), "t": Ensemble(draw(300, 500 + seed))}
        verdicts = judge_joint(
            joint, {"only": slice(0, K)}, [("g", "t")], {"t": K}, responses, 40, seed
        )
        found.append(float(verdicts["t"]["g"]["only"].area.value))
    error = np.std(found, ddof=1) / math.sqrt(60)
    assert abs(np.mean(found) - 1) < 4 * error < 0.06


# ---------------------------------------------------------------- effective number of maps


def stein(covariance: np.ndarray) -> float:
    """Stein's loss beside the known covariance."""
    white = np.linalg.solve(MIX, np.linalg.solve(MIX, covariance).T)
    inverse = np.linalg.inv(white)
    return float(np.trace(inverse) - np.linalg.slogdet(inverse)[1] - K)


def test_the_expected_loss_is_that_of_drawn_covariances():
    """Of 25 and of 100 maps, over 2,000 draws, within 4 standard errors (6e-5 each)."""
    rng = np.random.default_rng(1)
    for maps in (25, 100):
        losses = [stein(np.cov((rng.normal(size=(maps, K)) @ MIX.T).T)) for _ in range(2000)]
        error = np.std(losses) / math.sqrt(len(losses))
        assert abs(np.mean(losses) - expected_loss(maps, K)) < 4 * error
    with pytest.raises(ValueError, match="needs more than 12 maps, found 12"):
        expected_loss(12, K)


def maps_with_loss(loss: float) -> float:
    """The number of true maps whose covariances have this loss on average, by bisection."""
    low, high = K + 3.0, 1e7
    while high / low > 1.0001:
        middle = math.sqrt(low * high)
        if expected_loss(middle, K) > loss:
            low = middle
        else:
            high = middle
    return low


def lost(share: float, n: int, seed: int) -> np.ndarray:
    """Vectors whose correlations are ``share`` of the true ones."""
    covariance = MIX @ MIX.T
    mixed = share * covariance + (1 - share) * np.diag(covariance.diagonal())
    return np.random.default_rng(seed).normal(size=(n, K)) @ np.linalg.cholesky(mixed).T


def resampled(pool: int, n: int, seed: int) -> np.ndarray:
    return draw(pool, seed)[np.random.default_rng(seed).integers(pool, size=n)]


GENERATED = {
    "same": lambda seed: draw(2000, seed),
    "scatter 0.8": lambda seed: draw(2000, seed, 0.8),
    "scatter 0.9": lambda seed: draw(2000, seed, 0.9),
    "scatter 1.1": lambda seed: draw(2000, seed, 1.1),
    "scatter 1.25": lambda seed: draw(2000, seed, 1.25),
    "correlations 0.75": lambda seed: lost(0.75, 2000, seed),
    "correlations 0.9": lambda seed: lost(0.9, 2000, seed),
    "resampled 50": lambda seed: resampled(50, 2000, seed),
    "resampled 200": lambda seed: resampled(200, 2000, seed),
    "100 true maps": lambda seed: draw(100, seed),
    "300 true maps": lambda seed: draw(300, seed),
}


@pytest.fixture(scope="module")
def worth():
    """1/N, its error and the exact value, of each set for ten seeds, beside 4,000 true maps."""
    found = {name: [] for name in GENERATED}
    for seed in range(10):
        truth = EffectiveMaps(Ensemble(draw(4000, 1000 + seed)), K, seed)
        for name, make in GENERATED.items():
            vectors = make(seed)
            one = truth.of(Ensemble(vectors))
            exact_value = 1 / maps_with_loss(stein(np.cov(vectors.T)))
            found[name].append((float(one.value), float(one.error), exact_value))
    return {name: np.array(rows).T for name, rows in found.items()}


@pytest.mark.parametrize("name", GENERATED)
def test_effective_maps_are_as_exact(worth, name):
    """The mean of 1/N over ten seeds lies within 15 % of the exact one, from the known covariance.

    At least eight of the ten 95 % ranges cover it. With a true coverage of 95 %, fewer do in 1 %
    of cases.
    """
    value, error, exact_value = worth[name]
    assert value.mean() == pytest.approx(exact_value.mean(), rel=0.15)
    assert (np.abs(value - exact_value) < 1.96 * error).sum() >= 8


def test_n_true_maps_count_as_n(worth):
    """The mean of 1/N over ten draws: 15 %, which is 3 standard errors for 100 maps."""
    for maps in (100, 300):
        value = worth[f"{maps} true maps"][0]
        assert 1 / value.mean() == pytest.approx(maps, rel=0.15)
    assert 1 / worth["same"][0].mean() == pytest.approx(2000, rel=0.15)


def test_lost_correlations_are_dear():
    """Strongly correlated bins without any correlation are worth less than 60 maps."""
    rng, bins = np.random.default_rng(3), 32
    apart = np.abs(np.subtract.outer(np.arange(bins), np.arange(bins)))
    root = np.linalg.cholesky(0.15 + 0.85 * np.exp(-apart / 4))
    truth = EffectiveMaps(Ensemble(rng.normal(size=(4000, bins)) @ root.T), bins)
    found = truth.of(Ensemble(rng.normal(size=(2000, bins))))
    assert found.eigenvectors == bins
    assert float(found.value) > 1 / 60


def test_maps_of_few_simulations_are_worth_less_than_their_number():
    """Forty simulations of 25 maps that share a third of their variance: between 40 and 1,000."""
    simulation, rng = np.repeat(np.arange(40), 25), np.random.default_rng(2)
    x = (
        math.sqrt(0.36) * rng.normal(size=(40, K))[simulation] + 0.8 * rng.normal(size=(1000, K))
    ) @ MIX.T
    boxes = Ensemble(x, simulation)
    effective = boxes.effective_maps()
    assert 150 < effective < 500
    found = judge(boxes, Ensemble(draw(4000, 1003)), rounds=5).inverse_maps
    assert found.expected == pytest.approx(1 / effective, rel=0.3)  # in another metric
    assert abs(found.value - 1 / effective) < 4 * found.error


def test_copies_of_few_maps_in_boxes_are_judged():
    """Twelve maps, copied into boxes: their covariance has hardly an inverse."""
    few = draw(12, 8)[np.random.default_rng(8).integers(12, size=300)]
    found = judge(Ensemble(few, np.repeat(np.arange(60), 5)), Ensemble(draw(400, 9)), rounds=5)
    assert not found.inverse_maps.value < 1 / 30


def test_a_truth_that_does_not_know_its_covariance_judges_none():
    """One bin has the scatter of three maps in four hundred: it looked infinitely good before."""
    truth, sample = draw(400, 1), draw(400, 2)
    truth[:, 0], sample[:, 0] = 0.001 * truth[:, 0], 0.0001 * sample[:, 0]
    truth[[7, 70, 300], 0] += 1000.0
    assert np.isnan(EffectiveMaps(Ensemble(truth), K).of(Ensemble(sample)).value)


def test_a_bin_that_never_varies_is_worth_the_fewest_maps():
    """It looked infinitely good before: the two signs of a determinant of rounding errors."""
    flat = draw(400, 3)
    flat[:, 4] = flat[:, 5]
    flat[:, 6] = 1.0
    found = EffectiveMaps(Ensemble(draw(400, 4)), K).of(Ensemble(flat))
    assert 1 / float(found.value) == pytest.approx(K + 2)
    assert found.loss == math.inf


def test_too_few_maps_have_no_effective_number():
    truth = Ensemble(draw(400, 1))
    assert np.isnan(judge(Ensemble(draw(7, 2)), truth, rounds=5).inverse_maps.value)
    two_boxes = Ensemble(draw(400, 1), np.repeat([0, 1], 200))
    assert np.isnan(EffectiveMaps(two_boxes, K).of(truth).value)


def test_a_matrix_is_judged_as_the_maps_that_it_came_from():
    """Without the noise of the maps in its error."""
    truth, vectors = EffectiveMaps(Ensemble(draw(4000, 5)), K), draw(200, 6)
    of_maps = truth.of(Ensemble(vectors))
    of_matrix = truth.of_covariance(np.cov(vectors.T))
    assert of_matrix.value == pytest.approx(float(of_maps.value), rel=1e-6)
    assert 0 < of_matrix.error < 0.5 * of_maps.error
    assert of_matrix.dof == 3999 and np.isnan(of_matrix.expected)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_a_known_covariance_is_worth_what_its_loss_says(factor):
    """Within 4 errors of the exact 1/N beside 2,000 true maps, for five seeds (3e-4 in all)."""
    known = 0.0
    if factor != 1:
        known = 1 / maps_with_loss(K * (1 / factor + math.log(factor) - 1))
    for seed in range(5):
        truth = EffectiveMaps(Ensemble(draw(2000, 2000 + seed)), K, seed)
        found = truth.of_covariance(factor * MIX @ MIX.T)
        assert abs(found.value - known) < 4 * found.error < 0.01


def test_a_matrix_that_cannot_be_judged():
    truth = EffectiveMaps(Ensemble(draw(400, 1)), K)
    with pytest.raises(ValueError, match=r"shape \(10, 10\); found \(3, 3\)"):
        truth.of_covariance(np.eye(3))
    singular = truth.of_covariance(np.zeros((K, K)))
    assert singular.loss == math.inf and 1 / singular.value == pytest.approx(K + 2)
    two_boxes = Ensemble(draw(400, 1), np.repeat([0, 1], 200))
    assert np.isnan(EffectiveMaps(two_boxes, K).of_covariance(np.eye(K)).value)


# ---------------------------------------------------------------- directions


def test_extreme_directions_of_true_maps_have_no_bias():
    """Means over 60 seeds within 4 standard errors of 1 (6e-5 each), and errors are the spread.

    The extreme eigenvalues of the same sets are 0.66 and 1.5.
    """
    found = []
    for seed in range(60):
        sample, truth = Ensemble(draw(200, seed)), Ensemble(draw(300, 500 + seed))
        found.append(
            [(float(e.value), float(e.error)) for e in extreme_directions(sample, truth, K, seed)]
        )
    for which in np.array(found).transpose(1, 2, 0):
        value, error = which
        spread = value.std(ddof=1)
        assert abs(value.mean() - 1) < 4 * spread / math.sqrt(60)
        assert spread == pytest.approx(math.sqrt((error**2).mean()), rel=0.4)


def test_a_planted_direction_is_found():
    """One combination of bins varies half as much, another twice as much."""
    values, vectors = np.linalg.eigh(MIX @ MIX.T)
    factors = np.ones(K)
    factors[2], factors[6] = 0.5, 2.0
    ours = np.random.default_rng(1).normal(size=(1000, K)) * np.sqrt(values * factors)
    sample, truth = Ensemble(ours @ vectors.T), Ensemble(draw(1000, 2))
    narrowest, widest = extreme_directions(sample, truth, K)
    assert abs(narrowest.value - 0.5) < 4 * narrowest.error < 0.3
    assert abs(widest.value - 2.0) < 4 * widest.error < 1.2


def test_coordinates_make_the_reference_a_unit_matrix():
    x = Ensemble(draw(500, 4))
    at = Coordinates.of(x, 6)
    np.testing.assert_allclose(at.metric @ x.covariance() @ at.metric.T, np.eye(6), atol=1e-9)
    assert Coordinates.of(x, 100).metric.shape == (K, K)
    flat = draw(500, 4)
    flat[:, 3] = 1.0
    assert Coordinates.of(Ensemble(flat), 100).metric.shape == (K - 1, K)


def test_eigenvectors_are_set_by_the_poorest_true_set():
    rich, poor = Ensemble(draw(300, 5)), Ensemble(draw(100, 6))
    assert eigenvectors([rich]) in (14, 15)
    assert eigenvectors([rich, poor]) in (4, 5)
    assert eigenvectors([Ensemble(draw(4, 7))]) == 1
    assert eigenvectors([Ensemble(draw(2000, 5))]) == 32


def test_responses_of_the_variance_are_exact():
    """⟨κ²⟩ goes with (1 + a)²; with the tilt as Σ C_ℓ (ℓ/ℓ₀)^(2t)."""
    grid = MapGrid(32, 5.0)
    field = GaussianField.from_power(grid, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8)
    maps = field.sample(20, torch.Generator().manual_seed(8))
    maps = maps - maps.mean((1, 2), keepdim=True)
    statistics = {name: suite(maps, 5.0)[name] for name in ("power", "moments")}
    found = amplitude_and_tilt(maps, 5.0, statistics)
    variance = float(maps.double().square().mean())
    assert found["moments"][0, 0] == pytest.approx(2 * variance, rel=1e-4)
    np.testing.assert_allclose(
        found["moments"][1:3, 0], 0, atol=1e-4
    )  # skewness and kurtosis have no amplitude
    power = statistics["power"](maps).mean(0)
    np.testing.assert_allclose(found["power"][:, 0], 2 * power, rtol=1e-4)
    # the tilt multiplies each mode's power by (ℓ/ℓ₀)^(2t)
    pivot = math.sqrt(grid.ell_min * float(grid.ell.max()))
    logarithm = (grid.ell.clamp(min=grid.ell_min) / pivot).log()
    modes = (
        torch.fft.rfft2(maps.double(), norm="ortho").abs().square().mean(0) * grid.area / grid.n**2
    )
    edges = ell_edges(grid)
    for k, (low, high) in enumerate(zip(edges, edges[1:])):
        weight = grid.multiplicity * ((grid.ell >= low) & (grid.ell < high))
        expected = float((weight * modes * 2 * logarithm).sum() / weight.sum())
        assert found["power"][k, 1] == pytest.approx(expected, rel=0.01, abs=1e-11)


@pytest.mark.parametrize("common", [0.0, 0.3, 3.0])
def test_area_of_true_maps_is_one_also_where_correlations_are_weak(common):
    """Sixteen pairs of 768 maps. Directions chosen by the same maps would give 0.81, 0.91 and 0.89."""
    rng = np.random.default_rng(0)
    bins = 60
    responses = np.stack([np.ones(bins), np.linspace(-1, 1, bins)], 1)

    def drawn() -> Ensemble:
        vectors = rng.standard_normal((768, bins)) + common * rng.standard_normal((768, 1))
        return Ensemble(vectors, np.repeat(np.arange(24), 32))

    areas = []
    for seed in range(16):
        joint = {"sample": drawn(), "truth": drawn()}
        verdicts = judge_joint(
            joint,
            {"only": slice(0, bins)},
            [("sample", "truth")],
            {"truth": eigenvectors([joint["truth"]])},
            {"only": responses},
            rounds=60,
            seed=seed,
        )
        areas.append(float(verdicts["truth"]["sample"]["only"].area.value))
    error = np.std(areas, ddof=1) / np.sqrt(len(areas))
    assert abs(np.mean(areas) - 1) < 3 * error < 0.07
