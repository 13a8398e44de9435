"""The pages and the book: links lead somewhere, the book builds without a warning, and it opens without a network."""

import html
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("lensnb/trained/*.md")),
    *NOTEBOOKS,
]
CODE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n.*?^\1|`[^`\n]+`", re.M | re.S)
WRITTEN = {"docs/api/index.rst", "docs/generated_or_true.html"}  # by the build


def prose(path: Path) -> str:
    """The Markdown of a page or of a notebook, without code."""
    if path.suffix != ".ipynb":
        return CODE.sub("", path.read_text(encoding="utf-8"))
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(CODE.sub("", cell.source) for cell in cells if cell.cell_type == "markdown")


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the book make them."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: Path, text: str) -> list[str]:
    """The relative links of a text that lead to no file, or to no heading of it."""
    found = []
    for link in re.findall(r"\]\(<?([^)\s>]+)>?(?: [^)]*)?\)", text) + re.findall(
        r"(?:src|href)=\"([^\"]+)\"", text
    ):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        there = target.exists() or (
            target.is_relative_to(ROOT) and target.relative_to(ROOT).as_posix() in WRITTEN
        )
        if not there or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(path):
    assert broken(path, prose(path)) == []


def test_the_readme_is_short():
    """It says what lensnb is and how to begin; everything else has a page of its own."""
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    assert len(words) <= 900


def test_the_moving_picture_of_the_readme_is_small_and_moves():
    from PIL import Image, ImageChops

    path = ROOT / "docs/explorer.webp"
    assert path.stat().st_size <= 400_000
    with Image.open(path) as picture:
        assert picture.width >= 800 and picture.n_frames > 5
        frames = []
        for number in range(picture.n_frames):
            picture.seek(number)
            frames.append(picture.convert("RGB"))
    for one, following in zip(frames, frames[1:]):
        assert ImageChops.difference(one, following).getbbox() is not None


def test_a_broken_link_would_be_found():
    page = ROOT / "docs/faq.md"
    text = "[a](nowhere.md), [b](#nothing), [c](../README.md#start), [d](https://arxiv.org) and ![e](quickstart.png)"
    assert broken(page, text) == ["nowhere.md", "#nothing"]


# ---------------------------------------------------------------- the book


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """The book, built as `make docs` does, so that warnings are errors."""
    needed = [
        "sphinx",
        "myst_nb",
        "sphinx_book_theme",
        "sphinx_exercise",
        "sphinx_togglebutton",
        "sphinx-mathjax-offline",
    ]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"no {missing[0]}: `make docs` installs what the book needs")
    out = tmp_path_factory.mktemp("book")
    command = [
        "-m",
        "sphinx",
        "--quiet",
        "--fail-on-warning",
        "-c",
        "docs",
        "-d",
        str(out / "doctrees"),
        ".",
        str(out / "html"),
    ]
    here = os.environ | {"GITHUB_REPOSITORY": "someone/lensnb"}  # as where the book is published
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=here, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.mark.nightly
def test_the_book_loads_nothing_from_the_network(book):
    loads = r"<(?:script|link|img|iframe|source|video|audio|object|embed)\b[^>]*?\b(?:src|srcset|href|data)\s*=\s*[\"']"
    remote = re.compile(
        rf"{loads}(?:https?:)?//[^\"']+|(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')]+"
    )
    pages = [path for path in book.rglob("*") if path.suffix in (".html", ".css")]
    assert len(pages) > 40
    found = {path.name: remote.findall(path.read_text(encoding="utf-8")) for path in pages}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.nightly
@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.name[0].isdigit()], ids=lambda p: p.stem
)
def test_the_book_shows_figures_and_exercises(path, book):
    """With alternative texts, each exercise in its box, each solution folded, and no widget that would stay empty."""
    page = html.unescape(
        (book / "notebooks" / path.with_suffix(".html").name).read_text(encoding="utf-8")
    )
    cells = nbformat.read(path, as_version=4).cells
    outputs = [
        output
        for cell in cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    texts = [output.metadata["image/png"]["alt"] for output in outputs]
    assert [text for text in texts if f'alt="{text}"' not in page] == []
    section = "\n".join(c.source for c in cells if c.cell_type == "markdown").partition(
        "## Exercises\n"
    )[2]
    section = section.partition("\n## ")[0]
    exercises, solutions = (
        re.findall(r"^(?:\*\*)?\d+\.", section, re.M),
        re.findall("<details>", section),
    )
    assert len(exercises) == len(re.findall(r'<div class="exercise admonition', page)) > 0
    assert len(solutions) == len(re.findall(r'<div class="solution dropdown admonition', page)) > 0
    assert "<details><summary>Solution" not in page and "widget-view+json" not in page


@pytest.mark.nightly
@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.name[0].isdigit()], ids=lambda p: p.stem
)
def test_a_notebook_of_the_published_book_opens_on_binder_and_colab(path, book):
    page = html.unescape(
        (book / "notebooks" / path.with_suffix(".html").name).read_text(encoding="utf-8")
    )
    assert (
        f"https://mybinder.org/v2/gh/someone/lensnb/main?urlpath=lab/tree/notebooks/{path.name}"
        in page
    )
    assert (
        f"https://colab.research.google.com/github/someone/lensnb/blob/main/notebooks/{path.name}"
        in page
    )


@pytest.mark.nightly
def test_the_book_has_a_page_for_every_module(book):
    package = ROOT / "lensnb"
    modules = [f.stem for f in package.glob("[a-z]*.py")] + [
        f.parent.name for f in package.glob("*/__init__.py")
    ]
    assert [name for name in modules if not (book / f"docs/api/lensnb.{name}.html").exists()] == []
