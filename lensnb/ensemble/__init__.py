"""Many vectors → mean, scatter, covariance, correlation; errors from resampling simulations.

An ensemble is a float64 array ``(maps, bins)`` with the simulation of each map. Maps cut from one
simulation share structure, and so errors come from resampling whole simulations. A map that a
generator drew is a simulation of its own.

:class:`Ensemble` keeps the vectors (never the maps). :class:`StreamingEnsemble` keeps a count, a
mean and a sum of squares for each simulation only, and so takes any number of maps. Both have the
same methods. The files are:

* ``measuring``: :func:`measure` and :func:`measured`, from maps to vectors;
* ``held``: :class:`Ensemble`;
* ``streaming``: :class:`StreamingEnsemble`;
* ``errors``: bootstrap, jackknife and the noise of a covariance;
* ``matrices``: correlation, factors for a noisy inverse, the covariance of a Gaussian field;
* ``shrinkage``: covariances of few maps, by linear and non-linear shrinkage;
* ``nercome``: covariances of few maps, by splitting the simulations;
* ``likelihoods``: what replaces the Gaussian where the covariance is an estimate;
* ``super_sample``: what modes longer than the box add to a covariance.
"""

from .errors import bootstrap, covariance_noise, jackknife_error
from .held import Ensemble
from .likelihoods import (
    matching_log_posterior,
    matching_region,
    sellentin_heavens_log_density,
)
from .matrices import (
    correlation,
    dodelson_schneider_factor,
    gaussian_power_covariance,
    hartlap_factor,
    off_diagonal,
    percival_factor,
)
from .measuring import measure, measured
from .nercome import nercome_covariance, nercome_split
from .shrinkage import nonlinear_shrinkage, rotation_invariant_covariance, shrunk_covariance
from .streaming import StreamingEnsemble
from .super_sample import SuperSample, add_super_sample, response_to_mean

__all__ = [
    "Ensemble",
    "StreamingEnsemble",
    "SuperSample",
    "add_super_sample",
    "bootstrap",
    "correlation",
    "covariance_noise",
    "dodelson_schneider_factor",
    "gaussian_power_covariance",
    "hartlap_factor",
    "jackknife_error",
    "matching_log_posterior",
    "matching_region",
    "measure",
    "measured",
    "nercome_covariance",
    "nercome_split",
    "nonlinear_shrinkage",
    "off_diagonal",
    "percival_factor",
    "response_to_mean",
    "rotation_invariant_covariance",
    "sellentin_heavens_log_density",
    "shrunk_covariance",
]
