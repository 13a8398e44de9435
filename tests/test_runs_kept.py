"""Nothing is lost: the results of a run, and what a user has in a folder."""

import json

import nbformat
import numpy as np
import pytest

from lensnb import runs
from lensnb.runs.records import RESULTS, as_json, read_record

CELL = 'x: float = 1.0\nz: float = float("nan")\nfolder: str = "."'
CHECK = "from lensnb import runs\nparameters = runs.check_parameters(globals());"
OWN_RESULTS = (
    "import json, pathlib\n"
    "pathlib.Path(folder, 'results.json').write_text(json.dumps({'loss': [x, 2.0]}))"
)


def write(path, *cells):
    """Write a notebook; the first cell has its parameters."""
    code = [nbformat.v4.new_code_cell(source) for source in cells]
    code[0].metadata["tags"] = ["parameters"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=code), path)
    return path


# -------------------- results that JSON cannot hold


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"x": "nan"}, {"x": np.float32("-inf")}], ids=str)
def test_a_run_keeps_its_results_whatever_its_parameters_are(tmp_path, given):
    """A default is NaN, a given value may be, and so may what the notebook itself writes."""
    book = write(tmp_path / "toy.ipynb", CELL, CHECK, OWN_RESULTS)
    folder = runs.run(book, parameters=given, root=tmp_path / "runs")
    assert read_record(folder)["status"] == "done"
    found = json.loads((folder / RESULTS).read_text(), parse_constant=pytest.fail)
    x = as_json(float(given.get("x", 1.0)))
    assert found["loss"] == [x, 2.0] and found["parameters"]["x"] == x
    assert found["parameters"]["z"] == "nan"


def test_results_are_saved_with_parameters_and_numbers_of_any_kind(tmp_path):
    class Report:
        def as_json(self):
            return {"headline": []}

        def __str__(self):
            return "a table"

    parameters = {"z_source": float("nan"), "n": np.int64(3), "many": (1.0, float("inf"))}
    runs.save_results(
        tmp_path, parameters, Report(), bits={"flow": np.float32("nan")}, where=tmp_path
    )
    found = json.loads((tmp_path / RESULTS).read_text(), parse_constant=pytest.fail)
    assert found["parameters"] == {"z_source": "nan", "n": 3, "many": [1.0, "inf"]}
    assert found["bits"] == {"flow": "nan"} and found["where"] == str(tmp_path)
