"""Many maps from one model, straight into a file: in bounded memory, and never from the start again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..files import atomic_write, write_json


class Drawing(NamedTuple):
    """The files of a drawing: the maps when all are there, the maps so far, and how they are made."""

    maps: Path
    part: Path
    about: Path


def draw(
    model: nn.Module, n: int, path: str | Path, seed: int = 0, block: int = 256, **how
) -> Path:
    """Draw ``n`` κ-maps into a ``.npy`` file, float32, shape ``(n, pixels, pixels)``; a drawing that was stopped goes on.

    Each block has a seed of its own, so that it does not matter whether a drawing was stopped; memory is needed for one
    block. Until the last map is there the file is called ``….npy.part``. Beside it, ``….json`` says how the maps were made,
    and keeps another model's from being mixed in. Read the maps with :func:`lensnb.readers.open_maps`.

    Args:
        model: any model of :mod:`lensnb.models`, or a field of :mod:`lensnb.maps`.
        n: number of maps.
        path: the file; it ends in ``.npy``.
        seed: source of randomness.
        block: maps with one seed, held at once.
        how: arguments of the model's ``sample``, such as ``temperature`` or ``steps``.

    Raises:
        ValueError: the path does not end in ``.npy``, or what lies there was made in another way.
        OSError: the file could not be written; what was drawn before is kept.
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"maps are drawn into a file that ends in .npy, found {path}")
    if n < 1 or block < 1:
        raise ValueError(
            f"the numbers of maps and of maps in a block must be positive, found {n} and {block}"
        )
    if not isinstance(getattr(model, "n", None), int):
        raise ValueError(
            f"maps are drawn from a model of maps; a {type(model).__name__} makes none"
        )
    files = Drawing(path, path.with_name(path.name + ".part"), path.with_suffix(".json"))
    settings = {
        "maps": n,
        "seed": seed,
        "block": block,
        "model": fingerprint(model),
        "how": plain(how),
    }
    done = _begin(files, settings, model.n)
    if not path.exists():
        with (
            open(files.part, "r+b") as file,
            tqdm(total=n, initial=done, desc=path.name, unit="map") as bar,
        ):
            file.seek(0, os.SEEK_END)
            for maps in blocks(model, n, seed, block, first=done // block, **how):
                file.write(maps.numpy().astype("<f4").tobytes())
                file.flush()
                bar.update(len(maps))
        os.replace(files.part, path)
    return path


def blocks(
    model: nn.Module, n: int, seed: int = 0, block: int = 256, first: int = 0, **how
) -> Iterator[Tensor]:
    """The maps of :func:`draw`, ``(block, pixels, pixels)`` at a time, on the CPU, from block number ``first`` on."""
    for number in range(first, -(-n // block)):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
        yield model.sample(min(block, n - number * block), generator, **how).cpu()


def fingerprint(model: nn.Module) -> str:
    """A short name for a model's weights and buffers: 16 digits of their SHA-256."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(
            name.encode()
            + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()[:16]


def plain(how: dict) -> dict:
    """Arguments of ``sample`` as plain JSON values."""
    named = {key: getattr(value, "__name__", value) for key, value in how.items()}
    return {
        key: value.tolist() if isinstance(value, Tensor) else value for key, value in named.items()
    }


def _begin(files: Drawing, settings: dict, pixels: int) -> int:
    """How many maps are there; makes the files if there are none, and cuts off half a block."""
    n, block = settings["maps"], settings["block"]
    if files.maps.exists() or files.part.exists():
        found = json.loads(files.about.read_text()) if files.about.exists() else {}
        words = {"maps": "number of maps", "block": "size of a block", "how": "way to sample"}
        other = [
            words.get(name, name) for name, value in settings.items() if found.get(name) != value
        ]
        if other:
            raise ValueError(
                f"{files.maps} was drawn with another {' and '.join(other)}; delete it and its .part and .json, "
                "or choose another file"
            )
        if files.maps.exists():
            return n
    else:
        write_json(files.about, settings)
        with atomic_write(files.part) as file:
            shape = {"descr": "<f4", "fortran_order": False, "shape": (n, pixels, pixels)}
            np.lib.format.write_array_header_1_0(file, shape)
    with open(files.part, "r+b") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        header, one_block = file.tell(), 4 * pixels**2 * block
        whole = (files.part.stat().st_size - header) // one_block
        if whole * block < n:  # else the last block, which may be shorter, is there too
            file.truncate(header + whole * one_block)
    return min(n, whole * block)
