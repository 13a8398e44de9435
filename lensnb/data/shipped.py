"""The sample of N-body maps that comes with lensnb."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path

import numpy as np

from .mapset import MapSet

SAMPLE = Path(__file__).parent.parent / "sample"


def load_sample(name: str = "train") -> MapSet:
    """The N-body maps that come with lensnb: 5° × 5° at z_s = 1, 64 × 64 pixels, 1,024 maps a set.

    Args:
        name: ``"train"``, ``"truth"`` or ``"null"``; the three come from disjoint sets of N-body
            boxes.

    Returns:
        A :class:`MapSet` over a read-only memory map (float16). Its simulations are the boxes.

    Raises:
        ValueError: an unknown name.
    """
    names = ("train", "truth", "null")
    if name not in names:
        raise ValueError(f"the sample has the sets {', '.join(names)}; found {name!r}")
    about = json.loads((SAMPLE / "sample.json").read_text())
    maps = np.load(SAMPLE / f"{name}.npy", mmap_mode="r")
    simulation = np.repeat(np.arange(*about["boxes"][name]), about["provenance"]["maps_per_box"])
    return MapSet(maps, about["side_deg"], about["z_source"], simulation, about["provenance"])


def fingerprint(maps: np.ndarray) -> str:
    """A short text that only these maps in this order have, in float16 as they are stored."""
    stored = np.ascontiguousarray(maps, np.float16)
    return blake2b(stored.tobytes(), digest_size=16).hexdigest()
