"""Statistics against plain numpy, scipy, scikit-image, planted maps and the closed forms of Gaussian fields.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from skimage.measure import euler_number

from lensnb.maps import ARCMIN, GaussianField, LognormalField, MapGrid
from lensnb.stats import (
    ell_edges,
    gaussian_minkowski,
    minima_counts,
    minkowski,
    moments,
    pdf,
    peak_counts,
    power_spectrum,
    suite,
)

GRID = MapGrid(32, 5.0)
EDGES = ell_edges(GRID, 8)
KAPPA = np.linspace(-0.03, 0.03, 8)


def power(ell):
    """A red spectrum of roughly the size of κ's, in sr."""
    return 1e-8 * (1 + (ell / 300) ** 2) ** -0.8


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """White noise of the size of κ, float64."""
    return 0.01 * torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


# ---------------------------------------------------------------- spectrum


@pytest.mark.parametrize("n", [15, 16])
def test_power_is_that_of_the_written_out_transform(n):
    maps, side, edges = noise(3, n, n), 5.0, np.array([0.0, 90.0, 300.0, 500.0, 700.0])
    frequency = (np.arange(n) + n // 2) % n - n // 2  # the sign of the Nyquist frequency does not matter
    wave = np.exp(-2j * np.pi * np.outer(frequency, np.arange(n)) / n)
    squares = np.abs(np.einsum("ik,mkl,jl->mij", wave, maps.numpy(), wave)) ** 2
    ell = 2 * np.pi / np.radians(side) * np.hypot(frequency[:, None], frequency)
    bins = [(ell >= low) & (ell < high) for low, high in zip(edges, edges[1:])]
    expected = np.stack([squares[:, inside].mean(1) for inside in bins], 1) * np.radians(side) ** 2 / n**4
    np.testing.assert_allclose(power_spectrum(maps, side, edges), expected, rtol=1e-10)


@pytest.mark.parametrize("n", [15, 16])
def test_power_of_all_modes_is_the_mean_square(n):
    """Parseval: the average of |κ̃|² over all N modes is the mean of κ² over the N pixels."""
    maps = noise(3, n, n)
    total = power_spectrum(maps, 5.0, [0.0, 1e6])[:, 0] * n**2 / MapGrid(n, 5.0).area
    torch.testing.assert_close(total, maps.square().mean((-2, -1)), rtol=1e-12, atol=0)


def test_power_of_white_noise_is_flat_at_the_variance_times_the_pixel_area():
    """C_ℓ = σ² A_pixel in each of 8 bins within 4σ: fails by chance with probability 5e-4."""
    maps = noise(200, GRID.n, GRID.n, seed=2)
    found = power_spectrum(maps, GRID.side_deg, EDGES).mean(0).numpy()
    modes = np.array([_weight(low, high).sum() for low, high in zip(EDGES, EDGES[1:])])
    expected = 0.01**2 * (GRID.pixel_arcmin * ARCMIN) ** 2
    np.testing.assert_array_less(np.abs(found / expected - 1), 4 * np.sqrt(2 / (200 * modes)))


def test_power_of_a_gaussian_field_is_its_input():
    """Each of 8 bins within 4σ of sample variance: fails by chance with probability 5e-4."""
    n_maps = 300
    maps = GaussianField.from_power(GRID, power).sample(n_maps, seeded(3))
    found = power_spectrum(maps, GRID.side_deg, EDGES).mean(0).numpy()
    for value, low, high in zip(found, EDGES, EDGES[1:]):
        weight, truth = _weight(low, high), power(GRID.ell).numpy()
        expected = (weight * truth).sum() / weight.sum()
        sigma = math.sqrt(2 * (weight * truth**2).sum() / n_maps) / weight.sum()
        assert abs(value - expected) < 4 * sigma


def _weight(low: float, high: float) -> np.ndarray:
    """How many modes of the full transform each ``rfft2`` mode gives to a bin."""
    return (GRID.multiplicity * ((GRID.ell >= low) & (GRID.ell < high))).numpy()


def test_power_scales_with_the_field():
    """The same pixels over twice the side: modes at half the ℓ, with four times the C_ℓ."""
    maps = noise(2, 32, 32)
    torch.testing.assert_close(power_spectrum(maps, 10.0, EDGES / 2), 4 * power_spectrum(maps, 5.0, EDGES))


def test_power_keeps_under_symmetries_and_periodic_shifts():
    maps = noise(2, 32, 32)
    expected = power_spectrum(maps, 5.0, EDGES)
    views = [v for k in range(4) for v in (maps.rot90(k, (-2, -1)), maps.rot90(k, (-2, -1)).mT)]
    views += [maps.roll((5, -11), (-2, -1)), -maps]
    for view in views:
        torch.testing.assert_close(power_spectrum(view, 5.0, EDGES), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("edges", [[10.0, 50.0], [60.0, 200.0, 201.0], [4000.0, 5000.0]])
def test_power_refuses_a_bin_without_modes(edges):
    with pytest.raises(ValueError, match=r"the ℓ bin [01] of [12] holds no Fourier mode: use wider bins"):
        power_spectrum(noise(1, 32, 32), 5.0, edges)


def test_power_of_half_and_single_precision():
    maps = noise(2, 32, 32)
    expected = power_spectrum(maps, 5.0, EDGES)
    single, half = power_spectrum(maps.float(), 5.0, EDGES), power_spectrum(maps.half(), 5.0, EDGES)
    assert single.dtype == half.dtype == torch.float64
    torch.testing.assert_close(single, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(half, expected, rtol=0.01, atol=0)  # rounding noise is 3e-4 of κ


@pytest.mark.parametrize("n", [8, 16, 33, 64, 256])
@pytest.mark.parametrize("bins", [1, 5, 12, 40])
def test_ell_edges_reach_from_the_fundamental_mode_to_nyquist(n, bins):
    grid = MapGrid(n, 5.0)
    edges = ell_edges(grid, bins)
    assert edges[0] < grid.ell_min < edges[1] and edges[-1] == grid.ell_max
    assert len(edges) <= bins + 1 and (np.diff(edges) > 0).all()
    power_spectrum(noise(1, n, n), 5.0, edges)  # refuses an empty bin


# ---------------------------------------------------------------- pixels


def test_pdf_is_the_histogram():
    maps = noise(4, 16, 16)
    expected = [np.histogram(one, KAPPA)[0] / 256 / np.diff(KAPPA) for one in maps.numpy()]
    np.testing.assert_allclose(pdf(maps, KAPPA), expected, rtol=1e-12)


def test_pdf_integrates_to_the_share_inside():
    maps, edges = noise(4, 16, 16), np.array([-0.01, 0.0, 0.002, 0.015])  # bins of different widths
    inside = ((maps >= -0.01) & (maps < 0.015)).double().mean((-2, -1))
    assert 0.5 < float(inside.min()) < float(inside.max()) < 0.9
    torch.testing.assert_close(pdf(maps, edges) @ torch.from_numpy(np.diff(edges)), inside, rtol=1e-12, atol=0)


def test_pdf_counts_a_value_on_an_edge_once():
    maps = torch.tensor([[0.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    assert pdf(maps, [0.0, 1.0, 2.0, 3.0]).tolist() == [0.25, 0.5, 0.25]


def test_moments_are_scipys():
    maps = noise(5, 16, 16).exp() + noise(5, 16, 16, seed=4) ** 2
    flat = maps.flatten(1).numpy()
    expected = np.stack([flat.var(1), scipy.stats.skew(flat, 1), scipy.stats.kurtosis(flat, 1)], 1)
    np.testing.assert_allclose(moments(maps), expected, rtol=1e-9)
    np.testing.assert_allclose(moments(maps + 3.0), expected, rtol=1e-9)


# ---------------------------------------------------------------- peaks and minima


def test_planted_peaks_are_counted_at_their_heights():
    kappa = torch.zeros(12, 12)
    for row, column, height in [(2, 2, 0.15), (2, 6, 0.25), (6, 2, 0.25), (6, 6, 0.95), (9, 9, 1.5)]:
        kappa[row, column] = height
    assert peak_counts(kappa, [0.1, 0.2, 0.3, 1.0]).tolist() == [1, 2, 1]  # 1.5 lies outside
    assert peak_counts(kappa, [0.1, math.inf]).tolist() == [5]


def test_of_two_neighbours_the_higher_is_a_peak_along_all_eight_directions():
    for row, column in [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]:
        kappa = torch.zeros(9, 9)
        kappa[4, 4], kappa[4 + row, 4 + column] = 0.3, 0.2
        assert peak_counts(kappa, [0.1, 0.25, 0.5]).tolist() == [0, 1]


def test_plateaus_and_edges_are_no_peaks():
    flat, plateau, edge = (torch.zeros(9, 9) for _ in range(3))
    plateau[4, 4] = plateau[4, 5] = 1.0
    for row, column in [(0, 4), (8, 4), (4, 0), (4, 8), (0, 0), (8, 8)]:
        edge[row, column] = 1.0
    everywhere = [-math.inf, math.inf]
    maps = torch.stack([flat, plateau, edge])
    assert peak_counts(maps, everywhere).tolist() == [[0], [0], [0]]
    assert minima_counts(-maps, everywhere).tolist() == [[0], [0], [0]]


def test_peaks_are_those_of_a_maximum_filter():
    maps = noise(3, 20, 20)
    around = np.ones((3, 3))
    around[1, 1] = 0
    expected = []
    for one in maps.numpy():
        is_peak = one > scipy.ndimage.maximum_filter(one, footprint=around)
        expected.append(np.histogram(one[1:-1, 1:-1][is_peak[1:-1, 1:-1]], KAPPA)[0])
    np.testing.assert_array_equal(peak_counts(maps, KAPPA), expected)
    assert np.sum(expected) > 50


def test_one_pixel_of_white_noise_in_nine_is_a_peak():
    """Each of 9 pixels is as likely to be the highest; within 4σ of the maps' scatter: fails with probability 6e-5."""
    counts = peak_counts(noise(200, 32, 32, seed=5), [-math.inf, math.inf])[:, 0]
    assert abs(float(counts.mean()) - 30**2 / 9) < 4 * float(counts.std()) / math.sqrt(200)


def test_minima_are_the_peaks_of_the_negative():
    maps = noise(3, 20, 20)
    expected = peak_counts(-maps, -KAPPA[::-1].copy()).flip(-1)
    assert torch.equal(minima_counts(maps, KAPPA), expected) and float(expected.sum()) > 50


# ---------------------------------------------------------------- Minkowski functionals


def gaussian_levels(sigma: float) -> np.ndarray:
    return sigma * np.linspace(-2.5, 2.5, 11)


def bin_averages(edges: np.ndarray, sigma0: float, sigma1: float) -> np.ndarray:
    """The closed forms, V₁ and V₂ averaged over each bin (Gauss–Legendre), shape ``(3, bins)``."""
    node, weight = np.polynomial.legendre.leggauss(8)
    centre, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges)[:, None] / 2
    nu = centre[:, None] + half * node
    fine = gaussian_minkowski(nu.ravel(), sigma0, sigma1).reshape(3, len(centre), 8) @ (weight / 2)
    return np.stack([gaussian_minkowski(centre, sigma0, sigma1).reshape(3, -1)[0], fine[1], fine[2]])


def field_sigma(field: GaussianField, response=1.0) -> float:
    """Standard deviation of the field after a linear filter with the squared ``response`` in each mode."""
    weight = MapGrid(field.n, 1.0).multiplicity * field.variance
    return math.sqrt(float((weight * response).sum()) / field.n**2)


def test_minkowski_of_a_resolved_gaussian_field():
    """The closed forms with σ₁² = Σ ℓ² C; 30 numbers within 4 standard errors: fails by chance with probability 2e-3.

    The spectrum ends at a 29th of the Nyquist frequency, so that finite differences are only 0.6 % low in σ₁².
    """
    grid, n_maps = MapGrid(128, 5.0), 60
    field = GaussianField.from_power(grid, lambda ell: 1e-8 * torch.exp(-((ell / 160) ** 2)) + 1e-18)
    sigma0, sigma1 = field_sigma(field), field_sigma(field, (grid.ell * ARCMIN) ** 2)
    edges = gaussian_levels(sigma0)
    found = minkowski(field.sample(n_maps, seeded(6)).double(), grid.side_deg, edges).numpy()
    error = found.std(0, ddof=1) / math.sqrt(n_maps)
    assert (np.abs(found.mean(0) - bin_averages(edges, sigma0, sigma1).ravel()) < 4 * error).all()


def test_minkowski_of_a_rough_gaussian_field_as_discretised():
    """Finite differences of a Gaussian field are Gaussian: V₁ has the closed form with the variance of the central
    difference, V₂ with the correlation of κ and its second difference. 30 numbers within 4 standard errors: fails by
    chance with probability 2e-3.
    """
    n_maps, step = 400, GRID.pixel_arcmin
    field = GaussianField.from_power(GRID, power)
    row, column = (GRID.ell_min * ARCMIN * step * torch.fft.fftfreq(32, 1 / 32, dtype=torch.float64) for _ in range(2))
    column = column[:17].abs()
    first = (row.sin() ** 2)[:, None] + column.sin() ** 2
    second = (2 - 2 * row.cos())[:, None] + (2 - 2 * column.cos())
    sigma0 = field_sigma(field)
    slope, curve = field_sigma(field, first / step**2), field_sigma(field, second / step**2)
    assert curve > 1.2 * slope  # so rough that the two differ
    edges = gaussian_levels(sigma0)
    expected = np.r_[bin_averages(edges, sigma0, slope)[:2].ravel(), bin_averages(edges, sigma0, curve)[2]]
    found = minkowski(field.sample(n_maps, seeded(7)), GRID.side_deg, edges).numpy()
    error = found.std(0, ddof=1) / math.sqrt(n_maps)
    assert (np.abs(found.mean(0) - expected) < 4 * error).all()


def test_v0_is_the_share_of_pixels_above():
    maps = noise(3, 16, 16)
    centre = (KAPPA[1:] + KAPPA[:-1]) / 2
    expected = [[(one[1:-1, 1:-1] >= nu).mean() for nu in centre] for one in maps.numpy()]
    np.testing.assert_allclose(minkowski(maps, 5.0, KAPPA)[:, :7], expected, rtol=1e-12)


PLANE = torch.meshgrid(*2 * [torch.arange(300, dtype=torch.float64)], indexing="ij")


def hill(row, column, height):
    return height * torch.exp(-((PLANE[0] - row) ** 2 + (PLANE[1] - column) ** 2) / (2 * 14.0**2))


def ring(row, column):
    radius = torch.hypot(PLANE[0] - row, PLANE[1] - column)
    return 0.75 * torch.exp(-((radius - 42) ** 2) / (2 * 9.0**2))


HILLS = hill(60.2, 60.6, 1.0) + hill(60.2, 105.1, 0.8) + hill(70.4, 220.8, 0.9)  # a saddle joins the first two
RINGS = ring(200.3, 90.7) + ring(200.3, 174.2)  # they touch, which makes a figure of eight


@pytest.mark.parametrize(
    "kappa, low, high, expected",
    [
        (HILLS, 0.15, 0.35, 2), (HILLS, 0.6, 0.75, 3), (HILLS, 0.82, 0.88, 2), (HILLS, 0.92, 0.98, 1),
        (RINGS, 0.15, 0.3, -1), (RINGS, 0.5, 0.65, -1), (HILLS + RINGS, 0.15, 0.3, 1), (HILLS + RINGS, 0.6, 0.7, 2),
    ],
)  # fmt: skip
def test_v2_is_the_euler_number_a_unit_area(kappa, low, high, expected):
    """Gauss–Bonnet: the curvature along a set's edge, over 2π, is its Euler number; an integer, so 0.1 is close."""
    for nu in np.linspace(low, high, 5):
        assert euler_number(kappa.numpy() >= nu, connectivity=1) == expected
    area = (298 * MapGrid(300, 5.0).pixel_arcmin) ** 2
    assert float(minkowski(kappa, 5.0, [low, high])[2]) * area == pytest.approx(expected, abs=0.1)


def test_v1_is_a_quarter_of_the_boundary_length():
    """A cone's excursion sets are discs: V₁ = 2πr / 4A, to the 1 % that its pixels allow."""
    y, x = torch.meshgrid(*2 * [torch.arange(200, dtype=torch.float64)], indexing="ij")
    cone, pixel = -torch.hypot(y - 99.3, x - 99.8), MapGrid(200, 5.0).pixel_arcmin
    edges = np.array([-80.0, -70.0, -60.0, -50.0, -40.0])
    v1 = minkowski(cone, 5.0, edges)[4:8].numpy()
    radius = np.array([75.0, 65.0, 55.0, 45.0])  # in pixels; the average over a bin is that at its centre
    np.testing.assert_allclose(v1, 2 * np.pi * radius / (4 * 198**2 * pixel), rtol=0.01)


def test_minkowski_units_are_arcminutes():
    maps = noise(2, 16, 16)
    small, large = (minkowski(maps, side, KAPPA).reshape(2, 3, -1) for side in (5.0, 10.0))
    torch.testing.assert_close(large, small / torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)[:, None])


# ---------------------------------------------------------------- the suite


@pytest.fixture(scope="module")
def skewed() -> torch.Tensor:
    """Lognormal κ-maps, float32, shape ``(300, 32, 32)``."""
    variance = GaussianField.from_power(GRID, power).variance
    return LognormalField.from_correlation(variance, 0.03).sample(300, seeded(8))


NAMES = ["power", "pdf", "moments", "peaks", "minima", "minkowski"]


def test_the_suite_has_the_statistics_of_the_report(skewed):
    assert list(suite(skewed, 5.0)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_statistic_is_one_finite_vector_a_map_whatever_the_batch(skewed, name):
    statistic = suite(skewed, 5.0)[name]
    vectors = statistic(skewed[:50])
    assert statistic.name == name and vectors.shape == (50, len(statistic.x)) and vectors.dtype == np.float64
    assert np.isfinite(vectors).all() and (vectors.std(0) > 0).any()
    np.testing.assert_allclose(statistic(skewed[:50], batch=7), vectors, rtol=1e-12)
    np.testing.assert_allclose(statistic(skewed[49:50]), vectors[49:], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_statistic_keeps_leading_dimensions(skewed, name):
    function = suite(skewed, 5.0)[name].function
    flat = function(skewed[:6])
    torch.testing.assert_close(function(skewed[:6].reshape(2, 3, 32, 32)), flat.reshape(2, 3, -1), rtol=1e-12, atol=0)
    torch.testing.assert_close(function(skewed[0]), flat[0], rtol=1e-12, atol=0)


def test_the_suites_bins_lie_within_the_reference(skewed):
    """The PDF's bins leave out ten pixels in a hundred maps at either end: 60 of these 300 maps in all."""
    statistics = suite(skewed, 5.0)
    bins = statistics["pdf"].x
    share = statistics["pdf"](skewed).mean(0).sum() * (bins[1] - bins[0])
    assert share == pytest.approx(1 - 60 / skewed.numel(), abs=2 / skewed.numel())
    for name in ("peaks", "minima", "minkowski"):
        assert float(skewed.min()) < statistics[name].x.min() < statistics[name].x.max() < float(skewed.max())
