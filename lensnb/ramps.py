"""Colour ramps: the one place where numbers become colours without matplotlib.

A ramp is a list of colours at equal steps from 0 to 1, with straight lines in RGB between them.
``magma`` and ``cividis`` rise in lightness all the way and read for colour-blind eyes, too. The
diverging ramps ``RdBu_r`` and ``PuOr_r`` (ColorBrewer) are for values on both sides of a centre.
All have the names that matplotlib gives them, and its colours to a few levels in 255.
"""

from __future__ import annotations

import io

import numpy as np

# Each colour is RRGGBB in hexadecimal.
_COLOURS = {
    "magma": """
        000004 02020b 050416 090720 0e0b2b 140e36 1a1042 21114e 29115a 311165 390f6e 420f75 4a1079
        52137c 5a167e 621980 6a1c81 721f81 792282 812581 892881 912b81 992d80 a1307e aa337d b2357b
        ba3878 c23b75 ca3e72 d2426f d9466b e04c67 e75263 ec5860 f1605d f4695c f7725c f97b5d fb8560
        fc8e64 fd9869 fea16e feaa74 feb47b febd82 fec68a fecf92 fed89a fde2a3 fdebac fcf4b6 fcfdbf
    """,
    "cividis": """
        00224e 002656 002a5f 002d68 003070 083370 163770 203a6f 273e6e 2e416d 34456c 3a486c 3f4c6c
        444f6c 49536c 4e566c 535a6d 575d6d 5c616e 60646f 656870 696b71 6d6f72 727274 767676 7a7a78
        7e7d78 838179 888578 8d8878 928c78 969077 9b9476 a09875 a59c74 aaa073 afa471 b5a86f baac6d
        bfb06b c4b468 c9b965 cfbd62 d4c15f dac65b dfca57 e5cf52 ead34c f0d846 f6dd3f fce236 fee838
    """,
    "grey": "000000 ffffff",
    "RdBu_r": """
        053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f
    """,
    "PuOr_r": """
        2d004b 542788 8073ac b2abd2 d8daeb f7f7f7 fee0b6 fdb863 e08214 b35806 7f3b08
    """,
}

SEQUENTIAL = ("magma", "cividis", "grey")  # for κ: dark is low, bright is high
STEPS = 256  # colours in a look-up table


def ramp(name: str) -> np.ndarray:
    """The look-up table of a ramp: 256 colours from the lowest value to the highest.

    Args:
        name: ``"magma"``, ``"cividis"``, ``"grey"``, ``"RdBu_r"`` or ``"PuOr_r"``.

    Returns:
        RGBA, uint8, shape ``(256, 4)``; every colour is opaque.

    Raises:
        ValueError: there is no such ramp.
    """
    if name not in _COLOURS:
        raise ValueError(f"the colour ramps are {', '.join(_COLOURS)}; found {name!r}")
    given = np.array([list(bytes.fromhex(colour)) for colour in _COLOURS[name].split()], float)
    place = np.linspace(0, len(given) - 1, STEPS)
    table = np.full((STEPS, 4), 255.0)
    for channel in range(3):
        table[:, channel] = np.interp(place, np.arange(len(given)), given[:, channel])
    return table.round().astype(np.uint8)


def _colours_of(values: np.ndarray, low: float, high: float, name: str = "magma") -> np.ndarray:
    """The colour of each value: the ramp runs from ``low`` to ``high``, and NaN is transparent.

    Args:
        values: numbers of any shape.
        low: the value at the first colour; smaller ones have this colour, too.
        high: the value at the last colour; larger ones have this colour, too.
        name: a ramp, as in :func:`ramp`.

    Returns:
        RGBA, uint8, shape ``(*values.shape, 4)``.
    """
    level = (np.asarray(values, float) - low) / max(high - low, 1e-12)
    known = np.isfinite(level)
    index = np.where(known, np.clip(level, 0, 1) * (STEPS - 1), 0).round().astype(int)
    colours = ramp(name)[index]
    colours[~known] = 0
    return colours


def map_png(values: np.ndarray, low: float, high: float, name: str = "magma") -> bytes:
    """One map as a PNG image of 256 colours, a pixel for each pixel.

    Row 0 of the map is at the bottom of the picture, as in figures.

    Args:
        values: shape ``(rows, columns)``, without NaN.
        low: the value at the first colour; smaller ones have this colour, too.
        high: the value at the last colour; larger ones have this colour, too.
        name: a ramp, as in :func:`ramp`.
    """
    from PIL import Image

    level = (np.asarray(values, float) - low) / max(high - low, 1e-12)
    index = (np.clip(level, 0, 1) * (STEPS - 1)).round().astype(np.uint8)
    picture = Image.fromarray(index[::-1], "L")
    picture.putpalette(ramp(name)[:, :3].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def strip_png(maps: np.ndarray, name: str = "magma", gap: int = 2) -> bytes:
    """Maps side by side as a PNG image, on one colour scale, with transparent gaps between them.

    The scale runs from the 1st to the 99.5th percentile of all pixels. Row 0 of a map is at the
    top of the picture.

    Args:
        maps: at least one map, shape ``(maps, n, n)``.
        name: a ramp, as in :func:`ramp`.
        gap: pixels between maps.
    """
    from PIL import Image

    maps = np.asarray(maps, float)
    low, high = np.percentile(maps, [1, 99.5])
    spaced = np.pad(maps, ((0, 0), (0, 0), (0, gap)), constant_values=np.nan)
    side_by_side = np.concatenate(list(spaced), axis=1)
    buffer = io.BytesIO()
    Image.fromarray(_colours_of(side_by_side, low, high, name), "RGBA").save(buffer, "png")
    return buffer.getvalue()
