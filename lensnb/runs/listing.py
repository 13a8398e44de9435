"""Many runs compared: their parameters and headline numbers in one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .parameters import present_names
from .records import RECORD, RESULTS, read_record

if TYPE_CHECKING:
    import pandas

# The columns of `lensnb runs`, which has no room for more.
_SHOWN = (
    "C_ℓ mean",
    "C_ℓ scatter",
    "C_ℓ slope",
    "slope of all bins",
    "contour area",
    "classifier on statistics",
)


def headline(folder: str | Path) -> dict[str, dict[str, tuple[float, float]]]:
    """The headline numbers of a run; empty where it compared nothing.

    Returns:
        ``headline[set][quantity] = (value, error)``.
    """
    found: dict[str, dict] = {}
    comparison = read_record(folder, RESULTS).get("comparison", {})
    for row in comparison.get("headline", []):
        for name, number in row["sets"].items():
            value, error = number["value"], number["error"]
            # The report stores the inverse of some quantities.
            if row["inverse"] and value:
                if error is not None:
                    error = error / value**2
                value = 1 / value
            found.setdefault(name, {})[row["name"]] = value, error
    return found


def table(root: str | Path = "runs") -> pandas.DataFrame:
    """All runs below a folder as a pandas frame, one row for each judged set of each run.

    The null of a run is one of its sets. A notebook that was run in JupyterLab and left its
    results
    counts, too: its status is ``"by hand"``.

    Columns: ``run`` (its folder), ``notebook``, ``status``, ``seconds``, ``set`` (None where
    nothing was compared), every parameter by its name, and every headline number of the fidelity
    report. Its standard error is in the column of the same name with ``±`` after it. Missing
    values are NaN.

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
    """The runs below a folder and their headline numbers, for a terminal.

    The error of a failed run is in a line of its own.
    """
    quantities = " ".join(f"{one:>17s}" for one in _SHOWN)
    lines = [f"{'run':40s} {'status':11s} {'time':>7s}  {'set':20s} {quantities}"]
    root = Path(root)
    for folder, record in _found(root):
        time = ""
        if record.get("seconds") is not None:
            time = f"{record['seconds']:.0f} s"
        run, status = str(folder.relative_to(root)), record.get("status", "?")
        start = f"{run:40s} {status:11s} {time:>7s}"
        for name, numbers in (headline(folder) or {"": {}}).items():
            values = " ".join(f"{_number(numbers, one):>{max(17, len(one))}s}" for one in _SHOWN)
            lines.append(f"{start}  {name:20s} {values}")
            start = " " * len(start)
        if record.get("error"):
            lines.append(f"    {record['error']}")
    if len(lines) == 1:
        return f"there are no runs below {root}"
    return "\n".join(lines)


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
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; expected one with run folders")
    for folder, record in _found(root):
        about = {
            "run": str(folder.relative_to(root)),
            "notebook": Path(record.get("notebook", "")).name,
            "status": record.get("status"),
            "seconds": record.get("seconds"),
        }
        parameters = present_names(record.get("parameters", {}))
        about |= {name: value for name, value in parameters.items() if name not in about}
        for name, numbers in (headline(folder) or {None: {}}).items():
            row = about | {"set": name}
            for quantity, (value, error) in numbers.items():
                row[quantity] = value
                row[f"{quantity} ±"] = error
            yield row


def _number(numbers: Mapping, name: str) -> str:
    value, error = numbers.get(name, (None, None))
    if value is None:
        return ""
    return f"{value:.3f} ± {error or 0:.3f}"
