"""The vectors of all true maps of the sample, where they were made.

The package has the maps of 32 boxes a set. The file of vectors has those of 256 boxes of truth and
of null: 8,192 maps a set. The first 1,024 vectors are those of the shipped maps, in their order.

    truth = load_vectors("truth")  # {"power": Ensemble of 8192 maps, …}

``lensnb sample PLANES OUT --vectors`` makes them again (:mod:`lensnb.compare.vector_making`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..data import SAMPLE, MapSet
from ..data.shipped import fingerprint
from ..ensemble import Ensemble
from ..stats import Statistic
from .vector_files import StoredVectors, read_vectors, same_bins

FILES = {"truth": "vectors.npz", "null": "vectors.npz", "sealed": "sealed_vectors.npz"}

_FEW = 4  # maps that tell whether two statistics are the same
_CLOSE = 2e-3  # in standard deviations: float16, and the arithmetic of another machine
_FLIPS = 0.05  # share of numbers that may differ more: on another machine a peak may change bins


def load_vectors(name: str = "truth", folder: str | Path = SAMPLE) -> dict[str, Ensemble]:
    """The vectors of all true maps of a set, by statistic.

    They were stored in float16; :mod:`lensnb.compare.vector_files` says what that means.

    Args:
        name: ``"truth"`` or ``"null"``; ``"sealed"`` from a folder that has them.
        folder: where the file is.

    Returns:
        Ensembles whose simulations are the boxes. Their arrays are read-only.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: an unknown name, or a file that is not whole or of another version.
    """
    if name not in FILES:
        raise ValueError(f"vectors are kept of the sets {', '.join(FILES)}; found {name!r}")
    return dict(_ensembles(name, stored_vectors(name, folder)))


def stored_vectors(name: str = "truth", folder: str | Path = SAMPLE) -> StoredVectors:
    """The whole file that has the vectors of a set.

    Raises:
        FileNotFoundError, ValueError: as for :func:`load_vectors`.
    """
    option = "--sealed" if name == "sealed" else "--vectors"
    how = f"run 'lensnb sample PLANES {Path(folder).name} {option}' to make it"
    return read_vectors(Path(folder) / FILES[name], how)


def vectors_of(
    maps: MapSet, statistics: Mapping[str, Statistic], folder: str | Path = SAMPLE
) -> dict[str, Ensemble] | None:
    """The stored vectors of the set that these maps begin, if they are a whole shipped set.

    Args:
        maps: perhaps ``load_sample("truth")`` or ``load_sample("null")``, unchanged.
        statistics: by name; each must be stored, with the same bins and with the same values for
            the first maps.
        folder: where the file is.

    Returns:
        The ensembles of :func:`load_vectors` of these statistics. None if the maps or the
        statistics are others, or if there is no file.
    """
    if not (Path(folder) / FILES["truth"]).exists():
        return None
    stored = stored_vectors("truth", folder)
    name = _shipped_set(maps, stored)
    if name is None or not _stored_statistics(maps, statistics, stored, name):
        return None
    ensembles = load_vectors(name, folder)
    return {statistic: ensembles[statistic] for statistic in statistics}


def why_not_stored(
    truth: MapSet, null: MapSet, by_survey: bool, folder: str | Path = SAMPLE
) -> str:
    """Why maps of the sample are compared without the stored vectors, in a sentence.

    Args:
        truth, null: the true maps.
        by_survey: because noise, a mask or smoothing has changed the maps; otherwise because the
            statistics are others.
        folder: where the file is.

    Returns:
        Empty if there is no file, or if the maps are not the sample's.
    """
    if vectors_of(truth, {}, folder) is None or vectors_of(null, {}, folder) is None:
        return ""
    more = len(stored_vectors("truth", folder).z["truth"])
    others = "other statistics"
    if by_survey:
        others = "maps without this noise, mask or smoothing"
    return (
        f"Truth and null are the shipped maps only: the vectors that are stored of {more} maps "
        f"a set are those of {others}."
    )


def as_stored(
    ensembles: Mapping[str, Ensemble], folder: str | Path = SAMPLE
) -> dict[str, Ensemble]:
    """Vectors of other maps, rounded as the stored ones are.

    Without it a count of 3 would lie beside a stored count of 3.0004, and every test of
    distributions would tell them apart. Statistics that are not stored stay as they are.

    Args:
        ensembles: by statistic, measured with the statistics of :func:`vectors_of`.
        folder: where the file is.
    """
    return stored_vectors("truth", folder).rounded(ensembles)


def _shipped_set(maps: MapSet, stored: StoredVectors) -> str | None:
    """The name of the set whose shipped maps these are."""
    for name, of_shipped in stored.about["fingerprints"].items():
        boxes = stored.boxes[name][: len(maps)]
        if not np.array_equal(maps.simulation, boxes):
            continue
        kept = np.asarray(maps.maps)
        with np.errstate(over="ignore"):
            half = kept.astype(np.float16)
        if np.array_equal(half, kept) and fingerprint(half) == of_shipped:
            return name
    return None


def _stored_statistics(
    maps: MapSet, statistics: Mapping[str, Statistic], stored: StoredVectors, name: str
) -> bool:
    """Whether all these statistics are stored: same bins, and same values of the first maps."""
    few = maps[:_FEW].tensor()
    columns = stored.columns
    for statistic, function in statistics.items():
        bins = stored.about["statistics"].get(statistic)
        if bins is None or not same_bins(bins, function):
            return False
        where = columns[statistic]
        z = (function(few) - stored.mean[where]) / stored.scale[where]
        expected = stored.z[name][:_FEW, where].astype(float)
        far = np.abs(z - expected) > _CLOSE * np.maximum(1, np.abs(expected))
        if far.mean() > _FLIPS:
            return False
    return True


@lru_cache(maxsize=4)
def _ensembles(name: str, stored: StoredVectors) -> dict[str, Ensemble]:
    return stored.ensembles(name)
