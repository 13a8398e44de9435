"""What sets of maps state about their sky, and whether two sets contradict each other.

A set states its field, its source redshifts and its conditions; its provenance may state more.
What is not stated contradicts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from .mapset import MapSet

CLOSE = 1e-3  # relative: numbers that agree to this are equal, as when files are read
_CHANCE = 1e-3  # so rarely do two sets from one range have ranges that lie apart
# Names in a provenance that say what the maps are. Files, seeds and steps say how they were made.
_WORDS = ("smooth", "sigma_arcmin", "n_gal", "sigma_e", "beam")  # parts of a name
_NAMES = ("bin", "baryons", "z_source")


def check_statements(sets: Mapping[str, MapSet]) -> None:
    """Refuse sets that state different skies, which cannot be compared as if they were alike.

    Fields, source redshifts, conditions that are numbers, and what the provenance says of
    cosmology, smoothing, noise and tomographic bin must agree to 0.1 %. Where a number varies from
    map to map in both sets, their ranges must overlap.

    Args:
        sets: by name.

    Raises:
        ValueError: two sets state something different.
    """
    known: dict[str, tuple[str, np.ndarray]] = {}  # statement → who made it first, and its values
    for name, one in sets.items():
        for what, values in _statements(one).items():
            first, earlier = known.setdefault(what, (name, values))
            if _contradict(earlier, values):
                raise ValueError(
                    f"the {first} states {what} = {_in_words(earlier)}, the {name} "
                    f"{_in_words(values)}; they must be of the same sky "
                    "(to compare them all the same, leave the statement out of one of them)"
                )


def _statements(one: MapSet) -> dict[str, np.ndarray]:
    """What a set states, by name: the values of all maps, or the only one."""
    found = {"side_deg": np.array([one.side_deg], float)}
    redshifts = np.atleast_1d(one.z_source).astype(float)
    for channel, z in enumerate(redshifts, 1):
        name = "z_source"
        if len(redshifts) > 1:
            name += f" of bin {channel}"
        if not math.isnan(z):
            found[name] = np.array([z])
    for name, values in one.given.items():
        if values.ndim == 1 and np.dtype(values.dtype).kind == "f":
            found[name] = np.asarray(values, float)
    provenance: dict[str, list] = {}
    for name, value in _of_provenance(one.provenance):
        provenance.setdefault(name, []).append(value)
    for name, values in provenance.items():
        found.setdefault(name, np.array(values))
    return found


def _of_provenance(part, name: str = "", counts: bool = False) -> Iterator[tuple[str, object]]:
    """The statements in a provenance, wherever they stand in it: (name, number or word).

    Args:
        part: the provenance, or any part of it.
        name: under which the part stands.
        counts: whether what stands there says what the maps are.
    """
    if isinstance(part, Mapping):
        for key, value in part.items():
            key = str(key)
            says = counts or key == "cosmology" or key in _NAMES
            says = says or any(word in key for word in _WORDS)
            yield from _of_provenance(value, key, says)
    elif isinstance(part, list | tuple):  # one for each file, for example
        for value in part:
            yield from _of_provenance(value, name, counts)
    elif counts and isinstance(part, str | bool):
        yield name, str(part)
    elif counts and isinstance(part, int | float) and math.isfinite(part):
        yield name, float(part)


def _contradict(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two statements cannot both be true of the same sky."""
    if "U" in (one.dtype.kind, other.dtype.kind):
        return not np.isin(one.astype(str), other.astype(str)).any()
    low = np.array([one.min(), other.min()])
    high = np.array([one.max(), other.max()])
    apart = low.max() > high.min() and not math.isclose(low.max(), high.min(), rel_tol=CLOSE)
    constant = np.isclose(low, high, rtol=CLOSE)
    if constant.all():
        return apart
    if constant.any():
        return True  # one has a single sky, the other has many
    n, m = len(np.unique(one)), len(np.unique(other))
    return apart and 2 / math.comb(n + m, n) < _CHANCE


def _in_words(values: np.ndarray) -> str:
    distinct = np.unique(values)
    if values.dtype.kind == "U":
        return ", ".join(distinct)
    if len(distinct) == 1:
        return f"{distinct[0]:g}"
    return f"{distinct[0]:g} to {distinct[-1]:g}"
