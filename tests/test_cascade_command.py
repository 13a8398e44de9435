"""A cascade in a folder: levels trained apart, resumed, joined, and drawn into a set on disk."""

import json

import numpy as np
import pytest
import torch

from lensnb import models
from lensnb.__main__ import main
from lensnb.commands import level_processes
from lensnb.commands.level_trainings import CascadePlan, averaged_set
from lensnb.data import MapSet
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.models import draw_set
from lensnb.models.averages import averaged
from lensnb.readers import open_maps
from lensnb.store import MapWriter
from lensnb.train import Settings

FIELD = GaussianField.from_power(
    MapGrid(32, 5.0), lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps_of(seed: int = 1, count: int = 32) -> MapSet:
    """Lognormal maps of 32² pixels, of eight simulations."""
    kappa = LognormalField.from_correlation(FIELD.variance, 0.03).sample(count, seeded(seed))
    return MapSet(kappa.numpy(), 5.0, 1.0, np.arange(count) % 8)


def plan_in(folder, maps: MapSet | None = None, **more) -> CascadePlan:
    return CascadePlan.begin(folder, maps or maps_of(), 8, 24, **more)


SHORT = Settings(3, 4)


# ---------------------------------------------------------------- levels apart


def test_levels_are_trained_apart_resumed_and_joined(tmp_path):
    """Also the one that was stopped in the middle, and only that one."""
    plan = plan_in(tmp_path)
    assert plan.families == {8: "trenf", 16: "details", 32: "details"}
    for side in (32, 8):
        assert list(plan.train(side, SHORT))[-1]["step"] == 3
    stopped = plan.train(16, SHORT, every=1)
    assert next(stopped)["step"] == 1
    stopped.close()
    with pytest.raises(ValueError, match="the level of 16² pixels in .* has made 1 steps; expec"):
        plan.join()
    again = plan_in(tmp_path)
    assert again.unfinished() == [16]
    steps = [record["step"] for record in again.train(16, SHORT, every=1)]
    assert steps == [1, 2, 3] and again.unfinished() == []
    cascade = models.load(again.join())
    assert cascade.sides == [8, 16, 32] and cascade.sample(2, seeded(1)).shape == (2, 32, 32)
    untouched = (tmp_path / "level_32" / "model.safetensors").stat().st_mtime_ns
    assert list(again.train(32, SHORT))[-1]["stopped"] == "finished"
    assert (tmp_path / "level_32" / "model.safetensors").stat().st_mtime_ns == untouched


def test_a_level_alone_is_the_level_of_a_whole_training(tmp_path):
    """A level does not depend on which other levels were trained before it.

    Up to rounding: the last digit of a sum depends on where in memory its numbers lie.
    """
    alone, together = plan_in(tmp_path / "alone"), plan_in(tmp_path / "together")
    list(alone.train(16, SHORT))
    for side in (8, 16):
        list(together.train(side, SHORT))
    first, other = (plan.folder_of(16) / "model.safetensors" for plan in (alone, together))
    weights = models.load(other).state_dict()
    for name, value in models.load(first).state_dict().items():
        torch.testing.assert_close(value, weights[name], msg=name)


def test_a_folder_has_one_cascade(tmp_path):
    plan = plan_in(tmp_path)
    with pytest.raises(
        ValueError, match="has a cascade of another maps; expected the same, or an"
    ):
        plan_in(tmp_path, maps_of(2))
    with pytest.raises(ValueError, match="another levels and crop"):
        CascadePlan.begin(tmp_path, maps_of(), 16)
    with pytest.raises(ValueError, match="a crop of 64² pixels is larger than the maps, 32²"):
        CascadePlan.begin(tmp_path, maps_of(), 8, 64)
    with pytest.raises(ValueError, match="no level of 64² pixels; expected 8², 16², 32²"):
        list(plan.train(64, SHORT))
    with pytest.raises(ValueError, match="the level of 8² pixels in .* was not begun"):
        plan.join()


def test_a_level_of_other_maps_is_refused(tmp_path):
    """Put into the folder by hand, for example."""
    plan, other = plan_in(tmp_path / "one"), plan_in(tmp_path / "other", maps_of(2))
    for side in plan.families:
        list(plan.train(side, SHORT))
    list(other.train(16, SHORT))
    plan.folder_of(16).rename(tmp_path / "away")
    other.folder_of(16).rename(plan.folder_of(16))
    with pytest.raises(ValueError, match="expected levels of the same maps"):
        plan.join()


def test_held_out_maps_are_of_other_simulations(tmp_path):
    plan = plan_in(tmp_path, held_out=0.25)
    assert not set(plan.train_set.simulation) & set(plan.held_out.simulation)
    record = list(plan.train(8, SHORT))[-1]
    assert np.isfinite(record["validation"])


def test_maps_of_a_coarse_level_are_averaged_while_they_are_read(tmp_path):
    maps = maps_of(count=40)
    with MapWriter(tmp_path / "maps.zarr", 5.0, 1.0) as writer:
        writer.append(maps.maps, maps.simulation)
    stored = open_maps(tmp_path / "maps.zarr")
    expected = averaged(maps.tensor(), 4)
    torch.testing.assert_close(averaged_set(stored, 8), expected)
    assert averaged_set(stored, 32) is stored


# ---------------------------------------------------------------- the command


def test_the_command_trains_joins_and_resumes(tmp_path, capsys):
    maps, folder = tmp_path / "maps.npz", tmp_path / "cascade"
    maps_of().save(maps)
    words = ["cascade", str(maps), str(folder), "--steps", "2", "--batch", "4", "--device", "cpu"]
    assert main([*words, "--family", "32=detail-diffusion", "--only", "16"]) == 0
    assert "not finished: the levels of 8², 32² pixels" in capsys.readouterr().out
    assert main([*words, "--family", "32=detail-diffusion"]) == 0
    out = capsys.readouterr().out
    assert "32², step 2" in out and f"wrote {folder / 'cascade.safetensors'}" in out
    assert json.loads((folder / "cascade.json").read_text())["families"]["8"] == "trenf"
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "has a cascade of another levels" in error and error.count("\n") == 1
    assert main([*words, "--family", "32"]) == 1
    assert "--family is SIDE=NAME" in capsys.readouterr().err
    _draws(folder / "cascade.safetensors", tmp_path)
    assert "as fine" in capsys.readouterr().err


def _draws(model, folder) -> None:
    """The joined checkpoint draws maps into a set, and refines given ones."""
    file, coarse = folder / "drawn.zarr", folder / "coarse.npz"
    words = ["draw", str(model), "3", str(file), "--device", "cpu"]
    assert main(words) == 1
    assert main([*words, "--side-deg", "5"]) == 0
    drawn = open_maps(file)
    assert drawn.maps.shape == (3, 32, 32) and drawn.side_deg == 5
    MapSet(averaged(drawn.tensor(), 2).numpy(), 5.0).save(coarse)
    refine = ["--coarse", str(coarse), "--device", "cpu"]
    assert main(["draw", str(model), "3", str(folder / "fine.npy"), *refine]) == 0
    fine = np.load(folder / "fine.npy")
    found = averaged(torch.from_numpy(fine), 2)
    torch.testing.assert_close(found, averaged(drawn.tensor(), 2), rtol=1e-3, atol=1e-5)
    finer = ["draw", str(model), "3", str(folder / "finer.npy"), *refine, "--times", "8"]
    assert main(finer) == 1


@pytest.mark.parametrize(
    "name, gpus, devices",
    [
        ("auto", 0, ["auto"] * 3),
        ("auto", 1, ["auto"] * 3),
        ("cuda", 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cpu", 2, ["cpu"] * 3),
        ("cuda:1", 2, ["cuda:1"] * 3),
    ],
)
def test_levels_take_several_gpus_in_turn(monkeypatch, name, gpus, devices):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert level_processes._devices(name, 3) == devices


@pytest.mark.nightly
def test_levels_in_processes_make_the_same_cascade(tmp_path, capsys):
    maps = tmp_path / "maps.npz"
    maps_of().save(maps)
    for processes in ("1", "2"):
        words = ["cascade", str(maps), str(tmp_path / processes), "--steps", "2", "--batch", "4"]
        assert main([*words, "--device", "cpu", "--processes", processes]) == 0
    one, two = (models.load(tmp_path / name / "cascade.safetensors") for name in ("1", "2"))
    torch.testing.assert_close(one.sample(2, seeded(1)), two.sample(2, seeded(1)))
    broken = tmp_path / "3" / "level_32" / "training.safetensors"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"torn")
    words[2] = str(tmp_path / "3")
    assert main([*words, "--device", "cpu", "--processes", "2"]) == 1
    captured = capsys.readouterr()
    assert "the level of 32² pixels failed" in captured.err
    assert "is corrupt" in (broken.parent / "log.txt").read_text(encoding="utf-8")
    assert "not finished: the levels of 32² pixels" in captured.out


# ---------------------------------------------------------------- sets of drawn maps


class Counting(GaussianField):
    """Stops after so many blocks."""

    asked: list
    stop_after = 1_000

    def sample(self, n, generator=None, **how):
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(n)
        return super().sample(n, generator, **how)


def field(stop_after: int = 1_000) -> Counting:
    gaussian = GaussianField.fit(torch.from_numpy(maps_of().maps))
    gaussian.__class__ = Counting
    gaussian.asked, gaussian.stop_after = [], stop_after
    return gaussian


def test_a_drawing_into_a_set_goes_on_to_the_same_maps(tmp_path, monkeypatch):
    monkeypatch.setattr("lensnb.models.drawing_sets._BLOCK_PIXELS", 4 * 32**2)
    whole = open_maps(draw_set(field(), 10, tmp_path / "whole.zarr", 5.0, 1.0))
    assert whole.maps.shape == (10, 32, 32) and len(np.unique(whole.simulation)) == 10
    with pytest.raises(KeyboardInterrupt):
        draw_set(field(stop_after=2), 10, tmp_path / "maps.zarr", 5.0, 1.0)
    begun = open_maps(tmp_path / "maps.zarr")
    assert len(begun) == 8
    model = field()
    again = open_maps(draw_set(model, 10, tmp_path / "maps.zarr", 5.0, 1.0))
    np.testing.assert_array_equal(again.maps, whole.maps)
    assert model.asked == [2], "only what was missing"
    model = field()
    draw_set(model, 10, tmp_path / "maps.zarr", 5.0, 1.0)
    assert model.asked == []


def test_sets_of_two_models_are_never_mixed(tmp_path):
    draw_set(field(), 5, tmp_path / "maps.zarr", 5.0)
    other = field()
    other.variance *= 2
    for model, seed in ((other, 0), (field(), 1)):
        with pytest.raises(ValueError, match="holds maps that were drawn in another way"):
            draw_set(model, 5, tmp_path / "maps.zarr", 5.0, seed=seed)
    with pytest.raises(ValueError, match="has side_deg = 5.0"):
        draw_set(field(), 5, tmp_path / "maps.zarr", 10.0)
    other.variance.fill_(float("nan"))
    with pytest.raises(ValueError, match="have NaN or infinite pixels"):
        draw_set(other, 5, tmp_path / "wrong.zarr", 5.0)
    with pytest.raises(ValueError, match="ends in .zarr"):
        draw_set(field(), 5, tmp_path / "maps.npy", 5.0)
