"""The invertible layers of a flow for maps, each with its inverse and its log-determinant.

Notation: x is an array ``(batch, channels, rows, columns)`` on the data's side, y one of the same
shape on the side of the noise; ``to_noise`` gives y and ln |det ∂y/∂x| in float64 (one number, or
one a map), ``to_data`` gives x. Layers that mix channels are affine maps of each pixel, y = A x +
b, so that two in a row are one product of small matrices (float64) and one pass over the map
(:func:`step_to_noise`). Couplings have their conditioner, any network, passed in.

Mixed precision is for the conditioners only: under autocast the maps and all that is done to them
keep their precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .maps import MapGrid, wide

_HAAR = (
    torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
)  # orthonormal, symmetric


def squeeze(x: Tensor) -> Tensor:
    """``(batch, c, 2r, 2s)`` → ``(batch, 4c, r, s)`` by the orthonormal 2×2 Haar transform; the c coarse channels first."""
    b, c = x.shape[:2]
    blocks = nn.functional.pixel_unshuffle(x, 2).reshape(
        b, c, 4, x.shape[-2] // 2, x.shape[-1] // 2
    )
    with torch.autocast(x.device.type, enabled=False):
        return torch.einsum("ij,bcjrs->bicrs", _HAAR.to(x), blocks).flatten(1, 2)


def unsqueeze(x: Tensor) -> Tensor:
    """The inverse of :func:`squeeze`."""
    bands = x.unflatten(1, (4, -1))
    with torch.autocast(x.device.type, enabled=False):
        return nn.functional.pixel_shuffle(
            torch.einsum("ij,bicrs->bcjrs", _HAAR.to(x), bands).flatten(1, 2), 2
        )


# ---------------------------------------------------------------- affine maps of the channels


def _per_pixel(matrix: Tensor, shift: Tensor, x: Tensor) -> Tensor:
    """A x + b at every pixel, in the precision of ``x``; A has the shape ``(channels, channels)``, b ``(channels,)``."""
    with torch.autocast(x.device.type, enabled=False):
        product = torch.baddbmm(
            shift.to(x)[:, None], matrix.to(x).expand(len(x), -1, -1), x.flatten(2)
        )
    return product.view_as(x)


class _Linear(nn.Module):
    """An affine map of the channels, the same at every pixel; ``affine()`` gives A, b and ln |det A|, in float64."""

    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError

    def to_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        matrix, shift, log_det = self.affine()
        return _per_pixel(matrix, shift, x), log_det * x.shape[-1] * x.shape[-2]

    def to_data(self, y: Tensor) -> Tensor:
        matrix, shift, _ = self.affine()
        return _solve_per_pixel(matrix, shift, y)


def _solve_per_pixel(matrix: Tensor, shift: Tensor, y: Tensor) -> Tensor:
    inverse = torch.linalg.inv(matrix)
    return _per_pixel(inverse, -inverse @ shift, y)


class ActNorm(_Linear):
    """A scale and a shift for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        log_scale = wide(self.log_scale)
        return log_scale.exp().diag(), wide(self.shift), log_scale.sum()


class Mixing(_Linear):
    """An invertible 1×1 convolution W = L U with unit diagonal of L (Kingma & Dhariwal 2018, eq. 10); W = 1 at first."""

    def __init__(self, channels: int):
        super().__init__()
        self.lower = nn.Parameter(torch.zeros(channels, channels))
        self.upper = nn.Parameter(torch.zeros(channels, channels))
        self.log_diagonal = nn.Parameter(torch.zeros(channels))

    def matrix(self) -> Tensor:
        """W, float64, shape ``(channels, channels)``."""
        one = wide(torch.eye(len(self.lower), device=self.lower.device))
        upper = wide(self.upper).triu(1) + wide(self.log_diagonal).exp().diag()
        return (wide(self.lower).tril(-1) + one) @ upper

    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        matrix = self.matrix()
        return matrix, matrix.new_zeros(len(matrix)), wide(self.log_diagonal).sum()


# ---------------------------------------------------------------- couplings


class Context(NamedTuple):
    """What the conditioners of a flow see beside the kept channels.

    Attributes:
        channels: conditions that are maps, at the resolution of the level, ``(batch, channels, r,
            s)``.
        numbers: conditions that are numbers, ``(batch, numbers)``.
    """

    channels: Tensor | None = None
    numbers: Tensor | None = None


NO_CONTEXT = Context()


def _conditioner(network: nn.Module, kept: Tensor, context: Context) -> Tensor:
    """The output of a conditioner, in the precision of ``kept``."""
    seen = kept
    if context.channels is not None:
        seen = torch.cat([kept, context.channels.to(kept.dtype)], 1)
    if context.numbers is None:
        return network(seen).to(kept.dtype)
    return network(seen, context.numbers).to(kept.dtype)


class AffineCoupling(nn.Module):
    """Half of the channels decide scale and shift of the other half (Dinh et al. 2017); |ln scale| < ``bound``.

    The halves change places afterwards, so that the next coupling moves the channels that this one
    kept.

    Args:
        channels: number of channels, even.
        network: ``network(inputs, outputs)`` builds the conditioner.
        bound: largest |ln scale|; keeps samples from exploding.
        extra: channels of the context.
    """

    def __init__(
        self,
        channels: int,
        network: Callable[[int, int], nn.Module],
        bound: float = 1.5,
        extra: int = 0,
    ):
        super().__init__()
        self.network = network(channels // 2 + extra, channels)
        self.bound = bound

    def _scale_and_shift(self, kept: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        raw, shift = _conditioner(self.network, kept, context).chunk(2, 1)
        return self.bound * torch.tanh(raw / self.bound), shift

    def to_noise(self, x: Tensor, context: Context = NO_CONTEXT) -> tuple[Tensor, Tensor]:
        kept, moved = x.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept, context)
        moved = torch.addcmul(shift, moved, log_scale.exp())
        return torch.cat([moved, kept], 1), wide(log_scale).sum((1, 2, 3))

    def to_data(self, y: Tensor, context: Context = NO_CONTEXT) -> Tensor:
        moved, kept = y.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept, context)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], 1)


class SplineCoupling(nn.Module):
    """Half of the channels decide a monotonic spline for each value of the other half (Durkan et al. 2019, §3).

    A spline maps [−bound, bound] onto itself and leaves all else as it is, so that no coupling can
    make a value explode. The halves change places afterwards. It is the identity where the
    conditioner gives zero.

    Args:
        channels: number of channels, even.
        network: ``network(inputs, outputs)`` builds the conditioner.
        bins: pieces of a spline.
        bound: the splines act between −bound and bound.
        extra: channels of the context.
    """

    def __init__(
        self,
        channels: int,
        network: Callable[[int, int], nn.Module],
        bins: int = 8,
        bound: float = 6.0,
        extra: int = 0,
    ):
        super().__init__()
        self.network = network(channels // 2 + extra, channels // 2 * (3 * bins - 1))
        self.bound = bound

    def _numbers(self, kept: Tensor, context: Context) -> Tensor:
        """The conditioner's output, shape ``(batch, channels / 2, 3 bins − 1, rows, columns)``."""
        return _conditioner(self.network, kept, context).unflatten(1, (kept.shape[1], -1))

    def to_noise(self, x: Tensor, context: Context = NO_CONTEXT) -> tuple[Tensor, Tensor]:
        kept, moved = x.chunk(2, 1)
        moved, log_slope = spline(moved, self._numbers(kept, context), self.bound)
        return torch.cat([moved, kept], 1), wide(log_slope).sum((1, 2, 3))

    def to_data(self, y: Tensor, context: Context = NO_CONTEXT) -> Tensor:
        moved, kept = y.chunk(2, 1)
        moved = inverse_spline(moved, self._numbers(kept, context), self.bound)
        return torch.cat([kept, moved], 1)


_NARROWEST = 1e-3  # of a bin, as a share of the interval; also the smallest slope at a knot


def spline(x: Tensor, numbers: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """A monotonic rational-quadratic spline on [−bound, bound], the identity outside (Durkan et al. 2019, eqs 4–5).

    Args:
        x: any shape ``(batch, channels, ...)``.
        numbers: unconstrained widths, heights and inner slopes, ``(batch, channels, 3 bins − 1,
            ...)``; zeros give y = x.
        bound: half the length of the interval.

    Returns:
        y and ln dy/dx, both of the shape of ``x``.
    """
    inside = x.abs() < bound
    at = x.clamp(-bound, bound)
    piece = _bin(at, numbers, bound, inverse=False)
    mean_slope = piece.height / piece.width
    slope_0, slope_1 = piece.slope_0, piece.slope_1
    t = (at - piece.x_0) / piece.width
    bend = t * (1 - t)
    below = mean_slope + (slope_0 + slope_1 - 2 * mean_slope) * bend
    y = piece.y_0 + piece.height * (mean_slope * t.square() + slope_0 * bend) / below
    above = slope_1 * t.square() + 2 * mean_slope * bend + slope_0 * (1 - t).square()
    log_slope = 2 * (mean_slope.log() - below.log()) + above.log()
    return torch.where(inside, y, x), torch.where(inside, log_slope, 0.0)


def inverse_spline(y: Tensor, numbers: Tensor, bound: float) -> Tensor:
    """The inverse of :func:`spline`, by the root of a quadratic that is free of cancellation (eqs 6–8)."""
    inside = y.abs() < bound
    at = y.clamp(-bound, bound)
    piece = _bin(at, numbers, bound, inverse=True)
    mean_slope = piece.height / piece.width
    rise = at - piece.y_0
    bent = rise * (piece.slope_0 + piece.slope_1 - 2 * mean_slope)
    a = piece.height * (mean_slope - piece.slope_0) + bent
    b = piece.height * piece.slope_0 - bent
    c = -mean_slope * rise
    root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
    t = 2 * c / (-b - root)
    return torch.where(inside, piece.x_0 + piece.width * t, y)


class _Bin(NamedTuple):
    """Of the bin that each value lies in: left edge, width, lower edge, height, slopes at both ends."""

    x_0: Tensor
    width: Tensor
    y_0: Tensor
    height: Tensor
    slope_0: Tensor
    slope_1: Tensor


def _bin(at: Tensor, numbers: Tensor, bound: float, inverse: bool) -> _Bin:
    bins = (numbers.shape[2] + 1) // 3
    widths, heights, slopes = numbers.split((bins, bins, bins - 1), 2)
    columns = _inner_knots(widths, bound)
    rows = _inner_knots(heights, bound)
    knots = rows if inverse else columns
    which = (at[:, :, None] >= knots).sum(2, keepdim=True)
    x_0, x_1 = _ends(columns, which, -bound, bound)
    y_0, y_1 = _ends(rows, which, -bound, bound)
    raw = torch.stack(_ends(slopes, which, 0.0, 0.0))  # 0 stands for a slope of 1
    positive = nn.functional.softplus(raw + math.log(math.e - 1))
    slope_0, slope_1 = _NARROWEST + (1 - _NARROWEST) * positive
    return _Bin(x_0, x_1 - x_0, y_0, y_1 - y_0, slope_0, slope_1)


def _inner_knots(sizes: Tensor, bound: float) -> Tensor:
    """Unconstrained sizes of bins ``(b, c, bins, ...)`` → increasing knots between −bound and bound ``(b, c, bins − 1, ...)``.

    The sum over the bins to the left is a product with a triangle of ones, faster than ``cumsum``
    and its gradient.
    """
    bins = sizes.shape[2]
    share = sizes.softmax(2).flatten(3).flatten(0, 1)  # (b c, bins, pixels)
    triangle = share.new_ones(bins - 1, bins).tril().expand(len(share), -1, -1)
    least = bound * (
        2 * _NARROWEST * torch.arange(1, bins, dtype=share.dtype, device=share.device) - 1
    )
    with torch.autocast(share.device.type, enabled=False):
        knots = torch.baddbmm(
            least[:, None], triangle, share, alpha=2 * bound * (1 - _NARROWEST * bins)
        )
    return knots.view(*sizes.shape[:2], bins - 1, *sizes.shape[3:])


def _ends(inner: Tensor, which: Tensor, first: float, last: float) -> tuple[Tensor, Tensor]:
    """What is given at the inner knots, at both ends of bin ``which`` ``(b, c, 1, ...)``; ``first`` and ``last`` complete it."""
    count = inner.shape[2]
    lower, upper = inner.gather(2, torch.cat([which - 1, which], 2).clamp(0, count - 1)).unbind(2)
    which = which[:, :, 0]
    return torch.where(which == 0, first, lower), torch.where(which == count, last, upper)


# ---------------------------------------------------------------- a step, and the gain


def step_to_noise(
    norm: ActNorm, mixing: Mixing, coupling: nn.Module, x: Tensor, context: Context = NO_CONTEXT
) -> tuple[Tensor, Tensor]:
    """Actnorm, mixing and coupling in a row; the first two are applied as one matrix."""
    scale, shift, log_scale = norm.affine()
    matrix, _, log_det = mixing.affine()
    mixed = _per_pixel(matrix @ scale, matrix @ shift, x)
    y, change = coupling.to_noise(mixed, context)
    pixels = x.shape[-1] * x.shape[-2]
    return y, change + (log_scale + log_det) * pixels


def step_to_data(
    norm: ActNorm, mixing: Mixing, coupling: nn.Module, y: Tensor, context: Context = NO_CONTEXT
) -> Tensor:
    """The inverse of :func:`step_to_noise`."""
    scale, shift, _ = norm.affine()
    matrix, _, _ = mixing.affine()
    mixed = coupling.to_data(y, context)
    return _solve_per_pixel(matrix @ scale, matrix @ shift, mixed)


class Gain(nn.Module):
    """An isotropic gain in Fourier space, e^a(|ℓ|) with one number an annulus; the identity at first.

    The couplings act on small scales and thereby add power to large ones (κ is nearly an
    exponential of z). The few modes there weigh so little in the likelihood that the couplings
    hardly notice. One number an annulus notices at once.

    Args:
        n: pixels a side.
        channels: each has a gain of its own.
    """

    def __init__(self, n: int, channels: int = 1):
        super().__init__()
        grid = MapGrid(n, 1.0)
        annulus = (grid.ell / grid.ell_min).round().long()
        modes = torch.bincount(annulus.flatten(), grid.multiplicity.flatten())
        self.register_buffer("annulus", annulus)
        self.register_buffer("modes", modes)
        several = () if channels == 1 else (channels,)
        self.log_gain = nn.Parameter(torch.zeros(*several, len(modes)))

    def per_mode(self) -> Tensor:
        """The gain of each ``rfft2`` mode, float64, shape ``(n, n // 2 + 1)`` or with channels before it."""
        return wide(self.log_gain).exp()[..., self.annulus]

    def to_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._filter(x, self.per_mode()), (wide(self.log_gain) * self.modes).sum()

    def to_data(self, y: Tensor) -> Tensor:
        return self._filter(y, 1 / self.per_mode())

    def _filter(self, x: Tensor, response: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(wide(x)) * response, s=x.shape[-2:]).to(x.dtype)
