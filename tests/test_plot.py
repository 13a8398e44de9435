"""Figures are tested by their artists: what is drawn is what the report says."""

import copy
import io
from dataclasses import replace
from types import SimpleNamespace

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib import rcParams
from matplotlib.colors import rgb_to_hsv, to_hex, to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text
from PIL import Image

from lensnb import plot
from lensnb.compare import NULL, compare
from lensnb.data import MapSet
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.plot.curves import parts
from lensnb.plot.fidelity_curves import NUMBERS
from lensnb.plot.losses import learning_rate
from lensnb.plot.output import _few_colours, for_notebook
from lensnb.plot.style import _NEUTRAL, _OTHERS, PAGE


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


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


def planted(report, model: tuple, band: tuple):
    """The report with other numbers for its power spectra: (value, error) and (low, high)."""
    verdicts = copy.deepcopy(report.verdicts)
    model = np.array(model, float)
    low, high = np.array(band, float)[:, None] + np.zeros(len(model[0]))
    verdicts["model"]["power"] = SimpleNamespace(
        mean_ratio=SimpleNamespace(value=model[0], error=model[1])
    )
    flat = {"value": np.ones(len(low)), "error": np.zeros(len(low))}
    null = SimpleNamespace(mean_ratio=SimpleNamespace(interval=np.array([low, high]), **flat))
    verdicts[NULL]["power"] = null
    x = np.arange(1.0, len(low) + 1)
    statistic = SimpleNamespace(x=x, x_label="x", y_label="y", log_x=False, log_y=False)
    return replace(report, verdicts=verdicts, statistics={"power": statistic})


def limits_and_triangles(report) -> tuple[tuple[float, float], dict]:
    """The limits of a ratio, and how many triangles of each colour are at its edges."""
    figure, ax = plot.panels(1)
    plot.ratio(ax, report, "power", "mean_ratio", ["model"])
    marks = [line for line in ax.lines if line.get_marker() in ("v", "^")]
    return ax.get_ylim(), {(m.get_marker(), m.get_color()): len(m.get_xdata()) for m in marks}


def test_every_point_inside_the_limits_has_its_whole_bar_there(report):
    """The bar of 0.93 ends at 0.88 and lets 0.89 in, whose bar is longer."""
    value = [*np.full(60, 1.001), 0.93, 0.89]
    error = [*np.full(60, 0.001), 0.05, 0.09]
    (low, high), marks = limits_and_triangles(planted(report, (value, error), (0.99, 1.01)))
    assert 0.7 < low < 0.8 and high == pytest.approx(1.1) and not marks


def test_the_band_of_the_null_sets_limits_and_a_huge_one_is_marked(report):
    small = ([1.0, 1.02, 0.98], [0.01, 0.01, 0.01])
    (low, high), marks = limits_and_triangles(planted(report, small, (-0.2, 2.4)))
    assert low < -0.2 and 2.4 < high < 2.6 and not marks
    (low, high), marks = limits_and_triangles(planted(report, small, (-5, 40)))
    assert -1 <= low < high <= 3 and marks == {("v", plot.GREY): 3, ("^", plot.GREY): 3}
    long = ([1.0, 1.02, 0.98], [9.0, 0.01, 0.01])
    (low, high), marks = limits_and_triangles(planted(report, long, (0.9, 1.1)))
    assert -1 <= low < high <= 3 and sorted(marks.values()) == [1, 1]


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


def test_neighbours_are_shares_less_those_of_the_null(report):
    figure, ax = plot.panels(1)
    plot.neighbours(ax, report)
    lines = {line.get_label(): line for line in ax.lines}
    assert set(lines) == {"truth", NULL, "model", "other"}
    assert not np.any(lines[NULL].get_ydata())
    unit = np.median(report.neighbours[NULL].distance)
    x, y = lines["model"].get_data()
    near = [np.asarray(report.neighbours[name].distance) for name in ("model", NULL)]
    shares = [(one[:, None] <= x * unit * (1 + 1e-12)).mean(0) for one in near]
    np.testing.assert_allclose(y, 100 * (shares[0] - shares[1]), atol=1.1 * 100 / 96)
    (inset,) = ax.child_axes
    assert inset.get_xlim()[0] < 0 and len(inset.lines) == 4  # copies would lie at zero


def test_copies_do_not_squeeze_the_other_sets(report):
    far = replace(report.neighbours["other"], distance=np.zeros(96))
    report = replace(report, neighbours=report.neighbours | {"other": far})
    figure, ax = plot.panels(1)
    plot.neighbours(ax, report)
    lines = {line.get_label(): line for line in ax.lines}
    assert not len(lines["other"].get_xdata()) and len(lines["model"].get_xdata())
    others = np.concatenate([lines[one].get_ydata() for one in ("truth", "model")])
    assert np.ptp(ax.get_ylim()) < 4 * np.ptp(others)
    (inset,) = ax.child_axes
    assert max(line.get_ydata()[len(line.get_ydata()) // 2] for line in inset.lines) == 100
    figure.canvas.draw()
    (title,) = inset.texts
    box, frame = title.get_window_extent(), inset.get_window_extent()
    assert frame.containsx(box.x0) and frame.containsx(box.x1) and title.get_fontsize() >= 9
    assert frame.containsy(box.y0) and frame.containsy(box.y1) and not inset.get_title()


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
    assert f"{row.answers['other'].sigmas:+.1f}" in bold
    pale = [text.get_text() for text in ax.texts if text.get_weight() != "bold"]
    assert all(text.strip()[-1] in "=?–" for text in pale), pale


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


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    value = np.array(to_rgb(colour))
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_lines_are_seen_on_light_pages_and_on_dark_ones():
    """All but the light colours of families, which stand beside dark ones."""
    dark = [pair[0] for pair in plot.FAMILIES.values()]
    lines = [*plot.CYCLE, *_OTHERS, *dark, plot.GREY, plot.REFERENCE, _NEUTRAL[0]]
    for page in ("white", "#111111"):
        assert not {one: contrast(one, page) for one in lines if contrast(one, page) < 3}


def test_colours_without_a_family_are_none_of_a_family_and_only_the_null_is_grey():
    of_families = {colour for pair in plot.FAMILIES.values() for colour in pair}
    others = [*_OTHERS, plot.REFERENCE, plot.MARGIN]
    assert len(set(others)) == 10 and not of_families & set(others)
    assert not of_families & {colour for _, colour in NUMBERS.values()}
    assert rgb_to_hsv(to_rgb(plot.GREY))[1] == 0
    assert min(rgb_to_hsv(to_rgb(one))[1] for one in others) > 0.3


def test_a_family_has_one_hue_whoever_is_beside_it():
    names = [f"{word}{family}" for family in plot.FAMILIES for word in ("", "shipped ")]
    all_ = plot.colours(names)
    assert len(set(all_.values())) == len(names) + 2
    for name in names:
        assert plot.colours(["mine", "old flow", name])[name] == all_[name]
    for family in plot.FAMILIES:
        own, shipped = (rgb_to_hsv(to_rgb(all_[n])) for n in (family, f"shipped {family}"))
        apart = abs(own[0] - shipped[0])
        assert min(apart, 1 - apart) < 0.06 and shipped[1] < own[1]  # the same hue, paler
    assert plot.colours(["Gaussian"])["Gaussian"] == plot.colours(["gaussian"])["gaussian"]


def test_a_name_with_the_word_of_a_family_has_its_hue_while_it_is_free():
    dark, light = plot.FAMILIES["flow"]
    palette = plot.colours(["flow, 64 maps", "flow, 512 maps", "flow, 4096 maps", "overflow"])
    assert palette["flow, 64 maps"] == dark and palette["flow, 512 maps"] == light
    rest = {palette["flow, 4096 maps"], palette["overflow"]}
    of_families = {colour for pair in plot.FAMILIES.values() for colour in pair}
    assert len(rest) == 2 and not rest & of_families
    assert plot.colours(["a normalizing flow", "flow"])["a normalizing flow"] == light


def test_show_gives_a_picture_with_its_alternative_text_and_closes_the_figure(tmp_path):
    figure, _ = plot.panels(1)
    picture = plot.show(figure, "an empty panel", tmp_path / "figures" / "a.png")
    assert (
        picture.alt == "an empty panel"
        and picture.data == (tmp_path / "figures" / "a.png").read_bytes()
    )
    assert not plt.fignum_exists(figure.number)


def on(png: bytes, ground: str) -> np.ndarray:
    """A picture on a page of one colour, as values from 0 to 1."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    page = Image.new("RGBA", picture.size, ground)
    page.alpha_composite(picture)
    return np.asarray(page.convert("RGB"), float) / 255


def test_a_picture_reads_on_light_pages_and_on_dark_ones():
    figure, ax = plot.panels(1)
    ax.plot([0, 1], [0, 1], color=plot.TRUTH, lw=2)
    ax.set(xlabel="x", ylabel="y", title="a title")
    ax.legend(["truth"])
    picture = plot.show(figure, "a black line")
    light, dark = on(picture.data, "white"), on(picture.data, "#111111")
    assert picture.width == light.shape[1] // 2  # two pixels for one of a usual screen
    np.testing.assert_array_equal(light[0, 0], 1)
    np.testing.assert_allclose(dark[0, 0], 17 / 255)  # no white box
    for page in (light, dark):
        far = np.abs(page - page[0, 0]).max(-1)
        row, column = page.shape[0] // 2, page.shape[1] // 2
        assert far[row - 20 : row + 20, column - 20 : column + 20].max() > 0.8  # the line
        label = far[-30:]  # the last pixels are the label of x
        assert 0.3 < label.max() < 0.7
    assert light.min() < 0.05  # on white the truth is black


def test_a_file_for_a_paper_is_black_on_white(tmp_path):
    figure, ax = plot.panels(1)
    ax.set(xlabel="x")
    plot.show(figure, "empty", tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "#ffffff" in text and "#767676" not in text
    figure, ax = plot.panels(1)
    page = on(plot.save(figure, tmp_path / "b.png").read_bytes(), "#111111")
    assert page[0, 0].tolist() == [1, 1, 1]


def test_few_colours_stay_within_a_few_levels():
    figure, ax = plot.panels(1)
    image = ax.imshow(np.linspace(0, 1, 4096).reshape(64, 64), cmap="magma")
    figure.colorbar(image)
    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=100, transparent=True)
    few = io.BytesIO()
    _few_colours(Image.open(full)).save(few, "png", optimize=True)
    for ground in ("white", "#111111"):
        apart = np.abs(on(few.getvalue(), ground) - on(full.getvalue(), ground))
        assert np.quantile(apart, 0.99) < 6 / 255
    assert on(few.getvalue(), "#111111")[0, 0].tolist() == [17 / 255] * 3
    assert len(few.getvalue()) < 0.8 * len(full.getvalue())


def test_an_area_keeps_its_colour_among_many_lines():
    figure, ax = plot.panels(1)
    for k, colour in enumerate([*plot.CYCLE, *_OTHERS, *sum(plot.FAMILIES.values(), ())]):
        ax.plot([0, 1], [k, k + 3], color=colour)
    ax.axhspan(0, 5, color=plot.GREY, alpha=0.35, lw=0)
    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=60, transparent=True)
    few = np.asarray(_few_colours(Image.open(full)).convert("RGBA"))
    band = (0x8C, 0x8C, 0x8C, round(0.35 * 255))
    shade = [(few == (*band[:3], opacity)).all(-1).sum() for opacity in (band[3], band[3] + 1)]
    assert max(shade) > 1000


def test_a_picture_for_a_notebook_is_as_sharp_as_its_size_allows():
    figure, ax = plot.panels(1)
    ax.plot([0, 1])
    size = lambda most: Image.open(io.BytesIO(for_notebook(figure, most)[0])).width
    assert (size(60_000), size(0)) == (860, 516)
    assert for_notebook(figure)[1] == for_notebook(figure, 0)[1] == 430


def test_the_ending_of_a_file_says_what_is_written(tmp_path):
    starts = {"a.pdf": b"%PDF", "a.svg": b"<?xml", "a.png": b"\x89PNG", "a": b"\x89PNG"}
    for name, start in starts.items():
        plot.show(plot.panels(1)[0], "an empty panel", tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    figure, _ = plot.panels(1)
    with pytest.raises(ValueError, match="Format 'maps' is not supported"):
        plot.show(figure, "an empty panel", tmp_path / "a.maps")
    assert not plt.fignum_exists(figure.number)


def test_a_training_shows_its_losses_and_a_single_record_is_a_point():
    figure, ax = plot.panels(1)
    history = [
        {"step": 1, "loss": 3.0, "lr": 1e-3},
        {"step": 2, "loss": 2.0, "lr": 1e-3, "validation": 2.5},
        {"step": 3, "loss": None, "lr": 1e-3, "validation": None},
    ]
    plot.training(ax, history, "bits per pixel", "flow")
    loss, validation = ax.lines
    assert loss.get_xydata().tolist() == [[1, 3], [2, 2]] and loss.get_marker() == ""
    assert validation.get_xydata().tolist() == [[2, 2.5]] and validation.get_marker() == "o"
    rate = learning_rate(plot.panels(1)[1], history[:1]).lines[0]
    assert rate.get_xydata().tolist() == [[1, 1e-3]] and rate.get_marker() == "o"
    assert plot.training(plot.panels(1)[1], []).get_ylabel() == "loss"


def test_losses_have_the_hue_of_their_model():
    history = [{"step": k, "loss": 1.0, "validation": 2.0, "lr": 1e-3} for k in (1, 2)]
    for name, pair in (("shipped diffusion", plot.FAMILIES["diffusion"]), ("toy", _NEUTRAL)):
        loss, validation = plot.training(plot.panels(1)[1], history, name=name).lines
        assert (validation.get_color(), loss.get_color()) == pair
        assert validation.get_linestyle() != loss.get_linestyle()
        alone = plot.training(plot.panels(1)[1], [{"step": 1, "loss": 1.0}], name=name).lines[0]
        rate = learning_rate(plot.panels(1)[1], history, name).lines[0]
        assert alone.get_color() == rate.get_color() == pair[0]


def test_gallery_shares_one_colour_scale():
    maps = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    figure = plot.gallery({"truth": maps, "model": 3 * maps}, 5.0)
    images = [ax.images[0] for ax in figure.axes if ax.images]
    assert len(images) == 8 and len({i.get_clim() for i in images}) == 1


def test_a_gallery_of_many_sets_has_a_column_for_each():
    maps = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    sets = {f"set {k}": k * maps for k in range(1, 8)}
    figure = plot.gallery(sets, 5.0, columns=2, across=True)
    drawn = [ax for ax in figure.axes if ax.images]
    assert drawn[0].get_gridspec().get_geometry() == (2, 7) and len(drawn) == 14
    titles = {ax.get_title(): ax.get_subplotspec().colspan.start for ax in drawn if ax.get_title()}
    assert titles == {f"set {k}": k - 1 for k in range(1, 8)}
    place = {
        (ax.get_subplotspec().rowspan.start, ax.get_subplotspec().colspan.start) for ax in drawn
    }
    assert len(place) == 14 and figure.get_figwidth() <= PAGE
    assert "5° × 5°" in figure.get_supxlabel()


def test_the_headline_names_its_points_and_takes_the_sets_of_the_report(report):
    maps = dict.fromkeys(
        ("truth", "model", "other"), np.random.default_rng(0).normal(size=(4, 32, 32))
    )
    figure = plot.headline(report, maps, 5.0)
    assert 8 <= figure.get_figwidth() <= 9
    *above, below = [ax for ax in figure.axes if ax.images or ax.containers]
    assert [ax.get_title() for ax in above] == ["truth", "model", "other"]
    palette = plot.colours(report.names)
    written = {text.get_text(): text for text in below.texts}
    assert set(written) == {"model", "other", "true maps"}
    assert written["other"].get_color() == palette["other"]
    heights = sorted(text.xy[1] for text in below.texts)
    assert np.diff(heights).min() > 0.08 * np.ptp(below.get_ylim())  # no name hides another
    bars = [one for one in below.containers if isinstance(one, ErrorbarContainer)]
    drawn = bars[1].lines[0].get_ydata()[0]
    assert drawn == pytest.approx(float(report.verdicts["other"]["power"].slope.value))
    with pytest.raises(ValueError, match="the report judges model, other; found 'gan' among"):
        plot.headline(report, {"truth": maps["truth"], "gan": maps["truth"]}, 5.0)


def test_every_figure_fits_a_page_and_its_text_can_be_read_there(report):
    """On a page of 8 inches no text is smaller than 8 points."""
    assert plot.panels(5, width=3)[0].get_size_inches().tolist() == [PAGE, 0.6 * 3.2]
    many = replace(
        report,
        **{
            part: getattr(report, part)
            | {f"model {k}": getattr(report, part)["model"] for k in range(3)}
            for part in ("ensembles", "verdicts", "extras", "counts")
        },
    )
    maps = {name: np.random.default_rng(0).normal(size=(4, 32, 32)) for name in many.names}
    figures = [
        plot.comparison(many), plot.correlations(many), plot.summary(many, maps, 5.0),
        plot.correlation_ratios(many, "joint"), plot.tails(many), plot.scorecard(many),
        plot.headline(report, {"truth": maps["model"], "model": maps["model"]}, 5.0),
        plot.gallery(maps, 5.0), plot.gallery(maps, 5.0, 2, across=True),
    ]  # fmt: skip
    for figure in figures:
        width = figure.get_figwidth()
        assert width <= PAGE
        shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
        assert min(text.get_fontsize() for text in shown) * min(1, 8 / width) >= 8


def test_limits_of_a_ratio_hold_the_band_and_the_error_bars(report):
    for what in ("mean_ratio", "scatter_ratio"):
        figure, ax = plot.panels(1)
        plot.ratio(ax, report, "power", what)
        bottom, top = ax.get_ylim()
        low, high = getattr(report.verdicts[NULL]["power"], what).interval
        assert bottom <= low.min() and high.max() <= top
        for name in ("model", "other"):
            found = getattr(report.verdicts[name]["power"], what)
            inside = (bottom < found.value) & (found.value < top)
            assert inside.any()
            assert (found.value - found.error)[inside].min() >= bottom
            assert (found.value + found.error)[inside].max() <= top


def test_matrices_have_names_on_their_axes(report):
    ax = plot.correlation_ratios(report, "joint").axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(report.statistics)
    figure = plot.correlations(report)
    labelled = [ax.get_xlabel() for ax in figure.axes if ax.images]
    assert "ℓ" in labelled[-1]


def test_maps_with_channels_have_a_row_for_each_source_bin():
    maps = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    figure = plot.gallery({"truth": maps, "model": 3 * maps}, 5.0, columns=3)
    images = [ax.images[0] for ax in figure.axes if ax.images]
    assert len(images) == 12 and len({i.get_clim() for i in images}) == 1
    np.testing.assert_allclose(images[4].get_array(), maps[1, 1])
    labels = [ax.get_ylabel().split("\n")[0] for ax in figure.axes if "bin" in ax.get_ylabel()]
    assert labels == ["truth, bin 1", "truth, bin 2", "model, bin 1", "model, bin 2"]
    with pytest.raises(
        ValueError, match=r"a map to draw has the shape \(n, n\), found \(2, 8, 8\)"
    ):
        plot.kappa_map(plot.panels(1)[1], maps[0], 5.0)


@pytest.fixture
def binned(report):
    """The report with its power spectra as two source bins, the halves of the vector."""
    whole = report.statistics["power"]
    half = len(whole.x) // 2
    spans = {"bin 1": slice(0, half), "bin 2": slice(half, len(whole.x))}
    own = {name: getattr(whole, name) for name in ("x", "x_label", "y_label", "log_x", "log_y")}
    split = SimpleNamespace(**own, parts=spans)
    return replace(report, statistics=report.statistics | {"power": split}), half


def test_each_part_of_a_statistic_is_a_line_of_its_own_with_its_name(report, binned):
    binned, half = binned
    assert list(parts(report.statistics["power"])) == [""]
    statistic, truth = binned.statistics["power"], binned.ensembles["truth"]["power"]
    figure, ax = plot.panels(1)
    plot.band(ax, statistic, truth, plot.TRUTH, "truth")
    plot.curve(ax, statistic, truth.mean(), plot.CYCLE[0], "model")
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    assert [len(line.get_xdata()) for line in drawn] == 2 * [half, len(statistic.x) - half]
    np.testing.assert_allclose(drawn[1].get_ydata(), truth.mean()[half:])
    assert drawn[0].get_linestyle() != drawn[1].get_linestyle()
    labels = ax.get_legend_handles_labels()[1]
    assert sorted(labels) == ["bin 1", "bin 2", "model", "truth"]
    assert len(ax.collections) == 2


def test_figures_of_a_report_know_the_parts(binned):
    binned, half = binned
    figure, ax = plot.panels(1)
    plot.ratio(ax, binned, "power", "mean_ratio")
    assert len(ax.containers) == 4
    figure = plot.comparison(binned, ["power", "pdf"])
    assert {"bin 1", "bin 2"} < {text.get_text() for text in figure.legends[0].get_texts()}
    ax = plot.correlations(binned).axes[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["bin 1", "bin 2"]


def test_drawing_changes_no_setting(report):
    before = dict(rcParams)
    plot.comparison(report)
    assert dict(rcParams) == before
