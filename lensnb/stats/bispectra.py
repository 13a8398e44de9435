"""Angular bispectra: averages of κ̃(ℓ₁) κ̃(ℓ₂) κ̃(ℓ₃) over closed triangles of modes.

With κ(ℓ) = ∫ d²θ κ(θ) e^(−iℓ·θ) the bispectrum B is defined by

    ⟨κ(ℓ₁) κ(ℓ₂) κ(ℓ₃)⟩ = (2π)² δ_D(ℓ₁ + ℓ₂ + ℓ₃) B(ℓ₁, ℓ₂, ℓ₃).

With the unitary transform κ̃ of :mod:`lensnb.maps`, N pixels and a field of A steradians,

    B = A² N^(−3/2) ⟨κ̃(ℓ₁) κ̃(ℓ₂) κ̃(ℓ₃)⟩,   in sr²,   ℓ₁ + ℓ₂ + ℓ₃ = 0.

Modes are gathered in shells of |ℓ|. A *triangle* is a triple of shells, given by their numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..maps import MapGrid
from ._checks import BATCH_PIXELS, each, each_mask, observed, square

_Triangles = tuple[tuple[int, int, int], ...]


def shell_edges(grid: MapGrid, shells: int = 8) -> np.ndarray:
    """Logarithmic edges of shells in ℓ, from the fundamental mode to two thirds of Nyquist.

    Above two thirds of the Nyquist frequency, three modes can add up to a multiple of the sampling
    frequency instead of zero. No shell is thinner than the mode spacing, so that each holds closed
    triangles.

    Returns:
        Edges in ℓ, shape ``(s + 1,)`` with s ≤ ``shells``; fewer where the mode spacing is too
        coarse.
    """
    # Slightly below the fundamental mode, so that rounding does not exclude it.
    lowest = grid.ell_min * 0.999
    top = grid.ell_max * 2 / 3
    edges = [lowest]
    for edge in np.geomspace(lowest, top, shells + 1)[1:]:
        if edge - edges[-1] >= grid.ell_min:
            edges.append(edge)
    inner = edges[: max(1, len(edges) - 1)]
    return np.array([*inner, top])


def equilateral(edges) -> list[tuple[int, int, int]]:
    """The triangles (ℓ, ℓ, ℓ), one a shell."""
    return [(i, i, i) for i in range(len(edges) - 1)]


def folded(edges) -> list[tuple[int, int, int]]:
    """The triangles (2ℓ, ℓ, ℓ).

    Each shell is combined with the shell that holds twice its geometric centre, if there is one.
    """
    edges = np.asarray(edges, float)
    centre = np.sqrt(edges[1:] * edges[:-1])
    double = np.searchsorted(edges, 2 * centre, side="right") - 1
    return [(int(j), i, i) for i, j in enumerate(double) if i < j < len(edges) - 1]


def squeezed(edges) -> list[tuple[int, int, int]]:
    """The triangles (ℓ, ℓ, the longest waves): each shell above the first with the first."""
    return [(i, i, 0) for i in range(1, len(edges) - 1)]


def bispectrum(
    maps: Tensor,
    side_deg: float,
    edges,
    triangles: list[tuple[int, int, int]],
    mask: Tensor | None = None,
) -> Tensor:
    """Angular bispectrum B averaged over the closed triangles of modes from three shells.

    D_s(x) is the map that holds the modes of shell s only. The sum over triangles is then a sum
    over pixels,

        Σ κ̃₁ κ̃₂ κ̃₃ = N^(1/2) Σ_x D_i D_j D_k,

    and the number of triangles is the same sum with every mode set to one (Scoccimarro 2015;
    Watkinson et al. 2017; Coulton et al. 2019 for lensing).

    Args:
        maps: κ, shape ``(..., n, n)``.
        side_deg: side of the field, degrees.
        edges: edges of the shells in ℓ, shape ``(shells + 1,)``; see :func:`shell_edges`.
        triangles: triples of shells; see :func:`equilateral`, :func:`folded` and :func:`squeezed`.
        mask: True where the sky was observed, bool, broadcastable to the shape of the maps; None:
            everywhere. The mean of the observed pixels is subtracted, and B is divided by the
            observed share of the sky. That holds for triangles whose waves are much shorter than
            the observed region and much longer than the mask's holes. The mixing of modes is not
            undone.

    Returns:
        B in sr², float64, shape ``(..., len(triangles))``.

    Raises:
        ValueError: edges that do not rise from above zero to at most two thirds of the Nyquist
            frequency. A triple that is not one of shells, or has no closed triangle of modes. A
            mask that hides a whole map.
    """
    grid = square(maps, side_deg)
    radii = _radii(grid, edges)
    triples = tuple(tuple(int(shell) for shell in triangle) for triangle in triangles)
    count = torch.as_tensor(_number_of_triangles(grid.n, radii, triples), device=maps.device)
    rows, share = each(maps, mask), 1.0
    if mask is not None:
        sky = each_mask(mask, maps)
        seen = observed(rows, sky)
        share = seen / grid.n**2  # the mean of the cube of the mask, which is 0 or 1
        mean = rows.sum((-2, -1)) / seen[:, 0]
        mean = mean.to(rows.dtype)
        rows = torch.where(sky, rows - mean[:, None, None], 0)
    sums = []
    for part in rows.split(max(1, BATCH_PIXELS // grid.n**2)):
        modes = torch.fft.rfft2(part, norm="ortho")
        sums.append(_sums(modes, radii, triples))
    average = torch.cat(sums) / count / share
    b = average * (grid.area**2 / grid.n**3)
    return b.reshape(*maps.shape[:-2], -1)


def _radii(grid: MapGrid, edges) -> tuple[float, ...]:
    """The edges in units of the fundamental mode."""
    edges = np.asarray(edges, float)
    usable = edges.ndim == 1 and len(edges) >= 2
    if not (usable and edges[0] > 0 and (np.diff(edges) > 0).all()):
        raise ValueError(f"the edges of the shells must rise from above zero, found {edges}")
    top = grid.ell_max * 2 / 3
    if edges[-1] > top * (1 + 1e-9):
        raise ValueError(
            f"the shells reach ℓ = {edges[-1]:.0f}; expected at most two thirds of the Nyquist "
            f"frequency, ℓ = {top:.0f}, because sums of three shorter waves are aliased"
        )
    return tuple((edges / grid.ell_min).tolist())


@lru_cache(maxsize=32)
def _number_of_triangles(n: int, radii: tuple[float, ...], triangles: _Triangles) -> np.ndarray:
    """How many closed triangles of modes each triple of shells has, shape ``(triangles,)``."""
    shells = len(radii) - 1
    if not triangles:
        raise ValueError("name at least one triangle, such as those of equilateral(edges)")
    for triple in triangles:
        if len(triple) != 3 or not all(0 <= i < shells for i in triple):
            raise ValueError(
                f"a triangle is three of the {shells} shells, numbered from 0, found {triple}"
            )
    ones = torch.ones(1, n, n // 2 + 1, dtype=torch.complex128)
    number = _sums(ones, radii, triangles)[0].round().numpy()
    for triple, found in zip(triangles, number):
        if found < 1:
            raise ValueError(
                f"the shells {triple} hold no closed triangle of modes: use wider shells or "
                "drop this triangle"
            )
    return number


def _sums(modes: Tensor, radii: tuple[float, ...], triangles: _Triangles) -> Tensor:
    """Σ κ̃₁ κ̃₂ κ̃₃ over the closed triangles, from ``rfft2`` modes.

    Shapes ``(rows, n, n // 2 + 1)`` → ``(rows, triangles)``. The product of three long waves is
    taken on a grid that is coarser by a power of two. The sum is the same: modes that are not on
    the coarse grid are too short to close a triangle with the others.
    """
    n = modes.shape[-2]
    fields, sums = {}, []
    for triple in triangles:
        # No three modes of these shells add up to more than this.
        reach = sum(math.ceil(radii[shell + 1]) - 1 for shell in triple)
        m = n
        while m % 4 == 0 and m // 2 > reach:
            m //= 2
        for shell in triple:
            if (shell, m) not in fields:
                fields[shell, m] = _shell(modes, radii, shell, m)
        a, b, c = (fields[shell, m] for shell in triple)
        sums.append((a * b * c).mean((-2, -1)))
    return torch.stack(sums, -1).double()


def _shell(modes: Tensor, radii: tuple[float, ...], shell: int, m: int) -> Tensor:
    """The modes of one shell on a grid of m × m points, Σ κ̃ e^(iℓ·x), shape ``(rows, m, m)``."""
    n = modes.shape[-2]
    if m < n:
        low, high = modes[:, : m // 2], modes[:, n - m // 2 :]
        modes = torch.cat([low, high], 1)[..., : m // 2 + 1]
    inside = torch.from_numpy(_shell_numbers(m, radii) == shell)
    inside = inside.to(modes.device, modes.dtype)
    return torch.fft.irfft2(modes * inside, s=(m, m), norm="forward")


@lru_cache(maxsize=64)
def _shell_numbers(m: int, radii: tuple[float, ...]) -> np.ndarray:
    """The shell of each mode of ``rfft2``, shape ``(m, m // 2 + 1)``.

    −1 and ``len(radii) − 1`` lie outside all shells.
    """
    row = np.fft.fftfreq(m, 1 / m)
    column = np.arange(m // 2 + 1)
    radius = np.hypot(row[:, None], column)
    edges = np.array(radii) * (1 - 1e-9)  # a mode on an edge lies above it
    return np.searchsorted(edges, radius, side="right") - 1
