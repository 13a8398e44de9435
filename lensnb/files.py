"""Writing files so that nothing is lost: a file is either the old one or the whole new one."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path):
    """Open a temporary binary file beside ``path``; it replaces ``path`` only when the block ends without an error.

    Raises:
        OSError: it could not be written (no space left, no permission); the file that was there before is intact.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".part", delete=False)
    try:
        with file:
            yield file
        os.chmod(file.name, 0o644)  # a temporary file is private; the result is not
        os.replace(file.name, path)
    except OSError as error:
        raise OSError(
            error.errno, f"could not write {path} ({error.strerror}); what was there before is intact"
        ) from None
    finally:
        Path(file.name).unlink(missing_ok=True)


def write_json(path: str | Path, values) -> Path:
    """Write plain JSON values atomically."""
    with atomic_write(path) as file:
        file.write((json.dumps(values, indent=1, allow_nan=False) + "\n").encode())
    return Path(path)
