"""Shear and convergence: binned galaxies, the Kaiser–Squires inversion, and shape noise.

The shear γ = γ₁ + iγ₂ is measured with respect to the axes of the map, where x increases with the
column and y with the row. γ₁ > 0 stretches images along x, and γ₂ > 0 along the diagonal x = y.
With the lensing potential ψ, κ = (ψ,xx + ψ,yy) / 2 and γ = (ψ,xx − ψ,yy) / 2 + iψ,xy. So in
Fourier space (Kaiser & Squires 1993; Bartelmann & Schneider 2001, sect. 5.1)

    γ̃(ℓ) = D(ℓ) κ̃(ℓ),   D(ℓ) = (ℓ_x + iℓ_y)² / |ℓ|²,   κ_E + iκ_B = F⁻¹[D* γ̃].

* |D| = 1, so noise that is white in γ is white in κ.
* D(0) = 0, because the mean of κ cannot be observed. It is set to zero.
* Lensing makes no B mode (to first order). So κ_B shows noise, edges, holes, or a wrong sign of γ₁
  or γ₂.

A catalogue in other axes must be converted first. If the axes are swapped, both components change
sign. If one axis is reversed, γ₂ changes sign.

All conventions of shape noise are given here. N galaxies in a pixel, with ellipticities of
dispersion σ_e (both components together), give κ in this pixel a noise of σ_e / √(2N) (van
Waerbeke 2000, eq. 8). With n_gal galaxies per area, this is white noise with C_ℓ = σ_e² / (2
n_gal).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .maps import ARCMIN, MapGrid
from .maps.grid import check_tensor, wide


def bin_shear(
    x: Tensor, y: Tensor, gamma: Tensor, n: int, side: float, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean shear of the galaxies in each pixel of a square field.

    Args:
        x, y: positions, shape ``(galaxies,)``, from 0 to ``side``; galaxies outside are left out.
        gamma: γ₁ + iγ₂ of each galaxy, complex, shape ``(galaxies,)``; a real quantity such as κ
            is also possible.
        n: pixels a side.
        side: side of the field, in the unit of ``x`` and ``y``.
        weight: w of each galaxy, not negative; None gives all the same.

    Returns:
        (mean Σwγ/Σw, number of galaxies): complex128 and int64, shape ``(n, n)``; the mean is 0 in
        pixels without galaxies. With weights, the number is the effective one, (Σw)²/Σw², float64.
    """
    column = _pixel_number(x, n, side)
    row = _pixel_number(y, n, side)
    inside = (column >= 0) & (column < n) & (row >= 0) & (row < n)
    pixel = row[inside] * n + column[inside]
    gamma = torch.as_tensor(gamma).to(torch.complex128)[inside]
    if weight is None:
        count = total = torch.bincount(pixel, minlength=n * n)
        total = total.clamp(min=1)
    else:
        weight = wide(weight)[inside]
        gamma = weight * gamma
        total = torch.bincount(pixel, weight, n * n)
        squares = torch.bincount(pixel, weight.square(), n * n)
        total = torch.where(total > 0, total, 1)
        count = torch.where(squares > 0, total.square() / squares, 0)
    real = torch.bincount(pixel, gamma.real, n * n)
    imaginary = torch.bincount(pixel, gamma.imag, n * n)
    mean = torch.complex(real, imaginary) / total
    return mean.reshape(n, n), count.reshape(n, n)


def _pixel_number(position: Tensor, n: int, side: float) -> Tensor:
    """Number of the column or row that a position lies in."""
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
        periodic: whether the field is periodic. Then this is the exact inverse of :func:`shear`,
            except for the mean. Otherwise the field is padded with zeros to twice its side, so
            that opposite edges do not affect each other. The shear outside the field stays
            unknown, so κ is least certain at the edges.

    Returns:
        (κ_E, κ_B): the map, and its B mode as a check, float64, shape ``(..., n, n)``.
    """
    n = gamma.shape[-1]
    size = n
    if not periodic:
        size = 2 * n
    kernel = _kernel(size, gamma.device)
    modes = kernel.conj() * torch.fft.fft2(gamma, s=(size, size))
    kappa = torch.fft.ifft2(modes)[..., :n, :n]
    return kappa.real, kappa.imag


# ---------------------------------------------------------------- shape noise


def shape_noise(gamma: Tensor, count: Tensor) -> Tensor:
    """Standard deviation of the noise of κ in each pixel of a catalogue, σ_e / √(2N).

    Args:
        gamma: measured ellipticity or shear of each galaxy, complex, shape ``(galaxies,)``. Its
            dispersion σ_e² = ⟨|γ|²⟩ is that of both components together, and includes the signal.
        count: N, number of galaxies in each pixel, shape ``(n, n)``.

    Returns:
        float64, shape ``(n, n)``; infinite in pixels without galaxies.
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
    check_tensor("the input of add_shape_noise", maps)
    sigma = shape_noise_sigma(n_gal_arcmin2, sigma_e, MapGrid(maps.shape[-1], side_deg))
    device = maps.device
    if generator is not None:
        device = generator.device
    noise = torch.randn(maps.shape, generator=generator, dtype=maps.dtype, device=device)
    return maps + sigma * noise.to(maps.device)
