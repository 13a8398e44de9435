"""What a reader returns, and what readers share: one sentence for whatever goes wrong inside a file library."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class FileMaps:
    """What one file says about its maps.

    Attributes:
        maps: κ, dimensionless, shape ``(n, n)`` or ``(maps, n, n)``.
        side_deg: side of the field, degrees; None when the file does not say.
        z_source: redshift of the sources; NaN when the file does not say.
        simulation: simulation of each map, shape ``(maps,)``; None when the file does not say.
        provenance: plain JSON values.
        unsized: why ``side_deg`` is None, where the file says something else instead.
        named: ``simulation`` holds names or numbers that the suite gives to its simulations, so that an equal one in
            another file is the same simulation.
    """

    maps: np.ndarray
    side_deg: float | None = None
    z_source: float = math.nan
    simulation: np.ndarray | None = None
    provenance: dict = field(default_factory=dict)
    unsized: str = "does not say how large its field is"
    named: bool = False


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a file library raises into one sentence."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path} is not {expected} ({reason or type(error).__name__})") from None


def number(path: Path, what: str, value) -> float:
    """A positive, finite number that a file states."""
    try:
        found = float(np.asarray(value).item())
    except (TypeError, ValueError):
        found = math.nan
    if not 0 < found < math.inf:
        raise ValueError(f"{path} gives {value!r} as its {what}; expected one positive number")
    return found


def check_raw(path: Path, values: np.ndarray, expected: str) -> None:
    """Raw numbers, which carry no type, can be κ: in another byte order most of them lie outside 10⁻⁸ < |κ| < 10."""

    def share(values: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            size = np.abs(values.astype(np.float64))
            return np.mean((size == 0) | ((size > 1e-8) & (size < 10)))

    if share(values) < 0.5:
        swapped = ", but would with their bytes swapped" if share(values.byteswap()) > 0.5 else ""
        raise ValueError(
            f"{path} cannot be κ: only {share(values):.0%} of its values lie within 1e-8 < |κ| < 10{swapped}; "
            f"expected {expected}"
        )


def options_needed(path: Path, kind: str, **options) -> None:
    """The arguments that a kind of file cannot be read without were given."""
    missing = [name for name, value in options.items() if value is None]
    if missing:
        raise ValueError(f"{path} is {kind}; expected the argument {' and '.join(missing)}")
