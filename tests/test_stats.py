"""What all statistics share: shapes, precisions, masks, symmetries and errors; and the suite.

The tests of each family are in the files test_stats_*.py. Seeds are fixed, and nothing is left to
chance.
"""

import itertools

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch

from lensnb.maps import GaussianField, LognormalField, MapGrid, smooth
from lensnb.stats import (
    at_scales,
    cross_spectra,
    ell_edges,
    minima_counts,
    minkowski,
    moments,
    pdf,
    peak_counts,
    power_spectrum,
    reduced_moments,
    suite,
)  # fmt: skip

GRID = MapGrid(32, 5.0)
EDGES = ell_edges(GRID, 8)
KAPPA = np.linspace(-0.03, 0.03, 8)


def power(ell):
    """A red spectrum of roughly the size of κ's, in sr."""
    return 1e-8 * (1 + (ell / 300) ** 2) ** -0.8


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """White noise of the size of κ, float64."""
    return 0.01 * torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def skewed() -> torch.Tensor:
    """Lognormal κ-maps, float32, shape ``(300, 32, 32)``."""
    variance = GaussianField.from_power(GRID, power).variance
    return LognormalField.from_correlation(variance, 0.03).sample(300, seeded(8))


FUNCTIONS = {
    "power": lambda m, mask=None: power_spectrum(m, 5.0, EDGES, mask),
    "power, corrected": lambda m, mask=None: power_spectrum(
        m, 5.0, EDGES, mask, noise=1e-9, window=True
    ),
    "pdf": lambda m, mask=None: pdf(m, KAPPA, mask),
    "moments": moments,
    "reduced moments": reduced_moments,
    "peaks": lambda m, mask=None: peak_counts(m, KAPPA, mask),
    "peaks in sigma": lambda m, mask=None: peak_counts(m, 100 * KAPPA, mask, in_sigma=True),
    "minima": lambda m, mask=None: minima_counts(m, KAPPA, mask),
    "minkowski": lambda m, mask=None: minkowski(m, 5.0, KAPPA, mask),
}
SQUARE = ("power", "power, corrected", "minkowski")
PERIODIC = ("power", "power, corrected", "pdf", "moments", "reduced moments")
STENCIL = ("peaks", "peaks in sigma", "minima", "minkowski")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

each_function = pytest.mark.parametrize("name", FUNCTIONS)


def holes(*shape: int, seed: int = 20) -> torch.Tensor:
    """A mask that hides a corner and a tenth of the pixels."""
    mask = torch.rand(*shape, generator=seeded(seed)) < 0.9
    mask[..., :6, :9] = False
    return mask


def close(found, expected, to=1e-9):
    torch.testing.assert_close(found, expected, rtol=to, atol=to * float(expected.abs().max()))


# ---------------------------------------------------------------- shapes, precisions, devices


@each_function
@pytest.mark.parametrize("device", DEVICES)
def test_one_map_or_many_give_one_vector_each(name, device):
    function, maps = FUNCTIONS[name], noise(2, 3, 32, 32).to(device)
    found = function(maps)
    assert found.shape[:2] == (2, 3) and found.ndim == 3
    assert found.dtype == torch.float64 and found.device == maps.device
    assert function(maps[0, 0]).shape == found.shape[2:]
    close(function(maps[1, 2]), found[1, 2])
    close(found.cpu(), function(maps.cpu()))


@each_function
def test_single_and_half_precision_give_float64(name):
    maps = noise(2, 32, 32).half()
    expected = FUNCTIONS[name](maps.double())
    for dtype in (torch.float16, torch.float32):
        found = FUNCTIONS[name](maps.to(dtype))
        assert found.dtype == torch.float64
        close(found, expected, 1e-5)


@each_function
def test_an_array_of_numpy_will_do(name):
    maps = noise(2, 32, 32)
    assert torch.equal(FUNCTIONS[name](maps.numpy()), FUNCTIONS[name](maps))


@each_function
def test_many_maps_go_in_batches(name):
    """300 maps of 32² are more than one batch of 2¹⁸ pixels.

    For the spectrum, 1,100 maps are used.
    """
    maps = noise(1100 if "power" in name else 300, 32, 32)
    found = FUNCTIONS[name](maps)
    for k in (0, 255, 256, -1):
        close(found[k], FUNCTIONS[name](maps[k]))
    mask = holes(len(maps), 32, 32)
    found = FUNCTIONS[name](maps, mask)
    close(found[-1], FUNCTIONS[name](maps[-1], mask[-1]))


@each_function
def test_the_eight_symmetries_keep_a_statistic(name):
    maps, mask = noise(2, 32, 32), holes(32, 32)
    turns = [lambda m, k=k: m.rot90(k, (-2, -1)) for k in range(4)]
    views = [*turns, *(lambda m, turn=turn: turn(m).mT for turn in turns)]
    bare, masked = FUNCTIONS[name](maps), FUNCTIONS[name](maps, mask)
    for view in views:
        close(FUNCTIONS[name](view(maps)), bare)
        close(FUNCTIONS[name](view(maps), view(mask)), masked)


@pytest.mark.parametrize("name", PERIODIC)
def test_periodic_shifts_keep_a_statistic(name):
    maps, mask = noise(2, 32, 32), holes(32, 32)
    close(FUNCTIONS[name](maps.roll((5, -11), (-2, -1))), FUNCTIONS[name](maps))
    shifted = maps.roll((5, -11), (-2, -1)), mask.roll((5, -11), (-2, -1))
    close(FUNCTIONS[name](*shifted), FUNCTIONS[name](maps, mask))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda m, mask: power_spectrum(
            m, 5.0, [70.0, 200.0, 400.0], mask, noise=1e-9, window=True
        ),
        lambda m, mask: cross_spectra(m, 5.0, [70.0, 200.0, 400.0], mask),
        moments,
        reduced_moments,
        lambda m, mask: (
            at_scales(moments, 5.0, [0, 30.0])(m) if mask is None else moments(m, mask)
        ),
    ],
    ids=["power", "cross", "moments", "reduced", "scales"],
)
def test_gradients_are_those_of_finite_differences(function, masked):
    maps = 100 * noise(2, 2, 8, 8).requires_grad_()
    mask = torch.rand(8, 8, generator=seeded(21)) < 0.8 if masked else None
    assert torch.autograd.gradcheck(lambda m: function(m, mask) / 10, maps, rtol=1e-4)


# ---------------------------------------------------------------- masks


@each_function
def test_a_mask_is_shared_or_one_a_map(name):
    maps, mask = noise(2, 3, 32, 32), holes(2, 3, 32, 32)
    function = FUNCTIONS[name]
    found = function(maps, mask)
    assert torch.equal(found, function(torch.where(mask, maps, torch.nan), mask))
    for i, j in itertools.product(range(2), range(3)):
        close(function(maps[i, j], mask[i, j]), found[i, j])
    close(function(maps, mask[0, 0])[0, 0], found[0, 0])
    close(function(maps, mask[:, :1])[1, 0], found[1, 0])
    assert not torch.allclose(found[0, 0], function(maps[0, 0]), rtol=1e-3, atol=0)


@each_function
def test_a_mask_that_hides_nothing_changes_nothing(name):
    maps = noise(2, 32, 32)
    close(FUNCTIONS[name](maps, torch.ones(32, 32, dtype=torch.bool)), FUNCTIONS[name](maps))


def test_under_a_mask_pixels_count_exactly():
    maps, mask = noise(3, 20, 24).exp(), holes(3, 20, 24)
    seen = [one[where].numpy() for one, where in zip(maps, mask)]
    edges = np.array(
        [-0.01, 0.98, 0.99, 1.0, 1.005, 1.02]
    )  # the first would hold hidden pixels set to zero
    expected = [np.histogram(values, edges)[0] / len(values) / np.diff(edges) for values in seen]
    np.testing.assert_allclose(pdf(maps, edges, mask), expected, rtol=1e-12)
    expected = [(v.var(), scipy.stats.skew(v), scipy.stats.kurtosis(v)) for v in seen]
    np.testing.assert_allclose(moments(maps, mask), expected, rtol=1e-9)
    found = reduced_moments(maps, mask)
    np.testing.assert_allclose(found, [(s / v**0.5, k / v) for v, s, k in expected], rtol=1e-9)


def test_under_a_mask_peaks_have_all_their_neighbours():
    maps, mask = noise(3, 20, 24), holes(3, 20, 24)
    around = np.ones((3, 3))
    around[1, 1] = 0
    peaks, minima = [], []
    for one, where in zip(maps.numpy(), mask.numpy()):
        whole = scipy.ndimage.binary_erosion(where, np.ones((3, 3)))  # False along the edge
        highest, lowest = (
            scipy.ndimage.maximum_filter(one, footprint=around),
            scipy.ndimage.minimum_filter(one, footprint=around),
        )
        peaks.append(np.histogram(one[whole & (one > highest)], KAPPA)[0])
        minima.append(np.histogram(one[whole & (one < lowest)], KAPPA)[0])
    np.testing.assert_array_equal(peak_counts(maps, KAPPA, mask), peaks)
    np.testing.assert_array_equal(minima_counts(maps, KAPPA, mask), minima)
    assert min(np.sum(peaks), np.sum(minima)) > 30


def test_under_a_mask_minkowski_functionals_use_whole_stencils():
    """Compared with the sums written out pixel by pixel."""
    maps, mask = noise(2, 16, 16), holes(2, 16, 16)
    step, found = 300 / 16, minkowski(maps, 5.0, KAPPA, mask).reshape(2, 3, -1).numpy()
    for one, where, (v0, v1, v2) in zip(maps.numpy(), mask.numpy(), found):
        rows = []
        for i, j in itertools.product(range(1, 15), range(1, 15)):
            if where[i - 1 : i + 2, j - 1 : j + 2].all():
                y, x = (
                    (one[i + 1, j] - one[i - 1, j]) / 2 / step,
                    (one[i, j + 1] - one[i, j - 1]) / 2 / step,
                )
                yy = (one[i + 1, j] + one[i - 1, j] - 2 * one[i, j]) / step**2
                xx = (one[i, j + 1] + one[i, j - 1] - 2 * one[i, j]) / step**2
                cross = (
                    one[i + 1, j + 1] + one[i - 1, j - 1] - one[i + 1, j - 1] - one[i - 1, j + 1]
                )
                curve = (2 * x * y * cross / 4 / step**2 - x**2 * yy - y**2 * xx) / (x**2 + y**2)
                rows.append((one[i, j], np.hypot(x, y), curve))
        level, slope, curve = np.array(rows).T
        width, centre, total = np.diff(KAPPA), (KAPPA[1:] + KAPPA[:-1]) / 2, len(rows)
        assert 30 < total < 150
        np.testing.assert_allclose(v0, [(level >= nu).mean() for nu in centre], rtol=1e-12)
        np.testing.assert_allclose(
            v1, np.histogram(level, KAPPA, weights=slope)[0] / 4 / total / width, rtol=1e-9
        )
        expected = np.histogram(level, KAPPA, weights=curve)[0] / 2 / np.pi / total / width
        np.testing.assert_allclose(v2, expected, rtol=1e-9)


@each_function
def test_a_mask_that_leaves_nothing_is_refused(name):
    mask = torch.ones(3, 32, 32, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="the mask leaves nothing of a map"):
        FUNCTIONS[name](noise(3, 32, 32), mask)
    mask[1, ::3] = True  # pixels, but none with all its neighbours
    if name in STENCIL:
        with pytest.raises(ValueError, match="the mask leaves nothing of a map"):
            FUNCTIONS[name](noise(3, 32, 32), mask)
    else:
        assert FUNCTIONS[name](noise(3, 32, 32), mask).isfinite().all()


# ---------------------------------------------------------------- what is refused


@each_function
def test_nan_is_refused_with_the_number_of_the_map(name):
    maps = noise(400, 32, 32)  # more than one batch
    maps[391, 3, 4] = torch.nan
    with pytest.raises(ValueError, match="map 391 of 400 holds NaN or infinity"):
        FUNCTIONS[name](maps)
    maps[391, 3, 4] = -torch.inf
    with pytest.raises(ValueError, match="map 391 of 400 holds NaN or infinity"):
        FUNCTIONS[name](maps)
    mask = torch.ones(32, 32, dtype=torch.bool)
    mask[3, 4] = False
    assert FUNCTIONS[name](maps, mask).isfinite().all()
    mask[3, 4], mask[4, 4] = True, False
    with pytest.raises(ValueError, match="mask its bad pixels"):
        FUNCTIONS[name](maps, mask)


@each_function
def test_wrong_shapes_are_refused(name):
    for maps in (torch.zeros(32), torch.zeros(0, 32, 32), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"needs? maps of the shape \(..., "):
            FUNCTIONS[name](maps)
    for mask, sentence in [
        (torch.ones(32, 31, dtype=torch.bool), "does not fit maps"),
        (torch.ones(2, 1, 32, 32, dtype=torch.bool), "does not fit maps"),
        (torch.ones(32, dtype=torch.bool), "a mask needs the shape"),
        (torch.ones(32, 32), "a mask must be boolean"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            FUNCTIONS[name](noise(3, 32, 32), mask)


@each_function
def test_maps_need_not_be_square_where_no_side_is_asked_for(name):
    maps = noise(2, 24, 32)
    if name in SQUARE:
        with pytest.raises(ValueError, match="needs square maps, found 24 × 32"):
            FUNCTIONS[name](maps)
    else:
        close(FUNCTIONS[name](maps), FUNCTIONS[name](maps.mT))


@pytest.mark.parametrize("name", STENCIL)
def test_neighbours_need_three_pixels(name):
    with pytest.raises(ValueError, match="at least 3 × 3 pixels, found 2 × 2"):
        FUNCTIONS[name](noise(2, 2, 2))


@pytest.mark.parametrize(
    "edges", [[0.0], [0.0, 0.0], [0.0, 1.0, 0.5], [0.0, np.nan], [[0.0, 1.0], [0.0, 1.0]]]
)
def test_edges_that_do_not_rise_are_refused(edges):
    for function in (pdf, peak_counts):
        with pytest.raises(ValueError, match="bin edges must be two or more rising numbers"):
            function(noise(2, 8, 8), edges)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "edges",
    [np.linspace(-0.031, 0.047, 29), np.linspace(1e3, 1e3 + 1e-2, 8), np.geomspace(1, 9, 6)],
)
def test_values_on_and_beside_an_edge_fall_where_they_belong(edges, dtype):
    """Evenly spaced edges are binned by arithmetic, all others by a search.

    Edges far from zero are searched too. Both ways are exact.
    """
    exact = torch.tensor(edges, dtype=dtype).unique()
    beside = [
        exact,
        exact.nextafter(exact + 1),
        exact.nextafter(exact - 1),
        exact - 1e4,
        exact + 1e4,
    ]
    values = torch.cat([*beside, torch.linspace(*edges[[0, -1]], 555, dtype=dtype)])
    expected = np.histogram(values.numpy(), [*exact.tolist(), np.inf])[0][
        :-1
    ]  # an edge belongs to the bin above
    widths = np.diff(exact.double().numpy())
    np.testing.assert_allclose(
        pdf(values[None], exact.double()), expected / len(values) / widths, rtol=1e-9
    )


# ---------------------------------------------------------------- the suite


NAMES = [
    "power",
    "bispectrum",
    "pdf",
    "moments",
    "peaks",
    "minima",
    "minkowski",
    "starlet peaks",
    "starlet l1",
    "scattering",
]


def test_the_suite_has_the_statistics_of_the_report(skewed):
    assert list(suite(skewed, 5.0)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_statistic_is_one_finite_vector_a_map_whatever_the_batch(skewed, name):
    statistic = suite(skewed, 5.0)[name]
    vectors = statistic(skewed[:50])
    assert (
        statistic.name == name
        and vectors.shape == (50, len(statistic.x))
        and vectors.dtype == np.float64
    )
    assert np.isfinite(vectors).all() and (vectors.std(0) > 0).any()
    rounding = 1e-5 * np.abs(vectors).max()  # of float32 maps
    np.testing.assert_allclose(statistic(skewed[:50], batch=7), vectors, rtol=1e-5, atol=rounding)
    np.testing.assert_allclose(statistic(skewed[49:50]), vectors[49:], rtol=1e-5, atol=rounding)


@pytest.mark.parametrize("name", NAMES)
def test_a_statistic_keeps_leading_dimensions(skewed, name):
    function = suite(skewed, 5.0)[name].function
    flat = function(skewed[:6])
    close(function(skewed[:6].reshape(2, 3, 32, 32)), flat.reshape(2, 3, -1), 1e-5)
    close(function(skewed[0]), flat[0], 1e-5)


def test_the_suites_bins_lie_within_the_reference(skewed):
    """The PDF's bins leave out ten pixels in a hundred maps at either end.

    Of these 300 maps, that is 60 pixels.
    """
    statistics = suite(skewed, 5.0)
    bins = statistics["pdf"].x
    share = statistics["pdf"](skewed).mean(0).sum() * (bins[1] - bins[0])
    assert share == pytest.approx(1 - 60 / skewed.numel(), abs=2 / skewed.numel())
    for name in ("peaks", "minima", "minkowski"):
        assert (
            float(skewed.min())
            < statistics[name].x.min()
            < statistics[name].x.max()
            < float(skewed.max())
        )


def test_every_bin_of_the_suite_scatters(skewed):
    for statistic in suite(skewed, 5.0).values():
        assert (statistic(skewed).std(0) > 0).all(), statistic.name


def test_counts_of_the_suite_are_not_too_rare(skewed):
    """At least a tenth of a peak a map in each bin, so that a scatter can be measured."""
    statistics = suite(skewed, 5.0, ["peaks", "minima", "starlet peaks"])
    for statistic in statistics.values():
        assert statistic(skewed).mean(0).min() > 0.05, statistic.name


def test_ten_minima_in_a_hundred_maps_lie_beyond_either_end(skewed):
    minima = suite(skewed, 5.0, ["minima"])["minima"]
    step = minima.x[1] - minima.x[0]
    low, high = minima.x[0] - step / 2, minima.x[-1] + step / 2
    beyond = minima_counts(skewed, [-np.inf, low, high, np.inf]).sum(0)[[0, 2]]
    np.testing.assert_allclose(beyond, [30, 30], atol=1)


def test_moments_of_the_suite_are_taken_at_four_scales(skewed):
    statistic = suite(skewed, 5.0, ["moments"])["moments"]
    vectors = statistic(skewed[:5])
    assert vectors.shape == (5, 12) and "0′ | 9.4′ | 19′ | 38′" in statistic.x_label
    for k, scale in enumerate([0, 9.4, 19, 38]):
        expected = moments(smooth(skewed[:5].double(), scale, 5.0))
        np.testing.assert_allclose(vectors[:, 3 * k : 3 * k + 3], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "n, low, high", [(16, 100, 220), (17, 100, 220), (64, 150, 220), (256, 150, 220)]
)
def test_the_suite_fits_its_length_to_the_grid(n, low, high):
    """A thousand maps support the correlations of 150 to 220 numbers; small maps have fewer."""
    field = GaussianField.from_power(MapGrid(n, 5.0), power)
    maps = field.sample(12, seeded(22))
    vectors = {name: statistic(maps) for name, statistic in suite(maps, 5.0).items()}
    assert all(np.isfinite(v).all() for v in vectors.values())
    assert low <= sum(v.shape[1] for v in vectors.values()) <= high


def test_the_suite_takes_a_selection(skewed):
    chosen = suite(skewed, 5.0, ["peaks", "power"])
    assert list(chosen) == ["peaks", "power"] == list(suite(skewed, 5.0, names=("peaks", "power")))
    np.testing.assert_array_equal(chosen["peaks"].x, suite(skewed, 5.0)["peaks"].x)
    assert list(suite(skewed, 5.0, "scattering")) == ["scattering"]
    with pytest.raises(
        ValueError, match="there is no statistic 'wavelets'; choose from power, bispectrum, pdf"
    ):
        suite(skewed, 5.0, ["power", "wavelets"])


def test_the_suite_refuses_a_reference_without_structure(skewed):
    with pytest.raises(ValueError, match="the reference maps are all one constant"):
        suite(torch.full((4, 32, 32), 0.3), 5.0)
    with pytest.raises(ValueError, match="the reference set has the shape .* expected"):
        suite(skewed[:, :16], 5.0)
    with pytest.raises(ValueError, match="map 2 of 4 holds NaN"):
        suite(skewed[:4].clone().index_fill_(0, torch.tensor(2), torch.nan), 5.0)
