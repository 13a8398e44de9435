"""What a file says about its maps, and what they look like: units, axes, names, planes, skies."""

import math

import numpy as np
import pytest
import torch

from lensnb.data import load_sample
from lensnb.maps import GaussianField, MapGrid
from lensnb.readers import convert, open_maps
from lensnb.readers.content import one_sight_line
from lensnb.readers.cosmogrid import patch_centres, patch_pixels
from lensnb.shear import shear

fits = pytest.importorskip("astropy.io.fits")
healpy = pytest.importorskip("healpy")


def kappa(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, shape).astype(np.float32)


def refuses(words: str, path, **how) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        open_maps(path, **how)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def image(path, data=None, comments=None, **cards):
    hdu = fits.PrimaryHDU(kappa(32, 32) if data is None else data)
    for name, value in cards.items():
        hdu.header[name] = (value, (comments or {}).get(name, ""))
    hdu.writeto(path, overwrite=True)
    return path


# ---------------------------------------------------------------- the side of a FITS image


@pytest.mark.parametrize(
    "angle, comment",
    [
        (2.0, ""),
        (2.0, "Side angle in degrees"),
        (120.0, "[arcmin]"),
        (7200.0, "side, in arcsec"),
        (math.radians(2), "[ rad ] side"),
        (math.radians(2), "side in radians"),
    ],
)
def test_the_unit_of_angle_is_that_of_its_comment(tmp_path, angle, comment):
    path = image(tmp_path / "a.fits", comments={"ANGLE": comment}, ANGLE=angle)
    assert open_maps(path).side_deg == pytest.approx(2.0)


def test_a_unit_of_angle_that_is_none_and_an_angle_too_large(tmp_path):
    path = image(tmp_path / "a.fits", comments={"ANGLE": "[Mpc/h] side"}, ANGLE=2.0)
    refuses("gives its ANGLE in 'Mpc/h'; expected deg, arcmin", path)
    refuses("says side_deg = 300; expected a flat field", image(tmp_path / "a.fits", ANGLE=300.0))


SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.2}
PIXELS = {
    "cdelt": {"CDELT1": -2 / 32, "CDELT2": 2 / 32},
    "arcmin": {"CDELT1": -3.75, "CDELT2": 3.75, "CUNIT1": "arcmin", "CUNIT2": "arcmin"},
    "turned": {"CD1_1": 0.0, "CD1_2": 0.0625, "CD2_1": 0.0625, "CD2_2": 0.0},
}


@pytest.mark.parametrize("cards", PIXELS.values(), ids=PIXELS)
def test_world_coordinates_give_the_side(tmp_path, cards):
    path = image(tmp_path / "a.fits", **SKY, **cards)
    assert open_maps(path).side_deg == pytest.approx(2.0)
    refuses("says side_deg = 2; the argument says 3.5", path, side_deg=3.5)
    refuses("ANGLE = 3.5 degrees, and pixels that span 2", image(path, **SKY, **cards, ANGLE=3.5))


def test_axes_of_other_quantities_are_no_side(tmp_path):
    path = image(tmp_path / "a.fits", CDELT1=1.0, CDELT2=1.0, CTYPE1="x", CUNIT1="Mpc")
    refuses("does not say how large its field is", path)


def test_oblong_pixels(tmp_path):
    path = image(tmp_path / "a.fits", **SKY, CDELT1=-0.05, CDELT2=0.1)
    refuses("has pixels of 0.05 by 0.1 degrees; expected square", path)


# ---------------------------------------------------------------- what maps are called


@pytest.mark.parametrize(
    "card, name",
    [
        ("OBJECT", "gamma_1"),
        ("EXTNAME", "SHEAR"),
        ("BTYPE", "galaxy counts"),
        ("CONTENT", "mask"),
        ("OBJECT", "magnification mu"),
        ("OBJECT", "lensing potential"),
    ],
)
def test_images_of_something_else_by_name(tmp_path, card, name):
    path = image(tmp_path / "a.fits", ANGLE=2.0, **{card: name})
    refuses(rf"calls its maps '{name}' \(card {card}\); expected κ", path)


@pytest.mark.parametrize("name", ["kappa from shear", "COSMOS field", "weightless", "convergence"])
def test_images_of_kappa_by_name(tmp_path, name):
    assert len(open_maps(image(tmp_path / "a.fits", ANGLE=2.0, OBJECT=name))) == 1


@pytest.mark.parametrize("unit", ["Msun/pc2", "K", "Mpc2/h2"])
def test_images_with_a_unit(tmp_path, unit):
    path = image(tmp_path / "a.fits", ANGLE=2.0, BUNIT=unit)
    refuses(rf"has maps in '{unit}' \(card BUNIT\); expected κ, without a unit", path)
    healpy.write_map(path, sky(), dtype=np.float32, column_units=unit, overwrite=True)
    refuses(rf"has maps in '{unit}' \(column ", path, **PATCH)


@pytest.mark.parametrize("unit", ["", "1", "dimensionless", "none"])
def test_images_without_a_unit(tmp_path, unit):
    assert len(open_maps(image(tmp_path / "a.fits", ANGLE=2.0, BUNIT=unit))) == 1


NO_KAPPA = ["gamma1", "gamma2_0001", "map_shear_3", "Magnification", "lensing_potential", "e1"]


@pytest.mark.parametrize("name", NO_KAPPA)
def test_files_of_something_else_by_name(tmp_path, name):
    maps = kappa(4, 16, 16)
    np.save(tmp_path / f"{name}.npy", maps)
    np.savez(tmp_path / f"{name}.npz", maps=maps)
    image(tmp_path / f"{name}.fits", maps, ANGLE=2.0)
    for ending in ("npy", "npz", "fits"):
        words = rf"calls its maps '{name}' \(its name\); expected κ"
        refuses(words, tmp_path / f"{name}.{ending}", side_deg=2.0)


@pytest.mark.parametrize("name", ["kappa_from_shear", "maps_e2", "run_g1", "no_mask", "gammas"])
def test_files_that_may_hold_kappa_by_name(tmp_path, name):
    np.save(tmp_path / f"{name}.npy", kappa(4, 16, 16))
    assert len(open_maps(tmp_path / f"{name}.npy", 5.0)) == 4


def test_archives_of_something_else_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", gamma1=kappa(2, 16, 16))
    refuses(r"calls its maps 'gamma1' \(its key\)", tmp_path / "a.npz", side_deg=5)


# ---------------------------------------------------------------- two maps that are a shear


def gamma(n=64, each=64):
    truth = load_sample("truth").tensor()[40].double()
    found = shear(truth - truth.mean())[:n, :n]
    return found.real.numpy().astype("f4"), found.imag.numpy().astype("f4")


@pytest.mark.parametrize("n", [64, 40])
@pytest.mark.parametrize("order, sign", [((0, 1), 1), ((0, 1), -1), ((1, 0), 1)])
def test_two_components_of_a_shear_without_a_word_about_it(tmp_path, n, order, sign):
    """The whole periodic field and a cut-out of it; with either sign, and swapped."""
    two = np.stack([gamma(n)[i] for i in order]) * np.array([1, sign], "f4")[:, None, None]
    np.save(tmp_path / "two.npy", two)
    refuses("has two maps that are the components of a shear", tmp_path / "two.npy", side_deg=5)
    np.save(tmp_path / "pairs.npy", np.stack([two, two]))
    refuses("are the components of a shear", tmp_path / "pairs.npy", side_deg=5)


def test_components_of_a_shear_along_either_axis_and_beside_their_kappa(tmp_path):
    two = np.stack(gamma())
    cube = np.stack([load_sample("truth").maps[40].astype("f4"), *two])
    stacks = {
        "components first": np.stack([two, 0.9 * two, 1.1 * two, two], 1),
        "a cube": cube,
        "cubes": np.stack([cube] * 4),
        "cubes, components first": np.stack([cube] * 4, 1),
    }
    for maps in stacks.values():
        np.save(tmp_path / "stack.npy", maps)
        refuses("are the components of a shear", tmp_path / "stack.npy", side_deg=5)


def test_two_maps_of_kappa_are_no_shear(tmp_path):
    """100 pairs. None of 500 had more than 70 % of the power in a mode; 75 % is refused."""
    maps = load_sample("truth").tensor().numpy()
    for number in range(100):
        np.save(tmp_path / "two.npy", maps[10 * number : 10 * number + 2])
        assert len(open_maps(tmp_path / "two.npy", 5.0)) == 2
    channels = np.stack([maps[:4], 1.4 * maps[:4] + kappa(4, 64, 64)], 1)
    np.save(tmp_path / "two.npy", channels)
    assert open_maps(tmp_path / "two.npy", 5.0).channels == 2


# ---------------------------------------------------------------- planes of one sight line


@pytest.mark.parametrize(
    "names, planes",
    [
        (("convergence_z49.fit", "convergence_z128.fit"), True),
        (("k_zs0.5_r1.fits", "k_zs1.0_r1.fits"), True),
        (("kappa_z_1p5.npy", "kappa_z_2p0.npy"), True),
        (("kappa_bin1.npy", "kappa_bin2.npy", "kappa_bin3.npy"), True),
        (("map_tomo1.npy", "map_tomo2.npy"), True),
        (("k_redshift_1.0.npy", "k_redshift_2.0.npy"), True),
        (("k_zbin1_r3.npy", "k_zbin2_r3.npy"), True),
        (("k_bin1_z0.5.npy", "k_bin2_z0.9.npy", "k_bin2_z1.0.npy"), True),
        (("k_bin1_r1.npy", "k_bin1_r2.npy"), False),
        (("robin1.npy", "robin2.npy"), False),
        (("map_1.fits", "map_2.fits"), False),
        (("k_z1_r1.fits", "k_z1_r2.fits"), False),
        (("k_z1_r1.fits", "k_z2_r2.fits"), False),
        (("a/k_z1.fits", "b/k_z2.fits"), False),
        (("quiz1.npy", "quiz2.npy"), False),
    ],
)
def test_names_that_differ_in_a_redshift(tmp_path, names, planes):
    assert one_sight_line([tmp_path / name for name in names]) == planes


def test_files_of_planes_share_the_simulations_of_their_maps(tmp_path):
    for i, z in enumerate((0.5, 1.0, 1.5)):
        np.save(tmp_path / f"kappa_z{z}.npy", kappa(2, 16, 16, seed=i))
    path = tmp_path / "kappa_z*.npy"
    assert open_maps(path, 5.0).simulation.tolist() == [0, 1, 0, 1, 0, 1]
    assert len(open_maps(path, 5.0, simulation="each").simulations) == 6
    assert convert(path, tmp_path / "set.zarr", 5.0).simulation.tolist() == [0, 1, 0, 1, 0, 1]


def test_planes_in_one_file_share_a_simulation(tmp_path):
    path = image(tmp_path / "a.fits", kappa(3, 16, 16), ANGLE=3.5, CTYPE3="REDSHIFT")
    assert open_maps(path).simulation.tolist() == [0, 0, 0]
    planes = {"kappa": kappa(3, 16, 16), "side_deg": 3.5}
    np.savez(tmp_path / "b.npz", z=[0.5, 1.0, 1.5], **planes)
    assert open_maps(tmp_path / "b.npz").simulation.tolist() == [0, 0, 0]
    np.savez(tmp_path / "c.npz", z=[1.0, 1.0, 1.0], **planes)
    assert open_maps(tmp_path / "c.npz").simulation.tolist() == [0, 1, 2]


def test_bins_of_one_sky_are_no_independent_simulations(tmp_path):
    for number in (1, 2, 3):
        np.save(tmp_path / f"kappa_bin{number}.npy", kappa(2, 16, 16, seed=number))
    maps = open_maps(tmp_path / "kappa_bin*.npy", 5.0)
    assert maps.simulation.tolist() == [0, 1, 0, 1, 0, 1]


def test_published_planes_are_of_one_sight_line(published):
    rays = open_maps(published / "lenstools_raytraced" / "convergence_z*.fit")
    assert rays.simulations.tolist() == [0]
    planes = open_maps(published / "lenstools_planes" / "planes_256.npz")
    assert planes.simulations.tolist() == [0] and len(planes) == 48


# ---------------------------------------------------------------- HEALPix

SIZE = 12 * 32**2
PATCH = {"side_deg": 20.0, "pixels": 8}


def sky(seed=0) -> np.ndarray:
    return kappa(SIZE, seed=seed)


def expected_patches(values) -> np.ndarray:
    return np.stack([values[patch_pixels(*at, 20.0, 8, 32)] for at in patch_centres(20.0, 32)])


@pytest.mark.parametrize("nest", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_full_sky_in_either_order(tmp_path, nest, dtype):
    values = sky().astype(dtype)
    stored = healpy.reorder(values, r2n=True) if nest else values
    healpy.write_map(tmp_path / "kappa.fits", stored, nest=nest, dtype=dtype)
    maps = open_maps(tmp_path / "kappa.fits", **PATCH)
    np.testing.assert_array_equal(maps.maps, expected_patches(values))
    assert maps.simulations.tolist() == [f"{tmp_path.name}/kappa.fits"] and maps.side_deg == 20
    again = convert(tmp_path / "kappa.fits", tmp_path / "set.zarr", **PATCH)
    np.testing.assert_array_equal(again.maps, maps.maps)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("mark", [healpy.UNSEEN, np.nan])
def test_of_a_partial_sky_whole_patches_are_cut(tmp_path, partial, mark):
    values = sky()
    latitude = healpy.pix2ang(32, np.arange(SIZE), lonlat=True)[1]
    hidden = latitude < 15
    values[hidden] = mark
    if partial and np.isnan(mark):
        values[hidden] = healpy.UNSEEN  # healpy leaves out only these
    healpy.write_map(tmp_path / "kappa.fits.gz", values, partial=partial, dtype=np.float32)
    maps = open_maps(tmp_path / "kappa.fits.gz", **PATCH)
    whole = expected_patches(np.where(hidden, np.nan, values))
    whole = whole[np.isfinite(whole).all((1, 2))]
    assert 0 < len(whole) < len(patch_centres(20.0, 32)) / 2
    np.testing.assert_array_equal(maps.maps, whole)
    assert maps.provenance["unseen"] == pytest.approx(hidden.mean())


def test_a_column_is_chosen_by_its_name_or_number(tmp_path):
    three = [sky(i) for i in range(3)]
    names = ["KAPPA", "GAMMA1", "GAMMA2"]
    path = tmp_path / "sky.fits"
    healpy.write_map(path, three, column_names=names, dtype=np.float32)
    for source in (None, "KAPPA", 1):
        found = open_maps(path, source=source, **PATCH).maps
        np.testing.assert_array_equal(found, expected_patches(three[0]))
    refuses("calls its maps 'GAMMA2'", path, source=3, **PATCH)
    for source in (0, 4, "kappa2"):
        refuses("has the columns KAPPA, GAMMA1, GAMMA2; expected", path, source=source, **PATCH)
    healpy.write_map(path, three, column_names=["bin1", "bin2", "bin3"], overwrite=True)
    refuses("has the columns bin1, bin2, bin3; expected the argument source", path, **PATCH)
    assert open_maps(path, source="bin2", **PATCH).provenance["column"] == "bin2"


def test_healpix_files_that_are_refused(tmp_path):
    path = tmp_path / "sky.fits"
    healpy.write_map(path, sky(), dtype=np.float32)
    refuses("a HEALPix sky, .* expected the argument side_deg and pixels", path)
    refuses("argument signs means nothing", path, signs=(1, -1), **PATCH)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refuses("is not a whole", path, **PATCH)
    path.write_bytes(whole.replace(b"ORDERING= 'RING    '", b"ORDERING= 'ZIGZAG  '"))
    refuses("card ORDERING = 'ZIGZAG'; expected RING or NESTED", path, **PATCH)
    dark = sky()
    dark[::7] = healpy.UNSEEN
    healpy.write_map(path, dark, dtype=np.float32, overwrite=True)
    refuses("no patch of 20° without unseen pixels: 14% of the sky", path, **PATCH)
    healpy.write_map(path, np.ones(SIZE), dtype=np.int32, overwrite=True)
    refuses("of type .i4; expected floating-point κ", path, **PATCH)


# ---------------------------------------------------------------- catalogues

N, SIDE = 64, 5.0


@pytest.fixture(scope="module")
def field():
    """Shear of a true map at 20,000 galaxies on the sky: ra, dec, γ, κ; and the map."""
    truth = load_sample("truth").tensor()[120].double()
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, N, (2, 20000))
    at = (y.astype(int), x.astype(int))
    dx, dy = (np.radians((one / N - 0.5) * SIDE) for one in (x, y))
    rho = np.hypot(dx, dy)
    c = np.arctan(rho)
    dec = np.degrees(np.arcsin(dy * np.sin(c) / rho))
    ra = 30 + np.degrees(np.arctan2(dx * np.sin(c), np.cos(c) * rho))
    return ra, dec, shear(truth - truth.mean()).numpy()[at], truth.numpy()[at], truth.numpy()


def table(path, units=None, **columns):
    units = units or {}
    made = [
        fits.Column(name, "D", unit=units.get(name), array=values)
        for name, values in columns.items()
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made)]).writeto(
        path, overwrite=True
    )
    return path


def sky_table(
    path, field, signs=(1, 1), names=("ra", "dec", "gamma1", "gamma2"), noise=0.0, **more
):
    ra, dec, gamma, _, _ = field
    rng = np.random.default_rng(1)
    one, two = (part + rng.normal(0, noise, len(ra)) for part in (gamma.real, gamma.imag))
    values = (ra, dec, signs[0] * one, signs[1] * two)
    return table(path, **dict(zip(names, values)), **more)


PIXEL = {"side_deg": SIDE, "pixels": N}
FOUR = [(1, 1), (1, -1), (-1, 1), (-1, -1)]


@pytest.mark.parametrize("needed", FOUR)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_right_pair_of_signs_is_named_and_taken(tmp_path, field, needed, noise):
    path = sky_table(tmp_path / "c.fits", field, needed, noise=noise)
    for signs in FOUR:
        if signs != needed:
            refuses(
                rf"expected the signs \({needed[0]}, {needed[1]}\)", path, signs=signs, **PIXEL
            )
    maps = open_maps(path, signs=needed, **PIXEL)
    assert np.corrcoef(maps.maps[0].ravel(), field[4].ravel())[0, 1] > (0.6 if noise else 0.9)
    assert maps.provenance["e_mode_sigma"] > 10


@pytest.mark.parametrize("needed", FOUR)
def test_a_column_of_kappa_decides_even_under_noise(tmp_path, field, needed):
    path = sky_table(tmp_path / "c.fits", field, needed, noise=0.06, kappa=field[3])
    for signs in FOUR:
        if signs != needed:
            words = rf"own column kappa; .* than \({signs[0]}, {signs[1]}\): \({needed[0]}, {needed[1]}\)"
            refuses(words, path, signs=signs, **PIXEL)
    assert open_maps(path, signs=needed, **PIXEL).provenance["correlation_with_kappa"] > 0.2


def test_noise_alone_and_gaussian_fields_with_either_sign_are_taken(tmp_path, field):
    """Noise has no right signs, and −κ of a Gaussian field looks like κ. 20 and 10 catalogues;
    each is refused about once in 3000 times.
    """
    ra, dec, _, _, _ = field
    for seed in range(20):
        one, two = np.random.default_rng(seed).normal(0, 0.15, (2, len(ra)))
        path = table(tmp_path / "c.fits", ra=ra, dec=dec, gamma1=one, gamma2=two)
        assert len(open_maps(path, **PIXEL)) == 1
    power = lambda ell: 1e-9 / (1 + (ell / 300) ** 2)
    maps = GaussianField.from_power(MapGrid(N, SIDE), power).sample(
        10, torch.Generator().manual_seed(0)
    )
    x, y = np.random.default_rng(0).uniform(0, N, (2, 20000))
    for kappa_map in maps:
        gamma = shear(kappa_map.double()).numpy()[y.astype(int), x.astype(int)]
        where = {"x_arcmin": x / N * 600, "y_arcmin": y / N * 600}
        path = table(tmp_path / "c.fits", **where, shear1=-gamma.real, shear2=-gamma.imag)
        assert len(open_maps(path, pixels=N)) == 1


@pytest.mark.parametrize("name", ["weight", "W", "lensfit_weight"])
def test_weights_are_used(tmp_path, field, name):
    """Noisy galaxies of small weight, and failed ones of weight 0 with any value."""
    ra, dec, gamma, _, truth = field
    rng = np.random.default_rng(2)
    kind = rng.random(len(ra))
    weight = np.where(kind < 0.2, 0.0, np.where(kind < 0.5, 1e-3, 1.0))
    noise = np.where(kind < 0.5, 0.3, 0.0)
    values = gamma + noise * (rng.normal(size=len(ra)) + 1j * rng.normal(size=len(ra))) / 3
    values[kind < 0.2] = -99 - 99j
    columns = {"ra": ra, "dec": dec, "e1": values.real, "e2": values.imag}
    path = table(tmp_path / "c.fits", **columns, **{name: weight})
    maps = open_maps(path, side_deg=SIDE, pixels=32)
    blocks = truth.reshape(32, 2, 32, 2).mean((1, 3))
    assert np.corrcoef(maps.maps[0].ravel(), blocks.ravel())[0, 1] > 0.9
    assert maps.provenance["galaxies"] + maps.provenance["galaxies_outside"] == (weight > 0).sum()


def test_weighted_means_are_sums(field):
    from lensnb.shear import bin_shear, shape_noise

    x, y = torch.tensor([0.5, 0.6, 3.5]), torch.tensor([0.5, 0.5, 3.5])
    gamma, weight = torch.tensor([0.1 + 0.2j, 0.3j, 0.4]), torch.tensor([3.0, 1.0, 0.0])
    mean, count = bin_shear(x, y, gamma, 4, 4.0, weight)
    assert complex(mean[0, 0]) == pytest.approx((0.3 + 0.9j) / 4) and mean[3, 3] == 0
    assert float(count[0, 0]) == pytest.approx(16 / 10) and count[3, 3] == 0
    assert shape_noise(gamma, count)[3, 3] == math.inf


@pytest.mark.parametrize(
    "names",
    [
        ("ra_gal", "dec_gal", "e1_gal", "e2_gal"),
        ("ALPHA_J2000", "DELTA_J2000", "e1", "e2"),
        ("RA", "Dec", "g1", "g2"),
        ("RAJ2000", "DEJ2000", "shear_1", "shear_2"),
    ],
)
def test_usual_names_of_columns(tmp_path, field, names):
    path = sky_table(tmp_path / "c.fits", field, names=names)
    expected = open_maps(sky_table(tmp_path / "d.fits", field), **PIXEL).maps
    np.testing.assert_array_equal(open_maps(path, **PIXEL).maps, expected)


def test_columns_that_are_refused_by_name(tmp_path, field):
    ra, dec, gamma, _, _ = field
    both = {"e1": gamma.real, "e2": gamma.imag, "g1": gamma.real, "g2": gamma.imag}
    path = table(tmp_path / "c.fits", ra=ra, dec=dec, **both)
    refuses("has the columns ra, dec, e1, e2, g1, g2 .* one pair each", path, **PIXEL)
    path = sky_table(path, field, weight_psf=ra)
    refuses("has the weights weight_psf; expected at most one column", path, **PIXEL)
    path = sky_table(path, field, weight=-ra)
    refuses("has a weight that is negative", path, **PIXEL)
    gamma = gamma.copy()
    gamma[5] = 1.5
    path = table(path, ra=ra, dec=dec, gamma1=gamma.real, gamma2=gamma.imag)
    refuses(r"1 galaxies have \|γ\| of 1 or more, the first 1.5", path, **PIXEL)


def test_catalogues_of_which_no_galaxy_counts(tmp_path, field):
    ra = field[0]
    path = sky_table(tmp_path / "c.fits", field, weight=0 * ra)
    refuses(r"has no galaxy with a weight above 0, of 20000; expected some", path, **PIXEL)
    none = np.zeros(0)
    path = table(path, ra=none, dec=none, gamma1=none, gamma2=none)
    refuses("has a table without a row; expected galaxies", path, **PIXEL)


@pytest.mark.parametrize("factor, unit", [(3600, None), (60, None), (3600, "arcmin"), (60, "deg")])
def test_positions_that_are_not_on_the_sky(tmp_path, field, factor, unit):
    ra, dec, gamma, _, _ = field
    where = {"ra": 20 + factor * ra, "dec": 91 + factor * (dec - dec.min())}
    units = {"ra": unit, "dec": unit} if unit else None
    path = table(tmp_path / "c.fits", units, **where, gamma1=gamma.real, gamma2=gamma.imag)
    refuses("of .* degrees; expected at most (90|360), or the unit of these", path, **PIXEL)


def test_units_of_positions(tmp_path, field):
    ra, dec, gamma, _, _ = field
    shears = {"gamma1": gamma.real, "gamma2": gamma.imag}
    expected = open_maps(table(tmp_path / "d.fits", ra=ra, dec=dec, **shears), **PIXEL).maps
    path, radians = tmp_path / "c.fits", {"ra": np.radians(ra), "dec": np.radians(dec)}
    unit = {"ra": "rad", "dec": "rad"}
    found = open_maps(table(path, unit, **radians, **shears), **PIXEL).maps
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.std())
    refuses(r"extend over 0.0872 × 0.0872, as radians", table(path, **radians, **shears), **PIXEL)
    refuses(
        "has ra in 'hourangle'; expected deg",
        table(path, {"ra": "hourangle"}, ra=ra, dec=dec, **shears),
        **PIXEL,
    )
    whole = {"ra": np.linspace(0, 2 * np.pi, len(ra)), "dec": dec / 10}
    refuses("as radians do", table(path, **whole, **shears), side_deg=0.4, pixels=8)
    flat = {"x_arcmin": (ra - ra.min()), "y_arcmin": (dec - dec.min())}
    unit = {"x_arcmin": "deg", "y_arcmin": "deg"}
    maps = open_maps(table(path, unit, **flat, **shears), **PIXEL)
    assert maps.provenance["galaxies"] > 0.95 * len(ra)
