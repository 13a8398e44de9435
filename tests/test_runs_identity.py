"""Which run it is: by its parameters and the files that they name; its name is of that run alone."""

import json
import os

import nbformat
import pytest

from lensnb import runs
from lensnb.files import write_json
from lensnb.runs import runner
from lensnb.runs.declared import declared
from lensnb.runs.inputs import fingerprints, found_below
from lensnb.runs.parameters import all_parameters, check_names, coerce, read_parameters
from lensnb.runs.records import RECORD, read_record

CELL = 'seed: int = 0\nmaps: str = ""\nz: float = float("nan")\nfolder: str = "."'


@pytest.fixture
def notebook(tmp_path):
    """Write a notebook that has this cell of parameters."""

    def write(cell: str = CELL, name: str = "toy.ipynb"):
        code = nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[code]), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def executed(monkeypatch):
    """Nothing is executed; lists the folders that would be run into."""
    folders = []

    def pretend(notebook, folder, given, wanted):
        folders.append(folder)
        write_json(folder / RECORD, wanted | {"status": "done", "seconds": 1.0})
        return 1.0

    monkeypatch.setattr(runner, "_run_now", pretend)
    return folders


# -------------------- files that parameters name


def test_other_data_under_the_same_text_are_another_run(notebook, executed, tmp_path, monkeypatch):
    book = notebook()
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.npy").write_bytes(b"1")
        monkeypatch.chdir(tmp_path / name)
        for given in ("m.npy", "./m.npy", "m*.npy"):
            runs.run(book, parameters={"maps": given}, root=tmp_path / "runs")
    assert len(executed) == len(set(executed)) == 2, "one for each file, however it is written"
    (tmp_path / "B" / "m.npy").write_bytes(b"12")
    runs.run(book, parameters={"maps": "m.npy"}, root=tmp_path / "runs")
    assert len(set(executed)) == 3


def test_a_default_that_names_a_file_counts_too(notebook, executed, tmp_path):
    book = notebook('maps: str = "m.npy"\nfolder: str = "."')
    (tmp_path / "m.npy").write_bytes(b"1")
    first = runs.run(book, root=tmp_path / "runs")
    assert runs.run(book, root=tmp_path / "runs") == first and len(executed) == 1
    os.utime(tmp_path / "m.npy", ns=(1, 1))  # as long as before, but of another time
    assert runs.run(book, root=tmp_path / "runs") != first


def test_a_set_of_many_files_is_all_of_them(tmp_path):
    chunk = tmp_path / "set.zarr" / "maps" / "c.0"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(b"1")
    before = fingerprints({"maps": "set.zarr", "seed": 3, "name": "flow"}, tmp_path)
    assert list(before) == ["maps"] and len(before["maps"]) == 2
    chunk.write_bytes(b"12")
    assert fingerprints({"maps": "set.zarr"}, tmp_path) != before


@pytest.mark.parametrize(
    "given", ["~/m.npy", "~/m*.npy", ["~/m.npy"], {"a": ["~/m.npy"]}], ids=str
)
def test_data_in_the_home_are_known_by_their_content(
    notebook, executed, tmp_path, monkeypatch, given
):
    """They may be given, in a list or alone, or be a default."""
    monkeypatch.setenv("HOME", str(tmp_path))
    books = [notebook("maps = None"), notebook(f"maps = {given!r}", "default.ipynb")]
    for size in (1, 2):
        (tmp_path / "m.npy").write_bytes(b"1" * size)
        for _ in range(2):
            runs.run(books[0], parameters={"maps": given}, root=tmp_path / "runs")
            runs.run(books[1], root=tmp_path / "runs")
    assert len(executed) == len(set(executed)) == 4, "two notebooks, each once for each content"
    (stamp,) = read_record(executed[0])["files"]["maps"]
    assert stamp[:2] == [str(tmp_path / "m.npy"), 1]


def test_a_home_that_is_not_there_is_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("~/none.npy", "~nobody-of-this-name/m.npy"):
        assert found_below(given, tmp_path) == given
        assert fingerprints({"maps": given}, tmp_path) == {}


def test_files_of_a_list_start_where_the_user_is(tmp_path):
    (tmp_path / "m.npy").touch()
    assert found_below(["m.npy", "n.npy", 3], tmp_path) == [str(tmp_path / "m.npy"), "n.npy", 3]


def test_a_run_of_an_older_version_is_still_done(notebook, executed, tmp_path):
    """It recorded no files, and its parameters named none."""
    book = notebook()
    folder = runs.run(book, root=tmp_path / "runs")
    record = read_record(folder)
    del record["files"]
    write_json(folder / RECORD, record)
    assert runs.run(book, root=tmp_path / "runs") == folder and len(executed) == 1


@pytest.mark.parametrize("name", ["mock[1].npy", "a b*.npy", "x?.npy"])
def test_a_name_that_is_also_a_pattern_is_a_name(tmp_path, name):
    (tmp_path / name).touch()
    assert found_below(name, tmp_path) == str(tmp_path / name)
    assert fingerprints({"maps": name}, tmp_path)["maps"][0][0] == str(tmp_path / name)


def test_brackets_of_the_folder_are_no_pattern(tmp_path):
    here = tmp_path / "sims [v2]"
    here.mkdir()
    (here / "m1.npy").touch()
    assert found_below("m*.npy", here) == str(tmp_path / "sims [[]v2]" / "m*.npy")
    assert found_below("n*.npy", here) == "n*.npy"


# -------------------- names


def test_a_name_belongs_to_one_set_of_parameters(notebook, executed, tmp_path):
    book, root = notebook(), tmp_path / "runs"
    runs.run(book, "q", {"seed": 1}, root)
    with pytest.raises(ValueError, match="holds a run with other parameters: seed was 1, now 2"):
        runs.run(book, "q", {"seed": 2}, root)
    assert read_record(root / "q")["parameters"]["seed"] == 1 and len(executed) == 1
    runs.run(book, "q", {"seed": 2}, root, again=True)
    assert read_record(root / "q")["parameters"]["seed"] == 2


def test_a_name_belongs_to_one_set_of_data(notebook, executed, tmp_path, monkeypatch):
    book, root = notebook(), tmp_path / "runs"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.npy").write_bytes(b"1")
    runs.run(book, "q", {"maps": "m.npy"}, root)
    (tmp_path / "m.npy").write_bytes(b"12")
    with pytest.raises(ValueError, match="maps named '.*m.npy' with other data"):
        runs.run(book, "q", {"maps": "m.npy"}, root)


@pytest.mark.parametrize("status, refused", [("unfinished", True), ("failed", False)])
def test_a_run_that_failed_may_be_mended_under_its_name(
    notebook, executed, tmp_path, status, refused
):
    book, root = notebook(), tmp_path / "runs"
    runs.run(book, "q", {"seed": 1}, root)
    write_json(root / "q" / RECORD, read_record(root / "q") | {"status": status})
    if refused:
        with pytest.raises(ValueError, match="other parameters"):
            runs.run(book, "q", {"seed": 2}, root)
    else:
        runs.run(book, "q", {"seed": 2}, root)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", ".", "", "/tmp/x", "a/.."])
def test_a_name_that_leaves_the_root_is_refused(notebook, executed, tmp_path, name):
    with pytest.raises(ValueError, match="expected one of a folder below"):
        runs.run(notebook(), name, root=tmp_path / "runs")
    assert not executed and not (tmp_path / "runs").exists()


def test_a_run_never_overwrites_its_notebook(notebook, executed, tmp_path):
    (tmp_path / "nb").mkdir()
    book = notebook(name="nb/nb.ipynb")
    before = book.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "nb")
    for name in ("nb", "link", "x/../nb"):
        with pytest.raises(ValueError, match="the run would overwrite"):
            runs.run(book, name, root=tmp_path, again=True)
    assert book.read_bytes() == before and not executed


def test_a_notebook_that_is_called_by_another_path_is_the_same(
    notebook, executed, tmp_path, monkeypatch
):
    book = notebook()
    runs.run(book, root=tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    runs.run(book.name, root=tmp_path / "runs")
    assert len(executed) == 1


def test_a_name_below_a_file_is_refused_in_a_sentence(notebook, executed, tmp_path):
    (tmp_path / "runs").write_text("no folder")
    with pytest.raises(ValueError, match="runs/q cannot be a folder, because there is a file"):
        runs.run(notebook(), "q", root=tmp_path / "runs")
    assert not executed


def test_the_results_of_an_earlier_run_are_not_those_of_one_that_fails(
    notebook, executed, tmp_path, monkeypatch
):
    """Other parameters under the name, by ``again``: what is listed belongs to them, or is not."""
    folder = runs.run(notebook(), "q", {"seed": 1}, root=tmp_path / "runs")
    (folder / "figures").mkdir()
    for old in ("results.json", "report.txt", "report.html", "notebook.html", "figures/a.png"):
        (folder / old).write_text("{}")
    (folder / "training.safetensors").write_text("kept")

    def fail(*_):
        raise RuntimeError("a cell failed")

    monkeypatch.setattr(runner, "_run_now", fail)
    with pytest.raises(RuntimeError, match="a cell failed"):
        runs.run(notebook(), "q", {"seed": 2}, root=tmp_path / "runs", again=True)
    left = {one.name for one in folder.iterdir()}
    assert left == {RECORD, "training.safetensors"}


# -------------------- numbers, and cells of other people


@pytest.mark.parametrize(
    "value, expected",
    [("-1758700000123456789", -1758700000123456789), ("1.758700000123456789e18", 1758700000123456789),
     (10**30, 10**30), (str(10**30), 10**30), ("9007199254740993.0", 9007199254740993)],
)  # fmt: skip
def test_whole_numbers_keep_their_digits(value, expected):
    assert coerce("seed", value, "int") == expected


@pytest.mark.parametrize(
    "value", ["inf", "nan", "-Infinity", float("inf"), float("nan"), "1e999999999", "1.5", "sNaN"]
)
def test_what_is_no_whole_number_is_refused_in_a_sentence(value):
    with pytest.raises(ValueError, match="parameter seed = .* is not of the type int"):
        coerce("seed", value, "int")


@pytest.mark.parametrize("value", [10**400, "1e999", "-1e999"])
def test_a_number_that_no_float_can_hold_is_refused(value):
    with pytest.raises(ValueError, match="parameter z = .* is not of the type float"):
        coerce("z", value, "float")
    assert coerce("z", "-Infinity", "float") == float("-inf")


@pytest.mark.parametrize(
    "given, expected", [("10", 10), ("2.5", 2.5), ("flow", "flow"), ("[1, 2]", [1, 2]), (3, 3)]
)
def test_a_default_that_tells_no_type_takes_any_value(notebook, given, expected):
    book = notebook("x = None\ny = n // 2")
    assert check_names(book, {"x": given, "y": given}) == {"x": expected, "y": expected}


def test_a_file_of_parameters_has_names(tmp_path):
    pytest.importorskip("yaml")
    (tmp_path / "p.yml").write_text("1: 2\n")
    with pytest.raises(ValueError, match="p.yml has a parameter called 1; expected names"):
        read_parameters(tmp_path / "p.yml")


GIVEN = [
    ("[1, 2]", "list", [1, 2]),
    ((1, 2), list, [1, 2]),
    ("1, 2", "list[float]", [1.0, 2.0]),
    (["1", 2.0], list[int], [1, 2]),
    ("(1, 'a')", "tuple[int, str]", (1, "a")),
    ("[1, 2]", tuple[float, ...], (1.0, 2.0)),
    ("{'a': 1}", "dict[str, float]", {"a": 1.0}),
    ("0.5", "float | None", 0.5),
    ("None", float | None, None),
    (None, "Optional[int]", None),
    ("3", "typing.Optional[int]", 3),
    ("3", "str | int", 3),
    ("many", "typing.Union[int, str]", "many"),
    (3, "str | int", 3),
    (1, "bool | int", 1),
    ("null", "list[str] | None", None),
    ("['a']", "None | list[str]", ["a"]),
]


@pytest.mark.parametrize("value, kind, expected", GIVEN, ids=str)
def test_a_parameter_that_is_a_list_or_none_can_be_given(value, kind, expected):
    found = coerce("p", value, kind)
    assert found == expected and type(found) is type(expected)
    assert repr(found) == repr(expected), "of the declared type inside, too"


@pytest.mark.parametrize(
    "value, kind",
    [("3", "list"), ("[a]", "list[int]"), ("many", "float | None"), ("None", "float"), ("", list),
     ("(1, 2, 3)", "tuple[int, str]"), ("[1]", "dict"), ("[None]", "list[float]"), ("[" * 9999, "list")],
)  # fmt: skip
def test_what_is_no_such_list_is_refused(value, kind):
    with pytest.raises(ValueError, match="parameter p = .* is not of the type"):
        coerce("p", value, kind)


@pytest.mark.parametrize(
    "kind", ["Path", "np.ndarray", "list[Path]", "Literal['a']", "int | ", "3"]
)
def test_a_type_that_is_not_known_is_named(kind):
    with pytest.raises(ValueError, match="parameter p is declared as .*; expected one of int"):
        coerce("p", "a", kind)


def test_a_list_is_given_to_a_notebook_and_is_another_run(notebook, executed, tmp_path):
    book = notebook("sides: list[float] = [5.0]\nz: float | None = None\nmany = [1]")
    for given in ({}, {"sides": "[5, 10]"}, {"z": "0.5"}, {"many": "[1, 2]"}, {"z": "None"}):
        runs.run(book, parameters=given, root=tmp_path / "runs")
    assert len(executed) == len(set(executed)) == 4, "None is the default"


def test_a_notebook_checks_lists_and_none():
    namespace = {}
    exec("sides: list[float] = [1.0]\nz: float | None = None", namespace)
    namespace["sides"] = "[5, 10]"
    assert runs.check_parameters(namespace) == {"sides": [5.0, 10.0], "z": None}


NO_YAML = {
    "no UTF-8": b"seed: 1 # \xe9",
    "UTF-16": "seed: 1".encode("utf-16"),
    "too deep": b"[" * 20_000,
    "no such date": b"seed: 2026-13-45",
    "no number": b"seed: !!int many",
    "no truth": b"seed: !!bool many",
    "a control character": b"seed: \x00",
}


@pytest.mark.parametrize("raw", NO_YAML.values(), ids=NO_YAML.keys())
def test_a_file_that_is_no_yaml_is_named_in_a_sentence(tmp_path, raw):
    pytest.importorskip("yaml")
    (tmp_path / "p.yml").write_bytes(raw)
    with pytest.raises(ValueError, match="p.yml is no YAML") as caught:
        read_parameters(tmp_path / "p.yml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


DEFAULTS = {
    's: str = "a = b # c"': ("str", "a = b # c"),
    "s: \"str\" = 'it\\'s'": ("str", "it's"),
    "n: int = 2**10 - 24": ("int", 1000),
    "n = 7": ("int", 7),
    "x: float = -1 / 4": ("float", -0.25),
    "x: float = (\n    1e-3  # = small\n)": ("float", 1e-3),
    "many = [1,\n  2]": ("list", [1, 2]),
    "where = Path.home() / 'x'": ("", "Path.home() / 'x'"),
    "pairs = n * (n - 1) // 2": ("", "n * (n - 1) // 2"),
    "nothing = None": ("", None),
    "n: int = 10 ** 10 ** 10": ("int", "10 ** 10 ** 10"),
    "x: float = 1 / 0": ("float", "1 / 0"),
    "%matplotlib inline\nn: int = 3": ("int", 3),
    "odd = {[1]: 2}": ("", "{[1]: 2}"),
}


@pytest.mark.parametrize("cell", DEFAULTS)
def test_ordinary_defaults_are_read(notebook, cell):
    book = notebook("import os\n" + cell)
    ((name, found),) = declared(book).items()
    assert (found.kind, found.default) == DEFAULTS[cell]
    assert all_parameters(book, {}) == {name: found.default}
    assert check_names(book, {}) == {}


def test_a_cell_that_is_no_python_and_a_file_that_is_no_notebook(notebook, tmp_path):
    with pytest.raises(ValueError, match="'parameters' is no Python in line 2"):
        declared(notebook("a = 1\nb = = 2"))
    for text in ("no JSON", "[1]", "{}", '{"nbformat": 4, "cells": 3}'):
        (tmp_path / "x.ipynb").write_text(text)
        with pytest.raises(ValueError, match="x.ipynb is no notebook"):
            check_names(tmp_path / "x.ipynb", {})


@pytest.mark.parametrize(
    "odd",
    [{"metadata": {"tags": 5}}, {"metadata": {"tags": [5]}}, {"metadata": None}, {"source": None},
     {"source": 5}, {"cell_type": "other"}, {"cell_type": None}],
    ids=str,
)  # fmt: skip
def test_a_cell_that_is_no_cell_is_a_sentence(notebook, tmp_path, odd):
    """What is None is not there at all."""
    book = json.loads(notebook().read_text())
    cell = book["cells"][0] | odd
    book["cells"][0] = {name: value for name, value in cell.items() if value is not None}
    (tmp_path / "x.ipynb").write_text(json.dumps(book))
    with pytest.raises(ValueError, match="x.ipynb is no notebook") as caught:
        check_names(tmp_path / "x.ipynb", {})
    assert "\n" not in str(caught.value)


def test_a_cell_with_more_or_without_outputs_is_a_cell(notebook, tmp_path):
    book = json.loads(notebook().read_text())
    book["cells"][0] |= {"collapsed": True}
    del book["cells"][0]["outputs"], book["cells"][0]["execution_count"]
    (tmp_path / "x.ipynb").write_text(json.dumps(book))
    assert list(declared(tmp_path / "x.ipynb")) == ["seed", "maps", "z", "folder"]


def test_a_default_that_json_cannot_hold_is_recorded_as_text(notebook, executed, tmp_path):
    folder = runs.run(notebook(), root=tmp_path / "runs")
    assert json.loads((folder / RECORD).read_text())["parameters"]["z"] == "nan"
    runs.run(notebook(), root=tmp_path / "runs")
    assert len(executed) == 1
