"""Which family of generators is worth most? All of them, on the same maps, for the same time.

    lensnb simulate 0 31 PLANES --sigma8 0.8121 --workers 2      # the 32 training boxes
    lensnb cut 0 31 PLANES training.zarr --maps 4096
    python benchmarks/families.py run --training training.zarr               # all, 30 minutes each
    python benchmarks/families.py run flow gan --training training.zarr --boxes 4
    python benchmarks/families.py run flow --training training.zarr --seed 1 --minutes 60
    python benchmarks/families.py table --output docs/families.md --csv notebooks/which_generator.csv
    python benchmarks/families.py ship gan multiscale --training training.zarr

A *run* is one family, a number of training boxes, a time, and a seed of the weights and of the
order of the maps. The training lasts the given time on one core (``--threads``), on maps of the
first boxes of the set, with the 8 symmetries. How many steps fill the time is measured before, in
CPU time, so that other programs do not count.
The κ transform, the Gaussian field and the band powers are fitted to 8,192 maps of these boxes.
Then 4,096 maps are drawn (of a slow family 1,024) and judged by the fidelity report, against the
8,192 stored maps of truth and null each. Baselines that are only fitted have no time.

The training maps themselves are judged, too (``"own maps"``): 8,192 of them, by their plain
covariance, and by three ways to improve a covariance of few simulations. A family is worth its
training only if its effective number of maps is larger.

Trainings are kept in ``--folder``, and the numbers of each finished run in ``--results``, a folder
of small files that belongs to the repository. An interrupted run goes on, and a finished one is
not done again, not even on another machine. So two commands with other names or seeds can run
side by side, each on a core of its own. ``table`` writes the page from all that are finished. It
has a table for each number of boxes and each time, and names the machines: trainings of one time
can only be compared if they ran on the same one. Where a family has several seeds, it shows their
mean, and ± is the scatter of seeds. ``ship`` copies trained models into the package, and writes
their cards. Models are judged with the weights in float16 with which they are shipped.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

if __name__ == "__main__":  # not this folder: statistics.py has the name of a module of Python's
    sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.family_pages import OWN, SHOWN, numbers_table, page
from benchmarks.generator_tables import answers_in_short
from benchmarks.model_cards import card, copies, how_trained
from benchmarks.statistics import machine, now
from lensnb import models
from lensnb.compare import NULL, FidelityReport, compare
from lensnb.compare.covariance import eigenvectors
from lensnb.compare.effective import EffectiveMaps, Worth
from lensnb.compare.rows import QUANTITIES
from lensnb.compare.sets import BOTH, TRUTH
from lensnb.data import MapSet, load_sample, random_symmetry
from lensnb.ensemble import (
    Ensemble,
    nercome_covariance,
    rotation_invariant_covariance,
    shrunk_covariance,
)
from lensnb.files import atomic_write, read_checkpoint, save_checkpoint, write_json
from lensnb.models.recipes import RECIPES, Recipe, recipe_of
from lensnb.readers import open_maps
from lensnb.train import Checks, Settings, fit, watch

DRAWN = 4096  # maps that are judged
DRAWN_BY_SLOW = {"synthesis": 1024}
RESULTS = Path(__file__).parent / "families"
FITTED = 8192  # maps that the parts without a training are fitted to


def ledoit_wolf(ensemble: Ensemble) -> np.ndarray:
    """The covariance of Ledoit & Wolf, without the share of its shrinkage."""
    covariance, _ = shrunk_covariance(ensemble)
    return covariance


SHRUNK = {
    "own maps, Ledoit–Wolf": ledoit_wolf,
    "own maps, rotation-invariant": rotation_invariant_covariance,
    "own maps, NERCOME": nercome_covariance,
}


# ---------------------------------------------------------------- one run


def folder_of(name: str, options: argparse.Namespace) -> Path:
    """Where a run keeps what it knows."""
    words = re.sub(r"\W+", "-", name.lower())
    run = f"{words}-{options.boxes}-boxes-{options.minutes:g}-minutes-{options.seed}"
    return options.folder / run


def file_of(name: str, options: argparse.Namespace) -> Path:
    """Where the numbers of a run are kept."""
    return options.results / f"{folder_of(name, options).name}.json"


def maps_of_boxes(path: Path, boxes: int) -> MapSet:
    """The maps of the first boxes of a set.

    Raises:
        ValueError: the set has fewer.
    """
    maps = open_maps(path)
    found = maps.simulations
    if not 1 <= boxes <= len(found):
        raise ValueError(f"{path} has maps of {len(found)} boxes, which are not {boxes}")
    if boxes == len(found):
        return maps
    return maps[np.isin(maps.simulation, found[:boxes])]


def run(name: str, recipe: Recipe, options: argparse.Namespace) -> dict:
    """Build, train, draw and judge one family; what the folder has is not done again."""
    folder = folder_of(name, options)
    file = file_of(name, options)
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    maps = maps_of_boxes(options.training, options.boxes)
    torch.manual_seed(options.seed)
    model = recipe.build(maps[:FITTED].tensor())
    images = 0
    if recipe.lr:
        images = train(name, model, recipe, maps, folder, options)
        model = rounded(folder)
    n = DRAWN_BY_SLOW.get(name, DRAWN)
    began = now()
    drawn = model.sample(n, torch.Generator().manual_seed(1 + options.seed))
    map_s = (now() - began) / n
    report = judged(name, model, drawn, maps[:FITTED], options)
    report.save(folder / "report.json")
    found = {
        "name": name,
        "boxes": options.boxes,
        "minutes": options.minutes,
        "seed": options.seed,
        "machine": machine("cpu"),
        "parameters": sum(p.numel() for p in model.parameters()),
        "images": images,
        "drawn": n,
        "map_s": map_s,
        "bits": bits(model),
        "found": numbers_of(report, name),
        "null": numbers_of(report, NULL),
    }
    write_json(file, found)
    return found


def rounded(folder: Path) -> nn.Module:
    """The trained model of a run as it could be shipped, with its weights in float16."""
    trained, file = folder / "model.safetensors", folder / "shipped.safetensors"
    _, header = read_checkpoint(trained)
    about = {"step": header["step"], "settings": header["settings"]}
    save_checkpoint(file, models.load(trained), half=True, **about)
    return models.load(file)


def ship(name: str, options: argparse.Namespace) -> None:
    """Put the model of a finished run into the package, with its card."""
    folder = folder_of(name, options)
    if not (folder / "report.json").exists():
        raise ValueError(f"{folder} has no finished run of {name}; expected run to come before")
    report = FidelityReport.load(folder / "report.json")
    maps = maps_of_boxes(options.training, options.boxes)
    file = models.TRAINED / f"{name}.safetensors"
    shutil.copyfile(folder / "shipped.safetensors", file)
    model, (_, header) = models.load(file), read_checkpoint(file)
    n = DRAWN_BY_SLOW.get(name, DRAWN)
    drawn = model.sample(n, torch.Generator().manual_seed(1 + options.seed))
    command = f"python benchmarks/families.py run {name} --training training.zarr"
    trained = f"{how_trained(header['settings'])}Command: `{command}`."
    text = card(file, maps, report, n, trained, command, copies(drawn, maps))
    with atomic_write(file.with_suffix(".md")) as written:
        written.write(text.encode())


def run_own(options: argparse.Namespace) -> dict:
    """Judge the training maps themselves, and their shrunk covariances."""
    file = file_of(OWN, options)
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    maps = maps_of_boxes(options.training, options.boxes)[:FITTED]
    truth, null = load_sample("truth"), load_sample("null")
    report = compare(truth, null, {OWN: maps}, rounds=options.rounds)
    joint = {
        name: Ensemble.join(report.ensembles[name].values()) for name in (TRUTH, NULL, BOTH, OWN)
    }
    worth = EffectiveMaps(joint[BOTH], eigenvectors([joint[TRUTH], joint[NULL]]))
    found = {
        "name": OWN,
        "boxes": options.boxes,
        "minutes": options.minutes,
        "seed": options.seed,
        "machine": machine("cpu"),
        "found": numbers_of(report, OWN),
        "null": numbers_of(report, NULL),
        "shrunk": {name: worth_of(worth, f, joint[OWN]) for name, f in SHRUNK.items()},
    }
    write_json(file, found)
    return found


def worth_of(worth: EffectiveMaps, estimator: Callable, own: Ensemble) -> dict:
    """1/N of a shrunk covariance, and N in words; a dash if it cannot be made."""
    varying = np.flatnonzero(np.ptp(own.vectors, axis=0) > 0)  # a rare peak may be in no map
    found = Worth(np.nan, np.nan)
    try:
        of_varying = estimator(Ensemble(own.vectors[:, varying], own.simulation))
    except ValueError as error:  # too few simulations for it
        print(f"{estimator.__name__}: {error}")
    else:
        covariance = np.zeros((own.vectors.shape[1],) * 2)
        covariance[np.ix_(varying, varying)] = of_varying
        found = worth.of_covariance(covariance)
    quantity = next(one for one in QUANTITIES if one.name == "effective maps")
    return found.as_json() | {"text": quantity.text(found)}


def train(
    name: str,
    model: nn.Module,
    recipe: Recipe,
    maps: MapSet,
    folder: Path,
    options: argparse.Namespace,
) -> int:
    """Train for the time of the options; gives the number of images that were seen."""
    settings = Settings(
        steps_of(model, recipe, maps, folder, options),
        batch=options.batch,
        lr=recipe.lr,
        ema=recipe.ema,
        augment=random_symmetry,
        seed=options.seed,
    )
    every = max(1, settings.steps // 20)
    records = fit(model, maps, settings, checks=Checks(every=every), folder=folder)
    last = watch(records, settings.steps, name)[-1]
    if last.get("stopped") == "interrupted":
        raise KeyboardInterrupt
    return last["images"]


def steps_of(
    model: nn.Module, recipe: Recipe, maps: MapSet, folder: Path, options: argparse.Namespace
) -> int:
    """How many steps fill the time, measured once, on a copy of the model."""
    plan = folder / "plan.json"
    if plan.exists():
        return json.loads(plan.read_text(encoding="utf-8"))["steps"]
    settings = Settings(24, batch=options.batch, lr=recipe.lr, augment=random_symmetry)
    records = fit(copy.deepcopy(model), maps, settings, checks=Checks(every=1))
    step_s = float(np.median(np.diff([now() for _ in records])))
    steps = max(2, round(60 * options.minutes / step_s))
    write_json(plan, {"steps": steps})
    return steps


def judged(
    name: str, model: nn.Module, drawn: Tensor, train: MapSet, options: argparse.Namespace
) -> FidelityReport:
    """The report on the maps that a model made."""
    given = {}
    if getattr(model, "band_powers", None) is not None:
        generator = torch.Generator().manual_seed(1 + options.seed)
        given[name] = model.realised(drawn, generator)
    truth, null = load_sample("truth"), load_sample("null")
    return compare(truth, null, {name: drawn}, train, given=given, rounds=options.rounds)


@torch.no_grad()
def bits(model: nn.Module) -> float | None:
    """Bits per dimension of the truth; None without a density, or if it is zero for a true map."""
    if not hasattr(model, "log_prob") or hasattr(model, "denoiser"):
        return None
    truth = load_sample("truth").tensor()
    log_prob = torch.cat([model.log_prob(part).double() for part in truth.split(64)])
    found = float(-log_prob.mean() / (math.log(2) * truth[0].numel()))
    if not math.isfinite(found):
        return None
    return found


def numbers_of(report: FidelityReport, name: str) -> dict[str, dict]:
    """The numbers of one set that the page shows: value, text, symbol of the answer."""
    found = {}
    for row in report.rows():
        if row.quantity.name not in SHOWN:
            continue
        estimate = row.estimates[name]
        found[row.quantity.name] = estimate.as_json() | {
            "text": row.quantity.text(estimate),
            "symbol": row.answers[name].symbol,
        }
    found["answers"] = {"text": answers_in_short(report.rows(), name)}
    return found


# ---------------------------------------------------------------- the command


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("what", choices=["run", "table", "ship"])
    add("names", nargs="*", help="families; without: all")
    add("--training", type=Path, help="set of training maps, as by lensnb cut")
    add("--folder", type=Path, default=Path("runs/families"), help="trainings and their reports")
    add("--results", type=Path, default=RESULTS, help="numbers of finished runs")
    add("--boxes", type=int, default=32, help="training boxes, the first of the set")
    add("--minutes", type=float, default=30, help="of training, each")
    add("--seed", type=int, default=0, help="of the weights and of the order of the maps")
    add("--batch", type=int, default=32, help="maps a step")
    add("--threads", type=int, default=1, help="cores of a run")
    add("--rounds", type=int, default=200, help="of the bootstrap, for the errors")
    add("--output", type=Path, help="Markdown file to write; printed in any case")
    add("--csv", type=Path, help="file for the numbers of all runs")
    return options


def finished(results: Path) -> list[dict]:
    """All finished runs."""
    files = sorted(results.glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def main() -> None:
    """Run families, or write the page."""
    parse = parser()
    options = parse.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    known = [OWN, *RECIPES]
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parse.error(f"there is no family {unknown[0]!r}; there are {', '.join(known)}")
    if options.what == "table":
        text = "\n".join(page(finished(options.results))) + "\n"
        if options.output:
            options.output.write_text(text, encoding="utf-8")
        if options.csv:
            numbers_table(finished(options.results)).to_csv(options.csv, index=False)
        print(text)
        return
    if options.training is None:
        parse.error(f"{options.what} needs --training, a set as lensnb cut makes it")
    torch.set_num_threads(options.threads)
    if options.what == "ship":
        for name in options.names:
            ship(name, options)
        return
    for name in options.names or known:
        if name == OWN:
            found = run_own(options)
        else:
            found = run(name, recipe_of(name), options)
        print(f"{name}: {found['found']['answers']['text']}", flush=True)


if __name__ == "__main__":
    main()
