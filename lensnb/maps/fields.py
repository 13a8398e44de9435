"""Gaussian random fields of one or several channels, with exact samples, densities and denoisers.

A map of a Gaussian field is a sum of independent modes, each with a variance λ of its own.
:class:`GaussianModes` has all that follows from this alone. What the modes are depends on the
edges of the map:

* :class:`GaussianField` is periodic: opposite edges touch. Its modes are those of Fourier, where
  λ(ℓ) = C_ℓ N / A (conventions in :mod:`lensnb.maps.grid`).
* :class:`lensnb.maps.CutOutField` is cut out of a larger sky, as true maps are.

With several channels (source bins), each Fourier mode has a small matrix of variances and
cross-powers instead of λ. It is real and symmetric, because C_ℓ^{ij} = C_ℓ^{ji}. In the axes in
which this matrix is diagonal, a mode of c channels is c independent numbers. Then everything is
the same as for one channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .grid import MapGrid, check_fittable, check_shape, wide

# smallest variance of a mode relative to the largest, so that the field has a density
FLOOR = 1e-9


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


def floored(variance: Tensor) -> Tensor:
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


class GaussianModes(nn.Module):
    """A Gaussian random field that is a sum of independent modes.

    A subclass says what the modes are, by the attributes and by two unitary transforms:
    :meth:`to_plain` with its inverse, and :meth:`mixed` with its inverse.

    Attributes:
        n: pixels a side.
        channels: number of channels.
        kind: ``"periodic"`` or ``"cut-out"``.
        mean: mean of the field, a number; for several channels one each.
        eigenvalues: variances of the modes, with the axes of their array.
        multiplicity: how many modes each of them stands for.
        centre: what is subtracted from maps before a network sees them: 0, or for a field that
            follows another map the mean of each map of a batch.
        given: the conditions that the field needs: none.
    """

    given: dict = {}
    centre: Tensor | float = 0.0
    kind: str
    channels: int
    mean: Tensor
    eigenvalues: Tensor
    multiplicity: Tensor

    @property
    def n(self) -> int:
        """Pixels a side."""
        raise NotImplementedError

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of one map: ``(n, n)`` or ``(channels, n, n)``."""
        if self.channels == 1:
            return (self.n, self.n)
        return (self.channels, self.n, self.n)

    def mean_map(self) -> Tensor:
        """The mean of the field in every pixel, float64, shape ``map_shape``."""
        mean = self._mean(wide(self.mean))
        return mean.expand(self.map_shape)

    # ------------------------------------------------------------ modes

    def modes(self, x: Tensor, centred: bool = False) -> Tensor:
        """Maps → their modes, whose variances are ``eigenvalues``.

        Args:
            x: maps ``(..., *map_shape)``.
            centred: whether the maps have the mean zero. Otherwise the mean of the field is
                subtracted.

        Returns:
            complex128 for a periodic field, float64 for a cut-out.
        """
        x = wide(x)
        if not centred:
            x = x - self._mean(x)
        return self._to_modes(x)

    def plain_modes(self, x: Tensor) -> Tensor:
        """Maps → modes without the mean, in which channels may still be correlated."""
        x = wide(x)
        return self.to_plain(x - self._mean(x))

    def from_modes(self, modes: Tensor) -> Tensor:
        """The inverse of :meth:`modes`, float64."""
        maps = self._from_modes(modes)
        return maps + self._mean(maps)

    def to_plain(self, x: Tensor) -> Tensor:
        """Maps ``(..., *map_shape)`` → modes in which the channels may still be correlated."""
        raise NotImplementedError

    def from_plain(self, plain: Tensor) -> Tensor:
        """The inverse of :meth:`to_plain`."""
        raise NotImplementedError

    def mixed(self, plain: Tensor) -> Tensor:
        """Plain modes → independent ones."""
        return plain

    def unmixed(self, modes: Tensor) -> Tensor:
        """The inverse of :meth:`mixed`."""
        return modes

    def radius(self) -> Tensor:
        """|ℓ| / ℓ_min of each plain mode; of a cut-out, whose modes have none, a whole number."""
        raise NotImplementedError

    def annulus(self) -> Tensor:
        """The number of the annulus of |ℓ| that each plain mode lies in: 0, 1, 2 …"""
        return self.radius().round().long()

    def _to_modes(self, centred: Tensor) -> Tensor:
        return self.mixed(self.to_plain(centred))

    def _from_modes(self, modes: Tensor) -> Tensor:
        return self.from_plain(self.unmixed(modes))

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
        weight = self.multiplicity.expand(self.eigenvalues.shape).flatten() / numbers
        return weight @ function(self.eigenvalues.flatten()[:, None])

    # ------------------------------------------------------------ samples, density, denoiser

    def whiten(self, x: Tensor) -> Tensor:
        """x → C^(−1/2) (x − mean): white, unit-variance maps, shape of ``x``."""
        return self._from_modes(self.modes(x) * self.eigenvalues.rsqrt()).to(x.dtype)

    def colour(self, white: Tensor) -> Tensor:
        """The inverse of :meth:`whiten`."""
        return self.from_modes(self.modes(white, centred=True) * self.eigenvalues.sqrt()).to(
            white.dtype
        )

    def sample(
        self, n: int, generator: torch.Generator | None = None, given: dict | None = None
    ) -> Tensor:
        """Draw ``n`` maps, float32, shape ``(n, *map_shape)``, on the device of the field."""
        refuse_given(self, given)
        device = self.mean.device
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
        return self.log_prob_of_modes(self.modes(x))

    def log_prob_of_modes(self, modes: Tensor) -> Tensor:
        """:meth:`log_prob` of maps whose independent modes, without the mean, are known."""
        squares = modes.abs().square()
        if modes.is_complex():  # the gradient of the modulus is slow
            squares = modes.real.square() + modes.imag.square()
        white = squares / self.eigenvalues * self.multiplicity
        pixels = math.prod(self.map_shape)
        total = self.sum_of_pixels(white)
        return -0.5 * total - self.log_det() - 0.5 * pixels * math.log(2 * math.pi)

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
        return -self._from_modes(self.modes(x) * precision).to(x.dtype)

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Exact posterior mean E[clean | x] of a map plus white noise of level σ.

        This is the Wiener filter λ / (λ + σ²); with several channels C (C + σ²)⁻¹ in each mode.
        """
        response = self.eigenvalues / (self.eigenvalues + self._noise_variance(sigma, x))
        return self.from_modes(self.modes(x) * response).to(x.dtype)

    def loss(
        self, batch: Tensor, generator: torch.Generator | None = None, given: dict | None = None
    ) -> Tensor:
        """Bits per dimension of a batch of maps, a scalar."""
        check_shape("the batch", batch.shape, self.n, self.channels)
        refuse_given(self, given)
        return -self.log_prob(batch).mean() / (math.log(2) * math.prod(self.map_shape))


class GaussianField(GaussianModes):
    """A stationary Gaussian random field on a periodic grid: opposite edges touch.

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

    kind = "periodic"

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
        return cls(floored(mode_power(centred)), mean)

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.variance.shape[-2]

    @property
    def eigenvalues(self) -> Tensor:
        """Variances of the independent numbers of each mode.

        ``(n, n // 2 + 1)``, or ``(channels, n, n // 2 + 1)`` in the axes of each mode's matrix.
        """
        if self.channels == 1:
            return self.variance
        return self.values

    # ------------------------------------------------------------ Fourier space

    def to_plain(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(wide(x), norm="ortho")

    def from_plain(self, plain: Tensor) -> Tensor:
        return torch.fft.irfft2(plain, s=(self.n, self.n), norm="ortho")

    def mixed(self, plain: Tensor) -> Tensor:
        if self.channels == 1:
            return plain
        return torch.einsum("iakl,...ikl->...akl", self.axes.to(plain.dtype), plain)

    def unmixed(self, modes: Tensor) -> Tensor:
        if self.channels == 1:
            return modes
        return torch.einsum("iakl,...akl->...ikl", self.axes.to(modes.dtype), modes)

    def radius(self) -> Tensor:
        grid = MapGrid(self.n, 1.0)
        return grid.ell / grid.ell_min


class RescaledField(GaussianModes):
    """A Gaussian field whose modes have another variance and mean in each map of a batch.

    Args:
        field: the field.
        factor: of the variances, shape ``(batch, *modes)``, where ``modes`` is the shape of the
            field's eigenvalues.
        shift: mean of each mode, in addition to the mean of the field, same shape.
    """

    def __init__(self, field: GaussianModes, factor: Tensor, shift: Tensor):
        super().__init__()
        self.field = field
        self.kind = field.kind
        self.channels = field.channels
        self.mean = field.mean
        self.multiplicity = field.multiplicity
        self.eigenvalues = field.eigenvalues * factor
        self.shift = shift

    @property
    def n(self) -> int:
        """Pixels a side."""
        return self.field.n

    def to_plain(self, x: Tensor) -> Tensor:
        return self.field.to_plain(x)

    def from_plain(self, plain: Tensor) -> Tensor:
        return self.field.from_plain(plain)

    def mixed(self, plain: Tensor) -> Tensor:
        return self.field.mixed(plain)

    def unmixed(self, modes: Tensor) -> Tensor:
        return self.field.unmixed(modes)

    def radius(self) -> Tensor:
        return self.field.radius()

    def modes(self, x: Tensor, centred: bool = False) -> Tensor:
        modes = super().modes(x, centred)
        if centred:
            return modes
        return modes - self.shift

    def from_modes(self, modes: Tensor) -> Tensor:
        return super().from_modes(modes + self.shift)

    def mode_mean(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Mean over all modes of a function of their variance, for each map of the batch."""
        numbers = self.n**2 * self.channels
        weight = self.multiplicity.expand(self.field.eigenvalues.shape).flatten() / numbers
        return weight @ function(self.eigenvalues.flatten(1).T)

    def log_det(self) -> Tensor:
        """ln det C^(1/2) for each map of the batch, float64."""
        return 0.5 * (self.multiplicity * self.eigenvalues.log()).flatten(1).sum(1)


def refuse_given(field: nn.Module, given: dict | None) -> None:
    if given:
        raise ValueError(
            f"a {type(field).__name__} is not conditioned on anything, found the conditions "
            f"{', '.join(given)}"
        )
