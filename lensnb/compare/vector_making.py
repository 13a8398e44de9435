"""Make the vectors that come with lensnb: all maps of all boxes of truth and null, measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .. import __version__
from ..data import SAMPLE, load_sample
from ..data.shipped import fingerprint
from ..sims import LightCone
from ..sims.sample import MAPS_A_BOX, boxes_of, sample_cone, shipped_boxes
from ..stats import Statistic, suite
from .box_vectors import measure_boxes
from .per_map import per_map_statistics
from .sample_vectors import FILES, stored_vectors
from .vector_files import bins_of, mean_and_scale, same_bins, write_vectors


def suite_of_sample() -> dict[str, Statistic]:
    """The statistics that ``compare`` uses by default, with the bins of the sample."""
    truth = load_sample("truth")
    return suite(truth.tensor(), truth.side_deg)


def sample_statistics() -> dict[str, Statistic]:
    """What is stored: all that ``compare`` measures of each map of the sample by default."""
    truth = load_sample("truth")
    return suite_of_sample() | per_map_statistics(truth.tensor(), truth.side_deg)


def make_vectors(
    planes: str | Path,
    out: str | Path,
    boxes: int = 256,
    cone: LightCone | None = None,
    statistics: Mapping[str, Statistic] | None = None,
    workers: int = 1,
) -> Path:
    """Make the file of :func:`~lensnb.compare.sample_vectors.load_vectors`, truth and null.

    An interrupted run resumes.

    Args:
        planes: keeps the planes and the vectors of each box; what is missing is made. The boxes
            of the shipped maps need no planes.
        out: folder of the file.
        boxes: boxes a set; with fewer than 256 the file says that it is partial.
        cone: geometry of the planes; by default the sample's.
        statistics: by name; by default :func:`sample_statistics`.
        workers: boxes at a time.

    Returns:
        The file.

    Raises:
        ValueError: ``planes`` has boxes made with other settings, or vectors of other code.
    """
    cone = cone or sample_cone()
    statistics = statistics or sample_statistics()
    sets = {}
    for name in ("truth", "null"):
        numbers = boxes_of(name, boxes)
        sets[name] = measure_boxes(numbers, planes, statistics, cone, workers)
    about = _about("truth", boxes, statistics, cone)
    if shipped_boxes(cone):
        about["fingerprints"] = {name: fingerprint(load_sample(name).maps) for name in sets}
    return write_vectors(Path(out) / FILES["truth"], sets, mean_and_scale(sets["truth"]), about)


def make_sealed_vectors(
    planes: str | Path,
    out: str | Path,
    boxes: int = 64,
    cone: LightCone | None = None,
    statistics: Mapping[str, Statistic] | None = None,
    workers: int = 1,
    like: str | Path = SAMPLE,
) -> Path:
    """Make the vectors of the sealed boxes, which are never shipped.

    Args:
        planes, cone, statistics, workers: as for :func:`make_vectors`.
        out: folder of the file, outside of the package.
        boxes: how many; with fewer than 64 the file says that it is partial.
        like: folder of the vectors of the truth, whose mean and scatter standardise these.

    Returns:
        The file.

    Raises:
        FileNotFoundError: there are no vectors of the truth.
        ValueError: ``out`` is in the package, or the statistics differ from the truth's.
    """
    if SAMPLE.resolve() in [Path(out).resolve(), *Path(out).resolve().parents]:
        raise ValueError(f"sealed vectors are not shipped: expected a folder outside of {SAMPLE}")
    cone = cone or sample_cone()
    statistics = statistics or sample_statistics()
    truth = stored_vectors("truth", like)
    _check_same(statistics, truth.about["statistics"], like)
    sealed = measure_boxes(boxes_of("sealed", boxes), planes, statistics, cone, workers)
    about = _about("sealed", boxes, statistics, cone)
    standard = (truth.mean, truth.scale)
    return write_vectors(Path(out) / FILES["sealed"], {"sealed": sealed}, standard, about)


def _about(name: str, boxes: int, statistics: Mapping[str, Statistic], cone: LightCone) -> dict:
    """What the file says of itself but for the fingerprints of shipped maps."""
    option = "--sealed" if name == "sealed" else "--vectors"
    command = f"lensnb sample PLANES OUT {option} --boxes {boxes}"
    partial = boxes < len(boxes_of(name))
    return {
        "made_by": f"lensnb {__version__}",
        "command": command,
        "partial": partial,
        "maps_per_box": MAPS_A_BOX,
        "cone": cone.as_dict(),
        "statistics": bins_of(statistics),
        "fingerprints": {},
    }


def _check_same(statistics: Mapping[str, Statistic], stored: dict, folder: str | Path) -> None:
    same = list(statistics) == list(stored)
    same = same and all(same_bins(stored[name], one) for name, one in statistics.items())
    if not same:
        raise ValueError(
            f"the vectors of the truth in {folder} have other statistics or bins; make them again"
        )
