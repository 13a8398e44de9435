"""A score-based (diffusion) model for convergence maps: noise levels, denoiser and samplers, kept apart.

Notation (Karras et al. 2022, "EDM", arXiv:2206.00364): y = T(κ) is a transformed map, x = y + σ n a noised one with white
noise n. A denoiser D(x; σ) estimates E[y | x]; the score is ∇ ln p(x; σ) = (D(x; σ) − x) / σ² (EDM eq. 3). A sampler
takes *any* callable ``denoise(x, sigma)``, so the exact Gaussian denoiser runs through the code of the trained one.

The network is preconditioned by the exact denoiser of a Gaussian field with the spectrum of the data,

    D(x; σ) = C (C + σ²)⁻¹ x + c_out(σ) F(x; σ),   c_out² = mean over modes of λ σ² / (λ + σ²),

(the analytic Gaussian score plus a learned residual of Remy et al. 2022, arXiv:2201.05561), so that F has a target of
unit variance at every σ and learns only what is not Gaussian. With a white field of unit variance this is EDM's own
preconditioning (σ_data = 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..maps import GaussianField, wide
from ..nets import UNet
from ..transform import KappaTransform

Denoise = Callable[[Tensor, Tensor], Tensor]

# ---------------------------------------------------------------- noise levels


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Noise levels of a sampler, from ``sigma_max`` down to ``sigma_min`` and then 0 (EDM eq. 5).

    Returns:
        σ, float64, shape ``(steps + 1,)``.
    """
    if steps < 2:
        raise ValueError(f"a sampler needs at least 2 steps, found {steps}")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    sigmas = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])


def stratified_sigmas(
    n: int, log_mean: float = -0.5, log_std: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Noise levels for a training batch: lognormal, one in each n-th of the distribution, in random order; shape ``(n,)``.

    The lognormal is EDM's (its table 1); one draw a stratum gives a low-variance estimate of the loss over all levels
    (after Kingma et al. 2021, arXiv:2107.00630, app. I.1). The defaults cover the levels at which a κ-map can be guessed
    better than its Gaussian estimate: σ from 0.1 to 4 of the map's standard deviation.
    """
    device = generator.device if generator is not None else None
    u = (torch.randperm(n, generator=generator, device=device) + torch.rand(n, generator=generator, device=device)) / n
    return torch.exp(log_mean + log_std * torch.special.ndtri(wide(u).clamp(1e-6, 1 - 1e-6)))


class MapNoise:
    """White noise with a generator for each map, so that a map does not depend on the batch it is made in.

    Args:
        n: number of maps.
        generator: draws the seeds; None draws them from the global generator.
    """

    def __init__(self, n: int, generator: torch.Generator | None = None):
        device = generator.device if generator is not None else None
        seeds = torch.randint(2**62, (n,), generator=generator, device=device).tolist()
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __getitem__(self, part: slice) -> MapNoise:
        view = object.__new__(MapNoise)
        view.generators = self.generators[part]
        return view

    def __call__(self, size: int, like: Tensor) -> Tensor:
        """White maps ``(n, size, size)`` of the dtype and on the device of ``like``."""
        draws = [torch.randn(size, size, generator=g, dtype=torch.float64) for g in self.generators]
        return torch.stack(draws).to(like)


# ---------------------------------------------------------------- samplers


@torch.no_grad()
def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise | None = None) -> Tensor:
    """Follow the probability-flow ODE dx/dσ = (x − D(x; σ)) / σ from σ₀ to 0 by Heun's method (EDM algorithm 1).

    Args:
        denoise: ``denoise(x, sigma)`` with one σ a map.
        x: maps at noise level ``sigmas[0]``, shape ``(batch, n, n)``.
        sigmas: falling noise levels that end in 0.
        noise: not used; every sampler takes it.

    Returns:
        Noise-free maps, shape and dtype of ``x``. Costs ``2 * len(sigmas) - 3`` calls of the denoiser.
    """
    for sigma, next_sigma in zip(sigmas[:-1], sigmas[1:]):
        x = _heun_step(denoise, x, float(sigma), float(next_sigma))
    return x


@torch.no_grad()
def stochastic(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise, churn: float = 0.3) -> Tensor:
    """Heun's method with fresh noise before each step (EDM algorithm 2, S_noise = 1).

    Args:
        denoise: ``denoise(x, sigma)`` with one σ a map.
        x: maps at noise level ``sigmas[0]``, shape ``(batch, n, n)``.
        sigmas: falling noise levels that end in 0.
        noise: source of the added noise.
        churn: γ; a step starts from (1 + γ) σ.

    Returns:
        Noise-free maps, shape and dtype of ``x``.
    """
    for sigma, next_sigma in zip(sigmas[:-1], sigmas[1:]):
        raised = float(sigma) * (1 + churn)
        x = x + math.sqrt(raised**2 - float(sigma) ** 2) * noise(x.shape[-1], x)
        x = _heun_step(denoise, x, raised, float(next_sigma))
    return x


def _heun_step(denoise: Denoise, x: Tensor, sigma: float, next_sigma: float) -> Tensor:
    level = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
    slope = (x - denoise(x, level)) / sigma
    moved = x + (next_sigma - sigma) * slope
    if next_sigma == 0:
        return moved
    level = torch.full_like(level, next_sigma)
    return x + (next_sigma - sigma) * (slope + (moved - denoise(moved, level)) / next_sigma) / 2


# ---------------------------------------------------------------- denoiser and model


class Denoiser(nn.Module):
    """D(x; σ): a network around the exact denoiser of a Gaussian field.

    Args:
        network: ``network(inputs, condition)`` with two input channels and one output channel.
        gaussian: the field whose exact denoiser is the starting point.
    """

    def __init__(self, network: nn.Module, gaussian: GaussianField):
        super().__init__()
        self.network = network
        self.gaussian = gaussian

    def split(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The Gaussian estimate, its residual's scale c_out, and the network's inputs, for ``(batch, n, n)`` and ``(batch,)``."""
        field, square = self.gaussian, (sigma**2).to(self.gaussian.variance.dtype)
        estimate = field.denoise(x, sigma)
        size_x = field.mode_mean(lambda v: v + square).sqrt()
        size_estimate = field.mode_mean(lambda v: v * v / (v + square)).sqrt()
        c_out = field.mode_mean(lambda v: v * square / (v + square)).sqrt()
        size_x, size_estimate, c_out = (s.to(x.dtype)[:, None, None] for s in (size_x, size_estimate, c_out))
        return estimate, c_out, torch.stack([x / size_x, estimate / size_estimate], 1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Noised maps ``(batch, n, n)`` at levels ``(batch,)`` → estimate of the clean maps, shape and dtype of ``x``."""
        estimate, c_out, inputs = self.split(x, sigma)
        return estimate + c_out * self._network(inputs, sigma).to(x.dtype)

    def residual(self, y: Tensor, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """What the network says of ``x`` and what it should say, given the clean maps ``y``; both of unit size."""
        estimate, c_out, inputs = self.split(x, sigma)
        return self._network(inputs, sigma), (y - estimate) / c_out

    def _network(self, inputs: Tensor, sigma: Tensor) -> Tensor:
        dtype = next(self.network.parameters(), inputs.new_empty(0)).dtype
        return self.network(inputs.to(dtype), sigma.log().to(dtype) / 4)[:, 0]


class Diffusion(nn.Module):
    """A diffusion model for square maps.

    Args:
        n: pixels a side, at least 16 and a multiple of 2 to the number of the default U-Net's levels.
        transform: the fitted κ transform.
        gaussian: Gaussian field fitted to the *transformed* maps, the preconditioner and starting point of the samplers;
            by default a white field of unit variance, which is EDM's preconditioning.
        channels: channels of the default U-Net's levels.
        network: another network, ``network(inputs, condition)`` with two input channels and one output channel.
        criterion: loss between what the network says and should say: ``F.mse_loss`` (L2, whose minimiser is the posterior
            mean that a sampler needs), ``F.l1_loss`` (the reference study's) or ``F.huber_loss``.
        sigma_range: lowest and highest noise level of the samplers, in units of the transformed maps' standard deviation.
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
    ):
        super().__init__()
        unit = 2 ** len(channels) if network is None else 1  # the U-Net folds 2 × 2 pixels, then halves at each level
        if n % unit or n < 16:
            raise ValueError(
                f"the U-Net needs maps whose side is a multiple of {unit} and at least 16 pixels, found {n}"
            )
        name = getattr(criterion, "__name__", type(criterion).__name__)
        self.config = {"n": n, "channels": list(channels), "sigma_range": list(sigma_range), "criterion": name}
        self.n = n
        self.transform = KappaTransform() if transform is None else transform
        gaussian = GaussianField(torch.ones(n, n // 2 + 1)) if gaussian is None else gaussian
        self.denoiser = Denoiser(UNet(2, 1, tuple(channels)) if network is None else network, gaussian)
        self.criterion = criterion
        self.sigma_range = tuple(sigma_range)

    @classmethod
    def from_config(cls, config: dict) -> Diffusion:
        """An untrained model of the same shape, for a checkpoint to fill."""
        losses = {f.__name__: f for f in (F.mse_loss, F.l1_loss, F.huber_loss)}
        criterion = losses.get(config["criterion"], F.mse_loss)
        return cls(config["n"], channels=config["channels"], sigma_range=config["sigma_range"], criterion=criterion)

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mean loss of κ-maps ``(batch, n, n)`` over lognormal noise levels, a scalar; 1 is the Gaussian denoiser's L2."""
        if batch.shape[-2:] != (self.n, self.n):
            found = " × ".join(map(str, batch.shape[-2:]))
            raise ValueError(f"the model was made for maps of {self.n} × {self.n} pixels, found {found}")
        y = self.transform(batch)
        sigma = stratified_sigmas(len(y), generator=generator).to(y.device)
        device = generator.device if generator is not None else y.device
        noise = torch.randn(y.shape, generator=generator, device=device).to(y.device)
        said, wanted = self.denoiser.residual(y, y + sigma.to(y.dtype)[:, None, None] * noise, sigma)
        return self.criterion(said, wanted)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        generator: torch.Generator | None = None,
        steps: int = 24,
        sampler: Callable[..., Tensor] = heun,
        batch: int = 64,
    ) -> Tensor:
        """Draw ``n`` κ-maps, float32, shape ``(n, pixels, pixels)``.

        Args:
            n: number of maps.
            generator: source of randomness; every map gets a seed of its own from it.
            steps: noise levels of the sampler.
            sampler: :func:`heun` or :func:`stochastic`, or a function of the same arguments.
            batch: maps made at once; does not change the result beyond rounding.
        """
        noise = MapNoise(n, generator)
        sigmas = karras_sigmas(steps, *self.sigma_range)
        drawn = [self._sample_batch(noise[start : start + batch], sigmas, sampler) for start in range(0, n, batch)]
        return torch.cat(drawn)

    def _sample_batch(self, noise: MapNoise, sigmas: Tensor, sampler: Callable[..., Tensor]) -> Tensor:
        like = self.transform.mean  # float64: the sampler's state
        # the maps at the highest level are all but Gaussian: start from the Gaussian field's own distribution there
        x = self.denoiser.gaussian.colour(noise(self.n, like)) + float(sigmas[0]) * noise(self.n, like)
        return self.transform.inverse(sampler(self.denoiser, x, sigmas, noise)).float()
