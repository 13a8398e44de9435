"""An executed notebook as one page that opens offline."""

from __future__ import annotations

from pathlib import Path

from ..files import atomic_write

# Nothing from the web: no MathJax, no RequireJS, no widget manager.
_FROM_THE_WEB = (
    "mathjax_url",
    "require_js_url",
    "jquery_url",
    "jupyter_widgets_base_url",
    "mermaid_js_url",
)


def write_html(notebook: str | Path, path: str | Path, title: str) -> Path:
    """Render an executed notebook, without its code, as one HTML file that needs no network.

    Args:
        notebook: the executed notebook.
        path: the HTML file.
        title: title of the page.

    Returns:
        The HTML file.
    """
    import nbformat
    from nbconvert import HTMLExporter

    # The classic template, because that of JupyterLab drops the alternative texts of figures.
    exporter = HTMLExporter(
        template_name="classic",
        exclude_input=True,
        exclude_output_prompt=True,
        embed_images=True,
        **dict.fromkeys(_FROM_THE_WEB, ""),
    )
    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            # A page cannot show a live widget, but it can show the widget's picture.
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    body, _ = exporter.from_notebook_node(book, {"metadata": {"name": title}})
    with atomic_write(path) as file:
        file.write(body.encode())
    return Path(path)
