"""Files between the page and the kernel: figures and tables to save, and maps that were dropped.

They travel as messages, ``model.send`` in the browser, and not as traits: nobody has to keep them,
and a large file goes in pieces, because Jupyter takes no message above 10 MB.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from ..data import MapSet
from ..readers import Options, open_maps
from ..readers.entry import read_file
from ..readers.which_files import list_files
from .pictures import Pictured

_DPI = 200  # of a saved figure in pixels
_MOST = 2**29  # bytes that a page may send, all files together

FIGURES = {"figure, PNG": "png", "figure, SVG": "svg", "figure, PDF": "pdf"}


class Saving(Pictured):
    """A widget whose page can save what it shows.

    The page asks ``{"save": label}``, and is told ``{"saved": file name}`` with the bytes.
    """

    _stem = "widget"  # of the names of the files

    def __init__(self, **traits):
        super().__init__(**traits)
        self.on_msg(self._hear)

    def files(self) -> Mapping[str, tuple[str, Callable[[], bytes]]]:
        """What can be saved: label → file name, and what makes its bytes."""
        found = {}
        for label, ending in FIGURES.items():
            found[label] = f"{self._stem}.{ending}", self._drawing(ending)
        return found

    def _drawing(self, ending: str) -> Callable[[], bytes]:
        def draw() -> bytes:
            drawn = io.BytesIO()
            self.figure().savefig(drawn, format=ending, dpi=_DPI, facecolor="white")
            return drawn.getvalue()

        return draw

    def _hear(self, _widget, content: dict, buffers: list) -> None:
        """A message of the page."""
        label = content.get("save")
        if label is None:
            return
        if label not in self.files():
            self.say(f"there is nothing to save that is called {label!r}")
            return
        name, make = self.files()[label]
        try:
            self.send({"saved": name}, [make()])
        except (ImportError, OSError, ValueError) as error:
            self.say(str(error))

    def say(self, sentence: str) -> None:
        """Tell the page a sentence, which it shows."""
        self.send({"said": sentence})


# ---------------------------------------------------------------- files from the page


class Inbox:
    """A folder for the files that a page sends, piece by piece, until they are read."""

    def __init__(self):
        self._folder: tempfile.TemporaryDirectory | None = None
        self._bytes = 0

    def take(self, name: str, piece: bytes) -> None:
        """Append a piece to a file.

        Args:
            name: of the file; ``/`` divides the folders of a ``.zarr`` set.
            piece: what follows what was taken before.

        Raises:
            ValueError: the name leads out of the folder, or the files are too large.
        """
        path = PurePosixPath(name)
        outside = path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts
        if outside:
            raise ValueError(f"a file cannot be called {name!r}; expected a plain name")
        self._bytes += len(piece)
        if self._bytes > _MOST:
            self.empty()
            raise ValueError(
                f"{name} is larger than {_MOST // 2**20} MB; "
                "expected a smaller file, or Python: explorer.open_file(path)"
            )
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="lensnb-")
        place = Path(self._folder.name) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "ab") as file:
            file.write(piece)

    def paths(self) -> list[Path]:
        """The files, and the ``.zarr`` folders, in the order of their names."""
        if self._folder is None:
            return []
        found = []
        for path in sorted(Path(self._folder.name).iterdir()):
            if path.is_dir() and path.suffix != ".zarr":
                found += sorted(one for one in path.iterdir() if one.is_file())
            else:
                found.append(path)
        return found

    def empty(self) -> None:
        """Forget everything."""
        if self._folder is not None:
            self._folder.cleanup()
        self._folder, self._bytes = None, 0


def open_like(path, side_deg: float, n: int) -> tuple[MapSet, str]:
    """Maps of a file for a widget that shows a field of some size in some pixels.

    Args:
        path: a file, a pattern or a list of files.
        side_deg: side of the field that is shown, degrees.
        n: pixels a side that are shown; maps of more pixels are averaged in whole blocks.

    Returns:
        The maps, and what was assumed about them, in a sentence or empty.

    Raises:
        FileNotFoundError, ImportError, ValueError: as for :func:`lensnb.readers.open_maps`.
    """
    maps = open_maps(path, side_deg, pixels=n)
    said = read_file(list_files(path)[0], Options(side_deg, pixels=n))
    notes = []
    if said.side_deg is None:
        notes.append(f"the file does not say how large its field is: taken as {side_deg:g}°")
    if said.maps.shape[-1] != n:
        notes.append(f"averaged from {said.maps.shape[-1]} to {n} pixels a side")
    return maps, "; ".join(notes)
