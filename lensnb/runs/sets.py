"""The three sets of maps that a run works on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..renamed import renamed

if TYPE_CHECKING:
    from ..data import MapSet

# Fewest simulations: a quarter of them, at least two, are for the truth, and another for the null.
_LEAST = 8


@renamed(labels="simulation")
def load_sets(
    maps: str = "",
    side_deg: float = 0.0,
    z_source: float = 0.0,
    simulation: str = "",
    pixels: int = 0,
    seed: int = 0,
) -> tuple[MapSet, MapSet, MapSet]:
    """The three sets of a run, from disjoint simulations: training maps, truth and null.

    The arguments are parameters of notebooks. What is not given is empty or zero rather than None,
    because papermill's ``--help-notebook`` reads plain types only.

    Args:
        maps: a file (or pattern) of one's own κ-maps; empty for the shipped sample.
        side_deg: side of their field, degrees; 0 where the file says it.
        z_source: redshift of their sources; 0 where the file says it, or where it is not known.
        simulation: an ``.npy`` file with the number of the simulation of each map; empty: every
            map counts as its own simulation.
        pixels: average maps down to this many pixels a side; 0 keeps them.
        seed: decides which simulation goes where (half to training, a quarter each to truth and
            null).

    Raises:
        ValueError: fewer than two simulations a set, or anything that
            :func:`lensnb.readers.open_maps` refuses.
    """
    # Late, since these bring torch: without them the command line and a kernel start at once.
    from ..data import block_average, load_sample
    from ..readers import open_maps

    if maps:
        sky = (side_deg or None, z_source or math.nan, simulation or None)
        whole = open_maps(maps, *sky, pixels=pixels or None)
        if len(whole.simulations) < _LEAST:
            raise ValueError(
                f"{maps} holds maps of {len(whole.simulations)} simulations; "
                f"a training set, a truth and a null of at least two each need {_LEAST}"
            )
        sets = whole.split(0.5, 0.25, 0.25, seed=seed)
    else:
        sets = [load_sample(name) for name in ("train", "truth", "null")]
    n = sets[0].grid.n
    if pixels in (0, n):
        return tuple(sets)
    if pixels < 0 or n % pixels:
        raise ValueError(
            f"maps of {n} × {n} pixels cannot be averaged down to {pixels} × {pixels}"
        )
    return tuple(block_average(part, n // pixels) for part in sets)
