"""The sets of a comparison: checked, named, and without the maps that are not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data import MapSet
from ..maps.arrays import plain_tensor
from ..maps.grid import check_shape
from ..store.pixels import check_marks

TRUTH = "truth"
NULL = "null (true maps)"
TRAIN = "train"
BOTH = "truth and null"


@dataclass
class FiniteMaps:
    """The maps of a set that are finite.

    Attributes:
        maps: κ, float32, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        simulation: simulation of each map, shape ``(maps,)``.
        dropped: how many maps had NaN or infinity and were left out.
    """

    maps: Tensor
    simulation: np.ndarray
    dropped: int

    @property
    def channels(self) -> list[Tensor]:
        """The maps of each channel, ``(maps, n, n)``."""
        return channels_of(self.maps)

    def counts(self) -> dict[str, int]:
        """How many maps and simulations there are, and how many maps were left out."""
        return {
            "maps": len(self.maps),
            "simulations": len(np.unique(self.simulation)),
            "dropped": self.dropped,
        }


def channels_of(maps: Tensor) -> list[Tensor]:
    """The maps of each channel, ``(maps, n, n)``."""
    if maps.ndim == 3:
        return [maps]
    return list(maps.unbind(1))


def gather_sets(
    truth: MapSet,
    null: MapSet,
    generated: Mapping[str, Tensor | MapSet],
    train: MapSet | None = None,
) -> dict[str, FiniteMaps]:
    """All sets of a comparison by name: truth, null, the training set if given, the generators.

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
    sets: dict[str, Tensor | MapSet] = {TRUTH: truth, NULL: null}
    if train is not None:
        sets[TRAIN] = train
    sets |= generated
    return {name: _finite(name, maps, truth) for name, maps in sets.items()}


def _check_true_sets(sets: Mapping[str, MapSet]) -> None:
    """Refuse sets of one simulation, sets that share simulations, and fields that differ."""
    truth = sets["truth"]
    check_shape("truth", truth.maps.shape)
    for name, other in sets.items():
        if len(np.unique(other.simulation)) < 2:
            raise ValueError(
                f"the {name} comes from one simulation only; errors need at least two"
            )
        _check_like_truth(f"the {name}", other.maps.shape, truth)
        if not math.isclose(other.side_deg, truth.side_deg):
            raise ValueError(
                f"the truth has a side of {truth.side_deg:g}°, the {name} of {other.side_deg:g}°; "
                "they must be the same field"
            )
    names = list(sets)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            shared = np.intersect1d(sets[one].simulation, sets[other].simulation)
            if len(shared):
                raise ValueError(
                    f"{one} and {other} share {len(shared)} simulations (number {shared[0]}, …); "
                    "they must be disjoint"
                )


def _check_like_truth(name: str, shape: tuple, truth: MapSet) -> None:
    expected = truth.maps.shape
    channels = expected[1] if len(expected) == 4 else 1
    check_shape(name, shape, expected[-1], channels)


def _finite(name: str, maps: Tensor | MapSet, truth: MapSet) -> FiniteMaps:
    """The maps of a set without those that have NaN or infinity."""
    if isinstance(maps, MapSet):
        simulation, maps = maps.simulation, maps.tensor()
    else:
        maps = plain_tensor(name, maps).detach().cpu().float()
        simulation = np.arange(len(maps))  # every map is independent
    _check_like_truth(name, maps.shape, truth)
    check_marks(name, maps.numpy())
    finite = torch.isfinite(maps).flatten(1).all(1)
    dropped = int((~finite).sum())
    if dropped:
        maps, simulation = maps[finite], simulation[finite.numpy()]
    if len(maps) < 2:
        raise ValueError(
            f"{name} has {len(maps)} maps without NaN or infinity; a comparison needs at least two"
        )
    return FiniteMaps(maps, simulation, dropped)
