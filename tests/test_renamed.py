"""Old names work for one release, with a warning that names the new one."""

import importlib
import json

import numpy as np
import pytest
import torch

from lensnb.compare import Quantity
from lensnb.data import MapSet
from lensnb.ensemble import Ensemble, StreamingEnsemble, measure
from lensnb.nets import UNet
from lensnb.readers import convert, open_maps
from lensnb.store import MapWriter
from lensnb.train import Settings, fit

MAPS = np.random.default_rng(0).normal(0, 0.01, (4, 8, 8)).astype(np.float32)
NUMBERS = [3, 3, 5, 5]


def calls(folder):
    """What takes ``labels`` as it did before, and what has them."""
    np.save(folder / "maps.npy", MAPS)
    vectors = MAPS[:, 0]
    yield lambda: MapSet(MAPS, 5.0, labels=NUMBERS)
    yield lambda: Ensemble(vectors, labels=NUMBERS)
    yield lambda: measure({"row": lambda maps: maps[:, 0].numpy()}, [MAPS], labels=NUMBERS)["row"]
    yield lambda: open_maps(folder / "maps.npy", 5.0, labels=NUMBERS)
    yield lambda: convert(folder / "maps.npy", folder / "maps.zarr", 5.0, labels=NUMBERS)


def test_labels_are_still_taken_and_read(tmp_path):
    for call in calls(tmp_path):
        with pytest.warns(FutureWarning, match="the argument labels is now called simulation"):
            found = call()
        with pytest.warns(FutureWarning, match="labels is now called simulation"):
            assert found.labels.tolist() == NUMBERS
    with pytest.warns(FutureWarning, match="simulation"):
        assert len(StreamingEnsemble().update(MAPS[:, 0], labels=NUMBERS).simulations) == 2


def test_both_names_at_once_are_refused():
    with pytest.warns(FutureWarning), pytest.raises(TypeError, match="both labels and simulation"):
        MapSet(MAPS, 5.0, labels=NUMBERS, simulation=NUMBERS)


def test_files_with_the_old_name_open(tmp_path):
    about = json.dumps({"side_deg": 5.0, "z_source": 1.0, "provenance": {}})
    np.savez(tmp_path / "old.npz", maps=MAPS, labels=NUMBERS, about=about)
    assert MapSet.load(tmp_path / "old.npz").simulation.tolist() == NUMBERS
    assert open_maps(tmp_path / "old.npz").simulation.tolist() == NUMBERS


def test_a_stored_set_with_the_old_name_opens_and_grows(tmp_path):
    path = tmp_path / "old.zarr"
    with MapWriter(path, 5.0, 1.0) as writer:
        writer.append(MAPS, NUMBERS)
    (path / "simulation").rename(path / "labels")
    assert open_maps(path).simulation.tolist() == NUMBERS
    with MapWriter(path, 5.0, 1.0) as writer:
        writer.append(MAPS[:1], 7)
    assert open_maps(path).simulation.tolist() == [*NUMBERS, 7]


# Names that have left the API of a package.
MOVED = {
    "maps": "mode_power wide",
    "plot": "KAPPA small_png typeset",
    "readers": "patch_centres read_catalogue read_cosmogrid read_file read_fits read_ktng "
    "read_ktng_binary read_masked read_npy read_npz read_slics read_zarr",
    "runs": "RECORD check_names coerce folder_name read_parameters read_record versions write_html",
    "sims": "FIRST_BOX born_map born_weights make_sample particle_positions pixel_weights "
    "plane_file project simulate_box",
    "store": "ahead check_pixels maps_a_piece read_labels",
    "train": "schedule",
    "widgets": "STATISTICS Diffuse Explorer Inspector Quiz Walk Training watch",
}


@pytest.mark.parametrize("package", MOVED)
def test_names_that_moved_are_found_at_their_old_place(package):
    """Each with a warning, and none of them is shown any more."""
    if package == "widgets":
        pytest.importorskip("anywidget", reason="no anywidget: pip install 'lensnb[lab]'")
    module = importlib.import_module(f"lensnb.{package}")
    for name in MOVED[package].split():
        assert name not in module.__all__ and name not in dir(module)
        with pytest.warns(FutureWarning, match=rf"lensnb.{package}.{name} is now called lensnb"):
            assert getattr(module, name) is not None


def test_single_arguments_beside_a_group_are_refused():
    """They would have no effect."""
    model = torch.nn.Linear(2, 2)
    both = r"fit\(\) was given both Settings\(…\) and lr; put all of them into Settings"
    with pytest.warns(FutureWarning, match="the argument lr is now called Settings"):
        with pytest.raises(TypeError, match=both):
            next(fit(model, MAPS, Settings(2), lr=1e-4))
    with pytest.warns(FutureWarning), pytest.raises(TypeError, match="number of steps twice"):
        next(fit(model, MAPS, 2, steps=3))
    with pytest.warns(FutureWarning, match="the arguments lr, ema are now called"):
        with pytest.raises(ValueError, match="steps must be a whole number, found None"):
            next(fit(model, MAPS, lr=1e-4, ema=0.9))


def test_other_arguments_keep_their_old_names():
    with pytest.warns(FutureWarning, match="labels is now called numbers"):
        assert UNet(channels=(8, 16), labels=2).numbers == 2
    with pytest.warns(FutureWarning, match="right is now called expected"):
        assert Quantity(1, "mean", right="0").expected == "0"
