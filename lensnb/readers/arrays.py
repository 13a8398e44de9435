"""Plain arrays of NumPy: ``.npy`` and ``.npz``."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from ..data import MapSet
from ..store.reading import simulation_name
from .content import check_called, check_file_called
from .filemaps import MOST_PACKED, SMALL, FileMaps, number, reading
from .formats import Format, Options, ends_in, register


@register
class Npy(Format):
    """One array; with a mask it is another format, see :mod:`lensnb.readers.masked`."""

    expected = (".npy",)

    def suits(self, path: Path, asked: Options) -> bool:
        return ends_in(path, ".npy") and asked.mask is None

    def read(self, path: Path, asked: Options) -> FileMaps:
        check_file_called(path)
        return read_npy(path)


@register
class Npz(Format):
    """An archive of arrays."""

    expected = (".npz",)

    def suits(self, path: Path, asked: Options) -> bool:
        return ends_in(path, ".npz")

    def read(self, path: Path, asked: Options) -> FileMaps:
        return read_npz(path, asked.simulation is None)


def read_npy(path: Path) -> FileMaps:
    """Read one array of maps, which stays on disk: ``(n, n)`` or ``(maps, n, n)``, as cosmoGAN's,
    or ``(maps, channels, n, n)``, as :func:`lensnb.models.draw` writes it.

    Returns:
        The array as a read-only memory map.

    Raises:
        ValueError: the file is cut off, or holds Python objects.
    """
    with reading(path, "a whole .npy file of plain numbers"):
        return FileMaps(np.lib.format.open_memmap(path, mode="r"), channels=True)


def read_npz(path: Path, labelled: bool = True) -> FileMaps:
    """Read a set that ``MapSet.save`` wrote, or an archive with one array of maps, as LensTools'.

    In other archives a number ``angle_deg`` or ``side_deg`` is the field size in degrees,
    ``z_source`` (``zs``, ``z_s``) the redshift of the sources, and ``simulation`` (``labels``) has
    the number or name of the simulation of each map. Further keys are ignored.

    Args:
        path: the file.
        labelled: read the simulations; False where the caller gives them.

    Raises:
        ValueError: the archive is cut off, has no or several arrays that could be the maps, or not
            one simulation a map.
    """
    with reading(path, "a whole .npz archive of plain numbers"):
        # NumPy would take any other file for a pickle.
        if not zipfile.is_zipfile(path):
            raise ValueError("it is cut off, or no zip archive at all")
        _check_packing(path)
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            ours = {"maps", "about"} <= set(archive.files)
            arrays = {}
            if not ours:
                arrays = {key: archive[key] for key in archive.files}
    if ours:
        return _saved_set(path)
    name, maps = _only_maps(path, arrays)
    check_called(path, "its key", name)
    check_file_called(path)
    found = FileMaps(maps, _side(path, arrays), _redshift(path, maps, arrays))
    if labelled:
        found.simulation = _simulation(path, maps, arrays)
    return found


def _saved_set(path: Path) -> FileMaps:
    with reading(path, "a whole .npz archive"):
        saved = MapSet.load(path)
    return FileMaps(
        saved.maps,
        saved.side_deg,
        saved.z_source,
        saved.simulation,
        saved.provenance,
        channels=True,
        given=saved.given,
    )


def _check_packing(path: Path) -> None:
    """Refuse an archive that becomes far larger in memory, as κ does not."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MOST_PACKED * path.stat().st_size + SMALL:
        raise ValueError(f"it has {path.stat().st_size:,} bytes and becomes {size:,}")


def _simulation(path: Path, maps: np.ndarray, arrays: dict) -> np.ndarray | None:
    """The simulation of each map; None where the archive does not say it."""
    name = simulation_name(arrays)
    if name is None:
        return _sight_line(maps, arrays)
    count = 1
    if maps.ndim > 2:
        count = len(maps)
    if arrays[name].size != count:
        raise ValueError(
            f"{path} has {name} of the shape {arrays[name].shape}; "
            f"expected ({count},), one simulation a map, or the argument simulation"
        )
    return arrays[name].reshape(count)


def _redshift(path: Path, maps: np.ndarray, arrays: dict) -> float:
    """The redshift of the sources of all maps; NaN where the archive does not say one."""
    for key in ("z_source", "zs", "z_s"):
        if key not in arrays:
            continue
        values = np.unique(arrays[key])  # many NaN count as one
        if values.size == 1 and values.dtype.kind == "f" and np.isnan(values[0]):
            return math.nan
        if values.size > 1 and arrays[key].shape == maps.shape[:1]:
            return math.nan  # planes of one sight line
        return number(path, f"key {key}", values)
    return math.nan


def _sight_line(maps: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray | None:
    """One simulation for maps at several redshifts, which are planes of one sight line."""
    for key in ("z", "zs", "z_s", "z_source", "redshift", "redshifts"):
        if maps.ndim == 3 and key in arrays and arrays[key].shape == maps.shape[:1]:
            if len(np.unique(arrays[key])) > 1:
                return np.zeros(len(maps), int)
    return None


def _only_maps(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """The only array that could be maps, by its type and the number of its axes; with its key."""
    maps = {
        key: array
        for key, array in arrays.items()
        if array.ndim in (2, 3) and array.dtype.kind == "f"
    }
    if len(maps) != 1:
        raise ValueError(
            f"{path} has {len(maps)} floating-point arrays of 2 or 3 dimensions among its keys "
            f"({', '.join(arrays) or 'none'}); expected exactly one, the maps"
        )
    return next(iter(maps.items()))


def _side(path: Path, arrays: dict[str, np.ndarray]) -> float | None:
    for key in ("angle_deg", "side_deg"):
        if key in arrays:
            return number(path, "field size", arrays[key])
    return None
