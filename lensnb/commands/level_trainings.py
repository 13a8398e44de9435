"""A cascade that is trained level by level in a folder, each level by itself.

    plan = CascadePlan.begin("runs/cascade", open_maps("maps.zarr"), coarse=8, crop=64)
    for side in plan.families:                           # or each in a process of its own
        for record in plan.train(side, Settings(steps=4000)): …
    plan.join()                                          # runs/cascade/cascade.safetensors

The folder has ``cascade.json``, which says what the cascade is and of which maps; a folder
``level_64`` for each level, with the files of its training; and in the end
``cascade.safetensors``, one checkpoint with all levels. All jobs of a cascade agree on
``cascade.json``: the first one writes it, and the others refuse to go on with anything else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data import MapSet
from ..files import locked, read_checkpoint, save_checkpoint, write_json
from ..models import Level, Multiscale, load
from ..models.averages import averaged
from ..models.chosen_levels import check_crop, crop_of, families_of
from ..store import StoredMaps, pieces
from ..train import Checks, Settings, fit
from ..train.state import fingerprint

_MEASURED = 2**24  # pixels of the maps from which a level is measured
_HELD = 2**26  # pixels of averaged maps that are kept in memory
_PLAN, _JOINED = "cascade.json", "cascade.safetensors"


@dataclass(frozen=True)
class CascadePlan:
    """What a cascade is made of, and where. Use :meth:`begin`.

    Attributes:
        folder: where its levels are trained.
        train_set: maps to train on.
        held_out: maps for the validation, of other simulations; None for none.
        families: the family of each level by its side, coarsest first.
        crop: crops that levels of details are trained on; None for whole maps.
    """

    folder: Path
    train_set: MapSet
    held_out: MapSet | None
    families: dict[int, str]
    crop: int | None

    @classmethod
    def begin(
        cls,
        folder: str | Path,
        maps: MapSet,
        coarse: int = 8,
        crop: int | None = None,
        families: Mapping[int, str] | None = None,
        held_out: float = 0.0,
    ) -> CascadePlan:
        """Begin a cascade, or continue the one in the folder.

        Args:
            folder: where its levels are trained.
            maps: κ-maps of the finest level.
            coarse: pixels a side of the coarsest level.
            crop: see :meth:`lensnb.models.Multiscale.fit`.
            families: families by side that are not the usual ones.
            held_out: share of the simulations that is held out for the validation.

        Raises:
            ValueError: no such cascade can be made of the maps; a crop larger than the maps; the
                folder has a cascade of other maps or other levels.
        """
        folder = Path(folder)
        n = maps.grid.n
        chosen = families_of(n, coarse, families)
        check_crop(n, crop)
        about = {
            "maps": fingerprint(_plain(maps)),
            "number": len(maps),
            "side_deg": maps.side_deg,
            "families": {str(side): family for side, family in chosen.items()},
            "crop": crop,
            "held_out": held_out,
        }
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / _PLAN, wait=True):
            _agree(folder / _PLAN, about)
        training, other = maps, None
        if held_out:
            training, other = maps.split(1 - held_out, held_out)
        return cls(folder, training, other, chosen, crop)

    # ------------------------------------------------------------ one level

    def level(self, side: int) -> Level:
        """The untrained level of ``side``² pixels; what needs no training is measured.

        All levels are measured from the same maps, up to 16 million pixels, evenly spread.

        Raises:
            ValueError: the cascade has no such level.
        """
        family = self._family(side)
        crop = crop_of(side, family, self.crop)
        fine = side > min(self.families)
        return Level.fit(_some(self.train_set), side, family, fine, crop)

    def train(
        self, side: int, settings: Settings, every: int = 50, device: str = "auto"
    ) -> Iterator[dict]:
        """Train the level of ``side``² pixels, or resume its training, and yield its records.

        Of a level that has been trained with these settings, there are only the old records.

        Args:
            side: pixels a side of the level.
            settings: of the training. The weights that it starts from have the same seed.
            every: steps between records.
            device: see :func:`lensnb.train.fit`.

        Raises:
            ValueError: the cascade has no such level, or it was begun with other settings.
        """
        self._family(side)
        folder = self.folder_of(side)
        if self._is_finished(side) and _has_settings(folder, settings):
            yield from _history(folder)
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            level = self.level(side)
        checks = Checks(every=every)
        if self.held_out is not None:
            checks = Checks(averaged_set(self.held_out, side), every=every)
        maps = averaged_set(self.train_set, side)
        yield from fit(level, maps, settings, checks=checks, device=device, folder=folder)

    def folder_of(self, side: int) -> Path:
        """Where the files of a level are."""
        return self.folder / f"level_{side}"

    def _family(self, side: int) -> str:
        if side not in self.families:
            expected = ", ".join(f"{known}²" for known in self.families)
            raise ValueError(
                f"the cascade in {self.folder} has no level of {side}² pixels; expected {expected}"
            )
        return self.families[side]

    # ------------------------------------------------------------ all levels

    def unfinished(self) -> list[int]:
        """The levels that are not trained to their end, coarsest first."""
        return [side for side in self.families if not self._is_finished(side)]

    def _is_finished(self, side: int) -> bool:
        records = _history(self.folder_of(side))
        return bool(records) and records[-1].get("stopped") in ("finished", "early")

    def join(self) -> Path:
        """Write all levels into one checkpoint, ``cascade.safetensors`` in the folder.

        Raises:
            ValueError: a level is missing or not finished, or was trained on other maps.
        """
        for side in self.unfinished():
            reached = "was not begun"
            records = _history(self.folder_of(side))
            if records:
                reached = f"has made {records[-1]['step']} steps"
            raise ValueError(
                f"the level of {side}² pixels in {self.folder_of(side)} {reached}; expected all "
                "levels of the cascade to be finished"
            )
        levels = [load(self.folder_of(side) / "model.safetensors") for side in self.families]
        sky = self.train_set
        return save_checkpoint(
            self.folder / _JOINED, Multiscale.join(levels), side_deg=sky.side_deg
        )


def averaged_set(maps: MapSet, side: int) -> MapSet | Tensor:
    """The maps of a level, averaged to its pixels if they then fit into memory.

    Others are averaged batch by batch while they are read.
    """
    n = maps.grid.n
    if side == n or len(maps) * maps.channels * side**2 > _HELD:
        return maps
    parts = []
    for _, part in pieces(maps.maps):
        parts.append(averaged(torch.from_numpy(np.array(part, np.float32)), n // side))
    return torch.cat(parts)


def _some(maps: MapSet) -> Tensor:
    """Maps from all parts of a set, together at most 16 million pixels."""
    most = max(1, _MEASURED // (maps.channels * maps.grid.n**2))
    numbers = np.linspace(0, len(maps) - 1, min(most, len(maps))).round().astype(int)
    return torch.from_numpy(np.array(maps.maps[numbers], np.float32))


def _plain(maps: MapSet):
    """What the fingerprint of a set is made of: the set on disk, or sixteen of its maps."""
    if isinstance(maps.maps, StoredMaps):
        return maps.maps
    sixteen = np.linspace(0, len(maps) - 1, 16).round().astype(int)
    return torch.from_numpy(np.array(maps.maps[sixteen], np.float32))


def _agree(path: Path, about: dict) -> None:
    """Write what the cascade is, or refuse another one than is there."""
    if not path.exists():
        write_json(path, about)
        return
    words = {
        "maps": "maps", "number": "number of maps", "side_deg": "field", "families": "levels",
        "crop": "crop", "held_out": "share of maps that is held out",
    }  # fmt: skip
    found = json.loads(path.read_text(encoding="utf-8"))
    other = [words[name] for name, value in about.items() if found.get(name) != value]
    if other:
        raise ValueError(
            f"{path.parent} has a cascade of another {' and '.join(other)}; expected the same, or "
            "another folder"
        )


def _history(folder: Path) -> list[dict]:
    """The records of a training; a line that was cut off ends them."""
    path = folder / "history.jsonl"
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def _has_settings(folder: Path, settings: Settings) -> bool:
    """Whether the model in a folder was trained with these settings."""
    _, header = read_checkpoint(folder / "model.safetensors")
    known = header.get("settings", {})
    return all(known.get(name) == value for name, value in settings.as_json().items())
