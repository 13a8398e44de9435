"""Files that are no files, never written, too large, or that would run code when they are opened."""

import gzip
import json
import os
import pickle
import shutil

import numpy as np
import pytest

from lensnb.data import MapSet
from lensnb.readers import ktng, open_maps, save_zarr, slics
from lensnb.store import MapWriter

zarr = pytest.importorskip("zarr")
h5py = pytest.importorskip("h5py")
fits = pytest.importorskip("astropy.io.fits")


def kappa(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, shape).astype(np.float32)


def refuses(words: str, path, **how) -> None:
    how = {"side_deg": 5.0} | how
    with pytest.raises(ValueError, match=words) as caught:
        open_maps(path, **how)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------- zarr: chunks


@pytest.mark.parametrize("fill", [0, 0.01, -99])
@pytest.mark.parametrize("shards", [None, (8, 16, 16), (16, 16, 16)])
def test_maps_that_were_never_written_whatever_stands_for_them(tmp_path, fill, shards):
    path = tmp_path / "maps.zarr"
    array = zarr.create_array(
        str(path),
        shape=(16, 16, 16),
        chunks=(2, 16, 16),
        shards=shards,
        dtype="f4",
        fill_value=fill,
    )
    array[:] = kappa(16, 16, 16)
    np.testing.assert_array_equal(open_maps(path, 5.0).maps, kappa(16, 16, 16))
    array[4:6] = fill  # which zarr does not store
    refuses("is not a whole zarr folder", path)


def test_shards_of_channels_are_read_and_one_missing_chunk_is_found(tmp_path):
    maps = kappa(4, 2, 8, 8)
    how = {"chunks": (1, 2, 8, 8), "shards": (4, 2, 8, 8), "dtype": "f4", "shape": maps.shape}
    array = zarr.create_array(str(tmp_path / "a.zarr"), fill_value=0, **how)
    array[:3] = maps[:3]
    refuses("its chunk c/0/0/0/0: it is missing", tmp_path / "a.zarr")
    array[3] = maps[3]
    np.testing.assert_array_equal(open_maps(tmp_path / "a.zarr", 5.0).maps, maps)


@pytest.mark.parametrize("version", [2, 3])
def test_a_billion_declared_chunks_are_refused_at_once(tmp_path, version):
    path = tmp_path / "maps.zarr"
    array = zarr.create_array(
        str(path), shape=(10**9, 8, 8), chunks=(1, 8, 8), dtype="f4", zarr_format=version
    )
    array[:2] = kappa(2, 8, 8)
    refuses("2 of the 1000000000 chunks of its maps are there", path)


def test_one_declared_chunk_larger_than_memory_is_refused(tmp_path):
    path = tmp_path / "maps.zarr"
    zarr.create_array(str(path), shape=(10**9, 8, 8), chunks=(10**9, 8, 8), dtype="f4")
    refuses("its chunks take 238 GiB each", path)


def test_a_billion_declared_simulations(tmp_path):
    path = tmp_path / "maps.zarr"
    group = zarr.open_group(str(path), mode="w")
    group.create_array("maps", data=kappa(2, 8, 8))
    group.create_array("simulation", shape=(10**9,), chunks=(1,), dtype="i8")
    refuses(r"simulation numbers of the shape \(1000000000,\)", path)


# ---------------------------------------------------------------- zarr: simulations


@pytest.fixture
def named(tmp_path):
    save_zarr(MapSet(kappa(6, 8, 8), 5.0, simulation=list("aabbcc")), tmp_path / "set.zarr")
    return tmp_path / "set.zarr"


def test_a_set_without_the_chunk_of_its_simulations(named):
    (named / "simulation" / "0").unlink()
    refuses("0 of the 1 chunks of its simulation are there", named)
    with pytest.raises(ValueError, match="chunks of its simulation|no set that lensnb wrote"):
        MapWriter(named, 5.0).simulation  # noqa: B018


def test_a_set_without_its_simulations(named):
    shutil.rmtree(named / "simulation")
    refuses("its array simulation is missing", named)


def test_a_set_with_numbers_that_have_no_name(named):
    about = json.loads((named / "zarr.json").read_text())
    about["attributes"]["names"] = ["a", "b"]
    about.pop("consolidated_metadata", None)
    (named / "zarr.json").write_text(json.dumps(about))
    refuses("its simulation holds numbers beyond its 2 names", named)


@pytest.mark.parametrize("name", ["simulation", "labels"])
@pytest.mark.parametrize("shards", [None, (8,)])
@pytest.mark.parametrize("version", [2, 3])
def test_simulations_of_others_that_were_written_in_part(tmp_path, name, shards, version):
    if shards and version == 2:
        pytest.skip("version 2 has no shards")
    path = tmp_path / "maps.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    group.create_array("maps", data=kappa(8, 8, 8))
    how = {"shape": (8,), "chunks": (2,), "shards": shards, "dtype": "i8", "fill_value": -1}
    numbers = group.create_array(name, **how)
    numbers[:4] = np.arange(4)
    refuses(f"of its {name} are", path)
    given = open_maps(path, 5.0, simulation=[0, 0, 1, 1, 2, 2, 3, 3])
    assert given.simulations.tolist() == [0, 1, 2, 3]
    numbers[4:] = np.arange(4)
    assert open_maps(path, 5.0).simulation.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def test_conditions_of_others_that_were_written_in_part(tmp_path):
    path = tmp_path / "maps.zarr"
    group = zarr.open_group(str(path), mode="w")
    group.create_array("maps", data=kappa(8, 8, 8))
    sigma8 = group.create_group("given").create_array(
        "sigma8", shape=(8,), chunks=(4,), dtype="f4"
    )
    sigma8[:4] = 0.8
    refuses("1 of the 2 chunks of its sigma8 are there", path)


@pytest.mark.parametrize("labels", [[0.0, np.nan], [0.5, 1.0], [np.inf, 1.0]])
def test_labels_that_are_no_numbers_of_simulations(tmp_path, labels):
    group = zarr.open_group(str(tmp_path / "maps.zarr"), mode="w")
    group.create_array("maps", data=kappa(2, 8, 8))
    group.create_array("labels", data=np.array(labels))
    refuses("expected whole numbers or names of simulations", tmp_path / "maps.zarr")
    with pytest.raises(ValueError, match="expected whole numbers or names of simulations"):
        MapSet(kappa(2, 8, 8), 5.0, simulation=labels)


# ---------------------------------------------------------------- zarr: code in a file


class Evil:
    """What it does when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def with_object_labels(path, codec: dict, chunk: bytes):
    """A group of zarr version 2 whose labels are objects, made by hand."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("maps", data=kappa(2, 8, 8))
    (path / "labels").mkdir()
    about = {
        "zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "|O", "order": "C",
        "fill_value": None, "compressor": None, "filters": [codec],
    }  # fmt: skip
    (path / "labels" / ".zarray").write_text(json.dumps(about))
    (path / "labels" / "0").write_bytes(chunk)
    return path


def test_a_pickle_in_the_labels_is_never_loaded(tmp_path, monkeypatch):
    numcodecs = pytest.importorskip("numcodecs")
    # What older versions of numcodecs always did.
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    chunk = pickle.dumps([Evil(tmp_path / "ran"), 1])
    path = with_object_labels(tmp_path / "maps.zarr", {"id": "pickle"}, chunk)
    refuses("labels/.zarray has the codec pickle, which is not one of plain numbers", path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(chunk)
    assert (tmp_path / "ran").exists()  # it would have


@pytest.mark.parametrize("codec", ["json2", "msgpack2", "vlen-array", "categorize", "mine"])
def test_other_codecs_of_objects(tmp_path, codec):
    path = with_object_labels(tmp_path / "maps.zarr", {"id": codec}, b"")
    refuses(f"has the codec {codec}", path)


@pytest.mark.parametrize("place", ["maps/zarr.json", "given/noisy/zarr.json", "zarr.json"])
def test_a_codec_anywhere_in_the_metadata(tmp_path, place):
    set_ = MapSet(kappa(2, 8, 8), 5.0, given={"noisy": kappa(2, 8, 8)})
    path = save_zarr(set_, tmp_path / "set.zarr")
    file = path / place
    about = json.loads(file.read_text())
    about["codecs"] = [
        {"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}
    ]
    file.write_text(json.dumps(about))
    refuses("has the codec numcodecs.pickle", path)


def test_an_attribute_may_be_called_codecs(tmp_path):
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=kappa(2, 8, 8))
    array.attrs["codecs"] = [{"name": "pickle"}]
    assert len(open_maps(tmp_path / "a.zarr", 5.0)) == 2


@pytest.mark.parametrize("version", [2, 3])
def test_names_as_text_of_variable_length_are_read(tmp_path, version):
    group = zarr.open_group(str(tmp_path / "maps.zarr"), mode="w", zarr_format=version)
    group.create_array("maps", data=kappa(3, 8, 8))
    names = group.create_array("labels", shape=(3,), dtype="string")
    names[:] = np.array(["run 1", "run 1", "κ"], dtype=object)
    assert open_maps(tmp_path / "maps.zarr", 5.0).simulation.tolist() == ["run 1", "run 1", "κ"]


# ---------------------------------------------------------------- no files, and packed ones


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.fits", "a.h5", "1.0kappa_weight.dat_LOS1"])
def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    refuses("is a pipe, a socket or a device", tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    refuses("is a pipe, a socket or a device", tmp_path / name)


@pytest.mark.parametrize("name", ["zarr.json", "maps/zarr.json", "maps/.zarray", ".zattrs"])
def test_metadata_of_zarr_that_are_no_files(tmp_path, name):
    path = tmp_path / "set.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if "json" in name else 2)
    group.create_array("maps", data=kappa(2, 8, 8))
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    refuses(f"{name} is no file", path)
    (path / name).unlink()
    (path / name).symlink_to("/dev/zero")
    refuses(f"{name} is no file", path)


def test_pipes_as_simulation_and_as_mask(tmp_path):
    np.save(tmp_path / "a.npy", kappa(2, 8, 8))
    os.mkfifo(tmp_path / "pipe.npy")
    for how in (
        {"simulation": tmp_path / "pipe.npy"},
        {"mask": tmp_path / "pipe.npy", "pixels": 4},
    ):
        with pytest.raises(ValueError, match="pipe.npy is a pipe, a socket or a device"):
            open_maps(tmp_path / "a.npy", 5.0, **how)


def test_a_packed_file_that_becomes_far_larger(tmp_path):
    """A header of FITS, and then zeros: 64 MiB from 65 kB. κ does not compress to a thousandth."""
    fits.PrimaryHDU(kappa(16, 16)).writeto(tmp_path / "a.fits")
    raw = (tmp_path / "a.fits").read_bytes()
    for name in ("a.fits.gz", "a.fit.gz"):
        with gzip.open(tmp_path / name, "wb") as file:
            file.write(raw + bytes(2**26))
        refuses("is not a whole FITS file .* becomes more than", tmp_path / name)
    with gzip.open(tmp_path / "b.fits.gz", "wb") as file:
        file.write(raw)
    assert len(open_maps(tmp_path / "b.fits.gz", 5.0)) == 1


def test_an_archive_that_becomes_far_larger(tmp_path):
    maps = kappa(2, 8, 8)
    np.savez_compressed(tmp_path / "a.npz", maps=maps, other=np.zeros(2**24))
    refuses("is not a whole .npz archive .* and becomes", tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "b.npz", maps=maps, other=np.zeros(100))
    assert len(open_maps(tmp_path / "b.npz", 5.0)) == 2


# ---------------------------------------------------------------- never written


def test_sparse_files_are_no_maps(tmp_path, monkeypatch):
    monkeypatch.setattr(slics, "_PIXELS", 65)
    monkeypatch.setattr(ktng, "_PIXELS", 16)
    path = tmp_path / "0.042kappa_weight.dat_LOS1"
    with open(path, "wb") as file:
        file.truncate(4 * 65**2)
    refuses("has only one value, 0", path, side_deg=None)
    half = kappa(65, 65)
    half[30:] = 0
    path.write_bytes(half.tobytes())
    refuses("is exactly 0 in 5.*% of the pixels", path, side_deg=None)
    np.save(tmp_path / "a.npy", kappa(2, 16, 16))
    size = (tmp_path / "a.npy").stat().st_size
    os.truncate(tmp_path / "a.npy", size - 4 * 256)
    os.truncate(tmp_path / "a.npy", size)  # the second map is a hole
    refuses("has only one value, 0, in map 1 of 2", tmp_path / "a.npy")


@pytest.mark.parametrize("chunks", [None, (4, 4)])
@pytest.mark.parametrize("written", [0, 4, 16])
def test_hdf5_that_was_not_wholly_written(tmp_path, monkeypatch, chunks, written):
    monkeypatch.setattr(ktng, "_PIXELS", 16)
    path = tmp_path / "LP001_run001_maps.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("z23/kappa", (16, 16), "f4", chunks=chunks, fillvalue=0.01)
        if written:
            data[:written] = kappa(16, 16)[:written]
    if written == 16:
        assert len(open_maps(path)) == 1
    elif chunks or not written:  # what was written of one block cannot be told from the rest
        refuses("z23/kappa, of which not all was written", path, side_deg=None)


def test_hdf5_of_a_sky_that_was_never_written(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kg/stage3_lensing1", (12 * 16**2,), "f4", chunks=(256,))
    how = {"side_deg": 20.0, "pixels": 8, "source": 1}
    refuses("kg/stage3_lensing1, of which not all was written", tmp_path / "a.h5", **how)


TEXT = np.array(["kappa"] * 4, dtype=object)


@pytest.mark.parametrize("data", [TEXT, np.arange(4), np.zeros(4, "c8"), None], ids=str)
def test_hdf5_of_something_else(tmp_path, data):
    for name, how in (("z23/kappa", {}), ("kg/stage3_lensing1", {"source": 1, "pixels": 8})):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            if data is None:
                file.create_group(name)
            else:
                file[name] = data.astype(h5py.string_dtype()) if data.dtype == object else data
        refuses("of type .*; expected floating-point κ", tmp_path / "a.h5", **how)


# ---------------------------------------------------------------- sets that say odd things

ABOUT = {"side_deg": 5.0, "z_source": 1.0, "provenance": {}}
ODD = {
    "no json": ("{", "Expecting|JSON"),
    "a list": ("[1]", "its key about holds list"),
    "a number": ("5", "its key about holds int"),
    "nothing": ("{}", "its key about lacks provenance, side_deg, z_source"),
    "no side": (json.dumps({**ABOUT, "side_deg": None}), "side_deg must be"),
    "a text": (json.dumps({**ABOUT, "side_deg": "wide"}), "side_deg must be one number"),
    "redshifts": (json.dumps({**ABOUT, "z_source": [1, 2, 3]}), "source redshifts"),
    "words": (json.dumps({**ABOUT, "z_source": "far"}), "z_source must be one number"),
    "provenance": (json.dumps({**ABOUT, "provenance": [1]}), "its provenance is not"),
    "an array": (np.arange(3), "about|JSON|Extra data|Expecting"),
}


@pytest.mark.parametrize("about, words", ODD.values(), ids=ODD)
def test_an_archive_with_an_odd_about(tmp_path, about, words):
    path = tmp_path / "a.npz"
    np.savez(path, maps=kappa(2, 8, 8), simulation=np.arange(2), about=about)
    refuses(words, path, side_deg=None)


@pytest.mark.parametrize("side", [0.0, -5.0, 720.0])
def test_a_side_that_is_none_of_a_flat_field(tmp_path, side):
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=kappa(2, 8, 8))
    array.attrs["side_deg"] = side
    refuses(
        "field size; expected one positive|expected a flat field",
        tmp_path / "a.zarr",
        side_deg=None,
    )
    np.savez(tmp_path / "a.npz", maps=kappa(2, 8, 8), side_deg=side)
    refuses(
        "field size; expected one positive|expected a flat field",
        tmp_path / "a.npz",
        side_deg=None,
    )


def test_a_provenance_that_is_no_dictionary(tmp_path):
    array = zarr.create_array(str(tmp_path / "a.zarr"), data=kappa(2, 8, 8))
    array.attrs["provenance"] = ["made", "here"]
    refuses("has a provenance that is no dictionary", tmp_path / "a.zarr")
