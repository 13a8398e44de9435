"""Move σ₈ and Ω_m, and see theory's C_ℓ and a map with this spectrum beside measured ones.

A map κ of the simulations' cosmology θ₀ gets the spectrum of another one, θ, by a factor on each
of its Fourier modes,

    κ̃(ℓ) → κ̃(ℓ) √(C_ℓ(θ) / C_ℓ(θ₀)).

Its phases stay, and with them the places and the shapes of its clumps: a simulation of the
cosmology θ would differ in these as well. The kernel sends the map in parts, one for each bin of
ℓ, and the browser adds them up with these factors. The parts are hat functions of ln ℓ that add up
to one, so the factor is linear in ln ℓ between the bins.

The function to call is :func:`vary_cosmology`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import plot
from ..data import MapSet
from ..ensemble import Ensemble
from ..maps import MapGrid
from ..plot.style import SMALL, blank_figure, typeset
from ..ramps import SEQUENTIAL
from ..stats import band_averages, cutout_power, ell_edges, power_spectrum
from ..theory import Cosmology
from .pictures import (
    Maps,
    Pictured,
    colour_limits,
    colour_tables,
    draw_colour_bar,
    draw_map,
    pick,
    quantise,
    script,
    side_of,
)
from .spectra_grid import OMEGA_M, SIGMA8, at_cosmology, at_multipoles, spectra_grid

_MAPS = 1024  # maps that the measured spectrum is the mean of, at most
_SHOWN = 6  # maps to choose from
_BINS = 12
_COLOURS = {"theory": plot.CYCLE[4], "own": plot.REFERENCE}  # neither is a generator's


def vary_cosmology(
    maps: Maps,
    side_deg: float | None = None,
    z_source: float | None = None,
    cosmology: Cosmology | None = None,
) -> VaryCosmology:
    """Move σ₈ and Ω_m: theory's C_ℓ, and a map with this spectrum, beside the measured ones.

    Theory is pyccl's, through the pixels and the edges of the field
    (:func:`lensnb.stats.cutout_power`). It is computed on a grid first, so that the sliders answer
    at once. For sources at z = 1 and the other parameters of the shipped maps the grid comes with
    lensnb; else it takes some ten seconds.

    Args:
        maps: at least two κ-maps of one cosmology, a :class:`~lensnb.data.MapSet` or
            ``(maps, n, n)``.
        side_deg: side of the field, degrees; not needed for a :class:`~lensnb.data.MapSet`.
        z_source: redshift of all sources; not needed where the set states it.
        cosmology: of the maps; not needed where the set states it.

    Returns:
        A widget; make it the last value of a cell. Its traits ``omega_m``, ``sigma8`` and
        ``which`` (the map) can be read and set.

    Raises:
        ValueError: the field size, the source redshift or the cosmology is not known; maps of
            several source bins, or with NaN; a cosmology outside the sliders.
        ImportError: the grid does not come with lensnb, and pyccl is not installed.
    """
    side_deg = side_of(maps, side_deg)
    if isinstance(maps, MapSet):
        if z_source is None:
            z_source = maps.z_source
        stated = maps.provenance.get("cone", {}).get("cosmology")
        if cosmology is None and stated:
            cosmology = Cosmology(**stated)
    if z_source is None or not math.isfinite(z_source):
        raise ValueError("theory needs the redshift of the sources; give it as z_source")
    if cosmology is None:
        raise ValueError(
            "the maps do not say of which cosmology they are; give it as cosmology, "
            "a lensnb.theory.Cosmology"
        )
    for name, value, (low, high) in (
        ("omega_m", cosmology.omega_m, OMEGA_M),
        ("sigma8", cosmology.sigma8, SIGMA8),
    ):
        if not low <= value <= high:
            raise ValueError(f"the slider of {name} goes from {low} to {high}, found {value}")
    chosen = pick("the set of maps", maps, _MAPS)
    simulation = None
    if isinstance(maps, MapSet):
        simulation = maps.simulation[chosen.indices]
    return VaryCosmology(chosen.kappa, simulation, side_deg, z_source, cosmology)


class VaryCosmology(Pictured):
    """The widget that :func:`vary_cosmology` makes.

    Attributes:
        omega_m: matter density parameter.
        sigma8: rms density contrast in spheres of 8 Mpc/h.
        which: the map on view.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        ell: centres of the bins, shape ``(bins,)``.
        measured: mean C_ℓ of the maps, and its standard error, each ``(bins,)``, in sr.
    """

    _esm = script("common.js", "stage.js", "cosmology_view.js")

    omega_m = traitlets.Float(0.3).tag(sync=True)
    sigma8 = traitlets.Float(0.8).tag(sync=True)
    which = traitlets.Int(0).tag(sync=True)
    colours = traitlets.Enum(list(SEQUENTIAL), "magma").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # everything: nothing changes later

    def __init__(
        self,
        kappa: Tensor,
        simulation: np.ndarray | None,
        side_deg: float,
        z_source: float,
        cosmology: Cosmology,
    ):
        grid = MapGrid(kappa.shape[-1], side_deg)
        edges = ell_edges(grid, _BINS)
        self.ell = np.sqrt(edges[1:] * edges[:-1])
        power = power_spectrum(kappa, side_deg, edges).numpy()
        ensemble = Ensemble(power, simulation)
        self.measured = ensemble.mean(), ensemble.mean_error()
        self._side_deg, self._cosmology = side_deg, cosmology
        indices = np.linspace(0, len(kappa) - 1, min(_SHOWN, len(kappa))).round().astype(int)
        self._kappa = kappa[torch.from_numpy(indices)]
        self._parts = parts_of_bins(self._kappa, grid, self.ell)
        self._limits = colour_limits(kappa)
        highest = 2 * math.sqrt(2) * grid.ell_max * 2.5  # of the aliases that count
        theory = spectra_grid(z_source, cosmology, (grid.ell_min / 9, highest))
        self._theory = theory
        self._plain = at_multipoles(theory, self.ell)
        self._expected = _through_the_field(theory, grid, edges)
        own = {"omega_m": cosmology.omega_m, "sigma8": cosmology.sigma8}
        super().__init__(**own, _about=self._describe(grid.n))

    def _describe(self, n: int) -> dict:
        """What the browser has to know."""
        mean, error = self.measured
        count, bins = self._parts.shape[:2]
        return {
            "n": n,
            "own": {"omega_m": self._cosmology.omega_m, "sigma8": self._cosmology.sigma8},
            "ranges": {"omega_m": OMEGA_M, "sigma8": SIGMA8},
            "nodes": {name: self._theory[name] for name in ("omega_m", "sigma8")},
            "plain": self._plain.tolist(),
            "expected": self._expected.tolist(),
            "ell": self.ell.tolist(),
            "mean": mean.tolist(),
            "error": error.tolist(),
            "count": count,
            "bins": bins,
            "sets": {"parts": quantise(self._parts.flatten(0, 1))},
            "limits": self._limits,
            "tables": colour_tables(),
            "colours": _COLOURS,
        }

    @traitlets.validate("omega_m", "sigma8")
    def _check_parameter(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        low, high = {"omega_m": OMEGA_M, "sigma8": SIGMA8}[name]
        if not low <= value <= high:
            raise traitlets.TraitError(f"{name} must lie between {low} and {high}, found {value}")
        return value

    @traitlets.validate("which")
    def _check_map(self, proposal):
        value, last = proposal["value"], len(self._kappa) - 1
        if not 0 <= value <= last:
            raise traitlets.TraitError(f"which must lie between 0 and {last}, found {value}")
        return value

    # ------------------------------------------------------------ compute

    def expected(self, cosmology: Cosmology | None = None) -> np.ndarray:
        """Theory's C_ℓ in the bins, through pixels and field, in sr; by default of the sliders."""
        return np.exp(self._at(self._expected, cosmology))

    def kappa(self) -> Tensor:
        """The map on view with the spectrum of the sliders, shape ``(n, n)``."""
        change = self._at(self._plain) - self._at(self._plain, self._cosmology)
        factors = torch.from_numpy(np.exp(change / 2)).to(self._parts)
        return torch.einsum("b,bij->ij", factors, self._parts[self.which])

    def _at(self, table: np.ndarray, cosmology: Cosmology | None = None) -> np.ndarray:
        if cosmology is None:
            return at_cosmology(self._theory, table, self.omega_m, self.sigma8)
        return at_cosmology(self._theory, table, cosmology.omega_m, cosmology.sigma8)

    # ------------------------------------------------------------ the still picture

    def figure(self) -> plot.Figure:
        """What the widget shows now."""
        figure = blank_figure(9, 3.2)
        axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
        shown = {"map of the simulations": self._kappa[self.which], self._words(): self.kappa()}
        for ax, (title, kappa) in zip(axes, shown.items()):
            title = title.replace("Ω_m", r"$\Omega_m$")
            image = draw_map(ax, kappa, self._side_deg, self._limits, self.colours, title)
            ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
        draw_colour_bar(figure, image, axes[:2])
        self._draw_power(axes[2])
        return figure

    def _draw_power(self, ax) -> None:
        """Measured spectrum, and theory's for both cosmologies."""
        mean, error = self.measured
        factor = 1e5 * self.ell**2 / (2 * math.pi)
        measured = {
            "fmt": "o",
            "color": plot.TRUTH,
            "ms": 4,
            "label": "measured, mean of all maps",
        }
        ax.errorbar(self.ell, factor * mean, factor * error, **measured)
        own = factor * self.expected(self._cosmology)
        ax.plot(self.ell, own, "--", color=_COLOURS["own"], label="theory of the simulations")
        ax.plot(
            self.ell,
            factor * self.expected(),
            color=_COLOURS["theory"],
            label="theory of the sliders",
        )
        ax.set(xscale="log", xlabel="multipole ℓ", ylim=(0, None))
        ax.set_ylabel(typeset("10⁵ ℓ² C_ℓ / 2π"))
        ax.legend(frameon=False, fontsize=SMALL)

    def _words(self) -> str:
        return f"σ₈ = {self.sigma8:.3g}, Ω_m = {self.omega_m:.3g}"

    def __repr__(self) -> str:
        return f"VaryCosmology: {self._words()}; map {self.which + 1} of {len(self._kappa)}"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        return (
            "A map of the simulations, the same with the spectrum of another cosmology, and "
            f"theory's power spectrum beside the measured one: {self._words()}."
        )


def parts_of_bins(kappa: Tensor, grid: MapGrid, ell: np.ndarray) -> Tensor:
    """Maps cut into parts by ℓ, with hat functions of ln ℓ about the bins that add up to one.

    Args:
        kappa: maps, shape ``(maps, n, n)``.
        grid: of the maps.
        ell: centres of the bins, rising.

    Returns:
        Shape ``(maps, bins, n, n)``; the sum over the bins is the map. Below the first and above
        the last centre all belongs to that bin, the mean of the map to the first.
    """
    place = np.log(np.maximum(grid.ell.numpy(), ell[0]))
    hats = [np.interp(place, np.log(ell), row) for row in np.eye(len(ell))]
    modes = torch.fft.rfft2(kappa.double())[:, None] * torch.from_numpy(np.array(hats))
    return torch.fft.irfft2(modes, s=kappa.shape[-2:]).float()


def _through_the_field(theory: dict, grid: MapGrid, edges: np.ndarray) -> np.ndarray:
    """ln of the expected C_ℓ in the bins at each node, through pixels and edges of the field."""
    log_power, own = np.asarray(theory["log_power"]), np.log(theory["ell"])
    expected = np.empty((*log_power.shape[:2], len(edges) - 1))
    for i, j in np.ndindex(log_power.shape[:2]):

        def power(ell, row=log_power[i, j]):
            return np.exp(np.interp(np.log(ell), own, row))

        expected[i, j] = np.log(band_averages(cutout_power(power, grid), grid, edges))
    return expected
