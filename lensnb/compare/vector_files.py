"""Files of the vectors of many true maps: standardised, float16, with what the numbers mean.

With the mean μ and the scatter σ of the truth in each bin, a file keeps

    z = (v − μ) / σ   rounded to float16,

and μ and σ in float64. The rounding changes z by at most 2⁻¹¹ = 4.9e-4 of itself. Maps scatter by
one in z, so a mean of n maps moves by about 3e-4/√n, which is far below its error, 1/√n.

Values that were equal before are equal after. But counts, such as those of peaks, are no longer
exactly those of other maps: give other vectors the same rounding before distributions are
compared (``StoredVectors.rounded``).

A file is an ``.npz`` without pickle: ``about`` (JSON), ``mean``, ``scale``, and for each set its
``z`` by the name of the set and the box of each map (``truth``, ``truth.box``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..ensemble import Ensemble
from ..files import atomic_write
from ..stats import Statistic

VERSION = 1

_LARGEST = 60_000  # float16 ends at 65,504


@dataclass(frozen=True, eq=False)  # equal only to itself, so that it can be a key of a cache
class StoredVectors:
    """What a file holds.

    Attributes:
        about: plain JSON values; ``statistics`` has the bins of each statistic, in the order of
            the columns.
        mean, scale: μ and σ, shape ``(bins,)``.
        z: standardised vectors by set, float16, shape ``(maps, bins)``.
        boxes: the box of each map, by set, shape ``(maps,)``.
    """

    about: dict
    mean: np.ndarray
    scale: np.ndarray
    z: dict[str, np.ndarray]
    boxes: dict[str, np.ndarray]

    @property
    def columns(self) -> dict[str, slice]:
        """Where the bins of each statistic are."""
        found, start = {}, 0
        for name, bins in self.about["statistics"].items():
            stop = start + len(bins["x"])
            found[name] = slice(start, stop)
            start = stop
        return found

    def ensembles(self, name: str) -> dict[str, Ensemble]:
        """The vectors of a set by statistic, in their units, read-only."""
        found = {}
        for statistic, columns in self.columns.items():
            vectors = self._restored(self.z[name][:, columns], columns)
            vectors.flags.writeable = False
            found[statistic] = Ensemble(vectors, self.boxes[name])
        return found

    def rounded(self, ensembles: Mapping[str, Ensemble]) -> dict[str, Ensemble]:
        """Other vectors, as they would come back from this file.

        Equal counts are equal again after it, so that distributions can be compared.
        """
        found = {}
        for statistic, columns in self.columns.items():
            if statistic in ensembles:
                one = ensembles[statistic]
                z = standardised(one.vectors, self.mean[columns], self.scale[columns])
                found[statistic] = Ensemble(self._restored(z, columns), one.simulation)
        return {name: found.get(name, one) for name, one in ensembles.items()}

    def _restored(self, z: np.ndarray, columns: slice) -> np.ndarray:
        return z.astype(np.float64) * self.scale[columns] + self.mean[columns]


def standardised(vectors: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """z of vectors ``(maps, bins)``, float16.

    Raises:
        ValueError: a number is too far from the mean for float16, or not finite.
    """
    z = (vectors - mean) / scale
    farthest = np.abs(z).max(initial=0)
    if not farthest <= _LARGEST:
        raise ValueError(
            f"a vector is {farthest:.3g} standard deviations from the mean of the truth; "
            f"expected at most {_LARGEST}"
        )
    return z.astype(np.float16)


def mean_and_scale(truth: Mapping[str, Ensemble]) -> tuple[np.ndarray, np.ndarray]:
    """μ and σ of the joint vectors; σ is 1 where there is no scatter."""
    vectors = Ensemble.join(truth.values()).vectors
    scale = vectors.std(0, ddof=1)
    # What is left of a constant after summing is rounding, not scatter.
    constant = scale <= 1e-12 * np.abs(vectors).max(0)
    return vectors.mean(0), np.where(constant, 1.0, scale)


def bins_of(statistics: Mapping[str, Statistic]) -> dict[str, dict]:
    """The bins of statistics as plain JSON values: their positions and names."""
    return {
        name: {"x": [float(x) for x in one.x], "bins": one.bin_names()}
        for name, one in statistics.items()
    }


def same_bins(bins: dict, statistic: Statistic) -> bool:
    """Whether a statistic has these bins, up to the rounding of another machine."""
    stored = np.asarray(bins["x"])
    if stored.shape != np.shape(statistic.x):
        return False
    tolerance = 1e-5 * np.abs(stored).max(initial=0)
    return bool(np.allclose(statistic.x, stored, rtol=0, atol=tolerance))


def write_vectors(
    path: str | Path,
    sets: Mapping[str, Mapping[str, Ensemble]],
    standard: tuple[np.ndarray, np.ndarray],
    about: dict,
) -> Path:
    """Write the vectors of sets to one file, atomically.

    Args:
        path: ends in ``.npz``.
        sets: ``sets[set][statistic]``.
        standard: μ and σ.
        about: plain JSON values, with ``statistics`` from :func:`bins_of`.

    Raises:
        ValueError: a number is too far from the mean for float16.
    """
    mean, scale = standard
    arrays = {"about": json.dumps({"version": VERSION} | about), "mean": mean, "scale": scale}
    for name, ensembles in sets.items():
        joint = Ensemble.join(ensembles[statistic] for statistic in about["statistics"])
        arrays[name] = standardised(joint.vectors, mean, scale)
        arrays[f"{name}.box"] = joint.simulation.astype(np.int32)
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)
    return Path(path)


def read_vectors(path: str | Path, how: str) -> StoredVectors:
    """Read a file of :func:`write_vectors`; a file is read once only.

    Args:
        path: the file.
        how: what the user can do to get the file, for errors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not whole, or of another version.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: {how}")
    return _read(path, path.stat().st_mtime_ns, how)


@lru_cache(maxsize=4)
def _read(path: Path, _modified: int, how: str) -> StoredVectors:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            found = about["version"]
            arrays = {name: archive[name] for name in archive.files if name != "about"}
    except Exception as error:
        raise ValueError(f"{path} is not a whole file of vectors ({error}): {how}") from None
    if found != VERSION:
        raise ValueError(f"{path} has version {found} of the format, not {VERSION}: {how}")
    mean, scale = arrays.pop("mean"), arrays.pop("scale")
    names = [name for name in arrays if not name.endswith(".box")]
    return StoredVectors(
        about,
        mean,
        scale,
        z={name: arrays[name] for name in names},
        boxes={name: arrays[f"{name}.box"] for name in names},
    )
