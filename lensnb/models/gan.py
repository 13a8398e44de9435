"""Generative adversarial networks for convergence maps, in two architectures.

* ``"field"``, ours: the generator turns a draw of the Gaussian field into a map, and is that field
  before the training. Networks and loss are in :mod:`lensnb.models.field_gan`.
* ``"dcgan"``, the historic cosmoGAN: 64 numbers → a map. See :mod:`lensnb.models.dcgan`.

Generator and discriminator are trained together by :func:`lensnb.train.fit`. The loss is the sum
of both losses, where each network gets the gradient of its own loss only: the made maps are
detached in the loss of the discriminator, and the weights of the discriminator in the loss of the
generator. Both take one step of Adam at the same time and on the same maps.

The sum says whether a training is stable, not how good the maps are. If the discriminator cannot
tell true from made maps, it is 2 ln 2 for ``"field"`` and 3 ln 2 for ``"dcgan"``. Judge the maps,
for example by ``Checks(check=Fidelity(…))``. What a training needs:

* ``"field"``: ``Settings(lr=2e-4)`` and a long average, such as ``ema=0.999``. In the reference
  the learning rate falls from 2e-4 to 5e-5, β₂ rises from 0.9 to 0.99, and γ falls to a tenth.
  Here the rate falls to zero as for every family; β₂ and γ are constant.
* ``"dcgan"``: ``Settings(lr=2e-4, batch=16 … 64)``, and ``ema=0`` for the reference, which has no
  average. Its learning rate is constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..given import Condition, Conditions, Given, Realised
from ..maps import GaussianField, GaussianModes
from ..maps.grid import check_shape
from ..samplers import MapNoise
from ..transform import KappaTransform
from .band_powers import BandPowers
from .contract import blank_field, channels_of, check_batch, check_draw, in_batches, register
from .dcgan import DCGAN
from .field_gan import FieldGAN, Known, channels_of_conditions

WIDTHS = {"field": (48, 64, 96), "dcgan": (512, 256, 128, 64)}  # of each architecture


@register("gan")
class GAN(nn.Module):
    """A generative adversarial network for square maps.

    Args:
        n: pixels a side, at least 16 and a multiple of 2 to the power of the number of widths.
        transform: the fitted κ transform.
        gaussian: Gaussian field fitted to the *transformed* maps, such as by
            :func:`lensnb.maps.fit_field`, from which ``"field"`` starts; by default white noise.
        architecture: ``"field"`` or ``"dcgan"``.
        widths: channels of the levels of both networks. ``"field"``: finest first, by default
            (48, 64, 96). ``"dcgan"``: coarsest first, by default (512, 256, 128, 64).
        penalty: γ of the gradient penalties of ``"field"``. With some thousand maps or less the
            discriminator overfits, and a larger one helps.
        spectral: weight of the spectral loss of ``"dcgan"``.
        band_powers: band powers to condition ``"field"`` on. In training both networks get those
            of the true maps; for new maps they are drawn. None for networks without them.
        conditions: what else ``"field"`` is conditioned on, fitted to the training set; None for
            nothing.

    Attributes:
        channels: channels of a map, those of ``transform`` and ``gaussian``.
        given: the conditions that the model needs, by name. Band powers are not among them, but
            ``sample`` takes them as ``given={"band_powers": …}``.

    Raises:
        ValueError: a side that the networks cannot halve; an unknown architecture, or something
            that it does not have; a negative weight; ``transform`` and ``gaussian`` with different
            channels; a condition with more pixels than the maps.
    """

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None = None,
        gaussian: GaussianModes | None = None,
        architecture: str = "field",
        *,
        widths: Sequence[int] | None = None,
        penalty: float = 1.0,
        spectral: float = 0.0,
        band_powers: BandPowers | None = None,
        conditions: Conditions | None = None,
    ):
        super().__init__()
        if architecture not in WIDTHS:
            known = " or ".join(WIDTHS)
            raise ValueError(f"the architecture of a GAN is {known}, found {architecture!r}")
        widths = list(widths or WIDTHS[architecture])
        _check_side(n, len(widths))
        for name, weight in (("penalty", penalty), ("spectral", spectral)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} must be finite and not negative, found {weight}")
        self.n = n
        self.channels = channels_of("GAN", transform=transform, gaussian=gaussian)
        self.config = {
            "n": n,
            "channels": self.channels,
            "architecture": architecture,
            "gaussian": getattr(gaussian, "kind", None),
            "widths": widths,
            "penalty": penalty,
            "spectral": spectral,
            "band_powers": None,
            "given": {},
        }
        self.transform = transform or KappaTransform.blank(self.channels)
        self.conditions = conditions or Conditions({})
        self.band_powers = band_powers
        if architecture == "field":
            self.networks = self._on_a_field(gaussian)
        else:
            _check_dcgan(gaussian=gaussian, band_powers=band_powers, conditions=conditions)
            self.networks = DCGAN(n, self.channels, widths, spectral)

    def _on_a_field(self, gaussian: GaussianModes | None) -> FieldGAN:
        """The networks of the architecture ``"field"``; completes the config."""
        config = self.config
        if config["spectral"]:
            raise ValueError(
                "the spectral loss belongs to the architecture dcgan; in a GAN on a field the "
                "discriminator sees the spectrum"
            )
        if gaussian is None:
            gaussian = GaussianField.white(self.n, self.channels)
        config["gaussian"] = gaussian.kind
        config["given"] = self.conditions.config
        numbers = self.conditions.numbers
        if self.band_powers is not None:
            if "band_powers" in self.given:
                raise ValueError(
                    "a condition is called band_powers, as the model's own; expected another name"
                )
            config["band_powers"] = self.band_powers.shape
            self.band_powers.attach(gaussian)
            numbers += self.band_powers.numbers
        maps = channels_of_conditions(self.conditions, self.n)
        return FieldGAN(gaussian, config["widths"], numbers, maps, config["penalty"])

    @classmethod
    def from_config(cls, config: dict) -> GAN:
        """An untrained model of the same shape, for a checkpoint to fill."""
        config = dict(config)
        n = config["n"]
        channels = config.pop("channels")
        kind = config.pop("gaussian")
        gaussian = None
        if kind is not None:
            gaussian = blank_field(kind, n, channels)
        powers = None
        shape = config.pop("band_powers")
        if shape:
            powers = BandPowers.of_shape(gaussian, *shape)
        given = config.pop("given")
        conditions = None
        if given:
            conditions = Conditions.from_config(given)
        transform = KappaTransform.blank(channels)
        return cls(
            transform=transform,
            gaussian=gaussian,
            band_powers=powers,
            conditions=conditions,
            **config,
        )

    @property
    def given(self) -> dict[str, Condition]:
        """The conditions that the model needs, by name."""
        return self.conditions.known

    @property
    def optional(self) -> dict[str, Condition]:
        """What ``sample`` can be given besides: the band powers, if the model has them."""
        if self.band_powers is None:
            return {}
        return {"band_powers": Condition((self.band_powers.numbers,), "numbers")}

    def _known(self, given: Given, powers: Tensor | None) -> Known:
        """The conditions as the networks get them."""
        return Known.of(self.conditions, given, powers, self.n)

    # ------------------------------------------------------------ training

    @property
    def validates_with_gradients(self) -> bool:
        """Whether the loss takes gradients with respect to maps, as the penalties do."""
        return self.config["architecture"] == "field"

    def groups(self, lr: float) -> list[dict]:
        """The parameter groups of Adam: one for each network, whose gradients are clipped apart.

        β is (0, 0.99) for ``"field"``, and (0.5, 0.999) for ``"dcgan"``.
        """
        both = (self.networks.generator, self.networks.discriminator)
        betas = self.networks.betas
        return [{"params": list(one.parameters()), "lr": lr, "betas": betas} for one in both]

    def averaged(self) -> list[str]:
        """The names of the weights of the generator; the discriminator keeps its last ones."""
        names = [name for name, _ in self.named_parameters()]
        return [name for name in names if name.startswith("networks.generator.")]

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """The losses of discriminator and generator, added, each for its own network; a scalar.

        Args:
            batch: κ, ``(batch, n, n)`` or ``(batch, channels, n, n)``.
            generator: source of all random numbers.
            given: conditions of the maps.
        """
        given = check_batch(self, batch, given)
        y = self.transform(batch)
        powers = None
        if self.band_powers is not None:
            white = _white((len(y), self.band_powers.numbers), generator, y)
            powers = self.band_powers.blur(self.band_powers(y), white)
        known = self._known(given, powers)
        white = _white((len(y), *self.networks.latent_shape), generator, y)
        return self.networks.loss(y, white, known, generator)

    # ------------------------------------------------------------ samples

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        batch: int = 64,
        given: Given | None = None,
    ) -> Tensor:
        """Draw ``n`` κ-maps.

        Args:
            n: number of maps.
            generator: source of randomness; each map gets its own seed from it.
            batch: maps made at once; it changes the result by rounding only.
            given: conditions, one value for each map or one for all. A model with band powers also
                takes ``band_powers``, standardised as by ``model.band_powers``. By default they
                are drawn from the distribution of the training maps.

        Returns:
            κ, float32, shape ``(n, pixels, pixels)`` or ``(n, channels, pixels, pixels)``.
        """
        given = check_draw(self, n, given)
        like = self.transform.mean
        noise = MapNoise(n, generator)
        make = self.networks.maker()
        drawn = []
        for part, conditions in in_batches(n, batch, given, like.device):
            own = noise[part]
            chosen = None
            if self.band_powers is not None:
                # drawn also if they are given, so that one seed always has the same noise
                drawn_powers = self.band_powers.sample(own)
                chosen = conditions.pop("band_powers", drawn_powers)
            known = self._known(conditions, chosen)
            y = make(own(self.networks.latent_shape, like), known)
            drawn.append(self.transform.inverse(y).float())
        return torch.cat(drawn)

    @torch.no_grad()
    def realised(self, maps: Tensor, generator: torch.Generator | None = None) -> Realised:
        """The band powers that maps of :meth:`sample` were given, and those that they have.

        Args:
            maps: κ, the maps of one call of ``sample``, or the first of them.
            generator: in the state in which it was given to ``sample``.

        Raises:
            ValueError: the model has no band powers, or the maps are of another size.
        """
        if self.band_powers is None:
            raise ValueError("this GAN has no band powers, so its maps were given none")
        check_shape("maps of this GAN", maps.shape, self.n, self.channels)
        powers = self.band_powers.sample(MapNoise(len(maps), generator))
        y = self.transform(maps.to(self.transform.mean.device))
        return self.band_powers.realised(y, powers)


def _white(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """White noise, drawn on the device of the generator."""
    source = like.device
    if generator is not None:
        source = generator.device
    return torch.randn(*shape, generator=generator, device=source).to(like)


def _check_side(n: int, levels: int) -> None:
    unit = 2**levels
    if n % unit or n < 16:
        raise ValueError(
            f"a GAN of {levels} widths needs maps whose side is a multiple of {unit} and at least "
            f"16 pixels, found {n}"
        )


def _check_dcgan(**parts) -> None:
    """Refuse what only the architecture ``"field"`` has."""
    for name, part in parts.items():
        if part is not None:
            raise ValueError(
                f"a GAN of the architecture dcgan makes maps from numbers alone and takes no "
                f"{name}; leave it out, or choose the architecture field"
            )
