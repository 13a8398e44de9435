"""Compare one's own file of maps on a page without code: choose it, look at it, judge it.

The function to call is ``compare_file``.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import ipywidgets
import numpy as np

from ..compare import compare
from ..compare.html_tables import written
from ..data import MapSet, load_sample
from ..readers import open_maps
from .explorer import Explorer, explore
from .inspector import inspect

_ENDINGS = ".npy,.npz,.fits,.fit,.h5,.hdf5,.dat"
# The name of the other tab is too pale in JupyterLab's dark theme. The padding of the tabs takes
# the width of a phone, and on a page of Voilà the title takes the height of a laptop.
_STYLE = """<style>
.lensnb-own-file .jupyter-widget-tab > .lm-TabBar .lm-TabBar-tab {
  color: var(--jp-ui-font-color0);
}
.lensnb-own-file .jupyter-widget-tab > .widget-tab-contents { padding: 4px; }
#rendered_cells:has(.lensnb-own-file) :is(h1, .jp-RenderedMarkdown p) { margin: 0 0 4px; }
#rendered_cells:has(.lensnb-own-file) { padding-block: 0; }
#rendered_cells:has(.lensnb-own-file) h1 { font-size: 20px; }
</style>"""
_MOST = 1024  # maps that are compared, so that it takes a minute or two


def compare_file() -> OwnFile:
    """A form for a file of maps, which shows them beside true maps and compares both.

    The true maps are those of the sample that comes with lensnb: 5° × 5°, 64 × 64 pixels, z = 1.
    At most 1,024 maps of a file are compared, spread evenly over it. For other true maps and for
    larger sets use ``lensnb compare``.
    """
    return OwnFile()


def _explorer(sets: dict[str, MapSet], maps: int) -> Explorer:
    """An explorer without a chooser of files: the form above it has the only one."""
    shown = explore(sets, maps=maps)
    shown.takes_files = False
    return shown


class OwnFile(ipywidgets.VBox):
    """The widget that :func:`compare_file` makes.

    Attributes:
        maps: the maps of the file; None before it is read.
        report: the :class:`~lensnb.compare.FidelityReport`; None before it is made.
    """

    def __init__(self):
        self.maps: MapSet | None = None
        self.report = None
        self._truth = load_sample("truth")
        self._name = ""
        self._build_form()
        self._said = ipywidgets.HTML()
        self._found = ipywidgets.VBox([_explorer({"true maps": self._truth}, 64)])
        super().__init__(
            [
                ipywidgets.HTML(_STYLE, layout={"display": "none"}),
                self._form,
                self._said,
                self._found,
            ]
        )
        self.add_class("lensnb-own-file")
        self._say(
            "Your maps must be of fields like these true maps: 5° × 5°, averaged to 64 × 64 "
            "pixels, sources at z\u00a0=\u00a01. In an .npy or .npz file they have the shape "
            "(maps, 64, 64)."
        )

    def _build_form(self) -> None:
        wide = {"description_width": "initial"}
        self._upload = ipywidgets.FileUpload(
            accept=_ENDINGS, multiple=False, description="Choose a file", layout={"width": "auto"}
        )
        self._path = ipywidgets.Text(
            description="or a path on this machine",
            placeholder="/home/me/maps.npy, or 'run/*.fits'",
            continuous_update=False,
            style=wide,
            layout={"width": "38em", "max_width": "100%", "margin": "0"},
        )
        self._start = ipywidgets.Button(
            description="Compare", button_style="primary", disabled=True, layout={"width": "auto"}
        )
        row = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "6px 14px"}
        self._form = ipywidgets.Box([self._upload, self._path, self._start], layout=row)
        self._upload.observe(self._uploaded, "value")
        self._path.observe(self._named, "value")
        self._start.on_click(self._judge)

    # ------------------------------------------------------------ a file comes

    def _uploaded(self, change) -> None:
        if not change["new"]:
            return
        (file,) = change["new"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(file["name"]).name
            path.write_bytes(file["content"])
            self._read(str(path), path.stem)

    def _named(self, change) -> None:
        if change["new"].strip():
            path = change["new"].strip().strip("'\"")
            self._read(path, Path(path).stem.replace("*", "") or "my maps")

    def _read(self, path: str, name: str) -> None:
        """Read a file, or say why that cannot be; then the maps stand beside true ones."""
        self._start.disabled = True
        self._say("Reading …")
        try:
            self.maps, note = self._opened(path)
            self._name = name
            sets = {"true maps": self._truth, name: self.maps}
            explorer = _explorer(sets, 128)
        except (ValueError, OSError, ImportError) as error:
            self.maps = None
            self._say(f"{error}", wrong=True)
            return
        self._show(explorer)
        self._start.disabled = False
        self._say(f"{name}: {len(self.maps):,} maps. {note} Do they look right? Then compare.")

    def _opened(self, path: str) -> tuple[MapSet, str]:
        """The maps, in memory, and what was assumed about them."""
        truth, note = self._truth, ""
        try:
            maps = open_maps(path)
        except ValueError as error:
            if "side_deg" not in str(error):
                raise
            maps = open_maps(path, truth.side_deg)
            note = f"The file does not say its field: taken as {truth.side_deg:g}°."
        if maps.channels == 1 and maps.grid.n > truth.grid.n and not maps.grid.n % truth.grid.n:
            maps = open_maps(path, maps.side_deg, pixels=truth.grid.n)
            note += f" Averaged to {truth.grid.n} × {truth.grid.n} pixels."
        self._check(maps)
        if len(maps) > _MOST:
            note += f" {_MOST:,} of {len(maps):,} are used."
            maps = maps[np.linspace(0, len(maps) - 1, _MOST).round().astype(int)]
        return MapSet(maps.tensor().numpy(), maps.side_deg, maps.z_source, maps.simulation), note

    def _check(self, maps: MapSet) -> None:
        """Refuse maps that are not of the sky of the sample."""
        truth = self._truth
        there = f"{truth.side_deg:g}° and {truth.grid.n} × {truth.grid.n} pixels"
        same = math.isclose(maps.side_deg, truth.side_deg, rel_tol=1e-3)
        if not same or (maps.grid.n, maps.channels) != (truth.grid.n, 1):
            raise ValueError(
                f"the file has fields of {maps.side_deg:g}° with {maps.grid.n} × {maps.grid.n} "
                f"pixels in {maps.channels} channels; expected {there} in one (lensnb compare "
                "--truth compares with true maps of your own)"
            )
        if len(maps) < 2:
            raise ValueError(f"the file has {len(maps)} map; expected two or more")

    # ------------------------------------------------------------ the comparison

    def _judge(self, _button) -> None:
        self._start.disabled = True
        self._say("Comparing: one to two minutes …", busy=True)
        null, train = load_sample("null"), load_sample("train")
        try:
            self.report = compare(self._truth, null, {self._name: self.maps}, train)
        except (ValueError, RuntimeError) as error:
            self._say(f"{error}", wrong=True)
            return
        finally:
            self._start.disabled = False
        table = ipywidgets.HTML(self.report._repr_html_())
        parts = {"All numbers": table, "One statistic": inspect(self.report)}
        self._show(ipywidgets.Tab(list(parts.values()), titles=list(parts)))
        self._say(self._verdict())

    def _verdict(self) -> str:
        """How many numbers are off, and the worst one."""
        sentences = self.report.failures(self._name)
        if not sentences:
            return f"No number of {self._name} is off. The table says what cannot be told."
        worst = sentences[0].removeprefix(f"{self._name}: ")
        if len(sentences) == 1:
            return f"One number of {self._name} is off: {worst}"
        return f"{len(sentences)} numbers of {self._name} are off. The worst: {worst}"

    # ------------------------------------------------------------ what is shown

    def _show(self, *widgets) -> None:
        """Put other widgets below the form, and end those that were there."""
        before, self._found.children = self._found.children, widgets
        for one in before:
            for part in getattr(one, "children", ()):
                part.close()
            one.close()

    def _say(self, text: str, wrong: bool = False, busy: bool = False) -> None:
        weight = "600" if wrong else "400"
        bar = '<progress aria-label="comparing" style="width: 100%"></progress>' if busy else ""
        style = f"line-height: 1.5; max-width: 140ch; font-weight: {weight}"
        self._said.value = f'<div role="status" style="{style}">{written(text)}{bar}</div>'
