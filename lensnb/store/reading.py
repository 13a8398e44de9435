"""Maps that stay on disk: read a piece or a chunk at a time, and checked."""

from __future__ import annotations

import math
import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

PIECE = (
    2**22
)  # pixels of a chunk, and of what is read, checked and measured at a time: 16 MB of float32


def maps_a_piece(n: int, channels: int = 1) -> int:
    """How many maps of ``n`` × ``n`` pixels are held at a time."""
    return max(1, PIECE // (n**2 * channels))


def _maps_a_piece_of(array) -> int:
    """The same for an array of maps, with or without channels."""
    return max(1, PIECE // math.prod(array.shape[1:]))


def pieces(maps) -> Iterator[tuple[int, np.ndarray]]:
    """Maps ``(maps, n, n)`` some at a time, each with the number of its first map; what stays on disk is read one piece ahead."""
    step = _maps_a_piece_of(maps)
    starts = range(0, len(maps), step)
    mapped = isinstance(maps, np.memmap)
    if not mapped and not isinstance(maps, StoredMaps):
        yield from ((i, np.asarray(maps[i : i + step])) for i in starts)
        return

    def read(start: int) -> np.ndarray:
        part = np.array(maps[start : start + step])
        if mapped and maps.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
            maps._mmap.madvise(
                mmap.MADV_DONTNEED
            )  # what was read of a mapped file counts as this process's memory
        return part

    with ThreadPoolExecutor(1) as reader:
        yield from zip(starts, ahead(reader, read, starts, 1), strict=True)


def ahead(executor: Executor, function: Callable, items: Iterable, most: int) -> Iterator:
    """``map(function, items)`` by an executor, at most so many ahead of the one that is at work."""
    waiting: deque[Future] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def check_pixels(where: str | Path, maps, first: int = 0, total: int | None = None) -> None:
    """Every pixel is finite, and the bulk of no map is beyond what κ can be.

    Args:
        where: what the sentence begins with, a file.
        maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``; read piece by piece.
        first: number of the first of them in the file.
        total: maps of the file; by default these are all.

    Raises:
        ValueError: a pixel is NaN or infinite, or half of a map has \\|κ\\| > 10.
    """
    total = len(maps) if total is None else total
    bad, first_bad = 0, None
    worst, worst_at = 0.0, 0
    for start, part in pieces(maps):
        # float16 takes six times as long
        wide = part.astype(np.promote_types(part.dtype, np.float32), copy=False)
        if wide.min(initial=0) >= -10 and wide.max(initial=0) <= 10:  # which NaN is not
            continue
        for i, one in enumerate(wide, first + start):
            count = one.size - np.count_nonzero(np.isfinite(one))
            if count:
                bad += count
                first_bad = i if first_bad is None else first_bad
            elif _bulk(one) > worst:
                worst, worst_at = _bulk(one), i
    if bad:
        raise ValueError(
            f"{where} has {bad} pixels that are NaN or infinite, the first in map {first_bad} of {total} "
            "(counted from 0); expected finite κ everywhere"
        )
    if worst > 10:
        raise ValueError(
            f"{where} cannot be κ: |κ| has the median {worst:.3g} in map {worst_at} of {total} "
            "(counted from 0); expected less than 10"
        )


def _bulk(one: np.ndarray) -> float:
    """The median of \\|κ\\|, which shows in 64 × 64 pixels of a map."""
    step = max(1, one.shape[-1] // 64)
    return float(np.median(np.abs(one[..., ::step, ::step], dtype=np.float64)))


# ---------------------------------------------------------------- reading


class StoredMaps:
    """Maps that stay on disk: an array of which a part is read when it is asked for.

    ``maps[i]`` reads one map. A slice, a boolean mask or an array of indices reads nothing: it is
    again StoredMaps, so that a split of a set takes no memory. ``numpy.asarray(maps[:100])``
    reads. Chunks are read whole, and the last one is kept (unless all of it was asked for). So
    going through the maps in order reads each chunk once, and jumping about reads a chunk a map.

    Args:
        array: a zarr array ``(maps, n, n)`` or ``(maps, channels, n, n)``, or anything of that
            shape that gives a NumPy array for ``array[a:b]``.
        path: its file, for error messages.
        checked: the pixels were checked when they were written.
        kind: what the file should be, for error messages.

    Attributes:
        index: numbers in the file of these maps, shape ``(maps,)``.
        chunk: how many maps are read at a time, from multiples of it on.

    Raises:
        ValueError: on reading, where a chunk is damaged, cut off or missing; the sentence names
            it.
    """

    def __init__(
        self, array, path: str | Path, checked: bool = False, kind: str = "a whole zarr folder"
    ):
        shards, chunks = getattr(array, "shards", None), getattr(array, "chunks", None)
        smallest = (shards or chunks or (1,))[0]
        self.path, self.checked, self.kind, self._array = Path(path), checked, kind, array
        self.index = np.arange(array.shape[0])
        self.chunk = smallest * max(1, _maps_a_piece_of(array) // smallest)
        self._last: dict[int, np.ndarray] = {}  # shared by all parts of the set

    @property
    def dtype(self) -> np.dtype:
        """Of the maps, in native byte order."""
        return np.dtype(self._array.dtype).newbyteorder("=")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._array.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(maps, n, n)`` or ``(maps, channels, n, n)``."""
        return (len(self.index), *self._array.shape[1:])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item):
        """One map by its number; a part of the set by a slice, mask or indices; what is there by a tuple of those."""
        if isinstance(item, tuple):
            return self._by_axes(item)
        if isinstance(item, int | np.integer):
            number = int(self.index[item])
            return self._read(number // self.chunk)[number % self.chunk].copy()
        part = object.__new__(StoredMaps)
        chosen = item if isinstance(item, slice | list) else np.asarray(item)
        part.__dict__ |= self.__dict__ | {"index": self.index[chosen]}
        return part

    def _by_axes(self, item: tuple) -> np.ndarray:
        first, *rest = item
        if first is None or first is Ellipsis:
            return np.asarray(self)[item]
        part = np.asarray(self[first])
        if isinstance(first, int | np.integer):
            return part[tuple(rest)]
        return part[(slice(None), *rest)]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("maps that stay on disk cannot be had without reading them")
        dtype = np.dtype(self.dtype if dtype is None else dtype)
        parts = self.by_chunk()
        if len(parts) == 1 and dtype == self.dtype:
            chunk = parts[0][0]
            if np.array_equal(self.index, np.arange(*self._span(chunk))):
                return self._taken(chunk)
        out = np.empty(self.shape, dtype)
        for chunk, places in parts:
            numbers = self.index[places] - chunk * self.chunk
            out[_run(places)] = self._read(chunk)[_run(numbers)]
        return out

    def by_chunk(self) -> list[tuple[int, np.ndarray]]:
        """For each chunk that holds some of these maps, by rising number: which of them, indices into this set."""
        chunks = self.index // self.chunk
        order = np.argsort(chunks, kind="stable")
        starts = np.flatnonzero(np.diff(chunks[order], prepend=-1))
        return [(int(chunks[part[0]]), part) for part in np.split(order, starts[1:]) if len(part)]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_last": {}}  # another process reads for itself

    def __repr__(self) -> str:
        return f"StoredMaps: {self.shape}, {self.dtype}, {self.path}"

    def _read(self, chunk: int) -> np.ndarray:
        """All maps of a chunk, in native byte order."""
        found = self._last.get(chunk)
        if found is None:
            found = self._whole(*self._span(chunk))
            self._last.clear()
            self._last[chunk] = found
        return found

    def _span(self, chunk: int) -> tuple[int, int]:
        """Numbers in the file of the first map of a chunk, and of the one after its last."""
        return chunk * self.chunk, min((chunk + 1) * self.chunk, self._array.shape[0])

    def _taken(self, chunk: int) -> np.ndarray:
        """All maps of a chunk, for the caller alone: going through a set, a copy would be a good part of the time."""
        found = self._last.pop(chunk, None)
        if found is None:
            found = self._whole(*self._span(chunk))
        return found if found.flags.owndata and found.flags.writeable else found.copy()

    def _whole(self, start: int, stop: int) -> np.ndarray:
        try:
            found = np.asarray(self._array[start:stop]).astype(self.dtype, copy=False)
            corner = (slice(None), *[0] * (found.ndim - 1))
            if self.checked and np.isnan(found[corner]).any():
                raise ValueError("it is missing")
            return found
        except MemoryError:
            raise
        except Exception as error:
            step = (getattr(self._array, "chunks", None) or (stop - start,))[0]
            if stop - start > step:  # one by one, to know which it is
                for at in range(start, stop, step):
                    self._whole(at, min(at + step, stop))
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise ValueError(
                f"{self.path} is not {self.kind} ({self._name(start, step)}: {reason})"
            ) from None

    def _name(self, start: int, step: int) -> str:
        metadata = getattr(self._array, "metadata", None)
        if metadata is None:
            return f"maps from {start} on"
        key = metadata.encode_chunk_key((start // step, *[0] * (self.ndim - 1)))
        return f"its chunk {'/'.join(filter(None, (self._array.path, key)))}"


def _run(indices: np.ndarray) -> slice | np.ndarray:
    """A slice where the indices are a run of numbers: NumPy copies once instead of twice."""
    return slice(indices[0], indices[-1] + 1) if (np.diff(indices) == 1).all() else indices


# ---------------------------------------------------------------- simulations


def simulation_name(keys) -> str | None:
    """What the simulations of a set are called in its file: ``labels`` in older ones; None where it has none."""
    return next((name for name in ("simulation", "labels") if name in keys), None)


def read_simulation(group, count: int) -> np.ndarray:
    """The simulation of each of the first ``count`` maps of a zarr group: numbers, or the names they stand for."""
    numbers = np.asarray(group[simulation_name(group)][:])[:count]
    names = group.attrs.get("names")
    if names is None:
        return numbers
    return np.array(names, dtype=np.str_)[numbers]


def read_given(group, path: str | Path, count: int) -> dict:
    """The conditions of the first ``count`` maps of a zarr group; maps among them stay on disk."""
    if "given" not in group:
        return {}
    found = {}
    for name, array in sorted(group["given"].arrays()):
        if array.ndim < 3:
            found[name] = np.asarray(array[:count])
        else:
            found[name] = StoredMaps(array, path, checked=True)[:count]
    return found
