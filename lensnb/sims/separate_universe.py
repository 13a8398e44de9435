"""An overdense region as a universe of its own: the *separate universe*.

A region whose mean density differs from the universe's, by a wave much longer than the region,
evolves as a universe with curvature (Sirko 2005, astro-ph/0503106; Li, Hu & Takada 2014,
arXiv:1401.0385; Wagner et al. 2015, arXiv:1409.6294). It has the same matter, the same dark energy
and the same time t; ã is its scale factor:

    ρ̃_m(t) = ρ_m(t) (1 + δ_b(t)),   1 + δ_b = (a/ã)³,   ã → a at early times,
    H̃² = H₀² [Ω_m ã⁻³ + (Ω_k + K_b) ã⁻² + Ω_Λ],   K_b = −(5/3) Ω_m δ_b0 / D₀.

δ_b0 is the *linear* overdensity today, and D₀ the growth today, with D → a at early times. At
ã = 1, where its own parameters are defined, the region has

    H̃₀ = H₀ √(1 + K_b),   Ω̃_m = Ω_m/(1 + K_b),   Ω̃_k = (Ω_k + K_b)/(1 + K_b),

so Ω̃_m h̃² = Ω_m h² and the same transfer function. Quantities of the region have a tilde, and its
lengths are in Mpc/h̃.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.integrate import quad

from ..theory import Cosmology, ccl_cosmology


@dataclass(frozen=True)
class SeparateUniverse:
    """The universe that a region of another mean density is.

    Attributes:
        parent: the universe that the region lies in.
        delta_b: linear overdensity δ_b0 of the region today, at a = 1.

    Raises:
        ValueError: the region collapses before it reaches ã = 1, or is emptier than a universe.
    """

    parent: Cosmology
    delta_b: float

    def __post_init__(self):
        if not -1 < self.delta_b < 1:
            raise ValueError(f"delta_b must be between -1 and 1, found {self.delta_b}")
        self._without_amplitude()

    @cached_property
    def curvature(self) -> float:
        """K_b, in units of the parent's H₀²."""
        parent = self.parent
        return -5 / 3 * parent.omega_m * self.delta_b / growth(parent)

    @cached_property
    def cosmology(self) -> Cosmology:
        """The region's own parameters, at ã = 1.

        σ₈ is such that the power at early times is the parent's: σ̃₈ = σ(8 Mpc/h̃) D̃₀/D₀.
        """
        plain = self._without_amplitude()
        radius = 8 / plain.h  # Mpc
        of_parent = float(ccl_cosmology(self.parent).sigmaR(radius, 1.0))
        return self._without_amplitude(of_parent * growth(plain) / growth(self.parent))

    def _without_amplitude(self, sigma8: float | None = None) -> Cosmology:
        parent = self.parent
        rate = 1 + self.curvature  # (H̃₀/H₀)²
        if rate <= 0:
            raise ValueError(
                f"a region of delta_b = {self.delta_b} collapses; expected a smaller overdensity"
            )
        return Cosmology(
            omega_m=parent.omega_m / rate,
            sigma8=sigma8 or parent.sigma8,
            h=parent.h * math.sqrt(rate),
            n_s=parent.n_s,
            omega_b=parent.omega_b / rate,
            omega_k=(parent.omega_k + self.curvature) / rate,
        )

    def scale_factor(self, a):
        """ã at the time when the parent has the scale factor ``a``; same shape.

        Solves t̃(ã) = t(a) by Newton's method.
        """
        a = np.asarray(a, float)
        time = _age(a, self.parent, 0.0)
        own = a * np.cbrt(1 - self.delta_b * a / (1 + abs(self.delta_b)))
        for _ in range(20):
            late = _age(own, self.parent, self.curvature) - time
            own = own - late * np.sqrt(_speed(own, self.parent, self.curvature) / own)
        return own[()]

    def overdensity(self, a):
        """δ_b = (a/ã)³ − 1 at the parent's scale factor ``a``, not linearised; same shape."""
        return (np.asarray(a) / self.scale_factor(a)) ** 3 - 1

    def box_size(self, side: float, a: float) -> float:
        """Side L̃ of the box, Mpc/h̃, that is as large as ``side`` (Mpc/h) at one time.

        ã L̃/h̃ = a L/h. A particle of this box has 1 + δ_b(a) times the mass of one of as many in
        a box of the parent.
        """
        stretch = float(np.asarray(a) / self.scale_factor(a))
        return side * stretch * self._without_amplitude().h / self.parent.h


def growth(cosmology: Cosmology, a: float = 1.0) -> float:
    """Linear growth D(a) = (5/2) Ω_m E(a) ∫₀^a da' / (a' E(a'))³, with D → a at early times.

    (Heath 1977; for matter, curvature and a cosmological constant.)
    """

    def integrand(x: float) -> float:
        return (x * x * cosmology.expansion_squared(x)) ** -1.5

    integral = quad(integrand, 0, a)[0]
    return 2.5 * cosmology.omega_m * math.sqrt(cosmology.expansion_squared(a)) * integral


def _speed(a: np.ndarray, parent: Cosmology, curvature: float) -> np.ndarray:
    """a (da/dt)² in units of H₀²: Ω_m + (Ω_k + K_b) a + Ω_Λ a³."""
    constant = 1 - parent.omega_m - parent.omega_k
    return parent.omega_m + (parent.omega_k + curvature) * a + constant * a**3


def _age(a: np.ndarray, parent: Cosmology, curvature: float) -> np.ndarray:
    """Time since the Big Bang in units of 1/H₀: ∫ da √(a / (a ȧ²)), with a = u²."""
    node, weight = np.polynomial.legendre.leggauss(64)
    last = np.sqrt(a)[..., None]
    u = last * (node + 1) / 2
    integrand = 2 * u**2 / np.sqrt(_speed(u**2, parent, curvature))
    return (integrand * weight * last / 2).sum(-1)
