"""The expected power of a cut-out, compared with sums over pixels and with Gaussian maps."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf

from lensnb.maps import GaussianField, MapGrid
from lensnb.stats import (
    band_averages,
    cutout_power,
    ell_edges,
    pixel_window,
    power_spectrum,
)

GRID = MapGrid(16, 5.0)
PIXEL = math.radians(GRID.side_deg) / GRID.n


def gaussian_spectrum(length: float):
    """C_ℓ = 2π s² exp(−ℓ² s²/2), of the correlation function exp(−θ²/2s²)."""
    return lambda ell: 2 * np.pi * length**2 * np.exp(-0.5 * (ell * length) ** 2)


def pixel_correlation(distance: int, length: float) -> float:
    """Mean of exp(−x²/2s²) over two pixels of a row; the square of this factorises."""
    s = length / PIXEL

    def with_second(x: float) -> float:
        """Averaged over the second pixel, whose centre is at ``distance``."""
        high, low = (distance + 0.5 - x), (distance - 0.5 - x)
        root = math.sqrt(2) * s
        return s * math.sqrt(math.pi / 2) * (erf(high / root) - erf(low / root))

    return quad(with_second, -0.5, 0.5, epsabs=1e-12)[0]


@pytest.mark.parametrize("pixels", [0.5, 1.0, 1.5])
def test_the_power_is_the_sum_over_all_pairs_of_pixels(pixels):
    """Exact: ⟨|κ̃|²⟩ = (1/N) Σ_pq ⟨κ_p κ_q⟩ e^(−iℓ(p − q)). Half a pixel has many aliases."""
    length = pixels * PIXEL
    along = [pixel_correlation(d, length) for d in range(GRID.n)]
    distance = np.arange(GRID.n)
    matrix = np.array(along)[abs(distance[:, None] - distance)]
    phase = np.exp(-2j * np.pi * np.outer(distance, distance) / GRID.n)
    row = np.einsum("kp,pq,kq->k", phase, matrix, phase.conj()).real / GRID.n
    expected = PIXEL**2 * np.outer(row, row[: GRID.n // 2 + 1])
    found = cutout_power(gaussian_spectrum(length), GRID).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_without_aliases_the_power_of_short_waves_is_missing():
    """The planted fault. In the corner four waves look alike, so more than half is missing."""
    spectrum = gaussian_spectrum(0.5 * PIXEL)
    whole, part = (cutout_power(spectrum, GRID, aliases=count) for count in (2, 0))
    nyquist = (GRID.n // 2, GRID.n // 2)
    assert part[0, 0] == pytest.approx(float(whole[0, 0]), rel=0.01)
    assert part[nyquist] < 0.5 * whole[nyquist]


def test_gaussian_maps_have_the_expected_power():
    """Cut-outs of a wide sky with 4 × 4 cells a pixel; C_ℓ ∝ ℓ⁻² mixes strongly at the edges.

    The cells are averages too, so that the mean of 16 is that of the pixel. 400 skies have 16
    cut-outs each. Of 5 bins and the variance of the mean, none is off by 4 standard errors over
    skies: fails by chance with probability 4e-4.
    """

    def spectrum(ell):
        return 1e-4 / (ell**2 + 100.0**2)

    fine = MapGrid(4 * 4 * GRID.n, 4 * GRID.side_deg)
    window = pixel_window(fine) ** 2
    field = GaussianField.from_power(fine, lambda ell: spectrum(ell) * window)
    edges = ell_edges(GRID)
    expected = cutout_power(spectrum, GRID, sides=4)
    wanted = np.append(band_averages(expected, GRID, edges), float(expected[0, 0]))
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(400):
        sky = torch.nn.functional.avg_pool2d(field.sample(1, generator)[:, None], 4)[0, 0]
        maps = sky.unfold(0, GRID.n, GRID.n).unfold(1, GRID.n, GRID.n).flatten(0, 1).double()
        power = power_spectrum(maps, GRID.side_deg, edges).mean(0).numpy()
        of_mean = GRID.area * float(maps.mean((1, 2)).square().mean())
        found.append(np.append(power, of_mean))
    error = np.std(found, 0, ddof=1) / 20
    assert (error < 0.05 * wanted).all()
    assert (abs(np.mean(found, 0) - wanted) < 4 * error).all()


def test_averages_are_those_of_a_measured_spectrum():
    edges = ell_edges(GRID)
    ones = torch.full(GRID.ell.shape, 3.0, dtype=torch.float64)
    assert np.allclose(band_averages(ones, GRID, edges), 3)
    one = GaussianField.white(GRID.n).sample(1, torch.Generator().manual_seed(1))
    modes = torch.fft.rfft2(one[0].double(), norm="ortho").abs() ** 2 * GRID.area / GRID.n**2
    spectrum = power_spectrum(one.double(), GRID.side_deg, edges)[0].numpy()
    np.testing.assert_allclose(band_averages(modes, GRID, edges), spectrum, rtol=1e-10)
