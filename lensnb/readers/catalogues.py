"""Shear catalogues → convergence maps: SLICS (``GalCatalog_LOS_cone<n>.fits``) and sky tables.

On the map x (column) grows with ``x_arcmin`` or eastwards, y (row) with ``y_arcmin`` or
northwards; :mod:`lensnb.readers.shear_tables` says which columns a table has.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from ..shear import bin_shear, kaiser_squires, shape_noise
from .filemaps import FileMaps, options_needed
from .formats import Format, Options, ends_in, register
from .images import FITS
from .shear_tables import ShearCatalogue, is_table, read_shear
from .signs import check_signs

_SLICS_NAME = re.compile(r"GalCatalog_LOS_cone(\d+)\.fits")
# A set of maps has no mask. A few pixels without a galaxy, which then have no shear, do no harm;
# maps with a larger share of them are refused.
_MAX_EMPTY = 0.05


@register
class Catalogue(Format):
    """A table of sheared galaxies, which becomes one map."""

    expected = FITS
    takes = ("source", "signs")
    content = "a table of galaxies and no primary image"

    def suits(self, path: Path, asked: Options) -> bool:
        return ends_in(path, *FITS)

    def holds(self, path: Path) -> bool:
        return is_table(path)

    def read(self, path: Path, asked: Options) -> FileMaps:
        signs = (1, 1)
        if asked.signs is not None:
            signs = asked.signs
        return read_catalogue(path, asked.pixels, asked.side_deg, asked.source, signs)


def read_catalogue(
    path: Path,
    pixels: int,
    side_deg: float | None = None,
    source=None,
    signs: tuple[int, int] = (1, 1),
) -> FileMaps:
    """Make one Kaiser–Squires map, E mode, of a shear catalogue.

    Args:
        path, side_deg, source, signs: as for :func:`read_shear`.
        pixels: a side of the map, into which the shear is averaged; few enough that hardly any
            pixel is empty.

    Returns:
        κ_E, float32, shape ``(pixels, pixels)``; its mean is not observable. ``provenance`` gives
        the standard deviations of κ_E, κ_B and the shape noise, and how many galaxies and empty
        pixels there are.

    Raises:
        ValueError: as for :func:`read_shear`; or more than a twentieth of the pixels is empty; or
            other signs are right (:mod:`lensnb.readers.signs`).
    """
    path = Path(path)
    options_needed(path, "a catalogue, whose shear is averaged in pixels", pixels=pixels)
    galaxies = read_shear(path, side_deg, source, signs)
    gamma = torch.from_numpy(galaxies.gamma)
    mean, count = _binned(galaxies, gamma, pixels)
    empty = int((count == 0).sum())
    if empty > _MAX_EMPTY * pixels**2:
        raise ValueError(
            f"{path} leaves {empty} of {pixels} × {pixels} pixels without a galaxy; "
            f"expected at most {_MAX_EMPTY:.0%}, with fewer pixels or a smaller field"
        )
    kappa_e, kappa_b = kaiser_squires(mean)
    noise = shape_noise(gamma, count)[count > 0]
    about = {
        "galaxies": len(galaxies),
        "galaxies_outside": galaxies.outside,
        "empty_pixels": empty,
        "std_e_mode": float(kappa_e.std()),
        "std_b_mode": float(kappa_b.std()),
        "std_shape_noise": float(noise.square().mean().sqrt()),
    }
    if galaxies.redshift is not None:
        about["mean_redshift"] = float(galaxies.redshift.mean())
    truth = None
    if galaxies.kappa is not None:
        truth = _binned(galaxies, torch.from_numpy(galaxies.kappa), pixels)[0].real
    about |= check_signs(path, mean, truth, signs)
    found = FileMaps(kappa_e.float().numpy(), galaxies.side_deg, provenance=about)
    name = _SLICS_NAME.fullmatch(path.name)
    if name:
        found.simulation = np.array([int(name[1])])
        found.named = True
    return found


def _binned(galaxies: ShearCatalogue, values: torch.Tensor, pixels: int):
    """Mean of a value over the galaxies in each pixel, and how many galaxies those are."""
    x, y = torch.from_numpy(galaxies.x), torch.from_numpy(galaxies.y)
    weight = None
    if galaxies.weight is not None:
        weight = torch.from_numpy(galaxies.weight)
    return bin_shear(x, y, values, pixels, 60 * galaxies.side_deg, weight)
