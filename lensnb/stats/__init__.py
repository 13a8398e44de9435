"""Summary statistics of convergence maps: one map in, one vector out, batched in torch.

Begin with :func:`suite`, which makes all statistics with good bins from a reference set of maps.
The files are:

* ``spectrum``: angular power spectra, auto and across source bins; pixel window, noise bias and
  masks;
* ``cut_outs``: the power to expect of a map that was cut out of the sky;
* ``bispectra``: equilateral, folded and squeezed triangles;
* ``pixels``: PDF, moments, S₃ and S₄, and :func:`at_scales`, which measures any statistic at
  several smoothing scales;
* ``peaks``: peaks and minima by height, in κ or in σ;
* ``minkowski_functionals``: V₀, V₁, V₂ and their values for a Gaussian field;
* ``starlet_transform``: the wavelet transform, its peaks and ℓ1-norms;
* ``scattering_transform``: scattering coefficients;
* ``homogeneity``: variance by place, edges, mean and extremes of a map;
* ``isotropy``: power by direction;
* ``statistic``: :class:`Statistic`, a statistic with its bins, labels and channels;
* ``default_suite``: :func:`suite`;
* ``blind_spot_suite``: :func:`blind_spots`, the statistics of what the suite cannot see.

Every function takes maps ``(..., n, n)``, one or many, on any device. It returns one vector a map,
float64, ``(..., bins)``, on the same device. A :class:`Statistic` also takes several channels at
once, ``(maps, channels, n, n)``. Averages and covariances are in :mod:`lensnb.ensemble`.

Bin edges are always explicit; bin b holds ``edges[b] <= value < edges[b + 1]``. κ and ℓ are
dimensionless, C_ℓ is in steradians, gradients are per arcminute.

Maps are cut-outs of the sky. Statistics of neighbouring pixels use interior pixels only and never
wrap round the edges; spectra treat the field as periodic.

A ``mask`` is boolean, True where the sky was observed, shared by all maps or one a map. Statistics
of pixels leave out what it hides. Fourier statistics are corrected for the observed share of the
sky only. Gradients flow through spectra and moments; counts have none. NaN, a wrong shape or a
mask that hides a whole map raises a ``ValueError`` of one sentence.
"""

from ..renamed import moved
from .bispectra import bispectrum, equilateral, folded, shell_edges, squeezed
from .blind_spot_suite import blind_spots
from .cut_outs import band_averages, cutout_power
from .default_suite import suite
from .homogeneity import (
    edge_products,
    extremes,
    map_mean,
    ring_edges,
    seam_correlation,
    variance_by_place,
)
from .isotropy import power_by_direction, wide_bands
from .minkowski_functionals import gaussian_minkowski, minkowski
from .peaks import minima_counts, peak_counts
from .pixels import at_scales, moments, pdf, reduced_moments
from .scattering_transform import (
    reduced_scattering,
    scattering,
    scattering_order,
    scattering_scales,
)
from .spectrum import cross_spectra, ell_edges, pixel_window, power_spectrum
from .starlet_transform import (
    starlet,
    starlet_edges,
    starlet_l1,
    starlet_peak_counts,
    starlet_scales,
)
from .statistic import Statistic

__all__ = [
    "Statistic",
    "at_scales",
    "band_averages",
    "bispectrum",
    "blind_spots",
    "cross_spectra",
    "cutout_power",
    "edge_products",
    "ell_edges",
    "equilateral",
    "extremes",
    "folded",
    "gaussian_minkowski",
    "map_mean",
    "minima_counts",
    "minkowski",
    "moments",
    "pdf",
    "peak_counts",
    "pixel_window",
    "power_by_direction",
    "power_spectrum",
    "reduced_moments",
    "reduced_scattering",
    "ring_edges",
    "scattering",
    "scattering_order",
    "scattering_scales",
    "seam_correlation",
    "shell_edges",
    "squeezed",
    "starlet",
    "starlet_edges",
    "starlet_l1",
    "starlet_peak_counts",
    "starlet_scales",
    "suite",
    "variance_by_place",
    "wide_bands",
]

__getattr__ = moved(__name__, shape_noise_power="lensnb.shear")
