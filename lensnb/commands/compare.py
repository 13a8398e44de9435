"""``lensnb compare``: judge one's own maps, and leave a report."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

_DESCRIPTION = """\
Compare maps of any generator with true maps, and write a report of where they differ.

True maps are those of the sample that comes with lensnb (5° × 5°, 64 × 64 pixels, z = 1), or your
own (--truth, --null, --train). Every number stands beside that of other true maps, the null."""

_EXAMPLES = """\
examples:
  lensnb compare mine.npy                           κ, (maps, 64, 64), of 5° fields at z = 1
  lensnb compare flow.npy gan.npz --name flow --name gan
  lensnb compare 'run/*.fits' --side-deg 5 --pixels 64
  lensnb compare mine.npy --truth sims.npz          split into truth and null
  lensnb compare mine.npy --smooth 2 --noise 30     as seen with 30 galaxies per arcmin²

Run again with the same files and options, it opens the report that is there. In Python:
lensnb.compare.FidelityReport.load("FOLDER/report.json")."""

# What decides the numbers, in the order in which a command names it.
_OPTIONS = (
    "truth", "null", "truth_simulation", "train", "side_deg", "z_source", "simulation", "pixels",
    "smooth", "noise", "out",
)  # fmt: skip
_SIGMA_E = 0.4  # of both components together


def add(commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "compare",
        help="judge your own maps against true maps, and write a report",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "mine",
        nargs="+",
        metavar="MINE",
        help="a file of maps, or a pattern in quotes; each is a set of its own",
    )
    command.add_argument(
        "--name",
        dest="names",
        metavar="NAME",
        action="append",
        default=[],
        help="name of a set, once for each (by default that of its file)",
    )
    add_true_sets(command)
    command.add_argument(
        "--train", metavar="FILE", help="the maps that the generator was trained on"
    )
    add_sky(command)
    _add_survey(command)
    command.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the report goes (by default reports/NAME and a hash of files and options)",
    )
    command.add_argument("--again", action="store_true", help="compare even where it is done")
    command.set_defaults(command=run)


def add_true_sets(command: argparse.ArgumentParser) -> None:
    """Which true maps, if not those of the sample."""
    command.add_argument(
        "--truth",
        metavar="FILE",
        help="true maps; without --null they are split by simulation into both",
    )
    command.add_argument("--null", metavar="FILE", help="other true maps, from other simulations")
    command.add_argument(
        "--truth-simulation",
        metavar="FILE",
        help=".npy with the number of the simulation of each map of --truth",
    )


def add_sky(command: argparse.ArgumentParser) -> None:
    """What files of maps may not say."""
    command.add_argument(
        "--side-deg",
        type=float,
        metavar="DEG",
        help="side of the field, degrees, where files do not say it",
    )
    command.add_argument(
        "--z-source",
        type=float,
        metavar="Z",
        help="redshift of the sources, where files do not say it",
    )
    command.add_argument(
        "--simulation",
        metavar="FILE",
        help=".npy with the number of the simulation of each map (by default each is its own)",
    )
    command.add_argument(
        "--pixels", type=int, metavar="N", help="average all maps to so many pixels a side"
    )


def _add_survey(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--smooth",
        type=float,
        default=0.0,
        metavar="ARCMIN",
        help="smooth all maps with a Gaussian of this standard deviation",
    )
    command.add_argument(
        "--noise",
        type=float,
        action="append",
        metavar="N_GAL",
        help="add shape noise of so many galaxies per arcmin² to all maps; once, or once for each "
        f"channel (sigma_e = {_SIGMA_E:g})",
    )


def run(options: argparse.Namespace) -> int:
    """Compare, or open what is there; print the scorecard and where the report is."""
    from ..compare import FidelityReport
    from .own_sets import set_names
    from .report_folder import PAGE, REPORT, default_folder, is_done, wanted

    asked = asked_of(options)
    names = set_names(asked)
    what = wanted(asked.files(), _other_options(options, names))
    folder = options.out or default_folder(names, what)
    if is_done(folder, what, options.again):
        print(f"{folder} is done already, with the same files and options (--again compares anew)")
    else:
        _compare(asked, options, what, folder)
    report = FidelityReport.load(folder / REPORT)
    print(f"\n{report.scorecard()}")
    print(f"report: {(folder / PAGE).resolve()}")
    return 0


def asked_of(options: argparse.Namespace):
    """The options that are about files, as :class:`~lensnb.commands.own_sets.Asked`."""
    from .own_sets import Asked

    given = vars(options)
    return Asked(**{one.name: given[one.name] for one in fields(Asked) if one.name in given})


def _other_options(options: argparse.Namespace, names: list[str]) -> dict:
    """What changes the numbers, beside the files themselves."""
    kept = ("side_deg", "z_source", "pixels", "smooth", "noise")
    return {"names": names} | {name: getattr(options, name) for name in kept}


def _compare(asked, options: argparse.Namespace, what: dict, folder: Path) -> None:
    from .. import compare
    from .own_sets import own_sets, true_sets
    from .report_folder import writing

    noise = None
    if options.noise is not None:
        noise = compare.ShapeNoise(options.noise, _SIGMA_E)
    true = true_sets(asked)
    mine = own_sets(asked, true)
    for note in true.notes:
        print(f"note: {note}")
    with writing(folder, what) as write:
        for name, one in mine.items():
            print(f"comparing {name}, {len(one)} maps, with {true.name}", flush=True)
        report = compare.compare(
            true.truth, true.null, mine, true.train, smooth=options.smooth, noise=noise
        )
        report.notes += true.notes  # a report that is passed on says what was assumed
        write(report, command_of(options), _sources(asked, mine, true.name))


def command_of(options: argparse.Namespace) -> str:
    """The command with these options, as one would type it."""
    words = ["lensnb", "compare", *options.mine]
    flags = {"names": "--name"} | {name: f"--{name.replace('_', '-')}" for name in _OPTIONS}
    for name, flag in flags.items():
        value = getattr(options, name)
        several = value if isinstance(value, list) else [value]
        for one in several:
            if one not in (None, 0.0):
                words += [flag, str(one)]
    return shlex.join(words)


def _sources(asked, mine: Mapping, true_name: str) -> dict[str, str]:
    """Where the maps of each set come from."""
    from ..compare import NULL

    true = {"truth": true_name, NULL: asked.null or true_name}
    if asked.train or asked.truth is None:
        true["train"] = asked.train or true_name
    return true | dict(zip(mine, asked.mine))
