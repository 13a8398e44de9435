"""What a reader returns, and what readers share: errors of file libraries as one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# κ and galaxies hardly compress. A packed file that becomes larger than this holds no maps.
MOST_PACKED = 200
SMALL = 2**24  # bytes, which are harmless


@dataclass
class FileMaps:
    """What one file says about its maps.

    Attributes:
        maps: κ, dimensionless, shape ``(n, n)`` or ``(maps, n, n)``.
        side_deg: side of the field, degrees; None when the file does not say.
        z_source: redshift of the sources, for several channels one each; NaN when the file does
            not say.
        simulation: simulation of each map, shape ``(maps,)``; None when the file does not say.
        provenance: plain JSON values.
        unsized: why ``side_deg`` is None, where the file says something else instead.
        named: ``simulation`` holds names or numbers that the suite gives to its simulations. The
            same one in another file is then the same simulation.
        channels: the format can hold source redshift bins, so that ``maps`` may also have the
            shape ``(maps, channels, n, n)``.
        given: conditions by name, each with one value a map.
    """

    maps: np.ndarray
    side_deg: float | None = None
    z_source: float | tuple[float, ...] = math.nan
    simulation: np.ndarray | None = None
    provenance: dict = field(default_factory=dict)
    unsized: str = "does not say how large its field is"
    named: bool = False
    channels: bool = False
    given: dict = field(default_factory=dict)


class Refused(ValueError):
    """A whole sentence about a file, which :func:`reading` passes on as it is."""


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn any error of a file library into one sentence.

    Args:
        path: the file.
        expected: what the file should be, such as ``"a whole HDF5 file"``.

    Raises:
        ValueError: the file is not what was expected; the library's reason is in brackets.
    """
    try:
        yield
    except (MemoryError, Refused):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path} is not {expected} ({reason or type(error).__name__})") from None


def check_regular(path: Path) -> None:
    """Refuse what would be read for ever: pipes, sockets and devices.

    Raises:
        ValueError: the path is neither a file on disk nor a folder.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{path} is a pipe, a socket or a device; expected a file on disk")


def number(path: Path, what: str, value) -> float:
    """A positive, finite number that a file states.

    Raises:
        ValueError: the value is anything else.
    """
    try:
        found = float(np.asarray(value).item())
    except (TypeError, ValueError):
        found = math.nan
    if not 0 < found < math.inf:
        raise ValueError(f"{path} gives {value!r} as its {what}; expected one positive number")
    return found


def check_size(path: Path, expected: int, layout: str) -> None:
    """Refuse a raw file that has another number of bytes than its layout."""
    size = path.stat().st_size
    if size != expected:
        raise ValueError(f"{path} has {size:,} bytes; expected {expected:,}, {layout}")


def check_raw(path: Path, values: np.ndarray, expected: str) -> None:
    """Refuse raw numbers that cannot be κ.

    A raw file does not say the type of its numbers. In another byte order most of them lie outside
    1e-8 < |κ| < 10.

    Args:
        path: the file.
        values: the numbers, or some of them.
        expected: the type that they were read as, in words.

    Raises:
        ValueError: fewer than half of the values can be κ.
    """
    share = _share_like_kappa(values)
    if share >= 0.5:
        return
    hint = ""
    if _share_like_kappa(values.byteswap()) > 0.5:
        hint = ", but would with their bytes swapped"
    raise ValueError(
        f"{path} cannot be κ: only {share:.0%} of its values lie within 1e-8 < |κ| < 10{hint}; "
        f"expected {expected}"
    )


def _share_like_kappa(values: np.ndarray) -> float:
    """The share of the values that are 0 or lie within 1e-8 < |κ| < 10."""
    # Numbers in the wrong byte order may be NaN or infinite, which is no reason to warn.
    with np.errstate(all="ignore"):
        size = np.abs(values.astype(np.float64))
        return float(np.mean((size == 0) | ((size > 1e-8) & (size < 10))))


def options_needed(path: Path, kind: str, **options) -> None:
    """Refuse to read a file without the arguments that its kind needs.

    Args:
        path: the file.
        kind: what it is, in words.
        options: the arguments by name; None where an argument was not given.
    """
    missing = [name for name, value in options.items() if value is None]
    if missing:
        raise ValueError(f"{path} is {kind}; expected the argument {' and '.join(missing)}")
