"""Responses of C_ℓ to the mean density: what theory expects of the three that one can think of.

A mode of the density at the distance of plane i changes κ_b by w_i δ_i, and C_ℓ by R f_i δ_i, with
the share f_i of the plane in C_ℓ. R is taken as the same for all planes. Then

* in a region, all planes follow linear growth D_i:      r = R Σ f D / Σ w D,
* modes of variance s_i in plane i have the regression:  r = R Σ f w s / Σ w² s.

The modes that a box holds are nearer than those that it lacks, and so their r is another. The
exact term is a sum over planes, Σ s_i (R f_i)². One response for all planes gives a part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.sample_physics import sum_over_modes
from lensnb import theory
from lensnb.sims import LightCone
from lensnb.sims.born import born_weights


@dataclass(frozen=True)
class Expected:
    """What theory expects in one bin of ℓ.

    Attributes:
        regression: response to the means of maps, over that of a region.
        lacking: response to the modes that the box lacks, over that of a region.
        kept: what one response gives of the exact term for the modes that the box lacks.
    """

    regression: float
    lacking: float
    kept: float


def expected_responses(
    cone: LightCone, side_deg: float, z_source: float, ells: np.ndarray
) -> Iterator[Expected]:
    """The expected responses of C_ℓ at some ℓ."""
    weights = born_weights(cone, z_source)
    redshifts = 1 / cone.scale_factors - 1
    within, lacking = _variances(cone, side_deg)
    powers = [
        partial(theory.matter_power, z=float(z), cosmology=cone.cosmology) for z in redshifts
    ]
    growth = np.sqrt([float(power(0.01, linear=True)) for power in powers])
    for ell in ells:
        of_plane = [float(power(ell / chi)) for power, chi in zip(powers, cone.transverse)]
        share = weights**2 / cone.transverse**2 * of_plane
        share = share / share.sum()
        region = (share * growth).sum() / (weights * growth).sum()
        of_lacking = _slope(share, weights, lacking)
        exact = (share**2 * lacking).sum()
        one = of_lacking**2 * (weights**2 * lacking).sum()
        regression = _slope(share, weights, within)
        yield Expected(regression / region, of_lacking / region, one / exact)


def _slope(share: np.ndarray, weights: np.ndarray, variance: np.ndarray) -> float:
    return float((share * weights * variance).sum() / (weights**2 * variance).sum())


def _variances(cone: LightCone, side_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the mean density of the field in each plane: modes of the box, and the rest."""
    spacing = 2 * np.pi / cone.box_size
    of_box = np.arange(-64, 65) * spacing
    of_sky = (np.arange(-512, 512) + 0.5) * spacing / 8
    within, in_all = [], []
    for chi, a in zip(cone.transverse, cone.scale_factors):
        side = np.deg2rad(side_deg) * chi
        power = partial(theory.matter_power, z=1 / a - 1, cosmology=cone.cosmology)
        within.append(sum_over_modes(of_box, side, power))
        in_all.append(sum_over_modes(of_sky, side, power) / 64)
    return np.array(within), np.array(in_all) - np.array(within)
