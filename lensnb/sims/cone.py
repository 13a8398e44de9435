"""The geometry and resolution of a simulated light cone.

Lens planes are slabs of equal thickness, box_size / planes_per_box, one behind the other. The
planes of one crossing of the box are its slabs, from the near face to the far one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from .. import theory
from ..maps.arrays import plain_whole
from ..theory import Cosmology
from .separate_universe import SeparateUniverse

BOXES = 1_000_003  # of one suite
# JAX takes 32 bits of a number as its random key, so that larger numbers repeat earlier boxes.
SEEDS = 2**32 // BOXES

# Settings that came later. Records leave them out where they have these values, so that records
# of earlier versions are still the same.
_LATER = {"planes_per_box": 1, "delta_b": 0.0}


@dataclass(frozen=True)
class LightCone:
    """The geometry and resolution of one simulated light cone.

    Attributes:
        cosmology: ΛCDM parameters; σ₈ is that at a = 1.
        box_size: side of the periodic box, Mpc/h.
        n_planes: number of lens planes; the cone reaches ``n_planes * box_size / planes_per_box``.
        n_particles: particles a side.
        mesh_factor: cells of the force mesh for each particle spacing, along a side.
        plane_size: pixels a side of the stored planes.
        a_start: scale factor at which the particle-mesh steps start from 2LPT.
        max_step: longest step in scale factor.
        seed: seed of the whole suite, from 0 to 4293; :func:`~lensnb.sims.nbody.simulate_box`
            adds the number of the box.
        planes_per_box: lens planes in one crossing of the box; each is a slab of it.
        delta_b: linear overdensity today of the region that the box stands for. The box is then a
            :class:`~lensnb.sims.separate_universe.SeparateUniverse`, as large as ``box_size`` when
            light crosses the middle of the cone; distances stay those of ``cosmology``.

    Raises:
        ValueError: another seed, less than one plane a box, or an impossible ``delta_b``.
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
    planes_per_box: int = 1
    delta_b: float = 0.0

    def __post_init__(self):
        for name in ("seed", "planes_per_box"):
            object.__setattr__(self, name, plain_whole(name, getattr(self, name)))
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed must be from 0 to {SEEDS - 1}, found {self.seed}")
        if self.planes_per_box < 1:
            raise ValueError(
                f"a box needs at least one lens plane, found planes_per_box = "
                f"{self.planes_per_box}"
            )
        SeparateUniverse(self.cosmology, self.delta_b)  # refuses an impossible one

    @property
    def thickness(self) -> float:
        """Thickness of a lens plane, Mpc/h."""
        return self.box_size / self.planes_per_box

    @property
    def reach(self) -> float:
        """Where the last plane ends, Mpc/h."""
        return self.n_planes * self.thickness

    @cached_property
    def chi(self) -> np.ndarray:
        """Comoving distance of each plane's centre, Mpc/h, ``(n_planes,)``, nearest first."""
        return (np.arange(self.n_planes) + 0.5) * self.thickness

    @cached_property
    def scale_factors(self) -> np.ndarray:
        """Scale factor at each plane's centre, shape ``(n_planes,)``, nearest (largest) first."""
        return theory.scale_factor(self.chi, self.cosmology)

    @cached_property
    def region(self) -> SeparateUniverse | None:
        """What the box stands for, if that is not the whole universe."""
        if self.delta_b == 0:
            return None
        return SeparateUniverse(self.cosmology, self.delta_b)

    @cached_property
    def box_cosmology(self) -> Cosmology:
        """The parameters that the box is run with."""
        if self.region is None:
            return self.cosmology
        return self.region.cosmology

    @cached_property
    def box_side(self) -> float:
        """The side that the box is run with, in Mpc/h of ``box_cosmology``."""
        if self.region is None:
            return self.box_size
        middle = float(theory.scale_factor(self.reach / 2, self.cosmology))
        return self.region.box_size(self.box_size, middle)

    @cached_property
    def box_scale_factors(self) -> np.ndarray:
        """The box's own scale factor at the time of each plane, shape ``(n_planes,)``."""
        if self.region is None:
            return self.scale_factors
        return self.region.scale_factor(self.scale_factors)

    @cached_property
    def overdensities(self) -> np.ndarray:
        """Mean density contrast δ_b of the box at the time of each plane, ``(n_planes,)``."""
        if self.region is None:
            return np.zeros(self.n_planes)
        return (self.scale_factors / self.box_scale_factors) ** 3 - 1

    @cached_property
    def stretch(self) -> np.ndarray:
        """Comoving side of the box at each plane, over ``box_size``; shape ``(n_planes,)``."""
        if self.region is None:
            return np.ones(self.n_planes)
        side = self.box_side * self.cosmology.h / self.box_cosmology.h  # Mpc/h
        return side / self.box_size * self.box_scale_factors / self.scale_factors

    @cached_property
    def transverse(self) -> np.ndarray:
        """Comoving length under one radian at each plane, Mpc/h, shape ``(n_planes,)``."""
        return theory.transverse_distance(self.chi, self.cosmology)

    def steps(self) -> np.ndarray:
        """The box's own scale factors at the particle-mesh steps.

        From ``a_start``, at most ``max_step`` apart, through the centre of each plane.
        """
        steps = [np.array([self.a_start])]
        stops = [self.a_start, *self.box_scale_factors[::-1]]
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
        """All settings as a plain dictionary, for provenance.

        Without ``planes_per_box`` and ``delta_b`` where they have their defaults.
        """
        settings = asdict(self) | {"cosmology": self.cosmology.as_dict()}
        for name, usual in _LATER.items():
            if settings[name] == usual:
                del settings[name]
        return settings


DEFAULT = LightCone()

# The sample's resolution; twice as fine; and twice as wide at the sample's resolution.
SIZES = {
    "small": {},
    "fine": {"n_particles": 256, "plane_size": 1024},
    "wide": {"n_particles": 256, "plane_size": 1024, "box_size": 424.0, "planes_per_box": 2},
}


def cone_from(settings: dict) -> LightCone:
    """A light cone from what :meth:`LightCone.as_dict` gave."""
    cosmology = Cosmology(**settings["cosmology"])
    return LightCone(**(settings | {"cosmology": cosmology}))
