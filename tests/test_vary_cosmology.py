"""The widget that moves σ₈ and Ω_m: theory on a grid, maps with another spectrum, and the page."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("anywidget", reason="no anywidget: pip install 'lensnb[lab]'")

import traitlets
from pages import TWO_FRAMES, serious

from lensnb.data import load_sample
from lensnb.maps import MapGrid
from lensnb.stats import band_averages, cutout_power, ell_edges, power_spectrum
from lensnb.theory import Cosmology, convergence_power
from lensnb.widgets import vary_cosmology
from lensnb.widgets.cosmology_view import parts_of_bins
from lensnb.widgets.spectra_grid import at_cosmology, at_multipoles, spectra_grid

TRUTH = load_sample("truth")[:64]
OWN = Cosmology(**TRUTH.provenance["cone"]["cosmology"])
OTHER = replace(OWN, omega_m=0.37, sigma8=0.66)


@pytest.fixture(scope="module")
def widget():
    return vary_cosmology(TRUTH)


def test_the_grid_that_comes_with_lensnb_is_theory():
    """Between the nodes to 0.5 %, from the fundamental mode to the aliases."""
    pytest.importorskip("pyccl", reason="no pyccl: pip install 'lensnb[sims]'")
    grid = spectra_grid(1.0, OWN)
    ell = np.geomspace(10, 15_000, 12)
    found = np.exp(at_cosmology(grid, at_multipoles(grid, ell), OTHER.omega_m, OTHER.sigma8))
    np.testing.assert_allclose(found, convergence_power(ell, 1.0, OTHER), rtol=5e-3)


def test_theory_is_seen_through_pixels_and_field(widget):
    """Away from the nodes, to 0.5 %."""
    grid, table = TRUTH.grid, spectra_grid(1.0, OWN)

    def power(ell):
        return np.exp(at_cosmology(table, at_multipoles(table, ell), OTHER.omega_m, OTHER.sigma8))

    edges = ell_edges(grid, 12)
    expected = band_averages(cutout_power(power, grid), grid, edges)
    np.testing.assert_allclose(widget.expected(OTHER), expected, rtol=5e-3)


def test_the_parts_of_a_map_add_up_to_it_and_have_their_own_scales():
    grid = MapGrid(32, 5.0)
    kappa = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    edges = ell_edges(grid, 6)
    parts = parts_of_bins(kappa, grid, np.sqrt(edges[1:] * edges[:-1]))
    torch.testing.assert_close(parts.sum(1), kappa, rtol=0, atol=1e-5)
    power = power_spectrum(parts.flatten(0, 1), 5.0, edges).unflatten(0, (3, -1))
    assert (power.argmax(-1) == torch.arange(parts.shape[1])).all()


def test_a_map_gets_the_spectrum_of_the_sliders(widget):
    """In each bin, to the change of the factor within it; at the simulations' own it is the map."""
    widget.omega_m, widget.sigma8 = OWN.omega_m, OWN.sigma8
    torch.testing.assert_close(widget.kappa(), TRUTH.tensor()[0], rtol=0, atol=1e-6)
    widget.omega_m, widget.sigma8 = OTHER.omega_m, OTHER.sigma8
    edges = ell_edges(TRUTH.grid, 12)
    before, after = (
        power_spectrum(one, 5.0, edges) for one in (TRUTH.tensor()[0], widget.kappa())
    )
    table, ell = spectra_grid(1.0, OWN), widget.ell
    both = [
        at_cosmology(table, at_multipoles(table, ell), one.omega_m, one.sigma8)
        for one in (OTHER, OWN)
    ]
    np.testing.assert_allclose(after / before, np.exp(both[0] - both[1]), rtol=0.03)
    data, metadata = widget._repr_mimebundle_()
    assert "σ₈ = 0.66, Ω_m = 0.37" in metadata["image/png"]["alt"] and data["image/png"]


def test_errors_are_a_sentence(widget):
    maps = TRUTH.tensor()
    with pytest.raises(ValueError, match="theory needs the redshift of the sources"):
        vary_cosmology(maps, 5.0)
    with pytest.raises(ValueError, match="do not say of which cosmology they are"):
        vary_cosmology(maps, 5.0, 1.0)
    with pytest.raises(ValueError, match="slider of sigma8 goes from 0.6 to 1.0, found 1.2"):
        vary_cosmology(maps, 5.0, 1.0, replace(OWN, sigma8=1.2))
    with pytest.raises(traitlets.TraitError, match="omega_m must lie between 0.2 and 0.4"):
        widget.omega_m = 0.5


# ---------------------------------------------------------------- on a page


@pytest.mark.browser
def test_the_sliders_change_map_and_spectrum_and_can_be_reset(show):
    """The page's own polynomial and sum of parts give Python's numbers."""
    shown = show(vary_cosmology(TRUTH), "cosmology")
    root = shown.root
    first, drawn = shown.pictures(".maps canvas:not(.bar)"), shown.plots()
    assert first[0] == first[1]
    root.get_by_role("slider", name="σ₈").focus()
    shown.key("End")
    root.get_by_role("slider", name="Ωm").focus()
    shown.key("Home")
    shown.heard("omega_m", 0.2)
    assert shown.widget.sigma8 == 1.0
    maps = shown.pictures(".maps canvas:not(.bar)")
    assert maps[0] == first[0] and maps[1] != first[1] and shown.plots() != drawn
    ratio = shown.widget.expected() / shown.widget.expected(OWN)
    said = root.locator("svg").last.get_attribute("aria-label")
    assert said.endswith(f": {ratio[0]:.2f} at the lowest ℓ, {ratio[-1]:.2f} at the highest")
    scatter = float(shown.widget.kappa().std())
    label = root.locator(".maps canvas").nth(1).get_attribute("aria-label")
    assert float(label.split()[-1]) == pytest.approx(scatter, rel=0.01)
    shown.click(root.get_by_role("button", name="reset"))
    assert shown.pictures(".maps canvas:not(.bar)") == first and shown.plots() == drawn
    shown.click(root.get_by_role("button", name="another map"))
    assert shown.pictures(".maps canvas:not(.bar)")[0] != first[0]
    shown.heard("which", 1)
    shown.close()


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_legible_and_fits(show, theme):
    shown = show(vary_cosmology(TRUTH), "cosmology", theme=theme)
    found = shown.contrasts("label", "select", "button", "p", "b", "text")
    assert len(found) > 20 and min(found)[0] > 4.5, min(found)
    assert serious(shown.page, shown.selector) == []
    page = shown.page
    for width, height in ((1040, 768), (1366, 768), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate(TWO_FRAMES)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if height == 768:
            assert shown.root.bounding_box()["height"] <= 660  # what JupyterLab leaves
    shown.narrow(390)
