"""A normalizing flow for convergence maps: invertible, with an exact likelihood.

Notation: κ is a map, x = T(κ) its transform, and z the latent map. The direction from data to
noise is called ``to_noise``. The likelihood follows from the change of variables,

    ln p(κ) = ln p_base(z) + Σ ln |det ∂z/∂x| + ln |det ∂x/∂κ|,

and the loss is bits per dimension, −log₂ p(κ) / n². The architecture is that of the reference flow
for κ-maps (Armijo, Thiele & Liu 2026, arXiv:2601.20669, after Glow, Kingma & Dhariwal 2018):

    1×n² → 4×(n/2)² → (squeeze, split) 8×(n/4)² → (squeeze, split) 16×(n/8)².

Each level is a chain of actnorm, invertible 1×1 convolution and coupling (:mod:`lensnb.layers`).
The squeeze is the orthonormal Haar transform, so the channels are scales. A split takes half of
the channels out: they become latents of this scale. The other, coarser half continues to the next
level. So the likelihood is a product over scales, each given the coarser scales.

In the end all latents are put back in their places, which gives a latent map z. Its base is white
noise, or a Gaussian field with the correlations of the data (Rouhiainen, Giri & Münchmeyer 2021,
arXiv:2105.12024) after a learned gain for each annulus of |ℓ|. Every layer starts as the identity.
So the flow starts as the exact Gaussian field, and learns only what is not Gaussian. The field is
periodic in the reference; here it can be a cut-out of the sky (:class:`lensnb.maps.CutOutField`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..given import Condition, Conditions, Given
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
from ..maps import BandField, GaussianModes
from ..maps.grid import wide
from ..nets import CouplingNet
from ..transform import KappaTransform
from .contract import (
    blank_field,
    channels_of,
    check_batch,
    check_draw,
    in_batches,
    map_shape,
    register,
)
from .haar_bands import cells_of, log_prob_of_bands, log_prob_of_cut_out_bands

SCALES = ("fine", "middle", "coarse")  # of the latents, in the order in which they are split off


_HOTTEST = 10  # highest temperature; the latents are then ten times as far out as in training


@register("flow")
class Flow(nn.Module):
    """A multi-scale normalizing flow for square maps.

    Args:
        n: pixels a side, a power of two from 16 to 256.
        transform: the fitted κ transform.
        base: Gaussian field fitted to the *transformed* maps, such as by
            :func:`lensnb.maps.fit_field`, or a :class:`lensnb.maps.BandField`, whose band powers
            have the scatter of true maps; None for white noise.
        steps: steps in each level, where a step is actnorm, mixing and coupling. It must be even,
            so that all channels are transformed equally often.
        hidden: hidden channels of the conditioners.
        network: builds a conditioner, ``network(inputs, outputs)``; by default a
            :class:`~lensnb.nets.CouplingNet`.
        coupling: ``"affine"``, or ``"spline"`` for monotonic rational-quadratic splines.
        bins: bins of a spline.
        bound: splines act between −bound and bound, in standard deviations of a pixel.
        recompute: do not store the activations of the conditioners, but compute them again for the
            gradient. This needs less memory and a third more time, and gives the same numbers.
        conditions: what the flow is conditioned on, fitted to the training set; None for nothing.
            Conditioners get maps at the resolution of their level, and numbers at every pixel.

    Attributes:
        channels: channels of a map, those of ``transform`` and ``base``.
        given: the conditions by name.

    Raises:
        ValueError: ``n`` is not such a power of two, ``steps`` is odd, the coupling is unknown, or
            ``transform`` and ``base`` have different channels. A condition is a map whose pixels
            cannot be averaged or repeated to those of every level.
    """

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None = None,
        base: GaussianModes | None = None,
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
                "the flow needs maps whose side is a power of two from 16 to 256 pixels, "
                f"found {n}"
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
        if transform is None:
            transform = KappaTransform.blank(self.channels)
        if conditions is None:
            conditions = Conditions({})
        for name, condition in conditions.maps.items():
            _check_resolution(name, condition.shape[-1], n)
        self.conditions = conditions
        self.config = {
            "n": n,
            "channels": self.channels,
            "base": getattr(base, "kind", None),
            "steps": steps,
            "hidden": hidden,
            "coupling": coupling,
            "bins": bins,
            "bound": bound,
            "given": conditions.config,
        }
        self.recompute = recompute  # not in the config: checkpoints do not depend on it
        self.transform = transform
        self.base = base
        self.gain = None
        if base is not None:
            self.gain = Gain(base)
        if network is None:
            network = partial(CouplingNet, hidden=hidden, numbers=conditions.numbers)
        self.levels = nn.ModuleList()
        self.choose = nn.ModuleList()  # mixes the squeezed channels, before half are split off
        for level, factor in enumerate((4, 8, 16)):
            channels = factor * self.channels
            squeezed = channels
            if level > 0:
                squeezed = 2 * channels  # half of them are split off
            self.choose.append(Mixing(squeezed))
            couple = partial(couplings[coupling], extra=self._context_channels(level))
            chain = []
            for _ in range(steps):
                chain += [ActNorm(channels), Mixing(channels), couple(channels, network)]
            self.levels.append(nn.ModuleList(chain))

    @classmethod
    def from_config(cls, config: dict) -> Flow:
        """An untrained model of the same shape, for a checkpoint to fill."""
        n = config["n"]
        channels = config.get("channels", 1)  # the first files do not have it
        later = {key: config[key] for key in ("coupling", "bins", "bound") if key in config}
        kind = config.get("base")
        if config.get("gaussian_base"):  # older files
            kind = "periodic"
        base = None
        if kind is not None:
            base = blank_field(kind, n, channels)
        return cls(
            n,
            KappaTransform.blank(channels),
            base,
            config["steps"],
            config["hidden"],
            conditions=Conditions.from_config(config.get("given", {})),
            **later,
        )

    @property
    def given(self) -> dict[str, Condition]:
        """The conditions that the flow needs, by name."""
        return self.conditions.known

    # ------------------------------------------------------------ conditions

    def _context_channels(self, level: int) -> int:
        """Channels of all conditions that are maps, at the resolution of a level."""
        side = self._side(level)
        total = 0
        for condition in self.conditions.maps.values():
            fold = max(1, condition.shape[-1] // side)
            total += condition.channels * fold**2
        return total

    def _side(self, level: int) -> int:
        """Pixels a side of the squeezed maps of a level."""
        return self.n // 2 ** (level + 1)

    def _contexts(self, given: Given) -> list[Context]:
        """The conditions as the conditioners of each level get them, finest level first."""
        if not self.given:
            return [NO_CONTEXT] * 3
        dtype = self._dtype()
        numbers = self.conditions.as_numbers(given)
        if numbers is not None:
            numbers = numbers.to(dtype)
        maps = self.conditions.as_maps(given)
        contexts = []
        for level in range(3):
            channels = None
            if maps:
                parts = [_at_side(values, self._side(level)).to(dtype) for values in maps]
                channels = torch.cat(parts, 1)
            contexts.append(Context(channels, numbers))
        return contexts

    def _dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.levels[0][0].shift.dtype

    # ------------------------------------------------------------ data and noise

    def latents(self, x: Tensor, given: Given | None = None) -> tuple[list[Tensor], Tensor]:
        """Transformed maps → latents, and ln |det| ``(batch, 3)`` of the levels, finest first.

        Args:
            x: transformed maps, ``(batch, n, n)`` or ``(batch, channels, n, n)``.
            given: their conditions.
        """
        h = self._with_channels(x)
        log_dets = list(wide(x.new_zeros(3, len(x))))
        parts = []
        contexts = self._contexts(given or {})
        for level, (choose, chain) in enumerate(zip(self.choose, self.levels)):
            h, change = choose.to_noise(squeeze(h))
            # This mixing decides what is split off, so it belongs to the finer scale.
            finer = max(level - 1, 0)
            log_dets[finer] = log_dets[finer] + change
            if level > 0:  # the reference architecture squeezes first, then splits
                h, out = h.chunk(2, 1)
                parts.append(out)
            for step in _steps(chain):
                h, change = self._step_to_noise(step, h, contexts[level])
                log_dets[level] = log_dets[level] + change
        return [*parts, h], torch.stack(log_dets, -1)

    def _with_channels(self, maps: Tensor) -> Tensor:
        """Maps as ``(batch, channels, n, n)``, also if they have one channel."""
        if self.channels == 1:
            return maps[:, None]
        return maps

    def _without_channels(self, maps: Tensor) -> Tensor:
        """The inverse of :meth:`_with_channels`."""
        if self.channels == 1:
            return maps[:, 0]
        return maps

    def _step_to_noise(self, step: tuple, h: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(step_to_noise, *step, h, context, use_reentrant=False)
        return step_to_noise(*step, h, context)

    def assemble(self, parts: list[Tensor]) -> Tensor:
        """Put the latents back in their places, which gives latent maps of the shape of maps."""
        fine, middle, coarse = parts
        h = unsqueeze(torch.cat([coarse, middle], 1))
        z = unsqueeze(unsqueeze(torch.cat([h, fine], 1)))
        return self._without_channels(z)

    def take_apart(self, z: Tensor) -> list[Tensor]:
        """The inverse of :meth:`assemble`."""
        h, fine = squeeze(squeeze(self._with_channels(z))).chunk(2, 1)
        coarse, middle = squeeze(h).chunk(2, 1)
        return [fine, middle, coarse]

    def to_noise(self, kappa: Tensor, given: Given | None = None) -> tuple[Tensor, Tensor]:
        """κ-maps → latent maps of the same shape and ln |det ∂z/∂κ|, float64, ``(batch,)``."""
        parts, log_dets = self._parts(kappa, given)
        z = self.assemble(parts)
        log_det = log_dets.sum(-1)
        if self.gain is not None:
            z = self.gain.to_noise(z, self.base)
            log_det = log_det + self.gain.log_det()
        return z, log_det

    def _parts(self, kappa: Tensor, given: Given | None) -> tuple[list[Tensor], Tensor]:
        """κ-maps → latents before the gain, and ln |det| of each level in κ units.

        The second has the shape ``(batch, 3)``, finest level first. The κ transform counts as
        fine.
        """
        given = check_batch(self, kappa, given)
        parts, log_dets = self.latents(self.transform(kappa), given)
        first = torch.tensor([1, 0, 0], device=log_dets.device)
        return parts, log_dets + first * self.transform.log_det(kappa)[:, None]

    def to_data(self, z: Tensor, given: Given | None = None) -> Tensor:
        """Latent maps → κ-maps, the inverse of :meth:`to_noise`."""
        given = check_batch(self, z, given)
        contexts = self._contexts(given)
        parts = self.take_apart(self._before_gain(z))
        h = parts.pop()
        for level in reversed(range(3)):
            for step in reversed(_steps(self.levels[level])):
                h = step_to_data(*step, h, contexts[level])
            if parts:
                h = torch.cat([h, parts.pop()], 1)
            h = unsqueeze(self.choose[level].to_data(h))
        return self.transform.inverse(self._without_channels(h))

    def _before_gain(self, z: Tensor) -> Tensor:
        """Latent maps before the gain; a flow with a white base has none."""
        if self.gain is None:
            return z
        return self.gain.to_data(z, self.base)

    def _after_gain(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`_before_gain`."""
        if self.gain is None:
            return z
        return self.gain.to_noise(z, self.base)

    def _coloured(self, white: Tensor) -> Tensor:
        """White latents → latent maps with the spectrum of the base."""
        if self.base is None:
            return white
        return self.base.colour(white)

    def _whitened(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`_coloured`."""
        if self.base is None:
            return z
        return self.base.whiten(z)

    # ------------------------------------------------------------ density

    def log_prob(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """ln p(κ), or ln p(κ | given), in nats and κ units, float64, shape ``(batch,)``."""
        parts, log_dets = self._parts(kappa, given)
        log_det = log_dets.sum(-1)
        if self.base is None:
            return log_det + sum(_log_normal(part) for part in parts)
        # the gain and the density with one transform
        gained = self.base.to_plain(self.assemble(parts)) * self.gain.per_mode()
        modes = self.base.mixed(gained - self.base.to_plain(self.base.mean_map()))
        return log_det + self.gain.log_det() + self.base.log_prob_of_modes(modes)

    def log_prob_by_scale(self, kappa: Tensor, given: Given | None = None) -> Tensor:
        """ln p(κ) as a sum over scales, each given the coarser ones.

            ln p(κ) = ln p(fine | middle, coarse) + ln p(middle | coarse) + ln p(coarse)

        The scales are the three levels of the flow (Dai & Seljak 2024, arXiv:2306.04689, eq. 3):
        the latents that the first two levels split off, and those that remain. The Jacobian of the
        κ transform counts as fine.

        Args:
            kappa: κ-maps ``(batch, n, n)``.
            given: their conditions.

        Returns:
            Fine, middle, coarse, in nats, float64, shape ``(batch, 3)``; the sum is
            :meth:`log_prob`.

        Raises:
            ValueError: maps of several channels, or a base with band powers.
        """
        parts, log_dets = self._parts(kappa, given)
        if self.base is None:
            return log_dets + torch.stack([_log_normal(part) for part in parts], -1)
        if self.channels > 1:
            raise ValueError(
                "the likelihood by scale is for maps of one channel, "
                f"and this flow has {self.channels}"
            )
        if isinstance(self.base, BandField):
            raise ValueError(
                "the likelihood by scale is for a flow with a Gaussian base, "
                "and the base of this one has band powers of its own"
            )
        # Before the gain, the base is a Gaussian field with other variances of its modes.
        variance = self.base.eigenvalues / self.gain.per_mode().square()
        mean = self._before_gain(self.base.mean_map())
        centred = self.take_apart(wide(self.assemble(parts)) - mean)
        if self.base.kind == "cut-out":
            return log_dets + log_prob_of_cut_out_bands(
                self.base, variance, self.take_apart, centred
            )
        # The pattern of the latents repeats every 8 pixels.
        unit = wide(torch.eye(64, device=kappa.device)).reshape(64, 8, 8)
        haar = cells_of(self.take_apart(unit))
        return log_dets + log_prob_of_bands(variance, haar, cells_of(centred))

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
        """Draw ``n`` κ-maps.

        Args:
            n: number of maps.
            generator: source of randomness.
            temperature: scales the latents about their mean; 1 is the distribution of the model.
            batch: maps made at once; does not change the result.
            given: conditions, one value for each map or one for all.

        Returns:
            κ, float32, shape ``(n, pixels, pixels)`` or ``(n, channels, pixels, pixels)``.

        Raises:
            ValueError: conditions that are not those of the model; a temperature that is negative,
                or far above 1.
        """
        given = check_draw(self, n, given)
        if not 0 <= temperature <= _HOTTEST:
            raise ValueError(
                f"temperature must be between 0 and {_HOTTEST}, found {temperature}; "
                "1 is the distribution of the model"
            )
        device = self.transform.mean.device
        source = device
        if generator is not None:
            source = generator.device
        white = torch.randn(n, *map_shape(self), generator=generator, device=source)
        z = self._coloured(temperature * white.to(device))
        drawn = []
        for part, conditions in in_batches(n, batch, given, device):
            drawn.append(self.to_data(z[part], conditions))
        return torch.cat(drawn)

    @torch.no_grad()
    def path(self, kappa_a: Tensor, kappa_b: Tensor, steps: int) -> Tensor:
        """Interpolate between the white latents of two maps along a great circle (Shoemake 1985).

        White latents of many pixels lie close to a sphere, and so does the great circle between
        two of them. The straight line goes through the inside of the sphere, where maps are too
        smooth.

        Args:
            kappa_a: the first map, ``(n, n)``.
            kappa_b: the last map, ``(n, n)``.
            steps: number of latents, both ends included.

        Returns:
            White latents, float64, shape ``(steps, n, n)``.
        """
        z, _ = self.to_noise(torch.stack([kappa_a, kappa_b]))
        a, b = wide(self._whitened(z))
        cosine = (a * b).sum() / (a.norm() * b.norm())
        angle = torch.arccos(cosine.clamp(-1, 1))
        t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)
        t = t.reshape(-1, *[1] * a.ndim)
        if angle.sin() < 1e-6:  # both have the same direction, and the circle is a line
            return torch.lerp(a, b, t)
        weight_a = ((1 - t) * angle).sin()
        weight_b = (t * angle).sin()
        return (weight_a * a + weight_b * b) / angle.sin()

    @torch.no_grad()
    def with_scales(self, white: Tensor, scales: Sequence[str] = SCALES) -> Tensor:
        """The maps of white latents, where the latents of some scales may be set to zero.

        Args:
            white: white latents, ``(batch, n, n)``.
            scales: the scales to keep, of ``"fine"``, ``"middle"`` and ``"coarse"``.

        Returns:
            κ-maps in the precision of the model, shape ``(batch, n, n)``.
        """
        z = self._coloured(white).to(self._dtype())
        if set(scales) != set(SCALES):
            parts = self.take_apart(self._before_gain(z))
            kept = [(name in scales) * part for name, part in zip(SCALES, parts)]
            z = self._after_gain(self.assemble(kept))
        return self.to_data(z)

    def interpolate(self, kappa_a: Tensor, kappa_b: Tensor, steps: int) -> Tensor:
        """Interpolate between two maps along :meth:`path`, through maps that are all typical.

        Args:
            kappa_a: the first map, ``(n, n)``.
            kappa_b: the last map, ``(n, n)``.
            steps: number of maps, both ends included.

        Returns:
            κ-maps, shape ``(steps, n, n)``.
        """
        return self.with_scales(self.path(kappa_a, kappa_b, steps))


def _steps(chain: nn.ModuleList) -> list[tuple[nn.Module, ...]]:
    """The steps of a level, each with its actnorm, mixing and coupling."""
    return list(zip(chain[::3], chain[1::3], chain[2::3]))


def _check_resolution(name: str, side: int, n: int) -> None:
    """Refuse a condition whose pixels do not fit those of a level of a flow for ``n`` pixels."""
    for level_side in (n // 2, n // 4, n // 8):
        if side % level_side and level_side % side:
            raise ValueError(
                f"the condition {name} has maps of {side}² pixels, which do not fit a flow for "
                f"{n}²; expected {n // 8}, {n // 4}, {n // 2} or {n} pixels a side"
            )


def _at_side(values: Tensor, side: int) -> Tensor:
    """Channels of a condition at another resolution, ``(batch, channels, m, m)`` → ``side``.

    Finer pixels are folded into channels, ``(batch, channels (m / side)², side, side)``. Coarser
    pixels are repeated, ``(batch, channels, side, side)``.
    """
    m = values.shape[-1]
    if m >= side:
        return nn.functional.pixel_unshuffle(values, m // side)
    return nn.functional.interpolate(values, size=(side, side), mode="nearest")


def _log_normal(x: Tensor) -> Tensor:
    """ln of the standard normal density of all values of a map, float64, shape ``(batch,)``."""
    return -0.5 * (wide(x).square() + math.log(2 * math.pi)).flatten(1).sum(-1)
