"""What the widgets share: maps on their way to the browser, still pictures, and scripts.

A browser gets maps as 16 bits per pixel, statistics as float32, and look-up tables of colours.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anywidget
import numpy as np
import torch
from torch import Tensor, nn

from .. import plot
from ..data import MapSet
from ..data.statements import check_statements
from ..maps.arrays import plain_array
from ..maps.grid import check_shape, check_side
from ..plot import galleries
from ..plot.curves import parts
from ..plot.ink import for_any_page
from ..plot.output import for_notebook
from ..ramps import SEQUENTIAL, ramp
from ..stats import Statistic

Maps = MapSet | Tensor | np.ndarray

# Without a number of maps from the user, a set sends the browser at most so many maps, and at
# most so many pixels, which are 8 MB.
_MAPS = 200
_PIXELS = 2**22
_SHOWN = 90  # pixels of a page that are one inch of a still picture
_STILL = 60_000  # bytes of a still picture; a notebook has three of them and less than 500 KB


def script(*names: str) -> str:
    """JavaScript files of this folder as one module: the shared ones first, then the widget's."""
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


# ---------------------------------------------------------------- maps from the user


def field_side(sets: Mapping[str, Maps], side_deg: float | None) -> float:
    """The side of the field that all sets agree on, degrees.

    Raises:
        ValueError: there is no set, they state different fields or skies (see
            :func:`lensnb.data.statements.check_statements`), or no side is known.
    """
    if not sets:
        raise ValueError("the widget needs at least one set of maps; found none")
    if side_deg is not None:
        side_deg = check_side(side_deg)
    for name, one in sets.items():
        if not isinstance(one, MapSet):
            continue
        if side_deg is None:
            side_deg = one.side_deg
        if not math.isclose(one.side_deg, side_deg):
            raise ValueError(
                f"{name!r} has a field of {one.side_deg:g}°; "
                f"expected {side_deg:g}° like the others"
            )
    stated = {repr(name): one for name, one in sets.items() if isinstance(one, MapSet)}
    check_statements(stated)
    return _known(side_deg)


def _known(side_deg: float | None) -> float:
    if side_deg is None:
        raise ValueError(
            "arrays do not say how large their field is; "
            "expected the argument side_deg, the side of the field in degrees"
        )
    return check_side(side_deg)


def side_of(maps: Maps, side_deg: float | None) -> float:
    """The side of the field of one set of maps, degrees.

    Raises:
        ValueError: no side is known, it is not positive, or the set states another one.
    """
    if isinstance(maps, MapSet):
        return field_side({"maps": maps}, side_deg)
    return _known(side_deg)


def check_model(model: nn.Module, kind: type[nn.Module]) -> None:
    """Refuse a model of another family, or with conditions, which no widget can show yet.

    Args:
        model: what was given.
        kind: the family that the widget shows.
    """
    if not isinstance(model, kind):
        raise ValueError(
            f"the widget shows a trained {kind.__name__}, such as "
            f"lensnb.models.load({kind.family!r}); found a {type(model).__name__}"
        )
    if model.given:
        raise ValueError(
            f"the widget shows models without conditions; this one needs {', '.join(model.given)}"
        )


@dataclass(frozen=True)
class Chosen:
    """Some maps of a set.

    Attributes:
        kappa: the maps, float32, shape ``(chosen, n, n)``.
        indices: where they are in the set, shape ``(chosen,)``.
        total: how many maps the set has.
    """

    kappa: Tensor
    indices: np.ndarray
    total: int

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.kappa.shape[-1]


def pick(name: str, maps: Maps, most: int | None, n: int | None = None) -> Chosen:
    """Choose maps from a set, evenly spread over it.

    Args:
        name: of the set, for errors.
        maps: κ, shape ``(maps, n, n)``.
        most: how many to take at most; None: 200, or fewer where these have more than 4 million
            pixels.
        n: expected pixels a side; None: any.

    Raises:
        ValueError: another shape, maps of several source bins, fewer than two maps, or maps with
            NaN or infinity.
    """
    kappa = maps
    if isinstance(maps, MapSet):
        kappa = maps.maps
    elif not isinstance(maps, Tensor):
        kappa = plain_array(name, maps)
    if kappa.ndim == 4:
        raise ValueError(
            f"{name} has maps of {kappa.shape[1]} source bins, and the widget shows one bin; "
            "choose it, for example maps[:, 0]"
        )
    check_shape(name, kappa.shape, n, channels=1)
    total = len(kappa)
    if most is None:
        most = min(_MAPS, max(2, _PIXELS // math.prod(kappa.shape[1:])))
    count = min(total, most)
    if count < 2:
        raise ValueError(f"{name} has {count} maps to show; a scatter needs at least two")
    indices = np.linspace(0, total - 1, count).round().astype(int)
    if isinstance(kappa, Tensor):
        few = kappa[torch.from_numpy(indices)]
    else:
        few = torch.as_tensor(np.asarray(kappa[indices], np.float32))
    few = few.detach().cpu().float()
    bad = int((~torch.isfinite(few)).flatten(1).any(1).sum())
    if bad:
        raise ValueError(
            f"{name} has {bad} maps with NaN or infinity among {count}; leave them out first"
        )
    return Chosen(few, indices, total)


def pick_all(sets: Mapping[str, Maps], most: int | None) -> dict[str, Chosen]:
    """Maps of every set; the first set holds the true maps, and the others have as many pixels.

    Raises:
        ValueError: as :func:`pick`; or the true maps are all one constant.
    """
    chosen: dict[str, Chosen] = {}
    n = None
    for name, maps in sets.items():
        chosen[str(name)] = pick(repr(name), maps, most, n)
        n = chosen[str(name)].n
    truth = next(iter(chosen))
    if not chosen[truth].kappa.std() > 0:
        raise ValueError(
            f"the maps of {truth!r} are all one constant; there is nothing to compare with"
        )
    return chosen


# ---------------------------------------------------------------- what the browser gets


def quantise(kappa: Tensor) -> dict:
    """Maps in 16 bits per pixel: κ = low + step · q, with an error of step / 2 at most.

    Args:
        kappa: maps, shape ``(maps, n, n)``.

    Returns:
        ``{"pixels", "low", "step", "mean", "std"}``. The pixels are little-endian uint16
        ``(maps, n, n)``; mean and standard deviation of each map are float32 ``(maps,)``. All
        three are bytes.
    """
    low, high = float(kappa.min()), float(kappa.max())
    step = (high - low) / 65535 or 1.0
    levels = ((kappa.double() - low) / step).round()
    return {
        "pixels": levels.numpy().astype("<u2").tobytes(),
        "low": low,
        "step": step,
        "mean": float32(kappa.mean((1, 2))),
        "std": float32(kappa.std((1, 2))),
    }


def float32(values: Tensor | np.ndarray) -> bytes:
    """Numbers as little-endian float32."""
    return np.asarray(values).astype("<f4").tobytes()


def colour_tables() -> dict[str, bytes]:
    """The colour maps that a user can choose from, each 256 RGBA colours in uint8."""
    return {name: ramp(name).tobytes() for name in SEQUENTIAL}


def colour_limits(maps: Tensor) -> list[float]:
    """κ at the ends of the colour scale; a million of the pixels are enough to find them."""
    pixels = maps.flatten()
    some = pixels[:: max(1, len(pixels) // 10**6)]
    return list(galleries.colour_limits(some))


def axes_of(statistic: Statistic) -> dict:
    """What the browser needs for the axes of a statistic: bins, labels, scales and parts."""
    spans = [[name, span.start, span.stop] for name, span in parts(statistic).items()]
    return {
        "x": np.asarray(statistic.x, float).tolist(),
        "x_label": statistic.x_label,
        "y_label": statistic.y_label,
        "log_x": statistic.log_x,
        "log_y": statistic.log_y,
        "parts": spans,
    }


# ---------------------------------------------------------------- still pictures


class Pictured(anywidget.AnyWidget):
    """A widget that leaves a still picture in the stored notebook, with an alternative text."""

    def figure(self) -> plot.Figure:
        """What the widget shows now, drawn by matplotlib."""
        raise NotImplementedError

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        raise NotImplementedError

    def png(self) -> bytes:
        """What the widget shows now as a still picture, for pages without a kernel."""
        return self._still()[0]

    def _still(self) -> tuple[bytes, int]:
        """The still picture and how wide it is on a page, in pixels."""
        figure = self.figure()
        for_any_page(figure)
        return for_notebook(figure, _STILL, _SHOWN, transparent=True)

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        """The widget's view and, beside it, the picture."""
        data, metadata = super()._repr_mimebundle_(**kwargs)
        png, width = self._still()
        data["image/png"] = base64.b64encode(png).decode()
        return data, {**metadata, "image/png": {"alt": self.alt(), "width": width}}


def draw_map(ax, kappa, side_deg: float, limits, colours: str, title: str):
    """One map of a widget in a still picture; returns the image, for a colour bar."""
    name = "gray" if colours == "grey" else colours  # as matplotlib spells it
    image = plot.kappa_map(ax, kappa, side_deg, tuple(limits), name)
    image.set_interpolation("nearest")
    ax.set_title(title, fontsize=10)
    return image


def draw_colour_bar(figure, image, axes, aspect: float = 40, label: str = "convergence κ") -> None:
    """The colour scale of κ, or of a difference, below the maps."""
    below = {"orientation": "horizontal", "aspect": aspect, "extend": "both"}
    figure.colorbar(image, ax=axes, label=label, **below)
