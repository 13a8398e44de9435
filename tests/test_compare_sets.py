"""What is compared with what: sets that contradict each other, and maps that cannot be compared."""

import math

import numpy as np
import pytest
import torch

from lensnb.compare import NULL, compare, judge
from lensnb.compare.sets import CONSTANT, EXPLODED, NOT_FINITE, UNDEFINED, gather_sets
from lensnb.data import MapSet, check_statements
from lensnb.ensemble import Ensemble
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.stats import suite

FIELD = GaussianField.from_power(
    MapGrid(16, 5.0), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
)


def kappa(n: int, seed: int) -> torch.Tensor:
    """Gaussian κ-maps, shape ``(n, 16, 16)``."""
    return FIELD.sample(n, torch.Generator().manual_seed(seed))


def true_set(seed: int, n: int = 60, **about) -> MapSet:
    """Maps of ten simulations, which no set with another seed has."""
    simulation = 100 * seed + np.arange(n) % 10
    return MapSet(kappa(n, seed), **({"side_deg": 5.0, "simulation": simulation} | about))


TRUTH, NULL_SET = true_set(0), true_set(1)
STATISTICS = suite(TRUTH.tensor(), 5.0, ["power", "pdf", "moments"])


def report(generated: dict, truth: MapSet = TRUTH, null: MapSet = NULL_SET, **how):
    how = {"statistics": STATISTICS, "look_at_maps": False, "rounds": 5} | how
    return compare(truth, null, generated, **how)


# ---------------------------------------------------------------- sets that contradict each other


def stated(**about) -> MapSet:
    return MapSet(np.zeros((20, 4, 4), np.float32), **({"side_deg": 5.0} | about))


def cosmology(**parameters) -> MapSet:
    return stated(provenance={"cone": {"cosmology": parameters, "seed": 3}})


EVENLY = np.linspace(0, 1, 20)
CONTRADICTIONS = {
    "field": (stated(), stated(side_deg=10.0), "side_deg = 5, the other 10;"),
    "redshift": (stated(z_source=1.0), stated(z_source=2.0), "z_source = 1, the other 2;"),
    "cosmology": (cosmology(omega_m=0.26), cosmology(omega_m=0.31), "omega_m = 0.26, the other"),
    "a condition": (
        stated(given={"sigma8": np.full(20, 0.8)}),
        stated(given={"sigma8": np.full(20, 0.9)}),
        "sigma8 = 0.8, the other 0.9;",
    ),
    "a condition and a cosmology": (
        stated(given={"sigma8": np.full(20, 0.7)}),
        cosmology(sigma8=0.8),
        "sigma8 = 0.7, the other 0.8;",
    ),
    "one sky and many": (
        stated(given={"sigma8": np.full(20, 0.8)}),
        stated(given={"sigma8": 0.6 + 0.4 * EVENLY}),
        "sigma8 = 0.8, the other 0.6 to 1;",
    ),
    "ranges": (
        stated(given={"sigma8": 0.6 + 0.1 * EVENLY}),
        stated(given={"sigma8": 0.9 + 0.1 * EVENLY}),
        "sigma8 = 0.6 to 0.7, the other 0.9 to 1;",
    ),
    "smoothing": (
        stated(provenance={"smoothing_arcmin": 2.0}),
        stated(provenance={"observed": {"smoothing_arcmin": 5}}),
        "smoothing_arcmin = 2, the other 5;",
    ),
    "noise": (
        stated(provenance={"n_gal_arcmin2": 30}),
        stated(provenance={"n_gal_arcmin2": 0}),
        "n_gal_arcmin2 = 30, the other 0;",
    ),
    "tomographic bin": (
        stated(provenance={"bin": "stage3_lensing1"}),
        stated(provenance={"bin": "stage3_lensing4"}),
        "bin = stage3_lensing1, the other stage3_lensing4;",
    ),
    "one of two redshifts": (
        MapSet(np.zeros((4, 2, 4, 4), np.float32), 5.0, (0.5, 1.0)),
        MapSet(np.zeros((4, 2, 4, 4), np.float32), 5.0, (0.5, 1.5)),
        "z_source of bin 2 = 1, the other 1.5;",
    ),
}
AGREEMENTS = {
    "unknown redshift": (stated(z_source=1.0), stated()),
    "rounding": (stated(z_source=1.0, side_deg=3.5), stated(z_source=1.0005, side_deg=3.5001)),
    "float32": (stated(given={"h": np.full(20, 0.7, np.float32)}), cosmology(h=0.7)),
    "how they were made": (
        stated(provenance={"files": ["a.fits"], "steps": ["tiles 4"], "seed": 1, "command": "a"}),
        stated(provenance={"files": ["b.fits"], "steps": [], "seed": 2, "command": "b"}),
    ),
    "one bin of several files": (
        stated(provenance={"bin": ["stage3_lensing1", "stage3_lensing2"]}),
        stated(provenance={"bin": "stage3_lensing1"}),
    ),
    "the same range": (
        stated(given={"sigma8": 0.6 + 0.4 * EVENLY}),
        stated(given={"sigma8": 0.61 + 0.37 * EVENLY}),
    ),
    # Two and two numbers of one range lie apart in one of three cases.
    "few numbers": (
        stated(given={"sigma8": np.repeat([0.6, 0.7], 10)}),
        stated(given={"sigma8": np.repeat([0.8, 0.9], 10)}),
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_sets_that_contradict_each_other_are_refused(case):
    one, other, sentence = CONTRADICTIONS[case]
    with pytest.raises(ValueError, match="the first states .*; they must be of the same sky") as e:
        check_statements({"first": one, "other": other})
    assert sentence in str(e.value) or case == "cosmology"
    with pytest.raises(ValueError, match="the other states"):  # in both orders
        check_statements({"other": other, "first": one})


@pytest.mark.parametrize("case", AGREEMENTS)
def test_sets_that_do_not_contradict_each_other_are_compared(case):
    one, other = AGREEMENTS[case]
    check_statements({"first": one, "other": other})
    check_statements({"other": other, "first": one})


@pytest.mark.parametrize("which", ["null", "training set", "mine"])
def test_every_set_of_a_comparison_is_asked(which):
    sets = {"truth": true_set(0, z_source=1.0), "null": true_set(1), "training set": true_set(2)}
    mine = MapSet(kappa(20, 3), 5.0)
    if which == "mine":
        mine = MapSet(mine.maps, 5.0, 2.0)
    else:
        sets[which] = MapSet(sets[which].maps, 5.0, 2.0, sets[which].simulation)
    with pytest.raises(ValueError, match=f"the truth states z_source = 1, the {which} 2"):
        gather_sets(sets["truth"], sets["null"], {"mine": mine}, sets["training set"])


def test_maps_without_statements_are_compared():
    """An array states nothing: this is how a set of another sky is compared on purpose."""
    other = MapSet(kappa(20, 3), 10.0, 2.0)
    assert gather_sets(TRUTH, NULL_SET, {"mine": other.tensor()})["mine"].dropped == 0


# ---------------------------------------------------------------- maps that cannot be compared


def spoilt(maps: torch.Tensor, how: str) -> torch.Tensor:
    """The maps with one more, which no statistic can bear."""
    bad = maps[:1].clone()
    if how == "a bright pixel":
        bad[0, 3, 4] = 1e9
    elif how == "a flat map":
        bad[:] = 0.01
    elif how == "a map of zeros":
        bad[:] = 0
    elif how == "a faint map":
        bad *= 1e-20
    elif how == "an offset":
        bad += 1e4
    elif how == "half a map":
        bad[0, :8] = 1e12
    else:
        bad *= float(how)
    return torch.cat([maps, bad])


@pytest.mark.parametrize(
    "how, reason",
    [
        ("1e3", EXPLODED),
        ("1e6", EXPLODED),
        ("-1e15", EXPLODED),
        ("1e30", EXPLODED),
        ("a bright pixel", EXPLODED),
        ("an offset", EXPLODED),
        ("half a map", EXPLODED),
        ("a flat map", CONSTANT),
        ("a map of zeros", CONSTANT),
        ("a faint map", CONSTANT),
    ],
)
def test_maps_that_cannot_be_compared_are_counted_shown_and_left_out(how, reason):
    good = kappa(40, 4)
    found = report({"flow": spoilt(good, how), "clean": good})
    expected = {"maps": 40, "simulations": 40, "dropped": 1, reason: 1}
    assert found.counts["flow"] == expected
    assert found.as_json()["maps"]["flow"] == expected
    (line,) = [line for line in found.remarks() if line.startswith("flow: 1 map was ")]
    assert line.startswith(f"flow: 1 map was {reason}") and line.endswith(" and is left out.")
    assert "clean: 1 map" not in str(found)
    one, other = (found.verdicts[name]["joint"].mean_shift.value for name in ("flow", "clean"))
    np.testing.assert_array_equal(one, other)


def test_maps_that_are_only_wrong_are_compared():
    """Nine times, fifty times too bright, or with a wild pixel: a fault, and numbers for it."""
    good = kappa(40, 4)
    for factor in (9.0, 50.0):
        found = report({"flow": factor * good})
        assert found.counts["flow"]["dropped"] == 0
        assert float(found.verdicts["flow"]["power"].mean.value) == pytest.approx(
            factor**2, rel=0.2
        )
    wild = good.clone()
    wild[0, 3, 4] = 100 * good.std()
    assert report({"flow": wild}).counts["flow"]["dropped"] == 0


def test_eigenvalues_beside_the_worst_map_that_is_kept_are_not_negative():
    """A map just below the bound is kept, and float64 still knows the variance of the others."""
    good = kappa(100, 4)
    found = report({"flow": spoilt(good, "50")}, truth=true_set(0, 200), null=true_set(1, 200))
    assert found.counts["flow"]["dropped"] == 0
    assert (found.verdicts["flow"]["joint"].eigenvalues.value > 0).all()


def test_reasons_are_counted_apart_and_in_every_set():
    maps = true_set(0, 200).maps.copy()
    maps[3], maps[5], maps[7], maps[9, 0, 0] = 0, maps[5] * 1e6, maps[7] * 1e6, math.nan
    simulation = np.arange(200) % 10
    sets = gather_sets(MapSet(maps, 5.0, simulation=simulation), NULL_SET, {})
    assert sets["truth"].reasons == {NOT_FINITE: 1, CONSTANT: 1, EXPLODED: 2}
    assert sets["truth"].dropped == 4
    kept = np.delete(np.arange(200), [3, 5, 7, 9])
    np.testing.assert_array_equal(sets["truth"].maps.numpy(), maps[kept])
    np.testing.assert_array_equal(sets["truth"].simulation, simulation[kept])


def test_a_map_is_left_out_if_one_of_its_channels_is():
    def two(seed: int, n: int = 40) -> torch.Tensor:
        return torch.stack([kappa(n, seed), 3 * kappa(n, seed + 50)], 1)

    truth = MapSet(two(0), 5.0, simulation=np.arange(40) % 8)
    null = MapSet(two(1), 5.0, simulation=100 + np.arange(40) % 8)
    mine = two(2)
    mine[1, 0], mine[2, 1] = 0, mine[2, 1] * 1e9
    found = gather_sets(truth, null, {"mine": mine})["mine"]
    assert found.reasons == {CONSTANT: 1, EXPLODED: 1}
    assert found.maps.shape == (38, 2, 16, 16)


def test_a_generator_of_broken_maps_does_not_end_the_comparison():
    """It is named, with its reasons, and the others are judged as without it."""
    good = kappa(40, 4)
    broken = {"flat": torch.full((6, 16, 16), 0.02), "NaN": torch.full((5, 16, 16), math.nan)}
    found = report(broken | {"clean": good})
    assert found.generators == ["clean"]
    assert found.counts["flat"] == {"maps": 0, "simulations": 0, "dropped": 6, CONSTANT: 6}
    assert "flat: 6 maps were constant and are left out." in found.remarks()
    assert "flat: it has too few other maps, and is left out of the table." in found.remarks()
    assert "NaN: 5 maps were not finite and are left out." in found._repr_html_()
    alone = report({"clean": good})
    assert found.as_json()["headline"] == alone.as_json()["headline"]
    with pytest.raises(ValueError, match=r"flat has 0 of 6 maps that can be compared \(6 const"):
        report(broken)


def test_true_sets_need_maps_that_can_be_compared():
    simulation = NULL_SET.simulation
    flat = MapSet(np.zeros((60, 16, 16), np.float32), 5.0, simulation=simulation)
    with pytest.raises(ValueError, match=r"null \(true maps\) has 0 of 60 maps"):
        report({"clean": kappa(40, 4)}, null=flat)
    with pytest.raises(ValueError, match="truth has 0 of 60 maps that can be compared"):
        report({"clean": kappa(40, 4)}, truth=flat, null=TRUTH)


def test_maps_whose_statistics_are_not_finite_are_left_out():
    """A statistic of one's own may be undefined for a map with which nothing else is wrong."""
    one = STATISTICS["pdf"]

    def undefined(maps):
        return torch.where(maps[:, :1, 0].double() > 0.05, math.nan, one.function(maps))

    own = STATISTICS | {"pdf": type(one)(**{**vars(one), "function": undefined})}
    good = kappa(40, 4)
    bad = good[:2].clone()
    bad[:, 0, 0] = 0.06
    found = report({"flow": torch.cat([good, bad]), "clean": good}, statistics=own)
    assert found.counts["flow"] == {"maps": 40, "simulations": 40, "dropped": 2, UNDEFINED: 2}
    assert f"flow: 2 maps were {UNDEFINED} and are left out." in found.remarks()


# ---------------------------------------------------------------- sets of very few maps


@pytest.mark.parametrize("sizes", [(3, 2), (2, 2), (4, 3)])
def test_errors_of_a_few_maps_are_numbers_of_their_size(sizes):
    """A bootstrap of three maps often draws one map only, which has no scatter to divide by."""
    truth, null = (true_set(k, n, simulation=10 * k + np.arange(n)) for k, n in enumerate(sizes))
    found = report({"mine": kappa(40, 4)}, truth, null, rounds=60)
    for row in found.rows():
        for estimate in row.estimates.values():
            if np.isfinite(estimate.value):
                assert estimate.error < 1e3
    assert f"truth: {sizes[0]} simulations only" in str(found)


def test_a_bin_that_is_the_same_in_most_maps_has_no_ratio_to_rounding():
    """Many rounds draw maps with one value, 0.1: their scatter is rounding, not a scatter."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(1, 0.1, (12, 3))
    vectors[:, 1] = 0.1
    vectors[0, 1] = 0.3
    found = judge(Ensemble(rng.normal(1, 0.1, (40, 3))), Ensemble(vectors), rounds=200)
    assert found.scatter.error < 1e3
    assert np.nan_to_num(found.scatter.rounds).max() < 1e3


def test_a_comparison_may_have_no_generator():
    found = report({})
    assert found.names == [NULL]


def test_lognormal_maps_keep_their_tails():
    """The heaviest tails that a field of κ has are no explosion."""
    field = LognormalField.from_correlation(FIELD.variance, 0.007)
    maps = field.sample(200, torch.Generator().manual_seed(5))
    assert maps.amax() > 15 * maps.std()
    truth = MapSet(maps[:100], 5.0, simulation=np.arange(100) % 10)
    null = MapSet(maps[100:], 5.0, simulation=100 + np.arange(100) % 10)
    sets = gather_sets(truth, null, {"mine": maps})
    assert [one.dropped for one in sets.values()] == [0, 0, 0]
