"""Statistics of maps with several channels (source bins): parts, names of bins and refusals.

Fixed seeds; nothing here is left to chance.
"""

import pickle
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from lensnb.data import MapSet
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.stats import Statistic, cross_spectra, ell_edges, power_spectrum, suite

GRID = MapGrid(32, 5.0)


def skewed(count: int, seed: int) -> torch.Tensor:
    """Lognormal κ-maps, float32, shape ``(count, 32, 32)``."""
    field = GaussianField.from_power(GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8)
    generator = torch.Generator().manual_seed(seed)
    return LognormalField.from_correlation(field.variance, 0.03).sample(count, generator)


@pytest.fixture(scope="module")
def maps() -> torch.Tensor:
    """Three correlated channels, shape ``(300, 3, 32, 32)``."""
    first, second, third = (skewed(300, seed) for seed in (1, 2, 3))
    return torch.stack([first, 0.5 * first + second, 2 * third], 1)


@pytest.fixture(scope="module")
def two(maps) -> torch.Tensor:
    return maps[:, :2]


NAMES = list(suite(skewed(50, 4), 5.0))


@pytest.mark.parametrize("name", NAMES)
def test_the_part_of_a_channel_is_the_statistic_of_that_channel(name, two):
    """Bit for bit; the spectra, which are products of other matrices, to rounding."""
    statistic = suite(two, 5.0, name)[name]
    vectors = statistic(two[:40])
    for channel in (0, 1):
        of_channel = two[:, channel]
        single = suite(of_channel, 5.0, name)[name]
        bins = statistic.parts[f"bin {channel + 1}"]
        expected = single(of_channel[:40])
        np.testing.assert_array_equal(statistic.x[bins], single.x)
        if name == "power":
            np.testing.assert_allclose(vectors[:, bins], expected, rtol=1e-5)
        else:
            np.testing.assert_array_equal(vectors[:, bins], expected)
    for label in ("x_label", "y_label", "log_x", "log_y"):
        assert getattr(statistic, label) == getattr(single, label)


@pytest.mark.parametrize("name", NAMES)
def test_parts_cover_the_bins_in_their_order(name, two):
    statistic = suite(two, 5.0, name)[name]
    parts = ["bin 1", "bin 2"]
    if name == "power":
        parts.append("bin 1 × bin 2")
    assert list(statistic.parts) == parts
    assert statistic.channels == 2 and statistic.n == 32
    covered = np.concatenate(
        [np.arange(len(statistic.x))[bins] for bins in statistic.parts.values()]
    )
    assert covered.tolist() == list(range(len(statistic.x)))
    assert statistic(two[:3]).shape == (3, len(statistic.x))
    single = suite(two[:, 0], 5.0, name)[name]
    assert single.parts == {"": slice(0, len(single.x))} and single.channels == 1


def test_auto_spectra_come_before_cross_spectra(maps):
    statistic = suite(maps, 5.0, "power")["power"]
    names = ["bin 1", "bin 2", "bin 3", "bin 1 × bin 2", "bin 1 × bin 3", "bin 2 × bin 3"]
    assert list(statistic.parts) == names
    vectors, edges = statistic(maps[:20]), ell_edges(GRID)
    pairs = cross_spectra(maps[:20], 5.0, edges).numpy()
    order = {(0, 0): 0, (0, 1): 1, (0, 2): 2, (1, 1): 3, (1, 2): 4, (2, 2): 5}
    wanted = [(0, 0), (1, 1), (2, 2), *combinations(range(3), 2)]
    for part, pair in zip(names, wanted, strict=True):
        np.testing.assert_allclose(vectors[:, statistic.parts[part]], pairs[:, order[pair]])


def test_the_cross_spectrum_of_a_mix_is_the_share_of_what_is_shared():
    """κ₂ = κ₁/2 + κ₃: C₁₂ = C₁₁/2 + C₁₃, and C₂₂ = C₁₁/4 + C₁₃ + C₃₃, exactly, map by map."""
    first, third = skewed(20, 1).double(), skewed(20, 5).double()
    mix = torch.stack([first, 0.5 * first + third], 1)
    statistic = suite(mix, 5.0, "power")["power"]
    found = {part: statistic(mix)[:, bins] for part, bins in statistic.parts.items()}
    edges = ell_edges(GRID)
    c11, c33 = (power_spectrum(x, 5.0, edges).numpy() for x in (first, third))
    c13 = cross_spectra(torch.stack([first, third], 1), 5.0, edges)[:, 1].numpy()
    np.testing.assert_allclose(found["bin 1"], c11, rtol=1e-9)
    np.testing.assert_allclose(found["bin 2"], c11 / 4 + c13 + c33, rtol=1e-9)
    np.testing.assert_allclose(found["bin 1 × bin 2"], c11 / 2 + c13, rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("name", NAMES)
def test_a_statistic_of_channels_can_be_pickled(name, two):
    statistic = suite(two, 5.0, name)[name]
    again = pickle.loads(pickle.dumps(statistic))
    np.testing.assert_array_equal(again(two[:5]), statistic(two[:5]))
    assert again.parts == statistic.parts and again.bin_names() == statistic.bin_names()


def test_batches_change_nothing(two):
    for statistic in suite(two, 5.0, ["pdf", "peaks", "power"]).values():
        whole = statistic(two[:30])
        np.testing.assert_allclose(statistic(two[:30], batch=7), whole, rtol=1e-5)


def test_arrays_are_measured_as_tensors_are(two):
    for statistic in suite(two.numpy(), 5.0, ["pdf", "power"]).values():
        np.testing.assert_array_equal(statistic(two[:9].numpy()), statistic(two[:9]))


# ---------------------------------------------------------------- names of bins


def test_every_bin_has_a_name_of_its_own(two):
    for maps in (two, two[:, 0]):
        for statistic in suite(maps, 5.0).values():
            names = statistic.bin_names()
            assert len(names) == len(set(names)) == len(statistic.x), statistic.name


def test_bins_are_named_by_part_and_place(two):
    names = {name: s.bin_names() for name, s in suite(two, 5.0).items()}
    assert names["power"][0] == "bin 1: multipole ℓ = 102"
    assert names["power"][-1] == "bin 1 × bin 2: multipole ℓ = 1030"
    assert names["moments"][3] == "bin 1: variance, smoothed by 9.4′"
    assert names["minkowski"][13].startswith("bin 1: V₁ at κ = ")
    assert names["bispectrum"][0] == "bin 1: equilateral, ℓ = 112"
    assert names["starlet l1"][-1].startswith("bin 2: scale 1, w = ")
    assert names["scattering"][-1] == "bin 2: s₂(2, 3) / s₁(2)"
    single = suite(two[:, 0], 5.0, "power")["power"]
    assert single.bin_names()[0] == "multipole ℓ = 102"


def test_the_triangles_are_named_by_their_waves():
    """Folded triangles (2ℓ, ℓ, ℓ) and squeezed ones (ℓ, ℓ, longest) have the name of their ℓ."""
    statistic = suite(skewed(20, 6), 5.0, "bispectrum")["bispectrum"]
    triangles, edges = (statistic.function.keywords[key] for key in ("triangles", "edges"))
    for name, (_, second, _) in zip(statistic.bin_names(), triangles, strict=True):
        ell = float(name.rpartition("ℓ = ")[2])
        assert edges[second] < ell < edges[second + 1]


def test_a_cut_statistic_has_one_part_and_new_names(two):
    statistic = suite(two[:, 0], 5.0, "minkowski")["minkowski"]
    third = replace(statistic, x=statistic.x[:13], x_label="threshold κ")
    assert third.parts == {"": slice(0, 13)} and len(third.bin_names()) == 13
    assert third.bin_names()[0].startswith("threshold κ = ")


# ---------------------------------------------------------------- made by hand


def mean(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean((-2, -1))


def test_a_statistic_made_by_hand_has_one_part():
    one = Statistic("mean", lambda maps: mean(maps)[..., None], np.zeros(1), "", "⟨κ⟩")
    assert one.parts == {"": slice(0, 1)} and one.channels == 1 and one.n is None
    assert one(torch.ones(3, 8, 8)).tolist() == [[1.0]] * 3
    assert one(torch.ones(3, 9, 9)).shape == (3, 1)
    with pytest.raises(ValueError, match=r"the input of 'mean' has the shape \(3, 2, 8, 8\)"):
        one(torch.ones(3, 2, 8, 8))


def test_a_statistic_made_by_hand_has_channels():
    parts = {"near": slice(0, 1), "far": slice(1, 2)}
    both = Statistic("mean", mean, np.zeros(2), "z", "⟨κ⟩", parts=parts, channels=2)
    maps = torch.tensor([1.0, 2.0])[:, None, None].expand(5, 2, 8, 8)
    assert both(maps).tolist() == [[1.0, 2.0]] * 5
    assert both.bin_names() == ["near: z = 0", "far: z = 0"]


@pytest.mark.parametrize(
    "parts",
    [
        {"a": slice(0, 1)},
        {"a": slice(0, 2), "b": slice(1, 3)},
        {"a": slice(1, 3)},
        {"a": slice(0, 3, 2)},
    ],
)
def test_parts_that_do_not_cover_the_bins_are_refused(parts):
    with pytest.raises(ValueError, match="must cover its 3 bins one after the other"):
        Statistic("mean", mean, np.zeros(3), "", "", parts=parts, channels=3)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["power", "pdf", "minkowski", "scattering"])
def test_other_channels_or_pixels_are_refused(name, maps, two):
    of_two, of_one = suite(two, 5.0, name)[name], suite(two[:, 0], 5.0, name)[name]
    for wrong in (maps, two[:, 0], two[:, :1], two[..., :16, :16], two[..., :16], two[0, 0]):
        with pytest.raises(ValueError, match=rf"'{name}' .*; expected \(maps, 2, 32, 32\)$"):
            of_two(wrong)
    for wrong in (two, two[:, :1], two[:, 0, :16, :16], torch.zeros(3)):
        with pytest.raises(ValueError, match=rf"'{name}' .*; expected \(maps, 32, 32\)$"):
            of_one(wrong)


def test_what_is_no_array_of_maps_is_refused(two):
    statistic = suite(two[:, 0], 5.0, "pdf")["pdf"]
    for wrong, kind in [
        ([two[0], two[1]], "list"),
        (None, "NoneType"),
        (MapSet(two[:, 0].numpy(), 5.0), "MapSet"),
    ]:
        with pytest.raises(ValueError, match=f"the input of 'pdf' is a {kind}; expected a tensor"):
            statistic(wrong)


def test_reference_sets_are_refused_in_one_sentence(two):
    for wrong in (two[:, :1], two[0, 0], two[None], two[..., :16]):
        with pytest.raises(ValueError, match="the reference set has the shape"):
            suite(wrong, 5.0)
    flat, broken = two.clone(), two.clone()
    flat[:, 1] = 0.01
    with pytest.raises(ValueError, match="in bin 2 of the reference set: .* all one constant"):
        suite(flat, 5.0)
    broken[7, 1, 3, 4] = torch.nan
    with pytest.raises(ValueError, match="in bin 2 of the reference set: map 7 of 300 holds NaN"):
        suite(broken, 5.0)
