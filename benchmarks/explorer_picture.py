"""The animated picture of the explorer in README.md and in the book: other sets, other statistics.

    python benchmarks/explorer_picture.py [docs/explorer.webp]

Drives the widget in Chromium, on the page of the tests (``tests/pages.py``), with true maps and
maps of the models that come with lensnb. Each frame is a picture of the whole widget. Takes about
ten seconds, and half a minute more to draw the maps.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from lensnb.widgets import explore
from lensnb.widgets.small_sets import small_sets

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from pages import FLAGS, PATIENCE, TWO_FRAMES, Shown, chromium

ROOT = Path(__file__).parents[1]
SIZE = {"width": 850, "height": 480}  # pixels; a README shows about 830 of them
HELD = 1700  # ms for a frame
LARGEST = 400_000  # bytes
QUALITIES = (80, 65, 50, 35)  # of WebP, the first that is small enough

# What is chosen before each frame: the label of a control, and its option. Nothing: the next map.
STEPS = (
    (),
    ("Maps on the right", "diffusion"),
    ("Statistic", "peaks"),
    (),
    ("Maps on the right", "Gaussian"),
    ("Statistic", "power"),
    ("Smoothing, σ", "5"),
    ("Statistic", "pdf"),
    ("Smoothing, σ", "0"),
    ("Maps on the right", "flow"),
)


def frames(browser: Browser, sets: dict, size: dict[str, int] = SIZE) -> list[Image.Image]:
    """The explorer as it opens, and after each step."""
    page = browser.new_page(viewport=size)
    page.set_default_timeout(PATIENCE)
    widget = explore(sets, maps=len(next(iter(sets.values()))))
    widget.takes_files = False
    shown = Shown(page, widget, "explorer")
    shown.open("dark", interrupts=False)  # a light one would glare on a dark page
    taken = [_picture(shown)]
    for step in STEPS:
        if step:
            label, option = step
            shown.root.get_by_label(label).select_option(option)
        else:
            shown.root.get_by_role("button", name="Next map").click()
        shown.idle()
        taken.append(_picture(shown))
    page.close()
    return taken


def _picture(shown: Shown) -> Image.Image:
    shown.page.mouse.move(0, 0)
    shown.page.evaluate(TWO_FRAMES)
    return Image.open(io.BytesIO(shown.root.screenshot())).convert("RGB")


def animated(pictures: list[Image.Image]) -> bytes:
    """All frames as one WebP file, in the best quality that is small enough."""
    first, *others = pictures
    for quality in QUALITIES:
        file = io.BytesIO()
        how = {"duration": HELD, "loop": 0, "quality": quality, "method": 6}
        first.save(file, "WEBP", save_all=True, append_images=others, **how)
        if len(file.getvalue()) <= LARGEST:
            return file.getvalue()
    raise ValueError(f"the picture has {len(file.getvalue()):,} bytes; expected {LARGEST:,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "docs" / "explorer.webp")
    parser.add_argument("--maps", type=int, default=64, help="of each set (default: %(default)s)")
    options = parser.parse_args()
    sets = {name: maps[: options.maps] for name, maps in small_sets(options.maps, 0).items()}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        pictures = frames(browser, sets)
        browser.close()
    data = animated(pictures)
    options.out.write_bytes(data)
    print(f"{options.out}: {len(pictures)} frames, {len(data):,} bytes")


if __name__ == "__main__":
    main()
