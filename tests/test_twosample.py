"""Two-sample tests: accuracy 0.5 for equal distributions, and more for a planted fault.

Seeds are fixed. Each statistical test states how often correct code would fail it with another
seed.
"""

import numpy as np
import pytest
import torch

from lensnb.compare import classifiers, compare
from lensnb.compare.classifiers import (
    ALL_MAPS,
    QUOTED,
    Sizes,
    sizes_in_words,
    spread,
    spread_indices,
)
from lensnb.compare.ks import ks_p
from lensnb.compare.twosample import accuracies_on_maps, accuracy_on_statistics
from lensnb.data import MapSet, load_sample
from lensnb.ensemble import Ensemble
from lensnb.maps import GaussianField, LognormalField, MapGrid

BINS = 20
MIX = np.random.default_rng(0).normal(size=(BINS, BINS)) + 1.0  # strongly correlated bins


def accuracy_on_maps(sample, truth, simulation=None, truth_simulation=None, rounds=200, seed=0):
    """Of one set."""
    return accuracies_on_maps(
        {"sample": (sample, simulation)}, truth, truth_simulation, rounds, seed
    )["sample"]


def draw(n: int, seed: int) -> np.ndarray:
    """Correlated Gaussian vectors, shape ``(n, BINS)``."""
    return np.random.default_rng(seed).normal(size=(n, BINS)) @ MIX


def clustered(boxes: int, each: int, seed: int) -> Ensemble:
    """Vectors that share a third of their variance with the others of their box."""
    simulation = np.repeat(np.arange(boxes), each)
    return Ensemble(
        np.sqrt(1 / 3) * draw(boxes, seed)[simulation]
        + np.sqrt(2 / 3) * draw(boxes * each, seed + 1),
        simulation,
    )


def fields(n: int, seed: int, pixels: int = 32) -> torch.Tensor:
    """Lognormal maps of ``pixels``², shape ``(n, pixels, pixels)``."""
    grid = MapGrid(pixels, 5.0 * pixels / 32)
    gaussian = GaussianField.from_power(grid, lambda ell: 1e-6 * (ell / 300) ** -1.5)
    gaussian.variance *= 0.5 / float(gaussian.mode_mean(lambda v: v))
    return LognormalField(gaussian, 0.03).sample(n, torch.Generator().manual_seed(seed)) * 0.03


def sigmas(estimate) -> float:
    """How far above 0.5, in errors."""
    return (float(estimate.value) - 0.5) / float(estimate.error)


# ---------------------------------------------------------------- vectors


@pytest.mark.parametrize(
    "make", [lambda seed: Ensemble(draw(300, seed)), lambda seed: clustered(24, 12, seed)]
)
def test_equal_samples_have_accuracy_one_half(make):
    """Of 40 pairs, independent or in simulations, at most 6 beyond 1.96 errors and none beyond 5.

    With 5 % each this fails by chance in 1.4 %.
    """
    found = [
        sigmas(accuracy_on_statistics(make(4 * s), make(4 * s + 2), rounds=100, seed=s))
        for s in range(40)
    ]
    assert sum(abs(z) > 1.96 for z in found) <= 6
    assert max(map(abs, found)) < 5
    assert abs(np.mean(found)) < 4 / np.sqrt(40)  # and no side is favoured: 6e-5


def test_simulations_are_left_out_whole():
    """Simulations that differ much: a classifier that has seen one recognises its other maps."""
    sample, truth = clustered(8, 40, 1), clustered(8, 40, 3)
    sample.vectors, truth.vectors = (
        sample.vectors + 30 * draw(8, 5)[sample.simulation],
        truth.vectors + 30 * draw(8, 6)[truth.simulation],
    )
    alone = [Ensemble(e.vectors) for e in (sample, truth)]
    assert accuracy_on_statistics(*alone, rounds=10).value > 0.9
    assert accuracy_on_statistics(sample, truth, rounds=10).value < 0.8  # 16 boxes: 0.5 ± 0.12


def test_sets_of_unequal_size_have_accuracy_one_half():
    """Ten times as many true vectors; within 4 errors: fails by chance with probability 6e-5."""
    found = accuracy_on_statistics(Ensemble(draw(100, 1)), Ensemble(draw(1000, 2)))
    assert abs(sigmas(found)) < 4


@pytest.mark.parametrize(
    ("fault", "at_least"),
    [
        (lambda x: x + 0.5 * x.std(0), 0.6),  # the mean
        (lambda x: 0.85 * x, 0.6),  # the scatter, and the same mean
        (lambda x: np.random.default_rng(9).permuted(x, axis=0), 0.9),  # only the correlation
    ],
    ids=["mean", "scatter", "correlation"],
)
def test_planted_faults_are_found(fault, at_least):
    found = accuracy_on_statistics(Ensemble(fault(draw(600, 1))), Ensemble(draw(600, 2)))
    assert found.value > at_least
    assert found.value - 4 * found.error > 0.5
    assert found.error < 0.04


def test_counts_and_constant_bins_are_harmless():
    """Bins that never vary, and rare counts, of equal samples: within 4 errors, 6e-5."""
    rng = np.random.default_rng(1)
    make = lambda: Ensemble(
        np.hstack([rng.poisson(0.02, (200, 8)), np.full((200, 2), 0.1), rng.normal(size=(200, 3))])
    )
    assert abs(sigmas(accuracy_on_statistics(make(), make()))) < 4


@pytest.mark.parametrize("maps", [4, 8])
def test_few_maps_have_no_small_error(maps):
    """A classifier may say "true" of all maps of a tiny set; a bootstrap alone then has no scatter."""
    for seed in range(5):
        found = accuracy_on_statistics(Ensemble(draw(maps, seed)), Ensemble(draw(256, seed + 50)))
        assert found.error > 0.2 / np.sqrt(maps)


def test_units_do_not_matter():
    a, b = draw(100, 1) + 0.3, draw(100, 2)
    scale = 10.0 ** np.linspace(-10, 4, BINS)
    plain, scaled = (
        accuracy_on_statistics(Ensemble(a * f), Ensemble(b * f), rounds=5) for f in (1, scale)
    )
    assert plain.value == pytest.approx(scaled.value, abs=0.011)  # rounding may turn a map or two


def test_one_seed_one_answer():
    a, b = Ensemble(draw(60, 1)), Ensemble(draw(60, 2))
    state = np.random.get_state()[1].copy()
    one, two = accuracy_on_statistics(a, b, 30, seed=3), accuracy_on_statistics(a, b, 30, seed=3)
    assert float(one.value) == float(two.value)
    np.testing.assert_array_equal(one.rounds, two.rounds)
    assert one.rounds.shape == (30,)
    assert (np.random.get_state()[1] == state).all()


def test_a_handful_of_maps_is_enough_to_run():
    found = accuracy_on_statistics(
        Ensemble(draw(4, 1), [0, 0, 1, 1]), Ensemble(draw(4, 2), [0, 0, 1, 1]), rounds=5
    )
    assert 0 <= found.value <= 1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="the truth comes from one simulation only"):
        accuracy_on_statistics(Ensemble(draw(9, 1)), Ensemble(draw(9, 2), np.zeros(9)))
    for test in (accuracy_on_statistics, ks_p):
        with pytest.raises(ValueError, match="the sample has 19 bins, the truth 20"):
            test(Ensemble(draw(9, 1)[:, 1:]), Ensemble(draw(9, 2)))


# ---------------------------------------------------------------- Kolmogorov–Smirnov


def test_ks_is_uniform_for_equal_samples_and_small_for_a_fault():
    """Of 400 independent bins p < 0.05 in 5 %: between 2 and 9 %.

    Fails by chance with probability 2e-3.
    """
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 500, 400))
    b[:, 0] *= 1.5
    p = ks_p(Ensemble(a), Ensemble(b))
    assert p.shape == (400,)
    assert p[0] < 1e-3
    assert 0.02 < (p[1:] < 0.05).mean() < 0.09


# ---------------------------------------------------------------- maps


def test_equal_maps_have_accuracy_one_half():
    """Five pairs of sets within 3.5 errors: fails by chance with probability 2e-3 at the most."""
    maps = fields(1000, 1).split(100)
    for i in range(5):
        assert abs(sigmas(accuracy_on_maps(maps[2 * i], maps[2 * i + 1], seed=i))) < 3.5


def test_maps_of_other_simulations_have_accuracy_one_half():
    """The shipped null against the truth, 16 boxes each, within 3.5 errors: 5e-4."""
    null, truth = (load_sample(name)[::4] for name in ("null", "truth"))
    assert (
        abs(
            sigmas(
                accuracy_on_maps(null.tensor(), truth.tensor(), null.simulation, truth.simulation)
            )
        )
        < 3.5
    )


def halves(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[:, :16], x.roll(1, 0)[:, 16:]], 1)


@pytest.mark.parametrize(
    "fault",
    [
        lambda x: GaussianField.fit(x).sample(
            len(x), torch.Generator().manual_seed(2)
        ),  # same spectrum
        lambda x: (
            x + 0.2 * x.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
        ),
        lambda x: (
            x + 0.1 * x.std() * (-1.0) ** (torch.arange(32) + torch.arange(32)[:, None])
        ),  # a checkerboard
        lambda x: x.mean() + 0.8 * (x - x.mean()),
        halves,  # each pixel is right; a seam is in the middle
    ],
    ids=["gaussian", "noise", "checkerboard", "scatter", "seam"],
)
def test_planted_faults_in_maps_are_found(fault):
    maps = fields(600, 5)
    found = accuracy_on_maps(fault(maps[:300]), maps[300:], rounds=100)
    assert found.value > 0.6
    assert found.value - 3 * found.error > 0.5


def test_periodic_maps_are_distinguished_from_cut_outs():
    """The same Gaussian field, cut out of a larger one or periodic, when its opposite edges match.

    Equal sets give 0.5 ± 0.03.
    """
    cut = fields(400, 1, pixels=64)[:, :32, :32]
    periodic = GaussianField.fit(cut).sample(400, torch.Generator().manual_seed(1))
    gaussian = GaussianField.fit(fields(400, 1, pixels=64)).sample(
        400, torch.Generator().manual_seed(2)
    )[:, :32, :32]
    assert accuracy_on_maps(periodic, gaussian).value > 0.6


def test_symmetries_do_not_matter():
    a, b = fields(80, 1), fields(80, 2)
    plain = accuracy_on_maps(a, b, rounds=5)
    assert accuracy_on_maps(a.rot90(1, (-2, -1)), b.flip(-1), rounds=5).value == pytest.approx(
        plain.value, abs=0.02
    )


def test_one_seed_one_answer_on_maps_and_no_global_seed():
    a, b = fields(20, 1, pixels=16), fields(20, 2, pixels=16)
    state = torch.random.get_rng_state()
    one, two = accuracy_on_maps(a, b, seed=3, rounds=20), accuracy_on_maps(a, b, seed=3, rounds=20)
    assert float(one.value) == float(two.value)
    np.testing.assert_array_equal(one.rounds, two.rounds)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_large_maps_take_no_longer_and_show_faults_of_all_scales():
    """Equal maps within 4 errors: 6e-5."""
    noise = torch.randn(60, 256, 256, generator=torch.Generator().manual_seed(1))
    waves = torch.sin(2 * torch.pi * torch.arange(256) / 128) * torch.randn(
        30, 1, 1, generator=torch.Generator().manual_seed(2)
    )
    one, two = noise.split(30)
    assert abs(sigmas(accuracy_on_maps(one, two, rounds=50))) < 4
    assert (
        accuracy_on_maps(one + 0.3 * waves, two, rounds=50).value > 0.7
    )  # two waves across the map
    assert accuracy_on_maps(one + 0.2 * (-1.0) ** torch.arange(256), two, rounds=50).value > 0.9


@pytest.mark.parametrize("pixels", [4, 7])
def test_small_maps_run(pixels):
    a, b = torch.randn(2, 12, pixels, pixels, generator=torch.Generator().manual_seed(1))
    assert 0 <= accuracy_on_maps(a, b, rounds=5).value <= 1


def test_maps_that_cannot_be_compared_are_refused():
    maps = fields(8, 1, pixels=16)
    with pytest.raises(
        ValueError, match=r"the sample has the shape \(8, 8, 8\); expected \(maps, 16, 16\)"
    ):
        accuracy_on_maps(maps[:, :8, :8], maps)
    with pytest.raises(
        ValueError, match=r"the truth has the shape \(16, 16\); expected \(maps, 16, 16\)"
    ):
        accuracy_on_maps(maps[0], maps[0])
    broken = maps.clone()
    broken[3, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="1 of 8 maps of the sample have NaN"):
        accuracy_on_maps(broken, maps)
    with pytest.raises(ValueError, match="the sample comes from one simulation only"):
        accuracy_on_maps(maps, maps, np.zeros(8))


# ---------------------------------------------------------------- how many maps


def test_maps_are_spread_over_the_simulations():
    """Of simulations in a row, one after the other, or of different size."""
    for simulation in (
        np.repeat(np.arange(50), 8),
        np.tile(np.arange(8), 50),
        np.array([7] * 350 + list(range(50))),
    ):
        chosen = spread_indices(simulation, 100)
        assert len(np.unique(chosen)) == 100 and (np.diff(chosen) > 0).all()
        share = len(np.unique(simulation)) / len(simulation)
        assert len(np.unique(simulation[chosen])) >= min(8, 100 * share)
    np.testing.assert_array_equal(spread_indices(np.arange(7), 7), np.arange(7))
    few = spread(Ensemble(draw(30, 1), np.arange(30) // 10), 6)
    assert few.vectors.shape == (6, BINS)
    np.testing.assert_array_equal(few.simulation, [0, 0, 1, 1, 2, 2])


def test_more_maps_show_more():
    """A scatter of 0.9, on average over 12 draws of 100 and of 4,000 maps each.

    0.55 ± 0.014 and 0.62 ± 0.002: fails by chance with probability 1e-6.
    """
    few, many = [], []
    for seed in range(12):
        sample, truth = Ensemble(0.9 * draw(4000, 2 * seed)), Ensemble(draw(4000, 2 * seed + 1))
        few.append(accuracy_on_statistics(spread(sample, 100), spread(truth, 100), 10).value)
        many.append(accuracy_on_statistics(sample, truth, 10).value)
    assert np.mean(few) < np.mean(many)
    assert np.std(many) < np.std(few) / 2


def test_the_report_quotes_two_numbers_of_maps(monkeypatch):
    """The second row is there only if there are more maps than the first one uses."""
    maps = lambda seed: MapSet(
        fields(40, seed, 16).numpy(), 5.0, 1.0, 8 * seed + np.arange(40) % 8
    )
    sets = maps(1), maps(2), {"few": fields(24, 3, 16), "many": fields(60, 4, 16)}
    name = "classifier on statistics"
    monkeypatch.setattr(classifiers, "QUOTED", Sizes(20, 30))
    used = []
    measured = classifiers.accuracy_on_statistics

    def counted(sample, truth, *rest):
        used.append((len(truth), len(sample)))
        return measured(sample, truth, *rest)

    monkeypatch.setattr(classifiers, "accuracy_on_statistics", counted)
    report = compare(*sets, look_at_maps=False, rounds=10)
    assert used == [(20, 30), (20, 24), (20, 30), (40, 40), (40, 24), (40, 60)]
    names = [row.quantity.name for row in report.rows()]
    assert name in names and ALL_MAPS in names
    monkeypatch.setattr(classifiers, "QUOTED", QUOTED)
    names = [row.quantity.name for row in compare(*sets, look_at_maps=False, rounds=10).rows()]
    assert name in names and ALL_MAPS not in names


def test_the_report_says_how_many_maps_the_classifiers_used():
    text = "Classifiers use 1,024 true maps and 512 to 4,096 of each set"
    assert sizes_in_words(8192, [8192, 512, 10_000], False) == f"{text}."
    more = "; with all maps, 8,192 true maps and 512 to 8,192 of each set."
    assert sizes_in_words(8192, [8192, 512, 10_000], True) == text + more
    assert (
        sizes_in_words(96, [64, 64], False) == "Classifiers use 96 true maps and 64 of each set."
    )
