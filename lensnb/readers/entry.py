"""The one entry: which reader, which files, and what all maps are held to."""

from __future__ import annotations

import glob
import math
import re
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path

import numpy as np

from ..data import MapSet, block_average
from . import ktng, slics
from .arrays import read_masked, read_npy, read_npz, read_zarr
from .catalogues import is_catalogue, read_catalogue
from .cosmogrid import GROUPS, read_cosmogrid
from .filemaps import FileMaps, optional, options_needed, reading
from .images import read_fits

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
HDF5 = (".h5", ".hdf5")
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


def open_maps(
    path,
    side_deg: float | None = None,
    z_source: float = math.nan,
    labels=None,
    *,
    pixels: int | None = None,
    source: int | str | tuple[float, float] | None = None,
    mask: str | PathLike | None = None,
    signs: tuple[int, int] | None = None,
) -> MapSet:
    """Read convergence maps from a file, from all files that match a pattern, or from a list of files.

    Name and content tell the format. *Arrays*: ``.npy``, one map ``(n, n)`` or many ``(maps, n, n)``, as cosmoGAN's;
    ``.npz``, written by ``MapSet.save`` or by LensTools, or holding exactly one floating-point array of maps;
    ``.zarr``, an array, or a group with ``maps`` and ``labels``. *FITS*: the primary image with its ``ANGLE`` card in
    degrees and, where there is one, ``Z`` (LensTools, MassiveNuS), or a table of sheared galaxies (SLICS, MICE), which
    becomes one Kaiser–Squires map. *HDF5*: CosmoGrid, cut into patches, and κTNG. *Binary*: SLICS and κTNG. One
    ``.npy`` stays on disk as a read-only memory map.

    Args:
        path: a file, a pattern such as ``"run/*.fits"`` (what there is of it, 2 before 10), or a list in its own order,
            of which no file may be missing.
        side_deg: side of the field, degrees; needed when the files do not say it, and to cut CosmoGrid's sky.
        z_source: redshift of the sources, where the files do not say it; NaN when not known.
        labels: the simulation of each map: an array of integers or names, or the path of such an ``.npy``. They replace
            labels that the file carries. None keeps those, or, without any, counts every map as its own simulation.
        pixels: a side of the maps returned. Maps are averaged in whole blocks, file by file, so that many large files
            fit into memory (7744 of SLICS = 16 × 484); a sky is cut, a catalogue binned, a masked map tiled to so many.
        source: which sources, where a file has several: the tomographic bin of CosmoGrid (1 to 4, or its name), the
            number of κTNG's source plane, or the redshifts (from, to) of a catalogue.
        mask: ``.npy`` of booleans under which a ``.npy`` holds the values, as in the FAIR Universe challenge.
        signs: what to multiply the two components of a catalogue's shear by; see :func:`read_shear`.

    Returns:
        The set; ``provenance`` lists the files by name, and what they say of themselves: a list where they differ.

    Raises:
        FileNotFoundError: there is no such file, or none matches the pattern.
        ValueError: a file is truncated, not of square floating-point maps, without a field size, with NaN or infinite
            pixels, not κ, or in contradiction to another file or to the arguments; one sentence says which and how.
        ImportError: a package is not installed that the format needs.
    """
    files = _files(path)
    z_source = math.nan if z_source is None else z_source
    _check_argument("side_deg", side_deg, 180.0)
    _check_argument("z_source", None if _unknown(z_source) else z_source)
    if pixels is not None and (not isinstance(pixels, int | np.integer) or pixels < 2):
        raise ValueError(f"pixels must be a whole number of at least 2, found {pixels!r}")
    options = Options(pixels, source, mask, signs)
    found = []
    for file in files:
        one = read_file(file, side_deg, z_source, options)
        one.maps = _averaged(file, _checked(file, one.maps), pixels)
        one.side_deg = _settled(file, "side_deg", one.side_deg, side_deg)
        one.z_source = _settled(file, "z_source", one.z_source, z_source)
        if one.side_deg is None:
            raise ValueError(f"{file} {one.unsized}; expected the argument side_deg, the side of the field in degrees")
        if found:
            _check_alike(file, one, files[0], found[0])
        found.append(one)
    maps = found[0].maps if len(found) == 1 else np.concatenate([one.maps for one in found])
    labels = _joined_labels(files, found) if labels is None else _given_labels(labels, len(maps))
    provenance = _joined_provenance([one.provenance for one in found])
    provenance["files"] = [file.name for file in files]
    return MapSet(maps, found[0].side_deg, found[0].z_source, labels, provenance)


def read_file(
    path: Path, side_deg: float | None = None, z_source: float = math.nan, options: Options | None = None
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
        raise ValueError(f"{path} is a folder; expected {EXPECTED}, or a pattern such as {path / '*.fits'}")
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
        cosmogrid, theirs = any(group in file for group in GROUPS), any(re.fullmatch(r"z\d+", key) for key in keys)
    if cosmogrid == theirs:
        raise ValueError(f"{path} has the keys {', '.join(keys) or 'none'}; expected kg (CosmoGrid) or z<NN> (κTNG)")
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
            shown = ", ".join(str(file) for file in missing[:10]) + (", …" if len(missing) > 10 else "")
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


def _checked(path: Path, maps: np.ndarray) -> np.ndarray:
    """The maps as ``(maps, n, n)`` in native byte order, if they can be κ."""
    if maps.dtype.kind != "f":
        raise ValueError(f"{path} holds values of type {maps.dtype.newbyteorder('=')}; expected floating-point κ")
    square = maps.ndim in (2, 3) and maps.shape[-1] == maps.shape[-2] >= 2
    if not square or len(maps) == 0:
        raise ValueError(
            f"{path} holds an array of shape {maps.shape}; expected square maps, (n, n) or (maps, n, n), n >= 2"
        )
    maps = maps.astype(maps.dtype.newbyteorder("="), copy=False).reshape(-1, *maps.shape[-2:])
    _check_pixels(path, maps)
    return maps


def _check_pixels(path: Path, maps: np.ndarray) -> None:
    """Every pixel is finite, and the bulk of no map is beyond what κ can be."""
    bad = np.array([one.size - np.count_nonzero(np.isfinite(one)) for one in maps])
    if bad.any():
        first = (bad > 0).argmax()
        raise ValueError(
            f"{path} has {bad.sum()} pixels that are NaN or infinite, the first in map {first} of {len(maps)} "
            "(counted from 0); expected finite κ everywhere"
        )
    step = max(1, maps.shape[-1] // 64)  # the bulk of a map shows in 64 × 64 of its pixels
    bulk = np.array([np.median(np.abs(one[::step, ::step], dtype=np.float64)) for one in maps])
    if bulk.max() > 10:
        raise ValueError(
            f"{path} cannot be κ: |κ| has the median {bulk.max():.3g} in map {bulk.argmax()} of {len(maps)} "
            "(counted from 0); expected less than 10"
        )


def _averaged(path: Path, maps: np.ndarray, pixels: int | None) -> np.ndarray:
    """Block averages down to ``pixels`` a side; the maps themselves where they have as many, or none are asked for."""
    n = maps.shape[-1]
    if pixels is None or pixels == n:
        return maps
    if pixels > n or n % pixels:
        raise ValueError(
            f"{path} has maps of {n} × {n} pixels; expected pixels to be one whole part of {n}, not {pixels}"
        )
    return block_average(MapSet(maps, 1.0), n // pixels).maps


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
        raise ValueError(f"{path} says {name} = {said:g}; the argument says {given:g}, expected the same or none")
    return said


def _check_alike(path: Path, one: FileMaps, first_path: Path, first: FileMaps) -> None:
    """Files of one set agree in pixels, field size and source redshift."""
    here, there = (f"{m.maps.shape[-1]} × {m.maps.shape[-1]} pixels over {m.side_deg:g}°" for m in (one, first))
    if here != there:
        raise ValueError(f"{path} has maps of {here}; expected {there}, as in {first_path}")
    if not np.isclose(one.z_source, first.z_source, rtol=1e-3, equal_nan=True):
        raise ValueError(f"{path} says z_source = {one.z_source:g}; expected {first.z_source:g}, as in {first_path}")


def _joined_provenance(each: list[dict]) -> dict:
    """What all files say of themselves: once where they agree, one by one where they do not."""
    keys = [key for key in each[0] if all(key in one for one in each)]
    return {
        key: each[0][key] if all(one[key] == each[0][key] for one in each) else [one[key] for one in each]
        for key in keys
    }


# ---------------------------------------------------------------- labels


def _joined_labels(files: list[Path], found: list[FileMaps]) -> np.ndarray | None:
    """The labels that the files carry; None when none does."""
    known = [one.labels is not None for one in found]
    if not any(known):
        return None
    if not all(known):
        raise ValueError(f"{files[known.index(False)]} carries no simulation labels but others do; expected labels=")
    seen: set = set()
    for file, one in zip(files, found):
        shared = sorted(seen & set(one.labels.tolist()))
        if shared and not all(each.named for each in found):
            raise ValueError(
                f"{file} uses the simulation label {shared[0]!r} of an earlier file, so that it is not clear whether "
                "they share a simulation; expected labels="
            )
        seen |= set(one.labels.tolist())
    return np.concatenate([one.labels for one in found])


def _given_labels(labels, count: int) -> np.ndarray:
    """One integer or name a map, from an array or an ``.npy`` file."""
    name = "labels"
    if isinstance(labels, str | PathLike):
        name = Path(labels).expanduser()
        if not name.exists():
            raise FileNotFoundError(f"{name} does not exist; expected an .npy file with one label a map")
        with reading(name, "a whole .npy file of plain numbers"):
            labels = np.array(np.lib.format.open_memmap(name, mode="r"))
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"{name} has the shape {labels.shape}; expected ({count},), one label a map")
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == labels.round()).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iuU":
        raise ValueError(f"{name} holds values of type {labels.dtype}; expected whole numbers or names of simulations")
    return labels
