"""The benchmarks run, on a few small maps, and write whole pages."""

import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lensnb.compare import QUANTITIES, Estimate, Row
from lensnb.ensemble import Ensemble

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
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    targets, speed, trained, fidelity, reached, settled, power = tables(
        output.read_text(encoding="utf-8")
    )
    for table in (targets, speed, trained, fidelity, reached, settled, power):
        assert {len(row) for row in table} == {len(table[0])}, table
    assert (
        list(dict.fromkeys(row[0] for row in speed[1:]))
        == [row[0] for row in trained[1:]]
        == NAMES
    )
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
    assert [row[0] for row in fidelity[1:]] == ["null (true maps)", *here]
    samplers = ["euler", "heun", "stochastic", "ancestral", "dpm_solver", "exponential"]
    assert [row[0] for row in settled[1:]] == samplers
    calls = [
        f"{name}, {n}"
        for name in samplers
        for n in ((5, 9) if name in ("heun", "stochastic") else (5, 10))
    ]
    assert [row[0] for row in reached[1:]] == ["null (true maps)", *calls, "DDPM's recipe, 4"]
    assert [row[0] for row in power[1:]] == ["lensnb Flow", "lensnb Diffusion"]
    assert {row[2] for row in targets[1:]} <= {"met", "**missed**"}


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
    from benchmarks.generators import Drawn, reached, settles

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
    spent = np.array([1.0, 2.0, 3.0, 4.0])
    assert reached(spent, np.array([False, True, False, True])) == (2.0, 4.0)
    assert reached(spent, np.array([True, False, False, False])) == (1.0, math.inf)


def test_numbers_of_generators_stand_with_their_answers(monkeypatch):
    """Ours is as the simulations, or it is closer to what is expected than the other."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.generators import SHOWN, fidelity_table, is_better

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
    report = SimpleNamespace(rows=lambda: [row], names=list(sets), counts=counts)
    page = "\n".join(fidelity_table(report))
    assert [cells[1] for cells in tables(page)[0][1:]] == [
        "0.900 ± 0.010 *",
        "1.020 ± 0.010 =",
        "0.950 ± 0.200 ?",
        "0.985 ± 0.010 =",
    ]
    for meaning in ("= as the simulations", "* off", "? cannot tell", "512 maps"):
        assert meaning in page.replace("\n", " ")


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
