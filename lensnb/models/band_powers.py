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
:meth:`BandPowers.field`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..given import Realised
from ..maps import GaussianModes, MapGrid, RescaledField
from ..maps.grid import check_tensor, wide
from ..samplers import MapNoise


class BandPowers(nn.Module):
    """ln of the power of a map in bands of |ℓ|, relative to a Gaussian field, standardised.

        s = (ln Σ_ℓ w_ℓ |y_ℓ|² − mean) / scatter

    The weights w are zero outside a band. Several channels have bands of their own, one channel
    after the other. The amplitude t of the largest mode comes last, if it is one of the numbers.

    Args:
        weights: w of each band, shape ``(bands, n, n // 2 + 1)``, or for several channels
            ``(channels, bands, n, n // 2 + 1)``.
        mean: mean of ln Σ w |y_ℓ|² (and of t) over the training maps, shape ``(numbers,)``.
        std: its standard deviation from map to map, same shape.
        values: the numbers s of the training maps, shape ``(maps, numbers)``.
        kernel: standard deviation h of the noise of s̃, in units of the scatter.
        template: the largest mode as a map, in the shape of a map; t = Σ template · y. None: t is
            not one of the numbers.
    """

    def __init__(
        self,
        weights: Tensor,
        mean: Tensor,
        std: Tensor,
        values: Tensor,
        kernel: float = 0.2,
        template: Tensor | None = None,
    ):
        super().__init__()
        buffers = {"weights": weights, "mean": mean, "std": std, "values": values}
        for name, value in buffers.items():
            self.register_buffer(name, value.double().clone())
        self.register_buffer("kernel", torch.tensor(kernel, dtype=torch.float64))
        self.register_buffer("template", template)
        correlation = self.values.T @ self.values / len(values)
        eigenvalues, axes = torch.linalg.eigh(correlation)
        root = axes * eigenvalues.clamp(min=1e-6).sqrt() @ axes.T
        self.register_buffer("root", root)  # R^½

    @classmethod
    def fit(
        cls, y: Tensor, gaussian: GaussianModes, bands: int = 4, largest: bool = True
    ) -> BandPowers:
        """Measure the band powers of transformed training maps.

        Args:
            y: transformed maps, shape ``(maps, n, n)`` or ``(maps, channels, n, n)``.
            gaussian: the Gaussian field fitted to them.
            bands: number of bands in each channel, of equal width in ln |ℓ|.
            largest: whether the amplitude of the largest mode is one of the numbers.

        Raises:
            ValueError: no tensor, or too few maps for this number of bands.
        """
        check_tensor("the set for band powers", y)
        numbers = gaussian.channels * max(bands, 1)
        if bands < 1 or len(y) < 2 * numbers:
            raise ValueError(
                f"power in {bands} bands needs at least {2 * numbers} maps, found {len(y)}"
            )
        variance = gaussian.variance.cpu()
        if gaussian.channels > 1:
            variance = torch.stack([variance[i, i] for i in range(gaussian.channels)])
        weights = _weights(variance, bands)
        template = None
        if largest:
            numbers += 1
            template = _largest_mode(gaussian)
        zero = torch.zeros(numbers)
        blank = cls(weights, zero, zero + 1, zero[None], template=template).to(y.device)
        values = torch.cat([blank(part) for part in y.split(1024)])
        mean, std = values.mean(0), values.std(0)
        return cls(weights, mean, std, (values - mean) / std, template=template)

    @classmethod
    def of_shape(
        cls, n: int, maps: int, numbers: int, channels: int = 1, largest: bool = False
    ) -> BandPowers:
        """An object for a checkpoint to fill.

        Args:
            n: pixels a side.
            maps: number of training maps.
            numbers: numbers of a map, those of all channels together.
            channels: number of channels.
            largest: whether the amplitude of the largest mode is one of them.
        """
        template = None
        bands = numbers
        if largest:
            bands -= 1
            template = torch.zeros(channels, n, n, dtype=torch.float64)
        weights = torch.ones(channels, bands // channels, n, n // 2 + 1)
        if channels == 1:
            weights = weights[0]
            template = template if template is None else template[0]
        zero = torch.zeros(numbers)
        return cls(weights, zero, zero + 1, torch.zeros(maps, numbers), template=template)

    @property
    def numbers(self) -> int:
        """How many numbers a map has: the bands of all channels, and t."""
        return len(self.mean)

    @property
    def bands(self) -> int:
        """Number of bands, those of all channels together."""
        return self.numbers - (self.template is not None)

    @property
    def names(self) -> list[str]:
        """What the numbers are."""
        names = [f"band {i + 1}" for i in range(self.bands)]
        if self.template is not None:
            names.append("largest mode")
        return names

    def forward(self, y: Tensor) -> Tensor:
        """The numbers s of transformed maps, float64, shape ``(batch, numbers)``.

        Args:
            y: ``(batch, n, n)`` or ``(batch, channels, n, n)``.
        """
        power = torch.fft.rfft2(wide(y), norm="ortho").abs().square().flatten(-2)
        weights = wide(self.weights).flatten(-2)
        if y.ndim == 3:
            in_bands = power @ weights.T
        else:
            in_bands = torch.einsum("mcp,cbp->mcb", power, weights).flatten(1)
        values = in_bands.log()
        if self.template is not None:
            amplitude = wide(y).flatten(1) @ wide(self.template).flatten()
            values = torch.cat([values, amplitude[:, None]], 1)
        return (values - self.mean) / self.std

    def field(self, field: GaussianModes, noisy: Tensor) -> RescaledField:
        """The Gaussian field that follows the numbers of each map, to first order.

        Of noisy numbers s̃ = s + h ε, the mean of s is s̃ / (1 + h²) and its variance h² / (1 + h²).
        So a band has the expected power exp(mean + std s̃ / (1 + h²) + std² h² / (1 + h²) / 2)
        relative to the field.

        Args:
            field: the field that the band powers were measured for.
            noisy: s̃ of each map, shape ``(batch, numbers)``.

        Raises:
            ValueError: the field has several channels, whose modes belong to no single one.
        """
        if field.channels > 1:
            raise ValueError("a field of several channels does not follow band powers")
        total = 1 + self.kernel**2
        rest = self.kernel**2 / total
        expected = self.mean + self.std * wide(noisy) / total
        bands = self.bands
        log_power = expected[:, :bands] + 0.5 * rest * self.std[:bands].square()
        band = self._band_of_modes(field)
        # a last column of ones, for modes that lie in no band
        power = torch.cat([log_power.exp(), torch.ones_like(log_power[:, :1])], 1)
        factor = power[:, band]
        shift = torch.zeros_like(factor)
        if self.template is not None:
            largest = _largest(field)
            factor = factor.flatten(1)
            shift = shift.flatten(1)
            factor[:, largest] = rest * self.std[-1].square()
            scale = field.eigenvalues.flatten()[largest].sqrt()
            shift[:, largest] = scale * expected[:, -1]
            shape = (len(noisy), *field.eigenvalues.shape)
            factor, shift = factor.reshape(shape), shift.reshape(shape)
        return RescaledField(field, factor, shift)

    def _band_of_modes(self, field: GaussianModes) -> Tensor:
        """The number of the band of each mode; the number of bands if it lies in none."""
        annulus = field.annulus().to(self.mean.device)
        band = _band_of(annulus.double(), field.n, self.bands)
        return torch.where(band < 0, self.bands, band)

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


def _weights(variance: Tensor, bands: int) -> Tensor:
    """Weights w of each band: multiplicity / variance of each mode in it, normalised.

    Args:
        variance: variances of the modes, ``(..., n, n // 2 + 1)``.
        bands: number of bands.

    Returns:
        ``(..., bands, n, n // 2 + 1)``.
    """
    n = variance.shape[-2]
    grid = MapGrid(n, 1.0)
    band = _band_of(grid.ell / grid.ell_min, n, bands)
    inside = band == torch.arange(bands)[:, None, None]
    variance = variance[..., None, :, :]
    weights = inside * grid.multiplicity / variance
    return weights / (weights * variance).sum((-2, -1), keepdim=True)


def _band_of(radius: Tensor, n: int, bands: int) -> Tensor:
    """The band of modes at |ℓ| / ℓ_min, of equal width in ln |ℓ|; −1 for the mean of a map."""
    share = radius.clamp(min=0.5).log() / math.log(n / math.sqrt(2))
    band = (bands * share - 1e-9).floor().clamp(0, bands - 1).long()
    return torch.where(radius < 0.9, -1, band)


def _largest(field: GaussianModes) -> int:
    """The number of the largest mode; in a periodic field, of the mean of a map."""
    variances = field.eigenvalues
    if field.kind == "periodic":
        at_zero = torch.zeros_like(variances)
        at_zero[..., 0, 0] = variances[..., 0, 0]
        variances = at_zero
    return int(variances.flatten().argmax())


def _largest_mode(field: GaussianModes) -> Tensor:
    """The largest mode as a map: Σ of map × template has unit variance."""
    largest = _largest(field)
    modes = torch.zeros_like(field.eigenvalues)
    modes.view(-1)[largest] = field.eigenvalues.flatten()[largest].rsqrt()
    if field.kind == "periodic":
        modes = modes.to(torch.complex128)
    return field.from_plain(field.unmixed(modes)).cpu()
