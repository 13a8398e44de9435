"""The state of one training, and the files that keep it: what a resumed training needs to equal an uninterrupted one.

The random state and the position in the data are functions of the seed and the step, so the step says both.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..files import atomic_write, read_checkpoint, save_checkpoint, write_tensors
from ..store import StoredMaps
from . import processes

ROUNDING = ("precision", "compile")  # settings that change a training by rounding only


class Training:
    """The state of one training: model, moving average, optimiser, step, and its files.

    Args:
        model: on its device.
        settings: plain JSON values; a training that is resumed must have had the same.
        folder: of its files; None keeps none.
    """

    def __init__(self, model: nn.Module, settings: dict, folder: Path | None):
        self.model, self.settings, self.folder = model, settings, folder
        self.parameters = dict(model.named_parameters())
        fused = next(iter(self.parameters.values())).device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(
            self.parameters.values(), lr=settings["lr"], betas=(0.9, 0.99), fused=fused
        )
        self.average = {k: p.detach().clone() for k, p in self.parameters.items()}
        self.step, self.seconds = 0, 0.0
        self.best: dict[
            str, Tensor
        ] = {}  # the averaged weights of the lowest validation loss, where that is asked for
        self.lowest = {
            "validation": math.inf,
            "step": 0,
            "records": 0,
        }  # that loss, its step, and the records since

    # ------------------------------------------------------------ weights

    def leave(self) -> None:
        """Put the weights that are the result into the model: the best ones where they are known, else the averaged ones."""
        self._put(self.best or self.average)

    @contextmanager
    def averaged(self):
        """The averaged weights are in the model while the block lasts."""
        with self._lent(self.average):
            yield

    @contextmanager
    def _lent(self, weights: dict[str, Tensor]):
        raw = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        try:
            self._put(weights)
            yield
        finally:
            self._put(raw)

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])

    # ------------------------------------------------------------ the best weights

    def weigh(self, record: dict) -> None:
        """Keep the averaged weights if the validation loss of this record is the lowest so far."""
        if not self.settings["patience"]:
            return
        self.lowest["records"] += 1
        if record["validation"] < self.lowest["validation"]:  # NaN is not
            best = {name: value.clone() for name, value in self.average.items()}
            self.best, self.lowest = (
                best,
                {"validation": record["validation"], "step": self.step, "records": 0},
            )

    @property
    def impatient(self) -> bool:
        """Whether the validation loss has not fallen for as many records as the training has patience for."""
        return 0 < self.settings["patience"] <= self.lowest["records"]

    # ------------------------------------------------------------ records

    def log(self, record: dict) -> dict:
        """Append a record to ``history.jsonl``."""
        if self.folder is not None and processes.rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / "history.jsonl", "a") as file:
                file.write(json.dumps(record) + "\n")
        return record

    def past(self) -> list[dict]:
        """The records that led to the resumed state; later ones (of steps that were lost) leave the file."""
        path = None if self.folder is None else self.folder / "history.jsonl"
        if path is None or not path.exists():
            return []
        records = []
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:  # a line that was being written when the process was killed
                break
        kept = [r for r in records if r["step"] <= self.step]
        if len(kept) < len(path.read_text().splitlines()):
            with atomic_write(path) as file:
                file.write("".join(json.dumps(r) + "\n" for r in kept).encode())
        return kept

    # ------------------------------------------------------------ checkpoints

    def save(self) -> None:
        """Write ``training.safetensors`` and ``model.safetensors``, each at once or not at all.

        Raises:
            ValueError: a weight is not finite; the files stay as they are.
            OSError: they could not be written; what was there stays.
        """
        if self.folder is None or processes.rank() > 0:
            return
        for name, parameter in self.parameters.items():
            if not (torch.isfinite(parameter).all() and torch.isfinite(self.average[name]).all()):
                raise ValueError(
                    f"the weight {name} is not finite at step {self.step}{self.kept()}"
                )
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
        header = {"step": self.step, "seconds": self.seconds, "settings": self.settings}
        header |= {"lowest": self.lowest} if self.best else {}
        write_tensors(self.folder / "training.safetensors", tensors, header)
        with self._lent(self.best or self.average):
            save_checkpoint(
                self.folder / "model.safetensors",
                self.model,
                step=self.step,
                settings=self.settings,
            )

    def kept(self) -> str:
        """The end of a sentence about a failure: which checkpoint there is."""
        path = None if self.folder is None else self.folder / "training.safetensors"
        return f"; {path} holds the last good state" if path is not None and path.exists() else ""

    def resume(self, tensors: dict[str, Tensor], header: dict) -> None:
        """Take over what :func:`read_training` found.

        Raises:
            ValueError: it belongs to a training with other settings.
        """
        self._check(header)
        part = lambda prefix: {
            k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
        }
        self.model.load_state_dict(part("model."))
        for name, value in part("average.").items():
            self.average[name].copy_(value)
        self.best = {
            name: value.to(self.average[name].device) for name, value in part("best.").items()
        }
        self.lowest = header.get("lowest", self.lowest)
        parameters, adam = list(self.parameters.values()), self.optimizer.state_dict()
        for key, value in part("adam.").items():
            i, name = key.split(".", 1)
            # laid out in memory like its parameter, which the fused optimiser takes for granted
            state = value if name == "step" else torch.empty_like(parameters[int(i)]).copy_(value)
            adam["state"].setdefault(int(i), {})[name] = state
        self.optimizer.load_state_dict(adam)
        self.step, self.seconds = header["step"], header["seconds"]

    def _check(self, header: dict) -> None:
        """Refuse other settings; what an older version did not write down counts as the same."""
        wanted, path = json.loads(json.dumps(self.settings)), self.folder / "training.safetensors"
        found = wanted | {"accumulate": 1} | header.get("settings", {})
        if found["family"] == wanted["family"] and found["config"] != wanted["config"]:
            with torch.random.fork_rng(
                devices=[]
            ):  # arguments that are newer than the file have their defaults
                found["config"] = type(self.model).from_config(found["config"]).config
            found = json.loads(json.dumps(found))
        other = {k: f"{k} = {found[k]!r} (now {v!r})" for k, v in wanted.items() if found[k] != v}
        strict = [text for k, text in other.items() if k not in ROUNDING]
        if strict:
            raise ValueError(
                f"{path} belongs to a training with other settings, {', '.join(strict)}; use another folder"
            )
        if other and header["step"] < self.settings["steps"]:
            warnings.warn(
                f"{path} began with {', '.join(other.values())}: the training goes on, but from here it equals an "
                "uninterrupted one up to rounding only",
                stacklevel=2,
            )


def read_training(folder: Path | None) -> tuple[dict[str, Tensor], dict] | None:
    """Tensors and header of the training in a folder, or None where there is none.

    Raises:
        ValueError: the file is corrupt.
    """
    path = None if folder is None else folder / "training.safetensors"
    return None if path is None or not path.exists() else read_checkpoint(path)


# ---------------------------------------------------------------- what settings say of the data


def fingerprint(maps: Tensor | StoredMaps) -> str:
    """A short hash of the training maps, so that a training is never resumed on other data.

    Of maps on disk it is that of sixteen maps, evenly spread, and of which maps of the file they are: reading all of them
    would take minutes.
    """
    if isinstance(maps, StoredMaps):
        few = np.asarray(maps[np.linspace(0, len(maps) - 1, 16).round().astype(int)])
        digest = hashlib.sha256(repr((maps.shape, str(maps.dtype), maps.chunk)).encode())
        digest.update(np.ascontiguousarray(maps.index, "<i8").tobytes() + few.tobytes())
        return digest.hexdigest()[:16]
    return hashlib.sha256(maps.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def numbers(transform: nn.Module | None) -> dict[str, str]:
    """The numbers of a transform to six digits: the last ones depend on the number of threads that measured it."""
    if transform is None:
        return {}
    told = lambda values: " ".join(f"{float(v):.6g}" for v in values.flatten())
    return {name: told(values) for name, values in transform.state_dict().items()}


def name_of(function) -> str | None:
    """The name of an augmentation, with the arguments that ``functools.partial`` bound."""
    if function is None:
        return None
    if isinstance(function, partial):
        bound = [*map(repr, function.args), *(f"{k}={v!r}" for k, v in function.keywords.items())]
        return f"{name_of(function.func)}({', '.join(bound)})"
    return getattr(function, "__qualname__", type(function).__qualname__)


def plain(value: float) -> float | None:
    """A number as JSON knows it: None where it is not finite."""
    return float(value) if math.isfinite(value) else None
