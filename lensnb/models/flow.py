"""A normalizing flow for convergence maps: invertible, with an exact likelihood.

Notation: κ is a map, x = T(κ) its transform, z the latent map; "forward", data → noise, is called ``to_noise``. The
likelihood follows from the change of variables,

    ln p(κ) = ln p_base(z) + Σ ln |det ∂z/∂x| + ln |det ∂x/∂κ|,

and the loss is bits per dimension, −log₂ p(κ) / n². The architecture is that of the reference flow for κ-maps (Armijo,
Thiele & Liu 2026, arXiv:2601.20669, after Glow, Kingma & Dhariwal 2018): 1×n² → 4×(n/2)² → (squeeze, split) 8×(n/4)² →
(squeeze, split) 16×(n/8)², each level a chain of actnorm, invertible 1×1 convolution and affine coupling with bounded
log-scale. Squeezing is by the orthonormal Haar transform, so that the channels are scales and the coarse ones go on.

All latents are put back in their places, which makes z a map again. Its base is white noise or a Gaussian field with the
spectrum of the data (Rouhiainen, Giri & Münchmeyer 2021, arXiv:2105.12024), behind a learned isotropic gain: every layer
starts as the identity, so the flow starts as the exact Gaussian field and learns only what is not Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..maps import GaussianField, MapGrid, wide
from ..nets import CouplingNet
from ..transform import KappaTransform

_HAAR = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2  # orthonormal, symmetric


def _mix(equation: str, matrix: Tensor, x: Tensor) -> Tensor:
    """An ``einsum`` in the precision of ``x``: mixed precision is for the conditioners, not for the maps themselves."""
    with torch.autocast(x.device.type, enabled=False):
        return torch.einsum(equation, matrix.to(x), x)


def squeeze(x: Tensor) -> Tensor:
    """``(batch, c, 2r, 2s)`` → ``(batch, 4c, r, s)`` by the orthonormal 2×2 Haar transform; the c coarse channels first."""
    b, c = x.shape[:2]
    blocks = nn.functional.pixel_unshuffle(x, 2).reshape(b, c, 4, x.shape[-2] // 2, x.shape[-1] // 2)
    return _mix("ij,bcjrs->bicrs", _HAAR, blocks).flatten(1, 2)


def unsqueeze(x: Tensor) -> Tensor:
    """The inverse of :func:`squeeze`."""
    bands = x.unflatten(1, (4, -1))
    return nn.functional.pixel_shuffle(_mix("ij,bicrs->bcjrs", _HAAR, bands).flatten(1, 2), 2)


class ActNorm(nn.Module):
    """A scale and a shift for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def to_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x * self.log_scale.exp()[:, None, None] + self.shift[:, None, None]
        return y, wide(self.log_scale).sum() * x.shape[-1] * x.shape[-2]

    def to_data(self, y: Tensor) -> Tensor:
        return (y - self.shift[:, None, None]) * (-self.log_scale).exp()[:, None, None]


class Mixing(nn.Module):
    """An invertible 1×1 convolution W = L U with unit diagonal of L (Kingma & Dhariwal 2018, eq. 10); W = 1 at first."""

    def __init__(self, channels: int):
        super().__init__()
        self.lower = nn.Parameter(torch.zeros(channels, channels))
        self.upper = nn.Parameter(torch.zeros(channels, channels))
        self.log_diagonal = nn.Parameter(torch.zeros(channels))

    def matrix(self) -> Tensor:
        """W, float64, shape ``(channels, channels)``."""
        one = wide(torch.eye(len(self.lower), device=self.lower.device))
        upper = wide(self.upper).triu(1) + wide(self.log_diagonal).exp().diag()
        return (wide(self.lower).tril(-1) + one) @ upper

    def to_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = _mix("ij,bjrs->birs", self.matrix(), x)
        return y, wide(self.log_diagonal).sum() * x.shape[-1] * x.shape[-2]

    def to_data(self, y: Tensor) -> Tensor:
        return _mix("ij,bjrs->birs", torch.linalg.inv(self.matrix()), y)


class AffineCoupling(nn.Module):
    """Half of the channels decide scale and shift of the other half (Dinh et al. 2017); |ln scale| < ``bound``.

    The halves change places afterwards, so that the next coupling moves the channels that this one kept.

    Args:
        channels: number of channels, even.
        network: ``network(inputs, outputs)`` builds the conditioner.
        bound: largest |ln scale|; keeps samples from exploding.
    """

    def __init__(self, channels: int, network: Callable[[int, int], nn.Module], bound: float = 1.5):
        super().__init__()
        self.network = network(channels // 2, channels)
        self.bound = bound

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.network(kept).to(kept.dtype).chunk(2, 1)
        return self.bound * torch.tanh(raw / self.bound), shift

    def to_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([moved * log_scale.exp() + shift, kept], 1), wide(log_scale).sum((1, 2, 3))

    def to_data(self, y: Tensor) -> Tensor:
        moved, kept = y.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], 1)


class Gain(nn.Module):
    """An isotropic gain in Fourier space, e^a(|ℓ|) with one number an annulus; the identity at first.

    What the couplings do to small scales adds power to large ones (κ is all but an exponential of z), and the few modes
    there weigh so little in the likelihood that the couplings hardly notice. One number an annulus notices at once.

    Args:
        n: pixels a side.
    """

    def __init__(self, n: int):
        super().__init__()
        grid = MapGrid(n, 1.0)
        annulus = (grid.ell / grid.ell_min).round().long()
        self.register_buffer("annulus", annulus)
        self.register_buffer("modes", torch.bincount(annulus.flatten(), grid.multiplicity.flatten()))
        self.log_gain = nn.Parameter(torch.zeros(len(self.modes)))

    def to_noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._apply_gain(x, 1), (wide(self.log_gain) * self.modes).sum()

    def to_data(self, y: Tensor) -> Tensor:
        return self._apply_gain(y, -1)

    def _apply_gain(self, x: Tensor, sign: int) -> Tensor:
        gain = (sign * wide(self.log_gain)).exp()[self.annulus]
        return torch.fft.irfft2(torch.fft.rfft2(wide(x)) * gain, s=x.shape[-2:]).to(x.dtype)


class Flow(nn.Module):
    """A multi-scale normalizing flow for square maps.

    Args:
        n: pixels a side, a power of two from 16 to 256.
        transform: the fitted κ transform.
        base: Gaussian field fitted to the *transformed* maps; None for white noise.
        steps: actnorm – mixing – coupling steps a level (even, so that every channel is moved equally often).
        hidden: channels of the conditioners.
        network: builds a conditioner, ``network(inputs, outputs)``; by default a :class:`~lensnb.nets.CouplingNet`.

    Raises:
        ValueError: ``n`` is not a power of two in that range.
    """

    family = "flow"

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None = None,
        base: GaussianField | None = None,
        steps: int = 8,
        hidden: int = 64,
        network: Callable[[int, int], nn.Module] | None = None,
    ):
        super().__init__()
        if n not in (16, 32, 64, 128, 256):
            raise ValueError(f"the flow needs maps whose side is a power of two from 16 to 256 pixels, found {n}")
        if steps % 2:
            raise ValueError(f"the flow needs an even number of steps a level, found {steps}")
        self.config = {"n": n, "gaussian_base": base is not None, "steps": steps, "hidden": hidden}
        self.n = n
        self.transform = KappaTransform() if transform is None else transform
        self.base = base
        build = network if network is not None else (lambda i, o: CouplingNet(i, o, hidden))
        self.gain = Gain(n) if base is not None else None
        self.levels = nn.ModuleList()
        self.choose = nn.ModuleList()  # mixes the squeezed channels before half of them are split off
        for level, channels in enumerate((4, 8, 16)):
            self.choose.append(Mixing(channels if level == 0 else 2 * channels))
            chain = [
                layer
                for _ in range(steps)
                for layer in (ActNorm(channels), Mixing(channels), AffineCoupling(channels, build))
            ]
            self.levels.append(nn.ModuleList(chain))

    @classmethod
    def from_config(cls, config: dict) -> Flow:
        """An untrained model of the same shape, for a checkpoint to fill."""
        n = config["n"]
        base = GaussianField(torch.ones(n, n // 2 + 1)) if config["gaussian_base"] else None
        return cls(n, None, base, config["steps"], config["hidden"])

    def latents(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Transformed maps ``(batch, n, n)`` → latents of the three levels, finest first, and ln |det|, ``(batch,)``."""
        h, log_det, parts = x[:, None], wide(x.new_zeros(len(x))), []
        for level, (choose, chain) in enumerate(zip(self.choose, self.levels)):
            h, change = choose.to_noise(squeeze(h))
            log_det = log_det + change
            if level > 0:  # the reference architecture squeezes, then splits
                h, out = h.chunk(2, 1)
                parts.append(out)
            for layer in chain:
                h, change = layer.to_noise(h)
                log_det = log_det + change
        return [*parts, h], log_det

    def assemble(self, parts: list[Tensor]) -> Tensor:
        """Put the latents back in their places: a latent map ``(batch, n, n)``."""
        fine, middle, coarse = parts
        h = unsqueeze(torch.cat([coarse, middle], 1))
        return unsqueeze(unsqueeze(torch.cat([h, fine], 1)))[:, 0]

    def take_apart(self, z: Tensor) -> list[Tensor]:
        """The inverse of :meth:`assemble`."""
        h, fine = squeeze(squeeze(z[:, None])).chunk(2, 1)
        coarse, middle = squeeze(h).chunk(2, 1)
        return [fine, middle, coarse]

    def to_noise(self, kappa: Tensor) -> tuple[Tensor, Tensor]:
        """κ-maps ``(batch, n, n)`` → latent maps of the same shape and ln |det ∂z/∂κ|, float64, ``(batch,)``."""
        if kappa.shape[-2:] != (self.n, self.n):
            found = " × ".join(map(str, kappa.shape[-2:]))
            raise ValueError(f"the model was made for maps of {self.n} × {self.n} pixels, found {found}")
        parts, log_det = self.latents(self.transform(kappa))
        z, log_det = self.assemble(parts), log_det + self.transform.log_det(kappa)
        if self.gain is not None:
            z, change = self.gain.to_noise(z)
            log_det = log_det + change
        return z, log_det

    def to_data(self, z: Tensor) -> Tensor:
        """Latent maps ``(batch, n, n)`` → κ-maps, the inverse of :meth:`to_noise`."""
        parts = self.take_apart(z if self.gain is None else self.gain.to_data(z))
        h = parts.pop()
        for choose, chain in zip(reversed(self.choose), reversed(self.levels)):
            for layer in reversed(chain):
                h = layer.to_data(h)
            if parts:
                h = torch.cat([h, parts.pop()], 1)
            h = unsqueeze(choose.to_data(h))
        return self.transform.inverse(h[:, 0])

    def log_prob(self, kappa: Tensor) -> Tensor:
        """ln p(κ) in nats and κ units, float64, shape ``(batch,)``."""
        z, log_det = self.to_noise(kappa)
        if self.base is not None:
            return self.base.log_prob(z) + log_det
        return log_det - 0.5 * (wide(z).square() + math.log(2 * math.pi)).sum((-2, -1))

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bits per dimension of κ-maps ``(batch, n, n)``, a scalar."""
        return -self.log_prob(batch).mean() / (math.log(2) * self.n**2)

    @torch.no_grad()
    def sample(
        self, n: int, generator: torch.Generator | None = None, temperature: float = 1.0, batch: int = 64
    ) -> Tensor:
        """Draw ``n`` κ-maps, float32, shape ``(n, pixels, pixels)``.

        Args:
            n: number of maps.
            generator: source of randomness.
            temperature: scales the latents about their mean; 1 is the model's own distribution.
            batch: maps made at once; does not change the result.
        """
        device = self.transform.mean.device
        white = torch.randn(n, self.n, self.n, generator=generator, device=generator.device if generator else device)
        white = temperature * white.to(device)
        z = white if self.base is None else self.base.colour(white)
        return torch.cat([self.to_data(part) for part in z.split(batch)])
