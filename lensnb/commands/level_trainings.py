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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ..data import MapSet, field_pixels, random_field
from ..files import locked, read_checkpoint, save_checkpoint, write_json
from ..models import Level, Multiscale, load
from ..models.chosen_levels import check_crop, crop_of, families_of
from ..models.crops import check_sides
from ..train import Checks, Settings, fit
from ..train.state import fingerprint
from .level_maps import averaged_set, fixed_tiles, plain, reduced_side, some_fields

_PLAN, _JOINED = "cascade.json", "cascade.safetensors"


@dataclass(frozen=True)
class CascadePlan:
    """What a cascade is made of, and where. Use :meth:`begin`.

    Attributes:
        folder: where its levels are trained.
        train_set: maps to train on.
        held_out: maps for the validation, of other simulations; None for none.
        families: the family of each level by its side, coarsest first.
        crop: crops that levels of details are trained on; None for whole fields.
        field: pixels a side of the fields that are cut out of the maps, or of whole maps.
    """

    folder: Path
    train_set: MapSet
    held_out: MapSet | None
    families: dict[int, str]
    crop: int | None
    field: int

    @classmethod
    def begin(
        cls,
        folder: str | Path,
        maps: MapSet,
        coarse: int = 8,
        crop: int | None = None,
        families: Mapping[int, str] | None = None,
        held_out: float = 0.0,
        field_deg: float | None = None,
    ) -> CascadePlan:
        """Begin a cascade, or continue the one in the folder.

        Args:
            folder: where its levels are trained.
            maps: κ-maps of the finest level.
            coarse: pixels a side of the coarsest level.
            crop: see :meth:`lensnb.models.Multiscale.fit`.
            families: families by side that are not the usual ones.
            held_out: share of the simulations that is held out for the validation.
            field_deg: side of the fields that are cut out of wider maps, degrees; None for whole
                maps.

        Raises:
            ValueError: no such cascade can be made of the maps; a crop or a field larger than the
                maps; the folder has a cascade of other maps or other levels.
        """
        folder = Path(folder)
        n = field_pixels(maps, field_deg)
        chosen = families_of(n, coarse, families)
        check_crop(n, crop)
        for side, family in chosen.items():  # now, and not when the coarser levels are trained
            own = crop_of(side, family, crop)
            if own is not None:
                check_sides(side, own)
        about = {
            "maps": fingerprint(plain(maps)),
            "number": len(maps),
            "side_deg": maps.side_deg,
            "families": {str(side): family for side, family in chosen.items()},
            "crop": crop,
            "held_out": held_out,
            "field_deg": field_deg,
        }
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / _PLAN, wait=True):
            _agree(folder / _PLAN, about)
        training, other = maps, None
        if held_out:
            training, other = maps.split(1 - held_out, held_out)
        return cls(folder, training, other, chosen, crop, n)

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
        return Level.fit(some_fields(self.train_set, self.field), side, family, fine, crop)

    def train(
        self, side: int, settings: Settings, every: int = 50, device: str = "auto"
    ) -> Iterator[dict]:
        """Train the level of ``side``² pixels, or resume its training, and yield its records.

        Of a level that has been trained with these settings, there are only the old records.

        Args:
            side: pixels a side of the level.
            settings: of the training. The weights that it starts from have the same seed. Where
                fields are cut out of wider maps, this is the augmentation.
            every: steps between records.
            device: see :func:`lensnb.train.fit`.

        Raises:
            ValueError: the cascade has no such level, or it was begun with other settings.
        """
        self._family(side)
        folder = self.folder_of(side)
        wide = self.train_set.grid.n
        reduced = reduced_side(self.train_set, self.field, side)
        if self.field < wide:
            window = self.field * reduced // wide
            settings = replace(settings, augment=partial(random_field, n=window))
        if self._is_finished(side) and _has_settings(folder, settings):
            yield from _history(folder)
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            level = self.level(side)
        checks = Checks(every=every)
        if self.held_out is not None:
            checks = Checks(fixed_tiles(self.held_out, self.field, side), every=every)
        maps = averaged_set(self.train_set, reduced)
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
        side_deg = sky.side_deg * self.field / sky.grid.n
        return save_checkpoint(self.folder / _JOINED, Multiscale.join(levels), side_deg=side_deg)


def _agree(path: Path, about: dict) -> None:
    """Write what the cascade is, or refuse another one than is there."""
    if not path.exists():
        write_json(path, about)
        return
    words = {
        "maps": "maps", "number": "number of maps", "side_deg": "field", "families": "levels",
        "crop": "crop", "held_out": "share of maps that is held out",
        "field_deg": "field that is cut out",
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
