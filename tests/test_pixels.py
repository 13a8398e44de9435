"""What pixels cannot be κ, however the file came: marks, holes, masks, counts; and what can."""

import numpy as np
import pytest

from lensnb.store.pixels import check_marks
from lensnb.store.reading import check_pixels


def kappa(*shape, seed=0, scale=0.02) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def refuses(maps, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        check_pixels("a.npy", maps)
    assert str(caught.value).startswith("a.npy ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("mark", [-1.6375e30, 1e20, -99, 99, -999, -9999, 1e30])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4"])
def test_one_pixel_with_a_mark_is_found_wherever_it_is(mark, dtype):
    maps = kappa(5, 2, 16, 16).astype(dtype)
    maps[3, 1, 15, 0] = mark
    refuses(maps, r"has 1 pixels with .* a mark for missing values, in map 3 of 5")
    with pytest.raises(ValueError, match="^mine has 1 pixels with .* in map 3 of 5"):
        check_marks("mine", maps)


def test_marks_in_half_precision():
    maps = kappa(2, 32, 32).astype(np.float16)
    maps[1, :4, :4] = -99
    refuses(maps, "has 16 pixels with -99, .* in map 1 of 2")


def test_a_large_value_that_repeats_is_a_mark_too():
    maps = kappa(2, 16, 16)
    maps[0, :2, 3] = 77.5
    refuses(maps, "has 2 pixels with exactly 77.5")
    maps[0, 0, 3] = 30
    check_pixels("a.npy", maps)  # two high pixels of different values may be clusters


@pytest.mark.parametrize("value", [-12.5, 2e5])
def test_a_pixel_that_nothing_on_the_sky_has(value):
    maps = kappa(3, 16, 16)
    maps[2, 5, 5] = value
    refuses(maps, "cannot be κ: it has a pixel of .* in map 2 of 3")


@pytest.mark.parametrize("value", [0.0, 0.3, -1.0])
def test_constant_maps(value):
    maps = kappa(3, 16, 16)
    maps[1] = value
    refuses(maps, f"has only one value, {value:g}, in map 1 of 3")


def test_a_channel_that_was_never_filled():
    maps = kappa(3, 2, 16, 16)
    maps[2, 1] = 0
    refuses(maps, "has only one value, 0, in map 2 of 3")


@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_holes_of_zeros(share):
    maps = kappa(4, 32, 32)
    hidden = np.random.default_rng(1).random((32, 32)) < share
    maps[1:][:, hidden] = 0
    refuses(maps, r"is exactly 0 in \d+\.\d% of the pixels, .* in map 1 of 4")


def half_of(n: int) -> np.ndarray:
    return np.arange(n * n).reshape(n, n) < n * n // 2


def patch_of(n: int) -> np.ndarray:
    inside = np.arange(n) // 10 == 2
    return inside[:, None] & inside


def band_of(n: int) -> np.ndarray:
    return np.repeat(np.arange(n) % 16 == 3, n).reshape(n, n)


def scattered(n: int) -> np.ndarray:
    return np.random.default_rng(2).random((n, n)) < 0.03


@pytest.mark.parametrize("hole", [half_of, patch_of, band_of, scattered])
@pytest.mark.parametrize("value", [-0.001, -1.0, "mean", 0.0])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_holes_of_any_value(hole, value, dtype):
    """In one channel of one map. The sample misses a scattered hole once in 4000 maps."""
    maps = kappa(3, 2, 64, 64).astype(dtype)
    if value == "mean":
        value = maps[1, 1].mean(dtype=np.float64)
    maps[1, 1][hole(64)] = value
    refuses(maps, r"is exactly \S+ in \d+\.\d% of the pixels, as where nothing .* in map 1 of 3")


@pytest.mark.parametrize("n", [32, 64, 96])
@pytest.mark.parametrize("step", [1e-4, 1e-3, 5e-3, 1e-2])
def test_rounded_values_are_no_holes(n, step):
    """Down to seven different values in a map, with zero or without, of a skewed field too."""
    for maps in (kappa(20, n, n), np.exp(25 * kappa(20, n, n)) / 40 - 0.025):
        check_pixels("a.npy", (np.round(maps / step) + 0.5).astype("f4") * step)


def test_the_sample_in_half_precision_and_published_maps_in_it(published):
    from lensnb.data import load_sample
    from lensnb.readers import open_maps

    check_pixels("sample", load_sample("truth").maps[:200])
    for path in sorted((published / "lenstools_raytraced").glob("*.fit")):
        maps = open_maps(path).maps
        check_pixels(path, maps.astype(np.float16))
        check_pixels(path, (0.05 * maps).astype(np.float16))
    planes = open_maps(published / "lenstools_planes" / "planes_256.npz").maps
    check_pixels("planes", planes.astype(np.float16))


def test_a_few_zeros_and_coarse_values_are_no_holes():
    maps = kappa(4, 64, 64)
    maps[:, 0, :20] = 0
    check_pixels("a.npy", maps)
    check_pixels("a.npy", maps.astype(np.float16))
    check_pixels("a.npy", np.round(maps, 3) + 0.0005)


def test_masks_counts_and_weights():
    rng = np.random.default_rng(0)
    refuses((rng.random((4, 32, 32)) < 0.99).astype("f4"), "it holds whole numbers, as a mask")
    refuses(rng.poisson(0.5, (4, 32, 32)).astype("f8"), "exactly 0|it holds whole numbers")
    refuses(rng.poisson(3, (4, 32, 32)) / 4.7, "exactly 0|no negative pixel and the mean 0.6")
    refuses(1 - 0.3 * rng.random((4, 32, 32)), "no negative pixel and the mean 0.8")


def test_a_mask_among_maps_of_kappa():
    maps = kappa(3, 32, 32)
    maps[2] = np.random.default_rng(0).random((32, 32)) < 0.99
    refuses(maps, "it holds whole numbers, as a mask or counts of galaxies in map 2 of 3")


def test_a_map_of_a_cluster_without_a_negative_pixel_is_taken():
    row, column = np.indices((32, 32)) - 15.5
    check_pixels("a.npy", (0.3 / np.hypot(row, column) ** 1.2)[None])
