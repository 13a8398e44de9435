"""A set that is made of files once, and opened whenever it is needed again."""

from __future__ import annotations

import json
import math
from os import PathLike
from pathlib import Path

from ..data import MapSet
from ..files import locked, write_json
from .conversion_log import options_as_json
from .converting import convert
from .entry import open_maps
from .formats import Options


def converted(
    path,
    out: str | PathLike,
    side_deg: float | None = None,
    z_source: float | tuple[float, ...] = math.nan,
    simulation=None,
    **options,
) -> MapSet:
    """The set that :func:`convert` makes of files; it is opened if it was made before.

    ``maps.json`` beside ``maps.zarr`` says of which files it is, and with which options. If
    another process makes the set just then, this one waits.

    Args:
        path, out, side_deg, z_source, simulation, options: as for :func:`convert`.

    Raises:
        ValueError: there is a set of other files or options; or as for :func:`convert`.
    """
    out = Path(out)
    about = options_as_json(Options(side_deg, z_source, simulation, **options))
    about = {"files": _in_words(path)} | about
    beside = out.with_suffix(".json")
    beside.parent.mkdir(parents=True, exist_ok=True)
    with locked(beside, wait=True):
        if not out.exists():
            convert(path, out, side_deg, z_source, simulation, **options)
            write_json(beside, about)
        _agree(out, beside, about)
    return open_maps(out)


def _in_words(path) -> str:
    if isinstance(path, str | PathLike):
        return str(path)
    return ", ".join(str(one) for one in path)


def _agree(out: Path, beside: Path, about: dict) -> None:
    """Refuse a set of other files or options."""
    found = about
    if beside.exists():  # it is missing if a process ended just before it was written
        found = json.loads(beside.read_text(encoding="utf-8"))
    other = [name for name in about if found.get(name) != about[name]]
    if other:
        raise ValueError(
            f"{out} was made with another {' and '.join(other)}; expected the same, or another "
            "folder"
        )
