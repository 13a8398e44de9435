"""One N-body box: run it on PM++, and project it at every lens plane."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .cone import DEFAULT, LightCone

# Particles that are projected, or put on the mesh, at a time. More need memory and save no time.
_PIECE = 128**3


def simulate_box(box: int, cone: LightCone = DEFAULT) -> np.ndarray:
    """Run one N-body box and project it at every lens plane.

    Args:
        box: number of the box; with ``cone.seed`` it decides the initial conditions.
        cone: geometry and resolution.

    Returns:
        Projected density contrast of each slab against the mean of the box, float16, shape
        ``(n_planes, 3 axes, plane_size, plane_size)``, nearest plane first.

    Raises:
        ImportError: PM++ is not installed.
        ValueError: there is no box of this number.
    """
    planes = np.empty((cone.n_planes, 3, cone.plane_size, cone.plane_size), np.float16)
    plane_at = {float(a): i for i, a in enumerate(cone.box_scale_factors)}
    for a, position in particle_positions(box, cone):
        if a in plane_at:
            plane = plane_at[a]
            for axis in range(3):
                planes[plane, axis] = project(position, axis, cone, plane % cone.planes_per_box)
    return planes


def particle_positions(box: int, cone: LightCone) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the box's scale factor and positions after each particle-mesh step.

    Positions are comoving, Mpc/h of ``cone.box_cosmology``, float64, shape ``(particles, 3)``.
    """
    key = cone.key(box)
    pmpp = _import_pmpp()
    a = cone.steps()
    conf, cosmo = _pmpp_setup(cone)
    modes = pmpp.initial_conditions.white_noise(key, conf)
    modes = pmpp.initial_conditions.linear_modes(modes, cosmo, conf)
    particles = pmpp.initial_conditions.lpt(modes, cosmo, conf)
    particles = pmpp.nbody.nbody_init(a[0], particles, cosmo, conf)
    for a_from, a_to in pairwise(a):
        particles = pmpp.nbody.nbody_step(a_from, a_to, particles, cosmo, conf)
        yield float(a_to), np.asarray(particles.pos(), np.float64)


def _import_pmpp():
    try:
        import pmpp
        import pmpp.cosmology
        import pmpp.initial_conditions
        import pmpp.nbody
    except ImportError as error:
        raise ImportError(
            "simulations need PM++, which is not installed: pip install 'lensnb[sims]'"
        ) from error
    return pmpp


# Configuration and cosmology of each light cone in this process: PM++ recompiles for every new
# Configuration object.
_SETUP: dict = {}


def _pmpp_setup(cone: LightCone):
    if cone in _SETUP:
        return _SETUP[cone]
    pmpp = _import_pmpp()
    a = cone.steps()
    cosmology = cone.box_cosmology
    curvature = {}
    if cosmology.omega_k != 0:
        curvature["Omega_k_"] = cosmology.omega_k
    last = max(1.0, float(a[-1]))  # an empty region is larger than a = 1
    conf = pmpp.Configuration(
        ptcl_spacing=cone.box_side / cone.n_particles,
        ptcl_grid_shape=(cone.n_particles,) * 3,
        mesh_shape=cone.mesh_factor,
        a_start=float(a[0]),
        a_stop=float(a[-1]),
        a_custom=tuple(map(float, a)),
        # Up to a = 1, where σ₈ is defined, and not only to the nearest plane.
        growth_a_custom=tuple(np.linspace(0, last, 129)),
        pallas_cic=False,
        chunk_size=_PIECE,
    )
    cosmo = pmpp.cosmology.Cosmology.from_sigma8(
        conf,
        cosmology.sigma8,
        n_s=cosmology.n_s,
        Omega_m=cosmology.omega_m,
        Omega_b=cosmology.omega_b,
        h=cosmology.h,
        **curvature,
    )
    _SETUP[cone] = conf, pmpp.cosmology.boltzmann(cosmo, conf)
    return _SETUP[cone]


def project(position: np.ndarray, axis: int, cone: LightCone, slab: int = 0) -> np.ndarray:
    """Project the particles of a slab along ``axis`` onto a periodic plane by cloud-in-cell.

    Args:
        position: comoving positions, Mpc/h, shape ``(particles, 3)``.
        axis: the axis to project along, 0, 1 or 2.
        cone: gives ``box_side``, ``planes_per_box`` and ``plane_size``.
        slab: which of the ``planes_per_box`` slabs of the box, from 0 on.

    Returns:
        Projected density contrast Σ/Σ̄ − 1, float64, shape ``(plane_size, plane_size)``. Σ̄ is the
        mean of the whole box, so that slabs have means of their own, which add up to zero.
    """
    n = cone.plane_size
    counts = np.zeros(n * n)
    for start in range(0, len(position), _PIECE):
        some = position[start : start + _PIECE]
        if cone.planes_per_box > 1:
            some = some[_slabs(some[:, axis], cone) == slab]
        _add_counts(counts, some, axis, n / cone.box_side)
    return counts.reshape(n, n) * (n * n * cone.planes_per_box / len(position)) - 1


def _slabs(depth: np.ndarray, cone: LightCone) -> np.ndarray:
    """The slab of the box that each particle is in."""
    slab = np.floor(depth * (cone.planes_per_box / cone.box_side)).astype(np.int64)
    return slab % cone.planes_per_box


def _add_counts(counts: np.ndarray, position: np.ndarray, axis: int, scale: float) -> None:
    """Share each particle between the four nearest nodes of a plane, in place."""
    n = math.isqrt(len(counts))
    row, column = (position[:, i] * scale for i in range(3) if i != axis)
    i, j = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    u, v = row - i, column - j
    for di, row_share in ((0, 1 - u), (1, u)):
        for dj, column_share in ((0, 1 - v), (1, v)):
            node = (i + di) % n * n + (j + dj) % n
            counts += np.bincount(node, row_share * column_share, n * n)
