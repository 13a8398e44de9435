"""Every widget in a real JupyterLab and in Voilà: it is drawn, follows a key, and reaches the kernel.

What can be seen without Jupyter is tested on bare pages, in ``test_page_*.py``. Skipped where there
is no Chromium or no playwright. Set CHROMIUM to use a browser from elsewhere.
"""

import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from lensnb.data import MapSet
from lensnb.maps import GaussianField, LognormalField, MapGrid

pytest.importorskip("playwright", reason="no playwright: pip install 'lensnb[test]'")
pytest.importorskip("jupyterlab", reason="no JupyterLab: pip install 'lensnb[lab]'")
pytest.importorskip("anywidget", reason="no anywidget: pip install 'lensnb[lab]'")

import nbformat
from pages import PATIENCE, count_events, during, key, serious
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent
HANGS = PATIENCE / 1000  # seconds after which something that should happen has not
PHONE = {"width": 390, "height": 844}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + HANGS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(
                f"the server ended with {server.returncode}: {log.read_text()[-2000:]}"
            )
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no answer from the server: {log.read_text()[-2000:]}")


def throw_away(place: Path) -> dict[str, str]:
    """An environment in which Jupyter keeps everything below ``place``."""
    names = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTER_DATA_DIR": "data",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    folders = {name: str(place / folder) for name, folder in names.items()}
    return os.environ | folders | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def write_notebook(path: Path, notebook) -> None:
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, path)


def notebook_of(*cells: str):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])


# ---------------------------------------------------------------- a cell for each widget

MAKE = """
import torch
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.widgets import diffuse, explore, follow_training, inspect, spot_the_fake, walk

field = GaussianField.from_power(MapGrid(32, 5.0), lambda ell: 1e-6 / ell**1.5)
seeded = lambda k: torch.Generator().manual_seed(k)
truth = LognormalField.from_correlation(field.variance, 0.03).sample(40, seeded(0))
sets = {"truth": truth, "a flow": field.sample(30, seeded(1))}
"""
MODELS = """
from lensnb.data import MapSet
from lensnb.models import Diffusion, Flow
from lensnb.transform import KappaTransform

kappa = KappaTransform.fit(truth)
fitted = GaussianField.fit(kappa(truth))
"""
REPORT = """
from lensnb.compare import compare

numbered = lambda k, first: MapSet(
    LognormalField.from_correlation(field.variance, 0.03).sample(80, seeded(k)).numpy(), 5.0,
    simulation=first + torch.arange(80).numpy() // 10,
)
report = compare(numbered(0, 0), numbered(1, 100), {"a flow": field.sample(80, seeded(2))},
                 look_at_maps=False, rounds=20)
"""
WIDGETS = {
    "explorer": "explorer = explore(sets, 5.0)\nexplorer",
    "quiz": "quiz = spot_the_fake(sets, 5.0, questions=4, seed=1)\nquiz",
    "diffuse": "scrub = diffuse(Diffusion(32, kappa, fitted, widths=(8, 8)), truth, 5.0, levels=12)\nscrub",
    "inspector": "inspector = inspect(report)\ninspector",
    "walk": "walked = walk(Flow(32, kappa, fitted, steps=2, hidden=8), truth, 5.0, steps=9)\nwalked",
    "cosmology": "from lensnb.data import load_sample\nfrom lensnb.widgets import vary_cosmology\n"
    "varied = vary_cosmology(load_sample('truth')[:64])\nvaried",
    "runs": "from lensnb.widgets import compare_runs\nruns = compare_runs('.')\nruns",
}
CELLS = (MAKE, MODELS, REPORT, *WIDGETS.values())


def canvases(page, selector: str) -> list[str]:
    return page.evaluate(
        "s => [...document.querySelectorAll(s + ' canvas')].map(c => c.toDataURL())", selector
    )


def moves_by_key_and_comes_back(page, selector: str, slider: str) -> None:
    page.locator(selector).get_by_role("slider", name=slider, exact=True).focus()
    key(page, "Home")
    first = canvases(page, selector)
    key(page, "ArrowRight")
    assert canvases(page, selector) != first
    key(page, "ArrowLeft")
    assert canvases(page, selector) == first
    key(page, "ArrowRight")


def answers_a_choice_and_comes_back(page, selector: str) -> None:
    plots = f"[...document.querySelectorAll('{selector} svg')].map(s => s.innerHTML)"
    statistic, status = (
        page.locator(selector).get_by_label("Statistic"),
        page.locator(f"{selector} .status"),
    )
    first = page.evaluate(plots)
    said = page.locator(f"{selector} .element").inner_text()
    statistic.select_option("pdf")
    expect(status).to_contain_text("pdf: ")
    assert page.evaluate(plots) != first
    assert page.locator(f"{selector} .element").inner_text() != said
    statistic.select_option("power")
    expect(status).to_contain_text("power: ")
    assert page.evaluate(plots) == first
    assert page.locator(f"{selector} .element").inner_text() == said
    statistic.select_option("pdf")


def chooses_rows(page, selector: str) -> None:
    page.locator(selector).get_by_label("Rows").select_option("all")


def takes_an_answer(page, selector: str) -> None:
    button = page.locator(selector).get_by_role("button", name="The left one")
    during(page, "pointerup", button.click)
    assert page.locator(f"{selector} .said").inner_text().split(":")[0] in ("Right", "Wrong")


def steps_saves_and_takes_a_file(page, selector: str) -> None:
    """Keys; and what goes through the kernel as messages: a figure comes, a file goes."""
    widget = page.locator(selector)
    with page.expect_download() as figure:
        widget.get_by_role("button", name="Save", exact=True).click()
    assert Path(figure.value.path()).read_bytes().startswith(b"\x89PNG")
    if widget.get_by_label("Maps on the right").count() == 0:  # the file is not there yet
        maps = io.BytesIO()
        np.save(maps, np.random.default_rng(0).normal(0, 0.01, (40, 32, 32)))
        file = {"name": "mine.npy", "mimeType": "", "buffer": maps.getvalue()}
        widget.locator("input[type=file][multiple]").set_input_files(file)
        expect(widget.locator(".status")).to_contain_text("mine: 40 maps")
        widget.get_by_label("Maps on the right").select_option("a flow")
    moves_by_key_and_comes_back(page, selector, "Map")


USED = {
    "explorer": steps_saves_and_takes_a_file,
    "quiz": takes_an_answer,
    "diffuse": lambda page, at: moves_by_key_and_comes_back(page, at, "Noise level"),
    "inspector": answers_a_choice_and_comes_back,
    "walk": lambda page, at: moves_by_key_and_comes_back(page, at, "Step of the walk"),
    "cosmology": lambda page, at: moves_by_key_and_comes_back(page, at, "Ωm"),
    "runs": chooses_rows,
}


def use(page, name: str) -> None:
    """Do with a widget what it is for."""
    widget = page.locator(f".lensnb-{name}")
    widget.wait_for()
    widget.scroll_into_view_if_needed()
    USED[name](page, f".lensnb-{name}")


# ---------------------------------------------------------------- JupyterLab


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(url, token, root) of a JupyterLab on loopback with throw-away settings; notebooks go into root."""
    place = tmp_path_factory.mktemp("lab")
    settings = {
        "apputils-extension/notification": {
            "fetchNews": "false",
            "checkForUpdates": False,
            "doNotDisturbMode": True,
        },
        # or cells beyond the window are not on the page
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in settings.items():
        file = place / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    root, port, token, log = place / "root", free_port(), secrets.token_hex(16), place / "lab.log"
    root.mkdir()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with open(log, "w") as file:
        server = subprocess.Popen(
            command, env=throw_away(place), stdout=file, stderr=subprocess.STDOUT
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, log)
        yield f"http://127.0.0.1:{port}", token, root
    finally:
        server.terminate()
        server.wait(HANGS)


RUN_ALL = """async () => {
  const app = window.jupyterapp; await app.restored;
  const panel = app.shell.currentWidget;
  await panel.context.ready; await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await app.commands.execute('notebook:run-all-cells');
}"""
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .flatMap(cell => cell.model.type === 'code' ? cell.model.outputs.toJSON() : [])
  .filter(output => output.output_type === 'error').map(output => output.evalue)"""


@pytest.fixture(scope="module")
def open_page(browser, lab):
    """go(notebook) → a page of JupyterLab with this notebook, all its cells run."""
    url, token, root = lab
    contexts = []

    def go(notebook):
        name = f"n{secrets.token_hex(4)}.ipynb"
        write_notebook(root / name, notebook)
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}))
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(
            f"{url}/lab/workspaces/{name[:-6]}/tree/{name}?token={token}",
            wait_until="domcontentloaded",
        )
        page.locator(".jp-Notebook").wait_for()
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext")
        page.evaluate("window.jupyterapp.shell.collapseLeft()")
        count_events(page)
        page.evaluate(RUN_ALL)
        assert page.evaluate(ERRORS) == []
        return page

    yield go
    for context in contexts:
        context.close()


TELL = """async code => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel, said = [];
  const future = kernel.requestExecute({code});
  future.onIOPub = m => said.push(m.content.text ?? m.content.evalue ?? '');
  await future.done; return said.join('').trim();
}"""


def told(page, expression: str) -> str:
    """What the kernel prints of an expression."""
    return page.evaluate(TELL, f"print({expression})")


def comes_to_be(page, expression: str, value: str) -> None:
    """Ask the kernel until an expression has a value: it hears of a step when the stepping pauses."""
    end = time.monotonic() + HANGS
    while (found := told(page, expression)) != value:
        assert time.monotonic() < end, f"{expression} is {found}, expected {value}"


@pytest.fixture(scope="module")
def page(open_page):
    """A notebook with all widgets that do not train."""
    return open_page(notebook_of(*CELLS))


HEARD = {
    "explorer": ("explorer.index", "1"),
    "quiz": ("quiz.answers", "[0]"),
    "diffuse": ("scrub.level", "1"),
    "inspector": ("inspector.statistic", "pdf"),
    "walk": ("walked.step", "1"),
    "cosmology": ("varied.omega_m", "0.2025"),
    "runs": ("runs.rows", "all"),
}


@pytest.mark.parametrize("name", WIDGETS)
def test_in_jupyterlab_a_widget_works_and_leaves_the_notebook_alone(page, name, tmp_path):
    use(page, name)
    comes_to_be(page, *HEARD[name])
    cells = page.locator(".jp-Notebook .jp-Cell")
    before = cells.count()
    # in JupyterLab's command mode: delete the cell, go up, add one, make it Markdown
    for letter in ("d", "d", "ArrowUp", "a", "m"):
        key(page, letter)
    assert page.locator(".jp-Notebook .jp-CodeCell").count() == cells.count() == before
    page.locator(f".lensnb-{name}").screenshot(path=tmp_path / f"{name}.png")
    assert not page.problems, page.problems


PREPARE = """
import tempfile
from pathlib import Path
from lensnb.compare import Fidelity
from lensnb.train import Checks, Settings, fit

folder = Path(tempfile.mkdtemp())
maps = truth.float()
check = Fidelity(MapSet(maps.numpy(), 5.0), 4)
flow = Flow(32, KappaTransform.fit(maps), steps=2, hidden=8)
"""
TRAIN = """settings = Settings(steps=100_000, batch=4)
checks = Checks(validation=maps[:8], every=2, check=check, check_every=6)
history = follow_training(
    fit(flow, maps, settings, checks=checks, folder=folder, device="cpu"), 100_000, "flow", check,
)"""
START = """source => {
  const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
  notebook.activeCellIndex = notebook.widgets.length - 1;
  notebook.activeCell.model.sharedModel.setSource(source);
  app.commands.execute('notebook:run-cell');
}"""
INTERRUPTED = """() => document.querySelector('.lensnb-training .head p')
  ?.textContent.startsWith('flow: interrupted at step ')"""
BEYOND = "k => document.querySelector('.lensnb-training progress')?.value > k"


def test_a_training_is_seen_while_it_runs_and_can_be_interrupted(open_page):
    page = open_page(notebook_of(MAKE, MODELS, PREPARE, "0"))
    page.evaluate(START, TRAIN)  # not awaited: the cell goes on
    widget = page.locator(".lensnb-training")
    widget.locator("svg path.curve").first.wait_for(state="attached")
    widget.locator(".samples canvas").first.wait_for()
    first = widget.locator("progress").evaluate("p => p.value")
    page.wait_for_function(BEYOND, arg=first)
    assert widget.locator(".head p").inner_text().startswith("flow: running at step ")
    widget.get_by_role("button", name="Stop").click()
    page.wait_for_function(INTERRUPTED)
    assert told(page, "(folder / 'training.safetensors').exists()") == "True"
    step = int(told(page, "history[-1]['step']"))
    assert step < 100_000 and widget.get_by_role("button", name="Stop").count() == 0
    page.evaluate(START, TRAIN)  # the same cell goes on; ■ of the toolbar stops it as well
    page.wait_for_function(BEYOND, arg=step)
    page.evaluate("window.jupyterapp.commands.execute('kernelmenu:interrupt')")
    page.wait_for_function(INTERRUPTED)
    assert int(told(page, "history[-1]['step']")) > step
    assert not page.problems, page.problems


# ---------------------------------------------------------------- the notebooks that have widgets

TINY = {
    "toy_steps": 6, "flow_steps": 6, "diffusion_steps": 6, "small_steps": 4, "batch": 8, "n_maps": 24, "sampler_steps": 4,
    "n_likely": 8, "trained": "nowhere", "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def small_maps(tmp_path_factory) -> Path:
    """A file of maps of twenty simulations, small enough that a notebook takes seconds."""
    field = GaussianField.from_power(MapGrid(32, 5.0), lambda ell: 1e-6 / ell**1.5)
    maps = LognormalField.from_correlation(field.variance, 0.03).sample(
        160, torch.Generator().manual_seed(0)
    )
    return MapSet(maps.numpy(), 5.0, 1.0, np.arange(160) // 8).save(
        tmp_path_factory.mktemp("maps") / "small.npz"
    )


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "widgets"),
    [
        ("03_train_a_flow", ["walk"]),
        ("04_train_a_diffusion_model", ["diffuse"]),
        ("05_compare_generated_with_true", ["explorer", "quiz", "inspector"]),
    ],
)
def test_a_notebook_runs_in_jupyterlab_and_its_widgets_work(
    open_page, small_maps, tmp_path, name, widgets
):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    tiny = TINY | {"maps": str(small_maps), "folder": str(tmp_path / "out")}
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            given = [
                f"{key} = {value!r}" for key, value in tiny.items() if f"{key}:" in cell.source
            ]
            cell.source = "\n".join([cell.source, *given])
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    page = open_page(notebook)
    for widget in widgets:
        use(page, widget)
    training = page.locator(".lensnb-training .head p")
    assert all("finished at step" in text for text in training.all_inner_texts())
    page.locator(f".lensnb-{widgets[-1]}").screenshot(path=tmp_path / f"{name}.png")
    assert not page.problems, page.problems


# ---------------------------------------------------------------- Voilà, as in `make app`

SERVE = "import sys; from lensnb.commands.app import start; start(sys.argv[1], sys.argv[2:])"


@pytest.fixture(scope="module")
def voila(tmp_path_factory):
    """(url, token) of what `make app` serves, on loopback, and of two more pages."""
    pytest.importorskip("voila", reason="no Voilà: pip install 'lensnb[lab]'")
    place = tmp_path_factory.mktemp("voila")
    root, port, token, log = place / "root", free_port(), secrets.token_hex(16), place / "log"
    root.mkdir()
    for path in (ROOT / "lensnb" / "apps").glob("*.*"):
        shutil.copy(path, root)
    write_notebook(root / "widgets.ipynb", notebook_of(*CELLS))
    plain = notebook_of("print('it runs')")
    plain.cells.insert(0, nbformat.v4.new_markdown_cell("Mathematics: $\\kappa^2$"))
    write_notebook(root / "plain.ipynb", plain)
    options = ["--no-browser", f"--port={port}", f"--Voila.token={token}"]
    with open(log, "w") as file:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(root), *options],
            env=throw_away(place),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/?token={token}", server, log)
        yield f"http://127.0.0.1:{port}", token
    finally:
        server.terminate()
        server.wait(HANGS)


@pytest.fixture
def phone(browser):
    """A page as wide as that of a phone; an app is there when its notebook has run."""
    context = browser.new_context(viewport=PHONE)
    context.set_default_timeout(2 * PATIENCE)
    yield context.new_page()
    context.close()


def shows_no_code(page) -> bool:
    code = page.get_by_text("import torch").count() + page.locator(".jp-CodeMirrorEditor").count()
    return code == 0


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


FIRST_PICTURE = {"Quiz": "quiz", "Explorer": "explorer", "Your own maps": "explorer"}


def test_three_cards_lead_to_pages_that_open_soon(phone, voila, tmp_path):
    """The times are printed, and measure nothing here: on two idle cores they are ten seconds at most."""
    url, token = voila
    phone.goto(url)
    assert (
        "login" in phone.url and phone.locator(".cards").count() == 0
    )  # nothing without the token
    phone.goto(f"{url}/?token={token}")
    cards = phone.locator(".cards a")
    assert cards.locator("h2").all_inner_texts() == list(FIRST_PICTURE)
    assert phone.locator("a").count() == 3 and ".ipynb" not in phone.locator("body").inner_text()
    assert cards.locator("img").evaluate_all("all => all.every(one => one.naturalWidth === 64)")
    for scheme in ("light", "dark"):
        phone.emulate_media(color_scheme=scheme)
        assert fits(phone) and serious(phone, "body") == []
    for name, widget in FIRST_PICTURE.items():
        phone.goto(f"{url}/?token={token}")
        start = time.perf_counter()
        cards.filter(has=phone.get_by_role("heading", name=name)).click()
        phone.locator(f".lensnb-{widget} canvas").first.wait_for()
        print(f"{name}: the first picture after {time.perf_counter() - start:.1f} s")
        if name != "Your own maps":  # which is used below
            count_events(phone)
            use(phone, widget)
        assert shows_no_code(phone) and fits(phone) and serious(phone, "body") == []
        phone.screenshot(path=tmp_path / f"{name}.png", full_page=True)
    assert phone.get_by_text("Add your maps").count() == 0  # one chooser of files is enough
    # the last page takes a file, and shows its maps beside true ones
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).normal(0, 0.01, (4, 64, 64)))
    with phone.expect_file_chooser() as asked:
        phone.get_by_role("button", name="Choose a file").click()
    asked.value.set_files(tmp_path / "mine.npy")
    phone.get_by_text("mine: 4 maps. The file does not say its field").wait_for()
    phone.locator(".lensnb-explorer").get_by_text("mine", exact=True).first.wait_for()
    assert phone.get_by_role("button", name="Compare").is_enabled() and fits(phone)


def test_a_network_that_drops_packets_does_not_keep_a_page_blank(phone, voila):
    """Whatever goes to another host is never answered, as behind a firewall. Nothing must wait for it.

    Without ``voila.json`` the page waits for stylesheets of a CDN, and this test for its limit.
    """
    url, token = voila
    failed = []
    phone.route(lambda to: not to.startswith(url), lambda route: None)  # no answer, no error
    phone.on("requestfailed", lambda request: failed.append(request.url))
    phone.goto(f"{url}/voila/render/plain.ipynb?token={token}", wait_until="load")
    phone.get_by_text("it runs").wait_for()
    phone.locator("mjx-container").wait_for()  # MathJax comes from this machine
    ours = [one for one in failed if one.startswith(url)]
    assert ours == []


def test_no_page_may_load_from_another_host(phone, voila):
    """The first page and the others have the rule; scripts, styles, pictures, requests keep it."""
    url, token = voila
    phone.route(lambda to: not to.startswith(url), lambda route: route.fulfill(body="a"))
    for page in ("", "voila/render/plain.ipynb"):
        answer = phone.goto(f"{url}/{page}?token={token}", wait_until="load")
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        for tag, attribute in (("script", "src"), ("img", "src"), ("link", "href")):
            told = phone.evaluate(
                """([tag, attribute]) => new Promise(done => {
                  const node = document.createElement(tag);
                  if (tag === "link") node.rel = "stylesheet";
                  node.onload = () => done("loaded");
                  node.onerror = () => done("refused");
                  node[attribute] = "https://example.org/one";
                  document.head.append(node);
                })""",
                [tag, attribute],
            )
            assert told == "refused"
        assert (
            phone.evaluate("fetch('https://example.org/').then(() => 'loaded', () => 'refused')")
            == "refused"
        )


def test_every_widget_works_in_voila(phone, voila, tmp_path):
    url, token = voila
    phone.goto(f"{url}/voila/render/widgets.ipynb?token={token}")
    count_events(phone)
    for name in WIDGETS:
        use(phone, name)
    assert shows_no_code(phone)
    phone.screenshot(path=tmp_path / "widgets.png", full_page=True)
