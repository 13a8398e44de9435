"""Look at true and generated κ-maps one by one, with the statistics of all of them.

The kernel adds shape noise to the maps, smooths them and measures one statistic of every map. Maps
and vectors go to the browser, and ``explorer.js`` draws everything from them, so that stepping
from map to map needs no kernel. κ is dimensionless, angles are in arcminutes, the field is in
degrees. The function to call is :func:`explore`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import traitlets

from .. import plot
from ..data import MapSet
from ..data.statements import check_statements
from ..ramps import SEQUENTIAL, ramp
from .explored import (
    STATISTICS,
    Explored,
    OnView,
    Setting,
    counts,
    is_ratio,
    relative,
    trained_first,
)
from .explorer_figure import Shown, draw
from .files import Inbox, Saving, open_like
from .pictures import (
    Maps,
    axes_of,
    colour_tables,
    field_side,
    float32,
    pick,
    pick_all,
    quantise,
    script,
)

__all__ = ["STATISTICS", "Explorer", "explore", "relative"]

_VIEWS = ["side by side", "blinking", "difference", "one set"]
_COMPUTED = ["statistic", "smoothing_arcmin", "n_gal_arcmin2"]


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
    pairs: Sequence[str] | None = None,
) -> Explorer:
    """Step through true and generated maps side by side, or through one set, with statistics.

    Arrow keys, Home and End step, and ▶ plays. A double click zooms into both maps, and a drag
    moves them. Maps stand side by side, blink, are subtracted, or one set stands alone. The plot
    shows the mean and the scatter of one map for the true and for the chosen maps, and the maps on
    view; or the means of all sets. Bins are made from the true maps after noise and smoothing. A
    single set is shown alone, relative to its own mean. A file of maps that is chosen or dropped
    on the widget is one set more.

    Args:
        sets: name → κ-maps, a :class:`~lensnb.data.MapSet` or an array ``(maps, n, n)``; the first
            holds the true maps. Or one such set, with or without a name.
        side_deg: side of the field, degrees; not needed when one of the sets is a
            :class:`~lensnb.data.MapSet`.
        statistics: which to offer, of ``power``, ``bispectrum``, ``pdf``, ``moments``, ``peaks``,
            ``minima``, ``V0``, ``V1``, ``V2``, ``starlet peaks``, ``starlet l1``, ``scattering``;
            the first is shown first. By default all; shown first is ``pdf`` or ``peaks``,
            whichever differs more between the truth and the first set that is no baseline, such
            as a Gaussian field.
        maps: how many maps of each set to use, spread evenly over it; by default 200, or fewer
            where these have more than 4 million pixels. 256 maps of 256² pixels are 34 MB a set.
        smoothing_arcmin: standard deviations of the Gaussian smoothing to offer, arcminutes; the
            first is shown first.
        n_gal_arcmin2: source densities to offer for shape noise, per square arcminute; 0 is no
            noise.
        sigma_e: intrinsic ellipticity dispersion of the shape noise, both components together.
        seed: of the shape noise.
        pairs: names of the sets whose map k is about the same sky as the true map k, such as
            estimates of it. Only these are subtracted. By default they are found by their
            correlation with the true maps.

    Returns:
        A widget; make it the last value of a cell. Its traits ``statistic``, ``smoothing_arcmin``,
        ``n_gal_arcmin2``, ``against``, ``index``, ``view``, ``window``, ``colours``, ``limits``,
        ``all_sets`` and ``large`` can be read and set, and ``Explorer.open_file`` adds a file.

    Raises:
        ValueError: an unknown statistic; no set; a set of fewer than two maps, of several source
            bins or with NaN; sets of different shapes or fields; no field size; pairs of sets that
            have not as many maps as the truth.
    """
    if not isinstance(sets, Mapping):
        sets = {"maps": sets}
    offered = {
        "statistic": _offered_statistics(statistics),
        "smoothing_arcmin": _offered_numbers("smoothing_arcmin", smoothing_arcmin),
        "n_gal_arcmin2": _offered_numbers("n_gal_arcmin2", n_gal_arcmin2),
    }
    side_deg = field_side(sets, side_deg)
    explored = Explored(pick_all(sets, maps), side_deg, sigma_e, seed, pairs)
    first = offered["statistic"][0]
    if statistics is None:
        first = _first_statistic(explored, offered)
    stated = {name: one for name, one in sets.items() if isinstance(one, MapSet)}
    return Explorer(explored, offered, first, stated, maps)


def _first_statistic(explored: Explored, offered: Mapping[str, list]) -> str:
    """What an explorer opens on, where the user has not said it."""
    if not explored.others:
        return offered["statistic"][0]
    setting = Setting(offered["smoothing_arcmin"][0], offered["n_gal_arcmin2"][0])
    other = trained_first(explored.others)
    return explored.most_different(offered["statistic"], other, setting)


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


class Explorer(Saving):
    """The widget that :func:`explore` makes.

    Attributes:
        statistic: the statistic on view, a key of ``STATISTICS``.
        smoothing_arcmin: standard deviation of the smoothing, arcminutes; 0 is none.
        n_gal_arcmin2: source galaxies per square arcminute for the shape noise; 0 is no noise.
        against: name of the set that is compared with the truth; of a single set its own name.
        index: the map on view, from 0; a set with fewer maps starts again.
        colours: ``"magma"``, ``"cividis"`` or ``"grey"``.
        view: ``"side by side"``; ``"blinking"``, true and other map in turn on the left;
            ``"difference"``, the other map minus the true one on the right, with a scale of its
            own; or ``"one set"``, the other map alone. A difference is shown of maps that belong
            together, and otherwise they stand side by side.
        window: what both maps show: first row, first column and side, pixels.
        limits: κ at the ends of the colour scale; None: from the 0.5th to the 99.7th percentile of
            the true maps.
        all_sets: whether the plot shows the means of all sets, not only of the maps on view.
        large: whether letters and lines are larger, for a projector.
        takes_files: whether the page offers to add files of maps.
    """

    _esm = script(
        "common.js", "files.js", "explorer_page.js", "explorer_plot.js", "explorer_maps.js",
        "explorer.js",
    )  # fmt: skip
    _stem = "explorer"

    takes_files = traitlets.Bool(True).tag(sync=True)
    statistic = traitlets.Unicode().tag(sync=True)
    smoothing_arcmin = traitlets.Float().tag(sync=True)
    n_gal_arcmin2 = traitlets.Float().tag(sync=True)
    against = traitlets.Unicode().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    colours = traitlets.Enum(list(SEQUENTIAL), "magma").tag(sync=True)
    view = traitlets.Enum(_VIEWS, _VIEWS[0]).tag(sync=True)
    window = traitlets.List(traitlets.Int()).tag(sync=True)
    limits = traitlets.List(traitlets.Float(), None, allow_none=True).tag(sync=True)
    all_sets = traitlets.Bool(False).tag(sync=True)
    large = traitlets.Bool(False).tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # the sets, and what never changes
    _maps = traitlets.Dict().tag(sync=True)  # the maps after noise and smoothing
    _plot = traitlets.Dict().tag(sync=True)  # the statistic of every map

    def __init__(
        self,
        explored: Explored,
        offered: Mapping[str, list],
        first: str,
        stated: Mapping[str, MapSet],
        most: int | None,
    ):
        self._explored, self._offered = explored, dict(offered)
        self._stated, self._most = dict(stated), most  # for sets that come later
        self._inbox = Inbox()
        self._name_sets()
        shown = {trait: values[0] for trait, values in self._offered.items()}
        shown |= {"statistic": first, "against": trained_first(self._offered["against"])}
        window = [0, 0, self._n]
        super().__init__(**shown, window=window, _about=self._describe())
        self._update()
        self.observe(self._update, _COMPUTED)

    @property
    def _n(self) -> int:
        return self._explored.sets[self._explored.truth].n

    @property
    def _alone(self) -> bool:
        return not self._explored.others

    @property
    def _setting(self) -> Setting:
        return Setting(self.smoothing_arcmin, self.n_gal_arcmin2)

    def _name_sets(self) -> None:
        """What can be compared with the truth, and its colours."""
        # A single set is compared with itself: nothing to choose from.
        others = self._explored.others or [self._explored.truth]
        self._offered["against"] = others
        self._palette = plot.colours(others)

    def _describe(self, note: str = "") -> dict:
        """What the browser has to know once, or again when a set has come."""
        sets = []
        for name, one in self._explored.sets.items():
            colour = self._palette.get(name)
            indices = one.indices.tolist()
            sets.append({"name": name, "total": one.total, "indices": indices, "colour": colour})
        return {
            "sets": sets,
            "pairs": self._explored.pairs,
            "n": self._n,
            "side_deg": self._explored.side_deg,
            "sigma_e": self._explored.sigma_e,
            "statistics": [[key, STATISTICS[key][0]] for key in self._offered["statistic"]],
            "smoothing_arcmin": self._offered["smoothing_arcmin"],
            "n_gal_arcmin2": self._offered["n_gal_arcmin2"],
            "tables": colour_tables(),
            "diverging": ramp("RdBu_r").tobytes(),
            "save": list(self.files()),
            "note": note,
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
        last = max(counts(self._explored.sets).values()) - 1
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

    def _measure(self) -> tuple[OnView, dict[str, np.ndarray]]:
        """The statistic on view and its vectors by set, each ``(maps, bins)``."""
        return self._explored.measure(self.statistic, self._setting)

    def _update(self, _change=None) -> None:
        """Send what changed: the maps where noise or smoothing did, and the statistic."""
        setting = {"smoothing_arcmin": self.smoothing_arcmin, "n_gal_arcmin2": self.n_gal_arcmin2}
        try:
            with self.hold_sync():
                known = {key: self._maps.get(key) for key in setting}
                if known != setting or list(self._maps["sets"]) != list(self._explored.sets):
                    self._maps = setting | self._maps_to_send()
                statistic, vectors = self._measure()
                found = {
                    "statistic": self.statistic,
                    "ratio": is_ratio(vectors[self._explored.truth]),
                    "vectors": {name: float32(v) for name, v in vectors.items()},
                    "entries": list(statistic.entries),
                }
                self._plot = setting | found | axes_of(statistic)
        except ValueError as error:
            if not self._plot:
                raise
            # The old plot stays, with a sentence that says why there is no new one.
            now = {"statistic": self.statistic, "problem": str(error)}
            self._plot = {**self._plot, **setting, **now}

    def _maps_to_send(self) -> dict:
        maps = self._explored.maps(self._setting)
        return {
            "limits": self._explored.limits(self._setting),
            "apart": self._explored.difference_limits(self._setting),
            "sets": {name: quantise(kappa) for name, kappa in maps.items()},
        }

    # ------------------------------------------------------------ one set more

    def open_file(self, path, name: str | None = None) -> None:
        """Add a file of maps as one set more, and compare it with the truth.

        Its field must be that of the true maps, or not said. Maps of more pixels are averaged.

        Args:
            path: a file, a pattern or a list of files, as for :func:`lensnb.readers.open_maps`.
            name: of the set; by default that of the file.

        Raises:
            FileNotFoundError, ImportError: as for :func:`lensnb.readers.open_maps`.
            ValueError: the same; or the maps are of another sky, or fewer than two.
        """
        if name is None:
            first = path[0] if isinstance(path, list | tuple) else path
            name = Path(first).stem
        name = self._free(str(name))
        found, note = open_like(path, self._explored.side_deg, self._n)
        check_statements({repr(of): one for of, one in {**self._stated, name: found}.items()})
        chosen = pick(repr(name), found, self._most, self._n)
        shown = f"{name}: {chosen.total} maps"
        with self.hold_sync():
            self._explored.add(name, chosen)
            self._name_sets()
            self._about = self._describe(f"{shown}; {note}." if note else f"{shown}.")
            self.against = name
            self._update()

    def _free(self, name: str) -> str:
        """The name of a set that is not taken yet."""
        known, number, free = self._explored.sets, 1, name
        while free in known:
            number += 1
            free = f"{name} ({number})"
        return free

    def _hear(self, widget, content: dict, buffers: list) -> None:
        """Pieces of a file, the word that all of it is here, or what the page wants to save."""
        try:
            if "piece" in content:
                self._inbox.take(content["piece"], bytes(buffers[0]))
            elif "arrived" in content:
                self._open_inbox()
        except (OSError, ValueError, ImportError) as error:
            self._inbox.empty()
            self.say(str(error))
        super()._hear(widget, content, buffers)

    def _open_inbox(self) -> None:
        try:
            paths = self._inbox.paths()
            if paths:  # or else a piece was refused, and the page knows
                self.open_file(paths[0] if len(paths) == 1 else paths)
        finally:
            self._inbox.empty()

    # ------------------------------------------------------------ the still picture

    def _shown_view(self) -> str:
        """The view that is drawn: no pair is blinked or subtracted that is none."""
        apart = self.view == "difference" and self.against not in self._explored.pairs
        return _VIEWS[0] if self._alone or apart else self.view

    def figure(self) -> plot.Figure:
        """What the widget shows now, whole maps."""
        compared = self._pair()
        if self.all_sets:
            compared = self._colours(self._explored.sets)
        shown = Shown(
            self._explored, self._setting, self.statistic, self._pair(), compared,
            self.index, self.limits, self.colours, self._shown_view() == "difference",
        )  # fmt: skip
        return draw(shown, self._in_words())

    def _colours(self, names) -> dict[str, str]:
        palette = {**self._palette, self._explored.truth: plot.TRUTH}
        return {name: palette[name] for name in names}

    def _pair(self) -> dict[str, str]:
        """The names of the sets on view and their colours: two, or the only one."""
        names = [self._explored.truth, self.against]
        if self._alone:
            names = [self._explored.truth]
        elif self._shown_view() == "one set":
            names = [self.against]
        return self._colours(names)

    def _in_words(self) -> str:
        """The statistic and what was done to the maps, in a few words."""
        words = [STATISTICS[self.statistic][0]]
        if self.n_gal_arcmin2:
            words.append(f"shape noise of {self.n_gal_arcmin2:g} galaxies/arcmin²")
        if self.smoothing_arcmin:
            words.append(f"smoothed by {self.smoothing_arcmin:g}′")
        return ", ".join(words)

    def __repr__(self) -> str:
        each = counts(self._explored.sets).items()
        sets = ", ".join(f"{name} ({count} maps)" for name, count in each)
        return f"Explorer: {sets}; {self._in_words()}"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        first, *others = self._pair()
        shown = f"A map of {first}, and the statistic of this set"
        if others:
            shown = f"A map of {first} beside one of {others[0]}, and the statistic of both sets"
        return f"{shown}: {self._in_words()}."
