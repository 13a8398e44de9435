"""The statistics of the fidelity report, with bins made from a reference set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ..maps import MapGrid
from .minkowski import minkowski
from .peaks import minima_counts, peak_counts
from .pixels import moments, pdf
from .spectrum import ell_edges, power_spectrum


@dataclass(frozen=True)
class Statistic:
    """A statistic with its bins fixed, ready to be applied to any maps of the same field.

    Attributes:
        name: short name, as in tables.
        function: maps ``(..., n, n)`` → vectors ``(..., bins)``.
        x: where the bins lie, shape ``(bins,)``, in the units of ``x_label``.
        x_label: axis label with units.
        y_label: axis label with units.
        log_x: ``x`` is best drawn on a logarithmic axis.
        log_y: values are best drawn on a logarithmic axis.
    """

    name: str
    function: Callable[[Tensor], Tensor] = field(repr=False)
    x: np.ndarray = field(repr=False)
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False

    def __call__(self, maps: Tensor, batch: int = 256) -> np.ndarray:
        """Vectors of maps ``(maps, n, n)``, float64, shape ``(maps, bins)``, in batches."""
        return np.concatenate([self.function(part).cpu().numpy() for part in maps.split(batch)])


def suite(reference: Tensor, side_deg: float) -> dict[str, Statistic]:
    """The statistics of the fidelity report, with bins made from a reference set (the true maps).

    Bins in κ reach as far as the reference set has enough pixels or peaks for a scatter to be measured (ten in a hundred
    maps).

    Args:
        reference: κ, shape ``(maps, n, n)``.
        side_deg: side of the field, degrees.

    Returns:
        Statistics by name: ``power``, ``pdf``, ``moments``, ``peaks``, ``minima``, ``minkowski``.
    """
    grid = MapGrid(reference.shape[-1], side_deg)
    sigma, mean = float(reference.std()), float(reference.mean())
    ell = ell_edges(grid)
    tail = max(10 * 1e-2 / grid.n**2, 1e-6)  # a share of pixels seen ten times in a hundred maps
    lo, hi = _quantile(reference, tail), _quantile(reference, 1 - tail)
    pixel = np.linspace(lo, hi, 21)
    heights = np.linspace(mean - sigma, min(hi, mean + 6 * sigma), 15)
    depths = np.linspace(lo, mean + sigma, 13)
    levels = np.linspace(max(lo, mean - 2 * sigma), min(hi, mean + 4 * sigma), 14)
    middle = lambda edges: (edges[1:] + edges[:-1]) / 2  # noqa: E731
    statistics = [
        Statistic("power", lambda m: power_spectrum(m, side_deg, ell), np.sqrt(ell[1:] * ell[:-1]),
                  "multipole ℓ", "C_ℓ  [sr]", log_x=True, log_y=True),
        Statistic("pdf", lambda m: pdf(m, pixel), middle(pixel), "κ", "P(κ)", log_y=True),
        Statistic("moments", moments, np.arange(3.0), "variance, skewness, kurtosis", "moment"),
        Statistic("peaks", lambda m: peak_counts(m, heights), middle(heights), "peak height κ", "peaks a map", log_y=True),
        Statistic("minima", lambda m: minima_counts(m, depths), middle(depths), "minimum κ", "minima a map", log_y=True),
        Statistic("minkowski", lambda m: minkowski(m, side_deg, levels), np.tile(middle(levels), 3),
                  "threshold κ  (V₀ | V₁ | V₂)", "V₀, V₁ [1/arcmin], V₂ [1/arcmin²]"),
    ]  # fmt: skip
    return {s.name: s for s in statistics}


def _quantile(maps: Tensor, q: float) -> float:
    """A quantile of all pixels; torch.quantile refuses more than 16 million values."""
    return float(np.quantile(maps.flatten()[:: max(1, maps.numel() // 4_000_000)].cpu().numpy(), q))
