"""SLICS convergence maps (Harnois-Déraps et al. 2018, arXiv:1805.04511; slics.roe.ac.uk).

``<z>kappa_weight.dat_LOS<n>``: 7745 × 7745 little-endian float32 numbers without a header over
10° × 10°, κ / 64. The redshift in the name is that of the lens plane; the sources are at the far
side of its slab.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from .filemaps import FileMaps, check_raw, check_size
from .formats import Format, Options, register

_NAME = re.compile(r"(\d+\.\d+)kappa_weight\.dat_LOS(\d+)")
# Pixels a side in the file. The last row and column are dropped: 7744 = 16 × 484 has whole blocks.
_PIXELS = 7745
# Redshift of the lens plane: that of the far side of its slab, for the first and the last plane.
_SOURCES = {0.042: 0.086, 2.899: 3.0}


@register
class Slics(Format):
    """A map of SLICS."""

    expected = ("<z>kappa_weight.dat_LOS<n> (SLICS)",)

    def suits(self, path: Path, asked: Options) -> bool:
        return _NAME.fullmatch(path.name) is not None

    def read(self, path: Path, asked: Options) -> FileMaps:
        return read_slics(path, asked.z_source)


def read_slics(path: Path, z_source: float = math.nan) -> FileMaps:
    """Read one map of 7744 × 7744 pixels, float32; its simulation is its line of sight.

    Args:
        path: named ``<z>kappa_weight.dat_LOS<n>``.
        z_source: redshift of the source plane, at the far side of the slab of the lens plane in
            the name; needed unless that is the first (0.042) or the last (2.899).

    Raises:
        ValueError: the name or the size is wrong, the numbers are not κ in this byte order, or
            ``z_source`` is missing or not beyond the lens plane.
    """
    path = Path(path)
    name = _NAME.fullmatch(path.name)
    if not name:
        raise ValueError(
            f"{path} has another name than SLICS gives its maps; "
            "expected <z>kappa_weight.dat_LOS<n>"
        )
    check_size(path, 4 * _PIXELS**2, f"{_PIXELS} × {_PIXELS} float32 numbers")
    z_lens = float(name[1])
    if math.isnan(z_source) and z_lens not in _SOURCES:
        raise ValueError(
            f"{path} names the lens plane z = {name[1]}, not its sources; "
            "expected the argument z_source, the redshift at the far side of that slab"
        )
    if z_source <= z_lens:
        raise ValueError(
            f"{path} has its last lens plane at z = {name[1]}; "
            f"expected z_source beyond it, not {z_source:g}"
        )
    raw = np.fromfile(path, "<f4").reshape(_PIXELS, _PIXELS)
    step = max(1, _PIXELS // 64)
    check_raw(path, raw[::step, ::step], "little-endian float32 numbers")
    raw *= np.float32(64)  # in place: new memory costs more time than the product
    return FileMaps(
        raw[:-1, :-1],
        10.0,
        _SOURCES.get(z_lens, z_source),
        np.array([int(name[2])]),
        named=True,
    )
