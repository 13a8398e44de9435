"""What the explorer shows: maps after noise and smoothing, and one statistic of every map.

Nothing here knows of a browser. κ is dimensionless, angles are in arcminutes, the field is in
degrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .. import stats
from ..compare.faults import models_first
from ..maps import smooth
from ..shear import add_shape_noise
from .pictures import Chosen, colour_limits

# What can be chosen: title, name in stats.suite, and the third of the vector of the Minkowski
# functionals.
STATISTICS = {
    "power": ("Power spectrum", "power", None),
    "bispectrum": ("Bispectrum", "bispectrum", None),
    "pdf": ("PDF of κ", "pdf", None),
    "moments": ("Moments", "moments", None),
    "peaks": ("Peak counts", "peaks", None),
    "minima": ("Minima counts", "minima", None),
    "V0": ("Minkowski V₀", "minkowski", 0),
    "V1": ("Minkowski V₁", "minkowski", 1),
    "V2": ("Minkowski V₂", "minkowski", 2),
    "starlet peaks": ("Starlet peaks", "starlet peaks", None),
    "starlet l1": ("Starlet ℓ1-norms", "starlet l1", None),
    "scattering": ("Scattering", "scattering", None),
}
_MINKOWSKI_LABELS = ("V₀  [area fraction]", "V₁  [1/arcmin]", "V₂  [1/arcmin²]")

# The statistics that show most at first sight, one of which an explorer opens on.
_FIRST = ("pdf", "peaks")

# Two sets belong together, map by map, where the correlation of map k with map k is higher than
# that with map k + 1, by so much and by so many standard errors.
_CLOSER = 0.3
_SIGMAS = 5


def trained_first(names: Sequence[str]) -> str:
    """The first name that is not that of a baseline or the null, or else the first of all."""
    generated = [name for name in names if "null" not in name.lower()]
    return models_first(generated or names)[0]


# ---------------------------------------------------------------- relative to the truth


def is_ratio(truth: np.ndarray) -> bool:
    """Whether a ratio to the mean of the true vectors ``(maps, bins)`` means something.

    It does where this mean is nowhere negative.
    """
    return bool((truth.mean(0) >= 0).all())


def relative(vectors: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter of vectors ``(maps, bins)`` as ratios to the mean of the true ones.

    Where the true mean changes sign, they are shifts from it in units of the true scatter. Bins
    that are always empty have NaN.

    Returns:
        Mean and standard deviation of one map, each of shape ``(bins,)``.
    """
    mean, std = truth.mean(0), truth.std(0, ddof=1)
    if is_ratio(truth):
        origin, unit = 0.0, mean
    else:
        origin, unit = mean, std
    unit = np.where(unit > 0, unit, np.nan)
    return (vectors.mean(0) - origin) / unit, vectors.std(0, ddof=1) / unit


def _apart(vectors: np.ndarray, truth: np.ndarray) -> float:
    """How far two sets are apart: |difference of the means| / σ of one map, mean over the bins."""
    std = truth.std(0, ddof=1)
    known = std > 0
    difference = np.abs(vectors.mean(0) - truth.mean(0))
    return float((difference[known] / std[known]).mean()) if known.any() else 0.0


# ---------------------------------------------------------------- maps that belong together


def belong_together(truth: Chosen, other: Chosen) -> bool:
    """Whether map k of one set is about the same sky as map k of the other, for every k.

    So it is for estimates of the true maps, and not for maps that a generator drew by itself. The
    sets must have as many maps. The correlation r of pixels tells: ⟨r(k, k) − r(k, k + 1)⟩ must be
    above 0.3 and above five standard errors.
    """
    if truth.total != other.total or len(truth.kappa) != len(other.kappa):
        return False
    one, two = _standardised(truth.kappa), _standardised(other.kappa)
    closer = (one * two).mean(1) - (one * two.roll(1, 0)).mean(1)
    error = closer.std() / len(closer) ** 0.5
    return bool(closer.mean() > max(_CLOSER, _SIGMAS * float(error)))


def _standardised(kappa: Tensor) -> Tensor:
    """Each map as a vector of mean 0 and variance 1; a constant map is 0."""
    flat = kappa.flatten(1).double()
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.std(1, correction=0, keepdim=True).clamp_min(1e-30)


# ---------------------------------------------------------------- the sets


@dataclass(frozen=True)
class OnView:
    """Bins and labels of the statistic on view, as :class:`lensnb.stats.Statistic` has them."""

    x: np.ndarray
    x_label: str
    y_label: str
    log_x: bool
    log_y: bool
    entries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """What is done to all maps before they are shown and measured.

    Attributes:
        smoothing_arcmin: standard deviation of the smoothing, arcminutes; 0 is none.
        n_gal_arcmin2: source galaxies per square arcminute of the shape noise; 0 is no noise.
    """

    smoothing_arcmin: float
    n_gal_arcmin2: float


@dataclass
class Explored:
    """Sets of maps, the first of them the true ones, with what was computed of them.

    Attributes:
        sets: by name.
        side_deg: side of the field, degrees.
        sigma_e: intrinsic ellipticity dispersion of the shape noise.
        seed: of the shape noise.
        pairs: names of the sets whose map k belongs to the true map k; None: found by
            :func:`belong_together`.
    """

    sets: dict[str, Chosen]
    side_deg: float
    sigma_e: float
    seed: int
    pairs: Sequence[str] | None = None
    _processed: tuple | None = field(default=None, repr=False)  # setting, maps by name
    _suite: dict = field(default_factory=dict, repr=False)  # (name in the suite, setting)
    _vectors: dict = field(default_factory=dict, repr=False)  # the same → vectors by set

    def __post_init__(self):
        self.truth, *others = self.sets
        if self.pairs is None:
            truth = self.sets[self.truth]
            self.pairs = [name for name in others if belong_together(truth, self.sets[name])]
        self.pairs = list(self.pairs)
        for name in self.pairs:
            self._check_pair(name)

    def _check_pair(self, name: str) -> None:
        if name not in self.others:
            known = ", ".join(self.others)
            raise ValueError(f"pairs must name sets among {known or 'none'}; found {name!r}")
        true, other = self.sets[self.truth].total, self.sets[name].total
        if true != other:
            raise ValueError(
                f"a set of pairs must have as many maps as {self.truth!r}, {true}; "
                f"{name!r} has {other}"
            )

    @property
    def others(self) -> list[str]:
        """The names of all sets but the true one."""
        return list(self.sets)[1:]

    def add(self, name: str, chosen: Chosen) -> None:
        """One more set, after the others."""
        self.sets[name] = chosen
        if belong_together(self.sets[self.truth], chosen):
            self.pairs.append(name)
        self._processed = None
        self._vectors.clear()

    # ------------------------------------------------------------ compute

    def maps(self, setting: Setting) -> dict[str, Tensor]:
        """The maps of every set with shape noise, and then smoothed."""
        if self._processed is None or self._processed[0] != setting:
            draw = torch.Generator().manual_seed(self.seed)
            noise = self.side_deg, setting.n_gal_arcmin2, self.sigma_e, draw
            maps = {}
            for name, one in self.sets.items():
                kappa = one.kappa
                if setting.n_gal_arcmin2:
                    kappa = add_shape_noise(kappa, *noise)
                maps[name] = smooth(kappa, setting.smoothing_arcmin, self.side_deg)
            self._processed = setting, maps
        return self._processed[1]

    def measure(self, key: str, setting: Setting) -> tuple[OnView, dict[str, np.ndarray]]:
        """A statistic and its vectors by set, each ``(maps, bins)``; the bins suit the true maps.

        Args:
            key: a key of :data:`STATISTICS`.
            setting: what is done to the maps before.
        """
        _, name, third = STATISTICS[key]
        maps = self.maps(setting)
        if (name, setting) not in self._suite:
            made = stats.suite(maps[self.truth], self.side_deg, [name])
            self._suite[name, setting] = made[name]
        statistic = self._suite[name, setting]
        if (name, setting) not in self._vectors:
            self._vectors[name, setting] = {of: statistic(kappa) for of, kappa in maps.items()}
        vectors = self._vectors[name, setting]
        if third is None:
            return _on_view(statistic), vectors
        bins = len(statistic.x) // len(_MINKOWSKI_LABELS)
        part = slice(third * bins, (third + 1) * bins)
        label = _MINKOWSKI_LABELS[third]
        view = OnView(statistic.x[part], "threshold κ", label, statistic.log_x, statistic.log_y)
        return view, {of: v[:, part] for of, v in vectors.items()}

    def limits(self, setting: Setting) -> list[float]:
        """κ at the ends of the colour scale, from the true maps."""
        return colour_limits(self.maps(setting)[self.truth])

    def difference_limits(self, setting: Setting) -> dict[str, float]:
        """|Δκ| at the ends of the scale of the difference, for each set of pairs.

        It is the 99.5th percentile of |Δκ|, so that few pixels lie beyond.
        """
        maps = self.maps(setting)
        found = {}
        for name in self.pairs:
            apart = (maps[name] - maps[self.truth]).abs().flatten()
            some = apart[:: max(1, len(apart) // 10**6)]
            found[name] = float(some.quantile(0.995)) or 1.0
        return found

    def most_different(self, keys: Sequence[str], name: str, setting: Setting) -> str:
        """Of PDF and peak counts, the one in which a set is further from the truth.

        Args:
            keys: the statistics to choose from; the first, where neither is among them.
            name: of the set.
            setting: what is done to the maps before.
        """
        apart = {}
        for key in _FIRST:
            if key not in keys:
                continue
            try:
                vectors = self.measure(key, setting)[1]
            except ValueError:  # for example too few peaks to make bins from
                continue
            apart[key] = _apart(vectors[name], vectors[self.truth])
        return max(apart, key=apart.get) if apart else keys[0]


def _on_view(statistic: stats.Statistic) -> OnView:
    s = statistic
    return OnView(s.x, s.x_label, s.y_label, s.log_x, s.log_y, tuple(s.entries))


def counts(sets: Mapping[str, Chosen]) -> dict[str, int]:
    """How many maps of each set are shown."""
    return {name: len(one.kappa) for name, one in sets.items()}
