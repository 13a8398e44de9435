"""Channels and conditions, from the set to the drawn maps: every family refuses what it was not made for, in a sentence."""

import math

import numpy as np
import pytest
import torch

from lensnb import models
from lensnb.compare import Fidelity
from lensnb.data import MapSet, block_average, random_crop, random_symmetry, tiles
from lensnb.files import save_checkpoint
from lensnb.given import Batch, Conditions, turned_values
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.maps.grid import turned
from lensnb.models import GAN, BandPowers, Diffusion, Flow
from lensnb.readers import open_maps
from lensnb.shear import shear
from lensnb.store import MapWriter
from lensnb.train import Checks, Folder, Hardware, Settings, fit
from lensnb.transform import KappaTransform

N = 16
GRID = MapGrid(N, 5.0)
DOUBLE = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def matrices() -> torch.Tensor:
    """Auto- and cross-power of two bins: of one field, of a second with noise of its own."""
    one = GaussianField.from_power(
        GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).variance
    return torch.stack([torch.stack([one, 1.3 * one]), torch.stack([1.3 * one, 2.2 * one])])


FIELD = GaussianField(matrices(), torch.tensor([0.001, 0.002]))


def maps_of(n: int, seed: int, channels: int) -> torch.Tensor:
    field = LognormalField.from_correlation(matrices(), torch.tensor([0.03, 0.05]))
    maps = field.sample(n, seeded(seed))
    return maps if channels == 2 else maps[:, 0].contiguous()


def given_of(maps: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """A number pair, a coarse map and a noisy shear map of each map."""
    one = maps[:, 0] if maps.ndim == 4 else maps
    numbers = torch.stack([one.std((1, 2)), one.mean((1, 2))], 1)
    coarse = torch.nn.functional.avg_pool2d(one[:, None], 2)[:, 0]
    noise = 0.01 * torch.randn(len(one), N, N, dtype=torch.complex64, generator=seeded(seed))
    return {"numbers": numbers, "coarse": coarse, "gamma": shear(one).to(torch.complex64) + noise}


def a_set(n: int, seed: int, channels: int) -> MapSet:
    maps = maps_of(n, seed, channels)
    z_source = (0.7, 1.1) if channels == 2 else 1.0
    return MapSet(
        maps, 5.0, z_source, 100 * seed + np.arange(n) // 2, {"seed": seed}, given_of(maps, seed)
    )


SET = {channels: a_set(24, 1, channels) for channels in (1, 2)}


def build(family: str, channels: int, conditional: bool, perturb: float = 0.1) -> torch.nn.Module:
    """A small model; its weights are all different from zero where ``perturb`` is."""
    batch = SET[channels].batch()
    transform = KappaTransform.fit(batch.maps)
    gaussian = GaussianField.fit(transform(batch.maps))
    conditions = Conditions.fit(batch.given) if conditional else None
    torch.manual_seed(0)
    if family == "flow":
        model = Flow(N, transform, gaussian, steps=2, hidden=8, conditions=conditions)
    else:
        powers = BandPowers.fit(transform(batch.maps), gaussian, 2)
        kind = {"diffusion": Diffusion, "gan": GAN}[family]
        model = kind(
            N, transform, gaussian, widths=(8, 16), band_powers=powers, conditions=conditions
        )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += perturb * torch.randn(parameter.shape, generator=seeded(3))
    return model


KINDS = [
    (family, channels, c)
    for family in ("flow", "diffusion", "gan")
    for channels in (1, 2)
    for c in (False, True)
]
KINDS.remove(("flow", 1, False))  # tests/test_models.py has these three
KINDS.remove(("diffusion", 1, False))
KINDS.remove(("gan", 1, False))


@pytest.fixture(
    scope="module",
    params=KINDS,
    ids=lambda kind: f"{kind[0]}, {kind[1]} channels, conditional {kind[2]}",
)
def model(request):
    return build(*request.param)


def batch_for(model, n: int = 6) -> Batch:
    """Some maps with the conditions that the model needs."""
    batch = SET[model.channels][:n].batch()
    return Batch(batch.maps, {name: batch.given[name] for name in model.given})


# ---------------------------------------------------------------- sets


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_given_goes_with_the_maps(channels, tmp_path):
    """Split, sliced, averaged, cut and saved, a condition stays with its map."""
    whole = SET[channels]
    part = whole[np.array([5, 3, 8])]
    np.testing.assert_array_equal(part.given["coarse"], whole.given["coarse"][[5, 3, 8]])
    assert part.z_source == whole.z_source and part.channels == channels
    for one in whole.split(0.5, 0.5):
        places = [
            int(np.flatnonzero((whole.maps == map_).reshape(24, -1).all(1))[0])
            for map_ in one.maps
        ]
        np.testing.assert_array_equal(one.given["numbers"], whole.given["numbers"][places])
    coarse = block_average(whole, 4)
    assert coarse.maps.shape[-2:] == (4, 4) and coarse.maps.ndim == whole.maps.ndim
    np.testing.assert_array_equal(coarse.given["gamma"], whole.given["gamma"])
    again = MapSet.load(whole.save(tmp_path / "set.npz"))
    np.testing.assert_array_equal(again.maps, whole.maps)
    for name, values in whole.given.items():
        np.testing.assert_array_equal(again.given[name], values)
        assert again.given[name].dtype == values.dtype
    assert again.z_source == whole.z_source
    assert "given numbers, coarse, gamma" in repr(whole) and "<img" in whole._repr_html_()


def test_tiles_cut_the_conditions_alike():
    whole = MapSet(
        SET[1].maps, 5.0, given={"gamma": SET[1].given["gamma"], "number": np.arange(24.0)}
    )
    cut = tiles(whole, 8)
    assert len(cut) == 96 and cut.given["gamma"].shape == (96, 8, 8)
    np.testing.assert_array_equal(cut.given["gamma"][6], whole.given["gamma"][1, 8:, :8])
    assert cut.given["number"][4:8].tolist() == [1.0] * 4
    with pytest.raises(
        ValueError,
        match="the condition coarse has 8 pixels a side; expected those of the maps, 16",
    ):
        tiles(SET[1], 8)


def test_channels_are_sets_of_their_own():
    second = SET[2].channel(1)
    assert second.z_source == 1.1 and second.channels == 1
    np.testing.assert_array_equal(second.maps, SET[2].maps[:, 1])
    with pytest.raises(ValueError, match="one channel"):
        second.channel(0)


BAD_SETS = {
    "too few values": (
        {"x": np.zeros(3)},
        r"the condition x has the shape \(3,\); expected 4 values, one a map",
    ),
    "no map": (
        {"x": np.zeros((4, 8, 6))},
        r"the condition x has the shape \(4, 8, 6\); expected numbers",
    ),
    "NaN": (
        {"x": np.array([1.0, np.nan, 2.0, 3.0])},
        "the condition x has values that are NaN or infinite",
    ),
    "one number": ({"x": np.float64(3)}, r"the condition x has the shape \(\); expected 4 values"),
}


@pytest.mark.parametrize("given, words", BAD_SETS.values(), ids=BAD_SETS.keys())
def test_conditions_that_do_not_fit_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        MapSet(np.zeros((4, 8, 8)), 5.0, given=given)


def test_each_channel_has_a_redshift():
    with pytest.raises(
        ValueError, match="maps of 2 channels need as many source redshifts, found 3"
    ):
        MapSet(np.zeros((4, 2, 8, 8)), 5.0, (0.5, 1.0, 1.5))
    assert all(math.isnan(z) for z in MapSet(np.zeros((4, 2, 8, 8)), 5.0).z_source)


# ---------------------------------------------------------------- symmetries


@pytest.mark.parametrize("k", range(8))
def test_shear_has_spin_two(k):
    """The shear of a turned map is the turned shear of the map; the modes on the Nyquist axes have no partner."""
    smooth = torch.fft.rfft2(maps_of(3, 5, 1).double())
    smooth[:, N // 2] = smooth[:, :, N // 2] = 0
    kappa = torch.fft.irfft2(smooth, s=(N, N))
    torch.testing.assert_close(
        turned_values(shear(kappa), k), shear(turned(kappa, k)), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_augmentation_turns_conditions_with_their_maps(channels):
    batch = SET[channels].batch()
    one = random_symmetry(batch, seeded(4))
    assert torch.equal(one.maps, random_symmetry(batch.maps, seeded(4)))  # the same turns as ever
    assert torch.equal(one.given["numbers"], batch.given["numbers"])
    kappa = one.maps if channels == 1 else one.maps[:, 0]
    coarse = torch.nn.functional.avg_pool2d(kappa[:, None], 2)[:, 0]
    torch.testing.assert_close(one.given["coarse"], coarse)
    gamma = {"gamma": batch.given["gamma"], "numbers": batch.given["numbers"]}
    windows = random_crop(Batch(batch.maps, gamma), 8, seeded(5))
    assert torch.equal(windows.maps, random_crop(batch.maps, 8, seeded(5)))
    assert torch.equal(windows.given["gamma"], random_crop(batch.given["gamma"], 8, seeded(5)))
    with pytest.raises(ValueError, match="coarse has 8 pixels a side; expected those of the maps"):
        random_crop(batch, 8)


# ---------------------------------------------------------------- fields of two channels


def test_a_field_of_two_channels_is_exact():
    """Density and score against the dense matrix of pixels; whitening and colouring undo each other."""
    n = 4
    variance = torch.stack([torch.stack([torch.ones(n, 3), 0.5 * torch.ones(n, 3)]),
                            torch.stack([0.5 * torch.ones(n, 3), 2 * torch.ones(n, 3)])])  # fmt: skip
    variance = variance * (1 + MapGrid(n, 1.0).ell / MapGrid(n, 1.0).ell_min) ** -1.0
    field = GaussianField(variance, torch.tensor([0.3, -0.2]))
    pixels = 2 * n * n
    units = torch.eye(pixels, dtype=DOUBLE).reshape(pixels, 2, n, n)
    root = (field.colour(units) - field.colour(torch.zeros_like(units))).reshape(pixels, pixels)
    covariance = root @ root.T
    mean = torch.tensor([0.3, -0.2], dtype=DOUBLE).repeat_interleave(n * n)
    dense = torch.distributions.MultivariateNormal(mean, covariance)
    x = field.sample(5, seeded(1)).double()
    torch.testing.assert_close(field.log_prob(x), dense.log_prob(x.flatten(1)))
    torch.testing.assert_close(field.colour(field.whiten(x)), x)
    torch.testing.assert_close(field.from_modes(field.modes(x)), x)
    sigma = torch.tensor([0.1, 0.5, 1.0, 2.0, 4.0], dtype=DOUBLE)
    clean = field.denoise(x, sigma)
    torch.testing.assert_close(clean, x + sigma[:, None, None, None] ** 2 * field.score(x, sigma))
    gain = covariance @ torch.linalg.inv(
        covariance + sigma[1] ** 2 * torch.eye(pixels, dtype=DOUBLE)
    )
    torch.testing.assert_close(clean[1].flatten(), mean + gain @ (x[1].flatten() - mean))


def test_a_field_of_two_channels_is_fitted_and_drawn():
    """Powers and the cross-power come back within 4 σ of 4,000 maps, from fits and from an untrained model's samples."""
    drawn = FIELD.sample(4000, seeded(2)).double()
    found = GaussianField.fit(drawn)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        ratio = found.variance[i, j] / FIELD.variance[i, j]
        error = math.sqrt(
            2 / 4000
        )  # of the modes with no symmetric partner; the cross-power's is smaller
        assert float((ratio - 1).abs().max()) < 5 * error
    torch.testing.assert_close(found.mean, FIELD.mean, atol=1e-3, rtol=0)
    model = Diffusion(N, gaussian=FIELD, widths=(8, 16))
    maps = model.sample(1500, seeded(3)).double()
    power = GaussianField.fit(maps).variance
    ratio = (power / FIELD.variance).mean((-2, -1))
    torch.testing.assert_close(ratio, torch.ones(2, 2, dtype=DOUBLE), atol=0.02, rtol=0)


def test_lognormal_channels_have_their_moments_and_correlation():
    field = LognormalField.from_correlation(matrices(), torch.tensor([0.03, 0.05]))
    drawn = field.sample(6000, seeded(4)).double()
    assert (drawn > -torch.tensor([0.03, 0.05])[:, None, None]).all()
    power = GaussianField.fit(drawn).variance
    inside = GRID.ell[1:5, 1:5] > 0
    for i, j in ((0, 0), (0, 1), (1, 1)):
        ratio = (power[i, j] / matrices()[i, j])[1:5, 1:5][inside].mean()
        assert abs(float(ratio) - 1) < 0.05
    again = LognormalField.fit(drawn)
    torch.testing.assert_close(again.shift, field.shift.double(), rtol=0.2, atol=0)
    assert torch.isfinite(again.log_prob(drawn[:5])).all()


# ---------------------------------------------------------------- models


def test_samples_have_the_shape_of_the_maps_and_depend_on_their_seed_only(model):
    batch = batch_for(model, 7)
    maps = model.sample(7, seeded(4), given=batch.given)
    assert maps.shape == batch.maps.shape and maps.dtype == torch.float32
    assert torch.isfinite(maps).all()
    assert torch.equal(maps, model.sample(7, seeded(4), given=batch.given))
    parts = model.sample(7, seeded(4), given=batch.given, batch=3)
    torch.testing.assert_close(parts, maps, rtol=1e-3, atol=1e-3 * float(maps.std()))


def test_samples_depend_on_what_is_given(model):
    if not model.given:
        pytest.skip("unconditional")
    batch = batch_for(model, 3)
    first = model.sample(3, seeded(4), given=batch.given)
    for name in model.given:
        other = dict(batch.given) | {name: 1.5 * batch.given[name]}
        assert not torch.equal(model.sample(3, seeded(4), given=other), first), name
    one = {name: values[0] for name, values in batch.given.items()}
    assert model.sample(5, seeded(5), given=one).shape[0] == 5  # one value for all


def test_the_loss_reaches_every_parameter(model):
    batch = batch_for(model)
    model.zero_grad()
    model.loss(batch.maps, seeded(6), batch.given).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_a_checkpoint_rebuilds_its_model(model, tmp_path):
    loaded = models.load(save_checkpoint(tmp_path / "model.safetensors", model))
    batch = batch_for(model, 3)
    assert loaded.config == model.config and loaded.given == model.given
    assert loaded.channels == model.channels
    assert torch.equal(
        loaded.sample(3, seeded(7), given=batch.given),
        model.sample(3, seeded(7), given=batch.given),
    )


def test_maps_are_drawn_into_a_file_and_an_interrupted_drawing_resumes(model, tmp_path):
    batch = batch_for(model, 6)
    path = models.draw(model, 6, tmp_path / "maps.npy", block=2, given=batch.given)
    assert np.load(path).shape == tuple(batch.maps.shape)
    np.testing.assert_array_equal(
        np.load(models.draw(model, 6, path, block=2, given=batch.given)), np.load(path)
    )
    if model.given:
        other = {name: 2 * values for name, values in batch.given.items()}
        with pytest.raises(ValueError, match="was drawn with another value of a condition"):
            models.draw(model, 6, path, block=2, given=other)


def test_what_the_model_was_not_made_for_is_refused_in_a_sentence(model):
    batch = batch_for(model, 4)
    wrong = batch.maps[:, 0] if model.channels == 2 else torch.stack([batch.maps] * 2, 1)
    with pytest.raises(ValueError, match=r"has the shape .*; expected \(maps, (2, )?16, 16\)"):
        model.loss(wrong, seeded(8), batch.given)
    with pytest.raises(ValueError, match=r"has the shape .*; expected"):
        model.loss(batch.maps[..., :8, :8], seeded(8), batch.given)
    with pytest.raises(ValueError, match="takes a tensor of maps, found a tuple"):
        model.loss((batch.maps, batch.maps), seeded(8), batch.given)
    with pytest.raises(ValueError, match="was given other, which it does not know; expected"):
        model.loss(batch.maps, seeded(8), dict(batch.given) | {"other": torch.zeros(4)})
    with pytest.raises(ValueError, match="was given other, which it does not know"):
        model.sample(4, given=dict(batch.given) | {"other": torch.zeros(4)})
    if not model.given:
        return
    with pytest.raises(ValueError, match="needs the condition numbers; expected it in given"):
        model.sample(4)
    bad = {
        r"given numbers of the shape \(3, 2\); expected \(4, 2\)": {"numbers": torch.zeros(3, 2)},
        r"given coarse of the shape \(4, 16, 16\)": {"coarse": torch.zeros(4, N, N)},
        "given gamma of the type torch.float32; expected shear, and shear is complex": {
            "gamma": torch.zeros(4, N, N)
        },
        "given numbers with values that are NaN": {"numbers": torch.full((4, 2), math.nan)},
    }
    for words, change in bad.items():
        with pytest.raises(ValueError, match=words):
            model.loss(batch.maps, seeded(8), dict(batch.given) | change)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_flow_is_invertible_and_its_density_is_that_of_the_change_of_variables(
    channels, conditional
):
    model = build("flow", channels, conditional).double()
    batch = batch_for(model, 2)
    kappa = batch.maps.double()
    z, log_det = model.to_noise(kappa, batch.given)
    torch.testing.assert_close(model.to_data(z, batch.given), kappa, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        model.log_prob(kappa, batch.given), log_det + model.base.log_prob(z)
    )
    one = {name: values[:1] for name, values in batch.given.items()}
    jacobian = torch.autograd.functional.jacobian(
        lambda x: model.to_noise(x[None], one)[0][0], kappa[0]
    )
    size = kappa[0].numel()
    exact = torch.linalg.slogdet(jacobian.reshape(size, size))[1]
    torch.testing.assert_close(log_det[0], exact, rtol=1e-6, atol=1e-5)


def test_an_untrained_model_of_two_channels_is_the_gaussian_field():
    model = build("diffusion", 2, False, perturb=0.0)
    kappa = SET[2].tensor()[:4].double()
    model = Diffusion(N, model.transform, model.denoiser.gaussian, (8, 16)).double()
    field, y = model.denoiser.gaussian, model.transform(kappa)
    expected = field.log_prob(y) + model.transform.log_det(kappa)
    torch.testing.assert_close(model.log_prob(kappa, steps=4), expected, rtol=1e-6, atol=1e-3)


def test_given_band_powers_are_taken():
    model = build("diffusion", 1, False)
    powers = torch.tensor([1.0, 1.0, 0.5])  # two bands and the largest mode
    assert not torch.equal(
        model.sample(3, seeded(9), given={"band_powers": powers}), model.sample(3, seeded(9))
    )
    with pytest.raises(
        ValueError, match=r"given band_powers of the shape \(4,\); expected \(2, 3\)"
    ):
        model.sample(2, given={"band_powers": torch.zeros(4)})


def test_band_powers_can_be_given_to_a_drawing(tmp_path):
    model = build("diffusion", 1, False)
    given = {"band_powers": torch.tensor([1.0, 1.0, 0.5])}
    path = models.draw(model, 3, tmp_path / "maps.npy", given=given)
    assert np.array_equal(np.load(path), model.sample(3, seeded(0), given=given).numpy())
    with pytest.raises(ValueError, match="which it does not know; expected band_powers"):
        model.sample(3, given={"other": torch.zeros(3)})


def test_maps_of_two_channels_are_drawn_and_opened(tmp_path):
    path = models.draw(build("flow", 2, False), 3, tmp_path / "maps.npy")
    drawn = open_maps(path, side_deg=5.0, z_source=(0.7, 1.1))
    assert drawn.channels == 2 and drawn.z_source == (0.7, 1.1)
    with pytest.raises(ValueError, match="z_source must be positive"):
        open_maps(path, side_deg=5.0, z_source=(0.7, -1.1))


def test_a_condition_whose_pixels_fit_no_level_is_refused_when_the_flow_is_made():
    conditions = Conditions.fit({"coarse": torch.randn(5, 3, 3)})
    with pytest.raises(ValueError, match="coarse has maps of 3² pixels, which do not fit a flow"):
        Flow(N, conditions=conditions)


def test_a_condition_cannot_have_the_name_of_the_band_powers():
    maps = SET[1].tensor()
    powers = BandPowers.fit(maps, GaussianField.fit(maps), 2)
    conditions = Conditions.fit({"band_powers": torch.randn(5, 2)})
    with pytest.raises(ValueError, match="a condition is called band_powers"):
        Diffusion(N, widths=(8, 16), band_powers=powers, conditions=conditions)


def test_conditions_that_are_no_dictionary_of_numbers_are_refused_in_a_sentence():
    model = build("flow", 1, True)
    batch = batch_for(model, 4)
    with pytest.raises(
        ValueError, match="conditions as a dictionary, name → values, found a list"
    ):
        model.loss(batch.maps, seeded(8), [1, 2])
    with pytest.raises(ValueError, match="was given numbers as a str; expected numbers"):
        model.loss(batch.maps, seeded(8), batch.given | {"numbers": "high"})
    with pytest.raises(ValueError, match="takes a tensor of maps, found a ndarray"):
        model.loss(batch.maps.numpy(), seeded(8), batch.given)
    with pytest.raises(
        ValueError, match="conditions as a dictionary, name → values, found a list"
    ):
        MapSet(batch.maps, 5.0, given=[1, 2])


@pytest.mark.parametrize("put", ["a set", "a writer"])
def test_a_set_and_a_writer_take_the_same_conditions(put, tmp_path):
    maps = SET[1].maps[:3]

    def taken(given):
        if put == "a set":
            return MapSet(maps, 5.0, given=given).given
        with MapWriter(tmp_path / "set.zarr", 5.0) as writer:
            writer.append(maps, 1, given)
        return open_maps(tmp_path / "set.zarr").given

    refused = {
        "a name such as noisy_map, found 'noisy map'": {"noisy map": [1.0, 2.0, 3.0]},
        "the condition box has values of type <U1; expected numbers": {"box": ["a", "b", "c"]},
        r"the condition box has the shape \(2,\); expected 3 values": {"box": [1, 2]},
        "NaN or inf": {"box": [1.0, 2.0, math.nan]},
    }
    for words, given in refused.items():
        with pytest.raises(ValueError, match=words):
            taken(given)
    assert taken({"box": [1, 2, 3]})["box"].tolist() == [1.0, 2.0, 3.0]


def test_parts_with_other_channels_are_refused():
    with pytest.raises(ValueError, match="the same channels, found transform 2, base 1"):
        Flow(N, KappaTransform.fit(SET[2].tensor()), GaussianField.white(N))
    with pytest.raises(ValueError, match="the condition x is the same for all maps; leave it out"):
        Conditions.fit({"x": torch.ones(5)})


# ---------------------------------------------------------------- training


def training(model, source, folder=None, augment=random_symmetry) -> list[dict]:
    settings = Settings(8, batch=6, lr=3e-3, ema=0.5, augment=augment)
    checks = Checks(SET[model.channels][:8], every=2)
    return list(
        fit(
            model,
            source,
            settings,
            checks=checks,
            device=Hardware("cpu", "float32"),
            folder=Folder(folder, 2),
        )
    )


@pytest.mark.parametrize(
    "kind", [("flow", 2, True), ("diffusion", 2, True)], ids=lambda kind: kind[0]
)
def test_a_training_with_conditions_resumes_bit_for_bit(kind, tmp_path):
    def pressing(batch, generator):
        calls.append(None)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return random_symmetry(batch, generator)

    pressing.__qualname__ = random_symmetry.__qualname__
    expected, model, calls = build(*kind), build(*kind), []
    records = training(expected, SET[2])
    assert [record["step"] for record in records] == [2, 4, 6, 8]
    assert training(build(*kind), SET[2], tmp_path, pressing)[-1]["stopped"] == "interrupted"
    training(model, SET[2], tmp_path)
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    other = SET[2].with_given(numbers=SET[2].given["numbers"] + 1)
    with pytest.raises(
        ValueError, match="belongs to a training with other settings, given numbers"
    ):
        training(build(*kind), other, tmp_path)


def test_a_set_on_disk_is_read_and_streamed_with_its_conditions(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    from lensnb.store import reading
    from lensnb.train import streaming

    monkeypatch.setattr(reading, "PIECE", 4 * 2 * N * N)
    whole, path = SET[2], tmp_path / "set.zarr"
    for start in range(0, 24, 6):  # by four writers, one after the other
        part = whole[start : start + 6]
        with MapWriter(path, 5.0, whole.z_source) as writer:
            writer.append(part.maps, part.simulation, part.given)
    stored = open_maps(path)
    assert stored.z_source == whole.z_source and stored.channels == 2
    np.testing.assert_array_equal(np.asarray(stored.maps), whole.maps)
    for name, values in whole.given.items():
        np.testing.assert_array_equal(np.asarray(stored.given[name]), values)
    with (
        MapWriter(path, 5.0, whole.z_source) as writer,
        pytest.raises(ValueError, match="has the conditions"),
    ):
        writer.append(whole.maps[:1], 7)
    in_memory, streamed = (build("diffusion", 2, True) for _ in range(2))
    monkeypatch.setattr(streaming, "BLOCK", 8 * 2 * N * N)
    training(streamed, stored)
    stream = streaming.Stream(
        streaming.training_set(stored, streamed.given), lambda epoch: seeded(epoch)
    )
    batch = stream.take(3, 20)
    for kappa, numbers in zip(batch.maps.numpy(), batch.given["numbers"].numpy()):
        place = int(np.flatnonzero((whole.maps == kappa).reshape(24, -1).all(1))[0])
        np.testing.assert_array_equal(numbers, whole.given["numbers"][place])
    training(in_memory, whole)
    assert torch.isfinite(streamed.loss(whole.tensor(), seeded(1), batch_for(streamed, 24).given))


@pytest.mark.parametrize("family", ["flow", "diffusion"])
def test_a_training_with_conditions_is_checked_for_its_fidelity(family):
    """The model is given the conditions of true maps; without them there is one sentence."""
    model = build(family, 2, True, perturb=0.01)
    found = Fidelity(SET[2], n=30)(model)
    assert found["broken_maps"] == 0 and "power_scatter" in found
    assert all(math.isfinite(value) for value in found.values())
    assert found == Fidelity(SET[2], n=30)(model)
    with pytest.raises(ValueError, match="the true maps lack the condition numbers"):
        Fidelity(MapSet(SET[2].maps, 5.0), n=30)(model)


BAD_TRAININGS = {
    "a tuple": (
        lambda: (SET[1].tensor(), SET[1].tensor()),
        "the training set is a tuple; expected one tensor or array",
    ),
    "no condition": (
        lambda: MapSet(SET[1].maps, 5.0),
        "the training set lacks the condition numbers that the model needs",
    ),
    "a tensor": (lambda: SET[1].tensor(), "lacks the condition numbers"),
    "channels": (lambda: SET[2], r"has the shape \(6, 2, 16, 16\); expected \(maps, 16, 16\)"),
}


@pytest.mark.parametrize("source, words", BAD_TRAININGS.values(), ids=BAD_TRAININGS.keys())
def test_a_set_that_is_not_the_models_is_refused(source, words):
    model = build("diffusion", 1, True)
    with pytest.raises(ValueError, match=words):
        list(fit(model, source(), Settings(2, batch=6), device="cpu"))


def test_widgets_of_one_map_refuse_models_with_conditions():
    widgets = pytest.importorskip("lensnb.widgets")
    words = "without conditions; this one needs numbers, coarse, gamma"
    with pytest.raises(ValueError, match=words):
        widgets.diffuse(build("diffusion", 1, True), SET[1])
    with pytest.raises(ValueError, match=words):
        widgets.walk(build("flow", 1, True), SET[1])
