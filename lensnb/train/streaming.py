"""Training maps that stay on disk, in an order that is random and yet reads whole chunks.

Every epoch the chunks of the file are shuffled and taken together in blocks that fit into memory, about 67 million pixels
each, and the maps of a block are shuffled among one another. So a map meets maps of some sixteen random chunks, each chunk is
read once an epoch, and the order is a function of the seed and the epoch, as it is for maps in memory.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..store import StoredMaps

BLOCK = (
    2**26
)  # pixels, 268 MB of float32; sets that are not larger are read at once, and trained on like any others


def training_maps(maps) -> Tensor | StoredMaps:
    """The maps of a tensor, an array or a :class:`~lensnb.data.MapSet`: float32 in memory, or on disk where they are many."""
    maps = getattr(maps, "maps", maps)
    if isinstance(maps, Tensor) or (
        isinstance(maps, StoredMaps) and len(maps) * maps.shape[-1] ** 2 > BLOCK
    ):
        return maps
    return torch.from_numpy(np.array(maps, np.float32))


class Stream:
    """The maps in the order of a training, epoch after epoch; one block of them is in memory.

    Args:
        maps: on disk.
        seed: ``seed(epoch)`` gives the generator of an epoch's order.
    """

    def __init__(self, maps: StoredMaps, seed):
        self._maps, self._seed = maps, seed
        self._chunks = [torch.from_numpy(part) for _, part in maps.by_chunk()]
        self._epoch: tuple[int, list[Tensor]] = -1, []
        self._block: tuple[tuple[int, int], Tensor] | None = None

    def take(self, start: int, count: int) -> Tensor:
        """The maps from number ``start`` of the stream on, float32, shape ``(count, n, n)``."""
        parts = []
        while count:
            epoch, at = divmod(start, len(self._maps))
            blocks, number = self._blocks(epoch), 0
            while at >= len(blocks[number]):
                at, number = at - len(blocks[number]), number + 1
            parts.append(self._read(epoch, number)[at : at + count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)

    def _blocks(self, epoch: int) -> list[Tensor]:
        """Which maps each block of an epoch has, in their order."""
        if self._epoch[0] != epoch:
            generator, most = self._seed(epoch), BLOCK // self._maps.shape[-1] ** 2
            blocks, held, size = [], [], 0
            for chunk in torch.randperm(len(self._chunks), generator=generator).tolist():
                held.append(self._chunks[chunk])
                size += len(held[-1])
                if size >= most:
                    blocks.append(torch.cat(held))
                    held, size = [], 0
            blocks += [torch.cat(held)] if held else []
            self._epoch = (
                epoch,
                [block[torch.randperm(len(block), generator=generator)] for block in blocks],
            )
        return self._epoch[1]

    def _read(self, epoch: int, number: int) -> Tensor:
        if self._block is None or self._block[0] != (epoch, number):
            self._block = None  # before the next one takes its place in memory
            indices = self._blocks(epoch)[number].numpy()
            self._block = (
                (epoch, number),
                torch.from_numpy(np.array(self._maps[indices], np.float32)),
            )
        return self._block[1]
