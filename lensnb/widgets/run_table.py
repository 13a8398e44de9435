"""Compare runs: their losses, the parameters that differ, and their scorecards side by side.

The numbers are those of :func:`lensnb.runs.table`, and the losses those of the ``history.jsonl``
that each training keeps in its folder. The function to call is :func:`compare_runs`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import traitlets

from .. import plot
from ..plot.style import blank_figure, typeset
from ..runs import table
from .pictures import Pictured, script

_MOST = 150  # records of a training that are drawn; of more, every second one is left out
_AT_FIRST = 3  # runs that are chosen at first
_ABOUT = ("run", "notebook", "status", "seconds", "set")
_NOT_COMPARED = ("folder",)  # parameters that are others in each run
_MAIN = (  # the rows that a scorecard shows at first
    "C_ℓ mean",
    "C_ℓ scatter",
    "C_ℓ slope",
    "scatter of all bins",
    "slope of all bins",
    "contour area",
    "peaks > 4σ",
    "PDF high end",
    "classifier on statistics",
    "effective maps",
)
_ABOUT_ONE = _MAIN[:8]  # those that are 1 for true maps, for the still picture


def compare_runs(root: str | Path = "runs") -> CompareRuns:
    """Compare the runs below a folder: losses, parameters that differ, scorecards side by side.

    Runs are chosen in the list at the left. A button reads the folder again, for runs that are
    under way.

    Args:
        root: where the run folders are, at any depth.

    Returns:
        A widget; make it the last value of a cell. Its trait ``chosen``, names of runs, can be
        read and set.

    Raises:
        FileNotFoundError: there is no such folder.
        ImportError: pandas is not installed.
    """
    return CompareRuns(Path(root))


class CompareRuns(Pictured):
    """The widget that :func:`compare_runs` makes.

    Attributes:
        chosen: the runs on view, as many as there are colours at most.
        rows: ``"main"`` or ``"all"`` rows of the scorecard.
        only: the name of the sets on view; empty: all.
        with_null: whether columns of true maps are among them.
        losses: ``"validation"``, of unseen maps, or ``"loss"``, of training maps.
        runs: all runs as they were read last, by name.
    """

    _esm = script("common.js", "stage.js", "run_table.js")

    chosen = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rows = traitlets.Enum(["main", "all"], "main").tag(sync=True)
    only = traitlets.Unicode("").tag(sync=True)
    with_null = traitlets.Bool(False).tag(sync=True)
    losses = traitlets.Enum(["validation", "loss"], "validation").tag(sync=True)

    _about = traitlets.Dict().tag(sync=True)  # what never changes
    _runs = traitlets.Dict().tag(sync=True)  # what was read last
    _again = traitlets.Int(0).tag(sync=True)  # how often the browser asked to read again

    def __init__(self, root: Path):
        self._root = root
        self.runs: dict[str, dict] = {}
        super().__init__(_about={"root": str(root), "main": _MAIN, "colours": plot.CYCLE})
        self._read()
        judged = [name for name, run in self.runs.items() if run["sets"]]
        self.chosen = (judged or list(self.runs))[:_AT_FIRST]
        self.observe(self._read, "_again")

    def _read(self, _change=None) -> None:
        """Read the folder."""
        self.runs = read_runs(self._root)
        with self.hold_sync():
            self.chosen = [name for name in self.chosen if name in self.runs]
            self._runs = {"runs": self.runs}

    @traitlets.validate("chosen")
    def _check_chosen(self, proposal):
        most = len(plot.CYCLE)
        for name in proposal["value"]:
            if name not in self.runs:
                known = ", ".join(self.runs) or "none"
                raise traitlets.TraitError(f"there is no run {name!r}; there are {known}")
        return list(dict.fromkeys(proposal["value"]))[:most]

    # ------------------------------------------------------------ the still picture

    def figure(self) -> plot.Figure:
        """Losses of the chosen runs, and the rows of their scorecards that are 1 for true maps."""
        figure = blank_figure(9, 3.8)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
        self._draw_losses(left)
        self._draw_scores(right)
        return figure

    def _draw_losses(self, ax) -> None:
        """The losses of the training that most runs have: those of others have other units."""
        trained = Counter(one for name in self.chosen for one in self.runs[name]["losses"])
        ax.set(xlabel="optimiser step", ylabel="loss")
        if not trained:
            return
        training = trained.most_common(1)[0][0]
        for name, colour in zip(self.chosen, plot.CYCLE):
            history = self.runs[name]["losses"].get(training, {"step": []})
            values = history.get("validation", [])
            if not any(value is not None for value in values):
                values = history.get("loss", [])
            known = [(step, v) for step, v in zip(history["step"], values) if v is not None]
            if known:
                ax.plot(*zip(*known), color=colour, label=name, lw=1.4)
        if training != ".":
            ax.set_ylabel(f"loss of {training}")
        if ax.lines:
            ax.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1))

    def _draw_scores(self, ax) -> None:
        """Points with errors, one for each judged set of each chosen run in each row."""
        columns = [
            (name, numbers, colour)
            for name, colour in zip(self.chosen, plot.CYCLE)
            for set_name, numbers in self.runs[name]["sets"].items()
            if self._on_view(set_name)
        ]
        for k, (_, numbers, colour) in enumerate(columns):
            shift = 0.6 * ((k + 0.5) / len(columns) - 0.5)
            for place, row in enumerate(_ABOUT_ONE):
                value, error, _ = numbers.get(row, (None, None, None))
                if value is not None:
                    ax.errorbar(
                        value, place + shift, xerr=error or 0.0, fmt="o", ms=3, color=colour
                    )
        ax.axvline(1, color=plot.TRUTH, lw=1)
        ax.set_yticks(range(len(_ABOUT_ONE)), [typeset(row) for row in _ABOUT_ONE])
        ax.invert_yaxis()
        ax.set(xlabel="1 for true maps")
        ax.grid(alpha=0.25)

    def _on_view(self, name: str) -> bool:
        """Whether the sets of this name are shown."""
        if self.only:
            return name == self.only
        return self.with_null or not name.startswith("null")

    def __repr__(self) -> str:
        return f"CompareRuns: {', '.join(self.chosen) or 'no run'} of {len(self.runs)} runs"

    def alt(self) -> str:
        """One sentence that says what the picture shows."""
        return f"Losses and scorecards of runs side by side: {', '.join(self.chosen) or 'none'}."


def read_runs(root: Path) -> dict[str, dict]:
    """The runs below a folder by name.

    Returns:
        For each run ``notebook``, ``status``, ``seconds``, ``parameters``, ``sets`` (by set and
        quantity the value, its error and its answer) and ``losses`` (by training the columns of
        its records).
    """
    frame = table(root)
    names = list(frame.columns)
    quantities = [name for name in names if f"{name} ±" in names]
    derived = {f"{name}{end}" for name in quantities for end in ("", " ±", " answer")}
    parameters = set(names) - derived - set(_ABOUT) - set(_NOT_COMPARED)
    found: dict[str, dict] = {}
    for row in frame.to_dict("records"):
        name = row["run"]
        if name not in found:
            found[name] = {
                "notebook": _plain(row["notebook"]) or "",
                "status": _plain(row["status"]) or "",
                "seconds": _plain(row["seconds"]),
                "parameters": {one: _plain(row[one]) for one in names if one in parameters},
                "sets": {},
                "losses": {},
            }
        if _plain(row["set"]) is not None:
            found[name]["sets"][row["set"]] = _numbers(row, quantities)
    for name, training, history in _histories(root, found):
        found[name]["losses"][training] = history
    return found


def _numbers(row: dict, quantities: list[str]) -> dict[str, list]:
    """Value, error and answer of each quantity of a set; what is not defined is left out."""
    numbers = {}
    for quantity in quantities:
        value = _plain(row[quantity])
        if value is not None and not quantity.startswith("1/"):
            error, answer = (_plain(row.get(f"{quantity}{end}")) for end in (" ±", " answer"))
            numbers[quantity] = [value, error, answer]
    return numbers


def _histories(root: Path, runs: dict) -> Iterator[tuple[str, str, dict]]:
    """The run, the name and the records of each training below a folder."""
    for path in sorted(root.rglob("history.jsonl")):
        folder = path.parent.relative_to(root)
        above = [str(one) for one in (folder, *folder.parents) if str(one) in runs]
        if above:
            history = _columns(path)
            if history["step"]:
                yield above[0], str(folder.relative_to(above[0])), history


def _columns(path: Path) -> dict[str, list]:
    """Steps, losses and validation losses of a training; a line that is not whole ends it."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # it is being written now
            break
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    while len(records) > _MOST:
        records = records[1::2]  # the last one stays if their number is even
    names = ("step", "loss", "validation")
    return {name: [_plain(record.get(name)) for record in records] for name in names}


def _plain(value):
    """A value of the table for JSON; None for what is missing or not finite."""
    if value is None or isinstance(value, str | bool):
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.6g}")
    if isinstance(value, int):
        return value
    return str(value)
