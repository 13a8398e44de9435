"""Flat-sky maps: the grid and its conventions, Gaussian and lognormal fields, smoothing.

* ``grid``: :class:`MapGrid`, the checks of shape and side, the symmetries of the square;
* ``fields``: :class:`GaussianField`, periodic, of one or several channels;
* ``cut_out``: :class:`CutOutField`, a Gaussian field on a window of the sky, and
  :func:`fit_field`, which chooses between the two;
* ``band_field``: :class:`BandField`, whose band powers have the scatter of those of true maps;
* ``conditional``: :class:`ConditionalField`, the field of maps of which another map is known;
* ``lognormal``: :class:`LognormalField`;
* ``mapping``: what a mapping of the pixels does to correlations;
* ``smoothing``: :func:`smooth`.
"""

from ..renamed import moved
from .band_field import BandField
from .conditional import ConditionalField
from .cut_out import CutOutField, fit_field
from .fields import GaussianField, GaussianModes, RescaledField
from .grid import ARCMIN, MapGrid
from .lognormal import LognormalField
from .smoothing import smooth

__all__ = [
    "ARCMIN", "BandField", "ConditionalField", "CutOutField", "GaussianField", "GaussianModes",
    "LognormalField", "MapGrid", "RescaledField", "fit_field", "smooth",
]  # fmt: skip

__getattr__ = moved(
    __name__,
    add_shape_noise="lensnb.shear",
    mode_power="lensnb.maps.fields",
    shape_noise_sigma="lensnb.shear",
    wide="lensnb.maps.grid",
)
