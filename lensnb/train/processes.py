"""Several processes that train one model: they share the micro-batches of each step.

Write a script that trains as always, with as many micro-batches a step as there are processes (or
a multiple):

    import torch

    from lensnb.data import block_average, load_sample
    from lensnb.models import Flow
    from lensnb.train import Settings, fit, watch
    from lensnb.transform import KappaTransform

    maps = block_average(load_sample("train"), 4).tensor()
    torch.manual_seed(0)
    model = Flow(16, KappaTransform.fit(maps), steps=2, hidden=16)
    settings = Settings(steps=20, batch=16, accumulate=2)
    watch(fit(model, maps, settings, folder="shared", device="cpu"), steps=20)

and start it once a GPU (``device="auto"``), or on a CPU as often as there are cores to spare, by
``torchrun``. From a notebook, whose own process stays free:

    import subprocess, sys

    command = "-m torch.distributed.run --standalone --nproc-per-node 2 script.py"
    subprocess.run([sys.executable, *command.split()], check=True)

The first process writes the files and the records; all of them leave the same model, which is, up
to rounding, that of one process with the same settings. The trained model is then in
``shared/model.safetensors``. Ctrl-C ends all processes at once; the next start goes on from the
last checkpoint. For several machines see the documentation of ``torchrun``.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
PATIENCE = timedelta(hours=6)  # the others wait while the first process validates and checks


def size() -> int:
    """How many processes share the training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if size() > 1 else 0


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` started, which leave the block together; alone, nothing happens.

    Yields:
        The device of this process: its own GPU where the device is CUDA.

    Raises:
        ValueError: there are more processes than GPUs, or the device is neither CUDA nor the CPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"several processes train on CUDA or on the CPU, found the device {device}"
        )
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():  # once for all trainings of the script: joining again can hang
        # what the first optimiser would import otherwise: imported after the group exists, its
        # default arguments keep the group alive, whose threads are then never ended and now and
        # then abort the process when Python exits
        from torch import _dynamo  # noqa: F401

        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    yield device
    dist.barrier()  # the files are written before any process goes on


def from_first(function: Callable[[], T]) -> T:
    """What ``function`` returns, or raises, in the first process; the others do not call it."""
    if size() == 1:
        return function()
    answer: list = [None, None]
    if rank() == 0:
        try:
            answer[0] = function()
        except Exception as error:
            answer[1] = error
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def add_up(tensors: list[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in one message."""
    if size() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(part.view(tensor.shape))
