"""A normalizing flow for convergence maps: invertible, with an exact likelihood.

Notation: κ is a map, x = T(κ) its transform, z the latent map; "forward", data → noise, is called ``to_noise``. The
likelihood follows from the change of variables,

    ln p(κ) = ln p_base(z) + Σ ln |det ∂z/∂x| + ln |det ∂x/∂κ|,

and the loss is bits per dimension, −log₂ p(κ) / n². The architecture is that of the reference flow for κ-maps (Armijo,
Thiele & Liu 2026, arXiv:2601.20669, after Glow, Kingma & Dhariwal 2018): 1×n² → 4×(n/2)² → (squeeze, split) 8×(n/4)² →
(squeeze, split) 16×(n/8)², each level a chain of actnorm, invertible 1×1 convolution and coupling (:mod:`lensnb.layers`).
Squeezing is by the orthonormal Haar transform, so that the channels are scales and the coarse ones go on; what is split
off carries the details given the coarser scales, which makes the likelihood a product over scales.

All latents are put back in their places, which makes z a map again. Its base is white noise or a Gaussian field with the
spectrum of the data (Rouhiainen, Giri & Münchmeyer 2021, arXiv:2105.12024), behind a learned isotropic gain: every layer
starts as the identity, so the flow starts as the exact Gaussian field and learns only what is not Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers import (
    ActNorm,
    AffineCoupling,
    Gain,
    Mixing,
    SplineCoupling,
    squeeze,
    step_to_data,
    step_to_noise,
    unsqueeze,
)
from ..maps import GaussianField, MapGrid, wide
from ..nets import CouplingNet
from ..transform import KappaTransform

SCALES = ("fine", "middle", "coarse")  # the three levels of the flow, as its latents are split off


class Flow(nn.Module):
    """A multi-scale normalizing flow for square maps.

    Args:
        n: pixels a side, a power of two from 16 to 256.
        transform: the fitted κ transform.
        base: Gaussian field fitted to the *transformed* maps; None for white noise.
        steps: actnorm – mixing – coupling steps a level (even, so that every channel is moved equally often).
        hidden: channels of the conditioners.
        network: builds a conditioner, ``network(inputs, outputs)``; by default a :class:`~lensnb.nets.CouplingNet`.
        coupling: ``"affine"``, or ``"spline"`` for monotonic rational-quadratic splines.
        bins: pieces of a spline.
        bound: splines act between −bound and bound, in standard deviations of a pixel.
        recompute: forget the conditioners' activations and compute them again for the gradient: less memory, a third
            more time, the same numbers.

    Raises:
        ValueError: ``n`` is not a power of two in that range, ``steps`` is odd, or there is no such coupling.
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
        coupling: str = "affine",
        bins: int = 8,
        bound: float = 6.0,
        recompute: bool = False,
    ):
        super().__init__()
        if n not in (16, 32, 64, 128, 256):
            raise ValueError(
                f"the flow needs maps whose side is a power of two from 16 to 256 pixels, found {n}"
            )
        if steps % 2:
            raise ValueError(f"the flow needs an even number of steps a level, found {steps}")
        couplings = {
            "affine": AffineCoupling,
            "spline": partial(SplineCoupling, bins=bins, bound=bound),
        }
        if coupling not in couplings:
            raise ValueError(f"the couplings of a flow are affine or spline, found {coupling!r}")
        self.config = {
            "n": n, "gaussian_base": base is not None, "steps": steps, "hidden": hidden,
            "coupling": coupling, "bins": bins, "bound": bound,
        }  # fmt: skip
        self.n = n
        self.recompute = recompute  # not in the config: it changes nothing that a checkpoint keeps
        self.transform = KappaTransform() if transform is None else transform
        self.base = base
        build = network if network is not None else (lambda i, o: CouplingNet(i, o, hidden))
        self.gain = Gain(n) if base is not None else None
        self.levels = nn.ModuleList()
        self.choose = (
            nn.ModuleList()
        )  # mixes the squeezed channels before half of them are split off
        for level, channels in enumerate((4, 8, 16)):
            self.choose.append(Mixing(channels if level == 0 else 2 * channels))
            chain = [
                layer
                for _ in range(steps)
                for layer in (
                    ActNorm(channels),
                    Mixing(channels),
                    couplings[coupling](channels, build),
                )
            ]
            self.levels.append(nn.ModuleList(chain))

    @classmethod
    def from_config(cls, config: dict) -> Flow:
        """An untrained model of the same shape, for a checkpoint to fill."""
        n = config["n"]
        base = GaussianField(torch.ones(n, n // 2 + 1)) if config["gaussian_base"] else None
        later = {
            key: config[key] for key in ("coupling", "bins", "bound") if key in config
        }  # not in the first files
        return cls(n, None, base, config["steps"], config["hidden"], **later)

    def latents(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Transformed maps ``(batch, n, n)`` → latents and ln |det| ``(batch, 3)`` of the levels, finest first."""
        h, log_dets, parts = x[:, None], list(wide(x.new_zeros(3, len(x)))), []
        for level, (choose, chain) in enumerate(zip(self.choose, self.levels)):
            h, change = choose.to_noise(squeeze(h))
            finer = max(
                level - 1, 0
            )  # choosing what is split off belongs to the scale that is split off
            log_dets[finer] = log_dets[finer] + change
            if level > 0:  # the reference architecture squeezes, then splits
                h, out = h.chunk(2, 1)
                parts.append(out)
            for step in _steps(chain):
                if self.recompute and torch.is_grad_enabled():
                    h, change = checkpoint(step_to_noise, *step, h, use_reentrant=False)
                else:
                    h, change = step_to_noise(*step, h)
                log_dets[level] = log_dets[level] + change
        return [*parts, h], torch.stack(log_dets, -1)

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
        parts, log_dets = self._parts(kappa)
        z, log_det = self.assemble(parts), log_dets.sum(-1)
        if self.gain is not None:
            z, change = self.gain.to_noise(z)
            log_det = log_det + change
        return z, log_det

    def _parts(self, kappa: Tensor) -> tuple[list[Tensor], Tensor]:
        """κ-maps → latents before the gain, and ln |det| in κ units of each level, ``(batch, 3)``, finest first."""
        if kappa.shape[-2:] != (self.n, self.n):
            found = " × ".join(map(str, kappa.shape[-2:]))
            raise ValueError(
                f"the model was made for maps of {self.n} × {self.n} pixels, found {found}"
            )
        parts, log_dets = self.latents(self.transform(kappa))
        first = torch.tensor([1, 0, 0], device=log_dets.device)
        return parts, log_dets + first * self.transform.log_det(kappa)[:, None]

    def to_data(self, z: Tensor) -> Tensor:
        """Latent maps ``(batch, n, n)`` → κ-maps, the inverse of :meth:`to_noise`."""
        parts = self.take_apart(z if self.gain is None else self.gain.to_data(z))
        h = parts.pop()
        for choose, chain in zip(reversed(self.choose), reversed(self.levels)):
            for step in reversed(_steps(chain)):
                h = step_to_data(*step, h)
            if parts:
                h = torch.cat([h, parts.pop()], 1)
            h = unsqueeze(choose.to_data(h))
        return self.transform.inverse(h[:, 0])

    def log_prob(self, kappa: Tensor) -> Tensor:
        """ln p(κ) in nats and κ units, float64, shape ``(batch,)``."""
        parts, log_dets = self._parts(kappa)
        if self.base is None:
            return log_dets.sum(-1) + sum(_log_normal(part) for part in parts)
        mean, variance = self._base()
        modes = torch.fft.rfft2(wide(self.assemble(parts)) - mean, norm="ortho")
        square = (modes.real.square() + modes.imag.square()) / variance
        quadratic = ((square + variance.log()) * self.base.multiplicity).sum((-2, -1))
        return log_dets.sum(-1) - 0.5 * (quadratic + self.n**2 * math.log(2 * math.pi))

    def log_prob_by_scale(self, kappa: Tensor) -> Tensor:
        """The terms of ln p(κ) = ln p(fine | middle, coarse) + ln p(middle | coarse) + ln p(coarse).

        The scales are the three levels of the flow (Dai & Seljak 2024, arXiv:2306.04689, eq. 3): what the first two split
        off, and what remains. The Jacobian of the κ transform counts as fine.

        Args:
            kappa: κ-maps ``(batch, n, n)``.

        Returns:
            Fine, middle, coarse, in nats, float64, shape ``(batch, 3)``; the sum is :meth:`log_prob`.
        """
        parts, log_dets = self._parts(kappa)
        if self.base is None:
            return log_dets + torch.stack([_log_normal(part) for part in parts], -1)
        mean, variance = self._base()
        centred = self.take_apart(wide(self.assemble(parts)) - mean)
        unit = wide(torch.eye(64, device=kappa.device)).reshape(
            64, 8, 8
        )  # latents repeat their pattern every 8 pixels
        return log_dets + _log_prob_of_bands(
            variance, _cells(self.take_apart(unit)), _cells(centred)
        )

    def _base(self) -> tuple[Tensor, Tensor]:
        """Mean and mode variances of the latent map before the gain; with it the base is a field of another spectrum."""
        gain = self.gain.per_mode()
        return self.base.mean / gain[0, 0], self.base.variance / gain.square()

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bits per dimension of κ-maps ``(batch, n, n)``, a scalar."""
        return -self.log_prob(batch).mean() / (math.log(2) * self.n**2)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        batch: int = 64,
    ) -> Tensor:
        """Draw ``n`` κ-maps, float32, shape ``(n, pixels, pixels)``.

        Args:
            n: number of maps.
            generator: source of randomness.
            temperature: scales the latents about their mean; 1 is the model's own distribution.
            batch: maps made at once; does not change the result.
        """
        device = self.transform.mean.device
        white = torch.randn(
            n,
            self.n,
            self.n,
            generator=generator,
            device=generator.device if generator else device,
        )
        white = temperature * white.to(device)
        z = white if self.base is None else self.base.colour(white)
        return torch.cat([self.to_data(part) for part in z.split(batch)])

    @torch.no_grad()
    def path(self, kappa_a: Tensor, kappa_b: Tensor, steps: int) -> Tensor:
        """White latents from those of one map to those of another, along the great circle (Shoemake 1985).

        White latents of many pixels lie near a sphere, and so does the great circle between them; the straight line cuts
        through its inside, where the maps are too smooth.

        Args:
            kappa_a: the first map, ``(n, n)``.
            kappa_b: the last map, ``(n, n)``.
            steps: number of latents, both ends included.

        Returns:
            White latents, float64, shape ``(steps, n, n)``.
        """
        z, _ = self.to_noise(torch.stack([kappa_a, kappa_b]))
        a, b = wide(z if self.base is None else self.base.whiten(z))
        angle = torch.arccos(((a * b).sum() / (a.norm() * b.norm())).clamp(-1, 1))
        t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[:, None, None]
        if angle.sin() < 1e-6:  # one direction: the circle is a line
            return torch.lerp(a, b, t)
        return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()

    @torch.no_grad()
    def with_scales(self, white: Tensor, scales: Sequence[str] = SCALES) -> Tensor:
        """The maps of white latents, with some scales left out: their latents set to zero.

        Args:
            white: white latents, ``(batch, n, n)``.
            scales: what is not left out, of ``"fine"``, ``"middle"`` and ``"coarse"``.

        Returns:
            κ-maps in the precision of the model, shape ``(batch, n, n)``.
        """
        z = (white if self.base is None else self.base.colour(white)).to(
            self.levels[0][0].shift.dtype
        )
        if set(scales) != set(SCALES):
            parts = self.take_apart(z if self.gain is None else self.gain.to_data(z))
            z = self.assemble([(name in scales) * part for name, part in zip(SCALES, parts)])
            z = z if self.gain is None else self.gain.to_noise(z)[0]
        return self.to_data(z)

    def interpolate(self, kappa_a: Tensor, kappa_b: Tensor, steps: int) -> Tensor:
        """Go from one map to another through maps that are all as typical as these two, along :meth:`path`.

        Args:
            kappa_a: the first map, ``(n, n)``.
            kappa_b: the last map, ``(n, n)``.
            steps: number of maps, both ends included.

        Returns:
            κ-maps, shape ``(steps, n, n)``.
        """
        return self.with_scales(self.path(kappa_a, kappa_b, steps))


def _steps(chain: nn.ModuleList) -> list[tuple[nn.Module, ...]]:
    """The layers of a level by threes: actnorm, mixing, coupling."""
    return list(zip(chain[::3], chain[1::3], chain[2::3]))


def _log_normal(x: Tensor) -> Tensor:
    """ln of the standard normal density of everything in each map, float64, shape ``(batch,)``."""
    return -0.5 * (wide(x).square() + math.log(2 * math.pi)).flatten(1).sum(-1)


def _cells(parts: list[Tensor]) -> Tensor:
    """Latents → the 64 of each 8×8 cell, coarse, middle, fine, shape ``(batch, 64, n / 8, n / 8)``."""
    fine, middle, coarse = parts
    return torch.cat([coarse, middle, nn.functional.pixel_unshuffle(fine, 2)], 1)


def _log_prob_of_bands(variance: Tensor, haar: Tensor, cells: Tensor) -> Tensor:
    """ln p of the Haar bands of a Gaussian field by the chain rule, coarse first.

    Shifts by whole cells leave the field's statistics as they are, so the Fourier transform over cells of the 64 numbers
    of a cell has one Hermitian covariance matrix a frequency, S = A Aᴴ. With S = L Lᴴ, L lower triangular, L⁻¹ v are the
    numbers given those before them, over their scatter.

    Args:
        variance: mode variances in the layout of ``rfft2``, ``(n, n // 2 + 1)``.
        haar: the 64 numbers of each of the 64 maps of 8×8 pixels that are 1 in one pixel, ``(64, 64, 1, 1)``.
        cells: the numbers of each cell of the maps, less their mean, ``(batch, 64, n / 8, n / 8)``.

    Returns:
        Fine given the others, middle given coarse, coarse; shape ``(batch, 3)``.
    """
    n, m = len(variance), len(variance) // 8
    row = torch.arange(n, device=variance.device)
    conjugate = row[None, :] > n // 2  # modes that rfft2 leaves out
    full = variance[
        torch.where(conjugate, -row[:, None] % n, row[:, None]),
        torch.where(conjugate, n - row, row),
    ]
    # Frequencies k, k + m, …, k + 7 m of the map all look like k to the cells; u is the pixel in a cell.
    aliases = (
        full.reshape(8, m, 8, m)[..., : m // 2 + 1].permute(1, 3, 0, 2).flatten(2)
    )  # (m, m // 2 + 1, 64)
    pixel, aliased = row[:8].to(variance), row.reshape(8, m).T.to(variance)
    phase = 2 * math.pi / n * aliased[:, None, :] * pixel[:, None]  # (k, u, alias)
    wave = torch.polar(torch.full_like(phase, 8**-0.5), phase)
    waves = torch.einsum("kua,lvb->kluvab", wave, wave[: m // 2 + 1]).flatten(4, 5).flatten(2, 3)
    root = haar[..., 0, 0].T.to(waves) @ waves * aliases.sqrt()[..., None, :]  # A
    lower = torch.linalg.cholesky(root @ root.mH)
    modes = torch.fft.rfft2(cells, norm="ortho").permute(2, 3, 1, 0)  # (m, m // 2 + 1, 64, batch)
    white = torch.linalg.solve_triangular(lower, modes, upper=False)
    weight = MapGrid(m, 1.0).multiplicity.to(variance)[..., None]
    quadratic = (weight[..., None] * white.abs().square()).sum((0, 1))  # (64, batch)
    log_det = (2 * weight * lower.diagonal(dim1=-2, dim2=-1).real.log()).sum((0, 1))
    log_prob = -0.5 * (quadratic + log_det[:, None] + m**2 * math.log(2 * math.pi))
    coarse, middle, fine = (part.sum(0) for part in log_prob.split([16, 16, 32]))
    return torch.stack([fine, middle, coarse], -1)
