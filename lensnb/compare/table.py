"""Tables of text cells, for a terminal and for a notebook."""

from __future__ import annotations

import html


def mark(text: str, fault: str | None) -> str:
    """A cell with a star where there is a fault, and room for one where there is none, so that columns line up."""
    return text + ("*" if fault else " ")


def text_table(cells: list[list[str]], left: int) -> str:
    """Cells as lines of text: the head first, ``left`` columns flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [
        "  ".join(
            c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))
        )
        for row in cells
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def html_table(cells: list[list[str]], left: int) -> str:
    """The same as HTML; starred cells stand out, on light pages and on dark ones."""
    align = lambda i: f"text-align:{'left' if i < left else 'right'}"
    head = "".join(
        f'<th scope="col" style="{align(i)}">{html.escape(c)}</th>' for i, c in enumerate(cells[0])
    )
    body = ""
    for row in cells[1:]:
        body += "<tr>"
        for i, cell in enumerate(row):
            if i < left:
                body += f'<th scope="row" style="{align(i)};font-weight:normal;white-space:nowrap">{html.escape(cell)}</th>'
            else:
                off = (
                    ";font-weight:bold;background:rgba(213,94,0,0.22)"
                    if cell.endswith("*")
                    else ""
                )
                body += f'<td style="{align(i)};white-space:nowrap{off}">{html.escape(cell.strip())}</td>'
        body += "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
