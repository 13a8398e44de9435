"""Sets of maps with larger pixels, or of smaller fields."""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from ..store import StoredMaps, pieces
from .mapset import MapSet

# Pixels of the old map along the side of a new pixel. With so many, those that two new pixels
# share hardly matter.
LEAST_PIXELS = 8
_ROWS = 128  # of a map that are averaged at once


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


def can_be_averaged(n: int, pixels: int) -> bool:
    """Whether :func:`average_to` makes maps of ``pixels``² pixels from maps of n²."""
    return n % pixels == 0 or 2 <= pixels <= n // LEAST_PIXELS


def average_to(maps: MapSet, pixels: int) -> MapSet:
    """Coarser maps of the same field with any, much smaller number of pixels.

    If ``pixels`` divides the side n, these are :func:`block_average`. If not, the borders of the
    new pixels cut old ones. An old pixel then counts by the share of its area,

        κ'_ij = Σ_ab w_ia w_jb κ_ab, w_ia = (share of row a in row i) · pixels / n.

    So SLICS maps of 7744² become maps of 512² over the same 10°.

    Args:
        maps: the set, n × n pixels.
        pixels: pixels a side of the result: a divisor of n, or at most n / 8.

    Returns:
        The set with pixels² pixels, float32 or wider, from the same simulations and with the same
        conditions.

    Raises:
        ValueError: another number of pixels.
    """
    n = maps.grid.n
    if not can_be_averaged(n, pixels):
        raise ValueError(
            f"maps of {n} × {n} pixels cannot be averaged down to {pixels} × {pixels}; expected a "
            f"divisor of {n}, or at most {n // LEAST_PIXELS}"
        )
    if n % pixels == 0:
        return block_average(maps, n // pixels)
    shares = _shares(n, pixels)
    dtype = np.promote_types(maps.maps.dtype, np.float32)
    mean = np.empty((*maps.maps.shape[:-2], pixels, pixels), dtype)
    for start, part in pieces(maps.maps):
        for at in np.ndindex(part.shape[:-2]):
            number, *channel = at
            mean[(start + number, *channel)] = _averaged(part[at], shares)
    return maps._with(mean, provenance=_after(maps, f"average_to {pixels}"))


def _shares(n: int, pixels: int) -> sparse.csr_array:
    """The share of each of n old pixels in each new one along a side, ``(pixels, n)``."""
    edges = np.linspace(0, n, pixels + 1)
    edges = np.union1d(edges, np.arange(n + 1))  # each part lies in one old and one new pixel
    middle = (edges[1:] + edges[:-1]) / 2
    new = (middle * pixels / n).astype(int)
    share = np.diff(edges) * pixels / n
    return sparse.csr_array((share, (new, middle.astype(int))), shape=(pixels, n))


def _averaged(one: np.ndarray, shares: sparse.csr_array) -> np.ndarray:
    """One map ``(n, n)``, some rows at a time: in float64 a whole one would take much memory."""
    pixels, n = shares.shape
    rows = np.empty((pixels, n))
    step = max(1, _ROWS * pixels // n)
    for first in range(0, pixels, step):
        new = slice(first, first + step)
        old = slice(first * n // pixels, -(-min(first + step, pixels) * n // pixels))
        rows[new] = shares[new, old] @ one[old].astype(np.float64)
    return (shares @ rows.T).T


def field_pixels(maps: MapSet, field_deg: float | None) -> int:
    """Pixels a side of a field that is cut out of the maps; None stands for the whole maps.

    Raises:
        ValueError: the field is larger than the maps, or no whole number of their pixels.
    """
    n = maps.grid.n
    if field_deg is None:
        return n
    if not 0 < field_deg <= maps.side_deg * (1 + 1e-6):
        raise ValueError(
            f"a field of {field_deg:g}° cannot be cut out of maps of {maps.side_deg:g}°; expected "
            "a side up to that"
        )
    exact = n * field_deg / maps.side_deg
    found = round(exact)
    if not math.isclose(exact, found, rel_tol=1e-4):
        raise ValueError(
            f"a field of {field_deg:g}° has {exact:.2f} pixels of maps of {n}² pixels over "
            f"{maps.side_deg:g}°; expected a whole number"
        )
    return found


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
