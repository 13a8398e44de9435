"""Shear and convergence: galaxies binned into pixels, the Kaiser–Squires inversion, and shape noise.

The shear γ = γ₁ + iγ₂ is measured against the axes of the map: x grows with the column, y with the
row; γ₁ > 0 stretches images along x, γ₂ > 0 along the diagonal x = y. With the lensing potential
ψ, κ = (ψ,xx + ψ,yy) / 2 and γ = (ψ,xx − ψ,yy) / 2 + iψ,xy, so that in Fourier space (Kaiser &
Squires 1993; Bartelmann & Schneider 2001, sect. 5.1)

    γ̃(ℓ) = D(ℓ) κ̃(ℓ),   D(ℓ) = (ℓ_x + iℓ_y)² / |ℓ|²,   κ_E + iκ_B = F⁻¹[D* γ̃].

|D| = 1: noise that is white in γ is white in κ. D(0) = 0: the mean of κ cannot be observed, and is
set to zero. Lensing makes no B mode (to first order), so κ_B shows noise, edges, holes, and a
wrong sign of γ₁ or γ₂. A catalogue in other axes has to be turned first: swapped axes change the
sign of both components, one reversed axis that of γ₂.

Shape noise is stated here once. N galaxies in a pixel, whose ellipticities have the dispersion
σ_e (both components together), give κ in that pixel a noise of σ_e / √(2N) (van Waerbeke 2000,
eq. 8). With n_gal galaxies per area that is white noise with C_ℓ = σ_e² / (2 n_gal).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .maps import ARCMIN, MapGrid, wide


def bin_shear(x: Tensor, y: Tensor, gamma: Tensor, n: int, side: float) -> tuple[Tensor, Tensor]:
    """Mean shear of the galaxies in each pixel of a square field.

    Args:
        x, y: positions, shape ``(galaxies,)``, from 0 to ``side``; galaxies outside are left out.
        gamma: γ₁ + iγ₂ of each galaxy, complex, shape ``(galaxies,)``; a real quantity such as κ
            will do too.
        n: pixels a side.
        side: of the field, in the unit of ``x`` and ``y``.

    Returns:
        (mean, number of galaxies): complex128 and int64, shape ``(n, n)``; the mean is 0 where
        there is no galaxy.
    """
    column = _pixel_number(x, n, side)
    row = _pixel_number(y, n, side)
    inside = (column >= 0) & (column < n) & (row >= 0) & (row < n)
    pixel = row[inside] * n + column[inside]
    gamma = torch.as_tensor(gamma).to(torch.complex128)[inside]
    count = torch.bincount(pixel, minlength=n * n)
    real = torch.bincount(pixel, gamma.real, n * n)
    imaginary = torch.bincount(pixel, gamma.imag, n * n)
    mean = torch.complex(real, imaginary) / count.clamp(min=1)
    return mean.reshape(n, n), count.reshape(n, n)


def _pixel_number(position: Tensor, n: int, side: float) -> Tensor:
    return (wide(position) * (n / side)).floor().long()


def _kernel(n: int, device: torch.device) -> Tensor:
    """D(ℓ) on the grid of ``fft2``, complex128, shape ``(n, n)``; 0 at ℓ = 0."""
    frequency = torch.fft.fftfreq(n, dtype=torch.float64, device=device)
    ell_x, ell_y = torch.meshgrid(frequency, frequency, indexing="xy")  # ℓ_x along columns
    ell = torch.complex(ell_x, ell_y)
    ell[0, 0] = 1
    kernel = (ell / ell.abs()) ** 2
    kernel[0, 0] = 0
    return kernel


def shear(kappa: Tensor) -> Tensor:
    """The shear of a periodic map: γ = F⁻¹[D κ̃].

    Args:
        kappa: shape ``(..., n, n)``.

    Returns:
        complex128, shape of ``kappa``.
    """
    kernel = _kernel(kappa.shape[-1], kappa.device)
    return torch.fft.ifft2(kernel * torch.fft.fft2(wide(kappa)))


def kaiser_squires(gamma: Tensor, periodic: bool = False) -> tuple[Tensor, Tensor]:
    """Convergence from shear (Kaiser & Squires 1993): κ_E + iκ_B = F⁻¹[D* γ̃].

    Args:
        gamma: γ₁ + iγ₂, complex, shape ``(..., n, n)``.
        periodic: the field wraps round its edges, and :func:`shear` is undone exactly but for the
            mean. Otherwise the field is surrounded by zeros up to twice its side. This keeps
            opposite edges from disturbing each other. What lies outside the field stays unknown,
            so the outer pixels are the least certain.

    Returns:
        (κ_E, κ_B): the map and the check on it, float64, shape ``(..., n, n)``.
    """
    n = gamma.shape[-1]
    size = n if periodic else 2 * n
    modes = _kernel(size, gamma.device).conj() * torch.fft.fft2(gamma, s=(size, size))
    kappa = torch.fft.ifft2(modes)[..., :n, :n]
    return kappa.real, kappa.imag


# ---------------------------------------------------------------- shape noise


def shape_noise(gamma: Tensor, count: Tensor) -> Tensor:
    """Standard deviation of the noise of κ in each pixel of a catalogue, σ_e / √(2N).

    Args:
        gamma: measured ellipticity or shear of each galaxy, complex, shape ``(galaxies,)``; σ_e² =
            ⟨|γ|²⟩ is the dispersion of both components together, the signal included.
        count: N, galaxies in each pixel, shape ``(n, n)``.

    Returns:
        float64, shape ``(n, n)``; infinite where there is no galaxy.
    """
    sigma_e = gamma.abs().double().square().mean().sqrt()
    return sigma_e / (2 * count.double()).sqrt()


def shape_noise_power(n_gal_arcmin2: float, sigma_e: float = 0.4) -> float:
    """The white C_ℓ of shape noise, σ_e² / (2 n_gal), in steradians.

    Args:
        n_gal_arcmin2: source galaxies per square arcminute.
        sigma_e: intrinsic ellipticity dispersion of both components together (0.4 is usual).

    Raises:
        ValueError: a number of galaxies that is not positive.
    """
    if n_gal_arcmin2 <= 0:
        raise ValueError(f"n_gal_arcmin2 must be positive, found {n_gal_arcmin2}")
    return sigma_e**2 / (2 * n_gal_arcmin2) * ARCMIN**2


def shape_noise_sigma(n_gal_arcmin2: float, sigma_e: float, grid: MapGrid) -> float:
    """Standard deviation of the shape noise in one pixel, σ² = σ_e² / (2 n_gal A_pix).

    Args:
        n_gal_arcmin2: source galaxies per square arcminute.
        sigma_e: intrinsic ellipticity dispersion of both components together (0.4 is usual).
        grid: gives the area A_pix of a pixel.

    Raises:
        ValueError: a number of galaxies that is not positive.
    """
    pixel = grid.pixel_arcmin * ARCMIN
    return math.sqrt(shape_noise_power(n_gal_arcmin2, sigma_e)) / pixel


def add_shape_noise(
    maps: Tensor,
    side_deg: float,
    n_gal_arcmin2: float,
    sigma_e: float = 0.4,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Add white Gaussian shape noise to maps ``(..., n, n)``; see :func:`shape_noise_sigma`."""
    sigma = shape_noise_sigma(n_gal_arcmin2, sigma_e, MapGrid(maps.shape[-1], side_deg))
    device = maps.device if generator is None else generator.device
    noise = torch.randn(maps.shape, generator=generator, dtype=maps.dtype, device=device)
    return maps + sigma * noise.to(maps.device)
