"""What is on disk of a zarr array: zarr fills what was never written with a constant.

Codecs are looked at before zarr opens a folder, since some of them run code that the folder holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

# Codecs of numbers and of text. Others unpickle, or make Python objects in another way.
_CODECS = {
    "adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta",
    "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "lz4", "lzma", "packbits",
    "quantize", "sharding_indexed", "shuffle", "transpose", "vlen-utf8", "zlib", "zstd",
}  # fmt: skip
_METADATA = ("zarr.json", ".zarray", ".zmetadata")
_FILES = (*_METADATA, ".zattrs", ".zgroup")
_CODEC_KEYS = ("filters", "compressor", "codecs", "index_codecs")
_LARGEST_CHUNK = 2**33  # bytes


def check_codecs(folder: Path) -> None:
    """Refuse arrays whose codecs make Python objects, before any chunk is decoded.

    Args:
        folder: an array, or a group with arrays at two levels at most, as a set has.

    Raises:
        ValueError: another codec than those of numbers and text; the message names it. Or
            metadata that are no file, which could be read for ever.
    """
    nodes = [folder, *folder.glob("*/"), *folder.glob("given/*/")]
    for file in (node / name for node in nodes for name in _FILES):
        if not file.exists():
            continue
        if not file.is_file():
            raise ValueError(f"{file.relative_to(folder)} is no file")
        if file.name not in _METADATA:
            continue
        for codec in _codecs(json.loads(file.read_bytes())):
            if codec.removeprefix("numcodecs.") not in _CODECS:
                name = file.relative_to(folder)
                raise ValueError(
                    f"{name} has the codec {codec}, which is not one of plain numbers"
                )


def _codecs(metadata, inside: bool = False) -> Iterator[str]:
    """The names of all codecs in the metadata of a node."""
    if isinstance(metadata, list):
        for one in metadata:
            yield from _codecs(one, inside)
    if not isinstance(metadata, dict):
        return
    if inside:
        yield str(metadata.get("id", metadata.get("name")))
    for key, value in metadata.items():
        if key not in ("attributes", ".zattrs"):
            yield from _codecs(value, key in _CODEC_KEYS)


def check_chunks(array) -> None:
    """Refuse an array with missing chunks, without asking for each one by its name.

    Args:
        array: a zarr array in a folder.

    Raises:
        ValueError: fewer files than chunks, or chunks that are too large for memory.
    """
    stored = array.shards or array.chunks
    size = math.prod(stored) * np.dtype(array.dtype).itemsize
    if size > _LARGEST_CHUNK:
        raise ValueError(f"its chunks take {size / 2**30:.0f} GiB each; expected less than 8")
    expected = math.prod(-(-n // step) for n, step in zip(array.shape, stored))
    found = 0
    for _ in _chunk_files(array):
        found += 1
        if found == expected:
            break
    if found < expected:
        # Chunks that hold nothing but the fill value are not stored either: maps of one value.
        what = array.basename or "maps"
        raise ValueError(f"{found} of the {expected} chunks of its {what} are there")


def check_blosc(array) -> None:
    """Refuse chunks that are cut off where the codec does not notice.

    Blosc reads on beyond the end of the file, so the compressed size in its header is compared
    with the size of the file.
    """
    # A checksum after Blosc, as the last codec, would notice.
    last = ""
    if array.compressors:
        last = type(array.compressors[-1]).__name__.lower()
    if "blosc" not in last or array.shards is not None:
        return
    for file in _chunk_files(array):
        with open(file, "rb") as chunk:
            header = chunk.read(16)
        expected, size = int.from_bytes(header[12:], "little"), file.stat().st_size
        if size != expected:
            raise ValueError(f"its chunk {file.name} has {size} of {expected} bytes")


def _chunk_files(array) -> Iterator[Path]:
    folder = Path(array.store_path.store.root) / array.path
    for file in folder.rglob("*"):
        hidden = file.name.startswith(".") or file.name == "zarr.json"
        if not hidden and file.suffix != ".partial" and file.is_file():
            yield file


def with_fill(array, value):
    """The same array, but with another value where nothing was written.

    A shard may lack some of its chunks, which only this shows.
    """
    import zarr

    metadata = replace(array.metadata, fill_value=value)
    return zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=array.store_path))


def read_all(array, count: int) -> np.ndarray:
    """The first ``count`` values of a small array, of which every chunk was written.

    Raises:
        ValueError: some were not; zarr would fill them with a constant.
    """
    check_chunks(array)
    dtype = np.dtype(array.dtype)
    fills = ("", "?")
    if dtype.kind in "biufc":
        fills = (dtype.type(0), dtype.type(1))
    one, other = (np.asarray(with_fill(array, fill)[:count]) for fill in fills)
    differ = one != other
    if dtype.kind in "fc":
        differ &= ~(np.isnan(one) & np.isnan(other))
    if differ.any():
        raise ValueError(f"{np.count_nonzero(differ)} values of its {array.basename} are missing")
    return one
