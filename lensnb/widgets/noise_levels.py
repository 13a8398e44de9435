"""Scrub the noise level of a diffusion model and see what its denoiser makes of a map.

A transformed map y = T(κ) under noise of level σ is x = y + σ n, and a denoiser D(x; σ) estimates
E[y | x] (:mod:`lensnb.models.diffusion`). The widget shows two denoisers: the exact one of a
Gaussian field with the spectrum of the data, and the trained one. The function to call is
:func:`diffuse`.
"""

from __future__ import annotations

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import plot, stats
from ..data import MapSet
from ..models import Diffusion
from ..plot.style import blank_figure, typeset
from ..ramps import SEQUENTIAL
from ..samplers import MapNoise, exponential, karras_sigmas
from .pictures import (
    Maps,
    Pictured,
    axes_of,
    check_model,
    colour_limits,
    colour_tables,
    draw_colour_bar,
    draw_map,
    float32,
    pick,
    quantise,
    script,
    side_of,
)

_WAYS = {"noise": "put noise on a true map", "make": "make a map from noise"}
_TITLES = {
    "noised": "under noise",
    "Gaussian": "Gaussian estimate",
    "network": "network's estimate",
}
_COLOURS = {"Gaussian": plot.FAMILIES["gaussian"][0], "network": plot.FAMILIES["diffusion"][0]}
_NOISED_LIMITS = (-2.5, 3.5)  # ends of the colour scale, in units of the map's own scatter
_MAPS = 64  # true maps that bins and colour limits are made from


def diffuse(
    model: Diffusion,
    maps: Maps,
    side_deg: float | None = None,
    *,
    levels: int = 25,
    which: int = 0,
    seed: int = 0,
) -> Diffuse:
    """Scrub the noise level: a true map under noise, or a new map while it is made from noise.

    The widget shows the noised map, the estimates of both denoisers, their spectra and their PDFs.
    The arrow keys, Home and End move through the levels. The model draws one map, along the levels
    of its sampler; nothing is computed while one scrubs.

    Args:
        model: a trained diffusion model.
        maps: at least two true κ-maps, a :class:`~lensnb.data.MapSet` or ``(maps, n, n)``; the
            bins are made from them.
        side_deg: side of the field, degrees; not needed for a :class:`~lensnb.data.MapSet`.
        levels: noise levels to show, at least four.
        which: the true map that is put under noise.
        seed: of the noise.

    Returns:
        A widget; make it the last value of a cell. Its traits ``way`` (``"noise"`` or ``"make"``)
        and ``level`` (0 is the lowest) can be read and set.

    Raises:
        ValueError: the maps have another size than the model's, several source bins or NaN; the
            field size is missing; there is no such map; fewer than four levels; a model that is
            no diffusion model, or has conditions.
    """
    side_deg = side_of(maps, side_deg)
    check_model(model, Diffusion)
    if levels < 4:
        raise ValueError(f"the noise level needs at least four steps, found {levels}")
    total = len(maps)
    if not 0 <= which < total:
        raise ValueError(f"there is no map {which} among {total}")
    reference = pick("the set of true maps", maps, _MAPS, model.n).kappa
    one = maps[which : which + 1]
    if isinstance(one, MapSet):
        kappa = one.tensor()
    else:
        kappa = torch.as_tensor(np.asarray(one)).float()
    sigmas = karras_sigmas(levels, *model.sigma_range)[:-1]  # falling; without the 0 at the end
    found = {
        "noise": _put_under_noise(model, kappa, sigmas, seed),
        "make": _make_from_noise(model, sigmas, seed),
    }
    return Diffuse(found, reference, side_deg, sigmas)


# ---------------------------------------------------------------- compute


class _Recorder:
    """A denoiser that keeps the maps it is given."""

    def __init__(self, denoise):
        self.denoise, self.gaussian = denoise, denoise.gaussian
        self.given: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.given.append(x)
        return self.denoise(x, sigma)


@torch.no_grad()
def _put_under_noise(
    model: Diffusion, kappa: Tensor, sigmas: Tensor, seed: int
) -> dict[str, Tensor]:
    """A true map under the same noise at all levels, and the estimates of both denoisers.

    Returns:
        ``"noised"``, ``"Gaussian"`` and ``"network"``, each ``(levels, n, n)``, and the true
        ``"map"``, ``(1, n, n)``.
    """
    noise = MapNoise(1, torch.Generator().manual_seed(seed))
    y = model.transform(kappa.double())
    x = y + sigmas.to(y)[:, None, None] * noise(model.n, y)
    denoise = model.denoiser
    if model.band_powers is not None:
        denoise = model.conditioned(model.band_powers(y).expand(len(x), -1))
    return _estimates(model, denoise, x, sigmas) | {"map": kappa}


@torch.no_grad()
def _make_from_noise(model: Diffusion, sigmas: Tensor, seed: int) -> dict[str, Tensor]:
    """A new map while the exponential sampler makes it, and the estimates of both denoisers.

    Returns:
        The same as ``_put_under_noise``; ``"map"`` is the finished one.
    """
    noise = MapNoise(1, torch.Generator().manual_seed(seed))
    like = model.transform.mean
    denoise = model.denoiser
    if model.band_powers is not None:
        denoise = model.conditioned(model.band_powers.sample(noise))
    # A Gaussian field under noise of the highest level, as the model's own sampler starts.
    start = denoise.gaussian.colour(noise(model.n, like))
    start = start + float(sigmas[0]) * noise(model.n, like)
    recorder = _Recorder(denoise)
    end = exponential(recorder, start, torch.cat([sigmas, sigmas.new_zeros(1)]))

    # What the denoiser is conditioned on belongs to one map.
    levels = zip(recorder.given, sigmas.split(1))
    found = [_estimates(model, denoise, x, sigma) for x, sigma in levels]
    joined = {name: torch.cat([one[name] for one in found]) for name in found[0]}
    return joined | {"map": model.transform.inverse(end).float()}


def _estimates(model: Diffusion, denoise, x: Tensor, sigmas: Tensor) -> dict[str, Tensor]:
    """Noised maps in units of their own scatter, and the estimates of both denoisers as κ.

    The Gaussian denoiser knows the same numbers of the map as the network.
    """
    levels = sigmas.to(x)
    mean, spread = x.mean((-2, -1), keepdim=True), x.std((-2, -1), keepdim=True)
    found = {
        "Gaussian": denoise.gaussian.denoise(x, levels),
        "network": denoise(x, levels),
    }
    kappa = {name: model.transform.inverse(y).float().cpu() for name, y in found.items()}
    return {"noised": ((x - mean) / spread).float().cpu()} | kappa


# ---------------------------------------------------------------- the widget


class Diffuse(Pictured):
    """The widget that :func:`diffuse` makes.

    Attributes:
        way: ``"noise"``, a true map under noise, or ``"make"``, a new map while it is made.
        level: the noise level on view, 0 the lowest.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        sigmas: the noise levels, rising.
        shown: ``shown[way]`` has ``"noised"`` maps in units of their own scatter, and the
            estimates ``"Gaussian"`` and ``"network"`` as κ, each ``(levels, n, n)``; and the true
            or finished ``"map"``, ``(1, n, n)``.
    """

    _esm = script("common.js", "noise_levels.js")

    way = traitlets.Enum(list(_WAYS), "noise").tag(sync=True)
    level = traitlets.Int(0).tag(sync=True)
    colours = traitlets.Enum(list(SEQUENTIAL), "magma").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # everything: nothing changes later

    def __init__(
        self,
        found: dict[str, dict[str, Tensor]],
        reference: Tensor,
        side_deg: float,
        sigmas: Tensor,
    ):
        self.sigmas = sigmas.flip(0).tolist()
        self.shown = {way: _rising(sets) for way, sets in found.items()}
        self._side_deg = side_deg
        self._limits = colour_limits(reference)
        self._statistics = stats.suite(reference, side_deg, ["power", "pdf"])
        self._vectors = {name: self._measure(name) for name in self._statistics}
        super().__init__(level=len(sigmas) // 2, _about=self._describe(reference.shape[-1]))

    def _measure(self, name: str) -> dict[tuple[str, str], np.ndarray]:
        """Vectors of a statistic by way and kind of map, each ``(levels, bins)``."""
        statistic, vectors = self._statistics[name], {}
        for way, sets in self.shown.items():
            for kind, maps in sets.items():
                if kind != "noised":  # it is not κ
                    vectors[way, kind] = statistic(maps)
        return vectors

    def _describe(self, n: int) -> dict:
        """What the browser has to know."""
        maps = {}
        for way, sets in self.shown.items():
            maps |= {f"{way} {kind}": quantise(kappa) for kind, kappa in sets.items()}
        statistics = []
        for name, statistic in self._statistics.items():
            vectors = {
                f"{way} {kind}": float32(v) for (way, kind), v in self._vectors[name].items()
            }
            statistics.append(axes_of(statistic) | {"log_y": True, "vectors": vectors})
        return {
            "n": n,
            "side_deg": self._side_deg,
            "sigmas": self.sigmas,
            "limits": self._limits,
            "ways": [[key, title] for key, title in _WAYS.items()],
            "titles": _TITLES,
            "noised_limits": _NOISED_LIMITS,
            "colours": _COLOURS,
            "tables": colour_tables(),
            "sets": maps,
            "statistics": statistics,
        }

    @traitlets.validate("level")
    def _check_level(self, proposal):
        value, last = proposal["value"], len(self.sigmas) - 1
        if not 0 <= value <= last:
            raise traitlets.TraitError(f"level must lie between 0 and {last}, found {value}")
        return value

    # ------------------------------------------------------------ the still picture

    def figure(self) -> plot.Figure:
        """What the widget shows now."""
        figure = blank_figure(11.5, 3.4)
        way = _WAYS[self.way].capitalize()
        figure.suptitle(f"{way}: noise level σ = {self.sigmas[self.level]:.2g}", fontsize=11)
        axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.25))
        self._draw_maps(figure, axes[:3])
        self._draw_power(axes[3])
        return figure

    def _draw_maps(self, figure, axes) -> None:
        """The noised map and both estimates."""
        for ax, (kind, title) in zip(axes, _TITLES.items()):
            limits = _NOISED_LIMITS if kind == "noised" else self._limits
            kappa = self.shown[self.way][kind][self.level]
            image = draw_map(ax, kappa, self._side_deg, limits, self.colours, title)
            if kind != "noised":
                ax.set(ylabel="", yticklabels=[])
        draw_colour_bar(figure, image, axes[1:])

    def _draw_power(self, ax) -> None:
        """Spectra of the true or finished map and of both estimates."""
        statistic, vectors = self._statistics["power"], self._vectors["power"]
        target = "true map" if self.way == "noise" else "finished map"
        plot.curve(ax, statistic, vectors[self.way, "map"][0], plot.TRUTH, target)
        for kind, colour in _COLOURS.items():
            plot.curve(ax, statistic, vectors[self.way, kind][self.level], colour, kind)
        ax.set(xscale="log", yscale="log", xlabel=statistic.x_label)
        ax.set_ylabel(typeset(statistic.y_label))
        ax.legend(frameon=False, fontsize=9)

    def __repr__(self) -> str:
        where = f"level {self.level + 1} of {len(self.sigmas)}"
        return f"Diffuse: {_WAYS[self.way]}, σ = {self.sigmas[self.level]:.2g} ({where})"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        return (
            "A map under noise, the estimates of a Gaussian and of a trained denoiser, "
            "and their power spectra."
        )


def _rising(sets: dict[str, Tensor]) -> dict[str, Tensor]:
    """The maps with the lowest noise level first; the single ``"map"`` has no level."""
    return {kind: maps if kind == "map" else maps.flip(0) for kind, maps in sets.items()}
