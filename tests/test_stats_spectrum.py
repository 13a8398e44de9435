"""Power spectra, compared with plain numpy, input spectra, planted modes and closed forms.

Statistical tests use fixed seeds. Each says how often correct code would fail it with another
seed.
"""

import math
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch

from lensnb.maps import ARCMIN, GaussianField, MapGrid
from lensnb.shear import add_shape_noise, shape_noise_power
from lensnb.stats import cross_spectra, ell_edges, pixel_window, power_spectrum

GRID = MapGrid(32, 5.0)
EDGES = ell_edges(GRID, 8)


def power(ell):
    """A red spectrum of roughly the size of κ's, in sr."""
    return 1e-8 * (1 + (ell / 300) ** 2) ** -0.8


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """White noise of the size of κ, float64."""
    return 0.01 * torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [15, 16])
def test_power_is_that_of_the_written_out_transform(n):
    maps, side, edges = noise(3, n, n), 5.0, np.array([0.0, 90.0, 300.0, 500.0, 700.0])
    frequency = (
        np.arange(n) + n // 2
    ) % n - n // 2  # the sign of the Nyquist frequency does not matter
    wave = np.exp(-2j * np.pi * np.outer(frequency, np.arange(n)) / n)
    squares = np.abs(np.einsum("ik,mkl,jl->mij", wave, maps.numpy(), wave)) ** 2
    ell = 2 * np.pi / np.radians(side) * np.hypot(frequency[:, None], frequency)
    bins = [(ell >= low) & (ell < high) for low, high in zip(edges, edges[1:])]
    expected = (
        np.stack([squares[:, inside].mean(1) for inside in bins], 1) * np.radians(side) ** 2 / n**4
    )
    np.testing.assert_allclose(power_spectrum(maps, side, edges), expected, rtol=1e-10)


@pytest.mark.parametrize("n", [15, 16])
def test_power_of_all_modes_is_the_mean_square(n):
    """Parseval: the average of |κ̃|² over all N modes is the mean of κ² over the N pixels."""
    maps = noise(3, n, n)
    total = power_spectrum(maps, 5.0, [0.0, 1e6])[:, 0] * n**2 / MapGrid(n, 5.0).area
    torch.testing.assert_close(total, maps.square().mean((-2, -1)), rtol=1e-12, atol=0)


def test_power_of_white_noise_is_flat_at_the_variance_times_the_pixel_area():
    """C_ℓ = σ² A_pixel in each of 6 bins within 4σ: fails by chance with probability 4e-4."""
    maps = noise(200, GRID.n, GRID.n, seed=2)
    found = power_spectrum(maps, GRID.side_deg, EDGES).mean(0).numpy()
    modes = np.array([_weight(low, high).sum() for low, high in zip(EDGES, EDGES[1:])])
    expected = 0.01**2 * (GRID.pixel_arcmin * ARCMIN) ** 2
    np.testing.assert_array_less(np.abs(found / expected - 1), 4 * np.sqrt(2 / (200 * modes)))


def test_power_of_a_gaussian_field_is_its_input():
    """Each of 6 bins within 4σ of sample variance: fails by chance with probability 4e-4."""
    n_maps = 300
    maps = GaussianField.from_power(GRID, power).sample(n_maps, seeded(3))
    found = power_spectrum(maps, GRID.side_deg, EDGES).mean(0).numpy()
    for value, low, high in zip(found, EDGES, EDGES[1:]):
        weight, truth = _weight(low, high), power(GRID.ell).numpy()
        expected = (weight * truth).sum() / weight.sum()
        sigma = math.sqrt(2 * (weight * truth**2).sum() / n_maps) / weight.sum()
        assert abs(value - expected) < 4 * sigma


def _weight(low: float, high: float) -> np.ndarray:
    """How many modes of the full transform each ``rfft2`` mode contributes to a bin."""
    return (GRID.multiplicity * ((GRID.ell >= low) & (GRID.ell < high))).numpy()


def test_power_scales_with_the_field():
    """The same pixels over twice the side: half the ℓ and four times the C_ℓ."""
    maps = noise(2, 32, 32)
    torch.testing.assert_close(
        power_spectrum(maps, 10.0, EDGES / 2), 4 * power_spectrum(maps, 5.0, EDGES)
    )


def test_power_keeps_under_symmetries_and_periodic_shifts():
    maps = noise(2, 32, 32)
    expected = power_spectrum(maps, 5.0, EDGES)
    views = [v for k in range(4) for v in (maps.rot90(k, (-2, -1)), maps.rot90(k, (-2, -1)).mT)]
    views += [maps.roll((5, -11), (-2, -1)), -maps]
    for view in views:
        torch.testing.assert_close(power_spectrum(view, 5.0, EDGES), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("edges", [[10.0, 50.0], [60.0, 200.0, 201.0], [4000.0, 5000.0]])
def test_power_refuses_a_bin_without_modes(edges):
    with pytest.raises(
        ValueError, match=r"the ℓ bin [01] of [12] holds no Fourier mode: use wider bins"
    ):
        power_spectrum(noise(1, 32, 32), 5.0, edges)


def test_power_of_half_and_single_precision():
    maps = noise(2, 32, 32)
    expected = power_spectrum(maps, 5.0, EDGES)
    single, half = (
        power_spectrum(maps.float(), 5.0, EDGES),
        power_spectrum(maps.half(), 5.0, EDGES),
    )
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


# ---------------------------------------------------------------- across source bins


def test_cross_spectra_are_those_of_the_written_out_product():
    maps = noise(2, 3, 16, 16) + torch.linspace(-0.01, 0.02, 3, dtype=torch.float64)[:, None, None]
    maps[:, 2] += 0.5 * maps[:, 0].roll(1, -1)
    edges = [0.0, 90.0, 300.0, 500.0, 700.0]
    wave, frequency = np.fft.fft2(maps.numpy()), np.fft.fftfreq(16, 1 / 16)
    ell = 2 * np.pi / np.radians(5) * np.hypot(frequency[:, None], frequency)
    bins = [(ell >= low) & (ell < high) for low, high in zip(edges, edges[1:])]
    order = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    assert order == list(combinations_with_replacement(range(3), 2))
    products = np.stack([(wave[:, i] * wave[:, j].conj()).real for i, j in order], 1)
    expected = (
        np.stack([products[..., inside].mean(-1) for inside in bins], -1)
        * np.radians(5) ** 2
        / 16**4
    )
    np.testing.assert_allclose(cross_spectra(maps, 5.0, edges), expected, rtol=1e-10, atol=1e-20)
    single = cross_spectra(maps.float(), 5.0, edges)
    assert single.shape == (2, 6, 4) and single.dtype == torch.float64
    scale = np.sqrt(expected[:, [0, 0, 0, 3, 3, 5]] * expected[:, [0, 3, 5, 3, 5, 5]])
    np.testing.assert_array_less(np.abs(single.numpy() - expected), 1e-5 * scale)


def test_auto_spectra_are_the_power_spectra():
    maps = noise(2, 3, 32, 32)
    found = cross_spectra(maps, 5.0, EDGES)[:, [0, 3, 5]]
    torch.testing.assert_close(found, power_spectrum(maps, 5.0, EDGES), rtol=1e-10, atol=0)
    torch.testing.assert_close(
        cross_spectra(maps[0, :1], 5.0, EDGES)[0], found[0, 0], rtol=1e-10, atol=0
    )


def test_cross_spectrum_of_correlated_fields_is_what_they_share():
    """C_01 of a + b and a − c is the spectrum of a.

    6 bins within 4σ: fails by chance with probability 4e-4.
    """
    field = GaussianField.from_power(GRID, power)
    a, b, c = (field.sample(200, seeded(seed)).double() for seed in (11, 12, 13))
    found = cross_spectra(torch.stack([a + b, a - c], 1), GRID.side_deg, EDGES)[:, 1]
    difference = found - power_spectrum(a, GRID.side_deg, EDGES)
    assert (difference.mean(0).abs() < 4 * difference.std(0) / math.sqrt(200)).all()
    assert (found.mean(0) > 10 * difference.std(0) / math.sqrt(200)).all()


@pytest.mark.parametrize("maps", [torch.zeros(32, 32), torch.zeros(32)])
def test_cross_spectra_need_channels(maps):
    with pytest.raises(
        ValueError, match=r"cross-spectra need maps of the shape \(..., channels, n, n\)"
    ):
        cross_spectra(maps, 5.0, EDGES)


# ---------------------------------------------------------------- noise and pixels


def test_shape_noise_is_subtracted():
    """6 bins within 4σ of zero: fails by chance with probability 4e-4."""
    level = shape_noise_power(20.0, 0.3)
    assert level == pytest.approx(0.3**2 / 2 / (20 / ARCMIN**2), rel=1e-12)
    maps = add_shape_noise(torch.zeros(300, 32, 32), GRID.side_deg, 20.0, 0.3, seeded(14))
    found = power_spectrum(maps, GRID.side_deg, EDGES, noise=level)
    assert (found.mean(0).abs() < 4 * found.std(0) / math.sqrt(300)).all()
    bare = power_spectrum(maps, GRID.side_deg, EDGES)
    torch.testing.assert_close(found, bare - level, rtol=1e-12, atol=1e-20)


def test_noise_is_a_matter_of_the_auto_spectra():
    maps, levels = noise(2, 2, 32, 32), [1e-9, 3e-9]
    difference = cross_spectra(maps, 5.0, EDGES) - cross_spectra(maps, 5.0, EDGES, noise=levels)
    expected = torch.tensor([1e-9, 0.0, 3e-9], dtype=torch.float64)[:, None].expand(
        2, 3, len(EDGES) - 1
    )
    torch.testing.assert_close(difference, expected, rtol=1e-6, atol=1e-18)
    with pytest.raises(ValueError, match="one level, or one for each of 2 channels"):
        cross_spectra(maps, 5.0, EDGES, noise=[1e-9, 1e-9, 1e-9])


def test_noise_lies_outside_the_window():
    grid, level, edges = MapGrid(16, 5.0), 1e-9, np.array([70.0, 300.0, 800.0])
    with_noise, without = (
        power_spectrum(noise(1, 16, 16), 5.0, edges, noise=n, window=True)[0] for n in (level, 0.0)
    )
    frequency = np.fft.fftfreq(16)
    window = np.sinc(frequency)[:, None] * np.sinc(frequency)
    ell = grid.ell_min * 16 * np.hypot(frequency[:, None], frequency)
    inverse = [
        (1 / window[(ell >= low) & (ell < high)] ** 2).mean()
        for low, high in zip(edges, edges[1:])
    ]
    np.testing.assert_allclose(without - with_noise, level * np.array(inverse), rtol=1e-9)


@pytest.mark.parametrize("n", [15, 16])
def test_the_pixel_window_undoes_averaging_over_pixels(n):
    """Plane waves averaged over pixels have the power of the waves at the pixels' centres.

    The averages are Gauss–Legendre quadratures.
    """
    rng, half = np.random.default_rng(15), (n - 1) // 2
    waves = [(i, j) for i in range(-half, half + 1) for j in range(half + 1) if (i, j) > (0, 0)]
    node, weight = np.polynomial.legendre.leggauss(12)
    fine = (np.arange(n)[:, None] + node / 2).ravel()  # in pixels
    points, pixels = np.zeros((n, n)), np.zeros((n, n))
    for i, j in waves:
        amplitude, phase = rng.normal(), rng.uniform(0, 2 * np.pi)
        coarse = np.arange(n)
        angle = 2 * np.pi * (i * coarse[:, None] + j * coarse) / n
        points += amplitude * np.cos(angle + phase)
        angle = 2 * np.pi * (i * fine[:, None] + j * fine) / n
        wave = amplitude * np.cos(angle + phase).reshape(n, 12, n, 12)
        pixels += np.einsum("apbq,p,q->ab", wave, weight / 2, weight / 2)
    edges, maps = [70.0, 250.0, 420.0, 700.0], torch.tensor(np.stack([points, pixels]))
    at_centre, averaged = power_spectrum(maps, 5.0, edges)
    assert float(averaged[2] / at_centre[2]) < 0.7
    torch.testing.assert_close(
        power_spectrum(maps[1], 5.0, edges, window=True), at_centre, rtol=1e-10, atol=0
    )


def test_the_pixel_window_at_nyquist():
    window = pixel_window(MapGrid(16, 5.0))
    assert window.shape == (16, 9) and float(window[0, 0]) == 1.0
    assert float(window[8, 0]) == pytest.approx(2 / math.pi, rel=1e-12)
    assert float(window[8, 8]) == pytest.approx((2 / math.pi) ** 2, rel=1e-12)


# ---------------------------------------------------------------- masks


def test_white_noise_under_a_mask_keeps_its_level():
    """For white noise, f_sky and the mean are the whole correction.

    The mean takes a share |m̃(ℓ)|²/m̃(0)² of the power. 6 bins within 4σ: fails by chance with
    probability 4e-4.
    """
    maps = 0.3 + noise(300, 32, 32, seed=16)
    mask = torch.rand(32, 32, generator=seeded(17)) < 0.4
    mask[:10] = False
    found = power_spectrum(maps, GRID.side_deg, EDGES, mask)
    expected = 0.01**2 * (GRID.pixel_arcmin * ARCMIN) ** 2
    assert 0.2 < float(mask.double().mean()) < 0.35
    taken = power_spectrum(mask.double() / mask.double().mean(), GRID.side_deg, EDGES) / GRID.area
    assert 0.02 < float(taken[0]) < 0.2 and float(taken[-1]) < 0.01
    assert (
        (found.mean(0) - expected * (1 - taken)).abs() < 4 * found.std(0) / math.sqrt(300)
    ).all()


def test_a_mask_subtracts_the_mean_and_divides_by_the_sky():
    maps, mask = noise(2, 3, 16, 16), torch.rand(2, 3, 16, 16, generator=seeded(18)) < 0.7
    edges, seen = [70.0, 300.0, 800.0], mask.double()
    field = (
        maps - (maps * seen).sum((-2, -1), keepdim=True) / seen.sum((-2, -1), keepdim=True)
    ) * seen
    pairs = combinations_with_replacement(range(3), 2)
    share = torch.stack([(seen[:, i] * seen[:, j]).mean((-2, -1)) for i, j in pairs], 1)
    expected = cross_spectra(field, 5.0, edges) / share[..., None]
    hidden = torch.where(mask, maps, torch.nan)
    torch.testing.assert_close(
        cross_spectra(hidden, 5.0, edges, mask), expected, rtol=1e-9, atol=1e-20
    )
    torch.testing.assert_close(
        power_spectrum(maps, 5.0, edges, mask), expected[:, [0, 3, 5]], rtol=1e-9, atol=0
    )


def test_channels_that_share_no_sky_are_refused():
    mask = torch.zeros(2, 16, 16, dtype=torch.bool)
    mask[0, :8], mask[1, 8:] = True, True
    with pytest.raises(ValueError, match="nothing that two channels share"):
        cross_spectra(noise(2, 16, 16), 5.0, [70.0, 800.0], mask)
