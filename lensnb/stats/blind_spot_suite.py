"""The statistics of what the default suite cannot see, with names and bins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor

from ..maps import MapGrid
from ..maps.grid import check_shape
from .homogeneity import (
    QUADRANTS,
    edge_products,
    extremes,
    map_mean,
    ring_edges,
    variance_by_place,
)
from .isotropy import DIRECTIONS, power_by_direction, wide_bands
from .statistic import Statistic, short


def blind_spots(maps: Tensor, side_deg: float) -> dict[str, Statistic]:
    """The statistics of what :func:`lensnb.stats.suite` cannot see.

    Their bins follow from the shape of the maps alone, never from their values. Each statistic is
    measured channel by channel.

    Args:
        maps: any maps of the field, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
        side_deg: side of the field, degrees.

    Returns:
        Statistics by name: ``map mean``, ``extremes``, ``seam`` (for
        :func:`lensnb.stats.seam_correlation`), ``place`` and ``direction``.

    Raises:
        ValueError: maps of another shape, or of fewer than 3 pixels a side.
    """
    check_shape("the set of maps", maps.shape)
    channels = 1
    if len(maps.shape) == 4:
        channels = maps.shape[1]
    grid = MapGrid(maps.shape[-1], side_deg)
    if grid.n < 3:
        raise ValueError(f"maps need at least 3 pixels a side, found {grid.n}")
    singles = [_map_mean(), _extremes(), _seam(), _place(grid), _direction(grid)]
    return {single.name: _of_channels(single, grid.n, channels) for single in singles}


def _map_mean() -> Statistic:
    return Statistic(
        "map mean", map_mean, np.zeros(1), "map", "mean κ of a map", entries=("mean κ of a map",)
    )


def _extremes() -> Statistic:
    entries = ("largest pixel", "smallest pixel")
    return Statistic("extremes", extremes, np.arange(2.0), "pixel", "κ", entries=entries)


def _seam() -> Statistic:
    entries = ("product of opposite edges", "mean square of the edges")
    return Statistic("seam", edge_products, np.arange(2.0), "edges", "κ²", entries=entries)


def _place(grid: MapGrid) -> Statistic:
    edges = ring_edges(grid.n)
    entries = []
    for inner, outer in zip(edges, edges[1:], strict=False):
        entries.append(f"{inner} to {outer} pixels from the edge")
    entries += QUADRANTS
    return Statistic(
        "place",
        partial(variance_by_place, edges=edges),
        np.arange(float(len(entries))),
        "rings from the edge inwards, then quadrants",
        "variance / variance of the map",
        entries=tuple(entries),
    )


def _direction(grid: MapGrid) -> Statistic:
    edges = wide_bands(grid)
    entries = []
    for low, high in zip(edges, edges[1:], strict=False):
        band = f"ℓ = {short(low)} to {short(high)}"
        entries += [f"{band}, {angle}°" for angle in DIRECTIONS]
    return Statistic(
        "direction",
        partial(power_by_direction, side_deg=grid.side_deg, edges=edges),
        np.arange(float(len(entries))),
        "angle of the wave vector, band by band",
        "share of the band's power",
        entries=tuple(entries),
    )


def _of_channels(single: Statistic, n: int, channels: int) -> Statistic:
    """A statistic of each channel, one after the other, for maps of ``n`` pixels a side."""
    if channels == 1:
        return replace(single, n=n)
    bins = len(single.x)
    parts = {f"bin {c + 1}": slice(c * bins, (c + 1) * bins) for c in range(channels)}
    return replace(
        single,
        function=partial(_channel_by_channel, single.function),
        x=np.tile(single.x, channels),
        parts=parts,
        n=n,
        channels=channels,
        entries=single.entries * channels,
    )


def _channel_by_channel(function: Callable, maps: Tensor) -> Tensor:
    """Vectors of maps ``(..., channels, n, n)``, with the bins of one channel after the other."""
    return function(maps).flatten(-2)
