"""``lensnb draw`` and ``convert``: maps of a model, or of other people's files, into one file."""

from __future__ import annotations

import argparse
import inspect
import math
from pathlib import Path

from ..renamed import warn_renamed
from .parsers import add_command, add_device, read_source


def add(commands) -> None:
    """Add both commands to the parser."""
    _add_draw(commands)
    _add_convert(commands)


# ---------------------------------------------------------------- maps from a trained model


def _add_draw(commands) -> None:
    command = add_command(
        commands,
        "draw",
        "sample maps from a trained model into a file; an interrupted run resumes",
        """
lensnb draw flow 1000 maps.npy                        a model that comes with lensnb
lensnb draw diffusion 100 maps.npy --steps 24 --seed 1
lensnb draw runs/quickstart/flow/model.safetensors 1000 maps.npy --temperature 0.9
lensnb draw runs/large/cascade.safetensors 1000 maps.zarr --side-deg 5
""",
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
    add_device(command)
    command.set_defaults(command=draw)


def draw(options: argparse.Namespace) -> int:
    """Draw maps, unless they are there."""
    from .. import models
    from ..train import choose_device, place

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
    from ..readers import open_maps

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
    command = add_command(
        commands,
        "convert",
        "read maps of any known format and write them as one set",
        """
lensnb convert 'run/*.fits' maps.npz --pixels 64        a pattern in quotes
lensnb convert maps.npy maps.npz --side-deg 5 --z-source 1 --simulation boxes.npy
lensnb convert large.h5 maps.zarr --source 3 --tile 64  tiles of 64 pixels, on disk
lensnb convert 'SLICS/*LOS*' maps.zarr --pixels 512     many large files; resumes
""",
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
        type=read_source,
        help="tomographic bin, source plane, or redshifts such as 0.9,1.1",
    )
    command.add_argument(
        "--tile", type=int, help="then cut each map into tiles of so many pixels a side"
    )
    command.add_argument("--mask", type=Path, help=".npy of booleans that the values lie under")
    command.add_argument(
        "--signs", type=int, nargs=2, help="signs of the two components of a catalogue's shear"
    )
    command.set_defaults(command=convert)


def convert(options: argparse.Namespace) -> int:
    """Read files and write one set."""
    from .. import readers

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
        maps = readers.convert(files, options.out, **how)
    else:
        maps = readers.open_maps(files, **how)
        maps.save(options.out)
    print(f"wrote {options.out}: {maps!r}")
    return 0
