"""The flow: both directions, the log-determinant against autograd, the density against exact ones.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math

import pytest
import torch

from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.models import Flow
from lensnb.models.flow import ActNorm, AffineCoupling, Gain, Mixing, squeeze, unsqueeze
from lensnb.nets import CouplingNet
from lensnb.transform import KappaTransform

GRID = MapGrid(16, 5.0)
FIELD = GaussianField.from_power(GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8)
DOUBLE = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kappa(n: int, seed: int = 1) -> torch.Tensor:
    """Lognormal κ-maps, float64, shape ``(n, 16, 16)``."""
    return LognormalField.from_correlation(FIELD.variance, 0.03).sample(n, seeded(seed)).double()


def perturbed(module: torch.nn.Module, size: float = 0.1) -> torch.nn.Module:
    """The module in float64, every weight moved off its initial value, without gradients."""
    generator = seeded(2)
    for parameter in module.double().requires_grad_(False).parameters():
        parameter += size * torch.randn(parameter.shape, generator=generator, dtype=DOUBLE)
    return module


def flow(base: str = "gaussian", steps: int = 4, logarithm: bool = True) -> Flow:
    """An untrained flow with its transform and base fitted to lognormal maps."""
    maps = kappa(200)
    transform = KappaTransform.fit(maps, logarithm)
    torch.manual_seed(0)
    return Flow(16, transform, GaussianField.fit(transform(maps)) if base == "gaussian" else None, steps, hidden=8)


# ---------------------------------------------------------------- squeeze


def test_squeeze_is_orthonormal_and_puts_the_block_means_first():
    x = torch.randn(2, 3, 8, 6, generator=seeded(3), dtype=DOUBLE)
    y = squeeze(x)
    assert y.shape == (2, 12, 4, 3)
    torch.testing.assert_close(y[:, :3], 2 * torch.nn.functional.avg_pool2d(x, 2))
    torch.testing.assert_close(y.square().sum((1, 2, 3)), x.square().sum((1, 2, 3)))
    torch.testing.assert_close(unsqueeze(y), x, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(squeeze(unsqueeze(y)), y, rtol=1e-13, atol=1e-13)


def test_squeezed_details_are_differences_along_columns_rows_and_diagonals():
    x = torch.tensor([[1.0, 2.0], [4.0, 8.0]])[None, None]
    assert squeeze(x).flatten().tolist() == [7.5, -2.5, -4.5, 1.5]


def test_latents_are_put_in_their_places():
    model = flow()
    z = torch.randn(3, 16, 16, generator=seeded(4), dtype=DOUBLE)
    parts = model.take_apart(z)
    assert [tuple(p.shape[1:]) for p in parts] == [(8, 4, 4), (16, 2, 2), (16, 2, 2)]
    torch.testing.assert_close(model.assemble(parts), z, rtol=1e-13, atol=1e-13)
    norm = sum(p.square().sum((1, 2, 3)) for p in parts)
    torch.testing.assert_close(norm, z.square().sum((1, 2)))


# ---------------------------------------------------------------- layers


def layers():
    return {
        "actnorm": ActNorm(4),
        "mixing": Mixing(4),
        "coupling": AffineCoupling(4, lambda inputs, outputs: CouplingNet(inputs, outputs, 6)),
    }


def jacobian_log_det(function, x: torch.Tensor) -> torch.Tensor:
    """ln |det| of the Jacobian of a map of one array to another of the same size, by autograd."""
    jacobian = torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())
    return torch.linalg.slogdet(jacobian)[1]


@pytest.mark.parametrize("name", ["actnorm", "mixing", "coupling"])
def test_a_layer_inverts_and_knows_its_determinant(name):
    layer = perturbed(layers()[name], 0.3)
    x = torch.randn(2, 4, 3, 5, generator=seeded(5), dtype=DOUBLE)
    y, log_det = layer.to_noise(x)
    assert float((y - x).abs().max()) > 0.1
    torch.testing.assert_close(layer.to_data(y), x, rtol=1e-11, atol=1e-11)
    for i in range(2):
        expected = jacobian_log_det(lambda one: layer.to_noise(one[None])[0][0], x[i])
        torch.testing.assert_close(log_det.expand(2)[i], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["actnorm", "mixing"])
def test_a_new_linear_layer_is_the_identity(name):
    x = torch.randn(2, 4, 3, 5, generator=seeded(6))
    y, log_det = layers()[name].to_noise(x)
    torch.testing.assert_close(y, x)
    assert float(log_det.detach()) == 0


def test_a_new_coupling_only_changes_the_halves_over():
    x = torch.randn(2, 4, 3, 5, generator=seeded(6))
    y, log_det = layers()["coupling"].to_noise(x)
    torch.testing.assert_close(y, torch.cat([x[:, 2:], x[:, :2]], 1))
    assert log_det.tolist() == [0, 0]


def test_the_scale_of_a_coupling_is_bounded():
    def shout(inputs, outputs):
        layer = torch.nn.Conv2d(inputs, outputs, 1)
        torch.nn.init.constant_(layer.bias, 1000.0)
        return layer

    layer = AffineCoupling(4, shout, bound=1.5)
    x = torch.zeros(1, 4, 1, 1)
    _, log_det = layer.to_noise(x)
    assert float(log_det.detach()) == pytest.approx(2 * 1.5)  # of the two channels that move


def test_mixing_is_a_product_of_triangles():
    layer = perturbed(Mixing(3), 0.5)
    (l10, l20, l21), (u01, u02, u12) = layer.lower[[1, 2, 2], [0, 0, 1]], layer.upper[[0, 0, 1], [1, 2, 2]]
    d0, d1, d2 = layer.log_diagonal.exp()
    expected = [
        [d0, u01, u02],
        [l10 * d0, l10 * u01 + d1, l10 * u02 + u12],
        [l20 * d0, l20 * u01 + l21 * d1, l20 * u02 + l21 * u12 + d2],
    ]
    torch.testing.assert_close(layer.matrix(), torch.tensor(expected, dtype=DOUBLE))


@pytest.mark.parametrize("n", [7, 8])
def test_the_gain_is_isotropic_inverts_and_knows_its_determinant(n):
    gain = perturbed(Gain(n), 0.3)
    x = torch.randn(2, n, n, generator=seeded(15), dtype=DOUBLE)
    y, log_det = gain.to_noise(x)
    torch.testing.assert_close(gain.to_data(y), x, rtol=1e-11, atol=1e-11)
    expected = jacobian_log_det(lambda one: gain.to_noise(one[None])[0][0], x[0])
    torch.testing.assert_close(log_det, expected, rtol=1e-10, atol=1e-10)
    delta = torch.zeros(1, n, n, dtype=DOUBLE)
    delta[0, 0, 0] = 1
    response = torch.fft.fft2(gain.to_noise(delta)[0][0]).real
    ell = MapGrid(n, 1.0).ell_min * torch.hypot(*torch.meshgrid(*2 * [torch.fft.fftfreq(n, 1 / n)], indexing="ij"))
    annulus = (ell / MapGrid(n, 1.0).ell_min).round().long()
    torch.testing.assert_close(response, gain.log_gain.exp()[annulus], rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- the whole flow


@pytest.mark.parametrize("base", ["white", "gaussian"])
@pytest.mark.parametrize("dtype, tolerance", [(DOUBLE, 1e-9), (torch.float32, 1e-4)])
def test_round_trip_both_ways(base, dtype, tolerance):
    model = perturbed(flow(base)).to(dtype)
    maps = kappa(6).to(dtype)
    z, _ = model.to_noise(maps)
    scale = float(maps.std())
    torch.testing.assert_close(model.to_data(z), maps, rtol=0, atol=tolerance * scale)
    white = torch.randn(6, 16, 16, generator=seeded(7), dtype=dtype)
    torch.testing.assert_close(model.to_noise(model.to_data(white))[0], white, rtol=0, atol=tolerance)


@pytest.mark.parametrize("n", [32, 64])
def test_round_trip_of_larger_maps(n):
    torch.manual_seed(0)
    model = perturbed(Flow(n, steps=2, hidden=8))
    white = torch.randn(2, n, n, generator=seeded(8), dtype=DOUBLE)
    torch.testing.assert_close(model.to_noise(model.to_data(white))[0], white, rtol=0, atol=1e-9)


@pytest.mark.parametrize("logarithm", [True, False])
def test_log_det_is_that_of_autograds_jacobian(logarithm):
    """The whole 256 × 256 Jacobian ∂z/∂κ, the transform included."""
    model = perturbed(flow(logarithm=logarithm))
    maps = kappa(2)
    _, log_det = model.to_noise(maps)
    for i in range(2):
        expected = jacobian_log_det(lambda one: model.to_noise(one[None])[0][0], maps[i])
        torch.testing.assert_close(log_det[i], expected, rtol=1e-10, atol=1e-8)


def test_mixed_precision_is_for_the_conditioners_only():
    """Under bfloat16 autocast, as on CUDA, the maps keep their 24 bits: a new flow's latents are the same to the last one."""
    model, maps = flow(), kappa(4).float()
    exact, exact_log_prob = model.to_noise(maps)[0], model.log_prob(maps)
    with torch.autocast("cpu", torch.bfloat16):
        z, _ = model.to_noise(maps)
        torch.testing.assert_close(model.log_prob(maps), exact_log_prob, rtol=0, atol=0)
        back = model.to_data(z)
    torch.testing.assert_close(z, exact, rtol=0, atol=0)
    torch.testing.assert_close(back, maps, rtol=1e-4, atol=1e-7)


def test_a_new_flow_is_its_transform():
    model, maps = flow().double(), kappa(3)
    z, log_det = model.to_noise(maps)
    torch.testing.assert_close(z, model.transform(maps), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_det, model.transform.log_det(maps), rtol=1e-12, atol=1e-9)


# ---------------------------------------------------------------- density


def test_a_new_flow_has_the_density_of_the_gaussian_field():
    """With an affine transform κ = μ + σ x and the field of x as base: the Gaussian field of κ, to rounding."""
    model, maps = flow(logarithm=False).double().requires_grad_(False), kappa(5)
    mean, std = model.transform.mean + model.transform.low, model.transform.std
    expected = GaussianField(model.base.variance * std**2, model.base.mean * std + mean)
    torch.testing.assert_close(model.log_prob(maps), expected.log_prob(maps), rtol=1e-10, atol=1e-8)


def test_density_of_a_white_base_is_the_standard_normals():
    model, maps = perturbed(flow("white")), kappa(3)
    z, log_det = model.to_noise(maps)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((1, 2)) + log_det
    torch.testing.assert_close(model.log_prob(maps), expected)


def test_density_in_units_of_kappa_is_a_change_of_variables():
    """p(κ) = p(x) |dx/dκ|, with p(x) from a flow without transform and dx/dκ from autograd."""
    model, maps = perturbed(flow()), kappa(3)
    bare = Flow(16, None, model.base, 4, 8).double().requires_grad_(False)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("transform")}
    bare.load_state_dict(bare.state_dict() | state)
    slope = torch.autograd.functional.jacobian(lambda k: model.transform(k).sum(), maps)
    expected = bare.log_prob(model.transform(maps)) + slope.log().sum((1, 2))
    torch.testing.assert_close(model.log_prob(maps), expected, rtol=1e-10, atol=1e-8)


def test_bits_per_dimension_of_gaussian_maps_are_their_entropy():
    """−ln p of N pixels is the entropy ½ ln det(2πe C) with scatter √(N/2): 500 maps within 4σ, fails by chance with
    probability 6e-5."""
    model = flow(logarithm=False).double().requires_grad_(False)
    mean, std = model.transform.mean + model.transform.low, model.transform.std
    truth = GaussianField(model.base.variance * std**2, model.base.mean * std + mean)
    entropy = float(truth.log_det()) + 128 * (math.log(2 * math.pi) + 1)
    found = float(model.loss(truth.sample(500, seeded(9)).double())) * 256 * math.log(2)
    assert abs(found - entropy) < 4 * math.sqrt(128 / 500)


def test_density_integrates_to_one():
    """∫ p dκ = ⟨p/q⟩ over draws from a Gaussian field q near the flow's p: 1 within 4 standard errors; fails by chance
    with probability about 1e-4."""
    model = flow(logarithm=False).double()
    mean, std = model.transform.mean + model.transform.low, model.transform.std
    q = GaussianField(model.base.variance * std**2, model.base.mean * std + mean)
    draws = q.sample(4000, seeded(10)).double()
    log_ratio = perturbed(model, 0.003).log_prob(draws) - q.log_prob(draws)
    assert 0.3 < float(log_ratio.std()) < 1.5  # far enough from q to matter, near enough for a finite error
    ratio = log_ratio.exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(4000)


@pytest.mark.parametrize("base", ["white", "gaussian"])
def test_samples_have_the_latents_of_the_base(base):
    model = perturbed(flow(base)).float()
    white = torch.randn(4, 16, 16, generator=seeded(11))
    expected = white if base == "white" else model.base.colour(white)
    z, _ = model.to_noise(model.sample(4, seeded(11)))
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-4)


def test_temperature_scales_the_latents_about_their_mean():
    model = perturbed(flow()).float()
    hot, cold, frozen = (model.sample(3, seeded(12), temperature=t) for t in (1.0, 0.5, 0.0))
    mean = model.base.mean
    half = 0.5 * (model.to_noise(hot)[0] - mean)
    torch.testing.assert_close(model.to_noise(cold)[0] - mean, half, rtol=0, atol=1e-4)
    assert torch.equal(frozen[0], frozen[1])


# ---------------------------------------------------------------- architecture


def test_the_channels_are_those_of_the_reference_architecture():
    """1×n² → 4×(n/2)² → 8×(n/4)² → 16×(n/8)², an actnorm, a mixing and a coupling a step."""
    model = Flow(64, steps=2, hidden=8)
    seen = [[tuple(layer.matrix().shape)[0] for layer in chain if isinstance(layer, Mixing)] for chain in model.levels]
    assert seen == [[4, 4], [8, 8], [16, 16]]
    parts, _ = model.latents(torch.zeros(1, 64, 64))
    assert [tuple(p.shape[1:]) for p in parts] == [(8, 16, 16), (16, 8, 8), (16, 8, 8)]
    assert sum(p.numel() for p in parts) == 64**2


def test_an_odd_number_of_steps_is_refused():
    with pytest.raises(ValueError, match="an even number of steps a level, found 3"):
        Flow(16, steps=3)


def test_another_network_may_be_passed_in():
    model = Flow(16, steps=2, network=lambda inputs, outputs: torch.nn.Conv2d(inputs, outputs, 1))
    white = torch.randn(2, 16, 16, generator=seeded(13), dtype=DOUBLE)
    model = model.double().requires_grad_(False)
    torch.testing.assert_close(model.to_noise(model.to_data(white))[0], white, rtol=0, atol=1e-9)
