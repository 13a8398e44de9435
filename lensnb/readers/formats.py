"""The registry of formats: each format registers itself, and says what it reads and what it takes.

A new format is one file in this folder and one line in ``readers/__init__.py``:

    @register
    class Columns(Format):
        expected = (".txt",)

        def suits(self, path, asked):
            return ends_in(path, ".txt")

        def read(self, path, asked):
            with reading(path, "a table of numbers"):
                return FileMaps(np.loadtxt(path))

The format of a file is found in this order:

1. Every format is asked whether the name of the file suits it, in the order of registration.
2. Of those, the formats with ``content`` look into the file. If exactly one of them finds its own
   content there, it reads the file.
3. If none does, the first of the others reads it.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ..maps.grid import check_side
from .filemaps import FileMaps, check_regular


@dataclass
class Options:
    """What the caller says about the files; see :func:`lensnb.readers.open_maps`.

    ``source``, ``mask`` and ``signs`` mean something for some formats only. They are None when
    they were not given.

    Raises:
        ValueError: ``side_deg``, ``z_source`` or ``pixels`` is not a possible value.
    """

    side_deg: float | None = None
    z_source: float | tuple[float, ...] | None = math.nan
    simulation: object = None
    _: KW_ONLY
    pixels: int | None = None
    source: int | str | tuple[float, float] | None = None
    mask: str | PathLike | None = None
    signs: tuple[int, int] | None = None
    tile: int | None = None

    def __post_init__(self):
        if self.side_deg is not None:
            self.side_deg = check_side(self.side_deg)
            if self.side_deg >= 180:
                raise ValueError(f"side_deg must be below 180 degrees, found {self.side_deg}")
        if self.z_source is None:
            self.z_source = math.nan
        redshifts = np.atleast_1d(np.asarray(self.z_source, float))
        if (redshifts <= 0).any() or np.isinf(redshifts).any():
            raise ValueError(f"z_source must be positive and finite, found {self.z_source}")
        if self.pixels is None:
            return
        if not isinstance(self.pixels, int | np.integer) or self.pixels < 2:
            raise ValueError(f"pixels must be a whole number of at least 2, found {self.pixels!r}")


class Format:
    """One format of files.

    Attributes:
        expected: how its files are called, for error messages.
        takes: those of ``source``, ``mask`` and ``signs`` that mean something for its files.
        folder: its files are folders.
        content: what its files hold, for error messages; empty where the name of a file is enough.
    """

    expected: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    folder: bool = False
    content: str = ""

    def suits(self, path: Path, asked: Options) -> bool:
        """Whether a file is of this format, by its name."""
        raise NotImplementedError

    def holds(self, path: Path) -> bool:
        """Whether a file is of this format, by its content; asked only if ``content`` is set."""
        raise NotImplementedError

    def found(self, path: Path) -> str:
        """What a file holds instead of ``content``, for error messages."""
        return "other content"

    def read(self, path: Path, asked: Options) -> FileMaps:
        """Read a file."""
        raise NotImplementedError


FORMATS: list[Format] = []


def register(kind: type[Format]) -> type[Format]:
    """Add a format to the registry, or replace its older definition; a decorator of its class."""
    classes = [(type(one).__module__, type(one).__qualname__) for one in FORMATS]
    name = (kind.__module__, kind.__qualname__)
    if name in classes:  # a cell with the class was run again
        FORMATS[classes.index(name)] = kind()
    else:
        FORMATS.append(kind())
    return kind


def ends_in(path: Path, *suffixes: str) -> bool:
    """Whether a name ends in one of the suffixes, in small or capital letters."""
    return path.name.lower().endswith(suffixes)


def expected_files() -> str:
    """The names that files of all formats have, for error messages."""
    words = [word for one in FORMATS for word in one.expected]
    *most, last = dict.fromkeys(words)  # each once
    return f"a file of κ maps: {', '.join(most)} or {last}"


def find_format(path: Path, asked: Options) -> Format:
    """The format of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no format suits it, or the caller gave an argument that the format does not
            take.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected {expected_files()}")
    check_regular(path)
    suitable = [one for one in FORMATS if one.suits(path, asked)]
    if path.is_dir():
        suitable = [one for one in suitable if one.folder]
        if not suitable:
            raise ValueError(
                f"{path} is a folder; expected {expected_files()}, or a pattern such as "
                f"{path / '*.fits'}"
            )
    if not suitable:
        raise ValueError(f"{path} has a name that no reader knows; expected {expected_files()}")
    found = _by_content(path, suitable)
    _refuse_options(path, found, asked)
    return found


def _by_content(path: Path, suitable: list[Format]) -> Format:
    """The one of several formats whose content the file has, or else the first that needs none."""
    looking = [one for one in suitable if one.content]
    others = [one for one in suitable if not one.content]
    holding = [one for one in looking if one.holds(path)]
    if len(holding) == 1:
        return holding[0]
    if others and not holding:
        return others[0]
    raise ValueError(
        f"{path} has {looking[0].found(path)}; "
        f"expected {' or '.join(one.content for one in looking)}"
    )


def _refuse_options(path: Path, found: Format, asked: Options) -> None:
    for name in ("source", "mask", "signs"):
        if getattr(asked, name) is not None and name not in found.takes:
            raise ValueError(
                f"{path} is of a format for which the argument {name} means nothing; expected none"
            )
