"""A finished figure made ready for light pages and for dark ones.

Black on white leaves a white box on a dark page. So a picture for a notebook has no background of
its own, and what is not data (text, axes, thin lines) has one middle grey, which has a contrast of
four and more with white and with the black of dark pages. Black data, which is the truth, gets a
white edge. It is not seen on white, and parts the line from a dark page.
"""

from __future__ import annotations

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

INK = "#767676"
_THIN = 1.3  # points: thinner black lines are no data, but edges and lines to compare with
_EDGE = 1.6  # points of white about what is black


def for_any_page(figure: Figure) -> None:
    """Give a figure colours that read on white and on black, and no background. It changes it."""
    figure.draw_without_rendering()  # only now all ticks are there
    for part in figure.findobj(FigureBase):
        part.patch.set_alpha(0)
    for text in figure.findobj(Text):
        if _is_black(text.get_color()) and not _lies_on_an_image(text):
            text.set_color(INK)
    for ax in figure.findobj(Axes):
        _change_axes(ax)
    for legend in _legends(figure):
        legend.get_frame().set_alpha(0)
        for line in legend.legend_handles:
            _change_data(line)


def _legends(figure: Figure) -> list:
    return [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]


def _change_axes(ax: Axes) -> None:
    ax.patch.set_facecolor("none")
    for spine in ax.spines.values():
        if _is_black(spine.get_edgecolor()):
            spine.set_edgecolor(INK)
    for axis in (ax.xaxis, ax.yaxis):
        if _is_black(axis.get_tick_params("major").get("labelcolor", "black")):
            axis.set_tick_params(which="both", color=INK, labelcolor=INK)
    if ax.images:
        return  # what is drawn on an image has a background
    for artist in (*ax.lines, *ax.collections, *ax.patches):
        _change_data(artist)


def _change_data(artist: Artist) -> None:
    """Thin black lines become grey; what else is black gets a white edge."""
    if isinstance(artist, Line2D):
        black = _is_black(artist.get_color())
        thin = artist.get_linewidth() < _THIN and artist.get_marker() in ("", "None", None)
        if black and thin:
            artist.set_color(INK)
        elif black:
            width = artist.get_linewidth() + 2 * _EDGE
            artist.set_path_effects([withStroke(linewidth=width, foreground="white")])
    elif isinstance(artist, Patch):
        if _is_black(artist.get_edgecolor()):
            artist.set_edgecolor(INK)
    elif hasattr(artist, "get_edgecolor"):  # a collection, with a colour for each part
        edges = artist.get_edgecolor()
        if len(edges) and all(_is_black(edge) for edge in edges):
            artist.set_edgecolor(INK)


def _is_black(colour) -> bool:
    *rgb, alpha = to_rgba(colour)
    return alpha > 0 and rgb == [0, 0, 0]


def _lies_on_an_image(text: Text) -> bool:
    return text.axes is not None and bool(text.axes.images) and text in text.axes.texts
