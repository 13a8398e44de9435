"""Open the sealed boxes, once per release, and add what they say to ``docs/sealed.md``.

    python benchmarks/sealed.py --planes PLANES     # simulates and measures the 64 boxes first
    python benchmarks/sealed.py --vectors FOLDER    # of `lensnb sample PLANES FOLDER --sealed`

The shipped models draw maps with one fixed seed. Their vectors, and those of as many maps of the
null, are compared with all sealed boxes, by the functions of the fidelity report. Rows that need
the maps of the sealed boxes are left out. A version that has its rows on the page is refused,
before anything is opened. So nothing can be chosen on the sealed boxes.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch

from benchmarks.true_boxes import ROWS, Partition, Vectors, of_boxes, sample
from lensnb import __version__, models
from lensnb.compare.estimate import threshold
from lensnb.compare.sample_vectors import load_vectors, stored_vectors
from lensnb.compare.vector_files import StoredVectors, same_bins
from lensnb.compare.vector_making import make_sealed_vectors
from lensnb.data import SAMPLE
from lensnb.ensemble import measure
from lensnb.files import atomic_write

OUTPUT = Path(__file__).parents[1] / "docs/sealed.md"
FAMILIES = ("flow", "diffusion")
SHOWN = (
    "C_ℓ mean",
    "C_ℓ scatter",
    "C_ℓ slope",
    "contour area",
    "coverage of 68 % regions",
    "seam: correlation of opposite edges",
    "scatter of the mean of a map",
    "effective maps",
)
TRUE = "true maps (null)"
SEED = 1  # of the maps, as for the model cards
LIMIT = threshold(len(SHOWN))


def opened(page: str) -> set[str]:
    """The versions that have rows on the page."""
    lines = [line.split("|") for line in page.splitlines() if line.startswith("| 2")]
    return {cells[2].strip() for cells in lines}


def refuse_twice(page: str, version: str, output: Path) -> None:
    """Raise a ValueError if the page has this version."""
    if version in opened(page):
        raise ValueError(
            f"the sealed boxes were opened for lensnb {version} already, see {output}; "
            "expected a new version"
        )


def sealed_vectors(folder: Path) -> StoredVectors:
    """The file of all sealed boxes, measured as the models will be.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it lacks boxes, or a statistic of today.
    """
    stored = stored_vectors("sealed", folder)
    if stored.about["partial"]:
        raise ValueError(
            f"the vectors in {folder} are of {len(np.unique(stored.boxes['sealed']))} sealed "
            "boxes only; expected all 64"
        )
    known = stored.about["statistics"]
    for name, statistic in (sample().suite | sample().per_map).items():
        if name not in known or not same_bins(known[name], statistic):
            raise ValueError(
                f"the vectors in {folder} have no {name!r} with the bins of today; make them again"
            )
    return stored


def vectors_of_model(family: str, maps: int, like: StoredVectors) -> Vectors:
    """Draw maps of a shipped model and measure them, rounded as the stored vectors are."""
    drawn = models.load(family).sample(maps, torch.Generator().manual_seed(SEED))
    finite = torch.isfinite(drawn).flatten(1).all(1)
    print(f"{family}: {int(finite.sum())} of {maps} maps are finite")
    return like.rounded(measure(sample().suite | sample().per_map, drawn[finite]))


def first_maps(vectors: Mapping, maps: int) -> Vectors:
    """Vectors of the first boxes, of so many maps or a few more."""
    simulation = next(iter(vectors.values())).simulation
    return of_boxes(vectors, np.unique(simulation[:maps]))


def judged(generator: Vectors, sealed: Vectors, rounds: int = 200) -> Iterator[str]:
    """The cells of one set: the number of maps, and each number with its answer."""
    boxes = np.unique(next(iter(sealed.values())).simulation)
    # The reference of a report is truth and null together: here all sealed boxes.
    halves = (of_boxes(sealed, boxes[::2]), of_boxes(sealed, boxes[1::2]))
    comparison = Partition(generator, *halves, seed=0, rounds=rounds)
    yield f"{len(next(iter(generator.values()))):,}"
    for name in SHOWN:
        estimate, quantity = comparison.estimate(name), ROWS[name]
        yield f"{quantity.text(estimate)} {quantity.answer(estimate, LIMIT).symbol}".strip()


def new_rows(folder: Path, maps: int, null: Vectors, version: str, date: str) -> list[str]:
    """The lines of the table for this version: true maps first, then each model."""
    stored = sealed_vectors(folder)
    sealed = stored.ensembles("sealed")
    sets = {TRUE: first_maps(null, maps)}
    for family in FAMILIES:
        sets[family] = vectors_of_model(family, maps, stored)
    lines = []
    for name, vectors in sets.items():
        lines.append(f"| {date} | {version} | {name} | {' | '.join(judged(vectors, sealed))} |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--planes", type=Path, help="folder of planes; missing boxes are made")
    where.add_argument("--vectors", type=Path, help="folder of the vectors of the sealed boxes")
    parser.add_argument("--maps", type=int, default=4096, help="maps to draw from each model")
    parser.add_argument("--workers", type=int, default=1, help="boxes at a time, with --planes")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the page to add to")
    options = parser.parse_args(arguments)
    try:
        lines = add_rows(options)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from None
    print(*lines, sep="\n")


def add_rows(options: argparse.Namespace) -> list[str]:
    """Open the sealed boxes and write their rows, unless the page has this version."""
    page = options.output.read_text(encoding="utf-8")
    refuse_twice(page, __version__, options.output)
    null = load_vectors("null", SAMPLE)
    folder = options.vectors
    if folder is None:
        folder = options.planes
        make_sealed_vectors(options.planes, folder, workers=options.workers)
    date = datetime.date.today().isoformat()
    lines = new_rows(folder, options.maps, null, __version__, date)
    with atomic_write(options.output) as file:
        file.write("\n".join([page.rstrip("\n"), *lines, ""]).encode())
    return lines


if __name__ == "__main__":
    main()
