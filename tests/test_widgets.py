"""The widgets without a browser: what they send, what a choice changes, and the still picture."""

import base64
import io
import math
import time

import numpy as np
import pytest
import torch
from PIL import Image

from lensnb import models, stats
from lensnb.compare import compare
from lensnb.data import MapSet, load_sample
from lensnb.maps import GaussianField, LognormalField, MapGrid, smooth
from lensnb.models import BandPowers, Diffusion, Flow
from lensnb.shear import add_shape_noise
from lensnb.transform import KappaTransform

widgets = pytest.importorskip(
    "lensnb.widgets", reason="no anywidget: pip install 'lensnb[lab]'", exc_type=ImportError
)
traitlets = pytest.importorskip("traitlets")
from lensnb.widgets import pictures, quiz, training_view  # noqa: E402  (they need anywidget)
from lensnb.widgets.explorer import STATISTICS, Explorer, relative  # noqa: E402
from lensnb.widgets.latent_walk import Walk  # noqa: E402
from lensnb.widgets.noise_levels import Diffuse  # noqa: E402
from lensnb.widgets.quiz import Quiz  # noqa: E402

GRID = MapGrid(16, 5.0)
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def seeded(k: int) -> torch.Generator:
    return torch.Generator().manual_seed(k)


@pytest.fixture(scope="module")
def maps() -> dict[str, torch.Tensor]:
    field = GaussianField.from_power(GRID, lambda ell: 1e-6 / ell**1.5)
    truth = LognormalField.from_correlation(field.variance, 0.03).sample(12, seeded(0))
    return {"truth": truth, "flow": field.sample(9, seeded(1)), "diffusion": 1.1 * truth[:5]}


@pytest.fixture
def explorer(maps) -> Explorer:
    return widgets.explore(maps, 5.0, list(STATISTICS), n_gal_arcmin2=(0, 30))


def received(sent: dict) -> np.ndarray:
    """κ as the browser has it."""
    q = np.frombuffer(sent["pixels"], "<u2").reshape(-1, GRID.n, GRID.n)
    return sent["low"] + sent["step"] * q


def vectors(explorer: Explorer, name: str) -> np.ndarray:
    return np.frombuffer(explorer._plot["vectors"][name], "<f4").reshape(
        -1, len(explorer._plot["x"])
    )


# ---------------------------------------------------------------- what goes to the browser


def test_maps_arrive_within_half_a_step(maps):
    sent = pictures.quantise(maps["truth"])
    truth = maps["truth"].double().numpy()
    assert np.abs(received(sent) - truth).max() <= 0.5001 * sent["step"]
    assert sent["step"] == pytest.approx((truth.max() - truth.min()) / 65535)
    np.testing.assert_allclose(
        np.frombuffer(sent["mean"], "<f4"), truth.mean((1, 2)), rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(
        np.frombuffer(sent["std"], "<f4"), truth.std((1, 2), ddof=1), rtol=1e-4
    )


def test_constant_maps_arrive_as_they_are():
    assert (received(pictures.quantise(torch.full((2, 16, 16), 0.25))) == 0.25).all()


def test_each_set_arrives_with_the_vectors_of_all_its_maps(explorer, maps):
    suite = stats.suite(maps["truth"], 5.0)
    assert (
        explorer._plot["statistic"] == "power"
        and explorer._plot["log_x"]
        and explorer._plot["ratio"]
    )
    for name, kappa in maps.items():
        assert np.abs(received(explorer._maps["sets"][name]) - kappa.numpy()).max() < 1e-5
        np.testing.assert_allclose(vectors(explorer, name), suite["power"](kappa), rtol=1e-6)
    np.testing.assert_allclose(explorer._plot["x"], suite["power"].x)
    about = {s["name"]: s for s in explorer._about["sets"]}
    assert about["flow"]["indices"] == list(range(9)) and about["truth"]["total"] == 12


def test_a_large_set_is_sampled_evenly(maps):
    truth = MapSet(
        np.tile(maps["truth"].numpy(), (5, 1, 1)).astype(np.float16),
        5.0,
        simulation=np.repeat([1, 2, 3], 20),
    )
    explorer = widgets.explore({"truth": truth, "flow": maps["flow"]}, maps=7)
    (first, second) = explorer._about["sets"]
    assert first["indices"] == [0, 10, 20, 30, 39, 49, 59] and first["total"] == 60
    assert second["indices"] == [0, 1, 3, 4, 5, 7, 8]
    sent = received(explorer._maps["sets"]["truth"])
    np.testing.assert_allclose(sent, truth.maps[first["indices"]].astype(float), atol=1e-5)


def test_maps_of_many_pixels_are_fewer(maps, monkeypatch):
    monkeypatch.setattr(pictures, "_PIXELS", 4 * GRID.n**2)
    sets = widgets.explore(maps, 5.0)._about["sets"]
    assert [len(s["indices"]) for s in sets] == [4, 4, 4]


# ---------------------------------------------------------------- what follows a choice


def test_smoothing_and_noise_change_maps_statistics_and_bins(explorer, maps):
    explorer.n_gal_arcmin2, explorer.smoothing_arcmin = 30.0, 10.0
    draw, expected = seeded(0), {}
    for name, kappa in maps.items():  # the noise of one set is not that of another
        expected[name] = smooth(add_shape_noise(kappa, 5.0, 30.0, 0.4, draw), 10.0, 5.0)
    explorer.statistic = "pdf"
    pdf = stats.suite(expected["truth"], 5.0)["pdf"]
    np.testing.assert_allclose(explorer._plot["x"], pdf.x)
    for name, kappa in expected.items():
        assert np.abs(received(explorer._maps["sets"][name]) - kappa.numpy()).max() < 1e-5
        np.testing.assert_allclose(vectors(explorer, name), pdf(kappa), rtol=1e-6)
    chosen = {
        key: explorer._plot[key] for key in ("statistic", "smoothing_arcmin", "n_gal_arcmin2")
    }
    assert chosen == {"statistic": "pdf", "smoothing_arcmin": 10.0, "n_gal_arcmin2": 30.0}
    low, high = explorer._maps["limits"]
    assert expected["truth"].min() < low < high < expected["truth"].max()


def test_choices_come_back_to_where_they_were(explorer):
    maps, plot = explorer._maps, explorer._plot
    explorer.n_gal_arcmin2, explorer.statistic = 30.0, "peaks"
    assert explorer._maps["sets"] != maps["sets"] and explorer._plot != plot
    explorer.n_gal_arcmin2, explorer.statistic = 0.0, "power"
    assert explorer._maps == maps and explorer._plot == plot


def test_another_statistic_sends_no_maps(explorer):
    maps = explorer._maps
    explorer.statistic = "V1"
    assert explorer._maps is maps


def test_minkowski_functionals_are_the_thirds_of_the_suite(explorer, maps):
    whole, parts = stats.suite(maps["truth"], 5.0)["minkowski"], []
    for name in ("V0", "V1", "V2"):
        explorer.statistic = name
        assert explorer._plot["x_label"] == "threshold κ" and explorer._plot["ratio"] == (
            name != "V2"
        )
        parts.append(vectors(explorer, "flow"))
    np.testing.assert_allclose(np.hstack(parts), whole(maps["flow"]), rtol=1e-6)


def test_relative_is_a_ratio_or_a_shift():
    truth, flow = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[4.0, 1.0], [2.0, 2.0]])
    mean, std = relative(flow, truth)
    np.testing.assert_allclose(mean, [1.5, math.nan])
    np.testing.assert_allclose(std, [math.sqrt(2) / 2, math.nan])
    mean, std = relative(flow, truth - 4)
    np.testing.assert_allclose(mean, [(3 + 2) / math.sqrt(2), math.nan])
    np.testing.assert_allclose(std, [1.0, math.nan])


def test_only_what_is_offered_can_be_chosen(explorer):
    wrong = {
        "statistic": "spectrum",
        "against": "truth",
        "smoothing_arcmin": 3.0,
        "index": 12,
        "colours": "jet",
        "limits": [0.1, -0.1],
    }
    for trait, value in wrong.items():
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, trait, value)
    assert explorer.statistic == "power" and explorer.index == 0
    with pytest.raises(
        traitlets.TraitError,
        match="statistic must be one of power, bispectrum, .*; found 'spectrum'",
    ):
        explorer.statistic = "spectrum"


def test_what_cannot_be_measured_is_said_in_the_widget(explorer, monkeypatch):
    def fail(self):
        raise ValueError("no bins")

    monkeypatch.setattr(Explorer, "_measure", fail)
    explorer.statistic = "pdf"
    assert explorer._plot["problem"] == "no bins" and explorer._plot["statistic"] == "pdf"
    monkeypatch.undo()
    explorer.statistic = "power"
    assert "problem" not in explorer._plot


def test_it_opens_on_what_differs_and_on_a_trained_model(maps):
    """A Gaussian field has another PDF; a flow that is the truth but for its peaks has other peaks."""
    peaks = maps["truth"].clone()
    bright = torch.zeros(16, 16)
    bright[2::5, 2::5] = 1.0  # nine more peaks in every map, as high as its standard deviation
    sets = {"truth": maps["truth"], "lognormal": maps["truth"] * 1.1}
    sets |= {"rank-mapped": maps["truth"] * 1.2, "my flow": peaks}
    sets["my flow"] = (
        peaks + peaks.std() * bright * torch.tensor([1.0, -1.0]).repeat(6)[:, None, None]
    )
    for others, name in ((maps, "flow"), (sets, "my flow")):
        explorer = widgets.explore(others, 5.0)
        assert explorer.against == name
        found, truth = explorer._explored, explorer._explored.truth
        apart = {}
        for key in ("pdf", "peaks"):
            v = found.measure(key, explorer._setting)[1]
            std = v[truth].std(0, ddof=1)
            shift = np.abs(v[name].mean(0) - v[truth].mean(0))
            apart[key] = (shift[std > 0] / std[std > 0]).mean()
        assert explorer.statistic == max(apart, key=apart.get)


def test_maps_that_belong_together_are_found_and_can_be_named(maps):
    """Estimates of the true maps are pairs, other maps are not; 3 % of noise changes nothing."""
    truth = maps["truth"]
    noise = 0.03 * truth.std() * torch.randn(truth.shape, generator=seeded(5))
    sets = {
        "truth": truth,
        "smoothed": smooth(truth, 20.0, 5.0),
        "noisy": truth + noise,
        "turned": truth.flip(0),
        "few": truth[:5],
    }
    explorer = widgets.explore(sets, 5.0)
    assert explorer._about["pairs"] == ["smoothed", "noisy"]
    apart = (truth - sets["smoothed"]).abs().flatten().quantile(0.995)
    assert explorer._maps["apart"]["smoothed"] == pytest.approx(float(apart))
    assert widgets.explore(sets, 5.0, pairs=["turned"])._about["pairs"] == ["turned"]
    for pairs, words in ((["flow"], "found 'flow'"), (["few"], "'few' has 5")):
        with pytest.raises(ValueError, match=words):
            widgets.explore(sets, 5.0, pairs=pairs)
    explorer.against, explorer.view = "turned", "difference"
    assert len(explorer.figure().axes) == 5  # two maps with one scale, and two panels
    explorer.against = "smoothed"
    assert len(explorer.figure().axes) == 6  # the difference has its own scale
    explorer.view, explorer.all_sets = "one set", True
    assert len(explorer.figure().axes) == 4


@pytest.mark.parametrize("statistic", STATISTICS)
def test_every_statistic_is_measured_and_drawn(statistic):
    field = GaussianField.from_power(MapGrid(32, 5.0), lambda ell: 1e-6 / ell**1.5)
    truth = LognormalField.from_correlation(field.variance, 0.03).sample(20, seeded(0))
    explorer = widgets.explore({"truth": truth, "flow": field.sample(20, seeded(1))}, 5.0)
    explorer.statistic = statistic
    assert "problem" not in explorer._plot and explorer._plot["statistic"] == statistic
    sent = np.frombuffer(explorer._plot["vectors"]["flow"], "<f4")
    assert len(sent) == 20 * len(explorer._plot["x"])
    assert len(explorer._plot["entries"]) in (0, len(explorer._plot["x"]))


# ---------------------------------------------------------------- files of the reader


def test_a_file_is_one_set_more_in_every_format(maps, tmp_path):
    from lensnb.readers import save_zarr

    explorer = widgets.explore({"truth": MapSet(maps["truth"].numpy(), 5.0, 1.0)}, 5.0)
    assert explorer._alone
    fine = maps["flow"].repeat_interleave(2, 1).repeat_interleave(2, 2)
    np.save(tmp_path / "fine.npy", fine.numpy())
    MapSet(maps["flow"].numpy(), 5.0).save(tmp_path / "mine.npz")
    save_zarr(MapSet(maps["flow"].numpy(), 5.0), tmp_path / "mine.zarr")
    for name, known in (("fine.npy", "fine"), ("mine.npz", "mine"), ("mine.zarr", "mine (2)")):
        explorer.open_file(tmp_path / name)
        assert explorer.against == known and not explorer._alone
        assert list(explorer._maps["sets"])[-1] == known
        assert np.abs(received(explorer._maps["sets"][known]) - maps["flow"].numpy()).max() < 1e-5
        assert known in explorer._plot["vectors"]
        averaged = "averaged from 32 to 16 pixels" in explorer._about["note"]
        assert averaged == (known == "fine")
    MapSet(maps["flow"].numpy(), 3.0).save(tmp_path / "other field.npz")
    MapSet(maps["flow"].numpy(), 5.0, 2.0).save(tmp_path / "other redshift.npz")
    for name, words in (("other field", "side_deg"), ("other redshift", "z_source = 1")):
        with pytest.raises(ValueError, match=words):
            explorer.open_file(tmp_path / f"{name}.npz")
    assert len(explorer._about["sets"]) == 4 and explorer.against == "mine (2)"


def test_pieces_of_a_file_are_put_together_and_none_leaves_the_folder(maps, tmp_path):
    explorer, told = widgets.explore(maps, 5.0), []
    explorer.send = lambda content, buffers=None: told.append(content)
    np.save(tmp_path / "mine.npy", maps["flow"].numpy())
    whole = (tmp_path / "mine.npy").read_bytes()
    for start in range(0, len(whole), 1000):
        explorer._hear(explorer, {"piece": "mine.npy"}, [whole[start : start + 1000]])
    explorer._hear(explorer, {"arrived": True}, [])
    assert told == [] and explorer.against == "mine"
    assert explorer._inbox.paths() == []
    for name in ("../mine.npy", "/mine.npy", "a/../../b", ""):
        explorer._hear(explorer, {"piece": name}, [b"1"])
        explorer._hear(explorer, {"arrived": True}, [])
        assert "cannot be called" in told.pop()["said"] and told == []
    explorer._hear(explorer, {"save": "the moon"}, [])
    assert "nothing to save" in told.pop()["said"]


def test_some_statistics_in_an_order_of_ones_own(maps):
    explorer = widgets.explore(maps, 5.0, ["V1", "pdf"], smoothing_arcmin=[2, 0])
    assert (explorer.statistic, explorer.smoothing_arcmin) == ("V1", 2.0)
    assert [key for key, _ in explorer._about["statistics"]] == ["V1", "pdf"]
    assert widgets.explore(maps, 5.0, "peaks").statistic == "peaks"


# ---------------------------------------------------------------- the picture that stays


@pytest.mark.parametrize("statistic", ["power", "V2"])
def test_a_picture_stays_beside_the_view(explorer, statistic):
    explorer.statistic, explorer.against, explorer.index = statistic, "diffusion", 11
    explorer.limits, explorer.colours = [-0.02, 0.05], "grey"
    data, metadata = explorer._repr_mimebundle_()
    assert data[WIDGET_VIEW]["model_id"] == explorer.model_id
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"], validate=True)))
    image.load()
    assert image.format == "PNG" and image.width > 800
    assert len(np.unique(np.asarray(image.convert("RGBA").convert("L")))) > 50
    assert len(data["image/png"]) < 200_000
    assert image.width == pytest.approx(2 * metadata["image/png"]["width"], abs=1)
    title = STATISTICS[statistic][0]
    assert metadata["image/png"]["alt"].startswith("A map of truth beside one of diffusion")
    assert title in metadata["image/png"]["alt"] and title in data["text/plain"]


def test_pictures_leave_no_figure_open(explorer):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    explorer.png()
    assert plt.get_fignums() == before


# ---------------------------------------------------------------- bad input

M = torch.randn(4, 16, 16, generator=seeded(3))
WITH_NAN = M.clone()
WITH_NAN[2, 3, 3] = math.nan
BAD = {
    "unknown statistic": (
        [{"a": M, "b": M}, 5.0, ["power", "trispectrum"]],
        "choose from are power.*found 'trispectrum'",
    ),
    "no statistic": ([{"a": M, "b": M}, 5.0, []], "found none"),
    "other pixels": (
        [{"a": M, "b": M[:, :8, :8]}, 5.0],
        r"'b' has the shape \(4, 8, 8\); expected \(maps, 16, 16\)",
    ),
    "not square": (
        [{"a": M[:, :8], "b": M}, 5.0],
        r"'a' has the shape \(4, 8, 16\); expected \(maps, n, n\)",
    ),
    "one map": (
        [{"a": M, "b": M[:1]}, 5.0],
        "'b' has 1 maps to show; a scatter needs at least two",
    ),
    "a map alone": ([{"a": M, "b": M[0]}, 5.0], r"'b' has the shape \(16, 16\)"),
    "several source bins": (
        [{"a": M, "b": torch.stack([M, M], 1)}, 5.0],
        r"'b' has maps of 2 source bins, and the widget shows one bin; choose it, .*maps\[:, 0\]",
    ),
    "NaN": ([{"a": M, "b": WITH_NAN}, 5.0], "'b' has 1 maps with NaN or infinity among 4"),
    "no field": (
        [{"a": M, "b": M}],
        "do not say how large their field is; expected the argument side_deg",
    ),
    "other field": (
        [{"a": MapSet(M, 5.0), "b": MapSet(M, 3.5)}],
        "'b' has a field of 3.5°; expected 5°",
    ),
    "other redshift": (
        [{"a": MapSet(M, 5.0, 1.0), "b": MapSet(M, 5.0, 2.0)}],
        "the 'a' states z_source = 1, the 'b' 2; they must be of the same sky",
    ),
    "other smoothing": (
        [
            {
                "a": MapSet(M, 5.0, provenance={"smoothing": 1.0}),
                "b": M,
                "c": MapSet(M, 5.0, provenance={"smoothing": 2.0}),
            }
        ],
        "the 'a' states smoothing = 1, the 'c' 2",
    ),
    "constant": ([{"a": M * 0, "b": M}, 5.0], "the maps of 'a' are all one constant"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_errors_are_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        widgets.explore(*arguments)
    assert "\n" not in str(error.value)


def test_a_quiz_of_two_redshifts_and_a_walk_with_another_side_are_refused():
    with pytest.raises(ValueError, match="states z_source = 1, the 'mine' 2"):
        widgets.spot_the_fake({"truth": MapSet(M, 5.0, 1.0), "mine": MapSet(M, 5.0, 2.0)})
    for given, words in ((10.0, "has a field of 5°; expected 10°"), (-1.0, "above 0, found -1")):
        with pytest.raises(ValueError, match=words):
            pictures.side_of(MapSet(M, 5.0), given)
    with pytest.raises(ValueError, match="expected the argument side_deg"):
        pictures.side_of(M, None)


def test_no_set_is_refused():
    with pytest.raises(ValueError, match="the widget needs at least one set of maps; found none"):
        widgets.explore({}, 5.0)


SINGLE = {
    "a set": (MapSet(M, 5.0), "maps"),
    "a set with a name": ({"mine": MapSet(M, 5.0)}, "mine"),
    "a tensor": (M, "maps"),
    "an array with a name": ({"truth": M.numpy()}, "truth"),
}


@pytest.mark.parametrize(("sets", "name"), SINGLE.values(), ids=SINGLE.keys())
def test_a_single_set_is_explored_alone(sets, name):
    explorer = widgets.explore(sets, 5.0, ["power", "peaks"])
    assert explorer.against == name
    assert list(explorer._maps["sets"]) == [name]
    assert repr(explorer) == f"Explorer: {name} (4 maps); Power spectrum"
    assert explorer.alt() == f"A map of {name}, and the statistic of this set: Power spectrum."
    explorer.statistic = "peaks"
    explorer.n_gal_arcmin2 = 30
    maps, above, below = (ax for ax in explorer.figure().axes if ax.get_label() != "<colorbar>")
    assert maps.get_title() == f"{name}, map 1 of 4"
    assert [text.get_text() for text in above.get_legend().get_texts()] == [name, "maps shown"]
    assert len(below.lines) == 1


@pytest.mark.parametrize(
    "offered",
    [{"smoothing_arcmin": [-1]}, {"n_gal_arcmin2": []}, {"smoothing_arcmin": [math.nan]}],
)
def test_smoothing_and_noise_are_not_negative(offered):
    with pytest.raises(
        ValueError, match=f"{next(iter(offered))} must list numbers that are not negative"
    ):
        widgets.explore({"a": M, "b": M}, 5.0, **offered)


def test_a_generator_that_makes_one_constant_can_be_looked_at():
    explorer = widgets.explore(
        {"truth": M, "flow": M * 0}, 5.0, ["power", "pdf", "peaks", "minima", "V0", "V2"]
    )
    for statistic in explorer._offered["statistic"]:
        explorer.statistic = statistic
        assert "problem" not in explorer._plot
    explorer.statistic = "peaks"
    explorer.png()


def test_the_window_lies_within_the_maps(explorer):
    assert explorer.window == [0, 0, 16] and explorer.view == "side by side"
    explorer.window = [8, 0, 8]
    for window in ([9, 0, 8], [0, -1, 4], [0, 0, 0], [0, 0]):
        with pytest.raises(
            traitlets.TraitError,
            match="window must be a row, a column and a side within 16 pixels",
        ):
            explorer.window = window


# ---------------------------------------------------------------- the quiz

SETS = {
    name: bad for name, bad in BAD.items() if len(bad[0]) < 3
}  # those that are about the sets, which all widgets refuse


@pytest.fixture
def asked(maps) -> Quiz:
    return widgets.spot_the_fake(maps, 5.0, questions=60, seed=3)


def test_questions_are_fair_and_those_of_the_seed(maps, asked):
    """Sides and generators come from a fair coin, and no map is shown again before all were shown.

    With 60 tosses, 4 σ is 15.5 off 30.
    """
    assert asked.questions == widgets.spot_the_fake(maps, 5.0, questions=60, seed=3).questions
    assert asked.questions != widgets.spot_the_fake(maps, 5.0, questions=60, seed=4).questions
    assert 15 < sum(q["side"] for q in asked.questions) < 45
    by = {
        name: [q["fake"] for q in asked.questions if q["generator"] == name]
        for name in ("flow", "diffusion")
    }
    assert 15 < len(by["flow"]) < 45 and len(by["flow"]) + len(by["diffusion"]) == 60
    for shown, count in (
        (by["flow"], 9),
        (by["diffusion"], 5),
        ([q["true"] for q in asked.questions], 12),
    ):
        for start in range(0, len(shown) - count + 1, count):
            assert sorted(shown[start : start + count]) == list(range(count))


def test_the_score_counts_by_generator(asked):
    assert (
        asked.score() == quiz._score(0, 0)
        and math.isnan(asked.score().share)
        and asked.score().by_chance == 1
    )
    truth = [q["side"] for q in asked.questions]
    asked.answers = [
        side if k % 3 else 1 - side for k, side in enumerate(truth[:30])
    ]  # every third is wrong
    whole, flow, diffusion = asked.score(), asked.score("flow"), asked.score("diffusion")
    assert (
        (whole.answers, whole.right)
        == (30, 20)
        == (flow.answers + diffusion.answers, flow.right + diffusion.right)
    )
    assert "20 of 30 right" in repr(asked)
    with pytest.raises(
        ValueError, match="there is no generator 'gan' in the quiz; it shows flow, diffusion"
    ):
        asked.score("gan")
    with pytest.raises(traitlets.TraitError, match="answers are 0 or 1, 60 at the most"):
        asked.answers = [2]


def test_the_error_of_the_score_is_that_of_a_beta_distribution():
    from scipy.stats import beta

    for right, answers in ((0, 1), (3, 4), (20, 30), (30, 30)):
        found = quiz._score(right, answers)
        assert found.share == right / answers
        assert found.error == pytest.approx(beta(right + 1, answers - right + 1).std())
        tail = sum(math.comb(answers, k) for k in range(right, answers + 1)) / 2**answers
        assert found.by_chance == pytest.approx(tail)


def test_a_picture_of_the_question_stays(asked):
    data, metadata = asked._repr_mimebundle_()
    assert WIDGET_VIEW in data and "one of them true" in metadata["image/png"]["alt"]
    first = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert first.width > 500
    asked.answers = [0]
    assert asked.png() != base64.b64decode(data["image/png"])
    asked.answers = [0] * 60
    asked.png()


@pytest.mark.parametrize(("arguments", "sentence"), SETS.values(), ids=SETS.keys())
def test_errors_of_the_quiz_are_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        widgets.spot_the_fake(*arguments)
    for one in ({"a": M}, M):
        with pytest.raises(ValueError, match="a quiz needs true maps and at least one other set"):
            widgets.spot_the_fake(one, 5.0)
    with pytest.raises(ValueError, match="a quiz needs at least one question, found 0"):
        widgets.spot_the_fake({"a": M, "b": M}, 5.0, questions=0)


# ---------------------------------------------------------------- the noise level


@pytest.fixture(scope="module")
def model(maps) -> Diffusion:
    """An untrained model: the network's estimate is the Gaussian one."""
    transform = KappaTransform.fit(maps["truth"])
    field = GaussianField.fit(transform(maps["truth"]))
    torch.manual_seed(0)
    return Diffusion(
        16,
        transform,
        field,
        widths=(8, 8),
        band_powers=BandPowers.fit(transform(maps["truth"]), field, 2),
    )


@pytest.fixture(scope="module")
def scrubbed(model, maps) -> Diffuse:
    return widgets.diffuse(model, maps["truth"], 5.0, levels=6, which=3)


def test_estimates_are_those_of_the_denoisers(scrubbed, model, maps):
    """At every level the estimate is D of the map shown; at the lowest it is nearly the map."""
    assert scrubbed.sigmas == sorted(scrubbed.sigmas) and len(scrubbed.sigmas) == 6
    for way, sets in scrubbed.shown.items():
        assert {name: tuple(maps.shape) for name, maps in sets.items()} == {
            "noised": (6, 16, 16),
            "Gaussian": (6, 16, 16),
            "network": (6, 16, 16),
            "map": (1, 16, 16),
        }
        torch.testing.assert_close(
            sets["network"], sets["Gaussian"], rtol=0, atol=1e-6
        )  # untrained, they are the same
        error = (sets["network"] - sets["map"]).flatten(1).std(1)
        assert error[0] < 0.1 * sets["map"].std() and error[0] < error[2] < error[-1], way
        torch.testing.assert_close(sets["noised"].flatten(1).std(1), torch.ones(6))
    assert torch.equal(scrubbed.shown["noise"]["map"][0], maps["truth"][3].float())


def test_a_map_that_is_made_is_the_samplers(scrubbed, model):
    """The finished map is the one that the sampler gives for the same noise."""
    from lensnb.samplers import MapNoise, exponential, karras_sigmas

    noise, like = MapNoise(1, seeded(0)), model.transform.mean
    denoise = model.conditioned(model.band_powers.sample(noise))
    sigmas = karras_sigmas(6, *model.sigma_range)
    start = denoise.gaussian.colour(noise(16, like)) + float(sigmas[0]) * noise(16, like)
    expected = model.transform.inverse(exponential(denoise, start, sigmas)).float()
    torch.testing.assert_close(scrubbed.shown["make"]["map"], expected)


def test_another_map_and_how_far_the_estimates_are_apart(model, maps):
    scrub = widgets.diffuse(model, maps["truth"], 5.0, levels=4)
    one = {name: some.clone() for name, some in scrub.shown["noise"].items()}
    made = scrub.shown["make"]["map"].clone()
    apart = (one["network"] - one["map"]).flatten(1).std(1) / one["map"].std()
    np.testing.assert_allclose(scrub._noise["apart"]["network − map"], apart, rtol=1e-5)
    scrub.which = 2
    assert torch.equal(scrub.shown["noise"]["map"][0], maps["truth"][2].float())
    assert torch.equal(scrub.shown["make"]["map"], made)
    scrub.seed = 5
    assert not torch.equal(scrub.shown["make"]["map"], made)
    scrub.which, scrub.seed = 0, 0
    for name, some in one.items():
        assert torch.equal(scrub.shown["noise"][name], some), name
    assert torch.equal(scrub.shown["make"]["map"], made)
    with pytest.raises(traitlets.TraitError, match="which must lie between 0 and 11, found 12"):
        scrub.which = 12


def test_a_picture_of_the_level_stays(scrubbed):
    data, metadata = scrubbed._repr_mimebundle_()
    assert WIDGET_VIEW in data and metadata["image/png"]["alt"].startswith("A map, the same")
    scrubbed.level, scrubbed.way = 1, "make"
    assert scrubbed.png() != base64.b64decode(data["image/png"]) and "level 2 of 6" in repr(
        scrubbed
    )
    with pytest.raises(traitlets.TraitError, match="level must lie between 0 and 5, found 6"):
        scrubbed.level = 6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"side_deg": None},
            "do not say how large their field is; expected the argument side_deg",
        ),
        ({"levels": 3}, "the noise level needs at least four steps, found 3"),
        ({"which": 12}, "there is no map 12 among 12"),
        (
            {"maps": torch.ones(4, 8, 8)},
            r"the set of true maps has the shape \(4, 8, 8\); expected \(maps, 16, 16\)",
        ),
    ],
)
def test_errors_of_the_noise_level_are_a_sentence(model, maps, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        widgets.diffuse(**{"model": model, "maps": maps["truth"], "side_deg": 5.0} | change)


# ---------------------------------------------------------------- a report, looked into


@pytest.fixture(scope="module")
def report():
    field = GaussianField.from_power(GRID, lambda ell: 1e-6 / ell**1.5)
    true = lambda k: MapSet(
        LognormalField.from_correlation(field.variance, 0.03).sample(120, seeded(k)).numpy(), 5.0,
        simulation=100 * k + np.arange(120) // 10,
    )  # fmt: skip
    truth = true(0)
    generated = {"flow": field.sample(120, seeded(2)), "loud": 1.2 * true(3).tensor()}
    return compare(truth, true(1), generated, look_at_maps=False, rounds=30)


def test_all_maps_are_as_the_report_has_them(report):
    shown = widgets.inspect(report)._shown
    assert list(shown["sets"]) == ["truth", "null (true maps)", "flow", "loud"] and shown["ratio"]
    for name in report.names:
        verdict, sent = report.verdicts[name]["power"], shown["sets"][name]
        np.testing.assert_allclose(sent["off"]["value"], verdict.mean_ratio.value)
        np.testing.assert_allclose(sent["scatter"]["error"], verdict.scatter_ratio.error)
        rho = np.frombuffer(sent["rho"], "<f4").reshape(len(shown["x"]), -1)
        np.testing.assert_allclose(rho, report.ensembles[name]["power"].correlation(), atol=1e-6)
    assert any(
        text.startswith("mean 1.4") and text.endswith(": too high on average.")
        for text in shown["reasons"]["loud"]
    )


def test_fewer_maps_have_larger_errors_and_are_kept(report):
    inspector = widgets.inspect(report, sizes=[30, 60, 500])
    assert inspector._about["sizes"] == [0, 30, 60]  # the sets have 120
    errors = {}
    for maps in (0, 60, 30):
        inspector.maps = maps
        sent = inspector._shown["sets"]
        assert (
            sent["flow"]["maps"] == sent["null (true maps)"]["maps"] == (maps or 120)
            and sent["truth"]["maps"] == 120
        )
        errors[maps] = np.mean(sent["flow"]["off"]["error"])
    assert errors[0] < errors[60] < errors[30]
    before = inspector._found["power", 30]
    inspector.maps = 0
    inspector.maps = 30
    assert inspector._found["power", 30] is before and inspector._shown == before[1]


def test_all_generators_are_on_view_and_their_numbers_can_be_had(report):
    inspector = widgets.inspect(report)
    assert inspector.chosen == ["flow", "loud"]
    rows = inspector.rows()
    bins = len(inspector._shown["x"])
    assert (
        len(rows) == 4 * bins and rows[0]["set"] == "truth" and rows[0]["mean over truth"] is None
    )
    verdict = report.verdicts["loud"]["power"]
    found = [row["mean over truth"] for row in rows if row["set"] == "loud"]
    np.testing.assert_allclose(found, verdict.mean_ratio.value)
    inspector.chosen = ["flow"]
    assert {row["set"] for row in inspector.rows()} == {"truth", "null (true maps)", "flow"}
    for label, (name, make) in inspector.files().items():
        if label.startswith(("numbers", "report")):
            assert len(make()) > 100, name


def test_a_statistic_that_changes_sign_is_a_shift(report):
    assert not widgets.inspect(report, "minkowski")._shown["ratio"]


def test_a_picture_of_the_report_stays(report):
    inspector = widgets.inspect(report, sizes=[60])
    data, metadata = inspector._repr_mimebundle_()
    assert WIDGET_VIEW in data and "flow, loud" in metadata["image/png"]["alt"]
    inspector.statistic, inspector.chosen, inspector.matrix = "pdf", ["loud"], "over truth"
    assert (
        inspector.png() != base64.b64decode(data["image/png"])
        and repr(inspector) == "Inspector: loud; pdf, all maps"
    )
    inspector.chosen = []
    assert inspector.png()


def test_errors_of_the_inspector_are_a_sentence(report):
    with pytest.raises(
        ValueError, match="the report has the statistics power, .*; found 'spectrum'"
    ):
        widgets.inspect(report, "spectrum")
    with pytest.raises(
        ValueError,
        match="sizes must be 16 maps or more, or a covariance means nothing; found 4",
    ):
        widgets.inspect(report, sizes=[64, 4])
    inspector = widgets.inspect(report)
    with pytest.raises(traitlets.TraitError, match="maps must be one of 0, 64; found 63"):
        inspector.maps = 63
    with pytest.raises(traitlets.TraitError, match="the report judges flow, loud; found 'GAN'"):
        inspector.chosen = ["GAN"]


# ---------------------------------------------------------------- a walk


@pytest.fixture(scope="module")
def flow(maps) -> Flow:
    """A flow whose couplings do something, as after a training."""
    transform = KappaTransform.fit(maps["truth"])
    torch.manual_seed(0)
    flow = Flow(16, transform, GaussianField.fit(transform(maps["truth"])), steps=2, hidden=8)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.03 * torch.randn_like(p))
    return flow


@pytest.fixture
def walked(flow, maps) -> Walk:
    return widgets.walk(flow, maps["truth"], 5.0, last=4, steps=5, temperatures=[0.6, 1])


def test_a_walk_goes_from_one_true_map_to_the_other(walked, flow, maps):
    torch.testing.assert_close(
        walked.kappa[[0, -1]], maps["truth"][[0, 4]].float(), rtol=1e-3, atol=1e-5
    )
    expected = flow.log_prob(walked.kappa).detach()
    torch.testing.assert_close(walked.log_prob.sum(-1), expected)
    sent = np.frombuffer(walked._path["log_prob"], "<f4").reshape(5, 3)
    np.testing.assert_allclose(sent, walked.log_prob - walked._expected, rtol=1e-4, atol=1e-3)
    pixels = np.frombuffer(walked._path["maps"]["pixels"], "<u2").reshape(5, 16, 16)
    kappa = walked._path["maps"]["low"] + walked._path["maps"]["step"] * pixels
    np.testing.assert_allclose(kappa, walked.kappa, atol=walked._path["maps"]["step"])


def test_a_walk_of_the_flow_that_comes_with_lensnb(maps):
    """Its base has band powers, which join the scales: the likelihood has no parts."""
    flow = models.load("flow")
    true = load_sample("truth")[:3]
    walked = widgets.walk(flow, true, steps=3, temperatures=[1])
    expected = flow.log_prob(walked.kappa).detach()
    torch.testing.assert_close(walked.log_prob, expected[:, None])
    assert walked._about["parts"] == [] and walked.png()
    walked.scales = ["coarse"]
    assert walked.kappa[1].std() < true.tensor().std()


def test_colder_maps_are_more_probable_and_come_back(walked):
    kappa, warm = walked.kappa, walked.log_prob.sum(-1)
    walked.temperature = 0.6
    assert (walked.log_prob.sum(-1) > warm).all() and walked.kappa[2].std() < kappa[2].std()
    walked.temperature = 1.0
    assert torch.equal(walked.kappa, kappa)


def test_a_scale_that_is_left_out_has_no_latents(walked, flow):
    white = flow.path(*walked._true[[0, 4]], 5)
    walked.scales = ["coarse", "middle"]
    assert walked.scales == ["middle", "coarse"]
    parts = flow.latents(flow.transform(walked.kappa))[0]
    assert parts[0].abs().max() < 1e-3 < parts[1].abs().max()
    assert torch.equal(flow.with_scales(white, ["middle", "coarse"]), walked.kappa)
    walked.scales = []
    parts = flow.latents(flow.transform(walked.kappa))[0]
    assert max(part.abs().max() for part in parts) < 1e-3


def test_a_picture_of_the_walk_stays(walked):
    data, metadata = walked._repr_mimebundle_()
    assert WIDGET_VIEW in data and metadata["image/png"]["alt"].startswith(
        "A map between two others"
    )
    walked.step, walked.temperature, walked.scales = 3, 0.6, ["coarse"]
    assert walked.png() != base64.b64decode(data["image/png"])
    assert repr(walked).startswith(
        "Walk: From map 1 to map 5 at temperature 0.6, without fine and middle scales; step 4 of 5"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"side_deg": None},
            "do not say how large their field is; expected the argument side_deg",
        ),
        ({"steps": 2}, "a walk needs at least three steps, found 2"),
        ({"last": 12}, "there is no map 12 among the 12 to choose from"),
        (
            {"temperatures": [0.5, 2]},
            r"temperatures must be positive and include 1, found \[0.5, 2.0\]",
        ),
        (
            {"maps": torch.ones(4, 8, 8)},
            r"the set of true maps has the shape \(4, 8, 8\); expected \(maps, 16, 16\)",
        ),
    ],
)
def test_errors_of_the_walk_are_a_sentence(flow, maps, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        widgets.walk(**{"model": flow, "maps": maps["truth"], "side_deg": 5.0} | change)


def test_only_what_is_on_the_walk_can_be_shown(walked):
    with pytest.raises(traitlets.TraitError, match="step must lie between 0 and 4, found 5"):
        walked.step = 5
    with pytest.raises(traitlets.TraitError, match="temperature must be one of"):
        walked.temperature = 3.0


# ---------------------------------------------------------------- a training


def records(count: int):
    """Records such as those of a training."""
    for k in range(1, count + 1):
        record = {"step": 10 * k, "loss": 1 / k, "lr": 1e-3, "seconds": 0.1 * k}
        record |= {"images": 320 * k, "images_per_second": 3200.0}
        if k % 2 == 0:
            record["validation"] = 2 / k
        if k == 2:
            record["power_slope"] = 0.5
        if k == count:
            record["stopped"] = "finished"
        yield record


@pytest.fixture
def shown(monkeypatch) -> list:
    """The widgets that were displayed."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda widget, display_id: found.append(widget))
    monkeypatch.delenv("LENSNB_BATCH", raising=False)
    return found


def test_a_training_is_followed_to_its_end(shown):
    history = widgets.follow_training(records(6), 60, "flow")
    (widget,) = shown
    assert history == widget.history == list(records(6)) and widget.state == "finished"
    assert widget._curves["step"] == [10, 20, 30, 40, 50, 60] and widget._curves["validation"][
        :2
    ] == [None, 1.0]
    assert widget._now["check"] == {
        "power_slope": 0.5
    }  # of the last check, though later records have none
    assert "step 60 of 60" in repr(widget)
    data, metadata = widget._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 500
    assert metadata["image/png"]["alt"].startswith(
        "Loss, fidelity of drawn maps and learning rate of a training. Training flow: finished"
    )


def test_an_error_of_a_training_is_not_swallowed(shown):
    def broken():
        yield from records(2)
        raise ValueError("the loss is not finite")

    with pytest.raises(ValueError, match="the loss is not finite"):
        widgets.follow_training(broken(), 60)
    assert shown[0].state == "failed"


def test_very_many_records_are_thinned_and_maps_are_sent_once(shown, maps):
    class Check:
        samples = maps["flow"]

    history = widgets.follow_training(records(2000), 20_000, check=Check())
    (widget,) = shown
    assert (
        len(history) == 2000
        and 100 < len(widget._curves["step"]) <= 400
        and widget._curves["step"][-1] == 20_000
    )
    assert widget._maps["count"] == 4
    assert np.allclose(received(widget._maps), maps["flow"][:4], atol=1e-6)


def test_a_batch_job_prints_lines(monkeypatch, capsys):
    monkeypatch.setenv("LENSNB_BATCH", "1")
    assert widgets.follow_training(records(3), 30, "flow")[-1]["stopped"] == "finished"
    assert "flow: step 30 of 30" in capsys.readouterr().out


def test_an_interrupted_training_says_so(shown):
    def interrupted():
        yield from list(records(3))[:2]
        yield list(records(3))[2] | {"stopped": "interrupted"}

    widgets.follow_training(interrupted(), 60)
    assert shown[0].state == "interrupted"


def test_an_interrupt_while_a_record_is_drawn_reaches_the_training(shown, monkeypatch):
    def patient():
        try:
            yield from records(6)
        except KeyboardInterrupt:
            yield list(records(2))[1] | {"stopped": "interrupted"}

    add = training_view.TrainingView.add

    def interrupted(self, record, samples=None):
        if record["step"] == 20 and "stopped" not in record:
            raise KeyboardInterrupt
        add(self, record, samples)

    monkeypatch.setattr(training_view.TrainingView, "add", interrupted)
    history = widgets.follow_training(patient(), 60)
    assert [one["step"] for one in history] == [10, 20] and shown[0].state == "interrupted"


def test_a_browser_is_told_a_few_times_a_second(shown, monkeypatch):
    told, tell = [], training_view.TrainingView.tell
    monkeypatch.setattr(
        training_view.TrainingView,
        "tell",
        lambda self, samples=None: told.append(tell(self, samples)),
    )
    began = time.monotonic()
    widgets.follow_training(records(500), 5000)
    assert len(told) <= (time.monotonic() - began) / training_view._PAUSE + 2
    assert shown[0]._curves["step"][-1] == shown[0]._now["record"]["step"] == 5000


def test_samples_of_several_source_bins_show_the_first(shown, maps):
    class Check:
        samples = torch.stack([maps["flow"], maps["flow"] + 1], 1)

    widgets.follow_training(records(2), 20, check=Check())
    assert np.allclose(received(shown[0]._maps), maps["flow"][:4], atol=1e-6)


def test_the_old_name_works_for_one_release(shown):
    with pytest.warns(
        FutureWarning, match="widgets.watch is now called lensnb.widgets.follow_training"
    ):
        history = widgets.watch(records(2), 20, "flow")
    assert len(history) == 2 and shown[0].state == "finished"


# ---------------------------------------------------------------- the family that a widget shows

FAMILIES = {
    "a field": GaussianField.white(16),
    "a path": "runs/quickstart/flow/model.safetensors",
    "a state": {"weight": torch.zeros(3)},
}


@pytest.mark.parametrize("given", FAMILIES)
def test_walk_and_diffuse_name_the_family_that_they_show(given, model):
    name = type(FAMILIES[given]).__name__
    for widget, family in ((widgets.walk, "Flow"), (widgets.diffuse, "Diffusion")):
        sentence = rf"shows a trained {family}, such as .*{family.lower()}.*; found a {name}"
        with pytest.raises(ValueError, match=sentence):
            widget(FAMILIES[given], M, 5.0)
    with pytest.raises(ValueError, match="shows a trained Flow, .* found a Diffusion"):
        widgets.walk(model, M, 5.0)
    with pytest.raises(ValueError, match="shows a trained Diffusion, .* found a Flow"):
        widgets.diffuse(Flow(16, steps=2, hidden=8), M, 5.0)
