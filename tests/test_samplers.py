"""Noise levels and samplers, against fields for which all answers are exact.

On the exact Gaussian denoiser every sampler multiplies each Fourier mode by a number that can be written down, so the
discretisation error is known and the tolerances below are sample noise alone. A mixture of two fields of different
strength, whose denoiser is exact too, stands for what is not Gaussian. Statistical tests use fixed seeds; each says how
often a correct code would fail it with another seed.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch

from lensnb.maps import CutOutField, GaussianField, MapGrid
from lensnb.samplers import (
    MapNoise,
    ancestral,
    ddpm_levels,
    ddpm_sigmas,
    dpm_solver,
    euler,
    exponential,
    flow_sigmas,
    heun,
    karras_sigmas,
    stochastic,
    stratified_ddpm_sigmas,
    stratified_flow_sigmas,
    stratified_sigmas,
)

GRID = MapGrid(16, 5.0)
DOUBLE = torch.float64
SAMPLERS = [euler, heun, stochastic, ancestral, dpm_solver, exponential]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def red_field(mean: float = 0.0) -> GaussianField:
    """A field of unit variance whose modes' variances span a factor of 27."""
    variance = (1 + (GRID.ell / 150) ** 2) ** -1.2
    share = GRID.multiplicity / GRID.n**2
    return GaussianField(variance / (share * variance).sum(), mean)


def cut_out_field(mean: float = 0.0) -> CutOutField:
    """The same spectrum on a square that is cut out of a larger sky."""
    grid = MapGrid(64, 20.0)
    return CutOutField.of_periodic(
        GaussianField((1 + (grid.ell / 150) ** 2) ** -1.2, mean), GRID.n
    )


class Exact:
    """The exact denoiser of a Gaussian field."""

    def __init__(self, field: GaussianField):
        self.gaussian, self.calls = field, 0

    def __call__(self, x, sigma):
        self.calls += 1
        assert sigma.shape == (len(x),)
        return self.gaussian.denoise(x, sigma)


class Mixture:
    """The exact denoiser of a field that is either weak or strong, with the Gaussian field of its mean spectrum."""

    def __init__(self, strengths: tuple[float, float] = (0.8, 1.25)):
        self.fields = [GaussianField(s**2 * red_field().variance, 0.3) for s in strengths]
        self.gaussian = GaussianField(sum(field.variance for field in self.fields) / 2, 0.3)

    def __call__(self, x, sigma):
        modes, log_weight = torch.fft.rfft2(x - 0.3, norm="ortho").abs().square(), []
        for field in self.fields:
            noised = field.variance + sigma[:, None, None] ** 2
            log_weight.append(
                -0.5 * (field.multiplicity * (modes / noised + noised.log())).sum((-2, -1))
            )
        weight = torch.stack(log_weight).softmax(0)[..., None, None]
        return sum(w * field.denoise(x, sigma) for w, field in zip(weight, self.fields))


FIELD = red_field(mean=0.3)

# ---------------------------------------------------------------- the levels of a sampler


def test_karras_levels_fall_to_zero():
    sigmas = karras_sigmas(18, 0.02, 20.0)
    assert sigmas.dtype == DOUBLE and sigmas.shape == (19,)
    assert (
        float(sigmas[0]) == pytest.approx(20)
        and float(sigmas[17]) == pytest.approx(0.02)
        and sigmas[18] == 0
    )
    assert (sigmas.diff() < 0).all()
    assert float(sigmas[4]) == pytest.approx(
        (20 ** (1 / 7) + 4 / 17 * (0.02 ** (1 / 7) - 20 ** (1 / 7))) ** 7
    )


def test_ddpm_levels_are_those_of_the_papers():
    """By hand: β₁ = 1e-4 and β₂ = 1e-4 + 0.0199 / 999; the papers' schedules end at ᾱ = 4.0e-5, and at β = 0.999."""
    linear, cosine = ddpm_levels("linear"), ddpm_levels("cosine")
    kept = [1 - 1e-4, (1 - 1e-4) * (1 - 1e-4 - 0.0199 / 999)]
    for found, alpha_bar in zip(linear, kept):
        assert float(found) == pytest.approx(math.sqrt((1 - alpha_bar) / alpha_bar), rel=1e-10)
    assert float(1 / (1 + linear[-1] ** 2)) == pytest.approx(4.036e-5, rel=1e-3)
    angle = [(t / 1000 + 0.008) / 1.008 * math.pi / 2 for t in (0, 500, 999)]
    middle, late = ((math.cos(a) / math.cos(angle[0])) ** 2 for a in angle[1:])
    assert float(cosine[499]) == pytest.approx(math.sqrt(1 / middle - 1))
    assert float(cosine[999]) == pytest.approx(math.sqrt(1 / (0.001 * late) - 1))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_ddpm_sampler_visits_timesteps_from_the_last_to_the_first(schedule):
    levels = ddpm_levels(schedule)
    sigmas = ddpm_sigmas(4, schedule)
    torch.testing.assert_close(
        sigmas, torch.stack([levels[999], levels[666], levels[333], levels[0], levels[0] * 0])
    )
    whole = ddpm_sigmas(1000, schedule)
    assert (
        whole.dtype == DOUBLE
        and torch.equal(whole[:-1].flip(0), levels)
        and (whole.diff() < 0).all()
    )


def test_flow_times_are_uniform():
    sigmas = flow_sigmas(10, 20.0)
    torch.testing.assert_close(sigmas / (1 + sigmas), torch.linspace(20 / 21, 0, 11, dtype=DOUBLE))
    assert sigmas[-1] == 0


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: karras_sigmas(1, 0.02, 20.0), "a sampler needs at least 2 steps, found 1"),
        (lambda: flow_sigmas(1), "a sampler needs at least 2 steps, found 1"),
        (lambda: ddpm_sigmas(1001), "takes from 2 to 1000 steps, found 1001"),
        (
            lambda: ddpm_sigmas(10, "sigmoid"),
            "DDPM has the schedules linear and cosine, found 'sigmoid'",
        ),
        (lambda: ddpm_levels(T=10), "need at least 25 timesteps, found 10"),
    ],
)
def test_impossible_levels_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


# ---------------------------------------------------------------- the levels of a training


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


@pytest.mark.parametrize("n", [1, 7, 64])
def test_flow_levels_are_one_a_stratum(n):
    sigmas = stratified_flow_sigmas(n, seeded(1))
    stratum = n * (sigmas / (1 + sigmas) - 0.001) / 0.998
    assert sigmas.shape == (n,) and sorted(stratum.floor().int().tolist()) == list(range(n))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_ddpm_levels_are_one_a_stratum(schedule):
    """A stratum of 1000 / 64 timesteps, the last of which it may share; over many batches every timestep comes."""
    levels = ddpm_levels(schedule)
    drawn = torch.stack(
        [stratified_ddpm_sigmas(64, schedule, generator=seeded(i)) for i in range(200)]
    )
    t = torch.searchsorted(levels, drawn)  # from 0
    assert torch.equal(levels[t], drawn)
    lowest = torch.arange(64) * 1000 / 64
    assert (
        (t.sort(1).values >= lowest.floor()) & (t.sort(1).values <= (lowest + 1000 / 64).floor())
    ).all()
    assert (
        t.min() == 0 and t.max() == 999 and len(t.unique()) > 990
    )  # 0.003 of them are missed on average


def test_flow_times_are_uniform_over_batches():
    """Kolmogorov–Smirnov on one level of each of 400 batches: fails by chance with probability 1e-3."""
    draws = torch.stack([stratified_flow_sigmas(8, seeded(100 + i))[0] for i in range(400)])
    assert scipy.stats.kstest((draws / (1 + draws)).numpy(), "uniform").pvalue > 1e-3


# ---------------------------------------------------------------- noise


def test_each_map_has_noise_of_its_own():
    whole, some = MapNoise(5, seeded(2)), MapNoise(9, seeded(2))[:5]
    like = torch.zeros(1, dtype=DOUBLE)
    first, again = whole(8, like), some(8, like)
    assert torch.equal(first, again) and first.shape == (5, 8, 8)
    assert torch.equal(whole(8, like)[3:], some(8, like)[3:])  # and goes on where it was
    assert torch.equal(whole[3:](8, like), first[3:])  # a slice begins at the beginning
    assert len(torch.unique(first)) == first.numel()


# ---------------------------------------------------------------- samplers on the exact Gaussian denoiser


def gain_euler(variance: torch.Tensor, sigma: float, following: float) -> torch.Tensor:
    """What a step does to a mode: dx/dσ = σ x / (λ + σ²)."""
    return (variance + sigma * following) / (variance + sigma**2)


def gain_heun(variance: torch.Tensor, sigma: float, following: float) -> torch.Tensor:
    """Heun's step, and Euler's to σ = 0."""
    if following == 0:
        return gain_euler(variance, sigma, following)
    step = following - sigma
    slope, end = sigma / (variance + sigma**2), following / (variance + following**2)
    return 1 + step * (slope + end * (1 + step * slope)) / 2


def predicted_variance(sampler, variance: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Variance of each mode of samples that start from the field's own distribution at the highest level."""
    now = variance + float(sigmas[0]) ** 2
    if sampler is exponential:
        return variance
    if sampler is dpm_solver:
        x, before, levels = torch.ones_like(variance), None, sigmas.tolist()
        for i, (sigma, following) in enumerate(pairwise(levels)):
            wiener = x * variance / (variance + sigma**2)
            middle = wiener
            if before is not None and following > 0:
                middle = (
                    wiener
                    + (wiener - before)
                    * math.log(sigma / following)
                    / math.log(levels[i - 1] / sigma)
                    / 2
                )
            x, before = following / sigma * x + (1 - following / sigma) * middle, wiener
        return now * x**2
    for sigma, following in pairwise(sigmas.tolist()):
        raised = 1.3 * sigma if sampler is stochastic else sigma
        if sampler is ancestral:
            kept = (following / sigma) ** 2
            now = now * ((variance + following**2) / (variance + sigma**2)) ** 2 + following**2 * (
                1 - kept
            )
        else:
            gain = gain_euler if sampler is euler else gain_heun
            now = (now + raised**2 - sigma**2) * gain(variance, raised, following) ** 2
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


def start(noise: MapNoise, sigma: float, field: GaussianField = FIELD) -> torch.Tensor:
    """The field's own distribution at a noise level."""
    like = torch.zeros(1, dtype=DOUBLE)
    return field.colour(noise(GRID.n, like)) + sigma * noise(GRID.n, like)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [6, 14])
def test_samplers_have_the_right_mean_and_covariance(sampler, steps):
    sigmas, noise = karras_sigmas(steps, 0.02, 20.0), MapNoise(2000, seeded(3))
    maps = sampler(Exact(FIELD), start(noise, float(sigmas[0])), sigmas, noise)
    check_distribution(maps, 0.3, predicted_variance(sampler, FIELD.variance, sigmas))


@pytest.mark.parametrize("sampler", [heun, dpm_solver])
def test_many_steps_have_the_exact_distribution(sampler):
    """The same check without allowing for the discretisation: the error of 100 steps is lost in the noise of 400 maps."""
    sigmas, noise = karras_sigmas(100, 0.002, 20.0), MapNoise(400, seeded(4))
    check_distribution(
        sampler(Exact(FIELD), start(noise, 20.0), sigmas, noise), 0.3, FIELD.variance
    )


@pytest.mark.parametrize(
    "sampler, at_18_steps, order",
    [
        (euler, 0.23, 1),
        (ancestral, 0.39, 1),
        (heun, 0.065, 2),
        (stochastic, 0.135, 1),
        (dpm_solver, 0.052, 2),
    ],
)
def test_the_discretisation_error_is_known_and_falls(sampler, at_18_steps, order):
    """Error of the variance of the worst mode with 18 steps from σ = 20 to 0.02, and how it falls with more.

    The last step, from σ_min to 0, leaves λ² / (λ + σ_min²).
    """
    variance = torch.logspace(
        -1.5, 2, 30, dtype=DOUBLE
    )  # the modes of transformed maps, whose mean is one
    exact = variance**2 / (variance + 0.02**2)
    error = []
    for steps in (18, 36, 72):
        found = predicted_variance(sampler, variance, karras_sigmas(steps, 0.02, 20.0))
        error.append(float((found / exact - 1).abs().max()))
    assert at_18_steps > error[0] > 0.8 * 2**order * error[1] > (0.8 * 2**order) ** 2 * error[2]


@pytest.mark.parametrize(
    "sampler, mistake",
    [
        (exponential, "half the noise"), (exponential, "wrong mean"), (heun, "half the noise"), (heun, "one level late"), (heun, "three levels late"), (heun, "wrong mean"),
        (heun, "wrong spectrum"), (stochastic, "three levels late"), (stochastic, "wrong mean"),
        (stochastic, "wrong spectrum"),
    ],
)  # fmt: skip
def test_the_check_sees_a_mistake(sampler, mistake):
    sigmas, noise = karras_sigmas(18, 0.02, 20.0), MapNoise(2000, seeded(5))
    expected = predicted_variance(sampler, FIELD.variance, sigmas)
    denoise, x = Exact(FIELD), start(noise, 10.0 if mistake == "half the noise" else 20.0)
    levels = {"one level late": sigmas[1:], "three levels late": sigmas[3:]}.get(mistake, sigmas)
    if mistake == "wrong mean":
        denoise = Exact(GaussianField(FIELD.variance, 0.2))
    if mistake == "wrong spectrum":
        denoise = Exact(GaussianField(torch.ones_like(FIELD.variance), 0.3))
    with pytest.raises(AssertionError):
        check_distribution(sampler(denoise, x, levels, noise), 0.3, expected)


def delta() -> torch.Tensor:
    """A map whose modes are all one."""
    x = torch.zeros(1, 16, 16, dtype=DOUBLE)
    x[0, 0, 0] = 16
    return x


@pytest.mark.parametrize("sampler", [euler, heun, dpm_solver, exponential])
def test_samplers_multiply_each_mode_as_written_out(sampler):
    sigmas, field = karras_sigmas(10, 0.05, 20.0), red_field()
    found = torch.fft.rfft2(sampler(Exact(field), delta(), sigmas)[0], norm="ortho")
    expected = predicted_variance(sampler, field.variance, sigmas) / (field.variance + 20.0**2)
    torch.testing.assert_close(found.real.square(), expected, rtol=1e-9, atol=1e-15)
    assert float(found.imag.abs().max()) < 1e-12


@pytest.mark.parametrize("sampler, order", [(euler, 1), (heun, 2), (dpm_solver, 2)])
def test_samplers_converge_to_the_exact_flow(sampler, order):
    """Exactly, a mode shrinks by √(λ / (λ + σ₀²))."""
    field = red_field()
    exact = torch.sqrt(field.variance / (field.variance + 20.0**2))
    error = []
    for steps in (40, 80, 160):
        gain = torch.fft.rfft2(
            sampler(Exact(field), delta(), karras_sigmas(steps, 1e-3, 20.0))[0], norm="ortho"
        ).real
        error.append(float((gain / exact - 1).abs().max()))
    assert error[0] > 0.75 * 2**order * error[1] > (0.75 * 2**order) ** 2 * error[2]


@pytest.mark.parametrize(
    "sigmas", [karras_sigmas(2, 0.03, 20.0), ddpm_sigmas(3, "cosine"), flow_sigmas(5)]
)
def test_exponential_is_exact_for_a_gaussian_field_in_any_number_of_steps(sigmas):
    x = start(MapNoise(3, seeded(6)), float(sigmas[0]))
    shrink = torch.sqrt(FIELD.variance / (FIELD.variance + sigmas[0] ** 2))
    exact = 0.3 + torch.fft.irfft2(torch.fft.rfft2(x - 0.3) * shrink)
    torch.testing.assert_close(exponential(Exact(FIELD), x, sigmas), exact, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- samplers on what is not Gaussian


@pytest.fixture(scope="module")
def flow_of_the_mixture():
    """Noise at σ = 20 and the map that the exact flow makes of it, by Heun's method in 1500 steps."""
    denoise = Mixture()
    x = start(MapNoise(4, seeded(7)), 20.0, denoise.gaussian)
    return denoise, x, heun(denoise, x, karras_sigmas(1500, 1e-3, 20.0))


@pytest.mark.parametrize(
    "sampler, order", [(euler, 1), (heun, 2), (dpm_solver, 2), (exponential, 2)]
)
def test_deterministic_samplers_converge_to_the_same_flow(sampler, order, flow_of_the_mixture):
    denoise, x, exact = flow_of_the_mixture
    error = [
        float(
            (sampler(denoise, x, karras_sigmas(steps, 2e-3, 20.0)) - exact).square().mean().sqrt()
        )
        for steps in (24, 48, 96)
    ]
    assert error[0] > 0.75 * 2**order * error[1] > (0.75 * 2**order) ** 2 * error[2]


def test_exponential_is_nearer_with_fewer_calls(flow_of_the_mixture):
    denoise, x, exact = flow_of_the_mixture
    few, many = (
        exponential(denoise, x, karras_sigmas(12, 0.03, 20.0)),
        heun(denoise, x, karras_sigmas(24, 0.03, 20.0)),
    )
    assert float((few - exact).square().mean()) < float((many - exact).square().mean())


def test_exponential_goes_up_and_comes_back(flow_of_the_mixture):
    denoise, x, exact = flow_of_the_mixture
    sigmas = karras_sigmas(150, 0.005, 20.0)
    up = exponential(denoise, exact, sigmas.flip(0))
    torch.testing.assert_close(up, x, rtol=0, atol=1e-3 * 20)
    torch.testing.assert_close(exponential(denoise, up, sigmas), exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize("sampler, steps", [(stochastic, 40), (ancestral, 240), (exponential, 14)])
def test_samplers_make_as_many_weak_as_strong_fields(sampler, steps):
    """And nothing in between. 200 maps: the share of weak ones is within 4 standard deviations of a half, 6e-5."""
    strengths, noise = (0.6, 1.5), MapNoise(200, seeded(8))
    denoise = Mixture(strengths)
    maps = sampler(
        denoise, start(noise, 80.0, denoise.gaussian), karras_sigmas(steps, 0.02, 80.0), noise
    )
    strength = red_field().whiten(maps - 0.3).square().mean((-2, -1)).sqrt()
    weak, strong = ((strength / s - 1).abs() < 0.25 for s in strengths)
    assert (weak | strong).all() and abs(float(weak.double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(
        200
    )


@pytest.mark.parametrize("sampler", [heun, dpm_solver, exponential])
def test_samplers_carry_quantiles_of_a_mixture(sampler):
    """In one dimension the flow is the monotone map between distributions. Pixels that are ±1 with scatter 0.2."""
    spread = 0.2

    def denoise(x, sigma):
        total = spread**2 + sigma[:, None, None] ** 2
        sign = torch.tanh(x / total)
        return (sigma[:, None, None] ** 2 * sign + spread**2 * x) / total

    def cdf(x, sigma):
        scale = math.sqrt(spread**2 + sigma**2)
        return (scipy.stats.norm.cdf(x, -1, scale) + scipy.stats.norm.cdf(x, 1, scale)) / 2

    denoise.gaussian = GaussianField(torch.full((16, 9), 1 + spread**2))
    x = torch.linspace(-40, 40, 256, dtype=DOUBLE).reshape(1, 16, 16)
    found = sampler(denoise, x, karras_sigmas(300, 0.002, 20.0)).flatten().numpy()
    middle = np.abs(cdf(found, 0.0) - 0.5) < 0.49
    np.testing.assert_allclose(
        cdf(found, 0.0)[middle], cdf(x.flatten().numpy(), 20.0)[middle], atol=2e-3
    )
    assert middle.sum() > 100


# ---------------------------------------------------------------- the other conventions


def test_euler_is_flow_matchings_euler(flow_of_the_mixture):
    """In its own coordinates x_t = (1 − t) y + t n and with its own velocity n − y."""
    denoise, x, _ = flow_of_the_mixture
    sigmas = flow_sigmas(12)
    t = (sigmas / (1 + sigmas)).tolist()
    now = (1 - t[0]) * x
    for here, there in pairwise(t):
        clean = denoise(now / (1 - here), torch.full((len(x),), here / (1 - here), dtype=DOUBLE))
        noise = (now - (1 - here) * clean) / here
        now = now + (there - here) * (noise - clean)
    torch.testing.assert_close(euler(denoise, x, sigmas), now, rtol=1e-9, atol=1e-9)


def test_ancestral_is_ddpms(flow_of_the_mixture):
    """Ho et al. 2020, algorithm 2 with eq. 7: mean and variance β̃ of x_{t−1} in terms of ᾱ and β, all 40 timesteps."""
    denoise, x, _ = flow_of_the_mixture
    sigmas = ddpm_sigmas(40, T=40)
    kept = (1 / (1 + sigmas**2)).tolist()  # ᾱ, from the last timestep to ᾱ₀ = 1
    source = MapNoise(4, seeded(9))
    now = math.sqrt(kept[0]) * x
    for bar, bar_next in pairwise(kept):
        beta = 1 - bar / bar_next
        clean = denoise(
            now / math.sqrt(bar), torch.full((len(x),), math.sqrt(1 / bar - 1), dtype=DOUBLE)
        )
        now = (
            math.sqrt(bar_next) * beta / (1 - bar) * clean
            + math.sqrt(1 - beta) * (1 - bar_next) / (1 - bar) * now
        )
        if bar_next < 1:
            now = now + math.sqrt((1 - bar_next) / (1 - bar) * beta) * source(16, now)
    found = ancestral(denoise, x, sigmas, MapNoise(4, seeded(9)))
    torch.testing.assert_close(found, now, rtol=1e-8, atol=1e-8)


def test_dpm_solver_is_that_of_the_paper(flow_of_the_mixture):
    """Lu et al. 2022, algorithm 2, for DDPM's maps α y + σ̂ n with α² + σ̂² = 1 and λ = ln α / σ̂."""
    denoise, x, _ = flow_of_the_mixture
    sigmas = ddpm_sigmas(12)
    alpha = 1 / torch.sqrt(1 + sigmas[:-1] ** 2)
    spread = sigmas[:-1] * alpha
    half_snr = (alpha / spread).log()
    at = lambda now, i: denoise(now / alpha[i], sigmas[i].expand(len(x)))
    now, before = alpha[0] * x, x
    clean = at(now, 0)
    for i in range(1, 12):
        h = half_snr[i] - half_snr[i - 1]
        if i == 1:
            middle = clean
        else:
            r = (half_snr[i - 1] - half_snr[i - 2]) / h
            middle = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * before
        now, before = spread[i] / spread[i - 1] * now - alpha[i] * torch.expm1(-h) * middle, clean
        clean = at(now, i)
    torch.testing.assert_close(dpm_solver(denoise, x, sigmas), clean, rtol=1e-8, atol=1e-8)


# ---------------------------------------------------------------- the contract


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_seed_one_result_in_any_batch(sampler):
    sigmas, denoise = karras_sigmas(4, 0.02, 20.0), Mixture()

    def make(noise):
        return sampler(denoise, start(noise, 20.0), sigmas, noise)

    whole = make(MapNoise(7, seeded(10)))
    assert torch.equal(make(MapNoise(7, seeded(10))), whole) and not torch.allclose(
        make(MapNoise(7, seeded(11))), whole
    )
    parts = MapNoise(9, seeded(10))
    torch.testing.assert_close(
        torch.cat([make(parts[:3]), make(parts[3:7])]), whole, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_samplers_keep_the_dtype_and_count_their_calls(sampler, dtype):
    denoise, steps = Exact(FIELD), 7
    maps = sampler(
        denoise,
        torch.zeros(3, 16, 16, dtype=dtype),
        karras_sigmas(steps, 0.02, 20.0),
        MapNoise(3, seeded(12)),
    )
    assert maps.dtype == dtype and maps.shape == (3, 16, 16)
    assert denoise.calls == (2 * steps - 1 if sampler in (heun, stochastic) else steps)


def test_exponential_needs_to_know_the_gaussian_part():
    with pytest.raises(
        ValueError, match="needs a denoiser with a Gaussian part, such as a GaussianField"
    ):
        exponential(FIELD.denoise, torch.zeros(1, 16, 16), karras_sigmas(4, 0.02, 20.0))
