"""Other people's files → a :class:`~lensnb.data.MapSet`, by one entry: :func:`open_maps`.

Each format has one reader, ``read_<format>(path, ...) → FileMaps``, that reports what the file itself says: its κ,
dimensionless, ``(n, n)`` or ``(maps, n, n)``, and the field size (degrees) and source redshift where it carries them.
:func:`open_maps` picks the reader by the file's name and content, checks every array in the same way, joins several
files, and fills in what the caller knows. Nothing is guessed: what a file lacks must be given, and what is given must
agree.

A new format is one more reader and one more line in :func:`read_file`.
"""

from .arrays import read_masked, read_npy, read_npz, read_zarr, save_zarr, unmask
from .catalogues import ShearCatalogue, read_catalogue, read_shear
from .cosmogrid import patch_centres, read_cosmogrid
from .entry import convert, open_maps, read_file
from .filemaps import FileMaps
from .images import read_fits
from .ktng import read_ktng, read_ktng_binary
from .slics import read_slics

__all__ = [
    "FileMaps", "ShearCatalogue", "convert", "open_maps", "patch_centres", "read_catalogue", "read_cosmogrid", "read_file",
    "read_fits", "read_ktng", "read_ktng_binary", "read_masked", "read_npy", "read_npz", "read_shear", "read_slics",
    "read_zarr", "save_zarr", "unmask",
]  # fmt: skip
