"""Fields with exact answers, against explicit matrices, autograd, scipy and closed forms.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math
import re

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch

from lensnb.data import MapSet
from lensnb.maps import GaussianField, LognormalField, MapGrid, smooth
from lensnb.maps.fields import mode_power
from lensnb.models import BandPowers
from lensnb.shear import add_shape_noise, shape_noise_sigma
from lensnb.transform import KappaTransform

GRID = MapGrid(32, 5.0)


def power(ell):
    """A red spectrum of roughly the size of κ's, in sr."""
    return 1e-8 * (1 + (ell / 300) ** 2) ** -0.8


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetries(maps):
    """The 8 images of maps ``(..., n, n)`` under the symmetries of the square."""
    return [
        view for k in range(4) for view in (maps.rot90(k, (-2, -1)), maps.rot90(k, (-2, -1)).mT)
    ]


def anisotropic_field(n: int, mean: float = 0.3) -> GaussianField:
    """A field whose modes all differ, save for the 8 symmetries; float64."""
    return GaussianField(
        mode_power(torch.randn(1, n, n, generator=seeded(n), dtype=torch.float64)), mean
    )


def covariance_matrix(field: GaussianField) -> np.ndarray:
    """The pixel covariance F† diag(λ) F with the Fourier matrix written out, shape ``(n², n²)``."""
    n = field.n
    along = np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) / math.sqrt(n)
    fourier = np.kron(along, along)
    columns = np.minimum(
        np.arange(n), n - np.arange(n)
    )  # λ(i, j) = λ(−i, −j) = λ(i, −j) under the symmetries
    eigenvalues = field.variance.numpy()[:, columns].ravel()
    matrix = fourier.conj().T @ np.diag(eigenvalues) @ fourier
    assert np.abs(matrix.imag).max() < 1e-12
    return matrix.real


# ---------------------------------------------------------------- grid


def test_grid_numbers():
    grid = MapGrid(64, 5.0)
    assert grid.pixel_arcmin == 5 * 60 / 64
    assert grid.area == pytest.approx((5 * math.pi / 180) ** 2)
    assert grid.ell_min == pytest.approx(360 / 5)
    assert grid.ell_max == pytest.approx(180 * 60 / grid.pixel_arcmin)


@pytest.mark.parametrize("n", [7, 8])
def test_grid_modes_are_those_of_the_full_transform(n):
    grid = MapGrid(n, 5.0)
    full = grid.ell_min * np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(n, 1 / n)], indexing="ij"))
    np.testing.assert_allclose(grid.ell, full[:, : n // 2 + 1])
    assert float((grid.multiplicity * grid.ell**2).sum()) == pytest.approx((full**2).sum())
    assert float(grid.multiplicity.sum()) == n * n


@pytest.mark.parametrize("n, side", [(1, 5.0), (0, 5.0), (16, 0.0), (16, -1.0), (16, math.nan)])
def test_grid_refuses(n, side):
    with pytest.raises(
        ValueError, match="a grid needs at least 2 pixels|side_deg must be the side of the field"
    ):
        MapGrid(n, side)


# ---------------------------------------------------------------- mode power


@pytest.mark.parametrize("n", [7, 8])
def test_mode_power_obeys_parseval(n):
    maps = torch.randn(5, n, n, generator=seeded(1), dtype=torch.float64)
    total = (MapGrid(n, 1.0).multiplicity * mode_power(maps)).sum()
    assert float(total) == pytest.approx(float(maps.square().sum() / 5))


@pytest.mark.parametrize("n", [7, 8])
def test_mode_power_is_the_same_for_all_eight_images(n):
    maps = torch.randn(2, n, n, generator=seeded(2), dtype=torch.float64)
    expected = mode_power(maps)
    for view in symmetries(maps):
        torch.testing.assert_close(mode_power(view), expected, rtol=1e-12, atol=1e-12)
    half = n // 2 + 1
    torch.testing.assert_close(expected[:half, :half], expected[:half, :half].T)
    torch.testing.assert_close(expected[1:], expected[1:].flip(0))


def test_mode_power_of_a_plane_wave():
    x = torch.arange(16, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * 3 * x / 16).expand(1, 16, 16)
    measured = mode_power(wave)
    expected = torch.zeros(16, 9, dtype=torch.float64)
    expected[0, 3] = expected[3, 0] = expected[13, 0] = (
        0.5 * 0.25 * 256
    )  # half of |κ̃|² along each axis
    torch.testing.assert_close(measured, expected, rtol=1e-12, atol=1e-12)


def test_mode_power_does_not_depend_on_batches():
    maps = torch.randn(600, 8, 8, generator=seeded(3))
    torch.testing.assert_close(
        mode_power(maps), (mode_power(maps[:300]) + mode_power(maps[300:])) / 2
    )


# ---------------------------------------------------------------- Gaussian field


def test_sampled_power_is_the_input():
    """Eight bins, each within 4σ of sample variance: fails by chance with probability 5e-4."""
    field, n_maps = GaussianField.from_power(GRID, power), 300
    measured = mode_power(field.sample(n_maps, seeded(4))) * GRID.area / GRID.n**2
    ratio = measured / power(GRID.ell.clamp(min=GRID.ell_min))
    edges = torch.linspace(0, float(GRID.ell.max()) * 1.001, 9, dtype=torch.float64)
    for low, high in zip(edges, edges[1:]):
        weight = GRID.multiplicity * ((GRID.ell >= low) & (GRID.ell < high))
        sigma = math.sqrt(2 / (n_maps * float(weight.sum())))
        assert abs(float((weight * ratio).sum() / weight.sum()) - 1) < 4 * sigma


def test_sampled_pixel_variance_is_the_sum_of_eigenvalues():
    """Within 4σ: fails by chance with probability 6e-5."""
    field, n_maps, pixels = GaussianField.from_power(GRID, power), 300, GRID.n**2
    expected = float((GRID.multiplicity * field.variance).sum()) / pixels
    sigma = math.sqrt(2 * float((GRID.multiplicity * field.variance**2).sum()) / n_maps) / pixels
    assert (
        abs(float(field.sample(n_maps, seeded(5)).double().square().mean()) - expected) < 4 * sigma
    )


def test_sampled_covariance_is_the_explicit_matrix():
    """Whitened by the explicit matrix, the samples' χ² is within 4σ: fails by chance with probability 6e-5."""
    field, n_maps = anisotropic_field(4), 4000
    deviation = (field.sample(n_maps, seeded(6)).double().numpy() - 0.3).reshape(n_maps, -1)
    white = np.linalg.solve(np.linalg.cholesky(covariance_matrix(field)), deviation.T)
    scatter = white @ white.T / n_maps - np.eye(16)
    dof = 16 * 17 / 2  # independent elements; diagonal ones have variance 2 / N, the others 1 / N
    chi2 = n_maps * (np.triu(scatter, 1) ** 2).sum() + n_maps / 2 * (np.diag(scatter) ** 2).sum()
    assert abs(chi2 - dof) < 4 * math.sqrt(2 * dof)


@pytest.mark.parametrize("n", [7, 8])
def test_log_prob_is_that_of_the_multivariate_normal(n):
    field = anisotropic_field(n)
    x = field.sample(6, seeded(7)).double()
    exact = scipy.stats.multivariate_normal(np.full(n * n, 0.3), covariance_matrix(field))
    np.testing.assert_allclose(
        field.log_prob(x), exact.logpdf(x.reshape(6, -1).numpy()), rtol=1e-10
    )


def test_loss_is_bits_per_dimension():
    field = anisotropic_field(8)
    x = field.sample(5, seeded(8))
    expected = -field.log_prob(x).mean() / (64 * math.log(2))
    assert float(field.loss(x)) == pytest.approx(float(expected))


def test_score_is_the_gradient_of_log_prob():
    field = anisotropic_field(8)
    x = field.sample(3, seeded(9)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(field.log_prob(x).sum(), x)
    torch.testing.assert_close(field.score(x.detach()), gradient, rtol=1e-9, atol=1e-9)


def test_score_with_noise_is_that_of_the_broader_field():
    field = anisotropic_field(8)
    broader = GaussianField(field.variance + 0.7**2, field.mean)
    x = torch.randn(3, 8, 8, generator=seeded(10), dtype=torch.float64)
    torch.testing.assert_close(field.score(x, 0.7), broader.score(x), rtol=1e-9, atol=1e-9)


def test_denoise_is_tweedies_formula_for_a_level_a_map():
    field = anisotropic_field(8)
    x = torch.randn(3, 8, 8, generator=seeded(11), dtype=torch.float64)
    sigma = torch.tensor([0.01, 0.7, 30.0], dtype=torch.float64)
    expected = x + sigma[:, None, None] ** 2 * field.score(x, sigma)
    torch.testing.assert_close(field.denoise(x, sigma), expected, rtol=1e-9, atol=1e-9)
    for i in range(3):
        torch.testing.assert_close(
            field.denoise(x[i], float(sigma[i])), expected[i], rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("n", [7, 8])
def test_denoise_is_the_wiener_filter_written_out(n):
    field = anisotropic_field(n)
    x = torch.randn(3, n, n, generator=seeded(12), dtype=torch.float64)
    covariance = covariance_matrix(field)
    wiener = covariance @ np.linalg.inv(covariance + 0.7**2 * np.eye(n * n))
    expected = 0.3 + (x.numpy().reshape(3, -1) - 0.3) @ wiener.T
    np.testing.assert_allclose(
        field.denoise(x, 0.7).reshape(3, -1), expected, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("n", [7, 8])
def test_whiten_and_colour_undo_each_other(n):
    field = anisotropic_field(n)
    x = torch.randn(4, n, n, generator=seeded(13), dtype=torch.float64)
    torch.testing.assert_close(field.colour(field.whiten(x)), x, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(field.whiten(field.colour(x)), x, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("n", [7, 8])
def test_mode_mean_is_a_trace(n):
    """Of λ and λ², together: tr C / N and tr C² / N."""
    field, covariance = anisotropic_field(n), covariance_matrix(anisotropic_field(n))
    found = field.mode_mean(lambda variance: torch.cat([variance, variance**2], 1))
    np.testing.assert_allclose(
        found, [np.trace(covariance) / n**2, np.trace(covariance @ covariance) / n**2]
    )


def test_log_det_is_that_of_the_matrix():
    field = anisotropic_field(8)
    assert float(field.log_det()) == pytest.approx(
        np.linalg.slogdet(covariance_matrix(field))[1] / 2
    )


def test_from_power_scales_with_the_field():
    """White noise of one C_ℓ on a field of twice the side: a quarter of the variance in each pixel."""

    def white(ell):
        return torch.full_like(ell, 1e-10)

    small, large = (GaussianField.from_power(MapGrid(16, side), white) for side in (5.0, 10.0))
    torch.testing.assert_close(small.variance, 4 * large.variance)
    assert float(small.variance[0, 0]) == pytest.approx(
        1e-10 / math.radians(5 / 16) ** 2
    )  # C / A_pixel


def test_from_power_meets_its_spectrum_at_the_fundamental_mode():
    called = []
    GaussianField.from_power(GRID, lambda ell: called.append(ell) or power(ell))
    assert float(called[0].min()) == pytest.approx(GRID.ell_min)


def test_fit_recovers_mean_and_modes():
    """Mean and total variance within 4σ: fails by chance with probability 1.3e-4."""
    field, n_maps, pixels = GaussianField.from_power(GRID, power), 300, GRID.n**2
    field = GaussianField(field.variance, 0.02)
    fitted = GaussianField.fit(field.sample(n_maps, seeded(14)))
    sigma_mean = math.sqrt(float(field.variance[0, 0]) / pixels / n_maps)
    assert abs(float(fitted.mean) - 0.02) < 4 * sigma_mean
    ratio = (fitted.variance / field.variance * GRID.multiplicity).sum() / pixels
    assert abs(float(ratio) - 1) < 4 * math.sqrt(2 / (n_maps * pixels))


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_variance_that_is_not_positive_is_refused(bad):
    variance = torch.ones(8, 5)
    variance[3, 2] = bad
    with pytest.raises(ValueError, match="positive, finite variance"):
        GaussianField(variance)


def test_variance_of_another_shape_is_refused():
    with pytest.raises(
        ValueError, match=r"shape \(n, n // 2 \+ 1\) of rfft2, or .* found \(8, 8\)"
    ):
        GaussianField(torch.ones(8, 8))


def test_constant_maps_have_no_gaussian_field():
    with pytest.raises(ValueError, match="has flat maps only, each of one value"):
        GaussianField.fit(torch.full((4, 8, 8), 0.1))


@pytest.mark.parametrize("kind", ["gaussian", "lognormal"])
def test_one_seed_one_result(kind):
    field = GaussianField.from_power(GRID, power)
    if kind == "lognormal":
        field = LognormalField.from_correlation(field.variance, 0.03)
    first, again, other = (field.sample(3, seeded(seed)) for seed in (15, 15, 16))
    assert first.dtype == torch.float32 and first.shape == (3, 32, 32)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_field_is_whole_in_its_state_dict():
    field, other = anisotropic_field(8), GaussianField(torch.ones(8, 5))
    other.load_state_dict(field.state_dict())
    assert torch.equal(field.sample(2, seeded(17)), other.sample(2, seeded(17)))


# ---------------------------------------------------------------- lognormal field


@pytest.fixture(scope="module")
def lognormal() -> LognormalField:
    return LognormalField.from_correlation(
        GaussianField.from_power(GRID, power).variance, shift=0.03, mean=0.002
    )


@pytest.fixture(scope="module")
def lognormal_maps(lognormal) -> torch.Tensor:
    return lognormal.sample(2000, seeded(18)).double()


def lognormal_moments(field: LognormalField) -> tuple[float, float, float]:
    """Mean, variance and skewness of one pixel, from the Gaussian field's mean and variance."""
    pixels = field.gaussian.n**2
    sigma2 = float((field.gaussian.multiplicity * field.gaussian.variance).sum()) / pixels
    amplitude, w = math.exp(float(field.gaussian.mean) + sigma2 / 2), math.exp(sigma2)
    return amplitude - float(field.shift), amplitude**2 * (w - 1), (w + 2) * math.sqrt(w - 1)


def test_lognormal_moments_are_the_requested_ones(lognormal):
    variance = GaussianField.from_power(GRID, power).variance
    mean, var, skewness = lognormal_moments(lognormal)
    expected = float((GRID.multiplicity * variance).sum()) / GRID.n**2
    assert mean == pytest.approx(0.002, abs=1e-12)
    assert var == pytest.approx(expected, rel=1e-6)
    ratio = math.sqrt(expected) / 0.032
    assert skewness == pytest.approx(3 * ratio + ratio**3, rel=1e-6)  # Hilbert et al. 2011


def test_lognormal_correlation_is_the_requested_one(lognormal):
    """ξ_κ = (κ₀ + ⟨κ⟩)² (exp ξ_G − 1) at every separation."""
    shape = (GRID.n, GRID.n)
    wanted = torch.fft.irfft2(GaussianField.from_power(GRID, power).variance, s=shape)
    found = 0.032**2 * torch.expm1(torch.fft.irfft2(lognormal.gaussian.variance, s=shape))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-12)


def test_lognormal_samples_have_the_closed_form_moments(lognormal, lognormal_maps):
    """Three moments within 4σ, σ from the scatter of the maps: fails by chance with probability about 2e-4."""
    mean, var, skewness = lognormal_moments(lognormal)
    deviation = lognormal_maps - mean
    for order, expected in ((1, 0.0), (2, var), (3, skewness * var**1.5)):
        per_map = (deviation**order).mean((-2, -1))
        assert abs(float(per_map.mean()) - expected) < 4 * float(per_map.std()) / math.sqrt(
            len(per_map)
        )
    assert float(lognormal_maps.min()) > -0.03


def test_lognormal_fit_recovers_shift_and_modes(lognormal, lognormal_maps):
    """Within five times their measured scatter over seeds, 0.4 % and 0.22 %: fails by chance with probability 1e-6."""
    fitted = LognormalField.fit(lognormal_maps, periodic=True)
    assert float(fitted.shift) == pytest.approx(0.03, rel=0.02)
    assert lognormal_moments(fitted)[1] == pytest.approx(
        lognormal_moments(lognormal)[1], rel=0.011
    )


def test_lognormal_log_prob_by_change_of_variables():
    """κ = exp g − κ₀ has the density of g over |det ∂κ/∂g|, the Jacobian by autograd: so it is normalised."""
    field = LognormalField(anisotropic_field(4, mean=-3.0), 0.03)
    g = field.gaussian.sample(1, seeded(19)).double()[0]
    jacobian = torch.autograd.functional.jacobian(lambda g: g.exp() - field.shift, g).reshape(
        16, 16
    )
    expected = field.gaussian.log_prob(g) - torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(field.log_prob(g.exp() - field.shift), expected)


def test_lognormal_log_prob_below_its_floor(lognormal):
    maps = lognormal.sample(3, seeded(20)).double()
    maps[1, 4, 5] = -0.03
    maps[2, 4, 5] = -0.05
    log_prob = lognormal.log_prob(maps)
    assert log_prob[0].isfinite() and log_prob[1:].tolist() == [-math.inf, -math.inf]


def test_lognormal_refuses_maps_without_skewness(lognormal_maps):
    with pytest.raises(ValueError, match="positive skewness, found -"):
        LognormalField.fit(-lognormal_maps)


# ---------------------------------------------------------------- smoothing


@pytest.mark.parametrize("sigma_pixels", [2.0, 3.3])
def test_smooth_is_scipys_filter_with_mirrored_edges(sigma_pixels):
    maps = torch.randn(3, 30, 30, generator=seeded(21), dtype=torch.float64)
    smoothed = smooth(maps, sigma_pixels * 10, side_deg=5.0)  # pixels of 10′
    expected = [
        scipy.ndimage.gaussian_filter(one, sigma_pixels, mode="reflect", truncate=8)
        for one in maps.numpy()
    ]
    np.testing.assert_allclose(smoothed, expected, atol=1e-8)


@pytest.mark.parametrize("periodic", [False, True])
def test_smooth_keeps_mean_shape_and_type(periodic):
    maps = torch.randn(2, 3, 16, 16, generator=seeded(22), dtype=torch.float64)
    smoothed = smooth(maps, 20.0, 5.0, periodic)
    torch.testing.assert_close(smoothed.mean((-2, -1)), maps.mean((-2, -1)))
    assert smoothed.shape == maps.shape
    assert smooth(maps.float(), 20.0, 5.0, periodic).dtype == torch.float32


@pytest.mark.parametrize("n", [15, 16])
def test_periodic_smooth_multiplies_in_fourier_space(n):
    maps = np.random.default_rng(23).normal(size=(2, n, n))
    along = 2 * np.pi * np.fft.fftfreq(n, math.radians(5.0) / n)
    beam = np.exp(-0.5 * (along[:, None] ** 2 + along**2) * math.radians(20 / 60) ** 2)
    expected = np.fft.ifft2(np.fft.fft2(maps) * beam).real
    np.testing.assert_allclose(
        smooth(torch.from_numpy(maps), 20.0, 5.0, periodic=True), expected, atol=1e-13
    )


def test_smooth_by_nothing_and_by_less():
    maps = torch.randn(2, 8, 8, generator=seeded(24))
    assert torch.equal(smooth(maps, 0, 5.0), maps)
    with pytest.raises(ValueError, match="sigma_arcmin must not be negative, found -1"):
        smooth(maps, -1, 5.0)


# ---------------------------------------------------------------- shape noise


def test_shape_noise_formula():
    grid = MapGrid(150, 5.0)  # pixels of 2′
    assert shape_noise_sigma(10, 0.4, grid) == pytest.approx(0.4 / math.sqrt(2 * 10 * 4))
    with pytest.raises(ValueError, match="n_gal_arcmin2 must be positive, found 0"):
        shape_noise_sigma(0, 0.4, grid)


def test_shape_noise_has_its_standard_deviation_and_is_white():
    """Variance within 4σ, neighbours' correlation within 4σ: fails by chance with probability 1.3e-4."""
    maps = torch.full((40, 64, 64), 0.01, dtype=torch.float64)
    noise = add_shape_noise(maps, 5.0, n_gal_arcmin2=30, sigma_e=0.4, generator=seeded(25)) - maps
    sigma = shape_noise_sigma(30, 0.4, MapGrid(64, 5.0))
    assert abs(float(noise.square().mean()) / sigma**2 - 1) < 4 * math.sqrt(2 / noise.numel())
    neighbours = float((noise[..., 1:] * noise[..., :-1]).mean()) / sigma**2
    assert abs(neighbours) < 4 / math.sqrt(noise[..., 1:].numel())


def test_shape_noise_of_one_seed_is_the_same():
    maps = torch.zeros(2, 8, 8)
    first, again = (add_shape_noise(maps, 5.0, 30, generator=seeded(26)) for _ in range(2))
    assert torch.equal(first, again) and first.dtype == maps.dtype and not maps.any()


# ---------------------------------------------------------------- what no field can be or be fitted to


def spectrum(shape) -> torch.Tensor:
    """Mode variances of maps of 32² pixels over 5°."""
    return GaussianField.from_power(MapGrid(32, 5.0), shape).variance


IMPOSSIBLE = {
    "a steep cut": (lambda ell: torch.where(ell < 500, 1e-8, 1e-13), 0.03),
    "a narrow Gaussian": (lambda ell: 1e-9 * torch.exp(-((ell / 300) ** 2)) + 1e-15, 0.02),
    "a small shift": (lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -1.5, 0.002),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_lognormal_field_says_where_it_has_another_power(case):
    """The sentence has the ratios of the power that its correlation function has, in closed form."""
    shape, shift = IMPOSSIBLE[case]
    asked = spectrum(shape)
    with pytest.warns(UserWarning, match="modes get another power, .* a larger shift is") as said:
        field = LognormalField.from_correlation(asked, shift)
    xi = torch.fft.irfft2(field.gaussian.variance, s=(32, 32))
    ratio = torch.fft.rfft2(shift**2 * torch.expm1(xi)).real / asked
    sentence = str(said[0].message)
    low, high = re.search(r"power, ([\d.e+-]+) to ([\d.e+-]+) times", sentence).groups()
    assert float(high) == pytest.approx(float(ratio.max()), rel=0.01)
    assert float(low) == pytest.approx(min(1, float(ratio.min())), rel=0.01)
    assert int(re.search(r"(\d+) of 544", sentence)[1]) == ((ratio - 1).abs() > 0.01).sum()


def test_a_lognormal_field_that_exists_has_the_power_that_was_asked_for():
    """Without a word: a warning would be an error here. Centred maps have no power in their mean."""
    asked = spectrum(lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8)
    field = LognormalField.from_correlation(asked, 0.03)
    maps = field.sample(64, seeded(30))
    LognormalField.fit(maps - maps.mean((1, 2), keepdim=True))
    two = LognormalField.from_correlation(_two_channels(asked), torch.tensor([0.03, 0.05]))
    assert two.channels == 2
    with pytest.warns(UserWarning, match="of 1088 modes get another power"):
        cut = _two_channels(spectrum(IMPOSSIBLE["a steep cut"][0]))
        LognormalField.from_correlation(cut, torch.tensor([0.03, 0.05]))


def _two_channels(variance: torch.Tensor) -> torch.Tensor:
    """Two channels of the same power and the correlation 0.5."""
    mixed = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=variance.dtype)
    return mixed[:, :, None, None] * variance


def test_a_lognormal_field_needs_a_shift_that_is_large_enough():
    anticorrelated = spectrum(lambda ell: torch.where((ell > 200) & (ell < 300), 1e-6, 1e-12))
    with pytest.raises(ValueError, match="would lie below .* expected a larger shift"):
        LognormalField.from_correlation(anticorrelated, 0.01)
    for shift, mean in ((-0.03, 0.0), (0.0, 0.0), (0.01, -0.02)):
        with pytest.raises(ValueError, match="plus its mean must be positive, found"):
            LognormalField.from_correlation(spectrum(lambda ell: 1e-9 / ell), shift, mean)


GOOD = GaussianField.white(16).sample(6, seeded(31))
NOT_TENSORS = {
    "an array": (GOOD.numpy(), r"is a ndarray; expected a tensor, torch.as_tensor\(maps\)"),
    "a list": (GOOD.tolist(), r"is a list; expected a tensor, torch.as_tensor\(maps\)"),
    "a set": (MapSet(GOOD.numpy(), 5.0), r"is a MapSet; expected a tensor, maps.tensor\(\)"),
    "a path": ("maps.npy", "is a str; expected a tensor"),
}
TAKERS = {
    "GaussianField.fit": GaussianField.fit,
    "LognormalField.fit": LognormalField.fit,
    "KappaTransform.fit": KappaTransform.fit,
    "BandPowers.fit": lambda maps: BandPowers.fit(maps, GaussianField.white(16)),
    "smooth": lambda maps: smooth(maps, 1.0, 5.0),
    "add_shape_noise": lambda maps: add_shape_noise(maps, 5.0, 30.0),
}


@pytest.mark.parametrize("given", NOT_TENSORS)
@pytest.mark.parametrize("taker", TAKERS)
def test_what_is_no_tensor_is_refused_in_a_sentence(taker, given):
    maps, sentence = NOT_TENSORS[given]
    with pytest.raises(ValueError, match=sentence):
        TAKERS[taker](maps)


UNFIT = {
    "zeros": (0 * GOOD, "has flat maps only, each of one value"),
    "flat maps of different values": (
        torch.arange(6.0)[:, None, None].expand(6, 16, 16),
        "has flat maps only, each of one value",
    ),
    "a flat channel": (torch.stack([GOOD, 0 * GOOD], 1), "has flat maps only"),
    "NaN": (GOOD.log(), "has NaN or infinity; leave those maps out first"),
    "no maps": (GOOD[:0], "has no maps; expected at least one"),
    "a single map": (GOOD[0], r"has the shape \(16, 16\); expected \(maps, n, n\)"),
}


@pytest.mark.parametrize("field", [GaussianField, LognormalField])
@pytest.mark.parametrize("case", UNFIT)
def test_maps_that_no_field_can_be_fitted_to_are_refused_in_a_sentence(case, field):
    maps, sentence = UNFIT[case]
    with pytest.raises(ValueError, match=sentence):
        field.fit(maps)
