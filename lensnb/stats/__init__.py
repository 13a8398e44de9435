"""Summary statistics of convergence maps: one map in, one vector out, batched in torch.

Every function takes maps ``(..., n, n)`` and returns one vector a map, ``(..., bins)``; averages and covariances live in
:mod:`lensnb.ensemble`. Bin edges are always explicit; :func:`suite` makes good ones from a reference set of maps. κ is
dimensionless, ℓ is dimensionless, C_ℓ is in steradians, gradients are per arcminute. Maps are cut-outs of the sky, so
neighbourhood statistics use interior pixels only and never wrap round the edges; the spectrum is the plain periodogram.
"""

from .minkowski import gaussian_minkowski, minkowski
from .peaks import minima_counts, peak_counts
from .pixels import moments, pdf
from .spectrum import ell_edges, power_spectrum
from .suite import Statistic, suite

__all__ = [
    "Statistic", "ell_edges", "gaussian_minkowski", "minima_counts", "minkowski", "moments", "pdf", "peak_counts",
    "power_spectrum", "suite",
]  # fmt: skip
