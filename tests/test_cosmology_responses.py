"""Responses to the cosmology, on planes for which they are known."""

from dataclasses import replace

import numpy as np
import pytest

from lensnb.compare.cosmology_responses import (
    STEPS,
    Responses,
    box_responses,
    make_responses,
    sample_responses,
)
from lensnb.compare.sample_vectors import load_vectors
from lensnb.data import load_sample
from lensnb.files import write_json
from lensnb.sims import LightCone
from lensnb.sims.boxes import begin_boxes, plane_file
from lensnb.stats import Statistic, map_mean, suite
from lensnb.theory import Cosmology

pytest.importorskip("pyccl")
from lensnb.sims.born import born_weights, kappa_maps  # noqa: E402

BOXES = [5, 6, 7]
PLANE = 5  # the only one with structure
CONE = LightCone(box_size=215.0, plane_size=64)  # reaches z = 1 for a small Ω_m, too


def variance(maps):
    """The mean square of each map and its square, two numbers a map."""
    square = maps.double().square().mean((-2, -1))
    return square.new_tensor(np.stack([square, 2 * square], -1))


STATISTICS = {"variance": Statistic("variance", variance, np.arange(2.0), "bin", "κ²")}


def folder_of(path, cosmology, strength=1.0, boxes=BOXES):
    """Planes of white noise, times a strength; the same noise in each folder."""
    cone = replace(CONE, cosmology=cosmology)
    write_json(path / "cone.json", cone.as_dict())
    for box in boxes:
        planes = np.zeros((11, 3, 64, 64), np.float16)
        noise = np.random.default_rng(box).normal(size=(3, 64, 64)).astype(np.float16)
        planes[PLANE] = np.float16(strength) * noise * np.float16(16)
        np.save(plane_file(path, box), planes)
    return path


@pytest.fixture
def folders(tmp_path):
    """κ is proportional to σ₈ in two of them; only the geometry knows Ω_m in the others."""
    return {
        "omega_m": (
            folder_of(tmp_path / "a", Cosmology(omega_m=0.28)),
            folder_of(tmp_path / "b", Cosmology(omega_m=0.30)),
        ),
        "sigma8": (
            folder_of(tmp_path / "c", Cosmology(sigma8=0.5), 0.5),
            folder_of(tmp_path / "d", Cosmology(sigma8=1.0), 1.0),
        ),
    }


def test_responses_are_those_of_the_planes(folders):
    """⟨κ²⟩ grows as σ₈², and as the square of the plane's weight for Ω_m.

    The cuts are the same, so the ratios hold for each box, and so does the error.
    """
    found = box_responses(folders, BOXES, STATISTICS)
    assert found.parameters == ("omega_m", "sigma8")
    assert found.values["variance"].shape == found.errors["variance"].shape == (2, 2)
    maps = kappa_maps(BOXES, folders["sigma8"][1], 32, CONE)
    square = np.square(maps.maps, dtype=np.float64).mean((1, 2)).reshape(3, 32).mean(1)
    weights = {}
    for omega_m in (0.28, 0.2905, 0.30):
        cone = replace(CONE, cosmology=Cosmology(omega_m=omega_m))
        weights[omega_m] = born_weights(cone, 1.0)[PLANE]
    slopes = [
        (weights[0.30] ** 2 - weights[0.28] ** 2) / weights[0.2905] ** 2 / 0.02,
        (1 - 0.5**2) / 0.5,
    ]
    expected = np.outer([1, 2], slopes) * square.mean()
    np.testing.assert_allclose(found.values["variance"], expected, rtol=2e-3)
    error = np.outer([1, 2], slopes) * square.std(ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(found.errors["variance"], error, rtol=0.02)


def test_the_response_to_a_background_is_known_for_smooth_boxes(tmp_path):
    """Boxes without structure: κ is Σ w δ_b, and nothing scatters."""
    cones = [replace(CONE, delta_b=delta) for delta in (-0.05, 0.05)]
    folders = []
    for name, cone in zip("ab", cones):
        folder = folder_of(tmp_path / name, cone.cosmology, 0.0)
        (folder / "cone.json").unlink()
        begin_boxes(folder, cone)
        folders.append(folder)
    mean = {"mean": Statistic("mean", map_mean, np.zeros(1), "map", "κ")}
    found = box_responses({"delta_b": tuple(folders)}, BOXES, mean)
    low, high = (born_weights(cone, 1.0) @ cone.overdensities for cone in cones)
    assert found.values["mean"][0, 0] == pytest.approx((high - low) / 0.1, rel=1e-3)  # float16
    assert found.errors["mean"][0, 0] == 0 and found.symbols == ("δ_b",)
    with pytest.raises(ValueError, match="the two cones of 'delta_b' must differ in it alone"):
        box_responses({"delta_b": (folders[1], folders[0])}, BOXES, mean)


def test_responses_come_back_from_their_file(folders, tmp_path):
    found = box_responses(folders, BOXES, STATISTICS)
    again = Responses.load(found.save(tmp_path / "responses.json"))
    assert again.parameters == found.parameters and again.about == found.about
    assert np.array_equal(again.values["variance"], found.values["variance"])
    assert np.array_equal(again.errors["variance"], found.errors["variance"])


def test_folders_that_do_not_fit_are_refused(folders, tmp_path):
    low, high = folders["sigma8"]
    with pytest.raises(ValueError, match="must differ in it alone, the lower value first"):
        box_responses({"sigma8": (high, low)}, BOXES, STATISTICS)
    with pytest.raises(ValueError, match="the two cones of 'omega_m' must differ in it alone"):
        box_responses({"omega_m": (low, high)}, BOXES, STATISTICS)
    with pytest.raises(ValueError, match="no parameter 'w0'; expected one of omega_m, sigma8"):
        box_responses({"w0": (low, high)}, BOXES, STATISTICS)
    with pytest.raises(FileNotFoundError, match="cone.json is missing: run simulate_boxes"):
        box_responses({"sigma8": (low, tmp_path / "none")}, BOXES, STATISTICS)
    with pytest.raises(ValueError, match="errors need at least two boxes, found 1"):
        box_responses(folders, [5], STATISTICS)


def test_the_responses_of_a_sample_are_made_by_one_call(tmp_path):
    """Two values of each parameter, in a folder each, of boxes that no set of maps has."""
    middle = CONE.cosmology
    for parameter, step in STEPS.items():
        for side, sign in (("low", -1), ("high", 1)):
            value = round(getattr(middle, parameter) + sign * step, 6)
            cosmology = replace(middle, **{parameter: value})
            strength = cosmology.sigma8 / middle.sigma8
            folder_of(tmp_path / f"{parameter}_{side}", cosmology, strength, [32, 33])
    path = make_responses(tmp_path, tmp_path / "out", STATISTICS, 2, CONE)
    found = sample_responses(STATISTICS, tmp_path / "out")
    assert path.exists() and found.parameters == ("omega_m", "sigma8")
    assert found.about["boxes"] == [32, 33]
    maps = kappa_maps([32, 33], tmp_path / "sigma8_high", 32, CONE)
    high = np.square(maps.maps, dtype=np.float64).mean()
    strengths = [np.float16((middle.sigma8 + step) / middle.sigma8) for step in (-0.03, 0.03)]
    squares = np.square(strengths, dtype=np.float64)
    expected = high / squares[1] * (squares[1] - squares[0]) / 0.06
    assert found.values["variance"][0, 1] == pytest.approx(expected, rel=2e-3)

    other = Statistic("variance", variance, np.array([0.0, 2.0]), "bin", "κ²")
    assert sample_responses({"variance": other}, tmp_path / "out") is None
    assert sample_responses(STATISTICS | {"peaks": other}, tmp_path / "out") is None
    assert sample_responses(STATISTICS, tmp_path) is None


def test_the_shipped_responses_are_those_of_the_default_statistics():
    """κ grows with Ω_m and σ₈, roughly as in linear theory: C_ℓ ∝ σ₈² or a little more."""
    truth = load_sample("truth")
    found = sample_responses(suite(truth.tensor(), truth.side_deg))
    assert found.parameters == ("omega_m", "sigma8") and found.symbols == ("Ω_m", "σ₈")
    assert found.about["boxes"] == list(range(32, 64))  # reserved: in no set of maps
    mean = load_vectors("truth")["power"].vectors.mean(0)
    slope = found.values["power"][:, 1] * Cosmology().sigma8 / mean  # d ln C_ℓ / d ln σ₈
    assert slope.min() > 1.8 and slope.max() < 3
    error = found.errors["power"] / found.values["power"]
    assert error.max() < 0.05
