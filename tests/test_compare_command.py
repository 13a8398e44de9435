"""`lensnb compare` and `lensnb covariance`: which maps, what they say, what they leave, what they refuse."""

import math
import sys

import numpy as np
import pytest
import torch

import lensnb.compare
from lensnb.__main__ import main
from lensnb.commands.own_sets import Asked, own_sets, true_sets
from lensnb.compare import FidelityReport, ShapeNoise, compare
from lensnb.compare.effective import EffectiveMaps
from lensnb.data import MapSet
from lensnb.ensemble import Ensemble, hartlap_factor, measure, percival_factor
from lensnb.files import save_checkpoint
from lensnb.maps import GaussianField, MapGrid
from lensnb.models import Flow
from lensnb.stats import suite
from lensnb.transform import KappaTransform

SIDE = 5.0


def maps(n: int, seed: int, pixels: int = 16) -> np.ndarray:
    field = GaussianField.from_power(MapGrid(pixels, SIDE), lambda ell: 1e-9 * (ell / 500) ** -1.2)
    return field.sample(n, torch.Generator().manual_seed(seed)).numpy()


def simulated(n: int, seed: int, a_box: int = 2) -> MapSet:
    """True maps at z = 1, of which a few come from one box."""
    return MapSet(maps(n, seed), SIDE, 1.0, 1000 * seed + np.arange(n) // a_box)


@pytest.fixture
def files(tmp_path, monkeypatch) -> dict[str, str]:
    """Files of maps in the working folder, by name."""
    monkeypatch.chdir(tmp_path)
    simulated(80, 1).save("sims.npz")
    simulated(40, 2).save("null.npz")
    np.save("mine.npy", maps(32, 3))
    np.save("dark.npy", 0.8 * maps(32, 4))
    return {name: f"{name}.npz" for name in ("sims", "null")} | {
        name: f"{name}.npy" for name in ("mine", "dark")
    }


def quick(truth: MapSet, *sets, **how) -> FidelityReport:
    """The comparison of the command, with fewer statistics and rounds."""
    how |= {"statistics": suite(truth.tensor(), SIDE, ["power", "pdf"]), "look_at_maps": False}
    return compare(truth, *sets, rounds=5, **how)


# -------------------- compare


def test_one_command_leaves_a_report_and_the_next_one_opens_it(
    files, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(lensnb.compare, "compare", quick)
    words = [
        "compare",
        "mine.npy",
        "dark.npy",
        "--truth",
        "sims.npz",
        "--name",
        "my one",
        "--name",
        "dark",
    ]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "sims.npz was split by simulation into truth (20 simulations) and null (20)" in said
    assert "mine.npy does not say how large its field is: taken as that of sims.npz, 5°" in said
    assert "mine.npy does not say its redshift" in said
    assert "comparing my one, 32 maps, with sims.npz" in said
    card = said[said.index("item  ") :].splitlines()
    assert len(card) <= 10 + 1 and card[-1].startswith("report: ")
    (folder,) = (tmp_path / "reports").iterdir()
    assert folder.name.startswith("my_one_dark-") and card[-1].endswith(
        f"{folder.name}/report.html"
    )

    report = FidelityReport.load(folder / "report.json")
    assert report.generators == ["my one", "dark"]
    assert any("was split by simulation" in note for note in report.notes)
    text = (folder / "report.txt").read_text(encoding="utf-8")
    assert text.startswith(report.text(100)) and "Where they fail" in text and "- dark: " in text
    page = (folder / "report.html").read_text(encoding="utf-8")
    command = (
        "lensnb compare mine.npy dark.npy --name &#39;my one&#39; --name dark --truth sims.npz"
    )
    assert command in page and "my one" in page
    for name in (
        "report.csv",
        "report.tex",
        "report.npz",
        "compare.json",
        "figures/scorecard.svg",
    ):
        assert (folder / name).stat().st_size > 300
    for figure in (folder / "figures").iterdir():
        assert figure.suffix == ".svg" and b"<svg" in figure.read_bytes()[:1000]

    monkeypatch.setattr(lensnb.compare, "compare", None)  # must not be called
    assert main(words) == 0
    again = capsys.readouterr().out
    assert "is done already, with the same files and options" in again
    assert again[again.index("item  ") :].splitlines() == card


def test_other_options_and_other_files_are_another_comparison(files, monkeypatch, capsys):
    calls = []

    def counted(*sets, **how):
        calls.append(how)
        return quick(*sets, **how)

    monkeypatch.setattr(lensnb.compare, "compare", counted)
    monkeypatch.setattr("lensnb.commands.report_folder.write_page", lambda *_, **__: None)
    monkeypatch.setattr("lensnb.commands.report_folder._figures", lambda report: [])
    words = ["compare", "mine.npy", "--truth", "sims.npz", "--null", "null.npz", "--out", "here"]
    survey = ["--smooth", "20", "--noise", "30"]
    assert main(words) == 0 and main(words) == 0 and len(calls) == 1
    assert main([*words, *survey]) == 1
    assert (
        "here holds a comparison with other options; expected another --out"
        in capsys.readouterr().err
    )
    assert main([*words, *survey, "--again"]) == 0 and len(calls) == 2
    assert calls[1]["smooth"] == 20 and calls[1]["noise"] == ShapeNoise([30.0], 0.4)
    assert main([*words, *survey]) == 0 and len(calls) == 2
    np.save("mine.npy", maps(33, 3))
    assert main([*words, *survey]) == 1
    assert "here holds a comparison of other files" in capsys.readouterr().err


def test_what_fails_leaves_no_folder(files, monkeypatch, capsys, tmp_path):
    def refuse(*sets, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(lensnb.compare, "compare", refuse)
    assert main(["compare", "mine.npy", "--truth", "sims.npz", "--out", "here"]) == 130
    assert not (tmp_path / "here").exists()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "report.json").write_text("{}")
    assert main(["compare", "mine.npy", "--truth", "sims.npz", "--out", "here"]) == 1
    assert "has a report.json that this command did not write" in capsys.readouterr().err


def test_what_was_half_written_is_written_again(files, monkeypatch, capsys, tmp_path):
    def full(report):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lensnb.compare, "compare", quick)
    monkeypatch.setattr("lensnb.commands.report_folder.write_page", lambda *_, **__: None)
    monkeypatch.setattr("lensnb.commands.report_folder._figures", full)
    words = ["compare", "mine.npy", "--truth", "sims.npz", "--out", "here"]
    assert main(words) == 1 and "No space left" in capsys.readouterr().err
    monkeypatch.setattr("lensnb.commands.report_folder._figures", lambda report: [])
    assert main(words) == 0 and "comparing mine" in capsys.readouterr().out
    assert main(words) == 0 and "is done already" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["compare", "covariance"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert "examples:" in said and f"lensnb {command} " in said.partition("examples:")[2]
    assert max(len(line) for line in said.splitlines()) <= 100


# -------------------- which maps


def test_without_a_truth_it_is_the_sample_averaged_to_the_pixels(files):
    true = true_sets(Asked(["mine.npy"], pixels=16))
    assert true.truth.grid.n == 16 and true.name == "the shipped sample"
    assert len(true.train) == len(true.null) == 1024
    mine = own_sets(Asked(["mine.npy"], pixels=16), true)
    assert list(mine) == ["mine"] and mine["mine"].side_deg == true.truth.side_deg


@pytest.mark.parametrize(
    "change, words",
    [
        ({"side_deg": 10.0}, r"mine.npy has a field of 10°, and sims.npz one of 5°; expected the same"),
        ({"z_source": 0.5}, r"mine.npy has sources at z = 0.5, and sims.npz at z = 1; expected the same"),
        ({"pixels": 8}, r"mine.npy has maps of 8 × 8 pixels, .* \(--pixels 8 averages all maps to 8 × 8\)"),
        ({"mine": ["two.npy"]}, r"two.npy has maps of 2 channels, and sims.npz of 1"),
        ({"mine": ["odd.npy"]}, r"odd.npy has maps of 6 × 6 pixels, .* or true maps of these pixels"),
        ({"mine": ["one.npy"]}, r"one.npy has one map; expected two or more \(a pattern in quotes"),
        ({"mine": ["mine.npy", "a/mine.npy"]}, r"two sets are called 'mine'; expected --name once for"),
        ({"names": ["a", "b"]}, r"2 names were given for 1 sets of maps"),
    ],
)  # fmt: skip
def test_maps_of_another_sky_are_refused_with_what_to_do(files, change, words):
    np.save("two.npy", np.stack([maps(4, 5)] * 2, 1))
    np.save("odd.npy", maps(4, 5)[:, :6, :6])
    np.save("one.npy", maps(1, 5))
    true = true_sets(Asked(truth="sims.npz"))
    with pytest.raises(ValueError, match=words):
        own_sets(Asked(**{"mine": ["mine.npy"]} | change), true)


def test_an_unknown_redshift_is_a_note_and_a_stated_one_is_none(files):
    for z_source, notes in ((None, 1), (1.0, 0)):
        true = true_sets(Asked(truth="sims.npz"))
        own_sets(Asked(["mine.npy"], side_deg=SIDE, z_source=z_source), true)
        assert len(true.notes) == 1 + notes  # the first is about the split


def test_a_truth_is_split_by_simulation(files):
    true = true_sets(Asked(truth="sims.npz"))
    assert len(true.truth) == len(true.null) == 40
    assert not np.intersect1d(true.truth.simulation, true.null.simulation).size
    simulated(6, 1).save("few.npz")
    with pytest.raises(ValueError, match="few.npz has maps of 3 simulations; expected at least 4"):
        true_sets(Asked(truth="few.npz"))


def test_true_files_that_say_no_simulations_share_none(files):
    np.save("other.npy", maps(8, 6))
    asked = Asked(truth="mine.npy", null="other.npy", train="dark.npy", side_deg=SIDE)
    true = true_sets(asked)
    every = np.concatenate([one.simulation for one in (true.truth, true.null, true.train)])
    assert len(np.unique(every)) == len(every)
    assert sum("does not say which simulation" in note for note in true.notes) == 3
    np.save("boxes.npy", np.arange(32) // 4)
    given = true_sets(Asked(truth="mine.npy", truth_simulation="boxes.npy", side_deg=SIDE))
    assert len(given.truth.simulations) == 4 and len(given.notes) == 1


def test_a_null_needs_a_truth_and_the_sample_its_pixels(files):
    with pytest.raises(ValueError, match="belong to a truth; expected --truth FILE"):
        true_sets(Asked(null="null.npz"))
    with pytest.raises(ValueError, match="cannot be averaged to 24 × 24"):
        true_sets(Asked(pixels=24))


# -------------------- covariance


def test_maps_become_a_sacc_file_that_reads_back(files, capsys):
    sacc = pytest.importorskip("sacc", reason="no sacc: pip install 'lensnb[formats]'")
    np.save("boxes.npy", np.arange(32) // 2)
    words = ["covariance", "mine.npy", "out.sacc", "--truth", "sims.npz", "--null", "null.npz",
             "--statistics", "power", "starlet peaks", "pdf", "--simulation", "boxes.npy"]  # fmt: skip
    assert main(words) == 0
    assert "too few maps for the inverse" in capsys.readouterr().out
    true = MapSet.load("sims.npz")
    statistics = suite(true.tensor(), SIDE, ["power", "starlet peaks", "pdf"])
    expected = measure(statistics, np.load("mine.npy"), np.load("boxes.npy"))
    joint = Ensemble.join(expected.values())

    found = sacc.Sacc.load_fits("out.sacc")
    np.testing.assert_allclose(found.mean, joint.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.covariance.dense, joint.covariance(), rtol=1e-12)
    ell, power = found.get_ell_cl("galaxy_convergence_cl", "source_0", "source_0")
    np.testing.assert_allclose(ell, statistics["power"].x)
    np.testing.assert_allclose(power, expected["power"].mean(), rtol=1e-12)
    kinds = ["cl", "starletPeaks", "pdf"]
    assert set(found.get_data_types()) == {f"galaxy_convergence_{kind}" for kind in kinds}
    assert found.tracers["source_0"].z[1] == 1.0
    about = found.metadata
    assert (about["maps"], about["simulations"], about["bins"]) == (32, 16, len(joint.mean()))
    assert about["independent_maps"] == pytest.approx(joint.effective_maps())
    assert about["side_deg"] == SIDE and about["truth"] == "sims.npz" and "hartlap" not in about
    assert (about["null_maps"], about["null_simulations"]) == (40, 20)

    assert main(words) == 1
    assert "out.sacc exists; expected the name of a new file" in capsys.readouterr().err


def test_a_model_draws_and_its_factors_and_worth_are_stated(files, capsys):
    sacc = pytest.importorskip("sacc", reason="no sacc: pip install 'lensnb[formats]'")
    model = Flow(16, KappaTransform.fit(torch.from_numpy(maps(64, 7))))
    save_checkpoint("model.safetensors", model)
    simulated(240, 1).save("many.npz")
    words = ["covariance", "model.safetensors", "out.sacc", "--truth", "many.npz", "--maps", "96",
             "--statistics", "power", "--device", "cpu"]  # fmt: skip
    assert main(words) == 0
    said = capsys.readouterr().out
    about = sacc.Sacc.load_fits("out.sacc").metadata
    bins, known = about["bins"], about["independent_maps"]
    assert known == 96 and about["maps"] == 96  # drawn maps are independent
    assert about["hartlap"] == pytest.approx(hartlap_factor(known, bins))
    assert about["percival"] == pytest.approx(percival_factor(known, bins, 2))
    assert f"Hartlap {about['hartlap']:.3f}" in said
    assert about["effective_maps_low"] <= about["effective_maps"] <= about["effective_maps_high"]

    assert main([*words[:2], "b.sacc", *words[3:], "--side-deg", "5"]) == 1
    assert "--simulation and --side-deg belong to files of maps" in capsys.readouterr().err
    assert main(["covariance", "model.safetensors", "c.sacc", "--device", "cpu"]) == 1
    assert "makes maps of 16 × 16 pixels in 1 channels, and the shipped" in capsys.readouterr().err


def test_a_covariance_of_few_true_maps_is_worth_few():
    """40 of the same maps, each twice in the set of 80, are worth about 40: fewer than the set."""
    from lensnb.commands.covariance import worth_of

    rng = np.random.default_rng(0)
    draw = lambda n: rng.normal(size=(n, 3))
    true = {"truth": Ensemble(draw(400)), "null": Ensemble(draw(400))}
    found = worth_of(Ensemble(draw(40)), true)
    expected = EffectiveMaps(Ensemble(np.concatenate([true[k].vectors for k in true])), 3)
    assert found["effective_eigenvectors"] == 3 and expected.most == 3
    # 40 maps are worth 40: within the 95 % range, which another seed leaves in 5 % of cases
    assert found["effective_maps_low"] < 40 < found["effective_maps_high"]
    # and 400 true maps are worth more than four times as many
    assert found["null_effective_maps"] > 160


def test_channels_have_a_tracer_each_and_pairs_have_two(tmp_path):
    sacc = pytest.importorskip("sacc", reason="no sacc: pip install 'lensnb[formats]'")
    from lensnb.ensemble.sacc_files import write_sacc

    both = torch.from_numpy(np.stack([maps(24, 8), maps(24, 9)], 1))
    statistics = suite(both, SIDE, ["power", "pdf"])
    write_sacc(tmp_path / "a.sacc", measure(statistics, both), statistics, SIDE, (0.5, math.nan))
    found = sacc.Sacc.load_fits(str(tmp_path / "a.sacc"))
    assert type(found.tracers["source_0"]).__name__ == "NZTracer"
    assert type(found.tracers["source_1"]).__name__ == "MiscTracer"
    pairs = found.get_tracer_combinations("galaxy_convergence_cl")
    assert set(pairs) == {
        ("source_0", "source_0"),
        ("source_1", "source_1"),
        ("source_0", "source_1"),
    }
    assert set(found.get_tracer_combinations("galaxy_convergence_pdf")) == {
        ("source_0",),
        ("source_1",),
    }
    assert len(found) == sum(len(one.x) for one in statistics.values())


def test_without_sacc_a_sentence_names_the_extra(files, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sacc", None)
    assert main(["covariance", "mine.npy", "out.sacc"]) == 1
    assert (
        "out.sacc needs sacc, which is not installed: pip install 'lensnb[formats]'"
        in capsys.readouterr().err
    )
