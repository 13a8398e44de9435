"""Files and folders that appear only when they are whole, and checkpoints of models.

A checkpoint is a safetensors file: the tensors, and a header of plain JSON values from which
:func:`lensnb.models.load` rebuilds the model.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from . import __version__


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary binary file beside ``path``.

    It replaces ``path`` only when the block ends without an error.

    Raises:
        OSError: it could not be written (no space left, no permission); the file that was there
            before is intact.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=path.name, suffix=".part", delete=False
    )
    try:
        with file:
            yield file
        os.chmod(file.name, 0o644)  # a temporary file is private; the result is not
        os.replace(file.name, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {path} ({error.strerror}); what was there before is intact",
        ) from None
    finally:
        Path(file.name).unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """The name of a new, temporary folder to write to.

    It becomes ``path`` when the block ends without an error, and is deleted otherwise.

    Raises:
        FileExistsError: there is something of that name; a folder cannot be replaced in one step.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; expected a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=path.name, suffix=".part"))
    try:
        yield part / path.name
        os.rename(part / path.name, path)
    except KeyboardInterrupt:
        # A thread of zarr still writes for a moment, and would make the folder again.
        time.sleep(0.1)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def optional(path: str | Path, module: str) -> ModuleType:
    """Import what a format needs, when a file of that format is read or written.

    Args:
        path: the file, for the error message.
        module: the module.

    Raises:
        ImportError: it is not installed; the sentence names the extra to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise ImportError(
            f"{path} needs {package}, which is not installed: pip install 'lensnb[formats]'"
        ) from None


def write_json(path: str | Path, values) -> Path:
    """Write plain JSON values atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(values, indent=1, allow_nan=False) + "\n").encode())
    return Path(path)


def write_tensors(path: str | Path, tensors: dict[str, Tensor], header: dict) -> Path:
    """Write tensors as safetensors with a header of plain JSON values, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(tensors, {"lensnb": json.dumps(header)}))
    return Path(path)


def save_checkpoint(path: str | Path, model: nn.Module, **about) -> Path:
    """Write a model's weights and buffers, with what :func:`lensnb.models.load` needs.

    Args:
        path: the file.
        model: any model of :mod:`lensnb.models`; its ``family`` and ``config`` go into the header.
        about: further plain JSON values (step, settings, provenance).
    """
    header = {
        "family": model.family,
        "config": model.config,
        "lensnb": __version__,
        "torch": torch.__version__,
        **about,
    }
    return write_tensors(path, model.state_dict(), header)


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and header of a file that :func:`write_tensors` or :func:`save_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is corrupt, or was not written by lensnb.
    """
    try:
        raw = Path(path).read_bytes()
        tensors = load(raw)
        header = _header(raw)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} does not exist; expected a checkpoint written by lensnb"
        ) from None
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} is corrupt or no checkpoint of lensnb ({reason}); delete it to start anew"
        ) from None
    return tensors, header


def _header(raw: bytes) -> dict:
    """The header of lensnb in a safetensors file.

    The file starts with the length of its own header, 8 bytes, then the header as JSON.
    """
    length = int.from_bytes(raw[:8], "little")
    metadata = json.loads(raw[8 : 8 + length])["__metadata__"]
    return json.loads(metadata["lensnb"])
