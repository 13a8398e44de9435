"""HEALPix maps in FITS files, as ``healpy.write_map`` writes them → flat patches.

The whole sky, or the observed part of it, in RING or NESTED order. Patches are those of CosmoGrid
(:mod:`lensnb.readers.cosmogrid`); of a partial sky, those that were observed in all pixels.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ..files import optional
from .content import check_called, check_unit
from .cosmogrid import check_fineness, patch_centres, patch_pixels
from .filemaps import FileMaps, options_needed, reading
from .formats import Format, Options, ends_in, register
from .images import FITS, open_fits

_WHOLE = "a whole HEALPix FITS file"


@register
class Healpix(Format):
    """A sky of HEALPix pixels in a table."""

    expected = FITS
    takes = ("source",)
    content = "a HEALPix table"

    def suits(self, path: Path, asked: Options) -> bool:
        return ends_in(path, *FITS)

    def holds(self, path: Path) -> bool:
        return is_healpix(path)

    def read(self, path: Path, asked: Options) -> FileMaps:
        return read_healpix(path, asked.side_deg, asked.pixels, asked.source)


def is_healpix(path: Path) -> bool:
    """Whether a FITS file says that HDU 1 has HEALPix pixels; False where it cannot be read."""
    optional(path, "astropy.io.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_fits(path) as hdus:
                return len(hdus) > 1 and str(hdus[1].header.get("PIXTYPE")).upper() == "HEALPIX"
        except Exception:  # the reader of images will say what is wrong
            return False


def read_healpix(
    path: Path, side_deg: float, pixels: int, source: int | str | None = None
) -> FileMaps:
    """Cut one column of a HEALPix file into patches.

    Args:
        path: a FITS file with the sky in HDU 1.
        side_deg: side of a patch, degrees.
        pixels: a side of a patch, whose pixels are no finer than those of the sky.
        source: the column, by its name or its number from 1; None takes the only one, or the only
            one that is called kappa or convergence.

    Returns:
        The patches of :func:`lensnb.readers.cosmogrid.patch_centres` that have no unseen pixel
        (UNSEEN, NaN or infinite). All of them are of one simulation, which has the name of the
        folder and the file.

    Raises:
        ValueError: the file is cut off, does not say its ordering, has no such column, coarser
            pixels than were asked for, or no patch that lies wholly in the observed sky.
        ImportError: healpy is not installed.
    """
    path = Path(path)
    options_needed(path, "a HEALPix sky, to be cut into patches", side_deg=side_deg, pixels=pixels)
    healpy = optional(path, "healpy")
    column, name = _column(path, source)
    with reading(path, _WHOLE), warnings.catch_warnings(), open_fits(path) as hdus:
        warnings.simplefilter("ignore")
        sky = healpy.read_map(hdus, field=column, nest=False, dtype=None)
    if sky.dtype.kind != "f":
        raise ValueError(f"{path} holds {name} of type {sky.dtype}; expected floating-point κ")
    nside = healpy.npix2nside(sky.size)
    check_fineness(path, side_deg, pixels, nside)
    unseen = healpy.mask_bad(sky) | ~np.isfinite(sky)
    maps = []
    for centre in patch_centres(side_deg, nside):
        inside = patch_pixels(*centre, side_deg, pixels, nside)
        if not unseen[inside].any():
            maps.append(sky[inside])
    if not maps:
        raise ValueError(
            f"{path} has no patch of {side_deg:g}° without unseen pixels: {unseen.mean():.0%} of "
            "the sky is unseen; expected a smaller side_deg"
        )
    run = "/".join(path.resolve().parts[-2:])
    return FileMaps(
        np.stack(maps),
        side_deg,
        simulation=np.full(len(maps), run),
        provenance={"column": name, "nside": int(nside), "unseen": float(unseen.mean())},
        named=True,
    )


def _column(path: Path, source: int | str | None) -> tuple[int, str]:
    """Number, for healpy, and name of the column of κ."""
    with reading(path, _WHOLE), open_fits(path) as hdus:
        cards, columns = hdus[1].header, hdus[1].columns
        names, units = list(columns.names), list(columns.units)
    if str(cards.get("ORDERING")).strip().upper() not in ("RING", "NESTED", "NEST"):
        raise ValueError(
            f"{path} has the card ORDERING = {cards.get('ORDERING')!r}; expected RING or NESTED"
        )
    if str(cards.get("INDXSCHM")).strip().upper() == "EXPLICIT":
        names, units = names[1:], units[1:]  # the first one has the numbers of the pixels
    wanted = _wanted(names, source)
    if wanted is None:
        raise ValueError(
            f"{path} has the columns {', '.join(names) or 'none'}; "
            f"expected the argument source to be one of them, found {source!r}"
        )
    check_called(path, "its column", names[wanted])
    check_unit(path, f"column {names[wanted]}", units[wanted] or "")
    return wanted, names[wanted]


def _wanted(names: list[str], source: int | str | None) -> int | None:
    """Index of the column that the caller or its name says; None where that is not clear."""
    if isinstance(source, int | np.integer):
        return int(source) - 1 if 1 <= source <= len(names) else None
    if source is not None:
        return names.index(source) if source in names else None
    if len(names) == 1:
        return 0
    kappa = [i for i, name in enumerate(names) if name.lower() in ("kappa", "convergence")]
    return kappa[0] if len(kappa) == 1 else None
