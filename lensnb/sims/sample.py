"""The sample of maps that is shipped with lensnb."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

from .. import __version__
from ..files import atomic_write, write_json
from ..theory import Cosmology
from .born import kappa_maps
from .boxes import simulate_boxes
from .cone import DEFAULT, LightCone

FIRST_BOX = {"train": 0, "truth": 64, "null": 128}


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
        boxes: boxes a set, a divisor of ``maps`` and at most 64; the numbers of a set start at
            ``FIRST_BOX``.
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
    numbers = {name: range(first, first + boxes) for name, first in FIRST_BOX.items()}
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
        "boxes": {name: [block.start, block.stop] for name, block in numbers.items()},
        "provenance": made.provenance | {"command": command, "versions": _versions()},
    }
    written.append(write_json(out / "sample.json", about))
    return written


def _versions() -> dict[str, str]:
    """Versions of lensnb and of what the numbers depend on."""
    others = {name: version(name) for name in ("pmpp", "jax", "pyccl", "numpy")}
    return {"lensnb": __version__} | others
