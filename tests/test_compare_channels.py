"""Maps of several source bins: `(maps, channels, n, n)` in every part of the comparison.

Most numbers are exact: they follow from those of the channels alone. Statistical tests use fixed
seeds; each states how often a correct code would fail it with another seed.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lensnb.compare import NULL, Fidelity, amplitude_and_tilt, compare
from lensnb.compare.memorisation import nearest
from lensnb.compare.sets import BOTH
from lensnb.compare.twosample import accuracies_on_maps
from lensnb.data import MapSet
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.maps.grid import turned
from lensnb.stats import Statistic, peak_counts, suite

GRID = MapGrid(16, 5.0)
FIELD = LognormalField.from_correlation(
    GaussianField.from_power(GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8).variance,
    0.03,
)


def two_bins(n: int, seed: int) -> torch.Tensor:
    """Maps of two bins that share structure, the second stronger, shape `(n, 2, 16, 16)`."""
    near, far = FIELD.sample(2 * n, torch.Generator().manual_seed(seed)).chunk(2)
    return torch.stack([near, near + far], 1)


def map_set(maps: torch.Tensor, first: int, per_simulation: int = 8) -> MapSet:
    simulation = first + np.arange(len(maps)) // per_simulation
    return MapSet(maps.numpy(), GRID.side_deg, simulation=simulation)


TRUTH, NULL_SET, TRAIN = (map_set(two_bins(128, seed), 100 * seed) for seed in range(3))


def joined(statistic: Statistic) -> Statistic:
    """The statistic of two channels: the vector of the second follows that of the first."""

    def function(maps: torch.Tensor) -> torch.Tensor:
        return statistic.function(maps).flatten(-2)

    return replace(statistic, function=function, x=np.tile(statistic.x, 2), parts=None, channels=2)


def statistics_of(maps: torch.Tensor) -> dict[str, Statistic]:
    """Spectrum, PDF and peaks with the bins of the second channel, for two channels."""
    alone = suite(maps[:, 1], GRID.side_deg, ["power", "pdf", "peaks"])
    return {name: joined(statistic) for name, statistic in alone.items()}


STATISTICS = statistics_of(TRUTH.tensor())


def twice(maps: torch.Tensor) -> torch.Tensor:
    """The same maps in both channels."""
    return torch.stack([maps, maps], 1)


def headline(report, name: str) -> dict:
    """The estimates of one row, by set."""
    (row,) = [row for row in report.rows() if row.quantity.name == name]
    return row.estimates


@pytest.fixture(scope="module")
def report():
    """A generator whose second channel is too faint, and one of the true field."""
    faint = NULL_SET.tensor().clone()
    faint[:, 1] *= 0.8
    generated = {"faint": faint, "same field": two_bins(100, 7)}
    return compare(TRUTH, NULL_SET, generated, TRAIN, STATISTICS, rounds=20)


def test_every_row_is_measured_on_two_channels(report):
    rows = report.rows()
    assert {row.quantity.item for row in rows} == set(range(1, 9))
    for row in rows:
        if row.quantity.name.startswith("maps with a pixel"):
            continue  # none of these true maps has such a pixel
        for name in report.names:
            assert np.isfinite(row.estimates[name].value), (row.quantity.name, name)
    assert "nan" not in str(report)
    assert report.failures("faint")


def test_a_fault_of_one_channel_is_seen_in_its_bins_only(report):
    ratio = report.verdicts["faint"]["power"].mean_ratio.value
    true, both = (report.ensembles[one]["power"].mean() for one in (NULL, BOTH))
    null = true / both
    half = len(ratio) // 2
    np.testing.assert_allclose(ratio[:half], null[:half], rtol=1e-6)
    np.testing.assert_allclose(ratio[half:], 0.64 * null[half:], rtol=1e-5)


def test_peaks_are_pooled_over_channels_with_a_threshold_each(report):
    def high(maps: torch.Tensor) -> float:
        count = 0.0
        for channel, truth in zip(maps.unbind(1), TRUTH.tensor().unbind(1)):
            threshold = float(truth.mean() + 4 * truth.std())
            count += float(peak_counts(channel, [threshold, math.inf]).sum())
        return count / len(maps)

    expected = high(NULL_SET.tensor()) / high(TRUTH.tensor())  # the null's reference is the truth
    found = headline(report, "peaks > 4σ")
    assert float(found[NULL].value) == pytest.approx(expected)
    assert found["faint"].value < 1


def test_ends_of_the_pdf_are_averaged_over_channels(report):
    density = report.ensembles["truth"]["pdf"].mean().reshape(2, -1)
    ratio = report.verdicts["faint"]["pdf"].mean_ratio.value.reshape(2, -1)
    for name, end in (("PDF low end", 0), ("PDF high end", -1)):
        ratios = []
        for channel, truth in zip(ratio, density):
            ratios.append(channel[truth >= 1e-3 * truth.max()][end])
        expected = np.nanmean(ratios)  # of those that are defined
        assert float(headline(report, name)["faint"].value) == pytest.approx(expected)


def test_two_equal_channels_give_the_numbers_of_one():
    """Rows that average or pool over channels, and the search for copies."""
    sets = [s.tensor()[:, 0] for s in (TRUTH, NULL_SET, TRAIN)]
    generated = two_bins(60, 7)[:, 0]
    alone = suite(sets[0], GRID.side_deg, ["power", "pdf"])
    both = {name: joined(statistic) for name, statistic in alone.items()}

    def compared(change, statistics):
        truth, null, train = (map_set(change(maps), 100 * i) for i, maps in enumerate(sets))
        return compare(truth, null, {"g": change(generated)}, train, statistics, rounds=10)

    one, two = compared(lambda maps: maps, alone), compared(twice, both)
    names = ["C_ℓ mean", "C_ℓ scatter", "peaks > 4σ", "PDF low end", "PDF high end"]
    names += ["nearest training map", "copies of training maps"]
    for name in names:
        for of in (NULL, "g"):
            expected, found = headline(one, name)[of], headline(two, name)[of]
            assert float(found.value) == pytest.approx(float(expected.value), rel=1e-5), name
            assert float(found.error) == pytest.approx(float(expected.error), rel=1e-4), name


def test_amplitude_and_tilt_act_on_all_channels_alike():
    maps = TRUTH.tensor()[:40]
    alone = suite(maps[:, 1], GRID.side_deg, ["power", "pdf"])
    both = amplitude_and_tilt(maps, 5.0, {name: joined(s) for name, s in alone.items()})
    for name in alone:
        each = [amplitude_and_tilt(maps[:, c], 5.0, alone)[name] for c in range(2)]
        np.testing.assert_allclose(both[name], np.concatenate(each), rtol=1e-5)


# ---------------------------------------------------------------- classifier on maps


def test_equal_maps_of_two_channels_have_accuracy_one_half():
    """Within 4 errors: fails by chance with probability 6e-5."""
    found = accuracies_on_maps({"g": (two_bins(100, 8), None)}, two_bins(100, 9))["g"]
    assert abs(found.value - 0.5) < 4 * found.error


@pytest.mark.parametrize("channel", [0, 1])
def test_the_classifier_sees_a_fault_of_any_channel(channel):
    truth, maps = two_bins(200, 8), two_bins(200, 9)
    maps[:, channel] = GaussianField.fit(maps[:, channel]).sample(
        200, torch.Generator().manual_seed(1)
    )
    found = accuracies_on_maps({"g": (maps, None)}, truth)["g"]
    assert found.value - 4 * found.error > 0.5


def test_the_classifier_sees_channels_that_do_not_belong_together():
    """Each channel alone is true, but the second belongs to another map."""
    truth, maps = two_bins(400, 8), two_bins(400, 9)
    maps[:, 1] = maps[:, 1].roll(1, 0)
    found = accuracies_on_maps({"g": (maps, None)}, truth)["g"]
    assert found.value - 4 * found.error > 0.5


# ---------------------------------------------------------------- memorisation


@pytest.mark.parametrize("k", range(8))
def test_copies_of_two_channels_are_found_turned_and_shifted(k):
    train = TRAIN.tensor()
    copied = torch.stack([turned(train[i].roll((3, 13), (-2, -1)), k) for i in (3, 100)])
    found = nearest(copied, train)
    assert (found.distance < 2e-3).all()
    assert found.index.tolist() == [3, 100]
    np.testing.assert_allclose(found.overlay(train), copied, rtol=0)


def test_a_copy_in_one_channel_of_two_is_half_a_copy():
    """One channel gives about half of the inner product: r ≈ ½ and d ≈ 1 or somewhat less."""
    train, null = TRAIN.tensor(), NULL_SET.tensor()[:9]
    mixed = torch.stack([train[:9, 0], null[:, 1]], 1)
    found = nearest(mixed, train).distance
    honest = nearest(null, train).distance
    assert (found < honest.min()).all()
    assert (found > 0.5).all()


def test_each_channel_is_whitened_by_itself():
    maps, train = NULL_SET.tensor()[:9], TRAIN.tensor()
    factor = torch.tensor([1.0, 100.0])[:, None, None]
    expected = nearest(maps, train).distance
    np.testing.assert_allclose(
        nearest(factor * maps, factor * train).distance, expected, rtol=1e-4
    )


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("null", "train", "maps", "message"),
    [
        (slice(None), slice(None), 0, r"g has the shape \(128, 16, 16\); expected \(maps, 2, 16"),
        (slice(None), slice(None), [0, 1, 1], r"g has the shape \(128, 3, 16, 16\); expected"),
        (
            0,
            slice(None),
            slice(None),
            r"the null has the shape \(128, 16, 16\); expected \(maps, 2",
        ),
        (
            slice(None),
            [0, 1, 1],
            slice(None),
            r"the training set has the shape \(128, 3, 16, 16\)",
        ),
    ],
)
def test_other_channels_are_refused_in_one_sentence(null, train, maps, message):
    null = map_set(NULL_SET.tensor()[:, null], 100)
    train = map_set(TRAIN.tensor()[:, train], 200)
    with pytest.raises(ValueError, match=message):
        compare(TRUTH, null, {"g": two_bins(128, 7)[:, maps]}, train, STATISTICS, rounds=5)


# ---------------------------------------------------------------- with the default statistics


def test_the_default_statistics_compare_two_channels():
    report = compare(TRUTH, NULL_SET, {"same field": two_bins(100, 7)}, TRAIN, rounds=10)
    assert len(report.statistics) == 10
    for row in report.rows():
        rare = row.quantity.name.startswith("maps with a pixel")
        assert rare or np.isfinite(row.estimates[NULL].value), row.quantity.name


def test_fidelity_of_two_channels():
    """The very same maps have all ratios 1; a map that is broken in one channel is left out."""

    class Maps(torch.nn.Module):
        def sample(self, n, generator):
            maps = TRUTH.tensor()
            maps[5, 1, 2, 3] = math.nan
            maps[6, 0] *= 100
            return maps[:n]

    found = Fidelity(TRUTH, n=128)(Maps())
    assert found["broken_maps"] == 2
    for name in ("power_mean", "power_scatter", "power_slope"):
        assert found[name] == pytest.approx(1, abs=0.1)
