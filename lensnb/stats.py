"""Summary statistics of convergence maps: one map in, one vector out, batched in torch.

Every function takes maps ``(..., n, n)`` and returns one vector a map, ``(..., bins)``; averages and covariances live in
:mod:`lensnb.ensemble`. Bin edges are always explicit; :func:`suite` makes good ones from a reference set of maps. κ is
dimensionless, ℓ is dimensionless, C_ℓ is in steradians, gradients are per arcminute. Maps are cut-outs of the sky, so
neighbourhood statistics use interior pixels only and never wrap round the edges; the spectrum is the plain periodogram.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .maps import MapGrid


def _binned(values: Tensor, edges, weights: Tensor | None = None) -> Tensor:
    """Weighted histogram of each row: values ``(rows, k)`` → ``(rows, bins)``, float64; outside values are dropped."""
    edges = torch.as_tensor(edges, dtype=values.dtype, device=values.device)
    bins = len(edges) - 1
    index = torch.bucketize(values, edges, right=True) - 1  # bin b holds edges[b] <= value < edges[b + 1]
    index = torch.where((index >= 0) & (index < bins), index, bins)
    index = index + (bins + 1) * torch.arange(len(values), device=values.device)[:, None]
    flat = None if weights is None else weights.double().flatten()
    counts = torch.bincount(index.flatten(), flat, minlength=len(values) * (bins + 1))
    return counts.reshape(len(values), bins + 1)[:, :bins].double()


def _rows(maps: Tensor) -> Tensor:
    return maps.reshape(-1, *maps.shape[-2:])


# ---------------------------------------------------------------- spectrum


def ell_edges(grid: MapGrid, bins: int = 12) -> np.ndarray:
    """Logarithmic edges in ℓ from the fundamental mode to the Nyquist frequency, each bin holding at least one mode.

    Returns:
        Edges, shape ``(b + 1,)`` with b ≤ ``bins``; where the mode spacing is too coarse for so many bins, fewer.
    """
    fundamental, top = grid.ell_min * 0.999, grid.ell_max
    edges = [fundamental]
    for edge in np.geomspace(fundamental, top, bins + 1)[1:]:
        if edge - edges[-1] >= 0.999 * grid.ell_min:
            edges.append(edge)
    edges[-1] = top
    return np.array(edges)


def power_spectrum(maps: Tensor, side_deg: float, edges) -> Tensor:
    """Angular power spectrum, C_ℓ = ⟨|κ̃(ℓ)|²⟩ A / N averaged over the modes in each bin.

    Args:
        maps: κ, shape ``(..., n, n)``.
        side_deg: side of the field, degrees.
        edges: bin edges in ℓ, shape ``(bins + 1,)``.

    Returns:
        C_ℓ in steradians, float64, shape ``(..., bins)``.

    Raises:
        ValueError: a bin holds no Fourier mode.
    """
    grid = MapGrid(maps.shape[-1], side_deg)
    weight, ell = grid.multiplicity.flatten(), grid.ell.flatten()[None]
    modes = _binned(ell, edges, weight[None])[0]
    if (modes == 0).any():
        raise ValueError(
            f"the ℓ bin {int((modes == 0).nonzero()[0])} of {len(modes)} holds no Fourier mode: use wider bins"
        )
    rows = _rows(maps)
    power = torch.fft.rfft2(rows.float() if rows.dtype == torch.float16 else rows, norm="ortho").abs().square()
    index = torch.bucketize(ell[0], torch.as_tensor(edges, dtype=ell.dtype), right=True) - 1
    inside = (index >= 0) & (index < len(modes))
    average = torch.zeros(len(modes), len(index), dtype=torch.float64)
    average[index[inside], inside.nonzero()[:, 0]] = (weight / modes[index.clamp(0, len(modes) - 1)])[inside]
    spectrum = power.flatten(1).double() @ average.T.to(maps.device) * (grid.area / grid.n**2)
    return spectrum.reshape(*maps.shape[:-2], -1)


# ---------------------------------------------------------------- pixels


def pdf(maps: Tensor, edges) -> Tensor:
    """Probability density of the pixels' κ in bins, shape ``(..., bins)``, in units of 1/κ.

    Normalised by all pixels of the map, so that it integrates to the fraction of pixels inside the edges.
    """
    width = torch.as_tensor(np.diff(edges), device=maps.device)
    rows = _rows(maps).flatten(1)
    return (_binned(rows, edges) / (rows.shape[1] * width)).reshape(*maps.shape[:-2], -1)


def moments(maps: Tensor) -> Tensor:
    """Variance, skewness μ₃ / σ³ and excess kurtosis μ₄ / σ⁴ − 3 of the pixels, shape ``(..., 3)``.

    Moments are central about each map's own mean; the variance is in units of κ².
    """
    x = maps.double().flatten(-2)
    x = x - x.mean(-1, keepdim=True)
    var = x.square().mean(-1)
    return torch.stack([var, (x**3).mean(-1) / var**1.5, (x**4).mean(-1) / var**2 - 3], -1)


# ---------------------------------------------------------------- peaks and minima


def _neighbour_maximum(maps: Tensor) -> Tensor:
    n, m = maps.shape[-2:]
    around = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    best = None
    for i, j in around:
        shifted = maps[..., i : n - 2 + i, j : m - 2 + j]
        best = shifted if best is None else torch.maximum(best, shifted)
    return best


def peak_counts(maps: Tensor, edges) -> Tensor:
    """Number of peaks in bins of their height: interior pixels higher than all 8 neighbours.

    Args:
        maps: κ, shape ``(..., n, n)``.
        edges: bin edges in κ, shape ``(bins + 1,)``.

    Returns:
        Counts a map, float64, shape ``(..., bins)``.
    """
    rows = _rows(maps)
    inner = rows[:, 1:-1, 1:-1]
    is_peak = inner > _neighbour_maximum(rows)
    return _binned(inner.flatten(1), edges, is_peak.flatten(1)).reshape(*maps.shape[:-2], -1)


def minima_counts(maps: Tensor, edges) -> Tensor:
    """Number of minima in bins of their κ: interior pixels lower than all 8 neighbours; see :func:`peak_counts`."""
    rows = _rows(maps)
    inner = rows[:, 1:-1, 1:-1]
    is_minimum = inner < -_neighbour_maximum(-rows)
    return _binned(inner.flatten(1), edges, is_minimum.flatten(1)).reshape(*maps.shape[:-2], -1)


# ---------------------------------------------------------------- Minkowski functionals


def minkowski(maps: Tensor, side_deg: float, edges) -> Tensor:
    """The three Minkowski functionals of the excursion sets {κ ≥ ν} (Schmalzing & Górski 1998; Petri et al. 2013).

    V₀ = (1/A) ∫ Θ(κ − ν),  V₁ = (1/4A) ∫ δ(κ − ν) |∇κ|,
    V₂ = (1/2πA) ∫ δ(κ − ν) (2 κ_x κ_y κ_xy − κ_x² κ_yy − κ_y² κ_xx) / |∇κ|²

    with central finite differences on interior pixels; δ is a top-hat as wide as the bin, so that V₁ and V₂ are averages
    over bins of ν. V₀ is taken at the bins' centres.

    Args:
        maps: κ, shape ``(..., n, n)``.
        side_deg: side of the field, degrees.
        edges: edges of the bins of ν, in κ, shape ``(bins + 1,)``.

    Returns:
        V₀ (an area fraction), V₁ (1/arcmin) and V₂ (1/arcmin²) one after the other, float64, shape ``(..., 3 bins)``.
    """
    step = MapGrid(maps.shape[-1], side_deg).pixel_arcmin
    edges = np.asarray(edges, float)
    width = torch.as_tensor(np.diff(edges), device=maps.device)
    centre = torch.as_tensor((edges[1:] + edges[:-1]) / 2, device=maps.device)
    rows = _rows(maps).double()
    slope, curve = _gradients(rows, step)
    level = rows[:, 1:-1, 1:-1].flatten(1)
    pixels = level.shape[1]
    ordered = level.sort(-1).values
    v0 = 1 - torch.searchsorted(ordered, centre.expand(len(ordered), -1).contiguous()).double() / pixels
    v1 = _binned(level, edges, slope.flatten(1)) / (4 * pixels * width)
    v2 = _binned(level, edges, curve.flatten(1)) / (2 * math.pi * pixels * width)
    return torch.cat([v0, v1, v2], -1).reshape(*maps.shape[:-2], -1)


def _gradients(rows: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """|∇κ| and the curvature term of V₂ on interior pixels, shape ``(rows, n − 2, n − 2)``."""
    c = rows[:, 1:-1, 1:-1]
    up, down, left, right = rows[:, :-2, 1:-1], rows[:, 2:, 1:-1], rows[:, 1:-1, :-2], rows[:, 1:-1, 2:]
    ky, kx = (down - up) / (2 * step), (right - left) / (2 * step)
    kyy, kxx = (down - 2 * c + up) / step**2, (right - 2 * c + left) / step**2
    kxy = (rows[:, 2:, 2:] - rows[:, 2:, :-2] - rows[:, :-2, 2:] + rows[:, :-2, :-2]) / (4 * step**2)
    square = kx**2 + ky**2
    curve = (2 * kx * ky * kxy - kx**2 * kyy - ky**2 * kxx) / square.clamp(min=1e-300)
    return square.sqrt(), curve


def gaussian_minkowski(nu, sigma0: float, sigma1: float) -> np.ndarray:
    """The Minkowski functionals that a Gaussian field of zero mean would have (Tomita 1986; Schmalzing & Górski 1998).

    V₀ = ½ erfc(ν / √2 σ₀),  V₁ = (1 / 8√2) (σ₁/σ₀) e^(−ν²/2σ₀²),  V₂ = (1 / 2(2π)^(3/2)) (σ₁/σ₀)² (ν/σ₀) e^(−ν²/2σ₀²)

    Args:
        nu: thresholds in κ, shape ``(bins,)``.
        sigma0: standard deviation of κ.
        sigma1: standard deviation of |∇κ| (both components together), 1/arcmin.

    Returns:
        V₀, V₁, V₂ one after the other, shape ``(3 bins,)``.
    """
    from scipy.special import erfc

    u = np.asarray(nu, float) / sigma0
    bell, ratio = np.exp(-(u**2) / 2), sigma1 / sigma0
    v0 = erfc(u / math.sqrt(2)) / 2
    return np.concatenate([v0, ratio * bell / (8 * math.sqrt(2)), ratio**2 * u * bell / (2 * (2 * math.pi) ** 1.5)])


# ---------------------------------------------------------------- the suite


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
