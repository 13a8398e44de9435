"""The scattering transform: how strongly a map is textured at each scale, and how that texture is itself textured.

With Morlet wavelets ψ_{j,l} of scale 2^j pixels (j = 0, 1, …) and direction θ_l = π l / L (Mallat 2012; Bruna & Mallat
2013; Cheng et al. 2020 for κ), ⟨⟩ an average over the map and * a convolution on the periodic grid,

    S1(j, l) = ⟨|κ * ψ_{j,l}|⟩,   S2(j₁, l₁, j₂, l₂) = ⟨||κ * ψ_{j₁,l₁}| * ψ_{j₂,l₂}|⟩   for j₂ > j₁,   both in κ.

In Fourier space a wavelet is a Gaussian about the wave vector ξ = 3π/4 · 2^(−j) per pixel, towards θ_l, less one about
zero that takes its mean away; it reaches 0.97. In real space its envelope is σ = 0.8 · 2^j pixels wide along the wave and
σ L / 4 across it. These are the wavelets of Cheng et al. 2020 and of kymatio (Andreux et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from ..maps import MapGrid
from ._checks import each, square

BATCH = 2**17  # pixels at a time: what fits in a processor's cache
FIRST, SECOND = (
    4.0,
    1.5,
)  # points a side of the coarser grids, in units of n / 2^j, for the first and second order
COARSEST = 32  # points a side, at least


def scattering_scales(grid: MapGrid) -> int:
    """How many scales a map has: the longest wave fits 1.5 to 3 times into it; 5 for 64², 7 for 256²."""
    return max(1, int(math.log2(grid.n)) - 1)


def scattering_order(scales: int) -> list[tuple[int, ...]]:
    """What each entry of :func:`reduced_scattering` is: (j,) for s1(j), then (j₁, j₂) for s2(j₁, j₂) / s1(j₁)."""
    return [*((j,) for j in range(scales)), *combinations(range(scales), 2)]


def scattering(maps: Tensor, scales: int | None = None, orientations: int = 4) -> Tensor:
    """Scattering coefficients S1 and S2 of all directions (Mallat 2012; Cheng et al. 2020), with autograd.

    Most of it is done on coarser grids, which changes S1 by 2e-5 and S2 by 1e-4 on average, and one S2 of one map by up to
    3e-3; maps of up to 32² pixels keep to their own grid.

    Args:
        maps: κ, shape ``(..., n, n)``.
        scales: number J of scales; None: :func:`scattering_scales`, which is also the most there are.
        orientations: number L of directions, even, so that a quarter turn changes only their order.

    Returns:
        S1(j, l) and then S2(j₁, j₂, l₁, l₂), the last index fastest and (j₁, j₂) in the order of :func:`scattering_order`,
        in κ, float64, shape ``(..., J L + J (J − 1) L² / 2)``.

    Raises:
        ValueError: maps that are not square, too many or no scales, or an odd number of directions.
    """
    first, second = _coefficients(maps, scales, orientations)
    return torch.cat([first.flatten(1), second.flatten(1)], -1).reshape(*maps.shape[:-2], -1)


def reduced_scattering(maps: Tensor, scales: int | None = None, orientations: int = 4) -> Tensor:
    """Isotropic scattering coefficients (Cheng et al. 2020): averages over directions, the second order made scale-free.

    s1(j) = ⟨S1(j, l)⟩_l and s2(j₁, j₂) / s1(j₁) with s2(j₁, j₂) = ⟨S2(j₁, l₁, j₂, l₂)⟩_{l₁ l₂}. They keep under the eight
    symmetries of the square, and under periodic shifts to 1e-3. Coarser grids change them by less than 5e-4. Arguments and
    errors are those of :func:`scattering`.

    Returns:
        s1 in κ, then the ratios, in the order of :func:`scattering_order`; float64, shape ``(..., J + J (J − 1) / 2)``.
        The ratios of a flat map are finite, but mean nothing.
    """
    first, second = _coefficients(maps, scales, orientations)
    s1, s2 = first.mean(-1), second.mean((-2, -1))
    parents = [j for j, _ in combinations(range(s1.shape[1]), 2)]
    return torch.cat([s1, s2 / s1[:, parents]], -1).reshape(*maps.shape[:-2], -1)


def _coefficients(maps: Tensor, scales: int | None, orientations: int) -> tuple[Tensor, Tensor]:
    """S1, shape ``(rows, J, L)``, and S2, shape ``(rows, pairs, L, L)``, float64."""
    rows, most = each(maps), scattering_scales(square(maps, 1.0))
    scales = most if scales is None else scales
    if not 1 <= scales <= most:
        raise ValueError(
            f"maps of {maps.shape[-1]}² pixels have 1 to {most} scattering scales, found scales = {scales}"
        )
    if orientations < 2 or orientations % 2:
        raise ValueError(f"the number of orientations must be even, found {orientations}")
    parts = rows.split(max(1, BATCH // rows[0].numel()))
    first, second = zip(*(_scatter(part, scales, orientations) for part in parts))
    return torch.cat(first), torch.cat(second)


def _scatter(rows: Tensor, scales: int, orientations: int) -> tuple[Tensor, Tensor]:
    n, first, second = rows.shape[-1], [], {}
    modes = _modes(rows)
    for j in range(scales):
        amplitudes = _amplitudes(modes, n, j, orientations, FIRST)
        amplitude = torch.stack(list(amplitudes), 1)  # (rows, L, m, m)
        first.append(amplitude.mean((-2, -1)))
        inner = _modes(amplitude) if j + 1 < scales else None
        for k in range(j + 1, scales):
            means = [a.mean((-2, -1)) for a in _amplitudes(inner, n, k, orientations, SECOND)]
            second[j, k] = torch.stack(means, -1)
    pairs = [second[pair] for pair in combinations(range(scales), 2)]
    none = rows.new_zeros(len(rows), 0, orientations, orientations)
    return torch.stack(first, 1).double(), (torch.stack(pairs, 1) if pairs else none).double()


def _modes(field: Tensor) -> Tensor:
    """Fourier transform with the mean in the middle, at row and column p // 2 of p."""
    return torch.fft.fftshift(torch.fft.fft2(field), (-2, -1))


def _amplitudes(
    modes: Tensor, n: int, j: int, orientations: int, points: float
) -> Iterator[Tensor]:
    """|field * ψ_{j,l}| of one direction l after the other, from the field's modes: ``(..., p, p)`` → ``(..., m, m)``.

    The modulus stays the same when the same wave vector is taken off all waves of a band, so that a coarse grid need only
    resolve the width of the band, not its waves: the band's modes are cut out and transformed back as they are.
    """
    first, response = _bands(
        n, modes.shape[-1], j, orientations, points, modes.dtype == torch.complex64
    )
    m = response.shape[-1]
    for (row, column), wavelet in zip(first, torch.as_tensor(response, device=modes.device)):
        band = modes[..., row : row + m, column : column + m] * wavelet
        parts = torch.view_as_real(torch.fft.ifft2(band, norm="forward")).square()
        # The smallest number is there for the gradient, which is then zero at zero and not infinite.
        yield (parts[..., 0] + parts[..., 1]).add_(torch.finfo(parts.dtype).tiny).sqrt_()


@lru_cache(maxsize=256)
def _bands(
    n: int, p: int, j: int, orientations: int, points: float, single: bool
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Which modes of a field on p × p points the wavelets of scale j see, and their response.

    The coarser grid of m × m points lies symmetrically in the map, as the finer one does, so that it keeps under flips;
    and so does the band, whose first row and column, which have no counterparts, are left empty.

    Returns:
        First row and column of each direction's band, and their response, shape ``(L, m, m)``.
    """
    m = p if j == 0 else min(p, max(COARSEST, 2 * math.ceil(points * n / 2 ** (j + 1))))
    first, responses = [], []
    for direction in range(orientations):
        theta, most = math.pi * direction / orientations, (p - m) // 2
        # Rounded twice, so that sines and cosines that are equal stay so.
        centre = [round(round(0.375 * n / 2**j * f(theta), 6)) for f in (math.sin, math.cos)]
        low = [max(-most, min(most, c)) - m // 2 for c in centre]
        row, column = low[0] + np.arange(m)[:, None], low[1] + np.arange(m)
        response = _morlet(row, column, n, j, theta, orientations) / p**2
        if p < n or m < p:
            shift = np.exp(1j * math.pi * (row + column) * (1 / m - 1 / p))
            response = response * shift * ((row > low[0]) & (column > low[1]))
        first.append((low[0] + p // 2, low[1] + p // 2))
        responses.append(response)
    return first, np.stack(responses).astype(np.complex64 if single else np.complex128)


def _morlet(
    row: np.ndarray, column: np.ndarray, n: int, j: int, theta: float, orientations: int
) -> np.ndarray:
    """ψ̂ at wave numbers (row, column) of a map of n × n pixels: the transform of the wavelet sampled at the pixels.

    Sampling folds waves shorter than two pixels back, which also makes ψ̂ the same at both ends of the Nyquist row.
    """
    xi, sigma, slant = 3 * math.pi / 4 / 2**j, 0.8 * 2**j, 4 / orientations
    folds = range(-3, 4) if j == 0 else range(-1, 2)

    def gaussian(row, column, xi):
        total = 0
        for y in (2 * math.pi * (row / n + fold) for fold in folds):
            for x in (2 * math.pi * (column / n + fold) for fold in folds):
                along, across = (
                    x * math.cos(theta) + y * math.sin(theta),
                    y * math.cos(theta) - x * math.sin(theta),
                )
                total = total + np.exp(
                    -0.5 * sigma**2 * ((along - xi) ** 2 + (across / slant) ** 2)
                )
        return total

    mean = gaussian(0.0, 0.0, xi) / gaussian(0.0, 0.0, 0.0)
    wavelet = gaussian(row, column, xi) - mean * gaussian(row, column, 0.0)
    return np.where((row == 0) & (column == 0), 0.0, wavelet)
