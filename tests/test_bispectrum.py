"""Bispectra, compared with sums over all triangles, planted waves and a lognormal closed form.

Statistical tests use fixed seeds. Each says how often correct code would fail it with another
seed.
"""

import math

import numpy as np
import pytest
import torch

from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.stats import bispectrum, equilateral, folded, shell_edges, squeezed

SIDE = 5.0
SMALL = MapGrid(12, SIDE)
EDGES = SMALL.ell_min * np.array([0.999, 1.9, 2.9, 4.0])
TRIANGLES = [(0, 0, 0), (1, 1, 1), (2, 2, 2), (1, 0, 0), (2, 1, 1), (2, 2, 0), (0, 1, 2)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def skewed(*shape: int, seed: int = 1) -> torch.Tensor:
    """White noise with a skewness, float64."""
    x = torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)
    return 0.01 * (x + 0.5 * x**2)


def shapes(edges) -> list[tuple[int, int, int]]:
    return equilateral(edges) + folded(edges) + squeezed(edges)


def wave_numbers(n: int) -> np.ndarray:
    """Every wave vector of the grid, shape ``(n², 2)``."""
    k = np.fft.fftfreq(n, 1 / n).round().astype(int)
    return np.stack(np.meshgrid(k, k, indexing="ij"), -1).reshape(-1, 2)


def closed_triangles(grid: MapGrid, edges, triple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All (k₁, k₂, k₃) from three shells with k₁ + k₂ + k₃ = 0.

    Written as a loop over pairs of modes, without Fourier transforms and without wrapping round.
    """
    k = wave_numbers(grid.n)
    ell = grid.ell_min * np.hypot(*k.T)
    shell = [k[(ell >= edges[i]) & (ell < edges[i + 1])] for i in triple]
    third = {tuple(x) for x in shell[2]}
    found = [(a, b, -a - b) for a in shell[0] for b in shell[1] if tuple(-a - b) in third]
    return tuple(np.array(x) for x in zip(*found))


@pytest.mark.parametrize("n", [12, 13, 16])
def test_bispectrum_is_the_average_over_all_closed_triangles(n):
    grid, maps = MapGrid(n, SIDE), skewed(3, n, n)
    modes = np.fft.fft2(maps.numpy()) * grid.area / n**2  # κ(ℓ) = ∫ d²θ κ e^(−iℓ·θ)
    expected = []
    for triple in TRIANGLES:
        triangles = closed_triangles(grid, EDGES, triple)
        product = np.prod([modes[:, k[:, 0], k[:, 1]] for k in triangles], 0)
        expected.append(product.mean(1) / grid.area)  # (2π)² δ_D(0) is the area
    np.testing.assert_allclose(np.imag(expected), 0, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(
        bispectrum(maps, SIDE, EDGES, TRIANGLES), np.real(expected).T, rtol=1e-9
    )


@pytest.mark.parametrize("n", [32, 36, 40, 64])
def test_coarser_grids_give_the_same_sum(n):
    """Products of long waves on coarser grids equal those at full size."""
    grid, maps = MapGrid(n, SIDE), skewed(2, n, n)
    edges = np.array([*shell_edges(grid)[:2], 4.9 * grid.ell_min, 2 / 3 * grid.ell_max])
    triples = shapes(edges) + [
        (2, 1, 1),
        (2, 1, 0),
    ]  # of which most modes in the widest shell close no triangle
    ell = grid.ell.numpy()
    bands = [(ell >= low) & (ell < high) for low, high in zip(edges, edges[1:])]
    fields = [np.fft.irfft2(np.fft.rfft2(maps.numpy()) * band, s=(n, n)) for band in bands]
    ones = [np.fft.irfft2(band * n, s=(n, n)) for band in bands]  # n² modes of 1 / n each
    expected = []
    for i, j, k in triples:
        total, number = (
            (fields[i] * fields[j] * fields[k]).sum((1, 2)),
            (ones[i] * ones[j] * ones[k]).sum(),
        )
        expected.append(total / number * n**3 * grid.area**2 / n**6)
    np.testing.assert_allclose(
        bispectrum(maps, SIDE, edges, triples), np.transpose(expected), rtol=1e-8
    )


def test_three_planted_waves():
    """The waves Σ a cos(k_i·x + φ_i) with k₁ + k₂ + k₃ = 0.

    κ̃ = a n / 2 e^(iφ). Two triangles are among those of the shells, and 3! orders of each if the
    three shells are the same.
    """
    n, amplitude, phases = 24, 0.02, (0.3, -0.5, 0.9)
    grid = MapGrid(n, SIDE)
    waves = [(3, 0), (0, 4), (-3, -4)]
    y, x = np.meshgrid(*2 * [2 * np.pi * np.arange(n) / n], indexing="ij")
    kappa = sum(amplitude * np.cos(a * y + b * x + phase) for (a, b), phase in zip(waves, phases))
    sum_of_products = 2 * (amplitude * n / 2) ** 3 * math.cos(sum(phases))

    def expected(edges, triple, orders):
        number = len(closed_triangles(grid, edges, triple)[0])
        return grid.area**2 / n**3 * orders * sum_of_products / number

    thin, thick = (
        grid.ell_min * np.array([2.5, 3.5, 4.5, 5.5]),
        grid.ell_min * np.array([2.5, 5.5]),
    )
    for edges, triple, orders in [
        (thin, (0, 1, 2), 1),
        (thin, (2, 0, 1), 1),
        (thick, (0, 0, 0), 6),
    ]:
        found = float(bispectrum(torch.from_numpy(kappa), SIDE, edges, [triple]))
        assert found == pytest.approx(expected(edges, triple, orders), rel=1e-9)
    assert (
        abs(float(bispectrum(torch.from_numpy(kappa), SIDE, thin, [(1, 1, 1)])))
        < 1e-20 * amplitude**3
    )


def test_bispectrum_of_a_lognormal_field_is_its_closed_form():
    """κ = λ (e^(g − s²/2) − 1) has a three-point function in closed form.

    ζ = λ³ (x₁₂x₂₃ + x₁₂x₁₃ + x₁₃x₂₃ + x₁₂x₂₃x₁₃) with x = e^(ξ_g) − 1.

    This is exact for each triangle of the periodic grid, by the Fourier transform of ζ over two
    separations. 7 bins of the mean of 60,000 maps within 4 standard errors. The errors are below 2
    %, while the last term is 9 to 16 %. Fails by chance with probability 4e-4.
    """
    n, shift, n_maps = SMALL.n, 0.02, 60_000
    power = lambda ell: 4e-8 * (1 + (ell / 300) ** 2) ** -1.2
    field = LognormalField.from_correlation(GaussianField.from_power(SMALL, power).variance, shift)
    x = np.expm1(np.fft.irfft2(field.gaussian.variance.numpy(), s=(n, n)))
    away = (np.arange(n)[:, None] - np.arange(n)) % n
    a, b = x[:, :, None, None], x[None, None]
    c = x[away[:, None, :, None], away[None, :, None, :]]  # between the ends of two separations
    zeta = shift**3 * (a * b + a * c + b * c + a * b * c)
    spectrum = np.fft.fftn(zeta).real * SMALL.area**2 / n**4
    expected = []
    for triple in TRIANGLES:
        k1, k2, _ = closed_triangles(SMALL, EDGES, triple)
        expected.append(spectrum[k1[:, 0], k1[:, 1], k2[:, 0], k2[:, 1]].mean())
    found = bispectrum(field.sample(n_maps, seeded(2)).double(), SIDE, EDGES, TRIANGLES).numpy()
    error = found.std(0, ddof=1) / math.sqrt(n_maps)
    assert (error < 0.02 * np.array(expected)).all()
    assert (np.abs(found.mean(0) - expected) < 4 * error).all()


def test_bispectrum_of_a_gaussian_field_is_zero():
    """18 bins within 4 standard errors of 400 maps: fails by chance with probability 1e-3."""
    grid = MapGrid(64, SIDE)
    edges = shell_edges(grid)
    maps = GaussianField.from_power(
        grid, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).sample(400, seeded(3))
    found = bispectrum(maps, SIDE, edges, shapes(edges)).numpy()
    assert found.shape == (400, 18)
    assert (np.abs(found.mean(0)) < 4 * found.std(0, ddof=1) / 20).all()


def test_bispectrum_scales_with_the_field_and_the_cube_of_kappa():
    """The same pixels over twice the side: half the ℓ and sixteen times the B."""
    maps = skewed(2, 12, 12)
    found = bispectrum(maps, SIDE, EDGES, TRIANGLES)
    torch.testing.assert_close(
        bispectrum(maps, 2 * SIDE, EDGES / 2, TRIANGLES), 16 * found, rtol=1e-10, atol=0
    )
    torch.testing.assert_close(
        bispectrum(-2 * maps + 0.1, SIDE, EDGES, TRIANGLES), -8 * found, rtol=1e-8, atol=0
    )


def test_bispectrum_keeps_under_symmetries_and_periodic_shifts():
    maps = skewed(2, 32, 32)
    edges = shell_edges(MapGrid(32, SIDE))
    expected = bispectrum(maps, SIDE, edges, shapes(edges))
    views = [v for k in range(4) for v in (maps.rot90(k, (-2, -1)), maps.rot90(k, (-2, -1)).mT)]
    for view in [*views, maps.roll((5, -11), (-2, -1))]:
        torch.testing.assert_close(
            bispectrum(view, SIDE, edges, shapes(edges)), expected, rtol=1e-7, atol=1e-22
        )


def test_the_order_of_shells_in_a_triple_does_not_matter():
    maps = skewed(2, 12, 12)
    one, *others = (bispectrum(maps, SIDE, EDGES, [t]) for t in [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
    for other in others:
        torch.testing.assert_close(other, one, rtol=1e-10, atol=0)


def test_bispectrum_of_single_precision_and_leading_dimensions():
    maps = skewed(6, 12, 12)
    expected = bispectrum(maps, SIDE, EDGES, TRIANGLES)
    single = bispectrum(maps.float(), SIDE, EDGES, TRIANGLES)
    assert single.dtype == expected.dtype == torch.float64
    assert float((single - expected).abs().max() / expected.std()) < 1e-5
    stacked = bispectrum(maps.reshape(2, 3, 12, 12), SIDE, EDGES, TRIANGLES)
    torch.testing.assert_close(stacked, expected.reshape(2, 3, -1), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        bispectrum(maps[0], SIDE, EDGES, TRIANGLES), expected[0], rtol=1e-12, atol=0
    )


def test_more_maps_than_one_batch():
    maps = skewed(2**18 // 144 + 5, 12, 12)
    found = bispectrum(maps, SIDE, EDGES, TRIANGLES)
    torch.testing.assert_close(
        found[-7:], bispectrum(maps[-7:], SIDE, EDGES, TRIANGLES), rtol=1e-12, atol=0
    )


def test_bispectrum_has_gradients():
    maps = 100 * skewed(2, 12, 12)
    function = lambda x: 1e9 * bispectrum(x, SIDE, EDGES, TRIANGLES)
    assert torch.autograd.gradcheck(function, maps.requires_grad_())


# ---------------------------------------------------------------- masks


def test_a_mask_that_hides_nothing_changes_nothing():
    maps = skewed(3, 12, 12)
    expected = bispectrum(maps, SIDE, EDGES, TRIANGLES)
    everywhere = torch.ones(12, 12, dtype=torch.bool)
    torch.testing.assert_close(
        bispectrum(maps, SIDE, EDGES, TRIANGLES, everywhere), expected, rtol=1e-8, atol=0
    )


def test_the_mask_hides_pixels_and_the_mean():
    """Compared with zeros put in by hand, over the observed share; one mask a map."""
    maps, mask = skewed(3, 12, 12), torch.rand(3, 12, 12, generator=seeded(4)) < 0.8
    hidden = torch.where(mask, maps + 0.3, torch.nan)
    filled = torch.stack([torch.where(seen, x - x[seen].mean(), 0) for x, seen in zip(maps, mask)])
    expected = bispectrum(filled, SIDE, EDGES, TRIANGLES) / mask.double().mean((-2, -1))[:, None]
    torch.testing.assert_close(
        bispectrum(hidden, SIDE, EDGES, TRIANGLES, mask), expected, rtol=1e-8, atol=0
    )


def test_masks_keep_the_bispectrum_of_waves_shorter_than_the_sky_seen():
    """White skewed noise, whose B is flat, with half of the sky hidden.

    5 bins within 4 standard errors of those of the whole sky: fails by chance with probability
    3e-4. Without the share of the sky the difference would be 12 standard errors.
    """
    grid, n_maps = MapGrid(32, SIDE), 10_000
    maps, mask = skewed(n_maps, 32, 32, seed=5), torch.zeros(32, 32, dtype=torch.bool)
    mask[:, :16] = True
    edges = grid.ell_min * np.linspace(3, 10.5, 6)
    found = bispectrum(maps, SIDE, edges, equilateral(edges), mask).numpy()
    third = 1e-6 * (3 * 0.5 * 2 + 0.5**3 * 8)  # ⟨κ³⟩ of x + x²/2: 3 a Cov(x², x²) + a³ · 8
    expected = third * (grid.area / 32**2) ** 2
    error = found.std(0, ddof=1) / math.sqrt(n_maps)
    assert (np.abs(found.mean(0) - expected) < 4 * error).all()
    assert (error < expected / 25).all()


# ---------------------------------------------------------------- shells and errors


@pytest.mark.parametrize("n", [8, 12, 15, 16, 32, 33, 64, 100, 256])
@pytest.mark.parametrize("shells", [1, 4, 8, 20])
def test_default_shells_reach_two_thirds_of_nyquist_and_hold_triangles(n, shells):
    grid = MapGrid(n, SIDE)
    edges = shell_edges(grid, shells)
    assert edges[0] < grid.ell_min < edges[1] and edges[-1] == pytest.approx(grid.ell_max * 2 / 3)
    assert 2 <= len(edges) <= shells + 1 and (np.diff(edges) > 0).all()
    if n < 256 or shells == 8:
        bispectrum(
            skewed(1, n, n), SIDE, edges, shapes(edges)
        )  # refuses triples without triangles


def test_the_three_shapes():
    edges = [100.0, 200.0, 400.0, 800.0]
    assert equilateral(edges) == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
    assert folded(edges) == [(1, 0, 0), (2, 1, 1)]
    assert squeezed(edges) == [(1, 1, 0), (2, 2, 0)]
    assert folded([100.0, 150.0, 225.0, 340.0, 500.0]) == [(2, 0, 0), (3, 1, 1)]
    assert folded([100.0, 900.0, 1000.0]) == []  # 600 lies in the same shell


def test_a_mode_on_an_edge_belongs_to_the_shell_above():
    """Waves above 12 / 3 = 4 a side would wrap round: the top shell ends below them."""
    maps = skewed(1, 12, 12)
    y = torch.arange(12, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * 4 * y / 12)[:, None].expand(12, 12)
    edges = shell_edges(SMALL)
    without = bispectrum(maps, SIDE, edges, shapes(edges))
    found = bispectrum(maps + wave, SIDE, edges, shapes(edges))
    torch.testing.assert_close(found, without, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "edges, triangles, sentence",
    [
        (
            SMALL.ell_min * np.array([1, 4.1]),
            [(0, 0, 0)],
            r"at most two thirds of the Nyquist frequency, ℓ = 288, ",
        ),
        (EDGES, [(0, 0, 2)], r"the shells \(0, 0, 2\) hold no closed triangle of modes"),
        (SMALL.ell_min * np.array([1, 1.3]), [(0, 0, 0)], r"hold no closed triangle of modes"),
        (
            EDGES,
            [(0, 0, 3)],
            r"a triangle is three of the 3 shells, numbered from 0, found \(0, 0, 3\)",
        ),
        (EDGES, [(0, 0, -1)], r"a triangle is three of the 3 shells"),
        (EDGES, [(0, 0)], r"a triangle is three of the 3 shells"),
        (EDGES, [], r"name at least one triangle"),
        ([0.0, 100.0], [(0, 0, 0)], r"the edges of the shells must rise from above zero"),
        ([200.0, 100.0], [(0, 0, 0)], r"the edges of the shells must rise from above zero"),
        ([200.0], [(0, 0, 0)], r"the edges of the shells must rise from above zero"),
    ],
)
def test_bispectrum_refuses(edges, triangles, sentence):
    with pytest.raises(ValueError, match=sentence):
        bispectrum(skewed(1, 12, 12), SIDE, edges, triangles)


def test_bispectrum_refuses_maps_that_are_not_square_finite_or_seen():
    with pytest.raises(ValueError, match="needs square maps, found 12 × 13 pixels"):
        bispectrum(skewed(12, 13), SIDE, EDGES, TRIANGLES)
    maps = skewed(2, 12, 12)
    nothing = torch.ones(2, 12, 12, dtype=torch.bool)
    nothing[1] = False
    with pytest.raises(ValueError, match="the mask leaves nothing of a map to measure"):
        bispectrum(maps, SIDE, EDGES, TRIANGLES, nothing)
    maps[1, 2, 3] = math.nan
    with pytest.raises(ValueError, match="map 1 of 2 holds NaN or infinity"):
        bispectrum(maps, SIDE, EDGES, TRIANGLES)
