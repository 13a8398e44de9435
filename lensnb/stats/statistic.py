"""A statistic with its bins, labels and channels, as the suite makes it and plots draw it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ..maps.arrays import plain_tensor
from ..maps.grid import check_shape

# Pixels in a batch, for statistics that do not divide their maps by themselves.
_BATCH_PIXELS = 2**22


@dataclass(frozen=True)
class Statistic:
    """A statistic with its bins fixed, ready to be applied to any maps of the same field.

    The vectors of maps with several channels (source bins) hold one part after the other: the bins
    of each channel, and for a power spectrum the cross-spectra of each pair of channels as well.

    Attributes:
        name: short name, as in tables.
        function: maps ``(..., n, n)`` → vectors ``(..., bins)``, or with several channels
            ``(maps, channels, n, n)`` → ``(maps, bins)``. It must be picklable where other
            processes measure.
        x: positions of the bins, part after part, shape ``(bins,)``, in the units of ``x_label``.
        x_label: axis label with units.
        y_label: axis label with units.
        log_x: ``x`` is best drawn on a logarithmic axis.
        log_y: values are best drawn on a logarithmic axis.
        parts: the bins of each part, ``{name: slice}``, in their order. One channel has one part,
            ``{"": slice(0, bins)}``. Two channels have ``"bin 1"``, ``"bin 2"`` and, for spectra,
            ``"bin 1 × bin 2"``.
        n: pixels a side that the maps must have; None: any.
        channels: channels that the maps must have; 1: maps ``(maps, n, n)``.
        entries: names of the bins without their part, where ``x`` alone does not name them. They
            are dropped where they do not fit ``x``.

    Raises:
        ValueError: the parts do not cover the bins one after the other.
    """

    name: str
    function: Callable[[Tensor], Tensor] = field(repr=False)
    x: np.ndarray = field(repr=False)
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False
    parts: dict[str, slice] | None = field(default=None, repr=False)
    n: int | None = None
    channels: int = 1
    entries: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self):
        bins = len(self.x)
        # A single part is all of x, also after dataclasses.replace(statistic, x=...).
        if self.parts is None or list(self.parts) == [""]:
            object.__setattr__(self, "parts", {"": slice(0, bins)})
        if len(self.entries) != bins:
            object.__setattr__(self, "entries", ())
        starts = [part.start for part in self.parts.values()]
        ends = [part.stop for part in self.parts.values()]
        gaps = any(part.step not in (None, 1) for part in self.parts.values())
        if gaps or [*starts, bins] != [0, *ends]:
            raise ValueError(
                f"the parts of {self.name!r} must cover its {bins} bins one after the other, "
                f"found {self.parts}"
            )

    def __call__(self, maps: Tensor, batch: int | None = None) -> np.ndarray:
        """Vectors of maps, float64, shape ``(maps, bins)``.

        Args:
            maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``, on any device.
            batch: maps at a time; by default about 4 million pixels.

        Raises:
            ValueError: no maps, or another number of channels or pixels than the statistic was
                made for.
        """
        what = f"the input of {self.name!r}"
        if not hasattr(maps, "shape"):
            raise ValueError(f"{what} is a {type(maps).__name__}; expected a tensor of maps")
        check_shape(what, maps.shape, self.n, self.channels)
        maps = plain_tensor(what, maps)
        if batch is None:
            batch = max(1, _BATCH_PIXELS // maps.shape[1:].numel())
        vectors = []
        for some in maps.split(batch):
            found = self.function(some)
            vectors.append(found.detach().cpu().numpy())
        return np.concatenate(vectors).astype(np.float64, copy=False)

    def bin_names(self) -> list[str]:
        """One readable name a bin, such as ``"bin 1 × bin 2: multipole ℓ = 230"``.

        The name of the part comes first where there are several. Then comes the name in
        ``entries``, or otherwise ``x_label`` and ``x``.
        """
        entries = self.entries or [f"{self.x_label} = {short(x)}" for x in self.x]
        if list(self.parts) == [""]:
            return list(entries)
        names = []
        for part, bins in self.parts.items():
            names += [f"{part}: {entry}" for entry in entries[bins]]
        return names


def short(number: float) -> str:
    """A number with three digits, without an exponent where possible."""
    return f"{float(f'{number:.3g}'):g}"
