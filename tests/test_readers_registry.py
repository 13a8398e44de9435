"""The registry of formats: a class that registers itself is known to open_maps and convert."""

import numpy as np
import pytest

from lensnb.data import MapSet
from lensnb.maps.grid import check_shape
from lensnb.readers import FileMaps, Format, convert, formats, open_maps, register
from lensnb.readers.checks import checked
from lensnb.readers.entry import read_file
from lensnb.readers.filemaps import reading
from lensnb.readers.formats import Options, ends_in

KAPPA = np.random.default_rng(0).normal(0, 0.01, (2, 8, 8))


@pytest.fixture
def toy(monkeypatch):
    """A format of text files, in the registry for one test."""
    monkeypatch.setattr(formats, "FORMATS", list(formats.FORMATS))

    @register
    class Toy(Format):
        expected = (".toy",)
        takes = ("source",)

        def suits(self, path, asked):
            return ends_in(path, ".toy")

        def read(self, path, asked):
            with reading(path, "a table of numbers"):
                kappa = np.loadtxt(path)
            return FileMaps(kappa, 5.0, simulation=np.array([asked.source or 0]), named=True)

    return Toy


def write(folder):
    for i, kappa in enumerate(KAPPA):
        np.savetxt(folder / f"{i}.toy", kappa)
    return folder / "*.toy"


def test_a_new_format_is_read_and_converted(tmp_path, toy):
    pytest.importorskip("zarr")
    path = write(tmp_path)
    for found in (
        open_maps(path, z_source=1.0, source=7),
        convert(path, tmp_path / "set.zarr", z_source=1.0, source=7),
    ):
        np.testing.assert_array_equal(found.maps, KAPPA)
        assert (found.side_deg, found.z_source, found.simulation.tolist()) == (5.0, 1.0, [7, 7])
        assert found.provenance["files"][-1] in ("1.toy", "set.zarr")


@pytest.mark.parametrize("name, value", [("mask", "mask.npy"), ("signs", (1, -1))])
def test_a_new_format_refuses_what_it_does_not_take(tmp_path, toy, name, value):
    pytest.importorskip("zarr")
    path = write(tmp_path)
    sentence = f"0.toy is of a format for which the argument {name} means nothing; expected none"
    with pytest.raises(ValueError, match=sentence):
        open_maps(path, **{name: value})
    with pytest.raises(ValueError, match=sentence):
        convert(path, tmp_path / "set.zarr", **{name: value})
    assert not (tmp_path / "set.zarr").exists()


def test_a_new_format_is_named_among_the_expected_files(tmp_path, toy):
    (tmp_path / "maps.dat").touch()
    with pytest.raises(ValueError, match="no reader knows; expected a file of κ maps: .* or .toy"):
        open_maps(tmp_path / "maps.dat")
    (tmp_path / "bad.toy").write_text("κ")
    with pytest.raises(ValueError, match="bad.toy is not a table of numbers"):
        open_maps(tmp_path / "bad.toy")


def test_without_the_format_its_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="0.toy has a name that no reader knows") as caught:
        open_maps(write(tmp_path))
    assert ".toy" not in str(caught.value).split("expected")[1]


def test_a_file_that_two_formats_claim_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["kg/stage3_lensing1"] = file["z23/kappa"] = np.zeros(12)
    with pytest.raises(
        ValueError, match=r"has the keys kg, z23; expected kg \(CosmoGrid\) or z<NN> \(κTNG\)"
    ):
        open_maps(tmp_path / "maps.h5")


def test_expected_files_are_named_once():
    words = formats.expected_files().split(": ")[1].replace(" or ", ", ").split(", ")
    assert len(words) == len(set(words)) and {".npy", ".npz", ".zarr", ".fits.gz"} <= set(words)


def test_another_option_is_refused(tmp_path):
    with pytest.raises(TypeError, match="unexpected keyword argument 'pixls'"):
        convert(tmp_path / "maps.npy", tmp_path / "set.zarr", pixls=8)


# ---------------------------------------------------------------- channels


def test_stored_and_drawn_maps_may_have_channels_and_archives_may_not(tmp_path):
    zarr = pytest.importorskip("zarr")
    bins = np.random.default_rng(0).normal(0, 0.01, (3, 2, 8, 8)).astype(np.float32)
    zarr.create_array(str(tmp_path / "maps.zarr"), data=bins, chunks=(1, 2, 8, 8))
    np.save(tmp_path / "maps.npy", bins)
    np.savez(tmp_path / "maps.npz", bins=bins, one=bins[:, 0, :4])
    asked = Options(side_deg=5.0)
    one = read_file(tmp_path / "maps.zarr", asked)
    maps = checked(tmp_path / "maps.zarr", one, asked).maps
    check_shape("maps", maps.shape, n=8, channels=2)
    assert open_maps(tmp_path / "maps.npy", side_deg=5.0).channels == 2
    with pytest.raises(ValueError, match=r"has the shape \(3, 4, 8\); expected \(maps, n, n\)"):
        open_maps(tmp_path / "maps.npz", side_deg=5.0)


def test_saved_sets_may_have_channels(tmp_path):
    """Whatever MapSet allows: the reader passes on what MapSet.load gives."""
    MapSet(KAPPA, 5.0).save(tmp_path / "set.npz")
    assert read_file(tmp_path / "set.npz").channels
    np.savez(tmp_path / "other.npz", kappa=KAPPA)
    assert not read_file(tmp_path / "other.npz").channels
