"""The stored notebooks: their form, a run of each with tiny parameters, and a fresh look at stored outputs.

``make test`` runs each notebook once, with its solutions, through the runner; what its outputs must
show is asserted in its own cells. At night the stored outputs of one are compared with new ones.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest

from lensnb import runs
from lensnb.data import MapSet, block_average, load_sample

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
APPS = sorted((ROOT / "lensnb" / "apps").glob("*.ipynb"))
TINY = {
    "flow_steps": 6, "diffusion_steps": 6, "cascade_steps": 3, "toy_steps": 6, "small_steps": 4, "family_steps": 3, "vector_steps": 6, "batch": 8, "n_maps": 24,
    "sampler_steps": 4, "rounds": 20, "device": "cpu", "trained": "nowhere",
}  # fmt: skip

# Most exercises leave the rounds of the bootstrap to compare, which takes 200.
FEW_ROUNDS = "from functools import partial\ncompare = partial(compare, rounds=20)"


def cells(path, kind):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def test_all_are_there():
    assert [p.name[:2] for p in NOTEBOOKS] == [
        "00",
        "01",
        "02",
        "03",
        "04",
        "05",
        "06",
        "07",
        "08",
        "09",
        "10",
        "11",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
class TestForm:
    def test_stored_executed_small_and_for_the_python3_kernel(self, path):
        book = nbformat.read(path, as_version=4)
        code = [c for c in book.cells if c.cell_type == "code"]
        assert book.metadata.kernelspec.name == "python3"
        assert all(c.execution_count for c in code), "a cell was stored without having been run"
        assert not any(o.output_type == "error" for c in code for o in c.outputs)
        assert path.stat().st_size < 500_000

    def test_parameters_are_typed_commented_and_checked(self, path):
        known = papermill.inspect_notebook(str(path))
        assert {"seed"} <= set(known)
        assert all(p["inferred_type_name"] != "None" and p["help"] for p in known.values())
        code = cells(path, "code")
        tagged = [i for i, c in enumerate(code) if "parameters" in c.metadata.get("tags", [])]
        assert (
            len(tagged) == 1 and "runs.check_parameters(globals())" in code[tagged[0] + 1].source
        )

    def test_begins_with_a_question_and_ends_with_exercises_and_references(self, path):
        text = [c.source for c in cells(path, "markdown")]
        assert (
            text[0].startswith("# ") and "?" in text[0].splitlines()[0] and "two cores" in text[0]
        )
        whole = "\n".join(text)
        assert (
            "<details>" in whole
            and "arxiv.org" in whole
            and re.search(r"^## .*fail", whole, re.M | re.I)
        )

    def test_every_numbered_line_is_an_exercise(self, path):
        """The book takes a line that begins with a number and a dot for one: "0.9 of it …" must not stand there."""
        section = (
            "\n".join(c.source for c in cells(path, "markdown"))
            .partition("## Exercises\n")[2]
            .partition("\n## ")[0]
        )
        numbers = [int(number) for number in re.findall(r"^(?:\*\*)?(\d+)\.", section, re.M)]
        assert numbers == list(range(1, len(numbers) + 1)) and numbers

    def test_pictures_have_alternative_texts(self, path):
        pictures = [
            o for c in cells(path, "code") for o in c.outputs if "image/png" in o.get("data", {})
        ]
        assert pictures and all(o.metadata.get("image/png", {}).get("alt") for o in pictures)

    def test_no_cell_ends_with_the_path_of_a_file(self, path):
        """A function that writes a file returns its path; at the end of a cell that is noise."""
        shown = [
            "".join(o.get("data", {}).get("text/plain", ""))
            for c in cells(path, "code")
            for o in c.outputs
        ]
        assert [text for text in shown if re.match(r"(Posix|Windows)Path\(", text)] == []

    def test_no_picture_goes_through_an_output_widget(self, path):
        source = "\n".join(c.source for c in cells(path, "code"))
        # headless runs hang on pictures drawn inside ipywidgets.Output, and on interact
        assert not re.search(r"\bOutput\(|\binteract(ive)?\(|plt\.show\(", source)

    def test_no_installs_no_network_and_no_fixed_device(self, path):
        source = "\n".join(c.source for c in cells(path, "code"))
        found = re.findall(
            r"^\s*[!%]\s*\w+.*|\b(?:urlopen|urlretrieve|requests\.|hf_hub)\w*|\.cuda\(\)",
            source,
            re.M,
        )
        assert found == []

    def test_no_more_than_three_code_cells_in_a_row(self, path):
        kinds = "".join(c.cell_type[0] for c in nbformat.read(path, as_version=4).cells)
        first = kinds.index("c")
        assert (
            "cccc" not in kinds[first + 3 :]
        )  # imports, parameters and their check come together at the top


def test_no_two_notebooks_define_the_same():
    """What a second notebook needs moves to lensnb."""
    homes: dict[str, list[str]] = {}
    for path in NOTEBOOKS:
        for cell in cells(path, "code"):
            for name in re.findall(r"^(?:def|class) (\w+)", cell.source, re.M):
                homes.setdefault(name, []).append(path.stem)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}
    assert homes, "no notebook defines anything: is the pattern wrong?"


@pytest.mark.parametrize("path", APPS, ids=lambda p: p.stem)
def test_apps_are_small_train_nothing_and_end_with_a_widget(path):
    code = cells(path, "code")
    source = "\n".join(c.source for c in code)
    assert path.stat().st_size < 10_000 and "fit(" not in source and not code[-1].outputs
    assert re.match(r"(spot_the_fake|explore|compare_file)\(", code[-1].source)
    known = papermill.inspect_notebook(str(path))
    assert all(p["inferred_type_name"] != "None" and p["help"] for p in known.values())


@pytest.fixture(scope="module")
def small_maps(tmp_path_factory) -> Path:
    """256 maps of 32² of 32 simulations, and the two files that solutions name."""
    folder = tmp_path_factory.mktemp("small")
    whole = load_sample("truth")
    block_average(whole[np.arange(len(whole)) % 4 == 0], 2).save(folder / "maps.npz")
    for name in ("my_maps", "their_maps"):
        np.save(folder / f"{name}.npy", whole.maps[:24, ::2, ::2].astype(np.float32))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_with_tiny_parameters_and_every_solution_after_it(path, small_maps, tmp_path):
    """As a reader has it who comes to the end and does the exercises: the names are those of the notebook as it stands."""
    book = nbformat.read(path, as_version=4)
    text = "\n".join(c.source for c in book.cells if c.cell_type == "markdown").split(
        "## Exercises"
    )[1]
    solutions = re.findall(r"```python\n(.*?)```", text, re.S)
    assert solutions
    if re.search(r"^from lensnb\.compare import .*\bcompare\b", book.cells[1].source, re.M):
        book.cells.insert(2, nbformat.v4.new_code_cell(FEW_ROUNDS))
    book.cells += [nbformat.v4.new_code_cell(source) for source in solutions]
    nbformat.write(book, small_maps / path.name)
    known = papermill.inspect_notebook(str(path))
    given = TINY | {"n_train": 40, "study": ""}
    if path.name.startswith("08"):  # its own files do not say their field: an exercise is on that
        given["pixels"] = 16
    else:
        given["maps"] = str(small_maps / "maps.npz")
    folder = runs.run(
        small_maps / path.name, "tiny", {k: v for k, v in given.items() if k in known}, tmp_path
    )
    assert (folder / "notebook.html").stat().st_size > 10_000
    assert any((folder / "figures").glob("*.png"))
    results = json.loads((folder / "results.json").read_text())
    assert {"parameters", "versions", "seconds"} <= set(results) and "seed" in results[
        "parameters"
    ]
    if path.name[:2] not in ("01", "02"):  # those that judge a generator
        assert "The command that repeats it" in (folder / "report.html").read_text("utf-8")
        assert {"comparison", "table"} <= set(results)
        verdicts = results["comparison"]["against_truth"]
        assert "null (true maps)" in verdicts and len(verdicts) >= 2
        for verdict in verdicts.values():
            assert {"mean_ratio", "scatter_ratio", "slope"} <= set(verdict["power"])


@pytest.mark.parametrize("known", ["a file that says them", "an argument", "not at all"])
def test_independent_maps_are_counted_by_box_wherever_the_boxes_are_known(
    known, small_maps, tmp_path, capsys
):
    """The cells of 08, on maps of 32 simulations: each simulation gave eight of them."""
    code = [c.source for c in cells(FOLDER / "08_bring_your_own_maps.ipynb", "code")]
    theirs = MapSet.load(small_maps / "maps.npz")
    names = {"theirs": str(small_maps / "maps.npz"), "side_deg": 5.0, "z_source": 0.0}
    names |= {"simulation": "", "maps": "", "pixels": 0}
    if known != "a file that says them":
        np.save(tmp_path / "bare.npy", theirs.maps)
        names["theirs"] = str(tmp_path / "bare.npy")
    if known == "an argument":
        np.save(tmp_path / "boxes.npy", theirs.simulation)
        names["simulation"] = str(tmp_path / "boxes.npy")
    exec(code[0], names)
    for beginning in ("mine = ", "kappa = ", "grouped = ", "design = "):
        exec(next(source for source in code if source.startswith(beginning)), names)
    said = capsys.readouterr().out
    if known == "not at all":
        assert "no boxes are known" in said and "worth" not in said
    else:
        worth = int(re.search(r"worth about (\d+) independent", said)[1])
        assert worth < 0.8 * len(theirs)


@pytest.mark.nightly
def test_a_stopped_quickstart_goes_on(tmp_path):
    """The second run finds the trainings of the first, does not repeat them, and comes to the same numbers."""
    tiny = {k: v for k, v in TINY.items() if k in papermill.inspect_notebook(str(NOTEBOOKS[0]))}
    first = runs.run(NOTEBOOKS[0], "again", tiny, tmp_path)
    before = json.loads((first / "results.json").read_text())["comparison"]
    del before["cost"]  # seconds differ
    stamps = (first / "flow" / "history.jsonl").read_text().count("\n")
    runs.run(NOTEBOOKS[0], "again", tiny, tmp_path)
    after = json.loads((first / "results.json").read_text())["comparison"]
    assert {key: after[key] for key in before} == before
    assert (first / "flow" / "history.jsonl").read_text().count("\n") <= stamps + 1


# ---------------------------------------------------------------- nbval


def nbval(path: Path, *options: str) -> None:
    """Run a stored notebook again, in a process of its own: all its cells need one kernel."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    done = subprocess.run(
        [*command, "--nbval-current-env", *options, str(path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.nightly
def test_the_stored_outputs_are_those_of_the_code():
    """Of the notebook that trains nothing, with the parameters that it is stored with; pictures are left out."""
    path = FOLDER / "01_explore_kappa_maps.ipynb"
    nbval(path, "--nbval", "--nbval-sanitize-with", str(FOLDER / "nbval.ini"))


@pytest.mark.nightly
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_stored_notebook_runs_again_cell_by_cell(path):
    nbval(path, "--nbval-lax")
