"""Pages: a fidelity report, and an executed notebook, as one HTML file that opens offline.

:func:`write_page` writes the page of a report, ``lensnb.runs`` that of a notebook. Both have the
style sheet ``templates/page.css``: light and dark, narrow and wide, and on A4. Nothing is fetched
from anywhere, and there is no script.

* ``report_page``: what the page of a report says, and the file;
* ``words``: verdicts, scorecard and table in words;
* ``figures``: small panels as SVG;
* ``templates``: the HTML.
"""

from .report_page import write_page

__all__ = ["write_page"]
