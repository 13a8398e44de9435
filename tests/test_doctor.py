"""What ``lensnb doctor`` says of this machine, and of one where something is missing."""

import math

import pytest

from lensnb import doctor
from lensnb.__main__ import main

pytest.importorskip("papermill", reason="no papermill: pip install 'lensnb[lab]'")


@pytest.fixture
def quick(monkeypatch):
    """Without training: a step of a flow takes half a second, one of a diffusion model a second."""
    seconds = {"flow": 0.5, "diffusion": 1.0}

    def seconds_a_step(model, kappa, device) -> float:
        assert not model.given, "the maps of the sample have no conditions to train with"
        return seconds.get(model.family, 1.0)

    monkeypatch.setattr(doctor, "_seconds_a_step", seconds_a_step)


def findings() -> dict[str, doctor._Finding]:
    return {one.about: one for one in doctor._examine("cpu")}


def test_it_names_versions_device_data_and_every_notebook(quick):
    found = findings()
    assert all(one.good is not False for one in found.values())
    assert "trains in" in found["device"].found and found["device"].found.startswith("cpu (")
    assert found["sample"].found.startswith("1,024 train, 1,024 truth, 1,024 null")
    assert found["flow trains"].found == "64 maps a second at 64²"
    assert {
        "extra lab",
        "extra sims",
        "trained flow",
        "trained diffusion",
        "JupyterLab",
        "Chromium",
    } <= set(found)
    told = {about: one.found for about, one in found.items() if about[:2].isdigit()}
    assert len(told) == len(list(doctor.NOTEBOOKS.glob("[0-9]*.ipynb")))
    assert told["00_quickstart"].startswith(
        "trains for about 12 min here; in all "
    )  # 500 × 0.5 s + 500 × 1 s
    assert told["01_explore_kappa_maps"].startswith(
        "trains nothing; in all about 15 seconds on two cores"
    )
    assert told["07_why_covariance_is_lost"].startswith(
        "trains for about 13 min here"
    )  # two trainings of 400 steps
    assert told["09_how_many_simulations"].startswith(
        "trains for about 3 min here"
    )  # 100 × 0.5 s + 150 × 1 s: 32² pixels
    assert told["10_which_generator"].startswith("trains for about 10 min here")  # 2 × 300 × 1 s
    assert told["11_large_maps"].startswith("trains the levels of a cascade; in all three to five")


def test_what_is_missing_is_said_with_its_cure(quick, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_installed", lambda package: package != "healpy")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    found = findings()
    assert found["extra formats"] == (
        None,
        "extra formats",
        "without healpy: pip install 'lensnb[formats]'",
    )
    assert (
        found["Chromium"].good is None
        and "only the browser tests want it" in found["Chromium"].found
    )
    assert main(["doctor", "--device", "cpu"]) == 0  # optional things only

    def broken(name):
        raise ValueError(f"{name} is corrupt")

    monkeypatch.setattr(doctor.models, "load", broken)
    assert main(["doctor", "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert (
        "✗ trained flow" in out
        and "flow is corrupt; install lensnb again" in out
        and "something is missing" in out
    )


def test_a_device_that_is_not_there_is_one_sentence(capsys):
    assert main(["doctor", "--device", "cuda:9"]) == 1
    assert "the device 'cuda:9' is not there" in capsys.readouterr().err


def test_a_step_is_timed():
    import torch

    from lensnb.maps import GaussianField, MapGrid
    from lensnb.models import Flow
    from lensnb.transform import KappaTransform

    field = GaussianField.from_power(MapGrid(16, 5.0), lambda ell: 1e-9 * (ell / 500) ** -2.0)
    maps = field.sample(32, torch.Generator().manual_seed(0)).float()
    flow = Flow(16, KappaTransform.fit(maps, logarithm=False), steps=2, hidden=8)
    assert 0 < doctor._seconds_a_step(flow, maps, torch.device("cpu")) < math.inf
