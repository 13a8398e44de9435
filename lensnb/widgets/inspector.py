"""Look into a fidelity report: one statistic of all sets, with its mean, scatter and correlations.

The kernel cuts all judged sets to as many maps as are asked for and compares them with the truth
(:func:`lensnb.compare.verdict.judge_joint`); ``inspector.js`` draws what it finds. Every answer is
kept, so that a choice made before is shown at once. The function to call is :func:`inspect`.
"""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import traitlets

from .. import plot
from ..compare import NULL, FidelityReport, Quantity, Verdict
from ..compare.answers import OFF
from ..compare.covariance import eigenvectors
from ..compare.estimate import WorstBin, plain, threshold
from ..compare.sets import BOTH
from ..compare.verdict import judge_joint
from ..ensemble import Ensemble
from ..plot.style import SMALL, blank_figure, typeset
from ..ramps import ramp
from .files import Saving
from .pictures import axes_of, float32, script

# What the matrices can show: colour ramp, its limits, and a label.
_MATRICES = {
    "correlation": ("RdBu_r", (-1.0, 1.0), "correlation ρ"),
    "over truth": ("PuOr_r", (0.5, 1.5), "ρ / ρ of the truth"),
}
_ROUNDS = 100  # of the bootstrap where fewer maps than all are used; an error is known to 7 %
# Columns of a table of the statistic on view.
COLUMNS = (
    "set", "maps", "bin", "name", "x", "mean", "scatter", "mean over truth",
    "error of the mean over truth", "scatter over truth", "error of the scatter over truth",
)  # fmt: skip
_FEWEST = 16  # maps; fewer give no covariance worth looking at

# What is said of one statistic, as the report says it of the spectrum and of all bins: item, name,
# expected value, what is wrong when it is too low or too high, and where the number is.
_QUANTITIES = [
    Quantity(1, "mean", 1, 0.05, "too low on average", "too high on average", attrgetter("mean")),
    Quantity(
        1,
        "worst bin of the mean [σ]",
        0,
        0.05,
        "the mean is too low, in units of the scatter of one map",
        "the mean is too high, in units of the scatter of one map",
        lambda verdict: WorstBin(verdict.mean_shift, 0, 0.05),
    ),
    Quantity(
        2,
        "scatter",
        1,
        0.05,
        "the maps are too much alike in it",
        "the maps differ too much in it",
        attrgetter("scatter"),
    ),
    Quantity(
        3,
        "correlation slope",
        1,
        0.1,
        "its bins fluctuate too independently: off-diagonal covariance is lost",
        "its bins fluctuate together too much",
        attrgetter("slope"),
    ),
]


def inspect(
    report: FidelityReport,
    statistic: str = "power",
    *,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> Inspector:
    """See where and why generators fail: choose a statistic, generators and a number of maps.

    Above are the mean, its ratio to the truth and the ratio of the scatter to the truth's, with
    error bars; grey is the null's 95 % interval. Below are the correlation matrices or their ratio
    to the truth's; a click or the arrow keys select a cell, which is then read in all of them. At
    the bottom are the reasons, in the words of the report. Figure and tables can be saved.

    Args:
        report: from :func:`lensnb.compare.compare`.
        statistic: the one to show first.
        sizes: how many maps of each judged set (the null, too) one can choose. Sizes that the sets
            do not have are left out. By default powers of two from 64 on; all maps can always be
            chosen.
        seed: of the random choice of maps, and of the bootstrap.

    Returns:
        A widget; make it the last value of a cell. Its traits ``statistic``, ``maps`` (0: all),
        ``chosen``, ``matrix`` and ``large`` can be read and set, and ``Inspector.rows`` has
        the numbers of the statistic on view.

    Raises:
        ValueError: no such statistic, or a size of less than 16 maps.
    """
    if statistic not in report.statistics:
        known = ", ".join(report.statistics)
        raise ValueError(f"the report has the statistics {known}; found {statistic!r}")
    if sizes is None:
        sizes = [2**k for k in range(6, 20)]
    elif any(size < _FEWEST for size in sizes):
        raise ValueError(
            f"sizes must be {_FEWEST} maps or more, or a covariance means nothing; "
            f"found {min(sizes)}"
        )
    most = min(report.counts[name]["maps"] for name in report.names)
    return Inspector(report, statistic, [int(size) for size in sizes if size < most], seed)


class Inspector(Saving):
    """The widget that :func:`inspect` makes.

    Attributes:
        statistic: the statistic on view, by its name in the report.
        maps: how many maps of each judged set are used; 0: all of them.
        chosen: the generators on view, at first all.
        matrix: ``"correlation"`` or ``"over truth"``.
        large: whether letters and lines are larger, for a projector.
    """

    _esm = script("common.js", "files.js", "inspector.js")
    _stem = "inspector"

    statistic = traitlets.Unicode().tag(sync=True)
    maps = traitlets.Int(0).tag(sync=True)
    chosen = traitlets.List(traitlets.Unicode()).tag(sync=True)
    matrix = traitlets.Enum(list(_MATRICES), "correlation").tag(sync=True)
    large = traitlets.Bool(False).tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _shown = traitlets.Dict().tag(sync=True)  # the statistic on view, of all sets

    def __init__(self, report: FidelityReport, statistic: str, sizes: list[int], seed: int):
        self._report, self._sizes, self._seed = report, [0, *sizes], seed
        self._generators = report.names[1:]
        self._palette = plot.colours(report.names)
        # (statistic, maps) → a report of this statistic alone, and what the browser draws of it
        self._found: dict[tuple[str, int], tuple[FidelityReport, dict]] = {}
        everyone = list(self._generators)
        super().__init__(statistic=statistic, chosen=everyone, _about=self._describe())
        self._update()
        self.observe(self._update, ["statistic", "maps"])

    def _describe(self) -> dict:
        """What the browser has to know once."""
        matrices = {}
        for name, (colours, limits, label) in _MATRICES.items():
            table = ramp(colours).tobytes()
            matrices[name] = {"table": table, "limits": limits, "label": label}
        return {
            "statistics": list(self._report.statistics),
            "sizes": self._sizes,
            "generators": [[name, self._palette[name]] for name in self._generators],
            "null": NULL,
            "whole": {name: self._report.failures(name) for name in self._generators},
            "matrices": matrices,
            "save": list(self.files()),
        }

    @traitlets.validate("statistic", "maps")
    def _check_offered(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        offered = {"statistic": list(self._report.statistics), "maps": self._sizes}[name]
        if value not in offered:
            known = ", ".join(map(str, offered))
            raise traitlets.TraitError(f"{name} must be one of {known}; found {value!r}")
        return value

    @traitlets.validate("chosen")
    def _check_chosen(self, proposal):
        unknown = [name for name in proposal["value"] if name not in self._generators]
        if unknown:
            known = ", ".join(self._generators)
            raise traitlets.TraitError(
                f"the report judges {known}; found {unknown[0]!r} among the chosen"
            )
        return [name for name in self._generators if name in proposal["value"]]

    # ------------------------------------------------------------ compute

    def _cut(self) -> FidelityReport:
        """The report of the statistic on view alone, with as many maps of each judged set."""
        whole, name = self._report, self.statistic
        ensembles = {of: whole.ensembles[of][name] for of in ("truth", *whole.names)}
        verdicts = {of: by[name] for of, by in whole.verdicts.items()}
        if self.maps:
            for of in whole.names:
                ensembles[of] = _some(ensembles[of], self.maps, self._seed)
            verdicts = self._judged(ensembles)
        return replace(
            whole,
            statistics={name: whole.statistics[name]},
            ensembles=_by_name(ensembles, name),
            verdicts=_by_name(verdicts, name),
        )

    def _judged(self, ensembles: Mapping[str, Ensemble]) -> dict[str, Verdict]:
        """Verdicts on one statistic, with the references that the report has."""
        whole, bins = self._report, ensembles["truth"].vectors.shape[1]
        joint = ensembles | {BOTH: whole.ensembles[BOTH][self.statistic]}
        comparisons = [(of, "truth" if of == NULL else BOTH) for of in whole.names]
        kept = eigenvectors([whole.ensembles[of][self.statistic] for of in ("truth", NULL)])
        most = {"truth": kept, BOTH: kept}
        part = {self.statistic: slice(0, bins)}
        found = judge_joint(joint, part, comparisons, most, None, _ROUNDS, self._seed)
        return {of: found[by][of][self.statistic] for of, by in comparisons}

    def _update(self, _change=None) -> None:
        """Find and send what is shown now."""
        key = self.statistic, self.maps
        if key not in self._found:
            cut = self._cut()
            self._found[key] = cut, self._drawn_of(cut)
        self._shown = self._found[key][1]

    def _drawn_of(self, cut: FidelityReport) -> dict:
        """Everything that the browser draws of one statistic."""
        name = self.statistic
        truth = cut.ensembles["truth"][name]
        is_ratio = bool((truth.mean() >= 0).all())
        mean = "mean_ratio" if is_ratio else "mean_shift"
        verdicts = {of: by[name] for of, by in cut.verdicts.items()}
        null = verdicts[NULL]
        sets = {}
        for of, by in cut.ensembles.items():
            sets[of] = _vectors_of(by[name])
            if of in verdicts:
                sets[of] |= {
                    "off": getattr(verdicts[of], mean).as_json(),
                    "scatter": verdicts[of].scatter_ratio.as_json(),
                    "slope": verdicts[of].slope.as_json(),
                }
        intervals = {
            "off": plain(getattr(null, mean).interval),
            "scatter": plain(null.scatter_ratio.interval),
        }
        return axes_of(cut.statistics[name]) | {
            "statistic": name,
            "maps": self.maps,
            "ratio": is_ratio,
            "sets": sets,
            "null": intervals,
            "known": truth.known_correlations().astype(np.uint8).tobytes(),
            "reasons": {of: _reasons(verdicts[of]) for of in self._generators},
        }

    # ------------------------------------------------------------ numbers to save

    def rows(self) -> list[dict]:
        """The numbers of the statistic on view: a row for each bin of each set.

        Each has the keys of ``COLUMNS``: the set and its number of maps; number, name and place x
        of the bin; mean and scatter of one map; the mean over the truth's (or the shift from it in
        σ, where the truth changes sign) and the scatter over the truth's, with standard errors.
        What is not known is None.
        """
        cut = self._found[self.statistic, self.maps][0]
        statistic, sent = cut.statistics[self.statistic], self._shown
        names, found = statistic.bin_names(), []
        for of, numbers in sent["sets"].items():
            if of not in ("truth", NULL, *self.chosen):
                continue
            unknown = {"value": [None] * len(names), "error": [None] * len(names)}
            off, scatter = (numbers.get(what, unknown) for what in ("off", "scatter"))
            for k, name in enumerate(names):
                values = (
                    of, numbers["maps"], k + 1, name, float(statistic.x[k]), numbers["mean"][k],
                    numbers["std"][k], off["value"][k], off["error"][k], scatter["value"][k],
                    scatter["error"][k],
                )  # fmt: skip
                found.append(dict(zip(COLUMNS, values)))
        return found

    def files(self):
        """Figures, the numbers on view, and the table of the whole report."""
        return super().files() | {
            "numbers on view, CSV": (f"{self.statistic}.csv", self._csv),
            "report, CSV": ("report.csv", self._written(self._report.to_csv)),
            "report, LaTeX": ("report.tex", self._written(self._report.to_latex)),
        }

    def _csv(self) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.rows())
        return text.getvalue().encode()

    @staticmethod
    def _written(write: Callable[[Path], object]) -> Callable[[], bytes]:
        """The bytes that a method writes to a file."""

        def read() -> bytes:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "table"
                write(path)
                return path.read_bytes()

        return read

    # ------------------------------------------------------------ the still picture

    def figure(self) -> plot.Figure:
        """What the widget shows now."""
        cut = self._found[self.statistic, self.maps][0]
        figure = blank_figure(11.5, 6.2)
        above, below = figure.subfigures(2, 1, height_ratios=(1.2, 1))
        above.suptitle(self._title(), fontsize=11)
        self._draw_curves(above, cut)
        self._draw_matrices(below, cut)
        return figure

    def _draw_curves(self, figure, cut: FidelityReport) -> None:
        """The mean, and mean and scatter relative to the truth."""
        name = self.statistic
        statistic = cut.statistics[name]
        left, middle, right = figure.subplots(1, 3)
        truth = cut.ensembles["truth"][name]
        plot.band(left, statistic, truth, plot.TRUTH, "truth, ± σ of one map")
        for of in self.chosen:
            mean = cut.ensembles[of][name].mean()
            plot.curve(left, statistic, mean, self._palette[of], of, lw=1.4)
        left.set_ylabel(typeset(statistic.y_label))
        left.legend(frameon=False, fontsize=SMALL)
        what = "mean_ratio" if self._shown["ratio"] else "mean_shift"
        plot.ratio(middle, cut, name, what, self.chosen)
        plot.ratio(right, cut, name, "scatter_ratio", self.chosen)

    def _draw_matrices(self, figure, cut: FidelityReport) -> None:
        """Correlation matrices, or their ratio to the truth's."""
        name = self.statistic
        statistic = cut.statistics[name]
        truth = cut.ensembles["truth"][name]
        over_truth = self.matrix == "over truth"
        sets = [NULL, *self.chosen]
        if not over_truth:
            sets.insert(0, "truth")
        axes = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for ax, of in zip(axes, sets):
            vectors = cut.ensembles[of][name]
            if over_truth:
                image = plot.correlation_ratio(ax, vectors, truth, of, statistic)
            else:
                image = plot.correlation(ax, vectors, of, statistic)
            ax.label_outer()
        extend = "both" if over_truth else "neither"
        label = _MATRICES[self.matrix][2]
        figure.colorbar(image, ax=axes, label=label, shrink=0.8, extend=extend)

    def _title(self) -> str:
        maps = f"{self.maps} maps of each set" if self.maps else "all maps"
        return f"{self.statistic}, {maps}"

    def __repr__(self) -> str:
        return f"Inspector: {', '.join(self.chosen) or 'no generator'}; {self._title()}"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        sets = ", ".join([*self.chosen, "truth and null"])
        return f"Mean, scatter and correlations of {self._title()}, of {sets}."


def _by_name(sets: Mapping[str, object], name: str) -> dict[str, dict[str, object]]:
    """``{set: {name: value}}``, as a report keeps them."""
    return {of: {name: value} for of, value in sets.items()}


def _some(ensemble: Ensemble, maps: int, seed: int) -> Ensemble:
    """So many maps of an ensemble, chosen at random."""
    few = np.random.default_rng(seed).permutation(len(ensemble))[:maps]
    return Ensemble(ensemble.vectors[few], ensemble.simulation[few])


def _vectors_of(ensemble: Ensemble) -> dict:
    """What the browser draws of the vectors of one set."""
    return {
        "maps": len(ensemble),
        "mean": plain(ensemble.mean()),
        "std": plain(ensemble.std()),
        "rho": float32(ensemble.correlation()),
    }


def _reasons(verdict: Verdict) -> list[str]:
    """What is wrong with one statistic of a generator, in sentences."""
    found = []
    for quantity in _QUANTITIES:
        here = quantity.of(verdict)
        answer = quantity.answer(here, threshold(len(_QUANTITIES)))
        if answer.kind == OFF:
            beside = f"expected {quantity.expected_text}, {abs(answer.sigmas):.1f} σ off"
            found.append(f"{quantity.name} {quantity.text(here)}, {beside}: {answer.meaning}.")
    return found
