"""κTNG convergence maps (Osato, Liu & Haiman 2021, arXiv:2010.09731): 1024 × 1024 pixels over 5° × 5°.

Two layouts: ``LP###_run###_maps.hdf5`` with a dataset ``z<NN>/kappa`` for each source plane, and the older binary
``kappa<NN>.dat``, in which the int32 1024 stands before and after 1024² float64 numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..files import optional
from .filemaps import FileMaps, check_raw, reading

SIDE = 1024
BINARY = re.compile(r"kappa(\d\d)\.dat")
HDF5 = re.compile(r"LP(\d+)_run(\d+)_maps\.hdf5")

# Redshift of source plane 1 … 40, at n × 102.5 Mpc/h (zs.dat of github.com/0satoken/kappaTNG; table 2 of the paper).
SOURCES = (
    0.034467, 0.069515, 0.105182, 0.141510, 0.178545, 0.216332, 0.254921, 0.294363, 0.334713, 0.376027,
    0.418368, 0.461799, 0.506387, 0.552205, 0.599329, 0.647838, 0.697818, 0.749361, 0.802561, 0.857522,
    0.914352, 0.973168, 1.034093, 1.097260, 1.162811, 1.230896, 1.301678, 1.375330, 1.452040, 1.532007,
    1.615449, 1.702597, 1.793703, 1.889038, 1.988896, 2.093596, 2.203481, 2.318928, 2.440344, 2.568175,
)  # fmt: skip


def read_ktng(path: Path, source: int | None = None) -> FileMaps:
    """One map of an HDF5 file, labelled by its set of lens planes (LP); all sets come from one TNG300 box.

    Args:
        path: ``LP###_run###_maps.hdf5``; under another name the map carries no label.
        source: number of the source plane, 23 for ``z23``; None takes the only one.

    Raises:
        ValueError: the file is cut off, has no such plane (those there are named), or its map has another size.
        ImportError: h5py is not installed.
    """
    path = Path(path)
    h5py = optional(path, "h5py")
    with reading(path, "a whole HDF5 file"), h5py.File(path, "r") as file:
        planes = sorted(key for key in file if re.fullmatch(r"z\d+", key) and "kappa" in file[key])
        wanted = f"z{source:02d}" if isinstance(source, int | np.integer) else None
        if source is None and len(planes) == 1:
            wanted = planes[0]
        kappa = file[wanted]["kappa"][()] if wanted in planes else None
    if kappa is None:
        raise ValueError(
            f"{path} has the source planes {', '.join(planes) or 'none'}; expected the argument source to be the "
            f"number of one of them, found {source!r}"
        )
    if kappa.shape != (SIDE, SIDE):
        raise ValueError(
            f"{path} holds {wanted}/kappa of shape {kappa.shape}; expected {(SIDE, SIDE)}"
        )
    name = HDF5.fullmatch(path.name)
    simulation = np.array([int(name[1])]) if name else None
    return FileMaps(kappa, 5.0, _redshift(path, int(wanted[1:])), simulation, named=True)


def read_ktng_binary(path: Path) -> FileMaps:
    """One map of the older binary layout, in the byte order that its markers are in.

    Raises:
        ValueError: the name, the size or a marker is another, or the numbers are not κ in the markers' byte order.
    """
    path = Path(path)
    name = BINARY.fullmatch(path.name)
    if not name:
        raise ValueError(
            f"{path} has another name than κTNG gives its maps; expected kappa<NN>.dat"
        )
    size, expected = path.stat().st_size, 8 * SIDE**2 + 8
    if size != expected:
        raise ValueError(
            f"{path} has {size:,} bytes; expected {expected:,}, {SIDE} × {SIDE} float64 numbers between two int32"
        )
    for order in "<>":
        layout = np.dtype(
            [
                ("before", f"{order}i4"),
                ("kappa", f"{order}f8", (SIDE, SIDE)),
                ("after", f"{order}i4"),
            ]
        )
        record = np.fromfile(path, layout)[0]
        if record["before"] == record["after"] == SIDE:
            check_raw(
                path,
                record["kappa"],
                f"float64 numbers in the byte order of the markers ({order})",
            )
            return FileMaps(record["kappa"], 5.0, _redshift(path, int(name[1])))
    markers = [int(np.fromfile(path, "<i4", 1, offset=at)[0]) for at in (0, size - 4)]
    raise ValueError(
        f"{path} has the markers {markers[0]} and {markers[1]}; expected {SIDE} twice, in either byte order"
    )


def _redshift(path: Path, plane: int) -> float:
    if not 1 <= plane <= len(SOURCES):
        raise ValueError(f"{path} names the source plane {plane}; expected 1 to {len(SOURCES)}")
    return SOURCES[plane - 1]
