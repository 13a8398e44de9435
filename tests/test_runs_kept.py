"""Nothing is lost: the results of a run, and what a user has in a folder."""

import json

import nbformat
import numpy as np
import pytest

from lensnb import runs
from lensnb.files import write_json
from lensnb.runs import runner
from lensnb.runs.records import RECORD, RESULTS, as_json, read_record
from lensnb.runs.results import versions

CELL = 'x: float | None = 1.0\nz: float = float("nan")\nfolder: str = "."'
CHECK = "from lensnb import runs\nparameters = runs.check_parameters(globals());"
OWN_RESULTS = (
    "import json, pathlib\n"
    "pathlib.Path(folder, 'results.json').write_text(json.dumps({'loss': [x, 2.0]}))"
)


def write(path, *cells):
    """Write a notebook; the first cell has its parameters."""
    code = [nbformat.v4.new_code_cell(source) for source in cells]
    code[0].metadata["tags"] = ["parameters"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=code), path)
    return path


# -------------------- results that JSON cannot hold


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"x": "nan"}, {"x": np.float32("-inf")}], ids=str)
def test_a_run_keeps_its_results_whatever_its_parameters_are(tmp_path, capfd, caplog, given):
    """A default is NaN, a given value may be, and so may what the notebook itself writes."""
    book = write(tmp_path / "toy.ipynb", CELL, CHECK, OWN_RESULTS)
    folder = runs.run(book, parameters=given, root=tmp_path / "runs")
    assert read_record(folder)["status"] == "done"
    assert "unknown parameter" not in capfd.readouterr().err + caplog.text
    found = json.loads((folder / RESULTS).read_text(), parse_constant=pytest.fail)
    x = as_json(float(given.get("x", 1.0)))
    assert found["loss"] == [x, 2.0] and found["parameters"]["x"] == x
    assert found["parameters"]["z"] == "nan"


def test_results_are_saved_with_parameters_and_numbers_of_any_kind(monkeypatch, tmp_path):
    monkeypatch.setattr("lensnb.pages.write_page", lambda *_, **__: None)

    class Report:
        def as_json(self):
            return {"headline": []}

        def text(self, width):
            return "a table"

    parameters = {"z_source": float("nan"), "n": np.int64(3), "many": (1.0, float("inf"))}
    runs.save_results(
        tmp_path, parameters, Report(), bits={"flow": np.float32("nan")}, where=tmp_path
    )
    found = json.loads((tmp_path / RESULTS).read_text(), parse_constant=pytest.fail)
    assert found["parameters"] == {"z_source": "nan", "n": 3, "many": [1.0, "inf"]}
    assert found["bits"] == {"flow": "nan"} and found["where"] == str(tmp_path)


# -------------------- files of the user


@pytest.fixture
def executed(monkeypatch):
    """Nothing is executed; lists the notebooks that would be."""
    books = []

    def pretend(notebook, folder, given, wanted):
        books.append(notebook)
        write_json(folder / RECORD, wanted | {"status": "done", "seconds": 1.0})
        return 1.0

    monkeypatch.setattr(runner, "_run_now", pretend)
    return books


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name",
    ["figures/mine.png", "results.json", "toy.ipynb", "report.html", "maps.npy", "flow/notes.txt"],
)
@pytest.mark.parametrize("record", [None, "[1]", "{}", '{"status": "done"}'])
@pytest.mark.parametrize("again", [False, True])
def test_a_run_never_touches_a_folder_of_the_user(tmp_path, executed, name, record, again):
    book = write(tmp_path / "A" / "toy.ipynb", CELL)
    mine = tmp_path / "work" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    if record is not None:
        (tmp_path / "work" / RECORD).write_text(record)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="work has .*, which no run left there") as caught:
        runs.run(book, "work", root=tmp_path, again=again)
    assert "\n" not in str(caught.value)
    assert not executed and content(tmp_path) == before


def test_a_log_and_trainings_may_be_there_before_the_first_run(tmp_path, executed):
    book = write(tmp_path / "toy.ipynb", CELL)
    for name in ("log.txt", ".ipynb_checkpoints/a", "flow/training.safetensors"):
        path = tmp_path / "runs" / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    runs.run(book, "one", root=tmp_path / "runs")
    assert executed == [book]


def test_results_of_a_notebook_that_was_run_by_hand_are_no_obstacle(tmp_path, executed):
    """JupyterLab and the command share ``runs/quickstart``."""
    book, folder = write(tmp_path / "toy.ipynb", CELL), tmp_path / "runs" / "one"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "maps.png").touch()
    write_json(folder / RESULTS, {"parameters": {}, "versions": versions()})
    runs.run(book, "one", root=tmp_path / "runs")
    assert executed == [book] and not (folder / "figures").exists()


def test_a_copy_of_the_notebook_is_not_replaced_where_it_was_run_by_hand(tmp_path, executed):
    book = write(tmp_path / "A" / "toy.ipynb", CELL)
    copy = write(tmp_path / "work" / "toy.ipynb", CELL, "print('edited')")
    write_json(copy.parent / RESULTS, {"parameters": {}, "versions": versions()})
    with pytest.raises(ValueError, match="work has toy.ipynb"):
        runs.run(book, "work", root=tmp_path)
    assert not executed


# -------------------- two notebooks of one file name


def test_a_notebook_of_the_same_name_elsewhere_replaces_nothing(tmp_path, executed, monkeypatch):
    write(tmp_path / "A" / "toy.ipynb", CELL, "print('A')")
    write(tmp_path / "B" / "toy.ipynb", CELL, "print('B')")
    monkeypatch.chdir(tmp_path)
    folder = runs.run("A/toy.ipynb").resolve()
    sentence = r"holds a run of .*A/toy\.ipynb, whose code is another; expected another name"
    with pytest.raises(ValueError, match=sentence):
        runs.run("B/toy.ipynb")
    monkeypatch.chdir(tmp_path / "B")  # called by the same words as the first would be in A
    with pytest.raises(ValueError, match=sentence):
        runs.run("toy.ipynb", root=tmp_path / "runs")
    assert len(executed) == 1 and read_record(folder)["notebook"] == "A/toy.ipynb"
    assert runs.run("toy.ipynb", root=tmp_path / "runs", again=True).name == folder.name
    assert len(executed) == 2


def test_a_copy_with_the_same_code_is_the_same_run(tmp_path, executed):
    for name in ("A", "B"):
        runs.run(write(tmp_path / name / "toy.ipynb", CELL), root=tmp_path / "runs")
    assert len(executed) == 1


def test_a_notebook_that_was_edited_in_its_place_is_run_again(tmp_path, executed):
    for code in ("print(1)", "print(2)"):
        runs.run(write(tmp_path / "toy.ipynb", CELL, code), root=tmp_path / "runs")
    assert len(executed) == 2
