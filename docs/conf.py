"""The book: `make docs` builds it from the stored notebooks, the pages in docs/ and the docstrings.

Sphinx's source folder is the root of the repository (`sphinx-build -c docs . docs/_build/html`), so that every page is
built where it lies: nothing is copied, and a link between files of the repository is a link between pages of the book.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import lensnb  # noqa: E402  the one of this tree, for the version and for autodoc

project = "lensnb"
author = "the lensnb developers"
project_copyright = author
version = release = lensnb.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax in the book itself: by default each page fetches it from the web
    "sphinx_exercise",
    "sphinx_togglebutton",  # folds the solutions
]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/api/*.rst",
    "notebooks/[0-9]*.ipynb",
    "lensnb/trained/*.md",
]
exclude_patterns = ["docs/_build"]
templates_path = [
    str(ROOT / "docs/_templates")
]  # autosummary looks from the root, the theme from here

# Pages and notebooks
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True
# A widget needs a kernel, and its scripts come from the web: the picture that is stored beside it is shown instead.
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_ipywidgets_js = {}
exercise_style = "solution_follow_exercise"

# Docstrings
API = ROOT / "docs/api"  # written here and by autosummary at every build; git ignores it
PACKAGES = sorted(file.parent for file in (ROOT / "lensnb").glob("*/__init__.py"))
FILES = {
    f"lensnb.{folder.name}": sorted(f.stem for f in folder.glob("[a-z]*.py"))
    for folder in PACKAGES
}
# A package shows what it imports from its files, and their own docstrings, with the mathematics, at the end.
autosummary_context = {"packages": FILES}
nitpicky = True  # a name in a docstring that leads nowhere is a warning …
nitpick_ignore_regex = [
    (
        "py:(class|obj|exc|data)",
        r"(?!lensnb\.).*",
    ),  # … unless it is another package's, with its index on the web,
    *(
        ("py:.*", rf"{name}\.({'|'.join(files)})(\..*)?") for name, files in FILES.items()
    ),  # or in a file of a package
]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def modules() -> list[str]:
    """All modules of lensnb: in the order of the table in docs/modules.md, and those that are not in it at the end."""
    table = (
        (ROOT / "docs" / "modules.md")
        .read_text(encoding="utf-8")
        .partition("## Modules")[2]
        .partition("\n## ")[0]
    )
    named = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|([^|]*)\|", table, re.M)))
    there = {f.stem for f in (ROOT / "lensnb").glob("[a-z]*.py")} | {
        folder.name for folder in PACKAGES
    }
    return [name for name in named if name in there] + sorted(there - set(named))


shutil.rmtree(
    API, ignore_errors=True
)  # a page of a module that is gone would be one that nothing leads to
API.mkdir()
(API / "index.rst").write_text(
    """Reference
=========

Made from the docstrings; ``help(...)`` in Python says the same. κ and ℓ are dimensionless, a map is an array
``(..., row, column)``, and units stand in names (``side_deg``, ``sigma_arcmin``). ``lensnb --help`` lists the commands.

.. autosummary::
   :toctree:
   :template: module.rst

"""
    + "".join(f"   lensnb.{name}\n" for name in modules()),
    encoding="utf-8",
)

# Looks
html_theme = "sphinx_book_theme"
html_title = "lensnb"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_context = {"default_mode": "auto"}
html_theme_options = {
    "use_fullscreen_button": False,
    "navbar_persistent": [],
}  # one search field is enough
repository = os.environ.get("GITHUB_REPOSITORY")  # OWNER/NAME, which GitHub's workflows say
if repository:  # each notebook can be launched from there
    html_theme_options |= {
        "repository_url": f"https://github.com/{repository}", "repository_branch": "main", "path_to_docs": "",
        "use_repository_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        },
    }  # fmt: skip

# External links, which `make links` follows
linkcheck_timeout = 20
linkcheck_retries = 2


def exercises(text: str, name: str) -> str:
    """The section "Exercises" of a notebook with each exercise and its folded solution as directives of sphinx-exercise.

    JupyterLab does not know these directives and would show their source, so the notebooks keep to plain Markdown
    (`1. …` or `**1. Name.** …`, then `<details>`), and the book puts the directives in.
    """

    def directives(item: re.Match) -> str:
        bold, title, plain, question, solution = item.groups()
        number = bold or plain
        label = f"exercise-{name}-{number}"
        title = f"{number}: {title.strip(' .')}" if title else number
        box = f"````{{exercise}} {title}\n:label: {label}\n:nonumber:\n\n{question.strip()}\n````\n\n"
        return box + (
            f"````{{solution}} {label}\n:class: dropdown\n\n{solution.strip()}\n````\n\n"
            if solution
            else ""
        )

    head, heading, rest = text.partition("## Exercises\n")
    section, following, tail = rest.partition("\n## ")
    item = (
        r"^(?:\*\*(\d+)\.(.*?)\*\*|(\d+)\.) (.*?)"  # the number, with or without a name, and the question
        r"(?:<details><summary>Solution</summary>(.*?)</details>|(?=^(?:\*\*)?\d+\.)|\Z)\n*"
    )
    return head + heading + re.sub(item, directives, section, flags=re.M | re.S) + following + tail


def prepare_notebook(app, docname: str, source: list[str]) -> None:
    """Give a stored notebook its exercises, and its figures the alternative texts that myst-nb takes from cells only."""
    if not docname.startswith("notebooks/"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = exercises("".join(cell["source"]), Path(docname).name[:2])
        for output in cell.get("outputs", []):
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
    source[0] = json.dumps(notebook)


def prepare_docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """Docstrings are written for `help()`: here an indented equation becomes a block, and |x| an absolute value."""
    text, before, block = [], "", False
    for k, line in enumerate(lines):
        indented = line.startswith("    ")
        if (
            indented
            and k
            and not lines[k - 1].strip()
            and before[:1].strip()
            and before[-2:] != "::"
        ):
            text += ["::", ""]
            block = True
        block = block and (indented or not line.strip())
        before = line if line.strip() else before
        if not block:
            line = "``".join(
                s if i % 2 else s.replace("|", r"\|") for i, s in enumerate(line.split("``"))
            )
            line = re.sub(
                r"^(\d+\. )", r"| \1", line
            )  # several numbers on one line are no list to Sphinx
        if (
            what == "module"
        ):  # a name at the top of a file is the package's, and the summary shows it elsewhere
            line = re.sub(
                r":(\w+):`(\w+)`", rf":\1:`\2 <{'.'.join(name.split('.')[:2])}.\2>`", line
            )
        text.append(line)
    lines[:] = text


def add_played_page(app, exception) -> None:
    """The quiz and the explorer without a kernel, which docs/play.md shows; drawn at every build."""
    if exception is None and app.builder.format == "html":
        from lensnb.widgets.sharing import share
        from lensnb.widgets.small_sets import small_sets

        share(Path(app.outdir, "docs", "generated_or_true.html"), small_sets())


def add_front_door(app, exception) -> None:
    """A page at the root of the book that leads to docs/index.html."""
    if exception is None and app.builder.format == "html":
        Path(app.outdir, "index.html").write_text(
            '<!doctype html><meta charset="utf-8"><title>lensnb</title>'
            '<meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">lensnb</a>\n'
        )


def setup(app) -> None:
    app.connect("source-read", prepare_notebook)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=100)  # before napoleon
    app.connect("build-finished", add_front_door)
    app.connect("build-finished", add_played_page)
