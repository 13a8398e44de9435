"""The one entry: which reader, which files, and what all maps are held to."""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from os import PathLike
from pathlib import Path

import numpy as np

from ..data import MapSet, block_average, tiles
from ..files import atomic_folder, optional
from ..renamed import renamed
from ..store import MapWriter, check_pixels, pieces
from . import ktng, slics
from .arrays import read_masked, read_npy, read_npz, read_zarr
from .catalogues import is_catalogue, read_catalogue
from .cosmogrid import GROUPS, read_cosmogrid
from .filemaps import FileMaps, options_needed, reading
from .images import read_fits

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
HDF5 = (".h5", ".hdf5")
EACH = "each"  # for ``simulation``: every map counts as its own, whatever the files say
EXPECTED = (
    f"a file of κ maps: .npy, .npz, .zarr, {', '.join((*FITS, *HDF5))}, <z>kappa_weight.dat_LOS<n> (SLICS) or "
    "kappa<NN>.dat (κTNG)"
)


@dataclass(frozen=True)
class Options:
    """What only some formats ask for; see :func:`open_maps`. None: not given."""

    pixels: int | None = None
    source: int | str | tuple[float, float] | None = None
    mask: str | PathLike | None = None
    signs: tuple[int, int] | None = None

    def only(self, path: Path, *names: str) -> Options:
        """Itself, if nothing was given that means nothing for this file; ``pixels`` means something for every file."""
        for one in fields(self):
            if one.name not in ("pixels", *names) and getattr(self, one.name) is not None:
                raise ValueError(
                    f"{path} is of a format for which the argument {one.name} means nothing; expected none"
                )
        return self


@renamed(labels="simulation")
def open_maps(
    path,
    side_deg: float | None = None,
    z_source: float = math.nan,
    simulation=None,
    *,
    pixels: int | None = None,
    source: int | str | tuple[float, float] | None = None,
    mask: str | PathLike | None = None,
    signs: tuple[int, int] | None = None,
    tile: int | None = None,
) -> MapSet:
    """Read convergence maps from a file, from all files that match a pattern, or from a list of files.

    Name and content tell the format. *Arrays*: ``.npy``, one map ``(n, n)`` or many ``(maps, n, n)``, as cosmoGAN's;
    ``.npz``, written by ``MapSet.save`` or by LensTools, or holding exactly one floating-point array of maps;
    ``.zarr``, an array, or a group with ``maps`` and ``simulation``. *FITS*: the primary image with its ``ANGLE`` card in
    degrees and, where there is one, ``Z`` (LensTools, MassiveNuS), or a table of sheared galaxies (SLICS, MICE), which
    becomes one Kaiser–Squires map. *HDF5*: CosmoGrid, cut into patches, and κTNG. *Binary*: SLICS and κTNG. One
    ``.npy`` stays on disk as a read-only memory map, one ``.zarr`` as :class:`~lensnb.store.StoredMaps`. The pixels of all are
    read once, to be checked; only a ``.zarr`` that lensnb wrote is not, whose pixels were checked then.

    Args:
        path: a file, a pattern such as ``"run/*.fits"`` (what there is of it, 2 before 10), or a list in its own order,
            of which no file may be missing.
        side_deg: side of the field, degrees; needed when the files do not say it, and to cut CosmoGrid's sky.
        z_source: redshift of the sources, where the files do not say it; NaN when not known.
        simulation: the simulation of each map: an array of integers or names, or the path of such an ``.npy``. They replace
            those that the file carries. None keeps those, or, without any, counts every map as its own simulation;
            ``"each"`` does so even for maps, or tiles of one map, that are of one simulation: to have something to split
            where there is one only. Errors then come out too small.
        pixels: a side of the maps returned. Maps are averaged in whole blocks, file by file, so that many large files
            fit into memory (7744 of SLICS = 16 × 484); a sky is cut, a catalogue binned, a masked map tiled to so many.
        source: which sources, where a file has several: the tomographic bin of CosmoGrid (1 to 4, or its name), the
            number of κTNG's source plane, or the redshifts (from, to) of a catalogue.
        mask: ``.npy`` of booleans under which a ``.npy`` holds the values, as in the FAIR Universe challenge.
        signs: what to multiply the two components of a catalogue's shear by; see :func:`read_shear`.
        tile: cut each map, as it is otherwise returned, into non-overlapping tiles of so many pixels a side
            (:func:`lensnb.data.tiles`), with the simulation of their map.

    Returns:
        The set; ``provenance`` lists the files by name, and what they say of themselves: a list where they differ.

    Raises:
        FileNotFoundError: there is no such file, or none matches the pattern.
        ValueError: a file is truncated, not of square floating-point maps, without a field size, with NaN or infinite
            pixels, not κ, or in contradiction to another file or to the arguments; one sentence says which and how.
        ImportError: a package is not installed that the format needs.
    """
    files, found, known = [], [], _Simulations()
    for file, one in _each(path, side_deg, z_source, Options(pixels, source, mask, signs)):
        one.maps = _native(one.maps)
        if not getattr(one.maps, "checked", False):
            check_pixels(file, one.maps)
        one.maps = _averaged(one.maps, pixels)
        if simulation is None:
            known.add(file, one)
        files.append(file)
        found.append(one)
    maps = (
        found[0].maps
        if len(found) == 1
        else np.concatenate([np.asarray(one.maps) for one in found])
    )
    alone = _alone(simulation)
    simulation = (
        known.joined() if simulation is None or alone else _given_simulation(simulation, len(maps))
    )
    whole = MapSet(
        maps, found[0].side_deg, found[0].z_source, simulation, _joined_provenance(found, files)
    )
    whole = _cut(files[0], whole, tile)
    return replace(whole, simulation=np.arange(len(whole))) if alone else whole


@renamed(labels="simulation")
def convert(
    path,
    out: str | PathLike,
    side_deg: float | None = None,
    z_source: float = math.nan,
    simulation=None,
    *,
    pixels: int | None = None,
    source: int | str | tuple[float, float] | None = None,
    mask: str | PathLike | None = None,
    signs: tuple[int, int] | None = None,
    tile: int | None = None,
) -> MapSet:
    """Write what :func:`open_maps` reads as one ``.zarr`` set, whole or not at all, in bounded memory.

    Files are read one after the other, and ``.npy`` and ``.zarr`` piece by piece; of the other formats one file at a time must
    fit into memory.

    Args:
        path, side_deg, z_source, simulation, pixels, source, mask, signs, tile: as for :func:`open_maps`.
        out: the folder to make; it ends in ``.zarr``.

    Returns:
        The set, which stays on disk.

    Raises:
        FileExistsError: there is something of that name.
        FileNotFoundError, ValueError, ImportError: as for :func:`open_maps`.
    """
    out, files, found, known = Path(out), [], [], _Simulations()
    alone = _alone(simulation)
    name, given = ("", None) if simulation is None or alone else _read_simulation(simulation)
    with atomic_folder(out) as part, ExitStack() as closing:
        writer, count = None, 0
        for file, one in _each(path, side_deg, z_source, Options(pixels, source, mask, signs)):
            end = count + len(one.maps)
            if given is None:
                own = None if alone else known.add(file, one)
                own = np.arange(count, end) if own is None else own
            else:
                _check_count(name, given, end, given[:end].shape != (end,))
                own = given[count:end]
            if writer is None:
                share = 1 if tile is None else tile / (pixels or one.maps.shape[-1])
                writer = closing.enter_context(MapWriter(part, one.side_deg * share, one.z_source))
            _append(file, one.maps, own, writer, pixels, tile, alone)
            count, one.maps = end, _none_of(one.maps)
            files.append(file)
            found.append(one)
        if given is not None:
            _check_count(name, given, count, given.shape != (count,))
        writer.provenance = _joined_provenance(found, files) | (
            {} if tile is None else {"steps": [f"tiles {tile}"]}
        )
    return open_maps(out)


def _append(
    file: Path,
    maps,
    simulation: np.ndarray,
    writer: MapWriter,
    pixels: int | None,
    tile: int | None,
    alone: bool,
) -> None:
    """The maps of a file to the end of a set, piece by piece."""
    for start, piece in pieces(maps):
        piece = _native(piece)
        check_pixels(file, piece, start, len(maps))
        own = MapSet(
            _averaged(piece, pixels), 1.0, simulation=simulation[start : start + len(piece)]
        )
        own = _cut(file, own, tile)
        if len(writer) and not np.can_cast(own.maps.dtype, writer.dtype):
            raise ValueError(
                f"{file} holds {own.maps.dtype}; expected {writer.dtype}, as the files before it"
            )
        writer.append(own.maps, len(writer) + np.arange(len(own)) if alone else own.simulation)


def _cut(file: Path, maps: MapSet, tile: int | None) -> MapSet:
    """The tiles of all maps, where they are asked for."""
    if tile is None:
        return maps
    if not isinstance(tile, int | np.integer) or not 2 <= tile <= maps.grid.n:
        raise ValueError(
            f"{file} has maps of {maps.grid.n} × {maps.grid.n} pixels; expected tile to be a whole number from 2 to that, not {tile!r}"
        )
    return tiles(maps, tile)


def _alone(simulation) -> bool:
    return isinstance(simulation, str) and simulation == EACH


def _none_of(maps) -> np.ndarray:
    """No maps of the same kind; a slice would keep all of them in memory."""
    return np.empty((0, *maps.shape[1:]), maps.dtype)


def _each(
    path, side_deg: float | None, z_source: float, options: Options
) -> Iterator[tuple[Path, FileMaps]]:
    """The files that a path stands for, one after the other, and what they say: all alike, their pixels unchecked."""
    files, pixels = _files(path), options.pixels
    z_source = math.nan if z_source is None else z_source
    _check_argument("side_deg", side_deg, 180.0)
    _check_argument("z_source", None if _unknown(z_source) else z_source)
    if pixels is not None and (not isinstance(pixels, int | np.integer) or pixels < 2):
        raise ValueError(f"pixels must be a whole number of at least 2, found {pixels!r}")
    first = None
    for file in files:
        one = read_file(file, side_deg, z_source, options)
        one.maps = _square(file, one.maps, pixels)
        one.side_deg = _settled(file, "side_deg", one.side_deg, side_deg)
        one.z_source = _settled(file, "z_source", one.z_source, z_source)
        if one.side_deg is None:
            raise ValueError(
                f"{file} {one.unsized}; expected the argument side_deg, the side of the field in degrees"
            )
        first = replace(one, maps=_none_of(one.maps)) if first is None else first
        _check_alike(file, one, files[0], first, pixels)
        yield file, one


def read_file(
    path: Path,
    side_deg: float | None = None,
    z_source: float = math.nan,
    options: Options | None = None,
) -> FileMaps:
    """What a file says, by the reader that its name and its content call for; arguments as for :func:`open_maps`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, no reader goes by such a name, or an argument is missing or means nothing here.
    """
    given, name = options or Options(), path.name.lower()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected {EXPECTED}")
    if name.endswith(".zarr"):
        given.only(path)
        return read_zarr(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder; expected {EXPECTED}, or a pattern such as {path / '*.fits'}"
        )
    if name.endswith(".npy"):
        if given.only(path, "mask").mask is None:
            return read_npy(path)
        options_needed(path, "to be cut into tiles inside a mask", pixels=given.pixels)
        return read_masked(path, Path(given.mask).expanduser(), given.pixels)
    if name.endswith(FITS) and is_catalogue(path):
        given.only(path, "source", "signs")
        return read_catalogue(path, given.pixels, side_deg, given.source, given.signs or (1, 1))
    if name.endswith(HDF5):
        given.only(path, "source")
        if _is_cosmogrid(path):
            return read_cosmogrid(path, side_deg, given.pixels, given.source)
        return ktng.read_ktng(path, given.source)
    given.only(path)
    if name.endswith(".npz"):
        return read_npz(path)
    if name.endswith(FITS):
        return read_fits(path)
    if slics.NAME.fullmatch(path.name):
        return slics.read_slics(path, z_source)
    if ktng.BINARY.fullmatch(path.name):
        return ktng.read_ktng_binary(path)
    raise ValueError(f"{path} has a name that no reader knows; expected {EXPECTED}")


def _is_cosmogrid(path: Path) -> bool:
    """Whether an HDF5 file is laid out as CosmoGrid's, or else as κTNG's."""
    h5py = optional(path, "h5py")
    with reading(path, "a whole HDF5 file"), h5py.File(path, "r") as file:
        keys = sorted(file)
        cosmogrid, theirs = (
            any(group in file for group in GROUPS),
            any(re.fullmatch(r"z\d+", key) for key in keys),
        )
    if cosmogrid == theirs:
        raise ValueError(
            f"{path} has the keys {', '.join(keys) or 'none'}; expected kg (CosmoGrid) or z<NN> (κTNG)"
        )
    return cosmogrid


# ---------------------------------------------------------------- which files


def _files(path) -> list[Path]:
    """The files that a path, a pattern or a list stands for."""
    if not isinstance(path, str | PathLike):
        if not len(path):
            raise ValueError(f"the list of files is empty; expected {EXPECTED}")
        files = [Path(one).expanduser() for one in path]
        missing = [file for file in files if not file.exists()]
        if missing:
            shown = ", ".join(str(file) for file in missing[:10]) + (
                ", …" if len(missing) > 10 else ""
            )
            raise FileNotFoundError(
                f"{len(missing)} of the {len(files)} files of the list do not exist; expected {shown}"
            )
        return files
    path = Path(path).expanduser()
    if path.exists() or not re.search(r"[*?\[]", str(path)):
        return [path]
    matches = sorted(glob.glob(str(path), recursive=True), key=_natural)
    if not matches:
        raise FileNotFoundError(f"no file matches the pattern {path}; expected {EXPECTED}")
    return [Path(match) for match in matches]


def _natural(name: str) -> list:
    """Sort key that puts map2 before map10: text and numbers in turn."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]


# ---------------------------------------------------------------- checks


def _square(path: Path, maps, pixels: int | None):
    """The maps as ``(maps, n, n)``, if they are of a kind and shape that κ can be, and can be averaged to ``pixels``."""
    if maps.dtype.kind != "f":
        raise ValueError(
            f"{path} holds values of type {maps.dtype.newbyteorder('=')}; expected floating-point κ"
        )
    square = maps.ndim in (2, 3) and maps.shape[-1] == maps.shape[-2] >= 2
    if not square or maps.shape[0] == 0:
        raise ValueError(
            f"{path} holds an array of shape {maps.shape}; expected square maps, (n, n) or (maps, n, n), n >= 2"
        )
    n = maps.shape[-1]
    if pixels is not None and (pixels > n or n % pixels):
        raise ValueError(
            f"{path} has maps of {n} × {n} pixels; expected pixels to be one whole part of {n}, not {pixels}"
        )
    return maps if maps.ndim == 3 else maps[None]


def _native(maps):
    """The maps in native byte order."""
    return maps if maps.dtype.isnative else maps.astype(maps.dtype.newbyteorder("="))


def _averaged(maps, pixels: int | None):
    """Block averages down to ``pixels`` a side; the maps themselves where they have as many, or none are asked for."""
    n = maps.shape[-1]
    return maps if pixels in (None, n) else block_average(MapSet(maps, 1.0), n // pixels).maps


def _check_argument(name: str, value: float | None, below: float = math.inf) -> None:
    if value is not None and not 0 < value < below:
        raise ValueError(f"{name} must be a number between 0 and {below:g}, found {value}")


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)


def _settled(path: Path, name: str, said: float | None, given: float | None) -> float | None:
    """What the file says or the caller gave; both only if they agree to 0.1 %."""
    if _unknown(said):
        return given
    if not _unknown(given) and not math.isclose(said, given, rel_tol=1e-3):
        raise ValueError(
            f"{path} says {name} = {said:g}; the argument says {given:g}, expected the same or none"
        )
    return said


def _check_alike(
    path: Path, one: FileMaps, first_path: Path, first: FileMaps, pixels: int | None
) -> None:
    """Files of one set agree in pixels (once they are averaged), field size and source redshift."""
    sizes = ((pixels or m.maps.shape[-1], m.side_deg) for m in (one, first))
    here, there = (f"{n} × {n} pixels over {side:g}°" for n, side in sizes)
    if here != there:
        raise ValueError(f"{path} has maps of {here}; expected {there}, as in {first_path}")
    if not np.isclose(one.z_source, first.z_source, rtol=1e-3, equal_nan=True):
        raise ValueError(
            f"{path} says z_source = {one.z_source:g}; expected {first.z_source:g}, as in {first_path}"
        )


def _joined_provenance(found: list[FileMaps], files: list[Path]) -> dict:
    """What all files say of themselves, once where they agree, one by one where they do not; and their names."""
    each = [one.provenance for one in found]
    keys = [key for key in each[0] if all(key in one for one in each)]
    said = {
        key: each[0][key]
        if all(one[key] == each[0][key] for one in each)
        else [one[key] for one in each]
        for key in keys
    }
    return said | {"files": [file.name for file in files]}


# ---------------------------------------------------------------- simulation


class _Simulations:
    """The simulations that files name, file after file: all or none do, and equal names mean the same simulation."""

    def __init__(self):
        self._first: Path | None = None
        self._parts: list[np.ndarray] = []
        self._seen: set = set()
        self._shared, self._named = "", True

    def add(self, file: Path, one: FileMaps) -> np.ndarray | None:
        """The simulations of one more file; None where it names none, nor did those before."""
        if self._first is not None and (one.simulation is None) == bool(self._parts):
            without = file if one.simulation is None else self._first
            raise ValueError(
                f"{without} does not say the simulation of its maps but others do; expected simulation="
            )
        self._first = self._first or file
        if one.simulation is None:
            return None
        own = set(one.simulation.tolist())
        shared = sorted(self._seen & own)
        if shared and not self._shared:
            self._shared = f"{file} has simulation {shared[0]!r} of an earlier file"
        self._named &= one.named
        if self._shared and not self._named:
            raise ValueError(
                f"{self._shared}, so that it is not clear whether they share a simulation; expected simulation="
            )
        self._seen |= own
        self._parts.append(one.simulation)
        return one.simulation

    def joined(self) -> np.ndarray | None:
        """Those of all files, one after the other; None when none carries any."""
        return np.concatenate(self._parts) if self._parts else None


def _given_simulation(simulation, count: int) -> np.ndarray:
    """One integer or name a map, from an array or an ``.npy`` file."""
    name, simulation = _read_simulation(simulation)
    _check_count(name, simulation, count, simulation.shape != (count,))
    return simulation


def _check_count(name: str | Path, simulation: np.ndarray, count: int, other: bool) -> None:
    if other:
        raise ValueError(
            f"{name} has the shape {simulation.shape}; expected ({count},), one simulation a map"
        )


def _read_simulation(simulation) -> tuple[str | Path, np.ndarray]:
    """Integers or names, and what they are called in sentences."""
    name = "simulation"
    if isinstance(simulation, str | PathLike):
        name = Path(simulation).expanduser()
        if not name.exists():
            raise FileNotFoundError(
                f"{name} does not exist; expected an .npy file with one simulation a map"
            )
        with reading(name, "a whole .npy file of plain numbers"):
            simulation = np.array(np.lib.format.open_memmap(name, mode="r"))
    simulation = np.asarray(simulation)
    if (
        simulation.dtype.kind == "f"
        and np.isfinite(simulation).all()
        and (simulation == simulation.round()).all()
    ):
        simulation = simulation.astype(np.int64)
    if simulation.ndim == 1 and simulation.dtype.kind not in "iuU":
        raise ValueError(
            f"{name} holds values of type {simulation.dtype}; expected whole numbers or names of simulations"
        )
    return name, simulation
