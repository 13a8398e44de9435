"""Simulated truth: N-body light cones and the convergence maps cut from them, on PM++ (package ``pmpp``).

One *box* is one N-body simulation: 2LPT initial conditions from its own seed, then particle-mesh steps whose scale
factors hit the centres of the lens planes. At each plane the whole periodic box is projected along its three axes.
A convergence map is the Born sum over those planes, each seen along a random axis, with a random periodic shift and
flip, so that one box gives many pseudo-independent maps (Petri, Haiman & May 2016, arXiv:1601.06792). They share
structure, which is why every map carries the number of its box and why sets are split by box.

Units: lengths in comoving Mpc/h, angles in degrees, planes are projected density contrasts (dimensionless), κ is
dimensionless. PM++ is the extra ``sims`` and is imported inside the one function that runs it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from . import __version__, theory
from .data import MapSet
from .files import atomic_write, write_json
from .theory import Cosmology


@dataclass(frozen=True)
class LightCone:
    """The geometry and resolution of one simulated light cone.

    Attributes:
        cosmology: flat ΛCDM parameters; σ₈ is honoured at a = 1.
        box_size: side of the periodic box, Mpc/h; also the thickness of a lens plane.
        n_planes: number of lens planes; the cone reaches ``n_planes * box_size``.
        n_particles: particles a side.
        mesh_factor: force mesh cells a particle spacing, a side.
        plane_size: pixels a side of the stored planes.
        a_start: scale factor at which 2LPT hands over to the particle-mesh steps.
        max_step: longest step in scale factor.
        seed: seed of the whole suite; the box number is added by :func:`simulate_box`.
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
        """Comoving distance of each plane's centre, Mpc/h, shape ``(n_planes,)``, nearest first."""
        return (np.arange(self.n_planes) + 0.5) * self.box_size

    @cached_property
    def scale_factors(self) -> np.ndarray:
        """Scale factor at each plane's centre, shape ``(n_planes,)``, nearest (largest) first."""
        return theory.scale_factor(self.chi, self.cosmology)

    def steps(self) -> np.ndarray:
        """Scale factors of the particle-mesh steps: from ``a_start``, at most ``max_step`` apart, through each plane."""
        stops = np.r_[self.a_start, self.scale_factors[::-1]]
        parts = [
            np.linspace(a, b, 1 + int(np.ceil((b - a) / self.max_step)))[1:]
            for a, b in pairwise(stops)
        ]
        return np.concatenate([[self.a_start], *parts])

    def as_dict(self) -> dict:
        """Return all settings as a plain dictionary, for provenance."""
        return asdict(self)


# ---------------------------------------------------------------- planes


def simulate_box(box: int, cone: LightCone = LightCone()) -> np.ndarray:
    """Run one N-body box and project it at every lens plane.

    Args:
        box: number of the box; with ``cone.seed`` it decides the initial conditions.
        cone: geometry and resolution.

    Returns:
        Projected density contrast, float16, shape ``(n_planes, 3 axes, plane_size, plane_size)``, nearest plane first.

    Raises:
        ImportError: PM++ is not installed.
    """
    planes = np.empty((cone.n_planes, 3, cone.plane_size, cone.plane_size), np.float16)
    targets = {float(a): i for i, a in enumerate(cone.scale_factors)}
    for a, position in particle_positions(box, cone):
        if a in targets:
            for axis in range(3):
                planes[targets[a], axis] = project(position, axis, cone)
    return planes


def particle_positions(box: int, cone: LightCone):
    """Yield ``(scale factor, positions)`` after each particle-mesh step; positions in Mpc/h, shape (particles, 3)."""
    pmpp = _import_pmpp()
    a = cone.steps()
    conf, cosmo = _pmpp_setup(cone)
    modes = pmpp.initial_conditions.white_noise(1_000_003 * cone.seed + box, conf)
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


_SETUP: dict = {}  # one compiled set-up a process: PM++ recompiles for every new Configuration object


def _pmpp_setup(cone: LightCone):
    if cone not in _SETUP:
        pmpp = _import_pmpp()
        a, c = cone.steps(), cone.cosmology
        conf = pmpp.Configuration(
            ptcl_spacing=cone.box_size / cone.n_particles,
            ptcl_grid_shape=(cone.n_particles,) * 3,
            mesh_shape=cone.mesh_factor,
            a_start=float(a[0]),
            a_stop=float(a[-1]),
            a_custom=tuple(map(float, a)),
            growth_a_custom=tuple(
                np.linspace(0, 1, 129)
            ),  # up to a = 1, where σ₈ is defined, and not the last plane
            pallas_cic=False,
        )
        cosmo = pmpp.cosmology.Cosmology.from_sigma8(
            conf, c.sigma8, n_s=c.n_s, Omega_m=c.omega_m, Omega_b=c.omega_b, h=c.h
        )
        _SETUP[cone] = conf, pmpp.cosmology.boltzmann(cosmo, conf)
    return _SETUP[cone]


def project(position: np.ndarray, axis: int, cone: LightCone) -> np.ndarray:
    """Project particles along ``axis`` onto a periodic plane by cloud-in-cell.

    Args:
        position: comoving positions, Mpc/h, shape ``(particles, 3)``.
        axis: the axis to project along, 0, 1 or 2.
        cone: gives ``box_size`` and ``plane_size``.

    Returns:
        Projected density contrast Σ/Σ̄ − 1, float64, shape ``(plane_size, plane_size)``.
    """
    n = cone.plane_size
    row, column = (position[:, i] * (n / cone.box_size) for i in range(3) if i != axis)
    i, j = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    u, v = row - i, column - j
    counts = np.zeros(n * n)
    for di, wi in ((0, 1 - u), (1, u)):
        for dj, wj in ((0, 1 - v), (1, v)):
            counts += np.bincount((i + di) % n * n + (j + dj) % n, wi * wj, n * n)
    return counts.reshape(n, n) * (n * n / len(position)) - 1


def plane_file(folder: str | Path, box: int) -> Path:
    """Path of the stored planes of one box."""
    return Path(folder) / f"box_{box:05d}.npy"


def simulate_boxes(
    boxes: Iterable[int],
    folder: str | Path,
    cone: LightCone = LightCone(),
    workers: int = 1,
    executor: Executor | None = None,
) -> list[Path]:
    """Run the boxes that ``folder`` does not hold yet and store their planes, one file a box.

    A finished box is never run again, and a file appears only when it is whole, so a killed run goes on where it was.

    Args:
        boxes: numbers of the boxes.
        folder: where the planes go; it also remembers the settings in ``cone.json``.
        cone: geometry and resolution.
        workers: boxes at a time, each in a process of its own with its share of the cores (on two cores, two
            single-threaded boxes at once take 0.7 of the time of one after the other).
        executor: any ``concurrent.futures.Executor`` to use instead, for instance one that spans machines.

    Returns:
        The files, in the order of ``boxes``.

    Raises:
        ValueError: the folder holds boxes made with other settings.
    """
    folder = Path(folder)
    _remember_settings(folder, cone)
    boxes = list(boxes)
    todo = [box for box in boxes if not plane_file(folder, box).exists()]
    if executor is None and workers > 1:
        executor = _processes(workers)
    with tqdm(
        total=len(boxes), initial=len(boxes) - len(todo), desc="N-body boxes", unit="box"
    ) as bar:
        if executor is None:
            for box in todo:
                _simulate_and_store(box, folder, cone)
                bar.update()
        else:
            for future in as_completed(
                [executor.submit(_simulate_and_store, box, folder, cone) for box in todo]
            ):
                future.result()
                bar.update()
    return [plane_file(folder, box) for box in boxes]


def _processes(workers: int) -> Executor:
    """Worker processes, each pinned to its share of the cores: JAX sizes its thread pool by the cores it may use."""
    context = multiprocessing.get_context("spawn")  # JAX's threads do not survive a fork
    turn = context.Value("i", 0)
    return ProcessPoolExecutor(workers, context, initializer=_pin, initargs=(turn, workers))


def _pin(turn, workers: int) -> None:
    if not hasattr(os, "sched_setaffinity"):  # only Linux can pin
        return
    with turn.get_lock():
        mine, turn.value = turn.value, turn.value + 1
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[mine % len(cores) :: workers] or cores)


def _simulate_and_store(box: int, folder: Path, cone: LightCone) -> None:
    planes = simulate_box(box, cone)
    with atomic_write(plane_file(folder, box)) as file:
        np.save(file, planes)


def _remember_settings(folder: Path, cone: LightCone) -> None:
    record = folder / "cone.json"
    if record.exists():
        found = json.loads(record.read_text())
        if found != json.loads(json.dumps(cone.as_dict())):
            raise ValueError(
                f"{folder} holds boxes made with other settings (see {record}); expected {cone.as_dict()}"
            )
    else:
        write_json(record, cone.as_dict())


# ---------------------------------------------------------------- maps


def born_weights(cone: LightCone, z_source: float) -> np.ndarray:
    """Weight of each plane's density contrast in κ: ∫ w(χ) dχ over the part of the slab in front of the source.

    Returns:
        Dimensionless weights, shape ``(n_planes,)``.

    Raises:
        ValueError: the source lies behind the last plane.
    """
    chi_s = float(theory.comoving_distance(z_source, cone.cosmology))
    reach = cone.n_planes * cone.box_size
    if chi_s > reach:
        raise ValueError(
            f"z_source = {z_source} is at {chi_s:.0f} Mpc/h, behind the light cone, which ends at {reach:.0f} Mpc/h"
        )
    node, weight = np.polynomial.legendre.leggauss(16)
    edge = np.minimum(np.arange(cone.n_planes + 1) * cone.box_size, chi_s)
    half = np.diff(edge)[:, None] / 2
    chi = edge[:-1, None] + half * (node + 1)
    return (theory.lensing_kernel(chi, z_source, cone.cosmology) * weight * half).sum(-1)


def pixel_weights(
    cone: LightCone, chi: float, n_pix: int, side_deg: float, shift: float
) -> np.ndarray:
    """Matrix that averages a plane's row over the map's pixels, shape ``(n_pix, plane_size)``.

    Linear interpolation of the periodic plane, averaged over points spaced at most half a cell within each pixel.

    Args:
        cone: gives ``box_size`` and ``plane_size``.
        chi: comoving distance of the plane, Mpc/h.
        n_pix: map pixels a side.
        side_deg: side of the map, degrees.
        shift: where on the plane the map starts, in units of the box.
    """
    cells = (
        np.deg2rad(side_deg) * chi / cone.box_size * cone.plane_size
    )  # the map's side in plane cells
    fine = max(1, int(np.ceil(2 * cells / n_pix)))
    x = (np.arange(n_pix * fine) + 0.5) * cells / (n_pix * fine) + shift * cone.plane_size
    i = np.floor(x).astype(int)
    matrix = np.zeros((n_pix, cone.plane_size), np.float32)
    pixel = np.arange(n_pix * fine) // fine
    np.add.at(matrix, (pixel, i % cone.plane_size), (1 - (x - i)) / fine)
    np.add.at(matrix, (pixel, (i + 1) % cone.plane_size), (x - i) / fine)
    return matrix


def born_map(
    planes: np.ndarray,
    cone: LightCone,
    rng: np.random.Generator,
    z_sources: Sequence[float],
    n_pix: int,
    side_deg: float,
) -> np.ndarray:
    """One convergence map for each source redshift, through the same planes of one box.

    Args:
        planes: projected density contrasts, shape ``(n_planes, 3, plane_size, plane_size)``.
        cone: geometry of the planes.
        rng: decides axis, shift, transpose and flips of each plane.
        z_sources: source redshifts.
        n_pix: map pixels a side.
        side_deg: side of the map, degrees.

    Returns:
        κ, dimensionless, float64, shape ``(len(z_sources), n_pix, n_pix)``.
    """
    weights = np.array([born_weights(cone, z) for z in z_sources])
    kappa = np.zeros((len(z_sources), n_pix, n_pix))
    for plane, chi, weight in zip(planes, cone.chi, weights.T):
        view = plane[rng.integers(3)]
        rows, columns = (pixel_weights(cone, chi, n_pix, side_deg, rng.random()) for _ in range(2))
        piece = rows @ view @ columns.T
        piece = np.rot90(piece if rng.integers(2) else piece.T, rng.integers(4))
        kappa += weight[:, None, None] * piece
    return kappa


def kappa_maps(
    boxes: Sequence[int],
    folder: str | Path,
    maps_per_box: int,
    cone: LightCone = LightCone(),
    z_sources: float | Sequence[float] = 1.0,
    n_pix: int = 64,
    side_deg: float = 5.0,
) -> MapSet | list[MapSet]:
    """Cut convergence maps from the stored planes of several boxes.

    Each map has a seed of its own, made from the suite's seed, its box and its number, so that it does not depend on
    which other maps are made.

    Args:
        boxes: numbers of boxes whose planes ``folder`` holds.
        folder: what :func:`simulate_boxes` wrote.
        maps_per_box: pseudo-independent maps a box.
        cone: geometry of the planes.
        z_sources: one source redshift, or several (seen through the same planes).
        n_pix: map pixels a side.
        side_deg: side of the map, degrees.

    Returns:
        A :class:`~lensnb.data.MapSet` labelled by box; a list of them, one a redshift, when several were asked for.

    Raises:
        FileNotFoundError: a box is missing.
        ValueError: the field is wider than the box, or a source lies behind the cone.
    """
    widest = float(np.deg2rad(side_deg) * cone.chi[-1])
    if widest > cone.box_size:
        raise ValueError(
            f"a field of {side_deg} deg is {widest:.0f} Mpc/h wide at the last plane, wider than the box of {cone.box_size} Mpc/h"
        )
    several = np.ndim(z_sources) > 0
    redshifts = [float(z) for z in np.atleast_1d(z_sources)]
    kappa = np.empty((len(redshifts), len(boxes) * maps_per_box, n_pix, n_pix), np.float32)
    simulation = np.repeat(np.asarray(boxes), maps_per_box)
    for b, box in enumerate(tqdm(boxes, desc="Born maps", unit="box")):
        file = plane_file(folder, box)
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing: run simulate_boxes for box {box} first")
        planes = np.load(file).astype(np.float32)
        for m in range(maps_per_box):
            rng = np.random.default_rng([cone.seed, box, m])
            kappa[:, b * maps_per_box + m] = born_map(
                planes, cone, rng, redshifts, n_pix, side_deg
            )
    provenance = {"made_by": "lensnb.sims", "cone": cone.as_dict(), "maps_per_box": maps_per_box}
    sets = [MapSet(k, side_deg, z, simulation, provenance) for k, z in zip(kappa, redshifts)]
    return sets if several else sets[0]


# ---------------------------------------------------------------- the shipped sample

FIRST_BOX = {"train": 0, "truth": 64, "null": 128}


def make_sample(
    folder: str | Path,
    out: str | Path,
    boxes: int = 32,
    maps: int = 1024,
    cone: LightCone = LightCone(),
    workers: int = 1,
) -> list[Path]:
    """Make the three sets of :func:`lensnb.data.load_sample`, float16, from disjoint boxes; goes on where it stopped.

    Args:
        folder: keeps the planes, see :func:`simulate_boxes`.
        out: where ``train.npy``, ``truth.npy``, ``null.npy`` and ``sample.json`` go.
        boxes: boxes a set, a divisor of ``maps`` and at most 64; a set's numbers start at ``FIRST_BOX``.
        maps: maps a set.
        cone: geometry of the planes.
        workers: boxes at a time.
    """
    if not 2 <= boxes <= 64 or maps % boxes:
        raise ValueError(
            f"{maps} maps cannot come in equal shares from {boxes} boxes a set (2 to 64)"
        )
    numbers = {name: range(first, first + boxes) for name, first in FIRST_BOX.items()}
    simulate_boxes([box for block in numbers.values() for box in block], folder, cone, workers)
    out, written = Path(out), []
    for name, block in numbers.items():
        made = kappa_maps(block, folder, maps // boxes, cone)
        with atomic_write(out / f"{name}.npy") as file:
            np.save(file, made.maps.astype(np.float16))
        written.append(out / f"{name}.npy")
    versions = {"lensnb": __version__} | {
        name: version(name) for name in ("pmpp", "jax", "pyccl", "numpy")
    }
    command = (
        f"lensnb sample PLANES {Path(out).name} --boxes {boxes} --maps {maps} --seed {cone.seed}"
    )
    command += "" if cone.cosmology == Cosmology() else f" --sigma8 {cone.cosmology.sigma8}"
    about = {
        "side_deg": made.side_deg,
        "z_source": made.z_source,
        "boxes": {name: [block.start, block.stop] for name, block in numbers.items()},
        "provenance": made.provenance | {"command": command, "versions": versions},
    }
    return [*written, write_json(out / "sample.json", about)]
