"""Why is covariance lost, and what restores it? One experiment per row; each can be repeated.

    python benchmarks/covariance.py list                        # the rows and what they change
    python benchmarks/covariance.py run "flow" "flow, white base"
    python benchmarks/covariance.py run                         # all rows without a result of today's report
    python benchmarks/covariance.py table --output docs/covariance.md

Every row trains one model on the training maps of the shipped sample. It compares the maps of the
model with truth and null of the sample, and has the null beside. All rows of a family have the same
settings, except for what their text says. Rows that change only the sampling use the training of
the row that they change.

An interrupted training resumes, and a finished row is not run again. Results are in
``runs/covariance/<row>/row.json``, the complete fidelity report in ``report.txt``. ``table`` keeps
the rows that the page already has, so a single row can be run again, also on another machine. A
row with the numbers of an older report is judged again by ``run``, from its finished training. A
page with such numbers is not continued: ``table`` asks for another file.

The page ends with the complete reports of the frontier: few training maps, and maps of 256². The
large maps are cut from the boxes of the sample, which ``lensnb sample`` keeps:

    python benchmarks/covariance.py run "flow, 256 pixels" "diffusion, 256 pixels" --planes PLANES
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lensnb import samplers
from lensnb.compare import NULL, Estimate, FidelityReport, compare
from lensnb.data import SAMPLE, MapSet, load_sample, random_symmetry
from lensnb.files import atomic_write, write_json
from lensnb.maps import BandField, GaussianField, fit_field
from lensnb.models import BandPowers, Diffusion, Flow
from lensnb.nets import CouplingNet, log_scatter, soft_bound
from lensnb.shear import add_shape_noise
from lensnb.sims import LightCone, kappa_maps
from lensnb.theory import Cosmology
from lensnb.train import Settings, fit, watch
from lensnb.transform import KappaTransform

GALAXIES = 30.0  # a square arcminute, for the rows with shape noise
SHOWN = (
    "C_ℓ mean", "C_ℓ scatter", "C_ℓ slope", "scatter of all bins", "slope of all bins", "narrowest direction",
    "contour area", "PDF low end", "classifier on statistics",
)  # fmt: skip

HEAD = f"| row | what it changes | training images | parameters | {' | '.join(SHOWN)} |"

INTRODUCTION = """
Each row trains one model on the training maps of the shipped sample and compares its maps with
the truth. All rows of a family have the same settings, except for the change that is named. The
last nine columns are explained in the [questions](faq.md#what-do-the-rows-of-the-report-mean).
The null is a second set of true maps, from other simulations. Models are compared with truth and
null together, the null with the truth. ± is one standard error. A symbol after a number says: =
as the simulations, * off, ? cannot tell. Each row is one training, and how much trainings scatter
is not in these errors."""


@dataclass(frozen=True)
class Row:
    """One experiment.

    Attributes:
        family: flow or diffusion.
        text: what it changes.
        gaussian: the flow's base, or the diffusion model's preconditioner, is the Gaussian field with the right spectrum.
        scattered: the band powers of the flow's base scatter as those of the maps.
        bands: number of band powers that the diffusion model is conditioned on (0: unconditional).
        logarithm: maps are transformed by the shifted logarithm, or only standardised.
        model: further arguments of the model.
        maps: training maps (0: all), from as many simulations as they come from in order.
        pixels: a side of the maps, which are then cut anew from the boxes of the sample (0: the sample itself).
        steps, batch, lr, ema: of the training.
        augment: the 8 symmetries.
        noisy: train, and judge, with the shape noise of 30 galaxies per square arcminute.
        sampler, levels: of the diffusion model.
        temperature: of the flow.
        trained: the row whose training is used; empty: its own.
    """

    family: str
    text: str
    gaussian: bool = True
    scattered: bool = False
    bands: int = 4
    logarithm: bool = True
    model: tuple[tuple[str, object], ...] = ()
    maps: int = 0
    pixels: int = 0
    steps: int = 500
    batch: int = 32
    lr: float = 1e-3
    ema: float = 0.999
    augment: bool = True
    noisy: bool = False
    sampler: str = "exponential"
    levels: int = 12
    temperature: float = 1.0
    trained: str = ""

    @property
    def frontier(self) -> bool:
        """Few maps or large ones: the whole report is shown."""
        return bool(self.maps or self.pixels)


class Blind(CouplingNet):
    """A conditioner network that sees a few neighbours, but not the standard deviation of the map."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(soft_bound(x)))


class Unbounded(CouplingNet):
    """A conditioner network without the soft bound on bright pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x) + self.strength(log_scatter(x))[:, :, None, None])


def rows() -> dict[str, Row]:
    """All experiments by name; the first of each family is what the others change."""
    found: dict[str, Row] = {}
    for family in ("flow", "diffusion"):
        first = found[family] = Row(family, "as by default")

        def change(name: str, text: str, family: str = family, first: Row = first, **more) -> None:
            found[f"{family}, {name}"] = replace(first, text=text, **more)

        word = "white base" if family == "flow" else "white preconditioner"
        change(
            word,
            "a white field instead of a Gaussian field with the correct spectrum",
            gaussian=False,
        )
        change(
            "no logarithm",
            "κ is only standardised, without the shifted logarithm",
            logarithm=False,
        )
        change("no symmetries", "no augmentation by the 8 symmetries", augment=False)
        change(
            "noise",
            f"training and truth with shape noise, {GALAXIES:g} galaxies per square arcminute",
            noisy=True,
        )
        change("quarter", "a quarter of the training steps", steps=first.steps // 4)
        change("fourfold", "four times the training steps", steps=first.steps * 4)
        # By default the average reaches back a ninth of the run: that is shorter than 1,000 steps below 9,000 of them.
        change("no average", "the final weights instead of their moving average", ema=0.0)
        change(
            "short average",
            "moving average of the weights over 10 steps instead of a ninth of the run",
            ema=0.9,
        )
        for times in (
            (4, 8) if family == "flow" else (4,)
        ):  # four times spoil the diffusion model already
            change(
                f"{times} times the rate", f"{times} times the learning rate", lr=times * first.lr
            )
        for maps in (100, 300):
            change(
                f"{maps} maps",
                f"only {maps} training maps, from as few simulations as possible",
                maps=maps,
            )
        change(
            "256 pixels",
            "the same fields with 256 pixels per side, 8 maps per step",
            pixels=256,
            batch=8,
        )
        if family == "flow":
            change(
                "band powers",
                "a base whose band powers scatter as those of the maps",
                scattered=True,
            )
            change("small", "half the channels", model=(("hidden", 32),))
            change("large", "twice the channels", model=(("hidden", 128),))
            change("spline", "rational-quadratic couplings", model=(("coupling", "spline"),))
            change(
                "blind",
                "the conditioner networks do not see the standard deviation of the map",
                model=(("network", Blind),),
            )
            change(
                "unbounded",
                "the conditioner networks see bright pixels without a soft bound",
                model=(("network", Unbounded),),
            )
            change("cold", "temperature 0.95", temperature=0.95, trained="flow")
            continue
        change("unconditional", "not conditioned on band powers", bands=0)
        change("one band", "conditioned on one band power instead of four", bands=1)
        change(
            "fine levels",
            "training at lower noise levels, ln σ = −1.2 ± 1",
            model=(("log_mean", -1.2),),
        )
        change(
            "coarse levels",
            "training at higher noise levels, ln σ = 0.4 ± 1",
            model=(("log_mean", 0.4),),
        )
        change("no attention", "no self-attention", model=(("unet", {"attention": 0}),))
        change("small", "two thirds of the channels", model=(("widths", (32, 48, 64)),))
        change("large", "four thirds of the channels", model=(("widths", (64, 96, 128)),))
        change("L1", "L1 loss", model=(("criterion", F.l1_loss),))
        change("Huber", "Huber loss", model=(("criterion", F.huber_loss),))
        for name in ("noise", "v", "velocity"):
            change(
                f"predicts {name}", f"the network predicts {name}", model=(("prediction", name),)
            )
        for name, levels in (
            ("exponential", 6), ("exponential", 24), ("heun", 8), ("heun", 18), ("heun", 48), ("stochastic", 18),
            ("stochastic", 48), ("ancestral", 100), ("euler", 48), ("dpm_solver", 18),
        ):  # fmt: skip
            text = f"{name} sampler, {levels} noise levels"
            change(f"{name} {levels}", text, sampler=name, levels=levels, trained="diffusion")
    return found


def sets(row: Row, planes: Path | None) -> list[MapSet]:
    """Training maps, truth and null of a row: those of the sample, or the same number from the same boxes in more pixels."""
    train, truth, null = (load_sample(name) for name in ("train", "truth", "null"))
    if row.pixels:
        if planes is None:
            raise ValueError(
                f"maps of {row.pixels}² are cut from the boxes of the sample: give their folder as --planes"
            )
        about = json.loads((SAMPLE / "sample.json").read_text())
        cone = LightCone(Cosmology(sigma8=about["provenance"]["cone"]["cosmology"]["sigma8"]))
        each = len(train) // len(train.simulations)
        train, truth, null = (
            kappa_maps(range(*about["boxes"][name]), planes, each, cone, n_pix=row.pixels)
            for name in ("train", "truth", "null")
        )
    if row.noisy:
        truth, null = with_noise(truth, 1), with_noise(null, 2)
    return [train[: row.maps or None], truth, null]


def with_noise(maps: MapSet, seed: int) -> MapSet:
    """The same maps with one draw of shape noise each."""
    noisy = add_shape_noise(
        maps.tensor(), maps.side_deg, GALAXIES, generator=torch.Generator().manual_seed(seed)
    )
    return MapSet(noisy.numpy(), maps.side_deg, maps.z_source, maps.simulation)


def augmentation(row: Row, side_deg: float) -> Callable[[Tensor, torch.Generator], Tensor] | None:
    """What happens to every batch: symmetries, and fresh shape noise where the row asks for it."""
    if not row.noisy:
        return random_symmetry if row.augment else None

    def fresh_noise(batch: Tensor, generator: torch.Generator) -> Tensor:
        return add_shape_noise(
            random_symmetry(batch, generator), side_deg, GALAXIES, generator=generator
        )

    return fresh_noise


def build(row: Row, train: MapSet) -> nn.Module:
    """The untrained model of a row; the transform and the Gaussian field are those of the maps that it will see."""
    kappa = (with_noise(train, 0) if row.noisy else train).tensor()
    transform = KappaTransform.fit(kappa, logarithm=row.logarithm)
    gaussian = fit_field(transform(kappa)) if row.gaussian else None
    torch.manual_seed(0)
    if row.family == "flow":
        if row.scattered:
            gaussian = BandField.fit(transform(kappa), gaussian)
        return Flow(train.grid.n, transform, gaussian, **dict(row.model))
    if gaussian is None:
        gaussian = GaussianField.white(train.grid.n)
    powers = None
    if row.bands:
        powers = BandPowers.fit(transform(kappa), gaussian, row.bands)
    return Diffusion(train.grid.n, transform, gaussian, band_powers=powers, **dict(row.model))


def draw(row: Row, model: nn.Module, n_maps: int) -> Tensor:
    """Maps of a trained model, as the row says."""
    generator = torch.Generator().manual_seed(1)
    if row.family == "flow":
        return model.sample(n_maps, generator, temperature=row.temperature)
    return model.sample(n_maps, generator, row.levels, getattr(samplers, row.sampler))


def numbers_of(estimate: Estimate) -> list[float | None]:
    """Value and error; None where they are not defined."""
    return [*estimate.as_json().values()]


def text_of(value: float | None, error: float | None, symbol: str = "") -> str:
    """A number with its error and the symbol of its answer; a dash if it is not defined."""
    if value is None:
        return "–"
    return f"{value:.3f} ± {error or 0:.3f} {symbol}".rstrip()


def found_in(report: FidelityReport, judged: str) -> dict[str, list]:
    """The numbers of one set that the table shows: value, error and the symbol of the answer."""
    found = {}
    for row in report.rows():
        if row.quantity.name in SHOWN:
            symbol = row.answers[judged].symbol
            found[row.quantity.name] = [*numbers_of(row.estimates[judged]), symbol]
    return found


def is_current(result: Path) -> bool:
    """Whether a row has a result with the numbers of the present report."""
    if not result.exists():
        return False
    return set(SHOWN) <= set(json.loads(result.read_text())["found"])


def run(name: str, row: Row, folder: Path, n_maps: int, planes: Path | None = None) -> dict:
    """Train (or go on, or take the training of another row), draw, judge, and write the result."""
    of = row.trained or name
    train, truth, null = sets(row, planes)
    started = time.perf_counter()
    model = build(row, train)
    settings = Settings(
        row.steps,
        batch=row.batch,
        lr=row.lr,
        ema=row.ema,
        augment=augmentation(row, train.side_deg),
    )
    records = watch(fit(model, train.tensor(), settings, folder=folder / of), row.steps, of)
    trained = time.perf_counter()
    maps = draw(row, model, n_maps)
    drawn = time.perf_counter()
    report = compare(
        truth, null, {name: maps}, train if row.frontier else None, look_at_maps=row.frontier
    )
    result = {
        "row": {k: repr(v) if k == "model" else v for k, v in asdict(row).items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "images": row.steps * row.batch,
        "training_s": records[-1]["seconds"] if records else trained - started,
        "map_s": (drawn - trained) / n_maps,
        "not_finite": int((~torch.isfinite(maps.flatten(1)).all(1)).sum()),
        "found": found_in(report, name),
        "null": found_in(report, NULL),
    }  # fmt: skip
    with atomic_write(folder / name / "report.txt") as file:
        file.write(f"{report}\n".encode())
    write_json(folder / name / "row.json", result)
    return result


def table(found: dict[str, dict], reports: dict[str, str], before: str = "") -> Iterator[str]:
    """The page: one line a row, the null first, with the symbols of the answers; then the whole reports.

    Args:
        found: results by row.
        reports: the whole reports of the frontier by row.
        before: an earlier page; rows of it that are as they were, and not among the results, stay.

    Raises:
        ValueError: the earlier page has other numbers, those of an older report.
    """
    known = rows()
    heads = {line for line in before.splitlines() if line.startswith("| row | what it changes | ")}
    if heads - {HEAD}:
        raise ValueError(
            "the page has the numbers of an older report, which do not stand beside those of the "
            "present one: give another file as --output, or delete the page"
        )
    lines, kept = _lines_of(before, known), _reports_of(before, known)
    yield "# Why is covariance lost, and what restores it?\n"
    yield "Made by `python benchmarks/covariance.py run` and `… table --output docs/covariance.md`; its docstring explains the method."
    yield f"{INTRODUCTION}\n"
    for family in ("flow", "diffusion"):
        null, body = "", []
        for name in (name for name, row in known.items() if row.family == family):
            if name in found:
                r = found[name]
                of_null = " | ".join(text_of(*r["null"][key]) for key in SHOWN)
                cells = [text_of(*r["found"][key]) for key in SHOWN]
                line = f"| {name} | {r['row']['text']} | {r['images']:,} | {r['parameters']:,} | {' | '.join(cells)} |"
            elif name in lines:
                of_null, line = lines[name]
            else:
                continue
            null = null or of_null
            body += [f"| null of the next row | | | | {of_null} |"] * (of_null != null) + [line]
        if body:
            yield f"## {family.capitalize()}\n"
            yield HEAD
            yield "|---|---|--:|--:|" + "--:|" * len(SHOWN)
            yield f"| null | | | | {null} |"
            yield from [*body, ""]
    whole = [name for name in known if name in reports or name in kept]
    if whole:
        yield "## The frontier: few training maps, and large maps\n"
    for name in whole:
        yield f"{_title(name, known[name])}\n\n```text\n{reports.get(name, kept.get(name)).rstrip()}\n```\n"
    missing = [name for name in known if name not in found and name not in lines]
    if missing:
        yield f"Not run yet: {'; '.join(missing)}.\n"


def _title(name: str, row: Row) -> str:
    return f"{name[0].upper()}{name[1:]}: {row.text}."


def _lines_of(page: str, known: dict[str, Row]) -> dict[str, tuple[str, str]]:
    """From a page: each known row's numbers of the null, and its line."""
    found, null, following = {}, "", ""
    for line in page.splitlines():
        cells = line.strip("| ").split(" | ")
        if line.startswith("| null | | | | "):
            null = line.removeprefix("| null | | | | ").removesuffix(" |")
        elif line.startswith("| null of the next row | | | | "):
            following = line.removeprefix("| null of the next row | | | | ").removesuffix(" |")
        elif cells[0] in known and len(cells) > 1 and cells[1] == known[cells[0]].text:
            found[cells[0]], following = (following or null, line), ""
    return found


def _reports_of(page: str, known: dict[str, Row]) -> dict[str, str]:
    """From a page: the whole reports that stand under the titles of known rows."""
    found = {}
    for name, row in known.items():
        _, title, rest = page.partition(f"\n{_title(name, row)}\n\n```text\n")
        if title:
            found[name] = rest.partition("\n```")[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["list", "run", "table"])
    parser.add_argument("names", nargs="*", help="rows to run (all without a current result)")
    parser.add_argument("--folder", type=Path, default=Path("runs/covariance"))
    parser.add_argument("--maps", type=int, default=1024, help="maps to judge by")
    parser.add_argument(
        "--steps", type=int, default=0, help="optimiser steps (0: as the row says)"
    )
    parser.add_argument(
        "--planes", type=Path, help="the boxes of the sample, for rows with maps of more pixels"
    )
    parser.add_argument(
        "--output", type=Path, help="file for the table (by default it is printed)"
    )
    options = parser.parse_intermixed_args()  # names may come after options
    known = rows()
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}; `list` shows them")
    done = {name: options.folder / name / "row.json" for name in known}
    if options.what == "list":
        print("\n".join(f"{name:32} {row.text}" for name, row in known.items()))
    elif options.what == "run":
        for name in options.names or [name for name in known if not is_current(done[name])]:
            row = replace(known[name], steps=options.steps) if options.steps else known[name]
            result = run(name, row, options.folder, options.maps, options.planes)
            print(name, json.dumps(result["found"], ensure_ascii=False), flush=True)
    else:
        found = {
            name: json.loads(path.read_text()) for name, path in done.items() if is_current(path)
        }
        reports = {
            name: (done[name].parent / "report.txt").read_text()
            for name in found
            if known[name].frontier
        }
        before = options.output.read_text() if options.output and options.output.exists() else ""
        try:
            page = "\n".join(table(found, reports, before))
        except ValueError as error:
            parser.error(f"{options.output}: {error}")
        if options.output is None:
            print(page)
        else:
            with atomic_write(options.output) as file:
                file.write((page + "\n").encode())


if __name__ == "__main__":
    main()
