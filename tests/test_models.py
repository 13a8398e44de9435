"""The contract that every generative model keeps: sampling, loss, gradients, checkpoints, devices."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from lensnb import models
from lensnb.data import load_sample
from lensnb.files import read_checkpoint, save_checkpoint, write_tensors
from lensnb.maps import GaussianField, LognormalField, MapGrid, fit_field
from lensnb.models import (
    GAN,
    TRENF,
    VAE,
    BandPowers,
    DetailDiffusion,
    Details,
    Diffusion,
    Flow,
    Level,
    Multiscale,
    RankMappedField,
    Synthesis,
)
from lensnb.models.averages import averaged
from lensnb.models.vectors import VectorFlow, Whitening
from lensnb.samplers import heun, stochastic
from lensnb.transform import KappaTransform

GRID = MapGrid(16, 5.0)
TRAINED = [
    "flow",
    "flow on a Gaussian field",
    "spline flow",
    "diffusion",
    "conditional diffusion",
    "VAE",
    "hierarchical VAE",
    "gan",
    "gan with band powers",
    "historic gan",
    "trenf",
    "multiscale",
    "multiscale by diffusion",
]
if find_spec("zuko"):
    TRAINED.append("synthesis")
NAMES = [*TRAINED, "Gaussian field", "lognormal field", "rank-mapped field"]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
    ),
]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kappa(n: int = 8, seed: int = 1) -> torch.Tensor:
    """Lognormal κ-maps, float32, shape ``(n, 16, 16)``."""
    variance = GaussianField.from_power(
        GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).variance
    return LognormalField.from_correlation(variance, 0.03).sample(n, seeded(seed))


def synthesis(maps: torch.Tensor, transform: KappaTransform) -> Synthesis:
    """A small one, whose maps are followed for a few steps only."""
    field = fit_field(transform(maps))
    blank = Synthesis(16, transform, field, scales=1)
    whitening = Whitening.fit(blank.coefficients(maps))
    vectors = VectorFlow(blank.bins, whitening, transforms=1, hidden=8)
    return Synthesis(16, transform, field, vectors, scales=1, steps=3)


def cascade(maps: torch.Tensor, family: type = Details) -> Multiscale:
    """From 8² pixels, which are too few for a flow, to 16²."""
    coarse = averaged(maps, 2)
    transform = KappaTransform.fit(coarse)
    first = TRENF(8, transform, fit_field(transform(coarse)), layers=2)
    if family is DetailDiffusion:
        details = family.fit(maps, blocks=1, hidden=8, features=8, calls=3)
    else:
        details = family.fit(maps, steps=2, hidden=8, features=8)
    return Multiscale([Level(first, maps), Level(details, maps)])


def build(name: str) -> torch.nn.Module:
    """A model whose weights are all different from zero, as they are after training."""
    maps = kappa(64, seed=2)
    transform = KappaTransform.fit(maps)
    gaussian = GaussianField.fit(transform(maps))
    torch.manual_seed(0)
    model = {
        "flow": lambda: Flow(16, transform, steps=2, hidden=8),
        "flow on a Gaussian field": lambda: Flow(16, transform, gaussian, steps=2, hidden=8),
        "spline flow": lambda: Flow(
            16, transform, gaussian, steps=2, hidden=8, coupling="spline", bins=4
        ),
        "diffusion": lambda: Diffusion(16, transform, widths=(8, 16)),
        "conditional diffusion": lambda: Diffusion(
            16,
            transform,
            gaussian,
            widths=(8, 16),
            band_powers=BandPowers.fit(transform(maps), gaussian),
        ),
        "VAE": lambda: VAE(16, transform, gaussian, width=8, latents=4),
        "hierarchical VAE": lambda: VAE(16, transform, gaussian, width=8, latents=4, blocks=1),
        "gan": lambda: GAN(16, transform, gaussian, widths=(8, 16)),
        "gan with band powers": lambda: GAN(
            16,
            transform,
            gaussian,
            widths=(8, 16),
            band_powers=BandPowers.fit(transform(maps), gaussian),
        ),
        "historic gan": lambda: GAN(
            16, transform, architecture="dcgan", widths=(16, 8), spectral=0.1
        ),
        "trenf": lambda: TRENF(16, transform, fit_field(transform(maps)), layers=2),
        "multiscale": lambda: cascade(maps),
        "multiscale by diffusion": lambda: cascade(maps, DetailDiffusion),
        "synthesis": lambda: synthesis(maps, transform),
        "Gaussian field": lambda: GaussianField.fit(maps),
        "rank-mapped field": lambda: RankMappedField.fit(maps),
        "lognormal field": lambda: LognormalField.fit(maps),
    }[name]()
    generator = seeded(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(params=NAMES)
def model(request):
    return build(request.param)


@pytest.fixture(params=TRAINED)
def trained(request):
    return build(request.param)


def assert_same_maps(found: torch.Tensor, expected: torch.Tensor):
    """Equal up to float32 rounding, which convolutions of another batch size do differently."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


# ---------------------------------------------------------------- sampling


def test_samples_are_finite_float32_maps(model):
    maps = model.sample(5, seeded(4))
    assert maps.shape == (5, 16, 16) and maps.dtype == torch.float32 and not maps.requires_grad
    assert torch.isfinite(maps).all()
    flat = maps.flatten(1)
    assert len(torch.unique(flat[:, 0])) == 5  # five different maps


def test_samples_are_decided_by_the_seed(model):
    first, again, other = (model.sample(3, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_samples_follow_the_global_seed_without_a_generator(model):
    torch.manual_seed(7)
    first = model.sample(2)
    torch.manual_seed(7)
    assert torch.equal(model.sample(2), first) and not torch.equal(model.sample(2), first)


def test_samples_do_not_depend_on_the_batch(trained):
    expected = trained.sample(7, seeded(8))
    for batch in (1, 3, 7):
        assert_same_maps(trained.sample(7, seeded(8), batch=batch), expected)


def test_samples_do_not_depend_on_how_many_more_are_made(model):
    assert_same_maps(model.sample(3, seeded(9)), model.sample(20, seeded(9))[:3])


def test_the_number_of_threads_changes_rounding_only(model):
    """As the FAQ says: bit for bit with as many threads, up to rounding with others."""
    before = torch.get_num_threads()
    found = {}
    try:
        for run, threads in (("one", 1), ("one again", 1), ("two", 2), ("two again", 2)):
            torch.set_num_threads(threads)
            found[run] = model.sample(4, seeded(9))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found["one"], found["one again"])
    assert torch.equal(found["two"], found["two again"])
    assert_same_maps(found["one"], found["two"])


@pytest.mark.parametrize("sampler", [heun, stochastic])
def test_each_map_of_a_diffusion_model_has_noise_of_its_own(sampler):
    model = build("conditional diffusion")
    expected = model.sample(9, seeded(10), steps=4, sampler=sampler)
    found = model.sample(6, seeded(10), steps=4, sampler=sampler, batch=4)
    assert_same_maps(found, expected[:6])


# ---------------------------------------------------------------- loss


def test_loss_is_a_finite_number_decided_by_the_seed(model):
    maps = kappa()
    first, again = (model.loss(maps, seeded(11)) for _ in range(2))
    assert first.shape == () and torch.isfinite(first) and torch.equal(first, again)


def test_gradients_reach_every_parameter(trained):
    trained.loss(kappa(), seeded(12)).backward()
    without = [
        name for name, p in trained.named_parameters() if p.grad is None or not (p.grad != 0).any()
    ]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in trained.parameters())


def test_baselines_have_nothing_to_train():
    assert [list(build(name).parameters()) for name in NAMES if name not in TRAINED] == 3 * [[]]


@pytest.mark.parametrize(
    "name",
    [
        "flow",
        "flow on a Gaussian field",
        "spline flow",
        "trenf",
        "multiscale",
        "Gaussian field",
        "lognormal field",
        "rank-mapped field",
    ],
)
def test_loss_of_a_density_is_bits_per_dimension(name):
    model, maps = build(name).requires_grad_(False), kappa()
    log_prob = model.log_prob(maps)
    assert log_prob.shape == (8,) and log_prob.dtype == torch.float64
    assert float(model.loss(maps)) == pytest.approx(-float(log_prob.mean()) / (256 * np.log(2)))


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("n", [8, 24, 100, 512])
def test_a_flow_refuses_sizes_that_it_cannot_halve(n):
    with pytest.raises(ValueError, match=f"a power of two from 16 to 256 pixels, found {n}"):
        Flow(n)


@pytest.mark.parametrize(
    "n, channels, unit", [(8, (8, 8, 8), 8), (20, (8, 8, 8), 8), (24, (8, 8, 8, 8), 16)]
)
def test_a_diffusion_model_refuses_sizes_that_its_network_cannot_halve(n, channels, unit):
    with pytest.raises(
        ValueError, match=f"a multiple of {unit} and at least 16 pixels, found {n}"
    ):
        Diffusion(n, widths=channels)


@pytest.mark.parametrize("shape", [(2, 32, 32), (2, 8, 8), (2, 16, 32)])
def test_maps_of_another_size_are_refused(trained, shape):
    with pytest.raises(
        ValueError, match=rf"the shape \({', '.join(map(str, shape))}\); expected \(maps, 16, 16\)"
    ):
        trained.loss(torch.zeros(shape), seeded(13))


# ---------------------------------------------------------------- checkpoints


def test_a_checkpoint_rebuilds_its_model(trained, tmp_path):
    path = save_checkpoint(tmp_path / "model.safetensors", trained, step=12, note="μ")
    tensors, header = read_checkpoint(path)
    assert header["family"] == trained.family and header["step"] == 12 and header["note"] == "μ"
    rebuilt = type(trained).from_config(header["config"])
    rebuilt.load_state_dict(tensors)
    assert rebuilt.config == trained.config
    assert torch.equal(rebuilt.sample(3, seeded(14)), trained.sample(3, seeded(14)))
    assert torch.equal(rebuilt.loss(kappa(), seeded(15)), trained.loss(kappa(), seeded(15)))


def test_a_checkpoint_needs_nothing_but_its_path(trained, tmp_path):
    loaded = models.load(save_checkpoint(tmp_path / "model.safetensors", trained))
    assert type(loaded) is type(trained) and not loaded.training
    assert torch.equal(loaded.sample(3, seeded(16)), trained.sample(3, seeded(16)))


def test_weights_may_be_kept_in_half_the_precision(trained, tmp_path):
    whole = save_checkpoint(tmp_path / "whole.safetensors", trained)
    half = save_checkpoint(tmp_path / "half.safetensors", trained, half=True)
    assert half.stat().st_size < whole.stat().st_size
    loaded = dict(models.load(half).named_parameters())
    for name, weight in trained.named_parameters():
        expected = weight
        if weight.dtype == torch.float32:
            expected = weight.half().float()
        assert loaded[name].dtype == weight.dtype
        assert torch.equal(loaded[name], expected)


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(
        FileNotFoundError, match="model.safetensors does not exist; expected a checkpoint"
    ):
        models.load(path)
    write_tensors(path, {"x": torch.zeros(2)}, {"step": 3})
    known = ", ".join(models.families())
    with pytest.raises(
        ValueError, match=f"holds no model; expected a checkpoint of the families {known}"
    ):
        models.load(path)
    save_checkpoint(path, build("flow"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is corrupt or no checkpoint of lensnb") as caught:
        models.load(path)
    assert "\n" not in str(caught.value)


def test_a_baseline_is_whole_in_its_state_dict():
    for name in ("Gaussian field", "lognormal field", "rank-mapped field"):
        model, other = build(name), build(name)
        for buffer in other.buffers():
            buffer.fill_(1.0)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.sample(3, seeded(17)), model.sample(3, seeded(17)))


# ---------------------------------------------------------------- devices


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_works_on_its_device(model, device):
    expected = model.sample(3, seeded(18))
    model.to(device)
    maps = model.sample(3, seeded(18))
    assert maps.device.type == device
    torch.testing.assert_close(maps.cpu(), expected, rtol=0.01, atol=0.01 * float(expected.std()))
    loss = model.loss(maps, seeded(19))
    assert loss.device.type == device and torch.isfinite(loss)
    here = torch.Generator(device).manual_seed(20)
    assert model.sample(2, here).device.type == device
    assert torch.isfinite(model.loss(maps, here))


# ---------------------------------------------------------------- the models that come with lensnb


@pytest.mark.parametrize(
    "name, family", [("flow", "flow"), ("refined-flow", "refined"), ("diffusion", "diffusion")]
)
def test_a_shipped_model_makes_maps_like_the_sample(name, family):
    """Mean and spread of 16 maps, of one seed; what is broken is off by more than this."""
    model, truth = models.load(name), load_sample("truth").tensor()
    assert (
        model.family == family
        and model.n == 64
        and (models.TRAINED / f"{name}.safetensors").stat().st_size < 1e7
    )
    maps = model.sample(16, seeded(30))
    assert torch.isfinite(maps).all()
    assert abs(float(maps.std() / truth.std()) - 1) < 0.15
    assert abs(float(maps.mean() - truth.mean())) < 0.2 * float(truth.std())
    card = models.card(name)
    assert "What the fidelity report says" in card and "C_ℓ slope" in card


def test_a_model_that_did_not_come_with_lensnb_has_no_card():
    with pytest.raises(
        ValueError,
        match="lensnb comes with no model 'gan'; expected one of diffusion, flow, refined-flow",
    ):
        models.card("gan")
