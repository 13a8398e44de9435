"""Place, edges and directions: closed forms, symmetries and refusals.

Seeds are fixed. Statistical tests say how often they would fail with another seed.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lensnb.maps import GaussianField, MapGrid
from lensnb.stats import (
    edge_products,
    extremes,
    isotropy,
    map_mean,
    power_by_direction,
    ring_edges,
    seam_correlation,
    variance_by_place,
    wide_bands,
)

N = 32
GRID = MapGrid(N, 5.0)
BANDS = wide_bands(GRID)
RINGS = ring_edges(N)


def noise(count: int, n: int = N, seed: int = 1) -> Tensor:
    """White noise of the size of κ, float64."""
    generator = torch.Generator().manual_seed(seed)
    return 0.01 * torch.randn(count, n, n, generator=generator, dtype=torch.float64)


def wave(rows: int, columns: int, phase: float = 0.0, n: int = N) -> Tensor:
    """cos(2π (rows y + columns x) / n + phase), float64."""
    pixel = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return torch.cos(rows * pixel[:, None] + columns * pixel + phase)


# ---------------------------------------------------------------- closed forms


def test_a_constant_map():
    maps = torch.full((2, N, N), 0.02)
    value = maps[0, 0, 0].double()
    assert map_mean(maps).tolist() == [[value], [value]]
    assert extremes(maps).tolist() == [[value, value]] * 2
    assert edge_products(maps).tolist() == [[0.0, 0.0]] * 2
    assert variance_by_place(maps, RINGS).isnan().all()
    assert power_by_direction(maps, 5.0, BANDS).isnan().all()


def test_mean_and_extremes_are_numpys():
    maps = noise(5).float()
    flat = maps.numpy().astype(np.float64).reshape(5, -1)
    np.testing.assert_allclose(map_mean(maps)[:, 0], flat.mean(1), rtol=1e-12)
    np.testing.assert_array_equal(extremes(maps)[:, 0], flat.max(1))
    np.testing.assert_array_equal(extremes(maps)[:, 1], flat.min(1))


def test_edges_of_a_wave_along_the_rows():
    """cos(x + φ) has a left and a right edge that are constant, and ⟨cos²⟩ = ½ on the others."""
    phase = 0.3
    left, right = math.cos(phase), math.cos(phase - 2 * math.pi / N)
    product = (left * right + 0.5) / 2
    square = (left**2 + right**2 + 0.5 + 0.5) / 4
    found = edge_products(wave(0, 1, phase))
    np.testing.assert_allclose(found, [product, square], rtol=1e-12)
    np.testing.assert_allclose(edge_products(wave(1, 0, phase)), found, rtol=1e-12)


def test_edges_that_are_equal_or_opposite_have_correlation_plus_or_minus_one():
    maps = noise(10)
    maps -= maps.mean((1, 2), keepdim=True)
    same, opposite = maps.clone(), maps.clone()
    for edited, sign in ((same, 1), (opposite, -1)):
        edited[:, 1:-1, -1] = sign * edited[:, 1:-1, 0]
        edited[:, -1, 1:-1] = sign * edited[:, 0, 1:-1]
        edited[:, [0, 0, -1, -1], [0, -1, 0, -1]] = 0
        # Moves the mean back to zero without a change of the edges.
        edited[:, 5, 5] -= edited.sum((1, 2))
    for edited, expected in ((same, 1.0), (opposite, -1.0)):
        found = seam_correlation(edge_products(edited).mean(0))
        np.testing.assert_allclose(found, [expected], rtol=1e-12)


def test_seam_correlation_takes_resampled_means_and_channels():
    sums = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 5.0, -1.0, 2.0]])
    assert seam_correlation(sums).tolist() == [[0.5, 0.75], [0.0, -0.5]]
    assert seam_correlation(sums[0, :2]).tolist() == [0.5]


def seam_of(along: np.ndarray) -> float:
    """Seam correlation of a Gaussian field with the covariance K(x, x') K(y, y').

    With k the mean of K and e that of its first row, the covariance of an edge and the mean of the
    map is e k, and the variance of the mean is k². They are subtracted from K(0, n − 1) and 1.
    """
    whole, edge = along.mean(), along[0].mean()
    removed = 2 * edge * whole - whole**2
    return (along[0, -1] - removed) / (1 - removed)


@pytest.mark.parametrize("periodic", [True, False])
def test_seam_of_a_gaussian_field(periodic):
    """K = exp(−d² / 16 pixels²), with d round the edges if the field is periodic.

    Opposite edges of a periodic field are neighbours. Cut-outs come from a field of twice the
    side. Within 3.5 errors of 200 maps: another seed would fail in 1 of 2,000 cases.
    """
    n, side_deg = 64, 5.0
    pixel = math.radians(side_deg / n)
    grid = MapGrid(n, side_deg)
    if not periodic:
        grid = MapGrid(2 * n, 2 * side_deg)
    field = GaussianField.from_power(grid, lambda ell: torch.exp(-((ell * 2 * pixel) ** 2)))
    maps = field.sample(200, torch.Generator().manual_seed(2))[:, :n, :n]

    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    if periodic:
        distance = np.minimum(distance, n - distance)
    expected = seam_of(np.exp(-(distance**2) / 16))
    assert abs(expected - 0.94 * periodic) < 0.01

    products = edge_products(maps).numpy()
    found = seam_correlation(products.mean(0))[0]
    residual = products[:, 0] - found * products[:, 1]
    error = residual.std(ddof=1) / math.sqrt(len(maps)) / products[:, 1].mean()
    assert abs(found - expected) < 3.5 * error < 0.1


@pytest.mark.parametrize("place", [(0, 0), (1, 20), (9, 9), (20, 12), (31, 31)])
def test_place_of_one_bright_pixel(place):
    """With N pixels, the regions of M pixels with and without it have v = Σ (κ − 1/N)² / (M σ²)."""
    one = torch.zeros(N, N)
    one[place] = 1.0
    found = variance_by_place(one, RINGS)
    row, column = place
    to_edge = min(row, N - 1 - row, column, N - 1 - column)
    ring = int(np.searchsorted(RINGS, to_edge, side="right")) - 1
    quadrant = 2 * (row >= N // 2) + (column >= N // 2)

    total = N * N
    inner_sides = [N - 2 * edge for edge in RINGS]
    pixels = [a * a - b * b for a, b in zip(inner_sides, inner_sides[1:], strict=False)]
    pixels += [total / 4] * 4
    expected = []
    for region, count in enumerate(pixels):
        squares = count / total**2
        if region in (ring, len(RINGS) - 1 + quadrant):
            squares = (count - 1) / total**2 + (1 - 1 / total) ** 2
        expected.append(squares / count / ((1 - 1 / total) / total))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_place_of_a_wave_is_the_same_in_all_quadrants():
    found = variance_by_place(wave(3, 5, 0.4), RINGS)
    np.testing.assert_allclose(found[-4:], 1.0, rtol=1e-12)


def test_place_finds_the_amplitude_of_regions():
    """A quadrant with twice the amplitude: four times the variance, over the mean of 4, 1, 1, 1."""
    signs = wave(N // 2, N // 2)  # ±1, like a chessboard
    signs[:16, 16:] *= 2
    found = variance_by_place(signs, RINGS)
    np.testing.assert_allclose(found[-4:], np.array([1, 4, 1, 1]) / 1.75, rtol=1e-12)


def test_rings_are_narrow_outside_and_cover_the_map():
    assert ring_edges(64) == (0, 3, 8, 16, 32)
    for n in range(2, 70):
        edges = ring_edges(n)
        assert edges[0] == 0 and edges[-1] == (n + 1) // 2 and edges[1] == max(1, round(n / 20))
        rings = variance_by_place(noise(2, n), edges).shape[1] - 4
        assert rings == len(edges) - 1


@pytest.mark.parametrize(
    ("rows", "columns", "sector"),
    [(0, 4, 0), (1, 4, 0), (3, 3, 1), (4, 0, 2), (4, -1, 2), (3, -3, 3)],
)
def test_direction_of_a_plane_wave(rows, columns, sector):
    """All power of a band is in one sector: the taper leaks to the nearest modes only."""
    edges = [2.0 * GRID.ell_min, 6.5 * GRID.ell_min]
    expected = torch.eye(4, dtype=torch.float64)[sector]
    found = power_by_direction(wave(rows, columns, 0.3), 5.0, edges)
    if 0 in (rows, columns) or abs(rows) == abs(columns):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    else:
        assert found.argmax() == sector


def test_direction_of_white_noise_is_a_quarter():
    """Within 4 errors of the mean of 400 maps; another seed fails in 1 of 2,000 cases."""
    shares = power_by_direction(noise(400), 5.0, BANDS)
    np.testing.assert_allclose(shares.unflatten(1, (2, 4)).sum(-1), 1.0, rtol=1e-12)
    error = shares.std(0) / math.sqrt(400)
    assert ((shares.mean(0) - 0.25).abs() < 4 * error).all()


def test_the_window_hides_the_jump_at_the_edges(monkeypatch):
    """A slope across the map jumps where its edges meet, which looks like waves along a row.

    The mode k of a slope falls like 1 / k, and under a Hann window like 1 / (2 k (k² − 1)). With
    the noise at 3/8 squared, and with the modes beside the axis, a band from k = 3 gains at least
    24 times less power.
    """
    maps = noise(20)
    slope = torch.linspace(-1, 1, N, dtype=torch.float64) * 0.01 * math.sqrt(3)

    def gain() -> float:
        before = power_by_direction(maps, 5.0, BANDS)
        after = power_by_direction(maps + slope, 5.0, BANDS)
        return float((after - before).mean(0)[0])

    with_window = gain()
    monkeypatch.setattr(isotropy, "_hann", lambda n: torch.ones(n, n))
    without_window = gain()
    assert without_window > 0.1
    assert abs(with_window) < without_window / 20


# ---------------------------------------------------------------- symmetries


def test_direction_turns_with_the_map():
    maps = noise(6)
    found = power_by_direction(maps, 5.0, BANDS).unflatten(1, (2, 4))
    turned = power_by_direction(maps.rot90(1, (-2, -1)), 5.0, BANDS).unflatten(1, (2, 4))
    torch.testing.assert_close(turned, found[..., [2, 3, 0, 1]], rtol=1e-9, atol=0)
    mirrored = power_by_direction(maps.flip(-1), 5.0, BANDS).unflatten(1, (2, 4))
    torch.testing.assert_close(mirrored, found[..., [0, 3, 2, 1]], rtol=1e-9, atol=0)


@pytest.mark.parametrize("n", [31, 32])
def test_place_turns_with_the_map(n):
    maps = noise(6, n)
    edges = ring_edges(n)
    rings = len(edges) - 1
    found = variance_by_place(maps, edges)
    upside_down = variance_by_place(maps.flip(-2), edges)
    order = [*range(rings), rings + 2, rings + 3, rings, rings + 1]
    torch.testing.assert_close(upside_down, found[:, order], rtol=1e-9, atol=0)
    transposed = variance_by_place(maps.mT, edges)
    order = [*range(rings), rings, rings + 2, rings + 1, rings + 3]
    torch.testing.assert_close(transposed, found[:, order], rtol=1e-9, atol=0)


def test_mean_extremes_and_edges_are_those_of_the_turned_map():
    maps = noise(6)
    turned = maps.rot90(1, (-2, -1)).flip(-1)
    for function in (map_mean, extremes, edge_products):
        torch.testing.assert_close(function(turned), function(maps), rtol=1e-12, atol=1e-16)


# ---------------------------------------------------------------- refusals


def test_refusals():
    with pytest.raises(ValueError, match="needs square maps, found 8 × 9"):
        variance_by_place(torch.zeros(3, 8, 9), (0, 4))
    with pytest.raises(ValueError, match="the ring from 5 to 6 pixels holds no pixel"):
        variance_by_place(torch.zeros(3, 8, 8), (0, 5, 6))
    with pytest.raises(ValueError, match="known up to the Nyquist frequency"):
        power_by_direction(noise(1), 5.0, [200, 2 * GRID.ell_max])
    narrow = [5.01 * GRID.ell_min, 5.05 * GRID.ell_min]
    with pytest.raises(ValueError, match="no Fourier mode near 0°: use wider bands"):
        power_by_direction(noise(1), 5.0, narrow)
