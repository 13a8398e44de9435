"""Band powers: the power of a map in bands of scale, as a condition of a diffusion model.

True maps differ in their power. A map with more power than the mean at some small scale has more
at all of them. This is one number among thousands of pixels. A network that has to estimate it
while it denoises gives values too close to the mean. So the scatter of spectra is too small, and
with it their covariance. A network that is conditioned on the band powers does not need to
estimate them. Shirasaki & Ikeda (2024, arXiv:2310.17141) restored the scatter by conditions on the
variance of the field.

Notation: y is a transformed map, and s(y) are its band powers. s̃ = s + h ε are noisy band powers,
where the noise ε has the same correlations R as the band powers. The training maps i give the
density

    p(s̃) = mean over i of N(s̃; sᵢ, h² R),

from which the band powers of new maps are drawn. A network that was trained with s̃ makes maps
from p(y | s̃). So new maps have the density ∫ p(y | s̃) p(s̃) ds̃ = p(y), and the noise h smooths
nothing.

Maps also differ in their mean, by which no band changes. So the amplitude t of the mode with the
largest variance is one more number beside the band powers. In a periodic field this mode is the
mean of the map, and in a cut-out nearly so.

A Gaussian field can follow these numbers to first order: the variances of the modes in a band are
multiplied by its expected power, and the mode of t gets the expected t. See
``BandPowers.field``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..given import Realised
from ..maps import GaussianModes, RescaledField
from ..maps.band_field import bands_of
from ..maps.grid import check_tensor, wide
from ..samplers import MapNoise


class BandPowers(nn.Module):
    """ln of the power of a map in bands of |ℓ|, relative to a Gaussian field, standardised.

        s = (ln Σ_k w_k |y_k|² − mean) / scatter

    The y_k are the modes of the field, which are those of Fourier if it is periodic. The weights w
    are zero outside a band. Several channels of a periodic field have bands of their own, one
    channel after the other. The amplitude t of the largest mode comes last, if it is one of the
    numbers.

    Args:
        weights: w of each band, shape ``(bands, *modes)``, or for several channels of a periodic
            field ``(channels, bands, n, n // 2 + 1)``.
        mean: mean of ln Σ w |y_k|² (and of t) over the training maps, shape ``(numbers,)``.
        std: its standard deviation from map to map, same shape.
        values: the numbers s of the training maps, shape ``(maps, numbers)``.
        kernel: standard deviation h of the noise of s̃, in units of the scatter.
        largest: whether t is the last of the numbers.
        field: the field that has the modes. A model gives its own, see :meth:`attach`.
    """

    def __init__(
        self,
        weights: Tensor,
        mean: Tensor,
        std: Tensor,
        values: Tensor,
        kernel: float = 0.2,
        largest: bool = False,
        field: GaussianModes | None = None,
    ):
        super().__init__()
        buffers = {"weights": weights, "mean": mean, "std": std, "values": values}
        for name, value in buffers.items():
            self.register_buffer(name, value.double().clone())
        self.register_buffer("kernel", torch.tensor(kernel, dtype=torch.float64))
        correlation = self.values.T @ self.values / len(values)
        eigenvalues, axes = torch.linalg.eigh(correlation)
        root = axes * eigenvalues.clamp(min=1e-6).sqrt() @ axes.T
        self.register_buffer("root", root)  # R^½
        self.largest = largest
        self.attach(field)

    def attach(self, field: GaussianModes | None) -> None:
        """Measure the modes of this field, which another module owns and saves.

        Raises:
            ValueError: it has other modes than those that the bands are made of.
        """
        if field is not None:
            modes = field.eigenvalues.shape[-2:]
            if self.weights.shape[-2:] != modes:
                raise ValueError(
                    f"the band powers are made of {tuple(self.weights.shape[-2:])} modes, and the "
                    f"Gaussian field of the model has {tuple(modes)}; "
                    "fit them to the field of the model"
                )
        object.__setattr__(self, "_field", field)

    @classmethod
    def fit(
        cls, y: Tensor, gaussian: GaussianModes, bands: int = 4, largest: bool = True
    ) -> BandPowers:
        """Measure the band powers of transformed training maps.

        Args:
            y: transformed maps, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            gaussian: the Gaussian field fitted to them.
            bands: number of bands (in each channel of a periodic field), of equal width in ln |ℓ|.
            largest: whether the amplitude of the largest mode is one of the numbers.

        Raises:
            ValueError: no tensor, or too few maps for this number of bands.
        """
        check_tensor("the set for band powers", y)
        numbers = max(bands, 1)
        if gaussian.kind == "periodic":
            numbers *= gaussian.channels
        if bands < 1 or len(y) < 2 * numbers:
            raise ValueError(
                f"power in {bands} bands needs at least {2 * numbers} maps, found {len(y)}"
            )
        numbers += largest
        weights = _weights(gaussian, bands)
        zero = torch.zeros(numbers)
        blank = cls(weights, zero, zero + 1, zero[None], largest=largest, field=gaussian)
        blank = blank.to(y.device)
        values = torch.cat([blank(part) for part in y.split(1024)])
        mean, std = values.mean(0), values.std(0)
        return cls(weights, mean, std, (values - mean) / std, largest=largest, field=gaussian)

    @classmethod
    def of_shape(
        cls, gaussian: GaussianModes, maps: int, numbers: int, largest: bool = False
    ) -> BandPowers:
        """An object for a checkpoint to fill.

        Args:
            gaussian: the field of the model.
            maps: number of training maps.
            numbers: numbers of a map.
            largest: whether the amplitude of the largest mode is one of them.
        """
        bands = numbers - largest
        modes = gaussian.eigenvalues.shape
        if gaussian.kind == "periodic" and gaussian.channels > 1:
            weights = torch.ones(modes[0], bands // modes[0], *modes[1:])
        else:
            weights = torch.ones(bands, *modes)
        zero = torch.zeros(numbers)
        values = torch.zeros(maps, numbers)
        return cls(weights, zero, zero + 1, values, largest=largest, field=gaussian)

    @property
    def shape(self) -> list[int | bool]:
        """What :meth:`of_shape` needs besides the field: maps, numbers, ``largest``."""
        return [*self.values.shape, self.largest]

    @property
    def numbers(self) -> int:
        """How many numbers a map has: the bands of all channels, and t."""
        return len(self.mean)

    @property
    def bands(self) -> int:
        """Number of bands, those of all channels together."""
        return self.numbers - self.largest

    @property
    def names(self) -> list[str]:
        """What the numbers are."""
        names = [f"band {i + 1}" for i in range(self.bands)]
        if self.largest:
            names.append("largest mode")
        return names

    def forward(self, y: Tensor) -> Tensor:
        """The numbers s of transformed maps, float64, shape ``(batch, numbers)``.

        Args:
            y: ``(batch, n, n)`` or ``(batch, channels, n, n)``.
        """
        return self._of_modes(self._field.plain_modes(y))

    def _of_modes(self, plain: Tensor) -> Tensor:
        """:meth:`forward` for the plain modes of maps."""
        power = plain.abs().square()
        weights = wide(self.weights)
        if self._field.kind == "periodic" and self._field.channels > 1:  # bands of each channel
            in_bands = torch.einsum("mckl,cbkl->mcb", power, weights).flatten(1)
        else:
            in_bands = power.flatten(1) @ weights.flatten(1).T
        values = in_bands.log()
        if self.largest:
            place, scale = self._largest_mode()
            amplitude = self._field.mixed(plain).real.flatten(1)[:, place] / scale
            values = torch.cat([values, amplitude[:, None]], 1)
        return (values - self.mean) / self.std

    def _largest_mode(self) -> tuple[int, Tensor]:
        """The number of the largest mode, and its standard deviation.

        In a periodic field it is the mean of a map.
        """
        variances = self._field.eigenvalues
        if self._field.kind == "periodic":
            at_zero = torch.zeros_like(variances)
            at_zero[..., 0, 0] = variances[..., 0, 0]
            variances = at_zero
        place = int(variances.flatten().argmax())
        return place, variances.flatten()[place].sqrt()

    def _band_of_modes(self) -> Tensor:
        """The number of the band of each mode; the number of bands if it lies in none.

        Raises:
            ValueError: the field has several channels, whose modes belong to no single one.
        """
        if self._field.channels > 1:
            raise ValueError("maps of several channels do not follow band powers")
        inside = self.weights > 0
        band = inside.long().argmax(0)
        return torch.where(inside.any(0), band, self.bands)

    def _per_mode(self, log_power: Tensor) -> Tensor:
        """Powers of the bands at each mode, 1 where there is no band, ``(batch, *modes)``."""
        power = torch.cat([log_power.exp(), torch.ones_like(log_power[:, :1])], 1)
        return power[:, self._band_of_modes()]

    # ------------------------------------------------------------ maps that follow

    def field(self, noisy: Tensor) -> RescaledField:
        """The Gaussian field that follows the numbers of each map, to first order.

        Of noisy numbers s̃ = s + h ε, the mean of s is s̃ / (1 + h²) and its variance h² / (1 + h²).
        So a band has the expected power exp(mean + std s̃ / (1 + h²) + std² h² / (1 + h²) / 2)
        relative to the field.

        Args:
            noisy: s̃ of each map, shape ``(batch, numbers)``.

        Raises:
            ValueError: the field has several channels, whose modes belong to no single one.
        """
        total = 1 + self.kernel**2
        rest = self.kernel**2 / total
        expected = self.mean + self.std * wide(noisy) / total
        bands = self.bands
        factor = self._per_mode(expected[:, :bands] + 0.5 * rest * self.std[:bands].square())
        shift = torch.zeros_like(factor)
        if self.largest:
            place, scale = self._largest_mode()
            factor.flatten(1)[:, place] = rest * self.std[-1].square()
            shift.flatten(1)[:, place] = scale * expected[:, -1]
        return RescaledField(self._field, factor, shift)

    def settled(self, noisy: Tensor, white: Tensor) -> Tensor:
        """Numbers s without noise, drawn for maps with noisy numbers s̃.

            s = s̃ / (1 + h²) + h / √(1 + h²) R^½ ε

        Args:
            noisy: s̃, shape ``(batch, numbers)``.
            white: ε, same shape.
        """
        total = 1 + self.kernel**2
        rest = self.kernel / total.sqrt()
        return wide(noisy) / total + rest * wide(white).to(noisy) @ self.root

    def enforced(self, y: Tensor, values: Tensor) -> Tensor:
        """Maps with exactly these numbers: their bands are multiplied, the largest mode is set.

        Gaussian maps whose bands are multiplied to a given power are as likely as all others with
        this power. Of other maps this holds as far as the factors are close to one.

        Args:
            y: transformed maps, shape ``(batch, n, n)``.
            values: the numbers that the maps should have, shape ``(batch, numbers)``.

        Raises:
            ValueError: the field has several channels, whose modes belong to no single one.
        """
        plain = self._field.plain_modes(y)
        change = self.std * (values - self._of_modes(plain))
        plain = plain * self._per_mode(change[:, : self.bands] / 2)  # of the amplitude
        if self.largest:
            place, scale = self._largest_mode()
            amplitude = self.mean[-1] + self.std[-1] * values[:, -1]
            plain.flatten(1)[:, place] = (scale * amplitude).to(plain.dtype)
        return self._field.from_modes(plain).to(y.dtype)

    # ------------------------------------------------------------ noisy numbers

    def blur(self, values: Tensor, white: Tensor) -> Tensor:
        """s̃ = s + h R^½ ε for band powers and white noise ε, both ``(batch, bands)``."""
        return values + self.kernel * wide(white).to(values) @ self.root

    def sample(self, noise: MapNoise) -> Tensor:
        """Draw band powers s̃ of new maps from p(s̃), float64, shape ``(batch, bands)``."""
        white = self._white(noise, self.numbers + 1)
        # The first number chooses a training map, the others are the noise.
        share = torch.special.ndtr(white[:, 0])
        chosen = (share * len(self.values)).long().clamp(max=len(self.values) - 1)
        return self.blur(self.values[chosen], white[:, 1:])

    def blurred(self, values: Tensor, noise: MapNoise) -> Tensor:
        """s̃ of maps with known band powers s, with noise from the generators of the maps."""
        return self.blur(values, self._white(noise, self.numbers))

    def realised(self, y: Tensor, given: Tensor) -> Realised:
        """The band powers s of maps that were made with s̃, beside s̃.

        Since s̃ = s + h ε, where s and ε have unit variance, the regression of s on s̃ has

            slope 1 / (1 + h²),   residual scatter h / √(1 + h²).

        Args:
            y: transformed maps, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            given: s̃ of each map, drawn by :meth:`sample`, shape ``(maps, bands)``.
        """
        h = float(self.kernel)
        total = 1 + h**2
        found = torch.cat([self(part) for part in y.split(1024)])
        return Realised(
            given.cpu().numpy(), found.cpu().numpy(), 1 / total, h / math.sqrt(total), self.names
        )

    def white(self, noise: MapNoise) -> Tensor:
        """White noise, as many numbers as a map has, shape ``(batch, numbers)``."""
        return self._white(noise, self.numbers)

    def _white(self, noise: MapNoise, numbers: int) -> Tensor:
        # Drawn as small square maps, so that a seed gives the same maps as in older versions.
        side = math.isqrt(self.numbers) + 1
        return noise(side, self.values).flatten(1)[:, :numbers]

    def log_ratio(self, noisy: Tensor, values: Tensor) -> Tensor:
        """ln p(s̃) − ln p(s̃ | s), shape ``(batch,)``.

        Args:
            noisy: band powers s̃, shape ``(batch, bands)``.
            values: the band powers s without the noise, same shape.
        """
        noisy = self._whitened(noisy)
        values = self._whitened(values)
        known = self._whitened(self.values)
        squares = torch.cdist(noisy, known).square()
        mixture = torch.logsumexp(-squares / 2, -1) - math.log(len(known))
        return mixture + (noisy - values).square().sum(-1) / 2

    def _whitened(self, values: Tensor) -> Tensor:
        """Band powers in units in which the noise of s̃ is white."""
        return torch.linalg.solve(self.root, values, left=False) / self.kernel


def _weights(field: GaussianModes, bands: int) -> Tensor:
    """Weights w of each band: multiplicity / variance of each mode in it, normalised.

    Returns:
        ``(bands, *modes)``, or ``(channels, bands, n, n // 2 + 1)`` for several channels of a
        periodic field.
    """
    variance = field.eigenvalues.cpu()
    several = field.kind == "periodic" and field.channels > 1
    if several:
        matrix = field.variance.cpu()
        variance = torch.stack([matrix[i, i] for i in range(field.channels)])
    band = bands_of(field.radius(), field.n, bands)
    numbers = torch.arange(bands).reshape(-1, *[1] * band.ndim)
    inside = band == numbers
    if several:
        variance = variance[:, None]
    weights = inside * field.multiplicity.cpu() / variance
    modes = tuple(range(-band.ndim, 0))
    return weights / (weights * variance).sum(modes, keepdim=True)
