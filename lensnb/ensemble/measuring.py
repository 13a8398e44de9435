"""Measure statistics of any number of maps: in memory, on disk or drawn batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..data import MapSet
from ..maps.grid import check_shape
from ..renamed import renamed
from ..stats import Statistic
from ..store.reading import ahead, maps_a_piece
from .held import Ensemble


@renamed(labels="simulation")
def measure(
    statistics: Mapping[str, Statistic],
    maps: MapSet | Tensor | Iterable[Tensor],
    simulation=None,
    executor: Executor | None = None,
) -> dict[str, Ensemble]:
    """The vectors of every statistic, map by map in small batches.

    The maps are never held in memory all at once.

    Args:
        statistics: by name, from :func:`lensnb.stats.suite`.
        maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``: a
            :class:`~lensnb.data.MapSet`, whose maps on disk are read piece by piece, a tensor or
            an array. Also anything that yields batches of such maps, for example the samples of a
            generator. All batches must have the same pixels and channels. Tensors keep their
            precision; everything else is measured in float32.
        simulation: simulation of each map, shape ``(maps,)``. The default is that of the MapSet;
            without a MapSet every map is a simulation of its own.
        executor: measures several pieces at a time, for instance a ``ProcessPoolExecutor`` of the
            standard library or ``dask.distributed.Client.get_executor()``. None measures them
            here, one by one. Processes should be spawned, not forked, because torch has threads,
            and use one thread each:
            ``ProcessPoolExecutor(8, get_context("spawn"), torch.set_num_threads, (1,))``.

    Returns:
        The vectors of all maps, by statistic.

    Raises:
        ValueError: maps or a batch of another shape, or not one simulation a map.
    """
    if simulation is None and isinstance(maps, MapSet):
        simulation = maps.simulation
    found: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for vectors, _ in measured(statistics, maps, simulation, executor):
        for name in statistics:
            found[name].append(vectors[name])
    return {name: Ensemble(np.concatenate(parts), simulation) for name, parts in found.items()}


@renamed(labels="simulation")
def measured(
    statistics: Mapping[str, Statistic],
    maps: MapSet | Tensor | Iterable[Tensor],
    simulation=None,
    executor: Executor | None = None,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
    """The vectors of :func:`measure`, batch by batch, for sets whose vectors do not fit in memory.

        ensemble = StreamingEnsemble()
        for vectors, simulation in measured(statistics, maps):
            ensemble.update(vectors["power"], simulation)

    Args:
        statistics, maps, simulation, executor: as for :func:`measure`.

    Yields:
        The vectors of some maps, by statistic, each ``(maps, bins)``, and the simulation of these
        maps, ``(maps,)``; None where there are no simulations. In the order of the maps.

    Raises:
        ValueError: maps or a batch of another shape, or, after the last batch, not one simulation
            a map.
    """
    if simulation is None and isinstance(maps, MapSet):
        simulation = maps.simulation
    batches = _batches(maps, read_ahead=executor is None)
    function = partial(_vectors, dict(statistics))
    if executor is None:
        results = map(function, batches)
    else:
        # Only so many pieces wait for the executor: a generator may yield more maps than fit.
        results = ahead(executor, function, batches, 2 * (os.cpu_count() or 1))
    start = 0
    for vectors in results:
        stop = start + len(next(iter(vectors.values()), ()))
        of_these = None
        if simulation is not None:
            of_these = np.asarray(simulation)[start:stop]
        yield vectors, of_these
        start = stop
    if statistics and simulation is not None and len(simulation) != start:
        raise ValueError(
            f"{start} maps need one simulation number each, found {len(simulation)} numbers"
        )


def _batches(maps, read_ahead: bool) -> Iterator:
    """Maps batch by batch, each of which has the shape of maps; those on disk are not read yet.

    Args:
        maps: as for :func:`measure`.
        read_ahead: read pieces of a set from disk while those before them are measured.
    """
    if isinstance(maps, Tensor):
        check_shape("the tensor of maps", maps.shape)
        return iter([maps])
    if isinstance(maps, MapSet):
        maps = maps.maps
    if hasattr(maps, "shape"):
        check_shape("the array of maps", maps.shape)
        pieces = _pieces(maps)
        if read_ahead:
            return _read(pieces)
        return pieces
    return _checked(maps)


def _pieces(maps) -> Iterator:
    """An array of maps in pieces that fit into memory."""
    channels = _channels(maps.shape)
    step = maps_a_piece(maps.shape[-1], channels)
    for start in range(0, len(maps), step):
        yield maps[start : start + step]


def _checked(batches: Iterable) -> Iterator:
    """Batches of maps, refused where one is not maps or has another shape than the first."""
    n = channels = None
    for number, batch in enumerate(batches):
        what = f"batch {number} of the maps"
        if not hasattr(batch, "shape"):
            raise ValueError(f"{what} is a {type(batch).__name__}; expected a tensor of maps")
        check_shape(what, batch.shape, n, channels)
        n = batch.shape[-1]
        channels = _channels(batch.shape)
        yield batch


def _channels(shape) -> int:
    """The number of channels of maps ``(maps, n, n)`` or ``(maps, channels, n, n)``."""
    if len(shape) == 4:
        return shape[1]
    return 1


def _read(pieces: Iterator) -> Iterator[Tensor]:
    """Pieces of a set, read while those before them are measured."""
    with ThreadPoolExecutor(1) as reader:
        yield from ahead(reader, _tensor, pieces, 1)


def _tensor(maps) -> Tensor:
    if isinstance(maps, Tensor):
        return maps
    return torch.from_numpy(np.array(maps, np.float32))


def _vectors(statistics: dict[str, Statistic], maps) -> dict[str, np.ndarray]:
    """Read some maps, if they are not in memory, and measure them."""
    maps = _tensor(maps)
    return {name: statistic(maps) for name, statistic in statistics.items()}
