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

from ..renamed import moved

# The import of a format registers it. The order is the order in which formats are asked.
from . import (  # noqa: F401
    arrays,
    catalogues,
    cosmogrid,
    healpix,
    images,
    ktng,
    masked,
    slics,
    zarr_sets,
)
from .converting import convert
from .entry import open_maps
from .filemaps import FileMaps
from .formats import Format, Options, register
from .made_once import converted
from .masked import unmask
from .shear_tables import ShearCatalogue, read_shear
from .zarr_sets import save_zarr

__all__ = [
    "FileMaps", "Format", "Options", "ShearCatalogue", "convert", "converted", "open_maps",
    "read_shear", "register", "save_zarr", "unmask",
]  # fmt: skip

__getattr__ = moved(
    __name__,
    patch_centres="lensnb.readers.cosmogrid",
    read_catalogue="lensnb.readers.catalogues",
    read_cosmogrid="lensnb.readers.cosmogrid",
    read_file="lensnb.readers.entry",
    read_fits="lensnb.readers.images",
    read_ktng="lensnb.readers.ktng",
    read_ktng_binary="lensnb.readers.ktng",
    read_masked="lensnb.readers.masked",
    read_npy="lensnb.readers.arrays",
    read_npz="lensnb.readers.arrays",
    read_slics="lensnb.readers.slics",
    read_zarr="lensnb.readers.zarr_sets",
)
