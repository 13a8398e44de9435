"""What do small boxes cost? Compare them with boxes of twice the side; ``docs/large_boxes.md``.

    lensnb simulate 0 31 PLANES/wide --cone wide --sigma8 0.8121
    lensnb simulate 32 63 PLANES/low  --cone small --sigma8 0.8121 --delta-b -0.05
    lensnb simulate 32 63 PLANES/high --cone small --sigma8 0.8121 --delta-b 0.05
    python benchmarks/large_boxes.py SMALL PLANES/wide --boxes 96 --wide-boxes 32 \\
        --regions PLANES/low PLANES/high --region-boxes 32-63 --fine PLANES/fine

Both kinds of boxes are cut into fields of 5° with pixels of 4.7′, and measured with the default
statistics. What a folder lacks is simulated and measured; vectors stay beside the planes, so that
an interrupted run resumes. Small boxes with the super-sample term are then compared with wide
ones. That term has the modes that the wide boxes hold and the small ones lack. Errors are from a
jackknife over boxes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np

from benchmarks.large_boxes_page import PAGE, boxes_in_words, with_error
from benchmarks.large_fields import (
    N_PIX,
    SIDE_DEG,
    Z_SOURCE,
    fine_section,
    jackknifed,
    large_field_rows,
)
from benchmarks.large_responses import expected_responses
from lensnb.compare.box_vectors import measure_boxes
from lensnb.compare.cosmology_responses import box_responses
from lensnb.compare.moments import correlation_slope
from lensnb.compare.vector_making import sample_statistics, suite_of_sample
from lensnb.ensemble import (
    Ensemble,
    add_super_sample,
    correlation,
    response_to_mean,
)
from lensnb.ensemble.super_sample import Share
from lensnb.files import atomic_write
from lensnb.maps import MapGrid
from lensnb.sims import LightCone
from lensnb.sims.boxes import cone_of
from lensnb.stats import ell_edges
from lensnb.theory import sigma_b

OUTPUT = Path(__file__).parents[1] / "docs/large_boxes.md"
MEAN = "map mean"


@dataclass
class Boxes:
    """The vectors of the maps of some boxes.

    Attributes:
        cone: of the boxes.
        vectors: by statistic.
    """

    cone: LightCone
    vectors: dict[str, Ensemble]

    @property
    def joint(self) -> Ensemble:
        """The vectors of the default statistics in a row."""
        return Ensemble.join(one for name, one in self.vectors.items() if name != MEAN)

    def start(self, name: str) -> int:
        """Where a statistic begins in the joint vectors."""
        bins = {one: ensemble.vectors.shape[1] for one, ensemble in self.vectors.items()}
        before = list(bins).index(name)
        return sum(list(bins.values())[:before])

    @property
    def means(self) -> np.ndarray:
        return self.vectors[MEAN].vectors[:, 0]

    def lacking(self) -> float:
        """σ_b of the modes that the boxes lack."""
        return sigma_b(SIDE_DEG, Z_SOURCE, self.cone.cosmology, self.cone.box_size)


def measured_boxes(folder: Path, boxes: list[int], workers: int) -> Boxes:
    """Measure boxes, with the settings that their folder keeps."""
    cone = cone_of(folder)
    return Boxes(cone, measure_boxes(boxes, folder, statistics(), cone, workers))


def statistics() -> dict:
    """The default statistics, and the mean of a map."""
    return suite_of_sample() | {MEAN: sample_statistics()[MEAN]}


def check_alike(small: LightCone, wide: LightCone) -> None:
    """Refuse boxes that differ in more than their size."""
    found = (small.cosmology, small.thickness, small.box_size / small.n_particles)
    other = (wide.cosmology, wide.thickness, wide.box_size / wide.n_particles)
    if found != other:
        raise ValueError(
            "the small and the wide boxes must have the same cosmology, thickness of planes and "
            f"particle spacing; found {found} and {other}"
        )


def slope(covariance: np.ndarray, reference: np.ndarray) -> float:
    """Correlation slope on the reference."""
    return correlation_slope(correlation(covariance), correlation(reference))


def scatter_ratio(covariance: np.ndarray, reference: np.ndarray) -> float:
    """Scatter over that of the reference, on average over bins that have one."""
    squares = np.diag(reference)
    inside = squares > 0
    return float(np.sqrt(np.diag(covariance)[inside] / squares[inside]).mean())


def halves(ensemble: Ensemble) -> tuple[Ensemble, Ensemble]:
    """Every other box, and the rest."""
    inside = np.isin(ensemble.simulation, ensemble.simulations[::2])
    parts = [(ensemble.vectors[some], ensemble.simulation[some]) for some in (inside, ~inside)]
    return Ensemble(*parts[0]), Ensemble(*parts[1])


def spectrum_rows(small: Boxes, wide: Boxes) -> Iterator[str]:
    """The lines of the table of C_ℓ."""
    edges = ell_edges(MapGrid(N_PIX, SIDE_DEG))
    few, many = (one.vectors["power"] for one in (wide, small))
    ratio = few.mean() / many.mean()
    parts = [one.mean_error() / one.mean() for one in (few, many)]
    for i, (low, high) in enumerate(zip(edges, edges[1:])):
        error = ratio[i] * np.hypot(parts[0][i], parts[1][i])
        yield f"| {low:.0f}–{high:.0f} | {ratio[i]:.3f} ± {error:.3f} |"


def mean_rows(small: Boxes, wide: Boxes) -> Iterator[str]:
    """The lines of the table of the scatter of the mean of a map."""
    in_all = sigma_b(SIDE_DEG, Z_SOURCE, small.cone.cosmology)

    def over_theory(covariance: np.ndarray) -> float:
        return float(np.sqrt(covariance[0, 0]) / in_all)

    for boxes in (small, wide):
        found = jackknifed(over_theory, boxes.vectors[MEAN])
        expected = np.sqrt(1 - (boxes.lacking() / in_all) ** 2)
        yield f"| {boxes.cone.box_size:g} | {with_error(found)} | {expected:.3f} |"


Response = tuple[np.ndarray, np.ndarray]  # with its standard errors


def response_rows(small: Boxes, regression: Response, regions: Response | None) -> Iterator[str]:
    """The lines of the table of ∂ ln C_ℓ / ∂κ: read off the means, and from regions if any."""
    edges = ell_edges(MapGrid(N_PIX, SIDE_DEG))
    centres = np.sqrt(edges[1:] * edges[:-1])
    expected = expected_responses(small.cone, SIDE_DEG, Z_SOURCE, centres)
    power = small.vectors["power"].mean()
    start = small.start("power")
    for i, theory in enumerate(expected):
        cells = [f"{edges[i]:.0f}–{edges[i + 1]:.0f}"]
        for response in (regression, regions):
            if response is None:
                cells.append("not measured")
                continue
            r, error = response
            one = Share(r[start + i] / power[i], error[start + i] / power[i])
            cells.append(with_error(one, 1))
        cells += [f"{theory.regression:.2f}", f"{theory.lacking:.2f}", f"{theory.kept:.2f}"]
        yield f"| {' | '.join(cells)} |"


def response_of_regions(folders: list[Path], boxes: list[int], workers: int) -> Response:
    """r = ∂v/∂κ̄ of the joint vectors from boxes of two mean densities, and its errors."""
    pair = (folders[0], folders[1])
    found = box_responses({"delta_b": pair}, boxes, statistics(), workers)
    per_mean = found.values[MEAN][0, 0]
    names = suite_of_sample()
    values = np.concatenate([found.values[name][:, 0] for name in names])
    errors = np.concatenate([found.errors[name][:, 0] for name in names])
    return values / per_mean, errors / per_mean


def covariance_rows(small: Boxes, wide: Boxes, r: np.ndarray, missing: float) -> Iterator[str]:
    """The lines of the table of covariances: wide boxes beside small ones, without and with it."""

    def corrected(covariance: np.ndarray) -> np.ndarray:
        return add_super_sample(covariance, r, missing).covariance

    def slope_on_corrected(ours: np.ndarray, reference: np.ndarray) -> float:
        return slope(ours, corrected(reference))

    def scatter_on_corrected(ours: np.ndarray, reference: np.ndarray) -> float:
        return scatter_ratio(ours, corrected(reference))

    null = halves(small.joint)
    both = (wide.joint, small.joint)
    rows = {
        "wide boxes on small ones": (slope, scatter_ratio, both),
        "wide boxes on small ones with the term": (
            slope_on_corrected,
            scatter_on_corrected,
            both,
        ),
        "null: half of the small boxes on the rest": (slope, scatter_ratio, null),
    }
    for name, (of_slope, of_scatter, pair) in rows.items():
        cells = [with_error(jackknifed(number, *pair)) for number in (of_slope, of_scatter)]
        yield f"| {name} | {' | '.join(cells)} |"


def page(options: argparse.Namespace) -> str:
    """The whole page, with the numbers that were measured now."""
    numbers = list(range(options.boxes)), list(range(options.wide_boxes))
    small = measured_boxes(options.small, numbers[0], options.workers)
    wide = measured_boxes(options.wide, numbers[1], options.workers)
    check_alike(small.cone, wide.cone)
    r, noise = response_to_mean(small.joint, small.means)
    regression = (r, np.sqrt(np.diag(noise)))
    regions = None
    if options.regions:
        which = numbers_of(options.region_boxes)
        regions = response_of_regions(options.regions, which, options.workers)
    chosen, error = regions or (r, noise)
    missing = float(np.sqrt(small.lacking() ** 2 - wide.lacking() ** 2))
    term = add_super_sample(small.joint.covariance(), chosen, small.lacking(), error)
    text = PAGE.format(
        small=boxes_in_words(small.cone, len(numbers[0])),
        wide=boxes_in_words(wide.cone, len(numbers[1])),
        spectrum="\n".join(spectrum_rows(small, wide)),
        means="\n".join(mean_rows(small, wide)),
        responses="\n".join(response_rows(small, regression, regions)),
        source="the map means" if regions is None else "the regions",
        covariances="\n".join(covariance_rows(small, wide, chosen, missing)),
        missing=f"{missing:.2e}",
        lacking=f"{small.lacking():.2e}",
        trace=with_error(term.trace),
        largest=with_error(term.largest),
        along=with_error(term.along),
        noise=f"{term.noise:.3f}",
        fields="\n".join(large_field_rows(options.wide, numbers[1], wide.cone)),
    )
    if options.fine:
        text += fine_section(options.fine, options.fine_boxes)
    return text


def numbers_of(text: str) -> list[int]:
    """The numbers of boxes from ``"32-63"``."""
    first, last = text.split("-")
    return list(range(int(first), int(last) + 1))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("small", type=Path, help="folder of the small boxes")
    parser.add_argument("wide", type=Path, help="folder of the wide boxes")
    parser.add_argument("--boxes", type=int, default=96, help="small boxes, from 0 on")
    parser.add_argument("--wide-boxes", type=int, default=32, help="wide boxes, from 0 on")
    parser.add_argument(
        "--regions", type=Path, nargs=2, help="folders of boxes of a low and a high mean density"
    )
    parser.add_argument("--region-boxes", default="32-63", help="numbers of the boxes in them")
    parser.add_argument("--fine", type=Path, help="folder of the fine boxes, which exist")
    parser.add_argument("--fine-boxes", type=int, default=24, help="fine boxes, from 0 on")
    parser.add_argument("--workers", type=int, default=1, help="boxes at a time")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="Markdown file to write")
    options = parser.parse_args(arguments)
    text = page(options)
    with atomic_write(options.output) as file:
        file.write(text.encode())
    print(text)


if __name__ == "__main__":
    main()
