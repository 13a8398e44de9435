"""Sets for mass mapping, against the shear and the noise that they should have."""

from functools import partial

import numpy as np
import pytest
import torch

from lensnb.data import MapSet
from lensnb.given import Conditions
from lensnb.maps import ConditionalField, GaussianField, MapGrid
from lensnb.models import Diffusion
from lensnb.shear import shape_noise_sigma, shear
from lensnb.sims import ShearSurvey
from lensnb.sims.mass_mapping import KAISER_SQUIRES, MASK
from lensnb.train import Hardware, Settings, fit
from lensnb.transform import KappaTransform

N, GRID = 16, MapGrid(16, 5.0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_set(maps: int, seed: int = 0, channels: int = 1) -> MapSet:
    field = GaussianField.from_power(GRID, lambda ell: 1e-8 / (1 + (ell / 300) ** 2))
    kappa = field.sample(maps * channels, seeded(seed))
    if channels > 1:
        return MapSet(kappa.unflatten(0, (maps, channels)), 5.0)
    return MapSet(kappa, 5.0)


def half_mask() -> np.ndarray:
    mask = np.ones((N, N), bool)
    mask[:, 4:9] = False
    return mask


def test_without_a_mask_the_condition_is_the_map_with_white_noise():
    """The noise of 300 maps in every pixel and mode, within 5σ; without noise κ less its mean."""
    maps, survey = a_set(300), ShearSurvey(20.0, 0.3)
    pairs = survey.pairs(maps, seed=1)
    assert (
        list(pairs.given) == [KAISER_SQUIRES] and pairs.given[KAISER_SQUIRES].dtype == np.float32
    )
    centred = maps.maps - maps.maps.mean((1, 2), keepdims=True)
    quiet = ShearSurvey(20.0, 0.0).pairs(maps).given[KAISER_SQUIRES]
    np.testing.assert_allclose(quiet, centred, atol=1e-8)
    sigma = shape_noise_sigma(20.0, 0.3, GRID)
    noise = torch.from_numpy(pairs.given[KAISER_SQUIRES] - centred) / sigma
    modes = torch.fft.rfft2(noise, norm="ortho").abs().square().mean(0)
    modes[0, 0] += 1  # the mean is lost
    few = GRID.multiplicity == 1
    assert float((modes - 1).abs()[~few].max()) < 5 / 300**0.5
    assert float((modes - 1).abs()[few].max()) < 5 * (2 / 300) ** 0.5


def test_a_mask_hides_shear_and_goes_with_each_map():
    """The condition is that of the masked shear; behind the mask there is no noise."""
    maps, mask = a_set(4), half_mask()
    pairs = ShearSurvey(20.0, 0.0, mask).pairs(maps)
    gamma = shear(maps.tensor()) * torch.from_numpy(mask)
    kernel = torch.fft.fft2(shear(torch.eye(N * N).reshape(-1, N, N)[:1]))
    delta = torch.fft.fft2(torch.eye(N * N).reshape(-1, N, N)[:1].to(kernel))
    expected = torch.fft.ifft2((kernel / delta).conj() * torch.fft.fft2(gamma)).real
    np.testing.assert_allclose(pairs.given[KAISER_SQUIRES], expected, atol=1e-7)
    assert pairs.given[MASK].shape == (4, N, N)
    assert (pairs.given[MASK] == mask).all()


@pytest.mark.parametrize("channels", [1, 2])
def test_a_renewed_batch_has_other_noise_and_turns_with_its_mask(channels):
    maps = a_set(6, channels=channels)
    survey = ShearSurvey(20.0, 0.3, half_mask())
    batch = survey.pairs(maps).batch()
    new = survey.renewed(batch, seeded(2), 5.0)
    assert new.given[KAISER_SQUIRES].shape == batch.maps.shape
    assert not torch.equal(new.given[MASK], batch.given[MASK])  # turned
    quiet = ShearSurvey(20.0, 0.0, half_mask()).renewed(batch, seeded(2), 5.0)
    assert torch.equal(quiet.maps, new.maps)
    # each map again, alone, with its own mask
    seen = quiet.given[MASK].numpy().astype(bool)
    for i in range(6):
        one = MapSet(quiet.maps[i : i + 1], 5.0)
        alone = ShearSurvey(20.0, 0.0, seen[i]).pairs(one).given[KAISER_SQUIRES]
        np.testing.assert_allclose(quiet.given[KAISER_SQUIRES][i : i + 1], alone, atol=1e-7)


def test_a_model_trains_on_renewed_pairs():
    survey = ShearSurvey(20.0, 0.3, half_mask())
    pairs = survey.pairs(a_set(64))
    transform = KappaTransform.fit(pairs.tensor())
    known = {KAISER_SQUIRES: pairs.given[KAISER_SQUIRES]}
    field = ConditionalField.fit(transform(pairs.tensor()), known)
    model = Diffusion(N, transform, field, (8, 16), conditions=Conditions.fit(pairs.given))
    augment = partial(survey.renewed, side_deg=5.0)
    settings = Settings(4, batch=8, augment=augment)
    records = list(fit(model, pairs, settings, device=Hardware("cpu", "float32")))
    assert records[-1]["step"] == 4
    assert "ShearSurvey.renewed(side_deg=5.0)" in settings.as_json()["augment"]
    given = {name: values[:2] for name, values in pairs.batch().given.items()}
    assert torch.isfinite(model.sample(2, seeded(3), 3, given=given)).all()


BAD = {
    "positive n_gal_arcmin2 and a sigma_e that is not negative, found 0 and 0.4": {
        "n_gal_arcmin2": 0
    },
    "found 3 and -1": {"n_gal_arcmin2": 3, "sigma_e": -1},
    r"a mask must be boolean, .* found int64 of the shape \(4, 4\)": {
        "n_gal_arcmin2": 3,
        "mask": np.ones((4, 4), int),
    },
    r"found bool of the shape \(4, 5\)": {"n_gal_arcmin2": 3, "mask": np.ones((4, 5), bool)},
    "the mask hides the whole field": {"n_gal_arcmin2": 3, "mask": np.zeros((4, 4), bool)},
}


@pytest.mark.parametrize("words, survey", BAD.items())
def test_what_is_no_survey_is_refused_in_a_sentence(words, survey):
    with pytest.raises(ValueError, match=words):
        ShearSurvey(**survey)


def test_a_mask_of_another_size_is_refused():
    survey = ShearSurvey(20.0, mask=np.ones((8, 8), bool))
    with pytest.raises(ValueError, match=r"shape \(8, 8\); expected that of a map, \(16, 16\)"):
        survey.pairs(a_set(2))
