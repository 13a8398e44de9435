"""The report's table on a page of Jupyter: it is never wider than its page, and nothing is cut off or hidden."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensnb.compare import NULL, FidelityReport, compare
from lensnb.data import MapSet
from lensnb.maps import GaussianField, MapGrid
from lensnb.stats import suite

pytestmark = pytest.mark.browser

SIX = ["flow", "diffusion", "Gaussian", "lognormal", "shipped flow", "shipped diffusion"]
NINE = [*SIX, "GAN", "multiscale", "a model with a name that is very long"]
# As in JupyterLab, where prompt and margins take some of the page; its styles for tables, in short.
PAGE = """<!doctype html><html lang="en"><head><title>A report</title><style>
body { margin: 8px; font: 14px system-ui; background: Canvas; color: CanvasText; }
@media (min-width: 800px) { main { margin-left: 124px; } }
.jp-RenderedHTMLCommon :is(td, th, tr) { padding: .5em; white-space: normal; border: none; }
.jp-RenderedHTMLCommon tbody tr:nth-child(even) { background: #8883; }
</style></head><body style="color-scheme: THEME"><main class="jp-RenderedHTMLCommon">REPORT</main>
</body></html>"""

# What a reader would see of the first table.
LOOK = """() => {
  const area = document.querySelector('.wide'), box = area.getBoundingClientRect();
  const cells = [...area.querySelectorAll('td, th')];
  const head = [...area.querySelectorAll('thead th')].map(one => one.getBoundingClientRect());
  return {
    page: document.documentElement.scrollWidth,
    hint: getComputedStyle(document.querySelector('.hint')).display !== 'none',
    scrolls: area.scrollWidth > area.clientWidth,
    seen: head.filter(one => one.left >= box.left - 1 && one.right <= box.right + 1).length,
    first: head[0].left - box.left,
    cut: cells.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.innerText),
  };
}"""


@pytest.fixture(scope="module")
def report() -> FidelityReport:
    field = GaussianField.from_power(MapGrid(16, 5.0), lambda ell: 1e-9 * (ell / 500) ** -1.2)
    draw = lambda seed: field.sample(64, torch.Generator().manual_seed(seed))
    truth, null = (
        MapSet(draw(k).numpy(), 5.0, simulation=np.arange(64) // 2 + 32 * k) for k in range(2)
    )
    statistics = suite(truth.tensor(), 5.0, ["power", "pdf"])
    made = {"bad": 0.8 * draw(2)}
    return compare(truth, null, made, statistics=statistics, look_at_maps=False, rounds=5)


def of(report: FidelityReport, names: list[str]) -> FidelityReport:
    """The report with the one generator under many names."""
    changed = {}
    for part in ("ensembles", "verdicts", "extras", "counts"):
        sets = getattr(report, part)
        rest = {name: one for name, one in sets.items() if name != "bad"}
        changed[part] = rest | dict.fromkeys(names, sets["bad"])
    return replace(report, **changed)


@pytest.fixture
def look(browser, report):
    """look(names, width, theme) → the page with the report of so many generators, and what is seen of it."""
    pages = []

    def look(names, width, theme="light"):
        pages.append(browser.new_page(viewport={"width": width, "height": 768}))
        made = of(report, names)._repr_html_()
        pages[-1].set_content(PAGE.replace("THEME", theme).replace("REPORT", made))
        return pages[-1], pages[-1].evaluate(LOOK)

    yield look
    for page in pages:
        page.close()


def test_six_models_are_seen_at_once_at_1100_pixels(look):
    page, seen = look(SIX, 1100)
    assert seen["page"] <= 1100 and not seen["scrolls"] and not seen["hint"]
    assert seen["seen"] == 1 + len([NULL, *SIX]) and seen["cut"] == []
    page.evaluate("document.querySelector('.lensnb-report style').remove()")
    page.set_viewport_size({"width": 390, "height": 768})
    assert page.evaluate(LOOK)["page"] > 390  # without its style it would be too wide


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_narrow_page_the_table_scrolls_below_a_hint_and_names_stay(look, theme):
    page, seen = look(NINE, 390, theme)
    assert seen["page"] <= 390 and seen["scrolls"] and seen["hint"] and seen["cut"] == []
    assert seen["seen"] < len(NINE) and seen["first"] == pytest.approx(0, abs=1)
    page.evaluate("document.querySelector('.wide').scrollLeft = 9999")
    last = page.evaluate(LOOK)
    assert last["first"] == pytest.approx(0, abs=1)  # the names of the rows are still there
    ends = page.evaluate(
        """() => [document.querySelector('.wide'), ...document.querySelectorAll('.wide thead th')]
          .filter((one, k, all) => k === 0 || k === NAMES)
          .map(one => one.getBoundingClientRect().right)""".replace("NAMES", str(len(NINE) + 2))
    )
    assert ends[1] == pytest.approx(ends[0], abs=2)  # and the last model is seen
    hides = page.evaluate(
        "getComputedStyle(document.querySelector('.wide tbody th')).backgroundColor"
    )
    assert hides == ("rgb(18, 18, 18)" if theme == "dark" else "rgb(255, 255, 255)")


def test_one_model_beside_the_null_fits_on_a_phone(look):
    page, seen = look(["mine"], 360)
    assert seen["page"] <= 360 and not seen["scrolls"] and not seen["hint"]
    assert seen["seen"] == 3 and seen["cut"] == []


def test_nine_models_scroll_below_a_hint_at_1100_pixels(look):
    page, seen = look(NINE, 1100)
    assert seen["page"] <= 1100 and seen["scrolls"] and seen["hint"] and seen["cut"] == []
    area = page.locator(".wide").first
    assert area.get_attribute("tabindex") == "0" and area.get_attribute("aria-label")
    page.set_viewport_size({"width": 1920, "height": 768})
    wide = page.evaluate(LOOK)
    assert not wide["scrolls"] and not wide["hint"] and wide["seen"] == 1 + len([NULL, *NINE])
