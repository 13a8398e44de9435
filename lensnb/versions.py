"""The versions of what numbers depend on."""

from __future__ import annotations

import platform

import numpy as np

from . import __version__


def versions() -> dict[str, object]:
    """Versions of what the numbers depend on, the processor and the threads."""
    import torch  # heavy, and a run that only looks at folders does not need it

    gpu = None
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    return {
        "lensnb": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }
