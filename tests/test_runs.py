"""Parameters, run folders, the command line: what is refused at once, and what a run leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest
from waiting import HANGS, wait_until

from lensnb import runs
from lensnb.__main__ import main
from lensnb.data import MapSet
from lensnb.files import write_json
from lensnb.runs import runner
from lensnb.runs.html import write_html
from lensnb.runs.inputs import found_below
from lensnb.runs.parameters import check_names, coerce, read_parameters
from lensnb.runs.records import read_record
from lensnb.runs.runner import folder_name

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
        book.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
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
    found = coerce("p", value, kind)
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
        coerce("p", value, kind)


def test_check_parameters_coerces_in_place_and_takes_overrides(monkeypatch):
    namespace = {
        "__annotations__": {"steps": int, "careful": "bool"},
        "steps": "12",
        "careful": "false",
        "other": "1",
    }
    monkeypatch.setenv("LENSNB_PARAMETERS", json.dumps({"steps": 5, "unknown": 1}))
    assert runs.check_parameters(namespace) == {"steps": 5, "careful": False}
    assert namespace["steps"] == 5 and namespace["other"] == "1" and "unknown" not in namespace


def test_unknown_name_is_refused_and_the_nearest_named(notebook):
    with pytest.raises(ValueError, match="has no parameter stesp; did you mean steps"):
        check_names(notebook(), {"stesp": 4})
    with pytest.raises(ValueError, match="it knows steps, rate"):
        check_names(notebook(), {"qqqqqq": 4})


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


def test_paths_that_are_given_are_those_of_the_caller(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "1.npy").touch()
    for given in ("maps", "maps/1.npy", "maps/*.npy", "./maps/1.npy"):
        assert Path(found_below(given, tmp_path)) == tmp_path / given
    for given in (
        "",
        "auto",
        "../elsewhere.npy",
        "maps/*.fits",
        str(tmp_path / "maps"),
        3,
        0.5,
        True,
    ):
        assert found_below(given, tmp_path) is given


@pytest.mark.slow
def test_a_run_leaves_notebook_report_and_results(notebook, tmp_path):
    cells = "import json, os, pathlib\nassert 'LENSNB_BATCH' in os.environ\n"
    cells += (
        "pathlib.Path(folder, 'out.json').write_text(json.dumps(parameters))\nprint('hello')\n"
    )
    cells += f"assert pathlib.Path.cwd() == pathlib.Path({str(tmp_path)!r}), 'paths in a notebook are relative to it'"
    folder = runs.run(
        notebook(cells), parameters={"rate": "1e-4", "side_deg": "5"}, root=tmp_path / "runs"
    )
    assert "LENSNB_BATCH" not in os.environ, "the caller is no batch job"
    assert folder.parent == tmp_path / "runs" and re.fullmatch("toy-[0-9a-f]{8}", folder.name)
    out = json.loads((folder / "out.json").read_text())
    assert out["rate"] == 1e-4 and out["side_deg"] == 5.0 and out["steps"] == 3
    book = nbformat.read(folder / "05_toy.ipynb", as_version=4)
    assert all(c.execution_count for c in book.cells if c.cell_type == "code" and c.source)
    results = json.loads((folder / "results.json").read_text())
    assert (
        results["notebook"] == "05_toy.ipynb"
        and results["seconds"] > 0
        and results["versions"]["torch"]
    )
    assert results["parameters"]["rate"] == 1e-4 and set(results["parameters"]) == set(out)
    page = (folder / "notebook.html").read_text()
    links = _Links()
    links.feed(page)
    assert links.fetched == [], "the page must open offline"
    assert "hello" in page and "Parameters of this run" in page
    assert not (folder / "report.html").exists()  # nothing was compared


def test_a_widget_is_a_picture_in_the_report(notebook, tmp_path):
    book = nbformat.read(notebook("1"), as_version=4)
    view = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "x"},
        "image/png": "iVBORw0KGgo=",
    }
    book.cells[-1].outputs = [
        nbformat.v4.new_output("display_data", view, metadata={"image/png": {"alt": "two maps"}})
    ]
    nbformat.write(book, tmp_path / "with_widget.ipynb")
    page = write_html(
        tmp_path / "with_widget.ipynb", tmp_path / "report.html", "a title"
    ).read_text()
    assert (
        'alt="two maps"' in page
        and "data:image/png;base64,iVBORw0KGgo=" in page
        and "widget-view" not in page
    )


@pytest.mark.slow
def test_a_run_is_done_once_and_again_when_asked_or_changed(notebook, tmp_path, capsys):
    book, root = (
        notebook("with open(f'{folder}/count', 'a') as f: f.write('x')"),
        tmp_path / "runs",
    )
    first = runs.run(book, parameters={"steps": 5}, root=root)
    record = read_record(first)
    assert (
        record["status"] == "done"
        and (first / "done").exists()
        and record["parameters"]["steps"] == 5
    )
    assert (
        record["packages"]["numpy"] == np.__version__
        and record["versions"]["lensnb"]
        and record["started"]
    )
    assert "folder" not in record["parameters"]  # the same run in another place is the same run
    capsys.readouterr()
    assert (
        runs.run(book, parameters={"steps": "5"}, root=root) == first
    )  # papermill's strings are no other parameters
    assert "is done already" in capsys.readouterr().out and (first / "count").read_text() == "x"
    runs.run(book, parameters={"steps": 5}, root=root, again=True)
    assert (first / "count").read_text() == "xx"
    other = nbformat.read(book, as_version=4)
    other.cells[-1].source += "  # changed"
    nbformat.write(other, book)
    assert (
        runs.run(book, parameters={"steps": 5}, root=root) == first
        and (first / "count").read_text() == "xxx"
    )
    assert folder_name(book, {"steps": 5}) != folder_name(book, {"steps": 6})


STOPPED = """
import itertools, time
from pathlib import Path
from lensnb.train import watch
def records():
    started = Path(folder, "started")
    steps = range(1, 3) if started.exists() else itertools.count(1)
    try:
        for step in steps:
            yield {"step": step, "loss": 0.0, "lr": 0.1, "seconds": 0.0, "images": step}
            started.touch()
            time.sleep(0.02)
    except KeyboardInterrupt:
        Path(folder, "checkpoint").touch()
        yield {"step": step, "loss": 0.0, "lr": 0.1, "seconds": 0.0, "images": step, "stopped": "interrupted"}
history = watch(records(), 10_000)
"""


@pytest.mark.slow
def test_a_time_limit_makes_a_run_save_and_end_as_unfinished(notebook, tmp_path):
    """The signals of batch systems: a training saves, nothing after it runs, and the run resumes."""
    book, folder = notebook(STOPPED, "Path(folder, 'after').touch()"), tmp_path / "runs" / "one"
    command = [sys.executable, "-m", "lensnb", "run", str(book)]
    command += ["--root", str(folder.parent), "--name", folder.name]
    for name in ("SIGTERM", "SIGUSR1"):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            wait_until((folder / "started").exists)
            process.send_signal(getattr(signal, name))
            _, err = process.communicate(timeout=HANGS)
        assert process.returncode == 75, err
        # a kernel that ends in a hurry lets ZeroMQ print a line of its own
        said = [line for line in err.splitlines() if "signaler.cpp" not in line]
        assert len(said) == 1 and f"was stopped by {name} in cell" in said[0], err
        left = {path.name for path in folder.iterdir()}
        assert "checkpoint" in left and not left & {"after", "done"}
        assert read_record(folder)["status"] == "unfinished"
        for file in ("started", "checkpoint"):
            (folder / file).unlink()
    (folder / "started").touch()  # now the training comes to its end
    subprocess.run(command, check=True, capture_output=True)
    assert (folder / "after").exists() and read_record(folder)["status"] == "done"


@pytest.mark.slow
def test_two_processes_with_one_run_do_it_once(notebook, tmp_path):
    """The notebook does not end before the second process says that it waits."""
    book = notebook(
        "import pathlib, time\nwith open(f'{folder}/count', 'a') as f: f.write('x')\n"
        "while not pathlib.Path(folder, 'go').exists(): time.sleep(0.05)"
    )
    folder, logs = tmp_path / "runs" / "one", [tmp_path / name for name in ("first", "second")]
    command = [sys.executable, "-m", "lensnb", "run", str(book), "--root", str(folder.parent)]
    both = []
    for log in logs:
        with open(log, "w") as file:
            both.append(subprocess.Popen([*command, "--name", "one"], stdout=file))
    said = lambda words: sum(words in log.read_text() for log in logs)
    wait_until(lambda: said("waiting for another process") and (folder / "count").exists())
    (folder / "go").touch()
    assert [process.wait(HANGS) for process in both] == [0, 0]
    assert (folder / "count").read_text() == "x"
    assert said("waiting for another process") == said("is done already") == 1


def test_parameters_from_a_file(tmp_path):
    (tmp_path / "p.yml").write_text("steps: 7\nrate: 1.0e-4\n")
    assert read_parameters(tmp_path / "p.yml") == {"steps": 7, "rate": 1e-4}
    for text, sentence in (
        ("- 1", "must hold parameters by name, found list"),
        ("a: [", "is no YAML"),
    ):
        (tmp_path / "p.yml").write_text(text)
        with pytest.raises(ValueError, match=sentence):
            read_parameters(tmp_path / "p.yml")
    with pytest.raises(
        FileNotFoundError, match="none.yml does not exist; expected a YAML file of parameters"
    ):
        read_parameters(tmp_path / "none.yml")


def test_a_folder_keeps_the_run_of_another_notebook(notebook, tmp_path):
    book = notebook("print(1)")
    record = {"notebook": "another.ipynb", "status": "done"}
    (tmp_path / "runs" / "one").mkdir(parents=True)
    write_json(tmp_path / "runs" / "one" / "run.json", record)
    with pytest.raises(
        ValueError, match=r"holds a run of another\.ipynb; expected another name for one of"
    ):
        runs.run(book, "one", root=tmp_path / "runs", again=True)
    assert read_record(tmp_path / "runs" / "one") == record


def test_runs_stand_side_by_side(tmp_path, capsys):
    pandas = pytest.importorskip("pandas", reason="no pandas: pip install 'lensnb[lab]'")
    number = lambda value: {"value": value, "error": 0.1, "passes": True}
    for k, status in enumerate(("done", "failed")):
        folder = tmp_path / "study" / f"r{k}"
        folder.mkdir(parents=True)
        record = {
            "notebook": "n.ipynb",
            "status": status,
            "seconds": 5.0 + k,
            "parameters": {"simulations": 4 * k},
        }
        write_json(
            folder / "run.json", record | ({"error": "n.ipynb failed in cell 3: no"} if k else {})
        )
    rows = [
        {
            "item": 1,
            "name": "C_ℓ mean",
            "right": "1",
            "inverse": False,
            "sets": {"null": number(1.0), "flow": number(0.9)},
        },
        {
            "item": 8,
            "name": "effective maps",
            "right": "",
            "inverse": True,
            "sets": {"flow": {"value": 0.01, "error": 0.001}},
        },
    ]
    write_json(tmp_path / "study" / "r0" / "results.json", {"comparison": {"headline": rows}})
    table = runs.table(tmp_path)
    assert isinstance(table, pandas.DataFrame) and list(table["run"]) == [
        "study/r0",
        "study/r0",
        "study/r1",
    ]
    flow = table[(table["set"] == "flow")].iloc[0]
    assert flow["C_ℓ mean"] == 0.9 and flow["C_ℓ mean ±"] == 0.1 and flow["simulations"] == 0
    assert flow["effective maps"] == pytest.approx(100) and flow[
        "effective maps ±"
    ] == pytest.approx(10)
    assert main(["runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "0.90 ± 0.10" in said and "n.ipynb failed in cell 3: no" in said and "study/r1" in said
    csv = tmp_path / "some.csv"
    some = ["runs", str(tmp_path), "--csv", str(csv), "--columns"]
    assert main([*some, "set", "effective maps"]) == 0
    assert csv.read_text().splitlines()[0] == "set,effective maps"
    assert main([*some, "area"]) == 1 and "no column 'area'" in capsys.readouterr().err
    (tmp_path / "by_hand").mkdir()  # as JupyterLab leaves it
    write_json(
        tmp_path / "by_hand" / "results.json",
        {"parameters": {"simulations": 9}, "comparison": {"headline": rows}},
    )
    (tmp_path / "not_ours").mkdir()
    (tmp_path / "not_ours" / "results.json").write_text("half of a fi")
    by_hand = runs.table(tmp_path).query("status == 'by hand'")
    assert list(by_hand["set"]) == ["null", "flow"] and (by_hand["simulations"] == 9).all()
    assert main(["runs", str(tmp_path)]) == 0 and "by hand" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="is no folder; expected one with run folders"):
        runs.table(tmp_path / "none")


def stored(folder, rows):
    """A run folder with these headline rows."""
    folder.mkdir()
    results = {"parameters": {"seed": 1}, "comparison": {"headline": rows}}
    write_json(folder / "results.json", results)
    return folder


def headline_row(name, inverse=False, **sets):
    return {"item": 1, "name": name, "right": "1", "inverse": inverse, "sets": sets}


def test_a_run_of_an_older_version_is_read(tmp_path, capsys):
    """Rows that the report no longer has, and numbers without an answer."""
    pytest.importorskip("pandas", reason="no pandas: pip install 'lensnb[lab]'")
    number = {"value": 0.13, "error": 0.01, "passes": False}
    old = [
        headline_row("C_ℓ mean", flow=number),
        headline_row("smallest eigenvalue", flow=number),
        headline_row("share of near copies", flow={"value": None, "error": None, "passes": None}),
    ]
    new = [headline_row("C_ℓ mean", flow=number | {"answer": "off", "sigmas": -9, "seen": 0.1})]
    folder = stored(tmp_path / "old", old)
    stored(tmp_path / "new", new)
    assert runs.headline(folder)["flow"]["smallest eigenvalue"] == (0.13, 0.01)
    assert runs.answers(folder) == {}
    table = runs.table(tmp_path).set_index("run")
    assert table.loc["new", "C_ℓ mean answer"] == "off"
    assert table.loc["old"].isna()[["C_ℓ mean answer", "share of near copies"]].all()
    assert np.isnan(table.loc["new", "smallest eigenvalue"])
    assert main(["runs", str(tmp_path)]) == 0
    _, new_line, _, old_line, legend = capsys.readouterr().out.splitlines()[1:]
    assert new_line.endswith("0.13 ± 0.01*") or "0.13 ± 0.01* " in new_line
    assert old_line.endswith("0.13 ± 0.01") or "0.13 ± 0.01  " in old_line
    assert "= as the simulations, * off, ? cannot tell" in legend


def test_a_number_that_is_not_defined_has_no_answer(tmp_path):
    kinds = {"a": "as the simulations", "b": "off", "c": "cannot tell", "d": ""}
    sets = {name: {"value": 1.0, "error": 0.1, "answer": kind} for name, kind in kinds.items()}
    folder = stored(tmp_path / "run", [headline_row("C_ℓ slope", **sets)])
    expected = {name: {"C_ℓ slope": kind} for name, kind in kinds.items() if kind}
    assert runs.answers(folder) == expected


def test_effective_maps_can_be_averaged_as_one_over_n(tmp_path):
    """1/N is stored and can be zero or below by chance; N is infinite there."""
    pytest.importorskip("pandas", reason="no pandas: pip install 'lensnb[lab]'")
    values = {"a": 0.01, "b": 0.0, "c": -0.002, "d": None}
    sets = {name: {"value": value, "error": 0.001} for name, value in values.items()}
    folder = stored(tmp_path / "run", [headline_row("effective maps", True, **sets)])
    found = {name: numbers["effective maps"] for name, numbers in runs.headline(folder).items()}
    assert found["a"] == (pytest.approx(100), pytest.approx(10))
    assert found["b"] == found["c"] == (np.inf, None) and found["d"] == (None, None)
    table = runs.table(tmp_path)
    assert table["1/effective maps"].mean() == pytest.approx(0.008 / 3)


@pytest.mark.slow
def test_a_failing_notebook_is_named_with_its_error(notebook, tmp_path):
    with pytest.raises(
        RuntimeError, match=r"05_toy.ipynb failed in cell \d+: ValueError: no such thing"
    ):
        runs.run(notebook("raise ValueError('no such thing')"), "x", root=tmp_path / "runs")
    record = read_record(tmp_path / "runs" / "x")
    assert record["status"] == "failed" and "ValueError: no such thing" in record["error"]


@pytest.mark.slow
def test_a_kernel_that_leaves_without_an_error_is_a_failure(notebook, tmp_path):
    # papermill alone calls this a success: sys.exit(0) in a cell
    with pytest.raises(RuntimeError):
        runs.run(notebook("import sys\nsys.exit(0)", "print('never')"), root=tmp_path / "runs")


def test_a_kernel_that_dies_is_said_in_one_sentence(notebook, tmp_path):
    """As when the memory is exhausted: the kernel is killed, and no cell raised anything."""
    killed = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(RuntimeError, match="its kernel did not start or went away .* memory"):
        runs.run(notebook(killed), root=tmp_path / "runs")


def test_a_home_where_no_kernel_can_be_started_is_named(notebook, tmp_path, monkeypatch):
    """As a full disk does: the kernel cannot write its profile."""
    home = tmp_path / "full"
    home.mkdir()
    (home / "profile_default").write_text("no folder")
    monkeypatch.setenv("IPYTHONDIR", str(home))
    with pytest.raises(RuntimeError, match="did not start .* free space in .*full and "):
        runs.run(notebook("print(1)"), root=tmp_path / "runs")


# ---------------------------------------------------------------- sets of a run


def write_maps(path, maps=32, n=32, seed=0):
    np.save(path, np.random.default_rng(seed).normal(0, 0.01, (maps, n, n)).astype("f4"))
    return str(path)


def test_load_sets_are_disjoint_by_simulation(tmp_path):
    labels = tmp_path / "labels.npy"
    np.save(labels, np.arange(32) // 4)
    train, truth, null = runs.load_sets(
        write_maps(tmp_path / "m.npy"), 2.0, 1.0, str(labels), pixels=16
    )
    seen = [set(s.simulations) for s in (train, truth, null)]
    assert seen[0] | seen[1] | seen[2] == set(range(8)) and not (
        seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2]
    )
    assert (
        train.grid.n == 16
        and train.side_deg == 2.0
        and [len(s) for s in (train, truth, null)] == [16, 8, 8]
    )


def test_load_sets_refuses_too_few_simulations(tmp_path):
    labels = tmp_path / "labels.npy"
    np.save(labels, np.zeros(32, int))
    with pytest.raises(ValueError, match="holds maps of 1 simulations"):
        runs.load_sets(write_maps(tmp_path / "m.npy"), 2.0, simulation=str(labels))


def test_load_sets_averages_files_as_they_are_read(tmp_path, monkeypatch):
    """Many files of full size would not fit into memory."""
    from lensnb import readers

    asked, read = [], readers.open_maps
    monkeypatch.setattr(readers, "open_maps", lambda *a, **k: asked.append(k) or read(*a, **k))
    train, truth, null = runs.load_sets(write_maps(tmp_path / "m.npy"), 2.0, pixels=16)
    assert asked == [{"pixels": 16}]
    assert train.grid.n == truth.grid.n == null.grid.n == 16


def test_load_sets_refuses_pixels_that_do_not_fit(tmp_path):
    with pytest.raises(
        ValueError, match="of 32 × 32 pixels; expected pixels to be one whole part of 32 or"
    ):
        runs.load_sets(write_maps(tmp_path / "m.npy"), 2.0, pixels=20)


# ---------------------------------------------------------------- the command line


def test_command_line_says_one_sentence(notebook, capsys):
    assert main(["run", str(notebook()), "-p", "stesp", "3"]) == 1
    error = capsys.readouterr().err
    assert (
        error.startswith("lensnb: ") and "did you mean steps" in error and error.count("\n") == 1
    )


def test_command_line_help_lists_the_commands():
    shown = subprocess.run(
        [sys.executable, "-m", "lensnb", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(
        command in shown for command in ("run", "runs", "sweep", "draw", "simulate", "sample")
    )


def test_map_set_survives_a_run_folder(tmp_path):
    maps = MapSet(np.zeros((2, 4, 4), np.float32), 1.0)
    assert MapSet.load(maps.save(tmp_path / "deep" / "set.npz")).side_deg == 1.0


# -------------------- the parameter that was called labels


@pytest.fixture
def cutting(tmp_path):
    """A notebook with the parameter of the given name, the present one or the old one."""

    def write(name: str) -> Path:
        cell = nbformat.v4.new_code_cell(f'{name}: str = ""  # .npy\nfolder: str = "."  # results')
        cell.metadata["tags"] = ["parameters"]
        book = nbformat.v4.new_notebook(cells=[cell])
        book.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(book, tmp_path / "05_cut.ipynb")
        return tmp_path / "05_cut.ipynb"

    return write


def test_the_old_name_of_a_parameter_works_with_a_warning(cutting, monkeypatch):
    notebook = cutting("simulation")
    with pytest.warns(FutureWarning, match="the parameter labels is now called simulation"):
        assert check_names(notebook, {"labels": "s.npy"}) == {"simulation": "s.npy"}
    with pytest.raises(ValueError, match="was given both labels and simulation"):
        check_names(notebook, {"labels": "s.npy", "simulation": "s.npy"})
    monkeypatch.setenv("LENSNB_PARAMETERS", json.dumps({"labels": "s.npy"}))
    namespace = {"__annotations__": {"simulation": str}, "simulation": ""}
    with pytest.warns(FutureWarning, match="LENSNB_PARAMETERS: the parameter labels is now"):
        assert runs.check_parameters(namespace) == {"simulation": "s.npy"}


def test_a_notebook_that_still_has_labels_keeps_them(cutting):
    assert check_names(cutting("labels"), {"labels": "s.npy"}) == {"labels": "s.npy"}


def test_the_command_line_warns_in_one_sentence(cutting, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "execute", lambda notebook, folder, given: folder / notebook.name)
    monkeypatch.setattr(runner, "complete", lambda folder, executed, seconds: None)
    notebook, root = cutting("simulation"), tmp_path / "runs"
    command = ["run", str(notebook), "--root", str(root), "--name", "one", "-p", "labels", "s.npy"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(command) == 0
    error = capsys.readouterr().err
    assert error.startswith("lensnb: ") and error.count("\n") == 1
    assert "the parameter labels is now called simulation" in error
    assert read_record(root / "one")["parameters"] == {"simulation": "s.npy"}


def test_old_runs_are_listed_under_the_present_name(tmp_path):
    pytest.importorskip("pandas", reason="no pandas: pip install 'lensnb[lab]'")
    for folder, parameters in (("old", {"labels": "a"}), ("new", {"simulation": "b"})):
        (tmp_path / folder).mkdir()
        record = {"notebook": "n.ipynb", "status": "done", "parameters": parameters}
        write_json(tmp_path / folder / "run.json", record)
    (tmp_path / "by_hand").mkdir()
    write_json(tmp_path / "by_hand" / "results.json", {"parameters": {"labels": "c"}})
    table = runs.table(tmp_path)
    assert "labels" not in table.columns
    assert dict(zip(table["run"], table["simulation"])) == {"by_hand": "c", "new": "b", "old": "a"}
