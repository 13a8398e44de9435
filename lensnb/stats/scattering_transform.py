"""The scattering transform: how much texture a map has at each scale, and how that texture varies.

With Morlet wavelets ψ_{j,l} of scale 2^j pixels (j = 0, 1, …) and direction θ_l = π l / L,

    S1(j, l) = ⟨|κ * ψ_{j,l}|⟩,
    S2(j₁, l₁, j₂, l₂) = ⟨||κ * ψ_{j₁,l₁}| * ψ_{j₂,l₂}|⟩   for j₂ > j₁,   both in κ,

where ⟨⟩ is an average over the map and * a convolution on the periodic grid (Mallat 2012; Bruna &
Mallat 2013; Cheng et al. 2020 for κ).

In Fourier space a wavelet is a Gaussian about the wave vector ξ = 3π/4 · 2^(−j) per pixel, towards
θ_l, minus a Gaussian about zero that removes its mean. Its maximum is 0.97. In real space its
envelope is σ = 0.8 · 2^j pixels wide along the wave and σ L / 4 across it. These are the wavelets
of Cheng et al. 2020 and of kymatio (Andreux et al. 2020).
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

# Pixels in a batch: what fits in a processor's cache.
_BATCH_PIXELS = 2**17

# Points a side of the coarser grids, in units of n / 2^j, for the first and the second order.
_FIRST = 4.0
_SECOND = 1.5
_FEWEST_POINTS = 32


def scattering_scales(grid: MapGrid) -> int:
    """How many scales a map has: 5 for 64² pixels, 7 for 256².

    The longest wave fits 1.5 to 3 times into the map.
    """
    return max(1, int(math.log2(grid.n)) - 1)


def scattering_order(scales: int) -> list[tuple[int, ...]]:
    """The meaning of each entry of :func:`reduced_scattering`.

    (j,) stands for s1(j); then (j₁, j₂) stands for s2(j₁, j₂) / s1(j₁).
    """
    first = [(j,) for j in range(scales)]
    return [*first, *combinations(range(scales), 2)]


def scattering(maps: Tensor, scales: int | None = None, orientations: int = 4) -> Tensor:
    """Scattering coefficients S1 and S2 of all directions, with autograd.

    (Mallat 2012; Cheng et al. 2020). Most convolutions are done on coarser grids. This changes S1
    by 2e-5 and S2 by 1e-4 on average, and a single S2 of one map by up to 3e-3. Beside wide areas
    of zeros, which a mask leaves, they are less exact: a single S2 changes by up to 7e-3 where
    three fifths of the map are zero, and by up to 2e-2 where nine tenths are. Maps of up to 32²
    pixels keep to their own grid.

    Args:
        maps: κ, shape ``(..., n, n)``.
        scales: number J of scales; None: :func:`scattering_scales`, which is also the maximum.
        orientations: number L of directions, even, so that a quarter turn changes their order
            only.

    Returns:
        S1(j, l) and then S2(j₁, j₂, l₁, l₂) in κ, float64, shape
        ``(..., J L + J (J − 1) L² / 2)``. The last index runs fastest, and (j₁, j₂) are in the
        order of :func:`scattering_order`.

    Raises:
        ValueError: maps that are not square, too many or no scales, or an odd number of
            directions.
    """
    first, second = _coefficients(maps, scales, orientations)
    both = torch.cat([first.flatten(1), second.flatten(1)], -1)
    return both.reshape(*maps.shape[:-2], -1)


def reduced_scattering(maps: Tensor, scales: int | None = None, orientations: int = 4) -> Tensor:
    """Isotropic scattering coefficients: averages over directions, the second order scale-free.

    s1(j) = ⟨S1(j, l)⟩_l and s2(j₁, j₂) / s1(j₁), with s2(j₁, j₂) = ⟨S2(j₁, l₁, j₂, l₂)⟩_{l₁ l₂}

    (Cheng et al. 2020). The eight symmetries of the square do not change them, and periodic shifts
    change them by less than 1e-3. Coarser grids change them by less than 5e-4; where a mask leaves
    three fifths of a map as zeros, by less than 4e-3; where it leaves nine tenths, by about 1e-2.
    Arguments and errors are those of :func:`scattering`.

    Returns:
        s1 in κ, then the ratios, in the order of :func:`scattering_order`; float64, shape
        ``(..., J + J (J − 1) / 2)``. The ratios of a flat map are finite but have no meaning.
    """
    first, second = _coefficients(maps, scales, orientations)
    s1, s2 = first.mean(-1), second.mean((-2, -1))
    parents = [j for j, _ in combinations(range(s1.shape[1]), 2)]
    both = torch.cat([s1, s2 / s1[:, parents]], -1)
    return both.reshape(*maps.shape[:-2], -1)


def _coefficients(maps: Tensor, scales: int | None, orientations: int) -> tuple[Tensor, Tensor]:
    """S1, shape ``(rows, J, L)``, and S2, shape ``(rows, pairs, L, L)``, float64."""
    rows = each(maps)
    most = scattering_scales(square(maps, 1.0))
    if scales is None:
        scales = most
    if not 1 <= scales <= most:
        raise ValueError(
            f"maps of {maps.shape[-1]}² pixels have 1 to {most} scattering scales, "
            f"found scales = {scales}"
        )
    if orientations < 2 or orientations % 2:
        raise ValueError(f"the number of orientations must be even, found {orientations}")
    firsts, seconds = [], []
    for part in rows.split(max(1, _BATCH_PIXELS // rows[0].numel())):
        first, second = _scatter(part, scales, orientations)
        firsts.append(first)
        seconds.append(second)
    return torch.cat(firsts), torch.cat(seconds)


def _scatter(rows: Tensor, scales: int, orientations: int) -> tuple[Tensor, Tensor]:
    """S1 and S2 of a few maps."""
    n = rows.shape[-1]
    modes = _modes(rows)
    first, second = [], {}
    for j in range(scales):
        amplitudes = _amplitudes(modes, n, j, orientations, _FIRST)
        amplitude = torch.stack(list(amplitudes), 1)  # (rows, L, m, m)
        first.append(amplitude.mean((-2, -1)))
        if j + 1 == scales:
            break
        # The texture of the amplitudes themselves, at all larger scales.
        inner = _modes(amplitude)
        for k in range(j + 1, scales):
            amplitudes = _amplitudes(inner, n, k, orientations, _SECOND)
            means = [field.mean((-2, -1)) for field in amplitudes]
            second[j, k] = torch.stack(means, -1)
    pairs = [second[pair] for pair in combinations(range(scales), 2)]
    if pairs:
        pairs = torch.stack(pairs, 1)
    else:
        pairs = rows.new_zeros(len(rows), 0, orientations, orientations)
    return torch.stack(first, 1).double(), pairs.double()


def _modes(field: Tensor) -> Tensor:
    """Fourier transform with the mean in the middle, at row and column p // 2 of p."""
    return torch.fft.fftshift(torch.fft.fft2(field), (-2, -1))


def _amplitudes(
    modes: Tensor, n: int, j: int, orientations: int, points: float
) -> Iterator[Tensor]:
    """|field * ψ_{j,l}| of one direction l after the other, from the modes of the field.

    Shapes ``(..., p, p)`` → ``(..., m, m)``. The modulus does not change when the same wave vector
    is subtracted from all waves of a band. A coarse grid must therefore resolve the width of the
    band, not its waves: the modes of the band are cut out and transformed back as they are.
    """
    single = modes.dtype == torch.complex64
    corners, response = _bands(n, modes.shape[-1], j, orientations, points, single)
    m = response.shape[-1]
    response = torch.as_tensor(response, device=modes.device)
    for (row, column), wavelet in zip(corners, response):
        band = modes[..., row : row + m, column : column + m]
        field = torch.fft.ifft2(band * wavelet, norm="forward")
        squares = torch.view_as_real(field).square()
        power = squares[..., 0] + squares[..., 1]
        # The smallest number keeps the gradient at zero finite.
        yield power.add_(torch.finfo(power.dtype).tiny).sqrt_()


@lru_cache(maxsize=256)
def _bands(
    n: int, p: int, j: int, orientations: int, points: float, single: bool
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """The modes of a field on p × p points that the wavelets of scale j select.

    The coarse grid of m × m points lies symmetrically in the map, as the fine grid does, so that
    flips commute with it. The band is symmetric too: its first row and column, which have no
    counterparts, are left empty.

    Returns:
        First row and column of the band of each direction, and the response of the wavelets,
        shape ``(L, m, m)``.
    """
    m = p
    if j > 0:
        enough = 2 * math.ceil(points * n / 2 ** (j + 1))
        m = min(p, max(_FEWEST_POINTS, enough))
    most = (p - m) // 2
    wave = 0.375 * n / 2**j  # ξ in units of the fundamental mode
    corners, responses = [], []
    for direction in range(orientations):
        theta = math.pi * direction / orientations
        low = []
        for component in (math.sin(theta), math.cos(theta)):
            # Rounded twice, so that sines and cosines that are equal stay so.
            centre = round(round(wave * component, 6))
            low.append(max(-most, min(most, centre)) - m // 2)
        row = low[0] + np.arange(m)[:, None]
        column = low[1] + np.arange(m)
        response = _morlet(row, column, n, j, theta, orientations) / p**2
        if p < n or m < p:
            shift = np.exp(1j * math.pi * (row + column) * (1 / m - 1 / p))
            paired = (row > low[0]) & (column > low[1])
            response = response * shift * paired
        corners.append((low[0] + p // 2, low[1] + p // 2))
        responses.append(response)
    dtype = np.complex64 if single else np.complex128
    return corners, np.stack(responses).astype(dtype)


def _morlet(
    row: np.ndarray, column: np.ndarray, n: int, j: int, theta: float, orientations: int
) -> np.ndarray:
    """ψ̂ at wave numbers (row, column) of a map of n × n pixels.

    It is the transform of the wavelet sampled at the pixels. Sampling folds waves shorter than two
    pixels back, which also makes ψ̂ the same at both ends of the Nyquist row.
    """
    xi = 3 * math.pi / 4 / 2**j
    sigma = 0.8 * 2**j
    slant = 4 / orientations
    cos, sin = math.cos(theta), math.sin(theta)
    folds = range(-1, 2)
    if j == 0:
        folds = range(-3, 4)

    def gaussian(row, column, xi):
        total = 0
        for fold_y in folds:
            for fold_x in folds:
                y = 2 * math.pi * (row / n + fold_y)
                x = 2 * math.pi * (column / n + fold_x)
                along = x * cos + y * sin
                across = y * cos - x * sin
                distance2 = (along - xi) ** 2 + (across / slant) ** 2
                total = total + np.exp(-0.5 * sigma**2 * distance2)
        return total

    mean = gaussian(0.0, 0.0, xi) / gaussian(0.0, 0.0, 0.0)
    wavelet = gaussian(row, column, xi) - mean * gaussian(row, column, 0.0)
    return np.where((row == 0) & (column == 0), 0.0, wavelet)
