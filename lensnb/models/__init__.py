"""Generative models of convergence maps, one file a family; all obey one contract.

A model draws κ-maps with ``sample(n, generator)`` and has ``loss(batch, generator)`` for κ-maps ``(batch, n, n)``;
models with a density also have ``log_prob``, flows ``to_noise`` and ``to_data``. The baselines,
:class:`lensnb.maps.GaussianField` and :class:`lensnb.maps.LognormalField`, obey it too, and :class:`VectorFlow` does for
vectors of summary statistics ``(batch, bins)`` in the place of maps.
"""

from pathlib import Path

from ..files import read_checkpoint
from .diffusion import Diffusion
from .flow import Flow
from .vectors import VectorFlow

__all__ = ["Diffusion", "Flow", "VectorFlow", "load"]


def load(path: str | Path) -> Flow | Diffusion | VectorFlow:
    """Rebuild a trained model from its checkpoint, in evaluation mode on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is corrupt, or holds no model of lensnb.
        ImportError: the model needs a package that is not installed.
    """
    tensors, header = read_checkpoint(path)
    families = {model.family: model for model in (Flow, Diffusion, VectorFlow)}
    if header.get("family") not in families:
        raise ValueError(
            f"{path} holds no model; expected a checkpoint of {' or '.join(families)}, such as model.safetensors"
        )
    model = families[header["family"]].from_config(header["config"])
    model.load_state_dict(tensors)
    return model.eval()
