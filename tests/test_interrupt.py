"""Pressing ■ in any cell leaves a kernel that works, and no file that is half written.

A cell says when it is at work, and ■ is pressed then: once as soon as it says so, and once later.
"""

import pytest
from jupyter_client.manager import start_new_kernel
from waiting import HANGS

pytest.importorskip("zarr", reason="no zarr: pip install 'lensnb[formats]'")

SETUP = """
import torch, zarr  # Python cannot import again what was half imported
from pathlib import Path
from lensnb import models, plot, runs
from lensnb.compare import compare
from lensnb.data import MapSet, load_sample
from lensnb.ensemble import measure
from lensnb.readers import convert
from lensnb.stats import suite
torch.set_num_threads(1)
truth, null, train = (load_sample(name) for name in ("truth", "null", "train"))
diffusion = models.load("diffusion")
statistics = suite(truth.tensor()[:64], truth.side_deg)
MapSet(truth.maps, 5.0).save("maps.npz")

def rounds():
    # without end; each round is told to the test
    while True:
        print("at work", flush=True)
        yield

for network in diffusion.denoiser.children():
    network.register_forward_pre_hook(lambda *_: print("at work", flush=True))
"""
CELLS = {  # each would take much longer than it is let
    "sample": "maps = diffusion.sample(20_000)",
    "draw": "models.draw(diffusion, 100_000, 'drawn.npy')",
    "measure": "for _ in rounds(): measure(statistics, truth[::8])",
    "compare": "for _ in rounds(): compare(truth[::32], null[::32], {'maps': train.tensor()[::32]}, rounds=20)",
    "save": "for _ in rounds(): MapSet(truth.maps, 5.0).save('maps.npz')",
    # the set before moves away in one step, to a name that nothing has: a removal that is interrupted
    # leaves half a folder, by no fault of convert
    "convert": """
import shutil, time
for _ in rounds():
    for old in Path().glob('old*.zarr'):
        shutil.rmtree(old, ignore_errors=True)
    if Path('set.zarr').exists():
        Path('set.zarr').rename(f'old{time.monotonic_ns()}.zarr')
    convert('maps.npz', 'set.zarr')
""",
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    manager, client = start_new_kernel(cwd=str(folder), kernel_name="python3")
    assert answer(client, SETUP) == "ok"
    yield manager, client, folder
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def answer(client, source: str) -> str:
    """Run a cell; how it ended: ok, or the name of its error."""
    reply = {"status": "aborted"}
    while (
        reply["status"] == "aborted"
    ):  # as all cells that were sent before the error of another is over
        reply = client.execute_interactive(
            source, timeout=HANGS, output_hook=lambda message: None
        )["content"]
    return reply.get("ename", reply["status"])


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_an_interrupted_cell_leaves_a_working_kernel_and_whole_files(name, kernel):
    manager, client, folder = kernel
    for times in (1, 4):
        asked, said = client.execute(CELLS[name]), 0
        while said < times:
            message = client.get_iopub_msg(timeout=HANGS)
            if message["parent_header"].get("msg_id") == asked:
                assert message["msg_type"] != "error", "\n".join(message["content"]["traceback"])
                said += message["content"].get("text", "").count("at work")
        manager.interrupt_kernel()
        while True:  # the reply of the cell, whenever it comes
            reply = client.get_shell_msg(timeout=HANGS)
            if reply["msg_type"] == "execute_reply":
                break
        content = reply["content"]
        assert content["status"] == "error"
        assert content["ename"] == "KeyboardInterrupt", "\n".join(content["traceback"])
        assert answer(client, "assert 1 + 1 == 2") == "ok"
    assert answer(client, "assert len(MapSet.load('maps.npz')) == len(truth)") == "ok"
    # what is unfinished has the name of something unfinished
    left = {path.name for path in folder.iterdir() if path.suffix != ".part"}
    left = {name for name in left if not name.startswith("old")}
    assert left <= {"maps.npz", "set.zarr", "drawn.npy", "drawn.json"}, left
    if "set.zarr" in left:
        assert (
            answer(
                client,
                "from lensnb.readers import open_maps\nassert len(open_maps('set.zarr')) == len(truth)",
            )
            == "ok"
        )
