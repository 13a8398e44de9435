"""What the widgets share: maps in the few bits that a browser needs, colour maps, and the scripts that draw them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anywidget
import numpy as np
import torch
from torch import Tensor

from .. import plot
from ..data import MapSet

# Colour maps that rise in lightness all the way, at 16 equal steps; straight lines between.
COLOUR_MAPS = {
    "magma": "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d c43c75 de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf",
    "cividis": "00224e 002e6c 1e3a6f 35456c 47516c 575d6d 666970 757575 848279 948e77 a59c74 b7a96e c8b866 dbc75a eed649 fee838",
    "grey": "000000 ffffff",
}  # fmt: skip
PIXELS = (
    2**22
)  # at most so many pixels of a set go to the browser unless more maps are asked for, 8 MB


def script(*names: str) -> str:
    """The JavaScript files of that name in this folder as one module: what is shared, then the widget's own."""
    return "\n".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in names)


class Pictured(anywidget.AnyWidget):
    """A widget that leaves a still picture in the stored notebook, with a text for those who cannot see it."""

    def figure(self) -> plot.Figure:
        """What the widget shows now, drawn by matplotlib."""
        raise NotImplementedError

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        raise NotImplementedError

    def png(self) -> bytes:
        """What the widget shows now as a still picture, for pages without a kernel."""
        return plot.small_png(self.figure(), 90)

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        """The widget's view and, beside it, the picture."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data["image/png"] = base64.b64encode(self.png()).decode()
        return data, {**metadata, "image/png": {"alt": self.alt()}}


def field_of(sets: Mapping, side_deg: float | None) -> float:
    """The side of the field that all sets agree on, degrees."""
    if len(sets) < 2:
        raise ValueError(
            f"a comparison needs the true maps and at least one other set, found {len(sets)}"
        )
    for name, one in sets.items():
        if isinstance(one, MapSet):
            side_deg = one.side_deg if side_deg is None else side_deg
            if not math.isclose(one.side_deg, side_deg):
                raise ValueError(
                    f"{name!r} has a field of {one.side_deg:g}°, expected {side_deg:g}° as for the others"
                )
    if side_deg is None or not side_deg > 0:
        raise ValueError(f"side_deg must be the side of the field in degrees, found {side_deg}")
    return float(side_deg)


@dataclass(frozen=True)
class Chosen:
    """Some maps of a set in float32, their indices in it, and how many it has."""

    kappa: Tensor
    indices: np.ndarray
    total: int


def pick(name: str, one: MapSet | Tensor | np.ndarray, most: int | None) -> Chosen:
    """At most ``most`` maps, spread evenly over a set; None: 200, fewer where they have more than 4 million pixels."""
    kappa = (
        one.maps
        if isinstance(one, MapSet)
        else one
        if isinstance(one, Tensor)
        else np.asarray(one)
    )
    if kappa.ndim != 3 or kappa.shape[1] != kappa.shape[2]:
        raise ValueError(
            f"{name!r} must hold maps of the shape (maps, n, n), found {tuple(kappa.shape)}"
        )
    total = len(kappa)
    count = min(
        total, min(200, max(2, PIXELS // math.prod(kappa.shape[1:]))) if most is None else most
    )
    if count < 2:
        raise ValueError(f"{name!r} has {count} maps to show; a scatter needs at least two")
    indices = np.linspace(0, total - 1, count).round().astype(int)
    kappa = (
        kappa[torch.from_numpy(indices)]
        if isinstance(kappa, Tensor)
        else np.asarray(kappa[indices], np.float32)
    )
    kappa = torch.as_tensor(kappa).detach().cpu().float()
    bad = int((~torch.isfinite(kappa)).flatten(1).any(1).sum())
    if bad:
        raise ValueError(
            f"{name!r} has {bad} maps with NaN or infinity among {count}; leave them out first"
        )
    return Chosen(kappa, indices, total)


def check_shapes(chosen: Mapping[str, Chosen]) -> None:
    first, truth = next(iter(chosen.items()))
    for name, one in chosen.items():
        if one.kappa.shape[1:] != truth.kappa.shape[1:]:
            sizes = [" × ".join(map(str, c.kappa.shape[1:])) for c in (one, truth)]
            raise ValueError(
                f"{name!r} has maps of {sizes[0]} pixels, {first!r} of {sizes[1]}; they must be the same field"
            )
    if not truth.kappa.std() > 0:
        raise ValueError(
            f"the maps of {first!r} are all one constant; there is nothing to compare with"
        )


def quantise(kappa: Tensor) -> dict:
    """Maps in 16 bits a pixel, κ = low + step · q, with the mean and standard deviation of each; off by step / 2 at most.

    Args:
        kappa: maps, shape ``(maps, n, n)``.

    Returns:
        ``{"pixels", "low", "step", "mean", "std"}``: little-endian uint16 ``(maps, n, n)`` and float32 ``(maps,)`` as bytes.
    """
    low, high = float(kappa.min()), float(kappa.max())
    step = (high - low) / 65535 or 1.0
    pixels = ((kappa.double() - low) / step).round().numpy().astype("<u2")
    mean, std = (
        v.numpy().astype("<f4").tobytes() for v in (kappa.mean((1, 2)), kappa.std((1, 2)))
    )
    return {"pixels": pixels.tobytes(), "low": low, "step": step, "mean": mean, "std": std}


def colour_table(name: str) -> np.ndarray:
    """A colour map of :data:`COLOUR_MAPS` in 256 steps, RGBA in uint8, shape ``(256, 4)``."""
    anchors = np.array([list(bytes.fromhex(c)) for c in COLOUR_MAPS[name].split()], float)
    at = np.linspace(0, len(anchors) - 1, 256)
    rgb = [np.interp(at, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    return np.stack([*rgb, np.full(256, 255.0)], -1).round().astype(np.uint8)
