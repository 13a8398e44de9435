"""Many runs compared: their parameters and headline numbers in one table."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .parameters import present_names
from .progress import under_way
from .records import RECORD, RESULTS, is_float, read_record

if TYPE_CHECKING:
    import pandas

# The columns of `lensnb runs`, which has no room for more, and their heads there.
_SHOWN = {
    "C_ℓ mean": "C_ℓ mean",
    "C_ℓ scatter": "C_ℓ scatter",
    "C_ℓ slope": "C_ℓ slope",
    "slope of all bins": "all slopes",
    "contour area": "contour area",
    "classifier on statistics": "classifier",
}
WIDTH = 100  # characters in a line of it
_CELL = 13  # characters of a column
_SET = WIDTH - _CELL * len(_SHOWN)  # characters of the name of a set, with two before it


def headline(folder: str | Path) -> dict[str, dict[str, tuple[float, float]]]:
    """The headline numbers of a run; empty where it compared nothing.

    A run of an older version has the rows of its own report.

    Returns:
        ``headline[set][quantity] = (value, error)``. The number of effective maps, N, has a skewed
        error. So 1/N is there as well, as ``"1/effective maps"``; average this one over runs.
    """
    found: dict[str, dict] = {}
    for row in _headline_rows(folder):
        for name, number in row["sets"].items():
            numbers = found.setdefault(name, {})
            stored = number["value"], number["error"]
            if row["inverse"]:
                numbers[row["name"]] = _one_over(*stored)
                numbers[f"1/{row['name']}"] = stored
            else:
                numbers[row["name"]] = stored
    return found


def answers(folder: str | Path) -> dict[str, dict[str, str]]:
    """What each headline number of a run says about its set; empty for runs of older versions.

    Returns:
        ``answers[set][quantity]``: ``"as the simulations"``, ``"off"`` or ``"cannot tell"``. A
        number that is not defined has no answer.
    """
    found: dict[str, dict] = {}
    for row in _headline_rows(folder):
        for name, number in row["sets"].items():
            if number.get("answer"):
                found.setdefault(name, {})[row["name"]] = number["answer"]
    return found


def _headline_rows(folder: str | Path) -> list[dict]:
    """The rows of the report that a run stored; what is no row is left out."""
    rows = read_record(folder, RESULTS).get("comparison", {}).get("headline", [])
    if not isinstance(rows, list):
        return []
    return [row for row in rows if _is_row(row)]


def _is_row(row) -> bool:
    """Whether this is a row of a report: its name, and the numbers of each set."""
    if not isinstance(row, dict) or not {"name", "sets", "inverse"} <= row.keys():
        return False
    if not isinstance(row["name"], str) or not isinstance(row["sets"], dict):
        return False
    return all(_is_number(number) for number in row["sets"].values())


def _is_number(number) -> bool:
    """Whether this is a number of a report: value and error, which may be None, and its answer."""
    if not isinstance(number, dict) or not {"value", "error"} <= number.keys():
        return False
    if not isinstance(number.get("answer"), str | None):
        return False
    return all(number[key] is None or is_float(number[key]) for key in ("value", "error"))


def _one_over(value: float | None, error: float | None) -> tuple[float | None, float | None]:
    """N and its error from 1/N; infinity if 1/N is not positive."""
    if value is None:
        return None, None
    if value <= 0:
        return math.inf, None
    if error is None:
        return 1 / value, None
    return 1 / value, error / value / value


def table(root: str | Path = "runs") -> pandas.DataFrame:
    """All runs below a folder as a pandas frame, one row for each judged set of each run.

    The null of a run is one of its sets. A notebook that was run in JupyterLab and left its
    results counts, too: its status is ``"by hand"``.

    Columns: ``run`` (its folder), ``notebook``, ``status``, ``seconds``, ``set`` (None where
    nothing was compared), every parameter by its name, and every headline number of the fidelity
    report. In the columns of the same name are its standard error, with ``±`` after the name, and
    its answer (see :func:`answers`), with ``answer`` after it. Missing values are NaN. To average
    effective maps over runs, average ``1/effective maps``.

    Args:
        root: where the run folders are, at any depth.

    Raises:
        FileNotFoundError: there is no such folder.
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError("a table of runs needs pandas: pip install 'lensnb[lab]'") from None
    return pandas.DataFrame(list(_rows(Path(root))))


def text(root: str | Path = "runs") -> str:
    """The runs below a folder for a terminal of 100 columns: a line each, and one for each set.

    A symbol after a number is its answer. A run under way says how far it is; a failed run, why.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    root = _folder_of_runs(root)
    heads = "".join(f"{head:>{_CELL - 1}s} " for head in _SHOWN.values())
    lines = [f"{'run, and its sets':{_SET}s}{heads}".rstrip()]
    for folder, record in _found(root):
        lines.append(_run_line(folder, root, record))
        if record.get("status") == "running":
            lines += _wrapped(under_way(folder, record))
        if record.get("error"):
            lines += _wrapped(record["error"])
        answered = answers(folder)
        for name, numbers in headline(folder).items():
            cells = _cells(numbers, answered.get(name, {}))
            lines.append(f"  {clipped(name, _SET - 3):{_SET - 2}s}{cells}".rstrip())
    if len(lines) == 1:
        return f"there are no runs below {root}"
    meanings = ", ".join(f"{symbol} {kind}" for kind, symbol in _symbols().items())
    lines.append(f"after a number: {meanings}; runs of older versions have no answers")
    return "\n".join(lines)


def _run_line(folder: Path, root: Path, record: Mapping) -> str:
    """The name of a run, how it stands, and the time that it took."""
    about = record.get("status", "?")
    if record.get("seconds") is not None:
        about += f", {record['seconds']:.0f} s"
    name = clipped(str(folder.relative_to(root)), WIDTH - len(about) - 2, from_end=True)
    return f"{name}  {clipped(about, WIDTH)}"


def clipped(text: str, most: int, from_end: bool = False) -> str:
    """At most so many characters of a text, of its beginning or its end; … stands for others."""
    if len(text) <= most:
        return text
    if from_end:
        return "…" + text[len(text) - max(1, most - 1) :]
    return text[: max(1, most - 1)] + "…"


def _wrapped(sentence: str) -> list[str]:
    between = {"initial_indent": "    ", "subsequent_indent": "    "}
    return textwrap.wrap(sentence, WIDTH, **between)


def _folder_of_runs(root: str | Path) -> Path:
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{root} is no folder; expected one with run folders")
    return Path(root)


def _found(root: Path) -> Iterator[tuple[Path, dict]]:
    """Each run folder below ``root`` with its record.

    A notebook that was run by hand left its parameters only.
    """
    folders = {path.parent for name in (RECORD, RESULTS) for path in root.rglob(name)}
    for folder in sorted(folders):
        if (folder / RECORD).exists():
            yield folder, read_record(folder)
            continue
        results = read_record(folder, RESULTS)
        if "parameters" in results:
            yield folder, {"status": "by hand", "parameters": results["parameters"]}


def _rows(root: Path) -> Iterator[dict]:
    for folder, record in _found(_folder_of_runs(root)):
        about = {
            "run": str(folder.relative_to(root)),
            "notebook": Path(record.get("notebook", "")).name,
            "status": record.get("status"),
            "seconds": record.get("seconds"),
        }
        parameters = present_names(record.get("parameters", {}))
        about |= {name: value for name, value in parameters.items() if name not in about}
        answered = answers(folder)
        for name, numbers in (headline(folder) or {None: {}}).items():
            row = about | {"set": name}
            of_set = answered.get(name, {})
            for quantity, (value, error) in numbers.items():
                row[quantity] = value
                row[f"{quantity} ±"] = error
                if quantity in of_set:
                    row[f"{quantity} answer"] = of_set[quantity]
            yield row


def _cells(numbers: Mapping, answered: Mapping) -> str:
    """The shown numbers of one set, each with the symbol of its answer, as wide as their heads."""
    cells, symbols = [], _symbols()
    for name in _SHOWN:
        number = _number(numbers, name)
        symbol = " "
        if number:
            symbol = symbols.get(answered.get(name), " ")
        cells.append(f"{number:>{_CELL - 1}s}{symbol}")
    return "".join(cells)


def _symbols() -> dict[str, str]:
    """The symbol of each answer."""
    # Late, since it brings torch: most runs list nothing.
    from ..compare.answers import SYMBOLS

    return SYMBOLS


def _number(numbers: Mapping, name: str) -> str:
    """A number with its error, with as many digits as a cell has room for."""
    value, error = numbers.get(name, (None, None))
    if value is None:
        return ""
    text = f"{value:.2f} ± {error or 0:.2f}"
    if len(text) < _CELL:
        return text
    return clipped(f"{value:.3g} ± {error or 0:.2g}", _CELL - 1)
