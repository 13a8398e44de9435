"""Lognormal random fields, of one or several channels, with exact samples and densities."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from .cut_out import CutOutField, correlation, is_small
from .fields import FLOOR, GaussianField, GaussianModes, floored, mode_power, refuse_given
from .grid import check_fittable, check_shape, wide

_WORTH_SAYING = 0.01  # of the power of a mode


class LognormalField(nn.Module):
    """A lognormal field: ln(κ₀ + κ) is Gaussian, so κ > −κ₀.

    The correlation functions of κ and of the Gaussian field (Hilbert, Hartlap & Schneider 2011,
    eqs 13–23) are related by

        ξ_G = ln(1 + ξ_κ / (κ₀ + ⟨κ⟩)²),

    and between the channels i and j by ξ_G = ln(1 + ξ_κ / ((κ₀ + ⟨κ⟩)_i (κ₀ + ⟨κ⟩)_j)).

    Args:
        gaussian: the field ln(κ₀ + κ).
        shift: κ₀, a positive number; for several channels one each.
    """

    given: dict = {}

    def __init__(self, gaussian: GaussianModes, shift: float | Tensor):
        super().__init__()
        self.gaussian = gaussian
        shift = torch.as_tensor(shift, dtype=torch.float64)
        if gaussian.channels > 1:
            shift = shift.expand(gaussian.channels)
        self.register_buffer("shift", shift.clone())

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.gaussian.n

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.gaussian.channels

    @classmethod
    def from_correlation(
        cls, variance: Tensor, shift: float | Tensor, mean: float | Tensor = 0.0
    ) -> LognormalField:
        """The lognormal field with these mode variances λ_κ, shift κ₀ and mean of κ.

        Modes for which no lognormal field exists (a negative eigenvalue of ξ_G) get a tiny
        variance in the Gaussian field. Their power in κ is then more than was asked for.

        Args:
            variance: variances λ_κ of κ, in the layout of :class:`GaussianField`.
            shift: κ₀; for several channels one each, shape ``(channels,)``.
            mean: mean of κ; for several channels one each.

        Raises:
            ValueError: κ₀ plus the mean is not positive, or no lognormal field with this shift is
                so anticorrelated.

        Warns:
            UserWarning: a mode's power in κ differs from what was asked for by more than 1 %.
        """
        n = variance.shape[-2]
        variance = torch.as_tensor(variance, dtype=torch.float64)
        xi, log_mean, square = _gaussian_correlation(
            torch.fft.irfft2(variance, s=(n, n)), shift, mean
        )
        lam = floored(torch.fft.rfft2(xi).real)
        reached = torch.fft.rfft2(square * torch.fft.irfft2(lam, s=(n, n)).expm1()).real
        _warn_of_other_power(reached, variance)
        return cls(GaussianField(lam, log_mean), shift)

    @classmethod
    def cut_out(
        cls, correlation: Tensor, shift: float | Tensor, mean: float | Tensor = 0.0
    ) -> LognormalField:
        """The lognormal field with this correlation function, cut out of a larger sky.

        Args:
            correlation: ξ_κ, as for :class:`CutOutField`.
            shift: κ₀; for several channels one each, shape ``(channels,)``.
            mean: mean of κ; for several channels one each.

        Raises:
            ValueError: κ₀ plus the mean is not positive, or no lognormal field with this shift is
                so anticorrelated.

        Warns:
            UserWarning: no lognormal field has this correlation function; that of the field
                differs by more than 1 % of the variance.
        """
        xi, log_mean, square = _gaussian_correlation(
            torch.as_tensor(correlation, dtype=torch.float64), shift, mean
        )
        field = CutOutField(xi, log_mean)
        _warn_of_other_correlation(field, xi)
        return cls(field, shift)

    @classmethod
    def fit(cls, maps: Tensor, periodic: bool | None = None) -> LognormalField:
        """The lognormal field with the mean, correlation function and skewness of maps.

        With w = exp(σ_G²), a lognormal variable has the skewness (w + 2) √(w − 1). Its variance is
        (κ₀ + ⟨κ⟩)² (w − 1).

        Args:
            maps: shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            periodic: whether opposite edges of the maps touch. By default they do not, up to 64²
                pixels; larger maps need a periodic field.

        Raises:
            ValueError: no tensor of maps, maps that are not finite or flat, or a skewness that is
                not positive.
        """
        check_fittable("the set for a lognormal field", maps)
        if periodic is None:
            periodic = not is_small(maps)
        x = wide(maps)
        if maps.ndim == 3:
            mean = x.mean()
            centred = x - mean
            shift = _fitted_shift(x)
        else:
            mean = x.mean((0, 2, 3))
            centred = x - mean[:, None, None]
            shift = torch.tensor([_fitted_shift(x[:, channel]) for channel in range(x.shape[1])])
        if periodic:
            return cls.from_correlation(mode_power(centred), shift, mean.cpu())
        return cls.cut_out(correlation(x, mean).cpu(), shift, mean.cpu())

    def sample(
        self, n: int, generator: torch.Generator | None = None, given: dict | None = None
    ) -> Tensor:
        """Draw ``n`` maps, float32, shape ``(n, *map_shape)`` with the shape of a Gaussian map."""
        gaussian = self.gaussian.sample(n, generator, given)
        return gaussian.exp() - self._shift().float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density in nats, float64, shape ``(...)``; −∞ if a pixel has κ ≤ −κ₀."""
        y = wide(x) + self._shift()
        first = -len(self.gaussian.map_shape)
        inside = (y > 0).flatten(first).all(-1)
        log = y.clamp(min=1e-300).log()
        density = self.gaussian.log_prob(log) - self.gaussian.sum_of_pixels(log)
        return torch.where(inside, density, -torch.inf)

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: dict | None = None
    ) -> Tensor:
        """Bits per dimension of a batch of maps, a scalar."""
        check_shape("the batch", batch.shape, self.n, self.channels)
        refuse_given(self, given)
        pixels = math.prod(self.gaussian.map_shape)
        return -self.log_prob(batch).mean() / (math.log(2) * pixels)

    def _shift(self) -> Tensor:
        if self.channels == 1:
            return self.shift
        return self.shift[:, None, None]


def _gaussian_correlation(
    xi: Tensor, shift: float | Tensor, mean: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """ξ_G = ln(1 + ξ / (κ₀ + ⟨κ⟩)²), the mean of the Gaussian field, and (κ₀ + ⟨κ⟩)².

    Args:
        xi: ξ_κ of κ at each lag, ``(n, n)`` or ``(channels, channels, n, n)``.
        shift: κ₀; for several channels one each.
        mean: mean of κ; for several channels one each.

    Raises:
        ValueError: κ₀ plus the mean is not positive, or ξ is too negative.
    """
    kappa_0 = torch.as_tensor(shift, dtype=torch.float64)
    amplitude = kappa_0 + torch.as_tensor(mean, dtype=torch.float64)  # κ₀ + ⟨κ⟩
    if not (amplitude > 0).all():
        raise ValueError(
            "the shift of a lognormal field plus its mean must be positive, found "
            f"{amplitude.tolist()}"
        )
    square = amplitude**2
    if xi.ndim == 4:
        amplitude = amplitude.expand(len(xi))
        square = torch.outer(amplitude, amplitude)[:, :, None, None]
    gaussian = torch.log1p(xi / square)
    if not torch.isfinite(gaussian).all():
        raise ValueError(
            "no lognormal field with this shift has these mode variances: its correlation "
            "function would lie below −(κ₀ + ⟨κ⟩)²; expected a larger shift"
        )
    at_zero = gaussian[..., 0, 0]
    if xi.ndim == 4:
        at_zero = at_zero.diagonal()
    return gaussian, amplitude.log() - 0.5 * at_zero, square


def _warn_of_other_correlation(field: CutOutField, asked: Tensor) -> None:
    """Say how much the variance of a cut-out field differs from the one that was asked for."""
    at_zero = asked[..., 0, 0]
    if asked.ndim == 4:
        at_zero = at_zero.diagonal().mean()
    excess = float(field.eigenvalues.mean() / at_zero) - 1
    if excess > _WORTH_SAYING:
        warnings.warn(
            "no lognormal field with this shift has exactly this correlation function: the "
            f"variance of its logarithm is {excess:.1%} more than was asked for; a larger shift "
            "is closer",
            stacklevel=4,
        )


def _warn_of_other_power(reached: Tensor, asked: Tensor) -> None:
    """Say how much the mode variances of a lognormal field differ from those that were asked for.

    Args:
        reached, asked: variances of κ, in the layout of :class:`GaussianField`.
    """
    if asked.ndim == 4:
        reached = reached.diagonal(dim1=0, dim2=1)
        asked = asked.diagonal(dim1=0, dim2=1)
    # Modes without power, such as the mean of centred maps, get the floor, and are not counted.
    some = asked > FLOOR * asked.max()
    ratio = torch.where(some, reached / asked, 1.0)
    wrong = (ratio - 1).abs() > _WORTH_SAYING
    if wrong.any():
        warnings.warn(
            f"no lognormal field with this shift has exactly these mode variances: "
            f"{int(wrong.sum())} of {ratio.numel()} modes get another power, "
            f"{float(ratio.min()):.3g} to {float(ratio.max()):.3g} times what was asked for; "
            "a larger shift is closer",
            stacklevel=3,
        )


def _fitted_shift(x: Tensor) -> float:
    """κ₀ of a lognormal variable with the mean, variance and skewness of the pixels ``x``.

    The skewness is (u² + 3) u with u = √(w − 1), which increases with u. The equation is solved by
    bisection.

    Raises:
        ValueError: the skewness is not positive.
    """
    mean, var = x.mean(), x.var()
    skewness = float(((x - mean) ** 3).mean() / var**1.5)
    if skewness <= 0:
        raise ValueError(
            f"a lognormal field needs maps with positive skewness, found {skewness:.3f}"
        )
    low, high = 0.0, 10.0  # bounds of u
    for _ in range(80):
        middle = (low + high) / 2
        if (middle**2 + 3) * middle < skewness:
            low = middle
        else:
            high = middle
    return float(var.sqrt()) / low - float(mean)
