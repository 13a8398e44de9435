"""A sampler with few calls of the network, whose numbers are learned from fine trajectories.

The steps are those of :func:`lensnb.samplers.exponential`. With its modes z, force f and angle θ,
step i from the level σ_i to σ_{i+1} predicts and corrects

    z* = z − Δθ (a_i f_i + b_i Δθ ∂f/∂θ),        z ← z − Δθ (c_i f_i + d_i f_{i+1}),

where f_{i+1} comes from a call of the network at z*, which is told the level e^{t_{i+1}} σ_{i+1}.
The exponential sampler has a = 1, b = c = d = ½ and t = 0. Here all of these and the levels σ_i
are learned: maps that start from the same noise should end where a sampler with many levels ends
(Tong et al. 2025, arXiv:2405.15506, who learn the levels and what the network is told; Bespoke
solvers, Shaul et al. 2024, arXiv:2310.19075, who learn the rule of the step). These are seven
numbers a call, so a hundred trajectories are enough. The network itself does not change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..samplers import Denoise, MapNoise, WhitenedModes, exponential, karras_sigmas

_FINE = 48  # levels of the trajectories to learn from


class FewCalls(nn.Module):
    """A sampler with learned levels and rules, for :meth:`lensnb.models.Diffusion.sample`.

        few = FewCalls(4, model.sigma_range)
        ...                                     # learn
        maps = model.sample(100, steps=few.sigmas(), sampler=few)

    Args:
        calls: calls of the network for a map, at least 2.
        sigma_range: lowest and highest level to begin with.

    Raises:
        ValueError: fewer than 2 calls.
    """

    def __init__(self, calls: int, sigma_range: tuple[float, float] = (0.03, 20.0)):
        super().__init__()
        levels = karras_sigmas(calls, *sigma_range)[:-1]
        self.register_buffer("highest", levels[0].clone())
        self.log_ratio = nn.Parameter(-levels.log().diff())  # ln σ_i / σ_{i+1}
        self.told = nn.Parameter(torch.zeros(calls, dtype=torch.float64))
        rule = torch.tensor([1, 0.5, 0.5, 0.5], dtype=torch.float64)
        self.rules = nn.Parameter(rule.repeat(calls, 1))  # a, b, c, d of each step

    @property
    def calls(self) -> int:
        """Calls of the network for a map."""
        return len(self.told)

    def sigmas(self) -> Tensor:
        """The levels, from the highest one to 0, float64, shape ``(calls + 1,)``."""
        ratios = torch.cat([self.log_ratio.new_zeros(1), self.log_ratio.cumsum(0)])
        return torch.cat([self.highest * (-ratios).exp(), self.highest.new_zeros(1)])

    def forward(
        self, denoise: Denoise, x: Tensor, sigmas: Tensor | None = None, noise: MapNoise = None
    ) -> Tensor:
        """Maps without noise; the arguments are those of the other samplers.

        Args:
            denoise: a denoiser with a Gaussian field.
            x: maps at the highest level.
            sigmas, noise: not used.
        """
        modes = WhitenedModes(denoise, x.dtype)
        levels = self.sigmas().to(modes.root)
        told = self.told.exp().to(levels)
        z = modes.of(x, levels[0])
        f = modes.force(z, levels[0], told[0] * levels[0])
        trend = 0.0
        rules = self.rules.to(levels)
        for i in range(self.calls - 1):
            a, b, c, d = rules[i]
            turn = modes.turn(levels[i], levels[i + 1])
            predicted = z - turn * (a * f + b * turn * trend)
            f_next = modes.force(predicted, levels[i + 1], told[i + 1] * levels[i + 1])
            z = z - turn * (c * f + d * f_next)
            trend = (f_next - f) / turn
            f = f_next
        turn = modes.turn(levels[-2], levels[-1])
        _, b, c, _ = rules[-1]  # at σ = 0 there is no force
        z = z - turn * (c * f + (b - 0.5) * turn * trend)
        return modes.maps(z, levels[-1])


def learn_few_calls(
    model: nn.Module,
    calls: int = 4,
    maps: int = 128,
    rounds: int = 200,
    batch: int = 16,
    rate: float = 0.01,
    generator: torch.Generator | None = None,
) -> FewCalls:
    """Learn a sampler with few calls for a trained diffusion model; its weights do not change.

    The loss is the mean squared distance, over all modes in units of their scatter, between maps
    of few calls and maps of 48 levels from the same noise.

    Args:
        model: a :class:`lensnb.models.Diffusion` with a Gaussian field, without conditions.
        calls: calls of the network for a map.
        maps: trajectories to learn from.
        rounds: steps of Adam.
        batch: trajectories a step.
        rate: highest learning rate; it falls to zero on a cosine.
        generator: source of randomness.

    Raises:
        ValueError: the model needs conditions, or fewer than 2 calls.
    """
    if model.given:
        raise ValueError(
            f"few calls are learned for a model without conditions; this one needs "
            f"{', '.join(model.given)}"
        )
    few = FewCalls(calls, model.sigma_range)
    few.to(model.transform.mean.device)
    noise = MapNoise(maps, generator)
    fine = karras_sigmas(_FINE, *model.sigma_range)
    ends = [_end(model, noise[i : i + batch], fine) for i in range(0, maps, batch)]
    frozen = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(False)
    optimiser = torch.optim.Adam(few.parameters(), lr=rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, rounds)
    for round_ in range(rounds):
        number = round_ % len(ends)
        part = noise[number * batch : (number + 1) * batch]
        denoise, x = model.begin(part, few.highest)
        made = few(denoise, x)
        loss = _distance(denoise, made, ends[number])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    for weight in frozen:
        weight.requires_grad_(True)
    return few.requires_grad_(False)


@torch.no_grad()
def _end(model: nn.Module, noise: MapNoise, sigmas: Tensor) -> Tensor:
    """Where maps that start from this noise end with many levels."""
    denoise, x = model.begin(noise, sigmas[0])
    return exponential(denoise, x, sigmas)


def _distance(denoise: Denoise, made: Tensor, end: Tensor) -> Tensor:
    """Mean squared distance in units of the scatter of each mode."""
    field = denoise.gaussian
    difference = field.modes(made - end, centred=True).abs().square() / field.eigenvalues
    return (field.multiplicity * difference).mean()
