"""The benchmarks run, on a few small maps, and write whole pages."""

import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lensnb.compare import QUANTITIES, Estimate, Row
from lensnb.ensemble import Ensemble
from lensnb.sims.sample import sample_cone

ROOT = Path(__file__).parent.parent


def tables(page: str) -> list[list[list[str]]]:
    """The cells of each table in a Markdown page, row by row, the header first and the rule left out."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", page, re.M)
    rows = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    return [
        [[cell.strip() for cell in row] for row in table if set("".join(row)) - set("-:")]
        for table in rows
    ]


@pytest.mark.nightly
def test_statistics_are_timed_with_and_without_the_optional_packages(tmp_path):
    output = tmp_path / "page.md"
    options = [
        "--maps",
        "8",
        "--pixels",
        "32",
        "--repeat",
        "1",
        "--device",
        "cpu",
        "--output",
        str(output),
    ]
    command = [sys.executable, str(ROOT / "benchmarks/statistics.py"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    targets, costs, growth, others = tables(output.read_text(encoding="utf-8"))
    for table in (targets, costs, growth, others):
        assert {len(row) for row in table} == {len(table[0])}, table
    names = [
        "power", "bispectrum", "pdf", "moments", "peaks", "minima", "minkowski", "starlet peaks", "starlet l1",
        "scattering",
    ]  # fmt: skip
    floor = ["`rfft2`, one call", "`rfft2`, batches"]
    assert [row[0] for row in costs[1:]] == [
        *floor,
        *names,
        "**whole suite**",
        "bins of the suite",
    ]
    assert [row[0] for row in growth[1:]] == [*floor, *names, "**whole suite**"]
    assert list(dict.fromkeys(row[0] for row in others[1:])) == names
    for row in others[1:]:
        compared = (
            re.fullmatch(r"\*\*.+ ×\*\* \(.+ : .+\)", row[2])
            and float(row[3].removesuffix(" σ")) < 0.5
        )
        assert compared or row[2] == "not installed", row
    assert all(
        re.fullmatch(r"[\d.e+-]+ (s|ms|µs|ns)", row[1]) and float(row[3]) > 0 for row in costs[1:]
    )


NAMES = [
    "lensnb Flow",
    "normflows Glow",
    "lensnb Diffusion",
    "denoising-diffusion-pytorch",
    "diffusers UNet2DModel, DDPM",
]


@pytest.mark.nightly
def test_generators_are_held_against_what_is_installed(tmp_path):
    """All parts on maps of 16²: a row for each model, as many parameters within 5 %, whole tables; the numbers mean nothing."""
    output = tmp_path / "page.md"
    command = [
        sys.executable,
        str(ROOT / "benchmarks/generators.py"),
        "--quick",
        "--device",
        "cpu",
        "--folder",
        str(tmp_path),
        "--output",
        str(output),
    ]
    one = [*command, "--parts", "same-time", "--only", NAMES[0]]
    first = subprocess.run(one, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0 and not output.exists(), first.stderr
    assert (tmp_path / "same-time" / "lensnb-flow" / "maps-000.npz").exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    targets, speed, *told, reached, settled = tables(output.read_text(encoding="utf-8"))
    assert len(told) == 4  # costs and numbers, after the same time and after as many images
    for table in (targets, speed, *told, reached, settled):
        assert {len(row) for row in table} == {len(table[0])}, table
    assert list(dict.fromkeys(row[0] for row in speed[1:])) == NAMES
    missing = {row[0] for row in speed[1:] if row[1] == "not installed"}
    here = [name for name in NAMES if name not in missing]
    parameters = {row[0]: int(row[1].replace(",", "")) for row in speed[1:] if row[0] in here}
    for name, against in (
        ("normflows Glow", "lensnb Flow"),
        *((name, "lensnb Diffusion") for name in NAMES[3:]),
    ):
        assert name in missing or parameters[name] == pytest.approx(parameters[against], rel=0.05)
    assert all(
        float(row[3]) > 0 for row in speed[1:] if row[0] in here and row[3] != "does not run"
    )
    judged = [f"{NAMES[0]}, untrained"]
    for name in here:
        judged += [f"{name}, untrained", name] if name == NAMES[2] else [name]
    for costs, fidelity in (told[:2], told[2:]):
        assert [row[0] for row in costs[1:]] == judged + [n for n in NAMES if n in missing]
        assert [row[0] for row in fidelity[1:]] == ["null (true maps)", *judged]
        assert "contour area (amplitude of κ, tilt of κ)" in fidelity[0]
    samplers = ["euler", "heun", "stochastic", "ancestral", "dpm_solver", "exponential"]
    assert [row[0] for row in settled[1:]] == samplers
    calls = [
        f"{name}, {n}"
        for name in samplers
        for n in ((5, 9) if name in ("heun", "stochastic") else (5, 10))
    ]
    assert [row[0] for row in reached[1:]] == ["null (true maps)", *calls, "DDPM's recipe, 4"]
    assert {row[2] for row in targets[1:]} <= {"met", "**missed**"}


def generator_options(folder: Path, **others):
    """The options of the smallest comparison of generators."""
    options = {"pixels": 16, "batch": 2, "minutes": 1.0, "cap": 1.0, "lr": 1e-3, "rates": [1e-3]}
    options |= {"ancestral": 2, "maps": 40, "device": torch.device("cpu")}
    return SimpleNamespace(folder=folder, **(options | others))


def test_slow_generators_are_stopped_and_the_page_says_so(monkeypatch, tmp_path):
    """As many steps as the fastest one made, or what fits into the cap; the fastest one stays."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import generator_trainings as trainings

    def result(steps: int, seconds: float):
        return trainings.Result(trainings.Plan(steps, 1e-3, "float32"), seconds, None, None)

    def train(part, name, model, maps, plan, options):
        assert part == "same-images" and model == name
        return trainings.Result(plan, 0.0, None, None)

    monkeypatch.setattr(trainings, "train", train)
    before = {"A, untrained": result(0, 0.0), "A": result(1000, 60.0)}
    before |= {"B": result(500, 60.0), "C": result(10, 50.0)}
    options, found = generator_options(tmp_path, cap=20.0), {name: name for name in "ABC"}
    after = trainings.trained_on_as_many_images(found, before, None, options)
    assert {name: one.plan.steps for name, one in after.items()} == {
        "A, untrained": 0,
        "A": 1000,
        "B": 1000,
        "C": 240,
    }
    assert after["A"] is before["A"]
    chosen = trainings.trained_on_as_many_images(found, before, None, options, ["B"])
    assert list(chosen) == ["B"]
    said = " ".join(trainings.capped(after, options))
    assert "C saw 24% of the images only" in said and "20 minutes" in said and "B" not in said


class Noise(nn.Module):
    """Draws white noise of the size of its only weight, and counts the draws."""

    family, config = "noise", {}

    def __init__(self):
        super().__init__()
        self.size, self.draws = nn.Parameter(torch.ones(())), 0

    @classmethod
    def from_config(cls, config):
        return cls()

    def loss(self, batch, generator=None):
        return (self.size - batch.std()) ** 2

    def sample(self, n, generator=None):
        self.draws += 1
        return self.size.detach() * torch.randn(n, 16, 16, generator=generator)


def test_a_comparison_of_generators_goes_on_where_it_was(monkeypatch, tmp_path):
    """Neither training nor maps are made twice, and another comparison is refused."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import generator_trainings as trainings

    monkeypatch.setattr(trainings, "steps_in", lambda *_: 3)
    maps, options = torch.randn(8, 16, 16), generator_options(tmp_path)
    plan = trainings.planned("noise", Noise(), maps, options)
    assert plan == (3, 1e-3, "float32")
    first, again = Noise(), Noise()
    result = trainings.train("same-time", "noise", first, maps, plan, options)
    assert result.drawn.maps.shape == (40, 16, 16) and first.draws == 2
    (tmp_path / "same-time/noise/maps-001.npz").unlink()
    monkeypatch.setattr(trainings, "steps_in", None)
    plan = trainings.planned("noise", again, maps, options)
    resumed = trainings.train("same-time", "noise", again, maps, plan, options)
    assert again.draws == 1 and torch.equal(again.size, first.size)
    assert resumed.seconds >= result.seconds > 0
    torch.testing.assert_close(resumed.drawn.maps, result.drawn.maps, rtol=0, atol=0)
    with pytest.raises(ValueError, match="use another --folder"):
        trainings.planned("noise", again, maps, generator_options(tmp_path, minutes=2.0))


def test_all_generators_see_the_logarithm(monkeypatch):
    """The models of the other libraries, without these, have the transform of lensnb's own."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import other_generators as others
    from lensnb.transform import KappaTransform

    class Library(nn.Module):
        def __init__(self, transform, n, width, *_):
            super().__init__()
            self.transform, self.weight = transform, nn.Parameter(torch.zeros(width))

        def log_prob(self, maps):
            return self.transform(maps)

    for name in ("Glow", "Lucidrains", "Diffusers"):
        monkeypatch.setattr(others, name, Library)
    maps = torch.randn(64, 16, 16, generator=torch.Generator().manual_seed(0)).exp()
    expected = KappaTransform.fit(maps)
    assert math.isfinite(expected.shift)
    for make in (others.glow, others.lucidrains, others.diffusers):
        torch.testing.assert_close(make(maps, 50, 2).transform(maps), expected(maps))


def test_a_width_is_found_for_any_number_of_parameters(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.other_generators import nearest

    linear = lambda width: nn.Linear(width, width, bias=False)  # width² parameters
    assert [nearest(linear, range(1, 100), n) for n in (1, 49, 60, 9801, 10**6)] == [
        1,
        7,
        8,
        99,
        99,
    ]


def test_a_sampler_is_settled_only_where_more_evaluations_change_nothing(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.generator_drawing import Drawn
    from benchmarks.generator_evaluations import settles

    def settled(*values: float) -> float:
        """The evaluations 5, 10, 20, … at which a number with these values and errors of 0.1 is settled."""
        found = [Drawn(torch.empty(0), 1.0, 5 * 2**i) for i in range(len(values))]
        sets = {
            f"heun, {one.evaluations}": Estimate(v, np.array([v - 0.1, v + 0.1]))
            for one, v in zip(found, values)
        }
        report = SimpleNamespace(rows=lambda: [Row(QUANTITIES[0], sets, {})])
        return settles(report, "heun", found)

    assert settled(2.0, 1.02, 1.05, 1.0) == 10
    assert settled(1.0, 1.5, 1.05, 1.0) == 20
    assert settled(2.0, 1.5, 1.2, 1.0) == math.inf


def test_numbers_of_generators_stand_with_their_answers(monkeypatch):
    """Ours is as the simulations, or it is closer to what is expected than the other."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.generator_tables import SHOWN, fidelity_table, is_better

    quantity = next(one for one in QUANTITIES if one.name == SHOWN[0])
    ours, same, wide, other = (
        Estimate(np.asarray(value), error=np.asarray(error))
        for value, error in ((0.90, 0.01), (1.02, 0.01), (0.95, 0.2), (0.985, 0.01))
    )
    sets = {"ours": ours, "same": same, "wide": wide, "other": other}
    answers = {name: quantity.answer(one, 3.0) for name, one in sets.items()}
    row = Row(quantity, sets, answers)
    better = {name: is_better(row, name, "other") for name in sets}
    assert better == {"ours": False, "same": True, "wide": False, "other": True}
    counts = {"truth": {"maps": 512}} | {name: {"dropped": 0} for name in sets}
    report = SimpleNamespace(rows=lambda: [row], names=list(sets), counts=counts, parameters=())
    page = "\n".join(fidelity_table(report))
    assert [cells[1] for cells in tables(page)[0][1:]] == [
        "0.90 ± 0.01 *",
        "1.02 ± 0.01 =",
        "0.95 ± 0.20 ?",
        "0.98 ± 0.01 =",
    ]
    for meaning in ("= as the simulations", "* off", "? cannot tell", "512 maps"):
        assert meaning in page.replace("\n", " ")


def test_no_target_counts_what_an_untrained_model_wins(monkeypatch):
    """Of three numbers one is won untrained, one is learnt, and one is not."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.generator_models import DIFFUSION
    from benchmarks.generator_tables import SHOWN, fidelity_targets, untrained, untrained_notes

    other = "diffusers UNet2DModel, DDPM"
    values = {  # of the untrained model, the trained one, the other
        SHOWN[0]: (1.00, 1.00, 1.20),
        SHOWN[1]: (0.60, 1.00, 1.20),
        SHOWN[2]: (0.60, 0.60, 1.20),
    }
    rows = []
    for quantity in QUANTITIES:
        if quantity.name in values:
            three = [Estimate(np.asarray(v), error=0.01) for v in values[quantity.name]]
            sets = dict(zip((untrained(DIFFUSION), DIFFUSION, other), three))
            answers = {name: quantity.answer(one, 3.0) for name, one in sets.items()}
            rows.append(Row(quantity, sets, answers))
    report = SimpleNamespace(rows=lambda: rows, names=[untrained(DIFFUSION), DIFFUSION, other])
    ((target, found, met),) = fidelity_targets(report, "the same time")
    assert target.startswith("after the same time, closer to the truth than diffusers")
    assert (found, met) == (f"1 of 2 numbers: {SHOWN[1]}", False)
    (note,) = untrained_notes(report)
    assert note.endswith(f"in: {SHOWN[0]}. No target counts these.")


@pytest.mark.nightly
def test_memory_is_measured_in_processes_of_their_own(tmp_path):
    output = tmp_path / "page.md"
    options = ["--pixels", "16", "--batch", "2", "--draw", "4", "--output", str(output)]
    command = [sys.executable, str(ROOT / "benchmarks/memory.py"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (table,) = tables(output.read_text(encoding="utf-8"))
    assert len(table) == 9 and all(
        0.1 < float(row[2].removesuffix(" GB")) < 3 for row in table[1:]
    )


@pytest.mark.nightly
def test_sets_on_disk_are_held_against_sets_in_memory(tmp_path):
    pytest.importorskip("zarr")
    output = tmp_path / "page.md"
    options = ["--maps", "512", "--pixels", "16", "--measured", "512", "--repeat", "1"]
    command = [
        sys.executable,
        str(ROOT / "benchmarks/store.py"),
        *options,
        "--folder",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    asked, ratios, copies, memory = tables(output.read_text(encoding="utf-8"))
    for table in (asked, ratios, copies, memory):
        assert {len(row) for row in table} == {len(table[0])}, table
    assert [len(row[4].split(", ")) for row in ratios[1:]] == [2, 2, 1]
    assert all(float(ratio) > 0 for row in ratios[1:] for ratio in row[4].split(", "))
    assert {row[2] for row in asked[1:]} <= {"met", "**missed**"}
    assert all(0.1 < float(cell.removesuffix(" GB")) < 3 for row in memory[1:] for cell in row[1:])
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.nightly
@pytest.mark.browser
def test_the_latencies_of_the_widgets_are_printed():
    pages = pytest.importorskip("pages", reason="no anywidget: pip install 'lensnb[lab]'")
    pytest.importorskip("playwright", reason="no playwright: pip install 'lensnb[test]'")
    if pages.chromium() is None:
        pytest.skip("no Chromium: install it, or set CHROMIUM to where it is")
    options = ["--pixels", "32", "--maps", "30"]
    command = [sys.executable, str(ROOT / "benchmarks/widgets.py"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps, drag, first, again = done.stdout.splitlines()
    assert re.fullmatch(r"30 maps of 32²: a step takes \d+ ms, \d+ ms at most", steps)
    assert re.fullmatch(r"30 maps of 32²: a drag shows \d+ maps a second", drag)
    for line in (first, again):
        assert re.fullmatch(r"a choice in a report, .+: \d+ ms, \d+ ms at most", line)


def test_a_loss_of_correlation_leaves_the_scatter(monkeypatch):
    """C → (1 − f) C + f diag C; 20,000 maps know a correlation to 0.007."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.calibration import loosened

    rng = np.random.default_rng(0)
    common = rng.normal(size=(20_000, 1))
    vectors = 3 + common + rng.normal(size=(20_000, 3))
    ensemble = Ensemble(vectors)
    weaker = loosened(ensemble, 0.2, rng)
    np.testing.assert_allclose(weaker.mean(), ensemble.mean(), rtol=1e-6)
    np.testing.assert_allclose(weaker.std(), ensemble.std(), rtol=0.02)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(weaker.correlation()[off], 0.8 * 0.5, atol=0.03)


def test_boxes_are_divided_without_rest(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.true_boxes import divided

    boxes = np.arange(100, 197)
    parts = divided(boxes, 24, seed=3)
    assert [len(part) for part in parts] == [24, 37, 36]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), boxes)


@pytest.mark.nightly
def test_mass_mapping_is_judged_on_true_maps(tmp_path):
    """On maps of 16²: rows for all reconstructions and for all checks; an interrupted run goes on."""
    output = tmp_path / "page.md"
    options = "--minutes 0.02 --pixels 16 --maps 80 --draws 5 --steps 2 --batch 8".split()
    command = [sys.executable, str(ROOT / "benchmarks/mass_mapping.py"), *options]
    command += ["--folder", str(tmp_path / "run"), "--output", str(output)]
    pages = []
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        pages.append(tables(output.read_text(encoding="utf-8")))
    recovered, calibrated = pages[0]
    assert [row[0] for row in recovered[1:3]] == ["Kaiser–Squires", "Wiener filter"]
    assert len(recovered) == 9
    for table in (recovered, calibrated):
        assert {len(row) for row in table} == {len(table[0])}, table
    assert pages[0] == pages[1]


@pytest.mark.nightly
def test_costs_of_large_maps_are_measured(tmp_path):
    output = tmp_path / "page.md"
    options = ["--pixels", "64", "128", "--maps", "2", "--output", str(output)]
    command = [sys.executable, str(ROOT / "benchmarks/large_maps.py"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (costs,) = tables(output.read_text(encoding="utf-8"))
    assert costs[0] == ["", "64²", "128²", "power"]
    names = [row[0] for row in costs[1:]]
    assert names[0] == "details: draw a map" and names[-1] == "statistics: all statistics of a map"
    assert len(names) == 9 and all(math.isfinite(float(row[-1])) for row in costs[1:])


@pytest.mark.nightly
def test_cheap_simulations_are_judged_beside_full_ones(monkeypatch, tmp_path):
    """With tiny boxes: rows for all maps and samples, and a run that is done is not done again."""
    pytest.importorskip("pmpp", reason="no PM++: pip install 'lensnb[sims]'")
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import cheap_simulations

    tiny = replace(sample_cone(), n_particles=16, plane_size=64)
    monkeypatch.setattr(cheap_simulations, "sample_cone", lambda: tiny)
    output = tmp_path / "page.md"
    words = "--boxes 10 --maps-a-box 4 --minutes 0.02 --maps 80 --draws 5 --steps 2 --batch 8"
    words = [str(tmp_path / "planes"), *words.split(), "--folder", str(tmp_path / "run")]
    pages = []
    for _ in range(2):
        cheap_simulations.main([*words, "--output", str(output)])
        pages.append(tables(output.read_text(encoding="utf-8")))
    recovered, calibrated, worth = pages[0]
    assert [row[0] for row in recovered[1:3]] == ["cheap", "linear regression"]
    assert worth[0][3:] == ["cheap", "trained", "full, training boxes"]
    for table in (recovered, calibrated, worth):
        assert {len(row) for row in table} == {len(table[0])}, table
    assert pages[0] == pages[1]
