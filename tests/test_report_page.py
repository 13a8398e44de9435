"""The page of a report: what it states, that it stands alone, and how it looks in Chromium.

Nothing here is statistical: the page must agree with its report.
"""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from markupsafe import escape

from lensnb import __version__, plot
from lensnb.compare import NULL, FidelityReport, compare, faults
from lensnb.compare.answers import OFF, OPEN, SAME, distance_in_short, distance_text
from lensnb.compare.contours import Contour, contour
from lensnb.compare.estimate import Estimate, Share
from lensnb.compare.items import item_answers
from lensnb.compare.origin import SILENT
from lensnb.compare.quantities import ITEMS
from lensnb.data import MapSet
from lensnb.ensemble import Ensemble
from lensnb.files import write_json
from lensnb.maps import GaussianField, MapGrid
from lensnb.pages import figures, words, write_page
from lensnb.pages.report_page import _facts, typeset
from lensnb.ramps import map_png, ramp
from lensnb.runs import save_results
from lensnb.runs.html import link_from, mathml, write_html
from lensnb.runs.repeating import repeated_by
from lensnb.stats import suite

MAPS = 48
ODD = 'my <b>flow</b> & "co"'  # a name that would be HTML if it were not escaped
COMMAND = "lensnb compare 'my maps.npy' --name flow"


def maps(seed: int) -> torch.Tensor:
    field = GaussianField.from_power(MapGrid(16, 5.0), lambda ell: 1e-9 * (ell / 500) ** -1.2)
    return field.sample(MAPS, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def report() -> FidelityReport:
    truth, null, train = (
        MapSet(maps(k).numpy(), 5.0, 1.0, MAPS * k + np.arange(MAPS) // 2) for k in range(3)
    )
    generated = {ODD: maps(3), "dark": 0.8 * maps(4)} | {
        f"model {k}": maps(5 + k) for k in range(4)
    }
    statistics = suite(truth.tensor(), 5.0, ["power", "pdf"])
    return compare(truth, null, generated, train, statistics, look_at_maps=False, rounds=5, seed=7)


@pytest.fixture(scope="module")
def page(report, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_page(
        report,
        path,
        command=COMMAND,
        parameters={"flow_steps": 500},
        sources={"dark": "dark.npy"},
        beside={"report.csv": "the numbers"},
    )


class Elements(HTMLParser):
    """Every element of a page: its attributes, and the text of those that are asked for."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, tag: str) -> list[dict]:
        return [attributes for one, attributes in self.found if one == tag]

    def fetched(self) -> list[str]:
        """What a browser would fetch."""
        urls = []
        for tag, attributes in self.found:
            names = ["src", "srcset", "data", "poster", "xlink:href"]
            if tag in ("link", "image", "use"):
                names.append("href")
            urls += [attributes[name] for name in names if name in attributes]
        return [url for url in urls if not url.startswith(("data:", "#"))]


# -------------------- what the page states


def test_it_stands_alone(page):
    text = page.read_text(encoding="utf-8")
    elements = Elements(text)
    assert elements.fetched() == [] and not elements.all("script") and "@import" not in text
    assert not re.search(r"url\((?!#|data:)", text)
    here = [one["id"] for _, one in elements.found if "id" in one]
    assert len(here) == len(set(here)), "two figures must not share identifiers"
    for _, attributes in elements.found:
        for name in ("href", "xlink:href", "aria-labelledby"):
            target = attributes.get(name, "")
            if target.startswith("#") or name == "aria-labelledby" and target:
                assert target.removeprefix("#") in here
    assert len(text) < 600_000


def test_it_states_what_was_compared_and_the_command_that_repeats_it(report, page):
    text = page.read_text(encoding="utf-8")
    assert '<pre id="command">lensnb compare &#39;my maps.npy&#39; --name flow</pre>' in text
    assert "flow_steps" in text and "dark.npy" in text and "report.csv" in text
    assert f"lensnb {__version__}" in text and f"torch {torch.__version__}" in text
    assert (
        "7, with 5 rounds of the bootstrap" in text
        and "5° × 5°, 16 × 16" in text
        and "z = 1" in text
    )
    assert report.origin.date.replace("T", " ").replace("+00:00", " UTC") in text
    assert "<b>flow</b>" not in text and "my &lt;b&gt;flow" in text
    assert (
        "C_ℓ" not in text
        and "C<sub>ℓ</sub> scatter" in text
        and "$" not in re.sub(r"base64,[^\"]+", "", text)
    )
    for note in report.notes:
        assert typeset(note) in text


def test_every_number_stands_in_the_table_with_its_answer(report, page):
    text = page.read_text(encoding="utf-8")
    table = text[text.index('id="numbers"') : text.index('id="figures"')]
    cells = re.findall(r"<td(?: class=\"(\w+)\")?>(.*?)(?:<small>|</td>)", table)
    expected = []
    classes = {SAME: "same", OFF: "off", OPEN: "open", "": ""}
    for row in report.rows():
        for name in report.names:
            answer = row.answers[name]
            number = f"{row.quantity.text(row.estimates[name])} {answer.symbol}".strip()
            expected.append((classes[answer.kind], str(typeset(number))))
    assert cells == expected


def test_a_verdict_has_two_sentences_and_names_the_planted_fault(report):
    """The maps of one set have 80 % of the true contrast."""
    found = {one.name: one for one in words.verdicts(report)}
    assert list(found) == report.generators
    dark = found["dark"]
    known = [row for row in report.rows() if row.answers["dark"].kind]
    assert sum(dark.counts.values()) == len(known) and dark.counts["off"] > 0
    assert dark.sentences[0].startswith(f"Off in {dark.counts['off']} of {len(known)} numbers")
    off = [row for row in known if row.answers["dark"].kind == OFF]
    worst = max(off, key=lambda row: abs(row.answers["dark"].sigmas))
    assert dark.sentences[1].startswith(f"Worst is {worst.quantity.name} ")
    assert dark.sentences[1].endswith(f"{worst.answers['dark'].meaning}.")
    told = dark.failures + dark.others
    assert len(dark.failures) <= 3 and len(set(told)) == len(told) == dark.counts["off"]
    assert not told[0].startswith("dark")
    clean = found[
        "model 0"
    ]  # nothing is wrong with it; one such set in twenty would be called off
    assert clean.sentences[0].startswith("Nothing is off: of ")


def test_a_distance_is_said_in_one_way_everywhere(report, monkeypatch):
    """A usual distance, one without meaning, and copies, of which one is enough."""
    number, copies = Estimate(np.asarray(0.0), error=np.asarray(0.0)), Share(2, 0.01, 0.05)
    assert distance_text(number, -5.44) == "5.4 σ" and distance_text(copies, np.inf) == ""
    for far in (342_350.1, -np.inf):
        assert distance_in_short(number, far) == "by >100 σ"
    assert distance_in_short(copies, np.inf) == "found"
    first = report.rows()[0]
    answers = first.answers | {"dark": replace(first.answers["dark"], sigmas=-342_350.1)}
    monkeypatch.setattr(FidelityReport, "rows", lambda _: [replace(first, answers=answers)])
    found = {one.name: one for one in words.verdicts(report)}["dark"]
    card = dict(words.scorecard(report))["1 mean"][report.names.index("dark")]
    assert "(> 100 σ)" in found.sentences[1] and "(> 100 σ off)" in report.failures("dark")[0]
    assert card.more[0].endswith(" by >100 σ") and "by >100 σ" in report.scorecard(200)


def test_a_number_smaller_than_its_last_digit_has_a_bound():
    def text(value: float, error: float) -> str:
        return Estimate(np.asarray(value), error=np.asarray(error)).text(3)

    assert text(1e-7, 1e-6) == "< 0.001" and text(-1e-7, 1e-6) == "> -0.001"
    assert text(1.023, 1e-6) == "1.023 ± <0.001" and text(0.0001, 0.002) == "0.000 ± 0.002"
    assert text(0.0, 0.0) == "0"


def test_failures_are_grouped_by_model_and_the_baselines_are_last(report, page, monkeypatch):
    text = page.read_text(encoding="utf-8")
    part = text[text.index('id="faults"') : text.index('id="read"')]
    for name in report.generators:
        assert part.count(f"<h3>{escape(name)}: ") == 1
    seen = re.sub(r"<details.*?</details>", "", part, flags=re.S)
    for one in words.verdicts(report):
        told = [str(typeset(line)) for line in one.failures]
        assert all(seen.count(f"<li>{line}</li>") >= 1 for line in told)
    assert "Too few maps to tell" in part and "Too few maps to tell" not in seen
    monkeypatch.setattr(faults, "is_baseline", lambda name: name == "dark")
    lines = faults.whole_text(report).splitlines()
    sentences = [line.strip() for line in lines if line.lstrip().startswith("- ")]
    assert len(sentences) == len(report.failures())
    heads = [line for line in lines if line and line[0] not in "- "]
    assert heads[-1].startswith("dark: ") and "  also:" in lines


def test_rank_mapped_fields_are_baselines():
    known = ("Gaussian", "rank-mapped field", "rank_mapped", "Lognormal (fit)")
    assert all(map(faults.is_baseline, known))
    assert not any(map(faults.is_baseline, ("flow", "Gaussianity flow", "mass mapping")))


def test_what_is_assumed_and_what_is_not_drawn_is_said(report):
    silent = replace(report, notes=[f"my.npy {SILENT}, so nothing is known."], contours={})
    facts = _facts(silent)
    assert facts["Sources"] == "z = 1, assumed for my.npy"
    assert _facts(report)["Sources"] == "z = 1"
    assert "No regions of parameters are drawn" in figures._covariance(silent).text
    truth = next(iter(report.contours.values()), None) or Contour(np.zeros(2), np.eye(2))
    silent.contours["truth"] = truth
    assert "A contour that lies aside" in figures._covariance(silent).text
    captions = [one.caption for one in figures._covariance(silent).pictures]
    assert any("too few maps of" in one and "dark" in one for one in captions)


def test_the_scorecard_names_a_number_that_cannot_be_told(report):
    for item, answers in item_answers(report).items():
        cells = dict(words.scorecard(report))[f"{item} {ITEMS[item]}"]
        for name, cell in zip(report.names, cells, strict=True):
            if answers[name].kind == OPEN:
                assert cell.more[0].startswith(answers[name].unclear.quantity.name)


def test_the_scorecard_has_the_worst_bin(report):
    card = dict(words.scorecard(report))
    column = report.names.index("dark")
    answers = item_answers(report)
    assert len(card) == len(answers)
    found = answers[1]["dark"]
    cell = card["1 mean"][column]
    assert (
        found.kind == OFF
        and cell.kind == "off"
        and cell.text == f"* {found.count} of {found.known}"
    )
    assert cell.more[1] == f"worst bin: {report.worst_bin(found.worst_bin, 'dark')}"
    assert found.worst_bin.quantity.name in ("C_ℓ mean, worst bin", "mean of all bins, worst [σ]")


def test_words_are_typeset():
    assert (
        typeset("C_ℓ mean -1.5 ± 0.2 <b>") == "C<sub>ℓ</sub> mean −1.5\u00a0±\u00a00.2 &lt;b&gt;"
    )
    assert typeset("map-3.npy 2–4") == "map-3.npy 2–4"


def test_the_entry_of_bibtex_is_that_of_the_citation_file(report, page):
    yaml = pytest.importorskip("yaml")
    about = yaml.safe_load(
        (Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8")
    )
    text = page.read_text(encoding="utf-8")
    entry = " ".join(text[text.index('<pre id="bibtex">') :].split("</pre>")[0].split())
    assert f"title = {{{about['title']}}}" in entry and about["authors"][0]["name"] in entry
    assert f"license = {{{about['license']}}}" in entry and f"version = {{{__version__}}}" in entry
    assert f"year = {{{report.origin.date[:4]}}}" in entry


def no_pictures(monkeypatch):
    """Draw nothing: what a figure shows is tested once."""
    monkeypatch.setattr(plot, "inline_svg", lambda *_: "<svg></svg>")


def test_a_report_of_an_older_version_has_a_page_too(report, tmp_path, monkeypatch):
    no_pictures(monkeypatch)
    report.save(tmp_path / "report.json")
    with np.load(tmp_path / "report.npz") as archive:
        arrays = {name: archive[name] for name in archive.files if "examples" not in name}
    about = json.loads(arrays["about"].tobytes())
    for later in ("contours", "origin"):
        del about[later]
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(tmp_path / "old.npz", **arrays)
    old = FidelityReport.load(tmp_path / "old.npz")
    assert old.origin is None and old.examples == {} and old.contours == {}
    text = write_page(old, tmp_path / "old.html").read_text(encoding="utf-8")
    assert "Convergence map" not in text and "The command that repeats it" not in text


# -------------------- what a report keeps for its page


def test_maps_contours_and_origin_are_saved(report, tmp_path):
    loaded = FidelityReport.load(report.save(tmp_path / "report.json"))
    assert loaded.origin == report.origin and loaded.origin.seed == 7
    assert list(loaded.examples) == ["truth", NULL, *report.generators]
    np.testing.assert_array_equal(loaded.examples["dark"], 0.8 * maps(4)[:4].numpy())
    assert list(loaded.contours) == list(report.contours)
    for name, one in report.contours.items():
        np.testing.assert_array_equal(loaded.contours[name].covariance, one.covariance)


def test_a_contour_is_that_of_the_fisher_matrix():
    """Vectors of known covariance with two parameters, one of which the mean of the set moves."""
    rng = np.random.default_rng(0)
    scatter, responses = np.array([1.0, 2.0, 0.5]), np.array([[1.0, 0], [0, 1], [0.5, 0.5]])
    truth = Ensemble(rng.normal(size=(20_000, 3)) * scatter)
    moved = Ensemble(rng.normal(size=(20_000, 3)) * scatter + responses @ [0.3, 0])
    expected = np.linalg.inv(responses.T @ np.diag(scatter**-2.0) @ responses)
    found = contour(moved, truth, 3, responses)
    # 20,000 vectors know a variance to 1 %, and a mean to 0.007 of its scatter: 5 standard errors
    np.testing.assert_allclose(found.covariance, expected, rtol=0.06, atol=0.02)
    np.testing.assert_allclose(found.centre, [-0.3, 0], atol=0.08)
    np.testing.assert_allclose(contour(None, truth, 3, responses).centre, 0, atol=0.08)
    few = Ensemble(truth.vectors[:8])
    assert contour(few, truth, 3, responses) is None  # fewer than four maps a direction
    assert contour(moved, truth, 3, responses[:, :1]) is None  # one parameter has no contour


def test_an_ellipse_holds_its_share():
    """Of 50,000 draws, 68.3 % with a standard error of 0.2 %."""
    one = Contour(np.array([1.0, -2.0]), np.array([[2.0, 0.7], [0.7, 0.5]]))
    draws = np.random.default_rng(1).multivariate_normal(one.centre, one.covariance, 50_000)
    path = matplotlib.path.Path(one.ellipse(0.683, points=400))
    assert path.contains_points(draws).mean() == pytest.approx(0.683, abs=0.01)


# -------------------- pictures


def test_a_figure_of_a_page_keeps_its_text_and_shares_no_identifiers():
    def draw(name: str) -> str:
        figure, ax = plot.panels(1)
        ax.plot([0, 0.005], [0, 1], label="$C_\\ell$")
        ax.set_xticks([0, 0.0051234], ["0", "0.0051234"])
        return plot.inline_svg(figure, 'what "it" shows', name)

    one, other = draw("a"), draw("b")
    assert draw("a") == one, "the same figure must be the same text"
    assert ">0.0051234<" in one and 'aria-label="what &quot;it&quot; shows"' in one
    assert "#ffffff" not in one, "a page that is dark needs no white box"
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', one))
    assert used <= ids[0] and not re.search(r' d="[^"]*\d\.\d{3}', one)
    assert plt.get_fignums() == []


def test_a_map_is_drawn_pixel_by_pixel_from_the_bottom():
    import io

    from PIL import Image

    values = np.array([[0.0, 1.0], [2.0, 9.0]])
    picture = np.asarray(Image.open(io.BytesIO(map_png(values, 0, 4))).convert("RGB"))
    colours = ramp("magma")[:, :3]
    np.testing.assert_array_equal(picture[1, 0], colours[0])  # row 0 is the lowest
    np.testing.assert_array_equal(picture[0, 1], colours[255])


def test_large_maps_are_averaged_for_the_page():
    maps = np.arange(2 * 600 * 600, dtype=float).reshape(2, 600, 600)
    found = figures._averaged(maps)
    assert found.shape == (2, 300, 300)
    np.testing.assert_allclose(found[1, 3, 4], maps[1, 6:8, 8:10].mean())
    assert figures._averaged(maps[:, :64, :64]).shape == (2, 64, 64)


# -------------------- runs, and executed notebooks


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """A folder into which `lensnb run` is executing a notebook, and the notebook with a neighbour."""
    notebooks, folder = tmp_path / "notebooks", tmp_path / "runs" / "mine"
    notebooks.mkdir()
    folder.mkdir(parents=True)
    (notebooks / "02_next one.ipynb").write_text("{}")
    write_json(tmp_path / "docs.json", {})
    cell = nbformat.v4.new_code_cell(
        'seed: int = 0\nsteps: int = 5\nname: str = "a"\nfolder: str = "."'
    )
    cell.metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebooks / "01_toy.ipynb")
    record = {
        "status": "running",
        "notebook": "notebooks/01_toy.ipynb",
        "path": str(notebooks / "01_toy.ipynb"),
        "parameters": {"seed": 3, "steps": 5, "name": "b c"},
    }
    write_json(folder / "run.json", record)
    return folder


def test_a_run_leaves_the_page_with_its_command(report, run_folder, monkeypatch):
    no_pictures(monkeypatch)
    save_results(run_folder, {"seed": 3, "steps": 5, "name": "b c", "folder": "."}, report)
    command = "lensnb run notebooks/01_toy.ipynb --name mine -p seed 3 -p name 'b c'"
    assert repeated_by(run_folder, {}) == command
    text = (run_folder / "report.html").read_text(encoding="utf-8")
    assert command.replace("'", "&#39;") in text and "notebook.html" in text
    assert "the shipped sample" in text and "<code>folder</code>" not in text


def test_a_notebook_in_jupyter_is_repeated_by_a_run_of_it(run_folder, monkeypatch):
    (run_folder / "run.json").unlink()
    assert repeated_by(run_folder, {"steps": 9}) == ""
    monkeypatch.setenv(
        "JPY_SESSION_NAME", str(run_folder.parents[1] / "notebooks" / "01_toy.ipynb")
    )
    assert (
        repeated_by(run_folder, {"steps": 9, "folder": "x"})
        == "lensnb run 01_toy.ipynb -p steps 9"
    )


TEXT = r"""# Toy

A sum $\sum_b x_b$, and $$\hat C_b=\big\langle x_b\big\rangle .$$

[next](02_next%20one.ipynb), [docs](../docs.json#part), [nowhere](03_gone.ipynb), [web](https://arxiv.org/abs/1), [here](#toy)

<details><summary>Solution</summary>

The **answer** is

```python
print(42)
```

</details>
"""


@pytest.fixture
def notebook_page(run_folder) -> Path:
    code = nbformat.v4.new_code_cell(
        "# a comment\nsecret = 6 * 7\nprint(f'{secret}')", execution_count=1
    )
    wide = "<table><tr>" + "<td>a wide cell</td>" * 40 + "</tr></table>"
    bar = ["\rdrawing 10%", "\rdrawing 99%", "\n42\n"]
    code.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in bar]
    code.outputs.append(nbformat.v4.new_output("display_data", {"text/html": wide}))
    latex = nbformat.v4.new_code_cell("latex", execution_count=2)
    latex.outputs = [nbformat.v4.new_output("display_data", {"text/latex": r"$\kappa^2$"})]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(TEXT), code, latex])
    executed = run_folder / "01_toy.ipynb"
    nbformat.write(book, executed)
    start = run_folder.parents[1] / "notebooks"
    return write_html(executed, run_folder / "notebook.html", "a title", start, "report.html")


def test_an_executed_notebook_is_converted_properly(notebook_page):
    text = notebook_page.read_text(encoding="utf-8")
    assert text.lower().startswith("<!doctype html>") and "<title>a title</title>" in text
    assert Elements(text).fetched() == [] and "<script" not in text
    body = text[text.index("<body>") :]
    assert body.count("<math") == 3 and "$" not in body and "\\" not in body
    links = [one["href"] for one in Elements(body).all("a")]
    assert links == [
        "report.html",
        "../../notebooks/02_next%20one.ipynb",
        "../../docs.json#part",
        "https://arxiv.org/abs/1",
        "#toy",
    ]
    for link in links[1:3]:
        assert (notebook_page.parent / link.split("#")[0].replace("%20", " ")).is_file()
    assert "nowhere" in body
    solution = re.search(r"<details><summary>Solution</summary>(.*?)</details>", body, re.S)[1]
    assert "<strong>answer</strong>" in solution and "42" in solution
    code = re.search(r'<details class="code">.*?</details>', body, re.S)[0]
    assert "secret" in code and "secret" not in body.replace(code, "")
    assert "drawing 99%" in body and "10%" not in body, "a progress bar is one line"


def test_links_to_the_web_and_within_a_page_stay(tmp_path):
    for url in ("https://a.b/c", "#here", "mailto:a@b.c"):
        assert link_from(tmp_path, tmp_path / "other", url) == url
    assert link_from(tmp_path, tmp_path, "gone.md") is None


def test_mathematics_without_its_package_is_a_sentence(monkeypatch):
    import sys

    assert "<mfrac>" in mathml(r"\frac12", "block")
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    with pytest.raises(ImportError, match=r"needs latex2mathml, .* pip install 'lensnb\[lab\]'"):
        mathml("x", "inline")


# -------------------- in a browser

TEXT_SIZE = """() => Math.min(...[...document.querySelectorAll('.plot svg text')].map(text => {
  const size = parseFloat(getComputedStyle(text).fontSize), scale = text.getScreenCTM();
  return size * Math.hypot(scale.a, scale.b);
}))"""
# Words of a figure that its edge cuts off, and level ones that run into their neighbour.
MET = """() => [...document.querySelectorAll('.plot svg')].flatMap(svg => {
  const edge = svg.getBoundingClientRect(), found = [];
  const boxes = [...svg.querySelectorAll('text')].map(text => [text, text.getBoundingClientRect()]);
  for (const [text, box] of boxes)
    if (box.left < edge.left - 8 || box.right > edge.right + 8) found.push(text.textContent);
  const level = boxes.filter(([, box]) => box.width > box.height || box.width < 12);
  const ticks = level.filter(([text]) => /^[−.0-9]+$/.test(text.textContent));
  ticks.forEach(([text, a], k) => ticks.slice(k + 1).forEach(([other, b]) => {
    const apart = a.right < b.left || b.right < a.left || a.bottom < b.top || b.bottom < a.top;
    if (!apart) found.push(`${text.textContent} meets ${other.textContent}`);
  }));
  return found;
})"""
BROKEN = "() => [...document.images].filter(one => !one.complete || !one.naturalWidth).length"
HIDDEN = """() => [...document.querySelectorAll('.wide')].filter(
  one => one.scrollWidth > one.clientWidth + 1).length"""
HINTS = """() => [...document.querySelectorAll('.hint')].filter(
  one => getComputedStyle(one).display !== 'none').length"""
CLIPPED = """() => [...document.querySelectorAll('td, th')].filter(
  one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"""
REGIONS = """() => [...document.querySelectorAll('section, [role=region]')].map(
  one => one.ariaLabel ?? document.getElementById(
    one.getAttribute('aria-labelledby')).textContent)"""


@pytest.fixture(scope="module")
def one_model(report) -> FidelityReport:
    """The same report of one model and the null."""
    names = (NULL, "dark")
    verdicts = {name: report.verdicts[name] for name in names}
    contours = {name: one for name, one in report.contours.items() if name in ("truth", *names)}
    return replace(report, verdicts=verdicts, contours=contours)


@pytest.mark.browser
def test_the_page_fits_every_screen_and_axe_finds_nothing_serious(
    browser, page, notebook_page, one_model
):
    import pages

    context = browser.new_context(viewport={"width": 1100, "height": 768}, offline=True)
    context.set_default_timeout(pages.PATIENCE)
    tab = context.new_page()
    asked, problems = [], []
    tab.on("request", lambda one: asked.append(one.url))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    alone = page.with_name("one.html")
    write_page(one_model, alone, sources={"dark": "/a/long/folder/" + 9 * "with_a_name_" + ".npy"})
    tab.goto(alone.as_uri())
    for width in (390, 768, 1100):
        tab.set_viewport_size({"width": width, "height": 844})
        assert tab.evaluate(HIDDEN) == 0 and tab.evaluate(CLIPPED) == []
        assert tab.evaluate(HINTS) == 0, "nothing is hidden, so nothing says so"
        assert tab.evaluate(TEXT_SIZE.replace(".plot", ".small .plot")) >= 10.6
    tab.goto(page.as_uri())
    assert tab.evaluate(HIDDEN) == 0, "at 1,100 pixels every model is seen"
    for width, height in ((390, 844), (1366, 768), (1920, 1080)):
        tab.set_viewport_size({"width": width, "height": height})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert (tab.evaluate(HINTS) > 0) == (tab.evaluate(HIDDEN) > 0) and not tab.evaluate(
            CLIPPED
        )
        assert tab.evaluate(TEXT_SIZE) > 8 and tab.evaluate(MET) == []
    assert tab.evaluate(BROKEN) == 0
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        assert pages.serious(tab, "main") == []
    labels = tab.evaluate(REGIONS)
    assert len(set(labels)) == len(labels) > 8
    fraction = tab.locator("math mfrac").first.bounding_box()
    assert fraction["height"] > 1.5 * tab.locator("math mo").first.bounding_box()["height"]

    tab.evaluate("document.querySelector('.plot svg text').textContent = '0'.repeat(200)")
    assert tab.evaluate(MET) != [], "a label that is cut off would be found"
    tab.emulate_media(media="print", color_scheme="dark")
    tab.set_viewport_size({"width": 1031, "height": 700})  # A4 on its side, less the margins
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1031
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.locator("#faults details li").first.is_visible()

    tab.emulate_media(media="screen", color_scheme="dark")
    tab.goto(notebook_page.as_uri())
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    answer = tab.get_by_text("answer")
    assert not answer.is_visible()
    tab.get_by_text("Solution").click()
    answer.wait_for(state="visible")
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        assert pages.serious(tab, "main") == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == [] == problems
    context.close()
