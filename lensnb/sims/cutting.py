"""Cut many maps from the planes of boxes into a set on disk, for trainings that need many.

The maps come in rounds: some of each box, then some more of each box. So any first part of the set
holds maps of all boxes, and a training that reads the set in large pieces meets all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..store import MapWriter
from .born import check_field, maps_through
from .boxes import cone_of

A_ROUND = 256  # maps of a box


def cut_maps(
    boxes: Sequence[int],
    folder: str | Path,
    path: str | Path,
    maps_per_box: int,
    z_source: float = 1.0,
    n_pix: int = 64,
    side_deg: float = 5.0,
) -> None:
    """Write maps of several boxes into a set on disk; a set that is not complete is continued.

    A map is the same as that of :func:`lensnb.sims.kappa_maps` with its box and number, rounded
    to float16 as the maps that are shipped.

    Args:
        boxes: numbers of boxes whose planes ``folder`` holds.
        folder: what :func:`lensnb.sims.simulate_boxes` wrote.
        path: the set, a folder that ends in ``.zarr``.
        maps_per_box: maps of each box, the same number as before if the set is continued.
        z_source: source redshift.
        n_pix: map pixels a side.
        side_deg: side of the map, degrees.

    Raises:
        FileNotFoundError: a box is missing, or the record of the light cone.
        ValueError: the field is wider than the box, a source lies behind the cone, there are no
            maps to make, or ``path`` is no such set or has other maps.
    """
    if maps_per_box < 1:
        raise ValueError(f"a box needs at least 1 map, found {maps_per_box}")
    cone = cone_of(folder)
    check_field(cone, side_deg)
    provenance = {
        "made_by": "lensnb.sims",
        "cone": cone.as_dict(),
        "boxes": [int(box) for box in boxes],
        "maps_per_box": maps_per_box,
    }
    order = _order(boxes, maps_per_box)
    with MapWriter(path, side_deg, z_source, provenance) as writer:
        _check_begun(writer, order)
        total = len(boxes) * maps_per_box
        with tqdm(total=total, initial=len(writer), desc="Born maps", unit="map") as bar:
            for box, numbers in _missing(order, len(writer)):
                kappa = maps_through(box, numbers, folder, cone, [z_source], n_pix, side_deg)
                writer.append(kappa[0].astype(np.float16), box)
                bar.update(len(numbers))


Order = list[tuple[int, range]]


def _order(boxes: Sequence[int], maps_per_box: int) -> Order:
    """Boxes and the numbers of their maps, in the order in which they are written."""
    pieces = []
    for start in range(0, maps_per_box, A_ROUND):
        numbers = range(start, min(start + A_ROUND, maps_per_box))
        pieces += [(int(box), numbers) for box in boxes]
    return pieces


def _missing(order: Order, done: int) -> Order:
    """What remains after the first ``done`` maps."""
    left = []
    for box, numbers in order:
        skipped = min(done, len(numbers))
        done -= skipped
        if skipped < len(numbers):
            left.append((box, numbers[skipped:]))
    return left


def _check_begun(writer: MapWriter, order: Order) -> None:
    """Refuse a set that was begun with other boxes or another number of maps a box."""
    found = writer.simulation
    expected = np.concatenate([np.full(len(numbers), box) for box, numbers in order])
    if len(found) > len(expected) or (found != expected[: len(found)]).any():
        raise ValueError(
            f"{writer.path} holds maps of other boxes, or another number of maps a box; "
            "expected a new folder, or the command that began this one"
        )
