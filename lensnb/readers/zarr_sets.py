"""zarr folders: one array of maps, or a set that lensnb wrote (see :mod:`lensnb.store`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data import MapSet
from ..files import atomic_folder, optional
from ..store import MapWriter, StoredMaps
from ..store.reading import read_given, read_simulation, simulation_name
from .filemaps import FileMaps, number, reading
from .formats import Format, Options, ends_in, register

_WHOLE = "a whole zarr folder"


@register
class Zarr(Format):
    """A folder of zarr."""

    expected = (".zarr",)
    folder = True

    def suits(self, path: Path, asked: Options) -> bool:
        return ends_in(path, ".zarr")

    def read(self, path: Path, asked: Options) -> FileMaps:
        return read_zarr(path)


def read_zarr(path: Path) -> FileMaps:
    """Read a zarr folder, version 2 or 3; the maps stay on disk.

    The folder is one array of maps, or a group with an array ``maps`` and, perhaps,
    ``simulation``. The attributes ``side_deg`` (degrees) and ``z_source`` of the array or group
    are used where they are there.

    Returns:
        The maps as :class:`~lensnb.store.StoredMaps`, ``(maps, n, n)`` or, with source redshift
        bins, ``(maps, channels, n, n)``.

    Raises:
        ValueError: the folder is damaged, a chunk is missing (zarr would fill it with a constant),
            there is no array of maps, or not one simulation a map.
        ImportError: zarr is not installed.
    """
    zarr = optional(path, "zarr")
    with reading(path, _WHOLE):
        root = zarr.open(str(path), mode="r")
        array, keys = root, []
        if isinstance(root, zarr.Group):
            array, keys = root.get("maps"), sorted(root.keys())
    if array is None:
        raise ValueError(
            f"{path} has the keys {', '.join(keys) or 'none'}; "
            "expected one array, or a group with one called maps"
        )
    simulation, given = None, {}
    with reading(path, _WHOLE):
        _check_chunks(Path(path), array)
        # Open the folder again: a writer stores the simulations before it says that the maps are
        # there. What is read now covers all maps that were seen above.
        root = zarr.open(str(path), mode="r")
        about = dict(root.attrs)
        checked = bool(about.get("pixels_checked"))  # MapWriter checks what it writes
        if isinstance(root, zarr.Group):
            simulation = _simulation(root, array.shape[0], checked)
            given = read_given(root, path, array.shape[0])
        maps = _maps(array, path, checked)
    if simulation is not None and simulation.shape != maps.shape[:1]:
        raise ValueError(
            f"{path} has simulation numbers of the shape {simulation.shape}; "
            f"expected one a map of {maps.shape}"
        )
    found = FileMaps(maps, simulation=simulation, channels=True, given=given)
    found.provenance = about.get("provenance", {})
    if about.get("side_deg") is not None:
        found.side_deg = number(path, "field size", about["side_deg"])
    if about.get("z_source") is not None:
        found.z_source = _redshifts(path, about["z_source"])
    return found


def _maps(array, path: Path, checked: bool) -> StoredMaps | np.ndarray:
    """The maps, on disk; an array with too few axes for maps is read and will be refused."""
    if array.ndim < 3:
        return np.asarray(array[...])
    return StoredMaps(array, path, checked)


def _redshifts(path: Path, value) -> float | tuple[float, ...]:
    """The redshift of the sources, or one for each channel."""
    if isinstance(value, list):
        return tuple(number(path, "z_source", z) for z in value)
    return number(path, "z_source", value)


def _simulation(group, count: int, checked: bool) -> np.ndarray | None:
    """The simulation of each map of a group; None where it has none."""
    name = simulation_name(sorted(group.keys()))
    if name is None:
        return None
    if checked:
        return read_simulation(group, count)
    return np.asarray(group[name][:])


def _check_chunks(path: Path, array) -> None:
    """Refuse an array with missing chunks, or with chunks cut off where the codec does not notice.

    Blosc reads on beyond the end of the file, so the compressed size in its header is compared
    with the size of the file.
    """
    if array.nchunks_initialized != array.nchunks:
        raise ValueError(
            f"{array.nchunks_initialized} of the {array.nchunks} chunks of its maps are there"
        )
    # A checksum after Blosc, as the last codec, would notice.
    last = ""
    if array.compressors:
        last = type(array.compressors[-1]).__name__.lower()
    if "blosc" not in last or array.shards is not None:
        return
    for file in (path / array.path).rglob("*"):
        if not file.is_file() or file.name.startswith(".") or file.name == "zarr.json":
            continue
        with open(file, "rb") as chunk:
            header = chunk.read(16)
        expected, size = int.from_bytes(header[12:], "little"), file.stat().st_size
        if size != expected:
            raise ValueError(f"its chunk {file.name} has {size} of {expected} bytes")


def save_zarr(maps: MapSet, path: str | Path) -> Path:
    """Write a set as a zarr folder, which :func:`open_maps` reads.

    The folder appears only when it is whole.

    Raises:
        FileExistsError: there is something of that name; a folder cannot be replaced in one step.
        ImportError: zarr is not installed.
        ValueError: a pixel is NaN or infinite, or the maps cannot be κ.
    """
    path = Path(path)
    with (
        atomic_folder(path) as part,
        MapWriter(part, maps.side_deg, maps.z_source, maps.provenance) as writer,
    ):
        writer.append(maps.maps, maps.simulation, maps.given)
    return path
