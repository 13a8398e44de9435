"""Studies: one notebook with many parameters, as a Snakemake workflow of runs.

A study is a YAML file,

    notebook: 09_how_many_simulations.ipynb   # beside the file
    parameters: {n_maps: 512}                 # the same for all
    grid:                                     # every combination of these
      simulations: [4, 8, 16, 32]
      seed: [0, 1]
    runs:                                     # and these too, with the parameters above
      - {simulations: 1, seed: 0}
    resources: {threads: 2, mem_mb: 4000, runtime: 60}   # of one run; runtime in minutes

:func:`sweep` writes the workflow and starts `Snakemake <https://snakemake.github.io>`_, which runs
what is missing, on this machine or, with a profile, on a cluster. Each run is
:func:`lensnb.runs.run` in a process of its own: it fails alone, is done once, and waits where
another process is already at it. A sweep that was killed in any way thus resumes with the same
command.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import atomic_write, write_json
from .parameters import read_yaml
from .records import as_json, read_record
from .runner import given_here, run_from, run_name

_KEYS = ("notebook", "parameters", "grid", "runs", "resources")
_RESOURCES = {"threads": 1, "mem_mb": 4000, "runtime": 120}

# One rule. The shell command keeps the output of a run in its folder. Snakemake deletes the
# outputs of a run that failed, so the only output that it knows is the mark of a run that is done.
# It is the same for every study, and no path enters it as code: paths come from study.json, and
# `:q` quotes them for the shell. What a function returns is not taken for a pattern of wildcards.
_WORKFLOW = """\
# Written by `lensnb sweep`; the study is what to change.
import json

STUDY = json.load(open("study.json", encoding="utf-8"))


def of_study(name):
    return lambda wildcards: STUDY[name]


rule all:
    input:
        expand("{run}/done", run=STUDY["runs"]),


rule run:
    output:
        "{run}/done",
    threads: STUDY["resources"]["threads"]
    resources:
        mem_mb=STUDY["resources"]["mem_mb"],
        runtime=STUDY["resources"]["runtime"],
    params:
        python=of_study("python"),
        file=of_study("file"),
        root=of_study("root"),
    shell:
        "OMP_NUM_THREADS={threads} {params.python:q} -m lensnb sweep {params.file:q} "
        "--root {params.root:q} --only={wildcards.run:q} > {wildcards.run:q}/log.txt 2>&1"
"""


@dataclass(frozen=True)
class Study:
    """What a study file says.

    Attributes:
        file: the file.
        notebook: path of the notebook.
        runs: parameters of each run by the name of its folder.
        resources: threads, memory (MB) and time (minutes) of one run.
    """

    file: Path
    notebook: Path
    runs: dict[str, dict]
    resources: dict[str, int]


def read_study(file: str | Path) -> Study:
    """Read a study, and check every parameter of every run.

    Raises:
        FileNotFoundError: there is no such file, or no such notebook.
        ValueError: it is no YAML, has unknown keys, asks for no run, or a parameter is unknown or
            of the wrong type.
        ImportError: PyYAML is not installed.
    """
    file = Path(file)
    said = read_yaml(
        file, "a study, a YAML file", "a sweep needs PyYAML and Snakemake", "lensnb[sweep]"
    )
    _check_keys(file, said)
    same = _part(file, said, "parameters", dict)
    grid = _part(file, said, "grid", dict)
    others = _part(file, said, "runs", list)
    for one in others:
        if not isinstance(one, dict):
            raise ValueError(f"{file}: runs must list parameters by name, found {one!r}")
    if not isinstance(said["notebook"], str):
        raise ValueError(f"{file}: notebook must be a path, found {said['notebook']!r}")
    notebook = file.parent / said["notebook"]
    resources = _resources(file, said)
    runs = {}
    for one in [*_combinations(file, grid), *others]:
        # Paths start at the study, wherever a run of it is started.
        given = given_here(file.parent.resolve(), notebook, same | one)
        runs[run_name(notebook, given)] = given
    if not runs:
        raise ValueError(f"{file} asks for no run; expected a grid or runs")
    return Study(file, notebook, runs, resources)


def _check_keys(file: Path, said) -> None:
    wrong = []
    if isinstance(said, dict):
        wrong = [repr(key) for key in said if key not in _KEYS]
        if "notebook" in said and not wrong:
            return
    found = "no notebook"
    if wrong:
        found = ", ".join(wrong)
    raise ValueError(f"{file}: found {found}; expected the keys {', '.join(_KEYS)}")


def _part(file: Path, said: Mapping, key: str, kind: type):
    """One part of a study, a mapping or a list; empty where it is not there."""
    value = said.get(key) or kind()
    if not isinstance(value, kind):
        word = {dict: "mapping", list: "list"}[kind]
        raise ValueError(f"{file}: {key} must be a {word}, found {value!r}")
    return value


def _combinations(file: Path, grid: Mapping) -> Iterator[dict]:
    """Every combination of the values of a grid."""
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{file}: grid.{name} must list values, found {values!r}")
    if not grid:
        return
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values))


def _resources(file: Path, said: Mapping) -> dict[str, int]:
    wanted = _part(file, said, "resources", dict)
    for name, value in wanted.items():
        if name not in _RESOURCES or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{file}: resources has {name} = {value!r}; "
                f"expected whole numbers of {', '.join(_RESOURCES)}"
            )
    return _RESOURCES | dict(wanted)


def sweep(
    file: str | Path,
    root: str | Path | None = None,
    cores: int | None = None,
    profile: str | None = None,
    retries: int = 0,
    dry: bool = False,
    more: Sequence[str] = (),
) -> list[str]:
    """Run what is missing of a study.

    Args:
        file: the study.
        root: where its runs go; by default ``runs/NAME`` for NAME.yml.
        cores: at most so many at once, shared among runs by their threads; by default all of this
            machine.
        profile: a Snakemake profile, such as one that sends runs to SLURM; it replaces ``cores``.
        retries: how often a run that failed is started again.
        dry: only say what would be run.
        more: further arguments of Snakemake.

    Returns:
        A sentence for each run that failed or is unfinished, with its notebook, cell and error.

    Raises:
        ImportError: Snakemake is not installed.
        RuntimeError: Snakemake failed without a run that failed.
    """
    study = read_study(file)
    root = _root(study, root)
    try:
        import snakemake  # noqa: F401
    except ImportError:
        raise ImportError(
            "a sweep needs Snakemake: pip install 'lensnb[sweep]'; "
            "without it, --only runs one run of the study"
        ) from None
    write_workflow(study, root)
    command = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile"]
    command += ["--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime"]
    command += ["--retries", str(retries), "--quiet", "progress"]
    # Runs lock their folders themselves, and their locks end with their processes.
    command += ["--nolock"]
    if profile:
        command += ["--profile", profile]
    else:
        command += ["--cores", str(cores or "all")]
    if dry:
        command += ["--dry-run"]
    done = subprocess.run([*command, *more], cwd=root)
    if done.returncode == 0:  # all are done; or nothing was to be run, as with --summary
        return []
    found = []
    if not dry:
        found = _failures(study, root)
    if not found:
        raise RuntimeError(
            f"Snakemake ended with {done.returncode} before all runs were done; "
            "its messages are above"
        )
    return found


def _root(study: Study, root: str | Path | None) -> Path:
    if root is None:
        return Path("runs") / study.file.stem
    return Path(root)


def write_workflow(study: Study, root: Path) -> Path:
    """Write the Snakefile and the list of runs below ``root``; returns the Snakefile."""
    listed = root / "study.json"
    about = {
        "python": sys.executable,
        "file": str(study.file.resolve()),
        "root": str(root.resolve()),
        "runs": as_json(study.runs),
        "resources": study.resources,
    }
    write_json(listed, about)
    # The log of a run is opened before the run makes its folder.
    for name in study.runs:
        (root / name).mkdir(parents=True, exist_ok=True)
    with atomic_write(root / "Snakefile") as file:
        file.write(_WORKFLOW.encode())
    return root / "Snakefile"


def run_one(file: str | Path, which: str | int, root: str | Path | None = None) -> Path:
    """Run one run of a study in this process.

    Args:
        file: the study.
        which: the name of the run's folder, or its number from 0, as in an array of jobs.
        root: where its runs go; by default ``runs/NAME`` for NAME.yml.

    Returns:
        The run folder.

    Raises:
        ValueError: the study has no such run.
    """
    study = read_study(file)
    names = list(study.runs)
    if isinstance(which, str) and which.isdigit():
        which = int(which)
    if isinstance(which, int):
        if not 0 <= which < len(names):
            raise ValueError(
                f"{file} has {len(names)} runs, from 0 to {len(names) - 1}; found {which}"
            )
        which = names[which]
    if which not in study.runs:
        shown = ", ".join(names[:3])
        if len(names) > 3:
            shown += ", …"
        raise ValueError(f"{file} has no run {which}; it has {shown}")
    here = study.file.parent.resolve()
    return run_from(here, study.notebook, which, study.runs[which], _root(study, root))


def _failures(study: Study, root: Path) -> list[str]:
    """A sentence for each run that is not done."""
    found = []
    for name, parameters in study.runs.items():
        record = read_record(root / name)
        status = record.get("status", "not started")
        if status == "done":
            continue
        shown = as_json(parameters)
        values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in shown.items())
        why = record.get("error") or f"it left no error; see {root / name / 'log.txt'}"
        found.append(f"{name} ({values}) is {status}: {why}")
    return found
