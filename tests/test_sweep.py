"""Sweeps: what a study asks for, what is refused, and that nothing finished is lost or redone when something dies."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from lensnb import runs
from lensnb.__main__ import main
from lensnb.runs import study as sweep

ROOT = Path(__file__).parent.parent
pytest.importorskip("yaml", reason="no PyYAML: pip install 'lensnb[sweep]'")

PARAMETERS = """\
simulations: int = 1  # how many
seed: int = 0  # seed of everything random
mode: str = "fine"  # what happens
folder: str = "."  # where results go
"""
BODY = """
import os, pathlib, sys, time
with open(pathlib.Path(folder, "count"), "a") as f:
    f.write("x")
time.sleep(WAIT)
if mode == "raise":
    raise ValueError("no such thing")
if mode == "exit":
    sys.exit(0)
if mode == "full":
    raise OSError(28, "No space left on device")
pathlib.Path(folder, "value").write_text(str(simulations + seed))
"""


@pytest.fixture
def study(tmp_path):
    """Write a study and its notebook: what the file says, and how long a run takes."""

    def write(text: str, wait: float = 0.0) -> Path:
        code = [
            PARAMETERS,
            "from lensnb.runs import check_parameters\nparameters = check_parameters(globals());",
            BODY.replace("WAIT", str(wait)),
        ]
        cells = [nbformat.v4.new_code_cell(source) for source in code]
        cells[0].metadata["tags"] = ["parameters"]
        book = nbformat.v4.new_notebook(cells=cells)
        book.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(book, tmp_path / "05_toy.ipynb")
        (tmp_path / "study.yml").write_text(text)
        return tmp_path / "study.yml"

    return write


GRID = "notebook: 05_toy.ipynb\nparameters: {mode: fine}\ngrid:\n  simulations: [1, 2]\n  seed: [0, 10]\n"


def test_a_study_is_the_grid_and_what_is_listed(study):
    found = sweep.read_study(
        study(GRID + "runs:\n  - {simulations: 9, mode: other}\nresources: {threads: 2}\n")
    )
    assert len(found.runs) == 5 and found.resources == {
        "threads": 2,
        "mem_mb": 4000,
        "runtime": 120,
    }
    assert list(found.runs.values())[0] == {"mode": "fine", "simulations": 1, "seed": 0}
    assert list(found.runs.values())[-1] == {"mode": "other", "simulations": 9}
    assert all(name.startswith("toy-") for name in found.runs)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("grid: {seed: [0]}", "found no notebook; expected the keys notebook, parameters, grid, runs, resources"),
        ("notebook: 05_toy.ipynb\ngird: {}", "found 'gird'; expected the keys"),
        ("notebook: 05_toy.ipynb", "asks for no run; expected a grid or runs"),
        ("notebook: 05_toy.ipynb\ngrid: {seed: 3}", r"grid.seed must list values, found 3"),
        ("notebook: 05_toy.ipynb\ngrid: {sed: [3]}", "has no parameter sed; did you mean seed"),
        ("notebook: 05_toy.ipynb\ngrid: {seed: [many]}", "parameter seed = 'many' is not of the type int"),
        ("notebook: 05_toy.ipynb\nruns: {seed: 1}", "runs must be a list, found"),
        ("notebook: 05_toy.ipynb\ngrid: {seed: [1]}\nresources: {cpus: 2}", "resources has cpus = 2; expected whole numbers of threads"),
        ("notebook: [", "is no YAML"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_is_refused_in_a_sentence(study, text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        sweep.read_study(study(text))
    assert "\n" not in str(caught.value)


def test_one_run_by_number_or_name(study, monkeypatch, tmp_path):
    file, asked = study(GRID), []
    monkeypatch.setattr(
        sweep, "run", lambda notebook, name, given, root: asked.append((name, given, root))
    )
    names = list(sweep.read_study(file).runs)
    sweep.run_one(file, "2", tmp_path)
    sweep.run_one(file, names[2], tmp_path)
    assert (
        asked[0] == asked[1] == (names[2], {"mode": "fine", "simulations": 2, "seed": 0}, tmp_path)
    )
    with pytest.raises(ValueError, match="has 4 runs, from 0 to 3; found 6"):
        sweep.run_one(file, 6)
    with pytest.raises(ValueError, match="has no run toy; it has toy-"):
        sweep.run_one(file, "toy")


# ---------------------------------------------------------------- through Snakemake


def command(file: Path, root: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "lensnb",
        "sweep",
        str(file),
        "--root",
        str(root),
        "--cores",
        "2",
        *more,
    ]


def values(file: Path, root: Path) -> dict[str, tuple[str, str]]:
    """What each run of a study wrote, and how often it was run."""
    found = {}
    for name in sweep.read_study(file).runs:
        folder = root / name
        found[name] = tuple(
            (folder / one).read_text() if (folder / one).exists() else ""
            for one in ("value", "count")
        )
    return found


def finished(root: Path) -> set[str]:
    """The runs that are done, as their records say."""
    return {
        path.parent.name
        for path in root.glob(f"*/{runs.RECORD}")
        if runs.read_record(path.parent)["status"] == "done"
    }


def under_way(root: Path, seconds: float = math.inf) -> set[str]:
    """The runs that have begun, at most so long ago, and are not done."""
    begun = {
        path.parent.name
        for path in root.glob("*/count")
        if time.time() - path.stat().st_mtime < seconds
    }
    return begun - finished(root)


def worker(name: str) -> int:
    """The process that a run of a sweep is in, without the shell that started it."""
    found = [
        one.pid
        for one in psutil.process_iter(["cmdline"])
        if (words := one.info["cmdline"] or [])[-2:] == ["--only", name]
        and words[1:3] == ["-m", "lensnb"]
    ]
    assert len(found) == 1, (name, found)
    return found[0]


def wait_until(true, seconds: float = 120):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)
    return found


@pytest.mark.slow
class TestSnakemake:
    @pytest.fixture(autouse=True)
    def _needs_snakemake(self):
        pytest.importorskip("snakemake", reason="no Snakemake: pip install 'lensnb[sweep]'")

    def test_failures_are_isolated_named_and_only_what_is_missing_is_run(self, study, tmp_path):
        text = GRID + "runs:\n  - {mode: raise}\n  - {mode: exit}\n  - {mode: full}\n"
        file, root = study(text), tmp_path / "out"
        done = subprocess.run(command(file, root), capture_output=True, text=True)
        assert done.returncode == 1
        said = [line for line in done.stderr.splitlines() if line.startswith("lensnb: ")]
        assert len(said) == 3 and all(
            "05_toy.ipynb" in line and "is failed" in line for line in said
        ), said
        assert any(
            'mode = "raise"' in line and "ValueError: no such thing" in line for line in said
        )
        assert any('mode = "exit"' in line and "its kernel went away" in line for line in said)
        assert any("No space left on device" in line for line in said)
        found = values(file, root)
        assert sorted(v for v, _ in found.values() if v) == ["1", "11", "12", "2"]
        assert all(count == "x" for _, count in found.values())
        again = subprocess.run(
            command(file, root, "--retries", "1"), capture_output=True, text=True
        )
        assert again.returncode == 1
        counts = [count for value, count in values(file, root).values() if value]
        assert counts == ["x"] * 4  # done is done
        assert (
            sorted(c for v, c in values(file, root).values() if not v) == ["xxx"] * 3
        )  # once more, and retried

    def test_a_worker_and_the_driver_are_killed_and_the_same_command_ends_it(
        self, study, tmp_path
    ):
        file, root = study(GRID, wait=2.0), tmp_path / "out"
        driver = subprocess.Popen(
            command(file, root),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Not the mark that Snakemake looks at: that goes where a worker dies after its run is done. The record stays.
        killed = wait_until(lambda: finished(root) and under_way(root, seconds=1)).pop()
        os.kill(worker(killed), signal.SIGKILL)
        time.sleep(0.5)
        before = finished(root)
        os.killpg(driver.pid, signal.SIGKILL)  # the driver, Snakemake and all workers
        driver.wait()
        assert 0 < len(before) < 4
        done = subprocess.run(command(file, root), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = values(file, root)
        assert sorted(v for v, _ in found.values()) == ["1", "11", "12", "2"]
        assert all(found[name][1] == "x" for name in before)
        # It was in the middle of its run, unless it was quicker than the signal.
        assert killed in before or found[killed][1] == "xx"

    def test_orphans_are_waited_for(self, study, tmp_path):
        """The driver dies alone, its workers go on; the next sweep does not run what they have in hand."""
        file, root = (
            study("notebook: 05_toy.ipynb\ngrid: {seed: [0, 1]}\n", wait=4.0),
            tmp_path / "out",
        )
        driver = subprocess.Popen(
            command(file, root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: len(list(root.glob("*/count"))) == 2)
        parents = subprocess.run(
            ["pgrep", "-f", f"snakemake.*{root}"], capture_output=True, text=True
        ).stdout.split()
        for pid in [driver.pid, *map(int, parents)]:
            if "--only" not in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
        driver.wait()
        assert under_way(root)
        done = subprocess.run(command(file, root), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert sorted(values(file, root).values()) == [("1", "x"), ("2", "x")]

    def test_a_dry_run_and_the_job_of_slurm(self, study, tmp_path):
        file, root = (
            study(GRID + "resources: {threads: 2, mem_mb: 3000, runtime: 45}\n"),
            tmp_path / "out",
        )
        done = subprocess.run(command(file, root, "--dry-run"), capture_output=True, text=True)
        assert done.returncode == 0 and not list(root.glob("*/count"))
        listed = json.loads((root / "study.json").read_text())
        assert len(listed["runs"]) == 4 and listed["resources"]["runtime"] == 45
        workflow = (root / "Snakefile").read_text()
        assert (
            "--only {wildcards.run}" in workflow
            and 'mem_mb=STUDY["resources"]["mem_mb"]' in workflow
        )


def test_the_array_template_names_the_command(study):
    """The SLURM array that needs no Snakemake: one run of the study a task."""
    text = (ROOT / "docs" / "sweep.slurm").read_text()
    assert (
        "--array=0-" in text
        and "--signal=B:USR1@" in text
        and '--only "$SLURM_ARRAY_TASK_ID"' in text
    )
    assert subprocess.run(["bash", "-n", str(ROOT / "docs" / "sweep.slurm")]).returncode == 0


def test_the_command_line_says_one_sentence(study, capsys):
    assert main(["sweep", str(study("notebook: 05_toy.ipynb\ngrid: {sed: [3]}"))]) == 1
    error = capsys.readouterr().err
    assert error.startswith("lensnb: ") and "did you mean seed" in error and error.count("\n") == 1
    assert runs.RECORD == "run.json"
