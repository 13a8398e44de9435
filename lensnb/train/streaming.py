"""Training maps with their conditions, in memory or on disk, in an order that only the seed decides.

Maps that stay on disk come in an order that is random and yet reads whole chunks. Every epoch the
chunks of the file are shuffled and taken together in blocks that fit into memory, about 67 million
pixels each, and the maps of a block are shuffled among one another. So a map meets maps of some
sixteen random chunks, each chunk is read once an epoch, and the order is a function of the seed
and the epoch, as it is for maps in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..given import Batch, check_values
from ..maps import check_shape
from ..store import StoredMaps

BLOCK = 2**26  # pixels, 268 MB of float32; sets that are not larger are read at once


@dataclass(frozen=True)
class TrainingSet:
    """Maps and conditions, each a float32 (or complex64) tensor, or on disk where there are many.

    Attributes:
        maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``; or vectors ``(maps, bins)``.
        given: the conditions that the model needs, by name.
    """

    maps: Tensor | StoredMaps
    given: dict[str, Tensor | StoredMaps]

    def __len__(self) -> int:
        return len(self.maps)

    def some(self, index: Tensor) -> Batch:
        """The maps of these numbers, and their conditions."""
        given = {name: _read(values, index) for name, values in self.given.items()}
        return Batch(_read(self.maps, index), given)


def training_set(maps, needed: Mapping, name: str = "the training set") -> TrainingSet:
    """The maps of a tensor, an array, a :class:`~lensnb.given.Batch` or a :class:`~lensnb.data.MapSet`.

    Args:
        maps: what was given to :func:`lensnb.train.fit`.
        needed: the conditions of the model, by name; what else a set has is left alone.
        name: for sentences.

    Raises:
        ValueError: it is nothing of that kind, or lacks a condition.
    """
    given = getattr(maps, "given", {})
    maps = getattr(maps, "maps", maps)
    if not hasattr(maps, "shape"):
        raise ValueError(
            f"{name} is a {type(maps).__name__}; expected one tensor or array of maps, a Batch or a MapSet"
        )
    if maps.ndim != 2:  # which vectors of statistics have
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
    return TrainingSet(
        _held(maps), {condition: _held(values) for condition, values in own.items()}
    )


def _held(values) -> Tensor | StoredMaps:
    """In memory, but for maps on disk of which there are many."""
    if isinstance(values, Tensor):
        return values
    if isinstance(values, StoredMaps) and math.prod(values.shape) > BLOCK:
        return values
    dtype = np.complex64 if np.dtype(values.dtype).kind == "c" else np.float32
    return torch.from_numpy(np.array(values, dtype))


def _read(values: Tensor | StoredMaps, index: Tensor) -> Tensor:
    """Some of the maps, or of the values of a condition."""
    if isinstance(values, Tensor):
        return values[index]
    dtype = np.complex64 if np.dtype(values.dtype).kind == "c" else np.float32
    return torch.from_numpy(np.array(values[index.numpy()], dtype))


class Stream:
    """A set in the order of a training, epoch after epoch; of maps on disk one block is in memory.

    Args:
        source: the set.
        seed: ``seed(epoch)`` gives the generator of an epoch's order.
    """

    def __init__(self, source: TrainingSet, seed: Callable[[int], torch.Generator]):
        self._source, self._seed = source, seed
        self._chunks: list[Tensor] = []
        if isinstance(source.maps, StoredMaps):
            self._chunks = [torch.from_numpy(part) for _, part in source.maps.by_chunk()]
        self._epoch: tuple[int, list[Tensor]] = -1, []
        self._block: tuple[tuple[int, int], Batch] | None = None

    def take(self, start: int, count: int) -> Batch:
        """Maps and conditions from number ``start`` of the stream on, ``count`` of them."""
        parts = []
        while count:
            epoch, at = divmod(start, len(self._source))
            blocks, number = self._blocks(epoch), 0
            while at >= len(blocks[number]):
                at, number = at - len(blocks[number]), number + 1
            part = self._part(epoch, number, slice(at, at + count))
            parts.append(part)
            start, count = start + len(part.maps), count - len(part.maps)
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
            self._block = None  # before the next one takes its place in memory
            self._block = (epoch, number), self._source.some(self._blocks(epoch)[number])
        return self._block[1]

    def _blocks(self, epoch: int) -> list[Tensor]:
        """Which maps each block of an epoch has, in their order; maps in memory are one block."""
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._shuffled(self._seed(epoch))
        return self._epoch[1]

    def _shuffled(self, generator: torch.Generator) -> list[Tensor]:
        if not self._chunks:
            return [torch.randperm(len(self._source), generator=generator)]
        most = BLOCK // math.prod(self._source.maps.shape[1:])
        blocks, held, size = [], [], 0
        for chunk in torch.randperm(len(self._chunks), generator=generator).tolist():
            held.append(self._chunks[chunk])
            size += len(held[-1])
            if size >= most:
                blocks.append(torch.cat(held))
                held, size = [], 0
        blocks += [torch.cat(held)] if held else []
        return [block[torch.randperm(len(block), generator=generator)] for block in blocks]
