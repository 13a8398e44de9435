"""CosmoGrid full-sky maps (Kacprzak et al. 2023, arXiv:2209.04662) → flat patches that do not overlap.

``projected_probes_maps_*.h5``: HEALPix vectors in RING order, nside 512, under ``kg/`` (V1) or ``map/kg/`` (V1.1), one
a tomographic bin, ``stage3_lensing1`` … ``4``. Patches are gnomonic, as ``healpy.gnomview`` shows them: rows grow
northwards, columns westwards, and a pixel has the value of the HEALPix pixel that its centre falls in.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ..files import optional
from .filemaps import FileMaps, options_needed, reading

GROUPS = ("map/kg", "kg")


def read_cosmogrid(path: Path, side_deg: float, pixels: int, source: int | str) -> FileMaps:
    """All patches of one tomographic bin of one full-sky map.

    Args:
        path: the HDF5 file, in the folders of the suite.
        side_deg: side of a patch, degrees.
        pixels: a side of a patch; HEALPix pixels are 6.9′ wide at nside 512, and smaller ones tell nothing more.
        source: the tomographic bin: 1 for ``stage3_lensing1``, or the whole name.

    Returns:
        The patches of :func:`patch_centres`, labelled by their run: the folders above ``perm_<n>``, since permutations
        of one run share its shells, and above the file where there is none.

    Raises:
        ValueError: the file is cut off, has no such bin (those there are named), or no full sky.
        ImportError: h5py or healpy is not installed.
    """
    path = Path(path)
    options_needed(
        path, "a full-sky map, to be cut into patches", side_deg=side_deg, pixels=pixels
    )
    h5py, healpy = optional(path, "h5py"), optional(path, "healpy")
    with reading(path, "a whole HDF5 file"), h5py.File(path, "r") as file:
        group = next((file[name] for name in GROUPS if name in file), {})
        bins = sorted(group)
        wanted = f"stage3_lensing{source}" if isinstance(source, int | np.integer) else source
        sky = group[wanted][()] if wanted in bins else None
    if sky is None:
        raise ValueError(
            f"{path} has the tomographic bins {', '.join(bins) or 'none'}; expected the argument source to be one of "
            f"them, found {source!r}"
        )
    if sky.ndim != 1 or not healpy.isnpixok(sky.size):
        raise ValueError(
            f"{path} holds {wanted} of shape {sky.shape}; expected a full-sky HEALPix vector, 12 nside² values"
        )
    unseen = np.count_nonzero(healpy.mask_bad(sky))
    if unseen:
        raise ValueError(
            f"{path} has {unseen} pixels of {wanted} marked as unseen; expected a full sky"
        )
    nside = healpy.npix2nside(sky.size)
    centres = patch_centres(side_deg, nside)
    maps = np.stack([sky[patch_pixels(*centre, side_deg, pixels, nside)] for centre in centres])
    return FileMaps(
        maps,
        side_deg,
        simulation=np.full(len(maps), _run(path)),
        provenance={"bin": wanted},
        named=True,
    )


def patch_centres(side_deg: float, nside: int = 512) -> np.ndarray:
    """Centres of gnomonic patches that share no HEALPix pixel, on rings of latitude from the equator to both poles.

    With t = tan a for half a side a, the lower corners of a patch at latitude b ≥ 0 lie at sin b' = (sin b − t cos b) /
    √(1 + 2t²), its highest point is at b + a, and it reaches tan Δl = t / (cos b − t sin b) in longitude. Each ring
    starts where the one below ends. A margin of a HEALPix pixel's radius round every patch keeps neighbours from
    sharing one.

    Args:
        side_deg: side of a patch, degrees, in the tangent plane (n pixels of side/n at the centre).
        nside: of the map.

    Returns:
        Longitude and latitude, degrees, shape ``(patches, 2)``.
    """
    healpy = optional(Path("a HEALPix map"), "healpy")
    half = math.atan(math.radians(side_deg) / 2)
    half += healpy.max_pixrad(nside) / math.cos(
        half
    )  # edges of the margin converge towards the corners, as cos does
    t, rings, latitude = math.tan(half), [], 0.0
    while latitude + half < math.pi / 2:
        reach = math.atan2(t, math.cos(latitude) - t * math.sin(latitude))
        count = int(math.pi / reach)
        ring = np.degrees([(2 * math.pi * k / count, latitude) for k in range(count)])
        rings += [ring, ring * [1, -1]] if latitude else [ring]
        corner = math.sin(latitude + half) * math.sqrt(1 + 2 * t**2) / math.sqrt(1 + t**2)
        if corner >= 1:
            break
        latitude = half + math.asin(corner)
    return np.concatenate(rings)


def patch_pixels(
    longitude: float, latitude: float, side_deg: float, pixels: int, nside: int
) -> np.ndarray:
    """Numbers (RING) of the HEALPix pixels under those of a patch, shape ``(pixels, pixels)``; angles in degrees."""
    import healpy
    from healpy.projector import GnomonicProj

    plane = GnomonicProj(
        rot=(longitude, latitude, 0), xsize=pixels, ysize=pixels, reso=side_deg * 60 / pixels
    )
    x, y = plane.ij2xy()
    return healpy.vec2pix(nside, *plane.xy2vec(x.ravel(), y.ravel())).reshape(pixels, pixels)


def _run(path: Path) -> str:
    """The run that a file belongs to, by the names of its last two folders: ``fiducial/cosmo_fiducial``."""
    folder = path.resolve().parent
    if re.fullmatch(r"perm_\d+", folder.name):
        folder = folder.parent
    return "/".join(folder.parts[-2:])
