"""The details of a Gaussian field given its coarser map, from near pixels only.

Each pixel of the coarser map is a cell with three details. Four cells, 2 × 2, are a block. The
cells of a block have four *places*, and the details are drawn place by place:

    b_k = W_k (coarse numbers, details of the places before k) + L_k z_k.

W_k is the linear regression on the nearest 3 × 3 blocks, L_k L_kᵀ the covariance of what it leaves
open, and z_k is white. Cells of the same place are never neighbours, so they have little in common
that is not known already. For fields like the sample, this product misses the exact density by
about 0.001 nats a pixel. One regression for all four places would miss it by 0.03 to 0.05.

The weights are the same all over a map, so it can have any size. At its edge some of the 3 × 3
blocks do not exist. Each side and corner has weights of its own, for the blocks that do.

Before all this, the details are divided by their scatter, which may depend on the coarse number x
of their own cell: ln scatter = p₀ + p₁ x + p₂ x². In a Gaussian field it does not.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import squeeze, unsqueeze
from ..maps.grid import turned, wide

_PLACES = [0, 3, 1, 2]  # the diagonal of a block first, so that the others see all neighbours
_EDGES = 3  # first, inner, last
REACH = len(_PLACES)  # how many blocks away details depend on the noise: one for each place
_FLOOR = 1e-9  # smallest variance relative to the mean one, so that there is a density
_BINS = 200  # of the coarse number, with as many cells each, in which the scatter is measured
_CELLS = 20  # smallest number of cells of a bin


def folded(cells: Tensor) -> Tensor:
    """Cells → blocks, place by place: ``(batch, c, 2r, 2s)`` → ``(batch, 4c, r, s)``."""
    blocks = F.pixel_unshuffle(cells, 2).unflatten(1, (-1, 4))
    return blocks[:, :, _PLACES].transpose(1, 2).flatten(1, 2)


def unfolded(blocks: Tensor) -> Tensor:
    """The inverse of :func:`folded`."""
    by_place = blocks.unflatten(1, (4, -1)).transpose(1, 2)
    back = [_PLACES.index(place) for place in range(4)]
    return F.pixel_shuffle(by_place[:, :, back].flatten(1, 2), 2)


class LocalGaussian(nn.Module):
    """The Gaussian density of details given coarse numbers.

    Untrained numbers make the details white, for a checkpoint to fill.

    Args:
        channels: channels of the maps.
    """

    def __init__(self, channels: int = 1):
        super().__init__()
        self.channels = channels
        details = 3 * channels
        one = torch.eye(details, dtype=torch.float64)
        weights = torch.zeros(_EDGES**2, 4 * details, 9 * 16 * channels, dtype=torch.float64)
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("weights", weights)
        self.register_buffer("scatter", one.repeat(_EDGES**2, 4, 1, 1))
        self.register_buffer(
            "bend", torch.zeros(3, 3, channels, dtype=torch.float64)
        )  # p of bands
        self.register_buffer("limits", torch.zeros(2, channels, dtype=torch.float64))  # of x

    @classmethod
    def fit(cls, coarse: Tensor, bands: Tensor) -> LocalGaussian:
        """Measure the regressions.

        Args:
            coarse: coarse numbers of maps, ``(maps, channels, m, m)``, with m at least 6.
            bands: their details, ``(maps, 3 channels, m, m)``.
        """
        new = cls(coarse.shape[1])
        coarse, bands = wide(coarse), wide(bands)
        new.mean.copy_(coarse.mean((0, 2, 3)))
        for channel in range(new.channels):
            of_channel = bands.unflatten(1, (3, -1))[:, :, channel]
            new._measure_scatter(channel, coarse[:, channel], of_channel)
        scaled = bands / unfolded(new._log_scale(folded(coarse))).exp()
        second = _moments(coarse - new.mean[:, None, None], scaled)
        second += _FLOOR * second.diagonal().mean() * torch.eye(len(second)).to(second)
        for edge, places in enumerate(product(range(_EDGES), repeat=2)):
            new._regress(edge, _existing(*places), second)
        return new

    def _measure_scatter(self, channel: int, coarse: Tensor, bands: Tensor) -> None:
        """Fill in the scatter of the three bands as a function of the coarse number."""
        order = coarse.flatten().argsort()
        x = coarse.flatten()[order]
        squares = bands.square().transpose(0, 1).flatten(1)[:, order]
        squares[:2] = squares[:2].mean(0)  # a quarter turn swaps them
        bins = min(_BINS, len(x) // _CELLS)
        centres = torch.stack([part.mean() for part in x.tensor_split(bins)])
        means = torch.stack([part.mean(1) for part in squares.tensor_split(bins, 1)])
        powers = torch.stack([centres**0, centres, centres**2], 1)
        found = torch.linalg.lstsq(powers, 0.5 * means.log()).solution
        self.bend[..., channel] = found
        self.limits[:, channel] = torch.stack([centres[0], centres[-1]])

    def _log_scale(self, coarse: Tensor) -> Tensor:
        """ln scatter of each detail in blocks, ``(batch, 12 channels, r, s)``.

        Beyond the measured range it is that of its end.
        """
        low, high = self.limits.to(coarse)[:, None, :, None, None]
        x = coarse.unflatten(1, (4, -1)).clamp(low, high)[:, :, None]  # for all three bands
        p = self.bend.to(coarse)[..., None, None]
        return (p[0] + p[1] * x + p[2] * x.square()).flatten(1, 3)

    def _regress(self, edge: int, exists: Tensor, second: Tensor) -> None:
        """Fill in weights and scatter where only some of the 3 × 3 blocks exist."""
        c = self.channels
        numbers = torch.arange(len(second)).reshape(16 * c, 3, 3)
        for k in range(4):
            known = torch.zeros(16 * c, 3, 3, dtype=torch.bool)
            known[: 4 * c + 3 * c * k] = exists  # coarse numbers and the places before
            target = slice(4 * c + 3 * c * k, 4 * c + 3 * c * (k + 1))
            inputs, outputs = numbers[known], numbers[target, 1, 1]
            common = second[inputs][:, outputs]
            weights = torch.linalg.solve(second[inputs][:, inputs], common)
            left = second[outputs][:, outputs] - weights.T @ common
            self.weights[edge, 3 * c * k : 3 * c * (k + 1), inputs] = weights.T
            self.scatter[edge, k] = torch.linalg.cholesky((left + left.T) / 2)

    # ------------------------------------------------------------ density and samples

    def to_noise(self, coarse: Tensor, bands: Tensor) -> tuple[Tensor, Tensor]:
        """Details → white noise.

        Args:
            coarse: coarse numbers in blocks, ``(batch, 4 channels, r, s)``, r and s at least 3.
            bands: details in blocks, ``(batch, 12 channels, r, s)``.

        Returns:
            White noise of the shape and dtype of ``bands``, and ln |det| as a sum over blocks,
            float64 ``(batch, r, s)``.
        """
        log_scale = self._log_scale(coarse)
        bands = bands * (-log_scale).exp()
        bank = -self._bank()
        first = 4 * self.channels
        for detail in range(bank.shape[1]):
            bank[:, detail, first + detail, 1, 1] += 1
        inverse = torch.linalg.inv(self.scatter)
        whitening = torch.einsum("ekij,ekjfab->ekifab", inverse, bank.unflatten(1, (4, -1)))
        known = torch.cat([self._centred(coarse), bands], 1)
        log_det = self._log_det(*bands.shape[-2:]) - wide(log_scale).sum(1)
        return _at_each(known, whitening.flatten(1, 2)), log_det

    def _log_det(self, rows: int, columns: int) -> Tensor:
        of_edges = -self.scatter.diagonal(dim1=-2, dim2=-1).log().sum((1, 2)).view(_EDGES, _EDGES)
        return of_edges[_edge_of(rows)][:, _edge_of(columns)]

    def to_data(self, coarse: Tensor, white: Tensor) -> Tensor:
        """The inverse of :meth:`to_noise`."""
        details = 3 * self.channels
        drawn = torch.zeros_like(white)
        for k in range(4):
            place = slice(k * details, (k + 1) * details)
            known = torch.cat([self._centred(coarse), drawn, white[:, place]], 1)
            scatter = torch.zeros(_EDGES**2, details, details, 3, 3).to(self.scatter)
            scatter[..., 1, 1] = self.scatter[:, k]
            drawn[:, place] = _at_each(known, torch.cat([self._bank()[:, place], scatter], 2))
        return drawn * self._log_scale(coarse).exp()

    def _bank(self) -> Tensor:
        """The weights of the regressions, ``(9, 12 channels, 16 channels, 3, 3)``."""
        return self.weights.unflatten(2, (-1, 3, 3))

    def _centred(self, coarse: Tensor) -> Tensor:
        return coarse - self.mean.to(coarse).repeat(4)[:, None, None]


def _at_each(blocks: Tensor, bank: Tensor) -> Tensor:
    """A 3 × 3 convolution with other weights at each side and corner of the map.

    Args:
        blocks: ``(batch, inputs, rows, columns)``.
        bank: weights ``(9, outputs, inputs, 3, 3)``: first, inner and last rows and columns.
    """
    bank = bank.to(blocks)
    padded = F.pad(blocks, (1, 1, 1, 1))
    parts = [slice(0, 3), slice(1, -1), slice(-3, None)]  # what first, inner and last ones see
    with torch.autocast(blocks.device.type, enabled=False):
        rows = []
        for i, row in enumerate(parts):
            columns = [
                F.conv2d(padded[:, :, row, column], bank[_EDGES * i + j])
                for j, column in enumerate(parts)
            ]
            rows.append(torch.cat(columns, 3))
    return torch.cat(rows, 2)


def _edge_of(blocks: int) -> Tensor:
    """Which weights the blocks of a row have: 0 the first one, 1 inner ones, 2 the last one."""
    edges = torch.ones(blocks, dtype=torch.long)
    edges[0], edges[-1] = 0, _EDGES - 1
    return edges


def _existing(row: int, column: int) -> Tensor:
    """Which of the 3 × 3 blocks around one exist, if it is first, inner or last; bool."""
    along = torch.tensor([[False, True, True], [True, True, True], [True, True, False]])
    return along[row][:, None] & along[column]


def _moments(coarse: Tensor, bands: Tensor) -> Tensor:
    """⟨v vᵀ⟩ of the numbers v of 3 × 3 blocks, in the order of the weights.

    All positions in the maps count, and the 8 symmetries of the square.
    """
    cells = torch.cat([coarse, bands], 1)
    total = 0.0
    for part in cells.split(max(1, 2**17 // cells[0, 0].numel())):
        patches = F.unfold(part, 6).transpose(1, 2).flatten(0, 1)
        total = total + patches.T @ patches / len(patches) * len(part)
    second = _symmetric(total / len(cells), cells.shape[1])
    c = coarse.shape[1]
    numbers = torch.arange(len(second), dtype=torch.float64).reshape(1, 4 * c, 6, 6)
    order = torch.cat([folded(numbers[:, :c]), folded(numbers[:, c:])], 1).flatten().long()
    return second[order][:, order]


def _symmetric(second: Tensor, channels: int) -> Tensor:
    """The mean over the 8 symmetries of the square, which swap details and change their sign."""
    one = torch.eye(len(second)).to(second).reshape(-1, channels, 6, 6)
    pixels = unsqueeze(one)
    images = [squeeze(turned(pixels, k)).flatten(1) for k in range(8)]
    return sum(image @ second @ image.T for image in images) / 8
