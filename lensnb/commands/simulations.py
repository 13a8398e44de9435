"""``lensnb simulate``, ``cut`` and ``sample``: N-body boxes, and the true maps cut from them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from .parsers import add_command


def add(commands) -> None:
    """Add the three commands to the parser."""
    _add_simulate(commands)
    _add_cut(commands)
    _add_sample(commands)


def _add_simulate(commands) -> None:
    command = add_command(
        commands,
        "simulate",
        "run N-body boxes and store their lens planes (extra: sims)",
        """
lensnb simulate 0 31 planes --workers 2        32 boxes, two at a time
lensnb simulate 0 7 planes --cone wide --sigma8 0.85
""",
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
    command.set_defaults(command=simulate)


def simulate(options: argparse.Namespace) -> int:
    """Run boxes and keep their planes."""
    from .. import sims
    from ..sims.cone import SIZES

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
    command = add_command(
        commands,
        "cut",
        "cut maps from simulated boxes into a set on disk, to train on",
        """
lensnb cut 0 31 planes maps.zarr --maps 1024
lensnb cut 0 7 planes fine.zarr --pixels 256 --side-deg 10 --z-source 1.5
""",
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
    command.set_defaults(command=cut)


def cut(options: argparse.Namespace) -> int:
    """Cut maps from the planes."""
    from .. import sims

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
    command = add_command(
        commands,
        "sample",
        "make the sample that is shipped, N-body boxes included (extra: sims)",
        """
lensnb sample planes sample --workers 2        as it is shipped
lensnb sample planes small --boxes 4 --maps 64
lensnb sample planes sample --vectors
""",
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
    command.set_defaults(command=sample)


def sample(options: argparse.Namespace) -> int:
    """Make the sample, or vectors of it."""
    if options.vectors or options.sealed or options.responses:
        made = [_sample_vectors(options)]
    else:
        from ..sims.sample import make_sample

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
    from ..compare.cosmology_responses import make_responses
    from ..compare.vector_making import make_sealed_vectors, make_vectors, suite_of_sample

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
    from ..sims import LightCone
    from ..theory import Cosmology

    cosmology = Cosmology()
    if options.sigma8 is not None:
        cosmology = Cosmology(sigma8=options.sigma8)
    return LightCone(cosmology, seed=options.seed)
