"""What the formats in HDF5 files share: their names, and how they look for their content."""

from __future__ import annotations

from pathlib import Path

from ..files import optional
from .filemaps import reading
from .formats import Format, Options, ends_in

WHOLE = "a whole HDF5 file"


class HDF5(Format):
    """A format in HDF5 files, which is known by the keys that such a file has."""

    expected = (".h5", ".hdf5")

    def suits(self, path: Path, asked: Options) -> bool:
        return ends_in(path, *self.expected)

    def found(self, path: Path) -> str:
        return f"the keys {', '.join(keys(path)) or 'none'}"


def keys(path: Path) -> list[str]:
    """The keys at the top of an HDF5 file, sorted.

    Raises:
        ValueError: the file is cut off or no HDF5 file.
        ImportError: h5py is not installed.
    """
    h5py = optional(path, "h5py")
    with reading(path, WHOLE), h5py.File(path, "r") as file:
        return sorted(file)
