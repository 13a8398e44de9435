"""Convergence maps from lens planes, in the Born approximation.

With the density contrast δ of each plane, seen along the undisturbed line of sight, and the
lensing kernel w(χ) of :mod:`lensnb.theory`,

    κ = Σ_planes δ ∫ w(χ) dχ.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from tqdm.auto import tqdm

from .. import theory
from ..data import MapSet
from .boxes import plane_file
from .cone import DEFAULT, LightCone


def born_weights(cone: LightCone, z_source: float) -> np.ndarray:
    """Weight of each plane's density contrast in κ.

    It is ∫ w(χ) dχ over the part of the plane's slab in front of the source.

    Returns:
        Dimensionless weights, shape ``(n_planes,)``.

    Raises:
        ValueError: the source lies behind the last plane.
    """
    chi_s = float(theory.comoving_distance(z_source, cone.cosmology))
    reach = cone.n_planes * cone.box_size
    if chi_s > reach:
        raise ValueError(
            f"z_source = {z_source} is at {chi_s:.0f} Mpc/h, behind the light cone, "
            f"which ends at {reach:.0f} Mpc/h"
        )
    # Gauss–Legendre quadrature in each slab; slabs behind the source have no width.
    node, weight = np.polynomial.legendre.leggauss(16)
    edge = np.minimum(np.arange(cone.n_planes + 1) * cone.box_size, chi_s)
    half = np.diff(edge)[:, None] / 2
    chi = edge[:-1, None] + half * (node + 1)
    return (theory.lensing_kernel(chi, z_source, cone.cosmology) * weight * half).sum(-1)


def pixel_weights(
    cone: LightCone, chi: float, n_pix: int, side_deg: float, shift: float
) -> csr_array:
    """Matrix that averages a row of a plane over the pixels of a map.

    Linear interpolation of the periodic plane, averaged over points within each pixel that are at
    most half a cell apart.

    Args:
        cone: gives ``box_size`` and ``plane_size``.
        chi: comoving distance of the plane, Mpc/h.
        n_pix: map pixels a side.
        side_deg: side of the map, degrees.
        shift: where on the plane the map starts, in units of the box.

    Returns:
        float32, sparse, shape ``(n_pix, plane_size)``.
    """
    cells = np.deg2rad(side_deg) * chi / cone.box_size * cone.plane_size  # side of the map
    fine = max(1, int(np.ceil(2 * cells / n_pix)))  # points in a pixel
    points = np.arange(n_pix * fine)
    x = (points + 0.5) * cells / (n_pix * fine) + shift * cone.plane_size
    i = np.floor(x).astype(int)
    right = x - i
    cell = np.concatenate([i, i + 1]) % cone.plane_size
    weight = np.concatenate([1 - right, right]) / fine
    pixel = np.tile(points // fine, 2)
    # weights of the same pixel and cell are added
    return csr_array((weight.astype(np.float32), (pixel, cell)), (n_pix, cone.plane_size))


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
        rows = pixel_weights(cone, chi, n_pix, side_deg, rng.random())
        columns = pixel_weights(cone, chi, n_pix, side_deg, rng.random())
        piece = rows @ view @ columns.T
        if not rng.integers(2):
            piece = piece.T
        piece = np.rot90(piece, rng.integers(4))
        kappa += weight[:, None, None] * piece
    return kappa


def kappa_maps(
    boxes: Sequence[int],
    folder: str | Path,
    maps_per_box: int,
    cone: LightCone = DEFAULT,
    z_sources: float | Sequence[float] = 1.0,
    n_pix: int = 64,
    side_deg: float = 5.0,
) -> MapSet | list[MapSet]:
    """Cut convergence maps from the stored planes of several boxes.

    Each map has its own seed, made from the seed of the suite, its box and its number. It does not
    depend on which other maps are made.

    Args:
        boxes: numbers of boxes whose planes ``folder`` holds.
        folder: what :func:`simulate_boxes` wrote.
        maps_per_box: pseudo-independent maps a box.
        cone: geometry of the planes.
        z_sources: one source redshift, or several (seen through the same planes).
        n_pix: map pixels a side.
        side_deg: side of the map, degrees.

    Returns:
        A :class:`~lensnb.data.MapSet`, float32, whose simulations are the boxes; a list of them,
        one a redshift, when several redshifts were asked for.

    Raises:
        FileNotFoundError: a box is missing.
        ValueError: the field is wider than the box, or a source lies behind the cone.
    """
    check_field(cone, side_deg)
    redshifts = [float(z) for z in np.atleast_1d(z_sources)]
    kappa = np.empty((len(redshifts), len(boxes) * maps_per_box, n_pix, n_pix), np.float32)
    for b, box in enumerate(tqdm(boxes, desc="Born maps", unit="box")):
        here = slice(b * maps_per_box, (b + 1) * maps_per_box)
        numbers = range(maps_per_box)
        kappa[:, here] = maps_through(box, numbers, folder, cone, redshifts, n_pix, side_deg)
    simulation = np.repeat(np.asarray(boxes), maps_per_box)
    provenance = {"made_by": "lensnb.sims", "cone": cone.as_dict(), "maps_per_box": maps_per_box}
    sets = [MapSet(k, side_deg, z, simulation, provenance) for k, z in zip(kappa, redshifts)]
    if np.ndim(z_sources) > 0:
        return sets
    return sets[0]


def maps_through(
    box: int,
    numbers: Sequence[int],
    folder: str | Path,
    cone: LightCone,
    z_sources: Sequence[float],
    n_pix: int,
    side_deg: float,
) -> np.ndarray:
    """The maps of one box that have these numbers.

    Args:
        box: number of the box.
        numbers: of the maps; each has a seed of its own.
        folder, cone, z_sources, n_pix, side_deg: as for :func:`kappa_maps`.

    Returns:
        κ, float32, shape ``(len(z_sources), len(numbers), n_pix, n_pix)``.
    """
    planes = _load_planes(folder, box)
    kappa = np.empty((len(z_sources), len(numbers), n_pix, n_pix), np.float32)
    for m, number in enumerate(numbers):
        rng = np.random.default_rng([cone.seed, box, number])
        kappa[:, m] = born_map(planes, cone, rng, z_sources, n_pix, side_deg)
    return kappa


def check_field(cone: LightCone, side_deg: float) -> None:
    """Refuse a field that is wider than the box at the last plane."""
    widest = float(np.deg2rad(side_deg) * cone.chi[-1])
    if widest > cone.box_size:
        raise ValueError(
            f"a field of {side_deg} deg is {widest:.0f} Mpc/h wide at the last plane, "
            f"wider than the box of {cone.box_size} Mpc/h"
        )


def _load_planes(folder: str | Path, box: int) -> np.ndarray:
    file = plane_file(folder, box)
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing: run simulate_boxes for box {box} first")
    return np.load(file).astype(np.float32)
