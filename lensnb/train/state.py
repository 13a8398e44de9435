"""The state of one training and its files, so that a resumed training equals an uninterrupted one.

The random state and the position in the data are functions of the seed and the step. So the number
of the step is enough to restore both.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..files import atomic_write, read_checkpoint, save_checkpoint, write_tensors
from ..store import StoredMaps
from . import processes
from .settings import Settings
from .streaming import TrainingSet

_ROUNDING = ("precision",)  # settings that change a training by rounding only


class State:
    """The state of one training: model, moving average, optimiser, step, and its files.

    Args:
        model: the model, on its device.
        settings: settings of the training.
        about: what a resumed training must have in common with this one, see :func:`identity`.
        folder: folder of its files; None for no files.
    """

    def __init__(self, model: nn.Module, settings: Settings, about: dict, folder: Path | None):
        self.model = model
        self.settings = settings
        self.about = about
        self.folder = folder
        self.parameters = dict(model.named_parameters())
        self.optimizer = _optimizer(model, settings.lr)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        averaged = self.parameters
        if hasattr(model, "averaged"):
            averaged = model.averaged()
        self.average = {name: self.parameters[name].detach().clone() for name in averaged}
        self.step = 0
        self.seconds = 0.0
        # with patience: the averaged weights that had the lowest validation loss
        self.best: dict[str, Tensor] = {}
        # that loss, its step, and the number of records since
        self.lowest = {"validation": math.inf, "step": 0, "records": 0}

    # ------------------------------------------------------------ weights

    def leave(self) -> None:
        """Put the final weights into the model: the best ones if known, else the averaged ones."""
        self._put(self.best or self.average)

    @contextmanager
    def averaged(self):
        """Put the averaged weights into the model until the block ends."""
        with self._lent(self.average):
            yield

    @contextmanager
    def _lent(self, weights: dict[str, Tensor]):
        raw = {name: self.parameters[name].detach().clone() for name in weights}
        try:
            self._put(weights)
            yield
        finally:
            self._put(raw)

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, value in weights.items():
            self.parameters[name].copy_(value)

    # ------------------------------------------------------------ the best weights

    def weigh(self, record: dict) -> None:
        """Keep a copy of the averaged weights if this record has the lowest validation loss."""
        if not self.settings.patience:
            return
        self.lowest["records"] += 1
        loss = record["validation"]
        if loss < self.lowest["validation"]:  # False for NaN
            self.best = {name: value.clone() for name, value in self.average.items()}
            self.lowest = {"validation": loss, "step": self.step, "records": 0}

    @property
    def impatient(self) -> bool:
        """Whether the validation loss has not decreased in the last ``patience`` records."""
        return 0 < self.settings.patience <= self.lowest["records"]

    # ------------------------------------------------------------ records

    def log(self, record: dict) -> dict:
        """Append a record to ``history.jsonl``."""
        if self.folder is not None and processes.rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / "history.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        return record

    def past(self) -> list[dict]:
        """The records up to the resumed step. Later ones, of lost steps, leave the file."""
        if self.folder is None:
            return []
        path = self.folder / "history.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        records = []
        for line in lines:
            try:
                records.append(json.loads(line))
            except ValueError:  # the process was killed while it wrote this line
                break
        kept = [r for r in records if r["step"] <= self.step]
        if len(kept) < len(lines):
            with atomic_write(path) as file:
                file.write("".join(json.dumps(r) + "\n" for r in kept).encode())
        return kept

    # ------------------------------------------------------------ checkpoints

    def save(self) -> None:
        """Write ``training.safetensors`` and ``model.safetensors``, each completely or not at all.

        Raises:
            ValueError: a weight is not finite; the files are not changed.
            OSError: a file could not be written; an older one stays.
        """
        if self.folder is None or processes.rank() > 0:
            return
        for weights in (self.parameters, self.average):
            for name, value in weights.items():
                if not torch.isfinite(value).all():
                    raise ValueError(
                        f"the weight {name} is not finite at step {self.step}{self.kept()}"
                    )
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{key}": value for key, value in state.items()}
        header = {"step": self.step, "seconds": self.seconds, "settings": self.about}
        if self.best:
            header["lowest"] = self.lowest
        write_tensors(self.folder / "training.safetensors", tensors, header)
        with self._lent(self.best or self.average):
            path = self.folder / "model.safetensors"
            save_checkpoint(path, self.model, step=self.step, settings=self.about)

    def kept(self) -> str:
        """The end of an error message: which checkpoint exists."""
        if self.folder is None:
            return ""
        path = self.folder / "training.safetensors"
        if not path.exists():
            return ""
        return f"; {path} holds the last good state"

    def resume(self, tensors: dict[str, Tensor], header: dict) -> None:
        """Load what :func:`read_training` found.

        Raises:
            ValueError: it belongs to a training with other settings, or holds NaN, or weights
                that are infinite.
        """
        self._check(header)
        # Infinity has a meaning among the numbers of a transform, but none among what is trained.
        untrained = {f"model.{name}" for name, _ in self.model.named_buffers()}
        for name, value in tensors.items():
            infinite = name not in untrained and value.isinf().any()
            if infinite or value.isnan().any():
                raise ValueError(
                    f"{self.folder / 'training.safetensors'} has values in {name} that are not "
                    "finite; delete it to start the training anew"
                )
        upgrade = getattr(self.model, "upgrade", str)  # tensors of older files have older names

        def part(prefix: str) -> dict[str, Tensor]:
            own = {name: value for name, value in tensors.items() if name.startswith(prefix)}
            return {upgrade(name.removeprefix(prefix)): value for name, value in own.items()}

        self.model.load_state_dict(part("model."))
        for name, value in part("average.").items():
            self.average[name].copy_(value)
        for name, value in part("best.").items():
            self.best[name] = value.to(self.average[name].device)
        self.lowest = header.get("lowest", self.lowest)
        self._resume_optimizer(part("adam."))
        self.step, self.seconds = header["step"], header["seconds"]

    def _resume_optimizer(self, tensors: dict[str, Tensor]) -> None:
        groups = self.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]
        adam = self.optimizer.state_dict()
        for key, value in tensors.items():
            i, name = key.split(".", 1)
            if name != "step":
                # the fused optimiser needs the memory layout of the parameter
                value = torch.empty_like(parameters[int(i)]).copy_(value)
            adam["state"].setdefault(int(i), {})[name] = value
        self.optimizer.load_state_dict(adam)

    def _check(self, header: dict) -> None:
        """Refuse other settings. Settings that an older file does not state count as the same."""
        path = self.folder / "training.safetensors"
        wanted = _as_json(self.about)
        found = wanted | {"accumulate": 1} | header.get("settings", {})
        if found["family"] == wanted["family"] and found["config"] != wanted["config"]:
            # build the model, so that arguments that the file does not have get their defaults
            with torch.random.fork_rng(devices=[]):
                today = type(self.model).from_config(found["config"])
            found["config"] = _as_json(today.config)
        other = {}
        for key, value in wanted.items():
            if found[key] != value:
                other[key] = f"{key} = {found[key]!r} (now {value!r})"
        strict = [text for key, text in other.items() if key not in _ROUNDING]
        if strict:
            raise ValueError(
                f"{path} belongs to a training with other settings, {', '.join(strict)}; "
                "use another folder"
            )
        if other and header["step"] < self.settings.steps:
            warnings.warn(
                f"{path} began with {', '.join(other.values())}: the training resumes, "
                "but from here it equals an uninterrupted one up to rounding only",
                stacklevel=2,
            )


def _optimizer(model: nn.Module, lr: float) -> torch.optim.Adam:
    """Adam on the parameter groups of the model, by default one group of all parameters."""
    groups = [{"params": list(model.parameters())}]
    if hasattr(model, "groups"):
        groups = model.groups(lr)
    device = next(model.parameters()).device
    fused = device.type in ("cpu", "cuda")
    return torch.optim.Adam(groups, lr=lr, betas=(0.9, 0.99), fused=fused)


def read_training(folder: Path | None) -> tuple[dict[str, Tensor], dict] | None:
    """Tensors and header of the training in a folder, or None where there is none.

    Raises:
        ValueError: the file is corrupt.
    """
    if folder is None:
        return None
    path = folder / "training.safetensors"
    if not path.exists():
        return None
    try:
        return read_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"{error}; delete it to start the training anew") from None


# ---------------------------------------------------------------- which training it is


def identity(model: nn.Module, settings: Settings, source: TrainingSet, precision: str) -> dict:
    """What a resumed training must have in common with the interrupted one, as JSON values."""
    about = {
        "family": getattr(model, "family", type(model).__name__),
        "config": getattr(model, "config", {}),
        **settings.as_json(),
        "maps": len(source),
        "data": fingerprint(source.maps),
        "transform": _numbers(getattr(model, "transform", None)),
        "precision": precision,
    }
    for name, values in source.given.items():
        about[f"given {name}"] = fingerprint(values)
    return about


def fingerprint(maps: Tensor | StoredMaps) -> str:
    """A short hash of the training maps, so that a training is never resumed on other data.

    For maps on disk, the hash is that of sixteen maps, evenly spread, and of the numbers of all
    maps in the file. To read all maps would take minutes.
    """
    if isinstance(maps, StoredMaps):
        sixteen = np.linspace(0, len(maps) - 1, 16).round().astype(int)
        few = np.asarray(maps[sixteen])
        digest = hashlib.sha256(repr((maps.shape, str(maps.dtype), maps.chunk)).encode())
        digest.update(np.ascontiguousarray(maps.index, "<i8").tobytes() + few.tobytes())
        return digest.hexdigest()[:16]
    return hashlib.sha256(maps.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def _numbers(transform: nn.Module | None) -> dict[str, str]:
    """The numbers of a transform to six digits.

    Further digits depend on the number of threads with which it was measured.
    """
    if transform is None:
        return {}
    numbers = {}
    for name, values in transform.state_dict().items():
        numbers[name] = " ".join(f"{float(value):.6g}" for value in values.flatten())
    return numbers


def _as_json(values: dict) -> dict:
    return json.loads(json.dumps(values))
