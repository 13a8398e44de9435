"""Draw many maps from a model into a file, in bounded memory; an interrupted run resumes."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..files import atomic_write, locked, plain_json, write_json
from ..given import Given
from ..maps.arrays import plain_whole
from .contract import check_draw, map_shape


class _Files(NamedTuple):
    """The files of a run: all maps, the maps so far, and how they are made."""

    maps: Path
    part: Path
    about: Path


def draw(
    model: nn.Module,
    n: int,
    path: str | Path,
    seed: int = 0,
    block: int = 256,
    given: Given | None = None,
    **how,
) -> Path:
    """Draw ``n`` κ-maps into a ``.npy`` file, float32; an interrupted call resumes.

    Each block has its own seed, so an interrupted run gives the same maps. Only one block is in
    memory. Until the last map is written, the file is called ``….npy.part``. A file ``….json``
    beside it says how the maps were made, so that maps of different models are never mixed. Read
    the maps with :func:`lensnb.readers.open_maps`.

    Args:
        model: any model of :mod:`lensnb.models`, or a field of :mod:`lensnb.maps`.
        n: number of maps.
        path: the file; it ends in ``.npy``. Its array has the shape ``(n, pixels, pixels)``, or
            ``(n, channels, pixels, pixels)``.
        seed: source of randomness.
        block: number of maps that share a seed and are in memory at once.
        given: conditions of a conditional model, one value for each map or one for all.
        how: arguments of the model's ``sample``, such as ``temperature`` or ``steps``.

    Returns:
        The path.

    Raises:
        ValueError: the path does not end in ``.npy``, the conditions are not those of the model,
            the maps in the file were made in another way, or are not whole; a file ``….json`` is
            of something else; a drawn map is not finite.
        InUse: another process draws into the file.
        OSError: the file could not be written; maps that were written before are kept.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"maps are drawn into a file that ends in .npy, found {path}")
    n = plain_whole("the number of maps to draw", n)
    block = plain_whole("the number of maps in a block", block)
    seed = plain_whole("seed", seed)
    if n < 1:
        raise ValueError(f"the number of maps to draw must be positive, found {n}")
    if block < 1:
        raise ValueError(f"the number of maps in a block must be positive, found {block}")
    check_maps(model)
    given = check_draw(model, n, given)
    files = _Files(path, path.with_name(path.name + ".part"), path.with_suffix(".json"))
    settings = drawing_settings(model, n, seed, block, given, how)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        done = _begin(files, settings, map_shape(model))
        if not path.exists():
            try:
                _append(files, blocks(model, n, seed, block, done // block, given, **how), done, n)
            except ValueError:
                _forget_if_empty(files)
                raise
            os.replace(files.part, path)
    return path


def _append(files: _Files, parts: Iterator[Tensor], done: int, n: int) -> None:
    """Write the blocks that are missing."""
    bar = tqdm(total=n, initial=done, desc=files.maps.name, unit="map")
    with open(files.part, "r+b") as file, bar:
        file.seek(0, os.SEEK_END)
        for maps in parts:
            file.write(check_finite(maps).numpy().astype("<f4").tobytes())
            file.flush()
            bar.update(len(maps))


def _forget_if_empty(files: _Files) -> None:
    """Remove the files of a way to sample that was refused, so that another one may follow."""
    with open(files.part, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        if file.read(1):
            return
    files.part.unlink()
    files.about.unlink(missing_ok=True)


def check_finite(maps: Tensor) -> Tensor:
    """Refuse maps that no file of maps can hold, before they are written."""
    wrong = int((~torch.isfinite(maps)).flatten(1).any(1).sum())
    if wrong:
        raise ValueError(
            f"{wrong} of {len(maps)} drawn maps have NaN or infinite pixels; expected a model, "
            "and a way to sample from it, that make finite maps"
        )
    return maps


def check_maps(model: nn.Module) -> None:
    """Refuse a model that makes no maps, such as a flow for vectors."""
    if not isinstance(getattr(model, "n", None), int):
        raise ValueError(
            f"maps are drawn from a model of maps; a {type(model).__name__} makes none"
        )


def drawing_settings(
    model: nn.Module, n: int, seed: int, block: int, given: Given, how: dict
) -> dict:
    """What decides the maps that are drawn, as JSON values; arguments as of :func:`draw`."""
    settings = {
        "maps": n,
        "seed": seed,
        "block": block,
        "model": _fingerprint(model.state_dict()),
        "how": _plain(how),
    }
    if given:
        settings["given"] = _fingerprint(given)
    return settings


def blocks(
    model: nn.Module,
    n: int,
    seed: int = 0,
    block: int = 256,
    first: int = 0,
    given: Given | None = None,
    **how,
) -> Iterator[Tensor]:
    """The maps of :func:`draw` block by block, on the CPU, starting at block ``first``."""
    given = check_draw(model, n, given)
    seed = plain_whole("seed", seed)
    for number in range(first, -(-n // block)):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
        start = number * block
        count = min(block, n - start)
        if given:
            how["given"] = {name: v[start : start + count] for name, v in given.items()}
        yield model.sample(count, generator, **how).cpu()


def _fingerprint(tensors: dict[str, Tensor]) -> str:
    """A short hash of tensors: 16 digits of their SHA-256."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(name.encode() + flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _plain(how: dict) -> dict:
    """Arguments of ``sample`` as plain JSON values."""
    values = {}
    for key, value in how.items():
        value = getattr(value, "__name__", value)  # a function is stored by its name
        value = plain_json(value)
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)  # which JSON does not have
        values[key] = value
    return values


def _begin(files: _Files, settings: dict, map_shape: tuple[int, ...]) -> int:
    """The number of maps that are written already.

    New files are made if there are none. A block that was written in part is cut off.
    """
    n, block = settings["maps"], settings["block"]
    if files.maps.exists() or files.part.exists():
        _check_settings(files, settings)
        if files.maps.exists():
            _check_whole(files, (n, *map_shape))
            return n
    else:
        _check_about(files, settings)
        write_json(files.about, settings)
        with atomic_write(files.part) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n, *map_shape)}
            np.lib.format.write_array_header_1_0(file, header)
    with open(files.part, "r+b") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        one_block = 4 * int(np.prod(map_shape)) * block
        whole = (files.part.stat().st_size - start) // one_block
        if whole * block < n:  # else the last block, which may be shorter, is there as well
            file.truncate(start + whole * one_block)
    return min(n, whole * block)


def _check_about(files: _Files, settings: dict) -> None:
    """Refuse to replace a file ``….json`` that no drawing of maps wrote."""
    if not files.about.exists():
        return
    found = _read_about(files)
    if not settings.keys() - {"given"} <= found.keys():
        raise ValueError(
            f"{files.about} is no description of drawn maps, and would be replaced by that of "
            f"{files.maps}; expected another name for one of them"
        )


def _read_about(files: _Files) -> dict:
    """What the file ``….json`` says; empty where it is of something else."""
    try:
        found = json.loads(files.about.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return found


def _check_whole(files: _Files, shape: tuple[int, ...]) -> None:
    """Refuse a file that was whole once and is not any more."""
    try:
        found = np.load(files.maps, mmap_mode="r").shape  # as long as its header says
    except (ValueError, EOFError, OSError):
        found = None
    if found != shape:
        raise ValueError(
            f"{files.maps} is not whole any more; delete it and its .json to draw it again"
        )


def _check_settings(files: _Files, settings: dict) -> None:
    """Refuse to continue maps that were drawn in another way."""
    found = _read_about(files)
    words = {
        "maps": "number of maps",
        "block": "size of a block",
        "how": "way to sample",
        "given": "value of a condition",
    }
    names = {**settings, "given": settings.get("given")}
    other = [words.get(name, name) for name, value in names.items() if found.get(name) != value]
    if other:
        raise ValueError(
            f"{files.maps} was drawn with another {' and '.join(other)}; delete it and its .part "
            "and .json, or choose another file"
        )
