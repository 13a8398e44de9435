"""Sets larger than memory: maps that stay in a zarr folder, are read piece by piece, and are appended while they are made.

A set is a zarr group (version 3) with ``maps``, float, ``(maps, n, n)``, in chunks of whole maps, about 4 million pixels
each; ``simulation``, int64, ``(maps,)``, called ``labels`` in older sets; and the attributes ``side_deg`` (degrees), ``z_source``, ``provenance`` and, where
simulations have names, ``names``, to which these numbers then point. zarr, xarray or any other reader of the format
opens it. Each chunk carries a checksum.

:class:`MapWriter` writes such a set, :func:`lensnb.readers.open_maps` opens it. A set is as long as its array ``maps`` says,
and that is written last, so that whoever opens it while it grows, or after its writer was killed, sees whole maps with their
simulations. A power cut is another matter: what the machine had not yet put on the disk fails its checksum when it is read.
"""

from __future__ import annotations

import math
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from torch import Tensor

from .files import atomic_folder, optional
from .renamed import old_attribute, renamed

PIECE = (
    2**22
)  # pixels of a chunk, and of what is read, checked and measured at a time: 16 MB of float32


def maps_a_piece(n: int) -> int:
    """How many maps of ``n`` × ``n`` pixels are held at a time."""
    return max(1, PIECE // n**2)


def pieces(maps) -> Iterator[tuple[int, np.ndarray]]:
    """Maps ``(maps, n, n)`` some at a time, each with the number of its first map; what stays on disk is read one piece ahead."""
    step = maps_a_piece(maps.shape[-1])
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
        maps: κ, shape ``(maps, n, n)``; read piece by piece.
        first: number of the first of them in the file.
        total: maps of the file; by default these are all.

    Raises:
        ValueError: a pixel is NaN or infinite, or half of a map has \\|κ\\| > 10.
    """
    total, bad, at, worst = len(maps) if total is None else total, 0, None, (0.0, 0)
    for start, part in pieces(maps):
        wide = part.astype(
            np.promote_types(part.dtype, np.float32), copy=False
        )  # float16 takes six times as long
        if wide.min(initial=0) >= -10 and wide.max(initial=0) <= 10:  # which NaN is not
            continue
        for i, one in enumerate(wide, first + start):
            count = one.size - np.count_nonzero(np.isfinite(one))
            if count:
                bad, at = bad + count, i if at is None else at
            else:
                worst = max(worst, (_bulk(one), i))
    if bad:
        raise ValueError(
            f"{where} has {bad} pixels that are NaN or infinite, the first in map {at} of {total} "
            "(counted from 0); expected finite κ everywhere"
        )
    if worst[0] > 10:
        raise ValueError(
            f"{where} cannot be κ: |κ| has the median {worst[0]:.3g} in map {worst[1]} of {total} "
            "(counted from 0); expected less than 10"
        )


def _bulk(one: np.ndarray) -> float:
    """The median of \\|κ\\|, which shows in 64 × 64 pixels of a map."""
    step = max(1, one.shape[-1] // 64)
    return float(np.median(np.abs(one[::step, ::step], dtype=np.float64)))


# ---------------------------------------------------------------- reading


class StoredMaps:
    """Maps that stay on disk, shape ``(maps, n, n)``: an array of which a part is read when it is asked for.

    ``maps[i]`` reads one map. A slice, a boolean mask or an array of indices reads nothing: it is again StoredMaps, so that a
    split of a set takes no memory. ``numpy.asarray(maps[:100])`` reads. Chunks are read whole, and the last one is kept
    (unless all of it was asked for), so going through the maps in order reads each chunk once, and jumping about reads a chunk a map.

    Args:
        array: a zarr array ``(maps, n, n)``, or anything of that shape that gives a NumPy array for ``array[a:b]``.
        path: its file, for error messages.
        checked: the pixels were checked when they were written.
        kind: what the file should be, for error messages.

    Attributes:
        index: numbers in the file of these maps, shape ``(maps,)``.
        chunk: how many maps are read at a time, from multiples of it on.

    Raises:
        ValueError: on reading, where a chunk is damaged, cut off or missing; the sentence names it.
    """

    def __init__(
        self, array, path: str | Path, checked: bool = False, kind: str = "a whole zarr folder"
    ):
        n, smallest = (
            array.shape[-1],
            (getattr(array, "shards", None) or getattr(array, "chunks", None) or (1,))[0],
        )
        self.path, self.checked, self.kind, self._array = Path(path), checked, kind, array
        self.index = np.arange(array.shape[0])
        self.chunk = smallest * max(1, maps_a_piece(n) // smallest)
        self._last: dict[int, np.ndarray] = {}  # shared by all parts of the set

    dtype = property(lambda self: np.dtype(self._array.dtype).newbyteorder("="))
    ndim = property(lambda self: 3)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(maps, n, n)``."""
        return (len(self.index), *self._array.shape[1:])

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item):
        """One map by its number; a part of the set by a slice, mask or indices; what lies there by a tuple of those."""
        if isinstance(item, tuple):
            first, *rest = item
            one, whole = isinstance(first, int | np.integer), first is None or first is Ellipsis
            part = np.asarray(self if whole else self[first])
            return part[item if whole else tuple(rest) if one else (slice(None), *rest)]
        if isinstance(item, int | np.integer):
            number = int(self.index[item])
            return self._read(number // self.chunk)[number % self.chunk].copy()
        part = object.__new__(StoredMaps)
        part.__dict__ |= self.__dict__ | {
            "index": self.index[item if isinstance(item, slice | list) else np.asarray(item)]
        }
        return part

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("maps that stay on disk cannot be had without reading them")
        dtype, parts = np.dtype(self.dtype if dtype is None else dtype), self.by_chunk()
        if (
            len(parts) == 1
            and dtype == self.dtype
            and np.array_equal(self.index, np.arange(*self._span(parts[0][0])))
        ):
            return self._taken(parts[0][0])
        out = np.empty(self.shape, dtype)
        for chunk, places in parts:
            out[_run(places)] = self._read(chunk)[_run(self.index[places] - chunk * self.chunk)]
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
            if (
                self.checked and np.isnan(found[:, 0, 0]).any()
            ):  # what zarr gives for a chunk that is not there
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
        key = metadata.encode_chunk_key((start // step, 0, 0))
        return f"its chunk {'/'.join(filter(None, (self._array.path, key)))}"


def _run(indices: np.ndarray) -> slice | np.ndarray:
    """A slice where the indices are a run of numbers: NumPy copies once instead of twice."""
    return slice(indices[0], indices[-1] + 1) if (np.diff(indices) == 1).all() else indices


# ---------------------------------------------------------------- writing


class MapWriter:
    """Appends maps to a set in a zarr folder, which is made if it is not there.

    What is appended is written a chunk at a time; :meth:`flush`, and leaving the block, write the rest. A process that is
    killed leaves the set as it was after the last chunk or flush, and the next writer goes on there; here with the maps of
    :func:`lensnb.sims.kappa_maps`, box by box:

        with MapWriter("set.zarr", side_deg=5, z_source=1) as writer:
            for box in boxes[len(np.unique(writer.simulation)):]:
                writer.append(kappa_maps([box], "planes", 32).maps, box)
                writer.flush()

    Args:
        path: the folder; it ends in ``.zarr``.
        side_deg: side of the field, degrees.
        z_source: redshift of the sources; NaN when not known.
        provenance: how the maps were made, plain JSON values; replaces what an older set says.

    Raises:
        ValueError: the folder is no set of lensnb's, has another field or redshift, or another writer is at work.
        ImportError: zarr is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        side_deg: float,
        z_source: float = math.nan,
        provenance: dict | None = None,
    ):
        self.path, self.provenance = Path(path), provenance
        if self.path.suffix != ".zarr":
            raise ValueError(
                f"maps are written into a folder that ends in .zarr, found {self.path}"
            )
        if not side_deg > 0:
            raise ValueError(
                f"side_deg must be the side of the field in degrees, found {side_deg}"
            )
        self._about = {"side_deg": float(side_deg)} | (
            {} if math.isnan(z_source) else {"z_source": float(z_source)}
        )
        self._zarr, self._lock = optional(self.path, "zarr"), None
        self._names: dict[str, int] | None = None
        self._open = (
            0,
            np.empty(0, np.int64),
        )  # first map of the chunk in memory, and the simulations of the maps in it
        self._maps = None
        if self.path.exists():
            self._begin()

    def __enter__(self) -> MapWriter:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        """Maps that were appended, those in memory included."""
        return self._open[0] + len(self._open[1])

    @property
    def dtype(self) -> np.dtype | None:
        """Of the maps in the set; None before the first."""
        return None if self._maps is None else self._maps.dtype

    @property
    def simulation(self) -> np.ndarray:
        """Simulation of each map that is written, shape ``(maps,)``."""
        return (
            np.empty(0, np.int64)
            if self._maps is None
            else read_simulation(self._group, self._maps.shape[0])
        )

    labels = old_attribute("labels", "simulation")

    @renamed(labels="simulation")
    def append(self, maps, simulation) -> None:
        """Add maps to the end of the set.

        Args:
            maps: κ, shape ``(maps, n, n)``, float; of the set's n, and of its dtype, which is that of the first maps, or one
                that fits into it.
            simulation: simulation of each map, shape ``(maps,)``, whole numbers or names; or one for all.

        Raises:
            ValueError: another shape or dtype, not one simulation a map, NaN or infinite pixels, or no κ; nothing is added.
            OSError: a chunk could not be written; the maps written before are intact.
        """
        maps = maps.detach().cpu().numpy() if isinstance(maps, Tensor) else maps
        simulation = np.asarray(simulation)
        simulation = np.full(len(maps), simulation) if simulation.ndim == 0 else simulation
        self._check(maps, simulation)
        if not len(maps):
            return
        if self._maps is not None and len(self._open[1]) == len(
            self._buffer
        ):  # which could not be written before
            self._commit()
        check_pixels(self.path, maps, len(self), len(self) + len(maps))
        if self._maps is None:
            self._create(maps, simulation)
        codes, done = self._codes(simulation), 0
        while done < len(maps):
            start, held = self._open
            step = min(len(maps) - done, len(self._buffer) - len(held))
            self._buffer[len(held) : len(held) + step] = np.asarray(maps[done : done + step])
            self._open = start, np.concatenate([held, codes[done : done + step]])
            done += step
            if len(self._open[1]) == len(self._buffer):
                self._commit()

    def flush(self) -> None:
        """Write what is in memory.

        Raises:
            OSError: it could not be written; the maps written before are intact.
        """
        if not len(self):
            return
        if self.provenance is not None and self._group.attrs.get("provenance") != self.provenance:
            self._group.attrs["provenance"] = self.provenance
        if len(self) > self._maps.shape[0]:
            self._commit()

    def close(self) -> None:
        """Write what is in memory, and let other writers in."""
        try:
            self.flush()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    # ------------------------------------------------------------ one chunk

    def _commit(self) -> None:
        """Write the chunk in memory and its simulation, then that they are there."""
        start, codes = self._open
        total, chunk = start + len(codes), len(self._buffer)
        self._buffer[len(codes) :] = np.nan
        try:
            self._wide_maps[start : start + chunk] = self._buffer
            self._wide_simulation[start:total] = codes
            if self._names and len(self._group.attrs["names"]) < len(self._names):
                self._group.attrs["names"] = list(self._names)
            self._simulation.resize((total,))
            self._maps.resize((total, *self._maps.shape[1:]))
        except OSError as error:
            raise OSError(
                error.errno,
                f"could not write {self.path} ({error.strerror}); the {self._maps.shape[0]} maps before are intact",
            ) from None
        if len(codes) == chunk:
            self._open = total, np.empty(0, np.int64)

    def _check(self, maps, simulation: np.ndarray) -> None:
        n = None if self._maps is None else self._maps.shape[-1]
        shape, dtype = tuple(getattr(maps, "shape", ())), getattr(maps, "dtype", None)
        if len(shape) != 3 or shape[1] != shape[2] or (n or shape[1]) != shape[1]:
            raise ValueError(
                f"{self.path} takes maps of the shape (maps, {n or 'n'}, {n or 'n'}), found {shape}"
            )
        if dtype.kind != "f" or (n and not np.can_cast(dtype, self._maps.dtype)):
            raise ValueError(
                f"{self.path} takes maps of {self._maps.dtype if n else 'floating-point κ'}, found {dtype}"
            )
        if simulation.shape != shape[:1] or simulation.dtype.kind not in "iuU":
            raise ValueError(
                f"{self.path} takes one simulation a map, {shape[0]} whole numbers or names, found {simulation.dtype} of the "
                f"shape {simulation.shape}"
            )
        if n and (self._names is None) == (simulation.dtype.kind == "U"):
            kinds = ("names", "numbers")
            known, found = kinds if self._names is not None else kinds[::-1]
            raise ValueError(f"{self.path} has simulations with {known}, found {found}")

    def _codes(self, simulation: np.ndarray) -> np.ndarray:
        if self._names is None:
            return simulation.astype(np.int64)
        return np.array(
            [self._names.setdefault(name, len(self._names)) for name in simulation.tolist()],
            np.int64,
        )

    # ------------------------------------------------------------ the folder

    def _create(self, maps, simulation: np.ndarray) -> None:
        """A set without maps, which is there at once or not at all."""
        from zarr.codecs import Crc32cCodec

        n, dtype = maps.shape[-1], maps.dtype.newbyteorder("=")
        # κ is noise to a compressor: zstd saves 8 % and takes seven times as long as this checksum even where it gives up at
        # once. The price: a chunk that is not full takes its whole 16 MB.
        how = {
            "compressors": Crc32cCodec(),
            "chunk_key_encoding": {"name": "v2", "separator": "."},
        }
        named = {"names": []} if simulation.dtype.kind == "U" else {}
        with atomic_folder(self.path) as part:
            group = self._zarr.open_group(str(part), mode="w", zarr_format=3)
            shape, chunks = (0, n, n), (maps_a_piece(n), n, n)
            group.create_array(
                "maps", shape=shape, chunks=chunks, dtype=dtype, fill_value=math.nan, **how
            )
            group.create_array(
                "simulation", shape=(0,), chunks=(2**16,), dtype="int64", fill_value=-1, **how
            )
            group.attrs.update(
                {
                    **self._about,
                    "provenance": self.provenance or {},
                    "pixels_checked": True,
                    **named,
                }
            )
        self._begin()

    def _begin(self) -> None:
        """Open the folder for writing, and take the last chunk into memory where there is room in it."""
        self._lock = _locked(self.path)
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def _take_up(self) -> None:
        try:
            self._group = self._zarr.open_group(str(self.path), mode="r+")
            about, self._maps, self._simulation = (
                dict(self._group.attrs),
                self._group["maps"],
                self._group[simulation_name(self._group)],
            )
            if not about["pixels_checked"]:
                raise KeyError("pixels_checked")
        except Exception:
            raise ValueError(
                f"{self.path} is no set that lensnb wrote; expected one, or a new folder"
            ) from None
        for name in ("side_deg", "z_source"):
            said, given = about.get(name), self._about.get(name)
            if said != given:
                raise ValueError(
                    f"{self.path} has {name} = {said}; expected maps with the same, not {given}"
                )
        for stale in self.path.rglob("*.partial"):  # of a writer that was killed
            stale.unlink()
        self._names = (
            {name: i for i, name in enumerate(about["names"])} if "names" in about else None
        )
        self._wide_maps, self._wide_simulation = (
            _wide(self._zarr, self._maps),
            _wide(self._zarr, self._simulation),
        )
        chunk, count = self._maps.chunks[0], self._maps.shape[0]
        start = count // chunk * chunk
        self._buffer = np.empty((chunk, *self._maps.shape[1:]), self._maps.dtype)
        if count > start:
            self._buffer[: count - start] = np.asarray(
                StoredMaps(self._maps, self.path, checked=True)[start:]
            )
        self._open = start, np.asarray(self._simulation[start:count], np.int64)


def _wide(zarr, array):
    """The same array with room for any number of maps: chunks are written before the array says that it has them."""
    metadata = array.metadata.update_shape((2**40, *array.shape[1:]))
    config = {"write_empty_chunks": True}  # else each one is compared with an empty one
    return zarr.Array(
        zarr.AsyncArray(metadata=metadata, store_path=array.store_path, config=config)
    )


def _locked(path: Path) -> int | None:
    """Keep other writers out for as long as the file that is returned is open, or this process lives."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    folder = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise ValueError(
            f"{path} is being written by another process; expected one writer at a time"
        ) from None
    except OSError:  # a file system without locks
        pass
    return folder


def simulation_name(keys) -> str | None:
    """What the simulations of a set are called in its file: ``labels`` in older ones; None where it has none."""
    return next((name for name in ("simulation", "labels") if name in keys), None)


def read_simulation(group, count: int) -> np.ndarray:
    """The simulation of each of the first ``count`` maps of a zarr group: numbers, or the names they stand for."""
    numbers = np.asarray(group[simulation_name(group)][:])[:count]
    names = group.attrs.get("names")
    return numbers if names is None else np.array(names, dtype=np.str_)[numbers]
