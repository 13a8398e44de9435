"""The diffusion model: denoiser, training and likelihood, against fields for which all answers are exact.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from test_samplers import DOUBLE, SAMPLERS, cut_out_field, red_field, seeded

from lensnb.maps import GaussianField
from lensnb.models import Diffusion
from lensnb.models.denoiser import PREDICTIONS, Denoiser, Traced
from lensnb.models.diffusion import LEVELS
from lensnb.samplers import (
    MapNoise,
    ddpm_levels,
    ddpm_sigmas,
    euler,
    exponential,
    flow_sigmas,
    karras_sigmas,
)
from lensnb.train import Checks, Settings, fit
from lensnb.transform import KappaTransform

# ---------------------------------------------------------------- denoiser


class Zero(torch.nn.Module):
    """A network that has nothing to add."""

    def forward(self, inputs, condition):
        return torch.zeros_like(inputs[:, :1])


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("white", [True, False])
def test_inputs_and_target_of_the_network_have_unit_size(sigma, white):
    """Mean squares of both inputs and of the target are 1 within 4σ: each fails by chance with probability 6e-5.

    The mean square of n maps of N pixels whose modes have variances s of mean 1 has the variance 2 ⟨s²⟩ / (n N).
    """
    field, n = red_field(), 400
    if white:
        field = GaussianField(torch.ones_like(field.variance))
    y = field.sample(n, seeded(6)).double()
    x = y + sigma * torch.randn(y.shape, generator=seeded(7), dtype=DOUBLE)
    denoiser, level = Denoiser(Zero(), field), torch.full((n,), sigma, dtype=DOUBLE)
    _, _, inputs = denoiser.split(x, level)
    _, target = denoiser.residual(y, x, level)
    v = field.variance
    sizes = [v + sigma**2, v**2 / (v + sigma**2), v * sigma**2 / (v + sigma**2)]
    for found, size in zip((inputs[:, 0], inputs[:, 1], target), sizes):
        share = field.multiplicity / 256
        size = size / (share * size).sum()
        noise = math.sqrt(2 * float((share * size**2).sum()) / (n * 256))
        assert abs(float(found.square().mean()) - 1) < 4 * noise


def test_each_map_has_a_level_of_its_own():
    field = red_field()
    y = field.sample(3, seeded(8)).double()
    levels = torch.tensor([0.05, 1.0, 15.0], dtype=DOUBLE)
    denoiser = Denoiser(Zero(), field)
    together = denoiser.split(y, levels)
    for i in range(3):
        for whole, one in zip(together, denoiser.split(y[i : i + 1], levels[i : i + 1])):
            torch.testing.assert_close(whole[i], one[0], rtol=1e-12, atol=1e-12)


def test_a_white_field_gives_edms_preconditioning():
    """Karras et al. 2022, table 1, with σ_data = 1: c_skip = 1 / (1 + σ²), c_out = σ / √(1 + σ²), c_in = 1 / √(1 + σ²)."""
    field, sigma = GaussianField(torch.ones(16, 9)), torch.tensor([0.3, 5.0], dtype=DOUBLE)
    x = torch.randn(2, 16, 16, generator=seeded(9), dtype=DOUBLE)
    estimate, c_out, inputs = Denoiser(Zero(), field).split(x, sigma)
    s = sigma[:, None, None]
    torch.testing.assert_close(estimate, x / (1 + s**2))
    torch.testing.assert_close(c_out, s / torch.sqrt(1 + s**2))
    torch.testing.assert_close(inputs[:, 0], x / torch.sqrt(1 + s**2))


def noised(field: GaussianField) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clean maps, the noise, the noised maps and their levels."""
    y = field.sample(4, seeded(10)).double()
    noise = torch.randn(y.shape, generator=seeded(11), dtype=DOUBLE)
    sigma = torch.tensor([0.1, 0.5, 2.0, 10.0], dtype=DOUBLE)
    return y, noise, y + sigma[:, None, None] * noise, sigma


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_network_that_says_what_it_should_makes_the_denoiser_exact(prediction):
    """It turns the noised maps back into the clean ones."""
    y, _, x, sigma = noised(red_field())
    _, wanted = Denoiser(Zero(), red_field(), prediction).residual(y, x, sigma)

    class Oracle(torch.nn.Module):
        def forward(self, inputs, condition):
            return wanted[:, None]

    torch.testing.assert_close(
        Denoiser(Oracle(), red_field(), prediction)(x, sigma), y, rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize(
    "prediction, formula",
    [
        ("noise", lambda y, n, s: n),
        ("data", lambda y, n, s: y),
        (
            "v",
            lambda y, n, s: n * torch.cos(torch.atan(s)) - y * torch.sin(torch.atan(s)),
        ),  # α n − σ̂ y, as published
        ("velocity", lambda y, n, s: n - y),
    ],
)
def test_what_the_network_should_say(prediction, formula):
    y, noise, x, sigma = noised(red_field())
    _, wanted = Denoiser(Zero(), red_field(), prediction).residual(y, x, sigma)
    torch.testing.assert_close(
        wanted, formula(y, noise, sigma[:, None, None]), rtol=1e-10, atol=1e-10
    )


def test_a_white_field_makes_the_residual_v_with_its_sign_turned():
    """Denoiser and loss, of one network and of its negative."""
    models = [
        Diffusion(16, widths=(8, 16), prediction=prediction).double()
        for prediction in ("residual", "v")
    ]
    with torch.no_grad():
        for parameter in models[0].parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=seeded(12))
        models[1].load_state_dict(models[0].state_dict())
        for parameter in models[1].denoiser.network.last[-1].parameters():
            parameter.neg_()
    y, _, x, sigma = noised(red_field())
    residual, v = (model.denoiser(x, sigma) for model in models)
    torch.testing.assert_close(residual, v, rtol=1e-10, atol=1e-10)
    residual, v = (model.loss(y, seeded(13)) for model in models)
    torch.testing.assert_close(residual, v, rtol=1e-10, atol=1e-10)
    assert (residual - 1).abs() > 0.01  # the networks say something


# ---------------------------------------------------------------- the model


def gaussian_model(field=None, **options) -> Diffusion:
    """An untrained model preconditioned by a Gaussian field, with κ = 0.002 + 0.01 x."""
    torch.manual_seed(0)
    transform = KappaTransform(mean=0.002, std=0.01)
    return Diffusion(16, transform, field or red_field(), widths=(8, 16), **options)


@pytest.mark.parametrize("make_field", [red_field, cut_out_field])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_untrained_model_is_the_exact_denoiser(sampler, make_field):
    field = make_field()
    model = gaussian_model(field)

    def denoise(x, sigma):
        return field.denoise(x, sigma)

    denoise.gaussian = field
    noise, like = MapNoise(4, seeded(13)), torch.zeros(1, dtype=DOUBLE)
    sigmas = karras_sigmas(6, *model.sigma_range)
    x = field.colour(noise(16, like)) + float(sigmas[0]) * noise(16, like)
    expected = 0.002 + 0.01 * sampler(denoise, x, sigmas, noise)
    found = model.sample(4, seeded(13), steps=6, sampler=sampler)
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-9)


def test_an_untrained_model_samples_the_gaussian_field():
    """Mean, and total variance in units of each mode's own; 400 maps, 4σ each: fails by chance with probability 1e-4."""
    maps = gaussian_model().sample(400, seeded(12), steps=8, sampler=exponential).double()
    white = red_field().whiten((maps - 0.002) / 0.01)
    pixels = white.numel()
    assert abs(float(white.mean())) < 4 / math.sqrt(pixels)
    assert abs(float(white.square().mean()) - 1) < 4 * math.sqrt(2 / pixels)


def test_a_sampler_may_be_given_its_levels():
    model = gaussian_model()
    sigmas = karras_sigmas(5, *model.sigma_range)
    assert torch.equal(model.sample(3, seeded(14), sigmas), model.sample(3, seeded(14), 5))
    for levels in (ddpm_sigmas(6), ddpm_sigmas(6, "cosine"), flow_sigmas(6)):
        exact = model.sample(3, seeded(14), levels, exponential)
        assert float((model.sample(3, seeded(14), levels, euler) / exact - 1).abs().median()) < 1


def test_the_loss_of_an_untrained_model_is_one_on_gaussian_maps():
    """Over 20 batches of 100, within 4 standard errors: fails by chance with probability about 3e-4 (19 degrees)."""
    model = gaussian_model().requires_grad_(False)
    maps = 0.002 + 0.01 * red_field().sample(2000, seeded(14))
    losses = torch.tensor(
        [float(model.loss(part, seeded(200 + i))) for i, part in enumerate(maps.split(100))]
    )
    assert abs(float(losses.mean()) - 1) < 4 * float(losses.std()) / math.sqrt(20) < 0.05


@pytest.mark.parametrize(
    "criterion, formula",
    [
        (F.mse_loss, lambda d: d**2),
        (F.l1_loss, lambda d: d.abs()),
        (F.huber_loss, lambda d: torch.where(d.abs() < 1, d**2 / 2, d.abs() - 0.5)),
    ],
)
def test_the_criterion_decides_the_loss(criterion, formula):
    pair = []

    def spy(said, wanted):
        pair.append((said, wanted))
        return criterion(said, wanted)

    maps = 0.002 + 0.01 * red_field().sample(8, seeded(15))
    spied, plain = gaussian_model(criterion=spy), gaussian_model(criterion=criterion)
    loss = plain.loss(maps, seeded(16))
    assert torch.equal(spied.loss(maps, seeded(16)), loss)
    said, wanted = pair[0]
    assert said.shape == wanted.shape == (8, 16, 16)
    torch.testing.assert_close(loss, formula(said - wanted).mean())


def test_the_criterion_is_part_of_the_settings():
    """So that a training with another loss is not taken for the same one."""
    configs = [gaussian_model(criterion=c).config for c in (F.mse_loss, F.l1_loss)]
    assert configs[0] != configs[1]
    rebuilt = Diffusion.from_config(configs[1])
    assert rebuilt.criterion is F.l1_loss and rebuilt.config == configs[1]


def test_every_option_is_part_of_the_settings():
    options = dict(
        prediction="velocity",
        levels="lognormal",
        log_mean=0.3,
        log_std=1.4,
        sigma_range=(0.05, 30.0),
    )
    model = gaussian_model(**options)
    rebuilt = Diffusion.from_config(model.config)
    assert rebuilt.config == model.config and rebuilt.denoiser.prediction == "velocity"
    assert all(
        model.config[name] == (list(value) if name == "sigma_range" else value)
        for name, value in options.items()
    )


def test_options_of_the_u_net_are_part_of_the_settings_too():
    model = Diffusion(20, widths=(8, 8), unet={"patch": 1, "padding": "circular", "attention": 0})
    rebuilt = Diffusion.from_config(model.config)
    assert rebuilt.config == model.config
    rebuilt.load_state_dict(model.state_dict())
    assert (
        rebuilt.denoiser.network.first.padding_mode == "circular"
        and rebuilt.denoiser.network.patch == 1
    )
    with pytest.raises(ValueError, match="a multiple of 8 and at least 16 pixels, found 20"):
        Diffusion(20, widths=(8, 8), unet={"patch": 4})
    with pytest.raises(TypeError, match="pading"):
        Diffusion(16, widths=(8, 8), unet={"pading": "circular"})


def test_a_checkpoint_of_before_the_options_has_the_defaults():
    new = gaussian_model()
    old = {name: new.config[name] for name in ("n", "sigma_range", "criterion")}
    old["channels"] = new.config["widths"]  # of the U-Net, as they were called
    expected = new.config | {"obey": False}  # band powers did not change the field
    assert Diffusion.from_config(old).config == expected


@pytest.mark.parametrize("options", [{"prediction": "score"}, {"levels": "sigmoid"}])
def test_unknown_options_are_refused(options):
    (name, value), expected = (
        *options.items(),
        "noise, data, v" if "prediction" in options else "linear, cosine, flow",
    )
    with pytest.raises(ValueError, match=f"{name} must be one of .*{expected}.*, found '{value}'"):
        Diffusion(16, widths=(8, 16), **options)


@pytest.mark.parametrize("levels", LEVELS)
def test_the_training_visits_its_levels(levels, monkeypatch):
    model, seen = gaussian_model(levels=levels, log_mean=1.0, log_std=0.5), []
    residual = model.denoiser.residual
    monkeypatch.setattr(
        model.denoiser,
        "residual",
        lambda y, x, sigma, *rest: seen.append(sigma) or residual(y, x, sigma),
    )
    loss = model.loss(0.002 + 0.01 * red_field().sample(64, seeded(17)), seeded(18))
    rank = {
        "lognormal": lambda s: torch.special.ndtr((s.log() - 1) / 0.5),
        "flow": lambda s: (s / (1 + s) - 0.001) / 0.998,
        "linear": lambda s: torch.searchsorted(ddpm_levels("linear"), s) / 1000,
        "cosine": lambda s: torch.searchsorted(ddpm_levels("cosine"), s) / 1000,
    }[levels](seen[0])
    assert torch.isfinite(loss) and seen[0].shape == (64,)
    assert (
        (rank.sort().values - torch.arange(64) / 64).abs() < 1 / 64 + 1e-3
    ).all()  # one in each stratum


@pytest.mark.parametrize(
    "options",
    [{"prediction": p} for p in PREDICTIONS] + [{"prediction": "noise", "levels": "linear"},
     {"prediction": "v", "levels": "cosine"}, {"prediction": "velocity", "levels": "flow"}],
    ids=lambda options: " ".join(options.values()),
)  # fmt: skip
def test_all_choices_train(options):
    """Maps that are κ = 0.01 or −0.01 throughout: the loss on fixed noise falls by a tenth, and sampling works."""
    torch.manual_seed(0)
    maps = (
        0.01 * torch.randn(64, 1, 1, generator=seeded(19)).sign().expand(-1, 16, 16).contiguous()
    )
    model = Diffusion(16, KappaTransform(std=0.01), widths=(8, 16), **options)
    with torch.no_grad():
        before = float(model.loss(maps, seeded(20)))
    for _ in fit(model, maps, Settings(60, batch=16, lr=5e-3, ema=0.9), device="cpu"):
        pass
    with torch.no_grad():
        assert float(model.loss(maps, seeded(20))) < 0.9 * before
    assert torch.isfinite(model.sample(2, seeded(21), 4, exponential)).all()


# ---------------------------------------------------------------- likelihood


class Mixture(torch.nn.Module):
    """The exact denoiser of a field that is either weak or strong, with the Gaussian field of its mean spectrum."""

    def __init__(self):
        super().__init__()
        self.fields = [GaussianField(s**2 * red_field().variance, 0.3) for s in (0.8, 1.25)]
        self.gaussian = GaussianField(sum(field.variance for field in self.fields) / 2, 0.3)

    def forward(self, x, sigma):
        modes, log_weight = torch.fft.rfft2(x - 0.3, norm="ortho").abs().square(), []
        for field in self.fields:
            level = field.variance + sigma[:, None, None] ** 2
            log_weight.append(
                -0.5 * (field.multiplicity * (modes / level + level.log())).sum((-2, -1))
            )
        weight = torch.stack(log_weight).softmax(0)[..., None, None]
        return sum(w * field.denoise(x, sigma) for w, field in zip(weight, self.fields))

    def log_prob(self, x):
        return torch.stack([field.log_prob(x) - math.log(2) for field in self.fields]).logsumexp(0)


@pytest.fixture(scope="module")
def mixture() -> tuple[Diffusion, torch.Tensor]:
    """A model whose denoiser is exact for what is not Gaussian, and maps, two weak and two strong."""
    model = Diffusion(16, widths=(8, 16))
    model.denoiser = Mixture()
    return model, torch.cat(
        [f.sample(2, seeded(22 + i)) for i, f in enumerate(model.denoiser.fields)]
    ).double()


@pytest.mark.parametrize("make_field", [red_field, cut_out_field])
@pytest.mark.parametrize("steps", [2, 24])
def test_an_untrained_model_has_the_density_of_the_gaussian_field(steps, make_field):
    """Through a κ transform that bends, in any number of steps, with one probe: its part of the trace is zero."""
    transform = KappaTransform(low=-0.02, shift=0.03, mean=0.01, std=0.01)
    field = make_field(mean=0.3)
    torch.manual_seed(0)
    model = Diffusion(16, transform, field, widths=(8, 16))
    kappa = transform.inverse(field.sample(3, seeded(23)).double())
    found = model.log_prob(kappa, steps)
    assert found.shape == (3,) and found.dtype == DOUBLE and not found.requires_grad
    expected = field.log_prob(transform(kappa)) + transform.log_det(kappa)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-6)


def test_the_density_of_a_mixture_is_exact(mixture):
    """It is 4 to 17 nats from the Gaussian field's; with 12 and 24 steps the error is below 1.5 and 0.4, of 250."""
    model, y = mixture
    exact = model.denoiser.log_prob(y)
    gaussian, coarse, fine = (
        model.denoiser.gaussian.log_prob(y),
        model.log_prob(y, 12, None),
        model.log_prob(y, 24, None),
    )
    assert (gaussian - exact).abs().min() > 4
    assert (coarse - exact).abs().max() < 1.5 and (fine - exact).abs().max() < 0.4
    assert (
        (4 * fine - coarse) / 3 - exact
    ).abs().max() < 0.15  # of second order, and nothing else is left


class Tiny(torch.nn.Module):
    """A random network, in float64, that leaves the lowest noise to the Gaussian estimate as a true denoiser does."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(2, 4, 3, padding=1),
            torch.nn.Tanh(),
            torch.nn.Conv2d(4, 1, 3, padding=1),
        ).double()

    def forward(self, inputs, condition):
        sigma = torch.exp(4 * condition)[:, None, None, None]
        return sigma / (0.3 + sigma) * self.layers(inputs)


@pytest.mark.parametrize("prediction", ["residual", "v"])
def test_the_density_is_the_jacobian_of_the_flow(prediction):
    """The probability-flow ODE from σ = 0.001 to 3 by Runge & Kutta's rule, and its Jacobian by autograd."""
    field = red_field(mean=0.3)
    model = Diffusion(
        16, None, field, network=Tiny(), sigma_range=(0.03, 3.0), prediction=prediction
    )
    y = field.sample(1, seeded(24)).double()
    levels = torch.logspace(-3, math.log10(3), 33, dtype=DOUBLE).tolist()

    def slope(x, log_sigma):  # dx / d ln σ
        return x - model.denoiser(x, torch.tensor([math.exp(log_sigma)], dtype=DOUBLE))

    def carry(x):
        for here, there in zip(map(math.log, levels), map(math.log, levels[1:])):
            h, middle = there - here, (here + there) / 2
            a = slope(x, here)
            b = slope(x + h / 2 * a, middle)
            c = slope(x + h / 2 * b, middle)
            x = x + h / 6 * (a + 2 * b + 2 * c + slope(x + h * c, there))
        return x

    jacobian = torch.autograd.functional.jacobian(carry, y, vectorize=True).reshape(256, 256)
    with torch.no_grad():
        end = GaussianField(field.variance + 9, 0.3).log_prob(carry(y))
    expected = end + torch.linalg.slogdet(jacobian).logabsdet
    assert (expected - field.log_prob(y)).abs() > 3  # the network matters
    torch.testing.assert_close(model.log_prob(y, 20, None), expected, rtol=0, atol=0.1)


def test_the_probes_find_the_trace_with_the_variance_that_is_written_down(mixture):
    """On 1000 copies of a map: mean within 4σ, variance within 25 % (5σ): fails by chance with probability 6e-5."""
    model, y = mixture
    x = (y[:1] + 2 * torch.randn(1, 16, 16, generator=seeded(25), dtype=DOUBLE)).expand(
        1000, -1, -1
    )
    sigma = torch.full((1000,), 2.0, dtype=DOUBLE)
    traced = Traced(model.denoiser, MapNoise(1000, seeded(26)), 1)
    clean = traced(x, sigma)
    torch.testing.assert_close(clean, model.denoiser(x, sigma))
    rest = lambda z: model.denoiser(z, sigma[:1]) - model.denoiser.gaussian.denoise(z, sigma[:1])
    a = torch.autograd.functional.jacobian(rest, x[:1], vectorize=True).reshape(256, 256)
    symmetric = (a + a.T) / 2
    variance = 2 * float(symmetric.square().sum() - symmetric.diag().square().sum())
    assert abs(float(traced.traces[0].mean() - a.trace())) < 4 * math.sqrt(variance / 1000)
    assert abs(float(traced.traces[0].var()) / variance - 1) < 0.25
    exact = Traced(model.denoiser, MapNoise(1), None)
    exact(x[:2], sigma[:2])
    torch.testing.assert_close(exact.traces[0], a.trace().expand(2))


def test_a_density_does_not_depend_on_the_batch(mixture):
    model, y = mixture
    whole = model.log_prob(y, 4, 2, seeded(27))
    torch.testing.assert_close(
        model.log_prob(y, 4, 2, seeded(27), batch=3), whole, rtol=1e-10, atol=1e-9
    )
    assert not torch.equal(model.log_prob(y, 4, 2, seeded(28)), whole)
    with pytest.raises(ValueError, match=r"expected \(maps, 16, 16\)"):
        model.log_prob(y[:, :8, :8])


def test_held_out_maps_are_followed_by_noise_level():
    """Of an untrained model all are 1, up to the scatter of 60 maps of 256 pixels; 4σ is 0.05."""
    maps = 0.002 + 0.01 * red_field().sample(60, seeded(30))
    model = gaussian_model()
    records = list(
        fit(model, maps[:8], Settings(4, batch=4, lr=1e-9), checks=Checks(maps, every=1))
    )
    names = [f"validation, σ = {sigma}" for sigma in ("0.1", "0.3", "1", "3", "10")]
    assert [name for name in records[-1] if name.startswith("validation,")] == names
    assert all(records[-1][name] == pytest.approx(1, abs=0.1) for name in names)
    without = list(fit(gaussian_model(), maps[:8], Settings(2, batch=4)))
    assert not any(name.startswith("validation") for name in without[-1])
