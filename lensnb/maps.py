"""Flat-sky maps: the grid, Gaussian and lognormal fields with exact answers, smoothing and shape noise.

Conventions, stated once. κ is dimensionless; a map is an array ``(..., row, column)``; the field is a square of
``side_deg`` degrees, treated as periodic wherever a Fourier transform is taken. With N = n² pixels on a field of A
steradians, the discrete transform is unitary (``norm="ortho"``), κ̃ = F κ, and the angular power spectrum is

    C_ℓ = ⟨|κ̃(ℓ)|²⟩ A / N,   in steradians,   with ℓ = 2π (i, j) / side.

A Gaussian field is therefore diagonal in Fourier space with eigenvalues λ(ℓ) = C_ℓ N / A, the *variance* of each mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

ARCMIN = math.pi / 180 / 60


def wide(x: Tensor) -> Tensor:
    """``x`` in float64, for transforms and sums; in float32 on Apple's MPS, which has no float64."""
    return x.float() if x.device.type == "mps" else x.double()


def check_side(side_deg: float | None) -> None:
    """Refuse a side of the field, in degrees, that is missing or not positive.

    Raises:
        ValueError: one sentence.
    """
    if side_deg is None or not side_deg > 0:
        raise ValueError(
            f"side_deg must be the side of the field in degrees, above 0, found {side_deg}"
        )


def check_shape(
    name: str, shape: Sequence[int], n: int | None = None, channels: int | None = None
) -> None:
    """Refuse arrays that are no maps, or not the maps that are expected: the one gate for shapes.

    Args:
        name: what the array is, the first words of the sentence.
        shape: its shape; right are ``(maps, n, n)`` and ``(maps, channels, n, n)``.
        n: expected pixels a side; None: any, at least 2.
        channels: expected channels, where 1 means maps without an axis of channels; None: any.

    Raises:
        ValueError: one sentence with what was found and what was expected.
    """
    shape = tuple(shape)
    square = len(shape) in (3, 4) and shape[-1] == shape[-2] >= 2
    found = shape[1] if len(shape) == 4 else 1
    right = square and n in (None, shape[-1]) and channels in (None, found)
    if channels == 1 and len(shape) == 4:
        right = False
    if right:
        return
    side = "n, n" if n is None else f"{n}, {n}"
    expected = [f"(maps, {side})", f"(maps, {channels or 'channels'}, {side})"]
    if channels is not None:
        expected = expected[:1] if channels == 1 else expected[1:]
    raise ValueError(f"{name} has the shape {shape}; expected {' or '.join(expected)}")


def turned(maps: Tensor, k: int) -> Tensor:
    """Maps ``(..., n, n)`` under symmetry ``k`` of the square, 0…7.

    ``k`` mod 4 quarter turns; from 4 on, then transposed.
    """
    maps = maps.rot90(k % 4, (-2, -1))
    return maps.mT if k >= 4 else maps


def turned_back(maps: Tensor, k: int) -> Tensor:
    """The inverse of :func:`turned`."""
    maps = maps.mT if k >= 4 else maps
    return maps.rot90(-(k % 4), (-2, -1))


@dataclass(frozen=True)
class MapGrid:
    """A square flat-sky grid of ``n`` × ``n`` pixels over ``side_deg`` degrees.

    Attributes:
        n: pixels a side.
        side_deg: side of the field, degrees.
    """

    n: int
    side_deg: float

    def __post_init__(self):
        check_side(self.side_deg)
        if self.n < 2:
            raise ValueError(f"a grid needs at least 2 pixels a side, found {self.n}")

    @property
    def pixel_arcmin(self) -> float:
        """Side of a pixel, arcminutes."""
        return self.side_deg * 60 / self.n

    @property
    def area(self) -> float:
        """Area of the field, steradians."""
        return math.radians(self.side_deg) ** 2

    @property
    def ell_min(self) -> float:
        """Fundamental mode, ℓ = 2π / side."""
        return 2 * math.pi / math.radians(self.side_deg)

    @property
    def ell_max(self) -> float:
        """Nyquist frequency of the pixels along an axis, ℓ = π / pixel."""
        return self.ell_min * self.n / 2

    @cached_property
    def ell(self) -> Tensor:
        """|ℓ| of every mode of ``rfft2``, float64, shape ``(n, n // 2 + 1)``."""
        row = torch.fft.fftfreq(self.n, 1 / self.n, dtype=torch.float64)
        column = torch.fft.rfftfreq(self.n, 1 / self.n, dtype=torch.float64)
        return self.ell_min * torch.hypot(row[:, None], column[None, :])

    @cached_property
    def multiplicity(self) -> Tensor:
        """How many modes of the full transform each mode of ``rfft2`` stands for, 1 or 2, shape ``(n, n // 2 + 1)``."""
        weight = torch.full((self.n, self.n // 2 + 1), 2.0, dtype=torch.float64)
        weight[:, 0] = 1
        if self.n % 2 == 0:
            weight[:, -1] = 1
        return weight


def mode_power(maps: Tensor) -> Tensor:
    """Variance of each Fourier mode, averaged over maps and over the 8 symmetries of the square.

    Args:
        maps: κ, shape ``(maps, n, n)``.

    Returns:
        |κ̃|² of ``rfft2`` modes, float64, shape ``(n, n // 2 + 1)``, invariant under the 8 symmetries.
    """
    n = maps.shape[-1]
    power = torch.zeros(n, n, dtype=wide(maps[:0]).dtype, device=maps.device)
    for batch in maps.split(256):
        power += torch.fft.fft2(wide(batch), norm="ortho").abs().square().sum(0)
    power = power / len(maps)
    flip = -torch.arange(n, device=maps.device) % n  # ℓ → −ℓ along one axis
    power = (power + power[flip]) / 2
    power = (power + power[:, flip]) / 2
    return ((power + power.T) / 2)[:, : n // 2 + 1]


class GaussianField(nn.Module):
    """A stationary Gaussian random field on a periodic grid: sample, density, score and denoiser, all exact.

    Args:
        variance: variance λ of each ``rfft2`` mode, shape ``(n, n // 2 + 1)``, positive.
        mean: mean of the field, a number.

    Raises:
        ValueError: a variance is not positive and finite, or the shape is not that of ``rfft2``.
    """

    def __init__(self, variance: Tensor, mean: float = 0.0):
        super().__init__()
        variance = torch.as_tensor(variance, dtype=torch.float64)
        n = variance.shape[0]
        if variance.shape != (n, n // 2 + 1):
            raise ValueError(
                f"variance must have the shape (n, n // 2 + 1) of rfft2, found {tuple(variance.shape)}"
            )
        if not (torch.isfinite(variance).all() and (variance > 0).all()):
            raise ValueError("every mode of a Gaussian field needs a positive, finite variance")
        self.register_buffer("variance", variance.clone())
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float64).clone())
        self.register_buffer("multiplicity", MapGrid(n, 1.0).multiplicity)

    @classmethod
    def from_power(cls, grid: MapGrid, power) -> GaussianField:
        """A zero-mean field with an angular power spectrum.

        Args:
            grid: the map's grid.
            power: callable ℓ → C_ℓ in sr; at ℓ = 0 it is given the fundamental mode, so that the field has a density.
        """
        ell = grid.ell.clamp(min=grid.ell_min)
        return cls(torch.as_tensor(power(ell), dtype=torch.float64) * grid.n**2 / grid.area)

    @classmethod
    def fit(cls, maps: Tensor) -> GaussianField:
        """The field with the mean and the (8-fold symmetric) mode variances of ``maps``, shape ``(maps, n, n)``."""
        mean = wide(maps).mean()
        variance = mode_power(wide(maps) - mean)
        return cls(variance.clamp(min=1e-9 * variance.max()), mean)

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.variance.shape[0]

    def _filter(self, x: Tensor, response: Tensor) -> Tensor:
        x64 = torch.fft.rfft2(wide(x), norm="ortho") * response
        return torch.fft.irfft2(x64, s=x.shape[-2:], norm="ortho").to(x.dtype)

    def mode_mean(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Mean over all modes of a function of their variance; a function λ ``(modes, 1)`` → ``(modes, k)`` gives ``(k,)``."""
        weight = self.multiplicity.flatten() / self.n**2
        return weight @ function(self.variance.flatten()[:, None])

    def whiten(self, x: Tensor) -> Tensor:
        """x → C^(−1/2) (x − mean): white, unit-variance maps, shape of ``x``."""
        return self._filter(x - self.mean.to(x.dtype), self.variance.rsqrt())

    def colour(self, white: Tensor) -> Tensor:
        """The inverse of :meth:`whiten`."""
        return self._filter(white, self.variance.sqrt()) + self.mean.to(white.dtype)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` maps, float32, shape ``(n, pixels, pixels)``, on the device of the field."""
        device = self.variance.device
        white = torch.randn(
            n,
            self.n,
            self.n,
            generator=generator,
            device=generator.device if generator else device,
        )
        return self.colour(white.to(device))

    def log_det(self) -> Tensor:
        """ln det C^(1/2), a float64 scalar."""
        return 0.5 * (self.multiplicity * self.variance.log()).sum()

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density ln p(x) in nats of maps ``(..., n, n)``; float64, shape ``(...)``."""
        white = self.whiten(wide(x))
        pixels = self.n**2
        return (
            -0.5 * white.square().sum((-2, -1))
            - self.log_det()
            - 0.5 * pixels * math.log(2 * math.pi)
        )

    def score(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """Exact score ∇ ln p(x; σ) of the field plus white noise of level σ, shape of ``x``.

        Args:
            x: maps ``(..., n, n)``.
            sigma: noise level, a number or one a map, shape ``(...)``.
        """
        return -self._filter(
            x - self.mean.to(x.dtype), 1 / (self.variance + _per_map(sigma, x) ** 2)
        )

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Exact posterior mean E[clean | x] of a map plus white noise of level σ: the Wiener filter λ / (λ + σ²)."""
        mean = self.mean.to(x.dtype)
        response = self.variance / (self.variance + _per_map(sigma, x) ** 2)
        return mean + self._filter(x - mean, response)

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bits per dimension of a batch of maps, a scalar."""
        return -self.log_prob(batch).mean() / (math.log(2) * self.n**2)


def _per_map(sigma: Tensor | float, x: Tensor) -> Tensor:
    """σ as a float64 tensor that broadcasts against maps ``(..., n, n)``."""
    return torch.as_tensor(sigma, dtype=wide(x[:0]).dtype, device=x.device)[..., None, None]


class LognormalField(nn.Module):
    """A lognormal field: ln(κ₀ + κ) is Gaussian, so κ > −κ₀ (Hilbert, Hartlap & Schneider 2011, eqs 13–23).

    The correlation functions of κ and of the Gaussian field obey ξ_G = ln(1 + ξ_κ / (κ₀ + ⟨κ⟩)²).

    Args:
        gaussian: the field ln(κ₀ + κ).
        shift: κ₀, a positive number.
    """

    def __init__(self, gaussian: GaussianField, shift: float):
        super().__init__()
        self.gaussian = gaussian
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float64).clone())

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.gaussian.n

    @classmethod
    def from_correlation(cls, variance: Tensor, shift: float, mean: float = 0.0) -> LognormalField:
        """The lognormal field with given mode variances λ_κ (``rfft2`` layout), shift κ₀ and mean of κ.

        Modes for which no lognormal field exists (a negative ξ_G eigenvalue) get a tiny variance.
        """
        n = variance.shape[0]
        amplitude = shift + mean
        xi = torch.fft.irfft2(torch.as_tensor(variance, dtype=torch.float64), s=(n, n))
        lam = torch.fft.rfft2(torch.log1p(xi / amplitude**2)).real
        xi_0 = torch.log1p(xi[0, 0] / amplitude**2)
        return cls(
            GaussianField(
                lam.clamp(min=1e-9 * lam.max()), math.log(amplitude) - 0.5 * float(xi_0)
            ),
            shift,
        )

    @classmethod
    def fit(cls, maps: Tensor) -> LognormalField:
        """The lognormal field with the mean, mode variances and skewness of ``maps``, shape ``(maps, n, n)``.

        With w = exp(σ_G²) the skewness of a lognormal variable is (w + 2) √(w − 1) and its variance κ₀² (w − 1).
        """
        x = wide(maps)
        mean, var = x.mean(), x.var()
        skewness = float(((x - mean) ** 3).mean() / var**1.5)
        if skewness <= 0:
            raise ValueError(
                f"a lognormal field needs maps with positive skewness, found {skewness:.3f}"
            )
        lo, hi = 0.0, 10.0  # bisection for u = √(w − 1): (u² + 3) u = skewness, increasing in u
        for _ in range(80):
            mid = (lo + hi) / 2
            lo, hi = (mid, hi) if (mid**2 + 3) * mid < skewness else (lo, mid)
        shift = float(var.sqrt()) / lo - float(mean)
        return cls.from_correlation(mode_power(x - mean), shift, float(mean))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` maps, float32, shape ``(n, pixels, pixels)``."""
        return self.gaussian.sample(n, generator).exp() - self.shift.float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density in nats, float64, shape ``(...)``; −∞ where a pixel lies at or below −κ₀."""
        y = wide(x) + self.shift
        inside = (y > 0).flatten(-2).all(-1)
        log = y.clamp(min=1e-300).log()
        density = self.gaussian.log_prob(log) - log.sum((-2, -1))
        return torch.where(inside, density, -torch.inf)

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bits per dimension of a batch of maps, a scalar."""
        return -self.log_prob(batch).mean() / (math.log(2) * self.gaussian.n**2)


def smooth(maps: Tensor, sigma_arcmin: float, side_deg: float, periodic: bool = False) -> Tensor:
    """Smooth maps with a Gaussian of standard deviation ``sigma_arcmin``.

    Args:
        maps: κ, shape ``(..., n, n)``.
        sigma_arcmin: standard deviation of the kernel, arcminutes; 0 leaves the maps as they are.
        side_deg: side of the field, degrees.
        periodic: wrap round the edges; otherwise the maps are mirrored at them, as suits a cut-out of the sky.

    Returns:
        Smoothed maps, shape and dtype of ``maps``.
    """
    if sigma_arcmin == 0:
        return maps
    if sigma_arcmin < 0:
        raise ValueError(f"sigma_arcmin must not be negative, found {sigma_arcmin}")
    n = maps.shape[-1]
    length = n if periodic else 2 * n
    sigma_pixels = sigma_arcmin / MapGrid(n, side_deg).pixel_arcmin
    frequency = torch.fft.rfftfreq(length, dtype=torch.float64, device="cpu")
    beam = (
        torch.exp(-0.5 * (2 * math.pi * sigma_pixels * frequency) ** 2)
        .to(maps.dtype)
        .to(maps.device)
    )
    for _ in range(2):  # a Gaussian is one along rows times one along columns
        work = maps if periodic else torch.cat([maps, maps.flip(-1)], -1)
        maps = torch.fft.irfft(torch.fft.rfft(work) * beam, length)[..., :n].mT
    return maps


def shape_noise_sigma(n_gal_arcmin2: float, sigma_e: float, grid: MapGrid) -> float:
    """Standard deviation of the shape noise in one pixel, σ² = σ_e² / (2 n_gal A_pix) (van Waerbeke 2000, eq. 8).

    Args:
        n_gal_arcmin2: source galaxies per square arcminute.
        sigma_e: intrinsic ellipticity dispersion of both components together (0.4 is usual).
        grid: gives the area of a pixel.
    """
    if n_gal_arcmin2 <= 0:
        raise ValueError(f"n_gal_arcmin2 must be positive, found {n_gal_arcmin2}")
    return sigma_e / math.sqrt(2 * n_gal_arcmin2 * grid.pixel_arcmin**2)


def add_shape_noise(
    maps: Tensor,
    side_deg: float,
    n_gal_arcmin2: float,
    sigma_e: float = 0.4,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Add white Gaussian shape noise to maps ``(..., n, n)``; see :func:`shape_noise_sigma`."""
    sigma = shape_noise_sigma(n_gal_arcmin2, sigma_e, MapGrid(maps.shape[-1], side_deg))
    device = generator.device if generator is not None else maps.device
    noise = torch.randn(maps.shape, generator=generator, dtype=maps.dtype, device=device)
    return maps + sigma * noise.to(maps.device)
