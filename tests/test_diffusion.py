"""The diffusion model: noise levels, denoiser and samplers, against a Gaussian field for which all answers are exact.

Heun's method on the exact Gaussian denoiser multiplies each Fourier mode by a number that can be written down, so the
sampler's discretisation error is known and the tolerances below are sample noise alone. Statistical tests use fixed
seeds; each says how often a correct code would fail it with another seed.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from lensnb.maps import GaussianField, MapGrid
from lensnb.models import Diffusion
from lensnb.models.diffusion import Denoiser
from lensnb.samplers import MapNoise, heun, karras_sigmas, stochastic, stratified_sigmas
from lensnb.transform import KappaTransform

GRID = MapGrid(16, 5.0)
DOUBLE = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def red_field(mean: float = 0.0) -> GaussianField:
    """A field of unit variance whose modes' variances span a factor of 27."""
    variance = (1 + (GRID.ell / 150) ** 2) ** -1.2
    share = GRID.multiplicity / GRID.n**2
    return GaussianField(variance / (share * variance).sum(), mean)


FIELD = red_field(mean=0.3)

# ---------------------------------------------------------------- noise levels


def test_karras_levels_fall_to_zero():
    sigmas = karras_sigmas(18, 0.02, 20.0)
    assert sigmas.dtype == DOUBLE and sigmas.shape == (19,)
    assert float(sigmas[0]) == pytest.approx(20) and float(sigmas[17]) == pytest.approx(0.02) and sigmas[18] == 0
    assert (sigmas.diff() < 0).all()
    assert float(sigmas[4]) == pytest.approx((20 ** (1 / 7) + 4 / 17 * (0.02 ** (1 / 7) - 20 ** (1 / 7))) ** 7)


def test_one_step_is_refused():
    with pytest.raises(ValueError, match="a sampler needs at least 2 steps, found 1"):
        karras_sigmas(1, 0.02, 20.0)


@pytest.mark.parametrize("n", [1, 7, 64])
def test_stratified_levels_are_one_a_stratum(n):
    sigmas = stratified_sigmas(n, -0.5, 1.2, seeded(1))
    stratum = n * torch.special.ndtr((sigmas.log() + 0.5) / 1.2)
    assert sorted(stratum.floor().int().tolist()) == list(range(n))
    assert n < 5 or stratum.tolist() != sorted(stratum.tolist())


def test_stratified_levels_are_lognormal():
    """Kolmogorov–Smirnov on one level of each of 400 batches: fails by chance with probability 1e-3."""
    draws = [float(stratified_sigmas(8, -0.5, 1.2, seeded(100 + i))[0]) for i in range(400)]
    assert scipy.stats.kstest((np.log(draws) + 0.5) / 1.2, "norm").pvalue > 1e-3


def test_each_map_has_noise_of_its_own():
    whole, some = MapNoise(5, seeded(2)), MapNoise(9, seeded(2))
    first, again = whole(8, torch.zeros(1, dtype=DOUBLE)), some[:5](8, torch.zeros(1, dtype=DOUBLE))
    assert torch.equal(first, again) and first.shape == (5, 8, 8)
    assert torch.equal(whole[3:](8, first)[0], some[3:4](8, first)[0])  # and goes on where it was
    assert len(torch.unique(first)) == first.numel()


# ---------------------------------------------------------------- samplers on the exact Gaussian denoiser


def heun_gain(variance: torch.Tensor, sigma: float, following: float) -> torch.Tensor:
    """What a step does to a mode: dx/dσ = a(σ) x with a = σ / (λ + σ²); Heun's step, and Euler's to σ = 0."""

    def a(level):
        return level / (variance + level**2)

    if following == 0:
        return 1 - sigma * a(sigma)
    step = following - sigma
    return 1 + step * (a(sigma) + a(following) * (1 + step * a(sigma))) / 2


def predicted_variance(variance: torch.Tensor, sigmas: torch.Tensor, churn: float = 0.0) -> torch.Tensor:
    """Variance of each mode of samples that start from the field's own distribution at the highest level."""
    now = variance + float(sigmas[0]) ** 2
    for sigma, following in pairwise(sigmas.tolist()):
        raised = sigma * (1 + churn)
        now = (now + raised**2 - sigma**2) * heun_gain(variance, raised, following) ** 2
    return now


def check_distribution(maps: torch.Tensor, mean: float, variance: torch.Tensor) -> None:
    """Fail unless maps are draws of the Gaussian field, to the noise of their number.

    Whitened by the field: the mean of each pixel, the variance of each Fourier mode (5σ each, of 144) and all 32,896
    elements of the pixel covariance (χ² within 4σ). Fails by chance with probability about 4e-4.
    """
    n, pixels = len(maps), maps[0].numel()
    white = GaussianField(variance, mean).whiten(maps)
    assert abs(n * float(white.mean(0).square().sum()) - pixels) < 4 * math.sqrt(2 * pixels)
    power = torch.fft.rfft2(white, norm="ortho").abs().square().mean(0)
    real = torch.zeros_like(power)
    real[[0, 0, 8, 8], [0, 8, 0, 8]] = 1  # these modes have no imaginary part
    assert ((power - 1).abs() < 5 * torch.sqrt((1 + real) / n)).all()
    scatter = white.flatten(1).T @ white.flatten(1) / n - torch.eye(pixels, dtype=white.dtype)
    chi2 = n * float(scatter.triu(1).square().sum() + scatter.diag().square().sum() / 2)
    dof = pixels * (pixels + 1) / 2
    assert abs(chi2 - dof) < 4 * math.sqrt(2 * dof)


def start(noise: MapNoise, sigma: float) -> torch.Tensor:
    """The field's own distribution at a noise level."""
    like = torch.zeros(1, dtype=DOUBLE)
    return FIELD.colour(noise(GRID.n, like)) + sigma * noise(GRID.n, like)


@pytest.mark.parametrize("sampler, churn", [(heun, 0.0), (stochastic, 0.3)])
@pytest.mark.parametrize("steps", [8, 18])
def test_samplers_have_the_right_mean_and_covariance(sampler, churn, steps):
    sigmas, noise = karras_sigmas(steps, 0.02, 20.0), MapNoise(2000, seeded(3))
    maps = sampler(FIELD.denoise, start(noise, float(sigmas[0])), sigmas, noise)
    check_distribution(maps, 0.3, predicted_variance(FIELD.variance, sigmas, churn))


def test_many_steps_have_the_exact_distribution():
    """The same check without allowing for the discretisation: the error of 100 steps is lost in the noise of 400 maps."""
    sigmas, noise = karras_sigmas(100, 0.002, 20.0), MapNoise(400, seeded(4))
    check_distribution(heun(FIELD.denoise, start(noise, 20.0), sigmas, noise), 0.3, FIELD.variance)


@pytest.mark.parametrize("churn, at_18_steps, order", [(0.0, 0.065, 2), (0.3, 0.135, 1)])
def test_the_discretisation_error_is_known_and_falls(churn, at_18_steps, order):
    """Excess variance of the worst mode with 18 steps from σ = 20 to 0.02: 6.4 % with Heun's method, 13 % with fresh
    noise at each step; of second and of first order. The last step, from σ_min to 0, leaves λ² / (λ + σ_min²).
    """
    variance = torch.logspace(-1.5, 2, 30, dtype=DOUBLE)  # the modes of transformed maps, whose mean is one
    exact = variance**2 / (variance + 0.02**2)
    error = []
    for steps in (18, 36, 72):
        found = predicted_variance(variance, karras_sigmas(steps, 0.02, 20.0), churn)
        error.append(float((found / exact - 1).abs().max()))
    assert error[0] < at_18_steps
    assert error[0] > 0.85 * 2**order * error[1] > (0.85 * 2**order) ** 2 * error[2]


@pytest.mark.parametrize(
    "sampler, mistake",
    [
        (heun, "half the noise"), (heun, "one level late"), (heun, "three levels late"), (heun, "wrong mean"),
        (heun, "wrong spectrum"), (stochastic, "three levels late"), (stochastic, "wrong mean"),
        (stochastic, "wrong spectrum"),
    ],
)  # fmt: skip
def test_the_check_sees_a_mistake(sampler, mistake):
    sigmas, noise = karras_sigmas(18, 0.02, 20.0), MapNoise(2000, seeded(5))
    expected = predicted_variance(FIELD.variance, sigmas, 0.3 if sampler is stochastic else 0.0)
    denoise, x = FIELD.denoise, start(noise, 10.0 if mistake == "half the noise" else 20.0)
    levels = {"one level late": sigmas[1:], "three levels late": sigmas[3:]}.get(mistake, sigmas)
    if mistake == "wrong mean":
        denoise = GaussianField(FIELD.variance, 0.2).denoise
    if mistake == "wrong spectrum":
        denoise = GaussianField(torch.ones_like(FIELD.variance), 0.3).denoise
    with pytest.raises(AssertionError):
        check_distribution(sampler(denoise, x, levels, noise), 0.3, expected)


def test_heun_multiplies_each_mode_as_written_out():
    delta = torch.zeros(1, 16, 16, dtype=DOUBLE)
    delta[0, 0, 0] = 1
    sigmas, field = karras_sigmas(10, 0.05, 20.0), red_field()
    found = torch.fft.rfft2(heun(field.denoise, delta, sigmas)[0])
    expected = predicted_variance(field.variance, sigmas) / (field.variance + 20.0**2)
    torch.testing.assert_close(found.real.square(), expected, rtol=1e-9, atol=1e-15)
    assert float(found.imag.abs().max()) < 1e-12


def test_heun_converges_at_second_order_to_the_exact_flow():
    """Exactly, a mode shrinks by √(λ / (λ + σ₀²)); four times less error for half the step, three at least."""
    delta = torch.zeros(1, 16, 16, dtype=DOUBLE)
    delta[0, 0, 0] = 1
    field = red_field()
    exact = torch.sqrt(field.variance / (field.variance + 20.0**2))
    error = []
    for steps in (20, 40, 80):
        gain = torch.fft.rfft2(heun(field.denoise, delta, karras_sigmas(steps, 1e-3, 20.0))[0]).real
        error.append(float((gain / exact - 1).abs().max()))
    assert error[0] > 3 * error[1] > 9 * error[2] and error[2] < 2e-3


def test_heun_carries_quantiles_of_a_mixture():
    """In one dimension the flow is the monotone map between distributions. Pixels that are ±1 with scatter 0.2."""
    spread = 0.2

    def denoise(x, sigma):
        total = spread**2 + sigma[:, None, None] ** 2
        sign = torch.tanh(x / total)
        return (sigma[:, None, None] ** 2 * sign + spread**2 * x) / total

    def cdf(x, sigma):
        scale = math.sqrt(spread**2 + sigma**2)
        return (scipy.stats.norm.cdf(x, -1, scale) + scipy.stats.norm.cdf(x, 1, scale)) / 2

    x = torch.linspace(-40, 40, 256, dtype=DOUBLE).reshape(1, 16, 16)
    found = heun(denoise, x, karras_sigmas(300, 0.002, 20.0)).flatten().numpy()
    middle = np.abs(cdf(found, 0.0) - 0.5) < 0.49
    np.testing.assert_allclose(cdf(found, 0.0)[middle], cdf(x.flatten().numpy(), 20.0)[middle], atol=2e-3)
    assert middle.sum() > 100


def test_heun_calls_the_denoiser_twice_a_step_but_for_the_last():
    calls = []

    def denoise(x, sigma):
        calls.append(sigma)
        return FIELD.denoise(x, sigma)

    sigmas = karras_sigmas(7, 0.02, 20.0)
    heun(denoise, torch.zeros(3, 16, 16, dtype=DOUBLE), sigmas)
    assert len(calls) == 2 * len(sigmas) - 3 and all(level.shape == (3,) for level in calls)


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


def test_the_residual_is_what_makes_the_denoiser_exact():
    """A network that says what it should say turns the noised maps back into the clean ones."""
    field = red_field()
    y = field.sample(4, seeded(10)).double()
    sigma = torch.tensor([0.1, 0.5, 2.0, 10.0], dtype=DOUBLE)
    x = y + sigma[:, None, None] * torch.randn(y.shape, generator=seeded(11), dtype=DOUBLE)
    _, wanted = Denoiser(Zero(), field).residual(y, x, sigma)

    class Oracle(torch.nn.Module):
        def forward(self, inputs, condition):
            return wanted[:, None]

    torch.testing.assert_close(Denoiser(Oracle(), field)(x, sigma), y, rtol=1e-11, atol=1e-11)


# ---------------------------------------------------------------- the model


def gaussian_model(**options) -> Diffusion:
    """An untrained model preconditioned by a Gaussian field, with κ = 0.002 + 0.01 x."""
    torch.manual_seed(0)
    return Diffusion(16, KappaTransform(mean=0.002, std=0.01), red_field(), channels=(8, 16), **options)


def test_an_untrained_model_samples_the_gaussian_field():
    model = gaussian_model()
    maps = model.sample(400, seeded(12)).double()
    predicted = predicted_variance(red_field().variance, karras_sigmas(24, *model.sigma_range))
    check_distribution(maps, 0.002, predicted * 0.01**2)


@pytest.mark.parametrize("sampler", [heun, stochastic])
def test_an_untrained_model_is_the_exact_denoiser(sampler):
    model, field = gaussian_model(), red_field()
    noise, like = MapNoise(4, seeded(13)), torch.zeros(1, dtype=DOUBLE)
    sigmas = karras_sigmas(6, *model.sigma_range)
    x = field.colour(noise(16, like)) + float(sigmas[0]) * noise(16, like)
    expected = 0.002 + 0.01 * sampler(field.denoise, x, sigmas, noise)
    found = model.sample(4, seeded(13), steps=6, sampler=sampler)
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-9)


def test_the_loss_of_an_untrained_model_is_one_on_gaussian_maps():
    """Over 20 batches of 100, within 4 standard errors: fails by chance with probability about 3e-4 (19 degrees)."""
    model = gaussian_model().requires_grad_(False)
    maps = 0.002 + 0.01 * red_field().sample(2000, seeded(14))
    losses = torch.tensor([float(model.loss(part, seeded(200 + i))) for i, part in enumerate(maps.split(100))])
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
