"""The sets of a comparison: checked, named, and without the maps that cannot be compared.

Three kinds of maps are counted and left out, of every set:

* maps that are *not finite* (NaN or infinity in a pixel);
* *constant* maps, whose scatter is below the rounding of the true pixels in float32: they have no
  skewness, and no direction in which they differ;
* *exploded* maps. Statistics go up to the fourth power of κ, and a covariance squares them. With
  the mean m of the true pixels and the typical fourth moment of a true map, a map is exploded if

      ⟨(κ − m)⁴⟩ > ⟨(κ_true − m)⁴⟩ / √ε,   ε = 2.2e-16.

  The square of its fourth moment is then more than 1/ε times that of another map. In a sum in
  float64, the other map is lost. A map of 90 times the true contrast is such a map.

A map whose statistics are not finite all the same is left out after they were measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data import MapSet, check_statements
from ..ensemble import Ensemble
from ..maps.arrays import plain_tensor
from ..maps.grid import check_shape
from ..store.pixels import check_marks

TRUTH = "truth"
NULL = "null (true maps)"
TRAIN = "train"
BOTH = "truth and null"

NOT_FINITE = "not finite"
CONSTANT = "constant"
EXPLODED = "exploded"
UNDEFINED = "without finite statistics"
LEFT_OUT = {  # in words, after "3 maps were"
    NOT_FINITE: NOT_FINITE,
    CONSTANT: CONSTANT,
    EXPLODED: "exploded (so large that float64 loses the others beside them)",
    UNDEFINED: UNDEFINED,
}

_LOST = np.finfo(np.float64).eps ** -0.5  # of fourth moments: a square beside which 1 is lost
_ROUNDING = float(np.finfo(np.float32).eps)
_BATCH = 256  # maps in float64 at a time


@dataclass
class FiniteMaps:
    """The maps of a set that can be compared.

    Attributes:
        maps: κ, float32, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        simulation: simulation of each map, shape ``(maps,)``.
        dropped: how many maps were left out.
        reasons: how many for which reason, such as ``{"not finite": 3}``.
        positions: where each map is in the set that was given, shape ``(maps,)``.
        before_survey: the same maps without noise, mask and smoothing; None if no survey has
            changed them.
    """

    maps: Tensor
    simulation: np.ndarray
    dropped: int
    reasons: dict[str, int] = field(default_factory=dict)
    positions: np.ndarray | None = None
    before_survey: Tensor | None = None

    def __post_init__(self):
        if self.positions is None:
            self.positions = np.arange(len(self.maps))

    @property
    def clean(self) -> Tensor:
        """The maps without the noise, the mask and the smoothing of a survey."""
        if self.before_survey is None:
            return self.maps
        return self.before_survey

    @property
    def channels(self) -> list[Tensor]:
        """The maps of each channel, ``(maps, n, n)``."""
        return channels_of(self.maps)

    def counts(self) -> dict[str, int]:
        """How many maps and simulations there are, and how many maps were left out and why."""
        found = {
            "maps": len(self.maps),
            "simulations": len(np.unique(self.simulation)),
            "dropped": self.dropped,
        }
        return found | self.reasons

    def without(self, bad: Tensor | np.ndarray, reason: str) -> FiniteMaps:
        """The set without some of its maps.

        Args:
            bad: which maps, bool, shape ``(maps,)``.
            reason: what they are.
        """
        bad = np.asarray(bad)
        number = int(bad.sum())
        if not number:
            return self
        kept = torch.from_numpy(~bad)
        clean = self.before_survey
        if clean is not None:
            clean = clean[kept]
        return FiniteMaps(
            self.maps[kept],
            self.simulation[~bad],
            self.dropped + number,
            self.reasons | {reason: self.reasons.get(reason, 0) + number},
            self.positions[~bad],
            clean,
        )

    def too_few(self) -> str:
        """A few words if fewer than two maps are left; empty otherwise."""
        if len(self.maps) >= 2:
            return ""
        whole = len(self.maps) + self.dropped
        words = f"{len(self.maps)} of {whole} maps that can be compared"
        if self.reasons:
            words += f" ({', '.join(f'{k} {reason}' for reason, k in self.reasons.items())})"
        return words


def channels_of(maps: Tensor) -> list[Tensor]:
    """The maps of each channel, ``(maps, n, n)``."""
    if maps.ndim == 3:
        return [maps]
    return list(maps.unbind(1))


def pooled(truth: Mapping[str, Ensemble], null: Mapping[str, Ensemble]) -> dict[str, Ensemble]:
    """The vectors of truth and null together, by statistic."""
    found = {}
    for name, one in truth.items():
        other = null[name]
        vectors = np.concatenate([one.vectors, other.vectors])
        simulation = np.concatenate([one.simulation, other.simulation])
        found[name] = Ensemble(vectors, simulation)
    return found


def gather_sets(
    truth: MapSet,
    null: MapSet,
    generated: Mapping[str, Tensor | MapSet],
    train: MapSet | None = None,
    mask: Tensor | None = None,
) -> dict[str, FiniteMaps]:
    """All sets of a comparison by name: truth, null, the training set if given, the generators.

    Of each set, maps that cannot be compared are left out. Pixels that the mask hides may be NaN,
    and are then zero.

    Raises:
        ValueError: as for :func:`lensnb.compare.compare`.
    """
    true_sets = {"truth": truth, "null": null}
    if train is not None:
        true_sets["training set"] = train
    _check_true_sets(true_sets)
    for name in generated:
        if name in (TRUTH, NULL, TRAIN, BOTH):
            raise ValueError(
                f"a generator cannot be called {name!r}: that is the name of a set of true maps"
            )
    _check_like_truth(generated, truth)
    stating = {name: maps for name, maps in generated.items() if isinstance(maps, MapSet)}
    for name, maps in stating.items():
        check_statements({"truth": truth, name: maps})
    sets: dict[str, Tensor | MapSet] = {TRUTH: truth, NULL: null}
    if train is not None:
        sets[TRAIN] = train
    sets |= generated
    whole = {name: _whole(name, maps, mask) for name, maps in sets.items()}
    of_truth = _Scale.of(whole[TRUTH].maps)
    return {name: _comparable(one, of_truth) for name, one in whole.items()}


def refuse_few(sets: Mapping[str, FiniteMaps]) -> dict[str, FiniteMaps]:
    """The sets of which at least two maps are left.

    A generator without them is left out, so that the others are judged.

    Raises:
        ValueError: a true set has too few maps, or every generator.
    """
    kept = {name: one for name, one in sets.items() if not one.too_few()}
    true_sets = [name for name in sets if name in (TRUTH, NULL, TRAIN)]
    alive = len(kept) > len(true_sets) or len(sets) == len(true_sets)
    for name, one in sets.items():
        if one.too_few() and (name in true_sets or not alive):
            raise ValueError(f"{name} has {one.too_few()}; a comparison needs at least two")
    return kept


def _check_true_sets(sets: Mapping[str, MapSet]) -> None:
    """Refuse sets of one simulation, sets that share simulations, and skies that differ."""
    check_shape("truth", sets["truth"].maps.shape)
    for name, other in sets.items():
        if len(np.unique(other.simulation)) < 2:
            raise ValueError(
                f"the {name} comes from one simulation only; errors need at least two"
            )
    _check_like_truth({f"the {name}": maps for name, maps in sets.items()}, sets["truth"])
    check_statements(sets)
    names = list(sets)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            shared = np.intersect1d(sets[one].simulation, sets[other].simulation)
            if len(shared):
                raise ValueError(
                    f"{one} and {other} share {len(shared)} simulations (number {shared[0]}, …); "
                    "they must be disjoint"
                )


def _check_like_truth(sets: Mapping[str, Tensor | MapSet], truth: MapSet) -> None:
    """Refuse maps of another shape than the truth's."""
    expected = truth.maps.shape
    channels = expected[1] if len(expected) == 4 else 1
    for name, one in sets.items():
        maps = one.maps if isinstance(one, MapSet) else one
        check_shape(name, np.shape(maps), expected[-1], channels)


# ---------------------------------------------------------------- maps that are left out


def _whole(name: str, maps: Tensor | MapSet, mask: Tensor | None) -> FiniteMaps:
    """All maps of a set; one with marks for missing values was read wrongly, and is refused."""
    if isinstance(maps, MapSet):
        simulation, maps = maps.simulation, maps.tensor()
    else:
        maps = plain_tensor(name, maps).detach().cpu().float()
        simulation = np.arange(len(maps))  # every map is independent
    check_marks(name, maps.numpy())
    if mask is not None:
        maps = torch.where(mask | maps.isfinite(), maps, 0)
    return FiniteMaps(maps, simulation, 0)


@dataclass
class _Scale:
    """What κ of the truth is like, of each channel.

    Attributes:
        mean: of the pixels, shape ``(channels,)``.
        fourth: median over the maps of ⟨(κ − m)⁴⟩, shape ``(channels,)``.
    """

    mean: Tensor
    fourth: Tensor

    @classmethod
    def of(cls, maps: Tensor) -> _Scale:
        """Of true maps, of which some may be wrong: medians do not follow a few of them."""
        finite = _with_channels(maps[torch.isfinite(maps).flatten(1).all(1)])
        if not len(finite):
            nothing = torch.zeros(finite.shape[1], dtype=torch.float64)
            return cls(nothing, nothing)
        mean = finite.mean((-2, -1), dtype=torch.float64).median(0).values
        return cls(mean, _fourth_moments(finite, mean).median(0).values)


def _comparable(one: FiniteMaps, truth: _Scale) -> FiniteMaps:
    """A set without the maps that are not finite, constant or exploded."""
    one = one.without(~torch.isfinite(one.maps).flatten(1).all(1), NOT_FINITE)
    maps = _with_channels(one.maps)
    wide = maps.amax((-2, -1)).double() - maps.amin((-2, -1)).double()
    rounding = _ROUNDING * truth.fourth**0.25
    constant = (wide <= rounding).any(1)
    exploded = (_fourth_moments(maps, truth.mean) > _LOST * truth.fourth).any(1)
    one, exploded = one.without(constant, CONSTANT), exploded[~constant]
    return one.without(exploded, EXPLODED)


def _fourth_moments(maps: Tensor, mean: Tensor) -> Tensor:
    """⟨(κ − mean)⁴⟩ of each map and channel, float64, shape ``(maps, channels)``."""
    found = [
        (some.double() - mean[:, None, None]).pow(4).mean((-2, -1)) for some in maps.split(_BATCH)
    ]
    return torch.cat(found)


def _with_channels(maps: Tensor) -> Tensor:
    """Maps with an axis of channels, ``(maps, channels, n, n)``."""
    if maps.ndim == 3:
        return maps[:, None]
    return maps
