"""Two processes that share the micro-batches of a step train the model that one process trains."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from test_train import HELD_OUT, MAPS, build, run, weights

from lensnb.files import read_checkpoint
from lensnb.train import Settings, loop, processes, streaming

BLOCKS = [textwrap.dedent(b) for b in processes.__doc__.split("\n\n") if b.startswith("    ")]
EXAMPLE = "\n\n".join(BLOCKS[:3])  # the script, literally
COMMAND = next(
    line for block in BLOCKS for line in block.splitlines() if line.startswith("command")
)
ROOT = Path(__file__).parents[1]


def start(script: str, folder: Path, several: bool = True) -> str:
    """Run a script as the docstring says, or in one process; its output."""
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(script)
    said: dict = {}
    exec(COMMAND, said)
    arguments = said["command"].split() if several else ["script.py"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_processes_train_the_model_of_one(tmp_path):
    """The example of the documentation, as it stands there; equal to rounding."""
    out = start(EXAMPLE, tmp_path / "two")
    start(EXAMPLE, tmp_path / "one", several=False)
    assert out.count("training:   0%") == 1  # the other process is silent
    files = [tmp_path / name / "shared" / "training.safetensors" for name in ("two", "one")]
    (two, header), (one, other) = (read_checkpoint(file) for file in files)
    assert header["settings"] == other["settings"] and header["step"] == 20
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6, msg=name)
    history = [(file.parent / "history.jsonl").read_text().splitlines() for file in files]
    assert len(history[0]) == len(history[1]) == 1


MORE = """
import sys
import torch, torch.distributed as dist
from test_train import MAPS, HELD_OUT, build, interrupt_at, run, weights
from lensnb.train import processes

rank = int(__import__("os").environ["RANK"])
model = build("diffusion")
with torch.no_grad():
    [p.add_(rank) for p in model.parameters()]  # the first process says where they begin
options = dict(steps=4, accumulate=2, every=2, check_every=2, save_every=2, batch=4, validation=HELD_OUT, check=lambda m: {"seen": rank})
first = run(model, "folder", **options)
again = run(build("diffusion"), "folder", **options)  # a second training, and the files of the first
assert again == first and [r["seen"] for r in first] == [0, 0], (first, again)

with processes.joined(torch.device("cpu")):
    everywhere = [None, None]
    dist.all_gather_object(everywhere, (first, {k: v.numpy().tobytes() for k, v in weights(model).items()}))
    assert everywhere[0] == everywhere[1]
    try:
        processes.from_first(lambda: 1 / 0)
    except ZeroDivisionError:
        print("both were told")
try:
    run(build(), steps=1, accumulate=3)
except ValueError as error:
    print(error)
"""


def test_all_processes_have_the_same_records_weights_and_errors(tmp_path):
    out = start(MORE, tmp_path)
    assert out.count("both were told") == 2
    assert (
        out.count(
            "accumulate must be a positive multiple of the number of processes, found 3 for 2 processes"
        )
        == 2
    )
    model = build("diffusion")
    run(model, steps=4, accumulate=2, batch=4, validation=HELD_OUT)
    saved, _ = read_checkpoint(tmp_path / "folder" / "model.safetensors")
    for name, value in weights(model).items():
        torch.testing.assert_close(saved[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_micro_batches_are_averaged():
    """The gradient of a step is the mean over its micro-batches, each with its maps and its own noise."""
    model, parts = build("diffusion"), []
    for number in (0, 1):
        settings = Settings(steps=1, batch=4)
        source = streaming.training_set(MAPS, {})
        batches = loop._Batches(source, settings, torch.device("cpu"), "float32")
        batch, generator = batches.take(number)
        model.zero_grad()
        model.loss(batch.maps, generator).backward()
        parts.append([p.grad.clone() for p in model.parameters()])
    model = build("diffusion")
    (record,) = run(model, steps=1, accumulate=2, batch=4, augment=None, clip=1e9)
    assert record["images"] == 8
    for p, first, second in zip(model.parameters(), *parts):
        torch.testing.assert_close(p.grad, (first + second) / 2, rtol=1e-4, atol=1e-6)


def test_two_micro_batches_see_the_maps_of_one_twice_as_large():
    def seen(size: int, count: int) -> torch.Tensor:
        settings = Settings(steps=1, batch=size, seed=3)
        source = streaming.training_set(MAPS, {})
        batches = loop._Batches(source, settings, torch.device("cpu"), "float32")
        return torch.cat([batches.take(number)[0].maps for number in range(count)])

    assert torch.equal(seen(4, 10), seen(8, 5))


@pytest.mark.parametrize("accumulate", [0, -2])
def test_a_step_needs_a_micro_batch(accumulate):
    with pytest.raises(ValueError, match="accumulate must be at least 1, found"):
        run(build(), accumulate=accumulate)


def test_alone_there_is_nobody_to_ask():
    tensor = torch.ones(2)
    processes.add_up([tensor])
    assert tensor.tolist() == [1, 1] and processes.from_first(lambda: 3) == 3
    assert (processes.size(), processes.rank()) == (1, 0)


def test_other_devices_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ValueError, match="several processes train on CUDA or on the CPU, found the device mps"
    ):
        with processes.joined(torch.device("mps")):
            pass
