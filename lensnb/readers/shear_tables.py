"""Tables of sheared galaxies in FITS files.

HDU 1 holds ``x_arcmin, y_arcmin, shear1, shear2`` on a flat field of 10° × 10° (SLICS), or
``ra, dec`` (degrees, or the unit of the column), ``gamma1, gamma2`` and perhaps ``kappa`` (as the
MICE mocks). Other usual names of these columns are known too (``e1``, ``g1``, ``ra_gal``, …), and
``weight``. A redshift column is needed only to choose sources.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import optional
from .columns import (
    REDSHIFTS,
    SKIES,
    check_degrees,
    check_finite,
    check_sky,
    layout,
    read_columns,
    redshifts,
    unit_factor,
    weighted,
)
from .filemaps import options_needed
from .images import open_fits

_SLICS_SIDE = 600.0  # arcminutes


@dataclass
class ShearCatalogue:
    """Galaxies with their shear, on a flat field.

    Attributes:
        x, y: positions, arcminutes from the first corner, float64, shape ``(galaxies,)``.
        gamma: γ₁ + iγ₂ against the axes x and y, complex128, shape ``(galaxies,)``.
        side_deg: side of the field, degrees.
        redshift: of each galaxy; None when the table has no such column.
        kappa: convergence at each galaxy; None when the table has no such column.
        weight: of each galaxy, above 0; None when the table has no such column.
        outside: galaxies of the table that lie outside the field, which were left out.
    """

    x: np.ndarray
    y: np.ndarray
    gamma: np.ndarray
    side_deg: float
    redshift: np.ndarray | None
    kappa: np.ndarray | None
    outside: int
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)


def read_shear(
    path: str | Path, side_deg: float | None = None, source=None, signs=(1, 1)
) -> ShearCatalogue:
    """Read the galaxies of a catalogue.

    Args:
        path: a FITS table, columns as above, in small or capital letters.
        side_deg: side of the field, degrees; needed with ``ra, dec``. The field is centred on the
            middle of the table's extent, and galaxies outside it are left out.
        source: redshifts (from, to) of the galaxies to keep; None keeps all.
        signs: factors of γ₁ and γ₂ that turn them to the axes x (east) and y (north). MICE needs
            (-1, -1), catalogues in the convention of HST COSMOS (1, -1).

    Galaxies of weight 0 are left out.

    Raises:
        ValueError: the file is cut off, lacks a column (those that it has are listed), holds NaN
            or infinity, a shear of 1 or more, a negative weight or positions in an unknown unit,
            or no galaxy is left.
        ImportError: astropy is not installed.
    """
    path = Path(path)
    _check_choices(path, source, signs)
    columns, units = read_columns(path)
    if columns and not len(next(iter(columns.values()))):
        raise ValueError(f"{path} has a table without a row; expected galaxies")
    weight, columns = weighted(path, columns)
    positions, shears = layout(path, columns)
    redshift = redshifts(path, columns, source)
    check_finite(path, columns, (*positions, *shears, *REDSHIFTS, "kappa"))
    gamma = signs[0] * columns[shears[0]] + 1j * signs[1] * columns[shears[1]]
    _check_shear(path, gamma)
    x, y = (columns[name] * unit_factor(path, name, units) for name in positions)
    if positions in SKIES:
        options_needed(path, "a catalogue of positions on the sky", side_deg=side_deg)
        if not units.get(positions[0]):
            check_degrees(path, x, y, side_deg)
        check_sky(path, x, y)
        x, y, turn = _tangent_plane(path, x, y)
        x = 60 * x + side_deg * 30
        y = 60 * y + side_deg * 30
        gamma = gamma * np.exp(2j * turn)
    elif side_deg is None:
        side_deg = _SLICS_SIDE / 60
    side = 60 * side_deg
    keep = (x >= 0) & (x < side) & (y >= 0) & (y < side)
    outside = len(keep) - int(keep.sum())
    chosen = ""
    if source is not None:
        keep &= (redshift >= source[0]) & (redshift < source[1])
        chosen = f" and redshifts from {source[0]:g} to {source[1]:g}"
    if not keep.any():
        raise ValueError(
            f"{path} has no galaxy within {side_deg:g}°{chosen}, of {len(keep)}; expected some"
        )
    return ShearCatalogue(
        x[keep],
        y[keep],
        gamma[keep],
        side_deg,
        _kept(redshift, keep),
        _kept(columns.get("kappa"), keep),
        outside,
        _kept(weight, keep),
    )


def _kept(values: np.ndarray | None, keep: np.ndarray) -> np.ndarray | None:
    """Values of the galaxies that are kept; None where the table has no such column."""
    if values is None:
        return None
    return values[keep]


def _check_shear(path: Path, gamma: np.ndarray) -> None:
    large = np.abs(gamma) >= 1
    if large.any():
        raise ValueError(
            f"{path} cannot be shear: {large.sum()} galaxies have |γ| of 1 or more, the first "
            f"{gamma[large][0]:.6g}; expected less, and weight 0 where a shape failed"
        )


def _check_choices(path: Path, source, signs: Sequence[int]) -> None:
    if source is not None and (not isinstance(source, tuple | list) or len(source) != 2):
        raise ValueError(
            f"{path} is a catalogue; "
            f"expected the argument source to be redshifts (from, to), not {source!r}"
        )
    if len(signs) != 2 or not set(signs) <= {1, -1}:
        raise ValueError(
            f"{path} is a catalogue; "
            f"expected the argument signs to be two of 1 and -1, not {signs!r}"
        )


def is_table(path: Path) -> bool:
    """Whether a FITS file has a table and no image; False, too, where it cannot be read at all."""
    fits = optional(path, "astropy.io.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_fits(path) as hdus:
                if hdus[0].header.get("NAXIS") or len(hdus) < 2:
                    return False
                if "PIXTYPE" in hdus[1].header:  # pixels of a sky, and no galaxies
                    return False
                return isinstance(hdus[1], fits.BinTableHDU)
        except Exception:  # the reader of images will say what is wrong
            return False


def _tangent_plane(
    path: Path, ra: np.ndarray, dec: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gnomonic coordinates about the middle of the extent, and how far local north is turned.

    Meridians converge, so that away from the centre east and north are turned against x and y by

        tan(ε/2) = tan(Δα/2) sin((δ + δ₀)/2) / cos((δ − δ₀)/2),

    and the shear by 2ε (parallel transport to the centre).

    Args:
        path: the file, for error messages.
        ra, dec: right ascension and declination, degrees, shape ``(galaxies,)``.

    Returns:
        Degrees east and north of the centre, and ε in radians, each of shape ``(galaxies,)``.
    """
    wcs = optional(path, "astropy.wcs").WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cdelt = [1, 1]
    # The mean direction, and not the mean of α, so that a field may lie across α = 0.
    around = np.degrees(np.angle(np.exp(1j * np.radians(ra)).sum())) % 360
    wcs.wcs.crval = around, (dec.min() + dec.max()) / 2
    # The middle of the extent moves with the plane in which it is taken, less each time.
    for _ in range(5):
        x, y = wcs.wcs_world2pix(ra, dec, 1)
        wcs.wcs.crval = wcs.wcs_pix2world((x.min() + x.max()) / 2, (y.min() + y.max()) / 2, 1)
    x, y = wcs.wcs_world2pix(ra, dec, 1) - wcs.wcs.crpix[:, None]
    ra_0, dec_0 = np.radians(wcs.wcs.crval)
    away = np.angle(np.exp(1j * (np.radians(ra) - ra_0)))
    dec = np.radians(dec)
    turn = 2 * np.arctan(np.tan(away / 2) * np.sin((dec + dec_0) / 2) / np.cos((dec - dec_0) / 2))
    return x, y, turn
