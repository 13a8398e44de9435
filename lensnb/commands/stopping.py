"""A time limit as a reason to stop: SIGUSR1 saves a training, which resumes later."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# What asks a process to save and to end; Windows has no such signal.
STOP = getattr(signal, "SIGUSR1", signal.SIGTERM)


@contextmanager
def stoppable(what: str) -> Iterator[None]:
    """While the block lasts, SIGUSR1 interrupts it as Ctrl-C does.

    Of processes that share a training, the first one saves it and ends, and the others end with
    it. So only the first one listens.

    Args:
        what: is stopped, for the message.

    Raises:
        Unfinished: the signal came.
    """
    # Only the main thread can handle signals.
    if STOP == signal.SIGTERM or threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = []

    def stop(*_) -> None:
        if int(os.environ.get("RANK", "0")) == 0:
            asked.append(True)
            signal.raise_signal(signal.SIGINT)

    before = {STOP: signal.signal(STOP, stop)}
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a shell script
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        if not asked:
            raise
        from ..runs import Unfinished

        raise Unfinished(
            f"{what} was stopped by {STOP.name}; what was saved stays, and the same command "
            "resumes from there"
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
