"""Sets of maps, their files, their splits and augmentations; the κ transform; the shipped sample."""

import base64
import errno
import io
import json
import math
import os
import re
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from lensnb.data import (
    SAMPLE,
    MapSet,
    block_average,
    load_sample,
    random_crop,
    random_symmetry,
    tiles,
)
from lensnb.transform import KappaTransform


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def maps() -> MapSet:
    """Twelve maps of 16 × 16 pixels from five simulations."""
    kappa = np.random.default_rng(0).normal(0, 0.01, (12, 16, 16)).astype(np.float32)
    return MapSet(
        kappa,
        5.0,
        1.0,
        np.array([7, 7, 7, 3, 3, 9, 9, 9, 1, 1, 4, 4]),
        {"made": "here", "seed": 0},
    )


# ---------------------------------------------------------------- the set


@pytest.mark.parametrize("shape", [(16, 16), (3, 16, 8), (2, 3, 16, 8), (2, 1, 16, 16, 16)])
def test_maps_of_another_shape_are_refused(shape):
    with pytest.raises(
        ValueError, match=re.escape(f"has the shape {shape}; expected (maps, n, n) or")
    ):
        MapSet(np.zeros(shape), 5.0)


def test_maps_of_integers_are_refused():
    with pytest.raises(ValueError, match="floating-point κ, found int64"):
        MapSet(np.zeros((2, 8, 8), np.int64), 5.0)


@pytest.mark.parametrize("side", [None, 0.0, -5.0, math.nan])
def test_a_set_without_field_size_is_refused(side):
    with pytest.raises(ValueError, match=f"side of the field in degrees, above 0, found {side}"):
        MapSet(np.zeros((2, 8, 8)), side)


@pytest.mark.parametrize("labels", [[1], [1, 2, 3], [[1, 2]]])
def test_labels_must_be_one_a_map(labels):
    with pytest.raises(ValueError, match="2 maps need one simulation number each"):
        MapSet(np.zeros((2, 8, 8)), 5.0, simulation=labels)


def test_tensors_become_arrays_and_back():
    kappa = torch.randn(3, 8, 8, dtype=torch.float64, requires_grad=True)
    maps = MapSet(kappa, 5.0)
    assert isinstance(maps.maps, np.ndarray) and maps.simulation.tolist() == [0, 1, 2]
    assert torch.equal(maps.tensor(), kappa.detach().float())


def test_tensor_of_a_read_only_half_precision_file(tmp_path, maps):
    np.save(tmp_path / "maps.npy", maps.maps.astype(np.float16))
    tensor = MapSet(np.load(tmp_path / "maps.npy", mmap_mode="r"), 5.0).tensor()
    tensor[0] = 1  # a copy: writing must neither fail nor reach the file
    assert tensor.dtype == torch.float32 and np.load(tmp_path / "maps.npy").max() < 1


@pytest.mark.parametrize(
    "index",
    [3, -1, np.int64(3), slice(2, 9, 3), [5, 0], np.arange(12) % 2 == 0],
    ids=lambda index: str(index)[:12],
)
def test_a_subset_keeps_its_labels_and_facts(maps, index):
    part = maps[index]
    many = [index] if isinstance(index, int | np.integer) else index
    np.testing.assert_array_equal(part.maps, maps.maps[many])
    np.testing.assert_array_equal(part.simulation, maps.simulation[many])
    assert (part.side_deg, part.z_source, part.provenance) == (5.0, 1.0, maps.provenance)


def test_numbers_of_a_set(maps):
    assert len(maps) == 12 and maps.simulations.tolist() == [1, 3, 4, 7, 9]
    assert (maps.grid.n, maps.grid.side_deg) == (16, 5.0)
    assert repr(maps) == "MapSet: 12 maps of 16 × 16 pixels over 5°, z_s = 1, from 5 simulations"


# ---------------------------------------------------------------- split


def test_split_keeps_simulations_whole_and_apart(maps):
    parts = maps.split(0.4, 0.4, 0.2, seed=3)
    assert [len(part.simulations) for part in parts] == [2, 2, 1]
    assert (
        sorted(np.concatenate([part.simulations for part in parts])) == maps.simulations.tolist()
    )
    assert sum(len(part) for part in parts) == len(maps)
    for part in parts:  # every map of a simulation goes with it, in the order of the set
        np.testing.assert_array_equal(
            part.maps, maps.maps[np.isin(maps.simulation, part.simulations)]
        )


def test_split_is_decided_by_the_seed(maps):
    first, again = (maps.split(0.6, 0.4, seed=1)[0].simulation for _ in range(2))
    np.testing.assert_array_equal(first, again)
    drawn = {tuple(maps.split(0.6, 0.4, seed=seed)[0].simulations) for seed in range(20)}
    assert len(drawn) > 3


def test_split_may_leave_simulations_out(maps):
    train, test = maps.split(0.4, 0.2)
    assert len(train.simulations) == 2 and len(test.simulations) == 1


def test_split_refuses_an_empty_part(maps):
    with pytest.raises(
        ValueError, match=r"5 simulations cannot be split into the parts .*: one would be empty"
    ):
        maps.split(0.95, 0.05)
    with pytest.raises(ValueError, match="1 simulations cannot be split"):
        maps[:3].split(0.5, 0.5)


@pytest.mark.parametrize("fractions", [(0.8, 0.4), (1.2, -0.2), (0.5, 0.0)])
def test_split_refuses_fractions(maps, fractions):
    with pytest.raises(ValueError, match="must be positive and sum to at most 1"):
        maps.split(*fractions)


def test_a_spread_subset_takes_as_many_simulations_as_it_can(maps):
    own = [int((maps.simulation == simulation).sum()) for simulation in maps.simulations]
    assert len(maps.spread(5).simulations) == 5 and len(maps.spread(3, seed=1).simulations) == 3
    for n in range(1, len(maps) + 1):
        few = maps.spread(n, seed=2)
        counts = [int((few.simulation == simulation).sum()) for simulation in maps.simulations]
        most = max(counts)
        assert len(few) == n and all(
            count in (most, most - 1) or count == all_ for count, all_ in zip(counts, own)
        )
    whole = maps.spread(len(maps), seed=3)
    np.testing.assert_array_equal(np.sort(whole.maps.sum((1, 2))), np.sort(maps.maps.sum((1, 2))))
    assert len({tuple(maps.spread(5, seed).maps.sum((1, 2))) for seed in range(10)}) > 5
    np.testing.assert_array_equal(maps.spread(4, 7).maps, maps.spread(4, 7).maps)
    for n in (0, len(maps) + 1):
        with pytest.raises(
            ValueError, match=f"a subset of {n} maps cannot be drawn from a set of {len(maps)}"
        ):
            maps.spread(n)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_save_and_load_bit_for_bit(tmp_path, maps, dtype):
    before = MapSet(maps.maps.astype(dtype), 5.0, maps.z_source, maps.simulation, maps.provenance)
    after = MapSet.load(before.save(tmp_path / "new" / "set.npz"))
    assert after.maps.dtype == dtype and after.maps.tobytes() == before.maps.tobytes()
    np.testing.assert_array_equal(after.simulation, before.simulation)
    assert (after.side_deg, after.z_source, after.provenance) == (5.0, 1.0, before.provenance)


def test_unknown_redshift_survives_a_file(tmp_path, maps):
    assert math.isnan(MapSet.load(MapSet(maps.maps, 5.0).save(tmp_path / "set.npz")).z_source)


def test_names_as_labels_survive_a_file(tmp_path, maps):
    named = MapSet(maps.maps, 5.0, simulation=[f"box {label}" for label in maps.simulation])
    assert (
        MapSet.load(named.save(tmp_path / "set.npz")).simulation.tolist()
        == named.simulation.tolist()
    )


def only_file(folder) -> str:
    """The name of the one file in a folder."""
    (name,) = os.listdir(folder)
    return name


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, maps, monkeypatch):
    old = maps.save(tmp_path / "set.npz").read_bytes()

    def half_way(file, **arrays):
        file.write(b"PK" + bytes(1000))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", half_way)
    with pytest.raises(
        OSError, match=r"could not write .*set\.npz \(No space left on device\)"
    ) as caught:
        maps[:3].save(tmp_path / "set.npz")
    assert caught.value.errno == errno.ENOSPC and caught.value.__suppress_context__
    assert (tmp_path / "set.npz").read_bytes() == old and only_file(tmp_path) == "set.npz"


@pytest.mark.parametrize("error", [KeyboardInterrupt, TypeError])
def test_an_interrupted_save_leaves_the_old_file(tmp_path, maps, monkeypatch, error):
    old = maps.save(tmp_path / "set.npz").read_bytes()

    def interrupted(file, **arrays):
        file.write(bytes(1000))
        raise error

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(error):
        maps.save(tmp_path / "set.npz")
    assert (tmp_path / "set.npz").read_bytes() == old and only_file(tmp_path) == "set.npz"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_leaves_the_old_file(small_disk, maps):
    old = maps.save(small_disk / "set.npz").read_bytes()
    large = MapSet(np.zeros((100, 32, 32)), 5.0)
    with pytest.raises(OSError, match="No space left on device"):
        large.save(small_disk / "set.npz")
    assert (small_disk / "set.npz").read_bytes() == old and only_file(small_disk) == "set.npz"


def test_no_such_set(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz does not exist; expected a map set"):
        MapSet.load(tmp_path / "none.npz")


@pytest.mark.parametrize("keep", [0, 10, 2000, -1])
def test_a_truncated_set(tmp_path, maps, keep):
    path = maps.save(tmp_path / "set.npz")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"set\.npz is not a whole map set") as caught:
        MapSet.load(path)
    assert caught.value.__suppress_context__


def test_an_archive_of_something_else(tmp_path):
    np.savez(tmp_path / "else.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"else\.npz is not a whole map set"):
        MapSet.load(tmp_path / "else.npz")


# ---------------------------------------------------------------- in a notebook


@pytest.mark.parametrize("count", [1, 4, 12])
def test_html_shows_the_first_maps(maps, count):
    html = maps[:count]._repr_html_()
    shown = min(count, 6)
    assert repr(maps[:count]) in html and f'alt="the first {shown} map' in html
    png = base64.b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', html)[1])
    image = Image.open(io.BytesIO(png))
    assert image.size == (shown * 18, 16)  # 16 pixels and a transparent gap of 2 for each map
    alpha = np.asarray(image.convert("RGBA"))[..., 3].reshape(16, shown, 18)
    assert (alpha[..., :16] == 255).all() and (alpha[..., 16:] == 0).all()


def test_html_tells_maps_apart(maps):
    ramp = np.linspace(0, 1, 256).reshape(1, 16, 16)
    html = MapSet(ramp, 5.0)._repr_html_()
    png = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
    brightness = np.asarray(Image.open(io.BytesIO(png)).convert("L"), float)[:, :16].ravel()
    assert (np.diff(brightness) >= 0).all() and brightness[-1] - brightness[0] > 200


@pytest.mark.parametrize(
    "kappa", [np.zeros((0, 8, 8)), np.zeros((2, 8, 8)), np.full((2, 8, 8), 0.1, np.float16)]
)
def test_html_of_empty_and_constant_sets(kappa):
    assert "MapSet: " in MapSet(kappa, 5.0)._repr_html_()


# ---------------------------------------------------------------- augmentation


def test_random_symmetry_draws_each_of_the_eight_images():
    """Counts of the 8 images by a χ² test: fails by chance with probability 1e-4 (χ² > 29.9 for 7 degrees)."""
    one = torch.arange(25.0).reshape(5, 5)
    drawn = random_symmetry(one.expand(4000, 5, 5), seeded(1))
    images = [view for k in range(4) for view in (one.rot90(k), one.rot90(k).flip(1))]
    counts = torch.tensor([(drawn == image).all(-1).all(-1).sum() for image in images])
    assert counts.sum() == 4000
    assert float(((counts - 500) ** 2 / 500).sum()) < 29.9


def test_random_symmetry_copies_and_repeats():
    maps = torch.randn(20, 6, 6, generator=seeded(2), dtype=torch.float64)
    before = maps.clone()
    first, again = (random_symmetry(maps, seeded(3)) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(maps, before)
    assert first.dtype == maps.dtype and not torch.equal(first, maps)


def test_random_crop_cuts_true_windows_everywhere():
    """Counts of the 16 corners by a χ² test: fails by chance with probability 1e-4 (χ² > 44.3 for 15 degrees)."""
    offset = torch.arange(3000) * 1000
    plane = torch.arange(6 * 6).reshape(6, 6)
    windows = (
        random_crop(plane + offset[:, None, None], 3, seeded(4)) - offset[:, None, None]
    )  # of its own map
    corner = windows[:, 0, 0]
    expected = corner[:, None, None] + plane[:3, :3]
    assert torch.equal(windows, expected) and int((corner % 6).max()) <= 3
    counts = torch.bincount(corner, minlength=36).reshape(6, 6)[:4, :4]
    assert counts.sum() == 3000
    assert float(((counts - 3000 / 16) ** 2 / (3000 / 16)).sum()) < 44.3


def test_random_crop_of_the_whole_map_and_of_more():
    maps = torch.randn(3, 8, 8, generator=seeded(5))
    assert torch.equal(random_crop(maps, 8), maps)
    with pytest.raises(ValueError, match="cannot cut 9 × 9 windows out of 8 × 8 maps"):
        random_crop(maps, 9)


# ---------------------------------------------------------------- pixels and fields of another size


@pytest.mark.parametrize("factor", [1, 2, 8, 16])
def test_block_average_is_the_mean_of_each_block(maps, factor):
    coarse = block_average(maps, factor)
    n = 16 // factor
    for i, j in np.ndindex(n, n):
        block = maps.maps[:, i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
        np.testing.assert_allclose(coarse.maps[:, i, j], block.mean((1, 2), np.float64), rtol=1e-6)
    assert coarse.maps.dtype == np.float32 and coarse.maps.shape == (12, n, n)
    assert coarse.side_deg == 5.0 and coarse.simulation.tolist() == maps.simulation.tolist()
    assert (
        coarse.provenance["steps"] == [f"block_average {factor}"]
        and "steps" not in maps.provenance
    )


def test_block_average_of_half_precision_widens_it():
    maps = MapSet(
        np.full((1, 64, 64), 60000, np.float16), 5.0
    )  # the sum of a block would overflow
    coarse = block_average(maps, 32).maps
    assert coarse.dtype == np.float32 and (coarse == np.float16(60000)).all()


@pytest.mark.parametrize("factor", [0, -2, 3, 32])
def test_block_average_refuses_broken_blocks(maps, factor):
    with pytest.raises(
        ValueError, match=f"16 × 16 pixels have no whole blocks of {factor} × {factor}"
    ):
        block_average(maps, factor)


def test_block_average_says_how_to_cut_first():
    maps = MapSet(np.zeros((1, 360, 360), np.float32), 1.76)
    with pytest.raises(ValueError, match="cut them to 357 pixels first, with tiles"):
        block_average(maps, 7)
    coarse = block_average(tiles(maps, 320), 5)
    assert coarse.grid.n == 64 and coarse.side_deg == pytest.approx(1.76 * 320 / 360)
    assert coarse.provenance["steps"] == ["tiles 320", "block_average 5"]


@pytest.mark.parametrize("n, per_map", [(4, 16), (8, 4), (5, 9), (9, 1), (16, 1)])
def test_tiles_are_the_windows_of_their_map(maps, n, per_map):
    cut = tiles(maps, n)
    assert cut.maps.shape == (12 * per_map, n, n) and cut.side_deg == pytest.approx(5.0 * n / 16)
    k = math.isqrt(per_map)
    for tile, (i, row, column) in enumerate(np.ndindex(12, k, k)):
        window = maps.maps[i, row * n : (row + 1) * n, column * n : (column + 1) * n]
        np.testing.assert_array_equal(cut.maps[tile], window)
        assert cut.simulation[tile] == maps.simulation[i]
    assert cut.grid.pixel_arcmin == pytest.approx(maps.grid.pixel_arcmin)


@pytest.mark.parametrize("n", [0, 1, 17])
def test_tiles_refuse(maps, n):
    with pytest.raises(
        ValueError, match=f"cannot cut tiles of {n} × {n} pixels out of 16 × 16 maps"
    ):
        tiles(maps, n)


# ---------------------------------------------------------------- the κ transform


@pytest.fixture(scope="module")
def skewed() -> torch.Tensor:
    """Lognormal pixels as skewed as κ at z_s = 1, float64, shape ``(20, 32, 32)``."""
    return (
        torch.randn(20, 32, 32, generator=seeded(6), dtype=torch.float64).mul(0.35).exp() * 0.03
        - 0.032
    )


def skewness(x: torch.Tensor) -> float:
    d = x - x.mean()
    return float((d**3).mean() / (d**2).mean() ** 1.5)


@pytest.mark.parametrize("logarithm", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_transform_round_trip(skewed, logarithm, dtype, tolerance):
    transform = KappaTransform.fit(skewed, logarithm)
    kappa = torch.linspace(-0.1, 0.5, 1001, dtype=dtype)  # far beyond what was seen, both ways
    x = transform(kappa)
    assert x.dtype == dtype and (x.diff() > 0).all()
    torch.testing.assert_close(transform.inverse(x), kappa, rtol=tolerance, atol=tolerance)
    far = torch.linspace(-12, 12, 1001, dtype=dtype)
    back = transform(transform.inverse(far))
    torch.testing.assert_close(back, far, rtol=100 * tolerance, atol=100 * tolerance)


def test_transform_takes_the_skewness_away(skewed):
    x = KappaTransform.fit(skewed)(skewed)
    assert skewness(skewed) > 0.9 and abs(skewness(x)) < 1e-6
    assert float(x.mean()) == pytest.approx(0, abs=1e-10) and float(x.std()) == pytest.approx(1)


def test_transform_without_logarithm_standardises(skewed):
    x = KappaTransform.fit(skewed, logarithm=False)(skewed)
    torch.testing.assert_close(x, (skewed - skewed.mean()) / skewed.std())


def test_transform_of_maps_skewed_the_other_way_standardises(skewed):
    assert math.isinf(float(KappaTransform.fit(-skewed).shift))


def test_transform_is_smooth_at_the_lowest_value(skewed):
    transform = KappaTransform.fit(skewed)
    low = float(transform.low)
    assert low == float(skewed.min())
    around = torch.tensor(
        [low - 1e-3, low - 1e-9, low, low + 1e-9], dtype=torch.float64, requires_grad=True
    )
    x = transform(around)
    (slope,) = torch.autograd.grad(x.sum(), around)
    torch.testing.assert_close(
        slope, torch.full_like(slope, 1 / float(transform.std)), rtol=1e-6, atol=0
    )
    step = float((x[3] - x[1]).detach())
    assert step == pytest.approx(2e-9 / float(transform.std), rel=1e-4)


@pytest.mark.parametrize("logarithm", [True, False])
def test_transform_log_det_is_that_of_the_jacobian(skewed, logarithm):
    transform = KappaTransform.fit(skewed, logarithm)
    kappa = skewed[:2, :4, :4].clone()
    kappa[0, 0, 0] = -0.05  # below the lowest value as well
    for one, log_det in zip(kappa, transform.log_det(kappa)):
        jacobian = torch.autograd.functional.jacobian(transform, one).reshape(16, 16)
        torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian)[1])
    assert transform.log_det(kappa.float()).dtype == torch.float64


def test_transform_is_whole_in_its_state_dict(skewed):
    transform, other = KappaTransform.fit(skewed), KappaTransform()
    other.load_state_dict(transform.state_dict())
    assert torch.equal(transform(skewed), other(skewed))


@pytest.mark.parametrize("value", [0.0, 0.1, math.nan, math.inf])
def test_transform_refuses_constant_and_infinite_maps(value):
    with pytest.raises(ValueError, match="finite maps that are not constant"):
        KappaTransform.fit(torch.full((2, 8, 8), value))


# ---------------------------------------------------------------- the shipped sample

sample = pytest.mark.skipif(
    not all((SAMPLE / f"{name}.npy").exists() for name in ("train", "truth", "null")),
    reason="no sample in the package",
)


@sample
@pytest.mark.parametrize("name", ["train", "truth", "null"])
def test_sample_is_lazy_and_finite(name):
    maps = load_sample(name)
    assert isinstance(maps.maps, np.memmap) and not maps.maps.flags.writeable
    assert maps.maps.dtype == np.float16 and maps.maps.shape == (1024, 64, 64)
    assert (maps.side_deg, maps.z_source) == (5.0, 1.0)
    kappa = maps.tensor()
    assert kappa.isfinite().all() and 0.005 < float(kappa.std()) < 0.02
    assert json.loads(json.dumps(maps.provenance)) == maps.provenance


@sample
def test_sample_sets_come_from_disjoint_simulations():
    boxes = [set(load_sample(name).simulations.tolist()) for name in ("train", "truth", "null")]
    assert min(len(some) for some in boxes) >= 32
    assert len(set.union(*boxes)) == sum(len(some) for some in boxes)


@sample
def test_sample_is_small():
    vectors = SAMPLE / "vectors.npz"
    assert vectors.stat().st_size < 12e6
    others = [file for file in SAMPLE.iterdir() if file != vectors]
    assert sum(file.stat().st_size for file in others) < 30e6


def test_sample_of_another_name():
    with pytest.raises(
        ValueError, match="the sample has the sets train, truth, null; found 'test'"
    ):
        load_sample("test")
