"""A finished figure as a picture: in a notebook with an alternative text, in a file or a page."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

_JOINS = "stroke-linejoin: round; stroke-linecap: butt"  # as matplotlib draws lines
_TIGHT = {"bbox_inches": "tight", "facecolor": "white"}


def show(figure: Figure, alt: str, save: str | Path | None = None):
    """Show a finished figure in a notebook, and close it.

    The picture has an alternative text for readers who cannot see it.

    Args:
        figure: the figure.
        alt: one sentence that says what the figure shows.
        save: also write it to this file. The ending says how: ``.pdf`` and ``.svg``, for example,
            are vector graphics; ``.png`` (or no ending) is the picture in the notebook.

    Returns:
        An ``IPython.display.Image``; make it the last value of the cell.

    Raises:
        ValueError: matplotlib does not know a format with this ending.
    """
    from IPython.display import Image

    try:
        png = small_png(figure, **_TIGHT)
        if save is not None:
            _write(figure, png, Path(save))
    finally:
        plt.close(figure)
    return Image(png, format="png", alt=alt)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a finished figure to a file, and close it.

    Args:
        figure: the figure.
        path: the ending says how, such as ``.svg``, ``.pdf`` or ``.png``.

    Raises:
        ValueError: matplotlib does not know a format with this ending.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, **_TIGHT)
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


def _write(figure: Figure, png: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in ("", ".png"):
        path.write_bytes(png)
    else:
        figure.savefig(path, **_TIGHT)


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
    picture = Image.open(full).convert("RGB")
    # Without k-means, wide areas such as a grey band would take on a tint.
    picture = picture.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    small = io.BytesIO()
    picture.save(small, "png", optimize=True)
    return small.getvalue()
