"""Explorer, inspector and quiz in the windows of a workshop: a phone, a laptop and a projector."""

import numpy as np
import pytest
import torch

pytest.importorskip("anywidget", reason="no anywidget: pip install 'lensnb[lab]'")
pytest.importorskip("playwright", reason="no playwright: pip install 'lensnb[test]'")

from pages import TWO_FRAMES

from lensnb import stats
from lensnb.compare import compare
from lensnb.data import MapSet
from lensnb.maps import GaussianField, MapGrid
from lensnb.widgets import explore, inspect, spot_the_fake

pytestmark = pytest.mark.browser

PHONE, LAPTOP, PROJECTOR = (390, 844), (1366, 768), (1920, 1080)
FIELD = GaussianField.from_power(MapGrid(32, 5.0), lambda ell: 1e-6 / ell**1.5)
# As many generators as the comparison of notebook 05 has, with names as long.
NAMES = (
    "lognormal", "flow", "shipped flow", "diffusion", "shipped diffusion", "Gaussian", "GAN",
)  # fmt: skip


def drawn(count: int, seed: int) -> torch.Tensor:
    return FIELD.sample(count, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def widgets():
    """The three widgets with seven generators each; the quiz is answered, so its table is shown."""
    sets = {name: drawn(60, seed) for seed, name in enumerate(NAMES, 2)}
    truth, null = (
        MapSet(drawn(60, seed).numpy(), 5.0, simulation=60 * seed + np.arange(60))
        for seed in (0, 1)
    )
    few = stats.suite(truth.tensor(), 5.0, ["power", "pdf"])
    report = compare(truth, null, sets, statistics=few, look_at_maps=False, rounds=20)
    quiz = spot_the_fake({"truth": truth} | sets, questions=40, seed=1)
    quiz.answers = [question["side"] for question in quiz.questions]
    explorer = explore({"truth": truth} | sets, 5.0, maps=20)
    return {"explorer": explorer, "inspector": inspect(report, sizes=[]), "quiz": quiz}


def resize(shown, size: tuple[int, int]) -> dict:
    """Give the window another size; where the widget lies then."""
    width, height = size
    shown.page.set_viewport_size({"width": width, "height": height})
    shown.page.evaluate(TWO_FRAMES)
    return shown.root.bounding_box()


def lower_edge(shown) -> float:
    """The lowest point of anything in the widget that is not scrolled away in a box of its own."""
    return shown.page.evaluate(
        "s => Math.max(...[...document.querySelectorAll(s + ' *')]"
        ".filter(n => !n.closest('.reasons')?.contains(n) || n.matches('.reasons'))"
        ".map(n => n.getBoundingClientRect().bottom))",
        shown.selector,
    )


@pytest.mark.parametrize("name", ["explorer", "inspector", "quiz"])
def test_a_widget_is_no_wider_than_a_phone_and_no_higher_than_a_laptop(show, widgets, name):
    widget = widgets[name]
    shown = show(widget, name, width=LAPTOP[0])
    resize(shown, LAPTOP)
    assert lower_edge(shown) <= LAPTOP[1]
    maps = [one.bounding_box() for one in shown.root.locator(".map canvas").all()]
    assert all(box["height"] <= 0.45 * LAPTOP[1] + 1 for box in maps)
    if maps:  # the score, or the statistic, is beside the maps
        beside = shown.root.locator(".statistic, .score").bounding_box()
        assert beside["x"] >= max(box["x"] + box["width"] for box in maps)
        assert beside["y"] < maps[0]["y"] + maps[0]["height"]
    shown.narrow(PHONE[0])  # nothing sticks out of the widget, nor the widget out of the page
    wide = resize(shown, PROJECTOR)
    assert wide["width"] > 1700 and lower_edge(shown) <= PROJECTOR[1]
    letters = "s => parseFloat(getComputedStyle(document.querySelector(s)).fontSize)"
    before = shown.page.evaluate(letters, shown.selector)
    shown.click(shown.root.get_by_role("button", name="Large"))
    shown.idle()
    assert widget.large and shown.page.evaluate(letters, shown.selector) > 1.15 * before
    assert lower_edge(shown) <= PROJECTOR[1]
    widget.large = False


def test_on_a_phone_the_slider_has_the_full_width(show, widgets):
    shown = show(widgets["explorer"], "explorer", width=PHONE[0])
    slider = shown.root.get_by_role("slider", name="Map").bounding_box()
    assert slider["width"] > 0.95 * shown.root.bounding_box()["width"]
