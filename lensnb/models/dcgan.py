"""The networks and the loss of the historic GAN for κ-maps.

CosmoGAN (Mustafa et al. 2019, arXiv:1706.02390) is a DCGAN (Radford, Metz & Chintala 2015,
arXiv:1511.06434). Its generator makes a map from 64 numbers z of a standard normal distribution:

    z → linear → 512 × (n/16)² → 256 × (n/8)² → 128 × (n/4)² → 64 × (n/2)² → 1 × n² → tanh,

by transposed convolutions of 5×5 pixels and stride 2, after batch normalisation and ReLU. The
discriminator D is its mirror image with LeakyReLU. The losses are cross-entropies,

    L_D = E ln(1 + e^(−D(true))) + E ln(1 + e^(D(made))),    L_G = E ln(1 + e^(−D(made))),

where one per cent of the labels of L_D are flipped. Its successor, a port to PyTorch by the same
group, added a *spectral loss* to L_G. P is the power in annuli of |ℓ|, and mean and variance are
those over the maps of a batch:

    L_spectral = ln Σ (mean P_made − mean P_true)² + ln Σ (var P_made − var P_true)².

Three things differ here:

* The networks work with transformed maps x = T(κ), whose pixels have unit variance. The original
  tanh ends at κ = ±1, and so has room for every κ. Here x = 8 tanh(h). In the sample of lensnb
  |x| ≤ 7.4, and x = 8 is a κ of 31 standard deviations, twice the brightest pixel.
* The spectra of the loss are those of x.
* Batch normalisation has no moving averages, which would depend on more than the weights. While
  maps are drawn, each channel has the mean and variance that it has for 256 fixed z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..maps import MapGrid
from ..maps.grid import wide
from ..nets import frozen

LATENTS = 64  # numbers z of a map
BOUND = 8.0  # largest |x|, in standard deviations of a transformed pixel
FLIPPED = 0.01  # share of flipped labels
_REFERENCE = 256  # fixed z, for batch normalisation while maps are drawn

Moments = list[tuple[Tensor, Tensor]]


class DCGAN(nn.Module):
    """Both networks of the historic GAN, and their loss.

    Args:
        n: pixels a side, a multiple of 2 to the power of the number of widths.
        channels: channels of a map.
        widths: channels of the layers of the generator, coarsest first.
        spectral: weight of the spectral loss.
    """

    betas = (0.5, 0.999)
    latent_shape = (LATENTS,)

    def __init__(
        self,
        n: int,
        channels: int = 1,
        widths: Sequence[int] = (512, 256, 128, 64),
        spectral: float = 0.0,
    ):
        super().__init__()
        self.channels = channels
        self.spectral = spectral
        side = n // 2 ** len(widths)
        self.generator = Generator(side, channels, widths)
        self.discriminator = discriminator(side, channels, widths)
        self.apply(_initialised)

    def make(self, z: Tensor, known=None, moments: Moments | None = None) -> Tensor:
        """Transformed maps of latents ``(batch, 64)``.

        Args:
            z: latents.
            known: conditions, which this GAN does not have.
            moments: of the batch normalisation; None takes those of this batch.
        """
        h = self.generator(z.to(self.generator.first.weight.dtype), moments)
        x = BOUND * torch.tanh(h.to(z.dtype))
        if self.channels == 1:
            return x[:, 0]
        return x

    def maker(self) -> Callable[..., Tensor]:
        """A function like :meth:`make`, in which a map does not depend on its batch."""
        return partial(self.make, moments=self.generator.moments())

    def loss(self, true: Tensor, z: Tensor, known, generator: torch.Generator | None) -> Tensor:
        """L_D + L_G + spectral · L_spectral of transformed maps, each for its own network.

        Args:
            true: transformed maps, ``(batch, n, n)`` or ``(batch, channels, n, n)``.
            z: latents of as many maps.
            known: conditions, which this GAN does not have.
            generator: source of the flipped labels.
        """
        made = self.make(z)
        score_true = self._score(true, self.discriminator)
        score_made = self._score(made.detach(), self.discriminator)
        kept_true = _labels(len(true), generator).to(score_true)
        kept_made = _labels(len(true), generator).to(score_made)
        of_discriminator = F.softplus(-kept_true * score_true) + F.softplus(kept_made * score_made)
        of_generator = F.softplus(-self._score(made, frozen(self.discriminator)))
        loss = of_discriminator.mean() + of_generator.mean()
        if self.spectral:
            loss = loss + self.spectral * spectral_loss(made, true)
        return loss

    def _score(self, x: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
        """D of maps, float32 or wider, ``(batch,)``."""
        if self.channels == 1:
            x = x[:, None]
        scores = network(x.to(self.generator.first.weight.dtype))[:, 0]
        return scores.to(x.dtype)  # autocast gives bfloat16


class Generator(nn.Module):
    """Latents → maps before the tanh.

    Args:
        side: pixels a side of the coarsest layer.
        channels: channels of a map.
        widths: channels of the layers, coarsest first.
    """

    def __init__(self, side: int, channels: int, widths: Sequence[int]):
        super().__init__()
        self.shape = (widths[0], side, side)
        self.first = nn.Linear(LATENTS, math.prod(self.shape), bias=False)
        self.norms = nn.ModuleList()
        self.layers = nn.ModuleList()
        for number, width in enumerate(widths):
            last = number == len(widths) - 1
            outputs = channels if last else widths[number + 1]
            self.norms.append(nn.BatchNorm2d(width, track_running_stats=False))
            self.layers.append(
                nn.ConvTranspose2d(width, outputs, 5, 2, padding=2, output_padding=1, bias=last)
            )

    def forward(self, z: Tensor, moments: Moments | None = None) -> Tensor:
        """``(batch, 64)`` → ``(batch, channels, n, n)``."""
        h = self.first(z).unflatten(1, self.shape)
        for number, layer in enumerate(self.layers):
            norm = self.norms[number]
            if moments is None:
                h = norm(h)
            else:
                h = F.batch_norm(h, *moments[number], norm.weight, norm.bias)
            h = layer(F.relu(h))
        return h

    @torch.no_grad()
    def moments(self) -> Moments:
        """Mean and variance of the channels of each layer, over fixed latents."""
        fixed = torch.Generator().manual_seed(0)
        z = torch.randn(_REFERENCE, LATENTS, generator=fixed)
        h = self.first(z.to(self.first.weight)).unflatten(1, self.shape)
        found = []
        for norm, layer in zip(self.norms, self.layers):
            variance, mean = torch.var_mean(h, (0, 2, 3), correction=0)
            found.append((mean, variance))
            h = layer(F.relu(norm(h)))
        return found


def discriminator(side: int, channels: int, widths: Sequence[int]) -> nn.Sequential:
    """The mirror image of the generator: maps ``(batch, channels, n, n)`` → D ``(batch, 1)``."""
    layers: list[nn.Module] = []
    inputs = channels
    for number, width in enumerate(reversed(widths)):
        layers.append(nn.Conv2d(inputs, width, 5, 2, padding=2, bias=number == 0))
        if number > 0:
            layers.append(nn.BatchNorm2d(width, track_running_stats=False))
        layers.append(nn.LeakyReLU(0.2))
        inputs = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * side**2, 1))


def spectral_loss(made: Tensor, true: Tensor) -> Tensor:
    """ln of the squared differences of the mean spectrum, and of its variance, of two batches.

    Args:
        made: maps, ``(batch, n, n)`` or ``(batch, channels, n, n)``.
        true: other maps of the same shape.
    """
    power_made = annulus_power(made)
    power_true = annulus_power(true)
    of_mean = (power_made.mean(0) - power_true.mean(0)).square().sum()
    variances = power_made.var(0, correction=0) - power_true.var(0, correction=0)
    return of_mean.log() + variances.square().sum().log()


def annulus_power(x: Tensor) -> Tensor:
    """Mean |x̃|² in the first n/2 annuli of |ℓ|, float64, ``(batch, n/2)`` for each channel."""
    n = x.shape[-1]
    grid = MapGrid(n, 1.0)
    annulus = (grid.ell / grid.ell_min).round().flatten()
    inside = (annulus == torch.arange(1, n // 2 + 1)[:, None]) * grid.multiplicity.flatten()
    average = inside / inside.sum(1, keepdim=True)
    modes = torch.fft.rfft2(wide(x), norm="ortho")
    power = modes.real.square() + modes.imag.square()
    return power.flatten(-2) @ average.T.to(power)


def _labels(count: int, generator: torch.Generator | None) -> Tensor:
    """1 for a label that is kept, −1 for one that is flipped."""
    source = None
    if generator is not None:
        source = generator.device
    flipped = torch.rand(count, generator=generator, device=source) < FLIPPED
    return 1.0 - 2.0 * flipped


def _initialised(layer: nn.Module) -> None:
    """Weights as in the reference, from a normal distribution of the width 0.02."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
