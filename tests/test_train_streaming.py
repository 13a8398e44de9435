"""Training from maps on disk: random, whole chunks, and resumed bit for bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_train import (
    HELD_OUT,
    MAPS,
    assert_equal,
    build,
    interrupt_at,
    run,
    weights,
    without_time,
)

import lensnb.store.reading
from lensnb.data import MapSet
from lensnb.files import read_checkpoint
from lensnb.readers import open_maps, save_zarr
from lensnb.store import StoredMaps
from lensnb.train import loop, streaming
from lensnb.train.state import fingerprint

pytest.importorskip("zarr")


def small(monkeypatch) -> None:
    """Two maps of 16 × 16 pixels a chunk, three chunks a block."""
    monkeypatch.setattr(lensnb.store.reading, "PIECE", 2 * 16 * 16)
    monkeypatch.setattr(streaming, "BLOCK", 6 * 16 * 16)


@pytest.fixture
def stored(tmp_path, monkeypatch) -> MapSet:
    """The twenty training maps on disk, two of each simulation."""
    small(monkeypatch)
    save_zarr(MapSet(MAPS, 5.0, simulation=np.arange(20) // 2), tmp_path / "set.zarr")
    return open_maps(tmp_path / "set.zarr")


def stream(maps: StoredMaps, seed: int = 3) -> streaming.Stream:
    source = streaming.TrainingSet(maps, {})
    return streaming.Stream(source, lambda epoch: loop._epoch(seed, epoch))


def which(maps: torch.Tensor) -> list[int]:
    """The numbers of maps among the training maps."""
    return [int((MAPS == one).all((1, 2)).nonzero()) for one in maps]


def test_every_epoch_has_every_map_once_in_another_order(stored):
    drawn = which(torch.cat([stream(stored.maps).take(4 * i, 4).maps for i in range(15)]))
    epochs = [drawn[at : at + 20] for at in (0, 20, 40)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != list(range(20))
    assert which(stream(stored.maps, seed=4).take(0, 20).maps) != epochs[0]


def test_a_batch_does_not_depend_on_those_before_it(stored):
    """Nor on its size: it may straddle blocks and epochs."""
    one = stream(stored.maps)
    expected = torch.cat([one.take(i, 1).maps for i in range(60)])
    assert torch.equal(torch.cat([one.take(7 * i, 7).maps for i in range(8)]), expected[:56])
    for start, count in ((17, 9), (5, 3), (0, 60)):
        assert torch.equal(
            stream(stored.maps).take(start, count).maps, expected[start : start + count]
        )


def test_a_block_mixes_three_chunks_and_reads_each_once(stored, monkeypatch):
    read, whole = [], StoredMaps._whole
    monkeypatch.setattr(
        StoredMaps, "_whole", lambda self, *at: read.append(at[0] // 2) or whole(self, *at)
    )
    one, neighbours = stream(stored.maps), 0
    for block in range(3):
        drawn = which(torch.cat([one.take(6 * block + 2 * i, 2).maps for i in range(3)]))
        chunks = {i // 2 for i in drawn}
        assert len(chunks) == 3 and set(read[-3:]) == chunks
        neighbours += sum(a // 2 == b // 2 for a, b in zip(drawn[::2], drawn[1::2]))
    assert len(read) == len(set(read)) == 9
    assert neighbours < 9  # not chunk after chunk


def test_part_of_a_set_is_streamed_too(stored):
    part = stored[np.isin(stored.simulation, [0, 2, 3, 5, 8, 9])]
    drawn = which(stream(part.maps[::-1][:11]).take(0, 11).maps)
    assert sorted(drawn) == [1, 4, 5, 6, 7, 10, 11, 16, 17, 18, 19]


@pytest.mark.parametrize("family", ["flow", "diffusion"])
def test_a_streamed_training_goes_on_bit_for_bit(tmp_path, stored, family):
    expected, model = build(family), build(family)
    whole = run(expected, maps=stored, validation=HELD_OUT)
    run(build(family), tmp_path / "run", maps=stored, validation=HELD_OUT, augment=interrupt_at(7))
    again = run(
        model, tmp_path / "run", maps=open_maps(tmp_path / "set.zarr"), validation=HELD_OUT
    )
    assert_equal(weights(model), weights(expected))
    assert without_time(again)[-1] == without_time(whole)[-1]


KILLED = """
import sys, time
import pytest
from test_train import build, random_symmetry, run
from test_train_streaming import small
from lensnb.readers import open_maps
import functools

small(pytest.MonkeyPatch())
calls = []

@functools.wraps(random_symmetry)
def hang(maps, generator):
    calls.append(None)
    if len(calls) == 9:
        print("ready", flush=True)
        time.sleep(1000)
    return random_symmetry(maps, generator)

run(build(), sys.argv[2], maps=open_maps(sys.argv[1]), augment=hang)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_streamed_training_that_was_killed_goes_on_bit_for_bit(tmp_path, stored):
    expected, model, here = build(), build(), Path(__file__).parent
    run(expected, maps=stored)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "set.zarr"), str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": f"{here.parent}{os.pathsep}{here}"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert (
        read_checkpoint(tmp_path / "run" / "training.safetensors")[1]["step"] == 6
    )  # 8 steps were made
    run(model, tmp_path / "run", maps=stored)
    assert_equal(weights(model), weights(expected))


def test_a_set_that_fits_into_memory_is_trained_on_as_ever(stored, monkeypatch):
    """The same numbers, whether as a tensor, as a set in memory or as a set on disk."""
    monkeypatch.setattr(streaming, "BLOCK", 20 * 16 * 16)
    models = [build() for _ in range(3)]
    for model, maps in zip(models, (MAPS, MapSet(MAPS, 5.0), stored)):
        run(model, maps=maps)
    assert_equal(weights(models[1]), weights(models[0]))
    assert_equal(weights(models[2]), weights(models[0]))


def test_a_streamed_training_is_not_resumed_on_other_maps(tmp_path, stored):
    run(build(), tmp_path / "run", maps=stored[2:], augment=interrupt_at(5))
    with pytest.raises(ValueError, match="belongs to a training with other settings, data = "):
        run(build(), tmp_path / "run", maps=stored[:-2])
    save_zarr(MapSet(MAPS * 1.01, 5.0), tmp_path / "other.zarr")
    assert fingerprint(open_maps(tmp_path / "other.zarr").maps) != fingerprint(stored.maps)
    assert fingerprint(open_maps(tmp_path / "set.zarr").maps) == fingerprint(stored.maps)
