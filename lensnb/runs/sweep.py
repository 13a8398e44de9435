"""Sweeps: one notebook with many parameters, as a Snakemake workflow of runs.

A study is a YAML file,

    notebook: 09_how_many_simulations.ipynb   # beside the file
    parameters: {n_maps: 512}                 # the same for all
    grid:                                     # every combination of these
      simulations: [4, 8, 16, 32]
      seed: [0, 1]
    runs:                                     # and these besides, each with everything above that it does not name
      - {simulations: 1, seed: 0}
    resources: {threads: 2, mem_mb: 4000, runtime: 60}   # of one run; runtime in minutes

:func:`sweep` writes the workflow and starts `Snakemake <https://snakemake.github.io>`_, which runs what is missing, on this machine
or, with a profile, on a cluster. Each run is :func:`lensnb.runs.run` in a process of its own: it fails alone, is done once, and
waits where another process has it already. So a sweep that was killed in any way is started again by the same command.
"""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import atomic_write, write_json
from .parameters import all_parameters, check_names
from .runner import folder_name, read_record, run

KEYS = ("notebook", "parameters", "grid", "runs", "resources")
RESOURCES = {"threads": 1, "mem_mb": 4000, "runtime": 120}

# One rule. The shell command keeps what a run says in its folder; Snakemake takes away the outputs of a run that failed, so its
# only output is the mark of one that is done.
WORKFLOW = """\
# Written by `lensnb sweep`; the study is what to change.
import json

STUDY = json.load(open({study!r}))


rule all:
    input:
        expand("{{run}}/done", run=STUDY["runs"]),


rule run:
    output:
        "{{run}}/done",
    threads: STUDY["resources"]["threads"]
    resources:
        mem_mb=STUDY["resources"]["mem_mb"],
        runtime=STUDY["resources"]["runtime"],
    shell:
        "OMP_NUM_THREADS={{threads}} {python} -m lensnb sweep {file} --root {root} --only {{wildcards.run}} > {{wildcards.run}}/log.txt 2>&1"
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
        ValueError: it is no YAML, has unknown keys, asks for no run, or a parameter is unknown or ill-typed.
        ImportError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise ImportError(
            "a sweep needs PyYAML and Snakemake: pip install 'lensnb[sweep]'"
        ) from None
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; expected a study, a YAML file")
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict) or "notebook" not in said or set(said) - set(KEYS):
        wrong = sorted(set(said) - set(KEYS)) if isinstance(said, dict) else []
        found = f"found {', '.join(map(repr, wrong))}" if wrong else "found no notebook"
        raise ValueError(f"{file}: {found}; expected the keys {', '.join(KEYS)}")
    same, grid, others = (
        said.get("parameters") or {},
        said.get("grid") or {},
        said.get("runs") or [],
    )
    for key, kind, value in (
        ("parameters", dict, same),
        ("grid", dict, grid),
        ("runs", list, others),
    ):
        if not isinstance(value, kind):
            raise ValueError(
                f"{file}: {key} must be a {'mapping' if kind is dict else 'list'}, found {value!r}"
            )
    short = [name for name, values in grid.items() if not isinstance(values, list) or not values]
    if short:
        raise ValueError(f"{file}: grid.{short[0]} must list values, found {grid[short[0]]!r}")
    cells = (
        [dict(zip(grid, values)) for values in itertools.product(*grid.values())] if grid else []
    )
    notebook = file.parent / said["notebook"]
    runs = {}
    for one in [*cells, *others]:
        given = check_names(notebook, same | one)
        runs[folder_name(notebook, all_parameters(notebook, given))] = given
    if not runs:
        raise ValueError(f"{file} asks for no run; expected a grid or runs")
    return Study(file, notebook, runs, _resources(file, said.get("resources") or {}))


def _resources(file: Path, said: Mapping) -> dict[str, int]:
    for name, value in said.items():
        if name not in RESOURCES or not isinstance(value, int) or value < 1:
            raise ValueError(
                f"{file}: resources has {name} = {value!r}; expected whole numbers of {', '.join(RESOURCES)}"
            )
    return RESOURCES | dict(said)


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
        cores: at most so many at once, shared among runs by their threads; by default all of this machine.
        profile: a Snakemake profile, such as one that sends runs to SLURM; then ``cores`` is the profile's business.
        retries: how often a run that failed is started again.
        dry: only say what would be run.
        more: further arguments of Snakemake.

    Returns:
        A sentence for each run that failed or is unfinished, with its notebook, cell and error.

    Raises:
        ImportError: Snakemake is not installed.
    """
    study = read_study(file)
    root = Path("runs") / study.file.stem if root is None else Path(root)
    try:
        import snakemake  # noqa: F401
    except ImportError:
        raise ImportError(
            "a sweep needs Snakemake: pip install 'lensnb[sweep]'; without it, --only runs one run of the study"
        ) from None
    workflow = write_workflow(study, root)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(workflow),
        "--directory",
        str(root.resolve()),
    ]
    command += [
        "--keep-going",
        "--rerun-incomplete",
        "--rerun-triggers",
        "mtime",
        "--retries",
        str(retries),
        "--quiet",
        "progress",
    ]
    command += [
        "--nolock"
    ]  # runs lock their folders themselves, and their locks go with their processes
    command += ["--profile", profile] if profile else ["--cores", str(cores) if cores else "all"]
    command += ["--dry-run"] if dry else []
    done = subprocess.run([*command, *more])
    if dry:
        return []
    found = failures(study, root)
    if done.returncode and not found:
        raise RuntimeError(
            f"Snakemake ended with {done.returncode} before all runs were done; its messages are above"
        )
    return found


def write_workflow(study: Study, root: Path) -> Path:
    """Write the Snakefile and the list of runs below ``root``; returns the Snakefile."""
    listed = root / "study.json"
    write_json(listed, {"runs": study.runs, "resources": study.resources})
    for name in study.runs:  # the log of a run is opened before the run makes its folder
        (root / name).mkdir(parents=True, exist_ok=True)
    text = WORKFLOW.format(
        study=str(listed.resolve()), python=shlex.quote(sys.executable), file=shlex.quote(str(study.file.resolve())),
        root=shlex.quote(str(root.resolve())),
    )  # fmt: skip
    with atomic_write(root / "Snakefile") as file:
        file.write(text.encode())
    return root / "Snakefile"


def run_one(file: str | Path, which: str | int, root: str | Path | None = None) -> Path:
    """Run one run of a study in this process: by the name of its folder or by its number from 0, as in an array of jobs."""
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
        raise ValueError(
            f"{file} has no run {which}; it has {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        )
    return run(
        study.notebook,
        which,
        study.runs[which],
        Path("runs") / study.file.stem if root is None else root,
    )


def failures(study: Study, root: Path) -> list[str]:
    """A sentence for each run that is not done."""
    found = []
    for name in study.runs:
        record = read_record(root / name)
        if record.get("status") != "done":
            values = ", ".join(
                f"{key} = {json.dumps(value)}" for key, value in study.runs[name].items()
            )
            why = record.get("error") or f"it left no error; see {root / name / 'log.txt'}"
            found.append(f"{name} ({values}) is {record.get('status', 'not started')}: {why}")
    return found
