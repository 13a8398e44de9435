"""The page of a report: what was compared, with what result, and how to repeat it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from .. import __version__, plot
from ..compare import NULL, FidelityReport
from ..compare.html_tables import written
from ..compare.origin import SILENT
from ..compare.sets import TRAIN, TRUTH
from ..files import atomic_write
from . import figures, words

_ROLES = {
    TRUTH: "true maps",
    NULL: "other true maps, judged in the same way",
    TRAIN: "true maps that the models were trained on",
}
# Widths of the tables of sets, as in page.css: of the names of rows, and of one set.
_NAMES_REM, _FEW_NAMES_REM, _PHONE_NAMES_REM, _SET_REM = 9.5, 16, 7.5, 7
_VERSIONS = ("lensnb", "python", "torch", "numpy", "platform", "gpu")

# What CITATION.cff has; a test compares them. The wheel does not hold that file.
_BIBTEX = """\
@software{{lensnb,
  author  = {{{{the lensnb developers}}}},
  title   = {{lensnb: generative models of weak-lensing convergence maps, and tests of their
             statistics and covariance}},
  version = {{{version}}},
  year    = {{{year}}},
  license = {{BSD-3-Clause}},
}}"""


def write_page(
    report: FidelityReport,
    path: str | Path,
    *,
    title: str = "",
    command: str = "",
    parameters: Mapping | None = None,
    sources: Mapping[str, str] | None = None,
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Write a report as one HTML file that opens offline and prints on A4.

    It has a verdict on each model, a scorecard, what was compared and how to repeat it, the table
    with its numbers, figures, what fails, how to read it, and how to cite it.

        write_page(FidelityReport.load("report.json"), "report.html")

    Args:
        report: from :func:`lensnb.compare.compare`, or loaded.
        path: the HTML file; it is written atomically.
        title: by default the names of the models.
        command: what repeats the comparison, as one would type it.
        parameters: what else decides the numbers, by name.
        sources: where the maps of each set come from, by the name of the set.
        beside: files in the same folder, and what each has.

    Returns:
        The HTML file.
    """
    of_origin = report.origin
    page = environment().get_template("report.html.j2")
    text = page.render(
        title=title or f"Are these true maps? {', '.join(report.generators)}",
        report=report,
        null=NULL,
        origin=of_origin,
        hint_style=Markup(_hint_style(len(report.names))),
        facts=_facts(report),
        sets=_sets(report, sources or {}),
        sources=sources or {},
        parameters=parameters or {},
        command=command,
        beside=beside or {},
        palette=plot.colours(report.names),
        verdicts=words.verdicts(report),
        scorecard=words.scorecard(report),
        numbers=words.numbers(report),
        gallery=figures.gallery(report),
        groups=list(figures.groups(report)),
        bibtex=bibtex(of_origin.date[:4] if of_origin else ""),
    )
    with atomic_write(path) as file:
        file.write(text.encode())
    return Path(path)


@cache
def environment() -> jinja2.Environment:
    """The templates of this package; what they insert is escaped."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("lensnb.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["typeset"] = typeset
    return found


def typeset(text: str) -> Markup:
    """Words as HTML: indices below the line, a true minus, and nothing broken that is one word."""
    safe = written(text)
    safe = re.sub(r"--[a-z][a-z-]*", r'<span class="option">\g<0></span>', safe)
    safe = re.sub(r" (?=[±σ%])|(?<=±) ", "\u00a0", safe)
    return Markup(safe)


def _hint_style(sets: int) -> str:
    """The hint is seen where a table of so many sets is wider than its page."""
    wide = _FEW_NAMES_REM if sets < 4 else _NAMES_REM
    limits = {"(min-width: 700.02px)": wide, "(max-width: 700px)": _PHONE_NAMES_REM}
    rules = ""
    for screen, names in limits.items():
        needed = names + sets * _SET_REM + 0.12  # and its border
        rules += (
            f"@media screen and {screen} {{ @container (max-width: {needed:g}rem) "
            "{ .fitted .hint { display: block; } } }\n"
        )
    return rules


def style_sheet() -> str:
    """The style sheet of all pages."""
    return (files("lensnb.pages") / "templates" / "page.css").read_text(encoding="utf-8")


def bibtex(year: str) -> str:
    """The entry for lensnb; without a year if it is not known."""
    entry = _BIBTEX.format(version=__version__, year=year)
    if not year:
        entry = "\n".join(line for line in entry.splitlines() if "year " not in line)
    return entry


def _facts(report: FidelityReport) -> dict[str, str]:
    """The sky, the numbers that decide the result, and the versions."""
    statistics = ", ".join(report.statistics)
    bins = sum(len(one.x) for one in report.statistics.values())
    facts = {"Statistics": f"{statistics}: {bins} numbers a map"}
    if report.parameters:
        facts["Parameters of contours"] = ", ".join(report.parameters)
    origin = report.origin
    if origin is None:
        return facts
    sky = {
        "Field": f"{origin.side_deg:g}° × {origin.side_deg:g}°, {origin.pixels} × {origin.pixels} "
        "pixels",
        "Sources": _redshifts(origin.z_source) + _assumed(report),
    }
    seed = {"Seed": f"{origin.seed}, with {origin.rounds} rounds of the bootstrap"}
    known = [f"{name} {origin.versions[name]}" for name in _VERSIONS if origin.versions.get(name)]
    when = {"Date": origin.date.replace("T", " ").replace("+00:00", " UTC")}
    return sky | facts | seed | {"Versions": ", ".join(known)} | when


def _redshifts(values: Sequence[float]) -> str:
    texts = ["unknown" if math.isnan(z) else f"{z:g}" for z in values]
    return f"z = {', '.join(texts)}"


def _assumed(report: FidelityReport) -> str:
    """Whose redshift is not known, and is taken as that of the true maps."""
    silent = [note.split(f" {SILENT}")[0] for note in report.notes if SILENT in note]
    if not silent:
        return ""
    return f", assumed for {', '.join(silent)}"


def _sets(report: FidelityReport, sources: Mapping[str, str]) -> list[dict]:
    """Every set with what it is, how many maps it has, and where they come from."""
    found = []
    for name, count in report.counts.items():
        role = _ROLES.get(name, "judged")
        one = {"name": name, "role": role, "source": sources.get(name, "")}
        found.append(one | {key: count[key] for key in ("maps", "simulations", "dropped")})
    return found
