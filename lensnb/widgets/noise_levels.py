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
from ..ramps import SEQUENTIAL, ramp
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
    "map": "true map",
    "noised": "under noise",
    "Gaussian": "Gaussian estimate",
    "network": "network's estimate",
}
_COLOURS = {"Gaussian": plot.FAMILIES["gaussian"][0], "network": plot.FAMILIES["diffusion"][0]}
_NOISED_LIMITS = (-2.5, 3.5)  # ends of the colour scale, in units of the map's own scatter
_MAPS = 64  # true maps that bins and colour limits are made from
_FINISHED = "finished map"  # what "map" is while one is made
_DIFFERENCES = {
    "network − Gaussian": ("network", "Gaussian"),
    "Gaussian − map": ("Gaussian", "map"),
    "network − map": ("network", "map"),
}
_DIVERGING = "RdBu_r"


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

    The widget shows the map, the noised map, the estimates of both denoisers, the difference of
    two of these, spectra and PDFs. The arrow keys, Home and End move through the levels, and a
    button plays them. The model draws one map, along the levels of its sampler; nothing is
    computed while one scrubs. Another map asks the kernel.

    Args:
        model: a trained diffusion model.
        maps: at least two true κ-maps, a :class:`~lensnb.data.MapSet` or ``(maps, n, n)``; the
            bins are made from them.
        side_deg: side of the field, degrees; not needed for a :class:`~lensnb.data.MapSet`.
        levels: noise levels to show, at least four.
        which: the true map that is put under noise first.
        seed: of the noise, and of the first map that is made.

    Returns:
        A widget; make it the last value of a cell. Its traits ``way`` (``"noise"`` or ``"make"``),
        ``level`` (0 is the lowest), ``which``, ``seed`` and ``difference`` can be read and set.

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
    return Diffuse(model, maps, reference, side_deg, levels, which, seed)


# ---------------------------------------------------------------- compute


class _Recorder:
    """A denoiser that keeps the maps it is given and its estimates."""

    def __init__(self, denoise):
        self.denoise, self.gaussian = denoise, denoise.gaussian
        self.given: list[Tensor] = []
        self.found: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.given.append(x)
        self.found.append(self.denoise(x, sigma))
        return self.found[-1]


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
    levels = sigmas.to(x)
    gaussian = denoise.gaussian.denoise(x, levels)
    return _as_kappa(model, x, gaussian, denoise(x, levels)) | {"map": kappa}


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
    gaussian = [
        denoise.gaussian.denoise(x, sigma.to(x))
        for x, sigma in zip(recorder.given, sigmas.split(1))
    ]
    sets = (torch.cat(some) for some in (recorder.given, gaussian, recorder.found))
    return _as_kappa(model, *sets) | {"map": model.transform.inverse(end).float().cpu()}


def _as_kappa(model: Diffusion, x: Tensor, gaussian: Tensor, network: Tensor) -> dict[str, Tensor]:
    """Noised maps in units of their own scatter, and the estimates of both denoisers as κ.

    The Gaussian denoiser knows the same numbers of the map as the network.
    """
    mean, spread = x.mean((-2, -1), keepdim=True), x.std((-2, -1), keepdim=True)
    kappa = {
        name: model.transform.inverse(y).float().cpu()
        for name, y in (("Gaussian", gaussian), ("network", network))
    }
    return {"noised": ((x - mean) / spread).float().cpu()} | kappa


# ---------------------------------------------------------------- the widget


class Diffuse(Pictured):
    """The widget that :func:`diffuse` makes.

    Attributes:
        way: ``"noise"``, a true map under noise, or ``"make"``, a new map while it is made.
        level: the noise level on view, 0 the lowest.
        which: the true map that is put under noise.
        seed: of the map that is made.
        difference: ``"network − Gaussian"``, ``"Gaussian − map"`` or ``"network − map"``.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        sigmas: the noise levels, rising.
        shown: ``shown[way]`` has ``"noised"`` maps in units of their own scatter, and the
            estimates ``"Gaussian"`` and ``"network"`` as κ, each of shape ``(levels, n, n)``, and
            the ``"map"``, ``(1, n, n)``: the true one, or the finished one.
    """

    _esm = script("common.js", "stage.js", "noise_levels.js")

    way = traitlets.Enum(list(_WAYS), "noise").tag(sync=True)
    level = traitlets.Int(0).tag(sync=True)
    which = traitlets.Int(0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    difference = traitlets.Enum(list(_DIFFERENCES), "network − Gaussian").tag(sync=True)
    colours = traitlets.Enum(list(SEQUENTIAL), "magma").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _noise = traitlets.Dict().tag(sync=True)  # maps and statistics of each way
    _make = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        model: Diffusion,
        maps: Maps,
        reference: Tensor,
        side_deg: float,
        levels: int,
        which: int,
        seed: int,
    ):
        falling = karras_sigmas(levels, *model.sigma_range)[:-1]  # without the 0 at the end
        self.sigmas = falling.flip(0).tolist()
        self.shown: dict[str, dict[str, Tensor]] = {}
        self._model, self._maps, self._falling = model, maps, falling
        self._side_deg = side_deg
        self._limits = colour_limits(reference)
        self._statistics = stats.suite(reference, side_deg, ["power", "pdf"])
        self._vectors: dict[str, dict[str, dict[str, np.ndarray]]] = {}
        self._seed_of_noise = seed
        about = self._describe(reference.shape[-1])
        super().__init__(level=levels // 2, which=which, seed=seed, _about=about)
        self._put()
        self._sample()
        self.observe(self._put, "which")
        self.observe(self._sample, "seed")

    def _put(self, _change=None) -> None:
        """Put the chosen true map under noise."""
        kappa = _one_map(self._maps, self.which)
        found = _put_under_noise(self._model, kappa, self._falling, self._seed_of_noise)
        self._noise = self._found("noise", found) | {"number": self.which}

    def _sample(self, _change=None) -> None:
        """Make a new map."""
        found = _make_from_noise(self._model, self._falling, self.seed)
        self._make = self._found("make", found) | {"number": self.seed}

    def _found(self, way: str, found: dict[str, Tensor]) -> dict:
        """Keep the maps of a way with the lowest noise first; what the browser gets of them."""
        sets = {kind: maps if kind == "map" else maps.flip(0) for kind, maps in found.items()}
        self.shown[way] = sets
        kappa = {kind: maps for kind, maps in sets.items() if kind != "noised"}
        self._vectors[way] = {
            name: {kind: statistic(maps) for kind, maps in kappa.items()}
            for name, statistic in self._statistics.items()
        }
        apart, spans = {}, {}
        for name, (one, other) in _DIFFERENCES.items():
            difference = (sets[one] - sets[other]).flatten(1)
            apart[name] = (difference.std(1) / sets["map"].std()).tolist()
            spans[name] = float(difference.abs().quantile(0.997, 1).max()) or 1e-12
        vectors = [
            {kind: float32(some) for kind, some in self._vectors[way][name].items()}
            for name in self._statistics
        ]
        maps = {kind: quantise(some) for kind, some in sets.items()}
        return {"sets": maps, "vectors": vectors, "apart": apart, "spans": spans}

    def _describe(self, n: int) -> dict:
        """What the browser has to know once."""
        return {
            "n": n,
            "total": len(self._maps),
            "sigmas": self.sigmas,
            "limits": self._limits,
            "ways": [[key, title] for key, title in _WAYS.items()],
            "titles": _TITLES,
            "finished": _FINISHED,
            "differences": {name: list(pair) for name, pair in _DIFFERENCES.items()},
            "noised_limits": _NOISED_LIMITS,
            "colours": _COLOURS,
            "tables": colour_tables(),
            "diverging": ramp(_DIVERGING).tobytes(),
            "statistics": [axes_of(one) | {"log_y": True} for one in self._statistics.values()],
        }

    @traitlets.validate("level", "which")
    def _check_number(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        last = len(self.sigmas if name == "level" else self._maps) - 1
        if not 0 <= value <= last:
            raise traitlets.TraitError(f"{name} must lie between 0 and {last}, found {value}")
        return value

    # ------------------------------------------------------------ the still picture

    def figure(self) -> plot.Figure:
        """What the widget shows now."""
        figure = blank_figure(9, 6.2)
        way = _WAYS[self.way].capitalize()
        figure.suptitle(f"{way}: noise level σ = {self.sigmas[self.level]:.2g}", fontsize=11)
        upper, lower = figure.subplots(2, 3)
        self._draw_maps(figure, [*upper[:2], *lower[:2]])
        self._draw_power(upper[2])
        self._draw_difference(figure, lower[2])
        return figure

    def _draw_maps(self, figure, axes) -> None:
        """The map, the noised map and both estimates."""
        for ax, (kind, title) in zip(axes, _TITLES.items()):
            limits = _NOISED_LIMITS if kind == "noised" else self._limits
            if kind == "map" and self.way == "make":
                title = _FINISHED
            maps = self.shown[self.way][kind]
            one = maps[0] if kind == "map" else maps[self.level]
            image = draw_map(ax, one, self._side_deg, limits, self.colours, title)
            ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
            if kind != "noised":
                scale = image
        draw_colour_bar(figure, scale, axes[2:])

    def _draw_difference(self, figure, ax) -> None:
        """The difference of two maps, on a scale of its own."""
        one, other = (self.shown[self.way][kind] for kind in _DIFFERENCES[self.difference])
        if len(other) > 1:
            other = other[self.level]
        difference = (one[self.level] - other).squeeze()
        way = self._noise if self.way == "noise" else self._make
        span = way["spans"][self.difference]
        limits = (-span, span)
        image = draw_map(ax, difference, self._side_deg, limits, _DIVERGING, self.difference)
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
        below = {"orientation": "horizontal", "aspect": 20, "extend": "both", "format": "%.2g"}
        figure.colorbar(image, ax=ax, label="difference of κ", ticks=[-span, 0, span], **below)

    def _draw_power(self, ax) -> None:
        """Spectra of the true or finished map and of both estimates."""
        statistic, vectors = self._statistics["power"], self._vectors[self.way]["power"]
        target = _TITLES["map"] if self.way == "noise" else _FINISHED
        plot.curve(ax, statistic, vectors["map"][0], plot.TRUTH, target)
        for kind, colour in _COLOURS.items():
            plot.curve(ax, statistic, vectors[kind][self.level], colour, kind)
        ax.set(xscale="log", yscale="log", xlabel=statistic.x_label)
        ax.set_ylabel(typeset(statistic.y_label))
        ax.legend(frameon=False, fontsize=9)

    def __repr__(self) -> str:
        where = f"level {self.level + 1} of {len(self.sigmas)}"
        return f"Diffuse: {_WAYS[self.way]}, σ = {self.sigmas[self.level]:.2g} ({where})"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        return (
            "A map, the same under noise, the estimates of a Gaussian and of a trained denoiser, "
            "their difference, and power spectra."
        )


def _one_map(maps: Maps, which: int) -> Tensor:
    """One map of a set as it is, shape ``(1, n, n)``."""
    one = maps[which : which + 1]
    if isinstance(one, MapSet):
        return one.tensor()
    return torch.as_tensor(np.asarray(one)).float()
