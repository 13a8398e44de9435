"""Sets larger than memory: maps stay in a zarr folder, are read in parts, and can be appended.

A set is a zarr group (version 3) with

* ``maps``, float, ``(maps, n, n)`` or ``(maps, channels, n, n)``, in chunks of whole maps, about 4
  million pixels each;
* ``simulation``, int64, ``(maps,)``, called ``labels`` in older sets;
* ``given/NAME`` for each condition, ``(maps, ...)``, with the same number of maps in a chunk;
* the attributes ``side_deg`` (degrees), ``z_source`` and ``provenance``. If simulations have
  names, there is also ``names``, and the numbers in ``simulation`` are indices into it.

zarr, xarray and all other readers of the format can open it. Each chunk has a checksum.

:class:`MapWriter` writes such a set, and :func:`lensnb.readers.open_maps` opens it. The length of
the array ``maps`` is the length of the set, and it is written last. So a reader always sees whole
maps with their simulations and conditions, also while the set grows, or after its writer was
killed. After a power cut, chunks that the machine had not yet written to the disk fail their
checksum.
"""

from ..renamed import moved
from .reading import StoredMaps, pieces
from .writing import MapWriter

__all__ = ["MapWriter", "StoredMaps", "pieces"]

__getattr__ = moved(
    __name__,
    ahead="lensnb.store.reading",
    check_pixels="lensnb.store.reading",
    maps_a_piece="lensnb.store.reading",
    read_labels="lensnb.store.reading:read_simulation",
)
