"""One set of maps compared with a reference in each statistic.

G is the set to judge and T the reference. The comparison has four parts:

* mean: the ratio ⟨G⟩/⟨T⟩ in each bin, and the shift (⟨G⟩ − ⟨T⟩)/σ_T in units of the scatter of
  one map;
* scatter: the ratio σ_G/σ_T in each bin;
* correlation slope: a least-squares line through zero, fitted to the off-diagonal correlation
  coefficients of G as a function of those of T, with slope Σ ρ_G ρ_T / Σ ρ_T². Noise in ρ_T
  makes the denominator too large. The bootstrap measures by how much, and it is subtracted;
* covariance: eigenvalues and contour area (:mod:`lensnb.compare.covariance`), where the leading
  directions of an area are chosen by one half of T, and its other half is compared; the narrowest
  and the widest direction (:mod:`lensnb.compare.directions`), and the effective number of maps
  (:mod:`lensnb.compare.effective`).

True maps are expected to have 1 (shift: 0) in every number but the single eigenvalues: the bias of
the slope and of the contour area is measured by the bootstrap and removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..ensemble import Ensemble
from .covariance import eigenvectors
from .directions import ExtremeDirections
from .effective import EffectiveMaps, Worth
from .estimate import Estimate
from .moments import Moments, Reference, Resampled
from .ratios import degrees

_NUMBERS_AT_ONCE = 2**24  # in the covariances of a set
_PER_BIN = ("mean_ratio", "mean_shift", "scatter_ratio", "eigenvalues")


@dataclass
class Verdict:
    """How one set of maps compares with the reference in one statistic.

    Attributes:
        mean_ratio: ⟨G⟩/⟨T⟩ of each bin; NaN where ⟨T⟩ is not known to better than a third.
        mean_shift: (⟨G⟩ − ⟨T⟩)/σ_T of each bin.
        scatter_ratio: σ_G/σ_T of each bin.
        mean: the mean of ``mean_ratio`` over the bins.
        shift: the root mean square of ``mean_shift`` over the bins, without that of noise.
        scatter: the mean of ``scatter_ratio`` over the bins.
        slope: correlation slope; NaN if most of the truth's correlations are noise.
        eigenvalues: of C_T^(−1/2) C_G C_T^(−1/2), ascending, shape ``(k,)``.
        narrowest, widest: ratios of variances in the two extreme directions.
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
    narrowest: Estimate
    widest: Estimate
    area: Estimate
    inverse_maps: Worth

    @classmethod
    def single_numbers(cls) -> list[str]:
        """The names of the attributes that are one number for the whole statistic."""
        return [name for name in cls.__dataclass_fields__ if name not in _PER_BIN]

    def as_json(self) -> dict:
        """All estimates as plain numbers."""
        return {name: getattr(self, name).as_json() for name in self.__dataclass_fields__}


def judge(sample: Ensemble, truth: Ensemble, rounds: int = 200, seed: int = 0) -> Verdict:
    """Compare one ensemble with another.

    Errors come from the simulations of both.

    Args:
        sample: vectors of the maps to judge, ``(maps, bins)``.
        truth: vectors of the true maps, same bins.
        rounds: bootstrap rounds.
        seed: of the bootstrap.
    """
    joint = {"sample": sample, "truth": truth}
    parts = {"only": slice(0, truth.vectors.shape[1])}
    most = {"truth": eigenvectors([truth])}
    verdicts = judge_joint(joint, parts, [("sample", "truth")], most, None, rounds, seed)
    return verdicts["truth"]["sample"]["only"]


def judge_briefly(
    sample: Ensemble, truth: Ensemble, rounds: int = 200, seed: int = 0
) -> dict[str, Estimate]:
    """Mean, scatter and slope alone: the same numbers as :func:`judge` has, in milliseconds.

    Args:
        sample: vectors of the maps to judge, ``(maps, bins)``.
        truth: vectors of the true maps, same bins.
        rounds: bootstrap rounds.
        seed: of the bootstrap.

    Returns:
        The estimates ``mean``, ``scatter``, ``slope`` and the others of a verdict that need
        neither eigenvectors nor halves of the simulations.

    Raises:
        ValueError: all maps of a set are of one simulation, which has no bootstrap.
    """
    sets = Resampled(sample, False, seed), Resampled(truth, False, seed)
    reference = Reference(truth, None, 0, None)
    drawn = []
    for k, one in enumerate(sets):
        weights = one.ensemble.bootstrap_weights(rounds, seed + 1 + k)
        drawn.append(one.moments(weights))
    found = reference.numbers(*[one.whole() for one in sets], enough=False)
    in_rounds = reference.numbers(*drawn, enough=False)
    least = reference.least.of(len(sample), len(sample.simulations))
    whole = {name: value[0] for name, value in found.items()}
    return _estimates(whole, in_rounds, least, degrees(sample, truth))


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
    comparisons: list[tuple[str, str]],
    most: Mapping[str, int],
    responses: Mapping[str, np.ndarray] | None,
    rounds: int,
    seed: int,
) -> dict[str, dict[str, dict[str, Verdict]]]:
    """Compare the joint vectors of several sets with those of references, part by part.

    Each bootstrap round resamples every set once, so that all numbers of a round belong together.

    Args:
        joint: by set the vectors of all statistics in a row, ``(maps, all bins)``.
        parts: where each statistic lies in them, from :func:`parts_of`.
        comparisons: pairs of names, the set to judge and its reference.
        most: by reference, how many eigenvectors to compare at most.
        responses: ∂μ/∂θ by statistic, shape ``(bins, parameters)``; None: no contour areas.
        rounds: bootstrap rounds.
        seed: of the bootstrap.

    Returns:
        ``verdicts[reference][set][part]``.
    """
    resampled = {name: Resampled(one, name in most, seed) for name, one in joint.items()}
    pairs = _pairs(joint, parts, comparisons, most, responses, resampled, seed)
    found = _numbers(pairs, {name: one.whole() for name, one in resampled.items()})
    weights = {
        name: one.ensemble.bootstrap_weights(rounds, seed + 1 + i)
        for i, (name, one) in enumerate(resampled.items())
    }
    in_rounds = []
    # So many rounds at once that their covariances take little memory.
    bins = max(part.stop for part in parts.values())
    step = max(1, _NUMBERS_AT_ONCE // bins**2)
    for start in range(0, rounds, step):
        rows = slice(start, start + step)
        drawn = {name: one.moments(weights[name][rows]) for name, one in resampled.items()}
        in_rounds.append(_numbers(pairs, drawn))
    verdicts: dict = {reference: {} for _, reference in comparisons}
    for pair, whole, *drawn in zip(pairs, found, *in_rounds):
        of_pair = {name: np.concatenate([numbers[name] for numbers in drawn]) for name in whole}
        dof = degrees(joint[pair.sample], joint[pair.reference])
        verdict = _verdict(pair, {name: value[0] for name, value in whole.items()}, of_pair, dof)
        verdicts[pair.reference].setdefault(pair.sample, {})[pair.name] = verdict
    return verdicts


@dataclass
class _Pair:
    """A set and its reference in one statistic.

    Attributes:
        sample, reference: names of the two sets.
        name: of the statistic.
        part: where it lies in the joint vectors.
        of_reference: what all sets share that are judged by it.
        enough: the set has enough maps for its covariance.
        least: errors that as many true maps would have.
        beside: the numbers of the verdict that need no bootstrap.
    """

    sample: str
    reference: str
    name: str
    part: slice
    of_reference: Reference
    enough: bool
    least: dict[str, np.ndarray]
    beside: dict[str, Estimate]


def _pairs(
    joint: Mapping[str, Ensemble],
    parts: Mapping[str, slice],
    comparisons: list[tuple[str, str]],
    most: Mapping[str, int],
    responses: Mapping[str, np.ndarray] | None,
    resampled: Mapping[str, Resampled],
    seed: int,
) -> list[_Pair]:
    """All comparisons in all parts, part after part; arguments as for :func:`judge_joint`."""
    sizes = {name: (len(one), len(one.simulations)) for name, one in joint.items()}
    pairs = []
    for name, part in parts.items():
        cut = {
            one: Ensemble(whole.vectors[:, part], whole.simulation) for one, whole in joint.items()
        }
        response = _response(responses, parts, name)
        references, beside = {}, {}
        for one, count in most.items():
            halves = resampled[one].halves_of(cut[one])
            references[one] = Reference(cut[one], halves, count, response)
            beside[one] = _Beside(cut[one], count, references[one].kept, seed)
        independent = {one: cut[one].effective_maps() for one in {s for s, _ in comparisons}}
        for sample, reference in comparisons:
            of_reference = references[reference]
            maps = independent[sample]
            enough = of_reference.enough(maps)
            least = of_reference.least.of(*sizes[sample])
            extra = beside[reference].of(cut[sample], maps, enough)
            pair = _Pair(sample, reference, name, part, of_reference, enough, least, extra)
            pairs.append(pair)
    return pairs


class _Beside:
    """The numbers of a verdict that have errors of their own, beside one reference.

    Args:
        truth: the reference in one statistic.
        most: how many eigenvectors to compare at most.
        kept: how many there are.
        seed: of the halves of the simulations.
    """

    def __init__(self, truth: Ensemble, most: int, kept: int, seed: int):
        self.kept = kept
        self.directions = ExtremeDirections(truth, kept, seed)
        self.worth = EffectiveMaps(truth, most, seed)

    def of(self, sample: Ensemble, maps: float, enough: bool) -> dict[str, Estimate]:
        narrowest = widest = Estimate(np.asarray(np.nan), error=np.asarray(np.nan))
        if enough and self.kept:
            narrowest, widest = self.directions.of(sample)
        worth = self.worth.of(sample, maps)
        return {"narrowest": narrowest, "widest": widest, "inverse_maps": worth}


def _response(
    responses: Mapping[str, np.ndarray] | None, parts: Mapping[str, slice], name: str
) -> np.ndarray | None:
    """The response of one part; that of the joint vector is made of all the others."""
    if not responses:
        return None
    if name == "joint":
        return np.concatenate([responses[part] for part in parts if part != "joint"])
    return responses[name]


def _verdict(
    pair: _Pair, found: Mapping[str, np.ndarray], rounds: Mapping[str, np.ndarray], dof: int
) -> Verdict:
    """The verdict on a pair from the numbers of all maps and of the bootstrap rounds."""
    return Verdict(**_estimates(found, rounds, pair.least, dof), **pair.beside)


def _estimates(
    found: Mapping, rounds: Mapping[str, np.ndarray], least: Mapping[str, np.ndarray], dof: int
) -> dict[str, Estimate]:
    """The numbers of a verdict from those of all maps and of the bootstrap rounds."""
    estimates = {name: Estimate(found[name], rounds[name]) for name in _PER_BIN}
    for name, per_bin in (("mean", "mean_ratio"), ("scatter", "scatter_ratio")):
        values, drawn = found[per_bin], rounds[per_bin]
        estimates[name] = Estimate(np.asarray(_mean(values)), _mean(drawn))
    estimates["shift"] = _shift(found["mean_shift"], rounds["mean_shift"])
    estimates["slope"] = _slope(found, rounds)
    estimates["area"] = _area(found["log_area"], rounds["log_area"])
    for name, error in least.items():
        estimates[name].error = np.fmax(estimates[name].error, error)
    for estimate in estimates.values():
        # The variance of a bootstrap over S simulations is low by (S − 1)/S.
        estimate.error = estimate.error * np.sqrt((dof + 1) / dof)
        estimate.dof = dof
    return estimates


def _shift(value: np.ndarray, rounds: np.ndarray) -> Estimate:
    """Root mean square over the bins; noise adds to the square, in each round once more."""
    square, squares = _mean(value**2), _mean(rounds**2)
    noise = squares.mean() - square
    without = np.sqrt(np.clip(square - noise, 0, None))
    return Estimate(np.asarray(without), np.sqrt(np.clip(squares - 2 * noise, 0, None)))


def _slope(found: Mapping, rounds: Mapping[str, np.ndarray]) -> Estimate:
    """Σ ρ_G ρ_T / Σ ρ_T² without the noise of ρ_T in the denominator."""
    squares = found["squares"]
    noise = rounds["squares"].mean() - squares
    if not squares - noise > noise:
        nan = np.asarray(np.nan)
        return Estimate(nan, np.full(len(rounds["squares"]), np.nan))
    value = found["products"] / (squares - noise)
    # A round has the noise of the sample and that of resampling it.
    return Estimate(np.asarray(value), rounds["products"] / (rounds["squares"] - 2 * noise))


def _area(value: float, rounds: np.ndarray) -> Estimate:
    """The ratio of areas; the bias of its logarithm is what resampling adds to it once more."""
    bias = rounds.mean() - value
    area = np.asarray(np.exp(value - bias))
    # The logarithm has the error that counts: that of a small ratio is not smaller than that of 1.
    error = rounds.std() * np.maximum(area, 1)
    return Estimate(area, np.exp(rounds - 2 * bias), error=error)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the bins that are defined; NaN if none is."""
    defined = np.isfinite(values)
    count = defined.sum(-1)
    total = np.where(defined, values, 0).sum(-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def _numbers(pairs: list[_Pair], moments: Mapping[str, Moments]) -> list[dict[str, np.ndarray]]:
    """The numbers of every pair, one row a draw."""
    found = []
    part = None
    for pair in pairs:
        if pair.part != part:  # pairs of one part lie together, and share what it needs
            part = pair.part
            cut = {name: one.cut(part) for name, one in moments.items()}
        ours, true = cut[pair.sample], cut[pair.reference]
        found.append(pair.of_reference.numbers(ours, true, pair.enough))
    return found
