"""Distances, the lensing kernel and the convergence spectrum of a flat ΛCDM universe, on pyccl.

Notation: χ is the comoving distance in Mpc/h, z the redshift, κ the (dimensionless) convergence,
ℓ the (dimensionless) angular wavenumber and C_ℓ the angular power spectrum in steradians.

    κ(θ) = ∫₀^χs dχ w(χ) δ(χθ, χ),   w(χ) = (3/2) Ω_m (H₀/c)² χ (1 − χ/χs) / a(χ)

(Bartelmann & Schneider 2001, Phys. Rep. 340, 291, eqs 6.16–6.20). pyccl computes distances and
spectra. It is part of the extra ``sims`` and is imported inside the functions that need it.
"""

from __future__ import annotations

import atexit
import math
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import numpy as np

HUBBLE_DISTANCE = 2997.92458  # c / (100 km/s/Mpc), in Mpc/h

_LARGEST = 3.0  # of σ₈, h and n_s


@dataclass(frozen=True)
class Cosmology:
    """A flat ΛCDM cosmology; the defaults are those of SLICS (Harnois-Déraps et al. 2018).

    Attributes:
        omega_m: matter density parameter today.
        sigma8: rms linear density contrast in spheres of 8 Mpc/h today.
        h: Hubble constant in units of 100 km/s/Mpc.
        n_s: spectral index of the primordial power spectrum.
        omega_b: baryon density parameter today.

    Raises:
        ValueError: a parameter that no universe of this kind has.
    """

    omega_m: float = 0.2905
    sigma8: float = 0.826
    h: float = 0.6898
    n_s: float = 0.969
    omega_b: float = 0.0473

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, found {value}")
        for name in ("sigma8", "h", "n_s"):
            if getattr(self, name) > _LARGEST:  # h = 70 would be in another unit
                found = getattr(self, name)
                raise ValueError(f"{name} must be at most {_LARGEST:g}, found {found}")
        if not self.omega_b < self.omega_m <= 1:
            raise ValueError(
                f"omega_m must be above omega_b = {self.omega_b} and at most 1, "
                f"found {self.omega_m}"
            )

    def as_dict(self) -> dict[str, float]:
        """The parameters as a plain dictionary, for provenance."""
        return asdict(self)


@lru_cache
def ccl_cosmology(cosmology: Cosmology = Cosmology()):
    """The same cosmology as a ``pyccl.Cosmology``.

    With the transfer function of Eisenstein & Hu, and halofit.

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


# At the end of a process pyccl would free its own library before these objects.
atexit.register(ccl_cosmology.cache_clear)


def comoving_distance(z, cosmology: Cosmology = Cosmology()):
    """Comoving distance to redshift ``z`` in Mpc/h, same shape as ``z``."""
    a = 1 / (1 + np.asarray(z, float))
    distance = _each(ccl_cosmology(cosmology).comoving_radial_distance, a)  # Mpc
    return distance * cosmology.h


def scale_factor(chi, cosmology: Cosmology = Cosmology()):
    """Scale factor a at comoving distance ``chi`` (Mpc/h), same shape as ``chi``."""
    distance = np.asarray(chi, float) / cosmology.h  # Mpc
    return _each(ccl_cosmology(cosmology).scale_factor_of_chi, distance)


def _each(function, x: np.ndarray):
    """``function`` of each element of ``x``, in the shape of ``x``.

    pyccl takes one dimension only.
    """
    values = function(np.ravel(x))
    return np.reshape(values, np.shape(x))[()]


def lensing_kernel(chi, z_source: float, cosmology: Cosmology = Cosmology()):
    """Lensing kernel w(χ) for one source redshift, in h/Mpc; zero behind the source.

    Args:
        chi: comoving distances in Mpc/h, any shape.
        z_source: redshift of all sources.
        cosmology: flat ΛCDM parameters.

    Returns:
        w, same shape as ``chi``.
    """
    chi = np.asarray(chi, float)
    chi_s = comoving_distance(z_source, cosmology)
    efficiency = np.clip(1 - chi / chi_s, 0, None)
    a = scale_factor(chi, cosmology)
    return 1.5 * cosmology.omega_m / HUBBLE_DISTANCE**2 * chi * efficiency / a


def matter_power(k, z: float, cosmology: Cosmology = Cosmology(), linear: bool = False):
    """Matter power spectrum P(k) in (Mpc/h)³: halofit (Takahashi et al. 2012) or linear.

    Args:
        k: wavenumbers in h/Mpc, any shape.
        z: redshift.
        cosmology: flat ΛCDM parameters.
        linear: the linear spectrum instead of halofit's.

    Returns:
        P, same shape as ``k``.
    """
    ccl = ccl_cosmology(cosmology)
    power = ccl.nonlin_matter_power
    if linear:
        power = ccl.linear_matter_power
    of_redshift = partial(power, a=1 / (1 + z))
    in_mpc = _each(of_redshift, np.asarray(k, float) * cosmology.h)
    return in_mpc * cosmology.h**3


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
    chi_s = float(comoving_distance(z_source, cosmology))
    # Gauss–Legendre nodes, moved from [−1, 1] to [0, χs].
    node, weight = np.polynomial.legendre.leggauss(200)
    chi = chi_s * (node + 1) / 2
    weight = weight * chi_s / 2
    kernel = lensing_kernel(chi, z_source, cosmology) ** 2 / chi**2 * weight
    power = []
    for distance in chi:
        z = 1 / scale_factor(distance, cosmology) - 1
        power.append(matter_power(ell / distance, z, cosmology))
    return np.tensordot(kernel, np.array(power), 1)[()]
