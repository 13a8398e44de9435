"""Distances, the lensing kernel and the convergence spectrum of a ΛCDM universe, on pyccl.

Notation: χ is the comoving distance in Mpc/h, f_K(χ) the transverse comoving distance, z the
redshift, κ the (dimensionless) convergence, ℓ the (dimensionless) angular wavenumber and C_ℓ the
angular power spectrum in steradians.

    κ(θ) = ∫₀^χs dχ w(χ) δ(f_K(χ) θ, χ),
    w(χ) = (3/2) Ω_m (H₀/c)² f_K(χ) f_K(χs − χ) / (f_K(χs) a(χ))

(Bartelmann & Schneider 2001, Phys. Rep. 340, 291, eqs 6.16–6.20). In a flat universe f_K(χ) = χ.
pyccl computes distances and spectra. It is part of the extra ``sims`` and is imported inside the
functions that need it.
"""

from __future__ import annotations

import atexit
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import numpy as np

HUBBLE_DISTANCE = 2997.92458  # c / (100 km/s/Mpc), in Mpc/h

_LARGEST = 3.0  # of σ₈, h and n_s
_ROUNDING = 1e-9  # of density parameters that add up to one


@dataclass(frozen=True)
class Cosmology:
    """A ΛCDM cosmology; the defaults are those of SLICS (Harnois-Déraps et al. 2018).

    Attributes:
        omega_m: matter density parameter today.
        sigma8: rms linear density contrast in spheres of 8 Mpc/h today.
        h: Hubble constant in units of 100 km/s/Mpc.
        n_s: spectral index of the primordial power spectrum.
        omega_b: baryon density parameter today.
        omega_k: curvature parameter today; 0 is flat, and a closed universe has a negative one.
            The cosmological constant is 1 − Ω_m − Ω_k.

    Raises:
        ValueError: a parameter that no universe of this kind has.
    """

    omega_m: float = 0.2905
    sigma8: float = 0.826
    h: float = 0.6898
    n_s: float = 0.969
    omega_b: float = 0.0473
    omega_k: float = 0.0

    def __post_init__(self):
        for name in ("omega_m", "sigma8", "h", "n_s", "omega_b"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, found {value}")
        for name in ("sigma8", "h", "n_s"):
            if getattr(self, name) > _LARGEST:  # h = 70 would be in another unit
                found = getattr(self, name)
                raise ValueError(f"{name} must be at most {_LARGEST:g}, found {found}")
        if not -1 < self.omega_k < 1:
            raise ValueError(f"omega_k must be between -1 and 1, found {self.omega_k}")
        highest = 1 - self.omega_k  # the cosmological constant is not negative
        if not self.omega_b < self.omega_m <= highest + _ROUNDING:
            raise ValueError(
                f"omega_m must be above omega_b = {self.omega_b} and at most {highest:g}, "
                f"found {self.omega_m}"
            )
        if self._smallest_expansion() <= 0:
            raise ValueError(
                f"a universe of omega_m = {self.omega_m} and omega_k = {self.omega_k} has no Big "
                "Bang; omega_k must be higher"
            )

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"Cosmology({values})"

    def expansion_squared(self, a):
        """(H/H₀)² = Ω_m a⁻³ + Ω_k a⁻² + Ω_Λ, same shape as the scale factor ``a``."""
        constant = 1 - self.omega_m - self.omega_k
        return self.omega_m / a**3 + self.omega_k / a**2 + constant

    def _smallest_expansion(self) -> float:
        """The smallest (H/H₀)² up to today."""
        if self.omega_k >= 0:
            return 1.0
        lowest = -1.5 * self.omega_m / self.omega_k  # where its derivative is zero
        return self.expansion_squared(min(1.0, lowest))

    def as_dict(self) -> dict[str, float]:
        """The parameters as a plain dictionary, for provenance.

        A flat universe has no ``omega_k`` here: so records are those of earlier versions.
        """
        values = asdict(self)
        if self.omega_k == 0:
            del values["omega_k"]
        return values


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
        Omega_k=cosmology.omega_k,
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


def transverse_distance(chi, cosmology: Cosmology = Cosmology()):
    """Transverse comoving distance f_K(χ): the comoving length that is seen under one radian.

    f_K = R sinh(χ/R) for Ω_k > 0,  χ for Ω_k = 0,  R sin(χ/R) for Ω_k < 0,  R = c/(H₀ √|Ω_k|)

    Args:
        chi: comoving distances in Mpc/h, any shape.
        cosmology: gives Ω_k.

    Returns:
        f_K in Mpc/h, same shape as ``chi``.
    """
    chi = np.asarray(chi, float)[()]
    if cosmology.omega_k == 0:
        return chi
    radius = HUBBLE_DISTANCE / math.sqrt(abs(cosmology.omega_k))
    if cosmology.omega_k > 0:
        return radius * np.sinh(chi / radius)
    return radius * np.sin(chi / radius)


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
        cosmology: ΛCDM parameters.

    Returns:
        w, same shape as ``chi``.
    """
    chi = np.asarray(chi, float)
    chi_s = comoving_distance(z_source, cosmology)
    efficiency = _efficiency(chi, chi_s, cosmology)
    distance = transverse_distance(chi, cosmology)
    a = scale_factor(chi, cosmology)
    return 1.5 * cosmology.omega_m / HUBBLE_DISTANCE**2 * distance * efficiency / a


def _efficiency(chi: np.ndarray, chi_s: float, cosmology: Cosmology):
    """f_K(χs − χ) / f_K(χs), zero behind the source."""
    if cosmology.omega_k == 0:
        return np.clip(1 - chi / chi_s, 0, None)
    left = np.clip(chi_s - chi, 0, None)
    return transverse_distance(left, cosmology) / transverse_distance(chi_s, cosmology)


def matter_power(k, z: float, cosmology: Cosmology = Cosmology(), linear: bool = False):
    """Matter power spectrum P(k) in (Mpc/h)³: halofit (Takahashi et al. 2012) or linear.

    Args:
        k: wavenumbers in h/Mpc, any shape.
        z: redshift.
        cosmology: ΛCDM parameters.
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

    C_ℓ = ∫ dχ w(χ)² / f_K(χ)² P(ℓ/f_K(χ), χ)  (Bartelmann & Schneider 2001, eq. 6.24)

    Args:
        ell: angular wavenumbers, any shape.
        z_source: redshift of all sources.
        cosmology: ΛCDM parameters.

    Returns:
        C_ℓ in steradians, same shape as ``ell``.
    """
    ell = np.asarray(ell, float)
    chi, weight = _nodes_to(z_source, cosmology, 200)
    distances = transverse_distance(chi, cosmology)
    kernel = lensing_kernel(chi, z_source, cosmology) ** 2 / distances**2 * weight
    redshifts = 1 / scale_factor(chi, cosmology) - 1
    power = [matter_power(ell / r, z, cosmology) for r, z in zip(distances, redshifts)]
    return np.tensordot(kernel, np.array(power), 1)[()]


def _nodes_to(z_source: float, cosmology: Cosmology, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights, in Mpc/h, of a Gauss–Legendre integral from χ = 0 to the source."""
    node, weight = np.polynomial.legendre.leggauss(count)
    chi_s = float(comoving_distance(z_source, cosmology))
    return chi_s * (node + 1) / 2, weight * chi_s / 2


_REACH = 64  # of the window of a field, in units of 2π over its side; beyond it is below 1e-6
_CELLS = 24  # modes of a box along half an axis that are compared with an integral
_FINER = 8  # points of that integral for each mode, along an axis


@lru_cache
def sigma_b(
    side_deg: float,
    z_source: float,
    cosmology: Cosmology = Cosmology(),
    box_size: float | None = None,
) -> float:
    """Scatter of the mean convergence of a square field: in all, or of the modes that a box lacks.

    In all:  σ_b² = ∫ dℓ ℓ/(2π) C_ℓ W²(ℓ),  where W² is the average over directions of
    sinc²(ℓ_x θ/2) sinc²(ℓ_y θ/2) for a field of side θ.

    With a box of side L:  σ_b² = ∫ dχ w(χ)² [∫ d²k/(2π)² − L⁻² Σ_k] P(k, χ) W²(k f_K(χ)).
    The sum is over the modes of the periodic box, k = 2π (i, j)/L without k = 0.

    Both hold in Limber's approximation and for halofit, whose power at these wavelengths is nearly
    the linear one. It is the σ_b of Takada & Hu 2013 (arXiv:1302.6994) under the lensing kernel.

    Args:
        side_deg: side of the field, degrees.
        z_source: redshift of all sources.
        cosmology: ΛCDM parameters.
        box_size: side of the box that the field is cut from, Mpc/h. None: all modes count.

    Returns:
        σ_b, dimensionless.
    """
    side = math.radians(side_deg)
    if box_size is None:
        return math.sqrt(_variance_in_all(side, z_source, cosmology))
    variance = 0.0
    chi, weight = _nodes_to(z_source, cosmology, 32)
    kernel = lensing_kernel(chi, z_source, cosmology) ** 2 * weight
    widths = side * transverse_distance(chi, cosmology)
    redshifts = 1 / scale_factor(chi, cosmology) - 1
    for factor, width, z in zip(kernel, widths, redshifts):
        power = partial(matter_power, z=z, cosmology=cosmology)
        variance += factor * _variance_beyond(power, width, box_size)
    return math.sqrt(variance)


def _variance_in_all(side: float, z_source: float, cosmology: Cosmology) -> float:
    """∫ dℓ ℓ/(2π) C_ℓ W²(ℓ) for a field of side ``side``, radians."""
    fundamental = 2 * math.pi / side
    ell = np.geomspace(fundamental / 200, fundamental * _REACH, 1000)
    nodes = np.geomspace(ell[0], ell[-1], 60)
    power = convergence_power(nodes, z_source, cosmology)
    of_ell = np.exp(np.interp(np.log(ell), np.log(nodes), np.log(power)))
    window = _window_squared(ell / fundamental)
    return float(np.trapezoid(ell**2 / (2 * math.pi) * of_ell * window, np.log(ell)))


def _window_squared(x: np.ndarray) -> np.ndarray:
    """Average of sinc²(π x cos φ) sinc²(π x sin φ) over the directions φ."""
    node, weight = np.polynomial.legendre.leggauss(256)
    angle = math.pi / 8 * (node + 1)  # the square repeats itself every 45 degrees
    square = np.sinc(x[:, None] * np.cos(angle)) ** 2 * np.sinc(x[:, None] * np.sin(angle)) ** 2
    return square @ weight / 2


def _variance_beyond(power: Callable, width: float, box_size: float) -> float:
    """[∫ d²k/(2π)² − L⁻² Σ_k] P(k) W²(k) for a field of side ``width``, both in Mpc/h.

    Each mode of the box is compared with the integral over its cell. Far from k = 0 they agree.
    """
    spacing = 2 * math.pi / box_size
    modes = np.arange(-_CELLS, _CELLS + 1) * spacing
    offsets = (np.arange(_FINER) + 0.5) / _FINER - 0.5
    points = (modes[:, None] + offsets * spacing).ravel()
    nodes = np.geomspace(spacing / (4 * _FINER), 2 * modes[-1], 100)
    log_power = np.log(power(nodes))

    def total(line: np.ndarray) -> float:
        k = np.hypot(line[:, None], line)
        of_k = np.exp(np.interp(np.log(k.clip(nodes[0])), np.log(nodes), log_power))
        along = np.sinc(line * width / (2 * math.pi)) ** 2
        product = of_k * np.outer(along, along)
        return float(product[k > 0].sum())

    return (total(points) / _FINER**2 - total(modes)) / box_size**2
