"""How quickly the widgets answer: a step, a drag, and another statistic of a report, on a bare page in Chromium.

    python benchmarks/widgets.py [--pixels 256] [--maps 256]

Prints medians, and the slowest of each. The page is that of the tests (``tests/pages.py``): the
widgets are the real ones, what Jupyter adds between page and kernel is left out. Times are from the
event to the frame in which the picture has changed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from playwright.sync_api import Browser, sync_playwright

from lensnb.compare import compare
from lensnb.data import MapSet
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.widgets import explore, inspect

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from pages import FLAGS, PATIENCE, Shown, chromium

# Notes when a frame shows another picture, and when a key went down before.
PROBE = """selector => {
  const canvas = document.querySelector(selector);
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const side = Math.min(64, canvas.width), from = (canvas.width - side) / 2;
  const sum = () => context.getImageData(from, from, side, side).data
    .reduce((a, b) => (a * 31 + b) >>> 0, 7);
  window.frames_ = []; window.steps = []; let last = sum(), pressed = 0;
  document.addEventListener('keydown', () => { pressed = performance.now(); }, true);
  const tick = () => {
    const now = sum();
    if (now !== last) {
      window.frames_.push(performance.now());
      window.steps.push(performance.now() - pressed);
      last = now;
    }
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}"""

# From the choice to the frame after the plot has been drawn again.
ANSWER = """([label, value]) => new Promise(done => {
  const root = document.querySelector('.lensnb-inspector');
  const named = [...root.querySelectorAll('label')].find(l => l.firstChild.textContent === label);
  const select = named.querySelector('select'), plot = root.querySelectorAll('svg')[1];
  const before = plot.innerHTML, start = performance.now();
  new MutationObserver((_, watch) => {
    if (plot.innerHTML === before) return;
    watch.disconnect();
    requestAnimationFrame(() => done(performance.now() - start));
  }).observe(plot, {childList: true});
  select.value = value;
  select.dispatchEvent(new Event('change'));
})"""
CHOICES = [("Statistic", name) for name in ("pdf", "peaks", "minima", "power")] + [
    ("Maps of each set", size) for size in ("64", "128", "0")
]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def field(pixels: int) -> GaussianField:
    return GaussianField.from_power(MapGrid(pixels, 5.0), lambda ell: 1e-6 / ell**1.5)


def show(browser: Browser, widget, name: str) -> Shown:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    shown = Shown(page, widget, name)
    shown.open("light", interrupts=False)
    return shown


def stepped_and_dragged(browser: Browser, pixels: int, maps: int) -> tuple[list[float], float]:
    """Milliseconds from a key to its map, key by key, and how many maps a second a drag shows."""
    sets = {
        name: field(pixels).sample(maps, seeded(k)) for k, name in enumerate(("truth", "flow"))
    }
    shown = show(browser, explore(sets, 5.0, "power", maps=maps), "explorer")
    slider, page = shown.root.get_by_role("slider", name="Map"), shown.page
    slider.focus()
    page.evaluate(PROBE, f"{shown.selector} .map canvas")
    for k in range(min(25, maps - 1)):
        page.keyboard.press("ArrowRight")
        shown.until("k => window.steps.length > k", k)
    steps = page.evaluate("window.steps")
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.evaluate("window.frames_ = []")
    page.mouse.move(box["x"] + 10, middle)
    page.mouse.down()
    for x in np.linspace(10, box["width"] - 10, 90):
        page.mouse.move(box["x"] + x, middle)
        page.wait_for_timeout(8)
    page.mouse.up()
    frames = page.evaluate("window.frames_")
    page.close()
    return steps, 1000 * (len(frames) - 1) / (frames[-1] - frames[0])


def answers(browser: Browser) -> tuple[list[float], list[float]]:
    """Milliseconds from a choice in a report to its plot: for the first time, and when it is known."""
    lognormal = LognormalField.from_correlation(field(32).variance, 0.03)

    def numbered(seed: int, first: int) -> MapSet:
        simulation = first + np.arange(200) // 10
        return MapSet(lognormal.sample(200, seeded(seed)).numpy(), 5.0, simulation=simulation)

    generated = {"a flow": field(32).sample(200, seeded(2))}
    report = compare(numbered(0, 0), numbered(1, 100), generated, look_at_maps=False, rounds=40)
    shown = show(browser, inspect(report, sizes=[64, 128]), "inspector")
    first, *again = ([shown.page.evaluate(ANSWER, one) for one in CHOICES] for _ in range(4))
    shown.page.close()
    return first, [one for row in again for one in row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--maps", type=int, default=256)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        steps, rate = stepped_and_dragged(browser, options.pixels, options.maps)
        first, again = answers(browser)
        browser.close()
    what = f"{options.maps} maps of {options.pixels}²"
    print(f"{what}: a step takes {np.median(steps):.0f} ms, {max(steps):.0f} ms at most")
    print(f"{what}: a drag shows {rate:.0f} maps a second")
    for when, times in (("for the first time", first), ("when it is known", again)):
        slowest = max(times)
        print(f"a choice in a report, {when}: {np.median(times):.0f} ms, {slowest:.0f} ms at most")


if __name__ == "__main__":
    main()
