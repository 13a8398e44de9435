"""The density of a Gaussian field scale by scale: each Haar band given the coarser ones.

A map is cut into cells of 8 × 8 pixels. Three Haar transforms turn the 64 pixels of a cell into 64
numbers: 16 coarse ones, 16 middle ones and 32 fine ones. Shifts by whole cells do not change the
statistics of the field. So after a Fourier transform over the cells, each frequency has one
Hermitian covariance matrix S = A Aᴴ of these 64 numbers v.

With the Cholesky factor S = L Lᴴ (L lower triangular), L⁻¹ v are the numbers given those before
them, in units of their scatter. This is the chain rule of probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..maps import CutOutField, MapGrid
from ..maps.grid import wide


def cells_of(parts: list[Tensor]) -> Tensor:
    """Haar bands → the 64 numbers of each cell: coarse, middle, fine.

    Args:
        parts: fine ``(batch, 8, n / 4, n / 4)``, middle and coarse ``(batch, 16, n / 8, n / 8)``.

    Returns:
        Shape ``(batch, 64, n / 8, n / 8)``.
    """
    fine, middle, coarse = parts
    return torch.cat([coarse, middle, nn.functional.pixel_unshuffle(fine, 2)], 1)


def log_prob_of_bands(variance: Tensor, haar: Tensor, cells: Tensor) -> Tensor:
    """ln p of the Haar bands of a Gaussian field by the chain rule, coarse first.

    Args:
        variance: mode variances in the layout of ``rfft2``, ``(n, n // 2 + 1)``.
        haar: the 64 numbers of each unit map, ``(64, 64, 1, 1)``. A unit map has 8 × 8 pixels, one
            of them 1 and the others 0.
        cells: the numbers of each cell of the maps, with the mean subtracted, shape
            ``(batch, 64, n / 8, n / 8)``.

    Returns:
        ln p of fine given the others, of middle given coarse, and of coarse; shape ``(batch, 3)``.
    """
    m = len(variance) // 8
    lower = torch.linalg.cholesky(_covariance_of_cells(variance, haar))
    modes = torch.fft.rfft2(cells, norm="ortho").permute(2, 3, 1, 0)  # (m, m // 2 + 1, 64, batch)
    white = torch.linalg.solve_triangular(lower, modes, upper=False)
    weight = MapGrid(m, 1.0).multiplicity.to(variance)[..., None]
    quadratic = (weight[..., None] * white.abs().square()).sum((0, 1))  # (64, batch)
    diagonal = lower.diagonal(dim1=-2, dim2=-1).real
    log_det = (2 * weight * diagonal.log()).sum((0, 1))
    log_prob = -0.5 * (quadratic + log_det[:, None] + m**2 * math.log(2 * math.pi))
    coarse, middle, fine = log_prob.split([16, 16, 32])
    return torch.stack([fine.sum(0), middle.sum(0), coarse.sum(0)], -1)


def log_prob_of_cut_out_bands(
    field: CutOutField,
    variance: Tensor,
    take_apart: Callable[[Tensor], list[Tensor]],
    parts: list[Tensor],
) -> Tensor:
    """The same for a field that is cut out of the sky.

    Shifts change it, so the covariance of all numbers of a map is one matrix.

    Args:
        field: gives the modes.
        variance: variance of each mode, ``(n, n)``.
        take_apart: maps → Haar bands.
        parts: fine, middle and coarse bands of the maps, with the mean subtracted.

    Returns:
        ln p of fine given the others, of middle given coarse, and of coarse; shape ``(batch, 3)``.
    """
    ordered = _in_order(parts)
    size = ordered.shape[1]
    modes = wide(torch.eye(size, device=variance.device)).reshape(size, *field.map_shape)
    axes = _in_order(take_apart(field.from_plain(modes)))  # a row for each mode
    covariance = axes.T @ (variance.flatten()[:, None] * axes)
    lower = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(lower, ordered.T, upper=False)
    log_prob = -0.5 * (white.square() + math.log(2 * math.pi)) - lower.diagonal().log()[:, None]
    coarse, middle, fine = log_prob.split([size // 4, size // 4, size // 2])
    return torch.stack([fine.sum(0), middle.sum(0), coarse.sum(0)], -1)


def _in_order(parts: list[Tensor]) -> Tensor:
    """All numbers of the bands of each map, coarse first, shape ``(batch, numbers)``."""
    return torch.cat([part.flatten(1) for part in reversed(parts)], 1)


def _covariance_of_cells(variance: Tensor, haar: Tensor) -> Tensor:
    """S of each frequency of the cells, complex, shape ``(m, m // 2 + 1, 64, 64)``."""
    n = len(variance)
    m = n // 8  # cells a side
    row = torch.arange(n, device=variance.device)
    # rfft2 leaves out half of the modes. They have the variances of their complex conjugates.
    conjugate = row[None, :] > n // 2
    rows = torch.where(conjugate, -row[:, None] % n, row[:, None])
    columns = torch.where(conjugate, n - row, row)
    full = variance[rows, columns]
    # Frequencies k, k + m, …, k + 7 m of the map are one frequency k of the cells: its aliases.
    aliases = full.reshape(8, m, 8, m)[..., : m // 2 + 1]
    aliases = aliases.permute(1, 3, 0, 2).flatten(2)  # (m, m // 2 + 1, 64)
    pixel = row[:8].to(variance)  # position in a cell
    aliased = row.reshape(8, m).T.to(variance)
    step = 2 * math.pi / n * aliased[:, None, :]
    phase = step * pixel[:, None]  # (k, pixel, alias)
    wave = torch.polar(torch.full_like(phase, 8**-0.5), phase)
    waves = torch.einsum("kua,lvb->kluvab", wave, wave[: m // 2 + 1])
    waves = waves.flatten(4, 5).flatten(2, 3)
    transform = haar[..., 0, 0].T.to(waves)
    root = transform @ waves * aliases.sqrt()[..., None, :]  # A
    return root @ root.mH
