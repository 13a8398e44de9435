"""A saved report is the same report: drawn, inspected, joined with another; and its tables for other programs.

Nothing here is statistical: two reports, or a report and its file, must agree.
"""

import csv
import io
import json
import re
import sys
from dataclasses import replace

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from lensnb import plot
from lensnb.compare import NULL, Cost, Estimate, FidelityReport, compare
from lensnb.compare.saving import KINDS, estimate_json, estimate_of
from lensnb.compare.sets import BOTH, TRAIN
from lensnb.data import MapSet
from lensnb.maps import GaussianField, MapGrid
from lensnb.stats import suite

GRID = MapGrid(16, 5.0)
MAPS = 48


def maps(seed: int) -> torch.Tensor:
    field = GaussianField.from_power(GRID, lambda ell: 1e-9 * (ell / 500) ** -1.2)
    return field.sample(MAPS, torch.Generator().manual_seed(seed))


def true_maps(seed: int) -> MapSet:
    names = np.array([f"box {seed}-{k // 2}" for k in range(MAPS)])  # names, two maps a box
    return MapSet(maps(seed).numpy(), 5.0, simulation=names)


def compared(generated: dict, truth: int = 0, **changes) -> FidelityReport:
    sets = true_maps(truth), true_maps(1)
    how = {"train": true_maps(2), "look_at_maps": False, "rounds": 5}
    how["statistics"] = suite(sets[0].tensor(), 5.0, ["power", "pdf"])
    return compare(*sets, generated, **how | changes)


@pytest.fixture(scope="module")
def report() -> FidelityReport:
    generated = {"my_flow & 50%": maps(3), "dark": 0.8 * maps(4)}
    costs = {"dark": Cost(parameters=7, map_s=0.5)}
    return compared(generated, look_at_maps=True, costs=costs)


@pytest.fixture(scope="module")
def saved(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("report") / "report.json")


@pytest.fixture
def loaded(saved) -> FidelityReport:
    return FidelityReport.load(saved)


# -------------------- the same report


def test_a_saved_report_has_the_same_numbers_and_words(report, loaded):
    assert str(loaded) == str(report)
    assert loaded._repr_html_() == report._repr_html_()
    assert loaded.failures() == report.failures() and loaded.undecided() == report.undecided()
    assert loaded.by_statistic("scatter") == report.by_statistic("scatter")
    here, there = report.as_json(), loaded.as_json()
    of_vectors = "truth"  # means and scatters of the truth, from vectors that were rounded
    assert {key: here[key] for key in here if key != of_vectors} == {
        key: there[key] for key in there if key != of_vectors
    }


def test_its_vectors_are_those_of_float32(report, loaded):
    assert set(loaded.ensembles) == set(report.ensembles)
    for name, by_statistic in report.ensembles.items():
        for statistic, one in by_statistic.items():
            other = loaded.ensembles[name][statistic]
            np.testing.assert_array_equal(other.vectors, one.vectors.astype(np.float32))
            np.testing.assert_array_equal(other.simulation, one.simulation)


def test_it_is_drawn_as_before(report, loaded):
    for draw in (plot.scorecard, plot.tails, plot.correlations, plot.correlation_ratios):
        before, after = draw(report), draw(loaded)
        for left, right in zip(before.axes, after.axes, strict=True):
            assert (
                left.get_title() == right.get_title() and left.get_xlabel() == right.get_xlabel()
            )
            for one, other in zip(left.lines, right.lines, strict=True):
                heights = [np.asarray(line.get_ydata(), float) for line in (one, other)]
                np.testing.assert_allclose(heights[1], heights[0], rtol=1e-5)
    for draw in (plot.slopes, plot.eigenvalues, plot.neighbours):
        drawn = draw(plt.figure().add_subplot(), loaded)
        assert len(drawn.lines) == len(draw(plt.figure().add_subplot(), report).lines) > 1
    plot.comparison(loaded, ["power"])
    plt.close("all")


def test_it_is_inspected(report, loaded):
    pytest.importorskip("anywidget", exc_type=ImportError)
    from lensnb.widgets import inspect

    before, after = (inspect(one, sizes=[16]) for one in (report, loaded))
    assert after._shown["reasons"] == before._shown["reasons"]
    for widget in (before, after):
        widget.maps = 16  # judged anew, from the vectors
    scatter = [one._shown["sets"]["dark"]["scatter"]["value"] for one in (before, after)]
    assert scatter[1] == pytest.approx(scatter[0], rel=1e-4)


def test_every_kind_of_number_is_known():
    assert set(KINDS.values()) == {Estimate, *Estimate.__subclasses__()}


def test_numbers_that_json_lacks_come_back():
    kept = json.loads(
        json.dumps(estimate_json(Estimate(np.array([np.nan, np.inf, 1.0]), error=np.ones(3))))
    )
    found = estimate_of(kept)
    np.testing.assert_array_equal(found.value, [np.nan, np.inf, 1.0])
    assert found.dof == np.inf


def test_statistics_that_were_saved_measure_nothing(loaded):
    with pytest.raises(ValueError, match="'power' comes from a saved report, which does not keep"):
        loaded.statistics["power"](maps(0))


# -------------------- files


def test_the_vectors_take_little_more_than_they_hold(report, saved):
    """Less than four bytes a number; all other numbers are a small constant."""
    numbers = sum(len(one["power"]) for name, one in report.ensembles.items() if name != BOTH)
    numbers *= sum(len(one.x) for one in report.statistics.values())
    assert saved.with_suffix(".npz").stat().st_size < 4 * numbers + 50_000


def test_files_that_do_not_belong_together_are_refused(report, saved, tmp_path):
    for file in (saved, saved.with_suffix(".npz")):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / saved.name
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ValueError, match="report.npz were not saved together"):
        FidelityReport.load(path)
    assert str(FidelityReport.load(path.with_suffix(".npz"))) == str(report)
    path.with_suffix(".npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match="is not a whole file of a report"):
        FidelityReport.load(path)
    path.with_suffix(".npz").unlink()
    with pytest.raises(FileNotFoundError, match="report.npz is missing; expected a report that"):
        FidelityReport.load(path)
    with pytest.raises(ValueError, match="is the name of the vectors of a report"):
        report.save(tmp_path / "report.npz")


# -------------------- joined


def test_two_reports_are_one(loaded):
    other = compared({"new": maps(5)})
    both = loaded.joined(other)
    assert both.names == [*loaded.names, "new"]
    rows = {row.quantity.name: row for row in both.rows()}
    for row in other.rows():
        assert rows[row.quantity.name].estimates["new"] == row.estimates["new"]
    # Copies were not searched in the second report, and the table says so with a dash.
    assert np.isnan(rows["copies of training maps"].estimates["new"].value)
    assert "new" in str(both) and both.failures("dark") and plot.scorecard(both)
    assert loaded.names == [NULL, "my_flow & 50%", "dark"]  # which is as it was
    plt.close("all")


def test_reports_about_other_maps_are_not_joined(loaded):
    with pytest.raises(ValueError, match="the set 'truth' has other maps, bins or noise"):
        loaded.joined(compared({"new": maps(5)}, truth=9))
    with pytest.raises(ValueError, match="only one of the reports has a set 'train'"):
        loaded.joined(compared({"new": maps(5)}, train=None))
    with pytest.raises(ValueError, match="both reports judge a set 'dark'"):
        loaded.joined(compared({"dark": maps(5)}))
    with pytest.raises(ValueError, match="other statistics"):
        loaded.joined(replace(loaded, statistics={"power": loaded.statistics["power"]}))
    assert TRAIN in loaded.ensembles


# -------------------- for other programs


def test_csv_has_a_row_for_each_number_and_set(report, tmp_path):
    rows = list(
        csv.DictReader(io.StringIO(report.to_csv(tmp_path / "r.csv").read_text(encoding="utf-8")))
    )
    assert len(rows) == len(report.rows()) * len(report.names)
    (mean,) = [row for row in rows if row["quantity"] == "C_ℓ mean" and row["set"] == "dark"]
    estimate = report.verdicts["dark"]["power"].mean
    assert float(mean["value"]) == estimate.value and float(mean["error"]) == estimate.error
    assert mean["answer"] == "off" and mean["meaning"].startswith("too little power")
    (worth,) = [row for row in rows if row["item"] == "8" and row["set"] == "dark"]
    maps_of = report.verdicts["dark"]["joint"].inverse_maps
    if np.isfinite(maps_of.value):
        assert float(worth["value"]) == pytest.approx(1 / maps_of.value)
        assert float(worth["low"]) <= float(worth["value"]) <= float(worth["high"])
    assert all(value != "nan" for row in rows for value in row.values())


def test_a_frame_is_the_same_table(report, monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = report.to_frame()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == len(report.rows()) * len(
        report.names
    )
    assert (
        frame.pivot(index="quantity", columns="set", values="answer").loc["C_ℓ mean", "dark"]
        == "off"
    )
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ImportError, match=r"needs pandas, which is not installed: pip install 'lensnb\[lab\]'"
    ):
        report.to_frame()


def test_latex_is_a_table_of_booktabs_with_every_letter_escaped(report, tmp_path):
    text = report.to_latex(tmp_path / "r.tex").read_text(encoding="utf-8")
    assert text.isascii()  # every letter of a row has a command
    assert r"my\_flow \& 50\%" in text and r"$C_\ell$ mean & 1 & " in text
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(lines) == 1 + len(report.rows()) + 5  # the head, and the five lines of costs
    for line in lines:
        bare = line.replace(r"\&", "").replace(r"\%", "").replace(r"\$", "")
        assert bare.count("&") == 1 + 1 + len(
            report.names
        )  # three columns fewer one, and the sets
        assert "%" not in bare and bare.count("$") % 2 == 0 and bare.count("{") == bare.count("}")
    assert re.search(r"\\textbf\{0\.\d+ \$\\pm\$ 0\.\d+ \$\*\$\}", text)
    for command in (
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\begin{tabular}{llrrrr}",
        r"\end{tabular}",
    ):
        assert text.count(command) == 1


def test_latex_escapes_what_it_would_read_as_commands():
    from lensnb.compare.exports import _latex

    assert _latex(r"\a{b}") == r"\textbackslash{}a\{b\}"
    assert _latex("a_b^c~#$") == r"a\_b\textasciicircum{}c\textasciitilde{}\#\$"
    assert _latex("-0.5 ± 0.1 ?") == r"$-$0.5 $\pm$ 0.1 ?"


def test_the_scorecard_has_ten_lines(report):
    lines = report.scorecard().splitlines()
    assert len(lines) == 10 and lines[0].split() == [
        "item",
        *NULL.split(),
        *"my_flow & 50%".split(),
        "dark",
    ]
    worst = max(
        (
            row
            for row in report.rows()
            if row.quantity.item == 1 and row.answers["dark"].kind == "off"
        ),
        key=lambda row: abs(row.answers["dark"].sigmas),
    )
    assert lines[1].endswith(f"by {abs(worst.answers['dark'].sigmas):.1f} σ")
