"""The explorer on a bare page: it draws, follows keys and mouse, and asks Python only for what it needs."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("anywidget", reason="no anywidget: pip install 'lensnb[lab]'")
pytest.importorskip("playwright", reason="no playwright: pip install 'lensnb[test]'")

from pages import serious
from playwright.sync_api import expect

from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.widgets import explore
from lensnb.widgets.explorer import STATISTICS

pytestmark = pytest.mark.browser

TEXT = (
    "label",
    "select",
    "input[type=number]",
    "button:not(:disabled)",
    "output",
    "p",
    ".name span:not(.swatch)",
    "text",
)


@pytest.fixture(scope="module")
def sets():
    """Small maps: forty true ones, thirty of a flow and twenty of a diffusion model."""
    field = GaussianField.from_power(MapGrid(32, 5.0), lambda ell: 1e-6 / ell**1.5)
    seeded = lambda k: torch.Generator().manual_seed(k)
    truth = LognormalField.from_correlation(field.variance, 0.03).sample(40, seeded(0))
    return {
        "truth": truth,
        "a flow": field.sample(30, seeded(1)),
        "a diffusion model": truth * 1.1,  # map k of it belongs to the true map k
    }


@pytest.fixture
def explorer(show, sets):
    """explorer(…) → the explorer of these sets on a page; its slider has the focus."""

    def explorer(**options):
        widget = explore(sets, 5.0, list(STATISTICS), n_gal_arcmin2=(0, 30))
        shown = show(widget, "explorer", **options)
        shown.root.get_by_role("slider", name="Map").focus()
        return shown

    return explorer


def maps(shown) -> list[str]:
    return shown.pictures(".map canvas")


def plot(shown) -> str:
    (drawn,) = shown.plots(".plot svg")
    return drawn


def test_keys_step_through_the_maps(explorer):
    shown = explorer()
    first, lines = maps(shown), plot(shown)
    shown.key("ArrowRight")
    second = maps(shown)
    assert second[0] != first[0] and second[1] != first[1] and plot(shown) != lines
    assert shown.root.get_by_text("map 2 of 40", exact=True).is_visible()
    left, right = shown.root.locator(".map canvas").all()
    assert left.get_attribute("aria-label").startswith("κ map 2 of 40, truth")
    shown.key("ArrowLeft")
    assert maps(shown) == first and plot(shown) == lines
    shown.key("End")
    last = maps(shown)
    assert shown.root.get_by_text("map 40 of 40", exact=True).is_visible() and last != second
    # a set with fewer maps starts again: 40 = 30 + 10
    assert right.get_attribute("aria-label").startswith("κ map 10 of 30, a flow")
    shown.key("ArrowRight")
    assert maps(shown) == last  # there is no map after the last
    shown.key("PageUp")
    shown.key("Home")
    assert maps(shown) == first


def test_the_mouse_steps_and_drags(explorer):
    shown = explorer()
    slider, count = shown.root.get_by_role("slider", name="Map"), shown.root.locator("output")
    first = maps(shown)
    shown.click(shown.root.get_by_role("button", name="Next map"))
    expect(count).to_have_text("map 2 of 40")
    shown.click(shown.root.get_by_role("button", name="Previous map"))
    assert maps(shown) == first
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    shown.drag((box["x"] + 10, middle), (box["x"] + box["width"] * 0.7, middle))
    dragged, said = maps(shown), count.inner_text()
    assert dragged != first and 25 < int(said.split()[1]) < 32
    shown.page.mouse.wheel(0, 200)
    shown.key("Shift")  # whatever the wheel did has been done
    assert maps(shown) == dragged and count.inner_text() == said


def test_the_map_and_the_plot_are_read_under_the_pointer(explorer):
    shown = explorer()
    canvas, notes = shown.root.locator(".map canvas").first, shown.root.locator(".map + .note")
    side = canvas.bounding_box()["width"]
    canvas.hover(position={"x": side * 0.26, "y": side * 0.89})
    for note in notes.all():
        expect(note).to_contain_text("x = 79.7′, y = 32.8′")
        assert note.inner_text().startswith("κ = ")
    shown.root.locator(".plot svg").hover()
    expect(shown.root.locator(".statistic .note")).to_contain_text("At ")
    first = maps(shown)
    shown.click(canvas)  # the arrow keys follow
    shown.key("ArrowRight")
    assert maps(shown) != first
    shown.page.mouse.move(1, 1)
    expect(notes.first).to_contain_text("index")


def test_choices_ask_the_kernel_and_the_plot_follows(explorer):
    shown = explorer()
    plots, pictures = {}, {}
    titles = {"power": "Power spectrum", "pdf": "PDF of κ", "V2": "Minkowski V₂"}
    for control, value in [
        ("Statistic", "pdf"),
        ("Statistic", "V2"),
        ("Smoothing", "10"),
        ("Shape noise", "30"),
        ("Statistic", "power"),
        ("Smoothing", "0"),
        ("Shape noise", "0"),
    ]:
        shown.root.get_by_label(control).select_option(value)
        shown.idle()
        assert shown.root.get_attribute("aria-busy") == "false"
        plots[control, value], pictures[control, value] = plot(shown), maps(shown)
        label = shown.root.locator(".plot svg").get_attribute("aria-label")
        assert label.startswith(titles[shown.widget.statistic])
    assert len(set(plots.values())) == len(plots)
    assert pictures["Statistic", "pdf"] == pictures["Statistic", "V2"]
    assert pictures["Statistic", "pdf"] == pictures["Shape noise", "0"]
    # plain, smoothed, with noise as well, noise alone
    assert len({tuple(p) for p in pictures.values()}) == 4


def test_it_says_that_it_is_computing_and_when_that_takes_long(explorer):
    shown = explorer(clock=True)
    shown.freeze()
    status, drawn = shown.root.locator(".status"), plot(shown)
    shown.occupy()
    shown.root.get_by_label("Statistic").select_option("V1")
    assert status.inner_text() == "computing…"
    assert shown.root.get_attribute("aria-busy") == "true" and plot(shown) == drawn
    shown.pass_time(8000)
    assert status.inner_text().startswith("still waiting")
    shown.read()
    assert status.inner_text() == "" and shown.root.get_attribute("aria-busy") == "false"
    assert plot(shown) != drawn


def test_colours_and_the_other_set_need_no_kernel(explorer):
    shown = explorer()
    shown.occupy()
    first, plotted = maps(shown), plot(shown)
    shown.root.get_by_label("Colours").select_option("cividis")
    other = maps(shown)
    assert other[0] != first[0]
    low, high = (shown.root.get_by_label(name) for name in ("Lowest κ", "Highest κ"))
    automatic = low.input_value(), high.input_value()

    def enter(text):
        low.select_text()
        shown.page.keyboard.type(text)
        shown.key("Enter")

    enter("-0.2")
    assert maps(shown)[0] != other[0]
    enter("99")  # above the upper end: not taken
    assert low.input_value() == "-0.2"
    shown.click(shown.root.get_by_role("button", name="Auto"))
    assert maps(shown) == other and (low.input_value(), high.input_value()) == automatic
    shown.root.get_by_label("Colours").select_option("magma")
    against = shown.root.get_by_label("Maps on the right")
    against.select_option("a diffusion model")
    assert maps(shown)[0] == first[0] and plot(shown) != plotted
    against.select_option("a flow")
    assert maps(shown) == first and plot(shown) == plotted


def test_zoom_is_the_same_on_both_maps_and_comes_back(explorer):
    shown = explorer()
    first = maps(shown)
    out, into = (shown.root.get_by_role("button", name=f"Zoom {way}") for way in ("out", "in"))
    assert out.is_disabled()
    canvas = shown.root.locator(".map canvas").first
    side = canvas.bounding_box()["width"]
    shown.double_click(canvas, position={"x": side * 0.25, "y": side * 0.25})  # upper left
    zoomed = maps(shown)
    assert zoomed[0] != first[0] and zoomed[1] != first[1]
    assert "enlarged 2 times" in canvas.get_attribute("aria-label")
    canvas.hover(position={"x": side * 0.01, "y": side * 0.01})  # the corner of the whole map
    expect(shown.root.locator(".map + .note").first).to_contain_text("x = 4.7′, y = 295.3′")
    box = canvas.bounding_box()
    middle = box["y"] + side * 0.5
    shown.drag((box["x"] + side * 0.8, middle), (box["x"] + side * 0.3, middle))
    moved = maps(shown)
    assert moved[0] != zoomed[0] and moved[1] != zoomed[1]
    into.focus()
    shown.key("ArrowDown")
    assert maps(shown) != moved
    shown.click(into)
    assert into.is_disabled()  # 8 of 32 pixels: nothing finer
    for _ in range(2):
        shown.click(out)
    assert maps(shown) == first


def number(note: str) -> float:
    """The number in a note such as "κ = −6.08×10⁻⁴ at x = …"."""
    mantissa, _, power = note.split(" = ")[1].split(" at")[0].replace("−", "-").partition("×10")
    return float(mantissa) * 10.0 ** int(
        power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")) or 0
    )


def test_maps_blink(explorer):
    shown = explorer(clock=True)
    shown.freeze()
    first = maps(shown)
    shown.root.get_by_label("View").select_option("blinking")
    assert maps(shown) == first
    shown.pass_time(700)
    assert maps(shown)[0] == first[1]  # the other map, on the left
    assert shown.root.locator(".name span").nth(1).inner_text() == "a flow"
    shown.pass_time(700)
    assert maps(shown)[0] == first[0]  # and the true one again
    shown.root.get_by_label("View").select_option("side by side")
    shown.pass_time(1400)
    assert maps(shown) == first


def test_maps_that_belong_together_are_subtracted_on_a_scale_of_their_own(explorer):
    shown = explorer()
    assert shown.widget._about["pairs"] == ["a diffusion model"]
    apart_bar = shown.root.get_by_label("Colour scale of the difference")
    shown.root.get_by_label("Maps on the right").select_option("a diffusion model")
    assert apart_bar.count() == 0 or not apart_bar.is_visible()
    first, notes = maps(shown), shown.root.locator(".map + .note")
    canvas = shown.root.locator(".map canvas").last
    shown.root.get_by_label("View").select_option("difference")
    apart = maps(shown)
    assert apart[0] == first[0] and apart[1] != first[1]
    assert apart_bar.is_visible()
    canvas.hover()
    expect(notes.last).to_contain_text("Δκ = ")
    difference, true = map(number, reversed(notes.all_inner_texts()))
    shown.root.get_by_label("View").select_option("side by side")
    assert maps(shown) == first
    expect(notes.last).not_to_contain_text("Δκ")
    other = number(notes.last.inner_text())
    most = max(abs(other), abs(true), abs(difference))
    assert abs(other - true - difference) < 0.015 * most  # three digits each
    # maps that a flow drew by itself have no difference from a true map
    shown.root.get_by_label("View").select_option("difference")
    shown.root.get_by_label("Maps on the right").select_option("a flow")
    assert maps(shown)[1] not in (apart[1], first[1]) and not apart_bar.is_visible()
    assert shown.root.get_by_label("View").input_value() == "side by side"


def test_one_set_all_sets_and_playing(explorer):
    shown = explorer(clock=True)
    shown.freeze()
    left, right = shown.root.locator(".map canvas").all()
    first, drawn = maps(shown), plot(shown)
    shown.root.get_by_label("View").select_option("one set")
    assert not left.is_visible() and right.is_visible() and maps(shown)[1] == first[1]
    assert "truth" not in shown.root.locator(".legend").inner_text()
    shown.root.get_by_label("View").select_option("side by side")
    assert plot(shown) == drawn
    shown.root.get_by_label("all in the plot").check()
    legend = shown.root.locator(".legend").inner_text()
    assert all(name in legend for name in ("truth", "a flow", "a diffusion model"))
    assert shown.root.locator(".plot path.mean").count() == 4  # two sets in two panels
    shown.root.get_by_label("all in the plot").uncheck()
    assert plot(shown) == drawn
    shown.click(shown.root.get_by_role("button", name="Play"))
    shown.pass_time(600)
    assert shown.root.get_by_text("map 2 of 40", exact=True).is_visible()
    shown.root.get_by_role("slider", name="Map").focus()
    shown.key("End")  # a step by hand ends the playing
    shown.pass_time(2000)
    assert shown.root.get_by_text("map 40 of 40", exact=True).is_visible()
    shown.click(shown.root.get_by_role("button", name="Play"))
    shown.pass_time(600)
    assert shown.root.get_by_text("map 1 of 40", exact=True).is_visible()  # from the start again


def test_what_is_shown_is_saved(explorer, tmp_path):
    shown = explorer()
    shown.root.get_by_label("What to save").select_option("figure, SVG")
    with shown.page.expect_download() as found:
        shown.root.get_by_role("button", name="Save", exact=True).click()
    assert found.value.suggested_filename == "explorer.svg"
    assert "<svg" in Path(found.value.path()).read_text(encoding="utf-8")


def test_a_file_that_is_chosen_is_one_set_more(explorer, sets, tmp_path):
    shown = explorer()
    file, wrong = tmp_path / "mine.npy", tmp_path / "wrong.npy"
    np.save(file, 0.5 * sets["truth"].numpy())
    np.save(wrong, np.zeros((4, 32)))
    chooser = shown.root.locator("input[type=file][multiple]")
    chooser.set_input_files(wrong)
    status = shown.root.locator(".status")
    expect(status).to_contain_text("wrong.npy")  # in the words of the reader
    assert len(shown.widget._about["sets"]) == 3
    chooser.set_input_files(file)
    expect(status).to_contain_text("mine: 40 maps; the file does not say how large its field is")
    assert shown.root.get_by_label("Maps on the right").input_value() == "mine"
    assert shown.widget.against == "mine" and len(set(maps(shown))) == 2
    shown.root.get_by_label("Statistic").select_option("pdf")
    shown.idle()
    assert "mine" in shown.root.locator(".legend").inner_text()
    assert shown.root.count() == 1  # drawn anew, and once
    shown.close()


DROP = """(selector) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array([1, 2, 3])], "other.npy"));
  const told = { dataTransfer: data, bubbles: true, cancelable: true };
  const root = document.querySelector(selector);
  root.dispatchEvent(new DragEvent("dragover", told));
  const aimed = root.classList.contains("aimed");
  root.dispatchEvent(new DragEvent("drop", told));
  return aimed;
}"""


def test_a_file_that_is_dropped_is_read_and_refused_in_words(explorer):
    shown = explorer()
    assert shown.page.evaluate(DROP, shown.selector)
    expect(shown.root.locator(".status")).to_contain_text("other.npy")
    assert len(shown.widget._about["sets"]) == 3


@pytest.mark.parametrize("theme", ["light", "dark", "none"])
def test_text_and_lines_are_legible_and_axe_finds_nothing_serious(explorer, theme, tmp_path):
    shown = explorer(theme=theme)
    found = shown.contrasts(*TEXT)
    assert len(found) > 30 and min(found)[0] > 4.5, min(found)
    lines = shown.contrasts(".swatch")
    assert len(lines) == 2 and min(lines)[0] > 3, lines
    shown.root.screenshot(path=tmp_path / f"explorer {theme}.png")
    assert serious(shown.page, shown.selector) == []


def test_narrow_windows_and_large_print_lose_nothing(explorer, tmp_path):
    shown = explorer()
    pair, space = shown.root.locator(".pair"), shown.root.locator(".plot")
    beside, drawn = space.bounding_box(), pair.bounding_box()
    assert beside["x"] > drawn["x"] + drawn["width"]
    shown.narrow()
    below, drawn = space.bounding_box(), pair.bounding_box()
    assert below["y"] > drawn["y"] + drawn["height"] and below["height"] >= 300
    shown.root.screenshot(path=tmp_path / "narrow.png")


def test_a_kernel_that_is_late_does_not_take_steps_back(explorer):
    """What the kernel tells of a step arrives when others have been made: the map stays where it was stepped to."""
    shown = explorer(clock=True)
    shown.freeze()
    count = shown.root.locator("output")
    shown.occupy()
    shown.key("ArrowRight")
    shown.pass_time(300)  # the stepping pauses, and the kernel is told
    assert shown.page.evaluate("window.model.held.length") == 1
    for k in range(3, 24):
        shown.key("ArrowRight")  # no pause between them
        assert count.inner_text() == f"map {k} of 40"
    shown.read()  # the echo of the first step
    assert shown.widget.index == 1 and count.inner_text() == "map 23 of 40"
    shown.pass_time(300)
    shown.heard("index", 22)
    assert count.inner_text() == "map 23 of 40"


def test_python_sees_what_is_chosen_and_its_changes_are_drawn(explorer):
    shown = explorer()
    shown.key("PageUp")
    moved = int(shown.root.locator("output").inner_text().split()[1])
    assert moved > 2
    shown.heard("index", moved - 1)  # when the stepping pauses
    shown.root.get_by_label("View").select_option("blinking")
    shown.idle()
    assert shown.widget.view == "blinking"
    shown.widget.index, shown.widget.statistic, shown.widget.colours = 4, "minima", "grey"
    shown.tell()
    assert shown.root.get_by_text("map 5 of 40", exact=True).is_visible()
    assert shown.root.get_by_label("Statistic").input_value() == "minima"
    assert shown.root.get_by_label("Colours").input_value() == "grey"
    assert shown.root.locator(".plot svg").get_attribute("aria-label").startswith("Minima")


def test_no_control_gives_its_keys_away_and_a_widget_that_left_hears_nothing(explorer):
    """JupyterLab takes keys for commands on the cell where a control does not say that it wants them."""
    shown = explorer()
    controls = shown.root.locator("select, input:not([type=file]), button").all()
    assert len(controls) > 12
    for control in controls:
        assert control.get_attribute("data-lm-suppress-shortcuts") == "true"
    shown.key("ArrowRight")
    shown.close()


@pytest.fixture
def alone(show, sets):
    """alone(…) → the explorer of a single set on a page."""

    def alone(**options):
        shown = show(explore({"mine": sets["truth"]}, 5.0), "explorer", **options)
        shown.root.get_by_role("slider", name="Map").focus()
        return shown

    return alone


def test_a_single_set_has_one_map_and_nothing_to_compare_with(alone):
    shown = alone()
    (first,) = maps(shown)
    shown.key("ArrowRight")
    assert maps(shown) != [first]
    assert shown.root.get_by_text("map 2 of 40", exact=True).is_visible()
    assert shown.root.get_by_label("View").count() == 0
    label = shown.root.locator(".plot svg").get_attribute("aria-label")
    assert label.endswith(". Drawn over: map 2 of mine.")
    assert "undefined" not in shown.root.inner_text()
    shown.root.locator(".plot svg").hover()
    note = shown.root.locator(".statistic .note")
    expect(note).to_contain_text("At ")
    assert note.inner_text().count("mine") == 1
    drawn = plot(shown)
    shown.root.get_by_label("Statistic").select_option("peaks")
    shown.idle()
    assert plot(shown) != drawn and "ratio to mean" in plot(shown)


def test_python_may_ask_a_single_set_for_any_view(alone):
    shown = alone(clock=True)
    shown.freeze()
    first = maps(shown)
    for view in ("blinking", "difference"):
        shown.widget.view = view
        shown.tell()
        shown.pass_time(700)
        assert maps(shown) == first
    canvas = shown.root.locator(".map canvas").first
    shown.double_click(canvas)
    assert maps(shown) != first


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_single_set_is_legible_in_a_narrow_window(alone, theme, tmp_path):
    shown = alone(theme=theme)
    found = shown.contrasts(*TEXT)
    assert len(found) > 20 and min(found)[0] > 4.5, min(found)
    shown.root.screenshot(path=tmp_path / f"alone {theme}.png")
    assert serious(shown.page, shown.selector) == []
    shown.narrow()
    shown.root.screenshot(path=tmp_path / f"alone {theme} narrow.png")
