"""Flat-sky maps: the grid and its conventions, Gaussian and lognormal fields, smoothing.

* ``grid``: :class:`MapGrid`, the checks of shape and side, the symmetries of the square;
* ``fields``: :class:`GaussianField` and :class:`LognormalField`, of one or several channels;
* ``smoothing``: :func:`smooth`.
"""

from ..renamed import moved
from .fields import GaussianField, LognormalField
from .grid import ARCMIN, MapGrid
from .smoothing import smooth

__all__ = ["ARCMIN", "GaussianField", "LognormalField", "MapGrid", "smooth"]

__getattr__ = moved(
    __name__,
    add_shape_noise="lensnb.shear",
    mode_power="lensnb.maps.fields",
    shape_noise_sigma="lensnb.shear",
    wide="lensnb.maps.grid",
)
