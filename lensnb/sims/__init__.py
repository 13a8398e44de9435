"""Simulated truth: N-body light cones and the convergence maps cut from them, on PM++.

One *box* is one N-body simulation: 2LPT initial conditions from its own seed, then particle-mesh
steps whose scale factors hit the centres of the lens planes. At each plane the whole periodic box
is projected along its three axes. A convergence map is the Born sum over those planes, each seen
along a random axis, with a random periodic shift and flip. One box thus gives many
pseudo-independent maps (Petri, Haiman & May 2016, arXiv:1601.06792). They share structure: every
map keeps the number of its box, and sets are split by box.

Units: lengths in comoving Mpc/h, angles in degrees; planes are projected density contrasts and κ,
both dimensionless. PM++ (package ``pmpp``) is the extra ``sims``; only running a box imports it.
"""

from .born import born_map, born_weights, kappa_maps, pixel_weights
from .boxes import plane_file, simulate_boxes
from .cone import LightCone
from .nbody import particle_positions, project, simulate_box
from .sample import FIRST_BOX, make_sample

__all__ = [
    "FIRST_BOX", "LightCone", "born_map", "born_weights", "kappa_maps", "make_sample",
    "particle_positions", "pixel_weights", "plane_file", "project", "simulate_box",
    "simulate_boxes",
]  # fmt: skip
