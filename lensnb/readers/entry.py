"""The one entry to all formats: :func:`open_maps`."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path

import numpy as np

from ..data import MapSet
from ..renamed import renamed
from .filemaps import FileMaps
from .formats import Options, find_format
from .series import FileSeries


@renamed(labels="simulation")
def open_maps(
    path,
    side_deg: float | None = None,
    z_source: float | tuple[float, ...] = math.nan,
    simulation=None,
    *,
    pixels: int | None = None,
    source: int | str | tuple[float, float] | None = None,
    mask: str | PathLike | None = None,
    signs: tuple[int, int] | None = None,
    tile: int | None = None,
) -> MapSet:
    """Read convergence maps from a file, from all files of a pattern, or from a list of files.

    Name and content tell the format:

    * *Arrays*: ``.npy``, one map ``(n, n)`` or many ``(maps, n, n)``, as cosmoGAN's; ``.npz``,
      written by ``MapSet.save`` or by LensTools, or with exactly one floating-point array of maps;
      ``.zarr``, an array, or a group with ``maps`` and ``simulation``.
    * *FITS*: the primary image with its card ``ANGLE`` or world coordinates and, where there is
      one, ``Z`` (LensTools, MassiveNuS); a table of sheared galaxies (SLICS, MICE), which becomes
      one Kaiser–Squires map; or a sky of HEALPix pixels, cut into patches.
    * *HDF5*: CosmoGrid, cut into patches, and κTNG.
    * *Binary*: SLICS and κTNG.

    A single ``.npy`` stays on disk as a read-only memory map, a single ``.zarr`` as
    :class:`~lensnb.store.StoredMaps`. All pixels are read once to be checked, except those of a
    ``.zarr`` that lensnb wrote, which were checked then.

    Args:
        path: a file; a pattern such as ``"run/*.fits"``, whose matches are sorted with 2 before
            10; or a list of files in its own order, of which none may be missing.
        side_deg: side of the field, degrees; needed when the files do not say it, and to cut
            the skies of CosmoGrid and of HEALPix files.
        z_source: redshift of the sources, where the files do not say it, for several channels one
            each; NaN when not known.
        simulation: the simulation of each map, an array of integers or names, or the path of such
            an ``.npy``; it replaces what the files say. None keeps what they say; if they say
            nothing, every map counts as its own simulation. Files whose names differ
            in a redshift only (``_z0.5``, ``_z1.0``) are planes of one sight line: their maps of
            one number share a simulation. ``"each"`` counts every map, and every
            tile, as its own whatever the files say, so that maps of a single simulation can be
            split; errors are then underestimated.
        pixels: a side of the maps returned. Maps are averaged in whole blocks, file by file, so
            that many large files fit into memory (7744 of SLICS = 16 × 484). A sky is cut, a
            catalogue binned, a masked map tiled to this size.
        source: which sources, where a file has several: the tomographic bin of CosmoGrid (1 to 4,
            or its name), the column of a HEALPix file (number or name), the number of κTNG's
            source plane, or the redshifts (from, to) of a catalogue.
        mask: ``.npy`` of booleans under which an ``.npy`` holds the values, as in the FAIR
            Universe challenge.
        signs: factors of the two components of a catalogue's shear; see :func:`read_shear`.
        tile: cut each map, after everything else, into non-overlapping tiles of this many pixels a
            side (:func:`lensnb.data.tiles`), which have the simulation of their map.

    Returns:
        The set; ``provenance`` lists the files by name, and what they say about themselves: a list
        where they differ.

    Raises:
        FileNotFoundError: there is no such file, or none matches the pattern.
        ValueError: a file is truncated, does not hold square floating-point maps, has no field
            size, has pixels that cannot be κ, is of something else (shear, a mask, counts), needs
            other signs, or contradicts another file or the arguments. One sentence says which and
            how.
        ImportError: a package that the format needs is not installed.
    """
    asked = Options(
        side_deg, z_source, simulation,
        pixels=pixels, source=source, mask=mask, signs=signs, tile=tile,
    )  # fmt: skip
    files = FileSeries(path, asked)
    sets = [files.prepared(file, one.maps, own, one.given) for file, one, own in files]
    maps = sets[0].maps
    if len(sets) > 1:
        maps = np.concatenate([np.asarray(one.maps) for one in sets])
    own = np.concatenate([one.simulation for one in sets])
    given = sets[0].given
    if len(sets) > 1:
        given = {
            name: np.concatenate([np.asarray(one.given[name]) for one in sets]) for name in given
        }
    return MapSet(maps, sets[0].side_deg, sets[0].z_source, own, files.provenance(), given)


def read_file(path: Path, asked: Options | None = None) -> FileMaps:
    """What a file says, by the reader of its format.

    Args:
        path: the file.
        asked: what the caller says about it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, no reader knows its name, or an argument is missing or means
            nothing for its format.
    """
    if asked is None:
        asked = Options()
    return find_format(path, asked).read(path, asked)
