"""Draw maps from a model, part by part, so that an interrupted run goes on where it was.

Part k is drawn with seed k, and kept in a file. Some of the models need hours for their maps.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.statistics import now
from lensnb.files import atomic_write
from lensnb.models import Diffusion

PART = 32  # maps in a file


class Drawn(NamedTuple):
    """Maps, how long one took, and how often the network was called for it."""

    maps: Tensor
    seconds: float
    evaluations: float


def draw(model: nn.Module, n: int, seed: int = 0, **how) -> Drawn:
    """Draw maps with one seed; the calls of a diffusion model's network are counted."""
    calls = []
    if isinstance(model, Diffusion):
        network = model.denoiser.network
    else:
        network = getattr(model, "network", None)
    hook = None
    if network is not None:
        hook = network.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))

    began = now()
    maps = model.sample(n, torch.Generator().manual_seed(seed), **how).cpu()
    spent = now() - began
    if hook is not None:
        hook.remove()
    evaluations = 1.0
    if calls:
        evaluations = sum(calls) / n
    return Drawn(maps, spent / n, evaluations)


def draw_in_parts(model: nn.Module, n: int, folder: Path) -> Drawn:
    """Draw maps, with a file of each 32 in the folder; files that are there are not drawn again."""
    parts = []
    for number in range(-(-n // PART)):
        file = folder / f"maps-{number:03d}.npz"
        if not file.exists():
            _keep(file, draw(model, PART, seed=number))
        with np.load(file) as kept:
            part = Drawn(
                torch.from_numpy(kept["maps"]), float(kept["seconds"]), float(kept["evaluations"])
            )
        parts.append(part)
    maps = torch.cat([part.maps for part in parts])[:n]
    spent = float(np.mean([part.seconds for part in parts]))
    return Drawn(maps, spent, parts[0].evaluations)


def _keep(path: Path, drawn: Drawn) -> None:
    """Write a part, completely or not at all."""
    maps = drawn.maps.numpy()
    with atomic_write(path) as file:
        np.savez(file, maps=maps, seconds=drawn.seconds, evaluations=drawn.evaluations)
