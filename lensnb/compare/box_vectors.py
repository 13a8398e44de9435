"""The vectors of all maps of some N-body boxes, box by box, kept beside the planes.

Each box is simulated if its planes are missing, cut into 32 maps and measured. Its vectors then
stay in a small file beside the planes, in float64. So an interrupted run resumes, and after a
change only the statistics that are new or have other bins are measured again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from .. import __version__
from ..ensemble import Ensemble, measure
from ..files import atomic_write
from ..sims import LightCone, simulate_boxes
from ..sims.boxes import end_with_parent
from ..sims.sample import MAPS_A_BOX, maps_of_box, shipped_boxes
from ..stats import Statistic
from .vector_files import VERSION, bins_of, same_bins


def measure_boxes(
    boxes: Sequence[int],
    planes: str | Path,
    statistics: Mapping[str, Statistic],
    cone: LightCone,
    workers: int = 1,
) -> dict[str, Ensemble]:
    """The vectors of all maps of boxes, from what ``planes`` keeps where that is possible.

    The first box is always measured, to see that the kept vectors come from the same code.

    Args:
        boxes: numbers, one box after the other in the result.
        planes: keeps the planes and the vectors; what is missing is made.
        statistics: by name; with several workers they must be picklable.
        cone: geometry of the planes.
        workers: boxes at a time, each in a process of its own.

    Returns:
        Ensembles by statistic; their simulations are the boxes.

    Raises:
        ValueError: ``planes`` has boxes made with other settings, or vectors of other code.
    """
    planes = Path(planes)
    lacking = [box for box in boxes[1:] if _unknown(box, planes, statistics)]
    first = boxes[0]
    simulated = set([first, *lacking]) - shipped_boxes(cone)
    simulate_boxes(sorted(simulated), planes, cone, workers)
    _check_kept(first, planes, statistics, cone)
    with tqdm(total=len(boxes), initial=len(boxes) - len(lacking), desc="vectors") as bar:
        for _ in _measured(lacking, planes, statistics, cone, workers):
            bar.update()
    kept = [_kept(box, planes, statistics) for box in boxes]
    simulation = np.repeat(boxes, MAPS_A_BOX)
    return {
        name: Ensemble(np.concatenate([one[name] for one in kept]), simulation)
        for name in statistics
    }


def _measured(
    boxes: Iterable[int],
    planes: Path,
    statistics: Mapping[str, Statistic],
    cone: LightCone,
    workers: int,
) -> Iterator[None]:
    """Measure boxes and keep their vectors; yields after each one."""
    one = partial(_measure, planes=planes, statistics=dict(statistics), cone=cone)
    if workers == 1:
        yield from map(one, boxes)
        return
    context = get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, context, _start_worker) as executor:
        yield from executor.map(one, boxes)


def _start_worker() -> None:
    end_with_parent()
    torch.set_num_threads(1)


def _measure(box: int, planes: Path, statistics: dict[str, Statistic], cone: LightCone) -> None:
    """Measure what is not known of a box yet, and keep it."""
    kept = _kept(box, planes, statistics)
    unknown = {name: one for name, one in statistics.items() if name not in kept}
    found = measure(unknown, maps_of_box(box, planes, cone))
    _keep(box, planes, statistics, kept | _arrays(found))


def _arrays(ensembles: Mapping[str, Ensemble]) -> dict[str, np.ndarray]:
    return {name: one.vectors for name, one in ensembles.items()}


def _keep(
    box: int,
    planes: Path,
    statistics: Mapping[str, Statistic],
    arrays: Mapping[str, np.ndarray],
) -> None:
    about = {"version": VERSION, "lensnb": __version__, "statistics": bins_of(statistics)}
    with atomic_write(_vector_file(planes, box)) as file:
        np.savez(file, about=json.dumps(about), **arrays)


def _check_kept(
    box: int, planes: Path, statistics: Mapping[str, Statistic], cone: LightCone
) -> None:
    """Measure a box, and refuse vectors of it that were kept and that differ."""
    kept = _kept(box, planes, statistics)
    fresh = measure(statistics, maps_of_box(box, planes, cone))
    for name, vectors in kept.items():
        difference = np.abs(vectors - fresh[name].vectors)
        # A peak that lies on an edge may change bins from one machine to another.
        far = difference > 1e-3 * fresh[name].vectors.std(0)
        if far.mean() > 0.01:
            folder = _vector_file(planes, box).parent
            raise ValueError(
                f"{folder} keeps vectors of {name!r} that this version measures otherwise; "
                "delete that folder to measure all boxes again"
            )
    _keep(box, planes, statistics, _arrays(fresh))


def _kept(box: int, planes: Path, statistics: Mapping[str, Statistic]) -> dict[str, np.ndarray]:
    """The vectors of a box that an earlier run kept, of the statistics with the same bins."""
    path = _vector_file(planes, box)
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as archive:
        about = json.loads(str(archive["about"]))
        if about["version"] != VERSION:
            return {}
        bins = about["statistics"]
        return {
            name: archive[name]
            for name, one in statistics.items()
            if name in bins and same_bins(bins[name], one)
        }


def _unknown(box: int, planes: Path, statistics: Mapping[str, Statistic]) -> bool:
    return len(_kept(box, planes, statistics)) < len(statistics)


def _vector_file(planes: Path, box: int) -> Path:
    return planes / "vectors" / f"box_{box:05d}.npz"
