"""Gaussian and lognormal random fields, of one or several channels, with exact densities.

A stationary Gaussian field is diagonal in Fourier space, where each mode has the variance λ(ℓ) =
C_ℓ N / A (conventions in :mod:`lensnb.maps.grid`). With several channels (source bins), each mode
has a small matrix of variances and cross-powers instead. It is real and symmetric, because
C_ℓ^{ij} = C_ℓ^{ji}. In the axes in which this matrix is diagonal, a mode of c channels is c
independent numbers. Then everything below is the same as for one channel.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .grid import MapGrid, check_fittable, check_shape, wide

# smallest variance of a mode relative to the largest, so that the field has a density
FLOOR = 1e-9
_WORTH_SAYING = 0.01  # of the power of a mode


def mode_power(maps: Tensor) -> Tensor:
    """Variance of each Fourier mode, averaged over maps and over the 8 symmetries of the square.

    Args:
        maps: κ, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.

    Returns:
        |κ̃|² of ``rfft2`` modes, float64, shape ``(n, n // 2 + 1)``. For several channels the
        cross-powers Re κ̃_i κ̃_j*, shape ``(channels, channels, n, n // 2 + 1)``. Both are
        invariant under the 8 symmetries.
    """
    n = maps.shape[-1]
    channels = maps.shape[1:-2]  # empty, or one number
    power = torch.zeros(2 * channels + (n, n), dtype=wide(maps[:0]).dtype, device=maps.device)
    for batch in maps.split(256):
        modes = torch.fft.fft2(wide(batch), norm="ortho")
        if channels:
            power += torch.einsum("micd,mjcd->ijcd", modes, modes.conj()).real
        else:
            power += modes.abs().square().sum(0)
    power = power / len(maps)
    flip = -torch.arange(n, device=maps.device) % n  # ℓ → −ℓ along one axis
    power = (power + power[..., flip, :]) / 2
    power = (power + power[..., :, flip]) / 2
    power = (power + power.mT) / 2
    return power[..., : n // 2 + 1]


def _floored(variance: Tensor) -> Tensor:
    """Mode variances, or matrices of them, where zero or negative ones are raised to the floor."""
    if variance.ndim == 2:
        return variance.clamp(min=FLOOR * variance.max())
    values, axes = _diagonal(variance)
    values = values.clamp(min=FLOOR * values.max())
    return torch.einsum("iakl,akl,jakl->ijkl", axes, values, axes)


def _diagonal(variance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues ``(c, n, n // 2 + 1)`` and eigenvectors ``(c, c, …)`` of each mode's matrix."""
    values, axes = torch.linalg.eigh(variance.permute(2, 3, 0, 1))
    return values.permute(2, 0, 1), axes.permute(2, 3, 0, 1)


class GaussianField(nn.Module):
    """A stationary Gaussian random field on a periodic grid.

    It has exact samples, and an exact density, score and denoiser.

    Args:
        variance: variance λ of each ``rfft2`` mode, shape ``(n, n // 2 + 1)``, positive. For
            several channels the matrix of each mode, ``(channels, channels, n, n // 2 + 1)``,
            symmetric and positive definite.
        mean: mean of the field, a number; for several channels one each.

    Attributes:
        n: pixels a side.
        channels: number of channels.
        given: the conditions that the field needs: none.

    Raises:
        ValueError: a variance is not positive and finite, or the shape is not that of ``rfft2``.
    """

    given: dict = {}

    def __init__(self, variance: Tensor, mean: float | Tensor = 0.0):
        super().__init__()
        variance = torch.as_tensor(variance, dtype=torch.float64)
        n = variance.shape[-2]
        several = variance.ndim == 4
        channels = 1
        expected = (n, n // 2 + 1)
        if several:
            channels = variance.shape[0]
            expected = (channels, channels, *expected)
        if variance.shape != expected:
            raise ValueError(
                "variance must have the shape (n, n // 2 + 1) of rfft2, "
                f"or (channels, channels, n, n // 2 + 1), found {tuple(variance.shape)}"
            )
        if not torch.isfinite(variance).all():
            raise ValueError("every mode of a Gaussian field needs a positive, finite variance")
        values = variance
        if several:
            values, axes = _diagonal(variance)
            self.register_buffer("axes", axes.clone())
            self.register_buffer("values", values.clone())
        if not (values > 0).all():
            raise ValueError("every mode of a Gaussian field needs a positive, finite variance")
        mean = torch.as_tensor(mean, dtype=torch.float64)
        if several:
            mean = mean.expand(channels)
        self.register_buffer("variance", variance.clone())
        self.register_buffer("mean", mean.clone())
        self.register_buffer("multiplicity", MapGrid(n, 1.0).multiplicity)
        self.channels = channels

    @classmethod
    def from_power(cls, grid: MapGrid, power) -> GaussianField:
        """A zero-mean field with an angular power spectrum.

        Args:
            grid: the map's grid.
            power: callable ℓ → C_ℓ in sr. For several channels, C_ℓ has the shape
                ``(channels, channels)`` before that of ℓ. For ℓ = 0 it gets the fundamental mode
                instead, so that the field has a density.
        """
        ell = grid.ell.clamp(min=grid.ell_min)
        c_ell = torch.as_tensor(power(ell), dtype=torch.float64)
        return cls(c_ell * grid.n**2 / grid.area)

    @classmethod
    def white(cls, n: int, channels: int = 1) -> GaussianField:
        """White noise of unit variance, independent in each channel."""
        variance = torch.ones(n, n // 2 + 1)
        if channels > 1:
            variance = torch.eye(channels)[:, :, None, None] * variance
        return cls(variance)

    @classmethod
    def fit(cls, maps: Tensor) -> GaussianField:
        """The field with the mean and the (8-fold symmetric) mode variances of maps.

        Args:
            maps: shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.

        Raises:
            ValueError: no tensor of maps, or maps that are not finite or flat.
        """
        check_fittable("the set for a Gaussian field", maps)
        maps = wide(maps)
        mean = maps.mean()
        centred = maps - mean
        if maps.ndim == 4:
            mean = maps.mean((0, 2, 3))
            centred = maps - mean[:, None, None]
        return cls(_floored(mode_power(centred)), mean)

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.variance.shape[-2]

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of one map: ``(n, n)`` or ``(channels, n, n)``."""
        if self.channels == 1:
            return (self.n, self.n)
        return (self.channels, self.n, self.n)

    @property
    def eigenvalues(self) -> Tensor:
        """Variances of the independent numbers of each mode.

        ``(n, n // 2 + 1)``, or ``(channels, n, n // 2 + 1)`` in the axes of each mode's matrix.
        """
        if self.channels == 1:
            return self.variance
        return self.values

    # ------------------------------------------------------------ Fourier space

    def modes(self, x: Tensor, centred: bool = False) -> Tensor:
        """Maps → the independent numbers of their modes, complex128.

        Their variances are :attr:`eigenvalues`.

        Args:
            x: maps ``(..., *map_shape)``.
            centred: whether the maps have the mean zero. Otherwise the mean of the field is
                subtracted.
        """
        x = wide(x)
        if not centred:
            x = x - self._mean(x)
        return self._to_modes(x)

    def from_modes(self, modes: Tensor) -> Tensor:
        """The inverse of :meth:`modes`, float64."""
        maps = self._from_modes(modes)
        return maps + self._mean(maps)

    def _to_modes(self, centred: Tensor) -> Tensor:
        modes = torch.fft.rfft2(wide(centred), norm="ortho")
        if self.channels == 1:
            return modes
        return torch.einsum("iakl,...ikl->...akl", self.axes.to(modes.dtype), modes)

    def _from_modes(self, modes: Tensor) -> Tensor:
        if self.channels > 1:
            modes = torch.einsum("iakl,...akl->...ikl", self.axes.to(modes.dtype), modes)
        return torch.fft.irfft2(modes, s=(self.n, self.n), norm="ortho")

    def _filter(self, x: Tensor, response: Tensor) -> Tensor:
        return self._from_modes(self._to_modes(x) * response).to(x.dtype)

    def _mean(self, x: Tensor) -> Tensor:
        """The mean in the dtype of maps, with axes that broadcast against them."""
        mean = self.mean.to(x.dtype)
        if self.channels == 1:
            return mean
        return mean[:, None, None]

    def _noise_variance(self, sigma: Tensor | float, x: Tensor) -> Tensor:
        """σ² of each map, with axes that broadcast against its modes."""
        sigma = torch.as_tensor(sigma, dtype=wide(x[:0]).dtype, device=x.device)
        axes = [None] * len(self.map_shape)
        return sigma[(..., *axes)] ** 2

    def mode_mean(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Mean over all modes of a function of their variance.

        Args:
            function: λ ``(modes, 1)`` → ``(modes, k)``.

        Returns:
            Shape ``(k,)``.
        """
        numbers = self.n**2 * self.channels
        weight = self.multiplicity.flatten().repeat(self.channels) / numbers
        return weight @ function(self.eigenvalues.flatten()[:, None])

    # ------------------------------------------------------------ samples, density, denoiser

    def whiten(self, x: Tensor) -> Tensor:
        """x → C^(−1/2) (x − mean): white, unit-variance maps, shape of ``x``."""
        return self._filter(x - self._mean(x), self.eigenvalues.rsqrt())

    def colour(self, white: Tensor) -> Tensor:
        """The inverse of :meth:`whiten`."""
        return self._filter(white, self.eigenvalues.sqrt()) + self._mean(white)

    def sample(
        self, n: int, generator: torch.Generator | None = None, given: dict | None = None
    ) -> Tensor:
        """Draw ``n`` maps, float32, shape ``(n, *map_shape)``, on the device of the field."""
        _refuse_given(self, given)
        device = self.variance.device
        source = device
        if generator is not None:
            source = generator.device
        white = torch.randn(n, *self.map_shape, generator=generator, device=source)
        return self.colour(white.to(device))

    def log_det(self) -> Tensor:
        """ln det C^(1/2), a float64 scalar."""
        return 0.5 * (self.multiplicity * self.eigenvalues.log()).sum()

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density ln p(x) of maps ``(..., *map_shape)`` in nats, float64 ``(...)``."""
        white = self.whiten(wide(x))
        pixels = math.prod(self.map_shape)
        squares = self.sum_of_pixels(white.square())
        return -0.5 * squares - self.log_det() - 0.5 * pixels * math.log(2 * math.pi)

    def sum_of_pixels(self, x: Tensor) -> Tensor:
        """Sum over the pixels (and channels) of each map, ``(..., *map_shape)`` → ``(...)``."""
        return x.sum(tuple(range(-len(self.map_shape), 0)))

    def score(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """Exact score ∇ ln p(x; σ) of the field plus white noise of level σ, shape of ``x``.

        Args:
            x: maps ``(..., *map_shape)``.
            sigma: noise level, one number, or one for each map, shape ``(...)``.
        """
        precision = 1 / (self.eigenvalues + self._noise_variance(sigma, x))
        return -self._filter(x - self._mean(x), precision)

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Exact posterior mean E[clean | x] of a map plus white noise of level σ.

        This is the Wiener filter λ / (λ + σ²); with several channels C (C + σ²)⁻¹ in each mode.
        """
        mean = self._mean(x)
        response = self.eigenvalues / (self.eigenvalues + self._noise_variance(sigma, x))
        return mean + self._filter(x - mean, response)

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: dict | None = None
    ) -> Tensor:
        """Bits per dimension of a batch of maps, a scalar."""
        check_shape("the batch", batch.shape, self.n, self.channels)
        _refuse_given(self, given)
        return -self.log_prob(batch).mean() / (math.log(2) * math.prod(self.map_shape))


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

    def __init__(self, gaussian: GaussianField, shift: float | Tensor):
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
        kappa_0 = torch.as_tensor(shift, dtype=torch.float64)
        amplitude = kappa_0 + torch.as_tensor(mean, dtype=torch.float64)  # κ₀ + ⟨κ⟩
        if not (amplitude > 0).all():
            raise ValueError(
                "the shift of a lognormal field plus its mean must be positive, found "
                f"{amplitude.tolist()}"
            )
        square = amplitude**2
        if variance.ndim == 4:
            amplitude = amplitude.expand(len(variance))
            square = torch.outer(amplitude, amplitude)[:, :, None, None]
        xi = torch.log1p(torch.fft.irfft2(variance, s=(n, n)) / square)
        if not torch.isfinite(xi).all():
            raise ValueError(
                "no lognormal field with this shift has these mode variances: its correlation "
                "function would lie below −(κ₀ + ⟨κ⟩)²; expected a larger shift"
            )
        at_zero = xi[..., 0, 0]
        if variance.ndim == 4:
            at_zero = at_zero.diagonal()
        lam = _floored(torch.fft.rfft2(xi).real)
        reached = torch.fft.rfft2(square * torch.fft.irfft2(lam, s=(n, n)).expm1()).real
        _warn_of_other_power(reached, variance)
        return cls(GaussianField(lam, amplitude.log() - 0.5 * at_zero), shift)

    @classmethod
    def fit(cls, maps: Tensor) -> LognormalField:
        """The lognormal field with the mean, mode variances and skewness of maps.

        With w = exp(σ_G²), a lognormal variable has the skewness (w + 2) √(w − 1). Its variance is
        (κ₀ + ⟨κ⟩)² (w − 1).

        Args:
            maps: shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.

        Raises:
            ValueError: no tensor of maps, maps that are not finite or flat, or a skewness that is
                not positive.
        """
        check_fittable("the set for a lognormal field", maps)
        x = wide(maps)
        if maps.ndim == 3:
            mean = x.mean()
            return cls.from_correlation(mode_power(x - mean), _fitted_shift(x), float(mean))
        mean = x.mean((0, 2, 3))
        shift = torch.tensor([_fitted_shift(x[:, channel]) for channel in range(x.shape[1])])
        return cls.from_correlation(mode_power(x - mean[:, None, None]), shift, mean.cpu())

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
        _refuse_given(self, given)
        pixels = math.prod(self.gaussian.map_shape)
        return -self.log_prob(batch).mean() / (math.log(2) * pixels)

    def _shift(self) -> Tensor:
        if self.channels == 1:
            return self.shift
        return self.shift[:, None, None]


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


def _refuse_given(field: nn.Module, given: dict | None) -> None:
    if given:
        raise ValueError(
            f"a {type(field).__name__} is not conditioned on anything, found the conditions "
            f"{', '.join(given)}"
        )
