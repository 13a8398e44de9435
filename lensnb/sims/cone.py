"""The geometry and resolution of a simulated light cone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from .. import theory
from ..maps.arrays import plain_whole
from ..theory import Cosmology

BOXES = 1_000_003  # of one suite
# JAX takes 32 bits of a number as its random key, so that larger numbers repeat earlier boxes.
SEEDS = 2**32 // BOXES


@dataclass(frozen=True)
class LightCone:
    """The geometry and resolution of one simulated light cone.

    Attributes:
        cosmology: flat ΛCDM parameters; σ₈ is that at a = 1.
        box_size: side of the periodic box, Mpc/h; also the thickness of a lens plane.
        n_planes: number of lens planes; the cone reaches ``n_planes * box_size``.
        n_particles: particles a side.
        mesh_factor: cells of the force mesh for each particle spacing, along a side.
        plane_size: pixels a side of the stored planes.
        a_start: scale factor at which the particle-mesh steps start from 2LPT.
        max_step: longest step in scale factor.
        seed: seed of the whole suite, from 0 to 4293; :func:`~lensnb.sims.nbody.simulate_box`
            adds the number of the box.

    Raises:
        ValueError: another seed.
    """

    cosmology: Cosmology = field(default_factory=Cosmology)
    box_size: float = 212.0
    n_planes: int = 11
    n_particles: int = 128
    mesh_factor: int = 2
    plane_size: int = 512
    a_start: float = 0.1
    max_step: float = 0.065
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "seed", plain_whole("seed", self.seed))
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed must be from 0 to {SEEDS - 1}, found {self.seed}")

    @cached_property
    def chi(self) -> np.ndarray:
        """Comoving distance of each plane's centre, Mpc/h, ``(n_planes,)``, nearest first."""
        return (np.arange(self.n_planes) + 0.5) * self.box_size

    @cached_property
    def scale_factors(self) -> np.ndarray:
        """Scale factor at each plane's centre, shape ``(n_planes,)``, nearest (largest) first."""
        return theory.scale_factor(self.chi, self.cosmology)

    def steps(self) -> np.ndarray:
        """Scale factors of the particle-mesh steps.

        From ``a_start``, at most ``max_step`` apart, through the centre of each plane.
        """
        steps = [np.array([self.a_start])]
        stops = [self.a_start, *self.scale_factors[::-1]]
        for start, stop in pairwise(stops):
            count = int(np.ceil((stop - start) / self.max_step))
            steps.append(np.linspace(start, stop, count + 1)[1:])
        return np.concatenate(steps)

    def key(self, box: int) -> int:
        """The number from which the initial conditions of a box are drawn; no two boxes share it.

        Raises:
            ValueError: there is no box of this number.
        """
        box = plain_whole("the number of a box", box)
        if not 0 <= box < BOXES:
            raise ValueError(f"boxes have numbers from 0 to {BOXES - 1}, found {box}")
        return BOXES * self.seed + box

    def as_dict(self) -> dict:
        """All settings as a plain dictionary, for provenance."""
        return asdict(self)


DEFAULT = LightCone()


def cone_from(settings: dict) -> LightCone:
    """A light cone from what :meth:`LightCone.as_dict` gave."""
    cosmology = Cosmology(**settings["cosmology"])
    return LightCone(**(settings | {"cosmology": cosmology}))
