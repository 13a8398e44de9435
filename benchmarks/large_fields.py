"""Fields of large boxes beside theory: of 10°, and of 5° with four times as many pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.large_boxes_page import FINE, boxes_in_words, with_error
from lensnb.ensemble import Ensemble, jackknife_error
from lensnb.ensemble.super_sample import Share
from lensnb.sims import LightCone, kappa_maps
from lensnb.sims.born import shot_noise
from lensnb.sims.boxes import cone_of
from lensnb.stats import band_averages, cutout_power, ell_edges, power_spectrum
from lensnb.theory import convergence_power, sigma_b

SIDE_DEG, N_PIX, Z_SOURCE = 5.0, 64, 1.0  # of the fields that are compared
FEW_MAPS = 16  # of a box, where maps are compared with theory alone


def jackknifed(number: Callable[..., float], *ensembles: Ensemble) -> Share:
    """``number(covariance, …)`` of the covariances of some sets, and its error."""
    whole = [one.covariance() for one in ensembles]
    variance = 0.0
    for i, one in enumerate(ensembles):
        left_out = []
        for weights in one.jackknife_weights():
            changed = [*whole[:i], one.covariance(weights), *whole[i + 1 :]]
            left_out.append(number(*changed))
        variance += float(jackknife_error(left_out)) ** 2
    return Share(float(number(*whole)), float(np.sqrt(variance)))


@dataclass
class Field:
    """Maps of a field beside theory.

    Attributes:
        ell: centres of the bins.
        edges: of the bins.
        ratio: C_ℓ over theory, with its error.
        power: C_ℓ in sr.
        means: mean of each map.
    """

    ell: np.ndarray
    edges: np.ndarray
    ratio: list[Share]
    power: np.ndarray
    means: Ensemble


def field_beside_theory(
    folder: Path, boxes: list[int], cone: LightCone, n_pix: int, side_deg: float
) -> Field:
    """Cut some maps of each box, and measure their C_ℓ and means."""
    maps = kappa_maps(boxes, folder, FEW_MAPS, cone, Z_SOURCE, n_pix, side_deg)
    edges = ell_edges(maps.grid)

    def power(ell: np.ndarray) -> np.ndarray:
        return convergence_power(ell, Z_SOURCE, cone.cosmology)

    predicted = band_averages(cutout_power(power, maps.grid, sides=4), maps.grid, edges)
    found = Ensemble(power_spectrum(maps.tensor(), side_deg, edges).numpy(), maps.simulation)
    pairs = zip(found.mean() / predicted, found.mean_error() / predicted)
    means = Ensemble(maps.maps.mean((1, 2), dtype=np.float64)[:, None], maps.simulation)
    centres = np.sqrt(edges[1:] * edges[:-1])
    return Field(centres, edges, [Share(*pair) for pair in pairs], found.mean(), means)


def ratio_rows(field: Field) -> Iterator[str]:
    for low, high, one in zip(field.edges, field.edges[1:], field.ratio):
        yield f"| C_ℓ, ℓ = {low:.0f}–{high:.0f} | {with_error(one)} |"


def large_field_rows(folder: Path, boxes: list[int], cone: LightCone) -> Iterator[str]:
    """C_ℓ over theory, and the scatter of the mean, of fields of twice the side."""
    side = 2 * SIDE_DEG
    field = field_beside_theory(folder, boxes, cone, 2 * N_PIX, side)
    yield from ratio_rows(field)
    in_all = sigma_b(side, Z_SOURCE, cone.cosmology)

    def over_theory(covariance: np.ndarray) -> float:
        return float(np.sqrt(covariance[0, 0]) / in_all)

    yield f"| scatter of the mean of a map | {with_error(jackknifed(over_theory, field.means))} |"
    lacking = sigma_b(side, Z_SOURCE, cone.cosmology, cone.box_size)
    yield f"| the same, expected of the box's modes | {np.sqrt(1 - (lacking / in_all) ** 2):.3f} |"


def fine_section(folder: Path, count: int) -> str:
    """Where maps of the fine boxes, with 256² pixels over 5°, stop to follow theory."""
    cone = cone_of(folder)
    field = field_beside_theory(folder, list(range(count)), cone, 4 * N_PIX, SIDE_DEG)
    share = shot_noise(cone, Z_SOURCE) / field.power
    lost = np.array([1 - one.value for one in field.ratio])
    return FINE.format(
        fine=boxes_in_words(cone, count),
        rows="\n".join(ratio_rows(field)),
        half=reached(field.ell, lost, 0.5),
        noisy=reached(field.ell, share, 0.1),
    )


def reached(ell: np.ndarray, rising: np.ndarray, limit: float) -> str:
    """The ℓ where a number reaches a limit for the first time, between bins, as text."""
    above = np.flatnonzero(rising >= limit)
    if not len(above):
        return f"above ℓ = {ell[-1]:.0f}"
    last = above[0]
    if last == 0:
        return f"below ℓ = {ell[0]:.0f}"
    some = slice(last - 1, last + 1)
    return f"at ℓ = {np.exp(np.interp(limit, rising[some], np.log(ell[some]))):.0f}"
