"""The geometry and resolution of a simulated light cone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from .. import theory
from ..theory import Cosmology


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
        seed: seed of the whole suite; :func:`~lensnb.sims.nbody.simulate_box` adds the number of
            the box.
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

    def as_dict(self) -> dict:
        """All settings as a plain dictionary, for provenance."""
        return asdict(self)


DEFAULT = LightCone()
