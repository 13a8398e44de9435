"""A score-based (diffusion) model for convergence maps: the denoiser, its training, its samples and its likelihood.

Notation as in :mod:`lensnb.samplers`: y = T(κ) is a transformed map, x = y + σ n a noised one, and a denoiser D(x; σ)
estimates E[y | x]. Whatever a network F is taught to say, the denoiser is made of it by

    D(x; σ) = start(x; σ) + scale(σ) F(x; σ),        and F should say (y − start) / scale.

============  ========================  ==================  =========================================================
prediction    start                     scale               F should say
============  ========================  ==================  =========================================================
residual      C (C + σ²)⁻¹ x            c_out(σ)            what the Gaussian estimate misses
noise         x                         −σ                  n (Ho et al. 2020, arXiv:2006.11239)
data          0                         1                   y
v             x / (1 + σ²)              −σ / √(1 + σ²)      (n − σ y) / √(1 + σ²) (Salimans & Ho 2022, arXiv:2202.00512)
velocity      x / (1 + σ)               −σ / (1 + σ)        n − y, flow matching's (Lipman et al. 2023, arXiv:2210.02747)
============  ========================  ==================  =========================================================

The default is preconditioned by the exact denoiser of a Gaussian field with the spectrum of the data; its scale, c_out² =
mean over modes of λ σ² / (λ + σ²), gives F a target of unit variance at every σ, and F learns only what is not Gaussian
(the analytic Gaussian score plus a learned residual of Remy et al. 2022, arXiv:2201.05561). With a white field of unit
variance it is EDM's preconditioning (Karras et al. 2022, arXiv:2206.00364, table 1, σ_data = 1), which is "v" with the
sign of F turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..maps import GaussianField, wide
from ..nets import UNet
from ..samplers import (
    Denoise,
    MapNoise,
    exponential,
    karras_sigmas,
    stratified_ddpm_sigmas,
    stratified_flow_sigmas,
    stratified_sigmas,
)
from ..strength import Strength
from ..transform import KappaTransform

# D = skip x + scale F for the predictions that need no field: σ → (skip, scale)
SKIP_AND_SCALE: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "noise": lambda s: (torch.ones_like(s), -s),
    "data": lambda s: (torch.zeros_like(s), torch.ones_like(s)),
    "v": lambda s: (1 / (1 + s**2), -s / torch.sqrt(1 + s**2)),
    "velocity": lambda s: (1 / (1 + s), -s / (1 + s)),
}
LEVELS = ("lognormal", "linear", "cosine", "flow")


class Denoiser(nn.Module):
    """D(x; σ): a network around what is known without one.

    Args:
        network: ``network(inputs, condition)`` with two input channels, the noised map and its Gaussian estimate, and one
            output channel; ``network(inputs, condition, labels)`` where there are labels.
        gaussian: the field whose exact denoiser is the Gaussian estimate.
        prediction: what the network says: residual, noise, data, v or velocity.
    """

    def __init__(self, network: nn.Module, gaussian: GaussianField, prediction: str = "residual"):
        super().__init__()
        self.network = network
        self.gaussian = gaussian
        self.prediction = prediction

    def split(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Start and scale of D, and the network's inputs (of unit size), for ``(batch, n, n)`` and ``(batch,)``."""
        field, square = self.gaussian, (sigma**2).to(self.gaussian.variance.dtype)
        estimate = field.denoise(x, sigma)
        size_x = field.mode_mean(lambda v: v + square).sqrt()
        size_estimate = field.mode_mean(lambda v: v * v / (v + square)).sqrt()
        if self.prediction == "residual":
            start, scale = estimate, field.mode_mean(lambda v: v * square / (v + square)).sqrt()
        else:
            skip, scale = SKIP_AND_SCALE[self.prediction](sigma)
            start = skip.to(x.dtype)[:, None, None] * x
        size_x, size_estimate, scale = (
            s.to(x.dtype)[:, None, None] for s in (size_x, size_estimate, scale)
        )
        return start, scale, torch.stack([x / size_x, estimate / size_estimate], 1)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Estimate of the clean maps, shape and dtype of ``x``.

        Args:
            x: noised maps, shape ``(batch, n, n)``.
            sigma: their noise levels, shape ``(batch,)``.
            labels: what the network is told of them, shape ``(batch, labels)``, if it was taught with labels.
        """
        start, scale, inputs = self.split(x, sigma)
        return start + scale * self._network(inputs, sigma, labels).to(x.dtype)

    def given(self, labels: Tensor) -> Denoise:
        """The denoiser of maps whose labels are known, ``(x, sigma)`` → clean maps, with its ``gaussian``."""
        return _Given(self, labels)

    def residual(
        self, y: Tensor, x: Tensor, sigma: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the network says of ``x`` and what it should say, given the clean maps ``y``; both of the size of one."""
        start, scale, inputs = self.split(x, sigma)
        return self._network(inputs, sigma, labels), (y - start) / scale

    def _network(self, inputs: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        dtype = next(self.network.parameters(), inputs.new_empty(0)).dtype
        told = [sigma.log() / 4] if labels is None else [sigma.log() / 4, labels]
        return self.network(inputs.to(dtype), *(number.to(dtype) for number in told))[:, 0]


class _Given:
    """A denoiser with its labels."""

    def __init__(self, denoiser: Denoiser, labels: Tensor):
        self.denoiser, self.labels, self.gaussian = denoiser, labels, denoiser.gaussian

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoiser(x, sigma, self.labels)


class Diffusion(nn.Module):
    """A diffusion model for square maps.

    Args:
        n: pixels a side, at least 16 and (default U-Net) a multiple of 2 to the number of its levels.
        transform: the fitted κ transform.
        gaussian: Gaussian field fitted to the *transformed* maps, the preconditioner and starting point of the samplers;
            by default a white field of unit variance, which is EDM's preconditioning.
        channels: channels of the default U-Net's levels.
        network: another network for the :class:`Denoiser`.
        criterion: loss between what the network says and should say: ``F.mse_loss`` (L2, whose minimiser is the posterior
            mean that a sampler needs), ``F.l1_loss`` (the reference study's) or ``F.huber_loss``.
        sigma_range: lowest and highest noise level of the samplers, in units of the transformed maps' standard deviation.
        prediction: what the network says: ``"residual"``, ``"noise"``, ``"data"``, ``"v"`` or ``"velocity"``.
        levels: noise levels of the training: ``"lognormal"`` (EDM's, and flow matching's logit-normal t), ``"linear"`` or
            ``"cosine"`` (the 1000 timesteps of DDPM), or ``"flow"`` (flow matching's uniform t).
        log_mean: mean of ln σ of the lognormal levels.
        log_std: standard deviation of ln σ of the lognormal levels.
        unet: further options of the default :class:`~lensnb.nets.UNet`, such as ``{"padding": "circular", "attention": 2}``.
        strength: tells the network how strong the map is, which restores the scatter of spectra; None: it has to guess.

    Raises:
        ValueError: a side that the U-Net cannot halve; an unknown prediction or unknown levels.

    DDPM is ``prediction="noise", levels="linear"`` with :func:`~lensnb.samplers.ancestral`; flow matching is
    ``prediction="velocity", levels="flow"`` with :func:`~lensnb.samplers.euler`. Any sampler runs with any of them.
    """

    family = "diffusion"

    def __init__(
        self,
        n: int,
        transform: KappaTransform | None = None,
        gaussian: GaussianField | None = None,
        channels: Sequence[int] = (48, 64, 96),
        network: nn.Module | None = None,
        criterion: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
        sigma_range: tuple[float, float] = (0.03, 20.0),
        *,
        prediction: str = "residual",
        levels: str = "lognormal",
        log_mean: float = -0.5,
        log_std: float = 1.0,
        unet: dict | None = None,
        strength: Strength | None = None,
    ):
        super().__init__()
        unet = {} if unet is None else dict(unet)
        unit = (
            unet.get("patch", 2) * 2 ** (len(channels) - 1) if network is None else 1
        )  # it folds pixels, then halves
        if n % unit or n < 16:
            raise ValueError(
                f"the U-Net needs maps whose side is a multiple of {unit} and at least 16 pixels, found {n}"
            )
        _one_of("prediction", prediction, ("residual", *SKIP_AND_SCALE))
        _one_of("levels", levels, LEVELS)
        name = getattr(criterion, "__name__", type(criterion).__name__)
        self.config = {
            "n": n, "channels": list(channels), "sigma_range": list(sigma_range), "criterion": name,
            "prediction": prediction, "levels": levels, "log_mean": log_mean, "log_std": log_std, "unet": unet,
            "strength": None if strength is None else list(strength.labels.shape),
        }  # fmt: skip
        self.n = n
        self.transform = KappaTransform() if transform is None else transform
        gaussian = GaussianField(torch.ones(n, n // 2 + 1)) if gaussian is None else gaussian
        labels = 0 if strength is None else strength.bands
        network = (
            UNet(2, 1, tuple(channels), labels=labels, **unet) if network is None else network
        )
        self.strength = strength
        self.denoiser = Denoiser(network, gaussian, prediction)
        self.criterion = criterion
        self.sigma_range = tuple(sigma_range)

    @classmethod
    def from_config(cls, config: dict) -> Diffusion:
        """An untrained model of the same shape, for a checkpoint to fill; what an old checkpoint lacks is the default."""
        losses = {f.__name__: f for f in (F.mse_loss, F.l1_loss, F.huber_loss)}
        known, shape = (
            {"criterion": losses.get(config["criterion"], F.mse_loss)},
            config.get("strength"),
        )
        return cls(
            **config
            | known
            | {"strength": Strength.of_shape(config["n"], *shape) if shape else None}
        )

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean loss of κ-maps ``(batch, n, n)`` over the training's noise levels, a scalar.

        With the default prediction 1 is the Gaussian denoiser's L2; with another, the loss has other units.
        """
        self._check(batch)
        y = self.transform(batch)
        sigma = self._training_sigmas(len(y), generator).to(y.device, wide(y[:0]).dtype)
        device = generator.device if generator is not None else y.device
        noise = torch.randn(y.shape, generator=generator, device=device).to(y.device)
        labels = None
        if self.strength is not None:
            white = torch.randn(len(y), self.strength.bands, generator=generator, device=device)
            labels = self.strength.blur(self.strength(y), white)
        said, wanted = self.denoiser.residual(
            y, y + sigma.to(y.dtype)[:, None, None] * noise, sigma, labels
        )
        return self.criterion(said, wanted)

    def _training_sigmas(self, n: int, generator: torch.Generator | None) -> Tensor:
        levels = self.config["levels"]
        if levels == "lognormal":
            return stratified_sigmas(n, self.config["log_mean"], self.config["log_std"], generator)
        if levels == "flow":
            return stratified_flow_sigmas(n, generator)
        return stratified_ddpm_sigmas(n, levels, generator=generator)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        steps: int | Tensor = 12,
        sampler: Callable[..., Tensor] = exponential,
        batch: int = 64,
    ) -> Tensor:
        """Draw ``n`` κ-maps, float32, shape ``(n, pixels, pixels)``.

        Args:
            n: number of maps.
            generator: source of randomness; every map gets a seed of its own from it.
            steps: noise levels of the sampler: their number, spaced as in :func:`~lensnb.samplers.karras_sigmas`, or the
                falling levels themselves, such as ``ddpm_sigmas(250)`` or ``flow_sigmas(50)``.
            sampler: a sampler of :mod:`lensnb.samplers`, or a function of the same arguments.
            batch: maps made at once; does not change the result beyond rounding.
        """
        noise = MapNoise(n, generator)
        sigmas = steps if isinstance(steps, Tensor) else karras_sigmas(steps, *self.sigma_range)
        drawn = [
            self._sample_batch(noise[start : start + batch], sigmas, sampler)
            for start in range(0, n, batch)
        ]
        return torch.cat(drawn)

    def _sample_batch(
        self, noise: MapNoise, sigmas: Tensor, sampler: Callable[..., Tensor]
    ) -> Tensor:
        denoise = (
            self.denoiser
            if self.strength is None
            else self.denoiser.given(self.strength.sample(noise))
        )
        like = self.transform.mean  # float64: the sampler's state
        # the maps at the highest level are all but Gaussian: start from the Gaussian field's own distribution there
        x = self.denoiser.gaussian.colour(noise(self.n, like)) + float(sigmas[0]) * noise(
            self.n, like
        )
        return self.transform.inverse(sampler(denoise, x, sigmas, noise)).float()

    @torch.no_grad()
    def log_prob(
        self,
        kappa: Tensor,
        steps: int = 24,
        probes: int | None = 1,
        generator: torch.Generator | None = None,
        batch: int = 64,
    ) -> Tensor:
        """ln p(κ) in nats and κ units of the maps that the probability-flow ODE makes, float64, shape ``(batch,)``.

        Along the ODE the log-density falls by the divergence of its velocity (Song et al. 2021, arXiv:2011.13456, eq. 39).
        With D = W x + r as in :func:`~lensnb.samplers.exponential`, which carries the map from σ = 0 to the highest level,
        the Gaussian part of all that is the density of the whitened map in closed form, and what remains is r's,

            ln p(κ) = ln N(C^½ z; 0, C) − ∫ tr(∂r/∂x) dσ/σ + ln |det ∂y/∂κ|,    z = (C + σ²)^(−½) x at the highest level.

        So an untrained model has the Gaussian field's density in any number of steps. The trace is estimated as v·(∂r/∂x)v
        with random signs v, fresh at each level (Skilling 1989; Hutchinson 1990): without bias, with the variance
        2 Σ_{i≠j} A_ij² / probes, where A is the symmetric part of ∂r/∂x. Bits per dimension are −ln p / (n² ln 2); with
        one probe and 12 or 24 steps those of a 64² N-body map came out within 0.001, from both errors.

        A model that is told the strength s̃ of a map has p(κ) = ∫ p(κ | s̃) p(s̃) ds̃. From one draw of s̃ given the map comes
        ln p(κ | s̃) + ln p(s̃) − ln p(s̃ | κ), on average a lower bound, and equal to ln p(κ) if the model is right.

        Args:
            kappa: κ-maps, shape ``(batch, n, n)``.
            steps: noise levels of the integration, one call of the denoiser each; the error falls as 1 / steps².
            probes: random vectors a level, one backward pass each; None for the exact trace, n² backward passes.
            generator: source of the probes; every map gets a seed of its own from it.
            batch: maps at once.

        Raises:
            ValueError: maps of another size.
        """
        self._check(kappa)
        noise, sigmas = (
            MapNoise(len(kappa), generator),
            karras_sigmas(steps, *self.sigma_range).flip(0),
        )
        parts = (slice(start, start + batch) for start in range(0, len(kappa), batch))
        return torch.cat(
            [self._log_prob_batch(kappa[part], noise[part], sigmas, probes) for part in parts]
        )

    def _log_prob_batch(
        self, kappa: Tensor, noise: MapNoise, sigmas: Tensor, probes: int | None
    ) -> Tensor:
        field, y = self.denoiser.gaussian, self.transform(wide(kappa))
        denoise, told = self.denoiser, 0.0
        if self.strength is not None:
            known = self.strength(y)
            white = noise(math.isqrt(known.shape[1]) + 1, known).flatten(1)[:, : known.shape[1]]
            labels = self.strength.blur(known, white)
            denoise, told = denoise.given(labels), self.strength.log_ratio(labels, known)
        traced = _Traced(denoise, noise, probes)
        x = exponential(traced, y, sigmas)
        square = -((x - field.mean) * field.score(x, sigmas[-1].to(x))).sum((-2, -1))  # |z|²
        gaussian = -0.5 * square - field.log_det() - 0.5 * self.n**2 * math.log(2 * math.pi)
        traces, log_sigmas = torch.stack(traced.traces), sigmas[1:].log().to(x)
        # between 0 and the lowest level r grows as σ², as D = x + σ² ∇ ln p does
        volume = traces[0] / 2 + torch.trapezoid(traces, log_sigmas, dim=0)
        return gaussian - volume + told + self.transform.log_det(kappa)

    def _check(self, batch: Tensor) -> None:
        if batch.shape[-2:] != (self.n, self.n):
            found = " × ".join(map(str, batch.shape[-2:]))
            raise ValueError(
                f"the model was made for maps of {self.n} × {self.n} pixels, found {found}"
            )


class _Traced:
    """A denoiser that notes the trace of ∂r/∂x, of its part r that is not Gaussian, wherever it is called."""

    def __init__(self, denoise: Denoise, noise: MapNoise, probes: int | None):
        self.denoise, self.gaussian = denoise, denoise.gaussian
        self.noise, self.probes = noise, probes
        self.traces: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            clean = self.denoise(x, sigma)
            rest = clean - self.gaussian.denoise(x, sigma)
            products = (
                v * torch.autograd.grad(rest, x, v, retain_graph=True)[0] for v in self._vectors(x)
            )
            self.traces.append(sum(product.sum((-2, -1)) for product in products))
        return clean.detach()

    def _vectors(self, x: Tensor) -> Iterator[Tensor]:
        """Vectors v with Σ v vᵀ = 1, exactly or on average."""
        size = x.shape[-1]
        if self.probes is None:
            return (
                unit.expand_as(x) for unit in torch.eye(size**2).to(x).unflatten(1, (size, size))
            )
        return (self.noise(size, x).sign() / math.sqrt(self.probes) for _ in range(self.probes))


def _one_of(name: str, found: str, expected: Sequence[str]) -> None:
    if found not in expected:
        raise ValueError(f"{name} must be one of {', '.join(expected)}, found {found!r}")
