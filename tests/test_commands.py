"""The command line as a reader meets it: help, examples, versions, parameters of notebooks, lists of runs."""

import os
import re
import shlex
import subprocess
import sys
import textwrap

import nbformat
import pytest

from lensnb import __version__
from lensnb.__main__ import _options, _parser, main
from lensnb.commands import app
from lensnb.files import write_json
from lensnb.runs.listing import WIDTH

NAMES = [
    "doctor", "compare", "covariance", "app", "share", "run", "runs", "sweep", "cascade", "draw", "convert", "simulate",
    "cut", "sample",
]  # fmt: skip


def said(capsys, *words) -> str:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_version_and_a_line_without_a_command(capsys):
    assert said(capsys, "--version") == f"lensnb {__version__}\n"
    assert main([]) == 0
    assert capsys.readouterr().out == _parser().format_help()


def test_the_list_names_every_command(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    main([])
    listed = re.findall(r"^    (\w+)\b", capsys.readouterr().out, re.M)
    assert [name for name in listed if name != "COMMAND"] == NAMES


def examples(text: str) -> list[str]:
    """The lines of the examples in a help text, without the words beside them."""
    lines = text.partition("examples:\n")[2].splitlines()
    lines = [line.strip() for line in lines if line.startswith("  lensnb ")]
    return [re.split(r"\s{2,}", line)[0] for line in lines]


@pytest.mark.parametrize("name", [None, *NAMES])
def test_every_help_has_examples_that_the_parser_takes(capsys, name):
    text = said(capsys, *([] if name is None else [name]), "--help")
    found = examples(text)
    assert len(found) >= 2
    for line in found:
        words = shlex.split(line)
        assert words[0] == "lensnb" and name in (None, words[1])
        assert callable(_options(words[1:]).command)


def test_an_example_with_a_wrong_option_would_be_found(capsys):
    with pytest.raises(SystemExit):
        _options(["draw", "flow", "3", "a.npy", "--nothing"])
    assert "--nothing" in capsys.readouterr().err


def test_the_app_stays_on_this_machine_behind_a_token(monkeypatch):
    asked = []
    monkeypatch.setattr(app, "start", lambda folder, more: asked.append((folder, more)))
    assert main(["app", "--port", "8000", "--no-browser"]) == 0
    ((folder, more),) = asked
    assert more == ["--Voila.auto_token=True", "--port=8000", "--no-browser"]
    assert {path.stem for path in folder.glob("*.ipynb")} == {"quiz", "explorer", "compare"}


# -------------------- the parameters of a notebook

CELL = """\
%matplotlib inline
steps: int = 1000  # optimiser steps of the flow, which is a sentence so long that it goes on in a second line
name: str = "a # b"  # what
rate = 3 * 1e-4
where = Path("x")
a_name_of_a_parameter_that_is_very_long: float | None = None  # why
"""


def test_a_reader_may_have_seen_enough(tmp_path):
    """As in lensnb runs | head, whose pipe ends before the table does."""
    command = [sys.executable, "-m", "lensnb", "runs", str(tmp_path)]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_run_lists_parameters_with_types_and_comments(tmp_path, capsys):
    code = nbformat.v4.new_code_cell(CELL, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[code]), tmp_path / "toy.ipynb")
    assert main(["run", str(tmp_path / "toy.ipynb"), "--list", "--root", str(tmp_path / "r")]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.endswith("toy.ipynb takes these parameters (-p NAME VALUE):")
    assert textwrap.dedent("\n".join(lines)).strip().splitlines() == [
        "steps: int = 1000                   optimiser steps of the flow, which is a sentence so long that",
        "                                    it goes on in a second line",
        "name: str = 'a # b'                 what",
        "rate: float = 0.00030000000000000003",
        "where = Path('x')",
        "a_name_of_a_parameter_that_is_very_long: float | None = None",
        "                                    why",
    ]
    assert max(map(len, lines)) <= WIDTH and not (tmp_path / "r").exists()
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "none.ipynb")
    assert main(["run", str(tmp_path / "none.ipynb"), "--list"]) == 0
    assert "so it takes none" in capsys.readouterr().out


# -------------------- a list of runs


def headline():
    names = ("C_ℓ mean", "C_ℓ scatter", "C_ℓ slope", "slope of all bins", "contour area", "classifier on statistics")  # fmt: skip
    number = {"value": 123.456, "error": 12.0, "answer": "off"}
    sets = {name: number for name in ("null (true maps)", "s" * 60)}
    return [{"name": name, "inverse": False, "sets": sets} for name in names]


def test_no_line_of_a_list_of_runs_is_longer_than_a_terminal(tmp_path, capsys):
    folder = tmp_path / ("a" * 80) / ("b" * 70)
    folder.mkdir(parents=True)
    error = "toy.ipynb failed in cell 3: " + "no " * 60 + "x" * 150
    write_json(folder / "run.json", {"status": "failed", "seconds": 5.0, "error": error})
    write_json(folder / "results.json", {"comparison": {"headline": headline()}})
    assert main(["runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[1].startswith("…") and lines[1].endswith("b  failed, 5 s")
    assert any(line.count(" 123 ± 12*") == 6 for line in lines)
    assert "x" * 150 in "".join(line.strip() for line in lines)


def test_a_run_under_way_says_how_far_it_is(tmp_path, capsys):
    folder = tmp_path / "mine"
    (folder / "flow").mkdir(parents=True)
    record = {
        "notebook": "x/toy.ipynb",
        "status": "running",
        "started": "2026-01-01T00:00:00+00:00",
    }
    write_json(folder / "run.json", record)
    states = ("completed", "completed", "running", "pending")
    code = [nbformat.v4.new_code_cell("0", metadata={"papermill": {"status": s}}) for s in states]
    nbformat.write(nbformat.v4.new_notebook(cells=code), folder / "toy.ipynb")
    (folder / "flow" / "history.jsonl").write_text('{"step": 50}\n{"step": 100}\n{"step": 1')
    assert main(["runs", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "mine running 2 of 4 cells done, flow at step 100, started" in text
    assert re.search(
        r"started \d+ days ago, last wrote something (\d+ s|\d+ minutes?|just now)", text
    )
    (folder / "flow" / "history.jsonl").write_text('{"step": 200, "stopped": "finished"}\n')
    (folder / "toy.ipynb").write_text("no notebook")
    assert main(["runs", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "mine running started" in text and "flow" not in text


def test_the_table_can_go_to_the_screen(tmp_path, capsys):
    pytest.importorskip("pandas", reason="no pandas: pip install 'lensnb[lab]'")
    write_json(tmp_path / "one" / "run.json", {"status": "done", "parameters": {"seed": 7}})
    assert main(["runs", str(tmp_path), "--csv", "-", "--columns", "run", "seed"]) == 0
    assert capsys.readouterr().out == "run,seed\none,7\n"
