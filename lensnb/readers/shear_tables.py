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
from .filemaps import options_needed, reading
from .images import UNITS, open_fits

_SLICS_SIDE = 600.0  # arcminutes
_FLAT = ("x_arcmin", "y_arcmin", "shear1", "shear2")
_SKY = ("ra", "dec", "gamma1", "gamma2")
_SKIES = (_SKY[:2], ("ra_gal", "dec_gal"), ("ra_deg", "dec_deg"), ("alpha_j2000", "delta_j2000"),
          ("raj2000", "dej2000"), ("raj2000", "decj2000"))  # fmt: skip
_NAMES = ("gamma", "shear", "e", "g", "gamma_", "shear_", "e_", "g_", "epsilon", "ellipticity_")
_ENDS = (("1", "2"), ("1_gal", "2_gal"), ("1_corr", "2_corr"), ("1_cal", "2_cal"))
_SHEARS = [(name + one, name + two) for name in _NAMES for one, two in _ENDS]
_WEIGHTS = ("weight", "weights", "w", "shear_weight", "lensfit_weight", "weight_shear", "w_lens")
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
    columns, units = _columns(path)
    weight, columns = _weighted(path, columns)
    positions, shears = _layout(path, columns)
    redshift = _redshift(path, columns, source)
    _check_finite(path, columns, (*positions, *shears, *_REDSHIFTS, "kappa"))
    gamma = signs[0] * columns[shears[0]] + 1j * signs[1] * columns[shears[1]]
    _check_shear(path, gamma)
    x, y = (columns[name] * _unit(path, name, units) for name in positions)
    if positions in _SKIES:
        options_needed(path, "a catalogue of positions on the sky", side_deg=side_deg)
        if not units.get(positions[0]):
            _check_degrees(path, x, y, side_deg)
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
    more = (None if one is None else one[keep] for one in (redshift, columns.get("kappa"), weight))
    redshift, kappa, weight = more
    return ShearCatalogue(
        x[keep], y[keep], gamma[keep], side_deg, redshift, kappa, outside, weight
    )


def _weighted(path: Path, columns: dict) -> tuple[np.ndarray | None, dict]:
    """The weight of each galaxy and all columns, both without the galaxies of weight 0."""
    found = [name for name in columns if name in _WEIGHTS]
    others = [name for name in columns if "weight" in name and name not in _WEIGHTS]
    if len(found) > 1 or (others and not found):
        raise ValueError(
            f"{path} has the weights {', '.join(found or others)}; "
            f"expected at most one column, called {', '.join(_WEIGHTS[:3])}"
        )
    if not found:
        return None, columns
    weight = columns[found[0]]
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(
            f"{path} has a {found[0]} that is negative or not finite; expected 0 or more"
        )
    keep = weight > 0
    return weight[keep], {name: values[keep] for name, values in columns.items()}


def _check_shear(path: Path, gamma: np.ndarray) -> None:
    large = np.abs(gamma) >= 1
    if large.any():
        raise ValueError(
            f"{path} cannot be shear: {large.sum()} galaxies have |γ| of 1 or more, the first "
            f"{gamma[large][0]:.6g}; expected less, and weight 0 where a shape failed"
        )


def _unit(path: Path, name: str, units: dict) -> float:
    """Factor that turns a position to degrees on the sky, or to arcminutes on a flat field."""
    said = str(units.get(name) or "").strip().lower()
    if not said:
        return 1.0
    if said not in UNITS:
        raise ValueError(
            f"{path} has {name} in {said!r}; expected deg, arcmin, arcsec or rad as its unit"
        )
    if name in _FLAT:
        return 60 * UNITS[said]
    return UNITS[said]


def _check_degrees(path: Path, ra: np.ndarray, dec: np.ndarray, side_deg: float) -> None:
    """Refuse positions without a unit that can only be radians."""
    if np.abs(dec).max() > np.pi / 2 or ra.min() < -np.pi or ra.max() > 2 * np.pi:
        return
    spans = [values.max() - values.min() for values in (ra, dec)]
    whole = any(abs(span / (np.pi / 2) - turns) < 0.01 for span in spans for turns in (1, 2, 4))
    tiny = max(spans) < side_deg / 5 and np.degrees(spans[1]) > side_deg / 2
    if whole or tiny:
        raise ValueError(
            f"{path} has positions that extend over {spans[0]:.3g} × {spans[1]:.3g}, as radians "
            "do; expected degrees, or a unit of these columns in the table"
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


def _layout(path: Path, columns: dict) -> tuple[tuple[str, str], tuple[str, str]]:
    """The names of the columns of positions and of the two components of the shear."""
    for names in (_FLAT, _SKY):
        if set(names) <= set(columns):
            return names[:2], names[2:]
    positions = [pair for pair in (_FLAT[:2], *_SKIES) if set(pair) <= set(columns)]
    shears = [pair for pair in _SHEARS if set(pair) <= set(columns)]
    if len(positions) == len(shears) == 1:
        return positions[0], shears[0]
    raise ValueError(
        f"{path} has the columns {', '.join(columns) or 'none'} of numbers; "
        f"expected {', '.join(_FLAT)} or {', '.join(_SKY)}, "
        "or one pair each of positions and of shear by other usual names"
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


def _columns(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Numbers of HDU 1, one a galaxy, float64, by lower-case name; and the units of columns."""
    optional(path, "astropy.io.fits")
    with reading(path, "a whole FITS table in HDU 1"), warnings.catch_warnings():
        # Astropy only warns of some faults, such as a file that is cut off; they fail below.
        warnings.simplefilter("ignore")
        with open_fits(path) as hdus:
            table = hdus[1].data
            units = {column.name.lower(): column.unit for column in table.columns}
            columns = {name.lower(): table[name] for name in table.names}
            numbers = {
                name: values.astype(np.float64)
                for name, values in columns.items()
                if values.ndim == 1 and values.dtype.kind in "fiu"
            }
    return numbers, units


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
