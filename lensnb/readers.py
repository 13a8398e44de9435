"""Other people's files → a :class:`~lensnb.data.MapSet`, by one entry: :func:`open_maps`.

Each format has one reader, ``read_<format>(path) → FileMaps``, that reports what the file itself says: its κ,
dimensionless, ``(n, n)`` or ``(maps, n, n)``, and the field size (degrees) and source redshift where it carries them.
:func:`open_maps` picks the reader by the file's name, checks every array in the same way, joins several files, and
fills in what the caller knows. Nothing is guessed: what a file lacks must be given, and what is given must agree.

A new format is one more reader and one more line in :func:`read_file`.
"""

from __future__ import annotations

import glob
import math
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from .data import MapSet

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
EXPECTED = f"a file of κ maps: .npy, .npz, {', '.join(FITS)}"


@dataclass
class FileMaps:
    """What one file says about its maps.

    Attributes:
        maps: κ, dimensionless, shape ``(n, n)`` or ``(maps, n, n)``.
        side_deg: side of the field, degrees; None when the file does not say.
        z_source: redshift of the sources; NaN when the file does not say.
        labels: simulation of each map, shape ``(maps,)``; None when the file does not say.
        provenance: plain JSON values.
        unsized: why ``side_deg`` is None, where the file says something else instead.
    """

    maps: np.ndarray
    side_deg: float | None = None
    z_source: float = math.nan
    labels: np.ndarray | None = None
    provenance: dict = field(default_factory=dict)
    unsized: str = "does not say how large its field is"


def open_maps(path, side_deg: float | None = None, z_source: float = math.nan, labels=None) -> MapSet:
    """Read convergence maps from a file, from all files that match a pattern, or from a list of files.

    The suffix tells the format: ``.npy``, one map ``(n, n)`` or many ``(maps, n, n)``; ``.npz``, written by
    ``MapSet.save`` or by LensTools, or holding exactly one floating-point array of maps; FITS, the primary image with
    its ``ANGLE`` card in degrees and, where there is one, ``Z``. One ``.npy`` stays on disk as a read-only memory map.

    Args:
        path: a file, a pattern such as ``"run/*.fits"`` (in natural order, 2 before 10), or a list in its own order.
        side_deg: side of the field, degrees; needed when the files do not say it.
        z_source: redshift of the sources, where the files do not say it; NaN when not known.
        labels: the simulation of each map: an array of integers or names, or the path of such an ``.npy``. They replace
            labels that the file carries. None keeps those, or, without any, counts every map as its own simulation.

    Returns:
        The set; ``provenance`` lists the files by name.

    Raises:
        FileNotFoundError: there is no such file, or none matches the pattern.
        ValueError: a file is truncated, not of square floating-point maps, without a field size, with NaN or infinite
            pixels, not κ, or in contradiction to another file or to the arguments; one sentence says which and how.
        ImportError: a FITS file, and astropy is not installed.
    """
    files = _files(path)
    z_source = math.nan if z_source is None else z_source
    _check_argument("side_deg", side_deg, 180.0)
    _check_argument("z_source", None if _unknown(z_source) else z_source)
    found = []
    for file in files:
        one = read_file(file)
        one.maps = _checked(file, one.maps)
        one.side_deg = _settled(file, "side_deg", one.side_deg, side_deg)
        one.z_source = _settled(file, "z_source", one.z_source, z_source)
        if one.side_deg is None:
            raise ValueError(f"{file} {one.unsized}; expected the argument side_deg, the side of the field in degrees")
        if found:
            _check_alike(file, one, files[0], found[0])
        found.append(one)
    maps = found[0].maps if len(found) == 1 else np.concatenate([one.maps for one in found])
    labels = _joined_labels(files, found) if labels is None else _given_labels(labels, len(maps))
    provenance = dict(found[0].provenance) if len(found) == 1 else {}
    provenance["files"] = [file.name for file in files]
    return MapSet(maps, found[0].side_deg, found[0].z_source, labels, provenance)


def read_file(path: Path) -> FileMaps:
    """What a file says, by the reader that its name calls for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, or no reader goes by such a name.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected {EXPECTED}, or a pattern such as {path / '*.fits'}")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected {EXPECTED}")
    name = path.name.lower()
    if name.endswith(".npy"):
        return read_npy(path)
    if name.endswith(".npz"):
        return read_npz(path)
    if name.endswith(FITS):
        return read_fits(path)
    raise ValueError(f"{path} has a name that no reader knows; expected {EXPECTED}")


# ---------------------------------------------------------------- one reader a format


def read_npy(path: Path) -> FileMaps:
    """One array, ``(n, n)`` or ``(maps, n, n)``, as cosmoGAN's; a read-only memory map."""
    with _reading(path, "a whole .npy file of plain numbers"):
        return FileMaps(np.lib.format.open_memmap(path, mode="r"))


def read_npz(path: Path) -> FileMaps:
    """A set that ``MapSet.save`` wrote; or an archive with one array of maps and, as in LensTools, ``angle_deg``.

    A scalar ``angle_deg`` or ``side_deg`` is the field size in degrees; other keys are not looked at.
    """
    with _reading(path, "a whole .npz archive of plain numbers"):
        if not zipfile.is_zipfile(path):
            raise ValueError("it is cut off, or no zip archive at all")
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            ours = {"maps", "labels", "about"} <= set(archive.files)
            arrays = {} if ours else {key: archive[key] for key in archive.files}
    if ours:
        saved = MapSet.load(path)
        return FileMaps(saved.maps, saved.side_deg, saved.z_source, saved.labels, saved.provenance)
    maps = [key for key, array in arrays.items() if array.ndim in (2, 3) and array.dtype.kind == "f"]
    if len(maps) != 1:
        raise ValueError(
            f"{path} has {len(maps)} floating-point arrays of 2 or 3 dimensions among its keys "
            f"({', '.join(arrays) or 'none'}); expected exactly one, the maps"
        )
    side = next((arrays[key] for key in ("angle_deg", "side_deg") if key in arrays), None)
    return FileMaps(arrays[maps[0]], None if side is None else _number(path, "field size", side))


def read_fits(path: Path) -> FileMaps:
    """The primary image of a FITS file (Columbia suites, LensTools): cards ``ANGLE`` in degrees, ``Z``, ``ITYPE``."""
    try:
        from astropy.io import fits
    except ImportError:
        raise ImportError(f"{path} needs astropy, which is not installed: pip install 'lensnb[formats]'") from None
    with _reading(path, "a whole FITS file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what astropy only warns of, a cut-off file say, fails below
        with fits.open(path, memmap=False) as hdus:
            cards, image = hdus[0].header, hdus[0].data
            others = ", ".join(type(hdu).__name__ for hdu in hdus[1:]) or "nothing else"
    if image is None:
        raise ValueError(f"{path} has no primary image, only {others}; expected κ in the primary image")
    if cards.get("ITYPE", "ConvergenceMap") != "ConvergenceMap":
        raise ValueError(f"{path} says that it is a {cards['ITYPE']} (card ITYPE); expected a ConvergenceMap")
    found = FileMaps(image)
    if "ANGLE" in cards:
        found.side_deg = _number(path, "card ANGLE", cards["ANGLE"])
    elif "SIDE" in cards:
        found.unsized = f"gives the side of its field as SIDE = {cards['SIDE']} Mpc, which is no angle"
    if "Z" in cards:
        found.z_source = _number(path, "card Z", cards["Z"])
    return found


# ---------------------------------------------------------------- which files


def _files(path) -> list[Path]:
    """The files that a path, a pattern or a list stands for."""
    if not isinstance(path, str | PathLike):
        if not len(path):
            raise ValueError(f"the list of files is empty; expected {EXPECTED}")
        return [Path(one).expanduser() for one in path]
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


@contextmanager
def _reading(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a file library raises into one sentence."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path} is not {expected} ({reason or type(error).__name__})") from None


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


def _number(path: Path, what: str, value) -> float:
    """A positive, finite number that a file states."""
    try:
        number = float(np.asarray(value).item())
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{path} gives {value!r} as its {what}; expected one positive number")
    return number


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
        if shared:
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
        with _reading(name, "a whole .npy file of plain numbers"):
            labels = np.array(np.lib.format.open_memmap(name, mode="r"))
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"{name} has the shape {labels.shape}; expected ({count},), one label a map")
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == labels.round()).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iuU":
        raise ValueError(f"{name} holds values of type {labels.dtype}; expected whole numbers or names of simulations")
    return labels
