"""Many vectors → mean, scatter, covariance, correlation; errors from resampling simulations."""

from .held import (
    Ensemble,
    StreamingEnsemble,
    bootstrap,
    correlation,
    covariance_noise,
    dodelson_schneider_factor,
    gaussian_power_covariance,
    hartlap_factor,
    jackknife_error,
    measure,
    measured,
    off_diagonal,
    shrunk_covariance,
)

__all__ = [
    "Ensemble",
    "StreamingEnsemble",
    "bootstrap",
    "correlation",
    "covariance_noise",
    "dodelson_schneider_factor",
    "gaussian_power_covariance",
    "hartlap_factor",
    "jackknife_error",
    "measure",
    "measured",
    "off_diagonal",
    "shrunk_covariance",
]
