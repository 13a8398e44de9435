"""A finished figure as a picture: in a notebook with an alternative text, in a file or a page."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.cluster.vq import kmeans2

from .ink import for_any_page

_JOINS = "stroke-linejoin: round; stroke-linecap: butt"  # as matplotlib draws lines
_OPAQUE = 200  # colours of a small picture that are opaque; with fewer a colour bar has wide steps
_SOFT = 256 - _OPAQUE  # those that are partly clear
_WIDE = 0.02  # the share of the partly clear pixels that makes a colour an area
_CLEAR_ENOUGH = 5  # opacity, of 255
_SHOWN = 100  # pixels of a page that are one inch
DPI = 200  # two pixels of a high-density screen for one of a usual one
_SHARP = (2, 1.5, 1.2)  # pixels of a picture for one of a page; less where it would be too large
# Bytes. Lines and small text gain most from more pixels, maps have only their own. Six pictures of
# each kind and some tables make a notebook of 500 KB.
_LARGE = 70_000
_LARGE_MAPS = 30_000
_TIGHT = {"bbox_inches": "tight", "facecolor": "white"}
_CLEAR = {"bbox_inches": "tight", "transparent": True}


def show(figure: Figure, alt: str, save: str | Path | None = None, dpi: int | None = None):
    """Show a finished figure in a notebook, and close it.

    The picture has an alternative text for readers who cannot see it. It reads on light pages and
    on dark ones (:mod:`lensnb.plot.ink`), and is sharp on high-density screens: it has up to 200
    pixels per inch, and 100 of them are an inch on the page. It is no SVG, because JupyterLab
    shows an SVG of a stored notebook only after its cell has run.

    Args:
        figure: the figure.
        alt: one sentence that says what the figure shows.
        save: also write it to this file. The ending says how: ``.pdf`` and ``.svg``, for example,
            are vector graphics; ``.png`` (or no ending) is the picture in the notebook. All others
            have a white background.
        dpi: pixels per inch; by default as many of 200, 150 and 120 as keep a notebook small: 70
            KB for lines, 30 KB for a figure with maps or matrices, unless 120 needs more.

    Returns:
        An ``IPython.display.Image``; make it the last value of the cell.

    Raises:
        ValueError: matplotlib does not know a format with this ending.
    """
    from IPython.display import Image

    try:
        if save is not None and not _is_png(Path(save)):
            _write(figure, Path(save))
        for_any_page(figure)
        if dpi is None:
            has_images = any(ax.images for ax in figure.axes)
            most = _LARGE_MAPS if has_images else _LARGE
            png, width = for_notebook(figure, most, **_CLEAR)
        else:
            png = small_png(figure, dpi, **_CLEAR)
            width = _pixels_across(png) * _SHOWN // dpi
        if save is not None and _is_png(Path(save)):
            Path(save).parent.mkdir(parents=True, exist_ok=True)
            Path(save).write_bytes(png)
    finally:
        plt.close(figure)
    return Image(png, format="png", alt=alt, width=width)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a finished figure to a file, on white, and close it.

    Args:
        figure: the figure.
        path: the ending says how, such as ``.svg``, ``.pdf`` or ``.png``.

    Raises:
        ValueError: matplotlib does not know a format with this ending.
    """
    path = Path(path)
    try:
        _write(figure, path)
    finally:
        plt.close(figure)
    return path


def inline_svg(figure: Figure, alt: str, name: str) -> str:
    """A finished figure as an ``<svg>`` element for an HTML page, and close it.

    Its text stays text, its background is that of the page, and it is as wide as the page gives
    it. Two figures with other names share no identifiers.

    Args:
        figure: the figure.
        alt: one sentence that says what the figure shows.
        name: begins every identifier of the figure; letters, digits and hyphens.
    """
    text = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": name}
    try:
        with plt.rc_context(settings):
            # Without the date, equal figures are equal text.
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    finally:
        plt.close(figure)
    return _for_a_page(text.getvalue(), alt, name)


def _for_a_page(text: str, alt: str, name: str) -> str:
    """An SVG file as an element: no head, no metadata, and identifiers of its own."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)  # TeX of labels
    # In a page it would hold for everything.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.S)
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", text))

    def renamed(found: re.Match) -> str:
        if found[1] in used:
            return f' id="{name}-{found[1]}"'
        return ""

    text = re.sub(r' id="([^"]+)"', renamed, text)
    text = re.sub(r'(url\(|href=")#', rf"\g<1>#{name}-", text)
    text = re.sub(r' (?:d|x|y|transform)="[^"]*\d\.[^"]*"', _rounded, text)
    head, rest = text.split(">", 1)
    view = re.search(r'viewBox="[^"]+"', head)[0]
    label = html.escape(alt)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{view} role="img" aria-label="{label}" style="{_JOINS}">{rest}'
    )


def _rounded(found: re.Match) -> str:
    """Places to a hundredth of a point, which is finer than any screen."""
    return re.sub(r"(\d\.\d\d)\d+", r"\1", found[0])


def for_notebook(
    figure: Figure, most: int = _LARGE, shown: int = _SHOWN, **how
) -> tuple[bytes, int]:
    """A figure as a PNG with two pixels for one of the page, or fewer, and its width on the page.

    Args:
        figure: the figure.
        most: bytes; a larger picture is drawn with fewer pixels, but no fewer than 1.2 for one.
        shown: pixels of the page that are one inch.
        how: further arguments of ``savefig``.
    """
    for sharp in _SHARP:
        png = small_png(figure, round(sharp * shown), **how)
        if len(png) <= most:
            break
    return png, int(_pixels_across(png) / sharp)


def _is_png(path: Path) -> bool:
    return path.suffix.lower() in ("", ".png")


def _write(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, **_TIGHT)


def _pixels_across(png: bytes) -> int:
    return int.from_bytes(png[16:20])  # where every PNG has its width


def small_png(figure: Figure, dpi: int = 100, **how) -> bytes:
    """A figure as a PNG of 256 colours, which keeps a notebook small.

    No colour changes by more than a few levels in 255.

    Args:
        figure: the figure.
        dpi: pixels per inch.
        how: further arguments of ``savefig``.
    """
    from PIL import Image

    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=dpi, **how)
    small = io.BytesIO()
    _few_colours(Image.open(full)).save(small, "png", optimize=True)
    return small.getvalue()


def _few_colours(picture):
    """The picture with a palette: most of its colours for what is opaque, the rest for edges.

    Pillow has one way for pictures that are clear in places, and with that a colour bar gets steps
    and thin text holes.
    """
    from PIL import Image

    pixels = np.array(picture.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0  # one colour for all that is clear
    opaque = pixels[..., 3] == 255
    usual = np.where(opaque[..., None], pixels, pixels[opaque][:1])[..., :3]
    # Without k-means, wide areas such as a grey band would take on a tint.
    coarse = Image.fromarray(usual).quantize(
        _OPAQUE, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
    )
    palette = np.full((256, 4), 255, np.uint8)
    colours = np.reshape(coarse.getpalette("RGB"), (-1, 3))
    palette[: len(colours), :3] = colours
    index = np.array(coarse)
    soft, index[~opaque] = _clusters(pixels[~opaque], _SOFT)
    palette[_OPAQUE : _OPAQUE + len(soft)] = soft
    index[~opaque] += _OPAQUE
    found = Image.fromarray(index)
    found.putpalette(palette[:, :3].tobytes())
    found.info["transparency"] = palette[:, 3].tobytes()
    return found


def _clusters(pixels: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """A few colours for pixels that are partly clear, and which of them each pixel takes.

    Args:
        pixels: ``(pixels, 4)``, red, green, blue and opacity in uint8.
        most: how many colours there may be.
    """
    packed = np.ascontiguousarray(pixels).view(np.uint32).ravel()
    known, which, count = np.unique(packed, return_inverse=True, return_counts=True)
    values = known.view(np.uint8).reshape(-1, 4).astype(float)
    # Wide areas keep their colours; only those of edges are averaged.
    wide = np.flatnonzero(count > _WIDE * len(pixels))
    edges = np.setdiff1d(np.arange(len(known)), wide)
    place = np.empty(len(known), int)
    place[wide] = np.arange(len(wide))
    means, labels = _means(values[edges], most - len(wide))
    place[edges] = len(wide) + labels
    return np.vstack([values[wide].astype(np.uint8), means]), place[which]


def _means(values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours of groups of colours ``(colours, 4)``, and the group of each."""
    if len(values) <= most:
        return values.astype(np.uint8), np.arange(len(values))
    opacity = values[:, 3:] / 255
    seen = np.hstack([values[:, :3] * opacity, values[:, 3:]])  # how bright it is on a dark page
    centres, labels = kmeans2(seen, most, minit="++", rng=0)
    opacity = np.maximum(centres[:, 3:], 1) / 255
    colours = np.hstack([centres[:, :3] / opacity, centres[:, 3:]])
    colours[colours[:, 3] < _CLEAR_ENOUGH] = 0  # what is clear stays so
    return np.clip(colours.round(), 0, 255).astype(np.uint8), labels
