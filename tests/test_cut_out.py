"""Gaussian fields of a cut-out of the sky, against explicit matrices, and against true cut-outs.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math
from copy import deepcopy

import pytest
import scipy.stats
import torch

from lensnb.maps import CutOutField, GaussianField, LognormalField, MapGrid, fit_field


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def power(ell):
    """A red spectrum of roughly the size of κ's, in sr."""
    return 1e-8 * (1 + (ell / 300) ** 2) ** -0.8


def two_spectra(ell):
    """Two channels that are correlated differently at small and at large scales."""
    one = power(ell)
    cross = 0.9 * one * torch.exp(-ell / 2000)
    return torch.stack([torch.stack([one, cross]), torch.stack([cross, 1.5 * one])])


def field_of(n: int, channels: int = 1, mean=0.0) -> CutOutField:
    """A cut-out of a field that is four times as wide."""
    sky = GaussianField.from_power(MapGrid(4 * n, 20.0), power if channels == 1 else two_spectra)
    sky = GaussianField(sky.variance, mean)
    return CutOutField.of_periodic(sky, n)


def covariance_matrix(field: CutOutField) -> torch.Tensor:
    """ξ(|i − j|, |k − l|) of all pairs of pixels, and of channels, written out."""
    pixel = torch.arange(field.n)
    lag = (pixel[:, None] - pixel).abs()
    xi = field.correlation.reshape(field.channels, field.channels, field.n, field.n)
    pairs = xi[:, :, lag[:, None, :, None], lag[None, :, None, :]]  # channels, then i, k, j, l
    size = field.channels * field.n**2
    return pairs.permute(0, 2, 3, 1, 4, 5).reshape(size, size)


CASES = [(8, 1), (7, 1), (6, 2), (5, 2)]


@pytest.mark.parametrize("n, channels", CASES)
def test_modes_are_those_of_the_covariance_of_all_pixels(n, channels):
    field = field_of(n, channels)
    one_by_one = torch.eye(channels * n * n, dtype=torch.float64).reshape(-1, *field.map_shape)
    transform = field.modes(one_by_one, centred=True).flatten(1)  # a row for each pixel
    torch.testing.assert_close(transform @ transform.T, torch.eye(channels * n * n).double())
    built = transform * field.eigenvalues.flatten() @ transform.T
    torch.testing.assert_close(built, covariance_matrix(field), rtol=1e-9, atol=1e-14)
    back = field.from_modes(field.modes(one_by_one))
    torch.testing.assert_close(back, one_by_one)


@pytest.mark.parametrize("n, channels", CASES)
def test_density_is_that_of_the_normal_distribution(n, channels):
    mean = torch.tensor([0.3, -0.1][:channels], dtype=torch.float64).squeeze()
    field = field_of(n, channels, mean)
    maps = field.sample(3, seeded(1)).double()
    level = mean.reshape(-1, 1, 1).expand(channels, n, n).flatten()
    expected = scipy.stats.multivariate_normal(level, covariance_matrix(field)).logpdf(
        maps.flatten(1)
    )
    torch.testing.assert_close(
        field.log_prob(maps), torch.as_tensor(expected), rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("n, channels", CASES)
def test_denoiser_is_the_mean_given_the_noisy_map(n, channels):
    field = field_of(n, channels, 0.02)
    noisy = field.sample(2, seeded(2)).double() + 0.01 * torch.randn(
        2, *field.map_shape, generator=seeded(3)
    )
    sigma = torch.tensor([0.01, 0.004], dtype=torch.float64)
    matrix = covariance_matrix(field)
    for one, level, found in zip(noisy, sigma, field.denoise(noisy, sigma)):
        total = matrix + level**2 * torch.eye(len(matrix))
        gain = torch.linalg.solve(total, matrix).T
        expected = 0.02 + gain @ (one.flatten() - 0.02)
        torch.testing.assert_close(found.flatten(), expected, rtol=1e-7, atol=1e-10)


def test_score_is_the_gradient_of_the_density():
    field = field_of(6, 1, 0.1)
    x = field.sample(2, seeded(4)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(field.log_prob(x).sum(), x)
    torch.testing.assert_close(field.score(x.detach()), gradient, rtol=1e-7, atol=1e-7)


def test_whitening_undoes_colour():
    field = field_of(9, 1, 0.1)
    white = torch.randn(3, 9, 9, generator=seeded(5), dtype=torch.float64)
    torch.testing.assert_close(field.whiten(field.colour(white)), white)


def test_opposite_edges_are_as_correlated_as_in_a_larger_sky():
    """20,000 maps: an error of 0.003 on the correlation of edges; a periodic field has 0.6."""
    sky = GaussianField.from_power(MapGrid(64, 20.0), power)
    field = CutOutField.of_periodic(sky, 16)
    maps = field.sample(20_000, seeded(6)).double()
    left, right = maps[:, :, 0].flatten(), maps[:, :, -1].flatten()
    measured = float(torch.corrcoef(torch.stack([left, right]))[0, 1])
    expected = float(field.correlation[0, 15] / field.correlation[0, 0])
    assert measured == pytest.approx(expected, abs=0.01)
    assert expected < 0.1
    variance = maps.square().mean(0)  # the same in every place: 4.5σ of the most extreme pixel
    assert float((variance / field.correlation[0, 0] - 1).abs().max()) < 4.5 * math.sqrt(
        2 / 20_000
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_fit_finds_the_correlation_function_of_cut_outs(channels):
    """Unbiased, also at lags of almost the whole map: 4σ of 2,000 maps at every lag."""
    spectrum = power if channels == 1 else two_spectra
    sky = GaussianField.from_power(MapGrid(48, 15.0), spectrum)
    maps = sky.sample(2000, seeded(7))[..., :12, :12]
    truth = CutOutField.of_periodic(sky, 12)
    found = CutOutField.fit(maps)
    halves = [CutOutField.fit(part).correlation for part in maps.split(100)]
    error = torch.stack(halves).std(0) / math.sqrt(len(halves))
    assert float(((found.correlation - truth.correlation) / error).abs().max()) < 5
    expected = truth.variance
    torch.testing.assert_close(
        found.variance, expected, rtol=0.1, atol=0.05 * float(expected.max())
    )


def test_expected_power_is_the_mean_power_of_cut_outs():
    """Each mode of 20,000 maps within 5σ, also the mean of a map."""
    field = field_of(10)
    modes = torch.fft.rfft2(field.sample(20_000, seeded(8)).double(), norm="ortho").abs().square()
    error = modes.std(0) / math.sqrt(20_000)
    assert float(((modes.mean(0) - field.variance) / error).abs().max()) < 5


def test_few_maps_give_a_field_with_a_density():
    maps = field_of(16).sample(2, seeded(9))
    field = CutOutField.fit(maps)
    assert (field.eigenvalues > 0).all()
    assert torch.isfinite(field.log_prob(maps)).all()
    assert float(field.eigenvalues.min() / field.eigenvalues.max()) > 1e-7  # no mode at the floor


def test_checkpoint_keeps_the_field_without_its_eigenvectors():
    field = field_of(8, 1, 0.2)
    tensors = field.state_dict()
    assert set(tensors) == {"correlation", "mean", "eigenvalues"}
    other = CutOutField.white(8)
    other.load_state_dict(tensors)
    maps = field.sample(2, seeded(10))
    torch.testing.assert_close(other.log_prob(maps), field.log_prob(maps))
    torch.testing.assert_close(deepcopy(other).denoise(maps, 0.1), field.denoise(maps, 0.1))


def test_lognormal_fit_does_not_wrap():
    """The correlation of opposite edges of 2,000 maps, whose error is 0.01."""
    sky = LognormalField.from_correlation(
        GaussianField.from_power(MapGrid(64, 20.0), power).variance, 0.03
    )
    maps = sky.sample(1000, seeded(11))[..., :16, :16]
    field = LognormalField.fit(maps)
    drawn = field.sample(2000, seeded(12))
    edges = torch.stack([drawn[:, :, 0].flatten(), drawn[:, :, -1].flatten()])
    assert abs(float(torch.corrcoef(edges)[0, 1])) < 0.1
    assert float(drawn.var() / maps.var()) == pytest.approx(1, abs=0.05)
    assert torch.isfinite(field.log_prob(maps)).all()
    periodic = LognormalField.fit(maps, periodic=True).sample(500, seeded(12))
    edges = torch.stack([periodic[:, :, 0].flatten(), periodic[:, :, -1].flatten()])
    assert float(torch.corrcoef(edges)[0, 1]) > 0.15


def test_a_lognormal_field_that_does_not_exist_says_so():
    xi = torch.zeros(8, 8, dtype=torch.float64)
    xi[0, 0], xi[0, 1], xi[1, 0] = 1.0, -0.24, -0.24
    with pytest.warns(UserWarning, match="variance of its logarithm"):
        LognormalField.cut_out(xi, 0.51)


def test_maps_of_many_pixels_get_a_periodic_field():
    assert isinstance(fit_field(torch.randn(2, 64, 64, generator=seeded(13))), CutOutField)
    assert isinstance(fit_field(torch.randn(2, 80, 80, generator=seeded(13))), GaussianField)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: CutOutField.fit(torch.randn(1, 256, 256)), "needs matrices of 16384² numbers"),
        (lambda: CutOutField(torch.ones(4, 5)), r"has the shape \(n, n\)"),
        (lambda: CutOutField(torch.tensor([[1.0, 0.5], [0.1, 0.0]])), "equal to its transpose"),
        (lambda: CutOutField(torch.full((3, 3), math.nan)), "NaN or infinity"),
        (lambda: CutOutField.of_periodic(GaussianField.white(12), 8), "at least 16²"),
        (lambda: CutOutField.fit(torch.zeros(3, 8, 8)), "flat maps only"),
    ],
)
def test_cut_out_refuses(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
