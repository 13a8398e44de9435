"""The denoiser of a diffusion model: a network, and around it what is known without a network.

Notation as in :mod:`lensnb.samplers`: y is a clean (transformed) map, x = y + σ n a noised one,
and D(x; σ) is an estimate of E[y | x]. For every prediction of the network F, the denoiser is

    D(x; σ) = start(x; σ) + scale(σ) F(x; σ),        so the target of F is (y − start) / scale.

============  ====================  ==============  =============================================
prediction    start                 scale           target of F
============  ====================  ==============  =============================================
residual      C (C + σ²)⁻¹ x        c_out(σ)        what the Gaussian estimate misses
noise         x                     −σ              n (Ho et al. 2020, arXiv:2006.11239)
data          0                     1               y
v             x / (1 + σ²)          −σ / √(1 + σ²)  (n − σ y) / √(1 + σ²) (Salimans & Ho
                                                    2022, arXiv:2202.00512)
velocity      x / (1 + σ)           −σ / (1 + σ)    n − y, as in flow matching (Lipman et al.
                                                    2023, arXiv:2210.02747)
============  ====================  ==============  =============================================

The default, ``residual``, starts from the exact denoiser of a Gaussian field with the spectrum of
the data, where C is the covariance of that field. Its scale is c_out² = mean over the modes of λ
σ² / (λ + σ²), with the variances λ of the modes. So the target of F has unit variance at every σ,
and F learns only what is not Gaussian. Remy et al. (2022, arXiv:2201.05561) also add a learned
residual to the analytic Gaussian score. The field can follow a condition: then C and the mean are
those of the maps with this condition, which are the Wiener posterior of a noisy map
(:class:`lensnb.maps.ConditionalField`).

If the field is white with unit variance, ``residual`` is EDM's preconditioning (Karras et al.
2022, arXiv:2206.00364, table 1, σ_data = 1). That is "v" with the opposite sign of F.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..maps import ConditionalField, GaussianModes
from ..samplers import Denoise, MapNoise

PREDICTIONS = ("residual", "noise", "data", "v", "velocity")


def _skip_and_scale(prediction: str, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Skip and scale of D = skip x + scale F, for the predictions that need no field."""
    if prediction == "noise":
        return torch.ones_like(sigma), -sigma
    if prediction == "data":
        return torch.zeros_like(sigma), torch.ones_like(sigma)
    if prediction == "velocity":
        return 1 / (1 + sigma), -sigma / (1 + sigma)
    square = 1 + sigma**2  # the prediction v
    return 1 / square, -sigma / torch.sqrt(square)


class Denoiser(nn.Module):
    """The denoiser D(x; σ) with its network F.

    Args:
        network: ``network(inputs, level)``. The inputs are the noised map and its Gaussian
            estimate, each with all channels, and then the channels of conditions. The output has
            the channels of a map. If the model is conditioned on numbers, it is called as
            ``network(inputs, level, numbers)``.
        gaussian: the field whose exact denoiser gives the Gaussian estimate. If it is a
            :class:`~lensnb.maps.ConditionalField`, each call needs the field of its maps.
        prediction: what the network predicts, one of ``PREDICTIONS``.
    """

    def __init__(
        self,
        network: nn.Module,
        gaussian: GaussianModes | ConditionalField,
        prediction: str = "residual",
    ):
        super().__init__()
        self.network = network
        self.gaussian = gaussian
        self.prediction = prediction

    def split(
        self, x: Tensor, sigma: Tensor, gaussian: GaussianModes | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Start and scale of D, and the inputs of the network, scaled to unit variance.

        The mean of maps that follow a condition is subtracted from the inputs.

        Args:
            x: noised maps, ``(batch, n, n)`` or ``(batch, channels, n, n)``.
            sigma: their noise levels, ``(batch,)``.
            gaussian: the field of these maps; by default that of the denoiser.
        """
        field = self.gaussian if gaussian is None else gaussian
        square = (sigma**2).to(field.eigenvalues.dtype)
        estimate = field.denoise(x, sigma)
        size_x = field.mode_mean(lambda v: v + square).sqrt()
        size_estimate = field.mode_mean(lambda v: v * v / (v + square)).sqrt()
        if self.prediction == "residual":
            start = estimate
            scale = field.mode_mean(lambda v: v * square / (v + square)).sqrt()
        else:
            skip, scale = _skip_and_scale(self.prediction, sigma)
            start = for_each_map(skip, x) * x
        of_x = (x - field.centre).to(x.dtype)
        of_estimate = (estimate - field.centre).to(x.dtype)
        inputs = [of_x / for_each_map(size_x, x), of_estimate / for_each_map(size_estimate, x)]
        if x.ndim == 3:
            together = torch.stack(inputs, 1)
        else:
            together = torch.cat(inputs, 1)
        return start, for_each_map(scale, x), together

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        numbers: Tensor | None = None,
        channels: Tensor | None = None,
        gaussian: GaussianModes | None = None,
    ) -> Tensor:
        """Estimate of the clean maps, shape and dtype of ``x``.

        Args:
            x: noised maps, shape ``(batch, n, n)`` or ``(batch, channels, n, n)``.
            sigma: their noise levels, shape ``(batch,)``.
            numbers: conditions of order one, shape ``(batch, numbers)``.
            channels: conditions that are maps, of order one, shape ``(batch, channels, n, n)``.
            gaussian: the field of these maps; by default that of the denoiser.
        """
        start, scale, inputs = self.split(x, sigma, gaussian)
        output = self._network(inputs, sigma, numbers, channels)
        return start + scale * output.to(x.dtype)

    def conditioned(
        self,
        numbers: Tensor | None,
        channels: Tensor | None = None,
        gaussian: GaussianModes | None = None,
    ) -> Denoise:
        """The denoiser of maps with these conditions, ``(x, sigma)`` → clean maps."""
        return _Conditioned(self, numbers, channels, gaussian)

    def residual(
        self,
        y: Tensor,
        x: Tensor,
        sigma: Tensor,
        numbers: Tensor | None = None,
        channels: Tensor | None = None,
        gaussian: GaussianModes | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The output of the network and its target, for a training step.

        Args:
            y: clean maps.
            x, sigma, numbers, channels, gaussian: noised maps and the rest, as for
                :meth:`forward`.

        Returns:
            F and (y − start) / scale, both of the shape of a map.
        """
        start, scale, inputs = self.split(x, sigma, gaussian)
        target = (y - start) / scale
        return self._network(inputs, sigma, numbers, channels), target

    def _network(
        self, inputs: Tensor, sigma: Tensor, numbers: Tensor | None, channels: Tensor | None
    ) -> Tensor:
        """F, in the precision of the network's weights."""
        any_weight = next(self.network.parameters(), inputs.new_empty(0))
        dtype = any_weight.dtype
        if channels is not None:
            inputs = torch.cat([inputs, channels.to(inputs.dtype)], 1)
        known = [sigma.log() / 4]  # of order one
        if numbers is not None:
            known.append(numbers)
        output = self.network(inputs.to(dtype), *(number.to(dtype) for number in known))
        if self.gaussian.channels == 1:
            return output[:, 0]
        return output


def for_each_map(number: Tensor, x: Tensor) -> Tensor:
    """One number for each map, in the dtype of the maps, with axes that broadcast against them."""
    axes = [None] * (x.ndim - 1)
    return number.to(x.dtype)[(..., *axes)]


class _Conditioned:
    """A denoiser with its conditions filled in."""

    def __init__(
        self,
        denoiser: Denoiser,
        numbers: Tensor | None,
        channels: Tensor | None,
        gaussian: GaussianModes | None,
    ):
        self.denoiser = denoiser
        self.gaussian = denoiser.gaussian if gaussian is None else gaussian
        self.numbers = numbers
        self.channels = channels

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoiser(x, sigma, self.numbers, self.channels, self.gaussian)


class Traced:
    """A denoiser that also records the trace of ∂r/∂x at each call, where D = W x + r.

    W is the exact denoiser of the Gaussian field, and r is the part of D that is not Gaussian.

    Args:
        denoise: the denoiser; it has the Gaussian field ``gaussian``.
        noise: source of the random probes.
        probes: random vectors for each trace; None for the exact trace.

    Attributes:
        traces: one tensor ``(batch,)`` for each call.
    """

    def __init__(self, denoise: Denoise, noise: MapNoise, probes: int | None):
        self.denoise = denoise
        self.gaussian = denoise.gaussian
        self.noise = noise
        self.probes = probes
        self.traces: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            clean = self.denoise(x, sigma)
            rest = clean - self.gaussian.denoise(x, sigma)  # r
            trace = 0.0
            for v in self._vectors(x):
                (product,) = torch.autograd.grad(rest, x, v, retain_graph=True)
                trace = trace + self.gaussian.sum_of_pixels(v * product)
            self.traces.append(trace)
        return clean.detach()

    def _vectors(self, x: Tensor) -> Iterator[Tensor]:
        """Vectors v with Σ v vᵀ = 1, exactly or on average."""
        shape = x.shape[1:]
        if self.probes is None:
            units = torch.eye(shape.numel()).to(x).unflatten(1, shape)
            return (unit.expand_as(x) for unit in units)
        scale = math.sqrt(self.probes)
        return (self.noise(shape, x).sign() / scale for _ in range(self.probes))
