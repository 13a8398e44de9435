"""Waiting for what another process does. The limit guards against a hang and measures nothing."""

import time

HANGS = 600  # seconds


def wait_until(true):
    """Wait until a function returns something true, and return that."""
    end = time.monotonic() + HANGS
    while not (found := true()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)
    return found
