"""For nbval, which runs the stored notebooks again. Nothing here is for readers.

``pytest --nbval-lax notebooks`` asks whether they run: tiny trainings, results in a temporary
folder. ``pytest --nbval notebooks/01_explore_kappa_maps.ipynb`` compares with the stored outputs,
so the parameters are those of the notebook. One process (no ``-n``): a notebook is one kernel.
"""

import json
import os
import tempfile
from pathlib import Path

import pytest

TINY = {
    "flow_steps": 6, "diffusion_steps": 6, "cascade_steps": 3, "toy_steps": 6, "small_steps": 4, "batch": 8, "n_maps": 24,
    "sampler_steps": 4, "rounds": 20, "device": "cpu", "trained": "nowhere",
}  # fmt: skip
RESULTS = tempfile.TemporaryDirectory(prefix="lensnb-notebooks-")


# before nbval starts the notebook's kernel, which inherits the environment
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    given = {"folder": str(Path(RESULTS.name) / Path(item.fspath).stem)}
    if item.config.option.nbval_lax:
        given = TINY | given
    os.environ["LENSNB_PARAMETERS"] = json.dumps(given)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    os.environ.pop("LENSNB_PARAMETERS", None)
