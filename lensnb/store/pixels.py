"""Whether pixels can be κ: finite, none of them a mark for missing values, and no map empty."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

# What files hold where nothing was observed: HEALPix's UNSEEN, and what catalogues and images use.
_MARKS = (-1.6375e30, -1e30, 1e30, -1e20, 1e20, -99, 99, -999, 999, -9999, 9999, -99999, -32768)
_LARGE = 10.0  # maps below this in all pixels need no closer look
# No line of sight is emptier than empty (κ > −1), but noise of few galaxies a pixel adds to that.
_LOWEST, _HIGHEST = -10.0, 1000.0
# Pixels of κ are exactly 0 by chance only. A set has no mask, so a hole is not κ.
_MOST_ZEROS = 0.02, 4  # as a share of a map, and as a number of pixels
# The same for any other value. In half precision, and after rounding, values repeat by chance, but
# then the values next to them do so as often.
_MOST_EQUAL = 0.02, 16
_ABOVE_TIES = 5.0
_SAMPLE = 512  # pixels of a map among which an equal value is looked for
_WHOLE = "cannot be κ: it holds whole numbers, as a mask or counts of galaxies"
_LARGEST_MEAN = 0.1  # of maps without any negative pixel


def check_pieces(
    where: str | Path, parts: Iterable[tuple[int, np.ndarray]], first: int, total: int
) -> None:
    """Check pixels piece by piece, as :func:`lensnb.store.reading.check_pixels` says.

    Args:
        where: what the error message begins with, a file.
        parts: pieces of the maps, each with the number of its first map.
        first: number of the first of these maps in the file.
        total: number of maps in the file.

    Raises:
        ValueError: one sentence, with the number of the map.
    """
    bad, first_bad, faults = 0, None, []
    for start, part in parts:
        # numpy is six times as slow in float16
        wide = part.astype(np.promote_types(part.dtype, np.float32), copy=False)
        for number in _unusual(wide):
            at = number + first + start
            one = wide[number]
            missing = one.size - np.count_nonzero(np.isfinite(one))
            bad += missing
            if missing and first_bad is None:
                first_bad = at
            if not missing and not faults:
                faults += [f"{where} {fault} in map {at} of {total}" for fault in _faults(one)]
        if not faults and not bad:
            faults += [f"{where} {fault}" for fault in _faults_of_all(wide)]
    if bad:
        raise ValueError(
            f"{where} has {bad} pixels that are NaN or infinite, the first in map {first_bad} "
            f"of {total} (counted from 0); expected finite κ everywhere"
        )
    if faults:
        raise ValueError(f"{faults[0]} (counted from 0); expected κ in all pixels")


def check_marks(where: str, maps: np.ndarray) -> None:
    """Refuse maps in which a pixel holds a mark for missing values, such as HEALPix's UNSEEN.

    Args:
        where: what the error message begins with.
        maps: κ, shape ``(maps, ...)``, floating-point.

    Raises:
        ValueError: the message has the mark, and the number of the first such map.
    """
    for number in np.flatnonzero(np.abs(maps).reshape(len(maps), -1).max(1) > _LARGE):
        mark = _mark(maps[number])
        if mark:
            raise ValueError(
                f"{where} {mark} in map {number} of {len(maps)} (counted from 0); "
                "expected κ in all pixels"
            )


def _unusual(maps: np.ndarray) -> list[int]:
    """Numbers of the maps that need a closer look."""
    low, high = maps.min((-2, -1)), maps.max((-2, -1))
    usual = (low >= -_LARGE) & (high <= _LARGE)  # False if there is a NaN
    usual &= low < high
    usual &= np.count_nonzero(maps == 0, axis=(-2, -1)) <= _most(maps, _MOST_ZEROS)
    usual &= ~_may_repeat(maps)
    if usual.ndim > 1:  # channels
        usual = usual.all(1)
    return np.flatnonzero(~usual).tolist()


def _most(maps: np.ndarray, limit: tuple[float, int]) -> float:
    """How many pixels of a map may be equal, by a share of the map and a number of pixels."""
    share, number = limit
    return max(number, share * maps.shape[-1] * maps.shape[-2])


def _may_repeat(maps: np.ndarray) -> np.ndarray:
    """Whether one value may be in more than a fiftieth of the pixels of a map, by a sample.

    A value in a fiftieth of all pixels is about 10 times in the sample; 5 times are enough here.
    """
    rows, columns = maps.shape[-2:]
    step = rows * columns // _SAMPLE | 1  # odd, so that the sample is of all columns
    at = np.arange(0, rows * columns, step)
    few = np.sort(maps[..., at // columns, at % columns])
    times = max(4, few.shape[-1] // 100 - 1)
    return (few[..., times:] == few[..., :-times]).any(-1)


def _faults(one: np.ndarray) -> list[str]:
    """Why a finite map, or one of its channels, cannot be κ, in words."""
    bulk = _bulk(one)
    if bulk > _LARGE:
        return [f"cannot be κ: |κ| has the median {bulk:.3g}"]
    mark = _mark(one) or _repeated(one)
    if mark:
        return [mark]
    for value in (one.min(), one.max()):
        if not _LOWEST <= value <= _HIGHEST:
            return [f"cannot be κ: it has a pixel of {value:.6g}"]
    faults = []
    for channel in one.reshape(-1, *one.shape[-2:]):
        zeros = np.count_nonzero(channel == 0)
        if channel.min() == channel.max():
            faults.append(f"has only one value, {channel.flat[0]:g},")
        elif zeros > _most(channel, _MOST_ZEROS):
            faults.append(_hole(0, zeros, channel))
        else:
            faults += _filled(channel)
    return faults


def _filled(channel: np.ndarray) -> list[str]:
    """Which value fills a hole of a map, in words: far more pixels have it than those next to it.

    Returns:
        Nothing where there is no such value.
    """
    values, counts = np.unique(channel, return_counts=True)
    at = counts.argmax()
    beside = np.concatenate([counts[max(0, at - 2) : at], counts[at + 1 : at + 3]])
    if counts[at] <= _most(channel, _MOST_EQUAL) or counts[at] < _ABOVE_TIES * beside.max():
        return []
    if values[0] >= 0 and (values == np.rint(values)).all():
        return [_WHOLE]
    return [_hole(values[at], counts[at], channel)]


def _hole(value: float, count: int, channel: np.ndarray) -> str:
    share = count / channel.size
    return f"is exactly {value:g} in {share:.1%} of the pixels, as where nothing was seen,"


def _mark(one: np.ndarray) -> str:
    """The mark for missing values that a map holds, in words; empty if it holds none."""
    large = one[np.abs(one) > _LARGE]
    if not large.size:
        return ""
    for mark in np.array(_MARKS, one.dtype):
        count = np.count_nonzero(large == mark)
        if count:
            name = " (HEALPix's UNSEEN)" if mark == one.dtype.type(_MARKS[0]) else ""
            return f"has {count} pixels with {mark:g}{name}, a mark for missing values,"
    return ""


def _repeated(one: np.ndarray) -> str:
    """A large value that several pixels have exactly, in words; empty if there is none."""
    large = one[np.abs(one) > _LARGE]
    if not large.size:
        return ""
    values, counts = np.unique(large, return_counts=True)
    if counts.max() == 1:
        return ""
    value = values[counts.argmax()]
    return f"has {counts.max()} pixels with exactly {value:g}, as a mark for missing values,"


def _faults_of_all(maps: np.ndarray) -> list[str]:
    """Why maps together cannot be κ: masks, weights and counts of galaxies."""
    if maps.min() < 0 or not maps.any():
        return []
    few = maps.reshape(-1)[:4096]
    if (few == np.rint(few)).all() and (maps == np.rint(maps)).all():
        return [_WHOLE]
    mean = maps.mean(dtype=np.float64)
    if mean > _LARGEST_MEAN:
        return [
            f"cannot be κ: it has no negative pixel and the mean {mean:.3g}, as counts or weights"
        ]
    return []


def _bulk(one: np.ndarray) -> float:
    """The median of \\|κ\\|, from about 64 × 64 pixels of a map."""
    step = max(1, one.shape[-1] // 64)
    return float(np.median(np.abs(one[..., ::step, ::step], dtype=np.float64)))
