"""An executed notebook as one page that opens offline."""

from __future__ import annotations

from pathlib import Path

from ..files import atomic_write


def write_html(notebook: str | Path, path: str | Path, title: str) -> Path:
    """Render an executed notebook, code hidden, as one HTML file that needs no network."""
    import nbformat
    from nbconvert import HTMLExporter

    # nothing from the web: no MathJax, no RequireJS, no widget manager
    offline = dict.fromkeys(
        (
            "mathjax_url",
            "require_js_url",
            "jquery_url",
            "jupyter_widgets_base_url",
            "mermaid_js_url",
        ),
        "",
    )
    # the classic template, because lab's drops the figures' alternative texts
    exporter = HTMLExporter(
        template_name="classic",
        exclude_input=True,
        exclude_output_prompt=True,
        embed_images=True,
        **offline,
    )
    book = nbformat.read(notebook, as_version=4)
    for output in (output for cell in book.cells for output in cell.get("outputs", ())):
        output.get("data", {}).pop(
            "application/vnd.jupyter.widget-view+json", None
        )  # its picture is what a page can show
    body, _ = exporter.from_notebook_node(book, {"metadata": {"name": title}})
    with atomic_write(path) as file:
        file.write(body.encode())
    return Path(path)
