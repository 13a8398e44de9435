"""The columns of a table of galaxies: their names, their units, and whether all is there."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import optional
from .filemaps import reading
from .images import UNITS, open_fits

FLAT = ("x_arcmin", "y_arcmin", "shear1", "shear2")
_SKY = ("ra", "dec", "gamma1", "gamma2")
SKIES = (_SKY[:2], ("ra_gal", "dec_gal"), ("ra_deg", "dec_deg"), ("alpha_j2000", "delta_j2000"),
          ("raj2000", "dej2000"), ("raj2000", "decj2000"))  # fmt: skip
_NAMES = ("gamma", "shear", "e", "g", "gamma_", "shear_", "e_", "g_", "epsilon", "ellipticity_")
_ENDS = (("1", "2"), ("1_gal", "2_gal"), ("1_corr", "2_corr"), ("1_cal", "2_cal"))
_SHEARS = [(name + one, name + two) for name in _NAMES for one, two in _ENDS]
_WEIGHTS = ("weight", "weights", "w", "shear_weight", "lensfit_weight", "weight_shear", "w_lens")
# Photometric redshifts are not in this list: they are no truth.
REDSHIFTS = ("z", "z_spectroscopic", "z_spec", "z_true", "z_cgal", "redshift")


def read_columns(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
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


def weighted(path: Path, columns: dict) -> tuple[np.ndarray | None, dict]:
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
    if not keep.any():
        raise ValueError(
            f"{path} has no galaxy with a {found[0]} above 0, of {len(weight)}; expected some"
        )
    return weight[keep], {name: values[keep] for name, values in columns.items()}


def layout(path: Path, columns: dict) -> tuple[tuple[str, str], tuple[str, str]]:
    """The names of the columns of positions and of the two components of the shear."""
    for names in (FLAT, _SKY):
        if set(names) <= set(columns):
            return names[:2], names[2:]
    positions = [pair for pair in (FLAT[:2], *SKIES) if set(pair) <= set(columns)]
    shears = [pair for pair in _SHEARS if set(pair) <= set(columns)]
    if len(positions) == len(shears) == 1:
        return positions[0], shears[0]
    raise ValueError(
        f"{path} has the columns {', '.join(columns) or 'none'} of numbers; "
        f"expected {', '.join(FLAT)} or {', '.join(_SKY)}, "
        "or one pair each of positions and of shear by other usual names"
    )


def redshifts(path: Path, columns: dict, source) -> np.ndarray | None:
    """The redshift of each galaxy; None where no column, or more than one, could be it."""
    found = [name for name in REDSHIFTS if name in columns]
    if len(found) == 1:
        return columns[found[0]]
    if source is not None:
        raise ValueError(
            f"{path} has the redshift columns {', '.join(found) or 'none'} among "
            f"{', '.join(columns)}; expected exactly one to choose sources by"
        )
    return None


def check_finite(path: Path, columns: dict, names: Sequence[str]) -> None:
    for name in names:
        if name not in columns:
            continue
        bad = np.count_nonzero(~np.isfinite(columns[name]))
        if bad:
            raise ValueError(
                f"{path} has {bad} galaxies with NaN or infinite {name}; expected finite numbers"
            )


def unit_factor(path: Path, name: str, units: dict) -> float:
    """Factor that turns a position to degrees on the sky, or to arcminutes on a flat field."""
    said = str(units.get(name) or "").strip().lower()
    if not said:
        return 1.0
    if said not in UNITS:
        raise ValueError(
            f"{path} has {name} in {said!r}; expected deg, arcmin, arcsec or rad as its unit"
        )
    if name in FLAT:
        return 60 * UNITS[said]
    return UNITS[said]


def check_sky(path: Path, ra: np.ndarray, dec: np.ndarray) -> None:
    """Refuse positions, in degrees, that are not on the sky."""
    for name, values, most in (("right ascension", ra, 360), ("declination", dec, 90)):
        largest = values[np.abs(values).argmax()]
        if abs(largest) > most:
            raise ValueError(
                f"{path} has a {name} of {largest:.6g} degrees; expected at most {most}, "
                "or the unit of these columns in the table"
            )


def check_degrees(path: Path, ra: np.ndarray, dec: np.ndarray, side_deg: float) -> None:
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
