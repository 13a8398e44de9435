"""Figures are tested by their artists: what is drawn is what the report says."""

import matplotlib

matplotlib.use("agg")

import numpy as np
import pytest
import torch
from matplotlib import rcParams
from matplotlib.colors import to_hex

from lensnb import plot
from lensnb.compare import NULL, compare
from lensnb.data import MapSet
from lensnb.maps import GaussianField, LognormalField, MapGrid


@pytest.fixture(scope="module")
def report():
    grid = MapGrid(32, 5.0)
    field = LognormalField.from_correlation(
        GaussianField.from_power(grid, lambda ell: 1e-9 * (ell / 500) ** -1.2).variance, 0.05
    )
    draw = lambda seed: field.sample(96, torch.Generator().manual_seed(seed))
    truth, null = (
        MapSet(draw(0).numpy(), 5.0),
        MapSet(draw(1).numpy(), 5.0, simulation=np.arange(96) + 96),
    )
    train = MapSet(draw(4).numpy(), 5.0, simulation=np.arange(96) + 192)
    return compare(truth, null, {"model": draw(2), "other": 0.9 * draw(3)}, train, rounds=30)


def test_ratio_draws_the_estimates_and_the_null_band(report):
    figure, ax = plot.panels(1)
    plot.ratio(ax, report, "power", "mean_ratio")
    bars = {c.get_label(): c for c in ax.containers}
    assert set(bars) == {"model", "other"}
    np.testing.assert_allclose(
        bars["other"].lines[0].get_ydata(), report.verdicts["other"]["power"].mean_ratio.value
    )
    band = next(c for c in ax.collections if c.get_label() == "null, 95 %")
    low, high = report.verdicts[NULL]["power"].mean_ratio.interval
    y = band.get_paths()[0].vertices[:, 1]
    assert y.min() == pytest.approx(low.min()) and y.max() == pytest.approx(high.max())
    assert ax.get_xscale() == "log" and "ℓ" in ax.get_xlabel() and "truth" in ax.get_ylabel()


def test_points_beyond_the_axis_are_marked_at_its_edge(report):
    figure, ax = plot.panels(1)
    report.verdicts["other"]["power"].mean_ratio.value[0] = 9.0
    plot.ratio(ax, report, "power", "mean_ratio")
    edge = ax.get_ylim()[1]
    marked = [line for line in ax.lines if line.get_marker() == "^" and len(line.get_ydata())]
    assert edge <= 2 and [line.get_ydata().tolist() for line in marked] == [[edge]]


def test_slopes_are_those_of_the_report(report):
    figure, ax = plot.panels(1)
    plot.slopes(ax, report)
    drawn = np.array(
        next(c for c in ax.containers if c.get_label() == "model").lines[0].get_ydata(), float
    )
    np.testing.assert_allclose(
        drawn, [float(v.slope.value) for v in report.verdicts["model"].values()]
    )
    assert [t.get_text() for t in ax.get_xticklabels()] == list(report.verdicts["model"])


def test_every_axis_of_every_figure_is_labelled(report):
    maps = dict.fromkeys(
        ("truth", "model", "other"), np.random.default_rng(0).normal(size=(4, 32, 32))
    )
    figures = [
        plot.comparison(report), plot.correlations(report), plot.summary(report, maps, 5.0),
        plot.correlation_ratios(report, "joint"), plot.tails(report),
    ]  # fmt: skip
    for draw in (plot.eigenvalues, plot.neighbours, plot.slopes):
        figure, ax = plot.panels(1)
        draw(ax, report)
        figures.append(figure)
    for figure in figures:
        figure.canvas.draw()
        bottom = [
            ax
            for ax in figure.axes
            if any(t.get_visible() for t in ax.get_xticklabels()) and ax.axison
        ]
        assert all(ax.get_xlabel() or ax.get_ylabel() or ax.get_title() for ax in bottom)


def test_eigenvalues_are_those_of_the_report(report):
    figure, ax = plot.panels(1)
    plot.eigenvalues(ax, report)
    bars = {c.get_label(): c for c in ax.containers}
    for name in ("model", "other"):
        expected = report.verdicts[name]["joint"].eigenvalues.value
        np.testing.assert_allclose(bars[name].lines[0].get_ydata(), expected)
    assert ax.get_yscale() == "log"


def test_ratios_of_correlations_are_those_of_the_vectors(report):
    figure = plot.correlation_ratios(report, "power")
    pictures = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len(pictures) == len(report.names)
    rho = [report.ensembles[name]["power"].correlation() for name in ("truth", "other")]
    drawn = pictures[-1].filled(np.nan)
    known = np.isfinite(drawn)
    assert not known.diagonal().any() and known.any()
    np.testing.assert_allclose(drawn[known], (rho[1] / rho[0])[known])
    assert (np.abs(rho[0][known]) > 3 * (1 - rho[0][known] ** 2) / np.sqrt(96)).all()


def test_neighbours_are_those_of_the_report(report):
    figure, ax = plot.panels(1)
    plot.neighbours(ax, report)
    lines = {line.get_label(): line for line in ax.lines}
    assert set(lines) == {"truth", NULL, "model", "other"}
    np.testing.assert_allclose(
        lines["model"].get_xdata(), np.sort(report.neighbours["model"].distance)
    )
    assert lines["model"].get_ydata()[-1] == 1


def test_scorecard_frames_what_fails(report):
    ax = plot.scorecard(report).axes[0]
    frames = [patch for patch in ax.patches if not patch.get_fill()]
    assert len(frames) == len(report.failures()) > 0
    assert len(ax.texts) == 2 * len(report.rows())
    assert [t.get_text()[0] for t in ax.get_yticklabels()] == [
        str(row.quantity.item) for row in report.rows()
    ]
    bold = {text.get_text() for text in ax.texts if text.get_weight() == "bold"}
    row = next(row for row in report.rows() if row.quantity.name == "C_ℓ mean")
    here, null = row.estimates["other"], row.estimates[NULL]
    assert f"{(here.value - null.value) / np.hypot(here.error, null.error):+.1f}" in bold


def test_tails_are_drawn_with_the_null(report):
    figure = plot.tails(report)
    left, middle, right = figure.axes
    assert {line.get_label() for line in left.lines} == {"truth", NULL, "model", "other"}
    assert [t.get_text() for t in right.get_xticklabels()] == [
        "peaks > 4σ",
        "PDF low end",
        "PDF high end",
    ]


def test_colours_are_fixed_for_truth_and_null_and_differ():
    palette = plot.colours([NULL, "a", "b", "c"])
    assert palette["truth"] == plot.TRUTH and palette[NULL] == plot.GREY
    assert len({to_hex(c) for c in palette.values()}) == 5


def test_show_gives_a_picture_with_its_alternative_text_and_closes_the_figure(tmp_path):
    import matplotlib.pyplot as plt

    figure, _ = plot.panels(1)
    picture = plot.show(figure, "an empty panel", tmp_path / "figures" / "a.png")
    assert (
        picture.alt == "an empty panel"
        and picture.data == (tmp_path / "figures" / "a.png").read_bytes()
    )
    assert not plt.fignum_exists(figure.number)


def test_gallery_shares_one_colour_scale():
    maps = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    figure = plot.gallery({"truth": maps, "model": 3 * maps}, 5.0)
    images = [ax.images[0] for ax in figure.axes if ax.images]
    assert len(images) == 8 and len({i.get_clim() for i in images}) == 1


def test_drawing_changes_no_setting(report):
    before = dict(rcParams)
    plot.comparison(report)
    assert dict(rcParams) == before
