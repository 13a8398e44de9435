"""Readers: every format that is taken, and one sentence for everything that is not."""

import gzip
import math
import re
import subprocess
import sys

import numpy as np
import pytest

from lensnb.data import MapSet
from lensnb.readers import open_maps

fits = pytest.importorskip("astropy.io.fits")


@pytest.fixture
def kappa() -> np.ndarray:
    """Five maps of 16 × 16 pixels, float32."""
    return np.random.default_rng(0).normal(0, 0.01, (5, 16, 16)).astype(np.float32)


def write_fits(path, image, **cards):
    hdu = fits.PrimaryHDU(image)
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


def refuses(words: str, path, error=ValueError, **keywords) -> str:
    """One sentence that names the file and holds the ``words`` (a pattern), with no other error of
    ours behind it.
    """
    with pytest.raises(error) as caught:
        open_maps(path, **keywords)
    message = str(caught.value)
    assert re.search(words, message), message
    assert "\n" not in message and (isinstance(path, list) or str(path) in message)
    assert caught.value.__cause__ is None and (
        caught.value.__context__ is None or caught.value.__suppress_context__
    )
    return message


# ---------------------------------------------------------------- npy


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2"])
def test_npy_of_many_maps(tmp_path, kappa, dtype):
    np.save(tmp_path / "maps.npy", kappa.astype(dtype))
    maps = open_maps(tmp_path / "maps.npy", side_deg=5, z_source=1.0)
    np.testing.assert_array_equal(maps.maps, kappa.astype(dtype))
    assert maps.maps.dtype.isnative and maps.maps.dtype == np.dtype(dtype).newbyteorder("=")
    assert (maps.side_deg, maps.z_source, maps.provenance) == (5, 1.0, {"files": ["maps.npy"]})
    assert maps.simulation.tolist() == [0, 1, 2, 3, 4]
    assert maps.tensor().shape == (5, 16, 16)


def test_npy_of_one_map_in_either_order(tmp_path, kappa):
    np.save(tmp_path / "map.npy", np.asfortranarray(kappa[0]))
    maps = open_maps(str(tmp_path / "map.npy"), side_deg=5)
    np.testing.assert_array_equal(maps.maps, kappa[:1])
    assert math.isnan(maps.z_source)


def test_npy_stays_on_disk(tmp_path, kappa):
    np.save(tmp_path / "maps.npy", kappa)
    maps = open_maps(tmp_path / "maps.npy", side_deg=5).maps
    assert isinstance(maps, np.memmap) and not maps.flags.writeable


def test_suffix_in_capitals(tmp_path, kappa):
    write_fits(tmp_path / "MAP.FITS", kappa[0], ANGLE=3.5)
    assert len(open_maps(tmp_path / "MAP.FITS")) == 1


@pytest.mark.parametrize("keep", [0, 5, 60, 128, 1000])
def test_truncated_npy(tmp_path, kappa, keep):
    path = tmp_path / "maps.npy"
    np.save(path, kappa)
    path.write_bytes(path.read_bytes()[:keep])
    refuses("is not a whole .npy file", path, side_deg=5)


def test_npy_of_objects_is_never_unpickled(tmp_path):
    path = tmp_path / "maps.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refuses("is not a whole .npy file of plain numbers .*Python objects", path, side_deg=5)


def test_text_called_npy(tmp_path):
    path = tmp_path / "maps.npy"
    path.write_text("κ, but not as numpy writes it" * 10)
    refuses("is not a whole .npy file", path, side_deg=5)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 16, 16), np.int16),
        np.zeros((2, 16, 16), np.complex64),
        np.zeros((2, 16, 16), bool),
        np.full((2, 16, 16), "κ"),
        np.zeros((16, 16), [("kappa", "f4")]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_values_that_are_not_floating_point(tmp_path, array):
    np.save(tmp_path / "maps.npy", array)
    refuses("expected floating-point κ", tmp_path / "maps.npy", side_deg=5)


@pytest.mark.parametrize(
    "shape", [(), (64,), (4, 8), (3, 16, 8), (0, 16, 16), (2, 2, 8, 4), (3, 1, 1)], ids=str
)
def test_arrays_that_are_not_square_maps(tmp_path, shape):
    np.save(tmp_path / "maps.npy", np.zeros(shape, np.float32))
    refuses(
        f"{re.escape(str(shape))}; expected (.maps, n, n|at least one map)",
        tmp_path / "maps.npy",
        side_deg=5,
    )


# ---------------------------------------------------------------- pixels


def test_nan_and_infinity_are_counted(tmp_path, kappa):
    kappa[2, 3, 4] = np.nan
    kappa[4, 0, :2] = np.inf, -np.inf
    np.save(tmp_path / "maps.npy", kappa)
    refuses(
        "3 pixels that are NaN or infinite, the first in map 2 of 5",
        tmp_path / "maps.npy",
        side_deg=5,
    )


def test_bulk_that_cannot_be_kappa(tmp_path, kappa):
    kappa[3] = 500
    np.save(tmp_path / "maps.npy", kappa)
    refuses("cannot be κ: .* 500 in map 3 of 5", tmp_path / "maps.npy", side_deg=5)


def test_a_few_huge_pixels_pass(tmp_path, kappa):
    kappa[1, 5, 5] = 30
    np.save(tmp_path / "maps.npy", kappa)
    assert open_maps(tmp_path / "maps.npy", side_deg=5).maps.max() == 30


def test_half_precision_near_its_largest_value(tmp_path):
    np.save(tmp_path / "maps.npy", np.full((1, 16, 16), 65000, np.float16))
    refuses("cannot be κ", tmp_path / "maps.npy", side_deg=5)


# ---------------------------------------------------------------- npz


def test_npz_of_a_map_set(tmp_path, kappa):
    before = MapSet(kappa, 3.5, 0.7, np.array([4, 4, 1, 1, 7]), {"made": "here"})
    before.save(tmp_path / "set.npz")
    maps = open_maps(tmp_path / "set.npz")
    np.testing.assert_array_equal(maps.maps, kappa)
    assert maps.simulation.tolist() == [4, 4, 1, 1, 7]
    assert (maps.side_deg, maps.z_source) == (3.5, 0.7)
    assert maps.provenance == {"made": "here", "files": ["set.npz"]}


def test_npz_of_lenstools(tmp_path, kappa):
    np.savez(tmp_path / "map.npz", kappa[0].astype(float), angle_deg=3.5)
    maps = open_maps(tmp_path / "map.npz")
    assert maps.side_deg == 3.5 and maps.maps.shape == (1, 16, 16)


def test_npz_with_one_array_of_maps(tmp_path, kappa):
    np.savez_compressed(tmp_path / "maps.npz", kappa=kappa, seeds=np.arange(5), note="hello")
    np.testing.assert_array_equal(open_maps(tmp_path / "maps.npz", side_deg=2).maps, kappa)


def test_npz_with_two_arrays_names_its_keys(tmp_path, kappa):
    np.savez(tmp_path / "maps.npz", clean=kappa, noisy=kappa)
    refuses(
        r"2 floating-point arrays .*\(clean, noisy\); expected exactly one",
        tmp_path / "maps.npz",
        side_deg=5,
    )


def test_npz_without_maps_names_its_keys(tmp_path):
    np.savez(tmp_path / "maps.npz", seeds=np.arange(5))
    refuses(
        r"0 floating-point arrays .*\(seeds\); expected exactly one",
        tmp_path / "maps.npz",
        side_deg=5,
    )


@pytest.mark.parametrize("key", ["simulation", "labels"])
@pytest.mark.parametrize("values", [[4, 4, 1, 1, 7], list("ccaab")])
def test_npz_with_simulations_of_its_own(tmp_path, kappa, key, values):
    path = tmp_path / "maps.npz"
    np.savez(path, maps=kappa, side_deg=5.0, z_source=0.7, **{key: values})
    maps = open_maps(path)
    assert maps.simulation.tolist() == values and maps.z_source == 0.7
    refuses("says z_source = 0.7; the argument says 1", path, z_source=1.0)
    assert len(open_maps(path, simulation="each").simulations) == 5


def test_npz_with_simulations_that_do_not_fit(tmp_path, kappa):
    path = tmp_path / "maps.npz"
    np.savez(path, maps=kappa, side_deg=5.0, simulation=np.arange(4))
    words = r"has simulation of the shape \(4,\); expected \(5,\), one simulation a map"
    refuses(words, path)
    assert open_maps(path, simulation=np.arange(5)).simulation.tolist() == [0, 1, 2, 3, 4]
    np.savez(path, maps=kappa, side_deg=5.0, labels=[0.5, 1, 1, 2, 2])
    refuses("expected whole numbers or names of simulations", path)
    np.savez(path, maps=kappa[0], side_deg=5.0, simulation=3)
    assert open_maps(path).simulation.tolist() == [3]


@pytest.mark.parametrize("z", [np.nan, [np.nan] * 5, 0.7, [0.7] * 5, np.float32(0.7)])
def test_npz_with_one_redshift_or_an_unknown_one(tmp_path, kappa, z):
    np.savez(tmp_path / "maps.npz", maps=kappa, side_deg=5.0, zs=z)
    expected = pytest.approx(np.ravel(z)[0], nan_ok=True)
    assert open_maps(tmp_path / "maps.npz").z_source == expected


@pytest.mark.parametrize("z", [-1.0, "far", [0.5, 1.0]])
def test_npz_with_a_redshift_that_is_none(tmp_path, kappa, z):
    np.savez(tmp_path / "maps.npz", maps=kappa, side_deg=5.0, z_source=z)
    refuses("as its key z_source; expected one positive number", tmp_path / "maps.npz")


@pytest.mark.parametrize("keep", [0, 3, 200, 0.5, -1])
@pytest.mark.parametrize("ours", [True, False])
def test_truncated_npz(tmp_path, kappa, keep, ours):
    path = tmp_path / "maps.npz"
    MapSet(kappa, 5.0).save(path) if ours else np.savez(path, kappa)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    refuses("is not a whole .npz archive", path, side_deg=5)


@pytest.mark.parametrize("ours", [True, False])
def test_damaged_npz(tmp_path, kappa, ours):
    path = tmp_path / "maps.npz"
    MapSet(kappa, 5.0).save(path) if ours else np.savez(path, kappa)
    damaged = bytearray(path.read_bytes())
    damaged[1000:1010] = bytes(10)
    path.write_bytes(damaged)
    refuses("is not a whole", path, side_deg=5)


def test_npz_of_objects_is_never_unpickled(tmp_path):
    path = tmp_path / "maps.npz"
    np.savez(path, maps=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refuses("is not a whole .npz archive of plain numbers .*Object arrays", path, side_deg=5)


@pytest.mark.parametrize("angle", [0.0, np.nan, "wide", [3.5, 3.5]])
def test_npz_with_a_field_size_that_is_none(tmp_path, kappa, angle):
    np.savez(tmp_path / "map.npz", kappa[0], angle_deg=angle)
    refuses("as its field size; expected one positive number", tmp_path / "map.npz")


# ---------------------------------------------------------------- FITS


@pytest.mark.parametrize("suffix", [".fits", ".fit", ".fits.gz", ".fit.gz"])
def test_fits_image(tmp_path, kappa, suffix):
    path = write_fits(
        tmp_path / f"map{suffix}",
        kappa[0].astype(">f4"),
        ANGLE=3.5,
        Z=0.74,
        ITYPE="ConvergenceMap",
    )
    maps = open_maps(path)
    np.testing.assert_array_equal(maps.maps, kappa[:1])
    assert maps.maps.dtype == np.float32 and maps.maps.dtype.isnative
    assert (maps.side_deg, maps.z_source) == (3.5, 0.74)


def test_fits_cube(tmp_path, kappa):
    assert len(open_maps(write_fits(tmp_path / "maps.fits", kappa, ANGLE=3.5))) == 5


def test_fits_without_redshift_takes_the_callers(tmp_path, kappa):
    path = write_fits(tmp_path / "map.fits", kappa[0], ANGLE=3.5)
    assert math.isnan(open_maps(path).z_source)
    assert open_maps(path, z_source=1.5).z_source == 1.5


def test_fits_pattern_in_natural_order(tmp_path, kappa):
    for i, number in enumerate([1, 2, 10, 20, 100]):
        write_fits(tmp_path / f"map_{number}.fits", kappa[i], ANGLE=3.5)
    maps = open_maps(tmp_path / "map_*.fits")
    np.testing.assert_array_equal(maps.maps, kappa)
    assert maps.provenance["files"] == [f"map_{n}.fits" for n in (1, 2, 10, 20, 100)]
    assert maps.simulation.tolist() == [0, 1, 2, 3, 4]


def test_list_keeps_its_order(tmp_path, kappa):
    files = [
        write_fits(tmp_path / f"{name}.fits", kappa[i], ANGLE=3.5) for i, name in enumerate("bac")
    ]
    np.testing.assert_array_equal(open_maps([str(file) for file in files]).maps, kappa[:3])


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path, kappa):
    path = write_fits(tmp_path / "map[1].fits", kappa[0], ANGLE=3.5)
    assert len(open_maps(path)) == 1


@pytest.mark.parametrize("keep", [0, 100, 2879, 2880, 3000, 3903])
@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_truncated_fits(tmp_path, kappa, keep, suffix):
    path = write_fits(tmp_path / "map.fits", kappa[0], ANGLE=3.5)
    part = path.read_bytes()[:keep]
    path = tmp_path / f"part{suffix}"
    path.write_bytes(gzip.compress(part) if suffix.endswith("gz") else part)
    refuses("is not a whole FITS file", path)


def test_truncated_gzip(tmp_path, kappa):
    path = write_fits(tmp_path / "map.fits.gz", kappa[0], ANGLE=3.5)
    path.write_bytes(path.read_bytes()[:-200])
    refuses("is not a whole FITS file", path)


def test_fits_without_field_size(tmp_path, kappa):
    path = write_fits(tmp_path / "map.fits", kappa[0])
    refuses("does not say how large its field is; expected the argument side_deg", path)
    assert open_maps(path, side_deg=3.5).side_deg == 3.5


def test_fits_with_its_side_in_mpc(tmp_path, kappa):
    path = write_fits(tmp_path / "map.fits", kappa[0], SIDE=240.0)
    refuses(r"SIDE = 240\.0 Mpc, which is no angle; expected the argument side_deg", path)
    assert open_maps(path, side_deg=3.5).side_deg == 3.5


@pytest.mark.parametrize("angle", [0.0, -3.5, "3.5 degrees"])
def test_fits_with_a_field_size_that_is_none(tmp_path, kappa, angle):
    refuses(
        "as its card ANGLE; expected", write_fits(tmp_path / "map.fits", kappa[0], ANGLE=angle)
    )


def test_fits_of_integers(tmp_path):
    path = write_fits(tmp_path / "map.fits", np.zeros((16, 16), np.int16), ANGLE=3.5)
    refuses("int16; expected floating-point κ", path)


def test_fits_of_shear(tmp_path, kappa):
    path = write_fits(tmp_path / "shear.fits", kappa[:2], ANGLE=3.5, ITYPE="ShearMap")
    refuses("a ShearMap .*expected a ConvergenceMap", path)


def test_fits_table(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("kappa", "E", array=np.zeros(9))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "catalogue.fits")
    refuses(
        "has the columns kappa of numbers; expected x_arcmin",
        tmp_path / "catalogue.fits",
        side_deg=1,
        pixels=8,
    )


def test_fits_without_an_image_or_a_table(tmp_path):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((4, 4)))]).writeto(
        tmp_path / "map.fits"
    )
    refuses("no primary image, only ImageHDU; expected", tmp_path / "map.fits", side_deg=1)


def test_fits_without_astropy_names_the_extra(tmp_path, kappa, monkeypatch):
    path = write_fits(tmp_path / "map.fits", kappa[0], ANGLE=3.5)
    for name in [name for name in sys.modules if name.split(".")[0] == "astropy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "astropy", None)
    refuses(r"needs astropy.*pip install 'lensnb\[formats\]'", path, ImportError)


# -------------------- which files, and what they must agree on


def test_missing_file(tmp_path):
    refuses(
        "does not exist; expected a file of κ maps",
        tmp_path / "none.npy",
        FileNotFoundError,
        side_deg=5,
    )


def test_pattern_without_a_match(tmp_path):
    refuses("no file matches the pattern", tmp_path / "*.fits", FileNotFoundError)


def test_empty_list():
    refuses("the list of files is empty", [])


def test_folder(tmp_path):
    refuses(r"is a folder; expected .*\*\.fits", tmp_path)


def test_unknown_suffix(tmp_path):
    (tmp_path / "maps.dat").write_bytes(bytes(100))
    refuses(r"no reader knows; expected .*\.npy", tmp_path / "maps.dat")


def test_contradiction_of_the_caller(tmp_path, kappa):
    path = write_fits(tmp_path / "map.fits", kappa[0], ANGLE=3.5, Z=1.0)
    refuses("says side_deg = 3.5; the argument says 5", path, side_deg=5)
    refuses("says z_source = 1; the argument says 0.5", path, z_source=0.5)
    maps = open_maps(path, side_deg=3.5001, z_source=1)
    assert (maps.side_deg, maps.z_source) == (3.5, 1.0)


@pytest.mark.parametrize("side", [0, -5, math.nan, math.inf, 300])
def test_side_that_is_none(tmp_path, kappa, side):
    np.save(tmp_path / "maps.npy", kappa)
    with pytest.raises(
        ValueError, match="side_deg must be .*(degrees, above 0|below 180 degrees), found"
    ):
        open_maps(tmp_path / "maps.npy", side_deg=side)


def test_npy_without_field_size(tmp_path, kappa):
    np.save(tmp_path / "maps.npy", kappa)
    refuses(
        "expected the argument side_deg, the side of the field in degrees", tmp_path / "maps.npy"
    )


def test_negative_redshift(tmp_path, kappa):
    np.save(tmp_path / "maps.npy", kappa)
    with pytest.raises(ValueError, match="z_source must be positive and finite, found -1"):
        open_maps(tmp_path / "maps.npy", side_deg=5, z_source=-1)


@pytest.mark.parametrize(
    "image, cards, words",
    [
        (
            np.zeros((16, 16)),
            {"ANGLE": 5.0},
            "16 × 16 pixels over 5°; expected 16 × 16 pixels over 3.5°, as in",
        ),
        (np.zeros((8, 8)), {"ANGLE": 3.5}, "8 × 8 pixels over 3.5°; expected 16 × 16"),
        (np.zeros((16, 16)), {"ANGLE": 3.5, "Z": 0.5}, "z_source = 0.5; expected 1, as in"),
        (np.zeros((16, 16)), {"ANGLE": 3.5}, "z_source = nan; expected 1, as in"),
    ],
)
def test_files_that_disagree(tmp_path, kappa, image, cards, words):
    first = write_fits(tmp_path / "a.fits", kappa[0], ANGLE=3.5, Z=1.0)
    second = write_fits(tmp_path / "b.fits", image, **cards)
    assert str(second) in refuses(words, [first, second])


# ---------------------------------------------------------------- simulations


def test_simulations_from_an_array_or_a_file(tmp_path, kappa):
    np.save(tmp_path / "maps.npy", kappa)
    np.save(tmp_path / "simulation.npy", np.array([3.0, 3, 1, 1, 1]))
    for simulation in (
        [3, 3, 1, 1, 1],
        tmp_path / "simulation.npy",
        str(tmp_path / "simulation.npy"),
    ):
        maps = open_maps(tmp_path / "maps.npy", side_deg=5, simulation=simulation)
        assert maps.simulation.tolist() == [3, 3, 1, 1, 1] and maps.simulation.dtype.kind == "i"
    names = open_maps(tmp_path / "maps.npy", side_deg=5, simulation=["a", "a", "b", "b", "c"])
    assert names.simulations.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "simulation, words",
    [
        ([1, 2], r"shape \(2,\); expected \(5,\), one simulation a map"),
        ([[1, 2, 3, 4, 5]], "one simulation a map"),
        ([0.5, 1, 2, 3, 4], "expected whole numbers or names"),
        ([math.nan, 1, 2, 3, 4], "expected whole numbers or names"),
        ([math.inf, 1, 2, 3, 4], "expected whole numbers or names"),
        ([None, 1, 2, 3, 4], "expected whole numbers or names"),
    ],
)
def test_simulations_that_are_none(tmp_path, kappa, simulation, words):
    np.save(tmp_path / "maps.npy", kappa)
    with pytest.raises(ValueError, match=words):
        open_maps(tmp_path / "maps.npy", side_deg=5, simulation=simulation)


def test_simulation_file_missing_or_broken(tmp_path, kappa):
    np.save(tmp_path / "maps.npy", kappa)
    with pytest.raises(
        FileNotFoundError, match="none.npy does not exist; expected .* one simulation a map"
    ):
        open_maps(tmp_path / "maps.npy", side_deg=5, simulation=tmp_path / "none.npy")
    (tmp_path / "simulation.npy").write_bytes(b"simulation")
    with pytest.raises(ValueError, match="simulation.npy is not a whole .npy file"):
        open_maps(tmp_path / "maps.npy", side_deg=5, simulation=tmp_path / "simulation.npy")


def test_tiles_have_the_simulation_of_their_maps_or_their_own(tmp_path, kappa):
    np.save(tmp_path / "maps.npy", kappa)
    n, half = kappa.shape[-1], kappa.shape[-1] // 2
    own = open_maps(tmp_path / "maps.npy", side_deg=5, tile=half)
    assert own.maps.shape == (4 * len(kappa), half, half) and own.side_deg == 5 * half / n
    assert own.simulation.tolist() == np.repeat(np.arange(len(kappa)), 4).tolist()
    np.testing.assert_array_equal(own.maps[1], kappa[0][:half, half : 2 * half])
    simulation = np.repeat(7, len(kappa))
    assert set(
        open_maps(tmp_path / "maps.npy", side_deg=5, simulation=simulation, tile=half).simulation
    ) == {7}
    each = open_maps(tmp_path / "maps.npy", side_deg=5, simulation="each", tile=half)
    assert each.simulation.tolist() == list(range(4 * len(kappa)))
    MapSet(kappa, 5.0, simulation=simulation).save(tmp_path / "one.npz")
    assert open_maps(tmp_path / "one.npz", simulation="each").simulation.tolist() == list(
        range(len(kappa))
    )
    for tile in (1, n + 1, 2.5):
        with pytest.raises(
            ValueError,
            match=f"maps.npy has maps of {n} × {n} pixels; expected tile to be a whole number",
        ):
            open_maps(tmp_path / "maps.npy", side_deg=5, tile=tile)


def test_simulations_of_several_map_sets(tmp_path, kappa):
    MapSet(kappa, 5.0, simulation=np.array([0, 0, 1, 1, 1])).save(tmp_path / "a.npz")
    MapSet(kappa, 5.0, simulation=np.array([2, 2, 2, 2, 3])).save(tmp_path / "b.npz")
    MapSet(kappa, 5.0, simulation=np.array([1, 4, 4, 4, 4])).save(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", kappa=kappa)
    joined = open_maps(tmp_path / "[ab].npz")
    assert joined.simulation.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2, 3]
    refuses(
        "c.npz has simulation 1 of an earlier file",
        [tmp_path / "a.npz", tmp_path / "c.npz"],
    )
    refuses(
        "d.npz does not say the simulation of its maps",
        [tmp_path / "a.npz", tmp_path / "d.npz"],
        side_deg=5,
    )
    given = open_maps([tmp_path / "a.npz", tmp_path / "c.npz"], simulation=np.repeat([0, 1], 5))
    assert given.simulations.tolist() == [0, 1]


# ---------------------------------------------------------------- published maps


def test_published_fits_carry_their_field_size(published):
    maps = open_maps(published / "lenstools_raytraced" / "convergence_z*.fit")
    assert maps.maps.shape == (5, 512, 512) and maps.maps.dtype == np.float32
    assert maps.side_deg == 3.5 and maps.grid.pixel_arcmin == pytest.approx(0.410, abs=1e-3)
    assert maps.provenance["files"] == [f"convergence_z{z}.fit" for z in (49, 74, 99, 128, 150)]
    assert (np.diff(maps.maps.std((1, 2))) > 0).all()  # lensing grows with the source redshift


def test_published_fits_without_field_size(published):
    path = published / "jax_lensing" / "ktng_kappa360v2.fits"
    refuses("does not say how large its field is", path)
    assert open_maps(path, side_deg=360 * 0.293 / 60).maps.shape == (1, 360, 360)


def test_maps_from_published_planes(published, tmp_path):
    command = [
        sys.executable,
        str(published / "kappa_from_planes.py"),
        "20",
        str(tmp_path / "out.npy"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    maps = open_maps(tmp_path / "out.npy", side_deg=1.75, z_source=1.0)
    assert maps.maps.shape == (20, 128, 128)
    assert 0.006 < maps.maps.std() < 0.013
