"""Noise levels and samplers of diffusion models; they know nothing of networks.

Notation (Karras et al. 2022, "EDM", arXiv:2206.00364): y is a clean map, n white noise of unit variance, and everything
is stated in the *variance-exploding* coordinates

    x = y + σ n,        D(x; σ) = E[y | x],        ∇ ln p(x; σ) = (D(x; σ) − x) / σ²    (EDM eq. 3).

A sampler takes any callable ``denoise(x, sigma)``, so the exact Gaussian denoiser runs through the code of the trained
one. The other conventions are the same maps, scaled, and the same noise level under another name:

    ==================  ==========================  =================  ============
    convention          its noised map              σ                  x
    ==================  ==========================  =================  ============
    DDPM, DDIM          √ᾱ y + √(1 − ᾱ) n           √((1 − ᾱ) / ᾱ)     x_VP √(1 + σ²)
    flow matching       (1 − t) y + t n             t / (1 − t)        x_t (1 + σ)
    EDM                 y + σ n                     σ                  x
    ==================  ==========================  =================  ============

so a network trained under one convention is a denoiser under all, and its samplers differ in three things only: the
levels at which they stop, the rule from one level to the next, and whether fresh noise comes in. All follow

    dx/dσ = (x − D(x; σ)) / σ        (the probability-flow ODE, EDM eq. 1; Song et al. 2021, arXiv:2011.13456, eq. 13)

or a stochastic process with the same densities. Two exact solutions serve as rules. A constant D gives
x_s = D + (σ_s / σ_t)(x_t − D), the step of DDIM and of DPM-Solver. A Gaussian field, whose Fourier modes have variances λ
and D = λ x / (λ + σ²), only shrinks: x / √(λ + σ²) stays as it is. :func:`exponential` builds on that.

Step schedules fall from the highest level to 0; samplers start from a map at the first level, ``(batch, n, n)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .maps import GaussianField
from .maps.grid import wide

Denoise = Callable[[Tensor, Tensor], Tensor]

# ---------------------------------------------------------------- the levels of a sampler


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Noise levels of a sampler, from ``sigma_max`` down to ``sigma_min`` and then 0 (EDM eq. 5).

    Returns:
        σ, float64, shape ``(steps + 1,)``.
    """
    if steps < 2:
        raise ValueError(f"a sampler needs at least 2 steps, found {steps}")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    sigmas = (
        sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))
    ) ** rho
    return torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])


def ddpm_sigmas(steps: int, schedule: str = "linear", T: int = 1000) -> Tensor:
    """Noise levels at ``steps`` timesteps of DDPM, evenly spaced from T down to 1, and then 0.

    Returns:
        σ, float64, shape ``(steps + 1,)``; ``steps = T`` visits every level, as :func:`ancestral` was made for.

    Raises:
        ValueError: more steps than timesteps, or fewer than 2; see also :func:`ddpm_levels`.
    """
    if not 2 <= steps <= T:
        raise ValueError(
            f"a sampler on the {T} timesteps of DDPM takes from 2 to {T} steps, found {steps}"
        )
    t = torch.linspace(T, 1, steps, dtype=torch.float64).round().long()
    return torch.cat([ddpm_levels(schedule, T)[t - 1], torch.zeros(1, dtype=torch.float64)])


def flow_sigmas(steps: int, sigma_max: float = 20.0) -> Tensor:
    """Noise levels at uniform times t of flow matching, from t = σ_max / (1 + σ_max) down to 0.

    At t = 1 no map is left (σ = ∞). The start is as high as the other schedules', where maps are all but Gaussian.

    Returns:
        σ = t / (1 − t), float64, shape ``(steps + 1,)``.
    """
    if steps < 2:
        raise ValueError(f"a sampler needs at least 2 steps, found {steps}")
    t = torch.linspace(sigma_max / (1 + sigma_max), 0, steps + 1, dtype=torch.float64)
    return t / (1 - t)


def ddpm_levels(schedule: str = "linear", T: int = 1000) -> Tensor:
    """σ at the timesteps 1 … T of DDPM, rising, float64, shape ``(T,)``.

    Args:
        schedule: ``"linear"``, β from 1e-4 to 0.02 when T = 1000 and 1000 / T times that otherwise (Ho et al. 2020,
            arXiv:2006.11239, §4), or ``"cosine"`` (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17).
        T: number of timesteps.

    Raises:
        ValueError: another schedule, or too small a T.
    """
    if T < 25:
        raise ValueError(f"the schedules of DDPM need at least 25 timesteps, found {T}")
    if schedule == "linear":
        beta = torch.linspace(0.1, 20, T, dtype=torch.float64) / T
    elif schedule == "cosine":
        u = torch.linspace(0, 1, T + 1, dtype=torch.float64)
        kept = torch.cos((u + 0.008) / 1.008 * math.pi / 2).square()
        beta = (1 - kept[1:] / kept[:-1]).clamp(max=0.999)
    else:
        raise ValueError(f"DDPM has the schedules linear and cosine, found {schedule!r}")
    alpha_bar = torch.cumprod(1 - beta, 0)
    return ((1 - alpha_bar) / alpha_bar).sqrt()


# ---------------------------------------------------------------- the levels of a training


def stratified_sigmas(
    n: int, log_mean: float = -0.5, log_std: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Noise levels for a training batch: lognormal, one in each n-th of the distribution, in random order; shape ``(n,)``.

    The lognormal is EDM's (its table 1); one draw a stratum gives a low-variance estimate of the loss over all levels
    (after Kingma et al. 2021, arXiv:2107.00630, app. I.1). The defaults cover the levels at which a κ-map can be guessed
    better than its Gaussian estimate: σ from 0.1 to 4 of the map's standard deviation. Flow matching's logit-normal t
    (Esser et al. 2024, arXiv:2403.03206, §3.1) is the same thing: ln σ = ln t − ln(1 − t) is normal.
    """
    return torch.exp(
        log_mean + log_std * torch.special.ndtri(_strata(n, generator).clamp(1e-6, 1 - 1e-6))
    )


def stratified_ddpm_sigmas(
    n: int, schedule: str = "linear", T: int = 1000, generator: torch.Generator | None = None
) -> Tensor:
    """Noise levels of uniform DDPM timesteps t ∈ {1, …, T}, one in each n-th, in random order; shape ``(n,)``."""
    u = _strata(n, generator)
    t = (u * T).long().clamp(max=T - 1)  # counted from 0
    return ddpm_levels(schedule, T).to(u)[t]


def stratified_flow_sigmas(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Noise levels σ = t / (1 − t) of flow-matching times, uniform in (0.001, 0.999), one in each n-th; shape ``(n,)``.

    The ends are left out: beyond them a float32 map has lost either the noise or the map.
    """
    t = 0.001 + 0.998 * _strata(n, generator)
    return t / (1 - t)


def _strata(n: int, generator: torch.Generator | None) -> Tensor:
    """One uniform number in each n-th of (0, 1), in random order, float64."""
    device = generator.device if generator is not None else None
    u = (
        torch.randperm(n, generator=generator, device=device)
        + torch.rand(n, generator=generator, device=device)
    ) / n
    return wide(u)


# ---------------------------------------------------------------- noise


class MapNoise:
    """White noise with a generator for each map, so that a map does not depend on the batch it is made in.

    A slice is the noise of some of the maps, from its beginning; generators are made when they are first used, so that
    the noise of many maps takes no memory.

    Args:
        n: number of maps.
        generator: draws the seeds; None draws them from the global generator.
    """

    def __init__(self, n: int, generator: torch.Generator | None = None):
        device = generator.device if generator is not None else None
        self.seeds = torch.randint(2**62, (n,), generator=generator, device=device).cpu()
        self.generators: list[torch.Generator] = []

    def __getitem__(self, part: slice) -> MapNoise:
        view = object.__new__(MapNoise)
        view.seeds, view.generators = self.seeds[part], []
        return view

    def __call__(self, shape: int | Sequence[int], like: Tensor) -> Tensor:
        """White maps; other ones at each call.

        Args:
            shape: of one map, or the pixels a side of a square one.
            like: decides dtype and device.

        Returns:
            Shape ``(n, *shape)``.
        """
        if not self.generators:
            self.generators = [torch.Generator().manual_seed(seed) for seed in self.seeds.tolist()]
        if isinstance(shape, int):
            shape = (shape, shape)
        draws = [torch.randn(*shape, generator=g, dtype=torch.float64) for g in self.generators]
        return torch.stack(draws).to(like)


# ---------------------------------------------------------------- samplers


@torch.no_grad()
def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise | None = None) -> Tensor:
    """Take the denoised map as constant over each step: x_s = D + (σ_s / σ_t)(x_t − D).

    This is DDIM with η = 0 (Song, Meng & Ermon 2021, arXiv:2010.02502, eq. 12), Euler's method in σ, and Euler's method
    in t of flow matching: in these coordinates they are one. First order.

    Args:
        denoise: ``denoise(x, sigma)`` with one σ a map.
        x: maps at noise level ``sigmas[0]``, shape ``(batch, n, n)``.
        sigmas: falling noise levels that end in 0.
        noise: not used; every sampler takes it.

    Returns:
        Noise-free maps, shape and dtype of ``x``. Costs ``len(sigmas) - 1`` calls of the denoiser.
    """
    for sigma, following in pairwise(sigmas.tolist()):
        clean = _at(denoise, x, sigma)
        x = clean + following / sigma * (x - clean)
    return x


@torch.no_grad()
def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise | None = None) -> Tensor:
    """Follow dx/dσ = (x − D(x; σ)) / σ by Heun's method (EDM algorithm 1). Second order.

    Arguments and result as for :func:`euler`. Costs ``2 * len(sigmas) - 3`` calls of the denoiser.
    """
    for sigma, following in pairwise(sigmas.tolist()):
        x = _heun_step(denoise, x, sigma, following)
    return x


@torch.no_grad()
def stochastic(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise, churn: float = 0.3
) -> Tensor:
    """Heun's method with fresh noise before each step (EDM algorithm 2, S_noise = 1). First order.

    Arguments and result as for :func:`euler`, and:

    Args:
        noise: source of the added noise.
        churn: γ; a step starts from (1 + γ) σ.
    """
    for sigma, following in pairwise(sigmas.tolist()):
        raised = sigma * (1 + churn)
        x = x + math.sqrt(raised**2 - sigma**2) * noise(x.shape[1:], x)
        x = _heun_step(denoise, x, raised, following)
    return x


@torch.no_grad()
def ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise) -> Tensor:
    """DDPM's sampler: draw x_s from its distribution given x_t and y = D (Ho et al. 2020, eqs 6–7). First order.

    In these coordinates x_s = D + (σ_s² / σ_t²)(x_t − D) + σ_s √(1 − σ_s² / σ_t²) n. Arguments, result and cost as for
    :func:`euler`; ``noise`` is the source of n.
    """
    for sigma, following in pairwise(sigmas.tolist()):
        clean = _at(denoise, x, sigma)
        kept = (following / sigma) ** 2
        x = clean + kept * (x - clean)
        if following > 0:
            x = x + following * math.sqrt(1 - kept) * noise(x.shape[1:], x)
    return x


@torch.no_grad()
def dpm_solver(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise | None = None
) -> Tensor:
    """DPM-Solver++ (2M): the step of :func:`euler`, with the denoised map extrapolated to the middle of it in ln σ.

    Lu et al. 2022, arXiv:2211.01095, algorithm 2, whose λ is −ln σ here. The first and the last step (to σ = 0, where
    ln σ ends) are Euler's. Second order. Arguments, result and cost as for :func:`euler`.
    """
    before = length_before = None
    for sigma, following in pairwise(sigmas.tolist()):
        now = clean = _at(denoise, x, sigma)
        length = math.log(sigma / following) if following > 0 else math.inf
        if before is not None and following > 0:
            clean = now + length / (2 * length_before) * (now - before)
        x = clean + following / sigma * (x - clean)
        before, length_before = now, length
    return x


@torch.no_grad()
def exponential(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise | None = None
) -> Tensor:
    """An integrator that is exact for the Gaussian part of the denoiser, and of second order for the rest.

    Write D = W x + r with the exact denoiser W of the Gaussian field ``denoise.gaussian``. For a Fourier mode of variance λ
    put z = x / √(λ + σ²), the whitened mode, and the angle θ = arctan(σ / √λ). The probability-flow ODE becomes

        dz/dθ = −f,        f = r √(λ + σ²) / (√λ σ),

    in which f is of order one at all levels and vanishes at σ = 0, where a map is its own denoised map. Each step
    predicts z by the two-step Adams–Bashforth rule, calls the denoiser there, and corrects by the trapezoid rule
    (an exponential integrator as in Lu et al. 2022 and Zhao et al. 2023, "UniPC", arXiv:2302.04867, with the Gaussian
    score as its linear part). The levels may also rise, from data (σ = 0) to noise. With a small U-Net trained on N-body
    maps, 6 calls came within 0.7 % (rms) of the exact flow, where Heun's method took 47 to come within 0.8 %.

    Arguments, result and cost as for :func:`euler`; ``denoise.gaussian`` is a :class:`lensnb.maps.GaussianField`.

    Raises:
        ValueError: the denoiser does not say what its Gaussian part is.
    """
    field = getattr(denoise, "gaussian", None)
    if not isinstance(field, GaussianField):
        raise ValueError(
            "the exponential sampler needs a denoiser with a Gaussian part, a GaussianField `gaussian`"
        )
    root = field.eigenvalues.sqrt()  # √λ
    levels = sigmas.tolist()

    def size(sigma: float) -> Tensor:
        return torch.hypot(root, root.new_tensor(sigma))  # √(λ + σ²)

    def force(z: Tensor, sigma: float) -> Tensor:
        if sigma == 0:
            return torch.zeros_like(z)
        here = field.from_modes(z * size(sigma)).to(x.dtype)
        rest = _at(denoise, here, sigma) - field.denoise(here, sigma)
        return field.modes(rest, centred=True) * (size(sigma) / (root * sigma))

    z = field.modes(x) / size(levels[0])
    f = force(z, levels[0])
    trend = 0.0
    for sigma, following in pairwise(levels):
        turn = torch.atan(following / root) - torch.atan(sigma / root)
        predicted = z - turn * (f + turn / 2 * trend)
        f_next = force(predicted, following)
        z = z - turn * (f + f_next) / 2
        trend = (f_next - f) / turn
        f = f_next
    return field.from_modes(z * size(levels[-1])).to(x.dtype)


def _at(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    return denoise(x, torch.full((len(x),), sigma, dtype=x.dtype, device=x.device))


def _heun_step(denoise: Denoise, x: Tensor, sigma: float, following: float) -> Tensor:
    step = following - sigma
    slope = (x - _at(denoise, x, sigma)) / sigma
    moved = x + step * slope
    if following == 0:
        return moved
    slope_there = (moved - _at(denoise, moved, following)) / following
    return x + step * (slope + slope_there) / 2
