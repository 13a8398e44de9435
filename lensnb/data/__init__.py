"""Sets of convergence maps: load, save, split by simulation, augment; and the shipped sample.

* ``mapset``: :class:`MapSet`;
* ``shipped``: :func:`load_sample`, the N-body maps that come with lensnb;
* ``augmentation``: :func:`random_symmetry`, :func:`random_crop` and :func:`random_field`;
* ``resizing``: :func:`block_average`, :func:`average_to`, :func:`tiles` and :func:`field_pixels`;
* ``statements``: :func:`check_statements`, which refuses sets that contradict each other.
"""

from .augmentation import random_crop, random_field, random_symmetry
from .mapset import MapSet
from .resizing import average_to, block_average, field_pixels, tiles
from .shipped import SAMPLE, load_sample
from .statements import check_statements

__all__ = [
    "SAMPLE", "MapSet", "average_to", "block_average", "check_statements", "field_pixels",
    "load_sample", "random_crop", "random_field", "random_symmetry", "tiles",
]  # fmt: skip
