"""The statistics of the fidelity report, with bins made from a reference set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, combinations_with_replacement

import numpy as np
import torch
from torch import Tensor

from ..maps import MapGrid
from ..maps.arrays import plain_tensor
from ..maps.grid import check_shape
from ._checks import each
from ._default_bins import MAKERS, Reference
from .spectrum import cross_spectra, ell_edges
from .statistic import Statistic


def suite(
    reference: Tensor, side_deg: float, names: Sequence[str] | None = None
) -> dict[str, Statistic]:
    """The statistics of the fidelity report, with bins made from a reference set (the true maps).

    Bins in κ reach as far as the reference set has enough pixels or peaks to measure a scatter:
    ten in a hundred maps. The vectors of one channel have about 200 numbers together, so that a
    thousand maps can support their correlation matrix.

    The bins of each channel are made from the reference maps of that channel. Each statistic is
    measured channel by channel; ``power`` has the auto-spectra of all channels and then the
    cross-spectra of all pairs. ``Statistic.parts`` says which bins are which.

    Args:
        reference: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        side_deg: side of the field, degrees.
        names: which statistics, in this order; all by default.

    Returns:
        Statistics by name: ``power``, ``bispectrum``, ``pdf``, ``moments``, ``peaks``, ``minima``,
        ``minkowski``, ``starlet peaks``, ``starlet l1``, ``scattering``. For 64² pixels, moments
        have four smoothing scales and starlets three; both have one more for each doubling of the
        side beyond.

    Raises:
        ValueError: an unknown name, or reference maps of another shape, not finite or all one
            constant.
    """
    names = _chosen(names)
    reference = plain_tensor("the reference set", reference)
    channels = reference.shape[1] if reference.ndim == 4 else 1
    check_shape("the reference set", reference.shape, channels=channels)
    if channels == 1:
        return _of_one_channel(reference, side_deg, names)
    # Each channel gets its own bins, because the scatter of κ grows with the redshift.
    singles = []
    for channel, maps in enumerate(reference.unbind(1), 1):
        try:
            singles.append(_of_one_channel(maps, side_deg, names))
        except ValueError as error:
            raise ValueError(f"in bin {channel} of the reference set: {error}") from error
    suites = {name: _joined([single[name] for single in singles]) for name in names}
    if "power" in names:
        grid = MapGrid(reference.shape[-1], side_deg)
        suites["power"] = _auto_and_cross(singles[0]["power"], grid, channels)
    return suites


def _chosen(names: Sequence[str] | None) -> list[str]:
    """The names of the statistics as a list, all of them known."""
    if names is None:
        return list(MAKERS)
    if isinstance(names, str):
        names = [names]
    for name in names:
        if name not in MAKERS:
            raise ValueError(f"there is no statistic {name!r}; choose from {', '.join(MAKERS)}")
    return list(names)


def _of_one_channel(maps: Tensor, side_deg: float, names: list[str]) -> dict[str, Statistic]:
    reference = Reference.of(each(maps), side_deg)
    made = {}
    for name in names:
        statistic = MAKERS[name](reference)
        made[name] = replace(statistic, n=reference.grid.n)
    return made


# ---------------------------------------------------------------- several channels


def _joined(singles: list[Statistic]) -> Statistic:
    """A statistic of each channel, one after the other."""
    parts, start = {}, 0
    for channel, single in enumerate(singles, 1):
        stop = start + len(single.x)
        parts[f"bin {channel}"] = slice(start, stop)
        start = stop
    return replace(
        singles[0],
        function=partial(_channel_by_channel, [single.function for single in singles]),
        x=np.concatenate([single.x for single in singles]),
        parts=parts,
        channels=len(singles),
        entries=sum((single.entries for single in singles), ()),
    )


def _channel_by_channel(functions: list, maps: Tensor) -> Tensor:
    """Vectors of maps ``(..., channels, n, n)``, each channel with its own bins."""
    vectors = [function(maps[..., c, :, :]) for c, function in enumerate(functions)]
    return torch.cat(vectors, -1)


def _auto_and_cross(single: Statistic, grid: MapGrid, channels: int) -> Statistic:
    """Power spectra of all channels and then of all pairs of channels."""
    names = [f"bin {c + 1}" for c in range(channels)]
    names += [f"bin {i + 1} × bin {j + 1}" for i, j in combinations(range(channels), 2)]
    bins = len(single.x)
    return replace(
        single,
        function=partial(_spectra, side_deg=grid.side_deg, edges=ell_edges(grid)),
        x=np.tile(single.x, len(names)),
        parts={name: slice(k * bins, (k + 1) * bins) for k, name in enumerate(names)},
        channels=channels,
    )


def _spectra(maps: Tensor, side_deg: float, edges: np.ndarray) -> Tensor:
    """The auto-spectra and then the cross-spectra of maps ``(..., channels, n, n)``."""
    spectra = cross_spectra(maps, side_deg, edges)
    pairs = list(combinations_with_replacement(range(maps.shape[-3]), 2))
    auto = [k for k, (i, j) in enumerate(pairs) if i == j]
    cross = [k for k, (i, j) in enumerate(pairs) if i < j]
    return spectra[..., auto + cross, :].flatten(-2)
