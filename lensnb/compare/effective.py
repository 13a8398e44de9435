"""How many independent true maps a generator's covariance is worth.

The loss of a covariance Ĉ where C is true is what it costs an analysis that inverts it,

    L(Ĉ, C) = tr(Ĉ⁻¹ C) − ln det(Ĉ⁻¹ C) − k,

Stein's loss (James & Stein 1961): twice the Kullback–Leibler divergence, for k numbers a map. It
is zero for Ĉ = C. It grows fast where Ĉ has lost a direction, and a likelihood suffers there. The
covariance of N independent Gaussian maps has, with n = N − 1, the expected loss

    E L = n k/(n − k − 1) + Σᵢ ψ((n + 1 − i)/2) − k ln(n/2) − k,   i = 1 … k,

from the moments of the Wishart distribution (ψ: the digamma function). The effective number of
maps of a generator is the N for which this equals its own loss. Real maps are not Gaussian. Their
covariance is noisier by v/(k (k + 1)), where v = E‖z zᵀ − C‖² in whitened coordinates, and N is
multiplied by this factor. So N true maps count as N.

The true C is not known, only Ĉ_T. tr(Ĉ_G⁻¹ Ĉ_T) is linear in it and has no bias. ln det Ĉ_T is too
small by half the squared error of Ĉ_T, which is known from its simulations and is added. The
leading eigenvectors that are compared come from one half of the true simulations and Ĉ_T from the
other half, so that metric and reference are independent; then the halves swap, and the two
losses are averaged.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma

from ..ensemble import Ensemble, covariance_noise
from ..ensemble.errors import by_group
from .directions import halves, leading
from .estimate import Estimate
from .ratios import degrees

_MAPS_PER_EIGENVECTOR = 4  # of the set that is judged: with fewer its inverse is mostly noise
_BLOCKS = 250  # of independent maps: enough for the error
_SIZES = (4, 10, 30)  # maps per eigenvector, where the loss of true maps is measured
_DRAWS = 20  # of so many true maps
# The bias of ln det is half the squared error only where errors are small. A direction in which
# half of the true maps do not know the variance to this, relative, cannot be judged.
_KNOWN = 0.5
_SINGULAR = 1e-10  # smallest eigenvalue over the largest, where a matrix has an inverse


class Worth(Estimate):
    """One over the effective number of maps, with its error.

    The inverse has nearly Gaussian errors, and N itself has not.

    Attributes:
        eigenvectors: how many were compared, k.
        loss: Stein's loss of the covariance.
        expected: one over the number of independent maps in the set. A set of true maps is worth
            as much.
        margin: one over the number of independent maps that the truth itself has.
    """

    def __init__(self, value: float, error: float, eigenvectors: int = 0, loss: float = np.nan):
        super().__init__(np.asarray(value), error=np.asarray(error))
        self.eigenvectors, self.loss = eigenvectors, loss
        self.expected = self.margin = np.nan


class EffectiveMaps:
    """What covariances are worth beside one set of true maps.

    Args:
        truth: vectors of true maps, ``(maps, bins)``.
        most: how many leading eigenvectors to compare at most.
        seed: of the halves, and of the draws that calibrate N.
    """

    def __init__(self, truth: Ensemble, most: int, seed: int = 0):
        self.truth = truth
        self.true_maps = truth.effective_maps()
        bins = truth.vectors.shape[1]
        self.most = min(most, bins, int(self.true_maps / 2 / _MAPS_PER_EIGENVECTOR))
        self.least = min(2, bins)
        self.halves = halves(truth, seed)
        self.seed = seed
        self._metrics: tuple[np.ndarray, ...] = ()
        self._of_truth: dict[int, list[_TrueHalf]] = {}
        self._calibrations: dict[int, _Calibration] = {}

    def of(self, sample: Ensemble, own: float | None = None) -> Worth:
        """One over the effective number of maps of a covariance, with its error.

        Not defined (NaN) if the set, or half of the truth, has fewer than four independent maps
        for each of two eigenvectors. A covariance without scatter along some axis is worth
        k + 2 maps, the fewest that give an inverse.

        Args:
            sample: vectors of the maps to judge, the same bins.
            own: how many independent maps it has, if that is known already.
        """
        if own is None:
            own = sample.effective_maps()
        k = min(self.most, int(own / _MAPS_PER_EIGENVECTOR))
        if not self._can_judge(k):
            return Worth(np.nan, np.nan)
        halves = self._true_halves(k)
        folds = [_Fold(*_moments(sample, half.metric), half) for half in halves]
        found = self._worth(folds, k)
        if found.eigenvectors:
            found.dof = degrees(sample, self.truth)
            found.expected = 1 / _independent_maps(sample, halves[0].metric)
        return found

    def of_covariance(self, covariance: np.ndarray) -> Worth:
        """The same of a covariance that is not the plain one of some maps, such as a shrunk one.

        All eigenvectors are compared that the truth allows. The error is that of the truth alone:
        a matrix does not tell its own noise. To include it, average 1/N over several sets of maps.

        Args:
            covariance: the matrix to judge, shape ``(bins, bins)``.

        Raises:
            ValueError: it has another shape.
        """
        bins = self.truth.vectors.shape[1]
        if np.shape(covariance) != (bins, bins):
            raise ValueError(
                f"expected a covariance of the {bins} bins of the true maps, shape "
                f"({bins}, {bins}); found {np.shape(covariance)}"
            )
        k = self.most
        if not self._can_judge(k):
            return Worth(np.nan, np.nan)
        folds = []
        for half in self._true_halves(k):
            metric = half.metric
            unknown = np.empty((0, len(metric), len(metric)))  # what each simulation adds to it
            folds.append(_Fold(metric @ covariance @ metric.T, unknown, half))
        found = self._worth(folds, k)
        found.dof = len(self.truth.simulations) - 1
        return found

    def _can_judge(self, k: int) -> bool:
        """Whether k eigenvectors are enough, and the halves of the truth know their errors."""
        return k >= self.least and min(len(half.simulations) for half in self.halves) >= 2

    def _true_halves(self, k: int) -> list[_TrueHalf]:
        """Each half in the metric of the other: the second one first."""
        if not self._metrics:
            self._metrics = tuple(leading(half, self.most) for half in self.halves)
        if k not in self._of_truth:
            pairs = zip(self._metrics, self.halves[::-1])
            self._of_truth[k] = [_TrueHalf(half, metric[:k]) for metric, half in pairs]
        return self._of_truth[k]

    def _worth(self, folds: list[_Fold], k: int) -> Worth:
        """1/N from the losses of both folds."""
        loss = float(np.mean([fold.loss for fold in folds]))
        if np.isnan(loss):
            return Worth(np.nan, np.nan)
        if np.isinf(loss):  # a likelihood would trust some direction without limit
            found = Worth(1 / (k + 2), 0.0, k, loss)
        else:
            if k not in self._calibrations:
                self._calibrations[k] = _Calibration(self.halves, self._metrics, k, self.seed)
            calibration = self._calibrations[k]
            value, error = calibration.inverse_maps(loss, np.sqrt(_variance(folds)))
            found = Worth(value, error, k, loss)
        found.margin = 1 / self.true_maps
        return found


def _independent_maps(ensemble: Ensemble, metric: np.ndarray) -> float:
    """How many independent maps would know the covariance in this metric as well."""
    if len(ensemble.simulations) == len(ensemble):
        return len(ensemble)
    values, axes = np.linalg.eigh(metric @ ensemble.covariance() @ metric.T)
    # A set of copies may have no scatter at all along an axis.
    whiten = (axes / np.sqrt(np.maximum(values, 1e-9 * values[-1]))).T
    alone, clustered = covariance_noise(ensemble, whiten @ metric)
    return len(ensemble) * min(1.0, alone / clustered)


class _Calibration:
    """What the N of a Gaussian field is multiplied by, so that N true maps count as N.

    The loss of N true maps is measured for some N: they are drawn from one half of the truth and
    compared with the other maps of this half. The factor is interpolated between these N. For
    very many maps it is v/(k (k + 1)).
    """

    def __init__(
        self,
        halves: tuple[Ensemble, Ensemble],
        metrics: tuple[np.ndarray, ...],
        k: int,
        seed: int,
    ):
        self.k = k
        rng = np.random.default_rng(seed)
        found: dict[int, list[float]] = {}
        limits = []
        for metric, half in zip(metrics, halves[::-1]):
            z = (half.vectors - half.mean()) @ metric[:k].T
            limit = _spread(z) / (k * (k + 1))
            limits.append(limit)
            effective = half.effective_maps()
            for size in _SIZES:
                maps = size * k
                if maps > len(z) / 2:
                    continue
                others = effective * (1 - maps / len(z))
                bias = limit * k * (k + 1) / (2 * others)  # of the logarithm of their determinant
                losses = _losses_of_draws(z, maps, rng) - bias
                found.setdefault(maps, []).extend(losses)
        # From many maps to few, as np.interp wants it: 1/N rises.
        self._inverse, self._factors = [0.0], [float(np.mean(limits))]
        self._errors = [0.0]  # relative, of the factors
        for maps, losses in sorted(found.items(), reverse=True):
            inverse = _inverse_maps(float(np.mean(losses)), k)
            if not inverse > self._inverse[-1]:  # the bias of the reference is not known here
                continue
            self._inverse.append(inverse)
            self._factors.append(maps * inverse)
            self._errors.append(float(np.std(losses) / np.sqrt(len(losses)) / np.mean(losses)))

    def inverse_maps(self, loss: float, error: float) -> tuple[float, float]:
        """1/N of a covariance with this loss, and its error."""
        gaussian = _inverse_maps(loss, self.k)
        change = _inverse_maps(loss + error, self.k) - gaussian
        factor = np.interp(gaussian, self._inverse, self._factors)
        relative = np.interp(gaussian, self._inverse, self._errors)
        return gaussian / factor, float(np.hypot(change, relative * gaussian)) / factor


def _losses_of_draws(z: np.ndarray, maps: int, rng: np.random.Generator) -> np.ndarray:
    """Stein's loss of some maps beside all others, of many draws, shape ``(draws,)``."""
    total, square = z.sum(0), z.T @ z
    drawn_covariances, covariances = [], []
    for _ in range(_DRAWS):
        drawn = z[rng.permutation(len(z))[:maps]]
        of_drawn, own = drawn.sum(0), drawn.T @ drawn
        drawn_covariances.append(_covariance(of_drawn, own, maps))
        # The sums of the others are those of all less those of the drawn ones.
        covariances.append(_covariance(total - of_drawn, square - own, len(z) - maps))
    return _stein(np.array(drawn_covariances), np.array(covariances))


def _covariance(total: np.ndarray, square: np.ndarray, maps: int) -> np.ndarray:
    """From the sum of vectors and of their outer products; their mean must be nearly zero."""
    return (square - np.outer(total, total) / maps) / (maps - 1)


def _stein(covariances: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Stein's loss of matrices ``(..., k, k)``, shape ``(...)``.

    Infinite if the covariance has no scatter along some axis, NaN if the reference has none.
    """
    values, true_values = np.linalg.eigvalsh(covariances), np.linalg.eigvalsh(references)
    inverted = values[..., 0] > _SINGULAR * values[..., -1]
    known = true_values[..., 0] > _SINGULAR * true_values[..., -1]
    loss = np.where(known, np.inf, np.nan)
    both = known & inverted
    ratio = np.linalg.solve(covariances[both], references[both])
    log_det = (np.log(values[both]) - np.log(true_values[both])).sum(-1)
    loss[both] = np.trace(ratio, axis1=-2, axis2=-1) + log_det - values.shape[-1]
    return loss


def expected_loss(maps: float, k: int) -> float:
    """E L of the covariance of so many independent Gaussian maps, with k numbers each.

    Raises:
        ValueError: there are not more than k + 2 maps, and the loss has no finite expectation.
    """
    n = maps - 1.0
    if n <= k + 1:
        raise ValueError(
            f"the loss of a covariance of {k} numbers needs more than {k + 2} maps, "
            f"found {maps:.4g}"
        )
    i = np.arange(1, k + 1)
    trace = n * k / (n - k - 1)
    log_det = digamma((n + 1 - i) / 2).sum() - k * np.log(n / 2)
    return float(trace + log_det - k)


def _inverse_maps(loss: float, k: int) -> float:
    """1/N for a loss; linear beyond the smallest loss that N can have, so negative for L < 0."""
    if not np.isfinite(loss):
        return np.nan
    slope = k * (k + 1) / 2  # L → k (k + 1)/(2 N) for many maps
    many = 1e5 * k
    if loss <= expected_loss(many, k):
        return loss / slope
    few = k + 2 + 1e-6
    if loss >= expected_loss(few, k):
        return 1 / few

    def difference(log_maps: float) -> float:
        return expected_loss(np.exp(log_maps), k) - loss

    return float(np.exp(-brentq(difference, np.log(few), np.log(many))))


class _TrueHalf:
    """Half of the true maps as a reference, in the metric of the other half.

    Attributes:
        metric: of the other half.
        covariance, inverse: of this half, shape ``(k, k)``.
        deviations: what each simulation adds to the error of the covariance.
        whiten: to coordinates in which the covariance is the unit matrix; None if it has no
            inverse, or does not know its own errors.
        whitened: the deviations in these coordinates.
    """

    def __init__(self, reference: Ensemble, metric: np.ndarray):
        self.metric = metric
        self.covariance, self.deviations = _moments(reference, metric)
        self.whiten = None
        values = np.linalg.eigvalsh(self.covariance)
        if not values[0] > _SINGULAR * values[-1]:
            return
        self.inverse = np.linalg.inv(self.covariance)
        whiten = np.linalg.cholesky(self.inverse).T
        self.whitened = whiten @ self.deviations @ whiten.T
        of_variances = (np.diagonal(self.whitened, axis1=1, axis2=2) ** 2).sum(0)
        if of_variances.max() <= _KNOWN**2:
            self.whiten = whiten


class _Fold:
    """The loss in the metric of one half, with the other half as the reference.

    Args:
        ours, our_deviations: the covariance to judge in this metric, and what each simulation
            adds to its error, as from :func:`_moments`.
        true: the other half.

    Attributes:
        loss: without the bias of ln det Ĉ_T; NaN if a covariance cannot be inverted, or the truth
            does not know its own.
        of_truth, of_sample: to first order, what each simulation (or block of maps) adds to it.
        squares: Σ over pairs of simulations of the squared products of what they add to the
            whitened covariances; half of it is the variance of L where L is quadratic.
    """

    def __init__(
        self,
        ours: np.ndarray,
        our_deviations: np.ndarray,
        true: _TrueHalf,
    ):
        self.loss = np.nan
        if true.whiten is None:
            return
        self.loss = float(_stein(ours, true.covariance))
        if not np.isfinite(self.loss):
            return
        self.loss -= float((true.whitened**2).sum()) / 2
        inverse = np.linalg.inv(ours)
        self.of_truth = np.einsum("ij,sji->s", inverse - true.inverse, true.deviations)
        gradient = inverse - inverse @ true.covariance @ inverse
        self.of_sample = np.einsum("ij,sji->s", gradient, our_deviations)
        ours_whitened = true.whiten @ our_deviations @ true.whiten.T
        both = np.concatenate([ours_whitened, true.whitened]).reshape(-1, ours.size)
        products = both @ both.T
        self.squares = float((products**2).sum() - (np.diag(products) ** 2).sum())


def _moments(ensemble: Ensemble, metric: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The covariance in the metric, and what each simulation adds to its error.

    Returns:
        Shapes ``(k, k)`` and ``(simulations, k, k)``. The sum of the outer products of the second
        is the covariance of the first.
    """
    z = (ensemble.vectors - ensemble.mean()) @ metric.T
    covariance = z.T @ z / (len(z) - 1)
    simulations, index = np.unique(ensemble.simulation, return_inverse=True)
    if len(simulations) > 2 * _BLOCKS:
        index = index * _BLOCKS // len(simulations)
    count = index.max() + 1
    parts = by_group(z, index)
    deviations = np.array([part.T @ part - len(part) * covariance for part in parts])
    return covariance, deviations * np.sqrt(count / (count - 1)) / len(z)


def _spread(z: np.ndarray) -> float:
    """v = E‖z zᵀ − C‖² of one map, in coordinates that whiten its own covariance."""
    covariance = np.atleast_2d(np.cov(z.T))
    squares = (z * np.linalg.solve(covariance, z.T).T).sum(1)
    return float((squares**2).mean() - len(covariance))


def _variance(folds: list[_Fold]) -> float:
    """Variance of the mean of the two losses.

    To first order it is the sum of the squares of what each simulation adds. Near Ĉ_G = C the loss
    is quadratic, and this sum is twice the variance: there half of Σ of squared products, which
    is what the sum then amounts to, is subtracted.
    """
    of_sample = sum(fold.of_sample for fold in folds) / len(folds)
    linear = float((of_sample**2).sum())
    for fold in folds:
        linear += float((fold.of_truth**2).sum()) / len(folds) ** 2
    quadratic = np.mean([fold.squares for fold in folds]) / 2
    return max(linear - quadratic, quadratic / 2)
