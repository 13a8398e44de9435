"""The command that opens the sealed boxes: once for each version, and never before it has checked.

Its vectors are random numbers here, with the bins of four statistics.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lensnb.compare.cosmology_responses import Responses
from lensnb.compare.per_map import per_map_statistics
from lensnb.compare.sets import FiniteMaps
from lensnb.compare.vector_files import bins_of, mean_and_scale, write_vectors
from lensnb.ensemble import Ensemble
from lensnb.maps import GaussianField
from lensnb.sims.sample import boxes_of
from lensnb.stats import suite

ROOT = Path(__file__).parents[1]
HEAD = "| date | version | set | maps |\n|---|---|---|--:|\n"


@pytest.fixture(scope="module")
def tiny():
    """Four statistics, set from white maps of 16², in the place of the sample's."""
    maps = GaussianField.white(16).sample(64, torch.Generator().manual_seed(0))
    spectra = suite(maps, 5.0, ["power", "pdf"])
    beside = per_map_statistics(maps, 5.0)
    per_map = {name: beside[name] for name in ("seam", "map mean")}
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=(len(one.x), 2)) for name, one in spectra.items()}
    responses = Responses(("first", "second"), values, {}, {})
    truth = FiniteMaps(maps, np.arange(len(maps)) // 32, 0)
    return SimpleNamespace(suite=spectra, per_map=per_map, responses=responses, truth=truth)


@pytest.fixture
def sealed(monkeypatch, tiny):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import sealed, true_boxes

    for module in (sealed, true_boxes):
        monkeypatch.setattr(module, "sample", lambda: tiny)
    return sealed


def numbers(tiny, boxes, mean: float = 3.0, scatter: float = 1.0) -> dict[str, Ensemble]:
    """Random vectors with a common factor, 32 maps of each box."""
    rng = np.random.default_rng(boxes[0])
    simulation = np.repeat(boxes, 32)
    common = rng.normal(size=(len(simulation), 1))
    found = {}
    for name, one in (tiny.suite | tiny.per_map).items():
        alone = rng.normal(size=(len(simulation), len(one.x)))
        found[name] = Ensemble(mean + scatter * (common + alone) / 2, simulation)
    return found


@pytest.fixture
def folder(tmp_path, tiny):
    """A file like that of `lensnb sample PLANES FOLDER --sealed`."""
    vectors = numbers(tiny, boxes_of("sealed"))
    about = {"statistics": bins_of(tiny.suite | tiny.per_map), "partial": False}
    path = tmp_path / "vectors/sealed_vectors.npz"
    write_vectors(path, {"sealed": vectors}, mean_and_scale(vectors), about)
    return path.parent


@pytest.fixture
def page(tmp_path) -> Path:
    path = tmp_path / "sealed.md"
    path.write_text("# What the sealed boxes say\n\n" + HEAD, encoding="utf-8")
    return path


@pytest.fixture
def command(sealed, tiny, folder, page, monkeypatch):
    """command() runs it, with a flow that is right and a diffusion model that scatters too little."""
    drawn = {
        "flow": numbers(tiny, range(10)),
        "diffusion": numbers(tiny, range(20, 30), scatter=0.7),
    }
    null = numbers(tiny, boxes_of("null", 64))
    monkeypatch.setattr(sealed, "load_vectors", lambda *where: null)
    monkeypatch.setattr(sealed, "vectors_of_model", lambda family, *how: drawn[family])
    options = ["--vectors", str(folder), "--maps", "320", "--output", str(page)]
    return lambda: sealed.main(options)


def rows(page: Path) -> list[list[str]]:
    lines = page.read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if "20" in line
    ]


def test_true_maps_stand_beside_the_models(command, page, sealed):
    command()
    found = rows(page)
    assert [row[2] for row in found] == ["true maps (null)", "flow", "diffusion"]
    assert {row[1] for row in found} == {sealed.__version__}
    assert {row[3] for row in found} == {"320"}
    assert {len(row) for row in found} == {4 + len(sealed.SHOWN)}
    scatter = 4 + sealed.SHOWN.index("C_ℓ scatter")
    assert found[2][scatter].endswith("*") and found[2][scatter].startswith("0.")
    for row in found[:2]:  # no false alarm; by chance one in 5 % of seeds each
        assert not any(cell.endswith("*") for cell in row)


def test_a_version_opens_the_boxes_once(command, page, sealed, folder, monkeypatch):
    command()
    first = page.read_text(encoding="utf-8")
    (folder / "sealed_vectors.npz").unlink()  # refused before it is looked for
    with pytest.raises(SystemExit, match="were opened for lensnb .* already, see .*sealed.md"):
        command()
    assert page.read_text(encoding="utf-8") == first


def test_the_next_version_adds_its_rows(command, page, sealed, monkeypatch):
    command()
    first = page.read_text(encoding="utf-8")
    monkeypatch.setattr(sealed, "__version__", "9.9.9")
    command()
    both = page.read_text(encoding="utf-8")
    assert both.startswith(first) and len(rows(page)) == 6
    assert sealed.opened(both) == {row[1] for row in rows(page)}


def test_a_run_that_failed_leaves_the_page_and_may_be_repeated(command, page, sealed, monkeypatch):
    before = page.read_text(encoding="utf-8")

    def failing(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(sealed, "vectors_of_model", failing)
        with pytest.raises(MemoryError):
            command()
    assert page.read_text(encoding="utf-8") == before
    command()
    assert len(rows(page)) == 3


def test_vectors_of_some_boxes_or_other_bins_are_refused(sealed, tiny, tmp_path, monkeypatch):
    vectors = numbers(tiny, boxes_of("sealed", 3))
    about = {"statistics": bins_of(tiny.suite | tiny.per_map), "partial": True}
    path = tmp_path / "sealed_vectors.npz"
    write_vectors(path, {"sealed": vectors}, mean_and_scale(vectors), about)
    with pytest.raises(ValueError, match="are of 3 sealed boxes only; expected all 64"):
        sealed.sealed_vectors(tmp_path)
    few = {name: one for name, one in vectors.items() if name != "seam"}
    about = {"statistics": bins_of(tiny.suite | {"map mean": tiny.per_map["map mean"]})}
    path = tmp_path / "other/sealed_vectors.npz"
    write_vectors(path, {"sealed": few}, mean_and_scale(few), about | {"partial": False})
    with pytest.raises(ValueError, match="have no 'seam' with the bins of today"):
        sealed.sealed_vectors(path.parent)


def test_maps_of_a_model_are_measured_and_rounded(sealed, tiny, folder, monkeypatch):
    class Model:
        def sample(self, n, generator):
            maps = GaussianField.white(16).sample(n, generator)
            maps[0, 3, 3] = torch.nan
            return maps

    monkeypatch.setattr(sealed.models, "load", lambda family: Model())
    stored = sealed.sealed_vectors(folder)
    found = sealed.vectors_of_model("flow", 9, stored)
    again = stored.rounded(found)
    for name, one in found.items():
        assert len(one) == 8
        assert np.array_equal(one.vectors, again[name].vectors)


def test_the_page_of_the_package_has_the_columns(sealed):
    page = sealed.OUTPUT.read_text(encoding="utf-8")
    head = [line for line in page.splitlines() if line.startswith("| date")]
    assert len(head[0].split("|")) == 2 + 4 + len(sealed.SHOWN)
    assert page.splitlines()[-1].startswith("|")  # rows are added at the end


def test_without_vectors_one_sentence_says_what_is_missing(sealed, page, tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "SAMPLE", tmp_path)
    with pytest.raises(SystemExit, match="vectors.npz is missing: run 'lensnb sample PLANES"):
        sealed.main(["--vectors", str(tmp_path), "--output", str(page)])
