"""Samplers with few calls: they start as the exponential sampler, and learn to come closer.

The denoiser to learn for is exact: that of maps a g, where g is a Gaussian field and a is one of
two amplitudes. The mean of the clean map is then a mixture of two Wiener filters.
"""

import pytest
import torch
from torch import nn

from lensnb import models
from lensnb.files import save_checkpoint
from lensnb.given import Condition, Conditions
from lensnb.maps import GaussianField, MapGrid, fit_field
from lensnb.models import Diffusion
from lensnb.models.few_calls import FewCalls, learn_few_calls
from lensnb.samplers import MapNoise, exponential, karras_sigmas
from lensnb.transform import KappaTransform

AMPLITUDES = torch.tensor([0.6, 1.3], dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def standard_field() -> GaussianField:
    """The field of standardised maps with a red spectrum."""
    power = GaussianField.from_power(
        MapGrid(16, 5.0), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    )
    maps = power.sample(500, seeded(0))
    return GaussianField.fit(KappaTransform.fit(maps, logarithm=False)(maps))


class Mixture(nn.Module):
    """What the learner needs of a diffusion model, with the exact denoiser of a mixture."""

    given: dict = {}
    sigma_range = (0.03, 20.0)

    def __init__(self):
        super().__init__()
        self.gaussian = standard_field()
        self.transform = KappaTransform.blank()

    def begin(self, noise, sigma):
        like = self.transform.mean
        clean = self.gaussian.colour(noise(16, like))
        return self, clean + float(sigma) * noise(16, like)

    def forward(self, x, sigma):
        field = self.gaussian
        modes = field.modes(x)
        clean = AMPLITUDES[:, None, None, None] ** 2 * field.eigenvalues
        total = clean + sigma[:, None, None] ** 2
        terms = field.multiplicity * (total.log() + modes.abs().square() / total)
        share = (-0.5 * terms.sum((-2, -1))).softmax(0)[..., None, None]
        return field.from_modes((share * clean / total * modes).sum(0)).to(x.dtype)


@torch.no_grad()
def distance(model, maps, noise) -> float:
    """Mean squared distance from the maps of many levels, in units of the scatter of the modes."""
    sigmas = karras_sigmas(96, *model.sigma_range)
    denoise, x = model.begin(noise[:], sigmas[0])
    end = exponential(denoise, x, sigmas)
    field = denoise.gaussian
    square = field.modes(maps - end, centred=True).abs().square()
    return float((field.multiplicity * square / field.eigenvalues).mean())


@torch.no_grad()
def test_it_starts_as_the_exponential_sampler():
    model, few = Mixture(), FewCalls(5)
    sigmas = karras_sigmas(5, *model.sigma_range)
    torch.testing.assert_close(few.sigmas(), sigmas)
    denoise, x = model.begin(MapNoise(3, seeded(1)), sigmas[0])
    torch.testing.assert_close(few(denoise, x), exponential(denoise, x, sigmas))


def test_it_learns_to_come_closer():
    model = Mixture()
    few = learn_few_calls(model, 3, maps=32, rounds=100, generator=seeded(2))
    noise = MapNoise(64, seeded(3))  # other maps than those that it learned from
    denoise, x = model.begin(noise[:], model.sigma_range[1])
    plain = exponential(denoise, x, karras_sigmas(3, *model.sigma_range))
    assert distance(model, few(denoise, x), noise) < 0.5 * distance(model, plain, noise)


def test_the_network_does_not_change_and_is_called_as_often_as_it_says():
    field = standard_field()
    model = Diffusion(16, KappaTransform.blank(), fit_field(field.sample(300)), widths=(8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    few, calls = learn_few_calls(model, 4, maps=4, rounds=2, batch=2), []
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(weight.requires_grad for weight in model.parameters())
    hook = model.denoiser.network.register_forward_hook(lambda *_: calls.append(1))
    assert model.sample(2, seeded(5), few.sigmas(), few).shape == (2, 16, 16)
    hook.remove()
    assert len(calls) == few.calls == 4


def test_a_learned_sampler_is_kept_and_used(tmp_path):
    field = standard_field()
    model = Diffusion(16, KappaTransform.blank(), fit_field(field.sample(300)), widths=(8, 8))
    torch.nn.init.normal_(model.denoiser.network.last[-1].weight, std=0.1)
    model.learn_few_calls(3, maps=4, rounds=2, batch=2, rate=0.2)
    loaded = models.load(save_checkpoint(tmp_path / "model.safetensors", model))
    expected = model.sample(2, seeded(6))
    assert torch.equal(loaded.sample(2, seeded(6)), expected)
    few = model.few_calls
    assert torch.equal(model.sample(2, seeded(6), few.sigmas(), few), expected)
    assert not torch.equal(model.sample(2, seeded(6), 3), expected)


def test_what_cannot_be_learned_is_refused():
    conditions = Conditions({"omega_m": Condition((), "numbers")})
    with pytest.raises(ValueError, match="this one needs omega_m"):
        learn_few_calls(Diffusion(16, conditions=conditions))
    with pytest.raises(ValueError, match="at least 2 steps, found 1"):
        FewCalls(1)
