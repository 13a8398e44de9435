"""A conversion of many files that ends in the middle: what was written stays, and it resumes there."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lensnb.store.reading
from lensnb.maps import GaussianField
from lensnb.models import draw_set
from lensnb.readers import convert, converted, open_maps, series

zarr = pytest.importorskip("zarr", reason="no zarr: pip install 'lensnb[formats]'")

ROOT = Path(__file__).parents[1]
FOUR = 4 * 16**2  # pixels of four maps: a chunk, and a piece of a file


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(lensnb.store.reading, "PIECE", FOUR)


def kappa(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, (count, 32, 32)).astype(np.float32)


def write_files(folder: Path, count: int = 6) -> list[Path]:
    """Files of three maps; chunks of four begin and end within files."""
    files = []
    for number in range(count):
        files.append(folder / f"box_{number}.npy")
        np.save(files[-1], kappa(3, number))
    return files


def full_after(monkeypatch, chunks: int) -> None:
    """The disk is full when so many chunks of maps were written."""
    from zarr.storage import LocalStore

    put = LocalStore.set

    async def full(self, key, value):
        if key == f"maps/{chunks}.0.0":
            raise OSError(28, "No space left on device")
        await put(self, key, value)

    monkeypatch.setattr(LocalStore, "set", full)


def read_files(monkeypatch) -> list[str]:
    """The names of the files that are read from now on."""
    read = []
    find = series.find_format

    def noted(path, asked):
        if path.suffix != ".zarr":  # the set itself is opened
            read.append(path.name)
        return find(path, asked)

    monkeypatch.setattr(series, "find_format", noted)
    return read


def test_a_full_disk_costs_only_what_was_not_written(tmp_path, monkeypatch):
    """Eight of 18 maps are on disk: those of two files, and two of the third."""
    files, out = write_files(tmp_path), tmp_path / "set.zarr"
    how = {"side_deg": 5.0, "pixels": 16, "simulation": [f"box {i // 3}" for i in range(18)]}
    expected = open_maps(files, **how)
    with monkeypatch.context() as patch:
        full_after(patch, 2)
        with pytest.raises(OSError, match=r"\(No space left on device\).*resumes after these 8 m"):
            convert(files, out, **how)
    assert not out.exists()
    read = read_files(monkeypatch)
    found = convert(files, out, **how)
    assert read == [file.name for file in files[2:]]
    np.testing.assert_array_equal(found.maps, expected.maps)
    assert found.simulation.tolist() == expected.simulation.tolist()
    kept = zarr.open_group(str(out), mode="r").attrs["provenance"]
    assert kept["files"] == [file.name for file in files]
    assert sorted(tmp_path.glob("*.part")) == []


def test_tiles_of_one_large_file_resume_within_it(tmp_path, monkeypatch):
    np.save(tmp_path / "large.npy", kappa(20, 0))
    how = {"side_deg": 5.0, "tile": 16, "simulation": "each"}
    expected = open_maps(tmp_path / "large.npy", **how)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="after these 12 maps"):
        full_after(patch, 3)
        convert(tmp_path / "large.npy", tmp_path / "set.zarr", **how)
    found = convert(tmp_path / "large.npy", tmp_path / "set.zarr", **how)
    np.testing.assert_array_equal(found.maps, expected.maps)
    assert found.simulation.tolist() == list(range(80))


KILLED = """
import os, signal, sys
import lensnb.store.reading, lensnb.store.writing
from lensnb.readers import convert
lensnb.store.reading.PIECE = int(sys.argv[1])
write = lensnb.store.writing.MapWriter._commit
def killed(self):
    write(self)
    if self._maps.shape[0] == 8:
        os.kill(os.getpid(), signal.SIGKILL)
lensnb.store.writing.MapWriter._commit = killed
convert(sys.argv[2] + "/box_*.npy", sys.argv[2] + "/set.zarr", 5.0, pixels=16)
"""


def test_a_killed_conversion_resumes(tmp_path, monkeypatch):
    """As at the time limit of a cluster, without any warning."""
    files = write_files(tmp_path)
    command = [sys.executable, "-c", KILLED, str(FOUR), str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL
    read = read_files(monkeypatch)
    found = convert(str(tmp_path / "box_*.npy"), tmp_path / "set.zarr", 5.0, pixels=16)
    assert read == [file.name for file in files[2:]]
    np.testing.assert_array_equal(found.maps, open_maps(files, 5.0, pixels=16).maps)


def begun(folder: Path, monkeypatch) -> list[Path]:
    """Files of a conversion that did not end."""
    files = write_files(folder)
    with monkeypatch.context() as patch, pytest.raises(OSError):
        full_after(patch, 2)
        convert(files, folder / "set.zarr", 5.0, pixels=16)
    return files


def test_what_resumes_must_be_the_same_conversion(tmp_path, monkeypatch):
    files = begun(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="unfinished conversion with other options; expected the"):
        convert(files, tmp_path / "set.zarr", 5.0, pixels=8)
    with pytest.raises(ValueError, match="conversion of other files, such as another box_0.npy"):
        convert(files[1:], tmp_path / "set.zarr", 5.0, pixels=16)
    kept = files[2].read_bytes()
    np.save(files[2], kappa(4, 0))  # of which two maps are on disk
    with pytest.raises(ValueError, match="such as another box_2.npy; expected the same, or"):
        convert(files, tmp_path / "set.zarr", 5.0, pixels=16)
    files[2].write_bytes(kept)
    np.save(files[0], kappa(4, 0))
    with pytest.raises(ValueError, match="of other files, such as another box_0.npy"):
        convert(files, tmp_path / "set.zarr", 5.0, pixels=16)


def test_a_bad_file_in_the_middle_can_be_replaced(tmp_path, monkeypatch):
    """It is refused by its name, and what was written before it stays."""
    files = write_files(tmp_path)
    whole = files[4].read_bytes()
    files[4].write_bytes(whole[:-100])
    for _ in range(2):  # a second try deletes nothing
        with pytest.raises(ValueError, match=r"box_4\.npy is not a whole"):
            convert(files, tmp_path / "set.zarr", 5.0, pixels=16)
    files[4].write_bytes(whole)
    read = read_files(monkeypatch)
    found = convert(files, tmp_path / "set.zarr", 5.0, pixels=16)
    assert "box_0.npy" not in read and len(found) == 18


@pytest.mark.parametrize("pixels", [None, 8])
@pytest.mark.parametrize("side, what", [(5.0, "16 × 16"), (10.0, "32 × 32 pixels over 10°")])
def test_files_of_two_resolutions_or_fields_are_refused(tmp_path, side, what, pixels):
    """Also where both could be averaged to the same pixels."""
    np.savez(tmp_path / "a.npz", maps=kappa(2, 0), side_deg=5.0)
    other = kappa(2, 1)
    if side == 5:
        other = other[:, :16, :16]
    np.savez(tmp_path / "b.npz", maps=other, side_deg=side)
    with pytest.raises(
        ValueError, match=rf"b\.npz has maps of {what}.*; expected 32 × 32 .*a\.npz"
    ):
        convert(str(tmp_path / "*.npz"), tmp_path / "set.zarr", pixels=pixels)
    assert not (tmp_path / "set.zarr").exists()


def test_a_set_is_made_once(tmp_path, monkeypatch):
    """The second call opens it; other files or options are refused, and not mixed with it."""
    write_files(tmp_path)
    pattern, out = str(tmp_path / "box_*.npy"), tmp_path / "run" / "maps.zarr"
    first = converted(pattern, out, 5.0, pixels=16)
    read = read_files(monkeypatch)
    again = converted(pattern, out, 5.0, pixels=16)
    assert read == [] and len(again) == len(first) == 18
    with pytest.raises(ValueError, match="maps.zarr was made with another pixels; expected the"):
        converted(pattern, out, 5.0, pixels=8)
    with pytest.raises(ValueError, match="was made with another files and side_deg; expected the"):
        converted(str(tmp_path / "box_1.npy"), out, 10.0, pixels=16)


def test_a_drawing_resumes_after_a_full_disk(tmp_path, monkeypatch):
    """In the middle of many maps: those that were written stay, and the others are the same."""
    monkeypatch.setattr("lensnb.models.drawing_sets._BLOCK_PIXELS", FOUR)
    field = GaussianField.white(16)
    whole = open_maps(draw_set(field, 18, tmp_path / "whole.zarr", 5.0)).maps
    with monkeypatch.context() as patch, pytest.raises(OSError, match="the 8 maps before are int"):
        full_after(patch, 2)
        draw_set(field, 18, tmp_path / "drawn.zarr", 5.0)
    assert len(open_maps(tmp_path / "drawn.zarr")) == 8
    found = open_maps(draw_set(field, 18, tmp_path / "drawn.zarr", 5.0)).maps
    np.testing.assert_array_equal(found, whole)


@pytest.mark.nightly
def test_files_of_full_size_are_measured(tmp_path):
    """One line of sight and one sky; 0.6 GB on the disk, which is given back."""
    output = tmp_path / "page.md"
    options = ["--lines", "1", "--skies", "1", "--maps", "64", "--output", str(output)]
    command = [sys.executable, str(ROOT / "benchmarks/full_size.py"), str(tmp_path / "files")]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    shutil.rmtree(tmp_path / "files")
    assert done.returncode == 0, done.stderr
    text = output.read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*\d (?:s|ms) \|", text, re.M)
    assert len(rows) == 4 and "All 954 lines of sight:" in text
    memory = [float(one) for one in re.findall(r"(\d+\.\d+) GB", text)]
    assert max(memory) < 2
