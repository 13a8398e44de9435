"""The cascade of scales: exact changes of variables, the Gaussian conditional, and levels apart.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math

import pytest
import torch
from torch import nn

from lensnb import models
from lensnb.files import save_checkpoint
from lensnb.given import Batch, Conditions
from lensnb.layers import squeeze
from lensnb.maps import CutOutField, GaussianField, LognormalField, MapGrid, fit_field
from lensnb.models import TRENF, Details, Diffusion, Flow, Level, Multiscale
from lensnb.models.averages import averaged, joined, repeated, split
from lensnb.models.local_gaussian import LocalGaussian, folded, unfolded
from lensnb.train import Settings, fit
from lensnb.transform import KappaTransform

DOUBLE = torch.float64
BIT = math.log(2)
CHANNELS = pytest.mark.parametrize("channels", [1, 2])
# the sky from which all maps here are cut, larger than any of them
SKY = GaussianField.from_power(MapGrid(96, 7.5), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(count: int, n: int, seed: int = 1) -> torch.Tensor:
    """Gaussian maps without a seam, float64."""
    return CutOutField.of_periodic(SKY, n).sample(count, seeded(seed)).double()


def kappa(count: int, n: int = 16, seed: int = 1, channels: int = 1) -> torch.Tensor:
    """Lognormal κ-maps, float64; a second channel is a noisy copy of the first."""
    field = LognormalField.from_correlation(SKY.variance, 0.03)
    maps = field.sample(count, seeded(seed))[:, :n, :n].double()
    if channels == 1:
        return maps
    noise = torch.randn(maps.shape, generator=seeded(seed + 100), dtype=DOUBLE)
    return torch.stack([maps, 0.8 * maps + 0.003 * noise], 1)


def perturbed(module: nn.Module, size: float = 0.1) -> nn.Module:
    """The module in float64 with every weight moved off its initial value."""
    generator = seeded(2)
    module.double().requires_grad_(False)
    for parameter in module.parameters():
        parameter += size * torch.randn(parameter.shape, generator=generator, dtype=DOUBLE)
    return module


def details(maps: torch.Tensor, size: float = 0.0, **more) -> Details:
    torch.manual_seed(0)
    options = {"steps": 2, "hidden": 8, "features": 8} | more
    return perturbed(Details.fit(maps, **options), size)


def first_level(maps: torch.Tensor, n: int = 8) -> Level:
    """A coarsest level of few pixels."""
    coarse = averaged(maps, maps.shape[-1] // n)
    transform = KappaTransform.fit(coarse)
    first = TRENF(n, transform, fit_field(transform(coarse)), layers=2)
    return Level(first, maps).requires_grad_(False)


def cascade(maps: torch.Tensor, size: float = 0.0) -> Multiscale:
    """From 8² pixels to those of the maps."""
    levels = [first_level(maps)]
    side = 16
    while side <= maps.shape[-1]:
        levels.append(Level(details(averaged(maps, maps.shape[-1] // side)), maps))
        side *= 2
    return perturbed(Multiscale(levels), size)


# ---------------------------------------------------------------- averages and details


@CHANNELS
def test_pixels_follow_from_averages_and_details(channels):
    """Also where the transform continues as its tangent, and far beyond the training maps."""
    maps = kappa(40, channels=channels)
    transform = KappaTransform.fit(maps)
    wild = 8 * (maps - maps.mean()) - 0.1
    for one in (maps, wild):
        x = one.reshape(40, channels, 16, 16)
        parts = split(transform, x)
        found = joined(transform, parts.coarse, parts.bands)
        torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-12)


@CHANNELS
def test_log_det_of_the_split_is_that_of_autograds_jacobian(channels):
    transform = KappaTransform.fit(kappa(40, channels=channels))
    x = 3 * kappa(1, 4, channels=channels).reshape(1, channels, 4, 4) - 0.05

    def numbers(flat: torch.Tensor) -> torch.Tensor:
        parts = split(transform, flat.reshape(x.shape))
        return torch.cat([parts.coarse.flatten(), parts.bands.flatten()])

    jacobian = torch.autograd.functional.jacobian(numbers, x.flatten())
    expected = torch.linalg.slogdet(jacobian)[1]
    found = split(transform, x).log_det.sum()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_huge_details_keep_the_average_and_make_no_huge_pixel():
    """Details of 40σ: a pixel can have four times what its cell has above the darkest pixel."""
    maps = kappa(200)
    transform = KappaTransform.fit(maps)
    coarse = averaged(maps[:20, None], 2)
    bands = 40 * torch.randn(20, 3, 8, 8, generator=seeded(1), dtype=DOUBLE)
    found = joined(transform, coarse, bands)
    torch.testing.assert_close(averaged(found, 2), coarse, rtol=1e-9, atol=1e-12)
    spare = 4 * repeated(coarse) - 3 * found.min()
    assert (found <= spare + 1e-12).all()


def test_details_of_the_transformed_map_have_the_same_scatter_everywhere():
    """In κ it is 3 times as large in the brightest tenth of the cells as in the darkest, in x 1.3."""
    maps = kappa(200)
    parts = split(KappaTransform.fit(maps), maps[:, None])
    order = parts.coarse.flatten().argsort()
    of_kappa = squeeze(maps[:, None])[:, 1].flatten()[order]
    of_x = parts.bands[:, 0].flatten()[order]
    tenth = len(order) // 10

    def ratio(values: torch.Tensor) -> float:
        return float(values[-tenth:].std() / values[:tenth].std())

    assert ratio(of_kappa) > 2 and 0.67 < ratio(of_x) < 1.5


# ---------------------------------------------------------------- the Gaussian conditional


@CHANNELS
def test_log_det_of_the_regressions_is_that_of_autograds_jacobian(channels):
    maps = kappa(200, channels=channels).reshape(200, channels, 16, 16)
    cells = squeeze(maps / maps.std())
    base = LocalGaussian.fit(cells[:, :channels], cells[:, channels:])
    coarse = folded(cells[:1, :channels])
    bands = folded(cells[:1, channels:])
    white, log_det = base.to_noise(coarse, bands)
    torch.testing.assert_close(base.to_data(coarse, white), bands)
    torch.testing.assert_close(unfolded(bands), cells[:1, channels:])
    jacobian = torch.autograd.functional.jacobian(
        lambda flat: base.to_noise(coarse, flat.reshape(bands.shape))[0].flatten(),
        bands.flatten(),
    )
    torch.testing.assert_close(log_det.sum(), torch.linalg.slogdet(jacobian)[1])


def exact_conditional(field: CutOutField, maps: torch.Tensor) -> torch.Tensor:
    """ln p(κ) − ln p(averages) of a Gaussian field, from the covariance of all pixels."""
    n = field.n
    row = torch.arange(n).repeat_interleave(n)
    column = torch.arange(n).repeat(n)
    lags = (row[:, None] - row).abs(), (column[:, None] - column).abs()
    averages = averaged(torch.eye(n * n, dtype=DOUBLE).reshape(-1, n, n), 2).flatten(1)
    covariance = averages.T @ field.correlation[lags] @ averages
    coarse = averaged(maps - field.mean, 2).flatten(1)
    zero = torch.zeros(len(covariance), dtype=DOUBLE)
    of_coarse = torch.distributions.MultivariateNormal(zero, covariance).log_prob(coarse)
    return field.log_prob(maps) - of_coarse


@pytest.mark.parametrize("n", [16, 32])
def test_untrained_details_of_a_gaussian_field_have_nearly_its_density(n):
    """They miss 0.0003 nats a pixel at 16², and 0.0002 at 32², measured on 2,000 maps.

    Regressions that use the coarser map alone miss 0.03 and more.
    """
    field = CutOutField.of_periodic(SKY, n)
    model = details(gaussian(2000, n))
    maps = gaussian(400, n, 2)
    missed = (exact_conditional(field, maps) - model.log_prob(maps)) / n**2
    assert -0.0005 < float(missed.mean()) < 0.001
    assert float(missed.std()) < 0.005


def test_an_untrained_cascade_makes_maps_with_the_spectrum_of_a_gaussian_field():
    """1,000 maps of 32²: variance of the field's modes in 12 bins, 5σ and 1 %; fails by chance
    with probability 1e-5."""
    field = CutOutField.of_periodic(SKY, 32)
    model = Multiscale.fit(gaussian(2000, 32), steps=2, hidden=8)
    white = field.modes(model.sample(1000, seeded(3))).square() / field.eigenvalues
    order = field.eigenvalues.flatten().argsort(descending=True)
    of_bins = white.flatten(1)[:, order].split(86, 1)
    for part in of_bins:
        assert abs(float(part.mean()) - 1) < 0.01 + 5 * math.sqrt(2 / part.numel())


# ---------------------------------------------------------------- the flow of a level


@CHANNELS
def test_log_det_of_details_is_that_of_autograds_jacobian(channels):
    """The latent details and the averages have as many numbers as the maps have pixels."""
    maps = kappa(200, channels=channels)
    model, one = details(maps, 0.05), maps[:1]

    def numbers(flat: torch.Tensor) -> torch.Tensor:
        same = flat.reshape(one.shape)
        return torch.cat([averaged(same, 2).flatten(), model.to_noise(same)[0].flatten()])

    jacobian = torch.autograd.functional.jacobian(numbers, one.flatten())
    _, log_det = model.to_noise(one)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian)[1])


@CHANNELS
def test_round_trip_of_details(channels):
    maps = kappa(200, channels=channels)
    model = details(maps, 0.05)
    z, _ = model.to_noise(maps[:5])
    assert z.shape == (5, 12 * channels, 4, 4)
    found = model.to_data(z, {"coarse": averaged(maps[:5], 2)})
    torch.testing.assert_close(found, maps[:5], rtol=1e-9, atol=1e-12)


def with_scatter(log_scatter: torch.Tensor, coarse: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Maps with white details of a given scatter, and the lowest loss that a model can have.

    The first 3/4 of the maps are for training. The loss, in bits a pixel, is that of the others.
    """
    white = torch.randn(len(coarse), 3, 8, 8, generator=seeded(2))
    bands = white * log_scatter.exp()
    maps = joined(KappaTransform(), coarse, bands)[:, 0].float()
    held_out = slice(len(coarse) * 3 // 4, None)
    normal = torch.distributions.Normal(0.0, log_scatter[held_out].exp())
    log_prob = normal.log_prob(bands[held_out]).flatten(1).sum(1).mean() - 64 * BIT
    return maps, -float(log_prob) / (256 * BIT)


def test_untrained_details_have_the_scatter_that_depends_on_their_own_cell():
    """Planted: σ = e^(0.5 c). One σ for all loses 0.27 bits a pixel."""
    coarse = torch.randn(2048, 1, 8, 8, generator=seeded(1))
    maps, best = with_scatter(0.5 * coarse, coarse)
    model = details(maps[:1536].double())
    assert abs(float(model.loss(maps[1536:].double())) - best) < 0.02


def test_details_can_be_measured_on_a_single_map():
    model, coarse = details(kappa(1)), averaged(kappa(3, seed=2), 2)
    assert torch.isfinite(model.sample(3, seeded(1), given={"coarse": coarse})).all()


def test_a_level_learns_how_the_scatter_depends_on_the_cell_beside():
    """Planted: σ = e^(0.7 c) with c of the cell to the left; 150 steps find most of it."""
    coarse = torch.randn(2048, 1, 8, 8, generator=seeded(1))
    beside = nn.functional.pad(coarse, (1, 0))[..., :-1]
    maps, best = with_scatter(0.7 * beside, coarse)
    model = details(maps[:1536], hidden=32).float().requires_grad_()
    before = float(model.loss(maps[1536:]).detach())
    settings = Settings(steps=150, batch=32, lr=1e-2, ema=0.98)
    list(fit(model, with_coarse(maps[:1536]), settings))
    after = float(model.loss(maps[1536:]).detach())
    assert before - best > 0.2
    assert after - best < 0.3 * (before - best)


def with_coarse(maps: torch.Tensor):
    """Maps and their averages, as a model of details takes them."""
    return Batch(maps, {"coarse": averaged(maps, 2)})


# ---------------------------------------------------------------- crops and larger fields


@pytest.mark.parametrize("place", [(0, 0), (16, 24), (32, 4)])
def test_a_crop_has_the_latents_of_the_whole_map_inside(place, monkeypatch):
    """Features at all pixels; latents where both steps and the regressions see no rim."""
    maps = kappa(64, 64)
    model = details(averaged(maps, 2), 0.1, crop=32)
    whole = model._features(averaged(maps[:3, None], 2))
    latents, _ = model.to_noise(maps[:3])
    starts = iter(place)
    monkeypatch.setattr("lensnb.models.white_details.random_start", lambda *_: next(starts))
    part, features, _ = model._part(maps[:3, None], None)
    row, column = (start // 4 for start in place)
    torch.testing.assert_close(features, whole[..., row : row + 8, column : column + 8])
    found, _ = model._to_noise(part, features)
    inside = latents[..., row + 3 : row + 5, column + 3 : column + 5]
    torch.testing.assert_close(found[..., 3:5, 3:5], inside)


def test_the_loss_of_crops_is_that_of_whole_maps():
    """In bits a pixel, on average over 20 crops; with the rims of crops it was 0.05 higher."""
    maps = kappa(50, 64)
    whole, cropped = details(averaged(maps, 2)), details(averaged(maps, 2), crop=32)
    generator = seeded(1)
    losses = torch.stack([cropped.loss(maps, generator) for _ in range(20)])
    expected = float(whole.loss(maps))
    assert abs(float(losses.mean()) - expected) < 0.01
    assert len(losses.unique()) > 10


def test_details_of_larger_fields_than_trained_have_no_rim_or_seam():
    """Measured on 16², drawn at 48²: variance of 300 maps' details by position.

    It is known to 2.4 % (1σ) in a block, and 5σ in one of 144 blocks have a probability of 1e-4.
    The maps of 16² give the mean to 0.5 % only.
    """
    model = details(gaussian(2000, 16))
    true = gaussian(300, 48, 2)
    drawn = model.sample(300, seeded(3), given={"coarse": averaged(true, 2)}).double()

    def power(maps: torch.Tensor) -> torch.Tensor:
        squares = squeeze(maps[:, None])[:, 1:].square().sum(1)
        return averaged(squares.mean(0), 2)

    ratio = power(drawn) / power(true)
    assert (ratio - 1).abs().max() < 5 * math.sqrt(2) * 0.024 + 0.01
    assert abs(float(ratio.mean()) - 1) < 0.02


# ---------------------------------------------------------------- the cascade


def test_log_prob_of_a_cascade_is_that_of_one_change_of_variables():
    maps = kappa(200)
    model, one = cascade(maps, 0.05), maps[:1]
    coarsest, finest = (level.model for level in model.levels)

    def latents(flat: torch.Tensor) -> torch.Tensor:
        same = flat.reshape(one.shape)
        z_coarse, _ = coarsest.to_noise(averaged(same, 2))
        return torch.cat([z_coarse.flatten(), finest.to_noise(same)[0].flatten()])

    z = latents(one.flatten())
    jacobian = torch.autograd.functional.jacobian(latents, one.flatten())
    of_latents = coarsest.base.log_prob(z[:64].reshape(1, 8, 8))
    of_latents = of_latents - 0.5 * (z[64:].square() + math.log(2 * math.pi)).sum()
    expected = of_latents + torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(model.log_prob(one), expected)


def test_the_likelihood_of_a_cascade_by_scale():
    maps = kappa(200, 32)
    model = cascade(maps, 0.05)
    assert model.sides == [8, 16, 32]
    terms = model.log_prob_by_scale(maps[:4])
    assert terms.shape == (4, 3) and terms.dtype == DOUBLE
    middle = averaged(maps[:4], 2)
    torch.testing.assert_close(terms[:, 2], model.levels[0].model.log_prob(averaged(middle, 2)))
    torch.testing.assert_close(terms[:, 1:].sum(1), Multiscale(model.levels[:2]).log_prob(middle))
    torch.testing.assert_close(terms.sum(1), model.log_prob(maps[:4]))
    changed = maps[:4].clone()
    changed[:, ::2] += 1e-3
    changed[:, 1::2] -= 1e-3
    others = model.log_prob_by_scale(changed)
    torch.testing.assert_close(others[:, 1:], terms[:, 1:])
    assert (others[:, 0] != terms[:, 0]).all()


def test_a_cascade_of_two_channels_draws_both():
    """Planted correlation of pixels, 0.8 / √(0.8² + 0.5²) = 0.848, in 300 untrained maps."""
    one, other = gaussian(300, 32), gaussian(300, 32, 2)
    maps = torch.stack([one, 0.8 * one + 0.5 * other], 1)
    model = Multiscale.fit(maps.float(), steps=2, hidden=8)
    drawn = model.sample(300, seeded(1))
    assert drawn.shape == (300, 2, 32, 32)
    found = torch.corrcoef(drawn.transpose(0, 1).flatten(1))[0, 1]
    assert abs(float(found) - 0.848) < 0.02
    assert torch.isfinite(model.log_prob(maps[:3].float())).all()


def test_refined_maps_have_the_averages_that_were_given():
    maps = kappa(200, 32)
    model = cascade(maps, 0.05).float()
    coarse = averaged(maps[:5], 2).float()
    fine = model.refine(coarse, seeded(4), batch=2)
    assert fine.shape == (5, 32, 32) and fine.dtype == torch.float32
    torch.testing.assert_close(averaged(fine, 2), coarse, rtol=1e-4, atol=1e-7)
    other = model.refine(coarse, seeded(5))
    assert float((fine - other).std()) > 1e-3


def test_the_fine_levels_draw_the_same_details_whatever_the_coarse_maps_come_from():
    model = cascade(kappa(200, 32), 0.05).float()
    maps = model.sample(3, seeded(6))
    again = model.refine(averaged(maps, 4), seeded(6), batch=1)
    torch.testing.assert_close(again, maps, rtol=1e-4, atol=1e-6)


def test_levels_trained_apart_are_one_cascade(tmp_path):
    """Each level is trained, interrupted, resumed and loaded by itself."""
    maps = kappa(128, 32).float()
    untrained = Multiscale.fit(maps, steps=2, hidden=8, crop=24)
    settings = Settings(steps=6, batch=8, lr=1e-3)
    names = []
    for level in untrained.levels:
        names.append(tmp_path / f"{level.n}")
        records = fit(level, maps, settings, folder=names[-1])
        last = list(records)[-1]
        assert last["step"] == 6 and math.isfinite(last["loss"])
    blank = Level.from_config(untrained.levels[1].config)
    again = list(fit(untrained.levels[1], maps, settings, folder=names[1]))
    assert again[-1]["step"] == 6 and blank.n == 32
    loaded = [models.load(name / "model.safetensors") for name in names]
    joined_again = Multiscale.join(loaded)
    path = save_checkpoint(tmp_path / "all.safetensors", joined_again)
    found = models.load(path).sample(2, seeded(7))
    expected = untrained.eval().sample(2, seeded(7))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_cascade_can_end_in_a_diffusion_model():
    maps = kappa(64).float()
    transform = KappaTransform.fit(maps)
    conditions = Conditions.fit({"coarse": averaged(maps, 2)})
    torch.manual_seed(0)
    finest = Diffusion(
        16, transform, fit_field(transform(maps)), widths=(8, 16), conditions=conditions
    )
    model = Multiscale.join([first_level(maps).float(), Level(finest, maps)])
    assert torch.isfinite(model.loss(maps, seeded(8)))
    coarse = averaged(maps[:3], 2)
    fine = model.refine(coarse, seeded(9))
    torch.testing.assert_close(averaged(fine, 2), coarse, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="a level by diffusion has no exact likelihood"):
        model.log_prob(maps)
    rebuilt = Multiscale.from_config(model.config)
    rebuilt.load_state_dict(model.state_dict())
    torch.testing.assert_close(
        rebuilt.sample(2, seeded(1)), model.sample(2, seeded(1)), rtol=1e-4, atol=1e-7
    )


def test_a_wider_coarse_level_draws_a_wider_field():
    """A coarse level of 16² pixels with details that were trained on 8² → 16²."""
    small, wide = gaussian(500, 16), gaussian(500, 32, 2)
    levels = [first_level(wide, 16), Level(details(small), small)]
    with pytest.raises(ValueError, match="expected levels of the same maps"):
        Multiscale.join(levels)
    model = Multiscale.join(levels, tolerance=0.2)
    assert model.n == 32 and model.sample(2, seeded(1)).shape == (2, 32, 32)
    exact = CutOutField.of_periodic(SKY, 32).log_prob(wide)
    assert float((exact - model.log_prob(wide)).mean()) / 1024 < 0.01


# ---------------------------------------------------------------- bad input


def test_levels_that_do_not_belong_together_are_refused():
    maps, others = kappa(100), kappa(100, seed=2)
    coarse, fine = first_level(maps), Level(details(maps), maps)
    with pytest.raises(ValueError, match="the level of 8² .* expected levels of the same maps"):
        Multiscale.join([coarse, Level(details(others), others)])
    with pytest.raises(ValueError, match="only the first level of a cascade needs no coarser map"):
        Multiscale([fine, coarse])
    with pytest.raises(ValueError, match="found none"):
        Multiscale([])
    with pytest.raises(ValueError, match="levels of the class Level, found TRENF, Level"):
        Multiscale([coarse.model, fine])
    with pytest.raises(ValueError, match="a level of 32² pixels cannot follow one of 8²"):
        Multiscale([coarse, Level(details(kappa(50, 32)))])
    two = Level(details(kappa(50, channels=2)))
    with pytest.raises(ValueError, match="the same channels, found 1, 2"):
        Multiscale([coarse, two])


def test_a_level_refuses_models_and_maps_that_do_not_fit():
    maps = kappa(100, 32)
    with pytest.raises(ValueError, match="a model of a registered family, found a Linear"):
        Level(nn.Linear(1, 1))
    numbers = Conditions.fit({"omega": torch.rand(5)})
    with pytest.raises(ValueError, match="only coarse with 8² pixels; found a Flow with omega"):
        Level(Flow(16, steps=2, hidden=8, conditions=numbers))
    level = Level(Flow(16, steps=2, hidden=8))
    with pytest.raises(ValueError, match="averages maps to 16² pixels; .* found 24²"):
        level.loss(maps[:, :24, :24])
    with pytest.raises(ValueError, match="a cascade from 16² pixels has maps of 32², 64², … pix"):
        Multiscale.fit(maps[:, :24, :24])
    model = Multiscale([level, Level(Details(32, steps=2, hidden=8))])
    with pytest.raises(ValueError, match="refines maps of 16 pixels a side, found 32"):
        model.refine(maps)


def test_details_refuse_what_does_not_fit():
    for n in (8, 30):
        with pytest.raises(ValueError, match=f"a multiple of 4 from 16 on, found {n}"):
            Details(n)
        with pytest.raises(ValueError, match=f"a multiple of 4 from 16 on, found {n}"):
            Details.fit(kappa(2, n))
    with pytest.raises(ValueError, match="a crop of 64² pixels is larger than the maps, 32²"):
        Details(32, crop=64)
    with pytest.raises(ValueError, match="a multiple of 4 pixels a side from 16 on, found 18"):
        Details(32, crop=18)
    with pytest.raises(ValueError, match="an even number of steps, found 3"):
        Details(16, steps=3)
    model, maps = Details(16, steps=2, hidden=8), kappa(4).float()
    with pytest.raises(ValueError, match="needs the condition coarse"):
        model.sample(2)
    for shape in ((4, 12, 12), (4, 0, 0), (4,), ()):
        with pytest.raises(ValueError, match="this Details was given coarse of the shape"):
            model.sample(4, given={"coarse": torch.zeros(shape)})
    with pytest.raises(ValueError, match="coarse of this Details is not the average of its maps"):
        model.loss(maps, given={"coarse": averaged(maps, 2) + 0.01})
    with pytest.raises(ValueError, match="takes maps of 16² pixels or a multiple .* found 24²"):
        model.loss(torch.zeros(2, 24, 24))
