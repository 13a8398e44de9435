"""zarr folders: one array of maps, or a set that lensnb wrote (see :mod:`lensnb.store`)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..data import MapSet
from ..files import atomic_folder, optional
from ..store import MapWriter, StoredMaps
from ..store.chunks import check_blosc, check_chunks, check_codecs, read_all, with_fill
from ..store.reading import read_given, read_simulation, simulation_name
from .content import check_file_called
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
        check_file_called(path)
        return read_zarr(path, asked.simulation is None)


def read_zarr(path: Path, labelled: bool = True) -> FileMaps:
    """Read a zarr folder, version 2 or 3; the maps stay on disk.

    The folder is one array of maps, or a group with an array ``maps`` and, perhaps,
    ``simulation``. The attributes ``side_deg`` (degrees) and ``z_source`` of the array or group
    are used where they are there.

    Args:
        path: the folder.
        labelled: read the simulations; False where the caller gives them.

    Returns:
        The maps as :class:`~lensnb.store.StoredMaps`, ``(maps, n, n)`` or, with source redshift
        bins, ``(maps, channels, n, n)``.

    Raises:
        ValueError: the folder is damaged, a chunk is missing (zarr would fill it with a constant),
            a codec makes Python objects, there is no array of maps, or not one simulation a map.
        ImportError: zarr is not installed.
    """
    zarr = optional(path, "zarr")
    with reading(path, _WHOLE):
        check_codecs(Path(path))
        root = zarr.open(str(path), mode="r")
        array, keys = root, []
        if isinstance(root, zarr.Group):
            array, keys = root.get("maps"), sorted(root.keys())
    if array is None:
        raise ValueError(
            f"{path} has the keys {', '.join(keys) or 'none'}; "
            "expected one array, or a group with one called maps"
        )
    with reading(path, _WHOLE):
        check_chunks(array)
        check_blosc(array)
        # Open the folder again: a writer stores the simulations before it says that the maps are
        # there. What is read now covers all maps that were seen above.
        root = zarr.open(str(path), mode="r")
        about = dict(root.attrs)
        checked = bool(about.get("pixels_checked"))  # MapWriter checks what it writes
        found = FileMaps(_maps(array, path, checked), channels=True)
        if isinstance(root, zarr.Group):
            if labelled:
                found.simulation = _simulation(root, array.shape, checked)
            found.given = read_given(root, path, array.shape[0])
    return _with_attributes(path, found, about)


def _with_attributes(path: Path, found: FileMaps, about: dict) -> FileMaps:
    """The maps with what the attributes of the folder say about them."""
    found.provenance = about.get("provenance", {})
    if not isinstance(found.provenance, dict):
        raise ValueError(f"{path} has a provenance that is no dictionary; expected one, or none")
    if about.get("side_deg") is not None:
        found.side_deg = number(path, "field size", about["side_deg"])
    if about.get("z_source") is not None:
        found.z_source = _redshifts(path, about["z_source"])
    return found


def _maps(array, path: Path, checked: bool) -> StoredMaps | np.ndarray:
    """The maps, on disk; an array with too few axes for maps is read and will be refused."""
    if array.ndim < 3:
        return np.asarray(array[...])
    if np.dtype(array.dtype).kind == "f":
        array = with_fill(array, array.dtype.type(math.nan))
    return StoredMaps(array, path, checked)


def _redshifts(path: Path, value) -> float | tuple[float, ...]:
    """The redshift of the sources, or one for each channel."""
    if isinstance(value, list):
        return tuple(number(path, "z_source", z) for z in value)
    return number(path, "z_source", value)


def _simulation(group, shape: tuple[int, ...], checked: bool) -> np.ndarray | None:
    """The simulation of each map of a group; None where it has none, which a set has always."""
    if checked:
        return read_simulation(group, shape[0])
    name = simulation_name(sorted(group.keys()))
    if name is None:
        return None
    if group[name].shape != shape[:1]:
        raise ValueError(
            f"it has simulation numbers of the shape {group[name].shape}, "
            f"and not one a map of {shape}"
        )
    return read_all(group[name], shape[0])


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
