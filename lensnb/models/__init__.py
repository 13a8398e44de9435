"""Generative models of convergence maps: one file for each family, one contract for all.

* ``contract``: what a model must have, the registry of families, and the checks that they share;
* ``flow``: :class:`Flow`, a normalizing flow;
* ``diffusion``: :class:`Diffusion`, a score-based model, whose denoiser is in ``denoiser``, and
  whose learned sampler with few calls is in ``few_calls``;
* ``vae``: :class:`VAE`, a variational autoencoder, whose networks are in ``latents``;
* ``gan``: :class:`GAN`, generative adversarial networks: ours, whose networks are in ``field_gan``
  and ``discriminator``, and the historic one in ``dcgan``;
* ``band_powers``: :class:`BandPowers`, on which a diffusion model or a GAN can be conditioned;
* ``trenf``: :class:`TRENF`, a flow of 155 parameters for few maps;
* ``rank_mapped``: :class:`RankMappedField`, a Gaussian field with the pixels of true maps;
* ``multiscale``: :class:`Multiscale`, a cascade of scales, each of them a :class:`Level` with a
  model of its own, such as :class:`Details` and :class:`DetailDiffusion`, a flow and a diffusion
  model for the details of a coarser map;
* ``vectors``: :class:`VectorFlow`, a flow for vectors of summary statistics instead of maps;
* ``synthesis``: :class:`Synthesis`, maps that follow vectors of ``scattering_spectra``;
* ``refined``: :class:`Refined`, any of them with a discriminant that decides which maps are kept,
  by the numbers of ``map_numbers``;
* ``drawing``: :func:`draw`, which writes many maps into a file;
* ``drawing_sets``: :func:`draw_set`, which writes them into a set ``.zarr``.

The baselines :class:`lensnb.maps.GaussianField` and :class:`lensnb.maps.LognormalField` also obey
the contract. A new family needs one more file, and one more import line here.
"""

from pathlib import Path

from torch import Tensor, nn

from ..files import read_checkpoint
from ..renamed import moved
from .band_powers import BandPowers
from .contract import check_batch, check_draw, families, register
from .detail_diffusion import DetailDiffusion
from .details import Details
from .diffusion import Diffusion
from .drawing import draw
from .drawing_sets import draw_set
from .flow import Flow
from .gan import GAN
from .levels import Level
from .multiscale import Multiscale
from .rank_mapped import RankMappedField
from .refined import Refined
from .synthesis import Synthesis
from .trenf import TRENF
from .vae import VAE
from .vectors import VectorFlow

__all__ = [
    "GAN", "TRAINED", "TRENF", "VAE", "BandPowers", "DetailDiffusion", "Details", "Diffusion",
    "Flow", "Level", "Multiscale", "RankMappedField", "Refined", "Synthesis", "VectorFlow", "card",
    "check_batch", "check_draw", "draw", "draw_set", "families", "load", "register",
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
    model = _rebuilt(path, known[family], header)
    upgrade = getattr(model, "upgrade", str)  # tensors of older checkpoints have older names
    tensors = {upgrade(name): tensor for name, tensor in tensors.items()}
    _check_tensors(path, model, tensors)
    model.load_state_dict(tensors)
    return model.eval()


def _rebuilt(path: str | Path, family: type[nn.Module], header: dict) -> nn.Module:
    """The untrained model that a checkpoint describes."""
    config = header.get("config")
    if not isinstance(config, dict):
        raise ValueError(f"{path} does not say the settings of its model, a {family.family}")
    try:
        return family.from_config(config)
    except ImportError:
        raise
    except Exception as error:  # whatever the family makes of settings that are not its own
        raise ValueError(
            f"{path} has settings of which no {family.family} can be made "
            f"({type(error).__name__}: {error})"
        ) from None


def _check_tensors(path: str | Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Refuse the weights of another model, and weights that are not finite."""
    expected = model.state_dict()
    other = sorted(expected.keys() ^ tensors.keys())
    other += [
        name
        for name, one in tensors.items()
        if name in expected and one.shape != expected[name].shape
    ]
    if other:
        raise ValueError(
            f"{path} has weights of another model than its settings say: {len(other)} tensors "
            f"are missing, unknown or of another shape, such as {other[0]}"
        )
    weights = dict(model.named_parameters())
    for name, tensor in tensors.items():
        # Infinity has a meaning among the numbers of a transform, but none among weights.
        if tensor.isnan().any() or (name in weights and tensor.isinf().any()):
            raise ValueError(f"{path} has NaN or infinity in {name}; expected finite weights")


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
