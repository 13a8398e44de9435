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
