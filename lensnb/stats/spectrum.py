"""Angular power spectra, of one map and across the source bins of several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor

from ..maps import ARCMIN, MapGrid
from ._checks import per_map, square


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


def pixel_window(grid: MapGrid) -> Tensor:
    """What averaging over a square pixel does to each mode, W = sinc(ℓ_x p / 2π) sinc(ℓ_y p / 2π), sinc x = sin(πx)/πx.

    p is the side of a pixel in radians. From 1 at ℓ = 0 to 2/π = 0.64 at the Nyquist frequency along an axis.

    Returns:
        W of every mode of ``rfft2``, float64, shape ``(n, n // 2 + 1)``.
    """
    row = torch.fft.fftfreq(grid.n, dtype=torch.float64)  # ℓ p / 2π
    column = torch.fft.rfftfreq(grid.n, dtype=torch.float64)
    return torch.sinc(row)[:, None] * torch.sinc(column)


def shape_noise_power(n_gal_arcmin2: float, sigma_e: float = 0.4) -> float:
    """The white C_ℓ of shape noise, N = σ_e² / (2 n_gal), in steradians, as :func:`lensnb.maps.add_shape_noise` makes it.

    Args:
        n_gal_arcmin2: source galaxies per square arcminute.
        sigma_e: intrinsic ellipticity dispersion of both components together.
    """
    if n_gal_arcmin2 <= 0:
        raise ValueError(f"n_gal_arcmin2 must be positive, found {n_gal_arcmin2}")
    return sigma_e**2 / (2 * n_gal_arcmin2) * ARCMIN**2


def power_spectrum(
    maps: Tensor,
    side_deg: float,
    edges,
    mask: Tensor | None = None,
    noise: float = 0.0,
    window: bool = False,
) -> Tensor:
    """Angular power spectrum, C_ℓ = ⟨(|κ̃(ℓ)|² A / N − noise) / W²(ℓ)⟩ averaged over the modes in each bin.

    κ̃ is the unitary discrete transform, A the area of the field and N its number of pixels. With autograd. In the
    precision of the maps: in float32 it is right to about 1e-6.

    A mask is dealt with as well as the share of the sky allows, and no better: the mean of the observed pixels is
    subtracted, hidden pixels are zero, and the power is divided by f_sky = ⟨mask²⟩, which is what Hivon et al. 2002 comes
    to for a spectrum that is flat over the width of the mask's own. The mask still couples modes: band powers are
    biased where the spectrum is steep, near the fundamental mode and near the scale of the mask's holes. Where that
    matters, undo the coupling with NaMaster (Alonso et al. 2019), or measure all sets of maps under one mask.

    Args:
        maps: κ, shape ``(..., n, n)``.
        side_deg: side of the field, degrees.
        edges: bin edges in ℓ, shape ``(bins + 1,)``, as from :func:`ell_edges`.
        mask: True where the sky was observed, shape ``(n, n)`` or one a map.
        noise: level of white noise to subtract, steradians, as from :func:`shape_noise_power`.
        window: divide by the square of the :func:`pixel_window`, mode by mode. For maps that are averages over pixels;
            shape noise is white on the pixels and is subtracted before.

    Returns:
        C_ℓ in steradians, float64, shape ``(..., bins)``.

    Raises:
        ValueError: a bin holds no Fourier mode; the maps are not square; a mask leaves nothing.
    """
    maps, mask = torch.as_tensor(maps), None if mask is None else torch.as_tensor(mask)
    square(maps, side_deg)
    mask = mask.unsqueeze(-3) if mask is not None and mask.ndim > 1 else mask
    return cross_spectra(maps.unsqueeze(-3), side_deg, edges, mask, noise, window).squeeze(-2)


def cross_spectra(
    maps: Tensor, side_deg: float, edges, mask: Tensor | None = None, noise: float | Sequence[float] = 0.0,
    window: bool = False,
) -> Tensor:  # fmt: skip
    """Auto- and cross-spectra of the channels of a map (source bins), C_ij = ⟨(Re κ̃_i κ̃_j* A / N − δ_ij noise_i) / W²⟩.

    Options, limits and errors are those of :func:`power_spectrum`; under masks, f_sky = ⟨mask_i mask_j⟩.

    Args:
        maps: κ, shape ``(..., channels, n, n)``.
        side_deg: side of the field, degrees.
        edges: bin edges in ℓ, shape ``(bins + 1,)``.
        mask: True where the sky was observed, broadcastable to the maps: ``(n, n)``, or ``(channels, n, n)``, …
        noise: level of white noise in each channel, or the same in all, steradians; subtracted from the auto-spectra.
        window: divide by the square of the :func:`pixel_window`.

    Returns:
        C_ℓ in steradians, float64, shape ``(..., pairs, bins)``; pairs i ≤ j in the order 00, 01, 02, …, 11, 12, …, as
        from ``itertools.combinations_with_replacement(range(channels), 2)`` or ``numpy.triu_indices(channels)``.
    """
    maps = torch.as_tensor(maps)
    if maps.ndim < 3:
        raise ValueError(
            f"cross-spectra need maps of the shape (..., channels, n, n), found {tuple(maps.shape)}"
        )
    grid, channels = square(maps, side_deg), maps.shape[-3]
    pairs = list(combinations_with_replacement(range(channels), 2))
    # In float64 on a GPU, where float32 products may be rounded to TF32.
    dtype = torch.float64 if maps.is_cuda or maps.dtype == torch.float64 else torch.float32
    average, of_white = _averages(
        grid, tuple(torch.as_tensor(edges, dtype=torch.float64).tolist()), window, dtype
    )
    average = average.to(maps.device)
    bias = torch.as_tensor(noise, dtype=torch.float64)
    if bias.shape not in ((), (channels,)):
        raise ValueError(
            f"noise must be one level, or one for each of {channels} channels, found {tuple(bias.shape)}"
        )
    bias = bias.expand(channels)[:, None] * of_white
    bias = torch.stack([bias[i] if i == j else 0 * bias[i] for i, j in pairs])

    # Re a b* = Re a Re b + Im a Im b: real and imaginary parts lie side by side, and one product sums over both.
    def spectra(part: Tensor, seen: Tensor | None) -> Tensor:
        if seen is not None:
            part, share = _masked(part, seen, pairs)
        wave = torch.view_as_real(torch.fft.rfft2(part)).flatten(-2)
        products = (
            [wave[:, 0].square_()]
            if channels == 1
            else (wave[:, i] * wave[:, j] for i, j in pairs)
        )
        power = torch.stack(
            [_folded(product).to(dtype) @ average for product in products], 1
        ).double()
        return power if seen is None else power / share[..., None]

    # Larger batches than elsewhere: each one reads the matrix again, and a product of few rows is slow.
    power = per_map(spectra, maps, mask, channels, pixels=2**21, shows_nan=True)
    return power * (grid.area / grid.n**4) - bias.to(
        maps.device
    )  # of the unitary transform: over n² once more


def _folded(product: Tensor) -> Tensor:
    """Add what stands at (−ℓ_y, ℓ_x), which is in the same bin, to (ℓ_y, ℓ_x): half as much to sum, ``(rows, ...)``."""
    n = product.shape[1]
    product[:, 1 : (n + 1) // 2] += product[:, n // 2 + 1 :].flip(1)
    return product[:, : n // 2 + 1].flatten(1)


def _masked(rows: Tensor, seen: Tensor, pairs: list) -> tuple[Tensor, Tensor]:
    """Maps ``(rows, channels, n, n)`` less the mean of their observed pixels, and f_sky of each pair ``(rows, pairs)``."""
    weight = seen.to(rows.dtype)
    share = torch.stack(
        [(weight[:, i] * weight[:, j]).mean((-2, -1)) for i, j in pairs], 1
    ).double()
    if (share == 0).any():
        raise ValueError("the mask leaves nothing of a map, or nothing that two channels share")
    mean = rows.sum((-2, -1), keepdim=True) / weight.sum((-2, -1), keepdim=True)
    return (rows - mean) * weight, share


@lru_cache(maxsize=8)
def _averages(
    grid: MapGrid, edges: tuple[float, ...], window: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """What averages over the modes of each bin, divided by W² where asked for, and the average that it makes of ones.

    The modes are those that :func:`_folded` leaves, each twice, for the real and the imaginary part: the matrix has the
    shape ``((n // 2 + 1) · 2 (n // 2 + 1), bins)``, the averages ``(bins,)``, float64.
    """
    edges = torch.tensor(edges, dtype=torch.float64)
    inside = (grid.ell.flatten()[:, None] >= edges[:-1]) & (
        grid.ell.flatten()[:, None] < edges[1:]
    )
    weight = inside * grid.multiplicity.flatten()[:, None]
    modes = weight.sum(0)
    if (modes == 0).any():
        raise ValueError(
            f"the ℓ bin {int((modes == 0).nonzero()[0])} of {len(modes)} holds no Fourier mode: use wider bins"
        )
    average = weight / modes
    if window:
        average = average / pixel_window(grid).flatten()[:, None] ** 2
    rows = average.unflatten(0, (grid.n, -1))[: grid.n // 2 + 1].repeat_interleave(2, 1)
    return rows.flatten(0, 1).to(dtype), average.sum(0)
