"""A fidelity report on disk: all that its plots and the inspector need, in one ``.npz``.

The file has three parts, and no pickle:

* ``about`` is JSON: every number with its error, the statistics with their bins, the remarks;
* the vectors of every set, in float32 and bin after bin, so that they pack well. Counts and zeros
  stay exact, and any other value to 6e-8 of itself;
* a few maps of every set, to show them.

A thousand maps of about 200 bins take half a megabyte. The rounds of the bootstrap are not kept,
and statistics forget their functions: a report that was loaded can be drawn, inspected and joined
with another one, but it measures no more maps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from .. import __version__
from ..ensemble import Ensemble
from ..files import atomic_write
from ..stats import Statistic
from .contours import Contour
from .cost import Cost
from .effective import Worth
from .estimate import BesideTruth, Estimate, Share, WorstBin
from .memorisation import Nearest
from .origin import Origin
from .sets import BOTH, NULL, TRUTH, pooled
from .verdict import Verdict

if TYPE_CHECKING:
    from .report import FidelityReport

VERSION = 1

KINDS = {
    "number": Estimate,
    "worst bin": WorstBin,
    "beside truth": BesideTruth,
    "share": Share,
    "worth": Worth,
}


def vectors_beside(path: str | Path) -> Path:
    """The ``.npz`` that belongs to the JSON of a report.

    Raises:
        ValueError: the JSON would have the name of the ``.npz``.
    """
    path = Path(path)
    if path.suffix == ".npz":
        raise ValueError(
            f"{path} is the name of the vectors of a report; expected that of its JSON, such as "
            f"{path.with_suffix('.json').name}, beside which they are written"
        )
    return path.with_suffix(".npz")


def write_vectors_of(report: FidelityReport, path: Path, json_file: Path) -> Path:
    """Write all that :func:`read_parts` needs, atomically.

    Args:
        report: the report.
        path: ends in ``.npz``.
        json_file: the JSON of the same report, by whose content the two are known to belong
            together.
    """
    about = _about(report) | {"json": _fingerprint(json_file)}
    arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
    for number, name in enumerate(about["sets"]):
        joint = Ensemble.join(report.ensembles[name][one] for one in report.statistics)
        arrays[f"{number}.bins"] = np.ascontiguousarray(joint.vectors.T, np.float32)
        arrays[f"{number}.simulation"] = joint.simulation
        if name in report.examples:
            arrays[f"{number}.examples"] = np.asarray(report.examples[name], np.float32)
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)
    return path


def read_parts(path: str | Path) -> dict:
    """The attributes of a saved report, by name.

    Args:
        path: the JSON of the report, with its ``.npz`` beside it, or the ``.npz`` itself.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: a file is not whole, is of another version, or the two were not saved together.
    """
    path = Path(path)
    archive_file = path if path.suffix == ".npz" else path.with_suffix(".npz")
    for file in (path, archive_file):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} is missing; expected a report that FidelityReport.save wrote, with the "
                f"file {archive_file.name} in the same folder"
            )
    about, arrays = _read(archive_file)
    if path != archive_file and about["json"] != _fingerprint(path):
        raise ValueError(
            f"{path} and {archive_file.name} were not saved together; expected the files of one "
            f"report (to read the report of {archive_file.name}, name that file)"
        )
    return _parts(about, arrays)


# ---------------------------------------------------------------- what is written


def _about(report: FidelityReport) -> dict:
    """All of a report but its vectors, as JSON values; NaN and infinity stay numbers."""
    return {
        "version": VERSION,
        "lensnb": __version__,
        "sets": [name for name in report.ensembles if name != BOTH],
        "statistics": {name: _statistic_json(one) for name, one in report.statistics.items()},
        "per_map": {name: _statistic_json(one) for name, one in report.per_map.items()},
        "verdicts": _verdicts_json(report.verdicts),
        "against_train": _verdicts_json(report.against_train),
        "extras": {
            name: {row: estimate_json(one) for row, one in rows.items()}
            for name, rows in report.extras.items()
        },
        "ks": {name: p.tolist() for name, p in report.ks.items()},
        "neighbours": {name: _arrays_json(one) for name, one in report.neighbours.items()},
        "costs": {name: asdict(cost) for name, cost in report.costs.items()},
        "counts": report.counts,
        "parameters": list(report.parameters),
        "notes": report.notes,
        "contours": {name: _arrays_json(one) for name, one in report.contours.items()},
        "origin": None if report.origin is None else asdict(report.origin),
    }


def _verdicts_json(verdicts: Mapping[str, Mapping[str, Verdict]]) -> dict:
    return {
        name: {part: _verdict_json(one) for part, one in by_part.items()}
        for name, by_part in verdicts.items()
    }


def _verdict_json(verdict: Verdict) -> dict:
    return {one.name: estimate_json(getattr(verdict, one.name)) for one in fields(verdict)}


def estimate_json(estimate: Estimate) -> dict:
    """An estimate as JSON values, without the rounds of its bootstrap."""
    kept = {"kind": next(name for name, kind in KINDS.items() if kind is type(estimate))}
    for name, value in vars(estimate).items():
        if name != "rounds":
            kept[name] = _plain(value)
    return kept


def _statistic_json(statistic: Statistic) -> dict:
    kept = {one.name: _plain(getattr(statistic, one.name)) for one in fields(statistic)}
    del kept["function"]
    kept["parts"] = {name: [part.start, part.stop] for name, part in statistic.parts.items()}
    return kept


def _arrays_json(one: Nearest | Contour) -> dict:
    return {name: _plain(values) for name, values in vars(one).items()}


def _plain(value):
    """Arrays and numbers of NumPy as lists and numbers of Python."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _fingerprint(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:32]


# ---------------------------------------------------------------- what is read


def _read(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            arrays = {name: archive[name] for name in archive.files}
        found = about["version"]
    except Exception as error:
        raise ValueError(
            f"{path} is not a whole file of a report ({error}); "
            "expected one that FidelityReport.save wrote"
        ) from None
    if found != VERSION:
        raise ValueError(
            f"{path} has version {found} of the format; expected {VERSION}: "
            "compare the maps again, or read it with the lensnb that wrote it"
        )
    return about, arrays


def _parts(about: dict, arrays: dict[str, np.ndarray]) -> dict:
    statistics = {name: _statistic(one) for name, one in about["statistics"].items()}
    ensembles = {
        name: _ensembles(statistics, arrays, number) for number, name in enumerate(about["sets"])
    }
    ensembles[BOTH] = pooled(ensembles[TRUTH], ensembles[NULL])
    neighbours = {}
    for name, one in about["neighbours"].items():
        neighbours[name] = Nearest(**{key: np.array(values) for key, values in one.items()})
    return {
        "statistics": statistics,
        "ensembles": ensembles,
        "verdicts": _verdicts(about["verdicts"]),
        "against_train": _verdicts(about["against_train"]),
        "extras": {
            name: {row: estimate_of(one) for row, one in rows.items()}
            for name, rows in about["extras"].items()
        },
        "ks": {name: np.array(p) for name, p in about["ks"].items()},
        "neighbours": neighbours,
        "costs": {name: Cost(**one) for name, one in about["costs"].items()},
        "counts": about["counts"],
        "per_map": {name: _statistic(one) for name, one in about["per_map"].items()},
        "parameters": tuple(about["parameters"]),
        "notes": about["notes"],
    } | _parts_of_later_versions(about, arrays)


def _parts_of_later_versions(about: dict, arrays: dict[str, np.ndarray]) -> dict:
    """What the first reports that were saved did not have."""
    contours = {}
    for name, one in about.get("contours", {}).items():
        contours[name] = Contour(**{key: np.array(values) for key, values in one.items()})
    examples = {}
    for number, name in enumerate(about["sets"]):
        if f"{number}.examples" in arrays:
            examples[name] = arrays[f"{number}.examples"]
    origin = about.get("origin")
    if origin is not None:
        origin = Origin(**origin | {"z_source": tuple(origin["z_source"])})
    return {"contours": contours, "examples": examples, "origin": origin}


def _ensembles(
    statistics: Mapping[str, Statistic], arrays: dict[str, np.ndarray], number: int
) -> dict[str, Ensemble]:
    """The vectors of a set, by statistic."""
    vectors = arrays[f"{number}.bins"].T.astype(np.float64, order="C")
    simulation = arrays[f"{number}.simulation"]
    found, start = {}, 0
    for name, statistic in statistics.items():
        stop = start + len(statistic.x)
        found[name] = Ensemble(vectors[:, start:stop], simulation)
        start = stop
    return found


def _verdicts(kept: dict) -> dict[str, dict[str, Verdict]]:
    found = {}
    for name, by_part in kept.items():
        found[name] = {
            part: Verdict(**{number: estimate_of(one) for number, one in numbers.items()})
            for part, numbers in by_part.items()
        }
    return found


def estimate_of(kept: dict) -> Estimate:
    """The estimate of :func:`estimate_json`."""
    kind = KINDS[kept["kind"]]
    # Each kind is made from what is no longer there, such as all bins of a worst bin.
    found = kind.__new__(kind)
    values = {name: value for name, value in kept.items() if name != "kind"}
    for name in ("value", "error"):
        values[name] = np.asarray(values[name], float)
    vars(found).update(values, rounds=None)
    return found


def _statistic(kept: dict) -> Statistic:
    parts = {name: slice(*ends) for name, ends in kept["parts"].items()}
    changes = {"x": np.array(kept["x"]), "parts": parts, "entries": tuple(kept["entries"])}
    return Statistic(**kept | changes, function=partial(_measures_nothing, kept["name"]))


def _measures_nothing(name: str, maps: Tensor) -> Tensor:
    raise ValueError(
        f"{name!r} comes from a saved report, which does not keep how it is measured; "
        "expected a statistic of lensnb.stats.suite"
    )
