"""The command line: ``lensnb doctor``, ``run``, ``runs``, ``sweep``, ``draw``, ``convert``, ``simulate``, ``sample``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h: try again later


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors a user can mend are one sentence on stderr, and the exit status is 1."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"lensnb: {error}", file=sys.stderr)
        return UNFINISHED if type(error).__name__ == "Unfinished" else 1
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(
            logging.CRITICAL
        )  # the notebook client's tasks died, as they should
        print(
            "\nlensnb: interrupted; what was saved stays, and the same command goes on from there",
            file=sys.stderr,
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lensnb", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    doctor = commands.add_parser(
        "doctor", help="is this machine ready, and how long will the notebooks train on it?"
    )
    doctor.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    doctor.set_defaults(command=_doctor)
    run = commands.add_parser(
        "run", help="execute a notebook with parameters into runs/NAME, unless that is done"
    )
    run.add_argument("notebook", type=Path)
    run.add_argument(
        "--name",
        help="name of the run folder (by default the notebook's and a hash of the parameters)",
    )
    run.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter",
    )
    run.add_argument(
        "-f", type=Path, metavar="FILE", help="parameters from a YAML file; -p goes before it"
    )
    run.add_argument(
        "--root", type=Path, default=Path("runs"), help="where run folders live (by default runs)"
    )
    run.add_argument("--again", action="store_true", help="run it even where it is done")
    run.set_defaults(command=_run)
    runs = commands.add_parser(
        "runs", help="list the runs below a folder with their headline numbers"
    )
    runs.add_argument("root", type=Path, nargs="?", default=Path("runs"))
    runs.add_argument(
        "--csv",
        type=Path,
        help="also write the whole table, every parameter and number, to this file",
    )
    runs.set_defaults(command=_runs)
    sweep = commands.add_parser(
        "sweep",
        help="run what is missing of a study: a notebook with many parameters (extra: sweep)",
    )
    sweep.add_argument("study", type=Path, help="a YAML file; see the module lensnb.runs.sweep")
    sweep.add_argument(
        "--root", type=Path, help="where its runs go (by default runs/NAME for NAME.yml)"
    )
    sweep.add_argument(
        "--cores", type=int, help="at most so many at once (by default all of this machine)"
    )
    sweep.add_argument("--profile", help="a Snakemake profile, for a cluster")
    sweep.add_argument(
        "--retries", type=int, default=0, help="how often a run that failed is started again"
    )
    sweep.add_argument("--dry-run", action="store_true", help="only say what would be run")
    sweep.add_argument(
        "--only",
        metavar="RUN",
        help="one run, by its number from 0 or its name, without Snakemake",
    )
    sweep.add_argument("more", nargs="*", metavar="-- ...", help="further arguments of Snakemake")
    sweep.set_defaults(command=_sweep)
    draw = commands.add_parser(
        "draw",
        help="draw maps from a trained model into a .npy file; goes on where it was stopped",
    )
    draw.add_argument(
        "model", help="flow, diffusion, or a checkpoint such as runs/NAME/flow/model.safetensors"
    )
    draw.add_argument("maps", type=int, help="number of maps")
    draw.add_argument("file", type=Path, help="ends in .npy")
    draw.add_argument("--seed", type=int, default=0)
    draw.add_argument("--temperature", type=float, help="of a flow (by default 1)")
    draw.add_argument(
        "--steps", type=int, help="noise levels of a diffusion model's sampler (by default 12)"
    )
    draw.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    draw.set_defaults(command=_draw)
    convert = commands.add_parser(
        "convert", help="read maps of any known format and write them as one set"
    )
    convert.add_argument("files", nargs="+", help="a file, a pattern in quotes, or several files")
    convert.add_argument(
        "out", type=Path, help="ends in .npz, or in .zarr for sets larger than memory"
    )
    convert.add_argument(
        "--side-deg", type=float, help="side of the field, degrees, where the files do not say it"
    )
    convert.add_argument(
        "--z-source", type=float, help="redshift of the sources, where the files do not say it"
    )
    convert.add_argument(
        "--simulation",
        "--labels",
        help=".npy with the number of the simulation of each map; each: all are their own",
    )
    convert.add_argument(
        "--pixels", type=int, help="average (or cut, or bin) the maps to so many pixels a side"
    )
    convert.add_argument(
        "--source",
        type=_source,
        help="tomographic bin, source plane, or redshifts such as 0.9,1.1",
    )
    convert.add_argument(
        "--tile", type=int, help="then cut each map into tiles of so many pixels a side"
    )
    convert.add_argument("--mask", type=Path, help=".npy of booleans that the values lie under")
    convert.add_argument(
        "--signs", type=int, nargs=2, help="signs of the two components of a catalogue's shear"
    )
    convert.set_defaults(command=_convert)
    simulate = commands.add_parser(
        "simulate", help="run N-body boxes and store their lens planes (extra: sims)"
    )
    simulate.add_argument("first", type=int, help="number of the first box")
    simulate.add_argument("last", type=int, help="number of the last box")
    simulate.add_argument(
        "folder", type=Path, help="where the planes go; finished boxes there are kept"
    )
    simulate.add_argument("--seed", type=int, default=0)
    simulate.add_argument(
        "--sigma8", type=float, help="rms linear density contrast (by default that of SLICS)"
    )
    simulate.add_argument(
        "--workers", type=int, default=1, help="boxes at a time, each in a process of its own"
    )
    simulate.set_defaults(command=_simulate)
    sample = commands.add_parser(
        "sample", help="make the sample that is shipped, N-body boxes included (extra: sims)"
    )
    sample.add_argument(
        "planes", type=Path, help="keeps the planes of the boxes; finished boxes there are kept"
    )
    sample.add_argument("out", type=Path, help="folder of the sample")
    sample.add_argument("--boxes", type=int, default=32, help="boxes a set")
    sample.add_argument("--maps", type=int, default=1024, help="maps a set")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument(
        "--sigma8", type=float, help="rms linear density contrast (by default that of SLICS)"
    )
    sample.add_argument(
        "--workers", type=int, default=1, help="boxes at a time, each in a process of its own"
    )
    sample.set_defaults(command=_sample)
    return parser


def _doctor(options: argparse.Namespace) -> int:
    from . import doctor

    return doctor.main(options.device)


def _run(options: argparse.Namespace) -> int:
    from . import runs

    given = ({} if options.f is None else runs.read_parameters(options.f)) | dict(options.p)
    folder = runs.run(options.notebook, options.name, given, options.root, options.again)
    table = folder / "report.txt"
    if table.exists():
        print(f"\n{table.read_text()}")
    print(f"report: {(folder / 'report.html').resolve()}")
    return 0


def _runs(options: argparse.Namespace) -> int:
    from .files import atomic_write
    from .runs.table import table, text

    print(text(options.root))
    if options.csv is not None:
        with atomic_write(options.csv) as file:
            file.write(table(options.root).to_csv(index=False).encode())
        print(f"wrote {options.csv}")
    return 0


def _sweep(options: argparse.Namespace) -> int:
    from .runs import sweep

    if options.only is not None:
        sweep.run_one(options.study, options.only, options.root)
        return 0
    failed = sweep.sweep(
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
    return 1 if failed else 0


def _draw(options: argparse.Namespace) -> int:
    from . import models
    from .train import choose_device, place

    model = models.load(options.model)
    takes = {"temperature": models.Flow, "steps": models.Diffusion}
    how = {name: vars(options)[name] for name in takes if vars(options)[name] is not None}
    for name in how:
        if not isinstance(model, takes[name]):
            raise ValueError(
                f"--{name} is for a {takes[name].family}, and {options.model} is a {model.family}"
            )
    models.draw(
        place(model, choose_device(options.device)),
        options.maps,
        options.file,
        options.seed,
        **how,
    )
    print(f"wrote {options.file}")
    return 0


def _source(text: str) -> int | str | tuple[float, ...]:
    """A number, a pair of redshifts with a comma between, or a name."""
    if "," in text:
        return tuple(float(part) for part in text.split(","))
    return int(text) if text.isdigit() else text


def _convert(options: argparse.Namespace) -> int:
    from .readers import convert, open_maps

    if options.out.suffix not in (".npz", ".zarr"):
        raise ValueError(f"{options.out} has another ending; expected .npz or .zarr")
    files = options.files[0] if len(options.files) == 1 else options.files
    about = options.side_deg, options.z_source, options.simulation
    how = {name: getattr(options, name) for name in ("pixels", "source", "mask", "signs", "tile")}
    if options.out.suffix == ".zarr":
        maps = convert(files, options.out, *about, **how)
    else:
        maps = open_maps(files, *about, **how)
        maps.save(options.out)
    print(f"wrote {options.out}: {maps!r}")
    return 0


def _cone(options: argparse.Namespace):
    from .sims import LightCone
    from .theory import Cosmology

    cosmology = Cosmology() if options.sigma8 is None else Cosmology(sigma8=options.sigma8)
    return LightCone(cosmology, seed=options.seed)


def _simulate(options: argparse.Namespace) -> int:
    from . import sims

    boxes = range(options.first, options.last + 1)
    sims.simulate_boxes(boxes, options.folder, _cone(options), options.workers)
    return 0


def _sample(options: argparse.Namespace) -> int:
    from . import sims

    made = sims.make_sample(
        options.planes, options.out, options.boxes, options.maps, _cone(options), options.workers
    )
    print(f"wrote {', '.join(str(path) for path in made)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
