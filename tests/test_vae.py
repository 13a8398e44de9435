"""The VAE: exact when untrained, a bound where the density is known, information, and collapse.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from lensnb.maps import CutOutField, GaussianField, LognormalField, MapGrid, fit_field
from lensnb.models import VAE
from lensnb.models.latents import kl_from_white
from lensnb.samplers import MapNoise
from lensnb.train import Settings, fit
from lensnb.transform import KappaTransform

FIELD = GaussianField.from_power(
    MapGrid(16, 5.0), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
)
DOUBLE = torch.float64
BIT = math.log(2)
FORMS = pytest.mark.parametrize("blocks", [0, 1])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kappa(n: int, seed: int = 1, channels: int = 1) -> torch.Tensor:
    """Lognormal κ-maps, float64; a second channel is a noisy copy of the first."""
    maps = LognormalField.from_correlation(FIELD.variance, 0.03).sample(n, seeded(seed)).double()
    if channels == 1:
        return maps
    noise = torch.randn(maps.shape, generator=seeded(seed + 100), dtype=DOUBLE)
    return torch.stack([maps, 0.8 * maps + 0.003 * noise], 1)


def vae(blocks: int = 0, kind=CutOutField, channels: int = 1, **more) -> VAE:
    """An untrained model in float64, with its transform and field fitted to lognormal maps."""
    maps = kappa(200, channels=channels)
    transform = KappaTransform.fit(maps)
    torch.manual_seed(0)
    model = VAE(
        16, transform, kind.fit(transform(maps)), width=8, latents=3, blocks=blocks, **more
    )
    return model.double().requires_grad_(False)


def perturbed(module: nn.Module, size: float = 0.1) -> nn.Module:
    """The module with every weight moved off its initial value."""
    generator = seeded(2)
    for parameter in module.parameters():
        parameter += size * torch.randn(parameter.shape, generator=generator, dtype=DOUBLE)
    return module


# ---------------------------------------------------------------- an untrained model

CASES = pytest.mark.parametrize(
    "kind, channels", [(CutOutField, 1), (GaussianField, 1), (CutOutField, 2), (GaussianField, 2)]
)


@FORMS
@CASES
def test_the_bound_of_a_new_model_is_the_density_of_the_field(blocks, kind, channels):
    """For any draw of the latents, which have no information about the map."""
    model, maps = vae(blocks, kind, channels), kappa(5, 3, channels)
    expected = model.gaussian.log_prob(model.transform(maps)) + model.transform.log_det(maps)
    torch.testing.assert_close(model.elbo(maps, seeded(4)), expected, rtol=1e-12, atol=1e-8)
    assert torch.equal(model.information(maps, seeded(4)), torch.zeros(5, len(model.sides)))


@FORMS
@CASES
def test_the_samples_of_a_new_model_are_those_of_the_field(blocks, kind, channels):
    """2,000 maps, whitened: a variance of 1 in every number, 5σ each; fails by chance with probability 3e-4."""
    model = vae(blocks, kind, channels)
    white = model.gaussian.whiten(model.transform(model.sample(2000, seeded(5))).double())
    assert float((white.square().mean(0) - 1).abs().max()) < 5 * math.sqrt(2 / 2000)
    total = white.square().flatten(1).sum(1)
    assert float(total.var() / (2 * white[0].numel())) == pytest.approx(1, abs=0.16)


@FORMS
def test_mixed_precision_is_for_the_networks_only(blocks):
    """Under bfloat16 autocast, as on CUDA, a new model has the same bound to the last bit."""
    model, maps = vae(blocks).float(), kappa(4).float()
    exact = model.elbo(maps, seeded(6))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.elbo(maps, seeded(6)), exact)
        rough = perturbed(model.double()).float().elbo(maps, seeded(6))
    exact = model.elbo(maps, seeded(6))
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=2.0)


# ---------------------------------------------------------------- samples and likelihood


@FORMS
@CASES
def test_the_noise_of_a_sample_is_that_of_the_likelihood(blocks, kind, channels):
    """ln p(κ | z) of a drawn map is the density of the white noise that it was drawn with."""
    model = perturbed(vae(blocks, kind, channels))
    maps = model.sample(3, seeded(7))
    noise = MapNoise(3, seeded(7))
    mean = model.network.prior(noise)
    epsilon = noise(maps.shape[1:], mean)
    x = model.transform(maps.double())
    found = model._log_likelihood(x, mean.reshape(x.shape))
    expected = Normal(0.0, 1.0).log_prob(epsilon).flatten(1).sum(1)
    expected += model.gain.log_det() - model.gaussian.log_det()
    torch.testing.assert_close(found, expected, rtol=0, atol=0.1)  # samples are float32


# ---------------------------------------------------------------- the bound


class OneLatent(nn.Module):
    """A decoder m = u v of one latent u, and a normal posterior of u."""

    def __init__(self, v, slope, centre, s):
        super().__init__()
        self.v, self.slope, self.centre, self.s = v, slope, centre, s
        self.shift = 0.0  # of the posterior, away from the exact one

    def exact(self, x):
        return Normal((self.slope * (x[:, 0] - self.centre)).sum((1, 2)), self.s)

    def posterior(self, x, noise):
        mean = self.exact(x).mean + self.shift
        u = mean + self.s * noise((1,), mean)[:, 0]
        kl = kl_divergence(Normal(mean, self.s), Normal(0.0, 1.0))
        return u[:, None, None, None] * self.v, kl[:, None]

    def prior(self, noise):
        return noise((1, 1, 1), self.v) * self.v


@pytest.fixture
def toy():
    """A model of one latent with its exact posterior, and the normal distribution of its κ-maps.

    κ = mean + σ C^½ (u v + G⁻¹ ε), written out as matrices.
    """
    maps = kappa(200)
    transform = KappaTransform.fit(maps, logarithm=False)
    field = CutOutField.fit(transform(maps))
    model = VAE(16, transform, field, width=8, latents=3).double().requires_grad_(False)
    perturbed(model.gain, 0.3)
    v = 0.1 * torch.randn(256, generator=seeded(9), dtype=DOUBLE)
    unit = torch.eye(256, dtype=DOUBLE).reshape(256, 16, 16)
    centre = field.mean_map()
    root = (field.colour(unit) - centre).reshape(256, 256)  # C^½
    quiet = model.gain.to_data(unit, field).reshape(256, 256)  # G⁻¹
    precision = torch.linalg.inv(quiet @ quiet.T)
    s = float(1 + v @ precision @ v) ** -0.5
    slope = s**2 * torch.linalg.solve(root, precision @ v)
    model.network = OneLatent(v.reshape(16, 16), slope.reshape(16, 16), centre, s)
    covariance = root @ (quiet @ quiet.T + torch.outer(v, v)) @ root.T
    truth = MultivariateNormal(
        transform.inverse(centre).flatten(), float(transform.std) ** 2 * covariance
    )
    return model, truth


@pytest.mark.parametrize("shift", [0.0, 0.5, -1.5])
def test_the_bound_is_below_the_density_by_the_error_of_the_posterior(toy, shift):
    """ln p(κ) − KL(posterior, exact posterior); 20,000 latents a map, 4σ, fails by chance with probability 2e-4."""
    model, truth = toy
    model.network.shift = shift
    maps = kappa(3, 11)
    repeated = maps.repeat_interleave(20_000, 0)
    bounds = model.elbo(repeated, seeded(10), batch=5000).reshape(3, -1)
    expected = truth.log_prob(maps.flatten(1)) - shift**2 / (2 * model.network.s**2)
    error = bounds.std(1) / math.sqrt(20_000)
    assert ((bounds.mean(1) - expected).abs() < 4 * error + 1e-9).all()
    assert float(error.max()) < 0.05


def test_samples_have_the_covariance_of_the_density(toy):
    """ln p of 4,000 drawn maps is minus their entropy, with scatter √128: two tests at 4σ fail by chance with
    probability 1e-4."""
    model, truth = toy
    found = truth.log_prob(model.sample(4000, seeded(12), batch=4000).double().flatten(1))
    assert abs(float(found.mean() + truth.entropy())) < 4 * math.sqrt(128 / 4000)
    slope = model.network.slope.flatten()  # the direction that shows the latent
    drawn = (model.sample(4000, seeded(13)).double().flatten(1) - truth.mean) @ slope
    variance = float(slope @ truth.covariance_matrix @ slope)
    assert float(drawn.square().mean()) / variance == pytest.approx(1, abs=4 * math.sqrt(2 / 4000))


# ---------------------------------------------------------------- information


class Recorded:
    """Prior, posterior and draws of all latents of one call, as the layers of a network gave them."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.layers = [layer for level in network.layers for layer in level]
        self.seen: dict[nn.Module, torch.Tensor] = {}
        for layer in self.layers:
            self._watch(layer.prior, layer.posterior, drawn=layer.place)
        self._watch(network.first, drawn=network.place)

    def _watch(self, *outputs: nn.Module, drawn: nn.Module) -> None:
        for module in outputs:
            module.register_forward_hook(lambda m, i, out: self.seen.update({m: out}))
        drawn.register_forward_hook(lambda m, i, out: self.seen.update({m: i[0]}))

    def distributions(self):
        """p, q and z of each layer, coarsest first."""
        shift, raw = self.seen[self.network.first].chunk(2, 1)
        white = Normal(torch.zeros_like(shift), 1.0)
        yield white, Normal(shift, bounded(raw)), self.seen[self.network.place]
        for layer in self.layers:
            prior = self.seen[layer.prior]
            mean, raw = prior[:, :3], prior[:, 3:6]
            p = Normal(mean, bounded(raw))
            shift, raw = self.seen[layer.posterior].chunk(2, 1)
            q = Normal(mean + p.stddev * shift, p.stddev * bounded(raw))
            yield p, q, self.seen[layer.place]


def bounded(raw: torch.Tensor) -> torch.Tensor:
    return torch.exp(5 * torch.tanh(raw / 5))


def test_the_closed_form_is_that_of_normal_distributions():
    shift, log_scale = torch.randn(2, 4, 3, 5, 5, generator=seeded(14), dtype=DOUBLE)
    q = Normal(shift, log_scale.exp())
    expected = kl_divergence(q, Normal(torch.zeros_like(shift), 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(kl_from_white(shift, log_scale), expected)
    tiny = 1e-6 * torch.ones(1, 1, 1, 1)
    assert float(kl_from_white(0 * tiny, tiny)) == pytest.approx(1e-12, rel=1e-6)  # b² for small b


@FORMS
def test_information_is_the_divergence_of_posteriors_from_priors_in_bits(blocks):
    model = perturbed(vae(blocks))
    recorded, maps = Recorded(model.network), kappa(4, 15)
    found = model.information(maps, seeded(16))
    assert found.shape == (4, 1 + blocks) and model.sides == [4, 8][: 1 + blocks]
    expected = [kl_divergence(q, p).flatten(1).sum(1) for p, q, _ in recorded.distributions()]
    assert len(expected) == 1 + 2 * blocks
    by_side = torch.stack([sum(expected[:2]), *expected[2:]], -1)  # two layers at 4²
    torch.testing.assert_close(found * BIT, by_side)
    assert float(found.min()) > 0.1


@FORMS
def test_information_is_that_of_drawn_latents_on_average(blocks):
    """ln q(z) − ln p(z) of 4,000 draws for one map; 4σ at each side, fails by chance with probability 1e-4."""
    model = perturbed(vae(blocks))
    recorded, maps = Recorded(model.network), kappa(1, 17).expand(4000, 16, 16)
    closed = model.information(maps, seeded(18), batch=4000) * BIT
    drawn = [
        (q.log_prob(z) - p.log_prob(z)).flatten(1).sum(1) for p, q, z in recorded.distributions()
    ]
    by_side = torch.stack([sum(drawn[:2]), *drawn[2:]], -1)
    error = (by_side - closed).std(0) / math.sqrt(4000)
    assert ((by_side - closed).mean(0).abs() < 4 * error).all()


@FORMS
def test_the_density_under_the_bound_integrates_to_one(blocks):
    """∫ p dκ = ⟨p(κ, z) / (q(z | κ) g(κ))⟩ over 2,000 maps of the field g: 4σ, fails by chance with probability 1e-4."""
    model = perturbed(vae(blocks), 0.02)
    untrained = vae(blocks)
    recorded, maps = Recorded(model.network), untrained.sample(2000, seeded(19)).double()
    bound = model.elbo(maps, seeded(20), batch=2000)
    closed = model.information(maps, seeded(20), batch=2000).sum(1) * BIT
    log_ratio = sum(
        (p.log_prob(z) - q.log_prob(z)).flatten(1).sum(1) for p, q, z in recorded.distributions()
    )
    log_weight = bound + closed + log_ratio - untrained.elbo(maps)
    assert (
        0.3 < float(log_weight.std()) < 1.5
    )  # far enough from g to matter, near enough for an error
    weight = log_weight.exp()
    assert abs(float(weight.mean()) - 1) < 4 * float(weight.std()) / math.sqrt(2000)


# ---------------------------------------------------------------- loss, seeds, collapse


@FORMS
def test_without_free_bits_the_loss_is_the_bound_in_bits(blocks):
    model, maps = perturbed(vae(blocks, free_bits=0.0)), kappa(6, 21)
    expected = -model.elbo(maps, seeded(22)).mean() / (256 * BIT)
    torch.testing.assert_close(model.loss(maps, seeded(22)), expected)


@FORMS
def test_free_bits_fill_up_every_side(blocks):
    model, maps = perturbed(vae(blocks)), kappa(6, 21)
    bits = model.information(maps, seeded(22)).mean(0)
    model.free_bits = float(bits[0]) + 3
    expected = -model.elbo(maps, seeded(22)).mean() / (256 * BIT)
    missing = (model.free_bits - bits).clamp(min=0).sum()
    torch.testing.assert_close(model.loss(maps, seeded(22)), expected + missing / 256)


@FORMS
def test_a_bound_does_not_depend_on_the_other_maps(blocks):
    model, maps = perturbed(vae(blocks)), kappa(7, 23)
    expected = model.elbo(maps, seeded(24))
    for batch in (1, 3):
        torch.testing.assert_close(model.elbo(maps, seeded(24), batch=batch), expected)
    torch.testing.assert_close(model.elbo(maps[:2], seeded(24)), expected[:2])
    bits = model.information(maps, seeded(24))
    torch.testing.assert_close(model.information(maps[:2], seeded(24), batch=1), bits[:2])
    assert not torch.equal(model.elbo(maps, seeded(25)), expected)


def blobs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """White maps with one bright blob each, anywhere, and their ln p: a sum over 256 places."""
    row = torch.arange(16.0)
    profile = torch.exp(-(row[:, None] - row).square() / (2 * 1.5**2))
    places = 8 * torch.einsum("ia,jb->ijab", profile, profile).reshape(256, 256)
    at = torch.randint(256, (n,), generator=seeded(seed))
    white = places[at] + torch.randn(n, 256, generator=seeded(seed + 1))
    white, places = white.double(), places.double()
    at_place = white @ places.T - 0.5 * places.square().sum(1)
    log_prob = Normal(0.0, 1.0).log_prob(white).sum(1) + at_place.logsumexp(1) - math.log(256)
    return 0.02 * white.float().reshape(n, 16, 16), log_prob - 256 * math.log(0.02)


def trained(blocks: int, free_bits: float, maps: torch.Tensor) -> VAE:
    transform = KappaTransform.fit(maps, logarithm=False)
    torch.manual_seed(0)
    model = VAE(
        16, transform, fit_field(transform(maps)), 8, latents=4, blocks=blocks, free_bits=free_bits
    )
    list(fit(model, maps, Settings(150, lr=0.01, ema=0.9), device="cpu"))
    return model


@FORMS
def test_a_short_training_finds_what_is_not_gaussian(blocks):
    """Of blobs, the Gaussian field misses 36 nats. The bound gains some of them, and cannot gain more than all."""
    maps, _ = blobs(1000, 26)
    held_out, truth = blobs(400, 28)
    model = trained(blocks, 8.0, maps)
    x = model.transform(held_out.double())
    gaussian = model.gaussian.log_prob(x) + model.transform.log_det(held_out)
    bound = model.elbo(held_out, seeded(30))
    assert float((truth - gaussian).mean()) == pytest.approx(36, abs=2)
    assert 4 < float((bound - gaussian).mean()) < float((truth - gaussian).mean())
    bits = model.information(held_out, seeded(30)).mean(0)
    assert (bits > 4).all() and bits.sum() > 8  # the place of a blob alone is 8 bits
    assert float(model.gain.log_gain.detach().max()) > 0.3  # what latents say is no noise any more


def test_collapse_is_seen_in_the_information():
    """The same training without free bits stays the Gaussian field, whose latents say nothing."""
    maps, _ = blobs(1000, 26)
    held_out, _ = blobs(400, 28)
    model = trained(0, 0.0, maps)
    assert float(model.information(held_out, seeded(30)).mean()) < 0.1
    x = model.transform(held_out.double())
    gaussian = model.gaussian.log_prob(x) + model.transform.log_det(held_out)
    assert abs(float((model.elbo(held_out, seeded(30)) - gaussian).mean())) < 1


# ---------------------------------------------------------------- architecture and bad input


def test_the_plain_form_halves_the_side_down_to_sixteen_maps_of_four_pixels():
    network = VAE(64).network
    assert [layer.out_channels for layer in network.down] == [32, 64, 128, 256]
    assert [layer.out_channels for layer in network.up] == [128, 64, 32]
    assert network.place.in_channels == 16 and network.sides == [4]
    assert VAE(64, width=8, blocks=2).sides == [4, 8, 16, 32]


@pytest.mark.parametrize(
    "n, options, sentence",
    [
        (24, {}, "a power of two from 16 to 256 pixels, found 24"),
        (16, {"latents": 0}, "latents of a VAE must be at least 1 and finite, found 0"),
        (16, {"blocks": -1}, "blocks of a VAE must be at least 0"),
        (
            16,
            {"free_bits": math.nan},
            "free_bits of a VAE must be at least 0 and finite, found nan",
        ),
        (
            16,
            {"gaussian": GaussianField.white(16, 2), "transform": KappaTransform()},
            "the parts of a VAE must",
        ),
    ],
)
def test_a_vae_refuses(n, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        VAE(n, **options)


@pytest.mark.parametrize("method", ["elbo", "information", "loss"])
def test_maps_and_conditions_that_do_not_fit_are_refused(method):
    with pytest.raises(ValueError, match=r"expected \(maps, 16, 16\)"):
        getattr(vae(), method)(torch.zeros(2, 32, 32))
    with pytest.raises(ValueError, match="does not know; expected no conditions"):
        vae().sample(2, given={"omega_m": 0.3})
