"""The values of how strong a map is: what they measure, how they are drawn, and that the network is seen them."""

import functools
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from lensnb import models
from lensnb.compare.realised import regression
from lensnb.files import read_checkpoint, write_tensors
from lensnb.maps import CutOutField, GaussianField, MapGrid, RescaledField, fit_field
from lensnb.models import BandPowers, Diffusion
from lensnb.samplers import MapNoise
from lensnb.train import Checks, Folder, Hardware, Settings, fit
from lensnb.transform import KappaTransform

N = 32
FIELD = GaussianField.from_power(MapGrid(N, 5.0), lambda ell: (1 + (ell / 500) ** 2) ** -1.5)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def strong_and_weak(n: int, seed: int) -> torch.Tensor:
    """Gaussian maps, float64, each times a number of its own."""
    factor = torch.exp(0.2 * torch.randn(n, 1, 1, generator=seeded(seed + 1)))
    return factor * FIELD.sample(n, seeded(seed)).double()


@pytest.fixture(scope="module")
def powers() -> BandPowers:
    return BandPowers.fit(strong_and_weak(300, 0), FIELD, largest=False)


def test_a_map_twice_as_strong_has_four_times_the_power_in_every_band(powers):
    y = strong_and_weak(5, 10)
    change = (powers(2 * y) - powers(y)) * powers.std
    torch.testing.assert_close(change, torch.full((5, 4), math.log(4.0), dtype=torch.float64))


def test_bands_part_all_modes_but_the_mean(powers):
    """Each mode is in one band; a plane wave changes the label of its own band only; a constant changes none."""
    used = (powers.weights > 0).sum(0)
    assert used[0, 0] == 0 and used.sum() == used.numel() - 1
    y = strong_and_weak(1, 11)
    x = torch.arange(N, dtype=torch.float64)
    for wave, band in (
        (1, 0),
        (3, 1),
        (7, 2),
        (12, 3),
    ):  # edges at 32 / √2 to the power of 1/4, 1/2, 3/4
        changed = powers(y + 3 * torch.cos(2 * math.pi * wave * x / N)) != powers(y)
        values = (powers(y + torch.cos(2 * math.pi * wave * x / N)) - powers(y)).abs() > 1e-9
        assert values[0].nonzero().flatten().tolist() == [band] and changed[0, band]
    torch.testing.assert_close(powers(y + 5.0), powers(y))


def test_values_of_the_training_maps_have_no_mean_and_unit_scatter(powers):
    values = powers(strong_and_weak(300, 0))
    torch.testing.assert_close(values, powers.values)
    torch.testing.assert_close(
        values.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(values.std(0), torch.ones(4, dtype=torch.float64))


def test_symmetries_do_not_change_the_values(powers):
    y = strong_and_weak(2, 12)
    torch.testing.assert_close(
        powers(y.mT.flip(-1)), powers(y), atol=0.3, rtol=0
    )  # the field's λ are not symmetric
    field = GaussianField.fit(strong_and_weak(300, 0))
    symmetric = BandPowers.fit(strong_and_weak(300, 0), field)
    torch.testing.assert_close(symmetric(y.mT.flip(-1)), symmetric(y))


def test_drawn_values_have_the_density_that_is_said(powers):
    """Covariance (1 + h²) R, and ln p(s̃) as the mixture of normal densities that it is."""
    drawn = powers.sample(MapNoise(20_000, seeded(1)))
    wanted = (1 + 0.2**2) * powers.values.T @ powers.values / 300
    torch.testing.assert_close(torch.cov(drawn.T), wanted, atol=0.05, rtol=0)
    covariance = 0.2**2 * powers.root @ powers.root
    density = lambda s, mean: MultivariateNormal(mean, covariance).log_prob(s)
    known, noisy = (
        powers.values[:6],
        powers.blur(powers.values[:6], torch.randn(6, 4, generator=seeded(2))),
    )
    mixture = torch.logsumexp(density(noisy[:, None], powers.values), 1) - math.log(300)
    torch.testing.assert_close(powers.log_ratio(noisy, known), mixture - density(noisy, known))


def test_a_map_has_the_same_values_in_any_batch(powers):
    noise = MapNoise(6, seeded(3))
    parts = [powers.sample(noise[:2]), powers.sample(noise[2:])]
    torch.testing.assert_close(torch.cat(parts), powers.sample(noise))


@pytest.mark.parametrize("maps, bands", [(7, 4), (4, 0)])
def test_too_few_maps_are_refused(maps, bands):
    with pytest.raises(ValueError, match=f"power in {bands} bands needs at least"):
        BandPowers.fit(strong_and_weak(maps, 0), FIELD, bands)


class Recorder(torch.nn.Module):
    """Says nothing, and notes what it is seen."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, x, level, numbers):
        self.seen.append(numbers)
        return self.weight * x[:, :1]


@pytest.fixture
def recording(powers) -> Diffusion:
    network = Recorder()
    return Diffusion(N, KappaTransform(), FIELD, network=network, band_powers=powers, obey=False)


def test_the_network_is_seen_the_strength_of_its_maps(recording, powers):
    y = strong_and_weak(64, 13).float()
    recording.loss(y, seeded(4))
    (seen,) = recording.denoiser.network.seen
    noise = seen.double() - powers(y)
    assert seen.shape == (64, 4) and 0 < float(noise.abs().max()) < 1.0
    torch.testing.assert_close(noise.std(), torch.tensor(0.2).double(), atol=0.03, rtol=0)


def test_the_network_is_seen_one_strength_all_the_way(recording):
    recording.sample(3, seeded(5), steps=4)
    seen = recording.denoiser.network.seen
    assert len(seen) == 4 and all(torch.equal(values, seen[0]) for values in seen)


def test_the_likelihood_of_a_model_that_does_not_listen_is_a_lower_bound(recording, powers):
    """It falls short of the Gaussian field's by the information that values and maps share."""
    y = strong_and_weak(40, 14)
    found = recording.log_prob(y, steps=3, generator=seeded(6))
    exact = FIELD.log_prob(y)
    lost = exact - found
    assert (
        0 < float(lost.mean()) < 4 * math.log(1 / 0.2) + 1
    )  # four numbers known to 0.2 of their scatter
    torch.testing.assert_close(recording.log_prob(y, steps=3, generator=seeded(6), batch=7), found)


def test_the_model_remembers_its_values(powers):
    torch.manual_seed(0)
    model = Diffusion(N, KappaTransform(), FIELD, widths=(8, 16), band_powers=powers)
    again = Diffusion.from_config(model.config)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.sample(2, seeded(7), steps=3), model.sample(2, seeded(7), steps=3))


def in_the_old_words(name: str) -> str:
    """The name of a tensor as checkpoints of the first version have it."""
    return name.replace("band_powers.values", "strength.labels").replace(
        "band_powers.", "strength."
    )


def test_checkpoints_and_trainings_of_the_first_version_open_and_resume(powers, tmp_path):
    """Their tensors and arguments have other names; the resumed training equals an uninterrupted one."""
    maps = strong_and_weak(24, 15).float()
    build = functools.partial(
        Diffusion, N, KappaTransform(), FIELD, widths=(8, 16), band_powers=powers, obey=False
    )

    def train(model, folder=None, stop: int | None = None) -> Diffusion:
        files, hardware = Folder(folder, save_every=2), Hardware("cpu", "float32")
        settings, checks = Settings(6, batch=8), Checks(every=2)
        records = fit(model, maps, settings, checks=checks, device=hardware, folder=files)
        for record in records:
            if record["step"] == stop:
                records.close()
        return model

    torch.manual_seed(0)
    expected = train(build())
    torch.manual_seed(0)
    train(build(), tmp_path, stop=4)
    for file in ("model.safetensors", "training.safetensors"):
        tensors, header = read_checkpoint(tmp_path / file)
        for place in (header, header["settings"]):
            if "config" in place:
                config = place["config"] = dict(place["config"])
                config["channels"] = config.pop("widths")
                config["strength"] = config.pop("band_powers")[:2]
                for later in ("given", "gaussian", "obey"):
                    del config[later]
        old = {in_the_old_words(name): tensor for name, tensor in tensors.items()}
        assert any("strength.labels" in name for name in old)
        write_tensors(tmp_path / file, old, header)
    loaded = models.load(tmp_path / "model.safetensors")
    assert loaded.config == expected.config
    resumed = train(build(), tmp_path)
    for name, value in expected.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_old_names_of_arguments_and_attributes_work_for_one_release(powers):
    with pytest.warns(FutureWarning, match="strength is now called band_powers"):
        model = Diffusion(N, KappaTransform(), FIELD, widths=(8, 16), strength=powers)
    with pytest.warns(FutureWarning, match="strength is now called band_powers"):
        assert model.strength is model.band_powers
    with pytest.warns(FutureWarning, match="the argument channels is now called widths"):
        Diffusion(N, KappaTransform(), FIELD, channels=(8, 16))
    with pytest.warns(FutureWarning, match="Strength is now called .*BandPowers"):
        assert models.Strength is BandPowers


# ---------------------------------------------------------------- the field that follows them


@pytest.fixture(scope="module", params=["periodic", "cut-out"])
def followed(request) -> tuple:
    """Maps whose power and largest mode vary more than a Gaussian field's, and their field."""
    maps = strong_and_weak(600, 20)
    if request.param == "cut-out":
        sky = GaussianField.from_power(
            MapGrid(2 * N, 10.0), lambda ell: (1 + (ell / 500) ** 2) ** -1.5
        )
        factor = torch.exp(0.2 * torch.randn(600, 1, 1, generator=seeded(21)))
        maps = factor * sky.sample(600, seeded(22)).double()[:, :N, :N]
    field = {"periodic": GaussianField, "cut-out": CutOutField}[request.param].fit(maps)
    return maps, field, BandPowers.fit(maps, field)


def test_the_largest_mode_is_a_number_of_unit_variance(followed):
    maps, field, powers = followed
    assert powers.numbers == 5 and powers.names[-1] == "largest mode"
    modes = field.modes(maps).real.flatten(1)
    largest = int(field.eigenvalues.flatten().argmax())
    if field.kind == "periodic":
        largest = 0  # the mean of the map
    scale = field.eigenvalues.flatten()[largest].sqrt()
    expected = modes[:, largest] / scale
    found = powers(maps)[:, -1] * powers.std[-1] + powers.mean[-1]
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    assert float(powers.std[-1]) == pytest.approx(1, abs=0.1)


def test_a_rescaled_field_is_a_field_of_its_own_for_each_map():
    factor = torch.exp(torch.randn(3, *FIELD.eigenvalues.shape, generator=seeded(23)).double())
    factor[:, :, 0] = 1  # the layout of rfft2 has both ℓ and −ℓ in these columns
    factor[:, :, -1] = 1
    own = RescaledField(FIELD, factor, torch.zeros_like(factor))
    x = FIELD.sample(3, seeded(24)).double()
    sigma = torch.tensor([0.1, 0.5, 2.0]).double()
    found = own.denoise(x, sigma)
    means = own.mode_mean(lambda v: v / (v + 0.25))
    for i in range(3):
        alone = GaussianField(FIELD.variance * factor[i])
        torch.testing.assert_close(found[i], alone.denoise(x[i], sigma[i]))
        torch.testing.assert_close(own.log_prob(x)[i], alone.log_prob(x[i]))
        mean = alone.mode_mean(lambda v: v / (v + 0.25))
        torch.testing.assert_close(means[i], mean[0])


def test_the_shift_of_a_rescaled_field_is_the_mean_of_its_modes():
    shift = torch.zeros(2, *FIELD.eigenvalues.shape, dtype=torch.float64)
    shift[1, 0, 0] = 3.0 * N  # the mean of the map
    own = RescaledField(FIELD, torch.ones_like(shift), shift)
    white = torch.zeros(2, N, N, dtype=torch.float64)
    torch.testing.assert_close(own.colour(white)[1], torch.full((N, N), 3.0).double())
    torch.testing.assert_close(own.whiten(own.colour(white)), white)


def test_an_untrained_model_obeys(followed):
    """All slopes and scatters of 400 maps are what they should be, by construction."""
    maps, field, powers = followed
    torch.manual_seed(0)
    model = Diffusion(N, KappaTransform(), field, widths=(8, 16), band_powers=powers)
    drawn = model.sample(400, seeded(25), steps=4)
    found = model.realised(drawn, seeded(25))
    slope, scatter = regression(found, np.arange(400))
    assert found.names == powers.names
    assert np.abs(slope.value - found.slope).max() < 4 * slope.error.max() < 0.06
    assert np.abs(scatter.value - found.scatter).max() < 4 * scatter.error.max() < 0.06
    still = Diffusion(N, KappaTransform(), field, widths=(8, 16), band_powers=powers, obey=False)
    drawn = still.sample(400, seeded(25), steps=4)
    slope, _ = regression(still.realised(drawn, seeded(25)), np.arange(400))
    assert np.abs(slope.value).max() < 0.3


def test_numbers_are_enforced_exactly(followed):
    maps, field, powers = followed
    wanted = powers(maps[:20])[torch.randperm(20, generator=seeded(28))]
    y = powers.enforced(maps[:20], wanted)
    torch.testing.assert_close(powers(y), wanted, rtol=0, atol=1e-7)
    same = powers.enforced(maps[:20], powers(maps[:20]))
    torch.testing.assert_close(same, maps[:20])


def test_the_density_of_a_model_that_follows_is_higher(followed):
    """The bound gains more by maps of known power than it loses by five numbers."""
    maps, field, powers = followed
    found = {}
    for obey in (True, False):
        torch.manual_seed(0)
        model = Diffusion(
            N, KappaTransform(), field, widths=(8, 16), band_powers=powers, obey=obey
        )
        found[obey] = float(model.log_prob(maps[:40], steps=3, generator=seeded(26)).mean())
    assert found[True] > found[False] + 10


def test_a_model_that_follows_is_loaded_as_it_was(followed):
    _, field, powers = followed
    torch.manual_seed(0)
    model = Diffusion(N, KappaTransform(), field, widths=(8, 16), band_powers=powers)
    again = Diffusion.from_config(model.config)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(
        again.sample(2, seeded(27), steps=3), model.sample(2, seeded(27), steps=3)
    )


def test_maps_of_several_channels_follow_nothing():
    several = BandPowers.of_shape(GaussianField.white(N, 2), 3, 8)
    with pytest.raises(ValueError, match="several channels do not follow"):
        several.field(torch.zeros(1, 8))


def test_band_powers_of_another_field_are_refused():
    maps = torch.randn(40, 16, 16, generator=torch.Generator().manual_seed(0))
    powers = BandPowers.fit(maps, fit_field(maps))
    with pytest.raises(ValueError, match=r"of \(16, 16\) modes, .* has \(16, 9\); fit them"):
        Diffusion(16, band_powers=powers)
