"""The separate universe: exact limits, linear theory, and boxes of another mean density.

In a universe of matter alone everything is known: with the linear overdensity δ, the region has
δ_b = δ + (17/21) δ² + …, and waves in it grow by the factor 1 + (13/21) δ_b. Both follow from
second-order perturbation theory (Bernardeau et al. 2002, Phys. Rep. 367, 1).
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from lensnb import theory
from lensnb.sims import LightCone, SeparateUniverse
from lensnb.sims.born import born_map, born_weights, check_field
from lensnb.sims.nbody import particle_positions
from lensnb.sims.separate_universe import growth
from lensnb.theory import Cosmology

pytest.importorskip("pyccl")

MATTER = Cosmology(omega_m=1.0)
TIMES = np.array([0.2, 0.5, 1.0])


@pytest.fixture(scope="module", autouse=True)
def tidy():
    """pyccl's objects complain when they outlive the interpreter's shutdown."""
    yield
    theory.ccl_cosmology.cache_clear()


@pytest.mark.parametrize("parent", [Cosmology(), Cosmology(omega_k=0.1), Cosmology(omega_k=-0.1)])
def test_growth_is_pyccls(parent):
    universe = theory.ccl_cosmology(parent)
    found = [growth(parent, a) for a in TIMES]
    np.testing.assert_allclose(found, universe.growth_factor_unnorm(TIMES), rtol=1e-4)


def test_growth_of_matter_alone_is_the_scale_factor():
    np.testing.assert_allclose([growth(MATTER, a) for a in TIMES], TIMES, rtol=1e-8)


@pytest.mark.parametrize("delta", [0.01, -0.01])
def test_a_region_of_matter_alone_follows_the_sphere(delta):
    """The next term is 0.57 δ³ or so."""
    linear = delta * TIMES
    found = SeparateUniverse(MATTER, delta).overdensity(TIMES)
    np.testing.assert_allclose(found, linear + 17 / 21 * linear**2, atol=1e-6)


@pytest.mark.parametrize("parent", [Cosmology(), Cosmology(omega_k=0.1)])
@pytest.mark.parametrize("delta", [0.3, -0.3])
def test_a_region_obeys_the_equation_of_a_sphere(parent, delta):
    """ã is solved as an equation in time: dã/da = ã H̃/(a H), from the linear region at a = 1e-3.

    Birkhoff: a sphere of the region's density, with its own curvature.
    """
    region = SeparateUniverse(parent, delta)
    own = region._without_amplitude()
    scale = (own.h / parent.h) ** 2

    def slope(a, state):
        rate = scale * own.expansion_squared(state) / parent.expansion_squared(a)
        return state / a * np.sqrt(rate)

    start = 1e-3
    linear = delta * growth(parent, start) / growth(parent)
    solved = solve_ivp(
        slope, (start, 1.0), [start * (1 - linear / 3)], t_eval=TIMES, rtol=1e-10, atol=1e-14
    )
    np.testing.assert_allclose(region.scale_factor(TIMES), solved.y[0], rtol=1e-6)


@pytest.mark.parametrize("parent", [Cosmology(), Cosmology(omega_k=0.1), MATTER])
def test_the_region_is_overdense_by_linear_growth(parent):
    expected = [0.001 * growth(parent, a) / growth(parent) for a in TIMES]
    found = SeparateUniverse(parent, 0.001).overdensity(TIMES)
    np.testing.assert_allclose(found, expected, rtol=2e-3)  # the second order is 17/21 of δ


def test_no_overdensity_is_the_universe_itself():
    same = SeparateUniverse(Cosmology(), 0.0)
    np.testing.assert_allclose(same.scale_factor(TIMES), TIMES, rtol=1e-12)
    assert same.cosmology.sigma8 == pytest.approx(0.826, rel=1e-4)
    assert replace(same.cosmology, sigma8=0.826) == Cosmology()
    assert same.box_size(212.0, 0.7) == pytest.approx(212.0)


@pytest.mark.parametrize("delta", [0.2, -0.2])
def test_the_region_has_the_parents_matter_and_dark_energy(delta):
    parent, own = Cosmology(), SeparateUniverse(Cosmology(), delta).cosmology
    for density in ("omega_m", "omega_b"):
        physical = [getattr(one, density) * one.h**2 for one in (parent, own)]
        assert physical[0] == pytest.approx(physical[1], rel=1e-12)
    constant = [(1 - one.omega_m - one.omega_k) * one.h**2 for one in (parent, own)]
    assert constant[0] == pytest.approx(constant[1], rel=1e-12)
    assert (own.omega_k < 0) == (delta > 0)  # an overdense region is closed
    # Li, Hu & Takada 2014: δ_h = √(1 − (5/3) Ω_m δ_b0/D₀) − 1
    expected = math.sqrt(1 - 5 / 3 * parent.omega_m * delta / growth(parent))
    assert own.h / parent.h == pytest.approx(expected)


@pytest.mark.parametrize("delta", [0.2, -0.2])
def test_the_regions_early_power_is_the_parents(delta):
    """At the same time and wavelength: k in 1/Mpc, P in Mpc³. Growth differs by 13/21 of δ_b."""
    parent, region = Cosmology(), SeparateUniverse(Cosmology(), delta)
    k, a = np.array([0.02, 0.2, 2.0]), 0.02  # 1/Mpc
    spectra = []
    for one, when in ((parent, a), (region.cosmology, region.scale_factor(a))):
        spectra.append(theory.matter_power(k / one.h, 1 / when - 1, one, linear=True) / one.h**3)
    expected = 1 + 26 / 21 * region.overdensity(a)
    np.testing.assert_allclose(spectra[1] / spectra[0], expected, rtol=2e-3)


@pytest.mark.parametrize("parent, slack", [(MATTER, 1e-3), (Cosmology(), 6e-3)])
def test_waves_grow_faster_in_a_dense_region(parent, slack):
    """d ln D/dδ_b = 13/21, nearly also with a cosmological constant."""
    pair = [SeparateUniverse(parent, delta) for delta in (0.005, -0.005)]
    for a in TIMES:
        values = [math.log(growth(one._without_amplitude(), one.scale_factor(a))) for one in pair]
        step = pair[0].overdensity(a) - pair[1].overdensity(a)
        assert (values[0] - values[1]) / step == pytest.approx(13 / 21, rel=slack)


@pytest.mark.parametrize("delta", [0.2, -0.2])
def test_the_box_is_as_large_at_one_time_and_its_particles_have_the_mass(delta):
    """ã L̃ = a L in Mpc, and the mass in the box is 1 + δ_b times that of the parent's box."""
    parent, region, a = Cosmology(), SeparateUniverse(Cosmology(), delta), 0.7
    own = region._without_amplitude()
    side = region.box_size(212.0, a)
    assert side / own.h * region.scale_factor(a) == pytest.approx(212.0 / parent.h * a)
    masses = [
        one.omega_m * one.h**2 * (length / one.h) ** 3
        for one, length in ((parent, 212.0), (own, side))
    ]
    assert masses[1] / masses[0] == pytest.approx(1 + region.overdensity(a))


@pytest.mark.parametrize("delta", [1.5, -1.0, float("nan")])
def test_a_region_that_cannot_be_is_refused(delta):
    with pytest.raises(ValueError, match="delta_b must be between -1 and 1"):
        LightCone(delta_b=delta)


def test_a_region_that_collapses_is_refused():
    with pytest.raises(ValueError, match="collapses|no Big Bang|omega_m must be above"):
        SeparateUniverse(MATTER, 0.99)


# ---------------------------------------------------------------- light cones through a region


def cone_of(delta: float, **settings) -> LightCone:
    return LightCone(n_planes=3, n_particles=32, plane_size=64, delta_b=delta, **settings)


def test_the_cone_keeps_the_distances_of_the_universe():
    usual, dense = cone_of(0.0), cone_of(0.1)
    assert np.array_equal(usual.chi, dense.chi)
    assert np.array_equal(usual.scale_factors, dense.scale_factors)
    np.testing.assert_allclose(
        dense.overdensities, dense.region.overdensity(dense.scale_factors), rtol=1e-12
    )
    assert dense.stretch[1] == pytest.approx(1, abs=1e-6)  # the middle of three planes
    assert dense.steps()[-1] == dense.box_scale_factors[0] < usual.scale_factors[0]
    # A dense box shrinks: it is larger than box_size when it is seen far away, so early.
    assert dense.stretch[0] < 1 < dense.stretch[2]
    volume = dense.stretch**3 * (1 + dense.overdensities)  # its mass stays the same
    np.testing.assert_allclose(volume, volume[0], rtol=1e-9)


@pytest.mark.parametrize("delta", [0.1, -0.1])
def test_a_smooth_region_has_the_convergence_of_its_overdensity(delta):
    cone = cone_of(delta)
    kappa = born_map(np.zeros((3, 3, 64, 64)), cone, np.random.default_rng(0), [0.15], 8, 5.0)
    expected = born_weights(cone, 0.15) @ cone.overdensities
    np.testing.assert_allclose(kappa[0], expected, rtol=1e-6)


def test_contrast_and_angles_of_a_regions_plane():
    """A field as wide as the box of the region shows one period of a wave, with the variance
    (1 + δ_b)² s/2 of a wave of unit amplitude. In a field of another width it would not.
    """
    cone = replace(cone_of(0.3), n_planes=1, planes_per_box=1, box_size=212.0)
    vars(cone)["stretch"] = np.array([0.9])
    wave = np.cos(2 * np.pi * np.arange(64) / 64)
    planes = np.broadcast_to(wave, (1, 3, 64, 64)).astype(float)
    side = math.degrees(0.9 * 212.0 / cone.chi[0])
    kappa = born_map(planes, cone, np.random.default_rng(0), [0.06], 64, side)[0]
    contrast = kappa / born_weights(cone, 0.06)[0]
    mean = cone.overdensities[0]
    assert contrast.mean() == pytest.approx(mean, abs=1e-3)
    assert contrast.var() == pytest.approx((1 + mean) ** 2 * 0.9 / 2, rel=0.01)
    with pytest.raises(ValueError, match="wider than the box"):
        check_field(cone, 1.01 * side)


@pytest.mark.nightly
def test_boxes_of_a_region_grow_as_linear_theory_says():
    """Boxes of σ₈ = 0.05 with the same seed in a dense and in an empty region: the ratio of the
    same modes, at each step, is that of linear theory in the two curved universes.
    """
    pytest.importorskip("pmpp")
    cosmology = Cosmology(sigma8=0.05)
    pair = [replace(cone_of(delta, max_step=0.3), cosmology=cosmology) for delta in (0.1, -0.1)]
    found = [[(a, modes(x, one)) for a, x in particle_positions(0, one)] for one in pair]
    growing = []
    for dense, empty in zip(*found):
        first, second = (amplitude(a, one) for (a, _), one in zip((dense, empty), pair))
        growing.append(first / second)
        ratio = dense[1] / empty[1]
        np.testing.assert_allclose(ratio.real, growing[-1], rtol=3e-3)
        np.testing.assert_allclose(ratio.imag, 0, atol=3e-3)
    assert growing[-1] / growing[0] > 1 + 10 * 3e-3  # what is tested is ten times the tolerance


def modes(position: np.ndarray, cone: LightCone) -> np.ndarray:
    """The three longest modes of the density of particles."""
    phase = 2j * np.pi * position / cone.box_side
    return np.exp(-phase).mean(0)


def amplitude(a: float, cone: LightCone) -> float:
    """√(P/V) of these modes in linear theory, in the box's own units."""
    k, own = 2 * np.pi / cone.box_side, cone.box_cosmology
    power = theory.matter_power(k, 1 / a - 1, own, linear=True)
    return math.sqrt(power / cone.box_side**3)
