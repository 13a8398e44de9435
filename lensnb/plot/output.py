"""A finished figure as a picture: in a notebook with an alternative text, or in a file."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

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
