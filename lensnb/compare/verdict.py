"""One set of maps against a reference, statistic by statistic: mean, scatter, correlations, covariance.

* mean: ratio ⟨G⟩/⟨T⟩ in each bin, and the shift (⟨G⟩ − ⟨T⟩)/σ_T in units of the scatter of one map;
* scatter: ratio σ_G/σ_T in each bin;
* correlation slope: least squares through zero of the off-diagonal correlation coefficients of G on those of T,
  Σ ρ_G ρ_T / Σ ρ_T². 1 is right; noise in ρ_T pulls it down, for the null as for G, which is why the null is beside it;
* covariance: eigenvalues, divergence, contour area and effective number of maps, see :mod:`lensnb.compare.covariance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..ensemble import Ensemble, StreamingEnsemble, correlation, covariance_noise, off_diagonal
from .covariance import Coordinates, distances, support
from .estimate import Estimate

BLOCKS = 250


@dataclass
class Verdict:
    """One set of maps against the reference in one statistic.

    Attributes:
        mean_ratio: ⟨G⟩/⟨T⟩ a bin; NaN where ⟨T⟩ is not known to better than a third.
        mean_shift: (⟨G⟩ − ⟨T⟩)/σ_T a bin.
        scatter_ratio: σ_G/σ_T a bin.
        mean: the mean of ``mean_ratio`` over the bins.
        shift: the root mean square of ``mean_shift`` over the bins.
        scatter: the mean of ``scatter_ratio`` over the bins.
        slope: correlation slope.
        eigenvalues: of C_T^(−1/2) C_G C_T^(−1/2), ascending, shape ``(k,)``.
        smallest: the first of them.
        largest: the last of them.
        divergence: Kullback–Leibler divergence of the two covariances, nats.
        area: ratio of the areas of parameter contours.
        inverse_maps: 1/N_eff, one over the effective number of maps.
    """

    mean_ratio: Estimate
    mean_shift: Estimate
    scatter_ratio: Estimate
    mean: Estimate
    shift: Estimate
    scatter: Estimate
    slope: Estimate
    eigenvalues: Estimate
    smallest: Estimate
    largest: Estimate
    divergence: Estimate
    area: Estimate
    inverse_maps: Estimate

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
    sets = {"sample": {"only": sample}, "truth": {"only": truth}}
    return judge_all(sets, ["sample"], ["truth"], None, rounds, seed)["truth"]["sample"]["only"]


def judge_all(
    sets: Mapping[str, Mapping[str, Ensemble]],
    judged: list[str],
    references: list[str],
    responses: Mapping[str, np.ndarray] | None,
    rounds: int,
    seed: int,
) -> dict[str, dict[str, dict[str, Verdict]]]:
    """``verdicts[reference][set][statistic]``, with the joint of all statistics under ``"joint"``.

    In every bootstrap round each set is resampled once, so that all numbers of a round belong together. How many eigenvectors
    are compared is the business of the judged sets and their reference: few training maps do not blur a verdict against the truth.

    Args:
        sets: ``sets[set][statistic]``, the references among them.
        judged: the sets to judge.
        references: the sets to judge them against.
        responses: ∂μ/∂θ by statistic, shape ``(bins, parameters)``; None: no contour areas.
        rounds: bootstrap rounds.
        seed: of the bootstrap.
    """
    first = next(iter(sets.values()))
    ends = np.cumsum([0, *(e.vectors.shape[1] for e in first.values())])
    parts = {name: slice(*pair) for name, pair in zip(first, zip(ends[:-1], ends[1:]))}
    if len(parts) > 1:
        parts["joint"] = slice(0, ends[-1])
        responses = responses and {
            **responses,
            "joint": np.concatenate([responses[name] for name in first]),
        }
    joint = {name: Ensemble.join(by.values()) for name, by in sets.items()}
    quick = {name: _summed(e) for name, e in joint.items()}
    pairs = [
        _Pair({n: joint[n] for n in (*judged, r)}, r, s, name, part, responses[name] if responses else None)
        for r in references for name, part in parts.items() for s in judged
    ]  # fmt: skip
    value = _round(quick, None, pairs)
    draws = {
        name: e.bootstrap_weights(rounds, seed + 1 + i)
        for i, (name, e) in enumerate(quick.items())
    }
    boot = [
        _round(quick, {name: weights[i] for name, weights in draws.items()}, pairs)
        for i in range(rounds)
    ]
    found = {r: {s: {} for s in judged} for r in references}
    for k, pair in enumerate(pairs):
        columns = zip(*(numbers[k] for numbers in boot))
        estimates = (Estimate(np.asarray(v), np.array(b)) for v, b in zip(value[k], columns))
        found[pair.reference][pair.sample][pair.name] = Verdict(*estimates)
    return found


class _Pair:
    """One statistic of one set against a reference, with what does not change from round to round."""

    def __init__(
        self,
        joint: Mapping[str, Ensemble],
        reference: str,
        sample: str,
        name: str,
        part: slice,
        responses,
    ):
        self.reference, self.sample, self.name, self.part = reference, sample, name, part
        cut = {n: Ensemble(e.vectors[:, part], e.simulation) for n, e in joint.items()}
        true, ours = cut[reference], cut[sample]
        self.squares = (off_diagonal(true.correlation()) ** 2).sum()
        self.known = np.abs(true.mean()) > 3 * true.mean_error()
        self.at = Coordinates.of(true, min(part.stop - part.start, support(cut)), responses)
        self.noise = covariance_noise(ours, self.at.metric)[1]

    def numbers(self, sample: tuple, truth: tuple, resampled: bool) -> tuple:
        """All numbers of a :class:`Verdict` from the (mean, covariance) of both sets."""
        (mean_s, cov_s), (mean_t, cov_t) = (
            (m[self.part], c[self.part, self.part]) for m, c in (sample, truth)
        )
        std_s, std_t = np.sqrt(np.diag(cov_s)), np.sqrt(np.diag(cov_t))
        divide = lambda a, b, where: np.divide(a, b, out=np.full_like(a, np.nan), where=where)
        ratio = divide(mean_s, mean_t, self.known & (mean_t != 0))
        shift = divide(mean_s - mean_t, std_t, std_t > 0)
        scatter = divide(std_s, std_t, std_t > 0)
        rho_t, slope = correlation(cov_t), np.nan
        if len(mean_s) > 1:
            slope = correlation_slope(correlation(cov_s), rho_t)
            # Resampling adds noise to ρ_T once more: without this the slopes of the rounds, and with them the error, would
            # be too small by the ratio of the two sums of squares.
            slope *= (off_diagonal(rho_t) ** 2).sum() / self.squares if resampled else 1
        # resampling adds the noise of both covariances to their distance once more
        excess = self.at.noise + (self.noise + self.at.noise if resampled else 0)
        values, divergence, area, inverse = distances(cov_s, cov_t, self.at, excess)
        return (
            ratio, shift, scatter, _mean(ratio), np.sqrt(_mean(shift**2)), _mean(scatter), slope,
            values, values[0], values[-1], divergence, area, inverse,
        )  # fmt: skip


def _summed(ensemble: Ensemble) -> Ensemble | StreamingEnsemble:
    """The sums of each simulation where it has many maps: resampling them takes a fraction of the time.

    So it does for very many independent maps, put together in blocks: 250 of them know an error to 4 %.
    """
    simulations, index = np.unique(ensemble.simulation, return_inverse=True)
    if len(simulations) <= len(ensemble) / 4:
        return StreamingEnsemble().update(ensemble.vectors, index)
    if len(simulations) > 8 * BLOCKS:
        return StreamingEnsemble().update(ensemble.vectors, index * BLOCKS // len(simulations))
    return ensemble


def _round(
    joint: Mapping[str, Ensemble | StreamingEnsemble],
    weights: Mapping[str, np.ndarray] | None,
    pairs: list[_Pair],
) -> list[tuple]:
    drawn = {n: None if weights is None else weights[n] for n in joint}
    moments = {n: (e.mean(drawn[n]), e.covariance(drawn[n])) for n, e in joint.items()}
    return [p.numbers(moments[p.sample], moments[p.reference], weights is not None) for p in pairs]


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    return values[defined].mean() if defined.any() else np.nan
