"""The flow: both directions, the log-determinant against autograd, the density against exact ones.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math

import pytest
import torch

from lensnb import models
from lensnb.files import write_tensors
from lensnb.layers import Mixing
from lensnb.maps import CutOutField, GaussianField, LognormalField, MapGrid
from lensnb.models import Flow
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


def flow(
    base: str = "gaussian",
    steps: int = 4,
    logarithm: bool = True,
    coupling: str = "affine",
    **more,
) -> Flow:
    """An untrained flow with its transform and base fitted to lognormal maps."""
    maps = kappa(200)
    transform = KappaTransform.fit(maps, logarithm)
    torch.manual_seed(0)
    fields = {"gaussian": GaussianField, "cut-out": CutOutField}
    field = None
    if base in fields:
        field = fields[base].fit(transform(maps))
    return Flow(16, transform, field, steps, hidden=8, coupling=coupling, **more)


# ---------------------------------------------------------------- the whole flow


def jacobian_log_det(function, x: torch.Tensor) -> torch.Tensor:
    """ln |det| of the Jacobian of a map of one array to another of the same size, by autograd."""
    jacobian = torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())
    return torch.linalg.slogdet(jacobian)[1]


def test_latents_are_put_in_their_places():
    model = flow()
    z = torch.randn(3, 16, 16, generator=seeded(4), dtype=DOUBLE)
    parts = model.take_apart(z)
    assert [tuple(p.shape[1:]) for p in parts] == [(8, 4, 4), (16, 2, 2), (16, 2, 2)]
    torch.testing.assert_close(model.assemble(parts), z, rtol=1e-13, atol=1e-13)
    norm = sum(p.square().sum((1, 2, 3)) for p in parts)
    torch.testing.assert_close(norm, z.square().sum((1, 2)))


@pytest.mark.parametrize(
    "base, coupling",
    [
        ("white", "affine"),
        ("gaussian", "affine"),
        ("gaussian", "spline"),
        ("cut-out", "affine"),
    ],
)
@pytest.mark.parametrize(
    "dtype, size, tolerance", [(DOUBLE, 0.1, 1e-9), (torch.float32, 0.03, 2e-5)]
)
def test_round_trip_both_ways(base, coupling, dtype, size, tolerance):
    model = perturbed(flow(base, coupling=coupling), size).to(dtype)
    maps = kappa(6).to(dtype)
    z, _ = model.to_noise(maps)
    scale = float(maps.std())
    torch.testing.assert_close(model.to_data(z), maps, rtol=0, atol=tolerance * scale)
    white = torch.randn(6, 16, 16, generator=seeded(7), dtype=dtype)
    torch.testing.assert_close(
        model.to_noise(model.to_data(white))[0], white, rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("n", [32, 64])
def test_round_trip_of_larger_maps(n):
    torch.manual_seed(0)
    model = perturbed(Flow(n, steps=2, hidden=8))
    white = torch.randn(2, n, n, generator=seeded(8), dtype=DOUBLE)
    torch.testing.assert_close(model.to_noise(model.to_data(white))[0], white, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "logarithm, coupling, base",
    [
        (True, "affine", "gaussian"),
        (False, "affine", "gaussian"),
        (True, "spline", "gaussian"),
        (True, "affine", "cut-out"),
    ],
)
def test_log_det_is_that_of_autograds_jacobian(logarithm, coupling, base):
    """The whole 256 × 256 Jacobian ∂z/∂κ, the transform included."""
    model = perturbed(flow(base, logarithm=logarithm, coupling=coupling, steps=2))
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


@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_a_new_flow_is_its_transform(coupling):
    model, maps = flow(coupling=coupling).double(), kappa(3)
    z, log_det = model.to_noise(maps)
    torch.testing.assert_close(z, model.transform(maps), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_det, model.transform.log_det(maps), rtol=1e-12, atol=1e-9)


# ---------------------------------------------------------------- density


@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_a_new_flow_has_the_density_of_the_gaussian_field(coupling):
    """With an affine transform κ = μ + σ x and the field of x as base: the Gaussian field of κ, to rounding."""
    model, maps = flow(logarithm=False, coupling=coupling).double().requires_grad_(False), kappa(5)
    mean, std = model.transform.mean + model.transform.low, model.transform.std
    expected = GaussianField(model.base.variance * std**2, model.base.mean * std + mean)
    torch.testing.assert_close(
        model.log_prob(maps), expected.log_prob(maps), rtol=1e-10, atol=1e-8
    )


def test_density_of_a_white_base_is_the_standard_normals():
    model, maps = perturbed(flow("white")), kappa(3)
    z, log_det = model.to_noise(maps)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((1, 2)) + log_det
    torch.testing.assert_close(model.log_prob(maps), expected)


def test_density_on_a_gaussian_field_is_the_fields():
    model, maps = perturbed(flow()), kappa(3)
    z, log_det = model.to_noise(maps)
    torch.testing.assert_close(
        model.log_prob(maps), model.base.log_prob(z) + log_det, rtol=1e-10, atol=1e-8
    )


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
    assert (
        0.3 < float(log_ratio.std()) < 1.5
    )  # far enough from q to matter, near enough for a finite error
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
    torch.testing.assert_close(model.to_noise(cold)[0] - mean, half, rtol=0, atol=1e-3)
    assert torch.equal(frozen[0], frozen[1])


# ---------------------------------------------------------------- scales


@pytest.mark.parametrize(
    "n, base",
    [
        (16, "white"),
        (16, "gaussian"),
        (32, "gaussian"),
        (64, "gaussian"),
        (16, "cut-out"),
        (32, "cut-out"),
    ],
)
def test_the_terms_of_the_scales_add_up(n, base):
    field = GaussianField.from_power(
        MapGrid(2 * n, 10.0), lambda ell: 1e-5 * (1 + (ell / 300) ** 2) ** -0.8
    )
    maps = field.sample(50, seeded(19))[:, :n, :n]
    fields = {"white": None, "gaussian": GaussianField.fit(maps), "cut-out": CutOutField.fit(maps)}
    torch.manual_seed(0)
    model = perturbed(Flow(n, base=fields[base], steps=2, hidden=8))
    maps = field.sample(3, seeded(20)).double()[:, :n, :n]
    terms = model.log_prob_by_scale(maps)
    assert terms.shape == (3, 3) and terms.dtype == DOUBLE
    torch.testing.assert_close(terms.sum(-1), model.log_prob(maps), rtol=1e-11, atol=1e-8)


def test_the_coarser_scales_have_a_density_of_their_own():
    """What a scale's term says does not change with anything finer: κ-maps with other fine latents have the same."""
    model = perturbed(flow("white"))
    z = torch.randn(1, 16, 16, generator=seeded(21), dtype=DOUBLE)
    fine, middle, coarse = model.take_apart(z)
    maps = [
        model.to_data(model.assemble(parts))
        for parts in ([fine, middle, coarse], [-fine, middle, coarse])
    ]
    one, other = (model.log_prob_by_scale(x)[0] for x in maps)
    torch.testing.assert_close(one[1:], other[1:], rtol=1e-10, atol=1e-9)
    assert abs(float(one[0] - other[0])) > 1e-3


def test_the_terms_of_the_scales_are_conditional_gaussians():
    """Base, gain and Haar transform as dense matrices; p(b | a) = p(a, b) / p(a). The spectrum is not even isotropic."""
    model, maps = perturbed(flow()), kappa(3)
    variance = 0.5 + torch.rand(16, 9, generator=seeded(22), dtype=DOUBLE)
    for column in (0, 8):  # where a real field has λ(ℓ) = λ(−ℓ) within the layout of rfft2
        variance[:, column] = (variance[:, column] + variance[-torch.arange(16) % 16, column]) / 2
    model.base = GaussianField(variance, 0.3)
    check_the_terms(model, maps)


def test_the_terms_of_a_cut_out_are_conditional_gaussians():
    model = perturbed(flow("cut-out"))
    model.base.mean.fill_(0.3)
    check_the_terms(model, kappa(3))


def check_the_terms(model: Flow, maps: torch.Tensor) -> None:
    """The likelihood by scale, against normal distributions of all latents written out."""
    unit = torch.eye(256, dtype=DOUBLE).reshape(256, 16, 16)

    def flat(parts):  # coarse, middle, fine
        return torch.cat([part.flatten(1) for part in reversed(parts)], 1)

    to_latents = flat(
        model.take_apart(model.gain.to_data(unit, model.base))
    )  # (pixel of z, latent)
    root = (model.base.colour(unit) - model.base.mean).reshape(256, 256) @ to_latents
    mean = model.base.mean * to_latents.sum(0)
    parts, log_dets = model.latents(model.transform(maps))
    joint = []
    for last in (64, 128, 256):
        marginal = torch.distributions.MultivariateNormal(
            mean[:last], (root.T @ root)[:last, :last]
        )
        joint.append(marginal.log_prob(flat(parts)[:, :last]))
    expected = log_dets + torch.stack([joint[2] - joint[1], joint[1] - joint[0], joint[0]], -1)
    expected[:, 0] += model.transform.log_det(maps)
    torch.testing.assert_close(model.log_prob_by_scale(maps), expected, rtol=1e-9, atol=1e-7)


# ---------------------------------------------------------------- interpolation


@pytest.mark.parametrize("base", ["white", "gaussian"])
def test_interpolation_goes_from_map_to_map_along_a_great_circle(base):
    model, (a, b) = perturbed(flow(base)), kappa(2)
    maps = model.interpolate(a, b, 5)
    assert maps.shape == (5, 16, 16)
    torch.testing.assert_close(maps[[0, -1]], torch.stack([a, b]), rtol=0, atol=1e-9)
    z = model.to_noise(maps)[0]
    white = (z if base == "white" else model.base.whiten(z)).flatten(1)
    direction = white / white.norm(dim=1, keepdim=True)
    angles = torch.arccos((direction[1:] * direction[:-1]).sum(1))
    torch.testing.assert_close(
        angles.sum(), torch.arccos(direction[0] @ direction[-1]), rtol=1e-6, atol=0
    )  # no detour
    norm = white.norm(dim=1)
    assert float(norm.min()) > 0.97 * float(
        norm[[0, -1]].min()
    )  # a straight line would go down to 0.7


def test_interpolation_between_a_map_and_itself_stays_there():
    model, (a,) = perturbed(flow()), kappa(1)
    torch.testing.assert_close(model.interpolate(a, a, 3), a.expand(3, 16, 16), rtol=0, atol=1e-9)


# ---------------------------------------------------------------- architecture


@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_recomputing_gives_the_same_gradient(coupling):
    gradients = []
    for recompute in (False, True):
        model = perturbed(flow(coupling=coupling, steps=2, recompute=recompute)).requires_grad_()
        model.loss(kappa(3)).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients))


def test_recomputing_keeps_less():
    """Bytes that autograd saves for the gradient of one loss."""

    def kept(recompute: bool) -> int:
        saved = {}
        model, maps = flow(recompute=recompute), kappa(4).float()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: saved.setdefault(x.data_ptr(), x), lambda x: x
        ):
            model.loss(maps)
        return sum(x.numel() * x.element_size() for x in saved.values())

    assert kept(recompute=True) < 0.5 * kept(recompute=False)


def test_a_file_from_before_there_were_splines_still_loads(tmp_path):
    model = perturbed(flow()).float()
    early = {key: model.config[key] for key in ("n", "steps", "hidden")} | {"gaussian_base": True}
    path = write_tensors(
        tmp_path / "model.safetensors", model.state_dict(), {"family": "flow", "config": early}
    )
    loaded = models.load(path)
    assert loaded.config == model.config and loaded.config["coupling"] == "affine"
    torch.testing.assert_close(
        loaded.sample(2, seeded(23)), model.sample(2, seeded(23)), rtol=0, atol=1e-5
    )


def test_an_unknown_coupling_is_refused():
    with pytest.raises(ValueError, match="affine or spline, found 'cubic'"):
        Flow(16, coupling="cubic")


def test_the_channels_are_those_of_the_reference_architecture():
    """1×n² → 4×(n/2)² → 8×(n/4)² → 16×(n/8)², an actnorm, a mixing and a coupling a step."""
    model = Flow(64, steps=2, hidden=8)
    seen = [
        [tuple(layer.matrix().shape)[0] for layer in chain if isinstance(layer, Mixing)]
        for chain in model.levels
    ]
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
