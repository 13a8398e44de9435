"""Tables of sheared galaxies in FITS files.

HDU 1 holds ``x_arcmin, y_arcmin, shear1, shear2`` on a flat field of 10° × 10° (SLICS), or
``ra, dec`` (degrees), ``gamma1, gamma2`` and perhaps ``kappa`` (as the MICE mocks). A redshift
column is needed only to choose sources.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import optional
from .filemaps import options_needed, reading
from .images import open_fits

_SLICS_SIDE = 600.0  # arcminutes
_FLAT = ("x_arcmin", "y_arcmin", "shear1", "shear2")
_SKY = ("ra", "dec", "gamma1", "gamma2")
# Photometric redshifts are not in this list: they are no truth.
_REDSHIFTS = ("z", "z_spectroscopic", "z_spec", "z_true", "z_cgal", "redshift")


@dataclass
class ShearCatalogue:
    """Galaxies with their shear, on a flat field.

    Attributes:
        x, y: positions, arcminutes from the first corner, float64, shape ``(galaxies,)``.
        gamma: γ₁ + iγ₂ against the axes x and y, complex128, shape ``(galaxies,)``.
        side_deg: side of the field, degrees.
        redshift: of each galaxy; None when the table has no such column.
        kappa: convergence at each galaxy; None when the table has no such column.
        outside: galaxies of the table that lie outside the field, which were left out.
    """

    x: np.ndarray
    y: np.ndarray
    gamma: np.ndarray
    side_deg: float
    redshift: np.ndarray | None
    kappa: np.ndarray | None
    outside: int

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
            (-1, -1).

    Raises:
        ValueError: the file is cut off, lacks a column (those that it has are listed), holds NaN
            or infinity, or no galaxy is left.
        ImportError: astropy is not installed.
    """
    path = Path(path)
    _check_choices(path, source, signs)
    columns = _columns(path)
    positions, shears = _layout(path, columns)
    redshift = _redshift(path, columns, source)
    _check_finite(path, columns, (*positions, *shears, *_REDSHIFTS, "kappa"))
    gamma = signs[0] * columns[shears[0]] + 1j * signs[1] * columns[shears[1]]
    x, y = columns[positions[0]], columns[positions[1]]
    if positions[0] == "ra":
        options_needed(path, "a catalogue of positions on the sky", side_deg=side_deg)
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
    kappa = columns.get("kappa")
    if redshift is not None:
        redshift = redshift[keep]
    if kappa is not None:
        kappa = kappa[keep]
    return ShearCatalogue(x[keep], y[keep], gamma[keep], side_deg, redshift, kappa, outside)


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


def _layout(path: Path, columns: dict) -> tuple[tuple[str, str], tuple[str, str]]:
    """The names of the columns of positions and of the two components of the shear."""
    for names in (_FLAT, _SKY):
        if set(names) <= set(columns):
            return names[:2], names[2:]
    raise ValueError(
        f"{path} has the columns {', '.join(columns) or 'none'} of numbers; "
        f"expected {', '.join(_FLAT)} or {', '.join(_SKY)}"
    )


def _redshift(path: Path, columns: dict, source) -> np.ndarray | None:
    """The redshift of each galaxy; None where no column, or more than one, could be it."""
    found = [name for name in _REDSHIFTS if name in columns]
    if len(found) == 1:
        return columns[found[0]]
    if source is not None:
        raise ValueError(
            f"{path} has the redshift columns {', '.join(found) or 'none'} among "
            f"{', '.join(columns)}; expected exactly one to choose sources by"
        )
    return None


def _check_finite(path: Path, columns: dict, names: Sequence[str]) -> None:
    for name in names:
        if name not in columns:
            continue
        bad = np.count_nonzero(~np.isfinite(columns[name]))
        if bad:
            raise ValueError(
                f"{path} has {bad} galaxies with NaN or infinite {name}; expected finite numbers"
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


def _columns(path: Path) -> dict[str, np.ndarray]:
    """Numbers of the table in HDU 1, one a galaxy, float64, by lower-case name."""
    optional(path, "astropy.io.fits")
    with reading(path, "a whole FITS table in HDU 1"), warnings.catch_warnings():
        # Astropy only warns of some faults, such as a file that is cut off; they fail below.
        warnings.simplefilter("ignore")
        with open_fits(path) as hdus:
            table = hdus[1].data
            columns = {name.lower(): table[name] for name in table.names}
            return {
                name: values.astype(np.float64)
                for name, values in columns.items()
                if values.ndim == 1 and values.dtype.kind in "fiu"
            }


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
