"""Arrays, labels and numbers of NumPy, pandas, h5py, astropy and torch, by one entry."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from lensnb import plot
from lensnb.compare import compare
from lensnb.data import MapSet
from lensnb.files import plain_json
from lensnb.given import as_arrays
from lensnb.maps import MapGrid
from lensnb.maps.arrays import (
    plain_array,
    plain_labels,
    plain_number,
    plain_tensor,
    plain_whole,
)
from lensnb.readers import open_maps
from lensnb.stats import bispectrum, minkowski, moments, pdf, peak_counts, power_spectrum, suite
from lensnb.store import MapWriter

pd = pytest.importorskip("pandas")
h5py = pytest.importorskip("h5py")
units = pytest.importorskip("astropy.units")
tables = pytest.importorskip("astropy.table")

NAMES = list("aabbccdd")


def kappa(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, shape).astype(np.float32)


def hidden(*shape):
    maps = np.ma.masked_array(kappa(*shape), np.zeros(shape, bool))
    maps[..., :2] = np.ma.masked
    return maps


# ---------------------------------------------------------------- masks that arrays carry

STATISTICS = {
    "moments": moments,
    "pdf": lambda m: pdf(m, [-1, 0, 1]),
    "peaks": lambda m: peak_counts(m, [-1, 1]),
    "minkowski": lambda m: minkowski(m, 5.0, [-1, 0, 1]),
    "power": lambda m: power_spectrum(m, 5.0, [100, 1000]),
    "bispectrum": lambda m: bispectrum(m, 5.0, [100, 400, 700], [(0, 0, 0)]),
}


@pytest.mark.parametrize("function", STATISTICS.values(), ids=STATISTICS)
def test_no_statistic_counts_what_lies_under_a_mask(function):
    with pytest.raises(ValueError, match="a masked array with 128 hidden values; .* mask=~array"):
        function(hidden(2, 32, 32))


@pytest.mark.parametrize("function", STATISTICS.values(), ids=STATISTICS)
@pytest.mark.parametrize("as_torch", [True, False])
def test_no_statistic_takes_the_real_part_of_a_shear(function, as_torch):
    gamma = kappa(2, 32, 32) + 1j * kappa(2, 32, 32, seed=1)
    if as_torch:
        gamma = torch.from_numpy(gamma)
    with pytest.raises(ValueError, match="needs real κ, found torch.complex64"):
        function(gamma)


def test_a_mask_in_every_place_where_maps_come_in(tmp_path):
    words = "a masked array with .* hidden values"
    maps, truth = hidden(8, 32, 32), MapSet(kappa(8, 32, 32), 5.0)
    few = suite(truth.tensor(), 5.0, ["pdf"])
    places = {
        "a set": lambda: MapSet(maps, 5.0),
        "a condition": lambda: truth.with_given(noisy=maps),
        "conditions": lambda: as_arrays("x", {"noisy": maps}),
        "a writer": lambda: MapWriter(tmp_path / "a.zarr", 5.0).append(maps, 0),
        "a statistic of the suite": lambda: few["pdf"](maps),
        "a plot": lambda: plot.kappa_map(None, maps[0], 5.0),
        "a gallery": lambda: plot.gallery({"mine": maps}, 5.0),
        "a comparison": lambda: compare(
            truth, MapSet(kappa(8, 32, 32, seed=1), 5.0, simulation=np.arange(8) + 8),
            {"mine": maps}, statistics=few, look_at_maps=False, rounds=2,
        ),
    }  # fmt: skip
    for place, call in places.items():
        with pytest.raises(ValueError, match=words):
            call()
            pytest.fail(place)


def test_a_mask_in_a_widget():
    pytest.importorskip("anywidget")
    from lensnb import widgets

    for call in (widgets.explore, widgets.spot_the_fake):
        with pytest.raises(ValueError, match="'mine' is a masked array with .* hidden values"):
            call({"truth": kappa(8, 32, 32), "mine": hidden(8, 32, 32)}, side_deg=5)


def test_a_mask_that_hides_nothing_is_no_loss():
    maps = np.ma.masked_array(kappa(2, 8, 8), False)
    assert type(MapSet(maps, 5.0).maps) is np.ndarray
    assert torch.equal(moments(maps), moments(kappa(2, 8, 8)))


def test_values_with_a_unit_are_no_kappa():
    with pytest.raises(ValueError, match="has the unit K; expected values without a unit"):
        MapSet(kappa(2, 8, 8) * units.K, 5.0)
    assert MapSet(kappa(2, 8, 8) * units.dimensionless_unscaled, 5.0).maps.shape == (2, 8, 8)


# ---------------------------------------------------------------- arrays


def test_byte_order_and_direction_of_axes_do_not_matter(tmp_path):
    maps = kappa(2, 16, 16)
    expected = moments(maps)
    read_only = maps.copy()
    read_only.flags.writeable = False
    for same in (maps.astype(">f4"), maps[:, ::-1, ::-1][:, ::-1, ::-1], read_only):
        assert torch.equal(moments(same), expected)
        assert torch.equal(plain_tensor("maps", same), torch.from_numpy(maps))
    turned = moments(maps[:, ::-1])
    torch.testing.assert_close(turned, expected)


def test_arrays_of_h5py_and_lists_and_tensors(tmp_path):
    maps = kappa(3, 8, 8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["maps"] = maps
        sets = [MapSet(one, 5.0) for one in (file["maps"], maps.tolist(), torch.tensor(maps))]
    for one in sets:
        np.testing.assert_array_equal(one[[2, 0]].maps, maps[[2, 0]])


def test_a_memory_map_stays_one(tmp_path):
    np.save(tmp_path / "a.npy", kappa(2, 8, 8))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert plain_array("maps", mapped) is mapped


# ---------------------------------------------------------------- labels


def labels_of_h5py(tmp_path):
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["names"] = NAMES
        return file["names"][:]


LABELS = {
    "pandas": lambda _: pd.Series(NAMES),
    "categories": lambda _: pd.Series(NAMES, dtype="category"),
    "objects": lambda _: np.array(NAMES, object),
    "bytes": lambda _: np.array(NAMES, "S3"),
    "h5py": labels_of_h5py,
    "astropy": lambda _: tables.Table({"run": NAMES})["run"],
    "masked column": lambda _: tables.MaskedColumn(NAMES, mask=[False] * 8),
    "a list": lambda _: NAMES,
}


@pytest.mark.parametrize("make", LABELS.values(), ids=LABELS)
def test_names_from_anywhere_are_saved_and_come_back(tmp_path, make):
    pytest.importorskip("zarr")
    labels = make(tmp_path)
    one = MapSet(kappa(8, 8, 8), 5.0, simulation=labels)
    assert one.simulation.tolist() == NAMES and one.simulation.dtype.kind == "U"
    assert MapSet.load(one.save(tmp_path / "a.npz")).simulation.tolist() == NAMES
    with MapWriter(tmp_path / "a.zarr", 5.0) as writer:
        writer.append(one.maps, labels)
    assert open_maps(tmp_path / "a.zarr").simulation.tolist() == NAMES


@pytest.mark.parametrize(
    "labels, expected",
    [
        (pd.Series([3, 3, 7]), [3, 3, 7]),
        (pd.Series([3, 3, 7], dtype="Int64"), [3, 3, 7]),
        (np.array([3.0, 3.0, 7.0]), [3, 3, 7]),
        (np.array([3, np.int8(3), 7], object), [3, 3, 7]),
        (torch.tensor([3, 3, 7]), [3, 3, 7]),
        (np.array([2**63 - 1, 0, 1]), [2**63 - 1, 0, 1]),
    ],
)
def test_numbers_of_simulations_stay_whole(labels, expected):
    assert plain_labels("x", labels).tolist() == expected


MISSING = {
    "nan": [1.0, np.nan],
    "pandas NA": pd.Series([1, None], dtype="Int64"),
    "a name missing": pd.Series(["a", None]),
    "None": np.array(["a", None], object),
    "mixed": np.array(["a", 1], object),
    "truth": np.array([True, False]),
    "dates": np.array(["2026-01-01", "2026-01-02"], "M8[D]"),
    "hidden": np.ma.masked_array([1, 2], [True, False]),
}


@pytest.mark.parametrize("labels", MISSING.values(), ids=MISSING)
def test_labels_that_are_missing_or_none(labels):
    with pytest.raises(ValueError, match="whole numbers or names|hidden values"):
        MapSet(kappa(2, 8, 8), 5.0, simulation=labels)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "side",
    [
        np.float32(5),
        np.int64(5),
        np.array(5.0),
        torch.tensor(5.0),
        5 * units.deg,
        300 * units.arcmin,
    ],
)
def test_a_side_from_anywhere_is_saved(tmp_path, side):
    pytest.importorskip("zarr")
    np.save(tmp_path / "a.npy", kappa(2, 8, 8))
    found = open_maps(tmp_path / "a.npy", side, np.float32(1))
    assert type(found.side_deg) is float and type(found.z_source) is float
    assert MapSet.load(found.save(tmp_path / "a.npz")).side_deg == pytest.approx(5)
    MapWriter(tmp_path / "a.zarr", side).close()
    assert MapGrid(8, side).area > 0


@pytest.mark.parametrize("side", ["wide", [5, 5], 5 * units.Mpc, np.array([5.0, 6.0])])
def test_a_side_that_is_no_angle(side):
    with pytest.raises(ValueError, match="side_deg must be one number, found"):
        MapSet(kappa(2, 8, 8), side)


def test_redshifts_of_channels_from_an_array():
    found = MapSet(kappa(2, 2, 8, 8), 5.0, np.array([0.5, 1.0], "f4"))
    assert found.z_source == (0.5, 1.0) and json.dumps(found.z_source)


def test_a_provenance_with_numbers_of_numpy_is_saved(tmp_path):
    pytest.importorskip("zarr")
    about = {
        "a": np.float32(0.5),
        "b": {"c": np.arange(3)},
        "d": (np.int64(1), np.bool_(True)),
        "e": b"x",
    }
    plain = {"a": 0.5, "b": {"c": [0, 1, 2]}, "d": [1, True], "e": "x"}
    assert plain_json(about) == plain
    one = MapSet(kappa(2, 8, 8), 5.0, provenance=about)
    assert MapSet.load(one.save(tmp_path / "a.npz")).provenance == plain
    with MapWriter(tmp_path / "a.zarr", 5.0, provenance=about) as writer:
        writer.append(one.maps, 0)
    found = open_maps(tmp_path / "a.zarr").provenance
    assert {key: found[key] for key in plain} == plain


def test_a_provenance_with_objects_of_any_kind_is_saved(tmp_path):
    pytest.importorskip("zarr")
    about = {
        "file": Path("a") / "b.npy",
        "made": datetime(2026, 1, 2),
        "day": np.datetime64("2026-01-02"),
        "box": 3 * units.Mpc,
        "ell": torch.tensor([1, 2]),
        "names": {"x"},
    }
    plain = plain_json(about)
    assert plain == {
        "file": str(Path("a") / "b.npy"),
        "made": "2026-01-02 00:00:00",
        "day": "2026-01-02",
        "box": "3.0 Mpc",
        "ell": [1, 2],
        "names": "{'x'}",
    }
    one = MapSet(kappa(2, 8, 8), 5.0, provenance=about)
    assert MapSet.load(one.save(tmp_path / "a.npz")).provenance == plain
    with MapWriter(tmp_path / "a.zarr", 5.0, provenance=about) as writer:
        writer.append(one.maps, 0)


@pytest.mark.parametrize("value", [np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), True])
def test_a_whole_number_from_anywhere_is_one_of_python(value):
    found = plain_whole("x", value)
    assert type(found) is int and found == int(value)


@pytest.mark.parametrize("value", [1.5, 3.0, "3", None, np.float32(3), [3]])
def test_no_whole_number_is_one_sentence(value):
    with pytest.raises(ValueError, match="^x must be a whole number, found"):
        plain_whole("x", value)


def test_no_number_is_one_sentence():
    for value in ([1, 2], "five", None, units.Mpc):
        with pytest.raises(ValueError, match="^x must be one number, found"):
            plain_number("x", value, "deg")


# ---------------------------------------------------------------- marks in a comparison


@pytest.mark.parametrize("mark", [-1.6375e30, -99.0])
def test_a_comparison_names_the_set_that_holds_a_mark(mark):
    truth, null = (
        MapSet(kappa(8, 32, 32, seed=i), 5.0, simulation=np.arange(8) + 8 * i) for i in (0, 1)
    )
    mine = kappa(8, 32, 32, seed=2)
    mine[5, 3, 4] = mark
    few = suite(truth.tensor(), 5.0, ["pdf"])
    how = {"statistics": few, "look_at_maps": False, "rounds": 2}
    with pytest.raises(ValueError, match=r"^mine has 1 pixels with .* in map 5 of 8"):
        compare(truth, null, {"mine": mine}, **how)
