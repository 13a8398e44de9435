"""The fidelity report: all numbers at once, as a table, as HTML, as figures' data, as JSON."""

from __future__ import annotations

import html
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .. import stats
from ..data import MapSet
from ..ensemble import Ensemble, measure
from ..files import write_json
from .covariance import amplitude_and_tilt
from .estimate import Estimate, plain
from .ks import ks_rejected
from .memory import Nearest, copies, nearest
from .quantities import ITEMS, QUANTITIES, Cost, Quantity
from .table import html_table, mark, text_table
from .twosample import accuracies_on_maps, accuracy_on_statistics
from .verdict import Verdict, judge_all

NULL = "null (true maps)"
FEW = 10  # with fewer simulations than this the errors themselves are poorly known, and the report says so


@dataclass(frozen=True)
class Row:
    """One headline number of every set.

    Attributes:
        quantity: what it is, and what it means.
        estimates: by set, the null first; only where it could be measured.
        faults: by generator, what is wrong: empty when the number lies in the null's 95 % interval (or beyond it on the
            harmless side), None where it is not defined.
    """

    quantity: Quantity
    estimates: dict[str, Estimate]
    faults: dict[str, str | None]


@dataclass(repr=False)
class FidelityReport:
    """What :func:`compare` found. Print it, show it in Jupyter, draw it with :mod:`lensnb.plot`, or save it.

    Attributes:
        statistics: the statistics with their bins, by name.
        ensembles: ``ensembles[set][statistic]`` for the truth, the null, the training set and each generator.
        verdicts: ``verdicts[set][statistic]`` against the truth, with the joint of all under ``"joint"``.
        against_train: the same against the training maps; empty where none were given.
        extras: ``extras[set][name]``: the headline numbers that are no part of a verdict (tails, two-sample tests, memory).
        ks: two-sample Kolmogorov–Smirnov p of every joint bin, by set.
        neighbours: distances to the nearest training maps, by set, the held-out truth among them; empty without them.
        costs: what each generator costs, where it was said.
        counts: maps in each set, their simulations, and how many were dropped because they were not finite.
    """

    statistics: dict[str, stats.Statistic]
    ensembles: dict[str, dict[str, Ensemble]]
    verdicts: dict[str, dict[str, Verdict]]
    against_train: dict[str, dict[str, Verdict]]
    extras: dict[str, dict[str, Estimate]]
    ks: dict[str, np.ndarray]
    neighbours: dict[str, Nearest]
    costs: dict[str, Cost]
    counts: dict[str, dict[str, int]]

    @property
    def names(self) -> list[str]:
        """The judged sets, the null first."""
        return list(self.verdicts)

    def rows(self) -> list[Row]:
        """The headline numbers, items 1 to 8; one that was not measured for any set is left out."""
        rows = []
        for quantity in QUANTITIES:
            found = {
                name: _estimate(quantity, self.verdicts[name], self.extras[name])
                for name in self.names
            }
            if all(estimate is None for estimate in found.values()):
                continue
            faults = {name: quantity.fault(found[name], found[NULL]) for name in self.names[1:]}
            rows.append(Row(quantity, found, faults))
        return rows

    def failures(self, name: str | None = None) -> list[str]:
        """Where generators fail and what that means: a sentence for every headline number, worst first.

        Args:
            name: of one generator; None: all of them.
        """
        if name is not None and name not in self.names[1:]:
            raise ValueError(
                f"there is no generator {name!r} in the report; it judges {', '.join(self.names[1:])}"
            )
        found = []
        for row in self.rows():
            null = row.estimates[NULL]
            for judged, fault in row.faults.items():
                if not fault or name not in (None, judged):
                    continue
                here = row.estimates[judged]
                spread = math.hypot(here.error, null.error)
                apart = abs(here.value - null.value) / spread if spread > 0 else math.inf
                numbers = f"{row.quantity.name} {row.quantity.text(here)}, null {row.quantity.text(null)}"
                doubt = "; more maps are needed to be sure" if apart < 2 else ""
                sentence = f"{judged}: {numbers} ({apart:.1f} σ apart{doubt}): {fault}"
                found.append((-apart, sentence + self._blame(row.quantity, judged) + "."))
        return [sentence for _, sentence in sorted(found)]

    def _blame(self, quantity: Quantity, name: str) -> str:
        """Sample variance of the training simulations, or the model: what the same number says against the training set."""
        two_sided = (
            quantity.low and quantity.high
        )  # the others never reach their right value: noise alone moves them
        if not self.against_train or quantity.of is None or not two_sided:
            return ""
        low, high = quantity.of(self.against_train[name]).interval
        if not np.isfinite(low + high):
            return ""
        if low <= float(quantity.right) <= high:
            return (
                "; not against the training maps: they are too few, and the model is as they are"
            )
        return "; against the training maps as well: it is the model"

    # ------------------------------------------------------------ show

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join([text_table(self._cells(), 2), "", *self.remarks()])

    def by_statistic(self, what: str = "slope") -> str:
        """A table with a row a statistic: ``"mean"``, ``"shift"``, ``"scatter"``, ``"slope"``, ``"divergence"``, ``"area"`` …"""
        return text_table(self._statistic_cells(what), 1)

    def _cells(self) -> list[list[str]]:
        """The table's cells as text, its head first; a star marks what lies outside the null's interval."""
        cells, item = [["", "", "right", *self.names]], None
        for row in self.rows():
            q = row.quantity
            marked = [mark(q.text(row.estimates[n]), row.faults.get(n)) for n in self.names]
            cells.append(
                [f"{q.item} {ITEMS[q.item]}" if q.item != item else "", q.name, q.right, *marked]
            )
            item = q.item
        for k, (name, label) in enumerate(Cost.LABELS.items() if self.costs else ()):
            costs = [self.costs.get(n, Cost()).text(name) + " " for n in self.names]
            cells.append([f"9 {ITEMS[9]}" if k == 0 else "", label, "", *costs])
        return cells

    def _statistic_cells(self, what: str) -> list[list[str]]:
        if what not in Verdict.__dataclass_fields__ or what.endswith(
            ("_ratio", "_shift", "values")
        ):
            known = [
                n
                for n in Verdict.__dataclass_fields__
                if not n.endswith(("_ratio", "_shift", "values"))
            ]
            raise ValueError(f"a verdict has no number {what!r}; it has {', '.join(known)}")
        cells = [["effective maps" if what == "inverse_maps" else what, *self.names]]
        for statistic in self.verdicts[NULL]:
            estimates = [getattr(self.verdicts[n][statistic], what) for n in self.names]
            q = Quantity(0, what, "", "low", "high", inverse=what == "inverse_maps")
            cells.append(
                [statistic, *(mark(q.text(e), q.fault(e, estimates[0])) for e in estimates)]
            )
        return cells

    def remarks(self) -> list[str]:
        """What the table means, in sentences."""
        truth = self.counts["truth"]
        lines = [
            "± one standard error from a bootstrap over simulations; in brackets a 95 % range.",
            f"Truth: {truth['maps']} maps of {truth['simulations']} simulations. * lies outside the null's 95 % interval.",
        ]
        for name, count in self.counts.items():
            if count["dropped"]:
                lines.append(f"{name}: {count['dropped']} maps were not finite and are left out.")
            if name in ("truth", NULL, "train") and count["simulations"] < FEW:
                error = 1 / math.sqrt(2 * (count["simulations"] - 1))
                lines.append(
                    f"{name}: {count['simulations']} simulations only, so every error is itself uncertain by {error:.0%}."
                )
        if not self.against_train:
            lines.append("Without training maps there is no test of memory (item 7).")
        return lines

    def _repr_html_(self) -> str:
        notes = "<br>".join(html.escape(line) for line in self.remarks())
        lines = [f"<li>{html.escape(line)}</li>" for line in self.failures()]
        reasons = (
            f"<p><b>Where they fail, worst first</b></p><ul>{''.join(lines[:8])}</ul>"
            if lines
            else ""
        )
        if lines[8:]:
            reasons += f"<details><summary>and {len(lines) - 8} more</summary><ul>{''.join(lines[8:])}</ul></details>"
        every = "".join(
            html_table(self._statistic_cells(what), 1)
            for what in ("mean", "shift", "scatter", "slope")
        )
        return (
            f"{html_table(self._cells(), 2)}<p>{notes}</p>{reasons}"
            f"<details><summary>Every statistic</summary>{every}</details>"
        )

    # ------------------------------------------------------------ save

    def as_json(self) -> dict:
        """Every number of the report as plain JSON values."""
        truth = {
            name: {
                "x": plain(s.x), "x_label": s.x_label, "y_label": s.y_label,
                "mean": plain(self.ensembles["truth"][name].mean()), "std": plain(self.ensembles["truth"][name].std()),
            }
            for name, s in self.statistics.items()
        }  # fmt: skip
        table = lambda verdicts: {
            n: {s: v.as_json() for s, v in by.items()} for n, by in verdicts.items()
        }
        null = self.verdicts[NULL]
        inside = {
            n: {s: _inside(by[s], null[s]) for s in by}
            for n, by in self.verdicts.items()
            if n != NULL
        }
        return {
            "headline": [_row_json(row) for row in self.rows()],
            "failures": self.failures(),
            "truth": truth, "against_truth": table(self.verdicts), "against_train": table(self.against_train),
            "inside_null_95": inside, "maps": self.counts,
            "ks_p": {name: plain(p) for name, p in self.ks.items()},
            "nearest_distance": {name: plain(n.distance) for name, n in self.neighbours.items()},
            "cost": {name: {k: getattr(c, k) for k in Cost.LABELS} for name, c in self.costs.items()},
        }  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write :meth:`as_json` to a file, atomically."""
        return write_json(path, self.as_json())


def _estimate(
    quantity: Quantity, verdict: Mapping[str, Verdict], extras: Mapping[str, Estimate]
) -> Estimate | None:
    return extras.get(quantity.name) if quantity.of is None else quantity.of(verdict)


def _row_json(row: Row) -> dict:
    sets = {
        n: e.as_json() | {"passes": None if (f := row.faults.get(n)) is None else not f}
        for n, e in row.estimates.items()
    }
    q = row.quantity
    return {"item": q.item, "name": q.name, "right": q.right, "inverse": q.inverse, "sets": sets}


def _inside(verdict: Verdict, null: Verdict) -> dict:
    """For each number: does it lie in the null's 95 % interval; for numbers a bin, the share of bins that do; None: undefined."""
    found = {}
    for name in verdict.__dataclass_fields__:
        value, (low, high) = getattr(verdict, name).value, getattr(null, name).interval
        defined = np.isfinite(value) & np.isfinite(low)
        inside = np.asarray((value >= low) & (value <= high))
        share = float(inside[defined].mean()) if defined.any() else None
        found[name] = bool(share) if inside.ndim == 0 and share is not None else share
    return found


# ---------------------------------------------------------------- comparing


def compare(
    truth: MapSet,
    null: MapSet,
    generated: Mapping[str, Tensor | MapSet],
    train: MapSet | None = None,
    statistics: Mapping[str, stats.Statistic] | None = None,
    *,
    costs: Mapping[str, Cost] | None = None,
    responses: Mapping[str, np.ndarray] | None = None,
    look_at_maps: bool = True,
    rounds: int = 200,
    seed: int = 0,
) -> FidelityReport:
    """Hold generated maps against true maps, beside the null.

    All maps are held in memory; of sets that stay on disk give parts, ``truth[:4096]``.

    Args:
        truth: true maps, with their simulations.
        null: other true maps, from other simulations.
        generated: κ-maps by name of their generator, each ``(maps, n, n)``, where every map counts as independent; or a
            :class:`~lensnb.data.MapSet`, where maps of one simulation do not.
        train: the training maps; what is right against them but off against the truth is sample variance. Without them
            there is no test of memory.
        statistics: which statistics, with their bins; by default :func:`lensnb.stats.suite` of the truth. ``power`` and
            ``pdf`` must be among them.
        costs: what the generators cost, by name, for the last rows of the table.
        responses: ∂μ/∂θ of each statistic's mean to the parameters whose contours are compared, by statistic, shape
            ``(bins, parameters)``; by default to the amplitude and the tilt of κ
            (:func:`lensnb.compare.amplitude_and_tilt`).
        look_at_maps: also run what looks at the maps themselves, the slowest part: the classifier on maps and the search
            for copies.
        rounds: bootstrap rounds.
        seed: of the bootstrap and of the classifiers.

    Raises:
        ValueError: truth and null (or the training set) share simulations, their fields differ, or one has fewer than two
            simulations; generated maps have another shape, or fewer than two are finite; a name is taken.
    """
    _check_sets(truth, null, train)
    taken = [name for name in generated if name in ("truth", NULL, "train")]
    if taken:
        raise ValueError(
            f"a generator cannot be called {taken[0]!r}: that is the name of a set of true maps"
        )
    unknown = [name for name in costs or {} if name not in generated and name != NULL]
    if unknown:
        raise ValueError(
            f"costs name {unknown[0]!r}, which is not among the generators {', '.join(generated)}"
        )
    pixels = {"truth": (truth.tensor(), truth.simulation), NULL: (null.tensor(), null.simulation)}
    if train is not None:
        pixels["train"] = (train.tensor(), train.simulation)
    for name, maps in generated.items():
        labelled = isinstance(maps, MapSet)
        own = maps.simulation if labelled else None
        pixels[name] = (
            maps.tensor() if labelled else torch.as_tensor(maps).detach().cpu().float(),
            own,
        )
    shape, counts = tuple(truth.maps.shape[1:]), {}
    pixels = {name: _finite(name, *one, shape, counts) for name, one in pixels.items()}
    reference, simulation = pixels["truth"]
    statistics = stats.suite(reference, truth.side_deg) if statistics is None else dict(statistics)
    if responses is None:
        responses = amplitude_and_tilt(
            reference[:: max(1, len(reference) // 256)], truth.side_deg, statistics
        )
    judged, references = [NULL, *generated], ["truth"] + ["train"] * (train is not None)
    ensembles, ks, neighbours, on_maps = {}, {}, {}, {}
    with _bar(len(pixels) + 1 + len(judged) + 2 * look_at_maps) as bar:
        for name, one in pixels.items():
            ensembles[name] = measure(statistics, *one)
            bar.update()
        verdicts = judge_all(ensembles, judged, references, responses, rounds, seed)
        extras = _tails(pixels, ensembles, verdicts["truth"], rounds, seed)
        joint = {name: Ensemble.join(by.values()) for name, by in ensembles.items()}
        bar.update()
        if look_at_maps:
            neighbours = {
                n: nearest(pixels[n][0], pixels["train"][0])
                for n in ["truth", *judged]
                if train is not None
            }
            bar.update()
            on_maps = accuracies_on_maps(
                {n: pixels[n] for n in judged}, reference, simulation, rounds, seed
            )
            bar.update()
        for name in judged:
            own = pixels[name][1]
            extras[name]["classifier on statistics"] = accuracy_on_statistics(
                joint[name], joint["truth"], rounds, seed
            )
            ks[name], extras[name]["bins with KS p < 0.05"] = ks_rejected(
                joint[name], joint["truth"], rounds, seed
            )
            if look_at_maps:
                extras[name]["classifier on maps"] = on_maps[name]
            if neighbours:
                ratio, share = copies(
                    neighbours[name], neighbours["truth"], own, simulation, rounds, seed
                )
                extras[name] |= {"nearest training map": ratio, "share of near copies": share}
            bar.update()
    return FidelityReport(
        statistics, ensembles, verdicts["truth"], verdicts.get("train", {}), extras, ks, neighbours, dict(costs or {}), counts
    )  # fmt: skip


def _bar(steps: int) -> tqdm:
    """A progress bar in a notebook or a terminal, once a comparison has taken five seconds; nothing in a batch job."""
    seen = "ipykernel" in sys.modules or sys.stdout.isatty()
    return tqdm(
        total=steps, desc="comparing", unit="step", file=sys.stdout, delay=5, disable="LENSNB_BATCH" in os.environ or not seen
    )  # fmt: skip


def _check_sets(truth: MapSet, null: MapSet, train: MapSet | None) -> None:
    sets = {"truth": truth, "null": null} | ({} if train is None else {"training set": train})
    for name, other in sets.items():
        if len(other.simulations) < 2:
            raise ValueError(
                f"the {name} comes from one simulation only; errors need at least two"
            )
        if other.maps.shape[1:] != truth.maps.shape[1:] or not math.isclose(
            other.side_deg, truth.side_deg
        ):
            raise ValueError(
                f"truth has {truth.grid}, the {name} has {other.grid}; they must be the same field"
            )
    names = list(sets)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            shared = np.intersect1d(sets[a].simulations, sets[b].simulations)
            if len(shared):
                raise ValueError(
                    f"{a} and {b} share {len(shared)} simulations (number {shared[0]}, …); they must be disjoint"
                )


def _finite(
    name: str, maps: Tensor, simulation: np.ndarray | None, shape: tuple, counts: dict
) -> tuple[Tensor, np.ndarray]:
    """The maps of a set that are finite, with their simulation; how many there are goes into ``counts``."""
    if maps.ndim != 3 or tuple(maps.shape[1:]) != shape:
        raise ValueError(
            f"{name} has maps of the shape {tuple(maps.shape)}; expected (maps, {', '.join(map(str, shape))}) like the truth"
        )
    finite = torch.isfinite(maps).flatten(1).all(1)
    simulation = (np.arange(len(maps)) if simulation is None else simulation)[finite.numpy()]
    maps = maps if finite.all() else maps[finite]
    if len(maps) < 2:
        raise ValueError(
            f"{name} has {len(maps)} maps without NaN or infinity; a comparison needs at least two"
        )
    counts[name] = {
        "maps": len(maps),
        "simulations": len(np.unique(simulation)),
        "dropped": int((~finite).sum()),
    }
    return maps, simulation


def _tails(
    pixels: Mapping, ensembles: Mapping, verdicts: Mapping, rounds: int, seed: int
) -> dict[str, dict[str, Estimate]]:
    """Peaks above 4σ of the true maps, and the PDF where it has fallen to 10⁻³ of its maximum, over the truth's."""
    reference = pixels["truth"][0]
    threshold = float(reference.mean() + 4 * reference.std())
    judged = {n: pixels[n] for n in ["truth", *verdicts]}
    high = {
        n: {"peaks": Ensemble(stats.peak_counts(m, [threshold, math.inf]).numpy(), own)}
        for n, (m, own) in judged.items()
    }
    peaks = judge_all(high, list(verdicts), ["truth"], None, rounds, seed)["truth"]
    density = ensembles["truth"]["pdf"].mean()
    ends = np.flatnonzero(density >= 1e-3 * density.max())[[0, -1]]
    found = {}
    for name, verdict in verdicts.items():
        ratio = verdict["pdf"].mean_ratio
        low, end = (Estimate(ratio.value[i], ratio.rounds[:, i]) for i in ends)
        found[name] = {
            "peaks > 4σ": peaks[name]["peaks"].mean,
            "PDF low end": low,
            "PDF high end": end,
        }
    return found
