"""Gaussian fields that are cut out of a larger sky, with exact samples, densities and denoisers.

A true map is a window on the sky. Its opposite edges have nothing to do with each other, while
those of a periodic field touch. A stationary field has one covariance for all pairs of pixels with
the same distances along the two axes,

    ⟨x(i, k) x(j, l)⟩ = ξ(|i − j|, |k − l|).

So mirror images of a map are as likely as the map. Parts of a map that are even or odd under the
two mirrors are therefore independent. This leaves four blocks of (n/2)² numbers each, even or odd
along the rows and along the columns. Two of them are the transposes of each other. So the
eigenvectors of three matrices of (n/2)² × (n/2)² numbers diagonalise the field, exactly. At 64²
pixels they take a second, and each map about a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .fields import FLOOR, GaussianField, GaussianModes
from .grid import MapGrid, check_fittable, wide

# A block with more numbers than this takes minutes and gigabytes: 64² pixels with 4 channels, or
# 128² with one.
_LARGEST = 4096
_DEFAULT_SIDE = 64  # up to here a cut-out costs little


class MirrorModes(GaussianModes):
    """A field whose covariance is that of its mirror images: independent even and odd parts.

    Attributes:
        eigenvalues: variances of the modes, in the shape of a map.
    """

    kind = "cut-out"

    def _place_for_modes(self) -> None:
        """Make room for what follows from the covariance, which is not in checkpoints."""
        for name in ("parity", "multiplicity", *BLOCKS):
            self.register_buffer(name, None, persistent=False)

    def _set_modes(self, blocks: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """Keep the eigenvectors of the blocks.

        Args:
            blocks: eigenvalues and eigenvectors by name.

        Returns:
            The eigenvalues, in the shape of a map.
        """
        self.parity = _parity(self.n).to(self.mean)
        self.multiplicity = torch.ones_like(self.parity)
        values = {}
        for name, (found, vectors) in blocks.items():
            setattr(self, name, vectors)
            half = _sizes(self.n, BLOCKS[name])
            values[name] = found.reshape(*self.map_shape[:-2], *half)
        parts = Quarters(**values, odd_even=values["even_odd"].mT)
        return parts.joined()

    # ------------------------------------------------------------ modes

    def to_plain(self, x: Tensor) -> Tensor:
        quarters = Quarters.of(wide(self.parity) @ wide(x) @ wide(self.parity).T)
        return self._each(quarters, lambda vectors: vectors)

    def from_plain(self, plain: Tensor) -> Tensor:
        folded = self._each(Quarters.of(plain), lambda vectors: vectors.T)
        return wide(self.parity).T @ folded @ wide(self.parity)

    def _each(self, quarters: Quarters, matrix: Callable[[Tensor], Tensor]) -> Tensor:
        """Multiply every quarter by the matrix of its block."""
        axes = len(self.map_shape)

        def product(part: Tensor, vectors: Tensor) -> Tensor:
            flat = part.flatten(-axes)
            with torch.autocast(part.device.type, enabled=False):
                return (flat @ matrix(vectors).to(flat)).view_as(part)

        return Quarters(
            product(quarters.even_even, self.even_even),
            product(quarters.even_odd, self.even_odd),
            product(quarters.odd_odd, self.odd_odd),
            product(quarters.odd_even.mT.contiguous(), self.even_odd).mT,
        ).joined()

    def radius(self) -> Tensor:
        """|ℓ| / ℓ_min of each mode as a whole number, in the shape of a map.

        The modes of a cut-out have no |ℓ|. They are sorted by their variance, as many in each
        annulus as there are modes of Fourier in it.
        """
        grid = MapGrid(self.n, 1.0)
        annulus = (grid.ell / grid.ell_min).round().long().flatten()
        every = annulus.repeat_interleave(grid.multiplicity.long().flatten())
        sorted_annuli = every.repeat(self.channels).sort().values
        order = self.eigenvalues.flatten().argsort(descending=True, stable=True).cpu()
        found = torch.empty_like(sorted_annuli)
        found[order] = sorted_annuli
        return found.reshape(self.map_shape).double()


class CutOutField(MirrorModes):
    """A stationary Gaussian field on a square that is cut out of a larger sky.

    Args:
        correlation: ξ of the lags 0 … n − 1 along each axis, shape ``(n, n)`` and equal to its
            transpose. For several channels the matrix at each lag, ``(channels, channels, n, n)``,
            also symmetric in the channels.
        mean: mean of the field, a number; for several channels one each.

    Attributes:
        n: pixels a side.
        channels: number of channels.
        eigenvalues: variances of the modes, in the shape of a map.

    Raises:
        ValueError: a correlation that is not finite, not symmetric or of another shape; more
            numbers in a map than the method can take.
    """

    def __init__(self, correlation: Tensor, mean: float | Tensor = 0.0):
        super().__init__()
        correlation = torch.as_tensor(correlation, dtype=torch.float64)
        self.channels = 1
        if correlation.ndim == 4:
            self.channels = len(correlation)
        _check_correlation(correlation)
        n = correlation.shape[-1]
        check_cut_out(n, self.channels)
        mean = torch.as_tensor(mean, dtype=torch.float64)
        if self.channels > 1:
            mean = mean.expand(self.channels)
        self.register_buffer("correlation", correlation.clone())
        self.register_buffer("mean", mean.clone())
        self._place_for_modes()
        self.register_buffer("eigenvalues", self._diagonalised())
        self.register_load_state_dict_post_hook(_rediagonalise)

    @classmethod
    def white(cls, n: int, channels: int = 1) -> CutOutField:
        """White noise of unit variance, independent in each channel."""
        delta = torch.zeros(n, n)
        delta[0, 0] = 1
        if channels > 1:
            delta = torch.eye(channels)[:, :, None, None] * delta
        return cls(delta)

    @classmethod
    def of_periodic(cls, field: GaussianField, n: int) -> CutOutField:
        """The field on a square of ``n`` × ``n`` pixels that is cut out of a periodic field.

        Args:
            field: a field of at least twice as many pixels a side, so that the edges of the square
                are not close to each other on the other side.
            n: pixels a side.

        Raises:
            ValueError: the periodic field is too small.
        """
        if field.n < 2 * n:
            raise ValueError(
                f"a cut-out of {n}² pixels needs a periodic field of at least {2 * n}², found "
                f"{field.n}²"
            )
        sides = (field.n, field.n)
        return cls(torch.fft.irfft2(field.variance, s=sides)[..., :n, :n], field.mean)

    @classmethod
    def fit(cls, maps: Tensor) -> CutOutField:
        """The field with the mean and the correlation function of maps.

        ξ is the mean product of all pairs of pixels at a lag, over the maps and their 8
        symmetries. Such an estimate is not always a covariance: of very few maps some modes can
        get a variance that is not positive. They get the mean square that they have in the maps.

        Args:
            maps: shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.

        Raises:
            ValueError: no tensor of maps, maps that are not finite or flat, or maps with more
                pixels than the method can take.
        """
        check_fittable("the set for a Gaussian field", maps)
        channels = 1
        if maps.ndim == 4:
            channels = maps.shape[1]
        check_cut_out(maps.shape[-1], channels)
        maps = wide(maps)
        mean = maps.mean()
        if channels > 1:
            mean = maps.mean((0, 2, 3))
        field = cls(correlation(maps, mean), mean)
        lowest = FLOOR * field.eigenvalues.max()
        unknown = field.eigenvalues <= lowest
        if unknown.any():
            squares = sum(field.modes(part).square().sum(0) for part in maps.split(256))
            measured = (squares / len(maps)).clamp(min=lowest)
            field.eigenvalues[unknown] = measured[unknown]
        return field

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.correlation.shape[-1]

    @property
    def variance(self) -> Tensor:
        """Expected |x̃|² of each ``rfft2`` mode of a map, in the layout of ``GaussianField``.

        The modes of Fourier are not independent here, because the window mixes them.
        """
        n = self.n
        lag = torch.arange(-n, n, device=self.correlation.device)
        overlap = (1 - lag.abs().double() / n).clamp(min=0)
        row = lag.abs().clamp(max=n - 1)
        xi = self.correlation[..., row[:, None], row]
        window = overlap[:, None] * overlap
        modes = torch.fft.rfft2(torch.fft.ifftshift(xi * window, dim=(-2, -1))).real
        return modes[..., ::2, ::2]

    def _diagonalised(self) -> Tensor:
        """Set the eigenvectors of the blocks, and return the eigenvalues in the shape of a map."""
        blocks = {}
        for name, parities in BLOCKS.items():
            blocks[name] = diagonal_of(_block(self.correlation, *parities))
        eigenvalues = self._set_modes(blocks)
        return eigenvalues.clamp(min=FLOOR * float(eigenvalues.max()))


def fit_field(maps: Tensor) -> GaussianModes:
    """The Gaussian field of maps: cut out of the sky up to 64² pixels, periodic above.

    Args:
        maps: shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.

    Raises:
        ValueError: no tensor of maps, or maps that are not finite or flat.
    """
    check_fittable("the set for a Gaussian field", maps)
    if is_small(maps):
        return CutOutField.fit(maps)
    return GaussianField.fit(maps)


def is_small(maps: Tensor) -> bool:
    """Whether maps have so few pixels that a cut-out field costs little."""
    n = maps.shape[-1]
    channels = math.prod(maps.shape[1:-2])
    return n <= _DEFAULT_SIDE and channels * ((n + 1) // 2) ** 2 <= _LARGEST


def check_cut_out(n: int, channels: int) -> None:
    """Refuse maps with more numbers than the eigenvectors of a cut-out can be computed for."""
    size = channels * ((n + 1) // 2) ** 2
    if size > _LARGEST:
        raise ValueError(
            f"a cut-out field of {channels} × {n}² pixels needs matrices of {size}² numbers; "
            f"expected at most {_LARGEST}², such as 128² pixels of one channel. A GaussianField "
            "has no such limit, but it is periodic"
        )


def correlation(maps: Tensor, mean: Tensor) -> Tensor:
    """ξ at each lag along the two axes, averaged over maps and the 8 symmetries of the square.

    Args:
        maps: shape ``(maps, n, n)`` or ``(maps, channels, n, n)``, float64.
        mean: mean of the maps; for several channels one each.

    Returns:
        Shape ``(n, n)``, or ``(channels, channels, n, n)``.
    """
    n = maps.shape[-1]
    channels = maps.shape[1:-2]
    padded = (2 * n, 2 * n)  # so that opposite edges do not meet
    if channels:
        mean = mean[:, None, None]
    products = torch.zeros(2 * channels + (2 * n, n + 1), dtype=maps.dtype, device=maps.device)
    for part in maps.split(128):
        modes = torch.fft.rfft2(part - mean, s=padded)
        if channels:
            products += torch.einsum("micd,mjcd->ijcd", modes, modes.conj()).real
        else:
            products += (modes.real.square() + modes.imag.square()).sum(0)
    sums = torch.fft.irfft2(products / len(maps), s=padded)
    back = -torch.arange(n, device=maps.device) % (2 * n)
    sums = (sums[..., :n, :n] + sums[..., back, :n]) / 2
    if channels:
        sums = (sums + sums.transpose(0, 1)) / 2
    pairs = n - torch.arange(n, dtype=maps.dtype, device=maps.device)
    xi = sums / (pairs[:, None] * pairs)
    return (xi + xi.mT) / 2


# ---------------------------------------------------------------- even and odd parts

BLOCKS = {"even_even": (1, 1), "even_odd": (1, -1), "odd_odd": (-1, -1)}


class Quarters(NamedTuple):
    """The parts of folded maps, even or odd along rows and columns, ``(..., rows, columns)``."""

    even_even: Tensor
    even_odd: Tensor
    odd_odd: Tensor
    odd_even: Tensor

    @classmethod
    def of(cls, folded: Tensor) -> Quarters:
        """The quarters of folded maps."""
        half = (folded.shape[-1] + 1) // 2
        even, odd = folded[..., :half, :], folded[..., half:, :]
        return cls(even[..., :half], even[..., half:], odd[..., half:], odd[..., :half])

    def joined(self) -> Tensor:
        """The inverse of :meth:`of`."""
        even = torch.cat([self.even_even, self.even_odd], -1)
        odd = torch.cat([self.odd_even, self.odd_odd], -1)
        return torch.cat([even, odd], -2)


def _parity(n: int) -> Tensor:
    """The orthonormal matrix that gives the even parts of a row, then its odd parts."""
    one = torch.eye(n, dtype=torch.float64)
    half = n // 2
    even = (one + one.flip(0))[: n - half]
    odd = (one - one.flip(0))[:half]
    rows = torch.cat([even, odd])
    return rows / rows.norm(dim=1, keepdim=True)


def _sizes(n: int, parities: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a block."""
    sizes = {1: (n + 1) // 2, -1: n // 2}
    return sizes[parities[0]], sizes[parities[1]]


def diagonal_of(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a symmetric matrix, at once if it is diagonal already.

    A field that a checkpoint fills is white, for example.
    """
    values = matrix.diagonal()
    if torch.equal(matrix, values.diag()):
        return values, torch.eye(len(matrix)).to(matrix)
    return torch.linalg.eigh(matrix)


def _block(xi: Tensor, rows: int, columns: int) -> Tensor:
    """The covariance of one block of numbers, a matrix over channels, rows and columns."""
    n = xi.shape[-1]
    by_row = _folded(xi.movedim(-2, 0), n, rows)  # (i, j, …, lag)
    both = _folded(by_row.movedim(-1, 0), n, columns)  # (k, l, i, j, …)
    if both.ndim == 4:
        return both.permute(2, 0, 3, 1).flatten(2).flatten(0, 1)
    of_channels = both.permute(4, 2, 0, 5, 3, 1)  # (channel, i, k, channel, j, l)
    return of_channels.flatten(3).flatten(0, 2)


def _folded(xi: Tensor, n: int, parity: int) -> Tensor:
    """Covariance of the even (1) or odd (−1) parts along the first axis, which has the lags.

    ⟨(x_i ± x_{n−1−i}) (x_j ± x_{n−1−j})⟩ / 2 = ξ(i − j) ± ξ(n − 1 − i − j). The middle pixel of an
    odd n is its own mirror image, so its even part is counted with a weight of 1/√2.
    """
    size = _sizes(n, (parity, parity))[0]
    i = torch.arange(size, device=xi.device)
    near = (i[:, None] - i).abs()
    far = n - 1 - i[:, None] - i
    weight = torch.ones(size, dtype=xi.dtype, device=xi.device)
    if n % 2 and parity == 1:
        weight[-1] = math.sqrt(0.5)
    weights = (weight[:, None] * weight).reshape(size, size, *[1] * (xi.ndim - 1))
    return weights * (xi[near] + parity * xi[far])


def _check_correlation(xi: Tensor) -> None:
    square = xi.ndim in (2, 4) and xi.shape[-1] == xi.shape[-2]
    if not square or (xi.ndim == 4 and xi.shape[0] != xi.shape[1]):
        raise ValueError(
            "the correlation of a cut-out field has the shape (n, n) or (channels, channels, n, "
            f"n), found {tuple(xi.shape)}"
        )
    if not torch.isfinite(xi).all():
        raise ValueError("the correlation of a cut-out field has NaN or infinity")
    others = [xi.mT]
    if xi.ndim == 4:
        others.append(xi.transpose(0, 1))
    tolerance = 1e-9 * float(xi.abs().max())
    for other in others:
        if not torch.allclose(xi, other, rtol=1e-6, atol=tolerance):
            raise ValueError(
                "the correlation of a cut-out field must be equal to its transpose, along the "
                "lags and along the channels"
            )


def _rediagonalise(field: CutOutField, _keys) -> None:
    """After a checkpoint was loaded: the eigenvectors of its correlation."""
    field._diagonalised()
