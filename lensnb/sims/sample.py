"""The sample of maps that is shipped with lensnb, and the numbers of its boxes.

A set has blocks of box numbers. The boxes of its shipped maps are the first 32 of them. Only the
vectors of the others are shipped (:mod:`lensnb.compare.sample_vectors`). Of the *sealed* boxes
nothing is shipped: they confirm a release, and nothing is ever chosen on them.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from .. import __version__
from ..data import SAMPLE, MapSet, load_sample
from ..files import atomic_write, write_json
from ..theory import Cosmology
from .born import kappa_maps
from .boxes import simulate_boxes
from .cone import DEFAULT, LightCone, cone_from

MAPS_A_BOX = 32
SHIPPED_BOXES = 32  # boxes a set whose maps are shipped

_BLOCKS = {
    "train": [range(0, 64)],  # those from 32 on are reserved
    "truth": [range(64, 128), range(1000, 1192)],
    "null": [range(128, 192), range(2000, 2192)],
    "sealed": [range(3000, 3064)],
}
_WITH_MAPS = ("train", "truth", "null")
FIRST_BOX = {name: _BLOCKS[name][0].start for name in _WITH_MAPS}


def boxes_of(name: str, count: int | None = None) -> list[int]:
    """The numbers of the boxes of a set, those of the shipped maps first.

    Args:
        name: ``"train"`` (64 boxes), ``"truth"`` or ``"null"`` (256), ``"sealed"`` (64).
        count: how many, from the first on; all by default.

    Raises:
        ValueError: an unknown set, or more boxes than it has.
    """
    if name not in _BLOCKS:
        raise ValueError(f"boxes are kept for the sets {', '.join(_BLOCKS)}; found {name!r}")
    numbers = [box for block in _BLOCKS[name] for box in block]
    if count is None:
        return numbers
    if not 1 <= count <= len(numbers):
        raise ValueError(f"the set {name!r} has 1 to {len(numbers)} boxes; found {count}")
    return numbers[:count]


def sample_cone() -> LightCone:
    """The light cone that the shipped maps were cut from."""
    about = json.loads((SAMPLE / "sample.json").read_text())
    return cone_from(about["provenance"]["cone"])


def maps_of_box(box: int, folder: str | Path, cone: LightCone) -> MapSet:
    """All maps of one box, float16 as those that are shipped.

    For the boxes of the shipped maps they are the shipped maps themselves.

    Args:
        box: its number.
        folder: its planes; not needed for a box of the shipped maps.
        cone: geometry of the planes. Boxes of another cone than the sample's share only their
            numbers with the shipped ones.

    Raises:
        FileNotFoundError: the planes are missing.
    """
    if box in shipped_boxes(cone):
        for name in _WITH_MAPS:
            maps = load_sample(name)
            own = maps.simulation == box
            if own.any():
                return maps[own]
    maps = kappa_maps([box], folder, MAPS_A_BOX, cone)
    maps.maps = maps.maps.astype(np.float16)
    return maps


def shipped_boxes(cone: LightCone) -> set[int]:
    """The boxes of a cone whose maps are shipped: none unless it is the sample's cone."""
    if cone != sample_cone():
        return set()
    return {box for name in _WITH_MAPS for box in boxes_of(name, SHIPPED_BOXES)}


def make_sample(
    folder: str | Path,
    out: str | Path,
    boxes: int = 32,
    maps: int = 1024,
    cone: LightCone = DEFAULT,
    workers: int = 1,
) -> list[Path]:
    """Make the three sets of :func:`lensnb.data.load_sample`, float16, from disjoint boxes.

    An interrupted run resumes: finished boxes are kept.

    Args:
        folder: keeps the planes, see :func:`simulate_boxes`.
        out: where ``train.npy``, ``truth.npy``, ``null.npy`` and ``sample.json`` go.
        boxes: boxes a set, a divisor of ``maps`` and at most 64; see :func:`boxes_of`.
        maps: maps a set.
        cone: geometry of the planes.
        workers: boxes at a time.

    Returns:
        The files.

    Raises:
        ValueError: the boxes cannot have equal shares of the maps, or ``folder`` holds boxes made
            with other settings.
    """
    if not 2 <= boxes <= 64 or maps % boxes:
        raise ValueError(
            f"{maps} maps cannot come in equal shares from {boxes} boxes a set (2 to 64)"
        )
    numbers = {name: boxes_of(name, boxes) for name in _WITH_MAPS}
    simulate_boxes([box for block in numbers.values() for box in block], folder, cone, workers)
    out = Path(out)
    written = []
    for name, block in numbers.items():
        made = kappa_maps(block, folder, maps // boxes, cone)
        with atomic_write(out / f"{name}.npy") as file:
            np.save(file, made.maps.astype(np.float16))
        written.append(out / f"{name}.npy")
    command = f"lensnb sample PLANES {out.name} --boxes {boxes} --maps {maps} --seed {cone.seed}"
    if cone.cosmology != Cosmology():
        command += f" --sigma8 {cone.cosmology.sigma8}"
    about = {
        "side_deg": made.side_deg,
        "z_source": made.z_source,
        "boxes": {name: [block[0], block[-1] + 1] for name, block in numbers.items()},
        "provenance": made.provenance | {"command": command, "versions": _versions()},
    }
    written.append(write_json(out / "sample.json", about))
    return written


def _versions() -> dict[str, str]:
    """Versions of lensnb and of what the numbers depend on."""
    others = {name: version(name) for name in ("pmpp", "jax", "pyccl", "numpy")}
    return {"lensnb": __version__} | others
