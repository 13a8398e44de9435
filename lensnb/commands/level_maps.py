"""The maps that a level of a cascade is trained on: averaged, and cut out of wider fields.

A light cone of 10° holds more fields of 5° than the four tiles that do not overlap. So a training
cuts each field at a random place, turns and mirrors it, whenever it uses a map. What is judged,
held-out maps and truth, is cut into fixed tiles.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..data import MapSet, tiles
from ..models.averages import averaged
from ..store import StoredMaps, pieces

_MEASURED = 2**24  # pixels of the maps from which a level is measured
_HELD = 2**26  # pixels of averaged maps that are kept in memory
_PLACES = 4  # places of a field along a pixel of a level


def reduced_side(maps: MapSet, field: int, side: int) -> int:
    """Pixels a side to which whole maps are averaged before a level reads them.

    Fields that are cut out of them have four places along a pixel of the level. Maps that would
    not fit into memory stay as they are, and are averaged batch by batch.

    Args:
        maps: the set.
        field: pixels a side of a field of these maps.
        side: pixels a side of the level.
    """
    n = maps.grid.n
    factor = field // side
    if field < n:
        factor = max(1, factor // _PLACES)
    while n % factor:
        factor //= 2
    reduced = n // factor
    if len(maps) * maps.channels * reduced**2 > _HELD:
        return n
    return reduced


def averaged_set(maps: MapSet, side: int) -> MapSet | Tensor:
    """The maps averaged to ``side``² pixels; those of this side as they are, perhaps on disk."""
    n = maps.grid.n
    if side == n:
        return maps
    parts = []
    for _, part in pieces(maps.maps):
        parts.append(averaged(torch.from_numpy(np.array(part, np.float32)), n // side))
    return torch.cat(parts)


def fixed_tiles(maps: MapSet, field: int, side: int) -> Tensor:
    """Fields in fixed places, averaged to ``side``² pixels, together at most 67 million pixels."""
    a_map = (maps.grid.n // field) ** 2 * maps.channels * side**2
    parts = []
    for _, part in pieces(_spread(maps, max(1, _HELD // a_map)).maps):
        cut = tiles(MapSet(part, maps.side_deg, maps.z_source), field).maps
        parts.append(averaged(torch.from_numpy(np.array(cut, np.float32)), field // side))
    return torch.cat(parts)


def some_fields(maps: MapSet, field: int) -> Tensor:
    """Fields from all parts of a set, together about 16 million pixels, to measure a level."""
    most = max(1, _MEASURED // (maps.channels * maps.grid.n**2))
    return fixed_tiles(_spread(maps, most), field, field)


def plain(maps: MapSet) -> Tensor | StoredMaps:
    """What the fingerprint of a set is made of: the set on disk, or sixteen of its maps."""
    if isinstance(maps.maps, StoredMaps):
        return maps.maps
    sixteen = np.linspace(0, len(maps) - 1, 16).round().astype(int)
    return torch.from_numpy(np.array(maps.maps[sixteen], np.float32))


def _spread(maps: MapSet, most: int) -> MapSet:
    """At most so many maps, from all parts of the set."""
    if len(maps) <= most:
        return maps
    return maps[np.linspace(0, len(maps) - 1, most).round().astype(int)]
