"""Many maps into a file: the model's own, in bounded memory, and what was drawn is not lost."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from lensnb.__main__ import main
from lensnb.compare import compare
from lensnb.data import load_sample
from lensnb.files import InUse, save_checkpoint
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.models import Diffusion, Flow, VectorFlow, draw
from lensnb.readers import open_maps
from lensnb.transform import KappaTransform


class Counting(GaussianField):
    """Says how many maps were asked for at once, and stops after so many blocks."""

    asked: list
    stop_after = 1_000

    def sample(self, n, generator=None, **how):
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(n)
        return super().sample(n, generator, **how)


def field(stop_after: int = 1_000) -> Counting:
    gaussian = GaussianField.from_power(
        MapGrid(16, 5.0), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    )
    gaussian.__class__ = Counting
    gaussian.asked, gaussian.stop_after = [], stop_after
    return gaussian


def checkpoint(path, family=Flow, **config):
    maps = field().sample(16)
    torch.manual_seed(0)
    return save_checkpoint(path, family(16, KappaTransform.fit(maps), **config))


def test_the_file_is_read_as_maps_like_the_models(tmp_path):
    drawn = open_maps(draw(field(), 700, tmp_path / "maps.npy"), side_deg=5.0)
    assert drawn.maps.shape == (700, 16, 16) and drawn.maps.dtype == np.float32
    assert isinstance(drawn.maps, np.memmap), "as many as one likes"
    same = field().sample(4000, torch.Generator().manual_seed(1)).std()
    assert drawn.maps.std() == pytest.approx(float(same), rel=0.02)
    assert len(np.unique(drawn.maps[:, 3, 4])) == 700, "no map twice"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.json", "maps.npy"]


def test_numbers_of_numpy_draw_the_same_maps(tmp_path):
    plain = draw(field(), 40, tmp_path / "a.npy", 10**13, 16)
    numbers = (np.int64(40), tmp_path / "b.npy", np.int64(10**13), np.int32(16))
    assert draw(field(), *numbers).read_bytes() == plain.read_bytes()
    assert draw(field(), 40, tmp_path / "b.npy", 10**13, 16)  # it is done, in the same way
    flow = Flow(16, KappaTransform.fit(field().sample(16)))
    for half in (0.5, np.float32(0.5), np.float64(0.5)):
        draw(flow, 4, tmp_path / "c.npy", temperature=half)
    with pytest.raises(ValueError, match="seed must be a whole number, found 1.5"):
        draw(field(), 4, tmp_path / "d.npy", 1.5)


def test_no_more_than_a_block_is_held(tmp_path):
    model = field()
    draw(model, 1000, tmp_path / "maps.npy", block=64)
    assert max(model.asked) == 64 and sum(model.asked) == 1000


@pytest.mark.parametrize("torn", [0, 100, 16 * 16 * 4 * 30])
def test_a_drawing_that_was_stopped_goes_on_to_the_same_maps(tmp_path, torn):
    """Also where the last block was half written."""
    whole = np.load(draw(field(), 200, tmp_path / "whole.npy", block=32))
    file, part = tmp_path / "maps.npy", tmp_path / "maps.npy.part"
    with pytest.raises(KeyboardInterrupt):
        draw(field(stop_after=3), 200, file, block=32)
    assert part.exists() and not file.exists()
    with open(part, "r+b") as stored:
        stored.truncate(part.stat().st_size - torn)
    going_on = field()
    np.testing.assert_array_equal(np.load(draw(going_on, 200, file, block=32)), whole)
    assert len(going_on.asked) == (4 if torn == 0 else 5), "only what was missing"


def test_maps_that_are_there_are_not_drawn_again(tmp_path):
    draw(field(), 100, tmp_path / "maps.npy")
    before, model = (tmp_path / "maps.npy").read_bytes(), field()
    draw(model, 100, tmp_path / "maps.npy")
    assert not model.asked and (tmp_path / "maps.npy").read_bytes() == before


@pytest.mark.parametrize("stopped", [True, False])
def test_maps_of_two_models_are_never_mixed(tmp_path, stopped):
    file = tmp_path / "maps.npy"
    if stopped:
        with pytest.raises(KeyboardInterrupt):
            draw(field(stop_after=1), 600, file)
    else:
        draw(field(), 600, file)
    other = field()
    other.variance *= 2
    with pytest.raises(ValueError, match=r"maps.npy was drawn with another model; delete it"):
        draw(other, 600, file)
    with pytest.raises(ValueError, match=r"another number of maps and seed"):
        draw(field(), 700, file, seed=1)
    (tmp_path / "maps.json").unlink()
    with pytest.raises(
        ValueError, match=r"another number of maps and seed and size of a block and model"
    ):
        draw(field(), 600, file)


def test_seeds_make_different_maps(tmp_path):
    first, second = (
        np.load(draw(field(), 20, tmp_path / f"{seed}.npy", seed=seed)) for seed in (0, 1)
    )
    assert not (first == second).any()


def test_what_cannot_be_drawn_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.npy, found"):
        draw(field(), 3, tmp_path / "maps.fits")
    with pytest.raises(ValueError, match="number of maps to draw must be positive, found -3"):
        draw(field(), -3, tmp_path / "maps.npy")
    with pytest.raises(ValueError, match="number of maps in a block must be positive, found 0"):
        draw(field(), 3, tmp_path / "maps.npy", block=0)
    assert not list(tmp_path.iterdir())


def test_all_models_of_maps_can_be_drawn_from(tmp_path):
    maps = field().sample(64).abs()
    models = [
        GaussianField.fit(maps),
        LognormalField.fit(maps),
        Diffusion(16, KappaTransform.fit(maps), widths=(8, 16)),
    ]
    for number, model in enumerate(models):
        assert np.isfinite(np.load(draw(model, 3, tmp_path / f"{number}.npy"))).all()


def test_vectors_are_no_maps(tmp_path):
    pytest.importorskip("zuko")
    with pytest.raises(ValueError, match="a VectorFlow makes none"):
        draw(VectorFlow(4), 3, tmp_path / "maps.npy")


# ---------------------------------------------------------------- the command line


def test_the_command_draws_with_the_models_own_options(tmp_path, capsys):
    model, file = (
        checkpoint(tmp_path / "model.safetensors", steps=2, hidden=8),
        tmp_path / "maps.npy",
    )
    assert (
        main(["draw", str(model), "20", str(file), "--temperature", "0.5", "--device", "cpu"]) == 0
    )
    assert np.load(file).shape == (20, 16, 16) and str(file) in capsys.readouterr().out
    assert json.loads((tmp_path / "maps.json").read_text())["how"] == {"temperature": 0.5}


def test_the_command_refuses_in_one_sentence(tmp_path, capsys):
    model, file = (
        checkpoint(tmp_path / "model.safetensors", steps=2, hidden=8),
        tmp_path / "maps.npy",
    )
    assert main(["draw", str(model), "20", str(file), "--steps", "12"]) == 1
    error = capsys.readouterr().err
    assert "--steps means nothing for" in error and error.count("\n") == 1
    assert main(["draw", str(tmp_path / "none"), "20", str(file)]) == 1
    assert "does not exist" in capsys.readouterr().err and not file.exists()


def test_drawn_maps_are_judged_from_their_file(tmp_path):
    """The way that the README shows, on a baseline, which is found out."""
    train, truth, null = (load_sample(name)[::8] for name in ("train", "truth", "null"))
    file = draw(GaussianField.fit(train.tensor()), 128, tmp_path / "maps.npy")
    drawn = open_maps(file, side_deg=5.0, z_source=1.0)
    report = compare(truth, null, {"drawn": drawn}, look_at_maps=False, rounds=20)
    classifier = next(
        row for row in report.rows() if row.quantity.name == "classifier on statistics"
    )
    assert classifier.answers["drawn"].kind == "off"


# -------------------- one writer at a time, and files of others


def test_a_file_that_another_drawing_writes_is_refused(tmp_path):
    class Meddling(Counting):
        def sample(self, n, generator=None, **how):
            with pytest.raises(InUse, match="maps.npy is being written by another process"):
                draw(field(), 64, tmp_path / "maps.npy", block=32)
            return super().sample(n, generator, **how)

    meddling = field()
    meddling.__class__ = Meddling
    drawn = np.load(draw(meddling, 64, tmp_path / "maps.npy", block=32))
    whole = np.load(draw(field(), 64, tmp_path / "whole.npy", block=32))
    np.testing.assert_array_equal(drawn, whole)


def test_a_drawing_that_was_killed_blocks_nobody(tmp_path):
    code = (
        "import os, sys\n"
        "from lensnb.files import lock\n"
        "held = lock(sys.argv[1])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "maps.npy"])
    assert (tmp_path / ".maps.npy.lock").exists()
    draw(field(), 8, tmp_path / "maps.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps.json", "maps.npy"]


@pytest.mark.parametrize("text", ['{"my": "notes"}', "[1, 2]", "no JSON", '{"maps": 3}'])
def test_a_description_of_somebody_else_is_kept(tmp_path, text):
    (tmp_path / "maps.json").write_text(text)
    with pytest.raises(ValueError, match="maps.json is no description of drawn maps"):
        draw(field(), 8, tmp_path / "maps.npy")
    assert (tmp_path / "maps.json").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["maps.json"]


@pytest.mark.parametrize("bytes_left", [0, 60, 5_000])
def test_a_finished_file_that_was_cut_off_is_refused(tmp_path, bytes_left):
    file = draw(field(), 8, tmp_path / "maps.npy")
    with open(file, "r+b") as stored:
        stored.truncate(bytes_left)
    with pytest.raises(ValueError, match="maps.npy is not whole any more; delete it"):
        draw(field(), 8, file)


def test_maps_that_are_not_finite_are_not_written(tmp_path):
    class Broken(Counting):
        def sample(self, n, generator=None, **how):
            maps = super().sample(n, generator, **how)
            maps[1, 2, 3] = float("inf")
            return maps

    broken = field()
    broken.__class__ = Broken
    with pytest.raises(ValueError, match="1 of 8 drawn maps have NaN or infinite pixels"):
        draw(broken, 8, tmp_path / "maps.npy")
    assert not (tmp_path / "maps.npy").exists()
