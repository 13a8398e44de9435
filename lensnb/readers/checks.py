"""What the maps of every file must be: κ in square maps, of one kind in all files of a set."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..data.resizing import LEAST_PIXELS, can_be_averaged
from ..maps.arrays import plain_labels
from ..maps.grid import check_shape
from .filemaps import FileMaps
from .formats import Options

_LARGEST_SIDE = 180.0


def checked(path: Path, one: FileMaps, asked: Options) -> FileMaps:
    """What a file says, with what the caller says, once both fit; pixels are not looked at.

    Returns:
        The same with ``maps`` as ``(maps, n, n)`` or, where the format has channels, ``(maps,
        channels, n, n)``, and with a field size.

    Raises:
        ValueError: the maps cannot be κ by their type or shape, cannot be averaged to the pixels
            that are asked for, have no field size, or contradict the caller.
    """
    maps = _square(path, one, asked.pixels)
    side_deg = _agreed(path, "side_deg", one.side_deg, asked.side_deg)
    z_source = _redshifts(path, one.z_source, asked.z_source)
    if side_deg is None:
        raise ValueError(
            f"{path} {one.unsized}; "
            "expected the argument side_deg, the side of the field in degrees"
        )
    if not 0 < side_deg < _LARGEST_SIDE:
        raise ValueError(
            f"{path} says side_deg = {side_deg:g}; expected a flat field below 180 degrees"
        )
    simulation = one.simulation
    if simulation is not None:
        simulation = plain_labels(str(path), simulation)
    return replace(one, maps=maps, side_deg=side_deg, z_source=z_source, simulation=simulation)


def _square(path: Path, one: FileMaps, pixels: int | None):
    """The maps with an axis of maps, if their type, shape and pixels are possible."""
    maps = one.maps
    if maps.dtype.kind != "f":
        raise ValueError(
            f"{path} holds values of type {maps.dtype.newbyteorder('=')}; "
            "expected floating-point κ"
        )
    if len(maps.shape) == 2 and maps.shape[0] == maps.shape[1]:
        maps = maps[None]
    channels = 1
    if one.channels:
        channels = None  # any number
    check_shape(str(path), maps.shape, channels=channels)
    if not len(maps):
        raise ValueError(f"{path} has the shape {maps.shape}; expected at least one map")
    n = maps.shape[-1]
    if n < 2:
        raise ValueError(f"{path} has the shape {maps.shape}; expected (maps, n, n), n at least 2")
    if pixels is not None and not can_be_averaged(n, pixels):
        raise ValueError(
            f"{path} has maps of {n} × {n} pixels; "
            f"expected pixels to be one whole part of {n}{_or_few(n)}, not {pixels}"
        )
    return maps


def _or_few(n: int) -> str:
    few = n // LEAST_PIXELS
    if few < 2:
        return ""
    return f" or at most {few}"


def _agreed(path: Path, name: str, said: float | None, given: float | None) -> float | None:
    """What the file says or the caller gave; both only if they agree to 0.1 %."""
    if said is None or math.isnan(said):
        return given
    silent = given is None or math.isnan(given)
    if not silent and not math.isclose(said, given, rel_tol=1e-3):
        raise ValueError(
            f"{path} says {name} = {said:g}; "
            f"the argument says {given:g}, expected the same or none"
        )
    return said


def _redshifts(path: Path, said, given):
    """The same for source redshifts, of which several channels have one each."""
    if np.ndim(said) == 0 and np.ndim(given) == 0:
        return _agreed(path, "z_source", said, given)
    if np.ndim(said) == 0:
        said = np.full(len(given), said)
    if np.ndim(given) > 0 and len(given) != len(said):
        raise ValueError(
            f"{path} has {len(said)} source redshifts; the argument z_source has {len(given)}, "
            "expected as many or none"
        )
    givens = np.broadcast_to(np.asarray(given, float), len(said))
    return tuple(
        _agreed(path, "z_source", *pair)
        for pair in zip(np.asarray(said, float).tolist(), givens.tolist())
    )


def check_alike(path: Path, one: FileMaps, first_path: Path, first: FileMaps):
    """Refuse a file that differs from the first in pixels, channels, field size or redshift.

    The pixels are those of the files. Averaged to the same pixels, maps of two resolutions would
    still be of two kinds, by the window of their pixels and often by their simulations.

    Args:
        path, one: the file.
        first_path, first: the first file.
    """
    here, there = _in_words(one), _in_words(first)
    if here != there:
        raise ValueError(f"{path} has maps of {here}; expected {there}, as in {first_path}")
    here, there = np.atleast_1d(one.z_source), np.atleast_1d(first.z_source)
    if here.shape != there.shape or not np.allclose(here, there, rtol=1e-3, equal_nan=True):
        raise ValueError(
            f"{path} says z_source = {_listed(here)}; "
            f"expected {_listed(there)}, as in {first_path}"
        )
    if one.given.keys() != first.given.keys():
        raise ValueError(
            f"{path} has the conditions {', '.join(one.given) or 'none'}; "
            f"expected {', '.join(first.given) or 'none'}, as in {first_path}"
        )


def _listed(redshifts: np.ndarray) -> str:
    return ", ".join(f"{z:g}" for z in redshifts)


def _in_words(one: FileMaps) -> str:
    n = one.maps.shape[-1]
    words = f"{n} × {n} pixels over {one.side_deg:g}°"
    if len(one.maps.shape) == 4:
        words += f" in {one.maps.shape[1]} channels"
    return words
