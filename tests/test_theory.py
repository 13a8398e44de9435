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
    sigma_b,
    transverse_distance,
)

pyccl = pytest.importorskip("pyccl")

FLAT = [Cosmology(), Cosmology(omega_m=0.4, sigma8=0.7, h=0.6, n_s=0.93, omega_b=0.06)]
COSMOLOGIES = [*FLAT, Cosmology(omega_k=0.2), Cosmology(omega_k=-0.1)]


@pytest.fixture(scope="module", autouse=True)
def tidy():
    """pyccl's objects raise errors if they still exist when the interpreter shuts down."""
    yield
    theory.ccl_cosmology.cache_clear()


def expansion(z: float, cosmology: Cosmology) -> float:
    """H(z) / H₀ of a ΛCDM universe without radiation."""
    matter, curvature = cosmology.omega_m, cosmology.omega_k
    constant = 1 - matter - curvature
    return math.sqrt(matter * (1 + z) ** 3 + curvature * (1 + z) ** 2 + constant)


def transverse(chi, cosmology: Cosmology):
    """f_K(χ), with the complex root of Ω_k: one formula for both signs."""
    if cosmology.omega_k == 0:
        return chi
    root = np.sqrt(complex(cosmology.omega_k)) / HUBBLE_DISTANCE
    return (np.sinh(root * chi) / root).real


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


def test_transverse_distance_without_a_constant_is_mattigs():
    """f_K = 2c/H₀ [Ω_m z + (Ω_m − 2)(√(1 + Ω_m z) − 1)] / (Ω_m² (1 + z)) (Mattig 1958)."""
    cosmology = Cosmology(omega_m=0.3, omega_k=0.7)
    z = np.array([0.1, 1.0, 3.0])
    bracket = 0.3 * z + (0.3 - 2) * (np.sqrt(1 + 0.3 * z) - 1)
    expected = 2 * HUBBLE_DISTANCE * bracket / (0.3**2 * (1 + z))
    found = transverse_distance(comoving_distance(z, cosmology), cosmology)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("omega_k", [0.2, -0.1, 1e-9])
def test_transverse_distance_is_pyccls(omega_k):
    cosmology, z = Cosmology(omega_k=omega_k), np.array([0.2, 1.0, 2.0])
    universe = theory.ccl_cosmology(cosmology)
    expected = universe.comoving_angular_distance(1 / (1 + z)) * cosmology.h
    found = transverse_distance(comoving_distance(z, cosmology), cosmology)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_flat_universe_is_what_it_was():
    """Also its record and its name, which are stored."""
    assert transverse_distance(123.4) == 123.4
    assert "omega_k" not in Cosmology().as_dict() and "omega_k" not in repr(Cosmology())
    curved = Cosmology(omega_k=-0.05)
    assert Cosmology(**curved.as_dict()) == curved and "omega_k=-0.05" in repr(curved)


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"omega_k": float("nan")}, "omega_k must be between -1 and 1, found nan"),
        ({"omega_k": 0.8}, "omega_m must be above .* and at most 0.2"),
        ({"omega_m": 0.06, "omega_k": -0.5}, "has no Big Bang; omega_k must be higher"),
    ],
)
def test_a_curvature_that_cannot_be_is_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        Cosmology(**values)


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
        * transverse(chi, cosmology)
        * transverse(source - chi, cosmology)
        / transverse(source, cosmology)
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
@pytest.mark.parametrize("cosmology", FLAT)
def test_convergence_power_is_pyccls(z_source, cosmology):
    """Compared with pyccl's own Limber integral over the kernel of a single source plane."""
    ell = np.geomspace(50, 5000, 12)
    universe = theory.ccl_cosmology(cosmology)
    plane = pyccl.CMBLensingTracer(universe, z_source=z_source)
    expected = pyccl.angular_cl(
        universe, plane, plane, ell - 0.5
    )  # pyccl puts ℓ + ½ into Limber's formula
    np.testing.assert_allclose(convergence_power(ell, z_source, cosmology), expected, rtol=5e-3)


@pytest.mark.parametrize("omega_k", [0.2, -0.1])
def test_convergence_power_of_a_curved_universe_is_its_integral(omega_k):
    """A plain sum over redshift: dχ = c/H dz."""
    cosmology, ell = Cosmology(omega_k=omega_k), 400.0
    z = (np.arange(400) + 0.5) / 400
    chi = comoving_distance(z, cosmology)
    width = HUBBLE_DISTANCE / 400 / np.array([expansion(one, cosmology) for one in z])
    distance, source = transverse(chi, cosmology), comoving_distance(1.0, cosmology)
    lens = transverse(source - chi, cosmology) / transverse(source, cosmology)
    kernel = 1.5 * cosmology.omega_m / HUBBLE_DISTANCE**2 * lens * (1 + z)
    power = [matter_power(ell / r, one, cosmology) for r, one in zip(distance, z)]
    expected = (kernel**2 * power * width).sum()
    assert convergence_power(ell, 1.0, cosmology) == pytest.approx(expected, rel=2e-3)


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


# ---------------------------------------------------------------- the mean of a field


@pytest.mark.parametrize("side_deg", [5.0, 10.0])
def test_the_mean_of_a_field_scatters_as_the_plane_integral_says(side_deg):
    """∫ d²ℓ/(2π)² C_ℓ sinc² sinc², summed over a fine grid of ℓ_x and ℓ_y."""
    fundamental = 2 * math.pi / math.radians(side_deg)
    line = (np.arange(400) + 0.5) / 20 * fundamental  # to 20 fundamental modes: all but 1e-4
    ell = np.hypot(line[:, None], line)
    nodes = np.geomspace(ell.min(), ell.max(), 60)
    power = np.interp(np.log(ell), np.log(nodes), convergence_power(nodes, 1.0))
    window = np.sinc(line / fundamental) ** 2
    expected = 4 * (power * np.outer(window, window)).sum() * (fundamental / 20 / 2 / math.pi) ** 2
    assert sigma_b(side_deg, 1.0) ** 2 == pytest.approx(expected, rel=5e-3)


def test_means_of_gaussian_fields_scatter_by_sigma_b():
    """Fields of 5° from periodic skies of 40°, whose own modes are fine enough.

    64 fields from each of 30 skies. Neighbours are nearly independent. The variance of 1,920 means
    is known to 3.2 %: four times that fails by chance with probability 6e-5. The sky has no mode
    ℓ < 9; theory has 1 % there.
    """
    sky = MapGrid(128, 40.0)
    nodes = np.geomspace(sky.ell_min, 2 * sky.ell_max, 60)
    values = np.log(convergence_power(nodes, 1.0))
    ell = sky.ell.clamp(min=sky.ell_min).numpy()
    power = torch.from_numpy(np.exp(np.interp(np.log(ell), np.log(nodes), values)))
    field = GaussianField.from_power(sky, lambda _: power)
    skies = field.sample(30, torch.Generator().manual_seed(0))
    skies = skies - skies.mean((1, 2), keepdim=True)
    means = skies.reshape(30, 8, 16, 8, 16).mean((2, 4))
    assert float(means.var()) == pytest.approx(sigma_b(5.0, 1.0) ** 2, rel=4 * 0.032)


def test_what_a_box_lacks_is_the_rest_of_its_sum():
    """The variance of the modes of a periodic box, summed one by one, and that which it lacks."""
    box, side = 212.0, math.radians(5.0)
    chi, weight = theory._nodes_to(1.0, Cosmology(), 32)
    kernel = lensing_kernel(chi, 1.0) ** 2 * weight
    line = 2 * math.pi / box * np.arange(-64, 65)
    k = np.hypot(line[:, None], line)
    within = 0.0
    for one, factor in zip(chi, kernel):
        window = np.sinc(line * side * one / (2 * math.pi)) ** 2
        nodes = np.geomspace(line[65], k.max(), 60)
        power = matter_power(nodes, float(1 / scale_factor(one) - 1))
        terms = np.interp(k, nodes, power) * np.outer(window, window)
        within += factor * terms[k > 0].sum() / box**2
    lacking = sigma_b(5.0, 1.0, Cosmology(), box)
    assert within + lacking**2 == pytest.approx(sigma_b(5.0, 1.0) ** 2, rel=0.01)
    assert sigma_b(5.0, 1.0, Cosmology(), 2 * box) < 0.5 * lacking
