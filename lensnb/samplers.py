"""Noise levels and samplers of diffusion models, independent of any network.

Notation (Karras et al. 2022, "EDM", arXiv:2206.00364): y is a clean map, and n is white noise of
unit variance. All formulas use the *variance-exploding* coordinates

    x = y + σ n,      D(x; σ) = E[y | x],      ∇ ln p(x; σ) = (D(x; σ) − x) / σ²    (EDM eq. 3).

A sampler takes any callable ``denoise(x, sigma)``. So the exact Gaussian denoiser and a trained
one run through the same code. Other conventions use the same noised maps, scaled by a factor, and
another variable for the noise level:

    ==================  ==========================  =================  ============
    convention          its noised map              σ                  x
    ==================  ==========================  =================  ============
    DDPM, DDIM          √ᾱ y + √(1 − ᾱ) n           √((1 − ᾱ) / ᾱ)     x_VP √(1 + σ²)
    flow matching       (1 − t) y + t n             t / (1 − t)        x_t (1 + σ)
    EDM                 y + σ n                     σ                  x
    ==================  ==========================  =================  ============

So a network that was trained in one convention is a denoiser in all of them. Their samplers differ
in three things only: the noise levels, the rule for a step from one level to the next, and whether
fresh noise is added. All samplers solve the probability-flow ODE

    dx/dσ = (x − D(x; σ)) / σ    (EDM eq. 1; Song et al. 2021, arXiv:2011.13456, eq. 13)

or a stochastic process with the same densities. Two exact solutions are used as rules for a step:

* If D is constant, x_s = D + (σ_s / σ_t)(x_t − D). This is the step of DDIM and of DPM-Solver.
* For a Gaussian field whose Fourier modes have the variances λ, D = λ x / (λ + σ²). Then
  x / √(λ + σ²) is constant. :func:`exponential` uses this.

The levels of a sampler decrease from the highest one to 0. Samplers start from maps at the first
level, ``(batch, n, n)`` or ``(batch, channels, n, n)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .maps import GaussianModes
from .maps.grid import wide

Denoise = Callable[[Tensor, Tensor], Tensor]

# ---------------------------------------------------------------- noise levels of a sampler


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Noise levels of a sampler, from ``sigma_max`` down to ``sigma_min`` and then 0 (EDM eq. 5).

    The levels are evenly spaced in σ^(1/ρ).

    Args:
        steps: number of steps.
        sigma_min: lowest level above 0.
        sigma_max: highest level.
        rho: ρ; a larger value puts more levels at low noise.

    Returns:
        σ, float64, shape ``(steps + 1,)``.

    Raises:
        ValueError: fewer than 2 steps.
    """
    if steps < 2:
        raise ValueError(f"a sampler needs at least 2 steps, found {steps}")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    highest = sigma_max ** (1 / rho)
    lowest = sigma_min ** (1 / rho)
    sigmas = (highest + ramp * (lowest - highest)) ** rho
    return torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])


def ddpm_sigmas(steps: int, schedule: str = "linear", T: int = 1000) -> Tensor:
    """Noise levels at ``steps`` timesteps of DDPM, evenly spaced from T down to 1, and then 0.

    Args:
        steps: number of steps. ``steps = T`` uses every level, for which :func:`ancestral` was
            designed.
        schedule: ``"linear"`` or ``"cosine"``, see :func:`ddpm_levels`.
        T: number of timesteps in the schedule.

    Returns:
        σ, float64, shape ``(steps + 1,)``.

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

    At t = 1 nothing of the map is left (σ = ∞). So these levels start as high as the other
    schedules, where the maps are almost Gaussian.

    Returns:
        σ = t / (1 − t), float64, shape ``(steps + 1,)``.

    Raises:
        ValueError: fewer than 2 steps.
    """
    if steps < 2:
        raise ValueError(f"a sampler needs at least 2 steps, found {steps}")
    t = torch.linspace(sigma_max / (1 + sigma_max), 0, steps + 1, dtype=torch.float64)
    return t / (1 - t)


def ddpm_levels(schedule: str = "linear", T: int = 1000) -> Tensor:
    """σ at the timesteps 1 … T of DDPM, increasing, float64, shape ``(T,)``.

    Args:
        schedule: ``"linear"`` (Ho et al. 2020, arXiv:2006.11239, §4) or ``"cosine"`` (Nichol &
            Dhariwal 2021, arXiv:2102.09672, eq. 17). In the linear schedule, β goes from 1e-4 to
            0.02 if T = 1000; for another T both numbers are multiplied by 1000 / T.
        T: number of timesteps.

    Raises:
        ValueError: an unknown schedule, or fewer than 25 timesteps.
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


# ---------------------------------------------------------------- noise levels of a training


def stratified_sigmas(
    n: int, log_mean: float = -0.5, log_std: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Lognormal noise levels for a training batch, stratified, in random order; shape ``(n,)``.

    The distribution is EDM's (its table 1). It is cut into n parts of equal probability, and one
    level is drawn from each. This makes the variance of the loss small (after Kingma et al. 2021,
    arXiv:2107.00630, app. I.1).

    The defaults cover σ from 0.1 to 4 standard deviations of the map. At these levels a denoiser
    of κ-maps can be better than the Gaussian one. The logit-normal t of flow matching (Esser et
    al. 2024, arXiv:2403.03206, §3.1) is the same distribution, since ln σ = ln t − ln(1 − t) is
    normal.

    Args:
        n: number of levels.
        log_mean: mean of ln σ.
        log_std: standard deviation of ln σ.
        generator: source of randomness.
    """
    share = _strata(n, generator).clamp(1e-6, 1 - 1e-6)
    return torch.exp(log_mean + log_std * torch.special.ndtri(share))


def stratified_ddpm_sigmas(
    n: int, schedule: str = "linear", T: int = 1000, generator: torch.Generator | None = None
) -> Tensor:
    """Noise levels of uniform DDPM timesteps, stratified, in random order; shape ``(n,)``.

    The timesteps t ∈ {1, …, T} are drawn one from each n-th of the range.
    """
    u = _strata(n, generator)
    t = (u * T).long().clamp(max=T - 1)  # counted from 0
    return ddpm_levels(schedule, T).to(u)[t]


def stratified_flow_sigmas(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Noise levels σ = t / (1 − t) of uniform flow-matching times, stratified; shape ``(n,)``.

    The times t are drawn from (0.001, 0.999), one from each n-th of the interval, in random order.
    The ends are left out, because there a float32 map has lost either the noise or the map.
    """
    t = 0.001 + 0.998 * _strata(n, generator)
    return t / (1 - t)


def _strata(n: int, generator: torch.Generator | None) -> Tensor:
    """One uniform number from each n-th of (0, 1), in random order, float64."""
    device = _device_of(generator)
    order = torch.randperm(n, generator=generator, device=device)
    inside = torch.rand(n, generator=generator, device=device)
    return wide((order + inside) / n)


def _device_of(generator: torch.Generator | None) -> torch.device | None:
    """The device on which a generator draws; None stands for the default device."""
    if generator is None:
        return None
    return generator.device


# ---------------------------------------------------------------- noise


class MapNoise:
    """White noise with one generator for each map, so that maps do not depend on their batch.

    A slice of it is the noise of some of the maps, started again from the beginning. The
    generators are made at their first use, so the noise of many maps takes no memory.

    Args:
        n: number of maps.
        generator: draws one seed for each map; None uses the global generator.
    """

    def __init__(self, n: int, generator: torch.Generator | None = None):
        device = _device_of(generator)
        self.seeds = torch.randint(2**62, (n,), generator=generator, device=device).cpu()
        self.generators: list[torch.Generator] = []

    def __getitem__(self, part: slice) -> MapNoise:
        view = object.__new__(MapNoise)
        view.seeds = self.seeds[part]
        view.generators = []
        return view

    def __call__(self, shape: int | Sequence[int], like: Tensor) -> Tensor:
        """Draw white maps; each call continues the random numbers of the one before.

        Args:
            shape: shape of one map, or the pixels a side of a square map.
            like: a tensor of the dtype and device that the result should have.

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
    """Keep the denoised map constant over each step: x_s = D + (σ_s / σ_t)(x_t − D). First order.

    This is DDIM with η = 0 (Song, Meng & Ermon 2021, arXiv:2010.02502, eq. 12). It is also Euler's
    method in σ, and Euler's method in the t of flow matching. In these coordinates the three are
    the same. The cost is ``len(sigmas) - 1`` calls of the denoiser.

    Args:
        denoise: ``denoise(x, sigma)`` with one σ for each map.
        x: maps at noise level ``sigmas[0]``, shape ``(batch, n, n)`` or ``(batch, channels, n,
            n)``.
        sigmas: decreasing noise levels that end in 0.
        noise: not used; all samplers have this argument.

    Returns:
        Maps without noise, shape and dtype of ``x``.
    """
    for sigma, following in pairwise(sigmas.tolist()):
        clean = _at(denoise, x, sigma)
        x = clean + following / sigma * (x - clean)
    return x


@torch.no_grad()
def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise | None = None) -> Tensor:
    """Solve dx/dσ = (x − D(x; σ)) / σ by Heun's method (EDM algorithm 1). Second order.

    The arguments and the result are those of :func:`euler`. The cost is ``2 * len(sigmas) - 3``
    calls of the denoiser."""
    for sigma, following in pairwise(sigmas.tolist()):
        x = _heun_step(denoise, x, sigma, following)
    return x


@torch.no_grad()
def stochastic(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise, churn: float = 0.3
) -> Tensor:
    """Heun's method with fresh noise before each step (EDM algorithm 2, S_noise = 1). First order.

    The other arguments and the result are those of :func:`euler`. The cost is that of
    :func:`heun`.

    Args:
        denoise, x, sigmas: as for :func:`euler`.
        noise: source of the added noise.
        churn: γ; the noise raises the level from σ to (1 + γ) σ, where the step starts.
    """
    for sigma, following in pairwise(sigmas.tolist()):
        raised = sigma * (1 + churn)
        x = x + math.sqrt(raised**2 - sigma**2) * noise(x.shape[1:], x)
        x = _heun_step(denoise, x, raised, following)
    return x


@torch.no_grad()
def ancestral(denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise) -> Tensor:
    """DDPM's sampler: draw x_s from its distribution given x_t and y = D. First order.

    In these coordinates (Ho et al. 2020, arXiv:2006.11239, eqs 6–7)

        x_s = D + (σ_s² / σ_t²)(x_t − D) + σ_s √(1 − σ_s² / σ_t²) n.

    The arguments, the result and the cost are those of :func:`euler`. ``noise`` is the source of
    n."""
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
    """DPM-Solver++ (2M): Euler's step with an extrapolated denoised map. Second order.

    The denoised map is extrapolated to the middle of the step in ln σ (Lu et al. 2022,
    arXiv:2211.01095, algorithm 2, whose λ is −ln σ here). The first step is Euler's, and so is the
    last one, because ln σ is not finite at σ = 0. The arguments, the result and the cost are those
    of :func:`euler`."""
    before = None
    length_before = math.inf
    for sigma, following in pairwise(sigmas.tolist()):
        now = _at(denoise, x, sigma)
        clean = now
        length = math.inf
        if following > 0:
            length = math.log(sigma / following)
            if before is not None:
                clean = now + length / (2 * length_before) * (now - before)
        x = clean + following / sigma * (x - clean)
        before = now
        length_before = length
    return x


@torch.no_grad()
def exponential(
    denoise: Denoise, x: Tensor, sigmas: Tensor, noise: MapNoise | None = None
) -> Tensor:
    """An integrator that is exact for the Gaussian part of the denoiser, else of second order.

    Write D = W x + r, where W is the exact denoiser of the Gaussian field ``denoise.gaussian``.
    For a Fourier mode of variance λ define the whitened mode z = x / √(λ + σ²) and the angle θ =
    arctan(σ / √λ). Then the probability-flow ODE becomes

        dz/dθ = −f,        f = r √(λ + σ²) / (√λ σ).

    The force f is of order one at all levels. It vanishes at σ = 0, where a map is its own
    denoised map. Each step predicts z by the two-step Adams–Bashforth rule, calls the denoiser
    there, and corrects z by the trapezoid rule. This is an exponential integrator as in Lu et al.
    2022 (arXiv:2211.01095) and Zhao et al. 2023 ("UniPC", arXiv:2302.04867), with the Gaussian
    score as its linear part.

    The levels may also increase, from data (σ = 0) to noise. With a small U-Net trained on N-body
    maps, 6 calls came within 0.7 % (rms) of the exact solution. Heun's method needed 47 calls to
    come within 0.8 %.

    The arguments, the result and the cost are those of :func:`euler`. ``denoise.gaussian`` must be
    a field such as :class:`lensnb.maps.GaussianField`.

    Raises:
        ValueError: the denoiser has no Gaussian field ``gaussian``.
    """
    modes = WhitenedModes(denoise, x.dtype)
    levels = sigmas.tolist()
    z = modes.of(x, levels[0])
    f = modes.force(z, levels[0])
    trend = 0.0  # df/dθ, not known before the first step
    for sigma, following in pairwise(levels):
        turn = modes.turn(sigma, following)
        predicted = z - turn * (f + turn / 2 * trend)
        f_next = modes.force(predicted, following)
        z = z - turn * (f + f_next) / 2
        trend = (f_next - f) / turn
        f = f_next
    return modes.maps(z, levels[-1])


class WhitenedModes:
    """The modes z, the angle θ and the force f of :func:`exponential`.

    A noise level is a number, or a tensor without axes.

    Args:
        denoise: a denoiser with a Gaussian field ``gaussian``.
        dtype: precision of the maps.

    Raises:
        ValueError: the denoiser has no Gaussian field.
    """

    def __init__(self, denoise: Denoise, dtype: torch.dtype):
        field = getattr(denoise, "gaussian", None)
        if not isinstance(field, GaussianModes):
            raise ValueError(
                "the exponential sampler needs a denoiser with a Gaussian part, "
                "such as a GaussianField, as its `gaussian`"
            )
        self.denoise = denoise
        self.field = field
        self.dtype = dtype
        self.root = field.eigenvalues.sqrt()  # √λ

    def _size(self, sigma: float | Tensor) -> Tensor:
        """√(λ + σ²)"""
        return torch.hypot(self.root, torch.as_tensor(sigma, dtype=self.root.dtype))

    def of(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Maps at a noise level → z."""
        return self.field.modes(x) / self._size(sigma)

    def maps(self, z: Tensor, sigma: float | Tensor) -> Tensor:
        """The inverse of :meth:`of`."""
        return self.field.from_modes(z * self._size(sigma)).to(self.dtype)

    def turn(self, sigma: float | Tensor, following: float | Tensor) -> Tensor:
        """The step in θ between two noise levels."""
        return torch.atan(following / self.root) - torch.atan(sigma / self.root)

    def force(
        self, z: Tensor, sigma: float | Tensor, told: float | Tensor | None = None
    ) -> Tensor:
        """f, which vanishes at σ = 0.

        Args:
            z: modes.
            sigma: their noise level.
            told: the noise level that the network is told, if it is another one.
        """
        if sigma == 0:
            return torch.zeros_like(z)
        if told is None:
            told = sigma
        here = self.maps(z, sigma)
        level = torch.as_tensor(told, dtype=here.dtype, device=here.device).expand(len(here))
        rest = self.denoise(here, level) - self.field.denoise(here, told)  # r
        return self.field.modes(rest, centred=True) * (self._size(sigma) / (self.root * sigma))


def _at(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    """The denoised maps, all at the same noise level."""
    sigmas = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
    return denoise(x, sigmas)


def _heun_step(denoise: Denoise, x: Tensor, sigma: float, following: float) -> Tensor:
    """A step of Heun's method; the last step, to σ = 0, is Euler's."""
    step = following - sigma
    slope = (x - _at(denoise, x, sigma)) / sigma
    moved = x + step * slope
    if following == 0:
        return moved
    slope_there = (moved - _at(denoise, moved, following)) / following
    return x + step * (slope + slope_there) / 2
