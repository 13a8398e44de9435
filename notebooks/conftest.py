"""For ``pytest --nbval-lax notebooks``: tiny trainings, results in a temporary folder. Nothing here is for readers."""

import json
import os
import tempfile
from pathlib import Path

import pytest

TINY = {
    "flow_steps": 6, "diffusion_steps": 6, "toy_steps": 6, "small_steps": 4, "batch": 8, "n_maps": 24,
    "sampler_steps": 4, "rounds": 20, "device": "cpu", "trained": "nowhere",
}  # fmt: skip
RESULTS = tempfile.TemporaryDirectory(prefix="lensnb-notebooks-")


@pytest.hookimpl(
    tryfirst=True
)  # before nbval starts the notebook's kernel, which inherits the environment
def pytest_runtest_setup(item):
    folder = Path(RESULTS.name) / Path(item.fspath).stem
    os.environ["LENSNB_PARAMETERS"] = json.dumps(TINY | {"folder": str(folder)})


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    os.environ.pop("LENSNB_PARAMETERS", None)
