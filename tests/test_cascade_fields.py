"""A cascade of fields that are cut out of wider maps, and of many files; a time limit; processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from waiting import HANGS, wait_until

from lensnb import models
from lensnb.__main__ import main
from lensnb.commands import cascade, level_maps
from lensnb.commands.level_trainings import CascadePlan
from lensnb.data import MapSet, random_field, tiles
from lensnb.files import read_checkpoint
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.models.averages import averaged
from lensnb.train import Settings

ROOT = Path(__file__).parents[1]
FIELD = GaussianField.from_power(
    MapGrid(64, 10.0), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wide_maps(count: int = 16, n: int = 64) -> MapSet:
    """Lognormal maps of n² pixels over 10°, two of each simulation."""
    kappa = LognormalField.from_correlation(FIELD.variance, 0.03).sample(count, seeded(1))
    kappa = averaged(kappa, 64 // n)
    return MapSet(kappa.numpy(), 10.0, 1.0, np.arange(count) // 2)


# ---------------------------------------------------------------- fields


def test_a_cascade_of_fields_out_of_wider_maps(tmp_path):
    """All levels draw fields of 5°; training and validation see fields of 5° only."""
    maps = wide_maps(n=32)
    plan = CascadePlan.begin(tmp_path, maps, 8, 16, held_out=0.25, field_deg=5)
    assert list(plan.families) == [8, 16] and plan.field == 16
    for side in plan.families:
        assert np.isfinite(list(plan.train(side, Settings(2, 4)))[-1]["validation"])
    path = plan.join()
    assert models.load(path).sample(2, seeded(1)).shape == (2, 16, 16)
    assert read_checkpoint(path)[1]["side_deg"] == 5
    _, header = read_checkpoint(plan.folder_of(8) / "model.safetensors")
    assert header["settings"]["augment"] == "random_field(n=16)"
    with pytest.raises(ValueError, match="of another levels and crop and field that is cut"):
        CascadePlan.begin(tmp_path, maps, 8, held_out=0.25)


def test_fields_of_a_coarse_level_have_four_places_a_pixel(monkeypatch):
    """256² over 10° for 8² over 5°: 64² are enough. What does not fit into memory is not averaged."""
    maps = MapSet(np.zeros((2, 256, 256), np.float32), 10.0)
    assert [level_maps.reduced_side(maps, 128, side) for side in (8, 32, 128)] == [64, 256, 256]
    assert level_maps.reduced_side(maps, 256, 8) == 8
    odd = MapSet(np.zeros((2, 250, 250), np.float32), 10.0)
    assert level_maps.reduced_side(odd, 128, 8) == 125
    monkeypatch.setattr(level_maps, "_HELD", 2 * 64**2 - 1)
    assert level_maps.reduced_side(maps, 128, 8) == 256


def test_held_out_fields_are_tiles(monkeypatch):
    maps = wide_maps(6)
    expected = averaged(tiles(maps, 32).tensor(), 2)
    torch.testing.assert_close(level_maps.fixed_tiles(maps, 32, 16), expected)
    two = MapSet(np.stack([maps.maps, 2 * maps.maps], 1), 10.0, (0.5, 1.0))
    torch.testing.assert_close(level_maps.fixed_tiles(two, 32, 16)[:, 1], 2 * expected)
    monkeypatch.setattr(level_maps, "_HELD", 2 * 4 * 16**2)
    ends = torch.cat([expected[:4], expected[-4:]])  # two maps, from all parts of the set
    torch.testing.assert_close(level_maps.fixed_tiles(maps, 32, 16), ends)


def test_random_fields_are_anywhere_and_turned():
    """From one map of distinct pixels: 3 × 3 places, 8 symmetries. With another seed, 2,000 fields
    miss one of these 72 with probability 6e-11.
    """
    numbers = torch.arange(64.0).reshape(1, 8, 8)
    fields = random_field(numbers.expand(2_000, 8, 8), seeded(0), n=6)
    assert fields.shape == (2_000, 6, 6)
    kinds = {tuple(one[:2, :2].flatten().tolist()) for one in fields}
    assert len(kinds) == 3 * 3 * 8
    steps = (fields[:, 0, 1:] - fields[:, 0, :-1]).abs().unique().tolist()
    assert steps == [1, 8]  # neighbours stay neighbours


def test_fields_that_do_not_fit_are_refused(tmp_path):
    maps = wide_maps(2)
    for field, words in (
        (12.0, "a field of 12° cannot be cut out of maps of 10°; expected a side up to"),
        (3.3, "a field of 3.3° has 21.12 pixels of maps of 64² pixels over 10°; expected a"),
        (7.5, "a cascade from 8² pixels has maps of 16², 32², … pixels, found 48²"),
    ):
        with pytest.raises(ValueError, match=words):
            CascadePlan.begin(tmp_path, maps, 8, field_deg=field)
    with pytest.raises(ValueError, match="a crop of 48² pixels is larger than the maps, 32²"):
        CascadePlan.begin(tmp_path, maps, 8, 48, field_deg=5)
    with pytest.raises(ValueError, match="a crop of 16² pixels is all rim; expected at least 20"):
        CascadePlan.begin(tmp_path, maps, 8, 16, field_deg=5)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- the command


def write_files(folder: Path) -> str:
    """A file for each of four simulations; their pattern."""
    maps = wide_maps(8)
    for number in range(4):
        own = maps[maps.simulation == number]
        np.savez(
            folder / f"box_{number}.npz", maps=own.maps, side_deg=10.0, simulation=[number] * 2
        )
    return str(folder / "box_*.npz")


def words_of(pattern: str, folder: Path, *more: str) -> list[str]:
    usual = ["--steps", "3", "--batch", "4", "--every", "1", "--device", "cpu", "--seed", "1"]
    return ["cascade", pattern, str(folder), *usual, "--pixels", "32", "--field-deg", "5", *more]


def test_files_are_averaged_once_for_all_levels(tmp_path, capsys):
    pytest.importorskip("zarr", reason="no zarr: pip install 'lensnb[formats]'")
    pattern, folder = write_files(tmp_path), tmp_path / "run"
    assert main(words_of(pattern, folder, "--only", "8")) == 0
    made = (folder / "maps.zarr").stat().st_mtime_ns
    assert main(words_of(pattern, folder)) == 0
    assert (folder / "maps.zarr").stat().st_mtime_ns == made
    cascade_file = folder / "cascade.safetensors"
    assert f"wrote {cascade_file}" in capsys.readouterr().out
    assert models.load(cascade_file).sides == [8, 16]
    assert json.loads((folder / "maps.json").read_text())["pixels"] == "32"
    assert main([*words_of(pattern, folder), "--pixels", "64"]) == 1
    assert "maps.zarr was made with another pixels; expected the same" in capsys.readouterr().err


def test_a_time_limit_saves_the_training_and_ends_as_unfinished(tmp_path, monkeypatch, capsys):
    """SIGUSR1 comes after the first record of the second level, and the third is not begun."""
    wide_maps().save(tmp_path / "maps.npz")
    words = words_of(str(tmp_path / "maps.npz"), tmp_path / "run", "--crop", "20")
    words[words.index("--pixels") + 1] = "64"
    pytest.importorskip("zarr", reason="no zarr: pip install 'lensnb[formats]'")
    line = cascade._line

    def signalled(side: int, record: dict) -> str:
        if side == 16 and record["step"] == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return line(side, record)

    before = signal.getsignal(signal.SIGUSR1)
    with monkeypatch.context() as patch:
        patch.setattr(cascade, "_line", signalled)
        assert main(words) == 75
    assert "was stopped by SIGUSR1; what was saved stays" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGUSR1) == before
    _, header = read_checkpoint(tmp_path / "run" / "level_16" / "training.safetensors")
    assert header["step"] == 1 and not (tmp_path / "run" / "level_32").exists()
    assert main(words) == 0
    assert "16², step 1," in capsys.readouterr().out  # the old record, and then the others


def test_maps_of_a_step_are_divided_evenly(tmp_path, monkeypatch, capsys):
    wide_maps().save(tmp_path / "maps.npz")
    words = ["cascade", str(tmp_path / "maps.npz"), str(tmp_path / "run"), "--field-deg", "5"]
    assert main([*words, "--batch", "6", "--accumulate", "4"]) == 1
    assert "6 maps of a step cannot be divided into 4 equal parts" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*words, "--processes", "2"]) == 1
    assert "expected no --processes beside it" in capsys.readouterr().err


# ---------------------------------------------------------------- processes of torchrun


def started(command: list[str], **how) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *command], env=environment, text=True, stdout=subprocess.PIPE, **how
    )


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lensnb"]


@pytest.mark.nightly
def test_two_processes_train_the_cascade_of_one(tmp_path):
    pytest.importorskip("zarr", reason="no zarr: pip install 'lensnb[formats]'")
    pattern = write_files(tmp_path)
    several = started([*TORCHRUN, *words_of(pattern, tmp_path / "two")])
    out, _ = several.communicate()
    assert several.returncode == 0 and out.count("wrote ") == 1 and out.count("16², step 2,") == 1
    assert main(words_of(pattern, tmp_path / "one", "--accumulate", "2")) == 0
    for side in (8, 16):
        files = [tmp_path / name / f"level_{side}/training.safetensors" for name in ("two", "one")]
        (two, _), (one, _) = (read_checkpoint(file) for file in files)
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.nightly
def test_two_processes_stop_at_a_time_limit_and_resume(tmp_path):
    """As the script for SLURM stops them: the signal goes to the children of torchrun."""
    psutil = pytest.importorskip("psutil")
    pytest.importorskip("zarr", reason="no zarr: pip install 'lensnb[formats]'")
    pattern, folder = write_files(tmp_path), tmp_path / "run"
    words = words_of(pattern, folder)
    words[words.index("--steps") + 1] = "100000"
    training = started([*TORCHRUN, *words], stderr=subprocess.PIPE)
    for line in training.stdout:  # a record: the first process trains
        if "8², step 3," in line:
            break
    for child in psutil.Process(training.pid).children():
        child.send_signal(signal.SIGUSR1)
    _, error = training.communicate()
    assert training.returncode != 0 and "was stopped by SIGUSR1" in error
    _, header = read_checkpoint(folder / "level_8" / "training.safetensors")
    assert header["step"] >= 3


# ---------------------------------------------------------------- the script for SLURM

SCRIPT = ROOT / "docs" / "large_maps.slurm"
FAKES = {
    # a training that saves itself at the signal; of several GPUs it is a child of torchrun
    "python": """#!/bin/bash
echo "$OMP_NUM_THREADS $*" > said
training() { trap 'echo saved > saved; exit 75' USR1; touch started; while :; do sleep 0.01; done; }
case "$*" in *torch.distributed.run*) training & wait $!; exit 1;; *) training;; esac
""",
    "scontrol": '#!/bin/bash\necho "$*" > requeued\n',
}


@pytest.mark.parametrize(
    "gpus, threads, status, command",
    [
        ("1", "8", 75, "-m lensnb cascade maps.zarr run --steps 9"),
        (
            "8",
            "1",
            1,
            "-m torch.distributed.run --standalone --nproc-per-node 8 -m lensnb cascade",
        ),
    ],
)
def test_a_job_saves_at_its_time_limit_and_goes_back_into_the_queue(
    tmp_path, gpus, threads, status, command
):
    if shutil.which("pkill") is None:
        pytest.skip("no pkill on this machine")
    for name, text in FAKES.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"SLURM_GPUS_ON_NODE": gpus, "SLURM_CPUS_PER_TASK": "8", "SLURM_JOB_ID": "17"}
    words = ["bash", str(SCRIPT), "maps.zarr", "run", "--steps", "9"]
    job = subprocess.Popen(words, cwd=tmp_path, env=environment)
    wait_until((tmp_path / "started").exists)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(HANGS) == status
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"
    assert (tmp_path / "said").read_text().startswith(f"{threads} {command}")


def test_a_job_that_ends_by_itself_is_not_requeued(tmp_path):
    (tmp_path / "python").write_text("#!/bin/bash\nexit 1\n")
    (tmp_path / "scontrol").write_text(FAKES["scontrol"])
    for name in ("python", "scontrol"):
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    assert subprocess.run(["bash", str(SCRIPT)], cwd=tmp_path, env=environment).returncode == 1
    assert not (tmp_path / "requeued").exists()
    assert "--signal=B:USR1@" in SCRIPT.read_text()
