"""Which levels a cascade has: sides, families and crops, and whether they belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from .levels import Level, checked_family

_ON_CROPS = ("details", "detail-diffusion")  # families that can be trained on crops


def check_crop(n: int, crop: int | None) -> None:
    """Refuse a crop that is larger than maps of ``n``² pixels."""
    if crop is not None and crop > n:
        raise ValueError(f"a crop of {crop}² pixels is larger than the maps, {n}²")


def crop_of(side: int, family: str, crop: int | None) -> int | None:
    """The crop of one level; levels of few pixels, and some families, take whole maps."""
    if family not in _ON_CROPS or crop is None or crop >= side:
        return None
    return crop


def families_of(n: int, coarse: int, families: Mapping[int, str] | None = None) -> dict[int, str]:
    """The family of each level of a cascade by its side, coarsest first.

    Args:
        n: pixels a side of the maps.
        coarse: pixels a side of the coarsest level.
        families: choices that are not the usual ones, see :meth:`Multiscale.fit`.

    Raises:
        ValueError: n is not ``coarse`` times a power of two, or a choice is for another side or
            cannot be such a level.
    """
    factor = n // max(coarse, 1)
    if n != coarse * factor or factor < 2 or factor & (factor - 1):
        raise ValueError(
            f"a cascade from {coarse}² pixels has maps of {2 * coarse}², {4 * coarse}², … "
            f"pixels, found {n}²"
        )
    chosen = {coarse: "flow" if coarse >= 16 else "trenf"}
    side = 2 * coarse
    while side <= n:
        chosen[side] = "details"
        side *= 2
    for side, family in (families or {}).items():
        if side not in chosen:
            expected = ", ".join(f"{known}²" for known in chosen)
            raise ValueError(
                f"a family is chosen for a level of {side}² pixels; this cascade has {expected}"
            )
        checked_family(family, side > coarse)
        chosen[side] = family
    return chosen


def checked_sides(levels: Sequence[Level], coarse: int | None) -> list[int]:
    """Pixels a side at each level.

    Raises:
        ValueError: levels of which no cascade can be made.
    """
    if not levels or not all(isinstance(level, Level) for level in levels):
        found = ", ".join(type(level).__name__ for level in levels) or "none"
        raise ValueError(f"a cascade has levels of the class Level, found {found}")
    if not all(level.fine for level in levels[1:]):
        raise ValueError(
            "only the first level of a cascade needs no coarser map; found levels of "
            + ", ".join(f"{level.n}² by {level.model.family}" for level in levels)
        )
    if len({level.channels for level in levels}) > 1:
        found = ", ".join(str(level.channels) for level in levels)
        raise ValueError(f"the levels of a cascade have the same channels, found {found}")
    first, *finer = levels
    sides = [first.n]
    if first.fine:
        sides = [coarse or first.n // 2]
        finer = levels
    for level in finer:
        side = 2 * sides[-1]
        wider = level.local and side % level.n == 0
        if level.n != side and not wider:
            raise ValueError(
                f"a level of {level.n}² pixels cannot follow one of {side // 2}²; expected "
                f"{side}², or details of a divisor of {side}"
            )
        sides.append(side)
    return sides[-len(levels) :]


def check_same_maps(levels: Sequence[Level], tolerance: float) -> None:
    """Refuse levels that were trained on other maps than their neighbours.

    Args:
        levels: the levels, coarsest first.
        tolerance: see :meth:`lensnb.models.Multiscale.join`.

    Raises:
        ValueError: two neighbours know other pixels.
    """
    for level, finer in zip(levels, levels[1:]):
        own, known = level.pixels[0], finer.pixels[1]
        if not ((own - known).abs() <= tolerance * own[1]).all():
            raise ValueError(
                f"the level of {level.n}² pixels was trained on maps with κ = {_words(own)}, and "
                f"the one of {finer.n}² on maps with {_words(known)} at these pixels; expected "
                "levels of the same maps"
            )


def _words(pixels: Tensor) -> str:
    mean, scatter = pixels.tolist()
    return f"{mean:.3e} ± {scatter:.3e}"
