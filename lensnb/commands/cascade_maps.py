"""The maps of a cascade: a set as it is, or many files, which are converted to a set first."""

from __future__ import annotations

import argparse
import math

from ..data import MapSet
from ..readers import converted, open_maps
from ..readers.which_files import list_files
from .parsers import read_source


def maps_of_cascade(options: argparse.Namespace) -> MapSet:
    """The maps that a cascade is trained on.

    One file is opened as it is. Several files, or maps that must be averaged or cut out of a sky,
    are written to ``maps.zarr`` in the folder of the cascade, once for all levels.

    Args:
        options: of the command.

    Raises:
        ValueError: the folder has a set of other files or options; or what
            :func:`lensnb.readers.convert` refuses.
    """
    z_source, source = math.nan, None
    if options.z_source is not None:
        z_source = options.z_source
    if options.source is not None:
        source = read_source(options.source)
    sky = (options.side_deg, z_source, options.simulation)
    several = len(list_files(options.maps)) > 1
    if not several and options.pixels is None and source is None:
        return open_maps(options.maps, *sky)
    out = options.folder / "maps.zarr"
    return converted(options.maps, out, *sky, pixels=options.pixels, source=source)
