"""Minkowski functionals, compared with scikit-image, planted maps and Gaussian closed forms.

Statistical tests use fixed seeds. Each says how often correct code would fail it with another
seed.
"""

import math

import numpy as np
import pytest
import torch
from skimage.measure import euler_number

from lensnb.maps import ARCMIN, GaussianField, MapGrid
from lensnb.stats import gaussian_minkowski, minkowski

GRID = MapGrid(32, 5.0)
KAPPA = np.linspace(-0.03, 0.03, 8)


def power(ell):
    """A red spectrum of roughly the size of κ's, in sr."""
    return 1e-8 * (1 + (ell / 300) ** 2) ** -0.8


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """White noise of the size of κ, float64."""
    return 0.01 * torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def gaussian_levels(sigma: float) -> np.ndarray:
    return sigma * np.linspace(-2.5, 2.5, 11)


def bin_averages(edges: np.ndarray, sigma0: float, sigma1: float) -> np.ndarray:
    """The closed forms, V₁ and V₂ averaged over each bin (Gauss–Legendre), shape ``(3, bins)``."""
    node, weight = np.polynomial.legendre.leggauss(8)
    centre, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges)[:, None] / 2
    nu = centre[:, None] + half * node
    fine = gaussian_minkowski(nu.ravel(), sigma0, sigma1).reshape(3, len(centre), 8) @ (weight / 2)
    return np.stack(
        [gaussian_minkowski(centre, sigma0, sigma1).reshape(3, -1)[0], fine[1], fine[2]]
    )


def field_sigma(field: GaussianField, response=1.0) -> float:
    """Standard deviation of the field after a filter with this squared ``response``."""
    weight = MapGrid(field.n, 1.0).multiplicity * field.variance
    return math.sqrt(float((weight * response).sum()) / field.n**2)


def test_minkowski_of_a_resolved_gaussian_field():
    """The closed forms with σ₁² = Σ ℓ² C.

    The spectrum ends at a 29th of the Nyquist frequency, so that finite differences are only 0.6 %
    low in σ₁². 30 numbers within 4 standard errors: fails by chance with probability 2e-3.
    """
    grid, n_maps = MapGrid(128, 5.0), 60
    field = GaussianField.from_power(
        grid, lambda ell: 1e-8 * torch.exp(-((ell / 160) ** 2)) + 1e-18
    )
    sigma0, sigma1 = field_sigma(field), field_sigma(field, (grid.ell * ARCMIN) ** 2)
    edges = gaussian_levels(sigma0)
    found = minkowski(field.sample(n_maps, seeded(6)).double(), grid.side_deg, edges).numpy()
    error = found.std(0, ddof=1) / math.sqrt(n_maps)
    assert (np.abs(found.mean(0) - bin_averages(edges, sigma0, sigma1).ravel()) < 4 * error).all()


def test_minkowski_of_a_rough_gaussian_field_as_discretised():
    """Finite differences of a Gaussian field are Gaussian.

    V₁ has the closed form with the variance of the central difference, V₂ with the correlation of
    κ and its second difference. 30 numbers within 4 standard errors: fails by chance with
    probability 2e-3.
    """
    n_maps, step = 400, GRID.pixel_arcmin
    field = GaussianField.from_power(GRID, power)
    row, column = (
        GRID.ell_min * ARCMIN * step * torch.fft.fftfreq(32, 1 / 32, dtype=torch.float64)
        for _ in range(2)
    )
    column = column[:17].abs()
    first = (row.sin() ** 2)[:, None] + column.sin() ** 2
    second = (2 - 2 * row.cos())[:, None] + (2 - 2 * column.cos())
    sigma0 = field_sigma(field)
    slope, curve = field_sigma(field, first / step**2), field_sigma(field, second / step**2)
    assert curve > 1.2 * slope  # so rough that the two differ
    edges = gaussian_levels(sigma0)
    expected = np.r_[
        bin_averages(edges, sigma0, slope)[:2].ravel(), bin_averages(edges, sigma0, curve)[2]
    ]
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


HILLS = (
    hill(60.2, 60.6, 1.0) + hill(60.2, 105.1, 0.8) + hill(70.4, 220.8, 0.9)
)  # a saddle joins the first two
RINGS = ring(200.3, 90.7) + ring(200.3, 174.2)  # they touch, which makes a figure of eight


@pytest.mark.parametrize(
    "kappa, low, high, expected",
    [
        (HILLS, 0.15, 0.35, 2),
        (HILLS, 0.6, 0.75, 3),
        (HILLS, 0.82, 0.88, 2),
        (HILLS, 0.92, 0.98, 1),
        (RINGS, 0.15, 0.3, -1),
        (RINGS, 0.5, 0.65, -1),
        (HILLS + RINGS, 0.15, 0.3, 1),
        (HILLS + RINGS, 0.6, 0.7, 2),
    ],
)
def test_v2_is_the_euler_number_a_unit_area(kappa, low, high, expected):
    """Gauss–Bonnet: the curvature along the edge of a set, over 2π, is its Euler number.

    This is an integer, and so a tolerance of 0.1 is strict enough.
    """
    for nu in np.linspace(low, high, 5):
        assert euler_number(kappa.numpy() >= nu, connectivity=1) == expected
    area = (298 * MapGrid(300, 5.0).pixel_arcmin) ** 2
    assert float(minkowski(kappa, 5.0, [low, high])[2]) * area == pytest.approx(expected, abs=0.1)


def test_v1_is_a_quarter_of_the_boundary_length():
    """The excursion sets of a cone are discs: V₁ = 2πr / 4A, to 1 % because of the pixels."""
    y, x = torch.meshgrid(*2 * [torch.arange(200, dtype=torch.float64)], indexing="ij")
    cone, pixel = -torch.hypot(y - 99.3, x - 99.8), MapGrid(200, 5.0).pixel_arcmin
    edges = np.array([-80.0, -70.0, -60.0, -50.0, -40.0])
    v1 = minkowski(cone, 5.0, edges)[4:8].numpy()
    radius = np.array(
        [75.0, 65.0, 55.0, 45.0]
    )  # in pixels; the average over a bin is that at its centre
    np.testing.assert_allclose(v1, 2 * np.pi * radius / (4 * 198**2 * pixel), rtol=0.01)


def test_minkowski_units_are_arcminutes():
    maps = noise(2, 16, 16)
    small, large = (minkowski(maps, side, KAPPA).reshape(2, 3, -1) for side in (5.0, 10.0))
    torch.testing.assert_close(
        large, small / torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)[:, None]
    )
