"""A local function of a large map, computed tile by tile, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

TILE = 256  # pixels a side of a tile; those of a map may be blocks of pixels


def by_tiles(function: Callable[..., Tensor], radius: int, *maps: Tensor) -> Tensor:
    """``function(*maps)``; of large maps one tile after the other, with the pixels around it.

    A tile gets all pixels that its result depends on. So the result is that of the whole map up to
    rounding, and has no seams. At the edges of the map a tile has the same edges.

    Args:
        function: maps ``(batch, channels, r, s)`` to one map of the same rows and columns.
        radius: how many pixels away the farthest one is that a result depends on.
        maps: its arguments.
    """
    rows, columns = maps[0].shape[-2:]
    if max(rows, columns) <= TILE:
        return function(*maps)
    result = None
    for outer_rows, inner_rows in _spans(rows, radius):
        for outer_columns, inner_columns in _spans(columns, radius):
            found = function(*(one[..., outer_rows, outer_columns] for one in maps))
            if result is None:
                result = found.new_empty(*found.shape[:-2], rows, columns)
            kept = found[
                ..., _within(inner_rows, outer_rows), _within(inner_columns, outer_columns)
            ]
            result[..., inner_rows, inner_columns] = kept
    return result


def _spans(length: int, radius: int) -> Iterator[tuple[slice, slice]]:
    """What a tile gets and what it makes, along one axis."""
    for start in range(0, length, TILE):
        stop = min(start + TILE, length)
        yield slice(max(start - radius, 0), min(stop + radius, length)), slice(start, stop)


def _within(inner: slice, outer: slice) -> slice:
    """``inner`` counted from the beginning of ``outer``."""
    return slice(inner.start - outer.start, inner.stop - outer.start)
