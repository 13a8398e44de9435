"""Walk through the latents of a flow: from one map to another, warmer or colder, with some of its scales left out.

A flow sends a map κ to a latent map z that is a Gaussian field, and back (:mod:`lensnb.models.flow`). White latents of many
pixels lie near a sphere, so the walk goes along the great circle between two of them (Shoemake 1985); the temperature
multiplies them, and a scale that is left out has its latents, the detail that the flow puts in there, set to zero. The
likelihood is the flow's own, in three parts: ln p(fine | middle, coarse) + ln p(middle | coarse) + ln p(coarse). :func:`walk`
is the one to call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import plot, stats
from ..data import MapSet
from ..models import Flow
from ..models.flow import SCALES
from .pictures import COLOUR_MAPS, Pictured, colour_table, pick, quantise, script

SHARES = {"fine": "half of the latents", "middle": "a quarter", "coarse": "a quarter"}
TEMPERATURES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)


def walk(
    model: Flow, maps: MapSet | Tensor | np.ndarray, side_deg: float | None = None, *, first: int = 0, last: int = 1,
    steps: int = 17, temperatures: Sequence[float] = TEMPERATURES,
) -> Walk:  # fmt: skip
    """Walk from one map to another through the latents of a flow, and see spectrum and likelihood change.

    The arrow keys, Home and End move along the walk, which the browser has as a whole; another temperature, other scales and
    other maps ask the kernel.

    Args:
        model: a trained flow.
        maps: true κ-maps, a :class:`~lensnb.data.MapSet` or ``(maps, n, n)``, at least two; 64 of them, spread evenly, can be
            the ends of a walk and are what spectrum and likelihood are held against.
        side_deg: side of the field, degrees; not needed for a :class:`~lensnb.data.MapSet`.
        first: where the walk starts, among the maps to choose from.
        last: where it ends.
        steps: maps along the walk, both ends included.
        temperatures: to choose from; 1 is the model's own distribution, and must be among them.

    Returns:
        A widget, shown when it is the last value of a cell. Its traits ``step``, ``temperature``, ``scales``, ``first`` and
        ``last`` can be read and set.

    Raises:
        ValueError: maps of another size than the model's or with NaN, no such map, fewer than three steps, no temperature of 1
            or one that is not positive, no field size.
    """
    side_deg = maps.side_deg if isinstance(maps, MapSet) and side_deg is None else side_deg
    if side_deg is None or not side_deg > 0:
        raise ValueError(f"side_deg must be the side of the field in degrees, found {side_deg}")
    if steps < 3:
        raise ValueError(f"a walk needs at least three steps, found {steps}")
    temperatures = sorted({float(t) for t in temperatures})
    if 1.0 not in temperatures or temperatures[0] <= 0:
        raise ValueError(
            f"temperatures must be positive and have 1 among them, found {temperatures}"
        )
    true = pick("maps", maps, 64).kappa
    if true.shape[-1] != model.n:
        found = " × ".join(map(str, true.shape[-2:]))
        raise ValueError(
            f"the model was made for maps of {model.n} × {model.n} pixels, found {found}"
        )
    for one in (first, last):
        if not 0 <= one < len(true):
            raise ValueError(f"there is no map {one} among the {len(true)} to choose from")
    return Walk(model, true, side_deg, first, last, steps, temperatures)


class Walk(Pictured):
    """The widget that :func:`walk` makes.

    Attributes:
        step: where on the walk, 0 the start.
        temperature: what the white latents are multiplied by.
        scales: the scales that are not left out, of ``"fine"``, ``"middle"``, ``"coarse"``.
        first: the map where the walk starts.
        last: the map where it ends.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        kappa: the maps of the walk, ``(steps, n, n)``.
        log_prob: ln p of these maps by scale, fine, middle, coarse, in nats, ``(steps, 3)``.
    """

    _esm = script("common.js", "walk.js")

    step = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    scales = traitlets.List(traitlets.Enum(SCALES), list(SCALES)).tag(sync=True)
    first = traitlets.Int(0).tag(sync=True)
    last = traitlets.Int(1).tag(sync=True)
    colours = traitlets.Enum(list(COLOUR_MAPS), "magma").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _path = traitlets.Dict().tag(sync=True)  # the walk

    def __init__(
        self,
        model: Flow,
        true: Tensor,
        side_deg: float,
        first: int,
        last: int,
        steps: int,
        temperatures,
    ):
        self._model, self._true, self._side_deg, self._steps = model, true, side_deg, steps
        self._temperatures, self._device = temperatures, model.transform.mean.device
        self._limits = np.percentile(true, [0.5, 99.7]).tolist()
        self._power = stats.suite(true, side_deg, ["power"])["power"]
        spectra = self._power(true)
        self._band = spectra.mean(0), spectra.std(0, ddof=1)
        with torch.no_grad():
            self._typical = model.log_prob_by_scale(true.to(self._device)).cpu()
        total = self._typical.sum(-1)
        super().__init__(
            first=first, last=last, step=steps // 2,
            _about={
                "n": model.n, "side_deg": side_deg, "maps": len(true), "steps": steps, "limits": self._limits,
                "temperatures": temperatures, "scales": [[name, SHARES[name]] for name in SCALES],
                "colours": dict(zip(SCALES, plot.CYCLE)), "truth": float(total.std()),
                "tables": {name: colour_table(name).tobytes() for name in COLOUR_MAPS},
                "power": {
                    "x": np.asarray(self._power.x, float).tolist(), "x_label": self._power.x_label,
                    "y_label": self._power.y_label, "log_x": self._power.log_x, "log_y": True,
                    "mean": self._band[0].tolist(), "std": self._band[1].tolist(),
                },
            },
        )  # fmt: skip
        self._update()
        self.observe(lambda _: self._update(), ["temperature", "scales", "first", "last"])

    @traitlets.validate("temperature", "step", "first", "last")
    def _check_offered(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if name == "temperature":
            if value not in self._temperatures:
                raise traitlets.TraitError(
                    f"temperature must be one of {self._temperatures}; found {value}"
                )
            return value
        most = self._steps if name == "step" else len(self._true)
        if not 0 <= value < most:
            raise traitlets.TraitError(f"{name} must lie between 0 and {most - 1}, found {value}")
        return value

    @traitlets.validate("scales")
    def _check_scales(self, proposal):
        return [name for name in SCALES if name in proposal["value"]]

    # ------------------------------------------------------------ compute

    @torch.no_grad()
    def _update(self) -> None:
        """Go the way, and send it."""
        model, ends = self._model, self._true[[self.first, self.last]].to(self._device)
        white = model.path(*ends, self._steps)
        self.kappa = model.with_scales(self.temperature * white, self.scales)
        self.log_prob = model.log_prob_by_scale(self.kappa).cpu()
        self.kappa = self.kappa.cpu()
        typical = self._typical.mean(0)
        self._path = {
            "maps": quantise(self.kappa.clamp(*_reach(self._true))), "ends": quantise(ends.cpu()),
            "power": self._power(self.kappa).astype("<f4").tobytes(),
            "log_prob": (self.log_prob - typical).float().numpy().astype("<f4").tobytes(),
            "setting": [self.temperature, self.scales, self.first, self.last],
        }  # fmt: skip

    # ------------------------------------------------------------ the picture that stays

    def figure(self) -> plot.Figure:
        """What the widget shows now."""
        figure = plot.Figure(figsize=(12.5, 3.6), layout="constrained", facecolor="white")
        figure.suptitle(self._title(), fontsize=11)
        left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
        axes = left.subplots(1, 3)
        table = "gray" if self.colours == "grey" else self.colours
        shown = (self._true[self.first], self.kappa[self.step], self._true[self.last])
        for ax, kappa, title in zip(
            axes, shown, ("start", f"step {self.step + 1} of {self._steps}", "end")
        ):
            image = plot.kappa_map(ax, kappa, self._side_deg, tuple(self._limits), table)
            image.set_interpolation("nearest")
            ax.set_title(title, fontsize=10)
            ax.label_outer()
        left.colorbar(
            image,
            ax=axes,
            orientation="horizontal",
            label="convergence κ",
            extend="both",
            aspect=40,
        )
        power, likely = right.subplots(1, 2)
        mean, std = self._band
        power.fill_between(
            self._power.x,
            np.maximum(mean - std, 0.03 * mean),
            mean + std,
            color=plot.TRUTH,
            alpha=0.18,
            lw=0,
        )
        power.loglog(self._power.x, mean, color=plot.TRUTH, label="true maps, ± σ of one")
        power.loglog(
            self._power.x,
            self._power(self.kappa[self.step : self.step + 1])[0],
            color=plot.CYCLE[3],
            label="this map",
        )
        power.set(
            xlabel=plot.typeset(self._power.x_label), ylabel=plot.typeset(self._power.y_label)
        )
        power.legend(frameon=False, fontsize=8)
        apart, place = self.log_prob - self._typical.mean(0), np.arange(1, self._steps + 1)
        spread = float(self._typical.sum(-1).std())
        likely.axhspan(-spread, spread, color=plot.TRUTH, alpha=0.12, lw=0)
        likely.plot(place, apart.sum(-1), color=plot.TRUTH, label="all scales")
        for k, name in enumerate(SCALES):
            likely.plot(place, apart[:, k], color=plot.CYCLE[k], lw=1.2, label=name)
        likely.axvline(self.step + 1, color="0.5", lw=1, ls=":")
        likely.set(xlabel="step", ylabel="ln p − mean of true maps  [nats]")
        likely.legend(frameon=False, fontsize=8)
        return figure

    def _title(self) -> str:
        left = [name for name in SCALES if name not in self.scales]
        without = f", without {' and '.join(left)} scales" if left else ""
        return f"From map {self.first + 1} to map {self.last + 1} at temperature {self.temperature:g}{without}"

    def __repr__(self) -> str:
        bits = -float(self.log_prob[self.step].sum()) / (math.log(2) * self._model.n**2)
        return f"Walk: {self._title()}; step {self.step + 1} of {self._steps}, {bits:.4f} bits per pixel"

    def alt(self) -> str:
        return f"A map between two others, its power spectrum and the log-likelihood along the way. {self._title()}."


def _reach(true: Tensor) -> tuple[float, float]:
    """What κ the browser is sent, wide enough for any map that a flow should draw: a single wild pixel would cost all colours."""
    low, high = float(true.min()), float(true.max())
    return low - (high - low), high + 4 * (high - low)
