"""The comparison of wide with small boxes runs on boxes of noise, and writes a whole page."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lensnb import theory
from lensnb.ensemble import Ensemble
from lensnb.sims import LightCone, boxes
from lensnb.sims.boxes import begin_boxes
from lensnb.sims.cone import SIZES

pytest.importorskip("pyccl")
ROOT = Path(__file__).parents[1]
SMALL = LightCone(plane_size=32)
WIDE = replace(LightCone(**SIZES["wide"]), plane_size=64)


@pytest.fixture(scope="module")
def fields(large):
    return sys.modules["benchmarks.large_fields"]


@pytest.fixture(scope="module")
def large():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        from benchmarks import large_boxes
    yield large_boxes
    theory.ccl_cosmology.cache_clear()


def noise(box: int, cone: LightCone) -> np.ndarray:
    """Planes of white noise; a region's are the same, a little stronger where it is dense."""
    rng = np.random.default_rng([box, cone.plane_size])
    shape = (cone.n_planes, 3, cone.plane_size, cone.plane_size)
    return ((0.3 + cone.delta_b) * rng.normal(size=shape)).astype(np.float16)


def test_a_page_from_boxes_of_noise(large, fields, tmp_path, monkeypatch):
    monkeypatch.setattr(boxes, "simulate_box", noise)
    spectrum = {name: large.suite_of_sample()[name] for name in ("power", "moments")}
    monkeypatch.setattr(large, "suite_of_sample", lambda: spectrum)
    monkeypatch.setattr(fields, "FEW_MAPS", 2)
    cones = {
        "small": SMALL,
        "wide": WIDE,
        "low": replace(SMALL, delta_b=-0.05),
        "high": replace(SMALL, delta_b=0.05),
        "fine": replace(LightCone(**SIZES["fine"]), plane_size=64),
    }
    for name, cone in cones.items():
        begin_boxes(tmp_path / name, cone)
    boxes.simulate_boxes(range(2), tmp_path / "fine", cones["fine"])
    folders = {name: str(tmp_path / name) for name in cones}
    words = [folders["small"], folders["wide"], "--boxes", "4", "--wide-boxes", "2"]
    words += ["--regions", folders["low"], folders["high"], "--region-boxes", "4-5"]
    words += ["--fine", folders["fine"], "--fine-boxes", "2"]
    output = tmp_path / "page.md"
    large.main([*words, "--output", str(output)])
    page = output.read_text(encoding="utf-8")
    assert "nan" not in page and "inf" not in page and "not measured" not in page
    assert "| small | 4 | 128³ | 212 | 212 | 11 | 0 |" in page
    assert "| wide | 2 | 256³ | 424 | 212 | 5.5 | 0 |" in page
    tables = re.findall(r"(?:^\|.*\|$\n?)+", page, re.M)
    lines = [table.count("\n") for table in tables]
    assert lines[:5] == [4, 11, 4, 11, 5] and lines[6] == 3 and min(lines[5], lines[7]) > 8
    assert "falls to half of theory" in page


def test_boxes_of_another_kind_are_refused(large):
    large.check_alike(LightCone(), LightCone(**SIZES["wide"]))
    for other in (SIZES["fine"], {"box_size": 424.0}, {"cosmology": theory.Cosmology(h=0.7)}):
        with pytest.raises(ValueError, match="must have the same cosmology, thickness of planes"):
            large.check_alike(LightCone(), LightCone(**other))


def test_planted_slope_and_scatter_are_found(large):
    """Half the correlations, twice the scatter; a copy has 1 for both, and its error is not 0."""
    one = np.array([[1.0, 0.6, 0.2], [0.6, 4.0, 0.8], [0.2, 0.8, 9.0]])
    half = 4 * (one + np.diag(np.diag(one))) / 2
    assert large.slope(half, one) == pytest.approx(0.5)
    assert large.scatter_ratio(half, one) == pytest.approx(2.0)
    rng = np.random.default_rng(0)
    vectors = rng.multivariate_normal(np.zeros(3), one, 320)
    ensemble = Ensemble(vectors, np.arange(320) // 8)
    found = large.jackknifed(large.scatter_ratio, ensemble, ensemble)
    assert found.value == pytest.approx(1) and 0.01 < found.error < 0.1


def test_halves_share_no_box(large):
    ensemble = Ensemble(np.random.default_rng(1).normal(size=(12, 2)), np.repeat([3, 5, 8], 4))
    first, second = large.halves(ensemble)
    assert first.simulations.tolist() == [3, 8] and second.simulations.tolist() == [5]


def test_where_a_number_reaches_its_limit(fields):
    ell = np.array([100.0, 200.0, 400.0])
    assert fields.reached(ell, np.array([0.1, 0.4, 0.6]), 0.5) == "at ℓ = 283"
    assert fields.reached(ell, np.array([0.6, 0.7, 0.8]), 0.5) == "below ℓ = 100"
    assert fields.reached(ell, np.array([0.1, 0.2, 0.3]), 0.5) == "above ℓ = 400"


def test_the_expected_responses_of_one_plane_are_all_the_same(large):
    """With one plane there is one distance, and nothing is lost by one response."""
    from benchmarks.large_responses import expected_responses

    cone = replace(LightCone(), n_planes=1)
    found = next(iter(expected_responses(cone, 5.0, 0.06, np.array([300.0]))))
    assert found.regression == pytest.approx(1) and found.lacking == pytest.approx(1)
    assert found.kept == pytest.approx(1)


def test_modes_that_a_box_lacks_respond_as_a_region_does(large):
    """For the sample: within 10 %, where those of the box differ by more than 15 %."""
    from benchmarks.large_responses import expected_responses

    for found in expected_responses(LightCone(), 5.0, 1.0, np.array([200.0, 1000.0])):
        assert found.lacking == pytest.approx(1, abs=0.1)
        assert found.regression > 1.15 and 0.7 < found.kept < 1
