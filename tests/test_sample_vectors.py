"""The vectors of all true maps: made from planes or shipped maps, stored, loaded and recognised.

Planes are white noise on a tiny mesh, so that a box takes a fraction of a second.
"""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from lensnb.__main__ import main
from lensnb.compare import box_vectors, sample_vectors
from lensnb.compare.box_vectors import measure_boxes
from lensnb.compare.ks import ks_p
from lensnb.compare.sample_vectors import as_stored, load_vectors, stored_vectors, vectors_of
from lensnb.compare.vector_files import (
    bins_of,
    mean_and_scale,
    read_vectors,
    standardised,
    write_vectors,
)
from lensnb.compare.vector_making import make_sealed_vectors, make_vectors, sample_statistics
from lensnb.data import SAMPLE, MapSet, load_sample
from lensnb.ensemble import Ensemble, measure
from lensnb.files import write_json
from lensnb.sims import LightCone, kappa_maps
from lensnb.sims.boxes import plane_file
from lensnb.sims.sample import boxes_of, sample_cone
from lensnb.stats import Statistic, suite

pytest.importorskip("pyccl")

CONE = LightCone(plane_size=64)
NAMES = ["power", "pdf", "peaks"]


@pytest.fixture(scope="module")
def statistics():
    truth = load_sample("truth")
    return suite(truth.tensor(), truth.side_deg, NAMES)


@pytest.fixture
def planes(tmp_path):
    """White noise for three boxes of truth, of null and of the sealed ones."""
    folder = tmp_path / "planes"
    write_json(folder / "cone.json", CONE.as_dict())
    shape = (CONE.n_planes, 3, CONE.plane_size, CONE.plane_size)
    for name in ("truth", "null", "sealed"):
        for box in boxes_of(name, 3):
            noise = np.random.default_rng(box).normal(size=shape)
            np.save(plane_file(folder, box), noise.astype(np.float16))
    return folder


@pytest.fixture
def counted(monkeypatch):
    """What was measured, as (box, names of statistics)."""
    found = []

    def count(statistics, maps):
        found.append((int(maps.simulation[0]), list(statistics)))
        return measure(statistics, maps)

    monkeypatch.setattr(box_vectors, "measure", count)
    return found


# ---------------------------------------------------------------- making


def test_vectors_of_planes_are_those_of_their_maps(planes, tmp_path, statistics):
    """In float16 of the standardised values, and far below the errors of 96 maps."""
    make_vectors(planes, tmp_path / "out", 3, CONE, statistics)
    stored = stored_vectors("truth", tmp_path / "out")
    assert stored.about["partial"] and stored.about["cone"] == CONE.as_dict()
    for name in ("truth", "null"):
        maps = kappa_maps(boxes_of(name, 3), planes, 32, CONE)
        maps.maps = maps.maps.astype(np.float16)
        expected = measure(statistics, maps)
        found = load_vectors(name, tmp_path / "out")
        assert list(found) == NAMES
        for statistic, columns in stored.columns.items():
            one, exact = found[statistic], expected[statistic].vectors
            assert one.simulation.tolist() == maps.simulation.tolist()
            mean, scale = stored.mean[columns], stored.scale[columns]
            z = (exact - mean) / scale
            assert (abs((one.vectors - mean) / scale - z) <= 2**-11 * abs(z) + 1e-7).all()
            change = abs(one.mean() - exact.mean(0))
            assert (change <= 0.01 * exact.std(0) / np.sqrt(len(exact))).all()
            change = abs(one.std() - exact.std(0, ddof=1))
            assert (change <= 0.01 * exact.std(0) / np.sqrt(2 * len(exact))).all()


def test_the_truth_is_the_standard(planes, tmp_path, statistics):
    make_vectors(planes, tmp_path, 2, CONE, statistics)
    truth = Ensemble.join(measure_boxes(boxes_of("truth", 2), planes, statistics, CONE).values())
    stored = stored_vectors("null", tmp_path)
    np.testing.assert_allclose(stored.mean, truth.mean())
    scatter = truth.std()
    np.testing.assert_allclose(stored.scale, np.where(scatter > 0, scatter, 1))
    assert stored.z["null"].dtype == np.float16


def test_an_interrupted_run_resumes(planes, tmp_path, statistics, counted, monkeypatch):
    maps_of_box = box_vectors.maps_of_box
    last = boxes_of("truth", 3)[-1]

    def stopped(box, *where):
        if box == last:
            raise KeyboardInterrupt
        return maps_of_box(box, *where)

    monkeypatch.setattr(box_vectors, "maps_of_box", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_vectors(planes, tmp_path / "out", 3, CONE, statistics)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(box_vectors, "maps_of_box", maps_of_box)
    counted.clear()
    make_vectors(planes, tmp_path / "out", 3, CONE, statistics)
    measured = [box for box, _ in counted]
    assert measured.count(65) == 0 and measured.count(66) == 1  # 64 checks what was kept


def test_only_what_is_new_is_measured_again(planes, tmp_path, statistics, counted):
    few = {name: statistics[name] for name in ("power", "pdf")}
    measure_boxes([64, 65], planes, few, CONE)
    pdf = statistics["pdf"]
    edges = pdf.function.keywords["edges"] + 0.001
    other = replace(pdf, function=partial(pdf.function.func, edges=edges), x=pdf.x + 0.001)
    counted.clear()
    found = measure_boxes([64, 65], planes, statistics | {"pdf": other}, CONE)
    assert (65, ["pdf", "peaks"]) in counted and (65, NAMES) not in counted
    maps = kappa_maps([64, 65], planes, 32, CONE)
    maps.maps = maps.maps.astype(np.float16)
    assert np.array_equal(found["pdf"].vectors, measure({"pdf": other}, maps)["pdf"].vectors)


def test_kept_vectors_of_other_code_are_refused(planes, statistics):
    """The planted fault: the same bins, but other numbers."""
    measure_boxes([64, 65], planes, statistics, CONE)
    power = statistics["power"]
    changed = replace(power, function=partial(_doubled, power.function))
    with pytest.raises(ValueError, match="keeps vectors of 'power' that this version measures"):
        measure_boxes([64, 65], planes, statistics | {"power": changed}, CONE)


def _doubled(function, maps):
    return 2 * function(maps)


def test_a_folder_of_another_cone_is_refused(planes, tmp_path, statistics):
    with pytest.raises(ValueError, match="boxes made with other settings"):
        make_vectors(planes, tmp_path, 1, replace(CONE, seed=1), statistics)


@pytest.mark.slow
def test_workers_make_the_same_file(planes, tmp_path, statistics):
    one = make_vectors(planes, tmp_path / "one", 2, CONE, statistics).read_bytes()
    for box in (64, 65, 128, 129):
        (planes / f"vectors/box_{box:05d}.npz").unlink()
    assert make_vectors(planes, tmp_path / "two", 2, CONE, statistics, 2).read_bytes() == one


def test_sealed_vectors_have_the_standard_of_the_truth(planes, tmp_path, statistics):
    make_vectors(planes, tmp_path, 2, CONE, statistics)
    make_sealed_vectors(planes, tmp_path, 3, CONE, statistics, like=tmp_path)
    stored = stored_vectors("sealed", tmp_path)
    assert np.array_equal(stored.mean, stored_vectors("truth", tmp_path).mean)
    assert load_vectors("sealed", tmp_path)["power"].simulations.tolist() == [3000, 3001, 3002]
    few = {"power": statistics["power"]}
    with pytest.raises(ValueError, match="have other statistics or bins; make them again"):
        make_sealed_vectors(planes, tmp_path, 3, CONE, few, like=tmp_path)


@pytest.mark.parametrize("out", [SAMPLE, SAMPLE / "deeper"])
def test_sealed_vectors_stay_out_of_the_package(tmp_path, out):
    with pytest.raises(ValueError, match="sealed vectors are not shipped"):
        make_sealed_vectors(tmp_path, out)


# ---------------------------------------------------------------- files


def test_values_too_far_for_float16_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1e.05 standard deviations from the mean of the truth"):
        standardised(np.full((1, 1), 1e5), np.zeros(1), np.ones(1))


def test_a_constant_bin_comes_back_exactly(tmp_path, statistics):
    vectors = np.random.default_rng(1).normal(size=(50, 9))
    vectors[:, 3] = 0.1
    sets = {"truth": {"power": Ensemble(vectors)}}
    about = {"statistics": bins_of({"power": statistics["power"]})}
    path = write_vectors(tmp_path / "a.npz", sets, mean_and_scale(sets["truth"]), about)
    found = read_vectors(path, "").ensembles("truth")["power"].vectors
    np.testing.assert_allclose(found[:, 3], 0.1, rtol=1e-12)


def test_a_missing_file_says_how_to_make_it(tmp_path):
    how = f"vectors.npz is missing: run 'lensnb sample PLANES {tmp_path.name} --vectors' to make"
    with pytest.raises(FileNotFoundError, match=how):
        load_vectors("truth", tmp_path)
    with pytest.raises(ValueError, match="truth, null, sealed; found 'train'"):
        load_vectors("train", tmp_path)


def test_another_version_and_a_truncated_file_are_refused(planes, tmp_path, statistics):
    path = make_vectors(planes, tmp_path, 1, CONE, statistics)
    whole = path.read_bytes()
    with np.load(path) as archive:
        arrays = dict(archive)
    about = json.loads(str(arrays["about"])) | {"version": 7}
    with open(path, "wb") as file:
        np.savez(file, **(arrays | {"about": json.dumps(about)}))
    with pytest.raises(ValueError, match="has version 7 of the format, not 1: run 'lensnb sample"):
        load_vectors("truth", tmp_path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is not a whole file of vectors .*: run 'lensnb sample"):
        load_vectors("truth", tmp_path)


def test_loaded_vectors_cannot_be_changed(planes, tmp_path, statistics):
    make_vectors(planes, tmp_path, 1, CONE, statistics)
    found = load_vectors("truth", tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        found["power"].vectors[0] = 0
    del found["power"]
    assert "power" in load_vectors("truth", tmp_path)


# ---------------------------------------------------------------- the shipped maps


@pytest.fixture(scope="module")
def of_shipped(tmp_path_factory, statistics):
    """A folder with the vectors of the shipped maps, which need no planes."""
    folder = tmp_path_factory.mktemp("shipped")
    make_vectors(folder / "planes", folder, 32, statistics=statistics)
    return folder


def test_the_shipped_maps_and_their_statistics_are_recognised(of_shipped, statistics):
    for name in ("truth", "null"):
        maps = load_sample(name)
        found = vectors_of(maps, statistics, of_shipped)
        assert list(found) == NAMES
        measured = as_stored(measure(statistics, maps), of_shipped)
        for statistic in NAMES:
            assert found[statistic].simulation.tolist() == maps.simulation.tolist()
            # On another machine a value may round to the next number of float16.
            same = found[statistic].vectors == measured[statistic].vectors
            assert same.mean() > 0.999


def test_a_copy_and_a_part_of_the_statistics_are_recognised(of_shipped, statistics):
    truth = load_sample("truth")
    copy = MapSet(np.array(truth.maps, np.float32), 5.0, 1.0, truth.simulation)
    found = vectors_of(copy, {"peaks": statistics["peaks"]}, of_shipped)
    assert list(found) == ["peaks"] and len(found["peaks"]) == 1024


def changed(truth):
    maps = np.array(truth.maps)
    maps[1000, 3, 3] += np.float16(0.01)
    return MapSet(maps, 5.0, 1.0, truth.simulation)


def turned(truth):
    return MapSet(np.array(truth.maps)[:, ::-1], 5.0, 1.0, truth.simulation)


def finer(truth):
    maps = np.array(truth.maps, np.float32)
    return MapSet(maps * np.float32(1 + 1e-6), 5.0, 1.0, truth.simulation)


def exchanged(truth):
    order = np.arange(len(truth))
    order[[0, 1]] = 1, 0
    return truth[order]


def part(truth):
    return truth[:-1]


def doubled(truth):
    return MapSet(np.concatenate([truth.maps, truth.maps]), 5.0, 1.0, np.tile(truth.simulation, 2))


@pytest.mark.parametrize("change", [changed, turned, finer, exchanged, part, doubled])
def test_other_maps_are_not_taken_for_shipped_ones(of_shipped, statistics, change):
    assert vectors_of(change(load_sample("truth")), statistics, of_shipped) is None


def test_the_training_maps_have_no_vectors(of_shipped, statistics):
    assert vectors_of(load_sample("train"), statistics, of_shipped) is None


def test_other_statistics_are_not_taken_for_stored_ones(of_shipped, statistics):
    truth = load_sample("truth")
    of_null = suite(load_sample("null").tensor(), 5.0, NAMES)
    power = statistics["power"]
    other = replace(power, function=partial(_doubled, power.function))
    for wrong in (
        of_null,
        statistics | {"power": other},  # the same bins
        statistics | {"power": of_null["pdf"]},
        statistics | {"mine": power},
    ):
        assert vectors_of(truth, wrong, of_shipped) is None


def test_without_a_file_nothing_is_recognised(tmp_path, statistics):
    assert vectors_of(load_sample("truth"), statistics, tmp_path) is None


def test_fewer_boxes_than_shipped_are_not_the_set(tmp_path, statistics):
    make_vectors(tmp_path / "planes", tmp_path, 3, statistics=statistics)
    assert stored_vectors("truth", tmp_path).about["fingerprints"]
    assert vectors_of(load_sample("truth"), statistics, tmp_path) is None


def test_counts_need_the_same_rounding(of_shipped, statistics):
    """The planted fault: the very same maps, once stored and once measured."""
    few = {"peaks": statistics["peaks"]}
    stored = vectors_of(load_sample("truth"), few, of_shipped)["peaks"]
    measured = measure(few, load_sample("truth"))
    every = Ensemble(stored.vectors)  # each map on its own, not one of each box
    raw = ks_p(Ensemble(measured["peaks"].vectors), every)
    rounded = ks_p(Ensemble(as_stored(measured, of_shipped)["peaks"].vectors), every)
    assert (raw < 0.05).mean() > 0.5
    assert (rounded > 0.99).all()


def test_rounding_twice_is_rounding_once(of_shipped):
    null = load_vectors("null", of_shipped)
    again = as_stored(null, of_shipped)
    assert all(np.array_equal(again[name].vectors, null[name].vectors) for name in NAMES)


def test_what_is_not_stored_stays_as_it_is(of_shipped):
    mine = {"mine": Ensemble(np.ones((3, 2)))}
    assert as_stored(mine, of_shipped)["mine"] is mine["mine"]


# ---------------------------------------------------------------- the command, and what is shipped


def test_the_command_makes_vectors_and_refuses_what_means_nothing(tmp_path, capsys):
    where = [str(tmp_path / "planes"), str(tmp_path / "out")]
    assert main(["sample", *where, "--vectors", "--boxes", "2"]) == 0
    assert "wrote" in capsys.readouterr().out
    about = stored_vectors("null", tmp_path / "out").about
    assert about["partial"] and about["cone"] == sample_cone().as_dict()
    assert len(load_vectors("null", tmp_path / "out")["scattering"]) == 64
    for more in (["--sigma8", "0.8"], ["--seed", "1"], ["--maps", "64"]):
        assert main(["sample", *where, "--vectors", *more]) == 1
        assert "expected no --maps, --sigma8 or --seed" in capsys.readouterr().err
    assert main(["sample", *where, "--vectors", "--boxes", "257"]) == 1
    assert "has 1 to 256 boxes; found 257" in capsys.readouterr().err


def test_what_is_stored_includes_the_default_statistics():
    truth = load_sample("truth")
    stored = sample_statistics()
    for name, statistic in suite(truth.tensor(), truth.side_deg).items():
        assert isinstance(stored[name], Statistic)
        assert np.array_equal(stored[name].x, statistic.x)


is_shipped = pytest.mark.skipif(
    not (SAMPLE / sample_vectors.FILES["truth"]).exists(), reason="no vectors are shipped yet"
)


@is_shipped
def test_the_shipped_vectors():
    """Those of 8,192 maps a set, at most 12 MB, and today's code measures the same."""
    assert (SAMPLE / "vectors.npz").stat().st_size < 12e6
    assert not (SAMPLE / "sealed_vectors.npz").exists()
    assert not stored_vectors().about["partial"]
    for name in ("truth", "null"):
        maps = load_sample(name)
        found = vectors_of(maps, sample_statistics())
        for one in found.values():
            assert one.simulation.tolist() == np.repeat(boxes_of(name), 32).tolist()
        measured = as_stored(measure(sample_statistics(), maps[::32]))
        for statistic, one in measured.items():
            scale = found[statistic].std() + 1e-12
            far = abs(one.vectors - found[statistic].vectors[:1024:32]) > 2e-3 * scale
            assert far.mean() < 0.01


@is_shipped
def test_the_boxes_without_maps_are_of_one_distribution_with_those_of_the_maps():
    """Means of C_ℓ and of the PDF, 58 numbers, within 4.5 standard errors over 32 and 224 boxes:
    fails by chance with probability about 4e-3 (few boxes, hence Student's t).
    """
    for name in ("truth", "null"):
        for statistic in ("power", "pdf"):
            ensemble = load_vectors(name)[statistic]
            boxes = ensemble.vectors.reshape(256, 32, -1).mean(1)
            first, more = boxes[:32], boxes[32:]
            error = np.sqrt(first.var(0, ddof=1) / 32 + more.var(0, ddof=1) / 224)
            assert (abs(first.mean(0) - more.mean(0)) < 4.5 * error).all()
