"""What several test files need: where the published maps are."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published simulation data, which is no part of the project; tests that want it skip without it."""
    beside = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("LENSNB_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no published maps: set LENSNB_DATA to their folder")
    return folder
