"""Files and folders that appear only when they are whole, locks, and checkpoints of models.

A checkpoint is a safetensors file: the tensors, and a header of plain JSON values from which
:func:`lensnb.models.load` rebuilds the model.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout

from . import __version__

# A run reads and writes records only, and should start at once; torch takes two seconds to import.
if TYPE_CHECKING:
    from torch import Tensor, nn

_MACHINE = re.sub(r"[^\w-]", "-", platform.node())


class InUse(ValueError):
    """A file or folder is being written by another process."""


def lock(path: str | Path, wait: bool = False) -> BaseFileLock:
    """Lock a file or folder that is written over time; ``unlock`` it when that is done.

    The lock ends with its process, however that ends. It is a hidden file: ``.lock`` in a folder,
    ``.NAME.lock`` beside a file that is called NAME. Where none can be made, as in a folder that
    is read-only, nothing is locked.

    Args:
        path: the file, or a folder that exists.
        wait: wait until the other process ends.

    Raises:
        InUse: another process has locked it, and ``wait`` is False.
    """
    path = Path(path)
    hidden = path.with_name(f".{path.name}.lock")
    if path.is_dir() and path.suffix != ".zarr":  # in a set of zarr is nothing but its own files
        hidden = path / ".lock"
    found = FileLock(hidden.resolve(), thread_local=False)
    try:
        found.acquire(blocking=False)
    except Timeout:
        if not hidden.exists():
            if not _can_be_made(hidden):
                return found
            return lock(path, wait)  # the other process has ended
        if not wait:
            raise InUse(
                f"{path} is being written by another process; expected one writer at a time"
            ) from None
        print(f"waiting for another process that writes {path}", flush=True)
        found.acquire()
    except (OSError, NotImplementedError):  # a read-only folder, or no locks on this file system
        pass
    return found


def _can_be_made(file: Path) -> bool:
    try:
        file.touch()
    except OSError:
        return False
    return True


def unlock(held: BaseFileLock) -> None:
    """End a lock, and remove its file."""
    if held.is_locked:
        # Before the release: a process that waits for it sees that this file is gone.
        with suppress(OSError):
            Path(held.lock_file).unlink(missing_ok=True)
    held.release()


@contextmanager
def locked(path: str | Path, wait: bool = False) -> Iterator[None]:
    """Lock a file or folder, see :func:`lock`, until the block ends."""
    held = lock(path, wait)
    try:
        yield
    finally:
        unlock(held)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary binary file beside ``path``.

    It replaces ``path`` only when the block ends without an error. It has the permissions of the
    file that it replaces, or those of any new file.

    Raises:
        OSError: it could not be written (no space left, no permission); the file that was there
            before is intact.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_parts(path)
    part = _part_of(path)
    try:
        with open(part, "xb") as file:
            yield file
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {path} ({error.strerror}); what was there before is intact",
        ) from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """The name of a new, temporary folder to write to.

    It becomes ``path`` when the block ends without an error, and is deleted otherwise.

    Raises:
        FileExistsError: there is something of that name; a folder cannot be replaced in one step.
        InUse: another process writes it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        if path.exists():
            raise FileExistsError(f"{path} exists; expected a new folder")
        _remove_parts(path)
        part = _part_of(path)
        part.mkdir()
        try:
            yield part / path.name
            os.rename(part / path.name, path)
        except KeyboardInterrupt:
            # A thread of zarr still writes for a moment, and would make the folder again.
            time.sleep(0.1)
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _part_of(path: Path) -> Path:
    """A new name beside ``path``, which says who writes there: the machine and the process."""
    return path.with_name(f"{path.name}.{_MACHINE}.{os.getpid()}.{secrets.token_hex(4)}.part")


def _remove_parts(path: Path) -> None:
    """Remove what processes of this machine left that were killed while they wrote ``path``."""
    names = re.compile(rf"{re.escape(f'{path.name}.{_MACHINE}')}\.(\d+)\.[0-9a-f]{{8}}\.part")
    for one in os.listdir(path.parent):
        match = names.fullmatch(one)
        if not match or _is_alive(int(match[1])):
            continue
        left = path.with_name(one)
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    """Whether there is a process of this number; where that cannot be asked, there is."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


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


def plain_json(values):
    """Values that JSON can hold; what it cannot, such as a path or a date, becomes text."""
    if isinstance(values, dict):
        return {str(name): plain_json(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain_json(value) for value in values]
    has_unit = hasattr(values, "unit") and hasattr(values, "to_value")
    if _is_tensor(values) or (isinstance(values, np.ndarray | np.generic) and not has_unit):
        return plain_json(values.tolist())
    if isinstance(values, bytes):
        return values.decode("utf-8", "replace")
    if values is None or isinstance(values, bool | int | float | str):
        return values
    return str(values)


def _is_tensor(value) -> bool:
    torch = sys.modules.get("torch")  # where it is not imported, nothing is a tensor
    return torch is not None and isinstance(value, torch.Tensor)


def write_json(path: str | Path, values) -> Path:
    """Write plain JSON values atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(values, indent=1, allow_nan=False) + "\n").encode())
    return Path(path)


def write_tensors(path: str | Path, tensors: dict[str, Tensor], header: dict) -> Path:
    """Write tensors as safetensors with a header of plain JSON values, atomically."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(tensors, {"lensnb": json.dumps(header)}))
    return Path(path)


def save_checkpoint(path: str | Path, model: nn.Module, half: bool = False, **about) -> Path:
    """Write a model's weights and buffers, with what :func:`lensnb.models.load` needs.

    Args:
        path: the file.
        model: any model of :mod:`lensnb.models`; its ``family`` and ``config`` go into the header.
        half: round the float32 weights to float16. The file is half as large, and a model that is
            loaded from it has the rounded weights.
        about: further plain JSON values (step, settings, provenance).
    """
    import torch

    tensors = model.state_dict()
    if half:
        for name, weight in model.named_parameters():
            if weight.dtype == torch.float32:
                tensors[name] = weight.detach().half()
    header = {
        "family": model.family,
        "config": model.config,
        "lensnb": __version__,
        "torch": torch.__version__,
        **about,
    }
    return write_tensors(path, tensors, header)


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and header of a file that :func:`write_tensors` or :func:`save_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file, is corrupt, or was not written by lensnb.
    """
    from safetensors.torch import load

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a checkpoint written by lensnb")
    if not path.is_file():  # a pipe would be read for ever
        raise ValueError(f"{path} is no file; expected a checkpoint written by lensnb")
    try:
        raw = path.read_bytes()
        tensors = load(raw)
        header = _header(raw)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} is corrupt or no checkpoint of lensnb ({reason}); expected a file such as "
            "model.safetensors that lensnb wrote"
        ) from None
    if not isinstance(header, dict):
        raise ValueError(f"{path} is no checkpoint of lensnb; its header is no mapping")
    return tensors, header


def _header(raw: bytes) -> dict:
    """The header of lensnb in a safetensors file.

    The file starts with the length of its own header, 8 bytes, then the header as JSON.
    """
    length = int.from_bytes(raw[:8], "little")
    metadata = json.loads(raw[8 : 8 + length])["__metadata__"]
    return json.loads(metadata["lensnb"])
