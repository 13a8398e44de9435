"""Files that appear when they are whole, with usual permissions; one writer at a time; nothing that is left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANGS

from lensnb.files import (
    InUse,
    atomic_folder,
    atomic_write,
    lock,
    locked,
    read_checkpoint,
    unlock,
)

KILLED = """
import os, sys
from lensnb.files import atomic_folder, atomic_write
with {kind}(sys.argv[1]) as part:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("umask, mode", [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    (tmp_path / "a").touch(mode=0o640)
    (tmp_path / "a").chmod(0o640)
    with atomic_write(tmp_path / "a") as file:
        file.write(b"1")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("kind", ["atomic_write", "atomic_folder"])
def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path, kind):
    subprocess.run(
        [sys.executable, "-c", KILLED.format(kind=kind), tmp_path / "a [1]"], timeout=HANGS
    )
    left = sorted(path.suffix for path in tmp_path.iterdir())
    assert left == {"atomic_write": [".part"], "atomic_folder": [".lock", ".part"]}[kind]
    (tmp_path / "a [1].npy.part").touch()  # of something else
    if kind == "atomic_write":
        with atomic_write(tmp_path / "a [1]") as file:
            file.write(b"1")
    else:
        with atomic_folder(tmp_path / "a [1]") as folder:
            folder.mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a [1]", "a [1].npy.part"]


def test_two_writes_of_one_process_leave_each_other_alone(tmp_path):
    with atomic_write(tmp_path / "a") as first:
        first.write(b"1")
        with atomic_write(tmp_path / "a") as second:
            second.write(b"2")
        assert (tmp_path / "a").read_bytes() == b"2"
    assert (tmp_path / "a").read_bytes() == b"1"


def test_one_writer_at_a_time_and_no_file_is_left(tmp_path):
    for path in (tmp_path / "maps.npy", tmp_path):
        with locked(path), pytest.raises(InUse, match="is being written by another process"):
            lock(path)
        with locked(path):
            pass
    assert not list(tmp_path.iterdir())


def test_one_writer_of_a_folder_at_a_time(tmp_path):
    """The other one is refused before its work, and not after it."""
    path = tmp_path / "set.zarr"
    with atomic_folder(path) as part:
        part.mkdir()
        with pytest.raises(InUse, match="set.zarr is being written by another process"):
            with atomic_folder(path):
                pytest.fail("it began to write")
    assert path.is_dir() and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileExistsError, match="set.zarr exists; expected a new folder"):
        with atomic_folder(path):
            pytest.fail("it began to write")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no folder that takes no files here")
def test_where_no_lock_can_be_made_nobody_is_said_to_write():
    with pytest.raises(OSError, match="could not write /proc/y.npy"):
        with locked("/proc/y.npy"), atomic_write("/proc/y.npy"):
            pass


def test_a_lock_that_ends_while_another_process_asks_is_taken(tmp_path, monkeypatch):
    """The other process removes the file of its lock just before this one looks at it."""
    held = lock(tmp_path / "a")
    exists = Path.exists

    def ended(path):
        if held.is_locked and path.name == ".a.lock":
            unlock(held)
        return exists(path)

    monkeypatch.setattr(Path, "exists", ended)
    mine = lock(tmp_path / "a")
    assert mine.is_locked
    unlock(mine)


def test_a_lock_excludes_other_processes(tmp_path):
    held = lock(tmp_path)
    code = "import sys; from lensnb.files import lock; lock(sys.argv[1])"
    command = [sys.executable, "-c", code, tmp_path]
    other = subprocess.run(command, capture_output=True, text=True, timeout=HANGS)
    assert "InUse" in other.stderr
    unlock(held)
    assert subprocess.run(command, timeout=HANGS).returncode == 0


def test_a_folder_without_permission_is_not_locked(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with locked(tmp_path / "maps.npy"):
        pass
    tmp_path.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_checkpoint(tmp_path):
    """It would be read for ever."""
    os.mkfifo(tmp_path / "model.safetensors")
    for path in (tmp_path / "model.safetensors", tmp_path):
        with pytest.raises(ValueError, match="is no file; expected a checkpoint"):
            read_checkpoint(path)
