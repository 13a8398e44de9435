"""The suites' own formats, written here byte for byte as they are published, and what can be wrong
with them."""

import math
import re
import sys
import warnings

import numpy as np
import pytest
import torch

from lensnb.__main__ import main
from lensnb.data import MapSet
from lensnb.maps import GaussianField, MapGrid, smooth
from lensnb.readers import (
    convert,
    cosmogrid,
    ktng,
    open_maps,
    read_shear,
    save_zarr,
    slics,
    unmask,
)
from lensnb.readers.catalogues import read_catalogue
from lensnb.readers.cosmogrid import patch_centres
from lensnb.shear import bin_shear, kaiser_squires, shear
from lensnb.stats import peak_counts

fits = pytest.importorskip("astropy.io.fits")
h5py = pytest.importorskip("h5py")
healpy = pytest.importorskip("healpy")
zarr = pytest.importorskip("zarr")


def normal(*shape, seed=0, scale=0.02) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape)


def is_one_sentence(message: str, path) -> bool:
    """Names the file, has no second sentence and no line break, and says what was expected."""
    return (
        str(path) in message
        and not re.search(r"\n|\.\s+[A-ZΑ-Ω]|\.$", message)
        and ("expected" in message or "is not a whole" in message)
    )


# ---------------------------------------------------------------- SLICS maps


def write_slics(folder, los=74, z="0.042", n=65, order="<", raw=None):
    raw = normal(n, n, seed=los) if raw is None else raw
    path = folder / f"{z}kappa_weight.dat_LOS{los}"
    (raw / 64).astype(f"{order}f4").tofile(path)
    return path, raw


@pytest.fixture
def small_slics(monkeypatch):
    monkeypatch.setattr(slics, "_PIXELS", 65)


def test_slics_map(tmp_path, small_slics):
    path, raw = write_slics(tmp_path)
    maps = open_maps(path)
    np.testing.assert_array_equal(maps.maps[0], (raw / 64).astype(np.float32)[:-1, :-1] * 64)
    assert (maps.side_deg, maps.z_source, maps.simulation.tolist()) == (
        10,
        0.086,
        [74],
    ) and maps.maps.dtype == np.float32


def test_slics_map_of_the_published_size(tmp_path):
    """A file of 239,940,100 bytes, with one block of 16 × 16 pixels set; 484 pixels of 1.24′ come
    out.
    """
    path = tmp_path / "2.899kappa_weight.dat_LOS1"
    with open(path, "wb") as file:
        file.write(normal(7745, scale=3e-4).astype("<f4").tobytes() * 7745)
        for row in range(16):
            file.seek(4 * (7745 * (160 + row) + 320))
            file.write(np.full(16, 0.125, "<f4").tobytes())
    maps = open_maps(path, pixels=484)
    assert maps.maps.shape == (1, 484, 484) and maps.z_source == 3.0
    assert path.stat().st_size == 239_940_100
    assert maps.maps[0, 10, 20] == 8 and np.sum(maps.maps > 1) == 1


def test_slics_maps_are_averaged_as_they_are_read(tmp_path, small_slics):
    raws = [write_slics(tmp_path, los)[1] for los in (74, 75, 100)]
    maps = open_maps(tmp_path / "0.042kappa_weight.dat_LOS*", pixels=16)
    expected = np.stack(raws)[:, :-1, :-1].reshape(3, 16, 4, 16, 4).mean((2, 4))
    np.testing.assert_allclose(maps.maps, expected, rtol=0, atol=1e-8)
    assert maps.simulation.tolist() == [
        74,
        75,
        100,
    ]  # a pattern takes the lines of sight that there are, in order


def test_slics_maps_are_averaged_by_area_to_any_few_pixels(tmp_path, small_slics):
    """64 pixels to 5: the second new pixel has 0.8 of an old one before its 12 whole ones."""
    path, raw = write_slics(tmp_path)
    fine = np.repeat(np.repeat((raw / 64).astype("f4")[:-1, :-1] * 64.0, 5, 0), 5, 1)
    expected = fine.reshape(5, 64, 5, 64).mean((1, 3))
    found = open_maps(path, pixels=5)
    np.testing.assert_allclose(found.maps[0], expected, rtol=0, atol=1e-8)
    assert found.side_deg == 10 and found.maps.dtype == np.float32


def test_slics_missing_lines_of_sight_are_named(tmp_path, small_slics):
    write_slics(tmp_path, 74)
    files = [tmp_path / f"0.042kappa_weight.dat_LOS{los}" for los in range(74, 77)]
    with pytest.raises(
        FileNotFoundError, match=r"^2 of the 3 files of the list do not exist; .*LOS75, .*LOS76$"
    ):
        open_maps(files)


def test_slics_source_plane_is_given_where_it_is_not_known(tmp_path, small_slics):
    path, _ = write_slics(tmp_path, z="0.897")
    assert open_maps(path, z_source=0.968).z_source == 0.968


def test_slics_planes_of_one_line_of_sight_share_its_simulation(tmp_path, small_slics):
    """Not that one set may hold two source planes; but two files of one name in two folders are
    one simulation.
    """
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(write_slics(tmp_path / folder)[0])
    assert open_maps(paths).simulations.tolist() == [74]


# ---------------------------------------------------------------- κTNG


def write_ktng(path, planes=("z23",), n=16, name="kappa"):
    with h5py.File(path, "w") as file:
        for i, plane in enumerate(planes):
            file[f"{plane}/{name}"] = normal(n, n, seed=i)
    return path


def write_binary(path, n=16, order="<", data=None, markers=None):
    before, after = markers or (n, n)
    kappa = normal(n, n)
    parts = (
        np.array([before], f"{order}i4"),
        kappa.astype(f"{data or order}f8"),
        np.array([after], f"{order}i4"),
    )
    path.write_bytes(b"".join(part.tobytes() for part in parts))
    return path, kappa


@pytest.fixture
def small_ktng(monkeypatch):
    monkeypatch.setattr(ktng, "_PIXELS", 16)


def test_ktng_hdf5(tmp_path, small_ktng):
    files = [
        write_ktng(tmp_path / f"LP00{lp}_run00{run}_maps.hdf5", ("z13", "z23"))
        for lp in (1, 2)
        for run in (1, 2)
    ]
    maps = open_maps(files, source=23)
    assert maps.simulation.tolist() == [1, 1, 2, 2]  # runs share the lens planes of their LP
    assert (
        maps.side_deg == 5
        and maps.z_source == pytest.approx(1.034, abs=1e-3)
        and maps.maps.shape == (4, 16, 16)
    )
    np.testing.assert_array_equal(maps.maps[0], normal(16, 16, seed=1))


def test_ktng_hdf5_with_one_plane_needs_no_number(tmp_path, small_ktng):
    assert open_maps(write_ktng(tmp_path / "LP001_run001_maps.hdf5")).z_source == ktng._SOURCES[22]


@pytest.mark.parametrize("order", "<>")
def test_ktng_binary_in_either_byte_order(tmp_path, small_ktng, order):
    path, kappa = write_binary(tmp_path / "kappa23.dat", order=order)
    maps = open_maps(path)
    np.testing.assert_array_equal(maps.maps[0], kappa)
    assert (maps.side_deg, maps.z_source) == (5, ktng._SOURCES[22]) and maps.maps.dtype.isnative


def test_ktng_binary_of_the_published_size(tmp_path):
    path, kappa = write_binary(tmp_path / "kappa13.dat", n=1024)
    assert path.stat().st_size == 8_388_616
    np.testing.assert_array_equal(open_maps(path).maps[0], kappa)


def test_ktng_source_planes_are_where_the_paper_puts_them():
    """Every 102.5 Mpc/h in the Planck 2015 cosmology of IllustrisTNG."""
    ccl = pytest.importorskip("pyccl")
    h = 0.6774
    cosmology = ccl.Cosmology(
        Omega_c=0.3089 - 0.0486, Omega_b=0.0486, h=h, sigma8=0.8159, n_s=0.9667, Omega_g=0, Neff=0,
        transfer_function="eisenstein_hu",
    )  # fmt: skip
    distance = ccl.comoving_radial_distance(cosmology, 1 / (1 + np.array(ktng._SOURCES))) * h
    np.testing.assert_allclose(distance, 102.5 * np.arange(1, 41), rtol=1e-4)


# ---------------------------------------------------------------- CosmoGrid


def write_cosmogrid(
    folder,
    group="kg",
    nside=64,
    bins=(1, 2, 3, 4),
    sky=None,
    file="projected_probes_maps_nobaryons512.h5",
):
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / file, "w") as h5:
        for i in bins:
            h5[f"{group}/stage3_lensing{i}"] = (
                normal(12 * nside**2, seed=i) if sky is None else sky
            ).astype(np.float32)
        h5["dg/stage3_lensing1"] = np.zeros(12 * nside**2, np.float32)
    return folder / file


@pytest.mark.parametrize(
    "side, pixels, nside",
    [(10, 64, 512), (10, 300, 128), (5, 64, 256), (20, 512, 64), (40, 128, 64)],
)
def test_patches_share_no_healpix_pixel(side, pixels, nside):
    hits = np.zeros(12 * nside**2, int)
    for centre in patch_centres(side, nside):
        hits[np.unique(cosmogrid.patch_pixels(*centre, side, pixels, nside))] += 1
    assert hits.max() == 1
    assert (
        len(patch_centres(side, nside)) * side**2 > 0.55 * 41253
    )  # and they cover most of the sky


def test_patches_a_little_larger_than_planned_would_share_pixels():
    """So that the test above can fail, and not much of the sky is wasted."""
    hits = np.zeros(12 * 128**2, int)
    for centre in patch_centres(10, 128):
        hits[np.unique(cosmogrid.patch_pixels(*centre, 11.5, 300, 128))] += 1
    assert hits.max() > 1


def test_ten_degree_patches_of_a_cosmogrid_sky():
    assert len(patch_centres(10.0)) == 351  # of 412 that have the area of the sky


@pytest.mark.parametrize("group", ["kg", "map/kg"])
def test_cosmogrid(tmp_path, group):
    path = write_cosmogrid(tmp_path / "fiducial/cosmo_fiducial/perm_0000", group, nside=64)
    maps = open_maps(path, side_deg=10, pixels=10, source=3)
    sky = normal(12 * 64**2, seed=3).astype(np.float32)
    assert (
        maps.maps.shape == (len(patch_centres(10, 64)), 10, 10)
        and maps.side_deg == 10
        and math.isnan(maps.z_source)
    )
    assert np.isin(maps.maps, sky).all() and maps.provenance["bin"] == "stage3_lensing3"
    same = open_maps(path, side_deg=10, pixels=10, source="stage3_lensing3")
    np.testing.assert_array_equal(same.maps, maps.maps)


def test_cosmogrid_patches_lie_as_healpy_shows_them(tmp_path):
    """On a sky that is the latitude, rows grow northwards; on one that is the longitude, columns
    grow westwards.
    """
    longitude, latitude = healpy.pix2ang(64, np.arange(12 * 64**2), lonlat=True)
    for name, sky in (("b", latitude / 100), ("l", (longitude - 180) / 100)):
        path = write_cosmogrid(tmp_path / name, bins=[1], sky=sky)
        maps = open_maps(path, side_deg=10, pixels=8, source=1).maps
        if name == "b":
            assert (np.diff(maps.mean(2), axis=1) > 0).all()
            np.testing.assert_allclose(
                maps.mean((1, 2)) * 100, patch_centres(10, 64)[:, 1], atol=0.6
            )
        else:
            centres = patch_centres(10, 64)
            near = (np.abs(centres[:, 1]) < 60) & (centres[:, 0] > 30) & (centres[:, 0] < 330)
            assert (np.diff(maps[near].mean(1), axis=1) < 0).all()


def test_cosmogrid_permutations_of_one_run_share_a_simulation(tmp_path):
    runs = [f"grid/cosmo_00000{c}/perm_000{p}" for c in (1, 2) for p in (0, 1)] + ["raw/run_0007"]
    for run in runs:
        write_cosmogrid(tmp_path / run, bins=[1])
    files = [tmp_path / run / "projected_probes_maps_nobaryons512.h5" for run in runs]
    maps = open_maps(files, side_deg=20, pixels=8, source=1)
    assert maps.simulations.tolist() == ["grid/cosmo_000001", "grid/cosmo_000002", "raw/run_0007"]
    each = len(maps) // 5
    assert (maps.simulation[: 2 * each] == "grid/cosmo_000001").all() and (
        maps.simulation[-each:] == "raw/run_0007"
    ).all()
    train, truth = maps.split(0.67, 0.33)
    assert not set(train.simulation) & set(truth.simulation)


# ---------------------------------------------------------------- MassiveNuS and LensTools


def write_image(path, image=None, **cards):
    hdu = fits.PrimaryHDU((normal(16, 16) if image is None else image).astype(">f4"))
    hdu.header.update(cards)
    hdu.writeto(path)
    return path


def test_massivenus_redshift_is_that_of_the_name(tmp_path):
    files = [write_image(tmp_path / f"WLconv_z1.00_000{i}r.fits", ANGLE=3.5) for i in (1, 2)]
    maps = open_maps(tmp_path / "WLconv_z1.00_*.fits")
    assert (len(maps), maps.side_deg, maps.z_source) == (len(files), 3.5, 1.0)


def test_massivenus_card_and_name_agree(tmp_path):
    assert (
        open_maps(write_image(tmp_path / "WLconv_z1.50_0001r.fits", ANGLE=3.5, Z=1.5)).z_source
        == 1.5
    )


# ---------------------------------------------------------------- arrays


def test_cosmogan(tmp_path):
    np.save(tmp_path / "cosmogan_maps.npy", normal(3, 256, 256).astype(np.float32))
    maps = open_maps(tmp_path / "cosmogan_maps.npy", side_deg=5, pixels=64)
    assert maps.maps.shape == (3, 64, 64)
    np.testing.assert_allclose(
        maps.maps, normal(3, 256, 256).reshape(3, 64, 4, 64, 4).mean((2, 4)), atol=1e-8
    )


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_array(tmp_path, version):
    array = zarr.create_array(
        str(tmp_path / "maps.zarr"),
        data=normal(5, 16, 16),
        chunks=(1, 16, 16),
        zarr_format=version,
    )
    array.attrs.update({"side_deg": 3.5, "z_source": 0.7})
    maps = open_maps(tmp_path / "maps.zarr")
    np.testing.assert_array_equal(maps.maps, normal(5, 16, 16))
    assert (maps.side_deg, maps.z_source, maps.simulation.tolist()) == (3.5, 0.7, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("simulation", [[3, 3, 1], [0, 0, 0], ["a/b", "a/b", "c"]])
@pytest.mark.parametrize("z_source", [1.0, math.nan])
def test_zarr_of_a_map_set(tmp_path, simulation, z_source):
    before = MapSet(
        normal(3, 8, 8).astype(np.float32), 5.0, z_source, np.array(simulation), {"files": ["x"]}
    )
    save_zarr(before, tmp_path / "set.zarr")
    after = open_maps(tmp_path / "set.zarr")
    np.testing.assert_array_equal(after.maps, before.maps)
    assert after.simulation.tolist() == simulation and after.side_deg == 5
    assert after.z_source == z_source or math.isnan(z_source) and math.isnan(after.z_source)
    with pytest.raises(FileExistsError, match="set.zarr exists; expected a new folder"):
        save_zarr(before, tmp_path / "set.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["set.zarr"]


def test_zarr_leaves_nothing_when_it_fails(tmp_path):
    maps = normal(1, 8, 8).astype(np.float32)
    maps[0, 3, 4] = np.nan
    with pytest.raises(ValueError, match="1 pixels that are NaN"):
        save_zarr(MapSet(maps, 5.0), tmp_path / "set.zarr")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- FAIR Universe


def write_fair(folder, shape=(2, 3), dtype=np.float16, mask_shape=(60, 24)):
    mask = np.zeros(mask_shape, bool)
    mask[5:50, 2:20] = True
    mask[30:34, 8:12] = False
    np.save(folder / "mask.npy", mask)
    whole = normal(*shape, *mask_shape).astype(dtype)
    np.save(folder / "WIDE12H_kappa.npy", whole[..., mask])
    return folder / "WIDE12H_kappa.npy", folder / "mask.npy", whole, mask


def test_masked_maps_whole(tmp_path):
    path, mask_path, whole, mask = write_fair(tmp_path)
    maps = unmask(path, mask_path)
    assert maps.shape == (2, 3, 60, 24) and maps.dtype == np.float16
    np.testing.assert_array_equal(maps[..., mask], whole[..., mask])
    assert np.isnan(maps[..., ~mask]).all() and (unmask(path, mask_path, 0)[..., ~mask] == 0).all()


def test_masked_maps_in_tiles(tmp_path):
    path, mask_path, whole, mask = write_fair(tmp_path)
    maps = open_maps(path, mask=mask_path, pixels=8)
    corners = maps.provenance["tiles"]
    assert (
        maps.side_deg == pytest.approx(16 / 60)
        and len(maps) == 6 * len(corners)
        and len(corners) >= 6
    )
    used = np.zeros_like(mask, int)
    for k, (row, column) in enumerate(corners):
        used[row : row + 8, column : column + 8] += 1
        tile = np.asarray(maps.maps).reshape(2, 3, -1, 8, 8)[:, :, k]
        np.testing.assert_array_equal(tile, whole[:, :, row : row + 8, column : column + 8])
    np.testing.assert_array_equal(
        maps.maps[1:-1][::5], np.asarray(maps.maps)[1:-1][::5]
    )  # tiles of several maps
    again = convert(path, tmp_path / "tiles.zarr", mask=mask_path, pixels=8)
    np.testing.assert_array_equal(again.maps, maps.maps)
    assert again.simulation.tolist() == maps.simulation.tolist()
    assert used.max() == 1 and not used[~mask].any()
    assert maps.simulation.tolist() == [0] * (3 * len(corners)) + [1] * (
        3 * len(corners)
    )  # by cosmology


def test_one_masked_map_and_a_row_of_them(tmp_path):
    for shape in [(), (4,)]:
        path, mask_path, *_ = write_fair(tmp_path, shape)
        maps = open_maps(path, mask=mask_path, pixels=16)
        assert len(maps.simulations) == math.prod(shape)


def test_masked_map_of_the_published_size(tmp_path):
    mask = np.ones((1424, 176), bool)
    mask[:, :4] = False
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "kappa.npy", normal(1, 2, mask.sum()).astype(np.float16))
    maps = open_maps(tmp_path / "kappa.npy", mask=tmp_path / "mask.npy", pixels=86)
    assert len(maps) == 2 * (1424 // 86) * 2 and maps.side_deg == pytest.approx(86 * 2 / 60)


@pytest.mark.parametrize("side", [2, 7, 12])
def test_a_mask_says_how_large_a_square_fits(tmp_path, side):
    mask = np.zeros((40, 12), bool)
    mask[20 : 20 + side, 12 - side :] = True
    mask[::3, 0] = True  # single pixels elsewhere
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "kappa.npy", normal(3, mask.sum()))
    for pixels in (side + 1, 300):
        with pytest.raises(ValueError, match=f"expected pixels to be at most {side}, and less"):
            open_maps(tmp_path / "kappa.npy", mask=tmp_path / "mask.npy", pixels=pixels)
    assert len(open_maps(tmp_path / "kappa.npy", mask=tmp_path / "mask.npy", pixels=side)) == 3


def test_tiles_of_the_published_mask(published, tmp_path):
    """Its largest open square has 32 pixels; tiles of 16 use 37 % of the open sky."""
    mask = published / "fair_mask" / "WIDE12H_bin2_2arcmin_mask.npy"
    inside = np.load(mask)
    path = tmp_path / "WIDE12H_bin2_2arcmin_kappa.npy"
    np.save(path, normal(1, 2, inside.sum()).astype(np.float16))
    with pytest.raises(ValueError, match="no square of 64 × 64 .* to be at most 32, and less for"):
        open_maps(path, mask=mask, pixels=64)
    tiles = {n: len(open_maps(path, mask=mask, pixels=n)) // 2 for n in (32, 24, 16)}
    assert tiles == {32: 1, 24: 28, 16: 190}
    assert tiles[16] * 16**2 / inside.sum() == pytest.approx(0.37, abs=0.005)
    counts = peak_counts(
        torch.from_numpy(unmask(path, mask).astype(np.float32)),
        [-math.inf, math.inf],
        torch.from_numpy(inside),
    )
    assert counts.shape == (1, 2, 1) and counts.min() > 1000


# ---------------------------------------------------------------- catalogues


def write_catalogue(path, names, columns, formats=None):
    table = [
        fits.Column(name, form, array=values)
        for name, form, values in zip(names, formats or "D" * 9, columns)
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(table)]).writeto(
        path, overwrite=True
    )
    return path


def galaxies(n=32, side=600.0, each=4, seed=0):
    """Galaxies on a κ field of periodic pixels: positions, shear of their pixel, redshift; and the
    field.
    """
    kappa = GaussianField.from_power(
        MapGrid(n, side / 60), lambda ell: 1e-8 / (1 + (ell / 100) ** 2)
    ).sample(1, torch.Generator().manual_seed(seed))[0]
    gamma = shear(kappa).numpy()
    rng = np.random.default_rng(seed)
    row, column = (grid.ravel().repeat(each) for grid in np.indices((n, n)))
    x, y = ((at + rng.uniform(0.05, 0.95, at.size)) * side / n for at in (column, row))
    gamma = gamma[row, column]
    return x, y, gamma.real, gamma.imag, rng.uniform(0.1, 2.9, x.size), kappa


SLICS_COLUMNS = ("x_arcmin", "y_arcmin", "shear1", "shear2", "z_spectroscopic")


def test_slics_catalogue(tmp_path):
    x, y, g1, g2, z, kappa = galaxies()
    path = write_catalogue(
        tmp_path / "GalCatalog_LOS_cone7.fits", SLICS_COLUMNS, (x, y, g1, g2, z)
    )
    maps = open_maps(path, pixels=32)
    assert (maps.side_deg, maps.simulation.tolist(), maps.maps.shape) == (10, [7], (1, 32, 32))
    mean, count = bin_shear(*(torch.from_numpy(a) for a in (x, y, g1 + 1j * g2)), 32, 600.0)
    np.testing.assert_allclose(
        mean, shear(kappa), rtol=0, atol=1e-12
    )  # all galaxies of a pixel have its shear
    assert (count == 4).all()
    back, _ = kaiser_squires(mean, periodic=True)
    np.testing.assert_allclose(back, kappa.double() - kappa.double().mean(), rtol=0, atol=1e-9)
    assert np.corrcoef(maps.maps[0, 4:-4, 4:-4].ravel(), kappa[4:-4, 4:-4].ravel())[0, 1] > 0.9
    about = maps.provenance
    assert (about["galaxies"], about["galaxies_outside"], about["empty_pixels"]) == (4096, 0, 0)
    assert about["std_b_mode"] < 0.6 * about["std_e_mode"] and 1.4 < about["mean_redshift"] < 1.6
    assert MapSet.load(maps.save(tmp_path / "set.npz")).provenance == about  # plain JSON values


def test_catalogue_of_chosen_sources(tmp_path):
    x, y, g1, g2, z, _ = galaxies()
    path = write_catalogue(
        tmp_path / "GalCatalog_LOS_cone7.fits", SLICS_COLUMNS, (x, y, g1, g2, z)
    )
    few = read_shear(path, source=(0.9, 1.1))
    assert 0 < len(few) < 500 and few.redshift.min() >= 0.9 and few.redshift.max() < 1.1
    assert open_maps(path, pixels=8, source=(0.9, 1.1), z_source=1.0).z_source == 1.0


def test_catalogue_whose_shear_contradicts_its_own_convergence(tmp_path):
    x, y, g1, g2, z, kappa = galaxies()
    at = kappa.numpy()[(y * 32 / 600).astype(int), (x * 32 / 600).astype(int)]
    path = write_catalogue(tmp_path / "c.fits", (*SLICS_COLUMNS, "KAPPA"), (x, y, -g1, -g2, z, at))
    with pytest.raises(
        ValueError, match=r"correlation -0\.\d+ with its own column kappa; expected other signs"
    ) as caught:
        open_maps(path, pixels=32)
    assert is_one_sentence(str(caught.value), path)
    assert open_maps(path, pixels=32, signs=(-1, -1)).provenance["correlation_with_kappa"] > 0.7


def test_provenance_of_several_files_is_kept(tmp_path):
    for cone, seed in ((1, 0), (2, 1)):
        write_catalogue(
            tmp_path / f"GalCatalog_LOS_cone{cone}.fits", SLICS_COLUMNS, galaxies(seed=seed)[:5]
        )
    both = open_maps(tmp_path / "GalCatalog_LOS_cone*.fits", pixels=16)
    one, two = (
        open_maps(tmp_path / f"GalCatalog_LOS_cone{cone}.fits", pixels=16) for cone in (1, 2)
    )
    assert both.simulation.tolist() == [1, 2] and both.provenance["galaxies"] == 4096
    assert both.provenance["std_b_mode"] == [
        one.provenance["std_b_mode"],
        two.provenance["std_b_mode"],
    ]


@pytest.mark.parametrize("pixels", [1, 0, -4, 8.0])
def test_pixels_that_are_none(tmp_path, pixels):
    with pytest.raises(ValueError, match="pixels must be a whole number of at least 2, found"):
        open_maps(write_image(tmp_path / "map.fits", ANGLE=3.5), pixels=pixels)


def test_catalogue_counts_galaxies_outside_its_field(tmp_path):
    x, y, g1, g2, z, _ = galaxies()
    path = write_catalogue(
        tmp_path / "c.fits", ("X_arcmin", *SLICS_COLUMNS[1:]), (x, y, g1, g2, z), "EEEED"
    )
    half = read_shear(path, side_deg=5)
    assert len(half) + half.outside == 4096 and half.x.max() < 300 and len(half) == 1024


@pytest.mark.parametrize("ra, dec", [(40.0, 0.0), (0.0, 35.0), (200.0, -60.0)])
def test_catalogue_on_the_sky(tmp_path, ra, dec):
    """Galaxies put on the sky through the inverse projection, shear turned into local axes by
    finite differences.
    """
    wcs = pytest.importorskip("astropy.wcs").WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [1, 1], [ra, dec]
    x, y, g1, g2, z, kappa = galaxies(side=480.0, each=8)
    alpha, delta = wcs.wcs_pix2world(x / 60 - 4, y / 60 - 4, 1)
    step = 1e-4
    north = np.subtract(
        wcs.wcs_world2pix(alpha, delta + step, 1), wcs.wcs_world2pix(alpha, delta - step, 1)
    )
    turn = np.arctan2(-north[0], north[1])  # of local north from y, anticlockwise
    local = (g1 + 1j * g2) * np.exp(-2j * turn)
    path = write_catalogue(
        tmp_path / "sky.fits",
        ("RA", "DEC", "gamma1", "gamma2"),
        (alpha, delta, local.real, local.imag),
    )
    found = read_shear(path, side_deg=8)
    assert len(found) + found.outside == len(x) and found.outside < 0.01 * len(
        x
    )  # an edge galaxy or two are rounded off
    match = (
        np.hypot(x - found.x[:, None], y - found.y[:, None]).argmin(1)
        if found.outside
        else np.arange(len(x))
    )
    assert (
        np.hypot(found.x - x[match], found.y - y[match]).max() < 1.0
    )  # arcminutes: the field has found its centre
    assert np.abs(found.gamma - (g1 + 1j * g2)[match]).max() < 0.02 * np.abs(g1 + 1j * g2).max()
    maps = read_catalogue(path, 32, 8).maps
    assert np.corrcoef(maps[4:-4, 4:-4].ravel(), kappa[4:-4, 4:-4].ravel())[0, 1] > 0.7


# ---------------------------------------------------------------- from the command line


@pytest.mark.parametrize("out", ["set.npz", "set.zarr"])
def test_convert(tmp_path, small_slics, capsys, out):
    for los in (74, 80):
        write_slics(tmp_path, los, z="0.897")
    command = [
        "convert",
        str(tmp_path / "*LOS*"),
        str(tmp_path / out),
        "--z-source",
        "0.968",
        "--pixels",
        "16",
    ]
    assert main(command) == 0
    assert (
        f"{out}: MapSet: 2 maps of 16 × 16 pixels over 10°, z_s = 0.968" in capsys.readouterr().out
    )
    maps = open_maps(tmp_path / out)
    assert (maps.simulation.tolist(), maps.side_deg, maps.z_source) == ([74, 80], 10, 0.968)
    assert maps.provenance["files"][-1] == out


def test_convert_of_several_files_with_what_each_format_takes(tmp_path, small_ktng):
    files = [
        str(write_ktng(tmp_path / f"LP00{lp}_run001_maps.hdf5", ("z13", "z23"))) for lp in (1, 2)
    ]
    assert main(["convert", *files, str(tmp_path / "a.npz"), "--source", "23"]) == 0
    assert open_maps(tmp_path / "a.npz").simulation.tolist() == [1, 2]
    path = str(catalogue(tmp_path))
    options = ["--pixels", "8", "--source", "0.5,2.5", "--signs", "1", "1"]
    assert main(["convert", path, str(tmp_path / "b.npz"), *options]) == 0
    expected = read_catalogue(path, 8, source=(0.5, 2.5), signs=(1, 1)).maps
    np.testing.assert_array_equal(open_maps(tmp_path / "b.npz").maps[0], expected)


def test_convert_takes_the_old_name_of_simulation_with_a_warning(tmp_path, capsys):
    np.save(tmp_path / "maps.npy", normal(2, 16, 16))
    out = str(tmp_path / "set.npz")
    command = ["convert", str(tmp_path / "maps.npy"), out, "--side-deg", "5", "--tile", "8"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main([*command, "--labels", "each"]) == 0
    error = capsys.readouterr().err
    assert "--labels is now called --simulation" in error and error.count("\n") == 1
    assert open_maps(out).simulation.tolist() == list(range(8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*command, "--labels", "each", "--simulation", "each"]) == 1
    assert "expected --simulation" in capsys.readouterr().err


def test_convert_writes_nothing_when_it_refuses(tmp_path, small_slics, capsys):
    path, _ = write_slics(tmp_path, z="0.897")
    assert main(["convert", str(path), str(tmp_path / "set.npz")]) == 1
    assert "expected the argument z_source" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]
    assert main(["convert", str(path), str(tmp_path / "set.npy")]) == 1
    assert "set.npy has another ending; expected .npz or .zarr" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["1.npz", "2.npz", "3.npz"], ["1.npz", "1.npz"]])
def test_convert_never_replaces_a_file_such_as_its_own_source(tmp_path, capsys, words):
    files = [tmp_path / name for name in ("1.npz", "2.npz", "3.npz")]
    for number, path in enumerate(files):
        MapSet(normal(2, 16, 16), 5.0, simulation=np.array([number, number])).save(path)
    before = [path.read_bytes() for path in files]
    assert main(["convert", *[str(tmp_path / one) for one in words], "--pixels", "8"]) == 1
    assert f"{words[-1]} exists; expected the name of a new file" in capsys.readouterr().err
    assert [path.read_bytes() for path in files] == before
    (tmp_path / "folder.zarr").mkdir()
    assert main(["convert", str(files[0]), str(tmp_path / "folder.zarr")]) == 1


# ---------------------------------------------------------------- refusals, one sentence each


def edited(path, change):
    path.write_bytes(change(path.read_bytes()))
    return path


def cut(path, keep):
    return edited(path, lambda raw: raw[: int(len(raw) * keep)])


def slics_file(tmp_path, **keywords):
    return write_slics(tmp_path, **keywords)[0]


def with_value(value, *shape, at=(3, 4)):
    raw = normal(*shape)
    raw[at] = value
    return raw


def catalogue(
    tmp_path, drop=(), file="GalCatalog_LOS_cone7.fits", value=None, names=SLICS_COLUMNS
):
    columns = dict(zip(names, galaxies(each=1)[:5]))
    if value is not None:
        columns[names[2]][10] = value
    kept = {name: values for name, values in columns.items() if name not in drop}
    return write_catalogue(tmp_path / file, kept.keys(), kept.values())


def zarr_file(tmp_path, change=lambda path: None, version=2, **arrays):
    path = tmp_path / "maps.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    for name, array in arrays.items():
        group.create_array(name, data=array, chunks=(1, *array.shape[1:]))
    change(path)
    return path


def fair(tmp_path, mask=None, **keywords):
    path = write_fair(tmp_path, **keywords)[0]
    if mask is not None:
        np.save(tmp_path / "mask.npy", mask)
    return path


SKY = {"side_deg": 10, "pixels": 8}
SKY1 = {**SKY, "source": 1}
CONE = {"pixels": 8}
ON_SKY = ("ra", "dec", "gamma1", "gamma2", "z")
REFUSALS = {
    # SLICS maps
    "slics cut off": (
        lambda p: cut(slics_file(p), 0.9),
        {},
        r"has 15,210 bytes; expected 16,900, 65 × 65",
    ),
    "slics of another size": (
        lambda p: slics_file(p, n=64),
        {},
        r"has 16,384 bytes; expected 16,900",
    ),
    "slics empty": (lambda p: edited(slics_file(p), lambda raw: b""), {}, "has 0 bytes; expected"),
    "slics byte-swapped": (
        lambda p: slics_file(p, order=">"),
        {},
        "would with their bytes swapped; expected little-endian",
    ),
    "slics with NaN": (
        lambda p: slics_file(p, raw=with_value(np.nan, 65, 65)),
        {},
        "1 pixels that are NaN",
    ),
    "slics in another unit": (
        lambda p: slics_file(p, raw=normal(65, 65, scale=64 * 50)),
        {},
        "cannot be κ: only",
    ),
    "slics in its raw unit times 1000": (
        lambda p: slics_file(p, raw=normal(65, 65, scale=64)),
        {},
        "cannot be κ: .* median",
    ),
    "slics with text": (
        lambda p: edited(slics_file(p), lambda raw: b"kappa " * 2816 + b"kapp"),
        {},
        "cannot be κ",
    ),
    "slics without its source plane": (
        lambda p: slics_file(p, z="0.897"),
        {},
        "lens plane z = 0.897.*argument z_source",
    ),
    "slics with sources before the lens": (
        lambda p: slics_file(p, z="0.897"),
        {"z_source": 0.8},
        "beyond it, not 0.8",
    ),
    "slics with other sources": (
        lambda p: slics_file(p),
        {"z_source": 0.09},
        "says z_source = 0.086; the argument says 0.09",
    ),
    "slics with another field": (
        lambda p: slics_file(p),
        {"side_deg": 5},
        "says side_deg = 10; the argument says 5",
    ),
    "slics to pixels that do not divide": (
        lambda p: slics_file(p),
        {"pixels": 60},
        "64 × 64 pixels; expected pixels to be",
    ),
    "slics to more pixels": (
        lambda p: slics_file(p),
        {"pixels": 128},
        "expected pixels to be one whole part of 64 or at most 8, not 128",
    ),
    "slics with a bin": (
        lambda p: slics_file(p),
        {"source": 1},
        "argument source means nothing; expected none",
    ),
    "slics with a mask": (
        lambda p: slics_file(p),
        {"mask": "mask.npy"},
        "argument mask means nothing; expected none",
    ),
    # κTNG
    "ktng cut off": (
        lambda p: cut(write_ktng(p / "LP001_run001_maps.hdf5"), 0.5),
        {},
        "is not a whole HDF5 file",
    ),
    "ktng no hdf5": (
        lambda p: edited(write_ktng(p / "a.hdf5"), lambda raw: b"x" * 999),
        {},
        "is not a whole HDF5 file",
    ),
    "ktng of another size": (
        lambda p: write_ktng(p / "a.hdf5", n=15),
        {},
        r"z23/kappa of shape \(15, 15\); expected",
    ),
    "ktng without kappa": (
        lambda p: write_ktng(p / "a.hdf5", name="shear1"),
        {},
        "the source planes none; expected",
    ),
    "ktng without a plane": (
        lambda p: write_ktng(p / "a.hdf5", ("z13", "z23")),
        {"source": 30},
        "planes z13, z23; .* found 30",
    ),
    "ktng with no plane chosen": (
        lambda p: write_ktng(p / "a.hdf5", ("z13", "z23")),
        {},
        "planes z13, z23; .* found None",
    ),
    "ktng plane beyond the last": (
        lambda p: write_ktng(p / "a.hdf5", ("z41",)),
        {},
        "source plane 41; expected 1 to 40",
    ),
    "ktng at another redshift": (
        lambda p: write_ktng(p / "a.hdf5"),
        {"z_source": 1.1},
        "says z_source = 1.03409",
    ),
    "hdf5 of something else": (
        lambda p: write_ktng(p / "a.hdf5", ("density",)),
        {},
        "has the keys density; expected kg",
    ),
    "ktng binary cut off": (
        lambda p: cut(write_binary(p / "kappa23.dat")[0], 0.5),
        {},
        "has 1,028 bytes; expected 2,056",
    ),
    "ktng binary of another size": (
        lambda p: write_binary(p / "kappa23.dat", n=32)[0],
        {},
        "8,200 bytes; expected 2,056",
    ),
    "ktng binary, other marker": (
        lambda p: write_binary(p / "kappa23.dat", markers=(16, 0))[0],
        {},
        "the markers 16 and 0; expected 16 twice",
    ),
    "ktng binary, data byte-swapped": (
        lambda p: write_binary(p / "kappa23.dat", data=">")[0],
        {},
        "would with their bytes swapped; expected float64",
    ),
    "ktng binary, plane 0": (
        lambda p: write_binary(p / "kappa00.dat")[0],
        {},
        "source plane 0; expected 1 to 40",
    ),
    # CosmoGrid
    "cosmogrid cut off": (
        lambda p: cut(write_cosmogrid(p), 0.7),
        SKY1,
        "is not a whole HDF5 file",
    ),
    "cosmogrid without a bin": (
        lambda p: write_cosmogrid(p),
        {**SKY, "source": 5},
        "bins stage3_lensing1, .*stage3_lensing4; .* found 5",
    ),
    "cosmogrid with no bin chosen": (
        lambda p: write_cosmogrid(p),
        SKY,
        "bins stage3_lensing1, .* found None",
    ),
    "cosmogrid without a side": (
        lambda p: write_cosmogrid(p),
        {"pixels": 8, "source": 1},
        "expected the argument side_deg",
    ),
    "cosmogrid without anything": (
        lambda p: write_cosmogrid(p),
        {},
        "expected the argument side_deg and pixels",
    ),
    "cosmogrid, finer than its pixels": (
        lambda p: write_cosmogrid(p),
        {"side_deg": 10, "pixels": 11, "source": 1},
        "has pixels of 55.0′ .nside 64., coarser than the 54.5′ .* expected pixels of at most 10",
    ),
    "cosmogrid, part of a sky": (
        lambda p: write_cosmogrid(p, sky=normal(3000)),
        SKY1,
        r"\(3000,\); expected a full-sky",
    ),
    "cosmogrid, unseen pixels": (
        lambda p: write_cosmogrid(p, sky=with_value(healpy.UNSEEN, 3072, at=slice(5))),
        SKY1,
        "has 5 pixels .* unseen",
    ),
    "cosmogrid with NaN": (
        lambda p: write_cosmogrid(p, sky=np.full(12 * 64**2, np.nan)),
        SKY1,
        "NaN or infinite",
    ),
    "cosmogrid of counts": (
        lambda p: write_cosmogrid(p, sky=np.full(12 * 64**2, 500.0)),
        SKY1,
        "cannot be κ",
    ),
    # FITS
    "massivenus, two redshifts": (
        lambda p: write_image(p / "WLconv_z1.00_0001r.fits", ANGLE=3.5, Z=1.5),
        {},
        "Z = 1.5 in its header; expected z = 1.00",
    ),
    "massivenus cut off": (
        lambda p: cut(write_image(p / "WLconv_z1.00_0001r.fits", ANGLE=3.5), 0.6),
        {},
        "is not a whole FITS",
    ),
    "massivenus without its field": (
        lambda p: write_image(p / "WLconv_z1.00_0001r.fits"),
        {},
        "does not say how large its field is; expected",
    ),
    "massivenus with NaN": (
        lambda p: write_image(
            p / "WLconv_z1.00_0001r.fits", with_value(np.inf, 16, 16), ANGLE=3.5
        ),
        {},
        "1 pixels that are",
    ),
    "massivenus at another redshift": (
        lambda p: write_image(p / "WLconv_z1.00_0001r.fits", ANGLE=3.5),
        {"z_source": 2.0},
        "says z_source = 1; the argument",
    ),
    # catalogues
    "catalogue cut off": (lambda p: cut(catalogue(p), 0.8), CONE, "is not a whole FITS table"),
    "catalogue without shear": (
        lambda p: catalogue(p, ["shear2"]),
        CONE,
        "has the columns .*shear1, .* expected x_arcmin",
    ),
    "catalogue with NaN": (
        lambda p: catalogue(p, value=np.nan),
        CONE,
        "1 galaxies with NaN or infinite shear1",
    ),
    "catalogue in another unit": (
        lambda p: catalogue(p, value=1e9),
        CONE,
        "cannot be shear: 1 galaxies have",
    ),
    "catalogue without pixels": (lambda p: catalogue(p), {}, "expected the argument pixels"),
    "catalogue without redshifts": (
        lambda p: catalogue(p, ["z_spectroscopic"]),
        {**CONE, "source": (0.5, 1)},
        "redshift columns none among",
    ),
    "catalogue without such sources": (
        lambda p: catalogue(p),
        {**CONE, "source": (5, 6)},
        "no galaxy within .* from 5 to 6",
    ),
    "catalogue with a bin": (
        lambda p: catalogue(p),
        {**CONE, "source": 3},
        "redshifts .from, to., not 3",
    ),
    "catalogue with odd signs": (
        lambda p: catalogue(p),
        {**CONE, "signs": (0, 1)},
        "two of 1 and -1, not",
    ),
    "catalogue, too many pixels": (
        lambda p: catalogue(p),
        {"pixels": 64},
        "3072 of 64 × 64 pixels without a galaxy",
    ),
    "catalogue on the sky without a side": (
        lambda p: catalogue(p, names=ON_SKY),
        CONE,
        "expected the argument side_deg",
    ),
    # arrays
    "zarr without maps": (
        lambda p: zarr_file(p, kappa=normal(3, 8, 8)),
        {"side_deg": 5},
        "has the keys kappa; expected one",
    ),
    "zarr without its field": (
        lambda p: zarr_file(p, maps=normal(3, 8, 8)),
        {},
        "does not say how large its field is",
    ),
    "zarr, a chunk missing": (
        lambda p: zarr_file(p, lambda path: (path / "maps/1.0.0").unlink(), maps=normal(3, 8, 8)),
        {"side_deg": 5},
        r"is not a whole zarr folder \(2 of the 3 chunks of its maps",
    ),
    "zarr, a chunk cut off": (
        lambda p: zarr_file(p, lambda path: cut(path / "maps/1.0.0", 0.5), maps=normal(3, 8, 8)),
        {"side_deg": 5},
        r"is not a whole zarr folder \(its chunk 1\.0\.0 has",
    ),
    "zarr 3, a chunk cut off": (
        lambda p: zarr_file(
            p, lambda path: cut(path / "maps/c/1/0/0", 0.5), 3, maps=normal(3, 8, 8)
        ),
        {"side_deg": 5},
        "is not a whole zarr folder",
    ),
    "zarr, no such thing": (
        lambda p: zarr_file(p, lambda path: (path / ".zgroup").unlink()),
        {"side_deg": 5},
        "is not a whole zarr folder",
    ),
    "zarr, other simulations": (
        lambda p: zarr_file(p, maps=normal(3, 8, 8), simulation=np.arange(4)),
        {"side_deg": 5},
        r"simulation numbers of the shape \(4,\), and not one a map of \(3, 8, 8\)",
    ),
    "zarr with NaN": (
        lambda p: zarr_file(p, maps=np.full((3, 8, 8), np.nan)),
        {"side_deg": 5},
        "192 pixels that are NaN",
    ),
    "cosmogan without its field": (
        lambda p: edited_npy(p, normal(2, 16, 16)),
        {},
        "does not say how large its field is; expected the argument side_deg",
    ),
    # FAIR Universe
    "masked, no pixels": (lambda p: fair(p), {"mask": "mask.npy"}, "expected the argument pixels"),
    "masked, no tile": (
        lambda p: fair(p),
        {"mask": "mask.npy", "pixels": 30},
        "no square of 30 × 30 pixels inside; expected pixels to be at most 18, and less for many",
    ),
    "masked, another mask": (
        lambda p: fair(p, np.ones((60, 24), bool)),
        {"mask": "mask.npy", "pixels": 8},
        r"expected floating-point κ, 1440 values",
    ),
    "masked, no mask": (
        lambda p: fair(p, np.ones((60, 24))),
        {"mask": "mask.npy", "pixels": 8},
        "expected a boolean mask",
    ),
    "masked, mask not given": (lambda p: fair(p), {"side_deg": 5}, r"expected \(maps, n, n\)"),
    "masked, cut off": (
        lambda p: cut(fair(p), 0.5),
        {"mask": "mask.npy", "pixels": 8},
        "is not a whole .npy file",
    ),
}


def edited_npy(folder, array):
    np.save(folder / "cosmogan_maps.npy", array.astype(np.float32))
    return folder / "cosmogan_maps.npy"


@pytest.mark.parametrize("make, keywords, words", REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals_are_one_sentence(
    tmp_path, monkeypatch, small_slics, small_ktng, make, keywords, words
):
    monkeypatch.chdir(tmp_path)  # where the mask is
    path = make(tmp_path)
    with pytest.raises(ValueError) as caught:
        open_maps(path, **keywords)
    message = str(caught.value)
    assert re.search(words, message), message
    assert is_one_sentence(message, path) or is_one_sentence(message, "mask.npy"), message
    assert caught.value.__cause__ is None and (
        caught.value.__context__ is None or caught.value.__suppress_context__
    )


@pytest.mark.parametrize(
    "module, make, keywords",
    [
        ("h5py", lambda p: write_ktng(p / "LP001_run001_maps.hdf5"), {}),
        ("healpy", write_cosmogrid, SKY1),
        ("zarr", lambda p: zarr_file(p, maps=normal(3, 8, 8)), {"side_deg": 5}),
        ("astropy", catalogue, CONE),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    tmp_path, monkeypatch, small_ktng, module, make, keywords
):
    path = make(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ImportError, match=rf"needs {module}.*pip install 'lensnb\[formats\]'"
    ) as caught:
        open_maps(path, **keywords)
    assert str(path) in str(caught.value)


# -------------------- a published catalogue that carries both shear and κ


@pytest.fixture
def mice(published):
    return published / "mice_catalogue" / "gal_cat.fits"


def test_published_catalogue_with_the_signs_of_other_axes(mice):
    with pytest.raises(
        ValueError,
        match=r"the correlation -0\.\d+ with its own column kappa; expected other signs",
    ) as caught:
        open_maps(mice, side_deg=0.85, pixels=32)
    assert is_one_sentence(str(caught.value), mice)


def test_published_catalogue_gives_its_own_convergence(mice):
    """Shear at the galaxies → κ_E against the κ of the same galaxies, smoothed with 2′, without
    the outer eighth.
    """
    maps = open_maps(mice, side_deg=0.85, pixels=32, signs=(-1, -1))
    assert maps.provenance["empty_pixels"] == 0 and maps.provenance["correlation_with_kappa"] > 0.7
    galaxies = read_shear(mice, 0.85, signs=(-1, -1))
    x, y, gamma, kappa = (
        torch.from_numpy(a) for a in (galaxies.x, galaxies.y, galaxies.gamma, galaxies.kappa)
    )
    truth = bin_shear(x, y, kappa, 32, 51.0)[0].real
    kappa_e, kappa_b = kaiser_squires(bin_shear(x, y, gamma, 32, 51.0)[0])
    np.testing.assert_allclose(maps.maps[0], kappa_e, atol=1e-7)
    truth, kappa_e, kappa_b = (
        smooth(one, 2.0, 0.85)[4:-4, 4:-4] for one in (truth, kappa_e, kappa_b)
    )
    assert torch.corrcoef(torch.stack([truth.flatten(), kappa_e.flatten()]))[0, 1] > 0.9
    assert kappa_b.var() < 0.15 * kappa_e.var()


def test_published_catalogue_with_one_sign_wrong_has_a_b_mode(mice):
    right, wrong = (read_shear(mice, 0.85, signs=signs) for signs in ((-1, -1), (-1, 1)))
    ratio = []
    for galaxies in (right, wrong):
        x, y, gamma = (torch.from_numpy(a) for a in (galaxies.x, galaxies.y, galaxies.gamma))
        e, b = (
            smooth(one, 2.0, 0.85) for one in kaiser_squires(bin_shear(x, y, gamma, 32, 51.0)[0])
        )
        ratio.append(float(b.var() / e.var()))
    assert ratio[0] < 0.3 < 0.7 < ratio[1]
