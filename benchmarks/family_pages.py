"""The page and the table of numbers of :mod:`benchmarks.families`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas

from lensnb.compare import NULL
from lensnb.models.recipes import RECIPES

OWN = "own maps"
SHOWN = (
    "C_ℓ mean", "C_ℓ scatter", "C_ℓ slope", "slope of all bins", "contour area",
    "scatter of the mean of a map", "seam: correlation of opposite edges",
    "maps with a pixel > 12σ", "classifier on statistics", "classifier on maps", "effective maps",
)  # fmt: skip
INTRODUCTION = """Made by `python benchmarks/families.py run` and `… table --output docs/families.md`; its docstring
explains the method. The columns are explained in the
[questions](faq.md#what-do-the-rows-of-the-report-mean). ± is one standard error of a report, or the scatter of
trainings where there are several. A symbol after a number says: = as the simulations, * off, ? cannot tell. Models
are compared with truth and null together, the null with the truth."""


def page(runs: list[dict]) -> Iterator[str]:
    """The page, with a table for each number of boxes and each time."""
    yield "# Which generator?"
    yield ""
    yield INTRODUCTION
    kinds = sorted({(run["boxes"], run["minutes"]) for run in runs}, reverse=True)
    for boxes, minutes in kinds:
        here = [run for run in runs if (run["boxes"], run["minutes"]) == (boxes, minutes)]
        yield ""
        yield f"## {boxes} training boxes, {minutes:g} minutes on one core"
        yield ""
        yield from fidelity_table(here)
        yield ""
        yield from cost_table(here)
        yield ""
        machines = dict.fromkeys(run["machine"] for run in here)
        yield f"Measured on {' and '.join(machines)}."


def fidelity_table(runs: list[dict]) -> Iterator[str]:
    """What the report says of each family."""
    columns = [*SHOWN, "all rows"]
    yield f"| | {' | '.join(columns)} |"
    yield "|---|" + "--:|" * len(columns)
    null = runs[0]["null"]
    yield f"| null | {' | '.join(cell(column, [null]) for column in columns)} |"
    for name in [OWN, *RECIPES]:
        found = [run["found"] for run in runs if run["name"] == name]
        if found:
            yield f"| {name} | {' | '.join(cell(column, found) for column in columns)} |"
    for run in runs:
        for name, worth in run.get("shrunk", {}).items():
            cells = [worth["text"] if column == "effective maps" else "" for column in columns]
            yield f"| {name} | {' | '.join(cells)} |"


def cell(column: str, found: list[dict]) -> str:
    """A number of one family, of one seed or of several."""
    key = {"all rows": "answers"}.get(column, column)
    if any(key not in one for one in found):
        return "–"
    first = found[0][key]
    if key == "answers" or len(found) == 1:
        return f"{first['text']} {first.get('symbol', '')}".rstrip()
    values = np.array([one[key]["value"] for one in found], float)
    symbols = "".join(one[key]["symbol"] for one in found)
    if column == "effective maps":
        return f"{' / '.join(one[key]['text'] for one in found)} {symbols}"
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f} {symbols}"


def cost_table(runs: list[dict]) -> Iterator[str]:
    """What each family costs."""
    columns = ["what it is", "parameters", "images", "bits per dimension", "a map"]
    yield f"| | {' | '.join(columns)} | seeds |"
    yield "|---|---|" + "--:|" * len(columns)
    for name, recipe in RECIPES.items():
        found = [run for run in runs if run["name"] == name]
        if not found:
            continue
        first = found[0]
        density = "–"
        if first["bits"] is not None:
            density = f"{np.mean([run['bits'] for run in found]):.4f}"
        cells = [
            recipe.text,
            f"{first['parameters']:,}",
            f"{np.mean([run['images'] for run in found]):,.0f}",
            density,
            f"{1000 * np.mean([run['map_s'] for run in found]):.1f} ms",
        ]
        yield f"| {name} | {' | '.join(cells)} | {len(found)} |"


def numbers_table(runs: list[dict]) -> pandas.DataFrame:
    """The numbers of all runs, for figures: a line for each set that was judged.

    The effective number of maps is there as its inverse, of which means may be taken.
    """
    lines = []
    for run in runs:
        about = {key: run[key] for key in ("boxes", "minutes", "seed")}
        cost = {key: run.get(key) for key in ("parameters", "images", "map_s", "bits")}
        lines.append({"set": run["name"], **about, **cost, **numbers_shown(run["found"])})
        for name, worth in run.get("shrunk", {}).items():
            lines.append({"set": name, **about, **numbers_shown({"effective maps": worth})})
        if run["name"] == OWN:
            lines.append({"set": NULL, **about, **numbers_shown(run["null"])})
    return pandas.DataFrame(lines)


def numbers_shown(found: dict[str, dict]) -> dict[str, float]:
    """Values and errors of the columns of the page."""
    numbers = {}
    for column in SHOWN:
        if column in found:
            name = f"1/{column}" if column == "effective maps" else column
            numbers[name] = found[column]["value"]
            numbers[f"{name} ±"] = found[column]["error"]
    return numbers
