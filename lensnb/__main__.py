"""The command line: ``lensnb`` with one of the commands below."""

from __future__ import annotations

import argparse
import inspect
import logging
import math
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from .commands import cascade, compare, covariance
from .renamed import warn_renamed

_UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h: try again later
_INTERRUPTED = 130  # what shells give for SIGINT
_BUG = 70  # EX_SOFTWARE of sysexits.h: an internal error
_TERMINATED = 143  # what shells give for SIGTERM

# Errors of the system: no file, no space, no memory, no package.
_OF_SYSTEM = (OSError, ImportError, MemoryError)
# The package's own errors, if it raised them itself. Those of a library are a bug of lensnb.
_OWN = (ValueError, RuntimeError)
_PACKAGE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Errors that a user can mend are one sentence on stderr. Any other error is a bug of lensnb; it
    is shown with the lines where it happened, and a sentence says how to report it.

    Args:
        arguments: the words of the command line; by default those of this process.

    Returns:
        The exit status: 0, or 1 after an error, 70 after a bug, 75 for a run that was stopped and
        can resume, 130 after an interrupt from the keyboard, 143 after SIGTERM.
    """
    _print_anything()
    options = _options(arguments)
    with warnings.catch_warnings(), _terminable():
        warnings.showwarning = _show_warning
        try:
            return options.command(options)
        except _OF_SYSTEM as error:
            _say(_sentence(error))
            return 1
        except _Terminated:
            _say("terminated; what was saved stays, and the same command resumes from there")
            return _TERMINATED
        except KeyboardInterrupt:
            # The tasks of the notebook client were cancelled, which asyncio would report.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            print(file=sys.stderr)
            _say("interrupted; what was saved stays, and the same command resumes from there")
            return _INTERRUPTED
        except Exception as error:
            if isinstance(error, _OWN) and _raised_here(error):
                _say(_sentence(error))
                return _status(error)
            traceback.print_exc()
            _say(
                f"this is a bug of lensnb ({type(error).__name__}); please report the command "
                "and the lines above at the project's issues"
            )
            return _BUG


class _Terminated(BaseException):
    """SIGTERM came; what was half written is removed on the way out."""


@contextmanager
def _terminable() -> Iterator[None]:
    """While the block lasts, SIGTERM ends it as an error would."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return

    def stop(*_) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_anything() -> None:
    """Let streams whose encoding lacks a character, such as ℓ, print a ``?`` in its place."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _sentence(error: Exception) -> str:
    """One line about an error, which says at least what kind of error it is."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({text or 'none is left'})"
    return text or type(error).__name__


def _raised_here(error: Exception) -> bool:
    """Whether code of this package raised the error, and not a library that it called."""
    # An error in another process comes with its traceback as text.
    in_process = re.findall(r'File "(.+?)", line', str(error.__cause__ or ""))
    if in_process:
        file = in_process[-1]
    else:
        file = traceback.extract_tb(error.__traceback__)[-1].filename
    return _PACKAGE in Path(file).resolve().parents


def _status(error: Exception) -> int:
    if isinstance(error, RuntimeError):
        from .runs import Unfinished  # only a run raises it, so this was imported before

        if isinstance(error, Unfinished):
            return _UNFINISHED
    return 1


def _say(sentence) -> None:
    print(f"lensnb: {sentence}", file=sys.stderr)


_python_shows = warnings.showwarning


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """Old names are one sentence for the user; other warnings look as Python shows them."""
    if issubclass(category, FutureWarning):
        _say(message)
    else:
        _python_shows(message, category, filename, lineno, file, line)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command. What follows ``--`` after a sweep's is for Snakemake."""
    if arguments is None:
        arguments = sys.argv[1:]
    words, more = list(arguments), []
    if words[:1] == ["sweep"] and "--" in words:
        end = words.index("--")
        words, more = words[:end], words[end + 1 :]
    options = _parser().parse_args(words)
    options.more = more
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lensnb", description="Generative models of weak-lensing convergence maps."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_doctor(commands)
    compare.add(commands)
    covariance.add(commands)
    _add_run(commands)
    _add_runs(commands)
    _add_sweep(commands)
    cascade.add(commands)
    _add_draw(commands)
    _add_convert(commands)
    _add_simulate(commands)
    _add_cut(commands)
    _add_sample(commands)
    return parser


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


# ---------------------------------------------------------------- doctor


def _add_doctor(commands) -> None:
    command = commands.add_parser(
        "doctor", help="check this machine, and measure how long the notebooks train on it"
    )
    _add_device(command)
    command.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from . import doctor

    return doctor.print_findings(options.device)


# ---------------------------------------------------------------- runs of notebooks


def _add_run(commands) -> None:
    command = commands.add_parser(
        "run", help="execute a notebook with parameters into runs/NAME, unless that is done"
    )
    command.add_argument("notebook", type=Path)
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
    command.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from . import runs
    from .runs.parameters import read_parameters

    given = {}
    if options.f is not None:
        given = read_parameters(options.f)
    given |= dict(options.p)
    folder = runs.run(options.notebook, options.name, given, options.root, options.again)
    table = folder / "report.txt"
    if table.exists():
        print(f"\n{table.read_text(encoding='utf-8')}")
    print(f"report: {(folder / 'report.html').resolve()}")
    return 0


def _add_runs(commands) -> None:
    command = commands.add_parser(
        "runs", help="list the runs below a folder with their headline numbers and answers"
    )
    command.add_argument("root", type=Path, nargs="?", default=Path("runs"))
    command.add_argument(
        "--csv",
        type=Path,
        help="also write the whole table, every parameter, number and answer, to this file",
    )
    command.add_argument("--columns", nargs="+", help="only these columns of that table")
    command.set_defaults(command=_runs)


def _runs(options: argparse.Namespace) -> int:
    from .files import atomic_write
    from .runs.listing import table, text

    print(text(options.root))
    if options.csv is not None:
        whole = table(options.root)
        for name in options.columns or ():
            if name not in whole:
                raise ValueError(f"the runs below {options.root} have no column {name!r}")
        with atomic_write(options.csv) as file:
            file.write(whole.to_csv(index=False, columns=options.columns).encode(errors="replace"))
        print(f"wrote {options.csv}")
    return 0


def _add_sweep(commands) -> None:
    command = commands.add_parser(
        "sweep",
        help="run what is missing of a study: a notebook with many parameters (extra: sweep)",
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
    command.set_defaults(command=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    from . import runs
    from .runs.study import run_one

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
        _say(sentence)
    return int(bool(failed))


# ---------------------------------------------------------------- maps from a trained model


def _add_draw(commands) -> None:
    command = commands.add_parser(
        "draw",
        help="sample maps from a trained model into a file; an interrupted run resumes",
    )
    command.add_argument(
        "model",
        help="a model that comes with lensnb, such as flow, "
        "or a checkpoint, such as runs/NAME/flow/model.safetensors",
    )
    command.add_argument("maps", type=int, help="number of maps")
    command.add_argument(
        "file", type=Path, help="ends in .npy, or in .zarr for a set, which needs --side-deg"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--side-deg", type=float, help="side of the field, degrees, of a .zarr")
    command.add_argument("--z-source", type=float, help="redshift of the sources, of a .zarr")
    command.add_argument(
        "--coarse",
        metavar="FILE",
        help="maps to refine, one for each drawn map, by the fine levels of a cascade",
    )
    command.add_argument(
        "--times", type=int, help="how many times as fine they become, for maps of a wider field"
    )
    command.add_argument("--temperature", type=float, help="of a flow (by default 1)")
    command.add_argument(
        "--steps", type=int, help="noise levels of a diffusion model's sampler (by default 12)"
    )
    _add_device(command)
    command.set_defaults(command=_draw)


def _draw(options: argparse.Namespace) -> int:
    from . import models
    from .train import choose_device, place

    model = models.load(options.model)
    takes = inspect.signature(model.sample).parameters
    how = {}
    for name in ("temperature", "steps"):
        value = getattr(options, name)
        if value is None:
            continue
        if name not in takes:
            raise ValueError(
                f"--{name} means nothing for {options.model}, a {model.family}; "
                f"expected a model that is sampled with {name}, or no --{name}"
            )
        how[name] = value
    model = place(model, choose_device(options.device))
    there = options.file.is_file()  # a set is a folder, which may be there in part
    if options.coarse is not None:
        model, how["given"] = _refining(model, options)
    if options.file.suffix == ".zarr":
        if options.side_deg is None:
            raise ValueError(f"{options.file} is a set, which says its field; expected --side-deg")
        sky = (options.side_deg, options.z_source or math.nan)
        models.draw_set(model, options.maps, options.file, *sky, seed=options.seed, **how)
    else:
        models.draw(model, options.maps, options.file, options.seed, **how)
    if there:
        print(f"{options.file} is done already, by the same model in the same way")
    else:
        print(f"wrote {options.file}")
    return 0


def _refining(model, options: argparse.Namespace) -> tuple:
    """The fine levels of a cascade, and the coarse maps that they are given."""
    from .readers import open_maps

    if model.family != "multiscale":
        raise ValueError(
            f"--coarse needs a cascade, and {options.model} is a {model.family}; expected a "
            "checkpoint of lensnb cascade"
        )
    coarse = open_maps(options.coarse, options.side_deg)[: options.maps]
    if len(coarse) < options.maps:
        raise ValueError(
            f"{options.coarse} has {len(coarse)} maps; expected one for each of the "
            f"{options.maps} to draw"
        )
    times = options.times or max(1, model.n // coarse.grid.n)
    return model.fine_levels(times, coarse.grid.n), {"coarse": coarse.tensor()}


# ---------------------------------------------------------------- other people's maps


def _add_convert(commands) -> None:
    command = commands.add_parser(
        "convert", help="read maps of any known format and write them as one set"
    )
    command.add_argument("files", nargs="+", help="a file, a pattern in quotes, or several files")
    command.add_argument(
        "out", type=Path, help="ends in .npz, or in .zarr for sets larger than memory"
    )
    command.add_argument(
        "--side-deg", type=float, help="side of the field, degrees, where the files do not say it"
    )
    command.add_argument(
        "--z-source", type=float, help="redshift of the sources, where the files do not say it"
    )
    command.add_argument(
        "--simulation",
        help=".npy with the number of the simulation of each map; "
        "each: every map counts as its own simulation",
    )
    command.add_argument("--labels", help=argparse.SUPPRESS)  # old name of --simulation
    command.add_argument(
        "--pixels", type=int, help="average (or cut, or bin) the maps to so many pixels a side"
    )
    command.add_argument(
        "--source",
        type=_source,
        help="tomographic bin, source plane, or redshifts such as 0.9,1.1",
    )
    command.add_argument(
        "--tile", type=int, help="then cut each map into tiles of so many pixels a side"
    )
    command.add_argument("--mask", type=Path, help=".npy of booleans that the values lie under")
    command.add_argument(
        "--signs", type=int, nargs=2, help="signs of the two components of a catalogue's shear"
    )
    command.set_defaults(command=_convert)


def _source(text: str) -> int | str | tuple[float, ...]:
    """A number, a pair of redshifts with a comma between, or a name."""
    if "," in text:
        return tuple(float(part) for part in text.split(","))
    if text.isdigit():
        return int(text)
    return text


def _convert(options: argparse.Namespace) -> int:
    from .readers import convert, open_maps

    if options.out.suffix not in (".npz", ".zarr"):
        raise ValueError(f"{options.out} has another ending; expected .npz or .zarr")
    names = ("side_deg", "z_source", "simulation", "pixels", "source", "mask", "signs", "tile")
    how = {name: getattr(options, name) for name in names}
    if options.labels is not None:
        warn_renamed("lensnb convert", "--labels", "--simulation")
        if options.simulation is not None:
            raise ValueError("both --labels and --simulation were given; expected --simulation")
        how["simulation"] = options.labels
    if options.out.exists():
        raise FileExistsError(
            f"{options.out} exists; expected the name of a new file after the files to read"
        )
    files = options.files
    if len(files) == 1:
        files = files[0]  # which may be a pattern
    if options.out.suffix == ".zarr":
        maps = convert(files, options.out, **how)
    else:
        maps = open_maps(files, **how)
        maps.save(options.out)
    print(f"wrote {options.out}: {maps!r}")
    return 0


# ---------------------------------------------------------------- simulations


def _add_simulate(commands) -> None:
    command = commands.add_parser(
        "simulate", help="run N-body boxes and store their lens planes (extra: sims)"
    )
    command.add_argument("first", type=int, help="number of the first box")
    command.add_argument("last", type=int, help="number of the last box")
    command.add_argument(
        "folder", type=Path, help="where the planes go; finished boxes there are kept"
    )
    command.add_argument(
        "--cone",
        choices=["small", "fine", "wide"],
        default="small",
        help="small: 128³ particles in 212 Mpc/h, as the sample; fine: 256³ in 212 Mpc/h; "
        "wide: 256³ in 424 Mpc/h, for fields up to 10 degrees (default: small)",
    )
    command.add_argument(
        "--delta-b",
        type=float,
        default=0.0,
        help="linear overdensity today of the region that the boxes stand for (default: 0)",
    )
    _add_cone(command)
    command.set_defaults(command=_simulate)


def _simulate(options: argparse.Namespace) -> int:
    from . import sims
    from .sims.cone import SIZES

    usual = _cone(options)
    cone = replace(usual, **SIZES[options.cone], delta_b=options.delta_b)
    sims.simulate_boxes(_boxes(options), options.folder, cone, options.workers)
    return 0


def _boxes(options: argparse.Namespace) -> range:
    """The numbers of boxes from the first to the last."""
    boxes = range(options.first, options.last + 1)
    if not boxes:
        raise ValueError(
            f"there is no box from {options.first} to {options.last}; expected the first box first"
        )
    return boxes


def _add_cut(commands) -> None:
    command = commands.add_parser(
        "cut", help="cut maps from simulated boxes into a set on disk, to train on"
    )
    command.add_argument("first", type=int, help="number of the first box")
    command.add_argument("last", type=int, help="number of the last box")
    command.add_argument("planes", type=Path, help="folder of the simulated boxes")
    command.add_argument(
        "out", type=Path, help="the set, NAME.zarr; one that is not complete is continued"
    )
    command.add_argument(
        "--maps", type=int, default=4096, help="maps of each box (default: %(default)s)"
    )
    command.add_argument(
        "--z-source", type=float, default=1.0, help="redshift of the sources (default: 1)"
    )
    command.add_argument(
        "--pixels", type=int, default=64, help="pixels a side (default: %(default)s)"
    )
    command.add_argument(
        "--side-deg", type=float, default=5.0, help="side of the field, degrees (default: 5)"
    )
    command.set_defaults(command=_cut)


def _cut(options: argparse.Namespace) -> int:
    from . import sims

    sims.cut_maps(
        _boxes(options),
        options.planes,
        options.out,
        options.maps,
        options.z_source,
        options.pixels,
        options.side_deg,
    )
    print(f"wrote {options.out}")
    return 0


def _add_sample(commands) -> None:
    command = commands.add_parser(
        "sample", help="make the sample that is shipped, N-body boxes included (extra: sims)"
    )
    command.add_argument(
        "planes", type=Path, help="keeps the planes of the boxes; finished boxes there are kept"
    )
    command.add_argument("out", type=Path, help="folder of the sample")
    command.add_argument(
        "--boxes", type=int, help="boxes a set (by default 32; of vectors 256, of sealed ones 64)"
    )
    command.add_argument("--maps", type=int, help="maps a set (by default 1024)")
    what = command.add_mutually_exclusive_group()
    what.add_argument(
        "--vectors",
        action="store_true",
        help="make the vectors of all true maps instead, from the cone of the sample",
    )
    what.add_argument(
        "--sealed",
        action="store_true",
        help="make the vectors of the sealed boxes instead, which are not shipped",
    )
    what.add_argument(
        "--responses",
        action="store_true",
        help="make the responses of the vectors to Ω_m and σ₈ instead, from other boxes",
    )
    _add_cone(command)
    command.set_defaults(command=_sample)


def _sample(options: argparse.Namespace) -> int:
    if options.vectors or options.sealed or options.responses:
        made = [_sample_vectors(options)]
    else:
        from .sims.sample import make_sample

        made = make_sample(
            options.planes,
            options.out,
            _or_default(options.boxes, 32),
            _or_default(options.maps, 1024),
            _cone(options),
            options.workers,
        )
    print(f"wrote {', '.join(str(path) for path in made)}")
    return 0


def _sample_vectors(options: argparse.Namespace) -> Path:
    from .compare.cosmology_responses import make_responses
    from .compare.vector_making import make_sealed_vectors, make_vectors, suite_of_sample

    if options.maps is not None or options.sigma8 is not None or options.seed != 0:
        raise ValueError(
            "vectors have the cone and the maps of the sample; "
            "expected no --maps, --sigma8 or --seed with --vectors, --sealed or --responses"
        )
    where = (options.planes, options.out)
    if options.responses:
        boxes = _or_default(options.boxes, 32)
        return make_responses(*where, suite_of_sample(), boxes, workers=options.workers)
    if options.sealed:
        boxes = _or_default(options.boxes, 64)
        return make_sealed_vectors(*where, boxes, workers=options.workers)
    boxes = _or_default(options.boxes, 256)
    return make_vectors(*where, boxes, workers=options.workers)


def _or_default(value: int | None, default: int) -> int:
    return default if value is None else value


def _add_cone(command: argparse.ArgumentParser) -> None:
    """What both commands that run boxes take."""
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--sigma8", type=float, help="rms linear density contrast (by default that of SLICS)"
    )
    command.add_argument(
        "--workers", type=int, default=1, help="boxes at a time, each in a process of its own"
    )


def _cone(options: argparse.Namespace):
    from .sims import LightCone
    from .theory import Cosmology

    cosmology = Cosmology()
    if options.sigma8 is not None:
        cosmology = Cosmology(sigma8=options.sigma8)
    return LightCone(cosmology, seed=options.seed)


if __name__ == "__main__":
    sys.exit(main())
