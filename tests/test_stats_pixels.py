"""PDF, moments, peaks and minima, compared with numpy, scipy and planted maps.

Statistical tests use fixed seeds. Each says how often correct code would fail it with another
seed.
"""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch

from lensnb.maps import smooth
from lensnb.stats import (
    at_scales,
    minima_counts,
    moments,
    pdf,
    peak_counts,
    reduced_moments,
)
from lensnb.stats.peaks import peak_heights

KAPPA = np.linspace(-0.03, 0.03, 8)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """White noise of the size of κ, float64."""
    return 0.01 * torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def test_pdf_is_the_histogram():
    maps = noise(4, 16, 16)
    expected = [np.histogram(one, KAPPA)[0] / 256 / np.diff(KAPPA) for one in maps.numpy()]
    np.testing.assert_allclose(pdf(maps, KAPPA), expected, rtol=1e-12)


def test_pdf_integrates_to_the_share_inside():
    maps, edges = (
        noise(4, 16, 16),
        np.array([-0.01, 0.0, 0.002, 0.015]),
    )  # bins of different widths
    inside = ((maps >= -0.01) & (maps < 0.015)).double().mean((-2, -1))
    assert 0.5 < float(inside.min()) < float(inside.max()) < 0.9
    torch.testing.assert_close(
        pdf(maps, edges) @ torch.from_numpy(np.diff(edges)), inside, rtol=1e-12, atol=0
    )


def test_pdf_counts_a_value_on_an_edge_once():
    maps = torch.tensor([[0.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    assert pdf(maps, [0.0, 1.0, 2.0, 3.0]).tolist() == [0.25, 0.5, 0.25]


def test_moments_are_scipys():
    maps = noise(5, 16, 16).exp() + noise(5, 16, 16, seed=4) ** 2
    flat = maps.flatten(1).numpy()
    expected = np.stack([flat.var(1), scipy.stats.skew(flat, 1), scipy.stats.kurtosis(flat, 1)], 1)
    np.testing.assert_allclose(moments(maps), expected, rtol=1e-9)
    np.testing.assert_allclose(moments(maps + 3.0), expected, rtol=1e-9)


# ---------------------------------------------------------------- peaks and minima


def test_planted_peaks_are_counted_at_their_heights():
    kappa = torch.zeros(12, 12)
    for row, column, height in [
        (2, 2, 0.15),
        (2, 6, 0.25),
        (6, 2, 0.25),
        (6, 6, 0.95),
        (9, 9, 1.5),
    ]:
        kappa[row, column] = height
    assert peak_counts(kappa, [0.1, 0.2, 0.3, 1.0]).tolist() == [1, 2, 1]  # 1.5 lies outside
    assert peak_counts(kappa, [0.1, math.inf]).tolist() == [5]


def test_of_two_neighbours_the_higher_is_a_peak_along_all_eight_directions():
    for row, column in [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]:
        kappa = torch.zeros(9, 9)
        kappa[4, 4], kappa[4 + row, 4 + column] = 0.3, 0.2
        assert peak_counts(kappa, [0.1, 0.25, 0.5]).tolist() == [0, 1]


def test_flat_maps_edges_and_steps_are_no_peaks():
    flat, step, edge = (torch.zeros(9, 9) for _ in range(3))
    step[:, 3:6] = 1.0  # a ridge that reaches the edge
    for row, column in [(0, 4), (8, 4), (4, 0), (4, 8), (0, 0), (8, 8)]:
        edge[row, column] = 1.0
    everywhere = [-math.inf, math.inf]
    maps = torch.stack([flat, step, edge])
    assert peak_counts(maps, everywhere).tolist() == [[0], [0], [0]]
    assert minima_counts(-maps, everywhere).tolist() == [[0], [0], [0]]


def test_a_plateau_is_one_peak_whatever_its_form():
    """Two pixels, along a diagonal, a ring with a pit in it, and two that do not touch."""
    kappa = torch.zeros(24, 24)
    kappa[2, 2:4] = kappa[6, 6] = kappa[7, 7] = 1.0
    kappa[12:17, 3:8] = 0.5
    kappa[13:16, 4:7] = 0.1  # a pit of nine equal pixels is one minimum
    kappa[20, 15] = kappa[20, 17] = 0.7
    assert peak_counts(kappa, [0.4, 0.6, 0.8, 2.0]).tolist() == [1, 2, 2]
    assert minima_counts(kappa, [0.05, 0.2]).tolist() == [1]
    assert sorted(peak_heights(kappa).tolist()) == pytest.approx([0.5, 0.7, 0.7, 1.0, 1.0])


def test_a_shoulder_is_no_peak_and_a_plateau_beside_hidden_pixels_neither():
    kappa = torch.zeros(12, 12)
    kappa[4, 3:6] = 0.5
    kappa[4, 6] = 0.9
    assert peak_counts(kappa, [0.4, 0.6, 1.0]).tolist() == [0, 1]
    kappa[8, 3:5] = 0.5
    mask = torch.ones(12, 12, dtype=torch.bool)
    assert peak_counts(kappa, [0.4, 0.6, 1.0], mask).tolist() == [1, 1]
    mask[8, 6] = False  # a neighbour of the second pixel's neighbour: all are still seen
    assert peak_counts(kappa, [0.4, 0.6, 1.0], mask).tolist() == [1, 1]
    mask[7, 5] = False
    assert peak_counts(kappa, [0.4, 0.6, 1.0], mask).tolist()[0] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_plateaus_of_rounded_maps_are_those_of_scikit_image(dtype):
    morphology = pytest.importorskip("skimage.morphology")
    maps = smooth(0.1 * noise(2, 96, 96), 6.0, 5.0).to(dtype)
    rounded = maps.double().numpy()
    expected = []
    for one in rounded:
        groups = scipy.ndimage.label(
            morphology.local_maxima(one, allow_borders=False), np.ones((3, 3))
        )
        expected.append(groups[1])
    assert peak_counts(maps, [-math.inf, math.inf])[:, 0].tolist() == expected
    assert min(expected) > 20


def test_peaks_are_those_of_a_maximum_filter():
    maps = noise(3, 20, 20)
    around = np.ones((3, 3))
    around[1, 1] = 0
    expected = []
    for one in maps.numpy():
        is_peak = one > scipy.ndimage.maximum_filter(one, footprint=around)
        expected.append(np.histogram(one[1:-1, 1:-1][is_peak[1:-1, 1:-1]], KAPPA)[0])
    np.testing.assert_array_equal(peak_counts(maps, KAPPA), expected)
    assert np.sum(expected) > 50


def test_one_pixel_of_white_noise_in_nine_is_a_peak():
    """Each of 9 pixels is the highest with equal probability.

    Within 4σ of the maps' scatter; fails by chance with probability 6e-5.
    """
    counts = peak_counts(noise(200, 32, 32, seed=5), [-math.inf, math.inf])[:, 0]
    assert abs(float(counts.mean()) - 30**2 / 9) < 4 * float(counts.std()) / math.sqrt(200)


def test_minima_are_the_peaks_of_the_negative():
    maps = noise(3, 20, 20)
    expected = peak_counts(-maps, -KAPPA[::-1].copy()).flip(-1)
    assert torch.equal(minima_counts(maps, KAPPA), expected) and float(expected.sum()) > 50


def test_heights_in_units_of_each_maps_own_standard_deviation():
    maps = noise(3, 20, 20) * torch.tensor([1.0, 2.0, 0.1], dtype=torch.float64)[:, None, None]
    edges = np.array([-3.0, -1.0, 0.5, 1.0, 2.0, 4.0])
    for counts in (peak_counts, minima_counts):
        expected = [counts(one, edges * float(one.std(correction=0))) for one in maps]
        assert torch.equal(counts(maps, edges, in_sigma=True), torch.stack(expected))
    mask = torch.ones(20, 20, dtype=torch.bool)
    mask[:4] = False
    expected = peak_counts(maps[:, 4:], edges, in_sigma=True)
    assert (
        torch.equal(peak_counts(maps, edges, mask, in_sigma=True), expected)
        and float(expected.sum()) > 50
    )


# ---------------------------------------------------------------- reduced cumulants and smoothing


def test_reduced_moments_are_scipys():
    maps = noise(5, 16, 16).exp() + noise(5, 16, 16, seed=4) ** 2
    flat = maps.flatten(1).numpy()
    var, skew, kurtosis = flat.var(1), scipy.stats.skew(flat, 1), scipy.stats.kurtosis(flat, 1)
    expected = np.stack([skew / np.sqrt(var), kurtosis / var], 1)
    np.testing.assert_allclose(reduced_moments(maps), expected, rtol=1e-9)


def test_reduced_moments_of_a_lognormal_variable():
    """S₃ = (w + 2) / κ₀ and S₄ = (w³ + 3w² + 6w + 6) / κ₀², with w = exp σ².

    The pixels are quantiles of the distribution.
    """
    share = (np.arange(400**2) + 0.5) / 400**2
    w, shift = math.exp(0.1**2), 0.03
    kappa = shift * np.exp(0.1 * scipy.stats.norm.ppf(share) - 0.1**2 / 2)
    found = reduced_moments(torch.tensor(kappa.reshape(400, 400)))
    expected = [(w + 2) / shift, (w**3 + 3 * w**2 + 6 * w + 6) / shift**2]
    np.testing.assert_allclose(found, expected, rtol=0.01)


@pytest.mark.parametrize(
    "dtype, close", [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.float16, 1e-4)]
)
def test_at_scales_measures_smoothed_maps(dtype, close):
    maps = noise(2, 3, 17, 17)
    maps, scales = (maps + 30 * maps**2).to(dtype), [0, 12.5, 40.0]
    promoted = maps.float() if dtype == torch.float16 else maps
    expected = torch.cat([moments(smooth(promoted, scale, 5.0)) for scale in scales], -1)
    found = at_scales(moments, 5.0, scales)(maps)
    assert found.shape == (2, 3, 9) and found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=close, atol=close)
    assert float(found[0, 0, 6] / found[0, 0, 0]) < 0.1


def test_at_scales_refuses_what_it_cannot_smooth():
    with pytest.raises(ValueError, match="needs square maps, found 8 × 9"):
        at_scales(moments, 5.0, [0, 5])(noise(2, 8, 9))
    with pytest.raises(ValueError, match="must not be negative"):
        at_scales(moments, 5.0, [-5])(noise(2, 8, 8))
