"""Maps that stay on disk: read a piece or a chunk at a time, and checked."""

from __future__ import annotations

import math
import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from .chunks import read_all
from .pixels import check_pieces

# pixels of a chunk, and of a piece that is read, checked or measured at once: 16 MB of float32
PIECE = 2**22


def maps_a_piece(n: int, channels: int = 1) -> int:
    """Number of maps of ``n`` × ``n`` pixels that are in memory at once."""
    return max(1, PIECE // (n**2 * channels))


def _maps_a_piece_of(array) -> int:
    """The same, for an array of maps with or without channels."""
    return max(1, PIECE // math.prod(array.shape[1:]))


def pieces(maps) -> Iterator[tuple[int, np.ndarray]]:
    """Maps ``(maps, n, n)`` in pieces, each with the number of its first map.

    Of maps that stay on disk, the next piece is read while the caller works on this one.
    """
    step = _maps_a_piece_of(maps)
    starts = range(0, len(maps), step)
    mapped = isinstance(maps, np.memmap)
    if not mapped and not isinstance(maps, StoredMaps):
        yield from ((i, np.asarray(maps[i : i + step])) for i in starts)
        return

    def read(start: int) -> np.ndarray:
        part = np.array(maps[start : start + step])
        if mapped and maps.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
            # Pages of a mapped file that were read count as memory of this process. Release them.
            maps._mmap.madvise(mmap.MADV_DONTNEED)
        return part

    with ThreadPoolExecutor(1) as reader:
        yield from zip(starts, ahead(reader, read, starts, 1), strict=True)


def ahead(executor: Executor, function: Callable, items: Iterable, most: int) -> Iterator:
    """``map(function, items)`` by an executor, which computes at most ``most`` results ahead."""
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
    """Check that all pixels are finite and can be κ.

    Args:
        where: what the error message begins with, a file.
        maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``; read in pieces.
        first: number of the first of these maps in the file.
        total: number of maps in the file; by default these are all.

    Raises:
        ValueError: a pixel is NaN, infinite, below −10, above 1000 or a mark for missing values;
            half of a map has \\|κ\\| > 10; a map is constant, or a fiftieth of its pixels have one
            value; or the maps are whole numbers, or have no negative pixel and a mean above 0.1.
    """
    if total is None:
        total = len(maps)
    check_pieces(where, pieces(maps), first, total)


# ---------------------------------------------------------------- reading


class StoredMaps:
    """Maps that stay on disk: an array whose parts are read when they are needed.

    ``maps[i]`` reads one map. A slice, a boolean mask or an array of indices reads nothing and
    gives StoredMaps again, so a split of a set takes no memory. ``numpy.asarray(maps[:100])``
    reads.

    Chunks are read whole. The last one stays in memory, unless all of it was asked for. So a loop
    over the maps in order reads each chunk once, but maps in random order need a chunk each.

    Args:
        array: a zarr array ``(maps, n, n)`` or ``(maps, channels, n, n)``; or an object of this
            shape that gives a NumPy array for ``array[a:b]``.
        path: its file, for error messages.
        checked: whether the pixels were checked when they were written.
        kind: what the file should be, for error messages.

    Attributes:
        index: numbers of these maps in the file, shape ``(maps,)``.
        chunk: number of maps that are read at once; chunks begin at its multiples.

    Raises:
        ValueError: on reading, if a chunk is damaged, cut off or missing; the message names it.
    """

    def __init__(
        self, array, path: str | Path, checked: bool = False, kind: str = "a whole zarr folder"
    ):
        shards = getattr(array, "shards", None)
        chunks = getattr(array, "chunks", None)
        smallest = (shards or chunks or (1,))[0]
        self._smallest = smallest
        self._sharded = shards is not None
        self.path = Path(path)
        self.checked = checked
        self.kind = kind
        self._array = array
        self.index = np.arange(array.shape[0])
        self.chunk = smallest * max(1, _maps_a_piece_of(array) // smallest)
        self._last: dict[int, np.ndarray] = {}  # the last chunk, shared by all parts of the set

    @property
    def dtype(self) -> np.dtype:
        """Data type of the maps, in native byte order."""
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
        """One map for a number, StoredMaps for a slice, mask or indices, an array for a tuple."""
        if isinstance(item, tuple):
            return self._by_axes(item)
        if isinstance(item, int | np.integer):
            number = int(self.index[item])
            return self._read(number // self.chunk)[number % self.chunk].copy()
        part = object.__new__(StoredMaps)
        if not isinstance(item, slice | list):
            item = np.asarray(item)
        part.__dict__ |= self.__dict__ | {"index": self.index[item]}
        return part

    def _by_axes(self, item: tuple) -> np.ndarray:
        """Maps for the first item, and parts of them for the others."""
        first, *rest = item
        if first is None or first is Ellipsis:
            return np.asarray(self)[item]
        part = np.asarray(self[first])
        if isinstance(first, int | np.integer):
            return part[tuple(rest)]
        return part[(slice(None), *rest)]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("maps that stay on disk must be read; expected copy=None or True")
        if dtype is None:
            dtype = self.dtype
        dtype = np.dtype(dtype)
        parts = self.by_chunk()
        if len(parts) == 1 and dtype == self.dtype:  # a whole chunk needs no copy
            chunk = parts[0][0]
            if np.array_equal(self.index, np.arange(*self._span(chunk))):
                return self._taken(chunk)
        out = np.empty(self.shape, dtype)
        for chunk, places in parts:
            numbers = self.index[places] - chunk * self.chunk
            out[_run(places)] = self._read(chunk)[_run(numbers)]
        return out

    def by_chunk(self) -> list[tuple[int, np.ndarray]]:
        """The chunks of these maps in increasing order, each with the indices of its maps.

        The indices are those of this set, not of the file.
        """
        chunks = self.index // self.chunk
        order = np.argsort(chunks, kind="stable")
        starts = np.flatnonzero(np.diff(chunks[order], prepend=-1))
        return [(int(chunks[part[0]]), part) for part in np.split(order, starts[1:]) if len(part)]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_last": {}}  # do not send a chunk to another process

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
        """Numbers of the first map of a chunk, and of the map after its last, in the file."""
        return chunk * self.chunk, min((chunk + 1) * self.chunk, self._array.shape[0])

    def _taken(self, chunk: int) -> np.ndarray:
        """All maps of a chunk, not kept here, so that the caller may change them.

        This avoids a copy, which takes a large part of the time of a loop over a set.
        """
        found = self._last.pop(chunk, None)
        if found is None:
            found = self._whole(*self._span(chunk))
        if found.flags.owndata and found.flags.writeable:
            return found
        return found.copy()

    def _whole(self, start: int, stop: int) -> np.ndarray:
        """Read maps from the file; an error names the chunk that cannot be read."""
        try:
            found = np.asarray(self._array[start:stop]).astype(self.dtype, copy=False)
            if self._unwritten(found):
                raise ValueError("it is missing")
            return found
        except MemoryError:
            raise
        except Exception as error:
            step = self._smallest
            if stop - start > step:  # read the chunks one by one, to find the damaged one
                for at in range(start, stop, step):
                    self._whole(at, min(at + step, stop))
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise ValueError(
                f"{self.path} is not {self.kind} ({self._name(start, step)}: {reason})"
            ) from None

    def _unwritten(self, found: np.ndarray) -> bool:
        """Whether a map was never written, which reads as NaN."""
        if self.checked:
            corner = (slice(None), *[0] * (found.ndim - 1))
            return np.isnan(found[corner]).any()
        if self._sharded:
            return np.isnan(found).all(tuple(range(1, found.ndim))).any()
        return False

    def _name(self, start: int, step: int) -> str:
        metadata = getattr(self._array, "metadata", None)
        if metadata is None:
            return f"maps from {start} on"
        key = metadata.encode_chunk_key((start // step, *[0] * (self.ndim - 1)))
        return f"its chunk {'/'.join(filter(None, (self._array.path, key)))}"


def _run(indices: np.ndarray) -> slice | np.ndarray:
    """A slice instead of consecutive indices, with which NumPy copies once instead of twice."""
    if (np.diff(indices) == 1).all():
        return slice(indices[0], indices[-1] + 1)
    return indices


# ---------------------------------------------------------------- simulations


def simulation_name(keys) -> str | None:
    """The name of the simulations in a file, ``labels`` in older ones; None if it has none."""
    for name in ("simulation", "labels"):
        if name in keys:
            return name
    return None


def read_simulation(group, count: int) -> np.ndarray:
    """The simulations of the first ``count`` maps of a zarr group, as numbers or as names.

    Raises:
        ValueError: they are missing, or some of them are.
    """
    name = simulation_name(group)
    if name is None:
        raise ValueError("its array simulation is missing")
    numbers = read_all(group[name], count)
    names = group.attrs.get("names")
    if names is None:
        return numbers
    if not ((numbers >= 0) & (numbers < len(names))).all():
        raise ValueError(f"its {name} holds numbers beyond its {len(names)} names")
    return np.array(names, dtype=np.str_)[numbers]


def read_given(group, path: str | Path, count: int) -> dict:
    """The conditions of the first ``count`` maps of a zarr group; maps among them stay on disk."""
    if "given" not in group:
        return {}
    found = {}
    for name, array in sorted(group["given"].arrays()):
        if array.ndim < 3:
            found[name] = read_all(array, count)
        else:
            found[name] = StoredMaps(array, path, checked=True)[:count]
    return found
