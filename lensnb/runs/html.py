"""An executed notebook as one page that opens offline.

nbconvert makes the page, with a template and the style sheet of :mod:`lensnb.pages`. What it
would leave to scripts from the web is done here: mathematics becomes MathML. Links in a notebook
start at the notebook's folder, and the page lies elsewhere, so they are written anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ..files import atomic_write

# Nothing from the web: no MathJax, no RequireJS, no widget manager.
_FROM_THE_WEB = (
    "mathjax_url",
    "require_js_url",
    "jquery_url",
    "jupyter_widgets_base_url",
    "mermaid_js_url",
)


def write_html(
    notebook: str | Path,
    path: str | Path,
    title: str,
    source: str | Path | None = None,
    report: str = "",
) -> Path:
    """Render an executed notebook as one HTML file that needs no network, with its code folded.

    Args:
        notebook: the executed notebook.
        path: the HTML file.
        title: title of the page.
        source: the folder at which the links of the notebook start; by default its own.
        report: a page in the same folder as the HTML file, to which a link leads.

    Returns:
        The HTML file.
    """
    import nbformat

    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            # A page cannot show a live widget, but it can show the widget's picture.
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    start = Path(notebook).parent if source is None else Path(source)
    exporter = _exporter(start.resolve(), Path(path).resolve().parent)
    resources = {"metadata": {"name": title}, "style_sheet": _style_sheet(), "report": report}
    body, _ = exporter.from_notebook_node(book, resources)
    # A wide table scrolls, so that whoever has no mouse must be able to get there.
    body = body.replace("<table", '<table tabindex="0"')
    with atomic_write(path) as file:
        file.write(body.encode())
    return Path(path)


def _style_sheet() -> str:
    """That of all pages, and colours of code with enough contrast on light and on dark paper."""
    from pygments.formatters import HtmlFormatter

    from ..pages.report_page import style_sheet

    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="monokai").get_style_defs(".highlight")
    clear = ".highlight { background: none; }"
    return (
        f"{style_sheet()}\n{light}\n{clear}\n"
        f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n{clear}\n}}"
    )


def _exporter(start: Path, folder: Path):
    """nbconvert's exporter with our template, mathematics and links.

    Args:
        start: where relative links of the notebook start.
        folder: where the page lies.
    """
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    from ..pages.report_page import environment

    class Renderer(IPythonRenderer):
        """Markdown with MathML, and with links that work where the page lies."""

        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def inline_math(self, body: str) -> str:
            return mathml(body, "inline")

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

        def link(self, text: str, url: str, title: str | None = None) -> str:
            there = link_from(folder, start, url)
            if there is None:
                return text  # no link is better than one that leads nowhere
            return super().link(text, there, title)

        def image(self, text: str, url: str, title: str | None = None) -> str:
            if not url.startswith("attachment:"):
                url = self._src_to_base64(url) or url
            return super().image(text, url, title)

    class Exporter(HTMLExporter):
        def markdown2html(self, context, source):
            # embed_images would parse each HTML block by itself, and close <details> at once.
            attachments = context.get("cell", {}).get("attachments", {})
            renderer = Renderer(
                escape=False, attachments=attachments, path=str(start), exclude_anchor_links=True
            )
            return MarkdownWithMath(renderer=renderer).render(source)

        markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg

    # The classic template, because that of JupyterLab drops the alternative texts of figures.
    template, _, _ = environment().loader.get_source(environment(), "notebook.html.j2")
    return Exporter(
        template_name="classic",
        raw_template=template,
        preprocessors=[CoalesceStreamsPreprocessor],  # a progress bar is one line, not hundreds
        exclude_output_prompt=True,
        exclude_input_prompt=True,
        **dict.fromkeys(_FROM_THE_WEB, ""),
    )


def mathml(tex: str, display: str) -> str:
    r"""TeX as MathML, which browsers show without a script.

    Args:
        tex: without dollars.
        display: ``"block"`` or ``"inline"``.

    Raises:
        ImportError: latex2mathml is not installed.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise ImportError(
            "the page of a notebook needs latex2mathml, which is not installed: "
            "pip install 'lensnb[lab]'"
        ) from None
    # latex2mathml knows \big( but not \big\langle; such a bracket grows by itself.
    return convert(re.sub(r"\\[bB]igg?[lr]?\s*(?=\\[a-z])", "", tex), display=display)


def link_from(folder: Path, start: Path, url: str) -> str | None:
    """A link of a notebook as seen from another folder.

    Args:
        folder: where the page lies.
        start: where the link starts.
        url: the link.

    Returns:
        None if it leads to a file that is not there.
    """
    parts = urlsplit(url)
    if parts.scheme or parts.netloc or not parts.path:
        return url
    target = start / unquote(parts.path)
    if not target.exists():
        return None
    try:
        there = Path(os.path.relpath(target, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return target.as_uri()
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return quote(there) + fragment
