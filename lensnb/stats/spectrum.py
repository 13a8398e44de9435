"""Angular power spectra, of one map and across the source bins of several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor

from ..maps import MapGrid
from ..maps.arrays import plain_tensor
from ._checks import per_map, square

# Pixels in a batch. Batches are larger than elsewhere: each one reads the matrix of averages
# again, and a product of matrices with few rows is slow.
_BATCH_PIXELS = 2**21


def ell_edges(grid: MapGrid, bins: int = 12) -> np.ndarray:
    """Logarithmic edges in ℓ from the fundamental mode to the Nyquist frequency.

    Each bin holds at least one mode.

    Returns:
        Edges, shape ``(b + 1,)`` with b ≤ ``bins``; fewer where the mode spacing is too coarse.
    """
    # Slightly below the fundamental mode, so that rounding does not exclude it.
    fundamental = grid.ell_min * 0.999
    top = grid.ell_max
    edges = [fundamental]
    for edge in np.geomspace(fundamental, top, bins + 1)[1:]:
        if edge - edges[-1] >= 0.999 * grid.ell_min:
            edges.append(edge)
    edges[-1] = top
    return np.array(edges)


def pixel_window(grid: MapGrid) -> Tensor:
    """The factor W by which averaging over a square pixel multiplies each mode.

    W = sinc(ℓ_x p / 2π) sinc(ℓ_y p / 2π),  sinc x = sin(πx)/πx,

    with p the side of a pixel in radians. W falls from 1 at ℓ = 0 to 2/π = 0.64 at the Nyquist
    frequency along an axis.

    Returns:
        W of every mode of ``rfft2``, float64, shape ``(n, n // 2 + 1)``.
    """
    row = torch.fft.fftfreq(grid.n, dtype=torch.float64)  # ℓ p / 2π
    column = torch.fft.rfftfreq(grid.n, dtype=torch.float64)
    return torch.sinc(row)[:, None] * torch.sinc(column)


def power_spectrum(
    maps: Tensor,
    side_deg: float,
    edges,
    mask: Tensor | None = None,
    noise: float = 0.0,
    window: bool = False,
) -> Tensor:
    """Angular power spectrum, averaged over the Fourier modes in each bin.

    C_ℓ = ⟨(|κ̃(ℓ)|² A / N − noise) / W²(ℓ)⟩

    κ̃ is the unitary discrete transform, A the area of the field and N its number of pixels. With
    autograd. It is computed in the precision of the maps: in float32 the error is about 1e-6.

    A mask is corrected for by the observed share of the sky only. The mean of the observed pixels
    is subtracted, hidden pixels are zero, and the power is divided by f_sky = ⟨mask²⟩. This is the
    method of Hivon et al. 2002 for a spectrum that is flat over the width of the mask's own. The
    mask still couples modes: band powers are biased where the spectrum is steep, near the
    fundamental mode and near the scale of the mask's holes. Where that matters, undo the coupling
    with NaMaster (Alonso et al. 2019), or measure all sets of maps under one mask.

    Args:
        maps: κ, shape ``(..., n, n)``.
        side_deg: side of the field, degrees.
        edges: bin edges in ℓ, shape ``(bins + 1,)``, as from :func:`ell_edges`.
        mask: True where the sky was observed, shape ``(n, n)`` or one a map.
        noise: level of white noise to subtract, steradians, as from
            :func:`lensnb.shear.shape_noise_power`.
        window: divide by the square of the :func:`pixel_window`, mode by mode. For maps that are
            averages over pixels. Shape noise is white on the pixels and is subtracted before.

    Returns:
        C_ℓ in steradians, float64, shape ``(..., bins)``.

    Raises:
        ValueError: a bin holds no Fourier mode, the maps are not square, or a mask hides a whole
            map.
    """
    maps = plain_tensor("a statistic", maps)
    square(maps, side_deg)
    if mask is not None:
        mask = plain_tensor("a mask", mask)
        if mask.ndim > 1:
            mask = mask.unsqueeze(-3)
    spectra = cross_spectra(maps.unsqueeze(-3), side_deg, edges, mask, noise, window)
    return spectra.squeeze(-2)


def cross_spectra(
    maps: Tensor,
    side_deg: float,
    edges,
    mask: Tensor | None = None,
    noise: float | Sequence[float] = 0.0,
    window: bool = False,
) -> Tensor:
    """Auto- and cross-spectra of the channels of a map (source bins).

    C_ij = ⟨(Re κ̃_i κ̃_j* A / N − δ_ij noise_i) / W²⟩

    Options, limits and errors are those of :func:`power_spectrum`. Under masks,
    f_sky = ⟨mask_i mask_j⟩.

    Args:
        maps: κ, shape ``(..., channels, n, n)``.
        side_deg: side of the field, degrees.
        edges: bin edges in ℓ, shape ``(bins + 1,)``.
        mask: True where the sky was observed, broadcastable to the maps: ``(n, n)``, or
            ``(channels, n, n)``, …
        noise: level of white noise in each channel, or one level for all, steradians. It is
            subtracted from the auto-spectra.
        window: divide by the square of the :func:`pixel_window`.

    Returns:
        C_ℓ in steradians, float64, shape ``(..., pairs, bins)``. Pairs i ≤ j come in the order 00,
        01, 02, …, 11, 12, … of
        ``itertools.combinations_with_replacement(range(channels), 2)`` and
        ``numpy.triu_indices(channels)``.
    """
    maps = plain_tensor("a statistic", maps)
    if maps.ndim < 3:
        raise ValueError(
            "cross-spectra need maps of the shape (..., channels, n, n), "
            f"found {tuple(maps.shape)}"
        )
    grid = square(maps, side_deg)
    channels = maps.shape[-3]
    pairs = list(combinations_with_replacement(range(channels), 2))
    # In float64 on a GPU, where products of float32 may be rounded to TF32.
    dtype = torch.float32
    if maps.is_cuda or maps.dtype == torch.float64:
        dtype = torch.float64
    edges = tuple(torch.as_tensor(edges, dtype=torch.float64).tolist())
    average, of_white = _averages(grid, edges, window, dtype)
    average = average.to(maps.device)
    bias = _noise_bias(noise, of_white, pairs).to(maps.device)

    def spectra(part: Tensor, seen: Tensor | None) -> Tensor:
        if seen is not None:
            part, share = _masked(part, seen, pairs)
        modes = torch.fft.rfft2(part)
        power = []
        for product in _products(modes, pairs):
            power.append(_folded(product).to(dtype) @ average)
        power = torch.stack(power, 1).double()
        if seen is not None:
            power = power / share[..., None]
        return power

    power = per_map(spectra, maps, mask, channels, pixels=_BATCH_PIXELS, shows_nan=True)
    # rfft2 is not the unitary transform: its |κ̃|² is larger by n².
    return power * (grid.area / grid.n**4) - bias


def _noise_bias(noise: float | Sequence[float], of_white: Tensor, pairs: list) -> Tensor:
    """What white noise adds to the average of each pair and bin, shape ``(pairs, bins)``."""
    channels = pairs[-1][0] + 1
    level = torch.as_tensor(noise, dtype=torch.float64)
    if level.shape not in ((), (channels,)):
        raise ValueError(
            f"noise must be one level, or one for each of {channels} channels, "
            f"found {tuple(level.shape)}"
        )
    level = level.expand(channels)
    bias = torch.zeros(len(pairs), len(of_white), dtype=torch.float64)
    for pair, (i, j) in enumerate(pairs):
        if i == j:
            bias[pair] = level[i] * of_white
    return bias


def _products(modes: Tensor, pairs: list):
    """The products of each pair of channels, one after the other, ``(rows, n, 2 (n // 2 + 1))``.

    Re a b* = Re a Re b + Im a Im b. The real and the imaginary part lie side by side, and the
    average over the modes of a bin sums both.
    """
    wave = torch.view_as_real(modes).flatten(-2)
    if len(pairs) == 1:
        yield wave[:, 0].square_()
        return
    for i, j in pairs:
        yield wave[:, i] * wave[:, j]


def _folded(product: Tensor) -> Tensor:
    """Add the mode at (−ℓ_y, ℓ_x), which is in the same bin, to the mode at (ℓ_y, ℓ_x).

    This leaves half as many numbers to sum, shape ``(rows, ...)``.
    """
    n = product.shape[1]
    product[:, 1 : (n + 1) // 2] += product[:, n // 2 + 1 :].flip(1)
    return product[:, : n // 2 + 1].flatten(1)


def _masked(rows: Tensor, seen: Tensor, pairs: list) -> tuple[Tensor, Tensor]:
    """Masked maps without the mean of their observed pixels, and f_sky of each pair.

    Shapes ``(rows, channels, n, n)`` and ``(rows, pairs)``.
    """
    weight = seen.to(rows.dtype)
    share = []
    for i, j in pairs:
        both = weight[:, i] * weight[:, j]
        share.append(both.mean((-2, -1)))
    share = torch.stack(share, 1).double()
    if (share == 0).any():
        raise ValueError("the mask leaves nothing of a map, or nothing that two channels share")
    pixels = weight.sum((-2, -1), keepdim=True)
    mean = rows.sum((-2, -1), keepdim=True) / pixels
    return (rows - mean) * weight, share


@lru_cache(maxsize=8)
def _averages(
    grid: MapGrid, edges: tuple[float, ...], window: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The matrix that averages over the modes of each bin, and its averages of a white spectrum.

    With a window, each mode is divided by W². The modes are those that :func:`_folded` leaves,
    each twice, for the real and the imaginary part.

    Returns:
        The matrix, shape ``((n // 2 + 1) · 2 (n // 2 + 1), bins)``, and the averages ``(bins,)``,
        float64.
    """
    edges = torch.tensor(edges, dtype=torch.float64)
    ell = grid.ell.flatten()[:, None]
    inside = (ell >= edges[:-1]) & (ell < edges[1:])
    weight = inside * grid.multiplicity.flatten()[:, None]
    modes = weight.sum(0)
    if (modes == 0).any():
        empty = int((modes == 0).nonzero()[0])
        raise ValueError(
            f"the ℓ bin {empty} of {len(modes)} holds no Fourier mode: use wider bins"
        )
    average = weight / modes
    if window:
        average = average / pixel_window(grid).flatten()[:, None] ** 2
    by_row = average.unflatten(0, (grid.n, -1))
    matrix = by_row[: grid.n // 2 + 1].repeat_interleave(2, 1).flatten(0, 1)
    return matrix.to(dtype), average.sum(0)
