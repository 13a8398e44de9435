"""Smoothing of maps with a Gaussian kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .grid import MapGrid, check_tensor


def smooth(maps: Tensor, sigma_arcmin: float, side_deg: float, periodic: bool = False) -> Tensor:
    """Smooth maps with a Gaussian of standard deviation ``sigma_arcmin``.

    Args:
        maps: κ, shape ``(..., n, n)``.
        sigma_arcmin: standard deviation of the kernel, arcminutes; 0 leaves the maps as they are.
        side_deg: side of the field, degrees.
        periodic: whether the maps are periodic. Otherwise they are mirrored at their edges, which
            is better for a part of the sky.

    Returns:
        Smoothed maps, shape and dtype of ``maps``.

    Raises:
        ValueError: a negative standard deviation.
    """
    check_tensor("the input of smooth", maps)
    if sigma_arcmin == 0:
        return maps
    if sigma_arcmin < 0:
        raise ValueError(f"sigma_arcmin must not be negative, found {sigma_arcmin}")
    n = maps.shape[-1]
    length = n
    if not periodic:
        length = 2 * n
    sigma_pixels = sigma_arcmin / MapGrid(n, side_deg).pixel_arcmin
    frequency = torch.fft.rfftfreq(length, dtype=torch.float64, device="cpu")
    beam = torch.exp(-0.5 * (2 * math.pi * sigma_pixels * frequency) ** 2)
    beam = beam.to(maps.dtype).to(maps.device)
    # A Gaussian is the product of one along rows and one along columns.
    for _ in range(2):
        work = maps
        if not periodic:
            work = torch.cat([maps, maps.flip(-1)], -1)
        smoothed = torch.fft.irfft(torch.fft.rfft(work) * beam, length)
        maps = smoothed[..., :n].mT
    return maps
