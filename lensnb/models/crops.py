"""Crops that a level of details is trained on: their sides, places and rims."""

from __future__ import annotations

import torch

BLOCK = 4  # pixels of the side of a block, which is a pixel of the networks
RIM = 2  # blocks of a crop that do not count, on the sides where the map continues
_LEAST = 16  # pixels a side of maps and crops


def check_sides(n: int, crop: int | None) -> None:
    """Refuse maps or crops that a level of details cannot have.

    Raises:
        ValueError: a side or a crop that is too small or no multiple of a block, a crop larger
            than the maps, or one that is all rim.
    """
    if n % BLOCK or n < _LEAST:
        raise ValueError(
            f"a level of details has maps whose side is a multiple of 4 from 16 on, found {n}"
        )
    if crop is None:
        return
    if crop > n:
        raise ValueError(f"a crop of {crop}² pixels is larger than the maps, {n}²")
    if crop % BLOCK or crop < _LEAST:
        raise ValueError(f"a crop has a multiple of 4 pixels a side from 16 on, found {crop}")
    least = BLOCK * (2 * RIM + 1)
    if crop < min(n, least):
        raise ValueError(
            f"a crop of {crop}² pixels is all rim; expected at least {least} pixels a side, or "
            "whole maps"
        )


def random_start(side: int, crop: int, generator: torch.Generator | None) -> int:
    """The first pixel of a crop. Crops that would leave the map are moved to its edge."""
    device = None
    if generator is not None:
        device = generator.device
    middle = int(torch.randint(side // BLOCK + 1, (), generator=generator, device=device))
    start = BLOCK * (middle - crop // (2 * BLOCK))
    return min(max(start, 0), side - crop)


def without_rim(start: int, crop: int, side: int) -> slice:
    """The blocks of a crop without its rim, which it has only where the map continues."""
    first, last = 0, crop // BLOCK
    if start > 0:
        first += RIM
    if start + crop < side:
        last -= RIM
    return slice(first, last)
