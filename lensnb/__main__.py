"""The command line: ``lensnb`` with one of the commands below."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import stat
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import __version__
from .commands import app, cascade, compare, covariance, files_of_maps, running, simulations
from .commands.parsers import add_command, add_device, indented

_UNFINISHED = 75  # EX_TEMPFAIL of sysexits.h: try again later
_INTERRUPTED = 130  # what shells give for SIGINT
_BUG = 70  # EX_SOFTWARE of sysexits.h: an internal error
_TERMINATED = 143  # what shells give for SIGTERM
_NOT_READ = 141  # what shells give for SIGPIPE

# Errors of the system: no file, no space, no memory, no package.
_OF_SYSTEM = (OSError, ImportError, MemoryError)
# The package's own errors, if it raised them itself. Those of a library are a bug of lensnb.
_OWN = (ValueError, RuntimeError)
_PACKAGE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; without one, show what there is.

    Errors that a user can mend are one sentence on stderr. Any other error is a bug of lensnb; it
    is shown with the lines where it happened, and a sentence says how to report it.

    Args:
        arguments: the words of the command line; by default those of this process.

    Returns:
        The exit status: 0, or 1 after an error, 70 after a bug, 75 for a run that was stopped and
        can resume, 130 after an interrupt from the keyboard, 141 if the output is not read to its
        end, 143 after SIGTERM.
    """
    _print_anything()
    options = _options(arguments)
    with warnings.catch_warnings(), _terminable():
        warnings.showwarning = _show_warning
        try:
            status = options.command(options)
            sys.stdout.flush()
            return status
        except _OF_SYSTEM as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                return _NOT_READ
            _say(_sentence(error))
            return 1
        except _Terminated:
            _say("terminated; what was saved stays, and the same command resumes from there")
            return _TERMINATED
        except KeyboardInterrupt:
            # The tasks of the notebook client were cancelled, which asyncio would report.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            print(file=sys.stderr)
            _say("interrupted; what was saved stays, and the same command resumes from there")
            return _INTERRUPTED
        except Exception as error:
            if isinstance(error, _OWN) and _raised_here(error):
                _say(_sentence(error))
                return _status(error)
            traceback.print_exc()
            _say(
                f"this is a bug of lensnb ({type(error).__name__}); please report the command "
                "and the lines above at the project's issues"
            )
            return _BUG


class _Terminated(BaseException):
    """SIGTERM came; what was half written is removed on the way out."""


@contextmanager
def _terminable() -> Iterator[None]:
    """While the block lasts, SIGTERM ends it as an error would."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return

    def stop(*_) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_anything() -> None:
    """Let streams whose encoding lacks a character, such as ℓ, print a ``?`` in its place."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _nobody_reads() -> bool:
    """Whether the output is a pipe whose reader has seen enough, as in ``lensnb runs | head``."""
    if not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())  # for what Python flushes at its end
    return True


def _sentence(error: Exception) -> str:
    """One line about an error, which says at least what kind of error it is."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({text or 'none is left'})"
    return text or type(error).__name__


def _raised_here(error: Exception) -> bool:
    """Whether code of this package raised the error, and not a library that it called."""
    # An error in another process comes with its traceback as text.
    in_process = re.findall(r'File "(.+?)", line', str(error.__cause__ or ""))
    if in_process:
        file = in_process[-1]
    else:
        file = traceback.extract_tb(error.__traceback__)[-1].filename
    return _PACKAGE in Path(file).resolve().parents


def _status(error: Exception) -> int:
    if isinstance(error, RuntimeError):
        from .runs import Unfinished  # only a run raises it, so this was imported before

        if isinstance(error, Unfinished):
            return _UNFINISHED
    return 1


def _say(sentence) -> None:
    print(f"lensnb: {sentence}", file=sys.stderr)


_python_shows = warnings.showwarning


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """Old names are one sentence for the user; other warnings look as Python shows them."""
    if issubclass(category, FutureWarning):
        _say(message)
    else:
        _python_shows(message, category, filename, lineno, file, line)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command. What follows ``--`` after a sweep's is for Snakemake."""
    if arguments is None:
        arguments = sys.argv[1:]
    words, more = list(arguments), []
    if words[:1] == ["sweep"] and "--" in words:
        end = words.index("--")
        words, more = words[:end], words[end + 1 :]
    options = _parser().parse_args(words)
    options.more = more
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lensnb",
        description="Generative models of weak-lensing convergence maps.",
        epilog=f"examples:\n{indented(_EXAMPLES)}\n\n"
        "lensnb COMMAND --help explains a command, with examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lensnb {__version__}")
    parser.set_defaults(command=_show_help(parser))
    commands = parser.add_subparsers(metavar="COMMAND")
    _add_doctor(commands)
    compare.add(commands)
    covariance.add(commands)
    app.add(commands)
    _add_share(commands)
    running.add(commands)
    cascade.add(commands)
    files_of_maps.add(commands)
    simulations.add(commands)
    return parser


_EXAMPLES = """
lensnb doctor                                     is this machine ready?
lensnb run notebooks/00_quickstart.ipynb          train both generators and judge them
lensnb compare mine.npy                           judge your own maps
lensnb app                                        quiz and explorer as web pages
"""


def _show_help(parser: argparse.ArgumentParser):
    """What a line without a command does."""

    def show(options: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    return show


# ---------------------------------------------------------------- doctor


def _add_doctor(commands) -> None:
    command = add_command(
        commands,
        "doctor",
        "check this machine, and measure how long the notebooks train on it",
        """
lensnb doctor
lensnb doctor --device cpu
""",
    )
    add_device(command)
    command.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from . import doctor

    return doctor.print_findings(options.device)


# ---------------------------------------------------------------- share


def _add_share(commands) -> None:
    command = add_command(
        commands,
        "share",
        "write the quiz and the explorer as one HTML file that needs no kernel",
        """
lensnb share quiz.html                            true maps, and those of three generators
lensnb share quiz.html mine.npy gan.npz           and your own maps
lensnb share quiz.html --questions 20 --seed 7
""",
    )
    command.add_argument("out", type=Path, metavar="OUT.html", help="the file to write")
    command.add_argument(
        "mine", nargs="*", metavar="MINE", help="files of maps to show besides, as the sample's"
    )
    command.add_argument(
        "--questions", type=int, default=30, help="of the quiz (default: %(default)s)"
    )
    command.add_argument(
        "--maps", type=int, default=32, help="of each set in the explorer (default: %(default)s)"
    )
    command.add_argument(
        "--seed", type=int, default=0, help="of the questions and the drawn maps (default: 0)"
    )
    compare.add_sky(command)
    command.set_defaults(command=_share)


def _share(options: argparse.Namespace) -> int:
    from .commands.own_sets import own_sets, true_sets
    from .widgets.sharing import share
    from .widgets.small_sets import small_sets

    asked = compare.asked_of(options)
    true = true_sets(asked)
    mine = own_sets(asked, true)
    for note in true.notes:
        print(f"note: {note}")
    sets = small_sets(max(options.questions, options.maps), options.seed) | mine
    path = share(options.out, sets, options.questions, options.maps, options.seed)
    print(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
