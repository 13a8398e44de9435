"""A map as its averages over squares of 2 × 2 pixels, and what the averages leave open.

The four pixels of a cell have an average c and three details b: the Haar details of x = T(κ), the
map after its :class:`~lensnb.transform.KappaTransform`. Details of κ itself would have a scatter
that grows with c, and long tails. Those of x have little of either.

From c and b the pixels follow. They are T⁻¹(η + δ), with offsets δ that b gives. Their average
increases with η, so one η has the average c. With the slopes t = dx/dκ of the four pixels,

    ln p(κ) = ln p(c) + ln p(b | c) + Σ over cells (Σ ln t + ln mean(1/t) − ln 2).

As c is kept, no pixel can become brighter than its cell allows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers import squeeze, unsqueeze
from ..maps.grid import wide
from ..transform import KappaTransform

_MOST = 60  # steps of Newton's method, which mostly needs fewer than 10


class Split(NamedTuple):
    """Maps as averages and details.

    Attributes:
        coarse: the averages, ``(batch, channels, n / 2, n / 2)``.
        bands: three details of each channel, ``(batch, 3 channels, n / 2, n / 2)``.
        log_det: ln p(κ) − ln p(c) − ln p(b | c) as a sum over cells, float64, shape
            ``(batch, n / 2, n / 2)``.
    """

    coarse: Tensor
    bands: Tensor
    log_det: Tensor


def averaged(maps: Tensor, factor: int) -> Tensor:
    """Averages over squares of ``factor`` × ``factor`` pixels, ``(..., n, m)``."""
    if factor == 1:
        return maps
    rows, columns = maps.shape[-2:]
    coarse = F.avg_pool2d(maps.reshape(-1, 1, rows, columns), factor)
    return coarse.reshape(*maps.shape[:-2], rows // factor, columns // factor)


def repeated(coarse: Tensor) -> Tensor:
    """Each pixel as 2 × 2 equal ones, ``(..., n, m)`` → ``(..., 2n, 2m)``."""
    return coarse.repeat_interleave(2, -2).repeat_interleave(2, -1)


def split(transform: KappaTransform, kappa: Tensor) -> Split:
    """κ-maps ``(batch, channels, n, n)`` → averages and details."""
    channels = kappa.shape[1]
    bands = squeeze(transform(kappa))[:, channels:]
    log_slope = F.pixel_unshuffle(transform.log_slope(kappa), 2)
    of_cells = log_slope.unflatten(1, (channels, 4))  # ln t of four pixels
    log_mean = torch.logsumexp(-of_cells, 2) - math.log(4)
    log_det = of_cells.sum(2) + log_mean - math.log(2)
    return Split(averaged(kappa, 2), bands, log_det.sum(1))


@torch.no_grad()
def joined(transform: KappaTransform, coarse: Tensor, bands: Tensor) -> Tensor:
    """The inverse of :func:`split`, float64.

    The average increases with η and is convex, as T⁻¹ is. So Newton's method converges to c from
    any η that is too large.
    """
    coarse, bands = wide(coarse), wide(bands)
    offsets = unsqueeze(torch.cat([torch.zeros_like(coarse), bands], 1))  # δ
    close = 1e3 * torch.finfo(coarse.dtype).eps * coarse.abs().max()
    level = torch.minimum(transform(coarse), _largest_level(transform, coarse, offsets))  # η
    for _ in range(_MOST):
        kappa = transform.inverse(repeated(level) + offsets)
        missed = averaged(kappa, 2) - coarse
        if missed.abs().max() <= close:
            break
        level = level - missed / averaged((-transform.log_slope(kappa)).exp(), 2)
    return kappa


def _largest_level(transform: KappaTransform, coarse: Tensor, offsets: Tensor) -> Tensor:
    """A level η that is not too small, and at which no pixel is huge.

    T⁻¹ lies above its tangent at the lowest κ. With this tangent for the other three pixels of a
    cell, c gives a bound for the brightest one.
    """
    largest = F.max_pool2d(offsets, 2)
    low = transform.low.to(coarse).reshape(-1, 1, 1)
    std = transform.std.to(coarse).reshape(-1, 1, 1)
    brightest = 4 * (coarse - low + std * largest) + low
    return transform(torch.maximum(brightest, low)) - largest
