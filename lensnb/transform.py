"""The invertible map between κ and the numbers that networks work with.

It is measured from the training maps and stored in the checkpoint. Its log-determinant is known,
so likelihoods are in units of κ, and samples are κ-maps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .maps.grid import check_tensor, wide


class KappaTransform(torch.nn.Module):
    """An invertible map κ → x for networks: a shifted logarithm, standardised.

        x = (y − μ) / σ    with    y = s ln(1 + (κ − a) / s)

    The shift s > 0 is chosen so that x has no skewness; s = ∞ is a plain standardisation. Below
    the lowest value of the training maps, κ = a, the logarithm continues as its tangent y = κ − a.
    So every κ has a finite x, and every x a finite κ. With several channels, each channel has its
    own four numbers.

    Args:
        low: a, in units of κ; one number, or one for each channel, as for the others.
        shift: s, in units of κ.
        mean: μ, mean of y, in units of κ.
        std: σ, standard deviation of y, in units of κ.
    """

    def __init__(self, low=0.0, shift=math.inf, mean=0.0, std=1.0):
        super().__init__()
        buffers = {"low": low, "shift": shift, "mean": mean, "std": std}
        for name, value in buffers.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).clone())

    @classmethod
    def blank(cls, channels: int = 1) -> KappaTransform:
        """The identity, for a checkpoint to fill."""
        if channels == 1:
            return cls()
        numbers = (0.0, math.inf, 0.0, 1.0)
        return cls(*(torch.full((channels,), number) for number in numbers))

    @classmethod
    def fit(cls, maps: Tensor, logarithm: bool = True) -> KappaTransform:
        """Measure the transform.

        Args:
            maps: κ, of any shape; maps ``(maps, channels, n, n)`` are measured channel by channel.
            logarithm: False for a plain standardisation.

        Raises:
            ValueError: no tensor, no maps, or maps that are constant or not finite.
        """
        check_tensor("the set for a κ transform", maps)
        if not maps.numel():
            raise ValueError(f"the κ transform needs maps, found the shape {tuple(maps.shape)}")
        if maps.ndim == 4:
            each = [_measured(channel, logarithm) for channel in maps.unbind(1)]
            return cls(*zip(*each))
        return cls(*_measured(maps, logarithm))

    @property
    def channels(self) -> int:
        """Number of channels."""
        if self.low.ndim == 0:
            return 1
        return len(self.low)

    def forward(self, kappa: Tensor) -> Tensor:
        """κ → x, same shape and dtype."""
        return self._by_channel(_to_x, kappa)

    def inverse(self, x: Tensor) -> Tensor:
        """x → κ, same shape and dtype."""
        return self._by_channel(_to_kappa, x)

    def log_det(self, kappa: Tensor) -> Tensor:
        """ln |dx/dκ|, summed over the pixels (and channels) of each map.

        Args:
            kappa: ``(..., n, n)``, for several channels ``(..., channels, n, n)``.

        Returns:
            float64, shape ``(...)``.
        """
        slope = self.log_slope(kappa).sum((-2, -1))
        if self.low.ndim == 0:
            return slope
        return slope.sum(-1)

    def log_slope(self, kappa: Tensor) -> Tensor:
        """ln dx/dκ at each pixel, float64, same shape."""
        return self._by_channel(_log_slope, wide(kappa))

    def _by_channel(self, function, maps: Tensor) -> Tensor:
        """``function(maps, low, shift, mean, std)``, with each channel's own numbers."""
        numbers = (self.low, self.shift, self.mean, self.std)
        if self.low.ndim == 0:
            return function(maps, *map(float, numbers))
        own = zip(*(number.tolist() for number in numbers))
        parts = [function(one, *four) for one, four in zip(maps.unbind(-3), own, strict=True)]
        return torch.stack(parts, -3)


def _to_x(kappa: Tensor, low: float, shift: float, mean: float, std: float) -> Tensor:
    above = kappa - low
    if math.isfinite(shift):
        logarithm = shift * torch.log1p(above.clamp(min=0) / shift)
        above = torch.where(above > 0, logarithm, above)
    return (above - mean) / std


def _to_kappa(x: Tensor, low: float, shift: float, mean: float, std: float) -> Tensor:
    above = x * std + mean
    if math.isfinite(shift):
        exponential = shift * torch.expm1(above.clamp(min=0) / shift)
        above = torch.where(above > 0, exponential, above)
    return above + low


def _log_slope(kappa: Tensor, low: float, shift: float, mean: float, std: float) -> Tensor:
    slope = torch.full_like(kappa, -math.log(std))
    if math.isfinite(shift):
        slope = slope - torch.log1p((kappa - low).clamp(min=0) / shift)
    return slope


def _measured(maps: Tensor, logarithm: bool) -> tuple[float, float, float, float]:
    """The numbers low, shift, mean and std of the transform of these pixels."""
    pixels = wide(maps).flatten()
    if not torch.isfinite(pixels).all() or pixels.std() == 0:
        raise ValueError("the κ transform needs finite maps that are not constant")
    low, shift = float(pixels.min()), math.inf
    if logarithm and _skewness(pixels - low) > 0:
        shift = _shift_without_skewness(pixels, low)
    y = _to_x(pixels, low, shift, 0.0, 1.0)
    return low, shift, float(y.mean()), float(y.std())


def _shift_without_skewness(pixels: Tensor, low: float) -> float:
    """The shift s that makes the skewness of y zero, measured on a subset of large sets."""
    few = pixels[:: max(1, len(pixels) // 500_000)]
    # bisection for ln(s / std), since a smaller shift gives less skewness
    smallest, largest = -8.0, 8.0
    for _ in range(40):
        middle = (smallest + largest) / 2
        y = torch.log1p((few - low) / (pixels.std() * math.exp(middle)))
        if _skewness(y) > 0:
            largest = middle
        else:
            smallest = middle
    return float(pixels.std()) * math.exp(smallest)


def _skewness(x: Tensor) -> float:
    d = x - x.mean()
    return float((d**3).mean() / (d**2).mean() ** 1.5)
