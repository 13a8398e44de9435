"""Quiz, noise scrubber, inspector, walk and training on a bare page: keys, mouse, colours, narrow windows, Python's answers."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("anywidget", reason="no anywidget: pip install 'lensnb[lab]'")
pytest.importorskip("playwright", reason="no playwright: pip install 'lensnb[test]'")

from pages import TWO_FRAMES, serious
from playwright.sync_api import expect

from lensnb.compare import compare
from lensnb.data import MapSet
from lensnb.maps import BandField, GaussianField, LognormalField, MapGrid
from lensnb.models import Diffusion, Flow
from lensnb.plot import FAMILIES
from lensnb.transform import KappaTransform
from lensnb.widgets import diffuse, inspect, spot_the_fake, walk
from lensnb.widgets.training_view import TrainingView

pytestmark = pytest.mark.browser

FIELD = GaussianField.from_power(MapGrid(32, 5.0), lambda ell: 1e-6 / ell**1.5)
themes = pytest.mark.parametrize("theme", ["light", "dark", "none"])


def seeded(k: int) -> torch.Generator:
    return torch.Generator().manual_seed(k)


def lognormal(n: int, seed: int) -> torch.Tensor:
    return LognormalField.from_correlation(FIELD.variance, 0.03).sample(n, seeded(seed))


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    return lognormal(40, 0)


LAPTOP = 660  # pixels of height that JupyterLab leaves to a cell's output at 1366 × 768


def fits_a_laptop(shown) -> None:
    """At 1366 × 768 all of the widget is seen at once, and on a projector it is larger."""
    page, size = shown.page, {}
    for width, height in ((1040, 768), (1366, 768), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        shown.until("s => document.querySelector(s).clientWidth > 0", shown.selector)
        page.evaluate(TWO_FRAMES)
        size[width] = shown.root.bounding_box()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert size[1040]["height"] <= LAPTOP and size[1366]["height"] <= LAPTOP, size
    assert size[1920]["width"] > 1700 and size[1920]["height"] > size[1366]["height"], size


# ---------------------------------------------------------------- lensnb.widgets.spot_the_fake


@pytest.fixture
def quiz(show, truth):
    """quiz(…) → a quiz of four questions on a page."""
    sets = {
        "truth": truth,
        "a flow": FIELD.sample(30, seeded(1)),
        "a diffusion model": truth[:20] * 1.1,
    }
    return lambda **how: show(spot_the_fake(sets, 5.0, questions=4, seed=1), "quiz", **how)


def test_the_quiz_asks_counts_and_ends(quiz, tmp_path):
    shown = quiz()
    root, said = shown.root, shown.root.locator(".said")
    follow = root.get_by_role("button", name="Next")
    sides = [question["side"] for question in shown.widget.questions]
    assert root.get_by_text("Question 1 of 4").is_visible()
    first = shown.pictures(".map canvas")
    assert first[0] != first[1] and root.locator(".fake").count() == 0
    assert follow.is_disabled()

    root.evaluate("node => node.focus()")
    shown.key("ArrowRight" if sides[0] else "ArrowLeft")  # right, by key
    assert said.inner_text().startswith("Right: the ")
    assert shown.pictures(".map canvas") == first and root.locator(".fake").count() == 1
    assert root.locator(".map").nth(sides[0]).get_attribute("class") == "map fake"
    root.screenshot(path=tmp_path / "answered.png")
    shown.key("Enter")  # on the button that has the focus
    assert root.get_by_text("Question 2 of 4").is_visible()
    assert shown.pictures(".map canvas") != first

    shown.click(root.get_by_role("button", name="left" if sides[1] else "right"))  # wrong
    assert said.inner_text().startswith("Wrong: the ")
    shown.click(follow)
    shown.click(root.locator(".map canvas").nth(sides[2]))  # right, on the map itself
    assert said.inner_text().startswith("Right: the ")
    shown.key("Enter")
    shown.key("ArrowLeft" if sides[3] else "ArrowRight")  # wrong
    assert not follow.is_visible()
    score = [row.inner_text().split("\t") for row in root.locator("tbody tr").all()]
    assert [row[0].strip() for row in score] == ["a flow", "a diffusion model", "all"]
    assert score[-1][1:] == ["2 of 4", "50 % ± 19 %", "69 %"]
    in_words = root.locator(".score").inner_text()
    assert in_words == "2 of 4 right (50 % ± 19 %). A guesser does as well in 69 % of cases."
    shown.click(root.get_by_role("button", name="Start again"))
    assert root.get_by_text("Question 1 of 4").is_visible()
    assert shown.pictures(".map canvas") == first and not root.locator("table").is_visible()


def test_who_made_a_map_is_said_at_the_end(quiz):
    shown = quiz()
    names = ("a flow", "a diffusion model")
    for question in shown.widget.questions:
        assert not any(name in shown.root.inner_text() for name in names)
        shown.root.evaluate("node => node.focus()")
        shown.key("ArrowRight" if question["side"] else "ArrowLeft")
        if question is not shown.widget.questions[-1]:
            assert not any(name in shown.root.inner_text() for name in names)
            shown.key("Enter")
    assert all(name in shown.root.locator("table").inner_text() for name in names)
    assert shown.root.locator(".said").inner_text().startswith("Right: the ")
    assert "does as well in 6.3 % of cases" in shown.root.locator(".score").inner_text()


def test_python_counts_as_the_page_does_and_can_begin_anew(quiz):
    shown = quiz()
    first = shown.pictures(".map canvas")
    for question, right in zip(shown.widget.questions, (True, False, True, False)):
        button = "right" if (question["side"] == 1) == right else "left"
        shown.click(shown.root.get_by_role("button", name=f"The {button} one"))
        shown.key("Enter")
    shown.idle()
    score = shown.widget.score()
    assert (score.right, score.answers) == (2, 4)
    assert (round(score.error, 2), round(score.by_chance, 2)) == (0.19, 0.69)
    shown.widget.answers = []
    shown.tell()
    assert shown.root.get_by_text("Question 1 of 4").is_visible()
    assert shown.pictures(".map canvas") == first
    shown.close()


@themes
def test_the_quiz_is_legible_and_narrow_windows_lose_nothing(quiz, theme, tmp_path):
    shown = quiz(theme=theme)
    shown.click(shown.root.locator(".map canvas").first)
    text = ("p", "th", "td", "caption", "label", "select", "button:not(:disabled)")
    found = shown.contrasts(*text)
    assert len(found) > 15 and min(found)[0] > 4.5, min(found)
    assert serious(shown.page, shown.selector) == []
    shown.root.screenshot(path=tmp_path / f"quiz {theme}.png")
    shown.narrow()
    shown.root.screenshot(path=tmp_path / f"narrow {theme}.png")


@pytest.mark.parametrize("width", [420, 320])
@pytest.mark.parametrize("generator", ["a diffusion model", "diffusion_with_band_powers_of_maps"])
def test_a_score_of_many_questions_fits_into_a_narrow_window(show, truth, generator, width):
    sets = {"truth": truth, "a flow": truth, generator: truth}
    shown = show(spot_the_fake(sets, 5.0, questions=200), "quiz")
    shown.narrow(width)
    shown.widget.answers = [question["side"] for question in shown.widget.questions]
    shown.tell()
    expect(shown.root.locator("tbody tr").last).to_contain_text("200 of 200")
    shown.narrow(width)


# ---------------------------------------------------------------- lensnb.widgets.diffuse


@pytest.fixture
def scrub(show, truth):
    """scrub(…) → twelve noise levels of an untrained model on a page."""
    kappa = KappaTransform.fit(truth)
    model = Diffusion(32, kappa, GaussianField.fit(kappa(truth)), widths=(8, 8))
    return lambda **how: show(diffuse(model, truth, 5.0, levels=12), "diffuse", **how)


def curves(shown) -> list[str]:
    return [path.get_attribute("d") for path in shown.root.locator("path.curve").element_handles()]


def scrubbed_maps(shown) -> list[str]:
    """The true map, the noised one, both estimates and their difference, without colour bars."""
    return shown.pictures(".maps canvas:not(.bar)")


def test_the_noise_level_is_scrubbed_by_key_and_mouse(scrub):
    shown = scrub()
    root = shown.root
    root.get_by_role("slider", name="Noise level").focus()
    shown.key("Home")
    first, drawn = scrubbed_maps(shown), curves(shown)
    assert len(first) == 5 and len(drawn) == 6
    shown.key("End")
    assert root.get_by_text("(12 of 12)").is_visible()
    last, noised = scrubbed_maps(shown), curves(shown)
    assert last[0] == first[0] and all(a != b for a, b in zip(first[1:4], last[1:4]))
    # the true map's spectrum stays, the guess loses power
    assert noised[0] == drawn[0] and noised[1] != drawn[1]
    shown.click(root.get_by_role("button", name="Less noise"))
    assert root.get_by_text("(11 of 12)").is_visible() and scrubbed_maps(shown) != last
    shown.click(root.get_by_role("button", name="More noise"))
    assert scrubbed_maps(shown) == last
    root.get_by_label("What happens").select_option("make")
    assert scrubbed_maps(shown)[0] != last[0]
    assert root.get_by_text("finished map (seed 0)").is_visible()
    root.get_by_label("Colours").select_option("grey")
    root.get_by_label("What happens").select_option("noise")
    root.get_by_label("Colours").select_option("magma")
    root.get_by_role("slider", name="Noise level").focus()
    shown.key("Home")
    assert scrubbed_maps(shown) == first and curves(shown) == drawn


def test_a_difference_has_its_own_scale(scrub):
    """Of an untrained model both estimates are the same; beside the true map they are not."""
    shown = scrub()
    before = scrubbed_maps(shown)
    ends = shown.root.locator(".ends").last.inner_text().split()
    assert ends[0] == f"−{ends[2]}"  # as far below zero as above
    shown.root.get_by_label("Difference on view").select_option("network − map")
    after = scrubbed_maps(shown)
    assert after[:4] == before[:4] and after[4] != before[4]
    assert float(shown.root.locator(".ends").last.inner_text().split()[2]) > 1e3 * _number(ends[2])
    shown.heard("difference", "network − map")


def _number(text: str) -> float:
    """The value of 1.2×10⁻⁹ or 0.012."""
    mantissa, _, power = text.partition("×10")
    plain = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(mantissa) * 10.0 ** int(plain or 0)


def test_another_map_is_asked_of_the_kernel(scrub):
    shown = scrub()
    first = scrubbed_maps(shown)
    shown.occupy()
    shown.click(shown.root.get_by_role("button", name="another map"))
    assert shown.root.get_attribute("aria-busy") == "true" and scrubbed_maps(shown) == first
    shown.read()
    assert shown.root.get_attribute("aria-busy") == "false" and shown.widget.which == 1
    assert shown.root.get_by_text("true map 2 of 40").is_visible()
    assert scrubbed_maps(shown)[0] != first[0]
    shown.root.get_by_label("What happens").select_option("make")
    made = scrubbed_maps(shown)
    shown.click(shown.root.get_by_role("button", name="make another map"))
    shown.idle()
    assert shown.widget.seed == 1 and scrubbed_maps(shown)[0] != made[0]


def test_a_map_is_played_from_noise_to_the_end(scrub):
    shown = scrub(clock=True)
    shown.freeze()
    play = shown.root.get_by_role("button", name="play")
    shown.root.get_by_role("slider", name="Noise level").focus()
    shown.key("End")
    shown.click(play)
    shown.pass_time(500)
    assert shown.root.get_by_text("(9 of 12)").is_visible()
    assert shown.root.get_by_role("button", name="pause").is_visible()
    shown.pass_time(3000)
    assert shown.root.get_by_text("(1 of 12)").is_visible() and play.is_visible()
    shown.click(play)  # from the beginning, and paused
    shown.pass_time(200)
    shown.click(shown.root.get_by_role("button", name="pause"))
    shown.pass_time(3000)
    assert shown.root.get_by_text("(11 of 12)").is_visible()
    shown.close()


def test_python_hears_of_the_noise_level_and_sets_it(scrub):
    shown = scrub()
    shown.root.get_by_role("slider", name="Noise level").focus()
    shown.key("Home")
    shown.key("ArrowRight")
    shown.heard("level", 1)
    shown.root.get_by_label("What happens").select_option("make")
    shown.heard("way", "make")
    shown.widget.level = 4
    shown.tell()
    assert shown.root.get_by_text("(5 of 12)").is_visible()
    shown.close()


@themes
def test_the_scrubber_is_legible_and_narrow_windows_lose_nothing(scrub, theme, tmp_path):
    shown = scrub(theme=theme)
    found = shown.contrasts("label", "select", "button", "output", "p", "text")
    assert len(found) > 20 and min(found)[0] > 4.5, min(found)
    assert serious(shown.page, shown.selector) == []
    shown.root.screenshot(path=tmp_path / f"diffuse {theme}.png")
    fits_a_laptop(shown)
    shown.narrow(390)


# ---------------------------------------------------------------- lensnb.widgets.inspect


@pytest.fixture(scope="module")
def report(truth):
    def numbered(seed: int, first: int) -> MapSet:
        simulation = first + np.arange(200) // 10
        return MapSet(lognormal(200, seed).numpy(), 5.0, simulation=simulation)

    generated = {
        "a flow": FIELD.sample(200, seeded(2)),
        "a diffusion model": truth.repeat(4, 1, 1) * 1.1,
    }
    return compare(numbered(0, 0), numbered(1, 100), generated, look_at_maps=False, rounds=40)


@pytest.fixture
def inspector(show, report):
    """inspector(…) → the report on a page, with all maps, 64 or 128 of them."""
    return lambda **how: show(inspect(report, sizes=[64, 128]), "inspector", **how)


MATRICES = ".matrix canvas"


def test_generators_and_matrices_are_chosen(inspector):
    shown = inspector()
    corners = r"multipole ℓ from \d+ \(lower left\) to \d+ \(upper right\)"
    assert re.search(corners, shown.root.locator(".scale").inner_text())
    first, drawn = shown.plots(), shown.pictures(MATRICES)
    assert len(first) == 3 and len(drawn) == 4  # truth, null and both generators
    flow = shown.root.get_by_label("a flow", exact=True)
    shown.click(flow)
    assert shown.plots() != first and shown.pictures(MATRICES) == [*drawn[:2], drawn[3]]
    shown.idle()
    assert shown.widget.chosen == ["a diffusion model"]
    shown.click(flow)
    assert shown.plots() == first and shown.pictures(MATRICES) == drawn
    shown.root.get_by_label("Matrices").select_option("over truth")
    assert len(shown.pictures(MATRICES)) == 3
    assert shown.root.get_by_text("grey: not known well enough").is_visible()
    shown.root.get_by_label("Matrices").select_option("correlation")
    assert shown.pictures(MATRICES) == drawn


CUT = """svg => {
  const [, top, foot] = svg.querySelector('.axis').getAttribute('d').match(/ ([.0-9]+)H[.0-9]+V([.0-9]+)/);
  const bars = [...svg.querySelectorAll('g path')].map(one => one.getAttribute('d'))
    .map(d => d.match(/^M[.0-9]+ ([.0-9]+)V([.0-9]+)$/)).filter(Boolean);
  const cut = bars.filter(([, ...ends]) => ends.some(y => y <= +top + 0.01 || y >= foot - 0.01));
  return [bars.length, cut.length];
}"""


def test_error_bars_end_inside_of_their_plot(inspector):
    """Of the power spectrum all do. Of more bins, one in twenty may lie farther out."""
    shown = inspector()
    for plot in shown.root.locator(".plots svg").all()[1:]:
        bars, cut = plot.evaluate(CUT)
        assert bars >= 10 and cut == 0


def test_another_statistic_and_another_number_of_maps_ask_the_kernel(inspector):
    shown = inspector()
    statistic, sizes = (
        shown.root.get_by_label(name) for name in ("Statistic", "Maps of each set")
    )
    status, first = shown.root.locator(".status"), shown.plots()
    shown.occupy()
    statistic.select_option("pdf")
    assert shown.root.get_attribute("aria-busy") == "true"
    assert status.inner_text().startswith("computing") and shown.plots() == first
    shown.read()
    pdf = shown.plots()
    assert shown.root.get_attribute("aria-busy") == "false"
    assert status.inner_text().startswith("pdf") and all(a != b for a, b in zip(pdf, first))
    # of the statistic, not of the whole report
    reasons = shown.root.locator(".reasons ul").first.inner_text()
    assert ", expected " in reasons and reasons.endswith(".")
    sizes.select_option("64")
    shown.idle()
    assert shown.plots() != pdf and shown.widget.maps == 64
    assert "from 64 other true maps" in shown.root.locator(".key").inner_text()
    sizes.select_option("0")
    shown.idle()
    statistic.select_option("power")
    shown.idle()
    assert shown.plots() == first and status.inner_text().startswith("power")


def test_the_elements_of_a_matrix_are_read_by_key_and_mouse(inspector):
    shown = inspector()
    said = shown.root.locator(".element")
    shown.root.locator(".matrix").first.focus()
    before = said.inner_text()
    shown.key("ArrowUp")
    assert said.inner_text() != before and said.inner_text().startswith("Bins 3 and 1 ")
    # the upper left corner
    shown.root.locator(MATRICES).nth(1).hover(position={"x": 2, "y": 2})
    bins = shown.root.locator(MATRICES).first.evaluate("canvas => canvas.width")
    expect(said).to_have_text(re.compile(f"Bins {bins} and 1 "))
    assert "null (true maps) " in said.inner_text()
    assert "Select a cell" in shown.root.locator(".hint").inner_text()
    # what the pointer passed is forgotten, what was clicked stays
    shown.page.mouse.move(1, 1)
    expect(said).to_have_text(re.compile("Bins 3 and 1 "))
    shown.click(shown.root.locator(MATRICES).nth(1), position={"x": 2, "y": 2})
    shown.page.mouse.move(1, 1)
    expect(said).to_have_text(re.compile(f"Bins {bins} and 1 "))
    shown.close()


def test_tables_and_figure_of_the_report_are_saved(inspector):
    shown = inspector()
    found = {}
    for label in ("numbers on view, CSV", "report, LaTeX"):
        shown.root.get_by_label("What to save").select_option(label)
        with shown.page.expect_download() as download:
            shown.root.get_by_role("button", name="Save", exact=True).click()
        text = Path(download.value.path()).read_text(encoding="utf-8")
        found[download.value.suggested_filename] = text
    assert list(found) == ["power.csv", "report.tex"]
    assert found["power.csv"].startswith("set,maps,bin,") and "a flow,200,1," in found["power.csv"]
    assert "toprule" in found["report.tex"]


@themes
def test_the_inspector_is_legible_and_narrow_windows_lose_nothing(inspector, theme, tmp_path):
    shown = inspector(theme=theme)
    text = ("label", "select", "p", "li", "summary", "h4", "text", ".scale span")
    found = shown.contrasts(*text)
    assert len(found) > 40 and min(found)[0] > 4.5, min(found)
    assert serious(shown.page, shown.selector) == []
    shown.root.screenshot(path=tmp_path / f"inspector {theme}.png")
    shown.narrow()
    shown.root.screenshot(path=tmp_path / f"inspector narrow {theme}.png")


# ---------------------------------------------------------------- lensnb.widgets.walk


@pytest.fixture
def path(show, truth):
    """path(…) → a walk of nine steps, at one of two temperatures, on a page."""
    kappa = KappaTransform.fit(truth)
    flow = Flow(32, kappa, GaussianField.fit(kappa(truth)), steps=2, hidden=8)
    offered = {"steps": 9, "temperatures": [0.7, 1]}
    return lambda **how: show(walk(flow, truth, 5.0, **offered), "walk", **how)


def test_a_walk_is_gone_by_key_and_mouse(path):
    shown = path()
    root = shown.root
    root.get_by_role("slider", name="Step of the walk").focus()
    shown.key("Home")
    first, drawn = shown.pictures(), shown.plots()
    shown.key("End")
    assert root.get_by_text("9 of 9", exact=True).is_visible()
    last = shown.pictures()
    changed = [a != b for a, b in zip(first, last)]
    assert changed == [False, True, False, False]  # the start, the step, its scale, the end
    assert shown.plots() != drawn
    shown.click(root.get_by_role("button", name="Towards the start"))
    assert root.get_by_text("8 of 9", exact=True).is_visible()
    shown.click(root.get_by_role("button", name="Towards the end"))
    assert shown.pictures() == last
    root.get_by_role("slider", name="Step of the walk").focus()
    shown.key("Home")
    assert shown.pictures() == first and shown.plots() == drawn


def test_a_likelihood_without_parts_is_one_curve(show, truth):
    """Of a flow whose base has band powers, as that of the shipped flow."""
    kappa = KappaTransform.fit(truth)
    flow = Flow(32, kappa, BandField.fit(kappa(truth)), steps=2, hidden=8)
    shown = show(walk(flow, truth, 5.0, steps=3, temperatures=[1]), "walk")
    note = shown.root.get_by_text("nats from the mean of true maps. The scatter of")
    assert note.is_visible()


def test_another_walk_is_asked_of_the_kernel_and_comes_back(path):
    shown = path()
    first, drawn = shown.pictures(), shown.plots()
    for name, value, back in (("Temperature", "0.7", "1"), ("To", "5", "1")):
        control = shown.root.get_by_role("combobox", name=name, exact=True)
        shown.occupy()
        control.select_option(value)
        assert shown.root.get_attribute("aria-busy") == "true"
        shown.read()
        assert shown.root.get_attribute("aria-busy") == "false" and shown.pictures() != first
        control.select_option(back)
        shown.idle()
        assert shown.pictures() == first
    fine = shown.root.get_by_label("fine", exact=True)
    shown.click(fine)
    shown.idle()
    assert shown.pictures()[1] != first[1] and shown.widget.scales == ["middle", "coarse"]
    shown.click(fine)
    shown.idle()
    assert shown.pictures() == first and shown.plots() == drawn
    assert shown.widget.temperature == 1.0 and len(shown.widget.scales) == 3


def test_python_hears_of_the_step_and_sets_it(path):
    shown = path()
    shown.root.get_by_role("slider", name="Step of the walk").focus()
    shown.key("Home")
    shown.key("ArrowRight")
    shown.heard("step", 1)
    shown.widget.step = 6
    shown.tell()
    assert shown.root.get_by_text("7 of 9", exact=True).is_visible()
    shown.close()


@themes
def test_the_walk_is_legible_and_narrow_windows_lose_nothing(path, theme, tmp_path):
    shown = path(theme=theme)
    text = ("label", "select", "button", "output", "p", "legend", "text")
    found = shown.contrasts(*text)
    assert len(found) > 20 and min(found)[0] > 4.5, min(found)
    assert serious(shown.page, shown.selector) == []
    shown.root.screenshot(path=tmp_path / f"walk {theme}.png")
    fits_a_laptop(shown)
    shown.narrow(390)
    numbers = "s => s.querySelectorAll('text[text-anchor=middle]:not([transform])').length - 1"
    plots = shown.root.locator(".plots svg").all()
    assert len(plots) == 2 and all(one.evaluate(numbers) >= 2 for one in plots)  # on the x axis


# ---------------------------------------------------------------- lensnb.widgets.follow_training


def record(step: int, **more) -> dict:
    told = {
        "lr": 1e-3 / step,
        "seconds": 0.1 * step,
        "images": 8 * step,
        "images_per_second": 80.0,
    }
    return {"step": step, "loss": 2.0 / step, "validation": 2.1 / step} | told | more


def checked(slope: float) -> dict:
    return {"power_slope": slope, "power_slope_error": 0.05, "power_worst": 1.2}


@pytest.fixture
def training(show):
    """training(…) → a training of a hundred steps on a page, of which two are made."""

    def training(**how):
        widget = TrainingView(100, "flow", "bits per pixel", drawn=8)
        widget.add(record(2))
        widget.add(record(4, **checked(0.87)), lognormal(4, 3))
        return show(widget, "training", **how)

    return training


def test_a_training_is_seen_while_it_runs(training):
    shown = training()
    root, said = shown.root, shown.root.locator(".head p")
    assert said.inner_text().startswith("flow: running at step 4 of 100, about ")
    numbers = dict(one.inner_text().split("\n") for one in root.locator("dl div").all())
    assert numbers["loss"] == "0.50000 bits per pixel" and numbers["speed"] == "80.0 maps/s"
    assert numbers["Cℓ slope"] == "0.87 ± 0.05" and numbers["Cℓ mean, worst bin"] == "1.20"
    assert root.get_by_text("loss [bits per pixel]").count() == 1
    first, samples = shown.plots(), shown.pictures(".samples canvas")
    assert len(samples) == 4 and root.locator("svg path.curve").count() == 4
    styles = [one.get_attribute("style") for one in root.locator("svg path.curve").all()]
    dark, light = FAMILIES["flow"]  # training and unseen maps have one hue
    assert light in styles[0] and dark in styles[1] and dark in styles[3]
    assert "dasharray:none" in styles[0] and "dasharray:7" in styles[1]
    assert not [one for pair in FAMILIES.values() for one in pair if one in styles[2]]
    shown.widget.add(record(50, **checked(0.9)), lognormal(4, 4))
    shown.tell()
    assert root.locator("progress").evaluate("bar => bar.value") == 50
    assert shown.plots() != first and shown.pictures(".samples canvas") != samples
    shown.widget.state = "finished"
    shown.tell()
    assert said.inner_text() == "flow: finished at step 50 of 100"
    shown.close()


def test_fidelity_is_drawn_with_its_errors_once_there_is_a_check(show):
    widget = TrainingView(100, "flow")
    widget.add(record(10))
    shown = show(widget, "training")
    panel = shown.root.locator(".plots > div").nth(1)
    assert not panel.is_visible() and not shown.root.locator(".note").inner_text()
    for step, slope in ((20, 0.6), (30, 0.9)):
        widget.add(record(step, **checked(slope)))
    widget.tell()
    shown.tell()
    expect(panel).to_be_visible()
    shown.page.evaluate(TWO_FRAMES)
    bars = panel.locator("path.error").evaluate_all("all => all.map(p => p.getAttribute('d'))")
    ends = [[float(y) for y in re.findall(r"[ V]([\d.]+)", bar)] for bar in bars]
    expected = panel.locator("path[stroke-dasharray='5 4']").get_attribute("d")  # of true maps
    one = float(re.search(r" ([\d.]+)H", expected)[1])
    assert len(ends) == 2 and all(foot > top > one for foot, top in ends)  # below 1, and inside
    # both errors are as long, and three times that is what the slope has risen
    (foot, top), (later, above) = ends
    assert foot - top == pytest.approx(later - above, abs=0.1)
    assert foot - later == pytest.approx(3 * (foot - top), abs=0.3)
    assert "0.90 ± 0.05" in panel.locator("svg").get_attribute("aria-label")


def curve_of(shown, number: int) -> np.ndarray:
    """The points of a curve, (x, y) in pixels."""
    return np.array(re.findall(r"([\d.]+) ([\d.-]+)", curves(shown)[number]), float)


def inside(shown, points: np.ndarray) -> bool:
    """Whether all of a curve lies inside its panel."""
    box = shown.root.locator(".plots svg").first.bounding_box()
    x, y = points.T
    return 76 <= x.min() and x.max() <= box["width"] and 8 <= y.min() and y.max() <= box["height"]


@pytest.mark.parametrize("records", [2, 3, 12])
def test_the_axis_of_a_short_training_reaches_every_loss(show, records):
    widget = TrainingView(100, "flow")
    for step in range(1, records + 1):
        widget.add(record(step))
    widget.tell()
    shown = show(widget, "training")
    points = curve_of(shown, 0)
    assert len(set(points[:, 1])) == records and inside(shown, points)


@pytest.mark.parametrize("lowest", [1.0, -1.0])
def test_no_loss_is_cut_off_and_the_end_can_be_seen_alone(show, lowest):
    """The first loss of 40 is far off: a positive loss has a logarithmic axis, the other steps are chosen."""
    widget = TrainingView(40, "flow")
    losses = [9e4, *np.linspace(2, lowest, 39)]
    for step, loss in enumerate(losses, 1):
        widget.add(record(step, loss=loss, validation=None))
    widget.tell()
    shown = show(widget, "training")
    whole = curve_of(shown, 0)
    assert len(whole) == 40 and inside(shown, whole)
    shown.root.get_by_label("Steps shown").select_option("0.5")
    end = curve_of(shown, 0)
    assert len(end) == 21 and inside(shown, end)
    assert np.ptp(end[:, 1]) > 0.8 * np.ptp(whole[:, 1])  # the panel is theirs


def test_a_single_record_is_a_whole_point(show):
    widget = TrainingView(100, "flow")
    widget.add(record(100))
    shown = show(widget, "training")
    points = shown.root.locator("svg circle")
    assert points.count() == 3
    middle = float(points.first.get_attribute("cx"))
    width = shown.root.locator(".plots svg").first.bounding_box()["width"]
    assert middle + 3 < width - 10  # of the last step, and yet inside the panel


def test_the_button_interrupts_the_kernel_where_the_page_lets_it(training):
    shown = training(interrupts=True)
    stop, how = shown.root.get_by_role("button", name="Stop"), shown.root.locator(".how")
    assert stop.is_visible() and not how.is_visible()
    shown.click(stop)
    expect(stop).to_be_disabled()
    assert shown.page.evaluate("window.interrupts") == 1
    shown.widget.state = "interrupted"
    shown.tell()
    assert shown.root.locator(".head p").inner_text() == "flow: interrupted at step 4 of 100"
    assert not stop.is_visible()


def test_the_words_say_what_to_press_where_the_page_does_not(training):
    shown = training()
    assert shown.root.locator(".how").is_visible()
    assert shown.root.get_by_role("button", name="Stop").count() == 0


@themes
def test_the_training_is_legible_and_narrow_windows_lose_nothing(training, theme, tmp_path):
    shown = training(theme=theme, interrupts=True)
    found = shown.contrasts("p", "dt", "dd", "button", "text")
    assert len(found) > 20 and min(found)[0] > 4.5, min(found)
    assert serious(shown.page, shown.selector) == []
    shown.root.screenshot(path=tmp_path / f"training {theme}.png")
    fits_a_laptop(shown)
    shown.narrow(390)
