"""What the command line says and returns: a sentence for what a user can mend, a report for a bug, any encoding."""

import io
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import nbformat
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from waiting import HANGS, wait_until

from lensnb.__main__ import main
from lensnb.commands import running
from lensnb.files import save_checkpoint
from lensnb.maps import GaussianField, MapGrid
from lensnb.maps.grid import check_side
from lensnb.models import Flow, load
from lensnb.runs.records import read_record
from lensnb.runs.study import read_study
from lensnb.theory import Cosmology
from lensnb.transform import KappaTransform

# -------------------- sentences and bugs


@pytest.mark.parametrize(
    "error, status, words",
    [
        (ValueError("a is b"), 70, "this is a bug of lensnb (ValueError)"),  # not the package's
        (MemoryError(), 1, "not enough memory"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "No such file"),
        (OSError(), 1, "lensnb: OSError\n"),
        (TypeError("unhashable"), 70, "this is a bug of lensnb (TypeError); please report"),
        (KeyError("config"), 70, "this is a bug of lensnb (KeyError)"),
        (AssertionError(), 70, "this is a bug of lensnb (AssertionError)"),
    ],
)
def test_errors_are_said_by_their_type(monkeypatch, capsys, tmp_path, error, status, words):
    def fail(options):
        raise error

    monkeypatch.setattr(running, "list_runs", fail)
    assert main(["runs", str(tmp_path)]) == status
    said = capsys.readouterr().err
    assert words in said and ("Traceback" in said) == (status == 70)


def in_another_process():
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        return executor.submit(check_side, -1.0).result()


@pytest.mark.parametrize(
    "command, words",
    [
        (lambda: check_side(-1.0), "lensnb: side_deg must be"),
        (in_another_process, "lensnb: side_deg must be"),
        (lambda: np.zeros(-1), "this is a bug of lensnb (ValueError)"),
        (lambda: torch.zeros(2) @ torch.zeros(3), "this is a bug of lensnb (RuntimeError)"),
    ],
    ids=["own", "own, in another process", "numpy", "torch"],
)
def test_only_own_errors_are_one_sentence(monkeypatch, capsys, tmp_path, command, words):
    monkeypatch.setattr(running, "list_runs", lambda options: command())
    status = main(["runs", str(tmp_path)])
    said = capsys.readouterr().err
    assert words in said
    assert (status == 70) == ("Traceback" in said) == ("bug" in words)


def test_a_command_that_is_terminated_leaves_no_parts(tmp_path):
    code = (
        "import sys, time\n"
        "from lensnb import __main__ as m\n"
        "from lensnb.commands import running\n"
        "from lensnb.files import atomic_write\n"
        "def slow(options):\n"
        "    with atomic_write(options.root / 'a') as file:\n"
        "        while True: time.sleep(0.05)\n"
        "running.list_runs = slow\n"
        "sys.exit(m.main(['runs', sys.argv[1]]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stderr=subprocess.PIPE)
    wait_until(lambda: list(tmp_path.glob("*.part")) or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=HANGS)[1].decode()
    assert process.returncode == 143 and "terminated" in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


# -------------------- runs that are no runs


def record(root, name, text, file="run.json"):
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / file).write_bytes(text if isinstance(text, bytes) else text.encode())


HOSTILE = {
    "a list": "[1, 2]",
    "a number": "3",
    "other types": '{"notebook": 5, "parameters": [1], "seconds": "long", "status": {}, "error": 1}',
    "no keys": "{}",
    "no UTF-8": b"\xff\xfe",
    "too deep": "[" * 100_000,
    "a number that no float can hold": '{"seconds": N, "parameters": {"seed": N}}'.replace(
        "N", "1" + "0" * 400
    ),
    "half a character": '{"notebook": "\\ud800", "parameters": {"a": "\\ud800"}}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_one_strange_record_hides_no_other_run(tmp_path, capsys, text):
    good = {"notebook": "toy.ipynb", "status": "done", "seconds": 2.0, "parameters": {"seed": 1}}
    record(tmp_path, "good", json.dumps(good))
    record(tmp_path, "bad", text)
    assert main(["runs", str(tmp_path), "--csv", str(tmp_path / "t.csv")]) == 0
    assert "good" in capsys.readouterr().out
    assert "toy.ipynb,done,2.0" in (tmp_path / "t.csv").read_text()


@pytest.mark.parametrize(
    "headline", ["3", "[3]", '[{"name": "a"}]', '[{"name": "a", "inverse": 0, "sets": {"b": 3}}]',
                 '[{"name": "a", "inverse": 0, "sets": {"b": {"value": "x", "error": 1}}}]',
                 '[{"name": "C_ℓ mean", "inverse": 0, "sets": {"b": {"value": 1, "error": 1, "answer": [1]}}}]',
                 '[{"name": "C_ℓ mean", "inverse": 0, "sets": {"b": {"value": 1' + "0" * 400 + ', "error": 1}}}]',
                 '[{"name": "a", "inverse": 1, "sets": {"b": {"value": 1e-200, "error": 1}}}]'],
)  # fmt: skip
def test_strange_results_hide_no_run(tmp_path, capsys, headline):
    record(tmp_path, "bad", '{"status": "done"}')
    record(tmp_path, "bad", f'{{"comparison": {{"headline": {headline}}}}}', "results.json")
    assert main(["runs", str(tmp_path), "--csv", str(tmp_path / "t.csv")]) == 0
    assert "bad" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["run.json", "results.json"])
def test_a_record_that_is_no_file_is_none(tmp_path, capsys, file):
    """A pipe would be read for ever, and a device without an end fills the memory."""
    for name in ("pipe", "device", "folder"):
        record(tmp_path, name, '{"status": "done"}')
        (tmp_path / name / file).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe" / file)
    (tmp_path / "device" / file).symlink_to("/dev/zero")
    (tmp_path / "folder" / file).mkdir()
    assert read_record(tmp_path / "device", file) == {}
    assert main(["runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("pipe", "device", "folder"))


def test_a_folder_that_is_not_there_is_an_error(tmp_path, capsys):
    assert main(["runs", str(tmp_path / "none")]) == 1
    assert "none is no folder; expected one with run folders" in capsys.readouterr().err
    assert main(["runs", str(tmp_path)]) == 0
    assert read_record(tmp_path) == {}


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_any_encoding_of_the_output_will_do(tmp_path, monkeypatch, encoding):
    rows = [{"name": "C_ℓ mean", "inverse": False, "sets": {"κ": {"value": 1.0, "error": 0.1}}}]
    record(tmp_path, "Δ", json.dumps({"status": "done"}))
    record(tmp_path, "Δ", json.dumps({"comparison": {"headline": rows}}), "results.json")
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, encoding, write_through=True))
    assert main(["runs", str(tmp_path)]) == 0
    assert b"1.00" in said.getvalue()


# -------------------- studies


@pytest.mark.parametrize(
    "text, words",
    [
        ("1: 2\nx: 3\n", "found 1, 'x'; expected the keys"),
        ("notebook: 5\n", "notebook must be a path, found 5"),
        ("notebook: toy.ipynb\nruns: [5]\n", "runs must list parameters by name, found 5"),
        ("notebook: toy.ipynb\nruns: [{1: 2}]\n", "has no parameter 1"),
        ("notebook: toy.ipynb\nresources: [1]\n", "resources must be a mapping"),
        ("notebook: toy.ipynb\nruns: [{seed: .inf}]\n", "seed = inf is not of the type int"),
    ],
)
def test_a_strange_study_is_a_sentence(tmp_path, text, words):
    pytest.importorskip("yaml")
    code = nbformat.v4.new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[code]), tmp_path / "toy.ipynb")
    (tmp_path / "study.yml").write_text(text)
    with pytest.raises(ValueError) as caught:
        read_study(tmp_path / "study.yml")
    assert words in str(caught.value)


# -------------------- models and what is asked of them


@pytest.fixture
def checkpoint(tmp_path):
    field = GaussianField.from_power(MapGrid(16, 5.0), lambda ell: 1e-8 / (1 + ell / 300))
    maps = field.sample(16, torch.Generator().manual_seed(0))
    return save_checkpoint(tmp_path / "model.safetensors", Flow(16, KappaTransform.fit(maps)))


def rewritten(path, change):
    """The checkpoint with its tensors and header changed in place."""
    tensors = load_file(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(json.loads(file.read(length))["__metadata__"]["lensnb"])
    header = change(tensors, header) or header
    save_file(tensors, path, {"lensnb": json.dumps(header)})
    return path


def with_nan(tensors, header):
    next(iter(tensors.values())).view(-1)[0] = float("nan")


def with_an_infinite_weight(tensors, header):
    name = next(name for name in tensors if not name.startswith("transform"))
    tensors[name].view(-1)[0] = float("inf")


def with_a_tensor_less(tensors, header):
    tensors.pop(next(iter(tensors)))


def of_another_shape(tensors, header):
    name = next(iter(tensors))
    tensors[name] = torch.zeros(3, 2, 7)


def without_config(tensors, header):
    del header["config"]


def with_odd_config(tensors, header):
    header["config"] = {"colour": 3}


def with_a_list(tensors, header):
    return [1]


BROKEN = {
    with_nan: "has NaN or infinity in",
    with_an_infinite_weight: "has NaN or infinity in",
    with_a_tensor_less: "has weights of another model than its settings say: 1 tensors",
    of_another_shape: "has weights of another model",
    without_config: "does not say the settings of its model",
    with_odd_config: "has settings of which no flow can be made",
    with_a_list: "its header is no mapping",
}


@pytest.mark.parametrize("change", BROKEN, ids=[change.__name__ for change in BROKEN])
def test_a_broken_checkpoint_is_a_sentence(checkpoint, change):
    load(checkpoint)
    with pytest.raises(ValueError, match=BROKEN[change]):
        load(rewritten(checkpoint, change))


def test_nobody_is_told_to_delete_what_is_no_checkpoint(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("my only copy")
    assert main(["draw", str(tmp_path / "thesis.tex"), "3", str(tmp_path / "m.npy")]) == 1
    said = capsys.readouterr().err
    assert "is corrupt or no checkpoint of lensnb" in said and "delete it" not in said


@pytest.mark.parametrize("temperature", ["1e30", "-1", "nan", "inf"])
def test_a_temperature_of_nothing_is_refused(checkpoint, tmp_path, capsys, temperature):
    words = ["draw", str(checkpoint), "3", str(tmp_path / "m.npy"), f"--temperature={temperature}"]
    assert main(words) == 1
    assert "temperature must be between 0 and 10" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_what_is_drawn_already_is_not_said_to_be_written(checkpoint, tmp_path, capsys):
    words = ["draw", str(checkpoint), "3", str(tmp_path / "m.npy"), "--device", "cpu"]
    assert main(words) == 0 and "wrote" in capsys.readouterr().out
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "is done already" in said and "wrote" not in said


@pytest.mark.parametrize(
    "values",
    [{"sigma8": -1.0}, {"sigma8": float("nan")}, {"omega_m": 0.04}, {"omega_m": 1.2}, {"h": 0.0}],
)
def test_a_universe_that_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match="must be"):
        Cosmology(**values)


def test_the_command_refuses_it_before_it_makes_a_folder(tmp_path, capsys):
    assert main(["simulate", "0", "1", str(tmp_path / "planes"), "--sigma8=-1"]) == 1
    assert "sigma8 must be positive and finite, found -1.0" in capsys.readouterr().err
    assert not (tmp_path / "planes").exists()
