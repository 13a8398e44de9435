"""The search for copies: finds them turned, shifted, noisy and in part, and accepts new maps.

Seeds are fixed. Each statistical test states how often correct code would fail it with another
seed.
"""

import numpy as np
import pytest
import torch

from lensnb.compare.memorisation import Nearest, copies, nearest
from lensnb.data import load_sample
from lensnb.maps import GaussianField, LognormalField
from lensnb.maps.grid import turned, turned_back

SAMPLE = {
    name: load_sample(name)[::4] for name in ("train", "truth", "null")
}  # 256 maps of 32 boxes each
TRAIN = SAMPLE["train"].tensor()
SIMULATION = SAMPLE["truth"].simulation


@pytest.fixture(scope="module")
def truth() -> Nearest:
    return nearest(SAMPLE["truth"].tensor(), TRAIN)


def by_hand(g: torch.Tensor, train: torch.Tensor) -> float:
    """The distance by trying every symmetry and every shift in pixel space, without a low-pass."""
    white = GaussianField.fit(train - train.mean((-2, -1), keepdim=True)).whiten
    unit = lambda x: (x - x.mean()) / (x - x.mean()).norm()
    field = unit(white(g.double()))
    n, best = g.shape[-1], np.inf
    for t in white(train.double()):
        for k in range(8):
            moved = unit(turned(t, k))
            rolled = torch.stack([moved.roll((i, j), (0, 1)) for i in range(n) for j in range(n)])
            best = min(best, float((field - rolled).flatten(1).norm(dim=1).min()))
    return best


# ---------------------------------------------------------------- the search


@pytest.mark.parametrize("k", range(8))
def test_copies_are_found_turned_and_shifted(k):
    """By an odd number of pixels, which the coarse search does not know."""
    copied = torch.stack([turned(TRAIN[i].roll((7, 61), (-2, -1)), k) for i in (3, 100, 255)])
    found = nearest(copied, TRAIN)
    assert (found.distance < 2e-3).all()  # float32
    assert found.index.tolist() == [3, 100, 255]
    np.testing.assert_allclose(found.overlay(TRAIN), copied, rtol=0)
    assert (found.symmetry == k).all()
    assert (found.shift == [7, 61]).all()


def test_turning_back_undoes_turning():
    for k in range(8):
        assert torch.equal(turned_back(turned(TRAIN[:2], k), k), TRAIN[:2])
    assert len({turned(TRAIN[0], k).numpy().tobytes() for k in range(8)}) == 8


def test_distance_is_the_smallest_of_all_shifts_and_symmetries():
    """Compared with trying all, for fields without Nyquist modes: the search cuts only those."""
    draw = torch.fft.rfft2(torch.randn(5, 12, 12, generator=torch.Generator().manual_seed(1)))
    draw[:, 6], draw[..., 6] = 0, 0
    fields = torch.fft.irfft2(draw, s=(12, 12))
    # All 8 symmetries are in the set: the search whitens with the mean power of the training maps,
    # the trial with the symmetric one.
    train, maps = torch.stack([turned(t, k) for t in fields[:3] for k in range(8)]), fields[3:]
    found = nearest(maps, train).distance
    np.testing.assert_allclose(found, [by_hand(g, train[::8]) for g in maps], atol=2e-3)


@pytest.mark.parametrize(
    ("copy", "distance"),
    [
        (lambda x: x.half().float(), 0.01),
        (lambda x: 3 * x + 0.1, 0.01),  # amplitude and mean do not count
        (
            lambda x: (
                x
                + 0.1 * x.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
            ),
            0.1,
        ),
        (
            lambda x: (
                x
                + 0.2 * x.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
            ),
            0.2,
        ),
        (lambda x: (x + TRAIN[200:208]) / 2, 0.85),  # √(2 − √2) = 0.77
        (
            lambda x: torch.cat([x[:, 16:], SAMPLE["null"].tensor()[:8, :16]], 1),
            0.85,
        ),  # √(2/4) = 0.71: a neighbour
    ],
    ids=["half precision", "scaled", "10 % noise", "20 % noise", "blend", "neighbour"],
)
def test_near_copies_are_near(copy, distance, truth):
    found = nearest(copy(TRAIN[50:58]), TRAIN)
    assert (found.distance < distance).all()
    assert (found.distance < truth.distance.min()).all()
    ratio, share = copies(found, truth, None, SIMULATION)
    assert share.value == 1
    assert ratio.value < 0.8
    assert ratio.value + 4 * ratio.error < 1


def test_few_maps_of_many_are_judged_evenly():
    found = nearest(TRAIN, TRAIN, most=5)
    assert found.judged.tolist() == [0, 64, 128, 191, 255]
    assert found.index.tolist() == found.judged.tolist()
    assert nearest(TRAIN[:3], TRAIN[:9]).judged.tolist() == [0, 1, 2]


def test_maps_of_any_size():
    """Also 256² maps, sizes that the number of modes does not divide, and one training map."""
    generator = torch.Generator().manual_seed(1)
    for n in (4, 9, 50, 256):
        train = torch.randn(5, n, n, generator=generator)
        found = nearest(train[2:3].roll((1, 3), (-2, -1)), train)
        assert found.distance[0] < 2e-3
        assert found.index[0] == 2
    assert nearest(train[:1], train[:1]).distance[0] < 2e-3


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(ValueError, match=r"maps have \(32, 32\) pixels, train has \(64, 64\)"):
        nearest(TRAIN[:2, :32, :32], TRAIN)
    for maps in (TRAIN[0], TRAIN[:2, :9]):
        with pytest.raises(ValueError, match=r"'maps' has the shape .*; expected \(maps, n, n\)"):
            nearest(maps, TRAIN)
    with pytest.raises(ValueError, match="'maps' is empty; at least one map is needed"):
        nearest(TRAIN[:0], TRAIN)
    broken = TRAIN[:3].clone()
    broken[1, 2, 3] = torch.inf
    with pytest.raises(ValueError, match="1 of 3 maps of 'train' have NaN or infinity"):
        nearest(TRAIN[:2], broken)
    with pytest.raises(ValueError, match="1 of 1 maps of 'maps' are constant"):
        nearest(torch.full((1, 64, 64), 0.1), TRAIN)
    with pytest.raises(ValueError, match="by 4 modes or more"):
        nearest(TRAIN[:1], TRAIN, modes=2)


# ---------------------------------------------------------------- the numbers of the report


def test_honest_maps_are_not_flagged(truth):
    """The null and a lognormal field: ratio within 4 errors and 1 %, at most 7 of 128 maps near.

    The threshold and the share are both noisy: each set fails by chance in less than 1 %.
    """
    lognormal = LognormalField.fit(TRAIN).sample(128, torch.Generator().manual_seed(1))
    for maps, simulation in (
        (SAMPLE["null"].tensor(), SAMPLE["null"].simulation),
        (lognormal, None),
    ):
        ratio, share = copies(nearest(maps, TRAIN), truth, simulation, SIMULATION)
        assert abs(ratio.value - 1) < max(4 * ratio.error, 0.01)
        assert ratio.error < 0.01
        assert share.value <= 7 / 128


def test_a_few_copies_among_many_are_found(truth):
    """One map in ten is a copy of the training set's."""
    maps = LognormalField.fit(TRAIN).sample(100, torch.Generator().manual_seed(2))
    maps[::10] = TRAIN[::26].roll(5, -1).mT
    ratio, share = copies(nearest(maps, TRAIN), truth, None, SIMULATION)
    assert 0.1 <= share.value <= 0.15
    assert share.value - 2 * share.error > 0.01
    assert abs(ratio.value - 1) < 0.01  # the median does not see them


def listed(distance: np.ndarray) -> Nearest:
    """Distances alone."""
    none = np.zeros(len(distance), int)
    return Nearest(
        np.arange(len(distance)), distance, none, none, np.zeros((len(distance), 2), int)
    )


def test_share_is_one_per_cent_whatever_the_distribution():
    """400 pairs of 128 maps each: 0.010 ± 0.0006, within 4 errors.

    Fails by chance with probability 6e-5.
    """
    rng = np.random.default_rng(1)
    draw = lambda: listed(1.2 - 0.01 * rng.gumbel(size=128))
    shares = np.array([copies(draw(), draw(), rounds=1)[1].value for _ in range(400)])
    assert abs(shares.mean() - 0.01) < 4 * shares.std() / 20


def test_errors_come_from_the_simulations():
    """Simulations of 9 maps that are nearly equal: 2 to 3 times the error of independent maps."""
    rng = np.random.default_rng(2)
    simulation = np.repeat(np.arange(100), 9)
    boxes = listed(1.2 + 0.01 * rng.normal(size=100)[simulation] + 0.003 * rng.normal(size=900))
    sample = listed(np.full(100, 1.2))
    together, alone = (copies(sample, boxes, None, which)[0] for which in (simulation, None))
    assert 1.5 < together.error / alone.error < 4


def test_simulations_are_those_of_all_maps():
    """Of 256 maps 120 are judged, and they keep their simulations."""
    found = nearest(SAMPLE["null"].tensor(), TRAIN[:8], most=120)
    ratio, share = copies(
        found, found, SAMPLE["null"].simulation, SAMPLE["null"].simulation, rounds=7
    )
    assert ratio.value == 1
    assert ratio.rounds.shape == share.rounds.shape == (7,)
    with pytest.raises(ValueError, match="at least two simulations"):
        copies(found, found, np.zeros(256), None)
