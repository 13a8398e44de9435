"""Look at true and generated κ-maps one by one, with the statistics of all of them.

The kernel adds shape noise to the maps, smooths them and measures one statistic of every map. Maps
and vectors go to the browser, and ``explorer.js`` draws everything from them, so that stepping
from map to map needs no kernel. κ is dimensionless, angles are in arcminutes, the field is in
degrees. The function to call is :func:`explore`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import plot, stats
from ..ensemble import Ensemble
from ..maps import smooth
from ..plot.style import blank_figure, typeset
from ..ramps import SEQUENTIAL
from ..shear import add_shape_noise
from .pictures import (
    Chosen,
    Maps,
    Pictured,
    axes_of,
    colour_limits,
    colour_tables,
    draw_colour_bar,
    draw_map,
    field_side,
    float32,
    pick_all,
    quantise,
    script,
)

# What can be chosen: title, name in stats.suite, and the third of the vector of the Minkowski
# functionals.
STATISTICS = {
    "power": ("Power spectrum", "power", None),
    "pdf": ("PDF of κ", "pdf", None),
    "peaks": ("Peak counts", "peaks", None),
    "minima": ("Minima counts", "minima", None),
    "V0": ("Minkowski V₀", "minkowski", 0),
    "V1": ("Minkowski V₁", "minkowski", 1),
    "V2": ("Minkowski V₂", "minkowski", 2),
}
_VIEWS = ["side by side", "blinking", "difference"]
_MINKOWSKI_LABELS = ("V₀  [area fraction]", "V₁  [1/arcmin]", "V₂  [1/arcmin²]")


def explore(
    sets: Mapping[str, Maps] | Maps,
    side_deg: float | None = None,
    statistics: str | Sequence[str] | None = None,
    *,
    maps: int | None = None,
    smoothing_arcmin: Sequence[float] = (0, 1, 2, 5, 10),
    n_gal_arcmin2: Sequence[float] = (0, 10, 30, 50),
    sigma_e: float = 0.4,
    seed: int = 0,
) -> Explorer:
    """Step through true and generated maps side by side, or through one set, with statistics.

    Arrow keys, Home and End step. A double click zooms into both maps, and a drag moves them. Maps
    stand side by side, blink, or are subtracted. The plot shows the mean and the scatter of one
    map for the true and for the chosen maps, and the two maps on view. Bins are made from the true
    maps after noise and smoothing. A single set is shown alone, relative to its own mean.

    Args:
        sets: name → κ-maps, a :class:`~lensnb.data.MapSet` or an array ``(maps, n, n)``; the first
            holds the true maps. Or one such set, with or without a name.
        side_deg: side of the field, degrees; not needed when one of the sets is a
            :class:`~lensnb.data.MapSet`.
        statistics: which to offer, of ``power``, ``pdf``, ``peaks``, ``minima``, ``V0``, ``V1``,
            ``V2``; all by default. The first is shown first.
        maps: how many maps of each set to use, spread evenly over it; by default 200, or fewer
            where these have more than 4 million pixels. 256 maps of 256² pixels are 34 MB a set.
        smoothing_arcmin: standard deviations of the Gaussian smoothing to offer, arcminutes; the
            first is shown first.
        n_gal_arcmin2: source densities to offer for shape noise, per square arcminute; 0 is no
            noise.
        sigma_e: intrinsic ellipticity dispersion of the shape noise, both components together.
        seed: of the shape noise.

    Returns:
        A widget; make it the last value of a cell. Its traits ``statistic``, ``smoothing_arcmin``,
        ``n_gal_arcmin2``, ``against``, ``index``, ``view``, ``window``, ``colours`` and ``limits``
        can be read and set.

    Raises:
        ValueError: an unknown statistic; no set; a set of fewer than two maps, of several source
            bins or with NaN; sets of different shapes or fields; no field size.
    """
    if not isinstance(sets, Mapping):
        sets = {"maps": sets}
    offered = {
        "statistic": _offered_statistics(statistics),
        "smoothing_arcmin": _offered_numbers("smoothing_arcmin", smoothing_arcmin),
        "n_gal_arcmin2": _offered_numbers("n_gal_arcmin2", n_gal_arcmin2),
    }
    side_deg = field_side(sets, side_deg)
    return Explorer(pick_all(sets, maps), side_deg, offered, sigma_e, seed)


def _offered_statistics(statistics: str | Sequence[str] | None) -> list[str]:
    if statistics is None:
        return list(STATISTICS)
    names = [statistics] if isinstance(statistics, str) else list(statistics)
    unknown = [name for name in names if name not in STATISTICS]
    if unknown or not names:
        found = repr(unknown[0]) if unknown else "none"
        raise ValueError(
            f"the statistics to choose from are {', '.join(STATISTICS)}; found {found}"
        )
    return names


def _offered_numbers(name: str, values: Sequence[float]) -> list[float]:
    numbers = [float(value) for value in values]
    if not numbers or not all(0 <= value < math.inf for value in numbers):
        raise ValueError(f"{name} must list numbers that are not negative, found {values}")
    return numbers


# ---------------------------------------------------------------- relative to the truth


def _is_ratio(truth: np.ndarray) -> bool:
    """Whether a ratio to the mean of the true vectors ``(maps, bins)`` means something.

    It does where this mean is nowhere negative.
    """
    return bool((truth.mean(0) >= 0).all())


def relative(vectors: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter of vectors ``(maps, bins)`` as ratios to the mean of the true ones.

    Where the true mean changes sign, they are shifts from it in units of the true scatter. Bins
    that are always empty have NaN.

    Returns:
        Mean and standard deviation of one map, each of shape ``(bins,)``.
    """
    mean, std = truth.mean(0), truth.std(0, ddof=1)
    if _is_ratio(truth):
        origin, unit = 0.0, mean
    else:
        origin, unit = mean, std
    unit = np.where(unit > 0, unit, np.nan)
    return (vectors.mean(0) - origin) / unit, vectors.std(0, ddof=1) / unit


@dataclass(frozen=True)
class _OnView:
    """Bins and labels of the statistic on view, as :class:`lensnb.stats.Statistic` has them."""

    x: np.ndarray
    x_label: str
    y_label: str
    log_x: bool
    log_y: bool


class Explorer(Pictured):
    """The widget that :func:`explore` makes.

    Attributes:
        statistic: the statistic on view, a key of ``STATISTICS``.
        smoothing_arcmin: standard deviation of the smoothing, arcminutes; 0 is none.
        n_gal_arcmin2: source galaxies per square arcminute for the shape noise; 0 is no noise.
        against: name of the set that is compared with the truth; of a single set its own name.
        index: the map on view, from 0; a set with fewer maps starts again.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        view: ``"side by side"``; ``"blinking"``, true and other map in turn on the left; or
            ``"difference"``, the other map minus the true one on the right, where the middle of
            the colour scale is no difference.
        window: what both maps show: first row, first column and side, pixels.
        limits: κ at the ends of the colour scale; None: from the 0.5th to the 99.7th percentile of
            the true maps.
    """

    _esm = script("common.js", "explorer.js")

    statistic = traitlets.Unicode().tag(sync=True)
    smoothing_arcmin = traitlets.Float().tag(sync=True)
    n_gal_arcmin2 = traitlets.Float().tag(sync=True)
    against = traitlets.Unicode().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    colours = traitlets.Enum(list(SEQUENTIAL), "magma").tag(sync=True)
    view = traitlets.Enum(_VIEWS, _VIEWS[0]).tag(sync=True)
    window = traitlets.List(traitlets.Int()).tag(sync=True)
    limits = traitlets.List(traitlets.Float(), None, allow_none=True).tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _maps = traitlets.Dict().tag(sync=True)  # the maps after noise and smoothing
    _plot = traitlets.Dict().tag(sync=True)  # the statistic of every map

    def __init__(
        self,
        chosen: Mapping[str, Chosen],
        side_deg: float,
        offered: Mapping[str, list],
        sigma_e: float,
        seed: int,
    ):
        self._kappa = {name: one.kappa for name, one in chosen.items()}
        self._truth, *others = chosen
        self._alone = not others
        if self._alone:
            others = [self._truth]  # compared with itself: nothing to choose from
        self._n = chosen[self._truth].n
        self._side_deg, self._sigma_e, self._seed = side_deg, sigma_e, seed
        self._offered = {**offered, "against": others}
        self._palette = plot.colours(others)
        self._processed = None  # (smoothing, n_gal), maps by name, suite
        self._vectors = {}  # (name in the suite, smoothing, n_gal) → vectors by set
        first = {trait: values[0] for trait, values in self._offered.items()}
        about = self._describe(chosen)
        super().__init__(**first, window=[0, 0, self._n], _about=about)
        self._update()
        self.observe(self._update, ["statistic", "smoothing_arcmin", "n_gal_arcmin2"])

    def _describe(self, chosen: Mapping[str, Chosen]) -> dict:
        """What the browser has to know once."""
        sets = []
        for name, one in chosen.items():
            colour = self._palette.get(name)
            indices = one.indices.tolist()
            sets.append({"name": name, "total": one.total, "indices": indices, "colour": colour})
        return {
            "sets": sets,
            "n": self._n,
            "side_deg": self._side_deg,
            "sigma_e": self._sigma_e,
            "statistics": [[key, STATISTICS[key][0]] for key in self._offered["statistic"]],
            "smoothing_arcmin": self._offered["smoothing_arcmin"],
            "n_gal_arcmin2": self._offered["n_gal_arcmin2"],
            "tables": colour_tables(),
        }

    @traitlets.validate("statistic", "smoothing_arcmin", "n_gal_arcmin2", "against")
    def _check_offered(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if value not in self._offered[name]:
            known = ", ".join(map(str, self._offered[name]))
            raise traitlets.TraitError(f"{name} must be one of {known}; found {value!r}")
        return value

    @traitlets.validate("index")
    def _check_index(self, proposal):
        last = max(map(len, self._kappa.values())) - 1
        if not 0 <= proposal["value"] <= last:
            raise traitlets.TraitError(
                f"index must lie between 0 and {last}, found {proposal['value']}"
            )
        return proposal["value"]

    @traitlets.validate("window")
    def _check_window(self, proposal):
        window, n = proposal["value"], self._n
        inside = len(window) == 3 and window[2] >= 1
        inside = inside and all(0 <= first <= n - window[2] for first in window[:2])
        if not inside:
            raise traitlets.TraitError(
                f"window must be a row, a column and a side within {n} pixels, found {window}"
            )
        return window

    @traitlets.validate("limits")
    def _check_limits(self, proposal):
        limits = proposal["value"]
        if limits is not None and not (len(limits) == 2 and limits[0] < limits[1]):
            raise traitlets.TraitError(
                f"limits must be two values of κ, the lower first, or None; found {limits}"
            )
        return limits

    # ------------------------------------------------------------ compute

    def _process(self) -> tuple[dict[str, Tensor], dict[str, stats.Statistic]]:
        """The maps with shape noise and then smoothed, and the statistics with bins from them."""
        key = self.smoothing_arcmin, self.n_gal_arcmin2
        if self._processed is None or self._processed[0] != key:
            draw = torch.Generator().manual_seed(self._seed)
            noise = self._side_deg, self.n_gal_arcmin2, self._sigma_e, draw
            maps = {}
            for name, kappa in self._kappa.items():
                if self.n_gal_arcmin2:
                    kappa = add_shape_noise(kappa, *noise)
                maps[name] = smooth(kappa, self.smoothing_arcmin, self._side_deg)
            names = list(dict.fromkeys(name for _, name, _ in STATISTICS.values()))
            suite = stats.suite(maps[self._truth], self._side_deg, names)
            self._processed = key, maps, suite
        return self._processed[1:]

    def _measure(self) -> tuple[_OnView, dict[str, np.ndarray]]:
        """The statistic on view and its vectors by set, each ``(maps, bins)``."""
        maps, suite = self._process()
        _, name, third = STATISTICS[self.statistic]
        statistic = suite[name]
        key = name, self.smoothing_arcmin, self.n_gal_arcmin2
        if key not in self._vectors:
            self._vectors[key] = {of: statistic(kappa) for of, kappa in maps.items()}
        vectors = self._vectors[key]
        x, x_label, y_label = statistic.x, statistic.x_label, statistic.y_label
        if third is not None:
            bins = len(x) // len(_MINKOWSKI_LABELS)
            part = slice(third * bins, (third + 1) * bins)
            x, x_label, y_label = x[part], "threshold κ", _MINKOWSKI_LABELS[third]
            vectors = {of: v[:, part] for of, v in vectors.items()}
        return _OnView(x, x_label, y_label, statistic.log_x, statistic.log_y), vectors

    def _default_limits(self) -> list[float]:
        return colour_limits(self._process()[0][self._truth])

    def _update(self, _change=None) -> None:
        """Send what changed: the maps where noise or smoothing did, and the statistic."""
        setting = {"smoothing_arcmin": self.smoothing_arcmin, "n_gal_arcmin2": self.n_gal_arcmin2}
        try:
            with self.hold_sync():
                if {key: self._maps.get(key) for key in setting} != setting:
                    sets = {name: quantise(kappa) for name, kappa in self._process()[0].items()}
                    self._maps = {**setting, "limits": self._default_limits(), "sets": sets}
                statistic, vectors = self._measure()
                found = {
                    "statistic": self.statistic,
                    "ratio": _is_ratio(vectors[self._truth]),
                    "vectors": {name: float32(v) for name, v in vectors.items()},
                }
                self._plot = setting | found | axes_of(statistic)
        except ValueError as error:
            if not self._plot:
                raise
            # The old plot stays, with a sentence that says why there is no new one.
            now = {"statistic": self.statistic, "problem": str(error)}
            self._plot = {**self._plot, **setting, **now}

    # ------------------------------------------------------------ the still picture

    def figure(self) -> plot.Figure:
        """What the widget shows now, whole maps side by side."""
        figure = blank_figure(10.5, 3.6)
        figure.suptitle(self._setting(), fontsize=11)
        left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
        self._draw_maps(left)
        panels = right.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        self._draw_statistic(*panels)
        right.align_ylabels(panels)
        return figure

    def _pair(self) -> dict[str, str]:
        """The names of the sets on view and their colours: two, or the only one."""
        pair = {self._truth: plot.TRUTH}
        if not self._alone:
            pair[self.against] = self._palette[self.against]
        return pair

    def _draw_maps(self, figure) -> None:
        """The maps on view."""
        axes = figure.subplots(1, len(self._pair()), squeeze=False)[0]
        maps, _ = self._process()
        limits = self._default_limits() if self.limits is None else self.limits
        for ax, name in zip(axes, self._pair()):
            count = len(maps[name])
            shown = self.index % count
            title = f"{name}, map {shown + 1} of {count}"
            image = draw_map(ax, maps[name][shown], self._side_deg, limits, self.colours, title)
        for ax in axes[1:]:
            ax.set(ylabel="", yticklabels=[])
        draw_colour_bar(figure, image, axes, aspect=45)

    def _draw_statistic(self, above, below) -> None:
        """Mean and scatter of the sets with the maps on view, and their ratio to the first set."""
        statistic, vectors = self._measure()
        truth = vectors[self._truth]
        for name, colour in self._pair().items():
            plot.band(above, statistic, Ensemble(vectors[name]), colour, name)
            one = vectors[name][self.index % len(vectors[name])]
            above.plot(statistic.x, one, color=colour, lw=0.9, ls="--")
            mean, std = relative(vectors[name], truth)
            below.fill_between(statistic.x, mean - std, mean + std, color=colour, alpha=0.18, lw=0)
            below.plot(statistic.x, mean, color=colour, lw=1.6)
        above.plot([], [], color="0.4", lw=0.9, ls="--", label="maps shown")
        above.legend(frameon=False, fontsize=9)
        above.set(ylabel=typeset(statistic.y_label), xlabel="")
        if _is_ratio(truth):
            below.set(ylabel="ratio", ylim=(0, 2))
        else:
            below.set(ylabel="shift / σ")
        below.set(xlabel=typeset(statistic.x_label))
        below.grid(alpha=0.25)

    def _setting(self) -> str:
        """The statistic and what was done to the maps, in a few words."""
        words = [STATISTICS[self.statistic][0]]
        if self.n_gal_arcmin2:
            words.append(f"shape noise of {self.n_gal_arcmin2:g} galaxies/arcmin²")
        if self.smoothing_arcmin:
            words.append(f"smoothed by {self.smoothing_arcmin:g}′")
        return ", ".join(words)

    def __repr__(self) -> str:
        sets = ", ".join(f"{name} ({len(kappa)} maps)" for name, kappa in self._kappa.items())
        return f"Explorer: {sets}; {self._setting()}"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        truth, *others = self._pair()
        shown = f"A map of {truth}, and the statistic of this set"
        if others:
            shown = f"A map of {truth} beside one of {others[0]}, and the statistic of both sets"
        return f"{shown}: {self._setting()}."
