"""The flat-sky grid, and the checks of arrays of maps.

The conventions here hold for the whole package. κ is dimensionless. A map is an array ``(..., row,
column)``. A set of maps is ``(maps, n, n)``, or ``(maps, channels, n, n)`` where the channels are
bins of source redshift. The field is a square with a side of ``side_deg`` degrees. It is treated
as periodic wherever a Fourier transform is taken. With N = n² pixels on a field of A steradians,
the discrete transform κ̃ = F κ is unitary (``norm="ortho"``), and the angular power spectrum is

    C_ℓ = ⟨|κ̃(ℓ)|²⟩ A / N,   in steradians,   with ℓ = 2π (i, j) / side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .arrays import plain_number

ARCMIN = math.pi / 180 / 60


def wide(x: Tensor) -> Tensor:
    """``x`` in float64, for transforms and sums. Apple's MPS has no float64, so float32 there."""
    if x.device.type == "mps":
        return x.float()
    return x.double()


def check_side(side_deg: float | None) -> float:
    """Refuse a side of the field, in degrees, that is missing or not positive.

    Returns:
        The side as a number of Python; an angle of astropy in degrees.

    Raises:
        ValueError: the side is None, NaN, zero, negative or no number.
    """
    side = math.nan
    if side_deg is not None:
        side = plain_number("side_deg", side_deg, "deg")
    if not side > 0:
        raise ValueError(
            f"side_deg must be the side of the field in degrees, above 0, found {side_deg}"
        )
    return side


def checked_redshifts(z_source, channels: int) -> float | tuple[float, ...]:
    """The redshift of the sources of each channel.

    Args:
        z_source: a number, or one for each channel. A single NaN, for unknown redshifts, stands
            for all channels.
        channels: number of channels.

    Returns:
        A number for one channel, else a tuple of them.

    Raises:
        ValueError: the number of redshifts is not that of the channels.
    """
    several = z_source
    if np.ndim(z_source) == 0:
        several = [z_source]
    several = [plain_number("z_source", z) for z in several]
    if len(several) == 1 and math.isnan(several[0]):
        several = several * channels
    if len(several) != channels:
        raise ValueError(
            f"maps of {channels} channels need as many source redshifts, found {len(several)}"
        )
    if channels == 1:
        return several[0]
    return tuple(several)


def check_shape(
    name: str, shape: Sequence[int], n: int | None = None, channels: int | None = None
) -> None:
    """Refuse arrays that are not maps, or not the expected maps; all parts use this check.

    Args:
        name: what the array is, which begins the error message.
        shape: its shape, which must be ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        n: expected pixels a side; None for any.
        channels: expected number of channels, where 1 means maps without an axis of channels; None
            for any.

    Raises:
        ValueError: another shape; the message has the shape that was found and the expected one.
    """
    shape = tuple(shape)
    found = 0  # channels; none if these are no maps
    if len(shape) == 3:
        found = 1
    elif len(shape) == 4 and shape[1] > 1:  # one channel has no axis of its own
        found = shape[1]
    if found and shape[-1] == shape[-2] >= 1:
        if n in (None, shape[-1]) and channels in (None, found):
            return
    side = "n, n"
    if n is not None:
        side = f"{n}, {n}"
    expected = f"(maps, {side})"
    if channels is None:
        expected += f" or (maps, channels, {side})"
    elif channels > 1:
        expected = f"(maps, {channels}, {side})"
    raise ValueError(f"{name} has the shape {shape}; expected {expected}")


def check_tensor(name: str, maps) -> None:
    """Refuse anything but a tensor, such as an array or a set of maps.

    Args:
        name: what it is, which begins the error message.
        maps: what was given.

    Raises:
        ValueError: it is no tensor; the message says how to make one.
    """
    if isinstance(maps, Tensor):
        return
    advice = "torch.as_tensor(maps)"
    if hasattr(maps, "tensor"):
        advice = "maps.tensor()"
    raise ValueError(f"{name} is a {type(maps).__name__}; expected a tensor, {advice}")


def check_fittable(name: str, maps: Tensor) -> None:
    """Refuse maps from which no field can be measured.

    Args:
        name: what they are, which begins the error message.
        maps: shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.

    Raises:
        ValueError: no tensor, another shape, no maps, NaN or infinity, or a channel in which all
            maps are flat.
    """
    check_tensor(name, maps)
    check_shape(name, maps.shape)
    if not len(maps):
        raise ValueError(f"{name} has no maps; expected at least one")
    if not torch.isfinite(maps).all():
        raise ValueError(f"{name} has NaN or infinity; leave those maps out first")
    flat = maps.amax((-2, -1)) == maps.amin((-2, -1))
    if flat.all(0).any():
        raise ValueError(f"{name} has flat maps only, each of one value; expected maps that vary")


def turned(maps: Tensor, k: int) -> Tensor:
    """Maps ``(..., n, n)`` after symmetry ``k`` of the square, 0…7.

    These are ``k`` mod 4 quarter turns, followed by a transposition if ``k`` is 4 or more.
    """
    maps = maps.rot90(k % 4, (-2, -1))
    if k >= 4:
        maps = maps.mT
    return maps


def turned_back(maps: Tensor, k: int) -> Tensor:
    """The inverse of :func:`turned`."""
    if k >= 4:
        maps = maps.mT
    return maps.rot90(-(k % 4), (-2, -1))


@dataclass(frozen=True)
class MapGrid:
    """A square flat-sky grid of ``n`` × ``n`` pixels over ``side_deg`` degrees.

    Attributes:
        n: pixels a side.
        side_deg: side of the field, degrees.
    """

    n: int
    side_deg: float

    def __post_init__(self):
        object.__setattr__(self, "side_deg", check_side(self.side_deg))
        if self.n < 2:
            raise ValueError(f"a grid needs at least 2 pixels a side, found {self.n}")

    @property
    def pixel_arcmin(self) -> float:
        """Side of a pixel, arcminutes."""
        return self.side_deg * 60 / self.n

    @property
    def area(self) -> float:
        """Area of the field, steradians."""
        return math.radians(self.side_deg) ** 2

    @property
    def ell_min(self) -> float:
        """Fundamental mode, ℓ = 2π / side."""
        return 2 * math.pi / math.radians(self.side_deg)

    @property
    def ell_max(self) -> float:
        """Nyquist frequency of the pixels along an axis, ℓ = π / pixel."""
        return self.ell_min * self.n / 2

    @cached_property
    def ell(self) -> Tensor:
        """|ℓ| of every mode of ``rfft2``, float64, shape ``(n, n // 2 + 1)``."""
        row = torch.fft.fftfreq(self.n, 1 / self.n, dtype=torch.float64)
        column = torch.fft.rfftfreq(self.n, 1 / self.n, dtype=torch.float64)
        return self.ell_min * torch.hypot(row[:, None], column[None, :])

    @cached_property
    def multiplicity(self) -> Tensor:
        """How many modes of the full transform a mode of ``rfft2`` stands for: 1 or 2.

        float64, shape ``(n, n // 2 + 1)``.
        """
        weight = torch.full((self.n, self.n // 2 + 1), 2.0, dtype=torch.float64)
        weight[:, 0] = 1
        if self.n % 2 == 0:
            weight[:, -1] = 1
        return weight
