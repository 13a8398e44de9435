"""``lensnb covariance``: mean vectors and covariance of a model or of maps, for pipelines."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .compare import add_sky, add_true_sets, asked_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..ensemble import Ensemble
    from ..stats import Statistic
    from .own_sets import Asked, TrueSets

_DESCRIPTION = """\
Write the mean of statistics and their covariance as a SACC file (extra: formats).

The covariance is that of one map. The file says from how many independent maps it is, what an
inverse must be multiplied by, and how many true maps it is worth: a generator draws any number of
maps, and its covariance is still worth no more than that."""

_EXAMPLES = """\
examples:
  lensnb covariance diffusion out.sacc --maps 4096    drawn from a shipped model
  lensnb covariance runs/mine/flow/model.safetensors out.sacc --statistics power peaks
  lensnb covariance mine.npy out.sacc --simulation boxes.npy --truth sims.npz

Read it in Python with sacc.Sacc.load_fits("out.sacc")."""


def add(commands) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "covariance",
        help="write mean vectors and covariance of a model or of maps as a SACC file",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "source", metavar="MODEL_OR_MAPS",
        help="a model that comes with lensnb, a checkpoint (.safetensors), or a file of maps",
    )  # fmt: skip
    command.add_argument("out", type=Path, metavar="OUT.sacc", help="the file to write")
    command.add_argument(
        "--statistics", nargs="+", metavar="NAME",
        help="which ones, such as power peaks (by default all ten)",
    )  # fmt: skip
    command.add_argument(
        "--maps", type=int, help="number of maps to draw from a model (by default 4096)"
    )
    command.add_argument("--seed", type=int, help="of the draws (by default 0)")
    command.add_argument(
        "--parameters", type=int, default=2,
        help="how many will be fitted, for the correction factors (default: %(default)s)",
    )  # fmt: skip
    add_true_sets(command)
    add_sky(command)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Measure, judge, and write the file."""
    from ..ensemble import Ensemble, measure
    from ..ensemble.sacc_files import write_sacc
    from ..files import optional
    from ..stats import suite
    from .own_sets import true_sets

    optional(options.out, "sacc")  # before anything takes time
    if options.out.exists():
        raise FileExistsError(f"{options.out} exists; expected the name of a new file")
    asked = asked_of(options)
    true = true_sets(asked)
    statistics = suite(true.truth.tensor(), true.truth.side_deg, options.statistics)
    maps, simulation = _maps(options, asked, true)
    for note in true.notes:
        print(f"note: {note}")
    ensembles = measure(statistics, maps, simulation)
    joint = Ensemble.join(ensembles.values())
    about = {"source": str(options.source), "truth": true.name}
    about |= worth_of(joint, _true_vectors(true, statistics))
    sky = true.truth
    found = write_sacc(
        options.out, ensembles, statistics, sky.side_deg, sky.z_source, options.parameters, about
    )
    for line in _in_words(found):
        print(line)
    print(f"wrote {options.out}")
    return 0


def worth_of(joint: Ensemble, true: Mapping[str, Ensemble]) -> dict[str, float | int]:
    """How many independent true maps a covariance is worth, and that of the null is, by name.

    Args:
        joint: vectors of the maps to judge.
        true: vectors of ``"truth"`` and of ``"null"``, with the same bins.
    """
    from ..compare.covariance import eigenvectors
    from ..compare.effective import EffectiveMaps

    truth, null = true["truth"], true["null"]
    kept = eigenvectors([truth, null])
    both = _together(truth, null)
    own, of_null = EffectiveMaps(both, kept).of(joint), EffectiveMaps(truth, kept).of(null)
    return {
        "effective_eigenvectors": own.eigenvectors,
        **_maps_of(own, "effective_maps"),
        **_maps_of(of_null, "null_effective_maps"),
        "null_maps": len(null),
        "null_simulations": len(null.simulations),
    }


def _together(truth: Ensemble, null: Ensemble) -> Ensemble:
    from ..compare.sets import pooled

    return pooled({"all": truth}, {"all": null})["all"]


def _maps_of(worth, name: str) -> dict[str, float]:
    """A number of maps with its 95 % range; infinite where noise excludes no bound."""
    low, high = worth.interval.tolist()
    inverse = {name: float(worth.value), f"{name}_low": high, f"{name}_high": low}
    return {key: _one_over(value) for key, value in inverse.items()}


def _one_over(value: float) -> float:
    if value <= 0:
        return float("inf")
    return 1 / value


def _true_vectors(true: TrueSets, statistics: Mapping[str, Statistic]) -> dict[str, Ensemble]:
    """The joint vectors of truth and null: those that come with lensnb, where they are known."""
    from ..compare.sample_vectors import vectors_of
    from ..ensemble import Ensemble, measure

    found = {}
    for name, one in (("truth", true.truth), ("null", true.null)):
        vectors = vectors_of(one, statistics) or measure(statistics, one)
        found[name] = Ensemble.join(vectors[statistic] for statistic in statistics)
    return found


def _maps(options: argparse.Namespace, asked: Asked, true: TrueSets):
    """The maps of a file with their simulations, or those that a model draws, batch by batch."""
    from ..models import TRAINED
    from .own_sets import read_like

    source = options.source
    if source.endswith(".safetensors") or (TRAINED / f"{source}.safetensors").exists():
        if options.simulation is not None or options.side_deg is not None:
            raise ValueError(
                "--simulation and --side-deg belong to files of maps; expected none of them with "
                f"the model {source}"
            )
        return _drawn(options, true), None
    if options.maps is not None or options.seed is not None:
        raise ValueError(
            f"--maps and --seed belong to models; expected none of them with the maps {source}"
        )
    maps = read_like(source, asked, true, options.simulation)
    return maps, maps.simulation


def _drawn(options: argparse.Namespace, true: TrueSets) -> Iterator[Tensor]:
    from ..models import load
    from ..models.drawing import blocks
    from ..train import choose_device, place

    model = load(options.source)
    truth = true.truth
    if (model.n, model.channels) != (truth.grid.n, truth.channels):
        raise ValueError(
            f"{options.source} makes maps of {model.n} × {model.n} pixels in {model.channels} "
            f"channels, and {true.name} has {truth.grid.n} × {truth.grid.n} in "
            f"{truth.channels}; expected the same, or true maps of these with --truth"
        )
    true.notes.append(
        f"{options.source} does not say its field: taken as that of {true.name}, "
        f"{truth.side_deg:g}°."
    )
    number = 4096 if options.maps is None else options.maps
    model = place(model, choose_device(options.device))
    return _with_bar(blocks(model, number, options.seed or 0), number)


def _with_bar(batches: Iterator[Tensor], number: int) -> Iterator[Tensor]:
    from tqdm import tqdm

    with tqdm(total=number, desc="drawing and measuring", unit="map", disable=None) as bar:
        for maps in batches:
            yield maps
            bar.update(len(maps))


def _in_words(found: Mapping) -> list[str]:
    """What the user should know before they use the file."""
    lines = [
        f"{found['bins']} bins; {found['maps']} maps, {found['independent_maps']:.0f} of them "
        "independent",
        f"worth {_range(found, 'effective_maps')} true maps "
        f"(null: {_range(found, 'null_effective_maps')} for {found['null_maps']})",
    ]
    if "hartlap" in found:
        lines.append(
            f"factors for {found['fitted_parameters']} parameters: Hartlap "
            f"{found['hartlap']:.3f}, Dodelson & Schneider {found['dodelson_schneider']:.3f}, "
            f"Percival {found['percival']:.3f}"
        )
    else:
        lines.append(
            f"too few maps for the inverse of {found['bins']} bins: expected more maps, or fewer "
            "bins with --statistics"
        )
    return lines


def _range(found: Mapping, name: str) -> str:
    if name not in found:
        return "an unknown number of"
    value, low, high = (found[key] for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value:.0f} ({low:.0f}–{high:.0f})"
