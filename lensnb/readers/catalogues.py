"""Shear catalogues → convergence maps: SLICS (``GalCatalog_LOS_cone<n>.fits``) and tables with right ascension.

HDU 1 holds ``x_arcmin, y_arcmin, shear1, shear2`` on a flat field of 10° × 10° (SLICS), or ``ra, dec`` (degrees),
``gamma1, gamma2`` and perhaps ``kappa`` (as the MICE mocks). A redshift column is needed only to choose sources.
On the map x (column) grows with ``x_arcmin`` or eastwards, y (row) with ``y_arcmin`` or northwards.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..files import optional
from ..shear import bin_shear, kaiser_squires, shape_noise
from .filemaps import FileMaps, options_needed, reading

SLICS = re.compile(r"GalCatalog_LOS_cone(\d+)\.fits")
SLICS_SIDE = 600.0  # arcminutes
REDSHIFTS = (
    "z",
    "z_spectroscopic",
    "z_spec",
    "z_true",
    "z_cgal",
    "redshift",
)  # photometric ones are no truth
LAYOUTS = (("x_arcmin", "y_arcmin", "shear1", "shear2"), ("ra", "dec", "gamma1", "gamma2"))
EMPTY = (
    0.05  # a set of maps has no mask: more empty pixels than this are refused, fewer have no shear
)


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
    """The galaxies of a catalogue.

    Args:
        path: a FITS table, columns as above, in any case.
        side_deg: side of the field, degrees; needed with ``ra, dec``. The field is centred on the middle of the table's
            extent, and galaxies outside it are left out.
        source: redshifts (from, to) of the galaxies to keep; None keeps all.
        signs: what to multiply γ₁ and γ₂ by, so that they are against x (east) and y (north). MICE wants (-1, -1).

    Raises:
        ValueError: the file is cut off, lacks a column (those there are named), holds NaN or infinity, or no galaxy is
            left.
        ImportError: astropy is not installed.
    """
    path = Path(path)
    if source is not None and (not isinstance(source, tuple | list) or len(source) != 2):
        raise ValueError(
            f"{path} is a catalogue; expected the argument source to be redshifts (from, to), not {source!r}"
        )
    if len(signs) != 2 or not set(signs) <= {1, -1}:
        raise ValueError(
            f"{path} is a catalogue; expected the argument signs to be two of 1 and -1, not {signs!r}"
        )
    columns = _columns(path)
    layout = next((names for names in LAYOUTS if set(names) <= set(columns)), None)
    if layout is None:
        raise ValueError(
            f"{path} has the columns {', '.join(columns) or 'none'} of numbers; expected "
            f"{' or '.join(', '.join(names) for names in LAYOUTS)}"
        )
    redshifts = [name for name in REDSHIFTS if name in columns]
    if source is not None and len(redshifts) != 1:
        raise ValueError(
            f"{path} has the redshift columns {', '.join(redshifts) or 'none'} among {', '.join(columns)}; expected "
            "exactly one to choose sources by"
        )
    used = {name: columns[name] for name in (*layout, *redshifts, "kappa") if name in columns}
    for name, values in used.items():
        bad = len(values) - np.count_nonzero(np.isfinite(values))
        if bad:
            raise ValueError(
                f"{path} has {bad} galaxies with NaN or infinite {name}; expected finite numbers"
            )
    gamma = signs[0] * used[layout[2]] + 1j * signs[1] * used[layout[3]]
    if layout[0] == "ra":
        options_needed(path, "a catalogue of positions on the sky", side_deg=side_deg)
        x, y, turn = _tangent_plane(path, used["ra"], used["dec"])
        gamma = gamma * np.exp(2j * turn)
        x, y = (60 * at + side_deg * 30 for at in (x, y))
    else:
        x, y = used["x_arcmin"], used["y_arcmin"]
        side_deg = SLICS_SIDE / 60 if side_deg is None else side_deg
    side = 60 * side_deg
    keep = (x >= 0) & (x < side) & (y >= 0) & (y < side)
    outside = len(keep) - int(keep.sum())
    redshift = used[redshifts[0]] if len(redshifts) == 1 else None
    if source is not None:
        keep &= (redshift >= source[0]) & (redshift < source[1])
    if not keep.any():
        chosen = "" if source is None else f" and redshifts from {source[0]:g} to {source[1]:g}"
        raise ValueError(
            f"{path} has no galaxy within {side_deg:g}°{chosen}, of {len(keep)}; expected some"
        )
    parts = [None if values is None else values[keep] for values in (redshift, used.get("kappa"))]
    return ShearCatalogue(x[keep], y[keep], gamma[keep], side_deg, *parts, outside)


def read_catalogue(
    path: Path,
    pixels: int,
    side_deg: float | None = None,
    source=None,
    signs: tuple[int, int] = (1, 1),
) -> FileMaps:
    """One Kaiser–Squires map, E mode, of a shear catalogue; arguments as for :func:`read_shear`.

    Args:
        pixels: a side of the map, into which the shear is averaged; few enough that hardly any is empty.

    Returns:
        κ_E, float32, shape ``(pixels, pixels)``; its mean is not observable. ``provenance`` gives the standard
        deviations of κ_E, κ_B and the noise of the shapes, and how many galaxies and empty pixels there are.

    Raises:
        ValueError: as for :func:`read_shear`; or more than a twentieth of the pixels is empty; or the table carries κ
            and the map is anticorrelated with it, so that the signs are wrong.
    """
    path = Path(path)
    options_needed(path, "a catalogue, whose shear is averaged in pixels", pixels=pixels)
    galaxies = read_shear(path, side_deg, source, signs)
    x, y, gamma = (torch.from_numpy(array) for array in (galaxies.x, galaxies.y, galaxies.gamma))
    mean, count = bin_shear(x, y, gamma, pixels, 60 * galaxies.side_deg)
    empty = int((count == 0).sum())
    if empty > EMPTY * pixels**2:
        raise ValueError(
            f"{path} leaves {empty} of {pixels} × {pixels} pixels without a galaxy; expected at most {EMPTY:.0%}, with "
            "fewer pixels or a smaller field"
        )
    kappa_e, kappa_b = kaiser_squires(mean)
    about = {
        "galaxies": len(galaxies), "galaxies_outside": galaxies.outside, "empty_pixels": empty,
        "std_e_mode": float(kappa_e.std()), "std_b_mode": float(kappa_b.std()),
        "std_shape_noise": float(shape_noise(gamma, count)[count > 0].square().mean().sqrt()),
    }  # fmt: skip
    if galaxies.redshift is not None:
        about["mean_redshift"] = float(galaxies.redshift.mean())
    if galaxies.kappa is not None:
        truth = bin_shear(x, y, torch.from_numpy(galaxies.kappa), pixels, 60 * galaxies.side_deg)[
            0
        ].real
        correlation = float(
            torch.corrcoef(torch.stack([kappa_e.flatten(), truth.flatten()]))[0, 1]
        )
        if correlation < 0:
            raise ValueError(
                f"{path} gives a map that has the correlation {correlation:.2f} with its own column kappa; expected "
                f"other signs of the shear than {tuple(signs)}, (-1, -1) for MICE"
            )
        about["correlation_with_kappa"] = correlation
    name = SLICS.fullmatch(path.name)
    simulation = np.array([int(name[1])]) if name else None
    return FileMaps(
        kappa_e.float().numpy(),
        galaxies.side_deg,
        simulation=simulation,
        provenance=about,
        named=bool(name),
    )


def is_catalogue(path: Path) -> bool:
    """Whether a FITS file has a table and no image; False, too, where it cannot be read at all."""
    fits = optional(path, "astropy.io.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(path, memmap=False) as hdus:
                return (
                    not hdus[0].header.get("NAXIS")
                    and len(hdus) > 1
                    and isinstance(hdus[1], fits.BinTableHDU)
                )
        except Exception:  # what is wrong with it is said by whoever reads it
            return False


def _columns(path: Path) -> dict[str, np.ndarray]:
    """Numbers, one a galaxy, of the table in HDU 1, float64, by lower-case name."""
    fits = optional(path, "astropy.io.fits")
    with reading(path, "a whole FITS table in HDU 1"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # what astropy only warns of, a cut-off file say, fails below
        with fits.open(path, memmap=False) as hdus:
            table = hdus[1].data
            shapes = {name: table[name] for name in table.names}
            return {
                name.lower(): values.astype(np.float64)
                for name, values in shapes.items()
                if values.ndim == 1 and values.dtype.kind in "fiu"
            }


def _tangent_plane(
    path: Path, ra: np.ndarray, dec: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gnomonic coordinates about the middle of the extent, degrees east and north; how far north is turned, radians.

    Meridians converge, so that away from the centre east and north are turned against x and y by
    tan(ε/2) = tan(Δα/2) sin((δ + δ₀)/2) / cos((δ − δ₀)/2), and the shear by 2ε (parallel transport to the centre).
    """
    wcs = optional(path, "astropy.wcs").WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [1, 1]
    around = (
        np.degrees(np.angle(np.exp(1j * np.radians(ra)).sum())) % 360
    )  # so that a field may lie across α = 0
    wcs.wcs.crval = around, (dec.min() + dec.max()) / 2
    for _ in range(
        5
    ):  # the middle of the extent moves with the plane that it is taken in, less each time
        x, y = wcs.wcs_world2pix(ra, dec, 1)
        wcs.wcs.crval = wcs.wcs_pix2world((x.min() + x.max()) / 2, (y.min() + y.max()) / 2, 1)
    x, y = wcs.wcs_world2pix(ra, dec, 1) - wcs.wcs.crpix[:, None]
    ra_0, dec_0 = np.radians(wcs.wcs.crval)
    away, dec = np.angle(np.exp(1j * (np.radians(ra) - ra_0))), np.radians(dec)
    turn = 2 * np.arctan(np.tan(away / 2) * np.sin((dec + dec_0) / 2) / np.cos((dec - dec_0) / 2))
    return x, y, turn
