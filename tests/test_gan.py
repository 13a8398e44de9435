"""Both GANs: which network gets the gradient of which loss, what the discriminators see, and what the generators make."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy.special import digamma, polygamma
from torch.nn.functional import softplus

from lensnb import models
from lensnb.data import random_symmetry
from lensnb.files import save_checkpoint
from lensnb.given import Conditions
from lensnb.maps import GaussianField, LognormalField, MapGrid, fit_field
from lensnb.models import GAN, BandPowers
from lensnb.models.dcgan import BOUND, FLIPPED, annulus_power, spectral_loss
from lensnb.models.dcgan import _labels as labels
from lensnb.models.field_gan import Known
from lensnb.nets import frozen
from lensnb.samplers import MapNoise
from lensnb.train import Checks, Folder, Settings, fit
from lensnb.transform import KappaTransform

N = 16
ARCHITECTURES = ["field", "dcgan"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kappa(n: int, seed: int) -> torch.Tensor:
    """Lognormal κ-maps, float32, shape ``(n, 16, 16)``."""
    power = GaussianField.from_power(
        MapGrid(N, 5.0), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    )
    return LognormalField.from_correlation(power.variance, 0.03).sample(n, seeded(seed))


MAPS = kappa(128, 1)
TRANSFORM = KappaTransform.fit(MAPS)
Y = TRANSFORM(MAPS)
FIELD = fit_field(Y)


def made(architecture: str, perturb: float = 0.0, **options) -> GAN:
    torch.manual_seed(0)
    if architecture == "field":
        model = GAN(N, TRANSFORM, FIELD, widths=(8, 8), **options)
    else:
        model = GAN(N, TRANSFORM, architecture="dcgan", widths=(16, 8), **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += perturb * torch.randn(parameter.shape, generator=seeded(3))
    return model


def parts(model: GAN) -> tuple[list, list]:
    """The weights of the generator, and those of the discriminator."""
    both = (model.networks.generator, model.networks.discriminator)
    return tuple(list(network.parameters()) for network in both)


# ---------------------------------------------------------------- the generators


def test_an_untrained_gan_on_a_field_is_the_exact_gaussian_field():
    model = made("field")
    assert FIELD.kind == "cut-out"
    maps = model.sample(5, seeded(4))
    white = MapNoise(5, seeded(4))((N, N), TRANSFORM.mean)
    assert torch.equal(maps, TRANSFORM.inverse(FIELD.colour(white)).float())
    torch.testing.assert_close(FIELD.whiten(TRANSFORM(maps.double())), white, rtol=0, atol=2e-3)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_gan_without_a_fitted_field_starts_from_white_noise(channels):
    transform = KappaTransform.blank(channels)
    model = GAN(N, transform, widths=(8, 8))
    maps = model.sample(3, seeded(4))
    shape = (N, N) if channels == 1 else (2, N, N)
    torch.testing.assert_close(maps, MapNoise(3, seeded(4))(shape, maps), rtol=0, atol=1e-5)


def test_the_historic_gan_cannot_leave_its_bound_and_nearly_reaches_it():
    model = made("dcgan")
    with torch.no_grad():
        model.networks.generator.layers[-1].weight.mul_(1e3)
    x = TRANSFORM(model.sample(32, seeded(5)).double())
    assert float(x.max()) == pytest.approx(BOUND, abs=1e-3)
    # A κ far below the training maps is limited by the bound as well.
    assert float(x.min()) == pytest.approx(-BOUND, abs=1e-3)


def test_the_bound_leaves_room_for_the_sample():
    from lensnb.data import load_sample

    maps = load_sample("train").tensor()
    transform = KappaTransform.fit(maps)
    assert float(transform(maps).abs().max()) < BOUND
    assert float(transform.inverse(torch.tensor(BOUND))) > 2 * float(maps.max())


def test_batch_normalisation_of_samples_agrees_with_that_of_a_training_batch():
    """With 256 maps its mean and variance are those of the fixed ones, up to their scatter."""
    model = made("dcgan").requires_grad_(False)
    z = torch.randn(256, 64, generator=seeded(0))
    fixed = model.networks.maker()(z, Known())
    torch.testing.assert_close(fixed, model.networks.make(z), rtol=1e-4, atol=1e-4)
    other = torch.randn(256, 64, generator=seeded(1))
    fixed, own = model.networks.maker()(other, Known()), model.networks.make(other)
    assert 0 < float((fixed - own).std()) < 0.2 * float(own.std())


def test_batch_normalisation_has_no_state_beside_the_weights():
    model = made("dcgan")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.loss(MAPS[:8], seeded(6))
    model.sample(2, seeded(6))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any("running" in name for name in before)


# ---------------------------------------------------------------- the losses


def relativistic_losses(model: GAN, y, white, known=None):
    """Both losses of R3GAN in the metric of the field, written with whitened maps."""
    known = known or Known()
    networks = model.networks

    def score(whitened):
        return networks.score(FIELD.colour(whitened), known, networks.discriminator)

    true = FIELD.whiten(y.double()).requires_grad_()
    fake = FIELD.whiten(networks.make(white, known).double().detach()).requires_grad_()
    slopes = 0
    for whitened in (true, fake):
        (slope,) = torch.autograd.grad(score(whitened).sum(), whitened, create_graph=True)
        slopes = slopes + slope.square().sum((1, 2))
    critic = softplus(score(fake) - score(true)) + networks.penalty / 2 * slopes
    fooled = networks.score(networks.make(white, known), known, networks.discriminator)
    return critic.mean(), softplus(score(true).detach() - fooled).mean()


def historic_losses(model: GAN, y, z, kept_true, kept_made):
    """Cross-entropy with labels that may be flipped, by torch's own function."""
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    networks = model.networks
    fake = networks.make(z)[:, None]
    true_score, fake_score = networks.discriminator(y[:, None]), networks.discriminator(fake)
    ones = torch.ones_like(fake_score)
    critic = entropy(true_score, (kept_true[:, None] > 0).double())
    critic = critic + entropy(fake_score, (kept_made[:, None] < 0).double())
    return critic, entropy(fake_score, ones)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_network_gets_the_gradient_of_its_own_loss(architecture, monkeypatch):
    # γ is such that the penalty is no small part of the loss
    options = {"penalty": 3.0} if architecture == "field" else {}
    model = made(architecture, 0.05, **options).double()
    y = Y[:6].double()
    shape = (6, *model.networks.latent_shape)
    white = torch.randn(*shape, generator=seeded(7), dtype=torch.float64)
    if architecture == "field":
        critic, fooled = relativistic_losses(model, y, white)
        loss = model.networks.loss(y, white, Known(), None)
    else:
        monkeypatch.setattr("lensnb.models.dcgan.FLIPPED", 0.5)
        source = seeded(8)
        kept = labels(6, source), labels(6, source)
        assert not torch.equal(*kept)
        critic, fooled = historic_losses(model, y, white, *kept)
        loss = model.networks.loss(y, white, None, seeded(8))
    torch.testing.assert_close(loss, critic + fooled, rtol=1e-5, atol=0)
    generator, discriminator = parts(model)
    own = torch.autograd.grad(fooled, generator, retain_graph=True)
    own += torch.autograd.grad(critic, discriminator)
    found = torch.autograd.grad(loss, generator + discriminator)
    for a, b in zip(found, own):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6 * float(b.abs().max()) + 1e-12)


def test_a_linear_discriminator_has_the_penalties_of_its_weights():
    """|C^½ ∇D|² is the variance of D over draws of the field: here exactly wᵀ C w."""
    model = made("field", penalty=2.0)
    weights = torch.randn(N, N, generator=seeded(9), dtype=torch.float64)
    model.networks.score = lambda y, known, network: (y * weights).sum((1, 2))
    y = Y[:8].double()
    white = torch.randn(8, N, N, generator=seeded(9), dtype=torch.float64)
    loss = model.networks.loss(y, white, Known(), None)
    t = ((y - FIELD.colour(white)) * weights).sum((1, 2))
    zero = FIELD.colour(torch.zeros(N, N, dtype=torch.float64))
    variance = (FIELD.colour(weights) - zero).square().sum()  # C^½ w
    expected = softplus(-t).mean() + softplus(t).mean() + 2 * variance
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    draws = FIELD.colour(torch.randn(4000, N, N, generator=seeded(10), dtype=torch.float64))
    # relative error √(2 / 4000) = 0.022; false alarm below 1e-5 of seeds
    assert float((draws * weights).sum((1, 2)).var() / variance) == pytest.approx(1, abs=0.1)


def test_a_frozen_network_passes_gradients_to_its_input_only():
    network = torch.nn.Linear(3, 1)
    x = torch.ones(2, 3, requires_grad=True)
    out = frozen(network)(x)
    assert torch.equal(out, network(x))
    out.sum().backward()
    assert network.weight.grad is None and torch.equal(x.grad, network.weight.expand(2, 3))


def test_one_per_cent_of_the_labels_are_flipped():
    """False alarm: 5 standard deviations of a binomial share."""
    found = labels(100_000, seeded(11))
    assert set(found.tolist()) == {1.0, -1.0}
    error = math.sqrt(FLIPPED * (1 - FLIPPED) / 100_000)
    assert abs(float((found < 0).float().mean()) - FLIPPED) < 5 * error


@pytest.mark.parametrize("channels", [1, 2])
def test_the_spectral_loss_of_scaled_maps_is_known(channels):
    """Maps a x have the power a² P, so both differences follow from those of x."""
    shape = (12, N, N) if channels == 1 else (12, 2, N, N)
    x = torch.randn(*shape, generator=seeded(12), dtype=torch.float64)
    power = annulus_power(x)
    assert power.shape == (*shape[:-2], N // 2)
    # white noise of unit variance has the power 1 in each annulus
    assert float(power.mean()) == pytest.approx(1, abs=0.1)
    expected = (3 * power.mean(0)).square().sum().log()
    expected = expected + (15 * power.var(0, correction=0)).square().sum().log()
    torch.testing.assert_close(spectral_loss(2 * x, x), expected)


def test_the_annuli_contain_single_waves():
    angle = 2 * math.pi * torch.arange(N, dtype=torch.float64) / N
    for mode in (1, 3, N // 2):
        wave = torch.cos(mode * angle).expand(1, N, N)
        power = annulus_power(wave)[0]
        assert int(power.argmax()) == mode - 1
        assert float(power.sum()) == pytest.approx(float(power.max()))


def test_the_spectral_loss_is_added_with_its_weight():
    plain, weighted = made("dcgan"), made("dcgan", spectral=0.5)
    z = torch.randn(8, 64, generator=seeded(13))
    with_it, without = (
        model.networks.loss(Y[:8], z, None, seeded(14)) for model in (weighted, plain)
    )
    expected = 0.5 * spectral_loss(plain.networks.make(z), Y[:8])
    torch.testing.assert_close(with_it - without, expected, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- what the discriminator sees


def test_the_summaries_of_a_periodic_field_have_the_moments_of_chi_square():
    """ln of a mean of k squared normal numbers: ψ(k/2) − ln(k/2) and ψ′(k/2); 5 standard errors."""
    model = GAN(N, TRANSFORM, GaussianField.fit(Y), widths=(8, 8))
    field, count = model.networks.field, 4000
    found = model.networks.summaries(field.sample(count, seeded(15)), field).numpy()
    modes = 2 / model.networks.summaries.scatter.numpy() ** 2
    assert modes.sum() == N**2 - 1  # every mode but the mean is in one bin
    mean = np.append(0, (digamma(modes / 2) - np.log(modes / 2)) / np.sqrt(2 / modes))
    variance = np.append(1, polygamma(1, modes / 2) / (2 / modes))
    error = np.sqrt(variance / count)
    assert (abs(found.mean(0) - mean) < 5 * error).all()
    assert (abs(found.var(0) / variance - 1) < 5 * np.sqrt(4 / count)).all()
    independent = np.corrcoef(found.T) - np.eye(found.shape[1])
    assert abs(independent).max() < 5 / math.sqrt(count)


def test_more_power_adds_its_logarithm_to_every_bin():
    summaries = made("field").networks.summaries
    numbers, doubled = summaries(Y[:4].double(), FIELD), summaries(2 * Y[:4].double(), FIELD)
    torch.testing.assert_close(doubled[:, 0], 2 * numbers[:, 0])  # the mean of the map
    expected = (math.log(4) / summaries.scatter).expand(4, -1)
    torch.testing.assert_close(doubled[:, 1:] - numbers[:, 1:], expected)


def test_the_discriminator_sees_the_power_and_the_scatter_over_the_batch():
    """Without the pixels, the score of a map still depends on its power and on the other maps."""
    networks = made("field", 0.3).requires_grad_(False).networks
    networks.discriminator.features[1].weight.zero_()

    def score(y):
        return networks.score(y, Known(), networks.discriminator)

    alone = score(Y[:1].expand(6, N, N))
    assert torch.allclose(alone, alone[:1].expand(6))
    together = score(torch.cat([Y[:1], Y[5:10]]))
    louder = score(torch.cat([Y[:1], 2 * Y[5:10]]))
    assert abs(float(together[0] - alone[0])) > 1e-3
    assert abs(float(together[0] - louder[0])) > 1e-3
    assert abs(float(together[1] - louder[1])) > 1e-3


def test_the_discriminator_has_no_normalisation():
    kinds = (torch.nn.GroupNorm, torch.nn.BatchNorm2d, torch.nn.LayerNorm)
    layers = made("field").networks.discriminator.modules()
    assert not any(isinstance(layer, kinds) for layer in layers)


# ---------------------------------------------------------------- trained


def test_the_optimiser_has_a_group_for_each_network_and_averages_the_generator():
    for architecture, betas in (("field", (0.0, 0.99)), ("dcgan", (0.5, 0.999))):
        model = made(architecture)
        groups = model.groups(3e-4)
        assert [group["betas"] for group in groups] == [betas] * 2
        assert [group["lr"] for group in groups] == [3e-4] * 2
        together = [parameter for group in groups for parameter in group["params"]]
        assert {id(p) for p in together} == {id(p) for p in model.parameters()}
        names = dict(model.named_parameters())
        assert {id(names[name]) for name in model.averaged()} == {id(p) for p in parts(model)[0]}


def test_a_field_with_too_little_power_is_corrected_in_some_steps():
    """The generator starts with 0.6 of the scatter; the loss must drive it to that of the maps."""
    maps = kappa(256, 2)
    transform = KappaTransform.fit(maps, logarithm=False)
    torch.manual_seed(0)
    model = GAN(N, transform, fit_field(0.6 * transform(maps)), widths=(8, 8))
    before = float(transform(model.sample(128, seeded(16))).std())
    settings = Settings(40, batch=16, lr=3e-3, ema=0.9, augment=random_symmetry)
    list(fit(model, maps, settings, device="cpu"))
    after = float(transform(model.sample(128, seeded(16))).std())
    assert before == pytest.approx(0.6, abs=0.03) and 0.85 < after < 1.2


def trained(architecture, folder=None, augment=random_symmetry):
    model = made(architecture)
    settings = Settings(8, batch=8, lr=1e-3, ema=0.8, augment=augment)
    checks = Checks(MAPS[100:110], every=4)
    files = Folder(folder, 3)
    records = fit(model, MAPS[:40], settings, checks=checks, device="cpu", folder=files)
    return model, list(records)


def interrupted_at(call: int):
    calls = []

    @functools.wraps(random_symmetry)
    def augment(maps, generator):
        calls.append(None)
        if len(calls) == call:
            raise KeyboardInterrupt
        return random_symmetry(maps, generator)

    return augment


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_training_is_validated_saved_and_resumed_bit_for_bit(architecture, tmp_path):
    model, records = trained(architecture)
    assert all(math.isfinite(record["validation"]) for record in records)
    _, stopped = trained(architecture, tmp_path / "run", interrupted_at(6))
    assert stopped[-1]["stopped"] == "interrupted"
    resumed, _ = trained(architecture, tmp_path / "run")
    for name, value in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    loaded = models.load(tmp_path / "run" / "model.safetensors")
    assert loaded.config == model.config
    # up to rounding, since a trained model has another memory format
    torch.testing.assert_close(loaded.sample(3, seeded(17)), model.sample(3, seeded(17)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_loss_in_bfloat16_is_that_in_float32_up_to_rounding(architecture):
    model = made(architecture, 0.02)
    expected = model.loss(MAPS[:8], seeded(18))
    with torch.autocast("cpu", torch.bfloat16):
        found = model.loss(MAPS[:8], seeded(18))
    found.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=0.05)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


# ---------------------------------------------------------------- band powers and conditions


def test_band_powers_that_are_drawn_are_those_that_are_stated():
    powers = BandPowers.fit(Y, FIELD, 2)
    model = made("field", 0.1, band_powers=powers)
    maps = model.sample(20, seeded(19))
    realised = model.realised(maps, seeded(19))
    given = torch.from_numpy(realised.given)
    again = model.sample(20, seeded(19), given={"band_powers": given})
    torch.testing.assert_close(again, maps)
    expected = powers(TRANSFORM(maps)).numpy()
    np.testing.assert_allclose(realised.realised, expected)
    other = model.sample(20, seeded(19), given={"band_powers": given + 1})
    assert not torch.allclose(other, maps)


def test_true_and_made_maps_of_a_training_step_have_the_same_band_powers(monkeypatch):
    powers = BandPowers.fit(Y, FIELD, 2)
    model = made("field", 0.1, band_powers=powers)
    seen = {}

    def noted(true, white, known, generator):
        seen.update(true=true, numbers=known.numbers)
        return true.sum()

    monkeypatch.setattr(model.networks, "loss", noted)
    model.loss(MAPS[:100], seeded(20))
    noise = (seen["numbers"] - powers(seen["true"])).std()
    assert float(noise) == pytest.approx(float(powers.kernel), rel=0.25)  # 200 numbers, 5 errors


def test_the_discriminator_knows_the_conditions_too():
    numbers = MAPS.std((1, 2))[:, None].double()
    conditions = Conditions.fit({"scatter": numbers, "coarse": MAPS[:, ::2, ::2].contiguous()})
    model = made("field", 0.1, conditions=conditions)
    networks = model.networks
    given = {"scatter": numbers[:4], "coarse": MAPS[:4, ::2, ::2].contiguous()}

    def score(given):
        known = Known.of(model.conditions, given, None, N)
        return networks.score(Y[:4], known, networks.discriminator)

    first = score(given)
    for name in given:
        assert not torch.allclose(score(given | {name: 1.5 * given[name]}), first), name
    assert torch.isfinite(model.loss(MAPS[:4], seeded(21), given))


# ---------------------------------------------------------------- refused

BAD = {
    "architecture": ({"architecture": "cosmogan"}, "is field or dcgan, found 'cosmogan'"),
    "side": ({"widths": (8,) * 5}, "5 widths needs maps whose side is a multiple of 32 .* 16"),
    "penalty": ({"penalty": -1.0}, "penalty must be finite and not negative, found -1.0"),
    "spectral": ({"spectral": 1.0}, "the spectral loss belongs to the architecture dcgan"),
    "a field": (
        {"architecture": "dcgan", "gaussian": FIELD},
        "makes maps from numbers alone and takes no gaussian; leave it out",
    ),
    "powers": (
        {"architecture": "dcgan", "band_powers": BandPowers.fit(Y, FIELD, 2)},
        "takes no band_powers",
    ),
    "conditions": (
        {"architecture": "dcgan", "conditions": Conditions.fit({"a": torch.randn(5)})},
        "takes no conditions",
    ),
    "name": (
        {
            "band_powers": BandPowers.fit(Y, FIELD, 2),
            "conditions": Conditions.fit({"band_powers": torch.randn(5, 2)}),
        },
        "a condition is called band_powers",
    ),
    "pixels": (
        {"conditions": Conditions.fit({"fine": torch.randn(5, 32, 32)})},
        "the condition fine has 32 pixels a side; expected those of the maps, 16",
    ),
}


@pytest.mark.parametrize("options, words", BAD.values(), ids=BAD.keys())
def test_what_a_gan_does_not_have_is_refused_in_a_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        GAN(N, TRANSFORM, **options)


def test_maps_without_band_powers_cannot_be_compared_with_them():
    with pytest.raises(ValueError, match="this GAN has no band powers"):
        made("field").realised(MAPS[:2])


def test_a_historic_gan_is_loaded_and_needs_no_conditions(tmp_path):
    path = save_checkpoint(tmp_path / "model.safetensors", made("dcgan"))
    assert models.load(path).config["architecture"] == "dcgan"
    assert models.load(path).given == {} and models.load(path).optional == {}
