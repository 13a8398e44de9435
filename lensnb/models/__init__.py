"""Generative models of convergence maps, one file a family; all obey one contract.

A model draws κ-maps with ``sample(n, generator)`` and has ``loss(batch, generator)`` for κ-maps ``(batch, n, n)``;
models with a density also have ``log_prob``, flows ``to_noise`` and ``to_data``. The baselines,
:class:`lensnb.maps.GaussianField` and :class:`lensnb.maps.LognormalField`, obey it too, and :class:`VectorFlow` does for
vectors of summary statistics ``(batch, bins)`` in the place of maps.
"""

from pathlib import Path

from ..files import read_checkpoint
from ..strength import Strength
from .diffusion import Diffusion
from .draw import draw
from .flow import Flow
from .vectors import VectorFlow

__all__ = ["TRAINED", "Diffusion", "Flow", "Strength", "VectorFlow", "card", "draw", "load"]

TRAINED = (
    Path(__file__).parent.parent / "trained"
)  # the models that come with lensnb, and their cards


def load(path: str | Path) -> Flow | Diffusion | VectorFlow:
    """Rebuild a trained model from its checkpoint, in evaluation mode on the CPU.

    Args:
        path: the file; or ``"flow"`` or ``"diffusion"``, one of the models that come with lensnb (see :func:`card`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is corrupt, or holds no model of lensnb.
        ImportError: the model needs a package that is not installed.
    """
    shipped = {file.stem: file for file in TRAINED.glob("*.safetensors")}
    tensors, header = read_checkpoint(shipped.get(str(path), path))
    families = {model.family: model for model in (Flow, Diffusion, VectorFlow)}
    if header.get("family") not in families:
        raise ValueError(
            f"{path} holds no model; expected a checkpoint of {' or '.join(families)}, such as model.safetensors"
        )
    model = families[header["family"]].from_config(header["config"])
    model.load_state_dict(tensors)
    return model.eval()


def card(name: str) -> str:
    """The card of a model that comes with lensnb, in Markdown: its data, its training, and where it fails.

    Raises:
        ValueError: there is no such model.
    """
    file = TRAINED / f"{name}.md"
    if not file.exists():
        names = ", ".join(sorted(f.stem for f in TRAINED.glob("*.md")))
        raise ValueError(f"lensnb comes with no model {name!r}; expected one of {names}")
    return file.read_text(encoding="utf-8")
