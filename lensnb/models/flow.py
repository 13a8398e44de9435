"""A normalizing flow for convergence maps: invertible, with an exact likelihood.

Notation: κ is a map, x = T(κ) its transform, z the latent map; "forward", data → noise, is called
``to_noise``. The likelihood follows from the change of variables,

    ln p(κ) = ln p_base(z) + Σ ln |det ∂z/∂x| + ln |det ∂x/∂κ|,

and the loss is bits per dimension, −log₂ p(κ) / n². The architecture is that of the reference flow
for κ-maps (Armijo, Thiele & Liu 2026, arXiv:2601.20669, after Glow, Kingma & Dhariwal 2018): 1×n²
→ 4×(n/2)² → (squeeze, split) 8×(n/4)² → (squeeze, split) 16×(n/8)², each level a chain of actnorm,
invertible 1×1 convolution and coupling (:mod:`lensnb.layers`). Squeezing is by the orthonormal
Haar transform, so that the channels are scales and the coarse ones go on; what is split off
carries the details given the coarser scales, which makes the likelihood a product over scales.

All latents are put back in their places, which makes z a map again. Its base is white noise or a
Gaussian field with the spectrum of the data (Rouhiainen, Giri & Münchmeyer 2021,
arXiv:2105.12024), behind a learned isotropic gain: every layer starts as the identity, so the flow
starts as the exact Gaussian field and learns only what is not Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..given import Conditions, Given
from ..layers import (
    NO_CONTEXT,
    ActNorm,
    AffineCoupling,
    Context,
    Gain,
    Mixing,
    SplineCoupling,
    squeeze,
    step_to_data,
    step_to_noise,
    unsqueeze,
)
from ..maps import GaussianField, wide
from ..nets import CouplingNet
from ..transform import KappaTransform
from .contract import channels_of, check_batch, check_draw, map_shape, register
from .haar_bands import cells_of, log_prob_of_bands

SCALES = ("fine", "middle", "coarse")  # the three levels of the flow, as its latents are split off


@register("flow")
class Flow(nn.Module):
    """A multi-scale normalizing flow for square maps.

    Args:
        n: pixels a side, a power of two from 16 to 256.
        transform: the fitted κ transform.
        base: Gaussian field fitted to the *transformed* maps; None for white noise.
        steps: actnorm – mixing – coupling steps a level (even, so that every channel is moved
            equally often).
        hidden: channels of the conditioners.
        network: builds a conditioner, ``network(inputs, outputs)``; by default a
            :class:`~lensnb.nets.CouplingNet`.
        coupling: ``"affine"``, or ``"spline"`` for monotonic rational-quadratic splines.
        bins: pieces of a spline.
        bound: splines act between −bound and bound, in standard deviations of a pixel.
        recompute: forget the conditioners' activations and compute them again for the gradient:
            less memory, a third more time, the same numbers.
        conditions: what the flow is conditioned on, fitted to the training set; None for nothing.
            Maps enter each conditioner at the resolution of its level, numbers at every pixel.

    Attributes:
        channels: channels of a map, those of ``transform`` and ``base``.
        given: the conditions by name.

    Raises:
        ValueError: ``n`` is not a power of two in that range, ``steps`` is odd, there is no such
            coupling, or transform and base have other channels.
    """

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None = None,
        base: GaussianField | None = None,
        steps: int = 8,
        hidden: int = 64,
        network: Callable[..., nn.Module] | None = None,
        coupling: str = "affine",
        bins: int = 8,
        bound: float = 6.0,
        recompute: bool = False,
        conditions: Conditions | None = None,
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
        self.n = n
        self.channels = channels_of("flow", transform=transform, base=base)
        self.conditions = conditions
        self.config = {
            "n": n,
            "channels": self.channels,
            "gaussian_base": base is not None,
            "steps": steps,
            "hidden": hidden,
            "coupling": coupling,
            "bins": bins,
            "bound": bound,
            "given": {} if conditions is None else conditions.config,
        }
        self.recompute = recompute  # not in the config: it changes nothing that a checkpoint keeps
        self.transform = KappaTransform.blank(self.channels) if transform is None else transform
        self.base = base
        self.gain = Gain(n, self.channels) if base is not None else None
        if network is None:
            numbers = 0 if conditions is None else conditions.numbers
            network = partial(CouplingNet, hidden=hidden, numbers=numbers)
        self.levels = nn.ModuleList()
        self.choose = (
            nn.ModuleList()
        )  # mixes the squeezed channels before half of them are split off
        for level, factor in enumerate((4, 8, 16)):
            channels = factor * self.channels
            self.choose.append(Mixing(channels if level == 0 else 2 * channels))
            couple = partial(couplings[coupling], extra=self._context_channels(level))
            chain = []
            for _ in range(steps):
                chain += [ActNorm(channels), Mixing(channels), couple(channels, network)]
            self.levels.append(nn.ModuleList(chain))

    @classmethod
    def from_config(cls, config: dict) -> Flow:
        """An untrained model of the same shape, for a checkpoint to fill."""
        n, channels = config["n"], config.get("channels", 1)  # not in the first files
        later = {key: config[key] for key in ("coupling", "bins", "bound") if key in config}
        return cls(
            n,
            KappaTransform.blank(channels),
            GaussianField.white(n, channels) if config["gaussian_base"] else None,
            config["steps"],
            config["hidden"],
            conditions=Conditions.from_config(config["given"]) if config.get("given") else None,
            **later,
        )

    @property
    def given(self) -> dict:
        """The conditions that the flow needs, by name."""
        return {} if self.conditions is None else self.conditions.known

    # ------------------------------------------------------------ conditions

    def _context_channels(self, level: int) -> int:
        """Channels of all conditions that are maps, at the resolution of a level."""
        side = self.n // 2 ** (level + 1)
        total = 0
        for condition in self.given.values():
            if condition.kind != "numbers":
                fold = max(1, condition.shape[-1] // side)
                total += condition.channels * fold**2
        return total

    def _contexts(self, given: Given) -> list[Context]:
        """What the conditioners of each level see of the conditions, finest level first."""
        if self.conditions is None:
            return [NO_CONTEXT] * 3
        numbers = self.conditions.as_numbers(given)
        maps = self.conditions.as_maps(given)
        dtype = self.levels[0][0].shift.dtype
        numbers = None if numbers is None else numbers.to(dtype)
        contexts = []
        for level in range(3):
            side = self.n // 2 ** (level + 1)
            parts = [_at_side(values, side).to(dtype) for values in maps]
            contexts.append(Context(torch.cat(parts, 1) if parts else None, numbers))
        return contexts

    # ------------------------------------------------------------ data and noise

    def latents(self, x: Tensor, given: Given | None = None) -> tuple[list[Tensor], Tensor]:
        """Transformed maps → latents and ln |det| ``(batch, 3)`` of the levels, finest first.

        Args:
            x: transformed maps, ``(batch, n, n)`` or ``(batch, channels, n, n)``.
            given: their conditions.
        """
        h = x if self.channels > 1 else x[:, None]
        log_dets = list(wide(x.new_zeros(3, len(x))))
        parts = []
        contexts = self._contexts(given or {})
        for level, (choose, chain) in enumerate(zip(self.choose, self.levels)):
            h, change = choose.to_noise(squeeze(h))
            finer = max(level - 1, 0)  # choosing what is split off belongs to the scale split off
            log_dets[finer] = log_dets[finer] + change
            if level > 0:  # the reference architecture squeezes, then splits
                h, out = h.chunk(2, 1)
                parts.append(out)
            for step in _steps(chain):
                h, change = self._step_to_noise(step, h, contexts[level])
                log_dets[level] = log_dets[level] + change
        return [*parts, h], torch.stack(log_dets, -1)

    def _step_to_noise(self, step: tuple, h: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(step_to_noise, *step, h, context, use_reentrant=False)
        return step_to_noise(*step, h, context)

    def assemble(self, parts: list[Tensor]) -> Tensor:
        """Put the latents back in their places: a latent map of the shape of a map."""
        fine, middle, coarse = parts
        h = unsqueeze(torch.cat([coarse, middle], 1))
        z = unsqueeze(unsqueeze(torch.cat([h, fine], 1)))
        return z if self.channels > 1 else z[:, 0]

    def take_apart(self, z: Tensor) -> list[Tensor]:
        """The inverse of :meth:`assemble`."""
        z = z if self.channels > 1 else z[:, None]
        h, fine = squeeze(squeeze(z)).chunk(2, 1)
        coarse, middle = squeeze(h).chunk(2, 1)
        return [fine, middle, coarse]

    def to_noise(self, kappa: Tensor, given: Given | None = None) -> tuple[Tensor, Tensor]:
        """κ-maps → latent maps of the same shape and ln |det ∂z/∂κ|, float64, ``(batch,)``."""
        parts, log_dets = self._parts(kappa, given)
        z, log_det = self.assemble(parts), log_dets.sum(-1)
        if self.gain is not None:
            z, change = self.gain.to_noise(z)
            log_det = log_det + change
        return z, log_det

    def _parts(self, kappa: Tensor, given: Given | None) -> tuple[list[Tensor], Tensor]:
        """κ-maps → latents before the gain, and ln |det| in κ units of each level, ``(batch, 3)``, finest first."""
        given = check_batch(self, kappa, given)
        parts, log_dets = self.latents(self.transform(kappa), given)
        first = torch.tensor([1, 0, 0], device=log_dets.device)
        return parts, log_dets + first * self.transform.log_det(kappa)[:, None]

    def to_data(self, z: Tensor, given: Given | None = None) -> Tensor:
        """Latent maps → κ-maps, the inverse of :meth:`to_noise`."""
        given = check_batch(self, z, given)
        contexts = self._contexts(given)
        parts = self.take_apart(z if self.gain is None else self.gain.to_data(z))
        h = parts.pop()
        for level in reversed(range(3)):
            for step in reversed(_steps(self.levels[level])):
                h = step_to_data(*step, h, contexts[level])
            if parts:
                h = torch.cat([h, parts.pop()], 1)
            h = unsqueeze(self.choose[level].to_data(h))
        return self.transform.inverse(h if self.channels > 1 else h[:, 0])

    # ------------------------------------------------------------ density

    def log_prob(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """ln p(κ), or ln p(κ | given), in nats and κ units, float64, shape ``(batch,)``."""
        parts, log_dets = self._parts(kappa, given)
        log_det = log_dets.sum(-1)
        if self.base is None:
            return log_det + sum(_log_normal(part) for part in parts)
        z = self.assemble(parts)
        if self.channels > 1:
            z, change = self.gain.to_noise(z)
            return log_det + change + self.base.log_prob(z)
        mean, variance = self._base()
        modes = torch.fft.rfft2(wide(z) - mean, norm="ortho")
        square = (modes.real.square() + modes.imag.square()) / variance
        quadratic = ((square + variance.log()) * self.base.multiplicity).sum((-2, -1))
        return log_det - 0.5 * (quadratic + self.n**2 * math.log(2 * math.pi))

    def log_prob_by_scale(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """The terms of ln p(κ) = ln p(fine | middle, coarse) + ln p(middle | coarse) + ln p(coarse).

        The scales are the three levels of the flow (Dai & Seljak 2024, arXiv:2306.04689, eq. 3):
        what the first two split off, and what remains. The Jacobian of the κ transform counts as
        fine.

        Args:
            kappa: κ-maps ``(batch, n, n)``.
            given: their conditions.

        Returns:
            Fine, middle, coarse, in nats, float64, shape ``(batch, 3)``; the sum is
            :meth:`log_prob`.

        Raises:
            ValueError: maps of several channels, with a Gaussian base.
        """
        parts, log_dets = self._parts(kappa, given)
        if self.base is None:
            return log_dets + torch.stack([_log_normal(part) for part in parts], -1)
        if self.channels > 1:
            raise ValueError(
                f"the likelihood by scale is for maps of one channel, and this flow has {self.channels}"
            )
        mean, variance = self._base()
        centred = self.take_apart(wide(self.assemble(parts)) - mean)
        # latents repeat their pattern every 8 pixels
        unit = wide(torch.eye(64, device=kappa.device)).reshape(64, 8, 8)
        haar = cells_of(self.take_apart(unit))
        return log_dets + log_prob_of_bands(variance, haar, cells_of(centred))

    def _base(self) -> tuple[Tensor, Tensor]:
        """Mean and mode variances of the latent map before the gain: a field with another spectrum."""
        gain = self.gain.per_mode()
        return self.base.mean / gain[0, 0], self.base.variance / gain.square()

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: Given | None = None
    ) -> Tensor:
        """Bits per dimension of κ-maps, a scalar."""
        pixels = math.prod(map_shape(self))
        return -self.log_prob(batch, given).mean() / (math.log(2) * pixels)

    # ------------------------------------------------------------ samples

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        batch: int = 64,
        given: Given | None = None,
    ) -> Tensor:
        """Draw ``n`` κ-maps, float32, shape ``(n, pixels, pixels)``, or with channels before the pixels.

        Args:
            n: number of maps.
            generator: source of randomness.
            temperature: scales the latents about their mean; 1 is the model's own distribution.
            batch: maps made at once; does not change the result.
            given: conditions, one value a map or one for all.
        """
        given = check_draw(self, n, given)
        device = self.transform.mean.device
        source = generator.device if generator else device
        white = torch.randn(n, *map_shape(self), generator=generator, device=source)
        white = temperature * white.to(device)
        z = white if self.base is None else self.base.colour(white)
        drawn = []
        for start in range(0, n, batch):
            part = slice(start, start + batch)
            conditions = {name: values[part].to(device) for name, values in given.items()}
            drawn.append(self.to_data(z[part], conditions))
        return torch.cat(drawn)

    @torch.no_grad()
    def path(self, kappa_a: Tensor, kappa_b: Tensor, steps: int) -> Tensor:
        """White latents from those of one map to those of another, along the great circle (Shoemake 1985).

        White latents of many pixels lie near a sphere, and so does the great circle between them;
        the straight line cuts through its inside, where the maps are too smooth.

        Args:
            kappa_a: the first map, ``(n, n)``.
            kappa_b: the last map, ``(n, n)``.
            steps: number of latents, both ends included.

        Returns:
            White latents, float64, shape ``(steps, n, n)``.
        """
        z, _ = self.to_noise(torch.stack([kappa_a, kappa_b]))
        a, b = wide(z if self.base is None else self.base.whiten(z))
        cosine = (a * b).sum() / (a.norm() * b.norm())
        angle = torch.arccos(cosine.clamp(-1, 1))
        t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)
        t = t[(..., *[None] * a.ndim)]
        if angle.sin() < 1e-6:  # one direction: the circle is a line
            return torch.lerp(a, b, t)
        weight_a = ((1 - t) * angle).sin()
        weight_b = (t * angle).sin()
        return (weight_a * a + weight_b * b) / angle.sin()

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


def _at_side(values: Tensor, side: int) -> Tensor:
    """Channels of a condition at another resolution: finer pixels folded into channels, coarser repeated.

    ``(batch, channels, m, m)`` → ``(batch, channels (m / side)², side, side)``, or ``(batch,
    channels, side, side)``.
    """
    m = values.shape[-1]
    if m >= side:
        return nn.functional.pixel_unshuffle(values, m // side)
    return nn.functional.interpolate(values, size=(side, side), mode="nearest")


def _log_normal(x: Tensor) -> Tensor:
    """ln of the standard normal density of everything in each map, float64, shape ``(batch,)``."""
    return -0.5 * (wide(x).square() + math.log(2 * math.pi)).flatten(1).sum(-1)
