"""The invertible map between κ and the numbers that networks like to see.

It is measured from the training maps, stored in the checkpoint, and carries its log-determinant, so that likelihoods
come out in κ units and samples come back as κ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .maps import wide


class KappaTransform(torch.nn.Module):
    """An invertible map κ → x that networks like better: a shifted logarithm, standardised.

    x = (y − μ) / σ with y = s ln(1 + (κ − a) / s). The shift s > 0 is chosen so that x has no skewness; s = ∞ is a plain
    standardisation. Below κ = a, the lowest value seen, the logarithm goes on as its tangent y = κ − a, so that every κ
    has a finite x and every x a finite κ.

    Args:
        low: a, in units of κ.
        shift: s, in units of κ.
        mean: μ, mean of y, in units of κ.
        std: σ, standard deviation of y, in units of κ.
    """

    def __init__(
        self, low: float = 0.0, shift: float = math.inf, mean: float = 0.0, std: float = 1.0
    ):
        super().__init__()
        for name, value in (("low", low), ("shift", shift), ("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(float(value), dtype=torch.float64))

    @classmethod
    def fit(cls, maps: Tensor, logarithm: bool = True) -> KappaTransform:
        """Measure the transform from maps of any shape; ``logarithm=False`` only standardises."""
        pixels = wide(maps).flatten()
        if not torch.isfinite(pixels).all() or pixels.std() == 0:
            raise ValueError("the κ transform needs finite maps that are not constant")
        low, shift = float(pixels.min()), math.inf
        if logarithm and _skewness(pixels - low) > 0:
            pixels_few = pixels[:: max(1, len(pixels) // 500_000)]
            lo, hi = -8.0, 8.0  # bisection over ln(s / std): a smaller shift gives less skewness
            for _ in range(40):
                mid = (lo + hi) / 2
                y = torch.log1p((pixels_few - low) / (pixels.std() * math.exp(mid)))
                lo, hi = (lo, mid) if _skewness(y) > 0 else (mid, hi)
            shift = float(pixels.std()) * math.exp(lo)
        bare = cls(low, shift)
        y = bare(pixels)
        return cls(low, shift, float(y.mean()), float(y.std()))

    def forward(self, kappa: Tensor) -> Tensor:
        """κ → x, same shape and dtype."""
        low, shift, mean, std = self._numbers()
        above = kappa - low
        if math.isfinite(shift):
            above = torch.where(above > 0, shift * torch.log1p(above.clamp(min=0) / shift), above)
        return (above - mean) / std

    def inverse(self, x: Tensor) -> Tensor:
        """x → κ, same shape and dtype."""
        low, shift, mean, std = self._numbers()
        above = x * std + mean
        if math.isfinite(shift):
            above = torch.where(above > 0, shift * torch.expm1(above.clamp(min=0) / shift), above)
        return above + low

    def log_det(self, kappa: Tensor) -> Tensor:
        """ln |dx/dκ| summed over the pixels of maps ``(..., n, n)``; float64, shape ``(...)``."""
        low, shift, _, std = self._numbers()
        slope = torch.full_like(wide(kappa), -math.log(std))
        if math.isfinite(shift):
            slope = slope - torch.log1p((wide(kappa) - low).clamp(min=0) / shift)
        return slope.sum((-2, -1))

    def _numbers(self) -> tuple[float, float, float, float]:
        return float(self.low), float(self.shift), float(self.mean), float(self.std)


def _skewness(x: Tensor) -> float:
    d = x - x.mean()
    return float((d**3).mean() / (d**2).mean() ** 1.5)
