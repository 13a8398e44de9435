"""FITS images: LensTools, and MassiveNuS and the other Columbia suites (``WLconv_z1.00_0001r.fits``)."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

from ..files import optional
from .filemaps import FileMaps, number, reading

COLUMBIA = re.compile(r"WLconv_z(\d+\.\d+)_\d+r\.fits?(\.gz)?")


def read_fits(path: Path) -> FileMaps:
    """The primary image of a FITS file: cards ``ANGLE`` in degrees, ``Z``, ``ITYPE``.

    The redshift in a Columbia name counts where there is no card ``Z``; if there is, they must agree.
    """
    path = Path(path)
    fits = optional(path, "astropy.io.fits")
    with reading(path, "a whole FITS file"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # what astropy only warns of, a cut-off file say, fails below
        with fits.open(path, memmap=False) as hdus:
            cards, image = hdus[0].header, hdus[0].data
            others = ", ".join(type(hdu).__name__ for hdu in hdus[1:]) or "nothing else"
    if image is None:
        raise ValueError(
            f"{path} has no primary image, only {others}; expected κ in the primary image"
        )
    if cards.get("ITYPE", "ConvergenceMap") != "ConvergenceMap":
        raise ValueError(
            f"{path} says that it is a {cards['ITYPE']} (card ITYPE); expected a ConvergenceMap"
        )
    found = FileMaps(image)
    if "ANGLE" in cards:
        found.side_deg = number(path, "card ANGLE", cards["ANGLE"])
    elif "SIDE" in cards:
        found.unsized = (
            f"gives the side of its field as SIDE = {cards['SIDE']} Mpc, which is no angle"
        )
    name = COLUMBIA.fullmatch(path.name)
    if name:
        found.z_source = float(name[1])
    if "Z" in cards:
        found.z_source = number(path, "card Z", cards["Z"])
        if name and not math.isclose(
            found.z_source, float(name[1]), abs_tol=0.005
        ):  # names have two decimals
            raise ValueError(
                f"{path} says Z = {found.z_source:g} in its header; expected z = {name[1]}, as in its name"
            )
    return found
