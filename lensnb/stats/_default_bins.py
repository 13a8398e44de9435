"""The bins of each statistic of the suite, made from reference maps of one channel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from ..maps import MapGrid
from .bispectra import bispectrum, equilateral, folded, shell_edges, squeezed
from .minkowski_functionals import minkowski
from .peaks import minima_counts, peak_counts, peak_heights
from .pixels import at_scales, moments, pdf
from .scattering_transform import reduced_scattering, scattering_order, scattering_scales
from .spectrum import ell_edges, power_spectrum
from .starlet_transform import starlet_edges, starlet_l1, starlet_peak_counts, starlet_scales
from .statistic import Statistic, short

# Pixels that suffice to find where peaks become rare.
_ENOUGH_PIXELS = 2**22

_STARLET_BINS = 6


@dataclass(frozen=True)
class Reference:
    """Reference maps and the range of κ that bins are made from.

    Attributes:
        maps: κ, shape ``(maps, n, n)``.
        few: enough of the maps to find the tails of peaks.
        grid: the maps' grid.
        mean, sigma: mean and standard deviation of κ.
        low, high: values of κ beyond which there are too few pixels.
    """

    maps: Tensor
    few: Tensor
    grid: MapGrid
    mean: float
    sigma: float
    low: float
    high: float

    @classmethod
    def of(cls, maps: Tensor, side_deg: float) -> Reference:
        if not maps.max() > maps.min():
            raise ValueError(
                "the reference maps are all one constant; there is nothing to make bins from"
            )
        # The share of pixels that occur ten times in a hundred maps.
        tail = max(10 * 1e-2 / maps[0].numel(), 1e-6)
        every = max(1, maps.numel() // 4_000_000)
        pixels = maps.flatten()[::every].cpu().numpy()
        low, high = np.quantile(pixels, [tail, 1 - tail])
        return cls(
            maps=maps,
            few=maps[:: max(1, maps.numel() // _ENOUGH_PIXELS)],
            grid=MapGrid(maps.shape[-1], side_deg),
            mean=float(maps.mean()),
            sigma=float(maps.std()),
            low=float(low),
            high=float(high),
        )


def _reach(heights: Tensor, maps: int) -> tuple[float, float]:
    """The range of heights outside which a hundred maps have ten peaks at either end.

    Args:
        heights: of all peaks of the maps.
        maps: number of the maps.
    """
    low = high = 0.0
    if len(heights):
        share = min(0.1 * maps / len(heights), 0.25)
        low, high = np.quantile(heights.cpu().numpy(), [share, 1 - share])
    if not low < high:
        raise ValueError("the reference maps have too few peaks or minima to make bins from")
    return float(low), float(high)


def _middle(edges: np.ndarray) -> np.ndarray:
    return (edges[..., 1:] + edges[..., :-1]) / 2


def _power(reference: Reference) -> Statistic:
    grid = reference.grid
    edges = ell_edges(grid)
    function = partial(power_spectrum, side_deg=grid.side_deg, edges=edges)
    x = np.sqrt(edges[1:] * edges[:-1])
    return Statistic("power", function, x, "multipole ℓ", "C_ℓ  [sr]", log_x=True, log_y=True)


def _bispectrum(reference: Reference) -> Statistic:
    grid = reference.grid
    edges = shell_edges(grid)
    ell = np.sqrt(edges[1:] * edges[:-1])
    kinds = {
        "equilateral": equilateral(edges),
        "folded": folded(edges),
        "squeezed": squeezed(edges),
    }
    triangles, entries = [], []
    for kind, some in kinds.items():
        triangles += some
        # The second of the three waves gives the triangle its ℓ, also where it is folded.
        entries += [f"{kind}, ℓ = {short(ell[second])}" for _, second, _ in some]
    function = partial(bispectrum, side_deg=grid.side_deg, edges=edges, triangles=triangles)
    x = np.arange(float(len(triangles)))
    label = f"triangle, by rising ℓ  ({' | '.join(kinds)})"
    return Statistic("bispectrum", function, x, label, "B  [sr²]", entries=tuple(entries))


def _pdf(reference: Reference) -> Statistic:
    edges = np.linspace(reference.low, reference.high, 21)
    return Statistic("pdf", partial(pdf, edges=edges), _middle(edges), "κ", "P(κ)", log_y=True)


def _moments(reference: Reference) -> Statistic:
    grid = reference.grid
    scales = [float(f"{pixels * grid.pixel_arcmin:.2g}") for pixels in _smoothing_pixels(grid.n)]
    kinds = ("variance", "skewness", "kurtosis")
    entries = [f"{kind}, smoothed by {scale:g}′" for scale in scales for kind in kinds]
    smoothed = " | ".join(f"{scale:g}′" for scale in scales)
    label = f"{', '.join(kinds)}  (smoothed by {smoothed})"
    function = at_scales(moments, grid.side_deg, scales)
    x = np.arange(float(len(entries)))
    return Statistic("moments", function, x, label, "moment", entries=tuple(entries))


def _smoothing_pixels(n: int) -> list[int]:
    """Smoothing scales of moments, in pixels: none, then doubled up to a sixteenth of the side."""
    scales = [0, 1, 2, 4]
    while 2 * scales[-1] <= n // 16:
        scales.append(2 * scales[-1])
    return scales


def _peaks(reference: Reference) -> Statistic:
    mean, sigma = reference.mean, reference.sigma
    low, high = _reach(peak_heights(reference.few), len(reference.few))
    edges = np.linspace(max(low, mean - sigma), min(high, mean + 6 * sigma), 15)
    function = partial(peak_counts, edges=edges)
    return Statistic("peaks", function, _middle(edges), "peak height κ", "peaks a map", log_y=True)


def _minima(reference: Reference) -> Statistic:
    low, high = _reach(-peak_heights(-reference.few), len(reference.few))
    edges = np.linspace(low, high, 13)
    function = partial(minima_counts, edges=edges)
    return Statistic("minima", function, _middle(edges), "minimum κ", "minima a map", log_y=True)


def _minkowski(reference: Reference) -> Statistic:
    mean, sigma = reference.mean, reference.sigma
    low = max(reference.low, mean - 2 * sigma)
    high = min(reference.high, mean + 4 * sigma)
    edges = np.linspace(low, high, 14)
    nu = _middle(edges)
    kinds = ("V₀", "V₁", "V₂")
    entries = [f"{kind} at κ = {short(value)}" for kind in kinds for value in nu]
    return Statistic(
        "minkowski",
        partial(minkowski, side_deg=reference.grid.side_deg, edges=edges),
        np.tile(nu, 3),
        f"threshold κ  ({' | '.join(kinds)})",
        "V₀, V₁ [1/arcmin], V₂ [1/arcmin²]",
        entries=tuple(entries),
    )


def _starlet_peaks(reference: Reference) -> Statistic:
    scales = starlet_scales(reference.grid)
    edges = starlet_edges(reference.maps, scales, _STARLET_BINS, peaks=True)
    return Statistic(
        "starlet peaks",
        partial(starlet_peak_counts, edges=edges, scales=scales),
        np.arange(float(_STARLET_BINS * scales)),
        f"bin of the height w, by rising w  ({_scale_list(scales)})",
        "starlet peaks a map",
        log_y=True,
        entries=_starlet_entries(edges, "height w"),
    )


def _starlet_l1(reference: Reference) -> Statistic:
    scales = starlet_scales(reference.grid)
    edges = starlet_edges(reference.maps, scales, _STARLET_BINS)
    return Statistic(
        "starlet l1",
        partial(starlet_l1, edges=edges, scales=scales),
        np.arange(float(_STARLET_BINS * scales)),
        f"bin of the coefficient w, by rising w  ({_scale_list(scales)})",
        "Σ |w|  [κ]",
        log_y=True,
        entries=_starlet_entries(edges, "w"),
    )


def _scale_list(scales: int) -> str:
    return f"scale {' | '.join(str(j) for j in range(scales))}"


def _starlet_entries(edges: np.ndarray, symbol: str) -> tuple[str, ...]:
    """Names of starlet bins, from their edges ``(scales, bins + 1)``."""
    entries = []
    for j, middle in enumerate(_middle(edges)):
        entries += [f"scale {j}, {symbol} = {short(value)}" for value in middle]
    return tuple(entries)


def _scattering(reference: Reference) -> Statistic:
    scales = min(6, scattering_scales(reference.grid))
    entries = []
    for order in scattering_order(scales):
        if len(order) == 1:
            entries.append(f"s₁({order[0]})")
        else:
            entries.append(f"s₂({order[0]}, {order[1]}) / s₁({order[0]})")
    return Statistic(
        "scattering",
        partial(reduced_scattering, scales=scales),
        np.arange(float(len(entries))),
        "s₁(j), then s₂(j₁, j₂) / s₁(j₁)",
        "scattering coefficient",
        entries=tuple(entries),
    )


MAKERS = {
    "power": _power,
    "bispectrum": _bispectrum,
    "pdf": _pdf,
    "moments": _moments,
    "peaks": _peaks,
    "minima": _minima,
    "minkowski": _minkowski,
    "starlet peaks": _starlet_peaks,
    "starlet l1": _starlet_l1,
    "scattering": _scattering,
}
