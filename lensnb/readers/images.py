"""FITS images: LensTools, and MassiveNuS and the other Columbia suites.

Maps of the Columbia suites are called ``WLconv_z1.00_0001r.fits``, with the source redshift in the
name.
"""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

from ..files import optional
from .filemaps import FileMaps, number, reading
from .formats import Format, Options, ends_in, register

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
_COLUMBIA = re.compile(r"WLconv_z(\d+\.\d+)_\d+r\.fits?(\.gz)?")


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

    Its card ``ANGLE`` is the side of the field, degrees, and ``Z`` the source redshift. The
    redshift in a Columbia name is used where there is no card ``Z``.

    Raises:
        ValueError: the file is cut off, has no primary image or one of shear, or its card ``Z``
            contradicts its name.
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
    found = FileMaps(image, z_source=_redshift(path, cards))
    if "ANGLE" in cards:
        found.side_deg = number(path, "card ANGLE", cards["ANGLE"])
    elif "SIDE" in cards:
        found.unsized = (
            f"gives the side of its field as SIDE = {cards['SIDE']} Mpc, which is no angle"
        )
    return found


def _primary(path: Path):
    """Cards and image of the first HDU, and in words what other HDUs there are."""
    fits = optional(path, "astropy.io.fits")
    with reading(path, "a whole FITS file"), warnings.catch_warnings():
        # Astropy only warns of some faults, such as a file that is cut off; they fail below.
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as hdus:
            cards, image = hdus[0].header, hdus[0].data
            others = ", ".join(type(hdu).__name__ for hdu in hdus[1:]) or "nothing else"
    return cards, image, others


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
