"""The invertible layers of a flow for maps, each with its inverse and its log-determinant.

Notation: x is an array ``(batch, channels, rows, columns)`` on the side of the data, and y is one
of the same shape on the side of the noise. ``to_noise`` gives y and ln |det ∂y/∂x| in float64,
which is one number, or one for each map. ``to_data`` gives x.

Layers that mix channels are affine maps of each pixel, y = A x + b. Two of them in a row are
computed as one: a product of small matrices in float64, and one pass over the map
(:func:`step_to_noise`). Couplings take their conditioner, which can be any network, as an
argument.

Only the conditioners use mixed precision. Under autocast the maps themselves keep their precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .maps import GaussianModes
from .maps.grid import wide

# orthonormal and symmetric
_HAAR = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2


def squeeze(x: Tensor) -> Tensor:
    """The orthonormal 2×2 Haar transform, ``(batch, c, 2r, 2s)`` → ``(batch, 4c, r, s)``.

    The c coarse channels (the scaled means of 2×2 pixels) come first.
    """
    blocks = nn.functional.pixel_unshuffle(x, 2).unflatten(1, (-1, 4))
    with torch.autocast(x.device.type, enabled=False):
        bands = torch.einsum("ij,bcjrs->bicrs", _HAAR.to(x), blocks)
    return bands.flatten(1, 2)


def unsqueeze(x: Tensor) -> Tensor:
    """The inverse of :func:`squeeze`."""
    bands = x.unflatten(1, (4, -1))
    with torch.autocast(x.device.type, enabled=False):
        blocks = torch.einsum("ij,bicrs->bcjrs", _HAAR.to(x), bands)
    return nn.functional.pixel_shuffle(blocks.flatten(1, 2), 2)


# ---------------------------------------------------------------- affine maps of the channels


def _per_pixel(matrix: Tensor, shift: Tensor, x: Tensor) -> Tensor:
    """A x + b at every pixel, in the precision of ``x``.

    Args:
        matrix: A, ``(channels, channels)``.
        shift: b, ``(channels,)``.
        x: ``(batch, channels, rows, columns)``.
    """
    matrices = matrix.to(x).expand(len(x), -1, -1)
    with torch.autocast(x.device.type, enabled=False):
        product = torch.baddbmm(shift.to(x)[:, None], matrices, x.flatten(2))
    return product.view_as(x)


class _Linear(nn.Module):
    """An affine map of the channels, the same at every pixel."""

    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        """A, b and ln |det A|, in float64."""
        raise NotImplementedError

    def to_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        matrix, shift, log_det = self.affine()
        return _per_pixel(matrix, shift, x), log_det * x.shape[-1] * x.shape[-2]

    def to_data(self, y: Tensor) -> Tensor:
        matrix, shift, _ = self.affine()
        return _solve_per_pixel(matrix, shift, y)


def _solve_per_pixel(matrix: Tensor, shift: Tensor, y: Tensor) -> Tensor:
    """The inverse of :func:`_per_pixel`."""
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
    """An invertible 1×1 convolution W = L U (Kingma & Dhariwal 2018, arXiv:1807.03039, eq. 10).

    L is lower triangular with a unit diagonal, and U is upper triangular. W starts as the
    identity.
    """

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
    """Conditions, which conditioners get as inputs in addition to the kept channels.

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
    inputs = kept
    if context.channels is not None:
        inputs = torch.cat([kept, context.channels.to(kept.dtype)], 1)
    if context.numbers is None:
        return network(inputs).to(kept.dtype)
    return network(inputs, context.numbers).to(kept.dtype)


class AffineCoupling(nn.Module):
    """An affine coupling (Dinh et al. 2017, arXiv:1605.08803), with |ln scale| < ``bound``.

    From one half of the channels, the conditioner computes a scale and a shift for the other half.
    Then the halves swap places, so that the next coupling transforms the half that this one kept.

    Args:
        channels: number of channels, even.
        network: ``network(inputs, outputs)`` builds the conditioner.
        bound: largest |ln scale|; it prevents samples with huge values.
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
        y, log_scale = self.with_slopes(x, context)
        return y, wide(log_scale).sum((1, 2, 3))

    def with_slopes(self, x: Tensor, context: Context = NO_CONTEXT) -> tuple[Tensor, Tensor]:
        """y, and ln |dy/dx| of each value that is moved, ``(batch, channels / 2, r, s)``."""
        kept, moved = x.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept, context)
        moved = torch.addcmul(shift, moved, log_scale.exp())
        return torch.cat([moved, kept], 1), log_scale

    def to_data(self, y: Tensor, context: Context = NO_CONTEXT) -> Tensor:
        moved, kept = y.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept, context)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], 1)


class SplineCoupling(nn.Module):
    """A coupling by monotonic splines (Durkan et al. 2019, arXiv:1906.04032, §3).

    From one half of the channels, the conditioner computes a spline for each value of the other
    half. A spline maps [−bound, bound] onto itself, and is the identity outside. So no coupling
    can produce huge values. If the conditioner gives zeros, the spline is the identity everywhere.
    Afterwards the halves swap places.

    Args:
        channels: number of channels, even.
        network: ``network(inputs, outputs)`` builds the conditioner.
        bins: bins of a spline.
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
        y, log_slope = self.with_slopes(x, context)
        return y, wide(log_slope).sum((1, 2, 3))

    def with_slopes(self, x: Tensor, context: Context = NO_CONTEXT) -> tuple[Tensor, Tensor]:
        """y, and ln dy/dx of each value that is moved, ``(batch, channels / 2, r, s)``."""
        kept, moved = x.chunk(2, 1)
        moved, log_slope = spline(moved, self._numbers(kept, context), self.bound)
        return torch.cat([moved, kept], 1), log_slope

    def to_data(self, y: Tensor, context: Context = NO_CONTEXT) -> Tensor:
        moved, kept = y.chunk(2, 1)
        moved = inverse_spline(moved, self._numbers(kept, context), self.bound)
        return torch.cat([kept, moved], 1)


# the smallest width of a bin, as a share of the interval; also the smallest slope at a knot
_NARROWEST = 1e-3


def spline(x: Tensor, numbers: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """A monotonic rational-quadratic spline (Durkan et al. 2019, eqs 4–5).

    It maps [−bound, bound] onto itself, and is the identity outside.

    Args:
        x: values, ``(batch, channels, ...)``.
        numbers: unconstrained widths, heights and inner slopes, shape
            ``(batch, channels, 3 bins − 1, ...)``; zeros give y = x. Where all maps or pixels have
            the same spline, these axes may have the length 1.
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
    """The inverse of :func:`spline`, the root of a quadratic (Durkan et al. 2019, eqs 6–8).

    The formula for the root avoids cancellation.
    """
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
    """The bin of each value: left edge, width, lower edge, height, and the slopes at both ends."""

    x_0: Tensor
    width: Tensor
    y_0: Tensor
    height: Tensor
    slope_0: Tensor
    slope_1: Tensor


def _bin(at: Tensor, numbers: Tensor, bound: float, inverse: bool) -> _Bin:
    """The bin that each value lies in; the values are y of the spline if ``inverse``, else x."""
    bins = (numbers.shape[2] + 1) // 3
    widths, heights, slopes = numbers.split((bins, bins, bins - 1), 2)
    columns = _inner_knots(widths, bound)
    rows = _inner_knots(heights, bound)
    knots = columns
    if inverse:
        knots = rows
    which = (at[:, :, None] >= knots).sum(2, keepdim=True)
    x_0, x_1 = _ends(columns, which, -bound, bound)
    y_0, y_1 = _ends(rows, which, -bound, bound)
    raw = torch.stack(_ends(slopes, which, 0.0, 0.0))  # 0 becomes a slope of 1
    positive = nn.functional.softplus(raw + math.log(math.e - 1))
    slope_0, slope_1 = _NARROWEST + (1 - _NARROWEST) * positive
    return _Bin(x_0, x_1 - x_0, y_0, y_1 - y_0, slope_0, slope_1)


def _inner_knots(sizes: Tensor, bound: float) -> Tensor:
    """Unconstrained sizes of bins → the increasing knots between them, inside (−bound, bound).

    Shapes: ``(b, c, bins, ...)`` → ``(b, c, bins − 1, ...)``. The sum of the bins to the left of a
    knot is a product with a triangular matrix of ones. This is faster than ``cumsum`` and its
    gradient.
    """
    bins = sizes.shape[2]
    share = sizes.softmax(2).flatten(3).flatten(0, 1)  # (b c, bins, pixels)
    triangle = share.new_ones(bins - 1, bins).tril().expand(len(share), -1, -1)
    number = torch.arange(1, bins, dtype=share.dtype, device=share.device)
    least = bound * (2 * _NARROWEST * number - 1)
    length = 2 * bound * (1 - _NARROWEST * bins)
    with torch.autocast(share.device.type, enabled=False):
        knots = torch.baddbmm(least[:, None], triangle, share, alpha=length)
    return knots.view(*sizes.shape[:2], bins - 1, *sizes.shape[3:])


def _ends(inner: Tensor, which: Tensor, first: float, last: float) -> tuple[Tensor, Tensor]:
    """Values at the left and the right end of the bins ``which``.

    Args:
        inner: the values at the inner knots, ``(b, c, bins − 1, ...)``.
        which: numbers of bins, ``(b, c, 1, ...)``.
        first, last: the values at the two ends of the interval.
    """
    count = inner.shape[2]
    inner = inner.expand(*which.shape[:2], -1, *which.shape[3:])
    index = torch.cat([which - 1, which], 2).clamp(0, count - 1)
    lower, upper = inner.gather(2, index).unbind(2)
    which = which[:, :, 0]
    lower = torch.where(which == 0, first, lower)
    upper = torch.where(which == count, last, upper)
    return lower, upper


# ---------------------------------------------------------------- a step, and the gain


def step_to_noise(
    norm: ActNorm, mixing: Mixing, coupling: nn.Module, x: Tensor, context: Context = NO_CONTEXT
) -> tuple[Tensor, Tensor]:
    """Actnorm, mixing and coupling in a row. The first two are applied as one matrix."""
    mixed, log_det = _mixed(norm, mixing, x)
    y, change = coupling.to_noise(mixed, context)
    pixels = x.shape[-1] * x.shape[-2]
    return y, change + log_det * pixels


def step_by_pixel(
    norm: ActNorm, mixing: Mixing, coupling: nn.Module, x: Tensor, context: Context = NO_CONTEXT
) -> tuple[Tensor, Tensor]:
    """The same, with ln |det| as a sum over pixels, float64 ``(batch, rows, columns)``."""
    mixed, log_det = _mixed(norm, mixing, x)
    y, log_slope = coupling.with_slopes(mixed, context)
    return y, wide(log_slope).sum(1) + log_det


def _mixed(norm: ActNorm, mixing: Mixing, x: Tensor) -> tuple[Tensor, Tensor]:
    """x after actnorm and mixing, and ln |det| of one pixel."""
    scale, shift, log_scale = norm.affine()
    matrix, _, log_det = mixing.affine()
    return _per_pixel(matrix @ scale, matrix @ shift, x), log_scale + log_det


def step_to_data(
    norm: ActNorm, mixing: Mixing, coupling: nn.Module, y: Tensor, context: Context = NO_CONTEXT
) -> Tensor:
    """The inverse of :func:`step_to_noise`."""
    scale, shift, _ = norm.affine()
    matrix, _, _ = mixing.affine()
    mixed = coupling.to_data(y, context)
    return _solve_per_pixel(matrix @ scale, matrix @ shift, mixed)


class Gain(nn.Module):
    """A gain e^a for the modes of a Gaussian field, with one number a for each annulus of |ℓ|.

    Couplings act on small scales, and thereby also add power to large scales (κ is almost an
    exponential of z). The large scales have few modes. So they have a small weight in the
    likelihood, and couplings learn little from them. One number for each annulus learns the power
    at once. The gain starts as the identity.

    Args:
        field: the field; with several channels, each channel of a periodic field has its own gain.
        knots: if not None, a is a smooth function of the annulus: straight lines between this
            number of knots, which are evenly spaced in ln(1 + annulus). It must be at least 2.
    """

    def __init__(self, field: GaussianModes, knots: int | None = None):
        super().__init__()
        annulus = field.annulus()
        counts = torch.bincount(annulus.flatten(), field.multiplicity.expand_as(annulus).flatten())
        self.register_buffer("annulus", annulus)
        self.register_buffer("modes", counts)
        numbers = len(counts)
        self.smooth = knots is not None
        if knots is not None:
            self.register_buffer("weights", _between_knots(numbers, knots), persistent=False)
            numbers = knots
        shape = (numbers,)
        if field.kind == "periodic" and field.channels > 1:
            shape = (field.channels, numbers)
        self.log_gain = nn.Parameter(torch.zeros(shape))

    def per_annulus(self) -> Tensor:
        """The number a of each annulus, float64."""
        if self.smooth:
            return wide(self.log_gain) @ wide(self.weights)
        return wide(self.log_gain)

    def per_mode(self) -> Tensor:
        """The gain of each plain mode of the field, float64."""
        return self.per_annulus().exp()[..., self.annulus]

    def log_det(self) -> Tensor:
        """ln |det| of ``to_noise``, a float64 scalar."""
        return (self.per_annulus() * self.modes).sum()

    def to_noise(self, x: Tensor, field: GaussianModes) -> Tensor:
        return field.from_plain(field.to_plain(x) * self.per_mode()).to(x.dtype)

    def to_data(self, y: Tensor, field: GaussianModes) -> Tensor:
        return field.from_plain(field.to_plain(y) / self.per_mode()).to(y.dtype)


def _between_knots(annuli: int, knots: int) -> Tensor:
    """Weights of straight lines in ln(1 + annulus), float64, shape ``(knots, annuli)``."""
    place = torch.log1p(torch.arange(annuli, dtype=torch.float64))
    place = place / place[-1] * (knots - 1)
    knot = torch.arange(knots, dtype=torch.float64)[:, None]
    return (1 - (place - knot).abs()).clamp(min=0)
