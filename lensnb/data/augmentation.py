"""Random symmetries and random windows of maps and their conditions; both together."""

from __future__ import annotations

import torch
from torch import Tensor

from ..given import Batch, turned_values


def random_symmetry(batch: Tensor | Batch, generator: torch.Generator | None = None):
    """Turn and mirror each map by a random one of the 8 symmetries of the square.

    Args:
        batch: maps ``(maps, n, n)`` or ``(maps, channels, n, n)``; or a
            :class:`~lensnb.given.Batch`, whose conditions are turned with their maps. The shear γ
            has spin 2, so its components change as well.
        generator: source of randomness.

    Returns:
        Maps or a Batch, like the input.
    """
    maps = _maps_of(batch)
    pick = torch.randint(8, (len(maps),), generator=generator, device=_device_of(generator))
    if isinstance(batch, Batch):
        return batch.each(lambda values: _turned_each(values, pick))
    return _turned_each(maps, pick)


def _maps_of(batch: Tensor | Batch) -> Tensor:
    if isinstance(batch, Batch):
        return batch.maps
    return batch


def _device_of(generator: torch.Generator | None) -> torch.device | str:
    """The device on which random numbers are drawn."""
    if generator is None:
        return "cpu"
    return generator.device


def _turned_each(values: Tensor, pick: Tensor) -> Tensor:
    """Each map, or each value of a condition, under the symmetry that was picked for it."""
    out = torch.empty_like(values)
    for k in range(8):
        chosen = (pick == k).to(values.device)
        out[chosen] = turned_values(values[chosen], k)
    return out


def random_crop(batch: Tensor | Batch, n: int, generator: torch.Generator | None = None):
    """Cut a random ``n`` × ``n`` window out of each map, for example 5° fields out of 10° fields.

    Modes that are longer than the window are lost.

    Args:
        batch: maps ``(maps, m, m)`` or ``(maps, channels, m, m)``, m ≥ n; or a
            :class:`~lensnb.given.Batch`, whose conditions are cut to the same windows if they are
            maps.
        n: pixels a side of the window.
        generator: source of randomness.

    Returns:
        Maps or a Batch, like the input.

    Raises:
        ValueError: n is larger than the maps, or a condition is a map of another size.
    """
    maps = _maps_of(batch)
    m = maps.shape[-1]
    if n > m:
        raise ValueError(f"cannot cut {n} × {n} windows out of {m} × {m} maps")
    shape = (2, len(maps))
    device = _device_of(generator)
    corner = torch.randint(m - n + 1, shape, generator=generator, device=device)
    if not isinstance(batch, Batch):
        return _windows(maps, corner, n)
    for name, values in batch.given.items():
        if values.ndim >= 3 and values.shape[-1] != m:
            raise ValueError(
                f"the condition {name} has {values.shape[-1]} pixels a side; "
                f"expected those of the maps, {m}, to cut the same window"
            )

    def cut(values: Tensor) -> Tensor:
        if values.ndim < 3:  # numbers
            return values
        return _windows(values, corner, n)

    return batch.each(cut)


def random_field(batch: Tensor | Batch, generator: torch.Generator | None = None, *, n: int):
    """Cut a random window out of each map, then turn and mirror it: an augmentation of wide maps.

        settings = Settings(steps, augment=partial(random_field, n=256))

    Args:
        batch: as for :func:`random_crop`.
        generator: source of randomness.
        n: pixels a side of the window.

    Returns:
        Maps or a Batch, like the input.

    Raises:
        ValueError: as for :func:`random_crop`.
    """
    return random_symmetry(random_crop(batch, n, generator), generator)


def _windows(maps: Tensor, corner: Tensor, n: int) -> Tensor:
    """A window of each map. ``corner`` has the first row and column of each, ``(2, maps)``."""
    corner = corner.to(maps.device)
    step = torch.arange(n, device=maps.device)
    rows = (corner[0, :, None] + step)[:, :, None]
    columns = (corner[1, :, None] + step)[:, None, :]
    index = torch.arange(len(maps), device=maps.device)[:, None, None]
    if maps.ndim == 3:
        return maps[index, rows, columns]
    return maps.movedim(1, -1)[index, rows, columns].movedim(-1, 1)
