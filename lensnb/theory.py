"""Distances, the lensing kernel and the convergence spectrum of a flat ΛCDM universe, on pyccl.

Notation: χ is the comoving distance in Mpc/h, z the redshift, κ the (dimensionless) convergence,
ℓ the (dimensionless) angular wavenumber and C_ℓ the angular power spectrum in steradians.

    κ(θ) = ∫₀^χs dχ w(χ) δ(χθ, χ),   w(χ) = (3/2) Ω_m (H₀/c)² χ (1 − χ/χs) / a(χ)

(Bartelmann & Schneider 2001, Phys. Rep. 340, 291, eqs 6.16–6.20). pyccl computes distances and spectra; it is part of
the extra ``sims`` and is imported inside the functions that need it.
"""

from __future__ import annotations

import atexit
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

HUBBLE_DISTANCE = 2997.92458  # c / (100 km/s/Mpc), in Mpc/h


@dataclass(frozen=True)
class Cosmology:
    """A flat ΛCDM cosmology; the defaults are those of SLICS (Harnois-Déraps et al. 2018).

    Attributes:
        omega_m: matter density parameter today.
        sigma8: rms linear density contrast in spheres of 8 Mpc/h today.
        h: Hubble constant in units of 100 km/s/Mpc.
        n_s: spectral index of the primordial power spectrum.
        omega_b: baryon density parameter today.
    """

    omega_m: float = 0.2905
    sigma8: float = 0.826
    h: float = 0.6898
    n_s: float = 0.969
    omega_b: float = 0.0473

    def as_dict(self) -> dict[str, float]:
        """Return the parameters as a plain dictionary, for provenance."""
        return asdict(self)


@lru_cache
def ccl_cosmology(cosmology: Cosmology = Cosmology()):
    """Return the same cosmology as a ``pyccl.Cosmology`` (Eisenstein–Hu transfer function, halofit).

    Raises:
        ImportError: pyccl is not installed.
    """
    try:
        import pyccl
    except ImportError as error:
        raise ImportError(
            "theory needs pyccl, which is not installed: pip install 'lensnb[sims]'"
        ) from error
    return pyccl.Cosmology(
        Omega_c=cosmology.omega_m - cosmology.omega_b,
        Omega_b=cosmology.omega_b,
        h=cosmology.h,
        n_s=cosmology.n_s,
        sigma8=cosmology.sigma8,
        Omega_g=0,
        Neff=0,
        transfer_function="eisenstein_hu",
        matter_power_spectrum="halofit",
    )


atexit.register(
    ccl_cosmology.cache_clear
)  # at the end of a process pyccl frees them after its own library


def comoving_distance(z, cosmology: Cosmology = Cosmology()):
    """Comoving distance to redshift ``z`` in Mpc/h, same shape as ``z``."""
    return (
        _each(ccl_cosmology(cosmology).comoving_radial_distance, 1 / (1 + np.asarray(z, float)))
        * cosmology.h
    )


def scale_factor(chi, cosmology: Cosmology = Cosmology()):
    """Scale factor a at comoving distance ``chi`` (Mpc/h), same shape as ``chi``."""
    return _each(
        ccl_cosmology(cosmology).scale_factor_of_chi, np.asarray(chi, float) / cosmology.h
    )


def _each(function, x: np.ndarray):
    """``function`` of each element of ``x``, in its shape; pyccl takes one dimension only."""
    return np.reshape(function(np.ravel(x)), np.shape(x))[()]


def lensing_kernel(chi, z_source: float, cosmology: Cosmology = Cosmology()):
    """Lensing kernel w(χ) in h/Mpc for one source redshift; zero behind the source. Same shape as ``chi`` (Mpc/h)."""
    chi = np.asarray(chi, float)
    front = np.clip(1 - chi / comoving_distance(z_source, cosmology), 0, None)
    return (
        1.5 * cosmology.omega_m / HUBBLE_DISTANCE**2 * chi * front / scale_factor(chi, cosmology)
    )


def matter_power(k, z: float, cosmology: Cosmology = Cosmology(), linear: bool = False):
    """Matter power spectrum P(k) in (Mpc/h)³ at wavenumbers ``k`` in h/Mpc: halofit (Takahashi et al. 2012) or linear."""
    ccl = ccl_cosmology(cosmology)
    power = ccl.linear_matter_power if linear else ccl.nonlin_matter_power
    return (
        _each(lambda k: power(k, 1 / (1 + z)), np.asarray(k, float) * cosmology.h) * cosmology.h**3
    )


def convergence_power(ell, z_source: float, cosmology: Cosmology = Cosmology()):
    """Convergence power spectrum C_ℓ in sr for sources at one redshift (Limber, halofit).

    C_ℓ = ∫ dχ w(χ)² / χ² P(ℓ/χ, χ)  (Bartelmann & Schneider 2001, eq. 6.24)

    Args:
        ell: angular wavenumbers, any shape.
        z_source: redshift of all sources.
        cosmology: flat ΛCDM parameters.

    Returns:
        C_ℓ in steradians, same shape as ``ell``.
    """
    ell = np.asarray(ell, float)
    chi, weight = np.polynomial.legendre.leggauss(200)
    chi_s = float(comoving_distance(z_source, cosmology))
    chi, weight = chi_s * (chi + 1) / 2, weight * chi_s / 2
    kernel = lensing_kernel(chi, z_source, cosmology) ** 2 / chi**2 * weight
    power = [matter_power(ell / x, 1 / scale_factor(x, cosmology) - 1, cosmology) for x in chi]
    return np.tensordot(kernel, np.array(power), 1)[()]
