"""Published maps of other people: open, explore, train and compare, with nothing but parameters."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lensnb.__main__ import main
from lensnb.readers import open_maps

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
TINY = {
    "flow_steps": 6,
    "diffusion_steps": 6,
    "batch": 8,
    "n_maps": 24,
    "sampler_steps": 4,
    "device": "cpu",
}


def explored_trained_compared(folder: Path, **parameters) -> dict:
    """Notebooks 01 and 00 on these maps, as a user would run them; what the second one found."""
    for name in ("01_explore_kappa_maps", "00_quickstart"):
        given = parameters | (TINY if name.startswith("00") else {})
        pairs = [word for key, value in given.items() for word in ("-p", key, str(value))]
        command = [
            "run",
            str(NOTEBOOKS / f"{name}.ipynb"),
            "--root",
            str(folder),
            "--name",
            name[:2],
            *pairs,
        ]
        assert main(command) == 0
    return json.loads((folder / "00" / "results.json").read_text())


def assert_judged(results: dict, truth: int):
    comparison = results["comparison"]
    assert comparison["maps"]["truth"]["maps"] == truth
    numbers = {row["name"]: row["sets"] for row in comparison["headline"]}
    for name in ("C_ℓ mean", "C_ℓ scatter", "C_ℓ slope"):
        assert set(numbers[name]) == {
            "null (true maps)",
            "flow",
            "diffusion",
            "Gaussian",
            "lognormal",
        }
        assert all(np.isfinite(number["value"]) for number in numbers[name].values())


@pytest.mark.nightly
def test_a_thousand_maps_from_lens_planes(published, tmp_path):
    subprocess.run(
        [sys.executable, published / "kappa_from_planes.py", "1000", tmp_path / "planes.npy"],
        check=True,
    )
    found = explored_trained_compared(
        tmp_path, maps=tmp_path / "planes.npy", side_deg=1.75, z_source=1.0, pixels=32
    )
    assert_judged(found, 250)


# The file, how it is cut into tiles, each of which counts as its own (one sky has no truth beside it), their number and side.
# The catalogue is one of galaxies: shear → κ (Kaiser & Squires), in tiles.
TILED = {
    "a ray-traced sight line": (
        "lenstools_raytraced/convergence_z99.fit",
        "--z-source 0.99 --pixels 256 --tile 32",
        64,
        3.5 / 8,
    ),
    "a mock catalogue": (
        "mice_catalogue/gal_cat.fits",
        "--side-deg 0.86 --pixels 64 --source 0.6,1.4 --signs -1 -1 --tile 16",
        16,
        0.86 / 4,
    ),
}


def tiled(name: str, published: Path, folder: Path) -> Path:
    file, options, _, _ = TILED[name]
    tiles = folder / "tiles.zarr"
    given = ["--simulation", "each", *options.split()]
    assert main(["convert", str(published / file), str(tiles), *given]) == 0
    return tiles


@pytest.mark.parametrize("name", TILED)
def test_a_file_of_one_sky_is_opened_in_tiles(published, tmp_path, name):
    _, _, count, side_deg = TILED[name]
    maps = open_maps(tiled(name, published, tmp_path))
    assert len(maps) == count and maps.side_deg == pytest.approx(side_deg)
    assert maps.tensor().isfinite().all() and len(maps.simulations) == count


@pytest.mark.nightly
@pytest.mark.parametrize("name", TILED)
def test_tiles_of_one_sky_are_explored_trained_on_and_compared(published, tmp_path, name):
    tiles, count = tiled(name, published, tmp_path), TILED[name][2]
    assert_judged(explored_trained_compared(tmp_path, maps=tiles), count // 4)
