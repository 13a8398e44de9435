"""Shear → convergence: galaxies binned into pixels, the Kaiser–Squires inversion, and the noise of their shapes.

The shear γ = γ₁ + iγ₂ is measured against the axes of the map: x grows with the column, y with the row; γ₁ > 0
stretches images along x, γ₂ > 0 along the diagonal x = y. With the lensing potential ψ, κ = (ψ,xx + ψ,yy) / 2 and
γ = (ψ,xx − ψ,yy) / 2 + iψ,xy, so that in Fourier space (Kaiser & Squires 1993; Bartelmann & Schneider 2001, sect. 5.1)

    γ̃(ℓ) = D(ℓ) κ̃(ℓ),   D(ℓ) = (ℓ_x + iℓ_y)² / |ℓ|²,   κ_E + iκ_B = F⁻¹[D* γ̃].

|D| = 1: noise that is white in γ is white in κ. D(0) = 0: the mean of κ is not observable, and is set to zero. Lensing
makes no B mode (to first order), so that κ_B shows noise, edges, holes, and a wrong sign of γ₁ or γ₂. A catalogue in
other axes has to be turned first: swapped axes change the sign of both components, one axis reversed that of γ₂.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .maps import wide


def bin_shear(x: Tensor, y: Tensor, gamma: Tensor, n: int, side: float) -> tuple[Tensor, Tensor]:
    """Mean shear of the galaxies in each pixel of a square field.

    Args:
        x, y: positions, shape ``(galaxies,)``, from 0 to ``side``; galaxies outside are left out.
        gamma: γ₁ + iγ₂ of each galaxy, complex, shape ``(galaxies,)``; a real quantity such as κ will do too.
        n: pixels a side.
        side: of the field, in the unit of ``x`` and ``y``.

    Returns:
        (mean, number of galaxies): complex128 and int64, shape ``(n, n)``; the mean is 0 where there is no galaxy.
    """
    column, row = ((wide(at) * (n / side)).floor().long() for at in (x, y))
    inside = (column >= 0) & (column < n) & (row >= 0) & (row < n)
    pixel = row[inside] * n + column[inside]
    count = torch.bincount(pixel, minlength=n * n)
    gamma = torch.as_tensor(gamma).to(torch.complex128)[inside]
    total = torch.complex(
        *(torch.bincount(pixel, part, n * n) for part in (gamma.real, gamma.imag))
    )
    return (total / count.clamp(min=1)).reshape(n, n), count.reshape(n, n)


def _kernel(n: int, device: torch.device) -> Tensor:
    """D(ℓ) on the grid of ``fft2``, complex128, shape ``(n, n)``; 0 at ℓ = 0."""
    frequency = torch.fft.fftfreq(n, dtype=torch.float64, device=device)
    ell = torch.complex(
        *torch.meshgrid(frequency, frequency, indexing="xy")
    )  # ℓ_x + iℓ_y, ℓ_x along columns
    ell[0, 0] = 1
    kernel = (ell / ell.abs()) ** 2
    kernel[0, 0] = 0
    return kernel


def shear(kappa: Tensor) -> Tensor:
    """The shear of a periodic map: γ = F⁻¹[D κ̃], complex128, shape of ``kappa``, ``(..., n, n)``."""
    return torch.fft.ifft2(_kernel(kappa.shape[-1], kappa.device) * torch.fft.fft2(wide(kappa)))


def kaiser_squires(gamma: Tensor, periodic: bool = False) -> tuple[Tensor, Tensor]:
    """Convergence from shear (Kaiser & Squires 1993): κ_E + iκ_B = F⁻¹[D* γ̃].

    Args:
        gamma: γ₁ + iγ₂, complex, shape ``(..., n, n)``.
        periodic: the field wraps round its edges, and :func:`shear` is undone exactly but for the mean. Otherwise it is
            surrounded by zeros up to twice its side, which keeps opposite edges from disturbing each other; what lies
            outside the field stays unknown, so that the outer pixels are the least certain.

    Returns:
        (κ_E, κ_B): the map and the check on it, float64, shape ``(..., n, n)``.
    """
    n = gamma.shape[-1]
    size = n if periodic else 2 * n
    kappa = torch.fft.ifft2(
        _kernel(size, gamma.device).conj() * torch.fft.fft2(gamma, s=(size, size))
    )[..., :n, :n]
    return kappa.real, kappa.imag


def shape_noise(gamma: Tensor, count: Tensor) -> Tensor:
    """Standard deviation of the noise of κ in each pixel, σ_e / √(2N) (van Waerbeke 2000, eq. 8).

    Args:
        gamma: measured ellipticity or shear of each galaxy, complex, shape ``(galaxies,)``; σ_e² = ⟨|γ|²⟩ is the
            dispersion of both components together, the signal included.
        count: N, galaxies in each pixel, shape ``(n, n)``.

    Returns:
        float64, shape ``(n, n)``; infinite where there is no galaxy.
    """
    return gamma.abs().double().square().mean().sqrt() / (2 * count.double()).sqrt()
