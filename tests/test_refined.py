"""Refined models: a fault that the numbers of a map can see is taken away."""

import numpy as np
import pytest
import torch

from lensnb import models
from lensnb.files import save_checkpoint
from lensnb.maps import GaussianField, MapGrid, fit_field
from lensnb.models import Flow, Refined
from lensnb.models.map_numbers import numbers_of_maps
from lensnb.train import fit
from lensnb.transform import KappaTransform

GRID = MapGrid(16, 5.0)
FIELD = GaussianField.from_power(GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8)
MAPS = 2000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def train():
    return FIELD.sample(MAPS, seeded(0))


def flow_of(maps: torch.Tensor) -> Flow:
    """An untrained flow, which is the Gaussian field of these maps."""
    transform = KappaTransform.fit(maps, logarithm=False)
    return Flow(16, transform, fit_field(transform(maps)), steps=2, hidden=8)


@pytest.fixture(scope="module")
def too_strong(train):
    """A model whose maps have 5 % more power."""
    return flow_of(train * 1.05**0.5)


@pytest.fixture(scope="module")
def refined(too_strong, train):
    return Refined.fit(too_strong, train, generator=seeded(1))


def test_too_much_power_is_mended(too_strong, refined):
    """The power of 2,000 true maps is known to 0.6 %. The discriminant adds its own error."""
    truth = FIELD.sample(MAPS, seeded(2)).square().mean()
    before = too_strong.sample(MAPS, seeded(3)).square().mean() / truth
    after = refined.sample(MAPS, seeded(3)).square().mean() / truth
    assert before > 1.03
    assert abs(after - 1) < 0.02


def test_weights_give_the_means_of_the_data(too_strong, refined):
    made = too_strong.sample(MAPS, seeded(4))
    weights = refined.log_ratio(made).exp()
    truth = FIELD.sample(MAPS, seeded(5)).square().mean()
    weighted = (weights * made.square().mean((-2, -1))).sum() / weights.sum()
    assert abs(weighted / truth - 1) < 0.02


def test_a_right_model_keeps_its_maps(train):
    """Of a model without a fault, most maps are kept, and their weights hardly differ."""
    right = Refined.fit(flow_of(train), train, generator=seeded(6))
    assert right.share > 0.6
    assert right.log_ratio(right.sample(500, seeded(7))).std() < 0.2


def test_the_share_is_that_of_the_maps_that_are_kept(too_strong, refined):
    made = too_strong.sample(4000, seeded(8))
    kept = (refined.log_ratio(made) - refined.limit).clamp(max=0).exp().mean()
    assert abs(kept / refined.share - 1) < 0.05


def test_it_is_saved_with_its_discriminant(refined, tmp_path):
    loaded = models.load(save_checkpoint(tmp_path / "model.safetensors", refined))
    assert torch.equal(loaded.sample(5, seeded(9)), refined.sample(5, seeded(9)))
    assert loaded.share == refined.share


def test_numbers_do_not_change_under_symmetries(train):
    transform = KappaTransform.fit(train)
    numbers = numbers_of_maps(train[:20], transform)
    turned = numbers_of_maps(train[:20].rot90(1, (-2, -1)).flip(-1), transform)
    torch.testing.assert_close(numbers, turned)


def test_each_channel_has_its_numbers(train):
    two = torch.stack([train[:20], 2 * train[20:40]], 1)
    transform = KappaTransform.fit(two)
    numbers = numbers_of_maps(two, transform)
    half = numbers.shape[1] // 2
    swapped = numbers_of_maps(two.flip(1), KappaTransform.fit(two.flip(1)))
    torch.testing.assert_close(numbers[:, :half], swapped[:, half:])


def test_what_does_not_fit_is_refused(too_strong, train):
    with pytest.raises(ValueError, match="at least 8 training maps"):
        Refined.fit(too_strong, train[:7])
    with pytest.raises(ValueError, match="10 maps and 9 simulations"):
        Refined.fit(too_strong, train[:10], np.arange(9))
    with pytest.raises(ValueError, match=r"expected \(maps, 16, 16\)"):
        Refined.fit(too_strong, train[:, :8, :8])
    with pytest.raises(ValueError, match="has no weights to train"):
        next(fit(Refined.fit(too_strong, train), train, 1))
