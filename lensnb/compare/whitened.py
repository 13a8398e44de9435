"""Maps as whitened Fourier modes of large scales, in which all modes have the same weight.

Maps ``(maps, channels, n, n)`` become modes ``(maps, channels, side, side/2 + 1)``: those below
the Nyquist frequency of a ``side`` × ``side`` grid, without the mean of the map. A mode is then
divided by its root mean square over the training maps, and each map is scaled to unit norm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..maps.grid import check_shape

# Numbers in one transform: larger temporary arrays cost page faults, and so time.
CHUNK = 2**20


def alike(maps: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets as ``(maps, channels, n, n)``.

    Raises:
        ValueError: the shapes do not fit, a map is constant or has NaN or infinity, or there are
            no maps.
    """
    maps, train = _with_channels("maps", maps), _with_channels("train", train)
    if maps.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"maps have {_described(maps)}, train has {_described(train)}; they must be the same"
        )
    return maps, train


def _with_channels(name: str, maps: Tensor) -> Tensor:
    """Maps ``(maps, channels, n, n)``, after a check; one channel gets an axis of its own here."""
    check_shape(f"the argument {name!r}", maps.shape)
    if not len(maps):
        raise ValueError(f"the argument {name!r} is empty; at least one map is needed")
    finite = torch.isfinite(maps).flatten(1).all(1)
    bad = int((~finite).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(maps)} maps of {name!r} have NaN or infinity; leave them out first"
        )
    pixels = maps.flatten(-2)
    constant = pixels.amax(-1) == pixels.amin(-1)
    if maps.ndim == 4:
        constant = constant.all(1)
    if constant.any():
        raise ValueError(
            f"{int(constant.sum())} of {len(maps)} maps of {name!r} are constant and have no "
            "nearest map; leave them out first"
        )
    if maps.ndim == 3:
        maps = maps[:, None]
    return maps


def _described(maps: Tensor) -> str:
    channels, n = maps.shape[1], maps.shape[-1]
    pixels = f"({n}, {n}) pixels"
    if channels == 1:
        return pixels
    return f"{channels} channels of {pixels}"


def modes_of(maps: Tensor, side: int) -> Tensor:
    """Fourier modes below the Nyquist frequency of a ``side`` × ``side`` grid, without the mean.

    Args:
        maps: κ, shape ``(maps, channels, n, n)``, n at least ``side``.
        side: an even number.

    Returns:
        Complex modes, shape ``(maps, channels, side, side/2 + 1)``.
    """
    channels, n = maps.shape[1], maps.shape[-1]
    batch = max(1, CHUNK // (channels * n**2))
    half = side // 2
    kept = maps.new_zeros(len(maps), channels, side, half + 1, dtype=torch.complex64)
    for part, into in zip(maps.split(batch), kept.split(batch)):
        full = torch.fft.rfft2(part.float())
        # The Nyquist row and column stand for two waves each, and so they cannot be shifted.
        into[..., :half, :half] = full[..., :half, :half]
        into[..., half + 1 :, :half] = full[..., n - half + 1 :, :half]
    kept[..., 0, 0] = 0
    return kept


def padded(modes: Tensor, n: int) -> Tensor:
    """The ``rfft2`` modes of an n × n grid that hold ``modes`` and are zero beyond."""
    half = modes.shape[-2] // 2
    full = modes.new_zeros(*modes.shape[:-2], n, n // 2 + 1)
    full[..., :half, : half + 1] = modes[..., :half, :]
    full[..., n - half :, : half + 1] = modes[..., half:, :]
    return full


def unit(modes: Tensor) -> Tensor:
    """Fields ``(fields, channels, side, side/2 + 1)`` scaled to unit norm, over all channels.

    Each mode beyond column 0 stands for two modes of the full transform.
    """
    every = modes.abs().square()
    first_column = modes[..., 0].abs().square()
    square = 2 * every.sum((-2, -1)) - first_column.sum(-1)
    norm = square.sum(1).sqrt()
    return modes / norm.clamp(min=1e-30)[:, None, None, None]


def whitening_of(modes: Tensor) -> Tensor:
    """One over the root mean square of each mode, shape ``(channels, side, side/2 + 1)``.

    Zero where the maps have next to no power: those modes are rounding.
    """
    power = modes.abs().square().mean(0)
    floor = 1e-9 * power.amax((-2, -1), keepdim=True)
    return torch.where(power > floor, power.rsqrt(), 0)
