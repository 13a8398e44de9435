"""The networks and the loss of a GAN whose generator turns a Gaussian field into a map.

Notation: y = T(κ) is a transformed map, g a draw of a Gaussian field with the covariance C, and s
are conditions, such as band powers. The generator is

    y = g + U(g, s),

where U is a U-Net that starts silent. So an untrained generator is the exact Gaussian field, and a
map has as many random numbers as pixels.

The discriminator D is in :mod:`lensnb.models.discriminator`; it sees s as well. The losses pair
each true map with a made one of the same s (R3GAN: Huang et al. 2024, arXiv:2501.05441):

    L_D = E f(D(made) − D(true)) + γ/2 (E |C^½ ∇D(true)|² + E |C^½ ∇D(made)|²),
    L_G = E f(D(true) − D(made)),        f(t) = ln(1 + e^t).

|C^½ ∇D|² is the variance of D that a draw of the field would cause, to first order. So a penalty
γ of order one suits every spectrum and number of pixels. With a white field this is the reference,
whose penalty allows hardly any dependence on small scales if the spectrum is steep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..given import Condition, Conditions, Given
from ..maps import GaussianModes
from ..maps.grid import wide
from ..nets import UNet, frozen
from .discriminator import Discriminator, Summaries


class Known(NamedTuple):
    """What a map is conditioned on.

    Attributes:
        numbers: of order one, ``(batch, numbers)``; None for none.
        channels: maps, ``(batch, channels, n, n)``; None for none.
    """

    numbers: Tensor | None = None
    channels: Tensor | None = None

    @classmethod
    def of(cls, conditions: Conditions, given: Given, powers: Tensor | None, n: int) -> Known:
        """Band powers, if there are any, and the values of conditions.

        Args:
            conditions: the conditions of the model.
            given: their values.
            powers: band powers, ``(batch, bands)``.
            n: pixels a side of a map; coarser pixels of a condition are repeated.
        """
        parts = [powers, conditions.as_numbers(given)]
        parts = [wide(part) for part in parts if part is not None]
        numbers = None
        if parts:
            numbers = torch.cat(parts, 1)
        maps = conditions.as_maps(given)
        if not maps:
            return cls(numbers)
        channels = [F.interpolate(values, size=(n, n), mode="nearest") for values in maps]
        return cls(numbers, torch.cat(channels, 1))


class FieldGAN(nn.Module):
    """Both networks of the GAN on a Gaussian field, and their loss.

    Args:
        field: the Gaussian field.
        widths: channels of the levels of both networks, finest first.
        numbers: how many numbers a map is conditioned on.
        maps: how many channels of maps a map is conditioned on.
        penalty: γ.
    """

    betas = (0.0, 0.99)

    def __init__(
        self,
        field: GaussianModes,
        widths: Sequence[int] = (48, 64, 96),
        numbers: int = 0,
        maps: int = 0,
        penalty: float = 1.0,
    ):
        super().__init__()
        self.field = field
        self.penalty = penalty
        self.latent_shape = field.map_shape
        self.summaries = Summaries(field.n)
        inputs = field.channels + maps
        seen = numbers + field.channels * self.summaries.numbers
        self.generator = UNet(inputs, field.channels, tuple(widths), numbers=numbers)
        self.discriminator = Discriminator(inputs, widths, seen)

    def make(self, white: Tensor, known: Known) -> Tensor:
        """Transformed maps of white noise, both ``(batch, *map_shape)``."""
        g = self.field.colour(white)
        inputs = self._inputs(g, known)
        none = inputs.new_zeros(len(g))  # a U-Net of a diffusion model gets its noise level here
        change = self.generator(inputs, none, known.numbers)
        return g + change.view_as(g).to(g.dtype)

    def maker(self) -> Callable[..., Tensor]:
        """:meth:`make`, in which a map does not depend on its batch."""
        return self.make

    def loss(
        self, true: Tensor, white: Tensor, known: Known, generator: torch.Generator | None
    ) -> Tensor:
        """L_D + L_G of transformed maps, each for its own network.

        Args:
            true: transformed maps, ``(batch, *map_shape)``.
            white: white noise of the same shape, for the made maps.
            known: conditions of the true maps, and so of the made ones.
            generator: not used.
        """
        made = self.make(white, known)
        true = true.detach().requires_grad_()
        fixed = made.detach().requires_grad_()  # for the loss of the discriminator
        score_true = self.score(true, known, self.discriminator)
        score_made = self.score(fixed, known, self.discriminator)
        slopes = self._slope(score_true, true) + self._slope(score_made, fixed)
        of_discriminator = F.softplus(score_made - score_true) + self.penalty / 2 * slopes
        seen = self.score(made, known, frozen(self.discriminator))
        of_generator = F.softplus(score_true.detach() - seen)
        return of_discriminator.mean() + of_generator.mean()

    def score(self, y: Tensor, known: Known, network: Callable[..., Tensor]) -> Tensor:
        """D of transformed maps, ``(batch,)``.

        Args:
            y: the maps, one batch: true or made ones.
            known: their conditions.
            network: the discriminator.
        """
        numbers = [self.summaries(y, self.field)]
        if known.numbers is not None:
            numbers.append(known.numbers.to(numbers[0]))
        return network(self._inputs(y, known), torch.cat(numbers, 1))

    def _inputs(self, y: Tensor, known: Known) -> Tensor:
        """Maps and the maps that they are conditioned on, in the precision of the weights."""
        dtype = self.generator.first.weight.dtype
        x = y.to(dtype).view(len(y), self.field.channels, *y.shape[-2:])
        if known.channels is None:
            return x
        return torch.cat([x, known.channels.to(dtype)], 1)

    def _slope(self, scores: Tensor, y: Tensor) -> Tensor:
        """|C^½ ∇D|² of each map, ``(batch,)``."""
        (slope,) = torch.autograd.grad(scores.sum(), y, create_graph=True)
        modes = self.field.modes(slope, centred=True)
        squares = (modes * modes.conj()).real * self.field.eigenvalues * self.field.multiplicity
        return squares.flatten(1).sum(1).to(scores.dtype)


def channels_of_conditions(conditions: Conditions, n: int) -> int:
    """Channels of all conditions that are maps.

    Raises:
        ValueError: the pixels of one do not fit those of maps with ``n`` pixels a side.
    """
    total = 0
    for name, condition in conditions.maps.items():
        _check_side(name, condition, n)
        total += condition.channels
    return total


def _check_side(name: str, condition: Condition, n: int) -> None:
    side = condition.shape[-1]
    if side > n or n % side:
        raise ValueError(
            f"the condition {name} has {side} pixels a side; expected those of the maps, {n}, or "
            "a divisor of it"
        )
