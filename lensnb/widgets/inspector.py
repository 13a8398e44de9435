"""Look into a fidelity report: one statistic of all sets, its mean, scatter and correlations beside the truth and the null.

:func:`inspect` is the one to call. The kernel cuts all judged sets to as many maps as are asked for and compares them with the
truth (:func:`lensnb.compare.verdict.judge_all`); ``inspector.js`` draws what it finds. What was asked for once is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import traitlets

from .. import plot
from ..compare import NULL, FidelityReport, Quantity, Verdict
from ..compare.estimate import plain
from ..compare.verdict import judge_all
from ..ensemble import Ensemble
from ..ramps import ramp
from .pictures import Pictured, script

MATRICES = {
    "correlation": ("RdBu_r", (-1.0, 1.0), "correlation ρ"),
    "over truth": ("PuOr_r", (0.5, 1.5), "ρ / ρ of the truth"),
}
ROUNDS = 100  # of the bootstrap, where fewer maps than all are asked for: an error is known to 7 %

# What is said of one statistic, as the report says it of the spectrum and of all bins.
OF_ONE = [
    Quantity(1, "mean", "1", "too low on average", "too high on average", lambda v: v.mean),
    Quantity(1, "mean shift [σ]", "0", "", "the mean is off, in units of the scatter of one map", lambda v: v.shift),
    Quantity(2, "scatter", "1", "the maps are too much alike in it", "the maps differ too much in it", lambda v: v.scatter),
    Quantity(
        3, "correlation slope", "1", "its bins fluctuate too independently: off-diagonal covariance is lost",
        "its bins fluctuate together too much", lambda v: v.slope,
    ),
]  # fmt: skip


def inspect(
    report: FidelityReport,
    statistic: str = "power",
    *,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> Inspector:
    """Choose a statistic, generators and how many maps of each to use, and see where and why a generator fails.

    Above: the mean, the mean over the truth's, and the scatter over the truth's, with error bars and the null's 95 % interval
    in grey. Below: the correlation matrices, or their ratio to the truth's; the arrow keys move through their elements. Under
    them the reasons, as the report words them.

    Args:
        report: from :func:`lensnb.compare.compare`, of any maps.
        statistic: the one to show first.
        sizes: how many maps of each judged set, the null too, one can choose, fewer than the sets have; by default powers of two
            from 64 on. All maps can always be chosen.
        seed: of the choice of maps, which is random, and of the bootstrap.

    Returns:
        A widget, shown when it is the last value of a cell. Its traits ``statistic``, ``maps`` (0: all), ``chosen`` and
        ``matrix`` can be read and set.

    Raises:
        ValueError: no such statistic, or a size of less than 16 maps.
    """
    if statistic not in report.statistics:
        raise ValueError(
            f"the report has the statistics {', '.join(report.statistics)}; found {statistic!r}"
        )
    most = min(report.counts[name]["maps"] for name in report.names)
    if sizes is None:
        sizes = [2**k for k in range(6, 20)]
    elif any(size < 16 for size in sizes):
        raise ValueError(
            f"sizes must be 16 maps or more, for a covariance to mean something, found {min(sizes)}"
        )
    return Inspector(report, statistic, [int(size) for size in sizes if size < most], seed)


class Inspector(Pictured):
    """The widget that :func:`inspect` makes.

    Attributes:
        statistic: the statistic on view, by its name in the report.
        maps: how many maps of each judged set are used; 0: all of them.
        chosen: the generators on view.
        matrix: ``"correlation"`` or ``"over truth"``.
    """

    _esm = script("common.js", "inspector.js")

    statistic = traitlets.Unicode().tag(sync=True)
    maps = traitlets.Int(0).tag(sync=True)
    chosen = traitlets.List(traitlets.Unicode()).tag(sync=True)
    matrix = traitlets.Enum(list(MATRICES), "correlation").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _shown = traitlets.Dict().tag(sync=True)  # the statistic on view, of all sets

    def __init__(self, report: FidelityReport, statistic: str, sizes: list[int], seed: int):
        self._report, self._sizes, self._seed = report, [0, *sizes], seed
        self._found: dict[
            tuple[str, int], tuple[FidelityReport, dict]
        ] = {}  # (statistic, maps) → and what the browser draws
        generators, palette = report.names[1:], plot.colours(report.names)
        super().__init__(
            statistic=statistic,
            chosen=generators[:4],
            _about={
                "statistics": list(report.statistics),
                "sizes": self._sizes,
                "generators": [[name, palette[name]] for name in generators],
                "null": NULL,
                "whole": {name: report.failures(name) for name in generators},
                "matrices": {
                    name: {"table": ramp(cmap).tobytes(), "limits": limits, "label": label}
                    for name, (cmap, limits, label) in MATRICES.items()
                },
            },
        )
        self._update()
        self.observe(lambda _: self._update(), ["statistic", "maps"])

    @traitlets.validate("statistic", "maps")
    def _check_offered(self, proposal):
        offered = (
            list(self._report.statistics) if proposal["trait"].name == "statistic" else self._sizes
        )
        if proposal["value"] not in offered:
            known = ", ".join(map(str, offered))
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must be one of {known}; found {proposal['value']!r}"
            )
        return proposal["value"]

    @traitlets.validate("chosen")
    def _check_chosen(self, proposal):
        unknown = [name for name in proposal["value"] if name not in self._report.names[1:]]
        if unknown:
            raise traitlets.TraitError(
                f"the report judges {', '.join(self._report.names[1:])}; found {unknown[0]!r} among those to show"
            )
        return [name for name in self._report.names[1:] if name in proposal["value"]]

    # ------------------------------------------------------------ compute

    def _cut(self) -> FidelityReport:
        """The report of the statistic on view only, with as many maps of each judged set, chosen at random."""
        whole, name = self._report, self.statistic
        ensembles = {of: whole.ensembles[of][name] for of in ("truth", *whole.names)}
        verdicts = {of: by[name] for of, by in whole.verdicts.items()}
        if self.maps:
            for of in whole.names:
                few = np.random.default_rng(self._seed).permutation(len(ensembles[of]))[
                    : self.maps
                ]
                ensembles[of] = Ensemble(ensembles[of].vectors[few], ensembles[of].simulation[few])
            sets = {of: {name: one} for of, one in ensembles.items()}
            found = judge_all(sets, whole.names, ["truth"], None, ROUNDS, self._seed)["truth"]
            verdicts = {of: by[name] for of, by in found.items()}
        one = lambda sets: {of: {name: value} for of, value in sets.items()}
        return replace(
            whole,
            statistics={name: whole.statistics[name]},
            ensembles=one(ensembles),
            verdicts=one(verdicts),
        )

    def _update(self) -> None:
        """Find and send what is shown now."""
        key = self.statistic, self.maps
        if key not in self._found:
            cut = self._cut()
            self._found[key] = cut, self._described(cut)
        self._shown = self._found[key][1]

    def _described(self, cut: FidelityReport) -> dict:
        """Everything that the browser draws of one statistic."""
        s, truth = cut.statistics[self.statistic], cut.ensembles["truth"][self.statistic]
        verdicts = {name: by[self.statistic] for name, by in cut.verdicts.items()}
        mean = "mean_ratio" if (truth.mean() >= 0).all() else "mean_shift"
        null, sets = verdicts[NULL], {}
        for name, by in cut.ensembles.items():
            one = by[self.statistic]
            sets[name] = {
                "maps": len(one), "mean": plain(one.mean()), "std": plain(one.std()),
                "rho": one.correlation().astype("<f4").tobytes(),
            }  # fmt: skip
            if name != "truth":
                v = verdicts[name]
                numbers = {"off": getattr(v, mean), "scatter": v.scatter_ratio, "slope": v.slope}
                sets[name] |= {key: estimate.as_json() for key, estimate in numbers.items()}
        return {
            "statistic": self.statistic, "maps": self.maps, "x": plain(s.x), "x_label": s.x_label, "y_label": s.y_label,
            "log_x": s.log_x, "log_y": s.log_y, "ratio": mean == "mean_ratio", "sets": sets,
            "null": {"off": plain(getattr(null, mean).interval), "scatter": plain(null.scatter_ratio.interval)},
            "known": truth.known_correlations().astype(np.uint8).tobytes(),
            "reasons": {name: _reasons(verdicts[name], null) for name in cut.names[1:]},
        }  # fmt: skip

    # ------------------------------------------------------------ the picture that stays

    def figure(self) -> plot.Figure:
        """What the widget shows now."""
        cut, name, palette = (
            self._found[self.statistic, self.maps][0],
            self.statistic,
            plot.colours(self._report.names),
        )
        s, truth = cut.statistics[name], cut.ensembles["truth"][name]
        figure = plot.Figure(figsize=(11.5, 6.2), layout="constrained", facecolor="white")
        above, below = figure.subfigures(2, 1, height_ratios=(1.2, 1))
        above.suptitle(self._title(), fontsize=11)
        left, middle, right = above.subplots(1, 3)
        plot.band(left, s, truth, plot.TRUTH, "truth, ± σ of one map")
        for of in self.chosen:
            left.plot(s.x, cut.ensembles[of][name].mean(), color=palette[of], lw=1.4, label=of)
        left.set_ylabel(plot.typeset(s.y_label))
        left.legend(frameon=False, fontsize=8)
        plot.ratio(
            middle, cut, name, "mean_ratio" if self._shown["ratio"] else "mean_shift", self.chosen
        )
        plot.ratio(right, cut, name, "scatter_ratio", self.chosen)
        over = self.matrix == "over truth"
        sets = [NULL, *self.chosen] if over else ["truth", NULL, *self.chosen]
        axes = np.atleast_1d(below.subplots(1, len(sets), sharey=True))
        for ax, of in zip(axes, sets):
            one = cut.ensembles[of][name]
            image = (
                plot.correlation_ratio(ax, one, truth, of, s)
                if over
                else plot.correlation(ax, one, of, s)
            )
            ax.label_outer()
        below.colorbar(
            image,
            ax=axes,
            label=MATRICES[self.matrix][2],
            shrink=0.8,
            extend="both" if over else "neither",
        )
        return figure

    def _title(self) -> str:
        return f"{self.statistic}, {f'{self.maps} maps of each set' if self.maps else 'all maps'}"

    def __repr__(self) -> str:
        return f"Inspector: {', '.join(self.chosen) or 'no generator'}; {self._title()}"

    def alt(self) -> str:
        return f"Mean, scatter and correlations of {self._title()}, of {', '.join(self.chosen)} beside truth and null."


def _reasons(verdict: Verdict, null: Verdict) -> list[str]:
    """What is wrong with one statistic of a generator, in sentences."""
    found = []
    for q in OF_ONE:
        if fault := q.fault(q.of(verdict), q.of(null)):
            found.append(f"{q.name} {q.text(q.of(verdict))}, null {q.text(q.of(null))}: {fault}.")
    return found
