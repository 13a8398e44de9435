"""Sweeps: what a study asks for, what is refused, and that nothing finished is lost or redone when something dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from waiting import HANGS, wait_until

from lensnb import runs
from lensnb.__main__ import main
from lensnb.runs import study as sweep
from lensnb.runs.records import RECORD, read_record

ROOT = Path(__file__).parent.parent
pytest.importorskip("yaml", reason="no PyYAML: pip install 'lensnb[sweep]'")

PARAMETERS = """\
simulations: int = 1  # how many
seed: int = 0  # seed of everything random
mode: str = "fine"  # what happens
folder: str = "."  # where results go
"""
# A run writes down the process of `lensnb sweep --only` that it is in. Where there is a folder `gates` beside the study, it
# waits for its gate to be opened, and ends when that process does.
BODY = """
import os, pathlib, sys, time
pathlib.Path(folder, "worker").write_text(str(os.getppid()))
with open(pathlib.Path(folder, "count"), "a") as f:
    f.write("x")
worker, gates = os.getppid(), pathlib.Path("gates")
while gates.is_dir() and not (gates / f"{simulations}-{seed}").exists():
    if os.getppid() != worker:
        os._exit(1)
    time.sleep(0.05)
if mode == "exit":
    sys.exit(0)
if mode == "full":
    raise OSError(28, "No space left on device")
pathlib.Path(folder, "value").write_text(str(simulations + seed))
"""


@pytest.fixture
def study(tmp_path):
    """Write a study and its notebook: what the file says."""

    def write(text: str) -> Path:
        code = [
            PARAMETERS,
            "from lensnb.runs import check_parameters\nparameters = check_parameters(globals());",
            BODY,
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


@pytest.fixture
def open_gates(tmp_path):
    """Let runs wait; open(run, …) lets some of a study's go on, and open() all of them."""
    gates = tmp_path / "gates"
    gates.mkdir()

    def open_gates(file: Path, *names: str) -> None:
        runs = sweep.read_study(file).runs
        for name in names or runs:
            (gates / f"{runs[name].get('simulations', 1)}-{runs[name].get('seed', 0)}").touch()

    yield open_gates
    shutil.rmtree(gates)  # or what a failed test left behind would wait for ever


FEW = "notebook: 05_toy.ipynb\nparameters: {mode: fine}\ngrid:\n  simulations: [1]\n"
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
        sweep, "run_from", lambda here, book, name, given, root: asked.append((name, given, root))
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
        for path in root.glob(f"*/{RECORD}")
        if read_record(path.parent)["status"] == "done"
    }


def under_way(root: Path) -> set[str]:
    """The runs that have begun and are not done."""
    return {path.parent.name for path in root.glob("*/worker")} - finished(root)


def worker(folder: Path) -> int:
    """The process that a run of a sweep is in, without the shell that started it."""
    return int((folder / "worker").read_text())


def words(process) -> list[str]:
    """The command line of a process; none of one that has ended, or of a handle on it."""
    try:
        return psutil.Process(process.pid).cmdline()
    except psutil.NoSuchProcess:
        return []


def quietly(command: list[str], **how) -> subprocess.Popen:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)


@pytest.mark.slow
class TestSnakemake:
    @pytest.fixture(autouse=True)
    def _needs_snakemake(self):
        pytest.importorskip("snakemake", reason="no Snakemake: pip install 'lensnb[sweep]'")

    def test_failures_are_isolated_named_and_only_what_is_missing_is_run(self, study, tmp_path):
        root, file = tmp_path / "out", study(FEW + "runs: [{mode: exit}, {mode: full}]\n")
        done = subprocess.run(command(file, root), capture_output=True, text=True)
        assert done.returncode == 1
        said = [line for line in done.stderr.splitlines() if line.startswith("lensnb: ")]
        errors = {"exit": "its kernel went away", "full": "No space left on device"}
        assert len(said) == len(errors), said
        assert all("05_toy.ipynb" in line and "is failed" in line for line in said), said
        for mode, error in errors.items():
            assert any(f'mode = "{mode}"' in line and error in line for line in said), said
        file = study(FEW + "runs: [{mode: full}]\n")  # another study of the same runs
        again = subprocess.run(
            command(file, root, "--retries", "1"), capture_output=True, text=True
        )
        assert again.returncode == 1
        # done is done; what failed is run once more, and retried
        assert sorted(values(file, root).values()) == [("", "xxx"), ("1", "x")]

    def test_a_worker_and_the_driver_are_killed_and_the_same_command_ends_it(
        self, study, open_gates, tmp_path
    ):
        file, root = study(FEW.replace("[1]", "[1, 2, 3]")), tmp_path / "out"
        driver = quietly(command(file, root), start_new_session=True)
        first, killed = wait_until(lambda: len(found := under_way(root)) == 2 and sorted(found))
        open_gates(file, first)
        wait_until(lambda: finished(root))
        os.kill(worker(root / killed), signal.SIGKILL)  # it waits before its gate
        os.killpg(driver.pid, signal.SIGKILL)  # the driver, Snakemake and all workers
        driver.wait()
        assert finished(root) == {first}
        open_gates(file)
        done = subprocess.run(command(file, root), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = values(file, root)
        assert sorted(v for v, _ in found.values()) == ["1", "2", "3"]
        assert found[first][1] == "x" and found[killed][1] == "xx"

    def test_orphans_are_waited_for(self, study, open_gates, tmp_path):
        """The driver dies alone, its workers go on; the next sweep does not run what they have in hand."""
        file, root = study("notebook: 05_toy.ipynb\ngrid: {seed: [0, 1]}\n"), tmp_path / "out"
        driver = quietly(command(file, root))
        names = wait_until(lambda: len(found := under_way(root)) == 2 and found)
        workers = [psutil.Process(worker(root / name)) for name in names]
        orphans = {child for one in workers for child in (one, *one.children(recursive=True))}
        started = [driver, *psutil.Process(driver.pid).children(recursive=True)]
        for process in started:  # from above: nobody is left who could stop the others
            # the shells that hold the workers stay too
            if process not in orphans and "--only" not in " ".join(words(process)):
                process.kill()
        driver.wait()
        assert all(one.is_running() for one in workers)
        again = quietly(command(file, root))
        logs = [root / name / "log.txt" for name in names]
        wait_until(lambda: all("waiting for another" in log.read_text() for log in logs))
        open_gates(file)
        assert again.wait(HANGS) == 0
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
            "--only={wildcards.run" in workflow
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
    assert RECORD == "run.json"


NASTY = ("O'Brien", "run {1} {x!r}", 'quote"s', "line\nbreak", "x\"+open('hit','w').write('1')+\"")


@pytest.mark.slow
def test_no_path_enters_a_workflow_as_code(study, tmp_path):
    """The names of folders, here one in another, are quoted everywhere and never run."""
    made = study(FEW)
    folder = tmp_path.joinpath("deep", *NASTY)
    folder.mkdir(parents=True)
    for file in (made, tmp_path / "05_toy.ipynb"):
        shutil.move(file, folder / file.name)
    words = [sys.executable, "-m", "lensnb", "sweep", "study.yml", "--cores", "1"]
    done = subprocess.run(words, cwd=folder, capture_output=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr
    assert len(finished(folder / "runs" / "study")) == 1
    assert not list(tmp_path.rglob("hit"))


@pytest.mark.parametrize(
    "words, more",
    [
        (["s.yml", "--cores", "1", "--", "--dry-run"], ["--dry-run"]),
        (["s.yml", "--", "--quiet", "all", "--", "a"], ["--quiet", "all", "--", "a"]),
        (["--root", "r", "s.yml", "--retries", "2", "--"], []),
        (["--dry-run", "s.yml"], []),
    ],
)
def test_options_of_snakemake_follow_wherever_the_study_is(monkeypatch, words, more):
    asked = []

    def pretend(*values):
        asked.append(values)
        return []

    monkeypatch.setattr(runs, "sweep", pretend)
    assert main(["sweep", *words]) == 0
    ((file, *_, found),) = asked
    assert file == Path("s.yml") and found == more


@pytest.mark.parametrize("more", ["--dry-run", "--summary"])
def test_what_runs_nothing_has_no_failures(study, tmp_path, more):
    pytest.importorskip("snakemake")
    words = ["sweep", str(study(FEW)), "--root", str(tmp_path / "r"), "--cores", "1"]
    assert main([*words, "--", more]) == 0
    assert not finished(tmp_path / "r")


def test_a_dry_run_that_fails_is_an_error(study, tmp_path, capsys):
    pytest.importorskip("snakemake")
    words = ["sweep", "--root", str(tmp_path / "r"), "--dry-run", str(study(FEW))]
    assert main([*words, "--", "--no-such-option"]) == 1
    assert "Snakemake ended with" in capsys.readouterr().err
