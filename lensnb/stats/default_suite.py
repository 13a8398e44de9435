"""The statistics of the fidelity report, with bins made from a reference set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..maps import MapGrid
from ._checks import each, square
from .bispectra import bispectrum, equilateral, folded, shell_edges, squeezed
from .minkowski_functionals import minkowski
from .peaks import minima_counts, peak_counts, peak_heights
from .pixels import at_scales, moments, pdf
from .scattering_transform import reduced_scattering, scattering_order, scattering_scales
from .spectrum import ell_edges, power_spectrum
from .starlet_transform import starlet_edges, starlet_l1, starlet_peak_counts, starlet_scales

PIXELS = 2**22  # in a batch of a statistic that does not divide its maps by itself


@dataclass(frozen=True)
class Statistic:
    """A statistic with its bins fixed, ready to be applied to any maps of the same field.

    Attributes:
        name: short name, as in tables.
        function: maps ``(..., n, n)`` → vectors ``(..., bins)``; one that can be pickled, to be measured by other processes.
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

    def __call__(self, maps: Tensor, batch: int | None = None) -> np.ndarray:
        """Vectors of maps ``(maps, n, n)``, float64, shape ``(maps, bins)``.

        Args:
            maps: κ, on any device.
            batch: maps at a time; by default about 4 million pixels.
        """
        maps = torch.as_tensor(maps)
        batch = max(1, PIXELS // maps.shape[-2:].numel()) if batch is None else batch
        parts = [self.function(part).detach().cpu().numpy() for part in maps.split(batch)]
        return np.concatenate(parts).astype(np.float64, copy=False)


def suite(
    reference: Tensor, side_deg: float, names: Sequence[str] | None = None
) -> dict[str, Statistic]:
    """The statistics of the fidelity report, with bins made from a reference set (the true maps).

    Bins in κ reach as far as the reference set has enough pixels or peaks for a scatter to be measured (ten in a hundred
    maps). All vectors together have about 200 numbers, so that a thousand maps can support their correlation matrix.

    Args:
        reference: κ, shape ``(maps, n, n)``.
        side_deg: side of the field, degrees.
        names: which statistics, in this order; all by default.

    Returns:
        Statistics by name: ``power``, ``bispectrum``, ``pdf``, ``moments`` (at four smoothing scales), ``peaks``,
        ``minima``, ``minkowski``, ``starlet peaks``, ``starlet l1``, ``scattering``.

    Raises:
        ValueError: an unknown name, or reference maps that are not square, not finite or all one constant.
    """
    reference = each(reference)
    grid, bins = square(reference, side_deg), _Levels.of(reference)
    few = reference[:: max(1, reference.numel() // PIXELS)]  # enough to find the tails
    makers = {
        "power": lambda: _power(grid),
        "bispectrum": lambda: _bispectrum(grid),
        "pdf": lambda: _pdf(bins),
        "moments": lambda: _moments(grid),
        "peaks": lambda: _peaks(few, bins),
        "minima": lambda: _minima(few),
        "minkowski": lambda: _minkowski(bins, side_deg),
        "starlet peaks": lambda: _starlet_peaks(reference, grid),
        "starlet l1": lambda: _starlet_l1(reference, grid),
        "scattering": lambda: _scattering(grid),
    }
    names = list(makers) if names is None else [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in makers:
            raise ValueError(f"there is no statistic {name!r}; choose from {', '.join(makers)}")
    return {name: makers[name]() for name in names}


@dataclass(frozen=True)
class _Levels:
    """The values of κ that bins are made from: mean, standard deviation and where the tails become too thin."""

    mean: float
    sigma: float
    low: float
    high: float

    @classmethod
    def of(cls, reference: Tensor) -> _Levels:
        if not reference.max() > reference.min():
            raise ValueError(
                "the reference maps are all one constant; there is nothing to make bins from"
            )
        tail = max(
            10 * 1e-2 / reference[0].numel(), 1e-6
        )  # a share of pixels seen ten times in a hundred maps
        pixels = reference.flatten()[:: max(1, reference.numel() // 4_000_000)].cpu().numpy()
        low, high = np.quantile(pixels, [tail, 1 - tail])
        return cls(float(reference.mean()), float(reference.std()), float(low), float(high))


def _reach(heights: Tensor, maps: int) -> tuple[float, float]:
    """The heights of peaks, in so many maps, beyond which there are ten in a hundred maps at either end."""
    share = min(0.1 * maps / max(len(heights), 1), 0.25)
    low, high = (
        np.quantile(heights.cpu().numpy(), [share, 1 - share]) if len(heights) else (0.0, 0.0)
    )
    if not low < high:
        raise ValueError("the reference maps have too few peaks or minima to make bins from")
    return float(low), float(high)


def _middle(edges: np.ndarray) -> np.ndarray:
    return (edges[1:] + edges[:-1]) / 2


def _power(grid: MapGrid) -> Statistic:
    edges = ell_edges(grid)
    function = partial(power_spectrum, side_deg=grid.side_deg, edges=edges)
    x = np.sqrt(edges[1:] * edges[:-1])
    return Statistic("power", function, x, "multipole ℓ", "C_ℓ  [sr]", log_x=True, log_y=True)


def _bispectrum(grid: MapGrid) -> Statistic:
    edges = shell_edges(grid)
    triangles = equilateral(edges) + folded(edges) + squeezed(edges)
    function = partial(bispectrum, side_deg=grid.side_deg, edges=edges, triangles=triangles)
    label = "triangle, by rising ℓ  (equilateral | folded | squeezed)"
    return Statistic("bispectrum", function, np.arange(float(len(triangles))), label, "B  [sr²]")


def _pdf(levels: _Levels) -> Statistic:
    edges = np.linspace(levels.low, levels.high, 21)
    return Statistic("pdf", partial(pdf, edges=edges), _middle(edges), "κ", "P(κ)", log_y=True)


def _moments(grid: MapGrid) -> Statistic:
    scales = [float(f"{pixels * grid.pixel_arcmin:.2g}") for pixels in (0, 1, 2, 4)]
    label = f"variance, skewness, kurtosis  (smoothed by {' | '.join(f'{s:g}′' for s in scales)})"
    x = np.arange(3.0 * len(scales))
    return Statistic("moments", at_scales(moments, grid.side_deg, scales), x, label, "moment")


def _peaks(reference: Tensor, levels: _Levels) -> Statistic:
    low, high = _reach(peak_heights(reference), len(reference))
    edges = np.linspace(
        max(low, levels.mean - levels.sigma), min(high, levels.mean + 6 * levels.sigma), 15
    )
    function = partial(peak_counts, edges=edges)
    return Statistic("peaks", function, _middle(edges), "peak height κ", "peaks a map", log_y=True)


def _minima(reference: Tensor) -> Statistic:
    edges = np.linspace(*_reach(-peak_heights(-reference), len(reference)), 13)
    function = partial(minima_counts, edges=edges)
    return Statistic("minima", function, _middle(edges), "minimum κ", "minima a map", log_y=True)


def _minkowski(levels: _Levels, side_deg: float) -> Statistic:
    low = max(levels.low, levels.mean - 2 * levels.sigma)
    edges = np.linspace(low, min(levels.high, levels.mean + 4 * levels.sigma), 14)
    function = partial(minkowski, side_deg=side_deg, edges=edges)
    x, labels = (
        np.tile(_middle(edges), 3),
        ("threshold κ  (V₀ | V₁ | V₂)", "V₀, V₁ [1/arcmin], V₂ [1/arcmin²]"),
    )
    return Statistic("minkowski", function, x, *labels)


def _starlet_peaks(reference: Tensor, grid: MapGrid) -> Statistic:
    scales = min(4, starlet_scales(grid))
    edges = starlet_edges(reference, scales, 6, peaks=True)
    function = partial(starlet_peak_counts, edges=edges, scales=scales)
    label = f"bin of the height w, by rising w  (scale {' | '.join(map(str, range(scales)))})"
    return Statistic(
        "starlet peaks",
        function,
        np.arange(6.0 * scales),
        label,
        "starlet peaks a map",
        log_y=True,
    )


def _starlet_l1(reference: Tensor, grid: MapGrid) -> Statistic:
    scales = min(4, starlet_scales(grid))
    edges = starlet_edges(reference, scales, 6)
    function = partial(starlet_l1, edges=edges, scales=scales)
    label = f"bin of the coefficient w, by rising w  (scale {' | '.join(map(str, range(scales)))})"
    return Statistic(
        "starlet l1", function, np.arange(6.0 * scales), label, "Σ |w|  [κ]", log_y=True
    )


def _scattering(grid: MapGrid) -> Statistic:
    scales = min(6, scattering_scales(grid))
    function = partial(reduced_scattering, scales=scales)
    x = np.arange(float(len(scattering_order(scales))))
    return Statistic(
        "scattering", function, x, "s₁(j), then s₂(j₁, j₂) / s₁(j₁)", "scattering coefficient"
    )
