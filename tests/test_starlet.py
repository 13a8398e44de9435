"""The starlet transform, compared with scipy's convolutions, known filters and planted peaks.

Statistical tests use fixed seeds. Each says how often correct code would fail it with another
seed.
"""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.stats import (
    starlet,
    starlet_edges,
    starlet_l1,
    starlet_peak_counts,
    starlet_scales,
)

SPLINE = np.array([1, 4, 6, 4, 1]) / 16
EDGES = 0.01 * np.outer([1.0, 0.4, 0.2], np.linspace(-2.0, 2.4, 9))  # within the values that occur


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """White noise of the size of κ, float64."""
    return 0.01 * torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def lognormal(n: int, maps: int, seed: int = 2) -> torch.Tensor:
    """Skewed maps with a red spectrum, float32."""
    variance = GaussianField.from_power(
        MapGrid(n, 5.0), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).variance
    return LognormalField.from_correlation(variance, 0.03).sample(
        maps, torch.Generator().manual_seed(seed)
    )


def by_scipy(kappa: np.ndarray, scales: int) -> np.ndarray:
    """The transform by convolutions with a spline whose taps are far apart."""
    parts = []
    for j in range(scales):
        taps = np.zeros(4 * 2**j + 1)
        taps[:: 2**j] = SPLINE
        smooth = scipy.ndimage.convolve1d(kappa, taps, axis=0, mode="mirror")
        smooth = scipy.ndimage.convolve1d(smooth, taps, axis=1, mode="mirror")
        parts.append(kappa - smooth)
        kappa = smooth
    return np.stack([*parts, kappa])


# ---------------------------------------------------------------- the transform


@pytest.mark.parametrize(
    "n, m, scales", [(32, 32, 4), (33, 33, 5), (40, 20, 4), (20, 41, 2), (3, 3, 1)]
)
def test_starlet_is_scipys_convolutions(n, m, scales):
    maps = noise(3, n, m)
    found = starlet(maps, scales)
    assert found.shape == (3, scales + 1, n, m)
    np.testing.assert_allclose(
        found, [by_scipy(one, scales) for one in maps.numpy()], rtol=1e-10, atol=1e-16
    )


def test_scales_add_up_to_the_map():
    maps = noise(2, 2, 64, 48)
    assert starlet(maps, 5).shape == (2, 2, 6, 64, 48)
    torch.testing.assert_close(starlet(maps, 5).sum(-3), maps, rtol=0, atol=1e-16)
    single = starlet(maps.float(), 5)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.sum(-3), maps.float(), rtol=0, atol=1e-8)


def test_an_impulse_becomes_the_b3_spline():
    """One smoothing of a pixel gives the outer product of the taps.

    J smoothings give φ(x / 2^J) / 4^J, to about 4^(−J).
    """
    kappa = torch.zeros(129, 129, dtype=torch.float64)
    kappa[64, 64] = 1.0
    np.testing.assert_allclose(
        starlet(kappa, 1)[1, 62:67, 62:67], np.outer(SPLINE, SPLINE), rtol=1e-14
    )
    x = np.abs(np.arange(-64, 65)) / 2**4
    phi = np.where(
        x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0)
    )  # the cubic B-spline
    expected = np.outer(phi, phi) / 4**4
    np.testing.assert_allclose(starlet(kappa, 4)[-1], expected, atol=0.005 * expected.max())


def test_white_noise_has_the_known_standard_deviation_in_each_scale():
    """σ_j = 0.8907, 0.2007, 0.0856, 0.0413 of the noise are the numbers commonly quoted.

    They are exact on a grid so large that edges do not matter. 4 scatters of maps within 4
    standard errors: fails by chance with probability 3e-4.
    """
    kappa = torch.zeros(257, 257, dtype=torch.float64)
    kappa[128, 128] = 1.0
    norms = starlet(kappa, 4)[:4].square().sum((-2, -1)).sqrt()
    np.testing.assert_allclose(norms, [0.8907, 0.2007, 0.0856, 0.0413], atol=2e-4)
    inner = starlet(noise(100, 128, 128), 4)[:, :4, 32:-32, 32:-32]
    variance = inner.square().mean((-2, -1))
    error = variance.std(0) / 10
    assert (error < 0.03 * variance.mean(0)).all()
    assert ((variance.mean(0) - (0.01 * norms) ** 2).abs() < 4 * error).all()


def test_starlet_turns_and_flips_with_the_map():
    maps = noise(2, 32, 32)
    expected = starlet(maps, 4)
    for k in range(4):
        torch.testing.assert_close(
            starlet(maps.rot90(k, (-2, -1)), 4), expected.rot90(k, (-2, -1))
        )
        torch.testing.assert_close(
            starlet(maps.rot90(k, (-2, -1)).mT, 4), expected.rot90(k, (-2, -1)).mT
        )


def test_a_flat_map_has_no_structure():
    found = starlet(torch.full((16, 16), 0.3, dtype=torch.float64), 3)
    torch.testing.assert_close(
        found[:-1], torch.zeros(3, 16, 16, dtype=torch.float64), rtol=0, atol=1e-15
    )


def test_starlet_has_gradients():
    assert torch.autograd.gradcheck(lambda x: starlet(x, 2), noise(2, 8, 9).requires_grad_())


@pytest.mark.parametrize(
    "shape, most", [((16, 16), 3), ((17, 17), 4), ((64, 20), 4), ((256, 256), 7), ((2, 9), 0)]
)
def test_starlet_refuses_scales_wider_than_the_map(shape, most):
    if most:
        starlet(noise(*shape), most)
    for scales in (0, most + 1):
        with pytest.raises(
            ValueError,
            match=f"maps of .* pixels have 1 to {most} starlet scales, found scales = {scales}",
        ):
            starlet(noise(*shape), scales)


def test_default_number_of_scales():
    assert [starlet_scales(MapGrid(n, 5.0)) for n in (8, 16, 32, 64, 100, 128, 256)] == [
        1,
        1,
        2,
        3,
        3,
        4,
        5,
    ]


# ---------------------------------------------------------------- peaks


def test_starlet_peaks_are_those_of_a_maximum_filter():
    maps, around = noise(3, 40, 36), np.ones((3, 3))
    around[1, 1] = 0
    expected = []
    for one in maps.numpy():
        for w, edges in zip(by_scipy(one, 3), EDGES):
            is_peak = (w > scipy.ndimage.maximum_filter(w, footprint=around))[1:-1, 1:-1]
            expected.append(np.histogram(w[1:-1, 1:-1][is_peak], edges)[0])
    found = starlet_peak_counts(maps, EDGES, 3)
    assert found.dtype == torch.float64 and found.shape == (3, 24)
    np.testing.assert_array_equal(found, np.reshape(expected, (3, 24)))
    assert (np.array(expected).reshape(3, 3, 8).sum((0, 2)) > 20).all()


def test_planted_blobs_are_peaks_of_their_scale():
    """A blob of 1.5 pixels is highest in w₁, and one of 6 pixels in w₃.

    They are so far apart that they do not affect each other.
    """
    y, x = torch.meshgrid(*2 * [torch.arange(128, dtype=torch.float64)], indexing="ij")
    blob = lambda row, column, width: torch.exp(
        -((y - row) ** 2 + (x - column) ** 2) / (2 * width**2)
    )
    small, large = (
        starlet(blob(30, 30, 1.5), 5)[:5, 30, 30],
        starlet(blob(90, 90, 6.0), 5)[:5, 90, 90],
    )
    assert small.argmax() == 1 and large.argmax() == 3
    both = blob(30, 30, 1.5) + blob(90, 90, 6.0)
    edges = np.tile([0.1, 0.2, 0.3, 0.6], (5, 1))
    heights = torch.stack([small, large]).numpy()
    expected = [np.histogram(heights[:, j], edges[j])[0] for j in range(5)]
    np.testing.assert_array_equal(starlet_peak_counts(both, edges, 5).reshape(5, 3), expected)
    assert np.sum(expected) >= 5


# ---------------------------------------------------------------- ℓ1


@pytest.mark.parametrize("spacing", ["even", "uneven", "open"])
def test_l1_is_numpys(spacing):
    maps, edges = noise(3, 40, 36), EDGES.copy()
    if spacing == "uneven":
        edges[:, 3] += 0.3 * (edges[:, 4] - edges[:, 3])
    if spacing == "open":
        edges[:, 0], edges[:, -1] = -np.inf, np.inf
    expected = []
    for one in maps.numpy():
        for w, row in zip(by_scipy(one, 3), edges):
            expected.append(np.histogram(w, row, weights=np.abs(w))[0])
    found = starlet_l1(maps, edges, 3)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, np.reshape(expected, (3, 24)), rtol=1e-10)
    np.testing.assert_allclose(
        starlet_l1(maps.float(), edges, 3), np.reshape(expected, (3, 24)), rtol=1e-3
    )


@pytest.mark.parametrize(
    "edges", [[-1.0, -0.140625, 0.859375, 1.859375], [-1.140625, -0.140625, 0.859375, 1.859375]]
)
def test_a_coefficient_on_an_edge_lies_in_the_bin_above(edges):
    """w₀ of a single pixel is 1 − 36/256 at this pixel, without rounding."""
    kappa = torch.zeros(9, 9, dtype=torch.float64)
    kappa[4, 4] = 1.0
    assert starlet_l1(kappa, [edges], 1).tolist() == [0.0, 1 - 36 / 256, 0.859375]
    assert starlet_peak_counts(kappa, [edges], 1).tolist() == [0, 0, 1]


def test_l1_of_all_values_is_the_sum_of_sizes():
    maps = noise(2, 32, 32)
    everywhere = np.tile([-1.0, 0.0, 1.0], (3, 1))
    total = starlet_l1(maps, everywhere, 3).reshape(2, 3, 2)
    torch.testing.assert_close(
        total.sum(-1), starlet(maps, 3)[:, :3].abs().sum((-2, -1)), rtol=1e-12, atol=0
    )
    half = starlet(maps, 3)[:, :3].clamp(min=0).sum((-2, -1))
    torch.testing.assert_close(total[..., 1], half, rtol=1e-12, atol=0)


def test_l1_of_single_precision_is_that_of_double():
    """A map of 65,536 pixels in one bin.

    A plain sum in float32 would be wrong in the fifth digit.
    """
    maps = lognormal(256, 2)
    everywhere = np.tile([-1.0, 1.0], (2, 1))
    expected = starlet_l1(maps.double(), everywhere, 2)
    torch.testing.assert_close(starlet_l1(maps, everywhere, 2), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("even", [True, False])
def test_l1_has_gradients(even):
    edges = EDGES if even else np.sign(EDGES) * EDGES**2 / 0.02
    assert torch.autograd.gradcheck(
        lambda x: starlet_l1(x, edges, 3), noise(1, 20, 20).requires_grad_(), eps=1e-9
    )


# ---------------------------------------------------------------- both


@pytest.mark.parametrize("function", [starlet_peak_counts, starlet_l1])
def test_symmetries_batches_and_leading_dimensions(function):
    maps = noise(270, 32, 32)  # more than one batch
    expected = function(maps, EDGES, 3)
    for k in range(4):
        for view in (maps[:4].rot90(k, (-2, -1)), maps[:4].rot90(k, (-2, -1)).mT):
            torch.testing.assert_close(function(view, EDGES, 3), expected[:4], rtol=1e-10, atol=0)
    stacked = function(maps.reshape(2, 135, 32, 32), EDGES, 3)
    torch.testing.assert_close(stacked, expected.reshape(2, 135, -1), rtol=1e-12, atol=0)
    torch.testing.assert_close(function(maps[-1], EDGES, 3), expected[-1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("function", [starlet_peak_counts, starlet_l1])
def test_bad_edges_scales_and_maps_are_refused(function):
    maps = noise(2, 32, 32)
    for edges in (EDGES[:2], EDGES[0], EDGES[:, :1], EDGES[:, ::-1], np.full_like(EDGES, np.nan)):
        with pytest.raises(
            ValueError, match="the edges must be 3 rising rows, one a scale, found the shape"
        ):
            function(maps, edges, 3)
    with pytest.raises(ValueError, match="have 1 to 4 starlet scales, found scales = 9"):
        function(maps, EDGES, 9)
    maps[1, 0, 0] = math.nan
    with pytest.raises(ValueError, match="map 1 of 2 holds NaN or infinity"):
        function(maps, EDGES, 3)


# ---------------------------------------------------------------- bins


@pytest.mark.parametrize("peaks", [False, True])
@pytest.mark.parametrize(
    "maps", [lognormal(64, 100), noise(50, 64, 64).float()], ids=["lognormal", "noise"]
)
def test_default_bins_are_populated(maps, peaks):
    """Ten values in a hundred maps in each bin and beyond either end.

    The values must be independent, which takes 4^j times as many coefficients.
    """
    scales, least = 3, np.repeat(0.1 * len(maps), 3) * (1 if peaks else 4 ** np.arange(3))
    edges = starlet_edges(maps, scales, bins=10, peaks=peaks)
    assert edges.shape == (scales, 11) and (np.ptp(np.diff(edges), 1) < 1e-12).all()
    wide = np.concatenate([np.full((scales, 1), -9.0), edges, np.full((scales, 1), 9.0)], 1)
    if peaks:
        counts = starlet_peak_counts(maps, wide, scales).sum(0).reshape(scales, 12).numpy()
    else:
        w = starlet(maps, scales)[:, :scales].numpy()
        counts = np.stack([np.histogram(w[:, j], wide[j])[0] for j in range(scales)])
    assert (counts[:, 1:-1] >= least[:, None] - 1).all()  # less one for rounding at the edges
    assert (counts[:, [0, -1]] >= least[:, None] - 1).all() and (
        counts[:, [0, -1]].min(1) < 20 * least
    ).all()


def test_default_bins_follow_the_scale_of_kappa():
    maps = lognormal(32, 40)
    edges = starlet_edges(maps, 2)
    assert edges.shape == (2, 13)
    np.testing.assert_allclose(starlet_edges(3 * maps, 2), 3 * edges, rtol=1e-5)
    np.testing.assert_allclose(starlet_edges(maps.reshape(4, 10, 32, 32), 2), edges)


def test_bins_need_structure():
    for peaks in (False, True):
        with pytest.raises(
            ValueError, match="scale 0 of the reference maps has too little structure for 12 bins"
        ):
            starlet_edges(torch.zeros(5, 32, 32), 2, peaks=peaks)
