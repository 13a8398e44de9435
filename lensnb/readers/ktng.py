"""κTNG convergence maps (Osato, Liu & Haiman 2021, arXiv:2010.09731): 1024² pixels over 5° × 5°.

There are two layouts: ``LP###_run###_maps.hdf5`` with a dataset ``z<NN>/kappa`` for each source
plane, and the older binary ``kappa<NN>.dat``, in which the int32 1024 stands before and after
1024² float64 numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..files import optional
from .filemaps import FileMaps, check_raw, check_size, reading
from .formats import Format, Options, register
from .hdf5 import HDF5, WHOLE, keys, read_whole

_PIXELS = 1024
_SIDE_DEG = 5.0
_BINARY_NAME = re.compile(r"kappa(\d\d)\.dat")
_HDF5_NAME = re.compile(r"LP(\d+)_run(\d+)_maps\.hdf5")
_PLANE = re.compile(r"z\d+")

# Redshift of source plane 1 … 40, at n × 102.5 Mpc/h
# (zs.dat of github.com/0satoken/kappaTNG; table 2 of the paper).
_SOURCES = (
    0.034467, 0.069515, 0.105182, 0.141510, 0.178545, 0.216332, 0.254921, 0.294363, 0.334713,
    0.376027, 0.418368, 0.461799, 0.506387, 0.552205, 0.599329, 0.647838, 0.697818, 0.749361,
    0.802561, 0.857522, 0.914352, 0.973168, 1.034093, 1.097260, 1.162811, 1.230896, 1.301678,
    1.375330, 1.452040, 1.532007, 1.615449, 1.702597, 1.793703, 1.889038, 1.988896, 2.093596,
    2.203481, 2.318928, 2.440344, 2.568175,
)  # fmt: skip


@register
class KappaTNG(HDF5):
    """The source planes of one κTNG map."""

    takes = ("source",)
    content = "z<NN> (κTNG)"

    def holds(self, path: Path) -> bool:
        return any(_PLANE.fullmatch(key) for key in keys(path))

    def read(self, path: Path, asked: Options) -> FileMaps:
        return read_ktng(path, asked.source)


@register
class KappaTNGBinary(Format):
    """One κTNG map in the older layout."""

    expected = ("kappa<NN>.dat (κTNG)",)

    def suits(self, path: Path, asked: Options) -> bool:
        return _BINARY_NAME.fullmatch(path.name) is not None

    def read(self, path: Path, asked: Options) -> FileMaps:
        return read_ktng_binary(path)


def read_ktng(path: Path, source: int | None = None) -> FileMaps:
    """Read one map of an HDF5 file; its simulation is its set of lens planes (LP).

    All sets of lens planes come from one box, TNG300.

    Args:
        path: ``LP###_run###_maps.hdf5``; under another name the simulation is not known.
        source: number of the source plane, 23 for ``z23``; None takes the only one.

    Raises:
        ValueError: the file is cut off, has no such plane (those that it has are listed), or its
            map has another size.
        ImportError: h5py is not installed.
    """
    path = Path(path)
    h5py = optional(path, "h5py")
    kappa = None
    with reading(path, WHOLE), h5py.File(path, "r") as file:
        planes = sorted(key for key in file if _PLANE.fullmatch(key) and "kappa" in file[key])
        wanted = _plane_name(source, planes)
        if wanted in planes:
            kappa = read_whole(path, file[wanted]["kappa"], (_PIXELS, _PIXELS))
    if kappa is None:
        raise ValueError(
            f"{path} has the source planes {', '.join(planes) or 'none'}; "
            f"expected the argument source to be the number of one of them, found {source!r}"
        )
    simulation = None
    name = _HDF5_NAME.fullmatch(path.name)
    if name:
        simulation = np.array([int(name[1])])
    return FileMaps(kappa, _SIDE_DEG, _redshift(path, int(wanted[1:])), simulation, named=True)


def _plane_name(source: int | None, planes: list[str]) -> str | None:
    """The key of the wanted source plane; None where it is not clear which is wanted."""
    if isinstance(source, int | np.integer):
        return f"z{source:02d}"
    if source is None and len(planes) == 1:
        return planes[0]
    return None


def read_ktng_binary(path: Path) -> FileMaps:
    """Read one map of the older binary layout, in the byte order of its markers.

    Raises:
        ValueError: the name, the size or a marker is wrong, or the numbers are not κ in the byte
            order of the markers.
    """
    path = Path(path)
    name = _BINARY_NAME.fullmatch(path.name)
    if not name:
        raise ValueError(
            f"{path} has another name than κTNG gives its maps; expected kappa<NN>.dat"
        )
    layout = f"{_PIXELS} × {_PIXELS} float64 numbers between two int32"
    check_size(path, 8 * _PIXELS**2 + 8, layout)
    for order in "<>":
        record = np.fromfile(path, _layout(order))[0]
        if record["before"] == record["after"] == _PIXELS:
            expected = f"float64 numbers in the byte order of the markers ({order})"
            check_raw(path, record["kappa"], expected)
            return FileMaps(record["kappa"], _SIDE_DEG, _redshift(path, int(name[1])))
    record = np.fromfile(path, _layout("<"))[0]
    raise ValueError(
        f"{path} has the markers {record['before']} and {record['after']}; "
        f"expected {_PIXELS} twice, in either byte order"
    )


def _layout(order: str) -> np.dtype:
    """A whole binary file as one record, in little-endian (``<``) or big-endian (``>``) order."""
    return np.dtype(
        [
            ("before", f"{order}i4"),
            ("kappa", f"{order}f8", (_PIXELS, _PIXELS)),
            ("after", f"{order}i4"),
        ]
    )


def _redshift(path: Path, plane: int) -> float:
    if not 1 <= plane <= len(_SOURCES):
        raise ValueError(f"{path} names the source plane {plane}; expected 1 to {len(_SOURCES)}")
    return _SOURCES[plane - 1]
