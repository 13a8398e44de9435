"""Parameters, run folders and the command line: what is refused before anything starts, and what a run leaves."""

import json
import os
import subprocess
import sys
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest

from lensnb import runs
from lensnb.__main__ import main
from lensnb.data import MapSet

PARAMETERS = """\
steps: int = 3  # how many
rate: float = 1e-3  # how fast
name: str = "a"  # what
side_deg: float = 0.0  # maybe
careful: bool = True  # whether
folder: str = "."  # where results go
"""


@pytest.fixture
def notebook(tmp_path):
    """Write a small notebook: the parameters, their check, then the given cells."""

    def write(*cells, name="05_toy.ipynb"):
        code = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, CHECK, *cells)]
        code[0].metadata["tags"] = ["parameters"]
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Toy"), *code])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, tmp_path / name)
        return tmp_path / name

    return write


CHECK = "from lensnb import runs\nparameters = runs.check_parameters(globals());"


@pytest.mark.parametrize(
    "value, kind, expected",
    [
        ("7", "int", 7), (7.0, "int", 7), ("1e3", "int", 1000), ("1e-4", "float", 1e-4), (2, float, 2.0),
        ("false", "bool", False), (True, bool, True), ("0", "bool", False), (7, "str", "7"), ("007", str, "007"),
    ],
)  # fmt: skip
def test_coerce(value, kind, expected):
    found = runs.coerce("p", value, kind)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    "value, kind",
    [
        ("many", "int"),
        (1.5, "int"),
        (True, "int"),
        (None, "int"),
        ("fast", float),
        (True, "float"),
        ("perhaps", "bool"),
    ],
)
def test_coerce_refuses(value, kind):
    with pytest.raises(ValueError, match=r"parameter p = .* is not of the type"):
        runs.coerce("p", value, kind)


def test_check_parameters_coerces_in_place_and_takes_overrides(monkeypatch):
    namespace = {"__annotations__": {"steps": int, "careful": "bool"}, "steps": "12", "careful": "false", "other": "1"}
    monkeypatch.setenv("LENSNB_PARAMETERS", json.dumps({"steps": 5, "unknown": 1}))
    assert runs.check_parameters(namespace) == {"steps": 5, "careful": False}
    assert namespace["steps"] == 5 and namespace["other"] == "1" and "unknown" not in namespace


def test_unknown_name_is_refused_and_the_nearest_named(notebook):
    with pytest.raises(ValueError, match="has no parameter stesp; did you mean steps"):
        runs.check_names(notebook(), {"stesp": 4})
    with pytest.raises(ValueError, match="it knows steps, rate"):
        runs.check_names(notebook(), {"qqqqqq": 4})


def test_wrong_type_is_refused_before_anything_starts(notebook, tmp_path):
    with pytest.raises(ValueError, match="parameter steps = 'many'"):
        runs.run(notebook(), "x", {"steps": "many"}, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_missing_notebook(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no notebook"):
        runs.run(tmp_path / "none.ipynb", root=tmp_path)


class _Links(HTMLParser):
    """What an HTML page would fetch."""

    def __init__(self):
        super().__init__()
        self.fetched = []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            fetches = (name == "src") or (tag == "link" and name == "href")
            if fetches and value and not value.startswith("data:"):
                self.fetched.append(value)


@pytest.mark.slow
def test_a_run_leaves_notebook_report_and_results(notebook, tmp_path):
    cells = "import json, os, pathlib\nassert 'LENSNB_BATCH' in os.environ\n"
    cells += "pathlib.Path(folder, 'out.json').write_text(json.dumps(parameters))\nprint('hello')"
    folder = runs.run(notebook(cells), parameters={"rate": "1e-4", "side_deg": "5"}, root=tmp_path / "runs")
    assert "LENSNB_BATCH" not in os.environ, "the caller is no batch job"
    assert folder == tmp_path / "runs" / "toy"
    out = json.loads((folder / "out.json").read_text())
    assert out["rate"] == 1e-4 and out["side_deg"] == 5.0 and out["steps"] == 3
    book = nbformat.read(folder / "05_toy.ipynb", as_version=4)
    assert all(c.execution_count for c in book.cells if c.cell_type == "code" and c.source)
    results = json.loads((folder / "results.json").read_text())
    assert results["notebook"] == "05_toy.ipynb" and results["seconds"] > 0 and results["versions"]["torch"]
    assert results["parameters"]["rate"] == 1e-4 and set(results["parameters"]) == set(out)
    page = (folder / "report.html").read_text()
    links = _Links()
    links.feed(page)
    assert links.fetched == [], "the report must open offline"
    assert "hello" in page and "check_parameters" not in page


def test_a_widget_is_a_picture_in_the_report(notebook, tmp_path):
    book = nbformat.read(notebook("1"), as_version=4)
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "image/png": "iVBORw0KGgo="}
    book.cells[-1].outputs = [nbformat.v4.new_output("display_data", view, metadata={"image/png": {"alt": "two maps"}})]
    nbformat.write(book, tmp_path / "with_widget.ipynb")
    page = runs.write_html(tmp_path / "with_widget.ipynb", tmp_path / "report.html", "a title").read_text()
    assert 'alt="two maps"' in page and "data:image/png;base64,iVBORw0KGgo=" in page and "widget-view" not in page


@pytest.mark.slow
def test_a_failing_notebook_is_named_with_its_error(notebook, tmp_path):
    with pytest.raises(RuntimeError, match=r"05_toy.ipynb failed in cell \d+: ValueError: no such thing"):
        runs.run(notebook("raise ValueError('no such thing')"), root=tmp_path / "runs")


@pytest.mark.slow
def test_a_kernel_that_leaves_without_an_error_is_a_failure(notebook, tmp_path):
    # papermill alone calls this a success: sys.exit(0) in a cell
    with pytest.raises(RuntimeError):
        runs.run(notebook("import sys\nsys.exit(0)", "print('never')"), root=tmp_path / "runs")


# ---------------------------------------------------------------- sets of a run


def write_maps(path, maps=32, n=32, seed=0):
    np.save(path, np.random.default_rng(seed).normal(0, 0.01, (maps, n, n)).astype("f4"))
    return str(path)


def test_load_sets_are_disjoint_by_simulation(tmp_path):
    labels = tmp_path / "labels.npy"
    np.save(labels, np.arange(32) // 4)
    train, truth, null = runs.load_sets(write_maps(tmp_path / "m.npy"), 2.0, 1.0, str(labels), pixels=16)
    seen = [set(s.simulations) for s in (train, truth, null)]
    assert seen[0] | seen[1] | seen[2] == set(range(8)) and not (
        seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2]
    )
    assert train.grid.n == 16 and train.side_deg == 2.0 and [len(s) for s in (train, truth, null)] == [16, 8, 8]


def test_load_sets_refuses_too_few_simulations(tmp_path):
    labels = tmp_path / "labels.npy"
    np.save(labels, np.zeros(32, int))
    with pytest.raises(ValueError, match="holds maps of 1 simulations"):
        runs.load_sets(write_maps(tmp_path / "m.npy"), 2.0, labels=str(labels))


def test_load_sets_refuses_pixels_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="32 × 32 pixels cannot be averaged down to 20 × 20"):
        runs.load_sets(write_maps(tmp_path / "m.npy"), 2.0, pixels=20)


# ---------------------------------------------------------------- the command line


def test_command_line_says_one_sentence(notebook, capsys):
    assert main(["run", str(notebook()), "-p", "stesp", "3"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("lensnb: ") and "did you mean steps" in error and error.count("\n") == 1


def test_command_line_help_lists_the_commands():
    shown = subprocess.run(
        [sys.executable, "-m", "lensnb", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(command in shown for command in ("run", "draw", "simulate", "sample"))


def test_map_set_survives_a_run_folder(tmp_path):
    maps = MapSet(np.zeros((2, 4, 4), np.float32), 1.0)
    assert MapSet.load(maps.save(tmp_path / "deep" / "set.npz")).side_deg == 1.0
