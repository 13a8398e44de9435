"""Angular power spectra."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..maps import MapGrid
from .histogram import binned, each


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
    modes = binned(ell, edges, weight[None])[0]
    if (modes == 0).any():
        raise ValueError(
            f"the ℓ bin {int((modes == 0).nonzero()[0])} of {len(modes)} holds no Fourier mode: use wider bins"
        )
    rows = each(maps)
    power = torch.fft.rfft2(rows.float() if rows.dtype == torch.float16 else rows, norm="ortho").abs().square()
    index = torch.bucketize(ell[0], torch.as_tensor(edges, dtype=ell.dtype), right=True) - 1
    inside = (index >= 0) & (index < len(modes))
    average = torch.zeros(len(modes), len(index), dtype=torch.float64)
    average[index[inside], inside.nonzero()[:, 0]] = (weight / modes[index.clamp(0, len(modes) - 1)])[inside]
    spectrum = power.flatten(1).double() @ average.T.to(maps.device) * (grid.area / grid.n**2)
    return spectrum.reshape(*maps.shape[:-2], -1)
