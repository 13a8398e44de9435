"""The statistics of what the default suite cannot see: bins, channels and planted faults.

The faults are planted into the shipped training maps, each at the size that a report must see.
Seeds are fixed.
"""

import math
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from lensnb.data import MapSet, load_sample
from lensnb.stats import blind_spots, seam_correlation

NAMES = ("map mean", "extremes", "seam", "place", "direction")


def noise(count: int, n: int = 32) -> Tensor:
    """White noise of the size of κ, float64."""
    generator = torch.Generator().manual_seed(1)
    return 0.01 * torch.randn(count, n, n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("n", [3, 4, 7, 8, 15, 16, 33, 100])
def test_any_grid(n):
    maps = noise(4, n)
    for side_deg in (1.0, 12.0):
        found = blind_spots(maps, side_deg)
        assert tuple(found) == NAMES
        for name, statistic in found.items():
            vectors = statistic(maps)
            assert statistic.name == name and statistic.n == n and statistic.channels == 1
            assert vectors.shape == (4, len(statistic.x)) == (4, len(statistic.bin_names()))
            assert len(set(statistic.bin_names())) == len(statistic.x)
            assert vectors.dtype == np.float64 and np.isfinite(vectors).all()


def test_channels_come_one_after_the_other():
    maps = noise(12).unflatten(0, (4, 3))
    of_three = blind_spots(maps, 5.0)
    of_one = blind_spots(maps[:, 0], 5.0)
    for name in NAMES:
        statistic, single = of_three[name], of_one[name]
        vectors = statistic(maps)
        assert list(statistic.parts) == ["bin 1", "bin 2", "bin 3"]
        assert statistic.bin_names()[0] == f"bin 1: {single.bin_names()[0]}"
        for channel, bins in enumerate(statistic.parts.values()):
            # As close as products of matrices with other shapes are.
            expected = single(maps[:, channel])
            np.testing.assert_allclose(vectors[:, bins], expected, rtol=1e-12)
    assert seam_correlation(of_three["seam"](maps).mean(0)).shape == (3,)


def test_they_are_picklable_and_take_arrays():
    maps = noise(4).float()
    for statistic in blind_spots(maps.numpy(), 5.0).values():
        again = pickle.loads(pickle.dumps(statistic))
        np.testing.assert_array_equal(again(maps.numpy()), statistic(maps))


def test_a_map_does_not_depend_on_its_company():
    maps = noise(300).float()
    for statistic in blind_spots(maps, 5.0).values():
        together, alone = statistic(maps), statistic(maps[250:251])
        np.testing.assert_allclose(alone[0], together[250], rtol=1e-12)


@pytest.mark.parametrize("name", ["seam", "place", "direction"])
def test_a_constant_that_is_added_changes_nothing(name):
    maps = noise(6)
    statistic = blind_spots(maps, 5.0)[name]
    np.testing.assert_allclose(statistic(maps + 0.3), statistic(maps), rtol=1e-8, atol=1e-16)


@pytest.mark.parametrize("name", ["place", "direction"])
def test_the_amplitude_of_a_map_changes_nothing(name):
    maps = noise(6)
    strength = torch.rand(6, 1, 1, generator=torch.Generator().manual_seed(3)).double() + 0.5
    statistic = blind_spots(maps, 5.0)[name]
    np.testing.assert_allclose(statistic(maps * strength), statistic(maps), rtol=1e-9)


def test_refusals():
    with pytest.raises(ValueError, match=r"the set of maps has the shape \(3, 8\)"):
        blind_spots(torch.zeros(3, 8), 5.0)
    with pytest.raises(ValueError, match="at least 3 pixels a side, found 2"):
        blind_spots(torch.zeros(3, 2, 2), 5.0)
    bad = noise(3)
    bad[1, 4, 4] = math.nan
    for statistic in blind_spots(bad, 5.0).values():
        with pytest.raises(ValueError, match="map 1 of 3 holds NaN"):
            statistic(bad)


# ---------------------------------------------------------------- planted faults


def placed(maps: Tensor) -> Tensor:
    """Each map flipped so that its brightest pixel lies top left."""
    n = maps.shape[-1]
    brightest = maps.flatten(1).argmax(1)
    low = (brightest // n >= n // 2)[:, None, None]
    maps = torch.where(low, maps.flip(-2), maps)
    right = (brightest % n >= n // 2)[:, None, None]
    return torch.where(right, maps.flip(-1), maps)


def anisotropic(maps: Tensor) -> Tensor:
    """Power times 1 + 0.2 cos 2φ, which makes P_x / P_y about 1.4."""
    n = maps.shape[-1]
    row = torch.fft.fftfreq(n)[:, None]
    column = torch.fft.rfftfreq(n)
    twice_angle = 2 * torch.atan2(row, column)
    power = 1 + 0.2 * torch.cos(twice_angle)
    power[0, 0] = 1
    return torch.fft.irfft2(torch.fft.rfft2(maps) * power.sqrt(), s=(n, n))


def _with_amplitude(maps: Tensor, amplitude: Tensor) -> Tensor:
    """Maps with an amplitude of each pixel, and the same total variance."""
    return maps * amplitude / amplitude.square().mean().sqrt()


def faint_borders(maps: Tensor) -> Tensor:
    """15 % less amplitude on the three outermost pixels."""
    amplitude = torch.full(maps.shape[-2:], 0.85)
    amplitude[3:-3, 3:-3] = 1.0
    return _with_amplitude(maps, amplitude)


def graded(maps: Tensor) -> Tensor:
    """Amplitude from 0.8 in the first row to 1.2 in the last."""
    amplitude = torch.linspace(0.8, 1.2, maps.shape[-1])[:, None]
    return _with_amplitude(maps, amplitude.expand(maps.shape[-2:]))


def wrapping(maps: Tensor, correlation: float = 0.07) -> Tensor:
    """The last column and row follow the first ones with this correlation."""
    rest = math.sqrt(1 - correlation**2)
    maps = maps - maps.mean((-2, -1), keepdim=True)
    maps[..., -1] = correlation * maps[..., 0] + rest * maps[..., -1]
    maps[..., -1, :] = correlation * maps[..., 0, :] + rest * maps[..., -1, :]
    return maps


def with_error(values: np.ndarray, simulation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over maps and its standard error over simulations."""
    means = [values[simulation == one].mean(0) for one in np.unique(simulation)]
    return values.mean(0), np.std(means, axis=0, ddof=1) / math.sqrt(len(means))


def significance(found: tuple, expected: tuple) -> np.ndarray:
    return (found[0] - expected[0]) / np.hypot(found[1], expected[1])


@pytest.fixture(scope="module")
def train() -> MapSet:
    return load_sample("train")


def shift(train: MapSet, fault, name: str) -> np.ndarray:
    """Shift of each bin by a fault, in standard errors as if the two sets were independent."""
    maps, simulation = train.tensor(), train.simulation
    statistic = blind_spots(maps, train.side_deg)[name]
    harmed = with_error(statistic(fault(maps)), simulation)
    unharmed = with_error(statistic(maps), simulation)
    return significance(harmed, unharmed)


@pytest.mark.parametrize(
    ("fault", "name", "expected"),
    [
        (wrapping, "seam", {0: 1}),
        (placed, "place", {4: 1, 5: -1, 6: -1, 7: -1}),
        (faint_borders, "place", {0: -1, 1: 1, 2: 1, 3: 1}),
        (graded, "place", {4: -1, 5: -1, 6: 1, 7: 1}),
        (anisotropic, "direction", {0: 1, 2: -1, 4: 1, 6: -1}),
    ],
    ids=["edges that wrap", "placed", "faint borders", "gradient", "anisotropy"],
)
def test_planted_faults_are_seen(train, fault, name, expected):
    """1,024 maps of 32 boxes show each fault by more than 5 errors, with the right sign."""
    found = shift(train, fault, name)
    for bin_number, sign in expected.items():
        assert sign * found[bin_number] > 5, (bin_number, found)


@pytest.mark.parametrize("correlation", [0.07, 0.12])
def test_edges_that_wrap_have_the_correlation_that_was_planted(train, correlation):
    statistic = blind_spots(train.tensor(), 5.0)["seam"]
    unharmed = statistic(train.tensor()).mean(0)
    harmed = statistic(wrapping(train.tensor(), correlation)).mean(0)
    difference = seam_correlation(harmed) - seam_correlation(unharmed)
    np.testing.assert_allclose(difference, correlation, atol=0.01)


def test_means_that_scatter_too_little_are_measured(train):
    """With 1,024 maps the scatter has an error of 3 %, so that 0.881 is 3 errors, not 5.

    The map's mean must carry the fault in full. The statistics without the mean must not see it.
    """
    maps = train.tensor()
    mean = maps.mean((1, 2), keepdim=True)
    harmed = maps - 0.119 * mean
    statistics = blind_spots(maps, 5.0)
    scatter = statistics["map mean"](maps).std()
    assert statistics["map mean"](harmed).std() == pytest.approx(0.881 * scatter, rel=1e-5)
    for name in ("seam", "place", "direction"):
        vectors = statistics[name](maps)
        np.testing.assert_allclose(statistics[name](harmed), vectors, rtol=1e-3, atol=1e-9)


def test_pixels_that_are_too_bright_are_measured(train):
    """Above 8σ everything is stretched by a half: the maps above 10σ are those once above 9⅓σ.

    They are about twice as many, which 1,024 maps cannot show by 5 errors.
    """
    maps = train.tensor()
    sigma = float(maps.std())
    stretched = torch.where(maps > 8 * sigma, 8 * sigma + 1.5 * (maps - 8 * sigma), maps)
    statistic = blind_spots(maps, 5.0)["extremes"]
    before, after = statistic(maps), statistic(stretched)
    assert (after[:, 0] > 10 * sigma).sum() == (before[:, 0] > (8 + 2 / 1.5) * sigma).sum()
    assert (after[:, 0] > 10 * sigma).sum() > 1.5 * (before[:, 0] > 10 * sigma).sum()
    np.testing.assert_array_equal(after[:, 1], before[:, 1])


@pytest.mark.parametrize("name", NAMES)
def test_true_maps_agree_with_true_maps(name):
    """Truth and null differ by less than 4 errors in every bin.

    With other boxes one of the 21 bins would fail this in at most 1 of 200 cases (Student's t with
    about 60 degrees of freedom).
    """
    sets = {role: load_sample(role) for role in ("truth", "null")}
    found = {}
    for role, maps in sets.items():
        statistic = blind_spots(maps.tensor(), maps.side_deg)[name]
        found[role] = with_error(statistic(maps.tensor()), maps.simulation)
    assert np.abs(significance(found["truth"], found["null"])).max() < 4
