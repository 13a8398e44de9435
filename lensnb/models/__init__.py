"""Generative models of convergence maps, one file a family; all obey one contract.

* ``contract``: what a model must have, the registry of families, the checks that they share;
* ``flow``: :class:`Flow`, a normalizing flow;
* ``diffusion``: :class:`Diffusion`, a score-based model, and ``band_powers``, which it can be
  conditioned on;
* ``vectors``: :class:`VectorFlow`, a flow for vectors of summary statistics in the place of maps;
* ``drawing``: :func:`draw`, many maps into a file.

The baselines :class:`lensnb.maps.GaussianField` and :class:`lensnb.maps.LognormalField` obey the
contract, too. A new family is one more file and one more import line here.
"""

from pathlib import Path

from torch import nn

from ..files import read_checkpoint
from ..renamed import moved
from .band_powers import BandPowers
from .contract import check_batch, check_draw, families, map_shape, register
from .diffusion import Diffusion
from .drawing import draw
from .flow import Flow
from .vectors import VectorFlow

__all__ = [
    "TRAINED", "BandPowers", "Diffusion", "Flow", "VectorFlow", "card", "check_batch", "check_draw",
    "draw", "families", "load", "map_shape", "register",
]  # fmt: skip

__getattr__ = moved(__name__, Strength="lensnb.models.band_powers:BandPowers")

TRAINED = Path(__file__).parent.parent / "trained"  # the models that come with lensnb, their cards


def load(path: str | Path) -> nn.Module:
    """Rebuild a trained model from its checkpoint, in evaluation mode on the CPU.

    Args:
        path: the file; or ``"flow"`` or ``"diffusion"``, one of the models that come with lensnb
            (see :func:`card`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is corrupt, or holds no model of a family that lensnb knows.
        ImportError: the model needs a package that is not installed.
    """
    shipped = {file.stem: file for file in TRAINED.glob("*.safetensors")}
    tensors, header = read_checkpoint(shipped.get(str(path), path))
    known = families()
    family = header.get("family")
    if family not in known:
        found = "no model" if family is None else f"a model of the family {family!r}"
        raise ValueError(
            f"{path} holds {found}; expected a checkpoint of the families {', '.join(known)}, such as "
            "model.safetensors"
        )
    model = known[family].from_config(header["config"])
    upgrade = getattr(model, "upgrade", str)  # tensors of older checkpoints have older names
    model.load_state_dict({upgrade(name): tensor for name, tensor in tensors.items()})
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
