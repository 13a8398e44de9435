"""Training maps with their conditions, in memory or on disk, in an order given by the seed.

Maps that stay on disk come in a random order that still reads whole chunks. In every epoch the
chunks of the file are shuffled and joined to blocks that fit into memory, of about 67 million
pixels each. Then the maps of each block are shuffled. So a block mixes maps of about sixteen
random chunks, and each chunk is read once in an epoch. The order is a function of the seed and the
epoch, as it is for maps in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..given import Batch, check_values
from ..maps.grid import check_shape
from ..store import StoredMaps

# pixels of a block, 268 MB of float32; smaller sets are read at once
BLOCK = 2**26


@dataclass(frozen=True)
class TrainingSet:
    """Maps and conditions, as float32 (or complex64) tensors, or on disk if there are many.

    Attributes:
        maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``; or vectors ``(maps, bins)``.
        given: the conditions that the model needs, by name.
    """

    maps: Tensor | StoredMaps
    given: dict[str, Tensor | StoredMaps]

    def __len__(self) -> int:
        return len(self.maps)

    def some(self, index: Tensor) -> Batch:
        """The maps with these numbers, and their conditions."""
        given = {name: _read(values, index) for name, values in self.given.items()}
        return Batch(_read(self.maps, index), given)


def training_set(maps, needed: Mapping, name: str = "the training set") -> TrainingSet:
    """The training set of a tensor, an array, a Batch or a MapSet.

    Args:
        maps: the argument of :func:`lensnb.train.fit`.
        needed: the conditions of the model, by name; other conditions of a set are left out.
        name: what this is, for error messages.

    Raises:
        ValueError: it is none of these, or a condition is missing.
    """
    given = getattr(maps, "given", {})
    maps = getattr(maps, "maps", maps)
    if not hasattr(maps, "shape"):
        raise ValueError(
            f"{name} is a {type(maps).__name__}; "
            "expected one tensor or array of maps, a Batch or a MapSet"
        )
    if not len(maps):
        raise ValueError(f"{name} has no maps; expected at least one")
    if maps.ndim != 2:  # vectors of statistics have two axes
        check_shape(name, maps.shape)
    missing = [condition for condition in needed if condition not in given]
    if missing:
        found = ", ".join(given) or "none"
        raise ValueError(
            f"{name} lacks the condition {missing[0]} that the model needs; it has {found}"
        )
    own = {condition: given[condition] for condition in needed}
    for condition, values in own.items():
        check_values(condition, values, len(maps))
    held = {condition: _held(values) for condition, values in own.items()}
    return TrainingSet(_held(maps), held)


def _held(values) -> Tensor | StoredMaps:
    """Values in memory; large sets of maps on disk stay there."""
    if isinstance(values, Tensor):
        return values
    if isinstance(values, StoredMaps) and math.prod(values.shape) > BLOCK:
        return values
    return _tensor(values)


def _read(values: Tensor | StoredMaps, index: Tensor) -> Tensor:
    """Some of the maps, or of the values of a condition."""
    if isinstance(values, Tensor):
        return values[index]
    return _tensor(values[index.numpy()])


def _tensor(values) -> Tensor:
    """A float32 or complex64 tensor of an array, or of maps on disk."""
    dtype = np.float32
    if np.dtype(values.dtype).kind == "c":
        dtype = np.complex64
    return torch.from_numpy(np.array(values, dtype))


class Stream:
    """A set in the order of a training. Of maps on disk, one block is in memory.

    Args:
        source: the set.
        seed: ``seed(epoch)`` returns the random generator for the order of an epoch.
    """

    def __init__(self, source: TrainingSet, seed: Callable[[int], torch.Generator]):
        self._source = source
        self._seed = seed
        self._chunks: list[Tensor] = []
        if isinstance(source.maps, StoredMaps):
            self._chunks = [torch.from_numpy(part) for _, part in source.maps.by_chunk()]
        self._epoch: tuple[int, list[Tensor]] = -1, []
        self._block: tuple[tuple[int, int], Batch] | None = None

    def take(self, start: int, count: int) -> Batch:
        """``count`` maps of the stream with their conditions, from number ``start`` on."""
        parts = []
        while count:
            epoch, at = divmod(start, len(self._source))
            blocks = self._blocks(epoch)
            number = 0
            while at >= len(blocks[number]):
                at -= len(blocks[number])
                number += 1
            part = self._part(epoch, number, slice(at, at + count))
            parts.append(part)
            start += len(part.maps)
            count -= len(part.maps)
        given = {
            name: torch.cat([part.given[name] for part in parts]) for name in self._source.given
        }
        return Batch(torch.cat([part.maps for part in parts]), given)

    def _part(self, epoch: int, number: int, part: slice) -> Batch:
        """Some of a block of an epoch."""
        if self._chunks:
            return self._read_block(epoch, number).each(lambda values: values[part])
        return self._source.some(self._blocks(epoch)[number][part])

    def _read_block(self, epoch: int, number: int) -> Batch:
        if self._block is None or self._block[0] != (epoch, number):
            self._block = None  # free its memory before the next block is read
            block = self._source.some(self._blocks(epoch)[number])
            self._block = (epoch, number), block
        return self._block[1]

    def _blocks(self, epoch: int) -> list[Tensor]:
        """The numbers of the maps in each block of an epoch; maps in memory are one block."""
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._shuffled(self._seed(epoch))
        return self._epoch[1]

    def _shuffled(self, generator: torch.Generator) -> list[Tensor]:
        if not self._chunks:
            return [torch.randperm(len(self._source), generator=generator)]
        most = BLOCK // math.prod(self._source.maps.shape[1:])
        blocks = []
        held = []  # chunks of the block that is being filled
        size = 0  # maps in them
        for chunk in torch.randperm(len(self._chunks), generator=generator).tolist():
            held.append(self._chunks[chunk])
            size += len(held[-1])
            if size >= most:
                blocks.append(torch.cat(held))
                held = []
                size = 0
        if held:
            blocks.append(torch.cat(held))
        return [block[torch.randperm(len(block), generator=generator)] for block in blocks]
