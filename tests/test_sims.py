"""Light cones: their geometry, the bookkeeping of boxes, and the physics of real boxes.

The geometry is tested against plain arithmetic and integrals. Statistical tests use fixed seeds;
each says how often a correct code would fail it with another seed.
"""

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from scipy.integrate import quad
from waiting import HANGS

from lensnb import theory
from lensnb.__main__ import main
from lensnb.data import SAMPLE, load_sample
from lensnb.files import write_json
from lensnb.maps import MapGrid
from lensnb.readers import open_maps
from lensnb.sims import (
    LightCone,
    boxes,
    cut_maps,
    cutting,
    kappa_maps,
    nbody,
    simulate_boxes,
    simulation_pairs,
)
from lensnb.sims.born import born_map, born_weights, pixel_weights, shot_noise
from lensnb.sims.boxes import plane_file
from lensnb.sims.cone import cone_from
from lensnb.sims.nbody import particle_positions, project, simulate_box
from lensnb.sims.pairs import cheap_cone
from lensnb.sims.sample import boxes_of, make_sample, maps_of_box, sample_cone, shipped_boxes
from lensnb.stats import band_averages, cutout_power, power_spectrum
from lensnb.store import MapWriter
from lensnb.theory import Cosmology

pytest.importorskip("pyccl")

TINY = LightCone(n_planes=3, n_particles=32, plane_size=64, max_step=0.3)


@pytest.fixture(scope="module", autouse=True)
def tidy():
    """pyccl's objects complain when they outlive the interpreter's shutdown."""
    yield
    theory.ccl_cosmology.cache_clear()


@pytest.fixture(scope="session")
def pmpp():
    return pytest.importorskip("pmpp")


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize("cone", [LightCone(), TINY])
def test_steps_hit_every_plane(cone):
    steps = cone.steps()
    assert steps[0] == cone.a_start and steps[-1] == cone.scale_factors[0]
    assert (np.diff(steps) > 0).all() and np.diff(steps).max() <= cone.max_step + 1e-12
    assert set(cone.scale_factors) <= set(
        steps
    )  # exactly, since that is how a plane is recognised
    np.testing.assert_allclose(
        theory.comoving_distance(1 / cone.scale_factors - 1), cone.chi, rtol=1e-5
    )
    np.testing.assert_allclose(np.diff(cone.chi), cone.box_size)


def test_one_particle_is_shared_by_the_four_nearest_nodes():
    cell = TINY.box_size / TINY.plane_size
    position = np.array([[5.25, 10.5, 63.75]]) * cell
    expected = {
        0: {
            (10, 63): 0.125,
            (10, 0): 0.375,
            (11, 63): 0.125,
            (11, 0): 0.375,
        },  # along the first axis; it wraps round
        1: {(5, 63): 0.1875, (5, 0): 0.5625, (6, 63): 0.0625, (6, 0): 0.1875},
        2: {(5, 10): 0.375, (5, 11): 0.375, (6, 10): 0.125, (6, 11): 0.125},
    }
    for axis, weights in expected.items():
        counts = (project(position, axis, TINY) + 1) / TINY.plane_size**2
        found = {
            tuple(map(int, node)): float(counts[tuple(node)]) for node in np.argwhere(counts > 0)
        }
        assert found == pytest.approx(weights)


def test_projection_conserves_mass_and_is_periodic():
    rng = np.random.default_rng(1)
    position = rng.uniform(0, TINY.box_size, (5000, 3))
    for axis in range(3):
        plane = project(position, axis, TINY)
        assert abs(plane.mean()) < 1e-12
        shifted = project((position + TINY.box_size / 4) % TINY.box_size, axis, TINY)
        np.testing.assert_allclose(shifted, np.roll(plane, (16, 16), (0, 1)), atol=1e-9)
    edge = project(
        np.full((1, 3), TINY.box_size), 0, TINY
    )  # rounding may put a particle on the far side itself
    assert edge.argmax() == 0 and abs(edge.mean()) < 1e-12


@pytest.mark.parametrize("chi", [106.0, 954.0, 2226.0])
@pytest.mark.parametrize("shift", [0.0, 0.37])
def test_pixels_average_the_plane(chi, shift):
    """Constant and linear planes come back exactly; a node counts once in all, spread over the
    pixels that see it.
    """
    cone, n_pix = LightCone(), 64
    weights = pixel_weights(cone, chi, n_pix, 5.0, shift).toarray().astype(float)
    cells = (
        math.radians(5.0) * chi / cone.box_size * cone.plane_size / n_pix
    )  # a pixel's side in cells
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    start = shift * cone.plane_size
    x = (
        np.arange(cone.plane_size) - start
    ) % cone.plane_size  # distance from the map's edge, without a jump in the map
    x[x > cone.plane_size - 1] -= cone.plane_size
    centre = (np.arange(n_pix) + 0.5) * cells
    inner = centre < cone.plane_size - 2 - cells
    np.testing.assert_allclose((weights @ x)[inner], centre[inner], rtol=1e-5, atol=1e-4)
    seen = (x > 1) & (x < n_pix * cells - 1)
    spacing = cells / math.ceil(
        2 * cells
    )  # of the points that sample the interpolation, a hat two cells wide
    ripple = (
        2 * (np.sinc(np.arange(1, 100_000) / spacing) ** 2).sum()
    )  # Poisson's sum: how far a sampled hat is from its area
    assert ripple < 0.04
    np.testing.assert_allclose(weights[:, seen].sum(0) * cells, 1, atol=ripple + 1e-5)
    assert (weights >= 0).all()


@pytest.mark.parametrize("z_source", [0.3, 0.65, 1.0])
def test_born_weights_are_the_integral_of_the_kernel(z_source):
    cone = LightCone()
    found = born_weights(cone, z_source)
    source = float(theory.comoving_distance(z_source))
    for i, weight in enumerate(found):
        low, high = i * cone.box_size, min((i + 1) * cone.box_size, source)
        if low >= source:
            assert weight == 0
        else:
            expected = quad(lambda chi: float(theory.lensing_kernel(chi, z_source)), low, high)[0]
            assert weight == pytest.approx(expected, rel=1e-4)


def test_a_source_behind_the_cone_is_refused():
    with pytest.raises(
        ValueError,
        match=r"z_source = 1.5 is at \d+ Mpc/h, behind the light cone, which ends at 2332",
    ):
        born_weights(LightCone(), 1.5)


# ---------------------------------------------------------------- maps from planes

TWO = LightCone(n_planes=2, plane_size=256)
Z_TWO = (0.06, 0.1, 0.145)  # sources in front of, within and behind the second plane's centre


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Planes of three boxes, white noise."""
    path = tmp_path_factory.mktemp("planes")
    for box in (3, 4, 5):
        planes = np.random.default_rng(box).normal(size=(2, 3, 256, 256)).astype(np.float16)
        np.save(plane_file(path, box), planes)
    return path


# Two slabs a box; three planes are one crossing and a half.
HALVES = LightCone(n_planes=3, plane_size=64, planes_per_box=2)


def test_planes_are_as_thick_as_their_share_of_the_box():
    wide = replace(LightCone(), box_size=424.0, planes_per_box=2)
    assert wide.thickness == 212.0 and wide.reach == 2332.0
    assert np.array_equal(wide.chi, LightCone().chi)
    assert np.array_equal(born_weights(wide, 1.0), born_weights(LightCone(), 1.0))
    assert wide.key(7) == LightCone().key(7)
    with pytest.raises(ValueError, match="at least one lens plane, found planes_per_box = 0"):
        LightCone(planes_per_box=0)


def test_slabs_share_the_particles_of_a_box():
    """Their contrasts, against the mean of the box, average to that of the whole box."""
    position = np.random.default_rng(3).uniform(0, 212.0, (4000, 3))
    position[:1000, 1] *= 0.5  # more in the near half of the second axis
    for axis in range(3):
        near, far = (project(position, axis, HALVES, slab) for slab in (0, 1))
        whole = project(position, axis, replace(HALVES, planes_per_box=1))
        np.testing.assert_allclose((near + far) / 2, whole, atol=1e-9)
    near = project(position, 1, HALVES, 0)
    inside = (position[:, 1] < 106.0).mean()
    assert near.mean() == pytest.approx(2 * inside - 1) and near.mean() > 0.2


def test_pieces_of_many_particles_are_projected_as_one(monkeypatch):
    position = np.random.default_rng(4).uniform(0, 212.0, (1000, 3))
    for slab in (0, 1):
        whole = project(position, 2, HALVES, slab)
        with monkeypatch.context() as patch:
            patch.setattr(nbody, "_PIECE", 300)
            np.testing.assert_allclose(project(position, 2, HALVES, slab), whole, atol=1e-9)


def test_each_plane_has_its_own_slab(monkeypatch):
    """Particles of the box on a grid, twice as dense in the far half of the third axis."""
    cone = replace(HALVES, n_particles=4, plane_size=4)
    grid = np.stack(np.meshgrid(*[np.arange(8) * 26.5] * 3, indexing="ij"), -1).reshape(-1, 3)
    far = grid[grid[:, 2] >= 106.0]

    def stand_still(box, cone):
        for a in cone.steps():
            yield float(a), np.concatenate([grid, far])

    monkeypatch.setattr(nbody, "particle_positions", stand_still)
    means = simulate_box(0, cone).astype(float).mean((-2, -1))
    third = [-1 / 3, 1 / 3, -1 / 3]
    np.testing.assert_allclose(means, np.transpose([[0] * 3, [0] * 3, third]), atol=1e-3)


def test_light_crosses_a_box_along_one_line():
    """The slabs of a crossing are seen with the same axis, shift and flips; the next is not."""
    wave = 2 * np.pi * np.arange(64) / 64
    view = np.cos(wave)[:, None] + 2 * np.sin(2 * wave) + np.cos(3 * wave[:, None] + wave)
    same = np.stack([(axis + 1) * view for axis in range(3)])
    cone = replace(HALVES)
    vars(cone)["transverse"] = np.full(3, 500.0)  # so that all planes would give the same map
    weights = born_weights(cone, 0.1)
    for seed in range(5):
        maps = []
        for plane in range(3):
            planes = np.zeros((3, 3, 64, 64))
            planes[plane] = same
            kappa = born_map(planes, cone, np.random.default_rng(seed), [0.1], 16, 5.0)[0]
            maps.append(kappa / weights[plane])
        np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)
        assert np.abs(maps[2] - maps[0]).max() > 0.1


@pytest.mark.parametrize("slabs", [1, 2])
def test_unclustered_particles_have_the_shot_noise(slabs):
    """Maps as wide as the box, one plane. 40 boxes with 24 modes each know C_ℓ to 1/√480 = 5 %;
    four times that fails by chance with probability 6e-5.
    """
    cone = LightCone(n_planes=1, n_particles=16, plane_size=64, planes_per_box=slabs)
    side = math.degrees(cone.box_size / cone.chi[0])
    grid = MapGrid(64, side)
    rng = np.random.default_rng(6)
    maps = []
    for _ in range(40):
        position = rng.uniform(0, cone.box_size, (16**3, 3))
        planes = np.broadcast_to(project(position, 0, cone), (1, 3, 64, 64))
        maps.append(born_map(planes, cone, rng, [0.03], 64, side)[0])
    edges = np.array([0.5, 3.1]) * grid.ell_min
    found = power_spectrum(torch.from_numpy(np.array(maps)), side, edges).mean()
    assert float(found) == pytest.approx(shot_noise(cone, 0.03), rel=4 * 0.05)


def test_a_wide_field_fits_a_wide_box_only(tmp_path):
    wide = LightCone(box_size=424.0, planes_per_box=2, plane_size=64)
    planes = np.random.default_rng(5).normal(size=(11, 3, 64, 64)).astype(np.float16)
    np.save(plane_file(tmp_path, 0), planes)
    maps = kappa_maps([0], tmp_path, 1, wide, n_pix=32, side_deg=10.0)
    assert maps.maps.shape == (1, 32, 32) and maps.side_deg == 10.0
    with pytest.raises(ValueError, match="10.0 deg is 389 Mpc/h wide .* box of 212.0 Mpc/h"):
        kappa_maps([0], tmp_path, 1, LightCone(plane_size=64), n_pix=32, side_deg=10.0)


def test_records_of_earlier_versions_are_the_same(tmp_path, quick):
    """A record has no setting that came later, unless it is used."""
    names = (
        "cosmology box_size n_planes n_particles mesh_factor plane_size a_start max_step seed"
    ).split()
    assert list(LightCone().as_dict()) == names
    assert list(LightCone().as_dict()["cosmology"]) == "omega_m sigma8 h n_s omega_b".split()
    about = json.loads((SAMPLE / "sample.json").read_text())
    assert sample_cone().as_dict() == about["provenance"]["cone"]
    write_json(tmp_path / "cone.json", about["provenance"]["cone"])
    assert boxes.cone_of(tmp_path) == sample_cone()
    simulate_boxes([], tmp_path, sample_cone())
    for later in ({"planes_per_box": 2}, {"delta_b": 0.1}):
        cone = replace(sample_cone(), **later)
        assert cone_from(json.loads(json.dumps(cone.as_dict()))) == cone
        with pytest.raises(ValueError, match="holds boxes made with other settings"):
            simulate_boxes([], tmp_path, cone)


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], {}),
        (["--cone", "fine"], {"n_particles": 256, "plane_size": 1024}),
        (
            ["--cone", "wide", "--delta-b", "-0.05"],
            {
                "n_particles": 256,
                "plane_size": 1024,
                "box_size": 424.0,
                "planes_per_box": 2,
                "delta_b": -0.05,
            },
        ),
    ],
)
def test_the_command_makes_both_large_cones_and_resumes(tmp_path, quick, words, expected):
    words = ["simulate", "0", "1", str(tmp_path), "--sigma8", "0.8", *words]
    assert main(words) == 0 and main(words) == 0
    assert quick == [0, 1]
    assert boxes.cone_of(tmp_path) == LightCone(Cosmology(sigma8=0.8), **expected)


def test_maps_know_their_box_and_their_making(folder):
    maps = kappa_maps([3, 5], folder, 4, TWO, 0.1, n_pix=16)
    assert maps.maps.shape == (8, 16, 16) and maps.maps.dtype == np.float32
    assert (
        maps.simulation.tolist() == [3] * 4 + [5] * 4
        and maps.side_deg == 5.0
        and maps.z_source == 0.1
    )
    assert maps.provenance["cone"] == json.loads(json.dumps(TWO.as_dict()))
    assert len(np.unique(maps.maps[:, 0, 0])) == 8


def test_a_map_does_not_depend_on_which_others_are_made(folder):
    one = kappa_maps([4], folder, 2, TWO, 0.1, n_pix=16)
    more = kappa_maps([5, 4, 3], folder, 3, TWO, 0.1, n_pix=16)
    assert np.array_equal(more[more.simulation == 4].maps[:2], one.maps)


def test_each_map_has_a_seed_of_its_own(folder, tmp_path):
    """The same planes under another number, or in another suite, are cut into other maps."""
    for box in (3, 4):
        np.save(plane_file(tmp_path, box), np.load(plane_file(folder, 3)))
    maps = kappa_maps([3, 4], tmp_path, 3, TWO, 0.1, n_pix=16).maps
    other = kappa_maps([3, 4], tmp_path, 3, replace(TWO, seed=1), 0.1, n_pix=16).maps
    assert len(np.unique(np.concatenate([maps, other])[:, 0, 0])) == 12


def test_several_redshifts_see_the_same_planes(folder):
    together = kappa_maps([3, 4], folder, 2, TWO, Z_TWO, n_pix=16)
    assert [maps.z_source for maps in together] == list(Z_TWO)
    for maps in together:
        assert np.array_equal(
            maps.maps, kappa_maps([3, 4], folder, 2, TWO, maps.z_source, n_pix=16).maps
        )


def test_uniform_planes_give_the_sum_of_their_weights():
    planes = np.stack([np.full((3, 256, 256), value) for value in (0.3, -0.2)])
    kappa = born_map(planes, TWO, np.random.default_rng(2), Z_TWO, 8, 5.0)
    for one, z in zip(kappa, Z_TWO):
        np.testing.assert_allclose(one, born_weights(TWO, z) @ [0.3, -0.2], rtol=1e-5)


def test_each_plane_is_seen_along_all_axes_and_in_all_eight_symmetries():
    """The map of a whole periodic plane that rises steeply and falls slowly, along columns twice
    as much as along rows. The third moment of its slope tells how it was turned and mirrored,
    wherever it starts; its mean tells the axis.
    """
    cone, wave = LightCone(n_planes=1, plane_size=64), 2 * np.pi * np.arange(64) / 64
    saw = np.cos(wave) + 0.5 * np.sin(2 * wave)
    planes = np.stack([saw[:, None] + 2 * saw + 100 * axis for axis in range(3)])[None]
    whole = math.degrees(cone.box_size / cone.chi[0])
    seen = set()
    for seed in range(300):
        kappa = (
            born_map(planes, cone, np.random.default_rng(seed), [0.06], 32, whole)[0]
            / born_weights(cone, 0.06)[0]
        )
        down, across = ((np.roll(kappa, -1, axis) - kappa) for axis in (0, 1))
        down, across = (down**3).mean(), (across**3).mean()
        seen.add((round(kappa.mean() / 100), down > 0, across > 0, abs(down) > abs(across)))
    assert (
        len(seen) == 3 * 8
    )  # each is as likely as any other: one is missed by chance with probability 7e-5


def test_angles_and_distances_meet_in_the_spectrum(tmp_path):
    """White planes of variance s² a cell at distance χ: C_ℓ = w² s² (cell/χ)², times the windows
    of the interpolation and of the pixels.

    Four bins within 4 standard errors over 24 boxes: fails by chance with probability about 2e-3
    (few boxes, hence Student's t).
    """
    cone, n_pix = LightCone(n_planes=2, plane_size=512), 64
    for box in range(24):
        planes = np.zeros((2, 3, 512, 512), np.float16)
        planes[1] = np.random.default_rng([7, box]).normal(size=(3, 512, 512))
        np.save(plane_file(tmp_path, box), planes)
    maps = kappa_maps(range(24), tmp_path, 4, cone, 0.14, n_pix=n_pix)
    edges = np.array([70.0, 150.0, 250.0, 400.0, 600.0])
    found = power_spectrum(maps.tensor(), 5.0, edges).numpy().reshape(24, 4, -1).mean(1)
    grid, cell = MapGrid(n_pix, 5.0), cone.box_size / cone.plane_size / cone.chi[1]
    row = grid.ell_min * np.fft.fftfreq(n_pix, 1 / n_pix)
    along = (
        np.sinc(row * cell / (2 * np.pi)) ** 4
        * np.sinc(row * math.radians(5 / n_pix) / (2 * np.pi)) ** 2
    )
    windows = (along[:, None] * along[None, : n_pix // 2 + 1]) * grid.multiplicity.numpy()
    ell = grid.ell.numpy()
    for i, (low, high) in enumerate(zip(edges, edges[1:])):
        inside = (ell >= low) & (ell < high)
        window = windows[inside].sum() / grid.multiplicity.numpy()[inside].sum()
        expected = born_weights(cone, 0.14)[1] ** 2 * cell**2 * window
        assert abs(found[:, i].mean() - expected) < 4 * found[:, i].std(ddof=1) / math.sqrt(24)


def test_pairs_share_their_lines_of_sight(tmp_path, monkeypatch):
    """With planes that do not depend on the steps, the two maps are equal."""

    def noise(box, cone):
        return np.random.default_rng(box).normal(size=(2, 3, 256, 256)).astype(np.float16)

    monkeypatch.setattr(boxes, "simulate_box", noise)
    pairs = simulation_pairs([3, 5], tmp_path, 4, (TWO, cheap_cone(TWO)), 0.1, n_pix=16)
    assert np.array_equal(pairs.maps, pairs.given["cheap"]) and len(pairs) == 8
    assert pairs.provenance["cheap_cone"]["mesh_factor"] == 1
    assert plane_file(tmp_path / "cheap", 5).exists()
    assert len(LightCone().steps()) == 18 and len(cheap_cone().steps()) == 12
    other = (TWO, replace(cheap_cone(TWO), seed=1))
    with pytest.raises(ValueError, match="expected another max_step and mesh_factor only"):
        simulation_pairs([3], tmp_path, 4, other, 0.1, n_pix=16)


@pytest.fixture
def with_cone(folder):
    """The planes of three boxes with the record of their light cone."""
    write_json(folder / "cone.json", TWO.as_dict())
    return folder


def test_maps_are_cut_in_rounds_and_continued(with_cone, tmp_path, monkeypatch):
    """A set that was stopped within a round ends as one that was not."""
    monkeypatch.setattr(cutting, "A_ROUND", 4)
    where = (with_cone, tmp_path / "set.zarr")
    cut_maps([3, 5], *where, 6, z_source=0.1, n_pix=16)
    found = open_maps(where[1])
    assert found.simulation.tolist() == [3] * 4 + [5] * 4 + [3] * 2 + [5] * 2
    expected = kappa_maps([3, 5], with_cone, 6, TWO, 0.1, n_pix=16)
    for box in (3, 5):
        same = expected[expected.simulation == box].maps.astype(np.float16)
        assert np.array_equal(np.asarray(found[found.simulation == box].maps), same)
    part = tmp_path / "part.zarr"
    with MapWriter(part, 5.0, 0.1) as writer:
        writer.append(np.asarray(found.maps[:5]), found.simulation[:5])
    cut_maps([3, 5], with_cone, part, 6, z_source=0.1, n_pix=16)
    assert np.array_equal(np.asarray(open_maps(part).maps), np.asarray(found.maps))
    with pytest.raises(ValueError, match="holds maps of other boxes"):
        cut_maps([3, 4], with_cone, part, 6, z_source=0.1, n_pix=16)


def test_the_command_cuts_maps(with_cone, tmp_path, capsys):
    out = tmp_path / "set.zarr"
    words = [str(with_cone), str(out), "--maps", "2", "--pixels", "16", "--z-source", "0.1"]
    assert main(["cut", "3", "5", *words]) == 0
    assert len(open_maps(out)) == 6
    assert main(["cut", "4", "5", *words]) == 1
    assert "holds maps of other boxes" in capsys.readouterr().err
    assert main(["cut", "6", "6", words[0], str(tmp_path / "new.zarr"), *words[2:]]) == 1
    assert "box_00006.npy is missing" in capsys.readouterr().err
    assert main(["cut", "3", "5", str(tmp_path), *words[1:]]) == 1
    assert "cone.json is missing" in capsys.readouterr().err
    assert main(["cut", "3", "5", *words[:2], "--maps", "0"]) == 1
    assert "a box needs at least 1 map, found 0" in capsys.readouterr().err


def test_a_missing_box_is_named(folder):
    with pytest.raises(
        FileNotFoundError, match="box_00009.npy is missing: run simulate_boxes for box 9 first"
    ):
        kappa_maps([3, 9], folder, 1, TWO, 0.1, n_pix=8)


def test_a_field_wider_than_the_box_is_refused(folder):
    with pytest.raises(
        ValueError,
        match="a field of 60.0 deg is 333 Mpc/h wide .* wider than the box of 212.0 Mpc/h",
    ):
        kappa_maps([3], folder, 1, TWO, 0.1, n_pix=8, side_deg=60.0)


# ---------------------------------------------------------------- the bookkeeping of boxes


@pytest.fixture
def quick(monkeypatch):
    """Boxes that take no time; the list of those that were run."""
    run = []

    def simulate(box, cone):
        run.append(box)
        return np.full((cone.n_planes, 3, 4, 4), box, np.float16)

    monkeypatch.setattr(boxes, "simulate_box", simulate)
    return run


def test_finished_boxes_are_kept(tmp_path, quick):
    files = simulate_boxes([1, 2], tmp_path, TINY)
    assert files == [plane_file(tmp_path, 1), plane_file(tmp_path, 2)] and quick == [1, 2]
    times = [file.stat().st_mtime_ns for file in files]
    assert simulate_boxes(range(4), tmp_path, TINY)[1:3] == files and quick == [1, 2, 0, 3]
    assert [file.stat().st_mtime_ns for file in files] == times
    assert (np.load(plane_file(tmp_path, 3)) == 3).all()


def test_boxes_may_run_at_a_time(tmp_path, quick):
    with ThreadPoolExecutor(2) as executor:
        files = simulate_boxes(range(5), tmp_path, TINY, executor=executor)
    assert sorted(quick) == list(range(5))
    assert [float(np.load(file)[0, 0, 0, 0]) for file in files] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_box_leaves_no_half_file(tmp_path, quick, monkeypatch, error):
    simulate_boxes([1], tmp_path, TINY)
    save = np.save

    def half(file, planes):
        file.write(b"half of a file")
        raise error

    monkeypatch.setattr(np, "save", half)
    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        simulate_boxes([1, 2], tmp_path, TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["box_00001.npy", "cone.json"]
    monkeypatch.setattr(np, "save", save)
    simulate_boxes([1, 2], tmp_path, TINY)
    assert quick == [1, 2, 2] and (np.load(plane_file(tmp_path, 2)) == 2).all()


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"n_particles": 64},
        {"cosmology": Cosmology(sigma8=0.7)},
        {"box_size": 212.5},
        {"max_step": 0.2},
    ],
)
def test_a_folder_of_other_settings_is_refused(tmp_path, quick, other):
    simulate_boxes([1], tmp_path, TINY)
    with pytest.raises(ValueError, match="holds boxes made with other settings") as caught:
        simulate_boxes([1, 2], tmp_path, replace(TINY, **other))
    assert "\n" not in str(caught.value) and quick == [1]
    simulate_boxes([1], tmp_path, replace(TINY))  # equal settings are the same


@pytest.mark.parametrize("seed", [-1, 4294, 2**32, 10**23, 1.5, "1", None])
def test_seeds_that_would_repeat_other_boxes(seed):
    with pytest.raises(ValueError, match="seed must be (from 0 to 4293|a whole number), found"):
        LightCone(seed=seed)


def test_no_two_boxes_share_their_random_numbers():
    """JAX keeps 32 bits of a key."""
    last = LightCone(seed=np.int64(4293))
    assert last.key(1_000_002) < 2**32 and json.dumps(last.as_dict())
    keys = {
        replace(TINY, seed=seed).key(box) for seed in (0, 1, 4293) for box in (0, 7, 1_000_002)
    }
    assert len(keys) == 9
    assert LightCone(seed=2).key(5) == 2_000_011  # as ever
    with pytest.raises(ValueError, match="boxes have numbers from 0 to 1000002, found 1000003"):
        last.key(1_000_003)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["0", "0", "--seed", "99999999999999999999999"], "seed must be from 0 to 4293"),
        (["0", "0", "--seed", "4294967296"], "seed must be from 0 to 4293"),
        (["0", "0", "--workers", "-4"], "workers must be at least 1, found -4"),
        (["0", "0", "--workers", "0"], "workers must be at least 1, found 0"),
        (["0", "0", "--sigma8", "50"], "sigma8 must be at most 3, found 50"),
        (["5", "1"], "there is no box from 5 to 1; expected the first box first"),
        (["1000003", "1000003"], "boxes have numbers from 0 to 1000002"),
        (["-1", "1"], "boxes have numbers from 0"),
    ],
)
def test_the_command_refuses_numbers_that_make_no_sense(tmp_path, quick, capsys, words, sentence):
    folder = tmp_path / "planes"
    assert main(["simulate", *words[:2], str(folder), *words[2:]]) == 1
    assert sentence in capsys.readouterr().err
    assert quick == [] and not folder.exists()


@pytest.mark.parametrize("text", ["", '{"seed"', "[1]", "\udcff", "[" * 20000])
def test_settings_that_cannot_be_read(tmp_path, quick, text):
    (tmp_path / "cone.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match="cone.json cannot be read; expected the settings"):
        simulate_boxes([1], tmp_path, TINY)
    assert quick == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_as_settings_is_not_waited_for(tmp_path, quick):
    os.mkfifo(tmp_path / "cone.json")
    with pytest.raises(ValueError, match="cone.json cannot be read"):
        simulate_boxes([1], tmp_path, TINY)


def test_without_pmpp_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pmpp", None)
    with pytest.raises(
        ImportError, match=r"simulations need PM\+\+, .*: pip install 'lensnb\[sims\]'"
    ):
        simulate_box(0, LightCone(n_planes=1, seed=1234))


# ---------------------------------------------------------------- the boxes of the sample


def test_no_box_belongs_to_two_sets():
    numbers = {name: boxes_of(name) for name in ("train", "truth", "null", "sealed")}
    assert {name: len(some) for name, some in numbers.items()} == {
        "train": 64,
        "truth": 256,
        "null": 256,
        "sealed": 64,
    }
    assert len(set().union(*numbers.values())) == 64 + 256 + 256 + 64


@pytest.mark.parametrize("name", ["train", "truth", "null"])
def test_the_first_boxes_are_those_of_the_shipped_maps(name):
    assert boxes_of(name, 32) == load_sample(name).simulations.tolist()
    assert set(boxes_of(name, 32)) < shipped_boxes(sample_cone())


def test_wrong_numbers_of_boxes_are_refused():
    with pytest.raises(ValueError, match="the set 'truth' has 1 to 256 boxes; found 257"):
        boxes_of("truth", 257)
    with pytest.raises(ValueError, match="train, truth, null, sealed; found 'test'"):
        boxes_of("test")


def test_maps_of_a_shipped_box_are_the_shipped_ones(tmp_path):
    """Without any planes."""
    null = load_sample("null")
    maps = maps_of_box(129, tmp_path, sample_cone())
    assert np.array_equal(maps.maps, null.maps[32:64]) and set(maps.simulation) == {129}
    with pytest.raises(FileNotFoundError, match="box_01000.npy is missing"):
        maps_of_box(1000, tmp_path, sample_cone())


def test_maps_of_other_boxes_are_rounded_as_the_shipped_ones(tmp_path):
    """Also where another cone has a box of the same number."""
    cone = LightCone(plane_size=64)
    planes = np.random.default_rng(0).normal(size=(11, 3, 64, 64)).astype(np.float16)
    np.save(plane_file(tmp_path, 129), planes)
    maps = maps_of_box(129, tmp_path, cone)
    expected = kappa_maps([129], tmp_path, 32, cone).maps.astype(np.float16)
    assert maps.maps.dtype == np.float16 and np.array_equal(maps.maps, expected)


def test_a_small_sample(tmp_path, monkeypatch):
    """The files that load_sample reads, from boxes of noise."""

    def noise(box, cone):
        return np.random.default_rng(box).normal(size=(11, 3, 64, 64)).astype(np.float16)

    monkeypatch.setattr(boxes, "simulate_box", noise)
    make_sample(tmp_path / "planes", tmp_path / "out", 2, 6, LightCone(plane_size=64))
    about = json.loads((tmp_path / "out/sample.json").read_text())
    assert about["boxes"] == {"train": [0, 2], "truth": [64, 66], "null": [128, 130]}
    for name, block in about["boxes"].items():
        made = kappa_maps(range(*block), tmp_path / "planes", 3, LightCone(plane_size=64))
        stored = np.load(tmp_path / f"out/{name}.npy")
        assert np.array_equal(stored, made.maps.astype(np.float16))


# ---------------------------------------------------------------- real boxes


@pytest.fixture(scope="session")
def tiny_boxes(pmpp):
    """Planes of two boxes of 32³ particles, and of the first one once more."""
    return [simulate_box(box, TINY) for box in (0, 1, 0)]


def test_planes_are_projected_density_contrasts(tiny_boxes):
    planes = tiny_boxes[0].astype(float)
    assert tiny_boxes[0].dtype == np.float16 and planes.shape == (3, 3, 64, 64)
    # float16 rounds each of 4096 numbers of order one to 2^-11 of itself or better
    np.testing.assert_allclose(planes.mean((-2, -1)), 0, atol=4 * 2**-11 * planes.std() / 64)
    scatter = planes.std((-2, -1))
    assert (scatter[0] > scatter[1]).all() and (
        scatter[1] > scatter[2]
    ).all()  # structure grows; the nearest plane first
    first, second = (planes[0, 0].ravel(), planes[0, 1].ravel())
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5  # another axis, another view
    for axis in range(3):
        assert (
            np.corrcoef(planes[0, axis].ravel(), planes[1, axis].ravel())[0, 1] > 0.9
        )  # the same view, later


def test_a_box_is_decided_by_its_number(tiny_boxes):
    first, other, again = tiny_boxes
    assert np.array_equal(first, again)
    for axis in range(3):
        assert abs(np.corrcoef(first[0, axis].ravel(), other[0, axis].ravel())[0, 1]) < 0.3


def test_another_seed_is_another_suite(tiny_boxes):
    white = [
        nbody._import_pmpp().initial_conditions.white_noise(s, nbody._pmpp_setup(TINY)[0])
        for s in (0, 1_000_003)
    ]
    assert not np.allclose(*white)
    assert replace(TINY, seed=1) != TINY


@pytest.mark.nightly
def test_a_cheap_simulation_follows_the_full_one(pmpp, tmp_path):
    """The same structure, not the same numbers; other lines of sight have another one."""
    cone = replace(TINY, n_particles=16, max_step=0.1)
    pairs = simulation_pairs([0], tmp_path, 6, (cone, cheap_cone(cone)), 0.2, n_pix=16)
    full, cheap = pairs.maps.reshape(6, -1), pairs.given["cheap"].reshape(6, -1)
    own = [np.corrcoef(a, b)[0, 1] for a, b in zip(full, cheap)]
    others = [np.corrcoef(a, b)[0, 1] for a, b in zip(full, np.roll(cheap, 1, 0))]
    assert 0.5 < min(own) < 0.9999 and np.mean(own) > np.mean(others) + 0.3


def test_maps_of_a_real_box(tiny_boxes, tmp_path):
    for box, planes in enumerate(tiny_boxes[:2]):
        np.save(plane_file(tmp_path, box), planes)
    maps = kappa_maps([0, 1], tmp_path, 20, TINY, 0.2, n_pix=16).tensor()
    assert 1e-4 < float(maps.std()) < 1e-2
    assert abs(float(maps.mean())) < 0.3 * float(maps.std())


def test_linear_power_of_the_simulation_is_theorys_at_every_step(pmpp):
    """Growth and normalisation as pyccl has them, at the start, at each plane and at a = 1, where
    σ₈ is defined.
    """
    from pmpp.cosmology.boltzmann import linear_power

    conf, cosmo = nbody._pmpp_setup(TINY)
    k = np.geomspace(0.01, 5, 8)
    for a in [*TINY.steps(), 1.0]:
        expected = theory.matter_power(k, 1 / a - 1, TINY.cosmology, linear=True)
        np.testing.assert_allclose(
            np.asarray(linear_power(k, a, cosmo, conf)), expected, rtol=2e-3
        )


def ratio_to_halofit(position: np.ndarray, cone: LightCone, z: float, edges) -> np.ndarray:
    """Matter power of particles over halofit's in bins of k (h/Mpc), both averaged over the same
    modes.

    Cloud-in-cell on 256³ cells, its window divided out; no shot noise is taken off, since
    particles that started on a lattice have less than their number says (and all of it would be 1
    % of P at k = 0.5 h/Mpc).
    """
    n = 256
    x = position * (n / cone.box_size)
    i = np.floor(x).astype(np.int64)
    u = x - i
    mesh = np.zeros(n**3)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, u, 1 - u), axis=1)
        node = (i + corner) % n
        mesh += np.bincount((node[:, 0] * n + node[:, 1]) * n + node[:, 2], weight, n**3)
    modes = np.fft.rfftn(mesh.reshape(n, n, n).astype(np.float32) / mesh.mean(dtype=np.float64))
    f = [np.fft.fftfreq(n), np.fft.fftfreq(n), np.fft.rfftfreq(n)]
    window = np.sinc(f[0])[:, None, None] * np.sinc(f[1])[:, None] * np.sinc(f[2])
    power = np.abs(modes) ** 2 / window**4 * cone.box_size**3 / n**6
    k = (
        2
        * np.pi
        * n
        / cone.box_size
        * np.sqrt(f[0][:, None, None] ** 2 + f[1][:, None] ** 2 + f[2] ** 2)
    )
    nodes = np.geomspace(0.02, 10, 200)
    ratios = []
    for low, high in zip(edges, edges[1:]):
        inside = (k >= low) & (k < high)
        expected = np.interp(k[inside], nodes, theory.matter_power(nodes, z, cone.cosmology))
        ratios.append(power[inside].sum() / expected.sum())
    return np.array(ratios)


@pytest.mark.slow
def test_matter_power_is_halofits(pmpp):
    """Within 10 % at z = 0.52 for 0.1 < k < 0.5 h/Mpc, in a box of the kind that makes the sample.

    The Gaussian sample variance of a box of 212 Mpc/h, √(1/modes), is 2.2, 1.8 and 1.4 % in the
    three bins. The finite resolution of the mesh's force costs about 5 % in the last one.
    """
    cone, plane = LightCone(), 6
    steps = particle_positions(0, cone)
    a, position = next(step for step in steps if step[0] >= cone.scale_factors[plane])
    assert a == cone.scale_factors[plane] and 0.45 < 1 / a - 1 < 0.55
    ratios = ratio_to_halofit(position, cone, 1 / a - 1, np.array([0.1, 0.3, 0.4, 0.5]))
    np.testing.assert_allclose(ratios, 1, atol=0.1)


# ---------------------------------------------------------------- the shipped sample


def share_of_resolved_modes(
    ell: float, z_source: float, k_max: float, cosmology: Cosmology
) -> float:
    """How much of theory's C_ℓ comes from k < ``k_max``, from χ > ℓ/k_max."""
    reach = float(theory.comoving_distance(z_source, cosmology))
    chi = (np.arange(400) + 0.5) / 400 * reach
    power = [
        theory.matter_power(ell / x, 1 / theory.scale_factor(x, cosmology) - 1, cosmology)
        for x in chi
    ]
    part = (theory.lensing_kernel(chi, z_source, cosmology) / chi) ** 2 * power
    return part[ell / chi < k_max].sum() / part.sum()


@pytest.fixture(scope="module")
def shipped():
    """The three sets of the sample, and C_ℓ in three bins, averaged over the maps of each box."""
    if not (SAMPLE / "sample.json").exists():
        pytest.skip("no sample is shipped yet")
    sets, edges = (
        [load_sample(name) for name in ("train", "truth", "null")],
        np.array([71.9, 150.0, 225.0, 300.0]),
    )
    spectra = []
    for maps in sets:
        power = power_spectrum(maps.tensor(), maps.side_deg, edges).numpy()
        spectra.append(
            np.stack([power[maps.simulation == box].mean(0) for box in maps.simulations])
        )
    return sets, edges, spectra


def test_power_of_the_sample_is_theorys_where_the_mesh_resolves_it(shipped):
    """Within 10 % for 72 < ℓ < 300, the fundamental mode to where four fifths of C_ℓ come from k <
    0.6 h/Mpc.

    To that k the mesh is within 10 % of halofit (5 % on average), beyond it loses up to a quarter
    at k = 1.5: some 9 % of C_ℓ in the worst case. Modes longer than the box are missing, 4 % of
    the first bin. Over all 96 boxes the bins are known to 1.5, 0.9 and 0.8 %.
    """
    sets, edges, spectra = shipped
    grid, z, cosmology = (
        sets[0].grid,
        sets[0].z_source,
        Cosmology(**sets[0].provenance["cone"]["cosmology"]),
    )
    assert share_of_resolved_modes(edges[-1], z, 0.6, cosmology) > 0.8
    modes = cutout_power(lambda ell: theory.convergence_power(ell, z, cosmology), grid)
    expected = band_averages(modes, grid, edges)
    np.testing.assert_allclose(np.concatenate(spectra).mean(0), expected, rtol=0.1)


def test_the_sets_of_the_sample_are_of_one_distribution(shipped):
    """Differences of their C_ℓ, nine numbers, within 4 standard errors: fails by chance with
    probability 6e-4.
    """
    _, _, spectra = shipped
    for first, second in [(0, 1), (0, 2), (1, 2)]:
        a, b = spectra[first], spectra[second]
        error = np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))
        assert (np.abs(a.mean(0) - b.mean(0)) < 4 * error).all()


def test_workers_end_with_the_process_that_started_them(tmp_path):
    """Also if it is killed, and cannot tell them."""
    code = (
        "import os, sys, time\n"
        "from lensnb.sims.boxes import _processes\n"
        "if __name__ == '__main__':\n"
        "    pool = _processes(1)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    pool.submit(time.sleep, 10_000)\n"
        "    time.sleep(10_000)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE)
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    worker.wait(HANGS)
