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

from ..ensemble import Ensemble, StreamingEnsemble
from .estimate import Estimate
from .moments import Moments, Pair

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
            pairs += [Pair(cut, sample, reference, name, part, response) for sample in judged]
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


def _numbers(
    pairs: list[Pair],
    ensembles: Mapping[str, Ensemble | StreamingEnsemble],
    weights: Mapping[str, np.ndarray] | None = None,
) -> list[dict]:
    """The numbers of every pair: of the sets as they are, or of a bootstrap round with weights."""
    moments = {}
    for name, ensemble in ensembles.items():
        own = None if weights is None else weights[name]
        moments[name] = Moments(ensemble.mean(own), ensemble.covariance(own))
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
