"""Draw many maps from a model into a set on disk, block by block; an interrupted run resumes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..given import Given
from ..maps.arrays import plain_whole
from ..store import MapWriter
from .contract import check_draw
from .drawing import blocks, check_finite, check_maps, drawing_settings

_BLOCK_PIXELS = 2**22  # of the maps that share a seed and are in memory at once: 64 of 256²


def draw_set(
    model: nn.Module,
    n: int,
    path: str | Path,
    side_deg: float,
    z_source: float | tuple[float, ...] = math.nan,
    *,
    seed: int = 0,
    given: Given | None = None,
    **how,
) -> Path:
    """Draw ``n`` κ-maps into a set ``.zarr``, float32; an interrupted call resumes.

    Each block has its own seed, so an interrupted run gives the same maps. Only one block is in
    memory, of 4 million pixels or one map. The provenance of the set says how the maps were made,
    so that maps of different models are never mixed. Each map counts as its own simulation.

    Args:
        model: any model of :mod:`lensnb.models`, or a field of :mod:`lensnb.maps`.
        n: number of maps.
        path: the set, a folder that ends in ``.zarr``.
        side_deg: side of the field, degrees.
        z_source: redshift of the sources, for several channels one each; NaN if it is not known.
        seed: source of randomness.
        given: conditions of a conditional model, one value for each map or one for all.
        how: arguments of the model's ``sample``, such as ``temperature`` or ``steps``.

    Returns:
        The path.

    Raises:
        ValueError: the path does not end in ``.zarr``, the conditions are not those of the model,
            the maps in the set were made in another way, or a drawn map is not finite.
        OSError: the set could not be written; maps that were written before are kept.
    """
    n = plain_whole("the number of maps to draw", n)
    seed = plain_whole("seed", seed)
    check_maps(model)
    given = check_draw(model, n, given)
    block = max(1, _BLOCK_PIXELS // (model.channels * model.n**2))
    settings = drawing_settings(model, n, seed, block, given, how)
    about = {"made_by": "lensnb.models.draw_set", "drawing": settings}
    path = Path(path)
    with MapWriter(path, side_deg, z_source, about) as writer:
        _check_begun(writer, about)
        done = len(writer)
        parts = blocks(model, n, seed, block, done // block, given, **how)
        if done < n:
            _append(writer, _without(parts, done % block), n)
    return path


def _append(writer: MapWriter, parts: Iterator[Tensor], n: int) -> None:
    """Write the maps that are missing."""
    with tqdm(total=n, initial=len(writer), desc=writer.path.name, unit="map") as bar:
        for maps in parts:
            first = len(writer)
            writer.append(check_finite(maps).numpy(), np.arange(first, first + len(maps)))
            bar.update(len(maps))


def _without(parts: Iterator[Tensor], skipped: int) -> Iterator[Tensor]:
    """The blocks, the first one without its first maps."""
    for part in parts:
        yield part[skipped:]
        skipped = 0


def _check_begun(writer: MapWriter, about: dict) -> None:
    """Refuse to continue maps that were drawn in another way."""
    found = writer.stored_provenance
    if found is not None and found != about:
        raise ValueError(
            f"{writer.path} holds maps that were drawn in another way, or not drawn by a model; "
            "expected the same model, number of maps, seed and settings, or a new folder"
        )
