"""Many runs side by side: their parameters and headline numbers in one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .runner import RECORD, read_record

if TYPE_CHECKING:
    import pandas

# what `lensnb runs` has room for
SHOWN = (
    "C_ℓ mean",
    "C_ℓ scatter",
    "C_ℓ slope",
    "slope of all bins",
    "contour area",
    "classifier on statistics",
)
RESULTS = "results.json"


def headline(folder: str | Path) -> dict[str, dict[str, tuple[float, float]]]:
    """The headline numbers of a run, ``headline[set][quantity] = (value, error)``; empty where it compared nothing."""
    found: dict[str, dict] = {}
    for row in read_record(folder, RESULTS).get("comparison", {}).get("headline", []):
        for name, number in row["sets"].items():
            value, error = number["value"], number["error"]
            if row["inverse"] and value:  # the report keeps one over it
                value, error = 1 / value, error / value**2 if error is not None else None
            found.setdefault(name, {})[row["name"]] = value, error
    return found


def _found(root: Path) -> Iterator[tuple[Path, dict]]:
    """Each run folder below ``root`` with its record; what a notebook left that was run by hand has its parameters only."""
    for folder in sorted({path.parent for name in (RECORD, RESULTS) for path in root.rglob(name)}):
        if (folder / RECORD).exists():
            yield folder, read_record(folder)
        elif "parameters" in (found := read_record(folder, RESULTS)):
            yield folder, {"status": "by hand", "parameters": found["parameters"]}


def table(root: str | Path = "runs") -> pandas.DataFrame:
    """All runs below a folder as a pandas frame, one row for each judged set of each run, the null among them.

    What a notebook left in its folder that was run in JupyterLab counts, too: its status is ``"by hand"``.

    Columns: ``run`` (its folder), ``notebook``, ``status``, ``seconds``, ``set`` (None where nothing was compared), every
    parameter by its name, and every headline number of the fidelity report with its standard error in the column of the same
    name with ``±`` after it. Missing values are NaN.

    Args:
        root: where the run folders live, at any depth.

    Raises:
        FileNotFoundError: there is no such folder.
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError("a table of runs needs pandas: pip install 'lensnb[lab]'") from None
    return pandas.DataFrame(list(_rows(Path(root))))


def _rows(root: Path) -> Iterator[dict]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; expected one with run folders")
    for folder, record in _found(root):
        about = {
            "run": str(folder.relative_to(root)), "notebook": Path(record.get("notebook", "")).name,
            "status": record.get("status"), "seconds": record.get("seconds"),
        }  # fmt: skip
        about |= {
            name: value
            for name, value in record.get("parameters", {}).items()
            if name not in about
        }
        for name, numbers in (headline(folder) or {None: {}}).items():
            columns = {}
            for quantity, (value, error) in numbers.items():
                columns |= {quantity: value, f"{quantity} ±": error}
            yield about | {"set": name} | columns


def text(root: str | Path = "runs") -> str:
    """The runs below a folder and their headline numbers, for a terminal; why a run failed stands under it."""
    lines = [
        f"{'run':40s} {'status':11s} {'time':>7s}  {'set':20s} "
        + " ".join(f"{one:>17s}" for one in SHOWN)
    ]
    for folder, record in _found(Path(root)):
        found, seconds = headline(folder), record.get("seconds")
        start = f"{str(folder.relative_to(root)):40s} {record.get('status', '?'):11s} "
        start += f"{'' if seconds is None else f'{seconds:.0f} s':>7s}"
        for name, numbers in (found or {"": {}}).items():
            lines.append(
                f"{start}  {name:20s} "
                + " ".join(f"{_number(numbers, one):>{max(17, len(one))}s}" for one in SHOWN)
            )
            start = " " * len(start)
        if record.get("error"):
            lines.append(f"    {record['error']}")
    return "\n".join(lines) if len(lines) > 1 else f"there are no runs below {root}"


def _number(numbers: Mapping, name: str) -> str:
    value, error = numbers.get(name, (None, None))
    return "" if value is None else f"{value:.3f} ± {error or 0:.3f}"
