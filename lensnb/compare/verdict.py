"""One set of maps compared with a reference in each statistic.

G is the set to judge and T the reference. The comparison has four parts:

* mean: the ratio ⟨G⟩/⟨T⟩ in each bin, and the shift (⟨G⟩ − ⟨T⟩)/σ_T in units of the scatter of
  one map;
* scatter: the ratio σ_G/σ_T in each bin;
* correlation slope: a least-squares line through zero, fitted to the off-diagonal correlation
  coefficients of G as a function of those of T, with slope Σ ρ_G ρ_T / Σ ρ_T². The expected value
  is 1. Noise in ρ_T lowers it, for the null as for G, so read it beside the null's;
* covariance: eigenvalues, divergence, contour area and effective number of maps, as defined in
  :mod:`lensnb.compare.covariance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..ensemble import Ensemble, StreamingEnsemble, correlation, covariance_noise, off_diagonal
from .covariance import Coordinates, distances, support
from .estimate import Estimate

_BLOCKS = 250  # of independent maps, resampled together: they give an error to 4 %
_PER_BIN = ("mean_ratio", "mean_shift", "scatter_ratio", "eigenvalues")


@dataclass
class Verdict:
    """How one set of maps compares with the reference in one statistic.

    Attributes:
        mean_ratio: ⟨G⟩/⟨T⟩ of each bin; NaN where ⟨T⟩ is not known to better than a third.
        mean_shift: (⟨G⟩ − ⟨T⟩)/σ_T of each bin.
        scatter_ratio: σ_G/σ_T of each bin.
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

    @classmethod
    def single_numbers(cls) -> list[str]:
        """The names of the attributes that are one number for the whole statistic."""
        return [name for name in cls.__dataclass_fields__ if name not in _PER_BIN]

    def as_json(self) -> dict:
        """All estimates as plain numbers."""
        return {name: getattr(self, name).as_json() for name in self.__dataclass_fields__}


def correlation_slope(rho: np.ndarray, rho_true: np.ndarray) -> float:
    """Slope through zero of the off-diagonal correlations as a function of the true ones.

    Least squares give Σ ρ ρ_true / Σ ρ_true².

    Args:
        rho: correlation matrix of the maps to judge, shape ``(bins, bins)``.
        rho_true: correlation matrix of the true maps.
    """
    x = off_diagonal(rho_true)
    y = off_diagonal(rho)
    return float(x @ y / (x @ x))


def judge(sample: Ensemble, truth: Ensemble, rounds: int = 200, seed: int = 0) -> Verdict:
    """Compare one ensemble with another.

    Errors come from a bootstrap over the simulations of both.

    Args:
        sample: vectors of the maps to judge, ``(maps, bins)``.
        truth: vectors of the true maps, same bins.
        rounds: bootstrap rounds.
        seed: of the bootstrap.
    """
    sets = {"sample": {"only": sample}, "truth": {"only": truth}}
    verdicts = judge_all(sets, ["sample"], ["truth"], None, rounds, seed)
    return verdicts["truth"]["sample"]["only"]


def judge_all(
    sets: Mapping[str, Mapping[str, Ensemble]],
    judged: list[str],
    references: list[str],
    responses: Mapping[str, np.ndarray] | None,
    rounds: int,
    seed: int,
) -> dict[str, dict[str, dict[str, Verdict]]]:
    """Compare several sets with several references, in every statistic.

    Args:
        sets: ``sets[set][statistic]``, the references among them.
        judged, references, responses, rounds, seed: as for :func:`judge_joint`.

    Returns:
        ``verdicts[reference][set][statistic]``. With more than one statistic, the joint vector of
        all of them is judged too, under ``"joint"``.
    """
    joint = {name: Ensemble.join(ensembles.values()) for name, ensembles in sets.items()}
    parts = parts_of(next(iter(sets.values())))
    return judge_joint(joint, parts, judged, references, responses, rounds, seed)


def parts_of(ensembles: Mapping[str, Ensemble]) -> dict[str, slice]:
    """Where each statistic lies in the joint vector; ``"joint"`` is the whole of several."""
    parts, start = {}, 0
    for name, ensemble in ensembles.items():
        stop = start + ensemble.vectors.shape[1]
        parts[name] = slice(start, stop)
        start = stop
    if len(ensembles) > 1:
        parts["joint"] = slice(0, start)
    return parts


def judge_joint(
    joint: Mapping[str, Ensemble],
    parts: Mapping[str, slice],
    judged: list[str],
    references: list[str],
    responses: Mapping[str, np.ndarray] | None,
    rounds: int,
    seed: int,
) -> dict[str, dict[str, dict[str, Verdict]]]:
    """Compare the joint vectors of several sets with those of several references, part by part.

    Each bootstrap round resamples every set once, so that all numbers of a round belong together.
    The number of eigenvectors depends on the judged sets and on their own reference. So a small
    training set does not limit the comparison with the truth.

    Args:
        joint: by set the vectors of all statistics in a row, ``(maps, all bins)``.
        parts: where each statistic lies in them, from :func:`parts_of`.
        judged: names of the sets to judge.
        references: names of the sets to compare them with.
        responses: ∂μ/∂θ by statistic, shape ``(bins, parameters)``; None: no contour areas.
        rounds: bootstrap rounds.
        seed: of the bootstrap.

    Returns:
        ``verdicts[reference][set][part]``.
    """
    pairs = []
    for reference in references:
        needed = {name: joint[name] for name in (*judged, reference)}
        for name, part in parts.items():
            response = _response(responses, parts, name)
            cut = {n: Ensemble(e.vectors[:, part], e.simulation) for n, e in needed.items()}
            pairs += [_Pair(cut, sample, reference, name, part, response) for sample in judged]
    summed = {name: _summed(ensemble) for name, ensemble in joint.items()}
    found = _numbers(pairs, summed)
    weights = {
        name: ensemble.bootstrap_weights(rounds, seed + 1 + i)
        for i, (name, ensemble) in enumerate(summed.items())
    }
    resampled = []
    for i in range(rounds):
        drawn = {name: of_set[i] for name, of_set in weights.items()}
        resampled.append(_numbers(pairs, summed, drawn))
    verdicts = {reference: {sample: {} for sample in judged} for reference in references}
    for k, pair in enumerate(pairs):
        verdict = _verdict(found[k], [numbers[k] for numbers in resampled])
        verdicts[pair.reference][pair.sample][pair.name] = verdict
    return verdicts


def _response(
    responses: Mapping[str, np.ndarray] | None, parts: Mapping[str, slice], name: str
) -> np.ndarray | None:
    """The response of one part; that of the joint vector is made of all the others."""
    if not responses:
        return None
    if name == "joint":
        return np.concatenate([responses[part] for part in parts if part != "joint"])
    return responses[name]


def _verdict(found: Mapping, resampled: list[Mapping]) -> Verdict:
    estimates = {}
    for name, value in found.items():
        rounds = np.array([numbers[name] for numbers in resampled])
        estimates[name] = Estimate(np.asarray(value), rounds)
    return Verdict(**estimates)


@dataclass
class _Moments:
    """Mean ``(bins,)`` and covariance ``(bins, bins)`` of a set or of a bootstrap draw from it."""

    mean: np.ndarray
    covariance: np.ndarray

    def cut(self, part: slice) -> _Moments:
        return _Moments(self.mean[part], self.covariance[part, part])

    def std(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))


class _Pair:
    """One set and its reference in one part of the vectors, with what all rounds share."""

    def __init__(
        self,
        ensembles: Mapping[str, Ensemble],
        sample: str,
        reference: str,
        name: str,
        part: slice,
        responses: np.ndarray | None,
    ):
        self.sample, self.reference = sample, reference
        self.name, self.part = name, part
        truth = ensembles[reference]
        self.known = np.abs(truth.mean()) > 3 * truth.mean_error()
        self.rho_squared = _sum_of_squares(truth.correlation())
        most = min(part.stop - part.start, support(ensembles))
        self.coordinates = Coordinates.of(truth, most, responses)
        _, self.noise = covariance_noise(ensembles[sample], self.coordinates.metric)

    def numbers(
        self, sample: _Moments, truth: _Moments, resampled: bool
    ) -> dict[str, np.ndarray | float]:
        """The numbers of a :class:`Verdict`, by name, from the moments of the joint vectors."""
        sample, truth = sample.cut(self.part), truth.cut(self.part)
        std = truth.std()
        mean_ratio = _divided(sample.mean, truth.mean, self.known & (truth.mean != 0))
        mean_shift = _divided(sample.mean - truth.mean, std, std > 0)
        scatter_ratio = _divided(sample.std(), std, std > 0)
        excess = self.coordinates.noise
        if resampled:  # resampling adds the noise of both covariances to their distance once more
            excess += self.noise + self.coordinates.noise
        found = distances(sample.covariance, truth.covariance, self.coordinates, excess)
        return {
            "mean_ratio": mean_ratio,
            "mean_shift": mean_shift,
            "scatter_ratio": scatter_ratio,
            "mean": _mean(mean_ratio),
            "shift": np.sqrt(_mean(mean_shift**2)),
            "scatter": _mean(scatter_ratio),
            "slope": self._slope(sample, truth, resampled),
            "eigenvalues": found.eigenvalues,
            "smallest": found.eigenvalues[0],
            "largest": found.eigenvalues[-1],
            "divergence": found.divergence,
            "area": found.area,
            "inverse_maps": found.inverse_maps,
        }

    def _slope(self, sample: _Moments, truth: _Moments, resampled: bool) -> float:
        if len(sample.mean) < 2:
            return np.nan
        rho_true = correlation(truth.covariance)
        slope = correlation_slope(correlation(sample.covariance), rho_true)
        if resampled:
            # Resampling adds noise to ρ_T once more. Without this factor the slopes of the rounds,
            # and with them the error, would be too small by the ratio of the sums of squares.
            slope *= _sum_of_squares(rho_true) / self.rho_squared
        return slope


def _sum_of_squares(rho: np.ndarray) -> float:
    return (off_diagonal(rho) ** 2).sum()


def _divided(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> np.ndarray:
    """a / b, and NaN elsewhere."""
    return np.divide(a, b, out=np.full_like(a, np.nan), where=where)


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are defined; NaN if none is."""
    defined = np.isfinite(values)
    if not defined.any():
        return np.nan
    return values[defined].mean()


def _numbers(
    pairs: list[_Pair],
    ensembles: Mapping[str, Ensemble | StreamingEnsemble],
    weights: Mapping[str, np.ndarray] | None = None,
) -> list[dict]:
    """The numbers of every pair: of the sets as they are, or of a bootstrap round with weights."""
    moments = {}
    for name, ensemble in ensembles.items():
        own = None if weights is None else weights[name]
        moments[name] = _Moments(ensemble.mean(own), ensemble.covariance(own))
    resampled = weights is not None
    return [
        pair.numbers(moments[pair.sample], moments[pair.reference], resampled) for pair in pairs
    ]


def _summed(ensemble: Ensemble) -> Ensemble | StreamingEnsemble:
    """The sums over each simulation, if it has many maps: they are resampled in much less time.

    Very many independent maps are summed in blocks, for the same reason.
    """
    simulations, index = np.unique(ensemble.simulation, return_inverse=True)
    if len(simulations) <= len(ensemble) / 4:
        return StreamingEnsemble().update(ensemble.vectors, index)
    if len(simulations) > 8 * _BLOCKS:
        block = index * _BLOCKS // len(simulations)
        return StreamingEnsemble().update(ensemble.vectors, block)
    return ensemble
