"""The labels of how strong a map is: what they measure, how they are drawn, and that the network is told them."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from lensnb.maps import GaussianField, MapGrid
from lensnb.models import Diffusion, Strength
from lensnb.samplers import MapNoise
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
def strength() -> Strength:
    return Strength.fit(strong_and_weak(300, 0), FIELD)


def test_a_map_twice_as_strong_has_four_times_the_power_in_every_band(strength):
    y = strong_and_weak(5, 10)
    change = (strength(2 * y) - strength(y)) * strength.std
    torch.testing.assert_close(change, torch.full((5, 4), math.log(4.0), dtype=torch.float64))


def test_bands_part_all_modes_but_the_mean(strength):
    """Each mode is in one band; a plane wave changes the label of its own band only; a constant changes none."""
    used = (strength.weights > 0).sum(0)
    assert used[0, 0] == 0 and used.sum() == used.numel() - 1
    y = strong_and_weak(1, 11)
    x = torch.arange(N, dtype=torch.float64)
    for wave, band in (
        (1, 0),
        (3, 1),
        (7, 2),
        (12, 3),
    ):  # edges at 32 / √2 to the power of 1/4, 1/2, 3/4
        changed = strength(y + 3 * torch.cos(2 * math.pi * wave * x / N)) != strength(y)
        labels = (strength(y + torch.cos(2 * math.pi * wave * x / N)) - strength(y)).abs() > 1e-9
        assert labels[0].nonzero().flatten().tolist() == [band] and changed[0, band]
    torch.testing.assert_close(strength(y + 5.0), strength(y))


def test_labels_of_the_training_maps_have_no_mean_and_unit_scatter(strength):
    labels = strength(strong_and_weak(300, 0))
    torch.testing.assert_close(labels, strength.labels)
    torch.testing.assert_close(
        labels.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(labels.std(0), torch.ones(4, dtype=torch.float64))


def test_symmetries_do_not_change_the_labels(strength):
    y = strong_and_weak(2, 12)
    torch.testing.assert_close(
        strength(y.mT.flip(-1)), strength(y), atol=0.3, rtol=0
    )  # the field's λ are not symmetric
    symmetric = Strength.fit(strong_and_weak(300, 0), GaussianField.fit(strong_and_weak(300, 0)))
    torch.testing.assert_close(symmetric(y.mT.flip(-1)), symmetric(y))


def test_drawn_labels_have_the_density_that_is_said(strength):
    """Covariance (1 + h²) R, and ln p(s̃) as the mixture of normal densities that it is."""
    drawn = strength.sample(MapNoise(20_000, seeded(1)))
    wanted = (1 + 0.2**2) * strength.labels.T @ strength.labels / 300
    torch.testing.assert_close(torch.cov(drawn.T), wanted, atol=0.05, rtol=0)
    covariance = 0.2**2 * strength.root @ strength.root
    density = lambda s, mean: MultivariateNormal(mean, covariance).log_prob(s)
    known, noisy = (
        strength.labels[:6],
        strength.blur(strength.labels[:6], torch.randn(6, 4, generator=seeded(2))),
    )
    mixture = torch.logsumexp(density(noisy[:, None], strength.labels), 1) - math.log(300)
    torch.testing.assert_close(strength.log_ratio(noisy, known), mixture - density(noisy, known))


def test_a_map_has_the_same_labels_in_any_batch(strength):
    noise = MapNoise(6, seeded(3))
    parts = [strength.sample(noise[:2]), strength.sample(noise[2:])]
    torch.testing.assert_close(torch.cat(parts), strength.sample(noise))


@pytest.mark.parametrize("maps, bands", [(7, 4), (4, 0)])
def test_too_few_maps_are_refused(maps, bands):
    with pytest.raises(ValueError, match=f"the strength of maps in {bands} bands needs at least"):
        Strength.fit(strong_and_weak(maps, 0), FIELD, bands)


class Listener(torch.nn.Module):
    """Says nothing, and notes what it is told."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.told = []

    def forward(self, x, condition, labels):
        self.told.append(labels)
        return self.weight * x[:, :1]


@pytest.fixture
def listening(strength) -> Diffusion:
    return Diffusion(N, KappaTransform(), FIELD, network=Listener(), strength=strength)


def test_the_network_is_told_the_strength_of_its_maps(listening, strength):
    y = strong_and_weak(64, 13).float()
    listening.loss(y, seeded(4))
    (told,) = listening.denoiser.network.told
    noise = told.double() - strength(y)
    assert told.shape == (64, 4) and 0 < float(noise.abs().max()) < 1.0
    torch.testing.assert_close(noise.std(), torch.tensor(0.2).double(), atol=0.03, rtol=0)


def test_the_network_is_told_one_strength_all_the_way(listening):
    listening.sample(3, seeded(5), steps=4)
    told = listening.denoiser.network.told
    assert len(told) == 4 and all(torch.equal(labels, told[0]) for labels in told)


def test_the_likelihood_of_a_model_that_does_not_listen_is_a_lower_bound(listening, strength):
    """It falls short of the Gaussian field's by the information that labels and maps share."""
    y = strong_and_weak(40, 14)
    found = listening.log_prob(y, steps=3, generator=seeded(6))
    exact = FIELD.log_prob(y)
    lost = exact - found
    assert (
        0 < float(lost.mean()) < 4 * math.log(1 / 0.2) + 1
    )  # four numbers known to 0.2 of their scatter
    torch.testing.assert_close(listening.log_prob(y, steps=3, generator=seeded(6), batch=7), found)


def test_the_model_remembers_its_labels(strength):
    torch.manual_seed(0)
    model = Diffusion(N, KappaTransform(), FIELD, channels=(8, 16), strength=strength)
    again = Diffusion.from_config(model.config)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.sample(2, seeded(7), steps=3), model.sample(2, seeded(7), steps=3))
