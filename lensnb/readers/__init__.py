"""Other people's files → a :class:`~lensnb.data.MapSet`, by one entry: :func:`open_maps`.

Each format is one file of this folder. It registers itself (:mod:`lensnb.readers.formats`) and
says what it reads and which arguments it takes. Its reader, ``read_<format>(path, ...)``, returns
:class:`FileMaps`: what a file itself says. That is κ, dimensionless, ``(n, n)`` or
``(maps, n, n)``, and the field size (degrees) and source redshift where the file has them.

:func:`open_maps` finds the format, checks every array in the same way, joins several files, and
fills in what the caller knows. Nothing is guessed: what a file lacks must be given, and what is
given must agree with the file.

A new format is one more file, and one more import line here.
"""

from .arrays import read_npy, read_npz
from .catalogues import read_catalogue
from .cosmogrid import patch_centres, read_cosmogrid
from .entry import convert, open_maps, read_file
from .filemaps import FileMaps
from .formats import Format, Options, register
from .images import read_fits
from .ktng import read_ktng, read_ktng_binary
from .masked import read_masked, unmask
from .shear_tables import ShearCatalogue, read_shear
from .slics import read_slics
from .zarr_sets import read_zarr, save_zarr

__all__ = [
    "FileMaps", "Format", "Options", "ShearCatalogue", "convert", "open_maps", "patch_centres",
    "read_catalogue", "read_cosmogrid", "read_file", "read_fits", "read_ktng", "read_ktng_binary",
    "read_masked", "read_npy", "read_npz", "read_shear", "read_slics", "read_zarr", "register",
    "save_zarr", "unmask",
]  # fmt: skip
