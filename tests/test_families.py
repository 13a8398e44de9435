"""The comparison of families, at a size that takes seconds."""

import json

import numpy as np
import pandas
import pytest
from test_experiments import small_sample
from torch.nn.functional import avg_pool2d

from benchmarks import families
from lensnb import models
from lensnb.data import load_sample
from lensnb.models.recipes import RECIPES
from lensnb.store import MapWriter


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """The command on small maps, which keeps what it finds in a folder of the test."""
    train = small_sample("train")
    with MapWriter(tmp_path / "training.zarr", train.side_deg, 1.0) as writer:
        writer.append(train.maps, train.simulation)
    monkeypatch.setattr(families, "load_sample", small_sample)
    monkeypatch.setattr(families, "DRAWN", 24)
    tiny = ["--folder", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    tiny += ["--minutes", "0.001", "--batch", "4"]
    tiny += ["--rounds", "20", "--training", str(tmp_path / "training.zarr"), "--boxes", "12"]

    def run(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["families.py", *tiny, *words])
        families.main()
        return capsys.readouterr().out

    return run


def test_families_are_run_once_told_and_shipped(command, monkeypatch, tmp_path):
    out = command("run", "lognormal", "trenf")
    assert "lognormal: " in out and "trenf: " in out
    files = sorted((tmp_path / "results").glob("*.json"))
    assert [file.stem for file in files] == [
        f"{name}-12-boxes-0.001-minutes-0" for name in ("lognormal", "trenf")
    ]
    before = [file.stat().st_mtime_ns for file in files]
    command("run", "lognormal", "trenf")
    assert [file.stat().st_mtime_ns for file in files] == before
    found = json.loads(files[1].read_text())
    assert found["images"] > 0 and found["parameters"] > 100 and found["bits"] is not None
    text = command("table", "--output", str(tmp_path / "page.md"))
    assert (tmp_path / "page.md").read_text() in text
    assert "## 12 training boxes, 0.001 minutes on one core" in text
    assert text.count("| trenf | ") == 2 and "\nMeasured on " in text and "| null | " in text
    monkeypatch.setattr(models, "TRAINED", tmp_path)
    command("ship", "trenf")
    assert models.load(tmp_path / "trenf.safetensors").family == "trenf"
    card = (tmp_path / "trenf.md").read_text()
    assert "What is off, worst first:\n\n- " in card and "Of 24 maps, " in card


def test_the_training_maps_are_judged_beside_the_families(command, tmp_path):
    command("run", "own maps")
    found = json.loads((tmp_path / "results/own-maps-12-boxes-0.001-minutes-0.json").read_text())
    assert set(found["shrunk"]) == set(families.SHRUNK)
    assert found["shrunk"]["own maps, Ledoit–Wolf"]["value"] > 0
    text = command("table", "--csv", str(tmp_path / "numbers.csv"))
    numbers = pandas.read_csv(tmp_path / "numbers.csv").set_index("set")
    assert {"own maps", *families.SHRUNK} < set(numbers.index)
    assert numbers.loc["own maps", "C_ℓ slope"] == found["found"]["C_ℓ slope"]["value"]
    assert "| own maps | " in text and "| own maps, Ledoit–Wolf | " in text


def test_several_seeds_show_their_scatter(command, tmp_path):
    command("run", "trenf")
    command("run", "trenf", "--seed", "1")
    files = (tmp_path / "results").glob("*.json")
    values = [json.loads(file.read_text())["found"]["C_ℓ mean"]["value"] for file in files]
    assert values[0] != values[1]
    expected = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert f"| trenf | {expected} " in command("table")


@pytest.mark.parametrize("name", RECIPES)
def test_every_family_is_made(name):
    maps = avg_pool2d(load_sample("train").tensor()[:64, None], 2)[:, 0]
    model = RECIPES[name].build(maps)
    assert model.sample(2).shape == (2, 32, 32)


def test_a_family_that_does_not_exist(command, capsys):
    with pytest.raises(SystemExit):
        command("run", "cosmogan")
    assert "there is no family 'cosmogan'; there are own maps, gaussian" in capsys.readouterr().err


def test_more_boxes_than_the_set_has(command):
    with pytest.raises(ValueError, match="has maps of 12 boxes, which are not 13"):
        command("run", "gaussian", "--boxes", "13")
