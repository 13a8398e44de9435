"""A training that is killed outright goes on bit for bit, and one whose numbers break keeps its last good state."""

import functools
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from test_train import MAPS, STEPS, assert_equal, build, interrupt_at, run, training, weights

from lensnb.data import random_crop, random_symmetry
from lensnb.files import InUse, read_checkpoint, write_tensors
from lensnb.models import Flow
from lensnb.train import fit
from lensnb.train.settings import name_of
from lensnb.train.state import _numbers
from lensnb.transform import KappaTransform

KILLED = """
import functools, sys, time
from test_train import build, random_symmetry, run

calls = []

@functools.wraps(random_symmetry)
def hang(maps, generator):
    calls.append(None)
    if len(calls) == 9:
        print("ready", flush=True)
        time.sleep(1000)
    return random_symmetry(maps, generator)

family, precision, folder = sys.argv[1:]
run(build(family), folder, augment=hang, precision=precision)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("family, precision", [("flow", "bfloat16"), ("diffusion", "float32")])
def test_a_training_that_was_killed_goes_on_bit_for_bit(tmp_path, family, precision):
    """Weights, average, optimiser, schedule, noise and place in the data: every one is in the last weights."""
    uninterrupted = build(family)
    expected = run(uninterrupted, tmp_path / "whole", precision=precision)
    command = [sys.executable, "-c", KILLED, family, precision, str(tmp_path / "killed")]
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here.parent}{os.pathsep}{here}"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (
        read_checkpoint(tmp_path / "killed" / "training.safetensors")[1]["step"] == 6
    )  # 8 steps were made
    model = build(family)
    found = run(model, tmp_path / "killed", precision=precision)
    assert_equal(weights(model), weights(uninterrupted))
    files = [
        read_checkpoint(tmp_path / name / "training.safetensors")[0]
        for name in ("killed", "whole")
    ]
    assert_equal(*files)  # raw weights, averages and both moments of the optimiser
    assert [(r["step"], r["lr"], r["images"]) for r in found] == [
        (r["step"], r["lr"], r["images"]) for r in expected
    ]
    assert found[-1]["loss"] == expected[-1]["loss"]


# ---------------------------------------------------------------- numbers that break


def test_no_checkpoint_is_written_of_weights_whose_loss_is_not_finite(tmp_path):
    """The checkpoint of step 6 is due when the loss of step 6 comes out NaN: that of step 3 stays."""
    model, loss, calls = build(), Flow.loss, []

    def breaking(batch, generator=None):
        calls.append(None)
        return loss(model, batch, generator) * (float("inf") if len(calls) == 7 else 1)

    model.loss = breaking
    with pytest.raises(
        ValueError,
        match=r"the loss is -?inf .* at step 6; .*training.safetensors holds the last good",
    ):
        run(model, tmp_path)
    for name in ("training", "model"):
        tensors, header = read_checkpoint(tmp_path / f"{name}.safetensors")
        assert header["step"] == 3 and all(
            torch.isfinite(value).all() for value in tensors.values() if value.dim()
        )
    again, expected = build(), build()
    run(again, tmp_path)
    run(expected)
    assert_equal(weights(again), weights(expected))


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    """A last step so large that it breaks the weights, whose loss nobody will ask for."""
    run(build(), tmp_path, augment=interrupt_at(5))
    before = {
        path.name: path.read_bytes()
        for path in tmp_path.iterdir()
        if path.suffix == ".safetensors"
    }
    model, step = build(), torch.optim.Adam.step

    def exploding(self, *args):
        step(self, *args)
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", exploding)
        with pytest.raises(
            ValueError, match="is not finite at step 6; .* holds the last good state"
        ):
            run(model, tmp_path, augment=interrupt_at(1))
    after = {
        path.name: path.read_bytes()
        for path in tmp_path.iterdir()
        if path.suffix == ".safetensors"
    }
    assert after == before


# ---------------------------------------------------------------- settings


def rewrite(folder, change):
    """Change the settings of a saved training, as another version would have written them."""
    path = folder / "training.safetensors"
    tensors, header = read_checkpoint(path)
    change(header["settings"])
    write_tensors(path, tensors, header)


def test_a_training_of_an_older_version_goes_on(tmp_path):
    """It wrote down neither transform nor augmentation nor how its networks computed, and has fewer arguments."""

    def forget(settings):
        for key in ("transform", "augment", "accumulate", "precision", "compile"):
            settings.pop(key, None)

    expected, model = build(), build()
    run(expected)
    run(build(), tmp_path, augment=interrupt_at(5))
    rewrite(tmp_path, forget)
    run(model, tmp_path, precision="auto")
    assert_equal(weights(model), weights(expected))
    assert (
        read_checkpoint(tmp_path / "training.safetensors")[1]["settings"]["precision"] == "float32"
    )


def test_arguments_that_are_newer_than_the_training_have_their_defaults(tmp_path):
    class Newer(Flow):
        """A flow with one argument more."""

        def __init__(self, *args, extra=1, **options):
            super().__init__(*args, **options)
            self.config["extra"] = extra

        @classmethod
        def from_config(cls, config):
            return cls(
                config["n"],
                steps=config["steps"],
                hidden=config["hidden"],
                extra=config.get("extra", 1),
            )

    newer = lambda extra: Newer(16, KappaTransform.fit(MAPS), steps=2, hidden=4, extra=extra)
    run(build(), tmp_path, augment=interrupt_at(5))
    with pytest.raises(ValueError, match=r"'extra': 1.*'extra': 2"):
        run(newer(2), tmp_path)
    run(newer(1), tmp_path)
    assert read_checkpoint(tmp_path / "training.safetensors")[1]["step"] == STEPS


def test_another_precision_goes_on_with_a_sentence(tmp_path):
    run(build(), tmp_path, augment=interrupt_at(5))
    with pytest.warns(
        UserWarning,
        match=r"began with precision = 'float32' \(now 'bfloat16'\): the training resumes",
    ):
        records = run(build(), tmp_path, precision="bfloat16")
    assert records[-1]["stopped"] == "finished"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(build(), tmp_path, precision="float32")  # there is nothing left to compute


def test_a_resumed_training_keeps_its_precision(tmp_path):
    expected, model = build(), build()
    run(expected)
    run(build(), tmp_path, augment=interrupt_at(5))
    run(model, tmp_path, precision="auto")  # bfloat16 on some machines
    assert_equal(weights(model), weights(expected))


def test_augmentations_are_known_by_name():
    assert name_of(None) is None
    assert name_of(random_symmetry) == "random_symmetry"
    assert name_of(functools.partial(random_crop, n=64)) == "random_crop(n=64)"
    assert name_of(torch.nn.Identity()) == "Identity"


def test_transforms_are_known_by_six_digits():
    """The thirteenth digit depends on the number of threads that measured it."""
    assert _numbers(KappaTransform(0.1, mean=1.0)) == {
        "low": "0.1",
        "shift": "inf",
        "mean": "1",
        "std": "1",
    }
    assert _numbers(KappaTransform(0.1 + 1e-13)) == _numbers(KappaTransform(0.1))
    assert _numbers(KappaTransform(0.10001)) != _numbers(KappaTransform(0.1))
    assert json.dumps(_numbers(None)) == "{}"


def test_two_processes_never_train_in_one_folder(tmp_path):
    """The second one is refused while the first is at it, and resumes when the first was killed."""
    folder = tmp_path / "shared"
    folder.mkdir()
    code = "import sys, time; from lensnb.files import lock; held = lock(sys.argv[1]); print(1, flush=True); time.sleep(600)"
    first = subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE)
    try:
        assert first.stdout.readline() == b"1\n"
        maps = torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.02
        model = Flow(16, KappaTransform.fit(maps), steps=2, hidden=8)
        with pytest.raises(InUse, match="shared is being written by another process"):
            list(fit(model, maps, 2, folder=folder, device="cpu"))
        assert not (folder / "history.jsonl").exists()
    finally:
        first.kill()
        first.communicate()
    records = list(fit(model, maps, 2, folder=folder, device="cpu"))
    assert records[-1]["stopped"] == "finished" and not (folder / ".lock").exists()


def test_a_training_that_a_notebook_left_goes_on_and_overwrites_nothing(tmp_path):
    """A cell that failed keeps its generator. The next cell goes on from its last step."""
    expected = build()
    run(expected)
    left = training(build(), tmp_path)
    first = [next(left), next(left)]
    model = build()
    records = run(model, tmp_path)
    assert [one["step"] for one in records[:2]] == [one["step"] for one in first]
    assert records[-1]["stopped"] == "finished"
    assert_equal(weights(model), weights(expected))
    with pytest.raises(StopIteration):
        next(left)
    del left
    assert read_checkpoint(tmp_path / "training.safetensors")[1]["step"] == STEPS
