"""What the formats in HDF5 files share: their names, and how they look for their content."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..files import optional
from .filemaps import Refused, reading
from .formats import Format, Options, ends_in

WHOLE = "a whole HDF5 file"


class HDF5(Format):
    """A format in HDF5 files, which is known by the keys that such a file has."""

    expected = (".h5", ".hdf5")

    def suits(self, path: Path, asked: Options) -> bool:
        return ends_in(path, *self.expected)

    def found(self, path: Path) -> str:
        return f"the keys {', '.join(keys(path)) or 'none'}"


def read_whole(path: Path, dataset, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """All numbers of a dataset, of which all were written.

    HDF5 fills what was never written with a constant, and says so only by the space on disk.

    Args:
        path: the file.
        dataset: a dataset of h5py.
        shape: the shape that it must have; None for any vector.

    Raises:
        ValueError: it is a group, has another type or shape, or was not wholly written.
    """
    name = dataset.name.lstrip("/")
    if not hasattr(dataset, "dtype") or dataset.dtype.kind != "f":
        kind = getattr(dataset, "dtype", "group")
        raise Refused(f"{path} holds {name} of type {kind}; expected floating-point κ")
    if dataset.shape != shape and (shape is not None or len(dataset.shape) != 1):
        expected = shape or "a full-sky HEALPix vector, 12 nside² values"
        raise Refused(f"{path} holds {name} of shape {dataset.shape}; expected {expected}")
    if not _written(dataset):
        raise Refused(f"{path} holds {name}, of which not all was written; expected a whole map")
    return dataset[()]


def _written(dataset) -> bool:
    if dataset.is_virtual or dataset.external:
        return True
    if dataset.chunks is None:
        return dataset.id.get_storage_size() > 0
    chunks = math.prod(-(-n // step) for n, step in zip(dataset.shape, dataset.chunks))
    return dataset.id.get_num_chunks() == chunks


def keys(path: Path) -> list[str]:
    """The keys at the top of an HDF5 file, sorted.

    Raises:
        ValueError: the file is cut off or no HDF5 file.
        ImportError: h5py is not installed.
    """
    h5py = optional(path, "h5py")
    with reading(path, WHOLE), h5py.File(path, "r") as file:
        return sorted(file)
