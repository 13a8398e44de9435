"""Pages without a kernel: what they hold, how large they are, and that the widgets work on them."""

import base64
import json
import re
import zlib

import numpy as np
import pytest

pytest.importorskip("anywidget", reason="no anywidget: pip install 'lensnb[lab]'")

from pages import key, serious

from lensnb import widgets
from lensnb.__main__ import main
from lensnb.data import load_sample
from lensnb.widgets import own_file, sharing, small_sets
from lensnb.widgets.sharing import share
from lensnb.widgets.static_page import record, static_page

SMALL = {"truth": load_sample("truth")[:6], "a flow": load_sample("null")[:5]}
CHOICES = {"statistic": ["pdf", "power"], "smoothing_arcmin": [0.0, 5.0]}


def small_explorer():
    offered = {"statistics": CHOICES["statistic"], "smoothing_arcmin": CHOICES["smoothing_arcmin"]}
    return widgets.explore(SMALL, n_gal_arcmin2=(0,), **offered)


def unpacked(page: str):
    """What a page holds, read with Python: (the header, a function that gives bytes)."""
    text = re.search(r'<script id="lensnb-data"[^>]*>([^<]*)<', page)[1]
    raw = zlib.decompress(base64.b64decode(text))
    end = 4 + int.from_bytes(raw[:4], "little")
    header, block = json.loads(raw[4:end]), raw[end:]

    def bytes_of(place) -> bytes:
        start, length, width = place["$bytes"]
        planes = np.frombuffer(block[start : start + length], np.uint8)
        return planes.reshape(width, -1).T.tobytes()

    return header, bytes_of


def test_a_page_holds_every_answer_to_the_rounding_that_is_stated():
    explorer = small_explorer()
    explorer.statistic = "power"
    page = static_page({"Explorer": record(explorer, CHOICES)}, "A & B", "what <it> is")
    assert "A &amp; B" in page and "what &lt;it&gt; is" in page
    header, bytes_of = unpacked(page)
    (shown,) = header["widgets"]
    assert shown["choices"] == list(CHOICES) and len(shown["answers"]) == 4
    assert header["values"][shown["state"]["statistic"]] == "power"  # what it showed before
    for (statistic, smoothing), answer in shown["answers"]:
        assert "index" not in answer  # the user's own: an answer must not put it back
        explorer.statistic, explorer.smoothing_arcmin = statistic, smoothing
        plot, maps = (header["values"][answer[name]] for name in ("_plot", "_maps"))
        assert (plot["statistic"], plot["smoothing_arcmin"]) == (statistic, smoothing)
        for name in SMALL:
            expected = np.frombuffer(explorer._plot["vectors"][name], "<f4")
            found = np.frombuffer(bytes_of(plot["vectors"][name]), "<f4")
            np.testing.assert_allclose(found, expected, rtol=2.0**-13)
            expected = np.frombuffer(explorer._maps["sets"][name]["pixels"], "<u2").astype(float)
            found = np.frombuffer(bytes_of(maps["sets"][name]["pixels"]), "<u2")
            assert abs(found - expected).max() <= expected.std() / 32
            assert len(np.unique(found)) < len(np.unique(expected)) / 2  # or it would not compress


def test_equal_maps_are_held_once():
    once = static_page({"a": record(small_explorer())}, "", "")
    twice = static_page({"a": record(small_explorer()), "b": record(small_explorer())}, "", "")
    script = len(widgets.explorer.Explorer._esm.encode())
    assert len(twice) - len(once) < script + 3000


def test_a_page_that_is_too_large_is_refused_and_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "LARGEST", 50_000)
    monkeypatch.setattr(sharing, "STATISTICS", {"pdf": ()})
    with pytest.raises(ValueError, match="expected at most 0 MB, with fewer maps"):
        share(tmp_path / "a.html", SMALL, questions=2, maps=2)
    assert not list(tmp_path.iterdir())


def test_the_command_adds_files_to_the_sets(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(small_sets, "small_sets", lambda maps, seed: SMALL)
    monkeypatch.setattr(sharing, "STATISTICS", {"pdf": ()})
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).normal(0, 0.01, (4, 128, 128)))
    words = ["share", str(tmp_path / "a.html"), str(tmp_path / "mine.npy"), "--pixels", "64"]
    assert main([*words, "--questions", "3", "--maps", "2", "--seed", "5"]) == 0
    assert "mine.npy does not say how large its field is" in capsys.readouterr().out
    header, _ = unpacked((tmp_path / "a.html").read_text(encoding="utf-8"))
    quiz, explorer = header["widgets"]
    about = [header["values"][one["state"]["_about"]] for one in (quiz, explorer)]
    assert about[0]["names"] == ["truth", "a flow", "mine"] and len(about[0]["questions"]) == 3
    assert [one["name"] for one in about[1]["sets"]] == about[0]["names"]


@pytest.mark.browser
def test_quiz_and_explorer_work_on_a_phone_without_a_kernel_and_a_network(browser, tmp_path):
    """As many maps as by default, of true maps: generated ones compress as well or better."""
    sets = {"truth": load_sample("truth")}
    for number, name in enumerate(("Gaussian", "flow", "diffusion")):
        sets[name] = load_sample("null")[number::32]
    path = share(tmp_path / "page.html", sets)
    assert path.stat().st_size <= 3_000_000
    context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: said.type == "error" and problems.append(said.text))
    page.goto(path.as_uri())
    quiz, explorer = page.locator(".lensnb-quiz"), page.locator(".lensnb-explorer")
    quiz.wait_for()
    assert not explorer.is_visible() and page.locator("#said").count() == 0
    key_page(page, "ArrowLeft")  # the keys work before anything is clicked
    assert quiz.locator(".said").inner_text().split(":")[0] in ("Right", "Wrong")
    key_page(page, "Enter")
    quiz.get_by_role("button", name="The left one").click()
    assert quiz.locator(".said").inner_text().split(":")[0] in ("Right", "Wrong")
    assert serious(page, "body") == []

    page.emulate_media(color_scheme="dark")
    page.get_by_role("tab", name="Explorer").click()
    assert explorer.get_by_label("Shape noise").count() == 0  # there is nothing to choose
    canvas = explorer.locator("canvas").first
    picture = lambda: canvas.evaluate("one => one.toDataURL()")
    explorer.get_by_role("slider", name="Map", exact=True).focus()
    first = picture()
    key_page(page, "ArrowRight")
    second = picture()
    assert second != first
    explorer.get_by_label("Smoothing").select_option("5")
    assert picture() not in (first, second) and explorer.get_attribute("aria-busy") != "true"
    statistic = explorer.get_by_label("Statistic")
    for name in statistic.locator("option").evaluate_all("all => all.map(one => one.value)"):
        statistic.select_option(name)
        assert explorer.get_attribute("aria-busy") == "false", name
    explorer.get_by_label("Smoothing").select_option("0")
    assert picture() == second  # the map on view is still the second one
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious(page, "body") == [] and problems == []
    page.set_viewport_size({"width": 1920, "height": 1080})
    assert explorer.bounding_box()["width"] > 1700  # it grows on a projector
    context.close()


def key_page(page, name: str) -> None:
    from pages import count_events

    count_events(page)
    key(page, name)


# ---------------------------------------------------------------- one's own file


class StandIn:
    """A report without a comparison."""

    def __init__(self, *sets, **named):
        self.sets = sets

    def failures(self, name):
        return [f"{name} is off <b>"]

    def _repr_html_(self):
        return "<table></table>"


def test_a_file_is_read_checked_and_compared(tmp_path, monkeypatch):
    import ipywidgets

    monkeypatch.setattr(own_file, "compare", StandIn)
    monkeypatch.setattr(own_file, "inspect", lambda report: ipywidgets.HTML("inspector"))
    form = own_file.compare_file()
    for shape, words in (
        ((3, 48, 48), "48 × 48 pixels in 1 channels; expected 5° and 64 × 64"),
        ((1, 64, 64), "has 1 map; expected two or more"),
    ):
        np.save(tmp_path / "bad.npy", np.random.default_rng(1).normal(0, 0.01, shape))
        form._path.value = str(tmp_path / "bad.npy")
        assert words in form._said.value and form._start.disabled and form.maps is None
        form._path.value = ""
    monkeypatch.setattr(own_file, "_MOST", 8)
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).normal(0, 0.01, (11, 128, 128)))
    form._path.value = str(tmp_path / "mine.npy")
    assert len(form.maps) == 8 and form.maps.grid.n == 64
    for said in ("Averaged to 64 × 64", "8 of 11 are used", "taken as 5°"):
        assert said in form._said.value
    form._start.click()
    assert form.report.sets[2].keys() == {"mine"}
    assert "One number of mine is off: mine is off &lt;b&gt;" in form._said.value
