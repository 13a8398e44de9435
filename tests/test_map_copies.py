"""The search for copies among all maps: exact ones, noisy ones and parts, and no others."""

import numpy as np
import pytest
import torch

from lensnb.compare.map_copies import copies_in_maps
from lensnb.data import load_sample
from lensnb.maps import GaussianField, LognormalField
from lensnb.maps.grid import turned

SAMPLE = {
    name: load_sample(name)[::4] for name in ("train", "truth", "null")
}  # 256 maps of 32 boxes each
TRAIN, NULL = SAMPLE["train"].tensor(), SAMPLE["null"].tensor()
SIMULATION = SAMPLE["train"].simulation


@pytest.mark.parametrize("k", range(8))
def test_copies_are_found_turned_and_shifted(k):
    copied = torch.cat([turned(TRAIN.roll((7, 61), (-2, -1)), k), turned(TRAIN, k)])
    found = copies_in_maps(copied, TRAIN, SIMULATION)
    assert found.share == 1
    assert found.original.tolist() == 2 * list(range(256))
    assert found.ratio.max() < 1e-4


def planted(maps: torch.Tensor, rng: np.random.Generator) -> np.ndarray:
    """Put five training maps among the maps, each with a symmetry and a shift of its own."""
    where = np.sort(rng.choice(len(maps), 5, replace=False))
    for i in where.tolist():
        rows, columns, k, index = rng.integers([64, 64, 8, len(TRAIN)]).tolist()
        maps[i] = turned(TRAIN[index].roll((rows, columns), (-2, -1)), k)
    return where


def test_two_per_cent_of_copies_are_found_in_every_set():
    """5 of 256 maps, in 20 sets; no set may be missed, and no other map be reported."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        maps = NULL.clone()
        where = planted(maps, rng)
        found = copies_in_maps(maps, TRAIN, SIMULATION)
        assert found.which.tolist() == where.tolist()


def noisy(maps: torch.Tensor, level: float) -> torch.Tensor:
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))
    return maps + level * maps.std() * noise


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda x: x.half().float(), 1.0),
        (lambda x: 3 * x + 0.1, 1.0),  # amplitude and mean do not count
        (lambda x: noisy(x, 0.1), 1.0),
        (lambda x: noisy(x, 1.0), 1.0),
        (lambda x: (x + x.roll(100, 0)) / 2, 1.0),
        (lambda x: torch.cat([x[:, 16:], NULL[:, :16]], 1), 0.95),
    ],
    ids=["half precision", "scaled", "10 % noise", "100 % noise", "mean of two", "neighbour"],
)
def test_near_copies_are_found(change, share):
    assert copies_in_maps(change(TRAIN), TRAIN, SIMULATION).share >= share


def test_two_channels_are_searched_as_one():
    train = torch.stack([TRAIN, TRAIN.roll(1, 0)], 1)
    copied = turned(train[:64].roll((5, 9), (-2, -1)), 6)
    found = copies_in_maps(torch.cat([copied, torch.stack([NULL, NULL.roll(9, 0)], 1)]), train)
    assert found.which.tolist() == found.original.tolist() == list(range(64))


@pytest.mark.parametrize("n", [16, 50, 256])
def test_maps_of_any_size(n):
    generator = torch.Generator().manual_seed(2)
    train, others = torch.randn(2, 20, n, n, generator=generator)
    found = copies_in_maps(train[2:5].roll((1, 3), (-2, -1)), train)
    assert found.original.tolist() == [2, 3, 4]
    assert copies_in_maps(others, train).count == 0


# ---------------------------------------------------------------- other maps are accepted


def test_true_maps_are_not_copies():
    """30 divisions of the 96 boxes: 32 as generator, 32 for training.

    0.3 false copies are expected in all of them before r is checked; two or more have a
    probability of 4 %.
    """
    maps = torch.cat([one.tensor() for one in SAMPLE.values()])
    simulation = np.concatenate([one.simulation for one in SAMPLE.values()])
    boxes, counts = np.unique(simulation), []
    for seed in range(30):
        order = np.random.default_rng(seed).permutation(boxes)
        ours, train = np.isin(simulation, order[:32]), np.isin(simulation, order[32:64])
        counts.append(copies_in_maps(maps[ours], maps[train], simulation[train]).count)
    assert np.mean(np.array(counts) > 0) < 0.05


def test_other_fields_are_not_copies():
    generator = torch.Generator().manual_seed(3)
    for field in (GaussianField, LognormalField):
        maps = field.fit(TRAIN).sample(256, generator)
        assert copies_in_maps(maps, TRAIN, SIMULATION).count == 0


def test_the_amplitudes_of_a_training_map_do_not_make_a_copy():
    """With random phases the search finds them, and the comparison in full rejects them."""
    random = torch.fft.rfft2(torch.randn(TRAIN.shape, generator=torch.Generator().manual_seed(4)))
    modes = torch.polar(torch.fft.rfft2(TRAIN).abs(), random.angle())
    found = copies_in_maps(torch.fft.irfft2(modes, s=(64, 64)), TRAIN, SIMULATION)
    assert (found.ratio < found.threshold).all()
    assert found.count == 0


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(ValueError, match=r"maps have \(32, 32\) pixels, train has \(64, 64\)"):
        copies_in_maps(TRAIN[:2, :32, :32], TRAIN)
    with pytest.raises(ValueError, match="by 4 modes or more, found modes = 2"):
        copies_in_maps(TRAIN[:2], TRAIN, modes=2)
    with pytest.raises(
        ValueError, match="256 training maps need one simulation number each, found 100"
    ):
        copies_in_maps(TRAIN[:2], TRAIN, SIMULATION[:100])
