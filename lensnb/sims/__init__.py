"""Simulated truth: N-body light cones and the convergence maps cut from them, on PM++.

One *box* is one N-body simulation: 2LPT initial conditions from its own seed, then particle-mesh
steps whose scale factors hit the centres of the lens planes. At each plane the whole periodic box,
or one slab of it, is projected along its three axes. A convergence map is the Born sum over those
planes. Each crossing of the box is seen along a random axis, with a random periodic shift and
flip. One box thus gives many pseudo-independent maps (Petri, Haiman & May 2016, arXiv:1601.06792).
They share structure: every map keeps the number of its box, and sets are split by box.

A box may also stand for a region of another mean density (:class:`SeparateUniverse`): the boxes of
``LightCone(delta_b=0.05)`` and ``LightCone(delta_b=-0.05)`` give the response to modes that are
longer than a box.

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
from .separate_universe import SeparateUniverse

__all__ = [
    "LightCone", "SeparateUniverse", "ShearSurvey", "cut_maps", "kappa_maps", "simulate_boxes",
    "simulation_pairs",
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
