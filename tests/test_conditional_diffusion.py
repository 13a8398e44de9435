"""A diffusion model that is given a map: untrained it is the Wiener posterior, exactly.

Statistical tests use fixed seeds; each says how often a correct code would fail it with another seed.
"""

import math

import numpy as np
import pytest
import torch
from test_samplers import DOUBLE, GRID, cut_out_field, red_field, seeded

from lensnb import models
from lensnb.data import MapSet, random_symmetry
from lensnb.files import save_checkpoint
from lensnb.given import Conditions
from lensnb.maps import ConditionalField, CutOutField, GaussianField
from lensnb.models import BandPowers, Diffusion
from lensnb.train import Hardware, Settings, fit
from lensnb.transform import KappaTransform

N, NOISE = 16, 0.5
TRANSFORM = KappaTransform(mean=0.002, std=0.01)


def periodic_pair() -> ConditionalField:
    """A field, and the same with white noise of 0.5."""
    one = red_field().variance
    noisy = one + NOISE**2
    joint = GaussianField(torch.stack([one, one, one, noisy]).reshape(2, 2, *one.shape))
    return ConditionalField(joint, {"noisy": 1}, torch.tensor([0.01]))


def cut_out_pair() -> ConditionalField:
    xi = cut_out_field().correlation
    noisy = xi.clone()
    noisy[0, 0] += NOISE**2
    joint = CutOutField(torch.stack([xi, xi, xi, noisy]).reshape(2, 2, N, N))
    return ConditionalField(joint, {"noisy": 1}, torch.tensor([0.01]))


def pairs(field: ConditionalField, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """κ-maps and their noisy maps, both in units of κ."""
    y, noisy = field.joint.sample(n, seeded(seed)).double().unbind(1)
    return 0.002 + 0.01 * y, 0.01 * noisy


def untrained(field: ConditionalField, **options) -> Diffusion:
    _, noisy = pairs(field, 50, 1)
    conditions = Conditions.fit({"noisy": noisy})
    torch.manual_seed(0)
    return Diffusion(N, TRANSFORM, field, widths=(8, 16), conditions=conditions, **options)


# ---------------------------------------------------------------- the Wiener posterior


@pytest.mark.parametrize("signal", [red_field, cut_out_field])
def test_untrained_samples_are_the_wiener_posterior_mode_by_mode(signal):
    """1,000 samples for one noisy map: mean λ/(λ+σ²) c and variance λσ²/(λ+σ²) of every mode.

    256 numbers of each kind within 4.5 standard errors: fails by chance with probability 4e-3.
    """
    pair, signal, n = periodic_pair(), signal(), 1000
    if signal.kind == "cut-out":
        pair = cut_out_pair()
    _, noisy = pairs(pair, 1, 2)
    maps = untrained(pair).sample(n, seeded(3), steps=4, given={"noisy": noisy[0]}, batch=500)
    modes = signal.modes((maps.double() - 0.002) / 0.01)
    expected = signal.modes(noisy / 0.01) * (gain := 1 / (1 + NOISE**2 / signal.eigenvalues))
    variance = NOISE**2 * gain
    off = (modes.mean(0) - expected[0]).abs().square() / variance * n
    # twice as many numbers in a complex mode: its real and its imaginary part
    ratio = (modes - expected).abs().square().mean(0) / variance
    inner = signal.multiplicity == 2
    assert float(off.max()) < 4.5**2
    assert float((ratio - 1).abs()[~inner].max()) < 4.5 * math.sqrt(2 / n)
    if inner.any():
        assert float((ratio - 1).abs()[inner].max()) < 4.5 * math.sqrt(1 / n)


def test_each_map_follows_its_own_condition_in_any_batch():
    field = periodic_pair()
    model, (kappa, noisy) = untrained(field), pairs(field, 5, 4)
    together = model.sample(5, seeded(5), 4, given={"noisy": noisy})
    apart = model.sample(5, seeded(5), 4, given={"noisy": noisy}, batch=2)
    torch.testing.assert_close(apart, together, rtol=1e-5, atol=1e-7)
    error = (together - kappa).square().mean((1, 2))
    to_others = (together - kappa.roll(1, 0)).square().mean((1, 2))
    assert (error < to_others).all()


@pytest.mark.parametrize("make", [periodic_pair, cut_out_pair])
def test_the_untrained_density_is_that_of_the_posterior(make):
    field = make()
    kappa, noisy = pairs(field, 3, 6)
    expected = field.given({"noisy": noisy}).log_prob(TRANSFORM(kappa))
    expected = expected + TRANSFORM.log_det(kappa)
    found = untrained(field).log_prob(kappa, steps=4, given={"noisy": noisy})
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-6)


def test_the_untrained_loss_is_one():
    """2,000 Gaussian pairs in 20 batches, within 4 standard errors: fails by chance with 3e-4."""
    field = cut_out_pair()
    model = untrained(field).requires_grad_(False)
    kappa, noisy = pairs(field, 2000, 7)
    parts = zip(kappa.split(100), noisy.split(100))
    losses = torch.tensor(
        [float(model.loss(k, seeded(i), {"noisy": c})) for i, (k, c) in enumerate(parts)]
    )
    assert abs(float(losses.mean()) - 1) < 4 * float(losses.std()) / math.sqrt(20) < 0.05


def test_inputs_of_the_network_have_unit_size():
    """Also where the condition says almost all: the mean of the field is subtracted."""
    field = periodic_pair()
    model, (kappa, noisy) = untrained(field), pairs(field, 400, 8)
    sigma = torch.full((400,), 0.1, dtype=DOUBLE)
    y = TRANSFORM(kappa)
    x = y + 0.1 * torch.randn(y.shape, generator=seeded(9), dtype=DOUBLE)
    known = model._known(None, {"noisy": noisy})
    _, _, inputs = model.denoiser.split(x, sigma, known.gaussian)
    assert known.channels.shape == (400, 2, N, N)  # m and the standardised map
    for one in (*inputs.unbind(1), known.channels[:, 1]):
        assert float(one.square().mean()) == pytest.approx(1, abs=0.05)


def test_noise_levels_are_in_units_of_what_is_left_open(monkeypatch):
    """Of a field with unit variance and noise of 0.05, which leaves almost 0.05 open."""
    one = red_field().variance
    joint = GaussianField(torch.stack([one, one, one, one + 0.05**2]).reshape(2, 2, *one.shape))
    model, seen = untrained(ConditionalField(joint, {"noisy": 1}, torch.tensor([0.01]))), []
    denoiser = model.denoiser
    residual = denoiser.residual

    def spy(y, x, sigma, *known):
        seen.append(sigma)
        return residual(y, x, sigma, *known)

    monkeypatch.setattr(denoiser, "residual", spy)
    kappa, noisy = pairs(denoiser.gaussian, 200, 19)
    model.loss(kappa, seeded(20), {"noisy": noisy})
    model.losses(kappa, seeded(20), {"noisy": noisy})
    left = float((one * 0.05**2 / (one + 0.05**2) * GRID.multiplicity).sum() / N**2) ** 0.5
    assert 0.9 * 0.05 < left < 0.05
    assert float(seen[0].log().mean()) == pytest.approx(math.log(left) - 0.5, abs=0.02)
    assert [float(one[0]) / left for one in seen[1:]] == pytest.approx([0.1, 0.3, 1, 3, 10])
    levels, _ = model._levels(5, None)
    assert float(levels[0]) / left == pytest.approx(20)


def test_a_map_of_two_channels_can_be_given_another_map():
    """Untrained, with a posterior of two channels; the loss of one batch is 1 within its noise."""
    one = red_field().variance
    half = 0.5 * one
    rows = [[one, half, one], [half, one, half], [one, half, one + 0.25]]
    joint = GaussianField(torch.stack([torch.stack(row) for row in rows]))
    field = ConditionalField(joint, {"noisy": 1})
    transform = KappaTransform(*([number] * 2 for number in (0.0, math.inf, 0.0, 0.01)))
    drawn = joint.sample(100, seeded(10))
    given = {"noisy": drawn[:, 2]}
    model = Diffusion(N, transform, field, (8, 16), conditions=Conditions.fit(given))
    maps = model.sample(3, seeded(11), 3, given={"noisy": drawn[:3, 2]})
    assert maps.shape == (3, 2, N, N)
    loss = model.loss(0.01 * drawn[:, :2], seeded(12), given)
    assert float(loss.detach()) == pytest.approx(1, abs=0.1)


# ---------------------------------------------------------------- a trained model


def masked_set(n: int, seed: int) -> MapSet:
    """Noisy maps of which one half of each is hidden, with the mask as a second condition."""
    kappa, noisy = pairs(periodic_pair(), n, seed)
    mask = torch.zeros(n, N, N)
    mask[..., : N // 2] = 1
    given = {"noisy": noisy * mask, "mask": mask}
    return random_symmetry_of(MapSet(kappa.float(), 5.0, given=given), seed)


def random_symmetry_of(maps: MapSet, seed: int) -> MapSet:
    batch = random_symmetry(maps.batch(), seeded(seed))
    return MapSet(batch.maps, maps.side_deg, given=batch.given)


def test_the_network_learns_what_a_mask_hides():
    """Behind a mask the stationary field is wrong, and 100 steps lower the loss of new maps.

    With the exact posterior of a Gaussian field and this mask, the mean square of the residual is
    0.89 of the loss of the stationary field at σ = 0.6 and 0.87 at σ = 1.
    """
    train, new = masked_set(256, 20), masked_set(256, 21).batch()
    known = {"noisy": train.given["noisy"]}
    field = ConditionalField.fit(TRANSFORM(train.tensor()), known)
    torch.manual_seed(1)
    conditions = Conditions.fit(train.given)
    levels = {"log_mean": -0.2, "log_std": 0.5}
    model = Diffusion(N, TRANSFORM, field, (12, 24), conditions=conditions, **levels)
    with torch.no_grad():
        before = float(model.loss(new.maps, seeded(22), new.given))
    settings = Settings(100, batch=16, lr=1e-2, ema=0.9, augment=random_symmetry)
    for _ in fit(model, train, settings, device=Hardware("cpu", "float32")):
        pass
    with torch.no_grad():
        after = float(model.loss(new.maps, seeded(22), new.given))
    assert after < 0.96 * before


def test_a_checkpoint_rebuilds_the_model(tmp_path):
    model, given = untrained(cut_out_pair()), {"noisy": pairs(cut_out_pair(), 3, 13)[1]}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=seeded(14))
    loaded = models.load(save_checkpoint(tmp_path / "model.safetensors", model))
    assert loaded.config == model.config
    found = loaded.sample(3, seeded(15), 3, given=given)
    torch.testing.assert_close(found, model.sample(3, seeded(15), 3, given=given))
    path = models.draw(loaded, 3, tmp_path / "maps.npy", block=2, given=given, steps=3)
    assert np.load(path).shape == (3, N, N)


# ---------------------------------------------------------------- bad input


def test_what_the_model_was_not_made_for_is_refused_in_a_sentence():
    field = periodic_pair()
    model, (kappa, noisy) = untrained(field), pairs(field, 4, 16)
    with pytest.raises(ValueError, match="needs the condition noisy; expected it in given"):
        model.sample(4)
    with pytest.raises(ValueError, match="was given other, which it does not know; expected noi"):
        model.sample(4, given={"noisy": noisy, "other": noisy})
    with pytest.raises(ValueError, match=r"given noisy of the shape \(4, 8, 8\); expected \(4, "):
        model.sample(4, given={"noisy": noisy[:, :8, :8]})
    with pytest.raises(ValueError, match=r"given noisy of the shape \(3, 16, 16\); expected"):
        model.loss(kappa, seeded(17), {"noisy": noisy[:3]})
    noisy[0, 3, 3] = torch.nan
    words = "noisy with values that are NaN or infinite; expected finite ones, such as 0 behind a"
    for use in (model.loss, model.log_prob):
        with pytest.raises(ValueError, match=words):
            use(kappa, given={"noisy": noisy})
    with pytest.raises(ValueError, match=words):
        model.sample(4, given={"noisy": noisy})


def test_a_field_that_does_not_fit_the_model_is_refused():
    field = periodic_pair()
    with pytest.raises(ValueError, match="condition noisy, a map of the shape .* found None"):
        Diffusion(N, TRANSFORM, field, (8, 16))
    coarse = Conditions.fit({"noisy": torch.randn(5, 8, 8)})
    with pytest.raises(ValueError, match="expected it among the conditions of the model, found C"):
        Diffusion(N, TRANSFORM, field, (8, 16), conditions=coarse)
    powers = BandPowers.fit(red_field().sample(20, seeded(18)), red_field(), 2)
    with pytest.raises(ValueError, match="a conditional field takes no band powers"):
        untrained(field, band_powers=powers)
