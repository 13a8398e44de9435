"""Flat-sky maps: the grid and its conventions, Gaussian and lognormal fields, smoothing.

* ``grid``: :class:`MapGrid`, the checks of shape and side, the symmetries of the square;
* ``fields``: :class:`GaussianField` and :class:`LognormalField`, of one or several channels;
* ``smoothing``: :func:`smooth`.
"""

from ..renamed import moved
from .fields import GaussianField, LognormalField, mode_power
from .grid import (
    ARCMIN,
    MapGrid,
    check_shape,
    check_side,
    checked_redshifts,
    turned,
    turned_back,
    wide,
)
from .smoothing import smooth

__all__ = [
    "ARCMIN", "GaussianField", "LognormalField", "MapGrid", "check_shape", "check_side",
    "checked_redshifts", "mode_power", "smooth", "turned", "turned_back", "wide",
]  # fmt: skip

__getattr__ = moved(__name__, add_shape_noise="lensnb.shear", shape_noise_sigma="lensnb.shear")
