"""Distances, kernels and spectra, compared with plain integrals and with functions of pyccl."""

import math
import sys

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from lensnb import theory
from lensnb.maps import GaussianField, MapGrid
from lensnb.stats import ell_edges, power_spectrum
from lensnb.theory import (
    HUBBLE_DISTANCE,
    Cosmology,
    comoving_distance,
    convergence_power,
    lensing_kernel,
    matter_power,
    scale_factor,
)

pyccl = pytest.importorskip("pyccl")

COSMOLOGIES = [Cosmology(), Cosmology(omega_m=0.4, sigma8=0.7, h=0.6, n_s=0.93, omega_b=0.06)]


@pytest.fixture(scope="module", autouse=True)
def tidy():
    """pyccl's objects raise errors if they still exist when the interpreter shuts down."""
    yield
    theory.ccl_cosmology.cache_clear()


def expansion(z: float, cosmology: Cosmology) -> float:
    """H(z) / H₀ of a flat ΛCDM universe without radiation."""
    return math.sqrt(cosmology.omega_m * (1 + z) ** 3 + 1 - cosmology.omega_m)


@pytest.mark.parametrize("cosmology", COSMOLOGIES)
def test_distance_is_the_integral_over_redshift(cosmology):
    z = np.array([[0.01, 0.3], [1.0, 3.0]])
    expected = [
        HUBBLE_DISTANCE * quad(lambda x: 1 / expansion(x, cosmology), 0, end)[0]
        for end in z.ravel()
    ]
    np.testing.assert_allclose(
        comoving_distance(z, cosmology), np.reshape(expected, z.shape), rtol=1e-5
    )
    assert comoving_distance(0.0, cosmology) == 0


def test_scale_factor_is_the_inverse_of_distance():
    z = np.array([[0.05, 0.4], [1.0, 2.0]])
    found = scale_factor(comoving_distance(z))
    assert found.shape == z.shape and np.ndim(scale_factor(500.0)) == 0
    np.testing.assert_allclose(found, 1 / (1 + z), rtol=1e-5)


@pytest.mark.parametrize("cosmology", COSMOLOGIES)
def test_kernel_is_its_formula_and_ends_at_the_source(cosmology):
    chi = np.array([0.0, 200.0, 900.0])
    z = [0.0] + [float(1 / scale_factor(x, cosmology) - 1) for x in chi[1:]]
    source = HUBBLE_DISTANCE * quad(lambda x: 1 / expansion(x, cosmology), 0, 1.0)[0]
    expected = (
        1.5
        * cosmology.omega_m
        / HUBBLE_DISTANCE**2
        * chi
        * (source - chi)
        / source
        * (1 + np.array(z))
    )
    np.testing.assert_allclose(lensing_kernel(chi, 1.0, cosmology), expected, rtol=1e-4)
    behind = float(comoving_distance(1.0, cosmology)) * np.array([1.0, 1.001, 1.5])
    assert (lensing_kernel(behind, 1.0, cosmology) == 0).all()


@pytest.mark.parametrize("cosmology", COSMOLOGIES)
def test_linear_power_has_the_sigma8_that_was_asked_for(cosmology):
    """σ₈² = ∫ dk k² P(k) W²(8k) / 2π², with W the transform of a ball.

    k is in h/Mpc and P in (Mpc/h)³.
    """
    k = np.geomspace(1e-4, 50, 4000)
    x = 8 * k
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    integrand = k**3 * matter_power(k, 0.0, cosmology, linear=True) * window**2 / (2 * np.pi**2)
    assert math.sqrt(np.trapezoid(integrand, np.log(k))) == pytest.approx(
        cosmology.sigma8, rel=1e-3
    )


@pytest.mark.parametrize("cosmology", COSMOLOGIES)
def test_linear_power_grows_by_heaths_integral(cosmology):
    """D ∝ H ∫ da / (a H)³ (Heath 1977)."""

    def growth(z):
        integral = quad(lambda a: (a * expansion(1 / a - 1, cosmology)) ** -3, 1e-8, 1 / (1 + z))[
            0
        ]
        return expansion(z, cosmology) * integral

    for z in (0.5, 2.0):
        found = matter_power(0.1, z, cosmology, linear=True) / matter_power(
            0.1, 0.0, cosmology, linear=True
        )
        assert found == pytest.approx((growth(z) / growth(0)) ** 2, rel=1e-3)


@pytest.mark.parametrize("z_source", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("cosmology", COSMOLOGIES)
def test_convergence_power_is_pyccls(z_source, cosmology):
    """Compared with pyccl's own Limber integral over the kernel of a single source plane."""
    ell = np.geomspace(50, 5000, 12)
    universe = theory.ccl_cosmology(cosmology)
    plane = pyccl.CMBLensingTracer(universe, z_source=z_source)
    expected = pyccl.angular_cl(
        universe, plane, plane, ell - 0.5
    )  # pyccl puts ℓ + ½ into Limber's formula
    np.testing.assert_allclose(convergence_power(ell, z_source, cosmology), expected, rtol=5e-3)


def test_convergence_power_of_thin_galaxies_is_the_same():
    """Shear of galaxies in a thin shell has the same spectrum, but for the width of the shell."""
    ell, universe = np.array([100.0, 1000.0]), theory.ccl_cosmology()
    z = np.linspace(0.95, 1.05, 401)
    shell = pyccl.WeakLensingTracer(universe, dndz=(z, np.exp(-0.5 * ((z - 1) / 0.01) ** 2)))
    expected = pyccl.angular_cl(universe, shell, shell, ell)
    np.testing.assert_allclose(convergence_power(ell, 1.0), expected, rtol=0.01)


@pytest.mark.parametrize("shape", [(), (4,), (2, 2)])
def test_convergence_power_keeps_the_shape(shape):
    ell = np.geomspace(100, 2000, 4)[: math.prod(shape)].reshape(shape)
    found = convergence_power(ell, 1.0)
    assert np.shape(found) == shape
    np.testing.assert_allclose(
        np.ravel(found), convergence_power(np.geomspace(100, 2000, 4), 1.0)[: ell.size]
    )


def test_without_pyccl_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyccl", None)
    with pytest.raises(
        ImportError,
        match=r"theory needs pyccl, which is not installed: pip install 'lensnb\[sims\]'",
    ):
        comoving_distance(1.0, Cosmology(omega_m=0.123))


def test_pyccls_spectrum_in_is_the_measured_spectrum_out():
    """Gaussian maps with pyccl's C_ℓ have this spectrum when they are measured.

    C_ℓ is pyccl's own angular_cl, averaged over the modes of each bin. 200 maps know a bin to 0.1
    to 2 %. Each of 9 bins is within 4σ of sample variance: fails by chance with probability 6e-4.
    """
    grid, universe = MapGrid(64, 5.0), theory.ccl_cosmology(Cosmology())
    plane = pyccl.CMBLensingTracer(universe, z_source=1.0)
    ell, index = np.unique(grid.ell.clamp(min=grid.ell_min).numpy(), return_inverse=True)
    power = torch.from_numpy(
        pyccl.angular_cl(universe, plane, plane, ell - 0.5)[index].reshape(grid.ell.shape)
    )
    maps = GaussianField.from_power(grid, lambda _: power).sample(
        200, torch.Generator().manual_seed(0)
    )
    edges = ell_edges(grid)
    found = power_spectrum(maps, 5.0, edges).mean(0).numpy()
    for value, low, high in zip(found, edges, edges[1:]):
        weight = grid.multiplicity * ((grid.ell >= low) & (grid.ell < high))
        expected = float((weight * power).sum() / weight.sum())
        sigma = float((2 * weight * power**2).sum().sqrt() / weight.sum()) / math.sqrt(200)
        assert abs(value - expected) < 4 * sigma < 0.1 * expected
