"""The search for copies among vectors: it finds copies of true maps, and accepts other maps.

Seeds are fixed. Each statistical test states how often correct code would fail it with another
seed.
"""

import numpy as np
import pytest
import torch
from scipy.stats import beta

from lensnb.compare.leakage import Copies, copies_in_vectors
from lensnb.data import load_sample
from lensnb.ensemble import Ensemble, measure
from lensnb.maps import LognormalField
from lensnb.maps.grid import turned
from lensnb.stats import suite

SAMPLE = {name: load_sample(name)[::4] for name in ("train", "truth", "null")}
STATISTICS = suite(SAMPLE["truth"].tensor(), SAMPLE["truth"].side_deg)


def vectors_of(maps, simulation=None) -> Ensemble:
    return Ensemble.join(measure(STATISTICS, maps, simulation).values())


@pytest.fixture(scope="module")
def true() -> dict[str, Ensemble]:
    """The vectors of 256 maps of 32 boxes a set."""
    return {name: vectors_of(maps) for name, maps in SAMPLE.items()}


@pytest.fixture(scope="module")
def everything(true) -> Ensemble:
    """The vectors of all 96 boxes."""
    vectors = np.vstack([one.vectors for one in true.values()])
    simulation = np.concatenate([one.simulation for one in true.values()])
    return Ensemble(vectors, simulation)


# ---------------------------------------------------------------- copies are found


@pytest.mark.parametrize("k", range(8))
def test_the_truth_itself_is_found_turned_and_mirrored(k, true):
    maps = turned(SAMPLE["truth"].tensor()[::4], k)
    found = copies_in_vectors(vectors_of(maps), true["truth"])
    assert found.share == 1
    assert found.original.tolist() == list(range(0, 256, 4))
    assert found.ratio.max() < 1e-3


def noisy(maps: torch.Tensor, level: float) -> torch.Tensor:
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))
    return maps + level * maps.std() * noise


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda x: x.half().float(), 1.0),
        (lambda x: noisy(x, 0.05), 1.0),
        (lambda x: noisy(x, 0.1), 1.0),
        (lambda x: noisy(x, 0.2), 0.8),
        (lambda x: x.roll((7, 61), (-2, -1)), 1.0),
        (lambda x: 1.05 * x, 1.0),
    ],
    ids=["half precision", "5 % noise", "10 % noise", "20 % noise", "shifted", "amplitude"],
)
def test_near_copies_of_the_truth_are_found(change, share, true):
    found = copies_in_vectors(vectors_of(change(SAMPLE["truth"].tensor()[::4])), true["truth"])
    assert found.share >= share
    assert (found.original == 4 * found.which).all()


def test_vectors_may_be_stored_in_half_precision(true):
    """Standardised, as the sample stores them."""
    mean, std = true["truth"].mean(), np.maximum(true["truth"].std(), 1e-30)
    rounded = ((true["truth"].vectors - mean) / std).astype(np.float16)
    references = Ensemble(rounded, true["truth"].simulation)
    found = copies_in_vectors(Ensemble((true["truth"].vectors - mean) / std), references)
    assert found.share == 1
    assert found.ratio.max() < 0.02


def test_two_per_cent_of_copies_are_found_in_every_set(true):
    """5 of 256 maps, in 40 sets; no set may be missed, and no other map be reported."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        vectors = true["null"].vectors.copy()
        where = np.sort(rng.choice(256, 5, replace=False))
        original = rng.choice(256, 5, replace=False)
        vectors[where] = true["truth"].vectors[original]
        found = copies_in_vectors(Ensemble(vectors), true["truth"])
        assert found.which.tolist() == where.tolist()
        assert found.original.tolist() == original.tolist()


def test_a_copy_is_found_beside_twins_of_its_own_simulation():
    """Nearly equal maps of one simulation hide a copy only if they count as independent."""
    rng = np.random.default_rng(2)
    boxes = np.repeat(rng.normal(size=(50, 10)), 4, axis=0)
    vectors = boxes + 0.01 * rng.normal(size=boxes.shape)
    simulation = np.repeat(np.arange(50), 4)
    copy = Ensemble(vectors[:1] + 0.01 * rng.normal(size=(1, 10)))
    assert copies_in_vectors(copy, Ensemble(vectors, simulation)).count == 1
    assert copies_in_vectors(copy, Ensemble(vectors)).count == 0


def test_the_order_of_the_references_does_not_matter(true):
    """Their simulations may come in any order."""
    order = np.random.default_rng(3).permutation(256)
    references = Ensemble(true["truth"].vectors[order], true["truth"].simulation[order])
    copied = Ensemble(true["truth"].vectors[::4])
    found, again = copies_in_vectors(copied, true["truth"]), copies_in_vectors(copied, references)
    assert order[again.original].tolist() == found.original.tolist() == list(range(0, 256, 4))
    np.testing.assert_allclose(again.ratio, found.ratio, rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------- other maps are accepted


def test_true_maps_are_not_copies(everything):
    """100 divisions of the 96 boxes: 32 as generator, 64 as references.

    One false copy is expected in all of them. Five or more would have a probability of 0.4 % if
    the divisions were independent.
    """
    boxes, counts = everything.simulations, []
    for seed in range(100):
        drawn = np.random.default_rng(seed).permutation(boxes)[:32]
        ours = np.isin(everything.simulation, drawn)
        sample = Ensemble(everything.vectors[ours])
        references = Ensemble(everything.vectors[~ours], everything.simulation[~ours])
        counts.append(copies_in_vectors(sample, references).count)
    assert np.mean(np.array(counts) > 0) <= 0.04


@pytest.mark.parametrize("dimension", [3, 12])
def test_false_copies_are_as_many_as_told(dimension):
    """2,000 false copies among 20,000 normal vectors are asked for.

    The smallest of three estimates of D is taken, so that 1,870 ± 180 are found. Fails by chance in
    less than 1 %.
    """
    rng = np.random.default_rng(3)
    sample = Ensemble(rng.normal(size=(20_000, dimension)))
    references = Ensemble(rng.normal(size=(4000, dimension)))
    found = copies_in_vectors(sample, references, false_alarms=2000)
    assert 1250 < found.count < 2400


@pytest.mark.parametrize("factor", [0.2, 0.6, 1.5, 3])
def test_maps_that_scatter_too_little_or_too_much_are_not_copies(factor, true, everything):
    mean = everything.mean()
    vectors = mean + factor * (true["null"].vectors - mean)
    assert copies_in_vectors(Ensemble(vectors), true["truth"]).count == 0


def test_other_fields_are_not_copies(everything):
    maps = LognormalField.fit(SAMPLE["train"].tensor()).sample(
        256, torch.Generator().manual_seed(1)
    )
    for some in (maps, maps[:1] + 1e-3 * maps, 2 * maps, maps**2):
        assert copies_in_vectors(vectors_of(some), everything).count == 0


def test_two_extreme_maps_are_not_copies_of_each_other():
    """They are near each other in comparison with all others, but not as near as a copy."""
    rng = np.random.default_rng(4)
    references, sample = rng.normal(size=(1000, 30)), rng.normal(size=(1, 30))
    references[0, :3] += 40
    sample[0, :3] += 40
    assert copies_in_vectors(Ensemble(sample), Ensemble(references)).count == 0
    assert copies_in_vectors(Ensemble(references[:1]), Ensemble(references)).count == 1


# ---------------------------------------------------------------- the bound, and what cannot be said


def found_of(count: int, maps: int, threshold: float = 0.8) -> Copies:
    return Copies(np.arange(count), np.arange(count), np.ones(maps), threshold)


def test_the_bound_is_exact():
    """Clopper & Pearson: none of n gives 1 − 0.05^(1/n), and k of n the quantile of a beta law."""
    np.testing.assert_allclose(found_of(0, 4096).upper, 1 - 0.05 ** (1 / 4096), rtol=1e-6)
    np.testing.assert_allclose(found_of(3, 100).upper, beta.ppf(0.95, 4, 97), rtol=1e-6)
    assert found_of(9, 9).upper == 1
    assert found_of(3, 100).share == 0.03
    assert found_of(0, 4096, threshold=0).upper == 1  # nothing was tested


def test_equal_vectors_of_true_maps_exclude_nothing():
    """Counts in a few bins: true maps of different simulations have the same."""
    counts = np.random.default_rng(5).poisson(1, size=(500, 2))
    found = copies_in_vectors(Ensemble(counts[:100]), Ensemble(counts))
    assert (found.count, found.threshold, found.upper) == (0, 0, 1)


def test_few_references_exclude_nothing(true):
    vectors = true["truth"].vectors
    for few in (Ensemble(vectors, np.arange(256) % 3), Ensemble(vectors[:20])):
        found = copies_in_vectors(true["truth"], few)
        assert (found.count, found.threshold, found.upper) == (0, 0, 1)


def test_a_bin_without_scatter_does_not_matter(true):
    flat = Ensemble(
        np.hstack([true["truth"].vectors, np.ones((256, 1))]), true["truth"].simulation
    )
    assert copies_in_vectors(flat, flat).share == 1


def test_other_bins_are_refused(true):
    with pytest.raises(ValueError, match="bins"):
        copies_in_vectors(Ensemble(np.zeros((5, 3))), true["truth"])
