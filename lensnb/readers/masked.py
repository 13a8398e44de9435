"""Maps under a mask, as those of the FAIR Universe challenge: packed values in one ``.npy``.

The mask is another ``.npy``, of booleans. A value belongs to a pixel inside the mask, row by row.
Pixels are 2′ wide.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..store import StoredMaps
from .arrays import read_npy
from .filemaps import FileMaps, check_regular, options_needed
from .formats import Format, Options, ends_in, register

_PIXEL = 2.0  # arcminutes


@register
class Masked(Format):
    """An ``.npy`` that is read with a mask."""

    expected = (".npy",)
    takes = ("mask",)

    def suits(self, path: Path, asked: Options) -> bool:
        return ends_in(path, ".npy") and asked.mask is not None

    def read(self, path: Path, asked: Options) -> FileMaps:
        options_needed(path, "to be cut into tiles inside a mask", pixels=asked.pixels)
        return read_masked(path, Path(asked.mask).expanduser(), asked.pixels)


def unmask(path: str | Path, mask: str | Path, outside: float = math.nan) -> np.ndarray:
    """The whole maps of a masked file, as they lie on the sky.

    Args:
        path: ``.npy`` of κ under the mask, shape ``(..., pixels inside)``, float16 in the
            challenge.
        mask: ``.npy`` of booleans, shape ``(rows, columns)``, (1424, 176) in the challenge.
        outside: value of the pixels outside the mask.

    Returns:
        Shape ``(..., rows, columns)``, dtype of the file.

    Raises:
        ValueError: mask and values do not fit.
    """
    packed, inside = _packed(Path(path), Path(mask))
    whole = np.full((*packed.shape[:-1], *inside.shape), outside, packed.dtype)
    whole[..., inside] = packed
    return whole


def read_masked(path: Path, mask: Path, pixels: int) -> FileMaps:
    """Read square tiles of masked maps that lie wholly inside the mask and do not overlap.

    Args:
        path, mask: as for :func:`unmask`.
        pixels: side of a tile.

    Returns:
        Tiles, map by map; they stay on disk (:class:`~lensnb.store.StoredMaps`) and are cut out
        when they are needed. With the axes (cosmologies, realisations, values) of the challenge,
        the simulation is the number of the *cosmology*, whose maps come from the same N-body runs;
        otherwise it is the number of the map.

    Raises:
        ValueError: mask and values do not fit, or no tile lies inside.
    """
    packed, inside = _packed(Path(path), Path(mask))
    corners = _tile_corners(inside, pixels)
    if not corners:
        raise ValueError(
            f"{mask} has no square of {pixels} × {pixels} pixels inside; "
            f"expected pixels to be at most {_largest_square(inside)}, and less for many tiles"
        )
    # Where each pixel is in the packed values of a map, and from it the same for each tile.
    position = inside.cumsum().reshape(inside.shape) - 1
    index = np.stack(
        [position[row : row + pixels, column : column + pixels] for row, column in corners]
    )
    simulations = 1
    if packed.ndim > 1:
        simulations = packed.shape[0]
    tiles = _Tiled(packed.reshape(-1, packed.shape[-1]), index)
    maps = StoredMaps(tiles, path, kind="a whole .npy file")
    return FileMaps(
        maps,
        pixels * _PIXEL / 60,
        simulation=np.repeat(np.arange(simulations), len(maps) // simulations),
        provenance={"tiles": corners},
    )


def _packed(path: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """Packed values ``(..., inside)``, a memory map, and the boolean mask ``(rows, columns)``."""
    check_regular(mask)
    packed, inside = read_npy(path).maps, read_npy(mask).maps
    if inside.dtype != bool or inside.ndim != 2 or not inside.any():
        raise ValueError(
            f"{mask} holds {inside.dtype} of shape {inside.shape}; "
            "expected a boolean mask (rows, columns)"
        )
    values = inside.sum()
    fits = packed.ndim >= 1 and packed.size and packed.shape[-1] == values
    if packed.dtype.kind != "f" or not fits:
        raise ValueError(
            f"{path} holds {packed.dtype} of shape {packed.shape}; expected floating-point κ, "
            f"{values} values a map, as many as {Path(mask).name} has pixels inside"
        )
    return packed, np.asarray(inside)


class _Tiled:
    """The tiles of packed maps, as an array ``(tiles of all maps, n, n)`` that can be sliced.

    Args:
        packed: values of each map, shape ``(maps, inside)``.
        index: where in the values of a map the pixels of its tiles are, shape ``(tiles, n, n)``.
    """

    def __init__(self, packed: np.ndarray, index: np.ndarray):
        self._packed = packed
        self._index = index
        self.shape = (len(packed) * len(index), *index.shape[1:])
        self.dtype = packed.dtype
        self.chunks = index.shape

    def __getitem__(self, some: slice) -> np.ndarray:
        each = len(self._index)
        first, last = some.start // each, math.ceil(some.stop / each)
        tiles = self._packed[first:last][:, self._index].reshape(-1, *self.shape[1:])
        return tiles[some.start - first * each : some.stop - first * each]


def _tile_corners(inside: np.ndarray, n: int) -> list[tuple[int, int]]:
    """First corners of squares of n × n pixels that lie inside and do not overlap.

    They are taken row by row, each as early as possible.
    """
    if not 2 <= n <= min(inside.shape):
        return []
    whole = _whole_squares(inside, n)
    free = np.ones_like(inside)
    corners = []
    for row, column in np.argwhere(whole).tolist():
        tile = free[row : row + n, column : column + n]
        if tile[0].all() and tile.all():
            tile[:] = False
            corners.append((row, column))
    return corners


def _whole_squares(inside: np.ndarray, n: int) -> np.ndarray:
    """Where squares of n × n pixels begin that lie wholly inside, bool."""
    # Sums over all squares from cumulative sums: a square lies inside where the sum is n².
    sums = np.pad(inside.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n] == n * n


def _largest_square(inside: np.ndarray) -> int:
    """The side of the largest square that lies wholly inside, in pixels."""
    side = 1  # a mask has at least one pixel inside
    while side < min(inside.shape) and _whole_squares(inside, side + 1).any():
        side += 1
    return side
