"""Generated maps against true maps, beside a null: the fidelity report.

Truth T and null N are two sets of true maps from *different* simulations, G is generated. Every number is given for G
against T and for N against T: a generator is as good as the simulations when its number lies inside the null's 95 %
interval. Errors come from a bootstrap over simulations, of both sets at once. For each statistic, and for all joined:

* mean: ratio ⟨G⟩/⟨T⟩ in each bin, and the shift (⟨G⟩ − ⟨T⟩)/σ_T in units of the scatter of one map;
* scatter: ratio σ_G/σ_T in each bin;
* correlation slope: least squares through zero of the off-diagonal correlation coefficients of G on those of T,
  Σ ρ_G ρ_T / Σ ρ_T². 1 is right; noise in ρ_T pulls it down, for the null as for G, which is why the null is beside it;
* tails: peaks above 4σ of the true maps, and the PDF at the ends where it falls to 10⁻³ of its maximum.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import stats
from ..data import MapSet
from ..ensemble import Ensemble, off_diagonal
from ..files import write_json
from .estimate import Estimate, plain

NULL = "null (true maps)"


@dataclass
class Verdict:
    """One set of maps against the reference in one statistic.

    Attributes:
        mean_ratio: ⟨G⟩/⟨T⟩ a bin; NaN where ⟨T⟩ is not known to better than a third.
        mean_shift: (⟨G⟩ − ⟨T⟩)/σ_T a bin.
        scatter_ratio: σ_G/σ_T a bin.
        scatter: the mean of ``scatter_ratio`` over the bins.
        slope: correlation slope.
    """

    mean_ratio: Estimate
    mean_shift: Estimate
    scatter_ratio: Estimate
    scatter: Estimate
    slope: Estimate

    def as_json(self) -> dict:
        """All estimates as plain numbers."""
        return {name: getattr(self, name).as_json() for name in self.__dataclass_fields__}


def correlation_slope(rho: np.ndarray, rho_true: np.ndarray) -> float:
    """Least-squares slope through zero of the off-diagonal elements of one correlation matrix on those of another."""
    x, y = off_diagonal(rho_true), off_diagonal(rho)
    return float(x @ y / (x @ x))


def judge(sample: Ensemble, truth: Ensemble, rounds: int = 200, seed: int = 0) -> Verdict:
    """Compare one ensemble with another, with errors from a bootstrap over the simulations of both.

    Args:
        sample: vectors of the maps to judge, ``(maps, bins)``.
        truth: vectors of the true maps, same bins.
        rounds: bootstrap rounds.
        seed: of the bootstrap.
    """
    known = np.abs(truth.mean()) > 3 * np.std([truth.mean(w) for w in truth.bootstrap_weights(50, seed)], axis=0)
    value = _numbers(sample, truth, known, None, None)
    drawn_s = sample.bootstrap_weights(rounds, seed + 1)
    drawn_t = truth.bootstrap_weights(rounds, seed + 2)
    boot = [_numbers(sample, truth, known, s, t) for s, t in zip(drawn_s, drawn_t)]
    return Verdict(*(Estimate(np.asarray(v), np.array(b)) for v, b in zip(value, zip(*boot))))


def _numbers(sample: Ensemble, truth: Ensemble, known: np.ndarray, ws, wt) -> tuple:
    mean_s, mean_t = sample.mean(ws), truth.mean(wt)
    cov_s, cov_t = sample.covariance(ws), truth.covariance(wt)
    std_s, std_t = np.sqrt(np.diag(cov_s)), np.sqrt(np.diag(cov_t))
    good = std_t > 0
    ratio = np.divide(mean_s, mean_t, out=np.full_like(mean_s, np.nan), where=known & (mean_t != 0))
    shift = np.divide(mean_s - mean_t, std_t, out=np.full_like(mean_s, np.nan), where=good)
    scatter = np.divide(std_s, std_t, out=np.full_like(mean_s, np.nan), where=good)
    slope = correlation_slope(_correlation(cov_s, std_s), _correlation(cov_t, std_t)) if len(mean_s) > 1 else np.nan
    return ratio, shift, scatter, _mean(scatter), slope


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    return values[defined].mean() if defined.any() else np.nan


def _correlation(cov: np.ndarray, std: np.ndarray) -> np.ndarray:
    safe = np.where(std > 0, std, np.inf)
    return cov / np.outer(safe, safe)


# ---------------------------------------------------------------- the report


@dataclass(repr=False)
class FidelityReport:
    """What :func:`compare` found. Print it, show it in Jupyter, or save it.

    Attributes:
        statistics: the statistics with their bins, by name.
        ensembles: ``ensembles[set][statistic]`` for the truth, the null, the training set and each generator.
        verdicts: ``verdicts[set][statistic]`` against the truth, with the joint of all under ``"joint"``.
        against_train: the same against the training maps; empty where none were given.
        tails: ``tails[set][quantity]`` as ratios to the truth.
        counts: maps in each set, and how many were dropped because they were not finite.
    """

    statistics: dict[str, stats.Statistic]
    ensembles: dict[str, dict[str, Ensemble]]
    verdicts: dict[str, dict[str, Verdict]]
    against_train: dict[str, dict[str, Verdict]]
    tails: dict[str, dict[str, Estimate]]
    counts: dict[str, dict[str, int]]

    @property
    def names(self) -> list[str]:
        """The judged sets, the null first."""
        return list(self.verdicts)

    def rows(self) -> list[dict]:
        """One row a set: the headline numbers as :class:`Estimate`, by column."""
        rows = []
        for name, verdict in self.verdicts.items():
            power = verdict["power"]
            rows.append(
                {
                    "maps": name,
                    "C_ℓ mean": _over_bins(power.mean_ratio),
                    "C_ℓ scatter": power.scatter,
                    "C_ℓ slope": power.slope,
                    "joint slope": verdict["joint"].slope,
                    **self.tails[name],
                }
            )
        return rows

    def as_json(self) -> dict:
        """Every number of the report as plain JSON values."""
        truth = {
            name: {
                "x": plain(s.x), "x_label": s.x_label, "y_label": s.y_label,
                "mean": plain(self.ensembles["truth"][name].mean()), "std": plain(self.ensembles["truth"][name].std()),
            }
            for name, s in self.statistics.items()
        }  # fmt: skip
        table = lambda verdicts: {n: {s: v.as_json() for s, v in by.items()} for n, by in verdicts.items()}
        tails = {n: {q: e.as_json() for q, e in by.items()} for n, by in self.tails.items()}
        null = self.verdicts[NULL]
        inside = {n: {s: _inside(by[s], null[s]) for s in by} for n, by in self.verdicts.items() if n != NULL}
        return {
            "truth": truth, "against_truth": table(self.verdicts), "against_train": table(self.against_train),
            "tails": tails, "inside_null_95": inside, "maps": self.counts,
        }  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write :meth:`as_json` to a file, atomically."""
        return write_json(path, self.as_json())

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        rows = self.rows()
        columns = list(rows[0])
        cells = [columns] + [
            [r["maps"]] + [self._cell(r[c], rows[0][c], r is rows[0]) for c in columns[1:]] for r in rows
        ]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        lines = [
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))
            for row in cells
        ]
        lines.insert(1, "─" * len(lines[0]))
        return "\n".join([*lines, "", *self.remarks()])

    def remarks(self) -> list[str]:
        """What the table means, in sentences."""
        truth, dropped = self.counts["truth"], {n: c["dropped"] for n, c in self.counts.items() if c["dropped"]}
        lines = [
            "Ratios to the true maps, ± one standard error from a bootstrap over simulations; 1 is right.",
            f"Truth: {truth['maps']} maps of {truth['simulations']} simulations. * lies outside the null's 95 % interval.",
        ]
        lines += [f"{n}: {k} maps were not finite and are left out." for n, k in dropped.items()]
        return lines

    def failures(self) -> list[str]:
        """Where each generator fails: a sentence for every headline number outside the null's 95 % interval, worst first."""
        null, *rows = self.rows()
        found = []
        for row in rows:
            for column in list(row)[1:]:
                here, there = row[column], null[column]
                low, high = there.interval
                if not (here.value < low or here.value > high):  # undefined numbers are no failures
                    continue
                apart = abs(here.value - there.value) / np.hypot(here.error, there.error)
                sentence = f"{row['maps']}: {column} is {here.value:.2f} ± {here.error:.2f}, the null's {there.value:.2f} ± {there.error:.2f}"
                found.append((-apart, f"{sentence}: {apart:.1f} σ apart"))
        return [sentence for _, sentence in sorted(found)]

    def _cell(self, estimate: Estimate, null: Estimate, is_null: bool) -> str:
        if np.isnan(estimate.value):
            return "– "  # the truth has too few such pixels or peaks
        low, high = null.interval
        mark = " " if is_null or low <= estimate.value <= high else "*"
        return f"{estimate.value:.3f} ± {estimate.error:.3f}{mark}"

    def _repr_html_(self) -> str:
        rows = self.rows()
        columns = list(rows[0])
        head = "".join(f'<th scope="col" style="text-align:right">{html.escape(c)}</th>' for c in columns)
        body = ""
        for row in rows:
            cells = [self._cell(row[c], rows[0][c], row is rows[0]) for c in columns[1:]]
            style = lambda c: "text-align:right" + (";font-weight:bold" if c.endswith("*") else "")
            body += f'<tr><th scope="row" style="text-align:left">{html.escape(row["maps"])}</th>'
            body += "".join(f'<td style="{style(c)}">{c}</td>' for c in cells) + "</tr>"
        notes = "<br>".join(html.escape(line) for line in self.remarks())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{notes}</p>"


def compare(
    truth: MapSet,
    null: MapSet,
    generated: Mapping[str, torch.Tensor],
    train: MapSet | None = None,
    statistics: dict[str, stats.Statistic] | None = None,
    rounds: int = 200,
    seed: int = 0,
) -> FidelityReport:
    """Hold generated maps against true maps, beside the null.

    Args:
        truth: true maps, labelled by simulation.
        null: other true maps, from other simulations.
        generated: κ-maps by name of their generator, each ``(maps, n, n)``; every map counts as independent.
        train: the training maps; what is right against them but off against the truth is sample variance.
        statistics: which statistics, with their bins; by default :func:`lensnb.stats.suite` of the truth.
        rounds: bootstrap rounds.
        seed: of the bootstrap.

    Raises:
        ValueError: truth and null (or the training set) share simulations, their fields differ, or one has fewer than two
            simulations; generated maps have another shape, or fewer than two are finite.
    """
    _check_sets(truth, null, train)
    pixels = {"truth": (truth.tensor(), truth.labels), NULL: (null.tensor(), null.labels)}
    if train is not None:
        pixels["train"] = (train.tensor(), train.labels)
    pixels |= {name: (torch.as_tensor(maps).cpu().float(), None) for name, maps in generated.items()}
    reference = pixels["truth"][0]
    reference = reference[torch.isfinite(reference).flatten(1).all(1)]
    statistics = stats.suite(reference, truth.side_deg) if statistics is None else statistics
    threshold = float(reference.mean() + 4 * reference.std())
    ensembles, counts, high = {}, {}, {}
    for name, (maps, labels) in pixels.items():
        if maps.ndim != 3 or maps.shape[1:] != reference.shape[1:]:
            raise ValueError(
                f"{name} has maps of the shape {tuple(maps.shape)}; expected (maps, {', '.join(map(str, reference.shape[1:]))})"
                " like the truth"
            )
        finite = torch.isfinite(maps).flatten(1).all(1)
        labels = np.arange(len(maps)) if labels is None else labels
        maps, labels = maps[finite], labels[finite.numpy()]
        if len(maps) < 2:
            raise ValueError(f"{name} has {len(maps)} maps without NaN or infinity; a comparison needs at least two")
        ensembles[name] = {key: Ensemble(s(maps), labels) for key, s in statistics.items()}
        high[name] = Ensemble(stats.peak_counts(maps, [threshold, math.inf]).numpy(), labels)
        counts[name] = {
            "maps": len(maps), "simulations": len(np.unique(labels)), "dropped": int((~finite).sum()),
        }  # fmt: skip
    judged = [NULL, *generated]
    verdicts = {n: _judge_all(ensembles[n], ensembles["truth"], rounds, seed) for n in judged}
    trained = {} if train is None else {n: _judge_all(ensembles[n], ensembles["train"], rounds, seed) for n in judged}
    tails = {n: _tails(verdicts[n], judge(high[n], high["truth"], rounds, seed), ensembles["truth"]) for n in judged}
    return FidelityReport(statistics, ensembles, verdicts, trained, tails, counts)


def _check_sets(truth: MapSet, null: MapSet, train: MapSet | None) -> None:
    sets = {"truth": truth, "null": null} | ({} if train is None else {"training set": train})
    for name, other in sets.items():
        if len(other.simulations) < 2:
            raise ValueError(f"the {name} comes from one simulation only; errors need at least two")
        if other.maps.shape[1:] != truth.maps.shape[1:] or not math.isclose(other.side_deg, truth.side_deg):
            raise ValueError(f"truth has {truth.grid}, the {name} has {other.grid}; they must be the same field")
    names = list(sets)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            shared = np.intersect1d(sets[a].simulations, sets[b].simulations)
            if len(shared):
                raise ValueError(
                    f"{a} and {b} share {len(shared)} simulations (label {shared[0]}, …); they must be disjoint"
                )


def _judge_all(sample: dict[str, Ensemble], truth: dict[str, Ensemble], rounds: int, seed: int) -> dict[str, Verdict]:
    verdicts = {name: judge(sample[name], truth[name], rounds, seed) for name in truth}
    join = lambda by: Ensemble(np.hstack([e.vectors for e in by.values()]), next(iter(by.values())).labels)
    return verdicts | {"joint": judge(join(sample), join({n: truth[n] for n in truth}), rounds, seed)}


def _tails(verdict: dict[str, Verdict], peaks: Verdict, truth: dict[str, Ensemble]) -> dict[str, Estimate]:
    density = truth["pdf"].mean()
    ends = np.flatnonzero(density >= 1e-3 * density.max())[[0, -1]]
    ratio = verdict["pdf"].mean_ratio
    low, high = (Estimate(ratio.value[i], ratio.rounds[:, i]) for i in ends)
    first = Estimate(peaks.mean_ratio.value[0], peaks.mean_ratio.rounds[:, 0])
    return {"peaks > 4σ": first, "PDF low end": low, "PDF high end": high}


def _over_bins(estimate: Estimate) -> Estimate:
    return Estimate(np.asarray(_mean(estimate.value)), np.array([_mean(values) for values in estimate.rounds]))


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
