"""Pairs of simulations: the same initial conditions, run in full and run cheaply.

Both have the same white noise, the same lens planes and the same lines of sight. So the cheap map
is the full one with errors of the time steps and of the force. A model that is given the cheap map
(:class:`lensnb.maps.ConditionalField`) makes from it what the full simulation may have given, and
pairs are also what control variates need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..data import MapSet
from .born import kappa_maps
from .boxes import simulate_boxes
from .cone import DEFAULT, LightCone

FULL, CHEAP = "full", "cheap"


def cheap_cone(
    cone: LightCone = DEFAULT, max_step: float = 1.0, mesh_factor: int = 1
) -> LightCone:
    """The same boxes with few time steps and a coarse force mesh.

    Each lens plane needs a step that ends there. With the default, there are no other steps: 11
    instead of 17 for the default cone. The force mesh has an eighth of the cells.

    Args:
        cone: the full simulation.
        max_step: longest step in scale factor.
        mesh_factor: cells of the force mesh for each particle spacing, along a side.
    """
    return replace(cone, max_step=max_step, mesh_factor=mesh_factor)


def simulation_pairs(
    boxes: Sequence[int],
    folder: str | Path,
    maps_per_box: int,
    cones: tuple[LightCone, LightCone] | None = None,
    z_source: float = 1.0,
    n_pix: int = 64,
    side_deg: float = 5.0,
) -> MapSet:
    """Convergence maps of full simulations, each with that of the cheap one as a condition.

    Boxes that ``folder`` lacks are run, see :func:`simulate_boxes`.

    Args:
        boxes: numbers of the boxes.
        folder: keeps the planes, in its folders ``full`` and ``cheap``.
        maps_per_box: pseudo-independent maps a box.
        cones: geometry and resolution of the full and of the cheap simulations; by default those
            of the sample, and ``cheap_cone``.
        z_source: source redshift.
        n_pix: map pixels a side.
        side_deg: side of the map, degrees.

    Returns:
        The full maps, with ``given["cheap"]``.

    Raises:
        ValueError: the two cones differ in more than time steps and force mesh.
        ImportError: PM++ is not installed.
    """
    cone, cheap = cones or (DEFAULT, cheap_cone())
    if replace(cheap, max_step=cone.max_step, mesh_factor=cone.mesh_factor) != cone:
        raise ValueError(
            "the cheap simulations have another cosmology, geometry, number of particles, start "
            "or seed than the full ones; expected another max_step and mesh_factor only"
        )
    found = {}
    for name, one in ((FULL, cone), (CHEAP, cheap)):
        planes = Path(folder) / name
        simulate_boxes(boxes, planes, one)
        found[name] = kappa_maps(boxes, planes, maps_per_box, one, z_source, n_pix, side_deg)
    full = found[FULL]
    full.provenance["cheap_cone"] = cheap.as_dict()
    return full.with_given(cheap=found[CHEAP].maps)
