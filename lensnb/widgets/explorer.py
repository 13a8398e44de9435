"""Look at true and generated κ-maps one by one, beside the statistics of all of them.

:func:`explore` is the one to call. The kernel adds shape noise to the maps, smooths them and measures one statistic of
every map; maps (16 bits a pixel) and vectors go to the browser in binary, and ``explorer.js`` draws everything from them,
so that stepping from map to map needs no kernel. κ is dimensionless, angles are in arcminutes, the field in degrees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import traitlets
from torch import Tensor

from .. import plot, stats
from ..data import MapSet
from ..ensemble import Ensemble
from ..maps import add_shape_noise, smooth
from .pictures import (
    COLOUR_MAPS,
    Pictured,
    check_shapes,
    colour_table,
    field_of,
    pick,
    quantise,
    script,
)

# What can be chosen: title, name in stats.suite, and for the Minkowski functionals which third of the vector.
STATISTICS = {
    "power": ("Power spectrum", "power", None),
    "pdf": ("PDF of κ", "pdf", None),
    "peaks": ("Peak counts", "peaks", None),
    "minima": ("Minima counts", "minima", None),
    "V0": ("Minkowski V₀", "minkowski", 0),
    "V1": ("Minkowski V₁", "minkowski", 1),
    "V2": ("Minkowski V₂", "minkowski", 2),
}
VIEWS = ["side by side", "blinking", "difference"]
MINKOWSKI_LABELS = ("V₀  [area fraction]", "V₁  [1/arcmin]", "V₂  [1/arcmin²]")


def explore(
    sets: Mapping[str, MapSet | Tensor | np.ndarray],
    side_deg: float | None = None,
    statistics: Sequence[str] | None = None,
    *,
    maps: int | None = None,
    smoothing_arcmin: Sequence[float] = (0, 1, 2, 5, 10),
    n_gal_arcmin2: Sequence[float] = (0, 10, 30, 50),
    sigma_e: float = 0.4,
    seed: int = 0,
) -> Explorer:
    """Step through true and generated maps side by side, with their statistics beside them.

    Arrow keys, Home and End step; a double click zooms into both maps and a drag moves them; maps stand side by side, blink, or
    are subtracted. The plot shows the mean and the scatter of one map for the true and for the chosen maps, and the two maps
    on view drawn over. Bins are made from the true maps after noise and smoothing.

    Args:
        sets: name → κ-maps, a :class:`MapSet` or an array ``(maps, n, n)``; the first holds the true maps.
        side_deg: side of the field, degrees; not needed when one of the sets is a :class:`MapSet`.
        statistics: which to offer, of ``power``, ``pdf``, ``peaks``, ``minima``, ``V0``, ``V1``, ``V2``; all by default.
            The first is shown first.
        maps: how many maps of each set to use, spread evenly over it; by default 200, fewer where these have more than
            4 million pixels. 256 maps of 256² pixels are 34 MB a set.
        smoothing_arcmin: standard deviations of the Gaussian smoothing to offer, arcminutes; the first is shown first.
        n_gal_arcmin2: source densities to offer for shape noise, per square arcminute; 0 is no noise.
        sigma_e: intrinsic ellipticity dispersion of the shape noise, both components together.
        seed: of the shape noise.

    Returns:
        A widget, shown when it is the last value of a cell. Its traits ``statistic``, ``smoothing_arcmin``,
        ``n_gal_arcmin2``, ``against``, ``index``, ``view``, ``window``, ``colours`` and ``limits`` can be read and set.

    Raises:
        ValueError: an unknown statistic, fewer than two sets, a set of fewer than two maps or with NaN, sets of different
            shapes or fields, no field size.
    """
    statistics = (
        [statistics]
        if isinstance(statistics, str)
        else list(STATISTICS if statistics is None else statistics)
    )
    unknown = [name for name in statistics if name not in STATISTICS]
    if unknown or not statistics:
        found = repr(unknown[0]) if unknown else "none"
        raise ValueError(
            f"the statistics to choose from are {', '.join(STATISTICS)}; found {found}"
        )
    offered = {"statistic": statistics}
    for name, values in {
        "smoothing_arcmin": smoothing_arcmin,
        "n_gal_arcmin2": n_gal_arcmin2,
    }.items():
        offered[name] = [float(v) for v in values]
        if not offered[name] or not all(0 <= v < math.inf for v in offered[name]):
            raise ValueError(f"{name} must list numbers that are not negative, found {values}")
    side_deg = field_of(sets, side_deg)
    chosen = {str(name): pick(name, one, maps) for name, one in sets.items()}
    check_shapes(chosen)
    return Explorer(chosen, side_deg, offered, sigma_e, seed)


def is_positive(truth: np.ndarray) -> bool:
    """Whether the mean of the true vectors ``(maps, bins)`` is nowhere negative, so that a ratio to it means something."""
    return bool((truth.mean(0) >= 0).all())


def relative(vectors: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter of vectors ``(maps, bins)`` as ratios to the mean of the true ones.

    Where the true mean changes sign: as shifts from it in units of the true scatter. NaN in bins that are always empty.

    Returns:
        Mean and standard deviation of one map, each of shape ``(bins,)``.
    """
    mean, std = truth.mean(0), truth.std(0, ddof=1)
    origin, unit = (0.0, mean) if is_positive(truth) else (mean, std)
    unit = np.where(unit > 0, unit, np.nan)
    return (vectors.mean(0) - origin) / unit, vectors.std(0, ddof=1) / unit


class Explorer(Pictured):
    """The widget that :func:`explore` makes.

    Attributes:
        statistic: the statistic shown, a key of :data:`STATISTICS`.
        smoothing_arcmin: standard deviation of the smoothing, arcminutes; 0 is none.
        n_gal_arcmin2: source galaxies per square arcminute for the shape noise; 0 is no noise.
        against: name of the set shown beside the truth.
        index: which map is shown, from 0; a set with fewer maps starts again.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        view: ``"side by side"``, ``"blinking"`` (true and other map in turn on the left) or ``"difference"`` (other less true
            map on the right, the middle of the colour scale being no difference).
        window: what both maps show: first row, first column and side, pixels.
        limits: κ at the ends of the colour scale; None: from the 0.5th to the 99.7th percentile of the true maps.
    """

    _esm = script("common.js", "explorer.js")

    statistic = traitlets.Unicode().tag(sync=True)
    smoothing_arcmin = traitlets.Float().tag(sync=True)
    n_gal_arcmin2 = traitlets.Float().tag(sync=True)
    against = traitlets.Unicode().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    colours = traitlets.Enum(list(COLOUR_MAPS), "magma").tag(sync=True)
    view = traitlets.Enum(VIEWS, VIEWS[0]).tag(sync=True)
    window = traitlets.List(traitlets.Int()).tag(sync=True)
    limits = traitlets.List(traitlets.Float(), None, allow_none=True).tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _maps = traitlets.Dict().tag(sync=True)  # the maps after noise and smoothing
    _plot = traitlets.Dict().tag(sync=True)  # the statistic of every map

    def __init__(self, chosen, side_deg, offered, sigma_e, seed):
        self._kappa = {name: one.kappa for name, one in chosen.items()}
        self._side_deg, self._sigma_e, self._seed = side_deg, sigma_e, seed
        self._offered = {**offered, "against": list(chosen)[1:]}
        self._processed = None  # (smoothing, n_gal), maps by name, suite
        self._vectors = {}  # (name in the suite, smoothing, n_gal) → vectors by set
        palette = plot.colours(self._offered["against"])
        super().__init__(
            **{trait: values[0] for trait, values in self._offered.items()},
            window=[0, 0, next(iter(self._kappa.values())).shape[-1]],
            _about={
                "sets": [
                    {
                        "name": name,
                        "total": one.total,
                        "indices": one.indices.tolist(),
                        "colour": palette.get(name),
                    }
                    for name, one in chosen.items()
                ],
                "n": next(iter(self._kappa.values())).shape[-1],
                "side_deg": side_deg,
                "sigma_e": sigma_e,
                "statistics": [[key, STATISTICS[key][0]] for key in offered["statistic"]],
                "smoothing_arcmin": offered["smoothing_arcmin"],
                "n_gal_arcmin2": offered["n_gal_arcmin2"],
                "tables": {name: colour_table(name).tobytes() for name in COLOUR_MAPS},
            },
        )
        self._update()
        self.observe(lambda _: self._update(), ["statistic", "smoothing_arcmin", "n_gal_arcmin2"])

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
        n, window = next(iter(self._kappa.values())).shape[-1], proposal["value"]
        if not (
            len(window) == 3
            and window[2] >= 1
            and all(0 <= first <= n - window[2] for first in window[:2])
        ):
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
        """The maps with shape noise and then smoothed, and the statistics with bins from the truth among them."""
        key = self.smoothing_arcmin, self.n_gal_arcmin2
        if self._processed is None or self._processed[0] != key:
            draw = torch.Generator().manual_seed(self._seed)
            maps = dict(self._kappa)
            for name, kappa in maps.items():
                if self.n_gal_arcmin2:
                    kappa = add_shape_noise(
                        kappa, self._side_deg, self.n_gal_arcmin2, self._sigma_e, draw
                    )
                maps[name] = smooth(kappa, self.smoothing_arcmin, self._side_deg)
            names = dict.fromkeys(name for _, name, _ in STATISTICS.values())
            self._processed = (
                key,
                maps,
                stats.suite(next(iter(maps.values())), self._side_deg, names),
            )
        return self._processed[1:]

    def _measure(self) -> tuple[stats.Statistic, dict[str, np.ndarray]]:
        """The statistic on view and its vectors by set, each ``(maps, bins)``."""
        maps, suite = self._process()
        _, name, part = STATISTICS[self.statistic]
        key = name, self.smoothing_arcmin, self.n_gal_arcmin2
        if key not in self._vectors:
            self._vectors[key] = {of: suite[name](kappa) for of, kappa in maps.items()}
        statistic, vectors = suite[name], self._vectors[key]
        if part is not None:
            bins = len(statistic.x) // len(MINKOWSKI_LABELS)
            third = slice(part * bins, (part + 1) * bins)
            statistic = replace(
                statistic,
                x=statistic.x[third],
                x_label="threshold κ",
                y_label=MINKOWSKI_LABELS[part],
            )
            vectors = {of: v[:, third] for of, v in vectors.items()}
        return statistic, vectors

    def _limits(self) -> list[float]:
        """The ends of the colour scale by default."""
        truth = next(iter(self._process()[0].values()))
        return np.percentile(
            truth.flatten()[:: max(1, truth.numel() // 10**6)], [0.5, 99.7]
        ).tolist()

    def _update(self) -> None:
        """Send what changed: the maps where noise or smoothing did, and the statistic."""
        setting = {"smoothing_arcmin": self.smoothing_arcmin, "n_gal_arcmin2": self.n_gal_arcmin2}
        try:
            with self.hold_sync():
                if {key: self._maps.get(key) for key in setting} != setting:
                    sets = {name: quantise(kappa) for name, kappa in self._process()[0].items()}
                    self._maps = {**setting, "limits": self._limits(), "sets": sets}
                statistic, vectors = self._measure()
                self._plot = {
                    **setting, "statistic": self.statistic, "x": np.asarray(statistic.x, float).tolist(),
                    "x_label": statistic.x_label, "y_label": statistic.y_label,
                    "log_x": statistic.log_x, "log_y": statistic.log_y,
                    "ratio": is_positive(next(iter(vectors.values()))),
                    "vectors": {name: v.astype("<f4").tobytes() for name, v in vectors.items()},
                }  # fmt: skip
        except ValueError as error:
            if not self._plot:
                raise
            self._plot = {
                **self._plot,
                **setting,
                "statistic": self.statistic,
                "problem": str(error),
            }

    # ------------------------------------------------------------ the picture that stays

    def figure(self) -> plot.Figure:
        """What the widget shows now, whole maps side by side."""
        figure = plot.Figure(figsize=(10.5, 3.6), layout="constrained", facecolor="white")
        figure.suptitle(self._described(), fontsize=11)
        left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
        maps = left.subplots(1, 2)
        image = self._draw_maps(*maps)
        left.colorbar(
            image,
            ax=maps,
            orientation="horizontal",
            label="convergence κ",
            extend="both",
            aspect=45,
        )
        panels = right.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        self._draw_statistic(*panels)
        right.align_ylabels(panels)
        return figure

    @property
    def _pair(self) -> dict[str, str]:
        """The names of the two sets on view and their colours."""
        palette = plot.colours(self._offered["against"])
        return {next(iter(self._kappa)): plot.TRUTH, self.against: palette[self.against]}

    def _draw_maps(self, left, right):
        """The two maps on view; returns the image, for a colour bar."""
        maps, _ = self._process()
        limits = self._limits() if self.limits is None else self.limits
        table = "gray" if self.colours == "grey" else self.colours
        for ax, name in zip((left, right), self._pair):
            shown = self.index % len(maps[name])
            image = plot.kappa_map(ax, maps[name][shown], self._side_deg, tuple(limits), table)
            image.set_interpolation("nearest")
            ax.set_title(f"{name}, map {shown + 1} of {len(maps[name])}", fontsize=10)
        right.set(ylabel="", yticklabels=[])
        return image

    def _draw_statistic(self, above, below) -> None:
        """Mean and scatter of the two sets with the maps on view, and their ratio to the truth."""
        statistic, vectors = self._measure()
        truth = next(iter(vectors.values()))
        for name, colour in self._pair.items():
            plot.band(above, statistic, Ensemble(vectors[name]), colour, name)
            one = vectors[name][self.index % len(vectors[name])]
            above.plot(statistic.x, one, color=colour, lw=0.9, ls="--")
            mean, std = relative(vectors[name], truth)
            below.fill_between(statistic.x, mean - std, mean + std, color=colour, alpha=0.18, lw=0)
            below.plot(statistic.x, mean, color=colour, lw=1.6)
        above.set(ylabel=statistic.y_label, xlabel="")
        above.plot([], [], color="0.4", lw=0.9, ls="--", label="maps shown")
        above.legend(frameon=False, fontsize=9)
        below.set(xlabel=statistic.x_label)
        below.set(
            **(
                {"ylabel": "ratio", "ylim": (0, 2)}
                if is_positive(truth)
                else {"ylabel": "shift / σ"}
            )
        )
        below.grid(alpha=0.25)

    def _described(self) -> str:
        """The statistic and what was done to the maps, in a few words."""
        noise = (
            f", shape noise of {self.n_gal_arcmin2:g} galaxies/arcmin²"
            if self.n_gal_arcmin2
            else ""
        )
        smoothing = f", smoothed by {self.smoothing_arcmin:g}′" if self.smoothing_arcmin else ""
        return STATISTICS[self.statistic][0] + noise + smoothing

    def __repr__(self) -> str:
        sets = ", ".join(f"{name} ({len(kappa)} maps)" for name, kappa in self._kappa.items())
        return f"Explorer: {sets}; {self._described()}"

    def alt(self) -> str:
        truth, other = self._pair
        return f"A map of {truth} beside one of {other}, and the statistic of both sets: {self._described()}."
