"""Walk through the latents of a flow: from one map to another, with a temperature and by scale.

A flow sends a map κ to a latent map z that is a Gaussian field, and back
(:mod:`lensnb.models.flow`). White latents of many pixels lie close to a sphere, so the walk
follows the great circle between two of them (Shoemake 1985). The temperature multiplies the
latents. A scale that is left out has its latents set to zero: the map loses the detail that the
flow adds there. The likelihood is the flow's own, in three parts:

    ln p(κ) = ln p(fine | middle, coarse) + ln p(middle | coarse) + ln p(coarse).

A base with band powers (:class:`lensnb.maps.BandField`) joins the scales. Then the likelihood has
no parts.

The function to call is :func:`walk`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import plot, stats
from ..maps import BandField
from ..models import Flow
from ..models.flow import SCALES
from ..plot.style import SMALL, blank_figure, typeset
from ..ramps import SEQUENTIAL
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

_SHARES = {"fine": "half of the latents", "middle": "a quarter", "coarse": "a quarter"}
_TEMPERATURES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
_MAPS = 64  # true maps that a walk can start or end at
_MAP_COLOUR = plot.CYCLE[3]  # of the map on view


def walk(
    model: Flow,
    maps: Maps,
    side_deg: float | None = None,
    *,
    first: int = 0,
    last: int = 1,
    steps: int = 17,
    temperatures: Sequence[float] = _TEMPERATURES,
) -> Walk:
    """Walk from one map to another through the latents of a flow.

    The widget shows the maps, their power spectrum and their likelihood. The arrow keys, Home and
    End move along the walk, and a button plays it; the browser holds all of it. Another
    temperature, other scales or other maps ask the kernel.

    Args:
        model: a trained flow.
        maps: at least two true κ-maps, a :class:`~lensnb.data.MapSet` or ``(maps, n, n)``. Up to
            64 of them, spread evenly, can be the ends of a walk. Spectrum and likelihood are
            compared with theirs.
        side_deg: side of the field, degrees; not needed for a :class:`~lensnb.data.MapSet`.
        first: the map where the walk starts, among those to choose from.
        last: the map where it ends.
        steps: maps along the walk, both ends included.
        temperatures: to choose from; 1, the model's own distribution, must be among them.

    Returns:
        A widget; make it the last value of a cell. Its traits ``step``, ``temperature``,
        ``scales``, ``first`` and ``last`` can be read and set.

    Raises:
        ValueError: the model is no flow, or has conditions; the maps have another size than its
            own, several source bins or NaN; the field size is missing. There is no such map. A
            walk has fewer than three steps. A temperature is not positive, or 1 is not among them.
    """
    side_deg = side_of(maps, side_deg)
    check_model(model, Flow)
    if steps < 3:
        raise ValueError(f"a walk needs at least three steps, found {steps}")
    offered = sorted({float(t) for t in temperatures})
    if 1.0 not in offered or offered[0] <= 0:
        raise ValueError(f"temperatures must be positive and include 1, found {offered}")
    true = pick("the set of true maps", maps, _MAPS, model.n).kappa
    for end in (first, last):
        if not 0 <= end < len(true):
            raise ValueError(f"there is no map {end} among the {len(true)} to choose from")
    return Walk(model, true, side_deg, first, last, steps, offered)


class Walk(Pictured):
    """The widget that :func:`walk` makes.

    Attributes:
        step: the step on view, from 0 at the start.
        temperature: factor of the white latents.
        scales: the scales that are kept, of ``"fine"``, ``"middle"``, ``"coarse"``.
        first: the map where the walk starts.
        last: the map where it ends.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        kappa: the maps of the walk, shape ``(steps, n, n)``.
        log_prob: ln p of these maps by scale (fine, middle, coarse), nats, shape ``(steps, 3)``;
            ``(steps, 1)`` where the likelihood has no parts.
    """

    _esm = script("common.js", "stage.js", "latent_walk.js")

    step = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    scales = traitlets.List(traitlets.Enum(SCALES), list(SCALES)).tag(sync=True)
    first = traitlets.Int(0).tag(sync=True)
    last = traitlets.Int(1).tag(sync=True)
    colours = traitlets.Enum(list(SEQUENTIAL), "magma").tag(sync=True)

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
        temperatures: Sequence[float],
    ):
        self._model, self._true = model, true
        self._device = model.transform.mean.device
        self._side_deg = side_deg
        self._steps = steps
        self._temperatures = temperatures
        self._limits = colour_limits(true)
        self._power = stats.suite(true, side_deg, ["power"])["power"]
        spectra = self._power(true)
        self._mean, self._std = spectra.mean(0), spectra.std(0, ddof=1)
        with torch.no_grad():
            of_true_maps = _log_prob(model, true.to(self._device))
        self._expected = of_true_maps.mean(0)  # ln p of true maps, shape (3,) or (1,)
        self._parts = SCALES if len(self._expected) > 1 else ()
        self._scatter = float(of_true_maps.sum(-1).std())
        super().__init__(first=first, last=last, step=steps // 2, _about=self._describe())
        self._update()
        self.observe(self._update, ["temperature", "scales", "first", "last"])

    def _describe(self) -> dict:
        """What the browser has to know once."""
        mean, std = self._mean.tolist(), self._std.tolist()
        return {
            "n": self._model.n,
            "side_deg": self._side_deg,
            "maps": len(self._true),
            "steps": self._steps,
            "limits": self._limits,
            "temperatures": self._temperatures,
            "scales": [[name, _SHARES[name]] for name in SCALES],
            "parts": list(self._parts),
            "colours": dict(zip(SCALES, plot.CYCLE)),
            "truth": self._scatter,
            "tables": colour_tables(),
            "power": axes_of(self._power) | {"log_y": True, "mean": mean, "std": std},
        }

    @traitlets.validate("temperature")
    def _check_temperature(self, proposal):
        value = proposal["value"]
        if value not in self._temperatures:
            raise traitlets.TraitError(
                f"temperature must be one of {self._temperatures}; found {value}"
            )
        return value

    @traitlets.validate("step", "first", "last")
    def _check_number(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        count = self._steps if name == "step" else len(self._true)
        if not 0 <= value < count:
            raise traitlets.TraitError(f"{name} must lie between 0 and {count - 1}, found {value}")
        return value

    @traitlets.validate("scales")
    def _check_scales(self, proposal):
        return [name for name in SCALES if name in proposal["value"]]

    # ------------------------------------------------------------ compute

    @torch.no_grad()
    def _update(self, _change=None) -> None:
        """Compute the walk and send it to the browser."""
        model = self._model
        ends = self._true[[self.first, self.last]]
        white = model.path(*ends.to(self._device), self._steps)
        kappa = model.with_scales(self.temperature * white, self.scales)
        self.log_prob = _log_prob(model, kappa)
        self.kappa = kappa.cpu()
        self._path = {
            "maps": quantise(self.kappa.clamp(*_widest(self._true))),
            "ends": quantise(ends),
            "power": float32(self._power(self.kappa)),
            "log_prob": float32(self.log_prob - self._expected),
            "setting": [self.temperature, self.scales, self.first, self.last],
        }

    # ------------------------------------------------------------ the still picture

    def figure(self) -> plot.Figure:
        """What the widget shows now."""
        figure = blank_figure(12.5, 3.6)
        figure.suptitle(self._title(), fontsize=11)
        left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
        self._draw_maps(left)
        power, likelihood = right.subplots(1, 2)
        self._draw_power(power)
        self._draw_likelihood(likelihood)
        return figure

    def _draw_maps(self, figure) -> None:
        """The two true maps and, between them, the map on view."""
        axes = figure.subplots(1, 3)
        shown = {
            "start": self._true[self.first],
            f"step {self.step + 1} of {self._steps}": self.kappa[self.step],
            "end": self._true[self.last],
        }
        for ax, (title, kappa) in zip(axes, shown.items()):
            image = draw_map(ax, kappa, self._side_deg, self._limits, self.colours, title)
            ax.label_outer()
        draw_colour_bar(figure, image, axes)

    def _draw_power(self, ax) -> None:
        """The spectrum of the map on view, over those of the true maps."""
        statistic = self._power
        low = np.maximum(self._mean - self._std, 0.03 * self._mean)
        high = self._mean + self._std
        here = statistic(self.kappa[self.step : self.step + 1])[0]
        ax.fill_between(statistic.x, low, high, color=plot.TRUTH, alpha=0.18, lw=0)
        plot.curve(ax, statistic, self._mean, plot.TRUTH, "true maps, ± σ of one")
        plot.curve(ax, statistic, here, _MAP_COLOUR, "this map")
        ax.set(xscale="log", yscale="log")
        ax.set_xlabel(typeset(statistic.x_label))
        ax.set_ylabel(typeset(statistic.y_label))
        ax.legend(frameon=False, fontsize=SMALL)

    def _draw_likelihood(self, ax) -> None:
        """The likelihood along the walk, less its mean for true maps; all scales and each."""
        excess = self.log_prob - self._expected
        place = np.arange(1, self._steps + 1)
        ax.axhspan(-self._scatter, self._scatter, color=plot.TRUTH, alpha=0.12, lw=0)
        ax.plot(place, excess.sum(-1), color=plot.TRUTH, label="all scales")
        for k, name in enumerate(self._parts):
            ax.plot(place, excess[:, k], color=plot.CYCLE[k], lw=1.2, label=name)
        ax.axvline(self.step + 1, color="0.5", lw=1, ls=":")
        ax.set(xlabel="step", ylabel="ln p − mean of true maps  [nats]")
        ax.legend(frameon=False, fontsize=SMALL)

    def _title(self) -> str:
        title = f"From map {self.first + 1} to map {self.last + 1}"
        title += f" at temperature {self.temperature:g}"
        missing = [name for name in SCALES if name not in self.scales]
        if missing:
            title += f", without {' and '.join(missing)} scales"
        return title

    def __repr__(self) -> str:
        nats = float(self.log_prob[self.step].sum())
        bits = -nats / (math.log(2) * self._model.n**2)
        where = f"step {self.step + 1} of {self._steps}, {bits:.4f} bits per pixel"
        return f"Walk: {self._title()}; {where}"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        shown = "A map between two others, its power spectrum and the log-likelihood on the way."
        return f"{shown} {self._title()}."


def _log_prob(model: Flow, kappa: Tensor) -> Tensor:
    """ln p of maps by scale, ``(maps, 3)``, or as a whole, ``(maps, 1)``, on the CPU."""
    if isinstance(model.base, BandField):
        return model.log_prob(kappa)[:, None].cpu()
    return model.log_prob_by_scale(kappa).cpu()


def _widest(true: Tensor) -> tuple[float, float]:
    """The κ that the browser is sent at most, wide enough for any map that a flow should draw.

    All pixels share 65,536 levels. Without these limits one wild pixel would leave few for κ.
    """
    low, high = float(true.min()), float(true.max())
    width = high - low
    return low - width, high + 4 * width
