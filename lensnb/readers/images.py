"""FITS images: LensTools, and MassiveNuS and the other Columbia suites.

Maps of the Columbia suites are called ``WLconv_z1.00_0001r.fits``, with the source redshift in the
name.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import warnings
from pathlib import Path

import numpy as np

from ..files import optional
from .content import check_called, check_file_called, check_unit
from .filemaps import MOST_PACKED, SMALL, FileMaps, number, reading
from .formats import Format, Options, ends_in, register

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
_COLUMBIA = re.compile(r"WLconv_z(\d+\.\d+)_\d+r\.fits?(\.gz)?")
# Cards that say what an image shows.
_TITLES = ("OBJECT", "EXTNAME", "BTYPE", "CONTENT", "TITLE", "DATATYPE", "QUANTITY", "IMTYPE")
UNITS = {
    "deg": 1.0, "degree": 1.0, "degrees": 1.0, "arcmin": 1 / 60, "arcminutes": 1 / 60,
    "arcminute": 1 / 60, "arcsec": 1 / 3600, "arcseconds": 1 / 3600, "arcsecond": 1 / 3600,
    "rad": math.degrees(1), "radian": math.degrees(1), "radians": math.degrees(1),
}  # fmt: skip


@register
class Image(Format):
    """A FITS file with κ in its primary image; what else FITS can hold, other formats look for."""

    expected = FITS

    def suits(self, path: Path, asked: Options) -> bool:
        return ends_in(path, *FITS)

    def read(self, path: Path, asked: Options) -> FileMaps:
        return read_fits(path)


def read_fits(path: Path) -> FileMaps:
    """Read the primary image of a FITS file.

    Its card ``ANGLE`` is the side of the field, in degrees or in the unit that its comment names,
    and ``Z`` is the source redshift. World coordinates (``CDELT``, ``CD``) give the side as well.
    The redshift in a Columbia name is used where there is no card ``Z``. Planes along an axis of
    redshifts are of one sight line and have one simulation.

    Raises:
        ValueError: the file is cut off, has no primary image or one of something else than κ, its
            card ``Z`` contradicts its name, or ``ANGLE`` its world coordinates.
        ImportError: astropy is not installed.
    """
    path = Path(path)
    cards, image, others = _primary(path)
    if image is None:
        raise ValueError(
            f"{path} has no primary image, only {others}; expected κ in the primary image"
        )
    if cards.get("ITYPE", "ConvergenceMap") != "ConvergenceMap":
        raise ValueError(
            f"{path} says that it is a {cards['ITYPE']} (card ITYPE); expected a ConvergenceMap"
        )
    for card in _TITLES:
        check_called(path, f"card {card}", cards.get(card, ""))
    check_unit(path, "card BUNIT", cards.get("BUNIT", ""))
    check_file_called(path)
    found = FileMaps(image, z_source=_redshift(path, cards))
    found.side_deg = _side(path, cards, image.shape)
    if found.side_deg is None and "SIDE" in cards:
        found.unsized = (
            f"gives the side of its field as SIDE = {cards['SIDE']} Mpc, which is no angle"
        )
    if image.ndim == 3 and str(cards.get("CTYPE3", "")).strip().upper() in ("Z", "REDSHIFT"):
        found.simulation = np.zeros(len(image), int)
    return found


def open_fits(path: Path):
    """A FITS file opened by astropy; a packed one must not become far larger than it is.

    Raises:
        ValueError: it does.
    """
    fits = optional(path, "astropy.io.fits")
    if not ends_in(path, ".gz"):
        return fits.open(path, memmap=False)
    most = MOST_PACKED * path.stat().st_size + SMALL
    with gzip.open(path) as packed:
        raw = packed.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"it has {path.stat().st_size:,} bytes and becomes more than {most:,}")
    return fits.open(io.BytesIO(raw), memmap=False)


def _primary(path: Path):
    """Cards and image of the first HDU, and in words what other HDUs there are."""
    optional(path, "astropy.io.fits")
    with reading(path, "a whole FITS file"), warnings.catch_warnings():
        # Astropy only warns of some faults, such as a file that is cut off; they fail below.
        warnings.simplefilter("ignore")
        with open_fits(path) as hdus:
            cards, image = hdus[0].header, hdus[0].data
            others = ", ".join(type(hdu).__name__ for hdu in hdus[1:]) or "nothing else"
    return cards, image, others


def _side(path: Path, cards, shape: tuple[int, ...]) -> float | None:
    """The side of the field in degrees, by ``ANGLE`` and by the world coordinates, which agree."""
    by_pixels = _side_of_pixels(path, cards, shape)
    if "ANGLE" not in cards:
        return by_pixels
    angle = number(path, "card ANGLE", cards["ANGLE"]) * _unit(path, cards.comments["ANGLE"])
    if by_pixels is not None and not math.isclose(angle, by_pixels, rel_tol=1e-2):
        raise ValueError(
            f"{path} has ANGLE = {angle:g} degrees, and pixels that span {by_pixels:g} degrees; "
            "expected the same"
        )
    return angle


def _unit(path: Path, comment: str) -> float:
    """Degrees in the unit that a comment names, as FITS asks for: ``[arcmin] side``."""
    words = re.findall(r"[a-z]+", comment.lower())
    bracket = re.search(r"\[\s*(.*?)\s*\]", comment)
    if bracket:
        words = [bracket[1].lower()]
    named = [word for word in words if word in UNITS]
    if bracket and not named:
        raise ValueError(
            f"{path} gives its ANGLE in {bracket[1]!r}; expected deg, arcmin, arcsec or rad"
        )
    if not named:
        return 1.0
    return UNITS[named[0]]


def _side_of_pixels(path: Path, cards, shape: tuple[int, ...]) -> float | None:
    """The side in degrees by the world coordinates; None where there are none of angles."""
    if len(shape) < 2 or not {"CDELT1", "CD1_1", "CD1_2"} & set(cards):
        return None
    wcs = optional(path, "astropy.wcs")
    utils = optional(path, "astropy.wcs.utils")
    with reading(path, "a FITS file with possible world coordinates"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = wcs.WCS(cards, naxis=2)
        units = [unit.physical_type for unit in world.wcs.cunit]
        if not world.has_celestial and units != ["angle", "angle"]:
            return None
        scales = utils.proj_plane_pixel_scales(world)
        width, height = (
            float((scale * unit).to_value("deg")) for scale, unit in zip(scales, world.wcs.cunit)
        )
    if not math.isclose(width, height, rel_tol=1e-2):
        raise ValueError(
            f"{path} has pixels of {width:g} by {height:g} degrees; expected square ones"
        )
    return number(path, "pixel size", height) * shape[-1]


def _redshift(path: Path, cards) -> float:
    """The source redshift of the card ``Z`` or of the name; NaN where neither says it."""
    name = _COLUMBIA.fullmatch(path.name)
    if "Z" not in cards:
        if name:
            return float(name[1])
        return math.nan
    said = number(path, "card Z", cards["Z"])
    # Names have two decimals.
    if name and not math.isclose(said, float(name[1]), abs_tol=0.005):
        raise ValueError(
            f"{path} says Z = {said:g} in its header; expected z = {name[1]}, as in its name"
        )
    return said
