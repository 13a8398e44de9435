"""A survey's noise, mask and smoothing: the same for all sets, and said in the report.

Statistical tests use fixed seeds and state how often correct code would fail with another seed.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch

from lensnb.compare import NULL, ShapeNoise, compare, comparison, sample_vectors
from lensnb.compare.answers import OFF
from lensnb.compare.sets import TRUTH
from lensnb.compare.survey import Survey
from lensnb.compare.vector_making import make_vectors
from lensnb.data import MapSet, load_sample
from lensnb.maps import GaussianField, LognormalField, MapGrid, smooth
from lensnb.stats import suite

GRID = MapGrid(16, 5.0)
NOISE = ShapeNoise(30.0, sigma_e=0.4)
HALF = torch.ones(16, 16, dtype=torch.bool)
HALF[3:7, 9:13] = False


def map_set(seed: int, simulations: range) -> MapSet:
    """Lognormal κ-maps, 12 of each simulation."""
    variance = GaussianField.from_power(
        GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).variance
    field = LognormalField.from_correlation(variance, 0.03)
    maps = field.sample(12 * len(simulations), torch.Generator().manual_seed(seed))
    return MapSet(maps, 5.0, 1.0, np.repeat(simulations, 12))


TRUE, NULL_SET = map_set(1, range(16)), map_set(2, range(16, 32))
TRAIN, OTHER = map_set(3, range(32, 48)), map_set(4, range(48, 64)).tensor()
BASIC = ["power", "pdf"]


def basic(truth: MapSet = TRUE) -> dict:
    return suite(truth.tensor(), truth.side_deg, BASIC)


# ---------------------------------------------------------------- what is done to maps


def test_the_noise_has_the_level_of_the_formula():
    """512,000 pixels know a scatter to 0.1 %; 4 standard deviations fail with probability 6e-5."""
    blank = MapSet(np.zeros((2000, 16, 16), np.float32), 5.0)
    noise = Survey.of(blank, noise=NOISE).observe(blank.tensor(), "a")
    pixel = (5.0 * 60 / 16) ** 2  # arcmin²
    expected = 0.4 / math.sqrt(2 * 30 * pixel)
    assert abs(float(noise.std()) / expected - 1) < 4 / math.sqrt(2 * noise.numel())


def test_each_channel_has_its_own_galaxies():
    """Fails by chance with probability 1.2e-4: two scatters within 4 standard deviations."""
    blank = MapSet(np.zeros((1000, 2, 16, 16), np.float32), 5.0, (0.5, 1.0))
    noise = Survey.of(blank, noise=ShapeNoise((5, 20))).observe(blank.tensor(), "a")
    for channel, density in zip(noise.unbind(1), (5, 20)):
        expected = 0.4 / math.sqrt(2 * density * 18.75**2)
        assert abs(float(channel.std()) / expected - 1) < 4 / math.sqrt(2 * channel.numel())
    assert abs(float(torch.corrcoef(noise.transpose(0, 1).flatten(1))[0, 1])) < 0.01
    with pytest.raises(ValueError, match="2 channels need one n_gal_arcmin2 or 2, found 3"):
        Survey.of(blank, noise=ShapeNoise((5, 10, 20)))


def test_nothing_behind_the_mask_enters():
    maps = TRUE.tensor()
    survey = Survey.of(TRUE, smooth=30.0, mask=HALF)
    found = survey.observe(maps, "a")
    assert not found[:, ~HALF].any()
    expected = smooth(torch.where(HALF, maps, 0), 30.0, 5.0)[:, HALF]
    torch.testing.assert_close(found[:, HALF], expected)
    hidden = torch.where(HALF, maps, 7.0)
    assert torch.equal(survey.observe(hidden, "a"), found)


def test_seed_and_name_decide_the_noise():
    maps = TRUE.tensor()
    first = Survey.of(TRUE, noise=NOISE, seed=1).observe(maps, "a")
    assert torch.equal(Survey.of(TRUE, noise=NOISE, seed=1).observe(maps, "a"), first)
    for seed, name in ((2, "a"), (1, "b")):
        other = Survey.of(TRUE, noise=NOISE, seed=seed).observe(maps, name)
        noises = torch.stack([(first - maps).flatten(), (other - maps).flatten()])
        # 49,152 pixels: |r| > 0.02 has a chance of 1e-5
        assert abs(float(torch.corrcoef(noises)[0, 1])) < 0.02


def test_the_maps_that_were_given_are_not_changed():
    before = OTHER.clone()
    Survey.of(TRUE, 2.0, NOISE, HALF).observe(OTHER, "a")
    assert torch.equal(OTHER, before)


# ---------------------------------------------------------------- the report


@pytest.fixture(scope="module")
def report():
    """True maps of other simulations, the same smoothed, and copies of training maps."""
    generated = {
        "true maps": OTHER,
        "faint": 0.5 * OTHER,
        "copies": TRAIN.tensor().flip(1),
        "of the truth": TRUE.tensor().flip(2),
    }
    return compare(
        TRUE, NULL_SET, generated, TRAIN, rounds=60, smooth=10.0, noise=NOISE, mask=HALF
    )


def answers(report, name: str) -> dict[str, str]:
    return {row.quantity.name: row.answers[name].kind for row in report.rows()}


def test_true_maps_are_not_off_and_a_fault_is(report):
    """A report of true maps has a row that is off in 5 % of cases at most, for each set."""
    assert OFF not in answers(report, NULL).values()
    assert OFF not in answers(report, "true maps").values()
    assert answers(report, "faint")["C_ℓ mean"] == OFF


def test_all_sets_are_treated_alike(report):
    """The spectra of all true sets have that of the noise, in the same bins."""
    survey = Survey.of(TRUE, 10.0, NOISE, HALF)
    power = report.statistics["power"]
    sets = {TRUTH: TRUE, NULL: NULL_SET, "train": TRAIN, "true maps": OTHER}
    for name, maps in sets.items():
        maps = maps.tensor() if isinstance(maps, MapSet) else maps
        expected = power(survey.observe(maps, name))
        np.testing.assert_allclose(report.ensembles[name]["power"].vectors, expected, rtol=1e-5)


def test_copies_are_found_behind_the_noise(report):
    """They are searched in the maps as they were given."""
    copies = {row.quantity.name: row for row in report.rows()}
    for name, own in (
        ("copies", "copies of training maps"),
        ("of the truth", "copies of true maps"),
    ):
        assert copies[own].estimates[name].count == 192
        assert copies[own].estimates["true maps"].count == 0


def test_the_report_says_what_was_done(report):
    said = "\n".join(report.remarks())
    assert (
        "All sets alike: shape noise of 30 galaxies per arcmin² with σ_e = 0.4 (0.0028 in a pixel)"
        "; a mask that hides 6.2% of the pixels, which are zero; smoothing with a Gaussian of 10′."
    ) in said
    assert report.as_json()["notes"] == report.notes


def test_a_survey_that_does_nothing_changes_nothing():
    few = dict(statistics=basic(), look_at_maps=False, rounds=20)
    plain = compare(TRUE, NULL_SET, {"g": OTHER}, **few)
    same = compare(TRUE, NULL_SET, {"g": OTHER}, smooth=0, mask=np.ones((16, 16), bool), **few)
    assert same.as_json() == plain.as_json() and not same.notes


def test_a_verdict_does_not_depend_on_the_other_sets():
    few = dict(statistics=basic(), look_at_maps=False, rounds=20, noise=NOISE)
    alone = compare(TRUE, NULL_SET, {"g": OTHER}, **few)
    beside = compare(TRUE, NULL_SET, {"other": 0.9 * OTHER, "g": OTHER}, **few)
    vectors = [one.ensembles["g"]["power"].vectors for one in (alone, beside)]
    np.testing.assert_array_equal(*vectors)


def test_hidden_pixels_may_be_nan():
    few = dict(statistics=basic(), look_at_maps=False, rounds=20, smooth=20.0, mask=HALF)
    holes = torch.where(HALF, OTHER, math.nan)
    found = compare(TRUE, NULL_SET, {"holes": holes, "whole": OTHER}, **few)
    vectors = [found.ensembles[name]["power"].vectors for name in ("holes", "whole")]
    np.testing.assert_array_equal(*vectors)
    assert found.counts["holes"]["dropped"] == 0


def test_hidden_edges_have_no_seam():
    """The planted fault: zeros on all edges agree with each other, and say nothing."""
    inner = torch.zeros(16, 16, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    few = dict(statistics=basic(), look_at_maps=False, rounds=20, mask=inner)
    found = answers(compare(TRUE, NULL_SET, {"g": OTHER}, **few), "g")
    assert found["seam: correlation of opposite edges"] == ""


def test_noise_does_not_answer_to_the_amplitude():
    """With κ = 0 behind it, noise alone has no response; scaled with κ it would have 2 C_ℓ."""
    survey = Survey.of(TRUE, noise=NOISE)
    power = survey.before(basic())["power"]
    maps = TRUE.tensor()
    response = (power(1.05 * maps) - power(0.95 * maps)).mean(0) / 0.1
    of_kappa = 2 * basic()["power"](maps).mean(0)
    of_both = 2 * power(maps).mean(0)
    # The cross-term of κ and the noise averages out: a few per cent of the noise are left.
    assert (abs(response - of_kappa) < 0.25 * (of_both - of_kappa)).all()


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("asked", "error", "sentence"),
    [
        ({"mask": np.ones((8, 8), bool)}, ValueError, r"has the shape \(8, 8\); expected .*\(16, 16\)"),
        ({"mask": np.zeros((16, 16), bool)}, ValueError, "the mask hides the whole field"),
        ({"mask": np.ones((16, 16))}, ValueError, "must be boolean, True where the sky"),
        ({"smooth": -1.0}, ValueError, "smooth must be .* not negative, found -1"),
        ({"smooth": math.nan}, ValueError, "smooth must be .* not negative, found nan"),
        ({"smooth": 301.0}, ValueError, "smooth = 301′ is wider than the field of 300′"),
        ({"noise": 30}, TypeError, r"noise must be a ShapeNoise\(n_gal_arcmin2, sigma_e\), found int"),
    ],
)  # fmt: skip
def test_bad_surveys_are_refused(asked, error, sentence):
    with pytest.raises(error, match=sentence):
        compare(TRUE, NULL_SET, {"g": OTHER}, **asked)


@pytest.mark.parametrize("density", [0, -3, math.nan, (10, -1)])
def test_bad_noise_is_refused(density):
    with pytest.raises(ValueError, match="n_gal_arcmin2 must be positive"):
        ShapeNoise(density)
    with pytest.raises(ValueError, match="sigma_e must not be negative, found -0.1"):
        ShapeNoise(30, -0.1)


# ---------------------------------------------------------------- stored vectors


def test_the_report_says_why_stored_vectors_are_not_used(tmp_path, monkeypatch):
    truth, null = load_sample("truth"), load_sample("null")
    statistics = suite(truth.tensor(), truth.side_deg, BASIC)
    make_vectors(tmp_path / "planes", tmp_path, 32, statistics=statistics)
    for name in ("vectors_of", "why_not_stored"):
        whole = getattr(sample_vectors, name)
        monkeypatch.setattr(comparison, name, partial(whole, folder=tmp_path))
    few = dict(statistics=statistics, look_at_maps=False, rounds=10)
    maps = {"g": null.tensor()[:256]}
    custom = compare(truth, null, maps, **few)  # its rows need more than these two statistics
    sentence = "Truth and null are the shipped maps only: the vectors that are stored of 1024 maps"
    assert any(
        one == f"{sentence} a set are those of other statistics." for one in custom.remarks()
    )
    observed = compare(truth, null, maps, smooth=2.0, **few)
    assert f"{sentence} a set are those of maps without this noise, mask or smoothing." in (
        observed.remarks()
    )
    part = compare(truth[:512], null, maps, **few)  # another set: there is nothing to say
    assert not any(sentence in one for one in part.remarks())
