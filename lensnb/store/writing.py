"""Append maps to a set on disk; a reader sees whole maps at any moment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..files import atomic_folder, lock, optional, plain_json, unlock
from ..given import as_arrays, check_values
from ..maps.arrays import plain_array, plain_labels
from ..maps.grid import check_shape, check_side, checked_redshifts
from ..renamed import old_attribute, renamed
from .reading import StoredMaps, check_pixels, maps_a_piece, read_simulation, simulation_name


class _Column:
    """One array of the set, with the chunk of it that is in memory.

    Args:
        zarr: the package.
        array: an array of the set, ``(maps, ...)``.
        path: path of the set.
    """

    def __init__(self, zarr, array, path: Path):
        self.array, self._path = array, path
        self._wide = _with_room(zarr, array)
        self.buffer = np.empty(array.chunks, array.dtype)

    def read(self, start: int, count: int) -> None:
        """Read the part of the last chunk that is written already.

        The array can be longer than ``count``, if a writer was killed while it set the lengths.
        """
        if count > start:
            stored = StoredMaps(self.array, self._path, checked=True)
            self.buffer[: count - start] = np.asarray(stored[start:count])

    def write(self, start: int, held: int) -> None:
        """Write the chunk that begins at map ``start`` and has ``held`` maps so far."""
        self.buffer[held:] = np.nan
        self._wide[start : start + len(self.buffer)] = self.buffer

    def announce(self, total: int) -> None:
        """Set the length of the array, so that readers see the maps."""
        self.array.resize((total, *self.array.shape[1:]))


class MapWriter:
    """Appends maps to a set in a zarr folder, which is made if it does not exist.

    Maps are written one chunk at a time. :meth:`flush` writes the rest, and so does the end of the
    ``with`` block. If the process is killed, the set stays as it was after the last chunk or
    flush, and the next writer resumes there. An example with :func:`lensnb.sims.kappa_maps`, box
    by box:

        with MapWriter("set.zarr", side_deg=5, z_source=1) as writer:
            for box in boxes[len(np.unique(writer.simulation)):]:
                writer.append(kappa_maps([box], "planes", 32).maps, box)
                writer.flush()

    Args:
        path: the folder; it ends in ``.zarr``.
        side_deg: side of the field, degrees.
        z_source: redshift of the sources, for several channels one each; NaN if it is not known.
        provenance: how the maps were made, plain JSON values; it replaces that of an older set.

    Raises:
        ValueError: the folder is not a set of lensnb, has another field or redshift, or is open in
            another writer.
        ImportError: zarr is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        side_deg: float,
        z_source: float | tuple[float, ...] = math.nan,
        provenance: dict | None = None,
    ):
        self.path = Path(path)
        self.provenance = provenance
        if self.path.suffix != ".zarr":
            raise ValueError(
                f"maps are written into a folder that ends in .zarr, found {self.path}"
            )
        self._about = {"side_deg": check_side(side_deg)}
        redshifts = np.atleast_1d(np.asarray(z_source, float))
        if not np.isnan(redshifts).all():
            self._about["z_source"] = checked_redshifts(z_source, len(redshifts))
            if len(redshifts) > 1:
                self._about["z_source"] = list(
                    self._about["z_source"]
                )  # a list, as read from JSON
        self._zarr = optional(self.path, "zarr")
        self._lock = None
        self._names: dict[str, int] | None = None
        self._start = 0  # first map of the chunk in memory
        self._codes = np.empty(0, np.int64)  # simulations of the maps in it
        self._columns: dict[str, _Column] = {}  # the maps under "", conditions by name
        if self.path.exists():
            self._begin()

    def __enter__(self) -> MapWriter:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of maps that were appended, including those in memory."""
        return self._start + len(self._codes)

    @property
    def _maps(self):
        """The array of maps; None before the first map."""
        if not self._columns:
            return None
        return self._columns[""].array

    @property
    def dtype(self) -> np.dtype | None:
        """Data type of the maps in the set; None before the first map."""
        if self._maps is None:
            return None
        return self._maps.dtype

    @property
    def simulation(self) -> np.ndarray:
        """Simulation of each map that is on disk, shape ``(maps,)``."""
        if self._maps is None:
            return np.empty(0, np.int64)
        return read_simulation(self._group, self._maps.shape[0])

    labels = old_attribute("labels", "simulation")

    @property
    def stored_provenance(self) -> dict | None:
        """The provenance of the set that is continued; None before the first map of a new set."""
        if self._maps is None:
            return None
        return self._group.attrs.get("provenance")

    @renamed(labels="simulation")
    def append(self, maps, simulation, given: Mapping | None = None) -> None:
        """Add maps to the end of the set.

        Args:
            maps: κ, float, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``. The first maps
                decide the shape and the dtype of the set. Later maps must have the same shape, and
                the same dtype or one that fits into it.
            simulation: simulation of each map, shape ``(maps,)``, whole numbers or names; or one
                for all maps.
            given: conditions by name, one value for each map; the same conditions at each call.

        Raises:
            ValueError: another shape or dtype, not one simulation for each map, other conditions,
                NaN or infinite pixels, or values that cannot be κ. Nothing is added.
            OSError: a chunk could not be written. The maps that were written before are intact.
        """
        maps = plain_array(f"an array for {self.path}", maps)
        simulation = plain_labels(str(self.path), simulation)
        if simulation.ndim == 0:
            simulation = np.full(len(maps), simulation)
        given = as_arrays(f"{self.path}", given)
        self._check(maps, simulation)
        self._check_given(given, len(maps))
        if not len(maps):
            return
        if self._columns and len(self._codes) == self._chunk:
            self._commit()  # this chunk could not be written at the last call
        check_pixels(self.path, maps, len(self), len(self) + len(maps))
        if not self._columns:
            self._create(maps, simulation, given)
        self._put({"": maps} | given, self._as_codes(simulation))

    def _put(self, columns: Mapping, codes: np.ndarray) -> None:
        """Copy maps into the chunk in memory, and write it when it is full."""
        done = 0
        while done < len(codes):
            held = len(self._codes)
            step = min(len(codes) - done, self._chunk - held)
            for name, values in columns.items():
                part = np.asarray(values[done : done + step])
                self._columns[name].buffer[held : held + step] = part
            self._codes = np.concatenate([self._codes, codes[done : done + step]])
            done += step
            if len(self._codes) == self._chunk:
                self._commit()

    def flush(self) -> None:
        """Write the maps that are in memory.

        Raises:
            OSError: they could not be written; the maps that were written before are intact.
        """
        if not len(self):
            return
        attributes = self._group.attrs
        provenance = plain_json(self.provenance)
        if provenance is not None and attributes.get("provenance") != provenance:
            attributes["provenance"] = provenance
        if len(self) > self._maps.shape[0]:
            self._commit()

    def close(self) -> None:
        """Write the maps that are in memory, and release the lock for other writers."""
        try:
            self.flush()
        finally:
            if self._lock is not None:
                unlock(self._lock)
                self._lock = None

    # ------------------------------------------------------------ one chunk

    @property
    def _chunk(self) -> int:
        """Number of maps in a chunk."""
        return len(self._columns[""].buffer)

    def _commit(self) -> None:
        """Write the chunk in memory with its simulations and conditions.

        The length of ``maps`` is changed last, because readers rely on it.
        """
        held = len(self._codes)
        total = self._start + held
        try:
            for column in self._columns.values():
                column.write(self._start, held)
            self._wide_simulation[self._start : total] = self._codes
            if self._names and len(self._group.attrs["names"]) < len(self._names):
                self._group.attrs["names"] = list(self._names)
            self._simulation.resize((total,))
            for column in reversed(self._columns.values()):
                column.announce(total)
        except OSError as error:
            raise OSError(
                error.errno,
                f"could not write {self.path} ({error.strerror}); "
                f"the {self._maps.shape[0]} maps before are intact",
            ) from None
        if held == self._chunk:
            self._start = total
            self._codes = np.empty(0, np.int64)

    def _check(self, maps, simulation: np.ndarray) -> None:
        """Refuse maps or simulations that do not fit the set."""
        shape = tuple(getattr(maps, "shape", ()))
        known = self._maps
        where = f"an array for {self.path}"
        if known is None:
            check_shape(where, shape)
            expected = "floating-point κ"
            fits = True
        else:
            check_shape(where, shape, known.shape[-1], _channels(known))
            expected = known.dtype
            fits = np.can_cast(maps.dtype, known.dtype)
        if maps.dtype.kind != "f" or not fits:
            raise ValueError(f"{self.path} takes maps of {expected}, found {maps.dtype}")
        if simulation.shape != shape[:1] or simulation.dtype.kind not in "iuU":
            raise ValueError(
                f"{self.path} takes one simulation a map, {shape[0]} whole numbers or names, "
                f"found {simulation.dtype} of the shape {simulation.shape}"
            )
        named = simulation.dtype.kind == "U"
        if known is not None and named != (self._names is not None):
            kinds = {True: "names", False: "numbers"}
            raise ValueError(
                f"{self.path} has simulations with {kinds[not named]}, found {kinds[named]}"
            )

    def _check_given(self, given: Mapping, count: int) -> None:
        """Refuse conditions that do not fit the maps or the set."""
        for name, values in given.items():
            check_values(name, values, count)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{self.path} takes finite values of {name}, found NaN or infinity"
                )
        if not self._columns:
            return
        expected = {name: column.array for name, column in self._columns.items() if name}
        if given.keys() != expected.keys():
            raise ValueError(
                f"{self.path} has the conditions {', '.join(expected) or 'none'}, found "
                f"{', '.join(given) or 'none'}"
            )
        for name, array in expected.items():
            if given[name].shape[1:] != array.shape[1:]:
                raise ValueError(
                    f"{self.path} has {name} of the shape {array.shape[1:]} for each map, found "
                    f"{given[name].shape[1:]}"
                )

    def _as_codes(self, simulation: np.ndarray) -> np.ndarray:
        """Simulations as numbers; names are numbered in the order in which they first appear."""
        if self._names is None:
            return simulation.astype(np.int64)
        names = self._names
        codes = [names.setdefault(name, len(names)) for name in simulation.tolist()]
        return np.array(codes, np.int64)

    # ------------------------------------------------------------ the folder

    def _create(self, maps, simulation: np.ndarray, given: Mapping) -> None:
        """Make a set without maps, completely or not at all."""
        from zarr.codecs import Crc32cCodec

        # κ hardly compresses: zstd saves 8 %. And it takes seven times as long as this checksum,
        # even if it gives up at once. The price is that an incomplete chunk takes its whole 16 MB.
        how = {
            "compressors": Crc32cCodec(),
            "chunk_key_encoding": {"name": "v2", "separator": "."},
        }
        provenance = plain_json(self.provenance or {})
        about = {**self._about, "provenance": provenance, "pixels_checked": True}
        if simulation.dtype.kind == "U":
            about["names"] = []
        chunk = maps_a_piece(maps.shape[-1], _channels(maps))

        def create(name: str, values) -> None:
            rest = values.shape[1:]
            group.create_array(
                name,
                shape=(0, *rest),
                chunks=(chunk, *rest),
                dtype=values.dtype.newbyteorder("="),
                fill_value=math.nan,
                **how,
            )

        with atomic_folder(self.path) as part:
            group = self._zarr.open_group(str(part), mode="w", zarr_format=3)
            create("maps", maps)
            for name, values in given.items():
                create(f"given/{name}", values)
            group.create_array(
                "simulation", shape=(0,), chunks=(2**16,), dtype="int64", fill_value=-1, **how
            )
            group.attrs.update(about)
        self._begin()

    def _begin(self) -> None:
        """Open the folder for writing, and read its last chunk if it is not full."""
        self._lock = lock(self.path)
        try:
            about = self._open_group()
            for name in ("side_deg", "z_source"):
                known = about.get(name)
                given = self._about.get(name)
                if known != given:
                    raise ValueError(
                        f"{self.path} has {name} = {known}; "
                        f"expected maps with the same, not {given}"
                    )
            for stale in self.path.rglob("*.partial"):  # left by a writer that was killed
                stale.unlink()
            count = self._maps.shape[0]
            self._start = count // self._chunk * self._chunk
            for column in self._columns.values():
                column.read(self._start, count)
            self._codes = np.asarray(self._simulation[self._start : count], np.int64)
        except BaseException:
            self._columns = {}
            self.close()
            raise

    def _open_group(self) -> dict:
        """Open the arrays of the set for writing, and return its attributes."""
        try:
            group = self._zarr.open_group(str(self.path), mode="r+")
            about = dict(group.attrs)
            maps, simulation = group["maps"], group[simulation_name(group)]
            if not about["pixels_checked"]:
                raise KeyError("pixels_checked")
        except Exception:
            raise ValueError(
                f"{self.path} is no set that lensnb wrote; expected one, or a new folder"
            ) from None
        self._group = group
        self._simulation = simulation
        self._wide_simulation = _with_room(self._zarr, simulation)
        arrays = {"": maps}
        if "given" in group:
            arrays |= dict(sorted(group["given"].arrays()))
        self._columns = {name: _Column(self._zarr, a, self.path) for name, a in arrays.items()}
        if "names" in about:
            self._names = {name: i for i, name in enumerate(about["names"])}
        return about


def _channels(maps) -> int:
    """Number of channels of an array of maps."""
    if len(maps.shape) == 4:
        return maps.shape[1]
    return 1


def _with_room(zarr, array):
    """The same array, but with space for any number of maps.

    With it, chunks can be written before the array has its new length.
    """
    metadata = array.metadata.update_shape((2**40, *array.shape[1:]))
    config = {"write_empty_chunks": True}  # otherwise zarr compares each chunk with an empty one
    asynchronous = zarr.AsyncArray(metadata=metadata, store_path=array.store_path, config=config)
    return zarr.Array(asynchronous)
