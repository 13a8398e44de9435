"""Scattering coefficients, compared with direct convolutions, kymatio and closed forms.

Statistical tests use fixed seeds. Each says how often correct code would fail it with another
seed.
"""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.stats import (
    reduced_scattering,
    scattering,
    scattering_order,
    scattering_scales,
)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """White noise of the size of κ, float64."""
    return 0.01 * torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def fields(n: int, maps: int) -> torch.Tensor:
    """White, lognormal and steep Gaussian maps, float64, shape ``(3 maps, n, n)``."""
    grid, generator = MapGrid(n, 5.0), torch.Generator().manual_seed(2)
    variance = GaussianField.from_power(
        grid, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).variance
    steep = GaussianField.from_power(grid, lambda ell: 0.1 * ell**-3).sample(maps, generator)
    skewed = LognormalField.from_correlation(variance, 0.03).sample(maps, generator)
    return torch.cat([noise(maps, n, n), steep.double(), skewed.double()])


def wavelet(n: int, j: int, theta: float, orientations: int) -> np.ndarray:
    """ψ̂ of the Morlet wavelet, made in real space.

    The wavelet is sampled at the pixels of the field and of as many neighbouring copies of it as
    the wavelet reaches. The wave runs at the angle θ from the columns to the rows. The peak of ψ̂
    is 1 − β².
    """
    sigma, xi, slant = 0.8 * 2**j, 3 * np.pi / 4 / 2**j, 4 / orientations
    copies = 3 + int(8 * sigma / min(slant, 1) / n)
    position = np.arange(-copies * n, (copies + 1) * n)
    y, x = position[:, None], position[None]
    along, across = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
    envelope = np.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
    wave = envelope * np.exp(1j * xi * along)
    signal = (wave - wave.sum() / envelope.sum() * envelope) * slant / (2 * np.pi * sigma**2)
    return np.fft.fft2(signal.reshape(2 * copies + 1, n, 2 * copies + 1, n).sum((0, 2)))


def direct(
    maps: torch.Tensor, scales: int, orientations: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """S1, shape ``(maps, J, L)``, and S2, ``(maps, pairs, L, L)``, by full convolutions."""
    n, fft, ifft = maps.shape[-1], np.fft.fft2, np.fft.ifft2
    angles = np.pi * np.arange(orientations) / orientations
    psi = np.array(
        [[wavelet(n, j, theta, orientations) for theta in angles] for j in range(scales)]
    )
    first, second = [], []
    for kappa in maps.numpy():
        u = np.abs(ifft(fft(kappa) * psi))
        first.append(u.mean((-2, -1)))
        u = fft(u)[:, :, None]
        second.append(
            [np.abs(ifft(u[a] * psi[b])).mean((-2, -1)) for a, b in combinations(range(scales), 2)]
        )
    return np.array(first), np.array(second)


def reduced(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    s1, s2 = first.mean(-1), second.mean((-2, -1))
    parents = [a for a, _ in combinations(range(s1.shape[1]), 2)]
    return np.concatenate([s1, s2 / s1[:, parents]], 1)


# ---------------------------------------------------------------- against other computations


@pytest.mark.parametrize(
    "n, scales, orientations", [(32, 4, 4), (31, 3, 4), (16, 3, 2), (24, 2, 8)]
)
def test_small_maps_are_exact(n, scales, orientations):
    maps = noise(2, n, n)
    first, second = direct(maps, scales, orientations)
    found = scattering(maps, scales, orientations)
    pairs = scales * (scales - 1) // 2
    assert found.dtype == torch.float64
    assert found.shape == (2, scales * orientations + pairs * orientations**2)
    expected = np.concatenate([first.reshape(2, -1), second.reshape(2, -1)], 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(
        reduced_scattering(maps, scales, orientations), reduced(first, second), rtol=1e-6
    )


@pytest.mark.parametrize("n, orientations", [(64, 4), (81, 4), (128, 4), (64, 8)])
def test_coarser_grids_are_close(n, orientations):
    """Not a statistical test: it checks for these maps the numbers that the docstrings state."""
    maps, scales = fields(n, 2), scattering_scales(MapGrid(n, 5.0))
    first, second = direct(maps, scales, orientations)
    found = scattering(maps, orientations=orientations).numpy()
    wrong1 = np.abs(found[:, : first[0].size] / first.reshape(len(maps), -1) - 1)
    wrong2 = np.abs(found[:, first[0].size :] / second.reshape(len(maps), -1) - 1)
    assert wrong1.max() < 5e-4 and wrong1.mean() < 3e-5
    assert wrong2.max() < 3e-3 and wrong2.mean() < 2e-4
    isotropic = reduced_scattering(maps, orientations=orientations).numpy()
    np.testing.assert_allclose(isotropic, reduced(first, second), rtol=5e-4)


@pytest.mark.parametrize(
    "n, share, of_s2, of_reduced",
    [(64, 0.6, 7e-3, 4e-3), (128, 0.6, 7e-3, 4e-3), (128, 0.9, 2e-2, 1.2e-2)],
)
def test_coarser_grids_are_less_close_beside_wide_areas_of_zeros(n, share, of_s2, of_reduced):
    """Not a statistical test: it checks for these maps the numbers that the docstrings state."""
    maps, scales = fields(n, 2), scattering_scales(MapGrid(n, 5.0))
    maps[..., : int(share * n)] = 0  # what a mask hides
    first, second = direct(maps, scales, 4)
    found = scattering(maps).numpy()
    wrong2 = np.abs(found[:, first[0].size :] / second.reshape(len(maps), -1) - 1)
    assert wrong2.max() < of_s2
    wrong = np.abs(reduced_scattering(maps).numpy() / reduced(first, second) - 1)
    assert wrong.max() < of_reduced


def test_masked_real_maps_are_as_close_as_stated(published):
    """Ray-traced maps behind a mask of a strip and holes, in full size and on coarser grids."""
    fits = pytest.importorskip("astropy.io.fits")
    path = published / "lenstools_raytraced" / "convergence_z99.fit"
    kappa = torch.from_numpy(np.asarray(fits.getdata(path), "f8"))
    maps = kappa.unfold(0, 128, 128).unfold(1, 128, 128).reshape(-1, 128, 128)[:4].clone()
    maps[..., 77:] = 0
    scales = scattering_scales(MapGrid(128, 5.0))
    first, second = direct(maps, scales, 4)
    expected = reduced(first, second)
    wrong = np.abs(reduced_scattering(maps).numpy() / expected - 1)
    assert wrong.max() < 4e-3


def test_coefficients_are_kymatios():
    """Convolutions at full size with the filters of kymatio 0.3.0.

    They are those of filter_bank(32, 32, J=4, L=4), which uses 3.1415 for π.
    """
    y, x = np.meshgrid(*2 * [2 * np.pi * np.arange(32) / 32], indexing="ij")
    kappa = (
        0.02 * np.exp(np.sin(x + 2 * np.cos(y)) + np.cos(3 * x - 5 * y) + np.sin(7 * y + 4 * x))
        - 0.03
    )
    expected = [
        0.00999567, 0.01210191, 0.00603934, 0.00774505,
        0.20571342, 0.14183678, 0.18440479, 0.12514519, 0.17037237, 0.13489576,
    ]  # fmt: skip
    np.testing.assert_allclose(reduced_scattering(torch.from_numpy(kappa)), expected, rtol=5e-5)


# ---------------------------------------------------------------- closed forms


@pytest.mark.parametrize("n", [32, 64, 100])
@pytest.mark.parametrize("row, column", [(0, 3), (5, 0), (4, 4), (-6, 6), (3, -11), (9, 2)])
def test_a_plane_wave_has_the_height_of_the_wavelets_transform(n, row, column):
    """|a cos(k·x) * ψ| = (a / 2) |ψ̂(k) e^(ik·x) + ψ̂(−k) e^(−ik·x)|.

    One of the two terms is practically zero.
    """
    y, x = np.meshgrid(*2 * [2 * np.pi * np.arange(n) / n], indexing="ij")
    kappa = torch.from_numpy(0.02 * np.cos(row * y + column * x + 0.4))
    found = scattering(kappa, 3)[:12].reshape(3, 4).numpy()
    for j in range(3):
        psi = [wavelet(n, j, np.pi * direction / 4, 4) for direction in range(4)]
        ahead, behind = (np.abs([p[s * row, s * column] for p in psi]) for s in (1, -1))
        clear = np.minimum(ahead, behind) < 1e-6 * np.maximum(ahead, behind)
        np.testing.assert_allclose(
            found[j][clear], 0.01 * np.maximum(ahead, behind)[clear], rtol=1e-3, atol=1e-9
        )
        assert (found[j] < 0.01 * (ahead + behind) + 1e-9).all()
        assert (found[j] > 0.01 * np.abs(ahead - behind) - 1e-9).all()


def test_a_plane_wave_at_the_peak_of_a_wavelet_has_no_second_order():
    """Waves along rows and columns with k = 3π/8 · 2^(−j)... per pixel.

    There, the wavelet of the same scale and direction has the response 1 − β².
    """
    position = 2 * np.pi * np.arange(64) / 64
    kappa = torch.from_numpy(
        np.broadcast_to(0.02 * np.cos(12 * position), (64, 64)).copy()
    )  # 12 of 64: ξ of scale 1
    first = scattering(kappa, 3)[:12].reshape(3, 4)
    assert float(first[1, 0]) == pytest.approx(
        0.01 * (1 - math.exp(-((0.6 * math.pi) ** 2))), rel=1e-3
    )
    assert int(first.argmax()) == 4
    turned = scattering(kappa.T.contiguous(), 3)[:12].reshape(3, 4)
    assert int(turned.argmax()) == 6
    assert float(reduced_scattering(kappa, 3)[-1]) < 0.03


def test_white_noise_has_the_rayleigh_mean_of_the_wavelets_power():
    """κ * ψ is complex Gaussian and almost circular: ⟨|·|⟩ = σ √(π/4 Σ |ψ̂|² / N).

    This is exact where ψ̂(k) ψ̂(−k) vanishes. Scales j ≥ 1 of 400 maps, 12 numbers within 4
    standard errors, all below 1 %: fails by chance with probability 8e-4.
    """
    n, n_maps = 32, 400
    first = scattering(noise(n_maps, n, n, seed=3), 4)[:, 4:16].numpy()
    psi = np.array(
        [wavelet(n, j, np.pi * direction / 4, 4) for j in (1, 2, 3) for direction in range(4)]
    )
    expected = 0.01 * np.sqrt(np.pi / 4 * (np.abs(psi) ** 2).sum((1, 2)) / n**2)
    error = first.std(0, ddof=1) / math.sqrt(n_maps)
    assert (error < 0.02 * expected).all()
    assert (np.abs(first.mean(0) - expected) < 4 * error).all()


def test_coefficients_are_bounded_by_the_power():
    """⟨|κ * ψ|⟩² ≤ ⟨|κ * ψ|²⟩ = Σ |κ̂ ψ̂|² / N², and the same in the second order."""
    maps, scales = fields(32, 2), 4
    psi = np.array(
        [
            [wavelet(32, j, np.pi * direction / 4, 4) for direction in range(4)]
            for j in range(scales)
        ]
    )
    power = (np.abs(np.fft.fft2(maps.numpy())[:, None, None] * psi) ** 2).sum((-2, -1)) / 32**4
    coefficients = scattering(maps, scales).numpy()
    first, second = (
        coefficients[:, :16].reshape(-1, 4, 4),
        coefficients[:, 16:].reshape(-1, 6, 4, 4),
    )
    assert (first**2 <= power).all()
    variance = (
        power - first**2
    )  # that of |κ * ψ|, of which a wavelet, less than 1 high, takes a part
    for pair, (a, b) in enumerate(combinations(range(scales), 2)):
        assert (second[:, pair] ** 2 <= (1 + 1e-6) * variance[:, a, :, None]).all(), (a, b)


def test_first_order_is_linear_and_the_ratios_are_without_a_scale():
    maps = noise(2, 64, 64)
    torch.testing.assert_close(
        scattering(-3 * maps + 0.1), 3 * scattering(maps), rtol=1e-9, atol=0
    )
    expected = reduced_scattering(maps)
    expected[:, :5] *= 3
    torch.testing.assert_close(reduced_scattering(-3 * maps + 0.1), expected, rtol=1e-9, atol=0)


# ---------------------------------------------------------------- symmetries


@pytest.mark.parametrize("n", [32, 33, 64, 90])
@pytest.mark.parametrize("orientations", [2, 4, 6])
def test_isotropic_coefficients_keep_under_the_eight_symmetries(n, orientations):
    maps = noise(2, n, n)
    expected = reduced_scattering(maps, orientations=orientations)
    for k in range(4):
        for view in (maps.rot90(k, (-2, -1)), maps.rot90(k, (-2, -1)).mT):
            torch.testing.assert_close(
                reduced_scattering(view, orientations=orientations), expected, rtol=1e-12, atol=0
            )


def test_a_quarter_turn_moves_the_directions_on():
    maps = noise(2, 64, 64)
    found, turned = scattering(maps), scattering(maps.rot90(1, (-2, -1)))
    torch.testing.assert_close(
        turned[:, :20].reshape(2, 5, 4),
        found[:, :20].reshape(2, 5, 4).roll(2, -1),
        rtol=1e-12,
        atol=0,
    )
    second = found[:, 20:].reshape(2, 10, 4, 4).roll((2, 2), (-2, -1))
    torch.testing.assert_close(turned[:, 20:].reshape(2, 10, 4, 4), second, rtol=1e-12, atol=0)


@pytest.mark.parametrize("n, tolerance", [(32, 1e-12), (64, 1e-3), (100, 1e-3)])
def test_isotropic_coefficients_keep_under_periodic_shifts(n, tolerance):
    maps = fields(n, 3)
    expected = reduced_scattering(maps)
    for shift in [(1, 0), (5, -11), (n // 2, 3)]:
        torch.testing.assert_close(
            reduced_scattering(maps.roll(shift, (-2, -1))), expected, rtol=tolerance, atol=0
        )


# ---------------------------------------------------------------- the rest


def test_the_order_of_the_entries():
    assert scattering_order(3) == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
    assert scattering_order(1) == [(0,)]
    for n, scales in [(4, 1), (8, 2), (32, 4), (64, 5), (100, 5), (256, 7)]:
        assert scattering_scales(MapGrid(n, 5.0)) == scales
    assert reduced_scattering(noise(64, 64)).shape == (len(scattering_order(5)),)
    assert (
        reduced_scattering(noise(32, 32), 1).shape
        == scattering(noise(32, 32), 1, 2).mean()[None].shape
    )


def test_single_precision_batches_and_leading_dimensions():
    maps = noise(34, 64, 64)  # more than one batch
    expected = reduced_scattering(maps)
    single = reduced_scattering(maps.float())
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(reduced_scattering(maps[-1]), expected[-1], rtol=1e-12, atol=0)
    stacked = reduced_scattering(maps.reshape(2, 17, 64, 64))
    torch.testing.assert_close(stacked, expected.reshape(2, 17, -1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("function", [scattering, reduced_scattering])
def test_scattering_has_gradients(function):
    maps = noise(1, 12, 12).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function(x, 2), maps, eps=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flat_maps_have_no_texture_and_finite_gradients(dtype):
    for level in (0.0, 0.3):
        maps = torch.full((2, 40, 40), level, dtype=dtype, requires_grad=True)
        found = reduced_scattering(maps)
        found.sum().backward()
        assert torch.isfinite(maps.grad).all() and torch.isfinite(found).all()
        assert float(found.detach()[:, :4].abs().max()) < 1e-7


@pytest.mark.parametrize(
    "shape, arguments, sentence",
    [
        (
            (32, 32),
            {"scales": 5},
            "maps of 32² pixels have 1 to 4 scattering scales, found scales = 5",
        ),
        ((32, 32), {"scales": 0}, "have 1 to 4 scattering scales, found scales = 0"),
        ((32, 32), {"orientations": 3}, "the number of orientations must be even, found 3"),
        ((32, 32), {"orientations": 0}, "the number of orientations must be even, found 0"),
        ((32, 33), {}, "this statistic needs square maps, found 32 × 33 pixels"),
    ],
)
def test_scattering_refuses(shape, arguments, sentence):
    for function in (scattering, reduced_scattering):
        with pytest.raises(ValueError, match=sentence):
            function(noise(*shape), **arguments)


def test_scattering_refuses_nan():
    maps = noise(2, 32, 32)
    maps[1, 2, 3] = math.nan
    with pytest.raises(ValueError, match="map 1 of 2 holds NaN or infinity"):
        reduced_scattering(maps)
