"""When, of which sky and with which versions a comparison was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from ..data import MapSet
from ..versions import versions
from .sets import TRAIN, FiniteMaps

# In the note about a file: what its maps are compared with says the redshift.
SILENT = "does not say its redshift"
_MAPS = 4  # of each set that a report keeps, to show them
_PIXELS = 2**18  # of each set, at most: four maps of 256²


@dataclass(frozen=True)
class Origin:
    """How a comparison can be repeated.

    Attributes:
        date: UTC, to the second, ISO 8601.
        seed: of the bootstrap, the classifiers and the noise.
        rounds: of the bootstrap.
        side_deg: side of the field, degrees.
        z_source: redshift of the sources of each channel; NaN where it is not known.
        pixels: of a side.
        versions: of what the numbers depend on, by name.
    """

    date: str
    seed: int
    rounds: int
    side_deg: float
    z_source: tuple[float, ...]
    pixels: int
    versions: Mapping[str, object]

    @classmethod
    def of(cls, truth: MapSet, seed: int, rounds: int) -> Origin:
        """That of a comparison which is made now."""
        date = datetime.now(UTC).isoformat(timespec="seconds")
        redshifts = np.broadcast_to(np.asarray(truth.z_source, float), truth.channels)
        z_source = tuple(float(z) for z in redshifts)
        return cls(date, seed, rounds, truth.side_deg, z_source, truth.grid.n, versions())


def example_maps(sets: Mapping[str, FiniteMaps]) -> dict[str, np.ndarray]:
    """The first maps of each set but the training maps, as they were compared, in float32."""
    found = {}
    for name, one in sets.items():
        if name == TRAIN:
            continue
        pixels = one.maps[0].numel()
        count = max(1, min(_MAPS, _PIXELS // pixels))
        found[name] = one.maps[:count].numpy().astype(np.float32)
    return found
