"""Training: one seed one result, resumed equals uninterrupted, and nothing saved is ever lost.

Everything here is compared bit for bit, on the CPU.
"""

import errno
import functools
import io
import json
import math
import os
import re
import shutil
import signal
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lensnb import files
from lensnb.data import random_symmetry
from lensnb.files import read_checkpoint, save_checkpoint, write_tensors
from lensnb.maps import GaussianField, LognormalField, MapGrid
from lensnb.models import Diffusion, Flow
from lensnb.nets import UNet
from lensnb.train import Checks, Folder, Hardware, Settings, choose_device, fit, loop, place
from lensnb.train.settings import generator_of, schedule
from lensnb.train.streaming import Stream, TrainingSet
from lensnb.transform import KappaTransform

STEPS = 12
GRID = MapGrid(16, 5.0)


def kappa(n: int, seed: int) -> torch.Tensor:
    """Lognormal κ-maps, float32, shape ``(n, 16, 16)``."""
    variance = GaussianField.from_power(
        GRID, lambda ell: 1e-8 * (1 + (ell / 300) ** 2) ** -0.8
    ).variance
    return LognormalField.from_correlation(variance, 0.03).sample(
        n, torch.Generator().manual_seed(seed)
    )


MAPS, HELD_OUT = kappa(20, 1), kappa(10, 2)


def build(family: str = "flow") -> torch.nn.Module:
    """The same untrained model each time."""
    torch.manual_seed(0)
    transform = KappaTransform.fit(MAPS)
    if family == "flow":
        return Flow(16, transform, steps=2, hidden=4)
    return Diffusion(16, transform, GaussianField.fit(transform(MAPS)), widths=(8, 16))


def run(model, folder=None, maps=MAPS, **options) -> list[dict]:
    """Train for a few steps, with settings that make everything happen; the records."""
    return list(training(model, folder, maps, **options))


def training(model, folder=None, maps=MAPS, **options) -> Iterator[dict]:
    """The same, record by record."""
    settings = {"steps": STEPS, "batch": 8, "lr": 1e-2, "ema": 0.8, "augment": random_symmetry}
    checks = {"every": 4}
    hardware = {"device": "cpu", "precision": "float32"}  # on every machine
    files = {"path": folder, "save_every": 3}
    for name, value in options.items():
        group = next((g for g in (checks, hardware, files) if name in g), settings)
        if name in ("validation", "check", "check_every"):
            group = checks
        group[name] = value
    return fit(
        model,
        maps,
        Settings(**settings),
        checks=Checks(**checks),
        device=Hardware(**hardware),
        folder=Folder(**files),
    )


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(found: dict, expected: dict):
    assert found.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert different == []


def without_time(records: list[dict]) -> list[dict]:
    clock = ("seconds", "images_per_second")
    return [
        {key: value for key, value in record.items() if key not in clock} for record in records
    ]


def interrupt_at(step: int):
    """An augmentation that presses Ctrl-C in its ``step``-th call, before the first being 0."""
    calls = []

    @functools.wraps(
        random_symmetry
    )  # the same augmentation, as far as a resumed training can tell
    def augment(maps, generator):
        calls.append(None)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        return random_symmetry(maps, generator)

    return augment


@pytest.fixture(scope="module", params=["flow", "diffusion"])
def uninterrupted(request):
    """Family, weights and records of a whole training with validation."""
    model = build(request.param)
    records = run(model, validation=HELD_OUT)
    return request.param, weights(model), records


# ---------------------------------------------------------------- records


def test_records_say_where_the_training_is(uninterrupted):
    _, _, records = uninterrupted
    assert [record["step"] for record in records] == [4, 8, 12]
    for record in records:
        told = {"step", "loss", "lr", "seconds", "images", "images_per_second", "validation"}
        parts = {name for name in record if name.startswith("validation, ")}
        assert set(record) - {"stopped"} - parts == told
        assert record["images"] == 8 * record["step"]
        assert record["lr"] == pytest.approx(1e-2 * schedule(record["step"], STEPS))
        assert all(
            isinstance(record[key], float) for key in ("loss", "lr", "seconds", "validation")
        )
    assert ["stopped" in record for record in records] == [False, False, True]
    assert records[-1]["stopped"] == "finished"
    seconds = [record["seconds"] for record in records]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    for before, record in zip([{"seconds": 0.0}, *records], records):
        assert record["images_per_second"] == pytest.approx(
            4 * 8 / (record["seconds"] - before["seconds"])
        )


def test_settings_are_numbers_of_python_wherever_they_come_from(tmp_path):
    numbers = {"batch": np.int32(8), "lr": np.float32(0.5), "seed": np.int64(10**13)}
    settings = Settings(np.int64(6), ema=torch.tensor(0.5), **numbers)
    assert settings == Settings(6, 8, lr=0.5, ema=0.5, seed=10**13)
    assert json.loads(json.dumps(settings.as_json())) == settings.as_json()
    for seed in (1.5, "1", None):
        with pytest.raises(ValueError, match="seed must be a whole number, found"):
            Settings(6, seed=seed)
    with pytest.raises(ValueError, match="lr must be one number, found"):
        Settings(6, lr="fast")


def settled(model, maps, held_out, steps=60, **settings):
    """First and last held-out loss of a short training, in float32 on any machine."""
    torch.manual_seed(0)
    settings = Settings(steps, batch=16, ema=0.9, **settings)
    checks, hardware = Checks(held_out, every=5), Hardware("cpu", "float32")
    records = list(fit(model, maps, settings, checks=checks, device=hardware))
    return records[0]["validation"], records[-1]["validation"]


def test_training_lowers_the_loss_of_a_flow():
    """Correlated maps and a white base: there is much to learn."""
    grid = MapGrid(16, 5.0)
    field = GaussianField.from_power(grid, lambda ell: 1e-9 * (ell / 500) ** -2.0)
    maps = field.sample(160, torch.Generator().manual_seed(3))
    flow = Flow(16, KappaTransform.fit(maps, logarithm=False), steps=2, hidden=8)
    first, last = settled(flow, maps[:128], maps[128:], lr=2e-3)
    assert float(field.loss(maps[128:])) < last < first - 0.02


def test_training_lowers_the_loss_of_a_diffusion_model():
    """Maps of two values only: the Gaussian denoiser, whose loss is 1, is far from the best guess (a loss of 0.5)."""
    two = 0.01 * torch.randn(288, 16, 16, generator=torch.Generator().manual_seed(3)).sign()
    torch.manual_seed(0)
    model = Diffusion(
        16, KappaTransform.fit(two, logarithm=False), network=UNet(2, 1, (8, 16), patch=1)
    )
    _, last = settled(model, two[:256], two[256:], steps=120, lr=3e-3)
    assert 0.45 < last < 0.8


def test_the_loss_of_a_record_is_the_mean_since_the_last(tmp_path):
    one_by_one = run(build(), every=1)
    by_four = run(build(), every=4)
    for i, record in enumerate(by_four):
        expected = [r["loss"] for r in one_by_one[4 * i : 4 * i + 4]]
        assert record["loss"] == pytest.approx(sum(expected) / 4)


def test_history_holds_the_records(tmp_path):
    records = run(build(), tmp_path, validation=HELD_OUT)
    assert [
        json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()
    ] == records


def test_without_folder_or_validation_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all("validation" not in record for record in run(build()))
    assert list(tmp_path.iterdir()) == []


def test_the_schedule_rises_and_falls():
    rates = [schedule(step, 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 50) and rates[24] == pytest.approx(0.5)
    peak = rates.index(max(rates))
    assert 48 <= peak <= 50 and rates[peak] > 0.99
    assert rates[500] == pytest.approx(0.5) and rates[1000] == pytest.approx(0, abs=1e-12)
    assert all(a < b for a, b in zip(rates[:peak], rates[1:])) and all(
        a > b for a, b in zip(rates[50:], rates[51:])
    )
    assert all(0 < schedule(step, steps) <= 1 for steps in (1, 2, 19, 40) for step in range(steps))


def drawn_by(maps: int, batch: int, seed: int, step: int) -> torch.Tensor:
    """The numbers of the maps of a batch."""
    numbers = TrainingSet(torch.arange(maps), {})
    return Stream(numbers, functools.partial(loop._epoch, seed)).take(step * batch, batch).maps


@pytest.mark.parametrize("maps, batch", [(20, 8), (20, 5), (7, 16), (8, 8)])
def test_each_epoch_covers_each_map_once(maps, batch):
    epochs = 4
    drawn = torch.cat(
        [drawn_by(maps, batch, 3, step) for step in range(-(-maps * epochs // batch))]
    )
    orders = drawn[: maps * epochs].reshape(epochs, maps)
    assert torch.equal(orders.sort(1).values, torch.arange(maps).expand(epochs, maps))
    assert len({tuple(order.tolist()) for order in orders}) == epochs  # in another order each time
    assert not torch.equal(drawn_by(maps, batch, 4, 0), drawn_by(maps, batch, 3, 0))


# ---------------------------------------------------------------- one seed, one result


def test_one_seed_one_result(uninterrupted):
    family, expected, records = uninterrupted
    torch.manual_seed(99)  # the global state plays no part
    model = build(family)
    torch.manual_seed(98)
    again = run(model, validation=HELD_OUT)
    assert_equal(weights(model), expected)
    assert without_time(again) == without_time(records)


def test_another_seed_another_result(uninterrupted):
    family, expected, _ = uninterrupted
    model = build(family)
    run(model, seed=1)
    assert any(not torch.equal(value, expected[name]) for name, value in weights(model).items())


def test_validation_and_records_leave_no_trace(uninterrupted):
    family, expected, _ = uninterrupted
    model = build(family)
    run(model, every=1, validation=None)
    assert_equal(weights(model), expected)


def test_the_model_keeps_the_moving_average(tmp_path):
    """w̄ ← k w̄ + (1 − k) w with k = min(ema, t / (t + 9)), from the raw weights that each step leaves."""
    model = build()
    average = {name: p.detach().clone() for name, p in model.named_parameters()}
    raw, steps = {}, iter(range(1, STEPS + 1))
    for record in training(model, tmp_path, lr=0.03, ema=0.4, augment=None, every=1):
        if "stopped" in record:
            break
        raw = {name: p.detach().clone() for name, p in model.named_parameters()}
        t = next(steps)
        for name, value in raw.items():
            average[name].lerp_(value, 1 - min(0.4, t / (t + 9)))
    tensors, _ = read_checkpoint(tmp_path / "training.safetensors")
    for name, p in model.named_parameters():
        last = tensors[f"model.{name}"]  # the raw weights after the last step
        expected = average[name].lerp(last, 1 - min(0.4, STEPS / (STEPS + 9)))
        torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-7)
    assert any(
        not torch.equal(tensors[f"model.{name}"], p) for name, p in model.named_parameters()
    )
    assert not model.training


def test_the_saved_model_is_the_one_that_was_left(tmp_path):
    model = build()
    run(model, tmp_path)
    tensors, header = read_checkpoint(tmp_path / "model.safetensors")
    assert_equal(tensors, weights(model))
    assert header["step"] == STEPS and header["settings"]["batch"] == 8
    rebuilt = Flow.from_config(header["config"])
    rebuilt.load_state_dict(tensors)
    place(
        rebuilt, torch.device("cpu")
    )  # with channels last, as the trained one: the other layout may round otherwise
    draws = [m.sample(2, torch.Generator().manual_seed(3)) for m in (rebuilt, model)]
    assert torch.equal(*draws)


def test_gradients_are_clipped():
    """Adam hardly notices the size of a gradient, so look at the gradient of the last step."""
    model = build()
    run(model, steps=1, clip=1e-3)
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


# ---------------------------------------------------------------- interrupted and resumed


@pytest.mark.parametrize("step", [0, 1, 5, 11])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(uninterrupted, tmp_path, step):
    family, expected, records = uninterrupted
    stopped = run(build(family), tmp_path, augment=interrupt_at(step), validation=HELD_OUT)
    assert stopped[-1]["stopped"] == "interrupted" and stopped[-1]["step"] == step
    model = build(family)
    resumed = run(model, tmp_path, validation=HELD_OUT)
    assert_equal(weights(model), expected)
    assert (
        resumed[-1]["stopped"] == "finished"
        and resumed[-1]["validation"] == records[-1]["validation"]
    )
    assert resumed[-1]["seconds"] > stopped[-1]["seconds"]  # time goes on too


def test_ctrl_c_in_a_validation_leaves_the_raw_weights(uninterrupted, tmp_path):
    """Validation puts the averaged weights into the model for a while; they must not be saved as the raw ones."""
    family, expected, _ = uninterrupted
    model = build(family)
    records = training(model, tmp_path, validation=HELD_OUT)
    loss, calls = model.loss, []

    def pressed(batch, generator=None):
        calls.append(None)
        if len(calls) == 6:  # four steps, two batches of held-out maps
            raise KeyboardInterrupt
        return loss(batch, generator)

    model.loss = pressed
    last = next(records)
    assert last["step"] == 4 and last["stopped"] == "interrupted"
    model = build(family)
    run(model, tmp_path)
    assert_equal(weights(model), expected)


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="no signals here")
@pytest.mark.parametrize("where", ["optimizer", "average"])
def test_ctrl_c_in_the_middle_of_an_update_waits_for_its_end(
    uninterrupted, tmp_path, monkeypatch, where
):
    """A step that is half done, weights moved but not counted, would be done twice after resuming."""
    family, expected, _ = uninterrupted
    calls = []

    def pressed(function):
        def wrapper(*args, **options):
            calls.append(None)
            if len(calls) == 6:
                signal.raise_signal(signal.SIGINT)
            return function(*args, **options)

        return wrapper

    with monkeypatch.context() as patch:
        if where == "optimizer":
            patch.setattr(torch.optim.Adam, "step", pressed(torch.optim.Adam.step))
        else:
            patch.setattr(loop, "get_ema_multi_avg_fn", pressed(loop.get_ema_multi_avg_fn))
        stopped = run(build(family), tmp_path)
    assert stopped[-1]["stopped"] == "interrupted" and stopped[-1]["step"] == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model = build(family)
    run(model, tmp_path)
    assert_equal(weights(model), expected)


def test_a_training_that_is_no_longer_asked_for_goes_on(uninterrupted, tmp_path):
    family, expected, _ = uninterrupted
    model = build(family)
    records = training(model, tmp_path, every=5)
    assert next(records)["step"] == 5
    records.close()
    saved, _ = read_checkpoint(tmp_path / "model.safetensors")
    assert_equal(weights(model), saved)  # what was learnt so far is left in the model
    model = build(family)
    run(model, tmp_path)
    assert_equal(weights(model), expected)


@pytest.mark.parametrize("checkpoint", [3, 9])
def test_a_training_whose_process_died_goes_on_from_its_checkpoint(
    uninterrupted, tmp_path, checkpoint
):
    """What lay on the disk after the checkpoint of that step, and nothing later."""
    family, expected, _ = uninterrupted
    records = training(build(family), tmp_path / "alive", every=1)
    for record in records:
        if record["step"] == checkpoint + 1:
            shutil.copytree(tmp_path / "alive", tmp_path / "died")
            break
    records.close()
    assert read_checkpoint(tmp_path / "died" / "training.safetensors")[1]["step"] == checkpoint
    model = build(family)
    run(model, tmp_path / "died")
    assert_equal(weights(model), expected)


def test_a_finished_training_is_left_alone(tmp_path):
    model = build()
    first = run(model, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = build()
    assert run(again, tmp_path) == first and first[-1]["stopped"] == "finished"
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert_equal(weights(again), weights(model))


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("part", ["model.", "average.", "adam."])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_training_with_values_that_are_not_finite_is_refused(tmp_path, part, value):
    """Even one that is finished, whose weights would be left in the model."""
    run(build(), tmp_path)
    path = tmp_path / "training.safetensors"
    tensors, header = read_checkpoint(path)
    name = next(one for one in tensors if one.startswith(part) and tensors[one].ndim)
    tensors[name].view(-1)[0] = value
    write_tensors(path, tensors, header)
    with pytest.raises(ValueError, match=rf"values in {re.escape(name)} that are not finite"):
        run(build(), tmp_path)


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:-100], lambda raw: raw[:5], lambda raw: b"", lambda raw: b"x" * 500],
)
def test_a_corrupt_training_is_refused_in_a_sentence(tmp_path, damage):
    run(build(), tmp_path, steps=2)
    path = tmp_path / "training.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match=f"{re.escape(str(path))} is corrupt or no checkpoint"
    ) as caught:
        run(build(), tmp_path, steps=2)
    assert "\n" not in str(caught.value)


def test_another_file_is_no_checkpoint(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no checkpoint of lensnb"):
        read_checkpoint(tmp_path / "other.safetensors")
    with pytest.raises(
        FileNotFoundError, match="missing.safetensors does not exist; expected a checkpoint"
    ):
        read_checkpoint(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    "options, named",
    [
        ({"steps": 20}, "steps = 12 (now 20)"),
        ({"lr": 2e-2}, "lr = 0.01 (now 0.02)"),
        ({"batch": 4}, "batch = 8 (now 4)"),
        ({"seed": 5}, "seed = 0 (now 5)"),
        ({"ema": 0.9}, "ema = 0.8 (now 0.9)"),
        ({"clip": 2.0}, "clip = 1.0 (now 2.0)"),
        ({"accumulate": 2}, "accumulate = 1 (now 2)"),
        ({"augment": None}, "augment = 'random_symmetry' (now None)"),
        ({"model": Flow(16, KappaTransform(shift=0.1), steps=2, hidden=4)}, "'shift': '0.1'"),
        ({"maps": MAPS[:15]}, "maps = 20 (now 15)"),
        ({"maps": MAPS.flip(0)}, "data = "),
        ({"model": Flow(16, steps=4, hidden=4)}, "'steps': 2"),
        ({"model": build("diffusion")}, "family = 'flow' (now 'diffusion')"),
    ],
)
def test_a_training_with_other_settings_is_refused_by_name(tmp_path, options, named):
    run(build(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = options.pop("model", None) or build()
    with pytest.raises(ValueError, match="belongs to a training with other settings") as caught:
        run(model, tmp_path, **options)
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_loss_that_is_not_finite_is_refused_and_spoils_nothing(tmp_path):
    """After a good checkpoint, one that holds broken weights must not take its place."""
    run(build(), tmp_path, augment=interrupt_at(6))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    @functools.wraps(random_symmetry)
    def break_(maps, generator):
        return maps * float("nan")

    model, sentence = (
        build(),
        r"the loss is nan and its gradient nan at step 6; a smaller lr \(now .*\) may help; ",
    )
    with pytest.raises(
        ValueError, match=sentence + r".*training.safetensors holds the last good state"
    ):
        run(model, tmp_path, augment=break_)
    assert_equal(
        weights(model), read_checkpoint(tmp_path / "model.safetensors")[0]
    )  # what was learnt is in the model
    assert not model.training
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


class Explosive(torch.nn.Module):
    """A model whose first loss is finite and whose first gradient is not."""

    family, config = "explosive", {}

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def loss(self, batch, generator=None):
        return torch.sqrt((self.weight - 1).abs()).sum()  # 0 with an infinite slope


def test_weights_are_never_moved_by_a_gradient_that_is_not_finite():
    model = Explosive()
    with pytest.raises(ValueError, match="the loss is 0.0 and its gradient nan at step 0"):
        run(model)
    assert model.weight.tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["nonsense", "cuda:17"])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(
        ValueError, match=rf"the device '{name}' is not there \(.*\); expected auto or cpu"
    ) as caught:
        run(build(), device=name)
    assert "\n" not in str(caught.value)


def test_the_device_is_chosen_or_taken():
    assert choose_device("cpu") == torch.device("cpu")
    expected = (
        "cuda"
        if torch.cuda.is_available()
        else "mps"
        if torch.backends.mps.is_available()
        else "cpu"
    )
    assert choose_device().type == expected
    assert place(build(), torch.device("cpu")).transform.mean.dtype == torch.float64


# ---------------------------------------------------------------- no space left


@pytest.fixture
def full_disk(monkeypatch):
    """Call it and every later file finds no space: ``write`` while it is written, ``replace`` when it takes its place."""

    def fill(how: str):
        def full(*_, **__):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        if how == "replace":
            monkeypatch.setattr(os, "replace", full)
            return

        class Full(io.BufferedWriter):
            write = full

        def opened(path, mode):
            return Full(io.FileIO(path, mode.replace("b", "")))

        monkeypatch.setattr(files, "open", opened, raising=False)

    return fill


@pytest.mark.parametrize("how", ["write", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, full_disk, how):
    path, model = tmp_path / "model.safetensors", build()
    save_checkpoint(path, model, step=1)
    before = path.read_bytes()
    full_disk(how)
    with pytest.raises(
        OSError,
        match=r"could not write .*model.safetensors \(No space left on device\); what was there",
    ):
        save_checkpoint(path, build("diffusion"), step=2)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("how", ["write", "replace"])
def test_a_disk_that_fills_up_in_mid_training_loses_nothing_that_was_saved(
    tmp_path, full_disk, how, monkeypatch
):
    @functools.wraps(random_symmetry)
    def fill_later(maps, generator):
        if len(calls) == 4:
            full_disk(how)
        calls.append(None)
        return random_symmetry(maps, generator)

    calls, expected = [], build()
    run(expected)
    model = build()
    with pytest.raises(
        OSError, match=r"could not write .*training.safetensors \(No space left on device\)"
    ) as caught:
        run(model, tmp_path, augment=fill_later)
    assert caught.value.__suppress_context__  # one sentence, not the story of how it came about
    assert (
        len(calls) == 7 and not model.training
    )  # at the checkpoint of step 6, when the next loss was known
    monkeypatch.undo()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "history.jsonl",
        "model.safetensors",
        "training.safetensors",
    ]
    assert read_checkpoint(tmp_path / "training.safetensors")[1]["step"] == 3
    assert read_checkpoint(tmp_path / "model.safetensors")[1]["step"] == 3
    model = build()
    run(model, tmp_path)
    assert_equal(weights(model), weights(expected))


def test_a_disk_that_is_full_from_the_start_leaves_what_was_learnt_in_the_model(
    tmp_path, full_disk
):
    expected, model = build(), build()
    run(expected)
    full_disk("write")
    with pytest.raises(OSError, match="No space left on device"):
        run(model, tmp_path, save_every=100, every=100)
    assert_equal(weights(model), weights(expected))


# ---------------------------------------------------------------- patience


def overfit(folder=None, **options) -> tuple[torch.nn.Module, list[dict]]:
    """A flow that learns four maps by heart, and how its loss of other maps went."""
    model = build()
    defaults = {"steps": 60, "lr": 3e-2, "augment": None, "patience": 2, "ema": 0.5}
    return model, run(model, folder, maps=MAPS[:4], validation=HELD_OUT, **(defaults | options))


def test_a_training_with_patience_ends_and_keeps_the_best_weights(tmp_path):
    model, records = overfit(tmp_path)
    losses = [record["validation"] for record in records]
    best = min(range(len(losses)), key=losses.__getitem__)
    assert (
        records[-1]["stopped"] == "early" and records[-1]["step"] < 60 and len(losses) == best + 3
    )
    assert records[-1]["kept"] == records[best]["step"]
    _, whole = overfit(patience=0)  # what it was impatient about
    assert without_time(records[:-1]) == without_time(whole[: len(records) - 1])
    assert all(record["validation"] > losses[best] for record in whole[best + 1 : best + 3])
    generator = generator_of(0, 0)
    with torch.no_grad():
        batches = [model.loss(part, generator) for part in HELD_OUT.split(8)]
    assert float(sum(batches)) / 2 == losses[best]
    saved, header = read_checkpoint(tmp_path / "model.safetensors")
    assert_equal({name: saved[name] for name in weights(model)}, weights(model))
    again = build()  # it is not gone on with
    assert without_time(run(again, tmp_path, maps=MAPS[:4], steps=60, lr=3e-2, augment=None, patience=2, ema=0.5, validation=HELD_OUT)) == without_time(records)  # fmt: skip
    assert_equal(weights(again), weights(model))


@pytest.mark.parametrize("step", [6, 9, 14, 17])
def test_an_impatient_training_goes_on_as_if_nothing_had_happened(tmp_path, step):
    def interrupting(maps, generator, calls=[]):  # noqa: B006
        calls.append(None)
        if len(calls) == step:
            raise KeyboardInterrupt
        return maps

    named = lambda maps, generator: maps
    named.__qualname__ = interrupting.__qualname__ = "as they are"
    expected, whole = overfit(augment=named)
    overfit(tmp_path, augment=interrupting)
    model, records = overfit(tmp_path, augment=named)
    assert_equal(weights(model), weights(expected))
    assert {key: records[-1][key] for key in ("step", "kept", "stopped")} == {
        key: whole[-1][key] for key in ("step", "kept", "stopped")
    }


def test_patience_that_is_never_tried_keeps_the_best_weights_too():
    model, records = overfit(steps=20, patience=100)
    losses = {record["step"]: record["validation"] for record in records}
    assert records[-1]["stopped"] == "finished" and records[-1]["kept"] == min(
        losses, key=losses.get
    )


def test_patience_needs_held_out_maps():
    with pytest.raises(
        ValueError,
        match="patience waits for the loss of held-out maps to fall; give them as validation",
    ):
        run(build(), patience=2)


@pytest.mark.parametrize(
    "change",
    [{"lr": -1e-3}, {"ema": 1.0}, {"clip": -1.0}, {"patience": -1}, {"steps": 2.5}, {"batch": 0}],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_by_name(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"{name} must be"):
        Settings(**({"steps": 2} | change))


def test_a_set_without_maps_is_refused():
    with pytest.raises(ValueError, match="the training set has no maps; expected at least one"):
        next(fit(torch.nn.Linear(2, 2), torch.zeros(0, 8, 8), 2))


@pytest.mark.parametrize("what", ["a field", "a frozen model"])
def test_a_model_without_weights_to_train_is_refused(what):
    maps = GaussianField.white(16).sample(8, torch.Generator().manual_seed(0))
    model = GaussianField.fit(maps)
    if what == "a frozen model":
        model = Flow(16, steps=2, hidden=8).requires_grad_(False)
    with pytest.raises(ValueError, match=f"a {type(model).__name__} has no weights to train"):
        next(fit(model, maps, 2))


@pytest.mark.parametrize("name", ["every", "check_every"])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_records_come_after_a_whole_number_of_steps(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*, found {value}"):
        Checks(**{name: value})
