"""Shear and convergence: exact on periodic fields, by hand on single galaxies, against a potential's derivatives."""

import math

import pytest
import torch

from lensnb.maps import GaussianField, MapGrid
from lensnb.shear import bin_shear, kaiser_squires, shape_noise, shear

SEED = torch.Generator().manual_seed


def field(n: int = 32) -> torch.Tensor:
    """Two periodic κ maps, float64."""
    return (
        GaussianField.from_power(MapGrid(n, 5.0), lambda ell: 1e-9 * (ell / 1000) ** -1.5)
        .sample(2, SEED(1))
        .double()
    )


@pytest.mark.parametrize("n", [31, 32])
def test_round_trip_is_exact_but_for_the_mean(n):
    kappa = field(n)
    kappa_e, kappa_b = kaiser_squires(shear(kappa), periodic=True)
    torch.testing.assert_close(
        kappa_e, kappa - kappa.mean((-2, -1), keepdim=True), rtol=0, atol=1e-15
    )
    assert kappa_b.abs().max() < 1e-15


def test_shear_is_that_of_the_potential():
    """γ from the closed-form second derivatives of ψ = exp(−r²/2s²), in the signs of the module's head."""
    n, s = 64, 4.0
    x = torch.arange(n, dtype=torch.float64) - n // 2
    y, x = x[:, None], x[None, :]
    psi = torch.exp(-(x**2 + y**2) / (2 * s**2))
    xx, yy, xy = psi * (x**2 / s**2 - 1) / s**2, psi * (y**2 / s**2 - 1) / s**2, psi * x * y / s**4
    gamma = shear((xx + yy) / 2)
    inside = (slice(8, -8), slice(8, -8))  # ψ is not quite zero at the edges
    torch.testing.assert_close(gamma.real[inside], ((xx - yy) / 2)[inside], rtol=0, atol=1e-9)
    torch.testing.assert_close(gamma.imag[inside], xy[inside], rtol=0, atol=1e-9)


def test_shear_round_a_mass_is_tangential():
    kappa = torch.zeros(33, 33, dtype=torch.float64)
    kappa[16, 16] = 1
    gamma = shear(kappa)
    assert (
        gamma[16, 20].real < 0 < gamma[20, 16].real
    )  # right of the mass images stand upright, above they lie flat
    assert gamma[20, 20].imag < 0 < gamma[20, 12].imag


def test_the_wrong_sign_of_one_component_shows_in_the_b_mode():
    """E and B share the power of each mode then, as cos² and sin² of twice the phase of D: a half each on average."""
    gamma = shear(field(64))
    _, kappa_b = kaiser_squires(gamma.conj(), periodic=True)
    assert 0.3 < kappa_b.var() / gamma.abs().square().mean() < 0.7


def test_edges_disturb_less_when_surrounded_by_zeros():
    """Windows of larger skies, which do not wrap round: the B mode is all from the edges (0.50 to 0.58 in five seeds)."""
    whole = GaussianField.from_power(
        MapGrid(128, 5.0), lambda ell: 1e-9 * (ell / 1000) ** -1.5
    ).sample(8, SEED(1))
    window, truth = shear(whole)[:, :64, :64], whole[:, :64, :64].double()
    padded, wrapped = (kaiser_squires(window, periodic=periodic) for periodic in (False, True))
    assert padded[1].var() < 0.7 * wrapped[1].var()
    middle = (..., slice(16, 48), slice(16, 48))
    off = (padded[0] - truth)[middle]
    assert (off - off.mean((-2, -1), keepdim=True)).var() < 0.01 * truth[middle].var()


def test_binning_by_hand():
    x, y = torch.tensor([0.5, 0.7, 3.9, 4.0, -0.1]), torch.tensor([2.5, 2.6, 0.0, 1.0, 1.0])
    gamma = torch.tensor([1 + 2j, 3 - 4j, 5j, 7, 7])
    mean, count = bin_shear(x, y, gamma, 4, 4.0)
    assert count.sum() == 3 and (count[2, 0], count[0, 3]) == (2, 1)  # row is y, column is x
    assert mean[2, 0] == 2 - 1j and mean[0, 3] == 5j and mean.abs().sum() == abs(2 - 1j) + 5
    assert mean.dtype == torch.complex128


def test_shape_noise_is_the_scatter_of_kappa_from_rotated_galaxies():
    """Eight galaxies in each of 64² pixels: the scatter of κ_E and of κ_B is σ_e / √(2N) to 5 σ of the sampling."""
    n, each, sigma_e = 64, 8, 0.4
    at = torch.arange(n, dtype=torch.float64) + 0.5
    x, y = (grid.flatten().repeat(each) for grid in torch.meshgrid(at, at, indexing="xy"))
    gamma = torch.full((len(x),), sigma_e, dtype=torch.complex128)
    phase = torch.rand(len(x), generator=SEED(3), dtype=torch.float64) * (2 * math.pi)
    turned = gamma * torch.polar(torch.ones_like(phase), phase)
    assert turned.abs().sub(
        sigma_e
    ).abs().max() < 1e-12 and turned.mean().abs() < 5 * sigma_e / math.sqrt(len(x))
    mean, count = bin_shear(x, y, turned, n, float(n))
    noise = shape_noise(turned, count)
    torch.testing.assert_close(
        noise, torch.full((n, n), sigma_e / math.sqrt(2 * each), dtype=torch.float64)
    )
    for kappa in kaiser_squires(mean, periodic=True):
        assert abs(kappa.std() / noise[0, 0] - 1) < 5 / math.sqrt(2 * n * n)
    assert shape_noise(turned, torch.zeros(1, 1)).isinf().all()
