"""Several processes that train one model: they share the micro-batches of each step.

Write an ordinary training script. The number of micro-batches in a step must be the number of
processes, or a multiple of it:

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

Start it by ``torchrun``, with one process for each GPU (``device="auto"``), or with as many
processes as there are free cores on a CPU. From a notebook, whose own process stays free:

    import subprocess, sys

    command = "-m torch.distributed.run --standalone --nproc-per-node 2 script.py"
    subprocess.run([sys.executable, *command.split()], check=True)

The first process writes the files and the records. All processes end with the same model. Up to
rounding, it is that of one process with the same settings. In this example the trained model is in
``shared/model.safetensors``. Ctrl-C ends all processes at once. The
first one saves the training, or, if it waits for the others just then, the next start resumes from
the last checkpoint. For several machines see the documentation of ``torchrun``.
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
# how long the other processes wait while the first one validates and checks
PATIENCE = timedelta(hours=6)


def size() -> int:
    """Number of processes that share the training."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


def rank() -> int:
    """Number of this process, from 0."""
    if size() > 1:
        return dist.get_rank()
    return 0


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that ``torchrun`` started; they leave the block together.

    A single process does nothing here.

    Yields:
        The device of this process: its own GPU if the device is CUDA.

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
                f"process {local} of this machine has no GPU: "
                f"there are {torch.cuda.device_count()}"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not dist.is_initialized():  # once for all trainings of a script: joining again can hang
        # The first optimiser would import this module. If it is imported after the group exists,
        # its default arguments keep the group alive. Then the threads of the group never end, and
        # sometimes abort the process when Python exits.
        from torch import _dynamo  # noqa: F401

        backend = "gloo"
        if device.type == "cuda":
            backend = "nccl"
        dist.init_process_group(backend, timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    yield device
    dist.barrier()  # all processes wait until the files are written


def from_first(function: Callable[[], T]) -> T:
    """Call ``function`` in the first process only; all processes return, or raise, its result."""
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
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, part in zip(tensors, flat.split(sizes)):
        tensor.copy_(part.view(tensor.shape))
