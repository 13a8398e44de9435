"""Sets larger than memory: lazily read, checksummed, appended, and whole whatever happens to their writer."""

import os
import pickle
import re
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

import lensnb.store.reading
import lensnb.store.writing
from lensnb.data import MapSet, block_average, tiles
from lensnb.readers import convert, open_maps, save_zarr
from lensnb.store import MapWriter, StoredMaps, pieces
from lensnb.store.reading import check_pixels

zarr = pytest.importorskip("zarr")
LocalStore = zarr.storage.LocalStore


def kappa(count: int, n: int = 8, seed: int = 0, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, (count, n, n)).astype(dtype)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Four maps of 8 × 8 pixels a chunk."""
    monkeypatch.setattr(lensnb.store.reading, "PIECE", 4 * 8 * 8)


@pytest.fixture
def stored(tmp_path) -> Path:
    """Ten maps of three simulations, in three chunks, of which the last has room for two more."""
    with MapWriter(tmp_path / "set.zarr", 5.0, 1.0, {"made": "here"}) as writer:
        writer.append(kappa(10), [3, 3, 3, 3, 7, 7, 7, 1, 1, 1])
    return tmp_path / "set.zarr"


# ---------------------------------------------------------------- reading


def test_a_set_comes_back_as_it_was_written(stored):
    maps = open_maps(stored)
    assert (
        isinstance(maps.maps, StoredMaps)
        and maps.maps.shape == (10, 8, 8)
        and maps.maps.dtype == np.float32
    )
    np.testing.assert_array_equal(maps.maps, kappa(10))
    assert maps.simulation.tolist() == [3, 3, 3, 3, 7, 7, 7, 1, 1, 1]
    assert (maps.side_deg, maps.z_source, maps.provenance["made"]) == (5, 1, "here")
    assert sorted(path.name for path in (stored / "maps").iterdir()) == [
        "0.0.0",
        "1.0.0",
        "2.0.0",
        "zarr.json",
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("labels", [[5, 5, 5, 2, 2], ["a/b", "a/b", "c", "c", "c"]])
def test_dtype_and_labels_are_kept(tmp_path, dtype, labels):
    before = MapSet(kappa(5, dtype=dtype), 5.0, simulation=np.array(labels))
    save_zarr(before, tmp_path / "set.zarr")
    after = open_maps(tmp_path / "set.zarr")
    assert after.maps.dtype == dtype and after.simulation.tolist() == labels
    np.testing.assert_array_equal(after.maps, before.maps)


def test_any_reader_of_zarr_opens_it(stored):
    group = zarr.open_group(str(stored), mode="r")
    np.testing.assert_array_equal(group["maps"][:], kappa(10))
    assert (
        group["simulation"][:].tolist() == [3, 3, 3, 3, 7, 7, 7, 1, 1, 1]
        and group.attrs["side_deg"] == 5
    )


INDICES = [
    slice(None), slice(2, 9, 3), slice(None, None, -1), slice(4, 4), [7, 0, 7, 3], np.arange(10) % 3 == 0, [],
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_parts_are_those_of_an_array_and_read_nothing(stored, index, monkeypatch):
    maps, array = open_maps(stored).maps, kappa(10)
    index = np.array(index, int) if isinstance(index, list) else index
    with monkeypatch.context() as patch:
        patch.setattr(StoredMaps, "_read", None)
        part = maps[index][::-1]
    assert (
        isinstance(part, StoredMaps)
        and part.shape == array[index].shape
        and len(part) == len(array[index])
    )
    np.testing.assert_array_equal(part, array[index][::-1])


def test_what_is_picked_out_is_read(stored):
    maps, array = open_maps(stored).maps, kappa(10)
    for pick in (
        np.s_[3],
        np.s_[-1],
        np.int64(9),
        np.s_[:, ::2],
        np.s_[2, 1:3],
        np.s_[1:4, :, 0],
        np.s_[..., 0],
        np.s_[None, 2],
    ):
        assert isinstance(maps[pick], np.ndarray)
        np.testing.assert_array_equal(maps[pick], array[pick])
    np.testing.assert_array_equal([one for one in maps], array)
    with pytest.raises(IndexError):
        maps[10]


def test_what_was_read_can_be_changed_without_changing_the_set(stored):
    maps = open_maps(stored).maps
    maps[0][:] = 1
    for part in (
        slice(2),
        slice(4),
        slice(4),
        slice(8, 10),
    ):  # of a chunk, a chunk again and again, the last
        np.asarray(maps[part])[:] = 1
    np.testing.assert_array_equal(maps, kappa(10))


def test_what_was_read_of_an_array_of_views_can_be_changed_too():
    array = kappa(10)
    maps = StoredMaps(array, "maps.npy")
    np.asarray(maps[:4])[:] = 1
    np.testing.assert_array_equal(array, kappa(10))


def test_going_through_in_order_reads_each_chunk_once(stored, monkeypatch):
    maps, read = open_maps(stored), []
    whole = StoredMaps._whole
    monkeypatch.setattr(
        StoredMaps, "_whole", lambda self, *at: read.append(at) or whole(self, *at)
    )
    part = maps[maps.simulation != 7].maps
    for _ in part:
        pass
    assert read == [(0, 4), (4, 8), (8, 10)]
    read.clear()
    assert [len(piece) for _, piece in pieces(part)] == [4, 3]
    assert read == [(0, 4), (4, 8), (8, 10)]


def test_a_split_is_that_of_the_set_in_memory(stored):
    there = open_maps(stored)
    here = MapSet(kappa(10), 5.0, 1.0, there.simulation)
    for a, b in zip(
        there.split(1 / 3, 1 / 3, 1 / 3, seed=2), here.split(1 / 3, 1 / 3, 1 / 3, seed=2)
    ):
        assert isinstance(a.maps, StoredMaps) and a.simulation.tolist() == b.simulation.tolist()
        assert torch.equal(a.tensor(), b.tensor())


def test_everything_a_set_can_do(stored, tmp_path):
    there, here = open_maps(stored), MapSet(kappa(10), 5.0, 1.0)
    assert "10 maps of 8 × 8" in repr(there) and "base64" in there._repr_html_()
    for change in (lambda s: block_average(s, 2), lambda s: tiles(s, 3)):
        np.testing.assert_array_equal(change(there).maps, change(here).maps)
    np.testing.assert_array_equal(MapSet.load(there.save(tmp_path / "set.npz")).maps, here.maps)
    again = pickle.loads(pickle.dumps(there[3:]))
    np.testing.assert_array_equal(again.maps, here.maps[3:])
    assert len(pickle.dumps(there[3:])) < 5000  # the maps are not in it


def test_a_hundred_thousand_maps_are_opened_and_split_without_reading_one(tmp_path, monkeypatch):
    """The files of the maps are spoilt meanwhile."""
    monkeypatch.undo()
    maps = kappa(100_000, 4, dtype=np.float16)
    with MapWriter(tmp_path / "set.zarr", 5.0) as writer:
        writer.append(maps, np.arange(100_000) // 32)
    chunks = sorted((tmp_path / "set.zarr" / "maps").glob("[0-9]*"))
    good = [file.read_bytes() for file in chunks]
    for file in chunks:
        file.write_bytes(b"spoilt")
    found = open_maps(tmp_path / "set.zarr")
    train, truth = found.split(0.5, 0.5)
    assert chunks and len(train) + len(truth) == 100_000
    for file, content in zip(chunks, good):
        file.write_bytes(content)
    np.testing.assert_array_equal(found.maps[77_777], maps[77_777])


# ---------------------------------------------------------------- damage


def flipped(path: Path, at: int, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1 << bit
    path.write_bytes(raw)


def test_a_flipped_bit_anywhere_in_a_chunk_is_noticed(stored):
    path = stored / "maps" / "1.0.0"
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    places = {
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
        *range(len(raw) - 6, len(raw)),
        *rng.integers(len(raw), size=40),
    }
    for at in sorted(map(int, places)):
        for bit in range(8) if at < 12 else [at % 8]:  # every bit of the header
            flipped(path, at, bit)
            try:
                found = np.asarray(open_maps(stored).maps)
            except ValueError as error:
                assert re.fullmatch(
                    rf"{stored} is not a whole zarr folder \(its chunk maps/1\.0\.0: [^\n]+\)",
                    str(error),
                )
            else:  # a bit of the frame's header that says nothing of its content
                assert at < 12
                np.testing.assert_array_equal(found, kappa(10))
            path.write_bytes(raw)


@pytest.mark.parametrize("keep", [0, 1, 10, 500, -1])
def test_a_chunk_that_is_cut_off_is_noticed(stored, keep):
    path = stored / "maps" / "1.0.0"
    path.write_bytes(path.read_bytes()[:keep])
    maps = open_maps(stored).maps
    np.testing.assert_array_equal(maps[:4], kappa(10)[:4])  # the others can be read
    with pytest.raises(
        ValueError, match=r"set\.zarr is not a whole zarr folder \(its chunk maps/1\.0\.0: "
    ) as caught:
        maps[5]
    assert caught.value.__suppress_context__


def test_a_chunk_that_is_missing_is_noticed(stored):
    maps = open_maps(stored).maps
    (stored / "maps" / "1.0.0").unlink()
    with pytest.raises(
        ValueError,
        match=r"set\.zarr is not a whole zarr folder \(its chunk maps/1\.0\.0: it is missing",
    ):
        np.asarray(maps)
    with pytest.raises(ValueError, match="2 of the 3 chunks of its maps are there"):
        open_maps(stored)


def test_the_bad_chunk_among_many_small_ones_is_named(tmp_path):
    array = zarr.create_array(str(tmp_path / "maps.zarr"), data=kappa(9), chunks=(1, 8, 8))
    array.attrs["side_deg"] = 5.0
    maps = open_maps(tmp_path / "maps.zarr").maps
    assert maps.chunk == 4 and not maps.checked
    path = tmp_path / "maps.zarr" / "c/6/0/0"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(
        ValueError, match=r"maps\.zarr is not a whole zarr folder \(its chunk c/6/0/0: "
    ):
        np.asarray(maps)


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "value, words",
    [
        (np.nan, "1 pixels that are NaN or infinite, the first in map 6 of 10"),
        (-np.inf, "1 pixels that are NaN"),
        (50, ""),
    ],
)
def test_pixels_are_checked_when_they_are_written(tmp_path, dtype, value, words):
    maps = kappa(10, dtype=dtype)
    maps[6, 2, 3] = value
    with MapWriter(tmp_path / "set.zarr", 5.0) as writer:
        if words:
            with pytest.raises(ValueError, match=rf"set\.zarr has {words}"):
                writer.append(maps, 0)
            assert len(writer) == 0
        else:
            writer.append(maps, 0)  # a single bright pixel is no fault
            assert len(writer) == 10


def test_maps_that_cannot_be_kappa_are_refused(tmp_path):
    maps = kappa(10)
    maps[7] += 100
    with pytest.raises(
        ValueError, match=r"x\.npy cannot be κ: .* has the median 100 in map 12 of 15"
    ):
        check_pixels("x.npy", maps, 5, 15)


# ---------------------------------------------------------------- appending


def test_appending_piece_by_piece_is_as_writing_at_once(tmp_path, stored):
    maps, labels, at = kappa(10), np.array([3, 3, 3, 3, 7, 7, 7, 1, 1, 1]), 0
    for step, kind in (
        (1, torch.from_numpy),
        (0, np.array),
        (2, lambda m: m.astype(">f4")),
        (6, np.array),
        (1, np.array),
    ):
        with MapWriter(tmp_path / "steps.zarr", 5.0, 1.0, {"made": "here"}) as writer:
            writer.append(kind(maps[at : at + step]), labels[at : at + step])
        at += step
    files = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (stored, tmp_path / "steps.zarr")
    ]
    assert files[0] == files[1]


def test_names_are_numbered_as_they_come(tmp_path):
    for names in (["b", "b", "a"], ["a", "long/name"]):
        with MapWriter(tmp_path / "set.zarr", 5.0) as writer:
            writer.append(kappa(len(names)), names)
    assert open_maps(tmp_path / "set.zarr").simulation.tolist() == [
        "b",
        "b",
        "a",
        "a",
        "long/name",
    ]


def test_a_reader_sees_whole_chunks_while_a_writer_appends(tmp_path):
    path, seen = tmp_path / "set.zarr", []
    with MapWriter(path, 5.0) as writer:
        for i, one in enumerate(kappa(10)):
            writer.append(one[None], f"box {i}")
            if i >= 3:
                seen.append(open_maps(path))
        writer.flush()
        seen.append(open_maps(path))
        writer.append(kappa(2, seed=1), "more")  # into the chunk that was written half full
    assert [len(one) for one in seen] == [4, 4, 4, 4, 8, 8, 8, 10]
    for one in seen:
        np.testing.assert_array_equal(one.maps, kappa(10)[: len(one)])
        assert one.simulation.tolist() == [f"box {i}" for i in range(len(one))]


def test_no_two_writers_at_a_time(stored):
    pytest.importorskip("fcntl")
    with (
        MapWriter(stored, 5.0, 1.0),
        pytest.raises(ValueError, match="is being written by another process"),
    ):
        MapWriter(stored, 5.0, 1.0)
    MapWriter(stored, 5.0, 1.0).close()


REFUSED = {
    "no array": ([[0.0]], [0], r"has the shape \(1, 1\); expected \(maps, 8, 8\)"),
    "shape": (kappa(2, 4), [0, 0], r"has the shape \(2, 4, 4\); expected \(maps, 8, 8\)"),
    "one map": (kappa(2)[0], [0] * 8, r"has the shape \(8, 8\); expected \(maps, 8, 8\)"),
    "wider": (kappa(2, dtype=np.float64), [0, 0], "takes maps of float32, found float64"),
    "integers": (np.zeros((2, 8, 8), int), [0, 0], "takes maps of float32, found int64"),
    "labels": (
        kappa(2),
        [0, 0, 0],
        r"takes one simulation a map, 2 whole numbers or names, found int64 of the shape \(3,\)",
    ),
    "fractions": (
        kappa(2),
        [0.5, 0.5],
        "holds values of type float64; expected whole numbers or names of simulations",
    ),
    "names": (kappa(2), ["a", "b"], "has simulations with numbers, found names"),
}


@pytest.mark.parametrize("maps, labels, words", REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_and_changes_nothing(stored, maps, labels, words):
    with (
        MapWriter(stored, 5.0, 1.0) as writer,
        pytest.raises(ValueError, match=rf"set\.zarr {words}"),
    ):
        writer.append(maps, labels)
    np.testing.assert_array_equal(open_maps(stored).maps, kappa(10))


def test_another_set_is_refused(stored, tmp_path):
    with pytest.raises(
        ValueError, match=r"set\.zarr has side_deg = 5.0; expected maps with the same, not 10.0"
    ):
        MapWriter(stored, 10.0, 1.0)
    with pytest.raises(
        ValueError, match=r"set\.zarr has z_source = 1.0; expected maps with the same, not None"
    ):
        MapWriter(stored, 5.0)
    zarr.create_array(str(tmp_path / "other.zarr"), data=kappa(2))
    with pytest.raises(
        ValueError, match=r"other\.zarr is no set that lensnb wrote; expected one, or a new folder"
    ):
        MapWriter(tmp_path / "other.zarr", 5.0)
    with pytest.raises(ValueError, match=r"a folder that ends in \.zarr, found .*maps"):
        MapWriter(tmp_path / "maps", 5.0)


# ---------------------------------------------------------------- a writer that dies


def write_boxes(path: Path) -> None:
    """Ten maps, three at a time, from wherever an earlier writer stopped."""
    with MapWriter(path, 5.0) as writer:
        for at in range(len(writer), 10, 3):
            names = [f"box {i}" for i in range(at, min(at + 3, 10))]
            writer.append(kappa(10)[at : at + 3], names)
            writer.flush()


def length(path: Path) -> int:
    """How many maps a set has, after a look at them and at their labels."""
    if not path.exists():
        return 0
    if not zarr.open_group(str(path), mode="r")["maps"].shape[0]:
        return 0
    maps = open_maps(path)
    np.testing.assert_array_equal(maps.maps, kappa(10)[: len(maps)])
    assert maps.simulation.tolist() == [f"box {i}" for i in range(len(maps))]
    return len(maps)


def test_whichever_file_is_the_first_that_is_not_written(tmp_path, monkeypatch):
    """The set is whole as far as it goes, and the next writer goes on from there."""
    left, put = [], LocalStore.set
    for number in range(100):
        path = tmp_path / f"{number}.zarr"
        countdown = iter(range(number))

        async def dying(self, key, value, countdown=countdown):
            if next(countdown, None) is None:
                raise RuntimeError("dead")
            await put(self, key, value)

        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "set", dying)
            try:
                write_boxes(path)
                finished = True
            except RuntimeError:
                finished = False
        left.append(length(path))
        write_boxes(path)
        assert length(path) == 10
        if finished:
            break
    assert finished and left == sorted(left) and set(left) == {0, 3, 4, 6, 8, 9, 10}


KILLED = """
import os, signal, sys
import lensnb.store.reading
from test_store import write_boxes
from pathlib import Path
from zarr.storage import _local

lensnb.store.reading.PIECE = 4 * 8 * 8
put, wanted = _local._put, sys.argv[2]

def dying(path, value, exclusive=False):
    if str(path).endswith(wanted):
        path.with_suffix(".0123.partial").write_bytes(value.to_bytes()[:100])  # as far as it came
        os.kill(os.getpid(), signal.SIGKILL)
    return put(path, value, exclusive)

_local._put = dying
write_boxes(Path(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_writer_that_is_killed_while_it_writes_a_chunk(tmp_path):
    path, here = tmp_path / "set.zarr", Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here.parent}{os.pathsep}{here}"}
    done = subprocess.run([sys.executable, "-c", KILLED, path, "maps/2.0.0"], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert length(path) == 8 and list(path.rglob("*.partial"))
    write_boxes(path)
    assert length(path) == 10 and not list(path.rglob("*.partial"))


def test_a_writer_that_ends_between_the_lengths_of_conditions_and_maps_is_resumed(
    tmp_path, monkeypatch
):
    def write(path):
        with MapWriter(path, 5.0) as writer:
            for start in range(len(writer), 6, 3):
                rows = slice(start, start + 3)
                writer.append(kappa(6)[rows], start, {"numbers": kappa(6)[rows, 0, 0]})
                writer.flush()

    announce = lensnb.store.writing._Column.announce

    def dying(self, total):
        if self.array.ndim == 3 and total == 4:  # the chunk is full
            raise RuntimeError("dead")
        announce(self, total)

    path = tmp_path / "set.zarr"
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="dead"):
        patch.setattr(lensnb.store.writing._Column, "announce", dying)
        write(path)
    group = zarr.open_group(str(path), mode="r")
    assert group["maps"].shape[0] == 3 and group["given/numbers"].shape[0] == 4
    assert len(open_maps(path)) == 3
    write(path)
    resumed = open_maps(path)
    np.testing.assert_array_equal(resumed.maps, kappa(6))
    np.testing.assert_array_equal(resumed.given["numbers"], kappa(6)[:, 0, 0])


def test_a_writer_without_space_keeps_what_it_wrote(tmp_path, monkeypatch):
    put = LocalStore.set

    async def full(self, key, value):
        if key == "maps/1.0.0":
            raise OSError(28, "No space left on device")
        await put(self, key, value)

    monkeypatch.setattr(LocalStore, "set", full)
    with pytest.raises(
        OSError,
        match=r"could not write .*set\.zarr \(No space left on device\); the 4 maps before are",
    ):
        with MapWriter(tmp_path / "set.zarr", 5.0) as writer:
            writer.append(kappa(10), 0)
    np.testing.assert_array_equal(open_maps(tmp_path / "set.zarr").maps, kappa(10)[:4])


def test_a_writer_that_finds_space_again_goes_on(tmp_path, monkeypatch):
    async def full(self, key, value):
        raise OSError(28, "No space left on device")

    with MapWriter(tmp_path / "set.zarr", 5.0) as writer:
        writer.append(kappa(5), 0)
        with (
            monkeypatch.context() as patch,
            pytest.raises(OSError, match="the 4 maps before are intact"),
        ):
            patch.setattr(LocalStore, "set", full)
            writer.append(kappa(10)[5:8], 0)
        assert len(writer) == 8
        writer.append(kappa(10)[8:], 0)
    assert len(open_maps(tmp_path / "set.zarr")) == 10


# ---------------------------------------------------------------- from any format


def write_files(folder: Path) -> list[Path]:
    """Maps of 16 × 16 pixels: one file, many in one, an older zarr, big-endian, with labels of their own or none."""
    np.save(folder / "a.npy", kappa(1, 16)[0])
    np.save(folder / "b.npy", kappa(9, 16, 1, ">f4"))
    zarr.create_array(
        str(folder / "c.zarr"), data=kappa(6, 16, 2), chunks=(1, 16, 16), zarr_format=2
    )
    np.savez(folder / "d.npz", maps=kappa(3, 16, 3))
    return [folder / name for name in ("a.npy", "b.npy", "c.zarr", "d.npz")]


@pytest.mark.parametrize(
    "pixels, tile, labels",
    [
        (None, None, None),
        (8, None, np.arange(19) // 2),
        (None, 5, "each"),
        (8, 4, None),
        (8, 4, [f"box {i // 4}" for i in range(19)]),
    ],
)
def test_convert_gives_what_open_maps_gives(tmp_path, pixels, tile, labels):
    files = write_files(tmp_path)
    expected = open_maps(files, 5.0, 1.0, labels, pixels=pixels, tile=tile)
    found = convert(files, tmp_path / "set.zarr", 5.0, 1.0, labels, pixels=pixels, tile=tile)
    assert isinstance(found.maps, StoredMaps) and found.maps.dtype == expected.maps.dtype
    np.testing.assert_array_equal(found.maps, expected.maps)
    assert found.simulation.tolist() == expected.simulation.tolist()
    assert found.z_source == 1 and found.side_deg == expected.side_deg == 5 * (tile or 1) / (
        (pixels or 16) if tile else 1
    )
    kept = zarr.open_group(str(tmp_path / "set.zarr"), mode="r").attrs["provenance"]
    assert kept == expected.provenance and kept["files"] == ["a.npy", "b.npy", "c.zarr", "d.npz"]


def test_convert_keeps_the_labels_of_the_files(tmp_path):
    MapSet(kappa(5), 5.0, simulation=np.array([0, 0, 1, 1, 1])).save(tmp_path / "a.npz")
    save_zarr(MapSet(kappa(3), 5.0, simulation=np.array([2, 2, 3])), tmp_path / "b.zarr")
    assert convert(
        [tmp_path / "a.npz", tmp_path / "b.zarr"], tmp_path / "c.zarr"
    ).simulation.tolist() == [
        0,
        0,
        1,
        1,
        1,
        2,
        2,
        3,
    ]
    for name, files in (("d", ["a.npz", "c.zarr"]), ("e", ["a.npz", "a.npz"])):
        with pytest.raises(ValueError, match="has simulation 0 of an earlier file"):
            convert([tmp_path / file for file in files], tmp_path / f"{name}.zarr")
    np.save(tmp_path / "none.npy", kappa(2))
    with pytest.raises(
        ValueError,
        match="none.npy does not say the simulation of its maps but others do; expected simulation=",
    ):
        convert([tmp_path / "none.npy", tmp_path / "a.npz"], tmp_path / "f.zarr", 5.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.npz",
        "b.zarr",
        "c.zarr",
        "none.npy",
    ]


def test_convert_holds_one_file_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(lensnb.store.reading, "PIECE", 2**16)
    for i in range(8):
        np.savez(tmp_path / f"{i}.npz", maps=kappa(64, 64, i))  # 1 MB
    tracemalloc.start()
    try:
        convert(str(tmp_path / "*.npz"), tmp_path / "set.zarr", 5.0)
        assert 1 < tracemalloc.get_traced_memory()[1] / (64**3 * 4) < 4  # of eight
    finally:
        tracemalloc.stop()


def nan_at(folder: Path, number: int) -> Path:
    maps = kappa(20)
    maps[number, 1, 1] = np.nan
    np.save(folder / "nan.npy", maps)
    return folder / "nan.npy"


def of(folder: Path, name: str, array: np.ndarray) -> Path:
    np.save(folder / name, array)
    return folder / name


UNCONVERTED = {
    "NaN": (
        lambda p: [nan_at(p, 17)],
        {},
        r"nan\.npy has 1 pixels that are NaN .* in map 17 of 20 ",
    ),
    "few labels": (
        lambda p: [of(p, "a.npy", kappa(9))],
        {"simulation": [1] * 8},
        r"simulation has the shape \(8,\); expected \(9,\)",
    ),
    "many labels": (
        lambda p: [of(p, "a.npy", kappa(9))],
        {"simulation": [1] * 10},
        r"the shape \(10,\); expected \(9,\)",
    ),
    "wider": (
        lambda p: [of(p, "a.npy", kappa(2)), of(p, "b.npy", kappa(2).astype(float))],
        {},
        r"b\.npy holds float64; expected float32, as the files before it",
    ),
    "larger": (
        lambda p: [of(p, "a.npy", kappa(2)), of(p, "b.npy", kappa(2, 16))],
        {},
        r"b\.npy has maps of 16 × 16 pixels over 5°; expected 8 × 8 .*a\.npy",
    ),
}


@pytest.mark.parametrize("make, keywords, words", UNCONVERTED.values(), ids=UNCONVERTED.keys())
def test_what_cannot_be_converted_leaves_nothing(tmp_path, make, keywords, words):
    files = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=words):
        convert(files, tmp_path / "set.zarr", 5.0, **keywords)
    assert sorted(tmp_path.iterdir()) == before


def test_convert_does_not_replace_a_set(stored, tmp_path):
    np.save(tmp_path / "a.npy", kappa(2))
    with pytest.raises(FileExistsError, match=r"set\.zarr exists; expected a new folder"):
        convert(tmp_path / "a.npy", stored, 5.0)


# ---------------------------------------------------------------- memory

WITHIN = """
import resource, sys, threading
from pathlib import Path

threading.stack_size(2**18)
import numpy as np
import torch
import zarr

import lensnb.store.reading
from lensnb.data import random_symmetry
from lensnb.ensemble import StreamingEnsemble, measured
from lensnb.models import Flow
from lensnb.readers import convert, open_maps
from lensnb.stats import suite
from lensnb.store import MapWriter
from lensnb.train import Checks, Settings, fit, streaming
from lensnb.transform import KappaTransform

lensnb.store.reading.PIECE, streaming.BLOCK = 2**18, 2**21  # a sixteenth and a thirty-second
folder, few, many, n = Path(sys.argv[1]), 2_000, 60_000, 32


def everything(folder, count):
    piece = np.random.default_rng(0).normal(0, 0.01, (1000, n, n)).astype(np.float32)
    with MapWriter(folder / "made.zarr", 5.0) as writer:
        for i in range(count // len(piece)):
            writer.append(piece * (1 + i / 1000), np.arange(1000) // 10 + 100 * i)
    maps = convert(folder / "made.zarr", folder / "set.zarr")
    train, truth, null = maps.split(0.5, 0.25, 0.25)
    statistics, ensemble = suite(truth[:256].tensor(), 5.0, ["power"]), StreamingEnsemble()
    for vectors, labels in measured(statistics, truth):
        ensemble.update(vectors["power"], labels)
    assert len(ensemble) == len(truth) == count // 4
    torch.manual_seed(0)
    model = Flow(n, KappaTransform.fit(train[:256].tensor()), steps=2, hidden=4)
    steps = len(train) // 250 + 1  # an epoch
    settings = Settings(steps, batch=250, augment=random_symmetry)
    list(fit(model, train, settings, checks=Checks(every=steps), device="cpu", folder=folder))
    return maps


everything(folder / "few", few)  # what is made once: threads, caches
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[2]),) * 2)
maps = everything(folder / "many", many)
print(len(maps) * n * n * 4)
try:
    maps.tensor()
except (MemoryError, RuntimeError) as error:
    print("too much")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is Linux's")
def test_sets_of_several_times_the_memory(tmp_path):
    """Made, converted, split, measured and trained on within 50 MB; 250 MB, read at once, do not fit into them."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", WITHIN, str(tmp_path), str(50 * 2**20)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size, words = done.stdout.splitlines()
    assert int(size) > 4 * 50 * 2**20 and words == "too much"
