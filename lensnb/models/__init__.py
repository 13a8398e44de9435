"""Generative models of convergence maps: one file for each family, one contract for all.

* ``contract``: what a model must have, the registry of families, and the checks that they share;
* ``flow``: :class:`Flow`, a normalizing flow;
* ``diffusion``: :class:`Diffusion`, a score-based model, whose denoiser is in ``denoiser``;
* ``band_powers``: :class:`BandPowers`, on which a diffusion model can be conditioned;
* ``vectors``: :class:`VectorFlow`, a flow for vectors of summary statistics instead of maps;
* ``drawing``: :func:`draw`, which writes many maps into a file.

The baselines :class:`lensnb.maps.GaussianField` and :class:`lensnb.maps.LognormalField` also obey
the contract. A new family needs one more file, and one more import line here.
"""

from pathlib import Path

from torch import nn

from ..files import read_checkpoint
from ..renamed import moved
from .band_powers import BandPowers
from .contract import check_batch, check_draw, families, register
from .diffusion import Diffusion
from .drawing import draw
from .flow import Flow
from .vectors import VectorFlow

__all__ = [
    "TRAINED", "BandPowers", "Diffusion", "Flow", "VectorFlow", "card", "check_batch",
    "check_draw", "draw", "families", "load", "register",
]  # fmt: skip

__getattr__ = moved(__name__, Strength="lensnb.models.band_powers:BandPowers")

# the models that come with lensnb, and their cards
TRAINED = Path(__file__).parent.parent / "trained"


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
        found = "no model"
        if family is not None:
            found = f"a model of the family {family!r}"
        raise ValueError(
            f"{path} holds {found}; expected a checkpoint of the families {', '.join(known)}, "
            "such as model.safetensors"
        )
    model = known[family].from_config(header["config"])
    upgrade = getattr(model, "upgrade", str)  # tensors of older checkpoints have older names
    model.load_state_dict({upgrade(name): tensor for name, tensor in tensors.items()})
    return model.eval()


def card(name: str) -> str:
    """The card of a model that comes with lensnb, in Markdown.

    It describes the data, the training, and where the model fails.

    Raises:
        ValueError: there is no such model.
    """
    file = TRAINED / f"{name}.md"
    if not file.exists():
        names = ", ".join(sorted(f.stem for f in TRAINED.glob("*.md")))
        raise ValueError(f"lensnb comes with no model {name!r}; expected one of {names}")
    return file.read_text(encoding="utf-8")
