"""Sets of maps with larger pixels, or of smaller fields."""

from __future__ import annotations

import numpy as np

from ..store import StoredMaps, pieces
from .mapset import MapSet


def block_average(maps: MapSet, factor: int) -> MapSet:
    """Coarser maps of the same field: the mean of each ``factor`` × ``factor`` block of pixels.

    Args:
        maps: the set, n × n pixels.
        factor: side of a block in pixels; it divides n.

    Returns:
        The set with (n / factor)² pixels, float32 or wider, from the same simulations and with the
        same conditions.

    Raises:
        ValueError: ``factor`` does not divide n.
    """
    n = maps.grid.n
    dtype = np.promote_types(maps.maps.dtype, np.float32)
    if factor < 1 or n % factor:
        advice = ""
        if 1 < factor < n:
            advice = f"; cut them to {n - n % factor} pixels first, with tiles"
        raise ValueError(
            f"maps of {n} × {n} pixels have no whole blocks of {factor} × {factor}{advice}"
        )
    k = n // factor
    before = maps.maps.shape[:-2]
    mean = np.empty((*before, k, k), dtype)
    parts = [(0, maps.maps)]
    if isinstance(maps.maps, StoredMaps):
        parts = pieces(maps.maps)
    for start, part in parts:
        blocks = part.reshape(*part.shape[:-2], k, factor, k, factor)
        mean[start : start + len(part)] = blocks.mean((-3, -1), dtype=np.float64)
    return maps._with(mean, provenance=_after(maps, f"block_average {factor}"))


def tiles(maps: MapSet, n: int) -> MapSet:
    """Cut every map into tiles of ``n`` × ``n`` pixels without overlap, row by row.

    Rows and columns after the last whole tile are dropped. So if n is more than half of a map's
    side, each map gives one tile, its first corner.

    Args:
        maps: the set, m × m pixels.
        n: pixels a side of a tile, at most m.

    Returns:
        The set of ⌊m / n⌋² tiles for each map, with the field size of a tile. Each tile has the
        simulation and the conditions of its map. Conditions that are maps are cut in the same way.

    Raises:
        ValueError: n is larger than the maps or less than 2, or a condition is a map of another
            size.
    """
    m = maps.grid.n
    if not 2 <= n <= m:
        raise ValueError(f"cannot cut tiles of {n} × {n} pixels out of {m} × {m} maps")
    copies = (m // n) ** 2
    given = {}
    for name, values in maps.given.items():
        if values.ndim < 3:
            given[name] = np.repeat(values, copies, axis=0)
        elif values.shape[-1] == m:
            given[name] = _cut(values, n)
        else:
            raise ValueError(
                f"the condition {name} has {values.shape[-1]} pixels a side; "
                f"expected those of the maps, {m}, to cut the same tiles"
            )
    return maps._with(
        _cut(maps.maps, n),
        side_deg=maps.side_deg * n / m,
        simulation=np.repeat(maps.simulation, copies),
        provenance=_after(maps, f"tiles {n}"),
        given=given,
    )


def _cut(maps, n: int) -> np.ndarray:
    """All tiles of maps ``(maps, ..., m, m)``, map by map."""
    k = maps.shape[-1] // n
    whole = np.asarray(maps[..., : k * n, : k * n])
    between = whole.shape[1:-2]
    parts = whole.reshape(len(whole), *between, k, n, k, n)
    parts = np.moveaxis(parts, (-4, -2), (1, 2))  # (maps, k, k, ..., n, n)
    return parts.reshape(-1, *between, n, n)


def _after(maps: MapSet, step: str) -> dict:
    """The provenance of a set with one more step."""
    return {**maps.provenance, "steps": [*maps.provenance.get("steps", []), step]}
