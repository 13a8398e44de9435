"""Simulated truth: N-body light cones and the convergence maps cut from them, on PM++.

One *box* is one N-body simulation: 2LPT initial conditions from its own seed, then particle-mesh
steps whose scale factors hit the centres of the lens planes. At each plane the whole periodic box
is projected along its three axes. A convergence map is the Born sum over those planes, each seen
along a random axis, with a random periodic shift and flip. One box thus gives many
pseudo-independent maps (Petri, Haiman & May 2016, arXiv:1601.06792). They share structure: every
map keeps the number of its box, and sets are split by box.

Units: lengths in comoving Mpc/h, angles in degrees; planes are projected density contrasts and κ,
both dimensionless. PM++ (package ``pmpp``) is the extra ``sims``; only running a box imports it.

Two modules make sets with conditions, for models that are given a map: :mod:`lensnb.sims.pairs`
(a cheap simulation) and :mod:`lensnb.sims.mass_mapping` (noisy, masked shear).
"""

from ..renamed import moved
from .born import kappa_maps
from .boxes import simulate_boxes
from .cone import LightCone
from .cutting import cut_maps
from .mass_mapping import ShearSurvey
from .pairs import simulation_pairs

__all__ = [
    "LightCone", "ShearSurvey", "cut_maps", "kappa_maps", "simulate_boxes", "simulation_pairs",
]  # fmt: skip

__getattr__ = moved(
    __name__,
    FIRST_BOX="lensnb.sims.sample",
    born_map="lensnb.sims.born",
    born_weights="lensnb.sims.born",
    make_sample="lensnb.sims.sample",
    particle_positions="lensnb.sims.nbody",
    pixel_weights="lensnb.sims.born",
    plane_file="lensnb.sims.boxes",
    project="lensnb.sims.nbody",
    simulate_box="lensnb.sims.nbody",
)
