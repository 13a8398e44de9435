"""Plain arrays: ``.npy``, ``.npz``, ``.zarr``, and the masked ``.npy`` of the FAIR Universe challenge."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from ..data import MapSet
from ..files import atomic_folder, optional
from ..store import MapWriter, StoredMaps, read_simulation, simulation_name
from .filemaps import FileMaps, number, reading

FAIR_PIXEL = 2.0  # arcminutes


def read_npy(path: Path) -> FileMaps:
    """One array, ``(n, n)`` or ``(maps, n, n)``, as cosmoGAN's; a read-only memory map."""
    with reading(path, "a whole .npy file of plain numbers"):
        return FileMaps(np.lib.format.open_memmap(path, mode="r"))


def read_npz(path: Path) -> FileMaps:
    """A set that ``MapSet.save`` wrote; or an archive with one array of maps and, as in LensTools, ``angle_deg``.

    A scalar ``angle_deg`` or ``side_deg`` is the field size in degrees; other keys are not looked at.
    """
    with reading(path, "a whole .npz archive of plain numbers"):
        if not zipfile.is_zipfile(path):
            raise ValueError("it is cut off, or no zip archive at all")
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            ours = {"maps", "about"} <= set(archive.files)
            arrays = {} if ours else {key: archive[key] for key in archive.files}
    if ours:
        saved = MapSet.load(path)
        return FileMaps(
            saved.maps, saved.side_deg, saved.z_source, saved.simulation, saved.provenance
        )
    maps = [
        key for key, array in arrays.items() if array.ndim in (2, 3) and array.dtype.kind == "f"
    ]
    if len(maps) != 1:
        raise ValueError(
            f"{path} has {len(maps)} floating-point arrays of 2 or 3 dimensions among its keys "
            f"({', '.join(arrays) or 'none'}); expected exactly one, the maps"
        )
    side = next((arrays[key] for key in ("angle_deg", "side_deg") if key in arrays), None)
    return FileMaps(arrays[maps[0]], None if side is None else number(path, "field size", side))


# ---------------------------------------------------------------- zarr


def read_zarr(path: Path) -> FileMaps:
    """A zarr folder, version 2 or 3: one array of maps, or a group with an array ``maps`` and, if need be, ``simulation``.

    The maps stay on disk (:class:`~lensnb.store.StoredMaps`). The attributes ``side_deg`` (degrees) and ``z_source`` of the
    array or group count where they are there. A missing chunk, which zarr fills with a constant, is refused.
    """
    zarr = optional(path, "zarr")
    with reading(path, "a whole zarr folder"):
        root = zarr.open(str(path), mode="r")
        group = isinstance(root, zarr.Group)
        maps = root.get("maps") if group else root
        if maps is not None:
            _check_chunks(Path(path), maps)
            root = zarr.open(
                str(path), mode="r"
            )  # again: a set that grows has its simulation before its maps
        keys, about = sorted(root.keys()) if group else [], dict(root.attrs)
        checked, simulation = bool(about.get("pixels_checked")), None  # as MapWriter does
        name = simulation_name(keys)
        if maps is not None and name is not None:
            simulation = (
                read_simulation(root, maps.shape[0]) if checked else np.asarray(root[name][:])
            )
        if maps is not None:
            maps = StoredMaps(maps, path, checked) if maps.ndim == 3 else np.asarray(maps[...])
    if maps is None:
        raise ValueError(
            f"{path} has the keys {', '.join(keys) or 'none'}; expected one array, or a group with one called maps"
        )
    side, z_source = about.get("side_deg"), about.get("z_source")
    if simulation is not None and simulation.shape != maps.shape[:1]:
        raise ValueError(
            f"{path} has simulation numbers of the shape {simulation.shape}; expected one a map of {maps.shape}"
        )
    return FileMaps(
        maps,
        None if side is None else number(path, "field size", side),
        math.nan if z_source is None else number(path, "z_source", z_source),
        simulation,
        about.get("provenance", {}),
    )


def _check_chunks(path: Path, array) -> None:
    """No chunk is missing, or cut off where its codec would not notice: Blosc reads on beyond the end of the file."""
    if array.nchunks_initialized != array.nchunks:
        raise ValueError(
            f"{array.nchunks_initialized} of the {array.nchunks} chunks of its maps are there"
        )
    last = (
        type(array.compressors[-1]).__name__.lower() if array.compressors else ""
    )  # a checksum after it would notice
    if "blosc" in last and array.shards is None:
        for file in (path / array.path).rglob("*"):
            if file.is_file() and not file.name.startswith(".") and file.name != "zarr.json":
                with open(file, "rb") as chunk:
                    size = int.from_bytes(
                        chunk.read(16)[12:], "little"
                    )  # Blosc's header: the compressed size
                if file.stat().st_size != size:
                    raise ValueError(
                        f"its chunk {file.name} has {file.stat().st_size} of {size} bytes"
                    )


def save_zarr(maps: MapSet, path: str | Path) -> Path:
    """Write a set as a zarr folder that :func:`read_zarr` reads; whole, or not at all.

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
        writer.append(maps.maps, maps.simulation)
    return path


# ---------------------------------------------------------------- FAIR Universe


def _masked(path: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """Packed values ``(..., inside)``, a memory map, and the boolean mask they lie under."""
    packed, inside = read_npy(path).maps, read_npy(mask).maps
    if inside.dtype != bool or inside.ndim != 2 or not inside.any():
        raise ValueError(
            f"{mask} holds {inside.dtype} of shape {inside.shape}; expected a boolean mask (rows, columns)"
        )
    if (
        packed.dtype.kind != "f"
        or packed.ndim < 1
        or packed.shape[-1] != inside.sum()
        or not packed.size
    ):
        raise ValueError(
            f"{path} holds {packed.dtype} of shape {packed.shape}; expected floating-point κ, {inside.sum()} values a "
            f"map, as many as {Path(mask).name} has pixels inside"
        )
    return packed, np.asarray(inside)


def unmask(path: str | Path, mask: str | Path, outside: float = math.nan) -> np.ndarray:
    """The whole maps of a masked file, as they lie on the sky.

    Args:
        path: ``.npy`` of κ under the mask, shape ``(..., pixels inside)``, float16 in the challenge.
        mask: ``.npy`` of booleans, shape ``(rows, columns)``, (1424, 176) in the challenge.
        outside: value of the pixels outside the mask.

    Returns:
        Shape ``(..., rows, columns)``, dtype of the file.
    """
    packed, inside = _masked(Path(path), Path(mask))
    whole = np.full((*packed.shape[:-1], *inside.shape), outside, packed.dtype)
    whole[..., inside] = packed
    return whole


def read_masked(path: Path, mask: Path, pixels: int) -> FileMaps:
    """Square tiles of masked maps that lie wholly inside the mask and do not overlap (FAIR Universe: pixels of 2′).

    They stay on disk (:class:`~lensnb.store.StoredMaps`) and are cut out when they are asked for.

    Args:
        path, mask: as for :func:`unmask`.
        pixels: side of a tile.

    Returns:
        Tiles, map by map. With an axis (cosmologies, realisations, values) as in the challenge, the label is the number
        of the *cosmology*, whose maps come from the same simulations; otherwise it is the number of the map.

    Raises:
        ValueError: mask and values do not fit, or no tile lies inside.
    """
    packed, inside = _masked(Path(path), Path(mask))
    corners = _tiles(inside, pixels)
    if not corners:
        raise ValueError(
            f"{mask} has no square of {pixels} × {pixels} pixels inside; expected a smaller argument pixels"
        )
    at = inside.cumsum().reshape(inside.shape) - 1  # where in the packed values a pixel is
    index = np.stack([at[row : row + pixels, column : column + pixels] for row, column in corners])
    maps = StoredMaps(
        _Tiled(packed.reshape(-1, packed.shape[-1]), index), path, kind="a whole .npy file"
    )
    simulations = packed.shape[0] if packed.ndim > 1 else 1
    simulation = np.repeat(np.arange(simulations), len(maps) // simulations)
    return FileMaps(
        maps, pixels * FAIR_PIXEL / 60, simulation=simulation, provenance={"tiles": corners}
    )


class _Tiled:
    """The tiles ``(tiles of all maps, n, n)`` of packed maps ``(maps, inside)``, by the index ``(tiles, n, n)`` of each map."""

    def __init__(self, packed: np.ndarray, index: np.ndarray):
        self._packed, self._index = packed, index
        self.shape, self.dtype = (len(packed) * len(index), *index.shape[1:]), packed.dtype
        self.chunks = index.shape

    def __getitem__(self, some: slice) -> np.ndarray:
        each = len(self._index)
        first, last = some.start // each, -(-some.stop // each)
        tiles = self._packed[first:last][:, self._index].reshape(-1, *self.shape[1:])
        return tiles[some.start - first * each : some.stop - first * each]


def _tiles(inside: np.ndarray, n: int) -> list[tuple[int, int]]:
    """First corners of squares of n × n that lie inside and do not overlap, row by row, each as early as it can be."""
    if not 2 <= n <= min(inside.shape):
        return []
    sums = np.pad(inside.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    whole = sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n] == n * n
    free, corners = np.ones_like(inside), []
    for row, column in np.argwhere(whole).tolist():
        tile = free[row : row + n, column : column + n]
        if tile[0].all() and tile.all():
            tile[:] = False
            corners.append((row, column))
    return corners
