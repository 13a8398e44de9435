"""``lensnb app``: quiz, explorer and comparison as web pages without code, on this machine only.

The pages are notebooks in ``lensnb/apps``, which Voilà shows. They train nothing and open in
seconds. ``lensnb/apps/voila`` has the page with three cards that leads to them, as a template of
Voilà; ``voila.json`` says that no page may load anything from another host.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from .parsers import add_command

APPS = Path(__file__).parent.parent / "apps"


def add(commands) -> None:
    """Add the command to the parser."""
    command = add_command(
        commands,
        "app",
        "open quiz, explorer and comparison as web pages without code (extra: lab)",
        """
lensnb app                        a page with three cards, on this machine only
lensnb app --port 8000
lensnb app --no-browser           prints the address, which holds a token
""",
    )
    command.add_argument("--port", type=int, default=8866, help="(default: %(default)s)")
    command.add_argument(
        "--no-browser", action="store_true", help="print the address, and open no browser"
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Serve the pages until the process is interrupted."""
    more = [f"--port={options.port}"]
    if options.no_browser:
        more.append("--no-browser")
    start(APPS, ["--Voila.auto_token=True", *more])
    return 0


def start(folder: Path, more: Sequence[str]) -> None:
    """Serve a folder of notebooks as pages, on this machine, behind the page with the cards.

    Args:
        folder: the notebooks.
        more: options of Voilà.

    Raises:
        ImportError: Voilà is not installed.
    """
    # Voilà finds templates below the folders that this variable names; kernels do not need it.
    below = [str(APPS), os.environ.get("JUPYTER_PATH", "")]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(path for path in below if path)
    try:
        from voila.app import Voila
    except ImportError:
        raise ImportError("the pages need Voilà: pip install 'lensnb[lab]'") from None
    Voila.launch_instance(
        [
            str(folder),
            "--template=lensnb",
            "--Voila.ip=127.0.0.1",
            f"--Voila.config_file_paths={APPS}",
            *more,
        ]
    )
