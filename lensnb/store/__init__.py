"""Sets larger than memory: maps that stay in a zarr folder, are read piece by piece, and can be appended.

A set is a zarr group (version 3) with

* ``maps``, float, ``(maps, n, n)`` or ``(maps, channels, n, n)``, in chunks of whole maps, about 4
  million pixels each;
* ``simulation``, int64, ``(maps,)``, called ``labels`` in older sets;
* ``given/NAME`` for each condition, ``(maps, ...)``, in chunks of as many maps;
* the attributes ``side_deg`` (degrees), ``z_source``, ``provenance`` and, where simulations have
  names, ``names``, to which the numbers in ``simulation`` then point.

zarr, xarray or any other reader of the format opens it. Each chunk carries a checksum.

:class:`MapWriter` writes such a set, :func:`lensnb.readers.open_maps` opens it. A set is as long
as its array ``maps`` says, and that is written last. So whoever opens it while it grows, or after
its writer was killed, sees whole maps with their simulations and conditions. A power cut is
another matter: what the machine had not yet put on the disk fails its checksum when it is read.
"""

from .reading import (
    StoredMaps,
    ahead,
    check_pixels,
    maps_a_piece,
    pieces,
    read_given,
    read_simulation,
    simulation_name,
)
from .writing import MapWriter

__all__ = [
    "MapWriter", "StoredMaps", "ahead", "check_pixels", "maps_a_piece", "pieces", "read_given",
    "read_simulation", "simulation_name",
]  # fmt: skip
