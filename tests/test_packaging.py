"""The packaging files agree with each other: what is needed is declared once, pinned, and shipped."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
TARGETS = ["help", "run", "test", "test-all", "lab", "app", "docs", "links", "format", "clean"]


def name(requirement: str) -> str:
    """The normalised name of a requirement such as ``torch>=2.10``."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_environment_yml_holds_python_and_pip_and_hands_over():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment == {
        "name": "lensnb",
        "channels": ["conda-forge"],
        "dependencies": [
            "python=3.11",
            "pip",
            {"pip": ["-c constraints.txt", "-e .[lab,formats,test]"]},
        ],
    }


def test_binder_hands_over_too():
    """No second list of packages: what pyproject names, at the versions of the constraints."""
    lines = (ROOT / ".binder/postBuild").read_text(encoding="utf-8").splitlines()
    (command,) = (line for line in lines if line and not line.startswith("#"))
    words = shlex.split(command)
    assert words[:2] == ["pip", "install"] and words[-3:-1] == ["-c", "constraints.txt"]
    assert set(re.fullmatch(r"\.\[([\w,]+)\]", words[-1])[1].split(",")) <= set(
        PROJECT["optional-dependencies"]
    )
    assert (ROOT / ".binder/runtime.txt").read_text() == "python-3.11\n"


def test_constraints_are_exact_versions_without_local_suffix():
    assert [pin for pin in pins() if not re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", pin)] == []


def test_constraints_pin_each_package_once_in_order_and_nothing_of_ours_or_cudas():
    names = [name(pin) for pin in pins()]
    assert names == sorted(set(names))
    assert [n for n in names if n in {"lensnb", "pip", "triton"} or n.startswith("nvidia")] == []


def test_constraints_pin_every_direct_dependency():
    extras = PROJECT["optional-dependencies"]
    direct = sum(extras.values(), PROJECT["dependencies"] + PYPROJECT["build-system"]["requires"])
    missing = {name(d) for d in direct} | {
        "jax",
        "jaxlib",
    }  # jax comes with pmpp, and breaks it when too new
    assert missing - {name(pin) for pin in pins()} == set()


def test_extras_that_others_name_exist():
    extras = set(PROJECT["optional-dependencies"])
    defaults = re.search(
        r"^EXTRAS \?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M
    )[1]
    assert set(defaults.split(",")) == {"lab", "sims", "formats", "vectors", "sweep", "test"}
    assert extras == set(defaults.split(",")) | {"docs"}  # installed by `make docs` only


@pytest.mark.parametrize("target", TARGETS)
def test_makefile_target_has_help_and_is_phony(target):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:.*## \S", makefile, re.M)
    assert target in re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()


def make(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run make as from a shell, also when these tests themselves run under `make test`."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("MAKE") and key != "ARGS"
    }
    return subprocess.run(["make", *arguments], cwd=cwd, env=env, capture_output=True, text=True)


def test_make_help_lists_the_targets_and_needs_no_environment():
    out = make("help", "BASE_PYTHON=false", cwd=ROOT).stdout
    assert [line.split()[1] for line in out.splitlines()] == TARGETS


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no list of usable cores here")
@pytest.mark.parametrize("threads", [None, "1", "64"])
def test_workers_are_as_many_as_cores_whatever_openmp_is_told(threads, monkeypatch):
    """Clusters set OMP_NUM_THREADS to 1, which nproc obeys."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    workers = re.search(r"-m pytest -n (\d+) ", make("-n", "test", cwd=ROOT).stdout)[1]
    assert int(workers) == min(4, len(os.sched_getaffinity(0)))


def test_make_test_all_runs_what_make_test_leaves_to_the_night(asked):
    asked()
    lint = ["-m ruff check .", "-m ruff format --check ."]
    *first, tests = asked("test")
    assert first == lint and re.fullmatch(r"-m pytest -n \d --dist worksteal tests", tests)
    assert asked("test-all") == [*lint, tests.replace(" tests", " --nightly tests")]


def test_make_clean_keeps_runs(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept, gone = (
        tmp_path / "runs/quickstart/results.json",
        tmp_path / "lensnb/__pycache__/maps.pyc",
    )
    for file in (kept, gone, tmp_path / ".venv/bin/python"):
        file.parent.mkdir(parents=True)
        file.touch()
    assert make("clean", cwd=tmp_path).returncode == 0
    assert kept.exists()
    assert not gone.exists() and not (tmp_path / ".venv").exists()


def test_make_refuses_an_old_python_in_a_sentence(tmp_path):
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, tmp_path)
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1\nexit 1\n')
    old.chmod(0o755)
    done = make("run", f"BASE_PYTHON={old}", cwd=tmp_path)
    assert done.returncode != 0
    assert "lensnb needs Python 3.11 or newer" in done.stderr and "Python 3.9.1" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def asked(tmp_path):
    """Makes a target in ``tmp_path``, with a stand-in for .venv/bin/python, and returns what that was asked to do."""
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, tmp_path)
    log, python = tmp_path / "log", tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(log))}\n')
    python.chmod(0o755)

    def asked(target: str = "run") -> list[str]:
        assert make(target, cwd=tmp_path).returncode == 0
        done = log.read_text().splitlines()
        log.unlink()
        return done

    return asked


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_make_installs_only_into_a_stale_environment(changed, asked, tmp_path):
    run = "-m lensnb run notebooks/00_quickstart.ipynb --name quickstart"
    install = "-m pip install -e .[lab,formats,sims,vectors,sweep,test]"
    assert asked() == ["-m pip --version", install, run]
    assert asked() == [run]
    later = os.stat(tmp_path / ".venv/installed-lab-formats-sims-vectors-sweep-test").st_mtime + 1
    os.utime(tmp_path / changed, (later, later))
    assert asked() == ["-m pip --version", install, run]


def test_make_docs_adds_what_the_book_needs_once(asked):
    build = "-m sphinx --quiet --fail-on-warning -c docs . docs/_build/html"
    asked()
    assert asked("docs") == ["-m pip install -e .[docs]", build]
    assert asked("docs") == [build]


def test_wheel_takes_code_maps_and_javascript_and_no_caches(tmp_path):
    """Asks hatchling which files it would pack, on a small tree with our settings and our .gitignore."""
    for file in ("pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / file, tmp_path)
    wanted = {
        "lensnb/__init__.py",
        "lensnb/models/flow.py",
        "lensnb/runs.py",
        "lensnb/stack.js",
        "lensnb/sample/train.npy",
        "lensnb/sample/sample.json",
        "lensnb/trained/flow.safetensors",
        "lensnb/trained/flow.md",
    }
    others = {
        "lensnb/__pycache__/maps.pyc",
        "lensnb/sample/train.npy.part",
        "runs/x/results.json",
        "tests/test_x.py",
    }
    for file in wanted | others:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    packed = {
        file.distribution_path for file in WheelBuilder(str(tmp_path)).recurse_included_files()
    }
    assert packed == wanted


def test_citation_gives_the_version_and_licence_of_the_package():
    import lensnb

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == lensnb.__version__
    assert citation["license"] == PROJECT["license"]


def test_stored_notebooks_are_stripped_of_metadata():
    """`make format` strips them; this runs the same hook with --verify, which changes nothing."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))[
        "repos"
    ][0]["hooks"]
    program, *options = shlex.split(
        next(hook["entry"] for hook in hooks if hook["id"] == "nbstripout")
    )
    notebooks = sorted(str(path) for path in (ROOT / "notebooks").glob("*.ipynb"))
    command = [sys.executable, "-m", program, *options, "--verify", *notebooks]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert not notebooks or done.returncode == 0, done.stdout + done.stderr
