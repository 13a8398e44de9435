"""CosmoGrid full-sky maps (Kacprzak et al. 2023, arXiv:2209.04662) → flat patches.

``projected_probes_maps_*.h5``: HEALPix vectors in RING order, nside 512, under ``kg/`` (V1) or
``map/kg/`` (V1.1), one for each tomographic bin, ``stage3_lensing1`` … ``4``. Patches do
not overlap. They are gnomonic, as ``healpy.gnomview`` shows them: rows grow northwards, columns
westwards, and a pixel has the value of the HEALPix pixel that its centre falls in.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ..files import optional
from .filemaps import FileMaps, options_needed, reading
from .formats import Options, register
from .hdf5 import HDF5, WHOLE, read_whole

_GROUPS = ("map/kg", "kg")


@register
class CosmoGrid(HDF5):
    """The projected maps of one simulation."""

    takes = ("source",)
    content = "kg (CosmoGrid)"

    def holds(self, path: Path) -> bool:
        h5py = optional(path, "h5py")
        with reading(path, WHOLE), h5py.File(path, "r") as file:
            return any(group in file for group in _GROUPS)

    def read(self, path: Path, asked: Options) -> FileMaps:
        return read_cosmogrid(path, asked.side_deg, asked.pixels, asked.source)


def read_cosmogrid(path: Path, side_deg: float, pixels: int, source: int | str) -> FileMaps:
    """Cut one tomographic bin of one full-sky map into patches.

    Args:
        path: the HDF5 file, in the folders of the suite.
        side_deg: side of a patch, degrees.
        pixels: a side of a patch, whose pixels are no finer than those of the sky, 6.9′ at nside
            512.
        source: the tomographic bin: 1 for ``stage3_lensing1``, or the whole name.

    Returns:
        The patches of :func:`patch_centres`. Their simulation is their run, the folders above
        ``perm_<n>``, since permutations of one run share its shells. Without such a folder it is
        the folders above the file.

    Raises:
        ValueError: the file is cut off, has no such bin (those that it has are listed), no full
            sky, or coarser pixels than were asked for.
        ImportError: h5py or healpy is not installed.
    """
    path = Path(path)
    options_needed(
        path, "a full-sky map, to be cut into patches", side_deg=side_deg, pixels=pixels
    )
    wanted = source
    if isinstance(source, int | np.integer):
        wanted = f"stage3_lensing{source}"
    healpy = optional(path, "healpy")
    sky = _sky(path, wanted, source)
    if not healpy.isnpixok(sky.size):
        raise ValueError(
            f"{path} holds {wanted} of shape {sky.shape}; "
            "expected a full-sky HEALPix vector, 12 nside² values"
        )
    unseen = np.count_nonzero(healpy.mask_bad(sky))
    if unseen:
        raise ValueError(
            f"{path} has {unseen} pixels of {wanted} marked as unseen; expected a full sky"
        )
    nside = healpy.npix2nside(sky.size)
    check_fineness(path, side_deg, pixels, nside)
    centres = patch_centres(side_deg, nside)
    maps = np.stack([sky[patch_pixels(*centre, side_deg, pixels, nside)] for centre in centres])
    simulation = np.full(len(maps), _run(path))
    return FileMaps(maps, side_deg, simulation=simulation, provenance={"bin": wanted}, named=True)


def check_fineness(path: Path, side_deg: float, pixels: int, nside: int) -> None:
    """Refuse patches whose pixels are finer than those of their sky, and hold nothing new.

    Args:
        path: the file.
        side_deg: side of a patch, degrees.
        pixels: a side of a patch.
        nside: of the sky.

    Raises:
        ValueError: they are; the message has the largest number of pixels.
    """
    healpy = optional(path, "healpy")
    own = healpy.nside2resol(nside, arcmin=True)
    asked = side_deg * 60 / pixels
    if asked < own * (1 - 1e-3):
        raise ValueError(
            f"{path} has pixels of {own:.1f}′ (nside {nside}), coarser than the {asked:.1f}′ of "
            f"{pixels} pixels over {side_deg:g}°; expected pixels of at most "
            f"{int(side_deg * 60 / own)}"
        )


def _sky(path: Path, wanted: str, source: int | str) -> np.ndarray:
    """The full-sky vector of one tomographic bin."""
    h5py = optional(path, "h5py")
    sky = None
    with reading(path, WHOLE), h5py.File(path, "r") as file:
        group = next((file[name] for name in _GROUPS if name in file), {})
        bins = sorted(group)
        if wanted in bins:
            sky = read_whole(path, group[wanted])
    if sky is None:
        raise ValueError(
            f"{path} has the tomographic bins {', '.join(bins) or 'none'}; "
            f"expected the argument source to be one of them, found {source!r}"
        )
    return sky


def patch_centres(side_deg: float, nside: int = 512) -> np.ndarray:
    """Centres of gnomonic patches that share no HEALPix pixel.

    They lie on rings of latitude from the equator to both poles. With t = tan a for half a side a,
    the lower corners of a patch at latitude b ≥ 0 lie at

        sin b' = (sin b − t cos b) / √(1 + 2t²),

    its highest point is at b + a, and it reaches tan Δl = t / (cos b − t sin b) in longitude. Each
    ring starts where the one below ends. A margin of a HEALPix pixel's radius round every patch
    keeps neighbours from sharing a pixel.

    Args:
        side_deg: side of a patch, degrees, in the tangent plane (n pixels of side/n at the
            centre).
        nside: of the map.

    Returns:
        Longitude and latitude, degrees, shape ``(patches, 2)``.
    """
    healpy = optional(Path("a HEALPix map"), "healpy")
    half = math.atan(math.radians(side_deg) / 2)
    # Edges of the margin converge towards the corners, as cos does.
    half += healpy.max_pixrad(nside) / math.cos(half)
    t = math.tan(half)
    rings = []
    latitude = 0.0
    while latitude + half < math.pi / 2:
        reach = math.atan2(t, math.cos(latitude) - t * math.sin(latitude))
        count = int(math.pi / reach)
        ring = np.degrees([(2 * math.pi * k / count, latitude) for k in range(count)])
        rings.append(ring)
        if latitude > 0:
            rings.append(ring * [1, -1])
        # The next ring starts where its lower corners touch the highest points of this one.
        corner = math.sin(latitude + half) * math.sqrt(1 + 2 * t**2) / math.sqrt(1 + t**2)
        if corner >= 1:
            break
        latitude = half + math.asin(corner)
    return np.concatenate(rings)


def patch_pixels(
    longitude: float, latitude: float, side_deg: float, pixels: int, nside: int
) -> np.ndarray:
    """Numbers (RING) of the HEALPix pixels under those of a patch, shape ``(pixels, pixels)``.

    Angles in degrees.
    """
    import healpy
    from healpy.projector import GnomonicProj

    plane = GnomonicProj(
        rot=(longitude, latitude, 0), xsize=pixels, ysize=pixels, reso=side_deg * 60 / pixels
    )
    x, y = plane.ij2xy()
    return healpy.vec2pix(nside, *plane.xy2vec(x.ravel(), y.ravel())).reshape(pixels, pixels)


def _run(path: Path) -> str:
    """The run that a file belongs to: its last two folders, as ``fiducial/cosmo_fiducial``."""
    folder = path.resolve().parent
    if re.fullmatch(r"perm_\d+", folder.name):
        folder = folder.parent
    return "/".join(folder.parts[-2:])
