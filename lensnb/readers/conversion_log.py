"""What a conversion notes about each file, so that it can resume without reading it again.

The first line of the log has the options. Each file has a line when it is begun, with its name,
size and time of change, and a line with what it said when all of its maps were made.
"""

from __future__ import annotations

import json
from dataclasses import fields
from os import PathLike
from pathlib import Path

import numpy as np

from ..files import plain_json
from .filemaps import FileMaps
from .formats import Options


def options_as_json(asked: Options) -> dict:
    """The options in words, so that NaN, arrays and paths can be compared."""
    return {field.name: _in_words(getattr(asked, field.name)) for field in fields(asked)}


def _in_words(value) -> str:
    if isinstance(value, np.ndarray | list):
        return repr(np.asarray(value).tolist())
    if isinstance(value, PathLike):
        return str(value)
    return repr(value)


def file_as_json(path: Path, one: FileMaps, made: int) -> dict:
    """What is known of a file when all of its maps were made."""
    about = {
        "side_deg": one.side_deg,
        "z_source": one.z_source,
        "provenance": one.provenance,
        "named": one.named,
        "simulation": None if one.simulation is None else one.simulation.tolist(),
    }
    return {
        "file": stamp(path),
        "made": made,
        "shape": list(one.maps.shape),
        "dtype": str(one.maps.dtype),
        "given": list(one.given),
        "about": plain_json(about),
    }


def file_from_json(line: dict) -> FileMaps:
    """The same again, with maps that take no memory."""
    about = dict(line["about"])
    if about["simulation"] is not None:
        about["simulation"] = np.array(about["simulation"])
    if isinstance(about["z_source"], list):
        about["z_source"] = tuple(about["z_source"])
    maps = np.broadcast_to(np.zeros((), line["dtype"]), line["shape"])
    return FileMaps(maps, **about, given=dict.fromkeys(line["given"]))


def stamp(path: Path) -> list:
    """By which a file is known to be the same."""
    about = path.stat()
    return [path.name, about.st_size, about.st_mtime_ns]


def read_log(log: Path) -> list[dict]:
    """The lines of a log up to the first that was cut off."""
    lines = []
    for text in log.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
