"""What several test files need, and the order in which the workers take the tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published simulation data, which is no part of the project; tests that want it skip without it."""
    beside = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("LENSNB_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no published maps: set LENSNB_DATA to their folder")
    return folder


# ---------------------------------------------------------------- a browser


@pytest.fixture(scope="module")
def browser():
    """Chromium. For one module: while it runs, other tests of the process could not use asyncio."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: pip install 'lensnb[test]'"
    )
    pytest.importorskip("anywidget", reason="no anywidget: pip install 'lensnb[lab]'")
    import pages

    if pages.chromium() is None:
        pytest.skip("no Chromium: install it, or set CHROMIUM to where it is")
    sync_api.expect.set_options(timeout=pages.PATIENCE)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pages.chromium(), args=pages.FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser):
    """show(widget, name, …) → a :class:`pages.Shown`, the widget on a bare page."""
    import pages

    contexts, shown = [], []

    def show(widget, name, *, theme="light", interrupts=False, width=1280, clock=False):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        contexts[-1].set_default_timeout(pages.PATIENCE)
        page = contexts[-1].new_page()
        if clock:
            page.clock.install()
        shown.append(pages.Shown(page, widget, name))
        shown[-1].open(theme, interrupts)
        return shown[-1]

    yield show
    for context in contexts:
        context.close()
    assert [one.problems for one in shown if one.problems] == []


# ---------------------------------------------------------------- what is run, and in which order

# Seconds on two cores, roughly: whole files that stay together, or single tests that are dealt one by one.
LONGEST = {
    "test_browser.py": 60,
    "test_page_widgets.py": 30,
    "test_notebooks.py::test_runs_with_tiny_parameters": 20,
    "test_page_explorer.py": 15,
    "test_interrupt.py": 15,
}


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="run tests marked nightly as well")


def pytest_collection_modifyitems(config, items):
    wanted = config.getoption("--nightly") or "nightly" in config.getoption("-m")
    left_out = [] if wanted else [item for item in items if item.get_closest_marker("nightly")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = dealt(items, workers)


def dealt(items: list, workers: int) -> list:
    """The tests in an order in which every worker begins with long ones.

    ``--dist worksteal`` gives each worker as many tests in a row, and who has done his takes from
    the end of another's. So the long pieces are dealt to the least busy worker, longest first, and
    the many short tests follow.
    """
    pieces, short = {}, []
    for item in items:
        name = f"{item.path.name}::{item.name}"
        known = next((key for key in LONGEST if name.startswith(key)), None)
        if known is None and item.get_closest_marker("slow"):
            known = "slow"
        if known is None:
            short.append(item)
        else:
            piece = known if known.endswith(".py") else item.nodeid
            pieces.setdefault((LONGEST.get(known, 10), piece), []).append(item)
    hands, busy = [[] for _ in range(workers)], [0] * workers
    for (seconds, _), piece in sorted(pieces.items(), key=lambda one: -one[0][0]):
        least = busy.index(min(busy))
        hands[least] += piece
        busy[least] += seconds
    order = []
    for number, hand in enumerate(hands):
        share = (len(items) - len(order)) // (workers - number)
        filled = max(0, share - len(hand))
        order += hand + short[:filled]
        del short[:filled]
    return order + short
