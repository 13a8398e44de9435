"""Scrub the noise level of a diffusion model: the map under noise, what the denoiser makes of it, and the way to a new map.

A transformed map y = T(κ) under noise of level σ is x = y + σ n, and a denoiser D(x; σ) estimates E[y | x]
(:mod:`lensnb.models.diffusion`). Two denoisers stand side by side: the exact one of the Gaussian field with the right spectrum,
and the trained one. :func:`diffuse` is the one to call.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import plot, stats
from ..data import MapSet
from ..models import Diffusion
from ..samplers import MapNoise, exponential, karras_sigmas
from .pictures import COLOUR_MAPS, Pictured, colour_table, pick, quantise, script

WAYS = {"noise": "put noise on a true map", "make": "make a map from noise"}


def diffuse(
    model: Diffusion, maps: MapSet | Tensor | np.ndarray, side_deg: float | None = None, *, levels: int = 25,
    which: int = 0, seed: int = 0,
) -> Diffuse:  # fmt: skip
    """Scrub the noise level: a true map under noise, or a new map on its way, and what the denoisers make of it.

    The arrow keys, Home and End move through the levels. The model draws one map along the levels of its sampler; nothing is
    computed while one scrubs.

    Args:
        model: a trained diffusion model.
        maps: true κ-maps, a :class:`~lensnb.data.MapSet` or ``(maps, n, n)``, at least two; bins are made from them.
        side_deg: side of the field, degrees; not needed for a :class:`~lensnb.data.MapSet`.
        levels: noise levels to show, at least four.
        which: the true map that is put under noise.
        seed: of the noise.

    Returns:
        A widget, shown when it is the last value of a cell. Its traits ``way`` (``"noise"`` or ``"make"``) and ``level``
        (0 is the lowest) can be read and set.

    Raises:
        ValueError: maps of another size than the model's or with NaN, no such map, fewer than four levels, no field size.
    """
    side_deg = maps.side_deg if isinstance(maps, MapSet) and side_deg is None else side_deg
    if side_deg is None or not side_deg > 0:
        raise ValueError(f"side_deg must be the side of the field in degrees, found {side_deg}")
    if levels < 4:
        raise ValueError(
            f"the noise level needs at least four steps to be scrubbed, found {levels}"
        )
    total = len(maps)
    if not 0 <= which < total:
        raise ValueError(f"there is no map {which} among {total}")
    reference = pick("maps", maps, 64).kappa
    if reference.shape[-1] != model.n:
        found = " × ".join(map(str, reference.shape[-2:]))
        raise ValueError(
            f"the model was made for maps of {model.n} × {model.n} pixels, found {found}"
        )
    kappa = maps[which : which + 1]
    kappa = (
        kappa.tensor() if isinstance(kappa, MapSet) else torch.as_tensor(np.asarray(kappa)).float()
    )
    sigmas = karras_sigmas(levels, *model.sigma_range)[:-1]  # falling; without the 0 at the end
    found = {
        "noise": _under_noise(model, kappa, sigmas, seed),
        "make": _on_its_way(model, sigmas, seed),
    }
    return Diffuse(found, reference, side_deg, sigmas)


class _Noted:
    """A denoiser that notes the maps it is given."""

    def __init__(self, denoise):
        self.denoise, self.gaussian = denoise, denoise.gaussian
        self.given: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.given.append(x)
        return self.denoise(x, sigma)


@torch.no_grad()
def _under_noise(model: Diffusion, kappa: Tensor, sigmas: Tensor, seed: int) -> dict[str, Tensor]:
    """A true map under the same noise at all levels, and what either denoiser makes of it, each ``(levels, n, n)``."""
    y, noise = model.transform(kappa.double()), MapNoise(1, torch.Generator().manual_seed(seed))
    x = y + sigmas.to(y)[:, None, None] * noise(model.n, y)
    denoise = (
        model.denoiser
        if model.strength is None
        else model.denoiser.given(model.strength(y).expand(len(x), -1))
    )
    return _guesses(model, denoise, x, sigmas) | {"map": kappa}


@torch.no_grad()
def _on_its_way(model: Diffusion, sigmas: Tensor, seed: int) -> dict[str, Tensor]:
    """The same of a new map on its way from noise, as the exponential sampler makes it."""
    noise, like = MapNoise(1, torch.Generator().manual_seed(seed)), model.transform.mean
    denoise = (
        model.denoiser
        if model.strength is None
        else model.denoiser.given(model.strength.sample(noise))
    )
    start = model.denoiser.gaussian.colour(noise(model.n, like)) + float(sigmas[0]) * noise(
        model.n, like
    )
    noted = _Noted(denoise)
    end = exponential(noted, start, torch.cat([sigmas, sigmas.new_zeros(1)]))
    x = torch.cat(noted.given)
    same = lambda x, sigma: torch.cat(
        [denoise(x[i : i + 1], sigma[i : i + 1]) for i in range(len(x))]
    )
    return _guesses(model, same, x, sigmas) | {"map": model.transform.inverse(end).float()}


def _guesses(model: Diffusion, denoise, x: Tensor, sigmas: Tensor) -> dict[str, Tensor]:
    """Noised maps in units of their own scatter, and the guesses of both denoisers as κ."""
    levels = sigmas.to(x)
    kappa = lambda y: model.transform.inverse(y).float().cpu()
    spread = x.std((-2, -1), keepdim=True)
    return {
        "noised": ((x - x.mean((-2, -1), keepdim=True)) / spread).float().cpu(),
        "Gaussian": kappa(model.denoiser.gaussian.denoise(x, levels)),
        "network": kappa(denoise(x, levels)),
    }


class Diffuse(Pictured):
    """The widget that :func:`diffuse` makes.

    Attributes:
        way: ``"noise"``, a true map under noise, or ``"make"``, a new map on its way.
        level: the noise level on view, 0 the lowest.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        sigmas: the noise levels, rising.
        shown: ``shown[way]``: ``"noised"`` maps in units of their own scatter, ``"Gaussian"`` and ``"network"``'s guesses as
            κ, each ``(levels, n, n)``, and the true or finished ``"map"``, ``(1, n, n)``.
    """

    _esm = script("common.js", "diffuse.js")

    way = traitlets.Enum(list(WAYS), "noise").tag(sync=True)
    level = traitlets.Int(0).tag(sync=True)
    colours = traitlets.Enum(list(COLOUR_MAPS), "magma").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # all of it: nothing changes later

    def __init__(
        self,
        found: dict[str, dict[str, Tensor]],
        reference: Tensor,
        side_deg: float,
        sigmas: Tensor,
    ):
        order = torch.arange(len(sigmas) - 1, -1, -1)  # the lowest level first
        self.shown = {
            way: {name: maps if name == "map" else maps[order] for name, maps in sets.items()}
            for way, sets in found.items()
        }
        self.sigmas, self._side_deg = sigmas[order].tolist(), side_deg
        self._limits = np.percentile(reference, [0.5, 99.7]).tolist()
        self._statistics = stats.suite(reference, side_deg, ["power", "pdf"])
        self._vectors = {
            way: {s: {name: self._statistics[s](maps) for name, maps in sets.items() if name != "noised"} for s in self._statistics}
            for way, sets in self.shown.items()
        }  # fmt: skip
        super().__init__(
            level=len(sigmas) // 2,
            _about={
                "n": reference.shape[-1], "side_deg": side_deg, "sigmas": self.sigmas, "limits": self._limits,
                "ways": [[key, title] for key, title in WAYS.items()],
                "colours": {"Gaussian": plot.CYCLE[0], "network": plot.CYCLE[1]},
                "tables": {name: colour_table(name).tobytes() for name in COLOUR_MAPS},
                "sets": {
                    f"{way} {name}": quantise(maps) for way, sets in self.shown.items() for name, maps in sets.items()
                },
                "statistics": [self._sent(name) for name in self._statistics],
            },
        )  # fmt: skip

    def _sent(self, name: str) -> dict:
        """A statistic with its vectors, as the browser wants it."""
        s = self._statistics[name]
        return {
            "x": np.asarray(s.x, float).tolist(), "x_label": s.x_label, "y_label": s.y_label, "log_x": s.log_x, "log_y": True,
            "vectors": {
                f"{way} {of}": vectors.astype("<f4").tobytes()
                for way, by in self._vectors.items() for of, vectors in by[name].items()
            },
        }  # fmt: skip

    @traitlets.validate("level")
    def _check_level(self, proposal):
        if not 0 <= proposal["value"] < len(self.sigmas):
            raise traitlets.TraitError(
                f"level must lie between 0 and {len(self.sigmas) - 1}, found {proposal['value']}"
            )
        return proposal["value"]

    def figure(self) -> plot.Figure:
        """What the widget shows now."""
        sets, level = self.shown[self.way], self.level
        figure = plot.Figure(figsize=(11.5, 3.4), layout="constrained", facecolor="white")
        figure.suptitle(
            f"{WAYS[self.way].capitalize()}: noise level σ = {self.sigmas[level]:.2g}", fontsize=11
        )
        axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.25))
        table = "gray" if self.colours == "grey" else self.colours
        for ax, name, title in zip(axes, ("noised", "Gaussian", "network"), self._titles()):
            limits = (-2.5, 3.5) if name == "noised" else tuple(self._limits)
            image = plot.kappa_map(ax, sets[name][level], self._side_deg, limits, table)
            image.set_interpolation("nearest")
            ax.set_title(title, fontsize=10)
            if name != "noised":
                ax.set(ylabel="", yticklabels=[])
        figure.colorbar(
            image,
            ax=axes[1:3],
            orientation="horizontal",
            label="convergence κ",
            extend="both",
            aspect=40,
        )
        s, vectors = self._statistics["power"], self._vectors[self.way]["power"]
        axes[3].loglog(s.x, vectors["map"][0], color=plot.TRUTH, label=self._last())
        for name, colour in zip(("Gaussian", "network"), plot.CYCLE):
            axes[3].loglog(s.x, vectors[name][level], color=colour, label=name)
        axes[3].set(xlabel=s.x_label, ylabel=plot.typeset(s.y_label))
        axes[3].legend(frameon=False, fontsize=9)
        return figure

    def _titles(self) -> Sequence[str]:
        return ("under noise", "Gaussian guess", "network's guess")

    def _last(self) -> str:
        return "true map" if self.way == "noise" else "map in the end"

    def __repr__(self) -> str:
        return f"Diffuse: {WAYS[self.way]}, σ = {self.sigmas[self.level]:.2g} (level {self.level + 1} of {len(self.sigmas)})"

    def alt(self) -> str:
        return "A map under noise, the guesses of a Gaussian and of a trained denoiser, and their power spectra."
