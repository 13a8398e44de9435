"""The quiz and the explorer as one HTML file, for people who have no Python."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..files import atomic_write
from .explorer import STATISTICS, explore
from .pictures import Maps, field_side
from .quiz import spot_the_fake
from .static_page import record, static_page

LARGEST = 3_000_000  # bytes of a page: thirty phones load it at once
_SMOOTHING = (0, 5)  # arcminutes
_TITLE = "Generated or true?"


def share(
    path: str | Path,
    sets: Mapping[str, Maps],
    questions: int = 30,
    maps: int = 32,
    seed: int = 0,
) -> Path:
    """Write the quiz and the explorer of some maps as one HTML file, which needs no kernel.

    The file opens offline in a browser, at home or on a phone. It has the maps in less than 16
    bits a pixel, see :mod:`lensnb.widgets.static_page`, all statistics, and the maps smoothed by
    5 arcminutes.

    Args:
        path: the file to write.
        sets: name → maps, the true maps first; see :func:`lensnb.widgets.explore`.
        questions: of the quiz.
        maps: of each set in the explorer.
        seed: of the questions; with one seed, everybody sees the same ones.

    Returns:
        The path.

    Raises:
        ValueError: the sets are not those of a quiz, or the page would have more than 3 MB.
    """
    side_deg = field_side(sets, None)
    quiz = spot_the_fake(sets, questions=questions, seed=seed)
    explorer = explore(sets, maps=maps, smoothing_arcmin=_SMOOTHING, n_gal_arcmin2=(0,))
    choices = {"statistic": list(STATISTICS), "smoothing_arcmin": _SMOOTHING}
    shown = {"Quiz": record(quiz), "Explorer": record(explorer, choices)}
    page = static_page(shown, _TITLE, _about(sets, side_deg)).encode()
    if len(page) > LARGEST:
        raise ValueError(
            f"the page would have {len(page) / 1e6:.1f} MB; expected at most "
            f"{LARGEST / 1e6:.0f} MB, with fewer maps, questions or sets"
        )
    with atomic_write(path) as file:
        file.write(page)
    return Path(path)


def _about(sets: Mapping[str, Maps], side_deg: float) -> str:
    """What the maps are, and where the page is from."""
    truth, *others = sets
    listed = ", ".join(others)
    field = f"fields of {side_deg:g}° × {side_deg:g}°"
    return (
        f"Convergence maps of weak gravitational lensing, {field}. "
        f"“{truth}” has true maps; those of the others are generated: {listed}. Made by lensnb "
        f"{__version__} on {datetime.now(UTC):%d %B %Y}. This file needs no network."
    )
