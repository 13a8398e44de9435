"""The experiments on covariance, and the making of the trained models: at a size that takes seconds."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lensnb import models
from lensnb.compare import Estimate
from lensnb.data import MapSet
from lensnb.maps import GaussianField, LognormalField, MapGrid

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
GRID = MapGrid(16, 5.0)
FIRST = {"train": 0, "truth": 100, "null": 200}


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def small_sample(which: str) -> MapSet:
    """Lognormal maps of 16² pixels from 12 "simulations"."""
    variance = GaussianField.from_power(
        GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).variance
    maps = LognormalField.from_correlation(variance, 0.03).sample(
        48, torch.Generator().manual_seed(FIRST[which])
    )
    return MapSet(maps.numpy(), GRID.side_deg, 1.0, FIRST[which] + np.repeat(np.arange(12), 4))


@pytest.fixture
def covariance(monkeypatch):
    module = script("covariance")
    monkeypatch.setattr(module, "load_sample", small_sample)
    return module


def test_every_row_changes_something(covariance):
    rows = covariance.rows()
    assert len(rows) > 30
    for name, row in rows.items():
        assert name.startswith(row.family)
        if name != row.family:
            assert row.__class__(row.family, row.text) != row, (
                f"{name} is the same as {row.family}"
            )
        assert not row.trained or row.trained in rows


def test_the_model_of_every_row_has_a_loss(covariance):
    """An argument that has changed its meaning would be found only after hours."""
    train = small_sample("train")
    for name, row in covariance.rows().items():
        if not row.trained:
            loss = covariance.build(row, train).loss(train.tensor()[:2])
            assert torch.isfinite(loss), name


def test_only_so_many_maps(covariance):
    row = covariance.rows()["flow"]
    assert [len(maps) for maps in covariance.sets(row, None)] == [48, 48, 48]
    assert [len(maps) for maps in covariance.sets(covariance.replace(row, maps=10), None)] == [
        10,
        48,
        48,
    ]


def test_larger_maps_are_cut_from_the_boxes_of_the_sample(covariance, monkeypatch):
    """Each set from its own boxes, with as many maps a box as the sample has."""
    large, asked = covariance.rows()["flow, 256 pixels"], []
    monkeypatch.setattr(
        covariance,
        "kappa_maps",
        lambda boxes, folder, each, cone, n_pix: asked.append((boxes, each, n_pix)),
    )
    with pytest.raises(TypeError):  # there is nothing to take a part of
        covariance.sets(large, Path("planes"))
    assert asked == [(range(*boxes), 4, 256) for boxes in ((0, 32), (64, 96), (128, 160))]
    with pytest.raises(
        ValueError,
        match="maps of 256² are cut from the boxes of the sample: give their folder as --planes",
    ):
        covariance.sets(large, None)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name",
    [
        "flow, noise",
        "flow, blind",
        "flow, 100 maps",
        "diffusion",
        "diffusion, unconditional",
        "diffusion, heun 8",
    ],
)
def test_a_row_is_run_and_stands_in_the_table(covariance, name, tmp_path):
    row = covariance.replace(covariance.rows()[name], steps=2, trained="")
    result = covariance.run(name, row, tmp_path, 32)
    assert result == json.loads((tmp_path / name / "row.json").read_text())
    assert set(result["found"]) == set(covariance.SHOWN) == set(result["null"])
    report = (tmp_path / name / "report.txt").read_text()
    assert "effective maps" in report
    page = "\n".join(covariance.table({name: result}, {name: report} if row.frontier else {}))
    assert ("copies" in page) == row.frontier == ("## The frontier" in page)
    assert f"| {name} | {row.text} | 64 |" in page and "| null |" in page


def made_result(covariance, name: str, value: float) -> dict:
    """A result as ``run`` writes it, with made-up numbers."""
    return {
        "row": {"text": covariance.rows()[name].text},
        "images": 64,
        "parameters": 1000,
        "found": {key: [value, 0.01, "*"] for key in covariance.SHOWN},
        "null": {key: [1.0, 0.02, "="] for key in covariance.SHOWN},
    }


def test_numbers_stand_with_their_answers(covariance):
    page = "\n".join(covariance.table({"flow": made_result(covariance, "flow", 0.9)}, {}))
    (null,) = (line for line in page.splitlines() if line.startswith("| null |"))
    (line,) = (line for line in page.splitlines() if line.startswith("| flow |"))
    assert line.count("0.900 ± 0.010 *") == null.count("1.000 ± 0.020 =") == len(covariance.SHOWN)
    assert "= as the simulations" in " ".join(page.split())
    assert covariance.text_of(None, None, " ") == "–"
    assert covariance.text_of(1.0, 0.1, " ") == "1.000 ± 0.100"


def test_rows_of_an_earlier_page_stay(covariance):
    """A page made of no results but an earlier page is that page; a new result takes the place of the old line."""
    names = ("flow", "flow, 100 maps", "diffusion")
    found = {name: made_result(covariance, name, 0.9) for name in names}
    page = "\n".join(covariance.table(found, {"flow, 100 maps": "an old report"}))
    assert "\n".join(covariance.table({}, {}, page)) == page
    result = {"flow, 100 maps": made_result(covariance, "flow, 100 maps", 0.7)}
    changed = "\n".join(covariance.table(result, {"flow, 100 maps": "a new report"}, page))
    lost, gained = (
        set(a.splitlines()) - set(b.splitlines()) for a, b in ((page, changed), (changed, page))
    )
    assert {line.split(" | ")[0] for line in lost} == {"| flow, 100 maps", "an old report"}
    assert {line.split(" | ")[0] for line in gained} == {"| flow, 100 maps", "a new report"}


def test_the_stored_page_is_what_the_script_writes(covariance):
    page = (BENCHMARKS.parent / "docs" / "covariance.md").read_text()
    if covariance.HEAD not in page:
        pytest.skip("the stored page has the numbers of an older report")
    assert "\n".join(covariance.table({}, {}, page)) + "\n" == page


def test_numbers_of_two_reports_never_stand_in_one_table(covariance, tmp_path):
    """A page and a result of an older report, which had the smallest eigenvalue."""
    old_page = covariance.HEAD.replace("narrowest direction", "smallest eigenvalue")
    with pytest.raises(ValueError, match="the page has the numbers of an older report"):
        list(covariance.table({}, {}, f"# A page\n\n{old_page}\n"))
    result, file = made_result(covariance, "flow", 0.9), tmp_path / "row.json"
    assert not covariance.is_current(file)
    file.write_text(json.dumps(result))
    assert covariance.is_current(file)
    result["found"]["smallest eigenvalue"] = result["found"].pop("narrowest direction")
    file.write_text(json.dumps(result))
    assert not covariance.is_current(file)


def test_a_target_is_met_missed_or_open():
    """By the 95 % interval, for each bin; a number that is not defined is open."""
    script_ = script("trained_models")
    value = np.array([1.0, 0.9, 0.95, np.nan])
    ratio = Estimate(value, error=np.array([0.02, 0.02, 0.02, 0.02]))
    met, missed, cannot_tell = script_.MET, script_.MISSED, script_.OPEN
    found = list(script_.outcomes(ratio, 0.95, 1.05))
    assert found == [met, missed, cannot_tell, cannot_tell]
    assert script_.together(found) == missed
    assert script_.together([met, cannot_tell]) == cannot_tell
    assert script_.together([met, met]) == met


@pytest.mark.nightly
def test_models_are_made_judged_and_shipped(monkeypatch, tmp_path, capsys):
    script_ = script("trained_models")
    monkeypatch.setattr(script_, "load_sample", small_sample)
    monkeypatch.setattr(script_, "TRAINED", tmp_path / "package")
    for family in ("flow", "diffusion"):
        script_.train(family, tmp_path, None, steps=2)
    script_.judge(tmp_path, None, n_maps=32, drawn=40)
    for name in ("flow", "refined-flow", "diffusion"):
        model = models.load(tmp_path / "package" / f"{name}.safetensors")
        assert model.n == 16
        card = (tmp_path / "package" / f"{name}.md").read_text()
        trained = {"refined-flow": "are kept"}.get(name, "2 steps of 32 maps")
        assert (
            "48 maps from 12 N-body boxes" in card
            and trained in card
            and "C_ℓ slope" in card
            and "Of 40 maps, 0 are not finite" in card
            and "| no exploded or NaN map in 40 | – | 0 | met |" in card
            and "| kurtosis of a map within 10% |" in card
            and "What is off, worst first:\n\n- " in card
            and "Where the maps are too few to tell:\n\n- " in card
            and "| no copies of training maps |" in card
        )
    shipped = models.load(tmp_path / "package" / "diffusion.safetensors")
    monkeypatch.setattr(script_.models, "load", lambda _: shipped)
    capsys.readouterr()
    script_.compare_calls(40)
    printed = capsys.readouterr().out
    assert "| | expected | null | 4 calls | 12 calls | 24 calls |" in printed
    assert "slope on what was given" in printed


@pytest.mark.nightly
def test_a_training_of_a_shipped_model_begins_with_the_weights_it_is_given(monkeypatch, tmp_path):
    script_ = script("trained_models")
    monkeypatch.setattr(script_, "load_sample", small_sample)
    start = tmp_path / "flow" / "model.safetensors"
    script_.train("flow", tmp_path, None, steps=2)
    script_.train("flow", tmp_path / "on", None, start, steps=1, lr=1e-9)
    on, off = (
        models.load(tmp_path / "on" / "flow" / "model.safetensors").state_dict(),
        models.load(start).state_dict(),
    )
    assert all(torch.allclose(on[name], off[name], atol=1e-7) for name in off)
    assert not all(torch.equal(on[name], off[name]) for name in off)
