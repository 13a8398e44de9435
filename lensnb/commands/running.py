"""``lensnb run``, ``runs`` and ``sweep``: notebooks with parameters, and what they left."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .parsers import add_command


def add(commands) -> None:
    """Add the three commands to the parser."""
    _add_run(commands)
    _add_runs(commands)
    _add_sweep(commands)


# ---------------------------------------------------------------- one run


def _add_run(commands) -> None:
    command = add_command(
        commands,
        "run",
        "execute a notebook with parameters into runs/NAME, unless that is done",
        """
lensnb run notebooks/00_quickstart.ipynb --list      its parameters, with types
lensnb run notebooks/00_quickstart.ipynb --name mine -p seed 7 -p n_maps 256
lensnb run notebooks/00_quickstart.ipynb -f settings.yml --again
""",
    )
    command.add_argument("notebook", type=Path)
    command.add_argument(
        "--list", action="store_true", help="only list the parameters that the notebook takes"
    )
    command.add_argument(
        "--name",
        help="name of the run folder (by default the notebook's and a hash of the parameters)",
    )
    command.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter",
    )
    command.add_argument(
        "-f", type=Path, metavar="FILE", help="parameters from a YAML file; -p overrides it"
    )
    command.add_argument(
        "--root", type=Path, default=Path("runs"), help="where run folders are (by default runs)"
    )
    command.add_argument("--again", action="store_true", help="run it even where it is done")
    command.set_defaults(command=run)


_PAGES = ("report.html", "notebook.html")  # what a run may leave to read


def run(options: argparse.Namespace) -> int:
    """Execute a notebook, or list its parameters."""
    from .. import runs
    from ..runs.declared import described
    from ..runs.parameters import read_parameters

    if options.list:
        print(described(options.notebook))
        return 0
    given = {}
    if options.f is not None:
        given = read_parameters(options.f)
    given |= dict(options.p)
    folder = runs.run(options.notebook, options.name, given, options.root, options.again)
    table = folder / "report.txt"
    if table.exists():
        print(f"\n{table.read_text(encoding='utf-8')}")
    for name in _PAGES:
        if (folder / name).exists():
            print(f"{name.removesuffix('.html')}: {(folder / name).resolve()}")
    return 0


# ---------------------------------------------------------------- all runs


def _add_runs(commands) -> None:
    command = add_command(
        commands,
        "runs",
        "list the runs below a folder: how far they are, their headline numbers and answers",
        """
lensnb runs                                   all runs below runs/
lensnb runs runs/study --csv study.csv        every parameter, number and answer
lensnb runs --csv - --columns run set seed 'C_ℓ slope'
""",
    )
    command.add_argument("root", type=Path, nargs="?", default=Path("runs"))
    command.add_argument(
        "--csv",
        metavar="FILE",
        help="write the whole table, every parameter, number and answer, to this file; "
        "- prints it instead of the list",
    )
    command.add_argument("--columns", nargs="+", help="only these columns of that table")
    command.set_defaults(command=list_runs)


def list_runs(options: argparse.Namespace) -> int:
    """List the runs, and write their table."""
    from ..files import atomic_write
    from ..runs.listing import text

    if options.csv == "-":
        print(_csv(options), end="")
        return 0
    print(text(options.root))
    if options.csv is not None:
        with atomic_write(options.csv) as file:
            file.write(_csv(options).encode(errors="replace"))
        print(f"wrote {options.csv}")
    return 0


def _csv(options: argparse.Namespace) -> str:
    from ..runs.listing import table

    whole = table(options.root)
    for name in options.columns or ():
        if name not in whole:
            raise ValueError(f"the runs below {options.root} have no column {name!r}")
    return whole.to_csv(index=False, columns=options.columns)


# ---------------------------------------------------------------- studies


def _add_sweep(commands) -> None:
    command = add_command(
        commands,
        "sweep",
        "run what is missing of a study: a notebook with many parameters (extra: sweep)",
        """
lensnb sweep notebooks/how_many_simulations.yml --dry-run
lensnb sweep study.yml --cores 4 --retries 1
lensnb sweep study.yml --only 3                    one run, without Snakemake
lensnb sweep study.yml --profile cluster -- --jobs 50
""",
        usage="lensnb sweep STUDY [options] [-- options of Snakemake]",
    )
    command.add_argument("study", type=Path, help="a YAML file; see the module lensnb.runs.study")
    command.add_argument(
        "--root", type=Path, help="where its runs go (by default runs/NAME for NAME.yml)"
    )
    command.add_argument(
        "--cores", type=int, help="at most so many at once (by default all of this machine)"
    )
    command.add_argument("--profile", help="a Snakemake profile, for a cluster")
    command.add_argument(
        "--retries", type=int, default=0, help="how often a run that failed is started again"
    )
    command.add_argument("--dry-run", action="store_true", help="only say what would be run")
    command.add_argument(
        "--only",
        metavar="RUN",
        help="one run, by its number from 0 or its name, without Snakemake",
    )
    command.set_defaults(command=sweep)


def sweep(options: argparse.Namespace) -> int:
    """Run what is missing of a study; say which runs failed."""
    from .. import runs
    from ..runs.study import run_one

    if options.only is not None:
        run_one(options.study, options.only, options.root)
        return 0
    failed = runs.sweep(
        options.study,
        options.root,
        options.cores,
        options.profile,
        options.retries,
        options.dry_run,
        options.more,
    )
    for sentence in failed:
        print(f"lensnb: {sentence}", file=sys.stderr)
    return int(bool(failed))
