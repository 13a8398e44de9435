"""What is in the shipped maps? Measure their physics and write ``docs/sample.md``.

    python benchmarks/sample_physics.py

The 3,072 maps of the 96 boxes of the three shipped sets are compared with theory: C_ℓ by Limber's
integral over halofit, through pixels and the edges of the field
(:func:`lensnb.stats.cutout_power`). The power of the mode ℓ = 0 over the area is the variance of
the mean of a map. Errors are those of a jackknife over boxes. It takes seconds, with the extra
``sims``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch

from benchmarks.sample_page import PAGE, box_rows
from lensnb import theory
from lensnb.data import load_sample
from lensnb.ensemble import Ensemble
from lensnb.ensemble.errors import jackknife_error
from lensnb.maps import MapGrid
from lensnb.sims import LightCone
from lensnb.sims.born import born_weights
from lensnb.sims.sample import sample_cone
from lensnb.stats import band_averages, cutout_power, ell_edges, power_spectrum

OUTPUT = Path(__file__).parents[1] / "docs/sample.md"


def shipped() -> tuple[torch.Tensor, np.ndarray, MapGrid, float]:
    """All shipped maps, the box of each, their grid and the redshift of their sources."""
    sets = [load_sample(name) for name in ("train", "truth", "null")]
    maps = torch.cat([one.tensor() for one in sets])
    boxes = np.concatenate([one.simulation for one in sets])
    return maps, boxes, sets[0].grid, sets[0].z_source


def expected_power(grid: MapGrid, z_source: float, aliases: int = 2) -> torch.Tensor:
    """Halofit's power of each mode of a map, in sr."""
    cosmology = sample_cone().cosmology

    def power(ell: np.ndarray) -> np.ndarray:
        return theory.convergence_power(ell, z_source, cosmology)

    return cutout_power(power, grid, aliases=aliases)


def power_over_theory(
    maps: torch.Tensor, boxes: np.ndarray, grid: MapGrid, expected: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The mean C_ℓ over theory in the bins of the default suite, and its error."""
    edges = ell_edges(grid)
    measured = Ensemble(power_spectrum(maps, grid.side_deg, edges).numpy(), boxes)
    predicted = band_averages(expected, grid, edges)
    return measured.mean() / predicted, measured.mean_error() / predicted


def mean_variance_over_theory(
    maps: torch.Tensor, boxes: np.ndarray, grid: MapGrid, expected: torch.Tensor
) -> tuple[float, float]:
    """The variance of the mean of a map over theory, and its error."""
    means = Ensemble(maps.double().mean((1, 2)).numpy()[:, None], boxes)
    predicted = float(expected[0, 0]) / grid.area
    left_out = [means.covariance(weights)[0, 0] for weights in means.jackknife_weights()]
    error = float(jackknife_error(left_out))
    return means.covariance()[0, 0] / predicted, error / predicted


def share_of_the_box(cone: LightCone, side_deg: float, z_source: float) -> float:
    """The share of the variance of the mean of a map that comes from modes which fit the box.

    A plane at the distance χ is a slab as thick as the box, L. A map covers the side s = χ side_deg
    of it. With the weight w of each plane, the variance is

        Σ_planes w² ∫ d²k/(2π)² (P(k)/L) sinc²(k_x s/2π) sinc²(k_y s/2π).

    In a periodic box the integral is a sum over k = 2π (i, j)/L, without (0, 0).
    """
    spacing = 2 * np.pi / cone.box_size
    of_box = np.arange(-64, 65) * spacing
    # For the integral eight times as fine, and shifted by half a cell, so that no k is zero.
    of_sky = (np.arange(-512, 512) + 0.5) * spacing / 8
    within = total = 0.0
    for chi, a, weight in zip(cone.chi, cone.scale_factors, born_weights(cone, z_source)):
        side = np.deg2rad(side_deg) * chi
        power = partial(theory.matter_power, z=1 / a - 1, cosmology=cone.cosmology)
        within += weight**2 * sum_over_modes(of_box, side, power)
        total += weight**2 * sum_over_modes(of_sky, side, power) / 64
    return within / total


def sum_over_modes(line: np.ndarray, side: float, power: Callable) -> float:
    """Σ P(k) sinc²(k_x s/2π) sinc²(k_y s/2π) over k_x and k_y on a line, without k = 0."""
    k = np.hypot(line[:, None], line)
    nodes = np.geomspace(k[k > 0].min(), k.max(), 100)
    inside = np.interp(np.log(k.clip(nodes[0])), np.log(nodes), power(nodes))
    window = np.sinc(line * side / (2 * np.pi)) ** 2
    return float((inside * np.outer(window, window))[k > 0].sum())


def spectrum_rows(grid: MapGrid, ratio: np.ndarray, error: np.ndarray) -> Iterator[str]:
    """The lines of the table of C_ℓ."""
    edges = ell_edges(grid)
    for low, high, value, uncertain in zip(edges, edges[1:], ratio, error):
        yield f"| {low:.0f}–{high:.0f} | {value:.3f} ± {uncertain:.3f} |"


def page() -> str:
    """The whole page, with the numbers that were measured now."""
    maps, boxes, grid, z_source = shipped()
    cone = sample_cone()
    expected = expected_power(grid, z_source)
    ratio, error = power_over_theory(maps, boxes, grid, expected)
    without = expected_power(grid, z_source, aliases=0)
    plain, _ = power_over_theory(maps, boxes, grid, without)
    variance, of_variance = mean_variance_over_theory(maps, boxes, grid, expected)
    return PAGE.format(
        cone=cone,
        reach=cone.n_planes * cone.box_size,
        cosmology=cone.cosmology,
        boxes="\n".join(box_rows()),
        spectrum="\n".join(spectrum_rows(grid, ratio, error)),
        first=ratio[0],
        last=ratio[-1],
        plain=", ".join(f"{value:.2f}" for value in plain[-3:]),
        variance=f"{variance:.2f} ± {of_variance:.2f}",
        share=share_of_the_box(cone, grid.side_deg, z_source),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="Markdown file to write")
    options = parser.parse_args()
    text = page()
    options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
